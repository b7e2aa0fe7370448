"""What an examination knows so far, and its tools; the checks are in doctor.py, doctor_table.py and doctor_blobs.py."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import groupby, islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from index import audit
from index.blobs import Stored, analysis_key, original_key
from index.home import Home
from index.ledger import Lease, LeaseLost, owner_name
from index.records import Analysis, Space, Upload
from index.survey import Keys, Outline, Surveyor
from index.table import VideoTable
from ingest.commit import leased
from ingest.fuse import TextEncoder
from ingest.uris import local_path

Numbers = NDArray[np.uint64]

EXAMPLES = 20
"""So many ids are named a finding; all of them are counted."""
BATCH = 500
LEASE_S = 900.0
"""The table's lease is renewed before each step of a repair; the longest, building an index, takes minutes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One kind of thing that is not as it should be, and everything that it concerns."""

    kind: str
    """A short countable slug."""
    count: int
    concerns: tuple[str, ...]
    """Ids, digests or file names; the first `EXAMPLES` of them."""
    sentence: str
    """What it means, for a person."""
    harmful: bool = True
    """Something is wrong or missing; False: it only takes up room or time."""
    bytes: int = 0
    """What it takes up, where that is the point."""
    done: str = ""
    """What `fix` did about it; empty: nothing."""
    repaired: bool = False
    """It is as it should be again, or will be by itself (an upload is queued)."""


class LedgerContradicts(Exception):
    """What the ledger says cannot be; `said` has a line for each such thing."""

    def __init__(self, said: Sequence[str]) -> None:
        super().__init__("; ".join(said))
        self.said = list(said)


@dataclass(slots=True, kw_only=True)
class Case:
    """What is known so far, and the tools."""

    home: Home
    space: Space
    text: Callable[[], TextEncoder]
    deep: bool
    fix: bool
    seed: int
    clock: Callable[[], float]
    began_s: float
    findings: list[Finding] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    outline: Outline | None = None
    """None: the table does not open."""
    rows: Rows | None = None
    arriving: list[Stored] = field(default_factory=list)
    """Blobs that have not taken their place, met while the others were listed."""
    damaged: set[str] = field(default_factory=set)
    """Contents whose originals are not what they were: nothing may be made from them."""
    owner: str = field(default_factory=owner_name)
    lease: Lease | None = None
    _surveyor: Surveyor | None = None
    _encoder: TextEncoder | None = None

    @property
    def surveyor(self) -> Surveyor:
        if self._surveyor is None:
            self._surveyor = Surveyor(self.home.tables_url, self.space)
        return self._surveyor

    @property
    def encoder(self) -> TextEncoder:
        if self._encoder is None:
            self._encoder = self.text()
        return self._encoder

    def close(self) -> None:
        if self._surveyor is not None:
            self._surveyor.close()

    def found(self, kind: str, concerns: Sequence[str], sentence: str, **more: Any) -> Finding:
        return Finding(kind=kind, count=len(concerns), concerns=tuple(concerns[:EXAMPLES]), sentence=sentence, **more)

    @contextmanager
    def leased(self) -> Iterator[None]:
        """Nobody else writes the table while this lasts."""
        with leased(self.home.ledger, self.space.id, self.owner, ttl_s=LEASE_S) as self.lease:
            yield

    def writing(self) -> VideoTable:
        """The table, to write to; the lease is renewed."""
        assert self.lease is not None
        kept = self.home.ledger.lease(self.space.id, self.owner, ttl_s=LEASE_S)
        if kept is None or kept.epoch != self.lease.epoch:
            raise LeaseLost(f"the lease of {self.space.id} has passed on while the table was being mended")
        return VideoTable.open(self.home.tables_url, self.space)

    @property
    def today(self) -> str:
        """Names the folders of what is taken out of the way. Nothing in them is ever read again by us."""
        return datetime.fromtimestamp(self.began_s, UTC).strftime("%Y-%m-%dT%H%M%SZ")

    def quarantine(self) -> Path:
        """Where files of the table go."""
        return self.home.folder / "quarantine" / self.today

    def analysis(self, content_sha256: str, space_id: str | None = None) -> Analysis | str:
        """What was analysed of a content, or why it cannot be used: `gone` or `torn`."""
        wanted = (content_sha256, space_id or self.space.id)
        try:
            analysis = Analysis.from_bytes(self.home.blobs.get(analysis_key(*wanted)))
        except FileNotFoundError:
            return "gone"
        except ValueError:
            return "torn"
        return analysis if (analysis.content_sha256, analysis.space) == wanted else "torn"

    def can_decode(self, upload: Upload) -> bool:
        """Whether the bytes of an upload are here, or where they were taken in place, and are what they were."""
        if upload.content_sha256 in self.damaged:
            return False
        try:
            return self.home.blobs.sha256(original_key(upload.content_sha256)) == upload.content_sha256
        except FileNotFoundError:
            pass
        try:
            with local_path(upload.uri).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == upload.content_sha256
        except (OSError, ValueError):
            return False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rows:
    """All rows as far as they are compared, by ascending id: some 60 bytes each, and their ids."""

    video_ids: Any  # pa.Array, (n,)
    revisions: NDArray[np.int64]  # (n,)
    row_ids: Numbers  # (n,)
    contents: Numbers  # (n,)
    thumbnails: Numbers  # (n,)
    uploads: Numbers  # (n,) 0: not known

    @classmethod
    def of(cls, pieces: Sequence[Keys]) -> Rows:
        ids = pa.concat_arrays([piece.video_ids for piece in pieces] or [pa.array([], pa.string())])
        order = pc.sort_indices(ids).to_numpy()
        names = ("row_ids", "contents", "thumbnails", "uploads")
        empty = np.empty(0, np.uint64)
        columns = {name: np.concatenate([empty, *(getattr(p, name) for p in pieces)])[order] for name in names}
        revisions = np.concatenate([np.empty(0, np.int64), *(piece.revisions for piece in pieces)])[order]
        return cls(video_ids=ids.take(pa.array(order)), revisions=revisions, **columns)

    def __len__(self) -> int:
        return len(self.row_ids)

    def grouped(self) -> Iterator[tuple[str, list[int]]]:
        """Each id with the places of its rows, ascending."""
        numbered = (
            (video_id, place)
            for start in range(0, len(self), 10_000)
            for place, video_id in enumerate(self.video_ids[start : start + 10_000].to_pylist(), start)
        )
        for video_id, group in groupby(numbered, key=lambda pair: pair[0]):
            yield video_id, [place for _, place in group]


def readable_uploads(case: Case, video_ids: Sequence[str]) -> dict[str, Upload]:
    try:
        return audit.uploads_as_they_stand(case.home.ledger, case.space.id, video_ids)
    except (KeyError, TypeError, ValueError):
        if len(video_ids) == 1:
            return {}
        half = len(video_ids) // 2
        return readable_uploads(case, video_ids[:half]) | readable_uploads(case, video_ids[half:])


def batches(items: Any, size: int) -> Iterator[list[Any]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
