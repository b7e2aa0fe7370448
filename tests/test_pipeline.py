"""Every upload ends as exactly one `Video` or one `Failure`, and nothing is done twice."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import Any

import numpy as np
import pytest
from fakes import SPACE, FakeDecoder, FakeReader, FakeText, FakeVision, clip, fake_crew, fake_encoders, unit

from index.blobs import analysis_key
from index.home import Home
from index.ledger import owner_name
from index.records import PRESENT, Analysis
from ingest.commit import Committer
from ingest.fuse import fuse
from ingest.pipeline import Step, ingest, reconcile
from ingest.register import Given
from ingest.uploads import discover


def write(folder: Path, **texts: str) -> None:
    for name, text in texts.items():
        (folder / f"{name}.mp4").write_text(text)


def run(home: Home, *paths: Path, decoder: FakeDecoder | None = None, encoders: Any = None, **options: Any) -> Given:
    decoder = decoder or FakeDecoder()
    return ingest(
        discover(paths, options.pop("manifest", None)),
        home,
        SPACE,
        lambda: fake_crew(home, decoder, encoders),
        **options,
    )


def counts(home: Home) -> tuple[int, int, int]:
    found = home.ledger.counts(SPACE.id)
    assert sorted(home.ledger.video_ids(SPACE.id)) == home.table(SPACE).ids(), "ledger and table agree"
    assert home.table(SPACE).check() == []
    return found["videos"], found["failures"], found["pending"]


def test_every_upload_ends_as_a_video_or_a_failure(home: Home, folder: Path) -> None:
    write(folder, a="clip 1", silent="clip 2 silent", broken="broken", killer="killer")
    given = run(home, folder)
    assert len(given.video_ids) == 4
    assert counts(home) == (2, 2, 0)
    assert {failure.reason for failure in home.ledger.failures(SPACE.id)} == {"not_media", "quarantined"}


def test_a_row_holds_what_was_said_and_what_was_found(home: Home, folder: Path) -> None:
    write(folder, cat="clip 1")
    (folder / "cat.txt").write_text("Our cat #Cats")
    given = run(home, folder, encoders=fake_encoders(onscreen=FakeReader("SALE")))
    (video_id,) = given.video_ids
    video = home.table(SPACE).get([video_id])[video_id]
    assert video.upload.caption == "Our cat #Cats"
    assert video.upload.hashtags == ("cats",)
    assert video.onscreen_text == "SALE"
    assert {name for name, why in video.mask.items() if why == PRESENT} == {
        "vision", "tags", "onscreen", "sound", "caption", "hashtags", "text",
    }  # fmt: skip
    parts = [np.sqrt(SPACE.weights[name]) * video.vectors[name] for name in ("vision", "text", "sound")]
    np.testing.assert_allclose(video.fused, np.concatenate(parts), atol=1e-6)


def test_a_silent_video_has_no_sound_vector_but_a_reason(home: Home, folder: Path) -> None:
    write(folder, silent="clip 2 silent")
    (video_id,) = run(home, folder).video_ids
    video = home.table(SPACE).get([video_id])[video_id]
    assert "sound" not in video.vectors
    assert video.mask["sound"] == "no_sound"
    assert not video.partial, "having no sound is a fact of life"


def test_again_is_free(home: Home, folder: Path) -> None:
    write(folder, a="clip 1", b="clip 2", broken="broken")
    run(home, folder)
    decoder = FakeDecoder()
    given = run(home, folder, decoder=decoder)
    assert list(given.video_ids.values()) == [False, False, False]
    assert not decoder.decoded


def test_a_touched_file_is_hashed_again_but_not_decoded(home: Home, folder: Path) -> None:
    write(folder, a="clip 1")
    run(home, folder)
    write(folder, a="clip 1")
    decoder = FakeDecoder()
    run(home, folder, decoder=decoder)
    assert not decoder.decoded


def test_the_same_bytes_are_one_upload_and_the_other_paths_are_listed(home: Home, folder: Path) -> None:
    write(folder, a="clip 1", b="clip 1", c="clip 1")
    for _ in range(2):
        given = run(home, folder)
        assert len(given.video_ids) == 1
        assert sorted(Path(path).name for path in given.extra_paths) == ["b.mp4", "c.mp4"]
    assert counts(home) == (1, 0, 0)


def test_the_same_bytes_under_other_ids_are_decoded_once(home: Home, folder: Path, tmp_path: Path) -> None:
    write(folder, a="clip 1")
    manifest = tmp_path / "clips.csv"
    rows = "".join(f"clips/a.mp4,id{n},caption {n}\n" for n in range(30))
    manifest.write_text("uri,video_id,caption\n" + rows)
    decoder = FakeDecoder()
    given = run(home, manifest=manifest, decoder=decoder)
    assert len(given.video_ids) == 30
    assert counts(home) == (30, 0, 0)
    assert decoder.decoded == {"clip 1": 1}


def test_an_edited_caption_is_a_new_revision_of_the_same_analysis(home: Home, folder: Path, tmp_path: Path) -> None:
    write(folder, a="clip 1")
    manifest = tmp_path / "clips.csv"
    decoder = FakeDecoder()
    for revision, caption in enumerate(("first words", "second words"), start=1):
        manifest.write_text(f"uri,video_id,caption\nclips/a.mp4,a,{caption}\n")
        run(home, manifest=manifest, decoder=decoder)
        video = home.table(SPACE).get(["a"])["a"]
        assert (video.upload.revision, video.upload.caption) == (revision, caption)
    assert decoder.decoded == {"clip 1": 1}


def test_a_known_id_with_new_bytes_is_a_new_revision(home: Home, folder: Path, tmp_path: Path) -> None:
    manifest = tmp_path / "clips.csv"
    manifest.write_text("uri,video_id\nclips/a.mp4,a\n")
    for revision, text in enumerate(("clip 1", "clip 22", "broken"), start=1):
        write(folder, a=text)
        run(home, manifest=manifest)
        if text != "broken":
            assert home.table(SPACE).get(["a"])["a"].upload.revision == revision
    assert counts(home) == (0, 1, 0), "a revision that fails takes the old row with it"


def test_a_missing_file_is_a_failure_until_it_arrives(home: Home, folder: Path) -> None:
    run(home, folder / "late.mp4")
    assert [failure.reason for failure in home.ledger.failures(SPACE.id)] == ["not_found"]
    write(folder, late="clip 1")
    run(home, folder / "late.mp4")
    assert counts(home) == (1, 0, 0)


def test_a_video_whose_file_went_away_stays_a_video(home: Home, folder: Path, tmp_path: Path) -> None:
    write(folder, a="clip 1")
    manifest = tmp_path / "clips.csv"
    manifest.write_text("uri,video_id\nclips/a.mp4,a\n")
    run(home, manifest=manifest)
    (folder / "a.mp4").unlink()
    run(home, manifest=manifest)
    assert counts(home) == (1, 0, 0)


def test_what_kills_its_child_three_times_is_quarantined_and_takes_nobody_along(home: Home, folder: Path) -> None:
    write(folder, killer="killer", **{f"c{n}": f"clip {n}" for n in range(20)})
    decoder = FakeDecoder()
    run(home, folder, decoder=decoder)
    assert decoder.decoded["killer"] == 3
    assert counts(home) == (20, 1, 0)
    (quarantined,) = home.ledger.failures(SPACE.id)
    home.ledger.retry(SPACE.id)
    assert counts(home) == (20, 1, 0), "a plain retry leaves it alone"
    assert home.ledger.retry(SPACE.id, quarantined=True) == [quarantined.video_id]


def test_a_stop_ends_cleanly_and_the_next_run_goes_on(home: Home, folder: Path) -> None:
    write(folder, **{f"c{n:03}": f"clip {n}" for n in range(60)})
    stop, decoder = Event(), FakeDecoder()

    def stop_soon(step: Step) -> None:
        if step.committed:
            stop.set()

    run(home, folder, decoder=decoder, stop=stop, on_step=stop_soon)
    videos, failures, pending = counts(home)
    assert videos + failures + pending == 60
    run(home, decoder=decoder)
    assert counts(home) == (60, 0, 0)
    assert set(decoder.decoded.values()) == {1}


def test_an_error_of_ours_stops_loudly_and_loses_nothing(home: Home, folder: Path) -> None:
    class Broken(FakeReader):
        def read(self, frames: Any) -> Any:
            raise RuntimeError("a bug of ours")

    write(folder, **{f"c{n:03}": f"clip {n}" for n in range(30)})
    with pytest.raises(RuntimeError, match="a bug of ours"):
        run(home, folder, encoders=fake_encoders(onscreen=Broken()))
    assert counts(home) == (0, 0, 30)
    run(home)
    assert counts(home) == (30, 0, 0)


def test_a_partial_row_is_completed_without_redoing_the_rest(home: Home, folder: Path) -> None:
    write(folder, a="clip 1")
    lame = fake_encoders(sound=None, off={"transcript": "off:model_missing", "sound": "failed:model_missing"})
    (video_id,) = run(home, folder, encoders=lame).video_ids
    before = home.table(SPACE).get([video_id])[video_id]
    assert before.partial
    assert home.ledger.counts(SPACE.id)["partial"] == 1

    class OtherVision(FakeVision):
        """Sees something else; what stands already must stay."""

        def encode(self, videos: Any) -> Any:
            return np.stack([unit("other", 6) for _ in videos]), super().encode(videos)[1]

    home.ledger.retry(SPACE.id)
    run(home, encoders=fake_encoders(vision=OtherVision()))
    after = home.table(SPACE).get([video_id])[video_id]
    assert not after.partial
    assert "sound" in after.vectors
    np.testing.assert_array_equal(after.vectors["vision"], before.vectors["vision"])


def test_a_torn_analysis_is_made_again(home: Home, folder: Path, tmp_path: Path) -> None:
    write(folder, a="clip 1")
    (video_id,) = run(home, folder).video_ids
    upload = home.ledger.upload(video_id)
    assert upload is not None
    key = analysis_key(upload.content_sha256, SPACE.id)
    home.blobs.put(key, home.blobs.get(key)[:-40])
    manifest = tmp_path / "again.csv"
    manifest.write_text("uri,video_id\nclips/a.mp4,again\n")
    run(home, manifest=manifest)
    assert counts(home) == (2, 0, 0)


def test_in_place_copies_nothing_and_notices_a_change(home: Home, folder: Path) -> None:
    write(folder, a="clip 1", b="clip 2")
    run(home, folder, in_place=True)
    assert counts(home) == (2, 0, 0)
    assert not (home.folder / "blobs" / "original").exists()


def test_two_ingests_at_once_share_the_work_and_both_end_when_it_is_done(home: Home, folder: Path) -> None:
    write(folder, **{f"c{n:03}": f"clip {n}" for n in range(40)})
    decoders = [FakeDecoder(), FakeDecoder()]

    def one(decoder: FakeDecoder) -> None:
        run(home, folder, decoder=decoder)
        assert counts(home) == (40, 0, 0), "each of them ends only when everything it named has ended"

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(one, decoders))
    assert sum((decoder.decoded for decoder in decoders), Counter()) == {f"clip {n}": 1 for n in range(40)}


def test_a_file_name_that_is_no_text_is_a_video_like_any_other(home: Home, folder: Path) -> None:
    name = os.fsdecode(b"\xff.mp4")
    (folder / name).write_text("clip 1")
    for _ in range(2):
        given = run(home, folder)
    assert list(given.video_ids.values()) == [False]
    run(home, folder, in_place=True)
    assert counts(home) == (1, 0, 0)


def test_a_table_that_was_lost_is_made_again_without_decoding(home: Home, folder: Path) -> None:
    write(folder, a="clip 1", b="clip 2", broken="broken")
    run(home, folder)
    shutil.rmtree(home.folder / "tables")
    assert reconcile(home, SPACE) == 2
    decoder = FakeDecoder()
    run(home, decoder=decoder)
    assert counts(home) == (2, 1, 0)
    assert not decoder.decoded


def test_an_original_taken_in_place_and_moved_is_found_at_its_new_place(home: Home, folder: Path) -> None:
    write(folder, a="clip 1")
    stop = Event()
    stop.set()
    run(home, folder, in_place=True, stop=stop)
    (folder / "a.mp4").rename(folder / "b.mp4")
    run(home, folder, in_place=True)
    assert counts(home) == (1, 0, 0)


def test_a_stop_while_registering_is_heard(home: Home, folder: Path) -> None:
    write(folder, a="clip 1")
    stop = Event()
    stop.set()
    assert not run(home, folder, stop=stop).video_ids


def test_what_ends_a_run_is_named_and_stands_behind_the_rest_next_time(home: Home, folder: Path) -> None:
    class Picky(FakeReader):
        def read(self, frames: Any) -> Any:
            if any(int(video.sum()) == poison for video in frames):
                raise RuntimeError("a bug of ours")
            return super().read(frames)

    write(folder, **{f"c{n:02}": f"clip {n}" for n in range(12)})
    poison = int(clip(0).text_frames.sum())
    for _ in range(3):
        with pytest.raises(RuntimeError, match="a bug of ours") as error:
            run(home, folder, encoders=fake_encoders(onscreen=Picky()))
    assert "c00.mp4" in error.value.__notes__[0]
    assert counts(home)[2] == 1, "all others are done"


def test_of_two_revisions_in_one_commit_the_newest_is_the_row(home: Home, folder: Path) -> None:
    write(folder, a="clip 1")
    (video_id,) = run(home, folder).video_ids
    upload = home.ledger.upload(video_id)
    assert upload is not None
    analysis = Analysis.from_bytes(home.blobs.get(analysis_key(upload.content_sha256, SPACE.id)))
    edited = replace(upload, revision=2, caption="edited")
    Committer(home, SPACE, owner_name()).commit(fuse([(edited, analysis), (upload, analysis)], FakeText(), SPACE))
    assert home.table(SPACE).get([video_id])[video_id].upload.caption == "edited"
