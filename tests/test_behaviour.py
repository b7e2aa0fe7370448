"""The behaviour log: durable before acknowledged, every record once, one order, and nothing left after an erasure."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import postgres
import pytest
import sqlalchemy as sql
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from index import behaviour, behaviour_schema
from index.behaviour import Behaviour, BehaviourDamaged, Closed, digest
from index.home import Home
from index.records import EVENT_KINDS, SLOTS, Event, Impression

SEED = 17
ROOT = Path(__file__).parent.parent
NOW_S = 1_764_000_000.0


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.peer)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "postgresql":
        with postgres.served() as served:
            yield served
    else:
        yield f"sqlite:///{tmp_path}/behaviour.sqlite"


@pytest.fixture
def log(url: str) -> Iterator[Behaviour]:
    opened = Behaviour(url, clock=lambda: NOW_S)
    yield opened
    opened.close()


def event(event_id: str, viewer_id: str = "anna", **said: object) -> Event:
    return Event(**{"event_id": event_id, "viewer_id": viewer_id, "kind": "view", "time_s": NOW_S} | said)  # type: ignore[arg-type]


def impression(impression_id: str, viewer_id: str = "anna", **said: object) -> Impression:
    whole = {
        "impression_id": impression_id, "slate_id": "s", "viewer_id": viewer_id, "video_id": "v", "time_s": NOW_S,
        "position": 3, "source": "fresh", "slot": "explore", "propensity": 0.25, "score": 0.5,
    }  # fmt: skip
    return Impression(**whole | said)  # type: ignore[arg-type]


# One stream --------------------------------------------------------------------------------------------------------


def test_events_and_impressions_are_one_stream_in_the_order_of_acceptance(log: Behaviour) -> None:
    first = [impression("i1"), event("e1", impression_id="i1", video_id="v", watch_s=2.5, loops=1)]
    second = [event("e2", "ben", kind="search", extra={"query": "猫 🐈", "deep": [1, {"a": None}]})]
    told = log.append(first)
    assert (told.accepted, told.repeated, told.seq) == (("i1", "e1"), (), 2)
    assert log.append(second).seq == log.last_seq() == 3
    assert log.after(0, 10) == list(enumerate([*first, *second], start=1))
    assert log.after(1, 1) == [(2, first[1])]
    assert log.of_viewer("anna") == [(1, first[0]), (2, first[1])]
    assert log.of_viewer("anna", after=1) == [(2, first[1])]
    assert log.impressions(["i1", "e1", "nobody"]) == {"i1": first[0]}
    assert log.of_viewer("nobody") == log.after(3, 10) == []


def test_an_empty_log_says_so(log: Behaviour) -> None:
    assert (log.last_seq(), log.after(0, 10), log.impressions([]), log.aside(), log.erasures()) == (0, [], {}, [], [])
    told = log.append([])
    assert (told.accepted, told.repeated, told.seq) == ((), (), 0)


def test_the_same_id_counts_once_however_often_it_comes(log: Behaviour) -> None:
    told = log.append([event("a"), event("b"), event("a", watch_s=9)])
    assert (told.accepted, told.repeated) == (("a", "b"), ("a",))
    told = log.append([event("b"), event("c")])
    assert (told.accepted, told.repeated, told.seq) == (("c",), ("b",), 3)
    assert [record for _, record in log.after(0, 10)] == [event("a"), event("b"), event("c")]
    assert log.append([impression("a")]).accepted == ("a",), "an impression's ids are its own"


def test_what_no_database_takes_is_told_to_whoever_brought_it_and_to_nobody_else(log: Behaviour) -> None:
    good = log.append_soon([event("good")])
    for bad in (
        event("half \ud800"),
        event("nul \0"),
        event("a", extra={"x": float("nan")}),
        event("a", time_s=float("inf")),
        event("a", extra={"x": "\udfff"}),
        event("a", extra={"x": object()}),
    ):
        with pytest.raises(ValueError, match=r"surrogates|NUL|JSON"):
            log.append([bad])
    assert good.result().accepted == ("good",)
    assert log.last_seq() == 1


_ids = st.text(st.characters(blacklist_categories=("Cs", "Cc")), min_size=1, max_size=20)
_numbers = st.floats(0, 2e9, allow_nan=False)
_json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | _ids,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_ids, inner, max_size=3),
    max_leaves=6,
)
_events = st.builds(
    Event, event_id=_ids, kind=st.sampled_from(EVENT_KINDS), viewer_id=st.sampled_from(["anna", "ben", "猫"]),
    time_s=_numbers, session_id=_ids | st.just(""), surface=st.sampled_from(["feed", "profile"]),
    video_id=st.none() | _ids, impression_id=st.none() | _ids, watch_s=_numbers, loops=st.integers(0, 99),
    extra=st.dictionaries(_ids, _json, max_size=3),
)  # fmt: skip
_impressions = st.builds(
    Impression, impression_id=_ids, slate_id=_ids, viewer_id=st.sampled_from(["anna", "ben"]), video_id=_ids,
    time_s=_numbers, session_id=_ids | st.just(""), position=st.integers(0, 50), source=_ids,
    slot=st.sampled_from(SLOTS), propensity=st.floats(1e-9, 1), score=st.floats(-9, 9),
    reasons=st.dictionaries(_ids, _json, max_size=2),
)  # fmt: skip


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(st.lists(_events | _impressions, max_size=8), max_size=5), chance=st.randoms())
def test_late_out_of_order_and_twice_is_still_each_record_once_as_it_first_came(
    tmp_path: Path, batches: list[list[Event | Impression]], chance: random.Random
) -> None:
    path = tmp_path / f"{time.monotonic_ns()}.sqlite"
    log = Behaviour(f"sqlite:///{path}")
    sent = [*batches, *batches]
    chance.shuffle(sent)
    first: dict[tuple[type, str], Event | Impression] = {}
    for batch in sent:
        told = log.append(batch)
        new = []
        for record in batch:
            name = (type(record), record.event_id if isinstance(record, Event) else record.impression_id)
            if name not in first:
                first[name] = record
                new.append(name[1])
        assert told.accepted == tuple(new)
        assert len(told.accepted) + len(told.repeated) == len(batch)
    assert log.after(0, 1_000) == list(enumerate(first.values(), start=1))
    for viewer_id in ("anna", "ben", "猫"):
        assert log.of_viewer(viewer_id) == [one for one in log.after(0, 1_000) if one[1].viewer_id == viewer_id]
    log.close()


# Many at once ------------------------------------------------------------------------------------------------------


def test_all_that_wait_share_a_transaction(tmp_path: Path) -> None:
    log = Behaviour(f"sqlite:///{tmp_path}/behaviour.sqlite")
    log.append([event("first")])
    commits: list[int] = []
    commit = log._commit
    log._commit = lambda groups: commits.append(len(groups)) or commit(groups)  # type: ignore[assignment, func-returns-value]
    with sql.create_engine(f"sqlite:///{tmp_path}/behaviour.sqlite").connect() as other:
        other.exec_driver_sql("BEGIN IMMEDIATE")
        futures = [log.append_soon([event(f"e{number}")]) for number in range(200)]
        time.sleep(0.1)
        assert not any(future.done() for future in futures), "nothing is acknowledged that is not on the disk"
        other.rollback()
    assert all(future.result().accepted for future in futures)
    assert sum(commits) == 200
    assert len(commits) <= 3
    log.close()


def test_threads_that_send_the_same_events_have_each_accepted_once(log: Behaviour) -> None:
    def send(number: int) -> list[str]:
        chance, accepted = random.Random(number), []
        for batch in range(10):
            events = [event(f"{batch}.{chance.randrange(40)}", f"v{number}") for _ in range(20)]
            accepted += log.append(events).accepted
        return accepted

    with ThreadPoolExecutor(8) as threads:
        accepted = [one for found in threads.map(send, range(8)) for one in found]
    assert len(accepted) == len(set(accepted))
    records = log.after(0, 10_000)
    assert sorted(accepted) == sorted(record.event_id for _, record in records if isinstance(record, Event))
    assert [seq for seq, _ in records] == list(range(1, len(records) + 1))


SENDER = """
import sys
from index.behaviour import Behaviour
from index.records import Event
log = Behaviour(sys.argv[1])
for start in range(0, 600, 20):
    events = [Event(event_id=f"e{n}", kind="view", viewer_id=f"v{n % 7}", time_s=1.0) for n in range(start, start + 20)]
    print("\\n".join(log.append(events).accepted))
log.close()
"""


def test_processes_that_send_the_same_events_have_each_accepted_once(url: str) -> None:
    command = [sys.executable, "-c", SENDER, url]
    children = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) for _ in range(3)]
    accepted = [line for child in children for line in child.communicate(timeout=120)[0].split()]
    assert [child.returncode for child in children] == [0, 0, 0]
    assert sorted(accepted) == sorted(f"e{number}" for number in range(600))
    log = Behaviour(url)
    assert [seq for seq, _ in log.after(0, 1_000)] == list(range(1, 601)), "no place is given twice, and none left out"
    log.close()


def test_whoever_reads_along_misses_nothing(log: Behaviour) -> None:
    ended = threading.Event()
    seen: list[tuple[int, Event | Impression]] = []

    def follow() -> None:
        while not ended.is_set() or len(seen) < log.last_seq():
            seen.extend(log.after(seen[-1][0] if seen else 0, 50))

    reader = threading.Thread(target=follow)
    reader.start()
    for number in range(60):
        told = log.append([event(f"{number}.{place}") for place in range(5)])
        assert log.last_seq() >= told.seq
    ended.set()
    reader.join()
    assert seen == log.after(0, 1_000)


def test_the_write_ahead_log_is_written_back_beside_the_commits_and_begins_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(behaviour, "CHECKPOINT_RECORDS", 100)
    log = Behaviour(f"sqlite:///{tmp_path}/behaviour.sqlite")
    for number in range(300):
        log.append([event(f"{number}.{place}", f"v{place}", extra={"x": "y" * 200}) for place in range(20)])
    assert (tmp_path / "behaviour.sqlite").stat().st_size > 1 << 20
    assert (tmp_path / "behaviour.sqlite-wal").stat().st_size < 12 << 20, "23 MB, where it is never written back"
    assert len(log.after(0, 10_000)) == 6_000
    log.close()


def test_a_closed_log_writes_what_waits_and_takes_no_more(tmp_path: Path) -> None:
    log = Behaviour(f"sqlite:///{tmp_path}/behaviour.sqlite")
    futures = [log.append_soon([event(f"e{number}")]) for number in range(50)]
    log.close()
    assert all(future.result(timeout=0).accepted for future in futures)
    with pytest.raises(Closed):
        log.append([event("late")])


def test_a_disk_that_is_full_is_told_to_all_who_wait_and_nothing_is_half_written(tmp_path: Path) -> None:
    log = Behaviour(f"sqlite:///{tmp_path}/behaviour.sqlite")
    log.append([event("first")])
    with log._engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
    sql.event.listen(log._engine, "checkout", lambda raw, *_: raw.execute(f"PRAGMA max_page_count = {pages + 2}"))
    with pytest.raises(OSError, match="No space left"):
        log.append([event(f"e{number}", extra={"x": "y" * 500}) for number in range(200)])
    assert log.last_seq() == 1
    assert log.append([event("small")]).seq == 2
    log.close()


# States, and what was kept apart -----------------------------------------------------------------------------------


def test_the_later_state_wins(log: Behaviour) -> None:
    log.keep_states([("anna", 5, b"five"), ("ben", 1, b"\0\xff")])
    log.keep_states([("anna", 3, b"three"), ("anna", 7, b"seven"), ("anna", 6, b"six")])
    assert log.state_of("anna") == (7, b"seven")
    assert log.state_of("ben") == (1, b"\0\xff")
    assert log.state_of("nobody") is None
    log.keep_states([("anna", 7, b"again")])
    assert log.state_of("anna") == (7, b"again")
    log.keep_states([])


def test_what_cannot_be_an_event_is_kept_apart_once_with_its_reason(log: Behaviour) -> None:
    rows = [('{"viewer_id": "anna"}', "bad_event", "no kind"), ("\0 \ud800 not json", "bad_event", "not JSON \0")]
    log.set_aside(rows)
    log.set_aside([*rows, ('{"viewer_id": "anna"}', "unknown_video", "no video")])
    assert log.aside_reasons() == {"bad_event": 2, "unknown_video": 1}
    assert [one.reason for one in log.aside(reason="unknown_video")] == ["unknown_video"]
    assert len(log.aside(2)) == 2
    assert {one.raw for one in log.aside()} == {'{"viewer_id": "anna"}', "\\0 \\ud800 not json"}
    assert {one.at_s for one in log.aside()} == {NOW_S}


# Erasing -----------------------------------------------------------------------------------------------------------


def test_an_erased_viewer_is_in_nothing_and_the_others_are_untouched(log: Behaviour) -> None:
    log.append([event("a1"), impression("i1"), event("b1", "ben"), event("a2")])
    log.keep_states([("anna", 4, b"state"), ("ben", 3, b"ben's")])
    log.set_aside([('{"viewer_id": "anna"}', "bad_event", ""), ('{"viewer_id": "ben"}', "bad_event", "")])
    assert log.erase_viewer("anna") == 5
    assert log.of_viewer("anna") == []
    assert log.after(0, 10) == [(3, event("b1", "ben"))]
    assert log.impressions(["i1"]) == {}
    assert (log.state_of("anna"), log.state_of("ben")) == (None, (3, b"ben's"))
    assert [one.raw for one in log.aside()] == ['{"viewer_id": "ben"}']
    assert log.erase_viewer("anna") == 0
    assert log.erasures() == [(5, digest("anna"))]
    assert log.erasures(after=5) == []


def test_places_are_not_given_again_and_a_state_from_before_an_erasure_is_not_kept(log: Behaviour) -> None:
    log.append([event("a1"), event("a2")])
    log.erase_viewer("anna")
    log.keep_states([("anna", 2, b"what was erased")])
    assert log.state_of("anna") is None
    assert log.append([event("a3")]).seq == 4, "the erasure has a place of its own"
    log.keep_states([("anna", 4, b"new")])
    assert log.state_of("anna") == (4, b"new")


def test_after_an_erasure_no_byte_of_the_viewer_is_in_any_file(tmp_path: Path) -> None:
    log = Behaviour(f"sqlite:///{tmp_path}/behaviour.sqlite")

    def on_disk() -> bytes:
        return b"".join(path.read_bytes() for path in tmp_path.glob("behaviour.sqlite*"))

    for number in range(50):
        log.append([event(f"e{number}", "Xanthippe", session_id="sokrates"), event(f"b{number}", "ben")])
    log.keep_states([("Xanthippe", 9, b"hemlock")])
    log.set_aside([('{"viewer_id": "Xanthippe"}', "bad_event", "")])
    assert all(said in on_disk() for said in (b"Xanthippe", b"sokrates", b"hemlock")), "the right files were read"
    log.erase_viewer("Xanthippe")
    assert not any(said in on_disk() for said in (b"Xanthippe", b"sokrates", b"hemlock"))
    assert len(log.of_viewer("ben")) == 50
    log.close()


# Opening -----------------------------------------------------------------------------------------------------------


def test_a_home_has_no_file_for_behaviour_before_there_is_some(tmp_path: Path) -> None:
    home = Home.open(tmp_path / "home")
    assert not (home.folder / "behaviour.sqlite").exists()
    home.behaviour.append([event("a")])
    home.close()
    assert (tmp_path / "home" / "behaviour.sqlite").exists()
    again = Home.open(tmp_path / "home")
    assert again.behaviour.after(0, 10) == [(1, event("a"))]
    again.close()


def test_the_log_may_live_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FIRSTLOOK_BEHAVIOUR_URL", f"sqlite:///{tmp_path}/elsewhere.sqlite")
    home = Home.open(tmp_path / "home")
    home.behaviour.append([event("a")])
    home.close()
    assert (tmp_path / "elsewhere.sqlite").exists()
    assert not (tmp_path / "home" / "behaviour.sqlite").exists()


def test_a_log_of_a_newer_version_is_not_touched(url: str) -> None:
    log = Behaviour(url)
    log.append([event("a")])
    with log._write() as connection:
        connection.execute(sql.insert(behaviour_schema.versions).values(version=99))
    log.close()
    newer = Behaviour(url)
    with pytest.raises(ValueError, match=r"schema 99, of a newer firstlook; this one knows up to \d"):
        newer.append([event("b")])
    newer.close()


def test_a_file_that_is_no_log_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "behaviour.sqlite").write_bytes(b"no database" * 500)
    log = Behaviour(f"sqlite:///{tmp_path}/behaviour.sqlite")
    with pytest.raises(BehaviourDamaged, match="put back a copy"):
        log.append([event("a")])
    log.close()


# kill -9 -----------------------------------------------------------------------------------------------------------

KILLED = """
import sys, threading
from index.behaviour import Behaviour
from index.records import Event
url, begun = sys.argv[1], {line.strip() for line in open(sys.argv[2])}
log, told = Behaviour(url), threading.Lock()
print("ready", flush=True)
def send(thread):
    for number in range(100_000):
        ids = [f"{thread}.{number}.{place}" for place in range(3)]
        if begun.issuperset(ids):
            continue
        events = [Event(event_id=one, kind="view", viewer_id=f"v{thread}", time_s=1.0 + number) for one in ids]
        log.append(events)
        with told:
            print(" ".join(ids), flush=True)
for thread in range(4):
    threading.Thread(target=send, args=(thread,)).start()
"""


def kill_and_count(kills: int, tmp_path: Path) -> int:
    """Kill an appending process again and again; each goes on behind what was acknowledged to the ones before.

    Returns:
        How many events were acknowledged.
    """
    url, chance = f"sqlite:///{tmp_path}/behaviour.sqlite", random.Random(SEED)
    acknowledged: list[str] = []
    for _ in range(kills):
        (tmp_path / "begun").write_text("\n".join(acknowledged))
        command = [sys.executable, "-c", KILLED, url, str(tmp_path / "begun")]
        child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        timer = threading.Timer(chance.uniform(0.0, 0.3), os.kill, (child.pid, signal.SIGKILL))
        timer.start()
        for line in child.stdout:
            if line.endswith("\n"):  # the last one may be cut
                acknowledged += line.split()
        assert child.wait(timeout=60) == -signal.SIGKILL
        timer.join()
    log = Behaviour(url)
    records = log.after(0, 10_000_000)
    log.close()
    kept = [record.event_id for _, record in records if isinstance(record, Event)]
    assert len(kept) == len(set(kept)), "none is counted twice"
    assert set(acknowledged) <= set(kept), "none that was acknowledged is lost"
    assert len(set(acknowledged)) == len(acknowledged), "what was acknowledged is not sent again"
    whole = {one.rpartition(".")[0] for one in kept}
    assert len(kept) == 3 * len(whole), "what was sent together is there together, or not at all"
    return len(acknowledged)


def test_two_kills_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    kill_and_count(2, tmp_path)


@pytest.mark.ci
@pytest.mark.timeout(300)
def test_ten_kills_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    assert kill_and_count(10, tmp_path) > 100


@pytest.mark.long
@pytest.mark.timeout(1_800)
def test_a_hundred_kills_lose_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    print(f"{kill_and_count(100, tmp_path):,} events were acknowledged through 100 kills")
