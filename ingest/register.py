"""Register: what a user named becomes uploads in the ledger, and their originals blobs.

From here on nothing can be lost: an upload that is written down ends as a `Video` or a `Failure`. Files whose size and
time have not changed since the last time are not even opened.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, fields
from itertools import islice
from threading import Event

from index.blobs import original_key
from index.home import Home
from index.ledger import UPLOAD, SeenFile
from index.records import Failure, Upload, canonical_json
from ingest.uploads import Source, derived_id
from ingest.uris import file_at

BATCH = 256
"""Sources registered in one transaction: an fsync a batch, not one a file."""

COPIERS = 8
"""Files hashed and copied at once; what they wait for is the disk or the network."""

_SAID = [f.name for f in fields(Upload) if f.name in {g.name for g in fields(Source)}]
"""What a source says of an upload: the fields that both have."""


@dataclass(slots=True, kw_only=True)
class Given:
    """What one call asked for."""

    video_ids: dict[str, bool] = field(default_factory=dict)
    """Every distinct id, in order -> whether it needs work."""
    extra_paths: dict[str, str] = field(default_factory=dict)
    """Path -> id of the upload whose bytes it repeats."""
    rejected: Counter[str] = field(default_factory=Counter)
    """Reason -> how many could not even be read."""

    def add(self, video_id: str, *, needs_work: bool) -> None:
        self.video_ids[video_id] = needs_work or self.video_ids.get(video_id, False)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """A source as it lies on the disk now."""

    source: Source
    size: int
    mtime_ns: int
    said_sha256: str

    @property
    def key(self) -> tuple[str, str]:
        """By uri and not by path, since a file name need not be text."""
        return self.source.uri, self.source.video_id or ""

    def shows(self, seen: SeenFile) -> bool:
        """Nothing has changed since it was last seen."""
        now = (self.size, self.mtime_ns, self.said_sha256)
        return now == (seen.size, seen.mtime_ns, seen.said_sha256)


def register(
    sources: Iterable[Source | Failure],
    home: Home,
    space_id: str,
    *,
    in_place: bool = False,
    priority: int = UPLOAD,
    stop: Event | None = None,
    on_progress: Callable[[int], None] = lambda count: None,
) -> Given:
    """Write down everything that was named, in batches.

    Args:
        sources: from `uploads.discover`; failures among them are written down as failures.
        home: whose ledger and blobs.
        space_id: the space that the uploads are queued in.
        in_place: refer to the originals where they lie instead of copying them.
        priority: of those that need work, `ledger.UPLOAD` or `ledger.BACKFILL`.
        stop: set it to end after the batch in hand.
        on_progress: called after each batch with the number of sources in it.
    """
    given = Given()
    for batch in _batches(sources, BATCH):
        if stop is not None and stop.is_set():
            break
        failures: list[Failure] = []
        looks: list[_Look] = []
        for one in batch:
            looked = one if isinstance(one, Failure) else _look(one)
            if isinstance(looked, Failure):
                failures.append(looked)
            else:
                looks.append(looked)
        arrived = _skip_unchanged(looks, home, space_id, given)
        if arrived:
            failures += _register(arrived, home, space_id, given, in_place=in_place, priority=priority)
        for failure, standing in zip(failures, home.ledger.reject(failures, space_id), strict=True):
            given.add(standing.video_id, needs_work=standing.state != "video")
            given.rejected[failure.reason] += standing.state == "failure"
        on_progress(len(batch))
    if priority == UPLOAD:
        home.ledger.hasten([video_id for video_id, needs_work in given.video_ids.items() if needs_work], space_id)
    return given


def _look(source: Source) -> _Look | Failure:
    try:
        facts = source.path.stat()
    except OSError as error:
        return _unreadable(source, error)
    said = canonical_json({name: getattr(source, name) for name in _SAID})
    return _Look(
        source=source,
        size=facts.st_size,
        mtime_ns=facts.st_mtime_ns,
        said_sha256=hashlib.sha256(said.encode()).hexdigest(),
    )


def _skip_unchanged(looks: Sequence[_Look], home: Home, space_id: str, given: Given) -> list[_Look]:
    """Note the files that stand as they stood; return the others."""
    seen = home.ledger.seen_files([look.key[0] for look in looks])
    video_ids = sorted({file.video_id for file in seen.values()})
    standings = home.ledger.up_to_date(video_ids, space_id)
    arrived = []
    for look in looks:
        file = seen.get(look.key)
        standing = standings.get(file.video_id) if file else None
        if not file or not standing or not look.shows(file):
            arrived.append(look)  # new, changed, or edited since in another space
            continue
        given.add(file.video_id, needs_work=standing.state in ("waiting", "leased"))
        if file.extra:
            given.extra_paths[file.path] = file.video_id
    return arrived


def _register(
    looks: Sequence[_Look], home: Home, space_id: str, given: Given, *, in_place: bool, priority: int
) -> list[Failure]:
    """Take in new and changed files; return those that could not be read."""
    contents, failures = _take_in(looks, home, in_place=in_place)
    derived = {f"v_{content[:20]}" for look, content in contents if not look.source.video_id}
    firsts = home.ledger.uploads(sorted(derived))
    firsts = {video_id: first for video_id, first in firsts.items() if _is_kept(first, home)}
    entries = [_entry(look, content, firsts) for look, content in contents]
    standings = home.ledger.register(entries, space_id, priority=priority)
    if not in_place:
        _put_back_erased(contents, home)
    for (_, file), standing in zip(entries, standings, strict=True):
        given.add(standing.video_id, needs_work=standing.state in ("waiting", "leased"))
        if file.extra:
            given.extra_paths[file.path] = standing.video_id
    return failures


def _put_back_erased(contents: Sequence[tuple[_Look, str]], home: Home) -> None:
    """The same bytes may have been erased, as another upload's, between their copy and their registration."""
    for look, content in contents:
        if not home.blobs.has(original_key(content)):
            with look.source.path.open("rb") as file:
                home.blobs.put_original(file)


def _take_in(looks: Sequence[_Look], home: Home, *, in_place: bool) -> tuple[list[tuple[_Look, str]], list[Failure]]:
    """Hash and copy files, several at once: a disk or an object store answers many as fast as one."""

    def take(look: _Look) -> str | Failure:
        try:
            file = look.source.path.open("rb")
        except OSError as error:
            return _unreadable(look.source, error)
        with file:  # an error from here on is ours (a full disk, say), and stops loudly
            return hashlib.file_digest(file, "sha256").hexdigest() if in_place else home.blobs.put_original(file)

    contents, failures = [], []
    with ThreadPoolExecutor(COPIERS, thread_name_prefix="copy") as pool:
        for look, taken in zip(looks, pool.map(take, looks), strict=True):
            if isinstance(taken, Failure):
                failures.append(taken)
            else:
                contents.append((look, taken))
    return contents, failures


def _entry(look: _Look, content: str, firsts: dict[str, Upload]) -> tuple[Upload, SeenFile]:
    """Make the upload of a file, or find the one that its bytes are already when it has no id of its own.

    `firsts` holds the uploads without an id of their own, by derived id, and grows with each new one.
    """
    source = look.source
    said = {name: getattr(source, name) for name in _SAID}
    upload = Upload(**said | {"video_id": source.video_id or f"v_{content[:20]}", "content_sha256": content})
    extra = False
    if not source.video_id:
        first = firsts.setdefault(upload.video_id, upload)
        extra = first.uri != upload.uri
        upload = first if extra else upload
    path, given_id = look.key
    return upload, SeenFile(
        path=path,
        given_id=given_id,
        video_id=upload.video_id,
        size=look.size,
        mtime_ns=look.mtime_ns,
        content_sha256=content,
        said_sha256=look.said_sha256,
        extra=extra,
    )


def _is_kept(upload: Upload, home: Home) -> bool:
    """Its bytes are here, or still where they were taken in place: another path to them is only another path."""
    return home.blobs.has(original_key(upload.content_sha256)) or file_at(upload.uri) is not None


def _unreadable(source: Source, error: OSError) -> Failure:
    identity = source.video_id or derived_id(source.uri)
    reason = "not_found" if isinstance(error, FileNotFoundError) else "not_readable"
    detail = f"{source.origin}: {error.strerror or error}"
    return Failure(video_id=identity, uri=source.uri, step="read", reason=reason, detail=detail)


def _batches(sources: Iterable[Source | Failure], size: int) -> Iterator[list[Source | Failure]]:
    iterator = iter(sources)
    while batch := list(islice(iterator, size)):
        yield batch
