"""How long after it was handed in is an upload found, while a backfill has the cores?

    python bench/uploads.py --clips FOLDER [--uploads 60] [--copies 12] [--serve-ray] [--json]

`firstlook serve` runs with its ingest worker, `firstlook backfill --ray local` works beside it on copies of the clips
(other bytes, the same pictures and sound), and meanwhile clips are uploaded over HTTP at random moments. The clock runs
from the start of a request until the upload's state says that searches find it. With `--serve-ray` the ingest worker is
on Ray too.

Prints what was measured, the backfill's job, and of the slowest upload the task that worked on it with its log lines.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).parent.parent)  # bench/ingest.py would hide the package ingest

import numpy as np

from bench.machine import SEED, facts
from bench.turns import clips_in, copied
from index.access import Access
from index.home import Home
from service.client import Client
from service.library import Library

EVERY_S = 4.0
"""Between two uploads, on average."""
LOOK_EVERY_S = 0.25
WANTED_P95_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Handed:
    video_id: str
    searchable_after_s: float
    beside: bool
    """The backfill was running when it was handed in."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--uploads", type=int, default=60)
    parser.add_argument("--copies", type=int, default=12, help="of each clip, for the backfill")
    parser.add_argument("--serve-ray", action="store_true")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = measured(Path(folder), clips_in(asked.clips), asked)
    p95_s = float(np.percentile(figures["searchable_after_s"], 95)) if figures["searchable_after_s"] else float("inf")
    figures |= {
        "p95_s": round(p95_s, 1),
        "wanted": {"p95_s": WANTED_P95_S},
        "pass": p95_s <= WANTED_P95_S and figures["beside_the_backfill"] == figures["uploads"],
    }
    figures |= facts()
    print(json.dumps(figures) if asked.json else told(figures))
    return 0 if figures["pass"] else 1


def measured(folder: Path, clips: Sequence[Path], asked: argparse.Namespace) -> dict[str, Any]:
    many = copied(clips, folder / "many", copies=asked.copies)
    manifest = folder / "manifest.csv"
    manifest.write_text("\n".join(["uri", *map(str, sorted(many.iterdir()))]) + "\n")
    home = folder / "home"
    with Library.open(home) as library:
        library.settle_space()
        _, key = Access(library.home.ledger).create(["uploads", "search"])
    log, tasks = folder / "serve.log", folder / "tasks.log"
    with serving(home, log, on_ray=asked.serve_ray) as url, backfilling(home, manifest, tasks) as backfill:
        wait_until_it_works(home, len(clips))
        handed = list(hand_in(url, key, clips, asked.uploads, backfill))
        still_runs = backfill.poll() is None
    logged = {"served": log, "backfill": tasks}
    lines = [
        {"by": by, **json.loads(line)}
        for by, file in logged.items()
        for line in file.read_text().splitlines()
        if line.startswith("{")
    ]
    worked = [line for line in lines if any(name.startswith("upload-") for name in line.get("videos", []))]
    beside = [one for one in handed if one.beside]
    slowest = max(handed, key=lambda one: one.searchable_after_s)
    home_again = Home.open(home)
    job = home_again.ledger.jobs()[0]
    home_again.close()
    return {
        "uploads": len(handed),
        "beside_the_backfill": len(beside),
        "backfill_outlived_them": still_runs,
        "searchable_after_s": [round(one.searchable_after_s, 2) for one in beside],
        "p50_s": round(float(np.median([one.searchable_after_s for one in beside])), 1) if beside else None,
        "max_s": round(max((one.searchable_after_s for one in beside), default=0.0), 1),
        "job": {"id": job.job_id, "engine": job.engine, "videos": job.videos, "per_second": round(job.per_second, 2)},
        "slowest": slowest.video_id,
        "analysed_by": dict(Counter(line["by"] for line in worked if line["event"] == "analysed")),
        "log_of_slowest": [line for line in worked if slowest.video_id in line["videos"]],
    }


@contextmanager
def serving(home: Path, log: Path, *, on_ray: bool) -> Iterator[str]:
    command = [sys.executable, "-m", "service.cli", "serve", "--port", "0", "--home", str(home)]
    command += ["--ray", "local"] if on_ray else []
    with log.open("w") as errors, subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=errors, text=True, cwd=Path(__file__).parents[1]
    ) as parent:  # fmt: skip
        assert parent.stdout is not None
        try:
            said = parent.stdout.readline()
            if "answers at" not in said:
                raise RuntimeError(log.read_text()[-2_000:])
            yield said.split("answers at ")[1].split()[0].rstrip("/")
        finally:
            parent.terminate()


@contextmanager
def backfilling(home: Path, manifest: Path, tasks: Path) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "service.cli", "backfill", "--manifest", str(manifest), "--ray", "local"]
    command += ["--log", str(tasks)]
    with open(os.devnull, "w") as nowhere, subprocess.Popen(
        [*command, "--home", str(home)], stdout=nowhere, stderr=nowhere, cwd=Path(__file__).parents[1]
    ) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.terminate()


def wait_until_it_works(home: Path, videos: int) -> None:
    """The backfill has committed as many as there are clips: it is at its full speed."""
    opened = Home.open(home)
    deadline = time.monotonic() + 300
    while not (jobs := opened.ledger.jobs()) or jobs[0].videos < videos:
        if time.monotonic() > deadline:
            raise RuntimeError(f"the backfill does not get going: {jobs}")
        time.sleep(1.0)
    opened.close()


def hand_in(
    url: str, key: str, clips: Sequence[Path], count: int, backfill: subprocess.Popen[bytes]
) -> Iterator[Handed]:
    """Upload at random moments, each followed to its end by a thread of its own."""
    rng = np.random.default_rng(SEED)

    def one(number: int) -> Handed:
        beside = backfill.poll() is None  # when it is handed in: who is kept waiting until its end counts too
        tail = (16).to_bytes(4, "big") + b"free" + b"up" + number.to_bytes(6, "big")
        data = clips[number % len(clips)].read_bytes() + tail
        began = time.monotonic()
        with Client(url, key) as firstlook:
            state = firstlook.upload(BytesIO(data), video_id=f"upload-{number:03}", caption="while a backfill runs")
            while not state.searchable:
                if state.state == "failure":
                    raise RuntimeError(f"{state.video_id}: {state.reason}: {state.detail}")
                time.sleep(LOOK_EVERY_S)
                state = firstlook.state(state.video_id)
        took_s = time.monotonic() - began
        return Handed(video_id=state.video_id, searchable_after_s=took_s, beside=beside)

    with ThreadPoolExecutor(count) as pool:
        futures = []
        for number in range(count):
            futures.append(pool.submit(one, number))
            time.sleep(float(rng.exponential(EVERY_S)))
        for future in futures:
            yield future.result()


def told(figures: dict[str, Any]) -> str:
    lines = [f"{name}: {figures[name]}" for name in ("machine", "python", "versions", "seed")]
    job = figures["job"]
    lines += [
        f"\nbackfill {job['id']}, on {job['engine']}: {job['videos']} videos, {job['per_second']} a second",
        f"{figures['uploads']} uploads, {figures['beside_the_backfill']} of them handed in while it ran",
        f"searchable after: median {figures['p50_s']} s, p95 {figures['p95_s']} s, longest {figures['max_s']} s "
        f"(wanted: p95 <= {WANTED_P95_S:g} s: {'pass' if figures['pass'] else 'SHORT'})",
        f"tasks that analysed uploads, by who ran them: {figures['analysed_by']}",
        f"the slowest was {figures['slowest']}; the log of it:",
        *(f"  {json.dumps(line)}" for line in figures["log_of_slowest"]),
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())
