"""Train: from the behaviour log to a ranker, a collaborative model and a report of what they are worth.

The log is replayed in its order. A page is a question that was asked in the state before it: its rows are made there,
by the function that serves, and then the page and what came of it are folded in. What came of a row is what the events
say that carry its `impression_id`; a place that never came on the screen has no label and makes no row. What was seen
in a feed that somebody else made, before there was ours, makes rows too, by viewer and video.

No account teaches more than its share: a row counts for what its viewer's word counted when it was made
(`recommend/trust.py`), and all of one viewer's for so much at most (`capped`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index.records import Event, Impression
from recommend import collaborative, rank
from recommend.appraise import HeldOut
from recommend.catalogue import UNKNOWN, Catalogue
from recommend.counts import Counts
from recommend.evaluate import auc, calibration, gauc
from recommend.faults import Leak, TooLittle
from recommend.features import CONTEXT, FEATURE_NAMES, features
from recommend.labels import D2Q, complete, long_view, row_weights, short_play
from recommend.memory import READ_AT_ONCE, Log, Memory, Record
from recommend.pipeline import Context
from recommend.rank import HEADS, WATCH, Heads, Ranker, train_heads
from recommend.state import LONG_VIEWED, ON_SCREEN, SHORT_PLAYED, STRENGTHS, Viewer

HELD_OUT = 0.2
"""The last part of the rows, in time, that the report's figures are of."""
MATURES_S = 3_600.0
"""Rows of the log's last hour wait: what comes of them is still on its way."""
AUDITED = 5_000
"""Rows that the guard looks at twice: a leak shows in each of them."""
ALONE_MAX = 0.95
"""AUC of long views that no single honest feature reaches; the best on KuaiRand-Pure has .70."""
DROP_MAX = 0.1
"""AUC that a feature may lose when it is taken one event earlier."""
ROWS_MIN = 500
SHARE_MAX = 0.01
"""Of all that is learned from, so much may come from one viewer, ..."""
TIMES_MAX = 4.0
"""... or so many times what comes from a middling one, where viewers are few."""
TIRELESS = "of accounts that do far more than accounts do"

Floats = NDArray[np.float64]
Features = Callable[[Viewer, NDArray[np.intp], Catalogue, Counts, Context], NDArray[np.float32]]


@dataclass(slots=True)
class _Outcome:
    """What came of a row, as far as the log tells."""

    of: tuple[str, str]
    """Viewer and video."""
    seen: bool = False
    watch_s: float = 0.0
    kinds: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rows:
    """What heads are trained on: a row a place that came on the screen."""

    features: NDArray[np.float32]  # (n, F)
    earlier: NDArray[np.float32]  # (a, F), of the first rows, taken one event of the viewer earlier
    viewers: NDArray[np.int64]  # (n,) numbers
    places: NDArray[np.intp]  # (n,)
    categories: NDArray[np.int32]  # (n,)
    times_s: Floats  # (n,)
    duration_s: Floats  # (n,)
    watch_s: Floats  # (n,)
    labels: Mapping[str, Floats]
    """Head -> (n,) 0 or 1; `watch` is learnt by `D2Q` from the others."""
    disliked: NDArray[np.bool_]  # (n,), said aloud
    trusted: Floats  # (n,) 0..1, what the word of each viewer counted for at that moment
    left_out: Mapping[str, int]
    """Why impressions made no row -> how many."""

    def __len__(self) -> int:
        return len(self.features)


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadReport:
    positives: int
    """Among all rows; of `watch`, rows."""
    auc: float | None = None
    """Of the held-out rows, like the next two. None: it was left out, or the held-out rows are of one class."""
    gauc: float | None = None
    calibration_error: float | None = None
    missing: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What training found, for people."""

    rows: int
    held_out: int
    left_out: Mapping[str, int]
    heads: Mapping[str, HeadReport]
    gauc_by_type: Mapping[str, float]
    """Of long views, by content type: so that the most frequent type does not hide the others."""
    without: Mapping[str, float]
    """Context -> GAUC of long views that is lost without its features; empty unless asked for."""
    digest: str

    def lines(self) -> list[str]:
        """The report as a terminal shows it."""
        left_out = ", ".join(f"{count:,} {reason}" for reason, count in sorted(self.left_out.items())) or "none"
        lines = [f"{self.rows:,} rows ({self.held_out:,} held out, the last in time); left out: {left_out}", ""]
        lines.append(f"{'head':<10}{'positives':>11}{'AUC':>8}{'GAUC':>8}{'calibration error':>20}")
        for head, one in self.heads.items():
            figures = f"{_shown(one.auc):>8}{_shown(one.gauc):>8}{_shown(one.calibration_error):>20}"
            lines.append(f"{head:<10}{one.positives:>11,}" + (f"  left out: {one.missing}" if one.missing else figures))
        if self.gauc_by_type:
            lines += ["", "GAUC of long views by content type:"]
            lines += [f"  {name:<12}{value:>7.3f}" for name, value in self.gauc_by_type.items()]
        if self.without:
            lines += ["", "what each context adds to GAUC:"]
            lines += [f"  {name:<22}{value:>+8.4f}" for name, value in self.without.items()]
        return [*lines, "", f"ranker {self.digest}"]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Training:
    ranker: Ranker
    collaborative: collaborative.Trained
    report: Report


def train(
    log: Log,
    catalogue: Catalogue,
    *,
    until_s: float | None = None,
    threads: int = 1,
    ablate: bool = False,
    make_features: Features = features,
) -> Training:
    """Learn a ranker and a collaborative model from the log.

    Args:
        log: is read, and nothing is written to it.
        catalogue: knows the videos; impressions of others make no row.
        until_s: go by what happened before this moment only; None: by everything.
        ablate: also train without each context, to say what it adds.
        make_features: that rows are made with.

    Raises:
        TooLittle: too few rows, or no head that could be trained.
        Leak: a feature knows what came of its own row.
    """
    made, watched = replay(log, catalogue, until_s=until_s, make_features=make_features)
    rows = weighed(made)
    if len(rows) < ROWS_MIN:
        left_out = ", ".join(f"{count} {reason}" for reason, count in sorted(rows.left_out.items()))
        raise TooLittle(f"{len(rows)} rows, {ROWS_MIN} are wanted; left out: {left_out or 'none'}")
    audited = len(made.earlier)
    found = leaks(made.features[:audited], made.earlier, made.labels["long_view"][:audited], FEATURE_NAMES)
    if found:
        raise Leak("; ".join(f"{name}: {why}" for name, why in found.items()))
    test = rows.times_s >= np.quantile(rows.times_s, 1 - HELD_OUT, method="higher")
    measured, quantile = _trained(rows, ~test, threads)
    if not measured.models:
        raise TooLittle("; ".join(f"{head}: {why}" for head, why in measured.missing.items()))
    final, _ = _trained(rows, np.ones(len(rows), bool), threads)
    if "long_view" in final.missing:  # what explores, and what is told to people, goes by it
        raise TooLittle(f"long_view: {final.missing['long_view']}")
    ranker = Ranker(final)
    return Training(
        ranker=ranker,
        collaborative=collaborative.train(*watched),
        report=_report(rows, test, measured, quantile, final, ranker.digest, catalogue, ablate, threads),
    )


def held_out(log: Log, catalogue: Catalogue, *, threads: int = 1) -> HeldOut:
    """Grow heads on the earlier rows of a log, and ask them about the last ones.

    Raises:
        TooLittle: too few rows, or no head that could be trained.
    """
    rows = weighed(replay(log, catalogue)[0])
    if len(rows) < ROWS_MIN:
        raise TooLittle(f"{len(rows)} rows, {ROWS_MIN} are wanted")
    test = rows.times_s >= np.quantile(rows.times_s, 1 - HELD_OUT, method="higher")
    measured, quantile = _trained(rows, ~test, threads)
    said = measured.score(rows.features[test], rows.categories[test])
    return HeldOut(
        viewers=rows.viewers[test],
        categories=rows.categories[test],
        shown=np.expm1(rows.features[test, FEATURE_NAMES.index("video_shown")].astype(np.float64)),
        duration_s=rows.duration_s[test],
        watch_s=rows.watch_s[test],
        labels={head: label[test] for head, label in rows.labels.items()},
        said={head: said[:, i] for i, head in enumerate(HEADS) if head in measured.models},
        quantile=quantile.quantile(rows.duration_s[test], rows.watch_s[test]),
    )


# Rows ----------------------------------------------------------------------------------------------------------------


class _Apart:
    """The log as the fold needs it, with snapshots of its own: those of the past must not take the place of today's."""

    def __init__(self, log: Log, until_s: float | None) -> None:
        self._log, self._until_s = log, until_s
        self._states: dict[str, tuple[int, bytes]] = {}

    def after(self, seq: int, limit: int) -> list[tuple[int, Record]]:
        return self._log.after(seq, limit)

    def of_viewer(self, viewer_id: str, after: int = 0) -> list[tuple[int, Record]]:
        records = self._log.of_viewer(viewer_id, after)
        return [one for one in records if self._until_s is None or one[1].time_s < self._until_s]

    def state_of(self, viewer_id: str) -> tuple[int, bytes] | None:
        return self._states.get(viewer_id)

    def keep_states(self, states: Sequence[tuple[str, int, bytes]]) -> None:
        self._states.update({viewer_id: (seq, body) for viewer_id, seq, body in states})


def replay(
    log: Log, catalogue: Catalogue, *, until_s: float | None = None, make_features: Features = features
) -> tuple[Rows, tuple[NDArray[Any], NDArray[Any], Floats]]:
    """Make the rows of a log, and what collaborative training wants: viewers, video ids, strengths by trust."""
    memory = Memory(_Apart(log, until_s), catalogue)
    behind = _Behind(catalogue)
    rows: list[NDArray[np.float32]] = []
    earlier: list[NDArray[np.float32]] = []
    served: list[Impression] = []
    trusted: list[float] = []
    outcomes: dict[str, _Outcome] = {}
    watched: list[tuple[str, str, float]] = []
    left_out: Counter[str] = Counter()
    last_s = 0.0
    ours = {record.impression_id for _, record in whole(log) if isinstance(record, Impression)}
    met: dict[tuple[str, str], str] = {}
    for group in _pages(log, until_s):
        page = [record for _, record in group if isinstance(record, Impression)] or _elsewhere(group, ours, met)
        known = [one for one in page if catalogue.place_of(one.video_id) != UNKNOWN]
        left_out["of unknown videos"] += len(page) - len(known)
        last_s = max(last_s, *(record.time_s for _, record in group))
        if known:
            places = np.array([catalogue.place_of(one.video_id) for one in known], dtype=np.intp)
            context = Context(now_s=known[0].time_s, session_id=known[0].session_id)
            viewer = memory.viewer(known[0].viewer_id)
            rows.append(make_features(viewer, places, catalogue, memory.counts, context))
            trusted += len(known) * [memory.trust_in(viewer)]
            if len(served) < AUDITED:
                before = behind.memory.viewer(known[0].viewer_id)
                earlier.append(make_features(before, places, catalogue, behind.memory.counts, context))
            served += known
            outcomes |= {one.impression_id: _Outcome((one.viewer_id, one.video_id)) for one in known}
            met |= {
                (one.viewer_id, one.video_id): "" if one.impression_id in ours else one.impression_id for one in known
            }
        for _, record in group:
            if isinstance(record, Event):
                _note(record, outcomes, met)
                strength = _strength(record, catalogue)
                if strength and record.video_id is not None:
                    strength *= memory.trust_in(memory.viewer(record.viewer_id))
                if strength and record.video_id is not None:
                    watched.append((record.viewer_id, record.video_id, strength))
        memory.fold(group)
        if len(served) < AUDITED:
            behind.fold(group)
    made = _rows(rows, earlier, served, outcomes, np.array(trusted), left_out, last_s, catalogue)
    names, videos, said = zip(*watched, strict=True) if watched else ((), (), ())
    strengths = np.array(said, np.float64)
    shares = capped(np.unique(names, return_inverse=True)[1], np.abs(strengths)) / np.maximum(np.abs(strengths), 1e-12)
    return made, (np.array(names, np.str_), np.array(videos, np.str_), strengths * shares)


def weighed(rows: Rows, seed: int = 1) -> Rows:
    """The rows that heads learn from and are measured on: each stays with the chance that its viewer's word counts for.

    Drawn and not weighed, so that trees, calibration, distributions of watches and figures go by the same rows.
    """
    chances = capped(rows.viewers, rows.trusted)
    stay = np.random.default_rng(seed).random(len(rows)) < chances
    return replace(
        rows,
        features=rows.features[stay],
        earlier=rows.earlier[stay[: len(rows.earlier)]],
        viewers=rows.viewers[stay],
        places=rows.places[stay],
        categories=rows.categories[stay],
        times_s=rows.times_s[stay],
        duration_s=rows.duration_s[stay],
        watch_s=rows.watch_s[stay],
        labels={head: label[stay] for head, label in rows.labels.items()},
        disliked=rows.disliked[stay],
        trusted=rows.trusted[stay],
        left_out={**rows.left_out} | ({} if stay.all() else {TIRELESS: int((~stay).sum())}),
    )


def capped(viewers: NDArray[np.int64], weights: Floats) -> Floats:
    """(n,) weights of rows, those of one viewer scaled down until their sum is no more than he may say.

    That is `SHARE_MAX` of all, or `TIMES_MAX` times the median viewer's sum where that is more.

    >>> capped(np.array([0, 1, 2, 2, 2, 2, 2, 2, 2, 2]), np.ones(10))[[0, 2]].tolist()
    [1.0, 0.5]
    """
    if not weights.any():
        return weights
    sums = np.bincount(viewers, weights)
    most = max(SHARE_MAX * float(sums.sum()), TIMES_MAX * float(np.median(sums[sums > 0])))
    return np.asarray(weights * np.minimum(1.0, most / np.maximum(sums, 1e-12))[viewers])


def _pages(log: Log, until_s: float | None) -> Iterator[list[tuple[int, Record]]]:
    """The records in their order: impressions of one page that follow each other together, anything else alone."""
    page: list[tuple[int, Record]] = []
    for seq, record in whole(log):
        if until_s is not None and record.time_s >= until_s:
            continue
        slate = record.slate_id if isinstance(record, Impression) else None
        first = page[0][1] if page else None
        if isinstance(first, Impression) and first.slate_id != slate:
            yield page
            page = []
        if slate is None:
            yield [(seq, record)]
        else:
            page.append((seq, record))
    if page:
        yield page


def whole(log: Log) -> Iterator[tuple[int, Record]]:
    """All records of a log, in their order."""
    seq = 0
    while records := log.after(seq, READ_AT_ONCE):
        yield from records
        seq = records[-1][0]


class _Behind:
    """The state that lacks the last record of every viewer: what was known one event earlier."""

    def __init__(self, catalogue: Catalogue) -> None:
        self.memory = Memory(_Nothing(), catalogue, viewers=10 * AUDITED)  # holds all: nothing is read again
        self._last: dict[str, tuple[int, Record]] = {}

    def fold(self, records: Sequence[tuple[int, Record]]) -> None:
        for seq, record in records:
            before = self._last.get(record.viewer_id)
            if before is not None:
                self.memory.fold([before])
            self._last[record.viewer_id] = (seq, record)


class _Nothing:
    """An empty log."""

    def after(self, seq: int, limit: int) -> list[tuple[int, Record]]:
        return []

    def of_viewer(self, viewer_id: str, after: int = 0) -> list[tuple[int, Record]]:
        return []

    def state_of(self, viewer_id: str) -> tuple[int, bytes] | None:
        return None

    def keep_states(self, states: Sequence[tuple[str, int, bytes]]) -> None:
        return None


def _elsewhere(
    group: Sequence[tuple[int, Record]], ours: Set[str], met: Mapping[tuple[str, str], str]
) -> list[Impression]:
    """A place in a feed that somebody else made, such as the app's before ours: it is a row too, at its first event.

    An event that names a place of ours is not of such a one, even where the log took it in before its page.
    """
    event = group[0][1]
    if not isinstance(event, Event) or event.video_id is None or event.surface != "feed":
        return []
    if event.kind not in ON_SCREEN or (event.impression_id or "") in ours:
        return []
    if (event.viewer_id, event.video_id) in met:
        return []
    return [
        Impression(
            impression_id=event.impression_id or f"event {event.event_id}",
            slate_id=f"event {event.event_id}",
            viewer_id=event.viewer_id,
            video_id=event.video_id,
            time_s=event.time_s,
            session_id=event.session_id,
            position=0,
            source="elsewhere",
            slot="rank",
            propensity=1.0,
            score=0.0,
        )
    ]


def _note(event: Event, outcomes: Mapping[str, _Outcome], met: Mapping[tuple[str, str], str]) -> None:
    """Write down what an event says of the row that it belongs to: by its place, or in a feed that was not ours by
    viewer and video."""
    place = event.impression_id or ""
    outcome = outcomes.get(place if place in outcomes else met.get((event.viewer_id, event.video_id or ""), ""))
    if outcome is None or (event.viewer_id, event.video_id) != outcome.of:
        return  # of no row, or naming somebody else's
    if event.kind in ON_SCREEN:
        outcome.seen = True
    if event.kind in ("view", "skip"):
        outcome.watch_s += event.watch_s
    if event.kind in ("unlike", "unfollow"):
        outcome.kinds.discard(event.kind.removeprefix("un"))
    else:
        outcome.kinds.add(event.kind)


def _strength(event: Event, catalogue: Catalogue) -> float:
    """How much an event says about what its viewer likes; see `state.STRENGTHS`."""
    place = catalogue.place_of(event.video_id)
    if place == UNKNOWN:
        return 0.0
    if event.kind != "view":
        return STRENGTHS.get(event.kind, 0.0)
    duration_s = float(catalogue.duration_s[place])
    if short_play(event.watch_s, duration_s):
        return SHORT_PLAYED
    return LONG_VIEWED if long_view(event.watch_s, duration_s) else 0.0


def _rows(
    rows: Sequence[NDArray[np.float32]],
    earlier: Sequence[NDArray[np.float32]],
    served: Sequence[Impression],
    outcomes: Mapping[str, _Outcome],
    trusted: Floats,
    left_out: Counter[str],
    last_s: float,
    catalogue: Catalogue,
) -> Rows:
    came = [outcomes[one.impression_id] for one in served]
    ripe = np.array([one.time_s <= last_s - MATURES_S for one in served], dtype=bool)
    seen = np.array([one.seen for one in came], dtype=bool)
    left_out["not seen"] += int((ripe & ~seen).sum())
    left_out["of the last hour"] += int((~ripe).sum())
    long_enough = np.array([catalogue.duration_s[catalogue.place_of(one.video_id)] > 0 for one in served], dtype=bool)
    left_out["of no length"] += int((ripe & seen & ~long_enough).sum())
    kept = [int(i) for i in np.flatnonzero(ripe & seen & long_enough)]
    table = np.concatenate(rows) if rows else np.empty((0, len(FEATURE_NAMES)), np.float32)
    before = np.concatenate(earlier) if earlier else table[:0]
    places = np.array([catalogue.place_of(served[i].video_id) for i in kept], dtype=np.intp)
    watch_s = np.array([came[i].watch_s for i in kept], dtype=np.float64)
    duration_s = catalogue.duration_s[places].astype(np.float64)
    said = {kind: np.array([kind in came[i].kinds for i in kept], dtype=bool) for kind in _ALOUD}
    disliked = said["not_interested"] | said["report"]
    labels = {
        "long_view": long_view(watch_s, duration_s) & (watch_s > 0),
        "complete": complete(watch_s, duration_s) & (watch_s > 0),
        "like": said["like"],
        "share": said["share"],
        "follow": said["follow"],
        "negative": short_play(watch_s, duration_s) | disliked,
    }
    return Rows(
        features=table[kept],
        earlier=before[[i for i in kept if i < len(before)]],
        viewers=np.unique([served[i].viewer_id for i in kept], return_inverse=True)[1].astype(np.int64),
        places=places,
        categories=catalogue.category[places],
        times_s=np.array([served[i].time_s for i in kept], dtype=np.float64),
        duration_s=duration_s,
        watch_s=watch_s,
        labels={head: label.astype(np.float64) for head, label in labels.items()},
        disliked=disliked,
        trusted=trusted[kept],
        left_out={reason: count for reason, count in left_out.items() if count},
    )


_ALOUD = ("like", "share", "follow", "not_interested", "report")


# The guard -----------------------------------------------------------------------------------------------------------


def leaks(
    rows: NDArray[np.float32], earlier: NDArray[np.float32], labels: Floats, names: Sequence[str]
) -> dict[str, str]:
    """Find features that know what came of their own row.

    Two signs: a feature that tells long views alone nearly without fault (`ALONE_MAX`), and one that is worth much more
    than the same feature taken one event of the viewer earlier (`DROP_MAX`), as a count is that has the row's own
    outcome in it. What it does not catch: a weak leak, below both thresholds, and a feature made of the whole log's
    totals whose own row is one among thousands; against those stands that rows are made while the log is replayed.

    Args:
        rows: (n, F) as they would be trained on.
        earlier: (n, F) the same, taken one event earlier.
        labels: (n,) 0 or 1.

    Returns:
        Feature -> why; empty: nothing was found. Too few positives or negatives show nothing.
    """
    if rows.shape != earlier.shape or len(rows) != len(labels):
        raise ValueError(f"the same rows twice, and their labels: got {rows.shape}, {earlier.shape}, {len(labels)}")
    found: dict[str, str] = {}
    if min((labels == 1).sum(), (labels == 0).sum()) < rank.POSITIVES_MIN:
        return found
    for i, name in enumerate(names):
        now, before = _alone(labels, rows[:, i]), _alone(labels, earlier[:, i])
        if now > ALONE_MAX:
            found[name] = f"it alone has an AUC of {now:.3f}"
        elif now - before > DROP_MAX:
            found[name] = f"AUC {now:.3f}, and {before:.3f} one event earlier"
    return found


def _alone(labels: Floats, values: NDArray[np.float32]) -> float:
    """AUC of one feature, whichever way it points."""
    one = auc(labels, np.nan_to_num(values.astype(np.float64), nan=-1.0))
    return max(one, 1 - one)


# Heads and their report ----------------------------------------------------------------------------------------------


def _trained(rows: Rows, of: NDArray[np.bool_], threads: int, without: Sequence[str] = ()) -> tuple[Heads, D2Q]:
    """Heads of some rows, and the durations' distributions of the same."""
    quantile = D2Q.fit(rows.duration_s[of], rows.watch_s[of])
    labels = {head: label[of] for head, label in rows.labels.items()}
    labels[WATCH] = quantile.quantile(rows.duration_s[of], rows.watch_s[of])
    table = rows.features[of].copy()
    table[:, [FEATURE_NAMES.index(name) for name in without]] = 0.0
    wanted = ("long_view",) if without else HEADS
    heads = train_heads(
        table,
        {head: labels[head] for head in wanted},
        rows.times_s[of],
        rows.categories[of],
        FEATURE_NAMES,
        weights=row_weights(rows.disliked[of]),
        threads=threads,
    )
    return heads, quantile


def _report(
    rows: Rows,
    test: NDArray[np.bool_],
    measured: Heads,
    quantile: D2Q,
    final: Heads,
    digest: str,
    catalogue: Catalogue,
    ablate: bool,
    threads: int,
) -> Report:
    said = measured.score(rows.features[test], rows.categories[test])
    labels = {head: label[test] for head, label in rows.labels.items()}
    viewers, long = rows.viewers[test], HEADS.index("long_view")
    by_type = {
        catalogue.categories[code] if code >= 0 else "none": _gauc(labels["long_view"], said[:, long], viewers, where)
        for code in np.unique(rows.categories[test]).tolist()
        for where in (rows.categories[test] == code,)
    }
    whole = _gauc(labels["long_view"], said[:, long], viewers)
    without = {}
    for name, names in CONTEXT.items() if ablate and whole is not None else ():
        less = _trained(rows, ~test, threads, names)[0].score(rows.features[test], rows.categories[test])
        left = _gauc(labels["long_view"], less[:, long], viewers)
        if whole is not None and left is not None:
            without[name] = whole - left
    return Report(
        rows=len(rows),
        held_out=int(test.sum()),
        left_out=rows.left_out,
        heads={head: _head(head, said[:, i], labels, viewers, rows, measured, final) for i, head in enumerate(HEADS)},
        gauc_by_type={name: value for name, value in by_type.items() if value is not None},
        without=without,
        digest=digest,
    )


def _head(
    head: str,
    said: Floats,
    labels: Mapping[str, Floats],
    viewers: NDArray[np.int64],
    rows: Rows,
    measured: Heads,
    final: Heads,
) -> HeadReport:
    """Figures of one head; those of `watch` say how well it tells long views, which it was not trained on."""
    positives = len(rows) if head == WATCH else int(rows.labels[head].sum())
    if head in final.missing:
        return HeadReport(positives=positives, missing=final.missing[head])
    label = labels["long_view" if head == WATCH else head]
    if head in measured.missing or len(np.unique(label)) < 2:
        return HeadReport(positives=positives)
    error = None if head == WATCH else calibration(label, np.clip(said, 0, 1)).error
    return HeadReport(
        positives=positives, auc=auc(label, said), gauc=_gauc(label, said, viewers), calibration_error=error
    )


def _gauc(
    labels: Floats, said: Floats, viewers: NDArray[np.int64], where: NDArray[np.bool_] | None = None
) -> float | None:
    """GAUC of some rows; None: no viewer has rows of both classes."""
    if where is not None:
        labels, said, viewers = labels[where], said[where], viewers[where]
    sums = np.bincount(viewers, labels), np.bincount(viewers)
    return gauc(labels, said, viewers) if ((sums[0] > 0) & (sums[0] < sums[1])).any() else None


def _shown(value: float | None) -> str:
    return "—" if value is None else f"{value:.4f}"
