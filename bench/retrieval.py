"""Does the library find what a person would call alike? Measured on labelled clips, through the whole pipeline.

    python bench/retrieval.py --clips DIR --manifest FILE [--json]

FILE is a CSV with the columns `file`, `label`, `caption`; rows are matched to the clips of DIR by file name. Every clip
is ingested twice, once with its caption and once without (nothing is decoded twice), and then

- each clip asks for its like: mean average precision (mAP) of clips of the same label, itself left out;
- each caption asks for its clip among those without captions: recall at 1 and at 10.

Intervals are 95 % bootstrap intervals over the queries.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

sys.path[0] = str(Path(__file__).parent.parent)  # bench/ingest.py would hide the package ingest

import numpy as np
from numpy.typing import NDArray

from bench.machine import facts, interval
from service.library import Library

SAID, UNSAID = "said", "unsaid"


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    path: Path
    label: str
    caption: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line of the table."""

    name: str
    mean: float
    low: float
    high: float
    wanted: float | None = None

    @property
    def passed(self) -> bool:
        return self.wanted is None or self.mean >= self.wanted


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, required=True)
    parser.add_argument("--manifest", type=Path, required=True)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    clips = labelled(asked.clips, asked.manifest)
    with tempfile.TemporaryDirectory() as folder:
        library = filled(Path(folder), clips)
        figures = [*alike(library, clips), *found_by_caption(library, clips)]
        library.close()
    passed = all(figure.passed for figure in figures)
    if asked.json:
        rows = {one.name: {"mean": one.mean, "low": one.low, "high": one.high, "wanted": one.wanted} for one in figures}
        print(json.dumps({"clips": len(clips), "figures": rows, **facts(), "pass": passed}))
    else:
        show(clips, figures)
    return 0 if passed else 1


def labelled(folder: Path, manifest: Path) -> list[Clip]:
    with manifest.open(encoding="utf-8", newline="") as file:
        rows = {Path(row["file"]).name: row for row in csv.DictReader(file)}
    paths = sorted(path for path in folder.iterdir() if path.name in rows and rows[path.name]["label"])
    if not paths:
        sys.exit(f"none of the files in {folder} has a label in {manifest}")
    return [Clip(path=path, label=rows[path.name]["label"], caption=rows[path.name]["caption"]) for path in paths]


def filled(folder: Path, clips: Sequence[Clip]) -> Library:
    manifest = folder / "clips.jsonl"
    with manifest.open("w", encoding="utf-8") as file:
        for clip in clips:
            for kind, caption in ((SAID, clip.caption), (UNSAID, "")):
                row = {"uri": str(clip.path.absolute()), "video_id": f"{kind} {clip.path.name}", "caption": caption}
                file.write(json.dumps(row | {"creator_id": kind}) + "\n")
    library = Library.open(folder / "home")
    summary = library.ingest(manifest=manifest)
    if summary.videos != 2 * len(clips):
        sys.exit(f"{summary.failures} of {summary.uploads} uploads failed: {dict(summary.reasons)}")
    return library


def alike(library: Library, clips: Sequence[Clip]) -> list[Figure]:
    """mAP of the same label, for several weightings: what each modality is worth, alone and added."""
    own = library.space.weights
    weightings: list[tuple[str, str, Mapping[str, float] | None, float | None]] = [
        ("vision alone", UNSAID, {"vision": 1.0}, 0.38),
        ("text alone (tags, on-screen)", UNSAID, {"text": 1.0}, None),
        ("sound alone", UNSAID, {"sound": 1.0}, None),
        ("vision + text", UNSAID, {"vision": own["vision"], "text": own["text"]}, None),
        ("all, no captions", UNSAID, None, None),
        ("text alone, with captions", SAID, {"text": 1.0}, None),
        ("vision + text, with captions", SAID, {"vision": own["vision"], "text": own["text"]}, None),
        ("all, with captions", SAID, None, 0.46),
    ]
    figures = []
    for name, kind, weights, wanted in weightings:
        precisions = np.array([average_precision(library, clip, clips, kind, weights) for clip in clips])
        figures.append(figure(f"mAP {name}", precisions, wanted))
    return figures


def average_precision(
    library: Library, clip: Clip, clips: Sequence[Clip], kind: str, weights: Mapping[str, float] | None
) -> float:
    """Mean of the precision at each clip of the same label, over all other clips."""
    hits = library.search(
        video=f"{kind} {clip.path.name}", k=len(clips), where=f"creator_id = '{kind}'", weights=weights
    )
    labels = {f"{kind} {one.path.name}": one.label for one in clips}
    right = np.array([labels[hit.video_id] == clip.label for hit in hits], dtype=np.float64)
    wanted = sum(one.label == clip.label for one in clips) - 1
    if not wanted:
        return 0.0
    precision = np.cumsum(right) / np.arange(1, len(right) + 1)
    return float((precision * right).sum() / wanted)


def found_by_caption(library: Library, clips: Sequence[Clip]) -> list[Figure]:
    """Recall of the clip that a caption describes, among clips that are not described."""
    figures = []
    for name, weights, wanted in (
        ("words alone", {"words": 1.0}, (None, None)),
        ("text alone", {"text": 1.0, "words": 0.0}, (None, None)),
        ("vision alone", {"vision": 1.0, "words": 0.0}, (None, None)),
        ("all", None, (0.45, 0.82)),
    ):
        ranks = np.array([rank(library, clip, len(clips), weights) for clip in clips])
        for at, least in zip((1, 10), wanted, strict=True):
            figures.append(figure(f"caption → video R@{at}, {name}", (ranks <= at).astype(np.float64), least))
    return figures


def rank(library: Library, clip: Clip, count: int, weights: Mapping[str, float] | None) -> int:
    """Place of a clip among the answers to its caption, from 1; one after the last where it is not among them."""
    hits = library.search(text=clip.caption, k=count, where=f"creator_id = '{UNSAID}'", weights=weights)
    places = [place for place, hit in enumerate(hits, start=1) if hit.video_id == f"{UNSAID} {clip.path.name}"]
    return places[0] if places else count + 1


def figure(name: str, values: NDArray[np.float64], wanted: float | None) -> Figure:
    mean, low, high = interval(values)
    return Figure(name=name, mean=mean, low=low, high=high, wanted=wanted)


def show(clips: Sequence[Clip], figures: Sequence[Figure]) -> None:
    for name, value in facts().items():
        print(f"{name}: {value}")
    print(f"{len(clips)} clips, {len({clip.label for clip in clips})} labels\n")
    for one in figures:
        verdict = "" if one.wanted is None else f"  wanted {one.wanted:.2f}: {'pass' if one.passed else 'SHORT'}"
        print(f"{one.name:42} {one.mean:.3f}  [{one.low:.3f}, {one.high:.3f}]{verdict}")


if __name__ == "__main__":
    sys.exit(main())
