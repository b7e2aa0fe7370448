"""What kind of content a video is: one of twelve categories, given by its caller or read from its words.

A category is a handful of phrases, encoded by the encoder that read the videos, and a few hashtags in several
languages. A video's text vector (caption, hashtags, tags, on-screen text and transcript, mixed while it was fused) is
compared with all phrases; hashtags and the names of what is seen add to what that says. No weight is learned.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoders.constants import class_names
from index.records import CATEGORIES
from recommend.category_words import HASHTAGS, PHRASES, SEEN

__all__ = ["CATEGORIES", "CODES", "OTHER", "Prototypes", "given"]

CODES = {name: code for code, name in enumerate(CATEGORIES)}
OTHER = CODES["other"]

TEMPERATURE = 0.04
"""Of the softmax over similarities. Chosen by log loss on the captions of `bench/categories.py`, which were written
for that; nobody's data shaped it."""
THRESHOLD = 0.35
"""Below this the likeliest category is not named; what is returned is `other`, with that low confidence."""
HASHTAG_LOGITS = 3.0
"""What the first known hashtag of a category adds; each further one adds half of the one before it."""
TAG_LOGITS = 0.75
"""What the likeliest thing that is seen adds to its category; halved from place to place. Little, since a classifier
of pictures names something even where there is nothing that it knows."""

ANIMAL_CLASSES = slice(0, 398)
FOOD_CLASSES = slice(924, 970)
"""Stretches of ImageNet's classes; what else is seen and says something is in `SEEN`."""


def given(extra: Mapping[str, Any]) -> int | None:
    """Code of the category that the caller gave with an upload (`Upload.extra["category"]`); None: it gave none.

    Raises:
        ValueError: it is none of `CATEGORIES`.

    >>> given({"category": "Food"}), given({})
    (3, None)
    """
    said = extra.get("category")
    if said is None or said == "":
        return None
    code = CODES.get(said.strip().casefold()) if isinstance(said, str) else None
    if code is None:
        raise ValueError(f"category is one of {', '.join(CATEGORIES)}; got {said!r}")
    return code


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prototypes:
    """Phrases of all categories, as vectors."""

    vectors: NDArray[np.float32]
    """(n_phrases, dim), unit rows, in the order of `CATEGORIES`."""
    firsts: NDArray[np.int64]
    """(categories,) number of each category's first phrase, increasing."""

    def __post_init__(self) -> None:
        if self.vectors.ndim != 2 or self.firsts.shape != (len(CATEGORIES),):
            raise ValueError(
                f"(n_phrases, dim) vectors and {len(CATEGORIES)} firsts: got {self.vectors.shape}, {self.firsts.shape}"
            )

    @classmethod
    def of(cls, encode: Callable[[list[str]], NDArray[np.float32]]) -> Prototypes:
        """Encode the phrases, with the encoder whose text vectors are to be classified."""
        phrases = [_listed(PHRASES[name]) for name in CATEGORIES]
        vectors = encode([phrase for some in phrases for phrase in some])
        return cls(vectors=np.asarray(vectors, np.float32), firsts=np.cumsum([0, *map(len, phrases[:-1])]))

    def classify(
        self,
        text_vectors: NDArray[np.float32],
        hashtags: Sequence[Sequence[str]],
        tags: Sequence[Sequence[str]] | None = None,
    ) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Return category and confidence of every video: codes (n,), confidence (n,) in 0..1.

        Args:
            text_vectors: (n, dim), unit rows; rows with NaN: there is no text.
            hashtags: n lists, case folded, without the `#`.
            tags: n lists of ImageNet's class names, the likeliest first.

        Returns:
            Confidence is the probability of the category named. `other` with less than `THRESHOLD` means that nothing
            was sure enough, and with 0 that nothing was said.
        """
        tags = [()] * len(text_vectors) if tags is None else tags
        if not len(text_vectors) == len(hashtags) == len(tags):
            raise ValueError(
                f"one row, hashtags and tags a video: got {len(text_vectors)}, {len(hashtags)}, {len(tags)}"
            )
        read = np.isfinite(text_vectors).all(axis=1)
        named = _votes(hashtags, _hashtag_codes(), HASHTAG_LOGITS)
        seen = _votes([row[:3] for row in tags], _seen_codes(), TAG_LOGITS)
        logits = named + seen
        if read.any():
            logits[read] += self._logits(text_vectors[read])
        probability = np.exp(logits - logits.max(axis=1, keepdims=True)) if len(logits) else logits
        probability /= probability.sum(axis=1, keepdims=True)
        best = probability.argmax(axis=1) if len(logits) else np.zeros(0, np.int64)
        confidence = probability.max(axis=1, initial=0.0)
        unsaid = ~read & ~named.any(axis=1) & ~seen.any(axis=1)
        confidence[unsaid] = 0.0
        codes = np.where(confidence < THRESHOLD, OTHER, best)
        return codes.astype(np.int32), confidence.astype(np.float32)

    def _logits(self, rows: NDArray[np.float32]) -> NDArray[np.float64]:
        """(n, categories): the log of the mean, over a category's phrases, of e to the similarity / `TEMPERATURE`.

        Nearly the best phrase: a category may be of many things that are unlike one another.
        """
        powers = np.exp((rows @ self.vectors.T).astype(np.float64) / TEMPERATURE)
        counts = np.diff([*self.firsts, len(self.vectors)])
        return np.asarray(np.log(np.add.reduceat(powers, self.firsts, axis=1) / counts))


def _votes(words: Sequence[Sequence[str]], codes: Mapping[str, int], first: float) -> NDArray[np.float64]:
    """(n, categories): what known words add; of each category the first in full, then each half of the one before."""
    added = np.zeros((len(words), len(CATEGORIES)))
    for row, said in zip(added, words, strict=True):
        worth = dict.fromkeys(range(len(CATEGORIES)), first)
        for word in said:
            code = codes.get(word)
            if code is not None:
                row[code] += worth[code]
                worth[code] /= 2
    return added


def _hashtag_codes() -> dict[str, int]:
    return {word: CODES[name] for name, words in HASHTAGS.items() for word in words.split()}


def _seen_codes() -> dict[str, int]:
    codes = {word: CODES[name] for name, words in SEEN.items() for word in _listed(words)}
    codes |= dict.fromkeys(class_names()[FOOD_CLASSES], CODES["food"])
    return codes | dict.fromkeys(class_names()[ANIMAL_CLASSES], CODES["animals"])


def _listed(words: str) -> list[str]:
    """Words divided by semicolons.

    >>> _listed("my pet; cute cat;  dog")
    ['my pet', 'cute cat', 'dog']
    """
    return [word.strip() for word in words.split(";")]
