"""The function of `pixeltable_pipeline.py`: Pixeltable wants it in a module that is not the script."""

from __future__ import annotations

from functools import cache

import numpy as np
import pixeltable as pxt

from bench.floor import BANDS
from bench.peers.work import load, row_of

load_once = cache(load)
decoded_at_s: list[float] = []
"""Of this process, in which Pixeltable calls the function."""


@pxt.udf
def look(path: str, network: str, precision: str) -> pxt.Array[(1280 + 2 * BANDS,), np.float32]:
    """Vision and log-mel of one video, end to end."""
    load_once(network, precision)
    row = row_of(path)
    decoded_at_s.append(row["decoded_at_s"])
    return np.concatenate([row["vision"], row["log_mel"]])
