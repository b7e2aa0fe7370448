"""What a user names comes out as a source or a failure, and nothing else."""

from __future__ import annotations

import json
import os
import random
import socket
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from index.records import CATEGORIES, Failure
from ingest.uploads import Source, discover, hashtags_in


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def put(path: str | Path, content: str | bytes = b"media") -> Path:
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def found(*paths: str | Path, manifest: str | Path | None = None) -> tuple[list[Source], list[Failure]]:
    both = list(discover(paths, Path(manifest) if manifest else None))
    return [one for one in both if isinstance(one, Source)], [one for one in both if isinstance(one, Failure)]


def names(sources: list[Source]) -> list[str]:
    return [source.path.name for source in sources]


def reasons(failures: list[Failure]) -> list[tuple[str, str]]:
    return [(failure.step, failure.reason) for failure in failures]


# What the feed goes by


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ({"category": " Food "}, {"category": "food"}),
        ({"sensitive": "false", "flags": "no"}, {"sensitive": False, "flags": False}),
        ({"sensitive": 1, "flags": ["violence"]}, {"sensitive": True, "flags": ["violence"]}),
        ({"sensitive": True, "flags": "gore"}, {"sensitive": True, "flags": "gore"}),
        ({"flags": []}, {"flags": []}),
    ],
)
def test_what_the_feed_goes_by_is_kept_as_the_feed_reads_it(
    here: Path, said: dict[str, Any], kept: dict[str, Any]
) -> None:
    put("a.mp4")
    put("list.jsonl", json.dumps({"uri": "a.mp4", **said}))
    (source,), failures = found(manifest="list.jsonl")
    assert source.extra == kept
    assert not failures


@pytest.mark.parametrize(
    ("name", "value"),
    [("category", "cooking"), ("category", 7), ("category", ["food"]), ("sensitive", "perhaps"), ("sensitive", [1]),
     ("flags", 7), ("flags", {"a": 1}), ("flags", [1])],
)  # fmt: skip
def test_a_category_that_there_is_not_is_a_failure_that_names_what_came(here: Path, name: str, value: Any) -> None:
    put("a.mp4")
    put("list.jsonl", json.dumps({"uri": "a.mp4", name: value}))
    sources, (failure,) = found(manifest="list.jsonl")
    assert not sources
    assert reasons([failure]) == [("manifest", f"bad_{name}")]
    assert failure.detail.endswith(f"got {value!r}")
    assert (name != "category") or all(one in failure.detail for one in CATEGORIES)


# Paths


def test_a_folder_gives_every_regular_file_sorted_whatever_it_is_called(here: Path) -> None:
    for name in ("clips/b.mp4", "clips/a.MOV", "clips/deep/er/c.webm", "clips/README.md", "clips/no_suffix"):
        put(name)
    sources, failures = found("clips")
    assert names(sources) == ["README.md", "a.MOV", "b.mp4", "no_suffix", "c.webm"]
    assert not failures
    assert sources[1].origin == "clips/a.MOV"
    assert sources[1].uri == str(here / "clips/a.MOV") == str(sources[1].path)


def test_hidden_files_and_sidecars_are_no_uploads_but_lonely_texts_are(here: Path) -> None:
    for name in ("a.mp4", "a.srt", "a.mp4.vtt", ".hidden.mp4", ".git/b.mp4", "notes.txt"):
        put(Path("clips", name))
    put("clips/a.json", "{}")
    sources, failures = found("clips")
    assert names(sources) == ["a.mp4", "notes.txt"]
    assert not failures


def test_what_a_shell_makes_of_a_star_leaves_the_sidecars_out_too(here: Path) -> None:
    put("a.mp4")
    put("a.txt", "a caption")
    assert names(found("a.mp4", "a.txt")[0]) == ["a.mp4"]
    assert names(found("a.txt")[0]) == ["a.txt"]


def test_patterns_reach_into_folders(here: Path) -> None:
    for name in ("x/a.mp4", "x/y/b.mp4", "x/y/b.txt", "x/y/c.webm"):
        put(name, "words")
    assert names(found("x/**/*.mp4")[0]) == ["a.mp4", "b.mp4"]
    assert names(found("x/**")[0]) == ["a.mp4", "b.mp4", "c.webm"]
    assert names(found("x/?")[0]) == ["b.mp4", "c.webm"]
    put("[odd].mp4")
    assert names(found("[odd].mp4")[0]) == ["[odd].mp4"]
    assert reasons(found("x/*.avi")[1]) == [("read", "not_found")]


def test_a_file_named_twice_comes_once(here: Path) -> None:
    path = put("clips/a b.mp4")
    sources, failures = found(
        "clips", "clips/a b.mp4", path, path.resolve().as_uri(), "clips/*.mp4", "./clips/../clips"
    )
    assert names(sources) == ["a b.mp4"]
    assert not failures


def test_names_that_lead_to_no_file_fail_with_the_same_id_each_time(here: Path) -> None:
    Path("empty").mkdir()
    os.mkfifo("pipe")
    Path("dangling.mp4").symlink_to("nowhere")
    named = ["gone.mp4", "empty", "pipe", "dangling.mp4", "https://example.org/a.mp4", "n" * 5000]
    sources, failures = found(*named)
    assert not sources
    assert [failure.reason for failure in failures] == [
        "not_found",
        "no_files",
        "not_a_file",
        "not_found",
        "unsupported_uri",
        "not_found",
    ]
    assert {failure.step for failure in failures} == {"read"}
    assert len({failure.video_id for failure in failures}) == len(named)
    assert found(*named)[1] == failures
    assert "gone.mp4" in failures[0].detail


def test_a_folder_passes_over_pipes_and_sockets_but_not_over_a_link_to_nowhere(here: Path) -> None:
    put("clips/a.mp4")
    os.mkfifo("clips/pipe")
    Path("clips/broken.mp4").symlink_to("nowhere")
    Path("clips/loop").symlink_to(".")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("clips/socket")
        sources, failures = found("clips")
    assert names(sources) == ["a.mp4"]
    assert reasons(failures) == [("read", "not_found")]


def test_what_may_not_be_read_fails_alone(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put("clips/a.mp4")
    secret = put("clips/secret.mp4")
    may = os.access  # root may read everything, so the answer is staged
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != secret.name and may(path, mode))
    sources, failures = found("clips")
    assert names(sources) == ["a.mp4"]
    assert reasons(failures) == [("read", "not_readable")]


def test_a_name_that_is_not_utf8_can_still_be_written_down(here: Path) -> None:
    put(os.fsdecode(b"clips/caf\xe9.mp4"))
    [source], failures = found("clips")
    assert not failures
    assert source.uri == here.as_uri() + "/clips/caf%E9.mp4"
    source.origin.encode()
    assert found(source.uri)[0][0].path == source.path


# Sidecars


def test_a_sidecar_says_what_a_manifest_would_and_the_manifest_wins(here: Path) -> None:
    for name in ("a.mp4", "b.mp4", "c.mp4"):
        put(name)
    put("a.json", json.dumps({"caption": "from a.json", "creator_id": 7, "mood": "calm", "uri": "elsewhere.mp4"}))
    put("a.mp4.json", json.dumps({"creator_id": "eight"}))
    put("b.txt", "\ufeffHello #World\n")
    put("c.txt", "from the text")
    put("m.csv", "uri,caption,hashtags\na.mp4,from the manifest,\nc.mp4,,x y\n")
    a, c = found(manifest="m.csv")[0]
    assert (a.caption, a.creator_id, dict(a.extra)) == ("from the manifest", "eight", {"mood": "calm"})
    assert (c.caption, c.hashtags) == ("from the text", ("x", "y"))
    [b] = found("b.mp4")[0]
    assert (b.caption.strip(), b.hashtags) == ("Hello #World", ("world",))


@pytest.mark.parametrize(
    "broken", [b"{", b"[1]", b'{"caption": "\xff"}', b"[" * 100_000, b'{"a": "' + b"x" * (1 << 20)]
)
def test_a_broken_sidecar_fails_its_video_and_says_so(here: Path, broken: bytes) -> None:
    put("a.mp4")
    put("a.json", broken)
    put("b.mp4")
    sources, [failure] = found("a.mp4", "b.mp4")
    assert names(sources) == ["b.mp4"]
    assert (failure.step, failure.reason) == ("read", "bad_sidecar")
    assert "a.json" in failure.detail


# Manifests

ROW: dict[str, Any] = {
    "uri": "clips/a.mp4",
    "video_id": "v1",
    "creator_id": "c1",
    "caption": 'Says "hi",\nthen 猫 #Cat',
    "hashtags": ["One", "#Two", "one"],
    "sound_id": "s1",
    "language": "en",
    "uploaded_at": "2026-03-01T12:00:00+02:00",
    "visibility": "private",
    "label": "cat",
}


def write_csv(row: dict[str, Any]) -> Path:
    cells = {**row, "hashtags": json.dumps(row["hashtags"])}
    quoted = ['"' + str(cell).replace('"', '""') + '"' for cell in cells.values()]
    return put("m.csv", "\ufeff" + ";".join(cells) + "\r\n" + ";".join(quoted) + "\r\n")


def write_jsonl(row: dict[str, Any]) -> Path:
    return put("m.jsonl", "\ufeff" + json.dumps(row) + "\n\n")


def write_parquet(row: dict[str, Any]) -> Path:
    at = pa.array([datetime.fromisoformat(row["uploaded_at"])], pa.timestamp("ns", "UTC"))
    table = pa.Table.from_pylist([row])
    pq.write_table(table.set_column(table.column_names.index("uploaded_at"), "uploaded_at", at), "m.parquet")
    return Path("m.parquet")


@pytest.mark.parametrize("write", [write_csv, write_jsonl, write_parquet])
def test_every_kind_of_manifest_says_the_same(here: Path, write: Any) -> None:
    put("clips/a.mp4")
    [source], failures = found(manifest=write(ROW))
    assert not failures
    assert source.path == here / "clips/a.mp4"
    assert source.hashtags == ("one", "two")
    assert source.uploaded_at == datetime(2026, 3, 1, 10, tzinfo=UTC)
    assert source.uploaded_at.tzinfo is UTC
    assert source.extra == {"label": "cat"}
    same = ("video_id", "creator_id", "caption", "sound_id", "language", "visibility")
    assert {name: getattr(source, name) for name in same} == {name: ROW[name] for name in same}


def test_bad_rows_fail_with_their_line_and_leave_the_others_alone(here: Path) -> None:
    for name in ("a", "b", "c", "d"):
        put(f"{name}.mp4")
    put(
        "m.csv",
        "uri,video_id,caption,uploaded_at\n"
        'a.mp4,A,"two\nlines",2026-01-01\n'  # lines 2 and 3
        "\n"
        ",B,no uri,\n"  # 5
        "b.mp4,B2,,yesterday\n"
        "b.mp4,B3,x,2026-01-01,too,many\n"
        "c.mp4,A,the id of another,\n"
        'd.mp4,D,"bad"quote,\n'
        "gone.mp4,G,,\n"  # 10
        "d.mp4, D,,\n"
        "d.mp4,D,fine,1767225600\n",
    )
    sources, failures = found(manifest="m.csv")
    assert [(source.video_id, source.origin) for source in sources] == [("A", "m.csv, line 2"), ("D", "m.csv, line 12")]
    assert sources[0].uploaded_at == sources[1].uploaded_at == datetime(2026, 1, 1, tzinfo=UTC)
    assert [(failure.detail.split(":")[0], failure.step, failure.reason) for failure in failures] == [
        ("m.csv, line 5", "manifest", "no_uri"),
        ("m.csv, line 6", "manifest", "bad_uploaded_at"),
        ("m.csv, line 7", "manifest", "too_many_columns"),
        ("m.csv, line 8", "manifest", "repeated_video_id"),
        ("m.csv, line 9", "manifest", "bad_csv"),
        ("m.csv, line 10", "read", "not_found"),
        ("m.csv, line 11", "manifest", "bad_video_id"),
    ]
    assert [failure.video_id for failure in failures][:2] == ["B", "B2"]
    assert failures[3].video_id.startswith("f_")  # A is a video already
    assert "'yesterday'" in failures[1].detail


def test_a_quote_that_is_never_closed_costs_its_lines_and_is_told(here: Path) -> None:
    put("a.mp4")
    put("m.csv", 'uri,caption\na.mp4,fine\na.mp4,"open\na.mp4,swallowed\n')
    sources, [failure] = found(manifest="m.csv")
    assert len(sources) == 1
    assert failure.detail.startswith("m.csv, lines 3 to 4:")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("{", "bad_json"),
        ("7", "bad_json"),
        ("[" * 100_000, "bad_json"),
        ('{"caption": "x"}', "no_uri"),
        ('{"uri": ["a.mp4"]}', "bad_uri"),
        ('{"uri": "a.mp4", "caption": {"en": "x"}}', "bad_caption"),
        ('{"uri": "a.mp4", "caption": "\\ud800"}', "bad_caption"),
        ('{"uri": "a.mp4", "caption": "\\u0000"}', "bad_caption"),
        ('{"uri": "a.mp4", "hashtags": [1]}', "bad_hashtags"),
        ('{"uri": "a.mp4", "hashtags": "[oops"}', "bad_hashtags"),
        ('{"uri": "a.mp4", "uploaded_at": 1e300}', "bad_uploaded_at"),
        ('{"uri": "a.mp4", "uploaded_at": 1767225600000}', "bad_uploaded_at"),
        ('{"uri": "a.mp4", "uploaded_at": "0001-01-01T00:00:00+14:00"}', "bad_uploaded_at"),
        ('{"uri": "a.mp4", "uploaded_at": true}', "bad_uploaded_at"),
        ('{"uri": "a.mp4", "video_id": "' + "x" * 201 + '"}', "bad_video_id"),
        ('{"uri": "a.mp4", "video_id": "a\\u0007b"}', "bad_video_id"),
        ('{"uri": "a.mp4", "video_id": true}', "bad_video_id"),
        ('{"uri": "s3://bucket/a.mp4", "video_id": "s"}', "unsupported_uri"),
        ('{"uri": "http://[half/a.mp4"}', "unsupported_uri"),
    ],
)
def test_every_way_to_be_a_bad_row_has_its_reason(here: Path, row: str, reason: str) -> None:
    put("a.mp4")
    put("m.jsonl", f'{{"uri": "a.mp4", "video_id": "good"}}\n{row}\n')
    [source], [failure] = found(manifest="m.jsonl")
    assert source.video_id == "good"
    assert failure.reason == reason
    assert failure.detail.startswith("m.jsonl, line 2: ")
    assert "\n" not in failure.detail
    assert len(failure.detail) < 400


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("m.csv", b"path,caption\na.mp4,x\n", "column 'uri'"),
        ("m.csv", b"", "column 'uri'"),
        ("m.csv", b"uri,uri\na,b\n", "every column once"),
        ("m.csv", "uri,caption\na.mp4,caf\u00e9\n".encode("latin-1"), "UTF-8"),
        ("m.jsonl", '{"uri": "a.mp4"}'.encode("utf-16"), "UTF-8"),
        ("m.parquet", b"PAR1 not really", "readable .parquet"),
        ("m.xlsx", b"", "wants one of .csv"),
    ],
)
def test_a_manifest_that_cannot_be_read_stops_loudly(here: Path, name: str, content: bytes, told: str) -> None:
    put(name, content)
    with pytest.raises(ValueError, match=told):
        found(manifest=name)


def test_a_manifest_that_is_not_there_stops_loudly(here: Path) -> None:
    with pytest.raises(ValueError, match="No such file"):
        found(manifest="m.jsonl")


def test_a_file_of_the_manifest_is_not_named_again_by_its_folder(here: Path) -> None:
    put("clips/a.mp4")
    put("clips/b.mp4")
    put("clips/m.jsonl", '{"uri": "a.mp4", "video_id": "A"}\n{"uri": "gone.mp4"}\n')
    sources, failures = found("clips", "clips/gone.mp4", manifest="clips/m.jsonl")
    assert [(source.video_id, source.path.name) for source in sources] == [("A", "a.mp4"), (None, "b.mp4")]
    assert reasons(failures) == [("read", "not_found")]


def test_one_file_may_carry_two_ids_and_be_edited_by_a_later_row(here: Path) -> None:
    put("a.mp4")
    rows = [{"video_id": "A"}, {"video_id": "B"}, {"video_id": "A", "caption": "edited"}]
    put("m.jsonl", "\n".join(json.dumps({"uri": "a.mp4", **row}) for row in rows))
    sources, failures = found(manifest="m.jsonl")
    assert [(source.video_id, source.caption) for source in sources] == [("A", ""), ("B", ""), ("A", "edited")]
    assert not failures


def test_extra_columns_keep_what_json_has_words_for(here: Path) -> None:
    put("a.mp4")
    pq.write_table(
        pa.Table.from_pylist(
            [{"uri": "a.mp4", "creator_id": 12.0, "views": 3, "day": date(2026, 1, 2), "raw": b"x", "n": float("nan")}]
        ),
        "m.parquet",
    )
    [source], _ = found(manifest="m.parquet")
    assert source.extra == {"views": 3, "day": "2026-01-02", "raw": "b'x'"}
    assert source.creator_id == "12"


def test_no_depth_of_nesting_stops_the_work(here: Path) -> None:
    put("a.mp4")
    depths = [1, *range(300, 1500, 50)]
    rows = (f'{{"uri": "a.mp4", "deep": {"[" * depth}{"]" * depth}}}' for depth in depths)
    put("m.jsonl", "\n".join(rows))
    sources, failures = found(manifest="m.jsonl")
    assert sources
    assert len(sources) + len(failures) == len(depths)
    assert {failure.reason for failure in failures} <= {"bad_extra", "bad_json"}


def test_half_characters_anywhere_can_still_be_written_down(here: Path) -> None:
    folder = os.fsdecode(b"caf\xe9")
    put(f"{folder}/a.mp4")
    put(f"{folder}/a.json", "{")
    put("b.mp4")
    put(f"{folder}/m.jsonl", '{"uri": "../b.mp4", "\\udc00": ["\\udc01"]}\n{"uri": "gone.mp4"}\n')
    for one in discover([folder], Path(folder, "m.jsonl")):
        for text in (one.uri, getattr(one, "detail", ""), getattr(one, "origin", "")):
            text.encode()
        json.dumps(getattr(one, "extra", {}), ensure_ascii=False).encode()


def test_an_id_ends_as_sources_of_one_file_or_as_one_failure(here: Path) -> None:
    rng = random.Random(0)
    for name in "abc":
        put(f"{name}.mp4")
    for _ in range(50):
        rows = [
            {
                "uri": f"{rng.choice('abcd')}.mp4",
                "video_id": rng.choice(["A", "B", "C", None]),
                "uploaded_at": rng.choice([None, "oops"]),
            }
            for _ in range(12)
        ]
        put("m.jsonl", "\n".join(map(json.dumps, rows)))
        sources, failures = found(manifest="m.jsonl")
        assert len(sources) + len(failures) == len(rows)
        files = {(source.video_id, source.uri) for source in sources if source.video_id}
        failed = [failure.video_id for failure in failures]
        assert len({video_id for video_id, _ in files}) == len(files)
        assert len(set(failed)) == len(failed)
        assert not {video_id for video_id, _ in files} & set(failed)


# Hashtags


@pytest.mark.parametrize(
    ("caption", "tags"),
    [
        ("", ()),
        ("#cat", ("cat",)),
        ("#猫 #кот #café #日本", ("猫", "кот", "café", "日本")),
        ("#cafe\u0301 #CAFÉ", ("café",)),
        ("#नमस्ते #สวัสดี #می\u200cخواهم", ("नमस्ते", "สวัสดี", "می\u200cخواهم")),
        ("#1 ## #_ #", ()),
        ("#100days #a_b #4k", ("100days", "a_b", "4k")),
        ("#b #a #B", ("b", "a")),
        ("a#b C# ##x", ()),
        ("#one#two,#three.#four!", ("one", "two", "three", "four")),
        ("今天#猫很可爱", ("猫很可爱",)),
        ("＃全角", ("全角",)),
        ("see https://example.org/page#top and www.example.org/#end", ()),
        ("it&#39;s", ()),
        ("#❤️ #1️⃣ #cat❤️", ("cat",)),
        ("#Straße", ("strasse",)),
    ],
)
def test_hashtags_are_found_in_any_script(caption: str, tags: tuple[str, ...]) -> None:
    assert hashtags_in(caption) == tags


def test_hashtags_may_be_given_as_list_json_or_words(here: Path) -> None:
    put("a.mp4")
    given = [["A", "b c"], '["A", "b c"]', "#A #b", "a, b", "#a#b", "a b", []]
    put("m.jsonl", "\n".join(json.dumps({"uri": "a.mp4", "caption": "#other", "hashtags": tags}) for tags in given))
    sources, _ = found(manifest="m.jsonl")
    assert [source.hashtags for source in sources] == [("a", "b c")] * 2 + [("a", "b")] * 4 + [()]


def test_a_long_manifest_is_read_as_a_stream(here: Path) -> None:
    put("a.mp4")
    put("m.jsonl", '{"uri": "a.mp4"}\n' * 3 + "\xff")
    stream = discover([], Path("m.jsonl"))
    assert isinstance(next(stream), Source)
