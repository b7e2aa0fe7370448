"""The page: good videos that do not repeat one another, nor what was served just before.

Which of the candidates come, and in which order, is decided by a determinantal point process: the volume that the
chosen vectors span, each stretched by its quality. One like another that was chosen adds little volume, however good.

    L = diag(q) S diag(q),   q = exp(α r),   α = θ / (2 (1 − θ))

with S the cosines and r the relevance. The largest volume is approached greedily, a Cholesky row at a time.
Source: Chen et al. 2018, "Fast Greedy MAP Inference for Determinantal Point Process to Improve Recommendation
Diversity". What was served before, and what has a fixed place on this page, is in the kernel from the start: the rest
is chosen given that they are. Caps on creators, sounds, categories and near-identical videos hold in every stretch of
`window` videos, over the edge of a page too.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from recommend.categories import OTHER

CAPS = ("near_identical", "creator", "sound", "category")
"""What is capped. Where nothing else is left, caps are let go from the last to the first: a page of one category is
better than none, a second copy of a video is the last resort."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SlateSettings:
    theta: float = 0.65
    """How much relevance counts against variety, 0 <= theta < 1; 0: variety alone."""
    pool: int = 150
    """So many of the most relevant are looked at first; the others only where the caps let too few of these through."""
    noise: float = 0.01
    """S is (1 - noise) cosines + noise I: two copies still span some volume, so that a page is always filled."""
    window: int = 20
    """Every stretch of so many videos keeps the caps."""
    near_identical: float = 0.9
    """Two videos with a cosine above this are one to a viewer; a window has one of them. Of 40 real clips no two came
    above .75, and one with its caption and without had .92 at most: the same bytes under other words are told by the
    filter, hardly here, and a copy with bars and other words (.61 to .63) by neither."""
    creator_cap: int = 2
    sound_cap: int = 2
    category_cap: int = 8
    uncapped: tuple[int, ...] = (OTHER,)
    """Codes of categories without a cap. `other` is what could not be named: its videos need have nothing in common."""
    turn: float = 0.0
    """What n videos of a category on this page take from the relevance of its next: this times log(1 + n), in standard
    deviations. A logarithm, so that however many good ones there were, no poor one gets its turn."""

    def __post_init__(self) -> None:
        if not 0 <= self.theta < 1 or not 0 < self.noise < 1:
            raise ValueError(f"0 <= theta < 1 and 0 < noise < 1 wanted, got {self.theta} and {self.noise}")
        if min(self.pool, self.window, self.creator_cap, self.sound_cap, self.category_cap) < 1:
            raise ValueError("pool, window and caps are at least 1")


FIRST_PAGE = SlateSettings(theta=0.8, turn=0.3, category_cap=20)
"""For a viewer of whom nothing is known, with `proven` quality as relevance: the best there is, and among nearly
equals the categories in turn. No more, and no cap on categories: a variety that was forced upon first pages cut how
many viewers went on to a third of what it had been."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Served:
    """What a viewer was served last, the newest last."""

    vectors: NDArray[np.float32]  # (s, dim), unit rows
    creators: NDArray[np.int32]  # (s,), codes, -1 for none; so the next two
    sounds: NDArray[np.int32]
    categories: NDArray[np.int32]

    def __post_init__(self) -> None:
        _check_columns(self.vectors, self.creators, self.sounds, self.categories)

    @classmethod
    def nothing(cls, dim: int) -> Served:
        none = np.zeros(0, np.int32)
        return cls(vectors=np.zeros((0, dim), np.float32), creators=none, sounds=none, categories=none)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Slate:
    order: NDArray[np.int64]  # (min(k, m),), numbers of candidates, the top of the page first
    held_back: list[tuple[int, str]] = field(default_factory=list)
    """Candidates that would have had a place but for a cap, and which of `CAPS` it was; none of them is on the page."""
    relaxed: tuple[str, ...] = ()
    """Those of `CAPS` that were let go, since too few candidates were left; in the order in which they go."""


def arrange(
    relevance: NDArray[np.float64],
    vectors: NDArray[np.float32],
    creators: NDArray[np.int32],
    sounds: NDArray[np.int32],
    categories: NDArray[np.int32],
    *,
    k: int,
    served: Served,
    fixed: Mapping[int, int] | None = None,
    settings: SlateSettings = SlateSettings(),
) -> Slate:
    """Choose and order a page of `k` out of m candidates.

    Args:
        relevance: (m,), larger is better, on any scale, see `robust_scores`.
        vectors: (m, dim), unit rows.
        creators: (m,), codes, -1 for none; so sounds and categories.
        served: before this page. The last `settings.window` of them count.
        fixed: place on the page -> candidate that has it whatever the caps say, since its probability was drawn
            before. The others keep clear of it. On a page that ends before their place, they come at its end.

    Raises:
        ValueError: shapes disagree, a relevance is not finite, a fixed place or candidate is none or twice.
    """
    fixed = {} if fixed is None else fixed
    _check(relevance, vectors, creators, sounds, categories, k, served, fixed)
    wanted = min(k, len(relevance))
    if wanted == 0:
        return Slate(order=np.zeros(0, np.int64))
    codes = np.stack([creators, sounds, categories])
    by_relevance = np.argsort(-relevance, kind="stable")
    page = None
    for pool in (settings.pool, len(relevance)):
        looked_at = _with_fixed(by_relevance[:pool], fixed)
        page = _Page(relevance, vectors, codes, looked_at, served, fixed, settings)
        if page.fill(wanted, may_relax=len(looked_at) == len(relevance)):
            break
    assert page is not None
    return page.slate()


def robust_scores(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how far each value lies from the median, in standard deviations, far ones as their logarithm: (n,).

    Relevance adds probabilities of unlike things; its scale changes whenever a head or a weight does, and a page must
    be as varied after that as before. Median and median deviation, since one outlier must not change how the others
    compare; not ranks, which would make the gap between the good and the poor as narrow as any other.
    The standard deviation is 1.4826 median deviations, as of a normal distribution.

    >>> robust_scores(np.array([2.0, 4.0, 3.0, 3.5, 1e9])).round(2)
    array([-1.45,  0.63, -0.63,  0.  , 21.72])
    """
    if not len(values):
        return np.zeros(0)
    away = values - _median(values)
    spread = 1.4826 * _median(np.abs(away)) or 1.2533 * np.abs(away).mean()  # more than half are equal
    return np.asarray(np.arcsinh(away / spread) if spread > 0 else np.zeros(len(values)))


def _median(values: NDArray[np.float64]) -> float:
    """As numpy's, which takes ten times as long for a hundred values."""
    ordered = np.sort(values)
    return float(ordered[(len(values) - 1) // 2] + ordered[len(values) // 2]) / 2


class _Page:
    """A page that is being filled: the Cholesky rows of what is chosen, and what the caps have counted.

    Everything goes by number in the pool; `pool` says which candidate that is.
    """

    def __init__(
        self,
        relevance: NDArray[np.float64],
        vectors: NDArray[np.float32],
        codes: NDArray[np.int32],
        pool: NDArray[np.int64],
        served: Served,
        fixed: Mapping[int, int],
        settings: SlateSettings,
    ) -> None:
        self.settings, self.pool = settings, pool
        alpha = settings.theta / (2 * (1 - settings.theta))
        self.worth = 2 * alpha * robust_scores(relevance[pool])  # what is chosen has none
        self.turn = 2 * alpha * settings.turn
        self.caps = np.array([1, settings.creator_cap, settings.sound_cap, settings.category_cap], np.int16)
        self.vectors, self.categories = vectors[pool], codes[2, pool]
        capped = _capped(codes[:, pool], settings)
        self.codes = np.where(capped < 0, -2 - np.arange(len(pool), dtype=np.int32), capped)
        """(3, pool): creator, sound and category; what no cap counts has a code like no other."""
        number_of = {candidate: number for number, candidate in enumerate(pool.tolist())} if fixed else {}
        self.fixed = {place: number_of[fixed[place]] for place in sorted(fixed)}
        self.order: list[int] = []
        self.held = np.zeros(len(pool), np.int8)  # 0: by no cap; else its number in CAPS, from 1
        self.relaxed: set[int] = set()
        self._begin(served)

    def _begin(self, served: Served) -> None:
        """Take in what is chosen already: what was served, and what has a fixed place."""
        last = slice(max(0, len(served.vectors) - self.settings.window), None)
        before, ahead = served.vectors[last], list(self.fixed.values())
        codes = _capped(np.stack([served.creators[last], served.sounds[last], served.categories[last]]), self.settings)
        chosen = np.concatenate([before, self.vectors[ahead]])
        cosines = (self.vectors @ chosen.T).T  # this way round a third faster
        self.left = np.ones(len(self.pool))
        """(pool,) the squared height that each adds to the volume of what is chosen."""
        self.rows = np.empty((len(chosen) + len(self.pool), len(self.pool)))
        self.count = len(chosen)
        if self.count:
            kernel = (1 - self.settings.noise) * (chosen @ chosen.T).astype(np.float64)
            kernel.flat[:: len(chosen) + 1] = 1.0
            across = (1 - self.settings.noise) * cosines.astype(np.float64)
            # A fixed one is in the pool too; nobody asks for the rows at its own number, since it has no worth.
            self.rows[: self.count] = np.linalg.inv(np.linalg.cholesky(kernel)) @ across
            self.left -= (self.rows[: self.count] ** 2).sum(axis=0)
        self.worth[ahead], self.left[ahead] = -np.inf, 1.0
        places = np.array([*range(-len(before), 0), *self.fixed])
        met = self._meets(cosines, np.concatenate([codes, self.codes[:, ahead]], axis=1).T)
        self.met = dict(zip(places.tolist(), met, strict=True))
        """Place -> whom its video counts against by each cap, (caps, pool); places before this page are below 0."""
        self.counts: NDArray[np.int16] = met[np.abs(places) < self.settings.window].sum(axis=0, dtype=np.int16)

    def _meets(self, cosines: NDArray[np.float32], codes: NDArray[np.int32]) -> NDArray[np.bool_]:
        """(n, pool) and (n, 3) -> (n, caps, pool)."""
        meets = np.empty((len(cosines), len(CAPS), len(self.pool)), np.bool_)
        np.greater(cosines, self.settings.near_identical, out=meets[:, 0])
        np.equal(codes[:, :, None], self.codes, out=meets[:, 1:])
        return meets

    def fill(self, wanted: int, *, may_relax: bool) -> bool:
        """Fill the page up to `wanted`; False: the caps let too few through."""
        ahead = list(self.fixed)
        for place in range(wanted):
            self._slide(place)
            if place in self.fixed:
                self.order.append(self.fixed[place])
                ahead.remove(place)
            elif ahead and len(self.order) + len(ahead) == wanted:  # the page ends before their places
                self.order += [self.fixed[later] for later in ahead]
                break
            else:
                picked = self._pick(may_relax)
                if picked is None:
                    return False
                self._choose(place, picked)
        return True

    def _slide(self, place: int) -> None:
        """Forget whom the window has left behind, and see the fixed place that has come into reach."""
        if place == 0:  # where counting began
            return
        gone, coming = place - self.settings.window, place + self.settings.window - 1
        if gone in self.met:
            self.counts -= self.met[gone]
        if coming in self.fixed:
            self.counts += self.met[coming]

    def _pick(self, may_relax: bool) -> int | None:
        gains = self.worth + np.log(self.left)
        if self.turn:
            gains -= self.turn * np.log1p(self._on_page())
        best = int(gains.argmax())
        if gains[best] == -np.inf:
            return None
        if (self.counts[:, best] < self.caps).all():
            return best
        full = self.counts >= self.caps[:, None]
        for kept in range(len(CAPS), -1, -1):
            allowed = np.where(full[:kept].any(axis=0), -np.inf, gains)
            picked = int(allowed.argmax())
            if allowed[picked] > -np.inf:
                break
            if not may_relax:
                return None
        self.relaxed |= {number for number in range(kept, len(CAPS)) if full[number, picked]}
        better = full.any(axis=0) & (gains > gains[picked]) & (self.held == 0)
        self.held[better] = full[:, better].argmax(axis=0) + 1
        return picked

    def _on_page(self) -> NDArray[np.int64]:
        """(pool,) how many on this page, fixed ones to come included, are of each candidate's category."""
        here = self.categories[list({*self.order, *self.fixed.values()})]
        return np.asarray((self.categories[:, None] == here).sum(axis=1))

    def _choose(self, place: int, picked: int) -> None:
        cosines = self.vectors @ self.vectors[picked]
        known, row = self.rows[: self.count], self.rows[self.count]
        np.multiply(cosines, 1 - self.settings.noise, out=row)
        row -= known[:, picked] @ known
        row /= math.sqrt(self.left[picked])
        self.count += 1
        self.left -= row * row
        self.worth[picked], self.left[picked] = -np.inf, 1.0
        self.met[place] = self._meets(cosines[None], self.codes[None, :, picked])[0]
        self.counts += self.met[place]
        self.order.append(picked)

    def slate(self) -> Slate:
        on_page = set(self.order)
        held = [
            (int(self.pool[number]), CAPS[self.held[number] - 1])
            for number in np.flatnonzero(self.held).tolist()
            if number not in on_page
        ]
        return Slate(
            order=self.pool[self.order],
            held_back=held,
            relaxed=tuple(CAPS[number] for number in sorted(self.relaxed, reverse=True)),
        )


def _capped(codes: NDArray[np.int32], settings: SlateSettings) -> NDArray[np.int32]:
    """Creators, sounds and categories, -1 where no cap counts them."""
    codes = codes.copy()
    for category in settings.uncapped:
        codes[2, codes[2] == category] = -1
    return codes


def _with_fixed(pool: NDArray[np.int64], fixed: Mapping[int, int]) -> NDArray[np.int64]:
    missing = [index for _, index in sorted(fixed.items()) if index not in pool]
    return np.concatenate([pool, np.array(missing, np.int64)]) if missing else pool


def _check(
    relevance: NDArray[np.float64],
    vectors: NDArray[np.float32],
    creators: NDArray[np.int32],
    sounds: NDArray[np.int32],
    categories: NDArray[np.int32],
    k: int,
    served: Served,
    fixed: Mapping[int, int],
) -> None:
    _check_columns(vectors, creators, sounds, categories)
    if relevance.shape != (len(vectors),) or not np.isfinite(relevance).all():
        raise ValueError(f"a finite relevance a row: got {relevance.shape} for {vectors.shape}")
    if served.vectors.shape[1] != vectors.shape[1]:
        raise ValueError(f"served and candidates disagree: {served.vectors.shape} and {vectors.shape}")
    if k < 0:
        raise ValueError(f"a page has 0 places or more, got {k}")
    indices = list(fixed.values())
    if len(set(indices)) != len(indices) or not all(0 <= index < len(relevance) for index in indices):
        raise ValueError(f"fixed candidates are among {len(relevance)}, each once: got {indices}")
    if not all(0 <= place < k for place in fixed):
        raise ValueError(f"fixed places are below {k}, got {sorted(fixed)}")


def _check_columns(
    vectors: NDArray[np.float32],
    creators: NDArray[np.int32],
    sounds: NDArray[np.int32],
    categories: NDArray[np.int32],
) -> None:
    shapes = [column.shape for column in (creators, sounds, categories)]
    if vectors.ndim != 2 or any(shape != (len(vectors),) for shape in shapes):
        raise ValueError(f"one code a row: got vectors {vectors.shape}, creators, sounds, categories {shapes}")
