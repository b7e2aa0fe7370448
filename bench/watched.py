"""A decoder that notes when its first clip came. Imports as little as a decode worker of the project does."""

from __future__ import annotations

import time
from pathlib import Path

from ingest.chunk_decode import Decoder
from ingest.clip import Clip
from ingest.cluster_workers import Kit


class Watch:
    """A decoder that leaves a note behind when its first clip came: it lives in a process of its own."""

    def __init__(self, decoder: Decoder, folder: Path) -> None:
        self._decoder, self._note = decoder, folder / f"{time.monotonic_ns()}"
        self._seen = False

    def decode(self, path: Path) -> Clip:
        clip = self._decoder.decode(path)
        if not self._seen:
            self._note.write_text(str(time.monotonic()))
            self._seen = True
        return clip


def watched(kit: Kit, notes: Path) -> Watch:
    """The decoder that a kit has by itself, watched."""
    return Watch(kit.own_decoder(), notes)
