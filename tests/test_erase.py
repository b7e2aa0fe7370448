"""What a creator deletes leaves the ledger at once, and then tables and blobs, whatever happens meanwhile."""

from __future__ import annotations

from pathlib import Path

import pytest
from fakes import SPACE, FakeDecoder, fake_crew

from index.blobs import analysis_key, original_key
from index.home import Home
from index.ledger import LeaseLost, Ledger
from index.records import Upload
from ingest.commit import Committer
from ingest.erase import erase_due
from ingest.pipeline import ingest
from ingest.register import register
from ingest.uploads import Source, edited

ME = "me@here:1:0.00"


def put(home: Home, folder: Path, video_id: str, text: str) -> None:
    path = folder / f"{video_id}.mp4"
    path.write_text(text)
    register([Source(path=path, uri=str(path), origin="a test", video_id=video_id)], home, SPACE.id)


def work(home: Home, decoder: FakeDecoder | None = None) -> FakeDecoder:
    decoder = decoder or FakeDecoder()
    ingest([], home, SPACE, lambda: fake_crew(home, decoder))
    return decoder


def blobs_of(home: Home) -> set[str]:
    return {one.key for kind in ("original", f"analysis/{SPACE.id}", "thumbnail") for one in home.blobs.stored(kind)}


def test_an_erased_video_is_gone_everywhere_and_its_neighbour_stays(home: Home, folder: Path) -> None:
    put(home, folder, "a", "clip 1")
    work(home)
    before = blobs_of(home)
    put(home, folder, "b", "clip 2")
    work(home)
    assert home.ledger.erase("b")
    assert home.ledger.upload("b") is None
    assert home.ledger.item("b", SPACE.id) is None
    assert erase_due(home, ME) == 1
    assert home.table(SPACE).ids() == ["a"]
    assert blobs_of(home) == before
    assert erase_due(home, ME) == 0, "nothing is left to do"
    assert not home.ledger.erase("b")


def test_bytes_that_another_upload_has_stay(home: Home, folder: Path) -> None:
    put(home, folder, "a", "clip 1")
    put(home, folder, "b", "clip 1")
    work(home)
    before = blobs_of(home)
    home.ledger.erase("b")
    erase_due(home, ME)
    assert blobs_of(home) == before
    assert home.table(SPACE).ids() == ["a"]


def test_the_same_id_may_come_again_before_the_old_row_is_gone(home: Home, folder: Path) -> None:
    put(home, folder, "a", "clip 1")
    work(home)
    home.ledger.erase("a")
    put(home, folder, "a", "clip 2")
    work(home)
    erase_due(home, ME)
    (row,) = home.table(SPACE).get(["a"]).values()
    assert row.upload.revision == 2, "it counts on, so that no old row stands in its way"
    upload = home.ledger.upload("a")
    assert upload is not None
    assert row.upload.content_sha256 == upload.content_sha256
    assert home.blobs.has(original_key(upload.content_sha256))
    assert len([key for key in blobs_of(home) if key.startswith("original")]) == 1


def test_what_is_erased_while_it_is_worked_on_leaves_nothing(home: Home, folder: Path) -> None:
    class Erasing(FakeDecoder):
        def decode(self, path: Path):  # type: ignore[no-untyped-def]
            home.ledger.erase("a")
            erase_due(home, ME)
            return super().decode(path)

    put(home, folder, "a", "clip 1")
    (content,) = [one.name for one in home.blobs.stored("original")]
    with home.blobs.local_copy(original_key(content)):
        pass
    work(home, Erasing())
    erase_due(home, ME)
    assert home.table(SPACE).count() == 0
    assert not home.blobs.has(analysis_key(content, SPACE.id))


def test_a_kill_between_the_steps_loses_nothing(home: Home, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(home, folder, "a", "clip 1")
    work(home)
    home.ledger.erase("a")
    with monkeypatch.context() as patched:
        patched.setattr(Ledger, "end_erasures", lambda ledger, done: (_ for _ in ()).throw(LeaseLost("killed here")))
        with pytest.raises(LeaseLost):
            erase_due(home, ME)
    assert erase_due(home, ME) == 1
    assert blobs_of(home) == set()


def test_bytes_that_come_again_while_they_are_erased_are_kept(
    home: Home, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(home, folder, "a", "clip 1")
    work(home)
    home.ledger.erase("a")
    was = Ledger.register

    def erase_between(ledger: Ledger, *arguments: object, **named: object) -> object:
        erase_due(home, ME)  # after the copy, before anybody knows whose it is
        return was(ledger, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(Ledger, "register", erase_between)
    put(home, folder, "b", "clip 1")
    work(home)
    assert home.table(SPACE).ids() == ["b"]
    assert len(list(home.blobs.stored("original"))) == 1


def test_what_was_only_hidden_leaves_the_disk_too(home: Home, folder: Path) -> None:
    put(home, folder, "a", "clip 1")
    put(home, folder, "b", "clip 2")
    home.ledger.edit("a", caption="zyzzyva")
    work(home)
    home.table(SPACE).delete(["a"])
    home.ledger.erase("a")
    erase_due(home, ME)
    kept = b"".join(path.read_bytes() for path in (home.folder / "tables").rglob("*") if path.is_file())
    assert b"zyzzyva" not in kept


def test_what_is_erased_again_meanwhile_stays_due(home: Home, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(home, folder, "a", "clip 1")
    work(home)
    (row,) = home.table(SPACE).get(["a"]).values()
    home.ledger.erase("a")
    ended = Ledger.end_erasures

    def commit_first(ledger: Ledger, done: object) -> None:
        Committer(home, SPACE, "other@here:1:0.00").commit([row])
        ended(ledger, done)  # type: ignore[arg-type]

    monkeypatch.setattr(Ledger, "end_erasures", commit_first)
    erase_due(home, ME)
    assert len(home.ledger.erasures_due()) == 1


def test_an_edit_is_a_new_revision_and_decodes_nothing(home: Home, folder: Path) -> None:
    put(home, folder, "a", "clip 1")
    work(home)
    edit = home.ledger.edit("a", caption="a cat #cat", hashtags=("cat",))
    assert edit is not None
    assert edit.revision == 2
    assert home.ledger.edit("a", caption="a cat #cat") == edit, "what changes nothing is no revision"
    assert home.ledger.edit("nobody", caption="") is None
    decoder = work(home)
    assert not decoder.decoded
    assert home.table(SPACE).get(["a"])["a"].upload.caption == "a cat #cat"


@pytest.mark.parametrize(
    ("said", "changes"),
    [
        ({"caption": "new #two"}, {"caption": "new #two", "hashtags": ("two",)}),
        ({"caption": ""}, {"caption": "", "hashtags": ()}),
        ({"hashtags": ["Three"]}, {"hashtags": ("three",)}),
        ({"visibility": "private"}, {"visibility": "private"}),
        ({}, {}),
    ],
)
def test_hashtags_follow_the_caption_that_they_came_from(said: dict[str, object], changes: dict[str, object]) -> None:
    before = Upload(video_id="a", content_sha256="0", uri="a.mp4", caption="old #one", hashtags=("one",))
    assert edited(said, before) == changes


def test_hashtags_that_were_given_stay_when_the_caption_changes() -> None:
    before = Upload(video_id="a", content_sha256="0", uri="a.mp4", caption="old #one", hashtags=("given",))
    assert edited({"caption": "new #two"}, before) == {"caption": "new #two"}


def test_a_commit_takes_back_the_row_of_what_was_erased_meanwhile(home: Home, folder: Path) -> None:
    put(home, folder, "a", "clip 1")
    work(home)
    (row,) = home.table(SPACE).get(["a"]).values()
    home.ledger.erase("a")
    erase_due(home, ME)
    Committer(home, SPACE, ME).commit([row])
    assert home.table(SPACE).count() == 0
    assert home.ledger.erasures_due(), "its analysis may be there again"
