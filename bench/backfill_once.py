"""One backfill through the project, on a Ray of its own, into a fresh home: `bench/backfill.py` runs it as a process.

    python -m bench.backfill_once FOLDER [--workers 2]

Vision and a plain log-mel, the work of `bench/floor.py`. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from bench.ingest_once import plain
from bench.watched import watched
from index.home import Home
from ingest import cluster, pipeline, uploads
from ingest.cluster_workers import Kit
from ingest.encode import Encoders


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--home", type=Path, help="copied: an empty home that knows its space; default: one is made")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--started", type=float, default=time.monotonic(), help="when the caller started this process")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        notes = Path(folder) / "notes"
        notes.mkdir()
        if asked.home:
            shutil.copytree(asked.home, f"{folder}/home")
        else:
            prepare(Path(folder) / "home")
        videos = backfill(asked.folder, Path(folder) / "home", notes, asked.workers)
        first_clip_at_s = min(float(note.read_text()) for note in notes.iterdir())
    print(json.dumps({"videos": videos, "first_clip_s": first_clip_at_s - asked.started, "steps": {}}))


def prepare(folder: Path) -> None:
    """Make an empty home that knows its space, as every library does after its first video."""
    home = Home.open(folder)
    home.ledger.add_space(plain(1)[1])
    home.close()


def backfill(clips: Path, folder: Path, notes: Path, workers: int) -> int:
    """Fill a new home; return how many videos it holds."""
    home = Home.open(folder)
    (space,) = home.ledger.spaces()
    kit = Kit(
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


def plain_encoders(kit: Kit, threads: int) -> Encoders:
    return plain(threads)[0]


if __name__ == "__main__":
    main()
