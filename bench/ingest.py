"""What does an ingest cost, and how much of that is the project? In turns with a bare loop of the same work.

    python bench/ingest.py --clips DIR [--rounds 5] [--copies 4] [--json]

Two configurations:

- `plain`: vision and a plain log-mel, the work of `bench/floor.py`. Ours and the floor take turns, each round once on
  the clips and once on `--copies` times as many; what the larger run costs more, divided by the clips that it has more,
  is the steady state, and start-up falls out of it. (Copies differ in a few bytes after the last box of an MP4, which
  no decoder looks at: the same bytes are never analysed twice.)
- `all`: every modality of `local`, ours alone.

CPU seconds are those of the whole process tree, user and system, children that were killed included. Memory is the sum
of the proportional set sizes (PSS) of the tree. The first round, which also fills the disk cache, is watched for memory
and counts for nothing else; steps are metered in runs with one worker, since the steps of two cannot be told apart.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

sys.path[0] = str(Path(__file__).parent.parent)  # this file would hide the package ingest

from bench.machine import facts
from bench.measure import Run
from bench.turns import Side, clips_in, copied, take_turns
from encoders.models import best_precision, converted
from encoders.vision import weights_path

WANTED = {"cpu_ratio": 1.15, "videos_per_second": 3.0, "peak_pss_gb": 3.0}


@dataclass(frozen=True, slots=True, kw_only=True)
class Metered(Side):
    """A side whose steps can be told apart, with one worker."""

    one_worker: Sequence[str]
    """Added to the command: run on one core, and meter the steps."""
    few_metered: list[Run] = field(default_factory=list)
    many_metered: list[Run] = field(default_factory=list)

    def step_ms(self) -> dict[str, float]:
        """CPU milliseconds a video by step, without start-up, and the rest that is in no step."""
        names = self.many_metered[0].steps
        steps = {
            name: _per_video_ms([(a.steps[name], b.steps[name], b.videos - a.videos) for a, b in self._metered_pairs()])
            for name in names
        }
        total = _per_video_ms([(a.cpu_s, b.cpu_s, b.videos - a.videos) for a, b in self._metered_pairs()])
        return {**steps, "everything else": total - sum(steps.values()), "total": total}

    def _metered_pairs(self) -> list[tuple[Run, Run]]:
        return list(zip(self.few_metered, self.many_metered, strict=True))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--copies", type=int, default=4)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    clips = clips_in(asked.clips)
    if not clips or asked.copies < 2 or asked.rounds < 1:
        sys.exit(f"MP4 clips, two copies and a round at least: got {len(clips)}, {asked.copies}, {asked.rounds}")
    ours, floor, everything = sides()
    with tempfile.TemporaryDirectory() as folder:
        few = copied(clips, Path(folder) / "few", copies=1)
        many = copied(clips, Path(folder) / "many", copies=asked.copies)
        for turns, rounds in (((floor, ours), asked.rounds), ((everything,), max(1, asked.rounds // 2))):
            take_turns(turns, few, many, rounds=rounds)
            meter(turns, few, many, rounds=max(1, rounds // 2))
    figures = judged(ours, floor, everything)
    if asked.json:
        print(json.dumps({"clips": len(clips), "rounds": asked.rounds, "copies": asked.copies, **facts(), **figures}))
    else:
        show(figures, len(clips), asked.rounds, asked.copies)
    return 0 if figures["pass"] else 1


def sides() -> tuple[Metered, Metered, Metered]:
    """Ours with plain encoders, its floor, and ours with everything."""
    once = [sys.executable, "-m", "bench.ingest_once", "--encoders"]
    network = ["--network", str(converted("efficientnet_lite0", weights_path())), "--precision", best_precision()]
    metered = ["--workers", "1", "--meter"]
    return (
        Metered(name="ours", command=[*once, "plain"], one_worker=metered),
        Metered(name="floor", command=[sys.executable, "-m", "bench.floor", *network], one_worker=["--processes", "1"]),
        Metered(name="everything", command=[*once, "all"], one_worker=metered),
    )


def meter(sides: Sequence[Metered], few: Path, many: Path, *, rounds: int) -> None:
    """Run the sides in turns with one worker, and note what each step cost."""
    for _ in range(rounds):
        for side in sides:
            side.few_metered.append(side.run(few, *side.one_worker))
        for side in sides:
            side.many_metered.append(side.run(many, *side.one_worker))


def judged(ours: Metered, floor: Metered, everything: Metered) -> dict[str, Any]:
    """All figures, and whether they are good enough."""
    ratios = [a / b for a, b in zip(ours.steady_cpu_s(), floor.steady_cpu_s(), strict=True)]
    cold = [a.cpu_s / b.cpu_s for a, b in zip(ours.few, floor.few, strict=True)]
    full = everything.summary()
    passed = {
        "cpu_ratio": median(ratios) <= WANTED["cpu_ratio"],
        "videos_per_second": full["videos_per_second"] >= WANTED["videos_per_second"],
        "peak_pss_gb": full["peak_pss_gb"] <= WANTED["peak_pss_gb"],
    }
    return {
        "plain": {"ours": ours.summary(), "floor": floor.summary()},
        "cpu_ratio": median(ratios),
        "cpu_ratios": ratios,
        "cold_cpu_ratio": median(cold),
        "plain_step_ms": {"ours": ours.step_ms(), "floor": floor.step_ms()},
        "all": full,
        "all_step_ms": everything.step_ms(),
        "wanted": WANTED,
        "passed": passed,
        "pass": all(passed.values()),
    }


def show(figures: Mapping[str, Any], clips: int, rounds: int, copies: int) -> None:
    for name, value in facts().items():
        print(f"{name}: {value}")
    print(f"{clips} clips and {copies} times as many, {rounds} rounds in turns, medians\n")
    columns = {**figures["plain"], "everything": figures["all"]}
    print(f"{'':32}" + "".join(f"{name:>12}" for name in columns))
    for name in figures["all"]:
        print(f"{name:32}" + "".join(f"{side[name]:12.3f}" for side in columns.values()))
    print("\nCPU ms a video by step, one worker, without start-up")
    steps = {**figures["plain_step_ms"], "everything": figures["all_step_ms"]}
    names = dict.fromkeys(name for side in steps.values() for name in side)
    for name in sorted(names, key=("everything else", "total").__contains__):
        print(f"{name:32}" + "".join(f"{side[name]:12.2f}" if name in side else f"{'':12}" for side in steps.values()))
    print(f"\nours / floor, CPU a video: {figures['cpu_ratio']:.3f} steady, {figures['cold_cpu_ratio']:.3f} cold")
    for name, passed in figures["passed"].items():
        print(f"{name} wanted {WANTED[name]}: {'pass' if passed else 'SHORT'}")


def _per_video_ms(costs: Sequence[tuple[float, float, int]]) -> float:
    """Median over rounds of what the larger run costs more, in ms a video that it has more."""
    return median(1000 * (many_s - few_s) / more for few_s, many_s, more in costs)


if __name__ == "__main__":
    sys.exit(main())
