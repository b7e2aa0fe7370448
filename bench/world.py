"""A world in which the truth is known: viewers with tastes, videos with a hidden quality, and what comes of a view.

    python bench/world.py                # what a world of the default size looks like, beside the log's marginals
    python bench/world.py --fit FOLDER   # prints the constants below anew (FOLDER holds KuaiRand-Pure's val.parquet)

It was written before any policy that is measured in it, and is not changed with them. Its marginals are those of
KuaiRand-Pure (Gao et al. 2022, CC BY-SA 4.0), fitted once; the columns of totals in `item_features` are left alone,
for they run over the whole month. What the log does not tell is assumed, and named so below.

A viewer u watches a video v long with the probability

    σ(BASE_LOGIT + by duration(v) + viewer_u + quality_v + taste_{u, category(v)})

and everything else follows from that and from dice that are thrown for each pair of viewer and video alone: two
policies that show the same video to the same viewer see the same. A policy may know who watched what and how, the
categories, creators, durations, and a content signal with a given correlation to quality; nothing else.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

sys.path[0] = str(Path(__file__).parent.parent)  # bench/ingest.py would hide the package ingest

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Fitted: `python bench/world.py --fit ../shared/data/open/behaviour/kuairand_pure` prints every one of these.
DURATION_S = (
    5.0, 10.6, 14.4, 18.6, 24.3, 31.5, 40.0, 50.4, 61.7, 69.2, 79.4,
    88.7, 98.8, 112.7, 126.6, 146.2, 169.3, 195.5, 237.5, 299.1, 1177.7,
)  # fmt: skip
"""Quantiles of a video's length at 0, .05, …, 1."""
LONG_BY_DURATION = (-0.064, -0.312, 0.101, 0.112, 0.066, 0.161, 0.15, 0.055, -0.038, -0.022)
"""Log-odds of a long view beside the mean, by tenth of the durations; each video counts once."""
LONG_VIEW_MEAN = 0.2589
"""Share of long views, each video counting once: what a uniform draw would find."""
VIDEO_SD, VIEWER_SD, TASTE_SD = 0.1554, 0.1357, 0.0832
"""Spread of that share over videos of one length, over viewers, and over categories within a viewer; as shares.
From pairs of views that have only this in common, so that the noise of single views is not in it."""
CREATOR_SHARE = 0.46
"""Of the variance of quality, the part that a creator's videos share."""
LIKE_LONG, LIKE_SHORT = 0.0350, 0.0092
"""Share of views with a like, after a long view and after a short one."""
FOLLOW_LONG, FOLLOW_SHORT = 0.0025, 0.0009
HATE_LONG, HATE_SHORT = 0.0005, 0.0008
SKIP_SHORT = 0.5902
"""Of the views that are not long, those under 3 s: skips."""
WATCHED_SHORT = (0.167, 0.195, 0.229, 0.27, 0.316, 0.376, 0.449, 0.545, 0.667, 0.813, 1.0)
"""Quantiles of seconds watched, as a share of what makes a view long, of views neither long nor skipped."""
WATCHED_LONG = (0.027, 0.213, 0.367, 0.565, 0.788, 0.964, 1.007, 1.032, 1.081, 1.27, 8.13)
"""Quantiles of seconds watched, as a share of the length, of long views."""
ACTIVITY_SIGMA = 0.88
"""Spread of the logarithm of a viewer's number of views (Poisson with a log-normal rate; none is not in the log)."""
POPULARITY_SIGMA = 1.30
"""The same of a video's number of views."""
VIDEOS_PER_CREATOR = 3.89
"""Exponent of the zeta law of videos per creator in the log, a thin sample of each creator's."""
FANS_LOG_MEAN, FANS_LOG_SD = 4.42, 1.78
"""Logarithm of 1 + fans of viewers who make videos (`user_features`)."""
CATEGORY_SHARES = (0.244, 0.128, 0.115, 0.106, 0.083, 0.068, 0.053, 0.048, 0.042, 0.04, 0.039, 0.034)
"""Shares of the videos of the twelve largest first tags; which of ours is which is chance."""

# Solved from those (`--fit` prints them): log-odds whose shares have the mean and the spreads above.
BASE_LOGIT = -1.499
QUALITY_SD, BIAS_SD, LIKING_SD = 1.093, 0.961, 0.572

# Assumed: the log is a thin slice of what its viewers saw, of videos that all came within three days.
SESSION_PLACES = 20.0
"""Places that a session has where every view is as good as the average."""
BOREDOM = 1.0
"""How much likelier a viewer is to leave after a short view than after a long one: e to this."""
SKIPS_BORE = 0.35
"""And for each skip in a row before it."""
VISITS_A_DAY = 0.6
"""Sessions of the median viewer."""
HISTORY_MEDIAN = 40.0
"""Views that the median old video had before the first day."""
STANDING = 0.5
"""Correlation of the logarithms of a creator's fans and videos (by rank)."""
CATEGORIES = len(CATEGORY_SHARES)
BOT_SHARE = 0.01
"""Accounts that push a video, by the number of people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How large a world is, and for how long it is looked at."""

    viewers: int = 2_000
    old_videos: int = 2_000
    days: int = 14
    new_a_day: float = 40.0
    """Mean of a Poisson number of new videos."""
    rounds: int = 12
    """Parts of a day; what happens in one is known in the next."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class World:
    """Everything that is true. V viewers, N videos, C creators; old videos come before new ones, in order of birth."""

    seed: int
    size: Size
    correlation: float
    # viewers
    bias: Floats  # (V,) log-odds
    taste: Floats  # (V, CATEGORIES) log-odds, hidden
    activity: Floats  # (V,) sessions a day
    # videos
    creator: Ints  # (N,) row of a creator
    category: Ints  # (N,) 0 .. CATEGORIES - 1
    duration_s: Floats  # (N,)
    quality: Floats  # (N,) log-odds, hidden
    signal: Floats  # (N,) content signal, standard normal; correlates with quality as `correlation` says
    birth: Ints  # (N,) day; -1: old
    # creators
    fans: Floats  # (C,)
    # what was watched before the first day, a row a view
    past_viewer: Ints
    past_video: Ints

    def __post_init__(self) -> None:
        videos = {len(a) for a in (self.creator, self.category, self.duration_s, self.quality, self.signal, self.birth)}
        if len(videos) != 1 or len({len(self.bias), len(self.taste), len(self.activity)}) != 1:
            raise ValueError(f"columns of one length wanted, got videos {videos}, viewers {self.taste.shape}")

    def logits(self, viewers: Ints, videos: Ints) -> Floats:
        """Log-odds of a long view, of pairs (or of what the two shapes make of each other)."""
        own = BASE_LOGIT + by_duration(self.duration_s[videos]) + self.quality[videos]
        return np.asarray(own + self.bias[viewers] + self.taste[viewers, self.category[videos]])

    def value(self) -> Floats:
        """(N,) the share of all viewers who would watch a video long: what a finder should find."""
        everyone = np.arange(len(self.bias))[:, None]
        blocks = np.array_split(np.arange(len(self.quality)), max(1, len(self.quality) // 200))
        return np.concatenate([expit(self.logits(everyone, block[None, :])).mean(axis=0) for block in blocks])

    def newcomers(self) -> NDArray[np.bool_]:
        """(C,) creators without any old video."""
        has_old = np.zeros(len(self.fans), dtype=np.bool_)
        has_old[self.creator[self.birth < 0]] = True
        return ~has_old

    def small(self) -> NDArray[np.bool_]:
        """(C,) creators with fewer fans than the median of those who post something new."""
        posting = np.unique(self.creator[self.birth >= 0])
        return np.asarray(self.fans < np.median(self.fans[posting]))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Reactions:
    """What came of some views, a row each."""

    long: NDArray[np.bool_]
    like: NDArray[np.bool_]
    follow: NDArray[np.bool_]
    hate: NDArray[np.bool_]
    skip: NDArray[np.bool_]
    watched_s: Floats


def by_duration(duration_s: Floats) -> Floats:
    """Log-odds of a long view beside the mean that come of a video's length."""
    tenth = np.searchsorted(np.asarray(DURATION_S)[2:-1:2], duration_s, side="right")
    return np.asarray(LONG_BY_DURATION)[tenth]


def make(seed: int, *, correlation: float = 0.2, size: Size | None = None) -> World:
    """Draw a world. The same seed gives the same world; `correlation` changes its `signal` and nothing else.

    Args:
        seed: any whole number.
        correlation: of the content signal with hidden quality, 0 .. 1.
    """
    size = size or Size()
    rng = np.random.default_rng([seed, 1])
    births = np.repeat(np.arange(size.days), rng.poisson(size.new_a_day, size.days))
    birth = np.r_[np.full(size.old_videos, -1), births]
    n = len(birth)
    creator, fans = _creators(n, rng)
    made_by = rng.normal(size=len(fans))
    quality = QUALITY_SD * (np.sqrt(CREATOR_SHARE) * made_by[creator] + np.sqrt(1 - CREATOR_SHARE) * rng.normal(size=n))
    noise = rng.normal(size=n)
    activity = VISITS_A_DAY * np.exp(ACTIVITY_SIGMA * rng.normal(size=size.viewers))
    past_viewer, past_video = _past(size.old_videos, activity, rng)
    return World(
        seed=seed,
        size=size,
        correlation=correlation,
        bias=BIAS_SD * rng.normal(size=size.viewers),
        taste=LIKING_SD * rng.normal(size=(size.viewers, CATEGORIES)),
        activity=activity,
        creator=creator,
        category=rng.choice(CATEGORIES, n, p=CATEGORY_SHARES),
        duration_s=np.interp(rng.random(n), np.linspace(0, 1, len(DURATION_S)), DURATION_S),
        quality=quality,
        signal=correlation * quality / QUALITY_SD + np.sqrt(1 - correlation**2) * noise,
        birth=birth,
        fans=fans,
        past_viewer=past_viewer,
        past_video=past_video,
    )


def _creators(videos: int, rng: np.random.Generator) -> tuple[Ints, Floats]:
    """(videos,) whose each is, in any order, and (creators,) their fans."""
    counts = rng.zipf(VIDEOS_PER_CREATOR, videos)
    counts = counts[: int(np.searchsorted(np.cumsum(counts), videos)) + 1]
    rank = STANDING * np.argsort(np.argsort(counts + 0.5 * rng.random(len(counts)))) / max(1, len(counts) - 1)
    standing = rank + np.sqrt(1 - STANDING**2) * rng.random(len(counts))
    fans = np.expm1(np.maximum(0, FANS_LOG_MEAN + FANS_LOG_SD * rng.normal(size=len(counts))))
    ordered = np.empty(len(counts))
    ordered[np.argsort(standing)] = np.sort(fans)
    whose = np.repeat(np.arange(len(counts)), counts)[:videos]
    return rng.permutation(whose), ordered


def _past(old_videos: int, activity: Floats, rng: np.random.Generator) -> tuple[Ints, Ints]:
    """Views before the first day: (rows,) viewers and (rows,) videos, no pair twice."""
    counts = rng.poisson(HISTORY_MEDIAN * np.exp(POPULARITY_SIGMA * rng.normal(size=old_videos)))
    video = np.repeat(np.arange(old_videos), np.minimum(counts, len(activity) // 4))
    viewer = rng.choice(len(activity), len(video), p=activity / activity.sum())
    pairs = np.unique(viewer * old_videos + video)
    return pairs // old_videos, pairs % old_videos


def dice(seed: int, what: int, *keys: NDArray[np.integer]) -> Floats:
    """Uniform draws in [0, 1) that depend on `seed`, `what` and the keys alone, whoever asks and in which order.

    Source: the finaliser of SplitMix64 (Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators").
    """
    state = np.asarray(np.uint64(seed & 0xFFFFFFFF) * np.uint64(1_000_003) + np.uint64(what))
    with np.errstate(over="ignore"):
        for key in keys:
            state = (state ^ np.asarray(key).astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
            state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
            state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
            state = state ^ (state >> np.uint64(31))
    return np.asarray((state >> np.uint64(11)) / 2.0**53)


def react(world: World, viewers: Ints, videos: Ints) -> Reactions:
    """What comes of views, a row each: always the same for the same viewer and video of a world."""
    thrown = [dice(world.seed, what, viewers, videos) for what in range(6)]
    duration_s = world.duration_s[videos]
    enough_s = np.minimum(duration_s, 18.0)  # Kuaishou's long view
    long = thrown[0] < expit(world.logits(viewers, videos))
    skip = ~long & (thrown[1] < SKIP_SHORT)
    at = np.linspace(0, 1, 11)
    long_s = np.maximum(enough_s, duration_s * np.interp(thrown[5], at, WATCHED_LONG))
    short_s = np.maximum(np.minimum(3.0, 0.9 * enough_s), enough_s * np.interp(thrown[5], at, WATCHED_SHORT))
    return Reactions(
        long=long,
        like=thrown[2] < np.where(long, LIKE_LONG, LIKE_SHORT),
        follow=thrown[3] < np.where(long, FOLLOW_LONG, FOLLOW_SHORT),
        hate=thrown[4] < np.where(long, HATE_LONG, HATE_SHORT),
        skip=skip,
        watched_s=np.where(long, long_s, np.where(skip, np.minimum(2.9 * thrown[5], enough_s), short_s)),
    )


def leaves(
    world: World, viewers: Ints, visit: Ints, place: Ints, long: NDArray[np.bool_], skips: Ints
) -> NDArray[np.bool_]:
    """(rows,) true where a session ends after this view: sooner after a short one, and after skips in a row.

    Args:
        visit: number of the visit in the whole time (`visits`).
        place: of the view in the session, 0 first.
        skips: in a row, this one included.
    """
    mean = LONG_VIEW_MEAN + (1 - LONG_VIEW_MEAN) * np.exp(BOREDOM)
    hazard = np.exp(np.where(long, 0.0, BOREDOM) + SKIPS_BORE * np.maximum(0, skips - 1)) / mean / SESSION_PLACES
    return np.asarray(dice(world.seed, 7, viewers, visit, place) < hazard)


def visits(world: World, day: int) -> list[Ints]:
    """Who comes in each of the day's rounds: (viewers,) rows of viewers, none twice in one round."""
    rng = np.random.default_rng([world.seed, 2, day])
    coming = np.minimum(rng.poisson(world.activity), world.size.rounds)
    starts = rng.random((len(coming), world.size.rounds)).argsort(axis=1) < coming[:, None]
    return [np.flatnonzero(starts[:, i]) for i in range(world.size.rounds)]


def bot_views(
    world: World, target: int, shown: Ints, count: int, rng: np.random.Generator
) -> tuple[Ints, Ints, NDArray[np.bool_]]:
    """What accounts that push a video do, in any round that they come: as many views as all people make together.

    They are accounts beside the people (numbers from V on), a hundredth as many. Half of their views are of the target,
    again and again, each long and liked; the rest are of whatever else is shown, skipped to push it down. Every one
    claims a place that was served, which is the worst that a ledger of served places could let through.

    Args:
        shown: the videos that there are.
        count: how many views.

    Returns:
        (count,) accounts, (count,) videos, (count,) whether long and liked; in the order in which they come.
    """
    bots = len(world.bias) + np.arange(max(1, round(BOT_SHARE * len(world.bias))))
    videos = np.where(np.arange(count) // len(bots) % 2 == 0, target, rng.choice(shown, count))
    return np.resize(bots, count), videos, videos == target


def _fit(folder: Path) -> None:
    import pyarrow.parquet as pq
    from scipy.optimize import least_squares, minimize, minimize_scalar
    from scipy.stats import poisson

    names = ["user_id", "video_id", "author_id", "tag", "long_view", "is_like", "is_hate", "is_follow"]
    names += ["play_time_ms", "duration_ms"]
    table = pq.read_table(folder / "val.parquet", columns=names)
    log = {name: table[name].to_numpy(zero_copy_only=False) for name in names}
    long, duration_s, watched_s = log["long_view"] == 1, log["duration_ms"] / 1e3, log["play_time_ms"] / 1e3
    _, first, video = np.unique(log["video_id"], return_index=True, return_inverse=True)
    views = np.bincount(video)
    share = np.bincount(video, long) / views
    lengths_s = duration_s[first]
    quantiles = np.quantile(lengths_s[lengths_s > 0], np.linspace(0, 1, 21))
    tenth = np.searchsorted(quantiles[2:-1:2], lengths_s, side="right")
    by_tenth = np.array([share[(tenth == i) & (lengths_s > 0)].mean() for i in range(10)])  # 0: not known
    mean = share.mean()
    print("DURATION_S =", tuple(np.round(quantiles, 1).tolist()))
    print("LONG_BY_DURATION =", tuple(np.round(logit(by_tenth) - logit(mean), 3).tolist()))
    print("LONG_VIEW_MEAN =", round(float(mean), 4))

    left = long - by_tenth[tenth][video]
    video_sd = np.sqrt(_in_common(video, left))
    others = (np.bincount(video, long)[video] - long + 10 * long.mean()) / (views[video] - 1 + 10)
    tag = np.unique([text.split(",")[0] for text in log["tag"]], return_inverse=True)[1]
    _, viewer = np.unique(log["user_id"], return_inverse=True)
    back = np.unique(viewer * 1000 + tag, return_inverse=True)[1]
    apart = _of_pairs(viewer, long - others, back)
    together = _of_pairs(back, long - others, None)
    print(f"VIDEO_SD, VIEWER_SD, TASTE_SD = {video_sd:.4f}, {np.sqrt(apart):.4f}, {np.sqrt(together - apart):.4f}")
    author = log["author_id"][first]
    known = views >= 3
    print("CREATOR_SHARE =", round(float(_in_common(author[known], (share - by_tenth[tenth])[known]) / video_sd**2), 2))
    for name, column in (("LIKE", "is_like"), ("FOLLOW", "is_follow"), ("HATE", "is_hate")):
        print(f"{name}_LONG, {name}_SHORT = {log[column][long].mean():.4f}, {log[column][~long].mean():.4f}")
    skip = ~long & (watched_s < np.minimum(3, duration_s))
    print("SKIP_SHORT =", round(float(skip.sum() / (~long).sum()), 4))
    rest = ~long & ~skip & (duration_s > 0)
    tenths = np.linspace(0, 1, 11)
    part = np.quantile(watched_s[rest] / np.minimum(duration_s[rest], 18), tenths)
    print("WATCHED_SHORT =", tuple(np.round(part, 3).tolist()))
    ok = long & (duration_s > 0)
    part = np.quantile(watched_s[ok] / duration_s[ok], [*tenths[:-1], 0.999])
    print("WATCHED_LONG =", tuple(np.round(part, 3).tolist()))

    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    weights = weights / weights.sum()

    def unlikely(at: Floats, counts: Ints) -> float:  # zero-truncated Poisson with a log-normal rate
        seen, times = np.unique(counts, return_counts=True)
        rates = np.exp(at[0] + np.exp(at[1]) * nodes)
        chance = poisson.pmf(seen[:, None], rates) @ weights / (1 - np.exp(-rates) @ weights)
        return float(-(times * np.log(chance + 1e-300)).sum())

    for name, counts in (("ACTIVITY_SIGMA", np.bincount(viewer)), ("POPULARITY_SIGMA", views)):
        best = minimize(unlikely, np.zeros(2), args=(counts,), method="Nelder-Mead").x
        print(f"{name} = {np.exp(best[1]):.2f}")
    per_creator = np.unique(author, return_counts=True)[1]
    from scipy.special import zeta

    exponent = minimize_scalar(
        lambda a: a * np.log(per_creator).sum() + len(per_creator) * np.log(zeta(a)), bounds=(1.5, 8), method="bounded"
    ).x
    print(f"VIDEOS_PER_CREATOR = {exponent:.2f}")
    makers = pq.read_table(folder / "user_features.parquet", columns=["fans_user_num", "is_video_author"])
    fans = makers["fans_user_num"].to_numpy()[makers["is_video_author"].to_numpy() == 1]
    print(f"FANS_LOG_MEAN, FANS_LOG_SD = {np.log1p(fans).mean():.2f}, {np.log1p(fans).std():.2f}")
    largest = np.sort(np.bincount(tag[first]))[::-1][:12]
    shares = np.round(largest / largest.sum(), 3)
    shares[0] += 1 - shares.sum()
    print("CATEGORY_SHARES =", tuple(np.round(shares, 3).tolist()))

    duration_var = float(np.var(logit(by_tenth)))
    wanted = np.array([mean, video_sd**2, apart, together - apart])

    def moments(at: Floats) -> Floats:
        base, (quality, bias, liking) = at[0], np.exp(2 * at[1:])
        every = duration_var + quality + bias + liking

        def shared(part: float) -> Floats:  # mean over all but one part, at the nodes of that part
            inner = np.sqrt(every - part) * nodes
            return np.asarray(expit(base + np.sqrt(part) * nodes[:, None] + inner[None, :]) @ weights)

        overall = float(weights @ shared(quality))
        variance = [float(weights @ shared(part) ** 2) - overall**2 for part in (quality, bias, bias + liking)]
        return np.array([overall, variance[0], variance[1], variance[2] - variance[1]])

    solved = least_squares(lambda at: (moments(at) - wanted) / wanted, np.array([-1.2, 0.0, -0.2, -0.5])).x
    print(f"BASE_LOGIT = {solved[0]:.3f}")
    print("QUALITY_SD, BIAS_SD, LIKING_SD = {:.3f}, {:.3f}, {:.3f}".format(*np.exp(solved[1:])))


def _in_common(unit: NDArray[np.integer], values: Floats) -> float:
    """Variance between units of two rows or more, each counting once; from pairs, so that no noise of rows is in it."""
    _, unit = np.unique(unit, return_inverse=True)
    count, total, squares = np.bincount(unit), np.bincount(unit, values), np.bincount(unit, values**2)
    many = count >= 2
    pairs = (total**2 - squares)[many] / (count * (count - 1.0))[many]
    return float(pairs.mean() - (total / count)[many].mean() ** 2)


def _of_pairs(unit: Ints, values: Floats, part: Ints | None) -> float:
    """Mean product of two rows of a unit (of two different parts of it, where there are parts), every pair alike."""
    count, total = np.bincount(unit).astype(float), np.bincount(unit, values)
    if part is None:
        return float((total**2 - np.bincount(unit, values**2)).sum() / (count * (count - 1)).sum())
    held = np.zeros(part.max() + 1, dtype=np.int64)
    held[part] = unit
    in_part, of_part = np.bincount(part, values), np.bincount(part).astype(float)
    products = total**2 - np.bincount(held, in_part**2, minlength=len(total))
    return float(products.sum() / (count**2 - np.bincount(held, of_part**2, minlength=len(total))).sum())


def marginals(world: World, *, views: int = 200_000) -> dict[str, float]:
    """What a uniform draw of viewers and videos finds in a world; compare with the constants of the same names."""
    rng = np.random.default_rng([world.seed, 3])
    viewers = rng.integers(len(world.bias), size=views)
    videos = rng.integers(len(world.quality), size=views)
    seen = react(world, viewers, videos)
    left = seen.long - expit(logit(LONG_VIEW_MEAN) + by_duration(world.duration_s[videos]))
    return {
        "LONG_VIEW_MEAN": float(seen.long.mean()),
        "VIDEO_SD": float(np.sqrt(_in_common(videos, left))),
        "VIEWER_SD": float(np.sqrt(_in_common(viewers, seen.long.astype(float)))),
        "LIKE_LONG": float(seen.like[seen.long].mean()),
        "LIKE_SHORT": float(seen.like[~seen.long].mean()),
        "SKIP_SHORT": float(seen.skip[~seen.long].mean()),
        "median DURATION_S": float(np.median(world.duration_s)),
        "ACTIVITY_SIGMA": float(np.log(world.activity).std()),
        "median fans": float(np.median(world.fans)),
        "correlation": float(np.corrcoef(world.signal, world.quality)[0, 1]),
        "median seconds watched": float(np.median(seen.watched_s)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fit", type=Path, metavar="FOLDER")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    if asked.fit:
        _fit(asked.fit)
        return
    world = make(asked.seed)
    print(f"simulated: {len(world.bias):,} viewers, {len(world.quality):,} videos, {len(world.fans):,} creators\n")
    constants = {name: value for name, value in globals().items() if isinstance(value, float)}
    constants |= {"median DURATION_S": DURATION_S[10], "median fans": float(np.expm1(FANS_LOG_MEAN))}
    constants |= {"correlation": world.correlation}
    print(f"{'':<24}{'simulated':>12}{'wanted':>12}")
    for name, value in marginals(world).items():
        wanted = f"{constants[name]:.4g}" if name in constants else "-"
        print(f"{name:<24}{value:>12.4g}{wanted:>12}")


if __name__ == "__main__":
    main()
