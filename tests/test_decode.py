"""What comes out of files whose content is known, and the reason where nothing does."""

from __future__ import annotations

import io
import os
import socket
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from media import BLACK, BLUE, GREEN, RED, WHITE, Colour, plain, tone, write_media
from numpy.typing import NDArray
from PIL import Image

from ingest import sniff
from ingest.clip import LONG_SIDE_MAX_PX, SAMPLE_RATE_HZ, MediaError
from ingest.decode import FILES_PER_CHILD, DecodePool, picture_signals
from ingest.decode_wire import Limits
from ingest.slices import UNKNOWN_STEP_S, SlicePicker


@pytest.fixture(scope="module")
def pool() -> Iterator[DecodePool]:
    with DecodePool(1) as pool:
        yield pool


def red_then_blue(time_s: float) -> NDArray[np.uint8]:
    return plain(RED if time_s < 1 else BLUE)


def corner_marked(time_s: float) -> NDArray[np.uint8]:
    """Black, with a white field where "up left" is."""
    picture = plain(BLACK, 160, 120)
    picture[:40, :40] = WHITE
    return picture


def colour_of(frame: NDArray[np.uint8]) -> Colour:
    mean = frame.mean(axis=(0, 1))
    return min((RED, BLUE, GREEN, WHITE, BLACK), key=lambda colour: float(np.abs(mean - colour).sum()))


def reason_of(pool: DecodePool, path: Path) -> str:
    with pytest.raises(MediaError) as caught:
        pool.decode(path)
    return caught.value.reason


def frequency_hz(waveform: NDArray[np.float32]) -> float:
    spectrum = np.abs(np.fft.rfft(waveform * np.hanning(len(waveform))))
    return float(spectrum.argmax()) * SAMPLE_RATE_HZ / len(waveform)


# Pictures


def test_frames_are_those_on_the_screen_at_slice_middles(pool: DecodePool, tmp_path: Path) -> None:
    clip = pool.decode(write_media(tmp_path / "a.mp4", draw=red_then_blue, seconds=3.2, fps=20))
    assert clip.frames.shape == (16, 224, 299, 3)
    middles_s = (np.arange(16) + 0.5) * 3.2 / 16
    assert np.allclose(clip.frame_times_s, middles_s, atol=1 / 20)
    assert [colour_of(frame) for frame in clip.frames] == [RED if t < 1 else BLUE for t in clip.frame_times_s]
    assert clip.facts.frame_count == 64
    assert clip.facts.duration_s == pytest.approx(3.2, abs=0.01)
    assert clip.facts.fps == pytest.approx(20, rel=0.01)
    assert (clip.facts.video_codec, clip.facts.pixel_format) == ("h264", "yuv420p")
    assert not clip.facts.variable_frame_rate


def test_a_file_without_sound_has_an_empty_waveform(pool: DecodePool, tmp_path: Path) -> None:
    clip = pool.decode(write_media(tmp_path / "a.mp4", draw=red_then_blue))
    assert clip.waveform.shape == (0,)
    assert clip.facts.audio_codec is None


def test_fewer_frames_than_wanted_come_once_each(pool: DecodePool, tmp_path: Path) -> None:
    clip = pool.decode(write_media(tmp_path / "a.mp4", draw=red_then_blue, seconds=0.5, fps=10))
    assert len(clip.frames) == len(set(clip.frame_times_s)) == 5


@pytest.mark.parametrize("turn", [90, 180, 270])
def test_rotation_is_applied(pool: DecodePool, tmp_path: Path, turn: int) -> None:
    clip = pool.decode(write_media(tmp_path / "a.mp4", draw=corner_marked, rotation_deg=turn))
    upright = np.rot90(corner_marked(0), -turn // 90)
    height, width = upright.shape[:2]
    assert clip.facts.rotation_deg == turn
    assert (clip.facts.width, clip.facts.height) == (width, height)
    assert (clip.frames.shape[1] > clip.frames.shape[2]) == (height > width)
    seen = clip.frames[3].mean(axis=2) > 128
    wanted = upright.mean(axis=2) > 128
    rows, columns = np.linspace(5, 215, 9).astype(int), np.linspace(5, 215, 9).astype(int)
    for row in rows:
        for column in columns:
            assert seen[row, column] == wanted[row * height // seen.shape[0], column * width // seen.shape[1]]
    assert clip.text_frames.shape[1:3] == (height, width)


@pytest.mark.parametrize(
    ("width", "height", "wanted"),
    [(90, 160, (398, 224)), (160, 90, (224, 398)), (64, 64, (224, 224)), (640, 16, (224, LONG_SIDE_MAX_PX))],
)
def test_the_short_side_is_224_and_the_long_side_is_capped(
    pool: DecodePool, tmp_path: Path, width: int, height: int, wanted: tuple[int, int]
) -> None:
    path = write_media(tmp_path / "a.mp4", draw=lambda t: plain(GREEN, width, height), seconds=1)
    assert pool.decode(path).frames.shape[1:3] == wanted


def test_non_square_pixels_are_shown_as_wide_as_they_are(pool: DecodePool, tmp_path: Path) -> None:
    path = write_media(tmp_path / "a.mp4", draw=red_then_blue, pixel_aspect=Fraction(3, 2))
    clip = pool.decode(path)
    assert (clip.facts.width, clip.facts.height) == (240, 120)
    assert clip.frames.shape[1:3] == (224, 448)


@pytest.mark.parametrize(
    ("pixel_format", "width", "height"), [("yuv444p", 33, 27), ("yuv420p10le", 64, 48), ("yuv422p", 64, 49)]
)
def test_odd_sizes_and_ten_bits_are_pictures_too(
    pool: DecodePool, tmp_path: Path, pixel_format: str, width: int, height: int
) -> None:
    path = write_media(tmp_path / "a.mp4", draw=lambda t: plain(RED, width, height), pixel_format=pixel_format)
    clip = pool.decode(path)
    assert min(clip.frames.shape[1:3]) == 224
    assert {colour_of(frame) for frame in clip.frames} == {RED}
    assert clip.facts.pixel_format == pixel_format


def test_a_variable_rate_is_noticed_and_slices_are_in_seconds(pool: DecodePool, tmp_path: Path) -> None:
    times_s = [*np.arange(0, 1, 0.02), *np.arange(1, 5, 0.2)]
    path = write_media(tmp_path / "a.mp4", draw=red_then_blue, times_s=times_s, fps=50)
    clip = pool.decode(path)
    assert clip.facts.variable_frame_rate
    assert sum(t < 1 for t in clip.frame_times_s) == pytest.approx(16 / 5, abs=1)
    assert len(clip.frames) == 16


@pytest.mark.parametrize("container", ["matroska", "mpegts", "webm"])
def test_containers_that_do_not_say_how_long_they_are_work_too(
    pool: DecodePool, tmp_path: Path, container: str
) -> None:
    streamed = io.BytesIO()
    streamed.seekable = lambda: False  # type: ignore[method-assign]
    codec = {"webm": "libvpx"}.get(container, "libx264")
    with av.open(streamed, "w", format=container, options={"live": "1"} if container != "mpegts" else {}) as out:
        video = out.add_stream(codec, rate=20)
        video.width, video.height, video.pix_fmt = 160, 120, "yuv420p"
        for number in range(100):
            out.mux(video.encode(av.VideoFrame.from_ndarray(red_then_blue(number / 20), format="rgb24")))
        out.mux(video.encode(None))
    path = tmp_path / "live"
    path.write_bytes(streamed.getvalue())
    clip = pool.decode(path)
    assert clip.facts.frame_count == 100
    assert np.allclose(clip.frame_times_s, (np.arange(16) + 0.5) * 5 / 16, atol=0.16)
    assert [colour_of(frame) for frame in clip.frames] == [RED if t < 1 else BLUE for t in clip.frame_times_s]


def test_the_name_of_a_file_does_not_matter(pool: DecodePool, tmp_path: Path) -> None:
    path = write_media(tmp_path / "a.mp4", draw=red_then_blue).rename(tmp_path / "a.mp3")
    assert len(pool.decode(path).frames) == 16


def test_text_frames_are_large_and_differ(pool: DecodePool, tmp_path: Path) -> None:
    def draw(time_s: float) -> NDArray[np.uint8]:
        return plain((RED, GREEN, BLUE, WHITE)[int(time_s)], 1280, 720)

    clip = pool.decode(write_media(tmp_path / "a.mp4", draw=draw, seconds=4))
    assert clip.text_frames.shape == (4, 360, 640, 3)
    assert [colour_of(frame) for frame in clip.text_frames] == [RED, GREEN, BLUE, WHITE]


def test_a_picture_that_stands_still_is_read_once(pool: DecodePool, tmp_path: Path) -> None:
    clip = pool.decode(write_media(tmp_path / "a.mp4", draw=corner_marked))
    assert clip.text_frames.shape == (1, 120, 160, 3)


def test_a_new_caption_in_a_still_scene_is_another_text_frame(pool: DecodePool, tmp_path: Path) -> None:
    def draw(time_s: float) -> NDArray[np.uint8]:
        picture = plain(BLACK, 320, 240)
        for letter in range(40, 200, 12) if time_s < 1 else range(60, 260, 16):
            picture[200:216, letter : letter + 4] = WHITE
        return picture

    assert len(pool.decode(write_media(tmp_path / "a.mp4", draw=draw)).text_frames) == 2


def test_fast_sampling_gives_as_many_frames_from_fewer_decoded(tmp_path: Path) -> None:
    path = write_media(tmp_path / "a.mp4", draw=red_then_blue, seconds=4, fps=25)
    with DecodePool(1, sampling="fast") as fast:
        clip = fast.decode(path)
    assert len(clip.frames) == 16
    assert clip.facts.frame_count == 100
    assert {colour_of(frame) for frame in clip.frames} == {RED, BLUE}


def test_an_animated_gif_is_a_video_and_a_still_one_is_not(pool: DecodePool, tmp_path: Path) -> None:
    moving = write_media(tmp_path / "a.gif", draw=red_then_blue, codec="gif", pixel_format="rgb8", container="gif")
    assert len(pool.decode(moving).frames) == 16
    still = write_media(
        tmp_path / "b.gif", draw=red_then_blue, seconds=0.1, codec="gif", pixel_format="rgb8", container="gif"
    )
    assert reason_of(pool, still) == "still_image"


def test_signals_know_light_from_dark_and_motion_from_rest() -> None:
    frames = np.stack([plain(BLACK), plain(BLACK), plain(WHITE), corner_marked(0)])
    signals = picture_signals(frames)
    assert np.allclose(signals["brightness"], [0, 0, 1, 1 / 12], atol=1e-5)
    assert np.allclose(signals["motion"], [0, 0, 1, 11 / 12], atol=1e-5)
    assert signals["sharpness"][2] == pytest.approx(0, abs=1e-6)
    assert signals["sharpness"][3] > 0.05


# The pool


@pytest.mark.parametrize(("workers", "spare"), [(1, 0), (1, 1), (2, 0), (2, 3)])
def test_as_many_children_as_workers_and_spare_ones(workers: int, spare: int) -> None:
    with DecodePool(workers, spare=spare) as pool:
        assert len(pool.pids) == workers + spare


def test_without_a_spare_child_the_next_file_waits_for_the_new_one(tmp_path: Path) -> None:
    path = write_media(tmp_path / "a.mp4", draw=red_then_blue, seconds=0.2)
    with DecodePool(1, spare=0) as pool:
        first = pool.pids
        for _ in range(FILES_PER_CHILD):
            assert len(pool.decode(path).frames) == 2
        second = pool.pids
        assert len(pool.decode(path).frames) == 2
        assert second == pool.pids
    assert len(first) == len(second) == 1
    assert first != second


def test_less_than_no_spare_child_is_refused() -> None:
    with pytest.raises(ValueError, match="spare >= 0"):
        DecodePool(1, spare=-1)


# Sound


def test_a_tone_comes_back_as_it_was(pool: DecodePool, tmp_path: Path) -> None:
    clip = pool.decode(write_media(tmp_path / "a.m4a", sound=tone(440, 2.0)))
    assert clip.frames.shape[0] == 0
    assert clip.waveform.shape[0] == pytest.approx(2 * SAMPLE_RATE_HZ, rel=0.05)
    assert frequency_hz(clip.waveform) == pytest.approx(440, abs=1)
    assert float(np.sqrt((clip.waveform**2).mean())) == pytest.approx(0.5 / np.sqrt(2), rel=0.05)
    assert (clip.facts.audio_codec, clip.facts.audio_rate_hz, clip.facts.audio_channels) == ("aac", 44_100, 1)
    assert clip.facts.video_codec is None


@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 48_000, 192_000])
def test_any_rate_becomes_16_khz(pool: DecodePool, tmp_path: Path, rate_hz: int) -> None:
    path = write_media(
        tmp_path / "a.wav",
        sound=tone(1_000, 1.0, rate_hz),
        sound_rate_hz=rate_hz,
        sound_codec="pcm_s16le",
        container="wav",
    )
    clip = pool.decode(path)
    assert abs(len(clip.waveform) - SAMPLE_RATE_HZ) < 40
    assert frequency_hz(clip.waveform) == pytest.approx(1_000, abs=1.5)


def test_sound_that_is_no_number_is_silence(pool: DecodePool, tmp_path: Path) -> None:
    sound = np.full(16_000, np.nan, dtype=np.float32)
    path = write_media(tmp_path / "a.wav", sound=sound, sound_rate_hz=16_000, sound_codec="pcm_f32le", container="wav")
    assert not pool.decode(path).waveform.any()


def test_picture_and_sound_share_a_clock(pool: DecodePool, tmp_path: Path) -> None:
    sound = np.concatenate([np.zeros(44_100, dtype=np.float32), tone(440, 1.0)])
    clip = pool.decode(write_media(tmp_path / "a.mp4", draw=red_then_blue, fps=25, sound=sound))
    assert np.flatnonzero(np.abs(clip.waveform) > 0.1)[0] / SAMPLE_RATE_HZ == pytest.approx(1.0, abs=0.05)
    assert {colour_of(frame) for frame, t in zip(clip.frames, clip.frame_times_s, strict=True) if t < 0.95} == {RED}


def test_the_cover_of_a_record_is_not_a_video(pool: DecodePool, tmp_path: Path) -> None:
    cover = io.BytesIO()
    with av.open(cover, "w", format="mjpeg") as out:
        picture = out.add_stream("mjpeg", rate=1)
        picture.width, picture.height, picture.pix_fmt = 64, 64, "yuvj420p"
        out.mux(picture.encode(av.VideoFrame.from_ndarray(plain(RED, 64, 64), format="rgb24")))
        out.mux(picture.encode(None))
    path = tmp_path / "a.mp3"
    jpeg = cover.getvalue()
    body = b"\0image/jpeg\0\x03\0" + jpeg
    frame = b"APIC" + len(body).to_bytes(4, "big") + b"\0\0" + body
    size = len(frame)
    synchsafe = bytes((size >> shift) & 127 for shift in (21, 14, 7, 0))
    bare = write_media(tmp_path / "b.mp3", sound=tone(440, 1.0), sound_codec="libmp3lame", container="mp3")
    path.write_bytes(b"ID3\x03\0\0" + synchsafe + frame + bare.read_bytes())
    with av.open(str(path)) as container:
        assert [stream.type for stream in container.streams] == ["audio", "video"]
    clip = pool.decode(path)
    assert len(clip.frames) == 0
    assert frequency_hz(clip.waveform) == pytest.approx(440, abs=2)


# Files that are at fault


def test_a_truncated_file_is_a_clip_of_what_there_is_or_says_what_is_missing(pool: DecodePool, tmp_path: Path) -> None:
    noise = np.random.default_rng(0)
    path = write_media(
        tmp_path / "a.mkv",
        draw=lambda t: noise.integers(0, 256, (120, 160, 3), dtype=np.uint8),
        seconds=4,
        container="matroska",
    )
    whole = path.read_bytes()
    half = tmp_path / "half.mkv"
    half.write_bytes(whole[: len(whole) // 2])
    clip = pool.decode(half)
    assert 5 < clip.facts.frame_count < 35
    assert clip.facts.duration_s < 3.5
    assert len(clip.frames) == min(16, clip.facts.frame_count)
    head = tmp_path / "head.mkv"
    head.write_bytes(whole[:60])
    assert reason_of(pool, head) in {"broken_header", "no_streams"}


def test_an_mp4_that_lost_its_end_lost_its_index(pool: DecodePool, tmp_path: Path) -> None:
    path = write_media(tmp_path / "a.mp4", draw=red_then_blue)
    whole = path.read_bytes()
    path.write_bytes(whole[: whole.index(b"moov") - 4])
    assert reason_of(pool, path) == "moov_missing"
    path.write_bytes(whole[: whole.index(b"moov") + 200])
    assert reason_of(pool, path) == "truncated_header"


def test_an_mp4_whose_end_is_missing_says_that_it_ends_early(pool: DecodePool, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    noise = np.random.default_rng(0)
    with av.open(str(path), "w", options={"movflags": "faststart"}) as out:
        video = out.add_stream("libx264", rate=10)
        video.width, video.height, video.pix_fmt = 160, 120, "yuv420p"
        for _ in range(60):
            picture = noise.integers(0, 256, (120, 160, 3), dtype=np.uint8)
            out.mux(video.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        out.mux(video.encode(None))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    clip = pool.decode(path)
    assert clip.facts.truncated is not None
    assert "file_ends_early" in clip.facts.truncated
    assert clip.facts.declared_duration_s == pytest.approx(6, abs=0.1)
    assert clip.facts.duration_s < 4
    assert len(clip.frames) == 16


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty_file"),
        (b"Dear diary, today nothing moved.\n", "text_file"),
        ("Liebes Tagebuch: häßlich, 猫".encode(), "text_file"),
        (b"1\n00:00:01,000 --> 00:00:02,000\nHello\n", "text_file"),
        (b"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\nhttp://127.0.0.1:PORT/a.ts\n#EXT-X-ENDLIST\n", "playlist"),
        (b"ffconcat version 1.0\nfile 'http://127.0.0.1:PORT/a.ts'\n", "playlist"),
        (b'<?xml version="1.0"?>\n<MPD><BaseURL>http://127.0.0.1:PORT/</BaseURL></MPD>', "playlist"),
        (b"v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\nm=video PORT RTP/AVP 96\r\n", "playlist"),
        (b"\x89PNG\r\n\x1a\n" + bytes(40), "still_image"),
        (b"\xff\xd8\xff\xe0" + bytes(40), "still_image"),
        (b"RIFF\x00\x01\0\0WEBPVP8 " + bytes(40), "still_image"),
        (b"\0\0\0\x18ftypavif" + bytes(40), "still_image"),
        (b"PK\x03\x04" + bytes(range(256)), "not_media"),
        (b"RIFF\xff\xff\0\0WAVEfmt ", "broken_header"),
        (b"\0\0\0\x10ftypisom\0\0\0\0\0\0\0\x10mdat\0\0\0\0\0\0\0\0", "moov_missing"),
        (b"\0\0\0\x10ftypisom\0\0\0\0\0\1\0\x10moov", "truncated_header"),
    ],
)
def test_every_fault_has_its_own_reason_and_nobody_is_called(
    pool: DecodePool, tmp_path: Path, content: bytes, reason: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)
        port = str(listener.getsockname()[1]).encode()
        for name in ("a.mp4", "a.m3u8"):
            path = tmp_path / name
            path.write_bytes(content.replace(b"PORT", port))
            assert reason_of(pool, path) == reason
        with pytest.raises(TimeoutError):
            listener.accept()


def test_an_mp4_that_refers_to_another_file_does_not_get_it(pool: DecodePool, tmp_path: Path) -> None:
    secret = write_media(tmp_path / "secret.mp4", draw=red_then_blue)
    playlist = tmp_path / "list.txt"
    playlist.write_text(f"file '{secret}'\n")
    assert reason_of(pool, playlist) == "text_file"


def test_a_codec_that_is_not_on_the_list_is_not_decoded(pool: DecodePool, tmp_path: Path) -> None:
    path = write_media(tmp_path / "a.avi", draw=red_then_blue, codec="zmbv", pixel_format="bgr0", container="avi")
    assert reason_of(pool, path) == "unknown_codec"


def test_what_is_no_regular_file_is_not_waited_for(pool: DecodePool, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert reason_of(pool, tmp_path / "pipe") == "not_a_file"
    assert reason_of(pool, tmp_path) == "not_a_file"
    assert reason_of(pool, tmp_path / "absent") == "unreadable"


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (Limits(max_duration_s=1.5), "too_long"),
        (Limits(max_frames=15), "too_many_frames"),
        (Limits(max_pixels=160 * 120 - 1), "too_many_pixels"),
        (Limits(max_side_px=159), "too_many_pixels"),
        (Limits(max_streams=1), "too_many_streams"),
        (Limits(max_file_bytes=100), "too_many_bytes"),
    ],
)
@pytest.mark.parametrize("container", ["mp4", "mpegts"])
def test_what_is_beyond_a_limit_is_refused(tmp_path: Path, limits: Limits, reason: str, container: str) -> None:
    path = write_media(tmp_path / "a", draw=red_then_blue, sound=tone(440, 2.0), container=container)
    with DecodePool(1, limits) as strict:
        assert reason_of(strict, path) == reason


# Choosing


@given(
    frames=st.integers(1, 400),
    interval_s=st.floats(0.001, 3.0),
    declared=st.one_of(st.none(), st.floats(0.01, 100.0)),
)
def test_no_frame_is_chosen_twice_and_none_is_missing(frames: int, interval_s: float, declared: float | None) -> None:
    duration_s = frames * interval_s
    step_s = UNKNOWN_STEP_S if declared is None else declared * duration_s / 48
    kept = 0

    def keep(number: int) -> int:
        nonlocal kept
        kept += 1
        return number

    picker = SlicePicker(count=16, step_s=step_s, keep=keep)
    for number in range(frames):
        picker.offer(number * interval_s, number)
    chosen = [number for _, number in picker.finish(duration_s)]
    assert chosen == sorted(set(chosen))
    assert 1 <= len(chosen) <= 16
    if declared is None or declared <= 1:
        assert len(chosen) >= min(frames, 14)


@given(seconds=st.floats(2.0, 600.0), fps=st.sampled_from([24, 25, 29.97, 30, 50, 60]))
def test_with_the_length_known_only_what_is_wanted_is_resized(seconds: float, fps: float) -> None:
    kept: list[int] = []
    picker = SlicePicker(count=16, step_s=seconds / 16, keep=kept.append)
    for number in range(int(seconds * fps)):
        picker.offer(number / fps, number)
    picker.finish(seconds)
    assert len(kept) == 16


@pytest.mark.parametrize("head", [b"\0" * 8, b"\x1aE\xdf\xa3", bytes(range(256)) * 16])
def test_bytes_that_are_no_text_are_not_taken_for_text(head: bytes) -> None:
    assert sniff.text(head) is None


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF"])
def test_a_still_picture_is_no_upload_but_may_be_a_query(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "picture"
    Image.new("RGB", (64, 48), (200, 30, 30)).save(path, kind)
    with DecodePool() as pool, pytest.raises(MediaError, match="still_image"):
        pool.decode(path)
    with DecodePool(stills=True) as pool:
        clip = pool.decode(path)
    assert clip.frames.shape == (1, 224, 299, 3)
    assert abs(int(clip.frames[0, 100, 100, 0]) - 200) < 12


def test_a_child_is_told_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_AUTH_TOKEN", "a secret")
    monkeypatch.setenv("FIRSTLOOK_LEDGER_URL", "postgresql://user:password@host/ledger")
    with DecodePool(1) as pool:
        told = [Path(f"/proc/{pid}/environ").read_bytes() for pid in pool.pids]
    assert all(b"secret" not in one and b"password" not in one for one in told)
    assert all(b"PATH=" in one for one in told)
