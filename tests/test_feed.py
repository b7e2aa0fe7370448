"""The page as a whole: what it holds, what it never holds, and that it follows what a viewer does and asks for."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest

from recommend.catalogue import Catalogue, Entry
from recommend.categories import CATEGORIES
from recommend.pipeline import Context, Page, Scored, feed, why_not
from tests.known import DIM, START_S, ByQuality, Record, catalogue_of, centres, event, known_of, seen, served, view

NOW = Context(now_s=START_S)
LIKES_DANCE = [view("ana", f"t0-{n}", START_S - 3_600 + n * 60) for n in range(12)]


def with_new(count: int = 30) -> Catalogue:
    """240 videos of a month ago, and some that were uploaded an hour ago."""
    catalogue = catalogue_of(20)
    catalogue.put(
        Entry(
            video_id=f"new-{n}",
            vector=centres()[n % 12] + 0.05,
            creator_id=f"newcomer-{n}",
            category=CATEGORIES[n % 12],
            duration_s=9.0,
            uploaded_s=START_S - 3_600,
        )
        for n in range(count)
    )
    return catalogue


def page_of(
    records: Sequence[Record], catalogue: Catalogue, viewer: str = "ana", context: Context = NOW, k: int = 20
) -> Page:
    memory, known = known_of(records, catalogue, context.now_s)
    return feed(memory.viewer(viewer), known, context, k=k)


def ids(page: Page) -> list[str]:
    return [one.video_id for one in page.videos]


def test_a_page_is_of_what_he_likes_and_of_nothing_that_he_saw() -> None:
    page = page_of(LIKES_DANCE, with_new())
    assert len(set(ids(page))) == len(page.videos) == 20
    assert not set(ids(page)) & {one.video_id for one in LIKES_DANCE}
    assert page.videos[0].video_id.startswith(("t0-", "new-0", "new-12"))
    assert page.videos[0].source in ("short_term", "interests")
    assert page.videos[0].because in {one.video_id for one in LIKES_DANCE}


def test_a_page_that_a_cap_held_something_back_from_is_told_as_json() -> None:
    page = page_of(LIKES_DANCE, with_new())
    assert page.held_back
    assert json.loads(json.dumps(asdict(page)))["held_back"] == page.held_back


def test_the_same_state_gives_the_same_page_and_another_event_another() -> None:
    catalogue = with_new()
    assert page_of(LIKES_DANCE, catalogue) == page_of(LIKES_DANCE, catalogue)
    liked_food = [*LIKES_DANCE, *(view("ana", f"t3-{n}", START_S - 50 + n) for n in range(6))]
    assert ids(page_of(liked_food, catalogue)) != ids(page_of(LIKES_DANCE, catalogue))
    assert "t3" in Counter(one.partition("-")[0] for one in ids(page_of(liked_food, catalogue)))


def test_what_was_served_is_not_served_again_in_the_session() -> None:
    catalogue = with_new()
    context = Context(now_s=START_S, session_id="evening")
    first = page_of(LIKES_DANCE, catalogue, context=context)
    second = page_of([*LIKES_DANCE, *first.impressions()], catalogue, context=context)
    assert not set(ids(first)) & set(ids(second))


def test_somebody_new_gets_what_is_proven_of_several_categories() -> None:
    catalogue = with_new()
    proven = {"t1-3", "t4-5", "t7-0", "t9-2"}
    records: list[Record] = []
    for n in range(60):
        for video in catalogue.video_ids[:100]:
            watch_s = 20.0 if video in proven else 1.0
            records += [seen(f"v{n}", video, START_S - 9_000 + n), view(f"v{n}", video, START_S - 8_990 + n, watch_s)]
    page = page_of(records, catalogue, viewer="nobody")
    ranked = [one for one in page.videos if one.slot == "rank"]
    assert {one.video_id for one in ranked[:4]} == proven
    assert len({catalogue.category[catalogue.place_of(one.video_id)] for one in page.videos}) >= 4


@pytest.mark.parametrize(
    ("what", "reason"),
    [
        (event("not_interested", "ana", "t0-15", START_S - 9), "blocked"),
        (event("block", "ana", None, START_S - 9, extra={"creator_id": "creator-0-1"}), "blocked"),
        (seen("ana", "t0-15", START_S - 9), "seen"),
    ],
)
def test_what_he_turned_down_is_not_shown_and_the_reason_is_told(what: Record, reason: str) -> None:
    catalogue = with_new()
    records = [*LIKES_DANCE, what]
    memory, known = known_of(records, catalogue)
    page = feed(memory.viewer("ana"), known, NOW, k=100)
    assert "t0-15" not in ids(page)
    assert why_not("t0-15", memory.viewer("ana"), known, NOW).endswith(reason)


def test_flagged_private_and_own_videos_are_shown_to_nobody_whom_they_are_not_for() -> None:
    catalogue = with_new()
    near = {"vector": centres()[0] + 0.01, "category": "dance", "duration_s": 20.0}
    catalogue.put([
        Entry(video_id="flagged", flagged=True, **near),  # type: ignore[arg-type]
        Entry(video_id="private", shown=False, **near),  # type: ignore[arg-type]
        Entry(video_id="own", creator_id="ana", **near),  # type: ignore[arg-type]
    ])  # fmt: skip
    memory, known = known_of(LIKES_DANCE, catalogue)
    for second in range(200):
        assert not {"flagged", "private", "own"} & set(
            ids(feed(memory.viewer("ana"), known, Context(now_s=START_S + second), k=20))
        )
    told = {one: why_not(one, memory.viewer("ana"), known, NOW) for one in ("flagged", "private", "own", "nothing")}
    assert told["flagged"].endswith("flagged")
    assert told["private"].endswith("private_or_removed")
    assert told["own"].endswith("own")
    assert "no video of the catalogue" in told["nothing"]


def test_new_videos_get_a_first_look_and_its_probability_is_written_down() -> None:
    memory, known = known_of(LIKES_DANCE, with_new())
    slots: Counter[str] = Counter()
    looked: set[str] = set()
    for second in range(300):
        page = feed(memory.viewer("ana"), known, Context(now_s=START_S + second), k=20)
        for one in page.videos:
            slots[one.slot] += 1
            assert 0 < one.propensity <= 1
            if one.slot == "fresh":
                looked.add(one.video_id)
                assert one.video_id.startswith("new-")
                assert one.position >= 2
    assert len(looked) >= 25, "of 30 new ones; the pool's 64 draws are the same for a minute"
    share = {slot: count / slots.total() for slot, count in slots.items()}
    assert 0.02 < share["fresh"] < 0.12
    assert 0.02 < share["explore"] < 0.12
    assert 0.0005 < share["uniform"] < 0.006


def test_nothing_is_tried_on_somebody_who_skips() -> None:
    skips = [event("skip", "ana", f"t5-{n}", START_S - 60 + n, watch_s=0.4) for n in range(2)]
    memory, known = known_of([*LIKES_DANCE, *skips], with_new())
    slots = {
        one.slot
        for second in range(50)
        for one in feed(memory.viewer("ana"), known, Context(now_s=START_S + second), k=20).videos
    }
    assert slots <= {"rank", "uniform"}


def test_the_dial_decides_how_much_is_explored() -> None:
    def share(explore: float) -> float:
        dial = event("dial", "ana", None, START_S - 5, extra={"action": "explore", "target": explore})
        memory, known = known_of([*LIKES_DANCE, dial], with_new())
        pages = [feed(memory.viewer("ana"), known, Context(now_s=START_S + second), k=20) for second in range(60)]
        return float(np.mean([one.slot in ("explore", "fresh") for page in pages for one in page.videos]))

    assert share(0.0) == 0
    assert 0.04 < share(0.5) < share(1.0)


def test_less_of_something_reorders_and_a_block_filters() -> None:
    both = [view("ana", f"t{n % 2 * 3}-{n}", START_S - 3_600 + n * 60) for n in range(16)]
    catalogue = catalogue_of(20)

    def dances(*more: Record) -> list[int]:
        page = page_of([*both, *more], catalogue)
        return [one.position for one in page.videos if one.video_id.startswith("t0-") and one.slot == "rank"]

    less = event("dial", "ana", None, START_S - 5, extra={"action": "less", "target": "category:dance"})
    undo = event("dial", "ana", None, START_S - 4, extra={"action": "undo"})
    plain, fewer = dances(), dances(less)
    assert len(plain) >= 3
    assert len(fewer) <= len(plain)
    assert not fewer or np.mean(fewer) > np.mean(plain)
    assert abs(len(dances(less, undo)) - len(plain)) <= 2
    blocks = [
        event("block", "ana", None, START_S - 5 + n / 10, extra={"creator_id": f"creator-0-{n}"}) for n in range(7)
    ]
    assert not dances(*blocks)


def test_what_was_served_to_no_avail_comes_later_and_what_he_watched_of_it_does_not() -> None:
    """Two topics that he likes alike; of one he was served forty videos today, and something else after them."""
    catalogue = catalogue_of(80)
    likes = [view("ana", f"t{topic}-{n}", START_S - 7_200 + n * 60 + topic) for topic in (0, 3) for n in range(12)]

    def of(topic: int, count: int, from_s: float) -> list[Record]:
        return [served("ana", f"t{topic}-{n + 12}", from_s + n) for n in range(count)]

    food, last = of(3, 40, START_S - 3_600), of(7, 20, START_S - 60)
    watched = [view("ana", f"t3-{n + 12}", START_S - 3_000 + n) for n in range(20)]

    def of_food(*records: Sequence[Record]) -> int:
        context = Context(now_s=START_S, session_id="another")
        page = page_of([record for part in records for record in part], catalogue, context=context)
        return sum(one.startswith("t3-") for one in ids(page)[:10])

    assert of_food(likes, food, last) < of_food(likes, last) <= of_food(likes, food, watched, last)


def test_a_follow_that_comes_before_the_first_video_holds_and_names_cost_nothing() -> None:
    catalogue = catalogue_of(20)
    creators = len(catalogue.codes["creator"])
    invented = [event("follow", "eve", None, START_S - 100 + n, extra={"creator_id": f"nobody-{n}"}) for n in range(50)]
    follow = event("follow", "ana", None, START_S - 50, extra={"creator_id": "newcomer"})
    memory, known = known_of([*invented, follow], catalogue)
    assert len(catalogue.codes["creator"]) == creators, "a name in an event is no creator yet"

    catalogue.put([Entry(video_id="first", vector=centres()[3], creator_id="newcomer", uploaded_s=START_S - 9)])

    page = feed(memory.viewer("ana"), known, NOW)
    assert [one.source for one in page.videos if one.video_id == "first"] == ["followed"]


def test_a_new_session_begins_at_its_first_place_wherever_the_last_one_ended() -> None:
    skipped = [event("skip", "ana", f"t1-{n}", START_S - 90 + n, session_id="morning") for n in range(5)]
    memory, _ = known_of([*LIKES_DANCE, *skipped], catalogue_of(20))
    ana = memory.viewer("ana")
    assert (ana.session_place, ana.skips_in_a_row) == (5, 5)

    goes_on, begins = ana.in_session("morning", START_S), ana.in_session("evening", START_S)

    assert goes_on is ana
    assert (begins.session_place, begins.skips_in_a_row, begins.session_start_s) == (0, 0, START_S)
    assert ana.in_session("", START_S).session_place == 5, "nobody says that another began"
    assert ana.in_session("", START_S + 3_600).session_place == 0, "but an hour does"
    assert (ana.session_id, ana.session_place) == ("morning", 5), "and he himself is as he was"


def test_what_was_seen_long_ago_comes_back_before_the_page_is_short() -> None:
    catalogue = catalogue_of(2)  # 24 videos
    everything = [seen("ana", one, START_S - 40 * 86_400 + n) for n, one in enumerate(catalogue.video_ids)]
    page = page_of(everything, catalogue)
    assert len(page.videos) == 20
    assert page.removed["seen_long_ago"] >= 20
    yesterday = [seen("ana", one, START_S - 86_400) for one in catalogue.video_ids]
    assert page_of(yesterday, catalogue).videos == ()


def test_sensitive_videos_stay_below_their_share() -> None:
    catalogue = catalogue_of(4)
    catalogue.put(
        Entry(
            video_id=f"s{n}",
            vector=centres()[0] + np.float32(0.02 * n) * centres()[n % 9 + 1],
            sensitive=True,
            category="dance",
            duration_s=20,
        )
        for n in range(80)
    )
    page = page_of(LIKES_DANCE[:3], catalogue)
    assert sum(one.video_id.startswith("s") for one in page.videos) <= 12  # a fifth of the last 60


def test_a_viewer_who_narrows_is_widened() -> None:
    def of(video: str, n: int) -> Record:
        return served("ana", video, START_S - 9_000 + n)

    catalogue = catalogue_of(60)
    broad = [of(f"t{n % 12}-{n // 12}", n) for n in range(180)]
    narrow = [of(f"t0-{n}", 200 + n) for n in range(15, 60)] + [of(f"t1-{n}", 300 + n) for n in range(15, 30)]
    assert page_of(broad, catalogue).guardrails["widened"]["explore"] == 1.0
    guarded = page_of([*broad, *narrow], catalogue).guardrails
    assert guarded["narrowing"]["narrowing"]
    assert guarded["widened"]["explore"] > 1.5


def test_a_small_library_and_a_large_page_harm_nothing() -> None:
    catalogue = catalogue_of(1, topics=3)
    memory, known = known_of(LIKES_DANCE[:1], catalogue)
    for second in range(300):
        page = feed(memory.viewer("bo"), known, Context(now_s=START_S + second), k=100)
        assert sorted(ids(page)) == ["t0-0", "t1-0", "t2-0"]


def test_what_no_source_names_comes_before_the_page_is_short() -> None:
    catalogue = catalogue_of(60, topics=3)
    everything = [seen("ana", one, START_S - 86_400 + n) for n, one in enumerate(catalogue.video_ids[:-30])]
    assert len(page_of(everything, catalogue).videos) == 20


def test_a_ranker_without_a_head_for_long_views_still_makes_pages() -> None:
    memory, known = known_of(LIKES_DANCE, with_new())

    class Half(ByQuality):
        def score(self, *told: Any) -> Scored:
            whole = super().score(*told)
            return Scored(heads={"negative": whole.heads["negative"]}, value=whole.value)

    for second in range(20):
        page = feed(memory.viewer("ana"), replace(known, ranker=Half()), Context(now_s=START_S + second))
        assert len(page.videos) == 20


def test_the_fair_die_tells_how_many_may_be_shown() -> None:
    catalogue = with_new()
    memory, known = known_of(LIKES_DANCE, catalogue)
    told = {
        one.propensity
        for second in range(400)
        for one in feed(memory.viewer("ana"), known, Context(now_s=START_S + second)).videos
        if one.slot == "uniform"
    }
    assert told == {1 / (len(catalogue) - len(LIKES_DANCE))}


def test_an_empty_catalogue_gives_an_empty_page() -> None:
    catalogue = Catalogue({"vision": slice(0, DIM)}, CATEGORIES)
    for second in range(200):
        assert page_of([], catalogue, context=Context(now_s=START_S + second)).videos == ()
