"""What a ranker knows of a viewer and a video before it is shown: one row of numbers a candidate.

The same function makes the rows that heads are trained on and those that they score: training replays the log and
asks it in the state before each impression, so a feature cannot know what came after. It reads the viewer, the counts
and the catalogue as they are at that moment, and nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from recommend.catalogue import Catalogue
from recommend.counts import COMPLETE, FOLLOW, IMPRESSION, LIKE, LONG_VIEW, NEGATIVE, SHARE, Counts
from recommend.state import Affinity, Viewer

KAPPA = 30.0
"""So many impressions the rates of creator and category count for in the rate of a video."""
HABIT = 3.0
"""So many videos of a creator the usual rate counts for in a viewer's own."""
DAY_S = 86_400.0

FEATURES: Mapping[str, str] = {
    "video_long": "others watch it for long",
    "video_complete": "others watch it to the end",
    "video_like": "others like it",
    "video_share": "others share it",
    "video_follow": "others follow its creator from it",
    "video_negative": "others leave it at once",
    "video_shown": "how often it was shown",
    "video_rising": "it is shown much more than some days ago",
    "segment_long": "viewers with interests like yours watch it for long",
    "creator_long": "others watch this creator for long",
    "creator_negative": "others leave this creator at once",
    "category_long": "others watch this category for long",
    "sound_long": "others watch videos with this sound for long",
    "sound_shown": "how often its sound was shown",
    "your_creator": "you often watch this creator to the end",
    "your_creator_shown": "how often you were shown this creator",
    "your_sound": "you often watch videos with this sound to the end",
    "your_category": "you often watch this category to the end",
    "your_category_shown": "how often you were shown this category",
    "followed": "you follow this creator",
    "like_now": "it is like what you watched in the last hours",
    "like_interest": "it is like one of your interests",
    "like_main_interest": "it is like your main interest",
    "like_last": "it is like the last video that you liked",
    "served_before": "it was on a page of yours before",
    "your_long": "how often you watch anything for long",
    "your_negative": "how often you leave anything at once",
    "your_watches": "how much is known of you",
    "session_place": "how many videos you saw in this session",
    "session_minutes": "how long this session has lasted",
    "skips_in_a_row": "you skipped the last videos",
    "hours_away": "how long you were away",
    "duration": "its length",
    "age_days": "how new it is",
    "hour_sin": "the time of day",
    "hour_cos": "the time of day",
    "category_confidence": "how clear its category is",
    "category": "its category",
}
"""Feature -> what it says, to a viewer."""
FEATURE_NAMES = tuple(FEATURES)
_AT = {name: i for i, name in enumerate(FEATURE_NAMES)}
CONTEXT: Mapping[str, tuple[str, ...]] = {
    "hour": ("hour_sin", "hour_cos"),
    "place in the session": ("session_place", "session_minutes", "skips_in_a_row", "hours_away"),
    "duration": ("duration",),
    "age": ("age_days",),
}
"""Context -> its features, for ablations."""


class Moment(Protocol):
    """What is needed of a context: when the page is asked for, and of which session."""

    @property
    def now_s(self) -> float: ...
    @property
    def session_id(self) -> str: ...


def features(
    viewer: Viewer, places: NDArray[np.intp], catalogue: Catalogue, counts: Counts, context: Moment
) -> NDArray[np.float32]:
    """Tell what is known of some candidates for a viewer at `context.now_s`.

    Args:
        places: (m,), known places.

    Returns:
        (m, F) in the order of `FEATURE_NAMES`, finite. A row does not depend on the others.
    """
    now_s, viewer = context.now_s, viewer.in_session(context.session_id, context.now_s)
    found = np.zeros((len(places), len(FEATURE_NAMES)), np.float32)
    if not len(places):
        return found
    for part in (_of_video, _of_affinity, _of_likeness, _of_moment):
        for name, values in part(viewer, places, catalogue, counts, now_s).items():
            found[:, _AT[name]] = values
    return found


class Rates(NamedTuple):
    """Shares of impressions that had each signal, each level drawn to the one above it."""

    usual: NDArray[np.float64]  # (signals,)
    category: NDArray[np.float64]  # (m, signals)
    creator: NDArray[np.float64]
    video: NDArray[np.float64]


def rates_of(places: NDArray[np.intp], catalogue: Catalogue, counts: Counts, now_s: float) -> Rates:
    """What others made of some videos: of their categories, their creators, themselves."""
    usual = counts.rates(now_s)
    category = _drawn(counts.category.at(catalogue.category[places], now_s), usual)
    creator = _drawn(counts.creator.at(catalogue.creator[places], now_s), category)
    return Rates(usual, category, creator, _drawn(counts.video.at(places, now_s), creator))


def _drawn(sums: NDArray[np.float64], prior: NDArray[np.float64]) -> NDArray[np.float64]:
    sums = np.maximum(sums, 0)
    return np.asarray((sums + KAPPA * prior) / (sums[:, [IMPRESSION]] + KAPPA))


def _of_video(
    viewer: Viewer, places: NDArray[np.intp], catalogue: Catalogue, counts: Counts, now_s: float
) -> dict[str, Any]:
    """What others made of it, of its creator and of its sound."""
    rates = rates_of(places, catalogue, counts, now_s)
    shown = np.maximum(counts.video.at(places, now_s)[:, IMPRESSION], 0)
    shown_now = np.maximum(counts.video_now.at(places, now_s)[:, IMPRESSION], 0)
    sound = np.maximum(counts.sound.at(catalogue.sound[places], now_s), 0)
    segment = viewer.segment_at(now_s)
    by_segment = np.maximum(counts.video_by_segment.at(places, now_s), 0)
    seen, long = by_segment[:, segment], by_segment[:, segment + counts.segments]
    return {
        "video_long": rates.video[:, LONG_VIEW],
        "video_complete": rates.video[:, COMPLETE],
        "video_like": rates.video[:, LIKE],
        "video_share": rates.video[:, SHARE],
        "video_follow": rates.video[:, FOLLOW],
        "video_negative": rates.video[:, NEGATIVE],
        "video_shown": np.log1p(shown),
        "video_rising": np.log1p(shown_now) - np.log1p(shown),
        "segment_long": (long + KAPPA * rates.video[:, LONG_VIEW]) / (seen + KAPPA),
        "creator_long": rates.creator[:, LONG_VIEW],
        "creator_negative": rates.creator[:, NEGATIVE],
        "category_long": rates.category[:, LONG_VIEW],
        "sound_long": (sound[:, LONG_VIEW] + KAPPA * rates.usual[LONG_VIEW]) / (sound[:, IMPRESSION] + KAPPA),
        "sound_shown": np.log1p(sound[:, IMPRESSION]),
    }


def _of_affinity(
    viewer: Viewer, places: NDArray[np.intp], catalogue: Catalogue, counts: Counts, now_s: float
) -> dict[str, Any]:
    """What this viewer made of its creator, sound and category."""
    usual = float(counts.rates(now_s)[LONG_VIEW])
    creators = catalogue.creator[places]
    creator, creator_shown = _habits(viewer.creators, creators, usual, now_s)
    sound, _ = _habits(viewer.sounds, catalogue.sound[places], usual, now_s)
    category, category_shown = _habits(viewer.by_category, catalogue.category[places], usual, now_s)
    follows = catalogue.codes["creator"].find_all(viewer.follows)
    return {
        "your_creator": creator,
        "your_creator_shown": np.log1p(creator_shown),
        "your_sound": sound,
        "your_category": category,
        "your_category_shown": np.log1p(category_shown),
        "followed": np.isin(creators, follows),
    }


def _habits(
    kept: Mapping[int, Affinity], codes: NDArray[np.int32], usual: float, now_s: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(m,) his own share of liking among what he was shown of each code, drawn to the usual; (m,) how much that was."""
    listed, found = codes.tolist(), {}
    for code in kept.keys() & listed:
        liked, disliked, shown = kept[code].faded(now_s)
        found[code] = (liked - disliked + HABIT * usual) / (shown + HABIT), shown
    told = np.array([found.get(code, (usual, 0.0)) for code in listed]).reshape(-1, 2)
    return told[:, 0], told[:, 1]


def _of_likeness(
    viewer: Viewer, places: NDArray[np.intp], catalogue: Catalogue, counts: Counts, now_s: float
) -> dict[str, Any]:
    """How like what he watches it is; cosines, 0 where he has watched nothing."""
    vectors = catalogue.vectors[places]
    length = float(np.linalg.norm(viewer.short))
    liked = next((one for one in reversed(viewer.recent) if one.strength > 0), None)
    found: dict[str, Any] = {
        "like_now": vectors @ viewer.short / max(length, 1.0),  # below 1 there was too little to go by
        "like_last": vectors @ catalogue.vectors[liked.place] if liked is not None else 0.0,
    }
    if len(viewer.weights):
        likeness = vectors @ viewer.centroids.T
        found["like_interest"] = likeness.max(axis=1)
        found["like_main_interest"] = likeness[:, viewer.interest_order(now_s)[0]]
    return found


def _of_moment(
    viewer: Viewer, places: NDArray[np.intp], catalogue: Catalogue, counts: Counts, now_s: float
) -> dict[str, Any]:
    """The viewer himself, his session, and the video's length and age."""
    totals, usual = np.maximum(viewer.totals, 0), counts.rates(now_s)
    # What he makes of anything at all moves every candidate alike; it is there to be crossed with the others.
    own = (totals + HABIT * usual) / (totals[IMPRESSION] + HABIT)
    hour = 2 * np.pi * (now_s % DAY_S) / DAY_S
    return {
        "your_long": own[LONG_VIEW],
        "your_negative": own[NEGATIVE],
        "your_watches": np.log1p(totals[IMPRESSION]),
        "session_place": np.log1p(viewer.session_place),
        "session_minutes": np.log1p(max(now_s - viewer.session_start_s, 0.0) / 60) if viewer.session_start_s else 0.0,
        "skips_in_a_row": min(viewer.skips_in_a_row, 20),
        "hours_away": np.log1p(max(now_s - viewer.last_s, 0.0) / 3_600) if viewer.last_s else 0.0,
        "served_before": [place in viewer.served for place in places.tolist()],
        "duration": np.log1p(catalogue.duration_s[places]),
        "age_days": np.log1p(np.maximum(now_s - catalogue.uploaded_s[places], 0) / DAY_S),
        "hour_sin": np.sin(hour),
        "hour_cos": np.cos(hour),
        "category_confidence": catalogue.category_confidence[places],
        "category": catalogue.category[places],
    }
