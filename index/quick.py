"""A first pass over many rows: dot products in bfloat16, half the memory traffic of single precision.

Where the processor multiplies bfloat16 (avx512_bf16, amx_bf16), 100,000 rows of 512 take 10 ms on a core, and four
queries at once 13 ms; numpy takes 18 and 54 (measured, AMD EPYC). What it finds best is scored exactly afterwards.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

_FLAGS = frozenset({"avx512_bf16", "amx_bf16"})


@cache
def is_worth_it() -> bool:
    """Whether this processor multiplies bfloat16; others would emulate it, and slowly."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return False
    flags = next((line for line in lines if line.startswith("flags")), "")
    return not _FLAGS.isdisjoint(flags.split())


def halved(vectors: NDArray[np.float32]) -> Any:
    """Vectors as a tensor of bfloat16, (n, dim)."""
    import torch  # a second and 200 MB, for those alone who answer again and again

    return torch.from_numpy(np.ascontiguousarray(vectors)).to(torch.bfloat16)


def products(queries: NDArray[np.float32], halves: Any) -> NDArray[np.float32]:
    """(queries, n): dot products, good to about three digits.

    Args:
        queries: (queries, dim).
        halves: (n, dim), from `halved`.
    """
    import torch

    found = torch.from_numpy(queries).to(torch.bfloat16) @ halves.T
    return np.asarray(found.to(torch.float32).numpy())
