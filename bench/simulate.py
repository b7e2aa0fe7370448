"""What does a first look for every new video cost, and what does it find? Simulated, in a world with known truth.

    python bench/simulate.py [--seeds 10] [--correlation 0 0.2 0.5] [--json]
    python bench/simulate.py --correlation 0 0.14   # what a content prior of that rank correlation is worth
    python bench/simulate.py --tune                 # the rivals' ε and our share, on other seeds than those reported
    python bench/simulate.py --report out.html      # also draws what was found
    python bench/simulate.py --from results.json --report out.html      # draws what --json printed before

The world is `bench/world.py`, which was there before any policy. All policies share one base ranker (viewers' rates by
category × what videos do beyond them, both posterior means with the same priors, content and creator included) and
differ only in which places of a page they give to new videos:

    ours         recommend/explore.py: slots of `positions`, hierarchical Thompson draws, budget, verdicts; of the slots
                 the share that the feed gives to new videos (`pipeline.FRESH_SHARE`), and all of them (`ours, finding`)
    none         no place: a new video must earn its first view by its creator's and its content's promise
    ε-greedy     every place from the third on, with probability ε, a uniform draw over the week's new videos; ε tuned
                 on other seeds, for long views (`ε-greedy`) and for good ones found at a price of at most 3 % of them
                 (`ε-greedy, finding`)
    uniform TS   the slots of ours, Thompson draws over the week's new videos from Beta(1, 1), all viewers together
    author TS    X's author cold start: posts of the week by authors new to the service, draws of Beta(.75 + x,
                 49.25 + n − x), of the best five the one that the ranker likes most, at the 15th place

A new video is *good* if its true value (share of all viewers who would watch it long) is in the top tenth of the new
ones, and *found* once the ranker alone has shown it in 50 places. Videos of the last five days are not judged.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).parent.parent)  # bench/ingest.py would hide the package ingest

import numpy as np
from numpy.typing import NDArray

from bench.machine import facts, interval
from bench.world import CATEGORIES, Floats, Ints, Size, World, bot_views, leaves, make, react, visits
from recommend import explore, trust
from recommend.evaluate import Interval
from recommend.pipeline import FRESH_SHARE
from recommend.report import Bars, Points, Section, Value
from recommend.report import write as write_report

SEEDS_FROM = 1
TUNING_SEEDS = (101, 102, 103)
"""Nothing that is reported is run on these, and nothing is tuned on any other."""
CORRELATIONS = (0.0, 0.2, 0.5)
EPSILONS = (0.01, 0.02, 0.05, 0.1, 0.2)
SHARES = (0.1, 0.2, 0.35, 0.5, 1.0)
TUNED = {  # `python bench/simulate.py --tune` prints these
    "long views": {0.0: 0.01, 0.2: 0.02, 0.5: 0.01},
    "found": {0.0: 0.05, 0.2: 0.05, 0.5: 0.02},
}

SIZE = Size(viewers=700, old_videos=6_000, days=10, new_a_day=105.0, rounds=6)
"""So many old videos that nobody has seen all the good ones before the end, and so many new ones that the places for
them do not suffice for all (15 each); in a smaller catalogue everything is found by itself."""
PAGE = 20
PAGES_MAX = 8
NEW_DAYS = 7
"""A video is new for a week."""
ORGANIC = 50
"""Places by rank alone that make a video found."""
UNJUDGED_DAYS = 5
GOOD = 0.1
TARGET_PLACE = 14
"""X's: the 15th place."""
RANK, FRESH = 0, 1


class Behaviour:
    """What any policy may know: the log of views, and the base ranker that is made of it."""

    STRENGTH = explore.KAPPA * 0.26
    """Expected long views that a video's promise counts for: κ impressions."""

    def __init__(self, world: World, accounts: int, *, trusted: bool) -> None:
        self.world, self.trusted = world, trusted
        self.viewer, self.video = world.past_viewer, world.past_video
        self.long = react(world, self.viewer, self.video).long.astype(np.float64)
        self.recent = np.zeros((world.size.rounds, accounts))  # views, counted or not, of the last day's rounds
        self.peak, self.peak_day = np.zeros((2, accounts))
        self.known = np.bincount(self.viewer, minlength=accounts) > 0  # before today
        self.weight = np.ones(accounts)
        videos, people = len(world.quality), len(world.bias)
        self.rate = np.full((accounts, CATEGORIES), 0.26)
        self.lift, self.promise = np.ones(videos), np.ones(videos)
        self.segment = np.full(accounts, CATEGORIES)
        self.seen = np.zeros((people, videos), dtype=np.bool_)
        self.seen[self.viewer, self.video] = True
        self.counted = np.zeros((accounts, videos), dtype=np.bool_)
        self.counted[self.viewer, self.video] = True
        self.own_long, self.own_expected = np.zeros(videos), np.zeros(videos)
        self.shown_by = np.zeros((videos, CATEGORIES + 1))
        self.long_by = np.zeros((videos, CATEGORIES + 1))
        self.base = np.full((CATEGORIES + 1, CATEGORIES), 0.26)
        self.segment_mean = np.full(CATEGORIES + 1, 0.26)
        self.learn()

    def add(self, viewer: Ints, video: Ints, long: NDArray[np.bool_]) -> None:
        """Take in views as they come: videos' sums now, viewers' tastes at night (`learn`)."""
        self.recent = np.roll(self.recent, 1, axis=0)
        self.recent[0] = np.bincount(viewer, minlength=len(self.peak))
        self.peak = np.maximum(self.peak, self.recent[0])
        self.peak_day = np.maximum(self.peak_day, self.recent.sum(axis=0))
        self._weigh()
        if self.trusted:
            once = trust.counted_once(viewer, video, np.zeros_like(viewer), ~self.counted[viewer, video])
            viewer, video, long = viewer[once], video[once], long[once]
            self.counted[viewer, video] = True
        self.viewer, self.video = np.r_[self.viewer, viewer], np.r_[self.video, video]
        self.long = np.r_[self.long, long]
        self._sum(viewer, video, long.astype(np.float64))

    def _weigh(self) -> None:
        if self.trusted:
            # Accounts of today are not asked what is usual: a wave of new ones would have a say in it.
            by_round = trust.weights(self.peak, trust.usual_activity(self.peak[self.known]))
            by_day = trust.weights(self.peak_day, trust.usual_activity(self.peak_day[self.known]))
            self.weight = np.minimum(by_round, by_day)

    def _sum(self, viewer: Ints, video: Ints, long: Floats) -> None:
        weight = self.weight[viewer]
        expected = weight * self.rate[viewer, self.world.category[video]]
        videos = len(self.lift)
        self.own_long += np.bincount(video, weight * long, videos)
        self.own_expected += np.bincount(video, expected, videos)
        cell = video * (CATEGORIES + 1) + self.segment[viewer]
        self.shown_by += np.bincount(cell, weight, self.shown_by.size).reshape(self.shown_by.shape)
        self.long_by += np.bincount(cell, weight * long, self.long_by.size).reshape(self.long_by.shape)
        self.lift = explore.lift(self.own_long, self.own_expected, before=self.promise, strength=self.STRENGTH)

    def learn(self) -> None:
        """Every night: fold the log anew, with the weights that viewers have earned by now, and learn tastes from it.

        Rates by viewer and category and lifts by video explain the views together, a few rounds in turn.
        """
        world, viewer, video, long = self.world, self.viewer, self.video, self.long
        self.known |= self.peak > 0
        self._weigh()
        category, accounts = world.category[video], len(self.peak)
        cell, weight = viewer * CATEGORIES + category, self.weight[viewer]
        mean = float(long[: len(world.past_viewer)].mean())
        for _ in range(4):
            by_video = self.lift[video]
            of_category = explore.lift(
                np.bincount(category, weight * long, CATEGORIES),
                np.bincount(category, weight * by_video * mean, CATEGORIES),
            )
            own = explore.lift(
                np.bincount(viewer, long, accounts),
                np.bincount(viewer, by_video * mean * of_category[category], accounts),
            )
            prior = mean * own[:, None] * of_category[None, :]
            taste = explore.lift(
                np.bincount(cell, long, accounts * CATEGORIES),
                np.bincount(cell, by_video * prior.ravel()[cell], accounts * CATEGORIES),
            ).reshape(accounts, CATEGORIES)
            self.rate = prior * taste
            self.own_long = np.bincount(video, weight * long, len(self.lift))
            self.own_expected = np.bincount(video, weight * self.rate.ravel()[cell], len(self.lift))
            self._promise()
            self.lift = explore.lift(self.own_long, self.own_expected, before=self.promise, strength=self.STRENGTH)
        known = np.bincount(viewer, long, accounts) >= 3
        self.segment = np.where(known, taste.argmax(axis=1), CATEGORIES)
        by = (self.segment[viewer], category)
        shown_cells, long_cells = np.zeros((2, CATEGORIES + 1, CATEGORIES))
        np.add.at(shown_cells, by, weight * by_video)  # of an average video: what it does beyond is its lift
        np.add.at(long_cells, by, weight * long)
        self.base = explore.base_rates(shown_cells, long_cells)
        shown = np.bincount(self.segment[viewer], weight, CATEGORIES + 1)
        self.segment_mean = (np.bincount(self.segment[viewer], weight * long, CATEGORIES + 1) + 10) / (shown + 40)
        self.shown_by, self.long_by = np.zeros_like(self.shown_by), np.zeros_like(self.long_by)
        np.add.at(self.shown_by, (video, self.segment[viewer]), weight)
        np.add.at(self.long_by, (video, self.segment[viewer]), weight * long)

    def _promise(self) -> None:
        """What a video promises before its own views: its creator's other videos, and its content."""
        world = self.world
        slope = explore.content_slope(world.signal, self.own_long, self.own_expected, strength=self.STRENGTH)
        content = np.exp(slope * world.signal)
        long = np.bincount(world.creator, self.own_long, len(world.fans))[world.creator] - self.own_long
        expected = np.bincount(world.creator, self.own_expected * content, len(world.fans))[world.creator]
        # A creator's other videos tell of this one only in part: a strength of 10 expected long views.
        creator = explore.lift(long, expected - self.own_expected * content, strength=10.0)
        self.promise = explore.prior_lift(creator, content)

    def scores(self, viewers: Ints, videos: int) -> Floats:
        """(viewers, videos): estimated share of long views, of the videos that are there."""
        return np.asarray(self.rate[viewers][:, self.world.category[:videos]] * self.lift[:videos])


# Policies: what new videos a page is given ----------------------------------------------------------------------------


@dataclass(kw_only=True, eq=False)
class Request:
    """A round's view of things, for a policy."""

    behaviour: Behaviour
    fresh: Ints
    """Videos of the last week."""
    spent: Ints
    """(N,) forced impressions so far."""
    total: Ints
    """(N,) impressions so far, (N,) long views so far: of all viewers, unweighted."""
    total_long: Ints
    rng: np.random.Generator
    posterior: tuple[Floats, Floats, Floats] | None = None
    draws: dict[int, explore.Draws] = field(default_factory=dict)


Policy = Callable[[Request, int, int, int, Floats], list[tuple[int, int]]]
"""(request, viewer, places of the session so far, skips in a row, scores) -> [(place of the page, video)]."""


def none(request: Request, viewer: int, place: int, skips: int, scores: Floats) -> list[tuple[int, int]]:
    return []


def first_looks(share: float) -> Policy:
    """Ours, with this share of the slots for new videos."""

    def policy(request: Request, viewer: int, place: int, skips: int, scores: Floats) -> list[tuple[int, int]]:
        slots = [slot for slot in explore.positions(PAGE, request.rng, skips, place) if request.rng.random() < share]
        if not slots or not len(request.fresh):
            return []
        behaviour, segment, fresh = request.behaviour, int(request.behaviour.segment[viewer]), request.fresh
        if request.posterior is None:
            request.posterior = _posterior(request)
        if segment not in request.draws:
            alpha, beta, part = request.posterior
            request.draws[segment] = explore.joint_draws(
                alpha[:, segment], beta[:, segment], part[:, segment], request.rng, count=32
            )
        open_to = ~behaviour.seen[viewer, fresh]
        found = []
        for slot in slots:
            choice = explore.choose(request.draws[segment], open_to, request.rng)
            if choice is not None:
                open_to[choice.index] = False
                found.append((slot, int(fresh[choice.index])))
        return found

    return policy


ours = first_looks(FRESH_SHARE)


def _posterior(request: Request) -> tuple[Floats, Floats, Floats]:
    """α, β and share of the new videos by segment, (fresh, segments) each."""
    behaviour, fresh = request.behaviour, request.fresh
    shown, long = behaviour.shown_by[fresh], behaviour.long_by[fresh]
    base = behaviour.base.T[behaviour.world.category[fresh]]
    rates = explore.expected_rates(base, behaviour.promise[fresh], shown, long)
    alpha, beta = explore.posterior(rates, shown, long)
    certainty = explore.above(alpha, beta, behaviour.segment_mean[None, :])
    return alpha, beta, explore.shares(certainty, shown, request.spent[fresh])


def greedy(epsilon: float) -> Policy:
    def policy(request: Request, viewer: int, place: int, skips: int, scores: Floats) -> list[tuple[int, int]]:
        slots = explore.FIRST_PLACES + np.flatnonzero(request.rng.random(PAGE - explore.FIRST_PLACES) < epsilon)
        open_to = request.fresh[~request.behaviour.seen[viewer, request.fresh]]
        drawn = request.rng.choice(open_to, min(len(slots), len(open_to)), replace=False)
        return list(zip(slots.tolist(), drawn.tolist(), strict=False))

    return policy


def uniform_thompson(request: Request, viewer: int, place: int, skips: int, scores: Floats) -> list[tuple[int, int]]:
    slots = explore.positions(PAGE, request.rng, skips, place)
    open_to = request.fresh[~request.behaviour.seen[viewer, request.fresh]]
    x, n = request.total_long[open_to], request.total[open_to]
    found: list[tuple[int, int]] = []
    for slot in slots[: len(open_to)]:
        drawn = request.rng.beta(1 + x, 1 + n - x)
        drawn[np.isin(open_to, [video for _, video in found])] = -1
        found.append((slot, int(open_to[drawn.argmax()])))
    return found


def author_thompson(request: Request, viewer: int, place: int, skips: int, scores: Floats) -> list[tuple[int, int]]:
    world = request.behaviour.world
    open_to = request.fresh[~request.behaviour.seen[viewer, request.fresh]]
    open_to = open_to[NEW_AUTHORS[id(world)][world.creator[open_to]]]
    if not len(open_to):
        return []
    x, n = request.total_long[open_to], request.total[open_to]
    best = open_to[np.argsort(-request.rng.beta(0.75 + x, 49.25 + n - x))[:5]]
    return [(TARGET_PLACE, int(best[scores[best].argmax()]))]


NEW_AUTHORS: dict[int, NDArray[np.bool_]] = {}


def policies(correlation: float) -> dict[str, Policy]:
    """Name -> policy; the rivals' ε as tuned for the nearest correlation."""
    nearest = min(CORRELATIONS, key=lambda known: abs(known - correlation))
    return {
        "ours": ours,
        "ours, finding": first_looks(1.0),
        "none": none,
        "ε-greedy": greedy(TUNED["long views"][nearest]),
        "ε-greedy, finding": greedy(TUNED["found"][nearest]),
        "uniform TS": uniform_thompson,
        "author TS": author_thompson,
    }


# The loop -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, eq=False)
class Attack:
    from_day: int
    target: int
    on: bool = True
    """False: the same video is looked at, and nobody pushes it."""


class Watched:
    """Notes where a target stands by the base ranker over all viewers, and how well all other videos are ordered."""

    def __init__(self, world: World, attack: Attack | None) -> None:
        self.attack, self.rounds = attack, world.size.rounds
        self.value = world.value() if attack else np.zeros(0)
        self.rank: list[int] = []
        """After each round of the attack."""
        self.nightly_rank: list[int] = []
        self.ndcg: list[float] = []

    def note(self, behaviour: Behaviour, visit: int, there: int, *, night: bool = False) -> None:
        attack = self.attack
        if attack is None or visit < attack.from_day * self.rounds:
            return
        rate = behaviour.rate[: len(behaviour.world.bias)].mean(axis=0)
        score = rate[behaviour.world.category[:there]] * behaviour.lift[:there]
        rank = int((score > score[attack.target]).sum())
        (self.nightly_rank if night else self.rank).append(rank)
        if night:
            self.ndcg.append(_ndcg(score, self.value[:there], attack.target))


@dataclass(frozen=True, kw_only=True, eq=False)
class Run:
    """What came of one policy in one world."""

    world: World
    behaviour: Behaviour
    impressions: Ints  # (N,)
    forced: Ints  # (N,) of them
    found_at: Ints  # (N,) impressions of the video when it was found; -1: not found
    found_day: Ints  # (N,) -1: not found
    long_views: int
    watched_s: float
    sessions: int
    rounds: list[tuple[Ints, Ints, NDArray[np.bool_]]]
    """What people saw in each round of each day: viewers, videos, whether long."""
    watched: Watched


def run(world: World, policy: Policy, *, attack: Attack | None = None, dice: int = 4) -> Run:
    """Let a policy serve a world for all its days.

    Args:
        attack: whose rank is noted, and from which day it is pushed.
        dice: another number, other dice of the policy; the world's are the same.
    """
    size, people, videos = world.size, len(world.bias), len(world.quality)
    behaviour = Behaviour(world, people + max(1, people // 100), trusted=True)
    NEW_AUTHORS[id(world)] = world.newcomers()
    impressions, forced, organic, longs = np.zeros((4, videos), dtype=np.int64)
    found_at, found_day = np.full((2, videos), -1)
    skips = np.zeros(people, dtype=np.int64)
    long_views, watched_s, sessions = 0, 0.0, 0
    rounds: list[tuple[Ints, Ints, NDArray[np.bool_]]] = []
    watched = Watched(world, attack)
    for day in range(size.days):
        there = int(np.searchsorted(world.birth, day, side="right"))
        fresh = np.flatnonzero((world.birth[:there] >= 0) & (world.birth[:there] > day - NEW_DAYS))
        for number, viewers in enumerate(visits(world, day)):
            visit = day * size.rounds + number
            rng = np.random.default_rng([world.seed, dice, visit])
            request = Request(
                behaviour=behaviour, fresh=fresh, spent=forced, total=impressions, total_long=longs, rng=rng
            )
            rows = _serve(world, request, policy, viewers, visit, there, skips)
            viewer, video, kind, long = rows["viewer"], rows["video"], rows["kind"], rows["long"]
            sessions += len(viewers)
            long_views += int(long.sum())
            watched_s += float(rows["watched_s"].sum())
            impressions += np.bincount(video, minlength=videos)
            longs += np.bincount(video, long, videos).astype(np.int64)
            forced += np.bincount(video[kind == FRESH], minlength=videos)
            organic += np.bincount(video[kind == RANK], minlength=videos)
            newly = (organic >= ORGANIC) & (found_at < 0)
            found_at[newly], found_day[newly] = impressions[newly], day
            rounds.append((viewer, video, long))
            behaviour.add(*_with_bots(world, attack, rounds[-1], visit, there))
            watched.note(behaviour, visit, there)
        behaviour.learn()
        watched.note(behaviour, visit, there, night=True)
    return Run(
        world=world, behaviour=behaviour, impressions=impressions, forced=forced, found_at=found_at,
        found_day=found_day, long_views=long_views, watched_s=watched_s, sessions=sessions, rounds=rounds,
        watched=watched,
    )  # fmt: skip


def replay(
    world: World, rounds: list[tuple[Ints, Ints, NDArray[np.bool_]]], attack: Attack, *, trusted: bool
) -> Watched:
    """Fold what people saw once more, with the bots' events among it: what these alone do to the ranks."""
    people = len(world.bias)
    behaviour = Behaviour(world, people + max(1, people // 100), trusted=trusted)
    watched = Watched(world, attack)
    for visit, rows in enumerate(rounds):
        there = int(np.searchsorted(world.birth, visit // world.size.rounds, side="right"))
        behaviour.add(*_with_bots(world, attack, rows, visit, there))
        watched.note(behaviour, visit, there)
        if (visit + 1) % world.size.rounds == 0:
            behaviour.learn()
            watched.note(behaviour, visit, there, night=True)
    return watched


def _with_bots(
    world: World, attack: Attack | None, rows: tuple[Ints, Ints, NDArray[np.bool_]], visit: int, there: int
) -> tuple[Ints, Ints, NDArray[np.bool_]]:
    if attack is None or not attack.on or visit < attack.from_day * world.size.rounds:
        return rows
    rng = np.random.default_rng([world.seed, 5, visit])
    bots, videos, pushed = bot_views(world, attack.target, np.arange(there), len(rows[0]), rng)
    return np.r_[rows[0], bots], np.r_[rows[1], videos], np.r_[rows[2], pushed]


def _serve(
    world: World, request: Request, policy: Policy, viewers: Ints, visit: int, there: int, skips: Ints
) -> dict[str, NDArray]:  # type: ignore[type-arg]
    """Serve pages to those who came until all have left. Changes `skips` and what was seen."""
    behaviour = request.behaviour
    scores = behaviour.scores(viewers, there)
    scores[behaviour.seen[viewers][:, :there]] = -1.0
    parts = []
    here = np.arange(len(viewers))
    for page in range(PAGES_MAX):
        if not len(here):
            break
        shown, kind = _pages(request, policy, viewers[here], scores[here], page * PAGE, skips)
        who = np.repeat(viewers[here], PAGE)
        seen = react(world, who, shown.ravel())
        long, skip = seen.long.reshape(shown.shape), seen.skip.reshape(shown.shape)
        there_still = np.ones(len(here), dtype=np.bool_)
        looked = np.zeros(shown.shape, dtype=np.bool_)
        row = skips[viewers[here]]
        for place in range(PAGE):
            looked[:, place] = there_still
            row = np.where(there_still, np.where(skip[:, place], row + 1, 0), row)
            gone = leaves(
                world,
                viewers[here],
                np.full(len(here), visit),
                np.full(len(here), page * PAGE + place),
                long[:, place],
                row,
            )
            there_still &= ~gone
        skips[viewers[here]] = row
        ok = looked.ravel()
        parts.append({
            "viewer": who[ok], "video": shown.ravel()[ok], "kind": kind.ravel()[ok], "long": seen.long[ok],
            "watched_s": seen.watched_s[ok],
        })  # fmt: skip
        behaviour.seen[who[ok], shown.ravel()[ok]] = True
        for i, videos in zip(here, shown, strict=True):
            scores[i, videos] = -1.0  # served is not served again in this session
        here = here[there_still]
    skips[viewers] = 0  # a new session begins afresh
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _pages(
    request: Request, policy: Policy, viewers: Ints, scores: Floats, place: int, skips: Ints
) -> tuple[Ints, NDArray[np.int64]]:
    """(viewers, PAGE) videos and whether each was ranked or forced."""
    top = np.argpartition(-scores, PAGE * 2, axis=1)[:, : PAGE * 2]
    top = np.take_along_axis(top, np.argsort(-np.take_along_axis(scores, top, axis=1), axis=1), axis=1)
    shown, kind = top[:, :PAGE].copy(), np.zeros((len(viewers), PAGE), dtype=np.int64)
    for i, viewer in enumerate(viewers):
        forced = policy(request, int(viewer), place, int(skips[viewer]), scores[i])
        if forced:
            given = dict(forced)
            taken = set(given.values())
            ranked = (video for video in top[i].tolist() if video not in taken)
            shown[i] = [given[p] if p in given else next(ranked) for p in range(PAGE)]
            kind[i, list(given)] = FRESH
    return shown, kind


# Figures --------------------------------------------------------------------------------------------------------------


def judged(world: World) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(N,) new videos that are judged, and the good ones among them."""
    value = world.value()
    new = world.birth >= 0
    old_enough = new & (world.birth < world.size.days - UNJUDGED_DAYS)
    return old_enough, old_enough & (value >= np.quantile(value[new], 1 - GOOD))


def figures(run: Run) -> dict[str, float]:
    world = run.world
    looked, good = judged(world)
    found = good & (run.found_at >= 0)
    new = world.birth >= 0
    small = world.small()[world.creator]
    total = int(run.impressions.sum())
    return {
        "good found, share": float(found.sum() / max(1, good.sum())),
        "impressions until found": float(np.median(run.found_at[found])) if found.any() else float("nan"),
        "days until found": float(
            np.where(found, run.found_day - world.birth, world.size.days - world.birth)[good].mean()
        ),
        "forced impressions a good one found": float(run.forced.sum() / max(1, found.sum())),
        "forced, share of places": float(run.forced.sum() / total),
        "long views an impression": run.long_views / total,
        "long views": float(run.long_views),
        "watched, s a session": run.watched_s / run.sessions,
        "new videos seen 20 times, share": float((run.impressions[looked] >= 20).mean()),
        "small creators, share of new impressions": float(
            run.impressions[new & small].sum() / max(1, run.impressions[new].sum())
        ),
        "small creators, share of all": float(run.impressions[new & small].sum() / total),
    }


def _ndcg(score: Floats, value: Floats, target: int, k: int = 100) -> float:
    """nDCG at 100 of all videos but the target, ranked for all viewers, against their true value."""
    score, value = np.delete(score, target), np.delete(value, target)
    discount = 1 / np.log2(np.arange(2, k + 2))
    return float(value[np.argsort(-score)[:k]] @ discount / (np.sort(value)[::-1][:k] @ discount))


# Commands -------------------------------------------------------------------------------------------------------------

PRICE_MAX = 0.03
"""Long views that an ε tuned for finding may cost, of those without exploration."""
PAIRED = ("good found, share", "long views", "watched, s a session", "days until found")
ATTACK_DAYS = 3
RANKS_MAX, NDCG_LOST_MAX = 3, 0.01


def compare(correlation: float, seeds: Sequence[int], names: Sequence[str] = ()) -> dict[str, dict[str, Floats]]:
    """Policy -> figure -> (seeds,). Every policy, or those named, in the same worlds."""
    found: dict[str, dict[str, list[float]]] = {}
    for seed in seeds:
        world = make(seed, correlation=correlation, size=SIZE)
        for name, policy in policies(correlation).items():
            if names and name not in names:
                continue
            for figure, value in figures(run(world, policy)).items():
                found.setdefault(name, {}).setdefault(figure, []).append(value)
        print(f"r {correlation}, seed {seed}: done", file=sys.stderr, flush=True)
    return {name: {figure: np.array(values) for figure, values in each.items()} for name, each in found.items()}


def gains(
    results: dict[str, dict[str, Floats]], figure: str, of: str = "ours"
) -> dict[str, tuple[float, float, float]]:
    """Rival -> ours minus the rival's, mean and 95 % interval over the same seeds; long views and watch as shares."""
    relative = figure in ("long views", "watched, s a session")
    out = {}
    for name, each in results.items():
        if name != of:
            difference = results[of][figure] - each[figure]
            out[name] = interval(difference / each[figure] if relative else difference)
    return out


def attacked(seeds: Sequence[int], correlation: float = 0.2) -> dict[str, Floats]:
    """What bots that push a mediocre video achieve in the last days: (seeds,) each.

    The same log with and without the bots' events tells what they do. In the closed loop another feed follows from
    the least difference, as it would from another throw of exploration's dice (`control`): what of a move is the bots'
    doing shows only in its mean, the target's way up.
    """
    found: dict[str, list[float]] = {}

    def note(name: str, loud: Watched, quiet: Watched) -> None:
        up = np.subtract(quiet.nightly_rank, loud.nightly_rank)
        up_by_round = np.subtract(quiet.rank, loud.rank)
        lost = 1 - np.divide(loud.ndcg, quiet.ndcg)
        for what, value in (
            ("ranks up, last night", up[-1]),
            ("ranks moved, worst night", np.abs(up).max()),
            ("ranks moved, worst round", np.abs(up_by_round).max()),
            ("nDCG that others lost, worst night", lost.max()),
        ):
            found.setdefault(f"{name}: {what}", []).append(float(value))

    for seed in seeds:
        world = make(seed, correlation=correlation, size=SIZE)
        push = _aim(world)
        calm = run(world, ours, attack=replace(push, on=False))
        for name, trusted in (("defended", True), ("undefended", False)):
            quiet = calm.watched if trusted else replay(world, calm.rounds, replace(push, on=False), trusted=False)
            note(f"same log, {name}", replay(world, calm.rounds, push, trusted=trusted), quiet)
        note("closed loop, defended", run(world, ours, attack=push).watched, calm.watched)
        note("closed loop, control", run(world, ours, attack=replace(push, on=False), dice=6).watched, calm.watched)
    return {name: np.array(values) for name, values in found.items()}


def _aim(world: World) -> Attack:
    """At the new video of median true value among those that were there before the attack."""
    from_day = world.size.days - ATTACK_DAYS
    known = np.flatnonzero((world.birth >= 0) & (world.birth < from_day - 1))
    return Attack(from_day=from_day, target=int(known[np.argsort(world.value()[known])[len(known) // 2]]))


def tune() -> None:
    """Print, for each correlation and ε, what ε-greedy finds and pays on the tuning seeds, and which ε is best."""
    best: dict[str, dict[float, float]] = {"long views": {}, "found": {}}
    for correlation in CORRELATIONS:
        worlds = [make(seed, correlation=correlation, size=SIZE) for seed in TUNING_SEEDS]
        calm = [figures(run(world, none)) for world in worlds]
        rows = {}
        for share in SHARES:
            each = [figures(run(world, first_looks(share))) for world in worlds]
            kept = float(np.mean([a["long views"] / b["long views"] for a, b in zip(each, calm, strict=True)]))
            found = float(np.mean([a["good found, share"] for a in each]))
            print(
                f"r {correlation}, ours, {share} of the slots: long views × {kept:.4f}, found {found:.3f}", flush=True
            )
        for epsilon in EPSILONS:
            each = [figures(run(world, greedy(epsilon))) for world in worlds]
            kept = float(np.mean([a["long views"] / b["long views"] for a, b in zip(each, calm, strict=True)]))
            rows[epsilon] = (kept, float(np.mean([a["good found, share"] for a in each])))
            print(f"r {correlation}, ε {epsilon}: long views × {kept:.4f}, found {rows[epsilon][1]:.3f}", flush=True)
        best["long views"][correlation] = max(rows, key=lambda epsilon: rows[epsilon][0])
        cheap = {epsilon: row for epsilon, row in rows.items() if row[0] >= 1 - PRICE_MAX} or rows
        best["found"][correlation] = max(cheap, key=lambda epsilon: cheap[epsilon][1])
    print(best)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10, metavar="COUNT")
    parser.add_argument("--correlation", type=float, nargs="+", default=list(CORRELATIONS), metavar="R")
    only = parser.add_mutually_exclusive_group()
    only.add_argument("--no-attack", action="store_true")
    only.add_argument("--only-attack", action="store_true")
    parser.add_argument("--policies", nargs="+", default=[], metavar="NAME", help="only these; `ours` among them")
    parser.add_argument("--tune", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--report", type=Path, metavar="HTML", help="draw what was found")
    parser.add_argument("--from", dest="found", type=Path, metavar="JSON", help="run nothing: draw what --json printed")
    asked = parser.parse_args()
    if asked.found is not None:
        if asked.report is None:
            parser.error("--from draws, and wants --report to say where")
        draw(json.loads(asked.found.read_text()), asked.report)
        return
    if asked.tune:
        tune()
        return
    began = time.monotonic()
    seeds = range(SEEDS_FROM, SEEDS_FROM + asked.seeds)
    correlations = [] if asked.only_attack else asked.correlation
    results = {correlation: compare(correlation, seeds, asked.policies) for correlation in correlations}
    push = {} if asked.no_attack else attacked(seeds)
    checks = _checks(results, push)
    plain = _plain(results, push, checks, len(seeds))
    if asked.report is not None:
        draw(plain, asked.report)
    if asked.json:
        print(json.dumps(plain, ensure_ascii=False))
    else:
        _print(results, push, checks, len(seeds), time.monotonic() - began)
    sys.exit(0 if all(checks.values()) else 1)


def _checks(results: dict[float, dict[str, dict[str, Floats]]], push: dict[str, Floats]) -> dict[str, bool]:
    checks = {}
    if 0.0 in results:
        for figure in ("good found, share", "long views"):
            for mine, rival in (("ours", "ε-greedy"), ("ours, finding", "ε-greedy, finding")):
                if mine in results[0.0] and rival in results[0.0]:
                    _, _, high = gains(results[0.0], figure, mine)[rival]
                    checks[f"at r = 0 {mine} is not worse than {rival} in {figure}"] = high >= 0
    for where in ("same log", "closed loop") if push else ():
        moved = push[f"{where}, defended: ranks moved, worst night"]
        lost = push[f"{where}, defended: nDCG that others lost, worst night"]
        checks[f"{where}: the target moves at most {RANKS_MAX} ranks"] = bool(moved.max() <= RANKS_MAX)
        checks[f"{where}: the others lose at most 1 % nDCG"] = bool(lost.max() <= NDCG_LOST_MAX)
    return checks


def _plain(
    results: dict[float, dict[str, dict[str, Floats]]], push: dict[str, Floats], checks: dict[str, bool], seeds: int
) -> dict[str, Any]:
    def said(values: Floats) -> list[float]:
        return [round(x, 5) for x in interval(values[np.isfinite(values)])] if np.isfinite(values).any() else []

    return {
        "kind": "simulated",
        "facts": facts(seed=SEEDS_FROM) | {"worlds": str(seeds), "size of each": str(SIZE)},
        "pass": all(checks.values()),
        "checks": checks,
        "policies": {
            str(r): {
                name: {figure: said(v) for figure, v in each.items()}
                | ({LOST: said(1 - each["long views"] / found["none"]["long views"])} if "none" in found else {})
                for name, each in found.items()
            }
            for r, found in results.items()
        },
        "ours_minus": {
            str(r): {
                figure: {n: [round(x, 5) for x in g] for n, g in gains(found, figure).items()} for figure in PAIRED
            }
            for r, found in results.items()
        },
        "attack": {name: {"mean": float(v.mean()), "max": float(v.max())} for name, v in push.items()},
    }


# The report -----------------------------------------------------------------------------------------------------------

LOST = "long views lost, share"
"""Of those in the same world without any place for new videos."""
FOUND = "good found, share"


def draw(plain: Mapping[str, Any], file: Path) -> None:
    """Write what was found as one HTML page.

    Args:
        plain: what `--json` prints.
    """
    told: Mapping[str, Value] = plain.get("facts", {})
    write_report(
        file, sections(plain), told, time.time(), title="What a first look for every new video costs and finds"
    )
    print(f"report: {file}", file=sys.stderr)


def sections(plain: Mapping[str, Any]) -> list[Section]:
    """A section a correlation, one of the attack, and one of the checks; those that were not run are not there."""
    made = [_of_policies(r, policies) for r, policies in plain["policies"].items()]
    if plain["attack"]:
        made.append(_of_attack(plain["attack"]))
    rows: list[dict[str, Value]] = [
        {"check": name, "outcome": "holds" if ok else "FAILS"} for name, ok in plain["checks"].items()
    ]
    return [*made, Section(title="Checks", kind="simulated", rows=rows)] if rows else made


def _of_policies(r: str, policies: Mapping[str, Mapping[str, Sequence[float]]]) -> Section:
    """The price and the yield of each policy, and how soon it finds."""
    wanted = [FOUND, LOST, "days until found", "impressions until found", "small creators, share of new impressions"]
    said = {name: {figure: _interval(each.get(figure)) for figure in wanted} for name, each in policies.items()}
    if "none" in policies:
        for name, each in policies.items():
            if LOST not in each:  # printed before it was: the means alone tell it, without an interval
                lost_mean = 1 - each["long views"][0] / policies["none"]["long views"][0]
                said[name][LOST] = _interval([lost_mean] * 3)

    def of(figure: str) -> dict[str, Interval]:
        return {name: one for name, each in said.items() for one in (each[figure],) if one is not None}

    lost, found = of(LOST), of(FOUND)
    return Section(
        title=f"Policies, correlation of content and quality {r}",
        kind="simulated",
        note=(
            "Worlds of known truth (bench/world.py); every policy in the same ones; intervals are over worlds, and one "
            "world has none. Lost: of the long views that the same world has with no place for new videos. Days are "
            "counted to the end of the world for good videos that were not found, impressions only for those that were."
        ),
        rows=[{"policy": name, **each} for name, each in said.items()],
        plots=[
            Points(
                title="Good videos found against long views lost: up and left is better",
                across=LOST,
                up=FOUND,
                values={name: (lost[name], found[name]) for name in policies if name in lost and name in found},
            ),
            Bars(title="Days until a good video is found", unit="days", values=of("days until found")),
            Bars(title="Impressions until it is found", unit="impressions", values=of("impressions until found")),
        ],
    )


def _of_attack(attack: Mapping[str, Mapping[str, float]]) -> Section:
    rows: list[dict[str, Value]] = [{"what": name, **each} for name, each in attack.items()]
    plots = [
        Bars(title=f"Attack: {what}, mean over worlds", unit=unit, values=bars)
        for what, unit in (
            ("ranks up, last night", "ranks"),
            ("ranks moved, worst night", "ranks"),
            ("nDCG that others lost, worst night", "share"),
        )
        if (bars := {name.split(": ")[0]: each["mean"] for name, each in attack.items() if name.endswith(f": {what}")})
    ]
    return Section(
        title="Bots that push a video",
        kind="simulated",
        note=(
            f"1 % bots with half of all events push a mediocre video in the last {ATTACK_DAYS} days. The same log: "
            "what the bots' events alone do. The closed loop: with all that follows, beside a control that differs in "
            "the dice of exploration alone."
        ),
        rows=rows,
        plots=plots,
    )


def _interval(said: Sequence[float] | None) -> Interval | None:
    """Mean, low and high as `--json` prints them; None: there is no such figure."""
    if not said:
        return None
    value, low, high = said
    return Interval(value=value, low=low, high=high, rounds=0)  # how many is not printed


def _print(
    results: dict[float, dict[str, dict[str, Floats]]],
    push: dict[str, Floats],
    checks: dict[str, bool],
    seeds: int,
    took_s: float,
) -> None:
    for name, value in facts(seed=SEEDS_FROM).items():
        print(f"{name}: {value}")
    print(f"simulated: {seeds} worlds of {SIZE}; 95 % intervals over worlds; {took_s / 60:.0f} minutes")
    for r, found in results.items():
        print(f"\ncorrelation of content and quality {r}; ε as tuned on the seeds {TUNING_SEEDS}")
        for figure in next(iter(found.values())):
            print(f"  {figure}")
            for name, each in found.items():
                values = each[figure][np.isfinite(each[figure])]
                mean, low, high = interval(values) if len(values) else (float("nan"),) * 3
                print(f"    {name:<20}{mean:>12.4g}  [{low:.4g}, {high:.4g}]")
        for figure in PAIRED:
            unit = "of the rival's" if figure in ("long views", "watched, s a session") else ""
            print(f"  ours minus the rival's: {figure} {unit}")
            for name, (mean, low, high) in gains(found, figure).items():
                print(f"    {name:<20}{mean:>+12.4f}  [{low:+.4f}, {high:+.4f}]")
    if 0.0 in results:
        for r in results:
            if r:
                print(f"\nours with content of r = {r} minus ours with r = 0, the same worlds")
                for figure in PAIRED:
                    mean, low, high = interval(results[r]["ours"][figure] - results[0.0]["ours"][figure])
                    print(f"    {figure:<24}{mean:>+12.4g}  [{low:+.4g}, {high:+.4g}]")
    if push:
        print(f"\n1 % bots with half of all events push a mediocre video in the last {ATTACK_DAYS} days")
        for name, values in push.items():
            print(f"    {name:<52}mean {values.mean():>9.4g}   largest {values.max():.4g}")
    print()
    for name, ok in checks.items():
        print(f"{'holds' if ok else 'FAILS'}: {name}")


if __name__ == "__main__":
    main()
