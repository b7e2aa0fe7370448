"""What all commands share: their common options, how they end, and how they are stopped."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from types import FrameType
from typing import Any

import click

OURS = 1
"""Exit code for what is not a file's fault."""
INTERRUPTED = 130


def common(command: Any) -> Any:
    """The options that every command has."""
    for option in (
        click.option("--json", "as_json", is_flag=True, help="Print JSON; docs/json.md describes it."),
        click.option("--space", help="Name or id of a space. Default: the home's live one, then local."),
        click.option("--home", type=click.Path(path_type=Path), help="Default: FIRSTLOOK_HOME, then ./firstlook-data."),
    ):
        command = option(command)
    return command


@contextmanager
def stoppable() -> Iterator[Event]:
    """Ctrl-C ends cleanly: the files in hand are finished, the rest waits. A second one ends at once."""
    stop = Event()

    def on_interrupt(_number: int, _frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()
        print("stopping after the files in hand; the next run goes on (once more: at once)", file=sys.stderr)

    previous = {number: signal.signal(number, on_interrupt) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


def say(facts: Mapping[str, Any], as_json: bool, line: str) -> None:
    print(json.dumps(facts, ensure_ascii=False) if as_json else line)
