"""`Clip`: what decoding hands to the encoders. Megabytes, gone once encoded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from index.records import MediaFacts

SAMPLE_RATE_HZ = 16_000
FRAME_COUNT = 16
SHORT_SIDE_PX = 224
LONG_SIDE_MAX_PX = 672
"""An 8000 x 16 picture would be 112,000 px wide at a short side of 224."""
TEXT_FRAME_COUNT = 4
TEXT_LONG_SIDE_PX = 640
"""Burnt-in text is legible from here on, and costs a quarter of full size."""


class MediaError(Exception):
    """The file's fault: it becomes a `Failure`, and the batch goes on.

    Args:
        reason: a short countable slug, such as "no_frames".
        detail: one line for a person: what came and what was wanted.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail

    def __reduce__(self) -> tuple[type[MediaError], tuple[str, str]]:
        return type(self), (self.reason, self.detail)  # it travels between processes


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Clip:
    """The pictures and the sound of one video, small enough to encode.

    A file without picture has zero frames, a file without sound an empty waveform; never both.
    """

    frames: NDArray[np.uint8]  # (n_frames, height, width, 3), RGB 0..255, short side 224, upright
    frame_times_s: NDArray[np.float64]  # (n_frames,), increasing, from presentation timestamps
    text_frames: NDArray[np.uint8]  # (n_text, height, width, 3), RGB, long side <= 640, mutually distinct
    text_frame_times_s: NDArray[np.float64]  # (n_text,)
    waveform: NDArray[np.float32]  # (n_samples,), mono, 16 kHz, -1..1; empty for a silent video
    signals: Mapping[str, NDArray[np.float32]]  # name -> (n_frames,): "brightness" 0..1, "sharpness", "motion" 0..1
    facts: MediaFacts

    def __post_init__(self) -> None:
        if self.frames.ndim != 4 or self.frames.shape[-1] != 3 or self.frames.dtype != np.uint8:
            raise ValueError(f"frames wants (n, h, w, 3) uint8, got {self.frames.shape} {self.frames.dtype}")
        if len(self.frames) != len(self.frame_times_s):
            raise ValueError(f"one time per frame: got {self.frame_times_s.shape} times, {self.frames.shape} frames")
        if len(self.text_frames) != len(self.text_frame_times_s):
            raise ValueError(
                f"one time per text frame: got {self.text_frame_times_s.shape} times, {self.text_frames.shape} frames"
            )
        if self.waveform.ndim != 1 or self.waveform.dtype != np.float32:
            raise ValueError(f"waveform wants (n,) float32, got {self.waveform.shape} {self.waveform.dtype}")
        for name, signal in self.signals.items():
            if signal.shape != (len(self.frames),):
                raise ValueError(f"signal {name!r} wants ({len(self.frames)},), got {signal.shape}")
        if not len(self.frames) and not len(self.waveform):
            raise ValueError("a clip has frames or sound; this one has neither")
