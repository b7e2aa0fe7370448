"""Whatever is damaged is found or does no harm, and what is derived can be made again."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Event, Thread
from typing import Any

import lance
import pytest
from fakes import SPACE, FakeDecoder, FakeText, fake_crew, unit
from sqlalchemy.exc import DatabaseError

from index.blobs import analysis_key, original_key, thumbnail_key
from index.home import Home
from index.ledger import owner_name
from index.rows import row_digest
from index.search import Query, Searcher, probe
from index.survey import Surveyor, Torn, _Reader
from index.table import TableUnreadable, Upkeep
from ingest import doctor_case
from ingest.doctor import Report, examine, told
from ingest.doctor_case import EXAMPLES
from ingest.pipeline import ingest
from ingest.uploads import discover

LATER_S = 10 * 86_400.0
"""So far in the future the doctor believes to be: everything is old enough to be an orphan."""
TABLE = f"tables/videos__{SPACE.id}.lance"


# What is examined ------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Truth:
    """What a whole home answers."""

    folder: Path
    rows: dict[str, str]
    answers: list[Any]


def run(home: Home, folder: Path, decoder: FakeDecoder | None = None) -> FakeDecoder:
    decoder = decoder or FakeDecoder()
    ingest(discover([folder], None), home, SPACE, lambda: fake_crew(home, decoder))
    return decoder


def rows_of(home: Home) -> dict[str, str]:
    table = home.table(SPACE)
    assert table.check() == []
    ids = table.ids()
    assert len(ids) == len(set(ids))
    return {video_id: row_digest(video) for video_id, video in table.get(ids).items()}


def answers_of(home: Home) -> list[Any]:
    searcher = Searcher(home.table(SPACE))
    queries = [Query(vectors={"vision": unit(f"q{i}", 6), "text": unit(f"q{i}", 384)}, k=20) for i in range(5)]
    queries += [Query(words=words, k=40) for words in ("caption", "edited", "number 17", "tag1", "broken")]
    return [[(hit.video_id, round(hit.score, 9)) for hit in searcher.search(query)] for query in queries]


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    """40 videos in several commits, some rows replaced, some deleted, one failure, indexes over half of them."""
    root = tmp_path_factory.mktemp("whole")
    clips = root / "clips"
    clips.mkdir()
    home = Home.open(root / "home")
    home.ledger.add_space(SPACE)
    for start in range(0, 40, 8):
        for n in range(start, start + 8):
            (clips / f"v{n:02}.mp4").write_text(f"clip {n}" + (" silent" if n % 7 == 0 else ""))
            (clips / f"v{n:02}.txt").write_text(f"caption number {n} #tag{n % 3}")
        run(home, clips)
        if start == 16:
            home.table(SPACE).optimize_if_due(Upkeep(fragments=1, vector_index_rows=10))
    (clips / "broken.mp4").write_text("broken")
    for n in (0, 5, 30):
        (clips / f"v{n:02}.txt").write_text(f"edited caption {n}")
    run(home, clips)
    assert home.ledger.counts(SPACE.id)["videos"] == 40
    found = Truth(folder=root / "home", rows=rows_of(home), answers=answers_of(home))
    home.close()
    assert list((root / "home" / TABLE / "_deletions").iterdir())
    assert list((root / "home" / TABLE / "_indices").iterdir())
    return found


@pytest.fixture
def home(truth: Truth, tmp_path: Path) -> Iterator[Home]:
    opened = copy_of(truth, tmp_path / "home")
    yield opened
    opened.close()


def copy_of(truth: Truth, folder: Path) -> Home:
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(truth.folder, folder)
    return Home.open(folder)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Read tables in this process: seconds less a test, where nothing in the table kills its reader."""

    def ask(self: Any, name: str, *args: Any) -> Any:
        if getattr(self, "reader", None) is None or self.reader[0] != self._tables_url:
            self.reader = (self._tables_url, _Reader(self._tables_url, self._space))
        try:
            return getattr(self.reader[1], name)(*args)
        except TableUnreadable:
            raise
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise Torn(str(error)) from error

    monkeypatch.setattr(Surveyor, "_ask", ask)


@pytest.fixture
def one_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One child for all tables that lie at one place one after the other, and another one when it dies."""
    reader = Surveyor(tmp_path / "home" / "tables", SPACE)
    close = reader.close
    monkeypatch.setattr(reader, "close", lambda: None if alive(reader) else close())
    monkeypatch.setattr(doctor_case, "Surveyor", lambda _url, _space: reader)
    yield
    close()


def alive(reader: Surveyor) -> bool:
    return reader._process is not None and reader._process.is_alive()


def look(home: Home, *, later_s: float = LATER_S, **options: Any) -> Report:
    return examine(home, SPACE, text=FakeText, clock=lambda: time.time() + later_s, **options)


def mend(home: Home, **options: Any) -> Report:
    report = look(home, fix=True, **options)
    assert look(home, **options).kinds() == {}, "a second look finds nothing"
    return report


def some(home: Home, count: int) -> list[str]:
    return home.table(SPACE).ids()[:count]


# Looking ---------------------------------------------------------------------------------------------------------


def files_of(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.suffix not in (".sqlite-wal", ".sqlite-shm"))
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in files if "sqlite-" not in path.name}


def test_a_whole_home_has_no_findings_and_is_not_touched(home: Home) -> None:
    before = files_of(home.folder)
    for deep in (False, True):
        report = look(home, deep=deep)
        assert report.findings == ()
        assert report.healthy
        assert report.figures["rows"] == report.figures["analyses"] == 40
        assert report.figures["originals"] == 41
        assert report.figures["recall_at_10"] == 1.0
    assert files_of(home.folder) == before


@pytest.mark.usefixtures("here")
def test_looking_at_a_damaged_home_changes_nothing(home: Home) -> None:
    harm_everything(home)
    before = files_of(home.folder)
    kinds = look(home, deep=True).kinds()
    assert files_of(home.folder) == before
    assert kinds == {
        "row_doubled": 1, "row_unknown": 1, "row_missing": 1, "row_digest_mismatch": 1, "original_damaged": 1,
        "analysis_torn": 1, "thumbnail_damaged": 1,
    }  # fmt: skip


def harm_everything(home: Home) -> None:
    table, ids = home.table(SPACE), some(home, 8)
    raw = lance.dataset(str(home.folder / TABLE))
    raw.insert(raw.to_table(filter=f"video_id = '{ids[0]}'"))
    raw.update({"caption": "'flipped'"}, where=f"video_id = '{ids[2]}'")
    (video,) = table.get([ids[1]]).values()
    table.upsert([replace(video, upload=replace(video.upload, video_id="stranger"))])
    table.delete([ids[3]])
    for video_id, key_of in (
        (ids[4], lambda video: original_key(video.upload.content_sha256)),
        (ids[5], lambda video: analysis_key(video.upload.content_sha256, SPACE.id)),
        (ids[6], lambda video: thumbnail_key(video.thumbnail_sha256)),
    ):
        (video,) = table.get([video_id]).values()
        flip(home.folder / "blobs" / key_of(video), 2)


def flip(path: Path, at: int, by: int = 0xFF) -> None:
    data = bytearray(path.read_bytes())
    data[at % len(data)] ^= by
    path.write_bytes(data)


@pytest.mark.usefixtures("here")
def test_an_empty_home_is_healthy(tmp_path: Path) -> None:
    home = Home.open(tmp_path / "home")
    home.ledger.add_space(SPACE)
    report = look(home, deep=True, fix=True)
    assert report.findings == ()
    assert report.skipped == ("the table: nothing was committed yet, so there is none",)
    home.close()


# Rows ------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("here")
def test_everything_at_once_is_mended_without_decoding(home: Home, truth: Truth) -> None:
    harm_everything(home)
    report = look(home, deep=True, fix=True)
    assert {finding.kind for finding in report.findings if not finding.repaired} == {"original_damaged"}
    assert rows_of(home) == truth.rows
    assert answers_of(home) == truth.answers


@pytest.mark.usefixtures("here")
def test_doubled_rows_become_one_that_is_what_the_analysis_says(home: Home, truth: Truth) -> None:
    ids = some(home, 2)
    raw = lance.dataset(str(home.folder / TABLE))
    raw.insert(raw.to_table(filter=f"video_id = '{ids[0]}'"))
    raw.insert(raw.to_table(filter=f"video_id = '{ids[1]}'"))
    raw.update({"caption": "'another'"}, where=f"video_id = '{ids[1]}'")
    report = mend(home)
    assert report.kinds() == {"row_doubled": 2}
    assert rows_of(home) == truth.rows


@pytest.mark.usefixtures("here")
def test_missing_rows_are_replayed_and_what_cannot_be_is_queued_or_named(home: Home, truth: Truth) -> None:
    table, ids = home.table(SPACE), some(home, 4)
    videos = table.get(ids)
    table.delete(ids)
    for video_id in ids[1:]:
        home.blobs.delete(analysis_key(videos[video_id].upload.content_sha256, SPACE.id))
    flip(home.folder / "blobs" / original_key(videos[ids[2]].upload.content_sha256), 0)
    home.blobs.delete(original_key(videos[ids[3]].upload.content_sha256))  # but the file lies where it came from
    report = look(home, fix=True)
    named = {finding.kind: finding.concerns for finding in report.findings}
    assert named["row_missing"] == (ids[0],)
    assert sorted(named["row_missing_analysis"]) == sorted([ids[1], ids[3]])
    assert named["row_lost"] == (ids[2],)
    assert not report.healthy
    decoder = run(home, truth.folder / "nothing")
    assert sum(decoder.decoded.values()) == 2
    assert rows_of(home) == {video_id: row for video_id, row in truth.rows.items() if video_id != ids[2]}


@pytest.mark.usefixtures("here")
def test_rows_of_failures_strangers_and_other_revisions_go(home: Home, truth: Truth) -> None:
    table, ids = home.table(SPACE), some(home, 2)
    (video,) = table.get([ids[0]]).values()
    (failure,) = home.ledger.failures(SPACE.id)
    table.upsert(
        [
            replace(video, upload=replace(video.upload, video_id="stranger")),
            replace(video, upload=replace(video.upload, video_id=failure.video_id)),
            replace(video, upload=replace(video.upload, revision=99)),
        ]
    )
    report = mend(home)
    assert report.kinds() == {"row_unknown": 1, "row_of_failure": 1, "row_stale": 1}
    assert rows_of(home) == truth.rows


@pytest.mark.usefixtures("here")
def test_more_is_counted_than_is_named(home: Home) -> None:
    home.table(SPACE).delete(some(home, 30))
    (finding,) = look(home).findings
    assert (finding.kind, finding.count, len(finding.concerns)) == ("row_missing", 30, EXAMPLES)
    said = told(look(home)).splitlines()
    assert said[0] == "HARMFUL   row_missing × 30"
    assert said[2].endswith(", and 27 more")
    assert said[-1] == "1 harmful finding; firstlook doctor --fix mends what can be mended"


# The table -------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("here")
def test_a_torn_newest_manifest_is_set_aside_and_the_rest_replayed(home: Home, truth: Truth) -> None:
    newest = min((home.folder / TABLE / "_versions").glob("*.manifest"))
    version = home.table(SPACE).snapshot().version
    newest.write_bytes(b"")
    assert look(home).kinds() == {"table_unreadable": 1}
    report = look(home, fix=True)
    assert report.healthy
    assert [path.name for path in (home.folder / "quarantine").rglob("*.manifest")] == [newest.name]
    assert home.table(SPACE).snapshot().version > version, "open readers find something newer"
    assert rows_of(home) == truth.rows


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("harm", ["no manifest", "no table", "all files of rows"])
def test_a_table_of_which_nothing_is_left_is_made_again(harm: str, home: Home, truth: Truth) -> None:
    folder = home.folder / TABLE
    if harm == "no table":
        shutil.rmtree(folder)
    else:
        for path in (folder / ("_versions" if harm == "no manifest" else "data")).iterdir():
            path.unlink()
    assert not look(home).healthy
    assert look(home, fix=True).healthy
    assert rows_of(home) == truth.rows
    assert answers_of(home) == truth.answers


@pytest.mark.usefixtures("here")
def test_a_file_of_rows_that_is_gone_hides_nothing_else(home: Home, truth: Truth) -> None:
    gone = max((home.folder / TABLE / "data").iterdir(), key=lambda path: path.stat().st_mtime)
    kept = [video for video in home.table(SPACE).get(some(home, 40)).values() if "edited" not in video.upload.caption]
    home.table(SPACE).upsert([replace(kept[0], upload=replace(kept[0].upload, video_id="stranger"))])
    gone.unlink()
    kinds = look(home).kinds()
    assert kinds.pop("words_unreadable", 0) == 0
    assert kinds == {"rows_unreadable": 1, "row_unknown": 1, "row_missing": 3}
    mend(home)
    assert rows_of(home) == truth.rows


@pytest.mark.usefixtures("here")
def test_an_older_version_that_does_not_open_is_moved_away(home: Home) -> None:
    oldest = max((home.folder / TABLE / "_versions").glob("*.manifest"))
    oldest.write_bytes(b"")
    report = look(home)
    assert report.kinds() == {"old_version_unreadable": 1}
    assert report.healthy
    with pytest.raises(OSError, match="manifest"):
        home.table(SPACE).optimize_if_due(Upkeep(fragments=1))
    mend(home)
    assert home.table(SPACE).optimize_if_due(Upkeep(fragments=1))


def test_a_reader_that_is_killed_is_a_finding_and_the_next_one_goes_on(home: Home) -> None:
    surveyor = Surveyor(home.tables_url, SPACE)
    outline = surveyor.outline()
    os.kill(surveyor._process.pid, signal.SIGKILL)
    with pytest.raises(Torn, match="signal 9"):
        surveyor.keys(outline.fragment_ids[0], deep=True)
    keys, faults = surveyor.keys(outline.fragment_ids[0], deep=True)
    assert len(keys.row_ids) > 0
    assert faults == []
    surveyor.close()


# Indexes ---------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("here")
def test_indexes_that_are_gone_are_built_again(home: Home, truth: Truth) -> None:
    shutil.rmtree(home.folder / TABLE / "_indices")
    assert look(home).kinds() == {"words_unreadable": 1, "vectors_unreadable": 1}
    mend(home, deep=True)
    assert answers_of(home) == truth.answers


@pytest.mark.usefixtures("here")
def test_upkeep_that_is_due_is_said_and_done(tmp_path: Path) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    for n in range(55):
        (clips / f"{n}.mp4").write_text(f"clip {n}")
    home = Home.open(tmp_path / "home")
    home.ledger.add_space(SPACE)
    run(home, clips)
    table = home.table(SPACE)
    videos = table.get(table.ids())
    table.delete(list(videos))
    for video in videos.values():
        table.upsert([video])
    report = look(home)
    assert report.kinds() == {"upkeep_due": 1}
    assert report.healthy
    mend(home)


@pytest.mark.usefixtures("here")
def test_without_a_vector_index_the_probe_is_skipped_and_says_so(home: Home) -> None:
    lance.dataset(str(home.folder / TABLE)).drop_index("fused_idx")
    report = look(home)
    assert report.findings == ()
    assert report.skipped == ("the recall probe: there is no vector index yet, and every search scores all rows",)


def test_the_probe_finds_rows_that_the_index_has_lost(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = home.table(SPACE).snapshot()
    whole = probe(snapshot, rows=40)
    assert (whole.asked, whole.recall, whole.lost) == (40, 1.0, ())
    nearest = type(snapshot).nearest
    monkeypatch.setattr(type(snapshot), "nearest", lambda *args: nearest(*args)[10:])
    torn = probe(snapshot, rows=40)
    assert torn.recall < 0.9
    assert len(torn.lost) > 5


# Blobs and leases ------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("here")
def test_orphan_blobs_are_counted_and_go_only_when_asked(home: Home, truth: Truth) -> None:
    orphans = {
        f"original/ab/{'ab' * 32}": 100, f"thumbnail/cd/{'cd' * 32}.jpg": 20,
        f"analysis/{SPACE.id}/ef/{'ef' * 32}.safetensors": 3, f"analysis/gone-123/ef/{'ef' * 32}.safetensors": 4,
        "original/.arriving-x": 5,
    }  # fmt: skip
    for key, size in orphans.items():
        (home.folder / "blobs" / key).parent.mkdir(parents=True, exist_ok=True)
        (home.folder / "blobs" / key).write_bytes(b"x" * size)
    assert look(home, later_s=0).findings == (), "what is young may be about to be referred to"
    sizes = Counter[str]()
    report = look(home)
    for finding in report.findings:
        sizes[finding.kind] += finding.bytes
    assert sizes == {"orphan_original": 100, "orphan_thumbnail": 20, "orphan_analysis": 7, "leftover_blob": 5}
    assert report.healthy
    assert all(home.blobs.has(key) for key in orphans)
    mend(home)
    assert not any(home.blobs.has(key) for key in orphans)
    (kept,) = (home.folder / "blobs/quarantine").rglob("ab" * 32)
    assert kept.stat().st_size == 100, "an original is never deleted"
    assert rows_of(home) == truth.rows


@pytest.mark.usefixtures("here")
def test_originals_of_older_revisions_and_analyses_of_other_spaces_are_kept(home: Home, truth: Truth) -> None:
    other = replace(SPACE, name="other")
    home.ledger.add_space(other)
    shutil.copytree(home.folder / "blobs/analysis" / SPACE.id, home.folder / "blobs/analysis" / other.id)
    assert look(home).findings == ()


@pytest.mark.usefixtures("here")
def test_most_blobs_being_orphans_means_that_the_ledger_is_another(home: Home) -> None:
    for n in range(60):
        name = hashlib.sha256(str(n).encode()).hexdigest()
        home.blobs.put(original_key(name), b"of somebody else")
    (finding,) = look(home, fix=True).findings
    assert (finding.kind, finding.count, finding.repaired) == ("orphan_original", 60, False)
    assert "another home" in finding.done
    assert look(home).kinds() == {"orphan_original": 60}


@pytest.mark.usefixtures("here")
def test_leases_of_the_dead_are_found_and_taken_back(home: Home) -> None:
    home.ledger.requeue(some(home, 3), SPACE.id)
    dead = owner_name().rpartition(":")[0] + ":0"
    home.ledger.claim(SPACE.id, dead, 3)
    assert home.ledger.lease("another table", dead) is not None
    report = look(home)
    assert report.kinds() == {"leaked_lease": 3, "leaked_table_lease": 1}
    assert report.healthy
    assert look(home, fix=True).findings[0].repaired
    assert "leaked_lease" not in look(home).kinds()


@pytest.mark.usefixtures("here")
def test_a_damaged_original_is_named_with_its_upload_and_nothing_is_made_from_it(home: Home, truth: Truth) -> None:
    (video,) = home.table(SPACE).get(some(home, 1)).values()
    flip(home.folder / "blobs" / original_key(video.upload.content_sha256), 0)
    home.blobs.delete(analysis_key(video.upload.content_sha256, SPACE.id))
    report = look(home, deep=True, fix=True)
    found = {finding.kind: finding for finding in report.findings}
    assert video.upload.video_id in found["original_damaged"].sentence
    assert not found["analysis_missing"].repaired
    assert home.ledger.counts(SPACE.id)["pending"] == 0
    assert rows_of(home) == truth.rows


@pytest.mark.usefixtures("here")
@pytest.mark.parametrize("kind", ["torn analysis", "no analysis", "torn thumbnail", "no thumbnail"])
def test_what_decoding_gave_is_asked_for_again(kind: str, home: Home, truth: Truth) -> None:
    (video,) = home.table(SPACE).get(some(home, 1)).values()
    key = analysis_key(video.upload.content_sha256, SPACE.id)
    if "thumbnail" in kind:
        assert video.thumbnail_sha256
        key = thumbnail_key(video.thumbnail_sha256)
    whole = home.blobs.get(key)
    if kind.startswith("no"):
        home.blobs.delete(key)
    else:
        flip(home.folder / "blobs" / key, 99)
    (finding,) = look(home, deep=True, fix=True).findings
    assert finding.repaired
    decoder = run(home, truth.folder / "nothing")
    assert sum(decoder.decoded.values()) == 1
    if "thumbnail" in kind:
        assert home.blobs.get(key) == whole
    assert look(home, deep=True).findings == ()
    assert rows_of(home) == truth.rows


# The ledger ------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("here")
def test_after_a_lost_ledger_nothing_is_thrown_away(home: Home) -> None:
    home.close()
    for path in home.folder.glob("ledger.sqlite*"):
        path.unlink()
    lost = Home.open(home.folder)
    before = files_of(home.folder)
    report = look(lost, deep=True, fix=True)
    assert report.kinds() == {"ledger_damaged": 1}
    assert not report.healthy
    assert files_of(home.folder) == before
    lost.close()


@pytest.mark.usefixtures("here")
def test_a_ledger_that_says_other_words_than_the_row_is_not_believed(home: Home, truth: Truth) -> None:
    home.close()
    path = home.folder / "ledger.sqlite"
    data = path.read_bytes()
    assert b"caption number 17 #tag2" in data
    path.write_bytes(data.replace(b"caption number 17 #tag2", b"captain number 17 #tag2"))
    damaged = Home.open(home.folder)
    report = look(damaged, deep=True, fix=True)
    assert report.kinds() == {"ledger_disagrees": 1}
    assert not report.healthy
    assert rows_of(damaged) == truth.rows
    damaged.close()


@pytest.mark.usefixtures("here")
def test_beside_a_working_ingest_nothing_is_found(tmp_path: Path) -> None:
    clips = tmp_path / "clips"
    clips.mkdir()
    for n in range(60):
        (clips / f"{n}.mp4").write_text(f"clip {n}")
    home = Home.open(tmp_path / "home")
    home.ledger.add_space(SPACE)
    done = Event()

    def work() -> None:
        for n in range(3):
            for i in range(0, 60, 2):
                (clips / f"{i}.txt").write_text(f"caption {n}")
            run(home, clips)
        done.set()

    thread = Thread(target=work)
    thread.start()
    looks = 0
    while not done.is_set():
        assert look(home, later_s=0).findings == ()
        looks += 1
    thread.join()
    assert looks > 1
    assert look(home, later_s=0, deep=True).findings == ()
    home.close()


# Damage ----------------------------------------------------------------------------------------------------------

KINDS = {
    "ledger": "ledger.sqlite",
    "originals": "blobs/original/*/*",
    "thumbnails": "blobs/thumbnail/*/*",
    "analyses": "blobs/analysis/*/*/*",
    "files of rows": f"{TABLE}/data/*",
    "newest manifest": f"{TABLE}/_versions/*.manifest",
    "older manifests": f"{TABLE}/_versions/*",
    "transactions": f"{TABLE}/_transactions/*",
    "deletions": f"{TABLE}/_deletions/*",
    "indexes": f"{TABLE}/_indices/*/*",
}


def damage(folder: Path, kind: str, number: int) -> str:
    """Harm one file of a kind: numbers 0 and 1 empty and remove one, all others change a byte somewhere."""
    rng = random.Random(f"{kind} {number}")
    files = sorted(folder.glob(KINDS[kind]))
    if kind == "newest manifest":
        files = files[:1]
    if number < 2:
        path = rng.choice(files)
        path.write_bytes(b"") if number == 0 else path.unlink()
        return f"{'emptied' if number == 0 else 'removed'} {path.name}"
    place = rng.randrange(sum(path.stat().st_size for path in files))
    for path in files:
        if place < path.stat().st_size:
            break
        place -= path.stat().st_size
    flip(path, place, rng.randrange(1, 256))
    return f"byte {place} of {path.name}"


def outcome(truth: Truth, folder: Path, kind: str, number: int) -> str:
    """Damage a copy, look, mend, look again; the word that the table of the long test counts."""
    copy_of(truth, folder).close()
    said = f"{kind}: {damage(folder, kind, number)}"
    try:
        home = Home.open(folder, create=False)
    except (DatabaseError, FileNotFoundError, ValueError):
        if kind != "ledger":
            raise
        return "found, and the ledger wants its copy"
    try:
        report = look(home, deep=True)
        if not report.findings:
            assert rows_of(home) == truth.rows, f"{said}: a wrong row, and silence"
            assert answers_of(home) == truth.answers, f"{said}: a wrong answer, and silence"
            return "harmless"
        mended = look(home, deep=True, fix=True)
        left = {finding.kind for finding in mended.findings if not finding.repaired}
        if kind == "ledger":
            assert rows_of(home) == truth.rows, f"{said}: {mended.findings}"
            return "found, and the ledger wants its copy"
        if kind == "originals":
            assert left <= {"original_damaged", "original_missing"}, f"{said}: {mended.findings}"
            assert rows_of(home) == truth.rows
            return "found, rows kept" if left else "found, mended"
        assert left == set(), f"{said}: {mended.findings}"
        run(home, folder / "nothing")
        assert rows_of(home) == truth.rows, f"{said}: {mended.findings}"
        assert answers_of(home) == truth.answers, f"{said}: {mended.findings}"
        assert look(home, deep=True).findings == (), said
        return "found, mended"
    finally:
        home.close()


@pytest.mark.usefixtures("one_reader")
@pytest.mark.parametrize(
    "kind",
    [kind if kind in ("ledger", "files of rows") else pytest.param(kind, marks=pytest.mark.ci) for kind in KINDS],
)
def test_damage_is_found_or_harmless_and_is_mended(kind: str, truth: Truth, tmp_path: Path) -> None:
    assert outcome(truth, tmp_path / "home", kind, 5)


@pytest.mark.long
@pytest.mark.usefixtures("one_reader")
@pytest.mark.timeout(7200)
def test_twenty_places_in_each_kind_of_file(truth: Truth, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table: dict[str, Counter[str]] = {}
    for kind in KINDS:
        table[kind] = Counter(outcome(truth, tmp_path / "home", kind, number) for number in range(20))
    columns = sorted({word for counts in table.values() for word in counts})
    with capsys.disabled():
        print()
        print("| 20 places in | " + " | ".join(columns) + " |")
        print("|---|" + "---|" * len(columns))
        for kind, counts in table.items():
            print(f"| {kind} | " + " | ".join(str(counts[word] or "·") for word in columns) + " |")
