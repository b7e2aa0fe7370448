"""What the eye sees, in words: class probabilities become tags and text rows, and text rows reach into vision.

Two bridges between pictures and sentences, made of nothing but the classifier and the names of its classes, so that a
video without a caption is found by what is seen in it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoders.constants import class_names, imagenet, imagenet_sha256
from encoders.rows import unit_rows

TAG_MIN_PROBABILITY = 0.1
TAG_MAX_COUNT = 5


def spec() -> dict[str, Any]:
    """What decides the meaning of tags and of their rows, as plain JSON."""
    return {"constants_sha256": imagenet_sha256(), "min_probability": TAG_MIN_PROBABILITY, "max_count": TAG_MAX_COUNT}


def top_tags(probabilities: NDArray[np.float32]) -> list[tuple[str, float]]:
    """Return (class name, probability) of the likeliest classes of one video, (1000,), most probable first.

    At most `TAG_MAX_COUNT`, none below `TAG_MIN_PROBABILITY`; the list is empty where the eye is sure of nothing.
    """
    names = class_names()
    if probabilities.shape != (len(names),):
        raise ValueError(f"one probability per class: wanted ({len(names)},), got {probabilities.shape}")
    best = np.argsort(-probabilities, kind="stable")[:TAG_MAX_COUNT]
    return [(names[i], float(probabilities[i])) for i in best if probabilities[i] >= TAG_MIN_PROBABILITY]


def tag_vectors(probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a unit text row per video, (n, 384): the mean of the class names' rows, weighted by probability.

    The mean of all names is taken away first: it says only "this is a photo of something", and would make every video
    alike. Source: Norouzi et al. 2013, "Zero-Shot Learning by Convex Combination of Semantic Embeddings".

    Args:
        probabilities: (n, 1000), rows adding up to 1.
    """
    names = imagenet()["class_text"]
    centred = names - names.mean(axis=0)
    return unit_rows(np.stack([row @ centred for row in probabilities]) if len(probabilities) else centred[:0])


def as_vision(text_vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return where in the space of `Vision` something with this description would lie: (n, 384) -> unit (n, 96).

    A linear map, learned by ridge regression from the 1000 class names to the 1000 rows of the classifier.
    """
    arrays = imagenet()
    centred = text_vectors - arrays["class_text"].mean(axis=0)
    return unit_rows(centred @ arrays["text_to_vision"])
