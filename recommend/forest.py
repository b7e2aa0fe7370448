"""All trees of all heads in one pass: a page's worth of rows in 1 ms, where one library call a head takes 8.

A tree of up to 32 leaves is a word with a bit a leaf, numbered from the left. A row that goes right at a node can reach
no leaf of the left side, so that every node has a word with those bits out; `and` together the words of all nodes at
which the row goes right, and the lowest bit left is the row's leaf. No order, no branch: one comparison is made for
many rows at once, and the sums equal LightGBM's bit for bit.

Source: Lucchese et al. 2015, "QuickScorer: a fast algorithm to rank documents with additive ensembles of regression
trees", and 2016, "Exploiting CPU SIMD extensions to speed-up document scoring with tree ensembles".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import lightgbm as lgb
import numba
import numpy as np
from numpy.typing import NDArray

LEAVES_MAX = 32
_ALL = np.uint32(0xFFFFFFFF)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Forest:
    """Trees as arrays; nodes and leaves lie tree after tree."""

    models: int
    model: NDArray[np.int32]  # (trees,) which of them a tree belongs to
    nodes_from: NDArray[np.int32]  # (trees + 1,)
    leaves_from: NDArray[np.int32]  # (trees + 1,)
    column: NDArray[np.int32]  # (nodes,) feature, or feature + features where a row without it goes left
    threshold: NDArray[np.float32]  # (nodes,) beyond which a row goes right
    left_out: NDArray[np.uint32]  # (nodes,) all bits but those of the leaves on its left
    value: NDArray[np.float64]  # (leaves,)
    features: int

    @classmethod
    def of(cls, models: Sequence[lgb.Booster]) -> Forest:
        """Take models apart.

        Raises:
            ValueError: a tree of more than 32 leaves, categorical splits, zeros that stand for nothing, or models of
                different features.
        """
        told = [model.dump_model() for model in models]
        counts = {one["max_feature_idx"] + 1 for one in told}
        if len(counts) > 1:
            raise ValueError(f"models of the same features are wanted, got of {sorted(counts)}")
        features = counts.pop() if counts else 0
        trees = [(number, tree["tree_structure"]) for number, one in enumerate(told) for tree in one["tree_info"]]
        nodes, values = [], []
        nodes_from, leaves_from = [0], [0]
        for _, root in trees:
            leaves = list(_leaves(root))
            if len(leaves) > LEAVES_MAX:
                raise ValueError(f"trees of up to {LEAVES_MAX} leaves are wanted, got one of {len(leaves)}")
            nodes += list(_nodes(root, features))
            values += leaves
            nodes_from.append(len(nodes))
            leaves_from.append(len(values))
        return cls(
            models=len(models),
            model=np.array([number for number, _ in trees], dtype=np.int32),
            nodes_from=np.array(nodes_from, dtype=np.int32),
            leaves_from=np.array(leaves_from, dtype=np.int32),
            column=np.array([column for column, _, _ in nodes], dtype=np.int32),
            threshold=np.array([threshold for _, threshold, _ in nodes], dtype=np.float32),
            left_out=np.array([word for _, _, word in nodes], dtype=np.uint32),
            value=np.array(values, dtype=np.float64),
            features=features,
        )

    def raw_scores(self, rows: NDArray[np.float32]) -> NDArray[np.float64]:
        """(models, m): what the trees of each model add up to for rows (m, features); NaN where nothing is known."""
        if rows.ndim != 2 or rows.shape[1] != self.features:
            raise ValueError(f"rows of {self.features} features are wanted, got shape {rows.shape}")
        columns = np.ascontiguousarray(rows.T, dtype=np.float32)
        unknown = np.isnan(columns)
        if unknown.any():  # a row without it goes one way or the other by the node, so it is there twice
            columns = np.concatenate([np.where(unknown, np.inf, columns), np.where(unknown, -np.inf, columns)])
        else:
            columns = np.concatenate([columns, columns])
        found = np.zeros((self.models, len(rows)))
        _add_up(
            columns, self.model, self.nodes_from, self.leaves_from, self.column, self.threshold, self.left_out,
            self.value, found,
        )  # fmt: skip
        return found


def _leaves(node: dict[str, Any]) -> Iterator[float]:
    """Values, from the left."""
    if "split_index" not in node:
        yield node["leaf_value"]
        return
    yield from _leaves(node["left_child"])
    yield from _leaves(node["right_child"])


def _nodes(node: dict[str, Any], features: int, first: int = 0) -> Iterator[tuple[int, np.float32, int]]:
    """(column, threshold, word) of every inner node; `first` is the leaf that its side begins with."""
    if "split_index" not in node:
        return
    if node["decision_type"] != "<=" or node["missing_type"] == "Zero":
        raise ValueError(f"splits by <= are wanted, got {node['decision_type']}, missing {node['missing_type']}")
    on_left = sum(1 for _ in _leaves(node["left_child"]))
    # What is no number is a zero to a model that met none when it was grown.
    goes_left = node["default_left"] if node["missing_type"] == "NaN" else node["threshold"] >= 0
    column = node["split_feature"] + (features if goes_left else 0)
    yield column, _rounded_down(node["threshold"]), int(_ALL) & ~(((1 << on_left) - 1) << first)
    yield from _nodes(node["left_child"], features, first)
    yield from _nodes(node["right_child"], features, first + on_left)


def _rounded_down(threshold: float) -> np.float32:
    """The largest 32-bit number up to it: the same 32-bit numbers are beyond both."""
    with np.errstate(over="ignore"):  # beyond which only what is unknown lies: 1.8e308
        rounded = np.float32(threshold)
    return rounded if float(rounded) <= threshold else np.nextafter(rounded, np.float32(-np.inf))


_LOWEST = np.zeros(32, np.int32)
"""The number of a lone bit, by the top five bits of its product with `_DE_BRUIJN`."""
_DE_BRUIJN = np.uint32(0x077CB531)
for _number in range(32):
    _LOWEST[((1 << _number) * int(_DE_BRUIJN) & int(_ALL)) >> 27] = _number


@numba.njit(nogil=True, cache=True)
def _add_up(
    columns: Any, model: Any, nodes_from: Any, leaves_from: Any, column: Any, threshold: Any, left_out: Any, value: Any,
    found: Any,
) -> None:  # fmt: skip
    rows = columns.shape[1]
    words = np.empty(rows, np.uint32)
    for tree in range(len(model)):
        words[:] = _ALL
        for node in range(nodes_from[tree], nodes_from[tree + 1]):
            x, beyond, word = columns[column[node]], threshold[node], left_out[node]
            for row in range(rows):
                words[row] &= word if x[row] > beyond else _ALL
        first, sums = leaves_from[tree], found[model[tree]]
        for row in range(rows):
            lone = words[row] & (~words[row] + np.uint32(1))
            sums[row] += value[first + _LOWEST[np.uint32(lone * _DE_BRUIJN) >> np.uint32(27)]]
