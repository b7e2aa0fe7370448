"""The HTTP doors: who may pass, what is taken, what is answered."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import fsspec
import httpx
import pytest
from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.testclient import TestClient

from index.access import SCOPES, Access, Key
from index.access import Refused as NoSuchKey
from index.home import Home
from index.records import CATEGORIES
from ingest.erase import erase_due
from ingest.samples import SampleClip
from service.client import Client, Refused
from service.library import Library
from service.web import app as web_app
from service.web.app import create_app
from service.web.doors import Doors, scopes_of
from service.web.guard import is_open
from service.web.settings import Settings
from service.web.worker import _sweep

URL = "http://127.0.0.1"


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A running app over a library of drawn clips."""

    doors: Doors
    http: TestClient
    clips: list[SampleClip]
    keys: dict[str, str]

    def client(self, scope: str = "admin") -> Client:
        return Client(URL, self.keys[scope], transport=_Through(self.http), tries=1)

    def ask(self, method: str, path: str, scope: str | None = "admin", **said: Any) -> httpx.Response:
        headers = said.pop("headers", {}) | ({"Authorization": f"Bearer {self.keys[scope]}"} if scope else {})
        return self.http.request(method, path, headers=headers, **said)

    def work(self) -> None:
        """What the ingest worker does."""
        self.doors.library.ingest()
        erase_due(self.doors.home, "me@here:1:0.00")


class _Through(httpx.BaseTransport):
    """Hands what the client sends to the app, without a network."""

    def __init__(self, http: TestClient) -> None:
        self._http = http

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        body = b"".join(request.stream)  # type: ignore[arg-type]
        found = self._http.request(request.method, str(request.url), content=body, headers=dict(request.headers))
        return httpx.Response(found.status_code, headers=found.headers, content=found.content, request=request)


@pytest.fixture(scope="module")
def site(drawn: list[SampleClip], drawn_home: Path) -> Iterator[Site]:
    with opened(drawn_home, drawn) as made:
        yield made


@pytest.fixture
def own(drawn: list[SampleClip], drawn_home: Path, tmp_path: Path) -> Iterator[Site]:
    """One that a test may change."""
    shutil.copytree(drawn_home, tmp_path / "home")
    with opened(tmp_path / "home", drawn) as made:
        yield made


class opened:
    """Opens the doors of a home for as long as the block lasts."""

    def __init__(self, home: Path, clips: list[SampleClip], **settings: Any) -> None:
        library = Library.open(home)
        access = Access(library.home.ledger)
        keys = {scope: access.create([scope], viewer_id=_viewer(scope))[1] for scope in SCOPES}
        doors = Doors(library=library, access=access, settings=Settings(**settings))
        self._http = TestClient(create_app(doors), base_url=URL)
        self._site = Site(doors=doors, http=self._http, clips=clips, keys=keys)

    def __enter__(self) -> Site:
        self._http.__enter__()
        return self._site

    def __exit__(self, *error: Any) -> None:
        self._http.__exit__(*error)


def _viewer(scope: str) -> str | None:
    """Whose the key for a scope is."""
    return "nobody" if scope == "feed" else None


# Who may pass --------------------------------------------------------------------------------------------------


def routes() -> list[tuple[str, str, list[str]]]:
    return [
        (method, re.sub(r"\{\w+:path\}", "nobody", route.path), list(scopes_of(route)))
        for part in web_app.PARTS
        for route in part.router.routes
        if isinstance(route, APIRoute) and not is_open(route.path)
        for method in sorted(route.methods)
    ]


def bearer(*texts: str | bytes) -> list[tuple[str, bytes]]:
    return [("Authorization", b"Bearer " + (text if isinstance(text, bytes) else text.encode())) for text in texts]


def cookie(text: str, *, by: str | None = "same-origin") -> list[tuple[str, bytes]]:
    return [("Cookie", f"firstlook_session={text}".encode()), *([("Sec-Fetch-Site", by.encode())] if by else [])]


Ways = dict[str, list[tuple[str, bytes]]]
"""How a key is shown -> the headers of it."""


def ways_of_no_key(site: Site, elsewhere: Path) -> Ways:
    """Whatever opens nothing, whoever it may have belonged to."""
    access, right = site.doors.access, site.keys["admin"]
    admin = access.check(right)

    def made(*, ttl_s: float | None = None, of: Key | None = None) -> tuple[Key, str]:
        return access.create(["admin"], ttl_s=ttl_s, parent=of)

    revoked, revoked_text = made()
    ended, ended_text = made(of=admin)
    parent, _ = made()
    _, orphan_text = made(of=parent)
    for key in (revoked, ended, parent):
        access.revoke(key.key_id)
    other = Home.open(elsewhere)
    _, foreign_text = Access(other.ledger).create(["admin"])
    other.close()
    mark, key_id, secret = right.split("_", 2)
    return {
        "none": [],
        "wrong": bearer("fl_wrong_key"),
        "another's secret": bearer(f"{mark}_{key_id}_{site.keys['search'].split('_', 2)[2]}"),
        "no secret": bearer(f"{mark}_{key_id}_"),
        "half a secret": bearer(f"{mark}_{key_id}_{secret[:20]}"),
        "another mark": bearer(f"fx_{key_id}_{secret}"),
        "something behind it": bearer(f"{right}x"),
        "another home's": bearer(foreign_text),
        "revoked": bearer(revoked_text),
        "expired": bearer(made(ttl_s=-1)[1]),
        "of a revoked one": bearer(orphan_text),
        "empty": bearer(""),
        "no word": [("Authorization", b"")],
        "only the word": [("Authorization", b"Bearer")],
        "without the word": [("Authorization", right.encode())],
        "another word": [("Authorization", f"Token {right}".encode())],
        "as a password": [("Authorization", b"Basic " + b64encode(f"key:{right}".encode()))],
        "quoted": bearer(f'"{right}"'),
        "two in one": bearer(f"{right}, {right}"),
        "twice": bearer(right, right),
        "right, then wrong": bearer(right, "fl_wrong_key"),
        "wrong, then right": bearer("fl_wrong_key", right),
        "very long": bearer("fl_" + "a" * 20_000),
        "no ASCII": bearer("fl_ключ_猫"),
        "no UTF-8": bearer(b"fl_\xff\xfe_\x80"),
        "under another name": [("X-Api-Key", right.encode())],
        "no session": cookie("fl_wrong_key"),
        "an empty session": cookie(""),
        "an ended session": cookie(ended_text),
        "an expired session": cookie(made(ttl_s=-1, of=admin)[1]),
        "a revoked one's session": cookie(orphan_text),
        "a NUL as a session": cookie('"\\000"'),
    }


def ways_of(site: Site, scope: str) -> Ways:
    """How a key for a scope may be shown."""
    key = site.keys[scope]
    _, session = site.doors.access.create([scope], parent=site.doors.access.check(key))
    return {
        f"{scope}": bearer(key),
        f"{scope}, small": [("authorization", f"bearer  {key} ".encode())],
        f"{scope}, by session": cookie(session),
        f"{scope}, a session as a key": bearer(session),
    }


def test_every_route_times_every_kind_of_key(site: Site, tmp_path: Path) -> None:
    tried = Counter[int]()
    no_key = ways_of_no_key(site, tmp_path / "home")
    ways = {scope: ways_of(site, scope) for scope in SCOPES}

    def asked(method: str, path: str, way: list[tuple[str, bytes]]) -> httpx.Response:
        answer = site.http.request(method, path, headers=way)
        tried[answer.status_code] += 1
        return answer

    for method, path, scopes in routes():
        assert scopes, f"{method} {path} lets everybody in"
        for name, way in no_key.items():
            answer = asked(method, path, way)
            assert answer.status_code == 401, f"{method} {path}, {name}: {answer.text}"
            assert answer.headers["www-authenticate"] == "Bearer", f"{method} {path}, {name}"
        assert (
            asked(method, f"{path}?key={site.keys['admin']}&access_token={site.keys['admin']}", []).status_code == 401
        )
        for scope in SCOPES:
            may = scope == "admin" or scope in scopes
            for name, way in ways[scope].items():
                answer = asked(method, path, way)
                if may:
                    assert answer.status_code not in (401, 403), f"{method} {path}, {name}: {answer.text}"
                else:
                    assert (answer.status_code, answer.json()["type"]) == (403, "urn:firstlook:wrong_scope"), path
            if method != "GET":
                session = dict(ways[scope][f"{scope}, by session"])["Cookie"].decode().partition("=")[2]
                for by in (None, "same-site", "cross-site", "none", "Same-Origin "):
                    answer = asked(method, path, cookie(session, by=by))
                    assert (answer.status_code, answer.json()["type"]) == (403, "urn:firstlook:other_site"), (path, by)
    for path in ("/", "/healthz", "/readyz", "/openapi.json", "/v1/session"):
        for name, way in (no_key | ways["search"]).items():
            assert asked("GET", path, way).status_code == 200, f"GET {path}, {name}"
    print(f"{len(routes())} routes, {sum(tried.values())} requests, by status: {dict(sorted(tried.items()))}")
    assert len(routes()) >= 16
    assert sum(tried.values()) > 1_000


def test_a_route_that_forgets_to_say_who_may_pass_is_not_started(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    class Forgetful:
        router = APIRouter()

    @Forgetful.router.get("/v1/secret")
    def secret() -> str:
        return "secret"

    monkeypatch.setattr(web_app, "PARTS", (*web_app.PARTS, Forgetful))
    with pytest.raises(RuntimeError, match=r"\['GET'\] /v1/secret says neither"):
        create_app(site.doors)


def test_a_host_that_we_are_not_called_is_refused(site: Site) -> None:
    answer = site.http.get("/healthz", headers={"Host": "evil.example"})
    assert (answer.status_code, answer.json()["type"]) == (421, "urn:firstlook:unknown_host")
    for host in ("127.0.0.1:8000", "localhost", "[::1]:9", "[::1]"):
        assert site.http.get("/healthz", headers={"Host": host}).status_code == 200


def test_a_session_is_a_cookie_that_no_script_reads_and_no_other_site_uses(site: Site) -> None:
    answer = site.http.post("/v1/session", json={"key": site.keys["admin"]})
    assert answer.status_code == 204
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "samesite=strict" in cookie.lower()
    text = cookie.partition("=")[2].partition(";")[0]
    assert text != site.keys["admin"], "the key itself stays with its owner"
    shown = {"Cookie": f"firstlook_session={text}"}
    site.http.cookies.clear()
    assert site.http.get("/v1/failures", headers=shown).status_code == 200
    retry = {"json": {"video_ids": []}}
    assert site.http.post("/v1/failures/retry", headers=shown, **retry).status_code == 403
    ours = shown | {"Sec-Fetch-Site": "same-origin"}
    assert site.http.post("/v1/failures/retry", headers=ours, **retry).status_code == 202
    site.http.cookies.clear()


def test_a_session_that_is_ended_opens_nothing(site: Site) -> None:
    answer = site.http.post("/v1/session", json={"key": site.keys["admin"]})
    text = answer.headers["set-cookie"].partition("=")[2].partition(";")[0]
    site.http.cookies.clear()
    shown = {"Cookie": f"firstlook_session={text}"}
    assert site.http.delete("/v1/session", headers=shown).status_code == 204
    with pytest.raises(NoSuchKey, match="revoked"):
        site.doors.access.check(text)


def test_every_answer_says_what_a_browser_may_do_with_it(site: Site) -> None:
    for path in ("/healthz", "/v1/failures", "/nowhere"):
        answer = site.ask("GET", path)
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "script-src 'self'" in answer.headers["content-security-policy"]
        assert answer.headers["x-request-id"]
    assert site.http.get("/healthz", headers={"X-Request-Id": "mine-1"}).headers["x-request-id"] == "mine-1"
    assert site.http.get("/healthz", headers={"X-Request-Id": "a b\x7f"}).headers["x-request-id"] != "a b\x7f"


def test_a_key_that_asks_too_often_is_told_when_to_come_again(drawn_home: Path, drawn: list[SampleClip]) -> None:
    with opened(drawn_home, drawn, per_key_per_s=2.0) as slow:
        statuses = [slow.ask("GET", "/v1/failures").status_code for _ in range(8)]
        assert statuses[:4] == [200] * 4
        answer = slow.ask("GET", "/v1/failures")
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) >= 1
        assert slow.ask("GET", "/v1/failures", "videos").status_code == 200, "another key is not to blame"


def test_a_body_that_is_too_large_is_refused_however_it_comes(drawn_home: Path, drawn: list[SampleClip]) -> None:
    with opened(drawn_home, drawn, body_bytes_max=1_000, upload_bytes_max=5_000) as small:
        big = json.dumps({"text": "x" * 2_000})
        assert small.ask("POST", "/v1/search", content=big).status_code == 413
        pieces = (big[i : i + 100].encode() for i in range(0, len(big), 100))
        assert small.ask("POST", "/v1/search", content=pieces).status_code == 413, "nobody told its length"
        with pytest.raises(Refused, match="413"):
            small.client().upload(BytesIO(b"x" * 10_000))
        assert not list((drawn_home / "incoming").glob("*")), "nothing is left lying about"


# Uploads -------------------------------------------------------------------------------------------------------


def test_an_upload_becomes_a_video_that_is_found(own: Site) -> None:
    firstlook = own.client("admin")
    clip = own.clips[0].path.read_bytes()
    new = clip + (16).to_bytes(4, "big") + b"free" + b"12345678"
    state = firstlook.upload(BytesIO(new), video_id="new", caption="Mine #Own", extra={"app": 3})
    assert (state.state, state.searchable, state.ahead) == ("waiting", False, 0)
    assert state.links.state == "/v1/uploads/new"
    own.work()
    ended = firstlook.state("new")
    assert (ended.state, ended.searchable) == ("video", True)
    video = firstlook.video("new")
    assert (video.caption, video.hashtags, video.extra) == ("Mine #Own", ["own"], {"app": 3})
    hits = firstlook.similar("new", k=3, explain=True).hits
    assert hits[0].video_id == own.clips[0].video_id
    assert sum((hits[0].modalities or {}).values()) == pytest.approx(hits[0].score, abs=1e-6)


def test_the_same_request_is_one_upload_however_often_it_comes(own: Site) -> None:
    firstlook = own.client("uploads")
    one = firstlook.upload(BytesIO(b"not a video"), idempotency_key="k1")
    assert firstlook.upload(BytesIO(b"not a video"), idempotency_key="k1").video_id == one.video_id
    with pytest.raises(Refused) as refused:
        firstlook.upload(BytesIO(b"something else"), idempotency_key="k1")
    assert (refused.value.status, refused.value.kind) == (409, "already_asked")


def test_a_file_at_fault_is_a_failure_with_its_reason_and_may_be_tried_again(own: Site) -> None:
    firstlook = own.client("admin")
    firstlook.upload(BytesIO(b"not a video"), video_id="bad")
    own.work()
    state = firstlook.state("bad")
    assert (state.state, state.step, state.reason) == ("failure", "decode", "text_file")
    found = firstlook.failures()
    assert found.reasons == {"text_file": 1}
    assert firstlook.retry(["bad"]).queued == 1
    assert firstlook.state("bad").state == "waiting"
    assert [one.video_id for one in firstlook.states("waiting")] == ["bad"]


def test_the_same_bytes_under_other_words_want_an_id_of_their_own(own: Site) -> None:
    firstlook = own.client("uploads")
    first = firstlook.upload(BytesIO(b"some bytes"), caption="mine")
    with pytest.raises(Refused) as refused:
        firstlook.upload(BytesIO(b"some bytes"), caption="no, mine", visibility="private")
    assert (refused.value.status, refused.value.kind) == (409, "same_bytes")
    assert firstlook.upload(BytesIO(b"some bytes")).video_id == first.video_id
    assert firstlook.upload(BytesIO(b"some bytes"), video_id="own", caption="mine").video_id == "own"


@pytest.mark.parametrize("video_id", ["猫", "a/b", "50% off?", "#1", "a b"])
def test_any_id_has_links_that_lead_to_it(own: Site, video_id: str) -> None:
    state = own.client("uploads").upload(BytesIO(b"not a video"), video_id=video_id)
    assert own.ask("GET", state.links.state).json()["video_id"] == video_id
    assert own.client().state(video_id).video_id == video_id


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"video_id": " x"}, "bad_video_id"),
        ({"uploaded_at": "yesterday"}, "bad_uploaded_at"),
        ({"colour": "red"}, "unknown_field"),
        ({"extra": "[1]"}, "bad_extra"),
        ({"extra": '{"category": "cooking"}'}, "bad_category"),
        ({"extra": '{"sensitive": "perhaps"}'}, "bad_sensitive"),
        ({"extra": '{"flags": 7}'}, "bad_flags"),
        ({"extra": "[" * 60_000}, "bad_extra"),
        ({"video_id": "a/original"}, "bad_video_id"),
        ({"video_id": ".."}, "bad_video_id"),
    ],
)
def test_what_is_said_of_an_upload_is_checked(site: Site, fields: dict[str, str], kind: str) -> None:
    answer = site.ask("POST", "/v1/uploads", files={"file": b"x"}, data=fields)
    assert (answer.status_code, answer.json()["type"]) == (422, f"urn:firstlook:{kind}"), answer.text


def test_an_upload_of_an_unknown_category_is_told_of_all_there_are(site: Site) -> None:
    extra = {"extra": json.dumps({"category": "cooking"})}
    said = site.ask("POST", "/v1/uploads", files={"file": b"x"}, data=extra).json()["detail"]
    assert said == f"category wants one of {', '.join(CATEGORIES)}; got 'cooking'"


@pytest.mark.parametrize(
    ("headers", "content", "status"),
    [
        ({"Content-Type": "multipart/form-data"}, b"", 400),
        ({"Content-Type": "multipart/form-data; boundary=x"}, b"--y\r\n", 400),
        ({"Content-Type": f"multipart/form-data; boundary={'x' * 5_000}"}, b"--y\r\n", 400),
        ({"Content-Type": "multipart/form-data; boundary=x"}, b"--x\r\nContent-Disposition: form-data; name=file", 400),
        ({"Content-Type": "multipart/form-data; boundary=x"}, b"--x--\r\n", 422),
        ({"Content-Type": "text/plain"}, b"cat", 415),
        ({"Content-Type": "application/json"}, b"{", 422),
        ({"Content-Type": "application/json"}, b'{"uri": "x", "colour": "red"}', 422),
    ],
)
def test_a_body_that_is_no_upload_is_told_so(site: Site, headers: dict[str, str], content: bytes, status: int) -> None:
    answer = site.ask("POST", "/v1/uploads", headers=headers, content=content)
    assert answer.status_code == status, answer.text


def test_a_uri_is_taken_from_an_allowed_store_only(drawn_home: Path, drawn: list[SampleClip], tmp_path: Path) -> None:
    shutil.copytree(drawn_home, tmp_path / "home")
    store = tmp_path / "store"
    store.mkdir()
    (store / "clip.mp4").write_bytes(drawn[1].path.read_bytes() + b"\x00\x00\x00\x08free")
    (tmp_path / "secret").write_text("secret")
    (store / "link").symlink_to(tmp_path / "secret")
    with opened(tmp_path / "home", drawn, stores=(str(store),)) as site:
        firstlook = site.client("uploads")
        state = firstlook.upload_from(str(store / "clip.mp4"), video_id="from store", caption="#x")
        assert state.video_id == "from store"
        outside = (tmp_path / "secret", store / ".." / "secret", store / "link", Path("/etc/passwd"))
        for uri in (*map(str, outside), "http://127.0.0.1/x", "file:///etc/passwd", "s3://bucket/x"):
            with pytest.raises(Refused) as refused:
                firstlook.upload_from(uri)
            assert (refused.value.status, refused.value.kind) == (403, "store_not_allowed"), uri
        with pytest.raises(Refused) as refused:
            firstlook.upload_from(str(store / "gone.mp4"))
        assert refused.value.kind == "not_readable"


def test_a_name_in_a_store_is_no_way_out_of_it(drawn_home: Path, drawn: list[SampleClip], tmp_path: Path) -> None:
    shutil.copytree(drawn_home, tmp_path / "home")
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "store").mkdir()
    os.mkfifo(tmp_path / "store" / "pipe")
    bucket = f"memory://{tmp_path.name}/new"
    for name in ("clip.mp4", "a::b*?[c]#.mp4"):
        fsspec.filesystem("memory").pipe_file(f"{bucket}/{name}", name.encode())
    with opened(tmp_path / "home", drawn, stores=(str(tmp_path / "store"), bucket)) as site:
        firstlook = site.client("uploads")
        for name in ("clip.mp4", "a::b*?[c]#.mp4"):
            assert firstlook.upload_from(f"{bucket}/{name}", video_id=name).state == "waiting"
        for uri, kind in (
            (f"{bucket}/a::file://{tmp_path}/secret", "not_readable"),
            (f"{bucket}/../old/clip.mp4", "store_not_allowed"),
            (f"simplecache::{bucket}/clip.mp4", "store_not_allowed"),
            (f"{tmp_path}/store/x::{tmp_path}/secret", "not_readable"),
            (f"{tmp_path}/store/pipe", "not_readable"),
            (f"{tmp_path}/store", "not_readable"),
            (f"{tmp_path}/store/{'a' * 300}", "not_readable"),
            (f"{tmp_path}/store/a\0b", "invalid"),
        ):
            with pytest.raises(Refused) as refused:
                firstlook.upload_from(uri)
            assert refused.value.kind == kind, uri
    assert not Settings(stores=(str(tmp_path),)).store_of(f"{tmp_path}/a\0b")


# Videos --------------------------------------------------------------------------------------------------------


def test_a_private_video_leaves_every_answer_at_once_and_comes_back(own: Site) -> None:
    firstlook = own.client("admin")
    asked, other = (clip.video_id for clip in own.clips[:2])
    assert other in {hit.video_id for hit in firstlook.similar(asked, k=16).hits}
    firstlook.edit(other, visibility="private")
    assert other not in {hit.video_id for hit in firstlook.similar(asked, k=16).hits}, "before any worker looked at it"
    assert firstlook.why_not(other, f"video:{asked}").kept_out_by == "private"
    own.work()
    assert other not in {hit.video_id for hit in firstlook.similar(asked, k=16).hits}
    firstlook.edit(other, visibility="public")
    own.work()
    assert other in {hit.video_id for hit in firstlook.similar(asked, k=16).hits}


def test_an_edited_caption_is_searched_by_its_new_words(own: Site) -> None:
    firstlook = own.client("admin")
    video_id = own.clips[0].video_id
    firstlook.edit(video_id, caption="zyzzyva zyzzyva #beetle")
    own.work()
    assert firstlook.search("zyzzyva").hits[0].video_id == video_id
    assert firstlook.video(video_id).hashtags == ["beetle"]


def test_an_erased_video_is_gone_from_answers_and_then_from_the_disk(own: Site) -> None:
    firstlook = own.client("admin")
    asked, other = (clip.video_id for clip in own.clips[:2])
    kept = {path.name for path in (own.doors.home.folder / "blobs" / "original").rglob("*") if path.is_file()}
    firstlook.erase(other)
    assert other not in {hit.video_id for hit in firstlook.similar(asked, k=16).hits}
    with pytest.raises(Refused, match="404"):
        firstlook.video(other)
    own.work()
    left = {path.name for path in (own.doors.home.folder / "blobs" / "original").rglob("*") if path.is_file()}
    assert len(kept - left) == 1
    with pytest.raises(Refused, match="404"):
        firstlook.erase(other)


def test_pages_follow_each_other_without_a_gap(site: Site) -> None:
    firstlook = site.client("search")
    whole = [hit.video_id for hit in firstlook.search("a cat", k=16).hits]
    pages = []
    offset: int | None = 0
    while offset is not None and offset < 16:
        page = firstlook.search("a cat", k=5, offset=offset)
        pages += [hit.video_id for hit in page.hits]
        offset = page.next_offset
    assert pages == whole


def test_all_videos_are_listed_page_by_page(site: Site) -> None:
    found = [video.video_id for video in site.client("search").videos(page=5)]
    assert sorted(found) == sorted(clip.video_id for clip in site.clips)


def test_a_picture_is_a_query_too(site: Site) -> None:
    firstlook = site.client("search")
    cat = next(clip.video_id for clip in site.clips if clip.video_id.startswith("cat"))
    thumbnail = firstlook.thumbnail(cat)
    assert thumbnail[:3] == b"\xff\xd8\xff"
    assert cat in [hit.video_id for hit in firstlook.search_file(BytesIO(thumbnail), k=4).hits]
    with pytest.raises(Refused) as refused:
        firstlook.search_file(BytesIO(b"no picture"))
    assert refused.value.kind == "text_file"


def test_why_a_video_is_not_in_an_answer(site: Site) -> None:
    firstlook = site.client("search")
    cat = next(clip.video_id for clip in site.clips if clip.video_id.startswith("cat"))
    first = firstlook.why_not(cat, "a cat", k=5)
    assert (first.kept_out_by, (first.rank or 0) <= 5) == (None, True)
    rocket = next(clip.video_id for clip in site.clips if clip.video_id.startswith("rocket"))
    behind = firstlook.why_not(rocket, "a cat", k=1)
    assert behind.kept_out_by == "rank"
    assert (behind.rank or 0) > 1
    assert firstlook.why_not(cat, "a cat", where="duration_s > 1000").kept_out_by == "filter"
    assert firstlook.why_not("nobody", "a cat").kept_out_by == "not_found"
    for blank in ("\u00a0", " \t "):
        with pytest.raises(Refused) as refused:
            firstlook.why_not(cat, blank)
        assert (refused.value.status, refused.value.kind) == (422, "bad_query")


@pytest.mark.parametrize(
    ("said", "status", "first", "last"),
    [
        (None, 200, 0, None),
        ("bytes=0-9", 206, 0, 9),
        ("bytes=100-", 206, 100, None),
        ("bytes=-100", 206, -100, None),
        ("bytes=5-5", 206, 5, 5),
        ("bytes=999999999-", 416, 0, 0),
        ("bytes=9-5", 416, 0, 0),
        ("bytes=0-1,3-4", 416, 0, 0),
        ("bytes=-", 416, 0, 0),
        ("lines=1-2", 416, 0, 0),
        ("bytes=" + "9" * 5_000 + "-", 416, 0, 0),
    ],
)
def test_ranges_of_an_original(site: Site, said: str | None, status: int, first: int, last: int | None) -> None:
    path = f"/v1/videos/{site.clips[0].video_id}/original"
    whole = site.ask("GET", path).content
    answer = site.ask("GET", path, headers={"Range": said} if said else {})
    assert answer.status_code == status
    if status != 416:
        start = first if first >= 0 else len(whole) + first
        end = len(whole) if last is None else last + 1
        assert answer.content == whole[start:end]
        assert int(answer.headers["content-length"]) == end - start


def test_what_is_not_a_request_of_ours_is_told_kindly(site: Site) -> None:
    for method, path, status in (
        ("GET", "/v1/nothing", 404),
        ("PUT", "/v1/search", 405),
        ("GET", "/v1/videos/nobody", 404),
        ("POST", "/v1/search", 422),
        ("GET", "/v1/uploads?limit=0", 422),
    ):
        answer = site.ask(method, path)
        assert answer.status_code == status, path
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["request_id"] == answer.headers["x-request-id"]


def test_ready_says_what_is_there(site: Site) -> None:
    answer = site.http.get("/readyz").json()
    assert (answer["ready"], answer["rows"], answer["ingest"]) == (True, 16, {"state": "none"})


def test_a_full_disk_and_a_bug_are_told_apart(drawn_home: Path, drawn: list[SampleClip]) -> None:
    with opened(drawn_home, drawn) as site:
        http = TestClient(site.http.app, base_url=URL, raise_server_exceptions=False)
        headers = {"Authorization": f"Bearer {site.keys['admin']}"}
        for error, status, kind in (
            (OSError(28, "No space left on device for blobs"), 507, "disk_full"),
            (TimeoutError("the ledger is locked"), 503, "busy"),
            (ValueError("the secret of a stranger"), 500, "bug"),
        ):
            with pytest.MonkeyPatch.context() as patched:
                patched.setattr(Library, "failures", lambda library, error=error: (_ for _ in ()).throw(error))
                answer = http.get("/v1/failures", headers=headers)
            assert (answer.status_code, answer.json()["type"]) == (status, f"urn:firstlook:{kind}")
            assert "secret" not in answer.text


def test_what_arrived_half_is_swept_up_after_a_day(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    for path in (old, new):
        path.write_bytes(b"half")
    os.utime(old, (0, 0))
    _sweep(tmp_path, time.time())
    assert [path.name for path in tmp_path.iterdir()] == ["new"]
