"""A backfill on Ray survives what happens to it: short versions of `bench/chaos.py`, which has the figures."""

from __future__ import annotations

import errno
import json
import random
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import chaos
import pytest

from bench.chaos import DISKS, FAULTS, Stage, Verdict, children, committers, disk, drivers, judged, memory, node, store
from bench.chaos import transitions as kill_at
from bench.chaos import workers as kill_workers
from bench.machine import SEED
from index.blobs import Blobs


def survived(verdict: Verdict) -> None:
    """Show the seed and the figures, and what was not as it should be. Who may not mount disks cannot try some."""
    print(f"seed {SEED}", json.dumps(verdict.figures, default=str))
    assert not verdict.wrong, f"seed {SEED}: {verdict.wrong}"
    if verdict.skipped:
        pytest.skip(verdict.skipped)


# What is measured with ------------------------------------------------------------------------------------------------


def test_items_are_distinct_and_always_the_same(tmp_path: Path) -> None:
    drawn = tmp_path / "drawn.mp4"
    drawn.write_bytes(b"a clip")
    folders = [chaos.make_items([drawn], tmp_path / name, 50, broken=2, killers=3) for name in ("a", "b")]
    contents = [[path.read_bytes() for path in sorted(folder.iterdir())] for folder in folders]
    assert contents[0] == contents[1]
    assert len(set(contents[0])) == 50
    assert sum(content.startswith(b"a clip") for content in contents[0]) == 45
    assert sum(content.startswith(b"please crash") for content in contents[0]) == 3


def test_a_decode_that_is_repeated_is_counted(tmp_path: Path) -> None:
    log = chaos.Log(tmp_path / "log")
    assert (log.lines, log.repeated()) == (0, 0)
    for name in ("a", "b", "a", "c" * 64, "a"):
        chaos.note(tmp_path / "log", name)
    assert (log.lines, log.repeated()) == (5, 2)


def test_only_workers_below_a_process_of_ours_are_found(tmp_path: Path) -> None:
    sleeps = "import sys, time; print(flush=True); time.sleep(60)"
    title = ["ray::decode", "-c", sleeps]
    fakes = [subprocess.Popen(title, executable=sys.executable, stdout=subprocess.PIPE)]
    child = f"subprocess.Popen(['ray::Encoder', '-c', {sleeps!r}], executable={sys.executable!r})"
    parent = f"import subprocess; {child}.wait()"
    fakes.append(subprocess.Popen([sys.executable, "-c", parent], stdout=subprocess.PIPE))
    try:
        for fake in fakes:
            assert fake.stdout is not None
            fake.stdout.readline()
        assert [worker.kind for worker in chaos.workers(fakes[1].pid)] == ["Encoder"]
        there = chaos.below(fakes[1].pid)
        killer = chaos.Killer(
            pid=fakes[1].pid, log=chaos.Log(tmp_path / "log"), chance=random.Random(1), wanted=1, items=1
        )
        chaos.note(tmp_path / "log", "a")
        killer.work(lambda: False)
        assert killer.killed == {"Encoder": 1}
        assert chaos.gone_within(there, 10.0) == []
        assert fakes[0].poll() is None
    finally:
        for fake in fakes:
            fake.kill()
            fake.communicate()


def test_a_store_that_is_full_refuses_what_is_new_and_keeps_what_it_has(tmp_path: Path) -> None:
    blobs = Blobs(f"fillable://{tmp_path}")
    blobs.put("analysis/a", b"one")
    (tmp_path / "FULL").touch()
    with pytest.raises(OSError, match="no space left") as refused:
        blobs.put("analysis/b", b"two")
    assert refused.value.errno == errno.ENOSPC
    assert blobs.get("analysis/a") == b"one"
    assert not blobs.has("analysis/b")
    (tmp_path / "FULL").unlink()
    blobs.put("analysis/b", b"two")
    assert blobs.get("analysis/b") == b"two"


def test_an_error_is_told_apart_from_what_was_said_before_it() -> None:
    said = (
        'before\nTraceback (most recent call last):\n  File "x", line 1\n    raise OSError\nOSError: no space\nleft\n'
    )
    assert chaos.error_of(said) == "OSError: no space\nleft"
    assert chaos.last_line(said) == "left"


def test_the_whole_passes_only_when_every_fault_was_survived_at_full_size() -> None:
    survived_all = {name: Verdict() for name in FAULTS}
    assert judged(survived_all, scale=1.0)["pass"]
    assert not judged(survived_all, scale=0.5)["pass"]
    for name in FAULTS:
        assert not judged({**survived_all, name: Verdict(wrong=["lost one"])}, scale=1.0)["pass"]
        assert not judged({**survived_all, name: Verdict(skipped="no root")}, scale=1.0)["pass"]
        assert not judged({one: verdict for one, verdict in survived_all.items() if one != name}, scale=1.0)["pass"]


# Faults ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return chaos.draw(tmp_path_factory.mktemp("drawn"), 4)


@pytest.fixture
def stage(drawn: list[Path], tmp_path: Path) -> Stage:
    return Stage(folder=tmp_path, drawn=drawn, seed=SEED)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """One for several tests: it takes ten seconds to start."""
    with chaos.head() as started:
        yield started


@pytest.fixture
def on_cluster(stage: Stage, cluster: Any) -> Stage:
    return replace(stage, cluster=cluster)


@pytest.mark.ci
@pytest.mark.long
@pytest.mark.timeout(600)
def test_killed_workers_cost_a_chunk_each_and_nothing_else(stage: Stage) -> None:
    survived(kill_workers(stage, items=64, kills=6))


@pytest.mark.ci
@pytest.mark.long
@pytest.mark.timeout(600)
def test_three_dead_drivers_are_resumed_and_nothing_is_left_of_a_local_ray(on_cluster: Stage) -> None:
    survived(drivers(on_cluster, kills=3, items=16, local_kills=1))


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_twelve_dead_drivers_are_resumed(on_cluster: Stage) -> None:
    survived(drivers(on_cluster, kills=12, items=32, local_kills=4))


@pytest.mark.ci
@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_lost_machine_costs_nothing_but_time(stage: Stage) -> None:
    survived(node(stage, items=32))


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_files_that_kill_their_decode_child_are_quarantined_and_hold_nobody_up(on_cluster: Stage) -> None:
    survived(children(on_cluster, items=100, rounds=3))


@pytest.mark.ci
@pytest.mark.long
@pytest.mark.timeout(600)
def test_two_committers_make_the_rows_of_one_and_a_late_acknowledgement_is_refused(stage: Stage) -> None:
    survived(committers(stage, items=16))


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.ci] * (name == "ledger")) for name in DISKS])
def test_a_full_disk_is_a_clear_error_and_nothing_is_half_done(name: str, stage: Stage) -> None:
    survived(disk(stage, items=24, which=[name]))


@pytest.mark.long
@pytest.mark.timeout(600)
def test_an_object_store_that_refuses_writes_is_a_clear_error_and_nothing_is_half_done(on_cluster: Stage) -> None:
    survived(store(on_cluster, items=16))


@pytest.mark.long
@pytest.mark.timeout(600)
def test_shared_memory_that_is_full_is_a_clear_error_and_nothing_is_half_done(stage: Stage) -> None:
    survived(memory(stage, items=8))


@pytest.mark.ci
@pytest.mark.long
@pytest.mark.timeout(600)
def test_a_death_after_a_transition_costs_its_chunk(on_cluster: Stage) -> None:
    survived(kill_at(on_cluster, items=13, which=["outcome returned", "analysis written"]))


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_death_after_any_transition_costs_what_was_in_hand(on_cluster: Stage) -> None:
    survived(kill_at(on_cluster, items=16))
