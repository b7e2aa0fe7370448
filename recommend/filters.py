"""What a viewer's feed must not show: candidates go in, those that stay and those that go come out, each with a reason.

A reason is the first of `REASONS` that holds, so that every candidate is counted once. Where too few stay, what was
seen long ago may come again; nothing else ever does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

REASONS = (
    "unknown",  # no such place
    "private_or_removed",
    "flagged",  # by the caller: no feed shows it
    "own",  # the viewer made it
    "blocked",  # by the viewer: its creator, or the video itself (not interested, reported) or a copy of it
    "language",  # in none that the viewer reads
    "served_this_session",  # on the screen or not
    "seen",
    "same_bytes",  # as something seen, or as a better candidate
)
AGAIN = "seen_long_ago"
"""Why one that was seen is shown again: too little was left."""
AGAIN_AFTER_S = 30 * 86_400.0


class Columns(Protocol):
    """What is asked of a catalogue: columns by place."""

    @property
    def creator(self) -> NDArray[np.int32]: ...
    @property
    def language(self) -> NDArray[np.int32]: ...
    @property
    def content(self) -> NDArray[np.int64]: ...
    @property
    def shown(self) -> NDArray[np.bool_]: ...
    @property
    def flagged(self) -> NDArray[np.bool_]: ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rules:
    """What one viewer must not be shown now. All arrays increase, so that looking something up is a binary search."""

    own_creator: int = -1
    """Code of the viewer as a creator; -1: he is none."""
    blocked_creators: NDArray[np.int64]  # codes
    hidden_content: NDArray[np.int64]  # content of videos that he does not want to see again
    languages: NDArray[np.int64] | None  # codes; None: any
    session_places: NDArray[np.int64]  # served in this session
    seen_places: NDArray[np.int64]
    seen_content: NDArray[np.int64]
    seen_content_s: NDArray[np.float64]  # aligned with `seen_content`: when something of it was seen last
    again_before_s: float = -np.inf
    """What was seen last before this time may come again where too little is left."""

    def __post_init__(self) -> None:
        if self.seen_content.shape != self.seen_content_s.shape:
            raise ValueError(f"a time a content: got {self.seen_content.shape} and {self.seen_content_s.shape}")

    @classmethod
    def of(
        cls,
        columns: Columns,
        *,
        now_s: float,
        seen: Mapping[int, float],
        own_creator: int = -1,
        blocked_creators: Iterable[int] = (),
        hidden: Iterable[int] = (),
        session: Iterable[int] = (),
        languages: Iterable[int] | None = None,
        again_after_s: float = AGAIN_AFTER_S,
    ) -> Rules:
        """Make the rules of a viewer.

        Args:
            seen: place -> when he saw it last, seconds since 1970.
            hidden: places that he reported or does not want to see.
            session: places that this session has served.
            languages: codes of those that he reads; None or none at all: any.
        """
        places = np.fromiter(seen.keys(), np.int64, len(seen))
        times_s = np.fromiter(seen.values(), np.float64, len(seen))
        content = columns.content[places]
        order = np.lexsort((times_s, content))
        content, times_s = content[order], times_s[order]
        last = np.append(content[1:] != content[:-1], True)[: len(content)]
        read = None if languages is None else _increasing(languages)
        return cls(
            own_creator=own_creator,
            blocked_creators=_increasing(blocked_creators),
            hidden_content=np.unique(columns.content[_increasing(hidden)]),
            languages=read if read is not None and len(read) else None,
            session_places=_increasing(session),
            seen_places=np.sort(places),
            seen_content=content[last],
            seen_content_s=times_s[last],
            again_before_s=now_s - again_after_s,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Filtered:
    """Both halves; all indices are into the candidates that came, and increase except in `kept`."""

    kept: NDArray[np.int64]
    """In the order in which they came; those that are shown again after all others."""
    removed: Mapping[str, NDArray[np.int64]]
    """Of `REASONS` those that some candidate had."""
    again: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    """Those of `kept` that were seen before: reason `AGAIN`."""

    def counts(self) -> dict[str, int]:
        """How many each reason took, and how many came back."""
        counted = {reason: len(indices) for reason, indices in self.removed.items()}
        return counted | ({AGAIN: len(self.again)} if len(self.again) else {})


def apply(places: NDArray[Any], columns: Columns, rules: Rules, *, want: int = 0) -> Filtered:
    """Part candidates into those that may be shown and those that may not.

    Args:
        places: (m,) rows of `columns`, the better first: of two with the same bytes the first stays.
        want: fewer than this, and what was seen last before `rules.again_before_s` comes back, the first first.
    """
    reason = _reasons(places, columns, rules)
    kept = np.flatnonzero(reason < 0)
    again = np.zeros(0, np.int64)
    if len(kept) < want:
        again = _seen_long_ago(places, reason, columns, rules)[: want - len(kept)]
        reason[again] = -1
        kept = np.concatenate([kept, again])
    present = np.flatnonzero(np.bincount(reason[reason >= 0], minlength=len(REASONS)))
    removed = {REASONS[code]: np.flatnonzero(reason == code) for code in present.tolist()}
    return Filtered(kept=kept, removed=removed, again=again)


def why_not(place: int, columns: Columns, rules: Rules) -> str | None:
    """Why a video may not be shown to a viewer; None: it may."""
    code = int(_reasons(np.array([place]), columns, rules)[0])
    return None if code < 0 else REASONS[code]


def _reasons(places: NDArray[Any], columns: Columns, rules: Rules) -> NDArray[np.int8]:
    """(m,) number in `REASONS` of the first that holds; -1: none."""
    reason = np.full(len(places), -1, np.int8)
    known = (places >= 0) & (places < len(columns.shown))
    if not known.all():
        reason[~known] = REASONS.index("unknown")
        places = np.where(known, places, 0)
        if not known.any():
            return reason
    creator, content, language = columns.creator[places], columns.content[places], columns.language[places]
    alike = _among(content, rules.seen_content)
    seen = alike.copy()
    seen[alike] = _among(places[alike], rules.seen_places)  # what was seen has the bytes of something seen
    tests = {
        "private_or_removed": ~columns.shown[places],
        "flagged": columns.flagged[places],
        "own": (creator == rules.own_creator) & (creator >= 0),
        "blocked": _among(creator, rules.blocked_creators) | _among(content, rules.hidden_content),
        "language": (language >= 0) & ~_among(language, rules.languages)
        if rules.languages is not None
        else np.zeros(len(places), np.bool_),
        "served_this_session": _among(places, rules.session_places),
        "seen": seen,
        "same_bytes": alike,
    }
    for name in reversed(REASONS[1:]):  # the first that holds is written last
        reason[tests[name] & known] = REASONS.index(name)
    free = np.flatnonzero(reason < 0)
    reason[free[_repeats(content[free])]] = REASONS.index("same_bytes")
    return reason


def _seen_long_ago(places: NDArray[Any], reason: NDArray[np.int8], columns: Columns, rules: Rules) -> NDArray[np.int64]:
    """Indices of those that only long ago stands against, in the order in which they came, no content twice."""
    seen = np.flatnonzero((reason == REASONS.index("seen")) | (reason == REASONS.index("same_bytes")))
    content = columns.content[places[seen]]
    at = np.minimum(np.searchsorted(rules.seen_content, content), max(0, len(rules.seen_content) - 1))
    if not len(rules.seen_content):
        return np.zeros(0, np.int64)
    known = rules.seen_content[at] == content  # else it is a copy of a candidate that stays
    long_ago = known & (rules.seen_content_s[at] < rules.again_before_s)
    return np.asarray(seen[long_ago][~_repeats(content[long_ago])])


def _among(values: NDArray[Any], increasing: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(m,) which of the values are in an array that increases.

    >>> _among(np.array([3, 5, 9]), np.array([1, 5, 9]))
    array([False,  True,  True])
    """
    if not len(increasing):
        return np.zeros(len(values), np.bool_)
    at = np.searchsorted(increasing, values)
    return np.asarray(increasing[np.minimum(at, len(increasing) - 1)] == values)


def _repeats(values: NDArray[np.int64]) -> NDArray[np.bool_]:
    """(m,) which are equal to one before them.

    >>> _repeats(np.array([7, 3, 7, 7, 4]))
    array([False, False,  True,  True, False])
    """
    ordered = np.sort(values)
    if (ordered[1:] != ordered[:-1]).all():  # as it mostly is, and a twentieth of the work
        return np.zeros(len(values), np.bool_)
    order = np.argsort(values, kind="stable")
    repeated = np.zeros(len(values), np.bool_)
    repeated[order[1:]] = values[order[1:]] == values[order[:-1]]
    return repeated


def _increasing(values: Iterable[int]) -> NDArray[np.int64]:
    return np.unique(np.fromiter(values, np.int64))
