"""What an examination asks the ledger: questions over all items, answered in parts, so that a million of them fit.

Nothing here writes. Streams come in ascending order and in pages of their own transaction each: no reader holds up
the write-ahead log for minutes, and an item that changes meanwhile is seen either as it was or as it is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sql

from index.database import in_parts
from index.ledger import (
    _STANDING,
    Ledger,
    Standing,
    _body,
    _is_dead,
    _items,
    _leases,
    _spaces,
    _upload,
    _uploads,
)
from index.records import Upload

PAGE = 5_000
DAMAGED = (sql.exc.DatabaseError,)
"""What any question may raise where the database does not read."""
STATES = ("waiting", "leased", "video", "failure")


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """Who holds items or tables, and whether anybody can still expect something of them."""

    owner: str
    items: int
    """Uploads of any space that are leased to it."""
    tables: tuple[str, ...]
    until_s: float
    """When the last of it runs out, seconds since 1970."""
    gone: bool
    """It is dead, or all that it held has run out."""


def integrity(ledger: Ledger) -> list[str]:
    """What SQLite says of its own file, a line a problem; empty when it is whole. PostgreSQL looks after itself."""
    if ledger._engine.dialect.name != "sqlite":
        return []
    with ledger._read() as connection:
        said = [str(line) for line in connection.exec_driver_sql("PRAGMA integrity_check").scalars()]
    return [] if said == ["ok"] else said


def disagreements(ledger: Ledger, space_id: str) -> list[str]:
    """What cannot be in a ledger that is whole: unknown states, items without their upload, uploads without any item,
    a space whose id is not the hash of its body. A line each, at most some of a kind."""
    no_upload = (
        sql.select(_items.c.video_id)
        .outerjoin(
            _uploads, sql.and_(_uploads.c.video_id == _items.c.video_id, _uploads.c.revision == _items.c.revision)
        )
        .where(_items.c.revision != 0, _uploads.c.video_id.is_(None))
        .limit(20)
    )
    no_item = (
        sql.select(_uploads.c.video_id)
        .outerjoin(_items, _items.c.video_id == _uploads.c.video_id)
        .where(_items.c.video_id.is_(None))
        .limit(20)
    )
    odd_state = sql.select(_items.c.video_id, _items.c.state).where(_items.c.state.not_in(STATES)).limit(20)
    strangers = sql.select(_items.c.space_id).where(_items.c.space_id.not_in(sql.select(_spaces.c.space_id))).distinct()
    with ledger._read() as connection:
        said = [f"{video_id} is an item without an upload" for video_id in connection.scalars(no_upload)]
        said += [f"{video_id} is an upload without an item" for video_id in connection.scalars(no_item)]
        said += [f"{video_id} is {state!r}" for video_id, state in connection.execute(odd_state)]
        said += [f"items of a space {name!r} that is not written down" for name in connection.scalars(strangers)]
        written = set(connection.scalars(sql.select(_spaces.c.space_id)))
    try:
        read = {space.id for space in ledger.spaces()}
    except (ValueError, TypeError, UnicodeDecodeError) as error:
        return [*said, f"a space does not read: {error}"]
    said += [f"the space {name} reads as another" for name in sorted(written - read)]
    if space_id not in written:
        said.append(f"it does not know the space {space_id}")
    return said


def standings(ledger: Ledger, space_id: str) -> Iterator[Standing]:
    """Where every item of a space stands, by ascending id (by its bytes, as in the table)."""
    key = _items.c.video_id
    ordered = key.collate("C") if ledger._engine.dialect.name == "postgresql" else key
    last = ""
    while True:
        query = sql.select(*_STANDING).where(_items.c.space_id == space_id, ordered > last).order_by(ordered)
        with ledger._read() as connection:
            page = [Standing(**row) for row in connection.execute(query.limit(PAGE)).mappings()]
        yield from page
        if len(page) < PAGE:
            return
        last = page[-1].video_id


def uploads_as_they_stand(ledger: Ledger, space_id: str, video_ids: Sequence[str]) -> dict[str, Upload]:
    """The revision that the space's item is at, of each of these that has one; the newest may wait elsewhere.

    Raises:
        ValueError, KeyError, TypeError: what is written down does not read as an upload.
    """
    found: dict[str, Upload] = {}
    with ledger._read() as connection:
        for some in in_parts(video_ids, 500):
            query = (
                sql.select(_uploads.c.revision, _uploads.c.body)
                .join(
                    _items,
                    sql.and_(_uploads.c.video_id == _items.c.video_id, _uploads.c.revision == _items.c.revision),
                )
                .where(_items.c.space_id == space_id, _items.c.video_id.in_(some))
            )
            for revision, body in connection.execute(query):
                upload = _upload(revision, body)
                found[upload.video_id] = upload
    return found


def contents(ledger: Ledger) -> Iterator[str]:
    """The SHA-256 of every content that any revision of any upload has, ascending, each once."""
    column = _uploads.c.content_sha256
    last = ""
    while True:
        query = sql.select(column).where(column > last).distinct().order_by(column).limit(PAGE)
        with ledger._read() as connection:
            page = list(connection.scalars(query))
        yield from page
        if len(page) < PAGE:
            return
        last = page[-1]


def videos_of(ledger: Ledger, space_id: str, content_sha256s: Sequence[str]) -> dict[str, list[Standing]]:
    """Content -> the items of a space that stand at it."""
    found: dict[str, list[Standing]] = {}
    with ledger._read() as connection:
        for some in in_parts(content_sha256s, 500):
            query = (
                sql.select(_uploads.c.content_sha256, *_STANDING)
                .join(
                    _items,
                    sql.and_(_uploads.c.video_id == _items.c.video_id, _uploads.c.revision == _items.c.revision),
                )
                .where(_items.c.space_id == space_id, _uploads.c.content_sha256.in_(some))
                .order_by(_items.c.video_id)
            )
            for row in connection.execute(query).mappings():
                standing = Standing(**{name: row[name] for name in ("video_id", "state", "partial", "revision")})
                found.setdefault(row["content_sha256"], []).append(standing)
    return found


def known_uploads(ledger: Ledger, video_ids: Sequence[str]) -> set[str]:
    """Those of the ids that any upload has."""
    found: set[str] = set()
    with ledger._read() as connection:
        for some in in_parts(video_ids, 500):
            found |= set(connection.scalars(sql.select(_uploads.c.video_id).where(_uploads.c.video_id.in_(some))))
    return found


def holders(ledger: Ledger) -> list[Holder]:
    """Everybody who holds something, in any space."""
    items = (
        sql.select(_items.c.owner, sql.func.count().label("n"), sql.func.max(_items.c.leased_until_s).label("until_s"))
        .where(_items.c.state == "leased")
        .group_by(_items.c.owner)
    )
    now = ledger._clock()
    held: dict[str, dict[str, Any]] = {}
    with ledger._read() as connection:
        for owner, count, until_s in connection.execute(items):
            held[owner or ""] = {"items": count, "tables": (), "until_s": until_s or 0.0}
        for row in connection.execute(sql.select(_leases).where(_leases.c.until_s > 0)).mappings():
            one = held.setdefault(row["owner"], {"items": 0, "tables": (), "until_s": 0.0})
            one["tables"] += (row["name"],)
            one["until_s"] = max(one["until_s"], row["until_s"])
    return [
        Holder(owner=owner, gone=one["until_s"] < now or _dead(owner), **one) for owner, one in sorted(held.items())
    ]


def upload_digest(upload: Upload) -> int:
    """A number that two equal uploads share and two different ones do not, near enough (64 bits)."""
    return int.from_bytes(hashlib.sha256(f"{upload.revision}\n{_body(upload)}".encode()).digest()[:8], "little")


def _dead(owner: str) -> bool:
    try:
        return _is_dead(owner)
    except ValueError:  # a name that nobody gave itself
        return True
