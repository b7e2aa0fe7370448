"""A page is what its definition says, keeps its caps over the edges of pages, and is never empty for their sake."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from recommend.categories import CODES, OTHER
from recommend.slate import CAPS, FIRST_PAGE, Served, Slate, SlateSettings, arrange, robust_scores

FREE = SlateSettings(near_identical=2.0, creator_cap=999, sound_cap=999, category_cap=999)
"""No cap at all."""


def unit(rows: NDArray[Any]) -> NDArray[np.float32]:
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def drawn(rng: np.random.Generator, count: int, dim: int = 8, groups: int = 3) -> NDArray[np.float32]:
    """Unit rows around a few centres."""
    return unit(
        rng.standard_normal((groups, dim))[rng.integers(groups, size=count)] + 0.6 * rng.standard_normal((count, dim))
    )


def codes(*values: int) -> NDArray[np.int32]:
    return np.array(values, np.int32)


def none(count: int) -> NDArray[np.int32]:
    return np.full(count, -1, np.int32)


def served(vectors: NDArray[np.float32], **columns: NDArray[np.int32]) -> Served:
    names = ("creators", "sounds", "categories")
    return Served(vectors=vectors, **{name: columns.get(name, none(len(vectors))) for name in names})


def plain(relevance: NDArray[np.float64], vectors: NDArray[np.float32], **more: object) -> Slate:
    """A page of videos without creator, sound or category."""
    nobody = none(len(relevance))
    more = {"served": Served.nothing(vectors.shape[1]), "settings": FREE} | more
    return arrange(relevance, vectors, nobody, nobody, nobody, **more)  # type: ignore[arg-type]


def brute_force(
    relevance: NDArray[np.float64], vectors: NDArray[np.float32], before: NDArray[np.float32], k: int, theta: float
) -> list[int]:
    """The largest log determinant of the whole kernel at every step, with what was served in it."""
    everything = np.concatenate([before, vectors]).astype(np.float64)
    kernel = (1 - FREE.noise) * everything @ everything.T
    np.fill_diagonal(kernel, 1.0)
    quality = np.exp(theta / (2 * (1 - theta)) * np.concatenate([np.zeros(len(before)), robust_scores(relevance)]))
    kernel *= quality[:, None] * quality
    chosen, page = list(range(len(before))), []
    for _ in range(min(k, len(vectors))):
        gains = {
            i: np.linalg.slogdet(kernel[np.ix_([*chosen, len(before) + i], [*chosen, len(before) + i])])[1]
            for i in range(len(vectors))
            if i not in page
        }
        best = max(gains, key=lambda i: gains[i])
        page.append(best)
        chosen.append(len(before) + best)
    return page


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(0, 5), st.integers(1, 8), st.floats(0.05, 0.95))
def test_a_page_is_the_greedy_largest_volume_given_what_was_served(
    seed: int, candidates: int, before: int, k: int, theta: float
) -> None:
    rng = np.random.default_rng(seed)
    relevance, vectors, last = rng.random(candidates), drawn(rng, candidates), drawn(rng, before)
    page = plain(relevance, vectors, k=k, served=served(last), settings=replace(FREE, theta=theta))
    assert page.order.tolist() == brute_force(relevance, vectors, last, k, theta)
    assert page.held_back == []
    assert page.relaxed == ()


def test_two_of_a_kind_make_room_for_another_kind_unless_relevance_is_all_that_counts() -> None:
    vectors = unit(np.array([[1, 0, 0.2], [1, 0, 0.25], [0, 1, 0.0]]))
    relevance = np.array([3.0, 2.0, 1.0])
    assert plain(relevance, vectors, k=3).order.tolist() == [0, 2, 1]
    assert plain(relevance, vectors, k=3, settings=replace(FREE, theta=0.99)).order.tolist() == [0, 1, 2]


def test_what_was_served_just_before_is_not_repeated_on_the_next_page() -> None:
    vectors = unit(np.array([[1, 0, 0.2], [0, 1, 0.0]]))
    relevance = np.array([2.0, 1.0])
    assert plain(relevance, vectors, k=1).order.tolist() == [0]
    assert plain(relevance, vectors, k=1, served=served(unit(np.array([[1, 0, 0.3]])))).order.tolist() == [1]


def test_the_page_does_not_depend_on_the_scale_of_relevance() -> None:
    rng = np.random.default_rng(1)
    relevance, vectors = rng.lognormal(size=40), drawn(rng, 40)
    page = plain(relevance, vectors, k=10).order.tolist()
    assert plain(relevance * 1e-4 + 8, vectors, k=10).order.tolist() == page


def test_an_outlier_changes_nothing_between_the_others() -> None:
    relevance = np.random.default_rng(1).lognormal(size=40)
    best = relevance.argmax()
    outlying = relevance.copy()
    outlying[best] = 1e9
    others = np.arange(40) != best
    assert (robust_scores(outlying)[others] == robust_scores(relevance)[others]).all()
    assert robust_scores(outlying)[best] < 25


def test_equal_relevance_counts_as_equal() -> None:
    assert robust_scores(np.full(5, 0.3)).tolist() == [0.0] * 5
    assert robust_scores(np.zeros(0)).tolist() == []
    assert robust_scores(np.array([1.0, 2.0, 2.0, 3.0]))[1:3].tolist() == [0.0, 0.0]
    mostly = robust_scores(np.array([0.0] * 9 + [1.0]))
    assert mostly[9] > mostly[0] == 0.0


def feed(rng: np.random.Generator, pages: int, chosen: SlateSettings, k: int) -> dict[str, NDArray[np.int32]]:
    """Pages one after another from one heap of videos, each knowing those before it; columns in the order served."""
    count = pages * k * 8
    vectors = drawn(rng, count, dim=24, groups=20)
    columns = [rng.integers(-1, high, count).astype(np.int32) for high in (30, 25, 11)]
    relevance, left, feed = rng.random(count), np.arange(count), np.zeros(0, np.int64)
    for _ in range(pages):
        last = feed[-25:]
        before = Served(
            vectors=vectors[last], creators=columns[0][last], sounds=columns[1][last], categories=columns[2][last]
        )
        fixed = {k - 3: int(rng.integers(len(left)))} if k > 4 else {}
        page = arrange(
            relevance[left],
            vectors[left],
            *(c[left] for c in columns),
            k=k,
            served=before,
            fixed=fixed,
            settings=chosen,
        )
        assert page.relaxed == ()
        assert not {i for i, _ in page.held_back} & set(page.order.tolist())
        feed = np.concatenate([feed, left[page.order]])
        left = np.delete(left, page.order)
    fixed_places = np.zeros(len(feed), np.bool_)
    if k > 4:
        fixed_places[k - 3 :: k] = True
    return {"vectors": vectors[feed], "fixed": fixed_places} | dict(
        zip(("creator", "sound", "category"), (c[feed] for c in columns), strict=True)
    )  # type: ignore[return-value]


@pytest.mark.parametrize(("k", "window"), [(20, 20), (7, 20), (20, 6), (3, 9)])
def test_no_stretch_of_the_feed_breaks_a_cap_wherever_its_pages_end(k: int, window: int) -> None:
    chosen = SlateSettings(
        window=window, creator_cap=2, sound_cap=2, category_cap=max(2, window // 3), near_identical=0.9
    )
    for seed in range(4):
        served_all = feed(np.random.default_rng(seed), 5, chosen, k)
        cosines = served_all["vectors"] @ served_all["vectors"].T
        for name, cap in (("creator", 2), ("sound", 2), ("category", chosen.category_cap)):
            column, fixed = served_all[name], served_all["fixed"]
            for first in range(len(column) - window + 1):
                stretch = slice(first, first + window)
                for code in set(column[stretch].tolist()) - {-1}:
                    of_it = column[stretch] == code
                    # A fixed place keeps its video whatever the caps say; the others add none to a full stretch.
                    assert of_it.sum() <= cap or fixed[stretch][of_it].any(), (name, seed, first)
        for place in range(len(cosines)):
            for other in range(max(0, place - window + 1), place):
                if not served_all["fixed"][[place, other]].any():
                    assert cosines[place, other] <= 0.9 + 1e-6


def test_a_second_video_of_the_same_creator_waits_and_says_why() -> None:
    rng = np.random.default_rng(2)
    relevance, vectors = np.array([5.0, 4, 3, 2, 1]), unit(rng.standard_normal((5, 64)))
    creators = codes(7, 7, 7, 1, 2)
    page = arrange(
        relevance, vectors, creators, none(5), none(5),
        k=3, served=Served.nothing(64), settings=replace(FREE, creator_cap=1, theta=0.95),
    )  # fmt: skip
    assert page.order.tolist() == [0, 3, 4]
    assert page.held_back == [(1, "creator"), (2, "creator")]
    assert page.relaxed == ()


def test_a_near_copy_of_what_was_served_is_held_back() -> None:
    vectors = unit(np.eye(3)[[0, 1, 2]])
    before = served(unit(np.array([[1, 0.01, 0]])))
    page = plain(
        np.array([3.0, 2, 1]), vectors, k=2, served=before, settings=replace(FREE, near_identical=0.97, theta=0.99)
    )
    assert page.order.tolist() == [1, 2]
    assert page.held_back == [(0, "near_identical")]


def test_caps_are_let_go_in_their_order_rather_than_leave_the_page_empty() -> None:
    vectors = unit(np.eye(4))
    same = codes(1, 1, 1, 1)
    one_each = replace(FREE, creator_cap=1, sound_cap=1, category_cap=1)
    by_category = arrange(
        np.arange(4.0), vectors, none(4), none(4), same, k=4, served=Served.nothing(4), settings=one_each
    )
    assert sorted(by_category.order.tolist()) == [0, 1, 2, 3]
    assert by_category.relaxed == ("category",)
    by_all = arrange(np.arange(4.0), vectors, same, same, same, k=4, served=Served.nothing(4), settings=one_each)
    assert len(by_all.order) == 4
    assert by_all.relaxed == ("category", "sound", "creator")
    copies = plain(np.arange(3.0), unit(np.ones((3, 4))), k=3, settings=SlateSettings())
    assert len(copies.order) == 3
    assert copies.relaxed == ("near_identical",)
    assert CAPS[::-1] == ("category", "sound", "creator", "near_identical")


def test_the_less_relevant_are_looked_at_before_a_cap_is_let_go() -> None:
    rng = np.random.default_rng(3)
    vectors = unit(rng.standard_normal((60, 64)))
    creators = np.where(np.arange(60) < 50, 1, np.arange(60)).astype(np.int32)
    page = arrange(
        np.linspace(1, 0, 60), vectors, creators, none(60), none(60),
        k=8, served=Served.nothing(64), settings=replace(FREE, creator_cap=2, pool=30),
    )  # fmt: skip
    assert page.relaxed == ()
    assert (creators[page.order] == 1).sum() == 2


def test_what_is_unknown_is_not_capped() -> None:
    rng = np.random.default_rng(4)
    vectors = unit(rng.standard_normal((10, 64)))
    page = arrange(
        rng.random(10), vectors, none(10), none(10), np.full(10, OTHER, np.int32),
        k=10, served=Served.nothing(64), settings=SlateSettings(creator_cap=1, sound_cap=1, category_cap=1),
    )  # fmt: skip
    assert page.relaxed == ()
    assert page.held_back == []


def test_fixed_places_keep_their_videos_and_the_others_keep_clear_of_them() -> None:
    rng = np.random.default_rng(5)
    vectors = unit(rng.standard_normal((30, 64)))
    creators = np.arange(30, dtype=np.int32)
    creators[[0, 1, 29]] = 77
    relevance = np.linspace(1, 0, 30)
    page = arrange(
        relevance, vectors, creators, none(30), none(30),
        k=10, served=Served.nothing(64), fixed={6: 29, 2: 20}, settings=replace(FREE, creator_cap=1, theta=0.95),
    )  # fmt: skip
    assert page.order[6] == 29
    assert page.order[2] == 20
    assert not {0, 1} & set(page.order.tolist())
    assert (0, "creator") in page.held_back
    vectors[3] = unit(vectors[29:] + 0.05)[0]
    assert 3 not in plain(relevance, vectors, k=10, fixed={6: 29}).order


def test_a_fixed_video_keeps_its_place_even_against_a_cap_since_its_chance_was_drawn() -> None:
    vectors = unit(np.eye(6))
    page = arrange(
        np.arange(6.0), vectors, codes(1, 2, 3, 4, 5, 6), none(6), none(6),
        k=4, fixed={1: 0}, served=served(vectors[:1], creators=codes(1)), settings=replace(FREE, creator_cap=1),
    )  # fmt: skip
    assert page.order[1] == 0
    assert page.relaxed == ()


def test_a_page_longer_than_its_candidates_holds_them_all_the_fixed_ones_last() -> None:
    vectors = unit(np.eye(4))
    page = plain(np.arange(4.0), vectors, k=20, fixed={15: 2, 9: 3})
    assert page.order.tolist() == [1, 0, 3, 2]
    assert plain(np.zeros(0), np.zeros((0, 4), np.float32), k=20).order.tolist() == []
    assert plain(np.arange(4.0), vectors, k=0).order.tolist() == []
    assert plain(np.arange(1.0), vectors[:1], k=1, fixed={0: 0}).order.tolist() == [0]


@settings(max_examples=80, deadline=None)
@given(st.data())
def test_every_page_has_as_many_as_there_are_none_twice_and_the_fixed_in_place(data: st.DataObject) -> None:
    rng = np.random.default_rng(data.draw(st.integers(0, 10**6)))
    candidates, k, before = (data.draw(st.integers(0, high)) for high in (25, 12, 9))
    wanted = min(k, candidates)
    fixed = dict(zip(rng.permutation(wanted)[:3].tolist(), rng.permutation(candidates)[:3].tolist(), strict=False))
    few = [rng.integers(-1, 3, n).astype(np.int32) for n in [candidates] * 3 + [before] * 3]
    page = arrange(
        rng.integers(0, 4, candidates).astype(np.float64), drawn(rng, candidates), *few[:3], k=k, fixed=fixed,
        served=Served(vectors=drawn(rng, before), creators=few[3], sounds=few[4], categories=few[5]),
        settings=SlateSettings(window=data.draw(st.integers(1, 15)), pool=data.draw(st.integers(1, 30)), turn=0.1),
    )  # fmt: skip
    assert len(page.order) == wanted
    assert len(set(page.order.tolist())) == wanted
    assert all(page.order[place] == index for place, index in fixed.items())
    assert all(reason in CAPS and index not in page.order for index, reason in page.held_back)


def test_a_new_viewer_sees_what_is_proven_and_of_several_kinds_but_nothing_poor_for_varietys_sake() -> None:
    rng = np.random.default_rng(6)
    good, fine, poor = CODES["dance"], CODES["food"], CODES["news"]
    categories = np.repeat(np.array([good, fine, poor], np.int32), 50)
    quality = np.concatenate([np.full(50, 0.50), np.full(50, 0.49), np.full(50, 0.1)]) + rng.normal(0, 0.02, 150)
    page = arrange(
        quality, unit(rng.standard_normal((150, 64))), none(150), none(150), categories,
        k=20, served=Served.nothing(64), settings=FIRST_PAGE,
    ).order  # fmt: skip
    shown = categories[page]
    assert quality[page[0]] == quality.max()
    assert poor not in shown
    assert {good, fine} <= set(shown[:4].tolist())
    assert 7 <= (shown == fine).sum() <= 13


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"fixed": {0: 9}}, "among 3, each once"),
        ({"fixed": {0: 1, 1: 1}}, "among 3, each once"),
        ({"fixed": {5: 1}}, "below 2"),
        ({"k": -1}, "0 places or more"),
        ({"served": Served.nothing(7)}, r"\(0, 7\) and \(3, 4\)"),
    ],
)  # fmt: skip
def test_an_error_says_what_came_and_what_was_wanted(change: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        plain(np.arange(3.0), unit(np.ones((3, 4))), **({"k": 2} | change))
    with pytest.raises(ValueError, match="finite relevance"):
        plain(np.array([np.nan]), unit(np.ones((1, 4))), k=1)


@pytest.mark.long
def test_a_page_of_20_from_250_takes_a_millisecond_on_a_machine_that_does_nothing_else() -> None:
    """With OMP_NUM_THREADS=1: threads that wait for one another cost more than they bring."""
    rng = np.random.default_rng(7)
    vectors, before = drawn(rng, 250, dim=576, groups=8), drawn(rng, 20, dim=576, groups=8)
    columns = [rng.integers(-1, high, 250).astype(np.int32) for high in (80, 60, 12)]
    last = Served(vectors=before, creators=columns[0][:20], sounds=columns[1][:20], categories=columns[2][:20])
    relevance, seconds = rng.random(250), []
    for _ in range(300):
        begin = time.thread_time()
        arrange(relevance, vectors, *columns, k=20, served=last, fixed={6: 200})
        seconds.append(time.thread_time() - begin)
    print(f"fastest {1e3 * min(seconds):.3f} ms, median {1e3 * float(np.median(seconds)):.3f} ms")
    assert min(seconds) < 0.001
