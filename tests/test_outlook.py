"""Leaving out what nobody wants must give the same clip, to the last bit; whatever is irregular is decoded whole."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from media import tone
from numpy.typing import NDArray

from ingest import decode_child
from ingest.decode_child import Refused, decode_file, decode_once
from ingest.decode_wire import Limits, Plan
from ingest.outlook import MAX_UNITS, Packets, Picture, Unforeseen, check_order, spare

PLAN = Plan(
    limits=Limits(),
    sampling="full",
    files=1,
    frame_count=16,
    short_side_px=224,
    long_side_max_px=672,
    text_frame_count=4,
    text_long_side_px=640,
    sample_rate_hz=16_000,
)
AVCC, HVCC = b"\1\0\0\0\3" + bytes(8), b"\1" + bytes(20) + b"\3" + bytes(8)

Answer = tuple[dict[str, Any], list[bytes]]


def pixels(part: Any) -> bytes:
    """Without what pads the lines: nobody writes there."""
    if isinstance(part, bytearray):
        return bytes(part)
    lines = np.frombuffer(part, np.uint8).reshape(-1, part.line_size)[: part.height, : part.width * 3]
    return lines.tobytes()


def answer(path: Path, *, whole: bool) -> Answer:
    """What the child would say, run here.

    Raises:
        Unforeseen: it has to be decoded whole.
    """
    fd = os.open(path, os.O_RDONLY)
    try:
        decoded = decode_once(fd, PLAN, whole=whole)
        return decoded.about, [pixels(part) for part in decoded.raw]
    finally:
        os.close(fd)


def draw(time_s: float, width: int = 128, height: int = 96) -> NDArray[np.uint8]:
    """Something that moves, grain included, and another scene after 1.5 s."""
    rng = np.random.default_rng(round(time_s * 1000) + 10_000)
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    turn = 1 if time_s < 1.5 else -1
    waves = [np.sin((x * turn + y * k + time_s * 60) / (9 + 4 * k)) for k in range(3)]
    picture = 128 + 90 * np.stack(waves, axis=-1) + rng.normal(0, 6, (height, width, 3))
    return picture.clip(0, 255).astype(np.uint8)


def write(
    path: Path,
    codec: str,
    options: dict[str, str],
    *,
    times_s: Sequence[float] = tuple(np.arange(80) / 25),
    size: tuple[int, int] = (128, 96),
    container: str = "mp4",
    container_options: dict[str, str] | None = None,
    sound: bool = False,
) -> Path:
    """Draw a video with an encoder's own options."""
    with av.open(str(path), "w", format=container, options=container_options or {}) as out:
        video = out.add_stream(codec, rate=25, options=options)
        video.width, video.height, video.pix_fmt = *size, "yuv420p"
        video.codec_context.time_base = Fraction(1, 1000)
        if sound:
            audio = out.add_stream("aac", rate=44_100)
            audio.codec_context.layout = "mono"
        for time_s in times_s:
            frame = av.VideoFrame.from_ndarray(draw(time_s, *size), format="rgb24")
            frame.pts, frame.time_base = round(time_s * 1000), Fraction(1, 1000)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        if sound:
            samples = av.AudioFrame.from_ndarray(tone(440, 3.3)[None], format="fltp", layout="mono")
            samples.sample_rate, samples.pts, samples.time_base = 44_100, 0, Fraction(1, 44_100)
            out.mux(audio.encode(samples))
            out.mux(audio.encode(None))
    return path


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Times of the frames that came out of the decoder, over all that a test decodes."""
    times_s: list[float] = []
    offer = decode_child._Pictures.offer

    def counted(self: Any, frame: av.VideoFrame) -> None:
        times_s.append(frame.time or 0.0)
        offer(self, frame)

    monkeypatch.setattr(decode_child._Pictures, "offer", counted)
    return times_s


X264 = {
    "as usual": "",
    "no pyramid": "b-pyramid=none:bframes=5:b-adapt=0",
    "pyramid": "b-pyramid=normal:bframes=7:b-adapt=0:ref=5",
    "strict pyramid": "b-pyramid=strict:bframes=4",
    "open groups": "open-gop=1:keyint=12:bframes=3",
    "short groups": "keyint=5:min-keyint=1:bframes=2",
    "slices": "slices=4:bframes=3",
    "one reference": "ref=1:bframes=3:weightp=0",
    "fades": "weightp=2:weightb=1:direct=temporal",
    "CAVLC": "cabac=0:bframes=3",
}
X265 = {
    "as usual": "",
    "pyramid": "bframes=8:b-adapt=0:b-pyramid=1",
    "no pyramid": "bframes=4:b-pyramid=0",
    "open groups": "keyint=12:min-keyint=12:open-gop=1",
    "closed groups": "keyint=12:min-keyint=12:open-gop=0",
    "leading pictures": "keyint=12:min-keyint=12:open-gop=0:radl=2:bframes=4",
}


@pytest.mark.parametrize(("shape", "container"), [*((shape, "mp4") for shape in X264), ("as usual", "matroska")])
def test_every_shape_of_h264_gives_the_same_clip(
    tmp_path: Path, shape: str, container: str, shown: list[float]
) -> None:
    path = write(tmp_path / "a", "libx264", {"x264-params": X264[shape]}, container=container, sound=True)
    partly = answer(path, whole=False)
    came = len(shown)
    assert partly == answer(path, whole=True)
    assert came < 75
    assert len(shown) == came + 80


@pytest.mark.parametrize("shape", X265)
def test_every_shape_of_hevc_gives_the_same_clip(tmp_path: Path, shape: str, shown: list[float]) -> None:
    path = write(tmp_path / "a", "libx265", {"x265-params": f"log-level=none:{X265[shape]}"})
    partly = answer(path, whole=False)
    assert len(shown) < 75
    assert partly == answer(path, whole=True)


@pytest.mark.parametrize("codec", ["libx264", "libx265"])
def test_temporal_layers_give_the_same_clip(tmp_path: Path, codec: str) -> None:
    """In HEVC, what its own layer does not refer to may still be referred to by a higher one."""
    options = {"x265-params": "log-level=none:temporal-layers=3:bframes=7:b-adapt=0", "bf": "7"}
    path = write(tmp_path / "a", codec, options)
    assert answer(path, whole=False) == answer(path, whole=True)


@pytest.mark.parametrize(
    "times_s",
    [
        pytest.param([*np.arange(0, 1, 0.02), *np.arange(1, 5, 0.2)], id="variable rate"),
        pytest.param(list(np.arange(80) / 25 + 0.7), id="late start"),
        pytest.param(list(np.arange(80) / 25 - 0.52), id="edit list"),
        pytest.param(list(np.cumsum(np.random.default_rng(3).uniform(0.01, 0.09, 80))), id="random"),
        pytest.param([0.0], id="one frame"),
        pytest.param([0.0, 1.0], id="two frames"),
        pytest.param(list(np.arange(17) / 25), id="hardly more than wanted"),
        pytest.param(list(np.arange(240) / 25), id="ten seconds"),
    ],
)
@pytest.mark.parametrize("size", [(96, 72), (704, 48)], ids=["small", "large"])
def test_times_and_facts_are_the_same(tmp_path: Path, times_s: list[float], size: tuple[int, int]) -> None:
    path = write(
        tmp_path / "a.mp4",
        "libx264",
        {"x264-params": "bframes=3:b-adapt=0", "preset": "ultrafast"},
        times_s=times_s,
        size=size,
        container_options={"avoid_negative_ts": "disabled"},
    )
    assert answer(path, whole=False) == answer(path, whole=True)


def test_what_an_edit_list_cuts_off_is_not_shown(tmp_path: Path) -> None:
    times_s = list(np.arange(80) / 25 - 0.52)
    options = {"avoid_negative_ts": "disabled"}
    path = write(tmp_path / "a.mp4", "libx264", {}, times_s=times_s, container_options=options)
    about, _ = answer(path, whole=False)
    assert about["facts"]["frame_count"] == 67


# What cannot be foretold


def unforeseen(path: Path) -> str:
    with pytest.raises(Unforeseen) as caught:
        answer(path, whole=False)
    return str(caught.value)


def in_full(path: Path) -> Answer:
    fd = os.open(path, os.O_RDONLY)
    try:
        decoded = decode_file(fd, PLAN)
        return decoded.about, [pixels(part) for part in decoded.raw]
    finally:
        os.close(fd)


@pytest.fixture
def unlimited(monkeypatch: pytest.MonkeyPatch) -> None:
    """`decode_file` gives a file its time again; here that would be this process."""
    monkeypatch.setattr(decode_child.sandbox, "limit_cpu", lambda seconds: None)


@pytest.mark.usefixtures("unlimited")
def test_a_damaged_reference_is_decoded_whole(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", "libx264", {"x264-params": "bframes=3:b-adapt=0:keyint=20"})
    with av.open(str(path)) as container:
        entry = [packet for packet in container.demux(video=0) if packet.is_keyframe][1]
        assert entry.pos is not None
        middle = entry.pos + entry.size // 2
    data = bytearray(path.read_bytes())
    data[middle : middle + 40] = bytes(40)
    path.write_bytes(data)
    unforeseen(path)
    assert in_full(path) == answer(path, whole=True)


def test_damage_in_a_picture_that_nobody_looks_at_is_not_noticed(tmp_path: Path) -> None:
    """The one thing that whole decoding would say and this does not; what is handed back is not touched by it."""
    path = write(tmp_path / "a.mp4", "libx264", {"x264-params": "bframes=3:b-adapt=0"})
    intact = answer(path, whole=False)
    chosen_ms = {round(time_s * 1000) for time_s in intact[0]["frame_times_s"]}
    data = bytearray(path.read_bytes())
    with av.open(str(path)) as container:
        headers = Packets("h264", container.streams.video[0].codec_context.extradata)
        for packet in container.demux(video=0):
            if not packet.size or packet.pts is None or packet.pos is None:
                continue
            idle = not headers.picture(memoryview(packet)).is_reference
            if idle and round(packet.pts * packet.time_base * 1000) not in chosen_ms:
                data[packet.pos + 6 : packet.pos + packet.size] = bytes(packet.size - 6)
    path.write_bytes(data)
    assert answer(path, whole=False) == intact
    assert answer(path, whole=True) != intact


@pytest.mark.usefixtures("unlimited")
def test_a_file_that_ends_early_is_decoded_whole(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", "libx264", {}, container_options={"movflags": "faststart"})
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    assert "ends early" in unforeseen(path)
    assert in_full(path) == answer(path, whole=True)


@pytest.mark.usefixtures("unlimited")
def test_a_file_in_fragments_is_the_same_clip(tmp_path: Path) -> None:
    options = {"movflags": "frag_keyframe+empty_moov"}
    path = write(tmp_path / "a.mp4", "libx264", {"x264-params": "keyint=10"}, container_options=options)
    assert in_full(path) == answer(path, whole=True)


@pytest.mark.usefixtures("unlimited")
def test_interlaced_pictures_are_the_same_clip(tmp_path: Path) -> None:
    path = write(tmp_path / "a.mp4", "libx264", {"x264-params": "tff=1:bframes=3"})
    assert in_full(path) == answer(path, whole=True)


@pytest.mark.parametrize("limits", [Limits(max_duration_s=1.5), Limits(max_frames=40)])
@pytest.mark.usefixtures("unlimited")
def test_what_is_beyond_a_limit_is_refused_in_the_same_words(tmp_path: Path, limits: Limits) -> None:
    path = write(tmp_path / "a.mkv", "libx264", {}, container="matroska", container_options={"live": "1"})
    said = []
    for decode in (decode_file, partial(decode_once, whole=True)):
        with path.open("rb") as file, pytest.raises(Refused) as caught:
            decode(file.fileno(), replace(PLAN, limits=limits))
        said.append(caught.value.args)
    assert said[0] == said[1]


@pytest.mark.parametrize(
    ("codec", "extradata"), [("vp9", AVCC), ("h264", b"\0\0\0\1gd"), ("h264", None), ("hevc", AVCC), ("h264", b"\1")]
)
def test_only_units_behind_lengths_are_read_ahead(codec: str, extradata: bytes | None) -> None:
    with pytest.raises(Unforeseen):
        Packets(codec, extradata)


def units(*contents: bytes) -> memoryview:
    return memoryview(b"".join(len(content).to_bytes(4, "big") + content for content in contents))


def test_h264_says_in_its_headers_what_is_referred_to() -> None:
    packets = Packets("h264", AVCC)
    message, delimiter = b"\x06\x05\1", b"\x09\xf0"
    assert packets.picture(units(message, b"\x65\x88\x84")) == Picture(is_entry=True, is_reference=True)
    assert packets.picture(units(delimiter, b"\x41\x9a\x00", b"\x41\x1a\x00")) == Picture(False, True)
    assert packets.picture(units(b"\x01\x9a\x00")) == Picture(is_entry=False, is_reference=False)


def test_hevc_says_in_its_headers_what_is_referred_to_in_which_layer() -> None:
    packets = Packets("hevc", HVCC)
    assert packets.picture(units(b"\x26\x01\x80")) == Picture(is_entry=True, is_reference=True)
    assert packets.picture(units(b"\x00\x03\x80")) == Picture(is_entry=False, is_reference=False, layer=2)
    assert packets.picture(units(b"\x02\x01\x80", b"\x02\x01\x00")) == Picture(False, True)


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(units(b"\x06\x05\1"), id="no picture"),
        pytest.param(units(b"\x41\x9a\0", b"\x41\x9a\0"), id="two pictures"),
        pytest.param(units(b"\x41\x9a\0", b"\x01\x1a\0"), id="half a reference"),
        pytest.param(units(b"\x42\x9a\0"), id="data partitions"),
        pytest.param(units(b"\x41\x9a\0", b"\x0a"), id="end of sequence"),
        pytest.param(memoryview(b"\0\0\0\x09\x41\x9a\0"), id="longer than it is"),
        pytest.param(memoryview(b"\0\0\0\3\x41\x9a\0\0\0"), id="something left"),
        pytest.param(memoryview(b""), id="nothing"),
        pytest.param(units(b"\x41\x9a\0", *[b"\x06\x05"] * MAX_UNITS), id="too many units"),
    ],
)
def test_packets_that_are_odd_are_not_read_ahead(packet: memoryview) -> None:
    with pytest.raises(Unforeseen):
        Packets("h264", AVCC).picture(packet)


@pytest.mark.parametrize(
    "packet",
    [
        pytest.param(units(b"\x26\x09\x80"), id="another layer"),
        pytest.param(units(b"\x20\x01\x80"), id="a broken link"),
        pytest.param(units(b"\x02\x01\x80", b"\x4a\x01"), id="end of bitstream"),
    ],
)
def test_odd_packets_of_hevc_are_not_read_ahead(packet: memoryview) -> None:
    with pytest.raises(Unforeseen):
        Packets("hevc", HVCC).picture(packet)


ENTRY, OTHER, IDLE = Picture(True, True), Picture(False, True), Picture(False, False)


def test_the_order_of_pictures_is_checked() -> None:
    assert check_order([0, 4, 2, 1, 3], [ENTRY, OTHER, OTHER, IDLE, IDLE], 2) == [0, 4, 2, 1, 3]
    for pts, depth in (([0, 4, 2, 1, 3], 1), ([0, None, 2], 2), ([0, 2, 2], 2), ([1, 0, 2], 2), ([], 2)):
        with pytest.raises(Unforeseen):
            check_order(pts, [ENTRY, *[OTHER] * len(pts)], depth)
    with pytest.raises(Unforeseen):
        check_order([0, 1], [OTHER, OTHER], 2)


def test_in_the_lower_layers_everything_may_be_referred_to() -> None:
    assert spare([ENTRY, IDLE, Picture(False, False, 1), Picture(False, True, 1)]) == [False, False, True, False]
    assert spare([ENTRY, IDLE]) == [False, True]
