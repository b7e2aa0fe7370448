"""The ledger: which uploads there are, and where each one stands. The truth; tables are derived from it.

An *item* is one upload in one space. It is `waiting`, `leased` to somebody who works on it, a `video` or a `failure`:
one row, one state, which is how every upload ends as exactly one `Video` or one `Failure`.

```
 register ─► waiting ─► leased ─► video          acknowledge, after the row is in the table
                ▲          ├────► failure         fail
                └──────────┘                      the lease ran out, its owner died, or the decode child did
```

SQLite in one file by default (WAL, `synchronous=FULL`, `BEGIN IMMEDIATE`: facts of 8,377 lock errors without the last),
PostgreSQL by URL for a cluster.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from itertools import takewhile
from pathlib import Path
from typing import Any, TypeVar

import psutil
import sqlalchemy as sql
from sqlalchemy import Table
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import Connection

from index import schema
from index.database import in_parts, lead_up, opened, told_plainly, undamaged
from index.records import Claimed, Failure, Space, Upload, canonical_json

R = TypeVar("R")

ITEM_LEASE_S = 600.0
"""Longer than the slowest chunk may take; a dead owner on this machine is noticed at once all the same."""
CHILD_DEATHS_MAX = 3
"""So often may an upload kill its decode child before it is quarantined."""
UPLOAD, BACKFILL = 0, 1
"""Priorities of items: somebody waits for an upload, and nobody for a backfill."""
JOB_SILENT_S = 120.0
"""A running job that has said nothing for so long is lost; it speaks every few seconds."""

_versions = schema.versions
_spaces = schema.spaces
_uploads = schema.uploads
_items = schema.items
_files = schema.files
_leases = schema.leases
_jobs = schema.jobs
_erasures = schema.erasures


class LedgerDamaged(Exception):
    """The ledger does not open. It is the truth, and nothing can make it again: put back a copy."""


class LeaseLost(Exception):
    """Somebody else holds the lease now: what was done under the old one must not be acknowledged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """The right to write one table, until it ends or is taken over. `epoch` counts its holders."""

    name: str
    owner: str
    epoch: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SeenFile:
    """What a file looked like when it was last registered: unchanged size and time mean unchanged bytes."""

    path: str
    given_id: str
    """The caller's id for it, or "": one file may stand under several ids."""
    video_id: str
    size: int
    mtime_ns: int
    content_sha256: str
    said_sha256: str
    """Digest of what a manifest or a sidecar said of it."""
    extra: bool = False
    """Its bytes are an upload already, under another path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Erasure:
    """An upload that is forgotten here, and may still have a row and blobs."""

    video_id: str
    revision: int
    """The last one with this content; rows of later ones are another upload's."""
    content_sha256: str
    asked_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Where an upload stands in a space."""

    video_id: str
    state: str
    partial: bool
    revision: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """Where an upload stands in a space, and what is known of its way there."""

    video_id: str
    state: str
    """`waiting`, `leased`, `video` or `failure`."""
    revision: int
    uri: str
    queued_s: float
    """When it began to wait, seconds since 1970."""
    partial: bool
    attempts: int
    step: str | None
    reason: str | None
    detail: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One run of a backfill, as it last spoke."""

    job_id: str
    space_id: str
    engine: str
    """What it runs on: `threads`, `ray local`, or Ray at an address."""
    state: str
    """`running`, `finished`, `stopped` (by somebody, or by its budget), `failed`, or `lost` (died without a word)."""
    started_s: float
    """Since 1970, UTC; so is the next."""
    seen_s: float
    wanted: int
    """Uploads that waited when it began."""
    videos: int
    failures: int
    video_s: float
    """Length of the videos that it committed."""
    detail: str | None

    @property
    def per_second(self) -> float:
        """Uploads that it ended, a second."""
        return (self.videos + self.failures) / max(self.seen_s - self.started_s, 1e-9)

    @property
    def video_hours_per_day(self) -> float:
        return self.video_s / max(self.seen_s - self.started_s, 1e-9) * 24


class Ledger:
    """Uploads, leases, failures and spaces in one SQL database.

    Args:
        url: SQLAlchemy URL, `sqlite:///…/ledger.sqlite` or `postgresql+psycopg://…`.
        clock: seconds since 1970; tests pass their own.

    Raises:
        ValueError: the database was written by a newer version of firstlook.
        LedgerDamaged: the file is not a whole database any more.
    """

    def __init__(self, url: str, *, clock: Callable[[], float] = time.time) -> None:
        self._engine = opened(url)
        self._clock = clock
        with undamaged(self._engine, LedgerDamaged):
            self._migrate()

    def close(self) -> None:
        self._engine.dispose()

    # Spaces ------------------------------------------------------------------------------------------------------

    def add_space(self, space: Space) -> None:
        """Remember a space; the first one becomes the live one."""
        body = canonical_json({"spec": space.spec, "dims": dict(space.dims), "weights": dict(space.weights)})
        with self._write() as connection:
            known = set(connection.scalars(sql.select(_spaces.c.space_id)))
            if space.id not in known:
                row = {"space_id": space.id, "name": space.name, "body": body, "created_s": self._clock()}
                connection.execute(sql.insert(_spaces).values(live=not known, **row))

    def spaces(self) -> list[Space]:
        """All spaces, the live one first, then by age."""
        query = sql.select(_spaces.c.name, _spaces.c.body).order_by(_spaces.c.live.desc(), _spaces.c.created_s)
        with self._read() as connection:
            return [Space(name=name, **json.loads(body)) for name, body in connection.execute(query)]

    # Registering -------------------------------------------------------------------------------------------------

    def seen_files(self, paths: Sequence[str]) -> dict[tuple[str, str], SeenFile]:
        """(path, given id) -> what is known of these paths from before; unknown ones are left out."""
        query = sql.select(*_FILE).where(_files.c.path.in_(paths))
        with self._read() as connection:
            return {(row[0], row[1]): _record(SeenFile, row) for row in connection.execute(query)}

    def register(
        self, uploads: Sequence[tuple[Upload, SeenFile | None]], space_id: str, *, priority: int = UPLOAD
    ) -> list[Standing]:
        """Write uploads down and queue those that need work, in one transaction.

        A known id with the same content and the same words stays as it is; any change is a new revision, and waits.
        The revision of the uploads handed in is ignored: the ledger counts.

        Returns:
            Where each upload stands now, in the order given.
        """
        with self._write() as connection:
            # What could not even be read the last time it was named has arrived: its old failure is answered.
            connection.execute(
                sql.delete(_items).where(
                    _items.c.space_id == space_id,
                    _items.c.revision == 0,
                    _items.c.step == "read",
                    _items.c.uri.in_([upload.uri for upload, _ in uploads]),
                )
            )
            return [self._register(connection, upload, seen, space_id, priority) for upload, seen in uploads]

    def _register(
        self, connection: Connection, upload: Upload, seen: SeenFile | None, space_id: str, priority: int
    ) -> Standing:
        latest = self._latest(connection, upload.video_id)
        if latest is None or _body(latest) != _body(upload):
            upload = self._revise(connection, upload, latest)
        else:
            upload = latest
        if seen is not None:
            self._upsert(connection, _files, asdict(seen))
        standing = self._standing(connection, upload.video_id, space_id)
        if standing is None or standing.revision != upload.revision:
            same_bytes = latest is not None and latest.content_sha256 == upload.content_sha256
            self._queue(connection, upload, space_id, priority, keep_deaths=same_bytes)
            standing = Standing(video_id=upload.video_id, state="waiting", partial=False, revision=upload.revision)
        return standing

    def edit(self, video_id: str, **changes: Any) -> Upload | None:
        """Change what a creator said of a video, and queue it in every space that knows it; None: no such upload.

        Its bytes are the same, so nothing is decoded again. What changes nothing is no new revision.
        """
        with self._write() as connection:
            latest = self._latest(connection, video_id)
            if latest is None:
                return None
            upload = replace(latest, **changes)
            if _body(upload) == _body(latest):
                return latest
            upload = self._revise(connection, upload, latest)
            spaces = sql.select(_items.c.space_id).where(_items.c.video_id == video_id)
            for space_id in list(connection.scalars(spaces)):
                self._queue(connection, upload, space_id, UPLOAD, keep_deaths=True)
            return upload

    def erase(self, video_id: str) -> bool:
        """Forget an upload, everywhere and at once; whether there was one.

        Rows and blobs are deleted by whoever works off `erasures_due`. A later upload of the same id counts its
        revisions on, so that no row of the old one can stand in its way.
        """
        with self._write() as connection:
            query = sql.select(_uploads.c.content_sha256, sql.func.max(_uploads.c.revision))
            contents = connection.execute(
                query.where(_uploads.c.video_id == video_id).group_by(_uploads.c.content_sha256)
            ).all()
            items = connection.execute(sql.delete(_items).where(_items.c.video_id == video_id))
            connection.execute(sql.delete(_uploads).where(_uploads.c.video_id == video_id))
            connection.execute(sql.delete(_files).where(_files.c.video_id == video_id))
            for content, revision in contents:
                erasure = {"video_id": video_id, "revision": revision, "content_sha256": content}
                self._upsert(connection, _erasures, erasure | {"asked_s": self._clock(), "done_s": None})
            return bool(contents or items.rowcount)

    def erasures_due(self) -> list[Erasure]:
        """What was erased here and has not left tables and blobs yet."""
        query = sql.select(*(_erasures.c[name] for name in Erasure.__slots__)).where(_erasures.c.done_s.is_(None))
        with self._read() as connection:
            return [Erasure(**row) for row in connection.execute(query.order_by(_erasures.c.asked_s)).mappings()]

    def end_erasures(self, done: Sequence[Erasure]) -> None:
        """These are gone from tables and blobs."""
        with self._write() as connection:
            for one in done:
                # by when it was asked too: it may have been asked again since
                this = [_erasures.c[name] == getattr(one, name) for name in Erasure.__slots__]
                connection.execute(sql.update(_erasures).where(*this).values(done_s=self._clock()))

    def erase_again(self, uploads: Sequence[Upload]) -> None:
        """These were being worked on when they were erased: what came of it has to go too."""
        with self._write() as connection:
            for upload in uploads:
                erasure = {"video_id": upload.video_id, "revision": upload.revision}
                erasure |= {"content_sha256": upload.content_sha256, "asked_s": self._clock(), "done_s": None}
                self._upsert(connection, _erasures, erasure)

    def while_unused(self, content_sha256: str, act: Callable[[], None]) -> bool:
        """Do something while no upload has this content and none can be registered; whether it was done."""
        query = sql.select(sql.exists().where(_uploads.c.content_sha256 == content_sha256))
        with self._write() as connection:
            if connection.scalar(query):
                return False
            act()
            return True

    def lacking(self, space_id: str, *, after: str = "", limit: int = 5_000) -> tuple[str | None, list[str]]:
        """Uploads that a space does not know in their latest revision, a page at a time.

        Args:
            space_id: the space.
            after: the id that the page before ended with.
            limit: uploads looked at.

        Returns:
            The id that this page ends with, None after the last one; and those of it that the space lacks.
        """
        page = (
            sql.select(_uploads.c.video_id, sql.func.max(_uploads.c.revision).label("revision"))
            .where(_uploads.c.video_id > after)
            .group_by(_uploads.c.video_id)
            .order_by(_uploads.c.video_id)
            .limit(limit)
            .subquery()
        )
        with self._read() as connection:
            ids, missing = self._missing(connection, page, space_id)
        return (ids[-1] if len(ids) == limit else None), missing

    def queue(self, video_ids: Sequence[str], space_id: str, *, priority: int = BACKFILL) -> int:
        """Queue those of these uploads that a space does not know in their latest revision; return how many."""
        queued = 0
        for some in in_parts(video_ids, 500):
            page = (
                sql.select(_uploads.c.video_id, sql.func.max(_uploads.c.revision).label("revision"))
                .where(_uploads.c.video_id.in_(some))
                .group_by(_uploads.c.video_id)
                .subquery()
            )
            with self._write() as connection:
                _, missing = self._missing(connection, page, space_id)
                for upload in [self._latest(connection, video_id) for video_id in missing]:
                    assert upload is not None
                    self._queue(connection, upload, space_id, priority, keep_deaths=False)
            queued += len(missing)
        return queued

    def _missing(self, connection: Connection, page: Any, space_id: str) -> tuple[list[str], list[str]]:
        """The ids of a page of (video_id, revision), and those of them that the space does not know so."""
        known = sql.and_(_items.c.video_id == page.c.video_id, _items.c.space_id == space_id)
        query = sql.select(page.c.video_id, page.c.revision, _items.c.revision).outerjoin_from(page, _items, known)
        rows = connection.execute(query.order_by(page.c.video_id)).all()
        return [row[0] for row in rows], [row[0] for row in rows if row[2] is None or row[2] < row[1]]

    def hasten(self, video_ids: Sequence[str], space_id: str) -> None:
        """Those of these that wait as a backfill wait as uploads from now on: somebody asked for them by name."""
        with self._write() as connection:
            for some in in_parts(video_ids, 500):
                these = (_items.c.space_id == space_id, _items.c.state.in_(_PENDING), _items.c.video_id.in_(some))
                slow = _items.c.priority > UPLOAD
                connection.execute(sql.update(_items).where(*these, slow).values(priority=UPLOAD))

    def standings(self, video_ids: Iterable[str], space_id: str) -> dict[str, Standing]:
        """Where these uploads stand; ids that the space does not know are left out."""
        found: dict[str, Standing] = {}
        with self._read() as connection:
            for some in in_parts(list(video_ids), 500):
                query = sql.select(*_STANDING).where(_items.c.space_id == space_id, _items.c.video_id.in_(some))
                found |= {row[0]: _record(Standing, row) for row in connection.execute(query)}
        return found

    def upload(self, video_id: str) -> Upload | None:
        """The latest revision of an upload."""
        with self._read() as connection:
            return self._latest(connection, video_id)

    def uploads(self, video_ids: Sequence[str]) -> dict[str, Upload]:
        """The latest revision of each of these that there is."""
        with self._read() as connection:
            found = connection.execute(_LATEST, {"video_ids": video_ids}).all()
        return {video_id: _upload(revision, body) for video_id, revision, body in found}

    def registered_s(self, video_ids: Sequence[str]) -> dict[str, float]:
        """When each of these was heard of first, seconds since 1970."""
        since = sql.select(_uploads.c.video_id, sql.func.min(_uploads.c.registered_s)).group_by(_uploads.c.video_id)
        found: dict[str, float] = {}
        with self._read() as connection:
            for some in in_parts(video_ids, 500):
                rows = connection.execute(since.where(_uploads.c.video_id.in_(list(some))))
                found |= {video_id: float(at_s) for video_id, at_s in rows}
        return found

    def up_to_date(self, video_ids: Sequence[str], space_id: str) -> dict[str, Standing]:
        """Where those of these stand that the space knows in their latest revision."""
        later = sql.select(_uploads.c.revision).where(
            _uploads.c.video_id == _items.c.video_id, _uploads.c.revision > _items.c.revision
        )
        query = sql.select(*_STANDING).where(
            _items.c.space_id == space_id, _items.c.video_id.in_(video_ids), ~later.exists()
        )
        with self._read() as connection:
            return {row[0]: _record(Standing, row) for row in connection.execute(query)}

    def video_with(self, content_sha256: str, space_id: str) -> str | None:
        """The first video of a space whose bytes are these; None where there is none."""
        query = (
            sql.select(_items.c.video_id)
            .join(
                _uploads,
                sql.and_(_uploads.c.video_id == _items.c.video_id, _uploads.c.revision == _items.c.revision),
            )
            .where(
                _uploads.c.content_sha256 == content_sha256,
                _items.c.space_id == space_id,
                _items.c.state == "video",
            )
            .order_by(_items.c.video_id)
            .limit(1)
        )
        with self._read() as connection:
            found: str | None = connection.scalar(query)
        return found

    # Working -----------------------------------------------------------------------------------------------------

    def claim(self, space_id: str, owner: str, limit: int, *, down_to: int = BACKFILL) -> list[Claimed]:
        """Lease up to `limit` waiting items, oldest first, uploads before backfills; an empty list when nothing waits.

        What is less urgent than `down_to` waits on.

        An item whose earlier lease was lost comes after the others of its kind, and alone: if it was what killed its
        worker, it takes nobody along.
        """
        self.reclaim(space_id, owner)
        now = self._clock()
        query = (
            sql.select(_items.c.video_id, _items.c.lost_leases)
            .where(_items.c.space_id == space_id, _items.c.state == "waiting", _items.c.priority <= down_to)
            .order_by(_items.c.priority, _items.c.lost_leases, _items.c.queued_s, _items.c.video_id)
            .limit(limit)
        )
        with self._write() as connection:
            rows = connection.execute(query).all()
            calm = [video_id for video_id, _ in takewhile(lambda row: not row.lost_leases, rows)]
            chosen = calm or [video_id for video_id, _ in rows[:1]]
            if not chosen:
                return []
            connection.execute(
                sql.update(_items)
                .where(_items.c.space_id == space_id, _items.c.video_id.in_(chosen))
                .values(state="leased", owner=owner, leased_until_s=now + ITEM_LEASE_S)
            )
            return self._claimed(connection, space_id, chosen)

    def renew(self, space_id: str, owner: str) -> None:
        """Keep an owner's leases from running out while it works."""
        mine = (_items.c.space_id == space_id, _items.c.state == "leased", _items.c.owner == owner)
        with self._write() as connection:
            connection.execute(sql.update(_items).where(*mine).values(leased_until_s=self._clock() + ITEM_LEASE_S))

    def release(
        self, space_id: str, owner: str, *, only: Sequence[str] | None = None, suspects: Sequence[str] = ()
    ) -> None:
        """Hand an owner's unfinished items back: a clean stop costs nobody anything.

        Args:
            space_id: where they are.
            owner: whose they are.
            only: these of them; default all.
            suspects: ids that may have been the end of their worker: they come last next time, and alone.
        """
        mine = [_items.c.space_id == space_id, _items.c.state == "leased", _items.c.owner == owner]
        suspected = sql.case((_items.c.video_id.in_(suspects), 1), else_=0)
        if only is not None:
            mine.append(_items.c.video_id.in_(only))
        with self._write() as connection:
            again = {**_WAITING, "lost_leases": _items.c.lost_leases + suspected}
            connection.execute(sql.update(_items).where(*mine).values(**again))

    def reclaim(self, space_id: str, asking: str = "") -> int:
        """Take back leases that ran out or whose owner on this machine is dead, never the asking owner's own.

        Returns:
            How many.
        """
        leased = (_items.c.space_id == space_id, _items.c.state == "leased", _items.c.owner != asking)
        with self._read() as connection:
            owners = connection.execute(
                sql.select(_items.c.owner, sql.func.min(_items.c.leased_until_s))
                .where(*leased)
                .group_by(_items.c.owner)
            ).all()
        gone = [owner for owner, until_s in owners if until_s < self._clock() or _is_dead(owner)]
        if not gone:
            return 0
        dead = [owner for owner in gone if _is_dead(owner)]
        lost = sql.or_(_items.c.owner.in_(dead), _items.c.leased_until_s < self._clock())
        with self._write() as connection:
            result = connection.execute(
                sql.update(_items).where(*leased, lost).values(lost_leases=_items.c.lost_leases + 1, **_WAITING)
            )
            return int(result.rowcount)

    def acknowledge(self, done: Sequence[tuple[Upload, bool]], space_id: str, lease: Lease) -> None:
        """Write down that these (upload, partial) are rows of the table now.

        A revision that was overtaken while it was worked on stays queued.

        Raises:
            LeaseLost: the table's lease has passed to somebody else; nothing was written.
        """
        this = (_items.c.video_id == sql.bindparam("id"), _items.c.revision == sql.bindparam("of"))
        ended: dict[str, Any] = {"state": "video", "partial": sql.bindparam("is_partial"), "lost_leases": 0}
        ended |= dict.fromkeys(("owner", "leased_until_s", "step", "reason", "detail"))
        statement = sql.update(_items).where(_items.c.space_id == space_id, *this)
        statement = statement.values(attempts=_items.c.attempts + 1, **ended)
        rows = [{"id": upload.video_id, "of": upload.revision, "is_partial": partial} for upload, partial in done]
        with self._write() as connection:
            self._check(connection, lease)
            if rows:
                connection.execute(statement, rows)

    def fail(self, failed: Sequence[tuple[Upload, Failure]], space_id: str, owner: str) -> list[str]:
        """Write down what became of uploads that this owner worked on; return the ids that are failures now.

        Only what the owner still holds, in the revision that it worked on: an edit that came meanwhile stays queued,
        and what somebody else took over is theirs. A partial video that could not be completed stays a partial video.
        `attempts` of the failures is ignored: the ledger counts.
        """
        taken: list[str] = []
        with self._write() as connection:
            for upload, failure in failed:
                held = self._held(upload, space_id, owner)
                partial = connection.scalar(sql.select(_items.c.partial).where(*held))
                if partial is None:
                    continue
                ended = {"owner": None, "leased_until_s": None, "lost_leases": 0, "attempts": _items.c.attempts + 1}
                if partial:
                    connection.execute(sql.update(_items).where(*held).values(state="video", **ended))
                    continue
                said = {"step": failure.step, "reason": failure.reason, "detail": failure.detail}
                connection.execute(sql.update(_items).where(*held).values(state="failure", **said, **ended))
                taken.append(upload.video_id)
        return taken

    def reject(self, failures: Sequence[Failure], space_id: str) -> list[Standing]:
        """Write down what could not even be read, or a line of a manifest that says nothing clear.

        It becomes an item of its own, with revision 0. Where the id is an upload already, its bytes are safe here: a
        file that is gone changes nothing, and a line that is wrong fails under an id of its own.

        Returns:
            Where each of them stands now, in the order given.
        """
        with self._write() as connection:
            return [self._reject(connection, failure, space_id) for failure in failures]

    def _reject(self, connection: Connection, failure: Failure, space_id: str) -> Standing:
        known = self._standing(connection, failure.video_id, space_id)
        if known is not None and known.revision:
            if failure.step == "read":
                return known
            said = f"{failure.video_id}, {failure.detail}"
            failure = replace(failure, video_id="f_" + hashlib.sha256(said.encode()).hexdigest()[:16])
        this = (_items.c.space_id == space_id, _items.c.video_id == failure.video_id)
        attempts = connection.scalar(sql.select(_items.c.attempts).where(*this)) or 0
        row: dict[str, Any] = {"state": "failure", "revision": 0, "space_id": space_id, "queued_s": self._clock()}
        row |= asdict(failure) | {"attempts": attempts + 1, "child_deaths": 0, "lost_leases": 0, "partial": False}
        self._upsert(connection, _items, row)
        return Standing(video_id=failure.video_id, state="failure", partial=False, revision=0)

    def child_died(self, upload: Upload, space_id: str, owner: str) -> int:
        """Count one more death of the decode child against an upload; return how many it has.

        It stays leased: the owner then hands it back with `release`, or fails it.
        """
        held = self._held(upload, space_id, owner)
        with self._write() as connection:
            connection.execute(sql.update(_items).where(*held).values(child_deaths=_items.c.child_deaths + 1))
            return int(connection.scalar(sql.select(_items.c.child_deaths).where(*held)) or 0)

    def requeue(self, video_ids: Sequence[str], space_id: str) -> None:
        """Queue videos whose rows are gone from the table: it is derived, and their analyses are blobs."""
        with self._write() as connection:
            for some in in_parts(video_ids, 500):
                videos = (_items.c.space_id == space_id, _items.c.state == "video", _items.c.video_id.in_(some))
                again = {"partial": False, "priority": UPLOAD, **_WAITING}  # nobody finds them meanwhile
                connection.execute(sql.update(_items).where(*videos).values(**again))

    def retry(self, space_id: str, *, quarantined: bool = False, only: Sequence[str] | None = None) -> list[str]:
        """Queue failures and partial videos again; return their ids. Manifest lines have nothing to run again.

        Args:
            space_id: where they are.
            quarantined: also those that killed their decode child.
            only: these of them; default all.
        """
        again = sql.and_(_items.c.state == "failure", _items.c.revision > 0)
        if not quarantined:
            again = sql.and_(again, _items.c.reason != "quarantined")
        partial = sql.and_(_items.c.state == "video", _items.c.partial)
        these = sql.true() if only is None else _items.c.video_id.in_(only)
        with self._write() as connection:
            result = connection.execute(
                sql.update(_items)
                .where(_items.c.space_id == space_id, sql.or_(again, partial), these)
                .values(child_deaths=0, lost_leases=0, priority=UPLOAD, queued_s=self._clock(), **_WAITING)
                .returning(_items.c.video_id)
            )
            return sorted(result.scalars())

    # Looking -----------------------------------------------------------------------------------------------------

    def counts(self, space_id: str) -> dict[str, int]:
        """`{"uploads", "videos", "failures", "partial", "pending"}` of a space."""
        query = (
            sql.select(_items.c.state, _items.c.partial, sql.func.count())
            .where(_items.c.space_id == space_id)
            .group_by(_items.c.state, _items.c.partial)
        )
        with self._read() as connection:
            rows = connection.execute(query).all()
        by_state = {state: sum(n for s, _, n in rows if s == state) for state in ("video", "failure")}
        uploads = sum(n for _, _, n in rows)
        return {
            "uploads": uploads,
            "videos": by_state["video"],
            "failures": by_state["failure"],
            "partial": sum(n for state, partial, n in rows if state == "video" and partial),
            "pending": uploads - by_state["video"] - by_state["failure"],
        }

    def failures(self, space_id: str) -> list[Failure]:
        """Every failure of a space, by reason and then by id."""
        columns = ("video_id", "uri", "step", "reason", "detail", "attempts")
        query = (
            sql.select(*(_items.c[name] for name in columns))
            .where(_items.c.space_id == space_id, _items.c.state == "failure")
            .order_by(_items.c.reason, _items.c.video_id)
        )
        with self._read() as connection:
            return [Failure(**row) for row in connection.execute(query).mappings()]

    def reasons(self, space_id: str) -> dict[str, int]:
        """Reason -> how many failures have it, the most frequent first."""
        count = sql.func.count()
        query = (
            sql.select(_items.c.reason, count)
            .where(_items.c.space_id == space_id, _items.c.state == "failure")
            .group_by(_items.c.reason)
            .order_by(count.desc(), _items.c.reason)
        )
        with self._read() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}

    def video_ids(self, space_id: str) -> list[str]:
        """Ids of all items that the ledger holds to be videos."""
        query = sql.select(_items.c.video_id).where(_items.c.space_id == space_id, _items.c.state == "video")
        with self._read() as connection:
            return list(connection.scalars(query))

    def pending(self, space_id: str, *, down_to: int = BACKFILL) -> bool:
        """Whether anything so urgent has not ended yet; cheap where `counts` has to look at everything."""
        with self._read() as connection:
            return bool(connection.scalar(sql.select(sql.exists().where(*_is_pending(space_id, down_to)))))

    def leased_by(self, space_id: str) -> dict[str, int]:
        """Owner -> how many items it has leased."""
        query = (
            sql.select(_items.c.owner, sql.func.count())
            .where(_items.c.space_id == space_id, _items.c.state == "leased")
            .group_by(_items.c.owner)
        )
        with self._read() as connection:
            return {row.owner: row[1] for row in connection.execute(query)}

    def pending_ids(self, space_id: str, *, down_to: int = BACKFILL) -> list[str]:
        """Ids of all items so urgent that have not ended yet."""
        with self._read() as connection:
            return list(connection.scalars(sql.select(_items.c.video_id).where(*_is_pending(space_id, down_to))))

    def item(self, video_id: str, space_id: str) -> Item | None:
        """How one upload stands in a space."""
        query = sql.select(*_ITEM).where(_items.c.space_id == space_id, _items.c.video_id == video_id)
        with self._read() as connection:
            row = connection.execute(query).mappings().one_or_none()
        return None if row is None else Item(**row)

    def items(self, space_id: str, *, state: str | None = None, after: str = "", limit: int = 100) -> list[Item]:
        """A page of items by ascending id, those after the id `after`; of one state, or of all."""
        query = sql.select(*_ITEM).where(_items.c.space_id == space_id, _items.c.video_id > after)
        if state is not None:
            query = query.where(_items.c.state == state)
        with self._read() as connection:
            return [
                Item(**row) for row in connection.execute(query.order_by(_items.c.video_id).limit(limit)).mappings()
            ]

    def newest(self, space_id: str, *, after: tuple[float, str] | None = None, limit: int = 100) -> list[Item]:
        """A page of videos, those first that were handed in or changed last.

        Reads no more than two pages of an index, however many there are: a video's place in the line that it once
        stood in is kept, in one stretch for each priority.

        Args:
            space_id: the space.
            after: (queued_s, video_id) of the last item of the page before.
            limit: how many.
        """
        when, name = _items.c.queued_s, _items.c.video_id
        stretches = []
        for priority in (UPLOAD, BACKFILL):
            # no video has a lease that was lost; said all the same, it is what leads through the index
            line = {"space_id": space_id, "state": "video", "priority": priority, "lost_leases": 0}
            query = sql.select(*_ITEM).where(*(_items.c[column] == value for column, value in line.items()))
            if after is not None:
                query = query.where(sql.tuple_(when, name) < sql.tuple_(*after))
            query = query.order_by(when.desc(), name.desc()).limit(limit)
            stretches.append(sql.select(query.subquery()))
        either = sql.union_all(*stretches).subquery()
        query = sql.select(either).order_by(either.c.queued_s.desc(), either.c.video_id.desc()).limit(limit)
        with self._read() as connection:
            return [Item(**row) for row in connection.execute(query).mappings()]

    def ahead_of(self, item: Item, space_id: str, *, limit: int = 1_000) -> int:
        """How many uploads wait that are claimed before this one; counts no further than `limit`."""
        before = (_items.c.space_id == space_id, _items.c.state == "waiting", _items.c.priority == UPLOAD)
        older = sql.select(_items.c.video_id).where(*before, _items.c.queued_s < item.queued_s).limit(limit).subquery()
        with self._read() as connection:
            return int(connection.scalar(sql.select(sql.func.count()).select_from(older)) or 0)

    def oldest_waiting_s(self, space_id: str) -> float | None:
        """Since when the upload that has waited longest has waited, seconds since 1970; None: none waits."""
        waiting = (_items.c.space_id == space_id, _items.c.state == "waiting", _items.c.priority == UPLOAD)
        with self._read() as connection:
            found: float | None = connection.scalar(sql.select(sql.func.min(_items.c.queued_s)).where(*waiting))
        return found

    # Jobs --------------------------------------------------------------------------------------------------------

    def start_job(self, space_id: str, engine: str, owner: str) -> str:
        """Write down that a backfill begins; return its id."""
        now = self._clock()
        job_id = f"job_{datetime.fromtimestamp(now, UTC):%Y%m%d_%H%M%S}_{owner[:4]}"
        row: dict[str, Any] = {"job_id": job_id, "space_id": space_id, "engine": engine, "owner": owner}
        row |= {"state": "running"}
        row |= {"started_s": now, "seen_s": now, "wanted": 0, "videos": 0, "failures": 0, "video_s": 0.0}
        with self._write() as connection:
            connection.execute(sql.insert(_jobs).values(**row))
        return job_id

    def tell_job(
        self,
        job_id: str,
        *,
        wanted: int,
        videos: int,
        failures: int,
        video_s: float,
        state: str = "running",
        detail: str = "",
    ) -> None:
        """Say how far a job has come, or how it ended."""
        said: dict[str, Any] = {"wanted": wanted, "videos": videos, "failures": failures, "video_s": video_s}
        said |= {"state": state, "seen_s": self._clock()}
        with self._write() as connection:
            connection.execute(sql.update(_jobs).where(_jobs.c.job_id == job_id).values(detail=detail or None, **said))

    def jobs(self, *, limit: int = 100) -> list[Job]:
        """The newest jobs, newest first; one that says it runs but has died is `lost`."""
        query = sql.select(_jobs).order_by(_jobs.c.started_s.desc(), _jobs.c.job_id).limit(limit)
        with self._read() as connection:
            rows = [dict(row) for row in connection.execute(query).mappings()]
        for row in rows:
            owner = row.pop("owner")
            if row["state"] == "running" and (self._clock() - row["seen_s"] > JOB_SILENT_S or _is_dead(owner)):
                row["state"] = "lost"
        return [Job(**row) for row in rows]

    # Leases of tables --------------------------------------------------------------------------------------------

    def lease(self, name: str, owner: str, *, ttl_s: float = 60.0) -> Lease | None:
        """Take or keep the lease of a table; None while somebody else who is alive holds it."""
        now = self._clock()
        with self._write() as connection:
            held = connection.execute(sql.select(_leases).where(_leases.c.name == name)).mappings().one_or_none()
            if held and held["owner"] != owner and held["until_s"] > now and not _is_dead(held["owner"]):
                return None
            epoch = 1 if held is None else held["epoch"] + (held["owner"] != owner)
            self._upsert(connection, _leases, {"name": name, "owner": owner, "epoch": epoch, "until_s": now + ttl_s})
            return Lease(name=name, owner=owner, epoch=epoch)

    def end_lease(self, lease: Lease) -> None:
        """Give a table's lease back; does nothing where it has passed on already."""
        mine = (_leases.c.name == lease.name, _leases.c.owner == lease.owner, _leases.c.epoch == lease.epoch)
        with self._write() as connection:
            connection.execute(sql.update(_leases).where(*mine).values(until_s=0.0))

    def _check(self, connection: Connection, lease: Lease) -> None:
        query = sql.select(_leases.c.owner, _leases.c.epoch).where(_leases.c.name == lease.name)
        holder = connection.execute(query).one_or_none()
        if holder is None or tuple(holder) != (lease.owner, lease.epoch):
            raise LeaseLost(f"the lease of {lease.name} (epoch {lease.epoch}, {lease.owner}) has passed on")

    # Inside ------------------------------------------------------------------------------------------------------

    @contextmanager
    def _write(self) -> Iterator[Connection]:
        """One writer at a time on both databases: what is read in here still holds when it is written.

        Raises:
            OSError: the disk of the ledger is full, or it stays locked; nothing of the transaction was written.
        """
        locked = "another process has kept the ledger locked for a minute: is it stopped?"
        full = "No space left on device for the ledger; nothing was acknowledged"
        with told_plainly(locked, full), self._engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(sql.select(sql.func.pg_advisory_xact_lock(_WRITER)))
            yield connection

    @contextmanager
    def _read(self) -> Iterator[Connection]:
        with self._engine.connect().execution_options(reads_only=True) as connection:
            yield connection

    def _migrate(self) -> None:
        with self._write() as connection:
            lead_up(connection, _versions, schema.MIGRATIONS, "the ledger")

    def _upsert(self, connection: Connection, table: Table, row: Mapping[str, Any]) -> None:
        dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
        keys = [column.name for column in table.primary_key]
        rest = {name: value for name, value in row.items() if name not in keys}
        connection.execute(dialect.insert(table).values(row).on_conflict_do_update(index_elements=keys, set_=rest))

    def _latest(self, connection: Connection, video_id: str) -> Upload | None:
        query = (
            sql.select(_uploads.c.revision, _uploads.c.body)
            .where(_uploads.c.video_id == video_id)
            .order_by(_uploads.c.revision.desc())
            .limit(1)
        )
        row = connection.execute(query).one_or_none()
        return None if row is None else _upload(row.revision, row.body)

    def _held(self, upload: Upload, space_id: str, owner: str) -> tuple[Any, ...]:
        return (
            _items.c.space_id == space_id,
            _items.c.video_id == upload.video_id,
            _items.c.revision == upload.revision,
            _items.c.state == "leased",
            _items.c.owner == owner,
        )

    def _revise(self, connection: Connection, upload: Upload, latest: Upload | None) -> Upload:
        """Write down the next revision of an upload."""
        if latest is None:
            erased = sql.select(sql.func.max(_erasures.c.revision)).where(_erasures.c.video_id == upload.video_id)
            revision = (connection.scalar(erased) or 0) + 1
        else:
            revision = latest.revision + 1
        upload = replace(upload, revision=revision)
        row = {"video_id": upload.video_id, "revision": revision, "content_sha256": upload.content_sha256}
        connection.execute(sql.insert(_uploads).values(body=_body(upload), registered_s=self._clock(), **row))
        return upload

    def _standing(self, connection: Connection, video_id: str, space_id: str) -> Standing | None:
        query = sql.select(*_STANDING).where(_items.c.space_id == space_id, _items.c.video_id == video_id)
        row = connection.execute(query).mappings().one_or_none()
        return None if row is None else Standing(**row)

    def _queue(
        self, connection: Connection, upload: Upload, space_id: str, priority: int, *, keep_deaths: bool
    ) -> None:
        row = {"video_id": upload.video_id, "space_id": space_id, "revision": upload.revision, "uri": upload.uri}
        row |= {"queued_s": self._clock(), "partial": False, "lost_leases": 0, "priority": priority, **_WAITING}
        if not keep_deaths:
            row["child_deaths"] = 0
        self._upsert(connection, _items, row)

    def _claimed(self, connection: Connection, space_id: str, video_ids: Sequence[str]) -> list[Claimed]:
        query = (
            sql.select(_items.c.child_deaths, _items.c.partial, _items.c.queued_s, _uploads.c.revision, _uploads.c.body)
            .join(
                _uploads,
                sql.and_(_uploads.c.video_id == _items.c.video_id, _uploads.c.revision == _items.c.revision),
            )
            .where(_items.c.space_id == space_id, _items.c.video_id.in_(video_ids))
            .order_by(_items.c.queued_s, _items.c.video_id)
        )
        return [
            Claimed(upload=_upload(revision, body), child_deaths=deaths, partial=partial, queued_s=queued_s)
            for deaths, partial, queued_s, revision, body in connection.execute(query)
        ]


_WRITER = 0x66697273746C6F6F
"""Names the advisory lock of PostgreSQL; SQLite has BEGIN IMMEDIATE. Transactions take milliseconds, a chunk each."""
_WAITING = {"state": "waiting", "owner": None, "leased_until_s": None}
_PENDING = ("waiting", "leased")
_FILE = tuple(_files.c[name] for name in SeenFile.__slots__)
_ITEM = tuple(_items.c[name] for name in Item.__slots__)
_of = _uploads.alias()
_LATEST = (
    sql.select(_uploads.c.video_id, _uploads.c.revision, _uploads.c.body)
    .where(_uploads.c.video_id.in_(sql.bindparam("video_ids", expanding=True)))
    .where(
        _uploads.c.revision
        == sql.select(sql.func.max(_of.c.revision)).where(_of.c.video_id == _uploads.c.video_id).scalar_subquery()
    )
)
"""Made once: every answer of a server asks it."""
_STANDING = (_items.c.video_id, _items.c.state, _items.c.partial, _items.c.revision)


def _record(kind: type[R], row: Any) -> R:
    """A record from a row with its fields in order: SQLAlchemy's rows by name take twice as long, a million times."""
    return kind(**dict(zip(kind.__slots__, row, strict=True)))  # type: ignore[attr-defined]


def _is_pending(space_id: str, down_to: int) -> tuple[Any, ...]:
    return _items.c.space_id == space_id, _items.c.state.in_(_PENDING), _items.c.priority <= down_to


def owner_name() -> str:
    """Name one piece of work so that others on the machine can tell whether its process still lives."""
    pid = os.getpid()
    return f"{uuid.uuid4().hex[:8]}@{socket.gethostname()}:{pid}:{_started(pid)}"


def _is_dead(owner: str) -> bool:
    host, pid, started = owner.split("@")[-1].rsplit(":", 2)
    if host != socket.gethostname():
        return False  # nobody can tell from here: its lease has to run out
    return _started(int(pid)) != started


def _started(pid: int) -> str:
    """When a process was started, in a form that no change of the clock changes; empty: it is no more."""
    try:
        # Ticks since boot (proc(5), field 22), counted from behind the name, which may hold anything.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except FileNotFoundError:
        pass
    try:
        return f"{psutil.Process(pid).create_time():.0f}"
    except psutil.NoSuchProcess:
        return ""


def _body(upload: Upload) -> str:
    """An upload as text, without its revision: equal texts are the same revision."""
    said = asdict(replace(upload, extra=dict(upload.extra)))
    del said["revision"]
    return canonical_json(said)


def _upload(revision: int, body: str) -> Upload:
    said = json.loads(body)
    said["hashtags"] = tuple(said["hashtags"])
    if said["uploaded_at"] is not None:
        said["uploaded_at"] = datetime.fromisoformat(said["uploaded_at"]).astimezone(UTC)
    return Upload(revision=revision, **said)
