"""Uploads come in: a file as multipart, written to disk as it comes, or the place where one lies."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import stat
import tempfile
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, BinaryIO, cast

import fsspec
from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import ValidationError

from index.access import AlreadyAsked, Key, StillAsked
from index.ledger import UPLOAD, Item
from index.records import canonical_json
from ingest.register import register
from ingest.uploads import VIDEO_ID_MAX_CHARS, BadFields, Source, named
from service.library import PUBLIC
from service.web.bodies import ID_CHARS, STATES, State, UploadByUri, UploadState, UploadStates, VideoId
from service.web.doors import Behind, Doors, only
from service.web.multipart import FIELD_BYTES_MAX, read_form
from service.web.problems import Problem, problems
from service.web.worker import INCOMING

router = APIRouter(tags=["uploads"])
FIELDS = ("video_id", "creator_id", "caption", "hashtags", "sound_id", "language", "uploaded_at", "visibility", "extra")
"""What may stand beside the file, in the words of a manifest."""
DOORS = ("similar", "why-not", "thumbnail", "original")
"""Of a video; the ends of their paths."""
CHUNK_BYTES = 1 << 20

_EXAMPLE = {"video_id": "mine", "caption": "She heard the fridge open. #cat", "extra": '{"app": 3}'}
_LINKS = {
    "state": {"operationId": "upload_state", "parameters": {"video_id": "$response.body#/video_id"}},
    "edit": {"operationId": "edit", "parameters": {"video_id": "$response.body#/video_id"}},
    "video": {"operationId": "show", "parameters": {"video_id": "$response.body#/video_id"}},
}
_PLACE = {"Location": {"description": "Its state.", "schema": {"type": "string"}, "example": "/v1/uploads/mine"}}


def form(fields: Sequence[str], example: Mapping[str, str]) -> dict[str, Any]:
    """What OpenAPI says of a multipart body with a file, and these texts beside it."""
    texts = {name: {"type": "string", "maxLength": FIELD_BYTES_MAX} for name in fields}
    schema = {
        "type": "object",
        "required": ["file"],
        "additionalProperties": False,
        "properties": {"file": {"type": "string", "contentMediaType": "application/octet-stream"}, **texts},
    }
    return {
        "schema": schema,
        "encoding": {"file": {"contentType": "application/octet-stream"}},
        "example": {"file": "(its bytes)", **example},
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
                "multipart/form-data": form(FIELDS, _EXAMPLE),
                "application/json": {"schema": UploadByUri.model_json_schema()},
            },
        }
    },
    responses=problems(409, 415) | {202: {"headers": _PLACE, "links": _LINKS}},
)
async def upload(
    request: Request,
    response: Response,
    behind: Behind,
    key: Annotated[Key, only("uploads")],
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=255, examples=["7f3a"])] = None,
) -> UploadState:
    """Taken when it is durable; its way to a video goes on without the caller. The same `Idempotency-Key` with the same
    request gives the same upload, however often it comes."""
    with incoming(behind) as file:
        fields, uri = await _take(request, behind, file)
        state = await asyncio.to_thread(_registered, behind, key, idempotency_key, fields, uri, file)
    response.headers["Location"] = state.links.state
    return state


@router.get(
    "/v1/uploads/{video_id:path}",
    summary="How far an upload is",
    response_model=UploadState,
    responses=problems(404),
    operation_id="upload_state",
)
def upload_state(video_id: VideoId, behind: Behind, _key: Annotated[Key, only("uploads", "videos")]) -> UploadState:
    return state_of(behind, video_id)


@router.get("/v1/uploads", summary="Uploads, by state", response_model=UploadStates)
def upload_states(
    behind: Behind,
    _key: Annotated[Key, only("uploads", "videos")],
    state: State | None = None,
    after: Annotated[
        str, Query(max_length=VIDEO_ID_MAX_CHARS, pattern=f"^{ID_CHARS}*$", description="ids after this one")
    ] = "",
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
    store = behind.settings.store_of(said.uri)
    if store is None:
        raise Problem(403, "store_not_allowed", "this URI lies in none of the stores that this service takes from")
    await asyncio.to_thread(_fetch, store, said.uri, file, behind.settings.upload_bytes_max)
    fields = said.model_dump(exclude_none=True, exclude={"uri", "extra"})
    return _unnamed(said.extra) | fields, said.uri


def _fetch(store: str, uri: str, file: BinaryIO, bytes_max: int) -> None:
    taken = 0
    for some in _pieces(store, uri):
        taken += len(some)
        if taken > bytes_max:
            raise Problem(413, "too_large", f"at most {bytes_max} bytes are taken here")
        file.write(some)  # an error here is ours, and not the file's
    file.flush()


def _pieces(store: str, uri: str) -> Iterator[bytes]:
    try:
        source = _opened(store, uri)
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


def _opened(store: str, uri: str) -> BinaryIO:
    """The file of a URI that lies in this store, and in no other: a name in it may read like a URI of another kind
    (`s3://in/new/a::file:///etc/passwd` is a chain to fsspec), and like a pipe, which nobody would ever write to."""
    if "://" in store:
        files, _ = fsspec.core.url_to_fs(store)
        return cast(BinaryIO, files.open(files._strip_protocol(uri), "rb"))
    number = os.open(os.path.realpath(uri), os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW)
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise Problem(422, "not_readable", f"{uri}: a regular file is wanted")
    return os.fdopen(number, "rb")


def _registered(
    behind: Doors, key: Key, idempotency_key: str | None, fields: Mapping[str, Any], uri: str, file: BinaryIO
) -> UploadState:
    file.seek(0)
    content = hashlib.file_digest(file, "sha256").hexdigest()  # type: ignore[arg-type]  # typeshed wants readinto
    if idempotency_key is None:
        return _taken(behind, _register(behind, fields, uri, file))
    said = canonical_json({"fields": dict(fields), "content": content, "uri": uri.partition(":")[0]})
    try:
        known = behind.access.begin(key, idempotency_key, said)
    except StillAsked as asked:
        raise Problem(503, "in_progress", str(asked), headers={"Retry-After": "1"}) from asked
    except AlreadyAsked as asked:
        raise Problem(409, "already_asked", str(asked)) from asked
    if known is not None:
        return _taken(behind, known)
    video_id = None
    try:
        video_id = _register(behind, fields, uri, file)
    finally:
        behind.access.finish(key, idempotency_key, video_id)
    return _taken(behind, video_id)


def _taken(behind: Doors, video_id: str) -> UploadState:
    try:
        return state_of(behind, video_id)
    except Problem as gone:
        raise Problem(409, "erased", f"{video_id!r} was taken, and has been erased since") from gone


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
    """Refuse an id that its path would not lead to: it reads like a door, or clients and proxies shorten it."""
    parts = (video_id or "x").split("/")
    if parts[-1] in DOORS:
        raise BadFields("bad_video_id", f"over HTTP an id does not end with {parts[-1]!r}")
    if wrong := {"", ".", ".."}.intersection(parts):
        raise BadFields("bad_video_id", f"over HTTP an id has no {min(wrong)!r} between its slashes")


def _extra(text: str) -> dict[str, Any]:
    try:
        extra = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Problem(422, "bad_extra", f"extra wants a JSON object: {error}") from error
    if not isinstance(extra, dict):
        raise Problem(422, "bad_extra", f"extra wants a JSON object, got {type(extra).__name__}")
    return _unnamed(extra)


def _unnamed(extra: Mapping[str, Any]) -> dict[str, Any]:
    """Without what has a field of its own, which alone counts."""
    return {name: value for name, value in extra.items() if name not in FIELDS}
