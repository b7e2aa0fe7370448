"""Which frames stand for a video: those on the screen at the middles of equal slices. Standard library only."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection
from typing import Generic, TypeVar

Seen = TypeVar("Seen")
Kept = TypeVar("Kept")

UNKNOWN_STEP_S = 0.001
"""Where nobody says how long the video is: every frame is kept at first, and thinned out as more arrive."""


class SlicePicker(Generic[Seen, Kept]):
    """Keeps the frames shown at slice middles in one pass, also when the length of the video is unknown or a lie.

    Frames are kept at the middles of slices of `step_s`. When more than three times `count` have gathered, slices
    become three times as long: the middle of three slices is the middle of the one in the middle, so nothing kept is
    out of place. Given the true length from the start, exactly `count` frames are kept, and only those are resized.

    Middles, not edges: first and last frames of short videos are often black.

    Args:
        count: how many frames are wanted in the end, >= 1.
        step_s: length of a slice to begin with, > 0.
        keep: makes of a frame what is held on to; called once for each frame that is kept.

    >>> picker = SlicePicker(count=2, step_s=5.0, keep=str)
    >>> for second in range(10):
    ...     picker.offer(float(second), second)
    >>> picker.finish(10.0)
    [(2.0, '2'), (7.0, '7')]
    """

    def __init__(self, *, count: int, step_s: float, keep: Callable[[Seen], Kept]) -> None:
        if count < 1 or not step_s > 0:
            raise ValueError(f"count >= 1 and step_s > 0 wanted, got {count} and {step_s}")
        self._count = count
        self._step_s = step_s
        self._keep = keep
        self._kept: list[tuple[float, Kept]] = []
        self._shown: tuple[float, Seen] | None = None
        self._next_middle_s = step_s / 2

    def offer(self, time_s: float, frame: Seen) -> None:
        """Take the next frame; times increase."""
        if self._shown is not None and time_s > self._next_middle_s:
            self._hold(*self._shown)
            self._thin_out()
            self._next_middle_s = (math.ceil(time_s / self._step_s - 0.5) + 0.5) * self._step_s
        self._shown = (time_s, frame)

    def finish(self, duration_s: float) -> list[tuple[float, Kept]]:
        """Return the (time, frame) shown at each of `count` slice middles, fewer where fewer frames were shown."""
        if self._shown is not None and (self._next_middle_s < duration_s or not self._kept):
            self._hold(*self._shown)
        spare = len(self._kept) - self._count
        if spare <= 0:
            return self._kept
        chosen: list[tuple[float, Kept]] = []
        at = 0
        for slot in range(self._count):
            middle_s = (slot + 0.5) * duration_s / self._count
            at = min(range(at, slot + spare + 1), key=lambda i: abs(self._kept[i][0] - middle_s))
            chosen.append(self._kept[at])
            at += 1
        return chosen

    def _hold(self, time_s: float, frame: Seen) -> None:
        if not self._kept or self._kept[-1][0] < time_s:
            self._kept.append((time_s, self._keep(frame)))

    def _thin_out(self) -> None:
        while len(self._kept) > 3 * self._count:
            self._step_s *= 3
            nearest: dict[int, tuple[float, Kept]] = {}
            for time_s, frame in self._kept:
                cell = int(time_s / self._step_s)
                middle_s = (cell + 0.5) * self._step_s
                if cell not in nearest or abs(time_s - middle_s) < abs(nearest[cell][0] - middle_s):
                    nearest[cell] = (time_s, frame)
            self._kept = list(nearest.values())


class ChosenPicker(Generic[Seen, Kept]):
    """Keeps the frames of given times: those that a `SlicePicker` was found to want, before any was decoded.

    >>> picker = ChosenPicker({2.0}, keep=str)
    >>> for second in (0, 2, 4):
    ...     picker.offer(float(second), second)
    >>> picker.finish(5.0)
    [(2.0, '2')]
    """

    def __init__(self, times_s: Collection[float], keep: Callable[[Seen], Kept]) -> None:
        self._times_s = times_s
        self._keep = keep
        self._kept: list[tuple[float, Kept]] = []

    def offer(self, time_s: float, frame: Seen) -> None:
        if time_s in self._times_s:
            self._kept.append((time_s, self._keep(frame)))

    def finish(self, duration_s: float) -> list[tuple[float, Kept]]:
        return self._kept
