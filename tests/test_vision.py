"""What the eye must do: say what it sees, see each video by itself, and never load torch once it has its network."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from encoders.constants import class_names, imagenet
from encoders.models import package_file
from encoders.vision import TAG_MIN_PROBABILITY, Vision, square_crops, weights_path

Frames = NDArray[np.uint8]


def photograph(name: str) -> Frames:
    """A photograph that scikit-image carries, as a video of three equal frames with a short side of 224."""
    image = Image.open(package_file("skimage", "data", name)).convert("RGB")
    scale = 224 / min(image.size)
    image = image.resize((max(224, round(image.width * scale)), max(224, round(image.height * scale))))
    return np.stack([np.asarray(image)] * 3)


@pytest.fixture(scope="module")
def vision() -> Vision:
    return Vision(threads=2)


@pytest.fixture(scope="module")
def videos() -> list[Frames]:
    noise = np.random.default_rng(0).integers(0, 256, (2, 398, 224, 3), dtype=np.uint8)
    return [photograph("chelsea.png"), photograph("coffee.png"), noise, photograph("rocket.jpg")[:1]]


def test_a_cat_is_a_cat_and_a_cup_is_a_cup(vision: Vision, videos: list[Frames]) -> None:
    _, probabilities = vision.encode(videos)
    cat, coffee = vision.tags(probabilities)[:2]
    assert {name for name, _ in cat} <= {"Egyptian cat", "tiger cat", "tabby"}
    assert coffee[0][0] == "espresso"


def test_tags_come_most_probable_first_and_an_unsure_eye_says_nothing(vision: Vision) -> None:
    probabilities = np.full((2, 1000), 0.5 / 998, np.float32)
    probabilities[0, [3, 7]] = 0.2, 0.3
    probabilities[1] = 0.001
    sure, unsure = vision.tags(probabilities)
    assert [name for name, _ in sure] == [class_names()[7], class_names()[3]]
    assert [chance for _, chance in sure] == pytest.approx([0.3, 0.2])
    assert unsure == []
    assert TAG_MIN_PROBABILITY > 0.001


def test_rows_are_unit_and_probabilities_add_up_to_one(vision: Vision, videos: list[Frames]) -> None:
    rows, probabilities = vision.encode(videos)
    assert rows.shape == (4, vision.dim)
    assert probabilities.shape == (4, 1000)
    assert rows.dtype == probabilities.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)


def test_a_row_does_not_depend_on_its_neighbours(vision: Vision, videos: list[Frames]) -> None:
    together, chances_together = vision.encode(videos)
    for number, video in enumerate(videos):
        alone, chances_alone = vision.encode([video])
        np.testing.assert_allclose(alone[0], together[number], atol=1e-5)
        np.testing.assert_allclose(chances_alone[0], chances_together[number], atol=1e-5)


def test_many_threads_may_look_at_once(vision: Vision, videos: list[Frames]) -> None:
    expected, _ = vision.encode(videos)
    with ThreadPoolExecutor(6) as pool:
        for rows, _ in pool.map(lambda _: vision.encode(videos), range(12)):
            np.testing.assert_array_equal(rows, expected)


def test_nothing_in_is_nothing_out(vision: Vision) -> None:
    rows, probabilities = vision.encode([])
    assert rows.shape == (0, vision.dim)
    assert vision.tags(probabilities) == []


@pytest.mark.parametrize("shape", [(0, 224, 224, 3), (1, 100, 300, 3), (1, 224, 224, 4), (224, 224, 3)])
def test_frames_of_another_shape_are_refused(vision: Vision, shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="short side of 224"):
        vision.encode([np.zeros(shape, np.uint8)])


@pytest.mark.parametrize("axis", [1, 2])
def test_squares_are_cut_at_the_middle_the_start_and_the_end_in_turn(axis: int) -> None:
    shape = [4, 224, 224, 3]
    shape[axis] = 251
    place = np.arange(251, dtype=np.uint8).reshape([-1 if number == axis else 1 for number in range(4)])
    crops = square_crops(np.broadcast_to(place, shape))
    assert [crop.shape for crop in crops] == [(1, 224, 224, 3)] * 4
    assert [int(crop.min()) for crop in crops] == [13, 0, 27, 13]


def test_the_engine_agrees_with_torch(vision: Vision, videos: list[Frames]) -> None:
    import torch

    from encoders.convert import Eye

    crops = [crop for video in videos for crop in square_crops(video)]
    with torch.no_grad():
        features, logits = Eye(weights_path()).eval()(torch.from_numpy(np.concatenate(crops)))
    for eye, least in ((Vision(precision="fp32"), 0.99999), (vision, 0.998)):
        ours, probabilities = eye.look(crops)
        likeness = torch.nn.functional.cosine_similarity(torch.from_numpy(ours), features)
        assert float(likeness.mean()) >= least, eye.precision
        assert float((torch.from_numpy(probabilities) - logits.softmax(dim=1)).abs().max()) < 0.1


def test_the_projection_is_that_of_the_weights() -> None:
    from encoders.constants.make import projection
    from encoders.models import torch_checkpoint

    classifier = torch_checkpoint(weights_path())["_fc.weight"].double().numpy()
    np.testing.assert_allclose(imagenet()["projection"], projection(classifier, Vision.dim), atol=1e-3)


def test_a_spec_is_plain_json_and_tells_precisions_apart(vision: Vision) -> None:
    assert json.loads(json.dumps(vision.spec())) == vision.spec()
    assert Vision(precision="fp32").spec() != Vision(precision="bf16").spec()


def test_an_unknown_precision_and_no_threads_are_refused() -> None:
    with pytest.raises(ValueError, match="precision wants one of"):
        Vision(precision="int3")
    with pytest.raises(ValueError, match="at least one thread"):
        Vision(threads=0)


def test_a_start_with_converted_networks_loads_neither_torch_nor_transformers(vision: Vision) -> None:
    code = (
        "import sys, encoders.vision, encoders.text; light = 'openvino' not in sys.modules;"
        "encoders.vision.Vision(), encoders.text.Text().encode(['a']);"
        "print(light, sorted({'torch', 'transformers', 'torchvision'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[1], capture_output=True, text=True)
    assert done.stdout.strip() == "True []", done.stderr


def tiny_network(_: Path) -> object:
    import openvino
    from openvino import opset13

    x = opset13.parameter([1], np.float32, name="x")
    return openvino.Model([opset13.add(x, np.ones(1, np.float32))], [x], "tiny")


def test_of_many_that_want_a_network_one_converts_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from encoders import convert
    from encoders.models import Network

    calls: list[Path] = []

    def counted(weights: Path) -> object:
        calls.append(weights)
        return tiny_network(weights)

    builders: dict[str, Callable[[Path], object]] = {"tiny": counted}
    monkeypatch.setattr(convert, "NETWORKS", builders)
    folder = tmp_path / "cache" / "tiny-1234"
    (tmp_path / "cache" / "tiny-1234.part").mkdir(parents=True)
    (tmp_path / "cache" / "tiny-1234.part" / "network.xml").write_text("torn by a kill")
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: convert.convert("tiny", tmp_path / "weights", folder), range(4)))
    assert len(calls) == 1
    network = Network(folder / "network.xml", threads=1, precision="fp32")
    assert [float(y[0]) for (y,) in network.map([(np.array([4.0], np.float32),)])] == [5.0]


def test_a_conversion_that_fails_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from encoders.models import CACHE_VARIABLE, converted

    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    (tmp_path / "weights").write_bytes(b"not a checkpoint")
    with pytest.raises(RuntimeError, match="converting efficientnet_lite0 ended with 1"):
        converted("efficientnet_lite0", tmp_path / "weights")
    assert not list(tmp_path.glob("*/network.xml"))


@pytest.mark.long
def test_two_threads_may_be_the_first_to_look() -> None:
    """3 of 25 such starts hung for ever before the bindings were settled first."""
    program = (
        "import threading, numpy as np\n"
        "from encoders.vision import Vision\n"
        "vision, frames = Vision(threads=2), np.zeros((4, 224, 224, 3), np.uint8)\n"
        "threads = [threading.Thread(target=vision.encode, args=([frames],)) for _ in range(2)]\n"
        "[thread.start() for thread in threads]; [thread.join() for thread in threads]\n"
    )
    for _ in range(40):
        subprocess.run([sys.executable, "-c", program], timeout=60, check=True)
