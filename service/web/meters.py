"""What Prometheus hears of requests.

Several processes answer on one socket, and a scrape reaches one of them. So they count into files of one folder, which
their parent makes for them in memory, and whoever is scraped adds up all of them (the multiprocess mode of
`prometheus_client`). Of a place among them, two take turns: when it is renewed, the new process counts in the other
file, and the next one goes on in the first, so that there are never more than two a place and no counter falls.
"""

from __future__ import annotations

import os
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, values
from prometheus_client.multiprocess import MultiProcessCollector

ANSWER_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
NO_ROUTE = "none"
"""The label of what reaches no route: unknown paths, and what is refused before. Strangers name no series."""


class Meters:
    """Counts requests.

    Args:
        registry: answers for the figures; None in a process that counts with others (`counting_with`).
    """

    def __init__(self, registry: CollectorRegistry | None) -> None:
        self._requests = Counter(
            "firstlook_http_requests",
            "Requests answered; problem is the kind of a refusal",
            ["route", "method", "status", "problem"],
            registry=registry,
        )
        self._seconds = Histogram(
            "firstlook_http_seconds",
            "From a request to the end of its answer",
            ["route"],
            buckets=ANSWER_BUCKETS_S,
            registry=registry,
        )
        self.in_hand = _gauge("in_hand", "Requests that are being answered now, and those that wait", registry)
        self.waiting = _gauge("waiting", "Requests that wait for room", registry)

    def answered(self, *, route: str | None, method: str, status: int, problem: str | None, seconds: float) -> None:
        """Count one request.

        Args:
            route: its template, such as `/v1/videos/{video_id}`; None: it reached none.
            problem: the kind of a refusal.
            seconds: that the answer took.
        """
        method = method if method in METHODS else "other"
        self._requests.labels(route or NO_ROUTE, method, str(status), problem or "").inc()
        self._seconds.labels(route or NO_ROUTE).observe(seconds)


def _gauge(name: str, about: str, registry: CollectorRegistry | None) -> Gauge:
    made = Gauge(f"firstlook_http_{name}", about, registry=registry, multiprocess_mode="livesum")
    made.set(0)  # one that was killed here before us has nothing in hand any more
    return made


def counting_with(folder: Path, place: str, registry: CollectorRegistry) -> Meters:
    """Count together with the other processes that answer; the registry answers for all of them.

    Args:
        folder: where they count.
        place: this process's own; nobody else counts under it at the same time.
    """
    folder.mkdir(exist_ok=True)  # some machines tidy up when their user logs out
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(folder)
    values.ValueClass = values.MultiProcessValue(process_identifier=lambda: place)  # type: ignore[no-untyped-call]
    MultiProcessCollector(registry, str(folder))  # type: ignore[no-untyped-call]
    return Meters(None)
