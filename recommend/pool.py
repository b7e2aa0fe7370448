"""The pool of new videos: what is known of each in every segment of viewers, and who gets the next first look."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from recommend import explore
from recommend.boards import Boards
from recommend.catalogue import Catalogue
from recommend.counts import IMPRESSION, LONG_VIEW, Counts

POOL = 5_000
"""So many new videos take part in draws, the latest uploads first; beyond, a draw would take longer than a page."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pool:
    """New videos and their posteriors. Good as long as the boards that it was made with."""

    made_s: float
    places: NDArray[np.intp]  # (m,)
    rates: Floats  # (m, S), what is expected of each in each segment
    shown: Floats  # (m, S)
    long: Floats  # (m, S)
    spent: Floats  # (m,), first looks that it was given
    mean: Floats  # (S,), share of long views of each segment in all
    age_s: Floats  # (m,), since the upload
    standing: explore.Standing
    _draws: dict[int, explore.Draws] = field(default_factory=dict)

    def draws(self, segment: int) -> explore.Draws:
        """Joint draws for one segment; the same ones until the pool is made again."""
        if segment not in self._draws:
            seed = hashlib.sha256(f"{self.made_s} {segment}".encode()).digest()
            rng = np.random.default_rng(int.from_bytes(seed[:8], "little"))
            now = self.standing
            self._draws[segment] = explore.joint_draws(
                now.alpha[:, segment], now.beta[:, segment], now.share[:, segment], rng
            )
        return self._draws[segment]

    def status(self, catalogue: Catalogue) -> list[explore.Status]:
        """Where each new video stands, and what happens next."""
        return explore.status(
            [catalogue.video_ids[place] for place in self.places],
            [*catalogue.categories, "new viewers"],
            rates=self.rates,
            shown=self.shown,
            long=self.long,
            spent=self.spent,
            mean=self.mean,
            age_s=self.age_s,
        )


def pool(
    catalogue: Catalogue, counts: Counts, boards: Boards, now_s: float, signal: NDArray[np.float32] | None = None
) -> Pool:
    """Make the pool as it is at `now_s`.

    Args:
        signal: (n,) standardised; what the content of a video alone says of its quality, see `cold_content.py`.
            None: nothing.
    """
    places, segments = boards.new[:POOL], counts.segments
    by_category = counts.category_by_segment.all(now_s, len(catalogue.categories))
    base = explore.base_rates(by_category[:, :segments].T, by_category[:, segments:].T)  # (S, C)
    of_segment = counts.overall_by_segment.all(now_s, 1)[0]
    mean = np.clip(
        (of_segment[segments:] + 50 * counts.rates(now_s)[LONG_VIEW]) / (of_segment[:segments] + 50), 1e-4, 0.95
    )
    by_segment = counts.video_by_segment.at(places, now_s)
    shown, long = np.maximum(by_segment[:, :segments], 0), np.maximum(by_segment[:, segments:], 0)
    of_creator = counts.creator.at(catalogue.creator[places], now_s)
    creator = explore.lift(of_creator[:, LONG_VIEW], of_creator[:, IMPRESSION] * counts.rates(now_s)[LONG_VIEW])
    content = np.exp(_slope(catalogue, counts, signal, now_s) * signal[places]) if signal is not None else 1.0
    base_of = base.T[catalogue.category[places]]  # (m, S); none: the last category, `other`
    before = explore.prior_lift(creator, np.asarray(content))
    spent, age_s = counts.first_looks.at(places, now_s)[:, 0], now_s - catalogue.uploaded_s[places]
    return Pool(
        made_s=now_s,
        places=places,
        rates=explore.expected_rates(base_of, before, shown, long),
        shown=shown,
        long=long,
        spent=spent,
        mean=mean,
        age_s=age_s,
        standing=explore.standing(base_of, before, shown=shown, long=long, spent=spent, age_s=age_s, mean=mean),
    )


def _slope(catalogue: Catalogue, counts: Counts, signal: NDArray[np.float32], now_s: float) -> float:
    """How much the content's signal has said of the videos that are known by now."""
    known = counts.video.all(now_s, len(catalogue))
    seen = known[:, IMPRESSION] > 0
    expected = known[seen, IMPRESSION] * counts.rates(now_s)[LONG_VIEW]
    return explore.content_slope(signal[seen].astype(np.float64), known[seen, LONG_VIEW], expected)
