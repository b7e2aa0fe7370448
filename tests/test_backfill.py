"""A backfill does what an upload's ingest does, to everything, and gives way to uploads."""

from __future__ import annotations

import json
import re
import threading
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import pytest
from fakes import SPACE, FakeDecoder, fake_crew

from index.home import Home
from index.ledger import BACKFILL, UPLOAD, LeaseLost, Ledger
from index.table import VideoTable
from ingest import backfill, pipeline
from ingest.backfill import BY_BUDGET, BY_REQUEST, BackfillError
from ingest.clip import Clip
from ingest.pipeline import CHUNK, StandsStill, Step, Threads, work_off
from ingest.register import register
from ingest.uploads import discover
from service import metrics

OTHER = replace(SPACE, name="other")


@pytest.fixture
def home(home: Home) -> Home:
    home.ledger.add_space(OTHER)
    return home


def write(folder: Path, count: int, *, start: int = 0) -> None:
    for number in range(start, start + count):
        (folder / f"c{number:04}.mp4").write_text(f"clip {number}")


def queue(home: Home, folder: Path, priority: int = BACKFILL) -> None:
    register(discover([folder]), home, SPACE.id, priority=priority)


class Slow(FakeDecoder):
    """Remembers the order, and takes its time."""

    def __init__(self, seconds: float = 0.02) -> None:
        super().__init__()
        self.order: list[str] = []
        self._pause, self._seconds = Event(), seconds

    def decode(self, path: Path) -> Clip:
        self._pause.wait(self._seconds)
        self.order.append(path.read_text())
        return super().decode(path)


def run(home: Home, decoder: FakeDecoder, **options: object) -> backfill.Ran:
    return backfill.run(
        home,
        SPACE,
        options.pop("queue", Counter),  # type: ignore[arg-type]
        lambda: fake_crew(home, decoder),
        engine="threads",
        **{"stop": Event()} | options,  # type: ignore[arg-type]
    )


def test_uploads_overtake_a_running_backfill_within_a_chunk_a_worker(home: Home, folder: Path, tmp_path: Path) -> None:
    write(folder, 120)
    queue(home, folder)
    uploads = tmp_path / "uploads"
    uploads.mkdir()
    write(uploads, 4, start=1000)
    decoder, said = Slow(), Event()

    def upload_now(step: Step) -> None:
        if not said.is_set():
            said.set()
            register(discover([uploads]), home, SPACE.id)

    ran = run(home, decoder, on_step=upload_now)
    assert (ran.progress.videos, ran.pending) == (124, 0)
    places = [decoder.order.index(f"clip {number}") for number in range(1000, 1004)]
    began = CHUNK  # the first step is heard when one chunk has ended
    in_hand = 3 * CHUNK  # two workers, and one chunk ahead
    assert max(places) < began + in_hand + 2 * CHUNK + 4


def test_a_budget_stops_cleanly_and_the_next_run_goes_on(home: Home, folder: Path) -> None:
    write(folder, 60)
    queue(home, folder)
    decoder = Slow(0.05)
    ran = run(home, decoder, max_hours=0.5 / 3600)
    assert ran.stopped == BY_BUDGET
    assert 0 < ran.pending < 60
    assert home.ledger.counts(SPACE.id)["videos"] == ran.progress.videos == 60 - ran.pending
    (job,) = home.ledger.jobs()
    assert (job.state, job.videos, job.detail) == ("stopped", ran.progress.videos, BY_BUDGET)
    ran = run(home, decoder)
    assert (ran.stopped, ran.pending) == (None, 0)
    assert [job.state for job in home.ledger.jobs()] == ["finished", "stopped"]
    assert len(decoder.order) == 60, "nothing is done twice"


def test_a_budget_counts_from_the_first_file_that_is_registered(home: Home, folder: Path) -> None:
    write(folder, 4)
    stop, used = Event(), Event()

    def queue_slowly() -> Counter[str]:
        assert stop.wait(30), "the budget is used while files are still being registered"
        used.set()
        return backfill.queue_named(discover([folder]), home, SPACE.id, in_place=False, stop=stop)

    ran = run(home, FakeDecoder(), queue=queue_slowly, stop=stop, max_hours=0.1 / 3600)
    assert used.is_set()
    assert (ran.stopped, ran.progress.videos) == (BY_BUDGET, 0)


def test_what_a_manifest_names_and_cannot_be_read_is_counted_as_a_failure(home: Home, folder: Path) -> None:
    write(folder, 3)
    manifest = folder / "named.jsonl"
    names = [*(f"c{number:04}.mp4" for number in range(3)), "gone.mp4", "gone too.mp4"]
    manifest.write_text("".join(json.dumps({"uri": str(folder / name)}) + "\n" for name in names))
    steps: list[Step] = []
    ran = run(
        home,
        FakeDecoder(),
        queue=lambda: backfill.queue_named(discover([], manifest), home, SPACE.id, in_place=False, stop=Event()),
        on_step=steps.append,
    )
    assert (ran.wanted, ran.progress.videos, ran.progress.failures) == (3, 3, 2)
    assert ran.progress.reasons == {"not_found": 2}
    assert sum(step.failed for step in steps) == 2
    assert home.ledger.jobs()[0].failures == 2


def test_an_ingest_leaves_a_backfill_to_those_who_work_on_it(home: Home, folder: Path, tmp_path: Path) -> None:
    write(folder, 12)
    queue(home, folder)
    named = [folder / "c0003.mp4", tmp_path / "upload.mp4"]
    named[1].write_text("an upload")
    decoder = Slow()
    pipeline.ingest(discover(named), home, SPACE, lambda: fake_crew(home, decoder), down_to=UPLOAD)
    assert sorted(decoder.order) == ["an upload", "clip 3"], "also what waited already is asked for by name now"
    assert home.ledger.counts(SPACE.id)["pending"] == 11
    pipeline.ingest([], home, SPACE, lambda: fake_crew(home, decoder))
    assert home.ledger.counts(SPACE.id)["pending"] == 0


def test_who_asks_it_to_stop_is_told_so(home: Home, folder: Path) -> None:
    write(folder, 30)
    queue(home, folder)
    stop = Event()
    ran = run(home, Slow(), stop=stop, on_step=lambda step: stop.set())
    assert ran.stopped == BY_REQUEST
    assert ran.pending > 0


def test_a_run_that_failed_says_why_among_the_jobs(home: Home, folder: Path) -> None:
    class Broken(FakeDecoder):
        def decode(self, path: Path) -> Clip:
            raise RuntimeError("a bug of ours")

    write(folder, 3)
    queue(home, folder)
    with pytest.raises(RuntimeError, match="a bug of ours"):
        run(home, Broken())
    (job,) = home.ledger.jobs()
    assert (job.state, job.detail) == ("failed", "RuntimeError: a bug of ours")


def test_another_space_is_filled_with_what_it_lacks(home: Home, folder: Path) -> None:
    write(folder, 12)
    queue(home, folder)
    run(home, FakeDecoder())
    queued: list[int] = []
    for _ in range(2):
        backfill.queue_known(home, OTHER.id, only=None, stop=Event(), on_progress=queued.append)
    assert queued == [12], "the second time there is nothing to queue"
    assert home.ledger.counts(OTHER.id)["pending"] == 12
    backfill.queue_known(home, OTHER.id, only={"nobody"}, stop=Event(), on_progress=queued.append)
    assert home.ledger.counts(OTHER.id)["uploads"] == 12


def test_an_estimate_counts_what_is_left_and_changes_nothing(home: Home, folder: Path) -> None:
    write(folder, 40)
    queue(home, folder)
    stop = Event()
    run(home, Slow(), stop=stop, on_step=lambda step: stop.set())
    before = home.ledger.counts(SPACE.id)
    left = before["pending"]
    assert left, "the backfill was stopped"

    def estimate(**options: object) -> backfill.Estimate:
        return backfill.estimate(
            backfill.known_and_unfinished(home, SPACE.id, None),
            home,
            SPACE,
            lambda scratch: fake_crew(scratch, Slow(0.1)),
            cores=2,
            price_per_core_hour=1.0,
            in_place=False,
            local=True,
            stop=Event(),
            **options,  # type: ignore[arg-type]
        )

    found = estimate(sample=8)
    assert (found.uploads, found.sampled, found.sampled_failures) == (left, 8, 0)
    assert found.hours == pytest.approx(left / found.videos_per_second / 3600)
    assert found.money == pytest.approx(found.hours * 2)
    assert found.money_per_1000 == pytest.approx(found.money / left * 1000)
    assert found.video_hours == pytest.approx(left / 3600), "each fake clip is a second long"
    assert found.blob_gb > 0
    assert found.original_gb == 0, "the originals are kept already"
    assert home.ledger.counts(SPACE.id) == before
    assert not list(home.folder.glob("estimate-*")), "the scratch home is gone"
    run(home, FakeDecoder())
    with pytest.raises(BackfillError, match="no upload needs work"):
        estimate()


def test_an_estimate_of_a_manifest_leaves_out_what_is_done(home: Home, folder: Path) -> None:
    write(folder, 10)
    queue(home, folder)
    run(home, FakeDecoder())
    write(folder, 5, start=100)
    left = list(backfill.named_and_unfinished(discover([folder]), home, SPACE.id))
    assert sorted(source.path.name for source in left) == [f"c{number:04}.mp4" for number in range(100, 105)]


def test_a_run_in_which_nothing_ends_fails_loudly(home: Home, folder: Path) -> None:
    class Stuck(FakeDecoder):
        def decode(self, path: Path) -> Clip:
            released.wait(60)
            return super().decode(path)

    released = Event()
    write(folder, 6)
    queue(home, folder)
    with pytest.raises(StandsStill, match=r"nothing has ended for 1 s. In hand here: .*c0000.mp4"):  # noqa: SIM117
        with fake_crew(home, Stuck()) as crew:
            work_off(home, SPACE, crew, stop=Event(), standstill_s=0.6)
    released.set()
    run(home, FakeDecoder())
    assert home.ledger.counts(SPACE.id)["videos"] == 6


def test_a_commit_that_hangs_is_not_waited_for_for_ever(
    home: Home, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, 2)
    queue(home, folder)
    released = Event()
    monkeypatch.setattr(VideoTable, "upsert", lambda table, videos: released.wait(30))
    monkeypatch.setattr(pipeline, "PATIENCE_S", 0.1)
    with (
        pytest.raises(StandsStill, match="In hand here: a commit of 2 videos; nothing"),
        fake_crew(home, FakeDecoder()) as crew,
    ):
        work_off(home, SPACE, crew, stop=Event(), standstill_s=0.6)
    released.set()
    assert home.ledger.counts(SPACE.id)["pending"] == 2


def test_a_refused_acknowledgement_is_made_good_without_decoding(
    home: Home, folder: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    write(folder, 6)
    queue(home, folder)
    acknowledge, refused = Ledger.acknowledge, Event()

    def refuse_once(ledger: Ledger, *arguments: Any) -> None:
        if not refused.is_set():
            refused.set()
            raise LeaseLost("somebody else took over")
        acknowledge(ledger, *arguments)

    monkeypatch.setattr(Ledger, "acknowledge", refuse_once)
    decoder = Slow()
    ran = run(home, decoder)
    assert "the acknowledgement of" in caplog.text
    assert (ran.progress.videos, ran.pending) == (6, 0)
    assert len(decoder.order) == 6
    assert home.table(SPACE).check() == []


def test_others_who_hold_the_rest_for_ever_are_named(home: Home, folder: Path) -> None:
    write(folder, 2)
    queue(home, folder)
    home.ledger.claim(SPACE.id, "somebody@elsewhere:1:2", 10)
    with (
        pytest.raises(StandsStill, match="leased by others: 2 by somebody@elsewhere:1:2"),
        fake_crew(home, FakeDecoder()) as crew,
    ):
        work_off(home, SPACE, crew, stop=Event(), standstill_s=0.6)


def test_prometheus_is_answered_while_it_runs(home: Home, folder: Path) -> None:
    write(folder, 8)
    (folder / "broken.mp4").write_text("broken")
    queue(home, folder)
    messages: list[str] = []
    with metrics.served("0", messages.append) as meters:
        assert meters is not None
        meters.on_work(9)
        run(home, FakeDecoder(), on_step=meters.on_step)
        address = re.search(r"http://\S+", messages[0])
        assert address is not None
        said = urllib.request.urlopen(address[0]).read().decode()
    assert "127.0.0.1" in messages[0], "for this machine alone, unless told otherwise"
    values = dict(line.rsplit(" ", 1) for line in said.splitlines() if not line.startswith("#"))
    assert float(values["firstlook_videos_total"]) == 8
    assert float(values['firstlook_failures_total{reason="not_media"}']) == 1
    assert float(values["firstlook_video_seconds_total"]) == 8
    assert float(values["firstlook_pending_uploads"]) == 0
    assert float(values["firstlook_commit_seconds_count"]) >= 1
    with pytest.raises(BackfillError, match=r"\[HOST:\]PORT"), metrics.served("here", messages.append):
        pass


def test_commits_run_beside_the_work(home: Home, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A commit that takes long, as one that builds an index does, keeps nobody from decoding."""
    write(folder, 40)
    queue(home, folder)
    decoder, committing, seen = Slow(0.02), Event(), []
    original = Threads.submit

    def submit(self: Threads, chunk):  # type: ignore[no-untyped-def]
        if committing.is_set():
            seen.append(len(chunk))
        return original(self, chunk)

    def slow_upsert(self, videos):  # type: ignore[no-untyped-def]
        committing.set()
        threading.Event().wait(0.3)
        committing.clear()
        return upsert(self, videos)

    upsert = VideoTable.upsert
    monkeypatch.setattr(Threads, "submit", submit)
    monkeypatch.setattr(VideoTable, "upsert", slow_upsert)
    monkeypatch.setattr("ingest.pipeline.COMMIT_ROWS", 8)
    ran = run(home, decoder)
    assert ran.progress.videos == 40
    assert seen, "chunks were begun while a commit ran"


@contextmanager
def _cli_home(tmp_path: Path) -> Iterator[tuple[Path, Path]]:
    from ingest.samples import draw_samples

    draw_samples(tmp_path / "clips", count=6)
    yield tmp_path / "clips" / "manifest.jsonl", tmp_path / "home"


def test_the_command_line_backfills_a_manifest_and_then_another_space(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from service.cli import cli

    def firstlook(*words: str) -> object:
        code = cli.main([*words, "--home", str(home), "--json"], standalone_mode=False)
        out = capsys.readouterr().out
        assert code in (None, 0), out
        return json.loads(out)

    with _cli_home(tmp_path) as (manifest, home):
        reckoned = firstlook("backfill", "--manifest", str(manifest), "--estimate", "--sample", "2")
        assert isinstance(reckoned, dict)
        assert reckoned["uploads"] == 6
        ended = firstlook("backfill", "--manifest", str(manifest), "--workers", "2")
        assert isinstance(ended, dict)
        assert (ended["videos"], ended["pending"], ended["stopped"]) == (6, 0, None)
        some = firstlook("backfill", "--space", "local-fast", "--where", "hashtag = 'cat'")
        assert isinstance(some, dict)
        assert 0 < some["videos"] < 6
        rest = firstlook("backfill", "--space", "local-fast")
        assert isinstance(rest, dict)
        assert some["videos"] + rest["videos"] == 6
        found = firstlook("jobs")
        assert isinstance(found, list)
        assert [job["state"] for job in found] == ["finished"] * 3


def test_an_estimate_leaves_nothing_in_an_object_store(folder: Path, tmp_path: Path) -> None:
    import fsspec

    home = Home.open(tmp_path / "home", blobs_url="memory://estimated")
    home.ledger.add_space(SPACE)
    write(folder, 6)
    found = backfill.estimate(
        backfill.named_and_unfinished(discover([folder]), home, SPACE.id),
        home,
        SPACE,
        lambda scratch: fake_crew(scratch, FakeDecoder()),
        cores=1,
        price_per_core_hour=1.0,
        in_place=False,
        local=True,
        stop=Event(),
    )
    assert found.blob_gb > 0
    assert fsspec.filesystem("memory").find("/estimated") == []
    home.close()


def test_a_sample_that_cannot_be_read_is_no_estimate(home: Home, folder: Path) -> None:
    write(folder, 2)
    sources = list(backfill.named_and_unfinished(discover([folder]), home, SPACE.id))
    for path in folder.iterdir():
        path.unlink()
    with pytest.raises(BackfillError, match="none of the 2 sampled files could be read"):
        backfill.estimate(
            iter(sources),
            home,
            SPACE,
            lambda scratch: fake_crew(scratch, FakeDecoder()),
            cores=1,
            price_per_core_hour=1.0,
            in_place=False,
            local=True,
            stop=Event(),
        )


def test_a_revision_that_fails_while_a_commit_runs_leaves_the_lease_alone(home: Home, folder: Path) -> None:
    write(folder, 8)
    queue(home, folder)
    run(home, FakeDecoder())
    manifest = folder.parent / "again.csv"
    kept = sorted(home.ledger.video_ids(SPACE.id))
    (folder / "bad.mp4").write_text("broken")
    rows = "".join(f"clips/bad.mp4,{video_id}\n" for video_id in kept[:4])
    manifest.write_text("uri,video_id\n" + rows)
    register(discover([], manifest), home, SPACE.id)
    write(folder, 30, start=500)
    queue(home, folder)
    run(home, Slow(0.01))
    assert home.ledger.counts(SPACE.id)["failures"] == 5, "four revisions, and the file by itself"
    assert home.table(SPACE).ids() == sorted(home.ledger.video_ids(SPACE.id))


def test_a_commit_that_fails_hands_the_uploads_back(home: Home, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: VideoTable, videos: object) -> None:
        raise OSError(28, "No space left on device for the table")

    write(folder, 6)
    queue(home, folder)
    monkeypatch.setattr(VideoTable, "upsert", full)
    with pytest.raises(OSError, match="for the table"):
        run(home, FakeDecoder())
    assert home.ledger.leased_by(SPACE.id) == {}, "nothing stays leased"
