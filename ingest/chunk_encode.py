"""The second half of a chunk: clips become analyses, which are blobs, and with their uploads rows."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence

from index.blobs import Blobs, analysis_key, thumbnail_key
from index.records import Analysis, Claimed, Space
from ingest.chunk_decode import Decoded, Outcome, stored_analysis
from ingest.clip import Clip
from ingest.encode import Encoders, analyse, complete, thumbnail_jpeg
from ingest.fuse import fuse


def encode_chunk(chunk: Sequence[Claimed], decoded: Decoded, blobs: Blobs, space: Space, encoders: Encoders) -> Outcome:
    """Encode clips, put thumbnails and analyses where a kill cannot take them, and fuse the uploads' rows."""
    ended = {upload.video_id for upload, _ in [*decoded.failed, *decoded.killed_child]}
    started = time.monotonic()
    try:
        analyses = decoded.known | _analysed(decoded.clips, blobs, space.id, encoders)
        encode_s = time.monotonic() - started
        pairs = [
            (claimed.upload, analyses[claimed.upload.content_sha256])
            for claimed in chunk
            if claimed.upload.content_sha256 in analyses and claimed.upload.video_id not in ended
        ]
        with encoders.timed("fuse"):
            videos = fuse(pairs, encoders.text, space) if pairs else []
    except Exception as error:
        error.add_note("while encoding " + ", ".join(claimed.upload.uri for claimed in chunk))
        raise
    return Outcome(
        videos=videos,
        failed=decoded.failed,
        killed_child=decoded.killed_child,
        decode_s=decoded.decode_s,
        encode_s=[encode_s / len(decoded.clips)] * len(decoded.clips) if decoded.clips else [],
    )


def _analysed(clips: dict[str, Clip], blobs: Blobs, space_id: str, encoders: Encoders) -> dict[str, Analysis]:
    if not clips:
        return {}
    thumbnails = [_put_thumbnail(clip, blobs) for clip in clips.values()]
    made = {}
    for new in analyse(list(clips.items()), encoders, space_id, thumbnails=thumbnails):
        old = stored_analysis(new.content_sha256, blobs, space_id)
        made[new.content_sha256] = new if old is None else complete(old, new)
        blobs.put(analysis_key(new.content_sha256, space_id), made[new.content_sha256].to_bytes())
    return made


def _put_thumbnail(clip: Clip, blobs: Blobs) -> str | None:
    jpeg = thumbnail_jpeg(clip)
    if jpeg is None:
        return None
    name = hashlib.sha256(jpeg).hexdigest()
    blobs.put(thumbnail_key(name), jpeg)
    return name
