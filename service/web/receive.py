"""Uploads come in: a file as multipart, written to disk as it comes, or the place where one lies."""

from __future__ import annotations

import asyncio
import hashlib
import json
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import fsspec
from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import ValidationError

from index.access import AlreadyAsked, Key, StillAsked
from index.ledger import UPLOAD, Item
from index.records import canonical_json
from ingest.register import register
from ingest.uploads import BadFields, Source, named
from service.library import PUBLIC
from service.web.bodies import STATES, State, UploadByUri, UploadState, UploadStates, VideoId
from service.web.doors import Behind, Doors, only
from service.web.multipart import read_form
from service.web.problems import Problem
from service.web.worker import INCOMING

router = APIRouter(tags=["uploads"])
FIELDS = ("video_id", "creator_id", "caption", "hashtags", "sound_id", "language", "uploaded_at", "visibility", "extra")
"""What may stand beside the file, in the words of a manifest."""
CHUNK_BYTES = 1 << 20

_MULTIPART = {
    "type": "object",
    "required": ["file"],
    "properties": {"file": {"type": "string", "format": "binary"}, **{name: {"type": "string"} for name in FIELDS}},
}


@router.post(
    "/v1/uploads",
    status_code=202,
    summary="Hand in a video",
    response_model=UploadState,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "multipart/form-data": {"schema": _MULTIPART},
                "application/json": {"schema": UploadByUri.model_json_schema()},
            },
        }
    },
)
async def upload(
    request: Request,
    response: Response,
    behind: Behind,
    key: Annotated[Key, only("uploads")],
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=255)] = None,
) -> UploadState:
    """Taken when it is durable; its way to a video goes on without the caller. The same `Idempotency-Key` with the same
    request gives the same upload, however often it comes."""
    with incoming(behind) as file:
        fields, uri = await _take(request, behind, file)
        state = await asyncio.to_thread(_registered, behind, key, idempotency_key, fields, uri, file)
    response.headers["Location"] = state.links.state
    return state


@router.get("/v1/uploads/{video_id:path}", summary="How far an upload is", response_model=UploadState)
def upload_state(video_id: VideoId, behind: Behind, _key: Annotated[Key, only("uploads", "videos")]) -> UploadState:
    return state_of(behind, video_id)


@router.get("/v1/uploads", summary="Uploads, by state", response_model=UploadStates)
def upload_states(
    behind: Behind,
    _key: Annotated[Key, only("uploads", "videos")],
    state: State | None = None,
    after: Annotated[str, Query(max_length=256)] = "",
    limit: Annotated[int, Query(ge=1, le=1_000)] = 100,
) -> UploadStates:
    wanted = next((ours for ours, theirs in STATES.items() if theirs == state), None)
    items = behind.home.ledger.items(behind.space.id, state=wanted, after=after, limit=limit)
    return UploadStates(uploads=_states(behind, items), next_after=items[-1].video_id if len(items) == limit else None)


def state_of(behind: Doors, video_id: str) -> UploadState:
    """Where an upload stands.

    Raises:
        Problem: 404.
    """
    item = behind.home.ledger.item(video_id, behind.space.id)
    if item is None:
        raise Problem(404, "not_found", f"no upload {video_id!r}")
    (state,) = _states(behind, [item])
    if item.state == "waiting":
        state.ahead = behind.home.ledger.ahead_of(item, behind.space.id)
    return state


def _states(behind: Doors, items: Sequence[Item]) -> list[UploadState]:
    video_ids = [item.video_id for item in items]
    uploads, rows = behind.home.ledger.uploads(video_ids), behind.library.table.get(video_ids)
    found = {one for one in rows if one in uploads and uploads[one].visibility == PUBLIC}
    now_s = behind.clock()
    return [UploadState.of(item, searchable=item.video_id in found, now_s=now_s) for item in items]


@contextmanager
def incoming(behind: Doors) -> Iterator[BinaryIO]:
    """A file on the disk of the home, which vanishes when the block ends: by then its bytes are a blob."""
    folder = behind.home.folder / INCOMING
    folder.mkdir(exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        yield file  # type: ignore[misc]


async def _take(request: Request, behind: Doors, file: BinaryIO) -> tuple[dict[str, Any], str]:
    """Write the bytes of an upload to `file`; return what was said of it, and where it came from."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "multipart/form-data":
        fields = dict(await read_form(request, file, fields=FIELDS))
        if "extra" in fields:
            fields |= _extra(fields.pop("extra"))
        return fields, f"upload:{fields.get('video_id') or uuid.uuid4()}"
    if kind != "application/json":
        raise Problem(415, "wrong_kind", f"multipart/form-data or application/json is wanted, got {kind[:100]!r}")
    try:
        said = UploadByUri.model_validate_json(await request.body())
    except ValidationError as error:
        first = error.errors()[0]
        raise Problem(422, "invalid", f"{'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    if behind.settings.store_of(said.uri) is None:
        raise Problem(403, "store_not_allowed", "this URI lies in none of the stores that this service takes from")
    await asyncio.to_thread(_fetch, said.uri, file, behind.settings.upload_bytes_max)
    fields = said.model_dump(exclude_none=True, exclude={"uri", "extra"})
    return {**said.extra, **fields}, said.uri


def _fetch(uri: str, file: BinaryIO, bytes_max: int) -> None:
    taken = 0
    for some in _pieces(uri):
        taken += len(some)
        if taken > bytes_max:
            raise Problem(413, "too_large", f"at most {bytes_max} bytes are taken here")
        file.write(some)  # an error here is ours, and not the file's
    file.flush()


def _pieces(uri: str) -> Iterator[bytes]:
    try:
        source = fsspec.open(uri, "rb").open()
    except OSError as error:
        raise Problem(422, "not_readable", f"{uri}: {error.strerror or error}") from error
    with source:
        while True:
            try:
                some = source.read(CHUNK_BYTES)
            except OSError as error:
                raise Problem(422, "not_readable", f"{uri}: {error.strerror or error}") from error
            if not some:
                return
            yield some


def _registered(
    behind: Doors, key: Key, idempotency_key: str | None, fields: Mapping[str, Any], uri: str, file: BinaryIO
) -> UploadState:
    file.seek(0)
    content = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]  # typeshed wants readinto
    if idempotency_key is None:
        return state_of(behind, _register(behind, fields, uri, file))
    said = canonical_json({"fields": dict(fields), "content": content, "uri": uri.partition(":")[0]})
    try:
        known = behind.access.begin(key, idempotency_key, said)
    except StillAsked as asked:
        raise Problem(503, "in_progress", str(asked), headers={"Retry-After": "1"}) from asked
    except AlreadyAsked as asked:
        raise Problem(409, "already_asked", str(asked)) from asked
    if known is not None:
        return state_of(behind, known)
    video_id = None
    try:
        video_id = _register(behind, fields, uri, file)
    finally:
        behind.access.finish(key, idempotency_key, video_id)
    return state_of(behind, video_id)


def _register(behind: Doors, fields: Mapping[str, Any], uri: str, file: BinaryIO) -> str:
    """Make an upload of a file; return its id. Its bytes are a blob, and the ledger knows it, when this returns."""
    try:
        source: Source = named(fields, Path(file.name), uri=uri, origin="an upload")
        _check_id(source.video_id)
    except BadFields as error:
        raise Problem(422, error.reason, str(error)) from error
    given = register([source], behind.home, behind.space.id, priority=UPLOAD)
    (video_id,) = given.video_ids
    if given.extra_paths and fields:
        raise Problem(
            409, "same_bytes", f"these bytes are the upload {video_id!r}; give a video_id to hand them in as another"
        )
    return video_id


def _check_id(video_id: str | None) -> None:
    """An id that could not be told from a door by its path."""
    last = (video_id or "x").rpartition("/")[2]
    if last in ("", ".", "..", "similar", "why-not", "thumbnail", "original"):
        raise BadFields("bad_video_id", f"over HTTP an id does not end with {last!r}")


def _extra(text: str) -> dict[str, Any]:
    try:
        extra = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Problem(422, "bad_extra", f"extra wants a JSON object: {error}") from error
    if not isinstance(extra, dict):
        raise Problem(422, "bad_extra", f"extra wants a JSON object, got {type(extra).__name__}")
    return {name: value for name, value in extra.items() if name not in FIELDS}
