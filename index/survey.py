"""What is in a table, read by a child process: some torn files do not raise an error but kill whoever reads them.

A flipped length in a file makes Lance ask for 601 GB, and a failed allocation ends the process (measured: 1 of 133
flips in a deletion file; 9 more panicked a thread). So nothing that may be damaged is read where it would hurt: the
child reads, and what it dies of is a finding.
"""

from __future__ import annotations

import multiprocessing
import resource
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import psutil
from numpy.typing import NDArray

from index.audit import upload_digest
from index.records import Space
from index.search import Probe, probe
from index.table import Fault, Fragment, Snapshot, TableUnreadable, Upkeep, VideoTable, check_version, words_by_stem

T = TypeVar("T")

PATIENCE_S = 1_800.0
"""No file of rows takes a tenth of it; a reader that hangs is as dead as one that fell."""
MEMORY_BYTES = 8 << 30
"""What a child may ask for beyond what it starts with: a torn length must not drive the machine out of memory."""
WORDS_CHECKED = 20_000
"""Of a larger vocabulary a random part of at least half as many words is checked."""
NUMBER_HEX = 16
"""Digits of a SHA-256 that stand for it where millions are compared: 64 bits."""


class Torn(Exception):
    """What was asked for does not read, or the reader died of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """What the newest commit says of itself."""

    version: int
    rows: int
    fragment_ids: tuple[int, ...]
    unindexed_rows: int
    has_vector_index: bool
    upkeep_is_due: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Keys:
    """One file of rows as far as it is compared with the ledger; some 100 bytes a row."""

    video_ids: Any  # pa.Array of (n,) strings
    revisions: NDArray[np.int64]  # (n,)
    row_ids: NDArray[np.uint64]  # (n,)
    contents: NDArray[np.uint64]  # (n,) `number_of` the content
    thumbnails: NDArray[np.uint64]  # (n,) likewise, 0: none
    uploads: NDArray[np.uint64]  # (n,) `audit.upload_digest`, or empty where it was not asked for


@dataclass(frozen=True, slots=True, kw_only=True)
class WordProbe:
    """How the index of words answers beside a reading of the rows."""

    asked: int
    wrong: tuple[str, ...]
    """Words that it finds in other rows than those that have them."""


def number_of(sha256: str | None) -> int:
    """The first 64 bits of a digest; 0 for none, and for what is no digest."""
    try:
        return int((sha256 or "")[:NUMBER_HEX] or "0", 16)
    except ValueError:
        return 0


class Surveyor:
    """Asks a child process about one table, and starts another when it died."""

    def __init__(self, tables_url: str | Path, space: Space) -> None:
        self._tables_url, self._space = str(tables_url), space
        self._process: Any = None
        self._pipe: Any = None
        self._version: int | None = None

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.join()
            self._pipe.close()
            self._process = None

    def outline(self) -> Outline:
        """Open the newest commit; everything else is asked about this one.

        Raises:
            TableMissing, TableUnreadable: likewise when the child dies of it.
        """
        self._version = None
        try:
            outline: Outline = self._ask("outline")
        except Torn as error:
            raise TableUnreadable(f"its newest version does not read: {error}") from error
        self._version = outline.version
        return outline

    def opens(self, version: int, *, as_table: bool) -> bool:
        """Whether an older commit can still be read, or (`as_table`) be the table of this space."""
        try:
            return bool(self._ask("opens", version, as_table))
        except Torn:
            return False

    def keys(self, fragment_id: int, *, deep: bool) -> tuple[Keys, list[Fault]]:
        """One file of rows; with `deep` every row of it is read back, and compared with its digest.

        Raises:
            Torn: it does not read.
        """
        read: tuple[Keys, list[Fault]] = self._ask("keys", fragment_id, deep)
        return read

    def revisions(self, video_ids: Sequence[str]) -> dict[str, list[int]]:
        """Of each of these that has rows in the newest commit now: the revision of each row."""
        found: dict[str, list[int]] = self._ask("revisions", list(video_ids))
        return found

    def words(self, rows: int | None, seed: int) -> WordProbe:
        """Look words up; of some rows, or (None) all words of all rows, both ways."""
        found: WordProbe = self._ask("words", rows, seed)
        return found

    def vectors(self, rows: int, seed: int) -> Probe:
        """Look rows up by their vectors in the vector index."""
        found: Probe = self._ask("vectors", rows, seed)
        return found

    def _ask(self, name: str, *args: Any) -> Any:
        if self._process is None:
            context = multiprocessing.get_context("spawn")
            self._pipe, theirs = context.Pipe()
            self._process = context.Process(target=_serve, args=(theirs, self._tables_url, self._space), daemon=True)
            self._process.start()
            theirs.close()
            if self._version is not None:
                self._answer("at", (self._version,))
        return self._answer(name, args)

    def _answer(self, name: str, args: tuple[Any, ...]) -> Any:
        try:
            self._pipe.send((name, args))
            if not self._pipe.poll(PATIENCE_S):
                self.close()
                raise Torn(f"its reader hung for {PATIENCE_S:.0f} s")
            answer, error = self._pipe.recv()
        except (EOFError, ConnectionError) as broken:
            self._process.join()
            code = self._process.exitcode
            self.close()
            if code == 1:  # an exception that we did not foresee: ours, with its traceback on stderr
                raise RuntimeError(f"reading the table of {self._space.id} failed, see above") from broken
            raise Torn(f"its reader died ({'signal' if code < 0 else 'exit code'} {abs(code)})") from broken
        if error is not None:
            raise error
        return answer


def _serve(pipe: Any, tables_url: str, space: Space) -> None:
    baseline = psutil.Process().memory_info().vms
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_AS, (baseline + MEMORY_BYTES, baseline + MEMORY_BYTES))
    reader = _Reader(tables_url, space)
    while True:
        try:
            name, args = pipe.recv()
        except EOFError:
            return
        try:
            pipe.send((getattr(reader, name)(*args), None))
        except TableUnreadable as error:
            pipe.send((None, type(error)(str(error))))
        except (OSError, ValueError, KeyError, TypeError, OverflowError, MemoryError, RuntimeError) as error:
            pipe.send((None, Torn(_line(error))))
        except BaseException as error:
            if (
                type(error).__name__ != "PanicException"
            ):  # what pyo3 makes of a panic in Rust; it has no importable name
                raise
            pipe.send((None, Torn(_line(error))))


class _Reader:
    """What the child does; a method a question."""

    def __init__(self, tables_url: str, space: Space) -> None:
        self._tables_url, self._space = tables_url, space
        self._snapshot: Snapshot | None = None
        self._fragments: dict[int, Fragment] = {}

    def outline(self) -> Outline:
        table = VideoTable.open(self._tables_url, self._space, create=False)
        return self._look(table, table.snapshot())

    def at(self, version: int) -> None:
        """Go on where a child that died was."""
        table = VideoTable.open(self._tables_url, self._space, create=False)
        self._look(table, table.at(version))

    def _look(self, table: VideoTable, snapshot: Snapshot) -> Outline:
        self._snapshot = snapshot
        self._fragments = {int(f.source.fragment_id): f for f in snapshot.fragments()}
        return Outline(
            version=snapshot.version,
            rows=snapshot.count(),
            fragment_ids=tuple(self._fragments),
            unindexed_rows=snapshot.unindexed_rows(),
            has_vector_index=snapshot.has_vector_index,
            upkeep_is_due=table.upkeep_is_due(Upkeep()),
        )

    def opens(self, version: int, as_table: bool) -> bool:
        try:
            if as_table:
                VideoTable.open(self._tables_url, self._space, create=False, version=version)
            else:
                check_version(self._tables_url, self._space, version)
        except TableUnreadable:
            return False
        return True

    def keys(self, fragment_id: int, deep: bool) -> tuple[Keys, list[Fault]]:
        fragment = self._fragments[fragment_id]
        uploads: dict[int, int] = {}
        faults = []
        if deep:
            faults = self._now.faults(
                fragment, lambda row_id, video: uploads.update({row_id: upload_digest(video.upload)})
            )
        names = ["video_id", "revision", "content_sha256", "thumbnail_sha256"]
        table = fragment.source.scanner(columns=names, with_row_id=True).to_table()
        table.validate(full=True)
        if len(table) != fragment.source.count_rows():
            raise ValueError(f"{fragment.source.count_rows()} rows are promised, {len(table)} are there")
        row_ids = table.column("_rowid").to_numpy()
        keys = Keys(
            video_ids=table.column("video_id").combine_chunks(),
            revisions=np.array(table.column("revision").to_pylist(), np.int64),
            row_ids=row_ids,
            contents=_numbers(table.column("content_sha256").to_pylist()),
            thumbnails=_numbers(table.column("thumbnail_sha256").to_pylist()),
            uploads=np.array([uploads.get(row_id, 0) for row_id in row_ids.tolist()], np.uint64),
        )
        return keys, faults

    def revisions(self, video_ids: list[str]) -> dict[str, list[int]]:
        snapshot = VideoTable.open(self._tables_url, self._space, create=False).snapshot()
        found: dict[str, list[int]] = {}
        for row in snapshot.rows_of(video_ids, ["video_id", "revision"]):
            found.setdefault(row["video_id"], []).append(row["revision"])
        return found

    def words(self, rows: int | None, seed: int) -> WordProbe:
        if rows is None:
            return self._all_words()
        snapshot = self._now
        rng = np.random.default_rng(seed)
        wrong, asked = [], 0
        for row_id, text in snapshot.words_at(snapshot.some_row_ids(rows, seed)):
            words = _indexed_words(text)
            for i in rng.permutation(len(words))[:4].tolist():
                asked += 1
                found = snapshot.row_ids_indexed(words[i][1])
                if row_id not in found:
                    wrong.append(words[i][1])
        return WordProbe(asked=asked, wrong=tuple(dict.fromkeys(wrong)))

    def _all_words(self) -> WordProbe:
        """Compare, for each word, how many rows have it and a sum over which ones."""
        snapshot = self._now
        should: dict[str, tuple[str, int, int]] = {}
        mask = 0
        for fragment in self._fragments.values():
            for batch in fragment.source.scanner(columns=["words"], with_row_id=True).to_batches():
                columns = batch.column("_rowid").to_pylist(), batch.column("words").to_pylist()
                for row_id, text in zip(*columns, strict=True):
                    for stem, word in _indexed_words(text):
                        if zlib.crc32(stem.encode()) & mask == 0:
                            spelled, count, total = should.get(stem, (word, 0, 0))
                            should[stem] = spelled, count + 1, total + _mixed(row_id)
                    if len(should) > WORDS_CHECKED:
                        mask = 2 * mask + 1
                        should = {s: seen for s, seen in should.items() if zlib.crc32(s.encode()) & mask == 0}
        wrong = []
        for word, count, total in should.values():
            found = snapshot.row_ids_indexed(word).tolist()
            if len(found) != count or sum(map(_mixed, found)) != total:
                wrong.append(word)
        return WordProbe(asked=len(should), wrong=tuple(sorted(wrong)))

    def vectors(self, rows: int, seed: int) -> Probe:
        return probe(self._now, rows=rows, seed=seed)

    @property
    def _now(self) -> Snapshot:
        if self._snapshot is None:
            raise RuntimeError("outline comes first: it says which version is meant")
        return self._snapshot


def _indexed_words(text: str) -> list[tuple[str, str]]:
    """(stem, word) of the words of a text that stand for themselves: looked up alone, they are one word again."""
    return [(stem, word) for stem, word in words_by_stem(text).items() if list(words_by_stem(word)) == [stem]]


def _mixed(row_id: int) -> int:
    """A number a row whose sums tell sets of rows apart (the finishing step of SplitMix64)."""
    mixed = (row_id ^ (row_id >> 30)) * 0xBF58476D1CE4E5B9 & 0xFFFFFFFFFFFFFFFF
    return (mixed ^ (mixed >> 27)) * 0x94D049BB133111EB & 0xFFFFFFFFFFFFFFFF


def _numbers(digests: Sequence[str | None]) -> NDArray[np.uint64]:
    return np.array([number_of(digest) for digest in digests], np.uint64)


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".replace("\n", " ")[:300]
