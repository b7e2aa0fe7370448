"""Ray with a token, always: without one it runs anybody's code, and it listens on all interfaces even when it is local.

Ray reads its settings once, when it is imported; so `ingest/cluster.py` imports this first. Where the environment says
nothing, token authentication is switched on, and where no token is to be found either, there is a new one that ends
with this process: enough for a Ray of our own, and none for a cluster.
"""

from __future__ import annotations

import os
import secrets
import sys
from pathlib import Path

_came_before = "ray" in sys.modules
_mode = os.environ.get("RAY_AUTH_MODE") if _came_before else os.environ.setdefault("RAY_AUTH_MODE", "token")
_file = Path(os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token")

IN_FORCE = _mode == "token"
"""Ray will ask for a token, and show one."""
PROBLEM = "" if IN_FORCE else f"RAY_AUTH_MODE is {_mode or 'not set'}, and token is wanted"
if _came_before and not IN_FORCE:
    PROBLEM += " (Ray was imported before firstlook, which would have set it)"

OUR_OWN = IN_FORCE and not os.environ.get("RAY_AUTH_TOKEN") and not _file.is_file()
"""Nobody gave us a token."""
if OUR_OWN:
    os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
