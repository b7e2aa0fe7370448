"""What the doors take and give, as pydantic models: OpenAPI is made of these."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field

from index.ledger import Item
from index.records import Failure, Glance, Upload, Video
from service.library import Match
from service.report import plain

State = Literal["waiting", "working", "video", "failure"]
STATES: dict[str, State] = {"waiting": "waiting", "leased": "working", "video": "video", "failure": "failure"}
VideoId = Annotated[str, Field(min_length=1, max_length=256, examples=["cat-1"])]


class Body(BaseModel):
    """Of a request: a key that we do not know is a mistake, and is told."""

    model_config = ConfigDict(extra="forbid")


class UploadByUri(Body):
    """An upload whose bytes lie in a store that both of us see."""

    uri: str = Field(min_length=1, max_length=4_096, examples=["/clips/cat-1.mp4"])
    video_id: VideoId | None = None
    creator_id: str | None = None
    caption: str | None = Field(default=None, max_length=10_000, examples=["She heard the fridge open. #cat"])
    hashtags: list[str] | None = Field(default=None, max_length=200)
    sound_id: str | None = None
    language: str | None = None
    uploaded_at: str | None = Field(default=None, examples=["2026-11-21T13:41:00Z"])
    visibility: Literal["public", "private"] | None = None
    extra: dict[str, Any] = Field(default_factory=dict)


class Edit(Body):
    """What may change of a video without new bytes; what is left out stays."""

    caption: str | None = Field(default=None, max_length=10_000)
    hashtags: list[str] | None = Field(default=None, max_length=200)
    visibility: Literal["public", "private"] | None = None


class Ask(Body):
    """A search: by words, or by a video of the library."""

    text: str | None = Field(default=None, max_length=2_000, examples=["a cat on a sofa"])
    video: VideoId | None = None
    k: int = Field(default=10, ge=1, le=100)
    offset: int = Field(default=0, ge=0, le=1_000)
    where: str | None = Field(default=None, max_length=4_000, examples=["duration_s < 30 and hashtag = 'cat'"])
    weights: dict[str, float] | None = None
    explain: bool = False


class Retry(Body):
    """Which failures to try again; none named: all but the quarantined."""

    video_ids: list[VideoId] | None = Field(default=None, max_length=10_000)
    quarantined: bool = False


class KeyText(Body):
    key: str = Field(min_length=1, max_length=200)


class SessionBody(BaseModel):
    scopes: list[str]
    """What the session may do; empty: there is none, or it has ended."""


class Links(BaseModel):
    state: str
    video: str


class UploadState(BaseModel):
    """Where an upload stands."""

    video_id: str
    state: State
    revision: int
    searchable: bool
    """Searches find it, perhaps in an earlier revision; what is private is not found."""
    ahead: int | None = None
    """Uploads that are taken up before it, counted up to 1,000; of one that waits."""
    waited_s: float | None = None
    partial: bool = False
    attempts: int = 0
    step: str | None = None
    """Of a failure: `read`, `decode`, `encode`."""
    reason: str | None = None
    detail: str | None = None
    links: Links

    @classmethod
    def of(cls, item: Item, *, searchable: bool, now_s: float, ahead: int | None = None) -> UploadState:
        return cls(
            video_id=item.video_id,
            state=STATES[item.state],
            revision=item.revision,
            searchable=searchable,
            ahead=ahead,
            waited_s=round(now_s - item.queued_s, 3) if item.state in ("waiting", "leased") else None,
            partial=item.partial,
            attempts=item.attempts,
            step=item.step,
            reason=item.reason,
            detail=item.detail,
            links=Links(state=f"/v1/uploads/{quote(item.video_id)}", video=f"/v1/videos/{quote(item.video_id)}"),
        )


class UploadStates(BaseModel):
    uploads: list[UploadState]
    next_after: str | None
    """For the next page: `?after=`; null on the last one."""


class VideoRow(BaseModel):
    """A video as a list shows it."""

    video_id: str
    caption: str
    hashtags: list[str]
    creator_id: str | None
    language: str | None
    duration_s: float
    tags: list[str]
    onscreen_text: str
    thumbnail: str | None

    @classmethod
    def of(cls, upload: Upload, glance: Glance) -> VideoRow:
        return cls(
            video_id=upload.video_id,
            caption=upload.caption,
            hashtags=list(upload.hashtags),
            creator_id=upload.creator_id,
            language=upload.language,
            duration_s=glance.duration_s,
            tags=list(glance.tags),
            onscreen_text=glance.onscreen_text,
            thumbnail=f"/v1/videos/{quote(upload.video_id)}/thumbnail" if glance.thumbnail_sha256 else None,
        )


class VideoRows(BaseModel):
    videos: list[VideoRow]
    next_after: str | None
    """For the next page: `?after=`; null on the last one."""


class HitBody(BaseModel):
    """A video that was found."""

    video_id: str
    score: float
    modalities: dict[str, float] | None = None
    """With `explain`: what each modality contributed; they add up to the score."""
    caption: str
    hashtags: list[str]
    creator_id: str | None
    language: str | None
    duration_s: float
    tags: list[str]
    onscreen_text: str
    thumbnail: str | None

    @classmethod
    def of(cls, match: Match, *, explain: bool) -> HitBody:
        said = match.to_json()
        has_picture = said.pop("thumbnail_sha256") is not None
        said["modalities"] = said["modalities"] if explain else None
        thumbnail = f"/v1/videos/{quote(match.video_id)}/thumbnail" if has_picture else None
        return cls(**{name: value for name, value in said.items() if name in cls.model_fields}, thumbnail=thumbnail)


class Hits(BaseModel):
    hits: list[HitBody]
    next_offset: int | None
    """For the next page; null where there is none."""


class VideoBody(BaseModel):
    """Everything that is known of a video but its vectors."""

    video_id: str
    revision: int
    creator_id: str | None
    caption: str
    hashtags: list[str]
    sound_id: str | None
    language: str | None
    uploaded_at: str | None
    visibility: str
    extra: dict[str, Any]
    tags: list[dict[str, Any]]
    onscreen_text: str
    transcript: str
    speech_segments_s: list[tuple[float, float]]
    signals: dict[str, float]
    modalities: dict[str, str]
    """Channel -> `present`, or why it is not."""
    facts: dict[str, Any]
    partial: bool
    thumbnail: str | None
    original: str

    @classmethod
    def of(cls, video: Video) -> VideoBody:
        upload = video.upload
        said = plain(video)
        known = {name: said[name] for name in cls.model_fields if name in said}
        place = f"/v1/videos/{quote(upload.video_id)}"
        return cls(
            **known,
            modalities=dict(video.mask),
            thumbnail=f"{place}/thumbnail" if video.thumbnail_sha256 else None,
            original=f"{place}/original",
        )


class FailureBody(BaseModel):
    video_id: str
    step: str
    reason: str
    detail: str
    attempts: int

    @classmethod
    def of(cls, failure: Failure) -> FailureBody:
        return cls(**{name: getattr(failure, name) for name in cls.model_fields})


class Failures(BaseModel):
    failures: list[FailureBody]
    reasons: dict[str, int]


class Retried(BaseModel):
    queued: int


class WhyNot(BaseModel):
    """Where a video stands for a query, and what keeps it out of the answer."""

    video_id: str
    rank: int | None
    """From 1; null where it is not among those that could be ranked."""
    score: float | None
    kept_out_by: str | None
    """`not_found`, `waiting`, `failure`, `private`, `filter`, `nothing_in_common` or `rank`; null: it is in there."""
    detail: str


class ProblemBody(BaseModel):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    request_id: str
