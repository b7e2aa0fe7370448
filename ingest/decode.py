"""Files become clips, in child processes that may die of them.

`DecodePool` is the parent's side: it keeps children that wait, hands each one open file after the other, watches the
clock, and believes nothing that comes back before it has checked it. What reads the bytes is `ingest/decode_child.py`.
"""

from __future__ import annotations

import fcntl
import json
import math
import mmap
import os
import re
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from index.records import MediaFacts
from ingest.clip import (
    FRAME_COUNT,
    LONG_SIDE_MAX_PX,
    SAMPLE_RATE_HZ,
    SHORT_SIDE_PX,
    TEXT_FRAME_COUNT,
    TEXT_LONG_SIDE_PX,
    Clip,
    MediaError,
)
from ingest.decode_wire import HEADER, MAGIC, MAX_JSON_BYTES, REQUEST, VERSION, Kind, Limits, Plan, Sampling

FILES_PER_CHILD = 64
"""A child is replaced after so many files: leaks and whatever a bad file left behind end with it. A start costs 145 ms
of CPU: 4.5 ms a file with 32, 2.3 with 64. What a child holds on to grows by 30 MB over 32 files, 45 over 64, 80 over
128."""
START_UP_S = 60.0
LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)
"""Brightness of RGB. Source: ITU-R BT.601."""


class ChildDied(MediaError):
    """The child did not survive the file, or had to be ended because of it: it counts against the file.

    Reasons: `cpu_limit`, `wall_limit`, `memory_limit`, `child_died` (the detail names the signal), `child_lied`.
    """


class DecodePool:
    """Children that decode, for as many threads as there are workers.

    Args:
        workers: how many threads will call `decode` at the same time, >= 1; more of them wait for each other.
        limits: what one file may cost.
        sampling: `full`, or `fast` for the space that skips frames nothing refers to.
        stills: take still pictures too, as a query may be one.
        text_frames: hand back frames to read text from; nobody wants them where on-screen text is off.
        spare: children kept beyond `workers`, so that when one is replaced the next file does not wait for its start.
            0 where many processes have a pool each: their waiting children would only take memory.
        child_module: what is run; tests run one that misbehaves.
    """

    def __init__(
        self,
        workers: int = 1,
        limits: Limits | None = None,
        sampling: Sampling = "full",
        *,
        stills: bool = False,
        text_frames: bool = True,
        spare: int = 1,
        child_module: str = "ingest.decode_child",
    ) -> None:
        if workers < 1:
            raise ValueError(f"workers >= 1 wanted, got {workers}")
        if spare < 0:
            raise ValueError(f"spare >= 0 wanted, got {spare}")
        self._plan = Plan(
            limits=limits or Limits(),
            sampling=sampling,
            files=FILES_PER_CHILD,
            frame_count=FRAME_COUNT,
            short_side_px=SHORT_SIDE_PX,
            long_side_max_px=LONG_SIDE_MAX_PX,
            text_frame_count=TEXT_FRAME_COUNT if text_frames else 0,
            text_long_side_px=TEXT_LONG_SIDE_PX,
            sample_rate_hz=SAMPLE_RATE_HZ,
            stills=stills,
        )
        self._child_module = child_module
        self._lock = threading.Lock()
        self._children: set[_Child] = set()
        self._closed = False
        self._idle: SimpleQueue[_Child] = SimpleQueue()
        for _ in range(workers + spare):
            self._idle.put(self._new_child())

    def decode(self, path: Path | str) -> Clip:
        """Return the pictures and the sound of one file. Safe to call from many threads.

        Raises:
            MediaError: the file is at fault; the reason says how.
            ChildDied: the file killed the child, or had it killed.
            RuntimeError: the pool is closed, or no child starts.
        """
        with _opened(Path(path), self._plan.limits) as fd:
            child = self._borrow()
            try:
                return child.ask(fd)
            except ChildDied as died:
                if self._closed:  # we killed it; the file is not to blame
                    raise RuntimeError("the decode pool was closed while it decoded") from died
                raise
            finally:
                self._give_back(child)

    @property
    def layers_in_force(self) -> Mapping[str, bool | str]:
        """Layer of the sandbox -> True, or why the kernel does not have it; as the children say."""
        child = self._borrow()
        try:
            return child.layers
        finally:
            self._give_back(child)

    @property
    def pids(self) -> frozenset[int]:
        """The processes of the children."""
        with self._lock:
            return frozenset(child.pid for child in self._children)

    def close(self) -> None:
        """End all children, also those that work."""
        with self._lock:
            self._closed = True
            children, self._children = self._children, set()
        for child in children:
            child.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _borrow(self) -> _Child:
        self._check_open()
        child = self._idle.get()
        if not child.alive and not self._closed:  # somebody ended it while it waited; no file is to blame
            child = self._replaced(child)
        try:
            child.wait_until_ready()
        except BaseException as error:
            self._give_back(child)
            if isinstance(error, OSError | RuntimeError):  # as of a child that `close` has ended
                self._check_open()
            raise
        return child

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("the decode pool is closed")

    def _give_back(self, child: _Child) -> None:
        usable = child.usable and child.files < FILES_PER_CHILD
        self._idle.put(child if usable or self._closed else self._replaced(child))

    def _replaced(self, child: _Child) -> _Child:
        with self._lock:
            self._children.discard(child)
        child.end()
        return self._new_child()

    def _new_child(self) -> _Child:
        child = _Child(self._child_module, self._plan)
        with self._lock:
            self._children.add(child)
            closed = self._closed
        if closed:
            child.end()
        return child


class _Child:
    """One process, asked by one thread at a time."""

    def __init__(self, module: str, plan: Plan) -> None:
        self._plan = plan
        self._channel, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        lifeline, self._lifeline = os.pipe()  # its other end closes when we are gone, however we went
        shared, self._shared = _shared_memory(plan.max_raw_bytes)
        fds = (theirs.fileno(), lifeline, shared)
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, *map(str, fds), plan.to_json()],
                pass_fds=fds,
                stdin=subprocess.DEVNULL,
                env=_harmless(os.environ) | {"PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))},
            )
        finally:
            theirs.close()
            os.close(lifeline)
            os.close(shared)
        self._ready = False
        self._end_lock = threading.Lock()
        self._ended = False
        self.layers: Mapping[str, bool | str] = {}
        self.usable = True
        self.files = 0

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def wait_until_ready(self) -> None:
        """Hear which layers are in force; the first thing a child says.

        Raises:
            RuntimeError: it does not start; that is our fault, not a file's.
        """
        if self._ready:
            return
        try:
            kind, about, _ = self._read_message(time.monotonic() + START_UP_S, max_raw_bytes=0)
            layers = json.loads(about)["layers"]
        except (_Silence, _Nonsense, ValueError, KeyError) as error:
            self.usable = False
            self.end()
            raise RuntimeError(f"a decode child does not start: {error or type(error).__name__}") from error
        if kind != Kind.READY:
            self.usable = False
            raise RuntimeError(f"a decode child begins with {kind!r}, {Kind.READY!r} wanted")
        self.layers = layers
        self._ready = True

    def ask(self, fd: int) -> Clip:
        """Have one open file decoded."""
        deadline = time.monotonic() + self._plan.limits.max_wall_s
        self.usable = False  # until it has answered properly
        self.files += 1
        try:
            socket.send_fds(self._channel, [REQUEST], [fd])
            kind, about, raw = self._read_message(deadline, self._plan.max_raw_bytes)
            if kind == Kind.REFUSED:
                refused = _refusal(about)
                self.usable = not isinstance(refused, ChildDied)
                raise refused
            if kind == Kind.BROKEN:
                raise ChildDied("child_died", _refusal(about).detail)
            if kind != Kind.CLIP:
                raise _Nonsense(f"a message of kind {kind}")
            clip = _clip(about, raw, self._plan)
        except _Nonsense as error:
            self.end()
            raise ChildDied("child_lied", f"its answer is not what was agreed: {error}") from error
        except TimeoutError as error:
            self.end()
            raise ChildDied("wall_limit", f"no answer within {self._plan.limits.max_wall_s:g} s") from error
        except (_Silence, ConnectionError) as error:
            raise self._how_it_died() from error
        self.usable = True
        return clip

    def end(self) -> None:
        """Kill the process, if it still is, and close what leads to it."""
        with self._end_lock:
            if self._ended:
                return
            self._ended = True
            self._process.kill()
            self._process.wait()
            os.close(self._lifeline)
            self._channel.shutdown(socket.SHUT_RDWR) if self._channel.fileno() >= 0 else None
            self._channel.close()

    def _how_it_died(self) -> ChildDied:
        try:
            status = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return ChildDied("child_lied", "it closed its channel and went on running")
        limits = self._plan.limits
        if status == -signal.SIGXCPU:
            return ChildDied("cpu_limit", f"more than {limits.max_cpu_s} s of processor time")
        if status < 0:
            return ChildDied("child_died", f"ended by {signal.Signals(-status).name}")
        return ChildDied("child_died", f"ended with status {status}")

    def _read_message(self, deadline: float, max_raw_bytes: int) -> tuple[int, bytes, NDArray[np.uint8]]:
        magic, version, kind, json_bytes, raw_bytes = HEADER.unpack(self._read(HEADER.size, deadline))
        if (magic, version) != (MAGIC, VERSION):
            raise _Nonsense(f"begins with {magic!r}, version {version}")
        if json_bytes > MAX_JSON_BYTES or raw_bytes > max_raw_bytes:
            raise _Nonsense(
                f"{json_bytes} bytes of JSON and {raw_bytes} raw; {MAX_JSON_BYTES}, {max_raw_bytes} allowed"
            )
        about = self._read(json_bytes, deadline)
        return kind, about, np.frombuffer(self._shared, np.uint8, raw_bytes)

    def _read(self, count: int, deadline: float) -> bytes:
        read = bytearray()
        while len(read) < count:
            self._channel.settimeout(max(0.001, deadline - time.monotonic()))
            part = self._channel.recv(count - len(read))
            if not part:
                raise _Silence(f"the channel closed after {len(read)} of {count} bytes")
            read += part
        return bytes(read)


class _Silence(Exception):
    """The child is gone."""


class _Nonsense(Exception):
    """The child says what no honest child says."""


_Shape = tuple[int, int, int]
"""Height, width, and bytes from line to line: lines are padded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _About:
    """The JSON of a clip, as the child sends it."""

    facts: MediaFacts
    samples: int
    frame_shape: _Shape
    frame_times_s: tuple[float, ...]
    text_frame_shape: _Shape
    text_frame_times_s: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Refusal:
    reason: str
    detail: str


_ABOUT, _REFUSAL = TypeAdapter(_About), TypeAdapter(_Refusal)


def _refusal(about: bytes) -> MediaError:
    try:
        refusal = _REFUSAL.validate_json(about, strict=True)
    except ValidationError as error:
        raise _Nonsense(f"a refusal that cannot be read: {error.error_count()} errors") from error
    if not re.fullmatch(r"[a-z0-9_]{1,40}", refusal.reason):
        raise _Nonsense(f"a reason like {refusal.reason[:60]!r}")
    kind = ChildDied if refusal.reason == "memory_limit" else MediaError
    return kind(refusal.reason, _printable(refusal.detail, 500))


def _clip(about_json: bytes, raw: NDArray[np.uint8], plan: Plan) -> Clip:
    """Check everything, and take the raw bytes as arrays without copying them."""
    try:
        about = _ABOUT.validate_json(about_json, strict=True)
    except ValidationError as error:
        raise _Nonsense(f"a clip that cannot be read: {error.error_count()} errors") from error
    facts = about.facts
    _check(0 <= about.samples <= plan.max_samples, f"{about.samples} samples")
    _check(len(about.frame_times_s) <= plan.frame_count, f"{len(about.frame_times_s)} frames")
    _check(len(about.text_frame_times_s) <= plan.text_frame_count, f"{len(about.text_frame_times_s)} text frames")
    _check_facts(facts, about, plan)
    waveform_bytes = about.samples * 4
    frames_at = waveform_bytes + _byte_count(about.frame_times_s, about.frame_shape, plan.long_side_max_px)
    end = frames_at + _byte_count(about.text_frame_times_s, about.text_frame_shape, plan.text_long_side_px)
    _check(end == len(raw), f"{len(raw)} raw bytes, {end} wanted")
    waveform = raw[:waveform_bytes].view(np.float32)
    turns = -facts.rotation_deg // 90
    frames = _pictures(raw[waveform_bytes:frames_at], about.frame_times_s, about.frame_shape, turns)
    text = _pictures(raw[frames_at:], about.text_frame_times_s, about.text_frame_shape, turns)
    _check(len(frames) > 0 or len(waveform) > 0, "neither picture nor sound")
    return Clip(
        frames=frames,
        frame_times_s=_times(about.frame_times_s, plan),
        text_frames=text,
        text_frame_times_s=_times(about.text_frame_times_s, plan),
        waveform=_within_one(waveform),
        signals=picture_signals(frames),
        facts=facts,
    )


def picture_signals(frames: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
    """Measure what the eye notices first, on every second pixel of every second line.

    Args:
        frames: (n, height, width, 3), RGB.

    Returns:
        Each (n,): `brightness`, mean luma 0..1; `sharpness`, the root mean square of the Laplacian of luma, 0 for a
        flat picture; `motion`, mean change of luma since the frame before, 0..1, 0 for the first.

    >>> signals = picture_signals(np.stack([np.zeros((8, 8, 3), np.uint8), np.full((8, 8, 3), 255, np.uint8)]))
    >>> {name: signal.round(3).tolist() for name, signal in signals.items()}
    {'brightness': [0.0, 1.0], 'sharpness': [0.0, 0.0], 'motion': [0.0, 1.0]}
    """
    if not len(frames):
        nothing = np.empty(0, dtype=np.float32)
        return {"brightness": nothing, "sharpness": nothing, "motion": nothing}
    luma = frames[:, ::2].astype(np.float32)[:, :, ::2] @ (LUMA / np.float32(255))
    laplacian = (
        4 * luma[:, 1:-1, 1:-1] - luma[:, :-2, 1:-1] - luma[:, 2:, 1:-1] - luma[:, 1:-1, :-2] - luma[:, 1:-1, 2:]
    )
    motion = np.abs(np.diff(luma, axis=0)).mean(axis=(1, 2), dtype=np.float32)
    return {
        "brightness": luma.mean(axis=(1, 2), dtype=np.float32),
        "sharpness": np.sqrt(np.einsum("nhw,nhw->n", laplacian, laplacian) / max(1, laplacian[0].size)),
        "motion": np.concatenate([np.zeros(1, dtype=np.float32), motion]),
    }


def _harmless(environment: Mapping[str, str]) -> dict[str, str]:
    """What a child may know of ours: no token, no key, no address of a database."""
    kept = {"PATH", "LD_LIBRARY_PATH", "LANG", "TMPDIR", "TZ"}
    return {
        name: value
        for name, value in environment.items()
        if name in kept or name.startswith(("LC_", "PYTHON", "MALLOC_"))
    }


def _shared_memory(size: int) -> tuple[int, mmap.mmap]:
    """Memory for a child to write into, sealed: whoever shrank it would kill us with SIGBUS."""
    fd = os.memfd_create("clip", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(fd, size)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL)
    return fd, mmap.mmap(fd, size)


@contextmanager
def _opened(path: Path, limits: Limits) -> Iterator[int]:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)  # a pipe would make us wait for its writer
    except OSError as error:
        raise MediaError("unreadable", error.strerror or type(error).__name__) from error
    try:
        about = os.fstat(fd)
        if not stat.S_ISREG(about.st_mode):
            raise MediaError("not_a_file", "a regular file wanted")
        if not about.st_size:
            raise MediaError("empty_file", "0 bytes")
        if about.st_size > limits.max_file_bytes:
            raise MediaError("too_many_bytes", f"{about.st_size} bytes, {limits.max_file_bytes} allowed")
        yield fd
    finally:
        os.close(fd)


def _check(holds: bool, otherwise: str) -> None:
    if not holds:
        raise _Nonsense(otherwise)


def _check_facts(facts: MediaFacts, about: _About, plan: Plan) -> None:
    numbers = (facts.duration_s, facts.declared_duration_s or 0.0, facts.fps)
    _check(all(math.isfinite(number) and number >= 0 for number in numbers), f"numbers like {numbers}")
    counts = (facts.width, facts.height, facts.frame_count, facts.audio_rate_hz, facts.audio_channels)
    _check(all(0 <= count < 1 << 31 for count in counts), f"counts like {counts}")
    _check(facts.rotation_deg in {0, 90, 180, 270}, f"a rotation of {facts.rotation_deg}")
    _check((facts.video_codec is None) == (not about.frame_times_s), "frames and a codec go together")
    _check((facts.audio_codec is None) == (not about.samples), "sound and a codec go together")
    names = (facts.container, facts.video_codec, facts.pixel_format, facts.audio_codec)
    _check(all(re.fullmatch(r"[\w .,:+-]{1,80}", name, re.ASCII) for name in names if name is not None), "odd names")
    truncated = facts.truncated
    _check(truncated is None or truncated == _printable(truncated, 500), "a reason that cannot be printed")


def _byte_count(times_s: tuple[float, ...], shape: _Shape, most_px: int) -> int:
    if not times_s:
        return 0
    height, width, line_bytes = shape
    _check(1 <= height <= most_px and 1 <= width <= most_px and width * 3 <= line_bytes, f"pictures of {shape}")
    return len(times_s) * height * line_bytes


def _pictures(
    raw: NDArray[np.uint8], times_s: tuple[float, ...], shape: _Shape, quarter_turns_left: int
) -> NDArray[np.uint8]:
    """Copy the pixels, without the padding and turned, out of memory that the child can still write to."""
    if not times_s:
        return np.empty((0, *shape[:2], 3), dtype=np.uint8)
    height, width, line_bytes = shape
    lines = raw.reshape(len(times_s), height, line_bytes)[:, :, : width * 3]
    pictures = lines.reshape(len(times_s), height, width, 3)
    turned: NDArray[np.uint8] = np.rot90(pictures, quarter_turns_left, axes=(1, 2)).copy()
    return turned


def _times(times_s: tuple[float, ...], plan: Plan) -> NDArray[np.float64]:
    times = np.array(times_s, dtype=np.float64)
    fits = np.isfinite(times).all() and (np.diff(times) > 0).all()
    _check(bool(fits) and (not len(times) or 0 <= times[0] <= times[-1] <= plan.limits.max_duration_s), "odd times")
    return times


def _within_one(waveform: NDArray[np.float32]) -> NDArray[np.float32]:
    """Sound may be stored as floats, and those may be anything; what is no number is silence."""
    copied = np.nan_to_num(waveform, nan=0.0, posinf=1.0, neginf=-1.0)
    return copied.clip(-1.0, 1.0, out=copied)


def _printable(text: str, most: int) -> str:
    return "".join(character if character.isprintable() else "?" for character in text[:most])
