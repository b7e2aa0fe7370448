"""`firstlook serve --ray`: the ingest worker decodes and encodes on Ray, and several processes answer."""

from __future__ import annotations

import shutil
import subprocess
import sys
from io import BytesIO
from pathlib import Path

import httpx
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families
from served import Running, served

from ingest.samples import SampleClip
from service.client import Client

pytestmark = pytest.mark.ci


def another(clip: SampleClip, number: int) -> BytesIO:
    """The same pictures, other bytes: nobody has an analysis of them."""
    return BytesIO(clip.path.read_bytes() + (16).to_bytes(4) + b"free" + number.to_bytes(8))


def on_ray(running: Running) -> set[int]:
    """The processes that decode and encode."""
    titles = {child.pid: (child.cmdline() or [""])[0] for child in running.children()}
    return {pid for pid, title in titles.items() if title.startswith("ray::Encoder")}


def counted(running: Running, name: str) -> float:
    """One scrape, over a connection of its own: any of the processes may answer it."""
    answer = httpx.get(f"{running.url}/metrics", headers={"Authorization": f"Bearer {running.key}"}, timeout=60)
    families = text_string_to_metric_families(answer.raise_for_status().text)
    return sum(sample.value for family in families for sample in family.samples if sample.name == name)


@pytest.mark.timeout(400)
def test_an_upload_becomes_searchable_on_ray_and_the_crew_stays(
    drawn: list[SampleClip], drawn_home: Path, tmp_path: Path
) -> None:
    shutil.copytree(drawn_home, tmp_path / "home")
    with served(tmp_path / "home", "--ray", "local", "--processes", "2") as running:
        with Client(running.url, running.key, tries=10) as firstlook:
            firstlook.upload(another(drawn[0], 1), video_id="one", caption="#one")
            assert firstlook.wait_until_ended("one", timeout_s=240).state == "video"
            assert firstlook.similar("one", k=1).hits[0].video_id == drawn[0].video_id
            crew = on_ray(running)
            assert crew, running.log.read_text()
            firstlook.upload(another(drawn[1], 2), video_id="two", caption="#two")
            assert firstlook.wait_until_ended("two", timeout_s=60).state == "video"
            assert on_ray(running) == crew, "it is kept up between uploads"
        layers = httpx.get(f"{running.url}/readyz", timeout=60).json()["ingest"]["layers"]
        assert layers["rlimits"] is True
        requests = [counted(running, "firstlook_http_requests_total") for _ in range(12)]
        assert requests == sorted(requests), "whoever answers a scrape answers for all"
        assert requests[-1] - requests[0] == 11, "the scrapes themselves"
        children = running.children()
        running.parent.terminate()
        assert running.parent.wait(60) == 0, running.log.read_text()
        assert psutil.wait_procs(children, timeout=20)[1] == []


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("127.0.0.1:9", "no Ray cluster answers"),
        ("ray://somewhere:10001", "Ray's client protocol is not supported"),
    ],
)
def test_a_cluster_that_is_none_is_told_before_anything_listens(
    drawn_home: Path, tmp_path: Path, address: str, said: str
) -> None:
    shutil.copytree(drawn_home, tmp_path / "home")
    command = [sys.executable, "-m", "service.cli", "serve", "--port", "0", "--home", str(tmp_path / "home")]
    done = subprocess.run([*command, "--ray", address], capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout) == (1, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr
