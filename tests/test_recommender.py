"""The feed of a home: index, log and ledger together. Videos are made up, the stores are real."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray

from bench import stubs
from index.home import Home
from index.records import Event, Impression
from ingest.fuse import fuse
from recommend import load
from recommend.catalogue import Entry
from recommend.categories import CATEGORIES
from recommend.faults import UnknownDial
from service.recommender import Recommender
from service.slates import table_of, write_slates
from tests.known import START_S

ROWS = 400


def encode(texts: list[str]) -> NDArray[np.float32]:
    """No model: each text a direction of its own."""
    rows = [np.random.default_rng(list(text.encode())).normal(size=384) for text in texts]
    return np.stack([row / np.linalg.norm(row) for row in rows]).astype(np.float32)


class Clock:
    now_s = START_S

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    opened = Home.open(tmp_path / "home")
    opened.ledger.add_space(stubs.SPACE)
    stubs.fill(opened, ROWS)
    yield opened
    opened.close()


def recommender(home: Home) -> Recommender:
    return Recommender(home, stubs.SPACE, encode, clock=Clock())


def view(viewer: str, number: int, at_s: float, watch_s: float = 8.0) -> Event:
    return Event(
        event_id=f"{viewer}-{number}-{at_s}", kind="view", viewer_id=viewer, video_id=f"v{number:09}",
        time_s=START_S - 900 + at_s, watch_s=watch_s,
    )  # fmt: skip


def test_the_next_page_knows_what_was_acknowledged_and_another_process_does_too(home: Home) -> None:
    one, other = recommender(home), recommender(home)
    first = one.feed("ana")
    assert {slot.source for slot in first.videos} <= {"popular", "uniform", "fresh"}
    home.behaviour.append([view("ana", n, n) for n in range(8)])
    second = other.feed("ana")
    assert second.seq == len(first.videos) + 8
    assert any(slot.because is not None for slot in second.videos)
    assert not {slot.video_id for slot in second.videos} & {f"v{n:09}" for n in range(8)}


def test_what_was_served_is_written_down_before_it_is_answered(home: Home) -> None:
    page = recommender(home).feed("ana", session_id="s")
    written = home.behaviour.impressions([f"{page.slate_id}-{one.position}" for one in page.videos])
    assert [written[f"{page.slate_id}-{one.position}"].video_id for one in page.videos] == [
        one.video_id for one in page.videos
    ]
    assert all(isinstance(one, Impression) and 0 < one.propensity <= 1 for one in written.values())
    recommender(home).feed("bo", write_down=False)
    assert home.behaviour.last_seq() == len(page.videos), "a page that nobody is shown is not written down"


def test_pages_that_one_viewer_asks_for_at_once_have_no_video_in_common(home: Home) -> None:
    pages = recommender(home)
    pages.feed("ana", write_down=False)  # what is made once is made
    together = threading.Barrier(4)

    def ask(_: int) -> set[str]:
        together.wait()
        return {one.video_id for one in pages.feed("ana", session_id="s", k=20).videos}

    with ThreadPoolExecutor(4) as threads:
        served = list(threads.map(ask, range(4)))
    assert len(set.union(*served)) == sum(map(len, served)) == 80
    assert not pages._turns._in_hand, "locks go with those who wait"


def test_a_video_that_the_ledger_has_made_private_is_on_no_page_though_the_table_has_not_heard(home: Home) -> None:
    pages = recommender(home)
    first = pages.feed("ana", write_down=False).videos[0].video_id
    home.ledger.edit(first, visibility="private")
    assert first not in {one.video_id for one in pages.feed("ana", write_down=False).videos}
    assert pages.why_not(first, "ana").endswith("private_or_removed")


def test_erased_and_new_rows_are_noticed(home: Home) -> None:
    pages = recommender(home)
    home.table(stubs.SPACE).erase(["v000000003"])
    made = list(stubs.stubs(ROWS, 1))
    home.ledger.register([(upload, None) for upload, _ in made], stubs.SPACE.id)
    home.table(stubs.SPACE).upsert(fuse(made, stubs.NoText(), stubs.SPACE))
    pages.refresh()
    assert pages.why_not("v000000003", "ana").endswith("private_or_removed")
    assert pages.catalogue.video_ids[ROWS:] == [f"v{ROWS:09}"]
    assert pages.catalogue.shown[ROWS]


def test_a_compaction_is_read_beside_the_pages_and_changes_nothing(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole table is written anew; whoever asks for a page meanwhile waits for none of it."""
    monkeypatch.setattr("service.recommender.CATALOGUE_S", 0.0)
    pages = recommender(home)
    clock = Clock()
    pages._clock = clock
    for n in range(3):
        made = list(stubs.stubs(ROWS + n, 1))
        home.ledger.register([(upload, None) for upload, _ in made], stubs.SPACE.id)
        home.table(stubs.SPACE).upsert(fuse(made, stubs.NoText(), stubs.SPACE))
    pages.refresh()
    pages.feed("ana", write_down=False)
    version, reading, go_on = pages.catalogue.version, threading.Event(), threading.Event()
    entries = load.entries

    def slowly(*said: Any) -> Iterator[list[Entry]]:
        reading.set()
        assert go_on.wait(30)
        yield from entries(*said)

    monkeypatch.setattr("recommend.load.entries", slowly)
    home.table(stubs.SPACE).erase(["v000000003"])  # rewrites what held it
    clock.now_s += 60
    pages.feed("ana", write_down=False)
    assert reading.wait(30), "a page lets it begin"
    assert len(pages.feed("bo", write_down=False).videos) == 20, "while the table is read"
    assert pages.catalogue.version == version
    go_on.set()
    while pages.catalogue.shown[3]:
        assert threading.Event().wait(0.01) is False
    assert pages.catalogue.version == version + 1, "one video is gone, and no other row is taken in again"
    pages.close()
    assert not pages._looker.is_alive()  # type: ignore[union-attr]


def test_what_is_done_with_a_video_of_this_moment_is_not_lost(home: Home) -> None:
    """Another process has added it, and this one has not looked since."""
    pages = recommender(home)
    made = list(stubs.stubs(ROWS, 1))
    home.ledger.register([(upload, None) for upload, _ in made], stubs.SPACE.id)
    home.table(stubs.SPACE).upsert(fuse(made, stubs.NoText(), stubs.SPACE))
    home.behaviour.append([view("ana", ROWS, 0)])
    pages.memory.catch_up()
    assert pages.catalogue.place_of(f"v{ROWS:09}") in pages.memory.viewer("ana").seen


def test_slates_in_bulk_are_the_pages_that_would_be_seen_online(home: Home, tmp_path: Path) -> None:
    pages = recommender(home)
    viewers = [f"u{n}" for n in range(12)]
    for viewer in viewers:
        home.behaviour.append([view(viewer, 20 * int(viewer[1:]) + n, n) for n in range(10)])
    made = [page for _, page in pages.slates(viewers, k=20, now_s=START_S)]
    written = write_slates(tmp_path / "slates.parquet", [table_of(made[:7]), table_of(made[7:])])
    assert written == {"slates": 12, "rows": 240}
    rows = pq.read_table(tmp_path / "slates.parquet").to_pylist()
    for viewer in viewers:
        online = recommender(home).feed(viewer, k=20, now_s=START_S, write_down=False)
        bulk = [row for row in rows if row["viewer_id"] == viewer]
        assert [row["video_id"] for row in bulk] == [one.video_id for one in online.videos]
        assert [row["score"] for row in bulk] == [one.score for one in online.videos]


def test_a_dial_acts_on_the_next_page_and_can_be_taken_back(home: Home) -> None:
    pages = recommender(home)
    assert pages.dials("ana") == {"explore": None, "wanted": {}}
    pages.dial("ana", "less", f"category:{CATEGORIES[0]}")
    pages.dial("ana", "explore", 0.0)
    assert pages.dials("ana") == {"explore": 0.0, "wanted": {f"category:{CATEGORIES[0]}": "less"}}
    assert {one.slot for one in pages.feed("ana").videos} <= {"rank", "uniform"}
    pages.dial("ana", "undo")
    assert pages.dials("ana")["explore"] is None
    for action, target, said in (
        ("more", "category:knitting", "no category 'knitting'"),
        ("less", "colour:red", "wants category:NAME"),
        ("explore", 7.0, "from 0 to 1"),
        ("louder", None, "a dial is one of"),
    ):
        with pytest.raises(UnknownDial, match=said):
            pages.dial("ana", action, target)


def test_a_restart_goes_on_from_what_was_kept(home: Home) -> None:
    before = recommender(home)
    home.behaviour.append([view(f"u{n % 7}", n, n) for n in range(100)])
    page = before.feed("u3", write_down=False)
    before.close()
    after = recommender(home)
    assert after.memory.seq == 100
    assert after.feed("u3", write_down=False) == page


def test_a_viewer_who_was_erased_elsewhere_is_forgotten_here(home: Home) -> None:
    pages = recommender(home)
    home.behaviour.append([view(viewer, n, n) for n in range(20) for viewer in ("ana", "bo")])
    pages.memory.catch_up()
    home.behaviour.erase_viewer("ana")
    pages.refresh()
    assert pages.memory.viewer("ana").is_new
    assert not pages.memory.viewer("bo").is_new


def test_an_erased_viewer_is_a_new_one(home: Home) -> None:
    pages = recommender(home)
    home.behaviour.append([view("ana", n, n) for n in range(20)])
    assert pages.memory.catch_up() == 20
    assert not pages.memory.viewer("ana").is_new
    home.behaviour.erase_viewer("ana")
    pages.forget("ana")
    assert pages.memory.viewer("ana").is_new
