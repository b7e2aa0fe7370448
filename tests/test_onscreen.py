"""Burnt-in text: the truth is what the test drew."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import skimage.data
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from encoders import onscreen
from encoders.onscreen import Line, OnScreenText, Reading, may_have_text

Frames = NDArray[np.uint8]

PHOTOGRAPHS = (
    "astronaut.png", "brick.png", "camera.png", "cell.png", "chelsea.png", "coffee.png", "coins.png", "color.png",
    "grass.png", "gravel.png", "horse.png", "hubble_deep_field.jpg", "ihc.png", "moon.png", "motorcycle_left.png",
    "retina.jpg", "rocket.jpg",
)  # fmt: skip
"""The photographs inside the package of scikit-image that are not about text."""


def photograph(name: str) -> Frames:
    """A photograph as a portrait frame, (640, 360, 3)."""
    with Image.open(Path(skimage.data.__file__).parent / name) as image:
        return np.array(image.convert("RGB").resize((360, 640)))


def plain(level: int = 60) -> Frames:
    """A soft gradient, (640, 360, 3)."""
    across = np.linspace(level, level + 60, 360)
    return np.broadcast_to(across[None, :, None], (640, 360, 3)).astype(np.uint8)


def caption(frame: Frames, text: str, *, top: int = 480, left: int = 20, size: int = 28) -> Frames:
    """White letters with a black outline, as short videos have them."""
    image = Image.fromarray(frame)
    font = ImageFont.load_default(size)
    ImageDraw.Draw(image).text((left, top), text, font=font, fill="white", stroke_width=2, stroke_fill="black")
    return np.array(image)


@pytest.fixture(scope="module")
def reader() -> OnScreenText:
    return OnScreenText(threads=1)


@pytest.mark.parametrize("text", ["Sunday morning run", "POV: your first coffee", "Step 3 of 12", "SALE 50% OFF!"])
@pytest.mark.parametrize("background", ["astronaut.png", "coffee.png", "rocket.jpg"])
def test_a_caption_on_a_photograph_is_read(reader: OnScreenText, background: str, text: str) -> None:
    [reading] = reader.read([caption(photograph(background), text)[None]])
    [line] = [line for line in reading.lines if line.box[1] > 0.7]
    assert (line.text.replace(" ", ""), line.frames) == (text.replace(" ", ""), (0,))
    assert line.confidence > 0.9


def test_the_box_says_where_the_caption_stands(reader: OnScreenText) -> None:
    [reading] = reader.read([caption(plain(), "Sunday morning", top=320, left=90)[None]])
    [line] = reading.lines
    left, top, right, bottom = line.box
    assert left == pytest.approx(90 / 360, abs=0.03)
    assert top == pytest.approx(325 / 640, abs=0.02)
    assert 0.7 < right < 0.95
    assert 0.52 < bottom < 0.58


def test_lines_come_from_top_to_bottom_and_from_left_to_right(reader: OnScreenText) -> None:
    frame = caption(caption(plain(), "third line", top=500), "first", top=60)
    frame = caption(frame, "second", top=62, left=200)
    [reading] = reader.read([frame[None]])
    assert reading.text == "first\nsecond\nthird line"


def test_a_plain_picture_is_skipped_and_says_nothing(reader: OnScreenText) -> None:
    [reading] = reader.read([np.stack([plain(20), plain(120)])])
    assert reading == Reading(lines=(), frames_read=0, frames_skipped={"no_text_seen": 2}, lines_dropped={})
    assert reading.text == ""


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_a_photograph_without_text_says_nothing(reader: OnScreenText, name: str) -> None:
    [reading] = reader.read([photograph(name)[None]])
    assert reading.text == ""


def test_the_look_lets_captions_of_all_sizes_through_and_some_photographs_not() -> None:
    def look(frame: Frames) -> bool:
        return may_have_text(np.array(Image.fromarray(frame).convert("L")))

    sizes = [(12, "Sunday morning"), (18, "Sunday morning"), (28, "Sunday morning"), (60, "GO NOW"), (100, "GO")]
    seen = [
        look(caption(photograph(name), text, size=size, top=top))
        for name in PHOTOGRAPHS
        for size, text in sizes
        for top in (40, 400)
    ]
    assert np.mean(seen) >= 0.99
    assert np.mean([look(photograph(name)) for name in PHOTOGRAPHS]) <= 0.8


@pytest.mark.parametrize("size", [(1, 1), (1, 640), (640, 2), (3, 3), (16, 16), (40, 640)])
def test_a_picture_of_any_size_can_be_read(reader: OnScreenText, size: tuple[int, int]) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (2, *size, 3)).astype(np.uint8)
    [reading] = reader.read([noise])
    assert reading.frames_read + sum(reading.frames_skipped.values()) == 2


@pytest.mark.parametrize("moving", [False, True])
def test_a_caption_over_three_frames_is_one_line(reader: OnScreenText, moving: bool) -> None:
    background = photograph("chelsea.png")
    frames = [np.roll(background, 40 * n * moving, axis=1) for n in range(3)]
    for n, frame in enumerate(frames):
        frame[:80] = 60 * n  # something changes, so that no frame is a duplicate
    [reading] = reader.read([np.stack([caption(frame, "Sunday morning") for frame in frames])])
    assert [(line.text.casefold(), line.frames) for line in reading.lines] == [("sunday morning", (0, 1, 2))]
    assert reading.frames_read == 3


def test_captions_that_follow_each_other_are_all_read(reader: OnScreenText) -> None:
    texts = ["First the flour", "Then the butter", "Step 1", "Step 2"]
    [reading] = reader.read([np.stack([caption(plain(), text) for text in texts])])
    assert reading.text.splitlines() == texts


def test_a_duplicate_frame_is_not_read_again(reader: OnScreenText) -> None:
    frame = caption(photograph("chelsea.png"), "Sunday morning")
    noisy = np.clip(frame.astype(np.int16) + np.random.default_rng(0).integers(-6, 7, frame.shape), 0, 255)
    [reading] = reader.read([np.stack([frame, noisy.astype(np.uint8)])])
    assert (reading.frames_read, reading.frames_skipped) == (1, {"duplicate": 1})


def test_frames_over_the_budget_are_counted(reader: OnScreenText) -> None:
    frames = [caption(plain(), text) for text in ("one", "two", "three", "four", "five", "six")]
    [reading] = reader.read([np.stack(frames)])
    assert (reading.frames_read, reading.frames_skipped) == (4, {"budget": 2})
    assert reading.text.splitlines() == ["one", "two", "three", "four"]


def test_of_too_many_lines_the_largest_are_read(reader: OnScreenText, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = plain()
    for n, word in enumerate(("apple", "banana", "cherry", "damson")):
        frame = caption(frame, word, top=40 + 60 * n, size=14)
    frame = caption(frame, "FRUIT", top=400, size=50)
    monkeypatch.setattr(onscreen, "LINES_MAX", 1)
    [reading] = reader.read([frame[None]])
    assert (reading.text, reading.lines_dropped) == ("FRUIT", {"budget": 4})


def videos() -> list[Frames]:
    return [
        caption(photograph("coffee.png"), "fresh every day")[None],
        plain()[None],
        np.stack([caption(photograph("chelsea.png"), text) for text in ("a cat", "it looks at you, doesn't it?")]),
        np.empty((0, 640, 360, 3), np.uint8),
        caption(np.ascontiguousarray(photograph("moon.png")[:270, :203]), "far out", top=100, size=20)[None],
    ]


def test_a_video_is_read_alike_alone_in_company_and_in_many_threads(reader: OnScreenText) -> None:
    alone = [reader.read([video])[0] for video in videos()]
    assert reader.read(videos()) == alone
    with ThreadPoolExecutor(4) as pool:
        assert all(result == alone for result in pool.map(reader.read, [videos()] * 4))
    assert OnScreenText(threads=2).read(videos()) == alone
    assert [bool(reading.text) for reading in alone] == [True, False, True, False, True]


@pytest.mark.parametrize("wrong", [np.zeros((64, 64, 3), np.uint8), np.zeros((1, 64, 64, 3), np.float32)])
def test_frames_of_another_shape_or_type_are_refused(reader: OnScreenText, wrong: Any) -> None:
    with pytest.raises(ValueError, match=r"want \(n, h, w, 3\) uint8"):
        reader.read([wrong])


def test_a_caption_that_is_typed_out_counts_once_and_whole() -> None:
    def line(text: str, frame: int, confidence: float = 0.9) -> Line:
        return Line(text=text, confidence=confidence, frames=(frame,), box=(0, 0, 1, 0.1))

    typed = [line("Wait f", 0), line("Wait for i", 1), line("Wait for it", 2), line("Wait tor it", 3, 0.99)]
    [whole] = onscreen._merged(typed[:3])
    assert (whole.text, whole.frames) == ("Wait for it", (0, 1, 2))
    [surest] = onscreen._merged(typed[2:])
    assert (surest.text, surest.frames) == ("Wait tor it", (2, 3))


def test_it_starts_and_reads_without_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("somebody opened a socket")

    monkeypatch.setattr(socket, "socket", refuse)
    assert OnScreenText().read([caption(plain(), "no network")[None]])[0].text == "no network"
    assert "rapidocr" not in sys.modules


def test_importing_it_loads_no_engine() -> None:
    code = "import sys, encoders.onscreen; print({'openvino', 'onnxruntime', 'torch', 'rapidocr'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_the_spec_is_plain_json_and_names_every_threshold(
    reader: OnScreenText, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = reader.spec()
    assert json.loads(json.dumps(spec)) == spec
    monkeypatch.setattr(onscreen, "BOX_MIN", 0.9)
    assert {name for name, value in reader.spec().items() if value != spec[name]} == {"box_min"}


@pytest.mark.data
def test_chinese_is_read() -> None:
    folder = os.environ.get("FIRSTLOOK_BENCH_DATA")
    if not folder:
        pytest.skip("FIRSTLOOK_BENCH_DATA names no folder")
    picture = Path(folder, "open", "ocr", "multilingual", "check_return_word_len.jpeg")
    if not picture.is_file():
        pytest.skip(f"no {picture}")
    with Image.open(picture) as image:
        [reading] = OnScreenText().read([np.array(image.convert("RGB"))[None]])
    assert {"抵押登记", "解除抵押登记"} <= set(reading.text.splitlines())
