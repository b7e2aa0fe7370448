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
from bench.simulate import LOST, figures, greedy, judged, none, ours, policies, replay, run, sections
from bench.world import Size, World, make
from recommend.evaluate import Interval
from recommend.report import Bars, Points, Section

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


def said_of(share: float, long_views: float, **more: list[float]) -> dict[str, list[float]]:
    return {
        "good found, share": [share, share - 0.1, share + 0.1], "long views": [long_views] * 3,
        "days until found": [4.0, 3.0, 5.0], "impressions until found": [150.0, 120.0, 180.0], **more,
    }  # fmt: skip


def drawn_of(policies: dict[str, dict[str, list[float]]], attack: dict[str, dict[str, float]]) -> list[Section]:
    return sections({"policies": {"0.2": policies}, "attack": attack, "checks": {"it is so": True, "is it": False}})


def test_a_report_draws_what_was_found_and_says_that_it_is_simulated() -> None:
    policies = {
        "none": said_of(0.2, 1_000, **{LOST: [0.0, 0.0, 0.0]}),
        "ours": said_of(0.7, 980, **{LOST: [0.02, 0.01, 0.03]}),
        "finds nothing": said_of(0.0, 990, **{LOST: [0.01, 0.0, 0.02], "impressions until found": []}),
    }
    attack = {
        "same log, defended: ranks up, last night": {"mean": 1.5, "max": 3.0},
        "same log, undefended: ranks up, last night": {"mean": 400.0, "max": 700.0},
        "same log, defended: nDCG that others lost, worst night": {"mean": 0.001, "max": 0.002},
    }
    made = drawn_of(policies, attack)
    assert [one.kind for one in made] == ["simulated"] * 3
    frontier, days, impressions = made[0].plots
    assert isinstance(frontier, Points)
    price, share = (one for one in frontier.values["ours"])
    assert isinstance(price, Interval)
    assert isinstance(share, Interval)
    assert (price.value, price.low, price.high) == (0.02, 0.01, 0.03)
    assert (share.value, share.low, share.high) == pytest.approx((0.7, 0.6, 0.8))
    assert isinstance(days, Bars)
    assert isinstance(impressions, Bars)
    assert list(days.values) == ["none", "ours", "finds nothing"]
    assert list(impressions.values) == ["none", "ours"]
    ranks, ndcg = made[1].plots
    assert isinstance(ranks, Bars)
    assert isinstance(ndcg, Bars)
    assert ranks.values == {"same log, defended": 1.5, "same log, undefended": 400.0}
    assert ndcg.values == {"same log, defended": 0.001}
    assert [row["outcome"] for row in made[2].rows] == ["holds", "FAILS"]


def test_a_file_that_was_printed_before_losses_were_is_drawn_by_its_means() -> None:
    made = drawn_of({"none": said_of(0.2, 1_000), "ours": said_of(0.7, 970)}, {})
    frontier = made[0].plots[0]
    assert isinstance(frontier, Points)
    price, _ = frontier.values["ours"]
    assert isinstance(price, Interval)
    assert price.value == price.low == pytest.approx(0.03)
    alone = drawn_of({"ours": said_of(0.7, 970)}, {})[0].plots[0]  # beside nothing, nothing is lost or not
    assert isinstance(alone, Points)
    assert alone.values == {}


def test_drawing_wants_to_know_where(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "argv", ["simulate.py", "--from", str(tmp_path / "found.json")])
    with pytest.raises(SystemExit, match="2"):
        simulate.main()


@pytest.mark.parametrize("as_json", [True, False])
def test_the_command_prints_a_verdict(
    as_json: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(simulate, "SIZE", TINY)
    monkeypatch.setattr(simulate.time, "time", lambda: 0.0)
    argv = [
        "simulate.py",
        "--seeds",
        "1",
        "--correlation",
        "0",
        "0.14",
        *(["--json", "--no-attack", "--report", str(tmp_path / "ran.html")] if as_json else []),
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
        assert found["policies"]["0.0"]["none"][LOST] == [0, 0, 0]
        (tmp_path / "found.json").write_text(said)
        drawn = ["simulate.py", "--from", str(tmp_path / "found.json"), "--report", str(tmp_path / "drawn.html")]
        monkeypatch.setattr(sys, "argv", drawn)
        simulate.main()
        assert (tmp_path / "drawn.html").read_text() == (tmp_path / "ran.html").read_text()
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
