"""One row, one state: the ledger never loses an upload and never lets it be two things."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import postgres
import pytest
import sqlalchemy as sql

from index.ledger import BACKFILL, ITEM_LEASE_S, JOB_SILENT_S, UPLOAD, LeaseLost, Ledger, SeenFile, owner_name
from index.records import Failure, Space, Upload

SPACE = "local-0"
ELSEWHERE = "another-machine:1:0.00"
"""An owner that nobody here can see: its leases end by the clock alone."""


class Clock:
    now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.peer)])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/ledger.sqlite"
    else:
        with postgres.served() as served:
            yield served


@pytest.fixture
def ledger(url: str, clock: Clock) -> Iterator[Ledger]:
    ledger = Ledger(url, clock=clock)
    yield ledger
    ledger.close()


def upload(video_id: str, content: str = "aa", **said: object) -> Upload:
    return Upload(video_id=video_id, content_sha256=content, uri=f"{video_id}.mp4", **said)  # type: ignore[arg-type]


def register(ledger: Ledger, *uploads: Upload) -> None:
    ledger.register([(one, None) for one in uploads], SPACE)


def claimed(ledger: Ledger, owner: str = ELSEWHERE, limit: int = 10) -> list[str]:
    return [one.upload.video_id for one in ledger.claim(SPACE, owner, limit)]


def test_an_upload_reads_back_as_it_was_said(ledger: Ledger) -> None:
    said = upload(
        "a",
        caption="Das Kätzchen 猫",
        hashtags=("猫", "cat"),
        uploaded_at=datetime(2026, 5, 1, 12, tzinfo=UTC),
        extra={"likes": 3, "nested": {"a": [1]}},
    )
    register(ledger, said)
    assert ledger.upload("a") == said


def test_registering_again_changes_nothing_and_an_edit_is_a_new_revision(ledger: Ledger) -> None:
    register(ledger, upload("a"))
    register(ledger, upload("a"))
    assert ledger.upload("a").revision == 1  # type: ignore[union-attr]
    register(ledger, upload("a", caption="now with words"))
    assert ledger.upload("a").revision == 2  # type: ignore[union-attr]
    assert ledger.counts(SPACE) == {"uploads": 1, "videos": 0, "failures": 0, "partial": 0, "pending": 1}


def test_work_is_claimed_once_and_oldest_first(ledger: Ledger, clock: Clock) -> None:
    for video_id in ("c", "a", "b"):
        register(ledger, upload(video_id))
        clock.now_s += 1
    assert claimed(ledger, limit=2) == ["c", "a"]
    assert claimed(ledger, "second-machine:1:0.00") == ["b"]
    assert claimed(ledger) == []


def test_the_newest_videos_come_page_by_page_from_an_index(ledger: Ledger, clock: Clock) -> None:
    lease = ledger.lease(SPACE, "me")
    assert lease is not None
    names = [f"v{number:02}" for number in range(20)]
    for number, name in enumerate(names):
        clock.now_s += number % 3  # some came at the same time
        ledger.register([(upload(name), None)], SPACE, priority=BACKFILL if number % 4 else UPLOAD)
    assert ledger.newest(SPACE) == [], "none is a video yet"
    done = [one.upload for one in ledger.claim(SPACE, ELSEWHERE, 20) if one.upload.video_id != "v07"]
    ledger.acknowledge([(one, False) for one in done], SPACE, lease)
    whole = [(item.queued_s, item.video_id) for item in ledger.newest(SPACE)]
    assert sorted(name for _, name in whole) == [name for name in names if name != "v07"]
    assert whole == sorted(whole, reverse=True)
    paged: list[tuple[float, str]] = []
    while page := ledger.newest(SPACE, after=paged[-1] if paged else None, limit=3):
        paged += [(item.queued_s, item.video_id) for item in page]
    assert paged == whole


def test_the_newest_are_found_by_the_index_and_not_by_looking_at_all(tmp_path: Path) -> None:
    ledger = Ledger(f"sqlite:///{tmp_path}/ledger.sqlite")
    asked = []
    sql.event.listen(ledger._engine, "before_cursor_execute", lambda *said: asked.append(said[2:4]))
    ledger.newest(SPACE, after=(5.0, "a"), limit=3)
    (statement,) = [one for one in asked if one[0].startswith("SELECT")]
    with ledger._engine.connect() as connection:
        plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement[0]}", statement[1]).all()
    steps = [row[-1] for row in plan if " items" in row[-1]]
    assert len(steps) == 2, "one for each priority"
    assert all("SEARCH items USING INDEX items_in_line" in step and "(queued_s,video_id)<" in step for step in steps)
    ledger.close()


def test_a_lease_that_ran_out_comes_back_alone(ledger: Ledger, clock: Clock) -> None:
    register(ledger, upload("a"), upload("b"), upload("c"))
    assert claimed(ledger, limit=2) == ["a", "b"]
    clock.now_s += ITEM_LEASE_S + 1
    heir = "second-machine:1:0.00"
    assert claimed(ledger, heir) == ["c"], "what was never lost goes first"
    assert claimed(ledger, heir) == ["a"], "then one at a time"
    assert claimed(ledger, heir) == ["b"]


def test_renewed_leases_do_not_run_out(ledger: Ledger, clock: Clock) -> None:
    register(ledger, upload("a"))
    claimed(ledger)
    clock.now_s += ITEM_LEASE_S - 1
    ledger.renew(SPACE, ELSEWHERE)
    clock.now_s += ITEM_LEASE_S - 1
    assert claimed(ledger, "second-machine:1:0.00") == []


def test_a_dead_owner_on_this_machine_is_noticed_at_once(ledger: Ledger) -> None:
    program = "from index.ledger import owner_name; print(owner_name())"
    dead = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()
    register(ledger, upload("a"))
    assert claimed(ledger, dead) == ["a"]
    assert claimed(ledger, owner_name()) == ["a"]


def test_a_clean_stop_hands_items_back_without_a_mark(ledger: Ledger) -> None:
    register(ledger, upload("a"), upload("b"))
    claimed(ledger)
    ledger.release(SPACE, ELSEWHERE)
    assert claimed(ledger) == ["a", "b"], "both in one chunk: neither is under suspicion"


def test_a_video_is_acknowledged_only_under_the_lease_of_the_table(ledger: Ledger, clock: Clock) -> None:
    register(ledger, upload("a"))
    work = ledger.claim(SPACE, ELSEWHERE, 1)
    lease = ledger.lease("videos", ELSEWHERE, ttl_s=10)
    assert lease is not None
    clock.now_s += 11
    assert ledger.lease("videos", "second-machine:1:0.00") is not None
    with pytest.raises(LeaseLost):
        ledger.acknowledge([(work[0].upload, False)], SPACE, lease)
    assert ledger.counts(SPACE)["videos"] == 0


def test_a_table_has_one_writer_at_a_time(ledger: Ledger) -> None:
    lease = ledger.lease("videos", ELSEWHERE)
    assert lease is not None
    assert ledger.lease("videos", "second-machine:1:0.00") is None
    assert ledger.lease("videos", ELSEWHERE) == lease, "keeping it is not taking it"
    ledger.end_lease(lease)
    assert ledger.lease("videos", "second-machine:1:0.00") is not None


def test_a_revision_overtaken_while_it_was_worked_on_stays_queued(ledger: Ledger) -> None:
    register(ledger, upload("a"))
    work = ledger.claim(SPACE, ELSEWHERE, 1)
    register(ledger, upload("a", caption="edited meanwhile"))
    lease = ledger.lease("videos", ELSEWHERE)
    assert lease is not None
    ledger.acknowledge([(work[0].upload, False)], SPACE, lease)
    assert ledger.counts(SPACE)["pending"] == 1


def fail(ledger: Ledger, *uploads: Upload, owner: str = ELSEWHERE) -> list[str]:
    return ledger.fail([(one, failure(one.video_id)) for one in uploads], SPACE, owner)


def failure(video_id: str, step: str = "decode", reason: str = "no_frames") -> Failure:
    return Failure(video_id=video_id, uri=f"{video_id}.mp4", step=step, reason=reason, detail="0 of 10 frames")


def make_video(ledger: Ledger, video_id: str, *, partial: bool = False) -> None:
    register(ledger, upload(video_id))
    (work,) = ledger.claim(SPACE, ELSEWHERE, 1)
    lease = ledger.lease("videos", ELSEWHERE)
    assert lease is not None
    ledger.acknowledge([(work.upload, partial)], SPACE, lease)


def test_failures_are_listed_counted_and_tried_again(ledger: Ledger) -> None:
    register(ledger, upload("a"))
    (work,) = ledger.claim(SPACE, ELSEWHERE, 1)
    assert fail(ledger, work.upload) == ["a"]
    assert ledger.failures(SPACE) == [failure("a")]
    assert ledger.retry(SPACE) == ["a"]
    assert claimed(ledger) == ["a"]
    fail(ledger, work.upload)
    assert ledger.failures(SPACE) == [replace(failure("a"), attempts=2)]


def test_a_revision_that_failed_after_it_was_overtaken_stays_queued(ledger: Ledger) -> None:
    register(ledger, upload("a"))
    (work,) = ledger.claim(SPACE, ELSEWHERE, 1)
    register(ledger, upload("a", "bb"))
    assert fail(ledger, work.upload) == []
    assert ledger.counts(SPACE)["pending"] == 1


def test_only_who_holds_an_upload_may_fail_it(ledger: Ledger, clock: Clock) -> None:
    register(ledger, upload("a"))
    (work,) = ledger.claim(SPACE, ELSEWHERE, 1)
    clock.now_s += ITEM_LEASE_S + 1
    assert claimed(ledger, "second-machine:1:0.00") == ["a"]
    assert fail(ledger, work.upload) == []
    assert fail(ledger, work.upload, owner="second-machine:1:0.00") == ["a"]


def test_a_partial_video_that_cannot_be_completed_stays_a_partial_video(ledger: Ledger) -> None:
    make_video(ledger, "a", partial=True)
    assert ledger.retry(SPACE) == ["a"]
    (work,) = ledger.claim(SPACE, ELSEWHERE, 1)
    assert work.partial
    assert fail(ledger, work.upload) == []
    assert ledger.counts(SPACE) == {"uploads": 1, "videos": 1, "failures": 0, "partial": 1, "pending": 0}


def test_a_line_of_a_manifest_is_a_failure_that_counts_as_an_upload(ledger: Ledger) -> None:
    ledger.reject([failure("f_1", "manifest", "no_uri")], SPACE)
    assert ledger.counts(SPACE) == {"uploads": 1, "videos": 0, "failures": 1, "partial": 0, "pending": 0}
    assert ledger.retry(SPACE) == [], "there are no bytes to try again"


def test_a_wrong_line_about_a_video_fails_under_an_id_of_its_own(ledger: Ledger) -> None:
    make_video(ledger, "a")
    (standing,) = ledger.reject([failure("a", "manifest", "bad_uploaded_at")], SPACE)
    assert standing.video_id.startswith("f_")
    assert ledger.counts(SPACE)["videos"] == ledger.counts(SPACE)["failures"] == 1


def test_a_file_that_is_gone_takes_nothing_from_an_upload_whose_bytes_are_here(ledger: Ledger) -> None:
    make_video(ledger, "a")
    register(ledger, upload("a", "bb"))
    (standing,) = ledger.reject([failure("a", "read", "not_found")], SPACE)
    assert standing.state == "waiting"


def test_a_file_that_arrived_answers_that_it_was_missing_but_not_that_its_line_was_wrong(ledger: Ledger) -> None:
    missing, wrong = failure("f_1", "read", "not_found"), failure("x", "manifest", "bad_uploaded_at")
    ledger.reject([replace(missing, uri="a.mp4"), replace(wrong, uri="a.mp4")], SPACE)
    register(ledger, upload("a"))
    assert [one.video_id for one in ledger.failures(SPACE)] == ["x"]


def test_deaths_of_the_child_are_counted_against_the_upload(ledger: Ledger) -> None:
    register(ledger, upload("a"))
    deaths = []
    for _ in range(3):
        (work,) = ledger.claim(SPACE, ELSEWHERE, 1)
        deaths.append(ledger.child_died(work.upload, SPACE, ELSEWHERE))
        ledger.release(SPACE, ELSEWHERE, only=["a"])
    assert deaths == [1, 2, 3]


def test_what_may_have_ended_its_worker_comes_last_and_alone(ledger: Ledger) -> None:
    register(ledger, upload("a"), upload("b"), upload("c"))
    claimed(ledger, limit=2)
    ledger.release(SPACE, ELSEWHERE, suspects=["a"])
    assert [claimed(ledger), claimed(ledger)] == [["b", "c"], ["a"]]


def test_an_owner_never_takes_its_own_work_back(ledger: Ledger, clock: Clock) -> None:
    register(ledger, upload("a"))
    claimed(ledger)
    clock.now_s += ITEM_LEASE_S + 1  # the machine slept
    assert claimed(ledger) == []


def test_rows_that_were_lost_are_queued_again(ledger: Ledger) -> None:
    make_video(ledger, "a")
    ledger.requeue(["a"], SPACE)
    assert claimed(ledger) == ["a"]


def test_a_file_is_remembered_under_each_id_that_it_was_given(ledger: Ledger) -> None:
    seen = SeenFile(path="x.mp4", given_id="", video_id="v_1", size=1, mtime_ns=2, content_sha256="aa", said_sha256="s")
    ledger.register([(upload("v_1"), seen), (upload("b"), replace(seen, given_id="b", video_id="b"))], SPACE)
    assert set(ledger.seen_files(["x.mp4", "y.mp4"])) == {("x.mp4", ""), ("x.mp4", "b")}


def test_spaces_are_kept_and_the_first_is_the_live_one(ledger: Ledger, clock: Clock) -> None:
    first = Space(name="local", spec={"a": 1}, dims={"vision": 2}, weights={"vision": 1.0})
    second = replace(first, spec={"a": 2})
    ledger.add_space(first)
    clock.now_s += 1
    ledger.add_space(second)
    ledger.add_space(first)
    assert [space.id for space in ledger.spaces()] == [first.id, second.id]


def test_a_ledger_of_a_newer_version_is_refused(url: str) -> None:
    Ledger(url).close()
    with sql.create_engine(url).begin() as connection:
        connection.exec_driver_sql("INSERT INTO schema_version VALUES (99)")
    with pytest.raises(ValueError, match="schema 99, of a newer firstlook"):
        Ledger(url)


def test_a_ledger_of_the_first_version_is_led_up_and_keeps_what_it_holds(url: str) -> None:
    older = Ledger(url)
    register(older, upload("a"))
    older.close()
    with sql.create_engine(url).begin() as connection:
        for statement in (
            "DROP TABLE jobs",
            "DROP INDEX items_in_line",
            "ALTER TABLE items DROP COLUMN priority",
            "CREATE INDEX items_by_state ON items (space_id, state, queued_s)",
            "DELETE FROM schema_version WHERE version > 1",
        ):
            connection.exec_driver_sql(statement)
    for _ in range(2):  # the second time there is nothing to do
        newer = Ledger(url)
        assert newer.counts(SPACE)["pending"] == 1
        assert newer.jobs() == []
        newer.close()
    newer = Ledger(url)
    assert claimed(newer) == ["a"]
    newer.close()


def test_uploads_overtake_a_backfill_and_the_lost_of_a_kind_come_last_and_alone(ledger: Ledger, clock: Clock) -> None:
    ledger.register([(upload(name), None) for name in ("b1", "b2", "b3")], SPACE, priority=BACKFILL)
    assert claimed(ledger, limit=1) == ["b1"]
    ledger.release(SPACE, ELSEWHERE, suspects=["b1"])
    clock.now_s += 1
    register(ledger, upload("u1"), upload("u2"))
    assert claimed(ledger, limit=1) == ["u1"]
    ledger.release(SPACE, ELSEWHERE, suspects=["u1"])
    assert claimed(ledger) == ["u2"], "an upload that nobody suspects"
    assert claimed(ledger) == ["u1"], "somebody waits for it, so it goes before the backfill, but alone"
    assert claimed(ledger) == ["b2", "b3"]
    assert claimed(ledger) == ["b1"]


def test_a_space_is_filled_page_by_page_with_what_it_lacks(ledger: Ledger) -> None:
    register(ledger, *(upload(name) for name in "abcde"))
    register(ledger, upload("b", caption="edited"))
    other = "local-1"
    ledger.queue(["a"], other)
    after: str | None = ""
    pages = []
    while after is not None:
        after, lacking = ledger.lacking(other, after=after, limit=2)
        pages.append(lacking)
        ledger.queue(lacking, other)
    assert pages == [["b"], ["c", "d"], ["e"]]
    assert ledger.lacking(other) == (None, []), "filled already"
    work = ledger.claim(other, ELSEWHERE, 10)
    assert [one.upload.video_id for one in work] == ["a", "b", "c", "d", "e"]
    assert work[1].upload.caption == "edited"


def test_a_job_says_how_far_it_is_and_a_dead_one_is_lost(ledger: Ledger, clock: Clock) -> None:
    job_id = ledger.start_job(SPACE, "threads", ELSEWHERE)
    clock.now_s += 100
    ledger.tell_job(job_id, wanted=10, videos=4, failures=1, video_s=3_600.0)
    (job,) = ledger.jobs()
    assert (job.state, job.per_second) == ("running", 0.05)
    assert job.video_hours_per_day == pytest.approx(864)
    clock.now_s += JOB_SILENT_S + 1
    assert ledger.jobs()[0].state == "lost"
    ledger.tell_job(
        job_id, wanted=10, videos=4, failures=1, video_s=3_600.0, state="stopped", detail="one hour was used"
    )
    assert ledger.jobs()[0].state == "stopped"


def test_four_processes_claim_everything_exactly_once(url: str) -> None:
    ledger = Ledger(url)
    ledger.register([(upload(f"{n:03}"), None) for n in range(120)], SPACE)
    program = (
        "import sys; from index.ledger import Ledger\n"
        "ledger = Ledger(sys.argv[1])\n"
        f"while work := ledger.claim('{SPACE}', 'machine-' + sys.argv[2] + ':1:0.00', 3):\n"
        "    print(*[one.upload.video_id for one in work])\n"
    )
    workers = [
        subprocess.Popen([sys.executable, "-c", program, url, str(n)], stdout=subprocess.PIPE, text=True)
        for n in range(4)
    ]
    claims = [video_id for worker in workers for video_id in worker.communicate(timeout=120)[0].split()]
    assert sorted(claims) == [f"{n:03}" for n in range(120)]
