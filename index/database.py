"""How the ledger and the behaviour log use SQL: one way of opening, of taking turns, of being led up, of failing."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sql
from sqlalchemy import Table
from sqlalchemy.engine import Connection, Engine


def opened(url: str) -> Engine:
    """An engine for a database: SQLite with WAL, `synchronous=FULL` and `BEGIN IMMEDIATE`, or PostgreSQL by URL."""
    engine = sql.create_engine(url)
    if engine.dialect.name == "sqlite":

        @sql.event.listens_for(engine, "connect")
        def _settle(connection: Any, _record: Any) -> None:
            connection.isolation_level = None  # we say BEGIN ourselves, below
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA busy_timeout = 60000")

        @sql.event.listens_for(engine, "begin")
        def _begin(connection: Connection) -> None:
            reads_only = connection.get_execution_options().get("reads_only", False)
            connection.exec_driver_sql("BEGIN" if reads_only else "BEGIN IMMEDIATE")

    return engine


@contextmanager
def told_plainly(locked: str, full: str) -> Iterator[None]:
    """Let a full disk and a lock that is not given up be told as what they are.

    Raises:
        OSError: the disk is full (the text is `full`), or the database stays locked (`locked`).
    """
    try:
        yield
    except sql.exc.DBAPIError as error:
        if "database is locked" in str(error.orig):
            raise TimeoutError(locked) from error
        if not any(said in str(error.orig) for said in ("disk is full", "No space left", "disk full")):
            raise
        raise OSError(errno.ENOSPC, full) from error


@contextmanager
def undamaged(engine: Engine, as_what: type[Exception]) -> Iterator[None]:
    """Raise `as_what` where the file is not a whole database any more."""
    try:
        yield
    except sql.exc.DatabaseError as error:
        if not any(said in str(error.orig) for said in ("not a database", "malformed")):
            raise
        place = engine.url.database
        raise as_what(f"{place}: {error.orig}; it is the truth, so put back a copy of it") from error


def lead_up(
    connection: Connection, versions: Table, migrations: Mapping[int, Callable[[Connection], None]], name: str
) -> None:
    """Lead the tables up to the newest version. Only ever upwards.

    Raises:
        ValueError: they were written by a newer version of firstlook.
    """
    newest = max(migrations)
    versions.create(connection, checkfirst=True)
    found = connection.scalar(sql.select(sql.func.max(versions.c.version))) or 0
    if found > newest:
        raise ValueError(f"{name} has schema {found}, of a newer firstlook; this one knows up to {newest}")
    for version in range(found + 1, newest + 1):
        migrations[version](connection)
        connection.execute(sql.insert(versions).values(version=version))


def in_parts(values: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    """A query takes only so many parameters."""
    for start in range(0, len(values), size):
        yield values[start : start + size]
