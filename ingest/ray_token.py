"""Ray with a token, always: without one it runs anybody's code, and even a local one listens on all interfaces."""

from __future__ import annotations

import os
import secrets
import sys
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path


class ClusterRefused(Exception):
    """A cluster that we do not connect to, or that does not let us in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """How Ray is set up in this process."""

    problem: str | None
    """Why it will not ask for a token; None: it will."""
    our_own: bool
    """Nobody gave us a token, so we made one: enough for a Ray of our own, and none for a cluster."""
    secret: str = field(default="", repr=False)


@cache
def settle() -> Token:
    """Switch token authentication on where the environment says nothing; call it before Ray is imported.

    Ray reads its settings once, when it is imported, and hands them to the processes that it starts.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing here calls home
    came_before = "ray" in sys.modules
    mode = os.environ.get("RAY_AUTH_MODE") if came_before else os.environ.setdefault("RAY_AUTH_MODE", "token")
    if mode != "token":
        late = " (Ray was imported before firstlook, which would have set it)" if came_before else ""
        return Token(problem=f"RAY_AUTH_MODE is {mode or 'not set'}, and token is wanted{late}", our_own=False)
    file = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")
    secret = os.environ.get("RAY_AUTH_TOKEN") or (file.read_text().strip() if file.is_file() else "")
    if not secret:
        os.environ["RAY_AUTH_TOKEN"] = own = secrets.token_hex(32)
        return Token(problem=None, our_own=True, secret=own)
    return Token(problem=None, our_own=False, secret=secret)
