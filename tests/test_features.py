"""What is known before a video is shown, and that it is known then."""

from __future__ import annotations

import time

import numpy as np
import pytest

from recommend.catalogue import Catalogue
from recommend.features import CONTEXT, FEATURE_NAMES, FEATURES, features
from recommend.memory import Memory
from recommend.pipeline import Context
from tests.known import DAY_S, START_S, LogInMemory, Record, catalogue_of, event, seen, view

NOW = Context(now_s=START_S)


def table(records: list[Record], videos: list[str], viewer: str = "ana", now: Context = NOW) -> dict[str, np.ndarray]:
    catalogue = catalogue_of(10)
    memory = Memory(LogInMemory(records), catalogue)
    memory.catch_up()
    rows = features(memory.viewer(viewer), catalogue.places_of(videos), catalogue, memory.counts, now)
    return dict(zip(FEATURE_NAMES, rows.T, strict=True))


def shown_to_others(video: str, watch_s: float, viewers: int = 200) -> list[Record]:
    records: list[Record] = []
    for n in range(viewers):
        records += [seen(f"b{n}", video, START_S - 900 + n), view(f"b{n}", video, START_S - 899 + n, watch_s)]
    return records


def test_a_stranger_and_unwatched_videos_have_finite_rows_with_the_usual_rates() -> None:
    found = table([], ["t0-1", "t3-2"])
    assert all(np.isfinite(column).all() for column in found.values())
    assert found["video_long"] == pytest.approx([0.31, 0.31])
    assert found["your_creator"] == pytest.approx(found["video_long"])
    assert not found["like_interest"].any()


def test_what_others_watch_for_long_stands_above_what_they_leave() -> None:
    found = table([*shown_to_others("t0-1", 20.0), *shown_to_others("t1-1", 1.0)], ["t0-1", "t1-1", "t2-1"])
    assert found["video_long"][0] > 0.8 > 0.4 > found["video_long"][1]
    assert found["video_negative"][1] > 0.7 > found["video_negative"][0]
    assert found["video_shown"][0] == pytest.approx(np.log1p(200), abs=0.01)
    assert found["video_shown"][2] == 0


def test_a_viewers_own_habits_and_interests_show() -> None:
    records: list[Record] = [view("ana", f"t0-{n}", START_S - 1_000 + n) for n in range(6)]
    records += [view("ana", f"t1-{n}", START_S - 500 + n, 0.5) for n in range(6)]
    found = table(records, ["t0-8", "t1-8", "t2-8"])
    assert found["your_category"][0] > found["your_category"][2] > found["your_category"][1]
    assert found["like_interest"].argmax() == 0
    assert found["skips_in_a_row"] == pytest.approx([6, 6, 6])
    assert found["your_category_shown"][2] == 0 < found["your_category_shown"][0]


def test_a_followed_creator_and_a_served_video_are_marked() -> None:
    records: list[Record] = [event("follow", "ana", None, START_S - 60, extra={"creator_id": "creator-0-1"})]
    assert table(records, ["t0-1", "t0-2"])["followed"].tolist() == [1, 0]


def test_time_and_length_are_what_they_are() -> None:
    found = table([], ["t0-1"], now=Context(now_s=START_S + DAY_S))
    assert found["duration"] == pytest.approx(np.log1p(20.0))
    assert found["age_days"] == pytest.approx(np.log1p(31.0))
    assert found["hour_sin"] ** 2 + found["hour_cos"] ** 2 == pytest.approx(1)


def test_a_row_does_not_depend_on_its_neighbours() -> None:
    records: list[Record] = [view("ana", f"t0-{n}", START_S - 1_000 + n) for n in range(6)]
    together = table(records, ["t0-8", "t1-8", "t2-8"])
    alone = table(records, ["t1-8"])
    for name in FEATURE_NAMES:
        assert together[name][1] == pytest.approx(alone[name][0], abs=1e-6), name


def test_what_happens_later_changes_no_row_that_was_made_before() -> None:
    before: list[Record] = [view("ana", f"t0-{n}", START_S - 1_000 + n) for n in range(6)]
    catalogue = catalogue_of(10)
    memory = Memory(LogInMemory([*before, *shown_to_others("t0-8", 20.0)]), catalogue)
    memory.catch_up(until=len(before))
    rows = features(memory.viewer("ana"), catalogue.places_of(["t0-8"]), catalogue, memory.counts, NOW)
    assert rows[0].tolist() == [table(before, ["t0-8"])[name][0] for name in FEATURE_NAMES]


def test_no_candidates_make_no_rows() -> None:
    assert table([], [])["duration"].shape == (0,)


def test_every_feature_has_plain_words_and_every_context_names_features() -> None:
    assert all(phrase and "_" not in phrase for phrase in FEATURES.values())
    assert {name for names in CONTEXT.values() for name in names} <= set(FEATURE_NAMES)


def test_250_candidates_take_a_few_milliseconds() -> None:
    catalogue: Catalogue = catalogue_of(40)
    records: list[Record] = [view("ana", f"t{n % 12}-{n % 40}", START_S - 9_000 + n * 60) for n in range(120)]
    memory = Memory(LogInMemory(records), catalogue)
    memory.catch_up()
    viewer, places = memory.viewer("ana"), np.arange(250, dtype=np.intp)
    took_s = []
    for _ in range(30):
        began = time.thread_time()
        features(viewer, places, catalogue, memory.counts, NOW)
        took_s.append(time.thread_time() - began)
    print(f"features of 250 candidates: {np.median(took_s) * 1e3:.2f} ms")
    assert np.median(took_s) < 0.01  # 2 ms is aimed at; a machine that others use takes longer
