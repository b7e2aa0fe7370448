"""The page: a few files that are read at the start and handed to everybody. What they show, they ask for with a key.

No file is looked for by a name that came with a request. A browser keeps them and asks each time whether they changed,
so that an upgrade is seen at once. `page/main.js` is where they begin.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fastapi import APIRouter, Header, Response

from service.web.guard import HEADERS
from service.web.problems import Problem

router = APIRouter(tags=["page"], include_in_schema=False)

KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
POLICY = f"{HEADERS['Content-Security-Policy']}; require-trusted-types-for 'script'; trusted-types 'none'"
"""The page may not even try to make markup or a script of a text: `innerHTML` and its like throw."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Shipped:
    content: bytes
    kind: str
    etag: str


def _read(folder: Path) -> dict[str, Shipped]:
    found = {}
    for path in sorted(folder.iterdir()):
        if kind := KINDS.get(path.suffix):
            content = path.read_bytes()
            etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
            found[path.name] = Shipped(content=content, kind=f"{kind}; charset=utf-8", etag=etag)
    return found


SHIPPED = _read(Path(__file__).with_suffix(""))
FIRST = "index.html"


@router.get("/", summary="The page", response_class=Response)
async def page(if_none_match: Annotated[str | None, Header()] = None) -> Response:
    return _handed_out(FIRST, if_none_match)


@router.get("/static/{name}", summary="What the page is made of", response_class=Response)
async def static(name: str, if_none_match: Annotated[str | None, Header()] = None) -> Response:
    if name not in SHIPPED or name == FIRST:
        raise Problem(404, "not_found", "the page has no such file")
    return _handed_out(name, if_none_match)


def _handed_out(name: str, known: str | None) -> Response:
    file = SHIPPED[name]
    headers = {"ETag": file.etag, "Cache-Control": "no-cache", "Content-Security-Policy": POLICY}
    if known is not None and file.etag in (one.strip().removeprefix("W/") for one in known.split(",")):
        return Response(status_code=304, headers=headers)
    return Response(file.content, media_type=file.kind, headers=headers)
