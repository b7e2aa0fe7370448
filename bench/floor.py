"""The floor: what the work costs with nothing around it. No project, no sandbox, no ledger, nothing kept but one table.

    python -m bench.floor FOLDER --network network.xml [--processes 2]

Two processes, one thread each, PyAV in process: decode every frame, keep those at 16 slice middles at a short side of
224, sound to 16 kHz mono, EfficientNet-Lite0 in OpenVINO, a plain log-mel, rows into one Lance table at the end. It
imports nothing of ours, so that it cannot share our mistakes. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

FRAME_COUNT = 16
SIDE_PX = 224
SAMPLE_RATE_HZ = 16_000
WINDOW_SAMPLES, HOP_SAMPLES, BANDS = 400, 160, 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What becomes of one file."""

    name: str
    vision: NDArray[np.float32]  # (1280,), mean of the frames' features
    log_mel: NDArray[np.float32]  # (128,)
    decoded_at_s: float
    """On the monotonic clock, which all processes share."""
    seconds: dict[str, float]
    """Step -> CPU seconds of this process."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--network", type=Path, required=True)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--started", type=float, default=time.monotonic(), help="when the caller started this process")
    asked = parser.parse_args()
    os.environ["OPENBLAS_NUM_THREADS"] = "1"  # a second thread of each would only spin: 35 % more CPU, and slower
    with multiprocessing.get_context("spawn").Pool(asked.processes, _load, (asked.network, asked.precision)) as pool:
        rows = list(pool.imap_unordered(one, sorted(asked.folder.iterdir()), chunksize=4))
        pool.close()
        pool.join()  # not killed by leaving the block: whoever is not waited for is not counted
    before_s = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        _write(rows, folder)
    steps = {step: sum(row.seconds[step] for row in rows) for step in rows[0].seconds}
    steps["table"] = time.process_time() - before_s
    first_clip_s = min(row.decoded_at_s for row in rows) - asked.started
    print(json.dumps({"videos": len(rows), "first_clip_s": first_clip_s, "steps": steps}))


def one(path: Path) -> Row:
    """Do all the work of one file."""
    marks = [time.process_time()]
    frames, waveform = decode(path)
    decoded_at_s = time.monotonic()
    marks.append(time.process_time())
    vision = see(frames)
    marks.append(time.process_time())
    heard = log_mel(waveform) if len(waveform) else np.zeros(2 * BANDS, np.float32)
    marks.append(time.process_time())
    seconds = dict(zip(("decode", "vision", "sound"), np.diff(marks).tolist(), strict=True))
    return Row(name=path.name, vision=vision, log_mel=heard, decoded_at_s=decoded_at_s, seconds=seconds)


def decode(path: Path) -> tuple[list[NDArray[np.uint8]], NDArray[np.float32]]:
    """Frames shown at slice middles, each (height, width, 3) with a short side of 224, and 16 kHz mono sound."""
    import av
    from av.video.reformatter import VideoReformatter

    frames: list[NDArray[np.uint8]] = []
    sound: list[NDArray[np.float32]] = []
    small, resampler = VideoReformatter(), av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE_HZ)
    with av.open(str(path)) as container:
        video = container.streams.video[0]
        video.thread_type, video.codec_context.thread_count = "NONE", 1
        streams = [video, *container.streams.audio[:1]]
        assert container.duration is not None
        step_s = container.duration / 1e6 / FRAME_COUNT
        for packet in container.demux(*streams):
            for frame in packet.decode():
                if isinstance(frame, av.AudioFrame):
                    sound += [part.to_ndarray()[0] for part in resampler.resample(frame)]
                elif isinstance(frame, av.VideoFrame) and (frame.time or 0.0) >= (len(frames) + 0.5) * step_s:
                    scale = SIDE_PX / min(frame.width, frame.height)
                    width, height = round(frame.width * scale), round(frame.height * scale)
                    resized = small.reformat(frame, width=width, height=height, format="rgb24", threads=1)
                    frames.append(np.asarray(resized.to_ndarray(), np.uint8))
    if sound:
        sound += [part.to_ndarray()[0] for part in resampler.resample(None)]
    return frames[:FRAME_COUNT], np.concatenate(sound) if sound else np.empty(0, np.float32)


def see(frames: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """Mean of the features of the middle squares, (1280,)."""
    total = np.zeros(1280, np.float32)
    for frame in frames:
        top, left = (frame.shape[0] - SIDE_PX) // 2, (frame.shape[1] - SIDE_PX) // 2
        square = np.ascontiguousarray(frame[None, top : top + SIDE_PX, left : left + SIDE_PX])
        _eye.infer([square], share_inputs=True)
        total += _eye.output_tensors[0].data[0]
    return total / np.float32(len(frames))


def log_mel(waveform: NDArray[np.float32]) -> NDArray[np.float32]:
    """A plain log-mel: mean and standard deviation over time of 64 bands, 25 ms windows, as a unit row (128,)."""
    padded = np.pad(waveform, (0, max(0, WINDOW_SAMPLES - len(waveform))))
    windows = np.lib.stride_tricks.sliding_window_view(padded, WINDOW_SAMPLES)[::HOP_SAMPLES]
    powers = np.abs(np.fft.rfft(windows * np.hanning(WINDOW_SAMPLES).astype(np.float32), 512)) ** 2
    bands = np.log(powers.astype(np.float32) @ _mel_bank() + np.float32(1e-6))
    row = np.concatenate([bands.mean(axis=0), bands.std(axis=0)])
    return np.asarray(row / np.linalg.norm(row), np.float32)


@cache
def _mel_bank() -> NDArray[np.float32]:
    """Triangles over 257 bins, (257, 64), evenly spaced on O'Shaughnessy's mel scale (1987), 60 Hz to 7.8 kHz."""
    low, high = 2595 * np.log10(1 + np.array([60, 7_800]) / 700)
    mels = np.linspace(low, high, BANDS + 2)
    edges_hz = 700 * (10 ** (mels / 2595) - 1)
    bins_hz = np.fft.rfftfreq(512, 1 / SAMPLE_RATE_HZ)[:, None]
    rising = (bins_hz - edges_hz[:-2]) / np.diff(edges_hz)[:-1]
    falling = (edges_hz[2:] - bins_hz) / np.diff(edges_hz)[1:]
    return np.asarray(np.maximum(0, np.minimum(rising, falling)), np.float32)


_eye: Any = None
"""The infer request of this process."""


def _load(network: Path, precision: str) -> None:
    global _eye
    import openvino

    core = openvino.Core()
    model = core.read_model(network)
    model.reshape({"pixels": [1, SIDE_PX, SIDE_PX, 3]})
    options = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "ENABLE_CPU_PINNING": False}
    _eye = core.compile_model(model, "CPU", options | {"INFERENCE_PRECISION_HINT": precision}).create_infer_request()


def _write(rows: Sequence[Row], folder: str) -> None:
    import lance
    import pyarrow as pa

    def column(values: NDArray[np.float32]) -> Any:
        return pa.FixedSizeListArray.from_arrays(values.ravel(), values.shape[1])

    columns = {
        "name": [row.name for row in rows],
        "vision": column(np.stack([row.vision for row in rows])),
        "log_mel": column(np.stack([row.log_mel for row in rows])),
    }
    lance.write_dataset(pa.table(columns), f"{folder}/floor.lance")


if __name__ == "__main__":
    main()
