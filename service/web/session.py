"""The page's session: a key is shown once, and a cookie that no script can read stands for it until it ends."""

from __future__ import annotations

import asyncio
import contextlib

from fastapi import APIRouter, Request, Response

from index.access import Refused
from service.web.bodies import KeyText, SessionBody
from service.web.doors import Behind
from service.web.guard import COOKIE
from service.web.problems import Problem, problems

router = APIRouter(tags=["session"])
_COOKIE = {"Set-Cookie": {"description": f"`{COOKIE}`, which no script reads.", "schema": {"type": "string"}}}


@router.post(
    "/v1/session",
    status_code=204,
    summary="Show a key, and get a session",
    responses=problems(401, 403, 429) | {204: {"headers": _COOKIE}},
)
async def open_session(shown: KeyText, behind: Behind) -> Response:
    try:
        key = await asyncio.to_thread(behind.access.check, shown.key)
    except Refused as refused:
        raise Problem(401, "bad_key", str(refused)) from refused
    if key.parent_id is not None:
        raise Problem(403, "wrong_key", "a session opens no session")
    ttl_s = behind.settings.session_s
    _, text = await asyncio.to_thread(
        lambda: behind.access.create(key.scopes, label="session", ttl_s=ttl_s, parent=key)
    )
    answer = Response(status_code=204)
    answer.set_cookie(
        COOKIE, text, max_age=int(ttl_s), httponly=True, samesite="strict", secure=behind.settings.secure, path="/"
    )
    return answer


@router.get("/v1/session", summary="What this session may do", response_model=SessionBody)
async def session(request: Request, behind: Behind) -> SessionBody:
    """Answers without a session too, that it may do nothing: how the page learns that it has to ask for a key."""
    try:
        key = await asyncio.to_thread(behind.access.check, request.cookies.get(COOKIE, ""))
    except Refused:
        return SessionBody(scopes=[])
    return SessionBody(scopes=list(key.scopes))


@router.delete("/v1/session", status_code=204, summary="End the session", responses=problems(429))
async def end_session(request: Request, behind: Behind) -> Response:
    with contextlib.suppress(Refused):  # it has ended already
        session = await asyncio.to_thread(behind.access.check, request.cookies.get(COOKIE, ""))
        if session.parent_id is not None:
            await asyncio.to_thread(behind.access.revoke, session.key_id)
    answer = Response(status_code=204)
    answer.delete_cookie(COOKIE, path="/")
    return answer
