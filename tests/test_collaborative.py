"""What is learnt from who watches what."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from implicit.als import AlternatingLeastSquares
from scipy import sparse

from recommend.collaborative import CONFIDENCE, REGULARISATION, Collaborative, Trained, train
from tests.known import catalogue_of

CATALOGUE = catalogue_of(10, topics=2)
Watches = tuple[np.ndarray, np.ndarray, np.ndarray]


def two_tastes(seed: int = 0) -> Watches:
    """120 viewers, each of whom watches six videos of one topic and skips two of the other."""
    rng = np.random.default_rng(seed)
    rows = []
    for viewer in range(120):
        own = viewer % 2
        rows += [(f"v{viewer}", f"t{own}-{n}", 1.0) for n in rng.choice(10, 6, replace=False)]
        rows += [(f"v{viewer}", f"t{1 - own}-{n}", -0.5) for n in rng.choice(10, 2, replace=False)]
    viewers, videos, strengths = zip(*rows, strict=True)
    return np.array(viewers), np.array(videos), np.array(strengths)


@pytest.fixture(scope="module")
def trained() -> Trained:
    return train(*two_tastes(), factors=2)


def topic(place: int) -> str:
    return CATALOGUE.video_ids[place].split("-")[0]


def test_whoever_watches_one_topic_is_given_more_of_it(trained: Trained) -> None:
    model = Collaborative(trained, CATALOGUE)
    watched = [CATALOGUE.place_of("t0-1"), CATALOGUE.place_of("t0-2")]
    found = model.nearest(watched, [1.0, 1.0], 8)
    assert [topic(place) for place in found] == ["t0"] * 8
    assert not set(found.tolist()) & set(watched)


def test_what_is_watched_together_stands_beside_each_other(trained: Trained) -> None:
    model = Collaborative(trained, CATALOGUE)
    place = CATALOGUE.place_of("t1-3")
    found = model.beside(place, 5)
    assert [topic(one) for one in found] == ["t1"] * 5
    assert place not in found


def test_folding_in_solves_what_training_solves() -> None:
    viewers, videos, strengths = two_tastes()
    items, columns = np.unique(videos, return_inverse=True)
    _, rows = np.unique(viewers, return_inverse=True)
    table = sparse.csr_matrix((strengths.astype(np.float32), (rows, columns)))
    reference = AlternatingLeastSquares(
        factors=8, regularization=REGULARISATION, alpha=CONFIDENCE, random_state=1, num_threads=1, use_cg=False,
        use_native=False, dtype=np.float64, iterations=3,
    )  # fmt: skip
    reference.fit(table, show_progress=False)
    model = Collaborative(
        Trained(
            video_ids=items,
            factors=reference.item_factors.astype(np.float32),
            neighbours=np.full((len(items), 1), -1, np.int32),
        ),
        CATALOGUE,
    )
    for user in (0, 7):
        of = np.flatnonzero(rows == user)
        places = [CATALOGUE.place_of(str(videos[i])) for i in of]
        expected = reference.recalculate_user(0, table[user])
        np.testing.assert_allclose(
            model.fold_in(places, strengths[of].tolist()), np.ravel(expected), rtol=2e-3, atol=1e-4
        )


def test_a_skip_moves_a_viewer_away(trained: Trained) -> None:
    model = Collaborative(trained, CATALOGUE)
    one, other, third = (CATALOGUE.place_of(name) for name in ("t0-1", "t1-1", "t1-2"))
    towards = model.vectors(np.array([third]))[0]
    both = model.fold_in([one, other], [1.0, 1.0])
    skipped = model.fold_in([one, other, third], [1.0, 1.0, -2.0])
    assert skipped @ towards < both @ towards - 0.05


def test_videos_that_nobody_took_to_and_strangers_have_no_factors(trained: Trained) -> None:
    model = Collaborative(trained, catalogue_of(20, topics=2))
    fresh = catalogue_of(20, topics=2).place_of("t0-15")
    assert not model.vectors(np.array([fresh, -1])).any()
    assert not len(model.nearest([fresh, -1], [1.0, 1.0], 5))
    assert not len(model.beside(fresh, 5))
    assert not len(model.beside(-1, 5))


def test_nothing_watched_makes_a_model_that_names_nothing() -> None:
    nothing = train(np.array([], np.str_), np.array([], np.str_), np.zeros(0))
    assert not len(Collaborative(nothing, CATALOGUE).nearest([0], [1.0], 5))


def test_what_was_learnt_is_kept_by_id_and_found_in_a_catalogue_of_another_order(
    trained: Trained, tmp_path: Path
) -> None:
    trained.save(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["collaborative.npz"]
    other = catalogue_of(10, topics=3)
    here, there = Collaborative(trained, CATALOGUE), Collaborative.load(tmp_path, other)
    ids = ["t0-1", "t1-4"]
    np.testing.assert_array_equal(here.vectors(CATALOGUE.places_of(ids)), there.vectors(other.places_of(ids)))


def test_training_again_on_the_same_gives_the_same() -> None:
    one, two = train(*two_tastes(), factors=2), train(*two_tastes(), factors=2)
    np.testing.assert_array_equal(one.factors, two.factors)
