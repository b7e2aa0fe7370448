"""What is bounded before there is a request: the head of one, how long it takes to come, and connections.

And requests for which there is no room: what is refused must cost next to nothing, or a server that is asked four times
what it can answer does little but refuse. Here a "come again" takes a twentieth of what it takes behind the app.

uvicorn leaves these to a proxy; `firstlook serve` may have none before it. Everything that is no HTTP gets a problem
like every other "no", and its connection ends.

Source: RFC 9112, 9.3.2 and 11.2; RFC 6585, 5.
"""

from __future__ import annotations

import asyncio
import json
import logging
import secrets
from datetime import UTC, datetime
from typing import Any

import httptools
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from service.web.guard import full, is_queued
from service.web.problems import Problem, as_bytes

HEAD_BYTES_MAX = 32 << 10
"""Of a request line with its headers."""
HEAD_S = 10.0
"""From its first byte, or from the connection, until the last one of its head."""
CONNECTIONS_MAX = 512
"""Of a process; half of the files that a process may usually open."""

_log = logging.getLogger("firstlook.http")


class _TooLarge(Exception):
    """Leaves the parser, which can be left in no other way."""


class Protocol(HttpToolsProtocol):
    """One connection."""

    def __init__(self, *args: Any, **said: Any) -> None:
        super().__init__(*args, **said)
        self._in_head, self._is_shed = True, False
        self._head_bytes = self._parsed_bytes = 0  # of a head that has not ended, and of what is known of it
        self._in_time: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > CONNECTIONS_MAX:
            self._refuse(Problem(503, "full", "too many connections at once", headers={"Retry-After": "5"}))
        else:
            self._expect_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self.transport.is_closing():
            return
        if self._is_idle():
            self._expect_head()
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > HEAD_BYTES_MAX and not self.transport.is_closing():
            self._refuse(_too_large())

    def on_message_begin(self) -> None:
        self._in_head, self._head_bytes, self._parsed_bytes = True, 0, 0
        super().on_message_begin()

    def on_url(self, url: bytes) -> None:
        self._count(len(url))
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        self._count(len(name) + len(value) + len(": \r\n"))
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._stop_waiting()
        state = self.config.app.state  # type: ignore[union-attr]
        self._is_shed = state.room.is_full and not state.draining.is_set() and self._may_be_shed()
        if self._is_shed:
            self._shed()
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if not self._is_shed:
            super().on_body(body)

    def on_message_complete(self) -> None:
        self._stop_waiting()
        if not self._is_shed:
            super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        self._refuse(_too_large() if self._parsed_bytes > HEAD_BYTES_MAX else Problem(400, "no_http", msg))

    def _count(self, length: int) -> None:
        """A head may come in one piece, and be over before `data_received` has looked."""
        self._parsed_bytes += length
        if self._parsed_bytes > HEAD_BYTES_MAX:
            raise _TooLarge

    def _is_idle(self) -> bool:
        return self._in_time is None and (self.cycle is None or self.cycle.response_complete)

    def _expect_head(self) -> None:
        self._in_time = self.loop.call_later(HEAD_S, self._on_late)

    def _stop_waiting(self) -> None:
        if self._in_time is not None:
            self._in_time.cancel()
            self._in_time = None

    def _on_late(self) -> None:
        self._in_time = None
        if not self.transport.is_closing():
            self._refuse(Problem(408, "too_slow", f"a request was to begin and its head to end within {HEAD_S:g} s"))

    def _may_be_shed(self) -> bool:
        """Nothing comes behind it, nobody before it waits for an answer, and the guard would refuse it, too."""
        is_next = self.cycle is None or self.cycle.response_complete
        path = (httptools.parse_url(self.url).path or b"").decode("ascii", "replace")
        return is_next and self.parser.get_method() == b"GET" and is_queued("GET", path)

    def _shed(self) -> None:
        """Tell to come again, on a connection that goes on."""
        lasts = self.parser.get_http_version() != "1.0" and self.parser.should_keep_alive()
        self.transport.write(as_bytes(full(), secrets.token_hex(8), last=not lasts))
        self.config.app.state.meters.answered(route=None, method="GET", status=503, problem="full", seconds=0.0)  # type: ignore[union-attr]
        if lasts:
            self.on_response_complete()
        else:
            self.transport.close()

    def _refuse(self, problem: Problem) -> None:
        request_id = secrets.token_hex(8)
        if self.cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            self.transport.write(as_bytes(problem, request_id))  # never into the middle of another answer
        self.transport.close()
        line = {"at": datetime.now(UTC).isoformat(timespec="milliseconds"), "request_id": request_id}
        _log.info(json.dumps(line | {"status": problem.status_code, "problem": problem.kind}))


def _too_large() -> Problem:
    return Problem(431, "head_too_large", f"at most {HEAD_BYTES_MAX} bytes of request line and headers are taken")
