"""Slates in bulk: a Parquet file with a row a place, for mail, push and caches that are filled at night."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from recommend.pipeline import Page
from service.library import Library

SCHEMA = pa.schema([
    ("viewer_id", pa.string()), ("slate_id", pa.string()), ("position", pa.int32()), ("video_id", pa.string()),
    ("score", pa.float64()), ("slot", pa.string()), ("source", pa.string()), ("because", pa.string()),
    ("propensity", pa.float64()), ("made_s", pa.float64()), ("ranker", pa.string()),
])  # fmt: skip
SLATES_AT_ONCE = 500
"""So many become a group of rows; more are not held in memory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlateMaker:
    """Makes the slates of some viewers, here or in a worker elsewhere that sees the same home."""

    home: Path
    space: str
    k: int
    now_s: float
    until: int
    """The place in the log that all of them know of."""

    def __call__(self) -> _Making:
        return _Making(self)


class _Making:
    def __init__(self, asked: SlateMaker) -> None:
        self._asked = asked
        self._library = Library.open(asked.home, space=asked.space, create=False)

    def run(self, viewer_ids: Sequence[str]) -> pa.Table:
        """(viewers, rows of them): a row a place."""
        asked = self._asked
        pages = self._library.recommender().slates(viewer_ids, k=asked.k, now_s=asked.now_s, until=asked.until)
        return table_of(page for _, page in pages)


def in_chunks(viewer_ids: Iterable[str]) -> list[list[str]]:
    """Viewers in the order given, as many together as become a group of rows."""
    listed = list(viewer_ids)
    return [listed[start : start + SLATES_AT_ONCE] for start in range(0, len(listed), SLATES_AT_ONCE)]


def table_of(pages: Iterable[Page]) -> pa.Table:
    """A row a place, page after page."""
    rows = [
        {
            "viewer_id": page.viewer_id,
            "slate_id": page.slate_id,
            "position": one.position,
            "video_id": one.video_id,
            "score": one.score,
            "slot": one.slot,
            "source": one.source,
            "because": one.because,
            "propensity": one.propensity,
            "made_s": page.made_s,
            "ranker": page.ranker,
        }
        for page in pages
        for one in page.videos
    ]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def write_slates(
    out: Path, tables: Iterable[pa.Table], *, on_progress: Callable[[int], None] = lambda slates: None
) -> dict[str, int]:
    """Write tables as they come; the file appears when it is whole. Return how many slates and rows there are.

    Viewers to whom nothing may be shown have no slate.
    """
    beside = out.with_name(out.name + ".part")
    slates = rows = 0
    with pq.ParquetWriter(beside, SCHEMA) as writer:
        for table in tables:
            if len(table):
                writer.write_table(table)
            slates, rows = slates + len(pc.unique(table["slate_id"])), rows + len(table)
            on_progress(slates)
    beside.replace(out)
    return {"slates": slates, "rows": rows}
