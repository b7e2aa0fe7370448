"""Feeds over HTTP: the next page knows the last event, a key sees its own viewer, and every place can be explained."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from bench import stubs
from index.access import Access
from index.home import Home
from index.records import Impression
from service.library import Library
from service.recommender import Recommender
from service.web.app import create_app
from service.web.doors import Doors
from service.web.settings import Settings
from tests.test_recommender import encode

FEATURES = {"your_creator", "your_category", "like_interest"}
"""That the formula goes by."""


class Site:
    """A running app over 200 made-up videos."""

    def __init__(self, folder: Path) -> None:
        home = Home.open(folder)
        home.ledger.add_space(stubs.SPACE)
        stubs.fill(home, 200)
        home.close()
        self.library = Library.open(folder)
        self.library._feeds = Recommender(self.library.home, stubs.SPACE, encode)  # without a model of language
        access = Access(self.library.home.ledger)
        self.keys = {
            "backend": access.create(["feed:any", "events"])[1],
            "ana": access.create(["feed"], viewer_id="ana")[1],
        }
        doors = Doors(library=self.library, access=access, settings=Settings(per_key_per_s=10_000))
        self.http = TestClient(create_app(doors), base_url="http://127.0.0.1")

    def ask(self, method: str, path: str, key: str, *, viewer: str | None = None, **said: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {self.keys[key]}"} | ({"X-Viewer": viewer} if viewer else {})
        return self.http.request(method, path, headers=headers, **said)

    def page(self, key: str = "ana", **said: Any) -> dict[str, Any]:
        answer = self.ask("GET", "/v1/feed", key, **said)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("feed") / "home")
    with made.http:
        yield made
    made.library.close()


def test_the_next_page_knows_the_events_of_this_one(site: Site) -> None:
    first = site.page(params={"session": "s", "k": 10})
    assert len(first["videos"]) == 10
    watched = [
        {
            "event_id": f"view-{one['impression_id']}",
            "kind": "view",
            "viewer_id": "ana",
            "time_s": time.time(),
            "video_id": one["video_id"],
            "impression_id": one["impression_id"],
            "session_id": "s",
            "watch_s": 8.0,
        }
        for one in first["videos"][:4]
    ]
    told = site.ask("POST", "/v1/events", "ana", json={"events": watched}).json()
    assert told["accepted"] == 4, told
    second = site.page(params={"session": "s", "k": 10, "why": True})
    assert second["seq"] >= first["seq"] + 14
    assert not {one["video_id"] for one in first["videos"]} & {one["video_id"] for one in second["videos"]}
    follows = {one["because"] for one in second["videos"]}
    assert follows & {one["video_id"] for one in watched}
    assert any(one["why"]["features"] for one in second["videos"])


def test_a_backend_names_the_viewer_and_a_viewers_key_is_his_alone(site: Site) -> None:
    assert site.page("backend", viewer="bo")["viewer_id"] == "bo"
    assert site.ask("GET", "/v1/feed", "backend").json()["type"] == "urn:firstlook:no_viewer"
    refused = site.ask("GET", "/v1/feed", "ana", viewer="bo")
    assert (refused.status_code, refused.json()["type"]) == (403, "urn:firstlook:wrong_viewer")
    assert site.ask("GET", "/v1/viewers/bo/dials", "ana").status_code == 403


def test_every_place_that_was_served_can_be_explained_to_him_and_to_nobody_else(site: Site) -> None:
    page = site.page("backend", viewer="cy", params={"k": 5})
    one = page["videos"][0]
    told = site.ask("GET", f"/v1/feed/why/{one['impression_id']}", "backend").json()
    assert (told["video_id"], told["viewer_id"], told["why"]["source"]) == (one["video_id"], "cy", one["source"])
    assert site.ask("GET", f"/v1/feed/why/{one['impression_id']}", "ana").status_code == 404
    assert site.ask("GET", "/v1/feed/why/nothing", "backend").status_code == 404
    missing = site.ask("GET", f"/v1/feed/why-not/{one['video_id']}", "backend", viewer="cy").json()
    assert missing["why_not"] == "a filter takes it: served_this_session"


def test_a_place_is_explained_by_http_as_the_page_explained_it(site: Site) -> None:
    """The same reasons whenever they are asked for: features as of now, what was held back and the dials as of then."""
    site.ask("POST", "/v1/viewers/dan/dials", "backend", json={"action": "less", "target": "category:food"})
    first = site.page("backend", viewer="dan", params={"k": 10, "session": "s"})
    seen = [
        {
            "event_id": f"view-{one['impression_id']}", "kind": "view", "viewer_id": "dan", "time_s": time.time(),
            "video_id": one["video_id"], "impression_id": one["impression_id"], "session_id": "s", "watch_s": 8.0,
        }
        for one in first["videos"]
    ]  # fmt: skip
    assert site.ask("POST", "/v1/events", "backend", json={"events": seen}).json()["accepted"] == 10
    page = site.page("backend", viewer="dan", params={"k": 10, "session": "s", "why": True})
    site.ask("POST", "/v1/viewers/dan/dials", "backend", json={"action": "reset"})
    for one in page["videos"]:
        told = site.ask("GET", f"/v1/feed/why/{one['impression_id']}", "backend").json()
        assert {**told["why"], "features": []} == {**one["why"], "features": []}
        assert told["why"]["expected"]["long_view"] == round(one["heads"]["long_view"], 4)
        assert {feature["name"] for feature in told["why"]["features"]} <= FEATURES
        assert page["made_s"] <= told["features_as_of_s"] <= time.time()
        assert told["page"]["removed"] == page["removed"]
        assert told["page"]["held_back"] == {cap: count for cap, count in page["held_back"].items() if count}
        assert told["page"]["guardrails"] == page["guardrails"]
        assert told["page"]["dials"] == {"explore": None, "wanted": {"category:food": "less"}}
        assert "you asked for less of category:food" in told["page"]["says"]
    assert any(
        site.ask("GET", f"/v1/feed/why/{one['impression_id']}", "backend").json()["why"]["features"]
        for one in page["videos"]
    )


def test_a_place_of_before_reasons_were_kept_is_explained_by_what_there_is(site: Site) -> None:
    old = Impression(
        impression_id="old-3", slate_id="old", viewer_id="ed", video_id="gone", time_s=1.0, position=3,
        source="popular", slot="rank", propensity=1.0, score=0.5, reasons={"because": None, "ranker": "formula-1"},
    )  # fmt: skip
    site.library.home.behaviour.append([old])
    told = site.ask("GET", "/v1/feed/why/old-3", "backend").json()
    assert (told["page"], told["why"]["features"], told["why"]["expected"]) == (None, [], {})
    assert told["why"]["source_says"] == "among the best there is"


def test_dials_are_turned_shown_and_taken_back(site: Site) -> None:
    turned = site.ask("POST", "/v1/viewers/ana/dials", "ana", json={"action": "more", "target": "category:food"})
    assert turned.json() == {"viewer_id": "ana", "explore": None, "wanted": {"category:food": "more"}}
    assert site.ask("GET", "/v1/viewers/ana/dials", "ana").json() == turned.json()
    undone = site.ask("POST", "/v1/viewers/ana/dials", "ana", json={"action": "undo"})
    assert undone.json()["wanted"] == {}
    wrong = site.ask("POST", "/v1/viewers/ana/dials", "ana", json={"action": "less", "target": "colour:red"})
    assert (wrong.status_code, wrong.json()["type"]) == (422, "urn:firstlook:unknown_dial")


def test_while_feeds_are_loaded_a_page_is_asked_for_again_and_searches_go_on(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, may_load, loaded = site.library._feeds, threading.Event(), threading.Event()
    assert made is not None
    assert site.http.get("/readyz").json()["feed"] == "ok"

    def slowly(*_: Any) -> Recommender:
        assert may_load.wait(30)
        return made

    monkeypatch.setattr("service.recommender.Recommender", slowly)
    monkeypatch.setattr("service.web.feed.WAIT_S", 0.05)
    monkeypatch.setattr(site.library, "_text", lambda: SimpleNamespace(encode=encode))
    site.library._feeds = None
    assert site.http.get("/readyz").json()["feed"] == "none"
    loader = site.library.load_feeds(loaded.set)
    told = site.http.get("/readyz").json()
    assert (told["ready"], told["feed"]) == (True, "loading")
    answer = site.ask("GET", "/v1/feed", "ana")
    assert (answer.status_code, answer.json()["type"]) == (503, "urn:firstlook:loading")
    assert answer.headers["Retry-After"] == "5"
    may_load.set()
    loader.join(30)
    assert loaded.is_set()
    assert site.http.get("/readyz").json()["feed"] == "ok"
    assert site.page()["videos"]


def test_a_forgotten_viewer_begins_anew(site: Site) -> None:
    assert site.ask("DELETE", "/v1/viewers/ana", "ana").json()["erased"] > 0
    assert all(one["because"] is None for one in site.page()["videos"])
