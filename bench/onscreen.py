"""How well burnt-in text is read, by script, and what it costs.

    python -m bench.onscreen [--data DIR] [--seed 0] [--json]

Two sets. *Pictures*: the photographs and prints of `open/ocr` under FIRSTLOOK_BENCH_DATA, shrunk to the 640 px that
the decoder hands over; small ones stay small, on a canvas of their border's colour. *Drawn*: captions of known text
on the photographs that scikit-image carries, drawn here from the seed.

The character error rate of a text is the least number of letters to insert, drop or swap so that it appears somewhere
in what was read, over its own letters. So further text in a photograph, which the truth often leaves out, costs
nothing, and neither does the order of lines. Compared are letters and digits alone, NFKC and case folded: no spaces,
no punctuation, no combining marks beyond NFKC.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import resource
import time
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import skimage.data
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from encoders.onscreen import OnScreenText

Frame = NDArray[np.uint8]

LONG_SIDE_PX = 640
CANVAS_PX = (640, 360)
PICTURES = {".jpg", ".jpeg", ".png", ".tif"}

READ_BY_EYE: dict[str, tuple[str, ...]] = {
    "multilingual/ch_doc_server.png": ("嫖娼",),
    "multilingual/check_return_word_len.jpeg": ("抵押登记", "解除抵押登记", "滴滴家园", "DIDIJIAYUAN"),
    "multilingual/en.jpg": (
        "MovieShots Dataset",
        "To facilitate the shot type analysis in videos, we collect MovieShots, a large-scale",
        "shot type annotation set that contains 46K shots from 7858 movies. The details",
        "of this dataset are specified as follows.",
    ),
    "multilingual/eslav.jpg": ("Славянские языки — большая языковая семья.",),
    "multilingual/korean.jpg": ("베이징 차오양, 디지털 기술로 농업 새로운 발전 이끌어",),
    "multilingual/return_word_debug.jpg": ("24H 专业健身", "本座 3F", "027-88852022", "027-88859022"),
    "multilingual/text_vertical_words.png": ("有評是是非非之士師也", "是非不得問之人要取之", "取之時不參一人見而"),
    "print/HelloGoogle.tif": ("Hello Google",),
}
"""What the manifest leaves out or only hints at and a person reads without doubt."""

NO_TRUTH = {
    "multilingual/devanagari.jpg": "nobody here reads it for certain",
    "multilingual/test_letterbox_like.jpg": "letters of 6 px once it is 640 px long",
    "multilingual/white_font_color_transparent.png": "white on transparent: what shows depends on the player",
    "print/8071_093.3B.tif": "a page of 3312 px: letters of 7 px once it is 640 px long",
    "print/devatest.png": "nobody here reads it for certain",
    "print/devatest-rotated-270.png": "nobody here reads it for certain",
    "print/hebtypo.jpg": "a page of 12 point text; nobody here reads it for certain",
    "print/viet.tif": "no text comes with it",
}

SENTENCES = (
    "Sunday morning run", "POV: your first coffee", "Wait for it", "3 things nobody tells you", "SALE 50% OFF",
    "Day 12 of learning piano", "my cat at 3 am", "How to fold a shirt", "GOAL!", "part 2 is out now",
)  # fmt: skip
PHOTOGRAPHS = (
    "astronaut.png", "brick.png", "camera.png", "chelsea.png", "coffee.png", "coins.png", "grass.png", "gravel.png",
    "hubble_deep_field.jpg", "ihc.png", "moon.png", "motorcycle_left.png", "retina.jpg", "rocket.jpg",
)  # fmt: skip
SIZES_PX = (12, 16, 24, 36, 60)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    name: str
    frame: Frame  # (height, width, 3)
    truths: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    script: str
    texts: int
    letters: int
    errors: int

    @property
    def rate(self) -> float:
        return self.errors / self.letters


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=os.environ.get("FIRSTLOOK_BENCH_DATA"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args(arguments)

    start = time.process_time()
    reader = OnScreenText(threads=1)
    start_cpu_s = time.process_time() - start
    pictures, without_truth = samples(Path(options.data, "open", "ocr")) if options.data else ([], {})
    report: dict[str, Any] = {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
        "versions": {name: version(name) for name in ("rapidocr", "openvino", "opencv-python-headless")},
        "precision": reader.spec()["precision"],
        "seed": options.seed,
        "normalisation": "letters and digits of NFKC, case folded; no spaces, no punctuation",
        "start_cpu_s": round(start_cpu_s, 2),
    }
    for name, group, of in (
        ("pictures", pictures, script),
        ("drawn", drawn(options.seed), lambda _: "Latin"),
    ):
        began = time.process_time()
        readings = [reading.text for reading in reader.read([sample.frame[None] for sample in group])]
        spent_s = time.process_time() - began
        report[name] = {
            "files": len(group),
            "cpu_ms_a_frame": round(1e3 * spent_s / max(1, len(group)), 1),
            "by_script": [asdict(score) | {"rate": round(score.rate, 4)} for score in scores(group, readings, of)],
            "worst": worst(group, readings),
        }
    report["without_truth"] = without_truth
    report["peak_rss_mb"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(json.dumps(report, ensure_ascii=False, indent=2) if options.json else table(report))


def samples(folder: Path) -> tuple[list[Sample], dict[str, str]]:
    """Return the pictures of `open/ocr` with a truth, and the others with the reason why they have none."""
    found, without = [], {}
    with (folder.parent / "MANIFEST.csv").open(newline="", encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["file"].startswith("ocr/")]
    for row in rows:
        name = row["file"].removeprefix("ocr/")
        if Path(name).suffix not in PICTURES:
            continue
        truths = READ_BY_EYE.get(name) or manifest_truths(row["transcript"])
        if truths and name not in NO_TRUTH:
            found.append(Sample(name=name, frame=as_frame(folder / name), truths=truths))
        else:
            without[name] = NO_TRUTH.get(name) or row["notes"] or "no transcript in the manifest"
    return found, without


def manifest_truths(transcript: str) -> tuple[str, ...]:
    """Split the manifest's transcript; `###` and brackets mark words that are not asked for (ICDAR 2015).

    >>> manifest_truths("EXIT | ### | [06] | 怪我咯 (rotated 180)")
    ('EXIT', '怪我咯')
    """
    words = (word.split(" (rotated")[0].strip() for word in transcript.split(" | "))
    return tuple(word for word in words if word and word != "###" and not word.startswith("["))


def as_frame(path: Path) -> Frame:
    """Return a picture as the decoder would hand it over: RGB, its long side at most 640 px, never a mere scrap."""
    with Image.open(path) as opened:
        image = opened.convert("RGBA")
    opaque = Image.new("RGBA", image.size, "white")
    opaque.alpha_composite(image)
    picture = opaque.convert("RGB")
    picture.thumbnail((LONG_SIDE_PX, LONG_SIDE_PX), Image.Resampling.BOX)
    width, height = max(picture.width, CANVAS_PX[0]), max(picture.height, CANVAS_PX[1])
    canvas = Image.new("RGB", (width, height), border(picture))
    canvas.paste(picture, ((width - picture.width) // 2, (height - picture.height) // 2))
    return np.array(canvas)


def border(picture: Image.Image) -> tuple[int, ...]:
    """Return the middle colour of the outermost pixels."""
    pixels = np.array(picture)
    edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    return tuple(int(level) for level in np.median(edge, axis=0))


def drawn(seed: int) -> list[Sample]:
    """Draw a caption of each size, white with a black outline, on each photograph."""
    rng = np.random.default_rng(seed)
    made = []
    for name in PHOTOGRAPHS:
        with Image.open(Path(skimage.data.__file__).parent / name) as opened:
            photograph = opened.convert("RGB").resize((360, 640))
        for size in SIZES_PX:
            font = ImageFont.load_default(size)
            fitting = [text for text in SENTENCES if font.getlength(text) < photograph.width - 20]
            text = str(rng.choice(fitting))
            image = photograph.copy()
            spare = photograph.width - 10 - font.getlength(text)
            at = (int(rng.uniform(4, spare)), int(rng.uniform(4, photograph.height - 2 * size)))
            ImageDraw.Draw(image).text(at, text, font=font, fill="white", stroke_width=2, stroke_fill="black")
            made.append(Sample(name=f"{name}, {size} px", frame=np.array(image), truths=(text,)))
    return made


def scores(group: Sequence[Sample], readings: Sequence[str], of: Callable[[str], str]) -> list[Score]:
    texts: Counter[str] = Counter()
    letters_in: Counter[str] = Counter()
    errors: dict[str, int] = defaultdict(int)
    for sample, reading in zip(group, readings, strict=True):
        for truth in sample.truths:
            texts[of(truth)] += 1
            letters_in[of(truth)] += len(letters(truth))
            errors[of(truth)] += errors_within(letters(truth), letters(reading))
    return [Score(script=s, texts=texts[s], letters=letters_in[s], errors=errors[s]) for s in sorted(texts)]


def worst(group: Sequence[Sample], readings: Sequence[str]) -> list[dict[str, Any]]:
    """Return every sample that was not read in full, most letters missed first."""
    missed = [
        {
            "name": sample.name,
            "truth": " | ".join(sample.truths),
            "read": reading.replace("\n", " | "),
            "errors": sum(errors_within(letters(truth), letters(reading)) for truth in sample.truths),
        }
        for sample, reading in zip(group, readings, strict=True)
    ]
    return sorted((one for one in missed if one["errors"]), key=lambda one: -int(one["errors"]))


def letters(text: str) -> str:
    return "".join(c for c in unicodedata.normalize("NFKC", text).casefold() if c.isalnum())


def script(text: str) -> str:
    """Return the script of most letters, by the first word of their Unicode names.

    >>> script("BIGBANG展"), script("抵押登记"), script("Ωραίος"), script("027-888")
    ('Latin', 'Han', 'Greek', 'digits')
    """
    names = Counter(unicodedata.name(c, "?").split()[0].capitalize() for c in text if c.isalpha())
    return {"Cjk": "Han"}.get(most := names.most_common(1)[0][0], most) if names else "digits"


def errors_within(truth: str, reading: str) -> int:
    """Return the edits that make `truth` appear somewhere in `reading`.

    Source: Sellers 1980, "The theory and computation of evolutionary distances: pattern recognition".

    >>> errors_within("carpark", "genaxiscarparc62"), errors_within("exit", "")
    (1, 4)
    """
    row = [0] * (len(reading) + 1)  # a match may begin anywhere
    for number, wanted in enumerate(truth, 1):
        above, row = row, [number]
        for place, got in enumerate(reading, 1):
            row.append(min(above[place - 1] + (wanted != got), above[place] + 1, row[place - 1] + 1))
    return min(row)  # and end anywhere


def table(report: dict[str, Any]) -> str:
    return "\n".join(_lines(report))


def _lines(report: dict[str, Any]) -> Iterable[str]:
    versions = ", ".join(f"{name} {number}" for name, number in report["versions"].items())
    yield f"{report['machine']}; {versions}, {report['precision']}; seed {report['seed']}"
    yield f"start {report['start_cpu_s']} CPU-s, peak {report['peak_rss_mb']} MB; compared: {report['normalisation']}"
    for name in ("pictures", "drawn"):
        part = report[name]
        yield f"\n{name}: {part['files']} frames, {part['cpu_ms_a_frame']} CPU-ms a frame"
        yield f"{'script':<12}{'texts':>7}{'letters':>9}{'errors':>8}{'CER':>8}"
        for one in part["by_script"]:
            yield f"{one['script']:<12}{one['texts']:>7}{one['letters']:>9}{one['errors']:>8}{one['rate']:>8.3f}"
        for one in part["worst"]:
            yield f"  {one['errors']} of {one['truth']!r} in {one['name']}: read {one['read']!r}"
    yield f"\nwithout a usable truth ({len(report['without_truth'])}):"
    for name, reason in report["without_truth"].items():
        yield f"  {name}: {reason}"


if __name__ == "__main__":
    main()
