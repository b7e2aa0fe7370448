"""The feed's benchmark: its parts where the truth was made, and all of it on real behaviour where that lies at hand."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
import pytest

from bench import feed
from bench.feed import Items, Watches, crossed, effect_features, effects, shares


def items(videos: int) -> Items:
    """Each video by a creator of its own, all of one tag, sound and length."""
    zeros = np.zeros(videos, np.int64)
    return Items(
        ids=np.arange(videos),
        creator=np.arange(videos),
        sound=zeros,
        tag=zeros,
        tag_names=("none",),
        length=zeros,
        duration_s=np.full(videos, 20.0),
        uploaded_s=np.zeros(videos),
    )


def watches(viewer: np.ndarray, video: np.ndarray, long: np.ndarray) -> Watches:
    return Watches(viewer=viewer, video=video, long=long.astype(float), tab=np.zeros(len(viewer), np.int64))


def test_a_share_is_drawn_to_the_usual_and_none_is_told_of_what_was_never_seen() -> None:
    keys, values = np.array([1, 1, 1, 4]), np.array([1.0, 1.0, 0.0, 1.0])
    mean, count = shares(keys, values, np.array([1, 4, 9]), drawn=2.0, usual=0.5)
    assert mean.tolist() == [0.6, pytest.approx(2 / 3), 0.5]
    assert count.tolist() == [3, 1, 0]
    assert np.isnan(shares(keys, values, np.array([9]))[0]).all()
    assert np.isnan(shares(keys[:0], values[:0], np.array([9]))[0]).all()


def test_two_pairs_have_one_key_only_if_they_are_the_same() -> None:
    left, right = np.array([1, 2, 1, 1]), np.array([2, 1, 2, 3])
    assert len(np.unique(crossed(left, right))) == 3


def test_a_good_video_that_strict_viewers_met_is_told_from_a_poor_one_that_lenient_ones_met() -> None:
    """Plain means say the opposite: strict viewers watched .35 of the first for long, lenient ones .55 of the other."""
    rng = np.random.default_rng(0)
    viewer = np.arange(400).repeat(20)
    lenient = viewer % 2 == 0
    video = np.where(rng.uniform(size=len(viewer)) < 0.5, 2, np.where(lenient, 1, 0))
    video[rng.uniform(size=len(viewer)) < 0.1] = 3
    chance = 0.45 + np.where(lenient, 0.3, -0.3) + np.array([0.2, -0.2, 0.0, 0.0])[video]
    long = rng.uniform(size=len(viewer)) < chance
    past = watches(viewer, video, long)
    assert long[video == 0].mean() < long[video == 1].mean()
    asked = watches(np.zeros(2, np.int64), np.array([0, 1]), np.zeros(2))
    found = effect_features(past, asked, items(4))
    assert found["effect_item"][0] > found["effect_item"][1] + 0.15  # .4 in truth, drawn to none
    assert effects(past, items(4))[1].mean() == pytest.approx(0, abs=0.02)


@pytest.mark.data
def test_the_same_file_twice_wants_a_time_to_split_it_at() -> None:
    data = os.environ.get("FIRSTLOOK_BENCH_DATA")
    if not data:
        pytest.skip("FIRSTLOOK_BENCH_DATA names no folder with real behaviour")
    file = str(Path(data) / "open" / "behaviour" / "kuairand_pure" / "val.parquet")
    with pytest.raises(ValueError, match="the same rows would train and test; give --until TIME"):
        feed.read(feed.asked_of(["--train", file, "--test", file]))


@pytest.mark.data
@pytest.mark.timeout(1_200)
def test_real_viewers_are_ranked_for_clearly_better_than_by_means_of_past_days() -> None:
    data = os.environ.get("FIRSTLOOK_BENCH_DATA")
    if not data:
        pytest.skip("FIRSTLOOK_BENCH_DATA names no folder with real behaviour")
    file = str(Path(data) / "open" / "behaviour" / "kuairand_pure" / "val.parquet")
    asked: argparse.Namespace = feed.asked_of(["--train", file, "--test", file, "--until", "2022-04-29T00:00+08:00"])
    found = feed.run(asked)
    assert found["pass"]
    assert found["top_decile_duration_s"] <= found["catalogue_duration_s"]
