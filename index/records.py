"""The records that several packages share. Frozen, and whole from birth.

`Upload` is what a creator handed in, `Analysis` is what its bytes say in one space, `Video` is the row of the index
made of both, `Failure` is an upload that did not become a row, and why. Every upload ends as exactly one `Video` or
one `Failure`. `Event` is something that a viewer did, and `Impression` a place in a feed that a video was given.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load as load_tensors
from safetensors.numpy import save as save_tensors

PRESENT = "present"
"""What the mask says of a modality that has a vector; any other word is the reason why it has none."""

FAILED = "failed:"
"""Prefix of a mask reason that is our fault or a budget's, not a fact about the video: such a row is `partial`."""

MODALITIES = ("vision", "text", "sound")
"""Everything a `Video` is compared by, in the order of the fused vector."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """One revision of one video, as its creator handed it in."""

    video_id: str
    content_sha256: str
    """Of the original bytes, hex. The same bytes under another id share one `Analysis`."""
    uri: str
    """Where the bytes came from; the copy that we keep is found by `content_sha256`."""
    revision: int = 1
    """Counts from 1; any change of bytes or of text is a new revision."""
    creator_id: str | None = None
    caption: str = ""
    hashtags: tuple[str, ...] = ()
    """Without the `#`, case folded, in order of appearance, none twice."""
    sound_id: str | None = None
    language: str | None = None
    uploaded_at: datetime | None = None
    """Aware, UTC."""
    visibility: str = "public"
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Further columns of the manifest, kept as they came."""

    def __post_init__(self) -> None:
        if not self.video_id:
            raise ValueError("an upload wants a video_id, got an empty string")
        if self.uploaded_at is not None and self.uploaded_at.tzinfo is None:
            raise ValueError(f"uploaded_at wants a time zone, got {self.uploaded_at.isoformat()}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """An upload that is ours to work on until its lease ends."""

    upload: Upload
    child_deaths: int
    partial: bool
    """A row stands already; only its failed channels are wanted."""
    queued_s: float
    """When it began to wait, seconds since 1970."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaFacts:
    """What decoding measured, beside what the file claims of itself."""

    container: str
    duration_s: float
    """Measured: the end of the last frame or sample that was decoded."""
    declared_duration_s: float | None
    """What the header claims; None where it claims nothing."""
    video_codec: str | None = None
    """None: the file has no picture."""
    width: int = 0
    """Pixels as shown, rotation applied."""
    height: int = 0
    fps: float = 0.0
    """Decoded frames / measured seconds of picture."""
    frame_count: int = 0
    rotation_deg: int = 0
    """Clockwise turn that was applied: 0, 90, 180 or 270."""
    variable_frame_rate: bool = False
    pixel_format: str | None = None
    audio_codec: str | None = None
    """None: the file has no sound."""
    audio_rate_hz: int = 0
    audio_channels: int = 0
    truncated: str | None = None
    """Why decoding stopped early although something was decoded; None: it reached the end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tag:
    name: str
    probability: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Analysis:
    """What one content says in one space. Immutable; kept as a blob under (content_sha256, space).

    `vectors` holds a unit row for each of `vision`, `sound`, and for the three texts that are in the bytes themselves:
    `tags`, `onscreen`, `transcript`. What the creator wrote joins them in `ingest/fuse.py`.
    """

    content_sha256: str
    space: str
    vectors: Mapping[str, NDArray[np.float32]]
    mask: Mapping[str, str]
    """Channel -> `PRESENT`, or the reason why it is absent ("no_sound", "no_text", "failed:model_missing")."""
    tags: tuple[Tag, ...]
    """Most probable first."""
    onscreen_text: str
    transcript: str
    speech_segments_s: tuple[tuple[float, float], ...]
    """(start, end) in seconds of the stretches with speech."""
    signals: Mapping[str, float]
    """Scalars about the whole clip, such as `speech_share`, `brightness`, `motion`, `tempo_bpm`."""
    facts: MediaFacts
    thumbnail_sha256: str | None
    """Names the blob; None: no picture to make one of."""

    def __post_init__(self) -> None:
        present = {name for name, reason in self.mask.items() if reason == PRESENT}
        if present != set(self.vectors):
            raise ValueError(f"mask and vectors disagree: mask says {sorted(present)}, vectors {sorted(self.vectors)}")
        for name, vector in self.vectors.items():
            if vector.ndim != 1 or not np.isfinite(vector).all():
                raise ValueError(f"{name}: one finite vector wanted, got shape {vector.shape}")
            if abs(float(np.linalg.norm(vector)) - 1) > 1e-3:
                raise ValueError(f"{name}: a unit vector wanted, got length {float(np.linalg.norm(vector)):.4f}")

    @property
    def partial(self) -> bool:
        """Some channel failed for a reason that another try may mend."""
        return any(reason.startswith(FAILED) for reason in self.mask.values())

    def to_bytes(self) -> bytes:
        """One safetensors file: the vectors, and everything else as JSON in its header, with a digest of both.

        A disk that flips a bit does not say so; the digest does.
        """
        rest = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "vectors"}
        rest |= {"tags": [[tag.name, tag.probability] for tag in self.tags], "facts": asdict(self.facts)}
        body = canonical_json(rest)
        tensors = {name: np.ascontiguousarray(v, dtype=np.float32) for name, v in sorted(self.vectors.items())}
        return save_tensors(tensors, metadata={"analysis": body, "sha256": _digest(body, tensors)})

    @classmethod
    def from_bytes(cls, data: bytes) -> Analysis:
        """Read what `to_bytes` wrote.

        Raises:
            ValueError: the blob is torn, was changed, or was written by something else.
        """
        try:
            header_size = int.from_bytes(data[:8], "little")
            metadata = json.loads(data[8 : 8 + header_size])["__metadata__"]
            tensors = load_tensors(data)
            rest = json.loads(metadata["analysis"])
            if metadata["sha256"] != _digest(metadata["analysis"], tensors):
                raise ValueError("its digest does not match its content")
            rest["tags"] = tuple(Tag(name=name, probability=probability) for name, probability in rest["tags"])
            rest["speech_segments_s"] = tuple((start, end) for start, end in rest["speech_segments_s"])
            rest["facts"] = MediaFacts(**rest["facts"])
            return cls(vectors=tensors, **rest)
        except (KeyError, TypeError, ValueError, SafetensorError) as error:
            raise ValueError(f"not a whole analysis ({len(data)} bytes): {error}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class Space:
    """One way of turning videos into vectors. Vectors of two spaces are never compared."""

    name: str
    spec: Mapping[str, Any]
    """All that decides what a vector means: weights' hashes, engine, sampling, constants, fusion. Plain JSON."""
    dims: Mapping[str, int]
    """Modality -> dimensions."""
    weights: Mapping[str, float]
    """Modality -> its weight in the fused vector and in the score, adding up to 1."""

    def __post_init__(self) -> None:
        if set(self.dims) != set(self.weights):
            raise ValueError(f"dims and weights disagree: {sorted(self.dims)} and {sorted(self.weights)}")
        if abs(sum(self.weights.values()) - 1) > 1e-6:
            raise ValueError(f"weights add up to 1, got {dict(self.weights)}")

    @property
    def id(self) -> str:
        """Name and hash of everything in it, such as `local-3f9a0c2b71de`. Safe in file and table names."""
        everything = {"spec": self.spec, "dims": dict(self.dims), "weights": dict(self.weights)}
        return f"{self.name}-{hashlib.sha256(canonical_json(everything).encode()).hexdigest()[:12]}"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Video:
    """A row of the index: an upload, what its bytes say, and the vectors it is found by."""

    upload: Upload
    space: str
    vectors: Mapping[str, NDArray[np.float32]]
    """Modality (`MODALITIES`) -> unit vector; absent modalities are not in it."""
    fused: NDArray[np.float32]
    """(sum of the space's dims,): the modalities end to end, each scaled by the root of its weight, zeros where
    absent. Finds candidates only; the exact score is taken from `vectors`."""
    mask: Mapping[str, str]
    """Channel or modality -> `PRESENT` or the reason why it is absent."""
    tags: tuple[Tag, ...]
    onscreen_text: str
    transcript: str
    speech_segments_s: tuple[tuple[float, float], ...]
    signals: Mapping[str, float]
    facts: MediaFacts
    thumbnail_sha256: str | None
    """None: no picture to make one of."""

    def __post_init__(self) -> None:
        unknown = set(self.vectors) - set(MODALITIES)
        if unknown:
            raise ValueError(f"vectors of {sorted(unknown)}; the modalities are {MODALITIES}")
        if not np.isfinite(self.fused).all():
            raise ValueError(f"{self.upload.video_id}: the fused vector is not finite")

    @property
    def glance(self) -> Glance:
        return Glance(
            duration_s=self.facts.duration_s,
            tags=tuple(tag.name for tag in self.tags),
            onscreen_text=self.onscreen_text,
            thumbnail_sha256=self.thumbnail_sha256,
        )

    @property
    def partial(self) -> bool:
        """Some channel failed for a reason that another try may mend."""
        return any(reason.startswith(FAILED) for reason in self.mask.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Glance:
    """What a hit shows of a video, beside what its creator says of it."""

    duration_s: float
    tags: tuple[str, ...]
    """Most probable first."""
    onscreen_text: str
    thumbnail_sha256: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """An upload, or a line of a manifest, that did not become a `Video`, and why."""

    video_id: str
    """The caller's id; derived from the content, or from where it was named, where there is none."""
    uri: str
    step: str
    """`manifest`, `read`, `decode` or `encode`."""
    reason: str
    """A short countable slug, such as `no_frames`."""
    detail: str
    """One line for a person: what came and what was wanted, with the line number where a manifest named it."""
    attempts: int = 1


EVENT_KINDS = (
    "impression",  # it came on the screen; that alone counts as seen
    "view",
    "scroll",
    "pause",
    "replay",
    "skip",
    "like",
    "unlike",
    "share",
    "comment",
    "save",
    "unsave",
    "follow",
    "unfollow",
    "not_interested",
    "report",
    "block",
    "unblock",
    "search",
    "session",
    "dial",
)
"""Everything that a viewer does is one of these; what he sets his feed to is a `dial`."""

CATEGORIES = (
    "dance", "comedy", "education", "food", "sports", "animals", "gaming", "news", "music", "beauty", "travel", "other",
)  # fmt: skip
"""Of content: what an upload may say in `extra["category"]`, and every video is one of for the feed."""

SLOTS = ("rank", "explore", "fresh", "uniform")
"""Why a video has its place: its score, what is next to the viewer's interests, its first look, or a fair die."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that a viewer did, as the app tells it. Appended to the behaviour log, and never changed."""

    event_id: str
    """The app's; the same id is the same event, however often it comes."""
    kind: str
    """One of `EVENT_KINDS`."""
    viewer_id: str
    time_s: float
    """When it happened, seconds since 1970, UTC. It may come late and out of order."""
    session_id: str = ""
    surface: str = "feed"
    """Where in the app: `feed`, `profile`, `search`, …"""
    video_id: str | None = None
    impression_id: str | None = None
    """The place in a feed that it happened at; None elsewhere."""
    watch_s: float = 0.0
    """Of a view: seconds watched in all its loops."""
    loops: int = 0
    """Of a view: how often it began again from the start."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Of a search its `query`; of a follow and a block whom (`creator_id`); of a dial `action` and `target`."""

    def __post_init__(self) -> None:
        if self.kind not in EVENT_KINDS:
            raise ValueError(f"an event's kind is one of {', '.join(EVENT_KINDS)}; got {self.kind!r}")
        if not self.event_id or not self.viewer_id:
            raise ValueError(f"an event wants event_id and viewer_id, got {self.event_id!r} and {self.viewer_id!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Impression:
    """A place in a feed that a video was given: by which source, in which kind of slot, with what probability."""

    impression_id: str
    slate_id: str
    """The page that it is part of."""
    viewer_id: str
    video_id: str
    time_s: float
    """When it was served, seconds since 1970, UTC."""
    session_id: str = ""
    position: int
    """From the top of the page, 0 first."""
    source: str
    slot: str
    """One of `SLOTS`."""
    propensity: float
    """Probability that the policy gave this video this place, 0 < p <= 1."""
    score: float
    reasons: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.slot not in SLOTS:
            raise ValueError(f"a slot is one of {', '.join(SLOTS)}; got {self.slot!r}")
        if not 0 < self.propensity <= 1:
            raise ValueError(f"a propensity lies above 0 and up to 1, got {self.propensity}")


def canonical_json(value: Any) -> str:
    """The same text for equal values on every machine: sorted keys, no spaces, dates as ISO 8601.

    >>> canonical_json({"b": 1, "a": [1.5, "é"]})
    '{"a":[1.5,"é"],"b":1}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=_plain)


def _digest(body: str, tensors: Mapping[str, NDArray[np.float32]]) -> str:
    digest = hashlib.sha256(body.encode())
    for name in sorted(tensors):
        digest.update(name.encode() + tensors[name].tobytes())
    return digest.hexdigest()


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"not JSON: {type(value).__name__}")
