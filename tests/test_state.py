"""What is known of viewers and videos is a fold of the log: the same after replay, and quick to follow a change."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save as save_tensors

from index.records import Event
from recommend.boards import boards
from recommend.counts import FAST_S, IMPRESSION, LIKE, LONG_VIEW, Counts, Fading
from recommend.memory import Memory
from recommend.sources import Asked, gather
from recommend.state import OtherFold, Viewer
from tests.known import DAY_S, START_S, LogInMemory, Record, catalogue_of, centres, event, seen, served, view

CATALOGUE = catalogue_of(40)


def fold(records: list[Record], viewer: str = "ana") -> Viewer:
    memory = Memory(LogInMemory(records), CATALOGUE)
    memory.catch_up()
    return memory.viewer(viewer)


# Counts --------------------------------------------------------------------------------------------------------------


def test_a_sum_halves_in_its_half_life() -> None:
    table = Fading(1, 3_600.0)
    table.add(0, 0, START_S)
    table.add(0, 0, START_S + 3_600)
    assert table.at(np.array([0]), START_S + 3_600)[0, 0] == 1.5
    assert table.at(np.array([0]), START_S + 7_200)[0, 0] == 0.75
    assert table.at(np.array([-1, 5]), START_S).tolist() == [[0.0], [0.0]]


def test_a_late_event_counts_as_if_it_had_come_in_time() -> None:
    late, timely = Fading(1, 3_600.0), Fading(1, 3_600.0)
    for table, times in ((late, (7_200, 0)), (timely, (0, 7_200))):
        table.landmark_s = START_S
        for time_s in times:
            table.add(0, 0, START_S + time_s)
    assert late.at(np.array([0]), START_S + 7_200) == timely.at(np.array([0]), START_S + 7_200) == 1.25


def test_ten_years_of_hours_do_not_overflow() -> None:
    table = Fading(1, FAST_S)
    for day in range(0, 3_650, 10):
        table.add(0, 0, START_S + day * DAY_S)
    newest = table.at(np.array([0]), START_S + 3_640 * DAY_S)[0, 0]
    assert newest == pytest.approx(1 + 2.0**-40)


def test_years_between_two_events_and_clocks_of_1970_harm_nothing() -> None:
    table = Fading(1, FAST_S)
    for time_s in (START_S, START_S + 1_500 * DAY_S, 1.0, START_S + 1_500 * DAY_S):
        table.add(0, 0, time_s)
    assert table.at(np.array([0]), START_S + 1_500 * DAY_S)[0, 0] == 2.0
    assert np.isfinite(table.at(np.array([0]), 1.0)).all()
    records: list[Record] = [view("ana", f"t0-{n}", START_S + n * 400 * DAY_S) for n in range(5)]
    records += [view("bo", "t0-1", 1.0 + n) for n in range(300)]
    memory = Memory(LogInMemory(records), CATALOGUE)
    assert memory.catch_up() == 305
    assert np.isfinite(memory.counts.video.all(START_S + 1_600 * DAY_S)).all()


@pytest.mark.parametrize(
    ("kind", "extra"),
    [
        ("follow", {"creator_id": ["a", "list"]}),
        ("block", {"creator_id": 7}),
        ("dial", {"action": "explore", "target": 10**400}),
        ("dial", {"action": "more", "target": {"a": 1}}),
        ("dial", {"action": ["less"], "target": None}),
    ],
)
def test_whatever_stands_in_an_event_the_fold_goes_on(kind: str, extra: dict[str, object]) -> None:
    viewer = fold([event(kind, "ana", None, START_S, extra=extra), view("ana", "t0-0", START_S + 1)])
    assert viewer.records == 2
    assert (viewer.follows, viewer.blocked, viewer.dials.explore, viewer.dials.wanted) == ({}, {}, None, {})


def test_what_comes_late_from_an_earlier_session_does_not_begin_one() -> None:
    records: list[Record] = [
        view("ana", "t0-0", START_S, session_id="a"),
        view("ana", "t0-1", START_S + 5_000, session_id="b"),
        view("ana", "t0-2", START_S + 60, session_id="a"),
    ]
    assert fold(records).session_id == "b"


def test_one_account_counts_once_whatever_it_does() -> None:
    records: list[Record] = [seen("bot", "t0-0", START_S)]
    records += [view("bot", "t0-0", START_S + n) for n in range(1, 200)]
    records += [event("like", "bot", "t0-0", START_S + n) for n in range(200, 300)]
    memory = Memory(LogInMemory(records), CATALOGUE)
    memory.catch_up()
    counted = memory.counts.video.at(CATALOGUE.places_of(["t0-0"]), START_S)[0]
    assert counted[[IMPRESSION, LONG_VIEW, LIKE]] == pytest.approx(1, rel=1e-3)


def test_what_was_looked_up_and_not_put_before_somebody_counts_nothing() -> None:
    memory = Memory(LogInMemory([view("bot", "t0-0", START_S, surface="profile")]), CATALOGUE)
    memory.catch_up()
    assert not memory.counts.video.all(START_S).any()


def test_a_like_taken_back_is_as_if_it_had_not_been() -> None:
    liked: list[Record] = [seen("ana", "t0-0", START_S), event("like", "ana", "t0-0", START_S + 5)]
    memory = Memory(LogInMemory([*liked, event("unlike", "ana", "t0-0", START_S + 9 * DAY_S)]), CATALOGUE)
    memory.catch_up()
    assert memory.counts.video.at(np.array([0]), START_S)[0, LIKE] == 0


def test_a_like_taken_back_takes_what_it_counted_for(tmp_path: Path) -> None:
    """Liked at rest and taken back in a rush of 1,500 records in a day, and the other way round, twenty days later."""
    rush: list[Record] = [event("skip", "bot", "t1-0", START_S + 10 + n / 10) for n in range(1_500)]
    later_s = START_S + 20 * DAY_S
    for before, after, counted in (([], rush, 1.0), (rush, [], 0.0)):
        liked = [*before, seen("bot", "t0-0", START_S + 200), event("like", "bot", "t0-0", START_S + 201)]
        records = [*liked, *after, event("unlike", "bot", "t0-0", START_S + 202 if after else later_s)]
        log = LogInMemory(records)
        memory = Memory(log, CATALOGUE)
        memory.catch_up(len(liked))
        assert memory.counts.video.at(np.array([0]), START_S + 201)[0, LIKE] == pytest.approx(counted)
        memory.keep(tmp_path / "counts")
        again = Memory(log, CATALOGUE)
        assert again.restore(tmp_path / "counts")
        for one in (memory, again):
            one.catch_up()
            assert (one.trust_in(one.viewer("bot")) < 1) == bool(after)
            for table in (one.counts.video, one.counts.overall, one.counts.creator):
                assert table.all(later_s)[:, LIKE] == pytest.approx(0.0, abs=1e-9)


def test_an_account_that_does_far_more_than_others_counts_for_nothing() -> None:
    """A hundred people with twenty views each, who came yesterday too; then one that makes five thousand."""
    records: list[Record] = [view(f"v{v}", "t11-0", START_S - DAY_S) for v in range(100)]
    for n in range(20):
        records += [view(f"v{v}", f"t{n % 12}-{v % 40}", START_S + n * 60 + v / 100) for v in range(100)]
    records += [view("bot", f"t{n % 12}-{n % 40}", START_S + 1_300 + n / 10) for n in range(5_000)]
    before = Memory(LogInMemory(records), CATALOGUE)
    before.catch_up()
    assert 16 <= before.usual <= 64
    for viewer, counts in (("v7", 1.0), ("bot", 0.0)):
        memory = Memory(
            LogInMemory(
                [*records, seen(viewer, "t7-39", START_S + 1_900), event("like", viewer, "t7-39", START_S + 1_901)]
            ),
            CATALOGUE,
        )
        memory.catch_up()
        liked = memory.counts.video.at(CATALOGUE.places_of(["t7-39"]), START_S + 1_901)[0, LIKE]
        assert liked == pytest.approx(counts, abs=1e-3)


def test_an_account_that_does_its_day_within_an_hour_counts_for_nothing() -> None:
    """A hundred people with twelve views a day, one an hour; then one that makes its twelve within a minute."""
    start_s = START_S - START_S % DAY_S
    records: list[Record] = [view(f"v{v}", "t11-0", start_s - DAY_S) for v in range(100)]
    for n in range(12):
        records += [view(f"v{v}", f"t{n}-{v % 40}", start_s + n * 3_600 + v) for v in range(100)]
    records += [view("burst", "t11-0", start_s - DAY_S)]
    records += [view("burst", f"t{n}-1", start_s + 12 * 3_600 + n) for n in range(10)]
    for viewer, counts in (("v7", 1.0), ("burst", 0.0)):
        like_s = start_s + 12 * 3_600 + 20
        records += [seen(viewer, "t7-39", like_s), event("like", viewer, "t7-39", like_s + 1)]
        memory = Memory(LogInMemory(records), CATALOGUE)
        memory.catch_up()
        assert (memory.usual, memory.usual_hour) == (16.0, 2.0)
        assert memory.viewer("burst").activity <= memory.usual
        liked = memory.counts.video.at(CATALOGUE.places_of(["t7-39"]), like_s + 1)[0, LIKE]
        assert liked == pytest.approx(counts, abs=1e-3)
        records = records[:-2]


def test_the_busiest_hour_is_half_forgotten_with_each_day() -> None:
    """Three records in one hour, one in the next; then nothing for two days."""
    start_s = START_S - START_S % DAY_S
    records: list[Record] = [event("skip", "ana", "t0-0", start_s + at_s) for at_s in (0, 1, 2, 3_600)]
    assert fold(records).hour_activity == 3.0
    assert fold([*records, event("skip", "ana", "t0-0", start_s + DAY_S)]).hour_activity == 1.5
    assert fold([*records, event("skip", "ana", "t0-0", start_s + 2 * DAY_S)]).hour_activity == 1.0


# Viewers -------------------------------------------------------------------------------------------------------------


def test_interests_are_the_topics_that_were_liked() -> None:
    records: list[Record] = [view("ana", f"t{n % 3}-{n}", START_S + n * 60) for n in range(30)]
    viewer = fold(records)
    best = [int((centres() @ viewer.centroids[at]).argmax()) for at in viewer.interest_order(START_S)]
    assert sorted(best) == [0, 1, 2]
    assert viewer.segment in (0, 1, 2)
    assert not viewer.is_new


def test_half_a_second_is_seen() -> None:
    viewer = fold([event("skip", "ana", "t0-0", START_S, watch_s=0.5)])
    assert viewer.seen == {0: START_S}
    assert viewer.skips_in_a_row == 1


def of_creator(viewer: Viewer, name: str) -> tuple[float, float, float]:
    """(liked, disliked, shown) as of his last record."""
    return viewer.creators[CATALOGUE.codes["creator"].find(name)].faded(viewer.last_s)


@pytest.mark.parametrize(
    "kinds", [("scroll",), ("scroll", "skip"), ("skip", "scroll"), ("impression", "scroll", "skip")]
)
def test_however_leaving_is_told_it_is_one_showing_and_one_skip(kinds: tuple[str, ...]) -> None:
    records: list[Record] = [served("ana", "t0-0", START_S)]
    records += [event(kind, "ana", "t0-0", START_S + 1 + n) for n, kind in enumerate(kinds)]
    memory = Memory(LogInMemory(records), CATALOGUE)
    memory.catch_up()
    viewer = memory.viewer("ana")
    assert list(viewer.seen) == [0]
    assert (viewer.session_place, viewer.skips_in_a_row) == (1, 1)
    assert of_creator(viewer, "creator-0-0")[2] == pytest.approx(1)
    assert memory.counts.video.at(np.array([0]), START_S)[0, IMPRESSION] == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("scroll_s", [5.0, 40.0])
def test_a_scroll_away_from_what_was_watched_is_no_skip(scroll_s: float) -> None:
    """Whichever comes first: the scroll, or the view that tells how long he had stayed."""
    records: list[Record] = [event("skip", "ana", "t1-0", START_S), view("ana", "t0-0", START_S + 30)]
    records += [event("scroll", "ana", "t0-0", START_S + scroll_s)]
    viewer = fold(sorted(records, key=lambda one: one.time_s))
    assert viewer.skips_in_a_row == 0
    assert of_creator(viewer, "creator-0-0") == pytest.approx((1.0, 0.0, 1.0), abs=1e-3)


def test_a_video_that_comes_again_in_another_session_is_shown_again() -> None:
    records: list[Record] = [
        event("scroll", "ana", "t0-0", START_S + n, session_id=session) for n, session in enumerate("aab")
    ]
    assert of_creator(fold(records), "creator-0-0")[2] == pytest.approx(2, abs=1e-3)


def test_a_pause_says_a_little_once_a_session_and_nothing_of_interests() -> None:
    records: list[Record] = [
        event("pause", "ana", "t0-0", START_S + n, session_id=session) for n, session in enumerate("aaaab")
    ]
    viewer = fold(records)
    assert of_creator(viewer, "creator-0-0") == pytest.approx((0.5, 0.0, 0.0), abs=1e-3)
    assert (viewer.recent, viewer.seen, viewer.skips_in_a_row) == ([], {}, 0)
    assert not viewer.short.any()


@pytest.mark.parametrize(
    ("query", "creator", "category"),
    [
        ("creator-3-1", "creator-3-1", None),
        ("@creator-3-1", "creator-3-1", None),
        (" Food ", None, "food"),
        ("#FOOD", None, "food"),
        ("#topic4", None, "sports"),
        ("how to fold a shirt", None, None),
        ("", None, None),
        (["a", "list"], None, None),
    ],
)
def test_a_search_for_something_known_is_a_little_liking(
    query: object, creator: str | None, category: str | None
) -> None:
    viewer = fold([event("search", "ana", None, START_S, extra={"query": query})])
    liked = {CATALOGUE.codes["creator"].name(code): one.liked for code, one in viewer.creators.items()}
    assert liked == ({} if creator is None else {creator: 0.5})
    liked = {CATALOGUE.codes["category"].name(code): one.liked for code, one in viewer.by_category.items()}
    assert liked == ({} if category is None else {category: 0.5})
    assert viewer.last_s == START_S


def test_a_hundred_searches_are_no_more_than_two() -> None:
    records: list[Record] = [event("search", "ana", None, START_S + n, extra={"query": "food"}) for n in range(100)]
    viewer = fold(records)
    assert viewer.by_category[3].faded(viewer.last_s)[0] == pytest.approx(1.0)
    assert viewer.segment == len(CATALOGUE.categories)


def test_a_hashtag_of_many_categories_names_none() -> None:
    catalogue = catalogue_of(2)
    catalogue.of_hashtag["fyp"] = list(range(24))
    catalogue.of_hashtag["mostly"] = [0, 12, 1]  # two of category 0, one of category 1
    found = {}
    for word in ("fyp", "mostly"):
        viewer = Viewer("ana", catalogue.dim, len(catalogue.categories))
        viewer.apply(1, event("search", "ana", None, START_S, extra={"query": word}), catalogue)
        found[word] = list(viewer.by_category)
    assert found == {"fyp": [], "mostly": [0]}


def test_what_was_searched_for_and_watched_says_more_and_counts_for_nothing() -> None:
    records: list[Record] = [served("ana", "t0-0", START_S), view("ana", "t0-0", START_S + 1, surface="search")]
    memory = Memory(LogInMemory(records), CATALOGUE)
    memory.catch_up()
    assert of_creator(memory.viewer("ana"), "creator-0-0") == pytest.approx((1.5, 0.0, 1.0))
    assert memory.viewer("ana").weights.tolist() == [1.5]
    assert not memory.counts.video.all(START_S).any()


@pytest.mark.parametrize(
    ("session_id", "time_s", "begins"),
    [("", 100.0, True), ("b", 100.0, True), ("a", 100.0, False), ("b", -100.0, False)],
)
def test_a_session_begins_where_the_app_says_so(session_id: str, time_s: float, begins: bool) -> None:
    records: list[Record] = [
        event("skip", "ana", "t0-0", START_S, session_id="a"),
        event("session", "ana", None, START_S + time_s, session_id=session_id),
    ]
    viewer = fold(records)
    assert (viewer.session_place, viewer.skips_in_a_row) == ((0, 0) if begins else (1, 1))
    assert viewer.session_start_s == START_S + (time_s if begins else 0)


def tired(viewer: Viewer, creator: str | None, sound: str | None, category: str | None, now_s: float) -> float:
    named = zip(("creator", "sound", "category"), (creator, sound, category), strict=True)
    codes = [np.array([CATALOGUE.codes[kind].find(name)], np.int32) for kind, name in named]
    return float(viewer.fatigue(*codes, now_s)[0])


def test_what_is_served_to_no_avail_tires_and_a_day_of_rest_helps() -> None:
    """Eight videos of one creator within a minute: sounds 0, 2, 4, 1, 3, 0, … of the topic, all of one category."""
    times = [START_S + n for n in range(8)]
    viewer = fold([served("ana", f"t0-{n % 6 * 7}", at_s) for n, at_s in enumerate(times)])
    now_s = viewer.last_s
    assert tired(viewer, "creator-0-0", None, None, now_s) == pytest.approx(1 - 2**-2, abs=1e-3)
    assert tired(viewer, "creator-0-0", None, None, now_s + DAY_S) == pytest.approx(1 - 2**-1, abs=1e-3)
    assert tired(viewer, None, None, "dance", now_s) == pytest.approx(1 - 2 ** -(8 / 24), abs=1e-3)
    assert tired(viewer, "creator-0-0", None, "dance", now_s) == pytest.approx(1 - 2 ** -(2 + 8 / 24), abs=1e-3)
    assert tired(viewer, None, "sound-0-0", None, now_s) == pytest.approx(1 - 2 ** -(3 / 6), abs=1e-3)
    assert tired(viewer, "creator-0-1", "sound-1-1", "food", now_s) == 0.0
    assert tired(viewer, None, None, None, now_s) == 0.0


def test_one_liking_makes_up_for_three_servings_and_never_for_what_comes() -> None:
    records: list[Record] = [served("ana", f"t0-{7 * n}", START_S + n) for n in range(4)]
    records += [view("ana", "t0-0", START_S + 4)]
    assert tired(fold(records), "creator-0-0", None, None, START_S + 4) == pytest.approx(1 - 2**-0.25, abs=1e-3)
    records += [event("like", "ana", "t0-0", START_S + 5), served("ana", "t0-28", START_S + 6)]
    assert tired(fold(records), "creator-0-0", None, None, START_S + 6) == pytest.approx(1 - 2**-0.25, abs=1e-3)


def test_skips_do_not_make_up_for_servings() -> None:
    records: list[Record] = [served("ana", "t0-0", START_S), event("skip", "ana", "t0-0", START_S)]
    assert tired(fold(records), "creator-0-0", None, None, START_S) == pytest.approx(1 - 2**-0.25)


def test_a_dial_can_be_turned_back() -> None:
    def dial(action: str, target: object, n: int) -> Event:
        return event("dial", "ana", None, START_S + n, extra={"action": action, "target": target})

    turned = [dial("less", "category:food", 1), dial("explore", 0.9, 2)]
    assert fold(turned).dials.wanted == {"category:food": -1}
    assert fold(turned).dials.explore == 0.9
    assert fold([*turned, dial("undo", None, 3)]).dials.explore is None
    assert fold([*turned, dial("reset", None, 3)]).dials.wanted == {}
    assert fold([*turned, dial("reset", None, 3), dial("undo", None, 4)]).dials.wanted == {"category:food": -1}


def test_a_planted_shift_of_taste_is_followed() -> None:
    """Four weeks of topic 0; then topic 5. When do most candidates of the page follow?"""
    records: list[Record] = [view("ana", f"t0-{n % 40}", START_S + n * DAY_S) for n in range(28)]
    turn_s = START_S + 28 * DAY_S
    followed_after = 0
    for n in range(1, 20):
        records.append(view("ana", f"t5-{n}", turn_s + n * 60))
        viewer = fold(records)
        if float(viewer.short @ centres()[5]) > float(viewer.short @ centres()[0]):
            followed_after = n
            break
    hours = next(
        h
        for h in range(1, 200)
        if _long_term_share(
            fold([*records, *(view("ana", f"t5-{i % 40}", turn_s + i * 1_800) for i in range(1, 2 * h))]), 5
        )
        > 0.5
    )
    print(f"short-term interest follows after {followed_after} event(s), long-term after {hours} h of watching")
    assert followed_after <= 2
    assert hours <= 48


def _long_term_share(viewer: Viewer, topic: int) -> float:
    of_topic = (viewer.centroids @ centres()[topic]) > 0.7
    weights = viewer.weights * 2.0 ** ((viewer.centroid_times_s - viewer.last_s) / (21 * DAY_S))
    return float(weights[of_topic].sum() / weights.sum())


def test_a_planted_burst_of_a_sound_rises_within_and_fades_after() -> None:
    """A month of ordinary days; then 60 people watch videos with one sound within two hours."""
    records: list[Record] = []
    for day in range(30):
        for n in range(24):
            records.append(seen(f"v{day}-{n}", f"t{n % 12}-{day}", START_S + day * DAY_S + n * 3_600))
            records.append(view(f"v{day}-{n}", f"t{n % 12}-{day}", START_S + day * DAY_S + n * 3_600 + 30))
    burst_s = START_S + 30 * DAY_S
    videos = [CATALOGUE.video_ids[place] for place in CATALOGUE.of_sound[CATALOGUE.codes["sound"].find("sound-3-2")]]
    for n in range(60):
        records.append(seen(f"burst{n}", videos[n % len(videos)], burst_s + n * 120))
        records.append(view(f"burst{n}", videos[n % len(videos)], burst_s + n * 120 + 30))
    memory = Memory(LogInMemory(records), CATALOGUE)

    def rising(after_s: float) -> set[str | None]:
        memory.catch_up(sum(record.time_s <= burst_s + after_s for record in records))
        found = boards(CATALOGUE, memory.counts, burst_s + after_s).rising_sounds
        return {CATALOGUE.codes["sound"].name(code) for code in found}

    assert "sound-3-2" not in rising(-60)
    hours = [h / 4 for h in range(200) if "sound-3-2" in rising(h / 4 * 3_600)]
    print(f"the burst is seen from {hours[0]} h on, and until {hours[-1]} h after its start")
    assert hours[0] <= 1.0
    assert hours[-1] <= 48.0


# Replay --------------------------------------------------------------------------------------------------------------

KINDS = (
    "view",
    "impression",
    "skip",
    "like",
    "unlike",
    "share",
    "follow",
    "unfollow",
    "not_interested",
    "replay",
    "scroll",
    "pause",
    "search",
    "session",
    "dial",
)


@st.composite
def logs(draw: st.DrawFn) -> list[Record]:
    """Anything in any order, of three viewers, with videos that nobody knows and clocks that go wrong."""
    made: list[Record] = []
    for _ in range(draw(st.integers(1, 60))):
        viewer = draw(st.sampled_from(["ana", "bo", "cy"]))
        video = draw(st.sampled_from(["t0-1", "t0-2", "t1-1", "t5-9", "t11-3", "nobody-knows"]))
        time_s = START_S + draw(st.floats(0, 90 * DAY_S))
        if draw(st.booleans()):
            made.append(served(viewer, video, time_s))
        else:
            kind = draw(st.sampled_from(KINDS))
            extra: dict[str, object] = {}
            if kind == "dial":
                extra = {"action": "explore", "target": draw(st.floats(0, 1))}
            if kind == "search":
                extra = {"query": draw(st.sampled_from(["food", "#topic2", "creator-0-1", "anything"]))}
            watch_s, loops = draw(st.floats(0, 60)), draw(st.integers(0, 3))
            surface, session_id = draw(st.sampled_from(["feed", "search"])), draw(st.sampled_from(["", "a", "b"]))
            more = {"watch_s": watch_s, "loops": loops, "surface": surface, "session_id": session_id, "extra": extra}
            made.append(event(kind, viewer, video, time_s, **more))
    return made


@given(records=logs(), split=st.integers(0, 60), room=st.integers(1, 3))
@settings(max_examples=120, deadline=None)
def test_the_state_after_replay_is_the_same_to_the_bit(records: list[Record], split: int, room: int) -> None:
    """At once, or in two parts with snapshots between, with room for all viewers or for one."""
    whole = Memory(LogInMemory(records), CATALOGUE)
    whole.catch_up()
    log = LogInMemory(records)
    parts = Memory(log, CATALOGUE, viewers=room)
    parts.catch_up(split)
    parts._keep(list(parts._held.values()), 1)
    parts.catch_up()
    for viewer_id in ("ana", "bo", "cy"):
        assert parts.viewer(viewer_id).to_bytes(CATALOGUE) == whole.viewer(viewer_id).to_bytes(CATALOGUE)
    assert _bytes(parts.counts) == _bytes(whole.counts)


def test_counts_survive_a_restart_in_a_catalogue_of_another_order(tmp_path: Path) -> None:
    records: list[Record] = []
    for n in range(200):
        records += [
            seen(f"v{n % 9}", f"t{n % 12}-{n % 40}", START_S + n),
            view(f"v{n % 9}", f"t{n % 12}-{n % 40}", START_S + n),
        ]
    log = LogInMemory(records)
    before = Memory(log, CATALOGUE)
    before.catch_up(150)
    before.keep(tmp_path / "counts")
    other = catalogue_of(40, seed=8)
    after = Memory(log, other)
    assert after.restore(tmp_path / "counts")
    assert after.seq == 150
    after.catch_up()
    before.catch_up()
    ids = [f"t{n % 12}-{n % 40}" for n in range(200)]
    now_s = START_S + DAY_S
    for name in ("video", "video_now", "video_by_segment"):
        was = before.counts.tables()[name].at(CATALOGUE.places_of(ids), now_s)
        assert np.array_equal(after.counts.tables()[name].at(other.places_of(ids), now_s), was)


def test_a_torn_file_of_counts_is_made_again_from_the_log(tmp_path: Path) -> None:
    memory = Memory(LogInMemory([view("ana", "t0-0", START_S)]), CATALOGUE)
    memory.catch_up()
    memory.keep(tmp_path / "counts")
    (tmp_path / "counts").write_bytes((tmp_path / "counts").read_bytes()[:50])
    again = Memory(LogInMemory([view("ana", "t0-0", START_S)]), CATALOGUE)
    assert not again.restore(tmp_path / "counts")
    assert not again.restore(tmp_path / "nothing")
    assert again.catch_up() == 1


def test_a_snapshot_of_another_space_is_refused() -> None:
    body = fold([view("ana", "t0-0", START_S)]).to_bytes(CATALOGUE)
    other = catalogue_of(1)
    other.space = "another"
    with pytest.raises(OtherFold, match="another"):
        Viewer.from_bytes(body, other)


def test_a_snapshot_of_a_version_before_is_refused() -> None:
    with pytest.raises(OtherFold, match="older"):
        Viewer.from_bytes(save_tensors({"short": np.zeros(3, np.float32)}, metadata={"viewer": "{}"}), CATALOGUE)


def _bytes(counts: Counts) -> list[bytes]:
    return [array.tobytes() for table in counts.tables().values() for array in table.state().values()]


# Sources -------------------------------------------------------------------------------------------------------------


def test_sources_name_each_video_once_and_none_that_was_seen() -> None:
    records: list[Record] = [view("ana", f"t{n % 2}-{n}", START_S + n * 60) for n in range(20)]
    memory = Memory(LogInMemory(records), CATALOGUE)
    memory.catch_up()
    viewer = memory.viewer("ana")
    found = gather(
        Asked(
            viewer=viewer,
            catalogue=CATALOGUE,
            boards=boards(CATALOGUE, memory.counts, viewer.last_s),
            now_s=viewer.last_s,
            rng=np.random.default_rng(1),
        )
    )
    assert len(set(found.places.tolist())) == len(found) > 100
    assert not set(found.places.tolist()) & set(viewer.seen)
    of_topic = CATALOGUE.category[found.places[found.source == 0]]
    assert np.isin(of_topic[:40], [0, 1]).all()
