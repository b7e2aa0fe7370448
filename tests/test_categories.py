"""A video's category is what its caller says, else what its words say, else nothing that anybody would rely on."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from encoders.constants import class_names
from encoders.text import Text
from recommend.categories import CATEGORIES, CODES, OTHER, THRESHOLD, Prototypes, given
from recommend.category_words import HASHTAGS, PHRASES, SEEN

BENCH = Path(__file__).parent.parent / "bench" / "categories.py"


@cache
def text() -> Text:
    return Text()


@cache
def prototypes() -> Prototypes:
    return Prototypes.of(text().encode)


def names(
    captions: Sequence[str | None], hashtags: Sequence[Sequence[str]], tags: Sequence[Sequence[str]] | None = None
) -> list[str]:
    rows = np.full((len(captions), Text.dim), np.nan, np.float32)
    said = [number for number, caption in enumerate(captions) if caption]
    if said:
        rows[said] = text().encode([str(captions[number]) for number in said])
    return [CATEGORIES[code] for code in prototypes().classify(rows, hashtags, tags)[0]]


def test_what_the_caller_says_counts_and_an_unknown_word_is_told_the_known_ones() -> None:
    assert given({"category": " Food "}) == CODES["food"]
    assert given({"category": ""}) is None
    assert given({"category": None}) is None
    assert given({"other": 1}) is None
    for wrong in ("foods", 3, ["food"]):
        with pytest.raises(ValueError, match=r"dance, comedy, education, food, .*, other; got"):
            given({"category": wrong})


def test_captions_that_nobody_could_mistake_are_not() -> None:
    said = {
        "My puppy learned to fetch today": "animals",
        "Easy chocolate cake recipe, no oven": "food",
        "Best goals of the football season": "sports",
        "Minecraft survival, building my first base": "gaming",
        "Everyday makeup look in five minutes": "beauty",
        "Guitar cover of my favourite song": "music",
        "Learning a salsa dance routine": "dance",
        "Travel diary: a week in the mountains of Peru": "travel",
    }
    assert names(list(said), [()] * len(said)) == list(said.values())


def test_hashtags_speak_where_the_encoder_cannot_read() -> None:
    assert names([None] * 5, [("猫", "萌宠"), ("кофе",), ("fútbol",), ("旅行", "fyp"), ("搞笑",)]) == [
        "animals", "food", "sports", "travel", "comedy",
    ]  # fmt: skip


def test_what_is_seen_adds_to_what_is_said_and_names_nothing_alone() -> None:
    assert names([None] * 3, [()] * 3, [("Egyptian cat", "tabby"), ("espresso", "cup"), ("lipstick",)]) == [
        "other", "other", "other",
    ]  # fmt: skip
    _, confidence = prototypes().classify(
        np.full((2, Text.dim), np.nan, np.float32), [("cat",), ("cat",)], [("Egyptian cat", "tabby"), ()]
    )
    assert confidence[0] > confidence[1]


def test_a_video_without_words_is_other_and_nobody_is_sure() -> None:
    codes, confidence = prototypes().classify(np.full((2, Text.dim), np.nan, np.float32), [(), ("fyp",)])
    assert codes.tolist() == [OTHER, OTHER]
    assert confidence.tolist() == [0, 0]
    assert codes.dtype == np.int32
    assert confidence.dtype == np.float32
    none, nothing = prototypes().classify(np.zeros((0, Text.dim), np.float32), [])
    assert (none.shape, nothing.shape) == ((0,), (0,))


def test_below_the_threshold_nothing_is_named() -> None:
    rng = np.random.default_rng(1)
    noise = rng.standard_normal((200, Text.dim)).astype(np.float32)
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    codes, confidence = prototypes().classify(noise, [()] * 200)
    assert (codes[confidence < THRESHOLD] == OTHER).all()
    assert (confidence < THRESHOLD).mean() > 0.9


def test_a_row_does_not_depend_on_its_neighbours() -> None:
    rows: NDArray[np.float32] = text().encode(["my cat sleeps", "a goal in the last minute", "chopping onions"])
    together = prototypes().classify(rows, [(), ("sport",), ()])
    for number, hashtags in enumerate([(), ("sport",), ()]):
        alone = prototypes().classify(rows[number : number + 1], [hashtags])
        assert alone[0][0] == together[0][number]
        assert alone[1][0] == pytest.approx(together[1][number], abs=1e-5)


def test_the_words_are_of_the_categories_and_each_speaks_for_one() -> None:
    assert list(PHRASES) == list(CATEGORIES)
    assert set(HASHTAGS) == set(CATEGORIES)
    hashtags = [word for words in HASHTAGS.values() for word in words.split()]
    assert len(hashtags) == len(set(hashtags))
    assert all(word == word.casefold() and "#" not in word for word in hashtags)
    seen = {word.strip() for words in SEEN.values() for word in words.split(";")}
    assert seen <= set(class_names())


def test_shapes_that_disagree_are_told() -> None:
    with pytest.raises(ValueError, match="got 2, 1, 2"):
        prototypes().classify(np.zeros((2, Text.dim), np.float32), [()])


@pytest.mark.data
@pytest.mark.timeout(1200)
def test_categories_are_what_a_person_would_say() -> None:
    folder = os.environ.get("FIRSTLOOK_BENCH_DATA")
    if not folder:
        pytest.skip("FIRSTLOOK_BENCH_DATA names no folder with real clips")
    local = Path(folder) / "localonly"
    done = subprocess.run(
        [
            sys.executable, BENCH, "--clips", local / "labelled" / "panda70m_samples", "--manifest",
            local / "MANIFEST.csv", "--titles", local / "behaviour" / "microlens" / "MicroLens-50k_titles.csv",
        ],
        capture_output=True, text=True,
    )  # fmt: skip
    print(done.stdout)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
