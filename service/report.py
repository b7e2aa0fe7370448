"""Records as tables for people and as JSON for programs (docs/json.md)."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.table import Table

from index.access import Key
from index.ledger import Job
from index.records import PRESENT, Failure, Glance, Upload, Video
from ingest.backfill import Estimate, Ran
from service.display import in_words_of_time
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


def backfill(ran: Ran) -> None:
    """How a backfill ended, in a few lines."""
    done, console = ran.progress, _console()
    ended = done.videos + done.failures
    console.print(
        f"{ran.job_id}: {done.videos} videos, {done.failures} failures"
        + (f", {ran.pending} waiting" if ran.pending else "")
        + f" in {in_words_of_time(ran.seconds)}, {ended / max(ran.seconds, 1e-9):.1f} a second"
        + (f"; stopped {ran.stopped}, and the next run goes on" if ran.stopped else "")
    )
    for reason, count in done.reasons.most_common():
        console.print(f"  {count:6} {reason}")
    if done.child_deaths or done.lost_workers:
        console.print(f"  {done.child_deaths} decode children and {done.lost_workers} workers died and were replaced")


def backfill_json(ran: Ran) -> dict[str, Any]:
    done = ran.progress
    ended, seconds = done.videos + done.failures, max(ran.seconds, 1e-9)
    return {
        "job_id": ran.job_id,
        "wanted": ran.wanted,
        "videos": done.videos,
        "failures": done.failures,
        "pending": ran.pending,
        "stopped": ran.stopped,
        "seconds": round(ran.seconds, 3),
        "videos_per_second": round(ended / seconds, 3),
        "video_hours_per_day": round(done.video_s / seconds * 24, 3),
        "reasons": dict(done.reasons.most_common()),
        "child_deaths": done.child_deaths,
        "lost_workers": done.lost_workers,
    }


def estimate(reckoned: Estimate) -> None:
    """What a backfill will take."""
    console = _console()
    cpu = "" if reckoned.cpu_s_per_video is None else f", {reckoned.cpu_s_per_video:.2f} CPU-seconds each"
    rows = {
        "to do": f"{reckoned.uploads:,} uploads, about {reckoned.video_hours:,.1f} hours of video",
        "sample": f"{reckoned.sampled} decoded and encoded, {reckoned.sampled_failures} failed",
        "speed": f"{reckoned.videos_per_second:.1f} a second on {reckoned.cores} cores{cpu}",
        "time": in_words_of_time(reckoned.hours * 3600),
        "storage": f"{_in_gb(reckoned.blob_gb)} of analyses and thumbnails, {_in_gb(reckoned.table_gb)} of table, "
        f"{_in_gb(reckoned.original_gb)} of copied originals",
        "money": f"{reckoned.money_per_1000:.4f} for 1,000 videos, {reckoned.money:,.4g} in all, at "
        f"{reckoned.price_per_core_hour:g} a core and hour (--price)",
    }
    for name, said in rows.items():
        console.print(f"{name:8} {said}")
    console.print("reckoned from the sample; other work on these cores, or a slower disk, makes it longer")


def jobs(found: Sequence[Job]) -> None:
    """Backfills, newest first."""
    console = _console()
    for job in found:
        began = datetime.fromtimestamp(job.started_s, UTC).strftime("%Y-%m-%d %H:%M UTC")
        took = in_words_of_time(job.seen_s - job.started_s)
        console.print(f"{job.job_id}  {job.state}, on {job.engine}, into {job.space_id}, begun {began}")
        console.print(
            f"    {job.videos:,} videos and {job.failures:,} failures of {job.wanted:,} in {took}: "
            f"{job.per_second:.1f} a second, {job.video_hours_per_day:,.1f} video-hours a day"
        )
        if job.detail:
            console.print(f"    {job.detail}")
    if not found:
        console.print("no backfill has run here")


def keys(found: Sequence[Key]) -> None:
    """Keys, by age."""
    console = _console()
    for key in found:
        began = datetime.fromtimestamp(key.created_s, UTC).strftime("%Y-%m-%d %H:%M UTC")
        state = "revoked" if key.revoked_s is not None else "until revoked"
        if key.revoked_s is None and key.expires_s is not None:
            state = f"until {datetime.fromtimestamp(key.expires_s, UTC):%Y-%m-%d %H:%M UTC}"
        whose = f", {key.viewer_id}'s" if key.viewer_id is not None else ""
        console.print(f"{key.key_id}  {', '.join(key.scopes)}  made {began}, {state}{whose}  {key.label}", markup=False)
    if not found:
        console.print("no keys; firstlook keys create --scope search makes one")


def _in_gb(gb: float) -> str:
    return f"{gb * 1000:.1f} MB" if gb < 1 else f"{gb:,.1f} GB"


def jobs_json(found: Sequence[Job]) -> list[dict[str, Any]]:
    rates = [
        {"per_second": round(job.per_second, 3), "video_hours_per_day": round(job.video_hours_per_day, 3)}
        for job in found
    ]
    return [asdict(job) | rate for job, rate in zip(found, rates, strict=True)]


def hits(found: Sequence[Match]) -> None:
    """Hits with the share of each modality."""
    names = sorted({name for hit in found for name in hit.modalities})
    table = Table(box=None, header_style="bold")
    for title in ("", "score", *names, "video", "seen, said, written"):
        table.add_column(title, justify="right" if title in ("", "score", *names) else "left", overflow="fold")
    for rank, hit in enumerate(found, start=1):
        shares = [f"{hit.modalities[name]:.2f}" if name in hit.modalities else "·" for name in names]
        table.add_row(str(rank), f"{hit.score:.3f}", *shares, hit.video_id, in_words(hit.upload, hit.glance))
    console = _console()
    console.print(table if found else "nothing found")


def in_words(upload: Upload, glance: Glance) -> str:
    """One line that lets a person recognise a video: its caption, or what is seen and read in it and its file."""
    caption = " ".join(upload.caption.split())
    if caption:
        return caption if len(caption) <= _CAPTION_CHARS else caption[: _CAPTION_CHARS - 1] + "…"
    tags = ", ".join(glance.tags[:2])
    written = f"“{' '.join(glance.onscreen_text.split())[:24]}”" if glance.onscreen_text else ""
    name = upload.uri.rsplit("/", 1)[-1]
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
    if counts["rows"] > counts["videos"] and not counts["pending"]:
        console.print(f"  the table holds {counts['rows']} rows: what was erased leaves it within minutes")
    if counts["rows"] < counts["videos"] and not counts["pending"]:
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
