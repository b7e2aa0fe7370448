"""What many tests begin with: an empty home that knows the fake space, a folder for clips, and a filled home."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from index.home import Home
from ingest.samples import SampleClip, draw_samples
from service.library import Library


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


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> list[SampleClip]:
    """Two clips of each kind: a cat with and a cat without a caption, and so on."""
    return draw_samples(tmp_path_factory.mktemp("drawn"), count=16)


@pytest.fixture(scope="session")
def drawn_home(drawn: list[SampleClip], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home that has ingested them. Whoever changes it takes a copy."""
    home = tmp_path_factory.mktemp("drawn") / "home"
    with Library.open(home) as library:
        library.ingest([], drawn[0].path.with_name("manifest.jsonl"))
    return home
