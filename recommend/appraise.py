"""What a feed is worth: its own log counted, and its ranker on days that it had not seen.

Three kinds of figures, which no section mixes: what is counted in the log, what the ranker says of held-out rows, and
what the log lets one say of another policy. `report.py` draws them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.records import Event, Impression
from recommend.catalogue import UNKNOWN, Catalogue
from recommend.evaluate import (
    Interval,
    auc_of,
    bootstrap,
    calibration,
    coverage,
    gauc_of,
    gini,
    mean_of,
    ndcg,
    novelty,
    xauc_of,
)
from recommend.explore import exposure_by_size
from recommend.labels import long_view
from recommend.memory import Record
from recommend.report import Bars, Lines, Section, Value

ROUNDS = 300
"""Draws of viewers an interval is made of."""
COLD_SHOWN = 20.0
"""A video that came on fewer screens than this before the row is cold."""
NDCG_AT = 10


@dataclass(slots=True)
class _Served:
    """What came of a place, as far as the log tells."""

    slot: str
    source: str
    viewer: str
    place: int
    seen: bool = False
    watch_s: float = 0.0
    kinds: set[str] = field(default_factory=set)


def of_log(records: Iterable[tuple[int, Record]], catalogue: Catalogue, rng: np.random.Generator) -> list[Section]:
    """Count what was served, by slot and by source, and to whom it was given. Empty: nothing was ever served."""
    served: dict[str, _Served] = {}
    for _, record in records:
        if isinstance(record, Impression):
            place = catalogue.place_of(record.video_id)
            if place != UNKNOWN:
                served[record.impression_id] = _Served(record.slot, record.source, record.viewer_id, place)
        elif isinstance(record, Event) and record.impression_id in served:
            one = served[record.impression_id]
            if (one.viewer, one.place) == (record.viewer_id, catalogue.place_of(record.video_id)):
                _note(one, record)
    if not served:
        return []
    places = list(served.values())
    return [
        Section(
            title="What was served",
            kind="log",
            note=(
                "By kind of slot. A `uniform` place went to a video that a fair die chose: what those earn is what the "
                "others are worth more than. Shares are of the places that came on a screen; intervals draw viewers."
            ),
            rows=_by(places, [one.slot for one in places], "slot", catalogue, rng),
        ),
        Section(
            title="By source",
            kind="log",
            note="Each video counts for the first source that named it.",
            rows=_by(places, [one.source for one in places], "source", catalogue, rng),
        ),
        _exposure(places, catalogue),
    ]


def _note(served: _Served, event: Event) -> None:
    served.seen |= event.kind in ("impression", "view", "skip")
    served.watch_s += event.watch_s if event.kind in ("view", "skip") else 0.0
    served.kinds.add(event.kind)


def _by(
    places: Sequence[_Served], keys: Sequence[str], name: str, catalogue: Catalogue, rng: np.random.Generator
) -> list[dict[str, Any]]:
    rows = []
    for key in dict.fromkeys(keys):
        these = [one for one, its in zip(places, keys, strict=True) if its == key]
        seen = [one for one in these if one.seen]
        row: dict[str, Any] = {name: key, "served": len(these), "seen": len(seen)}
        if seen:
            duration_s = catalogue.duration_s[[one.place for one in seen]]
            watch_s = np.array([one.watch_s for one in seen])
            long = (long_view(watch_s, duration_s) & (watch_s > 0)).astype(np.float64)
            liked = np.array(["like" in one.kinds for one in seen], dtype=np.float64)
            viewers = np.array([one.viewer for one in seen])
            row |= {"long views": _share(long, viewers, rng), "likes": _share(liked, viewers, rng)}
        rows.append(row)
    return rows


def _share(values: NDArray[np.float64], viewers: NDArray[Any], rng: np.random.Generator) -> Interval | float:
    """With an interval, where there is more than one viewer."""
    if len(np.unique(viewers)) < 2:
        return float(values.mean())
    return bootstrap(viewers, mean_of(values), ROUNDS, rng)


def _exposure(places: Sequence[_Served], catalogue: Catalogue) -> Section:
    """Who was given the places: how much of the catalogue, how evenly, and creators of which size."""
    shown = np.array([one.place for one in places], dtype=np.int64)
    exposure = np.bincount(shown, minlength=len(catalogue)).astype(np.float64)
    sizes = np.array([len(catalogue.of_creator.get(int(code), ())) for code in catalogue.creator])
    by_size = exposure_by_size(exposure, sizes.astype(np.float64))
    figures: list[dict[str, Any]] = [
        {"figure": "share of the catalogue that was served", "value": coverage(shown, len(catalogue))},
        {"figure": "Gini of impressions over videos (0: all alike)", "value": gini(exposure)},
        {"figure": "novelty: mean self-information of what was served, bits", "value": novelty(shown, exposure)},
    ]
    figures += [
        {
            "figure": f"share of creators with {row['size_from']:.0f} to {row['size_to']:.0f} videos",
            "value": row["share"],
        }
        for row in by_size
    ]
    ordered = np.sort(exposure)
    lorenz = np.cumsum(ordered) / max(ordered.sum(), 1.0)
    across = np.arange(1, len(ordered) + 1) / len(ordered)
    at = np.unique(np.linspace(0, len(ordered) - 1, 200).astype(int))
    return Section(
        title="Who was given the places",
        kind="log",
        rows=figures,
        plots=[
            Lines(
                title="Share of the places that the least shown videos have",
                across="share of the videos",
                up="share of the places",
                curves={"served": (across[at].tolist(), lorenz[at].tolist()), "all alike": ([0.0, 1.0], [0.0, 1.0])},
            )
        ],
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeldOut:
    """Rows that a ranker had not seen when it was grown, and what it says of them."""

    viewers: NDArray[np.int64]  # (n,)
    categories: NDArray[np.int32]  # (n,)
    shown: NDArray[np.float64]  # (n,), impressions that the video had before
    duration_s: NDArray[np.float64]  # (n,)
    watch_s: NDArray[np.float64]  # (n,)
    labels: Mapping[str, NDArray[np.float64]]
    """Head -> (n,) 0 or 1."""
    said: Mapping[str, NDArray[np.float64]]
    """Head -> (n,); of the heads that were trained."""
    quantile: NDArray[np.float64]  # (n,), D2Q of the watch


def of_ranker(held: HeldOut, catalogue: Catalogue, rng: np.random.Generator) -> list[Section]:
    """Say how well a ranker orders the days after those that it was grown on, cold videos apart from warm."""
    cold = held.shown < COLD_SHOWN
    parts = {"all": np.ones(len(cold), np.bool_), "cold": cold, "warm": ~cold}
    rows = [
        {"rows of": name, "rows": int(of.sum()), **_figures(held, of, rng)} for name, of in parts.items() if of.any()
    ]
    by_type = {
        catalogue.categories[code] if code >= 0 else "none": held.categories == code
        for code in np.unique(held.categories).tolist()
    }
    typed: list[dict[str, Value]] = [
        {"type": name, "rows": int(of.sum()), "GAUC long_view": _gauc(held, of, rng)} for name, of in by_type.items()
    ]
    gaucs = {str(row["type"]): row["GAUC long_view"] for row in typed if isinstance(row["GAUC long_view"], Interval)}
    curves: dict[str, tuple[list[float], list[float]]] = {}
    errors: list[dict[str, Value]] = []
    for head, said in held.said.items():
        if head in held.labels and 0 < held.labels[head].mean() < 1:
            found = calibration(held.labels[head], np.clip(said, 0, 1))
            curves[head] = (found.said.tolist(), found.seen.tolist())
            errors.append({"head": head, "positives": int(held.labels[head].sum()), "calibration error": found.error})
    return [
        Section(
            title="The ranker on later days",
            kind="time_split",
            note=(
                f"Grown on the earlier rows, asked about the last ones. Cold: the video had come on fewer than "
                f"{COLD_SHOWN:.0f} screens. XAUC: share of pairs whose watches (as D2Q quantiles) it orders right. "
                f"nDCG@{NDCG_AT}: of each viewer's held-out rows. Intervals draw viewers."
            ),
            rows=rows,
        ),
        Section(
            title="By content type",
            kind="time_split",
            note="So that the most frequent type does not hide the others.",
            rows=typed,
            plots=[Bars(title="GAUC of long views", unit="GAUC", values=gaucs)] if gaucs else [],
        ),
        Section(
            title="Calibration",
            kind="time_split",
            note="Whether what is said to happen in 3 of 100 cases did.",
            rows=errors,
            plots=[Lines(title="Said and seen", across="said", up="seen", curves=curves)] if curves else [],
        ),
    ]


def _figures(held: HeldOut, of: NDArray[np.bool_], rng: np.random.Generator) -> dict[str, Any]:
    label, viewers = held.labels["long_view"][of], held.viewers[of]
    found: dict[str, Any] = {"AUC long_view": None, "GAUC long_view": _gauc(held, of, rng)}
    if "long_view" in held.said and 0 < label.mean() < 1:
        said = held.said["long_view"][of]
        found["AUC long_view"] = bootstrap(viewers, auc_of(label, said), ROUNDS, rng)
        users, values = ndcg(label, said, viewers, NDCG_AT)
        found[f"nDCG@{NDCG_AT}"] = bootstrap(users, mean_of(values), ROUNDS, rng) if len(users) > 1 else None
    if "watch" in held.said and len(np.unique(held.quantile[of])) > 1:
        found["XAUC watch"] = bootstrap(viewers, xauc_of(held.quantile[of], held.said["watch"][of]), ROUNDS // 3, rng)
    return found


def _gauc(held: HeldOut, of: NDArray[np.bool_], rng: np.random.Generator) -> Interval | None:
    """None: no two viewers have both what they watched long and what they did not."""
    label, viewers = held.labels["long_view"][of], held.viewers[of]
    if "long_view" not in held.said or not len(label):
        return None
    codes = np.unique(viewers, return_inverse=True)[1]
    long, all_of = np.bincount(codes, label), np.bincount(codes)
    if ((long > 0) & (long < all_of)).sum() < 10:
        return None
    return bootstrap(viewers, gauc_of(label, held.said["long_view"][of], viewers), ROUNDS, rng)
