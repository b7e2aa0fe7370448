"""Events of strangers: read from files, judged one by one, and appended to the behaviour log.

```
parquet, csv, jsonl ─► lines ─► events ─► possible? ─► the log
                         └────────┴──────────┴───────► kept apart, each with its reason
```

Columns and fields are those of `Event`, by name. Every line ends in one of three counts: accepted, repeated, or kept
apart by reason. Late, out of order and twice is how events come, and no fault.
"""

from __future__ import annotations

import csv
import hashlib
import json
import math
import re
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from datetime import datetime
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from index.behaviour import Accepted
from index.records import EVENT_KINDS, Event, canonical_json

FUTURE_S = 300.0
"""Clocks of telephones are wrong by minutes; what is further ahead has not happened."""
SLACK_S = 2.0
SLACK_SHARE = 0.05
"""More than the loops allow may be watched by so much: players round, and count while they load."""
WATCHED_MAX_S = 86_400.0
"""Nobody watches a video whose length is not known for longer than a day at a stretch."""
LOOPS_MAX = 1_000_000
ID_MAX_CHARS = 200
LINE_MAX_BYTES = 1 << 20
BATCH = 5_000
"""Lines that are read, judged and made durable together: bounds the memory, and what an interrupted run does again."""
WANT_VIDEO = frozenset(
    ("impression", "view", "replay", "skip", "like", "unlike", "share", "comment", "save", "unsave", "report")
)
"""Kinds that say nothing where they name no video."""
TARGET = re.compile("(category|creator|sound):.+")
"""What there may be more or less of."""
WANT_CREATOR = frozenset(("follow", "unfollow", "block", "unblock"))
"""Kinds that may name a creator."""

_FIELDS = {one.name: one for one in fields(Event)}
_TEXTS = ("event_id", "kind", "viewer_id", "session_id", "surface", "video_id", "impression_id")
_REQUIRED = tuple(n for n, f in _FIELDS.items() if f.default is MISSING and f.default_factory is MISSING)
_NEEDED = tuple(name for name in _REQUIRED if name != "event_id")


class EventsError(Exception):
    """A file that cannot be read as events at all: it says which file, what came, and what was wanted."""


class BadEvent(ValueError):
    """One line that is no event."""


class Log(Protocol):
    """What an import needs of the behaviour log (`index/behaviour.py`)."""

    def append(self, records: Sequence[Event]) -> Accepted: ...
    def set_aside(self, rows: Sequence[tuple[str, str, str]]) -> None: ...
    def import_place(self, source: str) -> int: ...
    def keep_import_place(self, source: str, lines: int | None) -> None: ...


Videos = Callable[[Sequence[str]], Mapping[str, float | None]]
"""Ids of videos -> length in seconds of those that are known; None: known, and its length is not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A line of a file, or a row of one."""

    number: int
    """From 1; in CSV the header is line 1."""
    raw: str
    """As it came, or as JSON."""
    said: Mapping[str, Any] | None
    """Field -> value; None: it cannot be read."""
    fault: str = ""
    """Why not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """How far an import is, or how it ended: `lines == accepted + repeated + sum(aside)`."""

    lines: int = 0
    accepted: int = 0
    repeated: int = 0
    aside: Mapping[str, int] | None = None
    """Reason -> how many were kept apart."""
    resumed: int = 0
    """Lines that an interrupted run has imported before, and that were passed over; not among `lines`."""
    stopped: bool = False
    """It was asked to stop; the next run goes on."""


# One event --------------------------------------------------------------------------------------------------------


def event_of(said: Mapping[str, Any]) -> Event:
    """An event from what a stranger says of it.

    Where there is no `event_id` it is derived from the content: `d_` and a digest of all the other fields. The same
    line twice is then the same event, in one file or in two, and counts once.

    Args:
        said: field -> value. `time_s` may also be a date with a time zone, `extra` a text of JSON. None is as absent.

    Raises:
        BadEvent: it says which field, what came, and what was wanted.
    """
    given = {name: value for name, value in said.items() if value is not None}
    if unknown := sorted(set(given) - set(_FIELDS)):
        raise BadEvent(f"no field {', '.join(map(str, unknown))[:200]}; an event has {', '.join(_FIELDS)}")
    if missing := [name for name in _NEEDED if name not in given]:
        raise BadEvent(f"an event wants {', '.join(missing)}")
    made: dict[str, Any] = {name: _text(name, given[name]) for name in _TEXTS if name in given}
    made["time_s"] = _time_s(given["time_s"])
    if "watch_s" in given:
        made["watch_s"] = _number("watch_s", given["watch_s"])
    if "loops" in given:
        loops = _number("loops", given["loops"])
        if not loops.is_integer():
            raise BadEvent(f"loops wants a whole number, got {given['loops']!r}"[:300])
        made["loops"] = int(loops)
    if "extra" in given:
        made["extra"] = _extra(given["extra"])
    try:
        event = Event(**{"event_id": "derived"} | made)
        if "event_id" not in made:
            rest = asdict(event) | {"event_id": ""}
            made["event_id"] = f"d_{hashlib.sha256(canonical_json(rest).encode()).hexdigest()[:32]}"
            event = Event(**made)
        json.dumps(event.extra, allow_nan=False, ensure_ascii=False).encode()
    except (ValueError, TypeError, RecursionError) as error:
        raise BadEvent(str(error)[:300]) from error
    return event


def impossible(event: Event, now_s: float, duration_s: float | None, known: bool) -> tuple[str, str] | None:
    """Why an event cannot be true: (reason, detail); None: it may be.

    Args:
        now_s: seconds since 1970.
        duration_s: of its video; None: not known.
        known: its video is one of ours.
    """
    if fault := _fault(event):
        return "bad_event", fault
    if event.time_s > now_s + FUTURE_S:
        hint = "; is it in milliseconds?" if event.time_s > 1e11 else ""
        ahead = event.time_s - now_s
        return "from_the_future", f"at most {FUTURE_S:.0f} s ahead of now is taken, got {ahead:.0f} s ahead{hint}"
    if event.video_id is not None and not known:
        return "unknown_video", f"a video of the library is wanted, got {event.video_id!r}"
    most = WATCHED_MAX_S
    if duration_s is not None:
        most = (event.loops + 1) * duration_s * (1 + SLACK_SHARE) + SLACK_S
    if event.watch_s > most:
        length = "of unknown length" if duration_s is None else f"of {duration_s:.1f} s"
        return "watched_too_long", f"{event.watch_s:.1f} s watched in {event.loops} loops of a video {length}"
    return None


def judged(events: Sequence[Event], now_s: float, videos: Videos) -> tuple[list[Event], list[tuple[Event, str, str]]]:
    """Part events into those that may be true and those that cannot: (event, reason, detail), each in their order."""
    known = videos(list({event.video_id for event in events if event.video_id is not None}))
    possible: list[Event] = []
    apart: list[tuple[Event, str, str]] = []
    for event in events:
        duration_s = known.get(event.video_id) if event.video_id is not None else None
        why = impossible(event, now_s, duration_s, event.video_id in known)
        if why is None:
            possible.append(event)
        else:
            apart.append((event, *why))
    return possible, apart


def as_line(event: Event) -> str:
    """An event as it is kept where it is kept apart."""
    return json.dumps(asdict(event) | {"extra": dict(event.extra)}, ensure_ascii=False)


def _fault(event: Event) -> str:
    """What is wrong with an event whatever the world is like; empty: nothing."""
    for name in _TEXTS:
        value = getattr(event, name)
        if value is not None and (len(value) > ID_MAX_CHARS or any(ord(char) < 32 for char in value)):
            return f"{name} wants at most {ID_MAX_CHARS} characters, none a control character; got {value[:50]!r}"
        if value is not None and any(0xD800 <= ord(char) < 0xE000 for char in value):
            return f"{name} holds half a character: {value[:50]!r}"
    if not (math.isfinite(event.time_s) and event.time_s > 0):
        return f"time_s wants seconds since 1970, got {event.time_s}"
    if not (math.isfinite(event.watch_s) and event.watch_s >= 0):
        return f"watch_s wants seconds, 0 or more, got {event.watch_s}"
    if not 0 <= event.loops <= LOOPS_MAX:
        return f"loops wants 0 to {LOOPS_MAX}, got {str(event.loops)[:20]}"
    creator = event.extra.get("creator_id")
    if event.kind in WANT_CREATOR and creator is not None and not _is_id(creator):
        return f"creator_id wants text of 1 to {ID_MAX_CHARS} characters, got {creator!r}"[:300]
    if event.kind in WANT_CREATOR and creator is None and not event.video_id:
        return f"a {event.kind} wants a creator_id in its extra, or a video_id"
    if event.kind == "dial":
        return dial_fault(event.extra.get("action"), event.extra.get("target"))
    if event.kind in WANT_VIDEO and not event.video_id:
        return f"a {event.kind} wants a video_id"
    return ""


def _is_id(value: Any) -> bool:
    return isinstance(value, str) and 1 <= len(value) <= ID_MAX_CHARS and all(ord(char) >= 32 for char in value)


def dial_fault(action: Any, target: Any) -> str:
    """What is wrong with a dial, whatever the library is like; empty: nothing."""
    if action not in ("less", "more", "explore", "reset", "undo"):
        return f"a dial is one of less, more, explore, reset or undo; got {action!r}"[:300]
    if action == "explore" and (
        isinstance(target, bool) or not isinstance(target, int | float) or not 0 <= target <= 1
    ):
        return f"explore wants a number from 0 to 1, got {target!r}"[:300]
    if action in ("less", "more") and not (_is_id(target) and TARGET.fullmatch(target)):
        return f"{action} wants category:NAME, creator:ID or sound:ID; got {target!r}"[:300]
    return ""


def _text(name: str, value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)  # ids of other systems are often numbers
    if not isinstance(value, str):
        raise BadEvent(f"{name} wants text, got {value!r}"[:300])
    return value


def _number(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        raise BadEvent(f"{name} wants a number, got {value!r}"[:300])
    try:
        found = float(value)
    except (ValueError, OverflowError) as error:
        raise BadEvent(f"{name} wants a number, got {value!r}"[:300]) from error
    if not math.isfinite(found):
        raise BadEvent(f"{name} wants a finite number, got {found}")
    return found


def _time_s(value: Any) -> float:
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            value = _date(value)
    if isinstance(value, datetime):
        if value.tzinfo is None:
            raise BadEvent(f"time_s wants a time zone, got {value.isoformat()}")
        return value.timestamp()
    return _number("time_s", value)


def _date(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError as error:
        wanted = "time_s wants seconds since 1970, or a date such as 2026-11-21T13:41:00Z"
        raise BadEvent(f"{wanted}; got {text!r}"[:300]) from error


def _extra(value: Any) -> dict[str, Any]:
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError) as error:
            raise BadEvent(f"extra wants a JSON object, got {value!r}"[:300]) from error
    if not isinstance(value, Mapping):
        raise BadEvent(f"extra wants an object, got {value!r}"[:300])
    return dict(value)


# Files ------------------------------------------------------------------------------------------------------------


def read(path: Path, *, passed: int = 0) -> Iterator[Line]:
    """The lines of a file of events, by its ending: .parquet, .csv, .jsonl or .ndjson. In bounded memory.

    Args:
        passed: lines at the beginning that are not wanted again.

    Raises:
        EventsError: of another kind, torn, or without the columns that an event wants.
        OSError: it cannot be opened.
    """
    readers = {".parquet": _parquet, ".csv": _csv, ".jsonl": _jsonl, ".ndjson": _jsonl}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise EventsError(f"{path}: one of {', '.join(readers)} is wanted, got {path.suffix or 'no ending'!r}")
    return reader(path, passed)


def _jsonl(path: Path, passed: int) -> Iterator[Line]:
    with path.open("rb") as file:
        number = 0
        while data := file.readline(LINE_MAX_BYTES):
            number += 1
            is_whole = data.endswith(b"\n") or len(data) < LINE_MAX_BYTES
            rest = data
            while not rest.endswith(b"\n") and (rest := file.readline(LINE_MAX_BYTES)):
                pass
            if number > passed and data.strip():
                yield _json_line(number, data) if is_whole else _too_long(number, data)


def _json_line(number: int, data: bytes) -> Line:
    raw = data.decode(errors="backslashreplace").rstrip("\r\n")
    try:
        said = json.loads(data)
    except (ValueError, RecursionError) as error:
        return Line(number=number, raw=raw, said=None, fault=f"not JSON: {error}")
    if not isinstance(said, dict):
        return Line(number=number, raw=raw, said=None, fault=f"an object is wanted, got {raw[:100]}")
    return Line(number=number, raw=raw, said=said)


def _too_long(number: int, data: bytes) -> Line:
    raw = data[:1_000].decode(errors="backslashreplace")
    return Line(number=number, raw=raw, said=None, fault=f"a line of at most {LINE_MAX_BYTES} bytes is wanted")


def _csv(path: Path, passed: int) -> Iterator[Line]:
    with path.open(encoding="utf-8-sig", errors="backslashreplace", newline="") as file:
        rows = csv.reader(file, strict=True)
        number = 1
        try:
            names = next(rows, [])
            _check_columns(path, names)
            for number, row in enumerate(rows, start=2):
                if number - 1 <= passed or not row:
                    continue
                raw = canonical_json(dict(zip(names, row, strict=False)))
                if len(row) != len(names):
                    fault = f"{len(names)} cells are wanted, got {len(row)}"
                    yield Line(number=number, raw=raw, said=None, fault=fault)
                else:
                    said = {name: cell for name, cell in zip(names, row, strict=True) if cell != ""}
                    yield Line(number=number, raw=raw, said=said)
        except csv.Error as error:
            raise EventsError(f"{path}: behind row {number}: not CSV: {error}") from error


def _parquet(path: Path, passed: int) -> Iterator[Line]:
    try:
        file = pq.ParquetFile(path)
        _check_columns(path, file.schema_arrow.names)
        number = 0
        for batch in file.iter_batches(batch_size=BATCH):
            if number + batch.num_rows <= passed:
                number += batch.num_rows
                continue
            for row in batch.to_pylist():
                number += 1
                if number > passed:
                    said = {name: value for name, value in row.items() if value is not None}
                    yield Line(number=number, raw=json.dumps(said, ensure_ascii=False, default=str), said=said)
    except pa.ArrowInvalid as error:
        raise EventsError(f"{path}: not Parquet: {error}") from error


def _check_columns(path: Path, names: Sequence[str]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    unknown, missing = sorted(set(names) - set(_FIELDS)), [name for name in _NEEDED if name not in names]
    if twice or unknown or missing:
        faults = [f"no field {', '.join(unknown)}"] if unknown else []
        faults += [f"{', '.join(missing)} wanted"] if missing else []
        faults += [f"{', '.join(twice)} twice"] if twice else []
        raise EventsError(f"{path}: line 1: {'; '.join(faults)[:500]}; an event has {', '.join(_FIELDS)}")


# Importing --------------------------------------------------------------------------------------------------------


def import_events(
    paths: Sequence[Path],
    log: Log,
    videos: Videos,
    *,
    clock: Callable[[], float] = time.time,
    on_progress: Callable[[Path, Imported], None] = lambda path, imported: None,
    stop: threading.Event | None = None,
) -> Imported:
    """Import files of events; what is counted is on the disk.

    The same events again are repeated, by their ids, so a run may be made again at any time. One that was interrupted
    goes on behind the last batch that it wrote, where the file is still the same (by path, size and time); of one that
    came to its end every line is looked at again, since a video may be known now that was not.

    Args:
        paths: of the kinds that `read` knows.
        videos: which of these are known, and how long they are.
        on_progress: hears after every batch, of all files so far.
        stop: set it to end after the batch in hand.

    Raises:
        EventsError, OSError: as `read`; what came before it in the file is imported.
    """
    total = Imported(aside={})
    for path in paths:
        source = _source(path)
        place = passed = log.import_place(source)
        total = _plus(total, resumed=passed)
        lines = read(path, passed=passed)
        while batch := list(islice(lines, BATCH)):
            accepted, apart = _take(path, batch, log, videos, clock())
            place = batch[-1].number - (path.suffix.lower() == ".csv")
            log.keep_import_place(source, place)
            total = _plus(total, lines=len(batch), accepted=accepted, apart=apart)
            on_progress(path, total)
            if stop is not None and stop.is_set():
                return _plus(total, stopped=True)
        log.keep_import_place(source, None)
    return total


def _take(path: Path, batch: Sequence[Line], log: Log, videos: Videos, now_s: float) -> tuple[int, Counter[str]]:
    """Append what is possible and keep the rest apart; (accepted, kept apart by reason)."""
    aside: list[tuple[str, str, str]] = []
    events: list[Event] = []
    line_of: dict[int, Line] = {}  # by the event itself: two lines may give one id to different events
    for line in batch:
        try:
            if line.said is None:
                raise BadEvent(line.fault)
            events.append(event_of(line.said))
            line_of[id(events[-1])] = line
        except BadEvent as error:
            aside.append((line.raw, "bad_event", f"{path.name}, line {line.number}: {error}"))
    possible, apart = judged(events, now_s, videos)
    for event, reason, detail in apart:
        line = line_of[id(event)]
        aside.append((line.raw, reason, f"{path.name}, line {line.number}: {detail}"))
    accepted = len(log.append(possible).accepted) if possible else 0
    log.set_aside(aside)
    return accepted, Counter(reason for _, reason, _ in aside)


def _plus(
    total: Imported,
    *,
    lines: int = 0,
    accepted: int = 0,
    apart: Mapping[str, int] | None = None,
    resumed: int = 0,
    stopped: bool = False,
) -> Imported:
    apart = apart or {}
    return Imported(
        lines=total.lines + lines,
        accepted=total.accepted + accepted,
        repeated=total.repeated + lines - accepted - sum(apart.values()),
        aside=dict((Counter(total.aside) + Counter(apart)).most_common()),
        resumed=total.resumed + resumed,
        stopped=total.stopped or stopped,
    )


def _source(path: Path) -> str:
    """Names a file as it is now; another size or time is another file."""
    stat = path.stat()
    said = f"{path.resolve()}\n{stat.st_size}\n{stat.st_mtime_ns}"
    return hashlib.sha256(said.encode(errors="surrogateescape")).hexdigest()


assert set(_TEXTS) | {"time_s", "watch_s", "loops", "extra"} == set(_FIELDS), "a new field wants its reader"
assert set(EVENT_KINDS) >= WANT_VIDEO
