"""What viewers do comes in here, and all of it goes again when one of them is erased."""

from __future__ import annotations

import asyncio
import json
from typing import Annotated

from fastapi import APIRouter, Path, Response

from index.access import Key
from index.records import Event
from recommend.events import BadEvent, event_of
from service.web.bodies import ID_CHARS, ErasedViewer, EventBody, EventFate, EventFates, Events
from service.web.doors import Behind, as_json, only
from service.web.problems import Problem

router = APIRouter(tags=["viewers"])
ViewerId = Annotated[str, Path(min_length=1, max_length=200, pattern=f"^{ID_CHARS}+$", examples=["anna"])]


@router.post("/v1/events", summary="Tell what viewers did", response_model=EventFates)
async def events(said: Events, behind: Behind, key: Annotated[Key, only("events", "feed")]) -> Response:
    """Answers when all of it is on the disk. An event counts once, by its id, however often it is sent: send again
    whatever was not answered. What cannot be true is kept apart, and told with its reason; the rest is taken.

    A key that is bound to a viewer tells what that viewer did, and nothing else.
    """
    if key.viewer_id is not None and (other := {one.viewer_id for one in said.events} - {key.viewer_id}):
        raise _of_another(key, min(other))
    made, fates = [], dict[int, EventFate]()
    unreadable: list[tuple[str, str, str]] = []
    for place, one in enumerate(said.events):
        try:
            made.append((place, _event(one)))
        except BadEvent as error:
            unreadable.append((json.dumps(one.model_dump()), "bad_event", str(error)))
            fates[place] = EventFate.aside(one.event_id, "bad_event", str(error))
    possible, impossible = await asyncio.to_thread(
        behind.library.judge_events, [event for _, event in made], unreadable
    )
    apart = {id(event): (reason, detail) for event, reason, detail in impossible}
    accepted = await asyncio.wrap_future(behind.home.behaviour.append_soon(possible))
    new = set(accepted.accepted)
    for place, event in made:
        if id(event) in apart:
            fates[place] = EventFate.aside(event.event_id, *apart[id(event)])
        else:
            fates[place] = EventFate(event_id=event.event_id, state="accepted" if event.event_id in new else "repeated")
            new.discard(event.event_id)  # twice in one request: once new
    return as_json(EventFates.of([fates[place] for place in range(len(said.events))]))


@router.delete("/v1/viewers/{viewer_id:path}", summary="Forget a viewer", response_model=ErasedViewer)
def erase(viewer_id: ViewerId, behind: Behind, key: Annotated[Key, only("events", "feed")]) -> ErasedViewer:
    """All that this viewer did and was shown, and what was made of it; it has left the disk when this answers."""
    if key.viewer_id not in (None, viewer_id):
        raise _of_another(key, viewer_id)
    return ErasedViewer(erased=behind.library.erase_viewer(viewer_id))


def _event(said: EventBody) -> Event:
    return event_of(said.model_dump(exclude_none=True))


def _of_another(key: Key, viewer_id: str) -> Problem:
    return Problem(403, "wrong_viewer", f"this key is {key.viewer_id!r}'s, got {viewer_id!r}"[:500])
