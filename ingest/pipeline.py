"""Ingest, the whole story on one machine. Read it from the top.

    1. register    what was named becomes uploads in the ledger, originals become blobs
    2. claim       a worker leases a chunk of waiting uploads
    3. decode      in a sandboxed child: untrusted bytes become a `Clip`, or a `MediaError`
    4. encode      clips become analyses, which are blobs; the same bytes are never analysed twice
    5. commit      uploads and analyses are fused into rows; the table first, then the ledger

Every upload ends as exactly one `Video` or one `Failure`, whatever is killed on the way: each step leaves behind
something whole that the next run finds, and nothing is said to be done before it is.

Work runs in threads, one a core: while one waits for its decode child, another encodes. Ray runs the same functions
in processes (`ingest/cluster.py`).
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Lock
from typing import Protocol

from threadpoolctl import threadpool_limits

from index.blobs import analysis_key, original_key, thumbnail_key
from index.home import Home
from index.ledger import CHILD_DEATHS_MAX, Claimed, owner_name
from index.records import Analysis, Failure, Space, Upload
from ingest.clip import Clip, MediaError
from ingest.commit import Committer
from ingest.decode import ChildDied
from ingest.encode import Encoders, analyse, complete, thumbnail_jpeg
from ingest.register import Given, register
from ingest.uploads import Source, local_path

CHUNK = 4
"""Uploads that a worker leases, decodes and encodes together; also what a kill can cost it. With 8, 40 clips took a
fifth longer on two cores, which were idle in turns; the CPU seconds are the same."""
COMMIT_ROWS = 64
COMMIT_SECONDS = 2.0
"""Rows wait for each other so long at most: a commit costs the same for one row as for sixty-four."""
RENEW_SECONDS = 60.0
PATIENCE_SECONDS = 0.5
LIMITS_OF_THE_FILE = ("cpu_limit", "memory_limit")
"""A child that hits these will hit them again: no second try. Any other death may have been the machine's."""


class Decoder(Protocol):
    """What turns a file into a clip; called from many threads at once."""

    def decode(self, path: Path) -> Clip: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Engine:
    """What the work is done with: a pool of decode children and the encoders of one space."""

    space: Space
    decoder: Decoder
    encoders: Encoders


@dataclass(slots=True, kw_only=True)
class Outcome:
    """What became of one chunk: every upload of it is in exactly one of the three."""

    analysed: list[tuple[Upload, Analysis]] = field(default_factory=list)
    failed: list[tuple[Upload, Failure]] = field(default_factory=list)
    killed_child: list[tuple[Upload, ChildDied]] = field(default_factory=list)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What a progress display hears after each finished chunk and each commit."""

    committed: int = 0
    failed: int = 0


def ingest(
    sources: Iterable[Source | Failure],
    home: Home,
    space_id: str,
    open_engine: Callable[[], AbstractContextManager[Engine]],
    *,
    workers: int,
    in_place: bool = False,
    stop: Event | None = None,
    on_registered: Callable[[int], None] = lambda count: None,
    on_step: Callable[[Step], None] = lambda step: None,
) -> Given:
    """Turn what a user named, and whatever was left waiting before, into videos and failures.

    Args:
        sources: from `uploads.discover`.
        home: where everything is kept.
        space_id: the space to ingest into.
        open_engine: loads the models and starts the decode children; not called when nothing waits.
        workers: threads, each with a decode child.
        stop: set it to end early; unfinished uploads stay queued.
        on_registered: hears the number of sources written down, batch by batch.
        on_step: hears how the work goes on.

    Returns:
        What this call named; where each of it stands is in the ledger.
    """
    stop = stop or Event()
    given = register(sources, home, space_id, in_place=in_place, stop=stop, on_progress=on_registered)
    if home.ledger.counts(space_id)["pending"] and not stop.is_set():
        with open_engine() as engine:
            work_off(home, engine, workers=workers, stop=stop, on_step=on_step)
    return given


def reconcile(home: Home, space: Space) -> int:
    """Make the table agree with the ledger after a loss; return how many rows have to be made again.

    The table is never fsynced, so a power cut may take rows that the ledger knows, and a kill may leave the row of an
    upload that has failed. Rows are made again from the analyses: nothing is decoded.
    """
    table = home.table(space)
    if table.count() == home.ledger.counts(space.id)["videos"]:
        return 0
    rows, videos = set(table.ids()), set(home.ledger.video_ids(space.id))
    home.ledger.requeue(sorted(videos - rows), space.id)
    standings = home.ledger.standings(sorted(rows - videos), space.id)
    failed = [video_id for video_id, standing in standings.items() if standing.state == "failure"]
    if failed:
        Committer(home, space, owner_name()).remove(failed)
    return len(videos - rows)


def work_off(home: Home, engine: Engine, *, workers: int, stop: Event, on_step: Callable[[Step], None]) -> None:
    """Work until nothing waits in the space: chunks in threads, commits here."""
    ledger, space, owner = home.ledger, engine.space, owner_name()
    committer = Committer(home, space, owner)
    analyst = Analyst(home, engine)
    ready: list[tuple[Upload, Analysis]] = []
    running: dict[Future[Outcome], list[str]] = {}
    errors: list[BaseException] = []
    suspects: list[str] = []
    committed_at = renewed_at = time.monotonic()

    def commit() -> None:
        nonlocal committed_at
        committer.commit(ready, engine.encoders.text)
        on_step(Step(committed=len(ready)))
        ready.clear()
        committed_at = time.monotonic()

    one_blas_thread = threadpool_limits(1, user_api="blas")  # the cores are taken: a second one a call would only spin
    with one_blas_thread, ThreadPoolExecutor(workers, thread_name_prefix="analyse") as pool:
        try:
            while True:
                while len(running) <= workers and not stop.is_set():  # one chunk ahead, so that no thread waits
                    chunk = ledger.claim(space.id, owner, CHUNK)
                    if not chunk:
                        break
                    running[pool.submit(analyst.work, chunk, stop)] = [claimed.upload.video_id for claimed in chunk]
                if not running:
                    commit()
                    if stop.is_set() or not ledger.counts(space.id)["pending"]:
                        break
                    stop.wait(PATIENCE_SECONDS)  # another ingest has the rest in hand; should it die, we take over
                    continue
                for future in wait(running, timeout=COMMIT_SECONDS, return_when=FIRST_COMPLETED).done:
                    video_ids = running.pop(future)
                    if (error := future.exception()) is not None:  # ours: what is done is kept, then it stops loudly
                        errors.append(error)
                        suspects += video_ids
                        stop.set()
                        continue
                    outcome = future.result()
                    ready += outcome.analysed
                    failed = outcome.failed + _count_deaths(outcome.killed_child, home, space.id, owner)
                    committer.fail(failed)
                    on_step(Step(failed=len(failed)))
                now = time.monotonic()
                if len(ready) >= COMMIT_ROWS or now - committed_at > COMMIT_SECONDS:
                    commit()
                if now - renewed_at > RENEW_SECONDS:
                    ledger.renew(space.id, owner)
                    renewed_at = now
        except BaseException:
            stop.set()  # this block itself fell over: the threads end after the file in hand
            raise
        finally:
            wait(running)
            ledger.release(space.id, owner, suspects=suspects)
    if errors:
        raise errors[0]


def _count_deaths(
    killed: Sequence[tuple[Upload, ChildDied]], home: Home, space_id: str, owner: str
) -> list[tuple[Upload, Failure]]:
    """Count dead children against their uploads: each is handed back for another try, until its last one."""
    quarantined = []
    for upload, died in killed:
        deaths = home.ledger.child_died(upload, space_id, owner)
        if deaths >= CHILD_DEATHS_MAX:
            detail = f"killed its decode child {deaths} times, at last so: {died.reason}: {died.detail}"
            quarantined.append((upload, _failure(upload, MediaError("quarantined", detail))))
        else:
            home.ledger.release(space_id, owner, only=[upload.video_id])
    return quarantined


class Analyst:
    """Turns chunks of claimed uploads into analyses; one object, many threads."""

    def __init__(self, home: Home, engine: Engine) -> None:
        self._home, self._engine = home, engine
        self._locks = [Lock() for _ in range(256)]

    def work(self, chunk: Sequence[Claimed], stop: Event) -> Outcome:
        """Decode and encode what is not analysed yet; what a stop cuts off is in no list, and stays leased."""
        outcome = Outcome()
        with self._alone_with({claimed.upload.content_sha256 for claimed in chunk}):
            analyses = self._known(chunk)
            clips: dict[str, Clip] = {}
            for claimed in chunk:
                upload = claimed.upload
                if stop.is_set() or upload.content_sha256 in analyses or upload.content_sha256 in clips:
                    continue
                try:
                    clips[upload.content_sha256] = self._decode(upload)
                except MediaError as error:
                    if isinstance(error, ChildDied) and error.reason not in LIMITS_OF_THE_FILE:
                        outcome.killed_child.append((upload, error))
                    else:
                        outcome.failed.append((upload, _failure(upload, error)))
            try:
                analyses |= self._encode(clips)
            except Exception as error:
                error.add_note("while encoding " + ", ".join(claimed.upload.uri for claimed in chunk))
                raise
        ended = {upload.video_id for upload, _ in [*outcome.failed, *outcome.killed_child]}
        outcome.analysed = [
            (claimed.upload, analyses[claimed.upload.content_sha256])
            for claimed in chunk
            if claimed.upload.content_sha256 in analyses and claimed.upload.video_id not in ended
        ]
        return outcome

    def _known(self, chunk: Sequence[Claimed]) -> dict[str, Analysis]:
        """Analyses that stand already; one with failed channels is taken as it is unless its upload is retried."""
        found = {}
        for claimed in chunk:
            content = claimed.upload.content_sha256
            stored = self._stored(content)
            if stored is not None and not (stored.partial and claimed.partial):
                found[content] = stored
        return found

    def _stored(self, content: str) -> Analysis | None:
        key = analysis_key(content, self._engine.space.id)
        if not self._home.blobs.has(key):
            return None
        try:
            return Analysis.from_bytes(self._home.blobs.get(key))
        except ValueError:  # a torn or flipped blob is made again from the original, which is the truth
            return None

    def _decode(self, upload: Upload) -> Clip:
        with self._engine.encoders.timed("decode"), self._original(upload) as path:
            return self._engine.decoder.decode(path)

    @contextmanager
    def _original(self, upload: Upload) -> Iterator[Path]:
        """The bytes as a file: our copy, or the file itself where it was taken in place."""
        key = original_key(upload.content_sha256)
        if self._home.blobs.has(key):
            with self._home.blobs.local_copy(key) as path:
                yield path
            return
        path = local_path(upload.uri)
        if not path.is_file():
            raise MediaError("original_gone", f"{path}: taken in place, and not there any more")
        with path.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != upload.content_sha256:
                raise MediaError("original_changed", f"{path}: taken in place, and changed since; ingest it again")
        yield path

    def _encode(self, clips: dict[str, Clip]) -> dict[str, Analysis]:
        """Encode, and put thumbnails and analyses where a kill cannot take them."""
        if not clips:
            return {}
        thumbnails = [self._put_thumbnail(clip) for clip in clips.values()]
        space_id = self._engine.space.id
        analyses = analyse(list(clips.items()), self._engine.encoders, space_id, thumbnails=thumbnails)
        made = {}
        for new in analyses:
            old = self._stored(new.content_sha256)
            made[new.content_sha256] = new if old is None else complete(old, new)
            self._home.blobs.put(analysis_key(new.content_sha256, space_id), made[new.content_sha256].to_bytes())
        return made

    def _put_thumbnail(self, clip: Clip) -> str | None:
        jpeg = thumbnail_jpeg(clip)
        if jpeg is None:
            return None
        name = hashlib.sha256(jpeg).hexdigest()
        self._home.blobs.put(thumbnail_key(name), jpeg)
        return name

    @contextmanager
    def _alone_with(self, contents: set[str]) -> Iterator[None]:
        """Hold these contents: two threads with the same bytes take turns, and the second finds an analysis."""
        with ExitStack() as held:
            for stripe in sorted(
                {int(content[:2], 16) for content in contents}
            ):  # in one order: nobody waits in a circle
                held.enter_context(self._locks[stripe])
            yield


def _failure(upload: Upload, error: MediaError) -> Failure:
    step = "read" if error.reason.startswith("original_") else "decode"
    return Failure(video_id=upload.video_id, uri=upload.uri, step=step, reason=error.reason, detail=error.detail)
