"""The commands about viewers: what they did, and what follows from it. `service/cli.py` registers them.

Each is thin over `Library`, as those are.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from recommend.events import Imported
from service.cli_shared import INTERRUPTED, common, say, stoppable
from service.library import Library

LINE_EVERY_S = 5.0
"""Between two lines of progress."""


@click.group()
def events() -> None:
    """What viewers do: import it, and see what could not be true."""


@events.command("import")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True, dir_okay=False))
@common
def events_import(files: tuple[Path, ...], home: Path | None, space: str | None, as_json: bool) -> int:
    """Import FILES of events: Parquet, CSV or JSON lines, with the fields of an event.

    The same events again are counted once, by event_id. Stopped or killed, the next run goes on where it was.
    """
    with Library.open(home, space=space, create=False) as library, stoppable() as stop:
        imported = library.events_import(files, _progress(), stop=stop)
    say(asdict(imported), as_json, _in_words(imported))
    return INTERRUPTED if imported.stopped else 0


@events.command("aside")
@click.option("--reason", help="Only those of this reason.")
@click.option("-k", "limit", default=20, show_default=True, type=click.IntRange(1, 10_000), help="How many.")
@common
def events_aside(reason: str | None, limit: int, home: Path | None, space: str | None, as_json: bool) -> None:
    """List what came as an event and cannot be one, the newest first, and why."""
    with Library.open(home, space=space, create=False) as library:
        found = library.home.behaviour.aside(limit, reason=reason)
        reasons = library.home.behaviour.aside_reasons()
    lines = [f"{count:,} {name}" for name, count in reasons.items()] or ["nothing was kept apart"]
    lines += [f"{one.reason}: {one.detail}\n    {one.raw[:300]}" for one in found]
    facts: Mapping[str, Any] = {"reasons": reasons, "aside": [asdict(one) for one in found]}
    print(json.dumps(facts, ensure_ascii=False) if as_json else "\n".join(lines))


def _progress() -> Callable[[Path, Imported], None]:
    """Says on stderr how far an import is, now and then."""
    started_s = said_s = time.monotonic()

    def on_progress(path: Path, imported: Imported) -> None:
        nonlocal said_s
        now = time.monotonic()
        if now - said_s >= LINE_EVERY_S:
            said_s = now
            pace = imported.lines / (now - started_s)
            print(f"{path.name}: {_in_words(imported)}, {pace:,.0f} lines/s", file=sys.stderr)

    return on_progress


def _in_words(imported: Imported) -> str:
    """`1,204 accepted, 3 repeated, 2 kept apart: from_the_future 2`."""
    aside = imported.aside or {}
    said = f"{imported.accepted:,} accepted, {imported.repeated:,} repeated, {sum(aside.values()):,} kept apart"
    if aside:
        said += ": " + ", ".join(f"{reason} {count:,}" for reason, count in aside.items())
    if imported.resumed:
        said += f"; {imported.resumed:,} lines were imported before it was interrupted"
    return said


COMMANDS = (events,)
