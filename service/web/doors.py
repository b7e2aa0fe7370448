"""What all routes share: the opened library, the keys, the settings, and how a route says who may pass."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, cast

from fastapi import Depends, Request, Response, Security
from fastapi.security import HTTPBearer, SecurityScopes
from prometheus_client import CollectorRegistry
from pydantic import BaseModel

from index.access import Access, Key
from index.home import Home
from index.records import Space
from service.library import Library
from service.web.problems import Problem
from service.web.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Doors:
    """What is behind the doors; one for a process."""

    library: Library
    access: Access
    settings: Settings
    clock: Callable[[], float] = time.time
    registry: CollectorRegistry = field(default_factory=CollectorRegistry)

    @property
    def home(self) -> Home:
        return self.library.home

    @property
    def space(self) -> Space:
        return self.library.space


async def doors(request: Request) -> Doors:  # async: what waits for nothing needs no thread
    return cast(Doors, request.app.state.doors)


def key_of(request: Request) -> Key:
    """The key that the guard has let in.

    Raises:
        Problem: there is none; a route behind an open path forgot that it is one.
    """
    key = request.state.key
    if key is None:
        raise Problem(401, "no_key", "a key is wanted")
    return cast(Key, key)


_bearer = HTTPBearer(auto_error=False, description="fl_…, made by `firstlook keys create`")


async def _check_scopes(
    request: Request, wanted: SecurityScopes, _shown: Annotated[object, Security(_bearer)] = None
) -> Key:
    key = key_of(request)
    if not any(key.may(scope) for scope in wanted.scopes):
        raise Problem(403, "wrong_scope", f"this wants a key for {' or '.join(wanted.scopes)}")
    return key


def only(*scopes: str) -> Any:
    """Let a key pass that has one of these scopes; `admin` passes everywhere."""
    return Security(_check_scopes, scopes=list(scopes))


def scopes_of(route: Any) -> Sequence[str]:
    """The scopes that a route asks for; empty: it forgot to."""
    found: list[str] = []
    for dependant in route.dependant.dependencies:
        if dependant.call is _check_scopes:
            found += dependant.own_oauth_scopes or []
    return found


def as_json(body: BaseModel) -> Response:
    """An answer that is known to fit: FastAPI would check and spell it once more, in another thread."""
    return Response(body.model_dump_json(), media_type="application/json")


Behind = Annotated[Doors, Depends(doors)]
