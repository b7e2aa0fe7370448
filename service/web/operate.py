"""For whoever keeps it running: is it there, is it ready, what fails and why."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from importlib.metadata import version
from typing import Annotated, Any

from fastapi import APIRouter, Query, Response
from prometheus_client import CONTENT_TYPE_LATEST, Metric, generate_latest
from prometheus_client.core import GaugeMetricFamily, InfoMetricFamily
from sqlalchemy.exc import SQLAlchemyError

from index.access import Key
from index.table import TableUnreadable
from service.web import worker
from service.web.bodies import FailureBody, Failures, Health, IndexHealth, Ready, Retried, Retry
from service.web.doors import Behind, Doors, only

router = APIRouter(tags=["operate"])


@router.get("/healthz", summary="The process answers", response_model=Health)
async def healthz() -> dict[str, str]:
    return {"status": "ok"}


@router.get(
    "/readyz",
    summary="Everything that an answer needs is there",
    response_model=Ready,
    response_model_exclude_unset=True,
    responses={503: {"model": Ready, "description": "Something is not there."}},
)
def readyz(behind: Behind, response: Response) -> dict[str, Any]:
    """Of the ingest worker too: without it nothing becomes searchable, but what is there is still found. And of feeds,
    which are loaded while searches are answered."""
    checks: dict[str, Any] = {}
    try:
        behind.home.ledger.pending(behind.space.id)
        checks["ledger"] = "ok"
    except (SQLAlchemyError, OSError) as error:
        checks["ledger"] = f"{type(error).__name__}"
    try:
        checks["rows"] = behind.library.table.count()
        checks["table"] = "ok"
    except OSError as error:
        checks["table"] = f"{type(error).__name__}"
    checks["feed"] = behind.library.feeds
    checks["ingest"] = worker.last_word(behind.home.folder, behind.clock())
    ready = checks["ledger"] == checks["table"] == "ok"
    response.status_code = 200 if ready else 503
    return {"ready": ready, **checks}


@router.get(
    "/metrics",
    summary="For Prometheus",
    response_class=Response,
    responses={
        200: {"content": {"text/plain": {"schema": {"type": "string"}, "example": "firstlook_library_videos 16.0\n"}}}
    },
)
def metrics(behind: Behind, _key: Annotated[Key, only("admin", "search")]) -> Response:
    said = generate_latest(behind.registry) + worker.metrics(behind.home.folder)
    return Response(said, media_type=CONTENT_TYPE_LATEST)


@router.get("/v1/failures", summary="What did not become a video, and why", response_model=Failures)
def failures(
    behind: Behind,
    _key: Annotated[Key, only("uploads", "videos")],
    limit: Annotated[int, Query(ge=0, le=10_000)] = 1_000,
) -> Failures:
    found = behind.library.failures()
    reasons: dict[str, int] = {}
    for one in found:
        reasons[one.reason] = reasons.get(one.reason, 0) + 1
    return Failures(failures=[FailureBody.of(one) for one in found[:limit]], reasons=reasons)


@router.post("/v1/failures/retry", status_code=202, summary="Try failures again", response_model=Retried)
def retry(asked: Retry, behind: Behind, _key: Annotated[Key, only("videos")]) -> Retried:
    queued = behind.home.ledger.retry(behind.space.id, quarantined=asked.quarantined, only=asked.video_ids)
    return Retried(queued=len(queued))


@router.get("/v1/index", summary="How the index is", response_model=IndexHealth)
def index(behind: Behind, _key: Annotated[Key, only("admin")]) -> dict[str, Any]:
    return behind.library.table.health()


class LibraryFigures:
    """What is asked at each scrape, of the ledger, the table, the disk and the worker: the same in every process.

    A store that does not answer is told as such, and its figures are missing: zeros would be lies.
    """

    def __init__(self, behind: Doors) -> None:
        self._behind = behind

    def collect(self) -> Iterator[Metric]:
        behind = self._behind
        build = InfoMetricFamily("firstlook_build", "What runs, and the space that it answers from")
        build.add_metric([], {"version": version("firstlook"), "space": behind.space.id})
        yield build
        up = GaugeMetricFamily("firstlook_store_up", "1: the store answers", labels=["store"])
        for store, figures in (("ledger", self._of_ledger), ("table", self._of_table)):
            try:
                yield from list(figures())
                up.add_metric([store], 1)
            except (SQLAlchemyError, OSError, TableUnreadable):
                up.add_metric([store], 0)
        yield up
        free = GaugeMetricFamily("firstlook_disk_free_bytes", "Left on the disk of the home")
        free.add_metric([], shutil.disk_usage(behind.home.folder).free)
        yield free
        said = worker.last_word(behind.home.folder, behind.clock())
        silent = GaugeMetricFamily("firstlook_worker_silent_seconds", "Since the ingest worker spoke last")
        if said["state"] not in ("none", worker.STOPPED):  # nobody waits for its word
            silent.add_metric([], said["silent_s"])
        yield silent

    def _of_table(self) -> Iterator[Metric]:
        health = self._behind.library.table.health()
        yield GaugeMetricFamily("firstlook_table_rows", "Rows of the table", health["rows"])
        about = "Rows that the vector index does not know yet"
        yield GaugeMetricFamily("firstlook_unindexed_rows", about, health["unindexed_rows"])
        yield GaugeMetricFamily("firstlook_table_fragments", "Pieces that the table lies in", health["fragments"])

    def _of_ledger(self) -> Iterator[Metric]:
        behind = self._behind
        counts = behind.home.ledger.counts(behind.space.id)
        for name, about in (
            ("videos", "Uploads that are rows"),
            ("failures", "Uploads that failed"),
            ("pending", "Uploads that have not ended"),
            ("partial", "Rows that lack a channel"),
        ):
            yield GaugeMetricFamily(f"firstlook_library_{name}", about, counts[name])
        by_reason = GaugeMetricFamily("firstlook_library_failures_by_reason", "Failures by reason", labels=["reason"])
        for reason, count in behind.home.ledger.reasons(behind.space.id).items():
            by_reason.add_metric([reason], count)
        yield by_reason
        oldest_s = behind.home.ledger.oldest_waiting_s(behind.space.id)
        age_s = max(0.0, behind.clock() - oldest_s) if oldest_s is not None else 0.0
        yield GaugeMetricFamily("firstlook_queue_age_seconds", "How long the oldest upload has waited", age_s)
