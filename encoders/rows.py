"""Arithmetic on rows that the encoders share."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def unit_rows(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Scale each row of (n, dim) to length 1.

    Raises:
        ValueError: a row has no direction; a zero vector is never an answer.
    """
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    if not lengths.all():
        raise ValueError(f"row {int(np.argmin(lengths))} of {len(rows)} has length 0")
    return np.asarray(rows / lengths, np.float32)


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Probabilities along the last axis.

    >>> softmax(np.zeros((1, 4), np.float32))
    array([[0.25, 0.25, 0.25, 0.25]], dtype=float32)
    """
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True), np.float32)


def each_times(rows: NDArray[np.float32], matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    """`rows @ matrix`, one row at a time: all at once sums in an order that depends on how many rows there are."""
    return np.array([row @ matrix for row in rows], np.float32).reshape(len(rows), matrix.shape[1])
