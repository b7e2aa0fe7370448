"""What is going on: of a segment where enough is known of it, of a language, and of everybody, in turns."""

from __future__ import annotations

import numpy as np

from recommend.boards import Boards, boards
from recommend.counts import FAST_S, IMPRESSION, LONG_VIEW, Counts
from recommend.sources import QUOTAS, Asked, gather
from recommend.state import Affinity, Viewer
from tests.known import START_S, catalogue_of

CATALOGUE = catalogue_of(2)
NOBODY = 12
"""The segment of those of whom too little is known."""


def watched(views: dict[str, dict[int, int]]) -> Counts:
    """Video -> segment -> so many of it watched it for long, all at `START_S`."""
    counts = Counts(len(CATALOGUE.categories) + 1)
    for video, by_segment in views.items():
        place = CATALOGUE.place_of(video)
        for segment, viewers in by_segment.items():
            for signal in (IMPRESSION, LONG_VIEW):
                counts.add(
                    signal,
                    START_S,
                    place=place,
                    creator=int(CATALOGUE.creator[place]),
                    sound=int(CATALOGUE.sound[place]),
                    category=int(CATALOGUE.category[place]),
                    segment=segment,
                    weight=viewers,
                )
    return counts


def lists(views: dict[str, dict[int, int]], now_s: float = START_S) -> Boards:
    return boards(CATALOGUE, watched(views), now_s)


def names(places: np.ndarray) -> list[str]:
    return [CATALOGUE.video_ids[place] for place in places.tolist()]


def test_each_segment_has_what_it_watches_itself() -> None:
    found = lists({"t0-0": {0: 30, 1: 6}, "t1-0": {1: 20}, "t2-0": {0: 8, 2: 1}})
    assert names(found.trending) == ["t0-0", "t1-0", "t2-0"]
    assert {segment: names(places) for segment, places in found.trending_for.items()} == {
        0: ["t0-0", "t2-0"],
        1: ["t1-0", "t0-0"],
    }


def test_four_viewers_of_a_segment_are_no_trend_of_it() -> None:
    found = lists({"t0-0": {0: 4, 1: 4}})
    assert names(found.trending) == ["t0-0"]
    assert found.trending_for == {}


def test_a_segments_trend_fades_within_hours() -> None:
    views = {"t0-0": {0: 12}}
    assert names(lists(views, START_S + FAST_S).trending_for[0]) == ["t0-0"]  # 6 are left of 12
    assert lists(views, START_S + 2 * FAST_S).trending_for == {}


def test_a_segment_that_leaves_a_video_at_once_has_it_behind_one_that_it_watches() -> None:
    """Both are watched for long by ten of segment 0, and one of them was shown to ninety more of it."""
    counts = watched({"t0-0": {0: 10}, "t1-0": {0: 10, 1: 1}})
    counts.video_by_segment.add(CATALOGUE.place_of("t0-0"), 0, START_S, 90.0)
    assert names(boards(CATALOGUE, counts, START_S).trending_for[0]) == ["t1-0", "t0-0"]


def trending(viewer: Viewer, made: Boards, language: int = -1) -> list[str]:
    asked = Asked(
        viewer=viewer,
        catalogue=CATALOGUE,
        boards=made,
        now_s=START_S,
        rng=np.random.default_rng(1),
        language=language,
    )
    return names(gather(asked, {"trending": QUOTAS["trending"]}).places)


def test_trends_come_from_segment_and_everybody_in_turns() -> None:
    made = lists({"t0-0": {0: 50}, "t0-1": {0: 40}, "t1-0": {1: 20}, "t1-1": {1: 10}})
    viewer = Viewer("ana", CATALOGUE.dim, len(CATALOGUE.categories))
    assert viewer.segment == NOBODY
    assert trending(viewer, made) == ["t0-0", "t0-1", "t1-0", "t1-1"]
    viewer.by_category[1] = Affinity(liked=5.0, time_s=START_S)
    assert trending(viewer, made) == ["t1-0", "t0-0", "t1-1", "t0-1"]
