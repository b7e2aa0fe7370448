"""Whether a feed closes in on its viewer: shares of categories and of sensitive videos, and how they change.

A feed that learns from what it served serves more of it. What is counted here are its own pages: as long as a viewer's
categories stay as they were, nothing happens; when they become fewer while one grows, exploration is raised and the
category's cap is lowered, by as much as they have narrowed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recommend.categories import CATEGORIES
from recommend.slate import SlateSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class GuardrailSettings:
    category_share: float = 0.5
    """More than this of one category, among the last `recent` videos, is counted as too much."""
    sensitive_share: float = 0.2
    """More than this of sensitive videos is held back."""
    recent: int = 60
    """The last so many videos are compared with the `before` ones that came before them."""
    before: int = 180
    least: int = 40
    """With fewer videos on either side nothing is said."""
    fallen_to: float = 0.8
    """Narrowing: the effective number of categories is below this share of what it was."""
    grown_by: float = 0.15
    """Narrowing: the share of one category has grown to this much more than the largest was."""
    surely: float = 3.0
    """Narrowing: its growth is so many standard errors. Twelve categories and many pages are looked at."""
    explore_most: float = 3.0
    """What exploration is multiplied with when only one category is left."""
    cap_least: float = 0.5
    """What the category cap is multiplied with then."""

    def __post_init__(self) -> None:
        if not 0 < self.category_share <= 1 or not 0 <= self.sensitive_share <= 1:
            raise ValueError(f"shares lie in 0..1, got {self.category_share} and {self.sensitive_share}")
        if not 1 <= self.least <= min(self.recent, self.before):
            raise ValueError(f"1 <= least <= recent and before, got {self.least}, {self.recent}, {self.before}")
        if self.explore_most < 1 or not 0 < self.cap_least <= 1:
            raise ValueError(f"widening raises exploration and lowers a cap: {self.explore_most}, {self.cap_least}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Exposure:
    """What some videos of a feed are made of."""

    videos: int
    category: int
    """Code of the category that has most; -1: none has any."""
    category_share: float
    sensitive_share: float
    too_much: tuple[str, ...]
    """Of `category` and `sensitive` those beyond their share."""

    def to_json(self) -> dict[str, Any]:
        return {
            "videos": self.videos,
            "category": CATEGORIES[self.category] if self.category >= 0 else None,
            "category_share": round(self.category_share, 4),
            "sensitive_share": round(self.sensitive_share, 4),
            "too_much": list(self.too_much),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Narrowing:
    """How what a viewer was served has changed; effective numbers are e to the entropy."""

    narrowing: bool
    effective_before: float
    effective_recent: float
    category: int
    """Code of the one that grew most; -1: there was too little to say."""
    share_before: float
    share_recent: float

    def to_json(self) -> dict[str, Any]:
        return {
            "narrowing": self.narrowing,
            "effective_before": round(self.effective_before, 2),
            "effective_recent": round(self.effective_recent, 2),
            "category": CATEGORIES[self.category] if self.category >= 0 else None,
            "share_before": round(self.share_before, 4),
            "share_recent": round(self.share_recent, 4),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Widen:
    """Advice to the next page."""

    explore: float = 1.0
    """What the share of exploration is multiplied with, 1 or more."""
    category_cap: float = 1.0
    """What the cap on a category is multiplied with, 1 or less."""

    @property
    def is_needed(self) -> bool:
        return self.explore > 1


def exposure(
    categories: NDArray[np.int32], sensitive: NDArray[np.bool_], settings: GuardrailSettings = GuardrailSettings()
) -> Exposure:
    """Count what videos are made of, served or about to be.

    Args:
        categories: (n,), codes, -1 for none.
        sensitive: (n,), of which their caller said so (`Catalogue.sensitive`).
    """
    if categories.shape != sensitive.shape:
        raise ValueError(f"a category and a word about each: got {categories.shape} and {sensitive.shape}")
    share = _shares(categories)
    most = int(share.argmax()) if share.any() else -1
    category_share = float(share[most]) if most >= 0 else 0.0
    sensitive_share = float(sensitive.mean()) if len(sensitive) else 0.0
    beyond = {
        "category": category_share > settings.category_share,
        "sensitive": sensitive_share > settings.sensitive_share,
    }
    return Exposure(
        videos=len(categories),
        category=most,
        category_share=category_share,
        sensitive_share=sensitive_share,
        too_much=tuple(name for name, is_so in beyond.items() if is_so),
    )


def hold_back_sensitive(
    sensitive: NDArray[np.bool_],
    served_sensitive: NDArray[np.bool_],
    *,
    k: int,
    settings: GuardrailSettings = GuardrailSettings(),
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Part candidates, the better first, so that no choice of `k` of them breaks the share of sensitive ones.

    The share is that of the page together with the last `settings.recent - k` that were served.

    Returns:
        Indices that stay and indices that are held back, both increasing.
    """
    last = served_sensitive[max(0, len(served_sensitive) - max(0, settings.recent - k)) :]
    allowed = int(settings.sensitive_share * (len(last) + k) + 1e-9) - int(last.sum())
    beyond = sensitive & (np.cumsum(sensitive) > max(0, allowed))
    return np.flatnonzero(~beyond), np.flatnonzero(beyond)


def narrowing(
    categories: NDArray[np.int32], times_s: NDArray[np.float64], settings: GuardrailSettings = GuardrailSettings()
) -> Narrowing:
    """Compare the last videos of a viewer with those before them.

    Narrowing is both: the effective number of categories falls, and the share of one grows, by more than chance does.
    Whoever always watched one thing does not narrow, nor does one whose interest only moved.

    Args:
        categories: (n,), codes of videos served or watched; those without any (-1) are left out.
        times_s: (n,), when, in any order.
    """
    if categories.shape != times_s.shape:
        raise ValueError(f"a time a video: got {times_s.shape} for {categories.shape}")
    known = categories[np.argsort(times_s, kind="stable")]
    known = known[known >= 0]
    recent = known[-settings.recent :]
    before = known[: -settings.recent][-settings.before :]
    if min(len(recent), len(before)) < settings.least:
        return Narrowing(
            narrowing=False, effective_before=effective_number(before), effective_recent=effective_number(recent),
            category=-1, share_before=0.0, share_recent=0.0,
        )  # fmt: skip
    was, now = _shares(before), _shares(recent)
    grown = int((now - was).argmax())
    both = (was[grown] * len(before) + now[grown] * len(recent)) / (len(before) + len(recent))
    error = np.sqrt(both * (1 - both) * (1 / len(before) + 1 / len(recent)))
    growth = now[grown] - was.max()  # beyond the largest there was: a taste that moved has as large a one as before
    effective = effective_number(before), effective_number(recent)
    return Narrowing(
        narrowing=bool(
            effective[1] < settings.fallen_to * effective[0]
            and growth >= settings.grown_by
            and growth > settings.surely * error
        ),
        effective_before=effective[0],
        effective_recent=effective[1],
        category=grown,
        share_before=float(was[grown]),
        share_recent=float(now[grown]),
    )


def widen(found: Narrowing, settings: GuardrailSettings = GuardrailSettings()) -> Widen:
    """What the next page should do about it: the more has been lost of what there was, the more.

    None of the categories lost: nothing. All but one: `explore_most` and `cap_least`.
    """
    if not found.narrowing:
        return Widen()
    lost = (found.effective_before - found.effective_recent) / max(found.effective_before - 1, 1e-9)
    lost = float(np.clip(lost, 0.0, 1.0))
    return Widen(explore=1 + (settings.explore_most - 1) * lost, category_cap=1 - (1 - settings.cap_least) * lost)


def tightened(settings: SlateSettings, advice: Widen) -> SlateSettings:
    """Settings of a page with a category cap as advised, 1 at least."""
    return replace(settings, category_cap=max(1, int(settings.category_cap * advice.category_cap)))


def effective_number(categories: NDArray[np.int32]) -> float:
    """e to the entropy: so many equally large categories would be as varied. 0 where there is nothing.

    With (categories present - 1) / 2n added to the entropy, since a few videos look less varied than many of the same
    viewer do. Source: Miller 1955, "Note on the bias of information estimates".

    >>> round(effective_number(np.array([0, 1] * 1000, np.int32)), 2)
    2.0
    """
    share = _shares(categories)
    present = share[share > 0]
    if not len(present):
        return 0.0
    known = int((categories >= 0).sum())
    return float(np.exp(-(present * np.log(present)).sum() + (len(present) - 1) / (2 * known)))


def _shares(categories: NDArray[np.int32]) -> NDArray[np.float64]:
    """(categories,) share of each among those that have one."""
    known = categories[categories >= 0]
    return np.bincount(known, minlength=len(CATEGORIES)) / max(1, len(known))
