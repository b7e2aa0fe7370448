"""`firstlook serve`: one parent that holds the socket, and children that answer and ingest.

```
 parent ─┬─ http     answers, on the parent's socket; as many as asked for
         └─ worker   works off uploads
```

The parent starts again what dies, and hands its socket to the next generation on SIGHUP: those that answer now are
asked to end when the new ones are ready, so no connection is refused in between. It does nothing else, so that it does
not die. Children end with it, whatever becomes of it.
"""

from __future__ import annotations

import ipaddress
import json
import logging
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from service.web.asked import Asked

READY_S = 60.0
END_S = 40.0
AGAIN_S = (0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
"""Pauses before a child that died is started again; the first once it has lived for a minute."""
LIVED_S = 60.0
BACKLOG = 1_024

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


@dataclass(slots=True)
class _Child:
    """A process that has to be there."""

    start: Callable[[], subprocess.Popen[bytes]]
    name: str
    process: subprocess.Popen[bytes]
    started_s: float = field(default_factory=time.monotonic)
    deaths: int = 0
    again_s: float | None = None


class Parent:
    """Holds the socket, and keeps its children there until it is told to end."""

    def __init__(self, asked: Asked, listening: socket.socket) -> None:
        self._asked, self._socket = asked, listening
        self._lifelines: dict[int, int] = {}  # pid -> our end of a pipe, which closes with us: then that child ends
        self._children: list[_Child] = []
        self._ends = self._renews = False

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
        try:
            for number in range(self._asked.processes):
                self._children.append(self._begin(f"http {number}", self._start_http))
            if self._asked.ingest:
                self._children.append(self._begin("worker", self._start_worker))
            on_ready()
            while not self._ends:
                if select.select([wakes], [], [], 0.5)[0]:
                    os.read(wakes, 1024)
                if self._renews:
                    self._renews = False
                    self._renew()
                for child in self._children:
                    self._look_after(child)
        finally:
            self._end([child.process for child in self._children])

    def _begin(self, name: str, start: Callable[[], subprocess.Popen[bytes]]) -> _Child:
        return _Child(start, name, start())

    def _start_http(self) -> subprocess.Popen[bytes]:
        ready, says_ready = os.pipe()
        try:
            said = [str(self._socket.fileno()), str(says_ready)]
            process = self._child(
                ["service.web.http", *said], [self._socket.fileno(), says_ready], self._asked.model_dump_json()
            )
        finally:
            os.close(says_ready)
        try:
            if not select.select([ready], [], [], READY_S)[0] or not os.read(ready, 1):
                process.kill()
                process.wait()
                raise NotReady(f"a process that answers did not start within {READY_S:.0f} s")
        finally:
            os.close(ready)
        return process

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

    def _start_worker(self) -> subprocess.Popen[bytes]:
        command = ["service.web.worker", "--home", self._asked.home]
        command += ["--space", self._asked.space] if self._asked.space else []
        command += ["--workers", str(self._asked.workers)] if self._asked.workers else []
        return self._child([*command, "--lifeline"], [])

    def _look_after(self, child: _Child) -> None:
        now = time.monotonic()
        if child.process.poll() is None:
            return
        if child.again_s is None:
            self._forget(child.process)
            child.deaths = 0 if now - child.started_s > LIVED_S else child.deaths + 1
            child.again_s = now + AGAIN_S[min(child.deaths, len(AGAIN_S) - 1)]
            _log.error(json.dumps({"event": "died", "what": child.name, "code": child.process.returncode}))
        if now < child.again_s:
            return
        try:
            child.process, child.again_s, child.started_s = child.start(), None, now
        except (NotReady, OSError) as error:
            child.deaths += 1
            child.again_s = time.monotonic() + AGAIN_S[min(child.deaths, len(AGAIN_S) - 1)]
            _log.error(json.dumps({"event": "not_started", "what": child.name, "why": str(error)}))

    def _renew(self) -> None:
        """A new generation of those that answer; the old one ends when the new one is ready."""
        old = []
        for child in self._children:
            if child.name != "worker":
                try:
                    new = child.start()
                except (NotReady, OSError) as error:
                    _log.error(json.dumps({"event": "not_renewed", "what": child.name, "why": str(error)}))
                    continue
                old.append(child.process)
                child.process, child.started_s = new, time.monotonic()
        self._end(old)
        _log.info(json.dumps({"event": "renewed", "count": len(old)}))

    def _end(self, processes: list[subprocess.Popen[bytes]]) -> None:
        for process in processes:
            process.terminate()
        deadline = time.monotonic() + END_S
        for process in processes:
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            self._forget(process)

    def _forget(self, process: subprocess.Popen[bytes]) -> None:
        if (ours := self._lifelines.pop(process.pid, None)) is not None:
            os.close(ours)
