"""The ingest worker: a process of its own, so that decoding never slows an answer.

    python -m service.web.worker --home DIR [--workers N] [--ray local|ADDRESS]

It works off uploads as they come, with encoders that are loaded once, and leaves backfills to those who run them. How
it is doing it writes to `worker.json` and `worker.prom` in the home, for `/readyz` and `/metrics`.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path
from threading import Event
from typing import Any, NoReturn

import click
from prometheus_client import CollectorRegistry, generate_latest

from index.home import Home
from index.ledger import UPLOAD, LeaseLost, owner_name
from ingest.commit import TableBusy
from ingest.erase import erase_due
from ingest.pipeline import StandsStill, Step, work_off
from ingest.ray_token import ClusterRefused
from ingest.sandbox import die_with_parent
from service.library import Library, Options
from service.metrics import Metrics
from service.steps import lines_of
from service.web.lines import log_to_stderr

LOOK_EVERY_S = 0.5
"""How often the ledger is asked for uploads: an upload waits half as long on average."""
TELL_EVERY_S = 5.0
ERASE_EVERY_S = 300.0
"""Erasing rewrites files of rows, so it is done for many at once; answers leave the erased out from the beginning."""
INCOMING = "incoming"
"""The folder in a home that uploads are written to as they come."""
HALF_ARRIVED_S = 86_400.0
STOPPED = "stopped"
SILENT_S = 120.0
"""A worker that has said nothing for so long is gone, or has something in hand that hangs."""

_log = logging.getLogger("firstlook.ingest")


def last_word(folder: Path, now_s: float) -> dict[str, Any]:
    """What the worker of a home said last, and how long ago."""
    try:
        said: dict[str, Any] = json.loads((folder / "worker.json").read_text())
    except (FileNotFoundError, ValueError):
        return {"state": "none"}
    silent_s = max(0.0, now_s - said.pop("at_s"))
    is_silent = silent_s >= SILENT_S and said["state"] != STOPPED  # who was stopped has nothing to say
    return {**said, "state": "silent" if is_silent else said["state"], "silent_s": round(silent_s, 1)}


def metrics(folder: Path) -> bytes:
    """The worker's own metrics, as it wrote them last."""
    try:
        return (folder / "worker.prom").read_bytes()
    except FileNotFoundError:
        return b""


class Worker:
    """Works off uploads until it is told to stop.

    Args:
        library: its home is worked on; its space's encoders are loaded.
        options: how many workers, and the limits of a file.
        ray: who decodes and encodes: `local`, or a cluster's address; None: threads of this process.
    """

    def __init__(self, library: Library, options: Options, stop: Event, *, ray: str | None = None) -> None:
        self._library, self._options, self._stop, self._ray = library, options, stop, ray
        self._home: Home = library.home
        self._registry = CollectorRegistry()
        self._meters = Metrics(self._registry)
        self._told_s = 0.0

    def run(self) -> None:
        self._tell("loading")
        with self._library.crew(self._options, ray=self._ray, stop=self._stop) as (crew, layers):
            self._layers = layers
            self._meters.on_layers(layers)
            _log.info(json.dumps({"event": "ingest_ready", "space": self._library.space.id, "layers": layers}))
            threading.Thread(target=self._erase, name="erase", daemon=True).start()
            while not self._stop.is_set():
                if self._home.ledger.pending(self._library.space.id, down_to=UPLOAD):
                    self._tell("working")
                    work_off(
                        self._home, self._library.space, crew, stop=self._stop, down_to=UPLOAD, on_step=self._on_step
                    )
                self._tell_if_due("waiting")
                self._stop.wait(LOOK_EVERY_S)
        self._tell(STOPPED)

    def _on_step(self, step: Step) -> None:
        self._meters.on_step(step)
        for line in lines_of(step):
            _log.info(json.dumps(line))
        self._tell_if_due("working")

    def _erase(self) -> None:
        """In a thread of its own: uploads that come without a pause must not keep the erased on the disk."""
        while True:
            try:
                if ended := erase_due(self._home, owner_name()):
                    _log.info(json.dumps({"event": "erased", "count": ended}))
                _sweep(self._home.folder / INCOMING, time.time())
            except (OSError, TableBusy, LeaseLost) as error:  # what is due stays due
                _log.error(json.dumps({"event": "not_erased", "why": f"{type(error).__name__}: {error}"}))
            if self._stop.wait(ERASE_EVERY_S):
                return

    def _tell_if_due(self, state: str) -> None:
        if time.monotonic() - self._told_s > TELL_EVERY_S:
            self._tell(state)

    def _tell(self, state: str) -> None:
        said = {"state": state, "at_s": time.time(), "pid": os.getpid(), "layers": getattr(self, "_layers", None)}
        _replace(self._home.folder / "worker.json", json.dumps(said).encode())
        _replace(self._home.folder / "worker.prom", generate_latest(self._registry))
        self._told_s = time.monotonic()


def _sweep(folder: Path, now_s: float) -> None:
    """Delete what arrived half, when those that were writing it were killed."""
    for path in folder.glob("*"):
        with contextlib.suppress(FileNotFoundError):  # it has just arrived
            if now_s - path.stat().st_mtime > HALF_ARRIVED_S:
                path.unlink()


def _replace(path: Path, data: bytes) -> None:
    """Whoever reads it sees the old or the new, whole."""
    new = path.with_name(f".{path.name}.{os.getpid()}")
    new.write_bytes(data)
    os.replace(new, path)


@click.command()
@click.option("--home", required=True, type=click.Path(path_type=Path))
@click.option("--space")
@click.option("--workers", type=click.IntRange(1, 256))
@click.option("--ray", metavar="local|ADDRESS", help="Decode and encode on Ray.")
@click.option("--lifeline", type=int, help="End when the other end of this pipe is gone.")
def main(home: Path, space: str | None, workers: int | None, ray: str | None, lifeline: int | None) -> None:
    """Work off the uploads of a home."""
    if lifeline is not None:
        die_with_parent(lifeline)
    log_to_stderr()
    stop = Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stop.set())
    with Library.open(home, space=space) as library:
        try:
            Worker(library, Options(workers=workers) if workers else Options(), stop, ray=ray).run()
        except StandsStill as error:
            _end_at_once(str(error))  # a thread that hangs would be waited for
        except ClusterRefused as error:
            _log.error(json.dumps({"event": "refused", "why": str(error)}))
            sys.exit(1)


def _end_at_once(why: str) -> NoReturn:
    """What was in hand is taken up again by the next worker."""
    _log.error(json.dumps({"event": "stands_still", "why": why}))
    os._exit(1)


if __name__ == "__main__":
    main()
