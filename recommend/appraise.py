"""What a feed is worth: its own log counted, and its ranker on days that it had not seen.

Three kinds of figures, which no section mixes: what is counted in the log, what the ranker says of held-out rows, and
what the log lets one say of another policy. `report.py` draws them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.records import Event, Impression
from recommend import guardrails, offpolicy
from recommend.catalogue import UNKNOWN, Catalogue
from recommend.evaluate import (
    Floats,
    Interval,
    Statistic,
    auc_of,
    bootstrap,
    calibration,
    coverage,
    gauc_of,
    gini,
    mean_of,
    ndcg,
    novelty,
    paired_bootstrap,
    recall_at,
    xauc_of,
)
from recommend.explore import exposure_by_size
from recommend.faults import TooLittle
from recommend.labels import long_view
from recommend.memory import Record
from recommend.pipeline import FRESH_SHARE
from recommend.report import Bars, Lines, Section, Value
from recommend.state import ON_SCREEN

ROUNDS = 300
"""Draws of viewers an interval is made of."""
COLD_SHOWN = 20.0
"""A video that came on fewer screens than this before the row is cold."""
FIRST = 10
"""So many rows of each viewer, the best by the ranker, are what nDCG and recall look at."""
COIN = {"fresh": FRESH_SHARE, "explore": 1 - FRESH_SHARE}
"""Of the slots, with which probability one goes to which kind."""
VIEWERS_MIN = 20
"""With fewer viewers nothing is said of another policy: intervals draw viewers, and of few the same ones come."""


@dataclass(slots=True)
class _Served:
    """What came of a place, as far as the log tells."""

    slot: str
    source: str
    viewer: str
    place: int
    time_s: float
    seen: bool = False
    watch_s: float = 0.0
    kinds: set[str] = field(default_factory=set)


@dataclass(slots=True)
class _Chance:
    """What was left to chance, and what came of it: all that tells of policies that never served."""

    impressions: list[Impression] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    ranked: dict[str, list[float]] = field(default_factory=dict)
    """Page -> scores of its ranked places."""

    def note(self, impression: Impression) -> None:
        if impression.slot == "rank":
            self.ranked.setdefault(impression.slate_id, []).append(impression.score)
        else:
            self.impressions.append(impression)


def of_log(records: Iterable[tuple[int, Record]], catalogue: Catalogue, rng: np.random.Generator) -> list[Section]:
    """Count what was served, by slot and by source, and to whom it was given. Empty: nothing was ever served."""
    served: dict[str, _Served] = {}
    chance = _Chance()
    for _, record in records:
        if isinstance(record, Impression):
            place = catalogue.place_of(record.video_id)
            if place != UNKNOWN:
                served[record.impression_id] = _Served(
                    record.slot, record.source, record.viewer_id, place, record.time_s
                )
                chance.note(record)
        elif isinstance(record, Event) and record.impression_id in served:
            one = served[record.impression_id]
            if (one.viewer, one.place) == (record.viewer_id, catalogue.place_of(record.video_id)):
                _note(one, record)
                if one.slot != "rank":
                    chance.events.append(record)
    if not served:
        return []
    places = list(served.values())
    return [
        Section(
            title="What was served",
            kind="log",
            note=(
                "By kind of slot. A `uniform` place went to a video that a fair die chose: what those earn is what the "
                "others are worth more than. `above uniform`: by how many long views a place; that `fresh` and "
                "`explore` are never among the first two of a page, where the die may be, is in it too. Shares are of "
                "the places that came on a screen; intervals draw viewers."
            ),
            rows=_by(places, [one.slot for one in places], "slot", catalogue, rng, beside="uniform"),
        ),
        Section(
            title="By source",
            kind="log",
            note="Each video counts for the first source that named it.",
            rows=_by(places, [one.source for one in places], "source", catalogue, rng),
        ),
        _exposure(places, catalogue),
        _closing_in(places, catalogue, guardrails.GuardrailSettings(), rng),
        *_other_policies(chance, {name for name, one in served.items() if one.seen}, catalogue, rng),
    ]


def _note(served: _Served, event: Event) -> None:
    served.seen |= event.kind in ON_SCREEN
    served.watch_s += event.watch_s if event.kind in ("view", "skip") else 0.0
    served.kinds.add(event.kind)


def _by(
    places: Sequence[_Served],
    keys: Sequence[str],
    name: str,
    catalogue: Catalogue,
    rng: np.random.Generator,
    *,
    beside: str = "",
) -> list[dict[str, Any]]:
    """A row a key, in order of appearance.

    Args:
        beside: a key whose long views those of the others are laid beside; empty: none.
    """
    seen = [(one, key) for one, key in zip(places, keys, strict=True) if one.seen]
    of = np.array([key for _, key in seen], np.str_)
    viewers = np.array([one.viewer for one, _ in seen], np.str_)
    watch_s = np.array([one.watch_s for one, _ in seen], np.float64)
    duration_s = catalogue.duration_s[np.array([one.place for one, _ in seen], np.intp)]
    long = (long_view(watch_s, duration_s) & (watch_s > 0)).astype(np.float64)
    liked = np.array(["like" in one.kinds for one, _ in seen], np.float64)
    served = Counter(keys)
    rows = []
    for key, count in served.items():
        these = of == key
        row: dict[str, Any] = {name: key, "served": count, "seen": int(these.sum())}
        if these.any():
            row["long views"] = _share(long[these], viewers[these], rng)
            row["likes"] = _share(liked[these], viewers[these], rng)
        if beside in served and key != beside and these.any():
            row[f"above {beside}"] = _apart(long, of == key, of == beside, viewers, rng)
        rows.append(row)
    return rows


def _share(values: Floats, viewers: NDArray[Any], rng: np.random.Generator) -> Interval | float:
    """With an interval, where there is more than one viewer."""
    found = _drawn(viewers, mean_of(values), rng)
    return float(values.mean()) if found is None else found


def _apart(
    values: Floats, ours: NDArray[np.bool_], theirs: NDArray[np.bool_], viewers: NDArray[Any], rng: np.random.Generator
) -> Interval | None:
    """How far the mean of some rows is above that of others; each draw draws the same viewers for both."""
    first, second = (mean_of(np.where(rows, values, np.nan)) for rows in (ours, theirs))
    try:
        return paired_bootstrap(viewers, first, second, ROUNDS, rng) if len(np.unique(viewers)) > 1 else None
    except TooLittle:
        return None


def _drawn(
    viewers: NDArray[Any], statistic: Statistic, rng: np.random.Generator, rounds: int = ROUNDS
) -> Interval | None:
    """A figure with its interval; None: one viewer, or so few of a class that most draws have none."""
    try:
        return bootstrap(viewers, statistic, rounds, rng) if len(np.unique(viewers)) > 1 else None
    except TooLittle:
        return None


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
            "figure": f"share of places, quarter {number} of the videos by creator: {row['size_from']:.0f} to "
            f"{row['size_to']:.0f} videos each",
            "value": row["share"],
        }
        for number, row in enumerate(by_size, 1)
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


def _closing_in(
    places: Sequence[_Served],
    catalogue: Catalogue,
    settings: guardrails.GuardrailSettings,
    rng: np.random.Generator,
) -> Section:
    """What the guardrails watch over, counted over viewers: each counts once, however much he was served."""
    of_viewer: dict[str, list[_Served]] = {}
    for one in sorted(places, key=lambda one: one.time_s):
        of_viewer.setdefault(one.viewer, []).append(one)
    too_much: list[tuple[str, ...]] = []
    varied: list[float] = []
    narrower: list[bool] = []
    change: list[tuple[float, float]] = []
    for his in of_viewer.values():
        served = np.array([one.place for one in his], dtype=np.intp)
        last, category = served[-settings.recent :], catalogue.category[served]
        if len(served) >= settings.least:
            too_much.append(guardrails.exposure(catalogue.category[last], catalogue.sensitive[last], settings).too_much)
            varied.append(guardrails.effective_number(catalogue.category[last]))
        found = guardrails.narrowing(category, np.array([one.time_s for one in his]), settings)
        if found.category != UNKNOWN:
            narrower.append(found.narrowing)
            change.append((found.effective_before, found.effective_recent))
    rows: list[dict[str, Value]] = [
        {"figure": name, "viewers": len(values), "value": _of_viewers(values, rng)}
        for name, values in (
            (f"more than {settings.category_share:.0%} of one category", ["category" in one for one in too_much]),
            (f"more than {settings.sensitive_share:.0%} sensitive", ["sensitive" in one for one in too_much]),
            ("effective number of categories", varied),
            ("narrowing", narrower),
            ("effective number of categories before", [before for before, _ in change]),
            ("effective number of categories since", [since for _, since in change]),
        )
    ]
    return Section(
        title="Whether feeds close in",
        kind="log",
        note=(
            f"Of each viewer the last {settings.recent} places that he was served, where he was served at least "
            f"{settings.least}; the last three rows lay them beside the {settings.before} before, where those are "
            f"{settings.least} too. Shares and means are of viewers; intervals draw viewers."
        ),
        rows=rows,
    )


def _of_viewers(values: Sequence[float], rng: np.random.Generator) -> Interval | float | None:
    """The mean of a number a viewer; None: of nobody."""
    return _share(np.array(values, np.float64), np.arange(len(values)), rng) if values else None


def _other_policies(chance: _Chance, seen: Set[str], catalogue: Catalogue, rng: np.random.Generator) -> list[Section]:
    """What policies would have earned that never served, as far as the places tell that a die filled."""
    there = [one for one in chance.impressions if one.impression_id in seen]
    die = [one for one in there if one.slot == "uniform" and one.slate_id in chance.ranked]
    slots = [one for one in there if one.slot in COIN]
    median = {one.slate_id: float(np.median(chance.ranked[one.slate_id])) for one in die}
    users = np.array([one.viewer_id for one in die], np.str_)
    above, share = offpolicy.better_half(np.array([one.score - median[one.slate_id] for one in die]), users)

    def earned(events: Sequence[Event]) -> float:
        watch_s = sum(event.watch_s for event in events if event.kind in ("view", "skip"))
        duration_s = catalogue.duration_s[catalogue.place_of(events[0].video_id)] if events else np.inf
        return float(watch_s > 0 and long_view(watch_s, duration_s))

    def halved(of: NDArray[np.bool_], its: Floats) -> Callable[[Sequence[Impression]], Floats]:
        times = np.where(of & (its > 0), 1 / np.maximum(its, 1e-9), 0.0)  # as often as by the whole die; in its order
        return lambda rows: np.minimum(1.0, times * [one.propensity for one in rows])

    def only(slot: str) -> Callable[[Sequence[Impression]], Floats]:
        return lambda rows: np.array([one.propensity * (one.slot == slot) for one in rows])

    return [
        _asked(
            "The ranker among what a fair die chose",
            "Places of the fair die only, which every video could have had. Another policy would throw the die among "
            "those alone that the ranker scores above the median, or below it. A score counts by how far it is from "
            "those of its page's ranked places, so that it is asked which video, and not which viewer.",
            "places of the fair die",
            die,
            chance.events,
            {
                "the fair die, as it was": lambda rows: np.array([one.propensity for one in rows]),
                "its better half by the ranker": halved(above, share),
                "its other half": halved(~above, 1 - share),
            },
            {"uniform": 1.0},
            earned,
            rng,
        ),
        _asked(
            "What the slots for new things go to",
            f"Slots of `fresh` and `explore`, between which a coin decides ({COIN['fresh']:.0%} `fresh`). Another "
            "policy would give all of them to one kind, and choose within it as ours does. Where a slot finds nothing "
            "new, the coin has no say; where that is often, weights are not 1 on average, and nothing is concluded.",
            "slots",
            slots,
            chance.events,
            {
                "both, as it was": lambda rows: np.array([COIN[one.slot] * one.propensity for one in rows]),
                "first looks alone": only("fresh"),
                "exploration alone": only("explore"),
            },
            COIN,
            earned,
            rng,
        ),
    ]


def _asked(
    title: str,
    note: str,
    what: str,
    impressions: Sequence[Impression],
    events: Sequence[Event],
    policies: Mapping[str, Callable[[Sequence[Impression]], Floats]],
    slots: Mapping[str, float],
    earned: Callable[[Sequence[Event]], float],
    rng: np.random.Generator,
) -> Section:
    """Long views a place that each policy would have had; in words alone where the log is too small for figures.

    Args:
        note: what is asked of which places.
        what: those places, for a person.
    """
    viewers = len({one.viewer_id for one in impressions})
    if len(impressions) < offpolicy.ESS_MIN or viewers < VIEWERS_MIN:
        few = (
            f"Too little to say anything: {len(impressions)} {what} came on a screen, of {viewers} viewers; at least "
            f"{offpolicy.ESS_MIN:.0f} and {VIEWERS_MIN} are wanted."
        )
        return Section(title=title, kind="off_policy", note=f"{note} {few}")
    try:
        logged = {
            name: offpolicy.from_log(impressions, events, policy, earned, slots=slots)[0]
            for name, policy in policies.items()
        }
        verdict = offpolicy.compare(logged, rng)
    except TooLittle as too_little:
        return Section(title=title, kind="off_policy", note=f"{note} Too little to say anything: {too_little}.")
    bars = {name: one.default for name, one in verdict.estimates.items() if one.ess >= offpolicy.ESS_MIN}
    return Section(
        title=title,
        kind="off_policy",
        note=(
            f"{note} Long views a place; {len(impressions):,} {what}, {viewers:,} viewers. ESS: so many rows of its "
            f"own are these worth to a policy; below {offpolicy.ESS_MIN:.0f} it has no figures. Verdict: {verdict.why}."
        ),
        rows=[{"policy": name, **_row(one)} for name, one in verdict.estimates.items()],
        plots=[Bars(title=f"{title}: {offpolicy.DEFAULT}", unit="long views a place", values=bars)] if bars else [],
    )


def _row(found: offpolicy.Estimates) -> dict[str, Value]:
    is_enough = found.ess >= offpolicy.ESS_MIN
    return {
        "ESS": found.ess,
        "mean weight": found.mean_weight,
        "largest": found.weight_max,
        **{name: found.by_estimator[name] if is_enough else None for name in ("IPS", "SNIPS", "DR", "DRos")},
    }


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
                f"nDCG@{FIRST}: of each viewer's held-out rows. recall@{FIRST}: which share of those that he watched "
                f"long are among the first {FIRST}, where he has more than {FIRST}; what was never put before him is "
                "in no row, so this says nothing of the sources. Intervals draw viewers."
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
        found["AUC long_view"] = _drawn(viewers, auc_of(label, said), rng)
        users, values = ndcg(label, said, viewers, FIRST)
        found[f"nDCG@{FIRST}"] = _drawn(users, mean_of(values), rng)
        many = _with_more(viewers, FIRST)
        if label[many].any():
            users, values = recall_at(label[many], said[many], viewers[many], FIRST)
            found[f"recall@{FIRST}"] = _drawn(users, mean_of(values), rng)
            found["and in any order"] = float(recall_at(label[many], 0 * said[many], viewers[many], FIRST)[1].mean())
    if "watch" in held.said and len(np.unique(held.quantile[of])) > 1:
        found["XAUC watch"] = _drawn(viewers, xauc_of(held.quantile[of], held.said["watch"][of]), rng, ROUNDS // 3)
    return found


def _with_more(viewers: NDArray[np.int64], rows: int) -> NDArray[np.bool_]:
    """(n,) which rows are of a viewer with more than so many: of fewer, any order has all among its first."""
    codes = np.unique(viewers, return_inverse=True)[1]
    return np.asarray(np.bincount(codes)[codes] > rows)


def _gauc(held: HeldOut, of: NDArray[np.bool_], rng: np.random.Generator) -> Interval | None:
    """None: fewer than ten viewers have both what they watched long and what they did not."""
    label, viewers = held.labels["long_view"][of], held.viewers[of]
    if "long_view" not in held.said or not len(label):
        return None
    codes = np.unique(viewers, return_inverse=True)[1]
    long, all_of = np.bincount(codes, label), np.bincount(codes)
    if ((long > 0) & (long < all_of)).sum() < 10:
        return None
    return _drawn(viewers, gauc_of(label, held.said["long_view"][of], viewers), rng)
