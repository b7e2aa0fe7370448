"""What `firstlook train` made of a space's log: loaded once, and again when there is something newer."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from zipfile import BadZipFile

import numpy as np
from lightgbm.basic import LightGBMError
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from recommend.catalogue import Catalogue
from recommend.cold_content import ContentMap, fit
from recommend.collaborative import FILE as COLLABORATIVE_FILE
from recommend.collaborative import Collaborative
from recommend.counts import IMPRESSION, LONG_VIEW, Counts
from recommend.explore import lift
from recommend.formula import Formula
from recommend.pipeline import Ranker
from recommend.rank import FILE as RANKER_FILE
from recommend.rank import Ranker as Trained

_log = logging.getLogger(__name__)
CONTENT_FILE = "content.safetensors"
KNOWN_SHOWN = 20.0
"""From so many impressions on a video says something of what its content is worth."""
KNOWN_MIN = 200
"""Fewer such videos say nothing."""
WEIGHT_MAX = 20.0
"""Expected long views beyond which one video says no more: it is still one video."""
T = TypeVar("T")


class Models:
    """Models of one space.

    Args:
        folder: where they lie; without any, `Formula` ranks.
        catalogue: whose videos they speak of.
    """

    def __init__(self, folder: Path, catalogue: Catalogue) -> None:
        self._folder, self._catalogue = folder, catalogue
        self._formula = Formula()
        self._read: dict[str, tuple[int, Any]] = {}

    def current(self) -> tuple[Ranker, Collaborative | None]:
        """The ranker, and the collaborative model where there is one.

        One that does not read is told in the log, and the formula ranks: a page is worth more than a good one.
        """
        ranker = self._newest(RANKER_FILE, lambda file: Trained.load(file.parent))
        collaborative = self._newest(COLLABORATIVE_FILE, lambda file: Collaborative.load(file.parent, self._catalogue))
        return ranker or self._formula, collaborative

    def content_signal(self) -> NDArray[np.float32] | None:
        """(n,) what the content of each video alone says of its quality, standardised; None: nothing was learned."""
        fitted = self._newest(CONTENT_FILE, read_content)
        if fitted is None or not len(self._catalogue):
            return None
        told = fitted.apply(self._catalogue.vectors)[:, 0]
        return np.asarray((told - told.mean()) / max(float(told.std()), 1e-9), dtype=np.float32)

    def _newest(self, name: str, read: Callable[[Path], T]) -> T | None:
        """What a file holds, read again when it was written again; None: there is no such file."""
        file = self._folder / name
        try:
            written_ns = file.stat().st_mtime_ns
            if name not in self._read or self._read[name][0] != written_ns:
                self._read[name] = written_ns, read(file)
        except FileNotFoundError:
            self._read.pop(name, None)
            return None
        except (ValueError, KeyError, EOFError, BadZipFile, SafetensorError, LightGBMError) as error:
            _log.warning("%s does not read, and is not used; firstlook train makes it again: %s", file, error)
            self._read[name] = written_ns, None
        found: T | None = self._read[name][1]
        return found


def fit_content(catalogue: Catalogue, counts: Counts, now_s: float) -> ContentMap | None:
    """Learn from the videos that are known what content is watched more than usual; None: too few are known.

    The target is the log of what a video gets beside an average one. Whether it helps, the pool finds out by itself
    (`explore.content_slope`): a signal that says nothing gets a slope of nothing.
    """
    sums = np.maximum(counts.video.all(now_s, len(catalogue)), 0)
    known = np.flatnonzero(sums[:, IMPRESSION] >= KNOWN_SHOWN)
    if len(known) < KNOWN_MIN:
        return None
    expected = sums[known, IMPRESSION] * counts.rates(now_s)[LONG_VIEW]
    gained = np.log(lift(sums[known, LONG_VIEW], expected))
    return fit(catalogue.vectors[known], gained[:, None], np.minimum(expected, WEIGHT_MAX))


def write_content(folder: Path, fitted: ContentMap) -> None:
    """Keep a content map: whole, or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {"centre": fitted.centre, "slopes": fitted.slopes, "offset": fitted.offset}
    beside = folder / f".{CONTENT_FILE}.{os.getpid()}"
    save_file({name: np.ascontiguousarray(array) for name, array in tensors.items()}, beside)
    beside.replace(folder / CONTENT_FILE)


def read_content(file: Path) -> ContentMap:
    """Read what `write_content` wrote."""
    tensors = load_file(file)
    return ContentMap(**tensors, ridge=0.0, left_out=np.zeros((0, tensors["offset"].shape[0])))
