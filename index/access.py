"""Keys, and requests that were made before: what the doors have to remember. The ledger keeps both.

A key is `fl_<id>_<secret>`, and the secret is 256 random bits: a plain SHA-256 of it is as good as a slow hash, and
only that is kept. A session is a key too, opened with another, which it does not outlive.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sql

from index import schema
from index.ledger import Ledger

SCOPES = ("search", "uploads", "videos", "events", "feed", "feed:any", "admin")
"""What a key may be for: to ask, to hand in, to change and delete, to write events of any viewer, one viewer's feed
and events, any viewer's feed, and everything."""
OF_A_VIEWER = ("search", "events", "feed")
"""What a key that is bound to one viewer may be for; it is shown to that viewer's telephone."""
REQUEST_KEPT_S = 86_400.0
"""How long a request is remembered by its idempotency key."""
REQUEST_LOST_S = 900.0
"""Whoever was working on a request for so long is dead, and it may be made again."""


_KEY = re.compile(r"fl_[0-9a-f]{12}_[A-Za-z0-9_-]{43}")


class Refused(Exception):
    """This key does not open this door; the message may be told to whoever showed it."""


class AlreadyAsked(Exception):
    """The same idempotency key came with another request."""


class StillAsked(AlreadyAsked):
    """The same request is being worked on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """What is known of a key; the secret is not."""

    key_id: str
    scopes: tuple[str, ...]
    label: str
    parent_id: str | None
    created_s: float
    expires_s: float | None
    revoked_s: float | None
    viewer_id: str | None = None
    """It speaks for this viewer alone; None: for none in particular."""

    def may(self, scope: str) -> bool:
        return scope in self.scopes or "admin" in self.scopes


class Access:
    """The keys of a home.

    Args:
        ledger: where they are kept.
        clock: seconds since 1970.
    """

    def __init__(self, ledger: Ledger, *, clock: Callable[[], float] = time.time) -> None:
        self._ledger, self._clock = ledger, clock

    def create(
        self,
        scopes: Iterable[str],
        *,
        label: str = "",
        ttl_s: float | None = None,
        parent: Key | None = None,
        viewer_id: str | None = None,
    ) -> tuple[Key, str]:
        """Make a key; the secret text is told this once.

        Args:
            viewer_id: bind it to one viewer, as `feed` wants it. A session is bound as its parent is.

        Raises:
            ValueError: no scope, one that there is not, or one that does not go with a viewer or without one.
        """
        viewer_id = viewer_id if parent is None else parent.viewer_id
        given = set(scopes)
        wanted = tuple(scope for scope in SCOPES if scope in given)
        if unknown := sorted(given - set(SCOPES)):
            raise ValueError(f"no scope {', '.join(unknown)}; there are {', '.join(SCOPES)}")
        if not wanted:
            raise ValueError(f"a key wants a scope of {', '.join(SCOPES)}, got none")
        if "feed" in wanted and viewer_id is None:
            raise ValueError("feed is one viewer's, and wants to know whose; feed:any is every viewer's")
        if viewer_id is not None and (beyond := [scope for scope in wanted if scope not in OF_A_VIEWER]):
            raise ValueError(f"a viewer's key is for {', '.join(OF_A_VIEWER)}; got {', '.join(beyond)}")
        if viewer_id == "":
            raise ValueError("a viewer's id is wanted, got an empty one")
        now = self._clock()
        ends = [now + ttl_s] if ttl_s is not None else []
        ends += [parent.expires_s] if parent is not None and parent.expires_s is not None else []
        key = Key(
            key_id=secrets.token_hex(6),
            scopes=wanted,
            label=label,
            parent_id=parent.key_id if parent else None,
            created_s=now,
            expires_s=min(ends, default=None),
            revoked_s=None,
            viewer_id=viewer_id,
        )
        secret = secrets.token_urlsafe(32)
        row: dict[str, Any] = {name: getattr(key, name) for name in Key.__slots__} | {"scopes": " ".join(wanted)}
        with self._ledger._write() as connection:
            connection.execute(sql.insert(schema.keys).values(secret_sha256=_digest(secret), **row))
        return key, f"fl_{key.key_id}_{secret}"

    def check(self, text: str) -> Key:
        """The key that this text is.

        Raises:
            Refused: it is none, was revoked, or has expired.
        """
        if _KEY.fullmatch(text) is None:  # nothing else reaches the database, which may not take it at all
            raise Refused("no such key")
        _, key_id, secret = text.split("_", 2)
        columns = schema.keys.c
        parent = schema.keys.alias()
        query = (
            sql.select(schema.keys, parent.c.revoked_s.label("parent_revoked_s"))
            .outerjoin(parent, parent.c.key_id == columns.parent_id)
            .where(columns.key_id == key_id)
        )
        with self._ledger._read() as connection:
            row = connection.execute(query).mappings().one_or_none()
        kept = row["secret_sha256"] if row is not None else _digest("")  # as long for an id that there is not
        if not hmac.compare_digest(kept, _digest(secret)) or row is None:
            raise Refused("no such key")
        if row["revoked_s"] is not None or row["parent_revoked_s"] is not None:
            raise Refused("this key was revoked")
        if row["expires_s"] is not None and row["expires_s"] <= self._clock():
            raise Refused("this key has expired")
        return _key(row)

    def listed(self) -> Sequence[Key]:
        """All keys but sessions, by age."""
        query = sql.select(schema.keys).where(schema.keys.c.parent_id.is_(None)).order_by(schema.keys.c.created_s)
        with self._ledger._read() as connection:
            return [_key(row) for row in connection.execute(query).mappings()]

    def revoke(self, key_id: str) -> bool:
        """End a key and the sessions that were opened with it; whether there was one."""
        these = (schema.keys.c.key_id == key_id, schema.keys.c.revoked_s.is_(None))
        with self._ledger._write() as connection:
            ended = connection.execute(sql.update(schema.keys).where(*these).values(revoked_s=self._clock()))
        return bool(ended.rowcount)

    def begin(self, key: Key, idempotency_key: str, said: str) -> str | None:
        """Remember that a request is being worked on.

        Args:
            said: what tells this request from another under the same idempotency key.

        Returns:
            The id of the video, where the same request was answered before; None: it is to be worked on.

        Raises:
            AlreadyAsked: the idempotency key came with another request.
            StillAsked: the first is being worked on.
        """
        table, now = schema.requests, self._clock()
        this = (table.c.key_id == key.key_id, table.c.idempotency_key == idempotency_key)
        with self._ledger._write() as connection:
            old = sql.or_(
                table.c.at_s < now - REQUEST_KEPT_S,
                sql.and_(table.c.video_id.is_(None), table.c.at_s < now - REQUEST_LOST_S),
            )
            connection.execute(sql.delete(table).where(old))
            row = connection.execute(sql.select(table).where(*this)).mappings().one_or_none()
            if row is None:
                new = {"key_id": key.key_id, "idempotency_key": idempotency_key, "said_sha256": _digest(said)}
                connection.execute(sql.insert(table).values(**new, at_s=now))
                return None
        if row["said_sha256"] != _digest(said):
            raise AlreadyAsked("this Idempotency-Key came with another request before")
        if row["video_id"] is None:
            raise StillAsked("the first request with this Idempotency-Key is still being worked on")
        return str(row["video_id"])

    def finish(self, key: Key, idempotency_key: str, video_id: str | None) -> None:
        """The request that `begin` remembered has become this video; None: it failed, and may be made again."""
        table = schema.requests
        this = (table.c.key_id == key.key_id, table.c.idempotency_key == idempotency_key)
        with self._ledger._write() as connection:
            if video_id is None:
                connection.execute(sql.delete(table).where(*this))
            else:
                connection.execute(sql.update(table).where(*this).values(video_id=video_id))


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _key(row: Any) -> Key:
    said = {name: row[name] for name in Key.__slots__}
    return Key(**said | {"scopes": tuple(row["scopes"].split())})
