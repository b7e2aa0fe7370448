"""Explore: places of a page that are given to what nobody can know yet, at a price that is known.

Two kinds of places. `explore` shows a viewer what is next to his interests but not of them: a known topic with a new
sound, a new creator in a known style. `fresh` gives a new video its first look. Which videos are good is learned from
few views, by hierarchical Thompson sampling:

    θ_s ~ Beta(κ p̂_s + x_s, κ (1 − p̂_s) + n_s − x_s)          x_s long views of n_s impressions in viewer segment s

where p̂_s, what is expected before segment s has seen it, comes from how the segment takes the category, from the
creator's other videos, from the content, and from the other segments' views of this one. As it becomes certain that a
video is good (graduate) or not (stop), or as its budget runs out, its part in the draws fades; nothing is cut off at a
number. A third kind, `uniform`, is a fair die over all that may be shown, rarely: gold for evaluation.

Everything that is chosen comes with the probability that it had. Draws of a posterior are random as well; the
probability is the one *given* the draws, exactly known, and above 0 for everything that could have been chosen. That
is what importance weighting needs: Σ over the choices of p · (1/p) is the same for every draw.

Sources: Chapelle & Li 2011, "An Empirical Evaluation of Thompson Sampling"; Li, Chu, Langford & Wang 2011, "Unbiased
offline evaluation of contextual-bandit-based news article recommendation algorithms" (the uniform die).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# Places
GAP_MIN, GAP_MAX = 5, 10
"""Places from one slot to the next; drawn anew each time, so that nobody can learn where they are."""
FIRST_PLACES = 2
"""Of each page, which always belong to the ranking."""
SKIPS_MAX = 2
"""Skips in a row after which a page has no slots: whoever is about to leave is shown the best there is."""
UNIFORM_SHARE = 0.002
"""Of all places, filled by the fair die."""

# Novelty
HOME_QUANTILE = 0.7
"""d₀ is this quantile of the distances between a viewer's interests: as far apart as what he likes is anyway."""
HOME_DEFAULT = 0.6
"""d₀ of a viewer with fewer than two interests."""
TEMPERATURE = 0.1
"""Of the draw among exploration scores, which lie in 0 .. 1."""
DISLIKE = 2.0
"""Power of 1 − P(negative) in the exploration score."""

# New videos
KAPPA, KAPPA_MAX = 20.0, 50.0
"""What is expected of a video counts for so many impressions: the first where no other segment has seen it, and up to
the second as others do, each two of whose impressions count for one."""
BUDGET = 150.0
"""Impressions in fresh slots for a video of which nothing good is known yet; twice as many as it widens."""
GRADUATES_AT, WIDENS_AT, STOPS_AT = 0.9, 0.75, 0.05
"""P(θ_s > mean) at which a video has passed in a segment, is shown more widely, is no longer shown to a segment."""
SEGMENTS_TO_GRADUATE = 2
NEW_S = 7 * 86_400.0
"""How long a video is new; its share fades in the last quarter."""
FLOOR = 0.02
"""Share of the choices that are left to a fair die over the videos taking part, so that none has no chance at all."""
DRAWS = 64
"""Joint draws of all posteriors, of which one is then followed."""
KEPT = 32
"""Best videos of each draw that are found at once; where a viewer has seen all of them, all are looked through."""
LIFT_MIN, LIFT_MAX = 0.2, 4.0
"""What a creator or a content may say of a video, as a factor of what is expected anyway."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """What fills a slot, and how likely it was to."""

    index: int
    """Row among the candidates."""
    propensity: float
    """0 < p <= 1, given the draws of the posteriors."""

    @property
    def log_propensity(self) -> float:
        return math.log(self.propensity)


# Places ---------------------------------------------------------------------------------------------------------------


def positions(k: int, rng: np.random.Generator, skips_in_a_row: int, session_place: int) -> list[int]:
    """Return the places of a page that are slots, from the top, 0 first.

    Five to ten places apart, within a page and, at least five, from page to page; none in the first two places, none
    in the first five of a session, and none at all after two skips in a row.

    Args:
        k: places of the page.
        skips_in_a_row: that the viewer made last.
        session_place: videos that came on his screen in this session before this page.
    """
    if skips_in_a_row >= SKIPS_MAX:
        return []
    first = GAP_MIN if session_place == 0 else FIRST_PLACES
    place, found = int(rng.integers(first, GAP_MAX + 1 if session_place == 0 else GAP_MAX)), []
    while place <= k - 1 - (GAP_MIN - FIRST_PLACES - 1):  # the next page's first slot may be its third place
        found.append(place)
        place += int(rng.integers(GAP_MIN, GAP_MAX + 1))
    return found


def uniform_places(
    k: int, eligible: int, rng: np.random.Generator, *, share: float = UNIFORM_SHARE
) -> list[tuple[int, Choice]]:
    """Return (place, choice) of the places that the fair die fills: each with probability `share`, of all places.

    Which places they are depends on nothing else, so that 1 / eligible is the propensity within the slice.

    Args:
        eligible: how many candidates may be shown at all.
    """
    if eligible <= 0:
        return []
    places = np.flatnonzero(rng.random(k) < share)
    return [(int(place), Choice(index=int(rng.integers(eligible)), propensity=1 / eligible)) for place in places]


# Adjacent but distinct ------------------------------------------------------------------------------------------------


def distances(interests: NDArray[np.floating], candidates: NDArray[np.floating]) -> Floats:
    """(n,) 1 − cosine to the nearest interest. NaN: no interest, or a candidate of zeros.

    Args:
        interests: (k, dim) centroids of what the viewer likes, unit rows.
        candidates: (n, dim), of any length; a row of zeros has no such modality.
    """
    if not len(interests):
        return np.full(len(candidates), np.nan)
    lengths = np.sqrt(np.einsum("nd,nd->n", candidates, candidates))
    nearest = 1.0 - (candidates @ interests.T).max(axis=1) / np.maximum(lengths, 1e-9)
    return np.asarray(np.where(lengths > 0, np.clip(nearest, 0, 2), np.nan), dtype=np.float64)


def home_distance(interests: NDArray[np.floating]) -> float:
    """Return d₀: a quantile of the distances between a viewer's interests, `HOME_DEFAULT` for fewer than two.

    >>> home_distance(np.eye(3))
    1.0
    """
    if len(interests) < 2:
        return HOME_DEFAULT
    between = np.sort(1.0 - (interests @ interests.T)[np.triu_indices(len(interests), 1)])
    return max(0.05, float(np.interp(HOME_QUANTILE * (len(between) - 1), np.arange(len(between)), between)))


def novelty(distance: Floats, d0: float) -> Floats:
    """Return (d/d₀)·e^(1 − d/d₀): 0 at home, 1 at d₀, falling off beyond; 0 where the distance is not known.

    >>> novelty(np.array([0.0, 0.5, 1.0]), 0.5).round(3).tolist()
    [0.0, 1.0, 0.736]
    """
    ratio = np.nan_to_num(np.asarray(distance, dtype=np.float64) / d0)
    return np.asarray(ratio * np.exp(1 - ratio))


def novelty_by_part(distance: Mapping[str, Floats], d0: Mapping[str, float]) -> tuple[Floats, list[str]]:
    """Return how novel candidates are, 0 .. 1, and by which part: new in one thing, at home in the others.

    A part is a modality, or anything that has a distance (a creator: 0 known, his d₀ unknown). A video is as novel as
    its best part, times how near it is in each of the others: 1 up to d₀, e^(1 − d/d₀) beyond. So a known topic with a
    new sound is novel, what is known in everything is not, and what is far in everything is not either.

    Args:
        distance: part -> (n,), NaN where a candidate has no such part.
        d0: part -> d₀.

    >>> novelty_by_part({"sound": np.array([0.5, 0.5]), "topic": np.array([0.0, 2.0])}, {"sound": 0.5, "topic": 0.5})
    (array([1.        , 0.19914827]), ['sound', 'topic'])
    """
    names = list(distance)
    ratios = np.stack([np.nan_to_num(np.asarray(distance[name], dtype=np.float64)) / d0[name] for name in names])
    new = ratios * np.exp(1 - ratios)
    near = np.exp(np.minimum(0.0, 1 - ratios))
    each = new * near.prod(axis=0) / near  # near in all the others
    best = each.argmax(axis=0)
    return each.max(axis=0), [names[i] for i in best]


def exploration_scores(engagement: Floats, novel: Floats, negative: Floats, *, dislike: float = DISLIKE) -> Floats:
    """Return draws of engagement × novelty × (1 − P(negative))^dislike, (n,), 0 .. 1."""
    return np.asarray(engagement * novel * (1 - negative) ** dislike)


def sample(
    scores: Floats, rng: np.random.Generator, *, temperature: float = TEMPERATURE, eligible: Bools | None = None
) -> Choice | None:
    """Draw one candidate with π ∝ exp(score / temperature); None where none is eligible.

    For a second slot, call again without what was chosen: the propensity is the one given the choices before.

    Args:
        scores: (n,).
        eligible: (n,); None: all.
    """
    rows = np.arange(len(scores)) if eligible is None else np.flatnonzero(eligible)
    if not len(rows):
        return None
    powers = (scores[rows] - scores[rows].max()) / temperature
    chances = np.exp(np.maximum(powers, -30.0))  # e^-30: unlikely, and not impossible
    chances /= chances.sum()
    drawn = int(rng.choice(len(rows), p=chances))
    return Choice(index=int(rows[drawn]), propensity=float(chances[drawn]))


# New videos: what is expected -----------------------------------------------------------------------------------------


def base_rates(shown: Floats, long: Floats, *, strength: float = 200.0) -> Floats:
    """(S, C): how often each viewer segment watches each category long; cells of few views lean on row and column.

    Args:
        shown: (S, C) trusted impressions by segment and category.
        long: (S, C) trusted long views among them.
        strength: impressions that the product of the segment's and the category's rate counts for.
    """
    overall = (long.sum() + 1.0) / (shown.sum() + 4.0)
    segment = (long.sum(axis=1) + strength * overall) / (shown.sum(axis=1) + strength)
    category = (long.sum(axis=0) + strength * overall) / (shown.sum(axis=0) + strength)
    expected = segment[:, None] * category[None, :] / overall
    return np.asarray(np.clip((long + strength * expected) / (shown + strength), 1e-4, 0.95))


def lift(long: Floats, expected: Floats, *, before: Floats | float = 1.0, strength: float = 5.0) -> Floats:
    """Return by what factor something does better than expected, shrunk to what was thought `before`.

    The mean of a Gamma posterior under Poisson counts.

    Args:
        long: long views that it had.
        expected: long views that its impressions would have brought to an average one: Σ base rates.
        strength: expected long views that the factor before counts for.

    >>> float(lift(np.float64(15.0), np.float64(5.0)))
    2.0
    """
    return np.asarray((long + strength * before) / (expected + strength))


def content_slope(
    signal: Floats, long: Floats, expected: Floats, *, strength: float = 5.0, ridge: float = 50.0
) -> float:
    """Return the slope of log lift on a content signal among videos that are known: 0 where it tells nothing.

    A video of few views has its lift shrunk, so the signal is scaled by as much; weights are the expected long views,
    capped, since a video of a thousand views is still one video.

    Args:
        signal: (n,) standardised; what is known of a video from its content alone.
        ridge: weighted squares of signal that a slope of 0 counts for.
    """
    trust = expected / (expected + strength)
    observed = np.log(lift(long, expected, strength=strength))
    weight = np.minimum(expected, 20.0)
    middle = float((weight * observed).sum() / max(weight.sum(), 1e-9))
    told = trust * signal
    return float((weight * told * (observed - middle)).sum() / ((weight * told**2).sum() + ridge))


def prior_lift(creator: Floats, content: Floats) -> Floats:
    """(n,): what is expected of a video before anyone has seen it, as a factor: its creator's times its content's."""
    return np.asarray(np.clip(creator * content, LIFT_MIN, LIFT_MAX))


def expected_rates(base: Floats, before: Floats, shown: Floats, long: Floats, *, kappa: float = KAPPA) -> Floats:
    """(n, S): p̂_s. What a segment is expected to make of a video: its base rate × what the other segments show.

    A segment's own views are left out, since the posterior counts them itself.

    Args:
        base: (n, S) base rates of the video's category.
        before: (n,) `prior_lift`.
        shown, long: (n, S) trusted impressions and long views of the video.
        kappa: impressions that `before` counts for.
    """
    expected = shown * base
    others_long = long.sum(axis=1, keepdims=True) - long
    others_expected = expected.sum(axis=1, keepdims=True) - expected
    strength = kappa * base.mean(axis=1, keepdims=True)
    factor = lift(others_long, others_expected, before=before[:, None], strength=strength)
    return np.asarray(np.clip(base * factor, 1e-3, 0.95))


def concentration(shown: Floats, *, kappa: float = KAPPA) -> Floats:
    """(n, S): κ, the impressions that p̂_s counts for: more, the more other segments have shown.

    Args:
        shown: (n, S) trusted impressions.

    >>> concentration(np.array([[0.0, 0.0], [10.0, 20.0], [0.0, 500.0]])).tolist()
    [[20.0, 20.0], [30.0, 25.0], [50.0, 20.0]]
    """
    others = shown.sum(axis=-1, keepdims=True) - shown
    return np.asarray(np.minimum(kappa + 0.5 * others, max(kappa, KAPPA_MAX)))


def posterior(rates: Floats, shown: Floats, long: Floats, *, kappa: float = KAPPA) -> tuple[Floats, Floats]:
    """Return α and β of each video in each segment, shapes of `rates`.

    Trusted counts are weighted, and a long view is never weighted above its impression; where rounding says otherwise,
    β stays above 0.

    Args:
        rates: (n, S) p̂_s, from `expected_rates`.
        shown, long: (n, S) trusted impressions and long views.

    >>> [x.tolist() for x in posterior(np.array([[0.25]]), np.array([[10.0]]), np.array([[4.0]]), kappa=20.0)]
    [[[9.0]], [[21.0]]]
    """
    strength = concentration(shown, kappa=kappa)
    alpha = strength * rates + long
    beta = strength * (1 - rates) + np.maximum(shown - long, 0.0)
    return np.asarray(alpha), np.asarray(beta)


def above(alpha: Floats, beta: Floats, mean: Floats | float) -> Floats:
    """Return P(θ > mean)."""
    return np.asarray(1.0 - betainc(alpha, beta, mean))


# New videos: what happens next ----------------------------------------------------------------------------------------


def _rising(value: Floats, low: float, high: float) -> Floats:
    """0 up to `low`, 1 from `high` on, smooth between."""
    x = np.clip((value - low) / (high - low), 0.0, 1.0)
    return np.asarray(x * x * (3 - 2 * x))


def passed(certainty: Floats, shown: Floats, *, kappa: float = KAPPA) -> Floats:
    """Return P(θ_s > mean), brought towards 1/2 where the segment has not seen the video: nothing passes unseen."""
    return np.asarray(0.5 + (certainty - 0.5) * np.minimum(1.0, 2 * shown / kappa))


def budget_left(
    certainty: Floats, shown: Floats, spent: Floats, *, budget: float = BUDGET, kappa: float = KAPPA
) -> Floats:
    """(n,): part of the impression budget that is left, 0 .. 1; the budget grows up to twice as a video does well."""
    best = passed(certainty, shown, kappa=kappa).max(axis=1)
    whole = budget * (1 + _rising(best, 0.5, GRADUATES_AT))
    return np.asarray(np.clip(1 - spent / whole, 0.0, 1.0))


def shares(
    certainty: Floats,
    shown: Floats,
    spent: Floats,
    age_s: Floats | None = None,
    *,
    budget: float = BUDGET,
    kappa: float = KAPPA,
) -> Floats:
    """(n, S): with which probability a video takes part in a draw for a segment, 0 .. 1, without cliffs.

    It fades as the segment's posterior falls below the mean for certain, as the last quarter of the budget is spent
    or of its time as a new one is over, and as it passes in two segments: from then on it lives by its rank alone.

    Args:
        certainty: (n, S) P(θ_s > mean of the segment), from `above`.
        shown: (n, S) trusted impressions.
        spent: (n,) impressions in fresh slots so far, trusted or not.
        age_s: (n,) seconds since the upload; None: all are young.
    """
    goes_on = _rising(certainty, 0.5 * STOPS_AT, 2 * STOPS_AT)
    left = np.minimum(1.0, 4 * budget_left(certainty, shown, spent, budget=budget, kappa=kappa))
    if age_s is not None:
        left = left * np.clip(4 * (1 - age_s / NEW_S), 0.0, 1.0)
    second = np.sort(passed(certainty, shown, kappa=kappa), axis=1)[:, -min(SEGMENTS_TO_GRADUATE, shown.shape[1])]
    graduating = _rising(second, GRADUATES_AT - 0.1, GRADUATES_AT + 0.05)
    return np.asarray(goes_on * (left * (1 - graduating))[:, None])


def verdicts(
    certainty: Floats, shown: Floats, spent: Floats, *, budget: float = BUDGET, kappa: float = KAPPA
) -> list[str]:
    """(n,) `graduate`, `widen`, `try` or `stop`: a word for a person; what is served follows `shares`.

    A video stops as a whole once it has stopped in every segment, or its budget is spent.
    """
    sure = passed(certainty, shown, kappa=kappa)
    graduates = (sure > GRADUATES_AT).sum(axis=1) >= min(SEGMENTS_TO_GRADUATE, shown.shape[1])
    stopped = (certainty < STOPS_AT).all(axis=1)
    stopped |= budget_left(certainty, shown, spent, budget=budget, kappa=kappa) <= 0
    widens = (sure > WIDENS_AT).any(axis=1)
    words = np.where(graduates, "graduate", np.where(stopped, "stop", np.where(widens, "widen", "try")))
    return [str(word) for word in words]


# New videos: serving --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Draws:
    """Thompson draws of all new videos at once for one segment, a row a joint draw."""

    values: NDArray[np.float32]  # (rows, n), −1 where a video takes no part in a row
    best: NDArray[np.intp]  # (rows, up to KEPT) the videos of each row, the largest value first
    takes_part: Bools  # (n,) in any row


def joint_draws(alpha: Floats, beta: Floats, share: Floats, rng: np.random.Generator, *, count: int = DRAWS) -> Draws:
    """Draw all posteriors of one segment, `count` times.

    They may serve many requests of the segment, as long as the counts do not change much: each request follows a row
    of its own.

    Args:
        alpha, beta, share: (n,) of the segment.
    """
    n = len(alpha)
    values = rng.beta(alpha, beta, size=(count, n)).astype(np.float32)
    values[rng.random(values.shape, dtype=np.float32) >= share] = -1.0
    kept = min(n, KEPT)
    top = np.argpartition(-values, kept - 1, axis=1)[:, :kept] if n > kept else np.tile(np.arange(n), (count, 1))
    order = np.argsort(-np.take_along_axis(values, top, axis=1), axis=1, kind="stable")
    return Draws(
        values=values,
        best=np.take_along_axis(top, order, axis=1),
        takes_part=np.asarray((values >= 0).any(axis=0), dtype=np.bool_),
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Standing:
    """What is thought of new videos in each segment of viewers, from what they had so far."""

    alpha: Floats  # (n, S)
    beta: Floats  # (n, S)
    share: Floats  # (n, S) probability of taking part in a draw


def standing(
    base: Floats, before: Floats, *, shown: Floats, long: Floats, spent: Floats, age_s: Floats, mean: Floats
) -> Standing:
    """From counts to posteriors, and to who still takes part.

    Args:
        base: (n, S) base rates of each video's category.
        before: (n,) `prior_lift`.
        shown, long: (n, S) trusted impressions and long views.
        spent, age_s: (n,) impressions in fresh slots so far, seconds since the upload.
        mean: (S,) share of long views of each segment in all.
    """
    alpha, beta = posterior(expected_rates(base, before, shown, long), shown, long)
    return Standing(alpha=alpha, beta=beta, share=shares(above(alpha, beta, mean[None, :]), shown, spent, age_s))


def chances(draws: Draws, eligible: Bools, *, floor: float = FLOOR) -> Floats:
    """(n,): with which probability each video is chosen, given the draws; adds up to 1, or to 0 where none can be.

    The share of the rows that a video wins among those that this viewer may see, and with probability `floor` a fair
    die over all of them that take part in any row. Rows in which none of them takes part are not followed.

    Args:
        eligible: (n,) whether this viewer may be shown the video: unseen, not filtered.
    """
    open_to = eligible & draws.takes_part
    if not open_to.any():
        return np.zeros(len(eligible))
    may = open_to[draws.best]
    rows = np.arange(len(may))
    winner = draws.best[rows, may.argmax(axis=1)]
    for row in np.flatnonzero(~may.any(axis=1)):  # none of its best may be seen: look at all
        winner[row] = int(np.where(open_to, draws.values[row], -2.0).argmax())
    winner = winner[draws.values[rows, winner] >= 0]
    won = np.bincount(winner, minlength=len(eligible)) / len(winner)
    return np.asarray((1 - floor) * won + floor * open_to / open_to.sum())


def choose(draws: Draws, eligible: Bools, rng: np.random.Generator, *, floor: float = FLOOR) -> Choice | None:
    """Follow one row of joint draws to its best video that this viewer may see; None where there is none."""
    chance = chances(draws, eligible, floor=floor)
    total = np.cumsum(chance)
    if total[-1:].sum() == 0:
        return None
    # min: rounding may leave the last sum a hair below the number drawn
    drawn = min(int(np.searchsorted(total, rng.random() * total[-1], side="right")), int(np.flatnonzero(chance)[-1]))
    return Choice(index=drawn, propensity=float(chance[drawn]))


# Reports --------------------------------------------------------------------------------------------------------------


def exposure_by_size(shown: Floats, size: Floats, *, groups: int = 4) -> list[dict[str, float]]:
    """Return what creators of each size get: one row a group of equally many videos, the smallest first.

    Args:
        shown: (n,) impressions of each video.
        size: (n,) of its creator, such as followers or earlier videos.

    Returns:
        Rows of `size_from`, `size_to`, `videos`, `impressions` and `share` (of all impressions).
    """
    rows = []
    for part in np.array_split(np.argsort(size, kind="stable"), groups):
        if len(part):
            given = float(shown[part].sum())
            rows.append({
                "size_from": float(size[part[0]]), "size_to": float(size[part[-1]]), "videos": float(len(part)),
                "impressions": given, "share": given / max(float(shown.sum()), 1e-12),
            })  # fmt: skip
    return rows


@dataclass(frozen=True, slots=True, kw_only=True)
class SegmentStatus:
    """What one segment of viewers made of a new video so far."""

    segment: str
    shown: float
    long: float
    mean: float
    """Of the posterior: the share of this segment that is thought to watch it long."""
    certainty: float
    """P(θ_s > mean of the segment)."""
    share: float
    """Probability with which the video takes part in a draw for this segment."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Where a new video stands, and what happens next: a row of `firstlook cold`."""

    video_id: str
    verdict: str
    spent: float
    budget_left: float
    """0 .. 1."""
    segments: tuple[SegmentStatus, ...]
    """Those that saw it or would be shown it, the surest first."""
    next: str


def status(
    video_ids: Sequence[str], segments: Sequence[str], *, rates: Floats, shown: Floats, long: Floats, spent: Floats,
    mean: Floats, age_s: Floats | None = None, budget: float = BUDGET, kappa: float = KAPPA,
) -> list[Status]:  # fmt: skip
    """Return a row for each video of the pool, in the same order.

    Args:
        rates, shown, long: (n, S), as for `posterior`.
        spent: (n,).
        mean: (S,) share of long views of each segment in all.
        age_s: (n,) seconds since the upload; None: all are of this moment.
    """
    alpha, beta = posterior(rates, shown, long, kappa=kappa)
    certainty = above(alpha, beta, mean[None, :])
    share = shares(certainty, shown, spent, age_s, budget=budget, kappa=kappa)
    left = budget_left(certainty, shown, spent, budget=budget, kappa=kappa)
    words = verdicts(certainty, shown, spent, budget=budget, kappa=kappa)
    found = []
    for i, video_id in enumerate(video_ids):
        each = [
            SegmentStatus(
                segment=name, shown=float(shown[i, s]), long=float(long[i, s]), certainty=float(certainty[i, s]),
                mean=float(alpha[i, s] / (alpha[i, s] + beta[i, s])), share=float(share[i, s]),
            )
            for s, name in enumerate(segments)
        ]  # fmt: skip
        each.sort(key=lambda one: -one.certainty)
        found.append(
            Status(
                video_id=video_id, verdict=words[i], spent=float(spent[i]), budget_left=float(left[i]),
                segments=tuple(each), next=_next(words[i], each, float(left[i])),
            )
        )  # fmt: skip
    return found


def _next(verdict: str, segments: Sequence[SegmentStatus], left: float) -> str:
    """One line for a person."""
    open_to = [one.segment for one in segments if one.share > 0.05]
    if verdict == "graduate":
        return "lives by its rank; it gets no more first looks"
    if verdict == "stop" and left <= 0:
        return "its budget is spent without a clear answer; it lives by its rank"
    if verdict == "stop":
        return "no segment takes to it; it gets no more first looks"
    how = "shown more widely" if verdict == "widen" else "tried"
    return f"{how}, by {', '.join(open_to[:3]) or 'nobody'}{' and others' if len(open_to) > 3 else ''}"
