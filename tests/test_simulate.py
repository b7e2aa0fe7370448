"""The closed loop runs through, is the same twice, and its figures are what they say."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from bench import simulate
from bench.simulate import figures, greedy, judged, none, ours, policies, replay, run
from bench.world import Size, World, make

SCRIPT = Path(__file__).parent.parent / "bench" / "simulate.py"
TINY = Size(viewers=60, old_videos=250, days=6, new_a_day=10, rounds=2)


@pytest.fixture(scope="module")
def world() -> World:
    return make(9, size=TINY)


@pytest.mark.parametrize("name", list(policies(0.2)))
def test_every_policy_serves_a_world_to_its_end(world: World, name: str) -> None:
    done = run(world, policies(0.2)[name])
    found = figures(done)
    assert done.impressions.sum() > 1_000
    assert (done.forced <= done.impressions).all()
    assert (done.forced[world.birth < 0] == 0).all()
    assert 0 < found["long views an impression"] < 1
    assert (done.forced.sum() == 0) == (name == "none")


def test_the_same_policy_in_the_same_world_does_the_same(world: World) -> None:
    one, again = run(world, ours), run(world, ours)
    assert np.array_equal(one.impressions, again.impressions)
    assert np.array_equal(one.behaviour.lift, again.behaviour.lift)


def test_epsilon_is_the_share_of_the_places_after_the_first_two_that_are_given_away(world: World) -> None:
    done = run(world, greedy(0.3))
    assert 0.15 < done.forced.sum() / done.impressions.sum() < 0.3


def test_nobody_sees_a_video_twice() -> None:
    world = make(9, size=simulate.replace(TINY, old_videos=2_000))  # more than anybody can see
    done = run(world, ours)
    viewers, videos = (np.concatenate([rows[i] for rows in done.rounds]) for i in (0, 1))
    pairs = np.r_[viewers * len(world.quality) + videos, world.past_viewer * len(world.quality) + world.past_video]
    assert len(np.unique(pairs)) == len(pairs)


def test_good_ones_are_a_tenth_of_the_new_and_the_youngest_are_not_judged(world: World) -> None:
    looked, good = judged(world)
    assert (world.birth[looked] >= 0).all()
    assert world.birth[looked].max() < TINY.days - simulate.UNJUDGED_DAYS
    value = world.value()
    assert value[good].min() >= np.quantile(value[world.birth >= 0], 0.9)


def test_folding_the_same_log_again_gives_the_ranks_that_the_loop_had(world: World) -> None:
    quiet = simulate.replace(simulate._aim(world), on=False)
    done = run(world, none, attack=quiet)
    again = replay(world, done.rounds, quiet, trusted=True)
    assert again.rank == done.watched.rank
    assert again.ndcg == done.watched.ndcg


def test_bots_lift_their_target_where_nothing_is_done_about_them(world: World) -> None:
    push = simulate._aim(world)
    done = run(world, none)
    before = replay(world, done.rounds, simulate.replace(push, on=False), trusted=False)
    after = replay(world, done.rounds, push, trusted=False)
    assert after.nightly_rank[-1] < before.nightly_rank[-1]


@pytest.mark.parametrize("as_json", [True, False])
def test_the_command_prints_a_verdict(
    as_json: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(simulate, "SIZE", TINY)
    argv = [
        "simulate.py",
        "--seeds",
        "1",
        "--correlation",
        "0",
        "0.14",
        *(["--json", "--no-attack"] if as_json else []),
    ]
    monkeypatch.setattr(sys, "argv", argv)
    with pytest.raises(SystemExit) as left:
        simulate.main()
    said = capsys.readouterr().out
    if as_json:
        found = json.loads(said)
        assert found["kind"] == "simulated"
        assert found["pass"] == (left.value.code == 0)
        assert set(found["policies"]) == {"0.0", "0.14"}
    else:
        assert "simulated: 1 worlds" in said
        assert "ours with content of r = 0.14 minus ours with r = 0" in said


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_a_first_look_pays_in_ten_worlds() -> None:
    done = subprocess.run(
        [sys.executable, SCRIPT, "--json"], capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "1"}
    )
    assert json.loads(done.stdout)["pass"], done.stdout + done.stderr[-4000:]
