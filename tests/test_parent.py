"""The parent of `firstlook serve` waits for nobody: children that only pretend, and start at once, slowly or never."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from signal import SIGHUP, SIGTERM

import psutil
import pytest

PROGRAM = """
import logging, socket, subprocess, sys
from pathlib import Path
from service.web.asked import Asked
from service.web.serve import Parent

folder = Path(sys.argv[1])
CHILD = '''
import os, sys, time
ready, folder = sys.argv[2:]
if ready != "none" and os.path.exists(folder + "/dies"):
    sys.exit("it dies")
if ready != "none" and not os.path.exists(folder + "/hangs"):
    os.write(int(ready), b"1")
time.sleep(600)
'''

class Tried(Parent):
    def _child(self, said, fds, *more):
        name = said[0].rpartition(".")[2]
        ready, place = (said[2], more[1]) if name == "http" else ("none", "")
        with (folder / "started").open("a") as log:
            log.write(f"{name} {place}".strip() + "\\\\n")
        return subprocess.Popen([sys.executable, "-c", CHILD, name, ready, str(folder)], pass_fds=fds)

logging.basicConfig(format="%(message)s", level=logging.INFO)
Tried(Asked(home=str(folder)), socket.socket()).run(lambda: (folder / "ready").touch())
""".replace("\\\\n", "\\n")


class Tried:
    """A parent, and what it started."""

    def __init__(self, folder: Path, *how: str) -> None:
        self.folder = folder
        for one in how:
            (folder / one).touch()
        with (folder / "log").open("w") as log:
            self.process = subprocess.Popen([sys.executable, "-c", PROGRAM, str(folder)], stderr=log)

    def started(self) -> list[str]:
        path = self.folder / "started"
        return path.read_text().splitlines() if path.exists() else []

    def told(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in (self.folder / "log").read_text().splitlines() if line.startswith("{")]

    def alive(self, name: str) -> list[psutil.Process]:
        children = psutil.Process(self.process.pid).children()
        return [child for child in children if child.status() != psutil.STATUS_ZOMBIE and name in child.cmdline()]

    def until(self, is_so: Callable[[], bool], within_s: float = 30.0) -> None:
        deadline = time.monotonic() + within_s
        while not is_so():
            assert time.monotonic() < deadline, (self.started(), (self.folder / "log").read_text())
            time.sleep(0.05)

    def end(self, within_s: float = 15.0) -> int:
        self.process.send_signal(SIGTERM)
        return self.process.wait(within_s)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Tried]]:
    made: list[Tried] = []

    def begin(*how: str) -> Tried:
        made.append(Tried(tmp_path, *how))
        return made[0]

    yield begin
    for one in made:
        if one.process.poll() is None:
            for child in [*psutil.Process(one.process.pid).children(), one.process]:
                child.kill()


def test_sigterm_is_heard_while_a_child_starts(start: Callable[..., Tried]) -> None:
    parent = start("hangs")
    parent.until(lambda: parent.started() == ["http 0a"])
    children = parent.alive("http")
    assert parent.end() == 0
    assert psutil.wait_procs(children, timeout=5)[1] == []


def test_a_worker_that_dies_is_started_again_while_a_successor_takes_its_time(start: Callable[..., Tried]) -> None:
    parent = start()
    parent.until((parent.folder / "ready").exists)
    assert parent.started() == ["http 0a", "worker"]
    (parent.folder / "hangs").touch()
    parent.process.send_signal(SIGHUP)
    parent.until(lambda: parent.started()[2:] == ["http 0b"])
    (worker,) = parent.alive("worker")
    worker.kill()
    parent.until(lambda: parent.started()[3:] == ["worker"], within_s=15)
    assert len(parent.alive("http")) == 2, "the old one answers until the new one does"
    assert parent.end() == 0


def test_renewals_take_turns_in_two_places(start: Callable[..., Tried]) -> None:
    parent = start()
    parent.until((parent.folder / "ready").exists)
    for number in range(1, 4):
        before = parent.alive("http")
        parent.process.send_signal(SIGHUP)
        parent.until(lambda number=number: len([one for one in parent.told() if one["event"] == "renewed"]) == number)
        assert psutil.wait_procs(before, timeout=10)[1] == []
        assert len(parent.alive("http")) == 1
    assert [one for one in parent.started() if one != "worker"] == ["http 0a", "http 0b", "http 0a", "http 0b"]
    assert parent.end() == 0


def test_where_the_new_does_not_start_the_old_stays(start: Callable[..., Tried]) -> None:
    parent = start()
    parent.until((parent.folder / "ready").exists)
    before = parent.alive("http")
    (parent.folder / "dies").touch()
    parent.process.send_signal(SIGHUP)
    parent.until(lambda: "not_renewed" in [one["event"] for one in parent.told()])
    assert [one.pid for one in parent.alive("http")] == [one.pid for one in before]
    assert parent.told()[-1] == {"event": "renewed", "count": 0}
    assert parent.end() == 0


def test_what_does_not_start_at_first_is_told(start: Callable[..., Tried]) -> None:
    parent = start("dies")
    assert parent.process.wait(30) == 1
    assert "NotReady: http 0 does not start: it ended before it was ready" in (parent.folder / "log").read_text()
