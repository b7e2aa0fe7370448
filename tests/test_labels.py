"""What a watch means, and how it compares with others of videos as long."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommend.labels import D2Q, NEGATIVE_WEIGHT, complete, long_view, row_weights, short_play, valid_play

seconds = st.floats(0, 600, allow_nan=False)


@pytest.mark.parametrize(
    ("watch_s", "duration_s", "said"),  # valid, long, complete, short
    [
        (5, 5, (True, True, True, False)),
        (4.9, 5, (False, False, False, False)),
        (7, 60, (False, False, False, False)),
        (7.1, 60, (True, False, False, False)),
        (18, 60, (True, True, False, False)),
        (17.9, 18, (True, False, False, False)),
        (2.9, 60, (False, False, False, True)),
        (2, 2, (True, True, True, False)),
        (1.9, 2, (False, False, False, True)),
        (150, 60, (True, True, True, False)),
    ],
)
def test_the_definitions_say_what_was_reckoned_by_hand(
    watch_s: float, duration_s: float, said: tuple[bool, bool, bool, bool]
) -> None:
    found = tuple(bool(label(watch_s, duration_s)) for label in (valid_play, long_view, complete, short_play))
    assert found == said


@given(seconds, seconds)
def test_the_definitions_are_kuaishous_and_hang_together(watch_s: float, duration_s: float) -> None:
    assert bool(long_view(watch_s, duration_s)) == (watch_s >= duration_s if duration_s <= 18 else watch_s >= 18)
    assert bool(short_play(watch_s, duration_s)) == (watch_s < min(3, duration_s))
    assert not complete(watch_s, duration_s) or long_view(watch_s, duration_s)
    assert not long_view(watch_s, duration_s) or valid_play(watch_s, duration_s)
    assert not (short_play(watch_s, duration_s) and complete(watch_s, duration_s))


def test_a_quantile_is_the_share_of_shorter_watches_of_videos_as_long() -> None:
    duration = np.array([10.0] * 4 + [100.0] * 4)
    watch = np.array([1.0, 2.0, 2.0, 10.0, 5.0, 20.0, 50.0, 100.0])
    learnt = D2Q.fit(duration, watch, groups=2)
    assert learnt.quantile(duration, watch).tolist() == [0.125, 0.5, 0.5, 0.875, 0.125, 0.375, 0.625, 0.875]
    assert learnt.seconds(duration, learnt.quantile(duration, watch)).tolist() == watch.tolist()


def test_the_same_ten_seconds_are_much_of_a_short_video_and_little_of_a_long_one() -> None:
    rng = np.random.default_rng(0)
    duration = rng.uniform(5, 200, 4_000)
    learnt = D2Q.fit(duration, duration * rng.uniform(0, 1.2, 4_000))
    short, long = learnt.quantile(np.array([10.0, 180.0]), np.array([10.0, 10.0]))
    assert short > 0.7
    assert long < 0.15


def test_a_second_loop_is_worth_more_than_the_first() -> None:
    rng = np.random.default_rng(0)
    learnt = D2Q.fit(np.full(1_000, 12.0), 12 * rng.exponential(1, 1_000), groups=1)
    once, twice = learnt.quantile(np.full(2, 12.0), np.array([12.0, 24.0]))
    assert once < twice < 1


@given(st.lists(st.tuples(seconds, seconds), min_size=1, max_size=200), st.integers(1, 8), seconds)
def test_quantiles_never_fall_as_the_watch_grows_and_seconds_undo_them(
    pairs: list[tuple[float, float]], groups: int, asked_s: float
) -> None:
    duration, watch = np.array(pairs).T
    learnt = D2Q.fit(duration, watch, groups)
    grid = np.linspace(0, 600, 50)
    quantiles = learnt.quantile(np.full(50, asked_s), grid)
    assert (np.diff(quantiles) >= 0).all()
    assert quantiles.min() >= 0
    assert quantiles.max() <= 1
    np.testing.assert_allclose(learnt.seconds(duration, learnt.quantile(duration, watch)), watch, atol=1e-6)


def test_what_is_kept_as_text_comes_back_to_the_digit() -> None:
    rng = np.random.default_rng(0)
    learnt = D2Q.fit(rng.uniform(1, 100, 3_000), rng.exponential(20, 3_000))
    again = D2Q.from_json(learnt.to_json())
    duration, watch = rng.uniform(1, 100, 50), rng.uniform(0, 100, 50)
    assert again.quantile(duration, watch).tolist() == learnt.quantile(duration, watch).tolist()


def test_thousands_of_watches_are_kept_by_few_points_and_lose_little() -> None:
    rng = np.random.default_rng(0)
    watch = rng.exponential(20, 20_000)
    learnt = D2Q.fit(np.full(20_000, 60.0), watch, groups=1)
    exact = np.argsort(np.argsort(watch)) / len(watch)
    assert len(learnt.watches_s) <= 512
    assert np.abs(learnt.quantile(np.full(20_000, 60.0), watch) - exact).max() < 0.003


def test_no_watches_are_nothing_to_learn_from() -> None:
    with pytest.raises(ValueError, match="one at least: got 0 and 0"):
        D2Q.fit(np.zeros(0), np.zeros(0))


def test_a_no_said_aloud_is_an_order_heavier() -> None:
    assert row_weights(np.array([True, False])).tolist() == [NEGATIVE_WEIGHT, 1.0]
    assert NEGATIVE_WEIGHT >= 10
