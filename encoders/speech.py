"""Where in a sound somebody speaks: silero-vad's weights, run from the package that carries them.

The network sees 32 ms at a time and remembers what came before. Its sequence export does the same for many windows in
one call for half the CPU, bit for bit (0.06 against 0.12 s a minute of sound); importing `silero_vad` itself would
load torch.

Source: https://github.com/snakers4/silero-vad (weights, MIT; the meaning of the thresholds is its documentation's).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from encoders import models

if TYPE_CHECKING:
    import onnxruntime

SAMPLE_RATE_HZ = 16_000
WINDOW_SAMPLES = 512  # 32 ms, the only length that the network knows at 16 kHz
CONTEXT_SAMPLES = 64  # the end of the window before, laid in front of each window
STATE_SHAPE = (1, 1, 128)
WINDOWS_PER_CALL = 512  # 16.4 s: bounds the memory of one call; longer calls are no faster

SPEECH_BEGINS_AT = 0.5  # probability
SPEECH_ENDS_BELOW = 0.35  # lower than the beginning, so that a wavering voice stays one segment
SHORTEST_SPEECH_S = 0.25
SHORTEST_SILENCE_S = 0.1
PAD_S = 0.03


class Speech:
    """The speech gate. One instance serves any number of threads: the memory of a sound lives in the call.

    Raises:
        models.ModelMissing: the package silero_vad is not installed.
    """

    def __init__(self) -> None:
        self._weights = models.package_file("silero_vad", "data", "silero_vad_16k_sequence.onnx")
        self._session: onnxruntime.InferenceSession = models.onnx_session(self._weights, threads=1)

    def probabilities(self, waveform: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the probability of speech, one for each 32 ms; the last window is padded with silence.

        Args:
            waveform: (n_samples,), mono, 16 kHz, -1..1.

        Returns:
            Shape (ceil(n_samples / 512),), 0..1.
        """
        windows = _windows(waveform)
        hidden = cell = np.zeros(STATE_SHAPE, np.float32)
        parts = [np.empty(0, np.float32)]
        for first in range(0, len(windows), WINDOWS_PER_CALL):
            feed = {"input": windows[first : first + WINDOWS_PER_CALL], "h": hidden, "c": cell}
            part, hidden, cell = self._session.run(["speech_probs", "hn", "cn"], feed)
            parts.append(part)
        return np.concatenate(parts)

    def segments_s(self, waveform: NDArray[np.float32]) -> list[tuple[float, float]]:
        """Return (begin, end) of each stretch of speech, in seconds, in order and apart. Empty where nobody speaks."""
        duration_s = len(waveform) / SAMPLE_RATE_HZ
        return speech_segments_s(self.probabilities(waveform), duration_s)

    def spec(self) -> dict[str, Any]:
        """What decides the segments: the weights' hash and every threshold. Plain JSON, part of a space's id."""
        return {
            "weights_sha256": models.file_sha256(self._weights),
            "speech_begins_at": SPEECH_BEGINS_AT,
            "speech_ends_below": SPEECH_ENDS_BELOW,
            "shortest_speech_s": SHORTEST_SPEECH_S,
            "shortest_silence_s": SHORTEST_SILENCE_S,
            "pad_s": PAD_S,
        }


def speech_share(segments_s: Sequence[tuple[float, float]], duration_s: float) -> float:
    """Return which part of a sound is speech, 0..1.

    >>> speech_share([(0.0, 1.0), (3.0, 4.0)], duration_s=8.0)
    0.25
    """
    return sum(end - begin for begin, end in segments_s) / duration_s if duration_s > 0 else 0.0


def speech_segments_s(probabilities: NDArray[np.float32], duration_s: float) -> list[tuple[float, float]]:
    """Turn one probability for each 32 ms into segments.

    Speech begins where a window reaches the upper threshold, and ends where the windows fall under the lower one and
    stay away from the upper one for the shortest silence. What is then too short is noise; the rest is padded, and two
    neighbours closer than two pads meet in the middle.
    """
    window_s = WINDOW_SAMPLES / SAMPLE_RATE_HZ
    spoken = [
        (first * window_s, min(end * window_s, duration_s))
        for first, end in _spoken_windows(probabilities)
        if min(end * window_s, duration_s) - first * window_s > SHORTEST_SPEECH_S
    ]
    return _padded(spoken, duration_s)


def _spoken_windows(probabilities: NDArray[np.float32]) -> list[tuple[int, int]]:
    """Find half-open runs of windows by hysteresis."""
    silent_windows = SHORTEST_SILENCE_S * SAMPLE_RATE_HZ / WINDOW_SAMPLES
    runs: list[tuple[int, int]] = []
    first: int | None = None  # where the present speech began
    quiet: int | None = None  # where it may have ended
    for window, probability in enumerate(probabilities.tolist()):
        if probability >= SPEECH_BEGINS_AT:
            first, quiet = window if first is None else first, None
        elif first is not None and probability < SPEECH_ENDS_BELOW:
            quiet = window if quiet is None else quiet
            if window - quiet >= silent_windows:
                runs.append((first, quiet))
                first = quiet = None
    if first is not None:
        runs.append((first, len(probabilities)))
    return runs


def _padded(spoken_s: list[tuple[float, float]], duration_s: float) -> list[tuple[float, float]]:
    """Widen segments by the pad, without leaving the sound and without two of them overlapping."""
    if not spoken_s:
        return []
    gaps_s = [after[0] - before[1] for before, after in pairwise(spoken_s)]
    pads_s = [PAD_S, *(min(PAD_S, gap_s / 2) for gap_s in gaps_s), PAD_S]
    return [
        (max(0.0, begin - pad_before), min(duration_s, end + pad_after))
        for (begin, end), pad_before, pad_after in zip(spoken_s, pads_s[:-1], pads_s[1:], strict=True)
    ]


def _windows(waveform: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cut a waveform into (n_windows, 64 + 512): each window with the end of the one before it in front."""
    if waveform.ndim != 1:
        raise ValueError(f"a waveform is mono, shape (n_samples,): got shape {waveform.shape}")
    count = -(-len(waveform) // WINDOW_SAMPLES)
    padded = np.zeros(CONTEXT_SAMPLES + count * WINDOW_SAMPLES, np.float32)
    padded[CONTEXT_SAMPLES : CONTEXT_SAMPLES + len(waveform)] = waveform
    if count == 0:
        return np.empty((0, CONTEXT_SAMPLES + WINDOW_SAMPLES), np.float32)
    view = np.lib.stride_tricks.sliding_window_view(padded, CONTEXT_SAMPLES + WINDOW_SAMPLES)
    return np.ascontiguousarray(view[::WINDOW_SAMPLES])
