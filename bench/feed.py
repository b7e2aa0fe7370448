"""How well are the videos of real feeds ranked? KuaiRand-Pure, or a log of the same columns.

    python bench/feed.py --train FILE --test FILE [--history F --items F --users F] [--until TIME] [--ablate] [--json]

FILE is a parquet of impressions (`user_id`, `video_id`, `time_ms`, `hourmin`, `tab`, `long_view`, `play_time_ms`,
`duration_ms`, …). With `--until` rows before it train, from it on test, both from the files given; without it all rows
of either do, and the two must be different files. Side files default to `user_sequences.parquet` and
`item_features.parquet` beside `--train`. Of the items only what is known when a video goes up is read: the count
columns are totals of the month and would tell the outcome. `--users` is taken and not read: on the days at hand user
features moved nothing.

Everything is frozen at the start of a day for training rows, and at the split for all test rows: no outcome of a test
row is a feature of any other, for ours and for the plain ranker alike. (Means that follow a viewer within the test days
raise AUC and lower GAUC: a viewer's running mean falls with each miss, so the next row seems worse just when it is
more likely to be the hit.)

| ranker | knows |
|---|---|
| plain | past days' means of the viewer and of the video (long views, D2Q), length, hour, tab, age |
| plain + history | and the same shares from the watches before the first day: the one to beat |
| ours | crossed effects (what viewer, creator, sound, tag, length, tab and video each add, the others taken off), |
|      | which its trees start from; histories by tag and creator; collaborative factors, neighbours; the same context |

All have the same trees, calibration and heads (`recommend/rank.py`), and the same target for XAUC: the restored seconds
of the `watch` head (`labels.D2Q`) against the seconds watched. `pass`: ours is above both in AUC and in GAUC of long
views, with paired bootstrap intervals over viewers that exclude 0, and the top tenth by predicted quantile is on
average no longer than the catalogue. Features were first tried on these very test days, and the size of the trees and
where they start were chosen on 28 April; the intervals do not know that.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).parent.parent)  # bench/ingest.py would hide the package ingest

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from bench.machine import facts
from recommend import collaborative
from recommend.catalogue import Catalogue, Entry
from recommend.collaborative import Collaborative
from recommend.evaluate import Interval, auc, auc_of, calibration, gauc, gauc_of, paired_bootstrap, xauc, xauc_of
from recommend.labels import D2Q, complete, long_view, short_play
from recommend.rank import HEADS, WATCH, Platt, train_heads

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Columns = dict[str, NDArray[Any]]

SEED = 7
ROUNDS = 500
DAY_S = 86_400.0
SESSION_GAP_S = 1_800.0
UNKNOWN_TAB = 99
"""The tab of the watches before the first day, of which none is told."""
DURATION_GROUPS = 8
SWEEPS = 6
DRAWN = {"tab": 20.0, "viewer": 5.0, "length": 50.0, "tag": 50.0, "creator": 10.0, "sound": 10.0, "video": 20.0}
"""How many watches of no effect are added to those of each, so that few say little."""
LAST = 10
"""Long-watched videos of a viewer, the last ones, that neighbours are counted among."""
CONTEXTS = {"hour": ("hour",), "place in the session": ("session_place", "minutes_away"), "duration": ("duration",),
            "tab": ("tab",), "age": ("age_days",)}  # fmt: skip
SESSION = CONTEXTS["place in the session"]
TYPES = 12
"""Content types that are shown: the most frequent tags."""
LONG, QUANTILE = HEADS.index("long_view"), HEADS.index(WATCH)


# Reading -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Items:
    """What is known of a video when it goes up; codes count from 0."""

    ids: Ints
    creator: Ints
    sound: Ints
    tag: Ints
    tag_names: tuple[str, ...]
    length: Ints  # duration group
    duration_s: Floats
    uploaded_s: Floats

    def rows_of(self, ids: Ints) -> Ints:
        order = np.argsort(self.ids)
        return order[np.searchsorted(self.ids, ids, sorter=order)]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Watches:
    """Who watched what for long: of the histories, or of past days."""

    viewer: Ints
    video: Ints  # rows of `Items`
    long: Floats  # 0 or 1
    tab: Ints


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Data:
    """Impressions in order of time, and what was known before the first of them."""

    viewer: Ints
    video: Ints
    time_s: Floats
    tab: Ints
    hour: Ints
    duration_s: Floats
    watch_s: Floats
    long: Floats
    liked: Floats
    test: NDArray[np.bool_]
    day: Ints
    """-1: the last day before the split; 0: the test rows, whatever their day."""
    items: Items
    histories: Mapping[int, tuple[Ints, Ints, Ints, float]]
    """Viewer -> watched, long-watched and liked videos in order, and when the last was."""


def table(path: Path, columns: Sequence[str] | None = None) -> Columns:
    read = pq.read_table(path, columns=list(columns) if columns else None)
    return {name: read[name].to_numpy(zero_copy_only=False) for name in read.column_names}


def codes(values: NDArray[Any]) -> Ints:
    return np.unique(values.astype(str), return_inverse=True)[1].astype(np.int64)


def read_items(path: Path) -> Items:
    read = table(path, ("video_id", "author_id", "music_id", "tag", "video_duration", "upload_dt"))
    duration_s = np.nan_to_num(read["video_duration"].astype(np.float64)) / 1e3
    first_tags = np.array([str(tags).split(",")[0] for tags in read["tag"]])
    edges = np.quantile(duration_s, np.arange(1, DURATION_GROUPS) / DURATION_GROUPS)
    uploaded = np.array([str(day)[:10] for day in read["upload_dt"]], dtype="datetime64[s]")
    return Items(
        ids=read["video_id"].astype(np.int64),
        creator=codes(read["author_id"]),
        sound=codes(read["music_id"]),
        tag=codes(first_tags),
        tag_names=tuple(np.unique(first_tags).tolist()),
        length=np.searchsorted(edges, duration_s, side="right").astype(np.int64),
        duration_s=duration_s,
        uploaded_s=uploaded.astype(np.float64),
    )


def read_histories(path: Path, items: Items, before_s: float) -> dict[int, tuple[Ints, Ints, Ints, float]]:
    """Of the viewers whose histories ended before the first impression; one that goes on would tell what comes."""
    found = {}
    for one in pq.read_table(path).to_pylist():
        last_s = one["last_time_ms"] / 1e3
        if last_s < before_s:
            lists = [items.rows_of(np.array(one[n], np.int64)) for n in ("watch_seq", "long_watch_seq", "like_seq")]
            found[int(one["user_id"])] = (lists[0], lists[1], lists[2], last_s)
    return found


def read(asked: argparse.Namespace) -> Data:
    """Read the files, and say which rows train and which test.

    Raises:
        ValueError: the same file for both, and no time to split it at.
    """
    beside = asked.train.parent
    items = read_items(asked.items or beside / "item_features.parquet")
    until_s = datetime.fromisoformat(asked.until).timestamp() if asked.until else None
    if until_s is None and asked.train.resolve() == asked.test.resolve():
        raise ValueError("the same rows would train and test; give --until TIME, such as 2022-04-29T00:00+08:00")
    train, test = table(asked.train), table(asked.test)
    if until_s is not None:
        train = {name: column[train["time_ms"] < until_s * 1e3] for name, column in train.items()}
        test = {name: column[test["time_ms"] >= until_s * 1e3] for name, column in test.items()}
    else:
        until_s = float(test["time_ms"].min()) / 1e3
    is_test = np.r_[np.zeros(len(train["time_ms"]), bool), np.ones(len(test["time_ms"]), bool)]
    both = {name: np.concatenate([train[name], test[name]]) for name in train}
    order = np.lexsort((both["time_ms"], is_test))
    both, is_test = {name: column[order] for name, column in both.items()}, is_test[order]
    time_s = both["time_ms"] / 1e3
    day = np.minimum(np.floor((time_s - until_s) / DAY_S), -1).astype(np.int64)
    return Data(
        viewer=both["user_id"].astype(np.int64),
        video=items.rows_of(both["video_id"].astype(np.int64)),
        time_s=time_s,
        tab=both["tab"].astype(np.int64),
        hour=both["hourmin"].astype(np.int64) // 100,
        duration_s=both["duration_ms"] / 1e3,
        watch_s=both["play_time_ms"] / 1e3,
        long=both["long_view"].astype(np.float64),
        liked=both["is_like"].astype(np.float64),
        test=is_test,
        day=np.where(is_test, 0, day),
        items=items,
        histories=read_histories(asked.history or beside / "user_sequences.parquet", items, float(time_s.min())),
    )


# Features ------------------------------------------------------------------------------------------------------------


def shares(keys: Ints, values: Floats, asked: Ints, drawn: float = 0.0, usual: float = 0.0) -> tuple[Floats, Floats]:
    """(m,) mean of the values whose key is the asked one, drawn to the usual by so many; (m,) how many there are.

    Without `drawn` the mean of none is NaN.
    """
    known, at = np.unique(keys, return_inverse=True)
    if not len(known):
        return np.full(len(asked), usual if drawn else np.nan), np.zeros(len(asked))
    sums, counts = np.bincount(at, values), np.bincount(at).astype(np.float64)
    place = np.minimum(np.searchsorted(known, asked), len(known) - 1)
    hit = known[place] == asked
    total, count = np.where(hit, sums[place], 0.0), np.where(hit, counts[place], 0.0)
    with np.errstate(invalid="ignore"):
        return (total + drawn * usual) / (count + drawn), count


def crossed(left: Ints, right: Ints) -> Ints:
    """(n,) one key for a pair of codes below 2**31."""
    return (left << 31) | right


def keys_of(watches: Watches, items: Items) -> dict[str, Ints]:
    video = watches.video
    return {
        "tab": watches.tab,
        "viewer": watches.viewer,
        "length": items.length[video],
        "tag": items.tag[video],
        "creator": items.creator[video],
        "sound": items.sound[video],
        "video": video,
    }


def effects(watches: Watches, items: Items) -> tuple[dict[str, dict[int, float]], Floats]:
    """What each viewer, video, creator, … adds to the chance of a long view, all others taken off; and what is left.

    A plain mean of a video mistakes lenient viewers for a good video. Here each group's effect is the mean of what the
    others leave, drawn to 0, in turns until nothing moves (backfitting of an additive model).

    Returns:
        Group -> code -> effect; and the (n,) residuals.
    """
    left = watches.long - watches.long.mean()
    known = {name: np.unique(keys, return_inverse=True) for name, keys in keys_of(watches, items).items()}
    found = {name: np.zeros(len(names)) for name, (names, _) in known.items()}
    counts = {name: np.bincount(at) + DRAWN[name] for name, (_, at) in known.items()}
    for _ in range(SWEEPS):
        for name, (_, at) in known.items():
            left += found[name][at]
            found[name] = np.bincount(at, left) / counts[name]
            left -= found[name][at]
    return {
        name: dict(zip(names.tolist(), found[name].tolist(), strict=True)) for name, (names, _) in known.items()
    }, left


def effect_features(past: Watches, asked: Watches, items: Items) -> Columns:
    """Effects as of one moment, for rows that come after it."""
    found, left = effects(past, items)
    before, now = keys_of(past, items), keys_of(asked, items)
    columns: Columns = {
        f"effect_{name}": np.array([found[name].get(code, 0.0) for code in keys.tolist()]) for name, keys in now.items()
    }
    of_item = ("length", "tag", "creator", "sound", "video")
    columns["effect_item"] = np.sum([columns[f"effect_{name}"] for name in of_item], axis=0)
    columns["effect_all"] = columns["effect_item"] + columns["effect_viewer"] + columns["effect_tab"]
    for name in ("viewer", "video", "creator"):
        columns[f"count_{name}"] = shares(before[name], left, now[name])[1]
    for one, other, drawn in (("video", "tab", 20.0), ("length", "tab", 50.0)):
        keys = crossed(before[one], before[other]), crossed(now[one], now[other])
        columns[f"effect_{one}_in_{other}"], _ = shares(keys[0], left, keys[1], drawn)
    return columns


def before_first_day(data: Data) -> Watches:
    """The watches of all histories; whether each was long is told by the list of long ones."""
    viewers, videos, long = [], [], []
    for viewer, (watched, longs, _, _) in data.histories.items():
        viewers.append(np.full(len(watched), viewer))
        videos.append(watched)
        long.append(np.isin(watched, longs))
    video = np.concatenate(videos).astype(np.int64)
    return Watches(
        viewer=np.concatenate(viewers).astype(np.int64),
        video=video,
        long=np.concatenate(long).astype(np.float64),
        tab=np.full(len(video), UNKNOWN_TAB),
    )


def by_day(data: Data, of_day: Callable[[NDArray[np.bool_], NDArray[np.bool_]], Columns]) -> Columns:
    """Make columns day by day: `of_day` gets the rows of the days before, and those it is asked for."""
    made: Columns = {}
    for day in np.unique(data.day):
        asked = data.day == day
        for name, values in of_day(data.day < day, asked).items():
            made.setdefault(name, np.full(len(data.day), np.nan))[asked] = values
    return made


def context_features(data: Data) -> Columns:
    """What is known of the moment. The place in the session counts rows, and none of their outcomes."""
    order = np.lexsort((data.time_s, data.viewer))
    viewer, time_s = data.viewer[order], data.time_s[order]
    new_viewer = np.r_[True, viewer[1:] != viewer[:-1]]
    away = np.where(new_viewer, np.nan, np.diff(time_s, prepend=time_s[0]))
    starts = np.flatnonzero(new_viewer | (away > SESSION_GAP_S))
    place = np.arange(len(order)) - np.repeat(starts, np.diff(np.r_[starts, len(order)]))
    session, minutes = np.empty(len(order)), np.empty(len(order))
    session[order], minutes[order] = place, away / 60
    return {
        "duration": data.duration_s,
        "hour": data.hour,
        "tab": data.tab,
        "age_days": np.floor((data.time_s - data.items.uploaded_s[data.video]) / DAY_S),  # the hour stands apart
        "session_place": session,
        "minutes_away": minutes,
    }


def plain_features(data: Data, quantile: Floats) -> Columns:
    """Means of the days before, of the viewer and of the video."""

    def of_day(past: NDArray[np.bool_], asked: NDArray[np.bool_]) -> Columns:
        return {
            f"mean_{name}_{label}": shares(keys[past], values[past], keys[asked])[0]
            for name, keys in (("viewer", data.viewer), ("video", data.video))
            for label, values in (("long", data.long), ("quantile", quantile))
        }

    return by_day(data, of_day)


def plain_history(data: Data, history: Watches) -> Columns:
    """The same of the watches before the first day."""
    by_viewer = shares(history.viewer, history.long, data.viewer)
    by_video = shares(history.video, history.long, data.video, 6.0, 0.5)
    longs = {viewer: len(longs) for viewer, (_, longs, _, _) in data.histories.items()}
    long = np.array([longs.get(viewer, np.nan) for viewer in data.viewer.tolist()])
    return {
        "history_viewer_long": by_viewer[0],
        "history_viewer_lists": long / (by_viewer[1] + 2),
        "history_video_long": by_video[0],
        "history_video_count": by_video[1],
    }


def history_features(data: Data, history: Watches) -> Columns:
    """What histories say of a video's creator, sound and tag, of the viewer, and of the two together."""
    items, video = data.items, data.video
    columns: Columns = {}
    for name, of in (("creator", items.creator), ("sound", items.sound), ("tag", items.tag)):
        columns[f"history_{name}_long"], _ = shares(of[history.video], history.long, of[video], 6.0, 0.5)
    likes = np.concatenate([liked for _, _, liked, _ in data.histories.values()])
    shown = shares(history.video, history.long, video)[1]
    columns["history_video_liked"] = (np.bincount(likes, minlength=len(items.ids))[video] + 0.5) / (shown + 20)
    video_long = shares(history.video, history.long, np.arange(len(items.ids)), 6.0, 0.5)[0]
    longs = Watches(
        viewer=np.concatenate([np.full(len(longs), v) for v, (_, longs, _, _) in data.histories.items()]),
        video=np.concatenate([longs for _, longs, _, _ in data.histories.values()]).astype(np.int64),
        long=np.empty(0),
        tab=np.empty(0, np.int64),
    )
    log_s = np.log1p(items.duration_s)
    columns["viewer_above_expected"] = shares(history.viewer, history.long - video_long[history.video], data.viewer)[0]
    columns["viewer_log_duration"] = shares(history.viewer, log_s[history.video], data.viewer)[0]
    columns["viewer_long_log_duration"], count_long = shares(longs.viewer, log_s[longs.video], data.viewer)
    columns["duration_beside_liked"] = np.log1p(data.duration_s) - columns["viewer_long_log_duration"]
    columns["viewer_long_count"] = count_long
    columns["viewer_watched"] = count = shares(history.viewer, history.long, data.viewer)[1]
    for name, of in (("tag", items.tag), ("creator", items.creator)):
        asked = crossed(data.viewer, of[video])
        watched = shares(crossed(history.viewer, of[history.video]), history.long, asked)[1]
        long = shares(crossed(longs.viewer, of[longs.video]), np.zeros(len(longs.video)), asked)[1]
        columns[f"viewer_{name}_watched"], columns[f"viewer_{name}_long"] = (
            watched / (count + 2),
            long / (count_long + 2),
        )
        columns[f"viewer_{name}_rate"] = (long + 1) / (watched + 2)
    last = {}
    for viewer, (watched, long_ones, _, last_s) in data.histories.items():
        hits = np.isin(watched[-15:], long_ones)
        last[viewer] = (hits.mean(), hits[-5:].mean(), last_s)
    told = np.array([last.get(viewer, (np.nan,) * 3) for viewer in data.viewer.tolist()])
    columns["viewer_last_15"], columns["viewer_last_5"] = told[:, 0], told[:, 1]
    columns["days_since_history"] = (data.time_s - told[:, 2]) / DAY_S
    return columns


def collaborative_features(data: Data, history: Watches) -> Columns:
    """Factors and neighbours learnt from the histories alone, so that every row comes after them."""
    catalogue = Catalogue({"none": slice(0, 1)}, ())
    catalogue.put(Entry(video_id=str(row), vector=np.ones(1, np.float32)) for row in range(len(data.items.ids)))
    longs = {viewer: lists[1] for viewer, lists in data.histories.items()}
    likes = {viewer: lists[2] for viewer, lists in data.histories.items()}
    viewers, videos, strengths = [], [], []
    for of, strength in ((longs, 1.0), (likes, 2.0)):
        viewers += [viewer for viewer, rows in of.items() for _ in rows]
        videos += [row for rows in of.values() for row in rows.tolist()]
        strengths += [strength] * (len(videos) - len(strengths))
    trained = collaborative.train(np.array(viewers), np.array(videos).astype(str), np.array(strengths))
    model = Collaborative(trained, catalogue)
    factors = model.vectors(np.arange(len(data.items.ids), dtype=np.intp))
    unit = factors / np.maximum(np.linalg.norm(factors, axis=1, keepdims=True), 1e-9)
    names = ("factors", "like_mean", "like_max", "like_last", "beside_last")
    found = np.full((len(data.video), len(names)), np.nan)
    order = np.argsort(data.viewer, kind="stable")
    for rows in np.split(order, np.flatnonzero(np.diff(data.viewer[order])) + 1):
        viewer = int(data.viewer[rows[0]])
        long = longs.get(viewer, np.empty(0, np.int64))
        if not len(long):
            continue
        folded = model.fold_in(
            [*long.tolist(), *likes[viewer].tolist()], [1.0] * len(long) + [2.0] * len(likes[viewer])
        )
        asked = data.video[rows]
        likeness = unit[asked] @ unit[long].T
        beside = {row for one in long[-LAST:].tolist() for row in model.beside(one, 50).tolist()}
        found[rows, 0] = factors[asked] @ folded
        found[rows, 1], found[rows, 2] = likeness.mean(axis=1), likeness.max(axis=1)
        found[rows, 3] = likeness[:, -5:].mean(axis=1)
        found[rows, 4] = [row in beside for row in asked.tolist()]
    return {f"collaborative_{name}": column for name, column in zip(names, found.T, strict=True)}


# Rankers -------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Ranked:
    """What one ranker says of the test rows."""

    long: Floats
    quantile: Floats
    """Of the watch."""
    seconds: Floats
    """The same, restored."""


def rank_test(
    data: Data, columns: Columns, quantile: D2Q, target: Floats, heads: Sequence[str], base: Floats | None = None
) -> Ranked:
    """Train heads on the rows before the split, and score those from it on.

    Args:
        base: (n,) chance of a long view, up to a scale, that trees start from; its scale is learnt.
    """
    rows = np.stack([columns[name] for name in columns], axis=1).astype(np.float32)
    train, tags = ~data.test, data.items.tag[data.video]
    labels = {"long_view": data.long[train], WATCH: target[train]}
    start = log_odds(base, data.long, train) if base is not None else None
    trained = train_heads(
        rows[train],
        {head: labels[head] for head in heads},
        data.time_s[train],
        tags[train],
        list(columns),
        base=start[train] if start is not None else None,
    )
    said = trained.score(rows[data.test], tags[data.test], start[data.test] if start is not None else None)
    watch = said[:, QUANTILE]
    return Ranked(long=said[:, LONG], quantile=watch, seconds=quantile.seconds(data.duration_s[data.test], watch))


def log_odds(values: Floats, labels: Floats, train: NDArray[np.bool_]) -> Floats:
    """(n,) the values as log-odds of the labels: one slope and one offset, learnt from the rows that train."""
    fitted = Platt.fit(values[train], labels[train], np.full(int(train.sum()), -1))
    slope, offset = fitted.overall
    return slope * values + offset


def above(data: Data, ours: Ranked, theirs: Ranked) -> dict[str, Interval]:
    """How far ours is above theirs, figure by figure, on the same draws of viewers."""
    test = data.test
    label, viewer, watch_s = data.long[test], data.viewer[test], data.watch_s[test]
    statistics = {
        "long_view_auc": lambda one: auc_of(label, one.long),
        "long_view_gauc": lambda one: gauc_of(label, one.long, viewer),
        "xauc": lambda one: xauc_of(watch_s, one.seconds),
    }
    return {
        name: paired_bootstrap(viewer, of(ours), of(theirs), ROUNDS, np.random.default_rng(SEED))
        for name, of in statistics.items()
    }


def figures(data: Data, said: Ranked) -> dict[str, float]:
    test = data.test
    label, duration_s = data.long[test], data.duration_s[test]
    top = np.argsort(-said.quantile, kind="stable")[: len(label) // 10]
    top_long = np.argsort(-said.long, kind="stable")[: len(label) // 10]
    return {
        "long_view_auc": auc(label, said.long),
        "long_view_gauc": gauc(label, said.long, data.viewer[test]),
        "xauc": xauc(data.watch_s[test], said.seconds),
        "top_decile_duration_s": float(duration_s[top].mean()),
        "top_decile_long_view": float(label[top].mean()),
        "top_decile_by_long_view_duration_s": float(duration_s[top_long].mean()),
        "calibration_error": calibration(label, said.long).error,
    }


def by_type(data: Data, said: Ranked) -> list[tuple[str, int, float]]:
    """(tag, rows, GAUC) of the most frequent tags that have a viewer with both outcomes."""
    tags = data.items.tag[data.video][data.test]
    label, viewer = data.long[data.test], data.viewer[data.test]
    names, counts = np.unique(tags, return_counts=True)
    found = []
    for code in names[np.argsort(-counts, kind="stable")][:TYPES].tolist():
        of = tags == code
        value = gauc_of(label[of], said.long[of], viewer[of])(np.ones(int(of.sum())))
        if np.isfinite(value):
            found.append((data.items.tag_names[code], int(of.sum()), value))
    return found


def labels_agree(data: Data) -> dict[str, float]:
    """Where the file's own long views are those of `labels.py`, and how often its watches are the other things."""
    w, d = data.watch_s, data.duration_s
    return {
        "long_view_agrees": float((long_view(w, d) == data.long).mean()),
        "complete": float(complete(w, d).mean()),
        "short_play": float(short_play(w, d).mean()),
    }


def without(columns: Columns, context: str, names: Sequence[str]) -> Columns:
    """The columns that say nothing of a context: its own, those crossed with it, and its part of the sums."""
    words = {"tab": ("tab",), "duration": ("duration", "length")}.get(context, ())
    left = {
        name: column
        for name, column in columns.items()
        if name not in names and not any(word in name.split("_") for word in words)
    }
    gone = {"tab": "effect_tab", "duration": "effect_length"}.get(context)
    if gone is not None:
        left["effect_all"] = left["effect_all"] - columns[gone]
    if gone == "effect_length":
        left["effect_item"] = left["effect_item"] - columns[gone]
    return left


def ablation(data: Data, columns: Columns, context: Columns, quantile: D2Q, target: Floats, ours: Ranked) -> None:
    """Print what each context adds to GAUC, and how sure that is."""
    label, viewer = data.long[data.test], data.viewer[data.test]

    def change(name: str, more: Ranked, less: Ranked) -> None:
        gained = paired_bootstrap(
            viewer,
            gauc_of(label, more.long, viewer),
            gauc_of(label, less.long, viewer),
            ROUNDS,
            np.random.default_rng(SEED),
        )
        print(f"{name:<24}{gained.value:>+9.4f}   [{gained.low:+.4f}, {gained.high:+.4f}]")

    print("\nwhat each context adds to GAUC of long views\n")
    for name, of in CONTEXTS.items():
        if name == "place in the session":
            more = columns | {one: context[one] for one in of}
            change(f"{name} *", rank_test(data, more, quantile, target, ("long_view",), columns["effect_all"]), ours)
        else:
            left = without(columns, name, of)
            change(name, ours, rank_test(data, left, quantile, target, ("long_view",), left["effect_all"]))
    clipped = D2Q.fit(data.duration_s[~data.test], np.minimum(data.watch_s, data.duration_s)[~data.test])
    no_loops = clipped.quantile(data.duration_s, np.minimum(data.watch_s, data.duration_s))
    less = rank_test(data, columns, clipped, no_loops, (WATCH,))
    as_long = Ranked(long=ours.quantile, quantile=ours.quantile, seconds=ours.seconds)
    change("loops (watch head)", as_long, Ranked(long=less.quantile, quantile=less.quantile, seconds=less.seconds))
    print("\n* is left out of ours: here it is added")


def run(asked: argparse.Namespace) -> dict[str, Any]:
    """Do everything, print it, and return what `--json` prints."""
    began = time.monotonic()
    data = read(asked)
    train = ~data.test
    quantile = D2Q.fit(data.duration_s[train], data.watch_s[train])
    target = quantile.quantile(data.duration_s, data.watch_s)
    history, context = before_first_day(data), context_features(data)
    shared = {name: column for name, column in context.items() if name not in SESSION}
    plain = shared | plain_features(data, target)
    plain_more = plain | plain_history(data, history)

    def effects_of_day(past: NDArray[np.bool_], rows: NDArray[np.bool_]) -> Columns:
        known = _together(
            history, Watches(viewer=data.viewer[past], video=data.video[past], long=data.long[past], tab=data.tab[past])
        )
        now = Watches(viewer=data.viewer[rows], video=data.video[rows], long=data.long[rows], tab=data.tab[rows])
        return effect_features(known, now, data.items)

    columns = (
        shared
        | plain_history(data, history)
        | history_features(data, history)
        | collaborative_features(data, history)
        | by_day(data, effects_of_day)
    )
    heads = ("long_view", WATCH)
    said = {
        "plain": rank_test(data, plain, quantile, target, heads),
        "plain + history": rank_test(data, plain_more, quantile, target, heads),
        "ours": rank_test(data, columns, quantile, target, heads, columns["effect_all"]),
    }
    catalogue_s = float(data.items.duration_s[data.items.duration_s > 0].mean())
    measured = {name: figures(data, one) for name, one in said.items()}
    differences = {name: above(data, said["ours"], said[name]) for name in ("plain", "plain + history")}
    passed = measured["ours"]["top_decile_duration_s"] <= catalogue_s and all(
        one[name].low > 0 for one in differences.values() for name in ("long_view_auc", "long_view_gauc")
    )
    for name, value in facts(seed=SEED).items():
        print(f"{name}: {value}")
    print(
        f"{int(train.sum()):,} rows train, {int(data.test.sum()):,} test; {len(data.histories):,} histories of "
        f"{len(history.video):,} watches; {len(columns)} features; all frozen at the split\n"
    )
    print(f"{'':<18}{'AUC':>8}{'GAUC':>8}{'XAUC':>8}{'top decile s':>14}{'long there':>12}{'calibration':>13}")
    for name, one in measured.items():
        print(
            f"{name:<18}{one['long_view_auc']:>8.4f}{one['long_view_gauc']:>8.4f}{one['xauc']:>8.4f}"
            f"{one['top_decile_duration_s']:>14.1f}{one['top_decile_long_view']:>12.3f}{one['calibration_error']:>13.4f}"
        )
    print(f"{'catalogue':<18}{'':>24}{catalogue_s:>14.1f}\n")
    for name, them in differences.items():
        for figure, interval in them.items():
            print(f"ours above {name:<18}{figure:<16}{interval}")
    print(f"\n{'content type':<14}{'rows':>8}{'GAUC':>8}{'plain + history':>18}")
    theirs = {name: value for name, _, value in by_type(data, said["plain + history"])}
    types = by_type(data, said["ours"])
    for name, rows, value in types:
        print(f"{name:<14}{rows:>8,}{value:>8.3f}{theirs[name]:>18.3f}")
    print(f"{'mean of types':<22}{np.mean([v for *_, v in types]):>8.3f}{np.mean(list(theirs.values())):>18.3f}")
    print("\nlabels: " + ", ".join(f"{name} {value:.3f}" for name, value in labels_agree(data).items()))
    if asked.ablate:
        ablation(data, columns, context, quantile, target, said["ours"])
    print(f"\n{time.monotonic() - began:.0f} s; pass: {passed}")
    keys = ("long_view_auc", "long_view_gauc", "xauc", "top_decile_duration_s")
    return {
        **{key: measured["ours"][key] for key in keys},
        "catalogue_duration_s": catalogue_s,
        "pass": bool(passed),
        "plain": measured["plain"],
        "plain_with_history": measured["plain + history"],
        "above": {
            name: {figure: [one.value, one.low, one.high] for figure, one in them.items()}
            for name, them in differences.items()
        },
        "gauc_by_type": {name: value for name, _, value in types},
    }


def _together(one: Watches, other: Watches) -> Watches:
    return Watches(
        **{
            name: np.concatenate([getattr(one, name), getattr(other, name)])
            for name in ("viewer", "video", "long", "tab")
        }
    )


def asked_of(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--train", type=Path, required=True)
    parser.add_argument("--test", type=Path, required=True)
    parser.add_argument("--history", type=Path)
    parser.add_argument("--items", type=Path)
    parser.add_argument("--users", type=Path, help="taken and not read: user features moved nothing")
    parser.add_argument("--until", help="rows before it train, from it on test; such as 2022-04-29T00:00+08:00")
    parser.add_argument("--ablate", action="store_true")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args(arguments)


def main() -> None:
    asked = asked_of()
    with contextlib.redirect_stdout(sys.stderr if asked.json else sys.stdout):
        found = run(asked)
    if asked.json:
        print(json.dumps(found, indent=1))
    sys.exit(0 if found["pass"] else 1)


if __name__ == "__main__":
    main()
