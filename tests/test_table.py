"""What the table of videos keeps, and how it behaves beside other processes."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import lance
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from index.records import MODALITIES, PRESENT, MediaFacts, Space, Tag, Upload, Video
from index.rows import row_digest, row_of, words_of
from index.table import Fault, TableUnreadable, Upkeep, VideoTable, split_words

SPACE = Space(
    name="test",
    spec={"made": "by hand"},
    dims={"vision": 4, "text": 3, "sound": 2},
    weights={"vision": 0.5, "text": 0.3, "sound": 0.2},
)


def unit(*numbers: float) -> np.ndarray[Any, np.dtype[np.float32]]:
    vector = np.array(numbers, dtype=np.float32)
    return vector / np.linalg.norm(vector)


def fuse(vectors: Mapping[str, Any], space: Space = SPACE) -> np.ndarray[Any, np.dtype[np.float32]]:
    parts = [
        np.sqrt(space.weights[name]) * vectors.get(name, np.zeros(space.dims[name]))
        for name in MODALITIES
        if name in space.dims
    ]
    return np.concatenate(parts).astype(np.float32)


def video(video_id: str, vectors: Mapping[str, Any] | None = None, space: Space = SPACE, **changes: Any) -> Video:
    """A video with the given vectors; `changes` may name fields of the upload, the facts or the row."""
    vectors = {"vision": unit(1, 0, 0, 0)} if vectors is None else vectors
    upload = {"video_id": video_id, "content_sha256": "00", "uri": f"file:///{video_id}.mp4"}
    facts: dict[str, Any] = {"container": "mp4", "duration_s": 5.0, "declared_duration_s": None}
    row: dict[str, Any] = {
        "mask": {name: PRESENT if name in vectors else "no_" + name for name in MODALITIES},
        "tags": (), "onscreen_text": "", "transcript": "", "speech_segments_s": (), "signals": {},
        "thumbnail_sha256": None,
    }  # fmt: skip
    for name, value in changes.items():
        place = upload if name in Upload.__dataclass_fields__ else row if name in row else facts
        place[name] = value
    return Video(
        upload=Upload(**upload), space=space.id, vectors=dict(vectors), fused=fuse(vectors, space),
        facts=MediaFacts(**facts), **row,
    )  # fmt: skip


FULL = video(
    "full",
    {"vision": unit(1, 2, 3, 4), "text": unit(0, 1, 0), "sound": unit(-1, 1)},
    revision=3,
    creator_id="it's me",
    caption='猫と "dance" \\ %_ \0 naïve 👩‍👧',
    hashtags=("猫", "dance", "танец"),
    sound_id="s",
    language="ja",
    uploaded_at=datetime(2026, 5, 1, 12, 30, 15, 123456, tzinfo=timezone(timedelta(hours=9))),
    visibility="private",
    extra={"price": 1.5, "note": None, "ключ": ["a", 1]},
    duration_s=0.1 + 0.2,
    declared_duration_s=655.0,
    video_codec="h264",
    width=720,
    height=1280,
    fps=29.97,
    variable_frame_rate=True,
    truncated="frame limit",
    tags=(Tag(name="Egyptian cat", probability=0.36), Tag(name="tiger", probability=0.01)),
    onscreen_text="SALE 50%",
    transcript="قطتي الجميلة",
    speech_segments_s=((0.5, 1.25), (2.0, 3.1)),
    signals={"speech_share": 0.3, "tempo_bpm": 120.0},
    thumbnail_sha256="ab",
)


def same(one: Video, other: Video) -> bool:
    """All fields equal, vectors to the bit; `Video` itself compares by identity because it holds arrays."""
    plain = [name for name in Video.__dataclass_fields__ if name not in ("vectors", "fused")]
    return (
        all(getattr(one, name) == getattr(other, name) for name in plain)
        and one.vectors.keys() == other.vectors.keys()
        and all(np.array_equal(one.vectors[name], other.vectors[name]) for name in one.vectors)
        and np.array_equal(one.fused, other.fused)
    )


def test_a_row_reads_back_as_the_video_that_was_written(tmp_path: Path) -> None:
    table = VideoTable.open(tmp_path, SPACE)
    videos = [FULL, video("plain"), video("nothing to compare by", {})]
    table.upsert(videos)
    read = table.get(["nothing to compare by", "unknown", "full", "plain", "full"])
    assert list(read) == ["nothing to compare by", "full", "plain"]
    assert all(same(written, read[written.upload.video_id]) for written in videos)
    assert table.check() == []


anything = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
floats = st.floats(allow_nan=False, allow_infinity=False, width=64)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_text_and_number_reads_back(data: st.DataObject, tmp_path_factory: pytest.TempPathFactory) -> None:
    draw = data.draw
    present = draw(st.sets(st.sampled_from(MODALITIES)))
    rng = np.random.default_rng(draw(st.integers(0, 9)))
    written = video(
        draw(anything.filter(bool)),
        {name: unit(*rng.standard_normal(SPACE.dims[name])) for name in sorted(present)},
        caption=draw(anything),
        hashtags=tuple(draw(st.lists(anything, max_size=3))),
        creator_id=draw(st.none() | anything),
        uploaded_at=draw(st.none() | st.datetimes(datetime(1700, 1, 1), timezones=st.just(UTC))),
        extra=draw(st.dictionaries(anything, st.none() | floats | anything | st.booleans(), max_size=3)),
        duration_s=draw(floats),
        signals=draw(st.dictionaries(anything, floats, max_size=2)),
        transcript=draw(anything),
    )
    table = VideoTable.open(tmp_path_factory.mktemp("any"), SPACE)
    table.upsert([written])
    assert same(written, table.get([written.upload.video_id])[written.upload.video_id])
    assert table.check() == []


def test_an_empty_table_answers_everything(tmp_path: Path) -> None:
    table = VideoTable.open(tmp_path, SPACE)
    table.upsert([])
    assert (table.count(), table.ids(), table.get(["a"]), table.get([]), table.check()) == (0, [], {}, {}, [])
    assert (table.delete(["a"]), table.erase([]), table.optimize_if_due()) == (0, 0, False)


def test_writing_again_replaces_and_an_older_revision_does_not(tmp_path: Path) -> None:
    table = VideoTable.open(tmp_path, SPACE)
    table.upsert([video("a", caption="first", revision=1), video("b")])
    table.upsert([video("a", caption="second", revision=2)])
    table.upsert([video("a", caption="first", revision=1), video("c")])
    table.upsert([video("a", caption="second, completed", revision=2)])
    assert table.ids() == ["a", "b", "c"]
    assert table.get(["a"])["a"].upload.caption == "second, completed"


def bad_videos() -> list[tuple[Sequence[Video], str]]:
    nan = np.array([np.nan, 0, 0, 0], dtype=np.float32)
    other = replace(SPACE, name="other")
    return [
        ([video("a"), video("b"), video("a")], r"\['a'\] came more than once"),
        ([replace(video("a"), vectors={"vision": nan})], "finite unit vector, got one of length nan"),
        ([replace(video("a"), vectors={"vision": unit(1, 1, 0, 0) * 2})], "of length 2.0"),
        ([replace(video("a"), vectors={"vision": unit(1, 0)})], r"shape \(4,\), got \(2,\)"),
        ([replace(video("a"), fused=np.zeros(3, np.float32))], r"fused wants shape \(9,\), got \(3,\)"),
        ([video("b"), video("a", space=other)], "the table holds space test-.*, the video is of other-"),
    ]


@pytest.mark.parametrize(("videos", "said"), bad_videos())
def test_what_does_not_fit_is_refused_whole(videos: Sequence[Video], said: str, tmp_path: Path) -> None:
    table = VideoTable.open(tmp_path, SPACE)
    with pytest.raises(ValueError, match=said):
        table.upsert(videos)
    assert table.count() == 0


def test_a_reader_sees_commits_that_came_after_it_opened_and_a_snapshot_does_not(tmp_path: Path) -> None:
    writer, reader = VideoTable.open(tmp_path, SPACE), VideoTable.open(tmp_path, SPACE)
    before = reader.snapshot()
    writer.upsert([video("a"), video("b")])
    assert reader.ids() == ["a", "b"]
    writer.delete(["a"])
    assert reader.ids() == ["b"]
    assert before.ids() == []


def test_processes_that_make_the_same_table_at_once_get_one_table(tmp_path: Path) -> None:
    folders = [tmp_path / str(i // 2) for i in range(12)]
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        pool.map(_write_own_row, enumerate(folders), chunksize=1)
    for i, folder in enumerate(folders[::2]):
        assert VideoTable.open(folder, SPACE).ids() == sorted([f"v{2 * i}", f"v{2 * i + 1}"])
        assert [path.name for path in folder.iterdir()] == [f"videos__{SPACE.id}.lance"]


def _write_own_row(numbered: tuple[int, Path]) -> None:
    number, folder = numbered
    VideoTable.open(folder, SPACE).upsert([video(f"v{number}")])


def test_spaces_do_not_share_a_table(tmp_path: Path) -> None:
    other = replace(SPACE, spec={"made": "otherwise"})
    VideoTable.open(tmp_path, SPACE).upsert([video("a")])
    assert VideoTable.open(tmp_path, other).count() == 0


def test_check_finds_doubled_rows_and_flipped_values(tmp_path: Path) -> None:
    table = VideoTable.open(tmp_path, SPACE)
    table.upsert([video("twice"), video("text"), video("vector"), video("words"), video("good")])
    raw = lance.dataset(str(next(tmp_path.glob("*.lance"))))
    raw.insert(raw.to_table(filter="video_id = 'twice'"))
    raw.update({"caption": "'flipped'"}, where="video_id = 'text'")
    raw.update({"words": "'flipped'"}, where="video_id = 'words'")
    rows = raw.to_table(filter="video_id = 'vector'")
    flipped = type(rows["vision"].combine_chunks()).from_arrays(np.array([0, 1, 0, 0], np.float32), 4)
    raw.delete("video_id = 'vector'")
    raw.insert(rows.set_column(rows.schema.get_field_index("vision"), rows.schema.field("vision"), flipped))
    assert sorted(table.check(), key=lambda fault: fault.video_id) == [
        Fault(video_id="text", reason="digest_mismatch"),
        Fault(video_id="twice", reason="doubled"),
        Fault(video_id="vector", reason="digest_mismatch"),
        Fault(video_id="words", reason="derived_mismatch"),
    ]


def test_equal_videos_have_equal_digests_and_every_field_counts() -> None:
    moved = replace(FULL, upload=replace(FULL.upload, uploaded_at=FULL.upload.uploaded_at.astimezone(UTC)))  # type: ignore[union-attr]
    assert row_digest(moved) == row_digest(FULL)
    others = [
        replace(FULL, upload=replace(FULL.upload, caption="")),
        replace(FULL, facts=replace(FULL.facts, fps=30.0)),
        replace(FULL, mask={**FULL.mask, "vision": "failed:x"}),
        replace(FULL, fused=FULL.fused + np.float32(1e-6)),
        replace(FULL, vectors={**FULL.vectors, "sound": -FULL.vectors["sound"]}),
    ]
    assert len({row_digest(video) for video in [FULL, *others]}) == 6


def test_erasing_leaves_no_byte_of_a_row(tmp_path: Path) -> None:
    table = VideoTable.open(tmp_path, SPACE)
    secret = "xyzzyplugh"
    table.upsert([video(f"kept{i}") for i in range(20)] + [video("gone-" + secret, caption=secret)])
    table.optimize_if_due(Upkeep(fragments=1))

    def files_with_secret() -> list[Path]:
        files = (path for path in tmp_path.rglob("*") if path.is_file())
        return [path for path in files if secret.encode() in path.read_bytes()]

    assert files_with_secret()
    assert table.delete(["gone-" + secret]) == 1
    assert files_with_secret()
    assert table.erase(["kept3", "unknown"]) == 1
    assert files_with_secret() == []
    assert table.count() == 19
    assert table.check() == []


def test_a_read_that_erasure_overtakes_is_done_again(tmp_path: Path) -> None:
    table = VideoTable.open(tmp_path, SPACE)
    table.upsert([video("a"), video("b")])
    overtaken = []

    def work(snapshot: Any) -> list[str]:
        if not overtaken:
            overtaken.append(VideoTable.open(tmp_path, SPACE).erase(["a"]))
        return [v.upload.video_id for v in snapshot.get(["a", "b"]).values()]

    assert table.read(work) == ["b"]


def test_upkeep_comes_when_it_is_due_and_keeps_every_row(tmp_path: Path) -> None:
    table = VideoTable.open(tmp_path, SPACE)
    rng = np.random.default_rng(0)
    tidied = []
    for i in range(25):
        rows = [video(f"{i}-{j}", {"vision": unit(*rng.standard_normal(4))}, caption=f"word{i}") for j in range(20)]
        table.upsert(rows)
        tidied.append(table.optimize_if_due(Upkeep(fragments=10, vector_index_rows=400)))
    assert [i for i, did in enumerate(tidied) if did] == [9, 18, 19]
    snapshot = table.snapshot()
    assert snapshot.has_vector_index
    assert len(snapshot.fragments()) < 10
    assert snapshot.unindexed_rows() == 100
    assert len(snapshot.row_ids_with_word("word0")) == len(snapshot.row_ids_with_word("word24")) == 20
    assert table.check() == []


def test_scan_gives_the_columns_asked_for_in_bounded_batches(tmp_path: Path) -> None:
    table = VideoTable.open(tmp_path, SPACE)
    table.upsert([video(f"{i}", caption=str(i)) for i in range(50)])
    batches = list(table.scan(["video_id", "caption"], batch_rows=20))
    assert max(len(batch) for batch in batches) <= 20
    rows = [row for batch in batches for row in batch.to_pylist()]
    assert sorted(rows, key=lambda row: int(row["caption"])) == [
        {"video_id": f"{i}", "caption": f"{i}"} for i in range(50)
    ]


def test_a_folder_that_is_no_table_is_said_to_be_unreadable(tmp_path: Path) -> None:
    VideoTable.open(tmp_path, SPACE).upsert([video("a")])
    newest = min((tmp_path / f"videos__{SPACE.id}.lance" / "_versions").iterdir())
    newest.write_bytes(b"")  # what a power loss leaves behind
    with pytest.raises(TableUnreadable, match="videos__test-"):
        VideoTable.open(tmp_path, SPACE)


WRITER = """
import sys; sys.path[:0] = sys.argv[2:]
from test_table import SPACE, video
from index.table import VideoTable
table = VideoTable.open(sys.argv[1], SPACE)
for i in range(60):
    table.upsert([video(f"{i:02}-{j}", revision=1) for j in range(5)])
    print(i, flush=True)
"""


def test_a_writer_that_is_killed_loses_nothing_it_acknowledged(tmp_path: Path) -> None:
    here = Path(__file__).parent
    args = [sys.executable, "-c", WRITER, str(tmp_path), str(here), str(here.parent)]
    acknowledged = 0
    with subprocess.Popen(args, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout is not None
        for line in child.stdout:
            acknowledged = int(line) + 1
            seen = set(VideoTable.open(tmp_path, SPACE).ids())
            assert {f"{i:02}-{j}" for i in range(acknowledged) for j in range(5)} <= seen
            if acknowledged == 20:
                child.kill()
                break
    table = VideoTable.open(tmp_path, SPACE)
    assert len(table.ids()) % 5 == 0
    assert len(table.ids()) >= 100
    assert table.check() == []


def test_words_are_all_texts_in_one_spelling_without_improbable_tags() -> None:
    assert words_of(FULL).split("\n")[1:] == ["猫", "dance", "танец", "egyptian cat", "sale 50%", "قطتي الجميلة"]
    assert row_of(FULL, SPACE)["present"] == 0b111


def test_the_words_of_a_query_are_told_apart_as_in_the_index() -> None:
    assert split_words("The dogs, a Dog and ＤＯＧ") == ["dogs"]
    assert split_words("street_dance #Café") == ["street", "dance", "cafe"]
    assert split_words("我的猫咪") == ["我的", "猫咪"]
    assert split_words(" ... ") == []
    assert split_words("to be or not") == ["to", "be", "or", "not"]


def test_a_word_is_found_in_every_script(tmp_path: Path) -> None:
    table = VideoTable.open(tmp_path, SPACE)
    texts = {
        "han": "小猫跳舞", "kana": "ネコかわいい", "thai": "แมวน่ารักมาก", "arabic": "قطتي الجميلة", "hindi": "नाच गाना",
        "cyrillic": "танцы на улице", "english": "Running DOGS", "tag": "#street_dance", "long": "x" * 200,
    }  # fmt: skip
    table.upsert([video(name, caption=text) for name, text in texts.items()])
    wanted = {
        "猫": ["han"], "the": [], "ネコ": ["kana"], "แมว": ["thai"], "قطتي": ["arabic"], "नाच": ["hindi"],
        "танцы": ["cyrillic"],
        "dog": ["english"], "runs": ["english"], "dance": ["tag"], "cat": [], "'; --": [],
    }  # fmt: skip
    for tidied in (False, True):
        snapshot = table.snapshot()
        found = {word: list(snapshot.block_of(snapshot.row_ids_with_word(word)).video_ids) for word in wanted}
        assert found == wanted, tidied
        assert table.optimize_if_due(Upkeep(fragments=1)) is not tidied or tidied
