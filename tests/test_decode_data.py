"""Every real and every hostile file becomes a clip or a reason, and agrees with what another program found in it."""

from __future__ import annotations

import csv
import os
import resource
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from ingest.clip import Clip, MediaError
from ingest.decode import ChildDied, DecodePool

pytestmark = pytest.mark.data

SETS = ("open", "localonly")
KINDS = ("videos", "hostile", "labelled", "speech")
CATCH_ALL = {"child_died", "child_lied", "format_not_allowed", "undecodable"}
"""Reasons that say little about what is wrong."""

NO_CLIP = {
    "hostile/fuzz_images/cowboy_small.gif": "its only frame claims to be shown for 655 s",
}
"""Files that another program decodes, and that are refused all the same. Still pictures are found by rule below."""

FRAME_COUNTS_DIFFER = {
    "hostile/misc/corrupted.mp4": "the other program stopped at the first damaged packet",
    "videos/decord/corrupted.mp4": "the other program stopped at the first damaged packet",
    "videos/fate-suite/h264__displaymatrix.mp4": "the end is missing; one more frame is in the decoder",
}
OTHER_PROGRAM_STOPPED_AT = 400
"""It counted no more frames than that."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    name: str
    row: Mapping[str, str]
    clip: Clip | None
    error: MediaError | None


@pytest.fixture(scope="module")
def outcomes() -> list[Outcome]:
    where = os.environ.get("FIRSTLOOK_BENCH_DATA")
    if not where or not Path(where).is_dir():
        pytest.skip("FIRSTLOOK_BENCH_DATA does not name a folder")
    rows: dict[Path, Mapping[str, str]] = {}
    for part in SETS:
        with (Path(where) / part / "MANIFEST.csv").open(encoding="utf-8") as manifest:
            rows |= {Path(where) / part / row["file"]: row for row in csv.DictReader(manifest)}
    files = [
        path
        for part in SETS
        for kind in KINDS
        for path in sorted((Path(where) / part / kind).rglob("*"))
        if path.is_file()
    ]

    def outcome(path: Path) -> Outcome:
        name = "/".join(path.relative_to(where).parts[1:])
        row = rows.get(path, {})
        try:
            return Outcome(name=name, row=row, clip=pool.decode(path), error=None)
        except MediaError as error:
            return Outcome(name=name, row=row, clip=None, error=error)

    with DecodePool(2) as pool, ThreadPoolExecutor(2) as threads:
        return list(threads.map(outcome, files))


def is_still(outcome: Outcome) -> bool:
    row = outcome.row
    drawn = row["container"] == "gif" or outcome.name.endswith(".avif")
    return row["kind"] == "image" or (drawn and row["frames_decoded"] == "1")


def test_every_file_is_a_clip_or_a_reason(outcomes: list[Outcome]) -> None:
    assert len(outcomes) > 1000
    reasons = Counter(outcome.error.reason if outcome.error else "a clip" for outcome in outcomes)
    print("\n" + "\n".join(f"{count:5} {reason}" for reason, count in reasons.most_common()))
    failures = sum(outcome.error is not None for outcome in outcomes)
    vague = sum(count for reason, count in reasons.items() if reason in CATCH_ALL)
    print(f"{vague} of {failures} failures under a reason that says little")
    assert vague <= 0.05 * failures


def test_no_file_kills_a_child(outcomes: list[Outcome]) -> None:
    assert [(outcome.name, outcome.error) for outcome in outcomes if isinstance(outcome.error, ChildDied)] == []


def test_what_another_program_decodes_is_a_clip(outcomes: list[Outcome]) -> None:
    lost = {
        outcome.name: str(outcome.error)
        for outcome in outcomes
        if outcome.row.get("probe") == "ok" and outcome.error and not is_still(outcome) and outcome.name not in NO_CLIP
    }
    assert lost == {}


def test_still_pictures_are_told_apart(outcomes: list[Outcome]) -> None:
    still = [o for o in outcomes if o.row.get("probe") == "ok" and is_still(o) and o.name not in NO_CLIP]
    assert len(still) > 50
    assert {outcome.error.reason for outcome in still if outcome.error} == {"still_image"}


def test_as_many_frames_as_another_program_counts(outcomes: list[Outcome]) -> None:
    differ = {
        outcome.name: (outcome.row["frames_decoded"], outcome.clip.facts.frame_count)
        for outcome in outcomes
        if outcome.clip is not None
        and outcome.clip.facts.video_codec is not None
        and outcome.row.get("probe") == "ok"
        and outcome.row["frames_decoded"]
        and int(outcome.row["frames_decoded"]) != outcome.clip.facts.frame_count
        and int(outcome.row["frames_decoded"]) != OTHER_PROGRAM_STOPPED_AT
        and outcome.name not in FRAME_COUNTS_DIFFER
    }
    assert differ == {}


def test_sizes_and_durations_are_those_of_the_headers(outcomes: list[Outcome]) -> None:
    """Most: headers claim what is not there, and pixels that are not square are shown wider than they are stored."""
    whole = [o for o in outcomes if o.clip is not None and o.row.get("probe") == "ok" and not o.clip.facts.truncated]
    durations = [
        abs(float(o.row["duration_s"]) - o.clip.facts.duration_s) <= max(0.1, 0.05 * o.clip.facts.duration_s)
        for o in whole
        if o.clip is not None and o.row["duration_s"]
    ]
    sizes = [
        sorted((int(o.row["width"]), int(o.row["height"]))) == sorted((o.clip.facts.width, o.clip.facts.height))
        for o in whole
        if o.clip is not None and o.row["width"] and o.clip.facts.video_codec
    ]
    print(f"\n{sum(durations)} of {len(durations)} durations and {sum(sizes)} of {len(sizes)} sizes agree")
    assert sum(durations) >= 0.97 * len(durations)
    assert sum(sizes) >= 0.94 * len(sizes)


def test_turns_are_those_of_the_display_matrix(outcomes: list[Outcome]) -> None:
    turned = [o for o in outcomes if o.clip is not None and o.row.get("rotation") not in {None, "", "0"}]
    assert len(turned) >= 5
    for outcome in turned:
        assert outcome.clip is not None
        assert outcome.clip.facts.rotation_deg == -int(float(outcome.row["rotation"])) % 360  # it counts leftward


SPARED = ("open/videos", "localonly/videos", "localonly/labelled/panda70m_samples", "open/hostile", "localonly/hostile")


@pytest.fixture(scope="module")
def shared_files() -> list[Path]:
    where = os.environ.get("FIRSTLOOK_BENCH_DATA")
    if not where or not Path(where).is_dir():
        pytest.skip("FIRSTLOOK_BENCH_DATA does not name a folder")
    return [path for folder in SPARED for path in sorted((Path(where) / folder).rglob("*")) if path.is_file()]


def decoded_by(child_module: str, files: list[Path]) -> tuple[list[Clip | MediaError], float]:
    """What becomes of each file, and the CPU seconds of the children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    outcomes: list[Clip | MediaError] = []
    with DecodePool(child_module=child_module) as pool:
        for path in files:
            try:
                outcomes.append(pool.decode(path))
            except MediaError as error:
                outcomes.append(error)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return outcomes, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def same(one: Clip | MediaError, other: Clip | MediaError) -> bool:
    if isinstance(one, MediaError) or isinstance(other, MediaError):
        return str(one) == str(other)
    names = ("frames", "frame_times_s", "text_frames", "text_frame_times_s", "waveform")
    equal = all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names)
    return equal and one.facts == other.facts


def test_what_is_left_out_in_decoding_changes_no_clip(shared_files: list[Path]) -> None:
    whole, whole_cpu_s = decoded_by("whole_child", shared_files)
    ours, ours_cpu_s = decoded_by("ingest.decode_child", shared_files)
    assert [str(path) for path, a, b in zip(shared_files, whole, ours, strict=True) if not same(a, b)] == []
    print(f"\n{len(whole)} files: {whole_cpu_s:.1f} CPU-s whole, {ours_cpu_s:.1f} CPU-s without what nobody wants")


def test_most_clips_need_not_be_decoded_whole(shared_files: list[Path]) -> None:
    whole, _ = decoded_by("whole_child", shared_files)
    able = [
        path
        for path, clip in zip(shared_files, whole, strict=True)
        if isinstance(clip, Clip) and clip.facts.video_codec in {"h264", "hevc"}
    ]
    sparing, sparing_cpu_s = decoded_by("sparing_child", able)
    _, whole_cpu_s = decoded_by("whole_child", able)
    not_spared = [outcome for outcome in sparing if isinstance(outcome, MediaError)]
    print(f"\n{len(able) - len(not_spared)} of {len(able)} H.264 and HEVC clips are not decoded whole:")
    print(f"{whole_cpu_s:.1f} CPU-s whole, {sparing_cpu_s:.1f} CPU-s without what nobody wants")
    print("\n".join(f"{count:5} {why}" for why, count in Counter(map(str, not_spared)).most_common()))
    assert len(not_spared) <= 0.15 * len(able)
