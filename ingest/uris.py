"""URIs of uploads as paths of this machine."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import unquote_to_bytes


class UnsupportedUri(ValueError):
    """Neither a path nor a `file://` URI of this machine."""


def local_path(name: str) -> Path:
    """The file that a path or a `file://` URI names.

    >>> local_path("file:///clips/a%20cat.mp4").as_posix()
    '/clips/a cat.mp4'
    """
    return Path(local_name(name))


def file_at(uri: str) -> Path | None:
    """The file that a URI names, where it is of this machine and still there; uploads may also come from elsewhere."""
    try:
        path = local_path(uri)
    except UnsupportedUri:
        return None
    return path if os.path.isfile(path) else None  # which takes a name too long for one that is not there


def local_name(name: str) -> str:
    """The same as a text: among a million, making paths is what takes longest."""
    address = re.fullmatch(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/]*)(.*)", name, re.DOTALL)
    if address is None:
        return name
    scheme, host, path = address.groups()
    if scheme.lower() != "file" or host not in ("", "localhost"):
        raise UnsupportedUri(name)
    return os.fsdecode(unquote_to_bytes(path))
