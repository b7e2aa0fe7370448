"""What is refused before there is a request, on a real connection."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn
from prometheus_client import CollectorRegistry

from service.web.meters import Meters
from service.web.wire import Protocol


@dataclass(slots=True)
class Room:
    is_full: bool = False


class App:
    """Answers everything with "here", and counts how often it is asked."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.state = SimpleNamespace(room=Room(), meters=Meters(self.registry), draining=asyncio.Event())
        self.asked = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            self.asked += 1
            await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
            await send({"type": "http.response.body", "body": b"here"})


@pytest.fixture
def app() -> Iterator[tuple[App, int]]:
    made = App()
    server = uvicorn.Server(uvicorn.Config(made, http=Protocol, lifespan="off", log_config=None, port=0))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        yield made, listening.getsockname()[1]
        server.should_exit = True
        thread.join(10)


class Line:
    """One connection."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port), timeout=5)
        self._file = self._socket.makefile("rb")

    def ask(self, method: str, path: str, version: str = "1.1", body: bytes = b"") -> tuple[int, dict[str, str], bytes]:
        head = f"{method} {path} HTTP/{version}\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n"
        self._socket.sendall(head.encode() + body)
        status = int(self._file.readline().split()[1])
        lines = iter(self._file.readline, b"\r\n")
        headers = {name: value.strip() for name, value in (line.decode().split(":", 1) for line in lines)}
        return status, headers, self._file.read(int(headers["content-length"]))

    def is_closed(self) -> bool:
        return self._file.read(1) == b""


def test_who_comes_when_all_is_full_is_told_to_come_again_on_a_connection_that_goes_on(app: tuple[App, int]) -> None:
    served, port = app
    served.state.room.is_full = True
    line = Line(port)
    for path in ("/v1/videos/a/similar", "/v1/videos?limit=3"):
        status, headers, body = line.ask("GET", path)
        assert (status, headers["Retry-After"]) == (503, "1")
        assert json.loads(body)["type"] == "urn:firstlook:full"
        assert json.loads(body)["request_id"] == headers["x-request-id"]
    assert served.asked == 0
    served.state.room.is_full = False
    assert line.ask("GET", "/v1/videos/a/similar")[::2] == (200, b"here")
    served.state.room.is_full = True
    assert line.ask("GET", "/v1/videos/a/similar", body=b"more than a GET has")[0] == 503
    assert line.ask("GET", "/v1/videos/a/similar")[0] == 503, "what came behind it was read away"
    shed = {"route": "none", "method": "GET", "status": "503", "problem": "full"}
    assert served.registry.get_sample_value("firstlook_http_requests_total", shed) == 4


def test_what_changes_something_or_watches_us_is_never_refused_here(app: tuple[App, int]) -> None:
    served, port = app
    served.state.room.is_full = True
    line = Line(port)
    for method, path in (
        ("GET", "/healthz"), ("GET", "http://x/healthz"), ("GET", "/metrics"), ("GET", "/"), ("GET", "/static/main.js"),
        ("GET", "/v1/videos/a/original"), ("POST", "/v1/uploads"), ("PATCH", "/v1/videos/a"),
    ):  # fmt: skip
        assert line.ask(method, path)[0] == 200, path
    assert served.asked == 8


def test_an_old_connection_ends_with_its_refusal(app: tuple[App, int]) -> None:
    served, port = app
    served.state.room.is_full = True
    line = Line(port)
    assert line.ask("GET", "/v1/videos", version="1.0")[0] == 503
    assert line.is_closed()
