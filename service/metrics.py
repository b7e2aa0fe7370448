"""What Prometheus may ask of those who work: the ingest worker, and a running backfill (`--metrics [HOST:]PORT`)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from ingest.backfill import BackfillError
from ingest.pipeline import Step

COMMIT_BUCKETS_S = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 120.0, 600.0)
VIDEO_BUCKETS_S = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
"""Of one file: the last is what its child may take (`Limits.max_wall_s`)."""
SEARCHABLE_BUCKETS_S = (1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 900.0, 3_600.0)


class Metrics:
    """Sums up steps. Every name begins with `firstlook_`, times are seconds."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def counter(name: str, about: str, *labels: str) -> Counter:
            return Counter(f"firstlook_{name}", about, labels, registry=registry)

        def gauge(name: str, about: str, *labels: str) -> Gauge:
            return Gauge(f"firstlook_{name}", about, labels, registry=registry)

        def histogram(name: str, about: str, buckets: Sequence[float]) -> Histogram:
            return Histogram(f"firstlook_{name}", about, buckets=buckets, registry=registry)

        self._videos = counter("videos", "Uploads that became rows")
        self._failures = counter("failures", "Uploads that failed, by reason", "reason")
        self._video_s = counter("video_seconds", "Length of the videos that became rows")
        self._child_deaths = counter("child_deaths", "Decode children that a file killed")
        self._lost_workers = counter("lost_workers", "Chunks whose worker died")
        self._commit = histogram("commit_seconds", "One commit: rows, acknowledgement, upkeep", COMMIT_BUCKETS_S)
        self._decode = histogram("decode_seconds", "Decoding one file, also one that fails at it", VIDEO_BUCKETS_S)
        self._encode = histogram("encode_seconds", "Encoding one video: its share of a chunk", VIDEO_BUCKETS_S)
        self._searchable = histogram(
            "searchable_seconds", "From the upload to its row, of those that became one", SEARCHABLE_BUCKETS_S
        )
        self._layers = gauge("sandbox_layer", "Layers of the decoders' sandbox: 1 in force, 0 not", "layer")
        self._pending = gauge("pending_uploads", "Uploads of this run that have not ended")
        self._left = 0
        self._ended_at = gauge("last_end_timestamp_seconds", "When an upload last ended")

    def on_work(self, pending: int) -> None:
        self._left = pending
        self._pending.set(pending)
        self._ended_at.set_to_current_time()

    def on_layers(self, layers: Mapping[str, bool | str]) -> None:
        """The layers of the decoders' sandbox: True, or why not."""
        for name, in_force in layers.items():
            self._layers.labels(name).set(in_force is True)

    def on_step(self, step: Step) -> None:
        self._videos.inc(step.committed)
        self._video_s.inc(step.video_s)
        for reason in step.reasons:
            self._failures.labels(reason).inc()
        self._child_deaths.inc(step.child_deaths)
        self._lost_workers.inc(step.lost_workers)
        for meter, times_s in (
            (self._decode, step.decode_s),
            (self._encode, step.encode_s),
            (self._searchable, step.waited_s),
        ):
            for seconds in times_s:
                meter.observe(seconds)
        if step.committed:
            self._commit.observe(step.commit_s)
        if ended := step.committed + step.failed:
            self._left = max(0, self._left - ended)  # uploads that came meanwhile are not counted
            self._pending.set(self._left)
            self._ended_at.set(time.time())


@contextmanager
def served(address: str | None, on_message: Callable[[str], None]) -> Iterator[Metrics | None]:
    """Answer `GET /metrics` for as long as the block lasts.

    Args:
        address: `[HOST:]PORT`, the host by default this machine alone; None: nowhere.

    Raises:
        BackfillError: it is no such address.
        OSError: the port is taken.
    """
    if address is None:
        yield None
        return
    host, _, port = address.rpartition(":")
    if not port.isdigit():
        raise BackfillError(f"--metrics wants [HOST:]PORT, got {address!r}")
    registry = CollectorRegistry()
    server, thread = start_http_server(int(port), addr=host or "127.0.0.1", registry=registry)
    on_message(f"metrics at http://{host or '127.0.0.1'}:{server.server_port}/metrics")
    try:
        yield Metrics(registry)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
