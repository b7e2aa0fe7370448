"""Why a video has its place, in plain words: for the viewer's app as JSON, for a terminal as lines.

Nothing is decided here. What the pipeline noted while it made a page is put into sentences; a name that has none is
shown as it is, so that a new source or reason is never hidden.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from index.records import Impression

SOURCES: Mapping[str, str] = {
    "short_term": "like what you watched in the last hours",
    "interests": "like what you have watched for weeks",
    "co_watched": "watched by those who watched the same",
    "collaborative": "liked by those who like what you like",
    "followed": "by somebody you follow",
    "trending": "much watched at the moment",
    "rising": "with a sound or hashtag that is rising",
    "category": "among the best of a category you like",
    "popular": "among the best there is",
    "fresh": "new here, and shown to a few first",
    "explore": "next to what you like, and not of it",
}
SLOTS: Mapping[str, str] = {
    "rank": "it has this place for its score",
    "explore": "this place is kept for something next to your interests",
    "fresh": "this place is kept for new videos",
    "uniform": "a fair die chose it out of all videos, to check the others against",
}
NOVEL_IN: Mapping[str, str] = {
    "sound": "a known topic that sounds new",
    "sound_used": "a known topic with a sound that is new to you",
    "vision": "a known topic that looks new",
    "text": "a known look with a new topic",
    "creator": "a new creator in a style you know",
}
FILTERS: Mapping[str, str] = {
    "unknown": "there is no such video",
    "private_or_removed": "private or removed",
    "flagged": "flagged by its caller: no feed shows it",
    "own": "your own",
    "blocked": "blocked, reported or not wanted by you",
    "language": "in a language you do not read",
    "served_this_session": "already in this session",
    "seen": "seen before",
    "same_bytes": "the same file as another",
    "seen_long_ago": "seen long ago and shown again, since too little was left",
}
CAPS: Mapping[str, str] = {
    "near_identical": "nearly the same as another on or before this page",
    "creator": "too many of one creator",
    "sound": "too many with one sound",
    "category": "too many of one category",
    "sensitive": "more sensitive videos than a feed should have",
}
HEADS: Mapping[str, str] = {
    "long_view": "watched for long",
    "complete": "watched to the end",
    "like": "liked",
    "share": "shared",
    "follow": "its creator followed",
    "negative": "left at once",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Strongest:
    """A feature and what it did to the score."""

    name: str
    phrase: str
    """In plain words, such as "you watch this creator to the end"."""
    contribution: float
    """In the unit of the score; below 0 it spoke against the video."""


def why(
    *,
    source: str,
    slot: str,
    because: Sequence[str] = (),
    novel_in: str | None = None,
    strongest: Sequence[Strongest] = (),
    heads: Mapping[str, float] | None = None,
    most: int = 3,
) -> dict[str, Any]:
    """Everything that put a video in its place, as plain JSON.

    Args:
        because: watched videos that it follows from, the nearest first.
        novel_in: of an explored video, which part of it is new to the viewer.
        strongest: features, in any order; the `most` that did most come out.
        heads: what is expected of it, probabilities.
    """
    by_size = sorted(strongest, key=lambda one: (-abs(one.contribution), one.name))[:most]
    said: dict[str, Any] = {
        "source": source,
        "source_says": SOURCES.get(source, source),
        "slot": slot,
        "slot_says": SLOTS.get(slot, slot),
        "because": list(because),
        "features": [
            {"name": one.name, "says": one.phrase, "contribution": round(one.contribution, 4)} for one in by_size
        ],
        "expected": {name: round(value, 4) for name, value in (heads or {}).items()},
    }
    if novel_in is not None:
        said |= {"novel_in": novel_in, "novel_says": NOVEL_IN.get(novel_in, f"new in its {novel_in}")}
    return said


def why_served(one: Impression, strongest: Sequence[Strongest] = ()) -> dict[str, Any]:
    """`why` of a place that was served, by what was written down of it; a place of before that was has fewer reasons.

    Args:
        strongest: as of the moment at which they are asked for: the features themselves are not written down.
    """
    because = one.reasons.get("because")
    return why(
        source=one.source,
        slot=one.slot,
        because=[because] if because else [],
        novel_in=one.reasons.get("novel_in"),
        strongest=strongest,
        heads=one.reasons.get("heads"),
    )


def why_lines(said: Mapping[str, Any]) -> list[str]:
    """What `why` returned, a line a thought.

    >>> why_lines(why(source="followed", slot="rank", because=["cat-1"], heads={"like": 0.081}))
    ['by somebody you follow; follows from cat-1', 'expected: liked 8 %']
    """
    first = str(said["source_says"])
    if said["because"]:
        first += f"; follows from {', '.join(said['because'])}"
    lines = [first]
    if said["slot"] != "rank":
        lines.append(str(said["slot_says"]))
    if "novel_says" in said:
        lines.append(str(said["novel_says"]))
    lines += [f"{'+' if one['contribution'] >= 0 else '-'} {one['says']}" for one in said["features"]]
    expected = [
        f"{HEADS[name]} {value:.0%}".replace("%", " %") for name, value in said["expected"].items() if name in HEADS
    ]
    return lines + ([f"expected: {', '.join(expected)}"] if expected else [])


def page_notes(
    *,
    removed: Mapping[str, int],
    held_back: Mapping[str, int],
    relaxed: Sequence[str] = (),
    guardrails: Mapping[str, Any] | None = None,
    dials: Mapping[str, Any] | None = None,
) -> list[str]:
    """What is not on a page and why, and what was done about a feed that closes in: a line a reason, the largest first.

    Args:
        removed: filter -> how many candidates it took.
        held_back: cap -> how many candidates it kept off the page.
        relaxed: caps that were let go.
        guardrails: `exposure`, `narrowing` and `widened`, as their records say it in JSON.
        dials: `explore` and what is `wanted`, as the viewer had set them.
    """
    lines = [f"{count:>6} {FILTERS.get(reason, reason)}" for reason, count in _largest_first(removed)]
    lines += [f"{count:>6} held back: {CAPS.get(cap, cap)}" for cap, count in _largest_first(held_back)]
    lines += [f"too few were left, so this was allowed: {CAPS.get(cap, cap)}" for cap in relaxed]
    found = guardrails or {}
    narrowing, exposure = found.get("narrowing", {}), found.get("exposure", {})
    if narrowing.get("narrowing"):
        lines.append(
            f"your feed was closing in on {narrowing['category']}: {_share(narrowing['share_before'])} of it before, "
            f"{_share(narrowing['share_recent'])} now; it explores more until that ends"
        )
    for what in exposure.get("too_much", ()):
        share = _share(exposure[f"{what}_share"])
        lines.append(f"{share} of the last videos are {exposure['category'] if what == 'category' else what}")
    set_to = dials or {}
    lines += [f"you asked for {way} of {target}" for target, way in set_to.get("wanted", {}).items()]
    if set_to.get("explore") is not None:
        lines.append(f"you set exploring to {set_to['explore']:g}, of 0 to 1")
    return lines


def _largest_first(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(((name, count) for name, count in counts.items() if count), key=lambda pair: (-pair[1], pair[0]))


def _share(share: float) -> str:
    return f"{round(100 * share)} %"
