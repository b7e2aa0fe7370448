"""What many tests begin with: an empty home that knows the fake space, and a folder for clips."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from index.home import Home


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    from fakes import SPACE

    opened = Home.open(tmp_path / "home")
    opened.ledger.add_space(SPACE)
    yield opened
    opened.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "clips"
    path.mkdir()
    return path
