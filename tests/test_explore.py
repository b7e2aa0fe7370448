"""Exploration: what is drawn, how likely it was, and what becomes of a new video."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import beta as beta_law

from recommend import explore

RNG = np.random.default_rng


# Places


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 60), st.integers(0, 200))
def test_slots_are_five_to_ten_places_apart_and_never_among_the_first_two(seed: int, k: int, place: int) -> None:
    found = explore.positions(k, RNG(seed), 0, place)
    assert all(explore.FIRST_PLACES <= slot < k for slot in found)
    assert all(5 <= b - a <= 10 for a, b in itertools.pairwise(found))
    if place == 0:
        assert all(slot >= 5 for slot in found)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32))
def test_slots_of_two_pages_in_a_row_are_five_places_apart(seed: int) -> None:
    rng = RNG(seed)
    first, second = explore.positions(20, rng, 0, 0), explore.positions(20, rng, 0, 20)
    assert 20 + second[0] - first[-1] >= 5


def test_every_place_of_a_page_of_twenty_is_a_slot_now_and_then() -> None:
    drawn = [explore.positions(20, RNG(seed), 0, 20) for seed in range(2_000)]
    assert {slot for slots in drawn for slot in slots} == set(range(2, 18))
    assert 20 / np.mean([len(slots) for slots in drawn]) == pytest.approx(8.5, abs=1.5)


def test_two_straight_skips_are_answered_with_the_best_there_is() -> None:
    assert explore.positions(20, RNG(0), 1, 40) != []
    assert explore.positions(20, RNG(0), 2, 40) == []
    assert explore.positions(20, RNG(0), 7, 0) == []


def test_the_fair_die_fills_two_places_in_a_thousand_each_candidate_alike() -> None:
    rng, filled = RNG(3), []
    for _ in range(5_000):
        filled += explore.uniform_places(20, 4, rng)
    assert len(filled) / 100_000 == pytest.approx(0.002, rel=0.2)
    assert np.bincount([choice.index for _, choice in filled]) / len(filled) == pytest.approx(0.25, abs=0.1)
    assert {choice.propensity for _, choice in filled} == {0.25}
    assert explore.uniform_places(20, 0, rng) == []


# Adjacent but distinct


def test_novelty_peaks_at_home_distance_and_is_nothing_at_home() -> None:
    distance = np.linspace(0, 2, 2001)
    novel = explore.novelty(distance, 0.4)
    assert distance[novel.argmax()] == pytest.approx(0.4)
    assert novel.max() == pytest.approx(1.0)
    assert novel[0] == 0.0
    assert explore.novelty(np.array([math.nan]), 0.4)[0] == 0.0


def test_distance_is_to_the_nearest_interest() -> None:
    interests = np.array([[1.0, 0.0], [0.0, 1.0]])
    candidates = np.array([[0.6, 0.8], [1.0, 0.0], [-1.0, 0.0], [0.0, 0.0]])
    assert explore.distances(interests, candidates)[:3] == pytest.approx([0.2, 0.0, 1.0])
    assert math.isnan(explore.distances(interests, candidates)[3])  # it has no such modality
    assert np.isnan(explore.distances(np.zeros((0, 2)), candidates)).all()


def test_home_distance_is_how_far_apart_the_interests_are() -> None:
    assert explore.home_distance(np.eye(4)) == pytest.approx(1.0)
    assert explore.home_distance(np.array([[1.0, 0.0], [0.6, 0.8]])) == pytest.approx(0.4)
    assert explore.home_distance(np.eye(4)[:1]) == explore.HOME_DEFAULT


def test_new_in_one_thing_and_at_home_in_the_others_is_novel_and_says_in_which() -> None:
    distance = {
        "sound": np.array([0.5, 0.0, 0.0, 2.0, math.nan]),
        "topic": np.array([0.0, 0.0, 0.1, 2.0, 0.0]),
        "creator": np.array([0.0, 0.0, 0.7, 0.7, 0.7]),
    }
    novel, part = explore.novelty_by_part(distance, {"sound": 0.5, "topic": 0.5, "creator": 0.7})
    assert novel[:3] == pytest.approx([1.0, 0.0, 1.0])
    assert [part[0], part[2], part[4]] == ["sound", "creator", "creator"]
    assert novel[3] < 0.01  # far in everything
    assert novel[4] == pytest.approx(1.0)  # silent, and nothing is held against it


def test_a_likely_dislike_weighs_on_the_exploration_score() -> None:
    score = explore.exploration_scores(np.array([0.5, 0.5]), np.array([1.0, 1.0]), np.array([0.0, 0.5]), dislike=2.0)
    assert score.tolist() == [0.5, 0.125]


def test_propensities_of_a_sample_are_its_frequencies() -> None:
    scores, rng = np.array([0.3, 0.2, 0.0, 0.9]), RNG(5)
    eligible = np.array([True, True, True, False])
    drawn = [explore.sample(scores, rng, eligible=eligible) for _ in range(8_000)]
    told = {choice.index: choice.propensity for choice in drawn if choice}
    frequency = np.bincount([choice.index for choice in drawn if choice], minlength=4) / len(drawn)
    assert sum(told.values()) == pytest.approx(1.0)
    assert [told[i] for i in range(3)] == pytest.approx(frequency[:3], abs=0.02)
    assert told[0] / told[1] == pytest.approx(math.exp(0.1 / explore.TEMPERATURE))
    assert drawn[0] is not None
    assert drawn[0].log_propensity == pytest.approx(math.log(drawn[0].propensity))


def test_nothing_eligible_draws_nothing() -> None:
    assert explore.sample(np.array([1.0]), RNG(0), eligible=np.array([False])) is None
    assert explore.sample(np.zeros(0), RNG(0)) is None


# What is expected of a new video


def test_the_first_guess_of_an_unknown_video_is_its_category_in_that_segment() -> None:
    base, none = np.array([[0.3, 0.1]]), np.zeros((1, 2))
    rates = explore.expected_rates(base, np.ones(1), none, none)
    assert rates == pytest.approx(base)
    alpha, beta = explore.posterior(rates, none, none, kappa=20)
    assert alpha == pytest.approx(np.array([[6.0, 2.0]]))
    assert beta == pytest.approx(np.array([[14.0, 18.0]]))


def test_a_posterior_worked_by_hand() -> None:
    """Segment 1 saw it 40 times and watched 16 long, where .2 were expected; segment 0 ten times, 1 long."""
    base, shown, long = np.array([[0.2, 0.2]]), np.array([[10.0, 40.0]]), np.array([[1.0, 16.0]])
    rates = explore.expected_rates(base, np.ones(1), shown, long, kappa=20)
    # segment 0: the others had 16 where 8 were expected, and a promise of 1 counts for 20 × .2 = 4: (16 + 4) / (8 + 4)
    # segment 1: 1 where 2 were expected: (1 + 4) / (2 + 4)
    assert rates == pytest.approx(np.array([[0.2 * 20 / 12, 0.2 * 5 / 6]]))
    alpha, beta = explore.posterior(rates, shown, long, kappa=20)
    # κ: 20 + 40 / 2 = 40 for segment 0, 20 + 10 / 2 = 25 for segment 1
    assert alpha == pytest.approx(np.array([[40 / 3 + 1, 25 / 6 + 16]]))
    assert beta == pytest.approx(np.array([[40 * 2 / 3 + 9, 25 * 5 / 6 + 24]]))
    assert explore.above(alpha, beta, 0.3)[0, 1] == pytest.approx(beta_law.sf(0.3, alpha[0, 1], beta[0, 1]))


def test_a_creators_and_a_contents_promise_move_the_guess_and_stay_within_bounds() -> None:
    creator = explore.lift(np.array([30.0, 0.0]), np.array([10.0, 0.0]), strength=10.0)
    assert creator.tolist() == [2.0, 1.0]
    assert explore.prior_lift(creator, np.array([1.5, 1.0])).tolist() == [3.0, 1.0]
    assert explore.prior_lift(np.array([100.0]), np.array([1.0]))[0] == explore.LIFT_MAX


def test_content_that_tells_nothing_gets_a_slope_of_nothing() -> None:
    rng = RNG(0)
    signal, true = rng.normal(size=(2, 4_000))
    expected = rng.gamma(2, 10, 4_000)
    long = rng.poisson(expected * np.exp(0.5 * true)).astype(float)
    assert abs(explore.content_slope(signal, long, expected)) < 0.03
    assert explore.content_slope(true, long, expected) == pytest.approx(0.5, abs=0.1)
    none = np.zeros(5)
    assert explore.content_slope(signal[:5], none, none) == 0.0


def test_rates_of_cells_that_nobody_saw_lean_on_their_row_and_column() -> None:
    shown = np.array([[1e6, 1e6], [1e6, 0.0]])
    found = explore.base_rates(shown, shown * np.array([[0.2, 0.4], [0.1, 0.0]]))
    assert found[0] == pytest.approx([0.2, 0.4], abs=0.001)
    assert found[1, 0] < found[1, 1] < found[0, 1]


# What becomes of it


def standing(
    seen: float, long: float, spent: float = 0.0, segments: int = 3
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """certainty, shown, spent of a video that every segment saw `seen` times and watched `long` times, mean .26."""
    base = np.full((1, segments), 0.26)
    shown, longs = np.full((1, segments), seen), np.full((1, segments), long)
    rates = explore.expected_rates(base, np.ones(1), shown, longs)
    alpha, beta = explore.posterior(rates, shown, longs)
    return explore.above(alpha, beta, 0.26), shown, np.array([spent])


@pytest.mark.parametrize(
    ("seen", "long", "spent", "verdict"),
    [
        (0, 0, 0, "try"),
        (20, 6, 60, "try"),
        (20, 13, 60, "graduate"),
        (20, 0, 60, "stop"),
        (20, 5, 2 * explore.BUDGET, "stop"),
    ],
)
def test_verdicts_are_what_a_person_would_say(seen: float, long: float, spent: float, verdict: str) -> None:
    assert explore.verdicts(*standing(seen, long, spent)) == [verdict]


def test_one_enthusiastic_segment_widens_and_two_graduate() -> None:
    certainty = np.array([[0.97, 0.5, 0.5], [0.97, 0.97, 0.5]])
    shown, spent = np.full((2, 3), 30.0), np.full(2, 30.0)
    assert explore.verdicts(certainty, shown, spent) == ["widen", "graduate"]
    left = explore.budget_left(np.array([[0.97, 0.5], [0.5, 0.5]]), np.full((2, 2), 30.0), spent)
    assert left.tolist() == [1 - 30 / (2 * explore.BUDGET), 1 - 30 / explore.BUDGET]


def test_nothing_graduates_unseen_however_much_is_promised() -> None:
    certainty = np.full((1, 3), 0.99)
    assert explore.verdicts(certainty, np.zeros((1, 3)), np.zeros(1)) == ["try"]
    assert explore.shares(certainty, np.zeros((1, 3)), np.zeros(1)).tolist() == [[1.0, 1.0, 1.0]]


def test_the_budget_only_ever_shrinks_and_the_share_follows_without_a_cliff() -> None:
    certainty, shown, _ = standing(10, 3)
    spent = np.linspace(0, 400, 4_001)
    many = np.repeat(certainty, len(spent), axis=0), np.repeat(shown, len(spent), axis=0)
    left, share = explore.budget_left(*many, spent), explore.shares(*many, spent)[:, 0]
    assert left[0] == 1.0
    assert left[-1] == 0.0
    assert share[0] == 1.0
    assert share[-1] == 0.0
    assert (np.diff(left) <= 0).all()
    assert (np.diff(share) <= 0).all()
    assert np.abs(np.diff(share)).max() < 0.01


def test_a_video_grows_old_without_a_cliff() -> None:
    certainty, shown, spent = standing(0, 0)
    age_s = np.linspace(0, 1.5 * explore.NEW_S, 1_001)
    many = np.repeat(certainty, 1_001, axis=0), np.repeat(shown, 1_001, axis=0), np.repeat(spent, 1_001)
    share = explore.shares(*many, age_s)[:, 0]
    assert share[0] == 1.0
    assert (share[age_s >= explore.NEW_S] == 0).all()
    assert (np.diff(share) <= 0).all()
    assert np.abs(np.diff(share)).max() < 0.01


def test_the_surer_that_a_segment_dislikes_it_the_smaller_its_share_without_a_cliff() -> None:
    certainty = np.linspace(0, 0.5, 1_001)
    share = explore.shares(
        np.stack([certainty, np.full(1_001, 0.5)], axis=1), np.full((1_001, 2), 20.0), np.zeros(1_001)
    )
    assert share[0].tolist() == [0.0, 1.0]  # the other segment is asked on
    assert share[-1, 0] == 1.0
    assert (np.diff(share[:, 0]) >= 0).all()
    assert np.diff(share[:, 0]).max() < 0.02


def test_a_graduate_leaves_the_pool_without_a_cliff() -> None:
    certainty = np.linspace(0.5, 1, 1_001)
    share = explore.shares(np.stack([certainty, certainty], axis=1), np.full((1_001, 2), 20.0), np.zeros(1_001))[:, 0]
    assert share[0] == 1.0
    assert share[-1] == 0.0
    assert np.abs(np.diff(share)).max() < 0.02


# Serving


def pool(n: int = 5) -> explore.Draws:
    alpha = np.array([6.0, 12.0, 3.0, 6.0, 9.0])[:n]
    return explore.joint_draws(alpha, 20 - alpha, np.array([1.0, 1.0, 1.0, 0.0, 0.5])[:n], RNG(11), count=256)


def test_propensities_of_a_thompson_draw_are_its_frequencies() -> None:
    draws, rng = pool(), RNG(1)
    eligible = np.array([True, True, True, True, False])
    drawn = [explore.choose(draws, eligible, rng) for _ in range(8_000)]
    told = {choice.index: choice.propensity for choice in drawn if choice}
    frequency = np.bincount([choice.index for choice in drawn if choice], minlength=5) / len(drawn)
    assert set(told) == {0, 1, 2}  # 3 has no part, 4 was seen
    assert sum(told.values()) == pytest.approx(1.0)
    assert [told[i] for i in range(3)] == pytest.approx(frequency[:3], abs=0.02)
    assert min(told.values()) >= explore.FLOOR / 3


def test_importance_weights_recover_every_videos_rate_from_what_was_drawn() -> None:
    """Σ reward / propensity over the choices of one video, per request, is what showing it every time would give."""
    rng, truth = RNG(2), np.array([0.2, 0.7, 0.1])
    sums, requests = np.zeros(3), 0
    for seed in range(60):
        alpha = np.array([6.0, 12.0, 3.0])
        draws = explore.joint_draws(alpha, 20 - alpha, np.ones(3), RNG(seed), count=16)
        for _ in range(100):
            choice = explore.choose(draws, np.ones(3, dtype=np.bool_), rng, floor=0.1)
            assert choice is not None
            requests += 1
            sums[choice.index] += (rng.random() < truth[choice.index]) / choice.propensity
    assert sums / requests == pytest.approx(truth, abs=0.1)


def test_from_counts_to_draws_the_promising_wins_the_stopped_and_the_old_take_no_part() -> None:
    shown = np.array([[20.0, 20.0], [40.0, 40.0], [0.0, 0.0], [0.0, 0.0]])
    long = np.array([[5.0, 7.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]])
    now = explore.standing(
        np.full((4, 2), 0.26), np.ones(4), shown=shown, long=long, spent=shown.sum(axis=1),
        age_s=np.array([0.0, 0.0, 0.0, explore.NEW_S]), mean=np.full(2, 0.26),
    )  # fmt: skip
    draws = explore.joint_draws(now.alpha[:, 1], now.beta[:, 1], now.share[:, 1], RNG(0))
    assert draws.takes_part.tolist() == [True, False, True, False]
    found = explore.chances(draws, np.ones(4, dtype=np.bool_))
    assert found[0] > 0.5
    assert found[2] > 0.02


def test_a_video_with_half_a_share_takes_part_in_half_of_the_draws() -> None:
    draws = explore.joint_draws(np.array([5.0, 5.0]), np.array([5.0, 5.0]), np.array([1.0, 0.5]), RNG(0), count=4_000)
    assert (draws.values[:, 1] >= 0).mean() == pytest.approx(0.5, abs=0.03)
    assert explore.chances(draws, np.ones(2, dtype=np.bool_), floor=0.0) == pytest.approx([0.75, 0.25], abs=0.03)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 120))
def test_chances_add_up_and_are_those_of_looking_through_everything(seed: int, n: int) -> None:
    rng = RNG(seed)
    draws = explore.joint_draws(rng.uniform(1, 9, n), rng.uniform(1, 9, n), rng.random(n).round(), rng, count=16)
    eligible = rng.random(n) < 0.2
    found = explore.chances(draws, eligible, floor=0.0)
    masked = np.where(eligible, draws.values, -1)
    plain = [row.argmax() for row in masked if row.max() >= 0]
    assert found == pytest.approx(np.bincount(plain, minlength=n) / max(1, len(plain)))
    assert explore.chances(draws, eligible).sum() == pytest.approx(1.0 if plain else 0.0)


def test_an_empty_or_exhausted_pool_gives_nothing() -> None:
    empty = np.zeros(0)
    assert explore.choose(explore.joint_draws(empty, empty, empty, RNG(0)), np.zeros(0, dtype=np.bool_), RNG(0)) is None
    assert explore.choose(pool(), np.array([False, False, False, True, False]), RNG(0)) is None


# Reports


def test_exposure_by_size_counts_every_impression_once() -> None:
    rows = explore.exposure_by_size(np.array([10.0, 0.0, 30.0, 60.0]), np.array([500.0, 1.0, 2.0, 900.0]), groups=2)
    assert [row["impressions"] for row in rows] == [30.0, 70.0]
    assert [row["share"] for row in rows] == [0.3, 0.7]
    assert (rows[0]["size_from"], rows[0]["size_to"], rows[0]["videos"]) == (1.0, 2.0, 2.0)


def test_status_says_for_each_video_where_it_stands_and_what_is_next() -> None:
    shown = np.array([[20.0, 20.0], [20.0, 20.0], [0.0, 0.0]])
    long = np.array([[14.0, 14.0], [0.0, 0.0], [0.0, 0.0]])
    rates = explore.expected_rates(np.full((3, 2), 0.26), np.ones(3), shown, long)
    rows = explore.status(
        ["good", "bad", "new"], ["food", "news"], rates=rates, shown=shown, long=long,
        spent=np.array([40.0, 40.0, 0.0]), mean=np.array([0.26, 0.26]),
    )  # fmt: skip
    assert [(row.video_id, row.verdict) for row in rows] == [("good", "graduate"), ("bad", "stop"), ("new", "try")]
    assert "lives by its rank" in rows[0].next
    assert rows[1].next == "no segment takes to it; it gets no more first looks"
    assert rows[2].next == "tried, by food, news"
    assert rows[2].budget_left == 1.0
    assert {one.segment for one in rows[0].segments} == {"food", "news"}
    none = np.zeros((0, 1))
    assert explore.status([], ["food"], rates=none, shown=none, long=none, spent=none[:, 0], mean=np.ones(1) / 4) == []
