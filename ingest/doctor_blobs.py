"""Originals, analyses, thumbnails: missing, damaged, or nobody's. See doctor.py."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from index import audit
from index.blobs import Stored, analysis_key, thumbnail_key
from index.records import Analysis
from index.survey import Surveyor, Torn, number_of
from index.table import TableMissing, TableUnreadable
from ingest.backfill import ESTIMATE
from ingest.doctor_case import BATCH, EXAMPLES, Case, Finding, Numbers, batches, readable_uploads
from ingest.uris import file_at

ORPHAN_AGE_S = 3_600.0
"""Nothing younger is an orphan: a blob is written before anybody refers to it, and registering holds no lease."""
LEFTOVER_AGE_S = 86_400.0
ORPHANS_MAX = 0.5
"""When more than this share of a kind of blob is unknown to the ledger, it is the ledger that is doubted."""
ORPHANS_MIN = 10


def originals(case: Case) -> list[Finding]:
    """Every content that an upload has is here (or where it was taken in place), and is what it was."""
    known = _numbers(audit.contents(case.home.ledger))
    there: list[Numbers] = []
    orphans: list[Stored] = []
    damaged: list[str] = []
    for some in batches(case.home.blobs.stored("original"), 10_000):
        whole = _arrived(case, some)
        numbers = _numbers(one.name for one in whole)
        there.append(numbers)
        orphans += [one for one, is_known in zip(whole, _among(numbers, known), strict=True) if not is_known]
        _count(case, "originals", whole)
        if case.deep:
            damaged += [one.name for one in whole if _is_damaged(case, one)]
    found = []
    if damaged:
        case.damaged |= set(damaged)
        sentence = "Originals are not what was handed in, and nothing can make them again. Rows stay; uploads: "
        found.append(_of_uploads(case, "original_damaged", damaged, sentence))
    gone = known[~_among(known, np.sort(np.concatenate([np.empty(0, np.uint64), *there])))]
    lost = _gone_originals(case, gone)
    if lost:
        sentence = "Originals are gone, from here and from where they came. Rows stay; uploads: "
        found.append(_of_uploads(case, "original_missing", lost, sentence))
    return found + _orphans(case, "original", orphans, "no upload has them", int(case.figures.get("originals", 0)))


def analyses(case: Case) -> list[Finding]:
    """Every video has its analysis, from which its row can be made again; nobody else has one."""
    found = []
    known = _numbers(audit.contents(case.home.ledger))
    spaces = {space.id: space for space in case.home.ledger.spaces()}
    for name in sorted({*spaces, *case.home.blobs.spaces()}):
        there: list[Numbers] = []
        orphans: list[Stored] = []
        torn: list[str] = []
        total = 0
        for some in batches(case.home.blobs.stored(f"analysis/{name}"), 10_000):
            whole = _arrived(case, some)
            numbers = _numbers(one.name for one in whole)
            total += len(whole)
            there.append(numbers)
            kept = _among(numbers, known) if name in spaces else np.zeros(len(whole), np.bool_)
            orphans += [one for one, is_known in zip(whole, kept, strict=True) if not is_known]
            _count(case, "analyses", whole)
            if case.deep and name in spaces:
                torn += [
                    one.name
                    for one, is_known in zip(whole, kept, strict=True)
                    if is_known and case.analysis(one.name, name) == "torn"
                ]
        found += _orphans(case, "analysis", orphans, "no upload has their content, or their space is gone", total)
        if name not in spaces:
            continue
        if torn:
            sentence = "Analyses are torn. Rows made from them stay, but could not be made again"
            found += _analyse_again(case, "analysis_torn", torn, name, sentence)
        gone = known[~_among(known, np.sort(np.concatenate([np.empty(0, np.uint64), *there])))]
        lacking = [content for content in _named(case, gone) if _has_video(case, name, content)]
        if lacking:
            sentence = "Analyses of videos are gone. Their rows stay, but could not be made again"
            found += _analyse_again(case, "analysis_missing", lacking, name, sentence)
    return found


def thumbnails(case: Case) -> list[Finding]:
    """Every row's picture is here, and is what its name says; nobody else has one."""
    wanted = _wanted_thumbnails(case)
    there: list[Numbers] = []
    strays: list[Stored] = []
    damaged: list[str] = []
    for some in batches(case.home.blobs.stored("thumbnail"), 10_000):
        whole = _arrived(case, some)
        numbers = _numbers(one.name for one in whole)
        there.append(numbers)
        _count(case, "thumbnails", whole)
        if wanted is not None:
            strays += [one for one, is_wanted in zip(whole, _among(numbers, wanted), strict=True) if not is_wanted]
        if case.deep:
            damaged += [one.name for one in whole if _is_damaged(case, one)]
    found = []
    if strays:
        referred = _thumbnails_without_row(case)
        strays = [one for one in strays if one.name not in referred]
        reason = "no row and no analysis refers to them"
        found += _orphans(case, "thumbnail", strays, reason, int(case.figures.get("thumbnails", 0)))
    here = np.sort(np.concatenate([np.empty(0, np.uint64), *there]))
    bad = {number_of(name) for name in damaged}
    if case.rows is not None:
        lacking = case.rows.thumbnails[~_among(case.rows.thumbnails, here) & (case.rows.thumbnails != 0)]
        found += _pictures_again(case, "thumbnail_missing", set(lacking.tolist()), "Thumbnails of rows are gone", [])
    used = bad & set(case.rows.thumbnails.tolist()) if case.rows is not None and bad else set()
    if used:
        names = [name for name in damaged if number_of(name) in used]
        found += _pictures_again(case, "thumbnail_damaged", used, "Thumbnails are not what was drawn", names)
    return found


def leftovers(case: Case) -> list[Finding]:
    """Nothing lies about that a kill left half written."""
    old = [one for one in case.arriving if case.clock() - one.mtime_s > LEFTOVER_AGE_S]
    found = []
    if old:
        done = ""
        if case.fix:
            for one in old:
                case.home.blobs.delete(one.key)
            done = "deleted"
        sentence = "Blobs were being written by somebody who was killed"
        size = sum(one.size for one in old)
        names = [one.key for one in old]
        found.append(
            case.found("leftover_blob", names, sentence, harmful=False, bytes=size, done=done, repaired=bool(done))
        )
    if "://" not in case.home.tables_url:
        new = list(Path(case.home.tables_url).glob(".new-*"))
        found += _old_folders(case, "leftover_table", new, "Tables were being made by somebody who was killed")
    samples = list(case.home.folder.glob(f"{ESTIMATE}*"))
    return found + _old_folders(case, "leftover_estimate", samples, "Estimates were being made when they were killed")


def _old_folders(case: Case, kind: str, paths: Sequence[Path], sentence: str) -> list[Finding]:
    old = [path for path in paths if case.clock() - path.stat().st_mtime > LEFTOVER_AGE_S]
    if not old:
        return []
    done = ""
    if case.fix:
        for path in old:
            shutil.rmtree(path)
        done = "deleted"
    names = [path.name for path in old]
    return [case.found(kind, names, sentence, harmful=False, done=done, repaired=bool(done))]


def _arrived(case: Case, blobs: Sequence[Stored]) -> list[Stored]:
    """Those that are in their place; the others are noted for `leftovers`."""
    case.arriving += [one for one in blobs if one.arriving]
    return [one for one in blobs if not one.arriving]


def _is_damaged(case: Case, blob: Stored) -> bool:
    try:
        return case.home.blobs.sha256(blob.key) != blob.name
    except FileNotFoundError:  # deleted since it was listed
        return False


def _orphans(case: Case, kind: str, orphans: Sequence[Stored], reason: str, total: int) -> list[Finding]:
    """Blobs that nobody refers to, unless they have only just come."""
    old = [one for one in orphans if case.clock() - one.mtime_s > ORPHAN_AGE_S]
    if not old:
        return []
    size = sum(one.size for one in old)
    sentence = f"{reason[0].upper()}{reason[1:]}"
    done = ""
    if case.fix and len(old) >= ORPHANS_MIN and len(old) > ORPHANS_MAX * total:
        done = f"kept: {len(old)} of {total} is so many that these may be blobs of another home, or of a lost ledger"
    elif case.fix and kind == "original":  # nobody can make one again, should the ledger be the one that is wrong
        for one in old:
            case.home.blobs.set_aside(one.key, case.today)
        done = f"moved to quarantine/{case.today} beside the blobs, and yours to delete"
    elif case.fix:
        for one in old:
            case.home.blobs.delete(one.key)
        done = "deleted"
    return [
        case.found(
            f"orphan_{kind}", [one.key for one in old], sentence, harmful=False, bytes=size, done=done,
            repaired=done != "" and not done.startswith("kept"),
        )
    ]  # fmt: skip


def _of_uploads(case: Case, kind: str, contents: Sequence[str], sentence: str) -> Finding:
    uploads = audit.videos_of(case.home.ledger, case.space.id, contents[:BATCH])
    ids = sorted(one.video_id for standings in uploads.values() for one in standings)
    more = "" if len(ids) <= EXAMPLES else f" and {len(ids) - EXAMPLES} more"
    return case.found(kind, contents, sentence + (", ".join(ids[:EXAMPLES]) + more or "of older revisions only"))


def _gone_originals(case: Case, numbers: Numbers) -> list[str]:
    """Of contents that are not here, those that are current, and not where they were taken in place either."""
    lost = []
    for some in batches(_named(case, numbers), BATCH):
        standings = audit.videos_of(case.home.ledger, case.space.id, some)
        ids = [one.video_id for each in standings.values() for one in each if one.state != "failure"]
        for upload in readable_uploads(case, ids).values() if ids else ():
            if file_at(upload.uri) is None:
                lost.append(upload.content_sha256)
    return sorted(set(lost))


def _has_video(case: Case, space_id: str, content: str) -> bool:
    standings = audit.videos_of(case.home.ledger, space_id, [content]).get(content, [])
    return any(one.state == "video" for one in standings)


def _analyse_again(
    case: Case, kind: str, contents: Sequence[str], space_id: str, sentence: str, *, pictures: Sequence[str] = ()
) -> list[Finding]:
    """Queue the uploads of these contents, where their originals are whole, so that the next ingest analyses them.

    A torn analysis, and pictures that are not what they were, are moved away: nothing is made from them.
    """
    if not case.fix:
        return [case.found(kind, contents, sentence)]
    queued: list[str] = []
    kept: list[str] = []
    for content in contents:
        standings = audit.videos_of(case.home.ledger, space_id, [content]).get(content, [])
        uploads = audit.uploads_as_they_stand(case.home.ledger, space_id, [one.video_id for one in standings])
        if not uploads:
            queued.append(content)  # of an older revision: nobody makes anything from it
        elif any(case.can_decode(upload) for upload in uploads.values()):
            case.home.ledger.requeue([one.video_id for one in standings], space_id)
            queued.append(content)
        else:
            kept.append(content)
            continue
        case.home.blobs.set_aside(analysis_key(content, space_id), case.today)
    for name in pictures:
        case.home.blobs.set_aside(thumbnail_key(name), case.today)
    found = []
    if queued:
        done = "moved to quarantine; their uploads are queued, and the next ingest decodes them again"
        found.append(case.found(kind, queued, sentence, done=done, repaired=True))
    if kept:
        done = "left: their originals are gone or damaged, so nothing can make them again"
        found.append(case.found(kind, kept, sentence, done=done))
    return found


def _pictures_again(case: Case, kind: str, numbers: set[int], sentence: str, damaged: Sequence[str]) -> list[Finding]:
    """A picture is made in the pass that analyses, so its video is analysed again."""
    if not numbers or case.rows is None:
        return []
    places = np.flatnonzero(np.isin(case.rows.thumbnails, np.array(sorted(numbers), np.uint64)))
    ids = [case.rows.video_ids[int(place)].as_py() for place in places]
    uploads = {v: u for some in batches(ids, BATCH) for v, u in readable_uploads(case, some).items()}
    contents = sorted({upload.content_sha256 for upload in uploads.values()})
    return _analyse_again(case, kind, contents, case.space.id, sentence, pictures=damaged)


def _wanted_thumbnails(case: Case) -> Numbers | None:
    """The pictures that rows of any space refer to; None where a table cannot be asked."""
    if case.rows is None:
        if case.outline is None and case.figures["ledger_videos"]:
            case.skipped.append("orphan thumbnails: the rows that may refer to them do not read")
            return None
        own = np.empty(0, np.uint64)
    else:
        own = case.rows.thumbnails
    wanted = [own]
    for space in case.home.ledger.spaces():
        if space.id == case.space.id:
            continue
        surveyor = Surveyor(case.home.tables_url, space)
        try:
            outline = surveyor.outline()
            wanted += [surveyor.keys(number, deep=False)[0].thumbnails for number in outline.fragment_ids]
        except TableMissing:
            continue
        except (TableUnreadable, Torn) as error:
            case.skipped.append(f"orphan thumbnails: the table of {space.id} does not read ({error})")
            return None
        finally:
            surveyor.close()
    return np.sort(np.concatenate(wanted))


def _thumbnails_without_row(case: Case) -> set[str]:
    """The pictures that analyses refer to. Only read when a picture seems to be an orphan: in a healthy home the
    rows refer to all of them, but for uploads whose row is yet to come."""
    referred = set()
    for space in case.home.ledger.spaces():
        for one in case.home.blobs.stored(f"analysis/{space.id}"):
            analysis = "arriving" if one.arriving else case.analysis(one.name, space.id)
            if isinstance(analysis, Analysis) and analysis.thumbnail_sha256:
                referred.add(analysis.thumbnail_sha256)
    return referred


def _named(case: Case, numbers: Numbers) -> list[str]:
    """The contents that these numbers stand for."""
    if not len(numbers):
        return []
    wanted = np.sort(numbers)
    found: list[str] = []
    for some in batches(audit.contents(case.home.ledger), 10_000):
        found += [name for name, is_wanted in zip(some, _among(_numbers(some), wanted), strict=True) if is_wanted]
    return found


def _numbers(names: Any) -> Numbers:
    return np.fromiter((number_of(name) for name in names), np.uint64)


def _among(numbers: Numbers, among: Numbers) -> NDArray[np.bool_]:
    """(n,) whether each number is among others, which ascend."""
    if not len(among):
        return np.zeros(len(numbers), np.bool_)
    return np.asarray(among[np.minimum(np.searchsorted(among, numbers), len(among) - 1)] == numbers)


def _count(case: Case, kind: str, blobs: Sequence[Stored]) -> None:
    case.figures[kind] = case.figures.get(kind, 0) + len(blobs)
    case.figures[f"{kind}_bytes"] = case.figures.get(f"{kind}_bytes", 0) + sum(one.size for one in blobs)
