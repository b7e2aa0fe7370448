"""`Library`: the Python door. The command line is thin over it, and uses the same words.

```python
from service.library import Library

with Library.open("firstlook-data") as library:
    library.ingest(["clips"])
    for hit in library.search(text="a cat on a sofa"):
        print(f"{hit.score:.2f} {hit.video_id} {hit.modalities}")
```
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from threading import Event
from types import NoneType, TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from index.behaviour import Accepted
from index.blobs import thumbnail_key
from index.home import Home
from index.ledger import BACKFILL, UPLOAD, Job, owner_name
from index.records import Event as ViewerEvent
from index.records import Failure, Glance, Space, Upload, Video
from index.search import Query, QueryError, Searcher
from index.table import VideoTable
from index.where import WhereError, parse
from ingest import backfill, pipeline, uploads
from ingest.backfill import SAMPLE, BackfillError, Estimate, Ran
from ingest.clip import MediaError
from ingest.decode import DecodePool
from ingest.decode_wire import Limits
from ingest.doctor import Report, examine
from ingest.encode import Encoders, TextEncoder
from ingest.erase import erase_due
from ingest.pipeline import Engine, Step, Threads
from ingest.query import of_file, of_words
from ingest.register import Given
from ingest.spaces import FILE_QUERY_WEIGHTS, RECIPES, TEXT_QUERY_WEIGHTS, Recipe, open_space, open_text, recipe_of
from ingest.uploads import Source
from recommend.events import Imported, as_line, import_events, judged
from service.export import export, write_neighbours

if TYPE_CHECKING:
    from ingest.cluster import RayCrew
    from service.recommender import Recommender

PUBLIC = "public"
KEPT_ROWS = 300_000
"""So many rows a server keeps in memory, a gigabyte at 512 dimensions; beyond, the index on the disk answers."""
LOADED_S = 10.0
"""So long closing waits for feeds that are being loaded."""
DURATIONS_KEPT = 100_000
"""Lengths of so many videos are remembered, since nearly every event wants one."""
WITHHELD_SPARE = 16
"""So many more hits are asked for than are wanted: the ledger may withhold some that the table still has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """How an ingest ended; `videos + failures == uploads` unless it was stopped early."""

    uploads: int
    """Distinct ids that this call named."""
    videos: int
    failures: int
    skipped: int
    """Those that needed no work."""
    partial: int
    """Videos that lack a channel which another try may mend."""
    pending: int
    """Not ended yet: the call was stopped. The next one goes on."""
    seconds: float
    videos_per_second: float
    """Uploads that needed work and ended, a second."""
    reasons: Mapping[str, int]
    """Failures among them, by reason."""
    extra_paths: Mapping[str, str]
    """Path -> id of the upload whose bytes it repeats."""
    step_seconds: Mapping[str, float]
    """Spent in each step, over all threads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backfill:
    """What a backfill is to do, and on what.

    Which uploads: those that `manifest` names; else those of the ledger that the space lacks, of which `where` keeps
    the ones whose row in the home's live space fits.
    """

    manifest: str | Path | None = None
    where: str | None = None
    ray: str | None = None
    """`local`, `auto` or `host:port`; None: threads of this process."""
    pools: Mapping[str, float] = field(default_factory=dict)
    """Of Ray: `decoders`, `encoders`, `threads`, `gpus`, `cpus` (see `ingest.cluster.Pools`)."""
    max_hours: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listener:
    """What a display hears while an ingest runs; the default listens to nothing."""

    on_message: Callable[[str], None] = lambda message: None
    on_registered: Callable[[int], None] = lambda count: None
    on_work: Callable[[int], None] = lambda pending: None
    on_step: Callable[[Step], None] = lambda step: None

    def beside(self, on_work: Callable[[int], None], on_step: Callable[[Step], None]) -> Listener:
        """One that tells somebody else too."""

        def work(pending: int) -> None:
            self.on_work(pending)
            on_work(pending)

        def step(one: Step) -> None:
            self.on_step(one)
            on_step(one)

        return replace(self, on_work=work, on_step=step)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How an ingest decodes and what it makes; `None` leaves the choice to the home."""

    recipe: Recipe | None = None
    new_space: bool = False
    """Make a new space with the encoders installed now, beside one of the same name."""
    workers: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))
    in_place: bool = False
    limits: Limits = field(default_factory=Limits)


class UnknownSpace(Exception):
    """A space that is neither in the home nor one we know how to make."""


class EmptyLibrary(Exception):
    """Nothing was ever ingested."""


class StillLoading(Exception):
    """What makes feeds is not in memory yet."""


class UnknownVideo(Exception):
    """An id that the library does not hold."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """A hit, and what there is to show of it."""

    video_id: str
    score: float
    modalities: Mapping[str, float]
    """What each modality contributed; they add up to the score."""
    upload: Upload
    glance: Glance

    def to_json(self) -> dict[str, Any]:
        upload, glance = self.upload, self.glance
        return {
            "video_id": self.video_id,
            "score": self.score,
            "modalities": dict(self.modalities),
            "uri": upload.uri,
            "caption": upload.caption,
            "hashtags": list(upload.hashtags),
            "creator_id": upload.creator_id,
            "language": upload.language,
            "duration_s": glance.duration_s,
            "tags": list(glance.tags),
            "onscreen_text": glance.onscreen_text,
            "thumbnail_sha256": glance.thumbnail_sha256,
        }


class Library:
    """A home, and one space of it."""

    def __init__(self, home: Home, recipe: Recipe, space: Space | None) -> None:
        self._home, self._recipe, self._space = home, recipe, space
        self._opened: Encoders | None = None
        self._search: Searcher | None = None
        self._pool: DecodePool | None = None
        self._words: TextEncoder | None = None
        self._kept_rows = 0
        self._durations: dict[str, float] = {}
        self._feeds: Recommender | None = None
        self._making_feeds = threading.Lock()  # its own: loading a million videos takes a minute, and searches go on
        self._loader: threading.Thread | None = None
        self._making = threading.RLock()  # models and pools are made once, whoever asks first

    @classmethod
    def open(
        cls,
        home: str | Path | None = None,
        *,
        space: str | None = None,
        recipe: Recipe | None = None,
        create: bool = True,
    ) -> Self:
        """Open a library, making it where there is none.

        Args:
            home: its folder; default `FIRSTLOOK_HOME`, then `./firstlook-data`.
            space: name or id; default the home's live space, then `local`.
            recipe: makes a space of one's own choices; not together with `space`.
            create: make the home where there is none.

        Raises:
            UnknownSpace: the home holds no such space, and it is none that can be made.
        """
        opened = Home.open(home, create=create)
        spaces = opened.ledger.spaces()
        if recipe is not None:
            same = [one for one in spaces if recipe_of(one) == recipe]
            return cls(opened, recipe, same[0] if same else None)
        if space is None:
            return cls(opened, recipe_of(spaces[0]) if spaces else RECIPES["local"], spaces[0] if spaces else None)
        found = [one for one in spaces if space in (one.id, one.name)]
        if not found and space not in RECIPES:
            known = [one.id for one in spaces] + list(RECIPES)
            raise UnknownSpace(f"no space {space!r} in {opened.folder}; known are {', '.join(known)}")
        return cls(opened, recipe_of(found[0]) if found else RECIPES[space], found[0] if found else None)

    def close(self) -> None:
        if self._loader is not None:
            self._loader.join(LOADED_S)
        if self._pool is not None:
            self._pool.close()
        if self._feeds is not None:
            self._feeds.close()
        self._home.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def home(self) -> Home:
        return self._home

    @property
    def space(self) -> Space:
        """The space of this library.

        Raises:
            EmptyLibrary: nothing was ever ingested, so there is none yet.
        """
        if self._space is None:
            raise EmptyLibrary(f"nothing was ingested into {self._home.folder} in the space {self._recipe.name!r} yet")
        return self._space

    def settle_space(self) -> None:
        """Know which space it is, recording it in a home that has none yet."""
        self._settle_space(Options(), Listener())

    def warm_up(self) -> None:
        """Load what the first answer would wait for, and keep in memory what every answer needs: for a server."""
        self._text().encode(["warm"])
        self._kept_rows, self._search = KEPT_ROWS, None
        self._searcher().vectors_of("")

    @property
    def table(self) -> VideoTable:
        """The rows of the space; from any number of threads."""
        return self._searcher().table

    # Ingest ------------------------------------------------------------------------------------------------------

    def ingest(
        self,
        paths: Sequence[str | Path] = (),
        manifest: str | Path | None = None,
        *,
        options: Options | None = None,
        listener: Listener | None = None,
        stop: Event | None = None,
        _again: Sequence[str] = (),
    ) -> Summary:
        """Turn files, and uploads that were left waiting before, into videos and failures.

        A backfill that waits is left to those who work on it, unless nothing was named: then it goes on too.

        Args:
            paths: files, folders and patterns.
            manifest: a CSV, JSONL or Parquet file that names files and says more about them.
            stop: set it to end early and cleanly.
        """
        options, listener, stop = options or Options(), listener or Listener(), stop or Event()
        started = time.monotonic()
        self._settle_space(options, listener)
        lost = pipeline.reconcile(self._home, self.space)
        if lost:
            listener.on_message(f"{lost} rows are gone from the table and are made again from their analyses")
        down_to = UPLOAD
        if not paths and not manifest and not _again:  # going on: what waits is what was asked for
            down_to, _again = BACKFILL, self._home.ledger.pending_ids(self.space.id)
        sources = self._outside_home(uploads.discover(paths, Path(manifest) if manifest else None))
        given = pipeline.ingest(
            sources,
            self._home,
            self.space,
            lambda: self._threads(self._home, options, listener, down_to),
            in_place=options.in_place,
            down_to=down_to,
            stop=stop,
            on_registered=listener.on_registered,
            on_step=listener.on_step,
        )
        erase_due(self._home, owner_name())
        for video_id in _again:
            given.add(video_id, needs_work=True)
        return self._summary(given, time.monotonic() - started)

    def retry(
        self,
        *,
        quarantined: bool = False,
        options: Options | None = None,
        listener: Listener | None = None,
        stop: Event | None = None,
    ) -> Summary:
        """Try failures and partial videos again; the summary counts those."""
        again = self._home.ledger.retry(self.space.id, quarantined=quarantined)
        return self.ingest(options=options, listener=listener, stop=stop, _again=again)

    def backfill(
        self,
        asked: Backfill,
        *,
        options: Options | None = None,
        listener: Listener | None = None,
        stop: Event | None = None,
    ) -> Ran:
        """Fill the space, on every core of this machine or on Ray, beside uploads, which go first.

        Raises:
            BackfillError: `where` without another space than the live one, or beside a manifest.
            ClusterRefused: a Ray cluster that is open to everybody, or does not let us in.
            StandsStill: nothing ended for a quarter of an hour.
        """
        options, listener, stop = options or Options(), listener or Listener(), stop or Event()
        self._settle_space(options, listener)
        only = self._fitting(asked)
        lost = pipeline.reconcile(self._home, self.space)
        if lost:
            listener.on_message(f"{lost} rows are gone from the table and are made again from their analyses")

        def queue() -> Counter[str]:
            if asked.manifest is None:
                return backfill.queue_known(
                    self._home, self.space.id, only=only, stop=stop, on_progress=listener.on_registered
                )
            return backfill.queue_named(
                self._outside_home(uploads.discover([], Path(asked.manifest))),
                self._home,
                self.space.id,
                in_place=options.in_place,
                stop=stop,
                on_progress=listener.on_registered,
            )

        with self._ray(asked, options):  # first: who is not let in has to hear it before hours of registering
            return backfill.run(
                self._home,
                self.space,
                queue,
                lambda: self._crew(self._home, asked, options, listener, stop),
                engine=f"ray {asked.ray}" if asked.ray else "threads",
                stop=stop,
                max_hours=asked.max_hours,
                on_step=listener.on_step,
            )

    def estimate(
        self,
        asked: Backfill,
        *,
        sample: int = SAMPLE,
        price_per_core_hour: float,
        options: Options | None = None,
        listener: Listener | None = None,
        stop: Event | None = None,
    ) -> Estimate:
        """Say what a backfill will take, from a sample that is decoded and encoded and thrown away.

        Raises:
            BackfillError: nothing needs work, or it was stopped; and what `backfill` raises.
        """
        options, listener, stop = options or Options(), listener or Listener(), stop or Event()
        self._settle_space(options, listener)
        only = self._fitting(asked)
        if asked.manifest is not None:
            named = self._outside_home(uploads.discover([], Path(asked.manifest)))
            sources = backfill.named_and_unfinished(named, self._home, self.space.id)
        else:
            sources = backfill.known_and_unfinished(self._home, self.space.id, only)
        with self._ray(asked, options):
            return backfill.estimate(
                sources,
                self._home,
                self.space,
                lambda scratch: self._crew(scratch, asked, options, listener, stop),
                cores=_cores(asked, options),
                price_per_core_hour=price_per_core_hour,
                in_place=options.in_place,
                local=asked.ray in (None, "local"),
                stop=stop,
                sample=sample,
                on_step=listener.on_step,
            )

    def doctor(self, *, deep: bool = False, fix: bool = False) -> Report:
        """Examine the library, and mend what is derived (docs/doctor.md).

        Args:
            deep: read every byte.
            fix: mend; without it nothing is changed.
        """
        return examine(self._home, self.space, text=lambda: open_text(self.space), deep=deep, fix=fix)

    def jobs(self) -> list[Job]:
        """Backfills of this home, newest first."""
        return self._home.ledger.jobs()

    @contextmanager
    def crew(
        self, options: Options | None = None, *, ray: str | None = None, stop: Event | None = None
    ) -> Iterator[tuple[pipeline.Crew, Mapping[str, bool | str]]]:
        """Decoders and encoders that are kept as long as the block lasts, and the layers of their sandbox.

        Args:
            ray: where they are, as `Backfill` has it; None: threads of this process.
            stop: set it to wait no longer for those on Ray.

        Raises:
            ClusterRefused: a Ray cluster that is open to everybody, or does not let us in.
        """
        options, listener, stop = options or Options(), Listener(), stop or Event()
        self._settle_space(options, listener)
        if ray is not None:
            asked = Backfill(ray=ray)
            with self._ray(asked, options), self._on_ray(self._home, asked, options, listener, stop) as on_ray:
                yield on_ray, on_ray.layers(stop)
            return
        with (
            self._engine(options, listener) as (engine, pool),
            Threads(self._home.blobs, engine, options.workers) as crew,
        ):
            yield crew, pool.layers_in_force

    def _settle_space(self, options: Options, listener: Listener) -> None:
        """Know which space it is; its encoders are loaded only where nobody has recorded it yet."""
        if self._space is None or options.new_space:
            self._make_space(options, listener)

    def _fitting(self, asked: Backfill) -> set[str] | None:
        """Ids of the live space's rows that fit `where`; None: all."""
        if asked.where is None:
            return None
        live = self._home.ledger.spaces()[0]
        if asked.manifest is not None or live.id == self.space.id:
            raise BackfillError(
                "--where chooses among the rows of the live space, for another space: it wants --space with one that "
                f"is not {live.id}, and no --manifest"
            )
        return set(self._home.table(live).ids(parse(asked.where).sql()))

    @contextmanager
    def _ray(self, asked: Backfill, options: Options) -> Iterator[None]:
        if asked.ray is None:
            yield
            return
        from ingest.cluster import connected  # imports Ray, which takes a second and 60 MB

        with connected(asked.ray, cores=options.workers):
            yield

    @contextmanager
    def _crew(
        self, home: Home, asked: Backfill, options: Options, listener: Listener, stop: Event
    ) -> Iterator[pipeline.Crew]:
        if asked.ray is None:
            with self._threads(home, options, listener, BACKFILL) as threads:
                yield threads
            return
        with self._on_ray(home, asked, options, listener, stop) as on_ray:
            yield on_ray

    @contextmanager
    def _on_ray(
        self, home: Home, asked: Backfill, options: Options, listener: Listener, stop: Event
    ) -> Iterator[RayCrew]:
        from ingest.cluster import Pools, crew
        from ingest.cluster_workers import Kit

        kit = Kit(blobs_url=home.blobs_url, space=self.space, limits=options.limits)
        self._opened = None  # the workers load their own
        with crew(kit, Pools(**asked.pools), stop=stop, on_message=listener.on_message) as on_ray:  # type: ignore[arg-type]
            listener.on_work(home.ledger.counts(self.space.id)["pending"])
            yield on_ray

    def _outside_home(self, sources: Iterable[Source | Failure]) -> Iterator[Source | Failure]:
        """`firstlook ingest .` must not ingest what it writes there."""
        for source in sources:
            if isinstance(source, Failure) or not source.path.resolve().is_relative_to(self._home.folder):
                yield source

    def _make_space(self, options: Options, listener: Listener) -> None:
        self._space = self._opened = self._search = self._words = None
        self._encoders(options.workers, listener)

    def _encoders(self, threads: int, listener: Listener | None = None) -> Encoders:
        """Load the encoders of the space, once."""
        with self._making:
            if self._opened is None:
                self._opened, self._space = open_space(self._recipe, threads=threads, recorded=self._space)
                self._home.ledger.add_space(self._space)
                (listener or Listener()).on_message(describe(self._space, self._opened))
            return self._opened

    def _text(self) -> TextEncoder:
        """The text encoder alone, which is all that words need."""
        if self._opened is not None:
            return self._opened.text
        with self._making:
            if self._words is None:
                self._words = open_text(self.space)
            return self._words

    @contextmanager
    def _threads(self, home: Home, options: Options, listener: Listener, down_to: int) -> Iterator[pipeline.Crew]:
        with self._engine(options, listener) as (engine, _), Threads(home.blobs, engine, options.workers) as crew:
            listener.on_work(len(home.ledger.pending_ids(self.space.id, down_to=down_to)))
            yield crew

    @contextmanager
    def _engine(self, options: Options, listener: Listener) -> Iterator[tuple[Engine, DecodePool]]:
        encoders = self._encoders(options.workers, listener)
        pool = DecodePool(
            options.workers,
            limits=options.limits,
            sampling=self._recipe.sampling,
            text_frames=encoders.onscreen is not None,
        )
        with pool:
            yield Engine(space=self.space, decoder=pool, encoders=encoders), pool

    def _summary(self, given: Given, seconds: float) -> Summary:
        standings = self._home.ledger.standings(given.video_ids, self.space.id)
        states = Counter(one.state for one in standings.values())
        pending = states["waiting"] + states["leased"]
        worked = sum(given.video_ids.values())
        failed = {one.video_id: one.reason for one in self.failures()} if states["failure"] else {}
        return Summary(
            uploads=len(given.video_ids),
            videos=states["video"],
            failures=states["failure"],
            skipped=len(given.video_ids) - worked,
            partial=sum(one.partial for one in standings.values()),
            pending=pending,
            seconds=round(seconds, 3),
            videos_per_second=round(max(worked - pending, 0) / seconds, 3),
            reasons=dict(Counter(failed[video_id] for video_id in given.video_ids if video_id in failed).most_common()),
            extra_paths=given.extra_paths,
            step_seconds={name: round(s, 3) for name, s in self._opened.seconds.items()} if self._opened else {},
        )

    # Search ------------------------------------------------------------------------------------------------------

    def search(
        self,
        *,
        video: str | None = None,
        file: str | Path | None = None,
        text: str | None = None,
        k: int = 10,
        offset: int = 0,
        where: str | None = None,
        weights: Mapping[str, float] | None = None,
    ) -> list[Match]:
        """Find videos like a video of the library, like a file, or by words; exactly one of the three.

        Args:
            video: an id; it is not among its own hits.
            file: a video, picture or sound that need not be in the library.
            text: words in any script; found by meaning (English) and literally.
            k: how many hits, best first.
            offset: how many better ones to leave out: the next page.
            where: a filter, see `index/where.py`.
            weights: modality -> weight; those not named count nothing.

        Raises:
            UnknownVideo: no such video.
            MediaError: the file is at fault.
            WhereError: the filter is.
            QueryError: none or several of the three, a weight that does not fit, or no words.
        """
        query = self._query({"video": video, "file": file, "text": text}, k, where, weights)
        return self._found(query, offset, like=video)

    def search_lines(
        self,
        asked: Iterable[Mapping[str, Any]],
        *,
        k: int = 10,
        where: str | None = None,
        weights: Mapping[str, float] | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Answer each `{"video"|"file"|"text": …}` with itself and `hits`, and `error` where it is at fault.

        A query may bring its own `k`, `where` and `weights`.
        """
        for one in asked:
            if "error" in one:  # whoever read the line could not make anything of it
                yield {**one, "hits": []}
                continue
            try:
                unknown = sorted(set(one) - {"video", "file", "text", "k", "where", "weights"})
                if unknown:
                    raise QueryError(f"no such key: {', '.join(unknown)}")
                own = (one.get("k", k), one.get("where", where), one.get("weights", weights))
                hits = self._found(self._query(one, *own))
                yield {**one, "hits": [hit.to_json() for hit in hits]}
            except (UnknownVideo, MediaError, QueryError, WhereError, OSError) as error:
                yield {**one, "hits": [], "error": str(error)}

    def similar_all(self, out: str | Path, *, k: int = 20) -> int:
        """Write the k nearest neighbours of every video to a Parquet file; return how many videos there are.

        Columns: `video_id`, `rank` (from 1), `neighbour_id`, `score`, and a contribution a modality.
        """
        return write_neighbours(Path(out), self._searcher().neighbours(k), list(self.space.dims))

    def _searcher(self) -> Searcher:
        with self._making:
            if self._search is None:
                self._search = Searcher(self._home.table(self.space), kept_rows=self._kept_rows)
            return self._search

    def _query(self, asked: Mapping[str, Any], k: int, where: str | None, weights: Mapping[str, float] | None) -> Query:
        by = {name: asked[name] for name in ("video", "file", "text") if asked.get(name) is not None}
        if len(by) != 1:
            raise QueryError(f"one of video, file, text is wanted, got {sorted(by) or 'none'}")
        ((name, value),) = by.items()
        if not isinstance(value, (str, Path)):
            raise QueryError(f"{name} wants text, got {value!r}")
        value = str(value)
        if not isinstance(k, int) or not isinstance(where, (str, NoneType)):
            raise QueryError(f"k wants a whole number and where wants text, got {k!r} and {where!r}")
        query = Query(k=k, where=parse(where) if where else None, weights=weights)
        if name == "video":
            return replace(query, vectors=self._vectors_of(value), exclude=frozenset([value]))
        if name == "text":
            if not value.strip():
                raise QueryError(f"words are wanted, got {value!r}")
            vectors = of_words(value, self._text(), self.space)
            return replace(query, vectors=vectors, words=value, weights=weights or TEXT_QUERY_WEIGHTS)
        known = self._video_with_bytes_of(Path(value))
        if known is not None:
            return replace(query, vectors=self._vectors_of(known))
        with self._making:
            if self._pool is None:
                self._pool = DecodePool(1, sampling=self._recipe.sampling, stills=True)
        vectors = of_file(Path(value), self._pool, self._encoders(1), self.space)
        return replace(query, vectors=vectors, weights=weights or FILE_QUERY_WEIGHTS)

    def _video_with_bytes_of(self, path: Path) -> str | None:
        """A file whose bytes are in the library is that video: it needs no decoding, and finds itself first."""
        with path.open("rb") as file:
            return self._home.ledger.video_with(hashlib.file_digest(file, "sha256").hexdigest(), self.space.id)

    def _vectors_of(self, video_id: str) -> Mapping[str, NDArray[np.float32]]:
        found = self._searcher().vectors_of(video_id)
        if found is None:
            raise UnknownVideo(f"no video {video_id!r} in {self.space.id}")
        return found

    def _found(self, query: Query, offset: int = 0, *, like: str | None = None) -> list[Match]:
        """Hits with what they show. The ledger has the last word: what was erased or made private since is none.

        Args:
            like: the video that the query is made of; it must not have been erased either.
        """
        wanted = offset + query.k
        hits = self._searcher().search(replace(query, k=wanted))
        uploads = self._home.ledger.uploads([*(hit.video_id for hit in hits), *([like] if like else [])])
        if like and like not in uploads:
            raise UnknownVideo(f"no video {like!r} in {self.space.id}")
        if not all(_is_public(uploads.get(hit.video_id)) for hit in hits):  # until the table has heard of it
            hits = self._searcher().search(replace(query, k=wanted + WITHHELD_SPARE))
            uploads |= self._home.ledger.uploads([hit.video_id for hit in hits])
        shown = [hit for hit in hits if _is_public(uploads.get(hit.video_id))][offset:wanted]
        glances = self._searcher().glances([hit.video_id for hit in shown])
        return [
            Match(
                video_id=hit.video_id,
                score=hit.score,
                modalities=hit.modalities,
                upload=uploads[hit.video_id],
                glance=glances[hit.video_id],
            )
            for hit in shown
            if hit.video_id in glances
        ]

    # Behaviour ---------------------------------------------------------------------------------------------------

    def events_import(
        self,
        paths: Sequence[str | Path],
        on_progress: Callable[[Path, Imported], None] = lambda path, imported: None,
        *,
        stop: Event | None = None,
    ) -> Imported:
        """Import files of events: Parquet, CSV, JSON lines. Again is harmless; an interrupted run goes on.

        Raises:
            EventsError: a file that cannot be read as events.
        """
        files = [Path(path) for path in paths]
        return import_events(files, self._home.behaviour, self._known_durations, on_progress=on_progress, stop=stop)

    def append_events(self, events: Sequence[ViewerEvent]) -> tuple[Accepted, list[tuple[ViewerEvent, str, str]]]:
        """Append events, and keep apart what cannot be true: (event, reason, detail). Both are on the disk then."""
        possible, apart = self.judge_events(events)
        return self._home.behaviour.append(possible), apart

    def judge_events(
        self, events: Sequence[ViewerEvent], unreadable: Sequence[tuple[str, str, str]] = ()
    ) -> tuple[list[ViewerEvent], list[tuple[ViewerEvent, str, str]]]:
        """Those that may be true; and those that cannot, which are kept apart: (event, reason, detail).

        Args:
            unreadable: what is kept apart with them: (what came, reason, detail).
        """
        possible, apart = judged(events, time.time(), self._known_durations)
        told = [(as_line(event), reason, detail) for event, reason, detail in apart]
        self._home.behaviour.set_aside([*unreadable, *told])
        return possible, apart

    def erase_viewer(self, viewer_id: str) -> int:
        """Forget everything that a viewer did and was shown; how many rows that were."""
        erased = self._home.behaviour.erase_viewer(viewer_id)
        if self._feeds is not None:
            self._feeds.forget(viewer_id)
        return erased

    def recommender(self, wait_s: float | None = None) -> Recommender:
        """What makes feeds; loaded once, which takes a while: 50 µs a video.

        Args:
            wait_s: so long it is waited for while somebody else loads it; None: as long as it takes.

        Raises:
            EmptyLibrary: nothing was ever ingested, so there is nothing to recommend.
            StillLoading: it is not there yet after `wait_s`.
        """
        if self._feeds is not None:
            return self._feeds
        if not self._making_feeds.acquire(timeout=-1 if wait_s is None else wait_s):
            raise StillLoading("feeds are being loaded")
        try:
            from service.recommender import Recommender  # imports what trains, which takes seconds

            if self._feeds is None:
                self._feeds = Recommender(self._home, self.space, self._text().encode)
            return self._feeds
        finally:
            self._making_feeds.release()

    def load_feeds(self, on_loaded: Callable[[], None] = lambda: None) -> threading.Thread:
        """Load what makes feeds in the background, and keep it as the table is: for a server, which searches meanwhile.

        Args:
            on_loaded: is called when it is there.
        """

        def load() -> None:
            self.recommender().keep_up()
            on_loaded()

        self._loader = threading.Thread(target=load, name="feeds", daemon=True)
        self._loader.start()
        return self._loader

    @property
    def feeds(self) -> str:
        """`ok`: in memory; `loading`; or `none`: nobody has asked for one, and whoever does waits for it."""
        if self._feeds is not None:
            return "ok"
        return "loading" if self._making_feeds.locked() or (self._loader and self._loader.is_alive()) else "none"

    def _known_durations(self, video_ids: Sequence[str]) -> dict[str, float | None]:
        """Length in seconds of those of these that there are; None: it is no row yet."""
        found: dict[str, float | None] = {name: self._durations[name] for name in video_ids if name in self._durations}
        asked = [name for name in video_ids if name not in found]
        for start in range(0, len(asked), 500):
            known = self._home.ledger.uploads(asked[start : start + 500])
            glances = self._searcher().glances(list(known)) if known and self._space is not None else {}
            found |= {name: glances[name].duration_s if name in glances else None for name in known}
        if len(self._durations) > DURATIONS_KEPT:
            self._durations.clear()
        self._durations |= {name: found[name] for name in asked if found.get(name) is not None}  # type: ignore[misc]
        return found

    # Looking -----------------------------------------------------------------------------------------------------

    def show(self, video_id: str) -> Video | Failure:
        """A row, or the failure that stands in its place.

        Raises:
            UnknownVideo: no such upload.
        """
        found = self._home.table(self.space).get([video_id])
        if video_id in found:
            return found[video_id]
        standing = self._home.ledger.standings([video_id], self.space.id).get(video_id)
        if standing is None:
            raise UnknownVideo(f"no upload {video_id!r} in {self.space.id}")
        if standing.state != "failure":
            raise UnknownVideo(f"{video_id!r} is {standing.state}, no row yet; firstlook ingest goes on with it")
        return next(one for one in self.failures() if one.video_id == video_id)

    def newest(
        self, k: int, *, after: tuple[float, str] | None = None
    ) -> tuple[list[tuple[Upload, Glance]], tuple[float, str] | None]:
        """Public videos, those first that were handed in or changed last.

        Args:
            k: how many are looked at; private ones among them are left out, so fewer may come.
            after: where the page before ended.

        Returns:
            The videos, and where this page ended; None: there are no more.
        """
        items = self._home.ledger.newest(self.space.id, after=after, limit=k)
        uploads = self._home.ledger.uploads([item.video_id for item in items])
        public = [name for name, upload in uploads.items() if upload.visibility == PUBLIC]
        glances = self._searcher().glances(public)
        shown = [item.video_id for item in items if item.video_id in glances]
        end = (items[-1].queued_s, items[-1].video_id) if len(items) == k else None
        return [(uploads[name], glances[name]) for name in shown], end

    def glance(self, video_id: str) -> Glance | None:
        """What a video shows; None: it is no row."""
        return self._searcher().glances([video_id]).get(video_id)

    def thumbnail(self, video: Video | Glance) -> Path | None:
        """Where a video's picture lies as a file; None where there is none, or the blobs are not in a folder."""
        name = video.thumbnail_sha256
        return None if name is None else self._home.blobs.path_of(thumbnail_key(name))

    def export(self, out: str | Path) -> dict[str, int]:
        """Write everything out, in formats that need no firstlook to read.

        `videos.parquet` (all columns and vectors), `failures.jsonl`, `space.json`, `thumbnails/<sha256>.jpg`.

        Raises:
            FileExistsError: the folder holds something already.
        """
        return export(self._home, self.space, Path(out))

    def failures(self) -> list[Failure]:
        return self._home.ledger.failures(self.space.id)

    def status(self) -> dict[str, Any]:
        """Counts of the space, failures by reason, and the home's spaces."""
        counts = self._home.ledger.counts(self.space.id)
        return {
            **counts,
            "space": self.space.id,
            "spaces": [space.id for space in self._home.ledger.spaces()],
            "home": str(self._home.folder),
            "rows": self._home.table(self.space).count(),
            "reasons": dict(Counter(one.reason for one in self.failures()).most_common()),
        }


def _is_public(upload: Upload | None) -> bool:
    return upload is not None and upload.visibility == PUBLIC


def _cores(asked: Backfill, options: Options) -> int:
    if asked.ray in (None, "local"):
        return options.workers
    from ingest.cluster import cores

    return cores()


def describe(space: Space, encoders: Encoders) -> str:
    """Say which modalities a space has on, and why one is off."""
    on = [name for name in ("vision", "text", "onscreen", "speech", "transcript", "sound") if getattr(encoders, name)]
    lines = [f"space {space.id}: {', '.join(on)}"]
    lines += [f"  {name} is off: {why}" for name, why in encoders.missing.items()]
    return "\n".join(lines)
