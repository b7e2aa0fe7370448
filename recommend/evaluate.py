"""How good is a ranking? Measures over plain arrays, and how far chance may have moved them.

A measure that can be resampled is made in two steps. `auc_of(labels, scores)` sorts once and returns a function of the
rows' weights; `auc(labels, scores)` calls it with ones. Drawing viewers with replacement is nothing but another set of
weights, so a bootstrap of hundreds of rounds sorts nothing again: 500 rounds over 30,000 rows take about a second, of
XAUC four.

Viewers are drawn, not rows: rows of one viewer are alike, and an interval that took them for independent would be too
narrow. Two rankings of the same rows are compared by `paired_bootstrap`, round by round on the same draw.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recommend.faults import TooLittle

Floats = NDArray[np.float64]
Statistic = Callable[[Floats], float]
"""Weights of the rows, (n,) and >= 0, to a figure; NaN where such weights leave it undefined."""

CONFIDENCE = 0.95
UNDEFINED_MAX = 0.1
"""Share of the rounds that may leave a figure undefined; an interval of the others would be of something else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A figure, and where it lies in 95 of 100 draws of other viewers (percentile bootstrap)."""

    value: float
    low: float
    high: float
    rounds: int
    """That gave a figure."""
    undefined: int = 0
    """Rounds whose draw gave none, such as one without a single click."""

    @property
    def excludes_zero(self) -> bool:
        return self.low > 0 or self.high < 0

    def __str__(self) -> str:
        return f"{self.value:.4f} [{self.low:.4f}, {self.high:.4f}]"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Calibration:
    """Whether what was said to happen in 3 of 100 cases did."""

    error: float
    """Expected calibration error: |said − seen|, averaged over the rows."""
    counts: NDArray[np.int64]  # (bins,), > 0
    said: Floats  # (bins,) mean probability, increasing
    seen: Floats  # (bins,) share of positives

    def __post_init__(self) -> None:
        if not len(self.counts) == len(self.said) == len(self.seen):
            raise ValueError(f"a row a bin: got {len(self.counts)}, {len(self.said)} and {len(self.seen)}")


def auc(labels: NDArray[Any], scores: NDArray[Any], weights: Floats | None = None) -> float:
    """Chance that a positive row scores above a negative one; equal scores count half.

    Args:
        labels: (n,) 0 or 1.
        scores: (n,) finite.
        weights: (n,) how much each row counts; None: all alike.

    Raises:
        ValueError: the rows are of one class only.

    >>> auc(np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8]))
    0.75
    """
    return _defined(auc_of(labels, scores), len(labels), weights, "AUC wants rows of both classes")


def auc_of(labels: NDArray[Any], scores: NDArray[Any]) -> Statistic:
    """Return `auc` as a function of the rows' weights."""
    return gauc_of(labels, scores, np.zeros(len(labels), dtype=np.int64))


def gauc(labels: NDArray[Any], scores: NDArray[Any], users: NDArray[Any], weights: Floats | None = None) -> float:
    """AUC within each viewer, averaged over viewers by their rows (impressions).

    Viewers with one class only have no AUC and are left out, with all their rows.
    Source: Zhou et al. 2018, "Deep Interest Network for Click-Through Rate Prediction".

    Raises:
        ValueError: no viewer has rows of both classes.

    >>> gauc(np.array([0, 1, 0, 1, 1]), np.array([1, 2, 2, 1, 1]), np.array([7, 7, 8, 8, 8]))
    0.4
    """
    return _defined(gauc_of(labels, scores, users), len(labels), weights, "GAUC wants a viewer with both classes")


def gauc_of(labels: NDArray[Any], scores: NDArray[Any], users: NDArray[Any]) -> Statistic:
    """Return `gauc` as a function of the rows' weights."""
    positive, values = _binary(labels), _finite(scores, "scores")
    _same_length(labels=positive, scores=values, users=users)
    if not len(positive):
        return lambda weights: float("nan")
    codes = np.unique(users, return_inverse=True)[1]
    order = np.lexsort((values, codes))
    codes, values, positive = codes[order], values[order], positive[order].astype(np.float64)
    new_user = np.r_[True, codes[1:] != codes[:-1]]
    new_tie = new_user | np.r_[True, values[1:] != values[:-1]]
    ties = np.flatnonzero(new_tie)  # where rows of one viewer and one score begin
    users_at = np.flatnonzero(new_user[ties])  # where the ties of a viewer begin
    sizes = np.diff(np.r_[users_at, len(ties)])

    def statistic(weights: Floats) -> float:
        drawn = weights[order]
        won = np.add.reduceat(drawn * positive, ties)
        lost = np.add.reduceat(drawn, ties) - won
        below = np.cumsum(lost) - lost
        below -= np.repeat(below[users_at], sizes)  # cumulated from the viewer's first row on
        pairs = np.add.reduceat(won * (below + lost / 2), users_at)
        won, lost = np.add.reduceat(won, users_at), np.add.reduceat(lost, users_at)
        both = (won > 0) & (lost > 0)
        rows = (won + lost)[both]
        return float(rows @ (pairs[both] / (won * lost)[both]) / rows.sum()) if len(rows) else float("nan")

    return statistic


def xauc(watched: NDArray[Any], predicted: NDArray[Any], weights: Floats | None = None) -> float:
    """Chance that of two rows the one watched longer was also predicted longer; equal predictions count half.

    Exact, over all pairs that were watched for different times, by a merge sort; not by a sample of pairs. With times
    of 0 and 1 it is `auc`. Source: Zhan et al. 2022, "Deconfounding Duration Bias in Watch-time Prediction" (D2Q).

    Raises:
        ValueError: all rows were watched for the same time.

    >>> round(xauc(np.array([3.0, 10.0, 60.0]), np.array([5.0, 4.0, 9.0])), 3)
    0.667
    """
    return _defined(xauc_of(watched, predicted), len(watched), weights, "XAUC wants two different times")


def xauc_of(watched: NDArray[Any], predicted: NDArray[Any]) -> Statistic:
    """Return `xauc` as a function of the rows' weights.

    The pairs in the right order are found bit by bit of the predictions' ranks: two rows differ first in one bit, and
    of the rows that agree in all higher bits a running sum counts those with a 0 that come before one with a 1. The
    order in which each bit looks at the rows is found once.
    """
    times, values = _finite(watched, "watched"), _finite(predicted, "predicted")
    _same_length(watched=times, predicted=values)
    ranks = np.unique(values, return_inverse=True)[1]
    time_codes = np.unique(times, return_inverse=True)[1]
    both_codes = np.unique(np.stack([time_codes, ranks]), axis=1, return_inverse=True)[1]
    order = np.lexsort((-ranks, time_codes))  # equal times in falling order: no pair of them is counted as right
    passes = [_bit_pass(ranks[order], order, bit) for bit in range(int(ranks.max(initial=0)).bit_length())]

    def statistic(weights: Floats) -> float:
        all_pairs = _pairs_among(weights, np.zeros(len(weights), dtype=np.int64))
        apart = all_pairs - _pairs_among(weights, time_codes)
        if apart <= 0:
            return float("nan")
        tied = _pairs_among(weights, ranks) - _pairs_among(weights, both_codes)
        right = sum(_ordered_pairs(weights, *one) for one in passes)
        return float((right + tied / 2) / apart)

    return statistic


def mean_of(values: NDArray[Any]) -> Statistic:
    """Return the mean as a function of the rows' weights; rows with NaN are left out."""
    known = np.isfinite(values)
    filled = np.where(known, values, 0.0).astype(np.float64)

    def statistic(weights: Floats) -> float:
        total = float(weights @ known)
        return float(weights @ filled) / total if total else float("nan")

    return statistic


def ndcg(relevance: NDArray[Any], scores: NDArray[Any], users: NDArray[Any], at: int) -> tuple[NDArray[Any], Floats]:
    """Discounted gain of each viewer's first `at` rows, as a share of the best possible one.

    The gain of a row is its relevance itself; rows of equal score share their places, as in scikit-learn's
    `ndcg_score`.

    Args:
        relevance: (n,) >= 0.
        scores: (n,), the largest first.
        users: (n,) whose list each row is in.

    Returns:
        The viewers with anything relevant, ascending, and their figures, 0..1. Others have no figure.

    >>> ndcg(np.array([0, 1]), np.array([2.0, 1.0]), np.array([5, 5]), at=2)[1].round(3)
    array([0.631])
    """
    gains = _finite(relevance, "relevance")
    if len(gains) and gains.min() < 0:
        raise ValueError(f"relevance is 0 or more, got {gains.min()}")
    known, codes = _users(users, at)
    discounts = _discounts(at)
    got = _first_places(gains, _finite(scores, "scores"), codes, discounts)
    best = _first_places(gains, gains, codes, discounts)
    some = best > 0
    return known[some], got[some] / best[some]


def recall_at(
    relevance: NDArray[Any], scores: NDArray[Any], users: NDArray[Any], at: int
) -> tuple[NDArray[Any], Floats]:
    """Share of each viewer's relevant rows that are among his first `at`; equal scores share their places.

    Returns:
        The viewers with anything relevant, ascending, and their figures, 0..1. Others have no figure.

    >>> recall_at(np.array([1, 0, 1]), np.array([3.0, 2.0, 1.0]), np.array([5, 5, 5]), at=2)[1]
    array([0.5])
    """
    positive = _binary(relevance).astype(np.float64)
    known, codes = _users(users, at)
    got = _first_places(positive, _finite(scores, "scores"), codes, np.ones(at))
    total = np.bincount(codes, weights=positive, minlength=len(known))
    some = total > 0
    return known[some], got[some] / total[some]


def calibration(labels: NDArray[Any], probabilities: NDArray[Any], bins: int = 10) -> Calibration:
    """Compare what was said with what was seen, in bins of about equally many rows.

    Equally many, not equally wide: most rates are a few percent, and would all fall into the first of ten wide bins.
    Rows of one probability stay in one bin, so there may be fewer bins.

    Args:
        labels: (n,) 0 or 1, n >= 1.
        probabilities: (n,) 0..1.

    >>> calibration(np.array([0, 0, 0, 1]), np.array([0.25, 0.25, 0.25, 0.25])).error
    0.0
    """
    positive, said = _binary(labels), _finite(probabilities, "probabilities")
    _same_length(labels=positive, probabilities=said)
    if not len(said) or said.min() < 0 or said.max() > 1 or bins < 1:
        raise ValueError(f"rows with probabilities of 0..1 and at least one bin wanted, got {len(said)} and {bins}")
    edges = np.unique(np.quantile(said, np.arange(1, bins) / bins, method="inverted_cdf"))
    codes = np.unique(np.searchsorted(edges, said), return_inverse=True)[1]
    counts = np.bincount(codes)
    mean_said = np.bincount(codes, weights=said) / counts
    seen = np.bincount(codes, weights=positive) / counts
    error = float(counts @ np.abs(mean_said - seen) / counts.sum())
    return Calibration(error=error, counts=counts, said=mean_said, seen=seen)


def coverage(shown: NDArray[np.int64], catalogue: int) -> float:
    """Share of the catalogue that was shown at all.

    >>> coverage(np.array([3, 3, 0]), 4)
    0.5
    """
    if catalogue < 1:
        raise ValueError(f"a catalogue of at least one video wanted, got {catalogue}")
    return len(np.unique(shown)) / catalogue


def gini(exposure: NDArray[Any]) -> float:
    """How unevenly exposure is spread: 0, all alike, to nearly 1, one has it all.

    Args:
        exposure: (n,) >= 0, of every video or creator, those never shown included.

    Raises:
        ValueError: nothing was shown.

    >>> gini(np.array([0, 0, 0, 8]))
    0.75
    """
    sorted_up = np.sort(_finite(exposure, "exposure"))
    if not len(sorted_up) or sorted_up[0] < 0 or not sorted_up.sum():
        raise ValueError("exposure wants counts of 0 or more, and one above 0")
    n = len(sorted_up)
    return float((2 * np.arange(1, n + 1) - n - 1) @ sorted_up / (n * sorted_up.sum()))


def novelty(shown: NDArray[np.int64], views: NDArray[Any]) -> float:
    """Mean surprise of what was shown, in bits: −log2 of each video's share of all earlier views.

    Every video is taken to have one view more than it has: one without any would surprise without end.
    Source: Vargas & Castells 2011, "Rank and Relevance in Novelty and Diversity Metrics".

    Args:
        shown: (m,) places, m >= 1.
        views: (n,) earlier views of each place.

    >>> novelty(np.array([0, 1]), np.array([0, 0]))
    1.0
    """
    if not len(shown):
        raise ValueError("novelty wants at least one video that was shown")
    share = (views + 1) / (views + 1).sum()
    return float(-np.log2(share[shown]).mean())


def bootstrap(users: NDArray[Any], statistic: Statistic, rounds: int, rng: np.random.Generator) -> Interval:
    """Return a figure with its interval over draws of other viewers.

    Args:
        users: (n,) whose row each is; a viewer comes with all his rows or with none.
        statistic: of the rows' weights, such as `auc_of(labels, scores)`.

    Raises:
        TooLittle: the figure is undefined for the rows themselves, or for more than a tenth of the draws.
    """
    drawn = np.array([statistic(weights) for weights in _draws(users, rounds, rng)])
    return interval_of(statistic(np.ones(len(users))), drawn)


def paired_bootstrap(
    users: NDArray[Any], ours: Statistic, theirs: Statistic, rounds: int, rng: np.random.Generator
) -> Interval:
    """Return how far `ours` is above `theirs` on the same rows; every round draws the same viewers for both."""
    drawn = np.array([ours(weights) - theirs(weights) for weights in _draws(users, rounds, rng)])
    ones = np.ones(len(users))
    return interval_of(ours(ones) - theirs(ones), drawn)


def drawn_sums(users: NDArray[Any], columns: Floats, rounds: int, rng: np.random.Generator) -> Floats:
    """Return the sums of columns over draws of viewers: all of a figure that is made of sums, at once.

    Args:
        users: (n,) whose row each is.
        columns: (n, k).

    Returns:
        (1 + rounds, k): first those of the rows themselves.
    """
    known, codes = np.unique(users, return_inverse=True)
    by_user = np.stack([np.bincount(codes, weights=column, minlength=len(known)) for column in columns.T], axis=1)
    sums = [by_user.sum(axis=0)]
    for _ in range(rounds):
        sums.append(np.bincount(rng.integers(len(known), size=len(known)), minlength=len(known)) @ by_user)
    return np.array(sums)


def _draws(users: NDArray[Any], rounds: int, rng: np.random.Generator) -> Any:
    known, codes = np.unique(users, return_inverse=True)
    for _ in range(rounds):
        times = np.bincount(rng.integers(len(known), size=len(known)), minlength=len(known))
        yield times[codes].astype(np.float64)


def interval_of(value: float, drawn: Floats) -> Interval:
    """The interval of a figure, made of what each draw said of it; NaN where it said nothing.

    Raises:
        TooLittle: the figure itself is undefined, or more than a tenth of the draws.
    """
    known = drawn[np.isfinite(drawn)]
    if not np.isfinite(value) or len(known) < (1 - UNDEFINED_MAX) * len(drawn) or not len(drawn):
        raise TooLittle(f"too little to go by: {len(known)} of {len(drawn)} draws gave a figure, the rows {value}")
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(known, [tail, 1 - tail])
    return Interval(
        value=float(value), low=float(low), high=float(high), rounds=len(known), undefined=len(drawn) - len(known)
    )


def _defined(statistic: Statistic, count: int, weights: Floats | None, wanted: str) -> float:
    value = statistic(np.ones(count) if weights is None else np.asarray(weights, dtype=np.float64))
    if np.isnan(value):
        raise ValueError(f"{wanted}; none among {count} rows")
    return value


def _bit_pass(
    ranks: NDArray[np.int64], rows: NDArray[np.int64], bit: int
) -> tuple[NDArray[np.int64], Floats, NDArray[np.int64], NDArray[np.int64]]:
    """Rows in the order one bit looks at them, the bit itself, where each group begins, and each group's size."""
    order = np.argsort(ranks >> (bit + 1), kind="stable")
    group = ranks[order] >> (bit + 1)
    first = np.flatnonzero(np.r_[True, group[1:] != group[:-1]])
    return rows[order], ((ranks[order] >> bit) & 1).astype(np.float64), first, np.diff(np.r_[first, len(order)])


def _ordered_pairs(
    weights: Floats, rows: NDArray[np.int64], bits: Floats, first: NDArray[np.int64], sizes: NDArray[np.int64]
) -> float:
    """Weight of the pairs in which a 0 comes before a 1 of the same group."""
    drawn = weights[rows]
    ones = drawn * bits
    before = np.cumsum(drawn - ones)
    starts = np.r_[0.0, before][first]  # what was counted when each group began
    return _product(ones, before) - _product(np.add.reduceat(ones, first), starts)


def _pairs_among(weights: Floats, codes: NDArray[np.int64]) -> float:
    """Weight of the pairs of rows with the same code; a row drawn twice makes a pair with itself."""
    sums = np.asarray(np.bincount(codes, weights=weights), dtype=np.float64)
    return _product(sums, sums) / 2


def _product(one: Floats, other: Floats) -> float:
    """Their dot product on one thread: BLAS wakes others for it, and on a busy machine waits eight times as long."""
    return float(np.einsum("i,i", one, other))


def _first_places(gains: Floats, scores: Floats, codes: NDArray[np.int64], discounts: Floats) -> Floats:
    """(users,) sum of the gains of each one's first rows, each times its place's discount; ties share their gains."""
    _same_length(relevance=gains, scores=scores, users=codes)
    order = np.lexsort((-scores, codes))
    codes, scores, gains = codes[order], scores[order], gains[order]
    new_user = np.r_[True, codes[1:] != codes[:-1]]
    places = np.arange(len(codes)) - np.flatnonzero(new_user)[codes]
    ties = np.flatnonzero(new_user | np.r_[True, scores[1:] != scores[:-1]])
    sizes = np.diff(np.r_[ties, len(codes)])
    shared = np.repeat(np.add.reduceat(gains, ties) / sizes, sizes)
    counted = np.where(places < len(discounts), discounts[np.minimum(places, len(discounts) - 1)], 0.0)
    return np.asarray(np.bincount(codes, weights=shared * counted), dtype=np.float64)


def _discounts(at: int) -> Floats:
    return np.asarray(1 / np.log2(np.arange(at) + 2))


def _users(users: NDArray[Any], at: int) -> tuple[NDArray[Any], NDArray[np.int64]]:
    if not len(users) or at < 1:
        raise ValueError(f"at least one row and one place wanted, got {len(users)} and {at}")
    known, codes = np.unique(users, return_inverse=True)
    return known, codes


def _binary(labels: NDArray[Any]) -> NDArray[np.bool_]:
    positive: NDArray[np.bool_] = np.asarray(labels, dtype=np.float64) != 0
    if not np.array_equal(positive, np.asarray(labels)):
        raise ValueError(f"labels are 0 or 1, got {np.unique(labels)[:5]}")
    return positive


def _finite(values: NDArray[Any], name: str) -> Floats:
    numbers = np.asarray(values, dtype=np.float64)
    if not np.isfinite(numbers).all():
        raise ValueError(f"{name}: {int((~np.isfinite(numbers)).sum())} of {len(numbers)} are not finite")
    return numbers


def _same_length(**columns: NDArray[Any]) -> None:
    if len({len(column) for column in columns.values()}) > 1:
        raise ValueError(f"a row each: got {', '.join(f'{len(c)} {name}' for name, c in columns.items())}")
