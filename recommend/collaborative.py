"""Who watches this also watches that: factors of videos, and neighbours, learnt from the log alone.

Implicit ALS (Hu, Koren & Volinsky 2008, "Collaborative filtering for implicit feedback datasets"): a long view or a
like says with confidence that a viewer takes to a video, a quick skip with some that he does not, and a video that he
never met says a little of that too. Viewers keep no factors: whoever comes is folded in from what he watched last, by
the same least squares, so that somebody new and the next event of somebody known need no training.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sparse
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from recommend.catalogue import UNKNOWN, Catalogue

FACTORS = 32
REGULARISATION = 0.05
CONFIDENCE = 5.0
"""How much a watch of strength 1 says beside a video that was never met."""
STRENGTH_MAX = 4.0
"""What a viewer says of one video counts for so much at most, however often he says it."""
ROUNDS = 12
NEIGHBOURS = 50
"""Kept a video."""
NEIGHBOURS_FROM = 5.0
"""So many watchers are added to a video's own when a share of them is taken: two of two say little."""
FILE = "collaborative.npz"

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trained:
    """What was learnt, by video id."""

    video_ids: NDArray[np.str_]  # (n,)
    factors: NDArray[np.float32]  # (n, f)
    neighbours: NDArray[np.int32]  # (n, k), rows of the same table, most alike first; -1: no more

    def __post_init__(self) -> None:
        if not len(self.video_ids) == len(self.factors) == len(self.neighbours):
            raise ValueError(
                f"a row a video: got {len(self.video_ids)} ids, {self.factors.shape} and {self.neighbours.shape}"
            )

    def save(self, folder: Path) -> None:
        """Write one file, whole or not at all."""
        folder.mkdir(parents=True, exist_ok=True)
        kept = folder / f".{FILE}.{os.getpid()}"
        with kept.open("wb") as file:
            np.savez(file, video_ids=self.video_ids, factors=self.factors, neighbours=self.neighbours)
            file.flush()
            os.fsync(file.fileno())
        kept.replace(folder / FILE)

    @classmethod
    def load(cls, folder: Path) -> Trained:
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: nothing was trained yet.
        """
        with np.load(folder / FILE, allow_pickle=False) as arrays:
            return cls(**{name: arrays[name] for name in ("video_ids", "factors", "neighbours")})


def train(
    viewers: NDArray[Any], videos: NDArray[Any], strengths: Floats, *, factors: int = FACTORS, seed: int = 1
) -> Trained:
    """Learn from who did what.

    Args:
        viewers: (n,) ids or numbers.
        videos: (n,) ids.
        strengths: (n,) how much each says; below 0: that he did not take to it. Those of one pair add up.

    Returns:
        Every video that somebody took to; the same for the same rows in any order of viewers.
    """
    liked = np.unique(videos[strengths > 0])
    known = np.isin(videos, liked)
    items, columns = np.unique(videos[known], return_inverse=True)
    users, rows = np.unique(viewers[known], return_inverse=True)
    table = sparse.coo_matrix(
        (strengths[known].astype(np.float32), (rows, columns)), shape=(len(users), len(items))
    ).tocsr()  # adds up what is of one pair
    table.data = np.clip(table.data, -STRENGTH_MAX, STRENGTH_MAX)
    if not len(items):
        return Trained(
            video_ids=np.empty(0, np.str_),
            factors=np.empty((0, factors), np.float32),
            neighbours=np.empty((0, NEIGHBOURS), np.int32),
        )
    from implicit.als import AlternatingLeastSquares  # it brings a progress bar that complains in notebooks

    with threadpool_limits(1, user_api="blas"):  # implicit's own threads and those of the BLAS fight for the cores
        model = AlternatingLeastSquares(
            factors=factors,
            regularization=REGULARISATION,
            alpha=CONFIDENCE,
            iterations=ROUNDS,
            random_state=seed,
            num_threads=1,
        )
        model.fit(table, show_progress=False)
    return Trained(
        video_ids=np.asarray(items, dtype=np.str_),
        factors=np.asarray(model.item_factors, dtype=np.float32),
        neighbours=_neighbours(table),
    )


def _neighbours(table: sparse.csr_matrix, rows_at_once: int = 2_048) -> NDArray[np.int32]:
    """(n, NEIGHBOURS) the videos that most of a video's likers liked too, of those that not everybody likes."""
    took = (table > 0).astype(np.float32)
    watchers = np.asarray(took.sum(axis=0)).ravel() + NEIGHBOURS_FROM
    by_video = took.T.tocsr()
    found = np.full((table.shape[1], NEIGHBOURS), UNKNOWN, np.int32)
    for start in range(0, len(found), rows_at_once):
        together = (by_video[start : start + rows_at_once] @ took).tocsr()
        for i in range(together.shape[0]):
            row = slice(together.indptr[i], together.indptr[i + 1])
            others, counts = together.indices[row], together.data[row]
            cosine = np.where(others == start + i, -1, counts / np.sqrt(watchers[others] * watchers[start + i]))
            best = np.lexsort((others, -cosine))[:NEIGHBOURS]
            best = best[cosine[best] > 0]
            found[start + i, : len(best)] = others[best]
    return found


class Collaborative:
    """What was learnt, by the places of a catalogue. Videos that came since have no factors, and are named by others.

    Args:
        trained: by id; videos that the catalogue does not have are left out.
    """

    def __init__(self, trained: Trained, catalogue: Catalogue) -> None:
        places = np.array([catalogue.place_of(str(one)) for one in trained.video_ids], dtype=np.intp)
        self._places = places
        self._row_of = {int(place): row for row, place in enumerate(places) if place >= 0}
        self._neighbours = trained.neighbours
        self._factors = trained.factors.astype(np.float64)
        self._gram = self._factors.T @ self._factors + REGULARISATION * np.eye(self._factors.shape[1])

    @classmethod
    def load(cls, folder: Path, catalogue: Catalogue) -> Collaborative:
        """Read what training wrote. Raises FileNotFoundError where nothing was trained yet."""
        return cls(Trained.load(folder), catalogue)

    def vectors(self, places: NDArray[np.intp]) -> NDArray[np.float32]:
        """(m, f) factors; zeros for videos without any."""
        found = np.zeros((len(places), self._factors.shape[1]), np.float32)
        for i, place in enumerate(places.tolist()):
            if place in self._row_of:
                found[i] = self._factors[self._row_of[place]]
        return found

    def fold_in(self, places: Sequence[int], strengths: Sequence[float]) -> NDArray[np.float32]:
        """(f,) the factors of a viewer who did this: the least squares that training solves for each viewer.

        Args:
            places: what he watched; those without factors, and -1, say nothing.
            strengths: as in training; of one place the sum counts.
        """
        said: dict[int, float] = {}
        for place, strength in zip(places, strengths, strict=True):
            row = self._row_of.get(place)
            if row is not None:
                said[row] = said.get(row, 0.0) + strength
        if not said:
            return np.zeros(self._factors.shape[1], np.float32)
        rows = self._factors[list(said)]
        confidence = CONFIDENCE * np.array(list(said.values()))
        # Preference 1 with confidence c where c > 0, and 0 with |c| where c < 0; beside 1 for what he never met.
        normal = self._gram + (rows * (np.abs(confidence) - 1)[:, None]).T @ rows
        return np.asarray(np.linalg.solve(normal, rows.T @ np.maximum(confidence, 0)), dtype=np.float32)

    def nearest(self, watched: Sequence[int], strengths: Sequence[float], count: int) -> NDArray[np.intp]:
        """The places that a viewer who watched these takes to most, best first, without those themselves."""
        viewer = self.fold_in(watched, strengths)
        if not viewer.any():
            return np.empty(0, np.intp)
        scores = self._factors @ viewer
        out = self._places < 0
        out[[self._row_of[place] for place in set(watched) if place in self._row_of]] = True
        scores[out] = -np.inf
        count = min(count, int((~out).sum()))
        some = np.argpartition(-scores, count - 1)[:count] if 0 < count < len(scores) else np.arange(len(scores))
        return np.asarray(self._places[some[np.lexsort((some, -scores[some]))][:count]], dtype=np.intp)

    def beside(self, place: int, count: int) -> NDArray[np.intp]:
        """The places that are watched by those who watched this one, most alike first."""
        row = self._row_of.get(place)
        if row is None:
            return np.empty(0, np.intp)
        rows = self._neighbours[row]
        found = self._places[rows[rows >= 0]]
        return np.asarray(found[found >= 0][:count], dtype=np.intp)
