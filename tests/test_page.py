"""The page: what is handed out, and what a person sees and does with it in a real browser."""

from __future__ import annotations

import base64
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from injections import COUNT, RUN, injections
from playwright.sync_api import sync_playwright
from served import Running, served
from starlette.testclient import TestClient

from index.access import Access
from index.records import Failure
from ingest.samples import SampleClip
from service.client import Client
from service.library import Library
from service.web.app import create_app
from service.web.doors import Doors
from service.web.page import FIRST, SHIPPED
from service.web.settings import Settings

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
in_browser = pytest.mark.ci
"""Wants Chromium: `.ci/run` brings it."""
PHONE, DESK = {"width": 360, "height": 740}, {"width": 1_280, "height": 860}
CARDS = "main a.card"


# What is handed out, without a browser ------------------------------------------------------------------------------


@contextmanager
def opened(home: Path) -> Iterator[tuple[TestClient, Doors]]:
    library = Library.open(home)
    doors = Doors(library=library, access=Access(library.home.ledger), settings=Settings())
    with TestClient(create_app(doors), base_url="http://127.0.0.1") as client:
        yield client, doors


@pytest.fixture(scope="module")
def http(drawn_home: Path) -> Iterator[TestClient]:
    with opened(drawn_home) as (client, _):
        yield client


class _Tags(HTMLParser):
    """Every tag with its attributes, and the text of scripts and styles."""

    def __init__(self, markup: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.inline = ""
        self.feed(markup)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.tags and self.tags[-1][0] in ("script", "style"):
            self.inline += data.strip()


def test_the_page_wants_no_key_and_forbids_every_script_but_its_own(http: TestClient) -> None:
    answer = http.get("/")
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'; script-src 'self'; style-src 'self'" in policy
    assert "require-trusted-types-for 'script'; trusted-types 'none'" in policy
    assert "unsafe" not in policy
    found = _Tags(answer.text)
    assert found.inline == ""
    for tag, attributes in found.tags:
        assert "style" not in attributes, tag
        assert not [name for name in attributes if name.startswith("on")], tag
        for name in ("src", "href"):
            assert str(attributes.get(name, "/static/")).startswith(("/static/", "#/")), f"{tag} {attributes}"


@pytest.mark.parametrize("name", sorted(set(SHIPPED) - {FIRST}))
def test_what_is_shipped_says_what_it_is_and_is_kept_until_it_changes(http: TestClient, name: str) -> None:
    answer = http.get(f"/static/{name}")
    kinds = {"js": "text/javascript", "css": "text/css", "svg": "image/svg+xml"}
    assert answer.headers["content-type"] == f"{kinds[name.rpartition('.')[2]]}; charset=utf-8"
    assert answer.headers["cache-control"] == "no-cache"
    again = http.get(f"/static/{name}", headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert http.get(f"/static/{name}", headers={"If-None-Match": '"another"'}).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/static/",
        "/static/nothing.js",
        "/static/index.html",
        "/static/page.py",
        "/static/..%2Fpage.py",
        "/static/%2e%2e/page.py",
        "/static/..%5Cpage.py",
        "/static/%2Fetc%2Fpasswd",
        "/static/main.js%00",
        "/static/MAIN.JS",
    ],
)
def test_nothing_else_is_handed_out(http: TestClient, path: str) -> None:
    assert http.get(path).status_code == 404


def test_modules_name_only_what_is_shipped_and_make_no_markup_of_texts() -> None:
    named = {"main.js", "style.css", "icon.svg", FIRST}
    for name, file in SHIPPED.items():
        text = file.content.decode()
        named |= set(re.findall(r'from "\./([\w.]+)"', text))
        for way in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function"):
            assert way not in text.replace("uses innerHTML,", ""), f"{name} has {way}"
    assert named == set(SHIPPED)


def test_a_session_says_what_it_may_do_and_nobody_is_told_nothing(drawn_home: Path) -> None:
    with opened(drawn_home) as (http, doors):
        assert http.get("/v1/session").json() == {"scopes": []}
        _, key = doors.access.create(["search", "videos"])
        http.post("/v1/session", json={"key": key})
        assert http.get("/v1/session").json() == {"scopes": ["search", "videos"]}


def test_the_newest_come_first_page_by_page_and_the_private_never(drawn_home: Path, tmp_path: Path) -> None:
    shutil.copytree(drawn_home, tmp_path / "home")
    with opened(tmp_path / "home") as (http, doors):
        http.headers["Authorization"] = f"Bearer {doors.access.create(['videos'])[1]}"

        def listed(**query: Any) -> tuple[list[str], str | None]:
            page = http.get("/v1/videos", params=query).json()
            return [video["video_id"] for video in page["videos"]], page["next_after"]

        ids, end = listed(limit=200)
        assert (len(set(ids)), end) == (16, None)
        paged: list[str] = []
        after: str | None = ""
        while after is not None:
            some, after = listed(limit=5, after=after)
            paged += some
        assert paged == ids
        doors.home.ledger.edit(ids[3], caption="new words")
        doors.home.ledger.edit(ids[5], visibility="private")
        assert ids[5] not in listed()[0], "at once"
        doors.library.ingest()
        assert listed()[0] == [ids[3], *(one for one in ids if one not in (ids[3], ids[5]))]
        for bad in ("x", "1e9 a", "nan a", "1.5", "-1 a"):
            assert http.get("/v1/videos", params={"after": bad}).status_code == 422, bad


# In a browser -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("no Chromium here; apt-get install chromium")
    with sync_playwright() as driver:
        options = ["--disable-dev-shm-usage"]  # a container's may be 64 MB
        options += ["--no-sandbox"] if os.geteuid() == 0 else []
        opened = driver.chromium.launch(executable_path=CHROMIUM, args=options)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def site(drawn_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    home = tmp_path_factory.mktemp("page") / "home"
    shutil.copytree(drawn_home, home)
    with served(home) as running:
        yield running


@dataclass
class Visit:
    """One person's browser, and what it complained of."""

    page: Any
    context: Any
    url: str
    complaints: list[str] = field(default_factory=list)

    def sign_in(self, key: str, view: str = "#/") -> Any:
        """By a link; then to a view."""
        self.page.goto(f"{self.url}/#key={key}")
        self.page.wait_for_selector("#top:not([hidden])")
        if view != "#/":
            self.page.evaluate("(hash) => { location.hash = hash; }", view)
        return self.page

    def ids(self, where: str = CARDS) -> list[str]:
        """Of the videos that are shown."""
        return self.page.eval_on_selector_all(
            where, "all => all.map(one => decodeURIComponent(one.hash.slice('#/video/'.length)))"
        )

    def drop(self, name: str, content: bytes, kind: str = "video/mp4") -> None:
        """A file onto the page, as a hand does it."""
        code = """([name, kind, text]) => {
            const data = new DataTransfer();
            data.items.add(new File([Uint8Array.from(atob(text), (c) => c.charCodeAt(0))], name, { type: kind }));
            for (const type of ["dragover", "drop"]) {
                const at = new DragEvent(type, { dataTransfer: data, bubbles: true, cancelable: true });
                document.body.dispatchEvent(at);
            }
        }"""
        self.page.evaluate(code, [name, kind, base64.b64encode(content).decode()])


@pytest.fixture
def visit(browser: Any, site: Running) -> Iterator[Callable[..., Visit]]:
    """Opens visits; at the end none of them may have complained of anything that was not expected."""
    visits: list[tuple[Visit, str]] = []

    def begin(
        viewport: dict[str, int] = DESK, expected: str = "nothing is", at: Running = site, **options: Any
    ) -> Visit:
        context = browser.new_context(viewport=viewport, **options)
        context.set_default_timeout(30_000)
        made = Visit(page=context.new_page(), context=context, url=at.url)
        tell = "addEventListener('securitypolicyviolation', (e) => console.error('policy', e.violatedDirective))"
        context.add_init_script(tell)
        made.page.on("console", lambda m: m.type in ("error", "warning") and made.complaints.append(m.text))
        made.page.on("pageerror", lambda error: made.complaints.append(str(error)))
        made.page.on("dialog", lambda dialog: made.complaints.append(f"dialog: {dialog.message}"))
        visits.append((made, expected))
        return made

    yield begin
    for made, expected in visits:
        made.context.close()
        assert [said for said in made.complaints if expected not in said] == []


def of_its_own(clip: SampleClip, mark: bytes) -> bytes:
    """A clip's bytes with a box that nobody reads: another upload, which looks the same."""
    return clip.path.read_bytes() + (8 + len(mark)).to_bytes(4) + b"free" + mark


@in_browser
def test_a_link_signs_in_once_and_leaves_no_key_behind(visit: Callable[..., Visit], site: Running) -> None:
    one = visit()
    page = one.sign_in(site.key)
    page.wait_for_selector(CARDS)
    assert "key" not in page.url
    (cookie,) = one.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
    assert cookie["value"] != site.key
    kept = page.evaluate("JSON.stringify([document.cookie, {...localStorage}, {...sessionStorage}, history.state])")
    assert "fl_" not in kept
    page.reload()
    page.wait_for_selector(CARDS)
    page.click("text=Sign out")
    page.wait_for_selector(".sign-in")
    assert one.context.cookies() == []
    assert site.key.rpartition("_")[2] not in site.log.read_text()


@in_browser
def test_a_key_is_typed_once_and_a_wrong_one_is_told(visit: Callable[..., Visit], site: Running) -> None:
    one = visit(expected="401 (Unauthorized)")
    page = one.page
    page.goto(f"{one.url}/#/uploads")
    page.wait_for_selector("input[name=key]:focus")
    page.keyboard.type("fl_wrong")
    page.keyboard.press("Enter")
    page.wait_for_selector("[role=alert] code")
    assert "This key opens nothing." in page.inner_text("[role=alert]")
    page.fill("input[name=key]", site.key)
    page.keyboard.press("Enter")
    page.wait_for_selector("h1:text('Uploads')")
    page.context.clear_cookies()
    page.click("nav a:text('Failures')")
    page.wait_for_selector(".sign-in")
    assert page.is_hidden("#top")


@in_browser
def test_the_grid_shows_everything_and_plays_what_a_pointer_rests_on(
    visit: Callable[..., Visit], site: Running
) -> None:
    one = visit()
    page = one.sign_in(site.key)
    page.wait_for_selector(CARDS)
    assert len(set(one.ids())) >= 16
    page.wait_for_function("[...document.images].slice(0, 6).every((image) => image.naturalWidth > 0)")
    page.hover(f"{CARDS} >> nth=1")
    page.wait_for_selector(f"{CARDS} video.plays")
    assert page.eval_on_selector(f"{CARDS} video", "video => [video.muted, video.loop, !video.paused]") == [True] * 3
    page.hover(".brand")
    page.wait_for_selector(f"{CARDS} video", state="detached")
    calm = visit(reduced_motion="reduce")
    page = calm.sign_in(site.key)
    page.hover(f"{CARDS} >> nth=1")
    page.wait_for_timeout(500)
    assert page.query_selector(f"{CARDS} video") is None


@in_browser
def test_words_find_and_say_how_much_each_modality_did(visit: Callable[..., Visit], site: Running) -> None:
    one = visit()
    page = one.sign_in(site.key)
    page.keyboard.press("/")
    page.keyboard.type("a cat")
    page.keyboard.press("Enter")
    page.wait_for_selector(f"{CARDS} .shares")
    assert one.ids()[0].startswith("cat")
    assert page.title().startswith("Search")
    assert page.inner_text("h1") == "a cat"
    for card in page.query_selector_all(CARDS):
        said = card.query_selector(".shares").inner_text().replace("−", "-")
        score, *parts = map(float, re.findall(r"-?\d\.\d\d", said))
        assert score == pytest.approx(sum(parts), abs=0.02), said
        score_px = card.eval_on_selector(".bar", "bar => bar.offsetWidth") * max(score, 0)
        drawn = card.eval_on_selector_all(".bar > span", "all => all.reduce((sum, one) => sum + one.offsetWidth, 0)")
        assert drawn == pytest.approx(score_px, abs=6), said
    page.go_back()
    page.wait_for_selector("h1.unseen", state="attached")
    assert page.input_value("#search [type=search]") == ""


@in_browser
def test_a_file_finds_what_is_like_it_chosen_or_dropped(
    visit: Callable[..., Visit], site: Running, drawn: list[SampleClip]
) -> None:
    coffee = next(clip for clip in drawn if clip.label == "coffee")
    with Client(site.url, site.key) as firstlook:
        picture = firstlook.thumbnail(coffee.video_id)
    one = visit()
    page = one.sign_in(site.key)
    page.wait_for_selector(CARDS)
    page.set_input_files(
        "#search [type=file]", files=[{"name": "pic.jpg", "mimeType": "image/jpeg", "buffer": picture}]
    )
    page.wait_for_selector("h1:text('Like')")
    page.wait_for_selector(f"{CARDS} .shares")
    assert one.ids()[0] == coffee.video_id
    one.drop("clip.mp4", of_its_own(coffee, b"dropped"))
    page.wait_for_selector("h1 q:text('clip.mp4')")
    page.wait_for_selector(f"{CARDS} .shares")
    assert one.ids()[0] == coffee.video_id
    page.go_back()
    page.wait_for_selector("h1 q:text('pic.jpg')")
    page.reload()
    page.wait_for_selector("text=choose or drop it again")


@in_browser
@pytest.mark.timeout(240)
def test_an_upload_becomes_a_video_with_neighbours(
    visit: Callable[..., Visit], site: Running, drawn: list[SampleClip]
) -> None:
    cat, rocket = (next(clip for clip in drawn if clip.label == label) for label in ("cat", "rocket"))
    one = visit()
    page = one.sign_in(site.key, "#/uploads")
    page.fill("input[aria-label=Caption]", "A cat of my own #mine")
    new = {"name": "my cat.mp4", "mimeType": "video/mp4", "buffer": of_its_own(cat, b"chosen")}
    page.set_input_files(".hand-in [type=file]", files=[new])
    page.wait_for_selector(".row:has-text('my cat.mp4')")
    one.drop("dropped.mp4", of_its_own(rocket, b"dropped here"))
    for name in ("my cat.mp4", "dropped.mp4"):
        page.wait_for_selector(f".row.is-video:has-text('{name}')", timeout=120_000)
    page.click(".row a:text('my cat.mp4')")
    page.wait_for_selector("#video[open] h2:text('A cat of my own #mine')")
    page.wait_for_selector("#video .card .shares")
    assert one.ids("#video a.card")[0] == cat.video_id
    assert page.inner_text("#video .hashtags") == "#mine"
    assert "no model is installed" in page.inner_text("#video dl")
    page.wait_for_function("document.querySelector('#video .stage video').readyState >= 1")
    page.click("#video a.card >> nth=0")
    page.wait_for_selector(f"#video h2:text({json.dumps(cat.caption)})")
    page.click("#video a.card >> nth=0")
    page.wait_for_selector("#video h2:text('A cat of my own #mine')")
    page.keyboard.press("Escape")
    page.wait_for_selector("h1:text('Uploads')")
    assert page.url.endswith("#/uploads"), "Escape leads past all that were opened one from another"
    page.click("nav a:text('Library')")
    page.wait_for_selector(CARDS)
    assert "A cat of my own #mine" in page.inner_text(f"{CARDS} >> nth=1") + page.inner_text(f"{CARDS} >> nth=0")


@in_browser
@pytest.mark.timeout(240)
def test_a_failure_says_why_and_is_tried_again(visit: Callable[..., Visit], site: Running) -> None:
    one = visit()
    page = one.sign_in(site.key, "#/uploads")
    one.drop("notes.mp4", b"this is not a video")
    page.wait_for_selector(".row.is-failure:has-text('notes.mp4')", timeout=120_000)
    with Client(site.url, site.key) as firstlook:
        (failed,) = [failure.video_id for failure in firstlook.failures().failures if failure.reason == "text_file"]
    page.click("nav a:text('Failures')")
    page.wait_for_selector(f".row:has-text('{failed}')")
    assert "text, not a video, after 1 try" in page.inner_text(f".row:has-text('{failed}')")
    page.click(".chip:has-text('text, not a video')")
    page.click(f".row:has-text('{failed}') button")
    page.wait_for_selector(
        f".row.is-failure:has-text('{failed}'):has-text('failed: text, not a video')", timeout=60_000
    )
    page.reload()
    page.wait_for_selector(f".row:has-text('{failed}'):has-text('after 2 tries')")


@in_browser
def test_what_is_made_private_disappears(visit: Callable[..., Visit], site: Running, drawn: list[SampleClip]) -> None:
    stars = next(clip for clip in drawn if clip.label == "stars")
    one = visit()
    page = one.sign_in(site.key)
    page.click(f"a.card:has-text({json.dumps(stars.caption)})")
    page.click("#video button:text('Make private')")
    page.wait_for_selector("#video button:text('Make public')")
    page.keyboard.press("Escape")
    page.wait_for_selector("#video:not([open])", state="attached")
    page.wait_for_selector(CARDS)
    assert stars.video_id not in one.ids()
    page.evaluate("location.hash = '#/search?q=every+dot+here+is+a+galaxy'")
    page.wait_for_selector(f"{CARDS} .shares")
    assert stars.video_id not in one.ids()
    with Client(site.url, site.key) as firstlook:
        firstlook.edit(stars.video_id, visibility="public")
        firstlook.wait_until_ended(stars.video_id)


@in_browser
def test_everything_is_reached_by_keyboard(visit: Callable[..., Visit], site: Running) -> None:
    one = visit()
    page = one.sign_in(site.key)
    page.wait_for_selector(CARDS)
    stops = []
    for _ in range(9):
        page.keyboard.press("Tab")
        stops.append(page.evaluate("(document.activeElement.ariaLabel ?? document.activeElement.textContent).trim()"))
        ring = page.evaluate(
            "getComputedStyle(document.activeElement.closest('.pick') ?? document.activeElement).outlineStyle"
        )
        assert ring == "solid", f"{stops[-1]} shows no focus"
    names = [
        "Skip to the content",
        "firstlook",
        "Search by words",
        "Search by a file",
        "Library",
        "Uploads",
        "Failures",
    ]
    assert stops[:7] == names
    assert stops[7] == "Sign out"
    focused = "[...document.querySelectorAll('main a.card')].indexOf(document.activeElement)"
    assert page.evaluate(focused) == 0, "one stop for the whole grid"
    columns = page.evaluate("getComputedStyle(document.querySelector('.grid')).gridTemplateColumns.split(' ').length")
    for key, place in (("ArrowRight", 1), ("ArrowDown", 1 + columns), ("ArrowLeft", columns), ("ArrowUp", 0)):
        page.keyboard.press(key)
        assert page.evaluate(focused) == place, key
    page.keyboard.press("ArrowUp")
    assert page.evaluate(focused) == 0
    page.wait_for_selector(f"{CARDS}:focus video.plays")
    page.keyboard.press("Enter")
    page.wait_for_selector("#video[open] h2")
    assert page.evaluate("document.activeElement.ariaLabel") == "Close"
    page.wait_for_selector("#video a.card")
    page.keyboard.press("Escape")
    page.wait_for_selector("#video:not([open])", state="attached")
    assert page.evaluate(focused) == 0, "focus comes back to where it was"
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.name") == "words"
    page.keyboard.press("ArrowDown")
    assert page.evaluate(focused) == 0


@in_browser
def test_a_phone_shows_all_views_without_scrolling_sideways(visit: Callable[..., Visit], site: Running) -> None:
    one = visit(viewport=PHONE, has_touch=True, is_mobile=True, device_scale_factor=2)
    page = one.page
    page.goto(one.url)
    page.wait_for_selector(".sign-in")
    widths = {"sign-in": page.evaluate("document.documentElement.scrollWidth")}
    one.sign_in(site.key)
    for view, shown in {
        "#/": CARDS,
        "#/search?q=a+hot+drink": f"{CARDS} .shares",
        "#/uploads": ".last a.card",
        "#/failures": "main h1",
    }.items():
        page.evaluate("(hash) => { location.hash = hash; }", view)
        page.wait_for_selector(shown)
        widths[view] = page.evaluate("document.documentElement.scrollWidth")
    page.evaluate("location.hash = '#/'")
    page.tap(f"{CARDS} >> nth=2")
    page.wait_for_selector("#video .card .shares")
    widths["video"] = page.evaluate("document.querySelector('#video').scrollWidth")
    assert set(widths.values()) == {PHONE["width"]}, widths


@in_browser
def test_a_key_for_less_sees_less_and_is_told_kindly(visit: Callable[..., Visit], site: Running) -> None:
    asks = visit(expected="403 (Forbidden)")
    page = asks.sign_in(site.key_for("search"))
    page.click(f"{CARDS} >> nth=0")
    page.wait_for_selector("#video .card .shares")
    assert page.query_selector("#video button:text('Make private')") is None
    page.keyboard.press("Escape")
    assert page.eval_on_selector_all("nav a:not([hidden])", "all => all.map((a) => a.textContent)") == ["Library"]
    page.evaluate("location.hash = '#/failures'")
    page.wait_for_selector("text=Your key is not for this.")
    hands_in = visit()
    page = hands_in.sign_in(site.key_for("uploads"))
    page.wait_for_selector("text=Your key is for handing in")
    assert page.is_hidden("#search")
    page.click("nav a:text('Uploads')")
    page.wait_for_selector(".hand-in")


@in_browser
def test_a_full_service_is_asked_again_and_a_bug_is_told_with_its_request(
    visit: Callable[..., Visit], site: Running
) -> None:
    one = visit(expected="Failed to load resource")
    page = one.page
    asked = []

    def full_twice(route: Any) -> None:
        asked.append(time.monotonic())
        if len(asked) > 2:
            route.continue_()
            return
        status = (503, 429)[len(asked) - 1]
        route.fulfill(status=status, headers={"Retry-After": "1"}, body=json.dumps({"type": "urn:firstlook:full"}))

    page.route("**/v1/videos?*", full_twice)
    one.sign_in(site.key)
    page.wait_for_selector("#notice:text('asking again in 1 s')")
    page.wait_for_selector(CARDS)
    assert min(later - earlier for earlier, later in pairwise(asked)) >= 0.9
    bug = {"type": "urn:firstlook:bug", "detail": "an error of ours", "request_id": "abc123"}
    page.route("**/v1/failures", lambda route: route.fulfill(status=500, body=json.dumps(bug)))
    page.click("nav a:text('Failures')")
    page.wait_for_selector("[role=alert]")
    assert "Something went wrong on the side of the service." in page.inner_text("[role=alert]")
    assert "abc123" in page.inner_text("[role=alert]")


# What strangers write stays text ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hostile(drawn_home: Path, drawn: list[SampleClip], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """300 videos and 300 failures, of which everything that a stranger may say tries to be a script."""
    home = tmp_path_factory.mktemp("hostile") / "home"
    shutil.copytree(drawn_home, home)
    rows = [
        {"uri": str(drawn[i % 8].path), "video_id": video_id, "caption": text, "hashtags": [text]}
        | {"creator_id": text, "sound_id": text, "language": text}
        for i, (video_id, text) in enumerate(ids_of(injections()).items())
    ]
    manifest = home.with_name("manifest.jsonl")
    manifest.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    with Library.open(home) as library:
        summary = library.ingest([], manifest)
        assert (summary.videos, summary.failures) == (COUNT, 0), "their bytes are known, so nothing is decoded"
        failures = [
            Failure(video_id=f"f{name}", uri=text, step="read", reason=text if i % 10 == 0 else "x", detail=text)
            for i, (name, text) in enumerate(ids_of(injections()).items())
        ]
        library.home.ledger.reject(failures, library.space.id)
    with served(home, "--no-ingest") as running:
        yield running


def ids_of(texts: Sequence[str]) -> dict[str, str]:
    """Id -> text: an id holds no control characters, no blank at its ends, and is nobody else's."""
    return {f"{text.replace(chr(9), '')}!{i}".strip(): text for i, text in enumerate(texts)}


HARMLESS = """() => {
    const tags = [...new Set([...document.querySelectorAll("*")].map((one) => one.localName))];
    const all = [...document.querySelectorAll("*")];
    return {
        escaped: globalThis.escaped === undefined,
        scripts: document.scripts.length,
        strange: tags.filter((tag) => !(
            "html head meta title link script body header form input label span nav a button main dialog p noscript "
            + "h1 h2 h3 ul li div img video q dl dt dd code section small").split(" ").includes(tag)),
        handlers: all.flatMap((one) => one.getAttributeNames()).filter((name) => name.startsWith("on")),
        links: all.filter((one) => one.localName === "a" && !one.getAttribute("href").startsWith("#/")).length,
        sources: all.filter((one) => one.src && one.localName !== "script"
            && !one.src.startsWith(`${location.origin}/v1/videos/`)).length,
        where: location.pathname,
    };
}"""
NO_HARM = {
    "escaped": True,
    "scripts": 1,
    "strange": [],
    "handlers": [],
    "links": 0,
    "sources": 0,
    "where": "/",
}


@in_browser
@pytest.mark.timeout(300)
def test_three_hundred_injections_are_shown_as_text_and_none_runs(
    visit: Callable[..., Visit], hostile: Running
) -> None:
    texts = injections()
    assert len(set(texts)) == COUNT
    assert sum(RUN in text or "escaped" in text for text in texts) > 200
    shown = ids_of(texts)
    one = visit(at=hostile)
    page = one.sign_in(hostile.key)

    def all_cards() -> dict[str, str]:
        page.wait_for_selector(CARDS)
        deadline = time.monotonic() + 60
        while not page.evaluate(
            "document.querySelector('.foot').ariaBusy === 'false' && document.querySelector('.more').hidden"
        ):
            assert time.monotonic() < deadline
            page.evaluate("scrollTo(0, document.body.scrollHeight)")
            page.wait_for_timeout(50)
        found = page.eval_on_selector_all(
            CARDS, "all => all.map((a) => [decodeURIComponent(a.hash.slice(8)), a.querySelector('.about').textContent])"
        )
        assert page.evaluate(HARMLESS) == NO_HARM
        return dict(found)

    grid = all_cards()
    assert {video_id: grid[video_id] for video_id in shown} == shown
    page.evaluate("(hash) => { location.hash = hash; }", "#/search?q=script+onerror")
    page.wait_for_selector(f"{CARDS} .shares")
    found = all_cards()
    assert {video_id: found[video_id] for video_id in shown} == shown
    # each in its own view, with what its creator says and its neighbours
    code = """async (ids) => {
        const seen = [];
        const until = async (test) => {
            for (let i = 0; i < 3000 && !test(); i += 1) await new Promise((done) => setTimeout(done, 5));
        };
        for (const id of ids) {
            location.hash = `#/video/${encodeURIComponent(id)}`;
            await until(() => document.querySelector("#video code")?.textContent === id
                && document.querySelector("#video .like a.card"));
            const dialog = document.getElementById("video");
            const facts = Object.fromEntries([...dialog.querySelectorAll("dt")].map(
                (dt) => [dt.textContent, dt.nextElementSibling.textContent]));
            seen.push([dialog.querySelector("h2").textContent, facts.creator, facts.sound, facts.language, facts.id,
                dialog.querySelector(".hashtags")?.textContent ?? ""]);
        }
        return seen;
    }"""
    ids = list(shown)
    for start in range(0, COUNT, 50):
        some = ids[start : start + 50]
        for video_id, (caption, creator, sound, language, told, hashtag) in zip(
            some, page.evaluate(code, some), strict=True
        ):
            text = shown[video_id]
            assert [caption, creator, sound, language, told] == [text, text, text, text, video_id]
            assert not hashtag or hashtag.startswith("#")
        assert page.evaluate(HARMLESS) == NO_HARM
    page.evaluate("location.hash = '#/failures'")
    page.wait_for_selector(".row")
    rows = page.eval_on_selector_all(
        ".row", "all => all.map((row) => [row.firstChild.textContent, row.querySelector('.detail').textContent])"
    )
    assert dict(rows) == {f"f{name}": text for name, text in shown.items()}
    assert page.evaluate(HARMLESS) == NO_HARM
    page.click(".chip >> nth=2")
    assert page.evaluate(HARMLESS) == NO_HARM
    page.evaluate("document.body.append(document.createElement('svg'))")
    assert page.evaluate(HARMLESS) == NO_HARM | {"strange": ["svg"]}, "one that had come through would be noticed"


@in_browser
@pytest.mark.timeout(180)
def test_injections_into_the_address_the_search_and_the_name_of_a_file_stay_text(
    visit: Callable[..., Visit], hostile: Running
) -> None:
    one = visit(at=hostile, expected="422 (Unprocessable")
    page = one.sign_in(hostile.key)
    for text in injections()[::12]:
        page.evaluate("(text) => { location.hash = `#/search?${new URLSearchParams({ q: text })}`; }", text)
        page.wait_for_function("(text) => document.querySelector('h1 q')?.textContent === text", arg=text.strip())
        page.wait_for_selector(f"{CARDS} .shares, main .empty, main .problem")
        assert page.evaluate(HARMLESS) == NO_HARM
        page.evaluate("(text) => { location.hash = `#/${text}`; }", text)
        page.wait_for_timeout(20)
        assert page.evaluate(HARMLESS) == NO_HARM
    for text in injections()[::60]:
        one.drop(text.replace("/", "∕"), b"no picture", "image/png")
        page.wait_for_selector("main .problem")
        assert page.evaluate(HARMLESS) == NO_HARM
        page.evaluate("location.hash = '#/'")
        page.wait_for_selector(CARDS)
