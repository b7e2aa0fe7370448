"""Between `Video` records and the columns of their table: the one place that knows both shapes.

Uploads and media facts are spread into columns of their own so that filters can name them; small structures that are
only ever read whole (`extra`, `signals`, `mask`, `speech_segments_s`) are kept as canonical JSON. A few columns are
derived (`DERIVED`): they exist to be searched or filtered, and are made again from the record whenever it is checked.
"""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import UTC
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from index.records import MODALITIES, MediaFacts, Space, Tag, Upload, Video, canonical_json

TAG_WORD_MIN_PROBABILITY = 0.05
"""A tag less probable than this is kept in the row, but its name is not among the words that a search finds."""

UNIT_LENGTH_TOLERANCE = 1e-3

_UPLOAD = {
    "revision": pa.int32(), "content_sha256": pa.string(), "uri": pa.string(), "creator_id": pa.string(),
    "caption": pa.string(), "hashtags": pa.list_(pa.string()), "sound_id": pa.string(), "language": pa.string(),
    "uploaded_at": pa.timestamp("us", "UTC"), "visibility": pa.string(), "extra": pa.string(),
}  # fmt: skip
_FACTS = {
    "container": pa.string(), "duration_s": pa.float64(), "declared_duration_s": pa.float64(),
    "video_codec": pa.string(), "width": pa.int32(), "height": pa.int32(), "fps": pa.float64(),
    "frame_count": pa.int32(), "rotation_deg": pa.int32(), "variable_frame_rate": pa.bool_(),
    "pixel_format": pa.string(), "audio_codec": pa.string(), "audio_rate_hz": pa.int32(),
    "audio_channels": pa.int32(), "truncated": pa.string(),
}  # fmt: skip
_ANALYSIS = {
    "mask": pa.string(), "tags": pa.list_(pa.string()), "tag_probabilities": pa.list_(pa.float64()),
    "onscreen_text": pa.string(), "transcript": pa.string(), "speech_segments_s": pa.string(),
    "signals": pa.string(), "thumbnail_sha256": pa.string(), "row_digest": pa.string(),
}  # fmt: skip
DERIVED = {"partial": pa.bool_(), "speech_share": pa.float64(), "present": pa.int8(), "words": pa.string()}
_JSON = ("extra", "mask", "signals", "speech_segments_s")


def modalities_of(space: Space) -> tuple[str, ...]:
    """The space's modalities in the order in which the fused vector lays them end to end."""
    return tuple(name for name in MODALITIES if name in space.dims)


def stored_fused_dim(space: Space) -> int:
    """Dimensions of the stored fused vector: zeros fill it up to a multiple of 8, which the IVF_RQ index insists on."""
    return -(-sum(space.dims.values()) // 8) * 8


def schema_of(space: Space) -> pa.Schema:
    """The columns of a space's table; `video_id` is declared as the key that merges go by.

    The declaration is what stops two merges of the same new keys from doubling rows, and it must stand in the source
    batch too. Source: measured, with `lance-schema:unenforced-primary-key` 0 rows doubled, without it hundreds.
    """
    key = pa.field("video_id", pa.string(), nullable=False, metadata={"lance-schema:unenforced-primary-key": "true"})
    plain = [pa.field(name, kind) for name, kind in {**_UPLOAD, **_FACTS, **_ANALYSIS, **DERIVED}.items()]
    vectors = [pa.field(name, pa.list_(pa.float32(), space.dims[name])) for name in modalities_of(space)]
    fused = pa.field("fused", pa.list_(pa.float32(), stored_fused_dim(space)))
    return pa.schema([key, *plain, *vectors, fused])


def fold(text: str) -> str:
    """The one spelling of a text that words are indexed and looked up by.

    `_` becomes a space because the word splitter takes `street_dance` for one word.

    >>> fold("Ｃａｆé_LATTE")
    'café latte'
    """
    return unicodedata.normalize("NFKC", text).casefold().replace("_", " ")


def words_of(video: Video) -> str:
    """All text of a video, one piece a line: what its creator wrote, what is seen, shown and said in it."""
    seen = [tag.name for tag in video.tags if tag.probability >= TAG_WORD_MIN_PROBABILITY]
    pieces = [video.upload.caption, *video.upload.hashtags, *seen, video.onscreen_text, video.transcript]
    return fold("\n".join(piece for piece in pieces if piece))


def row_of(video: Video, space: Space) -> dict[str, Any]:
    """One row in plain Python values, without the vectors; `where.Filter.matches` takes it too."""
    derived = {
        "partial": video.partial,
        "speech_share": video.signals.get("speech_share"),
        "present": sum(1 << bit for bit, name in enumerate(modalities_of(space)) if name in video.vectors),
        "words": words_of(video),
    }
    return {**_content(video), "row_digest": row_digest(video), **derived}


def row_digest(video: Video) -> str:
    """SHA-256 over everything in the record, the bytes of its vectors included, in one canonical order.

    A flipped byte in a data file is read back without complaint nine times in ten; this is what notices it.
    """
    digest = hashlib.sha256(canonical_json(_content(video)).encode())
    for name, vector in [*sorted(video.vectors.items()), ("fused", video.fused)]:
        digest.update(name.encode() + b"\0" + np.ascontiguousarray(vector, dtype="<f4").tobytes())
    return digest.hexdigest()


def check_fits(video: Video, space: Space) -> None:
    """Refuse a video that does not belong into the table of `space`.

    The store itself would take a vector with NaN in it for an absent one.

    Raises:
        ValueError: another space, a wrong shape, a vector that is not finite or not of unit length.
    """
    name = video.upload.video_id
    if video.space != space.id:
        raise ValueError(f"{name}: the table holds space {space.id}, the video is of {video.space}")
    for modality, vector in video.vectors.items():
        wanted = space.dims.get(modality)
        if vector.shape != (wanted,):
            raise ValueError(f"{name}: {modality} wants shape ({wanted},), got {vector.shape}")
        length = float(np.linalg.norm(vector))
        if not abs(length - 1) <= UNIT_LENGTH_TOLERANCE:
            raise ValueError(f"{name}: {modality} wants a finite unit vector, got one of length {length:.4f}")
    if video.fused.shape != (sum(space.dims.values()),):
        raise ValueError(f"{name}: fused wants shape ({sum(space.dims.values())},), got {video.fused.shape}")


def to_arrow(videos: Sequence[Video], space: Space) -> pa.Table:
    """Rows in the order of `videos`, with the table's schema. A modality that is absent is null, never zeros."""
    schema = schema_of(space)
    rows = [row_of(video, space) for video in videos]
    columns = {name: pa.array([row[name] for row in rows], schema.field(name).type) for name in rows[0]}
    for name in modalities_of(space):
        columns[name] = _vector_column([video.vectors.get(name) for video in videos], space.dims[name])
    fused = [video.fused if video.vectors else None for video in videos]
    columns["fused"] = _vector_column(fused, stored_fused_dim(space))
    return pa.table([columns[field.name] for field in schema], schema=schema)


def from_arrow(table: pa.Table, space: Space) -> list[Video]:
    """Read what `to_arrow` wrote, row for row."""
    vector_names = (*modalities_of(space), "fused")
    matrices = {name: vector_rows(table.column(name)) for name in vector_names}
    rows = table.drop_columns(list(vector_names)).to_pylist()
    return [_video_of(row, {name: matrices[name] for name in vector_names}, i, space) for i, row in enumerate(rows)]


def stored_digests(table: pa.Table) -> list[str]:
    """The digests that were written beside the rows, to compare with `row_digest` of what was read."""
    return [str(digest) for digest in table.column("row_digest").to_pylist()]


def vector_rows(column: pa.ChunkedArray[Any]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """A vector column as (n, dim) numbers, zeros where null, and (n,) true where there is a vector."""
    present = np.asarray(column.is_valid().combine_chunks())
    dim = column.type.list_size
    rows = np.zeros((len(column), dim), dtype=np.float32)
    rows[present] = np.asarray(pc.list_flatten(column)).reshape(-1, dim)  # leaves nulls out
    return rows, present


def _content(video: Video) -> dict[str, Any]:
    """Everything in the record except its vectors, as plain values; equal records give equal dicts."""
    upload = {field.name: getattr(video.upload, field.name) for field in fields(Upload)}
    facts = {field.name: getattr(video.facts, field.name) for field in fields(MediaFacts)}
    if video.upload.uploaded_at is not None:
        upload["uploaded_at"] = video.upload.uploaded_at.astimezone(UTC)
    return {
        **upload,
        **facts,
        "hashtags": list(video.upload.hashtags),
        "extra": canonical_json(dict(video.upload.extra)),
        "mask": canonical_json(dict(video.mask)),
        "tags": [tag.name for tag in video.tags],
        "tag_probabilities": [float(tag.probability) for tag in video.tags],
        "onscreen_text": video.onscreen_text,
        "transcript": video.transcript,
        "speech_segments_s": canonical_json([[float(start), float(end)] for start, end in video.speech_segments_s]),
        "signals": canonical_json({name: float(value) for name, value in video.signals.items()}),
        "thumbnail_sha256": video.thumbnail_sha256,
    }


def _video_of(
    row: Mapping[str, Any],
    matrices: Mapping[str, tuple[NDArray[np.float32], NDArray[np.bool_]]],
    i: int,
    space: Space,
) -> Video:
    parsed = {name: json.loads(row[name]) for name in _JSON}
    upload = {name: row[name] for name in ("video_id", *_UPLOAD)}
    upload |= {"hashtags": tuple(row["hashtags"]), "extra": parsed["extra"]}
    return Video(
        upload=Upload(**upload),
        space=space.id,
        vectors={name: matrices[name][0][i] for name in modalities_of(space) if matrices[name][1][i]},
        fused=matrices["fused"][0][i, : sum(space.dims.values())],
        mask=parsed["mask"],
        tags=tuple(Tag(name=n, probability=p) for n, p in zip(row["tags"], row["tag_probabilities"], strict=True)),
        onscreen_text=row["onscreen_text"],
        transcript=row["transcript"],
        speech_segments_s=tuple((start, end) for start, end in parsed["speech_segments_s"]),
        signals=parsed["signals"],
        facts=MediaFacts(**{name: row[name] for name in _FACTS}),
        thumbnail_sha256=row["thumbnail_sha256"],
    )


def _vector_column(vectors: Sequence[NDArray[np.float32] | None], dim: int) -> pa.FixedSizeListArray[Any]:
    """A nullable column of vectors of at most `dim` numbers, filled up with zeros."""
    rows = np.zeros((len(vectors), dim), dtype=np.float32)
    absent = np.array([vector is None for vector in vectors])
    for row, vector in zip(rows, vectors, strict=True):
        if vector is not None:
            row[: len(vector)] = vector
    return pa.FixedSizeListArray.from_arrays(pa.array(rows.ravel()), dim, mask=pa.array(absent))
