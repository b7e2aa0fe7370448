"""Sounds as unit rows: librosa's features pooled over time, standardised, reduced to 32 dimensions.

A row says what kind of sound it is (timbre, tonality, rhythm), not how loud it is. What is constant in it (banks,
centre, scale, projection) is made from drawn sounds by `bench/sound_constants.py`: no recording, no label.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from encoders import models
from encoders import sound_features as sf

CONSTANTS = Path(__file__).with_name("constants") / "sound.safetensors"
DIMENSIONS = 32
LARGEST_DEVIATION = 3.0  # in standard deviations; one odd feature must not outvote the rest

SILENT_BELOW_DBFS = -60.0
LOUDNESS_WINDOW_S = 0.1
TEMPO_RANGE_BPM = (40.0, 240.0)
USUAL_TEMPO_BPM = 120.0
TONAL_FROM = 0.5  # share of the three strongest pitch classes; evenly spread noise has 0.25


class Sound:
    """Encoder of sounds. Holds only arrays that nobody writes to: one instance serves any number of threads."""

    dim = DIMENSIONS

    def __init__(self) -> None:
        constants, _ = models.tensors(CONSTANTS)
        self._mel_bank = constants["mel_bank"]  # (64, 513)
        self._chroma_bank = constants["chroma_bank"]  # (12, 513)
        self._centre = constants["centre"]  # (n_features,)
        self._scale = constants["scale"]  # (n_features,)
        self._projection = constants["projection"]  # (n_features, 32)
        self._bias = constants["bias"]  # (32,)

    def encode(self, waveforms: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """Return one unit row a waveform, in the same order.

        Sounds of up to 33 s are heard whole; of a longer one, the loudest 8 s of each quarter.

        Args:
            waveforms: each (n_samples,), mono, 16 kHz, -1..1; not silent (see `is_silent`: silence has no direction).

        Returns:
            Shape (len(waveforms), 32), rows of length 1.

        Raises:
            ValueError: a waveform is empty, has channels, is not finite, or is silent.
        """
        rows = np.empty((len(waveforms), DIMENSIONS), np.float32)
        for row, waveform in zip(rows, waveforms, strict=True):
            row[:] = self._row(waveform)
        return rows

    def spec(self) -> dict[str, Any]:
        """What decides the rows. Plain JSON, part of a space's id."""
        return {
            "constants_sha256": models.file_sha256(CONSTANTS),
            "dimensions": DIMENSIONS,
            "window_samples": sf.WINDOW_SAMPLES,
            "hop_samples": sf.HOP_SAMPLES,
            "longest_heard_frames": sf.MAX_PIECES * sf.PIECE_FRAMES,
            "silent_below_dbfs": SILENT_BELOW_DBFS,
        }

    def signals(self, waveform: NDArray[np.float32]) -> dict[str, float]:
        """Return a few numbers a person can check.

        `loudness_dbfs` of the whole and `peak_dbfs` (0 = full scale), `zero_crossings_hz`, `active_share` of frames
        within 40 dB of the loudest, `tonal_share` of those whose energy sits in few pitch classes (music, singing,
        hums; not noise), `tempo_bpm`.

        Raises:
            ValueError: as in `encode`.
        """
        _check(waveform)
        powers = sf.spectrogram(waveform) ** 2
        active = sf.decibels(powers.sum(axis=1)) > sf.ACTIVE_ABOVE_DB
        chroma = np.sort(powers[active] @ self._chroma_bank.T, axis=1)
        tonal = chroma[:, -3:].sum(axis=1) > TONAL_FROM * chroma.sum(axis=1)
        return {
            "loudness_dbfs": _dbfs(sf.energies(waveform, sf.HOP_SAMPLES).sum() / len(waveform)),
            "peak_dbfs": _dbfs(float(np.abs(waveform).max()) ** 2),
            "zero_crossings_hz": float(
                np.count_nonzero(np.diff(np.signbit(waveform))) / len(waveform) * sf.SAMPLE_RATE_HZ
            ),
            "active_share": float(active.mean()),
            "tonal_share": float(tonal.mean()),
            "tempo_bpm": tempo_bpm(sf.onsets(sf.decibels(powers @ self._mel_bank.T))),
        }

    def _row(self, waveform: NDArray[np.float32]) -> NDArray[np.float32]:
        _check(waveform)
        groups = sf.features(waveform, self._mel_bank, self._chroma_bank)
        deviations = (np.concatenate(list(groups.values())) - self._centre) / self._scale
        row = np.clip(deviations, -LARGEST_DEVIATION, LARGEST_DEVIATION) @ self._projection + self._bias
        return np.asarray(row / np.linalg.norm(row), np.float32)


def is_silent(waveform: NDArray[np.float32]) -> bool:
    """Say whether no tenth of a second reaches -60 dBFS (root mean square). An empty waveform is silent."""
    window = int(LOUDNESS_WINDOW_S * sf.SAMPLE_RATE_HZ)
    loudest = sf.energies(waveform, window).max(initial=0.0) / min(window, max(len(waveform), 1))
    return _dbfs(loudest) < SILENT_BELOW_DBFS


def tempo_bpm(onset: NDArray[np.float32]) -> float:
    """Return the beats a minute at which onsets repeat most, with a leaning to 120 where several fit; 0 if none do.

    Source: the log-normal leaning is librosa.feature.tempo's, after Ellis 2007, "Beat tracking by dynamic programming".

    Args:
        onset: (n_frames,), 62.5 frames a second, as `sound_features.onsets` gives it.
    """
    lags = np.arange(1, sf.PIECE_FRAMES)
    tempos = 60 * sf.FRAME_RATE_HZ / lags
    possible = (tempos >= TEMPO_RANGE_BPM[0]) & (tempos <= TEMPO_RANGE_BPM[1])
    leaning = np.exp(-0.5 * np.log2(tempos / USUAL_TEMPO_BPM) ** 2)
    strengths = np.where(possible, sf.autocorrelation(onset)[1:] * leaning, 0.0)
    return float(tempos[strengths.argmax()]) if strengths.max() > 0 else 0.0


def _check(waveform: NDArray[np.float32]) -> None:
    if waveform.ndim != 1:
        raise ValueError(f"a waveform is mono, shape (n_samples,): got shape {waveform.shape}")
    if not len(waveform):
        raise ValueError("an empty waveform has no sound to encode")
    if not np.isfinite(waveform).all():
        raise ValueError("a waveform must be finite: got nan or inf")
    if is_silent(waveform):
        raise ValueError(
            f"a silent waveform (under {SILENT_BELOW_DBFS:.0f} dBFS) has no direction: ask is_silent first"
        )


def _dbfs(power: float) -> float:
    return float(10 * np.log10(max(power, 1e-20)))
