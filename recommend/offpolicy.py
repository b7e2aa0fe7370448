"""What would another policy have earned? Told from what this one showed, with what probability, and what came of it.

Every place in a feed is logged with the probability that its video had of being there (`Impression.propensity`). A
policy that would have shown the same video w times as often is credited with its reward w times, w = π_e / π_b:

    IPS     mean(w r)                                  right on average, and noisy
    SNIPS   Σ w r / Σ w                                a little biased, much calmer
    DM      mean(q̂(x, π_e))                            calm, and as wrong as its model q̂
    DR      mean(q̂(x, π_e) + w (r − q̂))                right on average whatever q̂; calmer the better q̂
    DRos    the same with λw / (w² + λ) in place of w  gives up a little bias for much noise; the default

The effective sample, ESS = (Σw)² / Σw², says how many rows of the policy's own such a log is worth. Below 100 nothing
is concluded; neither where intervals overlap, nor where the log does not cover what the policy would show. Sources: Su
et al. 2020, "Doubly Robust Off-Policy Evaluation with Shrinkage"; Swaminathan & Joachims 2015 (SNIPS); the definitions
are those of the Open Bandit Pipeline (st-tech/zr-obp).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.records import Event, Impression
from recommend.evaluate import Floats, Interval, drawn_sums, interval_of

ESS_MIN = 100.0
"""With fewer effective rows nothing is concluded."""
DEFAULT = "DRos"
FOLDS = 5
LAMBDAS = (0.0, *np.logspace(-1, 5, 25).tolist(), np.inf)
"""From DM alone (0) to DR (∞)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Logged:
    """One policy, seen through the rows of another's log."""

    rewards: Floats  # (n,)
    propensities: Floats  # (n,) probability of what was shown, under the policy that showed it, 0 < p <= 1
    chances: Floats  # (n,) probability of what was shown, under the policy that is asked about, 0 <= p <= 1
    users: NDArray[Any]  # (n,) whose row it is; intervals draw viewers
    predicted: Floats  # (n,) q̂ of what was shown, from a model that has not seen the row
    expected: Floats  # (n,) q̂ of what the policy would show here, on average

    def __post_init__(self) -> None:
        shapes = {name: getattr(self, name).shape for name in self.__slots__}
        if len(set(shapes.values())) > 1 or len(self.rewards.shape) != 1 or not len(self.rewards):
            raise ValueError(f"a number a row, and at least one row, wanted; got {shapes}")
        if not (self.propensities > 0).all() or not (self.propensities <= 1).all():
            raise ValueError(f"propensities lie above 0 and up to 1, got {self.propensities.min()}")
        if not (self.chances >= 0).all() or not (self.chances <= 1).all():
            raise ValueError(f"chances are 0..1, got {self.chances.min()} to {self.chances.max()}")
        for name in ("rewards", "predicted", "expected"):
            if not np.isfinite(getattr(self, name)).all():
                raise ValueError(f"{name}: some are not finite")

    @property
    def weights(self) -> Floats:
        """(n,) w = π_e / π_b; 1 on average where the log covers the policy."""
        return np.asarray(self.chances / self.propensities)


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimates:
    """What one policy would have earned, by every estimator, and what the log is worth for it."""

    by_estimator: Mapping[str, Interval]
    """IPS, SNIPS, DM, DR, DRos -> mean reward a row; SNIPS is NaN with fewer than ten effective rows."""
    rows: int
    ess: float
    """(Σw)² / Σw²: effective rows."""
    mean_weight: Interval
    """About 1 where the log covers the policy."""
    weight_max: float
    """As logged, before clipping."""
    clip: float
    """Weights above were cut to it; inf: none were."""
    clipped: int
    """Rows whose weight was cut."""
    clipped_share: float
    """Of the weight that was cut away: by so much of a reward of 1 may IPS be too low."""
    shrinkage: float
    """λ of DRos: 0 is DM, inf is DR."""

    @property
    def default(self) -> Interval:
        return self.by_estimator[DEFAULT]

    @property
    def doubt(self) -> str | None:
        """Why nothing is to be concluded from it; None: no such reason."""
        if self.ess < ESS_MIN:  # and then no estimator is worth a look, SNIPS may be without a figure at all
            return f"its effective sample is {self.ess:.0f}, below {ESS_MIN:.0f}"
        far = 0.75 * (self.mean_weight.high - self.mean_weight.low)  # three standard errors: chance goes so far rarely
        if abs(self.mean_weight.value - 1) > far:
            return f"the log does not cover it: its weights have the mean {self.mean_weight}, not 1"
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    winner: str | None
    why: str
    """One line for a person."""
    estimates: Mapping[str, Estimates]


def ess(weights: Floats) -> float:
    """Effective rows of weighted ones.

    >>> ess(np.ones(7)), ess(np.array([1.0, 0, 0, 0]))
    (7.0, 1.0)
    """
    squares = float(weights @ weights)
    return float(weights.sum() ** 2 / squares) if squares else 0.0


def shrunk(weights: Floats, shrinkage: float) -> Floats:
    """λw / (w² + λ): hardly less than w where w is small, and never above √λ / 2.

    >>> shrunk(np.array([0.0, 1.0, 100.0]), 100.0).round(2)
    array([0.  , 0.99, 0.99])
    """
    if np.isinf(shrinkage):
        return weights
    return np.asarray(weights * shrinkage / np.maximum(weights**2 + shrinkage, np.finfo(np.float64).tiny))


def best_shrinkage(weights: Floats, surprises: Floats, expected: Floats) -> float:
    """Return the λ of `LAMBDAS` whose estimate has the least mean squared error, as far as the rows can tell.

    The variance is that of the rows. The bias is what shrinking takes away from this sample, but no less than what it
    takes of the weights times a usual surprise: the rows alone would say that a model made of them has no bias, and
    with 46 clicks in 10,000 rows chose the model alone, with an interval that was a tenth of what it had to be.
    Source: Su et al. 2020, section 5; there the bias is bounded by what surprises can be at most.

    Args:
        weights: (n,) unshrunk.
        surprises: (n,) r − q̂.
        expected: (n,) q̂(x, π_e).
    """
    usual = float(np.abs(surprises).mean())

    def error(shrinkage: float) -> float:
        kept = shrunk(weights, shrinkage)
        taken = weights - kept
        bias = max(abs(float((taken * surprises).mean())), float(taken.mean()) * usual)
        return float((expected + kept * surprises).var()) / len(weights) + bias**2

    return float(min(LAMBDAS, key=error))


def estimate(
    logged: Logged,
    rng: np.random.Generator,
    *,
    rounds: int = 1000,
    clip: float = np.inf,
    shrinkage: float | None = None,
) -> Estimates:
    """Return what the policy would have earned, by every estimator, with intervals over draws of viewers.

    Args:
        clip: weights above are cut to it, for all estimators; what that takes away is reported.
        shrinkage: λ of DRos; None: chosen by `best_shrinkage`, once, for all draws.
    """
    if clip <= 0:
        raise ValueError(f"weights are clipped above 0, got {clip}")
    unclipped = logged.weights
    weights = np.minimum(unclipped, clip)
    surprises = logged.rewards - logged.predicted
    chosen = best_shrinkage(weights, surprises, logged.expected) if shrinkage is None else shrinkage
    columns = {
        "IPS": weights * logged.rewards,
        "DM": logged.expected,
        "DR": logged.expected + weights * surprises,
        "DRos": logged.expected + shrunk(weights, chosen) * surprises,
        "rows": np.ones(len(weights)),
        "weights": weights,
        "unclipped": unclipped,
    }
    sums = drawn_sums(logged.users, np.stack(list(columns.values()), axis=1), rounds, rng)
    drawn = dict(zip(columns, sums.T, strict=True))
    found = {name: _interval(drawn[name] / drawn["rows"]) for name in ("IPS", "DM", "DR", "DRos", "unclipped")}
    if ess(weights) >= 10:
        found["SNIPS"] = _interval(drawn["IPS"] / np.where(drawn["weights"] > 0, drawn["weights"], np.nan))
    else:  # many draws would have no weight at all
        found["SNIPS"] = Interval(value=float("nan"), low=float("nan"), high=float("nan"), rounds=0, undefined=rounds)
    return Estimates(
        by_estimator={name: found[name] for name in ("IPS", "SNIPS", "DM", "DR", "DRos")},
        rows=len(weights),
        ess=ess(weights),
        mean_weight=found["unclipped"],
        weight_max=float(unclipped.max()),
        clip=clip,
        clipped=int((unclipped > clip).sum()),
        clipped_share=float(1 - weights.sum() / unclipped.sum()) if unclipped.any() else 0.0,
        shrinkage=chosen,
    )


def compare(
    policies: Mapping[str, Logged],
    rng: np.random.Generator,
    *,
    rounds: int = 1000,
    clip: float = np.inf,
    estimator: str = DEFAULT,
) -> Verdict:
    """Say which policy earns most, or why that cannot be said.

    Args:
        policies: name -> the policy seen through the log. The one that made the log may be among them, with chances
            that are its propensities.
        estimator: that decides; all are reported.

    Raises:
        ValueError: fewer than two policies.
    """
    if len(policies) < 2:
        raise ValueError(f"two policies or more are compared, got {len(policies)}")
    estimates = {name: estimate(logged, rng, rounds=rounds, clip=clip) for name, logged in policies.items()}
    return Verdict(estimates=estimates, **_verdict(estimates, estimator))


def _verdict(estimates: Mapping[str, Estimates], estimator: str) -> dict[str, Any]:
    for name, found in estimates.items():
        if found.doubt is not None:
            return {"winner": None, "why": f"no winner: of {name}, {found.doubt}"}
    intervals = {name: found.by_estimator[estimator] for name, found in estimates.items()}
    best, second, *_ = sorted(intervals, key=lambda name: -intervals[name].value)
    rival = max((name for name in intervals if name != best), key=lambda name: intervals[name].high)
    if intervals[best].low <= intervals[rival].high:
        said = f"{best} {intervals[best]} and {rival} {intervals[rival]}"
        return {"winner": None, "why": f"no winner: the intervals of {said} overlap"}
    return {"winner": best, "why": f"{best} {intervals[best]} is above {second} {intervals[second]}"}


def by_action(
    actions: NDArray[np.int64],
    rewards: Floats,
    users: NDArray[Any],
    count: int,
    *,
    folds: int = FOLDS,
    strength: float = 20.0,
) -> Floats:
    """Return q̂ for every row and action, (n, count): mean reward of the action, drawn towards the mean of all.

    A viewer's rows are predicted from the rows of others only (cross-fitting): a model that has seen the reward that it
    predicts takes away what DR is to find.

    Args:
        actions: (n,) what was shown, 0..count − 1.
        folds: viewers are dealt out to so many, in order of appearance.
        strength: so many rows at the mean of all are added to every action.
    """
    predicted = np.empty((len(actions), count))
    for its in _folds(users, folds):
        mean = rewards[~its].mean() if not its.all() else 0.0
        earned = np.bincount(actions[~its], weights=rewards[~its], minlength=count)
        shown = np.bincount(actions[~its], minlength=count)
        predicted[its] = (earned + strength * mean) / (shown + strength)
    return predicted


def better_half(scores: Floats, users: NDArray[Any], *, folds: int = FOLDS) -> tuple[NDArray[np.bool_], Floats]:
    """Return which rows score above the median of other viewers' rows, and which share of those does.

    The share is a half but for ties; a policy that keeps to the better half shows each of it 1 / share times as often.
    By other viewers: a median that a row has a part in leans to its side.

    Returns:
        (n,) and (n,), 0 to 1/2.
    """
    above, share = np.zeros(len(scores), np.bool_), np.zeros(len(scores))
    for its in _folds(users, folds):
        if not its.all():
            median = np.median(scores[~its])
            above[its], share[its] = scores[its] > median, (scores[~its] > median).mean()
    return above, share


def _folds(users: NDArray[Any], folds: int) -> Iterator[NDArray[np.bool_]]:
    """(n,) the rows of each fold; a viewer is in one, dealt out in order of appearance."""
    firsts, codes = np.unique(users, return_index=True, return_inverse=True)[1:]
    fold = (np.argsort(np.argsort(firsts)) % folds)[codes]
    yield from (fold == one for one in range(folds))


def from_log(
    impressions: Sequence[Impression],
    events: Sequence[Event],
    policy: Callable[[Sequence[Impression]], Floats],
    reward: Callable[[Sequence[Event]], float],
    *,
    slots: Mapping[str, float],
) -> tuple[Logged, Mapping[str, int]]:
    """Turn what was served, and what came of it, into the rows that estimators want.

    The model q̂ is the mean reward of the position, whatever has it: the log knows of no other video that the policy
    might have shown there, and so neither does q̂(x, π_e).

    Args:
        impressions: of the log, in any order.
        events: of the same viewers; those that belong to no impression here are left out.
        policy: probability, one an impression, that the policy asked about would have given the video this place, and
            the place to this kind of slot where `slots` says that it is a matter of chance.
        reward: of all events at one impression, in the order of their time; none came: an empty sequence.
        slots: kinds of slots that were filled by chance -> with which probability the place went to this kind rather
            than to another of them; the log's propensity is that of the video, given the kind. 1: no other kind is
            asked about. Where the feed had no choice, it says nothing of another.

    Returns:
        The rows, and what was left out: reason -> how many.

    Raises:
        ValueError: no impression is left.
    """
    kept = [one for one in impressions if one.slot in slots]
    left_out = Counter(f"slot_{one.slot}" for one in impressions if one.slot not in slots)
    at: dict[str, list[Event]] = {one.impression_id: [] for one in kept}
    for event in sorted(events, key=lambda event: (event.time_s, event.event_id)):
        if event.impression_id in at:
            at[event.impression_id].append(event)
        else:
            left_out["event_elsewhere"] += 1
    if not kept:
        raise ValueError(f"no impression in a slot of {tuple(slots)}; left out: {dict(left_out)}")
    rewards = np.array([reward(at[one.impression_id]) for one in kept], dtype=np.float64)
    users = np.array([one.viewer_id for one in kept])
    positions = np.unique([one.position for one in kept], return_inverse=True)[1]
    model = by_action(positions, rewards, users, int(positions.max()) + 1)[np.arange(len(kept)), positions]
    rows = Logged(
        rewards=rewards,
        propensities=np.array([slots[one.slot] * one.propensity for one in kept]),
        chances=np.asarray(policy(kept), dtype=np.float64),
        users=users,
        predicted=model,
        expected=model,
    )
    return rows, dict(left_out)


def _interval(figures: Floats) -> Interval:
    return interval_of(float(figures[0]), figures[1:])
