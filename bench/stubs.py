"""A home filled with made-up videos: as many as a benchmark wants, without a file or an encoder.

Vectors lie around centres, as those of real videos do, so that neighbours mean something; analyses are of the size that
real ones have (eight tags, a transcript of 200 characters). Everything random has seed 7.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import lance
import numpy as np
import pyarrow as pa
import sqlalchemy as sql
from numpy.typing import NDArray

from index import ledger, schema
from index.home import Home
from index.records import PRESENT, Analysis, MediaFacts, Space, Tag, Upload
from index.rows import modalities_of, stored_fused_dim, to_arrow
from index.table import table_uri
from ingest.fuse import fuse

SEED = 7
SPACE = Space(
    name="stub",
    spec={
        "text_shares": dict.fromkeys(("caption", "hashtags", "tags", "onscreen", "transcript"), 1.0),
        "sampling": {"mode": "full"},
        "without": [],
        "encoders": {},
    },
    dims={"vision": 96, "text": 384, "sound": 32},
    weights={"vision": 0.35, "text": 0.55, "sound": 0.1},
)
FILL_ROWS = 20_000
CENTRES = 500
SPREAD = 1.0
"""Length of the noise beside a centre of length 1: cosines within a cluster are about 1 / (1 + SPREAD ** 2)."""


class NoText:
    """The stubs' captions are empty, so nothing is encoded."""

    def encode(self, texts: list[str]) -> Any:
        raise AssertionError(texts)

    def spell_out(self, hashtags: list[str]) -> str:
        return ""


def stubs(start: int, count: int, space: Space = SPACE) -> Iterator[tuple[Upload, Analysis]]:
    """Uploads with analyses of the size that real ones have."""
    rng = np.random.default_rng([SEED, start])
    for number in range(start, start + count):
        dims = {"vision": 96, "tags": 384, "transcript": 384, "sound": 32}
        vectors = {name: _unit(rng.normal(size=dim)) for name, dim in dims.items()}
        upload = upload_of(number)
        content = upload.content_sha256
        yield (
            upload,
            Analysis(
                content_sha256=content,
                space=space.id,
                vectors=vectors,
                mask=dict.fromkeys(vectors, PRESENT) | {"onscreen": "no_text"},
                tags=tuple(Tag(name=f"class {n}", probability=0.1) for n in range(8)),
                onscreen_text="",
                transcript="word " * 40,
                speech_segments_s=((0.5, 4.0), (5.0, 7.5)),
                signals={"brightness": 0.5, "motion": 0.1, "speech_share": 0.6, "tempo_bpm": 120.0},
                facts=MediaFacts(
                    container="mp4", duration_s=8.0, declared_duration_s=8.0, video_codec="h264", fps=30.0
                ),
                thumbnail_sha256=content,
            ),
        )


def upload_of(number: int) -> Upload:
    return Upload(
        video_id=f"v{number:09}",
        content_sha256=f"{number:064x}",
        uri=f"/clips/{number // 1000}/{number}.mp4",
        creator_id=f"c{number % 5000}",
    )


def fill(home: Home, rows: int, space: Space = SPACE) -> None:
    """Bring ledger and table to so many finished videos.

    Written past our own doors, since a million commits are not the question here: the ledger's rows in bulk, and the
    table's as the same rows again and again under other ids and with other vectors (their digests are not their own).
    """
    once = to_arrow(fuse(list(stubs(0, min(rows, FILL_ROWS), space)), NoText(), space), space)
    home.table(space)  # makes it
    for start in range(0, rows, FILL_ROWS):
        numbers = range(start, min(start + FILL_ROWS, rows))
        table = once.slice(0, len(numbers))
        for name, column in _columns(numbers, space).items():
            place = once.schema.get_field_index(name)
            field = once.schema.field(place)
            table = table.set_column(place, field, column.cast(field.type))
        lance.write_dataset(table, table_uri(home.tables_url, space), mode="append")
        _write_down(home, [upload_of(number) for number in numbers], space)
    home.table(space).optimize_if_due()


def vectors(numbers: range, space: Space = SPACE) -> dict[str, NDArray[np.float32]]:
    """Modality -> (len(numbers), dim) unit rows around centres that all calls share."""
    rng, centres = np.random.default_rng([SEED, numbers.start]), np.random.default_rng(SEED)
    of_centre = rng.integers(0, CENTRES, len(numbers))
    found = {}
    for name in modalities_of(space):
        dim = space.dims[name]
        noise = rng.normal(size=(len(numbers), dim)) * SPREAD / dim**0.5
        found[name] = _unit(_unit(centres.normal(size=(CENTRES, dim)))[of_centre] + noise)
    return found


def _columns(numbers: range, space: Space) -> dict[str, Any]:
    ids = pa.array([f"v{number:09}" for number in numbers], pa.string())
    made = vectors(numbers, space)
    fused = np.zeros((len(numbers), stored_fused_dim(space)), np.float32)
    end = 0
    for name in modalities_of(space):
        start, end = end, end + space.dims[name]
        fused[:, start:end] = made[name] * space.weights[name] ** 0.5
    rows = {**made, "fused": fused}
    listed = {n: pa.FixedSizeListArray.from_arrays(pa.array(r.ravel()), r.shape[1]) for n, r in rows.items()}
    return {"video_id": ids, **listed}


def _write_down(home: Home, uploads: list[Upload], space: Space) -> None:
    known = [
        {
            "video_id": upload.video_id,
            "revision": 1,
            "content_sha256": upload.content_sha256,
            "body": ledger._body(upload),
            "registered_s": 0.0,
        }
        for upload in uploads
    ]
    ended = [
        {
            "video_id": upload.video_id,
            "space_id": space.id,
            "revision": 1,
            "uri": upload.uri,
            "state": "video",
            "queued_s": 0.0,
        }
        for upload in uploads
    ]
    with home.ledger._write() as connection:
        connection.execute(sql.insert(schema.uploads), known)
        connection.execute(sql.insert(schema.items), ended)


def _unit(rows: NDArray[np.float64]) -> NDArray[np.float32]:
    return np.asarray(rows / np.linalg.norm(rows, axis=-1, keepdims=True), dtype=np.float32)
