"""The backfill benchmark: what it counts, and what it makes of the counts."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
import pytest

from bench.backfill import WANTED, draw_one_frame, flat, judged
from bench.measure import Run, measured
from bench.peers import environments
from bench.turns import Side, copied

REPORT = 'print("a word before"); print(json.dumps({"videos": 1, "first_clip_s": 0.5, "steps": {}}))'
BURN = "import time\nwhile time.process_time() < 0.5: pass\n"


def run(videos: int, *, cpu_s: float, wall_s: float) -> Run:
    return Run(videos=videos, cpu_s=cpu_s, wall_s=wall_s, first_clip_s=1.0, peak_pss_bytes=0, steps={})


def done(name: str, *, start_s: float, vps: float, cpu_s: float, pss_mb: float, rounds: int = 3) -> Side:
    """A side that starts for `start_s` and then works steadily."""

    def runs(videos: int) -> list[Run]:
        return [run(videos, cpu_s=start_s + cpu_s * videos, wall_s=start_s + videos / vps)] * rounds

    return Side(name=name, command=[], peak_pss_bytes=[int(pss_mb * 1e6)], few=runs(10), many=runs(40))


def sides(ours_vps: float = 9.5, ours_cpu_s: float = 0.13, ours_pss_mb: float = 800) -> Sequence[Side]:
    return (
        done("floor", start_s=1, vps=10, cpu_s=0.12, pss_mb=300),
        done("ours", start_s=4, vps=ours_vps, cpu_s=ours_cpu_s, pss_mb=ours_pss_mb),
        done("ray", start_s=6, vps=9, cpu_s=0.13, pss_mb=1_000),
        done("daft", start_s=1, vps=2, cpu_s=0.12, pss_mb=400),
        done("pixeltable", start_s=3, vps=2, cpu_s=0.12, pss_mb=400),
    )


def test_warm_is_what_the_larger_run_costs_more() -> None:
    figures = flat(sides())
    assert figures["ours_vps"] == pytest.approx(9.5)
    assert figures["ours_cpu_s"] == pytest.approx(0.13)
    assert figures["ours_cold_vps"] == pytest.approx(10 / (4 + 10 / 9.5))
    assert figures["ours_wall_vps"] == pytest.approx(40 / (4 + 40 / 9.5))
    assert figures["ours_pss_mb"] == pytest.approx(800)


def test_each_wish_can_fail_the_whole() -> None:
    flat_memory = {"memory_growth": 0.02}
    assert judged(flat(sides()) | flat_memory)["pass"]
    short = {
        "cpu_over_floor": flat(sides(ours_cpu_s=0.14)) | flat_memory,
        "vps_over_floor": flat(sides(ours_vps=8.9)) | flat_memory,
        "pss_over_ray": flat(sides(ours_pss_mb=860)) | flat_memory,
        "memory_growth": flat(sides()) | {"memory_growth": -0.11},
    }
    for name, figures in short.items():
        verdict = judged(figures)
        assert not verdict["pass"]
        assert not verdict["passed"][name]


def test_what_was_not_measured_is_no_pass() -> None:
    verdict = judged(flat([side for side in sides() if side.name != "daft"]) | {"memory_growth": 0.0})
    assert verdict["reached"]["wall_over_daft"] is None
    assert verdict["passed"] == {name: name != "wall_over_daft" for name in WANTED}
    assert not verdict["pass"]


def test_cpu_seconds_count_daemons_that_left_their_parent() -> None:
    daemon = (
        f"subprocess.Popen([sys.executable, '-c', {BURN + 'time.sleep(0.3)'!r}], stdout=-3, start_new_session=True)"
    )
    middle = f"import subprocess, sys; {daemon}"
    command = f"import json, subprocess, sys; subprocess.run([sys.executable, '-c', {middle!r}]); {REPORT}"
    found = measured([sys.executable, "-c", command])
    assert 0.5 <= found.cpu_s < 0.9


def test_cpu_seconds_count_children_of_a_parent_that_ignores_their_end() -> None:
    child = f"subprocess.Popen([sys.executable, '-c', {BURN + 'time.sleep(0.5)'!r}])"
    deaf = f"import json, signal, subprocess, sys, time; signal.signal(signal.SIGCHLD, signal.SIG_IGN); {child}"
    found = measured([sys.executable, "-c", f"{deaf}; time.sleep(2.5); {REPORT}"])
    assert 0.5 <= found.cpu_s < 0.9


def test_children_of_others_are_left_alone() -> None:
    pid = os.posix_spawn(sys.executable, [sys.executable, "-c", BURN], {})
    found = measured([sys.executable, "-c", f"import json; {REPORT}"])
    assert os.waitpid(pid, 0) == (pid, 0)
    assert found.cpu_s < 0.3


def test_copies_are_other_bytes_and_the_same_pictures(tmp_path: Path) -> None:
    clip = draw_one_frame(tmp_path / "clip.mp4")
    copies = sorted(copied([clip], tmp_path / "copies", copies=3).iterdir())
    assert len({path.read_bytes() for path in copies}) == 3
    pictures = []
    for path in (clip, *copies):
        with av.open(str(path)) as container:
            pictures += [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(pictures) == 4
    assert all(np.array_equal(pictures[0], picture) for picture in pictures)


def test_every_peer_gets_the_engine_that_runs_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, ...]] = []

    def uv(*arguments: str) -> None:
        asked.append(arguments)
        Path(tmp_path, "bench-daft").mkdir(exist_ok=True)

    monkeypatch.setenv("FIRSTLOOK_CACHE", str(tmp_path))
    monkeypatch.setattr(environments, "_uv", uv)
    assert environments.python_of("daft") == tmp_path / "bench-daft" / "bin" / "python"
    assert environments.python_of("daft").parent.parent == tmp_path / "bench-daft"
    assert [arguments[0] for arguments in asked] == ["venv", "pip"]  # made once
    assert set(asked[1]) >= {
        environments.PEERS["daft"].requirement,
        f"av=={av.__version__}",
        f"numpy=={np.__version__}",
    }
