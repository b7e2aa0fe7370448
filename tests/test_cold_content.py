"""What content says of new videos: planted truths are found again, and noise is not taken for one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.linear_model import Ridge

from bench.cold import engagement, next_views, read_descriptions, read_views
from recommend.cold_content import (
    PRIOR_MAX,
    PRIOR_MIN,
    ContentMap,
    fit,
    fit_choice,
    hashtag_rows,
    letter_rows,
    prior,
    prior_rates,
    style,
)


def planted(count: int, noise: float, seed: int = 3) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """Content rows, the slopes that are in them, and two targets that follow them."""
    rng = np.random.default_rng(seed)
    content, slopes = rng.normal(0, 1, (count, 6)), rng.normal(0, 1, (6, 2))
    return content, slopes, content @ slopes + 0.5 + rng.normal(0, noise, (count, 2))


def test_a_planted_map_is_found_again() -> None:
    content, slopes, target = planted(400, noise=0.01)
    found = fit(content, target)
    assert found.slopes == pytest.approx(slopes, abs=0.01)
    assert found.apply(content[:5]) == pytest.approx(target[:5], abs=0.1)


def test_the_map_is_the_ridge_regression_of_scikit_learn() -> None:
    content, _, target = planted(60, noise=1.0)
    weights = np.random.default_rng(1).uniform(0.5, 9, 60)
    found = fit(content, target, weights, ridges=[7.0])
    theirs = Ridge(alpha=7.0).fit(content, target, sample_weight=weights)
    assert found.apply(content) == pytest.approx(theirs.predict(content))


@pytest.mark.parametrize("ridge", [0.1, 30.0])
def test_what_is_said_of_a_left_out_video_is_what_a_fit_without_it_says(ridge: float) -> None:
    content, _, target = planted(40, noise=1.0)
    weights = np.random.default_rng(1).uniform(0.5, 9, 40)
    found = fit(content, target, weights, ridges=[ridge])
    for row in (0, 17, 39):
        others = np.arange(40) != row
        again = fit(content[others], target[others], weights[others], ridges=[ridge])
        assert found.left_out[row] == pytest.approx(again.apply(content[row : row + 1])[0])


def test_noise_is_not_taken_for_a_signal() -> None:
    rng = np.random.default_rng(0)
    content, target = rng.normal(0, 1, (200, 50)), rng.normal(0, 1, (200, 1))
    found = fit(content, target)
    assert found.apply(rng.normal(0, 1, (500, 50))).std() < 0.2
    assert ((found.left_out - target) ** 2).mean() < 1.05 * target.var()


def test_a_video_with_many_views_counts_for_more() -> None:
    content = np.array([[0.0], [0.0], [1.0], [1.0]])
    target = np.array([[0.0], [1.0], [0.0], [1.0]])
    found = fit(content, target, np.array([9.0, 1.0, 1.0, 9.0]), ridges=[1e-6])
    assert found.apply(np.array([[0.0], [1.0]]))[:, 0] == pytest.approx([0.1, 0.9], abs=1e-3)


def test_a_prior_is_a_rate_that_evidence_can_still_shake() -> None:
    content, _, _ = planted(300, noise=0)
    rates = (content[:, 0] > 0).astype(float)
    said = prior_rates(prior(content, rates), 50 * content)
    assert said.min() == PRIOR_MIN > 0
    assert said.max() == PRIOR_MAX < 1
    assert np.corrcoef(prior_rates(prior(content, rates), content), rates)[0, 1] > 0.7


def test_the_prior_of_content_that_says_nothing_is_the_mean_rate() -> None:
    rng = np.random.default_rng(2)
    said = prior_rates(prior(rng.normal(0, 1, (400, 20)), rng.beta(2, 18, 400)), rng.normal(0, 1, (500, 20)))
    assert said.mean() == pytest.approx(0.1, abs=0.01)
    assert said.std() < 0.25 * 0.065  # the spread of the rates themselves


def test_choices_give_back_the_weights_that_made_them() -> None:
    rng = np.random.default_rng(4)
    truth = np.array([2.0, -1.0, 0.0])
    likenesses = rng.normal(0, 1, (4000, 8, 3))
    scores = likenesses @ truth + rng.gumbel(0, 1, (4000, 8))  # a logit is a choice of the largest of such scores
    chosen = scores.argmax(axis=1)
    likenesses[np.arange(4000), chosen], likenesses[:, 0] = (
        likenesses[:, 0].copy(),
        likenesses[np.arange(4000), chosen].copy(),
    )
    assert fit_choice(likenesses) == pytest.approx(truth, abs=0.12)


def test_letters_see_what_words_do_not_and_hashtags_are_whole() -> None:
    letters = letter_rows(["unboxing phones", "unboxed phone", "grandma's soup", "soup for grandma"])
    alike = (letters @ letters.T).toarray()
    assert alike[0, 1] > 0.3 > alike[0, 2]
    tags = hashtag_rows([["street food"], ["street", "food"], ["street food", "noodles"], []])
    alike = (tags @ tags.T).toarray()
    assert alike[0, 1] == 0
    assert alike[0, 2] > 0.4
    assert not tags[3].nnz


def test_the_style_of_a_text_is_a_row_whatever_it_holds() -> None:
    rows = style(["", "WOW!! 3 cats", "猫" * 10_000, 'He said "no".'])
    assert rows.shape == (4, 8)
    assert np.isfinite(rows).all()
    assert (rows[0] == 0).all()
    assert style([]).shape == (0, 8)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: fit(np.ones((2, 3)), np.ones((2, 1))), "n >= 3 wanted"),
        (lambda: fit(np.ones((5, 3)), np.ones((4, 1))), r"got \(5, 3\), \(4, 1\)"),
        (lambda: fit(np.full((5, 3), np.nan), np.ones((5, 1))), "finite numbers"),
        (lambda: fit(np.ones((5, 3)), np.ones((5, 1)), np.zeros(5)), "above 0"),
        (lambda: prior(np.ones((5, 3)), np.full(5, 2.0)), "rates of 0..1"),
        (lambda: fit_choice(np.ones((0, 4, 2))), "choices, 1 \\+ others"),
        (lambda: fit_choice(np.ones((3, 1, 2))), "choices, 1 \\+ others"),
        (lambda: small_map().apply(np.ones((2, 5))), "rows of 3 numbers wanted"),
    ],
)
def test_rows_that_make_no_sense_are_refused(call: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        call()


def small_map() -> ContentMap:
    return fit(np.eye(3), np.ones((3, 1)))


def test_one_content_for_all_videos_is_no_reason_to_fail() -> None:
    found = fit(np.ones((6, 4)), np.arange(6.0)[:, None])
    assert found.apply(np.ones((1, 4)))[0, 0] == pytest.approx(2.5)


@pytest.fixture
def behaviour() -> Path:
    folder = os.environ.get("FIRSTLOOK_BENCH_DATA")
    if not folder:
        pytest.skip("FIRSTLOOK_BENCH_DATA names no folder with behaviour")
    return Path(folder) / "localonly" / "behaviour"


@pytest.mark.data
@pytest.mark.timeout(1200)
def test_cold_videos_are_found_far_above_chance_and_no_worse_than_by_tf_idf(behaviour: Path) -> None:
    found = next_views(read_views(behaviour / "microlens"))
    recall = found["recall_at_10"]
    assert recall["TF-IDF neighbours"].value == pytest.approx(0.056, abs=0.003)  # what others find on these views
    assert recall["ours"].low > 30 * found["random"]
    assert found["ours_above_tf_idf"].value > 0


@pytest.mark.data
@pytest.mark.timeout(1200)
def test_a_description_says_something_of_the_engagement_of_a_new_video(behaviour: Path) -> None:
    assert engagement(*read_descriptions(behaviour / "snapugc"))["spearman"]["ours"].low > 0
