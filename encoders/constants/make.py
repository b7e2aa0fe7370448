"""Make `imagenet.safetensors` out of the packaged weights and the class names of torchvision.

    python -m encoders.constants.make

Shipped rather than computed at start: a singular value decomposition may flip its signs between libraries, and a flip
would make two spaces of the same weights.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

from encoders.constants import IMAGENET_PATH
from encoders.models import torch_checkpoint
from encoders.text import Text
from encoders.vision import weights_path

DIM = 96
PROMPTS = ("a photo of a {}", "A video of a {}.", "There is a {}.")
RIDGE = 3.0


def projection(classifier: NDArray[np.float64], dim: int) -> NDArray[np.float64]:
    """Rows that map features to the directions the classifier tells things apart by, (dim, features).

    The leading right singular vectors of its weights, each scaled by its singular value; each points to where its
    largest entry is positive. The full feature vector also holds what the classifier was trained to ignore.
    """
    _, scales, directions = np.linalg.svd(classifier, full_matrices=False)
    rows = directions[:dim] * scales[:dim, None]
    largest = rows[np.arange(dim), np.abs(rows).argmax(axis=1)]
    signed: NDArray[np.float64] = rows * np.sign(largest)[:, None]
    return signed


def class_rows(names: list[str], text: Text) -> NDArray[np.float64]:
    """Unit text row of each class name, the mean over `PROMPTS`: (classes, 384)."""
    rows = np.mean([text.encode([prompt.format(name) for name in names]) for prompt in PROMPTS], axis=0, dtype=float)
    unit: NDArray[np.float64] = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return unit


def text_to_vision(class_text: NDArray[np.float64], class_vision: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ridge regression from the classes' names to the classes' looks, both centred: (384, dim)."""
    names, looks = class_text - class_text.mean(axis=0), class_vision - class_vision.mean(axis=0)
    penalty = RIDGE * np.eye(names.shape[1])
    return np.linalg.solve(names.T @ names + penalty, names.T @ looks)


def main() -> None:
    from torchvision.models import EfficientNet_B0_Weights

    names = list(EfficientNet_B0_Weights.DEFAULT.meta["categories"])
    classifier = torch_checkpoint(weights_path())["_fc.weight"].double().numpy()
    rows = projection(classifier, DIM)
    directions = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    class_text = class_rows(names, Text(precision="fp32"))
    arrays: dict[str, NDArray[Any]] = {
        "projection": rows.astype(np.float32),
        "class_text": class_text.astype(np.float16),
        "text_to_vision": text_to_vision(class_text, classifier @ directions.T).astype(np.float32),
    }
    save_file(arrays, IMAGENET_PATH, metadata={"class_names": json.dumps(names)})
    print(IMAGENET_PATH, {name: array.shape for name, array in arrays.items()}, IMAGENET_PATH.stat().st_size)


if __name__ == "__main__":
    main()
