"""Sources: where candidates come from. Each has a quota and a reason; together they name at most a thousand.

| source | why |
|---|---|
| `short_term` | like what he watched in the last hours |
| `interests` | like one of his long-term interests |
| `co_watched` | watched by those who watched the same |
| `collaborative` | liked by those who like the same (factors of the log) |
| `followed` | by somebody he follows |
| `trending`, `rising` | going on now in his segment and language; with a sound or hashtag that rises |
| `category` | proven, of a category that he likes |
| `popular` | proven, whoever watches |
| `fresh` | new: its first look |
| `explore` | next to his interests, and not of them |
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from recommend.boards import Boards
from recommend.catalogue import UNKNOWN, Catalogue
from recommend.state import Viewer

QUOTAS: Mapping[str, int] = {
    "short_term": 150, "interests": 200, "co_watched": 60, "collaborative": 120, "followed": 60, "trending": 60,
    "rising": 40, "category": 100, "popular": 60, "fresh": 80, "explore": 70,
}  # fmt: skip
"""How many each source may name; 1,000 together. A video that two name is the first one's."""
NAMES = tuple(QUOTAS)
LIKE_AT = 0.3
"""A neighbour with a smaller cosine is the nearest there is, and not like it."""
INTERESTS = 5
"""So many of the long-term interests are asked for neighbours."""
CO_WATCHED_FROM = 6
"""So many of the last liked videos are asked for what is watched beside them."""
CATEGORIES = 3
ADJACENT = 0.75
"""How far an adjacent query leans from the interest that it starts at to a video drawn at random."""
ADJACENT_QUERIES = 2


class Collaborative(Protocol):
    """What is needed of `recommend/collaborative.py`: videos by their places."""

    def nearest(self, watched: Sequence[int], strengths: Sequence[float], count: int) -> NDArray[np.intp]: ...
    def beside(self, place: int, count: int) -> NDArray[np.intp]: ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Candidates:
    """Videos that may come on the page, each once."""

    places: NDArray[np.intp]  # (m,)
    source: NDArray[np.int16]  # (m,), which of `NAMES` named it first
    because: NDArray[np.intp]  # (m,), the place of a video that he watched and it follows from; -1: none

    def __post_init__(self) -> None:
        if not len(self.places) == len(self.source) == len(self.because):
            raise ValueError(
                f"one source and reason a place: got {len(self.places)}, {len(self.source)}, {len(self.because)}"
            )

    def __len__(self) -> int:
        return len(self.places)

    def by_source(self) -> dict[str, int]:
        """Source -> how many it named; those that named none are left out."""
        counts = np.bincount(self.source, minlength=len(NAMES)).tolist()
        return {name: count for name, count in zip(NAMES, counts, strict=True) if count}

    def take(self, at: NDArray[np.intp]) -> Candidates:
        return Candidates(places=self.places[at], source=self.source[at], because=self.because[at])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Asked:
    """Everything that a source may look at."""

    viewer: Viewer
    catalogue: Catalogue
    boards: Boards
    now_s: float
    rng: np.random.Generator
    collaborative: Collaborative | None = None
    language: int = UNKNOWN


Named = tuple[NDArray[np.intp], int]
"""Places, the best first, and the place of what they follow from."""


def gather(asked: Asked, quotas: Mapping[str, int] = QUOTAS, *, again: bool = False) -> Candidates:
    """Ask every source for what it may name beyond its quota, leave out what he has seen, and take each video once.

    Sources that follow from several things are taken from in turns, so that no interest fills the quota of all.

    Args:
        again: name what he has seen too: there may be nothing else left.
    """
    free = np.ones(len(asked.catalogue), np.bool_)
    if not again:
        free[np.fromiter(asked.viewer.seen, np.intp, len(asked.viewer.seen))] = False
    parts = []
    for number, (name, quota) in enumerate(quotas.items()):
        places, because = _in_turns(_SOURCES[name](asked, 2 * quota))
        _, first = np.unique(places, return_index=True)
        first.sort()
        taken = first[free[places[first]]][:quota]
        free[places[taken]] = False
        parts.append((places[taken], np.full(len(taken), number, np.int16), because[taken]))
    columns = [np.concatenate(column) for column in zip(*parts, strict=True)]
    return Candidates(places=columns[0], source=columns[1], because=columns[2])


def with_any(candidates: Candidates, catalogue: int, count: int, rng: np.random.Generator) -> Candidates:
    """The candidates, and behind them up to `count` videos drawn from all."""
    drawn = np.unique(rng.integers(catalogue, size=count)) if catalogue else np.empty(0, np.intp)
    drawn = drawn[~np.isin(drawn, candidates.places)]
    return Candidates(
        places=np.concatenate([candidates.places, drawn]),
        source=np.concatenate([candidates.source, np.full(len(drawn), NAMES.index("popular"), np.int16)]),
        because=np.concatenate([candidates.because, np.full(len(drawn), UNKNOWN, np.intp)]),
    )


def _in_turns(named: Sequence[Named]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """One of each list, then the second of each, and so on: places, and what each follows from."""
    if not named:
        return np.empty(0, np.intp), np.empty(0, np.intp)
    if len(named) == 1:
        return named[0][0], np.full(len(named[0][0]), named[0][1], np.intp)
    places = np.concatenate([places for places, _ in named])
    because = np.repeat([because for _, because in named], [len(places) for places, _ in named])
    turn = np.concatenate([np.arange(len(places)) for places, _ in named])
    order = np.argsort(turn, kind="stable")
    return places[order], because[order].astype(np.intp)


def _short_term(asked: Asked, count: int) -> list[Named]:
    viewer = asked.viewer
    length = float(np.linalg.norm(viewer.short))
    liked = [one.place for one in viewer.recent if one.strength > 0]
    if length < 1e-6 or not liked:
        return []
    query = viewer.short / np.float32(length)
    because = liked[int((asked.catalogue.vectors[liked] @ query).argmax())]
    return [(_like(*asked.catalogue.nearest(query[None], count)[0]), because)]


def _interests(asked: Asked, count: int) -> list[Named]:
    viewer = asked.viewer
    order = viewer.interest_order(asked.now_s)[:INTERESTS]
    each = 2 * count // max(len(order), 1)
    found = asked.catalogue.nearest(viewer.centroids[order], each)
    return [
        (_like(places, cosines), viewer.exemplars[at][-1] if viewer.exemplars[at] else UNKNOWN)
        for at, (places, cosines) in zip(order.tolist(), found, strict=True)
    ]


def _like(places: NDArray[np.intp], cosines: NDArray[np.float32]) -> NDArray[np.intp]:
    return np.asarray(places[cosines >= LIKE_AT])


def _co_watched(asked: Asked, count: int) -> list[Named]:
    if asked.collaborative is None:
        return []
    liked = [one.place for one in reversed(asked.viewer.recent) if one.strength > 0][:CO_WATCHED_FROM]
    return [(asked.collaborative.beside(place, count // CO_WATCHED_FROM), place) for place in liked]


def _collaborative(asked: Asked, count: int) -> list[Named]:
    liked = [one for one in asked.viewer.recent if one.strength > 0]
    if asked.collaborative is None or not liked:
        return []
    places = [one.place for one in liked]
    return [(asked.collaborative.nearest(places, [one.strength for one in liked], count), UNKNOWN)]


def _followed(asked: Asked, count: int) -> list[Named]:
    catalogue = asked.catalogue
    creators = catalogue.codes["creator"].find_all(asked.viewer.follows).tolist()
    by = [place for creator in creators for place in catalogue.of_creator.get(creator, ())[-count:]]
    places = np.array(by, dtype=np.intp)
    return [(places[np.argsort(-catalogue.uploaded_s[places], kind="stable")][:count], UNKNOWN)]


def _trending(asked: Asked, count: int) -> list[Named]:
    """Of his segment, of his language, of everybody, in turns; where a list is missing, the others make up for it."""
    lists = asked.boards
    segment, language = asked.viewer.segment_at(asked.now_s), asked.language
    own = (lists.trending_for.get(segment), lists.trending_in.get(language), lists.trending)
    return [(places[:count], UNKNOWN) for places in own if places is not None]


def _rising(asked: Asked, count: int) -> list[Named]:
    return [(asked.boards.of_rising[:count], UNKNOWN)]


def _category(asked: Asked, count: int) -> list[Named]:
    liked = {code: one.faded(asked.now_s) for code, one in asked.viewer.by_category.items()}
    best = sorted(liked, key=lambda code: liked[code][1] - liked[code][0])[:CATEGORIES]
    return [(asked.boards.by_category[code][:count], UNKNOWN) for code in best if liked[code][0] > liked[code][1]]


def _popular(asked: Asked, count: int) -> list[Named]:
    """For somebody new the best of every category: one proven list would be of the largest category alone."""
    lists = list(asked.boards.by_category.values()) if asked.viewer.is_new else []
    return [(places[:count], UNKNOWN) for places in (asked.boards.popular, *lists)]


def _fresh(asked: Asked, count: int) -> list[Named]:
    """Those like his interests first, and as many whatever they are like: a first look must not need a likeness."""
    new = asked.boards.new
    if not len(new):
        return []
    drawn = np.unique(new[asked.rng.integers(len(new), size=3 * count)])
    asked.rng.shuffle(drawn)
    if not len(asked.viewer.weights):
        return [(drawn, UNKNOWN)]
    likeness = (asked.catalogue.vectors[drawn] @ asked.viewer.centroids.T).max(axis=1)
    return [(drawn[np.argsort(-likeness, kind="stable")], UNKNOWN), (drawn, UNKNOWN)]


def _explore(asked: Asked, count: int) -> list[Named]:
    """What is like the middle between an interest and anything else: adjacent, and distinct."""
    viewer, catalogue = asked.viewer, asked.catalogue
    if not len(viewer.weights) or not len(catalogue):
        return []
    order = viewer.interest_order(asked.now_s)
    starts = order[np.arange(ADJACENT_QUERIES) % len(order)]
    towards = catalogue.vectors[asked.rng.integers(len(catalogue), size=len(starts))]
    queries = (1 - ADJACENT) * viewer.centroids[starts] + ADJACENT * towards
    queries /= np.maximum(np.linalg.norm(queries, axis=1, keepdims=True), 1e-9)
    found = catalogue.nearest(queries.astype(np.float32), 2 * count // ADJACENT_QUERIES)
    return [
        (places, viewer.exemplars[at][-1] if viewer.exemplars[at] else UNKNOWN)
        for at, (places, _) in zip(starts.tolist(), found, strict=True)
    ]


_SOURCES: Mapping[str, Callable[[Asked, int], list[Named]]] = {
    "short_term": _short_term, "interests": _interests, "co_watched": _co_watched, "collaborative": _collaborative,
    "followed": _followed, "trending": _trending, "rising": _rising, "category": _category, "popular": _popular,
    "fresh": _fresh, "explore": _explore,
}  # fmt: skip
