"""A library written out whole, in formats that need no firstlook to read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TypeVar

import pyarrow as pa
import pyarrow.parquet as pq

from index.blobs import thumbnail_key
from index.home import Home
from index.records import Space
from index.rows import schema_of
from index.search import Hit

T = TypeVar("T")


def export(home: Home, space: Space, out: Path) -> dict[str, int]:
    """Write videos, failures, the space and the thumbnails into a new or empty folder; return how many of each."""
    out.mkdir(parents=True, exist_ok=True)
    if any(out.iterdir()):
        raise FileExistsError(f"{out} is not empty; an export wants a new or empty folder")
    table = home.table(space)
    videos, thumbnails = 0, 0
    (out / "thumbnails").mkdir()
    with pq.ParquetWriter(out / "videos.parquet", schema_of(space)) as writer:
        for batch in table.scan(schema_of(space).names):
            writer.write_batch(batch)
            videos += batch.num_rows
            for name in batch.column("thumbnail_sha256").to_pylist():
                if name is not None:
                    (out / "thumbnails" / f"{name}.jpg").write_bytes(home.blobs.get(thumbnail_key(name)))
                    thumbnails += 1
    failures = home.ledger.failures(space.id)
    lines = [json.dumps(asdict(failure), ensure_ascii=False) + "\n" for failure in failures]
    (out / "failures.jsonl").write_text("".join(lines), encoding="utf-8")
    about = {"id": space.id, "spec": space.spec, "dims": dict(space.dims), "weights": dict(space.weights)}
    (out / "space.json").write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return {"videos": videos, "failures": len(failures), "thumbnails": thumbnails}


def write_neighbours(out: Path, neighbours: Iterable[tuple[str, list[Hit]]], modalities: Sequence[str]) -> int:
    """Write neighbours to a Parquet file, a block of videos at a time; the file appears when it is whole."""
    schema = pa.schema(
        [("video_id", pa.string()), ("rank", pa.int32()), ("neighbour_id", pa.string()), ("score", pa.float32())]
        + [(name, pa.float32()) for name in modalities]
    )
    count = 0
    partial = out.with_name(out.name + ".partial")
    with pq.ParquetWriter(partial, schema) as writer:
        for block in _blocks(neighbours, 1_000):
            count += len(block)
            rows = [
                {"video_id": video_id, "rank": rank, "neighbour_id": hit.video_id, "score": hit.score, **hit.modalities}
                for video_id, hits in block
                for rank, hit in enumerate(hits, start=1)
            ]
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))
    partial.replace(out)
    return count


def _blocks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while block := list(islice(iterator, size)):
        yield block
