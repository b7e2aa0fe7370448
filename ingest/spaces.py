"""Spaces: which encoders, weights, sampling and fusion make up one way of turning videos into vectors.

A space's id is the hash of everything that decides what a vector means. `local` needs no download: its weights arrive
as packages. `local-fast` is the same eye on frames that are cheaper to reach.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from encoders.models import ModelMissing
from encoders.onscreen import OnScreenText
from encoders.sound import Sound
from encoders.speech import Speech
from encoders.text import Text
from encoders.transcript import Transcript
from encoders.vision import Vision
from index.records import FAILED, Space, canonical_json
from ingest import clip
from ingest.decode_wire import Sampling
from ingest.encode import OFF, Encoders

RULES = 1
"""Raise it when code changes what becomes of the same bytes and words, and nothing else in the spec does."""
WEIGHTS = {"vision": 0.35, "text": 0.55, "sound": 0.1}
"""What a modality counts in a score. On 40 captioned clips more text finds more of the same category (vision .25: mAP
.516, .3: .507, .5: .478), but the text encoder reads English only, and vision has to carry the rest. Sound alone says
little of a category (.187 where chance is .173)."""
TEXT_QUERY_WEIGHTS = {"vision": 0.25, "text": 0.75}
"""The same when words are the query; vision by the picture that the words would make. .25 to .4 differ by one clip."""
FILE_QUERY_WEIGHTS = {"vision": 0.6, "text": 0.3, "sound": 0.1}
"""The same when a file is: nobody wrote a caption for it, so its text is weaker evidence than that of an upload."""
TEXT_SHARES = {"caption": 1.0, "hashtags": 0.5, "tags": 0.5, "onscreen": 0.5, "transcript": 0.5}
"""What each text counts in the text vector. Caption to tags was measured best near 2 : 1; the others are assumed."""
WHISPER_SETTING = "FIRSTLOOK_WHISPER"
"""Names the environment variable with the path of an openai-whisper checkpoint; without it there is no transcript."""

ENCODERS = ("vision", "onscreen", "speech", "transcript", "sound")
"""What can be switched off. Text cannot: it is what a search by words is made with."""
_CHANNELS_OF = {"vision": ("vision", "tags"), "speech": ("speech",)}


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """What an operator chooses of a space."""

    name: str = "local"
    sampling: Sampling = "full"
    without: tuple[str, ...] = ()
    """Of `ENCODERS`, sorted."""

    def __post_init__(self) -> None:
        unknown = set(self.without) - set(ENCODERS)
        if unknown:
            raise ValueError(f"cannot go without {sorted(unknown)}; one can go without {list(ENCODERS)}")


RECIPES = {"local": Recipe(), "local-fast": Recipe(name="local-fast", sampling="fast")}


class SpaceChanged(Exception):
    """The encoders installed now are not those that a space was made with."""


def recipe_of(space: Space) -> Recipe:
    """The choices that a recorded space was made with."""
    return Recipe(name=space.name, sampling=space.spec["sampling"]["mode"], without=tuple(space.spec["without"]))


def open_space(recipe: Recipe, *, threads: int, recorded: Space | None = None) -> tuple[Encoders, Space]:
    """Load the encoders of a recipe, and say which space they make.

    Args:
        recipe: what the operator chose.
        threads: how many inferences may run at once.
        recorded: the space that a home holds already; the encoders have to be its own, except that a model that is
            missing now leaves its channel out of new rows, which are partial until it is back.

    Raises:
        SpaceChanged: the encoders differ from the recorded ones; the message names the parts that do.
        ModelMissing: the text encoder's weights are not there.
    """
    text = Text(threads=threads)
    loaded: dict[str, Any] = {}
    missing: dict[str, str] = {}
    for name, make in _makers(threads).items():
        if name in recipe.without:
            continue
        if recorded is not None and name not in recorded.spec["encoders"]:
            missing[name] = f"{recorded.id} was made without it"
            continue
        try:
            loaded[name] = make()
        except ModelMissing as error:
            missing[name] = str(error)
    if "speech" not in loaded:  # nobody says where to listen
        loaded.pop("transcript", None)
        missing.setdefault("transcript", "it wants the speech gate")
    space = _space(recipe, {"text": text, **loaded})
    if recorded is not None and recorded.id != space.id:
        _check_same(recorded, space, missing)
        space = recorded
    reasons = dict.fromkeys(recipe.without, OFF + "by_option")
    reasons |= {name: _missing_reason(name, recorded) for name in missing}
    encoders = Encoders(
        vision=loaded.get("vision"),
        text=text,
        onscreen=loaded.get("onscreen"),
        speech=loaded.get("speech"),
        transcript=loaded.get("transcript"),
        sound=loaded.get("sound"),
        off={channel: why for name, why in reasons.items() for channel in _CHANNELS_OF.get(name, (name,))},
        missing=missing,
    )
    return encoders, space


def open_text(recorded: Space, *, threads: int = 1) -> Text:
    """Load the text encoder alone: a search by words needs no other.

    Raises:
        SpaceChanged: it is not the one that the space was made with.
        ModelMissing: its weights are not there.
    """
    text = Text(threads=threads)
    then, now = ({"encoders": {"text": spec}} for spec in (recorded.spec["encoders"]["text"], _plain(text.spec())))
    _check_same(replace(recorded, spec=then), replace(recorded, spec=now), {})
    return text


def _makers(threads: int) -> Mapping[str, Any]:
    return {
        "vision": lambda: Vision(threads=threads),
        "onscreen": lambda: OnScreenText(threads=threads),
        "speech": Speech,
        "transcript": _transcript,
        "sound": Sound,
    }


def _transcript() -> Transcript:
    checkpoint = os.environ.get(WHISPER_SETTING)
    if not checkpoint:
        raise ModelMissing(f"no openai-whisper checkpoint configured; name one in {WHISPER_SETTING}")
    return Transcript(Path(checkpoint))


def _missing_reason(name: str, recorded: Space | None) -> str:
    """A model that the space was made with is missed (partial rows); one that it never had is off."""
    was_there = recorded is not None and name in recorded.spec["encoders"]
    return (FAILED if was_there else OFF) + "model_missing"


def _space(recipe: Recipe, encoders: Mapping[str, Any]) -> Space:
    dims = {name: encoders[name].dim for name in ("vision", "text", "sound") if name in encoders}
    total = sum(WEIGHTS[name] for name in dims)
    spec = {
        "rules": RULES,
        "encoders": {name: encoder.spec() for name, encoder in encoders.items()},
        "without": sorted(recipe.without),
        "sampling": {
            "mode": recipe.sampling,
            "frames": clip.FRAME_COUNT,
            "short_side_px": clip.SHORT_SIDE_PX,
            "long_side_max_px": clip.LONG_SIDE_MAX_PX,
            "text_frames": clip.TEXT_FRAME_COUNT,
            "text_long_side_px": clip.TEXT_LONG_SIDE_PX,
            "sample_rate_hz": clip.SAMPLE_RATE_HZ,
        },
        "text_shares": TEXT_SHARES,
    }
    weights = {name: round(WEIGHTS[name] / total, 9) for name in dims}
    return Space(name=recipe.name, spec=_plain(spec), dims=dims, weights=weights)


def _plain(spec: Mapping[str, Any]) -> dict[str, Any]:
    """A spec as it reads back from the ledger: lists, not tuples."""
    plain: dict[str, Any] = json.loads(canonical_json(spec))
    return plain


def _check_same(recorded: Space, found: Space, missing: Mapping[str, str]) -> None:
    """Allow nothing but missing encoders between a recorded space and what is installed."""
    then, now = _flat(recorded.spec), _flat(found.spec)
    gone = {f"encoders.{name}" for name in missing}
    differ = sorted(
        key
        for key in then.keys() | now.keys()
        if then.get(key) != now.get(key) and not any(key == part or key.startswith(part + ".") for part in gone)
    )
    if differ:
        shown = "; ".join(f"{key}: {_short(then.get(key))} then, {_short(now.get(key))} now" for key in differ[:4])
        raise SpaceChanged(
            f"{recorded.id} was made with other encoders than those installed ({shown}). Vectors of two spaces are "
            "never compared: put the old ones back, or ingest with --new-space to fill a second space beside it, which "
            "is then named by --space ID"
        )


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 24 else text[:16] + "…"


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(value, Mapping):
        return {prefix: value}
    parts = [_flat(inner, f"{prefix}.{name}" if prefix else name) for name, inner in value.items()]
    return {key: inner for part in parts for key, inner in part.items()}


if __name__ == "__main__":  # `make setup`: what converts networks once does it now, not while somebody waits
    _, local = open_space(RECIPES["local"], threads=1)
    print(f"{local.id} is ready")
