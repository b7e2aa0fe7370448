"""Text that is burnt into the picture, read from a few frames of each video.

Reading is the dearest step of a video, so it is done in three passes, each for what the pass before let through: a
look at the strokes in a frame (a millisecond), the detector, which finds lines (20), and the recogniser, which
reads one line (7). What stands unchanged in the next frame is not read again.

Weights: PP-OCRv6 as the package `rapidocr` carries them; the package itself, which fetches files that it misses, is
never imported. Boxes out of the detector's map: Liao et al. 2020, "Real-time Scene Text Detection with Differentiable
Binarization", with the thresholds of RapidOCR's `config.yaml`. Letters out of the recogniser's steps: best path of
Graves et al. 2006, "Connectionist Temporal Classification".
"""

from __future__ import annotations

import math
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from encoders import models

FRAMES_MAX = 4
LINES_MAX = 24
"""A budget in counts, not in seconds: what is read must not depend on how busy the machine is."""

STROKE_STEP = 40
"""Grey levels across two pixels that make an edge of a stroke."""
STROKE_WINDOW_PX = (40, 8)
STROKES_MIN = (0.165, 0.13)
"""Share of a window's pixels that begin a stroke, and that end one, in the frame and in the frame at half size, which
sees larger letters. All captions of 12 to 100 px drawn on the photographs of scikit-image have as much in one of the
two; a quarter of the photographs have less in both."""

CHANGE_WINDOW_PX = 5
CHANGE_MAX = 24.0
"""Mean grey levels over a small window by which compression alone moves a still picture."""

SIDE_MAX_PX = 640
"""The detector misses a fifth of the legible lines at 480."""
SIDE_STEP_PX = 32
MAP_MIN = 0.3
BOX_MIN = 0.5
SHORT_SIDE_MIN_PX = 3
UNCLIP = 1.6
"""The detector was taught shrunken boxes; this many times area / perimeter brings them back."""

THICKNESS_MAX_SHARE = 0.2
"""Of the longer side of the frame. What is thicker is a cat's coat or a row of coins, read as `190` or `000000`."""

LINE_HEIGHT_PX = 48
LINE_WIDTHS_PX = (320, 1600)
"""Shorter lines are padded, as in training (unpadded, one line in ten reads differently), longer ones squeezed."""
UPRIGHT_RATIO = 1.5
"""Height / width from which a box is a line that runs downward and is turned before reading."""

CONFIDENCE_MIN = 0.7
CONFIDENCE_MIN_SHORT = 0.9
SHORT_LETTERS = 2
"""Lamps, leaves and wheels are read as one or two letters, with less than this confidence."""

SAME_OVERLAP = 0.5
SAME_RATIO = 0.8
SAME_BEGINNING = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One line of text, once, however many frames show it."""

    text: str
    confidence: float
    """Mean probability of its letters, 0..1."""
    frames: tuple[int, ...]
    """Positions of the frames that show it, increasing."""
    box: tuple[float, float, float, float]
    """Left, top, right, bottom as shares of width and height, in the frame that was read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What stands on the screen of one video."""

    lines: tuple[Line, ...]
    """In order of appearance, within a frame from top to bottom."""
    frames_read: int
    frames_skipped: Mapping[str, int]
    """Reason -> frames: `no_text_seen`, `duplicate` of a frame that is read, or over `budget`."""
    lines_dropped: Mapping[str, int]
    """Reason -> places: `too_thick` for letters, over `budget`, `unsure` reading, or `no_letters` in it."""

    @property
    def text(self) -> str:
        """All lines, one below the other; empty where there is none."""
        return "\n".join(line.text for line in self.lines)


@dataclass(slots=True)
class _Place:
    """Where a line stands: its corners in pixels, (4, 2), clockwise from the top left, and the frames that show it."""

    corners: NDArray[np.float32]
    frames: list[int] = field(default_factory=list)

    @property
    def thickness(self) -> float:
        """Height of the letters in pixels, also where the line runs downward."""
        top_left, top_right, _, bottom_left = self.corners
        return float(min(np.linalg.norm(top_right - top_left), np.linalg.norm(bottom_left - top_left)))

    @property
    def rectangle(self) -> tuple[float, float, float, float]:
        left, top = self.corners.min(axis=0)
        right, bottom = self.corners.max(axis=0)
        return float(left), float(top), float(right), float(bottom)


class OnScreenText:
    """Reads burnt-in text. One instance serves any number of threads.

    Args:
        threads: how many lines or frames of a video are worked on at once, each on one core.

    Raises:
        models.ModelMissing: the package rapidocr is not installed or carries other weights.
    """

    def __init__(self, *, threads: int = 1) -> None:
        self._detector_file = models.package_file("rapidocr", "models", "PP-OCRv6_det_small.onnx")
        self._recogniser_file = models.package_file("rapidocr", "models", "PP-OCRv6_rec_small.onnx")
        self._precision = models.best_precision()
        self._detector = models.Network(self._detector_file, threads=threads, precision=self._precision)
        self._recogniser = models.Network(self._recogniser_file, threads=threads, precision=self._precision)
        self._alphabet = _alphabet(self._recogniser_file)

    def read(self, frames: Sequence[NDArray[np.uint8]]) -> list[Reading]:
        """Read each video's frames.

        Args:
            frames: for each video (n, height, width, 3), RGB 0..255, any n from 0, in order of time. Longer sides
                than 640 px are shrunk for finding text, and read as they are.

        Returns:
            A reading a video, in the same order; none depends on its neighbours.

        Raises:
            ValueError: frames of another shape or type.
        """
        return [self._read_video(video) for video in frames]

    def spec(self) -> dict[str, Any]:
        """All that decides a reading: weights, precision, every threshold and budget. Plain JSON, part of a space."""
        constants = {name.lower(): value for name, value in globals().items() if name.isupper()}
        return {
            "detector_sha256": models.file_sha256(self._detector_file),
            "recogniser_sha256": models.file_sha256(self._recogniser_file),
            "engine": "openvino",
            "precision": self._precision,
            **{name: list(value) if isinstance(value, tuple) else value for name, value in sorted(constants.items())},
        }

    def _read_video(self, frames: NDArray[np.uint8]) -> Reading:
        if frames.ndim != 4 or frames.shape[-1] != 3 or frames.dtype != np.uint8:
            raise ValueError(f"frames of a video want (n, h, w, 3) uint8, got {frames.shape} {frames.dtype}")
        greys, skipped = _worth_reading(frames)
        found = self._places(frames, greys)
        plausible = [place for place in found if place.thickness <= THICKNESS_MAX_SHARE * max(frames.shape[1:3])]
        places = _within_budget(plausible)
        dropped = Counter(too_thick=len(found) - len(plausible), budget=len(plausible) - len(places))
        lines = []
        for place, (text, confidence) in zip(places, self._recognise(frames, places), strict=True):
            letters = len(_letters(text))
            if not letters:
                dropped["no_letters"] += 1
            elif confidence < (CONFIDENCE_MIN_SHORT if letters <= SHORT_LETTERS else CONFIDENCE_MIN):
                dropped["unsure"] += 1
            else:
                box = _shares(place.rectangle, frames.shape[1:3])
                lines.append(Line(text=text, confidence=confidence, frames=tuple(place.frames), box=box))
        return Reading(
            lines=tuple(_merged(_in_reading_order(lines))),
            frames_read=len(greys),
            frames_skipped=dict(+skipped),
            lines_dropped=dict(+dropped),
        )

    def _places(self, frames: NDArray[np.uint8], greys: Mapping[int, NDArray[np.uint8]]) -> list[_Place]:
        """Find the lines; one that stands where an earlier frame had it, unchanged, is added to the earlier one."""
        places: list[_Place] = []
        maps = self._detector.map([[_detector_input(frames[number])] for number in greys])
        for number, (probability,) in zip(greys, maps, strict=True):
            known = list(places)
            still = {first: _change(greys[first], greys[number]) for first in {place.frames[0] for place in known}}
            for corners in _corners(probability[0, 0], frames.shape[1:3]):
                place = _Place(corners, [number])
                twin = next((old for old in known if _stands(old, place, still[old.frames[0]])), None)
                if twin is None:
                    places.append(place)
                elif number not in twin.frames:
                    twin.frames.append(number)
        return places

    def _recognise(self, frames: NDArray[np.uint8], places: Sequence[_Place]) -> Iterable[tuple[str, float]]:
        # Lines run one by one: in a batch each would be padded to the longest and read otherwise than alone.
        inputs = [[_recogniser_input(_cut(frames[place.frames[0]], place.corners))] for place in places]
        for (probabilities,) in self._recogniser.map(inputs):
            yield _spell(probabilities[0], self._alphabet)


def _alphabet(recogniser: Path) -> list[str]:
    """Return what each class of the recogniser stands for: the blank, the letters that its file lists, and a space.

    Raises:
        models.ModelMissing: the file lists another number of letters than it tells apart.
    """
    import openvino

    model = openvino.Core().read_model(recogniser)
    alphabet = ["", *model.get_rt_info()["framework"]["character"].value.splitlines(), " "]
    classes = model.output(0).partial_shape[2].get_length()
    if len(alphabet) != classes:
        raise models.ModelMissing(f"{recogniser.name} tells {classes} letters apart and names {len(alphabet)}")
    return alphabet


def _worth_reading(frames: NDArray[np.uint8]) -> tuple[dict[int, NDArray[np.uint8]], Counter[str]]:
    """Return the grey pictures of the frames to read, by position, and why the others are not read."""
    greys: dict[int, NDArray[np.uint8]] = {}
    skipped: Counter[str] = Counter()
    for number, frame in enumerate(frames):
        grey = cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)
        if not may_have_text(grey):
            skipped["no_text_seen"] += 1
        elif any(_change(earlier, grey).max() <= CHANGE_MAX for earlier in greys.values()):
            skipped["duplicate"] += 1
        elif len(greys) == FRAMES_MAX:
            skipped["budget"] += 1
        else:
            greys[number] = grey
    return greys, skipped


def may_have_text(grey: NDArray[np.uint8]) -> bool:
    """Whether strokes stand as densely as in text somewhere in a picture, (height, width), 0..255."""
    half = tuple(max(1, side // 2) for side in reversed(grey.shape))
    sizes = grey, cv2.resize(grey, half, interpolation=cv2.INTER_AREA)
    return any(_stroke_density(picture) >= least for picture, least in zip(sizes, STROKES_MIN, strict=True))


def _stroke_density(grey: NDArray[Any]) -> float:
    """Return how densely strokes stand in the densest small window of a picture, 0..0.5.

    A stroke has two edges close together, so a window full of letters has many steep rises *and* many steep falls;
    a single contour, however steep, has one of them.
    """
    if grey.shape[1] <= 2:
        return 0.0
    steps = cv2.subtract(grey[:, 2:], grey[:, :-2]), cv2.subtract(grey[:, :-2], grey[:, 2:])
    steep = (cv2.threshold(step, STROKE_STEP, 1.0, cv2.THRESH_BINARY)[1].astype(np.float32) for step in steps)
    rises, falls = (cv2.blur(edges, STROKE_WINDOW_PX) for edges in steep)
    return float(np.minimum(rises, falls).max())


def _change(before: NDArray[np.uint8], after: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return by how many grey levels the neighbourhood of each pixel changed; its own noise is averaged away."""
    return np.asarray(cv2.blur(cv2.absdiff(before, after), (CHANGE_WINDOW_PX, CHANGE_WINDOW_PX)), np.uint8)


def _stands(old: _Place, new: _Place, change: NDArray[np.uint8]) -> bool:
    """Whether a place is an earlier one again, with the same picture in it."""
    left, top, right, bottom = (round(side) for side in old.rectangle)
    inside = change[max(0, top) : bottom, max(0, left) : right]
    return _overlap(old.rectangle, new.rectangle) >= SAME_OVERLAP and int(inside.max(initial=0)) <= CHANGE_MAX


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """Intersection over union of two rectangles (left, top, right, bottom).

    >>> _overlap((0, 0, 2, 1), (1, 0, 3, 1))
    0.3333333333333333
    """
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    both = max(0.0, width) * max(0.0, height)
    either = (a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both
    return both / either if either > 0 else 0.0


def _within_budget(places: Sequence[_Place]) -> list[_Place]:
    """Return the places that promise most, in their order.

    Where a line stood in an earlier frame, another look says less than a place not seen before; among equals the
    thickest go first, because captions are larger than what happens to be in the picture.
    """

    def promise(number: int) -> tuple[int, float]:
        place = places[number]
        seen_before = sum(_overlap(place.rectangle, earlier.rectangle) >= SAME_OVERLAP for earlier in places[:number])
        return seen_before, -place.thickness

    best = sorted(range(len(places)), key=promise)[:LINES_MAX]
    return [places[number] for number in sorted(best)]


def _detector_input(frame: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return (1, 3, height, width), BGR -1..1, with sides that the network can halve five times."""
    height, width = frame.shape[:2]
    scale = min(1.0, SIDE_MAX_PX / max(height, width))
    sides = tuple(max(SIDE_STEP_PX, round(side * scale / SIDE_STEP_PX) * SIDE_STEP_PX) for side in (width, height))
    return _normalised(cv2.resize(frame, sides, interpolation=cv2.INTER_AREA))


def _normalised(picture: NDArray[Any]) -> NDArray[np.float32]:
    """Return (1, 3, height, width), BGR -1..1, of an RGB picture."""
    return np.asarray(cv2.dnn.blobFromImage(picture, 1 / 127.5, mean=(127.5,) * 3, swapRB=True), np.float32)


def _corners(probability: NDArray[np.float32], shape: tuple[int, ...]) -> list[NDArray[np.float32]]:
    """Return the corners of each line in a map of the detector, in pixels of the frame, clockwise from the top left.

    Args:
        probability: (map height, map width), that a pixel belongs to the core of a line.
        shape: (height, width) of the frame.
    """
    scale = np.array([shape[1] / probability.shape[1], shape[0] / probability.shape[0]], np.float32)
    # Dilated by a pixel: the letters of a thin line would fall apart.
    core = cv2.dilate((probability > MAP_MIN).astype(np.uint8), np.ones((2, 2), np.uint8))
    found = []
    for contour in cv2.findContours(core, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)[0]:
        centre, (width, height), angle = cv2.minAreaRect(contour)
        tight = cv2.boxPoints((centre, (width, height), angle))
        if min(width, height) < SHORT_SIDE_MIN_PX or _mean_inside(probability, tight) < BOX_MIN:
            continue
        margin = UNCLIP * width * height / (width + height)
        found.append(_clockwise(cv2.boxPoints((centre, (width + margin, height + margin), angle)) * scale))
    return found


def _mean_inside(values: NDArray[np.float32], corners: NDArray[Any]) -> float:
    left, top, width, height = cv2.boundingRect(corners.astype(np.int32))
    left, top = max(0, left), max(0, top)
    window = values[top : top + height, left : left + width]
    mask = np.zeros(window.shape, np.uint8)
    cv2.fillPoly(mask, [(corners - (left, top)).astype(np.int32)], 1)
    return float(cv2.mean(window, mask)[0])


def _clockwise(corners: NDArray[Any]) -> NDArray[np.float32]:
    """Order four corners: top left, top right, bottom right, bottom left."""
    by_x = corners[np.argsort(corners[:, 0], kind="stable")]
    left, right = (side[np.argsort(side[:, 1], kind="stable")] for side in (by_x[:2], by_x[2:]))
    return np.array([left[0], right[0], right[1], left[1]], np.float32)


def _cut(frame: NDArray[np.uint8], corners: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Cut a tilted line out and lay it straight; one that runs downward is turned to run rightward."""
    top_left, top_right, bottom_right, bottom_left = corners
    width = max(1, int(max(np.linalg.norm(top_right - top_left), np.linalg.norm(bottom_right - bottom_left))))
    height = max(1, int(max(np.linalg.norm(bottom_left - top_left), np.linalg.norm(bottom_right - top_right))))
    straight = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    turn = cv2.getPerspectiveTransform(corners, straight)
    cut = cv2.warpPerspective(frame, turn, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    line = np.asarray(cut, np.uint8)
    return np.rot90(line) if height >= UPRIGHT_RATIO * width else line


def _recogniser_input(line: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return (1, 3, 48, width), BGR -1..1, the line at the left and grey beside it."""
    narrowest, widest = LINE_WIDTHS_PX
    width = min(widest, math.ceil(LINE_HEIGHT_PX * line.shape[1] / line.shape[0]))
    padded = max(narrowest, math.ceil(width / SIDE_STEP_PX) * SIDE_STEP_PX)
    blob = np.zeros((1, 3, LINE_HEIGHT_PX, padded), np.float32)
    blob[..., :width] = _normalised(cv2.resize(np.ascontiguousarray(line), (width, LINE_HEIGHT_PX)))
    return blob


def _spell(probabilities: NDArray[np.float32], alphabet: Sequence[str]) -> tuple[str, float]:
    """Read the best letter of each step; repeats count once and blanks not at all.

    Args:
        probabilities: (steps, classes), class 0 the blank.

    Returns:
        The text and the mean probability of its letters, 0 without any.

    >>> _spell(np.array([[0, .9, .1], [.1, .8, .1], [1, 0, 0], [.2, .7, .1], [0, .2, .8]], np.float32), ["", "a", "b"])
    ('aab', 0.8)
    """
    best = probabilities.argmax(axis=1)
    kept = best != 0
    kept[1:] &= best[1:] != best[:-1]
    if not kept.any():
        return "", 0.0
    certain = probabilities[kept, best[kept]]
    return "".join(alphabet[letter] for letter in best[kept]).strip(), round(float(certain.mean()), 4)


def _shares(rectangle: tuple[float, float, float, float], shape: tuple[int, ...]) -> tuple[float, float, float, float]:
    height, width = shape
    left, top, right, bottom = rectangle
    return max(0.0, left / width), max(0.0, top / height), min(1.0, right / width), min(1.0, bottom / height)


def _in_reading_order(lines: Iterable[Line]) -> list[Line]:
    """Order by first frame, then row by row from top to bottom, and from left to right within a row.

    Lines share a row when the middle of the lower one is above the bottom of the row's first.
    """
    ordered: list[Line] = []
    row: list[Line] = []
    for line in sorted(lines, key=lambda line: (line.frames[0], line.box[1])):
        if row and (line.frames[0] != row[0].frames[0] or (line.box[1] + line.box[3]) / 2 > row[0].box[3]):
            ordered += sorted(row, key=lambda line: line.box[0])
            row = []
        row.append(line)
    return ordered + sorted(row, key=lambda line: line.box[0])


def _merged(lines: Iterable[Line]) -> list[Line]:
    """Join readings of the same words into one line, at the place of the first.

    The whole of a caption that appears letter by letter stands for its beginnings, otherwise the surest reading.
    """
    merged: list[Line] = []
    for line in lines:
        place = next((n for n, known in enumerate(merged) if _same_line(known, line)), None)
        if place is None:
            merged.append(line)
            continue
        known = merged[place]
        begun = _letters(known.text) != _letters(line.text) and _begins(known.text, line.text)
        best = max(known, line, key=lambda one: (len(_letters(one.text)) if begun else 0, one.confidence))
        merged[place] = replace(best, frames=tuple(sorted({*known.frames, *line.frames})))
    return merged


def _same_line(a: Line, b: Line) -> bool:
    """Within one frame words must be equal: what is only alike there is really two lines, as in a list or a form."""
    together = not set(a.frames).isdisjoint(b.frames)
    return _letters(a.text) == _letters(b.text) if together else _same_words(a.text, b.text)


def _same_words(a: str, b: str) -> bool:
    """Whether two readings are of the same words: alike but for a slip, or one the beginning of the other.

    Numbers do not slip: step 1 and step 2 are two captions.

    >>> _same_words("Sunday morning", "Sundav morning."), _same_words("Step 1 of 3", "Step 2 of 3")
    (True, False)
    """
    if _begins(a, b):
        return True
    x, y = _letters(a), _letters(b)
    if [c for c in x if c.isdigit()] != [c for c in y if c.isdigit()]:
        return False
    return SequenceMatcher(None, x, y, autojunk=False).ratio() >= SAME_RATIO


def _begins(a: str, b: str) -> bool:
    shorter, longer = sorted((_letters(a), _letters(b)), key=len)
    return longer.startswith(shorter) and (len(shorter) >= SAME_BEGINNING or shorter == longer)


def _letters(text: str) -> str:
    """Return letters and digits alone, case folded: what two readings are compared by.

    >>> _letters("Ｇo, 2 Straße!")
    'go2strasse'
    """
    return "".join(c for c in unicodedata.normalize("NFKC", text).casefold() if c.isalnum())
