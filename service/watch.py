"""`firstlook watch`: whatever is dropped into a folder or bucket becomes an upload, as soon as it is whole.

It only writes uploads down; the ingest worker of `firstlook serve`, or `firstlook ingest`, takes it from there. What
was seen before and has not changed costs a look; a file that grows is left alone until it has stopped. Sidecars are
read in folders, not in buckets.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Set
from pathlib import Path
from threading import Event
from typing import Any

import fsspec

from index.blobs import written_s
from index.home import Home
from index.records import Failure
from ingest.register import Given, register
from ingest.uploads import Source, discover, named

SETTLED_S = 2.0
"""A file that was written to more lately may not be whole."""
CHUNK_BYTES = 1 << 20


class Watch:
    """Looks at one place again and again.

    Args:
        place: a folder, or an fsspec URL such as `s3://uploads/incoming`.
        home: where uploads are written down.
        space_id: the space that they are queued in.
        clock: seconds since 1970.
    """

    def __init__(self, place: str, home: Home, space_id: str, *, clock: Callable[[], float] = time.time) -> None:
        self._place, self._home, self._space_id, self._clock = place, home, space_id, clock
        self._failed: set[str] = set()

    def look(self) -> Given:
        """Write down what is new or changed.

        Raises:
            OSError: the place cannot be looked at.
        """
        if "://" not in self._place:
            return register(self._settled_files(), self._home, self._space_id)
        given = Given()
        for uri, size, mtime_s, fetch in self._objects():
            if self._clock() - mtime_s >= SETTLED_S and not self._is_known(uri, size, mtime_s):
                part = self._fetched(uri, mtime_s, fetch)
                given.video_ids |= part.video_ids
        return given

    def run(self, stop: Event, *, every_s: float, on_new: Callable[[Set[str]], None]) -> None:
        """Look until `stop` is set, and tell the ids of what is new; what still waits from before is not."""
        waiting: set[str] = set()
        while not stop.is_set():
            before, waiting = waiting, {name for name, waits in self.look().video_ids.items() if waits}
            if new := waiting - before:
                on_new(new)
            stop.wait(every_s)

    def _settled_files(self) -> Iterator[Source | Failure]:
        for found in discover([self._place]):
            if isinstance(found, Failure):
                if found.reason == "no_files":  # as it should be, most of the time
                    continue
                if found.uri not in self._failed:  # told once, not at each look
                    self._failed.add(found.uri)
                    yield found
                continue
            try:
                facts = found.path.stat()
            except FileNotFoundError:  # it went as it came
                continue
            if self._clock() - facts.st_mtime >= SETTLED_S:
                yield found

    def _objects(self) -> Iterator[tuple[str, int, float, Callable[[Any], None]]]:
        """(uri, size, when it was written, how to fetch it) of everything under a URL."""
        store, prefix = fsspec.core.url_to_fs(self._place)

        def fetcher(path: str) -> Callable[[Any], None]:
            def fetch(file: Any) -> None:
                with store.open(path, "rb") as source:
                    while some := source.read(CHUNK_BYTES):
                        file.write(some)
                file.flush()

            return fetch

        for path, facts in sorted(store.find(prefix, detail=True).items()):
            yield store.unstrip_protocol(path), int(facts["size"] or 0), written_s(facts), fetcher(path)

    def _is_known(self, uri: str, size: int, mtime_s: float) -> bool:
        seen = self._home.ledger.seen_files([uri]).get((uri, ""))
        return seen is not None and (seen.size, seen.mtime_ns) == (size, _in_ns(mtime_s))

    def _fetched(self, uri: str, mtime_s: float, fetch: Callable[[Any], None]) -> Given:
        with tempfile.NamedTemporaryFile(prefix="firstlook-") as file:
            fetch(file)
            os.utime(file.name, ns=(_in_ns(mtime_s), _in_ns(mtime_s)))  # by which it is known at the next look
            source = named({}, Path(file.name), uri=uri, origin=self._place)
            return register([source], self._home, self._space_id)


def _in_ns(seconds: float) -> int:
    return round(seconds * 1_000) * 1_000_000
