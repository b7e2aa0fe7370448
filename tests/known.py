"""A small world for tests of the feed: videos around centres that the test knows, and a log in memory."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from index.records import Event, Impression
from recommend.boards import boards, posterior
from recommend.catalogue import Catalogue, Entry
from recommend.categories import CATEGORIES
from recommend.counts import Counts
from recommend.memory import Memory
from recommend.pipeline import Context, Known, Scored
from recommend.pool import pool
from recommend.state import Viewer
from recommend.why import Strongest

DIM = 32
DAY_S = 86_400.0
START_S = 1_750_000_000.0

Record = Event | Impression


def centres(count: int = 12) -> NDArray[np.float32]:
    """Directions at right angles, one a topic."""
    return np.eye(DIM, dtype=np.float32)[:count]


def catalogue_of(per_topic: int, topics: int = 12, *, spread: float = 0.4, seed: int = 7) -> Catalogue:
    """Videos `t<topic>-<n>` around their topics' centres; topic n is category n. Uploaded a month before `START_S`."""
    rng = np.random.default_rng(seed)
    catalogue = Catalogue({"vision": slice(0, DIM // 2), "text": slice(DIM // 2, DIM)}, CATEGORIES)
    catalogue.put(
        Entry(
            video_id=f"t{topic}-{n}",
            vector=centres()[topic] + (rng.normal(size=DIM) * spread / DIM**0.5).astype(np.float32),
            creator_id=f"creator-{topic}-{n % 7}",
            sound_id=f"sound-{topic}-{n % 5}",
            category=CATEGORIES[topic],
            category_confidence=1.0,
            duration_s=20.0,
            uploaded_s=START_S - 30 * DAY_S,
            hashtags=(f"topic{topic}",),
        )
        for n in range(per_topic)
        for topic in range(topics)
    )
    return catalogue


def view(viewer: str, video: str, time_s: float, watch_s: float = 20.0, **more: object) -> Event:
    """A watch in the feed; its id follows from what it is."""
    return Event(
        event_id=f"view-{viewer}-{video}-{time_s}",
        kind="view",
        viewer_id=viewer,
        video_id=video,
        time_s=time_s,
        watch_s=watch_s,
        **more,  # type: ignore[arg-type]
    )


def event(kind: str, viewer: str, video: str | None, time_s: float, **more: object) -> Event:
    return Event(
        event_id=f"{kind}-{viewer}-{video}-{time_s}",
        kind=kind,
        viewer_id=viewer,
        video_id=video,
        time_s=time_s,
        **more,  # type: ignore[arg-type]
    )


def seen(viewer: str, video: str, time_s: float) -> Event:
    return event("impression", viewer, video, time_s)


def served(viewer: str, video: str, time_s: float) -> Impression:
    """A place on a page of ours."""
    return Impression(
        impression_id=f"{viewer}-{video}-{time_s}",
        slate_id="s",
        viewer_id=viewer,
        video_id=video,
        time_s=time_s,
        position=0,
        source="popular",
        slot="rank",
        propensity=1.0,
        score=0.5,
    )


class ByQuality:
    """A ranker that a test can reckon with: quality, and how like the interests."""

    digest = "by-quality"

    def score(
        self, viewer: Viewer, places: NDArray[np.intp], catalogue: Catalogue, counts: Counts, context: Context
    ) -> Scored:
        quality, _ = posterior(catalogue, counts, counts.video.all(context.now_s, len(catalogue)), context.now_s)
        like = np.zeros(len(places))
        if len(viewer.weights):
            like = (catalogue.vectors[places] @ viewer.centroids.T).max(axis=1).astype(np.float64)
        p = np.clip(quality[places] * (0.5 + np.maximum(like, 0)), 0.001, 0.999)
        return Scored(heads={"long_view": p, "negative": 1 - p}, value=p)

    def explain(
        self, viewer: Viewer, place: int, catalogue: Catalogue, counts: Counts, context: Context
    ) -> list[Strongest]:
        return []


def known_of(records: Iterable[Record], catalogue: Catalogue, now_s: float = START_S) -> tuple[Memory, Known]:
    """Everything that a page is made of, after these records."""
    memory = Memory(LogInMemory(records), catalogue)
    memory.catch_up()
    lists = boards(catalogue, memory.counts, now_s)
    return memory, Known(
        catalogue=catalogue,
        counts=memory.counts,
        boards=lists,
        pool=pool(catalogue, memory.counts, lists, now_s),
        ranker=ByQuality(),
        seq=memory.seq,
    )


class LogInMemory:
    """The behaviour log as far as the fold needs it, without a disk."""

    def __init__(self, records: Iterable[Record] = ()) -> None:
        self.records: list[Record] = list(records)
        self.states: dict[str, tuple[int, bytes]] = {}

    def after(self, seq: int, limit: int) -> list[tuple[int, Record]]:
        return list(enumerate(self.records[seq : seq + limit], seq + 1))

    def of_viewer(self, viewer_id: str, after: int = 0) -> list[tuple[int, Record]]:
        return [(seq, one) for seq, one in enumerate(self.records, 1) if one.viewer_id == viewer_id and seq > after]

    def state_of(self, viewer_id: str) -> tuple[int, bytes] | None:
        return self.states.get(viewer_id)

    def keep_states(self, states: Sequence[tuple[str, int, bytes]]) -> None:
        self.states.update({viewer_id: (seq, body) for viewer_id, seq, body in states})
