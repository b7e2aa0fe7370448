"""Slates in bulk: a Parquet file with a row a place, for mail, push and caches that are filled at night."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from recommend.pipeline import Page

SCHEMA = pa.schema([
    ("viewer_id", pa.string()), ("slate_id", pa.string()), ("position", pa.int32()), ("video_id", pa.string()),
    ("score", pa.float64()), ("slot", pa.string()), ("source", pa.string()), ("because", pa.string()),
    ("propensity", pa.float64()), ("made_s", pa.float64()), ("ranker", pa.string()),
])  # fmt: skip
SLATES_AT_ONCE = 500
"""So many become a group of rows; more are not held in memory."""


def write_slates(
    out: Path, slates: Iterable[tuple[str, Page]], *, on_progress: Callable[[int], None] = lambda viewers: None
) -> dict[str, int]:
    """Write slates as they come; the file appears when it is whole. Return how many viewers and rows there are."""
    beside = out.with_name(out.name + ".part")
    viewers = rows = 0
    with pq.ParquetWriter(beside, SCHEMA) as writer:
        waiting: list[dict[str, Any]] = []
        for viewer_id, page in slates:
            viewers += 1
            waiting += [
                {
                    "viewer_id": viewer_id,
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
                for one in page.videos
            ]
            if viewers % SLATES_AT_ONCE == 0:
                rows += _write(writer, waiting)
                waiting = []
                on_progress(viewers)
        rows += _write(writer, waiting)
    beside.replace(out)
    return {"viewers": viewers, "rows": rows}


def _write(writer: Any, rows: list[dict[str, Any]]) -> int:
    if rows:
        writer.write_table(pa.Table.from_pylist(rows, schema=SCHEMA))
    return len(rows)
