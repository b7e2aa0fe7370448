"""`firstlook serve` over a home, as processes, for as long as a block lasts."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from index.access import Access
from index.home import Home


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    parent: subprocess.Popen[str]
    url: str
    key: str
    """It may do everything."""
    home: Path
    log: Path

    def children(self) -> list[psutil.Process]:
        return psutil.Process(self.parent.pid).children(recursive=True)

    def key_for(self, *scopes: str) -> str:
        """Another key, for these scopes alone."""
        return _key(self.home, *scopes)


@contextmanager
def served(home: Path, *options: str) -> Iterator[Running]:
    """Serve a home, which is the caller's to change, on a free port."""
    key, log = _key(home, "admin"), home.with_name("log")
    command = [sys.executable, "-m", "service.cli", "serve", "--port", "0", "--home", str(home), *options]
    with log.open("w") as errors, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True) as parent:
        assert parent.stdout is not None
        said = parent.stdout.readline()
        assert said.startswith("firstlook answers at "), log.read_text()
        try:
            yield Running(parent=parent, url=said.split()[-1], key=key, home=home, log=log)
        finally:
            alive = parent.poll() is None
            for process in (*psutil.Process(parent.pid).children(recursive=True), parent) if alive else ():
                process.kill()


def _key(folder: Path, *scopes: str) -> str:
    home = Home.open(folder)
    _, key = Access(home.ledger).create(scopes)
    home.close()
    return key
