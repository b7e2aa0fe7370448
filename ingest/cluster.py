"""The same work on Ray: processes of this machine, or of a cluster. The only door to Ray here.

```
 driver ──► decode tasks ─────────────────────► encoders ───────────────► blobs
 claims     a CPU and a decode child each       actors, weights once
 commits ◄──────── videos and failures, a few KB each ──┘
```

A chunk is a coroutine of the driver (`RayCrew._analyse`), which reads from top to bottom. Workers see paths, blobs and
the records of their chunk; never the ledger, never a table. What is in flight is bounded by the number of slots, so the
memory is too. Ray itself repeats nothing: when a worker dies, its chunk goes back to the ledger, which knows what was
in hand (Ray's own retries would run a poisonous file again and again, and its neighbours with it).
"""

from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from threading import Event
from typing import Any

from ingest.ray_token import ClusterRefused, settle

_token = settle()  # before Ray, which reads its settings once, when it is imported

import grpc
import ray
from ray.exceptions import (
    ActorUnavailableError,
    ObjectStoreFullError,
    OutOfDiskError,
    RayActorError,
    RayError,
    RayTaskError,
)
from ray.util import ActorPool

from index.records import Claimed
from ingest.chunk_decode import Outcome
from ingest.cluster_workers import Encoder, Kit, decode, layers

_ray: Any = ray  # some of its functions have no types
LOCAL = "local"
STORE_BYTES = 256 << 20
"""Shared memory of a local Ray, all of which is touched sooner or later. The clips of a chunk are 30 MB; what does not
fit is spilled to the disk, as that of ten-minute videos is."""
ENCODERS_START_S = 600.0
"""Loading weights takes seconds; until an autoscaler has brought a machine, minutes."""
LISTEN_S = 0.5
CONNECT_S = 10.0
TOLD = "docs/cluster.md tells how to start a cluster with a token"
_COLOURS = re.compile("\x1b\\[[0-9;]*m")
_CHECK_ALIVE = "/ray.rpc.NodeInfoGcsService/CheckAlive"
"""What any client may ask of a cluster first; src/ray/protobuf/gcs_service.proto."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pools:
    """How many do what. The defaults are one machine's: a decode slot a core, and one encoder with as many threads."""

    decoders: int | None = None
    """Chunks decoded at once, a CPU each; default: every CPU of the cluster. More than there are makes it grow."""
    encoders: int | None = None
    """Encoders, each with its own copy of the weights; default: one a machine, or what the GPUs hold."""
    threads: int | None = None
    """Chunks that one encoder works on at once; default: the CPUs of a machine."""
    gpus: float = 0.0
    """Of an encoder; .25 puts four on a GPU. Those of the space `local` compute on the CPU alone."""
    cpus: float = 0.0
    """That an encoder keeps from others. 0: it shares them with decoding, and whoever has work runs."""


@contextmanager
def connected(address: str, *, cores: int | None = None) -> Iterator[None]:
    """Be connected to Ray for as long as the block lasts.

    Args:
        address: `local` starts one on this machine that ends with us, with a token that nobody else knows; `auto` or
            `host:port` is a cluster, with a token in `RAY_AUTH_TOKEN` or a file, as Ray documents it.
        cores: of a local one; default those that this process may use.

    Raises:
        ClusterRefused: the cluster is open to everybody, we have no token, or it is not the right one.
    """
    found = check(address)
    warnings.filterwarnings("ignore", message="lance is not fork-safe")  # Ray forks to run another program, at once
    on_sigterm = signal.getsignal(signal.SIGTERM)
    if address == LOCAL:
        ray.init(
            LOCAL,  # or Ray would join one that runs here already
            num_cpus=cores or len(os.sched_getaffinity(0)),
            include_dashboard=False,
            object_store_memory=STORE_BYTES,
            log_to_driver=False,
            logging_level=logging.ERROR,
            _system_config={"task_events_report_interval_ms": 0},  # a history of tasks, 2 KB each, for a dashboard
        )
    else:
        ray.init(address=found, log_to_driver=True, logging_level=logging.WARNING)
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, on_sigterm)  # Ray's own would end us at once
    try:
        yield
    finally:
        ray.shutdown()


def check(address: str) -> str:
    """Find out whether we may and would connect; return the address that was found.

    Raises:
        ClusterRefused: as `connected`.
    """
    if _token.problem:
        raise ClusterRefused(f"{_token.problem}; without a token Ray lets anybody run code. {TOLD}")
    if address == LOCAL:
        return LOCAL
    found = _gcs_address(address)
    if _lets_in(found, secret=None):
        raise ClusterRefused(f"the cluster at {found} answers without a token: anybody may run code on it. {TOLD}")
    if not _lets_in(found, secret=_token.secret):  # Ray itself would try for 20 s, and not say why
        whose = "we have none" if _token.our_own else "ours is not its own"
        raise ClusterRefused(f"the cluster at {found} wants a token, and {whose}. {TOLD}")
    return found


def cores() -> int:
    """CPUs of the Ray that we are connected to."""
    return int(_ray.cluster_resources().get("CPU", 0))


def spread(worker: Callable[[], Any], chunks: Sequence[Sequence[str]], *, workers: int | None = None) -> Iterator[Any]:
    """Let actors work on chunks of ids, one at a time each; yield what comes of them, in the order of the chunks.

    Ray starts an actor that died again, and repeats nothing: a chunk that was in its hands is an error.

    Args:
        worker: makes, in an actor of its own, something with `run(ids)`; has to be importable there.
        workers: actors, a CPU each; default: every CPU of the cluster, and no more than there are chunks.
    """
    made = max(1, min(workers or cores(), len(chunks)))
    actors = [_ray.remote(num_cpus=1)(_Spread).remote(worker) for _ in range(made)]
    pool: Any = ActorPool(actors)
    yield from pool.map(lambda actor, ids: actor.run.remote(list(ids)), chunks)


class _Spread:
    """An actor around whatever works."""

    def __init__(self, worker: Callable[[], Any]) -> None:
        self._worker = worker()

    def run(self, ids: list[str]) -> Any:
        return self._worker.run(ids)


@contextmanager
def crew(
    kit: Kit,
    pools: Pools | None = None,
    *,
    stop: Event | None = None,
    on_message: Callable[[str], None] = print,
) -> Iterator[RayCrew]:
    """Start decoders and encoders on the Ray that we are connected to; all encoders are there before the first chunk.

    A `stop` that is set meanwhile ends the waiting: nothing will be asked of them.

    Raises:
        TimeoutError: the encoders did not start; the message says what Ray has and what was asked for.
    """
    started = RayCrew(kit, _sized(pools or Pools()))
    try:
        started.wait_until_full(stop or Event())
        on_message(started.describe())
        yield started
    finally:
        started.close()


class RayCrew:
    """Decoders and encoders on Ray, as a `Crew`. Use `crew`, which waits until it is complete."""

    def __init__(self, kit: Kit, pools: _Sized) -> None:
        kit.put_probe()
        self._probe, self._kit, self._pools = kit.drop_probe, ray.put(kit), pools
        self.slots = pools.decoders + pools.encoders * pools.threads + 1
        self._encoders = [self._new_encoder(kit) for _ in range(pools.encoders)]
        decoding: Any = decode
        for _ in range(pools.decoders):
            decoding.remote(self._kit, [])  # its process and its decode child start while the encoders load
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="chunks", daemon=True)
        self._thread.start()
        self._revivals: dict[int, asyncio.Task[None]] = {}
        self._free: asyncio.Queue[int] = asyncio.Queue()
        for number in list(range(pools.encoders)) * pools.threads:  # a slot a thread: none waits in the encoder itself,
            self._free.put_nowait(number)  # so that its death costs what it works on, and no more

    def describe(self) -> str:
        p = self._pools
        each = f"{p.threads} threads" + (f", {p.gpus:g} GPU" if p.gpus else "")
        return f"on Ray: {p.decoders} decoding, {p.encoders} encoding with {each} each"

    def wait_until_full(self, stop: Event) -> None:
        asked = missing = [encoder.ready.remote() for encoder in self._encoders]
        deadline = time.monotonic() + ENCODERS_START_S
        while missing and time.monotonic() < deadline:
            if stop.is_set():
                return
            ready, missing = ray.wait(asked, num_returns=len(asked), timeout=LISTEN_S)
        try:
            ray.get(ready)
        except RayActorError as error:
            raise RuntimeError(f"an encoder does not start: {_last_line(error)}") from error
        if missing:
            raise TimeoutError(
                f"{len(missing)} of {len(asked)} encoders did not start within {ENCODERS_START_S:.0f} s: each wants "
                f"{self._pools.gpus:g} GPU and {self._pools.cpus:g} CPU, and Ray has {_resources()}"
            )

    def layers(self, stop: Event) -> Mapping[str, bool | str]:
        """The layers of the decoders' sandbox, as one worker has them: True, or why not. Empty where it was stopped."""
        asking: Any = layers
        asked = [asking.remote(self._kit)]
        while not stop.is_set():
            if ray.wait(asked, timeout=LISTEN_S)[0]:
                found: Mapping[str, bool | str] = ray.get(asked[0])
                return found
        return {}

    def submit(self, chunk: Sequence[Claimed]) -> Future[Outcome]:
        return asyncio.run_coroutine_threadsafe(self._analyse(chunk), self._loop)

    def hurry(self) -> None:
        """A chunk is seconds: what is in hand is finished."""

    def close(self) -> None:
        for encoder in self._encoders:
            ray.kill(encoder)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._probe()

    async def _analyse(self, chunk: Sequence[Claimed]) -> Outcome:
        """The way of one chunk. A worker's death is told as the outcome; an error of ours is raised."""
        try:
            decoding: Any = decode
            all_that_came, decoded = decoding.remote(self._kit, chunk)
            outcome: Outcome | None = await all_that_came
            outcome = outcome or await self._encode(chunk, decoded)
            outcome.task = all_that_came.task_id().hex()
            return outcome
        except (ObjectStoreFullError, OutOfDiskError) as error:
            raise OSError(f"Ray's shared memory is full, and so is the disk behind it: {_last_line(error)}") from error
        except RayError as error:
            cause = error.cause if isinstance(error, RayTaskError) else error
            if not isinstance(cause, RayError):
                raise cause from error
            return Outcome(lost_worker=[claimed.upload for claimed in chunk], how_lost=_in_a_line(cause))

    async def _encode(self, chunk: Sequence[Claimed], decoded: Any) -> Outcome:
        number = await self._free.get()
        try:
            if revival := self._revivals.get(number):  # a call meanwhile would fail at once, and blame the chunk
                await asyncio.shield(revival)
            outcome: Outcome = await self._encoders[number].encode.remote(chunk, decoded)
        except RayActorError:
            if number not in self._revivals:
                self._revivals[number] = asyncio.create_task(self._revive(number))
            raise
        finally:
            self._free.put_nowait(number)
        return outcome

    async def _revive(self, number: int) -> None:
        """Ray starts a dead encoder again; wait until it has loaded its weights.

        Raises:
            RuntimeError: it does not start again; whoever waits for it hears that.
        """
        while True:
            try:
                await self._encoders[number].ready.remote()
                del self._revivals[number]
                return
            except ActorUnavailableError:
                await asyncio.sleep(0.2)
            except RayError as error:
                raise RuntimeError(f"an encoder died and does not start again: {_last_line(error)}") from error

    def _new_encoder(self, kit: Kit) -> Any:
        p = self._pools
        options: dict[str, Any] = {"num_cpus": p.cpus, "num_gpus": p.gpus, "scheduling_strategy": "SPREAD"}
        options |= {"max_concurrency": p.threads, "max_restarts": -1, "max_task_retries": 0}
        return Encoder.options(**options).remote(kit, p.threads)  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sized:
    """`Pools` with every number known."""

    decoders: int
    encoders: int
    threads: int
    gpus: float
    cpus: float


def _sized(pools: Pools) -> _Sized:
    nodes = [node for node in _ray.nodes() if node["Alive"]]
    cpus = [int(node["Resources"].get("CPU", 0)) for node in nodes]
    gpus = sum(node["Resources"].get("GPU", 0.0) for node in nodes)
    encoders = pools.encoders or (int(gpus / pools.gpus) if pools.gpus else sum(count > 0 for count in cpus))
    return _Sized(
        decoders=pools.decoders or max(1, sum(cpus)),
        encoders=max(1, encoders),
        threads=pools.threads or max(1, *cpus),
        gpus=pools.gpus,
        cpus=pools.cpus,
    )


def _lets_in(address: str, *, secret: str | None) -> bool:
    """Whether a cluster answers to whoever shows this token, or none."""
    shown = () if secret is None else (("authorization", f"Bearer {secret}"),)
    with grpc.insecure_channel(address) as channel:
        try:
            channel.unary_unary(_CHECK_ALIVE)(b"", timeout=CONNECT_S, metadata=shown)
        except grpc.RpcError as error:
            if error.code() == grpc.StatusCode.UNAUTHENTICATED:
                return False
            raise ClusterRefused(f"no Ray cluster answers at {address}: {error.code().name}") from error
    return True


def _gcs_address(address: str) -> str:
    """`auto` as an address: Ray's own rules, which look at `RAY_ADDRESS` and at what runs on this machine."""
    if address.startswith("ray://"):
        raise ClusterRefused(
            f"{address}: Ray's client protocol is not supported, since the driver has to outlive your connection; "
            "use `ray job submit`, or the host:port of the head from inside the cluster"
        )
    if "://" in address:
        raise ClusterRefused(f"{address}: that is where jobs are handed in; a backfill wants host:port of the head")
    from ray._private.services import canonicalize_bootstrap_address

    try:
        found = canonicalize_bootstrap_address(address)
    except (ConnectionError, ValueError) as error:
        raise ClusterRefused(f"no Ray cluster at {address!r}: {error}") from error
    if found is None:
        raise ClusterRefused(f"no Ray cluster at {address!r}")
    return str(found)


def _resources() -> str:
    free, total = _ray.available_resources(), _ray.cluster_resources()
    return ", ".join(f"{free.get(name, 0):g} of {total.get(name, 0):g} {name}s free" for name in ("GPU", "CPU"))


def _last_line(error: BaseException) -> str:
    """Of what happened in another process, the line that says it."""
    return _COLOURS.sub("", str(error)).strip().splitlines()[-1][:500]


def _in_a_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {_COLOURS.sub('', str(error)).strip().partition(chr(10))[0]}"[:300]
