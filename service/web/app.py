"""The HTTP app. Read `create_app`: it names every door, and refuses to start with one that anybody may open.

POST   /v1/uploads             a file, or where one lies: 202, and a link to its state
GET    /v1/uploads[/{id}]      how far it is
GET    /v1/videos              the newest first
GET    /v1/videos/{id}         everything that is known of it; PATCH, DELETE, …/thumbnail, …/original
GET    /v1/videos/{id}/similar what is like it; …/why-not says what keeps it out of an answer
POST   /v1/search[/file]       by words, by a video, or by a file that is not in the library
POST   /v1/events              what viewers did; DELETE /v1/viewers/{id} forgets one of them
GET    /v1/feed                a viewer's next page; …/why/{impression} and …/why-not/{video}
GET    /v1/viewers/{id}/dials  what he set his feed to; POST turns one
GET    /v1/failures            what did not become a video, and why; POST …/retry
GET    /healthz /readyz /metrics
GET    /                       the page, which asks for a key once and lives by the doors above
"""

from __future__ import annotations

import asyncio
import errno
import json
import logging
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager

from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse

from service.web import events, feed, operate, page, receive, search, session, videos
from service.web.doors import Doors, scopes_of
from service.web.guard import Guard, Room, is_open
from service.web.meters import Meters
from service.web.openapi import App
from service.web.problems import Problem, answered, on_problem, problems

_log = logging.getLogger("firstlook.http")

PARTS = (page, session, receive, videos, search, feed, events, operate)


def create_app(doors: Doors, draining: asyncio.Event | None = None, meters: Meters | None = None) -> FastAPI:
    """Make the app.

    Args:
        doors: what is behind it.
        draining: when it is set, every answer is the last one of its connection.
        meters: count requests; default: those of this process alone.

    Raises:
        RuntimeError: a route says neither which scope it wants nor that it is open.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        threads = ThreadPoolExecutor(2 * doors.settings.transfers_at_once, thread_name_prefix="transfer")
        asyncio.get_running_loop().set_default_executor(threads)
        yield
        doors.library.close()

    app = App(
        title="firstlook",
        summary="Understand short videos, find what is like them, and give every new one a fair first look.",
        version="1",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
        responses=problems(422),  # or FastAPI describes one of its own
    )
    app.state.doors = doors
    for part in PARTS:
        _check_guarded(part.router)
        app.include_router(part.router)
    app.add_exception_handler(Problem, on_problem)
    app.add_exception_handler(HTTPException, _on_http)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(ClientDisconnect, _on_gone)
    app.add_exception_handler(OSError, _on_machine)
    app.add_exception_handler(Exception, _on_bug)
    doors.registry.register(operate.LibraryFigures(doors))
    draining, meters = draining or asyncio.Event(), meters or Meters(doors.registry)
    app.state.meters, app.state.room, app.state.draining = meters, Room(doors.settings, meters), draining
    app.add_middleware(
        Guard,
        access=doors.access,
        settings=doors.settings,
        draining=draining,
        meters=meters,
        room=app.state.room,
    )
    return app


def _check_guarded(router: APIRouter) -> None:
    for route in router.routes:
        assert isinstance(route, APIRoute)
        if not is_open(route.path) and not scopes_of(route):
            raise RuntimeError(
                f"{sorted(route.methods or ())} {route.path} says neither who may pass nor that anybody may"
            )


async def _on_http(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    kind = {404: "not_found", 405: "wrong_method"}.get(error.status_code, "bad_request")
    headers = error.headers if error.status_code != 405 else {"Allow": ", ".join(_methods(request))}
    return answered(request, Problem(error.status_code, kind, str(error.detail), headers=headers))


def _methods(request: Request) -> list[str]:
    """Of all routes with this path: Starlette names those of the first one only."""
    routes = [route for route in request.app.routes if isinstance(route, APIRoute)]
    path = next((route.path for route in routes if route.path_regex.match(request.scope["path"])), None)
    return sorted({method for route in routes if route.path == path for method in route.methods or ()})


async def _on_gone(request: Request, error: Exception) -> JSONResponse:
    """Nobody hears it; the log does, and that it is no error of ours."""
    return answered(request, Problem(400, "cut_off", "the body did not come to its end"))


async def _on_machine(request: Request, error: Exception) -> JSONResponse:
    """The machine is at its end, and so is what was asked; nothing of it was acknowledged."""
    _log.error(json.dumps({"event": "machine", "request_id": request.state.request_id, "error": str(error)}))
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return answered(request, Problem(507, "disk_full", "there is no space left; nothing was taken"))
    again = Problem(503, "busy", f"{type(error).__name__}; come again", headers={"Retry-After": "5"})
    return answered(request, again)


async def _on_bug(request: Request, error: Exception) -> JSONResponse:
    """The traceback goes to the log, by the server; strangers hear nothing of it."""
    return answered(request, Problem(500, "bug", "an error of ours; the log knows it by this request_id"))


async def _on_invalid(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    said = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()[:5])
    return answered(request, Problem(422, "invalid", said))
