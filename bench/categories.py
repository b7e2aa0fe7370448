"""Is a video's category what a person would say? Measured on real clips, on the library's own and on written captions.

    python bench/categories.py [--clips DIR --manifest FILE] [--titles FILE] [--json]

Four sets, none of which shaped the phrases or the hashtags of `recommend/category_words.py`:

- written: captions of seven videos a category, as people write them, without hashtags. They chose the temperature of
  the softmax and nothing else, so calibration on them is flattered; accuracy is not.
- clips: FILE is a CSV with the columns `file`, `label`, `caption`, matched to the clips of DIR by file name. Each is
  ingested with its caption and without. `LABELS` says which categories a label may be.
- samples: the clips that `ingest/samples.py` draws, with their captions and hashtags in six languages.

- titles: FILE is a CSV with the columns `item`, `title` (MicroLens: machine-translated, hashtags with spaces in them).
  What stands before the first hashtag is classified; a word among the hashtags says what it should be. A weak check:
  hashtags are given to please, too.

Intervals are 95 % bootstrap intervals over the videos. Calibration is the mean gap between confidence and accuracy over
five equally filled bins (ECE), for the videos that were named.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path[0] = str(Path(__file__).parent.parent)  # bench/ingest.py would hide the package ingest

import numpy as np
from numpy.typing import NDArray

from bench.machine import facts, interval
from bench.retrieval import UNSAID, filled, labelled
from encoders.text import Text
from index.records import Video
from ingest.samples import draw_samples
from recommend.categories import CATEGORIES, OTHER, THRESHOLD, Prototypes
from service.library import Library

WRITTEN = {
    "dance": """
        Finally nailed the whole routine, only took me 200 tries
        my grandma learning the shuffle with me
        POV your wedding party rehearsed for six months
        breaking battle final round, that last freeze
        day 30 of teaching myself to pirouette
        who wants the slow version of these steps?
        this trend but make it tango
    """,
    "comedy": """
        my dad trying to use self checkout for the first time
        I can't stop laughing at his face when the door opened
        telling my girlfriend I sold the car (gone wrong)
        things teachers say vs what they mean
        When your boss asks you to work on Saturday
        my best set at the open mic so far
        he really thought nobody saw him fall
    """,
    "education": """
        why the sky is blue in 40 seconds
        five English phrases you are using wrong
        What happened in 1453 and why it still matters
        this trick makes fractions easy
        how a jet engine actually works
        three python functions every beginner should know
        why do black holes evaporate?
    """,
    "food": """
        grandma's dumplings, the dough has only three ingredients
        trying the spiciest ramen in Seoul
        what I eat in a day on 5 euros
        crispy potatoes in the air fryer, trust me
        he has been selling these tacos for 30 years
        layers of cream and mango, so good
        the only pancake you need on sunday morning
    """,
    "sports": """
        last second three pointer wins it
        my first marathon, under four hours!
        what a save by the keeper
        leg day, 140 kg for five reps
        landed my first backflip on a snowboard
        Federer's best backhand ever
        she broke the world record in the 400 m hurdles
    """,
    "animals": """
        he does this every time I come home, wait for the tail
        our rescue puppy meets the kitten
        an owl living in the tree outside my window
        parrot says good morning to everyone
        elephants crossing the river with their calf
        feeding time for the axolotls
        my hamster escaped again
    """,
    "gaming": """
        1v4 clutch with one hp left
        speedrunning the water temple without items
        hidden room nobody found for ten years in this game
        my castle in survival mode after 100 days
        the new patch ruined my main
        pulling for the five star character with my last gems
        Elden Ring final boss no hit
    """,
    "news": """
        parliament votes on the new budget tonight
        wildfire reaches the edge of the town, thousands leave
        the prime minister resigned this morning
        what we know about the train accident so far
        central bank raises interest rates again
        crowds gather in the capital after the court's decision
        storm makes landfall, live from the coast
    """,
    "music": """
        wrote this chorus at 3 am, should I finish it?
        that high note at the end
        busker in the subway stopped everyone
        my first time playing Chopin in public
        making a beat out of kitchen sounds
        the whole stadium sang along
        acoustic version of our new single
    """,
    "beauty": """
        get ready with me for my best friend's wedding
        this concealer covers everything
        my curly hair wash day from start to finish
        three ways to wear a white shirt this spring
        glass skin in five steps
        trying the viral lash glue
        from blonde to copper, the full transformation
    """,
    "travel": """
        48 hours in Lisbon on a budget
        the train ride through the Alps you need to take once
        woke up above the clouds
        hidden waterfall two hours from Bali's airport
        first time in Japan, here is what surprised me
        sleeping in a tent at minus ten under the northern lights
        this island has no cars and forty people
    """,
    "other": """
        restoring a rusty axe from 1920
        she said yes
        turning this old barn into our house, week 12
        the engine finally starts after ten years
        painting my bedroom wall with a galaxy
        a monday in my life as a nurse
        first steps, we are so proud
    """,
}

LABELS = {
    "Animal": ("animals",),
    "Food": ("food",),
    "Gaming and 3D Rendering": ("gaming",),
    "News and TV Shows": ("news",),
    "Scenery": ("travel",),
    "Sports Activity": ("sports",),
    "Tutorial and Narrative": ("education",),
    "Vehicle": ("other",),
}
"""What a label of the clips is among our categories."""

SAMPLES = {
    "cat": ("animals",),
    "coffee": ("food",),
    "photographer": ("other",),
    "rocket": ("education",),
    "astronaut": ("education",),
    "stars": ("education",),
    "bricks": ("other",),
    "shapes": ("other",),
}


TITLE_WORDS: dict[str, set[str]] = {
    "dance": {"dance", "dancing"},
    "comedy": {"funny", "joke", "jokes", "comedy"},
    "food": {"food", "foodie", "recipe", "cooking"},
    "sports": {"basketball", "football", "fitness", "sports", "nba"},
    "animals": {"pet", "pets", "cat", "dog", "animal", "animals"},
    "gaming": {"game", "games", "minecraft", "pubg"},
    "music": {"music", "song", "songs", "guitar", "singer"},
    "beauty": {"makeup", "outfit", "hairstyle", "skincare"},
    "travel": {"travel", "tourism", "scenery"},
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Asked:
    """Videos with what a person would call them."""

    name: str
    vectors: NDArray[np.float32]  # (n, 384); NaN where a video has no words
    hashtags: Sequence[Sequence[str]]
    tags: Sequence[Sequence[str]]
    right: Sequence[Sequence[str]]
    wanted: float | None = None
    """The share that must be right."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path)
    parser.add_argument("--manifest", type=Path)
    parser.add_argument("--titles", type=Path)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    text = Text()
    sets = [written(text)]
    with tempfile.TemporaryDirectory() as folder:
        sets.append(samples(Path(folder)))
    if asked.clips is not None and asked.manifest is not None:
        with tempfile.TemporaryDirectory() as folder:
            sets += clips(Path(folder), asked.clips, asked.manifest)
    if asked.titles is not None:
        sets.append(titles(asked.titles, text))
    prototypes = Prototypes.of(text.encode)
    rows = {some.name: measured(prototypes, some) for some in sets}
    passed = all(row["wanted"] is None or row["accuracy"] >= row["wanted"] for row in rows.values())
    if asked.json:
        print(json.dumps({"figures": rows, **facts(), "pass": passed}))
    else:
        show(rows)
    return 0 if passed else 1


def written(text: Text) -> Asked:
    lines = [(name, line.strip()) for name, said in WRITTEN.items() for line in said.strip().splitlines()]
    nothing: list[tuple[str, ...]] = [()] * len(lines)
    return Asked(
        name="written captions",
        vectors=text.encode([line for _, line in lines]),
        hashtags=nothing,
        tags=nothing,
        right=[(name,) for name, _ in lines],
        wanted=0.6,
    )


def samples(folder: Path) -> Asked:
    drawn = {clip.video_id: clip.label for clip in draw_samples(folder / "drawn")}
    with Library.open(folder / "home") as library:
        library.ingest(manifest=folder / "drawn" / "manifest.jsonl")
        videos = list(library.table.get(list(drawn)).values())
    return of_videos("samples", videos, [SAMPLES[drawn[video.upload.video_id]] for video in videos], wanted=0.6)


def clips(folder: Path, media: Path, manifest: Path) -> list[Asked]:
    found = labelled(media, manifest)
    label_of = {clip.path.name: clip.label for clip in found}
    library = filled(folder, found)
    videos = list(library.table.get(library.table.ids()).values())
    library.close()
    sets = []
    for name, kind, wanted in (("clips with captions", "said", 0.6), ("clips without", UNSAID, None)):
        some = [video for video in videos if video.upload.creator_id == kind]
        right = [LABELS[label_of[video.upload.video_id.removeprefix(f"{kind} ")]] for video in some]
        sets.append(of_videos(name, some, right, wanted))
    return sets


def titles(path: Path, text: Text, each: int = 60) -> Asked:
    """At most `each` titles of a category: those whose hashtags have a word of one category only."""
    found: dict[str, list[str]] = {name: [] for name in TITLE_WORDS}
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            title, _, hashtags = row["title"].partition("#")
            words = set(re.findall(r"[a-z]+", hashtags.casefold()))
            named = [name for name, wanted in TITLE_WORDS.items() if words & wanted]
            if len(named) == 1 and len(title.split()) >= 4:
                found[named[0]].append(title.strip())
    lines = [(name, title) for name, some in found.items() for title in some[:each]]
    nothing: list[tuple[str, ...]] = [()] * len(lines)
    return Asked(
        name="titles by hashtag",
        vectors=text.encode([title for _, title in lines]),
        hashtags=nothing,
        tags=nothing,
        right=[(name,) for name, _ in lines],
    )


def of_videos(name: str, videos: Sequence[Video], right: Sequence[Sequence[str]], wanted: float | None) -> Asked:
    nothing = np.full(Text.dim, np.nan, np.float32)
    return Asked(
        name=name,
        vectors=np.array([video.vectors.get("text", nothing) for video in videos]),
        hashtags=[video.upload.hashtags for video in videos],
        tags=[[tag.name for tag in video.tags] for video in videos],
        right=right,
        wanted=wanted,
    )


def measured(prototypes: Prototypes, asked: Asked) -> dict[str, float | None]:
    codes, confidence = prototypes.classify(asked.vectors, asked.hashtags, asked.tags)
    hits = np.array([CATEGORIES[code] in right for code, right in zip(codes, asked.right, strict=True)], np.float64)
    accuracy, low, high = interval(hits)
    named = confidence >= THRESHOLD
    return {
        "videos": len(hits),
        "accuracy": accuracy,
        "low": low,
        "high": high,
        "named": float(named.mean()),
        "accuracy_of_named": float(hits[named].mean()),
        "wrong_name": float((~hits.astype(bool) & (codes != OTHER)).mean()),
        "ece_of_named": ece(confidence[named], hits[named]),
        "wanted": asked.wanted,
    }


def ece(confidence: NDArray[np.float32], hits: NDArray[np.float64], bins: int = 5) -> float:
    order = np.argsort(confidence, kind="stable")
    gaps = [
        abs(confidence[some].mean() - hits[some].mean()) * len(some)
        for some in np.array_split(order, bins)
        if len(some)
    ]
    return float(sum(gaps) / len(order))


def show(rows: dict[str, dict[str, float | None]]) -> None:
    print(
        f"{'set':<22}{'videos':>7}{'right':>7}{'95 %':>12}{'named':>7}{'right of them':>15}{'misnamed':>10}{'ECE':>6}"
    )
    for name, row in rows.items():
        between = f"{row['low']:.2f}-{row['high']:.2f}"
        print(
            f"{name:<22}{row['videos']:>7}{row['accuracy']:>7.2f}{between:>12}{row['named']:>7.2f}"
            f"{row['accuracy_of_named']:>15.2f}{row['wrong_name']:>10.2f}{row['ece_of_named']:>6.2f}"
        )


if __name__ == "__main__":
    sys.exit(main())
