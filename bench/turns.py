"""Sides that do the same work take turns: once on some clips, once on many times as many.

What the larger run costs more, divided by the clips that it has more, is the steady state: start-up falls out of it.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from bench.measure import Run, measured

MP4 = frozenset({".mp4", ".m4v", ".mov"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """A way of doing the work, and what its runs cost."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str] = field(default_factory=dict)
    """Variables to add."""
    peak_pss_bytes: list[int] = field(default_factory=list)
    few: list[Run] = field(default_factory=list)
    many: list[Run] = field(default_factory=list)

    def run(self, folder: Path, *extra: str, watch_memory: bool = False) -> Run:
        return measured([*self.command, *extra, str(folder)], watch_memory=watch_memory, environment=self.environment)

    def steady_cpu_s(self) -> list[float]:
        """CPU seconds a video without start-up, by round."""
        return [(b.cpu_s - a.cpu_s) / (b.videos - a.videos) for a, b in self._pairs()]

    def steady_vps(self) -> list[float]:
        """Videos a second without start-up, by round."""
        return [(b.videos - a.videos) / (b.wall_s - a.wall_s) for a, b in self._pairs()]

    def summary(self) -> dict[str, float]:
        """Medians over the rounds."""
        return {
            "videos_per_second": median(run.videos / run.wall_s for run in self.few),
            "steady_videos_per_second": median(self.steady_vps()),
            "cpu_s_per_video": median(run.cpu_s / run.videos for run in self.few),
            "steady_cpu_s_per_video": median(self.steady_cpu_s()),
            "first_clip_s": median(run.first_clip_s for run in self.few),
            "startup_cpu_s": median(
                a.cpu_s - cpu_s * a.videos for (a, _), cpu_s in zip(self._pairs(), self.steady_cpu_s(), strict=True)
            ),
            "peak_pss_gb": max(self.peak_pss_bytes) / 1e9,
        }

    def _pairs(self) -> list[tuple[Run, Run]]:
        return list(zip(self.few, self.many, strict=True))


def take_turns(sides: Sequence[Side], few: Path, many: Path, *, rounds: int) -> None:
    """Run the sides one after the other, round by round, and note what each run cost.

    The first round, which also fills the disk cache, is watched for memory and counts for nothing else.
    """
    for side in sides:
        side.peak_pss_bytes.append(side.run(many, watch_memory=True).peak_pss_bytes)
    for _ in range(rounds):
        for side in sides:
            side.few.append(side.run(few))
        for side in sides:
            side.many.append(side.run(many))


def clips_in(folder: Path) -> list[Path]:
    """The MP4 files of a folder: those that `copied` can copy."""
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in MP4)


def copied(clips: Sequence[Path], folder: Path, *, copies: int) -> Path:
    """Copy MP4 files, each time with another `free` box at the end: other bytes, the same pictures and sound.

    No decoder looks at what follows the last box, and the same bytes are never analysed twice.
    """
    folder.mkdir()
    for clip in clips:
        for number in range(copies):
            copy = folder / f"{clip.stem}.{number}{clip.suffix}"
            shutil.copyfile(clip, copy)
            with copy.open("ab") as file:
                file.write((16).to_bytes(4, "big") + b"free" + number.to_bytes(8, "big"))
    return folder
