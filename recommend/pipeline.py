"""The feed, in one function. Read it from the top: it is the whole story.

sources ─► filters ─► rank ─► explore ─► slate
≤ 1,000    what may    ≤ 250    places for    a page that does not
by quota   be shown    scored   the unknown   repeat itself
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from index.records import Impression
from recommend import explore, filters, guardrails, slate, sources
from recommend.boards import Boards
from recommend.catalogue import UNKNOWN, Catalogue
from recommend.counts import Counts
from recommend.filters import Filtered, Rules
from recommend.pool import Pool
from recommend.sources import Candidates, Collaborative
from recommend.state import Viewer
from recommend.why import Strongest

PRUNED = 250
"""So many go on to the heads: with their features, some 2 ms on one core."""
LAST_SERVED = 20
"""So many of the last served are in the kernel of the slate, and count for its caps."""
GUARANTEED = 12
"""So many of each source go on to the heads, however their quality and likeness look."""
FRESH_SHARE = 0.35
"""Of the slots, those that a new video gets where one may be shown; the others explore. `bench/simulate.py --tune`:
with all of the slots 2.8 % of the long views are lost, with .35 of them .5 %, and nearly as many good ones found."""
FAIR_THROWS = 4_096
"""Throws of the fair die that are made at once; where there are more videos than `COUNTED`, they also tell how many of
those may be shown."""
COUNTED = 50_000
ANY = 40
"""Where sources name too few, so many videos a place are drawn from all."""
DIALLED = 1.5
"""What a target that a viewer wants more of adds to relevance, and less of takes from it, in standard deviations among
the candidates: it reorders, and filters nothing."""

TIRED = 1.0
"""What complete fatigue takes from relevance, in the same unit."""


class Ranker(Protocol):
    """What is needed of `recommend/rank.py`."""

    @property
    def digest(self) -> str: ...
    def score(
        self, viewer: Viewer, places: NDArray[np.intp], catalogue: Catalogue, counts: Counts, now: Context
    ) -> Scored: ...
    def explain(
        self, viewer: Viewer, place: int, catalogue: Catalogue, counts: Counts, context: Context
    ) -> list[Strongest]: ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Scored:
    """What the heads say of some candidates."""

    heads: Mapping[str, NDArray[np.float64]]
    """Head -> (m,), probabilities, of `watch` a quantile."""
    value: NDArray[np.float64]  # (m,), what a place is worth with this video

    def take(self, at: NDArray[np.intp]) -> Scored:
        return Scored(heads={name: head[at] for name, head in self.heads.items()}, value=self.value[at])


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """When and where a page is asked for."""

    now_s: float
    """Seconds since 1970, UTC."""
    session_id: str = ""
    surface: str = "feed"
    languages: tuple[str, ...] = ()
    """That the viewer reads; none: any."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Known:
    """Everything that a page is made of besides its viewer, as of one moment."""

    catalogue: Catalogue
    counts: Counts
    boards: Boards
    pool: Pool
    ranker: Ranker
    collaborative: Collaborative | None = None
    seq: int = 0
    """Place in the log that it stands for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Guarded:
    """What the guardrails find in what a viewer was served, and what they advise."""

    exposure: guardrails.Exposure
    narrowing: guardrails.Narrowing
    advice: guardrails.Widen

    def to_json(self) -> dict[str, Any]:
        widened = {"explore": round(self.advice.explore, 3), "category_cap": round(self.advice.category_cap, 3)}
        return {"exposure": self.exposure.to_json(), "narrowing": self.narrowing.to_json(), "widened": widened}


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A video in its place on a page, and everything that put it there."""

    video_id: str
    position: int
    slot: str
    source: str
    because: str | None
    """A video that he watched and this one follows from."""
    score: float
    propensity: float
    heads: Mapping[str, float]
    novel_in: str | None = None
    """Of an `explore` slot: which part of the video is new to him."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    slate_id: str
    viewer_id: str
    made_s: float
    session_id: str
    videos: tuple[Placed, ...]
    removed: Mapping[str, int]
    """Filter -> how many candidates it took."""
    held_back: Mapping[str, int]
    """Cap of the slate, or `sensitive` -> how many."""
    relaxed: tuple[str, ...]
    """Caps that were let go, since too little was left."""
    candidates: Mapping[str, int]
    """Source -> how many it named."""
    guardrails: Mapping[str, Any]
    ranker: str
    seq: int

    def impressions(self) -> list[Impression]:
        """What is written down of it."""
        return [
            Impression(
                impression_id=f"{self.slate_id}-{one.position}",
                slate_id=self.slate_id,
                viewer_id=self.viewer_id,
                video_id=one.video_id,
                time_s=self.made_s,
                session_id=self.session_id,
                position=one.position,
                source=one.source,
                slot=one.slot,
                propensity=one.propensity,
                score=one.score,
                reasons={"because": one.because, "ranker": self.ranker},
            )
            for one in self.videos
        ]


def feed(viewer: Viewer, known: Known, context: Context, *, k: int = 20) -> Page:
    """Make a page for a viewer. The same viewer, knowledge and context give the same page.

    Args:
        k: places, >= 1. Fewer come only where there are no more videos that may be shown.
    """
    rng, viewer = _rng(viewer, context), viewer.in_session(context.session_id, context.now_s)
    guarded = _guarded(viewer, known.catalogue)
    rules = rules_of(viewer, known.catalogue, context)
    candidates, filtered = _may_be_shown(viewer, known, context, rules, rng, k)
    looks = _first_looks(viewer, known, rules, _slot_places(viewer, guarded, rng, k), rng, k)
    pruned = _pruned(candidates, looks, viewer, known)
    scored = known.ranker.score(viewer, pruned.places, known.catalogue, known.counts, context)
    looks = _explored(pruned, scored, looks, viewer, known, context, rng)
    relevance = _relevance(scored.value, pruned.places, viewer, known, context.now_s)
    bearable = _bearable(pruned, relevance, looks, viewer, known, k)
    held_back = len(pruned) - len(bearable)
    pruned, scored, relevance = pruned.take(bearable), scored.take(bearable), relevance[bearable]
    page = slate.arrange(
        relevance,
        known.catalogue.vectors[pruned.places],
        known.catalogue.creator[pruned.places],
        known.catalogue.sound[pruned.places],
        known.catalogue.category[pruned.places],
        k=k,
        served=_served(viewer, known.catalogue),
        fixed={look.position: look.at(pruned) for look in looks},
        settings=_settings(viewer, guarded),
    )
    return _page(page, pruned, scored, looks, viewer, known, context, candidates, filtered, guarded, held_back)


def _guarded(viewer: Viewer, catalogue: Catalogue) -> Guarded:
    """Look at what he was served: shares of it, and whether it has become narrower."""
    places = np.fromiter(viewer.served, np.intp, len(viewer.served))
    times_s = np.fromiter(viewer.served.values(), np.float64, len(viewer.served))
    recent = places[-guardrails.GuardrailSettings().recent :]
    narrowing = guardrails.narrowing(catalogue.category[places], times_s)
    return Guarded(
        exposure=guardrails.exposure(catalogue.category[recent], catalogue.sensitive[recent]),
        narrowing=narrowing,
        advice=guardrails.widen(narrowing),
    )


# Sources and filters -------------------------------------------------------------------------------------------------


def _rng(viewer: Viewer, context: Context) -> np.random.Generator:
    """Chance that anybody can draw again: of the viewer, what is known of him, and the moment."""
    told = f"{viewer.viewer_id} {viewer.seq} {context.now_s} {context.session_id}"
    return np.random.default_rng(int.from_bytes(hashlib.sha256(told.encode()).digest()[:8], "little"))


def rules_of(viewer: Viewer, catalogue: Catalogue, context: Context) -> Rules:
    """What may not be shown to a viewer now."""
    languages = [catalogue.codes["language"].find(name) for name in context.languages]
    return Rules.of(
        catalogue,
        now_s=context.now_s,
        seen=viewer.seen,
        own_creator=catalogue.codes["creator"].find(viewer.viewer_id),
        blocked_creators=catalogue.codes["creator"].find_all(viewer.blocked),
        hidden=viewer.hidden,
        session=viewer.in_session(context.session_id, context.now_s).session_served,
        languages=languages or None,
    )


def _may_be_shown(
    viewer: Viewer, known: Known, context: Context, rules: Rules, rng: np.random.Generator, k: int
) -> tuple[Candidates, Filtered]:
    """Candidates that may be shown, and what the filters took; where too few stay, what was seen long ago too."""
    asked = sources.Asked(
        viewer=viewer,
        catalogue=known.catalogue,
        boards=known.boards,
        now_s=context.now_s,
        rng=rng,
        collaborative=known.collaborative,
        language=known.catalogue.codes["language"].find(next(iter(context.languages), None)),
    )
    candidates = sources.gather(asked)
    filtered = filters.apply(candidates.places, known.catalogue, rules)
    if len(filtered.kept) < k:  # what no source names may be all that is left unseen
        candidates = sources.with_any(sources.gather(asked, again=True), len(known.catalogue), ANY * k, rng)
        filtered = filters.apply(candidates.places, known.catalogue, rules, want=k)
    return candidates.take(filtered.kept.astype(np.intp)), filtered


# Places for what nobody can know yet ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A place of the page that is not given by rank; `place` is `UNKNOWN` until somebody fills it."""

    position: int
    slot: str
    place: int = UNKNOWN
    propensity: float = 1.0
    novel_in: str | None = None

    def at(self, candidates: Candidates) -> int:
        return int(np.flatnonzero(candidates.places == self.place)[0])


def _slot_places(viewer: Viewer, guarded: Guarded, rng: np.random.Generator, k: int) -> list[int]:
    """Slots of the page: thinned out or thickened by the viewer's dial, and thickened where he narrows."""
    found = explore.positions(k, rng, viewer.skips_in_a_row, viewer.session_place)
    often = (0.5 if viewer.dials.explore is None else viewer.dials.explore) * 2 * guarded.advice.explore
    kept = [place for place in found if rng.random() < often]
    if often > 1:
        more = explore.positions(k, rng, viewer.skips_in_a_row, viewer.session_place)
        kept += [place for place in more if place not in found and rng.random() < often - 1]
    return sorted(kept)


def _first_looks(
    viewer: Viewer, known: Known, rules: Rules, slots: list[int], rng: np.random.Generator, k: int
) -> list[Look]:
    """Fill the places of the fair die, and `FRESH_SHARE` of the slots with new videos; `explore` gets the others."""
    looks = [
        Look(position=place, slot="uniform", place=fair, propensity=propensity)
        for place, (fair, propensity) in _fair(known, rules, rng, k)
    ]
    if not slots:
        return looks
    taken = {look.position for look in looks}
    chosen = {look.place for look in looks}
    eligible: NDArray[np.bool_] | None = None
    for position in slots:
        if position in taken:
            continue
        fresh = None
        if rng.random() < FRESH_SHARE:
            if eligible is None:
                eligible = np.zeros(len(known.pool.places), np.bool_)
                eligible[filters.apply(known.pool.places, known.catalogue, rules).kept] = True
            open_to = eligible & ~np.isin(known.pool.places, list(chosen))
            fresh = explore.choose(known.pool.draws(viewer.segment), open_to, rng)
        if fresh is None:
            looks.append(Look(position=position, slot="explore"))
        else:
            place = int(known.pool.places[fresh.index])
            chosen.add(place)
            looks.append(Look(position=position, slot="fresh", place=place, propensity=fresh.propensity))
    return looks


def _fair(known: Known, rules: Rules, rng: np.random.Generator, k: int) -> list[tuple[int, tuple[int, float]]]:
    """(position, (place, propensity)) of the places that the fair die fills.

    It is thrown until it shows a video that may be shown, so each of those has the same chance: 1 / how many they are.
    They are counted where there are up to `COUNTED` videos, and reckoned from the throws where there are more.
    """
    positions = [position for position, _ in explore.uniform_places(k, len(known.catalogue), rng)]
    if not positions:
        return []
    count = len(known.catalogue)
    thrown = rng.integers(count, size=FAIR_THROWS)
    distinct = np.unique(thrown)
    kept = thrown[np.isin(thrown, distinct[filters.apply(distinct, known.catalogue, rules).kept])]
    if not len(kept):
        return []
    if count <= COUNTED:
        eligible = len(filters.apply(np.arange(count), known.catalogue, rules).kept)
    else:
        eligible = max(1, round(count * len(kept) / len(thrown)))
    places = list(dict.fromkeys(kept.tolist()))[: len(positions)]
    return [(position, (place, 1 / eligible)) for position, place in zip(positions, places, strict=False)]


def _explored(
    candidates: Candidates,
    scored: Scored,
    looks: list[Look],
    viewer: Viewer,
    known: Known,
    context: Context,
    rng: np.random.Generator,
) -> list[Look]:
    """Fill the slots that are left with what is next to his interests; a slot that nothing fits goes to the ranking."""
    if all(look.place != UNKNOWN for look in looks):
        return looks
    novel, part = _novelty(candidates, viewer, known.catalogue)
    eligible = (novel > 0) & ~np.isin(candidates.places, [look.place for look in looks])
    p = scored.heads.get("long_view", np.full(len(candidates), known.boards.average))
    drawn = rng.beta(np.maximum(explore.KAPPA * p, 1e-3), np.maximum(explore.KAPPA * (1 - p), 1e-3))
    negative = scored.heads.get("negative", np.zeros(len(candidates)))
    scores = explore.exploration_scores(drawn, novel, negative)
    found = []
    for look in looks:
        if look.place != UNKNOWN:
            found.append(look)
            continue
        choice = explore.sample(scores, rng, eligible=eligible)
        if choice is not None:
            eligible[choice.index] = False
            found.append(
                replace(
                    look,
                    place=int(candidates.places[choice.index]),
                    propensity=choice.propensity,
                    novel_in=part[choice.index],
                )
            )
    return found


def _novelty(candidates: Candidates, viewer: Viewer, catalogue: Catalogue) -> tuple[NDArray[np.float64], list[str]]:
    """(m,) how adjacent but distinct each is, and in which part: a modality, its creator, or its sound."""
    if not len(viewer.weights) or not len(candidates):
        return np.zeros(len(candidates)), [""] * len(candidates)
    places = candidates.places
    vectors, distance, d0 = catalogue.vectors[places], {}, {}
    for name, part in catalogue.parts.items():
        interests = _unit(viewer.centroids[:, part])
        distance[name] = explore.distances(interests, vectors[:, part])
        d0[name] = explore.home_distance(interests)
    for name, column, known in (
        ("creator", catalogue.creator[places], viewer.creators),
        ("sound_used", catalogue.sound[places], viewer.sounds),
    ):
        distance[name] = np.where(column < 0, np.nan, (~np.isin(column, list(known))).astype(np.float64))
        d0[name] = 1.0
    return explore.novelty_by_part(distance, d0)


def _unit(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of length 1; what is zero stays zero."""
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9), dtype=np.float32)


# Rank ----------------------------------------------------------------------------------------------------------------


def _pruned(candidates: Candidates, looks: list[Look], viewer: Viewer, known: Known) -> Candidates:
    """The candidates that are worth the heads' time, by quality and likeness; first looks among them.

    Each source keeps a share, or what explores would never get as far as to be scored.
    """
    forced = np.array([look.place for look in looks if look.place != UNKNOWN], dtype=np.intp)
    rest = candidates.take(np.flatnonzero(~np.isin(candidates.places, forced)))
    at = np.arange(len(rest))
    if len(rest) > PRUNED - len(forced):
        cheap = _cheap(rest.places, viewer, known)
        order = np.argsort(-cheap, kind="stable")
        in_source = np.empty(len(rest), np.intp)  # how many better ones of its source there are
        for source in np.unique(rest.source):
            of_it = order[rest.source[order] == source]
            in_source[of_it] = np.arange(len(of_it))
        kept = (in_source < GUARANTEED) | (cheap >= cheap[order[PRUNED // 2]])
        at = np.flatnonzero(kept)[np.argsort(-cheap[kept], kind="stable")][: PRUNED - len(forced)]
    fresh = np.full(len(forced), sources.NAMES.index("fresh"), np.int16)
    return Candidates(
        places=np.concatenate([forced, rest.places[at]]),
        source=np.concatenate([fresh, rest.source[at]]),
        because=np.concatenate([np.full(len(forced), UNKNOWN, np.intp), rest.because[at]]),
    )


def _cheap(places: NDArray[np.intp], viewer: Viewer, known: Known) -> NDArray[np.float32]:
    """(m,) quality × how like his interests: what can be said of a thousand in a millisecond."""
    quality = known.boards.quality_at(places)
    if not len(viewer.weights):
        return np.asarray(quality, dtype=np.float32)
    interests = np.vstack([viewer.centroids, _unit(viewer.short[None])])
    likeness = (known.catalogue.vectors[places] @ interests.T).max(axis=1)
    return np.asarray(quality * (1 + 2 * np.maximum(likeness, 0)), dtype=np.float32)


def _relevance(
    value: NDArray[np.float64], places: NDArray[np.intp], viewer: Viewer, known: Known, now_s: float
) -> NDArray[np.float64]:
    """(m,): proven quality for somebody new, value for everybody else; less where he is tired of it, and moved by what
    he asked for."""
    catalogue = known.catalogue
    worth = known.boards.proven_at(places).astype(np.float64) if viewer.is_new else value
    columns = catalogue.creator[places], catalogue.sound[places], catalogue.category[places]
    relevance = slate.robust_scores(worth) - TIRED * viewer.fatigue(*columns, now_s)
    for target, way in viewer.dials.wanted.items():
        relevance = relevance + DIALLED * way * _of_target(target, places, catalogue)
    return relevance


def _of_target(target: str, places: NDArray[np.intp], catalogue: Catalogue) -> NDArray[np.bool_]:
    """(m,) which videos a dial's target means: `category:food`, `creator:ID`, `sound:ID`."""
    kind, _, name = target.partition(":")
    if kind not in ("category", "creator", "sound"):
        return np.zeros(len(places), np.bool_)
    code = catalogue.codes[kind].find(name)
    return np.asarray((getattr(catalogue, kind)[places] == code) & (code != UNKNOWN))


def _bearable(
    candidates: Candidates, relevance: NDArray[np.float64], looks: list[Look], viewer: Viewer, known: Known, k: int
) -> NDArray[np.intp]:
    """Which candidates stay when sensitive ones beyond their share are held back. What a die has chosen stays: its
    chance was drawn before."""
    sensitive = known.catalogue.sensitive
    if not sensitive[candidates.places].any():
        return np.arange(len(candidates))
    order = np.argsort(-relevance, kind="stable")
    served = sensitive[np.fromiter(viewer.served, np.intp, len(viewer.served))]
    stay, _ = guardrails.hold_back_sensitive(sensitive[candidates.places[order]], served, k=k)
    chosen = np.isin(candidates.places, [look.place for look in looks])
    return np.union1d(order[stay], np.flatnonzero(chosen))


# Slate ---------------------------------------------------------------------------------------------------------------


def _served(viewer: Viewer, catalogue: Catalogue) -> slate.Served:
    last = np.fromiter(viewer.served, np.intp, len(viewer.served))[-LAST_SERVED:]
    return slate.Served(
        vectors=catalogue.vectors[last],
        creators=catalogue.creator[last],
        sounds=catalogue.sound[last],
        categories=catalogue.category[last],
    )


def _settings(viewer: Viewer, guarded: Guarded) -> slate.SlateSettings:
    return guardrails.tightened(slate.FIRST_PAGE if viewer.is_new else slate.SlateSettings(), guarded.advice)


def _page(
    page: slate.Slate,
    candidates: Candidates,
    scored: Scored,
    looks: list[Look],
    viewer: Viewer,
    known: Known,
    context: Context,
    named: Candidates,
    filtered: Filtered,
    guarded: Guarded,
    sensitive: int,
) -> Page:
    look_of = {look.place: look for look in looks}
    told = f"{viewer.viewer_id} {viewer.seq} {context.now_s} {context.session_id} {context.languages} {len(page.order)}"
    ids = known.catalogue.video_ids
    placed = []
    for position, at in enumerate(page.order.tolist()):
        look = look_of.get(int(candidates.places[at]))
        because = int(candidates.because[at])
        placed.append(
            Placed(
                video_id=ids[candidates.places[at]],
                position=position,
                slot="rank" if look is None else look.slot,
                source="uniform"
                if look is not None and look.slot == "uniform"
                else sources.NAMES[candidates.source[at]],
                because=ids[because] if because != UNKNOWN else None,
                score=float(scored.value[at]),
                propensity=1 - explore.UNIFORM_SHARE if look is None else look.propensity,
                heads={name: float(head[at]) for name, head in scored.heads.items()},
                novel_in=None if look is None else look.novel_in,
            )
        )
    return Page(
        slate_id=hashlib.sha256(told.encode()).hexdigest()[:24],
        viewer_id=viewer.viewer_id,
        made_s=context.now_s,
        session_id=context.session_id,
        videos=tuple(placed),
        removed=filtered.counts(),
        # no Counter: `asdict` of Python 3.11 makes keys of its pairs
        held_back=dict(Counter(reason for _, reason in page.held_back) + Counter(sensitive=sensitive)),
        relaxed=page.relaxed,
        candidates=named.by_source(),
        guardrails=guarded.to_json(),
        ranker=known.ranker.digest,
        seq=known.seq,
    )


# Why not -------------------------------------------------------------------------------------------------------------


def why_not(video_id: str, viewer: Viewer, known: Known, context: Context, *, k: int = 20) -> str:
    """Say where a video falls out of the page that this viewer would get now."""
    place = known.catalogue.place_of(video_id)
    if place == UNKNOWN:
        return "it is no video of the catalogue: unknown, not analysed yet, or erased"
    rules = rules_of(viewer, known.catalogue, context)
    reason = filters.why_not(place, known.catalogue, rules)
    if reason is not None:
        return f"a filter takes it: {reason}"
    page = feed(viewer, known, context, k=k)
    found = [one for one in page.videos if one.video_id == video_id]
    if found:
        return f"it is on the page, at place {found[0].position + 1}, by {found[0].source} ({found[0].slot})"
    rng = _rng(viewer, context)
    candidates, _ = _may_be_shown(viewer, known, context, rules, rng, k)
    at = np.flatnonzero(candidates.places == place)
    if not len(at):
        return "no source names it: it is like none of his interests, and on no list"
    source = sources.NAMES[candidates.source[at[0]]]
    pruned = _pruned(candidates, [], viewer, known)
    if place not in pruned.places:
        return f"{source} names it, and {len(pruned)} others are better and more like what he watches"
    scored = known.ranker.score(viewer, pruned.places, known.catalogue, known.counts, context)
    value = scored.value[pruned.places == place][0]
    better = int((scored.value > value).sum())
    return f"{source} names it; {better} of {len(pruned)} candidates are worth more, or a cap holds it back"
