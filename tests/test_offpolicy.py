"""A bandit whose truth is known: what the estimators say of a policy that did not make the log."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from bench.offpolicy import chances_of, logs, told_apart, verdicts_of
from index.records import Event, Impression
from recommend.offpolicy import (
    ESS_MIN,
    Logged,
    best_shrinkage,
    better_half,
    by_action,
    compare,
    ess,
    estimate,
    from_log,
    shrunk,
)

CONTEXTS, ACTIONS, ROWS = 6, 8, 1500
ESTIMATORS = ("IPS", "SNIPS", "DM", "DR", "DRos")
WORLD = np.random.default_rng(11)
TRUE_RATES = WORLD.beta(2, 12, (CONTEXTS, ACTIONS))


def soft(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True))


LOGGING = soft(WORLD.normal(0, 1, (CONTEXTS, ACTIONS)))
TARGET = soft(12 * TRUE_RATES)
TRUTH = float((TARGET * TRUE_RATES).sum(axis=1).mean())
WORSE = soft(-12 * TRUE_RATES)


def drawn(seed: int, target: NDArray[np.float64] = TARGET, rows: int = ROWS) -> Logged:
    """A log of the logging policy, with a model of the rewards that was fitted out of fold."""
    rng = np.random.default_rng(seed)
    contexts = rng.integers(0, CONTEXTS, rows)
    actions = (rng.random((rows, 1)) > LOGGING.cumsum(axis=1)[contexts]).sum(axis=1).clip(max=ACTIONS - 1)
    rewards = (rng.random(rows) < TRUE_RATES[contexts, actions]).astype(np.float64)
    users = np.arange(rows)
    model = by_action(actions, rewards, users, ACTIONS)
    return Logged(
        rewards=rewards,
        propensities=LOGGING[contexts, actions],
        chances=target[contexts, actions],
        users=users,
        predicted=model[users, actions],
        expected=(model * target[contexts]).sum(axis=1),
    )


@cache
def repeated() -> dict[str, NDArray[np.float64]]:
    """What each estimator says of 200 logs."""
    dice = np.random.default_rng(0)
    found = [estimate(drawn(seed), dice, rounds=2).by_estimator for seed in range(200)]
    return {name: np.array([one[name].value for one in found]) for name in ESTIMATORS}


@pytest.mark.parametrize("name", ["IPS", "SNIPS", "DR"])
def test_the_mean_of_many_estimates_is_the_truth(name: str) -> None:
    said = repeated()[name]
    assert abs(said.mean() - TRUTH) < 3 * said.std() / len(said) ** 0.5


def test_normalised_and_doubly_robust_estimates_scatter_less() -> None:
    spread = {name: repeated()[name].std() for name in ESTIMATORS}
    assert spread["SNIPS"] < spread["IPS"]
    assert spread["DR"] < spread["IPS"]
    assert spread["DRos"] <= 1.01 * spread["DR"]


def test_shrinking_costs_less_bias_than_it_saves() -> None:
    error = {name: float(((repeated()[name] - TRUTH) ** 2).mean()) for name in ESTIMATORS}
    assert error["DRos"] < error["IPS"]
    assert error["DRos"] < 1.1 * error["DR"]


def test_a_model_that_is_wrong_misleads_dm_but_not_dr() -> None:
    wrong = {name: [] for name in ("DM", "DR")}  # type: dict[str, list[float]]
    for seed in range(60):
        fair = drawn(seed)
        off = Logged(
            rewards=fair.rewards, propensities=fair.propensities, chances=fair.chances, users=fair.users,
            predicted=np.full(ROWS, 0.5), expected=np.full(ROWS, 0.5),
        )  # fmt: skip
        found = estimate(off, np.random.default_rng(0), rounds=2, shrinkage=np.inf).by_estimator
        for name, values in wrong.items():
            values.append(found[name].value)
    assert np.mean(wrong["DM"]) == 0.5
    assert abs(np.mean(wrong["DR"]) - TRUTH) < 3 * np.std(wrong["DR"]) / 60**0.5


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    dice = np.random.default_rng(1)
    found = [estimate(drawn(1000 + seed), dice, rounds=150).by_estimator for seed in range(80)]
    for name in ("IPS", "SNIPS", "DR", "DRos"):
        assert np.mean([one[name].low <= TRUTH <= one[name].high for one in found]) >= 0.87


def test_numbers_worked_by_hand() -> None:
    logged = Logged(
        rewards=np.array([1.0, 0.0, 1.0, 0.0]),
        propensities=np.array([0.5, 0.25, 0.5, 0.25]),
        chances=np.array([0.25, 0.5, 0.5, 0.0]),  # weights .5, 2, 1, 0
        users=np.arange(4),
        predicted=np.array([0.5, 0.5, 0.0, 1.0]),
        expected=np.array([0.25, 0.75, 0.5, 0.5]),
    )
    found = estimate(logged, np.random.default_rng(0), rounds=10, shrinkage=2.0)
    assert found.by_estimator["IPS"].value == pytest.approx((0.5 + 1) / 4)
    assert found.by_estimator["DM"].value == pytest.approx(0.5)
    assert found.by_estimator["DR"].value == pytest.approx((0.25 + 0.25 + 0.75 - 1 + 0.5 + 1 + 0.5) / 4)
    kept = [2 * w / (w * w + 2) for w in (0.5, 2, 1)]
    surprise = 0.5 * kept[0] - 0.5 * kept[1] + kept[2]
    assert found.default.value == pytest.approx((2.0 + surprise) / 4)
    assert found.ess == pytest.approx(3.5**2 / (0.25 + 4 + 1))
    assert found.weight_max == 2


def test_snips_of_rows_that_all_earned_is_what_they_earned() -> None:
    logged = drawn(3)
    paid = Logged(
        rewards=np.ones(ROWS), propensities=logged.propensities, chances=logged.chances, users=logged.users,
        predicted=np.zeros(ROWS), expected=np.zeros(ROWS),
    )  # fmt: skip
    found = estimate(paid, np.random.default_rng(0), rounds=20).by_estimator
    assert found["SNIPS"].value == pytest.approx(1)
    assert found["SNIPS"].high - found["SNIPS"].low < 1e-9 < found["IPS"].high - found["IPS"].low


def test_the_policy_of_the_log_itself_earned_what_it_earned() -> None:
    logged = drawn(4, target=LOGGING)
    found = estimate(logged, np.random.default_rng(0), rounds=50)
    assert found.by_estimator["IPS"].value == pytest.approx(logged.rewards.mean())
    assert found.ess == pytest.approx(ROWS)
    assert found.doubt is None


def test_dros_goes_from_the_model_alone_to_the_doubly_robust() -> None:
    logged = drawn(5)
    as_dm, as_dr = (estimate(logged, np.random.default_rng(0), rounds=5, shrinkage=x) for x in (0.0, np.inf))
    assert as_dm.default.value == pytest.approx(as_dm.by_estimator["DM"].value)
    assert as_dr.default.value == pytest.approx(as_dr.by_estimator["DR"].value)


def test_no_weight_survives_shrinking_above_half_the_root_of_lambda() -> None:
    weights = np.logspace(-3, 4, 200)
    for shrinkage in (0.0, 1.0, 100.0):
        kept = shrunk(weights, shrinkage)
        assert (kept <= weights + 1e-12).all()
        assert kept.max() <= shrinkage**0.5 / 2 + 1e-9
    assert (shrunk(weights, np.inf) == weights).all()
    assert shrunk(np.zeros(3), 0.0).tolist() == [0, 0, 0]


def test_a_wild_weight_is_shrunk_and_even_ones_are_not() -> None:
    rng = np.random.default_rng(0)
    clicks = (rng.random(2000) < 0.2).astype(float)
    wild = np.r_[np.full(1999, 0.9), 200.0]
    clicks[-1] = 1
    assert best_shrinkage(wild, clicks - 0.2, np.full(2000, 0.2)) < 1e5
    assert best_shrinkage(np.ones(2000), clicks - 0.2, np.full(2000, 0.2)) > 10


def test_few_clicks_do_not_make_a_narrow_interval_by_trusting_the_model() -> None:
    clicks = np.zeros(10_000)
    clicks[::217] = 1
    rows = np.arange(10_000)
    model = by_action(rows % 34, clicks, rows, 34)[rows, rows % 34]
    own = Logged(
        rewards=clicks, propensities=np.full(10_000, 1 / 34), chances=np.full(10_000, 1 / 34), users=rows,
        predicted=model, expected=model,
    )  # fmt: skip
    found = estimate(own, np.random.default_rng(0), rounds=300)
    by_counting = 2 * 1.96 * (clicks.mean() / 10_000) ** 0.5
    assert found.default.high - found.default.low > 0.8 * by_counting


def test_clipped_weights_are_reported() -> None:
    logged = drawn(6)
    weights = logged.weights
    found = estimate(logged, np.random.default_rng(0), rounds=5, clip=2.0)
    assert found.clipped == int((weights > 2).sum()) > 0
    assert found.clipped_share == pytest.approx(1 - np.minimum(weights, 2).sum() / weights.sum())
    assert (
        found.by_estimator["IPS"].value < estimate(logged, np.random.default_rng(0), rounds=5).by_estimator["IPS"].value
    )
    assert found.weight_max == weights.max()


def test_the_better_of_two_policies_is_named_where_the_log_is_large() -> None:
    both = {"good": drawn(7, TARGET, 20_000), "bad": drawn(7, WORSE, 20_000)}
    verdict = compare(both, np.random.default_rng(0), rounds=200)
    assert verdict.winner == "good", verdict.why
    assert "is above bad" in verdict.why


def test_no_winner_where_intervals_overlap() -> None:
    both = {"good": drawn(8, TARGET, 300), "logging": drawn(8, LOGGING, 300)}
    verdict = compare(both, np.random.default_rng(0), rounds=200)
    assert verdict.winner is None
    assert "overlap" in verdict.why


def test_no_winner_where_few_rows_are_worth_anything() -> None:
    only_one = np.zeros((CONTEXTS, ACTIONS))
    only_one[np.arange(CONTEXTS), LOGGING.argmin(axis=1)] = 1
    logged = drawn(9, only_one, 800)
    assert ess(logged.weights) < ESS_MIN
    verdict = compare({"rare": logged, "bad": drawn(9, WORSE, 800)}, np.random.default_rng(0), rounds=100)
    assert verdict.winner is None
    assert "effective sample" in verdict.why


def test_no_winner_where_the_log_does_not_cover_what_a_policy_would_show() -> None:
    covered = drawn(10, LOGGING, 5000)
    half = Logged(
        rewards=covered.rewards, propensities=covered.propensities, chances=covered.propensities / 2,
        users=covered.users, predicted=covered.predicted, expected=covered.expected,
    )  # fmt: skip
    verdict = compare({"half elsewhere": half, "logging": covered}, np.random.default_rng(0), rounds=100)
    assert verdict.winner is None
    assert "does not cover" in verdict.why


def test_a_policy_that_would_have_shown_nothing_of_the_log_wins_nothing() -> None:
    logged = drawn(12, np.zeros((CONTEXTS, ACTIONS)), 400)
    verdict = compare({"elsewhere": logged, "logging": drawn(12, LOGGING, 400)}, np.random.default_rng(0), rounds=20)
    assert verdict.winner is None
    assert np.isnan(verdict.estimates["elsewhere"].by_estimator["SNIPS"].value)


def test_the_model_never_sees_the_viewer_that_it_predicts() -> None:
    users = np.repeat(np.arange(10), 5)
    actions = np.tile(np.arange(5), 10)
    only = (users == 3).astype(np.float64)  # one viewer's rewards: no trace of them in his own predictions
    model = by_action(actions, only, users, 5)
    assert (model[users == 3] == 0).all()
    assert (model[users == 4] > 0).all()


def test_the_better_half_is_that_of_other_viewers() -> None:
    users = np.repeat(np.arange(10), 4)
    scores = np.tile([1.0, 2.0, 3.0, 4.0], 10)
    above, share = better_half(scores, users)
    assert above.tolist() == [False, False, True, True] * 10
    assert (share == 0.5).all()
    scores[users == 3] += 100.0  # whoever is scored high moves the median of others only
    above, _ = better_half(scores, users)
    assert above[users == 3].all()
    tied, none = better_half(np.ones(40), users)
    assert not tied.any()
    assert (none == 0).all()


def shown(number: int, slot: str = "explore", propensity: float = 0.5) -> Impression:
    return Impression(
        impression_id=f"i{number}", slate_id="s", viewer_id=f"u{number % 3}", video_id=f"v{number % 2}",
        time_s=float(number), position=number % 4, source="fresh", slot=slot, propensity=propensity, score=0.0,
    )  # fmt: skip


def happened(number: int, kind: str, at: str | None) -> Event:
    return Event(event_id=f"e{number}", kind=kind, viewer_id="u", time_s=float(number), impression_id=at)


def test_a_log_becomes_rows_and_what_is_left_out_is_counted() -> None:
    impressions = [shown(0), shown(1), shown(2, slot="rank", propensity=1.0), shown(3, slot="uniform", propensity=0.1)]
    events = [
        happened(1, "like", "i1"),
        happened(2, "view", "i1"),
        happened(3, "like", "i2"),
        happened(4, "like", None),
    ]
    logged, left_out = from_log(
        impressions,
        events,
        policy=lambda rows: np.array([0.25 if one.video_id == "v0" else 1.0 for one in rows]),
        reward=lambda of_one: float(any(event.kind == "like" for event in of_one)),
        slots={"explore": 0.5, "uniform": 1.0},
    )
    assert logged.rewards.tolist() == [0, 1, 0]
    assert logged.propensities.tolist() == [0.25, 0.25, 0.1]
    assert logged.chances.tolist() == [0.25, 1.0, 1.0]
    assert logged.users.tolist() == ["u0", "u1", "u0"]
    assert left_out == {"slot_rank": 1, "event_elsewhere": 2}


def test_a_log_without_chance_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no impression in a slot of \('explore',\)"):
        from_log([shown(1, slot="rank")], [], lambda rows: np.ones(len(rows)), lambda _: 0.0, slots={"explore": 1.0})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"propensities": np.array([0.0, 1.0])}, "propensities lie above 0"),
        ({"chances": np.array([0.5, 1.5])}, "chances are 0..1"),
        ({"rewards": np.array([np.nan, 1.0])}, "rewards: some are not finite"),
        ({"users": np.arange(3)}, "a number a row"),
        ({name: np.array([]) for name in Logged.__slots__}, "at least one row"),
    ],
)
def test_rows_that_make_no_sense_are_refused(change: dict[str, Any], said: str) -> None:
    fair: dict[str, Any] = dict.fromkeys(Logged.__slots__, np.ones(2))
    with pytest.raises(ValueError, match=said):
        Logged(**(fair | change))


def test_one_policy_alone_is_compared_with_nothing() -> None:
    with pytest.raises(ValueError, match="two policies"):
        compare({"one": drawn(1, rows=50)}, np.random.default_rng(0))


@pytest.fixture(scope="module")
def bandit() -> Path:
    folder = os.environ.get("FIRSTLOOK_BENCH_DATA")
    if not folder:
        pytest.skip("FIRSTLOOK_BENCH_DATA names no folder with logs")
    return Path(folder) / "open" / "behaviour" / "obd"


@pytest.mark.data
def test_the_uniform_log_of_open_bandit_tells_what_the_other_policy_earned(bandit: Path) -> None:
    uniform, sampling = logs(bandit)
    said = verdicts_of(uniform, sampling, np.random.default_rng(0))
    earned = said["on random's log"].estimates["bts"]
    for name in ("IPS", "SNIPS", "DR", "DRos"):
        assert earned.by_estimator[name].low <= sampling.clicks.mean() <= earned.by_estimator[name].high
    assert earned.ess > ESS_MIN


@pytest.mark.data
def test_the_other_log_of_open_bandit_tells_what_the_uniform_policy_earned(bandit: Path) -> None:
    uniform, sampling = logs(bandit)
    said = verdicts_of(uniform, sampling, np.random.default_rng(0))
    earned = said["on bts's log"].estimates["random"]
    for name in ("SNIPS", "DR", "DRos"):
        assert told_apart(earned.by_estimator[name], uniform) is False


@pytest.mark.data
def test_the_chances_of_a_policy_add_up_to_one_at_every_position(bandit: Path) -> None:
    _, sampling = logs(bandit)
    assert chances_of(sampling).sum(axis=1) == pytest.approx(np.ones(3))
