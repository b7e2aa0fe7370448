"""What is known of a viewer: a fold of what he did, in the order in which the log took it in.

The same records give the same state, bit for bit, in whichever process; so a state is kept as a
snapshot with the place in the log that it stands for, and what came since is folded onto it. Everything in it fades or
is bounded: a viewer of ten years takes as much room as one of ten days.

Interests are kept at two speeds. `short` is a sum of what was watched that halves every two hours: what he is after
now. `centroids` are running means of what he likes, each for one interest, that halve over weeks: who he is.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

from index.records import Event, Impression, canonical_json
from recommend.catalogue import UNKNOWN, Catalogue
from recommend.counts import COMPLETE, FOLLOW, IMPRESSION, LIKE, LONG_VIEW, NEGATIVE, SHARE, SIGNALS
from recommend.labels import complete, long_view, short_play

FOLD = 6
"""Counts the changes of what a record does to a state; snapshots of another number are no good."""
DAY_S = 86_400.0
HOUR_S = 3_600.0
SHORT_S = 2 * 3_600.0
"""Half-life of the short-term vector."""
LONG_S = 21 * 86_400.0
"""Half-life of centroids and affinities."""
CENTROIDS = 8
JOINS_AT = 0.45
"""A liked video joins the interest whose centroid has this cosine with it or more, and founds a new one otherwise."""
INTERESTED_AT = 0.9
"""From this strength on a video shapes the long-term interests."""
RECENT, SEEN, SERVED, EXEMPLARS, AFFINITIES, HIDDEN = 64, 2_000, 1_000, 4, 256, 2_000
"""How many of each are kept; those touched longest ago go first."""
WANTED = 64
"""So many targets a viewer may want more or less of."""
SESSION_GAP_S = 1_800.0
"""Whoever comes back after so long begins another session, where the app does not say."""
KNOWN_AT = 3.0
"""Liking of so much in all, and a viewer is of the segment of the category that he likes most."""

STRENGTHS: Mapping[str, float] = {
    "like": 2.0, "unlike": -2.0, "share": 3.0, "comment": 1.5, "save": 2.0, "unsave": -2.0, "follow": 2.0,
    "replay": 1.0, "skip": -0.5, "not_interested": -3.0, "report": -4.0,
}  # fmt: skip
"""How much an event says about what its viewer likes; a view is weighed by how it was watched."""
COMPLETED, LOOPED, LONG_VIEWED, SHORT_PLAYED = 1.0, 1.5, 1.0, -0.5
LOOKED_UP = 1.5
"""Times as much a watch says of liking where he found the video by a search: he asked for it."""
PAUSED = 0.25
"""A pause: he looks closely, or was called away. It says something of creator, sound and category, once a video and
session, and is too little to say what he likes to watch."""
SEARCHED, SEARCHED_MOST = 0.5, 1.0
"""What a search adds to the liking of what it names, and how far searching alone can take that."""
HASHTAG_MOST = 2_000
"""A hashtag of more videos is of everything, and would be slow to read."""
TIRED_S = DAY_S
"""Half-life of tiredness."""
MAKES_UP_FOR = 3.0
"""Servings that a long view makes up for: about so many are served for each (`counts.BASE_RATES`)."""
PATIENCE_CREATOR, PATIENCE_SOUND, PATIENCE_CATEGORY = 4.0, 6.0, 24.0
"""So many servings that came to nothing, and half of his interest in it is gone. A page of 20 has two of a creator or a
sound at most, and eight of a category."""
ON_SCREEN = ("impression", "view", "skip", "scroll")
"""Kinds that say that a video was on the screen; several of one video in one session are one showing of it."""
_COUNTED = {"like": LIKE, "share": SHARE, "follow": FOLLOW, "not_interested": NEGATIVE, "report": NEGATIVE}


class OtherFold(ValueError):
    """A snapshot of another space, or that another version of this file made: fold the log again."""


@dataclass(slots=True)
class Affinity:
    """What a viewer made of everything of one creator, sound or category; fades."""

    liked: float = 0.0
    disliked: float = 0.0
    shown: float = 0.0
    tired: float = 0.0
    """Servings that came to nothing; fades within days."""
    time_s: float = 0.0

    def faded(self, now_s: float) -> tuple[float, float, float]:
        """(liked, disliked, shown) as they are at `now_s`."""
        by = 2.0 ** -(max(now_s - self.time_s, 0.0) / LONG_S)
        return self.liked * by, self.disliked * by, self.shown * by

    def tired_at(self, now_s: float) -> float:
        return self.tired * 2.0 ** ((self.time_s - now_s) / TIRED_S) if now_s > self.time_s else self.tired

    def add(self, time_s: float, strength: float, shown: float, served: float = 0.0) -> None:
        newest = max(self.time_s, time_s)
        before, late = self.faded(newest), 2.0 ** -((newest - time_s) / LONG_S)
        tired = self.tired_at(newest) if self.tired else 0.0
        if served or tired:
            made_up = MAKES_UP_FOR * min(max(strength, 0.0), 1.0)
            tired += (served - made_up) * 2.0 ** -((newest - time_s) / TIRED_S)
        self.liked = before[0] + max(strength, 0.0) * late
        self.disliked = before[1] + max(-strength, 0.0) * late
        self.shown = before[2] + shown * late
        self.tired = max(tired, 0.0)
        self.time_s = newest


@dataclass(frozen=True, slots=True)
class Counted:
    """A signal that goes into the counts of a video: once a viewer, video and signal."""

    signal: int
    place: int
    time_s: float
    segment: int
    weight: float = 1.0


@dataclass(frozen=True, slots=True)
class Watched:
    """Something that a viewer did with a video, and how much it says about his liking."""

    place: int
    strength: float
    time_s: float


@dataclass(slots=True)
class Dials:
    """What a viewer set his feed to."""

    explore: float | None = None
    """0: nothing new, 1: much; None: as the system thinks."""
    wanted: dict[str, int] = field(default_factory=dict)
    """Target (`category:food`, `creator:…`, `sound:…`) -> 1 more, -1 less."""


@dataclass(slots=True, eq=False)
class Viewer:
    """One viewer, as the log has it up to `seq`."""

    viewer_id: str
    dim: int
    categories: int
    seq: int = 0
    records: int = 0
    """Folded in so far."""
    first_s: float = 0.0
    last_s: float = 0.0
    short: NDArray[np.float32] = field(init=False)  # (dim,), not of unit length: its length says how much there is
    centroids: NDArray[np.float32] = field(init=False)  # (k, dim), unit rows
    weights: NDArray[np.float64] = field(init=False)  # (k,), as of `centroid_times_s`
    centroid_times_s: NDArray[np.float64] = field(init=False)  # (k,)
    exemplars: list[list[int]] = field(default_factory=list)
    """Of each centroid, the places of the last videos that joined it."""
    totals: NDArray[np.float64] = field(init=False)  # (signals,), as of `last_s`, fading like the centroids
    recent: list[Watched] = field(default_factory=list)
    seen: dict[int, float] = field(default_factory=dict)
    """Place -> when; the one seen last stands last."""
    counted: dict[int, int] = field(default_factory=dict)
    """Place -> bits of the signals that went into its counts."""
    served: dict[int, float] = field(default_factory=dict)
    """Place -> when it was put on a page of his; the last stands last."""
    liked_s: dict[int, float] = field(default_factory=dict)
    """Place -> when he liked it, so that taking it back takes back the same."""
    creators: dict[int, Affinity] = field(default_factory=dict)
    sounds: dict[int, Affinity] = field(default_factory=dict)
    by_category: dict[int, Affinity] = field(default_factory=dict)
    follows: dict[str, float] = field(default_factory=dict)
    """Creator -> since when. By their names, for they need have no video yet, nor be anybody."""
    blocked: dict[str, float] = field(default_factory=dict)
    """Creators that no feed of his shows."""
    hidden: dict[int, float] = field(default_factory=dict)
    """Places that he does not want to see again."""
    session_id: str = ""
    session_start_s: float = 0.0
    session_place: int = 0
    """Videos that came on the screen in this session."""
    session_served: list[int] = field(default_factory=list)
    session_paused: list[int] = field(default_factory=list)
    skips_in_a_row: int = 0
    left: int = UNKNOWN
    """Place of the video that he left last in this session: what else is told of leaving it is no second skip."""
    day: int = 0
    """Of the newest record, since 1970."""
    day_records: int = 0
    """Records of that day."""
    busiest: float = 0.0
    """Records of the busiest day before it, halved with each day since: rest does not wash clean at once."""
    hour: int = 0
    """Of the newest record, since 1970."""
    hour_records: int = 0
    """Records of that hour."""
    peak: int = 0
    """Records of the busiest hour of `day`."""
    busiest_hour: float = 0.0
    """Records of the busiest hour of the days before, halved with each day since."""
    dials: Dials = field(default_factory=Dials)
    undo: list[Dials] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.short = np.zeros(self.dim, np.float32)
        self.centroids = np.zeros((0, self.dim), np.float32)
        self.weights, self.centroid_times_s = np.zeros(0), np.zeros(0)
        self.totals = np.zeros(len(SIGNALS))

    @property
    def segment(self) -> int:
        """The category that he likes most; one beyond the last while he is new."""
        return self.segment_at(self.last_s)

    def segment_at(self, now_s: float) -> int:
        best, total, most = self.categories, 0.0, 0.0
        for code, affinity in self.by_category.items():
            liked, disliked, _ = affinity.faded(now_s)
            total += liked
            if liked - disliked > most:
                best, most = code, liked - disliked
        return best if total >= KNOWN_AT else self.categories

    @property
    def activity(self) -> float:
        """Records of a day, today's or as many as lately: what `trust` weighs his word by."""
        return max(float(self.day_records), self.busiest)

    @property
    def hour_activity(self) -> float:
        """Records of an hour, the busiest of today or as many as lately: a push within an hour makes no busy day."""
        return max(float(self.peak), self.busiest_hour)

    @property
    def is_new(self) -> bool:
        """Too little is known of him for more than proven quality."""
        return not len(self.weights) and float(self.totals[LONG_VIEW]) < KNOWN_AT

    def interest_order(self, now_s: float) -> NDArray[np.intp]:
        """(k,) which centroids, the weightiest at `now_s` first."""
        weights = self.weights * 2.0 ** -(np.maximum(now_s - self.centroid_times_s, 0) / LONG_S)
        return np.argsort(-weights, kind="stable")

    def in_session(self, session_id: str, now_s: float) -> Viewer:
        """Return him as a page of that session finds him: a new one is at its first place, wherever the last one ended.

        Where the session goes on that is himself, else a copy to be read.

        Args:
            session_id: of the app; empty: it does not say, and a pause of `SESSION_GAP_S` begins another.
        """
        goes_on = session_id == self.session_id if session_id else now_s - self.last_s <= SESSION_GAP_S
        if goes_on or not self.session_start_s:
            return self
        begun = copy(self)
        begun._start_session(session_id, now_s)
        return begun

    def fatigue(
        self, creators: NDArray[np.int32], sounds: NDArray[np.int32], categories: NDArray[np.int32], now_s: float
    ) -> NDArray[np.float64]:
        """How tired he is of some videos: what he was served of their creators, sounds and categories to no avail.

        Args:
            creators, sounds, categories: (m,) codes, `UNKNOWN` where there is none.

        Returns:
            (m,), 0 not at all, and then from half to half towards 1: after `PATIENCE_CREATOR` servings of a creator,
            `PATIENCE_SOUND` of a sound or `PATIENCE_CATEGORY` of a category that he made nothing of 0.5, after twice
            as many, or as many of two of them, 0.75. Half of the servings are forgotten in a day, and
            `MAKES_UP_FOR` of them for each video that he likes.
        """
        halvings = (
            _tired(self.creators, creators, now_s) / PATIENCE_CREATOR
            + _tired(self.sounds, sounds, now_s) / PATIENCE_SOUND
            + _tired(self.by_category, categories, now_s) / PATIENCE_CATEGORY
        )
        return np.asarray(1.0 - 2.0**-halvings)

    # Folding ---------------------------------------------------------------------------------------------------------

    def apply(self, seq: int, record: Event | Impression, catalogue: Catalogue) -> list[Counted]:
        """Fold one record in, and tell what it adds to the counts of its video.

        Args:
            seq: its place in the log; one that is folded in already changes nothing.
            catalogue: knows its video; what an unknown video was done with counts as a record, and says nothing.
        """
        if seq <= self.seq:
            return []
        self.seq, self.records = seq, self.records + 1
        self.first_s = self.first_s or record.time_s
        self._count_record(int(record.time_s // DAY_S), int(record.time_s // HOUR_S))
        self._begin_session(record)
        self.totals *= 2.0 ** -(max(record.time_s - self.last_s, 0.0) / LONG_S)
        self.last_s = max(self.last_s, record.time_s)
        place = catalogue.place_of(record.video_id)
        if isinstance(record, Impression):
            if place >= 0:
                _move_last(self.served, place, record.time_s, SERVED)
                self.session_served.append(place)
                del self.session_served[:-SERVED]
                self._value(place, 0.0, 0.0, record.time_s, catalogue, served=1.0)
            return []
        if record.kind == "dial":
            self._turn(record)
        elif record.kind == "search":
            self._seek(record, catalogue)
        elif record.kind in ("follow", "unfollow", "block", "unblock"):
            self._relate(record, place, catalogue)
        return self._learn(record, place, catalogue) if place >= 0 else []

    def _count_record(self, day: int, hour: int) -> None:
        """Count a record for its day and hour; one that comes late, for the newest there were."""
        if day > self.day:
            by = 0.5 ** min(day - self.day, 60)
            self.busiest, self.busiest_hour = self.activity * by, self.hour_activity * by
            self.day, self.day_records, self.peak = day, 0, 0
        if hour > self.hour:
            self.hour, self.hour_records = hour, 0
        self.day_records += 1
        self.hour_records += 1
        self.peak = max(self.peak, self.hour_records)

    def _begin_session(self, record: Event | Impression) -> None:
        """Where the app says so: by a `session_id` that is not the current one, or by a `session` event without any.

        What comes late from an earlier session, or from another device, does not begin one.
        """
        says_so = isinstance(record, Event) and record.kind == "session" and not record.session_id
        told = (says_so or record.session_id not in ("", self.session_id)) and record.time_s >= self.session_start_s
        if told or (not record.session_id and record.time_s - self.last_s > SESSION_GAP_S) or not self.session_start_s:
            self._start_session(record.session_id, record.time_s)

    def _start_session(self, session_id: str, start_s: float) -> None:
        self.session_id, self.session_start_s = session_id, start_s
        self.session_place, self.skips_in_a_row, self.left = 0, 0, UNKNOWN
        self.session_served, self.session_paused = [], []

    def _learn(self, event: Event, place: int, catalogue: Catalogue) -> list[Counted]:
        """What was done with a video: seen, liked or not, and what its counts hear of it."""
        signals = self._signals(event, place, float(catalogue.duration_s[place]))
        shown = 0.0
        if event.kind in ON_SCREEN:
            shown = float(self.seen.get(place, -1.0) < self.session_start_s)
            self.session_place += place not in self.seen
            _move_last(self.seen, place, max(event.time_s, self.seen.get(place, 0.0)), SEEN)
        strength = self._strength(event, signals)
        if event.kind in ("view", "skip", "scroll"):
            self._leave(place, stayed=event.kind == "view" and strength >= 0)
        if event.kind in ("not_interested", "report"):
            _move_last(self.hidden, place, event.time_s, HIDDEN)
        if event.kind == "pause" and place not in self.session_paused:
            self.session_paused = [*self.session_paused, place][-RECENT:]
            self._value(place, PAUSED, 0.0, event.time_s, catalogue)
        if strength or shown:
            self._value(place, strength, shown, event.time_s, catalogue)
        if strength:
            self._like(place, strength, event.time_s, catalogue)
        return list(self._count(event, place, signals))

    def _leave(self, place: int, *, stayed: bool) -> None:
        """A scroll tells only that he left: a skip, unless a view tells how long he stayed, before it or after."""
        if stayed:
            self.skips_in_a_row = 0
        elif place != self.left:
            self.skips_in_a_row += 1
        self.left = place

    def _signals(self, event: Event, place: int, duration_s: float) -> list[int]:
        signals = [IMPRESSION] if event.kind in ON_SCREEN else []
        if event.kind in ("view", "skip") and duration_s > 0:
            if event.kind == "view" and long_view(event.watch_s, duration_s):
                signals.append(LONG_VIEW)
            if event.kind == "view" and complete(event.watch_s, duration_s):
                signals.append(COMPLETE)
            if short_play(event.watch_s, duration_s):
                signals.append(NEGATIVE)
        if event.kind in _COUNTED:
            signals.append(_COUNTED[event.kind])
        return signals

    def _strength(self, event: Event, signals: Sequence[int]) -> float:
        if event.kind != "view":
            return STRENGTHS.get(event.kind, 0.0)
        if NEGATIVE in signals:
            return SHORT_PLAYED
        by = LOOKED_UP if event.surface == "search" else 1.0
        if COMPLETE in signals:
            return by * (LOOPED if event.loops else COMPLETED)
        return by * LONG_VIEWED if LONG_VIEW in signals else 0.0

    def _count(self, event: Event, place: int, signals: Sequence[int]) -> Iterator[Counted]:
        """Only what was put before him counts, and each signal once: one account cannot push a video."""
        if place not in self.served and not self.counted.get(place) and (self.served or event.kind != "impression"):
            return  # found by itself: a search, a profile, a link; or told of a feed beside ours
        if event.surface != "feed":
            return
        segment, bits = self.segment, self.counted.get(place, 0)
        if event.kind == "unlike" and bits & 1 << LIKE:
            self.counted[place] = bits & ~(1 << LIKE)
            yield Counted(LIKE, place, self.liked_s.pop(place, event.time_s), segment, -1.0)
            return
        for signal in signals if bits & 1 << IMPRESSION or IMPRESSION in signals else [IMPRESSION, *signals]:
            if not bits & 1 << signal:
                bits |= 1 << signal
                self.totals[signal] += 1.0
                if signal == LIKE:
                    _move_last(self.liked_s, place, event.time_s, SERVED)
                yield Counted(signal, place, event.time_s, segment)
        _move_last(self.counted, place, bits, SEEN)

    def _value(
        self, place: int, strength: float, shown: float, time_s: float, catalogue: Catalogue, *, served: float = 0.0
    ) -> None:
        """What a video says of its creator, sound and category."""
        for kept, code in (
            (self.creators, int(catalogue.creator[place])),
            (self.sounds, int(catalogue.sound[place])),
            (self.by_category, int(catalogue.category[place])),
        ):
            if code != UNKNOWN:
                affinity = kept.get(code) or Affinity(time_s=time_s)
                affinity.add(time_s, strength, shown, served)
                _move_last(kept, code, affinity, AFFINITIES)

    def _like(self, place: int, strength: float, time_s: float, catalogue: Catalogue) -> None:
        """What a video says of his interests."""
        vector = catalogue.vectors[place]
        before = max((one.time_s for one in self.recent[-1:]), default=time_s)
        newest = max(before, time_s)
        self.short *= np.float32(2.0 ** -((newest - before) / SHORT_S))
        self.short += np.float32(strength * 2.0 ** -((newest - time_s) / SHORT_S)) * vector
        self.recent.append(Watched(place, strength, newest))
        del self.recent[:-RECENT]
        if strength >= INTERESTED_AT:
            self._join(place, vector, strength, time_s)

    def _seek(self, event: Event, catalogue: Catalogue) -> None:
        """A search whose `query` is a creator's id, a category, or a hashtag that is mostly of one: he likes it a bit.

        Any other query says nothing here but that he was there: what he finds by it and watches does.
        """
        said = event.extra.get("query")
        query = said.strip() if isinstance(said, str) else ""
        word = query.removeprefix("#").casefold()
        creator = catalogue.codes["creator"].find(query.removeprefix("@"))
        category = catalogue.codes["category"].find(word)
        if creator == UNKNOWN and category == UNKNOWN:
            category = _category_of(catalogue.of_hashtag.get(word, ()), catalogue)
        for kept, code in ((self.creators, creator), (self.by_category, category)):
            if code != UNKNOWN:
                affinity = kept.get(code) or Affinity(time_s=event.time_s)
                more = SEARCHED_MOST - affinity.faded(event.time_s)[0]
                affinity.add(event.time_s, min(SEARCHED, max(more, 0.0)), 0.0)
                _move_last(kept, code, affinity, AFFINITIES)

    def _join(self, place: int, vector: NDArray[np.float32], strength: float, time_s: float) -> None:
        """Let a liked video move the interest that it belongs to, or found one."""
        likeness = self.centroids @ vector
        if len(likeness) and float(likeness.max()) >= JOINS_AT:
            at = int(likeness.argmax())
        elif len(likeness) < CENTROIDS:
            at = len(likeness)
            self.centroids = np.vstack([self.centroids, np.zeros((1, self.dim), np.float32)])
            self.weights, self.centroid_times_s = np.append(self.weights, 0.0), np.append(self.centroid_times_s, time_s)
            self.exemplars.append([])
        else:
            at = int(
                (self.weights * 2.0 ** (self.centroid_times_s / LONG_S - self.centroid_times_s.max() / LONG_S)).argmin()
            )
            self.centroids[at], self.weights[at], self.exemplars[at] = 0.0, 0.0, []
        newest = max(float(self.centroid_times_s[at]), time_s)
        faded = self.weights[at] * 2.0 ** -((newest - self.centroid_times_s[at]) / LONG_S)
        added = strength * 2.0 ** -((newest - time_s) / LONG_S)
        mixed = np.float32(faded) * self.centroids[at] + np.float32(added) * vector
        self.centroids[at] = mixed / np.float32(max(float(np.linalg.norm(mixed)), 1e-9))
        self.weights[at], self.centroid_times_s[at] = faded + added, newest
        self.exemplars[at] = [*(one for one in self.exemplars[at] if one != place), place][-EXEMPLARS:]

    def _relate(self, event: Event, place: int, catalogue: Catalogue) -> None:
        said = event.extra.get("creator_id")
        creator = said if isinstance(said, str) else None
        if not creator and place >= 0:
            creator = catalogue.codes["creator"].name(int(catalogue.creator[place]))
        if not creator:
            return
        if event.kind == "follow":
            _move_last(self.follows, creator, event.time_s, HIDDEN)
        elif event.kind == "block":
            _move_last(self.blocked, creator, event.time_s, HIDDEN)
        else:
            (self.follows if event.kind == "unfollow" else self.blocked).pop(creator, None)

    def _turn(self, event: Event) -> None:
        """A dial: `less` and `more` of a target, `explore` to a number, `reset` all, `undo` the last."""
        action, target = event.extra.get("action"), event.extra.get("target")
        if action == "undo":
            if self.undo:
                self.dials = self.undo.pop()
            return
        before = Dials(self.dials.explore, dict(self.dials.wanted))
        if action in ("less", "more") and isinstance(target, str):
            self.dials.wanted[target[:400]] = 1 if action == "more" else -1
            if len(self.dials.wanted) > WANTED:
                del self.dials.wanted[next(iter(self.dials.wanted))]
        elif action == "explore" and isinstance(target, int | float) and 0 <= target <= 1:
            self.dials.explore = float(target)
        elif action == "reset":
            self.dials = Dials()
        else:
            return
        self.undo = [*self.undo, before][-20:]

    # Keeping ---------------------------------------------------------------------------------------------------------

    def to_bytes(self, catalogue: Catalogue) -> bytes:
        """A snapshot that names ids, and so is good for any process. Equal states give equal bytes.

        One safetensors file. What is names is JSON in the tensor `body`; numbers are tensors of their own, since JSON
        takes longer over them than all the rest takes, and a page waits.
        """
        listed = [place for name in _BY_VIDEO for place in getattr(self, name)]
        listed += [place for places in self.exemplars for place in places] + [one.place for one in self.recent]
        listed += [*self.session_served, *self.session_paused, *([self.left] if self.left >= 0 else [])]
        at = {place: i for i, place in enumerate(dict.fromkeys(listed))}
        body = {
            "fold": [FOLD, catalogue.space], "viewer_id": self.viewer_id, "seq": self.seq, "records": self.records,
            "first_s": self.first_s, "last_s": self.last_s,
            "videos": [catalogue.video_ids[place] for place in at],
            "exemplars": [[at[place] for place in places] for places in self.exemplars],
            "session": [self.session_id, self.session_start_s, self.session_place, self.skips_in_a_row],
            "session_served": [at[place] for place in self.session_served],
            "session_paused": [at[place] for place in self.session_paused],
            "left": at.get(self.left, UNKNOWN),
            "days": [self.day, self.day_records, self.busiest],
            "hours": [self.hour, self.hour_records, self.peak, self.busiest_hour],
            "dials": [[one.explore, one.wanted] for one in (*self.undo, self.dials)],
            "follows": list(self.follows.items()), "blocked": list(self.blocked.items()),
            **{name: [catalogue.codes[of].names[code] for code in getattr(self, name)] for name, of in _VALUED.items()},
        }  # fmt: skip
        tensors = {name: getattr(self, name) for name in _TENSORS}
        tensors["body"] = np.frombuffer(canonical_json(body).encode(), dtype=np.uint8)
        for name in _BY_VIDEO:
            kept = getattr(self, name)
            tensors[f"{name}.at"] = np.array([at[place] for place in kept], dtype=np.int32)
            tensors[name] = np.array(list(kept.values()), dtype=np.int64 if name in _BITS else np.float64)
        for name in _VALUED:
            tensors[name] = np.array(
                [[one.liked, one.disliked, one.shown, one.tired, one.time_s] for one in getattr(self, name).values()]
            ).reshape(-1, 5)
        tensors["recent"] = np.array([[at[one.place], one.strength, one.time_s] for one in self.recent]).reshape(-1, 3)
        return save_tensors(tensors)

    @classmethod
    def from_bytes(cls, data: bytes, catalogue: Catalogue) -> Viewer:
        """Read what `to_bytes` wrote; videos that are gone from the catalogue are forgotten here too.

        Raises:
            OtherFold: it was folded in another space, or by another version.
        """
        tensors = load_tensors(data)
        body: dict[str, Any] = json.loads(tensors["body"].tobytes()) if "body" in tensors else {"fold": "an older one"}
        if body["fold"] != [FOLD, catalogue.space]:
            raise OtherFold(f"a state of fold {FOLD} in {catalogue.space} is wanted, got {body['fold']}")
        viewer = cls(body["viewer_id"], catalogue.dim, len(catalogue.categories), body["seq"], body["records"])
        viewer.first_s, viewer.last_s = body["first_s"], body["last_s"]
        for name in _TENSORS:
            setattr(viewer, name, tensors[name].copy())
        places = list(map(catalogue.place_of, body["videos"]))
        viewer.exemplars = [[places[at] for at in kept if places[at] >= 0] for kept in body["exemplars"]]
        recent = (Watched(places[int(at)], by, time_s) for at, by, time_s in tensors["recent"].tolist())
        viewer.recent = [one for one in recent if one.place >= 0]
        viewer.session_served = [places[at] for at in body["session_served"] if places[at] >= 0]
        viewer.session_paused = [places[at] for at in body["session_paused"] if places[at] >= 0]
        viewer.left = places[body["left"]] if body["left"] >= 0 else UNKNOWN
        for name in _BY_VIDEO:
            named = zip(tensors[f"{name}.at"].tolist(), tensors[name].tolist(), strict=True)
            setattr(viewer, name, {places[at]: what for at, what in named if places[at] >= 0})
        for name, of in _VALUED.items():
            codes = catalogue.codes[of]
            code = codes.find if of == "category" else codes.code  # of categories there are no more than there are
            values = map(Affinity, *tensors[name].T.tolist())
            setattr(viewer, name, dict(zip(map(code, body[name]), values, strict=True)))
        viewer.session_id, viewer.session_start_s, viewer.session_place, viewer.skips_in_a_row = body["session"]
        viewer.day, viewer.day_records, viewer.busiest = body["days"]
        viewer.hour, viewer.hour_records, viewer.peak, viewer.busiest_hour = body["hours"]
        *viewer.undo, viewer.dials = (Dials(explore, wanted) for explore, wanted in body["dials"])
        viewer.follows, viewer.blocked = dict(body["follows"]), dict(body["blocked"])
        return viewer


_TENSORS = ("short", "centroids", "weights", "centroid_times_s", "totals")
_BY_VIDEO = ("seen", "counted", "served", "liked_s", "hidden")
_BITS = ("counted",)
_VALUED = {"creators": "creator", "sounds": "sound", "by_category": "category"}
"""What is kept as affinities, and the codes that they are kept by."""


def _tired(kept: Mapping[int, Affinity], codes: NDArray[np.int32], now_s: float) -> NDArray[np.float64]:
    """(m,) servings of each code that came to nothing, as they are at `now_s`."""
    listed = codes.tolist()
    tired = {code: kept[code].tired_at(now_s) for code in kept.keys() & listed}
    return np.array([tired.get(code, 0.0) for code in listed])


def _category_of(places: Sequence[int], catalogue: Catalogue) -> int:
    """The category of more than half of some videos; `UNKNOWN`: there is none. The order of places is no matter."""
    if not 0 < len(places) <= HASHTAG_MOST:
        return UNKNOWN
    counts = np.bincount(catalogue.category[places] + 1)  # the first: of no category
    most = int(counts.argmax())
    return most - 1 if 2 * counts[most] > len(places) else UNKNOWN


def _move_last(kept: dict[Any, Any], key: Any, value: Any, bound: int) -> None:
    """Put a key last, with its value, and let the first go where there is no room."""
    kept.pop(key, None)
    kept[key] = value
    if len(kept) > bound:
        del kept[next(iter(kept))]
