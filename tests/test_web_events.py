"""Events over HTTP: durable when answered, each with what became of it, and nobody speaks for another viewer."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sql
from starlette.testclient import TestClient

from index import schema
from index.access import OF_A_VIEWER, SCOPES, Access
from index.behaviour import Behaviour
from index.home import Home
from index.ledger import Ledger
from index.records import Event, Upload
from service.library import Library
from service.web.app import create_app
from service.web.doors import Doors
from service.web.settings import Settings


class Site:
    """A running app over a home that knows one video, and keys for it."""

    def __init__(self, folder: Path) -> None:
        home = Home.open(folder)
        home.ledger.register([(Upload(video_id="cat-1", content_sha256="0" * 64, uri="/cat-1"), None)], "space")
        home.close()
        self.library = Library.open(folder)
        self.access = Access(self.library.home.ledger)
        self.key = self.access.create(["events"])[1]
        self.annas = self.access.create(["feed"], viewer_id="anna")[1]
        doors = Doors(library=self.library, access=self.access, settings=Settings(per_key_per_s=10_000))
        self.http = TestClient(create_app(doors), base_url="http://127.0.0.1")

    @property
    def log(self) -> Behaviour:
        return self.library.home.behaviour

    def post(self, *events: dict[str, Any], key: str | None = None) -> httpx.Response:
        return self.ask("POST", "/v1/events", key, json={"events": list(events)})

    def ask(self, method: str, path: str, key: str | None = None, **said: Any) -> httpx.Response:
        headers = {"Authorization": f"Bearer {key or self.key}", "Content-Type": "application/json"}
        return self.http.request(method, path, headers=headers, **said)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path / "home")
    with made.http:
        yield made


def event(event_id: str, **said: Any) -> dict[str, Any]:
    whole = {"event_id": event_id, "kind": "view", "viewer_id": "anna", "time_s": time.time(), "video_id": "cat-1"}
    return whole | said


def test_every_event_is_told_what_became_of_it_in_the_order_sent(site: Site) -> None:
    answer = site.post(
        event("a", watch_s=2.5, extra={"猫": [1]}),
        event("b", time_s=time.time() + 1_000),
        event("a"),
        event("c", kind="dance"),
        event("d", video_id="nobody"),
        event("e", kind="search", video_id=None, extra={"query": "cats"}),
        event("f", loops=-1),
    )
    assert answer.status_code == 200, answer.text
    said = answer.json()
    assert (said["accepted"], said["repeated"], said["aside"]) == (2, 1, 4)
    assert [(one["event_id"], one["state"], one["reason"]) for one in said["events"]] == [
        ("a", "accepted", None),
        ("b", "aside", "from_the_future"),
        ("a", "repeated", None),
        ("c", "aside", "bad_event"),
        ("d", "aside", "unknown_video"),
        ("e", "accepted", None),
        ("f", "aside", "bad_event"),
    ]
    assert all(bool(one["detail"]) == (one["state"] == "aside") for one in said["events"])
    kept = [record for _, record in site.log.after(0, 10)]
    assert [record.event_id for record in kept if isinstance(record, Event)] == ["a", "e"]
    assert kept[0].extra == {"猫": [1]}  # type: ignore[union-attr]
    assert site.log.aside_reasons() == {"bad_event": 2, "from_the_future": 1, "unknown_video": 1}
    assert site.post(event("a"), event("e")).json()["repeated"] == 2


def test_what_is_answered_is_in_the_file(site: Site, tmp_path: Path) -> None:
    site.post(event("a"))
    other = Behaviour(f"sqlite:///{tmp_path}/home/behaviour.sqlite")
    assert other.last_seq() == 1
    other.close()


def test_many_at_once_are_each_answered_for_their_own(site: Site) -> None:
    def send(number: int) -> dict[str, Any]:
        said: dict[str, Any] = site.post(*(event(f"{number % 20}.{place}") for place in range(5))).json()
        return said

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(send, range(40)))
    assert sum(said["accepted"] for said in answers) == site.log.last_seq() == 100
    assert sum(said["repeated"] for said in answers) == 100


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"events": []},
        {"events": [event(f"e{number}") for number in range(1_001)]},
        {"events": [event("e") | {"colour": "red"}]},
        {"events": [event("e", time_s="now")]},
        {"events": [event("e", loops=1.5)]},
        {"events": [event("")]},
        {"events": [event("a\nb")]},
        {"events": [event("x" * 201)]},
        {"events": [event("e", viewer_id=None)]},
        {"events": [event("e", extra=[1])]},
    ],
)
def test_a_body_of_another_shape_is_refused_whole(site: Site, body: dict[str, Any]) -> None:
    answer = site.ask("POST", "/v1/events", json=body)
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:firstlook:invalid"), answer.text
    assert site.log.last_seq() == 0


@pytest.mark.parametrize(
    "said", ['"extra": {"a": NaN}', '"extra": {"a": "\\ud800"}', '"surface": "\\u0000"', '"session_id": "\\ud800"']
)
def test_what_no_database_takes_is_kept_apart(site: Site, said: str) -> None:
    body = f'{{"events": [{{"event_id": "e", "kind": "view", "viewer_id": "anna", "time_s": 5, {said}}}]}}'
    answer = site.ask("POST", "/v1/events", content=body)
    assert answer.status_code in (200, 422), answer.text
    assert answer.status_code == 422 or answer.json()["events"][0]["reason"] == "bad_event"
    assert site.log.last_seq() == 0


# Whose key ---------------------------------------------------------------------------------------------------------


def test_a_viewers_key_speaks_for_that_viewer_and_for_no_other(site: Site) -> None:
    assert site.post(event("a"), key=site.annas).json()["accepted"] == 1
    for events in ([event("b", viewer_id="ben")], [event("c"), event("d", viewer_id="ben")]):
        answer = site.post(*events, key=site.annas)
        assert (answer.status_code, answer.json()["type"]) == (403, "urn:firstlook:wrong_viewer")
        assert answer.json()["detail"] == "this key is 'anna''s, got 'ben'"
    assert site.log.last_seq() == 1, "nothing of it was taken"
    site.post(event("b", viewer_id="ben"))
    assert site.ask("DELETE", "/v1/viewers/ben", site.annas).status_code == 403
    assert len(site.log.of_viewer("ben")) == 1
    assert site.ask("DELETE", "/v1/viewers/anna", site.annas).json() == {"erased": 1}


def test_a_viewer_is_forgotten_and_may_begin_anew(site: Site) -> None:
    site.post(event("a"), event("b", video_id="nobody"), event("c", viewer_id="a/b ?"))
    assert site.ask("DELETE", "/v1/viewers/anna").json() == {"erased": 2}
    assert site.ask("DELETE", "/v1/viewers/anna").json() == {"erased": 0}
    assert site.ask("DELETE", "/v1/viewers/a%2Fb%20%3F").json() == {"erased": 1}
    assert site.post(event("a")).json()["accepted"] == 1


def test_feed_wants_a_viewer_and_a_viewers_key_is_for_little(site: Site) -> None:
    with pytest.raises(ValueError, match="feed is one viewer's"):
        site.access.create(["feed"])
    with pytest.raises(ValueError, match="empty"):
        site.access.create(["feed"], viewer_id="")
    for scope in set(SCOPES) - set(OF_A_VIEWER):
        with pytest.raises(ValueError, match=f"a viewer's key is for search, events, feed; got {scope}"):
            site.access.create([scope], viewer_id="anna")
    key = site.access.check(site.annas)
    _, session = site.access.create(key.scopes, parent=key)
    assert site.access.check(session).viewer_id == "anna", "a session is bound as its key is"
    assert [one.viewer_id for one in site.access.listed()] == [None, "anna"]


def test_an_older_ledgers_keys_go_on_and_are_bound_to_nobody(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/ledger.sqlite"
    ledger = Ledger(url)
    _, text = Access(ledger).create(["search"])
    with ledger._write() as connection:
        connection.exec_driver_sql("ALTER TABLE keys DROP COLUMN viewer_id")
        connection.exec_driver_sql("DELETE FROM schema_version WHERE version > 3")
    ledger.close()
    led_up = Ledger(url)
    assert Access(led_up).check(text).viewer_id is None
    assert Access(led_up).create(["feed"], viewer_id="anna")[0].viewer_id == "anna"
    with led_up._read() as connection:
        versions = sql.Table("schema_version", sql.MetaData(), autoload_with=connection)
        assert connection.scalar(sql.select(sql.func.max(versions.c.version))) == schema.VERSION
    led_up.close()
