"""What a new video's content says of it before anybody has watched it: whom it is for, and how well it will do.

Three small things, all of them linear, all fitted on the behaviour of videos that are not new:

- a `ContentMap` takes a content row to anything that is known of watched videos (a collaborative vector, a rate);
- `prior` is the map to an engagement rate, kept between 0 and 1: where a new video's Beta posterior begins;
- `fit_choice` weighs several likenesses (words, letters, hashtags, meaning, …) by what viewers went on to watch.

Nothing is shipped fitted. A map chooses its own strength by leaving out one video at a time, which for a ridge
regression costs no second fit.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from sklearn.feature_extraction.text import TfidfVectorizer

Floats = NDArray[np.float64]

RIDGES = tuple(np.logspace(-2, 5, 22).tolist())
PRIOR_MIN, PRIOR_MAX = 1e-3, 1 - 1e-3
"""A prior of 0 or 1 would be a claim that nothing could shake."""
CHOICE_PENALTY = 1e-3
"""On the squares of a choice's weights, a choice: enough to keep likenesses of one kind from being set against each
other."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ContentMap:
    """From content rows to what is known of videos with behaviour: offset + (x − centre) · slopes."""

    centre: Floats  # (d,)
    slopes: Floats  # (d, f)
    offset: Floats  # (f,)
    ridge: float
    left_out: Floats  # (n, f) what the map says of each video that it was fitted on, had that one been left out

    def apply(self, content: NDArray[Any]) -> Floats:
        """(m, d) rows to (m, f)."""
        if content.ndim != 2 or content.shape[1] != len(self.centre):
            raise ValueError(f"rows of {len(self.centre)} numbers wanted, got shape {content.shape}")
        return np.asarray((content - self.centre) @ self.slopes + self.offset)


def fit(
    content: NDArray[Any], target: NDArray[Any], weights: NDArray[Any] | None = None, ridges: Sequence[float] = RIDGES
) -> ContentMap:
    """Fit a map by ridge regression, with the ridge that does best on videos that were left out.

    Args:
        content: (n, d), n >= 3.
        target: (n, f).
        weights: (n,) > 0, how much each video is to be trusted, such as its views; None: all alike.

    Raises:
        ValueError: shapes that do not agree, numbers that are not finite, or too few rows.
    """
    x, y = np.asarray(content, dtype=np.float64), np.asarray(target, dtype=np.float64)
    w = np.ones(len(x)) if weights is None else np.asarray(weights, dtype=np.float64)
    if x.ndim != 2 or y.ndim != 2 or not len(x) == len(y) == len(w) or len(x) < 3:
        raise ValueError(f"(n, d), (n, f) and (n,) with n >= 3 wanted, got {x.shape}, {y.shape} and {w.shape}")
    if not (np.isfinite(x).all() and np.isfinite(y).all() and (w > 0).all()):
        raise ValueError("content and target want finite numbers, weights want numbers above 0")
    centre, offset = w @ x / w.sum(), w @ y / w.sum()
    x, residual = x - centre, y - offset
    strengths, axes = np.linalg.eigh((x.T * w) @ x)
    strengths = np.maximum(strengths, 0.0)
    turned = x @ axes
    projected = turned.T @ (w[:, None] * residual)

    def without_each(ridge: float) -> Floats:
        said = turned @ (projected / (strengths + ridge)[:, None])
        own = np.minimum(w * (turned**2 @ (1 / (strengths + ridge))) + w / w.sum(), 1 - 1e-9)
        return np.asarray(y - (residual - said) / (1 - own)[:, None])

    errors = [float(w @ ((y - without_each(ridge)) ** 2).sum(axis=1)) for ridge in ridges]
    ridge = ridges[int(np.argmin(errors))]
    slopes = axes @ (projected / (strengths + ridge)[:, None])
    return ContentMap(centre=centre, slopes=slopes, offset=offset, ridge=ridge, left_out=without_each(ridge))


def prior(content: NDArray[Any], engagement: NDArray[Any], weights: NDArray[Any] | None = None) -> ContentMap:
    """Fit the map to an engagement rate: `prior_rates(prior(...), content)` are the p̂ of new videos.

    Args:
        content: (n, d) of videos with behaviour.
        engagement: (n,) 0..1, each one's rate.
        weights: (n,) their impressions; None: all alike.
    """
    rates = np.asarray(engagement, dtype=np.float64)
    if rates.ndim != 1 or (len(rates) and (rates.min() < 0 or rates.max() > 1)):
        raise ValueError(f"rates of 0..1, one a video, wanted, got shape {rates.shape}")
    return fit(content, rates[:, None], weights)


def prior_rates(fitted: ContentMap, content: NDArray[Any]) -> Floats:
    """(m,) p̂ of new videos, 0 < p̂ < 1."""
    return np.clip(fitted.apply(content)[:, 0], PRIOR_MIN, PRIOR_MAX)


def fit_choice(likenesses: NDArray[Any], start: Floats | None = None) -> Floats:
    """Weigh likenesses so that what was watched next stands out among what was not (a conditional logit).

    Source: McFadden 1974, "Conditional logit analysis of qualitative choice behavior".

    Args:
        likenesses: (q, 1 + m, k): of each choice the video that was watched, then m that were not.
        start: (k,) where to begin; None: zeros.

    Returns:
        (k,) weights; a candidate's score is its likenesses times them.
    """
    rows = np.asarray(likenesses, dtype=np.float64)
    if rows.ndim != 3 or not len(rows) or rows.shape[1] < 2:
        raise ValueError(f"(choices, 1 + others, likenesses) wanted, got shape {rows.shape}")
    scale = np.maximum(rows.std(axis=(0, 1)), 1e-9)
    rows = rows / scale

    def loss(weights: Floats) -> tuple[float, Floats]:
        scores = rows @ weights
        top = scores.max(axis=1, keepdims=True)
        shares = np.exp(scores - top)
        total = shares.sum(axis=1, keepdims=True)
        surprise = (np.log(total[:, 0]) + top[:, 0] - scores[:, 0]).mean()
        slope = (np.einsum("qm,qmk->qk", shares / total, rows) - rows[:, 0]).mean(axis=0)
        return float(surprise + CHOICE_PENALTY * weights @ weights), slope + 2 * CHOICE_PENALTY * weights

    found = minimize(loss, np.zeros(rows.shape[2]) if start is None else start * scale, jac=True, method="L-BFGS-B")
    return np.asarray(found.x / scale)


def letter_rows(texts: Sequence[str]) -> Any:
    """Sparse unit rows of the stretches of 3 to 5 letters within words, the rare ones heavier (tf-idf).

    They see that `unboxing` and `unboxed`, or a name in two spellings, are the same thing.
    """
    return TfidfVectorizer(analyzer="char_wb", ngram_range=(3, 5), sublinear_tf=True, min_df=2).fit_transform(texts)


def word_rows(texts: Sequence[str]) -> Any:
    """Sparse unit rows of words, the rare ones heavier (tf-idf)."""
    return TfidfVectorizer(sublinear_tf=True).fit_transform(texts)


def hashtag_rows(hashtags: Sequence[Sequence[str]]) -> Any:
    """Sparse unit rows of whole hashtags, the rare ones heavier; a video without any has an empty row."""
    return TfidfVectorizer(analyzer=_as_they_are).fit_transform(hashtags)


def style(texts: Sequence[str]) -> Floats:
    """(n, 8) how a text is written, whatever it says: its length, and what stands out in it.

    >>> style(["Wow! 3 cats", ""]).shape
    (2, 8)
    """
    marks = (r"\w+", r"[.!?]+", r"\d+", r"[\"“”«»]", r"[^\x00-\x7f]", r"!|\?", r"\b[A-Z]{2,}\b")
    counts = [[len(text), *(len(re.findall(mark, text)) for mark in marks)] for text in texts]
    return np.log1p(np.array(counts, dtype=np.float64).reshape(len(texts), 1 + len(marks)))


def _as_they_are(tags: Sequence[str]) -> Sequence[str]:
    return tags
