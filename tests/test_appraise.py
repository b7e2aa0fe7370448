"""What a feed is worth, told from a log whose every place the test has made."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from index.records import Event, Impression
from recommend.appraise import FIRST, HeldOut, of_log, of_ranker
from recommend.catalogue import Catalogue, Entry
from recommend.categories import CATEGORIES, CODES
from recommend.evaluate import Interval
from recommend.pipeline import FRESH_SHARE
from recommend.report import Section
from tests.known import START_S, Record, catalogue_of, centres
from tests.known import event as happened

CATALOGUE = catalogue_of(40)
"""40 videos of each category, all of 20 s: a watch of 18 s is long."""
FOOD, NEWS = CODES["food"], CODES["news"]


def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def place(
    viewer: str, video: str, number: int, *, slot: str = "rank", slate: str = "", score: float = 0.0, p: float = 1.0
) -> Impression:
    return Impression(
        impression_id=f"{viewer}-{number}", slate_id=slate or f"{viewer}-{number}", viewer_id=viewer, video_id=video,
        time_s=START_S + number, position=number % 20, source="interests", slot=slot, propensity=p, score=score,
    )  # fmt: skip


def watched(one: Impression, watch_s: float) -> Event:
    return happened(
        "view", one.viewer_id, one.video_id, one.time_s + 1, watch_s=watch_s, impression_id=one.impression_id
    )


def counted(records: list[Record], catalogue: Catalogue = CATALOGUE) -> dict[str, Section]:
    return {one.title: one for one in of_log(enumerate(records, 1), catalogue, rng())}


def by(section: Section, column: str) -> dict[str, dict[str, Any]]:
    return {str(row[column]): dict(row) for row in section.rows}


def value(figure: Any) -> float:
    return figure.value if isinstance(figure, Interval) else figure


def test_nothing_was_served_so_nothing_is_said() -> None:
    assert of_log([], CATALOGUE, rng()) == []


def test_places_are_counted_by_what_came_of_them() -> None:
    records: list[Record] = []
    for viewer in ("ana", "ben"):
        for number, (slot, watch_s) in enumerate([("rank", 20.0), ("rank", 2.0), ("rank", 19.0), ("uniform", 3.0)]):
            one = place(viewer, f"t{number}-0", number, slot=slot)
            records += [one, watched(one, watch_s)]
        records.append(place(viewer, "t5-0", 9))  # never came on a screen
        records.append(happened("like", viewer, "t0-0", START_S + 2, impression_id=f"{viewer}-0"))
        records.append(happened("like", viewer, "t7-0", START_S + 2, impression_id=f"{viewer}-1"))  # of another video
    rows = by(counted(records)["What was served"], "slot")
    assert (rows["rank"]["served"], rows["rank"]["seen"]) == (8, 6)
    assert value(rows["rank"]["long views"]) == pytest.approx(2 / 3)
    assert value(rows["rank"]["likes"]) == pytest.approx(1 / 3)
    assert value(rows["uniform"]["long views"]) == 0
    assert value(rows["rank"]["above uniform"]) == pytest.approx(2 / 3)
    assert "above uniform" not in rows["uniform"]


def test_one_viewer_has_figures_and_no_interval() -> None:
    one = place("ana", "t0-0", 1)
    row = by(counted([one, watched(one, 20.0)])["What was served"], "slot")["rank"]
    assert row["long views"] == 1.0


def of_category(code: int, count: int, *, since: int = 0) -> list[str]:
    return [f"t{code}-{n % 40}" for n in range(since, since + count)]


def served(viewer: str, videos: list[str]) -> list[Record]:
    return [place(viewer, video, number) for number, video in enumerate(videos)]


def test_feeds_that_close_in_are_counted_over_viewers() -> None:
    broad = [f"t{n % 12}-{n // 12 % 40}" for n in range(240)]
    closes = [*broad[:180], *of_category(FOOD, 60)]
    always = of_category(NEWS, 240)
    few = of_category(NEWS, 39)  # one fewer than anything is said of
    records = [one for name, his in zip("abcd", (broad, closes, always, few), strict=True) for one in served(name, his)]
    section = counted(records)["Whether feeds close in"]
    assert section.kind == "log"
    rows = by(section, "figure")
    one_category = rows["more than 50% of one category"]
    assert (one_category["viewers"], value(one_category["value"])) == (3, pytest.approx(2 / 3))
    assert value(rows["more than 20% sensitive"]["value"]) == 0
    assert value(rows["narrowing"]["value"]) == pytest.approx(1 / 3)
    # sixty of twelve equally: 12 × e^(11/120); one category: 1
    even, before = 12 * np.exp(11 / 120), 12 * np.exp(11 / 360)
    assert value(rows["effective number of categories"]["value"]) == pytest.approx((even + 1 + 1) / 3)
    assert value(rows["effective number of categories before"]["value"]) == pytest.approx((2 * before + 1) / 3)
    assert value(rows["effective number of categories since"]["value"]) == pytest.approx((even + 2) / 3)


def test_sensitive_videos_are_counted_as_their_caller_named_them() -> None:
    catalogue = catalogue_of(5)
    entries = [entry(n, sensitive=n < 3) for n in range(10)]
    catalogue.put(entries)
    some = [f"s{n % 10}" for n in range(40)]  # three in ten
    none = [f"s{3 + n % 7}" for n in range(40)]
    records = [*served("a", some), *served("b", none)]
    rows = by(counted(records, catalogue)["Whether feeds close in"], "figure")
    assert value(rows["more than 20% sensitive"]["value"]) == 0.5
    assert rows["narrowing"] == {"figure": "narrowing", "viewers": 0, "value": None}


def entry(number: int, *, sensitive: bool) -> Entry:
    return Entry(
        video_id=f"s{number}", vector=centres()[number], category=CATEGORIES[number], duration_s=20.0,
        sensitive=sensitive,
    )  # fmt: skip


def held(rows: int, viewers: int, *, shown: float = 0.0) -> HeldOut:
    """Each viewer has `rows`, of which he watched the first four long; the ranker puts those at 1, 3, 11 and 12."""
    order = [1, 3, 11, 12, *(n for n in range(1, rows + 1) if n not in (1, 3, 11, 12))]
    n = rows * viewers
    long = np.tile(np.arange(rows) < 4, viewers).astype(np.float64)
    said = np.tile(1 / np.array(order), viewers)
    return HeldOut(
        viewers=np.repeat(np.arange(viewers), rows), categories=np.zeros(n, np.int32), shown=np.full(n, shown),
        duration_s=np.full(n, 20.0), watch_s=20 * long, labels={"long_view": long}, said={"long_view": said},
        quantile=long,
    )  # fmt: skip


def test_recall_is_the_share_of_long_views_among_the_first_ten() -> None:
    row = of_ranker(held(20, 12), CATALOGUE, rng())[0].rows[0]
    assert value(row[f"recall@{FIRST}"]) == pytest.approx(0.5)
    assert row["and in any order"] == pytest.approx(FIRST / 20)


def test_of_viewers_with_few_rows_there_is_no_recall() -> None:
    few, many = held(12, 12), held(12, 12)
    small = HeldOut(
        viewers=np.repeat(np.arange(24), 6), categories=few.categories, shown=few.shown, duration_s=few.duration_s,
        watch_s=few.watch_s, labels=few.labels, said=few.said, quantile=few.quantile,
    )  # fmt: skip
    assert f"recall@{FIRST}" in of_ranker(many, CATALOGUE, rng())[0].rows[0]
    assert f"recall@{FIRST}" not in of_ranker(small, CATALOGUE, rng())[0].rows[0]


def test_cold_rows_are_judged_apart_from_warm_ones() -> None:
    cold, warm = held(20, 12, shown=3.0), held(20, 12, shown=300.0)
    both = HeldOut(
        viewers=np.r_[cold.viewers, warm.viewers], categories=np.r_[cold.categories, warm.categories],
        shown=np.r_[cold.shown, warm.shown], duration_s=np.r_[cold.duration_s, warm.duration_s],
        watch_s=np.r_[cold.watch_s, warm.watch_s], quantile=np.r_[cold.quantile, warm.quantile],
        labels={"long_view": np.r_[cold.labels["long_view"], warm.labels["long_view"]]},
        said={"long_view": np.r_[cold.said["long_view"], -warm.said["long_view"]]},  # it is wrong of the warm ones
    )  # fmt: skip
    rows = by(of_ranker(both, CATALOGUE, rng())[0], "rows of")
    assert [rows[name]["rows"] for name in ("all", "cold", "warm")] == [480, 240, 240]
    # of 64 pairs the long ones at 1, 3, 11 and 12 win 16, 15, 8 and 8
    assert value(rows["cold"]["AUC long_view"]) == pytest.approx(47 / 64)
    assert value(rows["warm"]["AUC long_view"]) == pytest.approx(17 / 64)


def test_a_class_that_most_draws_of_viewers_lack_has_no_interval_and_stops_nothing() -> None:
    once = held(20, 12)
    labels = np.zeros(240)
    labels[0] = 1
    rare = HeldOut(
        viewers=once.viewers, categories=once.categories, shown=once.shown, duration_s=once.duration_s,
        watch_s=20 * labels, labels={"long_view": labels}, said=once.said, quantile=labels,
    )  # fmt: skip
    row = of_ranker(rare, CATALOGUE, rng())[0].rows[0]
    assert row["AUC long_view"] is None


DIE = "The ranker among what a fair die chose"
SLOTS = "What the slots for new things go to"


def by_the_die(*, per_viewer: int, viewers: int = 60, is_told: bool = True, seed: int = 1) -> list[Record]:
    """A die over 480 videos. Every second viewer watches one video in ten long, the others one in two; the better half
    of the videos adds a third to that, and the score of every video a viewer's own level."""
    dice = np.random.default_rng(seed)
    records: list[Record] = []
    for viewer in range(viewers):
        base = 0.1 + 0.4 * (viewer % 2)
        for n in range(per_viewer):
            drawn = int(dice.integers(480))
            is_good = drawn // 12 % 2 == 0
            tells = is_good if is_told else dice.random() < 0.5
            level = 10.0 * (viewer % 2)
            slate = f"{viewer}-{n}"
            records.append(place(f"v{viewer}", "t0-0", 2 * n, slate=slate, score=level + 1))
            video = f"t{drawn % 12}-{drawn // 12}"
            one = place(
                f"v{viewer}", video, 2 * n + 1, slot="uniform", slate=slate, p=1 / 480,
                score=level + 0.5 * tells + 0.1 * dice.random(),
            )  # fmt: skip
            records += [one, watched(one, 19.0 if dice.random() < base + is_good / 3 else 2.0)]
    return records


def test_what_the_ranker_would_earn_among_what_the_die_chose_is_the_truth() -> None:
    section = counted(by_the_die(per_viewer=60))[DIE]
    assert section.kind == "off_policy"
    rows = by(section, "policy")
    truth = {
        "the fair die, as it was": 0.3 + 1 / 6,
        "its better half by the ranker": 0.3 + 1 / 3,
        "its other half": 0.3,
    }
    for name, true in truth.items():
        for estimator in ("IPS", "SNIPS", "DR", "DRos"):
            said = rows[name][estimator]
            assert said.low <= true <= said.high, (name, estimator, said)
        assert rows[name]["mean weight"].value == pytest.approx(1, abs=0.05)
    assert rows["the fair die, as it was"]["ESS"] == pytest.approx(3_600)
    assert rows["its other half"]["ESS"] == pytest.approx(1_800, rel=0.05)
    assert "its better half by the ranker 0.6" in section.note
    assert "is above the fair die, as it was" in section.note


def test_a_ranker_that_knows_nothing_wins_nothing() -> None:
    section = counted(by_the_die(per_viewer=60, is_told=False))[DIE]
    assert "no winner" in section.note
    better = by(section, "policy")["its better half by the ranker"]["DRos"]
    assert better.low <= 0.3 + 1 / 6 <= better.high


def test_a_log_that_is_too_small_gives_words_and_no_figure() -> None:
    section = counted(by_the_die(per_viewer=1))[DIE]
    assert section.rows == ()
    assert "Too little to say anything: 60 places of the fair die came on a screen, of 60 viewers" in section.note
    few = counted(by_the_die(per_viewer=30, viewers=10))[DIE]
    assert few.rows == ()
    assert "of 10 viewers; at least 100 and 20 are wanted" in few.note


def test_a_half_that_is_worth_too_few_rows_has_no_figures() -> None:
    section = counted(by_the_die(per_viewer=2, viewers=75))[DIE]
    rows = by(section, "policy")
    assert rows["the fair die, as it was"]["DRos"] is not None
    assert rows["its better half by the ranker"]["DRos"] is None
    assert "effective sample" in section.note


def by_the_coin(fresh: float, seed: int = 2) -> list[Record]:
    """Slots of a coin: one in two first looks is watched long, and one in five of what explores."""
    dice = np.random.default_rng(seed)
    records: list[Record] = []
    for viewer in range(50):
        for n in range(60):
            slot = "fresh" if dice.random() < fresh else "explore"
            one = place(f"v{viewer}", f"t{n % 12}-{n % 40}", n, slot=slot, p=float(dice.uniform(0.02, 0.98)))
            records += [one, watched(one, 19.0 if dice.random() < (0.5 if slot == "fresh" else 0.2) else 2.0)]
    return records


def test_slots_of_one_kind_alone_would_earn_what_that_kind_does() -> None:
    section = counted(by_the_coin(FRESH_SHARE))[SLOTS]
    rows = by(section, "policy")
    mixed = FRESH_SHARE * 0.5 + (1 - FRESH_SHARE) * 0.2
    for name, true in {"first looks alone": 0.5, "exploration alone": 0.2, "both, as it was": mixed}.items():
        for estimator in ("IPS", "SNIPS", "DR", "DRos"):
            said = rows[name][estimator]
            assert said.low <= true <= said.high, (name, estimator, said)
    assert "first looks alone 0.5" in section.note
    assert "is above" in section.note


def test_where_the_coin_had_no_say_nothing_is_concluded() -> None:
    section = counted(by_the_coin(FRESH_SHARE / 3))[SLOTS]  # mostly there was no new video
    assert "no winner" in section.note
    assert "the log does not cover it" in section.note
