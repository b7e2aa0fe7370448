"""What was drawn is what a decoder reads back."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from ingest.samples import FIRST_UPLOAD, SCENES, SOUND_RATE_HZ, SampleClip, _plan, draw_samples
from ingest.uploads import Source, discover

COUNT = 16  # two of each kind: with sound and without a caption, with and without burnt-in text


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[SampleClip]:
    return draw_samples(tmp_path_factory.mktemp("samples"), COUNT)


@pytest.fixture(scope="module")
def plan() -> list[SampleClip]:
    return [_plan(Path("samples"), number, 7) for number in range(48)]


def frame_at(path: Path, share: float) -> NDArray[np.float64]:
    with av.open(str(path)) as file:
        frames = list(file.decode(video=0))
    return frames[int(share * len(frames))].to_ndarray(format="rgb24").astype(float)


def likeness(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    return float(np.corrcoef(a.ravel(), b.ravel())[0, 1])


def test_eight_kinds_of_six_clips_each_with_an_id_of_its_own(plan: list[SampleClip]) -> None:
    assert Counter(clip.label for clip in plan) == {scene.label: 6 for scene in SCENES}
    assert len(SCENES) == 8
    assert len({clip.video_id for clip in plan}) == len({clip.path for clip in plan}) == 48


def test_clips_are_portrait_and_four_to_ten_seconds_long(plan: list[SampleClip]) -> None:
    for clip in plan:
        assert clip.width < clip.height
        assert clip.width % 2 == clip.height % 2 == 0
        assert 4 <= clip.duration_s <= 10
        assert 24 <= clip.fps <= 30
    assert len({(clip.width, clip.fps) for clip in plan}) >= 6


def test_some_say_nothing_some_are_silent_some_are_written_on_and_two_are_copies(plan: list[SampleClip]) -> None:
    for scene in SCENES:
        some = [clip for clip in plan if clip.label == scene.label]
        assert sum(not clip.caption for clip in some) == 2
        assert sum(bool(clip.burnt_text) for clip in some) == 1
    assert sum(clip.sound_id is None for clip in plan) >= 6
    assert [clip.near_copy_of for clip in plan if clip.near_copy_of] == ["cat-1", "rocket-1"]
    assert {clip.language for clip in plan} >= {"en", "zh", "ru", "es", "hi", "ja", None}


def test_burnt_in_text_is_said_nowhere_else(plan: list[SampleClip]) -> None:
    said = " ".join(clip.caption.lower() for clip in plan)
    for clip in plan:
        assert not clip.burnt_text or clip.burnt_text.lower().replace("\n", " ") not in said


def test_a_decoder_reads_back_what_was_planned(clips: list[SampleClip]) -> None:
    for clip in clips:
        with av.open(str(clip.path)) as file:
            video = file.streams.video[0]
            assert video.codec_context.name == "h264"
            assert (video.width, video.height) == (clip.width, clip.height)
            assert video.average_rate == clip.fps
            times_s = [frame.time for frame in file.decode(video)]
        assert len(times_s) == clip.frame_count
        assert times_s == pytest.approx([number / clip.fps for number in range(clip.frame_count)], abs=1e-3)


def test_sound_is_as_long_as_the_picture_and_not_clipped(clips: list[SampleClip]) -> None:
    for clip in clips:
        with av.open(str(clip.path)) as file:
            assert file.streams.audio[0].codec_context.name == "aac"
            heard = np.concatenate([frame.to_ndarray()[0] for frame in file.decode(audio=0)])
        assert len(heard) / SOUND_RATE_HZ == pytest.approx(clip.duration_s, abs=0.1)
        assert 0.2 < np.abs(heard).max() < 0.9


def test_a_silent_clip_has_no_sound_stream(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hushed = tuple(replace(scene, takes=(replace(scene.takes[0], silent=True),)) for scene in SCENES[-1:])
    monkeypatch.setattr("ingest.samples.SCENES", hushed)
    [clip] = draw_samples(tmp_path, 1)
    with av.open(str(clip.path)) as file:
        assert clip.sound_id is None
        assert not file.streams.audio


def test_pictures_move_and_no_two_clips_look_the_same(clips: list[SampleClip]) -> None:
    for clip in clips:
        assert likeness(frame_at(clip.path, 0.1), frame_at(clip.path, 0.9)) < 0.995
    for one, other in zip(clips[: len(SCENES)], clips[len(SCENES) :], strict=True):
        if (one.width, one.height) == (other.width, other.height):
            assert likeness(frame_at(one.path, 0.5), frame_at(other.path, 0.5)) < 0.98


def test_a_copy_is_its_original_inside_black_bars(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cat = next(scene for scene in SCENES if scene.label == "cat")
    monkeypatch.setattr("ingest.samples.SCENES", (replace(cat, takes=(cat.takes[0], cat.takes[5])),))
    original, copy = draw_samples(tmp_path, 2)
    assert copy.near_copy_of == original.video_id
    assert (copy.fps, copy.frame_count) == (original.fps, original.frame_count)
    barred, whole = frame_at(copy.path, 0.5), frame_at(original.path, 0.5)
    bar = copy.height // 10 - 8
    assert barred[:bar].mean() < 5
    inner = barred[copy.height // 10 : -copy.height // 10, copy.width // 10 : -copy.width // 10]
    rows = np.linspace(0, whole.shape[0] - 1, inner.shape[0]).astype(int)
    columns = np.linspace(0, whole.shape[1] - 1, inner.shape[1]).astype(int)
    assert likeness(inner, whole[rows][:, columns]) > 0.95


def test_the_same_seed_draws_the_same_bytes_and_another_seed_others(tmp_path: Path, clips: list[SampleClip]) -> None:
    for clip, again in zip(clips, draw_samples(tmp_path / "again", 8), strict=False):
        assert again.path.read_bytes() == clip.path.read_bytes()
    [other] = draw_samples(tmp_path / "other", 1, seed=8)
    assert other.path.read_bytes() != clips[0].path.read_bytes()


def test_the_manifest_says_what_was_drawn(clips: list[SampleClip]) -> None:
    manifest = clips[0].path.parent / "manifest.jsonl"
    found = list(discover([], manifest))
    assert len(found) == COUNT
    for clip, source in zip(clips, found, strict=True):
        assert isinstance(source, Source)
        assert (source.path, source.video_id, source.caption) == (clip.path, clip.video_id, clip.caption)
        assert (source.hashtags, source.sound_id, source.language) == (clip.hashtags, clip.sound_id, clip.language)
        assert source.extra["label"] == clip.label
        assert source.uploaded_at == clip.uploaded_at
    assert clips[0].uploaded_at == FIRST_UPLOAD
    rows = [json.loads(line) for line in manifest.read_text().splitlines()]
    assert [row["uri"] for row in rows] == [clip.path.name for clip in clips]


def test_clips_are_small(clips: list[SampleClip]) -> None:
    assert sum(clip.path.stat().st_size for clip in clips) / len(clips) < 15e6 / 48
