"""What a person sees while an ingest runs: a bar in a terminal, plain lines in a log. All of it on stderr."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from ingest.pipeline import Step
from service.library import Listener

LINE_EVERY_S = 10.0
"""Between two plain lines: often enough to see that it lives, seldom enough for a log."""


@contextmanager
def shown(*, quiet: bool = False) -> Iterator[Listener]:
    """Show an ingest for as long as the block lasts; `quiet` shows nothing but messages."""
    console = Console(stderr=True, highlight=False)
    if quiet:
        yield Listener(on_message=lambda message: print(message, file=sys.stderr))
    elif console.is_terminal:
        with _bar(console) as progress:
            yield _on_bar(progress)
    else:
        yield _in_lines()


def _bar(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[failed]}"),
        console=console,
    )


def _on_bar(progress: Progress) -> Listener:
    registering = progress.add_task("registering", total=None, rate="", failed="")
    counts = _Counts()

    def on_registered(count: int) -> None:
        progress.advance(registering, count)

    def on_work(pending: int) -> None:
        progress.remove_task(registering)
        counts.start(pending)
        counts.task = progress.add_task("ingesting", total=pending, rate="", failed="")

    def on_step(step: Step) -> None:
        counts.add(step)
        if counts.task is not None:
            failed = f"{counts.failed} failed" if counts.failed else ""
            progress.update(counts.task, completed=counts.done, rate=f"{counts.rate:.1f}/s", failed=failed)

    return Listener(
        on_message=partial(progress.console.print, markup=False),
        on_registered=on_registered,
        on_work=on_work,
        on_step=on_step,
    )


def _in_lines() -> Listener:
    counts = _Counts()
    registered = 0

    def on_registered(count: int) -> None:
        nonlocal registered
        registered += count
        if counts.is_time_for_a_line():
            print(f"{registered} files registered", file=sys.stderr)

    def on_work(pending: int) -> None:
        counts.start(pending)
        print(f"{pending} uploads to work on", file=sys.stderr)

    def on_step(step: Step) -> None:
        counts.add(step)
        if (step.committed or step.failed) and counts.is_time_for_a_line():
            left_s = (counts.total - counts.done) / max(counts.rate, 1e-9)
            print(
                f"{counts.done}/{counts.total} done, {counts.rate:.1f}/s, {left_s:.0f} s left, {counts.failed} failed",
                file=sys.stderr,
            )

    return Listener(
        on_message=lambda message: print(message, file=sys.stderr),
        on_registered=on_registered,
        on_work=on_work,
        on_step=on_step,
    )


class _Counts:
    """How far an ingest has come."""

    def __init__(self) -> None:
        self.total = self.done = self.failed = 0
        self.task: TaskID | None = None
        self._started_s = self._line_at_s = time.monotonic()

    def start(self, total: int) -> None:
        self.total = total
        self._started_s = self._line_at_s = time.monotonic()

    def add(self, step: Step) -> None:
        self.done += step.committed + step.failed
        self.failed += step.failed

    @property
    def rate(self) -> float:
        """Uploads a second, from the start of the work."""
        return self.done / max(time.monotonic() - self._started_s, 1e-9)

    def is_time_for_a_line(self) -> bool:
        now = time.monotonic()
        ends = 0 < self.total <= self.done
        if now - self._line_at_s < LINE_EVERY_S and not ends:
            return False
        self._line_at_s = now
        return True
