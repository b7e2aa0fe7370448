"""Do the estimators tell from one policy's log what another earned? Measured on Open Bandit, where both were run.

    python bench/offpolicy.py --data DIR [--json]

DIR holds `obd_random_men_men.csv` and `obd_bts_men_men.csv` (ZOZOTOWN, campaign "men", 10,000 rows each): one policy
showed 34 items at three positions uniformly at random, the other by Bernoulli Thompson sampling (BTS), and each row has
the probability that its item had. From each log the click rate of the other policy is estimated and laid beside what
that policy's own log says:

- random → bts: π_b is 1/34, as logged. π_e is BTS's distribution over items by position. BTS has no one distribution
  (it learns while it runs), and its log holds the probability of the item shown only; the share of an item among the
  rows of a position is the mean of its probability over the week, which is what is wanted here, plus one row spread
  over all items.
- bts → random: π_b is BTS's own logged probability, down to 0.0002; π_e is 1/34, exactly.

With 46 and 69 clicks all intervals are wide, those of the other log's own rate too. Passed when from the uniform log
the intervals of IPS, SNIPS, DR and DRos hold BTS's own rate; when in both directions no estimate is told apart from the
other log's own rate, given what chance may have done to both; and when no winner is named where intervals overlap.
Off-policy estimates; a row is drawn as if it were a viewer, since the log names none.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).parent.parent)  # bench/ingest.py would hide the package ingest

import numpy as np
from numpy.typing import NDArray
from pyarrow import csv

from bench.machine import SEED, facts, interval
from recommend.evaluate import Interval
from recommend.offpolicy import Estimates, Logged, Verdict, by_action, compare

ITEMS, POSITIONS = 34, 3
CHECKED = ("IPS", "SNIPS", "DR", "DRos")
"""Not DM: it is as good as its model of 46 clicks."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Log:
    name: str
    items: NDArray[np.int64]  # (n,) 0..33
    positions: NDArray[np.int64]  # (n,) 0..2
    clicks: NDArray[np.float64]  # (n,) 0 or 1
    propensities: NDArray[np.float64]  # (n,)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    uniform, sampling = logs(asked.data)
    verdicts = verdicts_of(uniform, sampling, np.random.default_rng(SEED))
    rows = {log: one.estimates for log, one in verdicts.items()}
    checks = checked(rows, {"bts": sampling, "random": uniform}, verdicts)
    passed = all(checks.values())
    if asked.json:
        print(json.dumps({**plain(rows, verdicts), "checks": checks, **facts(), "pass": passed}))
    else:
        show(uniform, sampling, rows, verdicts, checks)
    return 0 if passed else 1


def logs(folder: Path) -> tuple[Log, Log]:
    """Both logs: the uniform policy's and that of Thompson sampling."""
    return _log(folder, "random"), _log(folder, "bts")


def _log(folder: Path, name: str) -> Log:
    read = csv.read_csv(folder / f"obd_{name}_men_men.csv")
    return Log(
        name=name,
        items=read["item_id"].to_numpy(),
        positions=read["position"].to_numpy() - 1,
        clicks=read["click"].to_numpy().astype(np.float64),
        propensities=read["propensity_score"].to_numpy(),
    )


def chances_of(log: Log) -> NDArray[np.float64]:
    """(positions, items) how often a policy gives a position to an item; one row is spread over all items."""
    counts = np.zeros((POSITIONS, ITEMS))
    np.add.at(counts, (log.positions, log.items), 1)
    counts += 1 / ITEMS
    return np.asarray(counts / counts.sum(axis=1, keepdims=True))


def seen(log: Log, target: NDArray[np.float64] | None) -> Logged:
    """A policy, through another's log.

    Args:
        target: (positions, items) its chances; None: the policy of the log itself.
    """
    rows = np.arange(len(log.items))
    model = by_action(log.items, log.clicks, rows, ITEMS, strength=200.0)  # two hundred rows have a click
    if target is None:
        own = model[rows, log.items]
        return Logged(
            rewards=log.clicks, propensities=log.propensities, chances=log.propensities, users=rows,
            predicted=own, expected=own,
        )  # fmt: skip
    return Logged(
        rewards=log.clicks,
        propensities=log.propensities,
        chances=target[log.positions, log.items],
        users=rows,
        predicted=model[rows, log.items],
        expected=(model * target[log.positions]).sum(axis=1),
    )


def verdict(log: Log, uniform: Log, sampling: Log, rng: np.random.Generator) -> Verdict:
    """Which of the two policies earns more, as far as one log can tell."""
    targets = {"random": np.full((POSITIONS, ITEMS), 1 / ITEMS), "bts": chances_of(sampling)}
    return compare({n: seen(log, None if n == log.name else target) for n, target in targets.items()}, rng)


def verdicts_of(uniform: Log, sampling: Log, rng: np.random.Generator) -> Mapping[str, Verdict]:
    """Whose log -> which policy earns more by it, with what is said of each."""
    return {f"on {log.name}'s log": verdict(log, uniform, sampling, rng) for log in (uniform, sampling)}


def checked(
    rows: Mapping[str, Mapping[str, Estimates]], own: Mapping[str, Log], verdicts: Mapping[str, Verdict]
) -> dict[str, bool]:
    checks = {}
    for name in CHECKED:
        said = rows["on random's log"]["bts"].by_estimator[name]
        rate = float(own["bts"].clicks.mean())
        checks[f"on random's log, the interval of {name} holds bts's own rate"] = said.low <= rate <= said.high
    for log, policy in (("on random's log", "bts"), ("on bts's log", "random")):
        for name in CHECKED:
            apart = told_apart(rows[log][policy].by_estimator[name], own[policy])
            checks[f"{log}, {name} is not told apart from {policy}'s own rate"] = not apart
    for log, one in verdicts.items():
        first, second = (one.estimates[name].default for name in ("random", "bts"))
        apart = first.high < second.low or second.high < first.low
        checks[f"{log}, a winner only where intervals are apart"] = apart or one.winner is None
    return checks


def told_apart(said: Interval, own: Log) -> bool:
    """Whether an estimate differs from a log's own rate by more than chance does to both (95 %, two-sided)."""
    mean, low, high = interval(own.clicks)
    half = np.hypot(said.high - said.low, high - low) / 2
    return bool(abs(said.value - mean) > half)


def plain(rows: Mapping[str, Mapping[str, Estimates]], verdicts: Mapping[str, Verdict]) -> dict[str, dict[str, Any]]:
    """The figures as plain JSON, with the verdict of each log."""
    return {
        log: {
            policy: {
                **{name: [one.value, one.low, one.high] for name, one in found.by_estimator.items()},
                "ess": found.ess,
                "weight_max": found.weight_max,
                "lambda": None if np.isinf(found.shrinkage) else found.shrinkage,
            }
            for policy, found in policies.items()
        }
        | {"verdict": {"winner": verdicts[log].winner, "why": verdicts[log].why}}
        for log, policies in rows.items()
    }


def show(
    uniform: Log,
    sampling: Log,
    rows: Mapping[str, Mapping[str, Estimates]],
    verdicts: Mapping[str, Verdict],
    checks: Mapping[str, bool],
) -> None:
    for name, value in facts().items():
        print(f"{name}: {value}")
    print("\nclick rate in %, off-policy estimates, 95 % intervals")
    for log in (uniform, sampling):
        mean, low, high = interval(log.clicks)
        print(
            f"{log.name}'s own: {100 * mean:.2f} [{100 * low:.2f}, {100 * high:.2f}], {int(log.clicks.sum())} clicks in"
            f" {len(log.clicks):,} rows"
        )
    for where, policies in rows.items():
        for policy, found in policies.items():
            print(
                f"\n{where}: {policy}   ESS {found.ess:,.0f} of {found.rows:,}, mean weight"
                f" {found.mean_weight.value:.3f}, largest {found.weight_max:.1f}, λ {found.shrinkage:.3g}"
            )
            for name, one in found.by_estimator.items():
                print(f"  {name:6} {100 * one.value:.2f}  [{100 * one.low:.2f}, {100 * one.high:.2f}]")
        print(f"  verdict: {verdicts[where].why}")
    print()
    for name, ok in checks.items():
        print(f"{'pass ' if ok else 'SHORT'} {name}")


if __name__ == "__main__":
    sys.exit(main())
