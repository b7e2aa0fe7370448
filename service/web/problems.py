"""How a door says no: RFC 9457 problems, each with the id of the request that the log knows it by."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

MEDIA_TYPE = "application/problem+json"


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
    return {
        "type": f"urn:firstlook:{problem.kind}",
        "title": HTTPStatus(problem.status_code).phrase,
        "status": problem.status_code,
        "detail": problem.detail,
        "request_id": request_id,
    }


async def on_problem(request: Request, problem: Exception) -> JSONResponse:
    assert isinstance(problem, Problem)
    return answered(request, problem)


def answered(request: Request, problem: Problem) -> JSONResponse:
    """Say no, so that the log and the counters know it by its kind."""
    request.state.problem = problem.kind
    return response(problem, request.state.request_id)
