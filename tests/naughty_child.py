"""A decode child behind the real walls that does what the file tells it to. Tests run it with `-m naughty_child`."""

from __future__ import annotations

import ctypes
import os
import socket
import sys
import time

from ingest.decode_child import Decoded, Refused, decode_file, main
from ingest.decode_wire import Plan


def obey(fd: int, plan: Plan) -> Decoded:
    words = os.pread(fd, 4096, 0)
    if not words.startswith(b"please "):
        return decode_file(fd, plan)
    command = words.decode().split()[1:]
    try:
        return DEEDS[command[0]](*command[1:])
    except OSError as error:
        raise Refused("denied", f"{command[0]}: errno {error.errno}") from error


def lie(what: str) -> Decoded:
    facts = {"container": "mov", "duration_s": 1.0, "declared_duration_s": None, "audio_codec": "aac"}
    about = {"facts": facts, "samples": 4, "frame_shape": [0, 0, 0], "frame_times_s": []}
    about |= {"text_frame_shape": [0, 0, 0], "text_frame_times_s": []}
    raw = bytearray(16)
    match what:
        case "nothing":
            pass
        case "size":
            raw = bytearray(12)
        case "facts":
            facts["duration_s"] = "long"
        case "frames":
            about |= {"frame_times_s": [0.0, 0.0], "frame_shape": [1, 1, 3]}
            facts["video_codec"] = "h264"
            raw = bytearray(16 + 6)
        case "huge":
            about["samples"] = 1 << 40
        case "missing":
            del about["samples"]
    return Decoded(about=about, raw=[raw])


def hang() -> Decoded:
    time.sleep(1000)
    raise AssertionError


def spin() -> Decoded:
    while True:
        pass


def swell() -> Decoded:
    held = []
    while True:
        held.append(bytearray(16 << 20))


def crash() -> Decoded:
    ctypes.string_at(0)
    raise AssertionError


def bug() -> Decoded:
    raise TypeError("a mistake of ours")


def open_path(path: str) -> Decoded:
    os.close(os.open(path, os.O_RDONLY))
    raise Refused("allowed", path)


def write_path(path: str) -> Decoded:
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT))
    raise Refused("allowed", path)


def connect() -> Decoded:
    socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    raise Refused("allowed", "socket")


def fork() -> Decoded:
    if os.fork() == 0:
        os._exit(0)
    raise Refused("allowed", "fork")


def execute() -> Decoded:
    os.execv(sys.executable, [sys.executable, "-c", "pass"])


def kill_parent() -> Decoded:
    os.kill(os.getppid(), 0)
    raise Refused("allowed", "kill")


DEEDS = {
    "lie": lie, "hang": hang, "spin": spin, "swell": swell, "crash": crash, "bug": bug, "open": open_path,
    "write": write_path, "connect": connect, "fork": fork, "execute": execute, "kill": kill_parent,
}  # fmt: skip

if __name__ == "__main__":
    main(sys.argv[1:], obey)
