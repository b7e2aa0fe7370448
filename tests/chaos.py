"""What the tests and the benchmark of faults share: items, a driver that dies on request, and who is killed how.

A driver is a process that backfills a folder (`start`); `Orders` say where, on what, and what goes wrong. Its decode
workers have real decode children, and write down what they decode; its encoders are the fakes, which load at once, or
real vision. Workers of Ray are found below a process that the caller started, never by name across the machine.

Workers import this module, so it imports little.
"""

from __future__ import annotations

import errno
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import fsspec
import numpy as np
from fsspec.implementations.local import LocalFileSystem

from index.blobs import Blobs

if TYPE_CHECKING:
    from index.home import Home
    from index.records import Space
    from ingest.cluster import Kit
    from ingest.encode import Encoders

TESTS = Path(__file__).parent
ROOT = TESTS.parent
CHUNK = 4
"""Uploads in one hand (`ingest.pipeline.CHUNK`): what the death of a worker may cost."""
SLOTS = 4
"""Chunks that a driver of ours has in hand: two decoding, one in the encoder, one ahead."""
SHORT_LEASE_S = 1.0
"""What leases last in a driver that stops itself."""
STORE_MB_MIN = 80
"""Ray takes no less than 75 MB of shared memory."""
NO_SPILLING = {"RAY_automatic_object_spilling_enabled": "0", "RAY_local_fs_capacity_threshold": "0.0001"}
"""For Ray the disk is full, then, and what does not fit into its memory has no place to go."""
LINE = 65
"""Bytes of a line in the log of decodes."""
WORKER = re.compile(r"ray::_?(decode|Encoder|IDLE)")
SAID_NO_SPACE = re.compile(r"no space|disk is full|memory is full", re.IGNORECASE)

DRIVER_DIES = {
    "blob written": ("index.blobs", "Blobs", "put_original", 3),
    "outcome returned": ("ingest.cluster", "RayCrew", "submit", 2),
    "rows committed": ("index.table", "VideoTable", "upsert", 1),
    "ledger acknowledged": ("index.ledger", "Ledger", "acknowledge", 1),
    "failure written": ("index.ledger", "Ledger", "fail", 1),
    "job written": ("index.ledger", "Ledger", "start_job", 1),
}
"""Transition -> module, class and method after whose so-manieth call the driver dies."""
WORKER_DIES = ("decode done", "analysis written")
TRANSITIONS = (*DRIVER_DIES, *WORKER_DIES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Orders:
    """What a driver does."""

    home: str
    clips: str
    log: str
    """Gets a line a decode."""
    ray: str = "local"
    """Or an address; empty: threads of the driver."""
    encoders: str = "light"
    """`light`: those of tests/fakes.py; `vision`: the real network for pictures, a log-mel, and real text."""
    encoder_count: int = 1
    dies: str = ""
    """One of `TRANSITIONS`: whoever makes it is killed right after it, once."""
    in_place: bool = False
    stops_before_acknowledging: bool = False
    """Its leases last a second, and it stops itself (SIGSTOP) between table and ledger."""
    blobs_url: str = ""
    pad_mb: int = 0
    """So much is added to each clip that is decoded."""
    store_mb: int = 0
    """Ray's shared memory; 0: what it always has."""

    def driver(self, **changed: Any) -> list[str]:
        said = json.dumps(asdict(self) | changed)
        return [sys.executable, "-c", "from chaos import drive; drive()", said]


# Items ---------------------------------------------------------------------------------------------------------------


def make_items(drawn: Sequence[Path], folder: Path, count: int, *, broken: int = 0, killers: int = 0) -> Path:
    """Fill a folder with so many distinct files: copies of drawn clips, then files at fault, in an order of chance.

    A copy ends with another `free` box, which no decoder looks at. `broken` is text; a killer says `please crash`,
    which the decode child of the tests obeys (tests/naughty_child.py): it dies of a segmentation fault.
    """
    folder.mkdir(parents=True)
    kinds = ["broken"] * broken + ["killer"] * killers + ["clip"] * (count - broken - killers)
    random.Random(count).shuffle(kinds)
    for number, kind in enumerate(kinds):
        path = folder / f"{number:05}.mp4"
        if kind == "clip":
            box = (16).to_bytes(4, "big") + b"free" + number.to_bytes(8, "big")
            path.write_bytes(drawn[number % len(drawn)].read_bytes() + box)
        else:
            path.write_bytes((b"please crash" if kind == "killer" else b"not a video") + b" " * (number + 1))
    return folder


def draw(folder: Path, count: int) -> list[Path]:
    """Draw clips of a few seconds."""
    from ingest.samples import draw_samples

    return [clip.path for clip in draw_samples(folder, count=count)]


# The driver, and what runs in its workers ----------------------------------------------------------------------------


def environment(**added: str) -> dict[str, str]:
    """Of a driver: it and its workers find this module and the benchmark."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(TESTS), str(ROOT)]), **added}


def start(orders: Orders, **added: str) -> subprocess.Popen[str]:
    """Start a driver, in a process group of its own."""
    errors = open(f"{orders.log}.stderr", "a+")  # noqa: SIM115
    return subprocess.Popen(
        orders.driver(), env=environment(**added), stdout=subprocess.PIPE, stderr=errors, text=True,
        start_new_session=True,
    )  # fmt: skip


def run(orders: Orders, *, timeout_s: float = 600.0, **added: str) -> dict[str, Any]:
    """Run a driver to its end and return what it says.

    Raises:
        RuntimeError: it failed; the message ends with what it said.
    """
    process = start(orders, **added)
    out, _ = process.communicate(timeout=timeout_s)
    if process.returncode:
        raise RuntimeError(f"the driver ended with {process.returncode}: {complaint(orders)[-2000:]}")
    said: dict[str, Any] = json.loads(out.splitlines()[-1])
    return said


def complaint(orders: Orders) -> str:
    """What drivers with these orders said on stderr."""
    return Path(f"{orders.log}.stderr").read_text(errors="replace")


def drive() -> None:
    """The driver: backfill a folder as `Library.backfill` does. Prints how long the work took, as JSON."""
    orders = Orders(**json.loads(sys.argv[1]))
    from threading import Event

    from index.home import Home
    from ingest import cluster
    from ingest.backfill import queue_named, run
    from ingest.pipeline import Threads, reconcile
    from ingest.uploads import discover

    _arm(orders)
    if orders.store_mb:
        cluster.STORE_BYTES = orders.store_mb << 20
    space = space_of(orders)
    home = Home.open(orders.home, blobs_url=orders.blobs_url or None)
    home.ledger.add_space(space)
    reconcile(home, space)
    sources = discover([orders.clips])
    kit = cluster.Kit(
        blobs_url=home.blobs_url,
        space=space,
        open_decoder=partial(open_decoder, orders=orders),
        open_encoders=partial(open_encoders, orders=orders),
    )

    @contextmanager
    def crew() -> Iterator[Any]:
        if orders.ray:
            pools = cluster.Pools(decoders=2, encoders=orders.encoder_count, threads=1)
            with cluster.connected(orders.ray, cores=2), cluster.crew(kit, pools, on_message=_mumble) as crew:
                yield crew
            return
        from ingest.pipeline import Engine

        engine = Engine(space=space, decoder=kit.decoder(), encoders=kit.encoders(1))
        with Threads(home.blobs, engine, 2) as crew:
            yield crew

    stop = Event()
    queue = partial(queue_named, sources, home, space.id, in_place=orders.in_place, stop=stop)
    ran = run(home, space, queue, crew, engine=f"ray {orders.ray}", stop=stop)
    said = {"seconds": ran.seconds, "child_deaths": ran.progress.child_deaths, "lost": ran.progress.lost_workers}
    print(json.dumps(said | home.ledger.counts(space.id)))
    home.close()


def space_of(orders: Orders) -> Space:
    if orders.encoders == "light":
        from fakes import SPACE

        return SPACE
    from bench.ingest_once import plain

    return plain(1)[1]


def open_encoders(kit: Kit, threads: int, orders: Orders) -> Encoders:
    """In the encoder's process."""
    if orders.dies == "analysis written":
        _die_after(Blobs, "put", lambda arguments: arguments[0].startswith("analysis/"), _first_of(orders))
    if orders.encoders == "vision":
        from bench.ingest_once import plain

        return plain(threads)[0]
    from fakes import fake_encoders

    return fake_encoders()


def open_decoder(kit: Kit, orders: Orders) -> LoggedDecoder:
    """In a decode worker's process."""
    return LoggedDecoder(orders)


class LoggedDecoder:
    """A real decode child of the kind that dies on request, and a line in the log for each file that it is handed."""

    def __init__(self, orders: Orders) -> None:
        from ingest.decode import DecodePool

        self._orders = orders
        self._pool = DecodePool(1, text_frames=False, spare=0, child_module="naughty_child")

    def decode(self, path: Path) -> Any:
        note(Path(self._orders.log), path.name)
        clip = self._pool.decode(path)
        if self._orders.pad_mb:
            clip = replace(clip, waveform=np.zeros(self._orders.pad_mb << 18, np.float32))
        if self._orders.dies == "decode done" and _first_of(self._orders)():
            os.kill(os.getpid(), signal.SIGKILL)
        return clip


def note(log: Path, name: str) -> None:
    """Append a line of fixed length in one write, so that lines of many processes never mix."""
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, f"{name:<{LINE - 1}.{LINE - 1}}\n".encode())
    finally:
        os.close(descriptor)


def _mumble(message: str) -> None:
    print(message, file=sys.stderr)


def _arm(orders: Orders) -> None:
    """Make the driver die, or stop, where its orders say."""
    if orders.dies in DRIVER_DIES:
        module, kind, method, calls = DRIVER_DIES[orders.dies]
        owner = getattr(__import__(module, fromlist=[kind]), kind)
        if orders.dies == "outcome returned":
            _die_when_it_comes(owner, method, calls)
            return
        left = iter(range(calls - 1, -1, -1))
        says = (lambda arguments: bool(arguments[0])) if method == "fail" else (lambda arguments: True)
        _die_after(owner, method, says, lambda: next(left) == 0)
    if orders.stops_before_acknowledging:
        _stop_before_acknowledging()


def _die_after(owner: Any, name: str, is_it: Callable[[Sequence[Any]], bool], now: Callable[[], bool]) -> None:
    original = getattr(owner, name)

    def then_die(self: Any, *arguments: Any, **named: Any) -> Any:
        result = original(self, *arguments, **named)
        if is_it(arguments) and now():
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, then_die)


def _die_when_it_comes(owner: Any, name: str, calls: int) -> None:
    original = getattr(owner, name)
    left = iter(range(calls - 1, -1, -1))

    def submit(self: Any, chunk: Any) -> Any:
        future = original(self, chunk)
        future.add_done_callback(lambda done: next(left) == 0 and os.kill(os.getpid(), signal.SIGKILL))
        return future

    setattr(owner, name, submit)


def _stop_before_acknowledging() -> None:
    from index import ledger

    ledger.ITEM_LEASE_S = SHORT_LEASE_S
    gate = threading.RLock()  # nobody is stopped in the middle of a transaction: SQLite would let nobody else write
    lease, acknowledge, write = ledger.Ledger.lease, ledger.Ledger.acknowledge, ledger.Ledger._write

    def short(self: Any, name: str, owner: str, *, ttl_s: float = 0.0) -> Any:
        return lease(self, name, owner, ttl_s=SHORT_LEASE_S)

    def stop_first(self: Any, *arguments: Any) -> None:
        with gate:
            os.kill(os.getpid(), signal.SIGSTOP)
            time.sleep(0.5)  # any thread may be the one that takes the signal: no later than in here, all stop
        acknowledge(self, *arguments)

    @contextmanager
    def one_at_a_time(self: Any) -> Iterator[Any]:
        with gate, write(self) as connection:
            yield connection

    ledger.Ledger.lease, ledger.Ledger.acknowledge = short, stop_first  # type: ignore[method-assign]
    ledger.Ledger._write = one_at_a_time  # type: ignore[method-assign]


def _first_of(orders: Orders) -> Callable[[], bool]:
    """Whether nobody has died by these orders yet, in any process."""

    def is_first() -> bool:
        try:
            os.close(os.open(f"{orders.log}.died", os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return False
        return True

    return is_first


# Stores that are full ------------------------------------------------------------------------------------------------


class FillableStore(LocalFileSystem):
    """An object store over a folder, which refuses writes while a file `FULL` lies there. `fillable:///FOLDER`."""

    protocol = "fillable"

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        if isinstance(path, str):
            path = path.removeprefix("fillable://")
        return super()._strip_protocol(path)

    def _open(self, path: str, mode: str = "rb", block_size: int | None = None, **options: Any) -> Any:
        if "r" not in mode and any((folder / "FULL").exists() for folder in Path(path).parents):
            raise OSError(errno.ENOSPC, "no space left in the object store", path)
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        return super()._open(path, mode, block_size, **options)


fsspec.register_implementation("fillable", FillableStore, clobber=True)


@contextmanager
def small_disk(folder: Path, size_mb: int) -> Iterator[Path]:
    """Mount a disk in memory.

    Raises:
        PermissionError: this user, or this machine, may not mount.
    """
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size_mb}m", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if mounted.returncode:
        raise PermissionError(f"mounting a small disk was refused: {mounted.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(folder: Path, leave_bytes: int) -> Path:
    """Take the space of a disk, but for so much; return the file that holds it."""
    free = os.statvfs(folder)
    filler = folder / "filler"
    with filler.open("wb") as file:
        left = free.f_bavail * free.f_bsize - leave_bytes
        while left > 0:
            left -= file.write(bytes(min(left, 1 << 20)))
    return filler


# Who is there, and who dies ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Worker:
    """A process of Ray that works for us, or waits to."""

    pid: int
    kind: str
    """`decode`, `Encoder` or `IDLE`."""


def below(pid: int) -> list[tuple[int, float]]:
    """All descendants of a process, each with the time of its start: a pid may come back."""
    import psutil

    try:
        return [(child.pid, child.create_time()) for child in psutil.Process(pid).children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def still_there(processes: Sequence[tuple[int, float]]) -> list[int]:
    """Those of them that run yet; zombies do not."""
    import psutil

    found = []
    for pid, started in processes:
        try:
            process = psutil.Process(pid)
            if process.create_time() == started and process.status() != psutil.STATUS_ZOMBIE:
                found.append(pid)
        except psutil.NoSuchProcess:
            pass
    return found


def gone_within(processes: Sequence[tuple[int, float]], seconds: float) -> list[int]:
    """Wait until they are gone; return who is not."""
    deadline = time.monotonic() + seconds
    while (left := still_there(processes)) and time.monotonic() < deadline:
        time.sleep(0.1)
    return left


def workers(pid: int) -> list[Worker]:
    """Workers of the Ray that runs below a process, in an order that does not change by itself."""
    found = []
    for child, _ in below(pid):
        try:
            title = Path(f"/proc/{child}/cmdline").read_bytes().decode(errors="replace")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if matched := WORKER.match(title):
            found.append(Worker(child, matched[1]))
    return sorted(found, key=lambda worker: worker.pid)


class Log:
    """The log of decodes, read as it grows."""

    def __init__(self, path: Path) -> None:
        self._path = path

    @property
    def lines(self) -> int:
        """How many decodes have begun."""
        try:
            return self._path.stat().st_size // LINE
        except FileNotFoundError:
            return 0

    def repeated(self) -> int:
        """Decodes beyond one a file."""
        names = self._path.read_text().split() if self._path.exists() else []
        return len(names) - len(set(names))


@dataclass(slots=True, kw_only=True)
class Killer:
    """Kills workers of a driver at moments of chance, one at a time, after some work has been done since the last."""

    pid: int
    log: Log
    chance: random.Random
    wanted: int
    items: int
    killed: Counter[str] = field(default_factory=Counter)

    def work(self, is_over: Callable[[], bool]) -> None:
        due = 1
        while self.killed.total() < self.wanted and not is_over():
            if self.log.lines < due:
                time.sleep(0.02)
                continue
            time.sleep(self.chance.uniform(0.0, 0.3))
            kinds = self.chance.choices(["decode", "Encoder", "IDLE"], weights=[5, 4, 1])
            there = workers(self.pid)
            some = [one for one in there if one.kind in kinds] or [one for one in there if one.kind != "IDLE"]
            if not some:
                continue
            victim = self.chance.choice(some)
            try:
                os.kill(victim.pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
            self.killed[victim.kind] += 1
            due = self.log.lines + 1 + round(self.chance.uniform(0.0, 2 * self._gap()))

    def _gap(self) -> float:
        """Decodes until the next kill, on average: what is left to do is divided among the kills that are left."""
        left = self.items - (self.log.lines - self.log.repeated())
        return max(0.0, 0.8 * left / max(self.wanted - self.killed.total(), 1) - 1)


# What came out -------------------------------------------------------------------------------------------------------


@contextmanager
def opened(orders: Orders) -> Iterator[tuple[Home, Space]]:
    from index.home import Home

    home = Home.open(orders.home, blobs_url=orders.blobs_url or None)
    try:
        yield home, space_of(orders)
    finally:
        home.close()


def wrongs(orders: Orders, *, videos: int, failures: int = 0) -> list[str]:
    """What is not as it has to be in a home whose work is done: lost, doubled, half done."""
    with opened(orders) as (home, space):
        counts = home.ledger.counts(space.id)
        found = [
            f"{name}: {counts[name]}, {wanted} wanted"
            for name, wanted in (("videos", videos), ("failures", failures), ("pending", 0), ("partial", 0))
            if counts[name] != wanted
        ]
        ids = home.ledger.video_ids(space.id)
        return found + half_done(home, space) + ([] if len(set(ids)) == len(ids) else ["an id twice in the ledger"])


def half_done(home: Home, space: Space) -> list[str]:
    """Videos of the ledger without a row or an analysis, rows twice, rows that do not match their digest."""
    from index.blobs import analysis_key
    from index.records import Analysis

    found = []
    ids, rows = home.ledger.video_ids(space.id), home.table(space).ids()
    if missing := set(ids) - set(rows):
        found.append(f"{len(missing)} videos without a row")
    if len(set(rows)) != len(rows):
        found.append(f"{len(rows) - len(set(rows))} rows twice")
    if bad := home.table(space).check():
        found.append(f"{len(bad)} rows that do not match their digest")
    for start_ in range(0, len(ids), 500):
        for upload in home.ledger.uploads(ids[start_ : start_ + 500]).values():
            try:
                Analysis.from_bytes(home.blobs.get(analysis_key(upload.content_sha256, space.id)))
            except (FileNotFoundError, ValueError) as error:
                found.append(f"{upload.video_id} is a video without an analysis: {error}")
    return found


def rows_of(orders: Orders) -> dict[str, bytes]:
    """Id -> what its row searches by."""
    with opened(orders) as (home, space):
        videos = home.table(space).get(home.table(space).ids())
        return {video_id: video.fused.tobytes() for video_id, video in videos.items()}


def ended(orders: Orders) -> int:
    """How many items are videos or failures by now."""
    with opened(orders) as (home, space):
        counts = home.ledger.counts(space.id)
    return counts["videos"] + counts["failures"]


@contextmanager
def head(*, cpus: int = 2, more_nodes: int = 0, **options: Any) -> Iterator[Any]:
    """A Ray cluster on this machine that outlives its drivers, with a token."""
    from ingest import cluster as _door  # its import makes the token, which drivers inherit

    del _door
    from ray.cluster_utils import Cluster

    node = {"num_cpus": cpus, "object_store_memory": 256 << 20}
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = environment()["PYTHONPATH"]
    cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False, **options})
    try:
        for _ in range(more_nodes):
            cluster.add_node(**node)
        yield cluster
    finally:
        cluster.shutdown()
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before


def raylets(cluster: Any) -> list[int]:
    return [node.all_processes["raylet"][0].process.pid for node in cluster.list_all_nodes()]


def last_line(text: str) -> str:
    """Of what a program said."""
    lines = text.strip().splitlines()
    return lines[-1] if lines else ""


def error_of(text: str) -> str:
    """What a driver ended with: the message of its last traceback, from the name of the exception on."""
    _, _, last = text.rpartition("Traceback (most recent call last):")
    lines = last.strip().splitlines()
    first = next((number for number, line in enumerate(lines) if re.match(r"[A-Za-z_.]+(: |$)", line)), 0)
    return "\n".join(lines[first:])
