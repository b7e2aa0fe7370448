"""Lists that are the same for everybody: what is going on, what is proven, and what is new.

Made again every minute from the counts, since a pass over a million videos is too long for a page.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recommend.catalogue import Catalogue
from recommend.counts import FAST_S, IMPRESSION, LIKE, LONG_VIEW, NEGATIVE, SHARE, SLOW_S, Counts
from recommend.explore import NEW_S

BOARD = 200
"""Places on each list."""
KAPPA = 30.0
"""So many impressions the prior of a video counts for."""
CAUTION = 1.0
"""Proven quality is the posterior mean less so many of its standard deviations."""
NEW_IMPRESSIONS = 500.0
"""A video is new until so many screens have had it, or until `NEW_S` after its upload."""
BURST = 3.0
"""A sound or a hashtag is rising when its last hours are so many times its last weeks."""
RISING = 10
"""So many sounds and hashtags are followed."""
_TREND_FLOOR = 5.0
"""Engagements in the last hours below which nothing is a trend."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Boards:
    """Places, the best first."""

    made_s: float
    version: int
    """Of the catalogue that they were made for; the next three are as long as it."""
    quality: NDArray[np.float32]  # (n,), posterior mean share of impressions that are long views
    proven: NDArray[np.float32]  # (n,), the same less caution
    is_new: NDArray[np.bool_]  # (n,)
    average: float
    """Quality of a video of which nothing is known; of one that came after the boards were made, too."""
    servable: int
    """So many may be shown to anybody."""
    popular: NDArray[np.intp]
    by_category: Mapping[int, NDArray[np.intp]]
    trending: NDArray[np.intp]
    trending_in: Mapping[int, NDArray[np.intp]]
    """Language code -> places."""
    trending_for: Mapping[int, NDArray[np.intp]]
    """Segment -> places; only of segments that enough of what goes on is known of."""
    rising_sounds: Mapping[int, float]
    """Sound code -> how many times its usual."""
    rising_hashtags: Mapping[str, float]
    of_rising: NDArray[np.intp]
    """Videos of rising sounds and hashtags."""
    new: NDArray[np.intp]
    """Videos whose first look has not ended, the latest upload first."""

    def quality_at(self, places: NDArray[np.intp]) -> NDArray[np.float32]:
        """(m,) `quality` of these."""
        return self._at(self.quality, places)

    def proven_at(self, places: NDArray[np.intp]) -> NDArray[np.float32]:
        """(m,) `proven` of these."""
        return self._at(self.proven, places)

    def _at(self, column: NDArray[np.float32], places: NDArray[np.intp]) -> NDArray[np.float32]:
        listed = places < len(column)
        return np.where(listed, column[np.where(listed, places, 0)], np.float32(self.average)).astype(np.float32)


def boards(catalogue: Catalogue, counts: Counts, now_s: float) -> Boards:
    """Make the lists as they are at `now_s`."""
    count = len(catalogue)
    slow, fast = counts.video.all(now_s, count), counts.video_now.all(now_s, count)
    mean, deviation = posterior(catalogue, counts, slow, now_s)
    proven = mean - CAUTION * deviation
    servable = catalogue.shown & ~catalogue.flagged
    engaged = _engaged(fast)
    heat = np.where(servable & (engaged >= _TREND_FLOOR), engaged * mean, 0.0)
    is_new = servable & (catalogue.uploaded_s > now_s - NEW_S) & (slow[:, IMPRESSION] < NEW_IMPRESSIONS)
    new = np.flatnonzero(is_new)
    sounds, hashtags = _rising_sounds(counts, now_s), _rising_hashtags(catalogue, engaged, slow)
    rising = [place for sound in sounds for place in catalogue.of_sound.get(sound, ())]
    rising += [place for hashtag in hashtags for place in catalogue.of_hashtag.get(hashtag, ())]
    of_rising = np.array(sorted({place for place in rising if servable[place]}), dtype=np.intp)
    hot = np.flatnonzero(heat > 0)
    in_language = catalogue.language[hot]
    return Boards(
        made_s=now_s,
        version=catalogue.version,
        quality=mean.astype(np.float32),
        proven=proven.astype(np.float32),
        is_new=is_new,
        average=float(counts.rates(now_s)[LONG_VIEW]),
        servable=int(servable.sum()),
        popular=_best(proven, servable),
        by_category={
            code: _best(proven, servable & (catalogue.category == code)) for code in range(len(catalogue.categories))
        },
        trending=_first(hot, heat[hot]),
        trending_in={
            int(code): _first(places, heat[places])
            for code in np.unique(in_language)
            for places in (hot[in_language == code],)
        },
        trending_for=_by_segment(counts, hot, engaged[hot], mean[hot], now_s),
        rising_sounds=sounds,
        rising_hashtags=hashtags,
        of_rising=of_rising[np.argsort(-mean[of_rising], kind="stable")][:BOARD],
        new=new[np.argsort(-catalogue.uploaded_s[new], kind="stable")],
    )


def posterior(
    catalogue: Catalogue, counts: Counts, slow: NDArray[np.float64], now_s: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(n,) mean and (n,) standard deviation of each video's share of long views.

    A Beta posterior whose prior is the mean of the video's creator and category, each drawn towards what lies above it:
    a new video of a creator whose videos are watched begins where they stand.
    """
    overall = float(counts.rates(now_s)[LONG_VIEW])
    category = _shrunk(counts.category.at(catalogue.category, now_s), overall)
    creator = _shrunk(counts.creator.at(catalogue.creator, now_s), category)
    alpha = KAPPA * creator + np.maximum(slow[:, LONG_VIEW], 0)
    beta = KAPPA * (1 - creator) + np.maximum(slow[:, IMPRESSION] - slow[:, LONG_VIEW], 0)
    total = alpha + beta
    return alpha / total, np.sqrt(alpha * beta / (total**2 * (total + 1)))


def _shrunk(sums: NDArray[np.float64], towards: NDArray[np.float64] | float) -> NDArray[np.float64]:
    return np.asarray((sums[:, LONG_VIEW] + KAPPA * towards) / (sums[:, IMPRESSION] + KAPPA))


def _engaged(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,): long views, likes and shares, less what was turned down."""
    return np.asarray(np.maximum(sums[:, LONG_VIEW] + 2 * sums[:, LIKE] + 4 * sums[:, SHARE] - sums[:, NEGATIVE], 0))


def _by_segment(
    counts: Counts, hot: NDArray[np.intp], engaged: NDArray[np.float64], mean: NDArray[np.float64], now_s: float
) -> dict[int, NDArray[np.intp]]:
    """Segment -> the videos that it made hot, by the same reckoning as for everybody.

    By segment only the slow sums are kept. What a segment has to do with the last hours is told from its share of all
    long views of a video, and how much of it stays from its own share of long views, drawn to the video's.

    Args:
        hot: (h,) places; h is small beside the catalogue, which is what makes this cheap.
        engaged, mean: (h,) engagements of the last hours, and posterior means.
    """
    by_segment = np.maximum(counts.video_by_segment.at(hot, now_s), 0)
    seen, long = by_segment[:, : counts.segments], by_segment[:, counts.segments :]  # each (h, segments)
    of_segment = engaged[:, None] * long / np.maximum(long.sum(axis=1, keepdims=True), 1e-9)
    heat = of_segment * (long + KAPPA * mean[:, None]) / (seen + KAPPA)
    enough = of_segment >= _TREND_FLOOR
    return {
        int(segment): _first(hot[enough[:, segment]], heat[enough[:, segment], segment])
        for segment in np.flatnonzero(enough.any(axis=0))
    }


def _rising_sounds(counts: Counts, now_s: float) -> dict[int, float]:
    now, usual = _engaged(counts.sound_now.all(now_s)), _engaged(counts.sound.all(now_s))
    return {int(code): ratio for code, ratio in _rising(np.arange(len(now)), now, usual)}


def _rising_hashtags(catalogue: Catalogue, engaged: NDArray[np.float64], slow: NDArray[np.float64]) -> dict[str, float]:
    """Only those of videos that something is going on with are looked at."""
    active = np.flatnonzero(engaged > 0)
    names = list(dict.fromkeys(name for place in active for name in catalogue.hashtags[place]))
    usual_of = _engaged(slow)
    now = np.array([engaged[catalogue.of_hashtag[name]].sum() for name in names])
    usual = np.array([usual_of[catalogue.of_hashtag[name]].sum() for name in names])
    return {names[int(i)]: ratio for i, ratio in _rising(np.arange(len(names)), now, usual)}


def _rising(codes: NDArray[np.intp], now: NDArray[np.float64], usual: NDArray[np.float64]) -> list[tuple[int, float]]:
    """(code, times its usual) of the things that rise most. A steady rate gives sums as long as their half-lives."""
    if not len(codes):
        return []
    ratio = now / np.maximum(usual * FAST_S / SLOW_S, 1.0)
    rising = np.flatnonzero((ratio >= BURST) & (now >= _TREND_FLOOR))
    best = rising[np.argsort(-ratio[rising], kind="stable")][:RISING]
    return [(int(codes[i]), float(ratio[i])) for i in best]


def _best(scores: NDArray[np.float64], among: NDArray[np.bool_]) -> NDArray[np.intp]:
    places = np.flatnonzero(among)
    return _first(places, scores[places])


def _first(places: NDArray[np.intp], scores: NDArray[np.float64]) -> NDArray[np.intp]:
    """Those of these places that have the highest scores, one a place; of equal ones the lowest place first."""
    if len(places) > BOARD:
        some = np.argpartition(-scores, BOARD - 1)[:BOARD]
        places, scores = places[some], scores[some]
    return np.asarray(places[np.lexsort((places, -scores))], dtype=np.intp)
