"""One ingest through the project into a fresh home, seen from within: `bench/ingest.py` runs it as a process.

    python -m bench.ingest_once FOLDER --encoders plain|all [--workers 2] [--meter]

`plain` is vision and a plain log-mel, the work of `bench/floor.py`; `all` is every modality of `local`. `--meter` also
adds up what each step costs, and wants one worker: steps of two threads cannot be told apart. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import resource
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from bench.floor import BANDS, log_mel
from index.home import Home
from index.records import Space
from ingest import pipeline, uploads
from ingest.clip import Clip
from ingest.decode import DecodePool
from ingest.encode import Encoders, thumbnail_jpeg
from ingest.spaces import RECIPES, Recipe, open_space


class LogMel:
    """The floor's log-mel in the place of our sound encoder."""

    def encode(self, waveforms: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        return np.stack([log_mel(waveform) for waveform in waveforms])

    def signals(self, waveform: NDArray[np.float32]) -> dict[str, float]:
        return {}

    def spec(self) -> dict[str, Any]:
        return {}


class Watch:
    """A decoder that remembers when its first clip came."""

    def __init__(self, pool: DecodePool) -> None:
        self._pool = pool
        self.first_clip_at_s: float | None = None

    def decode(self, path: Path) -> Clip:
        clip = self._pool.decode(path)
        self.first_clip_at_s = self.first_clip_at_s or time.monotonic()
        return clip


class Meter:
    """Adds up CPU seconds by step."""

    def __init__(self) -> None:
        self.steps: defaultdict[str, float] = defaultdict(float)
        self._alone = {threading.get_ident(): time.pthread_getcpuclockid(threading.get_ident())}

    def clock(self) -> float:
        """CPU seconds of this thread if it claims or commits, else of all that do not: encoders keep threads too."""
        thread = threading.current_thread()
        if thread.name.startswith("commit"):
            self._alone.setdefault(threading.get_ident(), time.pthread_getcpuclockid(threading.get_ident()))
        if threading.get_ident() in self._alone:
            return time.thread_time()
        return time.process_time() - sum(map(time.clock_gettime, list(self._alone.values())))

    def function(self, step: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def metered(*arguments: Any, **named: Any) -> Any:
            started_s = self.clock()
            try:
                return function(*arguments, **named)
            finally:
                self.steps[step] += self.clock() - started_s

        return metered

    def methods(self, step: str, target: Any) -> Any:
        """Stand before `target` and meter the methods that are called on it from outside."""
        return _Metered(lambda method: self.function(step, method), target)


class _Metered:
    def __init__(self, wrap: Callable[[Any], Any], target: Any) -> None:
        self._wrap, self._target = wrap, target

    def __getattr__(self, name: str) -> Any:
        return self._wrap(getattr(self._target, name))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--encoders", choices=("plain", "all"), required=True)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--meter", action="store_true")
    parser.add_argument("--started", type=float, default=time.monotonic(), help="when the caller started this process")
    asked = parser.parse_args()
    meter = Meter() if asked.meter else None
    with tempfile.TemporaryDirectory() as folder:
        videos, first_clip_at_s = ingest(asked.folder, Path(folder), asked.encoders, asked.workers, meter)
    report = {"videos": videos, "first_clip_s": first_clip_at_s - asked.started, "steps": {}}
    if meter is not None:
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        report["steps"] = {**meter.steps, "decode": children.ru_utime + children.ru_stime}
    print(json.dumps(report))


def ingest(clips: Path, folder: Path, encoders_name: str, workers: int, meter: Meter | None) -> tuple[int, float]:
    """Fill a new home; return how many videos it holds, and when the first clip was decoded."""
    encoders, space = plain(workers) if encoders_name == "plain" else open_space(RECIPES["local"], threads=workers)
    home = Home.open(folder)
    home.ledger.add_space(space)
    watches: list[Watch] = []

    with metered(meter, home, encoders) as metered_home:

        @contextmanager
        def crew() -> Iterator[pipeline.Crew]:
            with DecodePool(workers, text_frames=encoders.onscreen is not None) as pool:
                watches.append(Watch(pool))
                decoder = watches[0] if meter is None else meter.methods("decode, our side", watches[0])
                engine = pipeline.Engine(space=space, decoder=decoder, encoders=encoders)
                with pipeline.Threads(metered_home.blobs, engine, workers) as threads:
                    yield threads

        pipeline.ingest(uploads.discover([clips]), metered_home, space, crew)
    counts = home.ledger.counts(space.id)
    if counts["videos"] != counts["uploads"] or counts["partial"] or watches[0].first_clip_at_s is None:
        raise RuntimeError(f"whole videos only are wanted here: {counts}, {home.ledger.failures(space.id)[:3]}")
    home.close()
    return counts["videos"], watches[0].first_clip_at_s


def plain(workers: int) -> tuple[Encoders, Space]:
    """Vision as it is, the floor's log-mel for sound, and nothing else."""
    encoders, space = open_space(Recipe(without=("onscreen", "sound", "speech", "transcript")), threads=workers)
    off = {channel: reason for channel, reason in encoders.off.items() if channel != "sound"}
    weights = {"vision": 0.5, "text": 0.4, "sound": 0.1}
    return replace(encoders, sound=LogMel(), off=off), replace(
        space, dims={**space.dims, "sound": 2 * BANDS}, weights=weights
    )


@contextmanager
def metered(meter: Meter | None, home: Home, encoders: Encoders) -> Iterator[Any]:
    """Put a meter on everything that an ingest goes through."""
    if meter is None:
        yield home
        return
    encoders.clock = meter.clock
    stores = SimpleNamespace(
        folder=home.folder,
        ledger=meter.methods("ledger", home.ledger),
        blobs=meter.methods("blobs", home.blobs),
        table=lambda space: meter.methods("table", home.table(space)),
    )
    with mock.patch("ingest.pipeline.thumbnail_jpeg", meter.function("thumbnail", thumbnail_jpeg)):
        yield stores
    meter.steps.update({step: spent_s for step, spent_s in encoders.seconds.items() if step != "decode"})


if __name__ == "__main__":
    main()
