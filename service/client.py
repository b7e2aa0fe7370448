"""A typed client of the HTTP doors, for the platform's own services.

```python
from service.client import Client

with Client("http://127.0.0.1:8000", key) as firstlook:
    upload = firstlook.upload(open("cat.mp4", "rb"), caption="She heard the fridge open. #cat")
    firstlook.wait_until_ended(upload.video_id)
    for hit in firstlook.similar(upload.video_id).hits:
        print(f"{hit.score:.2f} {hit.video_id}")
```
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from types import TracebackType
from typing import Any, BinaryIO, Self
from urllib.parse import quote

import httpx

from service.web.bodies import (
    Failures,
    Hits,
    Retried,
    State,
    UploadState,
    UploadStates,
    VideoBody,
    VideoRow,
    VideoRows,
    WhyNot,
)

AGAIN = frozenset({429, 503})
"""Answers after which the same request may be made once more."""
PAUSE_MAX_S = 30.0


class Refused(Exception):
    """The service said no."""

    def __init__(self, status: int, kind: str, detail: str, request_id: str) -> None:
        super().__init__(f"{status} {kind}: {detail} (request {request_id})")
        self.status, self.kind, self.detail, self.request_id = status, kind, detail, request_id


class Client:
    """One service, with one key. May be used from many threads.

    Args:
        url: of the service, such as `http://127.0.0.1:8000`.
        key: `fl_…`.
        tries: how often a request is made that is answered 429 or 503, or whose connection breaks.
        transport: instead of the network; tests pass the app.
    """

    def __init__(
        self,
        url: str,
        key: str,
        *,
        timeout_s: float = 60.0,
        tries: int = 4,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self._http = httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {key}"}, timeout=timeout_s, transport=transport
        )
        self._tries = tries

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def upload(
        self,
        file: BinaryIO,
        *,
        video_id: str | None = None,
        caption: str | None = None,
        hashtags: Sequence[str] | None = None,
        creator_id: str | None = None,
        sound_id: str | None = None,
        language: str | None = None,
        visibility: str | None = None,
        extra: Mapping[str, Any] | None = None,
        idempotency_key: str | None = None,
    ) -> UploadState:
        """Hand in a video. Made again after a broken connection, it is still one upload: it carries an id of its own.

        Raises:
            Refused: too large, a field that is not what is wanted, or a key that is not for uploads.
        """
        said = {
            "video_id": video_id, "caption": caption, "creator_id": creator_id, "sound_id": sound_id,
            "language": language, "visibility": visibility,
            "hashtags": json.dumps(list(hashtags)) if hashtags is not None else None,
            "extra": json.dumps(dict(extra)) if extra is not None else None,
        }  # fmt: skip
        fields = {name: value for name, value in said.items() if value is not None}
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        start = file.tell()

        def again() -> dict[str, Any]:
            file.seek(start)
            return {"data": fields, "files": {"file": ("upload", file, "application/octet-stream")}, "headers": headers}

        return UploadState.model_validate(self._asked("POST", "/v1/uploads", again=again))

    def upload_from(self, uri: str, *, idempotency_key: str | None = None, **said: Any) -> UploadState:
        """Hand in a video that lies in a store of the service."""
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4())}
        return UploadState.model_validate(
            self._asked("POST", "/v1/uploads", json={"uri": uri, **said}, headers=headers)
        )

    def state(self, video_id: str) -> UploadState:
        return UploadState.model_validate(self._asked("GET", f"/v1/uploads/{_path(video_id)}"))

    def states(self, state: State | None = None) -> Iterator[UploadState]:
        """All uploads, or those in one state, page by page."""
        after: str | None = ""
        while after is not None:
            asked = {"after": after, **({"state": state} if state else {})}
            page = UploadStates.model_validate(self._asked("GET", "/v1/uploads", params=asked))
            yield from page.uploads
            after = page.next_after

    def wait_until_ended(self, video_id: str, *, timeout_s: float = 120.0) -> UploadState:
        """Wait until an upload is a video or a failure.

        Raises:
            TimeoutError: it is neither yet.
        """
        deadline = time.monotonic() + timeout_s
        pause_s = 0.1
        while (state := self.state(video_id)).state not in ("video", "failure"):
            if time.monotonic() > deadline:
                raise TimeoutError(f"{video_id} is {state.state} after {timeout_s:g} s")
            time.sleep(pause_s)
            pause_s = min(2.0, 1.5 * pause_s)
        return state

    def videos(self, *, page: int = 200) -> Iterator[VideoRow]:
        """All public ones, those first that were handed in or changed last."""
        after: str | None = ""
        while after is not None:
            found = VideoRows.model_validate(self._asked("GET", "/v1/videos", params={"after": after, "limit": page}))
            yield from found.videos
            after = found.next_after

    def video(self, video_id: str) -> VideoBody:
        return VideoBody.model_validate(self._asked("GET", f"/v1/videos/{_path(video_id)}"))

    def edit(self, video_id: str, **changes: Any) -> UploadState:
        """Change `caption`, `hashtags` or `visibility`."""
        return UploadState.model_validate(self._asked("PATCH", f"/v1/videos/{_path(video_id)}", json=changes))

    def erase(self, video_id: str) -> None:
        self._asked("DELETE", f"/v1/videos/{_path(video_id)}")

    def similar(
        self, video_id: str, *, k: int = 10, offset: int = 0, where: str | None = None, explain: bool = False
    ) -> Hits:
        asked = {"k": k, "offset": offset, "explain": explain, **({"where": where} if where else {})}
        return Hits.model_validate(self._asked("GET", f"/v1/videos/{_path(video_id)}/similar", params=asked))

    def search(self, text: str | None = None, *, video: str | None = None, **asked: Any) -> Hits:
        """By words or by a video; `k`, `offset`, `where`, `weights`, `explain` as the service knows them."""
        by = {name: value for name, value in (("text", text), ("video", video)) if value is not None}
        return Hits.model_validate(self._asked("POST", "/v1/search", json={**by, **asked}))

    def search_file(self, file: BinaryIO, **asked: Any) -> Hits:
        fields = {name: value if isinstance(value, str) else json.dumps(value) for name, value in asked.items()}
        start = file.tell()

        def again() -> dict[str, Any]:
            file.seek(start)
            return {"data": fields, "files": {"file": ("query", file, "application/octet-stream")}}

        return Hits.model_validate(self._asked("POST", "/v1/search/file", again=again))

    def why_not(self, video_id: str, query: str, **asked: Any) -> WhyNot:
        found = self._asked("GET", f"/v1/videos/{_path(video_id)}/why-not", params={"query": query, **asked})
        return WhyNot.model_validate(found)

    def failures(self) -> Failures:
        return Failures.model_validate(self._asked("GET", "/v1/failures"))

    def retry(self, video_ids: Sequence[str] | None = None, *, quarantined: bool = False) -> Retried:
        asked = {"video_ids": list(video_ids) if video_ids is not None else None, "quarantined": quarantined}
        return Retried.model_validate(self._asked("POST", "/v1/failures/retry", json=asked))

    def thumbnail(self, video_id: str) -> bytes:
        return self._answer("GET", f"/v1/videos/{_path(video_id)}/thumbnail").content

    def original(self, video_id: str, *, first: int = 0, last: int | None = None) -> bytes:
        """The bytes of a video from `first` to `last`, both included."""
        wanted = {"Range": f"bytes={first}-{'' if last is None else last}"}
        return self._answer("GET", f"/v1/videos/{_path(video_id)}/original", headers=wanted).content

    def _asked(self, method: str, path: str, **said: Any) -> Any:
        answer = self._answer(method, path, **said)
        return answer.json() if answer.content else None

    def _answer(self, method: str, path: str, *, again: Any = None, **said: Any) -> httpx.Response:
        for number in range(1, self._tries + 1):
            last = number == self._tries
            try:
                answer = self._http.request(method, path, **(again() if again else said))
            except (httpx.ConnectError, httpx.RemoteProtocolError, httpx.ReadError):
                if last:
                    raise
                time.sleep(0.1 * 2**number)
                continue
            if answer.is_success:
                return answer
            if answer.status_code not in AGAIN or last:
                raise _refused(answer)
            time.sleep(min(PAUSE_MAX_S, float(answer.headers.get("Retry-After", "1"))))
        raise AssertionError("a request is made at least once")


def _refused(answer: httpx.Response) -> Refused:
    try:
        said = answer.json()
    except ValueError:
        said = {}
    kind = str(said.get("type", "")).removeprefix("urn:firstlook:") or "unknown"
    return Refused(answer.status_code, kind, str(said.get("detail", answer.text[:200])), str(said.get("request_id")))


def _path(video_id: str) -> str:
    return quote(video_id, safe="")
