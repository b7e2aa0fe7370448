"""The command line keeps what docs/json.md promises."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from index.records import Failure
from ingest.samples import SampleClip, draw_samples
from service.cli import cli, main
from service.library import Library


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[SampleClip]:
    """Two of each kind: a cat with and a cat without a caption, and so on."""
    return draw_samples(tmp_path_factory.mktemp("clips"), count=16)


@pytest.fixture(scope="module")
def home(clips: list[SampleClip], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    manifest = clips[0].path.with_name("manifest.jsonl")
    with manifest.open("a") as file:
        file.write(json.dumps({"uri": "gone.mp4", "video_id": "gone"}) + "\n")
        file.write('{"video_id": "no uri"}\n')
    (folder / "broken.mp4").write_text("not a video")
    said = run("ingest", "--manifest", str(manifest), str(folder / "broken.mp4"), "--home", str(folder / "home"))
    assert said["uploads"] == 19
    return folder / "home"


def run(*arguments: str, code: int = 0) -> Any:
    result = CliRunner().invoke(cli, [*arguments, "--json"], catch_exceptions=False)
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def hits(home: Path, *arguments: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = run("search", *arguments, "--home", str(home))["hits"]
    for hit in found:
        assert sum(hit["modalities"].values()) == pytest.approx(hit["score"], abs=1e-6)
    return found


def test_ingest_ends_with_counts_that_add_up(home: Path, clips: list[SampleClip]) -> None:
    said = run("ingest", "--manifest", str(clips[0].path.with_name("manifest.jsonl")), "--home", str(home))
    assert said["videos"] + said["failures"] == said["uploads"] == 18
    assert said["videos"] == said["skipped"] == 16
    assert said["partial"] == said["pending"] == 0
    assert said["reasons"] == {"not_found": 1, "no_uri": 1}
    assert said["seconds"] > 0


def test_status_and_failures_say_where_everything_stands(home: Path) -> None:
    status = run("status", "--home", str(home))
    assert {name: status[name] for name in ("uploads", "videos", "failures", "partial", "pending")} == {
        "uploads": 19, "videos": 16, "failures": 3, "partial": 0, "pending": 0,
    }  # fmt: skip
    failures = {one["video_id"]: one for one in run("failures", "--home", str(home))}
    assert failures["gone"]["reason"] == "not_found"
    assert "line 17" in failures["gone"]["detail"]
    assert all(set(one) == {"video_id", "uri", "step", "reason", "detail", "attempts"} for one in failures.values())


def test_a_video_without_a_caption_is_found_by_what_is_seen_in_it(home: Path) -> None:
    found = [hit["video_id"] for hit in hits(home, "--text", "a cat", "-k", "2")]
    assert sorted(found) == ["cat-1", "cat-2"]


def test_a_video_is_like_the_other_of_its_kind_and_not_among_its_own_hits(home: Path) -> None:
    for kind in ("cat", "coffee", "rocket", "stars"):
        found = hits(home, "--video", f"{kind}-1", "-k", "15")
        assert found[0]["video_id"] == f"{kind}-2"
        assert f"{kind}-1" not in {hit["video_id"] for hit in found}


def test_a_file_that_is_not_in_the_library_is_a_query(home: Path, clips: list[SampleClip], tmp_path: Path) -> None:
    longer = tmp_path / "clip"  # the same pictures and sound, other bytes: a box that says nothing at the end
    original = next(clip for clip in clips if clip.video_id == "rocket-1").path.read_bytes()
    longer.write_bytes(original + b"\0\0\0\x10freeverymuch")
    assert {hit["video_id"] for hit in hits(home, "--file", str(longer), "-k", "2")} == {"rocket-1", "rocket-2"}


def test_a_file_whose_bytes_are_in_the_library_finds_itself(
    home: Path, clips: list[SampleClip], tmp_path: Path
) -> None:
    copy = tmp_path / "copy of a cat"
    copy.write_bytes(next(clip for clip in clips if clip.video_id == "cat-1").path.read_bytes())
    first = hits(home, "--file", str(copy))[0]
    assert first["video_id"] == "cat-1"
    assert first["score"] == pytest.approx(1.0, abs=1e-4)


def test_a_picture_is_a_query(home: Path) -> None:
    with Library.open(home) as library:
        video = library.show("coffee-1")
        assert not isinstance(video, Failure)
        picture = library.thumbnail(video)
    assert hits(home, "--file", str(picture))[0]["video_id"] == "coffee-1"


def test_a_filter_keeps_what_it_says(home: Path) -> None:
    found = hits(home, "--text", "a cat", "--where", "duration_s < 4.4 and creator_id != 'creator-1'", "-k", "16")
    assert found
    assert all(hit["duration_s"] < 4.4 and hit["creator_id"] != "creator-1" for hit in found)


def test_weights_decide_what_counts(home: Path) -> None:
    found = hits(home, "--video", "cat-1", "--weights", "vision=1")
    assert all(set(hit["modalities"]) == {"vision"} for hit in found)


def test_a_batch_answers_a_line_for_a_line(home: Path, tmp_path: Path) -> None:
    asked: list[Any] = [{"text": "a cat"}, {"video": "rocket-1"}, {"video": "nobody"}, {"file": "/nowhere.mp4"}]
    asked += [{"text": 5}, {}, 7, {"text": "a cat", "k": 1}, {"text": "a cat", "limit": 1}]
    batch = tmp_path / "asked.jsonl"
    batch.write_text("".join(json.dumps(one) + "\n" for one in asked) + "no JSON\n")
    result = CliRunner().invoke(cli, ["search", "--batch", str(batch), "-k", "3", "--home", str(home)])
    answers = [json.loads(line) for line in result.stdout.splitlines()]
    assert [len(answer["hits"]) for answer in answers] == [3, 3, 0, 0, 0, 0, 0, 1, 0, 0]
    for answer, word in zip(answers[2:7], ("nobody", "nowhere", "text", "one of", "object"), strict=True):
        assert word in answer["error"]
    assert "limit" in answers[8]["error"]
    assert "JSON" in answers[9]["error"]


def test_neighbours_of_all_videos_in_bulk(home: Path, tmp_path: Path) -> None:
    out = tmp_path / "neighbours.parquet"
    assert run("similar", "--all", "-k", "3", "--out", str(out), "--home", str(home))["videos"] == 16
    rows = pq.read_table(out).to_pylist()
    assert len(rows) == 16 * 3
    assert {row["neighbour_id"] for row in rows if row["video_id"] == "cat-2" and row["rank"] == 1} == {"cat-1"}
    for row in rows:
        assert sum(row[name] or 0 for name in ("vision", "text", "sound")) == pytest.approx(row["score"], abs=1e-5)


def test_show_prints_a_video_with_its_shapes(home: Path) -> None:
    result = CliRunner().invoke(cli, ["show", "cat-1", "--home", str(home)])
    assert "(96,) float32" in result.stdout
    shown = run("show", "cat-1", "--home", str(home))
    assert {name: vector["dim"] for name, vector in shown["vectors"].items()} == {
        "vision": 96, "text": 384, "sound": 32, "fused": 512,
    }  # fmt: skip
    assert run("show", "gone", "--home", str(home))["failure"]["reason"] == "not_found"


def test_an_export_reads_without_us(home: Path, tmp_path: Path) -> None:
    counts = run("export", "--out", str(tmp_path / "out"), "--home", str(home))
    assert counts == {"videos": 16, "failures": 3, "thumbnails": 16}
    assert pq.read_table(tmp_path / "out" / "videos.parquet").num_rows == 16
    assert len((tmp_path / "out" / "failures.jsonl").read_text().splitlines()) == 3


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["show", "nobody"], "no upload 'nobody'"),
        (["search", "--text", "x", "--where", "secret = 1"], "secret"),
        (["search", "--text", "x", "--space", "other"], "no space 'other'"),
        (["search", "--file", "/nowhere.mp4"], "nowhere.mp4"),
        (["ingest", "--manifest", "/nowhere.csv"], "nowhere.csv"),
        (["search", "--video", "cat-1", "--weights", "smell=1"], "smell"),
        (["search"], "one of --video, --file, --text, --batch is wanted"),
    ],
)
def test_what_a_user_can_mend_is_one_line_and_no_traceback(
    arguments: list[str], said: str, home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["firstlook", *arguments, "--home", str(home)])
    with pytest.raises(SystemExit) as ended:
        main()
    error = capsys.readouterr().err
    assert ended.value.code in (1, 2)
    assert said in error
    assert "Traceback" not in error


def test_asking_a_library_that_is_not_there_makes_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["firstlook", "status", "--home", str(tmp_path)])
    with pytest.raises(SystemExit):
        main()
    assert "no library at" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_limit_is_an_option_also_when_trying_again(clips: list[SampleClip], tmp_path: Path) -> None:
    home = str(tmp_path / "home")
    said = run("ingest", str(clips[0].path), "--home", home, "--max-duration", "1")
    assert said["reasons"] == {"too_long": 1}
    assert run("failures", "--retry", "--home", home)["videos"] == 1


def test_a_space_of_ones_own_choices_stands_beside_the_first(clips: list[SampleClip], tmp_path: Path) -> None:
    home = str(tmp_path / "home")
    run("ingest", str(clips[0].path), "--home", home)
    run("ingest", str(clips[0].path), "--home", home, "--without", "onscreen", "--sampling", "fast")
    spaces = run("status", "--home", home)["spaces"]
    assert [space.rpartition("-")[0] for space in spaces] == ["local", "local-fast"]
    shown = run("show", _only_id(home, spaces[1]), "--home", home, "--space", spaces[1])
    assert shown["mask"]["onscreen"] == "off:by_option"


def _only_id(home: str, space: str) -> str:
    with Library.open(home, space=space) as library:
        (video_id,) = library.home.table(library.space).ids()
    return video_id


def test_an_empty_library_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Library.open(tmp_path).close()
    monkeypatch.setattr(sys, "argv", ["firstlook", "search", "--text", "x", "--home", str(tmp_path)])
    with pytest.raises(SystemExit):
        main()
    assert "nothing was ingested" in capsys.readouterr().err


def test_ctrl_c_stops_cleanly_and_the_next_run_goes_on(clips: list[SampleClip], tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "service.cli",
        "ingest",
        str(clips[0].path.parent),
        "--home",
        str(tmp_path / "home"),
    ]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "uploads to work on" in line:
            break
    time.sleep(1)
    os.killpg(process.pid, signal.SIGINT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode in (0, 130), out
    assert "Traceback" not in out
    said = run("ingest", str(clips[0].path.parent), "--home", str(tmp_path / "home"))
    assert said["videos"] == 16
    assert said["pending"] == 0
