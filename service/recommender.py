"""`Recommender`: a home's feed. Holds what every page needs in memory, and keeps it as the index and the log are.

```python
with Library.open("firstlook-data") as library:
    page = library.recommender().feed("ana")
    for one in page.videos:
        print(one.position, one.video_id, one.slot, one.source, one.because)
```
"""

from __future__ import annotations

import logging
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sqlalchemy.exc import SQLAlchemyError

from index.behaviour import digest
from index.home import Home
from index.records import Event, Impression, Space
from index.table import TableUnreadable, VideoTable
from recommend import appraise, load
from recommend.boards import Boards, boards
from recommend.catalogue import UNKNOWN, Catalogue
from recommend.categories import Prototypes
from recommend.events import dial_fault
from recommend.explore import Status
from recommend.faults import TooLittle, UnknownDial
from recommend.memory import READ_AT_ONCE, Memory
from recommend.models import Models, fit_content, write_content
from recommend.pipeline import Context, Known, Page, feed, why_not
from recommend.pool import Pool, pool
from recommend.report import Section, Value
from recommend.state import Dials
from recommend.train import Training, held_out, train, whole
from recommend.why import Strongest, page_notes, why_served

_log = logging.getLogger("firstlook.feed")
BOARDS_S = 60.0
"""So old may lists be that are the same for everybody."""
KEPT_EVERY = 200_000
"""Records after which counts are kept: so many are folded again at most by whoever starts after a crash."""
CATALOGUE_S = 5.0
"""So often is the table asked whether there is something new, beside the pages."""
PUT_AT_ONCE = 128
"""Rows that the catalogue takes in while pages wait: some ms."""
MODELS = "models"
"""Folder of the home with what `firstlook train` makes, by space."""
MAKE_AGAIN = 3
"""Tries of a page when the ledger takes videos from it: erased or made private since the table heard of them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Explained:
    """Why a place was served, as plain JSON."""

    why: Mapping[str, Any]
    """See `recommend/why.py`."""
    features_as_of_s: float
    """When its strongest features were reckoned: the state and the counts have moved on since it was served."""
    page: Mapping[str, Any] | None
    """What the page was made under: `removed`, `held_back`, `relaxed`, `guardrails` and `dials`, and in `says` all of
    it in words. None: it was served by a version that did not write it down."""


class Recommender:
    """Makes pages for the viewers of one home, in one space; from any number of threads.

    Args:
        home: where videos, behaviour and models are.
        space: whose vectors are compared.
        encode: of its text encoder; the categories' words are compared with the videos' by it.
        clock: seconds since 1970, UTC; tests pass their own.
    """

    def __init__(
        self,
        home: Home,
        space: Space,
        encode: Callable[[list[str]], NDArray[np.float32]],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._home, self._space, self._clock = home, space, clock
        self.catalogue = load.empty(space)
        self.memory = Memory(home.behaviour, self.catalogue, on_unknown=self._look_for_unknown)
        self._prototypes = Prototypes.of(encode)
        self._table: VideoTable = home.table(space)
        self._lock = threading.RLock()
        self._turns = _Turns()
        self._refreshing = threading.Lock()
        """Is taken before `_lock`, and never while that is held."""
        self._fragments: set[str] = set()
        self._missing: tuple[int, set[str]] = (-1, set())
        """Version of the table, and the videos that are named in the log and have no row in it."""
        self._looker: threading.Thread | None = None
        self._ends = threading.Event()
        self._looked_s = -np.inf
        self._erased = home.behaviour.last_seq()  # who was erased before is in no state of ours
        self._lists: tuple[Boards, Pool] | None = None
        self.refresh()
        self.memory.restore(self._counts_file, up_to=home.behaviour.last_seq())
        self._kept_seq = self.memory.seq
        self.models = Models(home.folder / MODELS / space.id, self.catalogue)

    @property
    def _counts_file(self) -> Path:
        return self._home.folder / f"behaviour-counts-{self._space.id}.safetensors"

    def close(self) -> None:
        """Keep what is known, so that the next start need not fold the whole log."""
        self._ends.set()
        if self._looker is not None:
            self._looker.join()
        with self._lock:
            self._forget_erased()
            if self.memory.seq:
                self.memory.keep(self._counts_file)

    # What there is ---------------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        """Take in the files of rows that are new in the table, and withdraw the videos whose rows are gone.

        A compaction writes all rows anew: they are read, and pages go on meanwhile with what is known.
        """
        with self._refreshing:
            self._looked_s = self._clock()
            snapshot = self._table.snapshot()
            fragments = {fragment.key: fragment for fragment in snapshot.fragments()}
            new = [fragment for key, fragment in fragments.items() if key not in self._fragments]
            for batch in load.entries(snapshot, new, self._prototypes, self._registered_s):
                changed = [entry for entry in batch if not self.catalogue.has(entry)]
                for start in range(0, len(changed), PUT_AT_ONCE):
                    with self._lock:
                        self.catalogue.put(changed[start : start + PUT_AT_ONCE])
            if self._fragments - set(fragments):
                there, shown = set(snapshot.ids()), self.catalogue.shown
                ids = self.catalogue.video_ids[: len(shown)]
                gone = [one for one, is_shown in zip(ids, shown.tolist(), strict=True) if is_shown and one not in there]
                if gone:
                    with self._lock:
                        self.catalogue.withdraw(gone)
            self._fragments = set(fragments)
        with self._lock:
            self._forget_erased()

    def keep_up(self) -> None:
        """Look for what is new every few seconds from here on, beside the pages, until this is closed."""
        with self._lock:
            is_running = self._looker is not None and self._looker.is_alive()
            if not is_running and not self._ends.is_set():
                self._looker = threading.Thread(target=self._look_on, name="catalogue", daemon=True)
                self._looker.start()

    def _look_on(self) -> None:
        while not self._ends.wait(CATALOGUE_S):
            try:
                self.refresh()
            except (OSError, TableUnreadable, SQLAlchemyError) as error:
                _log.warning("the catalogue stays as it was: %s", error)

    def _look_for_unknown(self) -> None:
        """Take in the videos that the next records name and the catalogue lacks, by their ids: a page waits for it."""
        next_ones = self._home.behaviour.after(self.memory.seq, READ_AT_ONCE)
        unknown = {one.video_id for _, one in next_ones if one.video_id and self.catalogue.place_of(one.video_id) < 0}
        snapshot = self._table.snapshot()
        if self._missing[0] != snapshot.version:
            self._missing = snapshot.version, set()
        asked = sorted(unknown - self._missing[1])
        for batch in load.entries_of(asked, snapshot, self._prototypes, self._registered_s):
            self.catalogue.put(batch)
        self._missing[1].update(one for one in asked if self.catalogue.place_of(one) == UNKNOWN)

    def _registered_s(self, video_ids: Sequence[str]) -> Mapping[str, float]:
        return self._home.ledger.registered_s(video_ids)

    def known(self, now_s: float | None = None, *, until: int | None = None) -> Known:
        """Everything that a page is made of, as of now.

        Args:
            now_s: default: by the clock.
            until: a place in the log, beyond which nothing is folded in; None: all that there is.
        """
        with self._lock:
            now_s = self._clock() if now_s is None else now_s
            if abs(self._clock() - self._looked_s) > CATALOGUE_S:
                self.keep_up()
            self._forget_erased()
            self.memory.catch_up(until)
            if self.memory.seq - self._kept_seq >= KEPT_EVERY:
                self.memory.keep(self._counts_file)
                self._kept_seq = self.memory.seq
            return self._assembled(now_s)

    def _assembled(self, now_s: float) -> Known:
        """What is known without looking for more."""
        with self._lock:
            lists = self._lists
            if lists is None or abs(now_s - lists[0].made_s) > BOARDS_S:
                made = boards(self.catalogue, self.memory.counts, now_s)
                signal = self.models.content_signal()
                lists = self._lists = (made, pool(self.catalogue, self.memory.counts, made, now_s, signal))
            ranker, collaborative = self.models.current()
            return Known(
                catalogue=self.catalogue,
                counts=self.memory.counts,
                boards=lists[0],
                pool=lists[1],
                ranker=ranker,
                collaborative=collaborative,
                seq=self.memory.seq,
            )

    # Pages -----------------------------------------------------------------------------------------------------------

    def feed(
        self,
        viewer_id: str,
        *,
        k: int = 20,
        session_id: str = "",
        languages: Sequence[str] = (),
        write_down: bool = True,
        now_s: float | None = None,
    ) -> Page:
        """Make the next page of a viewer, and write down what was served, where, why and with what probability.

        Whoever asks for another page of the same viewer meanwhile waits until this one is written down, so that it
        knows of it: an app fetches ahead, and may ask twice at once.

        Args:
            k: places, 1..100.
            session_id: of the app; what it was served is not served again in it.
            languages: that the viewer reads; none: any.
            write_down: False to look at a page that nobody is shown.
        """
        with self._turns.of(viewer_id) if write_down else nullcontext():
            with self._lock:
                known = self.known(now_s)
                context = Context(
                    now_s=self._clock() if now_s is None else now_s, session_id=session_id, languages=tuple(languages)
                )
                page = self._servable(viewer_id, known, context, k)
                dials = _told(self.memory.viewer(viewer_id).dials)
            if write_down and page.videos:
                self._home.behaviour.append(written(page, dials))
        return page

    def _servable(self, viewer_id: str, known: Known, context: Context, k: int) -> Page:
        """The ledger has the last word: what was erased or made private since takes no place."""
        for _ in range(MAKE_AGAIN):
            page = feed(self.memory.viewer(viewer_id), known, context, k=k)
            uploads = self._home.ledger.uploads([one.video_id for one in page.videos])
            gone = [one.video_id for one in page.videos if not load.is_servable(uploads.get(one.video_id))]
            if not gone:
                return page
            self.catalogue.withdraw(gone)
        return replace(page, videos=tuple(one for one in page.videos if one.video_id not in gone))

    def strongest(self, page: Page) -> dict[str, list[Strongest]]:
        """Video -> what moved its score most, with this page's viewer and moment."""
        with self._lock:
            # Not caught up: then the page itself would be among what it was made of.
            known = self._assembled(page.made_s)
            context = Context(now_s=page.made_s, session_id=page.session_id)
            return self._moved([one.video_id for one in page.videos], page.viewer_id, known, context)

    def _moved(
        self, video_ids: Sequence[str], viewer_id: str, known: Known, context: Context
    ) -> dict[str, list[Strongest]]:
        viewer = self.memory.viewer(viewer_id)
        places = {video_id: self.catalogue.place_of(video_id) for video_id in video_ids}
        return {
            video_id: known.ranker.explain(viewer, place, self.catalogue, self.memory.counts, context)
            for video_id, place in places.items()
            if place != UNKNOWN
        }

    def served(self, impression_id: str) -> Impression | None:
        """A place that was served, with what was written down of it; None: there is no such place, or it was erased."""
        return self._home.behaviour.impressions([impression_id]).get(impression_id)

    def why(self, one: Impression) -> Explained:
        """Why a place was served: what was written down when it was, and what would move its score most now."""
        first = self.served(f"{one.slate_id}-0")
        page = None if first is None else first.reasons.get("page")
        with self._lock:
            known, now_s = self.known(), self._clock()
            context = Context(now_s=now_s, session_id=one.session_id)
            strongest = self._moved([one.video_id], one.viewer_id, known, context).get(one.video_id, [])
        return Explained(
            why=why_served(one, strongest),
            features_as_of_s=now_s,
            page=None if page is None else {**page, "says": page_notes(**page)},
        )

    def why_not(self, video_id: str, viewer_id: str, *, languages: Sequence[str] = ()) -> str:
        """Say where a video falls out of this viewer's page."""
        with self._lock:
            known = self.known()
            context = Context(now_s=self._clock(), languages=tuple(languages))
            return why_not(video_id, self.memory.viewer(viewer_id), known, context)

    def dial(self, viewer_id: str, action: str, target: str | float | None = None) -> Event:
        """Turn a dial of a viewer; the next page already follows it.

        Args:
            action: `less` or `more` of a target, `explore`, `reset`, or `undo`.
            target: `category:NAME`, `creator:ID` or `sound:ID`; of `explore` a number from 0 to 1.

        Raises:
            UnknownDial: an action or a target that there is not.
        """
        _check_dial(action, target, self.catalogue)
        now_s = self._clock()
        event = Event(
            event_id=f"dial-{uuid.uuid4().hex}",
            kind="dial",
            viewer_id=viewer_id,
            time_s=now_s,
            surface="dials",
            extra={"action": action} | ({} if target is None else {"target": target}),
        )
        self._home.behaviour.append([event])
        return event

    def slates(
        self, viewer_ids: Iterable[str], *, k: int = 50, now_s: float | None = None, until: int | None = None
    ) -> Iterator[tuple[str, Page]]:
        """Pages in bulk: each is what the viewer would get online with the same state. Nothing is written down, since
        nobody has seen them.

        Args:
            now_s: the moment that all of them are of; default: by the clock.
            until: the place in the log that all of them know of; None: as far as it is when they are begun.
        """
        now_s = self._clock() if now_s is None else now_s
        known = self.known(now_s, until=until)
        for viewer_id in viewer_ids:
            with self._lock:
                yield viewer_id, self._servable(viewer_id, known, Context(now_s=now_s), k)

    def train(self, *, as_of_s: float | None = None, ablate: bool = False, threads: int = 1) -> Training:
        """Learn from the log, and rank by what was learned from the next page on, in every process of this home.

        Args:
            as_of_s: go by what happened before this moment only; None: by everything.
            ablate: also say what each context adds.

        Raises:
            TooLittle, Leak: see `recommend/train.py`; what ranked before goes on ranking.
        """
        self.refresh()
        training = train(self._home.behaviour, self.catalogue, until_s=as_of_s, threads=threads, ablate=ablate)
        with self._lock:
            self.memory.catch_up()
            content = fit_content(self.catalogue, self.memory.counts, self._clock() if as_of_s is None else as_of_s)
        folder = self._home.folder / MODELS / self._space.id
        training.collaborative.save(folder)
        if content is not None:
            write_content(folder, content)
        training.ranker.save(folder)
        return training

    def appraised(self, *, seed: int = 0) -> tuple[list[Section], dict[str, Value]]:
        """What the feed is worth, by its own log and on days that the ranker had not seen; and what that depends on."""
        self.refresh()
        rng, log = np.random.default_rng(seed), self._home.behaviour
        sections = appraise.of_log(whole(log), self.catalogue, rng)
        try:
            held = held_out(log, self.catalogue)
        except TooLittle as too_little:
            sections.append(Section(title="The ranker on later days", kind="time_split", note=str(too_little)))
        else:
            sections += appraise.of_ranker(held, self.catalogue, rng)
        ranker = self.models.current()[0].digest
        return sections, {"ranker": ranker, "space": self._space.id, "records": log.last_seq(), "seed": seed}

    def cold(self) -> list[Status]:
        """Where every new video stands, and what happens next."""
        with self._lock:
            return self.known().pool.status(self.catalogue)

    def dials(self, viewer_id: str) -> Mapping[str, Any]:
        """What a viewer set his feed to."""
        with self._lock:
            self.memory.catch_up()
            return _told(self.memory.viewer(viewer_id).dials)

    def forget(self, viewer_id: str) -> None:
        """An erased viewer's state goes from memory too."""
        self.memory.forget(viewer_id)

    def _forget_erased(self) -> None:
        """Whoever was erased in another process is forgotten here as well; the log names him by a digest alone."""
        erased = self._home.behaviour.erasures(self._erased)
        if not erased:
            return
        self._erased = max(seq for seq, _ in erased)
        digests = {sha256 for _, sha256 in erased}
        for viewer_id in self.memory.held():
            if digest(viewer_id) in digests:
                self.memory.forget(viewer_id)


class _Turns:
    """One after the other, by name; there are as many locks as names in hand."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._in_hand: dict[str, tuple[threading.Lock, int]] = {}
        """Name -> its lock, and how many hold it or wait for it."""

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        with self._lock:
            turn, count = self._in_hand.get(name) or (threading.Lock(), 0)
            self._in_hand[name] = turn, count + 1
        try:
            with turn:
                yield
        finally:
            with self._lock:
                _, count = self._in_hand.pop(name)
                if count > 1:
                    self._in_hand[name] = turn, count - 1


def written(page: Page, dials: Mapping[str, Any] | None = None) -> list[Impression]:
    """What the log keeps of a page: with every place what explains it, and with the first what explains the page."""
    places = [
        replace(
            impression,
            reasons={
                **impression.reasons,
                "heads": {name: round(value, 4) for name, value in one.heads.items()},
                **({} if one.novel_in is None else {"novel_in": one.novel_in}),
            },
        )
        for impression, one in zip(page.impressions(), page.videos, strict=True)
    ]
    about = {
        "removed": dict(page.removed),
        "held_back": {cap: count for cap, count in page.held_back.items() if count},
        "relaxed": list(page.relaxed),
        "guardrails": dict(page.guardrails),
        "dials": dict(dials or {}),
    }
    return [replace(one, reasons={**one.reasons, "page": about}) for one in places[:1]] + places[1:]


_WAYS = {1: "more", -1: "less"}


def _told(dials: Dials) -> dict[str, Any]:
    return {"explore": dials.explore, "wanted": {name: _WAYS[way] for name, way in dials.wanted.items()}}


def _check_dial(action: str, target: str | float | None, catalogue: Catalogue) -> None:
    if fault := dial_fault(action, target):
        raise UnknownDial(fault)
    kind, _, name = str(target).partition(":")
    if action in ("less", "more") and kind == "category" and name not in catalogue.categories:
        raise UnknownDial(f"no category {name!r}; there are {', '.join(catalogue.categories)}")
