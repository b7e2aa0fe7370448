"""The speech gate, against known truth and against the package's own code."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from encoders.speech import SAMPLE_RATE_HZ, Speech, speech_segments_s, speech_share

WINDOW_S = 0.032


@pytest.fixture(scope="module")
def speech() -> Speech:
    return Speech()


def voice(duration_s: float, *, seed: int) -> NDArray[np.float32]:
    """Draw a hoarse vowel that glides: pulses at 90–180 Hz through three formants, in syllables."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(duration_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    pitch_hz = 130 + 35 * np.sin(2 * np.pi * 0.7 * t + rng.uniform(0, 6))
    phase = 2 * np.pi * np.cumsum(pitch_hz) / SAMPLE_RATE_HZ
    out = np.zeros_like(t)
    first_hz = 500 + 250 * np.sin(2 * np.pi * 2.1 * t)
    second_hz = 1500 + 500 * np.sin(2 * np.pi * 1.7 * t + 1)
    for harmonic in range(1, 30):
        at = harmonic * pitch_hz
        gain = sum(1 / (1 + ((at - formant) / 90) ** 2) for formant in (first_hz, second_hz, np.full_like(t, 2600.0)))
        out += gain * np.sin(harmonic * phase) / harmonic**0.3
    out *= np.clip(np.sin(2 * np.pi * 3.5 * t), 0.05, 1) ** 0.5
    out += 0.01 * rng.standard_normal(len(t))
    drawn: NDArray[np.float32] = (0.3 * out / np.abs(out).max()).astype(np.float32)
    return drawn


def tones(duration_s: float) -> NDArray[np.float32]:
    t = np.arange(int(duration_s * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    return (0.2 * np.sin(2 * np.pi * 440 * t) + 0.2 * np.sin(2 * np.pi * 660 * t)).astype(np.float32)


def windows(*runs: tuple[float, int]) -> NDArray[np.float32]:
    """Lay out probabilities as (value, how many windows)."""
    return np.concatenate([np.full(count, value, np.float32) for value, count in runs])


def test_a_segment_is_as_long_as_its_windows_and_two_pads() -> None:
    [(begin, end)] = speech_segments_s(windows((0, 10), (0.9, 20), (0, 30)), 60 * WINDOW_S)
    assert begin == pytest.approx(10 * WINDOW_S - 0.03)
    assert end == pytest.approx(30 * WINDOW_S + 0.03)


def test_a_short_burst_is_no_speech() -> None:
    assert speech_segments_s(windows((0, 10), (0.9, 7), (0, 30)), 47 * WINDOW_S) == []


def test_a_short_pause_does_not_split_and_a_long_one_does() -> None:
    assert len(speech_segments_s(windows((0.9, 20), (0, 3), (0.9, 20)), 43 * WINDOW_S)) == 1
    assert len(speech_segments_s(windows((0.9, 20), (0, 6), (0.9, 20)), 46 * WINDOW_S)) == 2


def test_a_wavering_voice_stays_one_segment() -> None:
    assert len(speech_segments_s(windows((0.9, 20), (0.4, 20), (0.9, 20)), 60 * WINDOW_S)) == 1


def test_speech_up_to_the_edges_ends_at_the_edges() -> None:
    assert speech_segments_s(windows((0.9, 20)), 0.63) == [(0.0, 0.63)]


def test_segments_agree_with_the_package_on_any_probabilities() -> None:
    referee = pytest.importorskip("silero_vad.utils_vad").get_speech_timestamps_from_probs
    rng = np.random.default_rng(7)
    for _ in range(200):
        walk = np.clip(np.cumsum(rng.normal(0, 0.2, rng.integers(1, 300))) % 2 - 0.5, 0, 1).astype(np.float32)
        samples = len(walk) * 512 - int(rng.integers(0, 512))
        wanted = [
            (turn["start"] / SAMPLE_RATE_HZ, turn["end"] / SAMPLE_RATE_HZ)
            for turn in referee(walk.tolist(), audio_length_samples=samples)
        ]
        got = speech_segments_s(walk, samples / SAMPLE_RATE_HZ)
        assert len(got) == len(wanted)
        np.testing.assert_allclose(np.array(got), np.array(wanted), atol=2 / SAMPLE_RATE_HZ)


def test_probabilities_agree_with_the_package_run_window_by_window(speech: Speech) -> None:
    referee = pytest.importorskip("silero_vad").load_silero_vad(onnx=True)
    torch = pytest.importorskip("torch")
    sound = np.concatenate([tones(1.0), voice(17.3, seed=1), np.zeros(9_000, np.float32)])
    wanted = referee.audio_forward(torch.from_numpy(sound)[None], SAMPLE_RATE_HZ)[0].numpy()
    np.testing.assert_allclose(speech.probabilities(sound), wanted, atol=1e-4)


def test_tones_noise_and_silence_are_no_speech(speech: Speech) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 3 * SAMPLE_RATE_HZ).astype(np.float32)
    for sound in (tones(3.0), noise, np.zeros(3 * SAMPLE_RATE_HZ, np.float32), np.empty(0, np.float32)):
        assert speech.segments_s(sound) == []


def test_a_voice_is_found_between_tones(speech: Speech) -> None:
    sound = np.concatenate([tones(3.0), voice(4.0, seed=3), tones(3.0)])
    segments = speech.segments_s(sound)
    assert segments, "the drawn voice was not heard"
    assert segments[0][0] > 2.7
    assert segments[-1][1] < 7.6
    assert speech_share(segments, 10.0) > 0.15


def test_sounds_do_not_remember_each_other_across_threads(speech: Speech) -> None:
    sounds = [voice(2.0, seed=seed) for seed in range(8)]
    alone = [speech.probabilities(sound) for sound in sounds]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(speech.probabilities, sounds))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)


def test_two_channels_are_refused(speech: Speech) -> None:
    with pytest.raises(ValueError, match=r"mono.*\(2, 512\)"):
        speech.probabilities(np.zeros((2, 512), np.float32))


@pytest.mark.data
def test_real_speech_is_heard_and_real_noise_is_not(speech: Speech) -> None:
    if "FIRSTLOOK_BENCH_DATA" not in os.environ:
        pytest.skip("FIRSTLOOK_BENCH_DATA does not say where the clips are")
    from bench.sound import read_waveform

    data = Path(os.environ["FIRSTLOOK_BENCH_DATA"]) / "open"
    for name in ("jfk.flac", "1089-134686-0000.flac", "LJ002-0020.wav"):
        waveform = read_waveform(data / "speech" / name)
        assert speech_share(speech.segments_s(waveform), len(waveform) / SAMPLE_RATE_HZ) > 0.6, name
    for path in (data / "labelled" / "esc10").glob("rain__*.ogg"):
        assert speech.segments_s(read_waveform(path)) == [], path.name
