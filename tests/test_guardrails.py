"""A feed that closes in is noticed, one that only moved or was always narrow is not, and what it does about it."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from recommend.categories import CATEGORIES, CODES
from recommend.guardrails import (
    GuardrailSettings,
    Widen,
    effective_number,
    exposure,
    hold_back_sensitive,
    narrowing,
    tightened,
    widen,
)
from recommend.slate import SlateSettings

FOOD, NEWS, GAMING = CODES["food"], CODES["news"], CODES["gaming"]


def codes(*values: int) -> NDArray[np.int32]:
    return np.array(values, np.int32)


def history(rng: np.random.Generator, before: NDArray[np.float64], recent: NDArray[np.float64]) -> NDArray[np.int32]:
    """180 videos drawn by one taste, then 60 by another."""
    drawn = [rng.choice(len(CATEGORIES), n, p=p) for n, p in ((180, before), (60, recent))]
    return np.concatenate(drawn).astype(np.int32)


def taste(**shares: float) -> NDArray[np.float64]:
    """Shares by category; the rest is spread evenly over the others."""
    given = {CODES[name]: share for name, share in shares.items()}
    rest = (1 - sum(given.values())) / (len(CATEGORIES) - len(given))
    return np.array([given.get(code, rest) for code in range(len(CATEGORIES))])


def times(count: int) -> NDArray[np.float64]:
    return np.arange(count, dtype=np.float64)


def test_shares_by_hand() -> None:
    found = exposure(codes(FOOD, FOOD, FOOD, NEWS, -1), np.array([False, True, False, True, False]))
    assert (found.videos, found.category, found.category_share, found.sensitive_share) == (5, FOOD, 0.75, 0.4)
    assert found.too_much == ("category", "sensitive")
    assert found.to_json() == {
        "videos": 5, "category": "food", "category_share": 0.75, "sensitive_share": 0.4,
        "too_much": ["category", "sensitive"],
    }  # fmt: skip
    nothing = exposure(codes(), np.zeros(0, np.bool_))
    assert (nothing.videos, nothing.category, nothing.too_much) == (0, -1, ())
    assert exposure(codes(-1, -1), np.zeros(2, np.bool_)).to_json()["category"] is None


def test_effective_numbers_by_hand() -> None:
    assert effective_number(codes()) == 0
    assert effective_number(codes(-1)) == 0
    assert effective_number(codes(FOOD, FOOD)) == 1
    # two halves: entropy ln 2, and (2 - 1) / (2 * 4) for the few that there are
    assert effective_number(codes(FOOD, FOOD, NEWS, NEWS)) == pytest.approx(math.exp(math.log(2) + 1 / 8))
    # 3/4 and 1/4 of four: entropy .5623
    assert effective_number(codes(FOOD, FOOD, FOOD, NEWS)) == pytest.approx(math.exp(0.562335 + 1 / 8), abs=1e-5)


def test_narrowing_by_hand() -> None:
    settings = GuardrailSettings(recent=4, before=8, least=4, surely=2)  # .75 is 2.4 standard errors
    served = codes(0, 1, 2, 3, 0, 1, 2, 3, 0, 0, 0, 0)
    found = narrowing(served, times(12), settings)
    assert found.narrowing
    assert (found.category, found.share_before, found.share_recent) == (0, 0.25, 1.0)
    assert found.effective_recent == 1
    assert found.effective_before == pytest.approx(math.exp(math.log(4) + 3 / 16))
    assert widen(found, settings) == Widen(explore=3.0, category_cap=0.5)
    backwards = narrowing(served[::-1].copy(), times(12)[::-1].copy(), settings)
    assert backwards == found


def test_a_planted_viewer_whose_feed_closes_in_is_found_and_the_next_page_widens() -> None:
    found = [
        narrowing(history(np.random.default_rng(seed), taste(), taste(gaming=0.7)), times(240)) for seed in range(50)
    ]
    assert all(one.narrowing and one.category == GAMING for one in found)
    for one in found:
        advice = widen(one)
        assert advice.is_needed
        assert 1.3 < advice.explore <= 3
        assert tightened(SlateSettings(category_cap=8), advice).category_cap < 8


@pytest.mark.parametrize(
    ("before", "recent"),
    [
        (taste(), taste()),  # broad, and stays so
        (taste(gaming=0.8), taste(gaming=0.8)),  # always of one thing
        (taste(gaming=0.6), taste(music=0.6)),  # moved to another
        (taste(gaming=0.7), taste()),  # opened up
    ],
)
def test_a_viewer_who_stays_moves_or_opens_up_is_left_alone(
    before: NDArray[np.float64], recent: NDArray[np.float64]
) -> None:
    found = [narrowing(history(np.random.default_rng(seed), before, recent), times(240)) for seed in range(300)]
    assert sum(one.narrowing for one in found) <= 3  # 1 in 100 by chance
    calm = next(one for one in found if not one.narrowing)
    assert widen(calm) == Widen()
    assert tightened(SlateSettings(), Widen()) == SlateSettings()


def test_nothing_is_said_of_a_viewer_who_has_seen_little() -> None:
    few = narrowing(np.full(70, GAMING, np.int32), times(70))
    assert not few.narrowing
    assert few.to_json()["category"] is None
    assert not narrowing(codes(), times(0)).narrowing
    unnamed = narrowing(np.full(500, -1, np.int32), times(500))
    assert not unnamed.narrowing


def test_the_more_was_lost_the_more_is_widened() -> None:
    rng = np.random.default_rng(3)
    by_share = [widen(narrowing(history(rng, taste(), taste(gaming=share)), times(240))) for share in (0.5, 0.7, 0.95)]
    explore = [advice.explore for advice in by_share]
    assert explore == sorted(explore)
    caps = [advice.category_cap for advice in by_share]
    assert caps == sorted(caps, reverse=True)


def test_sensitive_videos_beyond_their_share_wait_the_better_come() -> None:
    settings = GuardrailSettings(sensitive_share=0.2, recent=60)
    sensitive = np.array([True, False, True, True, False, True])
    kept, held = hold_back_sensitive(sensitive, np.zeros(0, np.bool_), k=10, settings=settings)
    assert kept.tolist() == [0, 1, 2, 4]  # a fifth of ten: two
    assert held.tolist() == [3, 5]
    many = np.ones(50, np.bool_)
    assert hold_back_sensitive(sensitive, many, k=10, settings=settings)[0].tolist() == [1, 4]
    few = np.zeros(50, np.bool_)
    assert hold_back_sensitive(sensitive, few, k=10, settings=settings)[1].tolist() == []


def test_an_error_says_what_came_and_what_was_wanted() -> None:
    with pytest.raises(ValueError, match=r"got \(2,\) and \(1,\)"):
        exposure(codes(1, 2), np.zeros(1, np.bool_))
    with pytest.raises(ValueError, match=r"got \(1,\) for \(2,\)"):
        narrowing(codes(1, 2), times(1))
    with pytest.raises(ValueError, match="shares lie in"):
        GuardrailSettings(category_share=0)
    with pytest.raises(ValueError, match="least"):
        GuardrailSettings(least=100)
    with pytest.raises(ValueError, match="raises exploration"):
        GuardrailSettings(explore_most=0.5)
