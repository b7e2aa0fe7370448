"""The table and its indexes: what is wrong in them goes, what they lack is made again. See doctor.py."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from index import audit
from index.ledger import Standing
from index.records import Analysis, Upload
from index.survey import Keys, Torn
from index.table import Fault, TableMissing, TableUnreadable, Upkeep, manifests, set_aside, table_uri
from ingest.doctor_case import BATCH, Case, Finding, Rows, batches, readable_uploads
from ingest.fuse import fuse

PROBES, PROBES_DEEP = 50, 1_000
RECALL_MIN = 0.9
"""Measured healthy: .99 and more; see index/search.py for how candidates are taken."""
TRIES = 3


def table(case: Case) -> list[Finding]:
    """The table opens in its newest version, and so does every older one."""
    uri = table_uri(case.home.tables_url, case.space)
    try:
        case.outline = case.surveyor.outline()
    except TableMissing:
        if not case.figures["ledger_videos"]:
            case.skipped.append("the table: nothing was committed yet, so there is none")
            return []
        finding = case.found(
            "table_missing", [uri.rpartition("/")[2]], "There is no table, and the ledger holds videos"
        )
        if case.fix:
            case.writing()
            case.outline = case.surveyor.outline()
            finding = replace(finding, done="an empty one was made, to be filled", repaired=True)
        return [finding]
    except TableUnreadable as error:
        return [_unreadable(case, uri, error)]
    older = [(version, name) for version, name in manifests(uri) if version < case.outline.version]
    torn = [(version, name) for version, name in older if not case.surveyor.opens(version, as_table=False)]
    case.figures["versions"] = len(older) + 1
    if not torn:
        return []
    done = ""
    if case.fix:
        set_aside(uri, case.quarantine(), [name for _, name in torn])
        done = f"moved to {case.quarantine()}"
    sentence = "Older versions of the table do not open. No search reads them, but tidying up does, and fails"
    names = [name for _, name in torn]
    return [case.found("old_version_unreadable", names, sentence, harmful=False, done=done, repaired=bool(done))]


def _unreadable(case: Case, uri: str, error: TableUnreadable) -> Finding:
    """Roll back to the newest version that opens; where none does, begin anew."""
    written = manifests(uri)
    good = next((version for version, _ in written if case.surveyor.opens(version, as_table=True)), None)
    bad = [name for version, name in written if good is None or version > good]
    sentence = f"The table does not open: {error}"
    finding = case.found("table_unreadable", bad or [uri.rpartition("/")[2]], sentence)
    if not case.fix:
        case.skipped.append("the rows and indexes of a table that does not open")
        return finding
    if good is None:
        done = _start_over(case)
    else:
        set_aside(uri, case.quarantine(), bad)
        case.writing().pass_version(written[0][0])
        done = f"rolled back to version {good}; the manifests of newer ones are in {case.quarantine()}"
    case.outline = case.surveyor.outline()
    return replace(finding, done=done, repaired=True)


def _start_over(case: Case) -> str:
    uri = table_uri(case.home.tables_url, case.space)
    case.surveyor.close()
    set_aside(uri, case.quarantine())
    case.writing()
    return f"the whole table was moved to {case.quarantine()}, and an empty one made, to be filled"


def rows(case: Case) -> list[Finding]:
    """Each video has one row, of its revision, that reads as it was written; nobody else has one."""
    if case.outline is None:
        return []
    found = _row_findings(case)
    if not any(finding.done for finding in found):
        return found
    # Mended, but is it well? A manifest that is wrong about more than it shows would damage what was just written.
    again = [finding for finding in _row_findings(replace(case, fix=False, skipped=[])) if finding.harmful]
    left = [finding for finding in again if finding.kind not in ("row_missing", "row_lost", "ledger_disagrees")]
    if not left:
        return found
    done = _start_over(case)
    case.outline = case.surveyor.outline()
    sentence = "Mending the rows was not enough: " + "; ".join(f"{one.count} {one.kind}" for one in left)
    finding = case.found("table_inconsistent", [case.space.id], sentence, done=done, repaired=True)
    return [*found, finding, *_row_findings(case)]


def _row_findings(case: Case) -> list[Finding]:
    pieces, torn, faults = _read_rows(case)
    case.rows = rows = Rows.of(pieces)
    case.figures |= {"rows": len(rows), "fragments": len(pieces) + len(torn)}
    found: list[Finding] = []
    wrong: list[int] = []  # row ids
    if torn:
        done = "left out of the table, and their rows made again" if case.fix else ""
        sentence = "Files of rows do not read, so their rows are missing"
        named = [f"fragment {number}: {why}" for number, why in torn.items()]
        found.append(case.found("rows_unreadable", named, sentence, done=done, repaired=case.fix))
    for reason in sorted({fault.reason for fault in faults}):
        some = [fault for fault in faults if fault.reason == reason]
        sentence = {
            "digest_mismatch": "Rows are not what was written",
            "derived_mismatch": "Rows hold what was written, but not what follows from it, so searches miss them",
            "unreadable": "Rows hold values that no row can have",
        }[reason]
        done = "removed, and made again" if case.fix else ""
        named = [fault.video_id for fault in some]
        found.append(case.found(f"row_{reason}", named, sentence, done=done, repaired=case.fix))
        wrong += [fault.row_id for fault in some]
    compared = _compare(case, rows, set(wrong))
    found += _row_complaints(case, compared)
    # A removal that nothing follows must not happen: first the encoder, which may be missing.
    if case.fix and (torn or wrong or compared.again or compared.missing or compared.remove):
        if torn or wrong or compared.again or compared.missing:
            _ = case.encoder
        if torn:
            case.writing().drop_fragments(list(torn))
        places = [*wrong, *compared.remove, *compared.again_rows]
        if places:
            case.writing().delete_rows(sorted(set(places)))
        found += _replay(case, compared.missing, compared.again)
        case.outline = case.surveyor.outline()
        case.rows = Rows.of(_read_rows(replace(case, deep=False, skipped=[]))[0])
    elif compared.missing:
        sentence = "The ledger holds videos that have no row"
        found.append(case.found("row_missing", compared.missing, sentence))
    return found


def _read_rows(case: Case) -> tuple[list[Keys], dict[int, str], list[Fault]]:
    """Every file of rows; a file that was merged into another meanwhile is no damage, and all is read again."""
    for attempt in range(TRIES):
        assert case.outline is not None
        pieces: list[Keys] = []
        torn: dict[int, str] = {}
        faults: list[Fault] = []
        for number in case.outline.fragment_ids:
            try:
                keys, more = case.surveyor.keys(number, deep=case.deep)
            except Torn as error:
                torn[number] = str(error)
                continue
            pieces.append(keys)
            faults += more
        if not torn or case.lease is not None or attempt == TRIES - 1:
            break
        version = case.outline.version
        case.outline = case.surveyor.outline()
        if case.outline.version == version:
            break
    return pieces, torn, faults


@dataclass(slots=True, kw_only=True)
class _Compared:
    """How the rows and the ledger go together."""

    missing: list[str] = field(default_factory=list)
    """Ids of videos without a row that can be trusted."""
    doubled: list[str] = field(default_factory=list)
    stale: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    differs: list[str] = field(default_factory=list)
    unsure: list[str] = field(default_factory=list)
    again: list[str] = field(default_factory=list)
    """Ids whose rows go and are made again."""
    again_rows: list[int] = field(default_factory=list)
    remove: list[int] = field(default_factory=list)
    """Row ids that go for good."""


def _compare(case: Case, rows: Rows, wrong: set[int]) -> _Compared:
    """Walk through rows and items together, both by ascending id. Rows in `wrong` count as absent."""
    out = _Compared()
    suspects: dict[str, list[int]] = {}
    absent: list[str] = []
    same: list[tuple[str, int]] = []
    for video_id, places, item in _side_by_side(rows.grouped(), audit.standings(case.home.ledger, case.space.id)):
        good = [place for place in places if int(rows.row_ids[place]) not in wrong]
        is_video = item is not None and item.state == "video"
        if not good:
            if is_video:
                (out.again if places else absent).append(video_id)
        elif item is None or item.state == "failure" or len(good) > 1 or _is_stale(int(rows.revisions[good[0]]), item):
            suspects[video_id] = good
        elif is_video and case.deep and rows.uploads[good[0]]:
            same.append((video_id, int(rows.uploads[good[0]])))
            if len(same) == BATCH:
                out.differs += _unlike_the_ledger(case, same)
                same = []
    out.differs += _unlike_the_ledger(case, same)
    _judge(case, rows, suspects, out)
    out.missing = _still_missing(case, absent)
    return out


def _side_by_side(
    rows: Iterator[tuple[str, list[int]]], items: Iterator[Standing]
) -> Iterator[tuple[str, list[int], Standing | None]]:
    """Every id of either stream once, with its rows and its item."""
    row, item = next(rows, None), next(items, None)
    while row is not None or item is not None:
        if item is None or (row is not None and row[0] < item.video_id):
            assert row is not None
            yield row[0], row[1], None
            row = next(rows, None)
        elif row is None or item.video_id < row[0]:
            yield item.video_id, [], item
            item = next(items, None)
        else:
            yield item.video_id, row[1], item
            row, item = next(rows, None), next(items, None)


def _judge(case: Case, rows: Rows, suspects: Mapping[str, list[int]], out: _Compared) -> None:
    """Say what is wrong with rows that do not go with the ledger, looking a second time at both."""
    for some in batches(suspects, BATCH):
        items = case.home.ledger.standings(some, case.space.id)
        known = audit.known_uploads(case.home.ledger, [video_id for video_id in some if video_id not in items])
        now = _revisions_now(case, some)
        for video_id in some:
            places = suspects[video_id]
            read = [int(rows.revisions[place]) for place in places]
            revisions = read if now is None else now.get(video_id, [])
            if not revisions:
                continue
            item = items.get(video_id)
            row_ids = [int(rows.row_ids[place]) for place in places]
            if item is None:
                if video_id in known:  # an upload without an item is no reason to lose its row
                    out.unsure.append(video_id)
                    continue
                out.unknown.append(video_id)
                out.remove += row_ids
            elif item.state == "failure":
                out.failed.append(video_id)
                out.remove += row_ids
            elif len(revisions) > 1 or _is_stale(revisions[0], item):
                (out.doubled if len(revisions) > 1 else out.stale).append(video_id)
                if item.state == "video":
                    out.again.append(video_id)
                    out.again_rows += row_ids
                else:
                    out.remove += row_ids  # it is queued, and gets its row when its turn comes


def _is_stale(revision: int, item: Standing) -> bool:
    """A row may be older than an upload that waits with an edit, never newer; one of a video is its own revision."""
    return revision > item.revision or (item.state == "video" and revision != item.revision)


def _still_missing(case: Case, absent: Sequence[str]) -> list[str]:
    """Of the videos that had no row when it was read, those that have none now; a row may have come meanwhile."""
    if case.lease is not None:
        return list(absent)
    missing: list[str] = []
    for some in batches(absent, BATCH):
        now = _revisions_now(case, some) or {}
        items = case.home.ledger.standings(some, case.space.id)
        missing += [v for v in some if v not in now and v in items and items[v].state == "video"]
    return missing


def _revisions_now(case: Case, video_ids: Sequence[str]) -> dict[str, list[int]] | None:
    """The rows that these have in the newest commit; None where it cannot differ from what was read, under the lease,
    and where it cannot be told: a file of rows that does not read is a finding already."""
    if case.lease is not None:
        return None
    try:
        return case.surveyor.revisions(video_ids)
    except Torn:
        return None


def _unlike_the_ledger(case: Case, rows: Sequence[tuple[str, int]]) -> list[str]:
    """Of rows that are whole, those whose upload the ledger tells otherwise: one of the two is damaged, and rows
    have a digest."""
    told = readable_uploads(case, [video_id for video_id, _ in rows])
    unlike = [v for v, digest in rows if v not in told or audit.upload_digest(told[v]) != digest]
    items = case.home.ledger.standings(unlike, case.space.id)
    # an edit that came since the row was read is no damage: its item waits now
    return [video_id for video_id in unlike if video_id in items and items[video_id].state == "video"]


def _row_complaints(case: Case, compared: _Compared) -> list[Finding]:
    texts: list[tuple[str, list[str], str, str]] = [
        ("row_doubled", compared.doubled, "Videos have more than one row", "one row each was made anew"),
        ("row_stale", compared.stale, "Rows are of another revision than the ledger's", "made again"),
        ("row_of_failure", compared.failed, "Uploads that failed have a row", "the rows were removed"),
        ("row_unknown", compared.unknown, "Rows are of videos that the ledger does not know", "removed"),
    ]
    found = [
        case.found(kind, ids, said, done=done if case.fix else "", repaired=case.fix)
        for kind, ids, said, done in texts
        if ids
    ]
    differs = sorted({*compared.differs, *compared.unsure})
    if differs:
        sentence = (
            "The ledger says other things of these uploads than their rows do, and the rows' digests are right: the "
            "ledger is damaged there. The rows are kept; put back a copy of the ledger, or name the uploads again"
        )
        found.append(case.found("ledger_disagrees", differs, sentence))
    return found


def _replay(case: Case, missing: Sequence[str], again: Sequence[str]) -> list[Finding]:
    """Make rows from uploads and analyses. Where an analysis is gone or torn its upload is queued again.

    Rows that are made `again` are findings already, unless they cannot be made.
    """
    made: set[str] = set()
    queued: list[str] = []
    lost: list[str] = []
    for some in batches(sorted({*missing, *again}), BATCH):
        uploads = readable_uploads(case, some)
        lost += [video_id for video_id in some if video_id not in uploads]
        pairs: list[tuple[Upload, Analysis]] = []
        for upload in uploads.values():
            analysis = case.analysis(upload.content_sha256)
            if isinstance(analysis, Analysis):
                pairs.append((upload, analysis))
            elif case.can_decode(upload):
                queued.append(upload.video_id)
            else:
                lost.append(upload.video_id)
        writing = case.writing()
        writing.upsert(fuse(pairs, case.encoder, case.space))
        made |= {upload.video_id for upload, _ in pairs}
        writing.optimize_if_due()
    case.home.ledger.requeue(queued, case.space.id)
    found = []
    if made.intersection(missing):
        named, sentence = sorted(made.intersection(missing)), "The ledger holds videos that have no row"
        found.append(case.found("row_missing", named, sentence, done="made again from their analyses", repaired=True))
    if queued:
        sentence = "Rows were missing and their analyses are gone or torn, but the originals are whole"
        done = "queued again: the next ingest decodes them"
        found.append(case.found("row_missing_analysis", queued, sentence, done=done, repaired=True))
    if lost:
        sentence = "Rows are missing, and neither an analysis nor a whole original is there to make them from"
        found.append(case.found("row_lost", lost, sentence))
    return found


def indexes(case: Case) -> list[Finding]:
    """The indexes answer as a reading of the rows does, and are not far behind."""
    if case.outline is None:
        return []
    if any(finding.kind == "rows_unreadable" and not finding.repaired for finding in case.findings):
        case.skipped.append("the indexes: rows that do not read cannot be compared with them")
        return []
    found = _index_findings(case)
    if case.fix and any(finding.harmful for finding in found):
        case.writing().rebuild_indexes()
        case.outline = case.surveyor.outline()
        left = _index_findings(replace(case, fix=False, skipped=[]))
        mended = not any(finding.harmful for finding in left)
        done = "built anew" if mended else "built anew, and still so"
        found = [replace(f, done=done, repaired=mended) if f.harmful else f for f in found]
    assert case.outline is not None
    outline = case.outline
    case.figures |= {"unindexed_rows": outline.unindexed_rows, "fragments": len(outline.fragment_ids)}
    if outline.upkeep_is_due:
        done = ""
        if case.fix:
            case.writing().optimize_if_due(Upkeep())
            case.outline = case.surveyor.outline()
            done = f"tidied up: {len(case.outline.fragment_ids)} files, {case.outline.unindexed_rows} unindexed rows"
        sentence = f"{len(outline.fragment_ids)} files of rows, {outline.unindexed_rows} rows that no index knows yet"
        found.append(case.found("upkeep_due", [case.space.id], sentence, harmful=False, done=done, repaired=bool(done)))
    return found


def _index_findings(case: Case) -> list[Finding]:
    assert case.outline is not None
    found = []
    try:
        words = case.surveyor.words(None if case.deep else PROBES, case.seed)
        case.figures["words_asked"] = words.asked
        if words.wrong:
            sentence = f"The index of words finds {len(words.wrong)} of {words.asked} words in the wrong rows"
            found.append(case.found("words_misfound", words.wrong, sentence))
    except Torn as error:
        found.append(case.found("words_unreadable", ["words_idx"], f"The index of words does not read: {error}"))
    if not case.outline.has_vector_index:
        case.skipped.append("the recall probe: there is no vector index yet, and every search scores all rows")
        return found
    try:
        answer = case.surveyor.vectors(PROBES_DEEP if case.deep else PROBES, case.seed)
        case.figures |= {"recall_at_10": round(answer.recall, 4), "recall_asked": answer.asked}
        if answer.lost or answer.recall < RECALL_MIN:
            sentence = (
                f"The vector index finds {answer.recall:.2f} of the 10 nearest of {answer.asked} rows, and "
                f"{len(answer.lost)} of these rows not at all"
            )
            found.append(case.found("recall_low", answer.lost or ["fused_idx"], sentence))
    except Torn as error:
        found.append(case.found("vectors_unreadable", ["fused_idx"], f"The vector index does not read: {error}"))
    return found
