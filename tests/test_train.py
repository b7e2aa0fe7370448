"""From the log to a ranker: rows as they were known then, labels from what came of them, and no row that knows it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from index.records import Event, Impression
from recommend.catalogue import Catalogue
from recommend.counts import Counts
from recommend.features import FEATURE_NAMES, features
from recommend.memory import Memory
from recommend.pipeline import Context
from recommend.rank import HEADS
from recommend.state import Viewer
from recommend.train import TIMES_MAX, TIRELESS, Leak, Rows, TooLittle, Training, capped, leaks, replay, train, weighed
from tests.known import DAY_S, START_S, LogInMemory, Record, catalogue_of, event

CATALOGUE = catalogue_of(20, topics=4)


def page(viewer: str, videos: list[str], time_s: float) -> list[Impression]:
    slate = f"{viewer}-{time_s:.0f}"
    return [
        Impression(
            impression_id=f"{slate}-{position}",
            slate_id=slate,
            viewer_id=viewer,
            video_id=video,
            time_s=time_s,
            position=position,
            source="interests",
            slot="rank",
            propensity=1.0,
            score=0.0,
        )
        for position, video in enumerate(videos)
    ]


def watched(one: Impression, after_s: float, watch_s: float) -> Event:
    return Event(
        event_id=f"view-{one.impression_id}",
        kind="view",
        viewer_id=one.viewer_id,
        video_id=one.video_id,
        time_s=one.time_s + after_s,
        impression_id=one.impression_id,
        watch_s=watch_s,
    )


def said(one: Impression, kind: str, after_s: float = 30.0) -> Event:
    return event(kind, one.viewer_id, one.video_id, one.time_s + after_s, impression_id=one.impression_id)


def fans(viewers: int = 60, pages: int = 6, seed: int = 0) -> list[Record]:
    """Each viewer takes to one of four topics, and to videos with an even number more than to others."""
    rng = np.random.default_rng(seed)
    records: list[Record] = []
    for turn in range(pages):
        for viewer in range(viewers):
            time_s = START_S + turn * 7_200 + viewer * 60
            drawn = rng.choice(80, 5, replace=False)
            served = page(f"v{viewer}", [f"t{n % 4}-{n // 4}" for n in drawn], time_s)
            records += served
            for position, (one, n) in enumerate(zip(served, drawn, strict=True)):
                chance = 0.05 + 0.75 * (n % 4 == viewer % 4) + 0.15 * (n // 4 % 2 == 0)
                liked = rng.uniform() < chance
                records.append(watched(one, 1 + position, 20.0 if liked else rng.uniform(0, 10)))
                if liked and rng.uniform() < 0.5:
                    records.append(said(one, "like"))
    return records


@pytest.fixture(scope="module")
def log() -> LogInMemory:
    return LogInMemory(fans())


@pytest.fixture(scope="module")
def rows(log: LogInMemory) -> Rows:
    return replay(log, CATALOGUE)[0]


@pytest.fixture(scope="module")
def training(log: LogInMemory) -> Training:
    return train(log, CATALOGUE, ablate=True)


def test_what_came_of_a_row_is_what_its_own_events_say() -> None:
    served = page("ana", ["t0-1", "t1-1", "t2-1", "t3-1", "t0-2"], START_S)
    later = page("ana", ["t1-2"], START_S + 90_000)  # so that the first page is ripe
    records: list[Record] = [
        *served,
        watched(served[0], 5, 21.0),
        said(served[0], "like"),
        watched(served[1], 30, 1.0),
        said(served[1], "not_interested"),
        said(served[2], "impression"),
        said(served[3], "like"),
        watched(served[3], 60, 4.0),
        said(served[3], "unlike", 90),
        event("view", "ana", "t0-2", START_S + 99, watch_s=20.0),  # found elsewhere: of no impression
        *later,
    ]
    rows, _ = replay(LogInMemory(records), CATALOGUE)
    assert [CATALOGUE.video_ids[place] for place in rows.places] == ["t0-1", "t1-1", "t2-1", "t3-1"]
    assert rows.watch_s.tolist() == [21.0, 1.0, 0.0, 4.0]
    assert rows.labels["long_view"].tolist() == rows.labels["complete"].tolist() == [1, 0, 0, 0]
    assert rows.labels["like"].tolist() == [1, 0, 0, 0]
    assert rows.labels["negative"].tolist() == [0, 1, 1, 0]
    assert rows.disliked.tolist() == [False, True, False, False]
    assert rows.left_out == {"not seen": 1, "of the last hour": 1}


def test_a_row_is_made_of_what_the_page_was_asked_with(log: LogInMemory, rows: Rows) -> None:
    at = 700
    number = next(
        i
        for i, one in enumerate(log.records)
        if isinstance(one, Impression)
        and one.time_s == rows.times_s[at]
        and CATALOGUE.place_of(one.video_id) == rows.places[at]
    )
    asked = log.records[number]
    assert isinstance(asked, Impression)
    memory = Memory(LogInMemory(log.records), CATALOGUE)
    memory.catch_up(until=number - asked.position)
    served = features(
        memory.viewer(asked.viewer_id), rows.places[at : at + 1], CATALOGUE, memory.counts, Context(now_s=asked.time_s)
    )
    np.testing.assert_array_equal(rows.features[at], served[0])


def test_nothing_that_comes_later_changes_a_row(log: LogInMemory, rows: Rows) -> None:
    cut = LogInMemory(log.records[: len(log.records) // 2])
    half, _ = replay(cut, CATALOGUE)
    np.testing.assert_array_equal(half.features, rows.features[: len(half)])


def test_a_ranker_learns_who_takes_to_what(training: Training) -> None:
    report = training.report
    assert report.rows == 1_500  # the last of six pages waits: what comes of it is on its way
    assert report.heads["long_view"].auc is not None
    assert report.heads["long_view"].auc > 0.7
    assert report.heads["like"].positives > 150
    assert "positives in the earlier rows" in report.heads["share"].missing
    assert set(report.gauc_by_type) == {"dance", "comedy", "education", "food"}
    assert set(report.without) == {"hour", "place in the session", "duration", "age"}
    assert "ranker" in report.lines()[-1]
    assert report.digest == training.ranker.digest
    assert len(training.collaborative.video_ids) == 80


def test_training_again_on_the_same_log_gives_the_same_ranker_and_leaves_its_snapshots_alone(
    log: LogInMemory, training: Training
) -> None:
    apart = LogInMemory(log.records)
    assert train(apart, CATALOGUE).ranker.digest == training.ranker.digest
    assert not apart.states


def test_a_trained_ranker_ranks_for_a_viewer_and_says_why(log: LogInMemory, training: Training) -> None:
    ranker = training.ranker
    memory = Memory(log, CATALOGUE)
    memory.catch_up()
    places, context = np.arange(80, dtype=np.intp), Context(now_s=START_S + 90_000)
    scored = ranker.score(memory.viewer("v1"), places, CATALOGUE, memory.counts, context)
    own = CATALOGUE.category[places] == 1
    assert scored.value[own].mean() > scored.value[~own].mean()
    assert ((scored.heads["long_view"] > 0) & (scored.heads["long_view"] < 1)).all()
    strongest = ranker.explain(memory.viewer("v1"), int(places[own][0]), CATALOGUE, memory.counts, context)
    assert len(strongest) == 3
    assert all("_" not in one.phrase for one in strongest)


def test_training_goes_by_what_happened_before_the_moment_it_is_told(log: LogInMemory) -> None:
    until_s = START_S + 4 * 7_200
    rows, _ = replay(log, CATALOGUE, until_s=until_s)
    assert 0 < len(rows) < 1_500
    assert rows.times_s.max() < until_s


def test_a_short_log_teaches_nothing_and_says_so() -> None:
    with pytest.raises(TooLittle, match="500 are wanted; left out: 5 of the last hour"):
        train(LogInMemory(page("ana", [f"t0-{n}" for n in range(5)], START_S)), CATALOGUE)
    with pytest.raises(TooLittle, match="left out: none"):
        train(LogInMemory(), CATALOGUE)


# Trust ---------------------------------------------------------------------------------------------------------------

BOT = "bot"


def days(bot: bool, honest: int = 60, count: int = 10, seed: int = 3) -> list[Record]:
    """Honest viewers who take to the topic that is theirs, and a bot who is shown as much as all of them together: it
    watches one topic of four to the end and leaves the others at once, whatever it is that others like."""
    rng = np.random.default_rng(seed)
    records: list[Record] = []
    for day in range(count):
        for n in range(honest):
            drawn = rng.choice(80, 5, replace=False)
            served = page(f"v{n}", [f"t{one % 4}-{one // 4}" for one in drawn], START_S + day * DAY_S + n * 600)
            likes = rng.uniform(size=5) < 0.1 + 0.7 * (drawn % 4 == n % 4)
            records += served
            records += [watched(one, 1 + i, 20.0 if likes[i] else 1.0) for i, one in enumerate(served)]
            shown = page(BOT, [f"t{one % 4}-{one // 4}" for one in drawn], START_S + day * DAY_S + n * 600 + 300)
            records += shown if bot else []
            long = drawn % 4 == 3
            records += [watched(one, 1 + i, 20.0 if long[i] else 1.0) for i, one in enumerate(shown) if bot]
    return records


def by_category(
    viewer: Viewer, places: NDArray[np.intp], catalogue: Catalogue, counts: Counts, context: Context
) -> NDArray[np.float32]:
    """Features that tell no viewer from another, so that what one of them does is learned of all."""
    rows = np.zeros((len(places), len(FEATURE_NAMES)), np.float32)
    rows[:, FEATURE_NAMES.index("category")] = catalogue.category[places]
    return rows


def long_views_said(records: list[Record]) -> tuple[NDArray[np.float64], Training]:
    """(4,) what the trained head says of each category to anybody."""
    training = train(LogInMemory(records), CATALOGUE, make_features=by_category)
    rows = np.zeros((4, len(FEATURE_NAMES)), np.float32)
    rows[:, FEATURE_NAMES.index("category")] = np.arange(4)
    return training.ranker.heads.score(rows, np.arange(4))[:, HEADS.index("long_view")], training


def test_an_account_that_makes_half_of_all_rows_moves_a_head_by_little(monkeypatch: pytest.MonkeyPatch) -> None:
    without, _ = long_views_said(days(bot=False))
    assert without == pytest.approx(np.full(4, 0.275), abs=0.03)  # a tenth, and of a quarter of the viewers 7 more
    pushed = days(bot=True)
    said, training = long_views_said(pushed)
    assert np.abs(said - without).max() < 0.06
    assert training.report.left_out[TIRELESS] > 0.9 * 2_970  # nine of ten days are ripe
    monkeypatch.setattr("recommend.train.weighed", lambda rows: rows)
    unweighed, _ = long_views_said(pushed)
    assert unweighed == pytest.approx([0.14, 0.14, 0.14, 0.64], abs=0.04)  # half of it is what the bot does
    assert np.abs(unweighed - without).max() > 5 * np.abs(said - without).max()


def test_what_a_viewer_may_say_is_a_share_of_all_and_a_row_counts_for_the_trust_of_its_moment() -> None:
    rows = replay(LogInMemory(days(bot=True)), CATALOGUE)[0]
    bot = np.bincount(rows.viewers).argmax()
    mine = rows.viewers == bot
    assert (rows.trusted[~mine] == 1).all()
    assert (rows.trusted[mine][:20] == 1).all(), "nobody could know yet"
    assert not rows.trusted[mine & (rows.times_s > START_S + 3 * DAY_S)].any()
    kept = weighed(rows)
    assert len(kept) == len(kept.labels["like"]) == len(kept.viewers)
    assert (kept.viewers != bot).sum() == (~mine).sum(), "nobody else loses a row"
    assert (kept.viewers == bot).sum() < 1.3 * TIMES_MAX * 50  # of a middling viewer there are 50


def test_among_few_viewers_nobody_is_capped_for_being_one_of_few() -> None:
    assert capped(np.zeros(9, np.int64), np.ones(9)).tolist() == [1.0] * 9
    assert capped(np.array([0, 0, 0, 1]), np.ones(4)).tolist() == [1.0] * 4
    assert capped(np.array([0, 1]), np.zeros(2)).tolist() == [0.0, 0.0]


def test_what_is_watched_together_hears_of_a_tireless_account_by_its_share_too() -> None:
    _, (names, _, strengths) = replay(LogInMemory(days(bot=True)), CATALOGUE)
    said = {name: np.abs(strengths[names == name]).sum() for name in np.unique(names)}
    honest = np.median([total for name, total in said.items() if name != BOT])
    assert 0 < said[BOT] <= TIMES_MAX * honest * 1.001


# The guard -----------------------------------------------------------------------------------------------------------


def planted_leak(log: LogInMemory, share: float) -> Any:
    """Features of which one is a share of long views in which the row's own outcome is counted already."""
    served_s = {one.impression_id: one.time_s for one in log.records if isinstance(one, Impression)}
    long = {
        (one.viewer_id, one.video_id, served_s[one.impression_id or ""]): one.watch_s >= 18
        for one in log.records
        if isinstance(one, Event) and one.kind == "view"
    }
    at = FEATURE_NAMES.index("video_long")

    def leaking(
        viewer: Viewer, places: NDArray[np.intp], catalogue: Catalogue, counts: Counts, context: Context
    ) -> NDArray[np.float32]:
        rows = features(viewer, places, catalogue, counts, context)
        own = [long[viewer.viewer_id, catalogue.video_ids[place], context.now_s] for place in places]
        rows[:, at] = (1 - share) * rows[:, at] + share * np.array(own, np.float32)
        return rows

    return leaking


def test_a_feature_that_knows_its_own_row_is_caught(log: LogInMemory) -> None:
    with pytest.raises(Leak, match=r"video_long: it alone has an AUC of 1\.000"):
        train(log, CATALOGUE, make_features=planted_leak(log, 0.8))


def test_counts_taken_after_the_row_are_caught_by_what_they_lose_one_event_earlier(rows: Rows) -> None:
    labels = rows.labels["long_view"]
    late = rows.features.copy()
    at = FEATURE_NAMES.index("your_creator")
    late[:, at] = (3 * late[:, at] + labels) / 4  # the share of liking of a creator of whom he was shown three
    found = leaks(late, rows.earlier, labels, FEATURE_NAMES)
    assert set(found) == {"your_creator"}
    assert "one event earlier" in found["your_creator"] or "alone" in found["your_creator"]


def test_honest_features_pass_the_guard(rows: Rows) -> None:
    assert len(rows.earlier) == len(rows)
    assert leaks(rows.features, rows.earlier, rows.labels["long_view"], FEATURE_NAMES) == {}


def test_views_told_before_their_page_was_written_down_make_no_rows(log: LogInMemory) -> None:
    """A log that took in what came of a page before the page itself: a row made there would know its outcome."""
    pages: dict[str, list[Record]] = {}
    for one in log.records:
        key = one.slate_id if isinstance(one, Impression) else (one.impression_id or "").rsplit("-", 1)[0]
        pages.setdefault(key, []).append(one)
    swapped = [one for group in pages.values() for one in sorted(group, key=lambda one: isinstance(one, Impression))]
    with pytest.raises(TooLittle, match="1500 not seen"):
        train(LogInMemory(swapped), CATALOGUE)


def test_videos_that_are_gone_make_no_rows() -> None:
    served = page("ana", ["t0-1", "gone"], START_S)
    rows, _ = replay(LogInMemory([*served, *page("ana", ["t0-2"], START_S + 9_000)]), CATALOGUE)
    assert rows.left_out["of unknown videos"] == 1


def test_an_unlike_takes_the_like_back() -> None:
    served = page("ana", ["t0-1"], START_S)
    records: list[Record] = [*served, watched(served[0], 1, 20.0), said(served[0], "like"), said(served[0], "unlike")]
    rows, _ = replay(LogInMemory([*records, *page("ana", ["t0-2"], START_S + 9_000)]), CATALOGUE)
    assert rows.labels["like"].tolist() == [0.0]
