"""The figures that the README states, measured again on real clips where they lie at hand."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parent.parent / "bench"

pytestmark = [pytest.mark.data, pytest.mark.timeout(1200)]


@pytest.fixture
def data() -> Path:
    folder = os.environ.get("FIRSTLOOK_BENCH_DATA")
    if not folder:
        pytest.skip("FIRSTLOOK_BENCH_DATA names no folder with real clips")
    return Path(folder)


def run(script: str, *arguments: str) -> None:
    done = subprocess.run([sys.executable, BENCH / script, *arguments], capture_output=True, text=True)
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]


def test_every_real_and_hostile_file_ends_as_a_video_or_a_failure(data: Path) -> None:
    run("invariant.py", "--data", str(data))


def test_what_is_alike_is_found(data: Path) -> None:
    clips = data / "localonly" / "labelled" / "panda70m_samples"
    run("retrieval.py", "--clips", str(clips), "--manifest", str(data / "localonly" / "MANIFEST.csv"))
