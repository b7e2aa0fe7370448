"""One backfill through the project, on a Ray of its own, into a fresh home: `bench/backfill.py` runs it as a process.

    python -m bench.backfill_once FOLDER [--workers 2]

Vision and a plain log-mel, the work of `bench/floor.py`. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from bench.ingest_once import plain
from index.home import Home
from ingest import cluster, pipeline, uploads
from ingest.clip import Clip
from ingest.decode import DecodePool
from ingest.encode import Encoders


class Watch:
    """A decoder that leaves behind when its first clip came: it lives in a process of its own."""

    def __init__(self, pool: DecodePool, folder: Path) -> None:
        self._pool, self._note = pool, folder / f"{time.monotonic_ns()}"
        self._seen = False

    def decode(self, path: Path) -> Clip:
        clip = self._pool.decode(path)
        if not self._seen:
            self._note.write_text(str(time.monotonic()))
            self._seen = True
        return clip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--started", type=float, default=time.monotonic(), help="when the caller started this process")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        notes = Path(folder) / "notes"
        notes.mkdir()
        videos = backfill(asked.folder, Path(folder) / "home", notes, asked.workers)
        first_clip_at_s = min(float(note.read_text()) for note in notes.iterdir())
    print(json.dumps({"videos": videos, "first_clip_s": first_clip_at_s - asked.started, "steps": {}}))


def backfill(clips: Path, folder: Path, notes: Path, workers: int) -> int:
    """Fill a new home; return how many videos it holds."""
    space = plain(1)[1]
    home = Home.open(folder)
    home.ledger.add_space(space)
    kit = cluster.Kit(
        blobs_url=home.blobs_url, space=space, open_decoder=partial(watched, notes=notes), open_encoders=plain_encoders
    )

    @contextmanager
    def crew() -> Iterator[pipeline.Crew]:
        with cluster.connected("local", cores=workers), cluster.crew(kit, on_message=lambda message: None) as crew:
            yield crew

    pipeline.ingest(uploads.discover([clips]), home, space, crew)
    counts = home.ledger.counts(space.id)
    if counts["videos"] != counts["uploads"] or counts["partial"]:
        raise RuntimeError(f"whole videos only are wanted here: {counts}, {home.ledger.failures(space.id)[:3]}")
    home.close()
    return counts["videos"]


def watched(kit: cluster.Kit, notes: Path) -> Watch:
    return Watch(DecodePool(1, limits=kit.limits, text_frames=False), notes)


def plain_encoders(kit: cluster.Kit, threads: int) -> Encoders:
    return plain(threads)[0]


if __name__ == "__main__":
    main()
