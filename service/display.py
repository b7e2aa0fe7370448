"""What a person sees while an ingest runs: a bar in a terminal, plain lines in a log. All of it on stderr."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from ingest.pipeline import Step
from service.library import Listener

REASONS_SHOWN = 3
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
            rate = f"{counts.rate:.1f}/s"
            progress.update(counts.task, completed=counts.done, rate=rate, failed=counts.failed_in_words())

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
            failed = counts.failed_in_words() or "0 failed"
            print(
                f"{counts.done}/{counts.total} done, {counts.rate:.1f}/s, {in_words_of_time(left_s)} left, {failed}",
                file=sys.stderr,
            )

    return Listener(
        on_message=lambda message: print(message, file=sys.stderr),
        on_registered=on_registered,
        on_work=on_work,
        on_step=on_step,
    )


def in_words_of_time(seconds: float) -> str:
    """A stretch of time as a person says it.

    >>> in_words_of_time(42.4), in_words_of_time(600), in_words_of_time(30_000), in_words_of_time(400_000)
    ('42 s', '10 min', '8.3 h', '4.6 days')
    """
    for limit, unit_s, unit, decimals in ((100, 1, "s", 0), (6_000, 60, "min", 0), (172_800, 3_600, "h", 1)):
        if seconds < limit:
            return f"{seconds / unit_s:.{decimals}f} {unit}"
    return f"{seconds / 86_400:.1f} days"


class _Counts:
    """How far an ingest has come."""

    def __init__(self) -> None:
        self.total = self.done = 0
        self.reasons = Counter[str]()
        self.task: TaskID | None = None
        self._started_s = self._line_at_s = time.monotonic()

    def start(self, total: int) -> None:
        self.total, self.done = total, 0  # what failed before was never waited for
        self._started_s = self._line_at_s = time.monotonic()

    def add(self, step: Step) -> None:
        self.done += step.committed + step.failed
        self.reasons.update(step.reasons)

    def failed_in_words(self) -> str:
        """`12 failed: moov_missing 8, not_media 4`; empty where none has."""
        if not self.reasons:
            return ""
        named = ", ".join(f"{reason} {count}" for reason, count in self.reasons.most_common(REASONS_SHOWN))
        more = len(self.reasons) - REASONS_SHOWN
        return f"{self.reasons.total()} failed: {named}" + (f" and {more} more" if more > 0 else "")

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
