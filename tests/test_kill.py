"""`kill -9` anywhere: nothing is lost, doubled or half done, and nobody is blamed who did not kill a child."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from index.records import Video
from ingest.samples import draw_samples
from service.library import Library

SEED = 11
TESTS = Path(__file__).parent
COUNTS = ("uploads", "videos", "failures", "pending")
KILLS_A_HOME = 5
"""What survived so many kills is finished and checked; then a new home begins, with everything to do."""

TRANSITIONS = {
    "blob written": "(Blobs, 'put_original', lambda arguments: True)",
    "analysis written": "(Blobs, 'put', lambda arguments: arguments[0].startswith('analysis/'))",
    "rows committed": "(VideoTable, 'upsert', lambda arguments: True)",
    "ledger acknowledged": "(Ledger, 'acknowledge', lambda arguments: True)",
    "failure written": "(Ledger, 'fail', lambda arguments: arguments[0])",
}

KILLED_AT = """
import os, signal, sys
from contextlib import nullcontext
from pathlib import Path
from fakes import SPACE, FakeDecoder, fake_crew
from index.blobs import Blobs
from index.home import Home
from index.ledger import Ledger
from index.table import VideoTable
from ingest.pipeline import ingest
from ingest.uploads import discover

home_folder, clips, place, log = sys.argv[1:]
class Logged(FakeDecoder):
    def decode(self, path):
        with open(log, "a") as file:
            file.write(path.name + "\\n")
        return super().decode(path)

home = Home.open(home_folder)
home.ledger.add_space(SPACE)
if place:
    owner, name, is_it = eval(place)
    original = getattr(owner, name)
    calls = 0
    def then_die(self, *arguments, **named):
        global calls
        result = original(self, *arguments, **named)
        calls += bool(is_it(arguments))
        if calls == 3 or (calls and owner is not Blobs):
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    setattr(owner, name, then_die)
ingest(discover([clips], None), home, SPACE, lambda: fake_crew(home, Logged()))
"""


@pytest.mark.parametrize(
    "transition",
    [name if name == "rows committed" else pytest.param(name, marks=pytest.mark.ci) for name in TRANSITIONS],
)
def test_a_kill_right_after_a_transition_costs_nothing(transition: str, tmp_path: Path) -> None:
    from fakes import SPACE

    from index.home import Home

    clips, log = tmp_path / "clips", tmp_path / "decoded"
    clips.mkdir()
    for number in range(12):
        (clips / f"{number}.mp4").write_text(f"clip {number}")
    (clips / "broken.mp4").write_text("broken")

    def run(place: str) -> int:
        command = [sys.executable, "-c", KILLED_AT, str(tmp_path / "home"), str(clips), place, str(log)]
        environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS), str(TESTS.parent)])}
        return subprocess.run(command, env=environment, timeout=120).returncode

    assert run(TRANSITIONS[transition]) == -signal.SIGKILL
    assert run("") == 0
    home = Home.open(tmp_path / "home")
    counts = home.ledger.counts(SPACE.id)
    assert (counts["videos"], counts["failures"], counts["pending"]) == (12, 1, 0)
    assert home.table(SPACE).ids() == sorted(home.ledger.video_ids(SPACE.id))
    assert home.table(SPACE).check() == []
    decoded = log.read_text().split()
    again = len(decoded) - len(set(decoded))
    assert again <= 16, "at most the two chunks in hand are decoded again"
    if transition in ("rows committed", "ledger acknowledged"):
        assert again <= 8, "what is committed is not decoded again"
    home.close()


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real small clips, and files that are at fault."""
    folder = tmp_path_factory.mktemp("clips")
    drawn = draw_samples(folder, count=8, seed=SEED)
    (folder / "manifest.jsonl").unlink()
    (folder / "truncated.mp4").write_bytes(drawn[0].path.read_bytes()[:2_000])
    (folder / "text.mp4").write_text("not a video")
    (folder / "empty.mp4").touch()
    return folder


def start(clips: Path, home: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "service.cli", "ingest", str(clips), "--home", str(home), "--json"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def finish(clips: Path, home: Path) -> dict[str, int]:
    process = start(clips, home)
    out, err = process.communicate(timeout=240)
    assert process.returncode == 0, err
    summary: dict[str, int] = json.loads(out)
    return summary


def videos_of(home: Path) -> dict[str, Video]:
    with Library.open(home) as library:
        table = library.home.table(library.space)
        assert table.check() == []
        assert table.ids() == sorted(library.home.ledger.video_ids(library.space.id))
        return table.get(table.ids())


def kill_and_finish(kills: int, clips: Path, tmp_path: Path) -> None:
    started = time.monotonic()
    calm = finish(clips, tmp_path / "calm")
    calm_s = time.monotonic() - started
    undisturbed = videos_of(tmp_path / "calm")
    chance = random.Random(SEED)
    home, killed, tries = tmp_path / "killed0", 0, 0
    while killed < kills:
        tries += 1
        assert tries <= 4 * kills, f"only {killed} of {tries} kills met a living process"
        process = start(clips, home)
        try:
            process.communicate(timeout=chance.uniform(0.2, 1.0) * calm_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            killed += 1
            if killed < kills and killed % KILLS_A_HOME:
                continue
        summary = finish(clips, home)
        assert [summary[name] for name in COUNTS] == [calm[name] for name in COUNTS]
        assert summary["reasons"] == calm["reasons"], "nobody is quarantined who did not kill a child"
        assert_same(videos_of(home), undisturbed)
        home = tmp_path / f"killed{tries}"


def assert_same(found: dict[str, Video], wanted: dict[str, Video]) -> None:
    assert found.keys() == wanted.keys()
    for video_id, video in wanted.items():
        assert found[video_id].facts == video.facts
        assert found[video_id].upload == video.upload
        assert found[video_id].mask == video.mask
        np.testing.assert_allclose(found[video_id].fused, video.fused, atol=1e-5)


@pytest.mark.ci
def test_five_kills_at_random_moments_and_then_it_finishes(clips: Path, tmp_path: Path) -> None:
    kill_and_finish(5, clips, tmp_path)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_fifty_kills_at_random_moments_and_then_it_finishes(clips: Path, tmp_path: Path) -> None:
    kill_and_finish(50, clips, tmp_path)
