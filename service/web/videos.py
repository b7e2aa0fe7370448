"""One video: what is known of it, its pictures, its edits, and its end."""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Iterator
from dataclasses import replace
from io import FileIO
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Query, Response
from starlette.responses import StreamingResponse

from index.access import Key
from index.blobs import original_key, thumbnail_key
from index.records import Glance, Upload, Video
from index.search import QueryError
from index.where import WhereError, parse
from ingest.uploads import BadFields, edited
from service.library import PUBLIC, UnknownVideo
from service.web.bodies import (
    TEXT,
    Edit,
    Hits,
    UploadState,
    VideoBody,
    VideoId,
    VideoRow,
    VideoRows,
    Where,
    WhyNot,
)
from service.web.doors import Behind, Doors, as_json, only
from service.web.playable import Blank, NotPlayable, blanked, blanks, kind_of
from service.web.problems import Problem, problems
from service.web.receive import DOORS, state_of

router = APIRouter(tags=["videos"])
READ_BYTES = 1 << 18
RANKED_MAX = 1_000
"""So far a video's rank is looked for."""
_PLACE = re.compile(r"(\d{1,20}(?:\.\d{1,20})?) (.+)", re.ASCII | re.DOTALL)
_PLAYED = {kind: {"schema": {"type": "string"}} for kind in ("video/mp4", "video/quicktime", "video/webm")}
_WHOLE = {"Accept-Ranges": {"schema": {"type": "string"}, "example": "bytes"}}
_PART = {"Content-Range": {"schema": {"type": "string"}, "example": "bytes 0-1023/103765"}}
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})", re.ASCII)


@router.get("/v1/videos", summary="Videos, the newest first", response_model=VideoRows)
def newest(
    behind: Behind,
    _key: Annotated[Key, only("search", "videos")],
    after: Annotated[str, Query(max_length=1_000, description="`next_after` of the page before")] = "",
    limit: Annotated[int, Query(ge=1, le=200)] = 48,
) -> VideoRows:
    """Those first that were handed in or changed last. Private ones are left out, so a page may hold fewer."""
    found, end = behind.library.newest(limit, after=_place(after) if after else None)
    next_after = None if end is None else f"{end[0]} {end[1]}"
    return VideoRows(videos=[VideoRow.of(upload, glance) for upload, glance in found], next_after=next_after)


@router.get(
    "/v1/videos/{video_id:path}/similar",
    summary="What is like it",
    response_model=Hits,
    responses=problems(404, 409),
)
def similar(
    video_id: VideoId,
    behind: Behind,
    _key: Annotated[Key, only("search")],
    k: Annotated[int, Query(ge=1, le=100)] = 10,
    offset: Annotated[int, Query(ge=0, le=1_000)] = 0,
    where: Annotated[Where, Query()] = None,
    explain: bool = False,
) -> Response:
    try:
        found = behind.library.search(video=video_id, k=k, offset=offset, where=where)
    except UnknownVideo as error:
        _upload(behind, video_id)
        raise Problem(409, "no_row_yet", f"{video_id} is {state_of(behind, video_id).state}, and no row yet") from error
    except WhereError as error:
        raise Problem(422, "bad_where", str(error)) from error
    return as_json(Hits.of(found, k=k, offset=offset, explain=explain))


@router.get(
    "/v1/videos/{video_id:path}/why-not",
    summary="What keeps it out of an answer",
    response_model=WhyNot,
    responses=problems(404),
)
def why_not(
    video_id: VideoId,
    behind: Behind,
    _key: Annotated[Key, only("search")],
    query: Annotated[
        str, Query(min_length=1, max_length=2_000, pattern=TEXT, description="words, or video:ID", examples=["a cat"])
    ],
    k: Annotated[int, Query(ge=1, le=100)] = 10,
    where: Annotated[Where, Query()] = None,
) -> WhyNot:
    def kept_out(by: str, detail: str) -> WhyNot:
        return WhyNot(video_id=video_id, rank=None, score=None, kept_out_by=by, detail=detail)

    item = behind.home.ledger.item(video_id, behind.space.id)
    upload = behind.home.ledger.upload(video_id)
    if item is None or upload is None:
        return kept_out("not_found", "there is no such upload")
    if item.state == "failure":
        return kept_out("failure", f"{item.step}: {item.reason}: {item.detail}")
    if upload.visibility != PUBLIC:
        return kept_out("private", f"its visibility is {upload.visibility}")
    table = behind.library.table
    if not table.get([video_id]):
        return kept_out("waiting", f"it is {item.state}, and no row yet")
    by_video, _, other = query.partition("video:")
    is_video = bool(other) and not by_video
    try:
        if where and video_id not in table.ids(parse(where).sql()):
            return kept_out("filter", f"it does not fit {where}")
        ranked = behind.library.search(
            video=other if is_video else None, text=None if is_video else query, k=RANKED_MAX, where=where
        )
    except UnknownVideo as error:
        raise Problem(404, "not_found", str(error)) from error
    except WhereError as error:
        raise Problem(422, "bad_where", str(error)) from error
    except QueryError as error:
        raise Problem(422, "bad_query", str(error)) from error
    place = next((number for number, match in enumerate(ranked, 1) if match.video_id == video_id), None)
    if place is None:
        if len(ranked) < RANKED_MAX:
            return kept_out("nothing_in_common", "query and video share neither a modality nor a word")
        return kept_out("rank", f"it is not among the {RANKED_MAX} best")
    score = ranked[place - 1].score
    if place <= k:
        return WhyNot(video_id=video_id, rank=place, score=score, kept_out_by=None, detail="it is in the answer")
    last = ranked[k - 1].score
    detail = f"the {k}. of the answer has {last:.4f}"
    return WhyNot(video_id=video_id, rank=place, score=score, kept_out_by="rank", detail=detail)


@router.get(
    "/v1/videos/{video_id:path}/thumbnail",
    summary="Its picture",
    response_class=Response,
    responses=problems(404, 409) | {200: {"content": {"image/jpeg": {"schema": {"type": "string"}}}}},
)
def thumbnail(video_id: VideoId, behind: Behind, _key: Annotated[Key, only("search", "videos")]) -> Response:
    name = _glance(behind, video_id).thumbnail_sha256
    if name is None:
        raise Problem(404, "no_picture", f"{video_id} has no picture")
    try:
        jpeg = behind.home.blobs.get(thumbnail_key(name))
    except FileNotFoundError as error:
        raise Problem(404, "no_picture", f"the picture of {video_id} is gone; firstlook doctor --fix") from error
    return Response(jpeg, media_type="image/jpeg", headers={"Cache-Control": "private, max-age=86400"})


@router.get(
    "/v1/videos/{video_id:path}/original",
    summary="The video itself, to be played",
    response_class=Response,
    responses=problems(404, 415, 416)
    | {
        200: {"content": _PLAYED, "headers": _WHOLE},
        206: {"description": "The range that was asked for.", "content": _PLAYED, "headers": _WHOLE | _PART},
    },
)
async def original(
    video_id: VideoId,
    behind: Behind,
    _key: Annotated[Key, only("search", "videos")],
    range_: Annotated[str | None, Header(alias="Range", examples=["bytes=0-1023"])] = None,
) -> Response:
    """The creator's bytes, without what they say of the creator: places, devices, names. Ranges are answered."""
    upload = await asyncio.to_thread(_upload, behind, video_id)
    path = behind.home.blobs.path_of(original_key(upload.content_sha256))
    if path is None or not path.is_file():
        raise Problem(404, "not_here", f"the original of {video_id} is not kept on this machine")
    file = path.open("rb", buffering=0)  # an object, that closes whatever becomes of the answer
    size = os.fstat(file.fileno()).st_size
    try:
        kind = kind_of(os.pread(file.fileno(), 16, 0))
        found = await asyncio.to_thread(blanks, lambda at, count: os.pread(file.fileno(), count, at), size)
    except NotPlayable as error:
        raise Problem(415, "not_playable", f"{video_id}: {error}") from error
    start, end = _wanted(range_, size)
    headers = {"Accept-Ranges": "bytes", "Content-Length": str(end - start)}
    if range_ is not None:
        headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    status = 200 if range_ is None else 206
    return StreamingResponse(_pieces(file, start, end, found), status, headers, media_type=kind)


# After those with a longer path: an id may hold slashes.


def _no_door(video_id: VideoId) -> None:
    """`…/similar` is a door, which only answers, and no video whose id ends so: over HTTP there are none."""
    if video_id.rpartition("/")[2] in DOORS:
        raise Problem(405, "wrong_method", "Method Not Allowed", headers={"Allow": "GET"})


@router.get(
    "/v1/videos/{video_id:path}",
    summary="Everything that is known of a video",
    response_model=VideoBody,
    responses=problems(404, 409),
    operation_id="show",
)
def show(video_id: VideoId, behind: Behind, _key: Annotated[Key, only("search", "videos")]) -> VideoBody:
    return VideoBody.of(_video(behind, video_id))


@router.patch(
    "/v1/videos/{video_id:path}",
    summary="Change what its creator said of it",
    response_model=UploadState,
    responses=problems(404),
    operation_id="edit",
    dependencies=[Depends(_no_door)],
)
def edit(video_id: VideoId, said: Edit, behind: Behind, _key: Annotated[Key, only("videos")]) -> UploadState:
    """A new revision; its bytes are not looked at again. One that is made private is in no answer from here on."""
    before = _upload(behind, video_id)
    try:
        changes = edited(said.model_dump(exclude_none=True), before)
    except BadFields as error:
        raise Problem(422, error.reason, str(error)) from error
    if behind.home.ledger.edit(video_id, **changes) is None:
        raise Problem(404, "not_found", f"no upload {video_id!r}")
    return state_of(behind, video_id)


@router.delete(
    "/v1/videos/{video_id:path}",
    status_code=204,
    summary="Erase a video",
    responses=problems(404),
    dependencies=[Depends(_no_door)],
)
def erase(video_id: VideoId, behind: Behind, _key: Annotated[Key, only("videos")]) -> Response:
    """It is in no answer from here on; its bytes leave the disks within minutes."""
    if not behind.home.ledger.erase(video_id):
        raise Problem(404, "not_found", f"no upload {video_id!r}")
    return Response(status_code=204)


def _pieces(file: FileIO, start: int, end: int, found: list[Blank]) -> Iterator[bytes]:
    with file:
        while start < end:
            data = os.pread(file.fileno(), min(READ_BYTES, end - start), start)
            if not data:
                return
            yield blanked(data, start, found)
            start += len(data)


def _wanted(said: str | None, size: int) -> tuple[int, int]:
    """[start, end) of the bytes that a Range header asks for. Source: RFC 9110, 14.1.2."""
    if said is None:
        return 0, size
    found = _RANGE.fullmatch(said.strip())
    if found is None or found[0] == "bytes=-":
        raise Problem(416, "bad_range", f"one range of bytes is answered, got {said[:100]!r}")
    first, last = found.groups()
    if not first:
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(int(last) + 1, size) if last else size
    if start >= end:
        refused = {"Content-Range": f"bytes */{size}"}
        raise Problem(416, "bad_range", f"there are {size} bytes, got {said[:100]!r}", headers=refused)
    return start, end


def _place(after: str) -> tuple[float, str]:
    """Where a page of `newest` ended, as it was told to whoever asks for the next one."""
    found = _PLACE.fullmatch(after)
    if found is None:
        raise Problem(422, "bad_after", f"after wants the next_after of the page before, got {after[:100]!r}")
    return float(found[1]), found[2]


def _upload(behind: Doors, video_id: str) -> Upload:
    upload = behind.home.ledger.upload(video_id)
    if upload is None:
        raise Problem(404, "not_found", f"no upload {video_id!r}")
    return upload


def _glance(behind: Doors, video_id: str) -> Glance:
    """What the row shows; it is in memory, the row is not."""
    _upload(behind, video_id)
    glance = behind.library.glance(video_id)
    if glance is None:
        raise Problem(409, "no_row_yet", f"{video_id} is {state_of(behind, video_id).state}, and no row yet")
    return glance


def _video(behind: Doors, video_id: str) -> Video:
    """The row, with what the creator says now."""
    upload = _upload(behind, video_id)
    rows = behind.library.table.get([video_id])
    if video_id not in rows:
        raise Problem(409, "no_row_yet", f"{video_id} is {state_of(behind, video_id).state}, and no row yet")
    return replace(rows[video_id], upload=upload)
