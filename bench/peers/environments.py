"""An environment for each peer: made once with uv, kept beside the converted networks, used while the pins hold."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path

from encoders.models import cache_folder

SAME_AS_OURS = ("av", "numpy", "openvino")
"""The floor's engine, in the versions that run it here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Another project that does the floor's work: `module` says how."""

    module: str
    requirement: str
    environment: Mapping[str, str] = field(default_factory=dict)
    """Its documented settings: nothing is told to anybody, no progress is drawn."""
    refuses_root: bool = False


PEERS = {
    "ray": Peer(  # ours runs on the same Ray; the data extra brings pandas, which we have no use for
        module="bench.peers.ray_data",
        requirement=f"ray[data]=={version('ray')}",
        environment={"RAY_USAGE_STATS_ENABLED": "0", "RAY_DATA_DISABLE_PROGRESS_BARS": "1"},
    ),
    "daft": Peer(
        module="bench.peers.daft_pipeline",
        requirement="daft==0.7.26",
        environment={"DAFT_ANALYTICS_ENABLED": "0", "DO_NOT_TRACK": "1"},
    ),
    "pixeltable": Peer(  # measures and reports nothing unless an OTLP endpoint is set
        module="bench.peers.pixeltable_pipeline",
        requirement="pixeltable==0.7.21",
        environment={"PIXELTABLE_VERBOSITY": "0"},
        refuses_root=True,
    ),
}


def command(name: str) -> list[str]:
    """How a peer is run, its environment made where there is none yet."""
    peer = PEERS[name]
    return [*(_as_nobody() if peer.refuses_root else ()), str(python_of(name)), "-m", peer.module]


def python_of(name: str) -> Path:
    """The interpreter of a peer's environment, which is made where it is not there or its pins have changed.

    Raises:
        RuntimeError: it cannot be made; the message ends with what uv said.
    """
    wanted = [PEERS[name].requirement, *(f"{package}=={version(package)}" for package in SAME_AS_OURS)]
    folder = cache_folder() / f"bench-{name}"
    python, ready = folder / "bin" / "python", folder / "requirements.txt"
    if ready.is_file() and ready.read_text().split() == wanted:
        return python
    folder.parent.mkdir(parents=True, exist_ok=True)
    _uv("venv", "--clear", "--python", sys.executable, str(folder))
    _uv("pip", "install", "--compile-bytecode", "--python", str(python), *wanted)
    ready.write_text("\n".join(wanted) + "\n")
    return python


def _uv(*arguments: str) -> None:
    uv = shutil.which("uv", path=Path(sys.executable).parent) or shutil.which("uv")
    if uv is None:
        raise RuntimeError("uv makes the environments of the peers, and is not here; `make setup` brings it")
    ended = subprocess.run([uv, "--quiet", *arguments], stderr=subprocess.PIPE, text=True, check=False)
    if ended.returncode:
        raise RuntimeError(f"uv {' '.join(arguments)} ended with {ended.returncode}: {ended.stderr[-2000:]}")


def _as_nobody() -> list[str]:
    """Where we are root: a user namespace in which we are not. PostgreSQL refuses root.

    Left to itself, Pixeltable would add a user to the machine and open the folders above its own to everybody.
    """
    if os.geteuid():
        return []
    return ["unshare", "--user", "--map-user=65534", "--map-group=65534"]
