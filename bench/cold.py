"""What does content say of a new video that nobody has watched? Measured on MicroLens and on SnapUGC.

    python bench/cold.py [--microlens DIR] [--snapugc DIR] [--json]

MicroLens (offline, time split). Views in the order of their time; the first 70 % are the training period. A question
is a later view of a *cold* video, one that nobody watched in the training period, by a viewer with earlier views. All
cold videos of the catalogue (13,665 of 19,220) are ranked by what is known of the viewer, all his earlier views, and
recall@10 says how often the one that he watched is among the first ten. Nothing but titles and hashtags tells the
cold videos apart.

- random: by counting, 10 of all.
- TF-IDF neighbours: mean cosine, over words, to the viewer's earlier videos.
- ours: mean likeness to them by letters, by hashtags and by meaning (all-MiniLM-L6-v2), weighed by a conditional logit
  over the next views of the training period (`recommend/cold_content.py`). Which likenesses take part was chosen within
  the training period (learned from its first views, asked about later ones); nothing by what comes after it.

Passed when ours is above TF-IDF: the 95 % interval of the difference (paired, over viewers) excludes 0. Beside it
stands the same for the questions that the likenesses were chosen on, views from 30 % to 70 %, which proves nothing.

SnapUGC (cross-validated, five folds). Engagement class (0, 1, 2) of a video from a description of it alone: Spearman's
rank correlation between the class and the prior p̂ of a model that did not see the video. Passed when its interval
excludes 0. The correlation is what `bench/simulate.py --correlation` wants.

Rows of the text encoder are kept in the folder for temporary files: they take minutes.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import json
import sys
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).parent.parent)  # bench/ingest.py would hide the package ingest

import numpy as np
from numpy.typing import NDArray
from scipy.stats import rankdata

from bench.machine import SEED, facts
from encoders.text import Text
from recommend.cold_content import (
    fit_choice,
    hashtag_rows,
    letter_rows,
    prior,
    prior_rates,
    style,
    word_rows,
)
from recommend.evaluate import Floats, Interval, bootstrap, interval_of, mean_of, paired_bootstrap

TRAINED_ON = 0.7
"""Share of the views that come before the cut."""
CHOSEN_FROM = 0.3
"""The likenesses were chosen on views from here to the cut, with weights learned from those before."""
FIRST = 10
OTHERS = 300
"""Videos that were not watched, a choice that the weights are learned from."""
FOLDS = 5
ROUNDS = 1000
OURS, BASELINE = "ours", "TF-IDF neighbours"
PARTS = ("letters", "hashtags", "meaning")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Views:
    """What was watched, in the order of time; videos are places in the list of titles."""

    titles: Sequence[str]
    users: NDArray[np.int64]  # (n,)
    videos: NDArray[np.int64]  # (n,)
    times_s: Floats  # (n,) increasing


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    user: int
    watched: int
    earlier: tuple[int, ...]
    """What he watched before, oldest first; not empty."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--microlens", type=Path)
    parser.add_argument("--snapugc", type=Path)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    if asked.microlens is None and asked.snapugc is None:
        parser.error("nothing to measure: --microlens DIR, --snapugc DIR or both")
    found: dict[str, Any] = {}
    if asked.microlens is not None:
        found["microlens"] = next_views(read_views(asked.microlens))
    if asked.snapugc is not None:
        found["snapugc"] = engagement(*read_descriptions(asked.snapugc))
    passed = all(one["pass"] for one in found.values())
    if asked.json:
        print(json.dumps({**found, **facts(), "pass": passed}, default=lambda one: [one.value, one.low, one.high]))
    else:
        show(found)
    return 0 if passed else 1


def read_views(folder: Path) -> Views:
    """Views of videos that have a title; the others (33 of 13,410) say nothing about content."""
    with (folder / "MicroLens-50k_titles.csv").open(encoding="utf-8", newline="") as file:
        titles = {int(row["item"]): row["title"] for row in csv.DictReader(file)}
    place = {item: number for number, item in enumerate(sorted(titles))}
    with (folder / "consecutive_views_core.csv").open(encoding="utf-8", newline="") as file:
        rows = [
            (int(row["timestamp"]) / 1000, int(row["user"]), place[int(row["item"])])
            for row in csv.DictReader(file)
            if int(row["item"]) in place
        ]
    times_s, users, videos = zip(*sorted(rows), strict=True)
    return Views(
        titles=[titles[item] for item in place],
        users=np.array(users),
        videos=np.array(videos),
        times_s=np.array(times_s),
    )


def next_views(views: Views) -> dict[str, Any]:
    """Recall of every ranking after the cut, and, apart, on the views that the likenesses were chosen on."""
    likenesses = likeness_rows(views.titles)
    chosen, cut = (int(share * len(views.videos)) for share in (CHOSEN_FROM, TRAINED_ON))
    tested = compared(views, likenesses, cut, len(views.videos))
    return {
        "kind": "offline, time split",
        **tested,
        "chosen_on": compared(views, likenesses, chosen, cut),
        "pass": tested["ours_above_tf_idf"].low > 0,
    }


def compared(views: Views, likenesses: Mapping[str, Any], cut: int, until: int) -> dict[str, Any]:
    """Recall on the views of cold videos in the rows from `cut` to `until`, learned from those before."""
    weights = learned(views, likenesses, cut)
    questions, cold = asked_after(views, cut, until)
    hits = ranked(questions, cold, likenesses, weights)
    users = np.array([one.user for one in questions])
    rng = np.random.default_rng(SEED)
    return {
        "questions": len(questions),
        "viewers": len(np.unique(users)),
        "cold_videos": len(cold),
        "random": FIRST / len(cold),
        "recall_at_10": {name: bootstrap(users, mean_of(one), ROUNDS, rng) for name, one in hits.items()},
        "ours_above_tf_idf": paired_bootstrap(users, mean_of(hits[OURS]), mean_of(hits[BASELINE]), ROUNDS, rng),
        "weights": dict(zip(PARTS, weights.round(3).tolist(), strict=True)),
    }


def likeness_rows(titles: Sequence[str]) -> dict[str, Any]:
    """Unit rows of every title: their products are likenesses."""
    hashtags = [[tag.strip().casefold() for tag in title.split("#")[1:] if tag.strip()] for title in titles]
    return {
        BASELINE: word_rows(titles),
        "letters": letter_rows(titles),
        "hashtags": hashtag_rows(hashtags),
        "meaning": encoded(titles),
    }


def asked_after(views: Views, cut: int, until: int) -> tuple[list[Question], NDArray[np.int64]]:
    """Views of cold videos in the rows from `cut` to `until`, and all cold videos."""
    warm = set(views.videos[:cut].tolist())
    questions = [one for one in _questions(views, until) if one[0] >= cut and one[1].watched not in warm]
    cold = np.array([video for video in range(len(views.titles)) if video not in warm])
    return [question for _, question in questions], cold


def learned(views: Views, likenesses: Mapping[str, Any], cut: int) -> Floats:
    """Weights of the likenesses, from what was watched next in the training period."""
    rng = np.random.default_rng(SEED)
    rows = []
    for _, question in _questions(views, cut):
        if question.watched in question.earlier:
            continue
        videos = np.r_[question.watched, rng.choice(len(views.titles), OTHERS, replace=False)]
        rows.append(np.stack([alike(likenesses[part], question.earlier, videos) for part in PARTS], axis=1))
    return fit_choice(np.array(rows))


def _questions(views: Views, until: int) -> list[tuple[int, Question]]:
    """Every view by a viewer with earlier ones, with its row; rows from `until` on are not looked at."""
    earlier: dict[int, list[int]] = defaultdict(list)
    asked = []
    rows = zip(views.users[:until].tolist(), views.videos[:until].tolist(), strict=True)
    for row, (user, video) in enumerate(rows):
        if earlier[user]:
            asked.append((row, Question(user=user, watched=video, earlier=tuple(earlier[user]))))
        earlier[user].append(video)
    return asked


def alike(rows: Any, earlier: Sequence[int], videos: NDArray[np.int64]) -> Floats:
    """(videos,) mean likeness to what was watched earlier."""
    return np.asarray(_dense(rows[list(earlier)] @ rows[videos].T).mean(axis=0))


def ranked(
    questions: Sequence[Question], cold: NDArray[np.int64], likenesses: Mapping[str, Any], weights: Floats
) -> dict[str, Floats]:
    """Ranking -> (questions,) whether what was watched is among the first ten.

    Equals stand in the middle of their kind; a viewer's earlier videos are not shown to him again.
    """
    place = {int(video): number for number, video in enumerate(cold)}
    turned = {name: rows[cold].T for name, rows in likenesses.items()}
    turned = {name: one.tocsr() if hasattr(one, "tocsr") else one for name, one in turned.items()}
    hits: dict[str, list[bool]] = defaultdict(list)
    for question in questions:
        parts = {
            name: _dense(rows[list(question.earlier)] @ turned[name]).mean(axis=0) for name, rows in likenesses.items()
        }
        parts[OURS] = np.asarray(sum(w * parts[part] for w, part in zip(weights, PARTS, strict=True)))
        seen = [place[v] for v in question.earlier if v in place and v != question.watched]
        for name, scores in parts.items():
            scores[seen] = -np.inf
            own = scores[place[question.watched]]
            above, equal = (scores > own).sum(), (scores == own).sum() - 1
            hits[name].append(bool(above + equal / 2 < FIRST))
    return {name: np.array(one, dtype=np.float64) for name, one in hits.items()}


def _dense(rows: Any) -> Floats:
    return np.asarray(rows.toarray() if hasattr(rows, "toarray") else rows, dtype=np.float64)


def read_descriptions(folder: Path) -> tuple[list[str], NDArray[np.int64]]:
    """A description and an engagement class, 0 to 2, a video."""
    rows = json.loads((folder / "snapugc0_val_gemini_rawcap.json").read_text(encoding="utf-8"))
    return [row["conversations"][1]["value"] for row in rows], np.array([int(row["label"]) for row in rows])


def engagement(descriptions: Sequence[str], classes: NDArray[np.int64]) -> dict[str, Any]:
    """Rank correlation of the class with what is said of a video that was left out, with an interval over videos."""
    meaning, manner = encoded(descriptions), style(descriptions)
    rates = classes / classes.max()
    contents: dict[str, Floats] = {
        "meaning": meaning.astype(np.float64),
        "style": scaled(manner),
        OURS: np.concatenate([meaning, 0.1 * scaled(manner)], axis=1),  # about as long as a unit row, 8 numbers
    }
    found = {name: spearman(classes, cross_validated(content, rates)) for name, content in contents.items()}
    return {
        "kind": "cross-validated, five folds",
        "videos": len(classes),
        "spearman": found,
        "correlation": round(found[OURS].value, 3),
        "pass": found[OURS].low > 0,
    }


def cross_validated(content: Floats, rates: Floats) -> Floats:
    """(n,) p̂ of every video, from a prior that was fitted on the other folds."""
    fold = np.random.default_rng(SEED).permutation(len(rates)) % FOLDS
    said = np.empty(len(rates))
    for one in range(FOLDS):
        said[fold == one] = prior_rates(prior(content[fold != one], rates[fold != one]), content[fold == one])
    return said


def spearman(classes: NDArray[Any], said: Floats) -> Interval:
    """Rank correlation, ties in the middle, with a bootstrap interval over videos."""
    rng = np.random.default_rng(SEED)
    pairs = np.stack([classes, said])
    draws = [rng.integers(len(said), size=len(said)) for _ in range(ROUNDS)]
    return interval_of(_rank_correlation(pairs), np.array([_rank_correlation(pairs[:, draw]) for draw in draws]))


def _rank_correlation(pairs: Floats) -> float:
    return float(np.corrcoef(rankdata(pairs, axis=1))[0, 1])


def scaled(columns: Floats) -> Floats:
    return np.asarray((columns - columns.mean(axis=0)) / np.maximum(columns.std(axis=0), 1e-9))


def encoded(texts: Sequence[str]) -> NDArray[np.float32]:
    """Unit rows of the text encoder; kept from one run to the next."""
    encoder = Text()
    key = hashlib.sha256(json.dumps([encoder.spec(), list(texts)]).encode()).hexdigest()[:24]
    kept = Path(tempfile.gettempdir()) / f"firstlook-cold-{key}.npy"
    if kept.exists():
        return np.asarray(np.load(kept, allow_pickle=False), dtype=np.float32)
    rows = encoder.encode(texts)
    np.save(kept, rows)
    return rows


def show(found: Mapping[str, Any]) -> None:
    for name, value in facts().items():
        print(f"{name}: {value}")
    if "microlens" in found:
        one = found["microlens"]
        print(
            f"\nMicroLens, next view among {one['cold_videos']:,} cold videos ({one['kind']}):"
            f" {one['questions']:,} views of {one['viewers']:,} viewers, recall@{FIRST}"
        )
        print(f"  {'random (counted)':20} {one['random']:.4f}")
        for name, value in one["recall_at_10"].items():
            print(f"  {name:20} {value}")
        print(f"  ours − TF-IDF        {one['ours_above_tf_idf']}: {'pass' if one['pass'] else 'SHORT'}")
        print(f"  weights {one['weights']}")
        earlier = one["chosen_on"]["ours_above_tf_idf"]
        print(f"  where the likenesses were chosen, ours − TF-IDF: {earlier} (proves nothing)")
    if "snapugc" in found:
        one = found["snapugc"]
        print(f"\nSnapUGC, engagement class from the description ({one['kind']}), {one['videos']:,} videos, Spearman")
        for name, value in one["spearman"].items():
            print(f"  {name:20} {value}")
        print(f"  {'pass' if one['pass'] else 'SHORT'}; bench/simulate.py --correlation {one['correlation']}")


if __name__ == "__main__":
    sys.exit(main())
