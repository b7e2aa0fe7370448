"""Small numbers that ship with the code; `make.py` makes them from the packaged weights alone, without any data."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoders.models import file_sha256, tensors

IMAGENET_PATH = Path(__file__).with_name("imagenet.safetensors")


@cache
def imagenet() -> dict[str, NDArray[Any]]:
    """The arrays that `make.py` describes, as float32 and read-only."""
    arrays = {name: array.astype(np.float32) for name, array in tensors(IMAGENET_PATH)[0].items()}
    for array in arrays.values():
        array.flags.writeable = False
    return arrays


@cache
def class_names() -> tuple[str, ...]:
    """The 1000 class names of ImageNet, in the order of the classifier."""
    return tuple(json.loads(tensors(IMAGENET_PATH)[1]["class_names"]))


@cache
def imagenet_sha256() -> str:
    """What a space records of these constants."""
    return file_sha256(IMAGENET_PATH)
