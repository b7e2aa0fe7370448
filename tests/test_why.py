"""Reasons are said in plain words, every one of them, and nothing that is noted goes unsaid."""

from __future__ import annotations

import json

import pytest

from index.records import SLOTS
from recommend import filters, slate, sources, why
from recommend.guardrails import Exposure, Narrowing
from recommend.why import Strongest, page_notes, why_lines


@pytest.mark.parametrize(
    ("names", "phrases"),
    [
        (sources.NAMES, why.SOURCES),
        (SLOTS, why.SLOTS),
        ((*filters.REASONS, filters.AGAIN), why.FILTERS),
        ((*slate.CAPS, "sensitive"), why.CAPS),
    ],
)
def test_every_reason_that_there_is_has_its_words(names: tuple[str, ...], phrases: dict[str, str]) -> None:
    assert set(names) == set(phrases)


def test_a_video_says_where_it_comes_from_and_what_spoke_for_it_and_against_it() -> None:
    said = why.why(
        source="interests",
        slot="explore",
        because=["cat-1", "cat-4"],
        novel_in="sound",
        strongest=[
            Strongest(name="a", phrase="hardly matters", contribution=0.01),
            Strongest(name="b", phrase="you skip long videos", contribution=-0.4),
            Strongest(name="c", phrase="you watch this creator to the end", contribution=0.9),
        ],
        heads={"long_view": 0.62, "quantile": 0.5, "negative": 0.01},
        most=2,
    )
    assert why_lines(said) == [
        "like what you have watched for weeks; follows from cat-1, cat-4",
        "this place is kept for something next to your interests",
        "a known topic that sounds new",
        "+ you watch this creator to the end",
        "- you skip long videos",
        "expected: watched for long 62 %, left at once 1 %",
    ]
    assert json.loads(json.dumps(said)) == said
    assert [one["name"] for one in said["features"]] == ["c", "b"]


def test_what_has_no_words_yet_is_shown_by_its_name() -> None:
    said = why.why(source="moon", slot="tide", novel_in="smell")
    assert why_lines(said) == ["moon", "tide", "new in its smell"]
    assert page_notes(removed={"moon": 1}, held_back={"tide": 2}) == ["     1 moon", "     2 held back: tide"]


def test_a_page_says_what_is_not_on_it_the_largest_first_and_what_was_done_about_a_narrow_feed() -> None:
    narrowing = Narrowing(
        narrowing=True, effective_before=8, effective_recent=2, category=6, share_before=0.1, share_recent=0.7
    )
    exposure = Exposure(
        videos=60, category=6, category_share=0.7, sensitive_share=0.3, too_much=("category", "sensitive")
    )
    assert page_notes(
        removed={"seen": 12, "own": 0, "blocked": 300},
        held_back={"creator": 2},
        relaxed=("category",),
        guardrails={"narrowing": narrowing.to_json(), "exposure": exposure.to_json()},
        dials={"explore": 0.8, "wanted": {"category:food": "less"}},
    ) == [
        "   300 blocked, reported or not wanted by you",
        "    12 seen before",
        "     2 held back: too many of one creator",
        "too few were left, so this was allowed: too many of one category",
        "your feed was closing in on gaming: 10 % of it before, 70 % now; it explores more until that ends",
        "70 % of the last videos are gaming",
        "30 % of the last videos are sensitive",
        "you asked for less of category:food",
        "you set exploring to 0.8, of 0 to 1",
    ]
    assert page_notes(removed={}, held_back={}) == []
