"""Records as tables for people and as JSON for programs (docs/json.md)."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from index.records import PRESENT, Failure, Video
from service.library import Match, Summary

_CAPTION_CHARS = 48


def summary(ended: Summary) -> None:
    """How an ingest ended, in a few lines."""
    console = _console()
    console.print(
        f"{ended.uploads} uploads: {ended.videos} videos, {ended.failures} failures"
        + (f", {ended.pending} waiting" if ended.pending else "")
        + f" ({ended.skipped} needed no work, {ended.partial} partial)"
        + f" in {ended.seconds:.1f} s, {ended.videos_per_second:.1f} a second"
    )
    for reason, count in ended.reasons.items():
        console.print(f"  {count:6} {reason}")
    if ended.extra_paths:
        console.print(f"  {len(ended.extra_paths)} more paths hold bytes that were named already")


def summary_json(ended: Summary) -> dict[str, Any]:
    extra = [{"path": path, "video_id": video_id} for path, video_id in ended.extra_paths.items()]
    return asdict(ended) | {"extra_paths": extra}


def hits(found: Sequence[Match]) -> None:
    """Hits with the share of each modality."""
    names = sorted({name for hit in found for name in hit.modalities})
    table = Table(box=None, header_style="bold")
    for title in ("", "score", *names, "video", "seen, said, written"):
        table.add_column(title, justify="right" if title in ("", "score", *names) else "left", overflow="fold")
    for rank, hit in enumerate(found, start=1):
        shares = [f"{hit.modalities[name]:.2f}" if name in hit.modalities else "·" for name in names]
        table.add_row(str(rank), f"{hit.score:.3f}", *shares, hit.video_id, in_words(hit.video))
    console = _console()
    console.print(table if found else "nothing found")


def in_words(video: Video) -> str:
    """One line that lets a person recognise a video: its caption, or what is seen and read in it and its file."""
    caption = " ".join(video.upload.caption.split())
    if caption:
        return caption if len(caption) <= _CAPTION_CHARS else caption[: _CAPTION_CHARS - 1] + "…"
    tags = ", ".join(tag.name for tag in video.tags[:2])
    written = f"“{' '.join(video.onscreen_text.split())[:24]}”" if video.onscreen_text else ""
    name = video.upload.uri.rsplit("/", 1)[-1]
    return "; ".join(part for part in (f"({tags})" if tags else "", written, name) if part)


def record(found: Video | Failure) -> None:
    """A record, whole: arrays by shape, the rest as it is."""
    console = _console()
    if isinstance(found, Failure):
        console.print(f"Failure {found.video_id}: {found.reason} in {found.step}, {found.attempts} attempts")
        console.print(f"  {found.detail}\n  {found.uri}")
        return
    upload, facts = found.upload, found.facts
    console.print(f"Video {upload.video_id}, revision {upload.revision}, {found.space}")
    rows: dict[str, Any] = {
        "uri": upload.uri,
        "content": f"sha256 {upload.content_sha256[:16]}…",
        "creator": upload.creator_id,
        "caption": upload.caption or None,
        "hashtags": " ".join(f"#{tag}" for tag in upload.hashtags) or None,
        "sound_id": upload.sound_id,
        "language": upload.language,
        "uploaded": upload.uploaded_at.isoformat() if upload.uploaded_at else None,
        "visibility": upload.visibility,
        "picture": f"{facts.width}x{facts.height} {facts.video_codec}, {facts.fps:.1f} fps, {facts.frame_count} frames"
        if facts.video_codec
        else None,
        "sound": f"{facts.audio_codec} {facts.audio_rate_hz} Hz" if facts.audio_codec else None,
        "duration": f"{facts.duration_s:.2f} s",
        "tags": ", ".join(f"{tag.name} {tag.probability:.2f}" for tag in found.tags) or None,
        "on screen": " / ".join(found.onscreen_text.splitlines()) or None,
        "said": found.transcript or None,
        "speech": ", ".join(f"{start:.1f}–{end:.1f} s" for start, end in found.speech_segments_s) or None,
        "signals": ", ".join(f"{name} {value:.3g}" for name, value in sorted(found.signals.items())),
        **{f"vector {name}": f"{vector.shape} {vector.dtype}, unit" for name, vector in found.vectors.items()},
        "fused": f"{found.fused.shape} {found.fused.dtype}",
        "absent": ", ".join(f"{name}: {why}" for name, why in found.mask.items() if why != PRESENT) or None,
    }
    for name, value in rows.items():
        if value is not None:
            console.print(f"  {name:14} {value}")


def plain(found: Video | Failure) -> dict[str, Any]:
    """A record as JSON; vectors as base64 of little-endian float32."""
    if isinstance(found, Failure):
        return {"failure": asdict(found)}
    upload = asdict(found.upload)
    upload["uploaded_at"] = found.upload.uploaded_at.isoformat() if found.upload.uploaded_at else None
    vectors = {"fused": found.fused, **found.vectors}
    return {
        **upload,
        "space": found.space,
        "partial": found.partial,
        "mask": dict(found.mask),
        "tags": [asdict(tag) for tag in found.tags],
        "onscreen_text": found.onscreen_text,
        "transcript": found.transcript,
        "speech_segments_s": [list(segment) for segment in found.speech_segments_s],
        "signals": dict(found.signals),
        "facts": asdict(found.facts),
        "thumbnail_sha256": found.thumbnail_sha256,
        "vectors": {
            name: {"dim": len(vector), "float32_base64": base64.b64encode(vector.astype("<f4").tobytes()).decode()}
            for name, vector in vectors.items()
        },
    }


def status(counts: Mapping[str, Any]) -> None:
    console = _console()
    console.print(f"{counts['home']}, space {counts['space']}")
    for name in ("uploads", "videos", "failures", "partial", "pending"):
        console.print(f"  {counts[name]:8} {name}")
    for reason, count in counts["reasons"].items():
        console.print(f"           {count:6} {reason}")
    if counts["rows"] != counts["videos"] and not counts["pending"]:
        console.print(f"  the table holds {counts['rows']} rows: run firstlook ingest, which makes the lost ones again")
    others = [space for space in counts["spaces"] if space != counts["space"]]
    if others:
        console.print(f"  other spaces: {', '.join(others)}")


def failures(found: Sequence[Failure]) -> None:
    console = _console()
    for reason, count in Counter(failure.reason for failure in found).most_common():
        console.print(f"{reason} ({count})")
        for failure in found:
            if failure.reason == reason:
                tries = f", {failure.attempts} attempts" if failure.attempts > 1 else ""
                console.print(f"  {failure.video_id}  {failure.uri}  [{failure.step}{tries}] {failure.detail}")
    if not found:
        console.print("no failures")


def _console() -> Console:
    return Console(highlight=False, markup=False, soft_wrap=True)
