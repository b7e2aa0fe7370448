"""What the decode pool and its child say to each other. Standard library only: the child starts in a blink.

Parent to child, on a Unix socket: one byte with one open file. Child to parent: a fixed header and JSON; never pickle,
because a child that has read hostile bytes may be theirs. Pictures and sound lie in memory that both share: a socket
would cost a fifth of decoding.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from enum import IntEnum
from typing import Any, Literal

HEADER = struct.Struct("<4sBBIQ")
"""Magic, version, kind, bytes of JSON after it, bytes in the shared memory."""
MAGIC = b"FLdc"
VERSION = 1
MAX_JSON_BYTES = 64 * 1024
REQUEST = b"?"

Sampling = Literal["full", "fast"]
"""`full` gives what decoding every frame gives, though it leaves out what changes nothing (`ingest/outlook.py`);
`fast` never sees the frames that nothing refers to, and is another space."""


class Kind(IntEnum):
    READY = 1
    CLIP = 2
    REFUSED = 3
    BROKEN = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one file may cost. The defaults fit short video from strangers; a file beyond them is a `MediaError`."""

    max_file_bytes: int = 4 << 30
    max_pixels: int = 8_300_000
    """Width x height of a frame; 4K is 8,294,400."""
    max_side_px: int = 8192
    max_duration_s: float = 600.0
    max_frames: int = 36_000
    max_streams: int = 8
    max_cpu_s: int = 25
    """A file that has to be begun again, and decoded whole, gets it a second time."""
    max_wall_s: float = 60.0
    """What stops a child that waits instead of working."""
    extra_memory_bytes: int = 1 << 30
    """Address space beyond what a child has at rest; a good 4K H.264 with 16 references needs 800 MB."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a child is told when it starts: its limits, and the shape of the pictures and the sound it hands back."""

    limits: Limits
    sampling: Sampling
    files: int
    """How many files it will be given before it is replaced."""
    frame_count: int
    short_side_px: int
    long_side_max_px: int
    text_frame_count: int
    text_long_side_px: int
    sample_rate_hz: int
    stills: bool = False
    """Take still pictures too: a query may be one, an upload may not."""

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Plan:
        values = json.loads(text)
        return cls(**values | {"limits": Limits(**values["limits"])})

    @property
    def max_raw_bytes(self) -> int:
        """No honest answer is longer."""
        padding = 128 * (self.frame_count + self.text_frame_count) * max(self.long_side_max_px, self.text_long_side_px)
        frames = self.frame_count * self.short_side_px * self.long_side_max_px * 3
        text_frames = self.text_frame_count * self.text_long_side_px**2 * 3
        return frames + text_frames + padding + self.max_samples * 4

    @property
    def max_samples(self) -> int:
        return int((self.limits.max_duration_s + 1) * self.sample_rate_hz)


def send(channel: socket.socket, kind: Kind, about: Mapping[str, Any], raw_bytes: int = 0) -> None:
    """Write one message: the header, and `about` as JSON."""
    text = json.dumps(about, allow_nan=False).encode()
    channel.sendall(HEADER.pack(MAGIC, VERSION, kind, len(text), raw_bytes) + text)
