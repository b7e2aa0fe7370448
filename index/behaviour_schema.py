"""The tables of the behaviour log, and how an older log is led up to them. Only ever upwards.

Every name begins with `behaviour_`: on PostgreSQL the log may share a database with the ledger.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import sqlalchemy as sql
from sqlalchemy import BigInteger, Column, Float, Integer, LargeBinary, MetaData, SmallInteger, String, Table, Text
from sqlalchemy.engine import Connection

metadata = MetaData()
versions = Table("behaviour_version", metadata, Column("version", Integer, primary_key=True))
head = Table(
    "behaviour_head",
    metadata,
    Column("one", Integer, primary_key=True, autoincrement=False),  # always 1: there is one row
    Column("seq", BigInteger, nullable=False),  # the last place that was given; erased ones are not given again
)
log = Table(
    "behaviour_log",
    metadata,
    Column("seq", Integer().with_variant(BigInteger, "postgresql"), primary_key=True, autoincrement=False),
    Column("viewer_id", Text, nullable=False),
    Column("kind", SmallInteger, nullable=False),  # behaviour.EVENT or IMPRESSION
    Column("record_id", Text, nullable=False),
    Column("body", Text, nullable=False),  # the other fields in order, as a JSON list, defaults at its end left out
    sql.Index("behaviour_by_id", "record_id", "kind", unique=True),
    sql.Index("behaviour_by_viewer", "viewer_id", "seq"),
)
states = Table(
    "behaviour_states",
    metadata,
    Column("viewer_id", Text, primary_key=True),
    Column("seq", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
)
aside = Table(
    "behaviour_aside",
    metadata,
    Column("sha256", String, primary_key=True),  # of what came and the reason: the same line again is the same row
    Column("viewer_id", Text),  # None: it names none that could be read
    Column("reason", String, nullable=False, index=True),
    Column("detail", Text, nullable=False),
    Column("raw", Text, nullable=False),
    Column("at_s", Float, nullable=False, index=True),
    sql.Index("behaviour_aside_by_viewer", "viewer_id"),
)
erasures = Table(
    "behaviour_erasures",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("viewer_sha256", String, nullable=False, index=True),
)
imports = Table(
    "behaviour_imports",
    metadata,
    Column("source", String, primary_key=True),  # a digest that names a file as it was
    Column("lines", BigInteger, nullable=False),  # of it that are in the log
    Column("at_s", Float, nullable=False),
)


def _create_all(connection: Connection) -> None:
    """Make what is missing, as it is today: a new log, whole."""
    metadata.create_all(connection)
    connection.execute(sql.insert(head).values(one=1, seq=0))


MIGRATIONS: Mapping[int, Callable[[Connection], None]] = {1: _create_all}
"""Version -> what leads to it from the one before. A log is only ever led upwards."""
