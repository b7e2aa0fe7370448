"""Heads, their calibration and their worth."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest

from recommend.categories import CATEGORIES
from recommend.evaluate import auc, calibration
from recommend.features import FEATURE_NAMES
from recommend.rank import FILE, HEADS, Heads, Platt, Ranker, Values, train_heads

ROWS = 4_000
FAST = {"num_leaves": 7, "min_data_in_leaf": 20}


def planted(seed: int = 0, rows: int = ROWS) -> tuple[np.ndarray, dict[str, np.ndarray], np.ndarray, np.ndarray]:
    """Rows whose long views follow the first feature, quick skips its opposite, likes the second; follows are rare."""
    rng = np.random.default_rng(seed)
    table = rng.normal(size=(rows, len(FEATURE_NAMES))).astype(np.float32)
    categories = rng.integers(0, 3, rows)

    def drawn(logit: np.ndarray) -> np.ndarray:
        return (rng.uniform(size=rows) < 1 / (1 + np.exp(-logit))).astype(float)

    labels = {
        "long_view": drawn(2 * table[:, 0] - 1 + categories),
        "complete": drawn(table[:, 0] - 1),
        "watch": 1 / (1 + np.exp(-table[:, 0] - rng.normal(size=rows))),
        "like": drawn(2 * table[:, 1] - 3),
        "share": drawn(table[:, 1] - 3),
        "follow": (np.arange(rows) % 500 == 0).astype(float),
        "negative": drawn(-2 * table[:, 0] - 1),
    }
    return table, labels, np.arange(rows, dtype=float), categories


@pytest.fixture(scope="module")
def heads() -> Heads:
    return train_heads(*planted(), FEATURE_NAMES, trees=60, parameters=FAST)


def test_each_head_learns_what_was_planted(heads: Heads) -> None:
    table, labels, _, categories = planted(1)
    said = heads.score(table, categories)
    assert auc(labels["long_view"], said[:, HEADS.index("long_view")]) > 0.82
    assert auc(labels["like"], said[:, HEADS.index("like")]) > 0.75
    assert np.corrcoef(labels["watch"], said[:, HEADS.index("watch")])[0, 1] > 0.5
    assert np.corrcoef(table[:, 0], said[:, HEADS.index("negative")])[0, 1] < -0.7


def test_what_is_said_to_happen_happens_so_often_in_every_type(heads: Heads) -> None:
    table, labels, _, categories = planted(2)
    said = heads.score(table, categories)[:, 0]
    for category in range(3):
        rows = categories == category
        assert (
            calibration(labels["long_view"][rows], said[rows]).error < 0.07
        )  # as it was drawn: the types lie three spreads apart


def test_a_head_with_too_few_positives_is_left_out_and_says_why(heads: Heads) -> None:
    assert set(heads.missing) == {"follow"}
    assert "positives in the earlier rows, 50 are wanted" in heads.missing["follow"]
    table, _, _, categories = planted(1, 10)
    assert heads.score(table, categories)[:, HEADS.index("follow")] == pytest.approx(np.full(10, 0.002))


def test_a_row_does_not_depend_on_its_neighbours(heads: Heads) -> None:
    table, _, _, categories = planted(1, 50)
    np.testing.assert_allclose(heads.score(table, categories)[7], heads.score(table[7:8], categories[7:8])[0])


def test_training_again_on_the_same_rows_gives_the_same_ranker(heads: Heads) -> None:
    assert train_heads(*planted(), FEATURE_NAMES, trees=60, parameters=FAST).digest == heads.digest


def test_a_ranker_comes_back_from_disk_and_scores_the_same(heads: Heads, tmp_path: Path) -> None:
    ranker = Ranker(heads)
    ranker.save(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == [FILE]
    again = Ranker.load(tmp_path)
    assert again.digest == ranker.digest
    table, _, _, codes = planted(3, 100)
    one, two = ranker.score_rows(table, codes, CATEGORIES), again.score_rows(table, codes, CATEGORIES)
    np.testing.assert_allclose(one.value, two.value, rtol=1e-12)
    assert "follow" not in one.heads


def test_a_ranker_of_other_features_is_refused(tmp_path: Path) -> None:
    table, labels, times_s, categories = planted()
    Ranker(
        train_heads(table[:, :5], labels, times_s, categories, [f"f{n}" for n in range(5)], trees=2, parameters=FAST)
    ).save(tmp_path)
    with pytest.raises(ValueError, match=r"trained on other features .*: train again"):
        Ranker.load(tmp_path)


def test_nothing_trained_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Ranker.load(tmp_path)


def test_what_a_place_is_worth_is_the_weighted_sum_of_its_heads_by_type(heads: Heads) -> None:
    values = Values(default={"long_view": 1.0, "negative": -2.0}, by_category={"comedy": {"long_view": 3.0}})
    table, _, _, _ = planted(4, 30)
    codes = np.array([0, 1, -1] * 10)
    said = heads.score(table, codes)
    found = Ranker(heads, values).score_rows(table, codes, CATEGORIES).value
    expected = np.where(codes == 1, 3.0, 1.0) * said[:, 0] - 2 * said[:, HEADS.index("negative")]
    np.testing.assert_allclose(found, expected)


def test_other_values_are_another_version(heads: Heads) -> None:
    other = Values(default={"long_view": 1.0}, by_category={})
    assert Ranker(heads, other).digest != Ranker(heads).digest


def test_the_values_that_come_with_it_are_of_heads_and_categories_that_there_are() -> None:
    values = Values.read()
    assert set(values.default) == set(HEADS)
    assert set(values.by_category) <= set(CATEGORIES)
    assert values.default["negative"] < 0


def test_a_value_for_a_head_that_there_is_not_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "values.toml").write_text("[default]\nlong_wiew = 1.0\n")
    with pytest.raises(ValueError, match=r"no heads \['long_wiew'\]"):
        Values.read(tmp_path / "values.toml")


def test_the_strongest_feature_of_a_row_is_the_one_that_made_it(heads: Heads) -> None:
    row = np.zeros(len(FEATURE_NAMES), np.float32)
    row[0] = 3.0
    (name, moved), *_ = heads.explain(row)
    assert name == FEATURE_NAMES[0]
    assert moved > 1


def test_a_type_with_few_rows_is_drawn_to_all() -> None:
    rng = np.random.default_rng(0)
    scores = rng.normal(size=5_000)
    labels = (rng.uniform(size=5_000) < 1 / (1 + np.exp(-scores))).astype(float)
    categories = np.zeros(5_000, int)
    categories[:5], labels[:5] = 1, 1  # five rows that all came true
    few = Platt.fit(scores, labels, categories)
    assert few.overall == pytest.approx((1.0, 0.0), abs=0.12)
    assert few.probabilities(np.zeros(1), np.array([1]))[0] < 0.56
    categories[:2_500], labels[:2_500] = 1, (rng.uniform(size=2_500) < 0.9)
    many = Platt.fit(scores, labels, categories)
    assert many.probabilities(np.zeros(1), np.array([1]))[0] == pytest.approx(0.9, abs=0.03)


def test_calibration_never_turns_an_order_round() -> None:
    scores = np.linspace(-2, 2, 400)
    backward = Platt.fit(scores, (scores < 0).astype(float), np.zeros(400, int))
    assert (np.diff(backward.probabilities(scores, np.zeros(400, int))) >= 0).all()


def test_rows_that_do_not_fit_together_are_refused(heads: Heads) -> None:
    table, labels, times_s, categories = planted(0, 100)
    with pytest.raises(ValueError, match="one row each"):
        train_heads(table, labels, times_s[:50], categories, FEATURE_NAMES)
    with pytest.raises(ValueError, match="features are wanted"):
        heads.score(table[:, :3], categories)


def test_seven_heads_of_the_shipped_size_score_250_rows_in_milliseconds() -> None:
    table, labels, times_s, categories = planted(rows=6_000)
    labels["follow"] = labels["share"]
    heads = train_heads(table, labels, times_s, categories, FEATURE_NAMES)
    assert not heads.missing
    took_s = []
    for _ in range(30):
        began = time.thread_time()
        heads.score(table[:250], categories[:250])
        took_s.append(time.thread_time() - began)
    print(f"seven heads on 250 rows: {np.median(took_s) * 1e3:.2f} ms")
    assert np.median(took_s) < 0.05  # 12 ms is aimed at; a machine that others use takes longer
