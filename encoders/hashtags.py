"""Hashtags are sentences without spaces: find the words in them."""

from __future__ import annotations

import math
from collections.abc import Mapping

SHORT_WORDS = frozenset(
    ("a", "at", "by", "do", "go", "i", "in", "is", "it", "me", "my", "no", "of", "on", "so", "to", "up", "we")
)
"""Words of less than three letters that hashtags use; other short pieces of a vocabulary are mostly not words."""


def word_costs(vocabulary: Mapping[str, int]) -> dict[str, float]:
    """How surprising each word is, from a vocabulary that counts from the commonest: log of its rank, after Zipf.

    Args:
        vocabulary: word -> number, as a tokenizer holds it; pieces of words and other scripts are left out.
    """
    known = [
        word for word in vocabulary if word.isascii() and word.isalpha() and (len(word) > 2 or word in SHORT_WORDS)
    ]
    known.sort(key=lambda word: vocabulary[word])
    return {word: math.log((rank + 1) * math.log(len(known) + 1)) for rank, word in enumerate(known)}


def split_hashtag(hashtag: str, costs: Mapping[str, float]) -> str:
    """Put spaces between the words of a hashtag; one that is not made of known words stays as it is.

    The cheapest way to lay words end to end, found by dynamic programming.

    >>> costs = {"street": 4.0, "food": 3.0, "foo": 6.0, "streets": 5.0}
    >>> split_hashtag("streetfood", costs), split_hashtag("asmr", costs), split_hashtag("猫", costs)
    ('street food', 'asmr', '猫')
    """
    best: list[tuple[float, list[str]]] = [(0.0, [])]
    for end in range(1, len(hashtag) + 1):
        ways = [
            (best[start][0] + costs[word], [*best[start][1], word])
            for start in range(max(0, end - 20), end)
            if (word := hashtag[start:end]) in costs
        ]
        best.append(min(ways, default=(math.inf, [])))
    cost, words = best[-1]
    return " ".join(words) if cost < math.inf else hashtag
