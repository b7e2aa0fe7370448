"""The cost benchmark measures what it says: known burns of processor time and of memory."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

from bench.floor import SAMPLE_RATE_HZ, decode, log_mel
from bench.measure import measured

REPORT = 'print(json.dumps({"videos": 1, "first_clip_s": 0.5, "steps": {}}))'
BURN = "import time\nwhile time.process_time() < 0.5: pass\n"


def test_cpu_seconds_count_grandchildren_that_ended_and_that_were_killed() -> None:
    kill = (
        f"child = subprocess.Popen([sys.executable, '-c', {BURN + 'time.sleep(60)'!r}]); time.sleep(2.5); child.kill()"
    )
    end = f"subprocess.run([sys.executable, '-c', {BURN!r}])"
    run = measured([sys.executable, "-c", f"import json, subprocess, sys, time; {end}; {kill}; child.wait(); {REPORT}"])
    assert 1.0 <= run.cpu_s < 1.6
    assert run.wall_s >= 2.5


def test_memory_is_that_of_the_whole_tree() -> None:
    grab = "import time; kept = b'x' * (100 << 20); time.sleep(1.0)"
    run = measured(
        [
            sys.executable,
            "-c",
            f"import json, subprocess, sys; one = subprocess.Popen([sys.executable, '-c', {grab!r}]); "
            f"exec({grab!r}); one.wait(); {REPORT}",
        ],
        watch_memory=True,
    )
    assert 200 << 20 <= run.peak_pss_bytes < 260 << 20


def test_a_plain_log_mel_tells_pitches_apart() -> None:
    times_s = np.arange(SAMPLE_RATE_HZ) / SAMPLE_RATE_HZ
    low, high, low_again = (
        log_mel(np.sin(2 * np.pi * pitch_hz * times_s).astype(np.float32)) for pitch_hz in (300, 3_000, 310)
    )
    assert abs(float(np.linalg.norm(low)) - 1) < 1e-5
    assert float(low @ low_again) > float(low @ high)


def test_the_floor_decodes_what_ours_decodes(tmp_path: Path) -> None:
    from ingest.decode import DecodePool
    from ingest.samples import draw_samples

    clip_path = draw_samples(tmp_path, count=1)[0].path
    frames, waveform = decode(clip_path)
    with DecodePool() as pool:
        clip = pool.decode(clip_path)
    assert np.stack(frames).shape == clip.frames.shape
    assert abs(len(waveform) - len(clip.waveform)) < SAMPLE_RATE_HZ // 10
