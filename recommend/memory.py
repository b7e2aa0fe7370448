"""The state in memory: what the log says of all viewers and videos, up to one place in it.

Viewers are many, so only those who were here last are held; another is made again from his snapshot and what he did
since. Counts are of all. Both are folds, and so the same after a restart as before it.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from index.records import Event, Impression
from recommend import trust
from recommend.catalogue import UNKNOWN, Catalogue
from recommend.counts import LIKE, USUAL_DEFAULT, USUAL_HOUR_DEFAULT, Counts
from recommend.state import DAY_S, FOLD, Counted, OtherFold, Viewer

VIEWERS = 4_096
"""So many viewers are held at once: 100 kB each of those who have seen thousands of videos."""
READ_AT_ONCE = 10_000
USUAL_EVERY = 256
"""Records from one reckoning of what is usual to the next."""
SNAPSHOT_AFTER = 192
"""Records since his last snapshot, after which a viewer gets a new one: so many are folded again at most."""
PARTLY = 50_000
"""So many likes that counted for less than one are remembered, for when they are taken back; the first go first."""

Record = Event | Impression


class Log(Protocol):
    """What this needs of the behaviour log (`index/behaviour.py`)."""

    def after(self, seq: int, limit: int) -> list[tuple[int, Record]]: ...
    def of_viewer(self, viewer_id: str, after: int = 0) -> list[tuple[int, Record]]: ...
    def state_of(self, viewer_id: str) -> tuple[int, bytes] | None: ...
    def keep_states(self, states: Sequence[tuple[str, int, bytes]]) -> None: ...


class Memory:
    """Viewers and counts as the log has them, up to `seq`.

    Args:
        log: where the truth is.
        catalogue: of the space that states are kept in.
        viewers: how many are held.
        on_unknown: is called before records are folded of which one names a video that the catalogue does not have: it
            may have been added since, and what is folded without it is lost to this state.
    """

    def __init__(
        self,
        log: Log,
        catalogue: Catalogue,
        *,
        viewers: int = VIEWERS,
        on_unknown: Callable[[], None] = lambda: None,
    ) -> None:
        self.log, self.catalogue, self._on_unknown = log, catalogue, on_unknown
        self.counts = Counts(len(catalogue.categories) + 1)
        self.seq = 0
        self.usual, self.usual_hour = USUAL_DEFAULT, USUAL_HOUR_DEFAULT
        """Records that an account makes at most, of a day and of an hour, that are nothing out of the way."""
        self._partly: dict[int, float] = {}
        """Which like (`_like_of`) -> what it counted for, of those that counted for less than one."""
        self._room = viewers
        self._held: OrderedDict[str, Viewer] = OrderedDict()
        self._kept_at: dict[str, int] = {}
        """Of the viewers that are held, how many records their snapshots have."""
        self._lock = threading.RLock()

    def catch_up(self, until: int | None = None) -> int:
        """Fold in what the log took in since, and return how many records that were.

        Args:
            until: fold no record beyond this place; None: all there are.
        """
        folded = 0
        with self._lock:
            while True:
                records = self.log.after(self.seq, READ_AT_ONCE)
                is_all = len(records) < READ_AT_ONCE
                if until is not None:
                    records = [(seq, record) for seq, record in records if seq <= until]
                if not records:
                    return folded
                if any(one.video_id and self.catalogue.place_of(one.video_id) == UNKNOWN for _, one in records):
                    self._on_unknown()
                self.fold(records)
                folded += len(records)
                if is_all:  # a page need not ask once more to hear of nothing
                    return folded

    def fold(self, records: Iterable[tuple[int, Record]]) -> None:
        """Fold these in, which come next in the log."""
        with self._lock:
            for seq, record in records:
                viewer = self._viewer(record.viewer_id)
                before = viewer.day, viewer.peak
                signals = viewer.apply(seq, record, self.catalogue)
                if viewer.first_s < viewer.day * DAY_S:  # a wave of new accounts has no say in what is usual
                    self.counts.busier(viewer.day_records, record.time_s)
                    if (viewer.day, viewer.peak) != before:
                        self.counts.busier_hour(viewer.peak, record.time_s)
                if seq % USUAL_EVERY == 0:
                    self.usual = self.counts.usual(record.time_s)
                    self.usual_hour = self.counts.usual_hour(record.time_s)
                if signals:
                    trusted = self.trust_in(viewer)
                    for counted in signals:
                        self._count(counted, self._weight(viewer.viewer_id, counted, trusted))
                place = self.catalogue.place_of(record.video_id)
                if isinstance(record, Impression) and record.slot == "fresh" and place >= 0:
                    self.counts.first_looks.add(place, 0, record.time_s)
                self.seq = seq

    def viewer(self, viewer_id: str) -> Viewer:
        """One viewer as of `seq`; somebody who was never here is a new one."""
        with self._lock:
            return self._viewer(viewer_id)

    def trust_in(self, viewer: Viewer) -> float:
        """What this viewer's word counts for now, 0 .. 1, by what is usual now."""
        return trust.weight(viewer.hour_activity, viewer.activity, self.usual_hour, self.usual)

    def held(self) -> list[str]:
        """The viewers whose states are in memory."""
        with self._lock:
            return list(self._held)

    def forget(self, viewer_id: str) -> None:
        """An erased viewer's state goes too; what he added to counts of others' videos names nobody, and fades."""
        with self._lock:
            self._held.pop(viewer_id, None)
            self._kept_at.pop(viewer_id, None)

    def _viewer(self, viewer_id: str) -> Viewer:
        viewer = self._held.get(viewer_id)
        if viewer is not None:
            self._held.move_to_end(viewer_id)
            return viewer
        viewer = self._made_again(viewer_id)
        self._held[viewer_id] = viewer
        if len(self._held) > self._room:
            self._let_go(max(1, self._room // 16))
        return viewer

    def _made_again(self, viewer_id: str) -> Viewer:
        """From the snapshot and the records since; from the first record where the snapshot is of later than `seq`."""
        kept = self.log.state_of(viewer_id)
        viewer = Viewer(viewer_id, self.catalogue.dim, len(self.catalogue.categories))
        if kept is not None and kept[0] <= self.seq:
            with suppress(OtherFold):
                viewer = Viewer.from_bytes(kept[1], self.catalogue)
        self._kept_at[viewer_id] = viewer.records
        for seq, record in self.log.of_viewer(viewer_id, viewer.seq):
            if seq > self.seq:
                break
            viewer.apply(seq, record, self.catalogue)
        self._keep([viewer])
        return viewer

    def _let_go(self, count: int) -> None:
        """Of those who were here longest ago. Together: one transaction for many snapshots."""
        gone = [self._held.popitem(last=False)[1] for _ in range(min(count, len(self._held)))]
        self._keep(gone)
        for viewer in gone:
            self._kept_at.pop(viewer.viewer_id, None)

    def _keep(self, viewers: Sequence[Viewer], at_least: int = SNAPSHOT_AFTER) -> None:
        due = [one for one in viewers if one.records - self._kept_at.get(one.viewer_id, 0) >= at_least]
        if due:
            self.log.keep_states([(one.viewer_id, one.seq, one.to_bytes(self.catalogue)) for one in due])
            self._kept_at.update({one.viewer_id: one.records for one in due})

    def _weight(self, viewer_id: str, counted: Counted, trusted: float) -> float:
        """An account that does far more than accounts usually do says little of what others want.

        A like that is taken back takes back what it counted for, whatever its viewer's word counts for by now.
        """
        if counted.signal != LIKE or (counted.weight > 0 and trusted == 1):
            return counted.weight * trusted
        like = _like_of(viewer_id, self.catalogue.video_ids[counted.place])
        if counted.weight < 0:
            return counted.weight * self._partly.pop(like, 1.0)
        self._partly[like] = trusted
        if len(self._partly) > PARTLY:
            del self._partly[next(iter(self._partly))]
        return counted.weight * trusted

    def _count(self, counted: Counted, weight: float) -> None:
        place, catalogue = counted.place, self.catalogue
        self.counts.add(
            counted.signal,
            counted.time_s,
            place=place,
            creator=int(catalogue.creator[place]),
            sound=int(catalogue.sound[place]),
            category=int(catalogue.category[place]),
            segment=counted.segment,
            weight=weight,
        )

    # Keeping ---------------------------------------------------------------------------------------------------------

    def keep(self, file: Path) -> None:
        """Write the counts, with the ids that their rows are of, and the held viewers' snapshots."""
        with self._lock:
            self._keep(list(self._held.values()), 1)
            tensors: dict[str, NDArray[Any]] = {
                f"{name}.{part}": array
                for name, table in self.counts.tables().items()
                for part, array in table.state().items()
            }
            tensors["usual"] = np.array([self.usual, self.usual_hour])
            tensors["partly.at"] = np.array(list(self._partly), dtype=np.int64)
            tensors["partly"] = np.array(list(self._partly.values()), dtype=np.float64)
            tensors |= {f"names.{name}": _packed(names) for name, names in self._names().items()}
            beside = file.with_name(f".{file.name}.{os.getpid()}")
            save_file(tensors, beside, metadata={"seq": str(self.seq), "fold": str(FOLD)})
            beside.replace(file)

    def restore(self, file: Path, *, up_to: int | None = None) -> bool:
        """Take the counts from a file that `keep` wrote.

        False: there is none, or it is torn, of other tables, of another fold, or further than the log is; then the log
        tells all of it again.

        Args:
            up_to: the last place of the log, which may be a copy that was put back.
        """
        try:
            with safe_open(file, "numpy") as opened:
                told = opened.metadata()
                seq = int(told["seq"])
                if told["fold"] != str(FOLD) or (up_to is not None and seq > up_to):
                    return False
                tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118  # it is no dict
            rows = {name: self._rows(name, tensors[f"names.{name}"]) for name in self._names()}
            for name, table in self.counts.tables().items():
                sums, owner = tensors[f"{name}.sums"], _OWNERS[name]
                table.restore(
                    {
                        "sums": sums if owner is None else _moved(sums, rows[owner]),
                        "landmark_s": tensors[f"{name}.landmark_s"],
                    }
                )
            usual, usual_hour = tensors["usual"].tolist()
            partly = dict(zip(tensors["partly.at"].tolist(), tensors["partly"].tolist(), strict=True))
        except (FileNotFoundError, SafetensorError, KeyError, ValueError):
            self.counts = Counts(len(self.catalogue.categories) + 1)
            return False
        self.seq, self.usual, self.usual_hour, self._partly = seq, usual, usual_hour, partly
        return True

    def _names(self) -> dict[str, Sequence[str]]:
        codes = self.catalogue.codes
        return {
            "video": self.catalogue.video_ids,
            "creator": codes["creator"].names,
            "sound": codes["sound"].names,
            "category": self.catalogue.categories,
        }

    def _rows(self, name: str, packed: NDArray[np.uint8]) -> NDArray[np.intp]:
        """(n,) where the rows of these names lie in this process; `UNKNOWN`: nowhere."""
        names = json.loads(packed.tobytes())
        if name == "video":
            return np.array([self.catalogue.place_of(one) for one in names], dtype=np.intp)
        if name == "category":
            return np.array([self.catalogue.codes[name].find(one) for one in names], dtype=np.intp)
        return np.array([self.catalogue.codes[name].code(one) for one in names], dtype=np.intp)


_OWNERS: Mapping[str, str | None] = {
    "video": "video", "video_now": "video", "video_by_segment": "video", "first_looks": "video", "creator": "creator",
    "category": "category", "category_by_segment": "category", "sound": "sound", "sound_now": "sound", "overall": None,
    "overall_by_segment": None, "activity": None, "hour_activity": None,
}  # fmt: skip
"""Of each table, what its rows are."""


def _like_of(viewer_id: str, video_id: str) -> int:
    """Stands for one viewer's like of one video: 64 bits of a digest, so that what is kept names nobody."""
    named = hashlib.sha256(json.dumps([viewer_id, video_id]).encode()).digest()
    return int.from_bytes(named[:8], "little", signed=True)


def _packed(names: Iterable[str]) -> NDArray[np.uint8]:
    return np.frombuffer(json.dumps(list(names)).encode(), dtype=np.uint8)


def _moved(sums: NDArray[np.float64], rows: NDArray[np.intp]) -> NDArray[np.float64]:
    """Rows to their places in this process; those of what is gone are left out."""
    rows = rows[: len(sums)]
    moved = np.zeros((int(rows.max(initial=UNKNOWN)) + 1, sums.shape[1]))
    moved[rows[rows >= 0]] = sums[rows >= 0]
    return moved
