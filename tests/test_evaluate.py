"""The measures agree with hand-worked numbers, with scikit-learn and scipy, and with each other."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import kendalltau, somersd
from sklearn.metrics import ndcg_score, roc_auc_score
from threadpoolctl import threadpool_limits

from recommend.evaluate import (
    Interval,
    auc,
    auc_of,
    bootstrap,
    calibration,
    coverage,
    gauc,
    gauc_of,
    gini,
    mean_of,
    ndcg,
    novelty,
    paired_bootstrap,
    recall_at,
    xauc,
    xauc_of,
)

ONE_CLASS = np.ones(3)


def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def clicks(count: int, users: int = 40) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Labels that scores with many ties say something of, and whose they are."""
    dice = rng()
    scores = dice.integers(0, 12, count) / 12
    labels = (dice.random(count) < 0.1 + 0.4 * scores).astype(np.int64)
    return labels, scores, dice.integers(0, users, count)


@pytest.mark.parametrize("seed", range(5))
def test_auc_is_that_of_scikit_learn_with_ties_and_weights(seed: int) -> None:
    dice = np.random.default_rng(seed)
    labels, scores, weights = dice.integers(0, 2, 300), dice.integers(0, 9, 300), dice.integers(0, 4, 300)
    assert auc(labels, scores) == pytest.approx(roc_auc_score(labels, scores))
    assert auc(labels, scores, weights) == pytest.approx(roc_auc_score(labels, scores, sample_weight=weights))


def test_gauc_weighs_viewers_by_their_rows_and_leaves_out_those_with_one_class() -> None:
    labels = np.array([1, 0, 1, 0, 0, 0, 1, 1])
    scores = np.array([2, 1, 1, 2, 0, 0, 9, 9])
    users = np.array(["a", "a", "b", "b", "b", "b", "c", "c"])
    # a: 1 of 1 pair, 2 rows; b: 1 is above two of three, 4 rows; c: only positives, left out with both rows
    assert gauc(labels, scores, users) == pytest.approx((2 * 1 + 4 * 2 / 3) / 6)


def test_gauc_is_the_weighted_mean_of_the_aucs_within_viewers() -> None:
    labels, scores, users = clicks(800)
    each = [(users == user, np.ptp(labels[users == user])) for user in np.unique(users)]
    pairs = [(rows.sum(), roc_auc_score(labels[rows], scores[rows])) for rows, both in each if both]
    sizes, values = np.array(pairs).T
    assert gauc(labels, scores, users) == pytest.approx(float(sizes @ values / sizes.sum()))


def test_a_score_that_only_tells_viewers_apart_has_an_auc_but_no_gauc() -> None:
    users = np.repeat(np.arange(100), 10)
    labels = (rng().random(1000) < users / 100).astype(np.int64)
    assert auc(labels, users) > 0.7
    assert gauc(labels, users, users) == 0.5


def test_xauc_of_binary_times_is_auc() -> None:
    labels, scores, _ = clicks(500)
    assert xauc(labels, scores) == pytest.approx(auc(labels, scores))


@pytest.mark.parametrize("levels", [3, 40, 10**9])
def test_xauc_counts_every_pair_of_different_times(levels: int) -> None:
    dice = np.random.default_rng(levels)
    watched = dice.integers(0, 25, 120).astype(float)
    predicted = watched + dice.integers(0, levels, 120) / levels * 20
    predicted = np.floor(predicted * levels / 60)
    apart = watched[:, None] > watched[None, :]
    won = np.sign(predicted[:, None] - predicted[None, :]) / 2 + 0.5
    assert xauc(watched, predicted) == pytest.approx(won[apart].mean())
    assert xauc(watched, predicted) == pytest.approx(0.5 + somersd(watched, predicted).statistic / 2)


def test_xauc_without_ties_is_kendalls_tau() -> None:
    watched, predicted = rng().random(400), rng().random(400) + np.arange(400) / 300
    assert xauc(watched, predicted) == pytest.approx(0.5 + kendalltau(watched, predicted).statistic / 2)


@pytest.mark.parametrize("name", ["auc", "gauc", "xauc"])
def test_a_weight_of_two_is_a_row_that_comes_twice(name: str) -> None:
    labels, scores, users = clicks(300)
    watched = labels * rng().integers(1, 6, 300)
    times = rng().integers(0, 3, 300)
    rows = np.repeat(np.arange(300), times)
    by_weight, by_rows = {
        "auc": (auc_of(labels, scores)(times * 1.0), lambda: auc(labels[rows], scores[rows])),
        "gauc": (gauc_of(labels, scores, users)(times * 1.0), lambda: gauc(labels[rows], scores[rows], users[rows])),
        "xauc": (xauc_of(watched, scores)(times * 1.0), lambda: xauc(watched[rows], scores[rows])),
    }[name]
    assert by_weight == pytest.approx(by_rows())


@pytest.mark.parametrize("at", [1, 3, 10, 50])
def test_ndcg_is_that_of_scikit_learn_with_ties(at: int) -> None:
    dice = rng()
    relevance, scores = dice.integers(0, 4, (20, 15)), dice.integers(0, 6, (20, 15))
    users = np.repeat(np.arange(20), 15)
    known, values = ndcg(relevance.ravel(), scores.ravel(), users, at)
    expected = [ndcg_score(relevance[user : user + 1], scores[user : user + 1], k=at) for user in known]
    assert values == pytest.approx(expected)


def test_recall_counts_what_is_found_and_shares_places_among_equals() -> None:
    users = np.array([1, 1, 1, 2, 2, 3])
    relevance = np.array([1, 1, 0, 1, 0, 0])
    scores = np.array([3, 1, 2, 5, 5, 1])
    known, values = recall_at(relevance, scores, users, at=1)
    assert known.tolist() == [1, 2]  # 3 has nothing to find
    assert values.tolist() == [0.5, 0.5]  # the second shares its first place with a row that is not relevant


def test_calibration_finds_no_fault_with_rates_and_the_fault_of_others() -> None:
    labels = np.array([0, 0, 0, 1] * 50 + [0, 1, 1, 1] * 50)
    honest = np.repeat([0.25, 0.75], 200)
    assert calibration(labels, honest).error == pytest.approx(0)
    table = calibration(labels, np.repeat([0.35, 0.95], 200), bins=2)
    assert table.error == pytest.approx((0.1 + 0.2) / 2)
    assert table.counts.tolist() == [200, 200]
    assert table.said == pytest.approx([0.35, 0.95])
    assert table.seen == pytest.approx([0.25, 0.75])


def test_calibration_bins_have_about_equally_many_rows() -> None:
    probabilities = rng().beta(1, 40, 10_000)
    table = calibration((rng().random(10_000) < probabilities).astype(int), probabilities, bins=10)
    assert len(table.counts) == 10
    assert table.counts.min() > 900
    assert table.counts.sum() == 10_000


def test_exposure_figures_are_those_worked_by_hand() -> None:
    assert coverage(np.array([1, 1, 5]), 10) == 0.2
    assert gini(np.ones(7)) == pytest.approx(0)
    assert gini(np.array([1, 2, 3, 4])) == pytest.approx(0.25)
    assert novelty(np.array([0]), np.array([2, 0])) == pytest.approx(-np.log2(3 / 4))
    views = np.array([100, 10, 0])
    assert novelty(np.array([2]), views) > novelty(np.array([1]), views) > novelty(np.array([0]), views)


def test_the_interval_of_a_mean_is_that_of_its_standard_error() -> None:
    values = rng().normal(3, 2, 2000)
    found = bootstrap(np.arange(2000), mean_of(values), 1000, rng())
    half = 1.96 * values.std() / 2000**0.5
    assert found.value == pytest.approx(values.mean())
    assert (found.high - found.low) / 2 == pytest.approx(half, rel=0.1)


def test_rows_of_one_viewer_are_no_more_news_than_the_viewer() -> None:
    values, users = np.repeat(rng().normal(0, 1, 100), 20), np.repeat(np.arange(100), 20)
    by_viewer = bootstrap(users, mean_of(values), 500, rng())
    by_row = bootstrap(np.arange(2000), mean_of(values), 500, rng())
    assert by_viewer.high - by_viewer.low > 3 * (by_row.high - by_row.low)


def test_an_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    covered = 0
    for seed in range(200):
        dice = np.random.default_rng(seed)
        found = bootstrap(np.arange(150), mean_of(dice.normal(1, 1, 150)), 200, dice)
        covered += found.low <= 1 <= found.high
    assert 180 <= covered <= 199


def test_a_pair_is_told_apart_where_two_intervals_overlap() -> None:
    labels, scores, users = clicks(4000, users=400)
    better = scores + 0.01 * labels * (np.arange(4000) % 3 == 0)
    one, other = (bootstrap(users, auc_of(labels, s), 300, rng()) for s in (better, scores))
    assert one.low < other.high
    apart = paired_bootstrap(users, auc_of(labels, better), auc_of(labels, scores), 300, rng())
    assert apart.excludes_zero
    assert apart.value == pytest.approx(one.value - other.value)
    assert paired_bootstrap(users, auc_of(labels, scores), auc_of(labels, scores), 50, rng()).value == 0


def test_the_same_dice_give_the_same_interval() -> None:
    labels, scores, users = clicks(500)
    one, two = (bootstrap(users, auc_of(labels, scores), 50, np.random.default_rng(1)) for _ in range(2))
    assert one == two


@pytest.mark.parametrize("of", [auc_of, lambda labels, scores: xauc_of(labels * scores, scores)])
def test_hundreds_of_rounds_over_thirty_thousand_rows_take_seconds(of: Any) -> None:
    dice = rng()
    labels, scores, users = dice.integers(0, 2, 30_000), dice.random(30_000), dice.integers(0, 3000, 30_000)
    took_s = []
    with threadpool_limits(1):  # threads that wait for each other burn time that no round needs
        for _ in range(3):
            began_s = time.process_time()
            bootstrap(users, of(labels, scores), 20, rng())
            took_s.append(time.process_time() - began_s)
    assert min(took_s) / 20 < 0.04  # five times what it took; 500 rounds in seconds


def test_draws_without_a_figure_are_counted_and_many_of_them_are_refused() -> None:
    labels, scores, users = np.array([1] * 6 + [0] * 6), np.arange(12.0), np.arange(12)
    found = bootstrap(users, auc_of(labels, scores), 5000, rng())
    assert 0 < found.undefined < 20
    with pytest.raises(ValueError, match="too little to go by"):
        bootstrap(np.arange(3), auc_of(np.array([1, 0, 0]), np.arange(3.0)), 200, rng())


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: auc(ONE_CLASS, np.arange(3)), "AUC wants rows of both classes; none among 3 rows"),
        (lambda: auc(np.array([]), np.array([])), "none among 0 rows"),
        (lambda: gauc(np.array([0, 1]), np.array([1, 2]), np.array([1, 2])), "GAUC wants a viewer with both classes"),
        (lambda: xauc(ONE_CLASS, np.arange(3)), "XAUC wants two different times"),
        (lambda: xauc(np.array([]), np.array([])), "XAUC wants two different times"),
        (lambda: auc(np.array([0, 2]), np.arange(2)), "labels are 0 or 1"),
        (lambda: auc(np.array([0, 1]), np.array([np.nan, 1])), "scores: 1 of 2 are not finite"),
        (lambda: auc(np.array([0, 1]), np.arange(3)), "2 labels, 3 scores"),
        (lambda: ndcg(np.array([-1.0]), np.array([1.0]), np.array([1]), 1), "relevance is 0 or more"),
        (lambda: recall_at(np.array([1]), np.array([1.0]), np.array([1]), 0), "one place wanted"),
        (lambda: calibration(np.array([0, 1]), np.array([0.5, 1.5])), "probabilities of 0..1"),
        (lambda: gini(np.zeros(4)), "one above 0"),
        (lambda: novelty(np.array([], dtype=np.int64), np.ones(3)), "at least one video"),
        (lambda: coverage(np.array([0]), 0), "at least one video"),
    ],
)
def test_what_cannot_be_measured_is_an_error_that_says_why(call: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        call()


def test_an_interval_reads_as_a_line() -> None:
    assert str(Interval(value=0.5, low=0.4, high=0.6, rounds=100)) == "0.5000 [0.4000, 0.6000]"
