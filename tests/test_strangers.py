"""The HTTP doors, tried by strangers: whatever is sent, the answer is one that OpenAPI tells of, and never a 5xx.

Schemathesis makes requests of the document alone, those that fit it and those that do not, against `firstlook serve` as
it runs; the seed is fixed, so what fails fails again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import posixpath
import re
import shutil
import socket
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import quote, unquote, urlsplit

import httpx
import pytest
import schemathesis
from fakes import SPACE, FakeDecoder, fake_crew
from schemathesis.engine import events, from_schema
from served import Running
from served import served as serving
from starlette.testclient import TestClient
from test_web import Site, opened

from index.home import Home
from ingest.pipeline import ingest
from ingest.samples import SampleClip
from service.watch import Watch
from service.web.guard import STRANGER_S
from service.web.settings import Settings
from service.web.wire import HEAD_S

SEED = 20_261_121
UNCHECKED = {
    "positive_data_acceptance": "a URI in no store, a filter that is none: what OpenAPI cannot say is answered 422",
}
"""Of schemathesis's checks, and why not."""


NEVER = {"POST /v1/session", "POST /v1/search/file"}
"""What strangers do not succeed in: they guess no key, and draw no picture."""


@pytest.fixture
def served(drawn_home: Path, tmp_path: Path) -> Iterator[Running]:
    """`firstlook serve` over a copy of the drawn home."""
    shutil.copytree(drawn_home, tmp_path / "home")
    with serving(tmp_path / "home", "--no-ingest") as running:
        yield running


def lines(served: Running) -> list[dict[str, Any]]:
    """What it has logged; each line is one JSON object."""
    return [json.loads(line) for line in served.log.read_text().splitlines()]


@dataclass(slots=True)
class Tried:
    """What came of a run."""

    requests: Counter[tuple[str, int]] = field(default_factory=Counter)
    """(operation, status) -> how many."""
    faults: dict[str, str] = field(default_factory=dict)
    """Each kind of fault once, with a request that shows it."""


def tried(served: Running, drawn: list[SampleClip], examples: int) -> Tried:
    """Let schemathesis loose on it.

    Args:
        examples: made for each operation, beside those that walk through its document.
    """
    # Of a video that is gone, why-not says that it is gone.
    config = schemathesis.Config.from_dict(
        {
            "seed": SEED,
            "headers": {"Authorization": f"Bearer {served.key}"},
            "continue-on-failure": True,
            "request-timeout": 30.0,
            "generation": {"max-examples": examples, "database": "none", "no-shrink": True, "mode": "all"},
            "checks": {name: {"enabled": False} for name in UNCHECKED},
            "operations": [{"include-path-regex": "why-not$", "checks": {"use_after_free": {"enabled": False}}}],
            "dictionaries": {"ids": {"values": [clip.video_id for clip in drawn]}},
            "parameters": {"path.video_id": {"dictionary": "ids", "probability": 0.5}},
        }
    )
    schema = schemathesis.openapi.from_url(f"{served.url}/openapi.json", config=config)
    found = Tried()
    for event in from_schema(schema).execute():
        if isinstance(event, events.ScenarioFinished):
            _note(event, found)
        elif isinstance(event, events.NonFatalError | events.FatalError):
            found.faults[f"error: {getattr(event, 'label', '')}"] = str(getattr(event, "info", event))
    return found


def _note(event: events.ScenarioFinished, found: Tried) -> None:
    recorder = event.recorder
    for case_id, exchange in recorder.interactions.items():
        label = recorder.cases[case_id].value.operation.label
        status = exchange.response.status_code if exchange.response else 0
        found.requests[label, status] += 1
    for case_id, checks in recorder.checks.items():
        for check in checks:
            if check.failure_info is not None:
                label = recorder.cases[case_id].value.operation.label
                fault = check.failure_info
                shown = f"{fault.failure.message}\n{fault.code_sample}"
                found.faults.setdefault(f"{label}: {check.name}: {fault.failure.title}", shown)


@pytest.mark.ci
@pytest.mark.timeout(600)
def test_a_thousand_requests_of_strangers(served: Running, drawn: list[SampleClip]) -> None:
    check(tried(served, drawn, examples=20), served, at_least=1_000)


@pytest.mark.long
@pytest.mark.timeout(3_600)
def test_twenty_thousand_requests_of_strangers(served: Running, drawn: list[SampleClip]) -> None:
    check(tried(served, drawn, examples=1_150), served, at_least=20_000)


def check(found: Tried, served: Running, *, at_least: int) -> None:
    sent = sum(found.requests.values())
    statuses = Counter[int]()
    for (_, status), count in found.requests.items():
        statuses[status] += count
    print(f"{sent} requests of schemathesis, by status: {dict(sorted(statuses.items()))}")
    assert found.faults == {}, "\n\n".join(f"{name}\n{shown}" for name, shown in found.faults.items())
    assert sent >= at_least
    assert not [status for status in statuses if status >= 500 or status == 0]
    operations = {operation for operation, _ in found.requests}
    succeeded = {operation for operation, status in found.requests if 200 <= status < 300}
    assert operations - succeeded <= NEVER, "a stranger who never gets in has not tried much"
    assert len(operations) >= 22
    assert not [line for line in lines(served) if "traceback" in line]
    assert not list((served.home / "incoming").glob("*"))


# What schemathesis does not think of ---------------------------------------------------------------------------


ODD_JSON = {
    "half a character": b'{"text": "\\ud800", "caption": "\\udfff", "key": "\\ud800", "uri": "\\ud800"}',
    "half a character as a name": b'{"\\ud800": 1}',
    "NUL": b'{"text": "\\u0000", "caption": "\\u0000", "key": "\\u0000", "video_ids": ["\\u0000"], "uri": "/\\u0000"}',
    "a NUL byte": b'{"text": "\x00"}',
    "no UTF-8": b'{"text": "\xff\xfe"}',
    "UTF-16": '{"text": "cat"}'.encode("utf-16"),
    "NaN": b'{"text": "cat", "weights": {"vision": NaN}, "extra": {"a": NaN}, "uri": "/x"}',
    "endless": b'{"text": "cat", "weights": {"vision": 1e999}, "offset": 1e999}',
    "minus endless": b'{"text": "cat", "weights": {"vision": -1e999}}',
    "5,000 digits": b'{"k": ' + b"9" * 5_000 + b', "extra": {"a": ' + b"9" * 5_000 + b"}}",
    "deep": b'{"text": ' + b"[" * 100_000,
    "deep and closed": b'{"extra": ' + b"[" * 5_000 + b"]" * 5_000 + b', "uri": "/x"}',
    "a list": b"[]",
    "a text": b'"cat"',
    "nothing": b"",
    "null": b"null",
    "twice the same": b'{"text": "a", "text": "b", "video_ids": [], "key": "a", "key": "b"}',
    "half a condition": b'{"text": "cat", "where": "' + b"(" * 3_900 + b'"}',
    "nots": b'{"text": "cat", "where": "' + b"not " * 900 + b'duration_s < 1"}',
    "many ors": b'{"text": "cat", "where": "' + b" or ".join([b"duration_s<1"] * 240) + b'"}',
    "a long number": b'{"text": "cat", "where": "duration_s < ' + b"9" * 3_900 + b'"}',
    "a quote": b'{"text": "cat", "where": "hashtag = \'\'\'\' or 1=1 --\'"}',
}
ODD_QUERIES = [
    *("%00", "%ff%fe", "%ed%a0%80", "a" * 20_000, "%F0%9F%98%B8", "-1", "9" * 5_000, "1e3", "' or 1=1 --", "{}", "%"),
    *("video:", "video:%00", "video:nobody", "video:cat-1%0a", "\u202e", "%0d%0aSet-Cookie:%20a=b", "%C2%A0"),
]
ODD_HEADERS: list[dict[str, str | bytes]] = [
    {"Content-Type": "application/json; charset=utf-7"},
    {"Content-Type": "multipart/form-data; boundary=" + "\xff" * 9},
    {"Content-Type": "multipart/form-data; boundary=x; boundary=y"},
    {"Content-Type": b"\xff\xfe"},
    {"Content-Encoding": "gzip"},
    {"Idempotency-Key": b"\xff" * 255},
    {"Idempotency-Key": "k" * 256},
    {"Range": "bytes=" + "9" * 18 + "-" + "9" * 18},
    {"Range": b"bytes=\xb2-"},
    {"X-Request-Id": b"\xff\r\n"[:1]},
    {"Accept": "\t,;=", "If-None-Match": '"', "If-Range": "W/", "Expect": "200-maybe"},
    {"Cookie": 'firstlook_session="\\000"; ; =; a'},
    {
        "Forwarded": "for=evil",
        "X-Forwarded-For": "evil",
        "X-Forwarded-Host": "evil",
        "X-HTTP-Method-Override": "DELETE",
    },
]


def answers(site: Site) -> Iterator[tuple[str, httpx.Response]]:
    """(what was sent, what came of it)."""
    http = TestClient(site.http.app, base_url="http://127.0.0.1", raise_server_exceptions=False)
    key = {"Authorization": f"Bearer {site.keys['admin']}"}
    doors = [("POST", path) for path in ("/v1/search", "/v1/uploads", "/v1/failures/retry", "/v1/session")]
    for method, path in (*doors, ("PATCH", "/v1/videos/nobody"), ("POST", "/v1/search/file")):
        for name, body in ODD_JSON.items():
            headers = key | {"Content-Type": "application/json"}
            yield f"{method} {path} {name}", http.request(method, path, content=body, headers=headers)
    for odd in ODD_QUERIES:
        for path in (
            f"/v1/videos/cat-1/similar?where={odd}",
            f"/v1/videos/cat-1/similar?k={odd}&offset={odd}&explain={odd}",
            f"/v1/videos/cat-1/why-not?query={odd}&where={odd}",
            f"/v1/videos/cat-1/why-not?query={odd}",
            f"/v1/uploads?state={odd}&after={odd}&limit={odd}",
            f"/v1/uploads?after={odd}",
            f"/v1/videos?after={odd}",
            f"/v1/failures?limit={odd}",
            *(
                f"/v1/{kind}/{odd.replace('?', '%3f')[:2_000]}{door}"
                for kind in ("uploads", "videos")
                for door in DOORS
            ),
        ):
            yield f"GET {path[:200]}", http.get(path, headers=key)
    for odd_headers in ODD_HEADERS:
        for method, path in (*doors, ("GET", "/v1/videos/cat-1/original"), ("GET", "/v1/session"), ("GET", "/healthz")):
            raw = {
                name: value if isinstance(value, bytes) else value.encode("latin-1")
                for name, value in odd_headers.items()
            }
            found = http.request(method, path, headers={name: text.encode() for name, text in key.items()} | raw)
            yield f"{method} {path} {odd_headers}", found


DOORS = ("", "/similar", "/thumbnail", "/original", "/why-not?query=a")


def test_odd_requests_are_answered_and_none_is_an_error_of_ours(
    drawn_home: Path, drawn: list[SampleClip], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.web.guard.SESSIONS_PER_S", 1e6)
    tried = 0
    with opened(drawn_home, drawn, per_key_per_s=1e6) as site:
        for sent, answer in answers(site):
            tried += 1
            assert answer.status_code < 500, f"{sent}: {answer.text[:500]}"
            if answer.status_code >= 400:
                assert answer.headers["content-type"] == "application/problem+json", sent
                assert answer.json()["status"] == answer.status_code, sent
            assert "a" not in answer.cookies, sent
    assert tried > 400


# Raw bytes -----------------------------------------------------------------------------------------------------


def spoken(url: str, data: bytes, *, cut_off: bool = False) -> bytes:
    """What a server answers to these bytes until it ends the connection, which it has five seconds for."""
    where = urlsplit(url)
    with socket.create_connection((where.hostname, where.port), timeout=5) as connection:
        said = b""
        with contextlib.suppress(ConnectionError):
            connection.sendall(data)
            if cut_off:
                connection.shutdown(socket.SHUT_WR)
            while some := connection.recv(65_536):
                said += some
        return said


def request(*headers: str, line: str = "GET /healthz HTTP/1.1", body: bytes = b"", host: str = "127.0.0.1") -> bytes:
    lines = [line, *([f"Host: {host}"] if host else []), *headers, "Connection: close"]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body


POST = "POST /v1/session HTTP/1.1"
RAW: dict[str, tuple[bytes, set[int]]] = {
    "as it should be": (request(), {200}),
    "two lengths": (request("Content-Length: 2", "Content-Length: 3", line=POST, body=b"{}x"), {400}),
    "two equal lengths": (request("Content-Length: 2", "Content-Length: 2", line=POST, body=b"{}"), {400, 422}),
    "a length and chunks": (
        request("Content-Length: 2", "Transfer-Encoding: chunked", line=POST, body=b"0\r\n\r\nGET /x HTTP/1.1\r\n\r\n"),
        {400},
    ),
    "chunks and a length": (
        request("Transfer-Encoding: chunked", "Content-Length: 2", line=POST, body=b"0\r\n\r\n"),
        {400},
    ),
    "chunked twice": (request("Transfer-Encoding: chunked, chunked", line=POST, body=b"0\r\n\r\n"), {400, 422}),
    "an unknown coding": (request("Transfer-Encoding: xchunked", line=POST, body=b"0\r\n\r\n"), {400}),
    "a bad chunk": (request("Transfer-Encoding: chunked", line=POST, body=b"zz\r\n{}\r\n"), {400}),
    "a negative chunk": (request("Transfer-Encoding: chunked", line=POST, body=b"-2\r\n{}\r\n"), {400}),
    "an endless chunk": (request("Transfer-Encoding: chunked", line=POST, body=b"f" * 40 + b"\r\n{}\r\n"), {400}),
    "a negative length": (request("Content-Length: -1", line=POST), {400}),
    "a length of letters": (request("Content-Length: two", line=POST), {400}),
    "a huge length": (request("Content-Length: " + "9" * 40, line=POST), {400, 413}),
    "a length too long": (request("Content-Length: 99999999999", line=POST), {413}),
    "a body cut off": (request("Content-Length: 50", "Content-Type: application/json", line=POST, body=b"{"), {400, 0}),
    "a header of 64 KB": (request("X-Long: " + "a" * 65_536), {431}),
    "64 KB of headers": (request(*(f"X-{n}: {'a' * 100}" for n in range(600))), {431}),
    "a line of 64 KB": (request(line=f"GET /{'a' * 65_536} HTTP/1.1"), {431}),
    "a header without end": (b"GET / HTTP/1.1\r\nX: " + b"a" * 500_000, {431}),
    "no host": (request(host=""), {400, 421}),
    "HTTP/1.0 without a host": (b"GET /healthz HTTP/1.0\r\n\r\n", {421}),
    "two hosts": (request("Host: evil.example"), {400}),
    "another host": (request(host="evil.example"), {421}),
    "absolute form": (request(line="GET http://127.0.0.1/healthz HTTP/1.1"), {200}),
    "absolute form of another": (request(line="GET http://evil.example/healthz HTTP/1.1"), {200, 400, 421}),
    "another version": (request(line="GET /healthz HTTP/3.7"), {400}),
    "no version": (b"GET /healthz\r\n\r\n", {400, 421}),
    "a method of ours": (request(line="HUG /healthz HTTP/1.1"), {400, 405}),
    "CONNECT": (request(line="CONNECT evil.example:443 HTTP/1.1"), {400, 401, 404, 405}),
    "OPTIONS *": (request(line="OPTIONS * HTTP/1.1"), {400, 401, 404, 405}),
    "an upgrade": (request("Upgrade: websocket", "Sec-WebSocket-Key: x"), {200}),
    "h2c": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {400}),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)), {400}),
    "bytes of no meaning": (bytes(range(256)) * 4, {400}),
    "a space before the colon": (request("Content-Length : 2", line=POST, body=b"{}"), {400}),
    "a folded header": (request("X-Folded: a\r\n b"), {200, 400}),
    "a bare line feed": (b"GET /healthz HTTP/1.1\nHost: 127.0.0.1\nConnection: close\n\n", {200, 400}),
    "a NUL in a header": (request("X-Nul: a\0b"), {400}),
    "no ASCII in the path": (request(line="GET /v1/videos/\xe7 HTTP/1.1"), {400, 401}),
    "a path out of the tree": (request(line="GET /static/../../../../etc/passwd HTTP/1.1"), {401, 404}),
    "the same, encoded": (request(line="GET /static/%2e%2e%2f%2e%2e%2fetc%2fpasswd HTTP/1.1"), {401, 404}),
    "nothing": (b"", {0}),
    "empty lines": (b"\r\n" * 1_000, {0, 400}),
    "pipelined": (
        b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 20 + request(line="GET /nowhere HTTP/1.1"),
        {200},
    ),
    "garbage behind a request": (b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n\x00\xff", {200, 400}),
}


CUT_OFF = {"a body cut off", "nothing", "empty lines"}
"""After which whoever sent them ends the connection."""


def whole(connection: socket.socket) -> bytes:
    """The one problem that comes."""
    said = b""
    while b"request_id" not in said and (some := connection.recv(65_536)):
        said += some
    return said


def first_status(said: bytes) -> int:
    """Of what came; 0: nothing did."""
    return int(said.split(b" ", 2)[1]) if said else 0


@pytest.mark.ci
@pytest.mark.timeout(120)
def test_bytes_that_are_hardly_http_are_refused_and_nobody_else_notices(served: Running) -> None:
    key = {"Authorization": f"Bearer {served.key}"}
    with ThreadPoolExecutor(8) as pool, httpx.Client(base_url=served.url, headers=key, timeout=10) as http:
        where = urlsplit(served.url)
        slow = [socket.create_connection((where.hostname, where.port), timeout=HEAD_S + 5) for _ in range(3)]
        slow[1].sendall(b"GET /healthz HT")
        slow[2].sendall(b"POST /v1/failures/retry HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\n{")
        began_s = time.monotonic()
        found = dict(
            zip(RAW, pool.map(lambda name: spoken(served.url, RAW[name][0], cut_off=name in CUT_OFF), RAW), strict=True)
        )
        for name, said in found.items():
            assert first_status(said) in RAW[name][1], f"{name}: {said[:300]!r}"
            statuses = re.findall(rb"HTTP/1\.1 (\d{3}) ", said)
            assert not [status for status in statuses if status >= b"500"], f"{name}: {said[:300]!r}"
        assert len(re.findall(rb"HTTP/1\.1 200 ", found["pipelined"])) == 20
        assert b"root:" not in b"".join(found.values())
        assert http.get("/v1/failures").status_code == 200
        assert time.monotonic() - began_s < 30
        ends = [first_status(connection.recv(65_536)) for connection in slow]
        assert ends == [408, 408, 401], "a head that does not come, and a body that nobody waits for"
        assert time.monotonic() - began_s < HEAD_S + 5
        for connection in slow:
            connection.close()
        assert http.get("/v1/failures").status_code == 200
    said = lines(served)
    assert not [line for line in said if "traceback" in line]
    assert not [line for line in said if line.get("status", 0) >= 500]


@pytest.mark.ci
@pytest.mark.timeout(120)
def test_strangers_that_send_slowly_crowd_nobody_out(served: Running) -> None:
    where = urlsplit(served.url)
    key = {"Authorization": f"Bearer {served.key}"}
    room = Settings().strangers_at_once
    began_s = time.monotonic()
    opened = [socket.create_connection((where.hostname, where.port), timeout=30) for _ in range(room + 2)]
    for connection in opened:
        connection.sendall(b"POST /v1/session HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 100\r\n\r\n{")
        time.sleep(0.01)
    with httpx.Client(base_url=served.url, timeout=10) as http:
        for path, headers in (("/v1/session", {}), ("/readyz", {}), ("/healthz", {}), ("/v1/failures", key)):
            assert http.get(path, headers=headers).status_code == 200, path
        assert time.monotonic() - began_s < STRANGER_S
        said = [whole(connection) for connection in opened]
        assert [first_status(one) for one in said] == [503] * (room + 2)
        assert all(b"retry-after: " in one for one in said)
        assert sum(b":too_slow" in one for one in said) == room
        assert time.monotonic() - began_s < STRANGER_S + 5
        assert http.post("/v1/session", json={"key": served.key}).status_code in (204, 429)
    for connection in opened:
        connection.close()


# Names ---------------------------------------------------------------------------------------------------------

CANARY = "zqcanary"
"""Stands in every hostile name: where it turns up, the name does."""
BASES = (
    "../../../{}", "..\\..\\{}", "/etc/{}", "C:\\Windows\\{}", "\\\\server\\share\\{}", "file:///etc/{}", "~/{}",
    "~root/{}", "./{}", "....//....//{}", "%2e%2e%2f{}", "%252e%252e%252f{}", "..%c0%af{}", "..%ef%bc%8f{}", "．．／{}",
    "∕..∕{}", "{}\x00.mp4", "{}%00.mp4", "{}\r\nSet-Cookie: a=b", '{}\n{{"event": "forged"}}', "{}\x1b[2J", "{}\x7f",
    "{}\u2028", "{}\u202e4pm.exe", "\ufeff{}", "{}\u0301", "CON.{}", "NUL.{}", "COM1.{}", "aux.{}.mp4", "{}.", "{} ",
    " {}", "{}::$DATA", "{}.lnk", ".{}", "..{}", "-rf {}", "--{}", "$({})", "`{}`", "{}; rm -rf /", "{} | sh",
    "{} && reboot", "${{{}}}", "{{{{{}}}}}", "%s%n{}", "{}' or 1=1 --", '{}" x="', "<script>{}</script>", "{}?a=b",
    "{}#a", "{}&a", "a/{}/similar", "{}/original", "{}/..", "{}/.", "http://evil.example/{}", "s3://bucket/{}",
    "{}::file:///etc/passwd", "simplecache::file:///{}", "*{}*", "[{}]", "{}" + "a" * 300, "{}/" + "a/" * 120,
    "{}" + "猫" * 200, "{}\ud800", "😸{}", "{}\u200d", "ﷺ{}",
)  # fmt: skip
SECRET = b"nobody may have this"


def hostile_names(count: int, seed: int) -> list[str]:
    """Names as nobody would give a file; each other than the rest."""
    random = Random(seed)
    found: dict[str, None] = {}
    while len(found) < count:
        name = random.choice(BASES).format(f"{CANARY}{len(found)}")
        if random.random() < 0.5:
            name = random.choice(BASES).replace("{}", "\0\0").format().replace("\0\0", name)
        if random.random() < 0.2:
            place = random.randrange(len(name) + 1)
            name = (
                name[:place]
                + chr(random.choice([random.randrange(0x20), random.randrange(0x80, 0x3000)]))
                + name[place:]
            )
        found[name] = None
    return list(found)


def disposition(name: str, random: Random) -> bytes:
    """A Content-Disposition whose filename is this, in one of the ways in which it may be written."""
    raw = name.encode("utf-8", "surrogatepass")
    quoted = quote(name, safe="", errors="surrogatepass").encode()
    line = raw.replace(b"\r", b"").replace(b"\n", b"")  # else it would be another header
    return b'form-data; name="file"; ' + random.choice(
        [
            b'filename="' + line.replace(b"\\", b"\\\\").replace(b'"', b'\\"') + b'"',
            b'filename="' + line.replace(b'"', b"%22") + b'"',
            b'filename="' + line + b'"',
            b"filename=" + line,
            b"filename*=UTF-8''" + quoted,
            b"filename*=utf-7'en'" + quoted,
            b"filename*0*=UTF-8''" + quoted[:9] + b"; filename*1*=" + quoted[9:],
            b"filename=\"a.mp4\"; filename*=UTF-8''" + quoted,
            b'filename="' + quoted + b'"',
            b'filename="' + raw + b'"',
        ]
    )


def tree(folder: Path, without: Path) -> dict[str, bytes]:
    """Everything below a folder but for one part of it."""
    return {
        str(path): path.read_bytes() if path.is_file() else b""
        for path in folder.rglob("*")
        if path != without and without not in path.parents
    }


def no_escapes(
    drawn_home: Path, clips: list[SampleClip], folder: Path, count: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Hand in files under hostile names, ids and URIs, and see that each ends as one thing, inside of the home."""
    home, store = folder / "home", folder / "store"
    shutil.copytree(drawn_home, home)
    store.mkdir()
    (folder / "secret").write_bytes(SECRET)
    (store / "link").symlink_to(folder / "secret")
    os.mkfifo(store / "pipe")
    names = hostile_names(count, SEED)
    lying = sum(lie_down(store, name, b"clip") for name in names[: count // 4])
    around, here = tree(folder, home), sorted(os.listdir())
    blobs = {path.name for path in (home / "blobs").rglob("*")}
    caplog.set_level(logging.INFO, "firstlook")
    outcomes = Counter[tuple[str, int]]()
    random = Random(SEED)
    with opened(home, clips, stores=(str(store),), per_key_per_s=1e6) as site:
        before = site.doors.home.ledger.counts(site.doors.space.id)
        for number, name in enumerate(names):
            way = ("filename", "video_id", "uri", "both")[number % 4]
            answer = handed_in(site, way, name, random, store)
            outcomes[way, answer.status_code] += 1
            assert answer.status_code in (202, 400, 403, 409, 422), (way, name, answer.text)
            shown = {header: value for header, value in answer.headers.items() if header != "location"}
            assert CANARY not in str(shown), (way, name)
            assert "set-cookie" not in answer.headers
            if answer.status_code == 202:
                state = answer.json()
                assert state["state"] == "waiting", (way, name)
                assert answer.headers["location"].isascii()
                place = answer.headers["location"].removeprefix("/v1/uploads/")
                assert (unquote(place), posixpath.normpath(place)) == (state["video_id"], place), (way, name)
        taken = {item.video_id for item in site.doors.home.ledger.items(site.doors.space.id, limit=10_000)}
        after = site.doors.home.ledger.counts(site.doors.space.id)
        assert after["pending"] - before["pending"] == len(taken) - 16, "each is one thing"
    print(f"{count} hostile names, {lying} of them of files: {dict(sorted(outcomes.items()))}")
    assert tree(folder, home) == around, "nothing is written, changed or taken away outside of the home"
    assert sorted(os.listdir()) == here
    new = {path.name for path in (home / "blobs").rglob("*")} - blobs
    assert hashlib.sha256(SECRET).hexdigest() not in new
    assert all(re.fullmatch(r"[0-9a-f]{2}|[0-9a-f]{64}|original", name) for name in new), new
    assert list((home / "incoming").iterdir()) == []
    for record in caplog.records:
        if record.name.startswith("firstlook"):
            line = record.getMessage()
            assert "\n" not in line
            assert json.loads(line).get("event") != "forged"
            assert CANARY not in line
    assert {way for way, status in outcomes if status == 202} >= {"filename", "video_id", "uri"}


def lie_down(folder: Path, name: str, content: bytes) -> bool:
    """Make a file of a hostile name, if the system has such a name; it stays within the folder."""
    path = folder / name.replace("/", "⁄").replace("\0", "␀")
    try:
        path.write_bytes(content)
    except (OSError, UnicodeEncodeError):  # too long, or half a character
        return False
    return True


def handed_in(site: Site, way: str, name: str, random: Random, store: Path) -> httpx.Response:
    if way == "uri":
        lies = name.replace("/", "⁄").replace("\0", "␀")
        uri = random.choice(
            [f"{store}/{lies}", f"{store}/{name}", name, f"{store}/../{name}", f"{store}/link", f"{store}/pipe"]
        )
        return site.ask(
            "POST", "/v1/uploads", content=json.dumps({"uri": uri}), headers={"Content-Type": "application/json"}
        )
    boundary = b"b0undary"
    parts = [disposition(name if way != "video_id" else "a.mp4", random) + b"\r\n\r\nthe same bytes"]
    if way != "filename":
        parts.append(b'form-data; name="video_id"\r\n\r\n' + name.encode("utf-8", "surrogatepass"))
    body = b"".join(b"--" + boundary + b"\r\nContent-Disposition: " + part + b"\r\n" for part in parts)
    headers = {"Content-Type": "multipart/form-data; boundary=b0undary"}
    return site.ask("POST", "/v1/uploads", content=body + b"--" + boundary + b"--\r\n", headers=headers)


def test_hostile_names_do_not_escape(
    drawn_home: Path, drawn: list[SampleClip], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    no_escapes(drawn_home, drawn, tmp_path, 300, caplog)


@pytest.mark.ci
def test_five_thousand_hostile_names_do_not_escape(
    drawn_home: Path, drawn: list[SampleClip], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    no_escapes(drawn_home, drawn, tmp_path, 5_000, caplog)


@pytest.mark.ci
def test_hostile_names_in_a_watched_folder_become_uploads_and_nothing_else(home: Home, folder: Path) -> None:
    names = [
        name
        for number, name in enumerate(hostile_names(1_000, SEED))
        if lie_down(folder, name, f"clip {number}".encode())
    ]
    raw = os.fsencode(folder) + b"/\xff\xfe-no-utf8.mp4"
    Path(os.fsdecode(raw)).write_bytes(b"clip 5000")
    for path in folder.iterdir():
        os.utime(path, (1, 1))
    around = tree(folder.parent, home.folder)
    wanted = {path for path in folder.iterdir() if not path.name.startswith(".")}
    given = Watch(str(folder), home, SPACE.id).look()
    ingest([], home, SPACE, lambda: fake_crew(home, FakeDecoder()))
    counts = home.ledger.counts(SPACE.id)
    print(f"{len(wanted)} files of hostile names watched, {counts}")
    assert len(given.video_ids) == len(wanted) == counts["videos"] + counts["failures"]
    assert len(names) > 900
    assert len(wanted) > 700, "hidden ones are left alone"
    assert tree(folder.parent, home.folder) == around
