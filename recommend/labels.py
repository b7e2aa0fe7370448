"""What a watch means, whatever the length of the video. Kuaishou's definitions (KuaiRec, KuaiRand).

The definitions take seconds watched and seconds long, numbers or arrays of them. Seconds as such are never a target:
whoever learns to predict them learns to predict length (on KuaiRand-Pure the top tenth is then 219 s long, twice the
catalogue). `D2Q` asks instead how a watch compares with others of videos as long.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

GROUPS = 30
"""Duration groups of `D2Q`. Source: Zhan et al. 2022 find 20 to 50 much alike."""
KNOTS = 512
"""Points that a group's distribution is kept by, at most."""
NEGATIVE_WEIGHT = 10.0
"""An asked-for removal or a report says as much as ten quick skips: it is an order rarer, and never an accident."""


def valid_play(watch_s: Any, duration_s: Any) -> Any:
    """To the end of a video of up to 7 seconds, and more than 7 seconds of a longer one."""
    return np.where(duration_s <= 7, watch_s >= duration_s, watch_s > 7)


def long_view(watch_s: Any, duration_s: Any) -> Any:
    """To the end of a video of up to 18 seconds, and 18 seconds of a longer one."""
    return (watch_s >= duration_s) | (watch_s >= 18)


def complete(watch_s: Any, duration_s: Any) -> Any:
    """To the end."""
    return watch_s >= duration_s


def short_play(watch_s: Any, duration_s: Any) -> Any:
    """Less than three seconds, and not to the end."""
    return (watch_s < 3) & (watch_s < duration_s)


def row_weights(disliked: NDArray[np.bool_]) -> Floats:
    """(n,) how much each row counts in training: those whose viewer said no aloud, `NEGATIVE_WEIGHT`."""
    return np.where(disliked, NEGATIVE_WEIGHT, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class D2Q:
    """How long a watch is beside others of videos about as long: a quantile, and back to seconds.

    Source: Zhan et al. 2022, "Deconfounding Duration Bias in Watch-time Prediction for Video Recommendation". Videos
    fall into groups of equally many watches by duration; in group k the target of a watch w is F̂ₖ(w), the share of
    the group's watches that are shorter, equal ones counted half. A watch of several loops is just a longer one.
    """

    edges_s: Floats  # (groups - 1,), increasing; a duration equal to an edge belongs to the group above it
    starts: NDArray[np.int64]  # (groups + 1,), where the knots of each group begin
    watches_s: Floats  # (knots,), increasing within a group
    quantiles: Floats  # (knots,), increasing within a group, 0..1

    def __post_init__(self) -> None:
        if len(self.starts) != len(self.edges_s) + 2 or self.starts[-1] != len(self.watches_s):
            raise ValueError(f"{len(self.edges_s)} edges and starts {self.starts.tolist()} do not belong together")
        if len(self.watches_s) != len(self.quantiles):
            raise ValueError(f"a quantile a watch: got {len(self.quantiles)} and {len(self.watches_s)}")

    @classmethod
    def fit(cls, duration_s: Floats, watch_s: Floats, groups: int = GROUPS) -> D2Q:
        """Learn the distributions of watches.

        Args:
            duration_s: (n,), n >= 1.
            watch_s: (n,), all loops together.
            groups: how many are wanted; fewer are made where many durations are equal.

        Raises:
            ValueError: no watches, or not one duration a watch.
        """
        if not len(watch_s) or len(duration_s) != len(watch_s):
            raise ValueError(f"a duration a watch, and one at least: got {len(duration_s)} and {len(watch_s)}")
        wanted = np.quantile(
            duration_s, np.arange(1, groups) / groups, method="higher"
        )  # itself a duration: none is empty
        edges = np.unique(wanted[wanted > duration_s.min()])
        group_of = np.searchsorted(edges, duration_s, side="right")
        tables = [_distribution(watch_s[group_of == group]) for group in range(len(edges) + 1)]
        return cls(
            edges_s=edges,
            starts=np.cumsum([0, *(len(watches) for watches, _ in tables)]),
            watches_s=np.concatenate([watches for watches, _ in tables]),
            quantiles=np.concatenate([quantiles for _, quantiles in tables]),
        )

    def quantile(self, duration_s: Floats, watch_s: Floats) -> Floats:
        """(n,) the targets, 0..1, never falling as the watch grows."""
        return self._through(duration_s, watch_s, self.watches_s, self.quantiles)

    def seconds(self, duration_s: Floats, quantile: Floats) -> Floats:
        """(n,) the watches that have these quantiles: the inverse of `quantile`."""
        return self._through(duration_s, quantile, self.quantiles, self.watches_s)

    def group(self, duration_s: Floats) -> NDArray[np.int64]:
        """(n,) the duration group of each."""
        return np.searchsorted(self.edges_s, duration_s, side="right").astype(np.int64)

    def _through(self, duration_s: Floats, values: Floats, from_: Floats, to: Floats) -> Floats:
        group_of, found = self.group(duration_s), np.empty(len(values))
        for group in np.unique(group_of):
            rows, knots = group_of == group, slice(self.starts[group], self.starts[group + 1])
            found[rows] = np.interp(values[rows], from_[knots], to[knots])
        return found

    def to_json(self) -> str:
        arrays = {"edges_s": self.edges_s, "starts": self.starts, "watches_s": self.watches_s}
        return json.dumps({name: a.tolist() for name, a in {**arrays, "quantiles": self.quantiles}.items()})

    @classmethod
    def from_json(cls, text: str) -> D2Q:
        """Read what `to_json` wrote, digit by digit the same."""
        told = json.loads(text)
        floats = {name: np.array(told[name], dtype=np.float64) for name in ("edges_s", "watches_s", "quantiles")}
        return cls(starts=np.array(told["starts"], dtype=np.int64), **floats)


def _distribution(watch_s: Floats) -> tuple[Floats, Floats]:
    """Distinct watches of one group and the share of it that is shorter, equal ones counted half."""
    values, counts = np.unique(watch_s, return_counts=True)
    quantiles = (np.cumsum(counts) - counts / 2) / counts.sum()
    if len(values) > KNOTS:
        # At equally spaced shares, so that every part of the distribution is kept about as well.
        at = np.unique(np.searchsorted(quantiles, np.linspace(quantiles[0], quantiles[-1], KNOTS)))
        values, quantiles = values[at], quantiles[at]
    return values, quantiles
