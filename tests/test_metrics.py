"""What Prometheus hears: scraped, read by its own parser, and compared with what was done."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from fakes import SPACE, FakeDecoder, fake_crew
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient

from index.access import Access
from index.home import Home
from index.ledger import Ledger
from ingest.pipeline import ingest
from ingest.uploads import discover
from service.library import Library
from service.metrics import Metrics
from service.web.app import create_app
from service.web.doors import Doors
from service.web.operate import LibraryFigures
from service.web.settings import Settings
from service.web.worker import last_word

DOCS = Path(__file__).parents[1] / "docs"
PARTS = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count"), "gauge": ("",)}
Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


class Scraped:
    """The doors of a home, and what they say to Prometheus."""

    def __init__(self, home: Path) -> None:
        self.library = Library.open(home)
        access = Access(self.library.home.ledger)
        self.auth = {"Authorization": f"Bearer {access.create(['admin'])[1]}"}
        self.doors = Doors(library=self.library, access=access, settings=Settings())
        self.http = TestClient(create_app(self.doors), base_url="http://127.0.0.1")

    def text(self) -> str:
        answer = self.http.get("/metrics", headers=self.auth)
        assert answer.status_code == 200, answer.text
        return answer.text


@pytest.fixture
def scraped(drawn_home: Path) -> Iterator[Scraped]:
    made = Scraped(drawn_home)
    with made.http:
        yield made


def read(text: str) -> Samples:
    found: Samples = {}
    names = [family.name for family in text_string_to_metric_families(text)]
    assert len(names) == len(set(names)), "a family is told once"
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in found, "a series is told once"
            found[key] = sample.value
    return found


def value(found: Samples, name: str, **labels: str) -> float:
    return found[name, frozenset(labels.items())]


def names_in(text: str) -> set[str]:
    """Every name that may be asked for, also of those that have no series yet."""
    return {family.name + part for family in text_string_to_metric_families(text) for part in PARTS[family.type]}


def answers(found: Samples, **labels: str) -> float:
    return sum(
        number
        for (name, has), number in found.items()
        if name == "firstlook_http_requests_total" and set(labels.items()) <= has
    )


def test_every_request_is_counted_by_what_became_of_it(scraped: Scraped) -> None:
    http, auth = scraped.http, scraped.auth
    for _ in range(3):
        assert http.get("/v1/failures", headers=auth).status_code == 200
    assert http.get("/v1/failures").status_code == 401
    assert http.get("/v1/videos/nobody", headers=auth).status_code == 404
    assert http.post("/v1/search", headers=auth, json={"k": 0, "text": "x"}).status_code == 422
    assert http.request("BREW", "/healthz").status_code == 405
    found = read(scraped.text())
    counted = "firstlook_http_requests_total"
    ok = {"route": "/v1/failures", "method": "GET", "status": "200", "problem": ""}
    assert value(found, counted, **ok) == 3
    assert value(found, counted, route="none", method="GET", status="401", problem="no_key") == 1
    assert answers(found, route="/v1/videos/{video_id:path}", status="404", problem="not_found") == 1
    assert answers(found, route="/v1/search", status="422", problem="invalid") == 1
    assert answers(found, method="other", status="405", problem="wrong_method") == 1
    assert answers(found) == 7
    assert value(found, "firstlook_http_seconds_count", route="/v1/failures") == 3
    assert value(found, "firstlook_http_in_hand") == 1, "the scrape itself"
    assert value(found, "firstlook_http_waiting") == 0


def test_strangers_name_no_series(scraped: Scraped) -> None:
    before = len(read(scraped.text()))
    scraped.http.get("/v1/nothing", headers=scraped.auth)
    known = len(read(scraped.text()))
    for number in range(50):
        scraped.http.get(f"/v1/nothing/{number}?x={number}", headers=scraped.auth)
        scraped.http.request(f"X{number}", f"/{number}", headers=scraped.auth)
        scraped.http.get(f"/v1/videos/nobody-{number}", headers=scraped.auth)
    assert len(read(scraped.text())) - known <= 40, "a route and two kinds of refusal, not fifty"
    assert known >= before


def test_the_library_is_told_and_a_store_that_does_not_answer(
    scraped: Scraped, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = read(scraped.text())
    assert value(found, "firstlook_library_videos") == value(found, "firstlook_table_rows") == 16
    assert value(found, "firstlook_queue_age_seconds") == 0
    assert value(found, "firstlook_store_up", store="ledger") == value(found, "firstlook_store_up", store="table") == 1
    assert value(found, "firstlook_disk_free_bytes") > 0
    assert [dict(has)["space"] for name, has in found if name == "firstlook_build_info"] == [scraped.library.space.id]

    def locked(*_: Any, **__: Any) -> dict[str, int]:
        raise OSError("the ledger is locked")

    monkeypatch.setattr(Ledger, "counts", locked)
    without = read(scraped.text())
    assert value(without, "firstlook_store_up", store="ledger") == 0
    assert value(without, "firstlook_store_up", store="table") == 1
    assert not any(name.startswith("firstlook_library_") for name, _ in without), "zeros would be lies"


@pytest.mark.parametrize(
    ("said", "state", "silent_s"),
    [
        (None, "none", None),
        ({"state": "waiting", "at_s": 900.0}, "waiting", 100.0),
        ({"state": "working", "at_s": 500.0}, "silent", 500.0),
        ({"state": "stopped", "at_s": 500.0}, "stopped", None),
    ],
)
def test_a_worker_that_was_stopped_is_not_missed(
    drawn_home: Path, tmp_path: Path, said: dict[str, Any] | None, state: str, silent_s: float | None
) -> None:
    shutil.copytree(drawn_home, tmp_path / "home")
    if said is not None:
        (tmp_path / "home" / "worker.json").write_text(json.dumps(said))
    library = Library.open(tmp_path / "home")
    doors = Doors(library=library, access=Access(library.home.ledger), settings=Settings(), clock=lambda: 1_000.0)
    assert last_word(library.home.folder, doors.clock())["state"] == state
    doors.registry.register(LibraryFigures(doors))
    found = read(generate_latest(doors.registry).decode())
    assert found.get(("firstlook_worker_silent_seconds", frozenset())) == silent_s
    library.close()


def test_the_worker_tells_what_files_took_and_how_long_they_waited(home: Home, folder: Path) -> None:
    for name, text in {"a": "clip 1", "b": "clip 2", "c": "clip 3", "bad": "broken"}.items():
        (folder / f"{name}.mp4").write_text(text)
    registry = CollectorRegistry()
    meters = Metrics(registry)
    meters.on_layers({"seccomp": True, "landlock": "ENOSYS"})
    ingest(discover([folder]), home, SPACE, lambda: fake_crew(home, FakeDecoder()), on_step=meters.on_step)
    found = read(generate_latest(registry).decode())
    assert value(found, "firstlook_decode_seconds_count") == 4, "a file that fails takes its time, too"
    assert value(found, "firstlook_encode_seconds_count") == 3
    assert value(found, "firstlook_searchable_seconds_count") == value(found, "firstlook_videos_total") == 3
    assert 0 < value(found, "firstlook_searchable_seconds_sum") < 3 * 60
    assert value(found, "firstlook_sandbox_layer", layer="seccomp") == 1
    assert value(found, "firstlook_sandbox_layer", layer="landlock") == 0


COUNTING = """
import sys
from pathlib import Path
from prometheus_client import CollectorRegistry, generate_latest
from service.web.meters import counting_with
registry = CollectorRegistry()
meters = counting_with(Path(sys.argv[1]), sys.argv[2], registry)
meters.in_hand.inc(int(sys.argv[4]))
for _ in range(int(sys.argv[3])):
    meters.answered(route="/v1/search", method="POST", status=200, problem=None, seconds=0.02)
print(generate_latest(registry).decode())
"""


def test_a_scrape_of_any_process_answers_for_all_and_no_counter_falls(tmp_path: Path) -> None:
    def count(place: str, requests: int, in_hand: int) -> Samples:
        command = [sys.executable, "-c", COUNTING, str(tmp_path / "counts"), place, str(requests), str(in_hand)]
        return read(subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout)

    done = {"route": "/v1/search", "method": "POST", "status": "200", "problem": ""}
    for place, requests, in_hand, sum_of_requests, sum_in_hand in (
        ("0a", 5, 0, 5, 0),
        ("1a", 7, 2, 12, 2),  # and is killed with two requests in hand
        ("0b", 1, 0, 13, 2),  # 0a is renewed
        ("1a", 2, 1, 15, 1),  # started again: the two are gone, its counts are not
        ("0a", 4, 0, 19, 1),  # renewed once more: in the file of the first
    ):
        found = count(place, requests, in_hand)
        assert value(found, "firstlook_http_requests_total", **done) == sum_of_requests
        assert value(found, "firstlook_http_seconds_count", route="/v1/search") == sum_of_requests
        assert value(found, "firstlook_http_seconds_bucket", route="/v1/search", le="0.01") == 0
        assert value(found, "firstlook_http_seconds_bucket", route="/v1/search", le="0.025") == sum_of_requests
        assert value(found, "firstlook_http_in_hand") == sum_in_hand
    assert len(list((tmp_path / "counts").iterdir())) == 3 * 3, "however often they are renewed"


# What is looked at --------------------------------------------------------------------------------------------


def exported(scraped: Scraped) -> set[str]:
    worker = CollectorRegistry()
    Metrics(worker)
    return names_in(scraped.text()) | names_in(generate_latest(worker).decode())


def alerts() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load((DOCS / "alerts.yaml").read_text())["groups"]
    rules: list[dict[str, Any]] = group["rules"]
    return rules


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((DOCS / "grafana.json").read_text())
    return found


def panels() -> list[dict[str, Any]]:
    return [panel for panel in dashboard()["panels"] if panel["type"] != "row"]


def asked_for(expression: str) -> set[str]:
    return set(re.findall(r"\bfirstlook_\w+", expression))


def test_dashboard_and_alerts_ask_for_what_is_exported(scraped: Scraped) -> None:
    names = exported(scraped)
    for panel in panels():
        for target in panel["targets"]:
            assert asked_for(target["expr"]), f"{panel['title']}: {target['expr']}"
            assert asked_for(target["expr"]) <= names, panel["title"]
    for rule in alerts():
        assert asked_for(rule["expr"]) <= names, rule["alert"]
        assert asked_for(rule["expr"]) or rule["expr"].startswith("up{"), rule["alert"]


def test_every_alert_leads_to_an_incident_of_the_runbook() -> None:
    headings = re.findall(r"^## (.+)$", (DOCS / "runbook.md").read_text(), re.MULTILINE)
    incidents = [heading for heading in headings if re.match(r"\d+\. ", heading)]
    assert [int(heading.partition(".")[0]) for heading in incidents] == list(range(1, 11))
    anchors = {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in incidents}
    rules = alerts()
    assert len({rule["alert"] for rule in rules}) == len(rules)
    for rule in rules:
        page, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert (page, anchor in anchors) == ("docs/runbook.md", True), rule["alert"]
        assert rule["annotations"]["summary"]
        assert rule["labels"]["severity"] in ("page", "ticket")
    runbook = (DOCS / "runbook.md").read_text()
    for rule in rules:
        assert f"`{rule['alert']}`" in runbook, "whoever is woken by it finds it by its name"


def test_the_dashboard_shows_where_alerts_begin() -> None:
    shown = {
        step["value"]
        for panel in panels()
        for step in panel["fieldConfig"]["defaults"].get("thresholds", {}).get("steps", ())
    }
    for rule in alerts():
        limit = re.search(r"[<>] ([\d.e]+)\s*$", rule["expr"])
        if limit is not None and float(limit[1]):
            assert float(limit[1]) in shown, rule["alert"]


def test_the_dashboard_can_be_imported_anywhere() -> None:
    board = dashboard()
    (source,) = [one for one in board["templating"]["list"] if one["type"] == "datasource"]
    assert (source["name"], source["query"]) == ("datasource", "prometheus")
    ids = [panel["id"] for panel in board["panels"]]
    assert len(ids) == len(set(ids))
    for panel in panels():
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    taken = set()
    for panel in board["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in taken, f"{panel['title']} lies on another"
                taken.add((x, y))
