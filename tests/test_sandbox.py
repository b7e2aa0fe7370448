"""The walls around the decode child hold, and what happens behind them stays there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from media import BLUE, RED, plain, write_media

from ingest.clip import MediaError
from ingest.decode import FILES_PER_CHILD, ChildDied, DecodePool
from ingest.decode_wire import Limits

LIMITS = Limits(max_wall_s=8.0, max_cpu_s=1, extra_memory_bytes=256 << 20)
TESTS = Path(__file__).parent


@pytest.fixture(scope="module")
def pool() -> Iterator[DecodePool]:
    sys.path.insert(0, str(TESTS))
    with DecodePool(1, LIMITS, child_module="naughty_child") as pool:
        yield pool
    sys.path.remove(str(TESTS))


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return write_media(tmp_path / "good.mp4", draw=lambda t: plain(RED if t < 1 else BLUE))


def told(folder: Path, words: str) -> Path:
    path = folder / "told.mp4"
    path.write_text(f"please {words}")
    return path


def in_force(pool: DecodePool, *layers: str) -> None:
    for layer in layers:
        if (state := pool.layers_in_force[layer]) is not True:
            pytest.skip(f"this kernel has no {layer}: {state}")


@pytest.mark.parametrize(
    ("words", "reason", "detail"),
    [
        ("hang", "wall_limit", "8 s"),
        ("spin", "cpu_limit", "1 s"),
        ("swell", "memory_limit", ""),
        ("crash", "child_died", "SIGSEGV"),
        ("bug", "child_died", "TypeError: a mistake of ours"),
    ],
)
def test_a_child_that_misbehaves_is_a_reason_and_the_pool_goes_on(
    pool: DecodePool, tmp_path: Path, video: Path, words: str, reason: str, detail: str
) -> None:
    with pytest.raises(ChildDied) as died:
        pool.decode(told(tmp_path, words))
    assert died.value.reason == reason
    assert detail in died.value.detail
    assert len(pool.decode(video).frames) == 16


@pytest.mark.parametrize("what", ["size", "facts", "frames", "huge", "missing"])
def test_a_child_that_lies_is_not_believed(pool: DecodePool, tmp_path: Path, what: str) -> None:
    with pytest.raises(ChildDied, match="child_lied"):
        pool.decode(told(tmp_path, f"lie {what}"))


def test_the_same_answer_without_the_lie_is_a_clip(pool: DecodePool, tmp_path: Path) -> None:
    assert pool.decode(told(tmp_path, "lie nothing")).waveform.tolist() == [0, 0, 0, 0]


@pytest.mark.parametrize("words", ["open /etc/passwd", "write /tmp/written-by-a-child", "open /proc/self/maps"])
def test_the_child_opens_no_path(pool: DecodePool, tmp_path: Path, words: str) -> None:
    in_force(pool, "landlock")
    with pytest.raises(MediaError, match="denied"):
        pool.decode(told(tmp_path, words))


@pytest.mark.parametrize("words", ["connect", "fork", "execute", "kill"])
def test_the_child_opens_no_socket_and_starts_nothing(pool: DecodePool, tmp_path: Path, words: str) -> None:
    in_force(pool, "seccomp")
    with pytest.raises(MediaError, match="denied"):
        pool.decode(told(tmp_path, words))


def test_the_kernel_agrees_that_the_layers_are_in_force(pool: DecodePool) -> None:
    layers = pool.layers_in_force
    assert layers["rlimits"] is True
    assert all(state is True or (isinstance(state, str) and state) for state in layers.values())
    for pid in pool.pids:
        status = Path(f"/proc/{pid}/status").read_text()
        limits = Path(f"/proc/{pid}/limits").read_text()
        if layers["no_new_privs"] is True:
            assert "NoNewPrivs:\t1" in status
        if layers["seccomp"] is True:
            assert "Seccomp:\t2" in status
        if layers["network_namespace"] is True:
            assert os.readlink(f"/proc/{pid}/ns/net") != os.readlink("/proc/self/ns/net")
        rows = {line[:26].strip(): line[26:].split()[:2] for line in limits.splitlines()[1:]}
        assert rows["Max file size"] == rows["Max core file size"] == ["0", "0"]
        assert rows["Max address space"][1] != "unlimited"
        assert rows["Max cpu time"][1] != "unlimited"


def test_children_are_replaced_after_their_share_of_files(pool: DecodePool, video: Path) -> None:
    before = pool.pids
    for _ in range(2 * FILES_PER_CHILD):
        pool.decode(video)
    assert not before & pool.pids
    assert len(pool.pids) == 2


def test_a_child_killed_while_it_waits_costs_no_file_anything(pool: DecodePool, video: Path) -> None:
    pids = pool.pids
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    while any(running(pid) for pid in pids):
        time.sleep(0.01)
    assert len(pool.decode(video).frames) == 16


def test_many_threads_share_a_pool(video: Path) -> None:
    with DecodePool(2) as pool, ThreadPoolExecutor(6) as threads:
        counts = list(threads.map(lambda _: len(pool.decode(video).frames), range(24)))
    assert counts == [16] * 24


def test_children_outlive_the_thread_that_started_them(video: Path) -> None:
    with ThreadPoolExecutor(1) as thread:
        pool = thread.submit(lambda: DecodePool(1)).result()
    with pool:
        time.sleep(0.2)
        assert len(pool.decode(video).frames) == 16


def test_a_closed_pool_says_so_and_leaves_nobody_behind(video: Path) -> None:
    pool = DecodePool(1)
    pids = pool.pids
    pool.close()
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)
    with pytest.raises(RuntimeError, match="closed"):
        pool.decode(video)


@pytest.mark.parametrize("after_s", [0.0, 0.3])
def test_closing_a_pool_at_work_blames_no_file(pool: DecodePool, tmp_path: Path, after_s: float) -> None:
    """Also while its child still starts."""
    closing = DecodePool(1, LIMITS, child_module="naughty_child")  # `pool` has made the module known
    with ThreadPoolExecutor(1) as thread:
        working = thread.submit(closing.decode, told(tmp_path, "hang"))
        time.sleep(after_s)
        closing.close()
        with pytest.raises(RuntimeError, match="closed"):
            working.result()


@pytest.mark.parametrize("busy", [False, True])
def test_no_child_survives_a_killed_parent(tmp_path: Path, busy: bool) -> None:
    parent = subprocess.Popen(
        [sys.executable, "-c", PARENT, str(told(tmp_path, "spin")), str(int(busy))],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS)])},
    )
    assert parent.stdout is not None
    pids = [int(pid) for pid in parent.stdout.readline().split()]
    time.sleep(0.3)
    assert len(pids) == 2
    assert all(running(pid) for pid in pids)
    parent.kill()
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 2
    while any(running(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not any(running(pid) for pid in pids)


PARENT = """
import sys, time
from ingest.decode import DecodePool
pool = DecodePool(1, child_module="naughty_child")
pool.layers_in_force, pool.layers_in_force
print(*pool.pids, flush=True)
if int(sys.argv[2]):
    pool.decode(sys.argv[1])
time.sleep(60)
"""


def running(pid: int) -> bool:
    """Gone, or dead and waiting for somebody to collect it, is not running."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] not in {"Z", "X"}
    except (FileNotFoundError, ProcessLookupError):
        return False
