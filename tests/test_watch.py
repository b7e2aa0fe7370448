"""Whatever is dropped into a place becomes an upload, once, and when it is whole."""

from __future__ import annotations

import os
from collections.abc import Iterator, Set
from pathlib import Path
from threading import Event

import fsspec
import pytest
from fakes import SPACE, FakeDecoder, fake_crew

from index.home import Home
from ingest.pipeline import ingest
from service.watch import SETTLED_S, Watch

NOW_S = 2_000_000_000.0


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, folder: Path) -> Iterator[str]:
    if request.param == "folder":
        yield str(folder)
        return
    yield f"memory://{folder.name}-{os.getpid()}"
    fsspec.filesystem("memory").store.clear()


def drop(place: str, name: str, text: str, written_s: float = NOW_S - 60) -> None:
    if "://" not in place:
        path = Path(place) / name
        path.write_text(text)
        os.utime(path, (written_s, written_s))
        return
    from datetime import UTC, datetime

    store, prefix = fsspec.core.url_to_fs(place)
    store.pipe_file(f"{prefix}/{name}", text.encode())
    store.store[f"{prefix}/{name}"].modified = store.store[f"{prefix}/{name}"].created = datetime.fromtimestamp(
        written_s, UTC
    )


def looked(place: str, home: Home) -> int:
    given = Watch(place, home, SPACE.id, clock=lambda: NOW_S).look()
    return sum(given.video_ids.values())


def work(home: Home) -> FakeDecoder:
    decoder = FakeDecoder()
    ingest([], home, SPACE, lambda: fake_crew(home, decoder))
    return decoder


def test_what_is_dropped_becomes_a_video_once(place: str, home: Home) -> None:
    drop(place, "a.mp4", "clip 1")
    drop(place, "b.mp4", "broken")
    assert looked(place, home) == 2
    work(home)
    counts = home.ledger.counts(SPACE.id)
    assert (counts["videos"], counts["failures"]) == (1, 1)
    assert looked(place, home) == 0
    drop(place, "c.mp4", "clip 3")
    assert looked(place, home) == 1


def test_a_file_that_is_being_written_is_left_alone(place: str, home: Home) -> None:
    drop(place, "a.mp4", "clip", written_s=NOW_S - SETTLED_S / 2)
    assert looked(place, home) == 0
    drop(place, "a.mp4", "clip 1")
    assert looked(place, home) == 1


def test_bytes_that_are_gone_from_a_bucket_and_from_us_are_a_failure(home: Home, folder: Path) -> None:
    place = f"memory://gone-{folder.name}"
    drop(place, "a.mp4", "clip 1")
    looked(place, home)
    for blob in list(home.blobs.stored("original")):
        home.blobs.delete(blob.key)
    work(home)
    (failure,) = home.ledger.failures(SPACE.id)
    assert failure.reason == "original_gone"
    fsspec.filesystem("memory").store.clear()


def test_it_looks_until_it_is_told_to_stop(place: str, home: Home) -> None:
    drop(place, "a.mp4", "clip 1")
    stop, told = Event(), []
    watch = Watch(place, home, SPACE.id, clock=lambda: NOW_S)

    def on_new(new: Set[str]) -> None:
        assert len(new) == 1, "what waits from before is not told again"
        told.append(new)
        drop(place, f"more {len(told)}.mp4", f"clip 9{len(told)}")
        if len(told) == 3:
            stop.set()

    watch.run(stop, every_s=0.0, on_new=on_new)
    assert len(told) == 3
    assert home.ledger.counts(SPACE.id)["pending"] == 3
