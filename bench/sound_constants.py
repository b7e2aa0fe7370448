"""Make encoders/constants/sound.safetensors: the banks, centre, scale and projection of the sound encoder.

    python -m bench.sound_constants [--out FILE]

All of it comes from 700 sounds drawn here (14 kinds × 50) and from librosa's filter banks; no recording and no label
takes part, so nothing is owed to anybody and nothing can leak from a benchmark. Same seed, same versions, same numbers.

The projection: each group of features counts the same, whatever its length; then the 32 leading principal directions,
each divided by the root of its spread. That lies between plain PCA, where the loudest directions decide everything, and
whitening, where the noisy last ones count as much as the first.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

import librosa
import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file
from scipy.signal import fftconvolve

from encoders import sound, sound_features
from encoders.sound_features import SAMPLE_RATE_HZ, features

Samples = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int], Samples]

SEED = 1
SOUNDS_A_KIND = 50
DURATION_S = (2.0, 8.0)
LOWEST_MEL_HZ = 30.0
WHITENING = 0.5  # exponent of a direction's spread: 0 is PCA, 1 is whitening


def make_constants(seed: int = SEED) -> dict[str, NDArray[np.float32]]:
    """Draw the sounds and return every array of the file."""
    rng = np.random.default_rng(seed)
    banks = filter_banks()
    drawn = [
        features(recorded(rng, draw(rng, int(SAMPLE_RATE_HZ * rng.uniform(*DURATION_S)))), *banks.values())
        for draw in KINDS
        for _ in range(SOUNDS_A_KIND)
    ]
    rows = np.stack([np.concatenate(list(groups.values())) for groups in drawn]).astype(np.float64)
    sizes = np.concatenate([np.full(len(group), len(group)) for group in drawn[0].values()])
    centre, scale = rows.mean(axis=0), rows.std(axis=0) + 1e-3
    return banks | {
        name: np.ascontiguousarray(array, np.float32)
        for name, array in {"centre": centre, "scale": scale, **projection((rows - centre) / scale, sizes)}.items()
    }


def projection(deviations: Samples, sizes: Samples) -> dict[str, Samples]:
    """Return `projection` (n_features, 32) and `bias` (32,), of deviations clipped as the encoder clips them."""
    clipped = np.clip(deviations, -sound.LARGEST_DEVIATION, sound.LARGEST_DEVIATION) / np.sqrt(sizes)
    mean = clipped.mean(axis=0)
    _, spreads, directions = np.linalg.svd(clipped - mean, full_matrices=False)
    kept = directions[: sound.DIMENSIONS]
    kept = kept * np.sign(kept[np.arange(len(kept)), np.abs(kept).argmax(axis=1)])[:, None]  # a sign is free: fix it
    weights = kept.T * (spreads[: sound.DIMENSIONS] / spreads[0]) ** -WHITENING
    return {"projection": weights / np.sqrt(sizes)[:, None], "bias": -mean @ weights}


def filter_banks() -> dict[str, NDArray[np.float32]]:
    """Return librosa's mel and chroma banks for our spectrogram."""
    sr, n_fft = SAMPLE_RATE_HZ, sound_features.WINDOW_SAMPLES
    mel = librosa.filters.mel(sr=sr, n_fft=n_fft, n_mels=sound_features.N_MELS, fmin=LOWEST_MEL_HZ)
    chroma = librosa.filters.chroma(sr=sr, n_fft=n_fft, tuning=0.0)
    return {"mel_bank": mel.astype(np.float32), "chroma_bank": chroma.astype(np.float32)}


# --- what sounds are drawn with ---------------------------------------------------------------------------------------


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def coloured_noise(rng: np.random.Generator, n: int, slopes: tuple[float, float] = (-3, 1)) -> Samples:
    """Return noise with a random slope and, mostly, a broad band that stands out."""
    hz = np.maximum(np.fft.rfftfreq(n, 1 / SAMPLE_RATE_HZ), 20)
    gain = hz ** (rng.uniform(*slopes) / 2)
    if rng.random() < 0.6:
        middle_hz, octaves = log_uniform(rng, 150, 6_000), rng.uniform(0.3, 2)
        gain = gain * (0.03 + np.exp(-0.5 * (np.log2(hz / middle_hz) / octaves) ** 2))
    noise = rng.standard_normal(len(hz)) + 1j * rng.standard_normal(len(hz))
    return at_full_scale(np.fft.irfft(gain * noise, n))


def at_full_scale(samples: Samples) -> Samples:
    return samples / max(float(np.abs(samples).max()), 1e-9)


def wander(rng: np.random.Generator, n: int, rate_hz: float) -> Samples:
    """Return a level that wanders between 0 and 1."""
    knots = max(4, int(n / SAMPLE_RATE_HZ * rate_hz) + 3)
    return np.interp(np.linspace(0, knots - 1, n), np.arange(knots), rng.random(knots) ** 2)


def harmonics(pitch_hz: Samples, count: int, roll_off: float, formants_hz: list[Samples] | None = None) -> Samples:
    """Return a tone with overtones, shaped by resonances where some are given."""
    phase = 2 * np.pi * np.cumsum(pitch_hz) / SAMPLE_RATE_HZ
    tone = np.zeros(len(pitch_hz))
    for harmonic in range(1, count + 1):
        hz = harmonic * pitch_hz
        gain = np.full(len(hz), harmonic**-roll_off)
        if formants_hz is not None:
            gain = gain * (0.02 + sum(1 / (1 + ((hz - formant) / 100) ** 2) for formant in formants_hz))
        tone += np.where(hz < 7_600, gain, 0) * np.sin(harmonic * phase)
    return at_full_scale(tone)


def strikes(n: int, times_s: Samples, levels: Samples, attack_s: float, decay_s: float) -> Samples:
    """Return an envelope that jumps up at each time and dies away."""
    envelope = np.zeros(n)
    t = np.arange(min(n, int(SAMPLE_RATE_HZ * (attack_s + 6 * decay_s)) + 1)) / SAMPLE_RATE_HZ
    shape = np.minimum(t / attack_s, 1) * np.exp(-np.maximum(t - attack_s, 0) / decay_s)
    for first, level in zip((times_s * SAMPLE_RATE_HZ).astype(int), levels, strict=True):
        stretch = envelope[first : first + len(shape)]
        np.maximum(stretch, level * shape[: len(stretch)], out=stretch)
    return envelope


def seconds(n: int) -> Samples:
    return np.arange(n) / SAMPLE_RATE_HZ


def steady(n: int, value: float) -> Samples:
    return np.full(n, value)


# --- the kinds --------------------------------------------------------------------------------------------------------


def wash(rng: np.random.Generator, n: int) -> Samples:
    return coloured_noise(rng, n) * (0.05 + wander(rng, n, rng.uniform(0.2, 1.5)))


def flutter(rng: np.random.Generator, n: int) -> Samples:
    beat = 0.5 + 0.5 * np.sin(2 * np.pi * log_uniform(rng, 3, 40) * seconds(n))
    return coloured_noise(rng, n) * (rng.uniform(0, 0.4) + beat ** rng.uniform(1, 6))


def engine(rng: np.random.Generator, n: int) -> Samples:
    pitch_hz = log_uniform(rng, 25, 200) * (1 + 0.3 * (wander(rng, n, 1) - 0.3))
    return harmonics(pitch_hz, 40, rng.uniform(0.2, 1.2)) + rng.uniform(0.05, 0.6) * coloured_noise(rng, n)


def ticks(rng: np.random.Generator, n: int) -> Samples:
    period_s = log_uniform(rng, 0.12, 1.2)
    times_s = np.arange(rng.uniform(0, period_s), n / SAMPLE_RATE_HZ, period_s)
    levels = np.where(np.arange(len(times_s)) % 2, 1.0, rng.uniform(0.5, 1))
    return strikes(n, times_s, levels, 5e-4, log_uniform(rng, 0.001, 0.03)) * coloured_noise(rng, n, (-1, 1))


def crackle(rng: np.random.Generator, n: int) -> Samples:
    duration_s = n / SAMPLE_RATE_HZ
    times_s = rng.uniform(0, duration_s, rng.poisson(log_uniform(rng, 2, 60) * duration_s) + 1)
    pops = strikes(n, times_s, rng.exponential(0.3, len(times_s)), 5e-4, log_uniform(rng, 0.001, 0.03))
    return pops * coloured_noise(rng, n, (-1, 1)) + rng.uniform(0.005, 0.1) * coloured_noise(rng, n)


def voice(rng: np.random.Generator, n: int) -> Samples:
    """Return syllables without words: gliding pitch and formants, pauses, hisses."""
    pitch_hz = log_uniform(rng, 80, 350) * (1 + 0.25 * (wander(rng, n, 3) - 0.3))
    formants_hz = [300 + 700 * wander(rng, n, 5), 900 + 1_600 * wander(rng, n, 5), steady(n, rng.uniform(2_300, 3_300))]
    voiced = harmonics(pitch_hz, 40, 0.8, formants_hz) * (wander(rng, n, 5) > 0.12) * (0.2 + wander(rng, n, 6))
    return at_full_scale(voiced) + 0.15 * coloured_noise(rng, n, (0, 1)) * (wander(rng, n, 4) > 0.6)


def wail(rng: np.random.Generator, n: int) -> Samples:
    phase = (seconds(n) / rng.uniform(0.5, 1.6)) % 1
    pitch_hz = log_uniform(rng, 250, 700) * (1 + 0.3 * np.sin(np.pi * phase))
    formants_hz = [steady(n, rng.uniform(800, 1_500)), steady(n, rng.uniform(2_500, 4_000))]
    breath = (phase < rng.uniform(0.5, 0.9)) * np.sin(np.pi * phase) ** 0.5
    return harmonics(pitch_hz, 15, 0.5, formants_hz) * breath + 0.02 * coloured_noise(rng, n)


def barks(rng: np.random.Generator, n: int) -> Samples:
    times_s = np.cumsum(rng.exponential(0.6, rng.integers(1, 8)) + 0.15)
    envelope = strikes(n, times_s, rng.uniform(0.5, 1, len(times_s)), 0.01, rng.uniform(0.03, 0.15))
    pitch_hz = log_uniform(rng, 150, 700) * (1 + 0.5 * envelope)
    throat = harmonics(pitch_hz, 20, 0.5, [steady(n, rng.uniform(600, 1_800))])
    return envelope * (throat + rng.uniform(0.1, 1) * coloured_noise(rng, n)) + 1e-4 * coloured_noise(rng, n)


def puff(rng: np.random.Generator, n: int) -> Samples:
    times_s = rng.uniform(0, 0.7 * n / SAMPLE_RATE_HZ, rng.integers(1, 3))
    levels = np.linspace(1, 0.5, len(times_s))
    return strikes(n, times_s, levels, rng.uniform(0.005, 0.2), rng.uniform(0.05, 0.3)) * coloured_noise(rng, n)


def sweeps(rng: np.random.Generator, n: int) -> Samples:
    phase = (seconds(n) / rng.uniform(0.2, 2)) % 1
    from_hz, to_hz = log_uniform(rng, 200, 5_000), log_uniform(rng, 200, 5_000)
    return harmonics(from_hz * (to_hz / from_hz) ** phase, 1, 1) * np.sin(np.pi * phase) ** 0.3


def chirps(rng: np.random.Generator, n: int) -> Samples:
    times_s = np.cumsum(rng.exponential(0.4, 40) + 0.05)
    envelope = strikes(n, times_s, rng.uniform(0.3, 1, len(times_s)), 0.01, rng.uniform(0.02, 0.1))
    pitch_hz = log_uniform(rng, 1_500, 5_500) * (1 + 0.4 * (envelope - 0.3))
    return envelope * harmonics(pitch_hz, 1, 1) + 0.01 * coloured_noise(rng, n)


def tones(rng: np.random.Generator, n: int) -> Samples:
    chord = np.zeros(n)
    for _ in range(rng.integers(1, 4)):
        chord += rng.uniform(0.3, 1) * harmonics(steady(n, log_uniform(rng, 80, 4_000)), 1, 1)
    return chord


def music(rng: np.random.Generator, n: int) -> Samples:
    """Return one to three voices that walk on a scale, mostly with drums, in a steady tempo."""
    beat_s, root = 60 / rng.uniform(60, 180), int(rng.integers(36, 60))
    scale = [0, 2, 3, 5, 7, 8, 10] if rng.random() < 0.5 else [0, 2, 4, 5, 7, 9, 11]
    roll_off, decay_s, notes_a_beat = rng.uniform(0.6, 2), rng.uniform(0.1, 1), int(rng.choice([1, 2, 4]))
    mix = np.zeros(n)
    for part in range(rng.integers(1, 4)):
        degree, octave = int(rng.integers(0, 7)), int(rng.integers(0, 3))
        for at_s in np.arange(0, n / SAMPLE_RATE_HZ, beat_s / notes_a_beat * (1 if part else 2)):
            degree = (degree + int(rng.integers(-2, 3))) % 7
            stretch = mix[int(at_s * SAMPLE_RATE_HZ) :][: int(SAMPLE_RATE_HZ * min(2, 4 * decay_s))]
            t = seconds(len(stretch))
            hz = 440 * 2 ** ((root + 12 * octave + scale[degree] - 69) / 12)
            stretch += harmonics(steady(len(t), hz), 9, roll_off) * np.exp(-t / decay_s) * np.minimum(t / 0.01, 1)
    mix = at_full_scale(mix)
    if rng.random() < 0.7:
        halves_s = np.arange(0, n / SAMPLE_RATE_HZ, beat_s / 2)
        hats = strikes(n, halves_s, np.where(np.arange(len(halves_s)) % 2, 1, 0.6), 0.001, 0.04)
        kicks = strikes(n, halves_s[::2], np.ones(len(halves_s[::2])), 0.002, 0.1)
        mix += rng.uniform(0.2, 1) * hats * coloured_noise(rng, n, (-0.5, 1))
        mix += rng.uniform(0, 1) * kicks * harmonics(60 + 80 * kicks, 1, 1)
    return mix


KINDS: tuple[Draw, ...] = (
    *(coloured_noise, wash, flutter, engine, ticks, crackle, voice),
    *(wail, barks, puff, sweeps, chirps, tones, music),
)


def recorded(rng: np.random.Generator, samples: Samples) -> NDArray[np.float32]:
    """Pass a drawn sound through a random microphone and room: slope, cut, echo, noise or a silent end, volume."""
    n = len(samples)
    hz = np.fft.rfftfreq(n, 1 / SAMPLE_RATE_HZ)
    gain = np.maximum(hz, 50) ** rng.uniform(-0.4, 0.4)
    if rng.random() < 0.3:
        gain = gain / (1 + (hz / log_uniform(rng, 2_500, 7_000)) ** 8)
    if rng.random() < 0.3:
        gain = gain * (hz / (hz + log_uniform(rng, 50, 300)))
    heard = at_full_scale(np.fft.irfft(np.fft.rfft(samples) * gain, n))
    if rng.random() < 0.4:
        length = int(SAMPLE_RATE_HZ * rng.uniform(0.05, 0.5))
        echo = rng.standard_normal(length) * np.exp(-6 * np.arange(length) / length)
        echo[0] = rng.uniform(3, 20)
        heard = at_full_scale(fftconvolve(heard, echo)[:n])
    if rng.random() < 0.3:
        heard[int(n * rng.uniform(0.3, 0.9)) :] = 0
    elif rng.random() < 0.9:
        heard = heard + 10 ** (rng.uniform(-75, -20) / 20) * coloured_noise(rng, n)
    return (at_full_scale(heard) * 10 ** (rng.uniform(-30, 0) / 20)).astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the constants of the sound encoder from drawn sounds.")
    parser.add_argument("--out", type=Path, default=sound.CONSTANTS)
    out: Path = parser.parse_args().out
    header = {
        "made_by": "python -m bench.sound_constants",
        "from": f"{len(KINDS)} kinds x {SOUNDS_A_KIND} drawn sounds; filter banks of librosa",
        "seed": SEED,
        "whitening": WHITENING,
        "versions": {name: version(name) for name in ("librosa", "numpy", "scipy")},
    }
    out.parent.mkdir(exist_ok=True)
    save_file(make_constants(), out, metadata={"sound": json.dumps(header, sort_keys=True)})
    print(f"{out}: {out.stat().st_size} bytes")


if __name__ == "__main__":
    main()
