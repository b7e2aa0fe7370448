"""What an operator can set of the HTTP doors; the command line and `FIRSTLOOK_…` variables fill it in."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class Settings(BaseModel):
    """Everything has a value that is safe on a machine that nobody looked after."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    hosts: tuple[str, ...] = ("127.0.0.1", "localhost", "[::1]")
    """Names under which we are called; any other `Host` is a page that tricks a browser (DNS rebinding)."""
    stores: tuple[str, ...] = ()
    """Where uploads by URI may lie: folders, and buckets such as `s3://uploads/incoming`. None: by body only."""
    upload_bytes_max: int = Field(default=1 << 30, ge=1)
    body_bytes_max: int = Field(default=1 << 20, ge=1)
    """Of anything that is no upload."""
    per_key_per_s: float = Field(default=200.0, gt=0)
    """Requests of a key; twice as many may come at once."""
    at_once: int = Field(default_factory=lambda: 2 * (os.cpu_count() or 1), ge=1)
    """Answers worked on; more than the cores would only make all of them slow."""
    transfers_at_once: int = Field(default=32, ge=1)
    """Files that come in or go out at once."""
    strangers_at_once: int = Field(default=8, ge=1)
    """Requests without a key to each of the doors that have some work with them: `/v1/session`, `/readyz`."""
    waiting_max: int = Field(default=64, ge=0)
    """Further requests wait so many for so long; whoever comes then is told to come again."""
    waiting_s: float = Field(default=1.0, gt=0)
    answer_s: float = Field(default=30.0, gt=0)
    """What an answer may take; a file that comes in or goes out has `transfer_s`."""
    transfer_s: float = Field(default=3_600.0, gt=0)
    session_s: float = Field(default=12 * 3_600.0, gt=0)
    secure: bool = False
    """A proxy before us ends TLS: cookies are for it alone."""

    def store_of(self, uri: str) -> str | None:
        """The store that a URI lies in; None where it lies in none of them.

        >>> Settings(stores=("/clips", "s3://in/new")).store_of("s3://in/new/a.mp4")
        's3://in/new'
        >>> Settings(stores=("/clips",)).store_of("/clips/../etc/passwd") is None
        True
        """
        if "\0" in uri:  # a name that no system has
            return None
        for store in self.stores:
            if "://" in store:
                if uri.startswith(store.rstrip("/") + "/") and ".." not in uri.split("/"):
                    return store
            elif "://" not in uri and Path(os.path.realpath(uri)).is_relative_to(os.path.realpath(store)):
                return store
        return None


def as_host(name: str) -> str:
    """A name or address as it stands in a Host header.

    >>> as_host("API.example"), as_host("fd00::1")
    ('api.example', '[fd00::1]')
    """
    return f"[{name.lower()}]" if ":" in name and not name.startswith("[") else name.lower()
