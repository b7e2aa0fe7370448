"""What a process tree costs, from its start to its end: time, CPU seconds, memory. Linux.

CPU seconds are those that the kernel hands up when a process is waited for, so that none is missed between two samples.
Two kinds of processes are never waited for by their parents, and both are looked after here: daemons, whose parent is
gone (this process adopts them, ends them after the command and waits for them), and children of a parent that ignores
SIGCHLD, such as Ray's raylet (their last sample counts).
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import signal
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
SAMPLE_MEMORY_EVERY_S = 0.1
SAMPLE_CPU_EVERY_S = 0.25
DAEMONS_END_S = 10.0
"""Daemons that the command left behind get so long to end by themselves."""
PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h
TICKS_HZ = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One process tree, from its start to its end."""

    videos: int
    cpu_s: float
    wall_s: float
    """Until the command itself ended; its daemons may have taken longer."""
    first_clip_s: float
    """From the start of the process to the first decoded clip."""
    peak_pss_bytes: int
    """0 where nobody watched."""
    steps: Mapping[str, float]
    """Step -> CPU seconds; empty where not metered."""


@dataclass(frozen=True, slots=True)
class Stat:
    """A line of /proc/PID/stat, as far as it is wanted here."""

    pid: int
    parent: int
    started: int
    """In clock ticks since the boot: a pid may come back, a pid with its start does not."""
    cpu_s: float
    """User and system seconds, of its own and of children that it waited for."""


@dataclass(slots=True)
class Watch:
    """What the samples of a tree saw."""

    peak_pss_bytes: int = 0
    unwaited_cpu_s: dict[tuple[int, int], float] = field(default_factory=dict)
    """Processes, by pid and start, whose parent ignores SIGCHLD -> CPU seconds at the last sample."""


def measured(
    command: Sequence[str], *, watch_memory: bool = False, environment: Mapping[str, str] | None = None
) -> Run:
    """Run a command, whose last line is a JSON object, and measure its process tree.

    Args:
        watch_memory: also note the peak of the memory; it costs some time of the processor.
        environment: variables to add.

    Raises:
        RuntimeError: it failed; the message ends with what it said.
    """
    with _orphans_come_here() as others:
        cpu_before_s, started = children_cpu_s(), time.monotonic()
        process = subprocess.Popen(
            [*command, "--started", str(started)], cwd=ROOT, env={**os.environ, **(environment or {})},
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        with watched(others, memory=watch_memory) as watch:
            said, complained = process.communicate()
            wall_s = time.monotonic() - started
            for key in _wait_for_daemons(others):
                watch.unwaited_cpu_s.pop(key, None)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}: {complained[-2000:]}")
    cpu_s = children_cpu_s() - cpu_before_s + sum(watch.unwaited_cpu_s.values())
    return Run(**json.loads(said.splitlines()[-1]), wall_s=wall_s, cpu_s=cpu_s, peak_pss_bytes=watch.peak_pss_bytes)


def children_cpu_s() -> float:
    """User and system seconds of all children that have ended, and of theirs that they waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


@contextmanager
def _orphans_come_here() -> Iterator[frozenset[int]]:
    """Adopt the daemons that are born in the block; yield the children that are here already."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    if prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_CHILD_SUBREAPER)")
    try:
        yield frozenset(stat.pid for stat in _stats() if stat.parent == os.getpid())
    finally:
        prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def _wait_for_daemons(others: frozenset[int]) -> list[tuple[int, int]]:
    """Wait for adopted processes to end, and end them after a while; return their pids and starts."""
    ended: list[tuple[int, int]] = []
    deadline_s = time.monotonic() + DAEMONS_END_S
    while adopted := [stat for stat in _stats() if stat.parent == os.getpid() and stat.pid not in others]:
        for stat in adopted:
            if time.monotonic() > deadline_s:
                os.kill(stat.pid, signal.SIGKILL)
            if os.waitpid(stat.pid, os.WNOHANG)[0]:
                ended.append((stat.pid, stat.started))
        time.sleep(0.02)
    return ended


@contextmanager
def watched(others: frozenset[int] = frozenset(), *, memory: bool) -> Iterator[Watch]:
    """Watch all descendants of this process, except some children and theirs, while the block runs."""
    watch = Watch()
    ended = threading.Event()

    def look() -> None:
        pause_s = every_s = SAMPLE_MEMORY_EVERY_S if memory else SAMPLE_CPU_EVERY_S
        while not ended.wait(pause_s):
            began_s = time.thread_time()
            stats = _descendants(os.getpid(), others)
            deaf = {pid for pid in {stat.parent for stat in stats} if _ignores_children(pid)}
            for stat in stats:
                if stat.parent in deaf:
                    watch.unwaited_cpu_s[stat.pid, stat.started] = stat.cpu_s
            if memory:
                watch.peak_pss_bytes = max(watch.peak_pss_bytes, sum(pss_bytes(stat.pid) for stat in stats))
            pause_s = max(every_s, 9 * (time.thread_time() - began_s))  # a tenth of a core at most

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield watch
    finally:
        ended.set()
        thread.join()


def _stats() -> list[Stat]:
    """All processes of the machine that are there now."""
    found = []
    for folder in os.listdir("/proc"):
        if folder.isdecimal():
            try:
                line = Path("/proc", folder, "stat").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue
            parts = line[line.rindex(")") + 2 :].split()  # from field 3 of proc(5) on: a name may hold blanks
            cpu_s = sum(int(ticks) for ticks in parts[11:15]) / TICKS_HZ
            found.append(Stat(int(folder), int(parts[1]), int(parts[19]), cpu_s))
    return found


def _descendants(pid: int, others: frozenset[int]) -> list[Stat]:
    children: dict[int, list[Stat]] = {}
    for stat in _stats():
        children.setdefault(stat.parent, []).append(stat)
    found = [stat for stat in children.get(pid, []) if stat.pid not in others]
    for stat in found:  # grows as it goes
        found += children.get(stat.pid, [])
    return found


def _ignores_children(pid: int) -> bool:
    """Whether a process ignores SIGCHLD: its children vanish when they end, and their seconds with them."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return False
    ignored = next(int(line.split()[1], 16) for line in lines if line.startswith("SigIgn:"))
    return bool(ignored >> (signal.SIGCHLD - 1) & 1)


def pss_bytes(pid: int) -> int:
    """The memory of a process, shared pages divided among those who share them; 0 where it has just ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)
