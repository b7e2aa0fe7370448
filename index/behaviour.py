"""The behaviour log: what viewers did and what they were shown, in the order in which it was accepted. The truth.

```
append ─► waiting ─► one transaction, one fsync ─► acknowledged       all that wait share it: group commit
append ─►    │                                 ─► acknowledged
append ─►────┘                                 ─► acknowledged
```

Events and impressions are one stream, numbered by `seq`, so that every state is one fold of it. A record counts once,
by its id, however often and by whichever process it is sent. Nothing in it changes; only erasure takes away.

SQLite in a file of its own by default (WAL, `synchronous=FULL`: 315 commits a second singly, 29,467 records a second in
groups of 100), so that events never wait for ingest; PostgreSQL by URL for a cluster.
"""

from __future__ import annotations

import hashlib
import json
import logging
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass, fields
from itertools import repeat
from typing import Any

import sqlalchemy as sql
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from index import behaviour_schema as schema
from index.database import in_parts, lead_up, opened, told_plainly, undamaged
from index.ledger import LedgerDamaged
from index.records import Event, Impression

EVENT, IMPRESSION = 0, 1
"""What a row of the log is."""
GROUP_MAX = 4_000
"""So many records share a transaction at most: beyond, the last of them would wait for all the others."""
CHECKPOINT_RECORDS = 1_000
"""After so many the write-ahead log is written back, beside the commits; SQLite would do it within one. Of 5,000 events
a second on 400,000 rows the slowest hundredth waited 37 ms with 1,000 (20 viewers a request), 65 with 4,000, 140 with
16,000."""
CHECKPOINT_S = 10.0
"""So long an erasure waits for readers before it leaves the write-ahead log to the next checkpoint."""

BUSY_MS = 60_000
"""As every connection to a ledger waits, too."""

_log_to = logging.getLogger("firstlook.behaviour")
_log = schema.log
_head = schema.head
_states = schema.states
_aside = schema.aside
_erasures = schema.erasures
_imports = schema.imports
_versions = schema.versions


class BehaviourDamaged(LedgerDamaged):
    """The behaviour log does not open. It is the truth, and nothing can make it again: put back a copy."""


class Closed(RuntimeError):
    """The log was closed; what waits in it was not accepted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """What became of records that were appended. All of it is on the disk."""

    accepted: tuple[str, ...]
    """Ids that are new, in the order given."""
    repeated: tuple[str, ...]
    """Ids that were there already, or came twice; they count once."""
    seq: int
    """The last place of the log: whoever has folded it up to here knows all of these."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Aside:
    """Something that came as an event and cannot be one, kept apart."""

    raw: str
    """What came, as JSON or as the line that it was."""
    reason: str
    """A short countable slug, such as `from_the_future`."""
    detail: str
    """For a person: what came, and what was wanted."""
    at_s: float
    """When, seconds since 1970."""


class Behaviour:
    """Events, impressions, states of viewers, and what was kept apart, in one SQL database.

    It is opened by whatever is done first: a home without behaviour has no file for it.

    Args:
        url: SQLAlchemy URL, `sqlite:///…/behaviour.sqlite` or `postgresql+psycopg://…`.
        clock: seconds since 1970; tests pass their own.
    """

    def __init__(self, url: str, *, clock: Callable[[], float] = time.time) -> None:
        self._engine = opened(url)
        self._clock = clock
        self._is_sqlite = self._engine.dialect.name == "sqlite"
        self._opening = threading.Lock()
        self._is_open = threading.Event()
        self._turn = threading.Condition()
        self._waiting: list[_Waiting] = []
        self._writer: threading.Thread | None = None
        self._closed = False
        self._pause = threading.Lock()
        self._since_checkpoint = 0
        self._checkpoint: threading.Thread | None = None
        if self._is_sqlite:
            sql.event.listen(self._engine, "connect", _settle)

    def close(self) -> None:
        """Write what waits, and end."""
        with self._turn:
            self._closed = True
            self._turn.notify()
            writer = self._writer
        for thread in (writer, self._checkpoint):
            if thread is not None:
                thread.join()
        self._engine.dispose()

    # Appending ---------------------------------------------------------------------------------------------------

    def append(self, records: Sequence[Event | Impression]) -> Accepted:
        """Write records down; returns when they are on the disk.

        Raises:
            ValueError: a record holds what cannot be written: half characters, a NUL in an id, infinite numbers.
            OSError: the disk is full, or the log stays locked; nothing of it was acknowledged.
            Closed: the log was closed.
        """
        return self.append_soon(records).result()

    def append_soon(self, records: Sequence[Event | Impression]) -> Future[Accepted]:
        """`append`, for those who wait elsewhere: the future ends when the records are on the disk.

        Records that are handed over together are written together, in their order, or not at all.

        Raises:
            ValueError, Closed: as `append`, at once.
        """
        waiting = _Waiting(rows=[_row(record) for record in records], ends=Future())
        with self._turn:
            if self._closed:
                raise Closed("the behaviour log is closed")
            if self._writer is None:
                self._writer = threading.Thread(target=self._write_on, name="behaviour", daemon=True)
                self._writer.start()
            self._waiting.append(waiting)
            self._turn.notify()
        return waiting.ends

    def _write_on(self) -> None:
        """Write whatever waits, together, until the log is closed."""
        while group := self._next_group():
            # whoever has cancelled is not written for: nobody would hear that it was
            group = [one for one in group if one.ends.set_running_or_notify_cancel()]
            try:
                with self._pause:
                    found = self._commit([one.rows for one in group])
            except (OSError, ValueError, sql.exc.SQLAlchemyError, LedgerDamaged) as error:
                for one in group:
                    one.ends.set_exception(error)
                continue
            except BaseException as bug:  # it ends this thread, and nobody may wait for it for ever
                self._abandon(group, bug)
                raise
            for one, accepted in zip(group, found, strict=True):
                one.ends.set_result(accepted)
            if self._is_sqlite:
                self._write_back_now_and_then(sum(len(one.rows) for one in group))

    def _abandon(self, group: Sequence[_Waiting], bug: BaseException) -> None:
        with self._turn:
            self._closed = True
            left, self._waiting = self._waiting, []
        for one in (*group, *left):
            one.ends.set_exception(bug)

    def _write_back_now_and_then(self, written: int) -> None:
        self._since_checkpoint += written
        is_running = self._checkpoint is not None and self._checkpoint.is_alive()
        if self._since_checkpoint >= CHECKPOINT_RECORDS and not is_running:
            self._since_checkpoint = 0
            self._checkpoint = threading.Thread(target=self._write_back, name="checkpoint", daemon=True)
            self._checkpoint.start()

    def _write_back(self) -> None:
        """Write the write-ahead log back beside the commits, which wait only for the little that came meanwhile: the
        log begins anew when all of it is written back."""
        connection = self._engine.raw_connection()
        try:
            cursor = connection.cursor()
            cursor.execute("PRAGMA busy_timeout = 500")
            for _ in range(2):  # what came during the first is less, and what came during the second next to nothing
                cursor.execute("PRAGMA wal_checkpoint(PASSIVE)")
            with self._pause:
                cursor.execute("PRAGMA wal_checkpoint(FULL)")
            cursor.execute(f"PRAGMA busy_timeout = {BUSY_MS}")
        except sqlite3.OperationalError as error:  # a full disk, say: the next commit tells those who wait
            _log_to.warning("the write-ahead log was not written back: %s", error)
            connection.invalidate()
        finally:
            connection.close()

    def _next_group(self) -> list[_Waiting]:
        """What waits, in order, up to `GROUP_MAX` records; empty: the log was closed and nothing waits."""
        with self._turn:
            self._turn.wait_for(lambda: self._waiting or self._closed)
            taken = size = 0
            for one in self._waiting:
                size += len(one.rows)
                if taken and size > GROUP_MAX:
                    break
                taken += 1
            group, self._waiting = self._waiting[:taken], self._waiting[taken:]
        return group

    def _commit(self, groups: Sequence[Sequence[_Row]]) -> list[Accepted]:
        """Write groups of rows in one transaction; say of each what was new."""
        accepted: list[list[str]] = [[] for _ in groups]
        repeated: list[list[str]] = [[] for _ in groups]
        with self._write() as connection:
            known = self._known(connection, {(row[1], row[2]) for rows in groups for row in rows})
            new: list[_Row] = []
            for number, rows in enumerate(groups):
                for row in rows:
                    name = (row[1], row[2])
                    (repeated if name in known else accepted)[number].append(row[2])
                    if name not in known:
                        known.add(name)
                        new.append(row)
            seq = self._take_places(connection, len(new))
            first = seq - len(new) + 1
            if new:
                self._insert(connection, [(first + place, *row) for place, row in enumerate(new)])
        return [
            Accepted(accepted=tuple(yes), repeated=tuple(no), seq=seq)
            for yes, no in zip(accepted, repeated, strict=True)
        ]

    def _known(self, connection: Connection, names: set[tuple[int, str]]) -> set[tuple[int, str]]:
        """Those of these (kind, id) that the log has."""
        ids = [record_id for _, record_id in names]
        if self._is_sqlite:  # one text instead of so many parameters, which SQLAlchemy would spell out each time
            rows = connection.exec_driver_sql(_BY_ID_SQLITE, (json.dumps(ids),))
            return {(kind, record_id) for kind, record_id in rows} & names
        found: set[tuple[int, str]] = set()
        for some in in_parts(ids, 500):
            found |= {(kind, record_id) for kind, record_id in connection.execute(_BY_ID, {"ids": some})}
        return found & names

    def _insert(self, connection: Connection, placed: list[tuple[int, str, int, str, str]]) -> None:
        if self._is_sqlite:  # half of the time that SQLAlchemy's own parameters take
            connection.exec_driver_sql(_INSERT_SQLITE, placed)
        else:
            connection.execute(_INSERT, [dict(zip(_COLUMNS, row, strict=True)) for row in placed])

    def _take_places(self, connection: Connection, count: int) -> int:
        """Take the next places of the log; return the last one given."""
        taken = sql.update(_head).values(seq=_head.c.seq + count).returning(_head.c.seq)
        return int(connection.execute(taken).scalar_one())

    # Reading -----------------------------------------------------------------------------------------------------

    def after(self, seq: int, limit: int) -> list[tuple[int, Event | Impression]]:
        """The next records behind a place, at most `limit`, in the order of acceptance."""
        query = sql.select(*_READ).where(_log.c.seq > seq).order_by(_log.c.seq).limit(limit)
        with self._read() as connection:
            return _records(_plainly(connection.execute(query)))

    def of_viewer(self, viewer_id: str, after: int = 0) -> list[tuple[int, Event | Impression]]:
        """A viewer's records behind a place, in the order of acceptance."""
        with self._read() as connection:
            return _records(_plainly(connection.execute(_OF_VIEWER, {"viewer": viewer_id, "after": after})))

    def viewers(self) -> Iterator[str]:
        """Everybody who ever did something or was shown something, in the order of their ids."""
        last = ""
        while True:
            query = sql.select(_log.c.viewer_id).where(_log.c.viewer_id > last).distinct()
            with self._read() as connection:
                some = list(connection.scalars(query.order_by(_log.c.viewer_id).limit(10_000)))
            if not some:
                return
            yield from some
            last = some[-1]

    def impressions(self, ids: Sequence[str]) -> dict[str, Impression]:
        """impression_id -> impression, of those of these that there are."""
        found: dict[str, Impression] = {}
        query = sql.select(*_READ).where(
            _log.c.kind == IMPRESSION, _log.c.record_id.in_(sql.bindparam("ids", expanding=True))
        )
        with self._read() as connection:
            for some in in_parts(ids, 500):
                for _, record in _records(_plainly(connection.execute(query, {"ids": some}))):
                    assert isinstance(record, Impression)
                    found[record.impression_id] = record
        return found

    def last_seq(self) -> int:
        """The last place that was given; 0 of an empty log. It never falls, whatever is erased."""
        with self._read() as connection:
            return int(connection.scalar(sql.select(_head.c.seq)) or 0)

    # States ------------------------------------------------------------------------------------------------------

    def keep_states(self, states: Sequence[tuple[str, int, bytes]]) -> None:
        """Keep states of viewers, so that a fold begins there.

        The later place wins. One from before a viewer's erasure is not kept: it would bring back what was erased.

        Args:
            states: (viewer_id, the last place that is in it, the state).
        """
        with self._write() as connection:
            erased = self._erased(connection, [viewer_id for viewer_id, _, _ in states])
            rows = [
                {"viewer_id": viewer_id, "seq": seq, "body": body}
                for viewer_id, seq, body in sorted(states, key=lambda state: state[1])
                if seq >= erased.get(viewer_id, 0)
            ]
            if rows:
                insert = (postgresql if not self._is_sqlite else sqlite).insert(_states)
                later = {"seq": insert.excluded.seq, "body": insert.excluded.body}
                statement = insert.on_conflict_do_update(
                    index_elements=["viewer_id"], set_=later, where=insert.excluded.seq >= _states.c.seq
                )
                connection.execute(statement, rows)

    def state_of(self, viewer_id: str) -> tuple[int, bytes] | None:
        """(place, state) as it was kept last; None: none was."""
        with self._read() as connection:
            row = connection.execute(_STATE_OF, {"viewer": viewer_id}).one_or_none()
        return None if row is None else (row[0], bytes(row[1]))

    # Kept apart --------------------------------------------------------------------------------------------------

    def set_aside(self, rows: Sequence[tuple[str, str, str]]) -> None:
        """Keep what cannot be an event: (what came, reason, detail). The same again, for the same reason, is one row.

        Where it names a `viewer_id` that can be read, it goes with that viewer's erasure.
        """
        now = self._clock()
        kept = [
            {
                "sha256": hashlib.sha256(f"{reason}\n{raw}".encode(errors="replace")).hexdigest(),
                "viewer_id": _viewer_in(raw),
                "reason": reason,
                "detail": _writable(detail),
                "raw": _writable(raw),
                "at_s": now,
            }
            for raw, reason, detail in rows
        ]
        if kept:
            insert = (postgresql if not self._is_sqlite else sqlite).insert(_aside).on_conflict_do_nothing()
            with self._write() as connection:
                connection.execute(insert, kept)

    def aside(self, limit: int = 100, *, reason: str | None = None) -> list[Aside]:
        """What was kept apart, the newest first; of one reason, or of all."""
        query = sql.select(_aside.c.raw, _aside.c.reason, _aside.c.detail, _aside.c.at_s)
        if reason is not None:
            query = query.where(_aside.c.reason == reason)
        query = query.order_by(_aside.c.at_s.desc(), _aside.c.sha256).limit(limit)
        with self._read() as connection:
            return [Aside(**row) for row in connection.execute(query).mappings()]

    def aside_reasons(self) -> dict[str, int]:
        """Reason -> how many were kept apart for it, the most frequent first."""
        count = sql.func.count()
        query = sql.select(_aside.c.reason, count).group_by(_aside.c.reason).order_by(count.desc(), _aside.c.reason)
        with self._read() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}

    # Imports -----------------------------------------------------------------------------------------------------

    def import_place(self, source: str) -> int:
        """How many lines of a file an interrupted import has brought; 0: none, or it came to its end."""
        with self._read() as connection:
            return int(connection.scalar(sql.select(_imports.c.lines).where(_imports.c.source == source)) or 0)

    def keep_import_place(self, source: str, lines: int | None) -> None:
        """Remember how far an import is; None: it has come to its end."""
        with self._write() as connection:
            connection.execute(sql.delete(_imports).where(_imports.c.source == source))
            if lines is not None:
                connection.execute(sql.insert(_imports).values(source=source, lines=lines, at_s=self._clock()))

    # Erasing -----------------------------------------------------------------------------------------------------

    def erase_viewer(self, viewer_id: str) -> int:
        """Forget everything that a viewer did and was shown; how many rows that were.

        On SQLite the freed bytes are overwritten (`secure_delete`), and the write-ahead log, which still holds pages
        from before, is written back and cut to nothing (`wal_checkpoint(TRUNCATE)`) before this returns. On PostgreSQL
        they leave with the next vacuum. What stays is a digest of the id with the place of the erasure, by which
        `erasures` tells those who hold states in memory.

        Raises:
            TimeoutError: the rows are gone, but a reader has kept their bytes in the write-ahead log; ask again.
        """
        with self._write() as connection:
            gone = 0
            for table in (_log, _states, _aside):
                gone += connection.execute(sql.delete(table).where(table.c.viewer_id == viewer_id)).rowcount
            if gone:
                seq = self._take_places(connection, 1)
                connection.execute(sql.insert(_erasures).values(seq=seq, viewer_sha256=digest(viewer_id)))
        if self._is_sqlite:
            self._empty_wal()
        return gone

    def erasures(self, after: int = 0) -> list[tuple[int, str]]:
        """(place, `digest` of the viewer's id) of erasures behind a place: what was folded before them is to go."""
        query = sql.select(_erasures.c.seq, _erasures.c.viewer_sha256).where(_erasures.c.seq > after)
        with self._read() as connection:
            return [(row[0], row[1]) for row in connection.execute(query.order_by(_erasures.c.seq))]

    def _erased(self, connection: Connection, viewer_ids: Sequence[str]) -> dict[str, int]:
        """viewer_id -> place of the last erasure, of those that were erased."""
        by_digest = {digest(viewer_id): viewer_id for viewer_id in viewer_ids}
        found: dict[str, int] = {}
        for some in in_parts(list(by_digest), 500):
            query = sql.select(_erasures.c.viewer_sha256, sql.func.max(_erasures.c.seq))
            query = query.where(_erasures.c.viewer_sha256.in_(some)).group_by(_erasures.c.viewer_sha256)
            found |= {by_digest[name]: seq for name, seq in connection.execute(query)}
        return found

    def _empty_wal(self) -> None:
        until = time.monotonic() + CHECKPOINT_S
        connection = self._engine.raw_connection()
        try:
            while connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                if time.monotonic() > until:
                    raise TimeoutError("erased, but a reader keeps the old bytes in the write-ahead log; ask again")
                time.sleep(0.05)
        finally:
            connection.close()

    # Inside ------------------------------------------------------------------------------------------------------

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        """One writer at a time on both databases: what is read in here still holds when it is written, and whoever
        reads up to a place has seen everything before it.

        Raises:
            OSError: the disk is full, or the log stays locked; nothing of the transaction was written.
        """
        self._open()
        locked = "another process has kept the behaviour log locked for a minute"
        with told_plainly(locked, "No space left on device for the behaviour log"), self._engine.begin() as connection:
            if not self._is_sqlite:  # whose BEGIN IMMEDIATE takes turns; places are then given in order of commit
                connection.execute(sql.select(_head.c.seq).with_for_update())
            yield connection

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        self._open()
        with self._engine.connect().execution_options(reads_only=True) as connection:
            yield connection

    def _open(self) -> None:
        """Lead the log up to this version, once.

        Raises:
            ValueError: it was written by a newer version of firstlook.
            BehaviourDamaged: the file is not a whole database any more.
        """
        if self._is_open.is_set():
            return
        with self._opening:
            if self._is_open.is_set():
                return
            with undamaged(self._engine, BehaviourDamaged):
                self._migrate()
            self._is_open.set()

    def _migrate(self) -> None:
        with self._engine.begin() as connection:
            if not self._is_sqlite:
                connection.execute(sql.select(sql.func.pg_advisory_xact_lock(_MAKER)))
            lead_up(connection, _versions, schema.MIGRATIONS, "the behaviour log")


_Row = tuple[str, int, str, str]
"""viewer_id, kind, record_id, body."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Waiting:
    rows: list[_Row]
    ends: Future[Accepted]


_MAKER = 0x6265686176696F72
"""Names the advisory lock of PostgreSQL under which tables are made."""
_COLUMNS = ("seq", "viewer_id", "kind", "record_id", "body")
_READ = tuple(_log.c[name] for name in _COLUMNS)
_INSERT = sql.insert(_log)
_INSERT_SQLITE = f"INSERT INTO {_log.name} ({', '.join(_COLUMNS)}) VALUES (?, ?, ?, ?, ?)"
_BY_ID_SQLITE = f"SELECT kind, record_id FROM {_log.name} WHERE record_id IN (SELECT value FROM json_each(?))"
_BY_ID = sql.select(_log.c.kind, _log.c.record_id).where(_log.c.record_id.in_(sql.bindparam("ids", expanding=True)))
_OF_VIEWER = (
    sql.select(*_READ)
    .where(_log.c.viewer_id == sql.bindparam("viewer"), _log.c.seq > sql.bindparam("after"))
    .order_by(_log.c.seq)
)
_STATE_OF = sql.select(_states.c.seq, _states.c.body).where(_states.c.viewer_id == sql.bindparam("viewer"))

_RECORDS = {EVENT: Event, IMPRESSION: Impression}
_ID_OF = {EVENT: "event_id", IMPRESSION: "impression_id"}
_BODY = {
    kind: [one for one in fields(record) if one.name not in (_ID_OF[kind], "viewer_id")]
    for kind, record in _RECORDS.items()
}
"""What the body of a row holds, in order."""
_NAMES = {kind: [one.name for one in body] for kind, body in _BODY.items()}
_DEFAULTS = {kind: [*(one.default for one in body[:-1]), None] for kind, body in _BODY.items()}
"""None for the last: `extra` and `reasons` are a new dictionary each."""


def digest(viewer_id: str) -> str:
    """What an erasure is remembered by."""
    return hashlib.sha256(viewer_id.encode()).hexdigest()


def _settle(connection: Any, _record: Any) -> None:
    connection.execute("PRAGMA secure_delete = ON")
    connection.execute("PRAGMA wal_autocheckpoint = 16000")  # where `_write_back` does not come to it; pages
    connection.execute("PRAGMA cache_size = -65536")  # KiB: ids are random, and so are the pages that they go to


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise ValueError(f"not JSON: {type(value).__name__}")


_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_plain).encode


def _row(record: Event | Impression) -> _Row:
    """A record as it is written.

    Raises:
        ValueError: it holds what no database takes.
    """
    kind, record_id = (EVENT, record.event_id) if isinstance(record, Event) else (IMPRESSION, record.impression_id)
    values = [getattr(record, name) for name in _NAMES[kind]]
    if not values[-1]:  # `extra` and `reasons`
        values.pop()
        while values[-1] == _DEFAULTS[kind][len(values) - 1]:
            values.pop()
    body = _encode(values)
    for text in (record.viewer_id, record_id):
        if "\0" in text:
            raise ValueError(f"a NUL is in no id, got {text!r}")
    (record.viewer_id + record_id + body).encode()  # half characters are told here, to whoever brought them
    return record.viewer_id, kind, record_id, body


def _records(rows: Sequence[Any]) -> list[tuple[int, Event | Impression]]:
    """Rows of `_READ` as records, in the order given."""
    bodies = json.loads(
        f"[{','.join([row[4] for row in rows])}]"
    )  # one text: a parser that starts once is twice as fast
    kinds = {row[2] for row in rows}
    if len(kinds) == 1:
        return list(zip([row[0] for row in rows], _made(kinds.pop(), rows, bodies), strict=True))
    found: dict[int, Event | Impression] = {}
    for kind in kinds:
        these = [place for place, row in enumerate(rows) if row[2] == kind]
        made = _made(kind, [rows[place] for place in these], [bodies[place] for place in these])
        found.update(zip(these, made, strict=True))
    return [(row[0], found[place]) for place, row in enumerate(rows)]


def _made(kind: int, rows: Sequence[Any], bodies: Sequence[list[Any]]) -> list[Any]:
    """Records of one kind, in the order given.

    What is written was checked, so it is not checked again, and a field is set in all of them by one call: 256 records
    take a quarter of the time, and a page waits for them.
    """
    record, name, names, defaults = _RECORDS[kind], _ID_OF[kind], _NAMES[kind], _DEFAULTS[kind]
    for body in bodies:
        body += defaults[len(body) :]
    _, viewer_ids, _, ids, _ = zip(*rows, strict=True)
    *columns, last = zip(*bodies, strict=True)
    made: list[Any] = list(map(object.__new__, repeat(record, len(rows))))
    whole = (ids, viewer_ids, *columns, [{} if said is None else said for said in last])
    for field, values in zip((name, "viewer_id", *names), whole, strict=True):
        deque(
            map(getattr(record, field).__set__, made, values), maxlen=0
        )  # they are frozen; the class's own slots are not
    return made


def _plainly(found: sql.CursorResult[Any]) -> Sequence[Any]:
    """All rows as the driver has them: numbers and texts, which SQLAlchemy would wrap for half as long again."""
    return found.cursor.fetchall() if found.cursor is not None else []


def _viewer_in(raw: str) -> str | None:
    """The viewer that a line names, where it can be read."""
    try:
        said = json.loads(raw)
    except (ValueError, RecursionError):
        return None
    viewer_id = said.get("viewer_id") if isinstance(said, dict) else None
    return _writable(viewer_id) if isinstance(viewer_id, str) else None


def _writable(text: str) -> str:
    """Without what no database takes: half characters and NULs are spelled out."""
    return text.encode(errors="backslashreplace").decode().replace("\0", "\\0")
