"""How fast does one core answer "what is like this", how does it bear too much, and what does renewing it cost?

    python bench/serve.py [--rows 100000] [--rounds 5] [--json]

A library of made-up videos (bench/stubs.py) is served by one process on one core, without ingest; the load comes from
another process on another core (bench/load.py), with 16 keys. Machines change their speed while one looks, so a round
holds everything that is compared, and medians over the rounds are told, beside a loop of plain Python that says how
fast the core was just then.

- `peak`: a closed loop of 8 connections.
- `steady`: arrivals at 70 % of the peak just seen, at random moments; latencies count from when each was due.
- `overload`: arrivals at four times the peak, then at half of it: answers that came, memory, and how long until a
  second is normal again (its 95th percentile below the limit, nothing refused), three in a row.
- `recall`: the ten best of 200 videos, beside scores that are worked out here from the vectors themselves.
- `renewals`: 20 SIGHUPs under load, the socket handed from process to process; requests that failed.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

sys.path[0] = str(Path(__file__).parent.parent)  # bench/ingest.py would hide the package ingest

import httpx
import numpy as np
import psutil
from numpy.typing import NDArray

from bench.load import Asked
from bench.machine import facts
from bench.measure import pss_bytes
from bench.stubs import FILL_ROWS, SEED, fill, vectors
from index.access import Access
from index.home import Home
from index.records import Space
from index.rows import modalities_of
from ingest.spaces import RECIPES, open_space

K = 10
KEYS = 16
ASKED = 200
RENEWALS = 20
STEADY, OVERLOAD, AFTER, RENEWED = 0.7, 4.0, 0.5, 0.3
"""Of the peak."""
NORMAL_MS = 50.0
PEAK_S, STEADY_S, OVERLOAD_S, AFTER_S, RENEWALS_MAX_S = 6.0, 12.0, 10.0, 13.0, 900.0
WANTED = {
    "peak_rps": 50.0,
    "recall_at_10": 0.95,
    "p99_ms": NORMAL_MS,
    "goodput_share": 0.9,
    "memory_ratio": 1.1,
    "normal_after_s": 10.0,
    "failed": 0,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What a load got, as arrays."""

    due_s: NDArray[np.float64]
    took_ms: NDArray[np.float64]
    status: NDArray[np.int64]
    errors: Sequence[str]

    def answered(self) -> int:
        return int((self.status == 200).sum())

    def percentile_ms(self, percent: float) -> float:
        """Of all requests; whoever was refused waits for ever."""
        return float(np.percentile(np.where(self.status == 200, self.took_ms, np.inf), percent, method="lower"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """A running service and the load that it is given."""

    port: int
    parent: psutil.Process
    log: Path
    keys: Sequence[str]
    rows: int
    load_core: int

    def load(self, seconds: float, *, rate: float | None = None, connections: int = 400) -> Run:
        return ended(self.begin(seconds, rate=rate, connections=connections))

    def begin(self, seconds: float, *, rate: float | None, connections: int) -> subprocess.Popen[str]:
        """Start a load; its answers come on standard output."""
        asked = Asked(
            host="127.0.0.1",
            port=self.port,
            requests=self._requests(),
            seconds=seconds,
            rate=rate,
            connections=connections,
        )
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.load"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            cwd=Path(__file__).parents[1],
        )  # fmt: skip
        psutil.Process(process.pid).cpu_affinity([self.load_core])
        assert process.stdin is not None
        json.dump(asdict(asked), process.stdin)
        process.stdin.close()
        process.stdin = None
        return process

    def _requests(self) -> list[str]:
        rng = np.random.default_rng(SEED)
        return [
            f"GET /v1/videos/v{number:09}/similar?k={K} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            f"Authorization: Bearer {self.keys[i % KEYS]}\r\n\r\n"
            for i, number in enumerate(rng.integers(0, self.rows, 5_000))
        ]

    def answering(self) -> psutil.Process:
        """The process that answers now."""
        return next(p for p in self.parent.children() if "service.web.http" in p.cmdline())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        _, space = open_space(RECIPES["local"], threads=1)
        home = Home.open(Path(folder) / "home")
        home.ledger.add_space(space)
        fill(home, asked.rows, space)
        keys = [Access(home.ledger).create(["search"])[1] for _ in range(KEYS)]
        home.close()
        with serving(Path(folder), keys, asked.rows) as served:
            figures = measured(served, space, asked.rounds)
    at_least = ("peak_rps", "recall_at_10", "goodput_share")
    passed = {n: figures[n] >= wanted if n in at_least else figures[n] <= wanted for n, wanted in WANTED.items()}
    figures |= {"rows": asked.rows, "wanted": WANTED, "passed": passed, "pass": all(passed.values())}
    figures |= facts(seed=SEED)
    if asked.json:
        print(json.dumps(figures))
    else:
        show(figures)
    return 0 if figures["pass"] else 1


@contextmanager
def serving(folder: Path, keys: Sequence[str], rows: int) -> Iterator[Served]:
    """`firstlook serve` on the first core of this process; the load has the last one."""
    cores = sorted(os.sched_getaffinity(0))
    command = [sys.executable, "-m", "service.cli", "serve", "--no-ingest", "--port", "0"]
    log = folder / "log"
    with log.open("w") as errors, subprocess.Popen(
        [*command, "--home", str(folder / "home")], stdout=subprocess.PIPE, stderr=errors, text=True,
        cwd=Path(__file__).parents[1],
    ) as parent:  # fmt: skip
        assert parent.stdout is not None
        psutil.Process(parent.pid).cpu_affinity(
            [cores[0]]
        )  # before it has imported anything, so its children have it too
        try:
            said = parent.stdout.readline()
            if "answers at" not in said:
                raise RuntimeError(log.read_text()[-2_000:])
            port = int(said.split("answers at ")[1].split()[0].rstrip("/").rsplit(":", 1)[1])
            process = psutil.Process(parent.pid)
            yield Served(port=port, parent=process, log=log, keys=keys, rows=rows, load_core=cores[-1])
        finally:
            parent.terminate()


def measured(served: Served, space: Space, rounds: int) -> dict[str, Any]:
    served.load(5.0, connections=8)  # everything is there, and warm
    figures: dict[str, Any] = {"recall_at_10": recall(served, space)}
    found = [one_round(served) for _ in range(rounds)]
    for name in found[0]:
        values = [one[name] for one in found]
        figures[name] = float(np.median(values))
        figures[f"{name}_by_round"] = values
    return figures | renewed(served, figures["peak_rps"])


def one_round(served: Served) -> dict[str, float]:
    spin = spin_ms()
    before = served.load(PEAK_S, connections=8).answered() / PEAK_S
    steady = served.load(STEADY_S, rate=STEADY * before)
    again = served.load(PEAK_S, connections=8).answered() / PEAK_S
    over = overloaded(served, again)
    return {
        "spin_ms": spin,
        "peak_rps": round(again, 1),
        "p50_ms": round(steady.percentile_ms(50), 1),
        "p99_ms": round(steady.percentile_ms(99), 1),
        "steady_rps": round(STEADY * before, 1),
        "steady_refused": len(steady.status) - steady.answered(),
        **over,
    }


def spin_ms() -> float:
    """What the cores are worth now: milliseconds of a loop that never changes."""
    began = time.perf_counter()
    total = 0
    for number in range(2_000_000):
        total += number
    return round((time.perf_counter() - began) * 1e3, 1)


def recall(served: Served, space: Space) -> float:
    """Of the ten best by our own reckoning, the share that is answered."""
    made = [vectors(range(s, min(s + FILL_ROWS, served.rows)), space) for s in range(0, served.rows, FILL_ROWS)]
    names = modalities_of(space)
    weighed = [np.concatenate([part[n] for part in made]) * space.weights[n] ** 0.5 for n in names]
    rows = np.concatenate(weighed, axis=1)  # every video has all of them, so the dot product is the score
    drawn = np.random.default_rng(SEED + 1).choice(served.rows, ASKED, replace=False)
    shares = []
    headers = {"Authorization": f"Bearer {served.keys[0]}"}
    with httpx.Client(base_url=f"http://127.0.0.1:{served.port}", headers=headers) as http:
        for number in drawn.tolist():
            scores = rows @ rows[number]
            scores[number] = -np.inf
            best = {f"v{i:09}" for i in np.argsort(-scores)[:K]}
            hits = http.get(f"/v1/videos/v{number:09}/similar", params={"k": K}).raise_for_status().json()["hits"]
            shares.append(len(best & {hit["video_id"] for hit in hits}) / K)
            time.sleep(0.01)  # one key, at its pace
    return round(float(np.mean(shares)), 4)


def overloaded(served: Served, peak: float) -> dict[str, float]:
    answering = served.answering().pid
    memory = [pss_bytes(answering)]
    process = served.begin(OVERLOAD_S, rate=OVERLOAD * peak, connections=1_000)
    until = time.monotonic() + OVERLOAD_S
    while time.monotonic() < until:
        memory.append(pss_bytes(answering))
        time.sleep(0.5)
    run = ended(process)
    after = served.load(AFTER_S, rate=AFTER * peak)
    return {
        "goodput_share": round(run.answered() / OVERLOAD_S / peak, 3),
        "overload_refused": int((run.status == 503).sum()),
        "overload_broken": int(((run.status != 200) & (run.status != 503)).sum()),
        "overload_p99_ms": round(float(np.percentile(run.took_ms[run.status == 200], 99)), 1),
        "memory_mb": round(max(memory) / 1e6),
        "memory_ratio": round(max(memory) / memory[0], 3),
        "normal_after_s": normal_after_s(after),
    }


def normal_after_s(run: Run) -> float:
    """Seconds until three in a row are normal: nothing is refused, and 95 % is as quick as it should be."""

    def is_normal(second: int) -> bool:
        these = (run.due_s >= second) & (run.due_s < second + 1)
        return bool((run.status[these] == 200).all() and np.percentile(run.took_ms[these], 95) < NORMAL_MS)

    normal = [is_normal(second) for second in range(int(AFTER_S))]
    return next((float(s) for s in range(len(normal) - 2) if all(normal[s : s + 3])), float("inf"))


def renewed(served: Served, peak: float) -> dict[str, Any]:
    """Renew what answers again and again while it is asked."""
    process = served.begin(3_600.0, rate=RENEWED * peak, connections=64)
    began = time.monotonic()
    for number in range(1, RENEWALS + 1):
        served.parent.send_signal(signal.SIGHUP)
        while served.log.read_text().count('"event": "renewed"') < number:
            if time.monotonic() - began > RENEWALS_MAX_S:
                process.kill()
                raise RuntimeError(f"only {number - 1} renewals in {RENEWALS_MAX_S:.0f} s")
            time.sleep(0.2)
    took_s = time.monotonic() - began
    process.terminate()
    run = ended(process)
    return {
        "renewals": RENEWALS,
        "renewals_took_s": round(took_s, 1),
        "renewals_asked": len(run.status),
        "failed": len(run.status) - run.answered(),
        "failed_why": [*{str(s) for s in run.status[run.status != 200]}, *run.errors],
    }


def ended(process: subprocess.Popen[str]) -> Run:
    """Wait for a load."""
    said, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(f"the load ended with {process.returncode}")
    answers = json.loads(said)
    return Run(
        due_s=np.array(answers["due_s"]),
        took_ms=np.array(answers["took_s"]) * 1e3,
        status=np.array(answers["status"]),
        errors=answers["errors"],
    )


def show(figures: dict[str, Any]) -> None:
    for name in ("machine", "python", "versions", "seed", "rows"):
        print(f"{name}: {figures[name]}")
    print(f"\n{'':26}{'wanted':>10}{'got':>10}")
    for name, wanted in WANTED.items():
        print(f"{name:26}{wanted:>10g}{figures[name]:>10g}  {'pass' if figures['passed'][name] else 'SHORT'}")
    print()
    for name in figures:
        if name.endswith("_by_round") or name.startswith(("renewals", "failed_why")):
            print(f"{name}: {figures[name]}")


if __name__ == "__main__":
    sys.exit(main())
