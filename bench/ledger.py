"""How fast are the ledger and the committer alone, and what does it cost to find out that nothing is left to do?

    python bench/ledger.py [--rows 10000,1000000] [--json]

- `commit`: stub analyses of real size (vectors of the space `local`, eight tags, a transcript of 200 characters) are
  claimed, fused, committed and acknowledged, at so many rows that the table holds already; videos a second.
- `resume`: a ledger with so many finished uploads; a backfill is asked to fill the space again, and finds nothing.
  Once by what the ledger knows (`firstlook backfill`), once by a manifest that names every file
  (`firstlook backfill --manifest`). Seconds and peak memory of a process of its own.

The rows that are there before are written in bulk, which is not measured. Everything random has seed 7.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).parent.parent)  # bench/ingest.py would hide the package ingest

import sqlalchemy as sql

from bench.machine import facts
from bench.stubs import FILL_ROWS, SEED, SPACE, NoText, fill, stubs
from index import ledger
from index.home import Home
from index.records import Failure
from ingest.commit import Committer
from ingest.fuse import fuse
from ingest.register import _look
from ingest.uploads import Source, discover

MEASURED = 4_096
"""Videos that are committed while the clock runs."""
COMMITS = (64, 512, 2_048)
"""Rows a commit: what a pipeline writes depends on how fast its encoders are (pipeline.COMMIT_SHARE)."""
WANTED = {"resume_s": 60.0, "resume_mb": 2_000.0}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", default="10000,1000000")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    sizes = [int(size) for size in asked.rows.split(",")]
    figures: dict[str, Any] = {"commit": {}, "resume": {}}
    with tempfile.TemporaryDirectory() as folder:
        for size in sizes:
            home = Home.open(Path(folder) / str(size))
            home.ledger.add_space(SPACE)
            fill(home, size)
            figures["commit"][str(size)] = commit_speed(home)
            home.close()
            figures["resume"][str(size)] = {
                how: scanned(Path(folder) / str(size), how, size) for how in ("ledger", "manifest")
            }
    largest = figures["resume"][str(max(sizes))]
    passed = {
        "resume_s": max(one["seconds"] for one in largest.values()) < WANTED["resume_s"],
        "resume_mb": max(one["peak_mb"] for one in largest.values()) < WANTED["resume_mb"],
    }
    figures |= {"wanted": WANTED, "passed": passed, "pass": all(passed.values()), "seed": SEED, **facts()}
    if asked.json:
        print(json.dumps(figures))
    else:
        show(figures)
    return 0 if figures["pass"] else 1


def resume_scan(rows: int) -> dict[str, Any]:
    """Seconds and peak memory of finding nothing to do among so many finished uploads."""
    with tempfile.TemporaryDirectory() as folder:
        home = Home.open(folder)
        home.ledger.add_space(SPACE)
        fill(home, rows)
        home.close()
        found = {how: scanned(Path(folder), how, rows) for how in ("ledger", "manifest")}
    worst = {"seconds": max(f["seconds"] for f in found.values()), "peak_mb": max(f["peak_mb"] for f in found.values())}
    good = worst["seconds"] < WANTED["resume_s"] and worst["peak_mb"] < WANTED["resume_mb"]
    return {**worst, "how": found, "pass": good}


def commit_speed(home: Home) -> dict[str, float]:
    """Videos a second by rows a commit: claim, fuse, write, acknowledge, and the upkeep that falls due."""
    speeds = {}
    start = 10_000_000
    for rows in COMMITS:
        owner = ledger.owner_name()
        committer = Committer(home, SPACE, owner)
        pairs = list(stubs(start, MEASURED))
        home.ledger.register([(upload, None) for upload, _ in pairs], SPACE.id)
        analyses = {upload.video_id: analysis for upload, analysis in pairs}
        began = time.monotonic()
        while claimed := home.ledger.claim(SPACE.id, owner, rows):
            mine = [(one.upload, analyses[one.upload.video_id]) for one in claimed]
            committer.commit(fuse(mine, NoText(), SPACE))
        speeds[str(rows)] = MEASURED / (time.monotonic() - began)
        start += MEASURED
    return speeds


SCAN = """
import json, sys, time
sys.path[0] = sys.argv[3]
from service.library import Backfill, Library
started = time.monotonic()
with Library.open(sys.argv[1], space=sys.argv[4]) as library:
    ran = library.backfill(Backfill(manifest=sys.argv[2] or None))
said = open("/proc/self/status").read()  # getrusage would begin with the peak of whoever started this process
peak_mb = int(said.split("VmHWM:")[1].split()[0]) / 1024
print(json.dumps({"seconds": time.monotonic() - started, "peak_mb": peak_mb, "wanted": ran.wanted}))
"""


def scanned(folder: Path, how: str, rows: int) -> dict[str, float]:
    """What a backfill that has nothing to do costs, in a process of its own."""
    manifest = ""
    if how == "manifest":
        manifest = str(named(folder, rows))
    root = str(Path(__file__).parent.parent)
    command = [sys.executable, "-c", SCAN, str(folder), manifest, root, SPACE.id]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stderr[-3000:])
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    if found["wanted"]:
        raise RuntimeError(f"nothing should be left to do: {found}")
    return found


def named(folder: Path, rows: int) -> Path:
    """Empty files for all uploads, noted in the ledger as seen, and the manifest that names them."""
    manifest = folder / "manifest.csv"
    with manifest.open("w") as file:
        file.write("uri,video_id,creator_id\n")
        for number in range(rows):
            path = folder / "clips" / f"{number // 1000}" / f"{number}.mp4"
            if number % 1000 == 0:
                path.parent.mkdir(parents=True)
            path.touch()
            file.write(f"{path},v{number:09},c{number % 5000}\n")
    home = Home.open(folder)
    looks = (_look(source) for source in discover([], manifest) if isinstance(source, Source))
    while some := [look for look in islice(looks, FILL_ROWS) if not isinstance(look, Failure)]:
        with home.ledger._write() as connection:
            connection.execute(
                sql.insert(ledger._files),
                [
                    {
                        "path": look.key[0],
                        "given_id": look.key[1],
                        "video_id": look.key[1],
                        "size": look.size,
                        "mtime_ns": look.mtime_ns,
                        "content_sha256": "",
                        "said_sha256": look.said_sha256,
                        "extra": False,
                    }
                    for look in some
                ],
            )
    home.close()
    return manifest


def show(figures: dict[str, Any]) -> None:
    for name, value in facts().items():
        print(f"{name}: {value}")
    print(f"seed {SEED}\n\ncommitted and acknowledged, videos a second, by rows a commit")
    print(f"{'rows in the table':>20}" + "".join(f"{rows:>10}" for rows in COMMITS))
    for size, speeds in figures["commit"].items():
        print(f"{int(size):>20,}" + "".join(f"{speed:>10.0f}" for speed in speeds.values()))
    print("\nfinding nothing to do")
    for size, found in figures["resume"].items():
        for how, one in found.items():
            print(f"{int(size):>20,} by {how:10}{one['seconds']:8.1f} s {one['peak_mb']:8.0f} MB")
    for name, passed in figures["passed"].items():
        print(f"{name} wanted < {WANTED[name]:g}: {'pass' if passed else 'SHORT'}")


if __name__ == "__main__":
    sys.exit(main())
