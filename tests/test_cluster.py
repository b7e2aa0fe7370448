"""The same work on Ray: the same outcome as threads have, whoever dies on the way."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event, Thread, Timer

import psutil
import pytest
from fakes import SPACE, FakeDecoder, FakeVision, fake_encoders

from index.home import Home
from ingest.cluster import Pools, connected, crew
from ingest.cluster_workers import Kit
from ingest.encode import Encoders
from ingest.pipeline import WORKER_DEATHS_MAX, Step, ingest
from ingest.uploads import discover

POOLS = Pools(decoders=2, encoders=1, threads=2)


@pytest.fixture(scope="module", autouse=True)
def local_ray() -> Iterator[None]:
    os.environ["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1])])
    with connected("local", cores=2):
        yield
    del os.environ["PYTHONPATH"]


def write(folder: Path, texts: dict[str, str]) -> None:
    for name, text in texts.items():
        (folder / f"{name}.mp4").write_text(text)


class LoggedDecoder(FakeDecoder):
    """Writes down what it decodes, and dies with its whole worker of a file that says so."""

    def __init__(self, log: Path) -> None:
        super().__init__()
        self._log = log

    def decode(self, path: Path) -> object:  # type: ignore[override]
        with self._log.open("a") as file:
            file.write(path.read_text() + "\n")
        if path.read_text() == "murderer":
            os.kill(os.getpid(), signal.SIGKILL)
        return super().decode(path)


def open_decoder(kit: Kit) -> LoggedDecoder:
    return LoggedDecoder(Path(kit.blobs_url).parent / "decoded")


def open_encoders(kit: Kit, threads: int) -> Encoders:
    return fake_encoders()


class Deadly(FakeVision):
    def encode(self, videos):  # type: ignore[no-untyped-def]
        if any(int(frames[0, 0, 0, 0]) == 0 for frames in videos):
            os.kill(os.getpid(), signal.SIGKILL)
        return super().encode(videos)


def open_slow_encoders(kit: Kit, threads: int) -> Encoders:
    class Slow(FakeVision):
        def encode(self, videos):  # type: ignore[no-untyped-def]
            time.sleep(0.3)
            return super().encode(videos)

    return fake_encoders(vision=Slow())


def open_very_slow_encoders(kit: Kit, threads: int) -> Encoders:
    time.sleep(600)
    return fake_encoders()


def open_broken_encoders(kit: Kit, threads: int) -> Encoders:
    raise ValueError("these weights are not those of the space")


def run(home: Home, folder: Path, *, pools: Pools = POOLS, encoders: object = open_encoders, **options: object) -> None:
    kit = Kit(
        blobs_url=home.blobs_url,
        space=SPACE,
        open_decoder=open_decoder,
        open_encoders=encoders,  # type: ignore[arg-type]
    )
    ingest(discover([folder]), home, SPACE, lambda: crew(kit, pools, stop=options.get("stop")), **options)  # type: ignore[arg-type]


def decoded(home: Home) -> list[str]:
    return (home.folder / "decoded").read_text().splitlines()


def assert_whole(home: Home, videos: int, failures: int) -> None:
    found = home.ledger.counts(SPACE.id)
    assert (found["videos"], found["failures"], found["pending"]) == (videos, failures, 0)
    assert sorted(home.ledger.video_ids(SPACE.id)) == home.table(SPACE).ids()
    assert home.table(SPACE).check() == []


def test_every_upload_ends_as_a_video_or_a_failure(home: Home, folder: Path) -> None:
    write(folder, {f"c{n}": f"clip {n}" for n in range(30)} | {"broken": "broken", "killer": "killer"})
    run(home, folder)
    assert_whole(home, 30, 2)
    assert {failure.reason for failure in home.ledger.failures(SPACE.id)} == {"not_media", "quarantined"}
    assert decoded(home).count("killer") == 3
    assert sorted(set(decoded(home)) - {"killer"}) == sorted(text for text in decoded(home) if text != "killer")


def test_the_rows_are_those_that_threads_make(home: Home, folder: Path, tmp_path: Path) -> None:
    from fakes import fake_crew

    write(folder, {f"c{n}": f"clip {n}" for n in range(12)})
    run(home, folder)
    other = Home.open(tmp_path / "threads")
    other.ledger.add_space(SPACE)
    ingest(discover([folder]), other, SPACE, lambda: fake_crew(other, FakeDecoder()))
    ours, theirs = (one.table(SPACE).get(one.table(SPACE).ids()) for one in (home, other))
    assert ours.keys() == theirs.keys()
    for video_id in ours:
        assert ours[video_id].fused.tobytes() == theirs[video_id].fused.tobytes()
        assert ours[video_id].upload == theirs[video_id].upload
    other.close()


def test_a_file_that_kills_its_worker_every_time_is_quarantined_and_takes_nobody_along(
    home: Home, folder: Path
) -> None:
    write(folder, {f"c{n}": f"clip {n}" for n in range(12)} | {"murderer": "murderer"})
    run(home, folder)
    assert_whole(home, 12, 1)
    (failure,) = home.ledger.failures(SPACE.id)
    assert failure.reason == "quarantined"
    assert "worker died" in failure.detail
    assert decoded(home).count("murderer") <= WORKER_DEATHS_MAX + 1


@pytest.mark.ci
def test_killed_encoders_and_decoders_cost_no_more_than_their_chunks(home: Home, folder: Path) -> None:
    write(folder, {f"c{n:03}": f"clip {n}" for n in range(60)})
    kills: list[str] = []
    done = Event()

    def kill_now_and_then() -> None:
        while not done.wait(1.0) and len(kills) < 6:
            for process in psutil.Process().children(recursive=True):
                title = (process.cmdline() or [""])[0]
                if title.startswith(("ray::Encoder", "ray::decode")) and title[5:8] not in kills[-1:]:
                    process.kill()
                    kills.append(title[5:8])
                    break

    killer = Thread(target=kill_now_and_then)
    killer.start()
    try:
        run(home, folder, encoders=open_slow_encoders)
    finally:
        done.set()
        killer.join()
    assert_whole(home, 60, 0)
    assert kills, "somebody has to have died"
    again = len(decoded(home)) - 60
    assert again <= len(kills) * 4 * POOLS.threads  # type: ignore[operator]


def test_an_error_of_ours_stops_loudly_and_loses_nothing(home: Home, folder: Path) -> None:
    write(folder, {f"c{n}": f"clip {n}" for n in range(8)})
    with pytest.raises(Exception, match="these weights are not those of the space"):
        run(home, folder, encoders=open_broken_encoders)
    run(home, folder)
    assert_whole(home, 8, 0)


@pytest.mark.ci
def test_a_stop_ends_cleanly_and_the_next_run_goes_on(home: Home, folder: Path) -> None:
    count = 400
    write(folder, {f"c{n:03}": f"clip {n}" for n in range(count)})
    stop = Event()

    def stop_soon(step: Step) -> None:
        if step.committed:
            stop.set()

    run(home, folder, stop=stop, on_step=stop_soon, encoders=open_slow_encoders)
    assert 0 < home.ledger.counts(SPACE.id)["pending"] < count
    run(home, folder)
    assert_whole(home, count, 0)
    assert len(decoded(home)) == count


def test_a_stop_is_heard_while_encoders_load(home: Home, folder: Path) -> None:
    write(folder, {"c": "a clip"})
    stop = Event()
    Timer(1.0, stop.set).start()
    began = time.monotonic()
    run(home, folder, stop=stop, encoders=open_very_slow_encoders)
    assert time.monotonic() - began < 60
    assert home.ledger.counts(SPACE.id)["pending"] == 1


def test_ray_leaves_signals_to_us() -> None:
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL, "as it was before"


@pytest.mark.ci
def test_who_is_not_let_in_is_told_why(tmp_path: Path) -> None:
    import ray

    address = ray.get_runtime_context().gcs_address
    program = "import sys; from ingest.cluster import connected\nwith connected(sys.argv[1]): print('let in')"
    home = {"HOME": str(tmp_path)}
    for said, token, where in (
        ("RAY_AUTH_MODE is disabled, and token is wanted", {"RAY_AUTH_MODE": "disabled"}, address),
        ("wants a token, and we have none", {}, address),
        ("wants a token, and ours is not its own", {"RAY_AUTH_TOKEN": "0" * 64}, address),
        ("client protocol is not supported", {}, "ray://somewhere:10001"),
        ("no Ray cluster answers", {}, "127.0.0.1:9"),
    ):
        environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
        done = subprocess.run(
            [sys.executable, "-c", program, where],
            env=environment | home | token,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 1
        assert said in done.stderr
        assert "let in" not in done.stdout


@pytest.mark.ci
def test_a_cluster_that_lets_everybody_in_is_refused(tmp_path: Path) -> None:
    program = """
import os, subprocess, sys
os.environ["RAY_AUTH_MODE"] = "disabled"
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
try:
    print(subprocess.run(
        [sys.executable, "-c", "import sys; from ingest.cluster import connected\\nwith connected(sys.argv[1]): pass",
         cluster.address],
        env=os.environ | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef" * 4},
        stderr=subprocess.STDOUT, stdout=subprocess.PIPE, text=True).stdout)
finally:
    cluster.shutdown()
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert "anybody may run code on it" in done.stdout, done.stderr
