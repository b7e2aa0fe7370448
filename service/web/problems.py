"""How a door says no: RFC 9457 problems, each with the id of the request that the log knows it by."""

from __future__ import annotations

import json
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

MEDIA_TYPE = "application/problem+json"
ABOUT: dict[int, tuple[str, str, str]] = {
    400: ("The request cannot be read.", "bad_multipart", "it ends before its last boundary"),
    401: ("A key is wanted, or this one is none.", "no_key", "a key is wanted: Authorization: Bearer fl_…"),
    403: ("This key, store or page is not for that.", "wrong_scope", "this wants a key for admin"),
    404: ("There is no such thing.", "not_found", "no upload 'nobody'"),
    409: ("It does not fit how things stand.", "no_row_yet", "cat-1 is waiting, and no row yet"),
    413: ("Too large.", "too_large", "at most 1048576 bytes are taken here"),
    415: (
        "Of a kind that is not taken or handed out here.",
        "wrong_kind",
        "application/json is wanted, got 'text/plain'",
    ),
    416: ("Not a range of these bytes.", "bad_range", "there are 103765 bytes, got 'bytes=999999-'"),
    421: ("We are not called so.", "unknown_host", "we are called 127.0.0.1, not 'evil.example'"),
    422: ("Something in the request is not what is wanted.", "bad_video_id", "video_id wants at most 200 characters"),
    429: ("Too often; `Retry-After` says when to come again.", "too_often", "at most 200 times a second"),
    500: ("An error of ours.", "bug", "an error of ours; the log knows it by this request_id"),
    503: ("Too much at once; `Retry-After` says when to come again.", "full", "too many requests at once"),
    507: ("There is no space left; nothing was taken.", "disk_full", "there is no space left; nothing was taken"),
}
"""Status -> what it means, and the kind and detail of an example."""


class Problem(HTTPException):
    """An answer that is no answer.

    Args:
        status: of HTTP.
        kind: a countable slug, such as `too_large`.
        detail: for a person: what came, and what was wanted.
        headers: such as `Retry-After`.
    """

    def __init__(self, status: int, kind: str, detail: str, *, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, detail, dict(headers or {}))  # FastAPI lets no other error through while it reads
        self.kind = kind


def response(problem: Problem, request_id: str) -> JSONResponse:
    return JSONResponse(
        body(problem, request_id), status_code=problem.status_code, headers=problem.headers, media_type=MEDIA_TYPE
    )


def body(problem: Problem, request_id: str) -> dict[str, Any]:
    """The body; a detail may quote what came, and so half characters, which are no UTF-8."""
    return {
        "type": f"urn:firstlook:{problem.kind}",
        "title": HTTPStatus(problem.status_code).phrase,
        "status": problem.status_code,
        "detail": problem.detail.encode(errors="backslashreplace").decode(),
        "request_id": request_id,
    }


def as_bytes(problem: Problem, request_id: str, *, last: bool = True) -> bytes:
    """A whole answer as it goes over the wire, for what comes before there is a request that could be answered.

    Args:
        last: the connection ends with it.
    """
    said = json.dumps(body(problem, request_id)).encode()
    lines = [
        f"HTTP/1.1 {problem.status_code} {HTTPStatus(problem.status_code).phrase}",
        f"content-type: {MEDIA_TYPE}",
        f"content-length: {len(said)}",
        *(["connection: close"] if last else []),
        f"x-request-id: {request_id}",
        *(f"{name}: {value}" for name, value in (problem.headers or {}).items()),
    ]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + said


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """What a route says no with, for OpenAPI."""
    return {status: _described(status) for status in statuses}


def _described(status: int) -> dict[str, Any]:
    about, kind, detail = ABOUT[status]
    example = body(Problem(status, kind, detail), "2f8e49451f7feb43")
    content = {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/ProblemBody"}, "example": example}}
    found: dict[str, Any] = {"description": about, "content": content}
    if status in (429, 503):
        seconds = {"type": "integer", "minimum": 1}
        found["headers"] = {"Retry-After": {"description": "Seconds.", "schema": seconds, "example": 1}}
    return found


async def on_problem(request: Request, problem: Exception) -> JSONResponse:
    assert isinstance(problem, Problem)
    return answered(request, problem)


def answered(request: Request, problem: Problem) -> JSONResponse:
    """Say no, so that the log and the counters know it by its kind."""
    request.state.problem = problem.kind
    return response(problem, request.state.request_id)
