"""What the doors take and give, as pydantic models: OpenAPI is made of these."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any, Literal
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field

from index.ledger import Item
from index.records import EVENT_KINDS, Failure, Glance, Upload, Video
from ingest.uploads import VIDEO_ID_MAX_CHARS
from service.library import Match
from service.report import plain

State = Literal["waiting", "working", "video", "failure"]
STATES: dict[str, State] = {"waiting": "waiting", "leased": "working", "video": "video", "failure": "failure"}
ID_CHARS = r"[^\x00-\x1f\x7f-\x9f\u2028\u2029]"
"""Of ids: no control characters, as `ingest.uploads` takes them."""
VideoId = Annotated[
    str, Field(min_length=1, max_length=VIDEO_ID_MAX_CHARS, pattern=f"^{ID_CHARS}+$", examples=["cat-1"])
]
TEXT = r"^[^\x00]*$"
"""A NUL is in no text, and databases take none."""
EVENTS_MAX = 1_000
"""In one request."""
Where = Annotated[str | None, Field(max_length=4_000, pattern=TEXT, examples=["duration_s < 30 and hashtag = 'cat'"])]


def _like(**example: Any) -> ConfigDict:
    """With an example, which OpenAPI shows."""
    return ConfigDict(json_schema_extra={"examples": [example]})


class Body(BaseModel):
    """Of a request: a key that we do not know is a mistake, and is told, and so is a 0 for a false."""

    model_config = ConfigDict(extra="forbid", strict=True)


class UploadByUri(Body):
    """An upload whose bytes lie in a store that both of us see."""

    model_config = _like(uri="/clips/rocket-1.mp4", video_id="launch", caption="Tonight it flies! #rocket")

    uri: str = Field(min_length=1, max_length=4_096, pattern=TEXT, examples=["/clips/cat-1.mp4"])
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

    model_config = _like(visibility="private")

    caption: str | None = Field(default=None, max_length=10_000)
    hashtags: list[str] | None = Field(default=None, max_length=200)
    visibility: Literal["public", "private"] | None = None


class Ask(Body):
    """A search: by words, or by a video of the library."""

    model_config = _like(text="a rocket launch", k=1, where="duration_s < 30")

    text: str | None = Field(default=None, max_length=2_000, pattern=TEXT, examples=["a cat on a sofa"])
    video: VideoId | None = None
    k: int = Field(default=10, ge=1, le=100)
    offset: int = Field(default=0, ge=0, le=1_000)
    where: Where = None
    weights: dict[str, float] | None = None
    explain: bool = False


class Retry(Body):
    """Which failures to try again; none named: all but the quarantined."""

    model_config = _like(video_ids=["bad"])

    video_ids: list[VideoId] | None = Field(default=None, max_length=10_000)
    quarantined: bool = False


_EVENT = {
    "event_id": "e-1", "kind": "view", "viewer_id": "anna", "time_s": 1764337000.25, "session_id": "s-1",
    "video_id": "cat-1", "watch_s": 6.5, "loops": 1,
}  # fmt: skip
Id = Annotated[str, Field(min_length=1, max_length=200, pattern=f"^{ID_CHARS}+$")]


class EventBody(Body):
    """One thing that a viewer did."""

    model_config = _like(**_EVENT)

    event_id: Id
    """Yours; the same id is the same event, however often it comes."""
    kind: str = Field(max_length=50, examples=list(EVENT_KINDS))
    viewer_id: Id
    time_s: float = Field(allow_inf_nan=False)
    """When it happened, seconds since 1970, UTC; late and out of order is no fault."""
    session_id: str = Field(default="", max_length=200)
    surface: str = Field(default="feed", max_length=200)
    video_id: VideoId | None = None
    impression_id: Id | None = None
    """Of the place in a feed that it happened at."""
    watch_s: float = Field(default=0.0, allow_inf_nan=False)
    loops: int = 0
    """How often it began again from the start."""
    extra: dict[str, Any] = Field(default_factory=dict)
    """Of a search its `query`; of a follow and a block the `creator_id`."""


class Events(Body):
    model_config = _like(events=[_EVENT])

    events: list[EventBody] = Field(min_length=1, max_length=EVENTS_MAX)


class EventFate(BaseModel):
    """What became of an event."""

    event_id: str
    state: Literal["accepted", "repeated", "aside"]
    """New and on the disk; there already; or kept apart, since it cannot be true."""
    reason: str | None = None
    detail: str | None = None

    @classmethod
    def aside(cls, event_id: str, reason: str, detail: str) -> EventFate:
        return cls(event_id=event_id, state="aside", reason=reason, detail=detail)


class EventFates(BaseModel):
    model_config = _like(
        accepted=1, repeated=0, aside=0,
        events=[{"event_id": "e-1", "state": "accepted", "reason": None, "detail": None}],
    )  # fmt: skip

    accepted: int
    repeated: int
    aside: int
    events: list[EventFate]
    """In the order of the request."""

    @classmethod
    def of(cls, fates: list[EventFate]) -> EventFates:
        counts = Counter(fate.state for fate in fates)
        return cls(accepted=counts["accepted"], repeated=counts["repeated"], aside=counts["aside"], events=fates)


class ErasedViewer(BaseModel):
    model_config = _like(erased=412)

    erased: int
    """Rows that are gone: events, places in feeds, and what was kept apart."""


class KeyText(Body):
    model_config = _like(key="fl_0123456789ab_a-secret-of-43-characters")

    key: str = Field(min_length=1, max_length=200)


class SessionBody(BaseModel):
    model_config = _like(scopes=["search", "uploads", "videos"])

    scopes: list[str]
    """What the session may do; empty: there is none, or it has ended."""


class Links(BaseModel):
    state: str
    video: str


_MINE = {
    "video_id": "mine", "state": "waiting", "revision": 1, "searchable": False, "ahead": 0, "waited_s": 0.046,
    "partial": False, "attempts": 0, "step": None, "reason": None, "detail": None,
    "links": {"state": "/v1/uploads/mine", "video": "/v1/videos/mine"},
}  # fmt: skip


class UploadState(BaseModel):
    """Where an upload stands."""

    model_config = _like(**_MINE)

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
    model_config = _like(uploads=[_MINE], next_after="mine")

    uploads: list[UploadState]
    next_after: str | None
    """For the next page: `?after=`; null on the last one."""


_CAT = {
    "video_id": "cat-1", "caption": "She heard the fridge open. #cat #catlife", "hashtags": ["cat", "catlife"],
    "creator_id": "creator-1", "language": "en", "duration_s": 6.014, "tags": ["Egyptian cat", "tabby"],
    "onscreen_text": "", "thumbnail": "/v1/videos/cat-1/thumbnail",
}  # fmt: skip


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
    model_config = _like(videos=[_CAT], next_after="1764337000.25 cat-1")

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
        modalities = dict(match.modalities) if explain else None
        return cls(score=match.score, modalities=modalities, **VideoRow.of(match.upload, match.glance).model_dump())


class Hits(BaseModel):
    model_config = _like(
        hits=[_CAT | {"score": 0.9436, "modalities": {"vision": 0.3266, "text": 0.5175, "sound": 0.0995}}],
        next_offset=1,
    )

    hits: list[HitBody]
    next_offset: int | None
    """For the next page; null where there is none."""

    @classmethod
    def of(cls, found: Sequence[Match], *, k: int, offset: int, explain: bool) -> Hits:
        hits = [HitBody.of(match, explain=explain) for match in found]
        return cls(hits=hits, next_offset=offset + k if len(hits) == k else None)


class VideoBody(BaseModel):
    """Everything that is known of a video but its vectors."""

    model_config = _like(
        video_id="mine", revision=1, creator_id="creator-1", caption="In the sun #cat", hashtags=["cat"],
        sound_id="sound-1", language="en", uploaded_at="2026-11-21T13:41:00+00:00", visibility="public", extra={},
        tags=[{"name": "Egyptian cat", "probability": 0.549031}], onscreen_text="", transcript="",
        speech_segments_s=[], signals={"motion": 0.021732},
        modalities={"vision": "present", "transcript": "off:model_missing"},
        facts={"duration_s": 5.0155, "video_codec": "h264", "width": 288, "height": 512}, partial=False,
        thumbnail="/v1/videos/mine/thumbnail", original="/v1/videos/mine/original",
    )  # fmt: skip

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
    speech_segments_s: list[Annotated[list[float], Field(min_length=2, max_length=2)]]
    """Where each begins and ends."""
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
    model_config = _like(
        failures=[
            {
                "video_id": "bad", "step": "decode", "reason": "text_file",
                "detail": "15 bytes of text, a video or a sound wanted", "attempts": 1,
            }
        ],
        reasons={"text_file": 1},
    )  # fmt: skip

    failures: list[FailureBody]
    reasons: dict[str, int]


class Retried(BaseModel):
    model_config = _like(queued=1)

    queued: int


class WhyNot(BaseModel):
    """Where a video stands for a query, and what keeps it out of the answer."""

    model_config = _like(
        video_id="launch", rank=5, score=0.0376, kept_out_by="rank", detail="the 3. of the answer has 0.8301"
    )

    video_id: str
    rank: int | None
    """From 1; null where it is not among those that could be ranked."""
    score: float | None
    kept_out_by: str | None
    """`not_found`, `waiting`, `failure`, `private`, `filter`, `nothing_in_common` or `rank`; null: it is in there."""
    detail: str


_PLACED: dict[str, Any] = {
    "video_id": "cat-1", "impression_id": "c8d087b163547e5bf78122d9-0", "position": 0, "slot": "rank",
    "source": "interests", "because": "cat-4", "score": 0.41, "propensity": 0.998, "heads": {"long_view": 0.41},
    "novel_in": None, "why": {"source": "interests", "source_says": "like what you have watched for weeks"},
}  # fmt: skip
_PAGE: dict[str, Any] = {
    "slate_id": "c8d087b163547e5bf78122d9", "viewer_id": "anna", "made_s": 1764337002.5, "session_id": "s-1",
    "videos": [_PLACED], "removed": {"seen": 3}, "held_back": {"creator": 1}, "relaxed": [],
    "candidates": {"interests": 12}, "guardrails": {}, "ranker": "formula-1", "seq": 214,
}  # fmt: skip


class PlacedBody(BaseModel):
    """A video in its place on a page, and what put it there."""

    model_config = _like(**_PLACED)

    video_id: str
    impression_id: str
    """Events that happen at this place name it."""
    position: int
    slot: Literal["rank", "explore", "fresh", "uniform"]
    source: str
    because: str | None = None
    """A video that the viewer watched, and this one follows from."""
    score: float
    propensity: float
    heads: dict[str, float]
    novel_in: str | None = None
    why: dict[str, Any]


class PageBody(BaseModel):
    """A page of a feed, the top first."""

    model_config = _like(**_PAGE)

    slate_id: str
    viewer_id: str
    made_s: float
    session_id: str
    videos: list[PlacedBody]
    removed: dict[str, int]
    """Filter -> how many candidates it took."""
    held_back: dict[str, int]
    """Cap -> how many candidates it kept off the page."""
    relaxed: list[str]
    candidates: dict[str, int]
    """Source -> how many it named."""
    guardrails: dict[str, Any]
    ranker: str
    seq: int
    """The last record of the log that the page knows of."""


_PAGE_WHY: dict[str, Any] = {
    "removed": {"seen": 3}, "held_back": {"creator": 1}, "relaxed": [], "guardrails": {},
    "dials": {"explore": None, "wanted": {"category:food": "less"}},
    "says": ["     3 seen before", "     1 held back: too many of one creator", "you asked for less of category:food"],
}  # fmt: skip


class PageWhy(BaseModel):
    """What the page was made under that a place was on."""

    model_config = _like(**_PAGE_WHY)

    removed: dict[str, int]
    """Filter -> how many candidates it took."""
    held_back: dict[str, int]
    """Cap -> how many candidates it kept off the page."""
    relaxed: list[str]
    guardrails: dict[str, Any]
    dials: dict[str, Any]
    """As they were set then."""
    says: list[str]
    """All of it in words."""


class FeedWhy(BaseModel):
    """What put a video where it was served."""

    model_config = _like(
        impression_id="c8d087b163547e5bf78122d9-0", viewer_id="anna", video_id="cat-1", served_s=1764337002.5,
        position=0, score=0.41, propensity=0.998, ranker="formula-1",
        why={"source": "interests", "source_says": "like what you have watched for weeks"},
        features_as_of_s=1764423402.5, page=_PAGE_WHY,
    )  # fmt: skip

    impression_id: str
    viewer_id: str
    video_id: str
    served_s: float
    position: int
    score: float
    propensity: float
    ranker: str
    why: dict[str, Any]
    features_as_of_s: float
    """When the features in `why` were reckoned: they are not written down, and have moved on since it was served."""
    page: PageWhy | None
    """Null where it was served by a version that did not write it down."""


class FeedWhyNot(BaseModel):
    model_config = _like(video_id="cat-1", viewer_id="anna", why_not="a filter takes it: seen")

    video_id: str
    viewer_id: str
    why_not: str


class Dial(Body):
    """A dial and where it is turned to."""

    model_config = _like(action="less", target="category:food")

    action: Literal["less", "more", "explore", "reset", "undo"]
    target: str | float | None = Field(default=None, examples=["creator:creator-8", 0.8])
    """`category:NAME`, `creator:ID` or `sound:ID`; of `explore` a number from 0 to 1."""


class DialsBody(BaseModel):
    model_config = _like(viewer_id="anna", explore=None, wanted={"category:food": "less"})

    viewer_id: str
    explore: float | None = None
    """0: nothing new, 1: much; null: as the system thinks."""
    wanted: dict[str, Literal["less", "more"]]


class ProblemBody(BaseModel):
    """RFC 9457."""

    type: str
    title: str
    status: int
    detail: str
    request_id: str


class Health(BaseModel):
    model_config = _like(status="ok")

    status: Literal["ok"]


class Ready(BaseModel):
    """Whether everything that an answer needs is there; ingest may be down, and answers go on."""

    model_config = _like(
        ready=True,
        ledger="ok",
        rows=19,
        table="ok",
        feed="ok",
        ingest={"state": "working", "pid": 12888, "silent_s": 4.9},
    )

    ready: bool
    ledger: str
    """`ok`, or what kind of error it is."""
    rows: int | None = None
    table: str
    feed: Literal["ok", "loading", "none"]
    """`loading`: pages are answered 503 until it is `ok`; `none`: whoever asks for the first one waits for it."""
    ingest: dict[str, Any]
    """What the ingest worker said last: at least its `state`."""


class IndexHealth(BaseModel):
    model_config = _like(rows=19, fragments=2, version=7, has_vector_index=False, unindexed_rows=0, upkeep_is_due=False)

    rows: int
    fragments: int
    version: int
    has_vector_index: bool
    unindexed_rows: int
    upkeep_is_due: bool
