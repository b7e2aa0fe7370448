"""The library's own sample clips: portrait H.264 + AAC, drawn from photographs that scikit-image carries.

Eight kinds of six takes each. A take has its own crop, motion, colours, length, frame rate, caption and sound, so that
no two are alike, but a person sees at once which belong together. Some say nothing and can only be found by what is
seen or written in them, some are silent, two are copies of another with bars around it. The same seed draws the same
bytes.

    python -m ingest.samples FOLDER
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from encoders.models import package_file
from ingest.uploads import hashtags_in

SOUND_RATE_HZ = 44_100
SIZES_PX = ((360, 640), (288, 512), (288, 512), (324, 576))  # (width, height)
FRAME_RATES_HZ = (24, 25, 30)
DURATIONS_S = (4.0, 4.0, 4.0, 4.5, 4.5, 5.0, 5.0, 5.5, 6.0, 10.0)
FIRST_UPLOAD = datetime(2026, 1, 1, 8, tzinfo=UTC)

Picture = NDArray[np.uint8]  # (height, width, 3), RGB
Wave = NDArray[np.float64]  # (n_samples,), mono


@dataclass(frozen=True, slots=True)
class Take:
    """What the creator of one clip made of its scene."""

    caption: str = ""
    language: str | None = "en"
    text: str = ""
    """Burnt into the picture; said nowhere else."""
    silent: bool = False
    copy_of: int | None = None
    """The take of the same scene that this one copies, smaller, with black bars around it."""


@dataclass(frozen=True, slots=True)
class Scene:
    """What six clips have in common."""

    label: str
    photo: str | None
    """A file among scikit-image's data; None: drawn shapes."""
    focus: tuple[float, float]
    """Where to look, as shares of width and height."""
    sound: str
    takes: tuple[Take, ...]
    tint: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """Red, green and blue are multiplied by these: some photographs are grey."""


def unsaid(text: str = "", *, silent: bool = False) -> Take:
    """A take without a caption."""
    return Take(language=None, text=text, silent=silent)


# Photographs: only those that scikit-image documents as CC0, as public domain or as free of known restrictions.
SCENES = (
    Scene(
        "cat",
        "chelsea.png",  # CC0, Stefan van der Walt
        (0.48, 0.45),
        "purr",
        (
            Take("She heard the fridge open. #cat #catlife"),
            unsaid(),
            Take("早安，猫咪 #猫 #萌宠", "zh"),
            Take("Somebody is judging my singing again #pets", text="I HEARD THAT"),
            unsaid(silent=True),
            Take("too funny, had to share #repost", copy_of=0),
        ),
    ),
    Scene(
        "coffee",
        "coffee.png",  # CC0, Rachel Michetti, courtesy of Pikolo Espresso Bar
        (0.48, 0.45),
        "bubbles",
        (
            Take("First cup of the day #espresso #barista"),
            unsaid("DOUBLE SHOT\n2 EURO"),
            Take("Кофе перед работой #кофе #утро", "ru"),
            Take("How I drink my morning coffee, no sugar #coffeetime"),
            unsaid(),
            Take("Un café y a trabajar #café", "es", silent=True),
        ),
    ),
    Scene(
        "photographer",
        "camera.png",  # CC0, Lav Varshney
        (0.5, 0.42),
        "shutter",
        (
            Take("Waiting an hour for the right light #photography #tripod"),
            unsaid(),
            Take("Day one with the new gear #filmmaking", text="LENS CAP\nSTILL ON"),
            Take("A man and his camera in the park #streetphotography"),
            unsaid(silent=True),
            Take("Le photographe photographié #photo", "fr"),
        ),
    ),
    Scene(
        "rocket",
        "rocket.jpg",  # public domain, SpaceX
        (0.5, 0.55),
        "rumble",
        (
            Take("Tonight it flies! #rocket #launch"),
            unsaid("T MINUS TEN"),
            Take("火箭发射倒计时 #火箭 #航天", "zh"),
            Take("Standing on the launch pad before dawn #space"),
            unsaid(),
            Take("found this one, turn it up #fyp", copy_of=0),
        ),
    ),
    Scene(
        "astronaut",
        "astronaut.png",  # public domain, NASA: Eileen Collins
        (0.45, 0.4),
        "radio",
        (
            Take("Ask me anything about living in orbit #astronaut #space"),
            unsaid("SHE FLEW\nTHE SHUTTLE"),
            Take("Хочу стать космонавтом #космос", "ru"),
            Take("Trying on the orange suit #training"),
            unsaid(silent=True),
            Take("अंतरिक्ष यात्री से मिलिए #अंतरिक्ष", "hi"),
        ),
    ),
    Scene(
        "stars",
        "hubble_deep_field.jpg",  # public domain, NASA
        (0.5, 0.5),
        "chord",
        (
            Take("Every dot here is a galaxy #astronomy #hubble"),
            unsaid(),
            Take("Fall asleep under the stars #relax #nightsky", text="BREATHE SLOWLY"),
            Take("宇宙の果てまで #宇宙 #星空", "ja"),
            unsaid(silent=True),
            Take("Thirteen billion years in a few seconds #universe"),
        ),
    ),
    Scene(
        "bricks",
        "brick.png",  # CC0, CC0Textures
        (0.5, 0.5),
        "hammer",
        (
            Take("Laid every one of these by hand #bricklaying #diy"),
            unsaid("MORTAR\nONE TO FOUR"),
            Take("Old wall, new story #architecture"),
            Take("Satisfying rows of bricks #satisfying #construction"),
            unsaid(),
            Take("Ladrillo a ladrillo #obra", "es", silent=True),
        ),
        (1.35, 0.85, 0.7),
    ),
    Scene(
        "shapes",
        None,
        (0.5, 0.5),
        "arpeggio",
        (
            Take("Bouncing balls to fall asleep to #animation #loop"),
            unsaid(),
            Take("Circle meets square #geometry #motiongraphics", text="ENDLESS"),
            Take("My first motion design exercise #design"),
            unsaid(silent=True),
            Take("Красный круг, синий квадрат #анимация", "ru"),
        ),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleClip:
    """What is known of one clip before it is drawn, and must be found in it afterwards."""

    path: Path
    video_id: str
    label: str
    creator_id: str
    caption: str
    hashtags: tuple[str, ...]
    language: str | None
    uploaded_at: datetime
    width: int
    height: int
    fps: int
    frame_count: int
    sound_id: str | None
    """None: the file has no sound."""
    burnt_text: str
    near_copy_of: str | None
    """The video_id of the clip that this one copies."""

    @property
    def duration_s(self) -> float:
        return self.frame_count / self.fps

    def manifest_row(self) -> dict[str, object]:
        names = ("video_id", "creator_id", "caption", "hashtags", "sound_id", "language", "label", "near_copy_of")
        row = {"uri": self.path.name} | {name: getattr(self, name) for name in names}
        return row | {"uploaded_at": self.uploaded_at.isoformat()}


def draw_samples(folder: Path, count: int = 48, seed: int = 7) -> list[SampleClip]:
    """Draw `count` clips and their `manifest.jsonl` into a folder, which is made where it is missing.

    The manifest has the columns of `ingest.uploads` and two of its own, `label` and `near_copy_of`.

    Raises:
        ModelMissing: scikit-image is not installed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    clips = [_plan(folder, number, seed) for number in range(count)]
    for number, clip in enumerate(clips):
        _draw(clip, number, seed)
    rows = (json.dumps(clip.manifest_row(), ensure_ascii=False) for clip in clips)
    (folder / "manifest.jsonl").write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    return clips


def _scene_and_take(number: int) -> tuple[Scene, Take]:
    scene = SCENES[number % len(SCENES)]
    return scene, scene.takes[number // len(SCENES) % len(scene.takes)]


def _chances(number: int, seed: int, purpose: str) -> np.random.Generator:
    """The dice of one clip; a copy throws those of its original."""
    _, take = _scene_and_take(number)
    if take.copy_of is not None:
        number = number % len(SCENES) + take.copy_of * len(SCENES)
    return np.random.default_rng([seed, number, *purpose.encode()])


def _plan(folder: Path, number: int, seed: int) -> SampleClip:
    scene, take = _scene_and_take(number)
    chances = _chances(number, seed, "plan")
    fps = int(chances.choice(FRAME_RATES_HZ))
    duration_s = float(chances.choice(DURATIONS_S))
    width, height = SIZES_PX[chances.integers(len(SIZES_PX))] if take.copy_of is None else min(SIZES_PX)
    video_id = f"{scene.label}-{number // len(SCENES) + 1}"
    return SampleClip(
        path=folder / f"{video_id}.mp4",
        video_id=video_id,
        label=scene.label,
        creator_id=f"creator-{number * 5 % 13 + 1}",
        caption=take.caption,
        hashtags=hashtags_in(take.caption),
        language=take.language,
        uploaded_at=FIRST_UPLOAD + timedelta(hours=7 * number),
        width=width,
        height=height,
        fps=fps,
        frame_count=round(duration_s * fps),
        sound_id=None if take.silent else f"{scene.sound}-{1 + chances.integers(2)}",
        burnt_text=take.text,
        near_copy_of=None if take.copy_of is None else f"{scene.label}-{take.copy_of + 1}",
    )


def _draw(clip: SampleClip, number: int, seed: int) -> None:
    scene, _ = _scene_and_take(number)
    chances = _chances(number, seed, "draw")
    if scene.photo is None:
        frames = _shapes(clip, chances)
    else:
        frames = _flight_over(_graded(_photo(scene.photo), scene.tint, chances), scene.focus, clip, chances)
    if clip.burnt_text:
        frames = _with_text(frames, clip)
    if clip.near_copy_of is not None:
        frames = map(_with_bars, frames)
    sound = None
    if clip.sound_id is not None:
        name, variant = clip.sound_id.split("-")
        t = np.arange(round(clip.duration_s * SOUND_RATE_HZ)) / SOUND_RATE_HZ
        sound = _finished(SOUNDS[name](t, np.random.default_rng([seed, int(variant)])))
    _write_mp4(clip, frames, sound)


# Pictures


def _photo(name: str) -> Picture:
    """Read a photograph, its short side 400 pixels, so that no crop of it flickers."""
    with Image.open(package_file("skimage", "data", name)) as image:
        shrunk = image.convert("RGB")
    scale = 400 / min(shrunk.size)
    return np.asarray(
        shrunk.resize((round(shrunk.width * scale), round(shrunk.height * scale)), Image.Resampling.LANCZOS)
    )


def _graded(photo: Picture, tint: tuple[float, float, float], chances: np.random.Generator) -> Picture:
    """Mirror one in two, and give it a light, a contrast and a tint of its own."""
    if chances.random() < 0.5:
        photo = photo[:, ::-1]
    gains = np.array(tint) * chances.uniform(0.85, 1.15, 3)
    contrast, light = chances.uniform(0.85, 1.2), chances.uniform(-15, 15)
    levels = np.arange(256)[:, None]
    curve = np.clip(((levels - 128) * contrast + 128 + light) * gains, 0, 255).astype(np.uint8)  # (256, 3)
    return np.stack([curve[photo[..., channel], channel] for channel in range(3)], axis=-1)


def _flight_over(
    photo: Picture, focus: tuple[float, float], clip: SampleClip, chances: np.random.Generator
) -> Iterator[Picture]:
    """Pan, zoom and turn over a photograph; where it does not reach, it stands before a blurred self."""
    height, width = photo.shape[:2]
    zoom_from = chances.uniform(1.0, 2.2)  # 1: the photograph is as wide as the frame
    zoom_to = max(1.0, zoom_from * chances.choice([0.7, 0.8, 1.25, 1.4]))
    looks = np.array(focus) + chances.uniform(-0.12, 0.12, (2, 2))
    turns_deg = chances.uniform(-4, 4, 2)
    backdrop: Picture = np.empty((clip.height, clip.width, 3), np.uint8)
    cv2.GaussianBlur(cv2.resize(photo, (clip.width, clip.height)), (0, 0), clip.width / 18, dst=backdrop)
    for eased in _eased(clip.frame_count):
        scale = clip.width / width * (zoom_from + (zoom_to - zoom_from) * eased)
        x = _within(width * (looks[0, 0] + (looks[1, 0] - looks[0, 0]) * eased), clip.width / scale, width)
        y = _within(height * (looks[0, 1] + (looks[1, 1] - looks[0, 1]) * eased), clip.height / scale, height)
        turn = math.radians(turns_deg[0] + (turns_deg[1] - turns_deg[0]) * eased)
        a, b = scale * math.cos(turn), scale * math.sin(turn)
        view = np.array([[a, b, clip.width / 2 - a * x - b * y], [-b, a, clip.height / 2 + b * x - a * y]])
        frame = backdrop.copy()
        cv2.warpAffine(photo, view, (clip.width, clip.height), dst=frame, borderMode=cv2.BORDER_TRANSPARENT)
        yield frame


def _eased(count: int) -> NDArray[np.float64]:
    """From 0 to 1, slow at both ends."""
    t = np.linspace(0, 1, count)
    return t * t * (3 - 2 * t)


def _within(centre: float, span: float, size: float) -> float:
    """Keep a window of `span` inside `size`; in the middle, where it does not fit."""
    return size / 2 if span >= size else min(max(centre, span / 2), size - span / 2)


def _shapes(clip: SampleClip, chances: np.random.Generator) -> Iterator[Picture]:
    """Discs, squares and triangles that fly straight and bounce off the edges."""
    paper = np.full((clip.height, clip.width, 3), chances.integers(190, 250, 3), np.uint8)
    count = int(chances.integers(4, 8))
    colours = chances.integers(0, 220, (count, 3)).tolist()
    radii = chances.uniform(0.07, 0.19, count) * clip.width
    starts = chances.uniform(0, 2, (count, 2))
    speeds = chances.uniform(0.15, 0.6, (count, 2)) * chances.choice([-1, 1], (count, 2))  # rooms a second
    spins = chances.uniform(-2, 2, count)
    corners = chances.choice([3, 4, 32], count)  # 32 corners make a disc
    for frame in range(clip.frame_count):
        t = frame / clip.fps
        picture = paper.copy()
        for i in range(count):
            room = np.array([clip.width, clip.height]) - 2 * radii[i]
            centre = radii[i] + room * np.abs((starts[i] + speeds[i] * t) % 2 - 1)
            angles = spins[i] * t + np.arange(corners[i]) * 2 * np.pi / corners[i]
            outline = centre + radii[i] * np.stack([np.cos(angles), np.sin(angles)], axis=-1)
            cv2.fillPoly(picture, [np.rint(outline * 16).astype(np.int32)], colours[i], cv2.LINE_AA, shift=4)
        yield picture


def _with_text(frames: Iterator[Picture], clip: SampleClip) -> Iterator[Picture]:
    """Burn white letters with a dark edge into the lower third."""
    font = ImageFont.load_default(size=clip.width / 9)
    sheet = Image.new("RGBA", (clip.width, clip.height))
    ImageDraw.Draw(sheet).multiline_text(
        (clip.width / 2, clip.height * 0.72),
        clip.burnt_text,
        fill="white",
        font=font,
        anchor="mm",
        align="center",
        stroke_width=3,
        stroke_fill="black",
    )
    left, top, right, bottom = sheet.getbbox() or (0, 0, 0, 0)
    letters = np.asarray(sheet, np.float32)[top:bottom, left:right]
    opacity = letters[..., 3:] / 255
    for frame in frames:
        under = frame[top:bottom, left:right]
        frame[top:bottom, left:right] = (letters[..., :3] * opacity + under * (1 - opacity)).astype(np.uint8)
        yield frame


def _with_bars(frame: Picture) -> Picture:
    """Shrink to four fifths on black, a little brighter, as copies of copies are."""
    height, width = frame.shape[:2]
    inner = cv2.resize(frame, (width * 4 // 5, height * 4 // 5), interpolation=cv2.INTER_AREA)
    barred = np.zeros_like(frame)
    top, left = (height - inner.shape[0]) // 2, (width - inner.shape[1]) // 2
    barred[top : top + inner.shape[0], left : left + inner.shape[1]] = cv2.convertScaleAbs(inner, alpha=1.05, beta=6)
    return barred


# Sounds: times in seconds, and dice for what differs between two of a kind


def _noise(t: Wave, chances: np.random.Generator, low_hz: float, high_hz: float) -> Wave:
    """Noise between two frequencies, standard deviation 1."""
    spectrum = np.fft.rfft(chances.standard_normal(len(t)))
    frequencies = np.fft.rfftfreq(len(t), 1 / SOUND_RATE_HZ)
    spectrum[(frequencies < low_hz) | (frequencies > high_hz)] = 0
    band = np.fft.irfft(spectrum, len(t))
    noise: Wave = band / band.std()
    return noise


def _struck(t: Wave, at_s: Sequence[float] | Wave, hz: Sequence[float] | Wave, decay_s: float) -> Wave:
    """Tones that begin at `at_s` and die away."""
    out = np.zeros_like(t)
    ringing_s = t[: round(8 * decay_s * SOUND_RATE_HZ)]  # below a thousandth after that
    for begin_s, tone_hz in zip(at_s, hz, strict=True):
        begin = round(begin_s * SOUND_RATE_HZ)
        since_s = ringing_s[: max(0, len(t) - begin)]
        out[begin : begin + len(since_s)] += np.sin(2 * np.pi * tone_hz * since_s) * np.exp(-since_s / decay_s)
    return out


def _purr(t: Wave, chances: np.random.Generator) -> Wave:
    beats = 0.5 + 0.5 * np.sin(2 * np.pi * chances.uniform(22, 28) * t)
    return _noise(t, chances, 40, 500) * beats**2 * (0.7 + 0.3 * np.sin(2 * np.pi * 0.6 * t))


def _bubbles(t: Wave, chances: np.random.Generator) -> Wave:
    at_s = np.sort(chances.uniform(0, t[-1], int(12 * t[-1])))
    return 0.3 * _noise(t, chances, 800, 6000) + 2 * _struck(t, at_s, chances.uniform(400, 1400, len(at_s)), 0.04)


def _shutter(t: Wave, chances: np.random.Generator) -> Wave:
    at_s = np.arange(0.3, t[-1], chances.uniform(0.6, 0.9))
    gate = _struck(t, np.sort([*at_s, *(at_s + 0.09)]), np.zeros(2 * len(at_s)) + 1900, 0.008)
    return gate * (1 + _noise(t, chances, 2000, 9000)) + 0.01 * _noise(t, chances, 100, 4000)


def _rumble(t: Wave, chances: np.random.Generator) -> Wave:
    return _noise(t, chances, 20, 220) * np.linspace(0.2, 1, len(t)) + 0.1 * _noise(t, chances, 220, 3000)


def _radio(t: Wave, chances: np.random.Generator) -> Wave:
    at_s = np.arange(0.4, t[-1], chances.uniform(1.2, 1.6))
    quindar = [2525.0 if i % 2 == 0 else 2475.0 for i in range(len(at_s))]  # the beeps of NASA's voice loops
    return _struck(t, at_s, quindar, 0.12) + 0.12 * _noise(t, chances, 300, 3000)


def _chord(t: Wave, chances: np.random.Generator) -> Wave:
    root_hz = chances.choice([110.0, 130.8])
    swell: Wave = 0.75 + 0.25 * np.sin(2 * np.pi * 0.2 * t)
    voices = [np.sin(2 * np.pi * root_hz * ratio * t + ratio) for ratio in (1, 1.25, 1.5, 2, 2.5)]
    chord: Wave = swell * np.sum(voices, axis=0)
    return chord


def _hammer(t: Wave, chances: np.random.Generator) -> Wave:
    at_s = np.arange(0.2, t[-1], chances.uniform(0.45, 0.6))
    return _struck(t, at_s, chances.uniform(850, 1150, len(at_s)), 0.05) + _struck(t, at_s, at_s * 0 + 140, 0.03)


def _arpeggio(t: Wave, chances: np.random.Generator) -> Wave:
    at_s = np.arange(0, t[-1], 0.2)
    steps = np.resize(chances.permutation([0, 4, 7, 12, 16]), len(at_s))
    return _struck(t, at_s, 330 * 2 ** (steps / 12), 0.25)


SOUNDS: dict[str, Callable[[Wave, np.random.Generator], Wave]] = {
    "purr": _purr,
    "bubbles": _bubbles,
    "shutter": _shutter,
    "rumble": _rumble,
    "radio": _radio,
    "chord": _chord,
    "hammer": _hammer,
    "arpeggio": _arpeggio,
}


def _finished(wave: Wave) -> NDArray[np.float32]:
    """Half of full scale at its loudest, and no click at the ends."""
    fade = np.linspace(0, 1, SOUND_RATE_HZ // 20)
    wave = 0.5 * wave / np.abs(wave).max()
    wave[: len(fade)] *= fade
    wave[-len(fade) :] *= fade[::-1]
    return wave.astype(np.float32)


# Files


def _write_mp4(clip: SampleClip, frames: Iterator[Picture], sound: NDArray[np.float32] | None) -> None:
    with av.open(str(clip.path), "w", format="mp4") as out:
        # The same bytes each time: one thread, and no macroblock tree, which differed between runs of one program.
        options = {"preset": "veryfast", "crf": "28" if clip.near_copy_of is None else "34"}
        options |= {"threads": "1", "x264-params": "mbtree=0"}
        video = out.add_stream("libx264", rate=clip.fps, options=options)
        video.width, video.height, video.pix_fmt = clip.width, clip.height, "yuv420p"
        if sound is not None:
            audio = out.add_stream("aac", rate=SOUND_RATE_HZ, layout="mono")
            audio.bit_rate = 64_000
            heard = av.AudioFrame.from_ndarray(sound[None], format="fltp", layout="mono")
            heard.sample_rate, heard.pts, heard.time_base = SOUND_RATE_HZ, 0, Fraction(1, SOUND_RATE_HZ)
            out.mux(audio.encode(heard))
            out.mux(audio.encode(None))
        for number, picture in enumerate(frames):
            seen = av.VideoFrame.from_ndarray(picture, format="rgb24")
            seen.pts, seen.time_base = number, Fraction(1, clip.fps)
            out.mux(video.encode(seen))
        out.mux(video.encode(None))


def _table(clips: Sequence[SampleClip]) -> str:
    lines = [f"{'kind':<14}{'clips':>6}{'seconds':>9}{'KB':>7}{'unsaid':>8}{'silent':>8}{'written':>9}{'copies':>8}"]
    for label in dict.fromkeys(clip.label for clip in clips):
        some = [clip for clip in clips if clip.label == label]
        lines.append(
            f"{label:<14}{len(some):>6}{sum(clip.duration_s for clip in some):>9.1f}"
            f"{sum(clip.path.stat().st_size for clip in some) // 1024:>7}"
            f"{sum(not clip.caption for clip in some):>8}{sum(clip.sound_id is None for clip in some):>8}"
            f"{sum(bool(clip.burnt_text) for clip in some):>9}{sum(clip.near_copy_of is not None for clip in some):>8}"
        )
    return "\n".join(lines)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m ingest.samples FOLDER")
    print(_table(draw_samples(Path(sys.argv[1]))))
