"""The catalogue from the index: rows of the table and uploads of the ledger become `Entry`s."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from index.records import Space, Upload
from index.rows import modalities_of, vector_rows
from index.table import Fragment, Snapshot
from recommend.catalogue import Catalogue, Entry
from recommend.categories import CATEGORIES, CODES, Prototypes, given

PUBLIC = "public"
ROWS_AT_ONCE = 4_096
_COLUMNS = (
    "video_id", "creator_id", "sound_id", "language", "hashtags", "tags", "tag_probabilities", "duration_s",
    "uploaded_at", "content_sha256", "visibility", "extra",
)  # fmt: skip
TAG_MIN_PROBABILITY = 0.2
"""A thing seen less surely than this says nothing of a video's category."""


def empty(space: Space) -> Catalogue:
    """A catalogue for the vectors of one space."""
    parts, start = {}, 0
    for name in modalities_of(space):
        parts[name] = slice(start, start + space.dims[name])
        start += space.dims[name]
    return Catalogue(parts, CATEGORIES, space.id)


def entries(
    snapshot: Snapshot,
    fragments: Iterable[Fragment],
    prototypes: Prototypes,
    registered_s: Callable[[Sequence[str]], Mapping[str, float]],
) -> Iterator[list[Entry]]:
    """Read rows of a table, some thousands at a time. A video without any vector is left out: nothing is like it.

    Args:
        fragments: files of the snapshot's rows that are to be read.
        prototypes: classify those whose caller names no category.
        registered_s: when the ledger heard of these videos, for those that do not say when they were uploaded.
    """
    for fragment in fragments:
        for batch in fragment.batches(_wanted(snapshot.space), batch_rows=ROWS_AT_ONCE):
            yield _entries(pa.Table.from_batches([batch]), snapshot.space, prototypes, registered_s)


def entries_of(
    video_ids: Sequence[str],
    snapshot: Snapshot,
    prototypes: Prototypes,
    registered_s: Callable[[Sequence[str]], Mapping[str, float]],
) -> Iterator[list[Entry]]:
    """`entries` of these videos, as far as they have rows."""
    for table in snapshot.tables_of(video_ids, _wanted(snapshot.space)):
        yield _entries(table, snapshot.space, prototypes, registered_s)


def _wanted(space: Space) -> list[str]:
    return [*_COLUMNS, *(("text",) if "text" in space.dims else ()), "fused"]


def _entries(
    table: pa.Table,
    space: Space,
    prototypes: Prototypes,
    registered_s: Callable[[Sequence[str]], Mapping[str, float]],
) -> list[Entry]:
    fused, present = vector_rows(table.column("fused"))
    fused = fused[:, : sum(space.dims.values())]
    rows = table.select(_COLUMNS).to_pylist()
    codes, confidence = _categories(table, rows, prototypes)
    since = registered_s([row["video_id"] for row in rows if row["uploaded_at"] is None])
    found = []
    for i, row in enumerate(rows):
        if not present[i]:
            continue
        extra = json.loads(row["extra"])
        uploaded = row["uploaded_at"]
        found.append(
            Entry(
                video_id=row["video_id"],
                vector=fused[i],
                creator_id=row["creator_id"],
                sound_id=row["sound_id"],
                category=CATEGORIES[codes[i]],
                category_confidence=float(confidence[i]),
                language=row["language"],
                hashtags=tuple(row["hashtags"]),
                duration_s=row["duration_s"] or 0.0,
                uploaded_s=uploaded.timestamp() if uploaded is not None else since.get(row["video_id"], 0.0),
                content_sha256=row["content_sha256"],
                shown=row["visibility"] == PUBLIC,
                flagged=bool(extra.get("flags")),
                sensitive=bool(extra.get("sensitive")),
            )
        )
    return found


def _categories(
    table: pa.Table, rows: Sequence[Mapping[str, Any]], prototypes: Prototypes
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """What the caller says, or else what the words do."""
    if "text" in table.column_names:
        text, has_text = vector_rows(table.column("text"))
        text[~has_text] = np.nan
    else:
        text = np.full((len(rows), prototypes.vectors.shape[1]), np.nan, np.float32)
    seen = [
        [name for name, p in zip(row["tags"], row["tag_probabilities"], strict=True) if p >= TAG_MIN_PROBABILITY]
        for row in rows
    ]
    codes, confidence = prototypes.classify(text, [row["hashtags"] for row in rows], seen)
    for i, row in enumerate(rows):
        said = _said(json.loads(row["extra"]))
        if said is not None:
            codes[i], confidence[i] = said, 1.0
    return codes, confidence


def _said(extra: Mapping[str, Any]) -> int | None:
    """A category that the door let in before there were these names is no category."""
    try:
        return given(extra)
    except ValueError:
        return CODES["other"]


def is_servable(upload: Upload | None) -> bool:
    """The ledger has the last word: what was erased, made private or flagged since is on no page."""
    return upload is not None and upload.visibility == PUBLIC and not upload.extra.get("flags")
