"""The simulated world: its marginals are the log's, and its dice are thrown once."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from bench import world as w
from bench.world import Size, by_duration, dice, leaves, make, marginals, react, visits

SMALL = Size(viewers=500, old_videos=400, days=3, new_a_day=20)


@pytest.fixture(scope="module")
def world() -> w.World:
    return make(5, size=SMALL)


def test_the_same_seed_gives_the_same_world_and_another_seed_another(world: w.World) -> None:
    again, other = make(5, size=SMALL), make(6, size=SMALL)
    for name in ("bias", "taste", "quality", "signal", "fans", "past_video"):
        assert np.array_equal(getattr(world, name), getattr(again, name)), name
    assert not np.array_equal(world.bias, other.bias)


def test_the_correlation_changes_the_signal_and_nothing_else(world: w.World) -> None:
    told = make(5, size=SMALL, correlation=0.5)
    assert not np.array_equal(told.signal, world.signal)
    for name in ("bias", "taste", "quality", "creator", "duration_s", "past_viewer"):
        assert np.array_equal(getattr(world, name), getattr(told, name)), name


@pytest.mark.parametrize("correlation", [0.0, 0.2, 0.5])
def test_the_signal_tells_of_quality_what_was_asked_for(correlation: float) -> None:
    worlds = [make(seed, correlation=correlation) for seed in range(4)]
    found = [np.corrcoef(one.signal, one.quality)[0, 1] for one in worlds]
    assert np.mean(found) == pytest.approx(correlation, abs=0.04)


def test_the_marginals_are_those_of_the_log() -> None:
    drawn = [marginals(make(seed)) for seed in range(3)]
    mean = {name: float(np.mean([one[name] for one in drawn])) for name in drawn[0]}
    assert mean["LONG_VIEW_MEAN"] == pytest.approx(w.LONG_VIEW_MEAN, abs=0.015)
    assert mean["VIDEO_SD"] == pytest.approx(w.VIDEO_SD, abs=0.012)
    assert mean["VIEWER_SD"] == pytest.approx(w.VIEWER_SD, abs=0.012)
    assert mean["LIKE_LONG"] == pytest.approx(w.LIKE_LONG, abs=0.004)
    assert mean["LIKE_SHORT"] == pytest.approx(w.LIKE_SHORT, abs=0.002)
    assert mean["SKIP_SHORT"] == pytest.approx(w.SKIP_SHORT, abs=0.01)
    assert mean["ACTIVITY_SIGMA"] == pytest.approx(w.ACTIVITY_SIGMA, abs=0.04)
    assert mean["median DURATION_S"] == pytest.approx(w.DURATION_S[10], rel=0.1)
    assert mean["median fans"] == pytest.approx(np.expm1(w.FANS_LOG_MEAN), rel=0.15)


def test_videos_of_ten_to_fifteen_seconds_are_watched_long_the_least() -> None:
    effects = by_duration(np.array([5.0, 14.5, 60.0, 1000.0]))
    assert effects.tolist() == [w.LONG_BY_DURATION[i] for i in (0, 1, 3, 9)]


def test_a_view_ends_the_same_way_whoever_shows_it(world: w.World) -> None:
    viewers, videos = np.array([3, 9, 3]), np.array([7, 7, 8])
    forward, backward = react(world, viewers, videos), react(world, viewers[::-1], videos[::-1])
    assert np.array_equal(forward.watched_s, backward.watched_s[::-1])
    assert np.array_equal(forward.long, backward.long[::-1])


def test_reactions_never_contradict_each_other(world: w.World) -> None:
    rng = np.random.default_rng(0)
    videos = rng.integers(len(world.quality), size=20_000)
    seen = react(world, rng.integers(500, size=20_000), videos)
    enough_s = np.minimum(world.duration_s[videos], 18)
    assert np.array_equal(seen.long, seen.watched_s >= enough_s)
    assert np.array_equal(seen.skip, seen.watched_s < np.minimum(3, enough_s) - 1e-9)
    assert not (seen.long & seen.skip).any()


def test_dice_are_uniform_and_those_of_two_questions_have_nothing_in_common() -> None:
    keys = np.arange(100_000)
    one, other = dice(1, 0, keys), dice(1, 1, keys)
    assert 0 <= one.min() < one.max() < 1
    assert np.histogram(one, 10, (0, 1))[0] == pytest.approx(10_000, rel=0.05)
    assert abs(np.corrcoef(one, other)[0, 1]) < 0.02
    assert abs(np.corrcoef(one[1:], one[:-1])[0, 1]) < 0.02


def test_a_short_view_ends_a_session_sooner_than_a_long_one_and_skips_in_a_row_sooner_still(world: w.World) -> None:
    many = np.arange(50_000)
    visit, place = np.zeros_like(many), np.zeros_like(many)

    def share(long: bool, skips: int) -> float:
        return float(leaves(world, many, visit, place, np.full(len(many), long), np.full(len(many), skips)).mean())

    assert share(False, 1) / share(True, 0) == pytest.approx(np.exp(w.BOREDOM), rel=0.1)
    assert share(False, 3) > 1.5 * share(False, 1)


def test_nobody_comes_twice_in_a_round_and_the_active_come_oftener(world: w.World) -> None:
    rounds = [viewers for day in range(3) for viewers in visits(world, day)]
    assert all(len(set(viewers.tolist())) == len(viewers) for viewers in rounds)
    came = np.bincount(np.concatenate(rounds), minlength=500)
    assert np.corrcoef(came, world.activity)[0, 1] > 0.6


def test_bots_are_a_hundredth_and_half_of_their_views_push_the_target(world: w.World) -> None:
    bots, videos, pushed = w.bot_views(world, 7, np.arange(400), 1_000, np.random.default_rng(0))
    assert set(bots.tolist()) == set(range(500, 505))
    assert (videos == 7).mean() == pytest.approx(0.5, abs=0.01)
    assert np.array_equal(pushed, videos == 7)


def test_a_world_of_columns_that_do_not_match_is_refused(world: w.World) -> None:
    with pytest.raises(ValueError, match="one length"):
        replace(world, quality=world.quality[:-1])
