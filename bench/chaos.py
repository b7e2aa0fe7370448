"""Does a backfill on Ray survive whatever happens to it? One function a fault; each says what came out, and what not.

    python bench/chaos.py [--only NAME]... [--scale 1.0] [--seed N] [--json]

- `workers`: 300 workers are killed (SIGKILL) while 3,000 clips are worked off. Nothing may be lost or doubled, and a
  kill may cost one chunk: four decodes.
- `drivers`: the driver is killed 50 times, from before it connects to after its last commit, and each time the next
  run has to finish within two minutes (a lease lasts ten, so it has to see that its owner is dead). A driver with a
  Ray of its own is killed too, alone and with its process group: nothing may be left of it.
- `resume`: over a million finished ids, the scan for what is left (`bench/ledger.py`).
- `node`: one of three machines of a cluster goes.
- `children`: 1 % of the items kill their decode child every time. They are quarantined after three deaths, the rest
  finish, and the throughput, in turns without them, falls by less than 10 %. Here the network for pictures is real.
- `committers`: two drivers at once on one home; and one that is stopped (SIGSTOP) for longer than its lease between
  table and ledger, and then continued. Its acknowledgement is refused, and the rows are those of one driver alone.
- `disk`: no space for originals, analyses, tables or the ledger. The command line says so in a line and exits with 1,
  nothing is half done, and with space again the next run finishes. Wants to mount small disks (root).
- `store`: an object store that refuses writes, likewise. `memory`: Ray's shared memory is full, and the disk too.
- `transitions`: whoever makes a named transition is killed right after it, once for each.

Clips are drawn, and distinct: copies with other bytes after the last box of an MP4. They are decoded by real decode
children; encoders are fakes that load at once (tests/fakes.py) where nothing else is said, since killed ones load
again. Everything that happens by chance comes from the seed. The whole takes about half an hour on two cores.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path[0] = str(ROOT)  # bench/ingest.py would hide the package ingest
sys.path.insert(1, str(ROOT / "tests"))

import chaos
import psutil

from bench.machine import SEED, facts

DRAWN = 48
RESUMES_WITHIN_S = 120.0
"""A fifth of a lease: whoever resumes so soon has not waited for one to run out."""
GONE_WITHIN_S = 20.0
LOSS_AT_MOST = 0.10
SCAN_ROWS = 1_000_000
PLAIN = [word for name in ("onscreen", "sound", "speech", "transcript") for word in ("--without", name)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Where faults are made to happen."""

    folder: Path
    drawn: Sequence[Path]
    seed: int
    cluster: Any = None
    """One that runs already; None: each fault that wants one starts its own."""

    @contextmanager
    def head(self) -> Iterator[Any]:
        """A cluster that outlives its drivers."""
        if self.cluster is not None:
            yield self.cluster
            return
        with chaos.head() as cluster:
            yield cluster

    def place(self, name: str) -> Path:
        """A new folder."""
        return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.folder))

    def chance(self, name: str) -> random.Random:
        """Of one fault: what it draws does not depend on those before it."""
        return random.Random(f"{self.seed} {name}")

    def orders(self, name: str, *, items: int, broken: int = 0, killers: int = 0, **more: Any) -> chaos.Orders:
        """A new home, and items for it."""
        folder = self.place(name)
        clips = chaos.make_items(self.drawn, folder / "clips", items, broken=broken, killers=killers)
        return chaos.Orders(home=str(folder / "home"), clips=str(clips), log=str(folder / "log"), **more)


@dataclass(slots=True, kw_only=True)
class Verdict:
    """What came of one fault."""

    figures: dict[str, Any] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    """Empty: it was survived."""
    skipped: str = ""
    """Why it was not tried: no pass, either."""

    @property
    def passed(self) -> bool:
        return not self.wrong and not self.skipped

    def want(self, true: bool, otherwise: str) -> None:
        if not true:
            self.wrong.append(otherwise)


def workers(stage: Stage, *, items: int = 3_000, kills: int = 300) -> Verdict:
    """Workers die all the time."""
    orders = stage.orders("workers", items=items, in_place=True)
    log = chaos.Log(Path(orders.log))
    started = time.monotonic()
    driver = chaos.start(orders)
    killer = chaos.Killer(pid=driver.pid, log=log, chance=stage.chance("workers"), wanted=kills, items=items)
    try:
        killer.work(lambda: driver.poll() is not None)
        driver.communicate(timeout=1_200)
    finally:
        driver.kill()
    verdict = Verdict(wrong=[] if driver.returncode == 0 else [chaos.last_line(chaos.complaint(orders))])
    verdict.wrong += chaos.wrongs(orders, videos=items)
    repeated, killed = log.repeated(), killer.killed.total()
    verdict.want(killed == kills, f"{killed} kills, {kills} wanted")
    verdict.want(repeated <= killed * chaos.CHUNK, f"{repeated} decodes repeated after {killed} kills")
    verdict.figures = {
        "items": items, "kills": killed, "killed": dict(killer.killed), "repeated_decodes": repeated,
        "repeated_a_kill": repeated / max(killed, 1), "seconds": time.monotonic() - started,
    }  # fmt: skip
    return verdict


def drivers(stage: Stage, *, kills: int = 50, items: int = 24, local_kills: int = 6) -> Verdict:
    """The driver dies, at any moment, and the next one goes on."""
    verdict, chance, took_s = Verdict(), stage.chance("drivers"), list[float]()
    killed, resumed, repeated = 0, 0, 0
    when = Counter[str]()

    def finish(orders: chaos.Orders) -> list[str]:
        started = time.monotonic()
        chaos.run(orders)
        took_s.append(time.monotonic() - started)
        return chaos.wrongs(orders, videos=items)

    with stage.head() as cluster:
        verdict.wrong += finish(stage.orders("calm", items=items, ray=cluster.address))
        calm_s = took_s[-1]
        for _ in range(4 * kills):
            if killed == kills:
                break
            orders = stage.orders("drivers", items=items, ray=cluster.address)
            here = 0
            while killed < kills:
                if not _kill_driver(orders, chance, items, median(took_s[-5:])):
                    break  # it had ended before
                here, killed = here + 1, killed + 1
                when[_how_far(orders)] += 1
                if chance.random() > 0.2:  # else it dies again, resuming
                    break
            found = finish(orders)
            verdict.wrong += found
            resumed += here if not found and took_s[-1] < RESUMES_WITHIN_S else 0
            again = chaos.Log(Path(orders.log)).repeated()
            repeated += again
            bound = here * chaos.SLOTS * chaos.CHUNK
            verdict.want(again <= bound, f"{again} decodes repeated after {here} deaths of the driver")
        verdict.want(not (left := _busy(cluster)), f"workers of dead drivers live on: {left}")
    verdict.want(killed == kills, f"{killed} kills, {kills} wanted")
    verdict.want(resumed == killed, f"{resumed} of {killed} resumed")
    leftovers = [_left_of_a_local(stage, chance, items=items, group=bool(n % 2)) for n in range(local_kills)]
    verdict.want(not any(leftovers), f"of a killed driver with a Ray of its own there is left: {leftovers}")
    verdict.figures = {
        "kills": killed, "resumed": resumed, "killed_while": dict(when), "repeated_decodes": repeated,
        "calm_run_s": calm_s, "resuming_run_s": median(took_s[1:]) if took_s[1:] else None,
        "longest_resuming_run_s": max(took_s[1:], default=None), "local_kills": local_kills,
    }  # fmt: skip
    return verdict


def _kill_driver(orders: chaos.Orders, chance: random.Random, items: int, usual_s: float) -> bool:
    """Kill a driver by the clock, or by how far it is; whether it still ran then."""
    log = chaos.Log(Path(orders.log))
    kind, due = chance.choices(["clock", "decodes", "all done"], weights=[4, 5, 1])[0], chance.randrange(items)
    moment_s, more_s = chance.uniform(0.0, 0.9 * usual_s), chance.uniform(0.0, 0.5)
    reached: dict[str, Callable[[], bool]] = {
        "clock": lambda: time.monotonic() - started >= moment_s,
        "decodes": lambda: log.lines >= due,
        "all done": lambda: log.lines >= items and chaos.ended(orders) >= items,
    }
    started = time.monotonic()
    driver = chaos.start(orders)
    while driver.poll() is None and not reached[kind]():
        time.sleep(0.05)
    time.sleep(more_s if kind == "decodes" else 0.0)
    ran = driver.poll() is None
    driver.kill()
    driver.communicate()
    return ran


def _busy(cluster: Any) -> list[chaos.Worker]:
    """Workers that have not ended some time after their driver."""
    deadline = time.monotonic() + GONE_WITHIN_S
    while True:
        busy = [one for raylet in chaos.raylets(cluster) for one in chaos.workers(raylet) if one.kind != "IDLE"]
        if not busy or time.monotonic() > deadline:
            return busy
        time.sleep(0.2)


def _how_far(orders: chaos.Orders) -> str:
    """Where the ledger stood when the driver died."""
    if not (Path(orders.home) / "ledger.sqlite").exists():
        return "nothing was there"
    with chaos.opened(orders) as (home, space):
        counts = home.ledger.counts(space.id)
        holders = home.ledger.leased_by(space.id)
    if not counts["uploads"]:
        return "nothing was registered"
    if not counts["pending"]:
        return "all was done"
    return "work was leased" if holders else "nothing was leased"


def _left_of_a_local(stage: Stage, chance: random.Random, *, items: int, group: bool) -> list[str]:
    """Kill a driver that has a Ray of its own, alone or with its group; return what lives on."""
    orders = stage.orders("local", items=items)
    mark = f"{uuid.uuid4().hex}"
    driver = chaos.start(orders, FIRSTLOOK_CHAOS=mark)
    log, deadline = chaos.Log(Path(orders.log)), time.monotonic() + 120
    due = chance.randrange(items)
    while log.lines < due and driver.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    time.sleep(chance.uniform(0.0, 0.5))
    os.killpg(driver.pid, signal.SIGKILL) if group else driver.kill()
    driver.communicate()
    deadline = time.monotonic() + GONE_WITHIN_S
    while (left := _marked(mark)) and time.monotonic() < deadline:
        time.sleep(0.2)
    return left


def _marked(mark: str) -> list[str]:
    """Command lines of the processes that have inherited a mark in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.status() != psutil.STATUS_ZOMBIE and process.environ().get("FIRSTLOOK_CHAOS") == mark:
                found.append(" ".join(process.cmdline())[:120])
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return found


def resume(stage: Stage, *, rows: int = SCAN_ROWS) -> Verdict:
    """Finding out that a million ids are finished."""
    try:
        from bench.ledger import resume_scan
    except ImportError:
        return Verdict(skipped="bench/ledger.py is not there yet")
    figures = resume_scan(rows)
    return Verdict(figures=dict(figures), wrong=[] if figures["pass"] else [f"too slow or too large: {figures}"])


def node(stage: Stage, *, items: int = 200) -> Verdict:
    """One of three machines goes while it works."""
    verdict = Verdict()
    with chaos.head(cpus=1, more_nodes=2) as cluster:
        orders = stage.orders("node", items=items, ray=cluster.address, encoder_count=3)
        log, driver = chaos.Log(Path(orders.log)), chaos.start(orders)
        try:
            busy: list[str] = []
            while not busy and driver.poll() is None:
                time.sleep(0.05)
                if log.lines >= items // 4:
                    lost, busy = max(
                        ((one, _busy_on(one)) for one in cluster.worker_nodes), key=lambda pair: len(pair[1])
                    )
            at = log.lines
            if busy:
                cluster.remove_node(lost, allow_graceful=False)
            started = time.monotonic()
            driver.communicate(timeout=600)
        finally:
            driver.kill()
    verdict.want(driver.returncode == 0, chaos.last_line(chaos.complaint(orders)))
    verdict.wrong += chaos.wrongs(orders, videos=items)
    verdict.want(bool(busy), "the machine that went had no worker")
    verdict.figures = {
        "items": items, "decoded_when_it_went": at, "workers_on_it": dict(Counter(busy)),
        "repeated_decodes": log.repeated(), "finished_after_s": time.monotonic() - started,
    }  # fmt: skip
    return verdict


def _busy_on(machine: Any) -> list[str]:
    """What kinds of workers a machine of a cluster has at work."""
    there = chaos.workers(machine.all_processes["raylet"][0].process.pid)
    return [one.kind for one in there if one.kind != "IDLE"]


def children(stage: Stage, *, items: int = 200, rounds: int = 3) -> Verdict:
    """1 % of the items kill their decode child every time."""
    verdict, deadly = Verdict(), max(1, items // 100)
    took_s: dict[int, list[float]] = {0: [], deadly: []}
    deaths = 0
    with stage.head() as cluster:
        chaos.run(stage.orders("warm", items=8, ray=cluster.address, encoders="vision"))
        for _ in range(rounds):
            for killers in took_s:
                orders = stage.orders(
                    "children", items=items, killers=killers, ray=cluster.address, encoders="vision", in_place=True
                )
                said = chaos.run(orders)
                took_s[killers].append(said["seconds"])
                verdict.wrong += chaos.wrongs(orders, videos=items - killers, failures=killers)
                if killers:
                    deaths += said["child_deaths"]
                    verdict.want(
                        said["child_deaths"] == 3 * killers, f"{said['child_deaths']} deaths of {killers} killers"
                    )
                    with chaos.opened(orders) as (home, space):
                        reasons = Counter(failure.reason for failure in home.ledger.failures(space.id))
                    verdict.want(reasons == {"quarantined": killers}, f"failures: {dict(reasons)}")
    calm, deadly_vps = (median(items / s for s in some) for some in took_s.values())
    loss = 1 - median(a / b for a, b in zip(*took_s.values(), strict=True))  # by round: the machine is not always alike
    verdict.want(loss < LOSS_AT_MOST, f"throughput fell by {loss:.1%}")
    verdict.figures = {
        "items": items, "killers": deadly, "rounds": rounds, "child_deaths": deaths, "calm_vps": calm,
        "deadly_vps": deadly_vps, "loss": loss, "seconds": list(took_s.values()), "encoders": "vision",
    }  # fmt: skip
    return verdict


def committers(stage: Stage, *, items: int = 32) -> Verdict:
    """Two drivers commit at once; one that slept through its lease is refused."""
    verdict = Verdict()
    lone = stage.orders("lone", items=items, ray="")
    chaos.run(lone)
    wanted = chaos.rows_of(lone)
    verdict.wrong += chaos.wrongs(lone, videos=items)

    both = stage.orders("both", items=items, ray="")
    two = [chaos.start(both), chaos.start(both)]
    for driver in two:
        driver.communicate(timeout=300)
    verdict.want([driver.returncode for driver in two] == [0, 0], chaos.last_line(chaos.complaint(both)))
    verdict.wrong += chaos.wrongs(both, videos=items)
    verdict.want(chaos.rows_of(both) == wanted, "two at once made other rows than one alone")

    stopped = stage.orders("stopped", items=items, ray="", stops_before_acknowledging=True)
    zombie = chaos.start(stopped)
    deadline = time.monotonic() + 180
    while zombie.poll() is None and psutil.Process(zombie.pid).status() != psutil.STATUS_STOPPED:
        if time.monotonic() > deadline:
            zombie.kill()
            return Verdict(wrong=[*verdict.wrong, "it never came to acknowledge"])
        time.sleep(0.05)
    fell_asleep = time.monotonic()
    time.sleep(2 * chaos.SHORT_LEASE_S)
    other = chaos.replace(stopped, log=f"{stopped.log}2", stops_before_acknowledging=False)
    chaos.run(other)
    slept_s = time.monotonic() - fell_asleep
    before = chaos.rows_of(other)
    zombie.send_signal(signal.SIGCONT)
    zombie.communicate(timeout=120)
    refused = "the acknowledgement of" in chaos.complaint(stopped)
    verdict.want(zombie.returncode == 0 and refused, f"not refused: {chaos.last_line(chaos.complaint(stopped))!r}")
    verdict.wrong += chaos.wrongs(other, videos=items)
    verdict.want(before == wanted, "the one that took over made other rows than one alone")
    verdict.want(chaos.rows_of(other) == wanted, "the one that slept changed rows")
    verdict.figures = {"items": items, "slept_s": slept_s, "lease_s": chaos.SHORT_LEASE_S, "refused": refused}
    return verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """A store that runs out of space, and the command that meets it."""

    command: Sequence[str]
    leave_bytes: int
    """So little that some of the work gets done."""
    more_bytes_an_item: int = 0


DISKS = {
    "analyses": Disk(command=["backfill", "--ray", "local", "--in-place"], leave_bytes=100_000),
    "originals": Disk(command=["backfill"], leave_bytes=1_500_000),
    "tables": Disk(command=["backfill", "--in-place"], leave_bytes=60_000),
    "ledger": Disk(command=["backfill", "--in-place"], leave_bytes=0, more_bytes_an_item=5_000),
}


def disk(stage: Stage, *, items: int = 48, which: Sequence[str] = tuple(DISKS)) -> Verdict:
    """There is no space left, for one store after the other."""
    verdict = Verdict()
    for name in which:
        try:
            with chaos.small_disk(stage.place("disk") / "small", 64) as small:
                verdict.figures[name] = _full_disk(stage, name, DISKS[name], small, items, verdict)
        except PermissionError as error:
            return Verdict(skipped=str(error), figures=verdict.figures, wrong=verdict.wrong)
    return verdict


def _full_disk(stage: Stage, name: str, disk: Disk, small: Path, items: int, verdict: Verdict) -> dict[str, Any]:
    folder = stage.place(name)
    clips = chaos.make_items(stage.drawn, folder / "clips", items)
    manifest = folder / "manifest.csv"
    with manifest.open("w", newline="") as file:
        csv.writer(file).writerows([["uri"], *([str(path)] for path in sorted(clips.iterdir()))])
    on_it = {
        "analyses": {"FIRSTLOOK_BLOBS_URL": str(small / "blobs")},
        "originals": {"FIRSTLOOK_BLOBS_URL": str(small / "blobs")},
        "tables": {"FIRSTLOOK_TABLES_URL": str(small / "tables")},
        "ledger": {"FIRSTLOOK_LEDGER_URL": f"sqlite:///{small}/ledger.sqlite"},
    }[name]
    home = ["--home", str(folder / "home")]

    def firstlook(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "service.cli", *words, *home, "--json"], cwd=ROOT, env={**os.environ, **on_it},
            capture_output=True, text=True, timeout=600,
        )  # fmt: skip

    first = firstlook("ingest", str(clips / "00000.mp4"), *PLAIN)
    if first.returncode:
        raise RuntimeError(f"the first clip already: {first.stderr[-2000:]}")
    filler = chaos.fill(small, disk.leave_bytes + items * disk.more_bytes_an_item)
    full = firstlook(*disk.command, "--manifest", str(manifest))
    said = chaos.last_line(full.stderr)
    verdict.want(full.returncode == 1, f"{name}: exit code {full.returncode}")
    verdict.want(bool(chaos.SAID_NO_SPACE.search(said)), f"{name}: no clear word of it: {said!r}")
    verdict.want("Traceback" not in full.stderr, f"{name}: a traceback: {full.stderr[-1500:]}")
    filler.unlink()
    counts, found = _look(folder / "home", on_it)
    verdict.wrong += [f"{name}, full: {one}" for one in found]
    again = firstlook(*disk.command, "--manifest", str(manifest))
    verdict.want(again.returncode == 0, f"{name}: with space again: {again.stderr[-1500:]}")
    after, found = _look(folder / "home", on_it)
    verdict.wrong += [f"{name}, with space again: {one}" for one in found]
    verdict.want((after["videos"], after["pending"]) == (items, 0), f"{name}: in the end {after}, {items} wanted")
    return {"said": said, "videos_when_full": counts["videos"], "pending_when_full": counts["pending"]}


def _look(folder: Path, on_it: dict[str, str]) -> tuple[dict[str, int], list[str]]:
    from index.home import Home

    urls = {name.removeprefix("FIRSTLOOK_").lower(): url for name, url in on_it.items()}
    home = Home.open(folder, **urls)  # type: ignore[arg-type]
    try:
        space = home.ledger.spaces()[0]
        return home.ledger.counts(space.id), chaos.half_done(home, space)
    finally:
        home.close()


def store(stage: Stage, *, items: int = 48) -> Verdict:
    """An object store takes no more."""
    verdict = Verdict()
    with stage.head() as cluster:
        orders = stage.orders("store", items=items, ray=cluster.address, in_place=True)
        bucket = Path(orders.home).parent / "bucket"
        bucket.mkdir()
        orders = chaos.replace(orders, blobs_url=f"fillable://{bucket}")
        driver, log = chaos.start(orders), chaos.Log(Path(orders.log))
        while log.lines < items // 3 and driver.poll() is None:
            time.sleep(0.05)
        (bucket / "FULL").touch()
        driver.communicate(timeout=300)
        said = chaos.error_of(chaos.complaint(orders))
        verdict.want(driver.returncode == 1, f"exit code {driver.returncode}")
        verdict.want(said.startswith("OSError") and bool(chaos.SAID_NO_SPACE.search(said)), f"unclear: {said!r}")
        with chaos.opened(orders) as (home, space):
            counts = home.ledger.counts(space.id)
            verdict.wrong += chaos.half_done(home, space)
        (bucket / "FULL").unlink()
        chaos.run(orders)
    verdict.wrong += chaos.wrongs(orders, videos=items)
    verdict.figures = {"said": said, "videos_when_full": counts["videos"], "pending_when_full": counts["pending"]}
    return verdict


def memory(stage: Stage, *, items: int = 16) -> Verdict:
    """Ray's shared memory takes no more, and the disk behind it neither."""
    verdict = Verdict()
    orders = stage.orders("memory", items=items, store_mb=chaos.STORE_MB_MIN, pad_mb=60)
    driver = chaos.start(orders, **chaos.NO_SPILLING)
    try:
        driver.communicate(timeout=300)
    except subprocess.TimeoutExpired:
        verdict.wrong.append("it hangs")
        os.killpg(driver.pid, signal.SIGKILL)
        driver.communicate()
    said = chaos.error_of(chaos.complaint(orders))
    verdict.want(driver.returncode == 1, f"exit code {driver.returncode}")
    verdict.want(said.startswith("OSError") and bool(chaos.SAID_NO_SPACE.search(said)), f"unclear: {said!r}")
    with chaos.opened(orders) as (home, space):
        verdict.wrong += chaos.half_done(home, space)
    chaos.run(chaos.replace(orders, store_mb=0, pad_mb=0))
    verdict.wrong += chaos.wrongs(orders, videos=items)
    verdict.figures = {"said": said[:300]}
    return verdict


def transitions(stage: Stage, *, items: int = 24, which: Sequence[str] = chaos.TRANSITIONS) -> Verdict:
    """Whoever makes a named transition dies right after it."""
    verdict = Verdict()
    with stage.head() as cluster:
        for name in which:
            orders = stage.orders("transition", items=items, broken=1, ray=cluster.address, dies=name)
            driver = chaos.start(orders)
            driver.communicate(timeout=300)
            if name in chaos.DRIVER_DIES:
                verdict.want(driver.returncode == -signal.SIGKILL, f"{name}: the driver ended with {driver.returncode}")
                chaos.run(chaos.replace(orders, dies=""))
            else:
                verdict.want(driver.returncode == 0, f"{name}: {chaos.last_line(chaos.complaint(orders))}")
                verdict.want(Path(f"{orders.log}.died").exists(), f"{name}: nobody died")
            verdict.wrong += [f"{name}: {one}" for one in chaos.wrongs(orders, videos=items - 1, failures=1)]
            repeated = chaos.Log(Path(orders.log)).repeated()
            bound = chaos.CHUNK * (chaos.SLOTS if name in chaos.DRIVER_DIES else 1)
            verdict.want(repeated <= bound, f"{name}: {repeated} decodes repeated, {bound} at most")
            verdict.figures[name] = {"repeated_decodes": repeated}
    return verdict


FAULTS: dict[str, Callable[..., Verdict]] = {
    "workers": workers,
    "drivers": drivers,
    "resume": resume,
    "node": node,
    "children": children,
    "committers": committers,
    "disk": disk,
    "store": store,
    "memory": memory,
    "transitions": transitions,
}
SIZES = {
    "workers": {"items": 3_000, "kills": 300},
    "drivers": {"kills": 50, "local_kills": 6},
    "resume": {"rows": SCAN_ROWS},
    "node": {"items": 200},
    "children": {"items": 200},
}
"""What `--scale` makes smaller; a smaller run is no pass of the whole."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", choices=FAULTS, help="may be repeated; fewer than all are no pass")
    parser.add_argument("--scale", type=float, default=1.0, help="less than 1 is no pass")
    parser.add_argument("--seed", type=int, default=SEED)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    started = time.monotonic()
    verdicts: dict[str, Verdict] = {}
    print(f"seed {asked.seed}", file=sys.stderr)
    with tempfile.TemporaryDirectory(prefix="chaos-", ignore_cleanup_errors=True) as folder:
        drawn = chaos.draw(Path(folder) / "drawn", DRAWN)
        stage = Stage(folder=Path(folder), drawn=drawn, seed=asked.seed)
        for name in asked.only or FAULTS:
            sizes = {what: max(1, round(size * asked.scale)) for what, size in SIZES.get(name, {}).items()}
            verdicts[name] = tried(name, stage, **sizes)
    figures = judged(verdicts, scale=asked.scale)
    about = {**facts(seed=asked.seed), "scale": asked.scale, "benchmark_s": round(time.monotonic() - started)}
    if asked.json:
        print(json.dumps(about | figures))
    else:
        show(about, figures)
    return 0 if figures["pass"] else 1


def tried(name: str, stage: Stage, **sizes: int) -> Verdict:
    """Make a fault happen; where it could not be carried through, that is what is wrong."""
    started = time.monotonic()
    try:
        verdict = FAULTS[name](stage, **sizes)
    except (RuntimeError, OSError, subprocess.SubprocessError) as error:
        verdict = Verdict(wrong=[f"{type(error).__name__}: {error}"])
    word = "skipped" if verdict.skipped else "survived" if verdict.passed else "NOT SURVIVED"
    print(f"{name}: {word} after {time.monotonic() - started:.0f} s", file=sys.stderr)
    return verdict


def judged(verdicts: dict[str, Verdict], *, scale: float) -> dict[str, Any]:
    """All figures; the whole passes when every fault was tried at its full size and survived."""
    return {
        "figures": {name: verdict.figures for name, verdict in verdicts.items()},
        "wrong": {name: verdict.wrong for name, verdict in verdicts.items() if verdict.wrong},
        "skipped": {name: verdict.skipped for name, verdict in verdicts.items() if verdict.skipped},
        "passed": {name: verdict.passed for name, verdict in verdicts.items()},
        "pass": verdicts.keys() == FAULTS.keys() and scale >= 1 and all(one.passed for one in verdicts.values()),
    }


def show(about: dict[str, Any], figures: dict[str, Any]) -> None:
    for name, value in about.items():
        print(f"{name}: {value}")
    for name, passed in figures["passed"].items():
        print(f"\n{name}: {'pass' if passed else figures['skipped'].get(name) or 'SHORT'}")
        for what, value in figures["figures"][name].items():
            print(f"  {what:24}{value:.3f}" if isinstance(value, float) else f"  {what:24}{value}")
        for one in figures["wrong"].get(name, []):
            print(f"  wrong: {one}")
    print(f"\npass: {figures['pass']}")


if __name__ == "__main__":
    sys.exit(main())
