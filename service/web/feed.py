"""Feeds: a viewer's next page, why it is what it is, and his dials.

Whose feed it is, a key that is bound to a viewer says by itself; a backend's, for `feed:any`, says it in `X-Viewer`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from fastapi import APIRouter, Header, Path, Query, Response

from index.access import Key
from recommend.faults import UnknownDial
from service.cli_feed import page_json
from service.library import EmptyLibrary, StillLoading
from service.web.bodies import ID_CHARS, TEXT, Dial, DialsBody, FeedWhy, FeedWhyNot, PageBody, PageWhy, VideoId
from service.web.doors import Behind, Doors, as_json, only
from service.web.problems import Problem, problems

if TYPE_CHECKING:
    from service.recommender import Recommender

WAIT_S = 2.0
"""So long a page waits for feeds that are being loaded: longer, and those who wait keep searches from their threads."""

router = APIRouter(tags=["feed"])
ViewerId = Annotated[str, Path(min_length=1, max_length=200, pattern=f"^{ID_CHARS}+$", examples=["anna"])]
FeedKey = Annotated[Key, only("feed", "feed:any")]
Languages = Annotated[
    list[Annotated[str, Query(max_length=40, pattern=TEXT)]],
    Query(max_length=20, description="That the viewer reads; none: any", examples=[["en", "fr"]]),
]


ImpressionId = Annotated[
    str, Path(min_length=1, max_length=200, pattern=f"^{ID_CHARS}+$", examples=["c8d087b163547e5bf78122d9-0"])
]
XViewer = Annotated[
    str | None,
    Header(
        max_length=200, pattern=f"^{ID_CHARS}*$", description="Whose feed, with a key for `feed:any`", examples=["anna"]
    ),
]


@router.get("/v1/feed", summary="The next page of a feed", response_model=PageBody, responses=problems(409))
def feed(
    behind: Behind,
    key: FeedKey,
    x_viewer: XViewer = None,
    k: Annotated[int, Query(ge=1, le=100)] = 20,
    session: Annotated[str, Query(max_length=200, pattern=TEXT)] = "",
    language: Languages = [],  # noqa: B006  # pydantic copies it
    why: Annotated[bool, Query(description="Say what moved each score most: some ms a video")] = False,
) -> Response:
    """What was served is written down before this answers, with the probability that each video had for its place. It
    does not come again in the same session; of what the viewer saw, the last 2,000 do not come again for
    thirty days."""
    viewer, recommender = _viewer(key, x_viewer), _recommender(behind)
    page = recommender.feed(viewer, k=k, session_id=session, languages=language)
    return as_json(PageBody.model_validate(page_json(page, recommender.strongest(page) if why else {})))


@router.get(
    "/v1/feed/why/{impression_id:path}",
    summary="Why a video was served",
    response_model=FeedWhy,
    responses=problems(404, 409),
)
def why(impression_id: ImpressionId, behind: Behind, key: FeedKey) -> FeedWhy:
    """What was written down when it was, whenever that is asked: for whoever wonders about a page of last week.

    `why.features` are what would move its score most as of `features_as_of_s`: the viewer's state and the counts have
    moved on since."""
    recommender = _recommender(behind)
    served = recommender.served(impression_id)
    if served is None or key.viewer_id not in (None, served.viewer_id):
        raise Problem(404, "not_found", f"no impression {impression_id!r}"[:500])
    _own(key, served.viewer_id)
    said = recommender.why(served)
    return FeedWhy(
        impression_id=impression_id,
        viewer_id=served.viewer_id,
        video_id=served.video_id,
        served_s=served.time_s,
        position=served.position,
        score=served.score,
        propensity=served.propensity,
        ranker=str(served.reasons.get("ranker", "")),
        why=dict(said.why),
        features_as_of_s=said.features_as_of_s,
        page=None if said.page is None else PageWhy(**said.page),
    )


@router.get(
    "/v1/feed/why-not/{video_id:path}",
    summary="Why a video is not on the page",
    response_model=FeedWhyNot,
    responses=problems(409),
)
def why_not(
    video_id: VideoId,
    behind: Behind,
    key: FeedKey,
    x_viewer: XViewer = None,
    language: Languages = [],  # noqa: B006
) -> FeedWhyNot:
    """Where it falls out: no source, a filter, the ranking, or a cap."""
    viewer = _viewer(key, x_viewer)
    said = _recommender(behind).why_not(video_id, viewer, languages=language)
    return FeedWhyNot(video_id=video_id, viewer_id=viewer, why_not=said)


@router.get(
    "/v1/viewers/{viewer_id:path}/dials", summary="A viewer's dials", response_model=DialsBody, responses=problems(409)
)
def dials(viewer_id: ViewerId, behind: Behind, key: FeedKey) -> DialsBody:
    return _dials(behind, _own(key, viewer_id))


@router.post(
    "/v1/viewers/{viewer_id:path}/dials", summary="Turn a dial", response_model=DialsBody, responses=problems(409)
)
def turn(viewer_id: ViewerId, said: Dial, behind: Behind, key: FeedKey) -> DialsBody:
    """The next page follows it, in the same session. `less` and `more` reorder; a `block` event filters."""
    try:
        _recommender(behind).dial(_own(key, viewer_id), said.action, said.target)
    except UnknownDial as error:
        raise Problem(422, "unknown_dial", str(error)) from error
    return _dials(behind, viewer_id)


@router.delete("/v1/viewers/{viewer_id:path}/dials", include_in_schema=False)
def not_erased(viewer_id: ViewerId, _key: FeedKey) -> None:
    """Or `DELETE /v1/viewers/{id}` would take it for a viewer whose id ends so."""
    raise Problem(405, "wrong_method", "dials are turned back with reset", headers={"Allow": "GET, POST"})


def _dials(behind: Doors, viewer_id: str) -> DialsBody:
    return DialsBody(viewer_id=viewer_id, **_recommender(behind).dials(viewer_id))


def _viewer(key: Key, said: str | None) -> str:
    """Whose feed is asked for."""
    if key.viewer_id is None and not said:
        raise Problem(400, "no_viewer", "this key is bound to no viewer: X-Viewer says whose feed it is")
    return _own(key, said or key.viewer_id or "")


def _own(key: Key, viewer_id: str) -> str:
    """The viewer, if the key may speak for him."""
    if key.viewer_id not in (None, viewer_id):
        raise Problem(403, "wrong_viewer", f"this key is {key.viewer_id!r}'s, got {viewer_id!r}"[:500])
    if key.viewer_id is None and not key.may("feed:any"):
        raise Problem(403, "wrong_viewer", "this key is bound to no viewer, and is not for feed:any")
    return viewer_id


def _recommender(behind: Doors) -> Recommender:
    try:
        return behind.library.recommender(WAIT_S)
    except EmptyLibrary as error:
        raise Problem(409, "empty", str(error)) from error
    except StillLoading as error:
        raise Problem(503, "loading", f"{error}; come again", headers={"Retry-After": "5"}) from error
