"""What a page is ranked by before anything was trained: posterior means, moved by what the viewer makes of its like.

No model and no file: shares of impressions that other viewers' behaviour shows, drawn to those of the video's creator
and category, times how this viewer takes that creator and category, and how like his interests the video is.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from recommend.catalogue import Catalogue
from recommend.counts import COMPLETE, FOLLOW, LIKE, LONG_VIEW, NEGATIVE, SHARE, Counts
from recommend.features import rates_of
from recommend.pipeline import Context, Scored
from recommend.state import Affinity, Viewer
from recommend.why import Strongest

HABIT = 5.0
"""So many videos of a creator or category a viewer must have been shown before half of his own habit counts."""
LIKENESS = 1.0
"""What a video exactly like an interest gains over one that is like none: twice the chance."""
WORTH = {LONG_VIEW: 1.0, COMPLETE: 0.3, LIKE: 2.0, SHARE: 4.0, FOLLOW: 4.0, NEGATIVE: -0.3}
"""What each is worth beside a long view."""
_HEADS = {
    "long_view": LONG_VIEW, "complete": COMPLETE, "like": LIKE, "share": SHARE, "follow": FOLLOW, "negative": NEGATIVE,
}  # fmt: skip


class Formula:
    """A ranker for a home in which nothing was trained yet."""

    digest = "formula-1"

    def score(
        self, viewer: Viewer, places: NDArray[np.intp], catalogue: Catalogue, counts: Counts, context: Context
    ) -> Scored:
        """Reckon the heads of some candidates, (m,) each, and their value."""
        now_s = context.now_s
        rate = rates_of(places, catalogue, counts, now_s).video
        lifts = _lifts(viewer, places, catalogue, float(counts.rates(now_s)[LONG_VIEW]), now_s)
        lift = np.clip(np.prod(list(lifts.values()), axis=0), 0.25, 4.0)
        heads = {name: _lifted(rate[:, signal], lift) for name, signal in _HEADS.items()}
        heads["negative"] = _lifted(rate[:, NEGATIVE], 1 / lift)
        value = np.sum([WORTH[signal] * heads[name] for name, signal in _HEADS.items()], axis=0)
        return Scored(heads=heads, value=np.asarray(value, dtype=np.float64))

    def explain(
        self, viewer: Viewer, place: int, catalogue: Catalogue, counts: Counts, context: Context
    ) -> list[Strongest]:
        """What moved his chance away from other viewers', the strongest first; in log-odds."""
        usual = float(counts.rates(context.now_s)[LONG_VIEW])
        lifts = _lifts(viewer, np.array([place]), catalogue, usual, context.now_s)
        moved = {name: float(np.log(lift[0])) for name, lift in lifts.items()}
        return [
            Strongest(name=name, phrase=_PHRASES[name], contribution=by)
            for name, by in sorted(moved.items(), key=lambda pair: -abs(pair[1]))
            if abs(by) > 1e-9
        ]


_PHRASES = {
    "your_creator": "how you take this creator",
    "your_category": "how you take this category",
    "like_interest": "it is like one of your interests",
}


def _lifts(
    viewer: Viewer, places: NDArray[np.intp], catalogue: Catalogue, usual: float, now_s: float
) -> dict[str, NDArray[np.float64]]:
    """(m,) how much better than others' this viewer's chance is: by creator, category and likeness."""
    found = {}
    for name, kept, codes in (
        ("your_creator", viewer.creators, catalogue.creator[places]),
        ("your_category", viewer.by_category, catalogue.category[places]),
    ):
        habit = {int(code): _habit(kept, int(code), usual, now_s) for code in np.unique(codes)}
        found[name] = np.array([max(habit[code], 1e-3) for code in codes.tolist()])
    likeness = np.zeros(len(places))
    if len(viewer.weights):
        likeness = (catalogue.vectors[places] @ viewer.centroids.T).max(axis=1).astype(np.float64)
    return found | {"like_interest": 1 + LIKENESS * np.clip(likeness, 0, 1)}


def _lifted(p: NDArray[np.float64], by: NDArray[np.float64]) -> NDArray[np.float64]:
    """(m,) probabilities whose odds are so many times those of `p`."""
    odds = np.clip(p, 1e-4, 1 - 1e-4) * by
    return np.asarray(odds / (1 - np.clip(p, 1e-4, 1 - 1e-4) + odds))


def _habit(kept: Mapping[int, Affinity], code: int, usual: float, now_s: float) -> float:
    """His own share of likes among what he was shown of it, beside the usual one, as far as he was shown enough."""
    if code not in kept:
        return 1.0
    liked, disliked, shown = kept[code].faded(now_s)
    own = (max(liked - disliked, 0.0) + HABIT * usual) / (shown + HABIT)
    return own / max(usual, 1e-6)
