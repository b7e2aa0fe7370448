"""What a sound is like, in numbers: groups of features, all read off one spectrogram and pooled over time.

The banks (mel bands, pitch classes) are librosa's and come with the constants; the arithmetic is numpy. Importing
librosa here would cost every process 2.4 s (13 s the first time, while numba compiles) and 180 MB. The tests hold the
two together.

Everything is relative to the loudest moment of the sound: the same recording at another volume has the same features.
"""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Array = NDArray[np.float32]

SAMPLE_RATE_HZ = 16_000
WINDOW_SAMPLES = 1_024  # 64 ms
HOP_SAMPLES = 256  # 16 ms
FRAME_RATE_HZ = SAMPLE_RATE_HZ / HOP_SAMPLES
BINS_HZ = np.fft.rfftfreq(WINDOW_SAMPLES, 1 / SAMPLE_RATE_HZ)
WINDOW = np.hanning(WINDOW_SAMPLES + 1)[:-1].astype(np.float32)

PIECE_FRAMES = 512  # 8.2 s: the stretch in which rhythm is looked for
MAX_PIECES = 4  # 33 s are heard whole; of a longer sound, four pieces

N_MELS = 64
N_MFCCS = 20
FLOOR_DB = -80.0
ACTIVE_ABOVE_DB = -40.0  # quieter frames are pauses: they count in the envelope, not in the timbre
CONTRAST_EDGES_HZ = (0, 200, 400, 800, 1_600, 3_200, 8_001)
CONTRAST_SHARE = 0.1
ENVELOPE_EDGES_HZ = (50, 400, 1_600, 8_000)
MODULATION_EDGES_HZ = (0.5, 1, 2, 4, 8, 16, 31)
LAG_EDGES_FRAMES = (2, 4, 8, 16, 32, 64, 128, 200)  # 32 ms .. 3.2 s, an octave each


def features(waveform: Array, mel_bank: Array, chroma_bank: Array) -> dict[str, Array]:
    """Return each group of features as a vector of fixed length.

    Args:
        waveform: (n_samples,), mono, 16 kHz, at least one sample that is not zero.
        mel_bank: (64, 513), from power spectrum to mel bands.
        chroma_bank: (12, 513), from power spectrum to pitch classes.

    Returns:
        Name to float32 vector; the order of the names is the order in a row.
    """
    magnitudes = spectrogram(waveform / np.abs(waveform).max())
    powers = magnitudes**2
    log_mels = decibels(powers @ mel_bank.T)
    envelope = decibels(powers.sum(axis=1))
    active = envelope > ACTIVE_ABOVE_DB
    mfccs = log_mels @ cosine_basis(N_MFCCS, N_MELS).T
    contrast = spectral_contrast(magnitudes[active])
    groups = {
        "mel_mean": log_mels[active].mean(axis=0),
        "mel_spread": log_mels[active].std(axis=0),
        "mfcc_mean": mfccs[active, 1:].mean(axis=0),  # without the first, which is loudness
        "mfcc_spread": mfccs[active].std(axis=0),
        "mfcc_change": np.diff(mfccs, axis=0, prepend=mfccs[:1]).std(axis=0),
        "chroma": chroma_profile(powers[active] @ chroma_bank.T),
        "contrast": np.concatenate([contrast.mean(axis=0), contrast.std(axis=0)]),
        "envelope": np.append(np.quantile(envelope, (0.05, 0.25, 0.5, 0.75, 0.95)), active.mean()),
        "modulation": modulation(np.column_stack([envelope, *_band_envelopes(powers)])).ravel(),
        "rhythm": rhythm(onsets(log_mels)),
    }
    return {name: np.asarray(group, np.float32) for name, group in groups.items()}


def spectrogram(waveform: Array) -> Array:
    """Return magnitudes (n_frames, 513), at most 4 × 512 frames, each around its moment; beyond the ends is silence."""
    around = sliding_window_view(np.pad(waveform, WINDOW_SAMPLES // 2), WINDOW_SAMPLES)[::HOP_SAMPLES]
    spectra = np.fft.rfft(around[heard_frames(energies(waveform, HOP_SAMPLES))] * WINDOW, axis=1)
    return np.asarray(np.abs(spectra), np.float32)


def energies(waveform: Array, step_samples: int) -> NDArray[np.float64]:
    """Return the sum of squares of each step of a waveform; the last step may be short."""
    steps = np.zeros((-(-len(waveform) // step_samples), step_samples), np.float32)
    steps.reshape(-1)[: len(waveform)] = waveform
    return np.asarray(np.einsum("ij,ij->i", steps, steps, dtype=np.float64))


def heard_frames(frame_energies: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return which frames are analysed: all, or of each quarter of a long sound the loudest 512 in a row.

    The loudest, since four fixed places could all fall into pauses.

    >>> len(heard_frames(np.ones(1_000))), len(heard_frames(np.ones(100_000)))
    (1000, 2048)
    """
    n_frames = len(frame_energies)
    if n_frames <= MAX_PIECES * PIECE_FRAMES:
        return np.arange(n_frames)
    before = np.concatenate([[0.0], np.cumsum(frame_energies)])
    louder = before[PIECE_FRAMES:] - before[:-PIECE_FRAMES]  # by the first frame of a piece
    quarters = np.linspace(0, n_frames, MAX_PIECES + 1).astype(np.int64)
    firsts = [first + louder[first : end - PIECE_FRAMES + 1].argmax() for first, end in pairwise(quarters)]
    return (np.array(firsts)[:, None] + np.arange(PIECE_FRAMES)).ravel()


def decibels(powers: Array) -> Array:
    """Return powers in dB under the greatest of them, cut at -80."""
    loudest = max(float(powers.max()), 1e-20)
    return np.asarray(10 * np.log10(np.maximum(powers / loudest, 10 ** (FLOOR_DB / 10))), np.float32)


def cosine_basis(n_rows: int, n_columns: int) -> Array:
    """Return the first rows of the orthonormal DCT-II, which turns log-mel bands into MFCCs."""
    angles = np.pi * np.outer(np.arange(n_rows), np.arange(n_columns) + 0.5) / n_columns
    basis = np.cos(angles) * np.sqrt(2 / n_columns)
    basis[0] /= np.sqrt(2)
    return np.asarray(basis, np.float32)


def spectral_contrast(magnitudes: Array) -> Array:
    """Return dB between the strongest and the weakest tenth of each octave: high for tones, low for noise.

    Source: Jiang et al. 2002, "Music type classification by spectral contrast feature".

    Returns:
        Shape (n_frames, 6).
    """
    contrasts = []
    for low_hz, high_hz in pairwise(CONTRAST_EDGES_HZ):
        band = np.sort(magnitudes[:, (low_hz <= BINS_HZ) & (high_hz > BINS_HZ)], axis=1)
        count = max(1, round(CONTRAST_SHARE * band.shape[1]))
        peaks, valleys = band[:, -count:].mean(axis=1), band[:, :count].mean(axis=1)
        faintest = 1e-4 * max(float(peaks.max()), 1e-20)  # -80 dB, so that empty bins cannot make the ratio endless
        contrasts.append(20 * np.log10((peaks + faintest) / (valleys + faintest)))
    return np.stack(contrasts, axis=1)


def chroma_profile(chroma: Array) -> Array:
    """Return the shares of the pitch classes, greatest first: how tonal a sound is, whatever its key. Shape (12,)."""
    shares = chroma / np.maximum(chroma.sum(axis=1, keepdims=True), 1e-20)
    return np.asarray(np.sort(shares.mean(axis=0))[::-1], np.float32)


def onsets(log_mels: Array) -> Array:
    """Return by how many dB the bands rise on average from one frame to the next. Shape (n_frames,), >= 0."""
    rises = np.maximum(np.diff(log_mels, axis=0, prepend=log_mels[:1]), 0)
    return np.asarray(rises.mean(axis=1), np.float32)


def rhythm(onset: Array) -> Array:
    """Return how strongly onsets repeat in each octave of lags (7), their mean, spread and burstiness. Shape (10,)."""
    repeats = autocorrelation(onset)
    octaves = [repeats[low:high].max() for low, high in pairwise(LAG_EDGES_FRAMES)]
    mean, spread = onset.mean(), onset.std()
    return np.array([*octaves, mean, spread, spread / (mean + 1e-6)], np.float32)


def autocorrelation(values: Array) -> Array:
    """Return the autocorrelation within pieces, over all of them, for lags of 0 to 511 frames; 1 at lag 0."""
    spectra = np.fft.rfft(_pieces(values[:, None])[:, :, 0], 2 * PIECE_FRAMES, axis=1)
    repeats = np.fft.irfft((np.abs(spectra) ** 2).sum(axis=0))[:PIECE_FRAMES]
    return np.asarray(repeats / max(float(repeats[0]), 1e-9), np.float32)


def modulation(envelopes: Array) -> Array:
    """Return the log power of slow changes of level, by rate (rows) and by envelope (columns).

    Args:
        envelopes: (n_frames, n_envelopes), dB.

    Returns:
        Shape (6, n_envelopes): 0.5–1, 1–2, … 16–31 changes a second.
    """
    taper = np.hanning(PIECE_FRAMES)[:, None]
    powers = (np.abs(np.fft.rfft(_pieces(envelopes) * taper, axis=1)) ** 2).sum(axis=0) / len(envelopes)
    rates_hz = np.fft.rfftfreq(PIECE_FRAMES, 1 / FRAME_RATE_HZ)
    rows = [
        np.log(powers[(low_hz <= rates_hz) & (rates_hz < high_hz)].mean(axis=0) + 1e-3)
        for low_hz, high_hz in pairwise(MODULATION_EDGES_HZ)
    ]
    return np.stack(rows).astype(np.float32)


def _band_envelopes(powers: Array) -> list[Array]:
    """Return the level over time in low, middle and high frequencies, each under its own loudest moment."""
    return [
        decibels(powers[:, (low_hz <= BINS_HZ) & (high_hz > BINS_HZ)].sum(axis=1))
        for low_hz, high_hz in pairwise(ENVELOPE_EDGES_HZ)
    ]


def _pieces(values: Array) -> Array:
    """Cut (n_frames, n) into (n_pieces, 512, n) around the mean; the last piece is filled up with it, that is zeros."""
    count = -(-len(values) // PIECE_FRAMES)
    filled = np.zeros((count * PIECE_FRAMES, values.shape[1]), np.float32)
    filled[: len(values)] = values - values.mean(axis=0)
    return filled.reshape(count, PIECE_FRAMES, values.shape[1])
