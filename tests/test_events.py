"""Events of strangers: every line ends as accepted, repeated or kept apart, and the counts add up."""

from __future__ import annotations

import csv
import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from test_cli import run

from index.behaviour import Behaviour
from index.records import Event
from ingest.samples import SampleClip
from recommend import events
from recommend.events import (
    FUTURE_S,
    LINE_MAX_BYTES,
    BadEvent,
    EventsError,
    Imported,
    event_of,
    import_events,
    impossible,
    judged,
    read,
)
from service.library import Library

NOW_S = 1_764_000_000.0
LENGTHS = {"cat-1": 10.0, "cat-2": None, "dog-1": 5.0}
LINE = {"event_id": "e1", "kind": "view", "viewer_id": "anna", "time_s": NOW_S - 60, "video_id": "cat-1"}


def videos(ids: Sequence[str]) -> Mapping[str, float | None]:
    return {name: LENGTHS[name] for name in ids if name in LENGTHS}


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Behaviour]:
    opened = Behaviour(f"sqlite:///{tmp_path}/behaviour.sqlite")
    yield opened
    opened.close()


def take(log: Behaviour, *paths: Path, **named: Any) -> Imported:
    return import_events(paths, log, videos, clock=lambda: NOW_S, **named)


def write(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Rows as a file of the kind that its name says."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    if path.suffix == ".csv":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, names)
            writer.writeheader()
            for row in rows:
                extra = {"extra": json.dumps(row["extra"])} if "extra" in row else {}
                writer.writerow({**row, **extra})
    elif path.suffix == ".parquet":
        texts = [{**row, **({"extra": json.dumps(row["extra"])} if "extra" in row else {})} for row in rows]
        pq.write_table(pa.table({name: [row.get(name) for row in texts] for name in names}), path, row_group_size=3)
    else:
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    return path


# One event ---------------------------------------------------------------------------------------------------------


def test_an_event_has_the_fields_of_an_event() -> None:
    said = {
        **LINE,
        "watch_s": "6.5",
        "loops": 1.0,
        "extra": '{"query": "猫"}',
        "session_id": None,
        "surface": "profile",
    }
    assert event_of(said) == Event(
        event_id="e1", kind="view", viewer_id="anna", time_s=NOW_S - 60, video_id="cat-1", watch_s=6.5, loops=1,
        surface="profile", extra={"query": "猫"},
    )  # fmt: skip
    assert event_of({**LINE, "viewer_id": 17}).viewer_id == "17"
    for date in ("2026-11-21T13:41:00Z", "2026-11-21T14:41:00+01:00", datetime(2026, 11, 21, 13, 41, tzinfo=UTC)):
        assert event_of({**LINE, "time_s": date}).time_s == 1_795_268_460.0


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ({"colour": "red"}, "no field colour; an event has event_id, kind"),
        ({"kind": None}, "an event wants kind"),
        ({"kind": "dance"}, "kind is one of impression, .* got 'dance'"),
        ({"viewer_id": ""}, "wants event_id and viewer_id"),
        ({"viewer_id": ["anna"]}, r"viewer_id wants text, got \['anna'\]"),
        ({"viewer_id": True}, "viewer_id wants text, got True"),
        ({"time_s": "yesterday"}, "time_s wants seconds since 1970, or a date such as .* got 'yesterday'"),
        ({"time_s": "2026-11-21T13:41:00"}, "time_s wants a time zone"),
        ({"time_s": "nan"}, "time_s wants a finite number"),
        ({"watch_s": "long"}, "watch_s wants a number, got 'long'"),
        ({"watch_s": 10**400}, "watch_s wants a number"),
        ({"loops": 1.5}, "loops wants a whole number, got 1.5"),
        ({"loops": True}, "loops wants a number, got True"),
        ({"extra": "{"}, "extra wants a JSON object"),
        ({"extra": [1]}, r"extra wants an object, got \[1\]"),
        ({"extra": {"a": float("inf")}}, "JSON compliant"),
        ({"extra": {"a": "\ud800"}}, "surrogates"),
    ],
)
def test_what_is_no_event_is_told_by_field_with_what_came_and_what_was_wanted(
    said: dict[str, Any], wanted: str
) -> None:
    with pytest.raises(BadEvent, match=wanted):
        event_of({**LINE, **said})


def test_an_id_that_is_not_there_is_derived_from_the_content() -> None:
    line = {name: value for name, value in LINE.items() if name != "event_id"}
    one = event_of(line)
    assert one.event_id.startswith("d_")
    assert event_of({**line, "time_s": str(line["time_s"]), "loops": 0}) == one, "the same, said otherwise"
    assert event_of({**line, "time_s": NOW_S}).event_id != one.event_id


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ({}, None),
        ({"time_s": 1.0}, None),  # however late
        ({"time_s": NOW_S + FUTURE_S}, None),
        ({"time_s": NOW_S + FUTURE_S + 1}, "from_the_future"),
        ({"time_s": NOW_S * 1_000}, "from_the_future"),
        ({"video_id": "nobody"}, "unknown_video"),
        ({"video_id": None, "kind": "search"}, None),
        ({"video_id": None, "kind": "like"}, "bad_event"),
        ({"watch_s": 12.5}, None),  # 10 s, 5 % and 2 s
        ({"watch_s": 12.6}, "watched_too_long"),
        ({"watch_s": 23.0, "loops": 1}, None),
        ({"watch_s": 23.1, "loops": 1}, "watched_too_long"),
        ({"watch_s": 86_400.0, "video_id": "cat-2"}, None),  # of a length that is not known
        ({"watch_s": 86_401.0, "video_id": "cat-2"}, "watched_too_long"),
        ({"watch_s": -1.0}, "bad_event"),
        ({"loops": -1}, "bad_event"),
        ({"loops": 10**400}, "bad_event"),
        ({"time_s": 0.0}, "bad_event"),
        ({"time_s": float("nan")}, "bad_event"),
        ({"session_id": "x" * 201}, "bad_event"),
        ({"viewer_id": "a\nb"}, "bad_event"),
        ({"video_id": "\ud800"}, "bad_event"),
    ],
)
def test_what_cannot_be_true_has_a_reason(said: dict[str, Any], reason: str | None) -> None:
    event = replace(event_of(LINE), **said)
    known = videos([event.video_id or ""])
    why = impossible(event, NOW_S, known.get(event.video_id or ""), event.video_id in known)
    assert (None if why is None else why[0]) == reason
    assert why is None or why[1]


def test_judging_parts_events_and_loses_none() -> None:
    whole = [event_of({**LINE, "event_id": f"e{n}", "video_id": ["cat-1", "nobody"][n % 2]}) for n in range(6)]
    possible, apart = judged(whole, NOW_S, videos)
    assert [one.event_id for one in possible] == ["e0", "e2", "e4"]
    assert [(one.event_id, reason) for one, reason, _ in apart] == [(f"e{n}", "unknown_video") for n in (1, 3, 5)]


# Files -------------------------------------------------------------------------------------------------------------

ROWS = [
    {**LINE, "event_id": f"e{n}", "time_s": NOW_S - n, "watch_s": 2.5, "loops": n % 2, "extra": {"n": n, "t": "猫\n,"}}
    for n in range(8)
]


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl", "ndjson"])
def test_every_kind_of_file_says_the_same(kind: str, tmp_path: Path, log: Behaviour) -> None:
    path = write(tmp_path / f"events.{kind}", ROWS)
    assert [event_of(line.said or {}) for line in read(path)] == [event_of(row) for row in ROWS]
    imported = take(log, path)
    assert asdict(imported) == {
        "lines": 8, "accepted": 8, "repeated": 0, "aside": {}, "resumed": 0, "stopped": False,
    }  # fmt: skip
    assert [record for _, record in log.after(0, 99)] == [event_of(row) for row in ROWS]
    again = take(log, path)
    assert (again.lines, again.accepted, again.repeated) == (8, 0, 8)
    without = [{name: value for name, value in row.items() if name != "event_id"} for row in ROWS]
    derived = take(log, write(tmp_path / f"derived.{kind}", without))
    assert derived.accepted == 8
    others = {"parquet", "csv", "jsonl"} - {kind}
    for other in others:
        assert take(log, write(tmp_path / f"derived.{other}", without)).repeated == 8, "by whichever kind they come"


def test_a_line_that_is_no_event_is_kept_apart_with_its_number_and_the_rest_is_taken(
    tmp_path: Path, log: Behaviour
) -> None:
    good = json.dumps(LINE).encode()
    lines = [
        good, b"{", b"[1]", b"\xff\xfe", b"", b'{"kind": "view"}', json.dumps({**LINE, "kind": "dance"}).encode(),
        json.dumps({**LINE, "video_id": "nobody", "event_id": "e2"}).encode(), b"[" * 100_000,
        b'{"x": "' + b"y" * LINE_MAX_BYTES + b'"}', b'{"a": ' + b"9" * 5_000 + b"}",
        json.dumps({**LINE, "event_id": "last"}).encode(),
    ]  # fmt: skip
    path = tmp_path / "mixed.jsonl"
    path.write_bytes(b"\n".join(lines))
    imported = take(log, path)
    assert (imported.lines, imported.accepted, imported.repeated) == (11, 2, 0), "an empty line is none"
    assert imported.aside == {"bad_event": 8, "unknown_video": 1}
    assert sum(log.aside_reasons().values()) == 9
    assert {one.detail.partition(":")[0] for one in log.aside()} == {
        f"mixed.jsonl, line {n}" for n in (2, 3, 4, 6, 7, 8, 9, 10, 11)
    }
    assert [record.event_id for _, record in log.after(0, 9) if isinstance(record, Event)] == ["e1", "last"]
    assert sum((take(log, path).aside or {}).values()) == 9
    assert sum(log.aside_reasons().values()) == 9, "the same line again is no second one"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.txt", b"", r"one of \.parquet, \.csv, \.jsonl, \.ndjson is wanted, got '\.txt'"),
        ("a", b"", "got 'no ending'"),
        ("a.csv", b"", "line 1: kind, viewer_id, time_s wanted"),
        ("a.csv", b"kind,viewer_id,time_s,colour\n", "line 1: no field colour; an event has event_id"),
        ("a.csv", b"kind,viewer_id,time_s,kind\n", "kind twice"),
        ("a.csv", b'kind,viewer_id,time_s\nview,anna,1\n"a"b,1,2\n', "behind row 2: not CSV"),
        ("a.csv", b'kind,viewer_id,time_s\n"' + b"x" * 200_000, "behind row 1: not CSV"),
        ("a.parquet", b"not parquet", "not Parquet"),
    ],
)
def test_a_file_that_cannot_be_read_at_all_says_why(
    name: str, content: bytes, said: str, tmp_path: Path, log: Behaviour
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(EventsError, match=said):
        take(log, tmp_path / name)


def test_a_row_with_too_many_cells_is_a_bad_event(tmp_path: Path, log: Behaviour) -> None:
    path = tmp_path / "a.csv"
    path.write_text("kind,viewer_id,time_s\nsearch,anna,5\nsearch,anna,5,6\nsearch\n\n")
    imported = take(log, path)
    assert (imported.accepted, imported.aside) == (1, {"bad_event": 2})
    assert "line 4: 3 cells are wanted, got 1" in {one.detail.partition(", ")[2] for one in log.aside()}


@settings(max_examples=30, deadline=None)
@given(
    picks=st.lists(st.tuples(st.integers(0, 9), st.sampled_from(["cat-1", "nobody"]), st.integers(-9, 9)), max_size=40),
    batch=st.integers(1, 7),
)
def test_the_counts_add_up_whatever_comes(
    tmp_path_factory: pytest.TempPathFactory, picks: list[tuple[int, str, int]], batch: int
) -> None:
    folder = tmp_path_factory.mktemp("picks")
    rows = [
        {**LINE, "event_id": f"e{number}", "video_id": video, "time_s": NOW_S + 100 * hours}
        for number, video, hours in picks
    ]
    log = Behaviour(f"sqlite:///{folder}/behaviour.sqlite")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(events, "BATCH", batch)
        imported = take(log, write(folder / "events.jsonl", rows))
    possible = [row for row in rows if row["video_id"] != "nobody" and row["time_s"] <= NOW_S + FUTURE_S]
    assert imported.lines == len(rows)
    assert imported.accepted == log.last_seq() == len({row["event_id"] for row in possible})
    assert sum((imported.aside or {}).values()) == len(rows) - len(possible)
    assert imported.repeated == len(possible) - imported.accepted
    log.close()


@pytest.mark.parametrize("kind", ["parquet", "csv", "jsonl"])
def test_an_import_that_was_stopped_goes_on_where_it_was(
    kind: str, tmp_path: Path, log: Behaviour, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "BATCH", 3)
    path, stop, heard = write(tmp_path / f"events.{kind}", ROWS), threading.Event(), []

    def on_progress(_path: Path, imported: Imported) -> None:
        heard.append(imported.lines)
        stop.set()

    first = take(log, path, on_progress=on_progress, stop=stop)
    assert (first.lines, first.stopped, heard) == (3, True, [3])
    rest = take(log, path)
    assert (rest.resumed, rest.lines, rest.accepted, rest.stopped) == (3, 5, 5, False)
    whole = take(log, path)
    assert (whole.resumed, whole.lines, whole.repeated) == (0, 8, 8), "one that came to its end is looked at again"
    take(log, path, on_progress=on_progress, stop=stop)
    os.utime(path, (1, 1))
    assert take(log, path).resumed == 0, "a file that has changed is another file"


KILLED = """
import sys
from pathlib import Path
from index.behaviour import Behaviour
from recommend import events
events.BATCH = 50
log = Behaviour(sys.argv[1])
kept = 0
def on_progress(path, imported):
    print(imported.accepted, flush=True)
print("ready", flush=True)
events.import_events([Path(sys.argv[2])], log, lambda ids: {one: 10.0 for one in ids}, on_progress=on_progress)
log.close()
"""


@pytest.mark.ci
def test_an_import_that_is_killed_loses_nothing_and_counts_nothing_twice(tmp_path: Path) -> None:
    rows = [{**LINE, "event_id": f"e{number}", "time_s": number + 1} for number in range(20_000)]
    path, url = write(tmp_path / "events.jsonl", rows), f"sqlite:///{tmp_path}/behaviour.sqlite"
    chance = random.Random(5)
    for _ in range(4):
        command = [sys.executable, "-c", KILLED, url, str(path)]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parent.parent)
        assert child.stdout is not None
        for _line in range(chance.randrange(2, 30)):
            child.stdout.readline()
        child.kill()
        child.communicate()
    log = Behaviour(url)
    rest = take(log, path)
    assert rest.resumed > 0
    assert rest.resumed + rest.lines == 20_000
    assert [record for _, record in log.after(0, 30_000)] == [event_of(row) for row in rows]
    log.close()


# Doors -------------------------------------------------------------------------------------------------------------


def test_a_library_takes_events_of_its_videos(drawn: list[SampleClip], drawn_home: Path, tmp_path: Path) -> None:
    name = drawn[0].video_id
    now = datetime.now(UTC).timestamp()
    with Library.open(drawn_home) as library:
        good = event_of({**LINE, "video_id": name, "time_s": now, "viewer_id": "library's"})
        long = replace(good, event_id="e2", watch_s=1_000.0)
        told, apart = library.append_events([good, long, good])
        assert (told.accepted, told.repeated) == (("e1",), ("e1",))
        assert [(event.event_id, reason) for event, reason, _ in apart] == [("e2", "watched_too_long")]
        assert library.erase_viewer("library's") == 2


def test_the_command_line_imports_and_shows_what_was_kept_apart(drawn_home: Path, tmp_path: Path) -> None:
    path = write(
        tmp_path / "events.jsonl", [{**LINE, "kind": "session", "video_id": None}, {**LINE, "video_id": "nobody"}]
    )
    said = run("events", "import", str(path), "--home", str(drawn_home))
    assert (said["accepted"], said["aside"]) == (1, {"unknown_video": 1})
    kept = run("events", "aside", "--home", str(drawn_home))
    assert kept["reasons"] == {"unknown_video": 1}
    assert kept["aside"][0]["detail"].startswith("events.jsonl, line 2: ")
    with Library.open(drawn_home) as library:
        library.erase_viewer("anna")


@pytest.mark.parametrize(
    ("kind", "extra", "said"),
    [
        ("follow", {"creator_id": ["a"]}, "creator_id wants text"),
        ("block", {"creator_id": ""}, "creator_id wants text"),
        ("dial", {"action": "louder"}, "less, more, explore, reset or undo"),
        ("dial", {"action": "explore", "target": 10**400}, "a number from 0 to 1"),
        ("dial", {"action": "explore", "target": True}, "a number from 0 to 1"),
        ("dial", {"action": "less", "target": 7}, "category:NAME"),
    ],
)
def test_what_a_fold_could_not_use_is_no_event(kind: str, extra: dict[str, Any], said: str) -> None:
    event = event_of({"kind": kind, "viewer_id": "ana", "time_s": 1_764_337_000, "extra": extra})
    reason, detail = impossible(event, 1_764_337_001, None, True) or ("", "")
    assert reason == "bad_event"
    assert said in detail
