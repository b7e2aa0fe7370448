"""`firstlook serve` as processes: uploads become answers, and nobody notices when they are renewed."""

from __future__ import annotations

import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import httpx
import psutil
import pytest
from served import Running, served

from index.access import Access
from index.home import Home
from ingest.samples import SampleClip
from service.client import Client
from service.web.serve import check_reach


@pytest.fixture
def running(drawn_home: Path, tmp_path: Path) -> Iterator[Running]:
    shutil.copytree(drawn_home, tmp_path / "home")
    with served(tmp_path / "home") as made:
        yield made


@pytest.mark.timeout(180)
def test_uploads_become_answers_through_renewals_and_the_end_is_clean(
    running: Running, drawn: list[SampleClip]
) -> None:
    asked, failed, stop = 0, [], threading.Event()

    def ask() -> None:
        nonlocal asked
        with httpx.Client(base_url=running.url, headers={"Authorization": f"Bearer {running.key}"}) as http:
            while not stop.is_set():
                try:
                    answer = http.get(f"/v1/videos/{drawn[0].video_id}/similar")
                    asked += 1
                    if answer.status_code != 200:
                        failed.append(answer.text)
                except httpx.HTTPError as error:
                    failed.append(repr(error))

    askers = [threading.Thread(target=ask) for _ in range(2)]
    for thread in askers:
        thread.start()
    new = drawn[0].path.read_bytes() + (16).to_bytes(4) + b"free" + b"12345678"
    with Client(running.url, running.key) as firstlook:
        firstlook.upload(BytesIO(new), video_id="new", caption="#new")
        running.parent.send_signal(signal.SIGHUP)
        assert firstlook.wait_until_ended("new").state == "video"
        assert firstlook.similar("new", k=1).hits[0].video_id == drawn[0].video_id
    deadline = time.monotonic() + 60
    while '"renewed"' not in running.log.read_text():
        assert time.monotonic() < deadline, running.log.read_text()
        time.sleep(0.2)
    stop.set()
    for thread in askers:
        thread.join()
    assert asked > 20
    assert failed == []
    children = running.children()
    running.parent.terminate()
    assert running.parent.wait(60) == 0
    assert psutil.wait_procs(children, timeout=10)[1] == []
    assert running.key.split("_", 2)[2] not in running.log.read_text(), "no log tells a secret"


@pytest.mark.ci
@pytest.mark.timeout(180)
def test_what_dies_is_started_again_and_children_end_with_their_parent(running: Running) -> None:
    (worker,) = [child for child in running.children() if "service.web.worker" in child.cmdline()]
    worker.kill()
    deadline = time.monotonic() + 60
    while not any(
        "service.web.worker" in child.cmdline() and child.pid != worker.pid
        for child in running.children()
        if child.status() != psutil.STATUS_ZOMBIE
    ):
        assert time.monotonic() < deadline, running.log.read_text()
        time.sleep(0.2)
    while running.log.read_text().count("ingest_ready") < 1:  # the new one has loaded, so it hears us
        assert time.monotonic() < deadline, running.log.read_text()
        time.sleep(0.2)
    children = running.children()
    os.kill(running.parent.pid, signal.SIGKILL)
    assert psutil.wait_procs(children, timeout=20)[1] == []


@pytest.mark.parametrize("host", ["0.0.0.0", "192.0.2.1", "::", "example.com"])
def test_clear_text_stays_on_this_machine(host: str) -> None:
    with pytest.raises(ValueError, match="--behind-tls"):
        check_reach(host, behind_tls=False)
    check_reach(host, behind_tls=True)
    for inside in ("127.0.0.1", "::1", "localhost"):
        check_reach(inside, behind_tls=False)


@pytest.mark.timeout(180)
def test_feeds_are_loaded_before_anybody_asks_for_one_where_somebody_may(drawn_home: Path, tmp_path: Path) -> None:
    shutil.copytree(drawn_home, tmp_path / "home")
    home = Home.open(tmp_path / "home")
    key = Access(home.ledger).create(["feed"], viewer_id="ana")[1]
    home.close()
    with served(tmp_path / "home", "--no-ingest") as running:
        deadline = time.monotonic() + 60
        while httpx.get(f"{running.url}/readyz", timeout=60).json()["feed"] == "loading":
            assert time.monotonic() < deadline
            time.sleep(0.2)
        assert httpx.get(f"{running.url}/readyz", timeout=60).json()["feed"] == "ok"
        page = httpx.get(f"{running.url}/v1/feed", headers={"Authorization": f"Bearer {key}"}, timeout=60)
        assert len(page.json()["videos"]) > 5
