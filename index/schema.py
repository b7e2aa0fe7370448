"""The tables of the ledger, and how an older ledger is led up to them. Only ever upwards."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import sqlalchemy as sql
from sqlalchemy import BigInteger, Boolean, Column, Float, Integer, MetaData, String, Table, Text
from sqlalchemy.engine import Connection

VERSION = 4

metadata = MetaData()
versions = Table("schema_version", metadata, Column("version", Integer, primary_key=True))
spaces = Table(
    "spaces",
    metadata,
    Column("space_id", String, primary_key=True),
    Column("name", String, nullable=False),
    Column("body", Text, nullable=False),
    Column("live", Boolean, nullable=False),
    Column("created_s", Float, nullable=False),
)
uploads = Table(
    "uploads",
    metadata,
    Column("video_id", String, primary_key=True),
    Column("revision", Integer, primary_key=True),
    Column("content_sha256", String, nullable=False, index=True),
    Column("body", Text, nullable=False),
    Column("registered_s", Float, nullable=False),
)
items = Table(
    "items",
    metadata,
    Column("video_id", String, primary_key=True),
    Column("space_id", String, primary_key=True),
    Column("revision", Integer, nullable=False),  # 0: it failed before there was an upload to speak of
    Column("uri", Text, nullable=False),
    Column("state", String, nullable=False),
    Column("queued_s", Float, nullable=False),
    Column("partial", Boolean, nullable=False, default=False),
    Column("attempts", Integer, nullable=False, default=0),
    Column("child_deaths", Integer, nullable=False, default=0),
    Column("lost_leases", Integer, nullable=False, default=0),
    Column("owner", String),
    Column("leased_until_s", Float),
    Column("step", String),
    Column("reason", String),
    Column("detail", Text),
    Column("priority", Integer, nullable=False, default=0, server_default="0"),
    sql.Index("items_by_revision", "space_id", "revision"),
)
LINE = ("space_id", "state", "priority", "lost_leases", "queued_s", "video_id")
items_in_line = sql.Index("items_in_line", *(items.c[name] for name in LINE))
"""In the order in which they are claimed: finding the next of a million must not sort a million."""
files = Table(
    "files",
    metadata,
    Column("path", Text, primary_key=True),
    Column("given_id", String, primary_key=True),  # "" where the caller gave none
    Column("video_id", String, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("mtime_ns", BigInteger, nullable=False),
    Column("content_sha256", String, nullable=False),
    Column("said_sha256", String, nullable=False),
    Column("extra", Boolean, nullable=False),
)
leases = Table(
    "leases",
    metadata,
    Column("name", String, primary_key=True),
    Column("owner", String, nullable=False),
    Column("epoch", Integer, nullable=False),
    Column("until_s", Float, nullable=False),
)
jobs = Table(
    "jobs",
    metadata,
    Column("job_id", String, primary_key=True),
    Column("space_id", String, nullable=False),
    Column("engine", String, nullable=False),
    Column("owner", String, nullable=False),
    Column("state", String, nullable=False),
    Column("started_s", Float, nullable=False),
    Column("seen_s", Float, nullable=False),
    Column("wanted", Integer, nullable=False),
    Column("videos", Integer, nullable=False, default=0),
    Column("failures", Integer, nullable=False, default=0),
    Column("video_s", Float, nullable=False, default=0.0),
    Column("detail", Text),
)

keys = Table(
    "keys",
    metadata,
    Column("key_id", String, primary_key=True),
    Column("secret_sha256", String, nullable=False),
    Column("scopes", Text, nullable=False),  # in order, a blank between
    Column("label", Text, nullable=False),
    Column("parent_id", String),  # a session's: the key that it was opened with
    Column("created_s", Float, nullable=False),
    Column("expires_s", Float),
    Column("revoked_s", Float),
    Column("viewer_id", Text),  # None: it speaks for no viewer in particular
)
requests = Table(
    "requests",
    metadata,
    Column("key_id", String, primary_key=True),
    Column("idempotency_key", String, primary_key=True),
    Column("said_sha256", String, nullable=False),
    Column("video_id", String),  # None: the first one is still being worked on
    Column("at_s", Float, nullable=False),
)
erasures = Table(
    "erasures",
    metadata,
    Column("video_id", String, primary_key=True),
    Column("revision", Integer, primary_key=True),  # the last one that is erased
    Column("content_sha256", String, primary_key=True),
    Column("asked_s", Float, nullable=False),
    Column("done_s", Float),
)


def _create_all(connection: Connection) -> None:
    """Make what is missing, as it is today: a new ledger, whole."""
    metadata.create_all(connection)


def _add_priorities_and_jobs(connection: Connection) -> None:
    columns = {column["name"] for column in sql.inspect(connection).get_columns("items")}
    if "priority" not in columns:  # a new ledger has it already
        connection.exec_driver_sql("ALTER TABLE items ADD COLUMN priority INTEGER NOT NULL DEFAULT 0")
        connection.exec_driver_sql("DROP INDEX items_by_state")
        items_in_line.create(connection)
    jobs.create(connection, checkfirst=True)


def _add_doors(connection: Connection) -> None:
    for table in (keys, requests, erasures):
        table.create(connection, checkfirst=True)


def _add_viewers_keys(connection: Connection) -> None:
    columns = {column["name"] for column in sql.inspect(connection).get_columns("keys")}
    if "viewer_id" not in columns:  # a new ledger has it already
        connection.exec_driver_sql("ALTER TABLE keys ADD COLUMN viewer_id TEXT")


MIGRATIONS: Mapping[int, Callable[[Connection], None]] = {
    1: _create_all,
    2: _add_priorities_and_jobs,
    3: _add_doors,
    4: _add_viewers_keys,
}
"""Version -> what leads to it from the one before. A ledger is only ever led upwards."""
