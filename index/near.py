"""Rows in memory, by their neighbourhoods: the likeliest of 100,000 in a millisecond, a pass over all takes eight.

Rows lie in lists around centres, as whole numbers of 8 bits, and a query looks through the lists nearest to it (IVF
with a scalar quantizer; faiss does it). What it finds is scored exactly afterwards, so all that it can do wrong is to
miss a row; it misses few where the query weighs its parts as the rows do, and many where it does not, since the parts
decide in which list a row lies. Rows come and go by blocks that never change, each under numbers of its own.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

ROWS_MIN = 20_000
"""Below it a pass over all rows is quick enough, and misses nothing."""
LISTS_PER_ROOT = 1.6
"""Lists, by the root of the rows: 506 for 100,000."""
LOOKED_THROUGH = 0.125
"""The share of the lists that a query looks through."""
TRAINED_ON = 40
"""Rows a list, of which the centres are made."""
OUTGROWN = 4
"""Centres are made anew when there are so many times the rows that they were made for."""


class Near:
    """Finds candidates among the rows of some blocks; from any number of threads.

    Args:
        blocks: key -> (n, dim) rows, which the centres are made of, and which are taken in.
        scale: (dim,) what each number of a row is multiplied by first.
    """

    def __init__(self, blocks: Mapping[str, NDArray[np.float32]], scale: NDArray[np.float32]) -> None:
        self._scale = scale
        self._made_for = sum(map(len, blocks.values()))
        lists = int(LISTS_PER_ROOT * self._made_for**0.5)
        dim = len(scale)
        self._index = faiss.IndexIVFScalarQuantizer(
            faiss.IndexFlatIP(dim), dim, lists, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
        )
        self._lists = lists
        self._index.train(_some(list(blocks.values()), TRAINED_ON * lists) * scale)
        self._lock = threading.Lock()
        self._firsts: dict[str, tuple[int, int]] = {}
        self._next = 0
        self.generation = 0
        """Counts the times that rows came or went: numbers are good for one of them."""
        self.keep(blocks)

    def is_outgrown(self, rows: int) -> bool:
        """Whether a new one is better for so many rows."""
        return rows > OUTGROWN * self._made_for

    def keep(self, blocks: Mapping[str, NDArray[np.float32]]) -> None:
        """Take in the blocks that are new, and leave out those that are gone."""
        with self._lock:
            self.generation += 1
            if self._next > OUTGROWN * max(self._made_for, sum(map(len, blocks.values()))):
                self._index.reset()  # of rows; the centres stay
                self._firsts, self._next = {}, 0
            for key in [key for key in self._firsts if key not in blocks]:
                first, count = self._firsts.pop(key)
                self._index.remove_ids(faiss.IDSelectorRange(first, first + count))
            for key, rows in blocks.items():
                if key not in self._firsts and len(rows):
                    first, self._next = self._next, self._next + len(rows)
                    self._firsts[key] = first, len(rows)
                    self._index.add_with_ids(rows * self._scale, np.arange(first, self._next))

    def firsts(self, keys: Sequence[str]) -> NDArray[np.int64]:
        """(keys,) the number of each block's first row; the others follow. -1: it has none."""
        return np.array([self._firsts.get(key, (-1, 0))[0] for key in keys], dtype=np.int64)

    def nearest(
        self,
        query: NDArray[np.float32],
        count: int,
        generation: int,
        among: NDArray[np.uint8] | None = None,
    ) -> NDArray[np.int64] | None:
        """Numbers of at most `count` rows with the largest dot products, best first.

        Args:
            query: (dim,).
            generation: that the caller's numbers are of.
            among: a bit a number, the lowest first, set for those that may be found; None: all may.

        Returns:
            None: rows have come or gone since, and the caller's numbers are of others.
        """
        found = self.nearest_many(query[None], count, generation, among)
        return None if found is None else found[0][0]

    def nearest_many(
        self,
        queries: NDArray[np.float32],
        count: int,
        generation: int,
        among: NDArray[np.uint8] | None = None,
        *,
        share: float = LOOKED_THROUGH,
    ) -> list[tuple[NDArray[np.int64], NDArray[np.float32]]] | None:
        """The same for (q, dim) queries at once, which costs less than one after the other.

        Args:
            share: of the lists, how many are looked through.

        Returns:
            Numbers, and the dot products as far as 8 bits tell them, a query.
        """
        said: dict[str, Any] = {"nprobe": max(1, round(share * self._lists))}
        if among is not None:
            said["sel"] = faiss.IDSelectorBitmap(among)  # type: ignore[call-arg,arg-type]  # its stubs are those of C++
        asked = faiss.SearchParametersIVF(**said)
        with self._lock:
            if generation != self.generation:
                return None
            products, found = self._index.search(queries, count, params=asked)
        return [
            (np.asarray(numbers[numbers >= 0]), np.asarray(row[numbers >= 0]))
            for numbers, row in zip(found, products, strict=True)
        ]


def _some(blocks: Sequence[NDArray[np.float32]], count: int) -> NDArray[np.float32]:
    """About `count` rows, from all blocks alike."""
    rng = np.random.default_rng(0)
    share = min(1.0, count / sum(map(len, blocks)))
    drawn = [rows[np.sort(rng.permutation(len(rows))[: round(share * len(rows))])] for rows in blocks]
    return np.concatenate(drawn)
