"""What behaviour says of every video, creator, sound and category: sums that fade.

Forward decay (Cormode, Shkapenyuk, Srivastava & Xu 2009, "Forward decay: a practical time decay model"): an event
of time t adds 2^((t - landmark) / half-life), once and for all, and a sum read at time T is divided by
2^((T - landmark) / half-life). So nothing has to be touched as time goes by, a late event counts as if it had come in
time, and a sum is the same however often it was read. The landmark is moved on by whole powers of two, which changes
no digit.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recommend.trust import USUAL_QUANTILE

SIGNALS = ("impression", "long_view", "complete", "like", "share", "follow", "negative")
"""What is counted; an impression is what all others are shares of."""
IMPRESSION, LONG_VIEW, COMPLETE, LIKE, SHARE, FOLLOW, NEGATIVE = range(len(SIGNALS))
SLOW_S = 14 * 86_400.0
"""Half-life of what a video is worth: long beside its life in feeds, so that rare signals can gather."""
FAST_S = 6 * 3_600.0
"""Half-life of what is going on now: trends rise and fade within hours."""
BASE_RATES = np.array([1.0, 0.31, 0.15, 0.017, 0.0008, 0.0014, 0.41])
"""Shares of impressions by signal before anything is known. Source: KuaiRand-Pure, 94,784 impressions of
25 to 30 April 2022 (Gao et al. 2022); negative is a watch of less than three seconds."""
PRIOR_IMPRESSIONS = 500.0
"""So many impressions the base rates count for."""
ACTIVITY_EDGES = tuple(sorted({round(2 ** (n / 2)) for n in range(40)}))
"""Records of a day or an hour, a factor of 1.4 from one to the next."""
ACTIVITY_S = 3 * 86_400.0
"""Half-life of what is usual."""
ACCOUNTS_MIN = 50.0
USUAL_DEFAULT, USUAL_HOUR_DEFAULT = 1_000.0, 500.0
"""Records of a day and of an hour that are nothing out of the way, as long as fewer accounts than `ACCOUNTS_MIN` say
otherwise."""
_EDGE_AT = {records: edge for edge, records in enumerate(ACTIVITY_EDGES)}
_MOVED_AT = 512
"""Halvings after which the landmark moves on; a double holds twice as many."""
_READ_BACK = 400.0
"""So many half-lives before the landmark a sum can be asked for; what it was before is told as of then."""
_FIRST_ROWS = 1_024


class Fading:
    """A table of fading sums: one row a thing, one column a signal; rows come as they are named.

    Args:
        width: columns.
        half_life_s: seconds in which a sum halves.
    """

    def __init__(self, width: int, half_life_s: float) -> None:
        self.half_life_s = half_life_s
        self.landmark_s = 0.0
        self._sums = np.zeros((_FIRST_ROWS, width))
        self._rows = 0

    def add(self, row: int, column: int, time_s: float, weight: float = 1.0) -> None:
        """Count something that happened at `time_s`, seconds since 1970."""
        if not self.landmark_s:
            self.landmark_s = time_s
        halvings = (time_s - self.landmark_s) / self.half_life_s
        steps = int(halvings // _MOVED_AT)
        if steps > 0:
            self._sums *= 2.0 ** -min(steps * _MOVED_AT, 2_000)
            self.landmark_s += steps * _MOVED_AT * self.half_life_s
            halvings -= steps * _MOVED_AT
        if row >= self._rows:
            self._reach(row)
        self._sums[row, column] += weight * 2.0**halvings

    def at(self, rows: NDArray[Any], now_s: float) -> NDArray[np.float64]:
        """(m, width): the sums of these rows as they are at `now_s`; rows that were never named, and -1, have none."""
        known = (rows >= 0) & (rows < self._rows)
        found = np.zeros((len(rows), self._sums.shape[1]))
        found[known] = self._sums[rows[known]]
        return found * self._faded(now_s)

    def all(self, now_s: float, count: int | None = None) -> NDArray[np.float64]:
        """(count, width): the first rows; default: all that were ever named."""
        count = self._rows if count is None else count
        self._reach(count - 1)
        return self._sums[:count] * self._faded(now_s)

    def _faded(self, now_s: float) -> float:
        if not self.landmark_s:
            return 0.0
        halvings = (now_s - self.landmark_s) / self.half_life_s
        return float(2.0 ** -min(max(halvings, -_READ_BACK), 2_000.0))

    def _reach(self, row: int) -> None:
        if row >= len(self._sums):
            more = np.zeros((max(2 * len(self._sums), row + 1), self._sums.shape[1]))
            more[: self._rows] = self._sums[: self._rows]
            self._sums = more
        self._rows = max(self._rows, row + 1)

    def state(self) -> dict[str, NDArray[np.float64]]:
        """What it is made of, for keeping."""
        return {"sums": self._sums[: self._rows].copy(), "landmark_s": np.array([self.landmark_s])}

    def restore(self, state: Mapping[str, NDArray[np.float64]]) -> None:
        """Be what `state` told."""
        sums = np.asarray(state["sums"], dtype=np.float64)
        if sums.ndim != 2 or sums.shape[1] != self._sums.shape[1]:
            raise ValueError(f"sums of {self._sums.shape[1]} columns are wanted, got shape {sums.shape}")
        self._sums, self._rows = sums.copy(), len(sums)
        self.landmark_s = float(state["landmark_s"][0])


class Counts:
    """Fading sums of all things, by their codes of one catalogue.

    Args:
        segments: how many segments of viewers there are.
    """

    def __init__(self, segments: int) -> None:
        self.segments = segments
        width = len(SIGNALS)
        self.video, self.video_now = Fading(width, SLOW_S), Fading(width, FAST_S)
        self.video_by_segment = Fading(2 * segments, SLOW_S)
        """Columns: impressions of each segment, then their long views."""
        self.creator, self.category = Fading(width, SLOW_S), Fading(width, SLOW_S)
        self.category_by_segment = Fading(2 * segments, SLOW_S)
        self.sound, self.sound_now = Fading(width, SLOW_S), Fading(width, FAST_S)
        self.overall = Fading(width, SLOW_S)
        """One row."""
        self.overall_by_segment = Fading(2 * segments, SLOW_S)
        self.activity = Fading(len(ACTIVITY_EDGES), ACTIVITY_S)
        """One row: accounts whose day has got as far as each edge, and not as far as the next."""
        self.hour_activity = Fading(len(ACTIVITY_EDGES), ACTIVITY_S)
        """The same of the busiest hour of their day."""
        self.first_looks = Fading(1, SLOW_S)
        """By video: places that were given to it as a new one."""

    def add(
        self,
        signal: int,
        time_s: float,
        *,
        place: int,
        creator: int,
        sound: int,
        category: int,
        segment: int,
        weight: float = 1.0,
    ) -> None:
        """Count one signal of one viewer for a video and everything that it belongs to; codes of -1 are left out."""
        for table, row in (
            (self.video, place),
            (self.video_now, place),
            (self.creator, creator),
            (self.category, category),
            (self.sound, sound),
            (self.sound_now, sound),
            (self.overall, 0),
        ):
            if row >= 0:
                table.add(row, signal, time_s, weight)
        if signal in (IMPRESSION, LONG_VIEW):
            column = segment + (self.segments if signal == LONG_VIEW else 0)
            self.video_by_segment.add(place, column, time_s, weight)
            if category >= 0:
                self.category_by_segment.add(category, column, time_s, weight)
            self.overall_by_segment.add(0, column, time_s, weight)

    def busier(self, day_records: int, time_s: float) -> None:
        """Count an account that has made so many records today, when that takes it past an edge."""
        _pass_edge(self.activity, day_records, time_s)

    def busier_hour(self, records: int, time_s: float) -> None:
        """Count an account whose busiest hour today has come to so many records, when that takes it past an edge."""
        _pass_edge(self.hour_activity, records, time_s)

    def usual(self, now_s: float) -> float:
        """Records that an account makes a day at most that is nothing out of the way: `trust` weighs by it."""
        return _usual(self.activity, USUAL_DEFAULT, now_s)

    def usual_hour(self, now_s: float) -> float:
        """The same of the busiest hour of a day."""
        return _usual(self.hour_activity, USUAL_HOUR_DEFAULT, now_s)

    def rates(self, now_s: float) -> NDArray[np.float64]:
        """(signals,): what share of all impressions had each signal; `BASE_RATES` stand in for the first 500."""
        sums = self.overall.all(now_s, 1)[0]
        return np.asarray((sums + PRIOR_IMPRESSIONS * BASE_RATES) / (sums[IMPRESSION] + PRIOR_IMPRESSIONS))

    def tables(self) -> dict[str, Fading]:
        return {name: table for name, table in vars(self).items() if isinstance(table, Fading)}


def _pass_edge(table: Fading, records: int, time_s: float) -> None:
    edge = _EDGE_AT.get(records)
    if edge is not None:
        table.add(0, edge, time_s)
        if edge:
            table.add(0, edge - 1, time_s, -1.0)


def _usual(table: Fading, default: float, now_s: float) -> float:
    accounts = np.maximum(table.all(now_s, 1)[0], 0)
    if accounts.sum() < ACCOUNTS_MIN:
        return default
    edge = int(np.searchsorted(np.cumsum(accounts), USUAL_QUANTILE * accounts.sum()))
    return float(ACTIVITY_EDGES[min(edge + 1, len(ACTIVITY_EDGES) - 1)])
