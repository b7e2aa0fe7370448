"""Encode: clips become analyses. Every channel of every clip ends as a unit vector or as a reason in the mask.

```
 frames ────────► vision (and from the same pass: class probabilities ─► tags)
 text frames ───► on-screen text ─┐
 waveform ──────► speech gate ────┼─► transcript ─► sentences ─► text encoder
          └─────► sound           └────────────────────┘
```
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from threading import Lock
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from encoders.onscreen import Reading
from encoders.sound import is_silent
from index.records import FAILED, PRESENT, Analysis, Tag
from ingest import fuse
from ingest.clip import SAMPLE_RATE_HZ, Clip

CHANNELS = ("vision", "tags", "onscreen", "transcript", "sound")
"""What the bytes of a video say, each with a place in the mask."""

THUMBNAIL_HEIGHT_PX = 320
OFF = "off:"
"""Prefix of a mask reason: the operator or the installation has this channel switched off in this space."""

Vectors = NDArray[np.float32]


class VisionEncoder(Protocol):
    """Frames in; a unit row a video and its class probabilities out."""

    def encode(self, videos: Sequence[NDArray[np.uint8]]) -> tuple[Vectors, Vectors]: ...
    def tags(self, probabilities: Vectors) -> list[list[tuple[str, float]]]: ...
    def spec(self) -> dict[str, Any]: ...


class TextEncoder(fuse.TextEncoder, Protocol):
    """Beside sentences: class probabilities as what they say, and sentences as what they would look like."""

    def tag_rows(self, probabilities: Vectors) -> Vectors: ...
    def as_vision(self, rows: Vectors) -> Vectors: ...
    def spec(self) -> dict[str, Any]: ...


class OnScreenReader(Protocol):
    """Distinct frames in, what is written on them out."""

    def read(self, frames: Sequence[NDArray[np.uint8]]) -> Sequence[Reading]: ...
    def spec(self) -> dict[str, Any]: ...


class SpeechGate(Protocol):
    """Where somebody speaks."""

    def segments_s(self, waveform: NDArray[np.float32]) -> list[tuple[float, float]]: ...
    def spec(self) -> dict[str, Any]: ...


class Transcriber(Protocol):
    """What is said, in the stretches where somebody speaks."""

    def transcribe(self, waveform: NDArray[np.float32], segments_s: Sequence[tuple[float, float]]) -> Any: ...
    def spec(self) -> dict[str, Any]: ...


class SoundEncoder(Protocol):
    """Waveforms in, unit rows out."""

    def encode(self, waveforms: Sequence[NDArray[np.float32]]) -> Vectors: ...
    def signals(self, waveform: NDArray[np.float32]) -> dict[str, float]: ...
    def spec(self) -> dict[str, Any]: ...


@dataclass(slots=True, kw_only=True)
class Encoders:
    """Everything that one space encodes with."""

    vision: VisionEncoder | None
    text: TextEncoder
    onscreen: OnScreenReader | None
    speech: SpeechGate | None
    transcript: Transcriber | None
    sound: SoundEncoder | None
    off: Mapping[str, str] = field(default_factory=dict)
    """Channel -> the reason that the mask gives for it."""
    missing: Mapping[str, str] = field(default_factory=dict)
    """Encoder -> what a person has to do to have it."""
    clock: Callable[[], float] = time.perf_counter
    """What `seconds` are counted by; a benchmark with one worker passes `time.process_time`."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Spent so far, by encoder, over all threads."""
    _lock: Lock = field(default_factory=Lock)

    @contextmanager
    def timed(self, step: str) -> Iterator[None]:
        started = self.clock()
        yield
        with self._lock:
            self.seconds[step] = self.seconds.get(step, 0.0) + self.clock() - started


@dataclass(slots=True, kw_only=True)
class _Draft:
    """What is known of one clip while its channels are encoded one after the other."""

    clip: Clip
    vectors: dict[str, Vectors] = field(default_factory=dict)
    mask: dict[str, str] = field(default_factory=dict)
    tags: tuple[Tag, ...] = ()
    texts: dict[str, str] = field(default_factory=dict)
    speech_segments_s: tuple[tuple[float, float], ...] = ()
    signals: dict[str, float] = field(default_factory=dict)

    def put(self, channel: str, vector: Vectors) -> None:
        """Set a channel's vector, or say that it is not one: nobody downstream ever sees a NaN."""
        if np.isfinite(vector).all():
            self.vectors[channel], self.mask[channel] = vector, PRESENT
        else:
            self.mask[channel] = FAILED + "not_finite"


def analyse(
    clips: Sequence[tuple[str, Clip]], encoders: Encoders, space_id: str, *, thumbnails: Sequence[str | None]
) -> list[Analysis]:
    """Encode a batch of clips, each encoder once for all of them.

    Args:
        clips: (content_sha256, clip) of each.
        encoders: those of the space.
        space_id: stands on every analysis.
        thumbnails: the SHA-256 of each clip's thumbnail, None for sound alone.

    Returns:
        An `Analysis` a clip, in the same order; a row does not depend on its neighbours.
    """
    drafts = [_Draft(clip=clip, mask=_switched_off(encoders)) for _, clip in clips]
    _see(drafts, encoders)
    _read(drafts, encoders)
    _hear(drafts, encoders)
    _understand(drafts, encoders)
    return [
        Analysis(
            content_sha256=content,
            space=space_id,
            vectors=draft.vectors,
            mask=draft.mask,
            tags=draft.tags,
            onscreen_text=draft.texts.get("onscreen", ""),
            transcript=draft.texts.get("transcript", ""),
            speech_segments_s=draft.speech_segments_s,
            signals=draft.signals | _frame_signals(draft.clip),
            facts=draft.clip.facts,
            thumbnail_sha256=thumbnail,
        )
        for (content, _), draft, thumbnail in zip(clips, drafts, thumbnails, strict=True)
    ]


def complete(old: Analysis, new: Analysis) -> Analysis:
    """Fill the channels that had failed in `old` from `new`; what stood already stays as it was."""
    failed = [name for name, why in old.mask.items() if why.startswith(FAILED) and name in new.mask]
    return replace(
        old,
        mask={**old.mask, **{channel: new.mask[channel] for channel in failed}},
        vectors={**old.vectors, **{channel: new.vectors[channel] for channel in failed if channel in new.vectors}},
        tags=new.tags if "tags" in failed else old.tags,
        onscreen_text=new.onscreen_text if "onscreen" in failed else old.onscreen_text,
        transcript=new.transcript if "transcript" in failed else old.transcript,
        speech_segments_s=old.speech_segments_s or new.speech_segments_s,
        signals={**new.signals, **old.signals},
    )


def thumbnail_jpeg(clip: Clip) -> bytes | None:
    """Draw a video's picture: its sharpest frame, as a JPEG of at most 320 px height; None for sound alone."""
    if not len(clip.frames):
        return None
    sharpness = clip.signals.get("sharpness")
    chosen = int(np.argmax(sharpness)) if sharpness is not None else len(clip.frames) // 2
    image = Image.fromarray(clip.frames[chosen])
    image.thumbnail((THUMBNAIL_HEIGHT_PX * 2, THUMBNAIL_HEIGHT_PX))
    data = io.BytesIO()
    image.save(data, "JPEG", quality=82)
    return data.getvalue()


def _switched_off(encoders: Encoders) -> dict[str, str]:
    return {channel: encoders.off[channel] for channel in CHANNELS if channel in encoders.off}


def _see(drafts: Sequence[_Draft], encoders: Encoders) -> None:
    """Vision and tags, from one pass over the frames."""
    if encoders.vision is None:
        return
    seen = [draft for draft in drafts if len(draft.clip.frames)]
    for draft in drafts:
        if not len(draft.clip.frames):
            draft.mask |= {"vision": "no_picture", "tags": "no_picture"}
    if not seen:
        return
    with encoders.timed("vision"):
        rows, probabilities = encoders.vision.encode([draft.clip.frames for draft in seen])
        names = encoders.vision.tags(probabilities)
        tag_rows = encoders.text.tag_rows(probabilities)
    for draft, row, tags, tag_row in zip(seen, rows, names, tag_rows, strict=True):
        draft.put("vision", row)
        draft.put("tags", tag_row)
        draft.tags = tuple(Tag(name=name, probability=round(p, 6)) for name, p in tags)


def _read(drafts: Sequence[_Draft], encoders: Encoders) -> None:
    """What is written on the frames."""
    if encoders.onscreen is None:
        return
    with encoders.timed("onscreen"):
        readings = encoders.onscreen.read([draft.clip.text_frames for draft in drafts])
    for draft, reading in zip(drafts, readings, strict=True):
        if reading.text:
            draft.texts["onscreen"] = reading.text
        else:
            draft.mask["onscreen"] = "no_text" if len(draft.clip.text_frames) else "no_picture"


def _hear(drafts: Sequence[_Draft], encoders: Encoders) -> None:
    """Speech, what is said in it, and sound."""
    for draft in drafts:
        _hear_speech(draft, encoders)
    if encoders.sound is None:
        return
    heard = []
    for draft in drafts:
        if not len(draft.clip.waveform):
            draft.mask["sound"] = "no_sound"
        elif is_silent(draft.clip.waveform):
            draft.mask["sound"] = "silent"
        else:
            heard.append(draft)
    if not heard:
        return
    with encoders.timed("sound"):
        rows = encoders.sound.encode([draft.clip.waveform for draft in heard])
        for draft, row in zip(heard, rows, strict=True):
            draft.put("sound", row)
            draft.signals |= encoders.sound.signals(draft.clip.waveform)


def _hear_speech(draft: _Draft, encoders: Encoders) -> None:
    waveform = draft.clip.waveform
    if encoders.speech is not None and len(waveform):
        with encoders.timed("speech"):
            draft.speech_segments_s = tuple(encoders.speech.segments_s(waveform))
        spoken_s = sum(end - start for start, end in draft.speech_segments_s)
        draft.signals["speech_share"] = round(spoken_s * SAMPLE_RATE_HZ / len(waveform), 6)
    if encoders.transcript is None:
        return
    if not draft.speech_segments_s:
        draft.mask["transcript"] = "no_speech" if len(waveform) else "no_sound"
        return
    with encoders.timed("transcript"):
        said = encoders.transcript.transcribe(waveform, draft.speech_segments_s)
    if said.text:
        draft.texts["transcript"] = said.text
    else:
        draft.mask["transcript"] = "no_words"


def _understand(drafts: Sequence[_Draft], encoders: Encoders) -> None:
    """The texts found in the bytes, as vectors, in one batch."""
    wanted = [(draft, channel) for draft in drafts for channel in draft.texts]
    if not wanted:
        return
    with encoders.timed("text"):
        rows = encoders.text.encode([draft.texts[channel] for draft, channel in wanted])
    for (draft, channel), row in zip(wanted, rows, strict=True):
        draft.put(channel, row)


def _frame_signals(clip: Clip) -> dict[str, float]:
    """Means over the frames: a scalar each for brightness, sharpness and motion."""
    return {name: round(float(np.mean(values)), 6) for name, values in clip.signals.items() if len(values)}
