"""Who may come in, and how many at once: everything that is decided before a route sees a request.

```
Host known? ─► key? ─► not too often? ─► room? ─► body not too large? ─► route (scope?) ─► headers, log line
   421          401        429             503           413               403, default deny
```

One class in plain ASGI, so that nothing of a stranger's body is read before the key is known.
"""

from __future__ import annotations

import asyncio
import json
import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any

from sqlalchemy.exc import SQLAlchemyError
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser

from index.access import Access, Key, Refused
from service.web.meters import Meters
from service.web.problems import Problem, response
from service.web.settings import Settings

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]

COOKIE = "firstlook_session"
OPEN = frozenset({"/", "/healthz", "/readyz", "/openapi.json", "/v1/session"})
"""Paths that want no key: the page asks for one itself, and `/v1/session` is where it shows it."""
OPEN_BELOW = "/static/"
WITHOUT_QUEUE = frozenset({"/healthz", "/readyz", "/metrics"})
"""Whoever watches us must be answered when we are full, then most of all."""
KEY_TRUSTED_S = 2.0
"""So long a key that was looked up is known without asking the ledger again; so long a revoked one goes on."""
KEYS_KEPT = 10_000
SESSION = "/v1/session"
LABORIOUS = (("POST", SESSION), ("GET", SESSION), ("DELETE", SESSION), ("GET", "/readyz"))
"""What anybody may ask and costs a body, a thread or the ledger. Each has a room of its own, so that strangers crowd
out neither those with a key nor each other; whatever else wants no key is answered from memory."""
STRANGER_S = 10.0
"""All of these are answered in milliseconds; whoever takes longer is sending slowly on purpose."""
SESSIONS_PER_S = 5.0
"""Keys that may be shown there; guessing one is hopeless, and is kept from costing much."""
REQUEST_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
}
"""Of every answer; scripts only from files of ours, so that a caption can never be one."""

_log = logging.getLogger("firstlook.http")


def is_open(path: str) -> bool:
    """Whether a path, or a route's, wants no key."""
    return path in OPEN or path.startswith(OPEN_BELOW)


def is_queued(method: str, path: str) -> bool:
    """Whether an answer wants room among those that are worked on."""
    return not (is_open(path) or path in WITHOUT_QUEUE or _is_upload(method, path) or _is_download(method, path))


class Room:
    """Room for so many answers at once, and for so many more that wait for it."""

    def __init__(self, settings: Settings, meters: Meters) -> None:
        self._settings, self._meters = settings, meters
        self._free = asyncio.Semaphore(settings.at_once)
        self._waiting = 0

    @property
    def is_full(self) -> bool:
        """Whoever comes now is told to come again."""
        return self._free.locked() and self._waiting >= self._settings.waiting_max

    async def acquire(self) -> None:
        """Wait for room, but not long.

        Raises:
            Problem: 503.
        """
        if self.is_full:
            raise full()
        self._waiting += 1
        self._meters.waiting.inc()
        try:
            await asyncio.wait_for(self._free.acquire(), self._settings.waiting_s)
        except TimeoutError as error:
            raise full() from error
        finally:
            self._waiting -= 1
            self._meters.waiting.dec()

    def release(self) -> None:
        self._free.release()


def full() -> Problem:
    return Problem(503, "full", "too many requests at once", headers=_retry_after(1.0))


class Guard:
    """Wraps the app. One for a process; the limits are a process's too."""

    def __init__(
        self, app: Any, *, access: Access, settings: Settings, draining: asyncio.Event, meters: Meters, room: Room
    ) -> None:
        self._app, self._access, self._settings, self._draining = app, access, settings, draining
        self._meters, self._room = meters, room
        self._keys: dict[str, tuple[Key, float]] = {}
        self._buckets: dict[str, tuple[float, float]] = {}
        self._transfers = asyncio.Semaphore(settings.transfers_at_once)
        self._strangers = {door: asyncio.Semaphore(settings.strangers_at_once) for door in LABORIOUS}
        self._checks = ThreadPoolExecutor(2, thread_name_prefix="key")  # of its own: nothing else may keep it busy

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        asked_id = headers.get("x-request-id", "")
        request_id = asked_id if REQUEST_ID.fullmatch(asked_id) else secrets.token_hex(8)
        state = scope.setdefault("state", {})
        state |= {"request_id": request_id, "key": None, "problem": None}
        line: dict[str, Any] = {"at": datetime.now(UTC).isoformat(timespec="milliseconds")}
        line |= {"request_id": request_id, "method": scope["method"], "status": 500, "bytes": 0}
        began = time.monotonic()

        async def answer(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                line["status"] = message["status"]
                out = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    out.setdefault(name, value)
                out["X-Request-Id"] = request_id
                out.setdefault("Cache-Control", "no-store")
                if self._draining.is_set():
                    out["Connection"] = "close"
            elif message["type"] == "http.response.body":
                line["bytes"] += len(message.get("body", b""))
            await send(message)

        self._meters.in_hand.inc()
        try:
            await self._let_in(scope, headers, receive, answer)
        except Problem as problem:
            state["problem"] = problem.kind
            await response(problem, request_id)(scope, receive, answer)
        finally:
            self._meters.in_hand.dec()
            route = getattr(scope.get("route"), "path", None)
            key, seconds = state["key"], time.monotonic() - began
            line |= {"route": route, "key": key.key_id if key else None, "ms": round(seconds * 1000, 1)}
            line |= {"problem": state["problem"]} if state["problem"] else {}
            self._meters.answered(
                route=route, method=line["method"], status=line["status"], problem=state["problem"], seconds=seconds
            )
            _log.info(json.dumps(line))

    async def _let_in(self, scope: Scope, headers: Headers, receive: Receive, send: Send) -> None:
        self._check_host(headers)
        method, path = scope["method"], scope["path"]
        is_free = is_open(path)
        if not is_free:
            key = await self._key_of(scope, headers)
            scope["state"]["key"] = key
            self._check_pace(key.parent_id or key.key_id, self._settings.per_key_per_s)
        elif path == SESSION and method == "POST":
            self._check_pace(SESSION, SESSIONS_PER_S)
        limit = self._settings.upload_bytes_max if _is_upload(method, path) else self._settings.body_bytes_max
        limited = _limited(headers, receive, limit)
        if strangers := self._strangers.get((method, path)):
            await self._take_strangers_room(strangers)
            await self._in_time(scope, limited, send, STRANGER_S, strangers)
        elif is_queued(method, path):
            await self._room.acquire()
            await self._in_time(scope, limited, send, self._settings.answer_s, self._room)
        elif is_free or path in WITHOUT_QUEUE:
            await self._in_time(scope, limited, send, self._settings.answer_s, None)
        else:  # its time is the network's
            if self._transfers.locked():
                raise Problem(503, "full", "too many files at once", headers=_retry_after(2.0))
            await self._transfers.acquire()
            await self._in_time(scope, limited, send, self._settings.transfer_s, self._transfers)

    def _check_host(self, headers: Headers) -> None:
        if len(headers.getlist("host")) > 1:
            raise Problem(400, "two_hosts", "one Host header is wanted")
        host = headers.get("host", "")
        name = (host if host.endswith("]") else host.rpartition(":")[0] or host).lower()
        if name not in self._settings.hosts:
            raise Problem(421, "unknown_host", f"we are called {', '.join(self._settings.hosts)}, not {name[:100]!r}")

    async def _key_of(self, scope: Scope, headers: Headers) -> Key:
        text, by_cookie = _shown_key(headers)
        if text is None:
            wanted = "a key is wanted: Authorization: Bearer fl_…; `firstlook keys create` makes one"
            raise Problem(401, "no_key", wanted, headers={"WWW-Authenticate": "Bearer"})
        if by_cookie and scope["method"] not in ("GET", "HEAD") and not _same_site(headers):
            raise Problem(403, "other_site", "a page of another site may not act with this session")
        known, until = self._keys.get(text, (None, 0.0))
        if known is not None and time.monotonic() < until:
            return known
        try:
            key = await asyncio.get_running_loop().run_in_executor(self._checks, self._access.check, text)
        except Refused as refused:
            self._keys.pop(text, None)
            raise Problem(401, "bad_key", str(refused), headers={"WWW-Authenticate": "Bearer"}) from refused
        except (OSError, SQLAlchemyError) as error:
            raise Problem(503, "busy", "the ledger does not answer", headers=_retry_after(5.0)) from error
        if len(self._keys) >= KEYS_KEPT:
            self._keys.clear()
        self._keys[text] = key, time.monotonic() + KEY_TRUSTED_S
        return key

    def _check_pace(self, name: str, pace: float) -> None:
        """A bucket of tokens a key, which its sessions share: it fills at the pace allowed, and holds two seconds."""
        now = time.monotonic()
        if len(self._buckets) >= KEYS_KEPT:
            self._buckets.clear()
        left, seen = self._buckets.get(name, (2 * pace, now))
        left = min(2 * pace, left + (now - seen) * pace)
        if left < 1:
            self._buckets[name] = left, now
            wait_s = (1 - left) / pace
            raise Problem(429, "too_often", f"at most {pace:g} times a second", headers=_retry_after(wait_s))
        self._buckets[name] = left - 1, now

    async def _take_strangers_room(self, room: asyncio.Semaphore) -> None:
        try:
            await asyncio.wait_for(room.acquire(), self._settings.waiting_s)
        except TimeoutError as error:
            raise Problem(503, "full", "too many strangers at once", headers=_retry_after(STRANGER_S)) from error

    async def _in_time(
        self, scope: Scope, receive: Receive, send: Send, seconds: float, room: asyncio.Semaphore | Room | None
    ) -> None:
        """Answer, or say that it takes too long. What was begun is not cut off, and keeps its room until it has ended:
        a thread cannot be stopped, and what it writes must not be said to have failed half way."""
        started = late = False

        async def unless_late(message: MutableMapping[str, Any]) -> None:
            nonlocal started
            if not late:
                started = True
                await send(message)

        task = asyncio.ensure_future(self._app(scope, receive, unless_late))
        if room is not None:
            task.add_done_callback(lambda _task: room.release())
        done, _ = await asyncio.wait({task}, timeout=seconds)
        if done:
            task.result()
            return
        late = True
        if started:  # half an answer cannot be taken back; the connection ends
            raise TimeoutError(f"no whole answer within {seconds:g} s")
        task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())  # heard, so that nobody complains
        raise Problem(503, "too_slow", f"no answer within {seconds:g} s", headers=_retry_after(5.0))


def _is_upload(method: str, path: str) -> bool:
    return method == "POST" and path in ("/v1/uploads", "/v1/search/file")


def _is_download(method: str, path: str) -> bool:
    return method == "GET" and path.endswith("/original")


def _shown_key(headers: Headers) -> tuple[str | None, bool]:
    """The text of the key, and whether it came as a cookie."""
    shown = headers.getlist("authorization")
    if len(shown) > 1:
        raise Problem(401, "two_keys", "one key is wanted", headers={"WWW-Authenticate": "Bearer"})
    kind, _, text = "".join(shown).partition(" ")
    if kind.lower() == "bearer" and text.strip():
        return text.strip(), False
    cookie = cookie_parser(headers.get("cookie", "")).get(COOKIE)
    return cookie, cookie is not None


def _same_site(headers: Headers) -> bool:
    """Browsers say where a request comes from; one that does not say so is none that we trust with a cookie."""
    return headers.get("sec-fetch-site") == "same-origin"


def _limited(headers: Headers, receive: Receive, limit: int) -> Receive:
    """Hand over a body piece by piece, and no more than `limit` bytes of it.

    Raises:
        Problem: 413, before anything is read where the length is told.
    """
    said = headers.get("content-length", "")
    too_large = Problem(413, "too_large", f"at most {limit} bytes are taken here")
    if said.isdigit() and int(said) > limit:
        raise too_large
    taken = 0

    async def receive_some() -> MutableMapping[str, Any]:
        nonlocal taken
        message = await receive()
        taken += len(message.get("body", b""))
        if taken > limit:
            raise too_large
        return message

    return receive_some


def _retry_after(seconds: float) -> dict[str, str]:
    return {"Retry-After": str(max(1, round(seconds)))}
