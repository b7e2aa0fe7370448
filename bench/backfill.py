"""What does a backfill on Ray cost beside a bare loop of the same work, and beside other projects that can do it?

    python bench/backfill.py --clips DIR [--rounds 3] [--copies 4] [--memory] [--json]

In turns on the same clips, with the same engine, model, sampling and log-mel, on two cores:

- `floor`: the bare loop (`bench/floor.py`); nothing is kept but one table;
- `ours`: `firstlook backfill --ray local`, vision and the floor's log-mel (`bench/backfill_once.py`);
- `local`: ours without Ray, threads in one process (`bench/ingest_once.py`);
- `ray`, `daft`, `pixeltable`: Ray Data, Daft and Pixeltable as their documentation would do it (`bench/peers/`), each
  in an environment of its own that is made when it is not there.

Each side runs `--rounds` times on the clips and on `--copies` times as many. `X_cold_vps` is videos a second of the
whole process on the clips, `X_wall_vps` of the whole process on the many; `X_vps` and `X_cpu_s` are warm: what the
larger run costs more, by the clips that it has more. `X_pss_mb` is the peak of the tree's memory in the larger run,
shared pages counted once; object store, daemons and databases are in it.

`--memory` also runs ours on 1,000 and on 20,000 clips of one frame, and the two peaks have to agree. Nothing else is
small or left out there: each clip goes through a decode child, the encoders, the ledger and the table.
"""

from __future__ import annotations

import argparse
import atexit
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from statistics import median
from typing import Any

sys.path[0] = str(Path(__file__).parent.parent)  # bench/ingest.py would hide the package ingest

from bench.machine import facts
from bench.measure import ROOT
from bench.peers import environments
from bench.turns import Side, clips_in, copied, take_turns
from encoders.models import best_precision, converted
from encoders.vision import weights_path

WORKERS = 2
MEMORY_ITEMS = (1_000, 20_000)
WANTED = {
    "cpu_over_floor": 1.15,
    "vps_over_floor": 0.90,
    "vps_over_ray": 1.0,
    "wall_over_daft": 2.0,
    "wall_over_pixeltable": 2.0,
    "pss_over_ray": 0.85,
    "memory_growth": 0.10,
}
AT_MOST = frozenset({"cpu_over_floor", "pss_over_ray", "memory_growth"})
"""Of these, less is better."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--copies", type=int, default=4)
    parser.add_argument("--sides", default="floor,ours,local,ray,daft,pixeltable", help="fewer are no pass")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    clips = clips_in(asked.clips)
    if not clips or asked.copies < 2 or asked.rounds < 1:
        sys.exit(f"MP4 clips, two copies and a round at least: got {len(clips)}, {asked.copies}, {asked.rounds}")
    started_s = time.monotonic()
    sides = [side(name) for name in asked.sides.split(",")]
    with tempfile.TemporaryDirectory() as folder:
        few = copied(clips, Path(folder) / "few", copies=1)
        many = copied(clips, Path(folder) / "many", copies=asked.copies)
        take_turns(sides, few, many, rounds=asked.rounds)
    figures = flat(sides)
    if asked.memory:
        figures |= memory_figures()
    figures |= judged(figures)
    about = {
        "clips": len(clips), "rounds": asked.rounds, "copies": asked.copies, **facts(),
        "peers": ", ".join(peer.requirement for peer in environments.PEERS.values()),
        "benchmark_s": round(time.monotonic() - started_s),
    }  # fmt: skip
    if asked.json:
        print(json.dumps(about | figures))
    else:
        show(about, figures)
    return 0 if figures["pass"] else 1


def side(name: str) -> Side:
    """How each side is run."""
    network = ["--network", str(converted("efficientnet_lite0", weights_path())), "--precision", best_precision()]
    one_blas_thread = {"OPENBLAS_NUM_THREADS": "1"}  # what the floor sets for itself: a second thread only spins
    if name == "floor":
        return Side(name=name, command=[sys.executable, "-m", "bench.floor", *network, "--processes", str(WORKERS)])
    if name == "ours":
        return ours()
    if name == "local":
        once = [sys.executable, "-m", "bench.ingest_once", "--encoders", "plain", "--workers", str(WORKERS)]
        return Side(name=name, command=once)
    return Side(
        name=name,
        command=[*environments.command(name), *network, "--workers", str(WORKERS)],
        environment={**one_blas_thread, **environments.PEERS[name].environment},
    )


def ours() -> Side:
    """Our backfill, on a Ray of its own; its workers find the encoders of this benchmark in the root."""
    command = [sys.executable, "-m", "bench.backfill_once", "--home", str(prepared_home()), "--workers", str(WORKERS)]
    return Side(name="ours", command=command, environment={"PYTHONPATH": str(ROOT)})


@cache
def prepared_home() -> Path:
    """An empty home that knows its space: finding it out loads the encoders, and every library does it only once."""
    folder = tempfile.TemporaryDirectory()
    atexit.register(folder.cleanup)
    home = Path(folder.name) / "home"
    make = "import sys; from pathlib import Path; from bench.backfill_once import prepare; prepare(Path(sys.argv[1]))"
    subprocess.run([sys.executable, "-c", make, str(home)], cwd=ROOT, check=True)
    return home


def flat(sides: Sequence[Side]) -> dict[str, Any]:
    """What each side did: medians over the rounds, peaks over all."""
    figures: dict[str, Any] = {}
    for done in sides:
        figures |= {
            f"{done.name}_vps": median(done.steady_vps()),
            f"{done.name}_wall_vps": median(run.videos / run.wall_s for run in done.many),
            f"{done.name}_cold_vps": median(run.videos / run.wall_s for run in done.few),
            f"{done.name}_cpu_s": median(done.steady_cpu_s()),
            f"{done.name}_cold_cpu_s": median(run.cpu_s / run.videos for run in done.few),
            f"{done.name}_first_clip_s": median(run.first_clip_s for run in done.few),
            f"{done.name}_pss_mb": max(done.peak_pss_bytes) / 1e6,
            f"{done.name}_rounds_vps": done.steady_vps(),
            f"{done.name}_rounds_cpu_s": done.steady_cpu_s(),
        }
    return figures


def memory_figures() -> dict[str, Any]:
    """Peaks of our memory with few and with many small clips."""
    few, many = MEMORY_ITEMS
    peaks_mb, walls_s = [], []
    with tempfile.TemporaryDirectory() as folder:
        clip = draw_one_frame(Path(folder) / "clip.mp4")
        for count in MEMORY_ITEMS:
            items = copied([clip], Path(folder) / str(count), copies=count)
            run = ours().run(items, watch_memory=True)
            peaks_mb.append(run.peak_pss_bytes / 1e6)
            walls_s.append(run.wall_s)
    return {
        "memory_items": MEMORY_ITEMS,
        "memory_pss_mb": peaks_mb,
        "memory_growth": peaks_mb[1] / peaks_mb[0] - 1,
        "memory_vps": (many - few) / (walls_s[1] - walls_s[0]),
    }


def draw_one_frame(path: Path) -> Path:
    """Write the smallest clip that takes the way of any other: one picture of H.264, a tenth of a second of sound."""
    import av
    import numpy as np

    with av.open(str(path), "w") as out:
        video, audio = out.add_stream("libx264", rate=10), out.add_stream("aac", rate=16_000)
        video.width, video.height, video.pix_fmt, audio.layout = 64, 64, "yuv420p", "mono"
        rows = np.linspace(0, 255, 64, dtype=np.uint8)
        picture = np.stack(
            [np.tile(rows, (64, 1)), np.tile(rows[:, None], 64), np.full((64, 64), 90, np.uint8)], axis=2
        )
        sine = np.sin(2 * np.pi * 440 * np.arange(1_600) / 16_000).astype(np.float32)
        samples = av.AudioFrame.from_ndarray(sine[None], format="fltp", layout="mono")
        samples.sample_rate = 16_000
        for stream, frame in ((video, av.VideoFrame.from_ndarray(picture, format="rgb24")), (audio, samples)):
            out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
    return path


def judged(figures: Mapping[str, Any]) -> dict[str, Any]:
    """Ours against the others, and whether it is good enough; what was not measured is `None`, and no pass."""

    def ratio(over: str, under: str) -> float | None:
        return figures[over] / figures[under] if over in figures and under in figures else None

    reached = {
        "cpu_over_floor": _median_of_ratios(figures, "ours_rounds_cpu_s", "floor_rounds_cpu_s"),
        "vps_over_floor": _median_of_ratios(figures, "ours_rounds_vps", "floor_rounds_vps"),
        "vps_over_ray": _median_of_ratios(figures, "ours_rounds_vps", "ray_rounds_vps"),
        "wall_over_daft": ratio("ours_wall_vps", "daft_wall_vps"),
        "wall_over_pixeltable": ratio("ours_wall_vps", "pixeltable_wall_vps"),
        "pss_over_ray": ratio("ours_pss_mb", "ray_pss_mb"),
        "memory_growth": abs(figures["memory_growth"]) if "memory_growth" in figures else None,
    }
    passed = {
        name: value is not None and (value <= WANTED[name] if name in AT_MOST else value >= WANTED[name])
        for name, value in reached.items()
    }
    return {"reached": reached, "wanted": WANTED, "passed": passed, "pass": all(passed.values())}


def _median_of_ratios(figures: Mapping[str, Any], over: str, under: str) -> float | None:
    """By round, since the machine may be slower in one than in another."""
    if over not in figures or under not in figures:
        return None
    return median(a / b for a, b in zip(figures[over], figures[under], strict=True))


def show(about: Mapping[str, Any], figures: Mapping[str, Any]) -> None:
    for name, value in about.items():
        print(f"{name}: {value}")
    kinds = ("vps", "wall_vps", "cold_vps", "cpu_s", "cold_cpu_s", "first_clip_s", "pss_mb")
    print(f"\n{'':12}" + "".join(f"{kind:>14}" for kind in kinds))
    for name in (key.removesuffix("_wall_vps") for key in figures if key.endswith("_wall_vps")):
        print(f"{name:12}" + "".join(f"{figures[f'{name}_{kind}']:14.3f}" for kind in kinds))
    if "memory_pss_mb" in figures:
        peaks = " and ".join(f"{peak:.0f} MB" for peak in figures["memory_pss_mb"])
        print(f"\nours, {' and '.join(f'{count:,}' for count in MEMORY_ITEMS)} clips of one frame: {peaks}")
    print()
    for name, value in figures["reached"].items():
        verdict = "not measured" if value is None else "pass" if figures["passed"][name] else "SHORT"
        bound = "at most" if name in AT_MOST else "at least"
        print(f"{name:24}{'' if value is None else f'{value:.3f}':>8}, {bound} {WANTED[name]}: {verdict}")


if __name__ == "__main__":
    sys.exit(main())
