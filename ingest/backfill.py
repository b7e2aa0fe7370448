"""Backfill: fill a space with millions of videos, beside uploads, which go first.

What is wanted is queued in the ledger first, whole; then a crew works it off (`pipeline.work_off`). So a backfill that
was killed or stopped is not special: the next one finds in the ledger what is left. Each run is a job there, with how
far it has come and how it ended.
"""

from __future__ import annotations

import contextlib
import random
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, fields
from itertools import islice
from pathlib import Path
from threading import Event

import psutil

from index.blobs import original_key
from index.home import Home
from index.ledger import BACKFILL, owner_name
from index.records import Failure, Space, Upload
from ingest.pipeline import Crew, Step, work_off
from ingest.register import register
from ingest.uploads import Source
from ingest.uris import file_at

BY_BUDGET, BY_REQUEST = "by budget", "by request"
"""Who stopped a run."""
TELL_EVERY_S = 5.0
"""How often a job says in the ledger how far it is."""
SAMPLE = 48
"""Videos that an estimate decodes and encodes."""
SECONDS_AN_HOUR = 3600.0
ESTIMATE = "estimate-"
"""What the folder of a sample's home begins with; it is thrown away."""


class BackfillError(ValueError):
    """What was asked for makes no sense; the message says what would."""


@dataclass(slots=True, kw_only=True)
class Progress:
    """How far a run has come: the sum of its steps."""

    videos: int = 0
    failures: int = 0
    video_s: float = 0.0
    reasons: Counter[str] = field(default_factory=Counter)
    child_deaths: int = 0
    lost_workers: int = 0

    def add(self, step: Step) -> None:
        self.videos += step.committed
        self.failures += step.failed
        self.video_s += step.video_s
        self.reasons.update(step.reasons)
        self.child_deaths += step.child_deaths
        self.lost_workers += step.lost_workers


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """How a backfill ended."""

    job_id: str
    wanted: int
    """Uploads that waited when everything was queued."""
    progress: Progress
    seconds: float
    """Of work, models and workers being there."""
    stopped: str | None
    """`BY_BUDGET` or `BY_REQUEST`; None: it went to its end."""
    pending: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """What a backfill will take, from a sample that was really decoded and encoded."""

    uploads: int
    """That need work."""
    sampled: int
    sampled_failures: int
    videos_per_second: float
    """Of everything that ran, models and workers being there."""
    cpu_s_per_video: float | None
    """Of this process and its children; None on a cluster, where others compute."""
    hours: float
    video_hours: float
    """Length of the videos, if all are like the sample."""
    blob_gb: float
    """Analyses and thumbnails."""
    table_gb: float
    original_gb: float
    """Copies of the originals; 0 where they stay in place or are kept already."""
    cores: int
    price_per_core_hour: float
    money_per_1000: float
    money: float


def queue_named(
    sources: Iterable[Source | Failure],
    home: Home,
    space_id: str,
    *,
    in_place: bool,
    stop: Event,
    on_progress: Callable[[int], None] = lambda count: None,
) -> Counter[str]:
    """Queue what a manifest names; return why what could not be read is a failure at once."""
    given = register(sources, home, space_id, in_place=in_place, priority=BACKFILL, stop=stop, on_progress=on_progress)
    return given.rejected


def queue_known(
    home: Home,
    space_id: str,
    *,
    only: set[str] | None,
    stop: Event,
    on_progress: Callable[[int], None] = lambda count: None,
) -> Counter[str]:
    """Queue the uploads that a space lacks; nothing fails at that.

    Args:
        only: ids; None: all uploads of the ledger.
    """
    for video_ids in _lacking(home, space_id, only):
        if stop.is_set():
            break
        home.ledger.queue(video_ids, space_id)
        on_progress(len(video_ids))
    return Counter()


def run(
    home: Home,
    space: Space,
    queue: Callable[[], Counter[str]],
    open_crew: Callable[[], AbstractContextManager[Crew]],
    *,
    engine: str,
    stop: Event,
    max_hours: float | None = None,
    on_step: Callable[[Step], None] = lambda step: None,
) -> Ran:
    """Queue what is wanted and work off what waits in a space, and keep account of it as a job.

    Args:
        queue: `queue_named` or `queue_known`; returns how many failed at that, by reason.
        open_crew: loads the models and starts the workers; not called when nothing waits.
        engine: what the crew runs on, for `firstlook jobs`.
        stop: set it to end early and cleanly.
        max_hours: the budget; counts from now.
    """
    job_id = home.ledger.start_job(space.id, engine, owner_name())
    progress = Progress()
    wanted = 0
    started = time.monotonic()

    def on_every_step(step: Step) -> None:
        progress.add(step)
        on_step(step)

    def tell(state: str = "running", detail: str = "") -> None:
        home.ledger.tell_job(
            job_id,
            wanted=wanted,
            videos=progress.videos,
            failures=progress.failures,
            video_s=progress.video_s,
            state=state,
            detail=detail,
        )

    try:
        with _every(TELL_EVERY_S, tell), _budget(max_hours, stop) as spent:
            if rejected := queue():
                on_every_step(Step(reasons=tuple(rejected.elements())))
            wanted = home.ledger.counts(space.id)["pending"]
            if wanted and not stop.is_set():
                with open_crew() as crew:
                    started = time.monotonic()
                    work_off(home, space, crew, stop=stop, on_step=on_every_step)
    except BaseException as error:
        tell("failed", f"{type(error).__name__}: {error}"[:1000])
        raise
    pending = home.ledger.counts(space.id)["pending"]
    stopped = BY_BUDGET if spent.is_set() else BY_REQUEST if stop.is_set() else None
    tell("stopped" if stopped else "finished", stopped or "")
    return Ran(
        job_id=job_id,
        wanted=wanted,
        progress=progress,
        seconds=time.monotonic() - started,
        stopped=stopped,
        pending=pending,
    )


def named_and_unfinished(sources: Iterable[Source | Failure], home: Home, space_id: str) -> Iterator[Source]:
    """The sources that a backfill would work on; by name alone, so a file that changed since counts as done."""
    for batch in _batches((one for one in sources if isinstance(one, Source)), 256):
        seen = home.ledger.seen_files([source.uri for source in batch])
        standings = home.ledger.standings({file.video_id for file in seen.values()}, space_id)
        for source in batch:
            file = seen.get((source.uri, source.video_id or ""))
            standing = standings.get(file.video_id) if file else None
            if standing is None or standing.state not in ("video", "failure"):
                yield source


def known_and_unfinished(home: Home, space_id: str, only: set[str] | None) -> Iterator[Source]:
    """The uploads that a backfill would work on, as sources: what waits, and what the space lacks."""
    pending = home.ledger.pending_ids(space_id)
    pages = [pending[start : start + 500] for start in range(0, len(pending), 500)]
    for video_ids in [*pages, *_lacking(home, space_id, only)]:
        for some in _batches(video_ids, 500):
            for upload in home.ledger.uploads(some).values():
                yield _as_source(upload, home)


def estimate(
    sources: Iterable[Source],
    home: Home,
    space: Space,
    open_crew: Callable[[Home], AbstractContextManager[Crew]],
    *,
    cores: int,
    price_per_core_hour: float,
    in_place: bool,
    local: bool,
    stop: Event,
    sample: int = SAMPLE,
    seed: int = 0,
    on_step: Callable[[Step], None] = lambda step: None,
) -> Estimate:
    """Decode and encode a random sample into a home that is thrown away, and reckon from that.

    Args:
        sources: all that a backfill would work on.
        home: only looked at.
        open_crew: of the home that it is handed.
        cores: that the crew computes on.
        price_per_core_hour: in whatever money.
        in_place: originals will not be copied.
        local: the crew computes on this machine, so CPU seconds can be told.
        stop: set it to end early.

    Raises:
        BackfillError: nothing needs work, or it was stopped.
    """
    count, chosen = _sampled(sources, sample, random.Random(seed))
    if not chosen:
        raise BackfillError("there is nothing to estimate: no upload needs work")
    beside = None if "://" in home.blobs_url else home.folder
    with tempfile.TemporaryDirectory(prefix=ESTIMATE, dir=beside) as folder:
        scratch = Home.open(
            folder,
            ledger_url=f"sqlite:///{folder}/ledger.sqlite",
            blobs_url=f"{folder}/blobs" if beside else f"{home.blobs_url}/{Path(folder).name}",
            tables_url=f"{folder}/tables",
        )
        try:
            scratch.ledger.add_space(space)
            register(chosen, scratch, space.id, in_place=beside is not None)
            with open_crew(scratch) as crew:
                progress = Progress()
                cpu_s, started = _cpu_s(), time.monotonic()

                def on_every_step(step: Step) -> None:
                    progress.add(step)
                    on_step(step)

                work_off(scratch, space, crew, stop=stop, on_step=on_every_step)
                took_s, cpu_s = time.monotonic() - started, _cpu_s() - cpu_s
            ended = progress.videos + progress.failures
            blob_bytes = sum(
                one.size for kind in (f"analysis/{space.id}", "thumbnail") for one in scratch.blobs.stored(kind)
            )
            table_bytes = _bytes_in(Path(folder) / "tables")
        finally:
            scratch.close()
            if beside is None:
                for kind in ("original", f"analysis/{space.id}", "thumbnail"):
                    for one in list(scratch.blobs.stored(kind)):
                        scratch.blobs.delete(one.key)
    if stop.is_set():
        raise BackfillError(f"stopped after {ended} of the {len(chosen)} sampled files: too early to say")
    if not ended:
        raise BackfillError(f"none of the {len(chosen)} sampled files could be read, such as {chosen[0].path}")
    original_bytes = 0 if in_place else sum(_size(source.path) for source in chosen if not _is_kept(source, home))
    each = count / ended
    hours = took_s * each / SECONDS_AN_HOUR
    return Estimate(
        uploads=count,
        sampled=ended,
        sampled_failures=progress.failures,
        videos_per_second=ended / took_s,
        cpu_s_per_video=cpu_s / ended if local else None,
        hours=hours,
        video_hours=progress.video_s * each / SECONDS_AN_HOUR,
        blob_gb=blob_bytes * each / 1e9,
        table_gb=table_bytes * each / 1e9,
        original_gb=original_bytes * each / 1e9,
        cores=cores,
        price_per_core_hour=price_per_core_hour,
        money_per_1000=hours * cores * price_per_core_hour / count * 1000,
        money=hours * cores * price_per_core_hour,
    )


def _lacking(home: Home, space_id: str, only: set[str] | None) -> Iterator[list[str]]:
    after: str | None = ""
    while after is not None:
        after, video_ids = home.ledger.lacking(space_id, after=after)
        if wanted := [video_id for video_id in video_ids if only is None or video_id in only]:
            yield wanted


def _as_source(upload: Upload, home: Home) -> Source:
    said = {one.name: getattr(upload, one.name) for one in fields(Source) if hasattr(upload, one.name)}
    kept = home.blobs.path_of(original_key(upload.content_sha256))
    path = kept if kept is not None and kept.is_file() else file_at(upload.uri) or Path(upload.uri)
    return Source(path=path, origin=upload.uri, **said)


def _is_kept(source: Source, home: Home) -> bool:
    return "://" not in home.blobs_url and source.path.is_relative_to(home.blobs_url)


def _sampled(sources: Iterable[Source], size: int, chance: random.Random) -> tuple[int, list[Source]]:
    """How many there are, and a random sample of them in one pass. Source: Vitter 1985, algorithm R."""
    chosen: list[Source] = []
    count = 0
    for count, source in enumerate(sources, start=1):
        if len(chosen) < size:
            chosen.append(source)
        elif (place := chance.randrange(count)) < size:
            chosen[place] = source
    return count, chosen


@contextmanager
def _every(seconds: float, act: Callable[[], None]) -> Iterator[None]:
    """Do something again and again, in a thread, for as long as the block lasts."""
    ended = Event()

    def repeat() -> None:
        while not ended.wait(seconds):
            with contextlib.suppress(OSError):  # a full or locked ledger: the work itself will say so
                act()

    thread = threading.Thread(target=repeat, name="tell", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@contextmanager
def _budget(hours: float | None, stop: Event) -> Iterator[Event]:
    """Set `stop` when the hours are used, and the event that it yields too."""
    spent = Event()

    def end() -> None:
        spent.set()
        stop.set()

    timer = threading.Timer((hours or 0.0) * SECONDS_AN_HOUR, end)
    timer.daemon = True
    if hours is not None:
        timer.start()
    try:
        yield spent
    finally:
        timer.cancel()


def _cpu_s() -> float:
    """Of this process and its children, those that have ended included."""
    own = psutil.Process()
    times = [own.cpu_times(), *(_times(child) for child in own.children(recursive=True))]
    return sum(one.user + one.system + one.children_user + one.children_system for one in times if one)


def _times(process: psutil.Process) -> psutil._ntuples.pcputimes | None:
    try:
        return process.cpu_times()
    except psutil.NoSuchProcess:
        return None


def _bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _batches(some: Iterable[Source] | Sequence[str], size: int) -> Iterator[list]:  # type: ignore[type-arg]
    iterator = iter(some)
    while batch := list(islice(iterator, size)):
        yield batch
