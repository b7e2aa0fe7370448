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
from PIL import Image
from safetensors.numpy import save_file

from encoders.constants import IMAGENET_PATH
from encoders.models import package_file, torch_checkpoint
from encoders.text import Text
from encoders.vision import SIDE_PX, Vision, square_crops, weights_path

PHOTOGRAPHS = (
    "astronaut.png", "brick.png", "camera.png", "cell.png", "chelsea.png", "clock_motion.png", "coffee.png",
    "coins.png", "grass.png", "gravel.png", "hubble_deep_field.jpg", "ihc.png", "retina.jpg", "rocket.jpg", "text.png",
)  # fmt: skip
"""Those that scikit-image carries as public domain, CC0, or of no known copyright (docstrings of `skimage.data`)."""
ZOOMS = (1.0, 1.5)
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
    return np.asarray(rows * np.sign(largest)[:, None], np.float64)


def typical_features(vision: Vision) -> NDArray[np.float64]:
    """Mean features of a photograph, whatever it shows: over zooms, then crops, then photographs, (1280,)."""
    means = []
    for name in PHOTOGRAPHS:
        photograph = Image.open(package_file("skimage", "data", name)).convert("RGB")
        features, _ = vision.look([crop for zoom in ZOOMS for crop in crops(photograph, round(zoom * SIDE_PX))])
        means.append(features.mean(axis=0))
    return np.asarray(np.mean(means, axis=0), np.float64)


def crops(photograph: Image.Image, short_side_px: int) -> list[NDArray[np.uint8]]:
    """Squares that cover a photograph: three strips down its height, three squares along each."""
    scale = short_side_px / min(photograph.size)
    width, height = (max(SIDE_PX, round(side * scale)) for side in photograph.size)
    pixels = np.asarray(photograph.resize((width, height)))
    tops = sorted({0, (height - SIDE_PX) // 2, height - SIDE_PX})
    return [crop for top in tops for crop in square_crops(np.stack([pixels[top : top + SIDE_PX]] * 3))]


def class_rows(names: list[str], text: Text) -> NDArray[np.float64]:
    """Row of each class name, the mean over `PROMPTS`: (classes, 384)."""
    rows = [text.read([prompt.format(name) for name in names]) for prompt in PROMPTS]
    return np.asarray(np.mean(rows, axis=0), np.float64)


def text_to_vision(class_text: NDArray[np.float64], class_looks: NDArray[np.float64]) -> NDArray[np.float64]:
    """Ridge regression from the classes' names to the classes' looks, both centred: (384, dim)."""
    penalty = RIDGE * np.eye(class_text.shape[1])
    return np.asarray(np.linalg.solve(class_text.T @ class_text + penalty, class_text.T @ class_looks), np.float64)


def main() -> None:
    from torchvision.models import EfficientNet_B0_Weights

    names = list(EfficientNet_B0_Weights.DEFAULT.meta["categories"])
    checkpoint = torch_checkpoint(weights_path())
    classifier, bias = (checkpoint[name].double().numpy() for name in ("_fc.weight", "_fc.bias"))
    rows = projection(classifier, Vision.dim)
    directions = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    centre = typical_features(Vision(precision="fp32"))
    class_text = class_rows(names, Text(precision="fp32"))
    text_centre = class_text.mean(axis=0)
    class_text -= text_centre
    looks = (classifier - classifier.mean(axis=0)) @ directions.T
    arrays: dict[str, NDArray[Any]] = {
        "projection": rows.astype(np.float32),
        "centre": centre.astype(np.float32),
        "typical_logits": (classifier @ centre + bias).astype(np.float32),
        "text_centre": text_centre.astype(np.float32),
        "class_text": class_text.astype(np.float16),
        "text_to_vision": text_to_vision(class_text, looks).astype(np.float32),
    }
    save_file(arrays, IMAGENET_PATH, metadata={"class_names": json.dumps(names)})
    print(IMAGENET_PATH, {name: array.shape for name, array in arrays.items()}, IMAGENET_PATH.stat().st_size)


if __name__ == "__main__":
    main()
