"""What runs in Ray workers: decode tasks and encoder actors. Each is a process, so it imports little at first."""

from __future__ import annotations

import socket
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from ingest.ray_token import settle

settle()  # before Ray is imported

import ray
from threadpoolctl import threadpool_limits

from index.blobs import Blobs
from index.records import Claimed, Space
from ingest.chunk_decode import Decoded, Decoder, Outcome, decode_chunk
from ingest.decode import DecodePool
from ingest.decode_wire import Limits

if TYPE_CHECKING:
    from ingest.encode import Encoders


@dataclass(frozen=True, slots=True, kw_only=True)
class Kit:
    """Everything that a worker needs to know; it travels, so it holds no open thing."""

    blobs_url: str
    space: Space
    limits: Limits = field(default_factory=Limits)
    open_decoder: Callable[[Kit], Decoder] | None = None
    """Default: a pool of one decode child."""
    open_encoders: Callable[[Kit, int], Encoders] | None = None
    """Of a number of threads; default: those of the space."""
    key: str = field(default_factory=lambda: uuid.uuid4().hex)
    """Tells kits apart in a process that outlives one."""

    def put_probe(self) -> None:
        """Leave something among the blobs that every worker looks for: a folder of the same name is not the same."""
        Blobs(self.blobs_url).put(f"probe/{self.key}", b"")

    def drop_probe(self) -> None:
        Blobs(self.blobs_url).delete(f"probe/{self.key}")

    def blobs(self) -> Blobs:
        """Open the blobs from where the worker is.

        Raises:
            FileNotFoundError: they are not those that the driver sees.
        """
        blobs = Blobs(self.blobs_url)
        if not blobs.has(f"probe/{self.key}"):
            raise FileNotFoundError(
                f"{socket.gethostname()} does not see the driver's blobs at {self.blobs_url}: workers on several "
                "machines want a folder that all of them share, or an object store (FIRSTLOOK_BLOBS_URL)"
            )
        return blobs

    def decoder(self) -> Decoder:
        return self.open_decoder(self) if self.open_decoder is not None else self.own_decoder()

    def own_decoder(self) -> Decoder:
        """One decode child, and no spare: other workers use the core while a new one starts."""
        sampling, reads_text = self.space.spec["sampling"]["mode"], "onscreen" in self.space.spec["encoders"]
        return DecodePool(1, limits=self.limits, sampling=sampling, text_frames=reads_text, spare=0)

    def encoders(self, threads: int) -> Encoders:
        if self.open_encoders is not None:
            return self.open_encoders(self, threads)
        from ingest.spaces import open_space, recipe_of  # engines and weights: a decoder never pays for them

        return open_space(recipe_of(self.space), threads=threads, recorded=self.space)[0]


_tools: dict[str, tuple[Blobs, Decoder]] = {}
"""Of this process: Ray gives it one task after the other, and the decode child lives on between them."""


@ray.remote(num_cpus=1, num_returns=2, max_retries=0)
def decode(kit: Kit, chunk: Sequence[Claimed]) -> tuple[Outcome | None, Decoded | None]:
    """Decode a chunk. Two answers, so that the driver hears of it without fetching the pictures.

    Returns:
        The outcome, None where something is left to encode; and then what that is.
    """
    blobs, decoder = _tools_of(kit)
    decoded = decode_chunk(chunk, blobs, kit.space.id, decoder)
    if decoded.clips or decoded.known:
        return None, decoded
    return Outcome(failed=decoded.failed, killed_child=decoded.killed_child, decode_s=decoded.decode_s), None


@ray.remote(num_cpus=1, max_retries=0)
def layers(kit: Kit) -> Mapping[str, bool | str]:
    """The layers of the sandbox that this worker's decode child is in: True, or why not."""
    _, decoder = _tools_of(kit)
    return decoder.layers_in_force if isinstance(decoder, DecodePool) else {}


def _tools_of(kit: Kit) -> tuple[Blobs, Decoder]:
    if kit.key not in _tools:
        _tools[kit.key] = kit.blobs(), kit.decoder()
    return _tools[kit.key]


@ray.remote
class Encoder:
    """Encodes chunks, several at once; its weights are loaded once."""

    def __init__(self, kit: Kit, threads: int) -> None:
        threadpool_limits(1, user_api="blas")
        self._kit, self._blobs = kit, kit.blobs()
        self._encoders = kit.encoders(threads)

    def ready(self) -> None:
        """Answered once the weights are loaded."""

    def encode(self, chunk: Sequence[Claimed], decoded: Decoded) -> Outcome:
        from ingest.chunk_encode import encode_chunk  # late, as above

        return encode_chunk(chunk, decoded, self._blobs, self._kit.space, self._encoders)
