"""What `firstlook train` made of a space's log: loaded once, and again when there is something newer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from recommend.catalogue import Catalogue
from recommend.formula import Formula
from recommend.pipeline import Ranker
from recommend.sources import Collaborative


class Models:
    """Models of one space.

    Args:
        folder: where they lie; without any, `Formula` ranks.
        catalogue: whose videos they speak of.
    """

    def __init__(self, folder: Path, catalogue: Catalogue) -> None:
        self._folder, self._catalogue = folder, catalogue
        self._formula = Formula()

    def current(self) -> tuple[Ranker, Collaborative | None]:
        """The ranker, and the collaborative model where there is one."""
        return self._formula, None

    def content_signal(self) -> NDArray[np.float32] | None:
        """(n,) what the content of each video alone says of its quality, standardised; None: nothing was learned."""
        return None
