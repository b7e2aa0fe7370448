"""What is like this: a query is plain data, and a hit says how much each modality contributed to its score.

For a query and a row, cos_m the cosine in modality m and w_m the query's weight of it:

    likeness = sum w_m cos_m / sum w_m          over the modalities that both have, so that nobody pays for silence
    share    = idf of the query's words that the row has / idf of all of them        0..1
    score    = likeness                                          without words
             = (likeness + w_words share**2) / (1 + w_words)     with words and vectors
             = share**2                                          with words alone

Scores lie in -1..1. A row that shares no modality with the query has likeness 0, and is a hit only by its words. The
share is squared because half of the words is rarely half of an answer, and w_words is 1 so that a row with all of
them comes before rows that are only like it: an encoder that does not know a script finds all of its texts alike.

Without a vector index all rows are scored exactly, from memory. With one, on the disk or in memory (`index/near.py`),
it finds the candidates, in a search of its own for each pattern of modalities present: only within such a pattern is
the order by the fused vector the order by likeness (the divisor is the same), so a row without sound is not lost behind
rows that have one more thing to add up.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.near import ROWS_MIN, Near
from index.records import Glance, Space
from index.rows import UNIT_LENGTH_TOLERANCE, modalities_of
from index.table import Block, Snapshot, VideoTable, split_words
from index.where import Filter

WORDS = "words"
"""The name under which a hit's words contribute, and that weighs them in `Query.weights`."""
WORDS_WEIGHT = 1.0
WORDS_MAX = 32
"""Further distinct words of a query are not looked up; each costs a look into the index."""

CANDIDATES_PER_HIT = 10
CANDIDATES_MIN = 200
"""Of each pattern of modalities, how many rows the vector index hands over to exact scoring."""
BULK_QUERIES = 256
"""From here on, scoring all rows from memory beats asking the index once a query."""
QUERIES_AT_ONCE = 64
SPARE = 32
"""So many more than k rows are chosen by quick sums and then scored exactly; also how many ties at the edge are
broken by id."""
MASKS_KEPT = 64
FEW_ROWS = 4_000
"""So few rows of one pattern of modalities are all scored exactly."""
LIGHT_WEIGHT = 0.15
"""A share of the weights that hardly decides in which list a row lies, such as that of the sound."""
SAME_SCORE = 1e-9
LARGEST_PIECE = 64


class QueryError(ValueError):
    """The query is at fault: it asks for what the space does not have, or for nothing."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Query:
    """What to look for. Vectors, words, or both."""

    vectors: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    """Modality -> unit vector, compared with the rows' vectors of that modality."""
    words: str | None = None
    weights: Mapping[str, float] | None = None
    """Modality or `words` -> weight. Modalities are weighed against each other on any scale, and one that is not named
    counts for nothing; `words` is weighed against all of them together, 1 where not named. None: the space's own."""
    where: Filter | None = None
    k: int = 10
    exclude: frozenset[str] = frozenset()
    """Ids that are not wanted, such as the query's own."""
    include_hidden: bool = False
    """Also videos whose visibility is not `public`."""

    def __post_init__(self) -> None:
        if self.k < 1:
            raise QueryError(f"k counts the hits wanted, at least 1, got {self.k}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Hit:
    video_id: str
    score: float
    modalities: Mapping[str, float]
    """Modality, or `words`, -> its part of the score; they add up to it. Those that took no part are not in it."""


class Searcher:
    """Searches one table, from any number of threads.

    Keeps the vectors of all rows in memory while there is no vector index (4 bytes a dimension and row: 100 MB at
    50,000 rows of 512), and after a commit reads only the files that are new.

    Args:
        table: to search.
        kept_rows: up to so many rows are kept in memory even where there is an index, with what they show, and are
            found by neighbourhoods: for whoever answers again and again. 5 bytes a dimension and row.
    """

    def __init__(self, table: VideoTable, *, kept_rows: int = 0) -> None:
        self.table = table
        self._kept_rows = kept_rows
        self._lock = threading.Lock()
        self._blocks: dict[str, Block] = {}
        self._rows: _Rows | None = None
        self._near: Near | None = None
        self._turn = threading.Lock()

    def vectors_of(self, video_id: str) -> dict[str, NDArray[np.float32]] | None:
        """Modality -> unit vector of a video of the table; None: no such row."""

        def work(snapshot: Snapshot) -> dict[str, NDArray[np.float32]] | None:
            if self._asks_index(snapshot):
                row = snapshot.get([video_id]).get(video_id)
                return None if row is None else dict(row.vectors)
            rows = self._all_rows(snapshot)
            place = rows.place_of(video_id)
            return (
                None if place is None else _apart(rows.vectors(np.array([place]))[0], rows.present[place], rows.space)
            )

        return self.table.read(work)

    def glances(self, video_ids: Sequence[str]) -> dict[str, Glance]:
        """What these videos show; ids without a row are not in it."""

        def work(snapshot: Snapshot) -> dict[str, Glance]:
            if not self._keeps or self._asks_index(snapshot):
                return snapshot.glances(video_ids)
            rows = self._all_rows(snapshot)
            places = {name: place for name in video_ids if (place := rows.place_of(name)) is not None}
            return {name: rows.glance(place) for name, place in places.items()}

        return self.table.read(work)

    def _asks_index(self, snapshot: Snapshot) -> bool:
        rows = self._rows
        if rows is not None and rows.version == snapshot.version and self._keeps:
            return False
        return snapshot.has_vector_index and snapshot.count() > self._kept_rows

    def search(self, query: Query) -> list[Hit]:
        """At most `query.k` hits, best first, ties by id.

        Raises:
            QueryError: a vector or weight that does not fit the space, or nothing to search by.
        """
        return self._answer([_Wanted.of(query, self.table.space)], bulk=False)[0]

    def search_many(self, queries: Iterable[Query]) -> Iterator[list[Hit]]:
        """The hits of each query, in order. Queries share one pass over the rows, 64 at a time.

        From 256 queries on all rows are scored exactly from memory, index or not.
        """
        source = iter(queries)
        first = list(islice(source, BULK_QUERIES))
        bulk = len(first) == BULK_QUERIES
        checked = (_Wanted.of(query, self.table.space) for query in chain(first, source))
        while some := list(islice(checked, QUERIES_AT_ONCE)):
            yield from self._answer(some, bulk)

    def neighbours(
        self, k: int, *, weights: Mapping[str, float] | None = None, include_hidden: bool = False
    ) -> Iterator[tuple[str, list[Hit]]]:
        """For each video of the table, by ascending id: its id and the k videos most like it.

        Videos without a vector in a modality that counts have no neighbours and come with an empty list.
        """
        space = self.table.space
        counted = [(weights or space.weights).get(name, 0) > 0 for name in modalities_of(space)]
        rows, shown = self.table.read(lambda snapshot: self._shown_rows(snapshot, include_hidden))
        order = [int(i) for i in np.argsort(rows.video_ids) if shown[i]]
        comparable = np.asarray(rows.present[:, counted].any(axis=1))
        queries = (
            Query(
                vectors=_apart(rows.vectors(np.array([i]))[0], rows.present[i], space),
                weights=weights,
                k=k,
                exclude=frozenset([rows.video_ids[i]]),
                include_hidden=include_hidden,
            )
            for i in order
            if comparable[i]
        )
        answers = self.search_many(queries)
        for i in order:
            yield rows.video_ids[i], next(answers) if comparable[i] else []

    def _shown_rows(self, snapshot: Snapshot, include_hidden: bool) -> tuple[_Rows, NDArray[np.bool_]]:
        rows = self._all_rows(snapshot)
        if include_hidden:
            return rows, np.ones(len(rows.row_ids), dtype=np.bool_)
        return rows, rows.mask(snapshot, _selection(None, include_hidden))

    def _answer(self, wanted: Sequence[_Wanted], bulk: bool) -> list[list[Hit]]:
        def work(snapshot: Snapshot) -> list[list[Hit]]:
            if self._asks_index(snapshot) and not bulk:
                return [_search_indexed(one, snapshot) for one in wanted]
            rows = self._all_rows(snapshot)
            if bulk or not self._keeps:
                return _search_all(wanted, rows, snapshot)
            with self._turn:  # Python computes one at a time anyway; who waits here takes no turns with who does
                return [_search_near(one, rows, snapshot) or _search_all([one], rows, snapshot)[0] for one in wanted]

        return self.table.read(work)

    def _all_rows(self, snapshot: Snapshot) -> _Rows:
        with self._lock:
            if self._rows is not None and self._rows.version == snapshot.version:
                return self._rows
            kept = {
                fragment.key: self._blocks.get(fragment.key) or snapshot.block(fragment, glances=self._keeps)
                for fragment in snapshot.fragments()
            }
            blocks = kept or {"": snapshot.block_of(_NO_ROWS, glances=self._keeps)}
            if self._rows is not None and snapshot.version < self._rows.version:  # a slow thread's; others are further
                return _Rows(blocks, snapshot)
            self._blocks = kept
            self._rows = _Rows(blocks, snapshot, self._neighbourhoods(blocks) if self._keeps else None)
            return self._rows

    @property
    def _keeps(self) -> bool:
        return self._kept_rows > 0

    def _neighbourhoods(self, blocks: Mapping[str, Block]) -> Near | None:
        count = sum(len(block.row_ids) for block in blocks.values())
        if count < ROWS_MIN:
            return None
        vectors = {key: block.vectors for key, block in blocks.items()}
        if self._near is None or self._near.is_outgrown(count):
            self._near = Near(vectors, _roots(self.table.space))
        else:
            self._near.keep(vectors)
        return self._near


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """How an index answers beside a search that scores every row."""

    asked: int
    """Rows of the table, each asked for by its own vectors."""
    recall: float
    """Of the k rows most like each, the share that the index finds too; 1 where nothing was asked."""
    lost: tuple[str, ...]
    """Ids of those asked for that the index does not find by their own vectors."""


def probe(snapshot: Snapshot, *, rows: int, k: int = 10, seed: int = 0) -> Probe:
    """Ask the vector index for some rows, from every file of rows at least one, and compare with all rows scored.

    Rows are scored a file at a time, so that a table of any size fits into memory.
    """
    drawn = snapshot.block_of(snapshot.some_row_ids(rows, seed))
    wanted, names = [], []
    for video_id, vector, present in zip(drawn.video_ids.tolist(), drawn.vectors, drawn.present, strict=True):
        if present.any():
            query = Query(vectors=_apart(vector, present, snapshot.space), k=k, include_hidden=True)
            wanted.append(_Wanted.of(query, snapshot.space))
            names.append(video_id)
    exact: list[list[float]] = [[] for _ in wanted]
    for fragment in snapshot.fragments():
        block = _Rows({"": snapshot.block(fragment)}, snapshot)
        for start in range(0, len(wanted), QUERIES_AT_ONCE):
            answers = _search_all(wanted[start : start + QUERIES_AT_ONCE], block, snapshot)
            for i, hits in enumerate(answers, start):
                exact[i] = sorted([*exact[i], *(hit.score for hit in hits)], reverse=True)[:k]
    shares, lost = [], []
    for one, name, best in zip(wanted, names, exact, strict=True):
        found = [hit.score for hit in _search_indexed(one, snapshot)]
        # by score and not by id: of rows that are equally alike any will do
        shares.append(sum(score >= best[-1] - SAME_SCORE for score in found) / len(best))
        if not found or found[0] < best[0] - SAME_SCORE:
            lost.append(name)
    return Probe(asked=len(wanted), recall=float(np.mean(shares)) if shares else 1.0, lost=tuple(lost))


_NO_ROWS: NDArray[np.uint64] = np.empty(0, dtype=np.uint64)


class _Rows:
    """Rows to score, as if they were one block."""

    def __init__(self, blocks: Mapping[str, Block], snapshot: Snapshot, near: Near | None = None) -> None:
        self.version, self.space, self.near = snapshot.version, snapshot.space, near
        self.blocks = list(blocks.values())
        self.starts = np.cumsum([0] + [len(block.row_ids) for block in self.blocks])
        self.row_ids = np.concatenate([block.row_ids for block in self.blocks])  # (n,), ascending
        self.video_ids = np.concatenate([block.video_ids for block in self.blocks])
        self.present = np.concatenate([block.present for block in self.blocks])  # (n, modalities)
        self.pattern = self.present @ (1 << np.arange(self.present.shape[1]))  # (n,), a bit a modality
        self.patterns: list[int] = np.unique(self.pattern).tolist()
        self._firsts = near.firsts(list(blocks)) if near is not None else np.empty(0, np.int64)
        self._generation = near.generation if near is not None else 0
        self._masks: dict[str, NDArray[np.bool_]] = {}
        self._divisors: dict[bytes, tuple[NDArray[np.float32], NDArray[np.bool_]]] = {}
        self._some: dict[tuple[int, str], _Some] = {}
        self._places: dict[str, int] | None = None

    def products(self, queries: NDArray[np.float32]) -> NDArray[np.float32]:
        """(queries, rows): dot products with rows of `queries`, (queries, sum of dims)."""
        return np.concatenate([queries @ block.vectors.T for block in self.blocks], axis=1)

    def vectors(self, at: NDArray[np.intp]) -> NDArray[np.float32]:
        """(len(at), sum of dims)."""
        vectors = np.empty((len(at), self.blocks[0].vectors.shape[1]), dtype=np.float32)
        of_block = np.searchsorted(self.starts, at, side="right") - 1
        for b in set(of_block.tolist()):
            vectors[of_block == b] = self.blocks[b].vectors[at[of_block == b] - self.starts[b]]
        return vectors

    def divisors(self, weights: NDArray[np.float64]) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """(n,) the sum of the weights of the modalities that a row has, 1 where it has none of them; (n,) whether it
        has one. Kept: most queries weigh alike."""
        found = self._divisors.get(weights.tobytes())
        if found is None:
            divisor = self.present.astype(np.float32) @ weights.astype(np.float32)
            found = np.where(divisor > 0, divisor, np.float32(1)), divisor > 0
            if len(self._divisors) < MASKS_KEPT:
                self._divisors[weights.tobytes()] = found
        return found

    def some(self, pattern: int, snapshot: Snapshot, selection: str) -> _Some:
        """The rows with just these modalities that SQL selects. Kept: most queries ask for the same."""
        found = self._some.get((pattern, selection))
        if found is None:
            mask = self.pattern == pattern
            if selection:
                mask = mask & self.mask(snapshot, selection)
            bits = None if mask.all() else np.packbits(self._by_number(mask), bitorder="little")
            lacks = sum(w for bit, w in enumerate(_weights(self.space)) if not pattern >> bit & 1)
            is_alike = lacks <= LIGHT_WEIGHT and 2 * mask.sum() >= (self.pattern == pattern).sum()
            found = _Some(count=int(mask.sum()), mask=mask, bits=bits, is_alike=bool(is_alike))
            if len(self._some) < MASKS_KEPT:
                self._some[pattern, selection] = found
        return found

    def _by_number(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """A mask of the rows as one of the numbers that `near` has for them."""
        lengths = np.diff(self.starts)
        numbered = np.zeros(int((self._firsts + lengths).max(initial=0)), dtype=np.bool_)
        for first, start, length in zip(self._firsts.tolist(), self.starts.tolist(), lengths.tolist(), strict=False):
            if first >= 0:
                numbered[first : first + length] = mask[start : start + length]
        return numbered

    def near_places(self, fused: NDArray[np.float32], count: int, some: _Some) -> NDArray[np.intp] | None:
        """Where about `count` of some rows are with the largest products; None: `near` has gone on to other rows."""
        assert self.near is not None
        numbers = self.near.nearest(fused, count, self._generation, some.bits)
        if numbers is None:
            return None
        order = np.argsort(self._firsts)
        block = order[np.searchsorted(self._firsts[order], numbers, side="right") - 1]
        return np.asarray(self.starts[block] + numbers - self._firsts[block])

    def glance(self, place: int) -> Glance:
        """What the row at `place` shows."""
        of_block = int(np.searchsorted(self.starts, place, side="right")) - 1
        return self.blocks[of_block].glance(place - int(self.starts[of_block]))

    def place_of(self, video_id: str) -> int | None:
        """Which row a video is."""
        if self._places is None:
            self._places = {name: place for place, name in enumerate(self.video_ids.tolist())}
        return self._places.get(video_id)

    def mask(self, snapshot: Snapshot, sql: str) -> NDArray[np.bool_]:
        """(n,) true for the rows that `sql` selects. Kept: most queries select the same."""
        mask = self._masks.get(sql)
        if mask is None:
            mask = np.isin(self.row_ids, snapshot.row_ids(sql), assume_unique=True)
            if len(self._masks) < MASKS_KEPT:
                self._masks[sql] = mask
        return mask


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Some:
    """Some of the rows."""

    count: int
    mask: NDArray[np.bool_]  # (n,)
    bits: NDArray[np.uint8] | None
    """The same by the numbers of `Near`, a bit each; None: all of them."""
    is_alike: bool
    """They lie in the lists where a query that weighs as its space looks for them."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Wanted:
    """A query that has been checked, its vectors and weights laid out as the rows are."""

    query: Query
    space: Space
    weights: NDArray[np.float64]  # (modalities,), 0 where the query has no vector
    vector: NDArray[np.float64]  # (sum of dims,): unit vectors end to end, zeros where it has none
    words_weight: float

    @classmethod
    def of(cls, query: Query, space: Space) -> _Wanted:
        names = modalities_of(space)
        weights = {**space.weights, WORDS: WORDS_WEIGHT}
        if query.weights is not None:
            _check_weights(query.weights, names)
            weights = {WORDS: WORDS_WEIGHT, **query.weights}
        for name, vector in query.vectors.items():
            _check_vector(name, vector, space)
        parts = [np.asarray(query.vectors.get(n, np.zeros(space.dims[n])), dtype=np.float64) for n in names]
        own = np.array([weights.get(n, 0.0) if n in query.vectors else 0.0 for n in names])
        words_weight = weights[WORDS] if query.words and query.words.strip() else 0.0
        if not own.any() and not words_weight:
            raise QueryError(f"nothing to search by: vectors {sorted(query.vectors)}, words {query.words!r}, {weights}")
        return cls(query=query, space=space, weights=own, vector=np.concatenate(parts), words_weight=words_weight)

    @property
    def likeness_weight(self) -> float:
        """What likeness as a whole weighs beside the words."""
        return float(self.weights.any())

    @property
    def asked(self) -> int:
        """The modalities that it compares, a bit each, as `_Rows.pattern` has them."""
        return sum(1 << bit for bit, weight in enumerate(self.weights) if weight > 0)

    @property
    def weighs_as_its_space(self) -> bool:
        """All but little of the space's weights, as they are to each other there."""
        total = self.weights.sum()
        return bool(total) and float(np.abs(self.weights / total - _weights(self.space)).sum()) <= 2 * LIGHT_WEIGHT

    def fused(self) -> NDArray[np.float32]:
        """A vector whose dot product with a row's fused one, which has the roots of the space's weights in it, is
        sum w cos."""
        stored = _weights(self.space)
        return self.spread(np.divide(self.weights, np.sqrt(stored), out=np.zeros_like(stored), where=stored > 0))

    def spread(self, by: NDArray[np.float64]) -> NDArray[np.float32]:
        """The query's vector with each modality scaled by its entry of `by`, (modalities,)."""
        dims = [self.space.dims[name] for name in modalities_of(self.space)]
        return (self.vector * np.repeat(by, dims)).astype(np.float32)


def _search_all(wanted: Sequence[_Wanted], rows: _Rows, snapshot: Snapshot) -> list[list[Hit]]:
    """Score every row quickly in single precision, then the best ones exactly."""
    sums = rows.products(np.stack([one.spread(one.weights) for one in wanted]))
    hits = []
    for one, like in zip(wanted, sums, strict=True):
        divisor, possible = rows.divisors(one.weights)
        score = np.divide(like, divisor, out=like)
        share = None
        if one.words_weight:
            share = _share_of_rows(rows, *_word_shares(snapshot, one))
            possible = possible | (share > 0)
            score = _mix(one, score, share)
        selection = _selection(one.query.where, one.query.include_hidden)
        if selection:
            possible = possible & rows.mask(snapshot, selection)
        score[~possible] = -np.inf
        best = _largest(score, one.query.k + SPARE + len(one.query.exclude))
        hits.append(_hits(one, rows, best[possible[best]], share))
    return hits


def _search_near(one: _Wanted, rows: _Rows, snapshot: Snapshot) -> list[Hit] | None:
    """Find candidates by neighbourhoods, then score these exactly; None where they would miss too much.

    In which list a row lies is decided by its fused vector. So a query has to weigh as the space does, and rows that
    lack a modality which weighs much lie elsewhere, as do perhaps those that a filter leaves.
    """
    if rows.near is None or one.words_weight or one.query.where is not None or not one.weighs_as_its_space:
        return None
    count = one.query.k + SPARE + len(one.query.exclude)
    selection = _selection(None, one.query.include_hidden)
    candidates = [np.empty(0, np.intp)]
    for pattern in rows.patterns:
        if not pattern & one.asked:
            continue
        some = rows.some(pattern, snapshot, selection)
        if some.count <= FEW_ROWS:
            candidates.append(np.flatnonzero(some.mask))
            continue
        if not some.is_alike or (places := rows.near_places(one.fused(), count, some)) is None:
            return None
        candidates.append(places)
    return _hits(one, rows, np.unique(np.concatenate(candidates)), None)


def _search_indexed(one: _Wanted, snapshot: Snapshot) -> list[Hit]:
    """Let the indexes find candidates, then score these exactly."""
    count = max(CANDIDATES_PER_HIT * one.query.k, CANDIDATES_MIN) + len(one.query.exclude)
    selection = _selection(one.query.where, one.query.include_hidden)
    word_rows, shares = _word_shares(snapshot, one)
    if selection and len(word_rows):
        allowed = np.isin(word_rows, snapshot.row_ids(selection), assume_unique=True)
        word_rows, shares = word_rows[allowed], shares[allowed]
    candidates = [word_rows[_largest(shares, count)]]
    for pattern in snapshot.patterns():
        if pattern & one.asked:
            sql = f"present = {pattern}" + (f" AND {selection}" if selection else "")
            candidates.append(snapshot.nearest(one.fused(), count, sql))
    rows = _Rows({"": snapshot.block_of(np.unique(np.concatenate(candidates)))}, snapshot)
    share = _share_of_rows(rows, word_rows, shares)
    return _hits(one, rows, np.arange(len(rows.row_ids)), share)


def _hits(one: _Wanted, rows: _Rows, at: NDArray[np.intp], share: NDArray[np.float64] | None) -> list[Hit]:
    """Exact scores of the rows `at`, in double precision and row by row, so that equal rows score equally.

    Args:
        share: (n,) of all rows, the share of the query's words that each has; None: it has no words.
    """
    names = modalities_of(one.space)
    vectors, present = rows.vectors(at).astype(np.float64), rows.present[at]
    starts = np.cumsum([0] + [one.space.dims[name] for name in names])[:-1]
    cosines = np.add.reduceat(vectors * one.vector, starts, axis=1)
    weights = present * one.weights
    divisor = weights.sum(axis=1, keepdims=True)
    parts = _mix(one, np.divide(weights * cosines, divisor, out=np.zeros_like(weights), where=divisor > 0), 0.0)
    share_at = np.zeros(len(at)) if share is None else share[at]
    by_words = _mix(one, np.zeros(len(at)), share_at)
    scores: list[float] = (parts.sum(axis=1) + by_words).tolist()
    video_ids: list[str] = rows.video_ids[at].tolist()
    order = sorted(range(len(at)), key=lambda i: (-scores[i], video_ids[i]))
    best = list(islice((i for i in order if video_ids[i] not in one.query.exclude), one.query.k))
    all_parts = np.column_stack([parts, by_words])[best].tolist()
    counts = np.column_stack([weights > 0, share_at > 0])[best].tolist()
    return [
        Hit(
            video_id=video_ids[i],
            score=scores[i],
            modalities={name: part for name, part, there in zip((*names, WORDS), own, counted, strict=True) if there},
        )
        for i, own, counted in zip(best, all_parts, counts, strict=True)
    ]


def _mix(one: _Wanted, likeness: NDArray[Any], share: NDArray[Any] | float) -> NDArray[Any]:
    """The score of the module's docstring."""
    return (one.likeness_weight * likeness + one.words_weight * share**2) / (one.likeness_weight + one.words_weight)


def _word_shares(snapshot: Snapshot, one: _Wanted) -> tuple[NDArray[np.uint64], NDArray[np.float64]]:
    """Ascending ids of the rows with any of the query's words, and of each the share of idf that it has, 0..1.

    idf = ln((rows + 1) / (rows with the word + 1/2)), always positive. A word that no row has weighs most: a row with
    all the others is still not the whole answer.
    """
    words = split_words(one.query.words or "")[:WORDS_MAX] if one.words_weight else []
    if not words:
        return _NO_ROWS, np.empty(0)
    found = [snapshot.row_ids_with_word(word) for word in words]
    idf = [math.log((snapshot.count() + 1) / (len(rows) + 0.5)) for rows in found]
    row_ids, place = np.unique(np.concatenate(found), return_inverse=True)
    mass = np.bincount(place, weights=np.repeat(idf, [len(rows) for rows in found]), minlength=len(row_ids))
    return row_ids, np.minimum(mass / sum(idf), 1.0)


def _share_of_rows(rows: _Rows, row_ids: NDArray[np.uint64], shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,) the shares laid out as `rows` are, 0 for rows without a word."""
    share = np.zeros(len(rows.row_ids))
    if not len(row_ids):
        return share
    there = np.isin(row_ids, rows.row_ids, assume_unique=True)
    share[np.searchsorted(rows.row_ids, row_ids[there])] = shares[there]
    return share


def _selection(where: Filter | None, include_hidden: bool) -> str:
    """SQL of the rows that may be found; empty: all."""
    parts = ([] if include_hidden else ["(visibility = 'public')"]) + ([where.sql()] if where else [])
    return " AND ".join(parts)


def _largest(scores: NDArray[Any], count: int) -> NDArray[np.intp]:
    """Where the `count` largest are, in no promised order.

    The largest of each piece tell a bound that at least `count` numbers reach: only what reaches it need be sorted out,
    which takes half as long as sorting out all.
    """
    pieces = len(scores) // LARGEST_PIECE
    if count >= len(scores):
        return np.arange(len(scores))
    if pieces < 4 * count:
        return np.argpartition(scores, -count)[-count:]
    tops = scores[: pieces * LARGEST_PIECE].reshape(LARGEST_PIECE, pieces).max(axis=0)
    reaching = np.flatnonzero(scores >= np.partition(tops, -count)[-count])
    return reaching[np.argpartition(scores[reaching], -count)[-count:]]


def _weights(space: Space) -> NDArray[np.float64]:
    """(modalities,), adding up to 1."""
    return np.array([space.weights[name] for name in modalities_of(space)])


def _roots(space: Space) -> NDArray[np.float32]:
    """(sum of dims,) the roots of the space's weights, which make a row's vectors its fused one."""
    return np.repeat(np.sqrt(_weights(space)), [space.dims[name] for name in modalities_of(space)]).astype(np.float32)


def _apart(vectors: NDArray[np.float32], present: NDArray[np.bool_], space: Space) -> dict[str, NDArray[np.float32]]:
    """A row of a block as modality -> unit vector."""
    names = modalities_of(space)
    edges = np.cumsum([space.dims[name] for name in names])[:-1]
    return {name: part for name, part, there in zip(names, np.split(vectors, edges), present, strict=True) if there}


def _check_weights(weights: Mapping[str, float], names: Sequence[str]) -> None:
    unknown = sorted(set(weights) - {*names, WORDS})
    if unknown:
        raise QueryError(f"no modality {', '.join(unknown)} to weigh; there are {', '.join([*names, WORDS])}")
    if not all(0 <= weight < math.inf for weight in weights.values()):
        raise QueryError(f"weights are finite and not negative, got {dict(weights)}")


def _check_vector(name: str, vector: NDArray[np.float32], space: Space) -> None:
    if name not in space.dims:
        raise QueryError(f"a query vector of {name!r}; the space has {', '.join(modalities_of(space))}")
    if vector.shape != (space.dims[name],):
        raise QueryError(f"the query's {name} wants shape ({space.dims[name]},), got {vector.shape}")
    length = float(np.linalg.norm(vector))
    if not abs(length - 1) <= UNIT_LENGTH_TOLERANCE:
        raise QueryError(f"the query's {name} wants a finite unit vector, got one of length {length:.4f}")
