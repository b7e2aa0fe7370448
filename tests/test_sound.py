"""The sound encoder: identities that hold for any sound, librosa as the referee, drawn sounds with known answers."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from encoders import models, sound_features
from encoders.sound import CONSTANTS, Sound, is_silent

RATE_HZ = 16_000
Waveform = NDArray[np.float32]


@pytest.fixture(scope="module")
def sound() -> Sound:
    return Sound()


def seconds(duration_s: float) -> NDArray[np.float64]:
    return np.arange(int(duration_s * RATE_HZ)) / RATE_HZ


def tone(hz: float, duration_s: float = 4.0) -> Waveform:
    return (0.3 * np.sin(2 * np.pi * hz * seconds(duration_s))).astype(np.float32)


def chord(*, root_hz: float, duration_s: float = 4.0) -> Waveform:
    return tone(root_hz, duration_s) + tone(1.26 * root_hz, duration_s) + tone(1.5 * root_hz, duration_s)


def noise(seed: int, duration_s: float = 4.0) -> Waveform:
    return np.random.default_rng(seed).normal(0, 0.1, int(duration_s * RATE_HZ)).astype(np.float32)


def clicks(period_s: float, duration_s: float = 4.0, seed: int = 0) -> Waveform:
    decay = np.exp(-((seconds(duration_s) % period_s) / 0.005))
    return np.asarray(decay * noise(seed, duration_s), np.float32)


def test_rows_have_length_one_and_keep_their_order(sound: Sound) -> None:
    waveforms = [tone(440), noise(1), clicks(0.5)]
    rows = sound.encode(waveforms)
    assert rows.shape == (3, 32)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
    for row, waveform in zip(rows, waveforms, strict=True):
        np.testing.assert_array_equal(row, sound.encode([waveform])[0])


def test_no_waveforms_give_no_rows(sound: Sound) -> None:
    assert sound.encode([]).shape == (0, 32)


def test_the_same_sound_at_another_volume_is_the_same_sound(sound: Sound) -> None:
    rows = sound.encode([noise(1) + tone(440), 0.1 * (noise(1) + tone(440))])
    assert rows[0] @ rows[1] > 0.9999


def test_what_sounds_alike_is_near(sound: Sound) -> None:
    kinds = {
        "noise": [noise(1), noise(2, 6.0)],
        "clicks": [clicks(0.5, seed=1), clicks(0.5, 6.0, seed=2)],
        "chord": [chord(root_hz=220), chord(root_hz=262, duration_s=6.0)],
    }
    rows = sound.encode([waveform for pair in kinds.values() for waveform in pair])
    cosines = rows @ rows.T - 2 * np.eye(len(rows))
    np.testing.assert_array_equal(cosines.argmax(axis=1), [1, 0, 3, 2, 5, 4])


@pytest.mark.parametrize("n_samples", [1, 100, 1_023, 1_024, 1_025, 5_000, 34 * RATE_HZ])
def test_sounds_of_any_length_have_a_row(sound: Sound, n_samples: int) -> None:
    row = sound.encode([noise(3, 35.0)[:n_samples]])[0]
    assert np.isfinite(row).all()
    assert np.linalg.norm(row) == pytest.approx(1, abs=1e-6)


def test_of_a_long_sound_the_loudest_piece_of_each_quarter_is_heard() -> None:
    energies = np.zeros(40_000)
    energies[[600, 15_000, 39_999]] = 1.0
    frames = sound_features.heard_frames(energies)
    assert len(frames) == 2_048
    assert {600, 15_000, 39_999} <= set(frames.tolist())
    assert (np.diff(frames) > 0).all()


def test_one_second_of_sound_in_two_minutes_of_silence_is_heard(sound: Sound) -> None:
    alone, within = noise(8, 1.0), np.zeros(120 * RATE_HZ, np.float32)
    within[50 * RATE_HZ :][: len(alone)] = alone
    assert np.isfinite(sound.encode([within])).all()
    last = np.zeros(RATE_HZ, np.float32)
    last[-100:] = 0.5
    assert np.isfinite(sound.encode([last])).all()


def test_absurd_amplitudes_still_give_a_row(sound: Sound) -> None:
    rows = sound.encode([tone(440), np.float32(1e30) * tone(440)])
    assert rows[0] @ rows[1] > 0.9999


@pytest.mark.parametrize(
    ("waveform", "complaint"),
    [
        (np.empty(0, np.float32), "empty"),
        (np.zeros(RATE_HZ, np.float32), "silent"),
        (1e-4 * tone(440), "silent"),
        (np.full(RATE_HZ, np.nan, np.float32), "finite"),
        (np.ones((2, RATE_HZ), np.float32), r"mono.*\(2, 16000\)"),
    ],
)
def test_what_has_no_direction_is_refused(sound: Sound, waveform: Waveform, complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        sound.encode([waveform])


def test_silence_is_judged_by_the_loudest_moment() -> None:
    late = np.zeros(60 * RATE_HZ, np.float32)
    assert is_silent(late)
    late[-RATE_HZ // 10 :] = 0.01
    assert not is_silent(late)
    assert is_silent(np.empty(0, np.float32))


def test_threads_do_not_disturb_each_other(sound: Sound) -> None:
    waveforms = [noise(seed, 2.0) for seed in range(12)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda waveform: sound.encode([waveform])[0], waveforms))
    np.testing.assert_array_equal(np.stack(together), sound.encode(waveforms))


@pytest.mark.ci
def test_spectrogram_mel_mfcc_and_chroma_are_librosas() -> None:
    librosa = pytest.importorskip("librosa")
    waveform = np.concatenate([chord(root_hz=220), noise(4), clicks(0.3)])
    constants, _ = models.tensors(CONSTANTS)
    magnitudes = sound_features.spectrogram(waveform)
    shape = {"n_fft": 1_024, "hop_length": 256}
    wanted = np.abs(librosa.stft(waveform, **shape, pad_mode="constant")).T[: len(magnitudes)]
    np.testing.assert_allclose(magnitudes, wanted, atol=1e-4)

    power = wanted.T**2
    mel = librosa.feature.melspectrogram(S=power, sr=RATE_HZ, n_fft=1_024, n_mels=64, fmin=30.0)
    log_mel = librosa.power_to_db(mel, ref=np.max, amin=1e-20)
    ours = sound_features.decibels(magnitudes**2 @ constants["mel_bank"].T)
    np.testing.assert_allclose(ours, log_mel.T, atol=1e-2)

    mfcc = librosa.feature.mfcc(S=log_mel, n_mfcc=20)
    np.testing.assert_allclose(ours @ sound_features.cosine_basis(20, 64).T, mfcc.T, atol=5e-2)

    chroma = librosa.feature.chroma_stft(S=power, sr=RATE_HZ, n_fft=1_024, tuning=0.0, norm=None)
    np.testing.assert_allclose(magnitudes**2 @ constants["chroma_bank"].T, chroma.T, rtol=1e-3, atol=1e-3)


def test_contrast_is_high_for_tones_and_low_for_noise() -> None:
    tonal = sound_features.spectral_contrast(sound_features.spectrogram(chord(root_hz=220))).mean(axis=0)
    noisy = sound_features.spectral_contrast(sound_features.spectrogram(noise(5))).mean(axis=0)
    assert tonal[1] > noisy[1] + 20


@pytest.mark.parametrize("bpm", [60, 90, 120, 150, 180])
def test_the_tempo_of_a_metronome_is_found(sound: Sound, bpm: int) -> None:
    found = sound.signals(clicks(60 / bpm, 8.0))["tempo_bpm"]
    assert min(abs(found / bpm - octave) for octave in (0.5, 1, 2)) < 0.04


def test_signals_say_what_was_drawn(sound: Sound) -> None:
    signals = sound.signals(tone(440))
    assert signals["loudness_dbfs"] == pytest.approx(20 * np.log10(0.3 / np.sqrt(2)), abs=0.05)
    assert signals["peak_dbfs"] == pytest.approx(20 * np.log10(0.3), abs=0.05)
    assert signals["zero_crossings_hz"] == pytest.approx(880, abs=2)
    assert signals["tonal_share"] == 1
    assert sound.signals(noise(6))["tonal_share"] < 0.05
    half = np.concatenate([noise(7), np.zeros(4 * RATE_HZ, np.float32)])
    assert sound.signals(half)["active_share"] == pytest.approx(0.5, abs=0.02)


def test_the_spec_is_plain_json(sound: Sound) -> None:
    spec = sound.spec()
    assert json.loads(json.dumps(spec)) == spec
    assert spec["constants_sha256"] == models.file_sha256(CONSTANTS)


def test_the_constants_are_small_and_say_how_they_were_made() -> None:
    _, header = models.tensors(CONSTANTS)
    assert CONSTANTS.stat().st_size < 200_000
    assert json.loads(header["sound"])["made_by"] == "python -m bench.sound_constants"


@pytest.mark.data
def test_real_sounds_of_one_class_find_each_other(sound: Sound) -> None:
    if "FIRSTLOOK_BENCH_DATA" not in os.environ:
        pytest.skip("FIRSTLOOK_BENCH_DATA does not say where the clips are")
    from bench.sound import average_precisions, read_clips

    clips = read_clips(Path(os.environ["FIRSTLOOK_BENCH_DATA"]), "labelled/esc10")
    rows = sound.encode([clip.waveform for clip in clips])
    assert np.nanmean(average_precisions(np.asarray(rows @ rows.T, np.float64), [clip.label for clip in clips])) > 0.75
