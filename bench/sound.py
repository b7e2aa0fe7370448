"""How well sounds of one class find each other, whether the speech gate hears speech only, and what both cost.

    FIRSTLOOK_BENCH_DATA=... python -m bench.sound [--json] [--seed 0] [--draws 2000]

Each clip is a query once, the others are ranked by the dot product of their rows, and the mean average precision (mAP)
of clips of the query's class is printed with the interval that holds 95 % of bootstrap draws. Draws take whole
recordings, because several clips are cut from one; `other_recordings` leaves those out of the ranking too.

A silent clip has no row and is masked, so it can be found by its mask only. Of music_speech_silence we give mAP among
clips that have a row, and `with_mask`, where two masked clips are alike and a masked clip is unlike any other.
"""

from __future__ import annotations

import argparse
import csv
import json
import math
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray
from scipy.signal import resample_poly

from encoders.sound import Sound, is_silent
from encoders.speech import SAMPLE_RATE_HZ, Speech, speech_share

Scores = NDArray[np.float64]
FOLDERS = ("labelled/esc10", "labelled/music_speech_silence", "labelled/spoken_digits", "speech")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LabelledClip:
    recording: str  # clips of one recording share it
    label: str
    waveform: NDArray[np.float32]  # (n_samples,), mono, 16 kHz


def read_clips(data: Path, folder: str) -> list[LabelledClip]:
    """Read the clips of one folder that the manifest labels."""
    with (data / "open" / "MANIFEST.csv").open(encoding="utf-8", newline="") as manifest:
        rows = [
            row for row in csv.DictReader(manifest) if row["file"].startswith(f"{folder}/") and row["kind"] == "audio"
        ]
    return [
        LabelledClip(
            recording=row["file"].rsplit("-", 1)[0] if "esc10" in folder else row["file"],  # 1-172649-A, -B, …
            label=row["label"] or "speech",
            waveform=read_waveform(data / "open" / row["file"]),
        )
        for row in rows
    ]


def read_waveform(path: Path) -> NDArray[np.float32]:
    samples, rate_hz = soundfile.read(path, dtype="float32", always_2d=True)
    common = math.gcd(rate_hz, SAMPLE_RATE_HZ)
    return np.asarray(resample_poly(samples.mean(axis=1), SAMPLE_RATE_HZ // common, rate_hz // common), np.float32)


def average_precisions(cosines: Scores, labels: Sequence[str], hidden: NDArray[np.bool_] | None = None) -> Scores:
    """Return the average precision of each query, nan where it has no partner.

    Args:
        cosines: (n, n).
        hidden: (n, n), which candidates a query does not rank; by default only itself.
    """
    same = np.equal.outer(np.array(labels), np.array(labels))
    hidden = np.eye(len(labels), dtype=bool) if hidden is None else hidden
    precisions = np.full(len(labels), np.nan)
    for query, scores in enumerate(cosines):
        ranked = np.argsort(-scores, kind="stable")
        hits = same[query, ranked[~hidden[query, ranked]]]
        if hits.any():
            precisions[query] = (np.cumsum(hits) / np.arange(1, len(hits) + 1))[hits].mean()
    return precisions


def summary(precisions: Scores, recordings: Sequence[str], rng: np.random.Generator, draws: int) -> dict[str, Any]:
    """Return mAP with a bootstrap interval over recordings."""
    names, owner = np.unique(np.array(recordings), return_inverse=True)
    counted = np.isfinite(precisions)
    sums = np.bincount(owner[counted], precisions[counted], len(names))
    counts = np.bincount(owner[counted], minlength=len(names))
    drawn = rng.integers(0, len(names), (draws, len(names)))
    totals = counts[drawn].sum(axis=1)
    means = sums[drawn].sum(axis=1)[totals > 0] / totals[totals > 0]
    low, high = np.quantile(means, (0.025, 0.975))
    return {
        "map": round(float(precisions[counted].mean()), 4),
        "interval_95": [round(float(low), 4), round(float(high), 4)],
        "queries": int(counted.sum()),
    }


def retrieval_esc10(sound: Sound, clips: list[LabelledClip], rng: np.random.Generator, draws: int) -> dict[str, Any]:
    rows = sound.encode([clip.waveform for clip in clips])
    labels, recordings = [clip.label for clip in clips], [clip.recording for clip in clips]
    same_recording = np.equal.outer(np.array(recordings), np.array(recordings))
    cosines = np.asarray(rows @ rows.T, np.float64)
    return {
        "all": summary(average_precisions(cosines, labels), recordings, rng, draws),
        "other_recordings": summary(average_precisions(cosines, labels, same_recording), recordings, rng, draws),
    }


def retrieval_silence(sound: Sound, clips: list[LabelledClip], rng: np.random.Generator, draws: int) -> dict[str, Any]:
    masked = np.array([is_silent(clip.waveform) for clip in clips])
    labels, recordings = np.array([clip.label for clip in clips]), np.array([clip.recording for clip in clips])
    rows = sound.encode([clip.waveform for clip in clips if not is_silent(clip.waveform)])
    among_heard = np.asarray(rows @ rows.T, np.float64)
    cosines = np.where(np.logical_and.outer(masked, masked), 1.0, -1.0)
    cosines[np.ix_(~masked, ~masked)] = among_heard
    return {
        "with_a_row": summary(
            average_precisions(among_heard, labels[~masked].tolist()), recordings[~masked].tolist(), rng, draws
        ),
        "with_mask": summary(average_precisions(cosines, labels.tolist()), recordings.tolist(), rng, draws),
        "masked": {
            str(name): f"{masked[labels == name].sum()} of {(labels == name).sum()}" for name in np.unique(labels)
        },
    }


def speech_found(speech: Speech, folders: dict[str, list[LabelledClip]]) -> dict[str, Any]:
    """Return, by folder and label, in how many clips speech is found and its mean share."""
    found: dict[str, list[float]] = {}
    for folder, clips in folders.items():
        for clip in clips:
            share = speech_share(speech.segments_s(clip.waveform), len(clip.waveform) / SAMPLE_RATE_HZ)
            found.setdefault(f"{folder}: {clip.label}", []).append(share)
    return {
        label: {
            "clips": len(shares),
            "with_speech": sum(share > 0 for share in shares),
            "share": round(float(np.mean(shares)), 3),
        }
        for label, shares in found.items()
    }


def cpu_ms(work: Callable[[], object], repeats: int) -> float:
    """Return the median CPU time of one call, after a first one that is not counted."""
    work()
    times = []
    for _ in range(repeats):
        begun = time.process_time()
        work()
        times.append(time.process_time() - begun)
    return round(1_000 * float(np.median(times)), 2)


def costs(sound: Sound, speech: Speech, clips: list[LabelledClip]) -> dict[str, Any]:
    """Return CPU milliseconds a sound, and what a fresh process pays to start and to encode its first second."""
    many = np.concatenate([clip.waveform for clip in clips])
    cut = {f"{duration_s} s": many[: duration_s * SAMPLE_RATE_HZ] for duration_s in (5, 30, 60, 120)}
    return {
        "sound_ms": {name: cpu_ms(partial(sound.encode, [waveform]), 20) for name, waveform in cut.items()},
        "speech_ms": {name: cpu_ms(partial(speech.segments_s, waveform), 5) for name, waveform in cut.items()},
        "fresh_process": {name: fresh_process(module, made) for name, module, made in STARTS},
    }


STARTS = (
    ("numpy alone", "numpy", "0"),
    (
        "sound",
        "encoders.sound",
        "module.Sound().encode([numpy.random.default_rng(0).normal(0, .1, 16000).astype('f')])",
    ),
    ("speech", "encoders.speech", "module.Speech().segments_s(numpy.zeros(16000, 'f'))"),
    ("librosa (not used)", "librosa", "module.feature.mfcc(y=numpy.ones(16000, 'f'), sr=16000)"),
)


def fresh_process(module: str, made: str) -> dict[str, float]:
    script = (
        f"import json, psutil, time, numpy, importlib; module = importlib.import_module('{module}'); {made}\n"
        "cpu_s, rss_mb = time.process_time(), psutil.Process().memory_info().rss >> 20\n"
        "print(json.dumps({'cpu_s': round(cpu_s, 2), 'rss_mb': rss_mb}))"
    )
    answer = subprocess.run([sys.executable, "-W", "ignore", "-c", script], capture_output=True, text=True, check=True)
    figures: dict[str, float] = json.loads(answer.stdout)
    return figures


def measure(data: Path, seed: int, draws: int) -> dict[str, Any]:
    sound, speech = Sound(), Speech()
    rng = np.random.default_rng(seed)
    folders = {name: read_clips(data, name) for name in FOLDERS}
    esc10, silence, *_ = folders.values()
    return {
        "esc10": retrieval_esc10(sound, esc10, rng, draws),
        "music_speech_silence": retrieval_silence(sound, silence, rng, draws),
        "speech_gate": speech_found(speech, folders),
        "cost": costs(sound, speech, esc10),
        "sound_spec": sound.spec(),
        "seed": seed,
        "draws": draws,
        "machine": {"processor": platform.machine(), "cores": os.cpu_count(), "python": platform.python_version()},
        "versions": {name: version(name) for name in ("numpy", "onnxruntime", "silero-vad", "librosa", "soundfile")},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the sound encoder and the speech gate.")
    parser.add_argument("--data", type=Path, default=os.environ.get("FIRSTLOOK_BENCH_DATA"))
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--draws", type=int, default=2_000)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of lines")
    options = parser.parse_args()
    if options.data is None:
        parser.error("say where the clips are: --data DIR or FIRSTLOOK_BENCH_DATA")
    report = measure(options.data, options.seed, options.draws)
    if options.json:
        print(json.dumps(report))
        return
    for name, figures in report.items():
        print(f"{name}: {figures if not isinstance(figures, dict) else ''}")
        for key, value in figures.items() if isinstance(figures, dict) else ():
            print(f"  {key}: {value}")


if __name__ == "__main__":
    main()
