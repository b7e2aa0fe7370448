"""A decoder and encoders that are quick and whose answers are known: a file's text says what becomes of it.

`clip 7` is a clip drawn from seed 7 (`clip 7 silent` without sound), `broken` is the file's fault, `killer` kills its
decode child every time.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoders.onscreen import Reading
from index.home import Home
from index.records import MediaFacts, Space
from ingest.clip import Clip, MediaError
from ingest.decode import ChildDied
from ingest.encode import Encoders
from ingest.pipeline import Engine, Threads

SPACE = Space(
    name="fake",
    spec={"text_shares": dict.fromkeys(("caption", "hashtags", "tags", "onscreen", "transcript"), 1.0)},
    dims={"vision": 6, "text": 384, "sound": 4},
    weights={"vision": 0.5, "text": 0.25, "sound": 0.25},
)


def unit(seed: str, dim: int) -> NDArray[np.float32]:
    """A unit vector that depends on nothing but its seed."""
    number = int.from_bytes(hashlib.sha256(seed.encode()).digest()[:8], "little")
    row = np.random.default_rng(number).normal(size=dim)
    return np.asarray(row / np.linalg.norm(row), dtype=np.float32)


def clip(seed: int, *, silent: bool = False) -> Clip:
    rng = np.random.default_rng(seed)
    waveform = np.zeros(0) if silent else rng.uniform(-0.5, 0.5, 8_000)
    return Clip(
        frames=rng.integers(0, 255, (2, 8, 8, 3), dtype=np.uint8),
        frame_times_s=np.array([0.25, 0.75]),
        text_frames=rng.integers(0, 255, (1, 16, 16, 3), dtype=np.uint8),
        text_frame_times_s=np.array([0.5]),
        waveform=waveform.astype(np.float32),
        signals={"brightness": np.array([0.4, 0.6], np.float32)},
        facts=MediaFacts(container="fake", duration_s=1.0, declared_duration_s=1.0, video_codec="drawn"),
    )


class FakeDecoder:
    """Counts what it decodes."""

    def __init__(self) -> None:
        self.decoded: Counter[str] = Counter()

    def decode(self, path: Path) -> Clip:
        text = path.read_text()
        self.decoded[text] += 1
        if text.startswith("killer"):
            raise ChildDied("child_died", "the decode child was killed by SIGSEGV")
        if not text.startswith("clip"):
            raise MediaError("not_media", f"wanted a clip, got {text[:20]!r}")
        return clip(int(text.split()[1]), silent="silent" in text)


class FakeVision:
    def encode(self, videos: Sequence[NDArray[np.uint8]]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        probabilities = np.full((len(videos), 1000), 0.2 / 999, np.float32)
        for row, frames in zip(probabilities, videos, strict=True):
            row[int(frames[0, 0, 0, 0])] = 0.8
        return np.stack([unit(str(frames.sum()), 6) for frames in videos]), probabilities

    def tags(self, probabilities: NDArray[np.float32]) -> list[list[tuple[str, float]]]:
        return [[(f"class {int(np.argmax(row))}", float(row.max()))] for row in probabilities]

    def spec(self) -> dict[str, Any]:
        return {}


class FakeText:
    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        return np.stack([unit(text, 384) for text in texts])

    def spell_out(self, hashtags: Sequence[str]) -> str:
        return " ".join(hashtags)

    def as_vision(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        return rows[:, :6] / np.linalg.norm(rows[:, :6], axis=1, keepdims=True)

    def tag_rows(self, probabilities: NDArray[np.float32]) -> NDArray[np.float32]:
        return self.encode([f"class {int(np.argmax(row))}" for row in probabilities])

    def spec(self) -> dict[str, Any]:
        return {}


class FakeReader:
    """Reads nothing, or the same on every video."""

    def __init__(self, text: str = "") -> None:
        self.text = text

    def read(self, frames: Sequence[NDArray[np.uint8]]) -> Sequence[Reading]:
        from encoders.onscreen import Line

        lines = (Line(text=self.text, confidence=1.0, frames=(0,), box=(0, 0, 1, 1)),) if self.text else ()
        return [Reading(lines=lines, frames_read=1, frames_skipped={}, lines_dropped={}) for _ in frames]

    def spec(self) -> dict[str, Any]:
        return {}


class FakeSpeech:
    def segments_s(self, waveform: NDArray[np.float32]) -> list[tuple[float, float]]:
        return [(0.0, 0.25)]

    def spec(self) -> dict[str, Any]:
        return {}


class FakeSound:
    def encode(self, waveforms: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        return np.stack([unit(str(waveform.sum()), 4) for waveform in waveforms])

    def signals(self, waveform: NDArray[np.float32]) -> dict[str, float]:
        return {"loudness_dbfs": -20.0}

    def spec(self) -> dict[str, Any]:
        return {}


def fake_encoders(**replaced: Any) -> Encoders:
    parts: dict[str, Any] = {
        "vision": FakeVision(),
        "text": FakeText(),
        "onscreen": FakeReader(),
        "speech": FakeSpeech(),
        "transcript": None,
        "sound": FakeSound(),
        "off": {"transcript": "off:model_missing"},
    }
    return Encoders(**parts | replaced)


@contextmanager
def fake_crew(
    home: Home, decoder: FakeDecoder, encoders: Encoders | None = None, workers: int = 2
) -> Iterator[Threads]:
    engine = Engine(space=SPACE, decoder=decoder, encoders=encoders or fake_encoders())
    with Threads(home.blobs, engine, workers) as crew:
        yield crew
