"""What every peer is given: the same files, the floor's engine, model, sampling and log-mel, and the same last line.

Imports numpy and the floor only: peers run in environments of their own.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import floor


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the command line says."""

    folder: Path
    network: Path
    precision: str
    workers: int
    started: float
    """On the monotonic clock: when the caller started this process."""


def read_arguments(description: str | None) -> Asked:
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--network", type=Path, required=True)
    parser.add_argument("--precision", default="bf16")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--started", type=float, default=time.monotonic())
    return Asked(**vars(parser.parse_args()))


def files_in(folder: Path) -> list[str]:
    return [str(path) for path in sorted(folder.iterdir())]


def load(network: str | Path, precision: str) -> None:
    """Load the model for this process: one thread, as the floor."""
    floor._load(Path(network), precision)


def row_of(path: str) -> dict[str, Any]:
    """Do all the work of one file."""
    row = floor.one(Path(path))
    return {"name": row.name, "vision": row.vision, "log_mel": row.log_mel, "decoded_at_s": row.decoded_at_s}


def report(decoded_at_s: Sequence[float], asked: Asked) -> None:
    """Print the line that `bench/measure.py` reads."""
    first_clip_s = min(decoded_at_s) - asked.started
    print(json.dumps({"videos": len(decoded_at_s), "first_clip_s": first_clip_s, "steps": {}}))
