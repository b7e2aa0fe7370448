"""Every video that may be recommended, as columns in memory.

A video is its *place*, the number of its row here: places only ever grow, a change stays where it was, and a video
that is gone keeps its place and is no longer shown. Places and codes are good for one process; what is kept on a disk
names ids.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.near import ROWS_MIN, Near

UNKNOWN = -1
"""The place or code of what is not there."""
BLOCK_ROWS = 16_384
"""Rows that the neighbourhoods take in at once; a changed row takes its block out and in again."""
LOOKED_AT = 2_000
"""So many rows are looked at for a query, in the neighbourhoods next to it. A search wants the best ten and looks at an
eighth of all; a source wants some hundred good ones, and what it misses the others make up for."""
_FIRST_ROWS = 1_024


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Entry:
    """What a feed has to know of one video."""

    video_id: str
    vector: NDArray[np.float32]  # (dim,), the fused vector; any length but zero
    creator_id: str | None = None
    sound_id: str | None = None
    category: str | None = None
    category_confidence: float = 0.0
    language: str | None = None
    hashtags: tuple[str, ...] = ()
    duration_s: float = 0.0
    uploaded_s: float = 0.0
    """Seconds since 1970, UTC."""
    content_sha256: str = ""
    shown: bool = True
    """Public, and not erased."""
    flagged: bool = False
    """Its caller said that no feed may show it."""
    sensitive: bool = False
    """Its caller said that a feed should not be full of its like."""


class Codes:
    """Names and the numbers that stand for them in columns, from 0 on in order of first appearance."""

    def __init__(self, names: Iterable[str] = ()) -> None:
        self.names: list[str] = []
        self._of: dict[str, int] = {}
        for name in names:
            self.code(name)

    def __len__(self) -> int:
        return len(self.names)

    def code(self, name: str | None) -> int:
        """The code of a name, a new one where it is new; None is `UNKNOWN`."""
        if name is None:
            return UNKNOWN
        code = self._of.setdefault(name, len(self.names))
        if code == len(self.names):
            self.names.append(name)
        return code

    def find(self, name: str | None) -> int:
        """The code of a name; `UNKNOWN` where it has none."""
        return UNKNOWN if name is None else self._of.get(name, UNKNOWN)

    def find_all(self, names: Iterable[str]) -> NDArray[np.int64]:
        """(m,) codes of those names that have one, in their order."""
        codes = map(self._of.get, names)
        return np.array([code for code in codes if code is not None], dtype=np.int64)

    def name(self, code: int) -> str | None:
        return self.names[code] if code >= 0 else None


@dataclass(slots=True, kw_only=True)
class _Columns:
    """Room for more rows than there are, so that one more costs one row."""

    vectors: NDArray[np.float32]
    creator: NDArray[np.int32]
    sound: NDArray[np.int32]
    category: NDArray[np.int32]
    language: NDArray[np.int32]
    category_confidence: NDArray[np.float32]
    duration_s: NDArray[np.float64]
    uploaded_s: NDArray[np.float64]
    content: NDArray[np.int64]
    shown: NDArray[np.bool_]
    flagged: NDArray[np.bool_]
    sensitive: NDArray[np.bool_]

    @classmethod
    def with_room(cls, rows: int, dim: int) -> _Columns:
        codes = {name: np.full(rows, UNKNOWN, np.int32) for name in ("creator", "sound", "category", "language")}
        return cls(
            vectors=np.zeros((rows, dim), np.float32),
            **codes,
            category_confidence=np.zeros(rows, np.float32),
            duration_s=np.zeros(rows),
            uploaded_s=np.zeros(rows),
            content=np.full(rows, UNKNOWN, np.int64),
            shown=np.zeros(rows, np.bool_),
            flagged=np.zeros(rows, np.bool_),
            sensitive=np.zeros(rows, np.bool_),
        )


_COLUMNS = frozenset(field.name for field in fields(_Columns))


class Catalogue:
    """Columns of all videos; one thread writes, and any number read.

    Args:
        parts: modality -> where it lies in a vector, so that a distance can be taken by modality.
        categories: names of the content types, in the order of their codes.
        space: that the vectors are of.
    """

    vectors: NDArray[np.float32]  # (n, dim), unit rows
    creator: NDArray[np.int32]  # (n,), codes, `UNKNOWN` where there is none; so the next three
    sound: NDArray[np.int32]
    category: NDArray[np.int32]
    language: NDArray[np.int32]
    category_confidence: NDArray[np.float32]  # (n,), 0..1
    duration_s: NDArray[np.float64]  # (n,)
    uploaded_s: NDArray[np.float64]  # (n,), since 1970
    content: NDArray[np.int64]  # (n,), the same number: the same bytes
    shown: NDArray[np.bool_]  # (n,)
    flagged: NDArray[np.bool_]  # (n,)
    sensitive: NDArray[np.bool_]  # (n,)

    def __init__(self, parts: Mapping[str, slice], categories: Sequence[str], space: str = "") -> None:
        self.parts, self.categories, self.space = dict(parts), tuple(categories), space
        self.video_ids: list[str] = []
        self.hashtags: list[tuple[str, ...]] = []
        self.codes = {name: Codes() for name in ("creator", "sound", "language")} | {"category": Codes(categories)}
        self.of_creator: dict[int, list[int]] = {}
        """Creator code -> places of his videos, in the order in which they came."""
        self.of_sound: dict[int, list[int]] = {}
        self.of_hashtag: dict[str, list[int]] = {}
        self.version = 0
        """Counts the changes."""
        self._columns = _Columns.with_room(_FIRST_ROWS, max((part.stop for part in self.parts.values()), default=0))
        self._place_of: dict[str, int] = {}
        self._content_of: dict[str, int] = {}
        self._near: Near | None = None
        self._near_places: NDArray[np.intp] = np.empty(0, np.intp)
        self._near_version = -1
        self._block_versions: dict[int, int] = {}
        self._lock = threading.RLock()

    def __len__(self) -> int:
        return len(self.video_ids)

    def __getattr__(self, name: str) -> Any:
        """A column, as long as there are videos."""
        if name in _COLUMNS:
            return getattr(self._columns, name)[: len(self.video_ids)]
        raise AttributeError(f"a catalogue has no {name!r}")

    @property
    def dim(self) -> int:
        return int(self._columns.vectors.shape[1])

    def place_of(self, video_id: str | None) -> int:
        return UNKNOWN if video_id is None else self._place_of.get(video_id, UNKNOWN)

    def places_of(self, video_ids: Iterable[str]) -> NDArray[np.intp]:
        """(m,) places; ids that are not here are left out."""
        found = (self._place_of.get(video_id, UNKNOWN) for video_id in video_ids)
        return np.array([place for place in found if place >= 0], dtype=np.intp)

    # Changing --------------------------------------------------------------------------------------------------------

    def put(self, entries: Iterable[Entry]) -> None:
        """Take in videos, or what has changed of them.

        Raises:
            ValueError: a vector of another size, or of no length, or a category that there is not.
        """
        with self._lock:
            for entry in entries:
                self._put(entry)
            self.version += 1

    def has(self, entry: Entry) -> bool:
        """Whether all of it is known already: files of a table are rewritten without a change of what is in them."""
        place = self.place_of(entry.video_id)
        if place == UNKNOWN:
            return False
        columns, codes = self._columns, self.codes
        return bool(
            np.array_equal(columns.vectors[place], entry.vector / float(np.linalg.norm(entry.vector)))
            and columns.creator[place] == codes["creator"].find(entry.creator_id)
            and columns.sound[place] == codes["sound"].find(entry.sound_id)
            and columns.category[place] == codes["category"].find(entry.category)
            and columns.language[place] == codes["language"].find(entry.language)
            and abs(columns.category_confidence[place] - entry.category_confidence) < 1e-4  # sums are of a batch
            and columns.duration_s[place] == entry.duration_s
            and columns.uploaded_s[place] == entry.uploaded_s
            and columns.content[place] == self._content_of.get(entry.content_sha256 or entry.video_id, UNKNOWN)
            and (columns.shown[place], columns.flagged[place], columns.sensitive[place])
            == (entry.shown, entry.flagged, entry.sensitive)
            and self.hashtags[place] == entry.hashtags
        )

    def withdraw(self, video_ids: Iterable[str]) -> None:
        """Show these no more: erased, or private now. Their places stay theirs."""
        with self._lock:
            places = self.places_of(video_ids)
            self._columns.shown[places] = False
            self.version += 1

    def _put(self, entry: Entry) -> None:
        length = float(np.linalg.norm(entry.vector))
        if entry.vector.shape != (self.dim,) or not 0 < length < np.inf:
            raise ValueError(
                f"{entry.video_id}: a vector of shape ({self.dim},) and a length is wanted, "
                f"got {entry.vector.shape}, length {length:.4g}"
            )
        if entry.category is not None and self.codes["category"].find(entry.category) == UNKNOWN:
            raise ValueError(
                f"{entry.video_id}: no category {entry.category!r}; there are {', '.join(self.categories)}"
            )
        place = self._place_of.get(entry.video_id, UNKNOWN)
        is_new = place == UNKNOWN
        if is_new:
            place = self._room_for_one()
        columns = self._columns
        self._file(place, entry)
        columns.vectors[place] = entry.vector / length
        columns.category[place] = self.codes["category"].find(entry.category)
        columns.language[place] = self.codes["language"].code(entry.language)
        columns.category_confidence[place] = entry.category_confidence
        columns.duration_s[place] = entry.duration_s
        columns.uploaded_s[place] = entry.uploaded_s
        columns.content[place] = self._content_of.setdefault(
            entry.content_sha256 or entry.video_id, len(self._content_of)
        )
        columns.shown[place] = entry.shown
        columns.flagged[place] = entry.flagged
        columns.sensitive[place] = entry.sensitive
        block = place // BLOCK_ROWS
        self._block_versions[block] = self._block_versions.get(block, -1) + 1
        if is_new:  # last: readers take their lengths from here, and find a whole row
            self.video_ids.append(entry.video_id)
            self._place_of[entry.video_id] = place

    def _room_for_one(self) -> int:
        """The next place, with room for its row."""
        place = len(self.video_ids)
        room = len(self._columns.shown)
        if place == room:
            more = _Columns.with_room(2 * room, self.dim)
            for name in _COLUMNS:
                getattr(more, name)[:room] = getattr(self._columns, name)
            self._columns = more
        if len(self.hashtags) == place:
            self.hashtags.append(())
        return place

    def _file(self, place: int, entry: Entry) -> None:
        """Keep the lists by creator, sound and hashtag right."""
        for kept, column, code in (
            (self.of_creator, self._columns.creator, self.codes["creator"].code(entry.creator_id)),
            (self.of_sound, self._columns.sound, self.codes["sound"].code(entry.sound_id)),
        ):
            before = int(column[place])
            if before != code:
                if before >= 0:
                    kept[before].remove(place)
                if code >= 0:
                    kept.setdefault(code, []).append(place)
                column[place] = code
        for hashtag in set(self.hashtags[place]) - set(entry.hashtags):
            self.of_hashtag[hashtag].remove(place)
        for hashtag in set(entry.hashtags) - set(self.hashtags[place]):
            self.of_hashtag.setdefault(hashtag, []).append(place)
        self.hashtags[place] = entry.hashtags

    # Asking ----------------------------------------------------------------------------------------------------------

    def nearest(self, queries: NDArray[np.float32], count: int) -> list[tuple[NDArray[np.intp], NDArray[np.float32]]]:
        """The videos that are most like each query, best first.

        Exact up to `ROWS_MIN` videos; by neighbourhoods beyond, where a few may be missed.

        Args:
            queries: (q, dim), unit rows.
            count: how many are wanted a query; at most so many come.

        Returns:
            A query's places and their cosines.
        """
        nothing = np.empty(0, np.intp), np.empty(0, np.float32)
        if not len(queries) or not len(self):
            return [nothing for _ in queries]
        near = self._neighbourhoods()
        if near is None:
            products = queries @ self.vectors.T  # (q, n)
            return [(places, row[places]) for row in products for places in (_largest(row, count),)]
        share = LOOKED_AT / len(self)
        found = near[0].nearest_many(queries, count, near[0].generation, share=share)
        return (
            [(near[1][numbers], products) for numbers, products in found]
            if found is not None
            else [nothing] * len(queries)
        )

    def _neighbourhoods(self) -> tuple[Near, NDArray[np.intp]] | None:
        """The neighbourhoods, and the place of each of their numbers; None: few videos do without."""
        if len(self) < ROWS_MIN:
            return None
        with self._lock:
            if self._near is None or self._near_version != self.version:
                blocks = {f"{block}:{self._block_versions[block]}": rows for block, rows in self._blocks()}
                if self._near is None or self._near.is_outgrown(len(self)):
                    self._near = Near(blocks, np.ones(self.dim, np.float32))
                else:
                    self._near.keep(blocks)
                firsts = self._near.firsts(list(blocks))
                places = np.full(int(firsts.max()) + BLOCK_ROWS, UNKNOWN, np.intp)
                for (block, rows), first in zip(self._blocks(), firsts, strict=True):
                    places[first : first + len(rows)] = np.arange(len(rows)) + block * BLOCK_ROWS
                self._near_places, self._near_version = places, self.version
            return self._near, self._near_places

    def _blocks(self) -> Iterator[tuple[int, NDArray[np.float32]]]:
        for start in range(0, len(self), BLOCK_ROWS):
            yield start // BLOCK_ROWS, self.vectors[start : start + BLOCK_ROWS]


def _largest(scores: NDArray[np.float32], count: int) -> NDArray[np.intp]:
    """Places of the largest, best first; of equal ones the lowest place first."""
    count = min(count, len(scores))
    some = np.argpartition(-scores, count - 1)[:count] if count < len(scores) else np.arange(len(scores))
    return np.asarray(some[np.lexsort((some, -scores[some]))], dtype=np.intp)
