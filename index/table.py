"""The rows of one space, in a Lance table. The only door to LanceDB and its format.

The table is derived: ledger and blobs are the truth, and it can be made again from them. It is never fsynced, and
nothing in it can refuse a zombie, so **one writer at a time, and the caller holds the lease** (it lives in the
ledger). Any number of processes may read beside the writer: each read takes a `Snapshot`, which is the newest
commit there is, and stays on it.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

import lance
import numpy as np
import pyarrow as pa
from fsspec.core import url_to_fs
from lance.query import MatchQuery
from numpy.typing import NDArray

from index import memory
from index.records import Glance, Space, Video
from index.rows import (
    DERIVED,
    check_fits,
    fold,
    from_arrow,
    modalities_of,
    row_of,
    schema_of,
    stored_digests,
    stored_fused_dim,
    to_arrow,
    vector_rows,
)
from index.where import sql_text

memory.limit_arenas()  # before Lance starts its threads, which it does with the first table

T = TypeVar("T")

INDEX_CACHE_BYTES = 256 << 20
METADATA_CACHE_BYTES = 64 << 20
"""Lance's own defaults are 6 GiB and 1 GiB a session."""

ROWS_PER_FRAGMENT = 20_000
"""Compaction leaves fragments of this size alone: with Lance's default of a million, every run of it would rewrite
the whole table, and every reader would load all vectors anew."""

OLD_VERSIONS_KEPT = timedelta(minutes=10)
"""A reader may finish on the snapshot that it has; `erase` does not wait for it."""

GLANCE = tuple(Glance.__slots__)
"""Columns."""
IDS_PER_QUERY = 5_000
ROWS_PER_CHECK = 1_024
_LAST = 2**64 - 1
_MANIFEST = re.compile(r"\d+\.manifest")
VECTOR_INDEX, WORD_INDEX = "fused_idx", "words_idx"

_WORDS: dict[str, Any] = {"base_tokenizer": "icu", "stem": True, "remove_stop_words": False, "ascii_folding": True}
"""`icu` splits every script; the default tokenizer does not find 猫. Stop words stay in the index because Lance's
removal takes words of other scripts with them (我的 in 14.0); queries leave them out instead."""

_STOP_WORDS = """
    a an and are as at be but by for if in into is it no not of on or such that the their then there these they this to
    was will with
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())
"""Source: `EnglishAnalyzer.ENGLISH_STOP_WORDS_SET` of Apache Lucene."""


class TableUnreadable(Exception):
    """The table does not open, such as after a power loss. It is derived: `firstlook doctor --fix` makes it again."""


class TableMissing(TableUnreadable):
    """There is nothing at all where the table would be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upkeep:
    """When the table is tidied up, and how far a search may go without an index."""

    fragments: int = 50
    """Every commit leaves a small fragment. Measured: tidied every 50 commits, a commit takes 6.5 ms; never, 187 ms."""
    unindexed_rows: int = 5_000
    """Words of unindexed rows are read one by one: 1.7 µs a row and query."""
    vector_index_rows: int = 50_000
    """Below this many rows an exact scan is as fast, and it is exact."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something `check` found: a row that is not what was written."""

    video_id: str
    reason: str
    """`doubled`, `digest_mismatch`, `derived_mismatch`, or `unreadable`: its values are no row's."""
    row_id: int = field(default=-1, compare=False)
    """Where it lies; good for one snapshot."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Block:
    """The vectors of some rows, as numbers to search over."""

    row_ids: NDArray[np.uint64]  # (n,), where the rows lie; good for one snapshot
    video_ids: NDArray[np.object_]  # (n,), str
    vectors: NDArray[np.float32]  # (n, sum of dims): modalities end to end, unweighted, zeros where absent
    present: NDArray[np.bool_]  # (n, modalities)
    glances: Any
    """(n,) Arrow columns of a `Glance`; None where they were not asked for."""

    def glance(self, place: int) -> Glance:
        """What the row at `place` shows."""
        return _glance({name: self.glances.column(name)[place].as_py() for name in GLANCE})


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Fragment:
    """A file of rows that never changes but by being named otherwise: what is read from it may be kept by `key`."""

    key: str
    source: Any

    def batches(self, columns: Sequence[str], *, batch_rows: int) -> Iterator[pa.RecordBatch]:
        """Stored columns of its rows, batch by batch."""
        yield from self.source.scanner(columns=list(columns), batch_size=batch_rows).to_batches()


class VideoTable:
    """The table `videos__<space id>` under a folder or object-store URL."""

    def __init__(self, dataset: Any, space: Space) -> None:
        self.space = space
        self._dataset = dataset
        self._lock = threading.Lock()

    @classmethod
    def open(cls, folder: str | Path, space: Space, *, create: bool = True, version: int | None = None) -> VideoTable:
        """Open the table of a space, or make an empty one.

        In a folder any number of processes may make it at once; under a URL only the one that holds the lease.

        Args:
            folder: or URL, that holds the tables of all spaces.
            space: whose rows it holds.
            create: make one where there is none.
            version: an older commit, to see whether it still opens; the newest one is what everything else wants.

        Raises:
            TableUnreadable: there is something, but it does not read as this space's table.
            TableMissing: there is nothing, and nothing was to be made.
        """
        uri = table_uri(folder, space)
        session = lance.Session(INDEX_CACHE_BYTES, METADATA_CACHE_BYTES)  # type: ignore[attr-defined]
        try:
            dataset = _opened(uri, session, version)
        except TableMissing:
            if not create:
                raise
            _create(uri, space)
            dataset = _opened(uri, session, None)
        if not dataset.schema.equals(schema_of(space)):
            raise TableUnreadable(f"{uri}: columns {dataset.schema.names}, wanted {schema_of(space).names}")
        if dataset.schema.field("video_id").metadata != schema_of(space).field("video_id").metadata:
            raise TableUnreadable(f"{uri}: its key is not declared, and without it merges double rows")
        if not any(index.name == WORD_INDEX for index in dataset.describe_indices()):
            raise TableUnreadable(f"{uri}: it has no index of words; whoever made it was stopped half way")
        return cls(dataset, space)

    def snapshot(self) -> Snapshot:
        """The newest commit, by whichever process. Takes some µs when nothing is new."""
        with self._lock:
            newest = self._dataset.latest_version
            if newest != self._dataset.version:
                self._dataset = self._dataset.checkout_version(newest)
            return Snapshot(self._dataset, self.space)

    def at(self, version: int) -> Snapshot:
        """An older commit."""
        return Snapshot(self._dataset.checkout_version(version), self.space)

    def read(self, work: Callable[[Snapshot], T]) -> T:
        """Run `work` on the newest snapshot, and once more if that was swept away meanwhile (`erase` does)."""
        snapshot = self.snapshot()
        try:
            return work(snapshot)
        except (OSError, pa.ArrowInvalid):  # a file that is gone shows as either
            newer = self.snapshot()
            if newer.version == snapshot.version:
                raise
            return work(newer)

    def get(self, video_ids: Iterable[str]) -> dict[str, Video]:
        """The videos that are there, in the order asked for; ids without a row are not in it."""
        wanted = list(dict.fromkeys(video_ids))
        return self.read(lambda snapshot: snapshot.get(wanted))

    def ids(self, sql: str | None = None) -> list[str]:
        """All video ids, or those of the rows that a checked expression selects, sorted."""
        return self.read(lambda snapshot: snapshot.ids(sql))

    def count(self) -> int:
        return self.read(lambda snapshot: snapshot.count())

    def scan(self, columns: Sequence[str], *, batch_rows: int = 1_024) -> Iterator[pa.RecordBatch]:
        """Stored columns (see `rows.schema_of`) batch by batch, from one snapshot, in no promised order."""
        return self.snapshot().scan(columns, batch_rows=batch_rows)

    def upsert(self, videos: Sequence[Video]) -> None:
        """Write rows in one commit: new ids are added, known ids replaced unless the row is of a newer revision.

        Writing the same again changes nothing that can be read. Batches should grow with the table: the merge reads
        all ids, index or not, because with an index on the key concurrent merges double rows (measured).

        Raises:
            ValueError: an id twice in one call, or a video that does not fit the space; nothing is written then.
        """
        if not videos:
            return
        ids = [video.upload.video_id for video in videos]
        if len(set(ids)) != len(ids):
            raise ValueError(f"one row a video: {sorted({i for i in ids if ids.count(i) > 1})} came more than once")
        for video in videos:
            check_fits(video, self.space)
        merge = self._newest().merge_insert("video_id")
        merge = merge.when_matched_update_all("target.revision <= source.revision").when_not_matched_insert_all()
        rows = to_arrow(videos, self.space)
        try:
            merge.use_index(False).execute(rows)
        except OSError as error:
            if "No space left" not in str(error):
                raise
            raise OSError(errno.ENOSPC, "No space left on device for the table", self._dataset.uri) from error

    def delete(self, video_ids: Iterable[str]) -> int:
        """Hide rows from every later read; their bytes stay until compaction. Returns how many there were.

        Rows are named by place, not id: Lance keeps the text of a deletion in its transaction files.
        """
        wanted = list(video_ids)
        row_ids = self.snapshot().row_ids_of(wanted)
        if len(row_ids):
            self._newest().delete(f"_rowid IN ({_listed(row_ids)})")
        return len(row_ids)

    def erase(self, video_ids: Iterable[str]) -> int:
        """Delete rows and their bytes: rewrites what held them, rebuilds the word index, drops all older versions.

        Seconds at 100k rows, so for many ids at once. A `Snapshot` taken before may fail to read afterwards.
        """
        deleted = self.delete(video_ids)
        dataset = self._newest()
        dataset.optimize.compact_files(
            target_rows_per_fragment=ROWS_PER_FRAGMENT, materialize_deletions_threshold=0, num_threads=1
        )
        if self.snapshot().has_vector_index:
            _index_vectors(dataset)
        _index_words(dataset)  # its dictionary still held the words of what was deleted
        self._newest().cleanup_old_versions(retain_versions=1)
        return deleted

    def upkeep_is_due(self, upkeep: Upkeep = Upkeep()) -> bool:
        """Whether `optimize_if_due` would do something, which may take minutes."""
        snapshot = self.snapshot()
        small = sum(fragment.source.physical_rows < ROWS_PER_FRAGMENT for fragment in snapshot.fragments())
        return (
            _wants_vector_index(snapshot, upkeep)
            or small >= upkeep.fragments
            or snapshot.unindexed_rows() >= upkeep.unindexed_rows
        )

    def optimize_if_due(self, upkeep: Upkeep = Upkeep()) -> bool:
        """Merge small files, index new rows, drop old versions, if there is enough to do. Returns whether it did.

        Call it between commits, under the same lease: beside a live writer half of the attempts fail (measured).
        """
        if not self.upkeep_is_due(upkeep):
            return False
        wants_vectors = _wants_vector_index(self.snapshot(), upkeep)
        dataset = self._newest()
        dataset.optimize.compact_files(target_rows_per_fragment=ROWS_PER_FRAGMENT, num_threads=1)
        if wants_vectors:
            _index_vectors(dataset)
        dataset.optimize.optimize_indices()
        self._newest().cleanup_old_versions(older_than=OLD_VERSIONS_KEPT)
        memory.give_back()
        return True

    def health(self) -> dict[str, int | bool]:
        """How the table is: rows, files of rows, its newest commit, and what the indexes do not know yet."""
        snapshot = self.snapshot()
        return {
            "rows": snapshot.count(),
            "fragments": len(snapshot.fragments()),
            "version": snapshot.version,
            "has_vector_index": snapshot.has_vector_index,
            "unindexed_rows": snapshot.unindexed_rows(),
            "upkeep_is_due": self.upkeep_is_due(),
        }

    def rebuild_indexes(self) -> None:
        """Make the indexes anew from the rows, whatever became of the old ones."""
        dataset = self._newest()
        if self.snapshot().has_vector_index:
            _index_vectors(dataset)
        _index_words(dataset)

    def delete_rows(self, row_ids: Sequence[int]) -> None:
        """Hide rows by where they lie in the newest commit, such as those whose id is not to be trusted."""
        for some in _pieces(list(row_ids), IDS_PER_QUERY):
            self._newest().delete(f"_rowid IN ({', '.join(map(str, some))})")

    def drop_fragments(self, fragment_ids: Sequence[int]) -> None:
        """Leave whole files of rows out of the table, unread: for those that cannot be read."""
        dataset = self.snapshot().dataset
        operation = lance.LanceOperation.Delete([], list(fragment_ids), "true")
        lance.LanceDataset.commit(dataset.uri, operation, read_version=dataset.version)

    def pass_version(self, version: int) -> None:
        """Commit the same rows until the newest version is a later one than `version`.

        After a roll-back: a reader that still has the version that was taken away must find a newer one, not another
        commit under the same number.
        """
        while self.snapshot().version <= version:
            self._newest().restore()

    def check(self) -> list[Fault]:
        """Read every row back: ids that stand twice, and rows that are not what was written."""
        snapshot = self.snapshot()
        ids = snapshot.ids()
        faults = [Fault(video_id=one, reason="doubled") for one, after in pairwise(ids) if one == after]
        return faults + [fault for fragment in snapshot.fragments() for fault in snapshot.faults(fragment)]

    def _newest(self) -> Any:
        """A handle of its own on the newest commit: writing moves a handle, and snapshots must stay where they are."""
        dataset = self.snapshot().dataset
        return dataset.checkout_version(dataset.version)


class Snapshot:
    """One commit of the table. Row ids are good within it only: compaction moves rows."""

    def __init__(self, dataset: Any, space: Space) -> None:
        self.dataset = dataset
        self.space = space

    @property
    def version(self) -> int:
        return int(self.dataset.version)

    @property
    def has_vector_index(self) -> bool:
        return any(index.name == VECTOR_INDEX for index in self.dataset.describe_indices())

    def unindexed_rows(self) -> int:
        """Rows that the index behind most knows nothing of; they are still found, one by one."""
        return self.count() - min(int(index.num_rows_indexed) for index in self.dataset.describe_indices())

    def count(self) -> int:
        return int(self.dataset.count_rows())

    def ids(self, sql: str | None = None) -> list[str]:
        return sorted(self.dataset.to_table(columns=["video_id"], filter=sql)["video_id"].to_pylist())

    def glances(self, video_ids: Sequence[str]) -> dict[str, Glance]:
        """What these videos show; ids without a row are not in it."""
        return {row.pop("video_id"): _glance(row) for row in self.rows_of(video_ids, ["video_id", *GLANCE])}

    def get(self, video_ids: Sequence[str]) -> dict[str, Video]:
        found: dict[str, Video] = {}
        for some in _pieces(video_ids, IDS_PER_QUERY):
            table = self.dataset.to_table(filter=_any_of(some))
            found |= {video.upload.video_id: video for video in from_arrow(table, self.space)}
        return {video_id: found[video_id] for video_id in video_ids if video_id in found}

    def scan(self, columns: Sequence[str], *, batch_rows: int) -> Iterator[pa.RecordBatch]:
        yield from self.dataset.scanner(columns=list(columns), batch_size=batch_rows).to_batches()

    def row_ids(self, sql: str) -> NDArray[np.uint64]:
        """(n,) sorted row ids of the rows that a checked expression selects."""
        return _sorted_row_ids(self.dataset.scanner(columns=[], filter=sql, with_row_id=True))

    def row_ids_of(self, video_ids: Sequence[str]) -> NDArray[np.uint64]:
        """(n,) sorted row ids of those of the videos that are there."""
        found = [self.row_ids(_any_of(some)) for some in _pieces(video_ids, IDS_PER_QUERY)]
        return np.sort(np.concatenate([np.empty(0, np.uint64), *found]))

    def row_ids_with_word(self, word: str) -> NDArray[np.uint64]:
        """(n,) sorted row ids of the rows with this word, in whichever inflection where it is English.

        In scripts that put no spaces between words it also counts inside a longer word: 猫 in 小猫.
        """
        found = self.row_ids_indexed(word)
        if any(_written_without_spaces(letter) for letter in word):
            found = np.union1d(found, self.row_ids(f"contains(words, {sql_text(fold(word))})"))
        return found

    def row_ids_indexed(self, word: str) -> NDArray[np.uint64]:
        """(n,) sorted row ids of the rows that have this word as the index tells words apart."""
        query = MatchQuery(word, "words")
        scanner = self.dataset.scanner(
            columns=[], full_text_query=query, with_row_id=True, disable_scoring_autoprojection=True
        )
        return _sorted_row_ids(scanner)

    def some_row_ids(self, count: int, seed: int) -> NDArray[np.uint64]:
        """(about `count`,) sorted row ids drawn at random, from every file of rows at least one."""
        rng = np.random.default_rng(seed)
        drawn = [np.empty(0, np.uint64)]
        share = count / max(self.count(), 1)
        for fragment in self.fragments():
            there = _sorted_row_ids(fragment.source.scanner(columns=[], with_row_id=True))
            if len(there):
                drawn.append(rng.choice(there, min(len(there), max(1, round(len(there) * share))), replace=False))
        return np.sort(np.concatenate(drawn))

    def patterns(self) -> list[int]:
        """Which modalities occur together: the distinct values of `present`, a bit a modality in the fused order."""
        return sorted(set(self.dataset.to_table(columns=["present"])["present"].unique().to_pylist()))

    def nearest(self, fused_query: NDArray[np.float32], count: int, sql: str) -> NDArray[np.uint64]:
        """Sorted row ids of about `count` rows, of those that `sql` selects, with the largest cosine to the query.

        By the index's own estimate and not refined: whoever asks scores the rows exactly anyway.
        """
        query = np.zeros(stored_fused_dim(self.space), dtype=np.float32)
        query[: len(fused_query)] = fused_query
        nearest = {"column": "fused", "q": query, "k": count, "metric": "cosine"}
        scanner = self.dataset.scanner(
            columns=[],
            nearest=nearest,
            filter=sql,
            prefilter=True,
            with_row_id=True,
            disable_scoring_autoprojection=True,
        )
        return _sorted_row_ids(scanner)

    def fragments(self) -> list[Fragment]:
        """The files that the rows lie in, by ascending row id. A deletion in a fragment gives it another key."""
        pieces = sorted(self.dataset.get_fragments(), key=lambda piece: int(piece.fragment_id))
        return [Fragment(key=f"{piece.fragment_id}:{piece.metadata}", source=piece) for piece in pieces]

    def rows_of(self, video_ids: Sequence[str], columns: Sequence[str]) -> Iterator[dict[str, Any]]:
        """Stored columns of those of the videos that are there; one that stands twice comes twice."""
        for some in _pieces(video_ids, IDS_PER_QUERY):
            yield from self.dataset.to_table(columns=list(columns), filter=_any_of(some)).to_pylist()

    def tables_of(self, video_ids: Sequence[str], columns: Sequence[str]) -> Iterator[pa.Table]:
        """`rows_of`, as they are stored: for columns of vectors."""
        for some in _pieces(video_ids, IDS_PER_QUERY):
            yield self.dataset.to_table(columns=list(columns), filter=_any_of(some))

    def words_at(self, row_ids: NDArray[np.uint64]) -> list[tuple[int, str]]:
        """(row id, words) of these rows."""
        if not len(row_ids):
            return []
        table = self.dataset.to_table(columns=["words"], filter=f"_rowid IN ({_listed(row_ids)})", with_row_id=True)
        return list(zip(table.column("_rowid").to_pylist(), table.column("words").to_pylist(), strict=True))

    def faults(
        self, fragment: Fragment, on_whole: Callable[[int, Video], None] = lambda row_id, video: None
    ) -> list[Fault]:
        """Read every row of one file back, in both ways that rows are read: one after the other, and by their place.

        Each way trusts other parts of the file.

        Args:
            fragment: one of this snapshot's.
            on_whole: hears the row id and the video of each row that is what was written.

        Raises:
            OSError, ValueError: the file does not read.
        """
        faults: dict[int, Fault] = {}
        for batch in fragment.source.scanner(
            columns=schema_of(self.space).names, with_row_id=True, batch_size=ROWS_PER_CHECK
        ).to_batches():
            read = pa.Table.from_batches([batch])
            row_ids = read.column("_rowid").to_numpy()
            some = f"_rowid IN ({_listed(row_ids)})"
            again = self.dataset.to_table(columns=schema_of(self.space).names, filter=some, with_row_id=True)
            again = again.sort_by("_rowid")
            if not again.column("_rowid").equals(read.column("_rowid")):
                raise ValueError(f"{len(read)} rows one after the other are {len(again)} by their place")
            found = _faults_of(read, self.space, on_whole) + _faults_of(again, self.space)
            if not found and stored_digests(read) != stored_digests(again):
                raise ValueError("rows one after the other are other rows by their place")
            faults |= {fault.row_id: fault for fault in found}
        return list(faults.values())

    def block(self, fragment: Fragment, *, glances: bool = False) -> Block:
        """All vectors of one fragment, and with `glances` what its rows show."""
        columns = [*self._block_columns(), *(GLANCE if glances else ())]
        return self._block(fragment.source.scanner(columns=columns, with_row_id=True).to_table(), glances)

    def block_of(self, row_ids: NDArray[np.uint64], *, glances: bool = False) -> Block:
        """The vectors of some rows, by ascending row id, and with `glances` what they show."""
        columns = [*self._block_columns(), *(GLANCE if glances else ())]
        if not len(row_ids):
            nothing = pa.field("_rowid", pa.uint64())
            return self._block(
                self.dataset.schema.empty_table().select(columns).append_column(nothing, pa.array([], pa.uint64())),
                glances,
            )
        some = f"_rowid IN ({_listed(row_ids)})"
        table = self.dataset.to_table(columns=columns, filter=some, with_row_id=True).sort_by("_rowid")
        return self._block(table, glances)

    def _block_columns(self) -> list[str]:
        return ["video_id", *modalities_of(self.space)]

    def _block(self, table: pa.Table, glances: bool) -> Block:
        parts = [vector_rows(table.column(name)) for name in modalities_of(self.space)]
        return Block(
            row_ids=table.column("_rowid").to_numpy(),
            video_ids=np.array(table.column("video_id").to_pylist(), dtype=object),
            vectors=np.concatenate([vectors for vectors, _ in parts], axis=1),
            present=np.stack([present for _, present in parts], axis=1),
            glances=table.select(GLANCE).combine_chunks() if glances else None,
        )


def _glance(row: dict[str, Any]) -> Glance:
    return Glance(**row | {"tags": tuple(row["tags"])})


def _faults_of(
    table: pa.Table, space: Space, on_whole: Callable[[int, Video], None] = lambda row_id, video: None
) -> list[Fault]:
    """The rows of a piece, `_rowid` among its columns, that are not what was written.

    Values that no row can have stop the reading: the piece is halved until it is known whose they are.
    """
    try:
        videos = from_arrow(table, space)
        rows = [row_of(video, space) for video in videos]
    except (KeyError, TypeError, ValueError, OverflowError):
        if len(table) > 1:
            half = len(table) // 2
            return _faults_of(table.slice(0, half), space, on_whole) + _faults_of(table.slice(half), space, on_whole)
        (video_id,) = table.column("video_id").cast(pa.binary()).to_pylist()
        (row_id,) = table.column("_rowid").to_pylist()
        return [Fault(video_id=(video_id or b"").decode(errors="replace"), reason="unreadable", row_id=row_id)]
    faults = []
    stored_rows = table.select([*DERIVED, "row_digest"]).to_pylist()
    padding, _ = vector_rows(table.column("fused"))
    padding_is_zero = (padding[:, sum(space.dims.values()) :].view(np.uint32) == 0).all(axis=1)
    for video, row, stored, row_id, whole in zip(
        videos, rows, stored_rows, table.column("_rowid").to_pylist(), padding_is_zero, strict=True
    ):
        if row["row_digest"] != stored["row_digest"]:
            reason = "digest_mismatch"
        elif any(row[name] != value for name, value in stored.items()) or not whole:
            reason = "derived_mismatch"
        else:
            on_whole(row_id, video)
            continue
        faults.append(Fault(video_id=video.upload.video_id, reason=reason, row_id=row_id))
    return faults


def table_uri(folder: str | Path, space: Space) -> str:
    """Where the table of a space lies."""
    return f"{str(folder).rstrip('/')}/videos__{space.id}.lance"


def manifests(uri: str) -> list[tuple[int, str]]:
    """(version, file name) of every commit that left its manifest, newest first."""
    files, path = url_to_fs(uri)
    folder = f"{path}/_versions"
    names = [name.rpartition("/")[2] for name in files.ls(folder, detail=False)] if files.exists(folder) else []
    numbers = [(int(name.partition(".")[0]), f"_versions/{name}") for name in names if _MANIFEST.fullmatch(name)]
    # Lance names them by 2**64 - 1 - version, so that the newest is listed first; small numbers are of old tables
    return sorted(((_LAST - n if n > _LAST // 2 else n, name) for n, name in numbers), reverse=True)


def check_version(folder: str | Path, space: Space, version: int) -> None:
    """Read the manifest of a commit.

    Raises:
        TableUnreadable: it does not read.
    """
    session = lance.Session(INDEX_CACHE_BYTES, METADATA_CACHE_BYTES)  # type: ignore[attr-defined]
    _opened(table_uri(folder, space), session, version)


def set_aside(uri: str, into: Path, names: Sequence[str] | None = None) -> None:
    """Move files of a table, or all of it, into a folder; nothing is deleted that is not there whole before."""
    files, path = url_to_fs(uri)
    for name in names if names is not None else [""]:
        source = f"{path}/{name}".rstrip("/")
        target = into / source.rpartition("/")[2]
        into.mkdir(parents=True, exist_ok=True)
        if "://" in uri:
            files.get(source, str(target), recursive=not name)
            files.rm(source, recursive=not name)
        else:
            shutil.move(source, target)


def _opened(uri: str, session: Any, version: int | None) -> Any:
    there = "://" not in uri and Path(uri).exists()  # looked at first: another process may make it meanwhile
    try:
        return lance.dataset(uri, session=session, version=version)
    except (OSError, ValueError) as error:
        if not there and "was not found" in str(error):
            raise TableMissing(f"there is no table at {uri}") from error
        raise TableUnreadable(f"{uri}: {error}") from error


def _wants_vector_index(snapshot: Snapshot, upkeep: Upkeep) -> bool:
    return snapshot.count() >= upkeep.vector_index_rows and not snapshot.has_vector_index


def split_words(text: str) -> list[str]:
    """The distinct words of a query as the table's index tells them apart.

    English stop words are left out, unless there is nothing else.

    >>> split_words("The dogs, a dog and 我的猫咪")
    ['dogs', '我的', '猫咪']
    """
    words = list(words_by_stem(text).values())
    return [word for word in words if word not in STOP_WORDS] or words


def words_by_stem(text: str) -> dict[str, str]:
    """The distinct words of a text as the table's index tells them apart: stem -> the word as it is first spelled."""
    from lancedb import tokenize  # takes a second to import, and only a search for words needs it

    stems = tokenize(fold(text), **_WORDS)
    spelled = tokenize(fold(text), **{**_WORDS, "stem": False})
    words: dict[str, str] = {}
    for stem, word in zip(stems, spelled, strict=True):
        words.setdefault(stem.text, word.text)
    return words


def _create(uri: str, space: Space) -> None:
    """Make an empty table, with its index of words, in one step where there is a file system to rename in.

    Two that create the same table at once do not get an error from Lance: the second overwrites the first (measured).
    """
    nothing = schema_of(space).empty_table()
    if "://" in uri:
        _index_words(lance.write_dataset(nothing, uri, mode="create"))
        return
    folder = Path(uri)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=".new-", dir=folder.parent) as new:
        _index_words(lance.write_dataset(nothing, f"{new}/table", mode="create"))
        try:
            os.rename(f"{new}/table", folder)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):  # those: another process was first
                raise


def _index_words(dataset: Any) -> None:
    dataset.create_scalar_index("words", "INVERTED", name=WORD_INDEX, replace=True, with_position=False, **_WORDS)


def _index_vectors(dataset: Any) -> None:
    dataset.create_index("fused", "IVF_RQ", name=VECTOR_INDEX, metric="cosine", replace=True)


def _written_without_spaces(letter: str) -> bool:
    """Thai to Myanmar, Khmer, kana and Han. Source: the blocks of Unicode 16 whose line breaking class is SA or ID."""
    code = ord(letter)
    return 0x0E00 <= code <= 0x109F or 0x1780 <= code <= 0x17FF or 0x3040 <= code <= 0x9FFF or 0x20000 <= code < 0x40000


def _sorted_row_ids(scanner: Any) -> NDArray[np.uint64]:
    return np.sort(scanner.to_table().column("_rowid").to_numpy().astype(np.uint64, copy=False))


def _any_of(video_ids: Sequence[str]) -> str:
    return f"video_id IN ({', '.join(sql_text(video_id) for video_id in video_ids)})"


def _listed(row_ids: NDArray[np.uint64]) -> str:
    return ", ".join(str(row_id) for row_id in row_ids.tolist())


def _pieces(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    for start in range(0, len(items), size):
        yield items[start : start + size]
