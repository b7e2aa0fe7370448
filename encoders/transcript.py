"""What is said: openai-whisper on the speech of a sound, with a checkpoint file that the operator names.

Whisper invents text for music and silence, so it hears only what the speech gate let through, laid end to end, and what
it writes must pass its own documented limits of repetition and doubt. It is fed arrays: its loader would call ffmpeg.

Source: Radford et al. 2022, "Robust Speech Recognition via Large-Scale Weak Supervision", section 4.5 for the limits.
"""

from __future__ import annotations

import threading
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoders import models

SAMPLE_RATE_HZ = 16_000
PAUSE_S = 0.3  # between packed segments, so that their words do not run together

REPETITIVE_ABOVE = 2.4  # length of the text over its length compressed
DOUBTFUL_BELOW = -1.0  # mean log probability of the tokens
NO_SPEECH_ABOVE = 0.6  # probability, and only where the text is doubtful too


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """One stretch of transcribed speech."""

    begin_s: float  # seconds from the start of the sound
    end_s: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Transcription:
    """What was said, and what Whisper wrote that is not believed."""

    language: str | None  # as "en"; None where nothing was said
    said: tuple[Said, ...]
    dropped: tuple[tuple[Said, str], ...]  # with the reason: "repetitive", "no_speech" or "doubtful"

    @property
    def text(self) -> str:
        """Everything that was said, in one line."""
        return " ".join(stretch.text for stretch in self.said)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Packed:
    """The speech of a sound, laid end to end: Whisper works in windows of 30 s, and a pause costs as much as a word."""

    waveform: NDArray[np.float32]  # (n_samples,)
    segments_s: tuple[tuple[float, float], ...]  # where each segment stood
    firsts_s: tuple[float, ...]  # where it stands now

    def source_s(self, packed_s: float) -> float:
        """Return the time in the sound of a time in the packed speech; within a pause, the end of what came before."""
        segment = max(0, bisect_right(self.firsts_s, packed_s) - 1)
        begin_s, end_s = self.segments_s[segment]
        return min(begin_s + max(0.0, packed_s - self.firsts_s[segment]), end_s)


class Transcript:
    """A Whisper checkpoint, ready to write. Threads take turns: Whisper keeps its cache in hooks on the model.

    Args:
        checkpoint: a file in Whisper's own format, `{"dims": ..., "model_state_dict": ...}`.

    Raises:
        models.ModelMissing: there is no such file.
        ValueError: the file is no Whisper checkpoint.
    """

    def __init__(self, checkpoint: Path) -> None:
        content = models.torch_checkpoint(checkpoint)
        if not isinstance(content, dict) or not {"dims", "model_state_dict"} <= content.keys():
            raise ValueError(f"{checkpoint} is no Whisper checkpoint: it wants the keys dims and model_state_dict")
        from whisper.model import ModelDimensions, Whisper

        self._checkpoint = checkpoint
        self._model = Whisper(ModelDimensions(**content["dims"])).eval()
        self._model.load_state_dict(content["model_state_dict"])
        self._turn = threading.Lock()

    def transcribe(self, waveform: NDArray[np.float32], segments_s: Sequence[tuple[float, float]]) -> Transcription:
        """Write down what is said in the given segments; the rest of the sound is never looked at.

        Always the likeliest words (temperature 0): sampling would make the text depend on chance, so what fails a limit
        is dropped instead of tried again.

        Args:
            waveform: (n_samples,), mono, 16 kHz, -1..1.
            segments_s: (begin, end) of each stretch of speech, in order and apart, as `Speech.segments_s` gives them.
        """
        packed = pack(waveform, segments_s)
        if not len(packed.waveform):
            return Transcription(language=None, said=(), dropped=())
        with self._turn:
            written = self._model.transcribe(
                packed.waveform,
                temperature=0.0,
                condition_on_previous_text=False,  # one bad window would infect the next
                fp16=False,
                compression_ratio_threshold=None,  # Whisper drops without a word what fails its limits: see `doubt`
                logprob_threshold=None,
                no_speech_threshold=None,
            )
        said: list[Said] = []
        dropped: list[tuple[Said, str]] = []
        for segment in written["segments"]:
            stretch = _stretch(packed, segment)
            reason = doubt(segment["compression_ratio"], segment["avg_logprob"], segment["no_speech_prob"])
            if reason is not None:
                dropped.append((stretch, reason))
            elif stretch.text:
                said.append(stretch)
        return Transcription(language=written["language"] if said else None, said=tuple(said), dropped=tuple(dropped))

    def spec(self) -> dict[str, Any]:
        """What decides the text. Plain JSON, part of a space's id."""
        return {
            "weights_sha256": models.file_sha256(self._checkpoint),
            "pause_s": PAUSE_S,
            "repetitive_above": REPETITIVE_ABOVE,
            "doubtful_below": DOUBTFUL_BELOW,
            "no_speech_above": NO_SPEECH_ABOVE,
        }


def doubt(compression_ratio: float, mean_log_probability: float, no_speech_probability: float) -> str | None:
    """Return why a text is not believed, or None.

    >>> doubt(1.2, -0.3, 0.01), doubt(8.0, -0.1, 0.01), doubt(1.2, -1.4, 0.9), doubt(1.2, -1.4, 0.1)
    (None, 'repetitive', 'no_speech', 'doubtful')
    """
    if compression_ratio > REPETITIVE_ABOVE:
        return "repetitive"
    if mean_log_probability < DOUBTFUL_BELOW:
        return "no_speech" if no_speech_probability > NO_SPEECH_ABOVE else "doubtful"
    return None


def pack(waveform: NDArray[np.float32], segments_s: Sequence[tuple[float, float]]) -> Packed:
    """Lay the segments of a sound end to end, a short pause after each.

    Raises:
        ValueError: the waveform has channels, or a segment is empty or does not lie behind the one before it.
    """
    if waveform.ndim != 1:
        raise ValueError(f"a waveform is mono, shape (n_samples,): got shape {waveform.shape}")
    pause = np.zeros(round(PAUSE_S * SAMPLE_RATE_HZ), np.float32)
    parts: list[NDArray[np.float32]] = []
    firsts_s: list[float] = []
    length = previous_end = 0
    for begin_s, end_s in segments_s:
        begin, end = round(begin_s * SAMPLE_RATE_HZ), round(end_s * SAMPLE_RATE_HZ)
        if not previous_end <= begin < end:
            raise ValueError(f"segments lie in order and apart: got {begin_s}–{end_s} s in {list(segments_s)}")
        firsts_s.append(length / SAMPLE_RATE_HZ)
        parts += [waveform[begin:end], pause]
        length += len(parts[-2]) + len(pause)
        previous_end = end
    packed = np.concatenate(parts) if parts else np.empty(0, np.float32)
    return Packed(waveform=packed, segments_s=tuple(segments_s), firsts_s=tuple(firsts_s))


def _stretch(packed: Packed, segment: dict[str, Any]) -> Said:
    begin_s, end_s = packed.source_s(segment["start"]), packed.source_s(segment["end"])
    return Said(begin_s=begin_s, end_s=max(begin_s, end_s), text=segment["text"].strip())
