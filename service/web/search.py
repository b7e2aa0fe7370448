"""Searches: by words, by a video of the library, or by a file that is not in it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Request, Response
from pydantic import ValidationError

from index.access import Key
from index.search import QueryError
from index.where import WhereError
from ingest.clip import MediaError
from service.library import Match, UnknownVideo
from service.web.bodies import Ask, Hits
from service.web.doors import Behind, Doors, as_json, only
from service.web.multipart import read_form
from service.web.problems import Problem, problems
from service.web.receive import form, incoming

router = APIRouter(tags=["search"])
FIELDS = ("k", "offset", "where", "weights", "explain")
_EXAMPLE = {"k": "1", "where": "duration_s < 30"}


@router.post("/v1/search", summary="Search by words, or by a video", response_model=Hits, responses=problems(404))
def search(asked: Ask, behind: Behind, _key: Annotated[Key, only("search")]) -> Response:
    """One of `text` and `video` is wanted."""
    return _answer(behind, asked, {"text": asked.text, "video": asked.video})


@router.post(
    "/v1/search/file",
    summary="Search by a clip, a picture or a sound",
    response_model=Hits,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"multipart/form-data": form(FIELDS, _EXAMPLE)},
        }
    },
    responses=problems(404),
)
async def search_file(request: Request, behind: Behind, _key: Annotated[Key, only("search")]) -> Response:
    """The file is decoded in the sandbox, as an upload is, and forgotten."""
    with incoming(behind) as file:
        said = await read_form(request, file, fields=FIELDS)
        asked = _asked(said)
        return await asyncio.to_thread(_answer, behind, asked, {"file": file.name})


def _asked(said: Mapping[str, str]) -> Ask:
    try:
        fields: dict[str, Any] = dict(said)
        if "weights" in fields:
            fields["weights"] = json.loads(fields["weights"])
        return Ask.model_validate(fields, strict=False)  # all of a form is text
    except (ValidationError, ValueError, RecursionError) as error:
        raise Problem(422, "invalid", str(error).splitlines()[0]) from error


def _answer(behind: Doors, asked: Ask, by: Mapping[str, str | None]) -> Response:
    try:
        found: list[Match] = behind.library.search(
            **by,
            k=asked.k,
            offset=asked.offset,
            where=asked.where,
            weights=asked.weights,
        )
    except UnknownVideo as error:
        raise Problem(404, "not_found", str(error)) from error
    except WhereError as error:
        raise Problem(422, "bad_where", str(error)) from error
    except QueryError as error:
        raise Problem(422, "bad_query", str(error)) from error
    except MediaError as error:
        raise Problem(422, error.reason, str(error.detail)) from error
    return as_json(Hits.of(found, k=asked.k, offset=asked.offset, explain=asked.explain))
