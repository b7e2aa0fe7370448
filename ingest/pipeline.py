"""Ingest, the whole story. Read it from the top.

    1. register    what was named becomes uploads in the ledger, originals become blobs
    2. claim       chunks of waiting uploads are leased
    3. decode      in a sandboxed child: untrusted bytes become a `Clip`, or a `MediaError`
    4. encode      clips become analyses, which are blobs; the same bytes are never analysed twice
                   uploads and analyses are fused into videos
    5. commit      videos become rows; the table first, then the ledger

Every upload ends as exactly one `Video` or one `Failure`, whatever is killed on the way: each step leaves behind
something whole that the next run finds, and nothing is said to be done before it is.

Who decodes and encodes is a `Crew`: threads of this process, one a core (`Threads`, below), or processes on Ray
(`ingest/cluster.py`). Both do it by the same two functions, `decode_chunk` and `encode_chunk`.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager
from dataclasses import dataclass
from threading import Event
from types import TracebackType
from typing import Any, Protocol, Self

from threadpoolctl import threadpool_limits

from index.blobs import Blobs
from index.home import Home
from index.ledger import BACKFILL, CHILD_DEATHS_MAX, ITEM_LEASE_S, LeaseLost, owner_name
from index.records import Claimed, Failure, Space, Upload, Video
from ingest.chunk_decode import Decoder, Outcome, decode_chunk, failure_of
from ingest.chunk_encode import encode_chunk
from ingest.clip import MediaError
from ingest.commit import PATIENCE_S, Committer
from ingest.decode import ChildDied
from ingest.encode import Encoders
from ingest.register import Given, register
from ingest.uploads import Source

_log = logging.getLogger(__name__)

CHUNK = 4
"""Uploads that are leased, decoded and encoded together; also what a kill can cost. With 8, 40 clips took a fifth
longer on two cores, which were idle in turns; the CPU seconds are the same."""
COMMIT_ROWS = 64
COMMIT_SECONDS = 2.0
"""Rows wait for each other so long at most: a commit costs the same for one row as for sixty-four."""
COMMIT_SHARE = 0.05
"""Of the time, for commits: they grow with the table, so the larger it is, the more rows wait for each."""
WAITING_ROWS_MAX = 4_096
"""So many rows may wait for a commit that takes long (an index is built, say) before no more work is begun."""
RENEW_SECONDS = 60.0
PATIENCE_SECONDS = 0.5
STANDSTILL_S = 900.0
"""Longer than a lease (600 s) that somebody who died far away left behind: whoever stands still longer is stuck."""
WORKER_DEATHS_MAX = 5
"""So often may an upload be in hand, alone, when its worker dies, before it is quarantined: once or twice is chance."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """What the work is done with: a pool of decode children and the encoders of one space."""

    space: Space
    decoder: Decoder
    encoders: Encoders


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What a progress display hears after each finished chunk and each commit."""

    task: str = ""
    """What worked on the chunk: a Ray task's id, or a thread."""
    analysed: tuple[str, ...] = ()
    """Ids of its videos, which wait for a commit."""
    committed_ids: tuple[str, ...] = ()
    failed_ids: tuple[str, ...] = ()
    """Empty where lines of a manifest failed, which have no id."""
    video_s: float = 0.0
    """Length of the videos committed."""
    commit_s: float = 0.0
    """How long the commit took."""
    reasons: tuple[str, ...] = ()
    """Of the failures."""
    child_deaths: int = 0
    lost_workers: int = 0
    decode_s: tuple[float, ...] = ()
    """What each file of the chunk took to decode."""
    encode_s: tuple[float, ...] = ()
    """What each video of the chunk took to encode."""
    waited_s: tuple[float, ...] = ()
    """From being queued to the commit, of each video committed."""

    @property
    def committed(self) -> int:
        return len(self.committed_ids)

    @property
    def failed(self) -> int:
        return len(self.reasons)


class Crew(Protocol):
    """Whoever decodes and encodes."""

    @property
    def slots(self) -> int:
        """How many chunks it wants to have in hand at once."""

    def submit(self, chunk: Sequence[Claimed]) -> Future[Outcome]:
        """Begin with a chunk. Its future fails only with errors of ours."""

    def hurry(self) -> None:
        """End after the files in hand; what is cut off stays leased."""


class StandsStill(Exception):
    """Nothing has ended for too long. What is done is kept, and the rest waits."""


def ingest(
    sources: Iterable[Source | Failure],
    home: Home,
    space: Space,
    open_crew: Callable[[], AbstractContextManager[Crew]],
    *,
    in_place: bool = False,
    down_to: int = BACKFILL,
    stop: Event | None = None,
    on_registered: Callable[[int], None] = lambda count: None,
    on_step: Callable[[Step], None] = lambda step: None,
) -> Given:
    """Turn what a user named, and whatever was left waiting before, into videos and failures.

    Args:
        sources: from `uploads.discover`.
        home: where everything is kept.
        space: the space to ingest into.
        open_crew: loads the models and starts the workers; not called when nothing waits.
        in_place: refer to the originals where they lie instead of copying them.
        down_to: what is less urgent waits on: with `ledger.UPLOAD`, a backfill is left to those who work on it.
        stop: set it to end early; unfinished uploads stay queued.
        on_registered: hears the number of sources written down, batch by batch.
        on_step: hears how the work goes on.

    Returns:
        What this call named; where each of it stands is in the ledger.
    """
    stop = stop or Event()
    given = register(sources, home, space.id, in_place=in_place, stop=stop, on_progress=on_registered)
    if home.ledger.pending(space.id, down_to=down_to) and not stop.is_set():
        with open_crew() as crew:
            work_off(home, space, crew, down_to=down_to, stop=stop, on_step=on_step)
    return given


def reconcile(home: Home, space: Space) -> int:
    """Make the table agree with the ledger after a loss; return how many rows have to be made again.

    The table is never fsynced, so a power cut may take rows that the ledger knows, and a kill may leave the row of an
    upload that has failed. Rows are made again from the analyses: nothing is decoded.
    """
    table = home.table(space)
    if table.count() == home.ledger.counts(space.id)["videos"]:
        return 0
    videos = set(home.ledger.video_ids(space.id))  # before the rows: what others commit meanwhile is not missing
    rows = set(table.ids())
    home.ledger.requeue(sorted(videos - rows), space.id)
    standings = home.ledger.standings(sorted(rows - videos), space.id)
    failed = [video_id for video_id, standing in standings.items() if standing.state == "failure"]
    if failed:
        Committer(home, space, owner_name()).remove(failed)
    return len(videos - rows)


def work_off(
    home: Home,
    space: Space,
    crew: Crew,
    *,
    stop: Event,
    down_to: int = BACKFILL,
    on_step: Callable[[Step], None] = lambda step: None,
    standstill_s: float = STANDSTILL_S,
) -> None:
    """Work until nothing so urgent waits in the space: the crew decodes and encodes, what it made is committed here.

    Raises:
        StandsStill: nothing has ended for `standstill_s`; the message says what was in hand.
        Exception: an error of ours; what was done before is kept, and what was in hand comes last next time.
    """
    shift = _Shift(home, space, crew, down_to, stop, on_step)
    try:
        while shift.has_work():
            shift.take_on()
            shift.take_in()
            shift.commit_if_due()
            shift.renew_if_due()
            shift.watch(standstill_s)
    except BaseException:
        stop.set()
        crew.hurry()
        raise
    finally:
        shift.end()


class _Shift:
    """The state of one `work_off`: what is in hand, what is ready, and when something last happened."""

    def __init__(
        self,
        home: Home,
        space: Space,
        crew: Crew,
        down_to: int,
        stop: Event,
        on_step: Callable[[Step], None],
    ) -> None:
        self._home, self._ledger, self._space, self._crew = home, home.ledger, space, crew
        self._down_to, self._stop, self._on_step = down_to, stop, on_step
        self._owner = owner_name()
        self._committer = Committer(home, space, self._owner)
        self._in_hand: dict[Future[Outcome], list[Claimed]] = {}
        self._aside: list[Claimed] = []
        self._ready: list[Video] = []
        self._gone: list[str] = []
        self._committing = ThreadPoolExecutor(1, thread_name_prefix="commit")
        self._commit: Future[float] | None = None
        self._committed: list[Video] = []
        self._queued_s: dict[str, float] = {}
        self._suspected: set[str] = set()
        self._died_alone = Counter[str]()
        self._errors: list[BaseException] = []
        self._suspects: list[str] = []
        self._commit_due_at = self._ready_since = self._renewed_at = self._moved_at = self._commit_began_at = (
            time.monotonic()
        )
        self._stuck = False

    def has_work(self) -> bool:
        """Something is in hand or ready, or waits and may be taken on."""
        if self._in_hand or self._ready or self._gone or self._commit:
            return True
        return not self._stop.is_set() and self._ledger.pending(self._space.id, down_to=self._down_to)

    def take_on(self) -> None:
        """Fill the crew's hands."""
        if self._stop.is_set():
            self._crew.hurry()
        while len(self._in_hand) < self._crew.slots and not self._stop.is_set():
            chunk = self._not_in_hand(self._aside) or self._claim()
            if not chunk:
                break
            if chunk := self._put_aside(chunk):
                self._queued_s |= {claimed.upload.video_id: claimed.queued_s for claimed in chunk}
                self._in_hand[self._crew.submit(chunk)] = chunk

    def _claim(self) -> list[Claimed]:
        if len(self._aside) >= CHUNK * self._crew.slots or len(self._ready) >= WAITING_ROWS_MAX:
            return []
        return self._ledger.claim(self._space.id, self._owner, CHUNK, down_to=self._down_to)

    def take_in(self) -> None:
        """Wait for the crew, and write down what it found; videos gather until they are committed."""
        waiting_for: list[Future[Any]] = [*self._in_hand, *([self._commit] if self._commit else [])]
        if not waiting_for:
            if not self._ready and not self._gone:
                self._stop.wait(PATIENCE_SECONDS)  # others have the rest in hand; should they die, we take over
            return
        for future in wait(waiting_for, timeout=PATIENCE_SECONDS, return_when=FIRST_COMPLETED).done:
            chunk = self._in_hand.pop(future, None)
            if chunk is None:
                continue
            if (error := future.exception()) is not None:  # ours: what is done is kept, then it stops loudly
                self._errors.append(error)
                self._suspects += [claimed.upload.video_id for claimed in chunk]
                self._stop.set()
                continue
            self._write_down(future.result())

    def _write_down(self, outcome: Outcome) -> None:
        if not self._ready:
            self._ready_since = time.monotonic()
        self._ready += outcome.videos
        failed = outcome.failed + self._count_deaths(outcome.killed_child) + self._count_lost(outcome)
        self._gone += self._committer.fail(failed)
        for upload, _ in failed:
            self._queued_s.pop(upload.video_id, None)
        if outcome.failed or outcome.videos or outcome.killed_child:
            self._moved_at = time.monotonic()
        self._on_step(
            Step(
                task=outcome.task,
                analysed=tuple(video.upload.video_id for video in outcome.videos),
                failed_ids=tuple(upload.video_id for upload, _ in failed),
                reasons=tuple(failure.reason for _, failure in failed),
                child_deaths=len(outcome.killed_child),
                lost_workers=1 if outcome.lost_worker else 0,
                decode_s=tuple(outcome.decode_s),
                encode_s=tuple(outcome.encode_s),
            )
        )

    def _count_deaths(self, killed: Sequence[tuple[Upload, ChildDied]]) -> list[tuple[Upload, Failure]]:
        """Count dead children against their uploads: each is handed back for another try, until its last one."""
        quarantined = []
        for upload, died in killed:
            deaths = self._ledger.child_died(upload, self._space.id, self._owner)
            if deaths >= CHILD_DEATHS_MAX:
                detail = f"killed its decode child {deaths} times, at last so: {died.reason}: {died.detail}"
                quarantined.append((upload, failure_of(upload, MediaError("quarantined", detail))))
            else:
                self._ledger.release(self._space.id, self._owner, only=[upload.video_id])
        return quarantined

    def _count_lost(self, outcome: Outcome) -> list[tuple[Upload, Failure]]:
        """Hand back what a dead worker had in hand: it comes last, and alone. What is alone too often is the cause."""
        lost = outcome.lost_worker
        if len(lost) == 1:
            (upload,) = lost
            self._died_alone[upload.video_id] += 1
            if self._died_alone[upload.video_id] >= WORKER_DEATHS_MAX:
                detail = f"its worker died {WORKER_DEATHS_MAX} times with nothing else in hand: {outcome.how_lost}"
                return [(upload, failure_of(upload, MediaError("quarantined", detail)))]
        video_ids = [upload.video_id for upload in lost]
        self._suspected.update(video_ids)
        if video_ids:
            self._ledger.release(self._space.id, self._owner, only=video_ids, suspects=video_ids)
        return []

    def commit_if_due(self) -> None:
        """Commit in a thread of its own, one at a time: the crew must not wait for it."""
        now = time.monotonic()
        if self._commit is not None:
            if not self._commit.done():
                return
            commit, self._commit = self._commit, None
            if isinstance(commit.exception(), LeaseLost):
                self._hand_back_unacknowledged()
                return
            took_s = commit.result()
            video_s = sum(video.facts.duration_s for video in self._committed)
            queued_s = [self._queued_s.pop(video.upload.video_id, None) for video in self._committed]
            waited_s = tuple(max(0.0, time.time() - since_s) for since_s in queued_s if since_s is not None)
            committed_ids = tuple(video.upload.video_id for video in self._committed)
            self._on_step(Step(committed_ids=committed_ids, video_s=video_s, commit_s=took_s, waited_s=waited_s))
            self._committed, self._moved_at = [], now
            self._commit_due_at = now + max(0.0, took_s / COMMIT_SHARE - took_s)
        waiting = len(self._ready)
        enough = waiting >= COMMIT_ROWS or now - self._ready_since >= COMMIT_SECONDS
        is_due = (enough and now >= self._commit_due_at) or waiting >= WAITING_ROWS_MAX
        if (self._ready or self._gone) and (is_due or not self._in_hand):
            self._committed, self._ready = self._ready, []
            gone, self._gone = self._gone, []
            self._commit_began_at = now
            self._commit = self._committing.submit(self._timed_commit, self._committed, gone)

    def _hand_back_unacknowledged(self) -> None:
        """This process stood still for so long that others may have done its work; what they left is claimed again."""
        _log.warning(
            "the lease on the table of %s ran out during a commit: the acknowledgement of %d videos was refused; "
            "those that nobody else has in hand are made again from their analyses",
            self._space.id,
            len(self._committed),
        )
        video_ids = [video.upload.video_id for video in self._committed]
        self._ledger.release(self._space.id, self._owner, only=video_ids)
        self._committed = []

    def _timed_commit(self, videos: Sequence[Video], gone: Sequence[str]) -> float:
        """All writing of the table, one after the other: its lease is of this process, not of a thread."""
        started = time.monotonic()
        if gone:
            self._committer.remove(gone)
        self._committer.commit(videos)
        return time.monotonic() - started

    def renew_if_due(self) -> None:
        if time.monotonic() - self._renewed_at > RENEW_SECONDS:
            self._ledger.renew(self._space.id, self._owner)
            self._renewed_at = time.monotonic()

    def watch(self, standstill_s: float) -> None:
        """Fail loudly when nothing has ended for too long, whoever is to blame."""
        now = time.monotonic()
        still_s = now - self._moved_at
        if still_s < standstill_s or (self._commit and now - self._commit_began_at < PATIENCE_S + standstill_s):
            return
        self._stuck = True
        commit = f"a commit of {len(self._committed)} videos; " if self._commit else ""
        uris = [claimed.upload.uri for chunk in self._in_hand.values() for claimed in chunk]
        others = {owner: n for owner, n in self._ledger.leased_by(self._space.id).items() if owner != self._owner}
        raise StandsStill(
            f"nothing has ended for {still_s:.0f} s. In hand here: {commit}{', '.join(uris[:8]) or 'nothing'}"
            f"{f' and {len(uris) - 8} more' if len(uris) > 8 else ''}; leased by others: "
            f"{', '.join(f'{n} by {owner}' for owner, n in others.items()) or 'nothing'}. "
            "What is done is kept, and the next run goes on"
        )

    def end(self) -> None:
        """Keep what is done, hand back the rest, and say what went wrong."""
        if not self._stuck:
            wait(self._in_hand, timeout=ITEM_LEASE_S)
        try:
            self._committing.shutdown(wait=not self._stuck)
            if self._commit is not None and not self._stuck:
                self._commit.result()
        finally:
            self._ledger.release(self._space.id, self._owner, suspects=self._suspects)
        if self._errors:
            raise self._errors[0]

    def _not_in_hand(self, some: list[Claimed]) -> list[Claimed]:
        """Take out of a list, up to a chunk, what has bytes that nobody has in hand.

        What was in hand when a worker died comes alone; and what was alone then, while no other such is in hand: two
        that share an encoder must not answer for each other.
        """
        in_hand = [claimed.upload for chunk in self._in_hand.values() for claimed in chunk]
        busy = {upload.content_sha256 for upload in in_hand}
        one_is_tried = any(upload.video_id in self._died_alone for upload in in_hand)
        free = [
            claimed
            for claimed in some
            if claimed.upload.content_sha256 not in busy
            and not (one_is_tried and claimed.upload.video_id in self._died_alone)
        ]
        calm = [claimed for claimed in free if claimed.upload.video_id not in self._suspected]
        chosen = calm[:CHUNK] or free[:1]
        for claimed in chosen:
            some.remove(claimed)
        return chosen

    def _put_aside(self, chunk: list[Claimed]) -> list[Claimed]:
        """Put off uploads whose bytes somebody has in hand: they will find an analysis."""
        now = self._not_in_hand(chunk)
        self._aside += chunk
        return now


class Threads:
    """A crew of threads in this process: while one waits for its decode child, another encodes.

    Args:
        blobs: where originals are and analyses go.
        engine: the decode children and the encoders, shared by all.
        workers: how many, with a decode child each.
    """

    def __init__(self, blobs: Blobs, engine: Engine, workers: int) -> None:
        self._blobs, self._engine = blobs, engine
        self._stop = Event()
        self.slots = workers + 1  # one chunk ahead, so that no thread waits
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="analyse")
        self._one_blas_thread = threadpool_limits(1, user_api="blas")  # the cores are taken: more would only spin

    def submit(self, chunk: Sequence[Claimed]) -> Future[Outcome]:
        return self._pool.submit(self._work, chunk)

    def hurry(self) -> None:
        self._stop.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=not isinstance(error, StandsStill), cancel_futures=True)
        self._one_blas_thread.restore_original_limits()

    def _work(self, chunk: Sequence[Claimed]) -> Outcome:
        engine = self._engine
        with engine.encoders.timed("decode"):
            decoded = decode_chunk(chunk, self._blobs, engine.space.id, engine.decoder, self._stop)
        outcome = encode_chunk(chunk, decoded, self._blobs, engine.space, engine.encoders)
        outcome.task = threading.current_thread().name
        return outcome
