"""The commands about feeds, from an import of events to a trained ranker and a page that says why."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner, Result

from bench.stubs import fill
from index.home import Home
from ingest.spaces import RECIPES, open_space
from service.cli import cli
from service.library import Library

ROWS = 300


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 made-up videos, and 40 viewers who watch even numbers to the end and leave odd ones at once."""
    folder = tmp_path_factory.mktemp("feeds") / "home"
    opened = Home.open(folder)
    _, space = open_space(RECIPES["local"], threads=1)
    opened.ledger.add_space(space)
    fill(opened, ROWS, space)
    opened.close()
    return folder


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(3)
    began_s = time.time() - 20 * 86_400
    lines = []
    for viewer in range(40):
        for n, number in enumerate(rng.choice(ROWS, 60, replace=False).tolist()):
            at_s = began_s + n * 20_000 + viewer * 60
            what = {"viewer_id": f"u{viewer}", "video_id": f"v{number:09}", "session_id": f"s{n // 5}"}
            place = f"{viewer}-{n}"
            lines.append({"event_id": f"i{place}", "kind": "impression", "time_s": at_s, **what})
            watch_s = 8.0 if (number % 2 == 0) != (rng.random() < 0.1) else 0.7
            lines.append({"event_id": f"w{place}", "kind": "view", "time_s": at_s + 9, "watch_s": watch_s, **what})
    file = tmp_path_factory.mktemp("events") / "events.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return file


def run(*words: str, home: Path) -> Result:
    return CliRunner().invoke(cli, [*words, "--home", str(home)], catch_exceptions=False)


def test_from_events_to_a_trained_feed(home: Path, events: Path, tmp_path: Path) -> None:
    imported = run("events", "import", str(events), home=home)
    assert "4,800 accepted, 0 repeated, 0 kept apart" in imported.output
    before = json.loads(run("feed", "--user", "u3", "--look", "--json", home=home).output)
    assert before["ranker"] == "formula-1"

    trained = json.loads(run("train", "--json", home=home).output)
    assert trained["rows"] >= 2_000
    assert trained["heads"]["long_view"]["auc"] > 0.8, "which videos are even, others have shown"

    after = json.loads(run("feed", "--user", "u3", "--look", "--why", "--json", "-k", "10", home=home).output)
    assert after["ranker"] == trained["digest"]
    ranked = [one for one in after["videos"] if one["slot"] == "rank"]
    assert sum(int(one["video_id"][1:]) % 2 == 0 for one in ranked) >= 0.8 * len(ranked)
    assert any(one["why"]["features"] for one in ranked)

    told = run("feed", "--user", "u3", "--look", "--why", "-k", "3", home=home).output
    assert "expected: watched for long" in told
    assert f"ranked by {trained['digest']}" in told

    slates = tmp_path / "slates.parquet"
    assert "40 slates" in run("recommend", "--users", "all", "-k", "10", "--out", str(slates), home=home).output
    assert pq.read_table(slates).num_rows == 400


@pytest.mark.ci
def test_slates_on_ray_are_those_of_one_process(home: Path, events: Path, tmp_path: Path) -> None:
    run("events", "import", str(events), home=home)
    users, slates = tmp_path / "users", tmp_path / "slates.parquet"
    users.write_text("".join(f"u{n}\n" for n in range(12)))
    said = run("recommend", "--users", str(users), "-k", "5", "--ray", "local", "--out", str(slates), home=home).output
    assert "12 slates" in said
    rows = pq.read_table(slates).to_pylist()
    with Library.open(home) as library:
        made = dict(library.recommender().slates([f"u{n}" for n in range(12)], k=5, now_s=rows[0]["made_s"]))
    for viewer, page in made.items():
        assert [row["video_id"] for row in rows if row["viewer_id"] == viewer] == [one.video_id for one in page.videos]


def test_dials_and_what_is_not_shown(home: Path) -> None:
    assert "less category:food" in run("dial", "--user", "u1", "--less", "category:food", home=home).output
    assert "nothing more or less" in run("dial", "--user", "u1", "--undo", home=home).output
    with pytest.raises(ValueError, match="no category 'knitting'"):
        run("dial", "--user", "u1", "--less", "category:knitting", home=home)
    assert "no video of the catalogue" in run("why-not", "nothing", "--user", "u1", home=home).output


def test_the_report_is_one_page_of_figures_that_say_what_they_are(home: Path, tmp_path: Path) -> None:
    run("feed", "--user", "u1", home=home)
    said = run("evaluate", "--report", str(tmp_path / "report.html"), home=home)
    assert "counted in the log" in said.output
    assert "Too little to say anything: 0 places of the fair die" in " ".join(said.output.split())
    told = json.loads(run("evaluate", "--json", home=home).output, parse_constant=lambda odd: pytest.fail(odd))
    assert {one["kind"] for one in told["sections"]} == {"log", "off_policy", "time_split"}
    html = (tmp_path / "report.html").read_text()
    assert "What was served" in html
    assert "counted in the log" in html
