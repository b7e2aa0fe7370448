"""Rank: seven heads say what would come of a place, and a weighted sum says what that is worth.

Each head is a LightGBM model of its own; `forest.py` asks all seven for 250 candidates in 1 ms.
Trees are good at order and not at probabilities, and worse where a content type is rare: each head is calibrated on
later rows than its first trees were grown on, in all and by type, where a type with few rows is drawn to all of them.
A head with too few positives is left out, with the reason, and none stands in for it.
"""

from __future__ import annotations

import hashlib
import json
import os
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lightgbm as lgb
import numpy as np
from numpy.typing import NDArray

from index.records import canonical_json
from recommend.catalogue import Catalogue
from recommend.counts import Counts
from recommend.features import FEATURE_NAMES, FEATURES, features
from recommend.pipeline import Context, Scored
from recommend.state import Viewer
from recommend.why import Strongest

if TYPE_CHECKING:
    from recommend.forest import Forest

HEADS = ("long_view", "complete", "watch", "like", "share", "follow", "negative")
WATCH = "watch"
"""The one head that is no probability but a quantile."""
BASED = "long_view"
"""The head whose trees can start from another model's scores."""
POSITIVES_MIN = 50
"""A head that saw fewer positives, or fewer negatives, than this would be made up."""
CALIBRATED_ON = 0.2
"""The last part of the rows, in time, that calibration goes by."""
TYPES_DIFFER = 0.3
"""How far types lie around all of them, in log-odds (standard deviation of the prior that a type's own calibration is
drawn by): 55 rows of a head at .3 count as much as that prior, and 650 of one at .017."""
VALUES = Path(__file__).with_name("values.toml")
FILE = "ranker.json"
TREES = 150
PARAMETERS: Mapping[str, Any] = {
    "learning_rate": 0.04, "num_leaves": 15, "feature_fraction": 0.5, "bagging_fraction": 0.8,
    "bagging_freq": 1, "max_bin": 63, "seed": 1, "deterministic": True, "force_row_wise": True, "verbose": -1,
}  # fmt: skip
"""Small and slow: with 31 leaves at .06 GAUC on KuaiRand-Pure moved by .005 from one seed to the next, with these by
.001, and was no lower."""
LEAF_SHARE, LEAF_MIN, LEAF_MAX = 1 / 250, 50, 200
"""A leaf holds at least this share of the rows, within these bounds, and is drawn to nothing by a tenth as many."""
SMALL_TREES = 60
SMALL: Mapping[str, Any] = {"learning_rate": 0.1, "num_leaves": 15}
SMALL_HEADS = ("like", "share", "follow", "negative")
"""Heads with few positives, or an easy question: fewer and smaller trees tell as much, in a fifth of the time."""

Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Platt:
    """Logistic calibration: p = σ(slope · score + offset), in all and by category.

    Source: Platt 1999, "Probabilistic outputs for support vector machines".
    """

    overall: tuple[float, float]
    """Slope and offset."""
    by_category: Mapping[int, tuple[float, float]]

    @classmethod
    def fit(cls, scores: Floats, labels: Floats, categories: NDArray[Any]) -> Platt:
        """Fit both; a category is drawn to all rows, the more the fewer it has.

        Args:
            scores: (n,) log-odds.
            labels: (n,) 0 or 1.
            categories: (n,) codes.
        """
        overall = _logistic(scores, labels, (1.0, 0.0), 1e-3)
        found = {}
        for category in np.unique(categories).tolist():
            rows = categories == category
            found[int(category)] = _logistic(scores[rows], labels[rows], overall, TYPES_DIFFER**-2)
        return cls(overall=overall, by_category=found)

    def probabilities(self, scores: Floats, categories: NDArray[Any]) -> Floats:
        """(m,) calibrated."""
        # One row a code that comes; -1, which stands for none, finds the last.
        table = np.empty((max(int(categories.max(initial=-1)), *self.by_category, 0) + 2, 2))
        table[:] = self.overall
        for category, of_it in self.by_category.items():
            table[category] = of_it
        slopes, offsets = table[categories].T
        return _sigmoid(slopes * scores + offsets)


def _logistic(scores: Floats, labels: Floats, prior: tuple[float, float], weight: float) -> tuple[float, float]:
    """Slope and offset that fit best, drawn to `prior`; a few Newton steps."""
    rows, at = np.stack([scores, np.ones(len(scores))], axis=1), np.array(prior)
    for _ in range(25):
        said = _sigmoid(rows @ at)
        gradient = rows.T @ (said - labels) + weight * (at - prior)
        hessian = (rows * (said * (1 - said))[:, None]).T @ rows + weight * np.eye(2)
        step = np.linalg.solve(hessian, gradient)
        at = at - np.clip(step, -1, 1)
        if np.abs(step).max() < 1e-8:
            break
    # A falling calibration would turn the order round; where a head knows nothing, its slope is nothing.
    return max(float(at[0]), 0.0), float(at[1])


def _sigmoid(x: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-np.clip(x, -40, 40))))


@dataclass(frozen=True, slots=True, kw_only=True)
class Values:
    """What each head is worth, by content type: `values.toml`."""

    default: Mapping[str, float]
    by_category: Mapping[str, Mapping[str, float]]

    @classmethod
    def read(cls, path: Path = VALUES) -> Values:
        """Read a config.

        Raises:
            ValueError: a head that there is not.
        """
        told = tomllib.loads(path.read_text(encoding="utf-8"))
        unknown = {head for section in told.values() for head in section} - set(HEADS)
        if unknown:
            raise ValueError(f"{path.name}: no heads {sorted(unknown)}; there are {', '.join(HEADS)}")
        return cls(default=told.pop("default"), by_category=told)

    def weights(self, categories: Sequence[str]) -> Floats:
        """(categories + 1, heads): a row a category, and the default last, where -1 finds it."""
        rows = [{**self.default, **self.by_category.get(name, {})} for name in categories] + [dict(self.default)]
        return np.array([[row.get(head, 0.0) for head in HEADS] for row in rows])


@dataclass(frozen=True, kw_only=True, eq=False)
class Heads:
    """Trained heads over rows of named features."""

    names: tuple[str, ...]
    """Of the features, in the order of the columns."""
    models: Mapping[str, lgb.Booster]
    calibrations: Mapping[str, Platt]
    missing: Mapping[str, str]
    """Head -> why it was left out."""
    defaults: Mapping[str, float]
    """Head that was left out -> its share among all rows."""
    digest: str = field(default="")

    def __post_init__(self) -> None:
        if not self.digest:
            object.__setattr__(self, "digest", hashlib.sha256(self.to_json().encode()).hexdigest()[:16])

    def score(self, rows: NDArray[np.float32], categories: NDArray[Any], base: Floats | None = None) -> Floats:
        """(m, heads) in the order of `HEADS`: probabilities, of `watch` a quantile.

        A head that was left out says the same of all rows: how often it happened.

        Args:
            base: (m,) that the trees were grown on top of; None: on nothing.

        Raises:
            ValueError: other features than it was trained on.
        """
        if rows.ndim != 2 or rows.shape[1] != len(self.names):
            raise ValueError(f"rows of {len(self.names)} features are wanted, got shape {rows.shape}")
        found = np.empty((len(rows), len(HEADS)))
        found[:] = [self.defaults.get(head, 0.0) for head in HEADS]
        if not len(rows) or not self.models:
            return found
        for head, scores in zip(self.models, self.forest.raw_scores(rows), strict=True):
            if base is not None and head == BASED:
                scores = scores + base
            said = _sigmoid(scores) if head == WATCH else self.calibrations[head].probabilities(scores, categories)
            found[:, HEADS.index(head)] = said
        return found

    @cached_property
    def forest(self) -> Forest:
        """The trees of all models, in their order."""
        from recommend.forest import Forest  # numba takes a second to load, and only whoever scores wants it

        return Forest.of(list(self.models.values()))

    def explain(self, row: NDArray[np.float32], count: int = 3, head: str = "long_view") -> list[tuple[str, float]]:
        """The features that moved a head most for one row (F,), and by how much (log-odds), strongest first.

        Source: Lundberg & Lee 2017 (SHAP), as LightGBM computes it for trees.
        """
        if head not in self.models:
            return []
        moved = np.asarray(self.models[head].predict(row[None, :].astype(np.float64), pred_contrib=True))[0, :-1]
        strongest = np.argsort(-np.abs(moved), kind="stable")[:count]
        return [(self.names[i], float(moved[i])) for i in strongest if moved[i]]

    def to_json(self) -> str:
        return canonical_json(
            {
                "names": self.names,
                "models": {head: model.model_to_string() for head, model in self.models.items()},
                "calibrations": {
                    head: {"overall": one.overall, "by_category": {str(c): ab for c, ab in one.by_category.items()}}
                    for head, one in self.calibrations.items()
                },
                "missing": dict(self.missing),
                "defaults": dict(self.defaults),
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Heads:
        told = json.loads(text)
        return cls(
            names=tuple(told["names"]),
            models={head: lgb.Booster(model_str=model) for head, model in told["models"].items()},
            calibrations={
                head: Platt(
                    overall=tuple(one["overall"]),
                    by_category={int(category): tuple(ab) for category, ab in one["by_category"].items()},
                )
                for head, one in told["calibrations"].items()
            },
            missing=told["missing"],
            defaults=told["defaults"],
            digest=hashlib.sha256(text.encode()).hexdigest()[:16],
        )


def raw_scores(model: lgb.Booster, rows: NDArray[Any]) -> Floats:
    """(m,) what the trees add up to, on one core."""
    return np.asarray(model.predict(rows, raw_score=True, num_threads=1, predict_disable_shape_check=True))


def train_heads(
    rows: NDArray[np.float32],
    labels: Mapping[str, Floats],
    times_s: Floats,
    categories: NDArray[Any],
    names: Sequence[str],
    *,
    weights: Floats | None = None,
    threads: int = 1,
    trees: int = TREES,
    parameters: Mapping[str, Any] | None = None,
    base: Floats | None = None,
) -> Heads:
    """Grow the trees of each head twice: on the earlier rows, to calibrate on the later ones, and then on all.

    What the scores of the first trees mean is taken for what those of the second mean: the newest rows are worth more
    than the difference.

    Args:
        rows: (n, F) point-in-time features.
        labels: head -> (n,), 0 or 1, of `watch` a quantile; NaN where nothing is known.
        times_s: (n,) when each row was served.
        categories: (n,) codes of content types.
        weights: (n,) how much a row counts in the `negative` head; see `labels.row_weights`.
        parameters: other LightGBM parameters than `PARAMETERS`.
        base: (n,) log-odds of a long view that its trees start from, such as a simpler model's; they then say only what
            is left of it, and `Heads.score` wants it too.

    Raises:
        ValueError: lengths disagree, or a feature is no number.
    """
    lengths = {len(rows), len(times_s), len(categories), *(len(label) for label in labels.values())}
    if len(lengths) != 1 or rows.ndim != 2 or rows.shape[1] != len(names):
        raise ValueError(f"one row each of {len(names)} features: got lengths {sorted(lengths)}, shape {rows.shape}")
    if np.isinf(rows).any():
        raise ValueError("features are numbers, or NaN where nothing is known; got infinite ones")
    earlier = _earlier(times_s)
    models, calibrations, missing, defaults = {}, {}, {}, {}
    for head in HEADS:
        label = labels.get(head)
        known = np.isfinite(label) if label is not None else np.zeros(len(rows), bool)
        lack = _lack(head, label, known, earlier)
        if lack or label is None:
            missing[head] = lack
            defaults[head] = float(label[known].mean()) if label is not None and known.any() else 0.0
            continue
        later = ~earlier & known
        start = base if head == BASED else None
        if head != WATCH:
            before = _grown(head, rows, label, weights, start, earlier & known, trees, threads, parameters)
            scores = raw_scores(before, rows[later]) + (start[later] if start is not None else 0.0)
            calibrations[head] = Platt.fit(scores, label[later], categories[later])
        models[head] = _grown(head, rows, label, weights, start, known, trees, threads, parameters)
    return Heads(names=tuple(names), models=models, calibrations=calibrations, missing=missing, defaults=defaults)


def _grown(
    head: str,
    rows: NDArray[np.float32],
    label: Floats,
    weights: Floats | None,
    base: Floats | None,
    of: NDArray[np.bool_],
    trees: int,
    threads: int,
    parameters: Mapping[str, Any] | None,
) -> lgb.Booster:
    """The trees of one head, grown on some of the rows."""
    small = head in SMALL_HEADS
    leaf = int(np.clip(of.sum() * LEAF_SHARE, LEAF_MIN, LEAF_MAX))
    told = {
        **PARAMETERS,
        "min_data_in_leaf": leaf,
        "lambda_l2": leaf / 10,
        **(SMALL if small else {}),
        **(parameters or {}),
    }
    told |= {"objective": "cross_entropy" if head == WATCH else "binary", "num_threads": threads}
    heavier = weights[of] if weights is not None and head == "negative" else None
    data = lgb.Dataset(rows[of], label[of], weight=heavier, init_score=base[of] if base is not None else None)
    return lgb.train(told, data, min(trees, SMALL_TREES) if small else trees)


def _earlier(times_s: Floats) -> NDArray[np.bool_]:
    """(n,) the rows that the first trees are grown on: all but the last `CALIBRATED_ON` of them, in time."""
    if not len(times_s):
        return np.zeros(0, bool)
    return np.asarray(times_s < np.quantile(times_s, 1 - CALIBRATED_ON, method="higher"))


def _lack(head: str, label: Floats | None, known: NDArray[np.bool_], earlier: NDArray[np.bool_]) -> str:
    """Why a head cannot be trained; an empty text: it can."""
    if label is None:
        return "no labels"
    if head == WATCH:
        few = int((known & earlier).sum())
        return "" if few >= 2 * POSITIVES_MIN else f"{few} rows, {2 * POSITIVES_MIN} are wanted"
    for name, side in (("positives", label == 1), ("negatives", label == 0)):
        few = int((side & known & earlier).sum())
        if few < POSITIVES_MIN:
            return f"{few} {name} in the earlier rows, {POSITIVES_MIN} are wanted"
        if not (side & known & ~earlier).any():
            return f"no {name} in the later rows, which it would be calibrated on"
    return ""


class Ranker:
    """Trained heads behind the pipeline's door: a viewer and candidates in, heads and values out."""

    def __init__(self, heads: Heads, values: Values | None = None) -> None:
        self.heads = heads
        self.values = values or Values.read()
        weighed = canonical_json({"default": self.values.default, "by_category": self.values.by_category})
        self.digest = hashlib.sha256(f"{heads.digest} {weighed}".encode()).hexdigest()[:16]
        """Of trees, calibration and value weights: what every response is logged with."""

    def score(
        self, viewer: Viewer, places: NDArray[np.intp], catalogue: Catalogue, counts: Counts, context: Context
    ) -> Scored:
        """Score some candidates, (m,) each."""
        rows = features(viewer, places, catalogue, counts, context)
        return self.score_rows(rows, catalogue.category[places], catalogue.categories)

    def score_rows(self, rows: NDArray[np.float32], codes: NDArray[Any], categories: Sequence[str]) -> Scored:
        """Score rows of features whose content types are `codes` of `categories`."""
        said = self.heads.score(rows, codes)
        value = (said * self.values.weights(categories)[codes]).sum(axis=1)
        trained = [i for i, head in enumerate(HEADS) if head in self.heads.models]
        return Scored(heads={HEADS[i]: said[:, i] for i in trained}, value=value)

    def explain(
        self, viewer: Viewer, place: int, catalogue: Catalogue, counts: Counts, context: Context, count: int = 3
    ) -> list[Strongest]:
        """What moved the chance of a long view of one video most, in plain words."""
        row = features(viewer, np.array([place], np.intp), catalogue, counts, context)[0]
        return [
            Strongest(name=name, phrase=FEATURES.get(name, name), contribution=moved)
            for name, moved in self.heads.explain(row, count)
        ]

    def save(self, folder: Path) -> None:
        """Write one file, whole or not at all: another process may read it at any time."""
        folder.mkdir(parents=True, exist_ok=True)
        kept = folder / f".{FILE}.{os.getpid()}"
        with kept.open("w", encoding="utf-8") as file:
            file.write(self.heads.to_json())
            file.flush()
            os.fsync(file.fileno())
        kept.replace(folder / FILE)

    @classmethod
    def load(cls, folder: Path, values: Values | None = None) -> Ranker:
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: nothing was trained yet.
            ValueError: it was trained on other features than this version makes.
        """
        heads = Heads.from_json((folder / FILE).read_text(encoding="utf-8"))
        if heads.names != FEATURE_NAMES:
            other = sorted(set(heads.names) ^ set(FEATURE_NAMES))
            raise ValueError(f"trained on other features ({', '.join(other) or 'in another order'}): train again")
        return cls(heads, values)
