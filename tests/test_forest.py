"""All trees at once say what LightGBM says tree by tree, to the last bit."""

from __future__ import annotations

from typing import Any

import lightgbm as lgb
import numpy as np
import pytest
from numpy.typing import NDArray

from recommend.forest import Forest

FEATURES = 9


def _rows(count: int, seed: int, unknown: float = 0.0) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(count, FEATURES)).astype(np.float32)
    rows[:, 3] = rng.integers(0, 3, count)  # ties with thresholds, and zeros
    rows[rng.random(rows.shape) < unknown] = np.nan
    return rows


def _grown(rows: NDArray[np.float32], seed: int, categorical: Any = "auto", **said: Any) -> lgb.Booster:
    rng = np.random.default_rng(seed)
    label = (np.nan_to_num(rows[:, :4]).sum(axis=1) + rng.normal(size=len(rows)) > 0).astype(float)
    told = {"objective": "binary", "num_leaves": 15, "verbose": -1, "seed": seed, "num_threads": 1, **said}
    return lgb.train(told, lgb.Dataset(rows, label, categorical_feature=categorical), 20)


@pytest.mark.parametrize("grown_unknown", [0.0, 0.2])
@pytest.mark.parametrize("asked_unknown", [0.0, 0.3])
def test_forest_says_what_lightgbm_says(grown_unknown: float, asked_unknown: float) -> None:
    """Also of rows with something unknown, to models that met none when they were grown."""
    models = [_grown(_rows(2_000, 1, grown_unknown), 1), _grown(_rows(3_000, 2, grown_unknown), 2, num_leaves=32)]
    rows = _rows(500, 3, asked_unknown)

    said = Forest.of(models).raw_scores(rows)

    for model, scores in zip(models, said, strict=True):
        assert np.array_equal(scores, model.predict(rows, raw_score=True))


def test_rows_on_a_threshold_go_left_as_in_lightgbm() -> None:
    """Thresholds are of 64 bits and rows of 32: what is equal to one must not be rounded across it."""
    model = _grown(_rows(2_000, 4), 4, max_bin=1_000)
    thresholds = Forest.of([model]).threshold
    rows = np.zeros((3 * len(thresholds), FEATURES), np.float32)
    near = [thresholds, np.nextafter(thresholds, np.float32(np.inf)), np.nextafter(thresholds, np.float32(-np.inf))]
    rows[:] = np.concatenate(near)[:, None]

    assert np.array_equal(Forest.of([model]).raw_scores(rows)[0], model.predict(rows, raw_score=True))


def test_a_tree_that_never_split_and_no_rows_at_all() -> None:
    rows = _rows(300, 5)
    constant = lgb.train(
        {"objective": "regression", "verbose": -1, "num_threads": 1}, lgb.Dataset(rows, np.full(300, 2.5)), 3
    )

    assert np.array_equal(Forest.of([constant]).raw_scores(rows)[0], constant.predict(rows, raw_score=True))
    assert Forest.of([constant]).raw_scores(rows[:0]).shape == (1, 0)


def test_what_the_words_cannot_hold_is_refused() -> None:
    rows = _rows(4_000, 6)

    with pytest.raises(ValueError, match="up to 32 leaves are wanted, got one of 40"):
        Forest.of([_grown(rows, 6, num_leaves=40)])
    with pytest.raises(ValueError, match="splits by <="):
        Forest.of([_grown(rows, 6, categorical=[3])])
    with pytest.raises(ValueError, match=r"rows of 9 features are wanted, got shape \(5, 4\)"):
        Forest.of([_grown(rows, 6)]).raw_scores(rows[:5, :4])
