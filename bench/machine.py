"""What every table of a benchmark says of itself: the machine, the versions, the seed."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

SEED = 20_261_120
PACKAGES = ("firstlook", "av", "openvino", "onnxruntime", "pylance", "librosa", "numpy")


def facts(*, seed: int = SEED) -> dict[str, str]:
    cpu = next(
        (line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if "model name" in line),
        platform.processor(),
    )
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    return {
        "machine": f"{cpu}, {len(os.sched_getaffinity(0))} cores",
        "python": platform.python_version(),
        "versions": versions,
        "seed": str(seed),
    }


def interval(values: NDArray[np.float64], *, seed: int = SEED, draws: int = 2_000) -> tuple[float, float, float]:
    """Return mean and the 95 % bootstrap interval over queries: (mean, low, high)."""
    rng = np.random.default_rng(seed)
    means = rng.choice(values, (draws, len(values))).mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(values.mean()), float(low), float(high)
