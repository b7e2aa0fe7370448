"""The first half of a chunk: files become clips. Imports little, since a worker on Ray imports it for nothing else."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import Protocol

from index.blobs import Blobs, analysis_key, original_key
from index.records import Analysis, Claimed, Failure, Upload, Video
from ingest.clip import Clip, MediaError
from ingest.decode import ChildDied
from ingest.uris import file_at

LIMITS_OF_THE_FILE = ("cpu_limit", "memory_limit")
"""A child that hits these will hit them again: no second try. Any other death may have been the machine's."""


class Decoder(Protocol):
    """What turns a file into a clip; called from many threads at once."""

    def decode(self, path: Path) -> Clip: ...


@dataclass(slots=True, kw_only=True)
class Decoded:
    """A chunk between its two halves: what has to be encoded, what need not be, and what cannot be."""

    clips: dict[str, Clip] = field(default_factory=dict)
    """By content."""
    known: dict[str, Analysis] = field(default_factory=dict)
    """By content: the same bytes were analysed before."""
    failed: list[tuple[Upload, Failure]] = field(default_factory=list)
    killed_child: list[tuple[Upload, ChildDied]] = field(default_factory=list)
    decode_s: list[float] = field(default_factory=list)
    """What each file took that was decoded, also those that failed at it."""


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What became of one chunk: every upload of it is in one list, or was cut off by a stop and stays leased."""

    videos: list[Video] = field(default_factory=list)
    failed: list[tuple[Upload, Failure]] = field(default_factory=list)
    killed_child: list[tuple[Upload, ChildDied]] = field(default_factory=list)
    lost_worker: list[Upload] = field(default_factory=list)
    """The process that had these in hand is gone, or its machine; nobody knows which of them it was, if any."""
    how_lost: str = ""
    decode_s: list[float] = field(default_factory=list)
    """As `Decoded` has it."""
    encode_s: list[float] = field(default_factory=list)
    """What each video took that was encoded: its share of the chunk."""
    task: str = ""
    """What worked on it, as logs elsewhere name it: a Ray task's id, or a thread."""


def decode_chunk(
    chunk: Sequence[Claimed], blobs: Blobs, space_id: str, decoder: Decoder, stop: Event | None = None
) -> Decoded:
    """Decode what is not analysed yet; what a stop cuts off is nowhere in the answer.

    An analysis with failed channels is taken as it is, unless its upload is tried again.
    """
    decoded = Decoded()
    for claimed in chunk:
        stored = stored_analysis(claimed.upload.content_sha256, blobs, space_id)
        if stored is not None and not (stored.partial and claimed.partial):
            decoded.known[claimed.upload.content_sha256] = stored
    for claimed in chunk:
        upload = claimed.upload
        if upload.content_sha256 in decoded.known or upload.content_sha256 in decoded.clips:
            continue
        if stop is not None and stop.is_set():
            break
        try:
            with _original(upload, blobs) as path:
                started = time.monotonic()
                try:
                    decoded.clips[upload.content_sha256] = decoder.decode(path)
                finally:
                    decoded.decode_s.append(time.monotonic() - started)
        except MediaError as error:
            if isinstance(error, ChildDied) and error.reason not in LIMITS_OF_THE_FILE:
                decoded.killed_child.append((upload, error))
            else:
                decoded.failed.append((upload, failure_of(upload, error)))
    return decoded


def stored_analysis(content: str, blobs: Blobs, space_id: str) -> Analysis | None:
    """What the same bytes were found to say before; None where that is not there, or not whole."""
    key = analysis_key(content, space_id)
    if not blobs.has(key):
        return None
    try:
        return Analysis.from_bytes(blobs.get(key))
    except ValueError:  # a torn or flipped blob is made again from the original, which is the truth
        return None


def failure_of(upload: Upload, error: MediaError) -> Failure:
    """The record of an upload whose file is at fault."""
    step = "read" if error.reason.startswith("original_") else "decode"
    return Failure(video_id=upload.video_id, uri=upload.uri, step=step, reason=error.reason, detail=error.detail)


@contextmanager
def _original(upload: Upload, blobs: Blobs) -> Iterator[Path]:
    """The bytes as a file: our copy, or the file itself where it was taken in place."""
    key = original_key(upload.content_sha256)
    if blobs.has(key):
        try:
            with blobs.local_copy(key) as path:
                yield path
        except FileNotFoundError as error:
            if blobs.has(key):
                raise
            raise MediaError("original_gone", "erased while it was worked on") from error
        return
    original = file_at(upload.uri)
    if original is None:
        raise MediaError("original_gone", f"{upload.uri}: not kept here, and not there any more")
    with original.open("rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != upload.content_sha256:
            raise MediaError("original_changed", f"{original}: taken in place, and changed since; ingest it again")
    yield original
