"""What a process tree costs, from its start to its end: time, CPU seconds, memory. Linux."""

from __future__ import annotations

import json
import resource
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[1]
SAMPLE_EVERY_S = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One process tree, from its start to its end."""

    videos: int
    cpu_s: float
    wall_s: float
    first_clip_s: float
    """From the start of the process to the first decoded clip."""
    peak_pss_bytes: int
    """0 where nobody watched."""
    steps: Mapping[str, float]
    """Step -> CPU seconds; empty where not metered."""


def measured(command: Sequence[str], *, watch_memory: bool = False) -> Run:
    """Run a command, which prints one JSON object, and measure its process tree.

    Raises:
        RuntimeError: it failed; the message ends with what it said.
    """
    cpu_before_s, started = children_cpu_s(), time.monotonic()
    process = subprocess.Popen(
        [*command, "--started", str(started)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    with watched(process.pid if watch_memory else None) as peaks:
        said, complained = process.communicate()
    wall_s = time.monotonic() - started
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}: {complained[-2000:]}")
    return Run(
        **json.loads(said), wall_s=wall_s, cpu_s=children_cpu_s() - cpu_before_s, peak_pss_bytes=max(peaks, default=0)
    )


def children_cpu_s() -> float:
    """User and system seconds of all children that have ended, and of theirs that they waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


@contextmanager
def watched(pid: int | None) -> Iterator[list[int]]:
    """Yield a list that fills with the PSS of a process tree while the block runs; None: it stays empty."""
    samples: list[int] = []
    ended = threading.Event()

    def watch(root: psutil.Process) -> None:
        while not ended.wait(SAMPLE_EVERY_S):
            try:
                tree = [root, *root.children(recursive=True)]
            except psutil.NoSuchProcess:
                return
            samples.append(sum(pss_bytes(process.pid) for process in tree))

    if pid is None:
        yield samples
        return
    thread = threading.Thread(target=watch, args=(psutil.Process(pid),))
    thread.start()
    try:
        yield samples
    finally:
        ended.set()
        thread.join()


def pss_bytes(pid: int) -> int:
    """The memory of a process, shared pages divided among those who share them; 0 where it has just ended."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:")), 0)
