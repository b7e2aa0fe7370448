"""`firstlook serve`: one parent that holds the socket, and children that answer and ingest.

```
 parent ─┬─ http     answers, on the parent's socket; as many as asked for
         └─ worker   works off uploads
```

The parent starts again what dies, and hands its socket to the next generation on SIGHUP: one after the other, those
that answer now are asked to end when their successor is ready, so no connection is refused in between. It waits for
nobody, and does nothing else, so that it does not die. Children end with it, whatever becomes of it.
"""

from __future__ import annotations

import ipaddress
import json
import logging
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import psutil

from service.web.asked import Asked

READY_S = 180.0
"""Nobody waits for it but the one that it follows, and a machine may have other things to do."""
END_S = 40.0
AGAIN_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Pauses before a child that died is started again; the first once it has lived for a minute."""
LIVED_S = 60.0
BACKLOG = 1_024
LOOK_EVERY_S = 0.5
COUNTS = "firstlook-counts-"
"""What the folder begins with in which those that answer count (`service/web/meters.py`)."""
WORKER = "worker"
MEMORY = Path("/dev/shm")
"""Counting writes through mapped files: on a full disk that would be the end of whoever answers."""

_log = logging.getLogger("firstlook.serve")


class NotReady(Exception):
    """A process that is to answer has not come so far; what it said is above."""


def check_reach(host: str, *, behind_tls: bool) -> None:
    """Refuse to answer strangers in clear text.

    Raises:
        ValueError: the address is not loopback, and no proxy was said to end TLS.
    """
    try:
        inside = ipaddress.ip_address(host).is_loopback
    except ValueError:
        inside = host == "localhost"
    if not inside and not behind_tls:
        raise ValueError(
            f"{host} can be reached from outside, and keys and videos would pass in clear text: let a proxy end TLS "
            "and say so with --behind-tls, or stay with 127.0.0.1"
        )


def bind(host: str, port: int) -> socket.socket:
    """The listening socket.

    Raises:
        OSError: the port is taken, or not ours.
    """
    kind = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(kind, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listening.bind((host, port))
    except OSError as error:
        raise OSError(error.errno, f"{host}:{port}: {error.strerror}") from error
    listening.listen(BACKLOG)
    return listening


@dataclass(slots=True, kw_only=True)
class _Process:
    """A process that was started, and what there is to know of it."""

    process: subprocess.Popen[bytes]
    ready_fd: int | None
    """Says a byte when it is ready, and closes when it dies before; None: it was ready from the start."""
    until_s: float
    """By then it has to be ready; and when it was told to end, by then it has to have ended."""
    letter: str
    gauges: Path | None = None
    """Where it says what it has in hand; whoever died there has nothing in hand any more."""
    """Of the file that it counts in."""

    def is_alive(self) -> bool:
        return self.process.poll() is None


@dataclass(slots=True, eq=False)
class _Child:
    """A place that has to be filled.

    `now` fills it. `coming` was started and is not ready yet, `going` was told to end: its successor is ready.
    """

    name: str
    start: Callable[[str], _Process]
    now: _Process | None = None
    coming: _Process | None = None
    going: _Process | None = None
    since_s: float = 0.0
    deaths: int = 0
    again_s: float = 0.0

    def processes(self) -> list[_Process]:
        return [one for one in (self.now, self.coming, self.going) if one is not None]


class Parent:
    """Holds the socket, and keeps its children there until it is told to end."""

    def __init__(self, asked: Asked, listening: socket.socket) -> None:
        self._asked, self._socket = asked, listening
        self._lifelines: dict[int, int] = {}  # pid -> our end of a pipe, which closes with us: then that child ends
        self._children: list[_Child] = []
        self._to_renew: list[_Child] = []
        self._renewed = 0
        self._counts = Path()
        self._ends = self._renews = self._was_ready = False

    def run(self, on_ready: Callable[[], None]) -> None:
        """Serve until SIGTERM or SIGINT.

        Raises:
            NotReady: the first processes do not start; later ones are tried again.
        """
        wakes, wake = os.pipe()
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake)
        for ends in (signal.SIGTERM, signal.SIGINT):
            signal.signal(ends, lambda _number, _frame: setattr(self, "_ends", True))
        signal.signal(signal.SIGHUP, lambda _number, _frame: setattr(self, "_renews", True))
        with ExitStack() as stack:
            self._counts = _folder_in_memory(stack)
            stack.callback(self._end)
            processes = range(self._asked.processes)
            self._children = [_Child(f"http {number}", self._starts_http(number)) for number in processes]
            while not self._ends:
                self._look_around()
                if not self._was_ready and all(child.now for child in self._children):
                    self._was_ready = True
                    if self._asked.ingest:
                        self._children.append(_Child(WORKER, self._start_worker))
                        self._fill(self._children[-1])
                    on_ready()
                coming = [child.coming for child in self._children if child.coming is not None]
                heard = [wakes, *(one.ready_fd for one in coming if one.ready_fd is not None)]
                if wakes in select.select(heard, [], [], LOOK_EVERY_S)[0]:
                    os.read(wakes, 1024)

    def _look_around(self) -> None:
        if self._renews:
            self._renews = False
            self._to_renew = [child for child in self._children if child.name != WORKER]
        for child in self._children:
            self._hear(child)
            self._see_off(child)
            self._fill(child)
        self._renew_next()

    def _fill(self, child: _Child) -> None:
        """Start what is not there; what dies again and again after longer and longer pauses."""
        now_s = time.monotonic()
        if child.now is not None and not child.now.is_alive():
            _tell("died", what=child.name, code=child.now.process.returncode)
            self._forget(child.now)
            child.deaths = 0 if now_s - child.since_s > LIVED_S else child.deaths + 1
            child.now, child.again_s = None, now_s + _pause_s(child.deaths)
        if child.now is None and child.coming is None and now_s >= child.again_s:
            self._start(child)

    def _start(self, child: _Child) -> None:
        taken = {one.letter for one in child.processes()}
        try:
            started = child.start(next(letter for letter in "ab" if letter not in taken))
        except OSError as error:
            self._not_started(child, str(error))
            return
        if started.ready_fd is None:
            child.now, child.since_s = started, time.monotonic()
        else:
            child.coming = started

    def _hear(self, child: _Child) -> None:
        """Let what is ready take its place, and whoever had it go."""
        coming = child.coming
        if coming is None or coming.ready_fd is None:
            return
        if select.select([coming.ready_fd], [], [], 0)[0]:
            is_ready, why = os.read(coming.ready_fd, 1) != b"", "it ended before it was ready"
        elif time.monotonic() > coming.until_s:
            is_ready, why = False, f"it was not ready within {READY_S:.0f} s"
        else:
            return
        os.close(coming.ready_fd)
        coming.ready_fd, child.coming = None, None
        if not is_ready:
            coming.process.kill()
            coming.process.wait()
            self._forget(coming)
            self._not_started(child, why)
            return
        if child.now is not None:
            child.going = child.now
            child.going.until_s = time.monotonic() + END_S
            child.going.process.terminate()
        child.now, child.since_s = coming, time.monotonic()
        self._note_renewed(child, 1)

    def _not_started(self, child: _Child, why: str) -> None:
        if not self._was_ready:
            raise NotReady(f"{child.name} does not start: {why}")
        if child.now is not None:  # it stays
            _tell("not_renewed", what=child.name, why=why)
            self._note_renewed(child, 0)
            return
        _tell("not_started", what=child.name, why=why)
        child.deaths += 1
        child.again_s = time.monotonic() + _pause_s(child.deaths)

    def _see_off(self, child: _Child) -> None:
        if child.going is None:
            return
        if child.going.is_alive() and time.monotonic() < child.going.until_s:
            return
        child.going.process.kill()
        child.going.process.wait()
        self._forget(child.going)
        child.going = None

    def _renew_next(self) -> None:
        """Start the next successor, one at a time: loading takes every core for a second or two."""
        if not self._to_renew or any(child.coming for child in self._children):
            return
        child = self._to_renew[0]
        if child.now is None:  # it will be new anyway
            self._note_renewed(child, 0)
        elif child.going is None:
            self._start(child)

    def _note_renewed(self, child: _Child, count: int) -> None:
        if child not in self._to_renew:
            return
        self._to_renew.remove(child)
        self._renewed += count
        if not self._to_renew:
            _tell("renewed", count=self._renewed)
            self._renewed = 0

    def _starts_http(self, number: int) -> Callable[[str], _Process]:
        def start(letter: str) -> _Process:
            ready, says_ready = os.pipe()
            fds = [self._socket.fileno(), says_ready]
            try:
                said = [str(self._counts), f"{number}{letter}", self._asked.model_dump_json()]
                process = self._child(["service.web.http", *map(str, fds)], fds, *said)
            except OSError:
                os.close(ready)
                raise
            finally:
                os.close(says_ready)
            gauges = self._counts / f"gauge_livesum_{number}{letter}.db"
            until_s = time.monotonic() + READY_S
            return _Process(process=process, ready_fd=ready, until_s=until_s, letter=letter, gauges=gauges)

        return start

    def _start_worker(self, letter: str) -> _Process:
        asked = self._asked
        command = ["service.web.worker", "--home", asked.home]
        command += ["--space", asked.space] if asked.space else []
        command += ["--workers", str(asked.workers)] if asked.workers else []
        command += ["--ray", asked.ray] if asked.ray else []
        return _Process(process=self._child([*command, "--lifeline"], []), ready_fd=None, until_s=0.0, letter=letter)

    def _child(self, said: list[str], fds: list[int], *more: str) -> subprocess.Popen[bytes]:
        """Start a module, with a lifeline of its own: a pipe tells only one process that it has closed."""
        theirs, ours = os.pipe()
        try:
            process = subprocess.Popen([sys.executable, "-m", *said, str(theirs), *more], pass_fds=[*fds, theirs])
        except OSError:
            os.close(ours)
            raise
        finally:
            os.close(theirs)
        self._lifelines[process.pid] = ours
        return process

    def _end(self) -> None:
        processes = [one for child in self._children for one in child.processes()]
        for one in processes:
            one.process.terminate()
        deadline = time.monotonic() + END_S
        for one in processes:
            try:
                one.process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                one.process.kill()
                one.process.wait()
            self._forget(one)

    def _forget(self, gone: _Process) -> None:
        if gone.gauges is not None:
            gone.gauges.unlink(missing_ok=True)
        if (ours := self._lifelines.pop(gone.process.pid, None)) is not None:
            os.close(ours)


def _pause_s(deaths: int) -> float:
    return AGAIN_S[min(deaths, len(AGAIN_S) - 1)]


def _tell(event: str, **facts: object) -> None:
    _log.log(logging.INFO if event == "renewed" else logging.ERROR, json.dumps({"event": event, **facts}))


def _folder_in_memory(stack: ExitStack) -> Path:
    """A folder that goes with us, and with it those of parents that were killed."""
    root = MEMORY if os.access(MEMORY, os.W_OK) else Path(tempfile.gettempdir())
    for left in root.glob(f"{COUNTS}*"):
        pid = left.name.removeprefix(COUNTS).partition("-")[0]
        if pid.isdecimal() and not psutil.pid_exists(int(pid)):
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{COUNTS}{os.getpid()}-", dir=root))
    stack.callback(shutil.rmtree, folder, ignore_errors=True)
    return folder
