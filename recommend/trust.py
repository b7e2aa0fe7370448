"""Whose behaviour counts for how much, so that no account, and no few of them, can push or bury a video.

Two rules, each a pure function. A view, a like, … counts once for each viewer, video and kind, and only where it
belongs to a place that we served. An account that does far more than accounts usually do counts for less, and for
nothing beyond twice as much: it may be a tireless person, and his own feed goes on learning from it, but what he
sees says little of what others want.

A weight can only be known once there is something to see: the first events of an account that starts to push count
like anyone's. So weights are taken anew for all events whenever the sums are folded anew, and sums that are never
folded anew keep what came in before.

What bots do is in none of the rules; how far they get is measured in `bench/simulate.py`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

USUAL_QUANTILE = 0.95
"""Activity up to this quantile counts fully. Fewer accounts than the rest cannot move it, however much they do."""
TIRELESS = 2.0
"""Times the usual, from which on an account counts for nothing."""


def counted_once(
    viewers: NDArray[np.int64], videos: NDArray[np.int64], kinds: NDArray[np.int64], served: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Mark the events that count: the first of each viewer, video and kind that belongs to a place that we served.

    Args:
        viewers, videos, kinds: (n,) codes, in the order in which the events were accepted.
        served: (n,) whether the event names an impression of ours of this video for this viewer.

    >>> counted_once(np.array([1, 1, 1, 2]), np.array([5, 5, 5, 5]), np.array([0, 0, 1, 0]),
    ...              np.array([True, True, True, False])).tolist()
    [True, False, True, False]
    """
    of_ours = np.flatnonzero(served)
    keys = np.stack([viewers[of_ours], videos[of_ours], kinds[of_ours]], axis=1)
    _, first = np.unique(keys, axis=0, return_index=True)
    counts = np.zeros(len(viewers), dtype=np.bool_)
    counts[of_ours[first]] = True
    return counts


def usual_activity(activity: NDArray[np.float64]) -> float:
    """Return how many events an account makes at most that is nothing out of the way; 0 where none made any.

    Accounts that count for nothing are not asked what is usual: they are left out until no more are, so that accounts
    far beyond change nothing, not even by being there.

    Args:
        activity: (viewers,) events of each in the busiest day (or another stretch of one length) that it ever had:
            whoever pushed a video once does not earn his weight back by keeping still. All events: refused and
            repeated ones too. Leave out accounts that came today for the first time: a wave of new ones should have
            no say in what is usual. Accounts without any events are left out here.
    """
    active = np.sort(activity[activity > 0])
    usual = float(np.quantile(active, USUAL_QUANTILE)) if len(active) else 0.0
    while len(kept := active[active <= TIRELESS * usual]) < len(active):
        active, usual = kept, float(np.quantile(kept, USUAL_QUANTILE))
    return usual


def weights(activity: NDArray[np.float64], usual: float) -> NDArray[np.float64]:
    """Return what an event of each account counts for, 0 .. 1: 1 up to the usual, 0 from `TIRELESS` times that on.

    Squared in between, so that an account loses faster than it gains by doing more: past the usual, its events times
    their weight only fall. Where several stretches of time are looked at, the least weight holds (`weight`).

    >>> weights(np.array([0.0, 10.0, 15.0, 20.0, 4000.0]), 10.0).tolist()
    [1.0, 1.0, 0.25, 0.0, 0.0]
    """
    if usual <= 0:
        return np.ones(len(activity))
    return np.asarray(np.clip((TIRELESS - activity / usual) / (TIRELESS - 1), 0.0, 1.0) ** 2)


def weight(hour: float, day: float, usual_hour: float, usual_day: float) -> float:
    """What an event of one account counts for, by its busiest hour and its busiest day; the least of both holds.

    A push within an hour makes no busy day, and one that is spread over a day no busy hour.

    >>> weight(10.0, 30.0, 10.0, 20.0), weight(20.0, 20.0, 10.0, 20.0)
    (0.25, 0.0)
    """
    times = max(done / usual if usual > 0 else 0.0 for done, usual in ((hour, usual_hour), (day, usual_day)))
    return float(weights(np.array([times]), 1.0)[0])
