"""Whose behaviour counts: once each, only where we served it, and never much of one account's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommend.trust import TIRELESS, counted_once, usual_activity, weights


def counted(rows: list[tuple[int, int, int, bool]]) -> list[bool]:
    viewers, videos, kinds, served = (np.array(column) for column in zip(*rows, strict=True))
    return counted_once(viewers, videos, kinds, served).tolist()


def test_a_thousand_likes_of_one_account_are_one_like() -> None:
    assert sum(counted([(1, 9, 3, True)] * 1000)) == 1


def test_two_viewers_two_videos_and_two_kinds_are_told_apart() -> None:
    assert counted([(1, 1, 1, True), (2, 1, 1, True), (1, 2, 1, True), (1, 1, 2, True)]) == [True] * 4


def test_what_we_did_not_serve_never_counts_and_does_not_use_up_the_one_that_does() -> None:
    assert counted([(1, 1, 1, False), (1, 1, 1, True), (1, 1, 1, True)]) == [False, True, False]


def test_nothing_at_all_counts_nothing() -> None:
    empty = np.zeros(0, dtype=np.int64)
    assert counted_once(empty, empty, empty, empty.astype(bool)).tolist() == []


def test_a_hundredth_of_the_accounts_cannot_move_what_is_usual() -> None:
    people = np.random.default_rng(0).lognormal(3, 0.9, 990)
    assert usual_activity(np.r_[people, np.full(10, 1e9)]) == usual_activity(people)


def test_accounts_that_never_came_do_not_make_everyone_tireless() -> None:
    assert usual_activity(np.array([0.0] * 99 + [10.0])) == 10.0
    assert usual_activity(np.zeros(5)) == 0.0
    assert weights(np.zeros(3), 0.0).tolist() == [1.0, 1.0, 1.0]


def test_nineteen_of_twenty_people_count_fully_and_a_bot_for_nothing() -> None:
    people = np.random.default_rng(1).lognormal(3, 0.9, 1_000)
    found = weights(np.r_[people, 100 * people.mean()], usual_activity(people))
    assert (found[:-1] == 1).mean() == pytest.approx(0.94, abs=0.01)
    assert (found[:-1] > 0).mean() > 0.98
    assert found[-1] == 0.0


@given(st.lists(st.floats(0, 1e6), min_size=2, max_size=50), st.floats(0.1, 1e5))
def test_doing_more_never_makes_an_event_count_for_more(activity: list[float], usual: float) -> None:
    found = weights(np.sort(np.array(activity)), usual)
    assert ((found >= 0) & (found <= 1)).all()
    assert (np.diff(found) <= 1e-12).all()


def test_all_events_of_an_account_together_count_for_no_more_than_the_usual() -> None:
    activity = np.linspace(0, 10 * TIRELESS, 10_000)
    assert (activity * weights(activity, 1.0)).max() <= 1.0
