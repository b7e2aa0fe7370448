"""Doctor: is everything there, whole, and once? And with `fix`, make it so again. Nothing is ever decoded here.

The ledger and the blobs are the truth, the table is derived from them. So the table is mended in one way only: what
is wrong in it goes, what it lacks is made again from uploads and analyses. And the truth is never mended by
guessing: a damaged ledger stops every repair, a damaged original is named, and no more.

`CHECKS` is the list, in order. docs/doctor.md says the same at more length.
"""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from itertools import groupby, islice
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from index import audit
from index.blobs import Stored, analysis_key, original_key, thumbnail_key
from index.home import Home
from index.ledger import Lease, LeaseLost, Standing, owner_name
from index.records import Analysis, Space, Upload
from index.survey import Keys, Outline, Surveyor, Torn, number_of
from index.table import (
    Fault,
    TableMissing,
    TableUnreadable,
    Upkeep,
    VideoTable,
    manifests,
    set_aside,
    table_uri,
)
from ingest.commit import PATIENCE_S, TableBusy
from ingest.fuse import TextEncoder, fuse
from ingest.uploads import local_path

T = TypeVar("T")
Numbers = NDArray[np.uint64]

EXAMPLES = 20
"""So many ids are named a finding; all of them are counted."""
NAMED = 3
"""So many of them are shown to a person."""
BATCH = 500
LEASE_S = 900.0
"""The table's lease is renewed before each step of a repair; the longest, building an index, takes minutes."""
ORPHAN_AGE_S = 3_600.0
"""Nothing younger is an orphan: a blob is written before anybody refers to it, and registering holds no lease."""
LEFTOVER_AGE_S = 86_400.0
ORPHANS_MAX = 0.5
"""When more than this share of a kind of blob is unknown to the ledger, it is the ledger that is doubted."""
ORPHANS_MIN = 10
PROBES, PROBES_DEEP = 50, 1_000
RECALL_MIN = 0.9
"""Measured healthy: .99 and more; see index/search.py for how candidates are taken."""
TRIES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One kind of thing that is not as it should be, and everything that it concerns."""

    kind: str
    """A short countable slug."""
    count: int
    concerns: tuple[str, ...]
    """Ids, digests or file names; the first `EXAMPLES` of them."""
    sentence: str
    """What it means, for a person."""
    harmful: bool = True
    """Something is wrong or missing; False: it only takes up room or time."""
    bytes: int = 0
    """What it takes up, where that is the point."""
    done: str = ""
    """What `fix` did about it; empty: nothing."""
    repaired: bool = False
    """It is as it should be again, or will be by itself (an upload is queued)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What an examination found. `healthy` when nothing harmful is left."""

    home: str
    space: str
    deep: bool
    fix: bool
    findings: tuple[Finding, ...]
    figures: Mapping[str, float]
    """What was looked at: rows, fragments, recall, blobs, bytes, seconds …"""
    skipped: tuple[str, ...]
    """What was not looked at, and why; a sentence each."""

    @property
    def healthy(self) -> bool:
        return all(finding.repaired or not finding.harmful for finding in self.findings)

    def kinds(self) -> dict[str, int]:
        """Kind -> how many."""
        return {finding.kind: finding.count for finding in self.findings}

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "healthy": self.healthy}


def examine(
    home: Home,
    space: Space,
    *,
    text: Callable[[], TextEncoder],
    deep: bool = False,
    fix: bool = False,
    seed: int = 0,
    clock: Callable[[], float] = time.time,
    on_check: Callable[[str], None] = lambda name: None,
) -> Report:
    """Look a home over, and with `fix` mend it. Without `fix` nothing whatsoever is changed.

    Beside a working ingest: an examination only reads, and looks twice at what may have changed meanwhile. A repair
    holds the table's lease throughout, so commits wait for it.

    Args:
        home: all of its blobs and its ledger are looked at.
        space: whose table is; other spaces' tables only for what they refer to.
        text: opens the text encoder; called only when rows have to be made again.
        deep: also read every byte: each row against its digest, each blob against its name, the ledger's pages.
        fix: mend what can be mended.
        seed: of the random rows that the indexes are asked for.
        clock: seconds since 1970.
        on_check: hears the name of each check as it begins.

    Raises:
        TableBusy: with `fix`, another process does not let go of the table.
        LeaseLost: it took the table over; what was not mended yet is found again the next time.
    """
    started = time.monotonic()
    case = _Case(home=home, space=space, text=text, deep=deep, fix=fix, seed=seed, clock=clock, began_s=clock())
    with ExitStack() as stack:
        stack.callback(case.close)
        try:
            for check in CHECKS:
                if check is table and case.fix:
                    stack.enter_context(case.leased())
                on_check(check.__name__)
                case.findings += check(case)
        except (LedgerDamaged, *audit.DAMAGED) as error:
            said = error.said if isinstance(error, LedgerDamaged) else [str(error).splitlines()[0]]
            sentence = "The ledger is damaged. It is the truth, nothing can make it again: put back a copy of it"
            case.findings.append(case.found("ledger_damaged", said, sentence))
            case.skipped.append("everything else, and every repair: it goes by the ledger")
    case.figures["seconds"] = round(time.monotonic() - started, 2)
    return Report(
        home=str(home.folder),
        space=space.id,
        deep=deep,
        fix=fix,
        findings=tuple(case.findings),
        figures=case.figures,
        skipped=tuple(case.skipped),
    )


class LedgerDamaged(Exception):
    """What the ledger says cannot be; `said` has a line for each such thing."""

    def __init__(self, said: Sequence[str]) -> None:
        super().__init__("; ".join(said))
        self.said = list(said)


@dataclass(slots=True, kw_only=True)
class _Case:
    """What is known so far, and the tools."""

    home: Home
    space: Space
    text: Callable[[], TextEncoder]
    deep: bool
    fix: bool
    seed: int
    clock: Callable[[], float]
    began_s: float
    findings: list[Finding] = field(default_factory=list)
    figures: dict[str, float] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    outline: Outline | None = None
    """None: the table does not open."""
    rows: _Rows | None = None
    arriving: list[Stored] = field(default_factory=list)
    """Blobs that have not taken their place, met while the others were listed."""
    damaged: set[str] = field(default_factory=set)
    """Contents whose originals are not what they were: nothing may be made from them."""
    owner: str = field(default_factory=owner_name)
    lease: Lease | None = None
    _surveyor: Surveyor | None = None
    _encoder: TextEncoder | None = None

    @property
    def surveyor(self) -> Surveyor:
        if self._surveyor is None:
            self._surveyor = Surveyor(self.home.tables_url, self.space)
        return self._surveyor

    @property
    def encoder(self) -> TextEncoder:
        if self._encoder is None:
            self._encoder = self.text()
        return self._encoder

    def close(self) -> None:
        if self._surveyor is not None:
            self._surveyor.close()

    def found(self, kind: str, concerns: Sequence[str], sentence: str, **more: Any) -> Finding:
        return Finding(kind=kind, count=len(concerns), concerns=tuple(concerns[:EXAMPLES]), sentence=sentence, **more)

    @contextmanager
    def leased(self) -> Iterator[None]:
        """Nobody else writes the table while this lasts."""
        waited_s = 0.0
        while (lease := self.home.ledger.lease(self.space.id, self.owner, ttl_s=LEASE_S)) is None:
            if waited_s > PATIENCE_S:
                raise TableBusy(f"another process has been writing the table of {self.space.id} for {waited_s:.0f} s")
            time.sleep(0.1)
            waited_s += 0.1
        self.lease = lease
        try:
            yield
        finally:
            self.home.ledger.end_lease(lease)

    def writing(self) -> VideoTable:
        """The table, to write to; the lease is renewed."""
        assert self.lease is not None
        kept = self.home.ledger.lease(self.space.id, self.owner, ttl_s=LEASE_S)
        if kept is None or kept.epoch != self.lease.epoch:
            raise LeaseLost(f"the lease of {self.space.id} has passed on while the table was being mended")
        return VideoTable.open(self.home.tables_url, self.space)

    @property
    def today(self) -> str:
        """Names the folders of what is taken out of the way. Nothing in them is ever read again by us."""
        return datetime.fromtimestamp(self.began_s, UTC).strftime("%Y-%m-%dT%H%M%SZ")

    def quarantine(self) -> Path:
        """Where files of the table go."""
        return self.home.folder / "quarantine" / self.today

    def analysis(self, content_sha256: str, space_id: str | None = None) -> Analysis | str:
        """What was analysed of a content, or why it cannot be used: `gone` or `torn`."""
        wanted = (content_sha256, space_id or self.space.id)
        try:
            analysis = Analysis.from_bytes(self.home.blobs.get(analysis_key(*wanted)))
        except FileNotFoundError:
            return "gone"
        except ValueError:
            return "torn"
        return analysis if (analysis.content_sha256, analysis.space) == wanted else "torn"

    def can_decode(self, upload: Upload) -> bool:
        """Whether the bytes of an upload are here, or where they were taken in place, and are what they were."""
        if upload.content_sha256 in self.damaged:
            return False
        try:
            return self.home.blobs.sha256(original_key(upload.content_sha256)) == upload.content_sha256
        except FileNotFoundError:
            pass
        try:
            with local_path(upload.uri).open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == upload.content_sha256
        except (OSError, ValueError):
            return False


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Rows:
    """All rows as far as they are compared, by ascending id: some 60 bytes each, and their ids."""

    video_ids: Any  # pa.Array, (n,)
    revisions: NDArray[np.int64]  # (n,)
    row_ids: Numbers  # (n,)
    contents: Numbers  # (n,)
    thumbnails: Numbers  # (n,)
    uploads: Numbers  # (n,) 0: not known

    @classmethod
    def of(cls, pieces: Sequence[Keys]) -> _Rows:
        ids = pa.concat_arrays([piece.video_ids for piece in pieces] or [pa.array([], pa.string())])
        order = pc.sort_indices(ids).to_numpy()
        names = ("row_ids", "contents", "thumbnails", "uploads")
        empty = np.empty(0, np.uint64)
        columns = {name: np.concatenate([empty, *(getattr(p, name) for p in pieces)])[order] for name in names}
        revisions = np.concatenate([np.empty(0, np.int64), *(piece.revisions for piece in pieces)])[order]
        return cls(video_ids=ids.take(pa.array(order)), revisions=revisions, **columns)

    def __len__(self) -> int:
        return len(self.row_ids)

    def grouped(self) -> Iterator[tuple[str, list[int]]]:
        """Each id with the places of its rows, ascending."""
        numbered = (
            (video_id, place)
            for start in range(0, len(self), 10_000)
            for place, video_id in enumerate(self.video_ids[start : start + 10_000].to_pylist(), start)
        )
        for video_id, group in groupby(numbered, key=lambda pair: pair[0]):
            yield video_id, [place for _, place in group]


def told(report: Report) -> str:
    """A report for a person to read: what was found, what became of it, what was looked at."""
    lines = []
    for finding in report.findings:
        state = "mended" if finding.repaired else "HARMFUL" if finding.harmful else "harmless"
        size = f", {finding.bytes:,} bytes" if finding.bytes else ""
        lines.append(f"{state:8}  {finding.kind} × {finding.count}{size}")
        lines.append(f"          {finding.sentence}")
        named = ", ".join(finding.concerns[:NAMED])
        lines.append(f"          {named}" + (f", and {finding.count - NAMED} more" if finding.count > NAMED else ""))
        if finding.done:
            lines.append(f"          -> {finding.done}")
    lines += [f"skipped   {sentence}" for sentence in report.skipped]
    lines.append("looked at " + ", ".join(f"{name} {value:,}" for name, value in report.figures.items()))
    harmful = sum(finding.harmful and not finding.repaired for finding in report.findings)
    hint = "" if report.fix or not harmful else "; firstlook doctor --fix mends what can be mended"
    lines.append(
        "healthy" if report.healthy else f"{harmful} harmful {'finding' if harmful == 1 else 'findings'}{hint}"
    )
    return "\n".join(lines)


# The checks ------------------------------------------------------------------------------------------------------


def ledger(case: _Case) -> list[Finding]:
    """The ledger is whole, and knows this space; with `deep` SQLite reads all of its pages.

    Raises:
        LedgerDamaged: it is not; everything else would be judged by what is wrong itself.
    """
    store = case.home.ledger
    said = (audit.integrity(store) if case.deep else []) + audit.disagreements(store, case.space.id)
    if said:
        raise LedgerDamaged(said)
    case.figures |= {f"ledger_{name}": n for name, n in store.counts(case.space.id).items()}
    return []


def leases(case: _Case) -> list[Finding]:
    """Nobody who is gone holds anything."""
    holders = audit.holders(case.home.ledger)
    case.figures["at_work"] = sum(not holder.gone and holder.owner != case.owner for holder in holders)
    gone = [holder for holder in holders if holder.gone]
    found = []
    leaked = sum(holder.items for holder in gone)
    if leaked:
        done = ""
        if case.fix:
            taken = sum(case.home.ledger.reclaim(space.id) for space in case.home.ledger.spaces())
            done = f"{taken} uploads wait again"
        sentence = f"{leaked} uploads are leased to workers that are gone; the next ingest takes them back by itself"
        owners = [holder.owner for holder in gone if holder.items]
        finding = case.found("leaked_lease", owners, sentence, harmful=False, done=done, repaired=bool(done))
        found.append(replace(finding, count=leaked))
    tables = [name for holder in gone for name in holder.tables]
    if tables:
        sentence = "Whoever wrote these tables is gone without giving them back; whoever asks next gets them"
        found.append(case.found("leaked_table_lease", tables, sentence, harmful=False))
    return found


def table(case: _Case) -> list[Finding]:
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


def _unreadable(case: _Case, uri: str, error: TableUnreadable) -> Finding:
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


def _start_over(case: _Case) -> str:
    uri = table_uri(case.home.tables_url, case.space)
    case.surveyor.close()
    set_aside(uri, case.quarantine())
    case.writing()
    return f"the whole table was moved to {case.quarantine()}, and an empty one made, to be filled"


def rows(case: _Case) -> list[Finding]:
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


def _row_findings(case: _Case) -> list[Finding]:
    pieces, torn, faults = _read_rows(case)
    case.rows = rows = _Rows.of(pieces)
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
        case.rows = _Rows.of(_read_rows(replace(case, deep=False, skipped=[]))[0])
    elif compared.missing:
        sentence = "The ledger holds videos that have no row"
        found.append(case.found("row_missing", compared.missing, sentence))
    return found


def _read_rows(case: _Case) -> tuple[list[Keys], dict[int, str], list[Fault]]:
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


def _compare(case: _Case, rows: _Rows, wrong: set[int]) -> _Compared:
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


def _judge(case: _Case, rows: _Rows, suspects: Mapping[str, list[int]], out: _Compared) -> None:
    """Say what is wrong with rows that do not go with the ledger, looking a second time at both."""
    for some in _batches(suspects, BATCH):
        items = case.home.ledger.standings(some, case.space.id)
        known = audit.known_uploads(case.home.ledger, [video_id for video_id in some if video_id not in items])
        now = case.surveyor.revisions(some) if case.lease is None else {}
        for video_id in some:
            places = suspects[video_id]
            revisions = now.get(video_id, []) if case.lease is None else [int(rows.revisions[p]) for p in places]
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


def _still_missing(case: _Case, absent: Sequence[str]) -> list[str]:
    """Of the videos that had no row when it was read, those that have none now; a row may have come meanwhile."""
    if case.lease is not None:
        return list(absent)
    missing: list[str] = []
    for some in _batches(absent, BATCH):
        try:
            now = case.surveyor.revisions(some)
        except Torn:  # the file that tells is damaged; that is found already
            now = {}
        items = case.home.ledger.standings(some, case.space.id)
        missing += [v for v in some if v not in now and v in items and items[v].state == "video"]
    return missing


def _unlike_the_ledger(case: _Case, rows: Sequence[tuple[str, int]]) -> list[str]:
    """Of rows that are whole, those whose upload the ledger tells otherwise: one of the two is damaged, and rows
    have a digest."""
    told = _readable_uploads(case, [video_id for video_id, _ in rows])
    unlike = [v for v, digest in rows if v not in told or audit.upload_digest(told[v]) != digest]
    items = case.home.ledger.standings(unlike, case.space.id)
    # an edit that came since the row was read is no damage: its item waits now
    return [video_id for video_id in unlike if video_id in items and items[video_id].state == "video"]


def _row_complaints(case: _Case, compared: _Compared) -> list[Finding]:
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


def _replay(case: _Case, missing: Sequence[str], again: Sequence[str]) -> list[Finding]:
    """Make rows from uploads and analyses. Where an analysis is gone or torn its upload is queued again.

    Rows that are made `again` are findings already, unless they cannot be made.
    """
    made: set[str] = set()
    queued: list[str] = []
    lost: list[str] = []
    for some in _batches(sorted({*missing, *again}), BATCH):
        uploads = _readable_uploads(case, some)
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


def _readable_uploads(case: _Case, video_ids: Sequence[str]) -> dict[str, Upload]:
    try:
        return audit.uploads_as_they_stand(case.home.ledger, case.space.id, video_ids)
    except (KeyError, TypeError, ValueError):
        if len(video_ids) == 1:
            return {}
        half = len(video_ids) // 2
        return _readable_uploads(case, video_ids[:half]) | _readable_uploads(case, video_ids[half:])


def indexes(case: _Case) -> list[Finding]:
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


def _index_findings(case: _Case) -> list[Finding]:
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


def originals(case: _Case) -> list[Finding]:
    """Every content that an upload has is here (or where it was taken in place), and is what it was."""
    known = _numbers(audit.contents(case.home.ledger))
    there: list[Numbers] = []
    orphans: list[Stored] = []
    damaged: list[str] = []
    for some in _batches(case.home.blobs.stored("original"), 10_000):
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


def analyses(case: _Case) -> list[Finding]:
    """Every video has its analysis, from which its row can be made again; nobody else has one."""
    found = []
    known = _numbers(audit.contents(case.home.ledger))
    spaces = {space.id: space for space in case.home.ledger.spaces()}
    for name in sorted({*spaces, *case.home.blobs.spaces()}):
        there: list[Numbers] = []
        orphans: list[Stored] = []
        torn: list[str] = []
        total = 0
        for some in _batches(case.home.blobs.stored(f"analysis/{name}"), 10_000):
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


def thumbnails(case: _Case) -> list[Finding]:
    """Every row's picture is here, and is what its name says; nobody else has one."""
    wanted = _wanted_thumbnails(case)
    there: list[Numbers] = []
    strays: list[Stored] = []
    damaged: list[str] = []
    for some in _batches(case.home.blobs.stored("thumbnail"), 10_000):
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


def leftovers(case: _Case) -> list[Finding]:
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
        new = [
            path
            for path in Path(case.home.tables_url).glob(".new-*")
            if case.clock() - path.stat().st_mtime > LEFTOVER_AGE_S
        ]
        if new:
            done = ""
            if case.fix:
                for path in new:
                    shutil.rmtree(path)
                done = "deleted"
            sentence = "Tables were being made by somebody who was killed"
            names = [path.name for path in new]
            found.append(case.found("leftover_table", names, sentence, harmful=False, done=done, repaired=bool(done)))
    return found


CHECKS: tuple[Callable[[_Case], list[Finding]], ...] = (
    ledger,
    leases,
    table,
    rows,
    indexes,
    originals,
    analyses,
    thumbnails,
    leftovers,
)
"""In this order: nothing is mended after a ledger that is damaged; a table must open before its rows are read; what
an original is worth must be known before anything is queued to be made from it."""


# Blobs -----------------------------------------------------------------------------------------------------------


def _arrived(case: _Case, blobs: Sequence[Stored]) -> list[Stored]:
    """Those that are in their place; the others are noted for `leftovers`."""
    case.arriving += [one for one in blobs if one.arriving]
    return [one for one in blobs if not one.arriving]


def _is_damaged(case: _Case, blob: Stored) -> bool:
    try:
        return case.home.blobs.sha256(blob.key) != blob.name
    except FileNotFoundError:  # deleted since it was listed
        return False


def _orphans(case: _Case, kind: str, orphans: Sequence[Stored], reason: str, total: int) -> list[Finding]:
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


def _of_uploads(case: _Case, kind: str, contents: Sequence[str], sentence: str) -> Finding:
    uploads = audit.videos_of(case.home.ledger, case.space.id, contents[:BATCH])
    ids = sorted(one.video_id for standings in uploads.values() for one in standings)
    more = "" if len(ids) <= EXAMPLES else f" and {len(ids) - EXAMPLES} more"
    return case.found(kind, contents, sentence + (", ".join(ids[:EXAMPLES]) + more or "of older revisions only"))


def _gone_originals(case: _Case, numbers: Numbers) -> list[str]:
    """Of contents that are not here, those that are current, and not where they were taken in place either."""
    lost = []
    for some in _batches(_named(case, numbers), BATCH):
        standings = audit.videos_of(case.home.ledger, case.space.id, some)
        ids = [one.video_id for each in standings.values() for one in each if one.state != "failure"]
        for upload in _readable_uploads(case, ids).values() if ids else ():
            if not local_path(upload.uri).is_file():
                lost.append(upload.content_sha256)
    return sorted(set(lost))


def _has_video(case: _Case, space_id: str, content: str) -> bool:
    standings = audit.videos_of(case.home.ledger, space_id, [content]).get(content, [])
    return any(one.state == "video" for one in standings)


def _analyse_again(
    case: _Case, kind: str, contents: Sequence[str], space_id: str, sentence: str, *, pictures: Sequence[str] = ()
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


def _pictures_again(case: _Case, kind: str, numbers: set[int], sentence: str, damaged: Sequence[str]) -> list[Finding]:
    """A picture is made in the pass that analyses, so its video is analysed again."""
    if not numbers or case.rows is None:
        return []
    places = np.flatnonzero(np.isin(case.rows.thumbnails, np.array(sorted(numbers), np.uint64)))
    ids = [case.rows.video_ids[int(place)].as_py() for place in places]
    uploads = {v: u for some in _batches(ids, BATCH) for v, u in _readable_uploads(case, some).items()}
    contents = sorted({upload.content_sha256 for upload in uploads.values()})
    return _analyse_again(case, kind, contents, case.space.id, sentence, pictures=damaged)


def _wanted_thumbnails(case: _Case) -> Numbers | None:
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


def _thumbnails_without_row(case: _Case) -> set[str]:
    """The pictures that analyses refer to. Only read when a picture seems to be an orphan: in a healthy home the
    rows refer to all of them, but for uploads whose row is yet to come."""
    referred = set()
    for space in case.home.ledger.spaces():
        for one in case.home.blobs.stored(f"analysis/{space.id}"):
            analysis = "arriving" if one.arriving else case.analysis(one.name, space.id)
            if isinstance(analysis, Analysis) and analysis.thumbnail_sha256:
                referred.add(analysis.thumbnail_sha256)
    return referred


def _named(case: _Case, numbers: Numbers) -> list[str]:
    """The contents that these numbers stand for."""
    if not len(numbers):
        return []
    wanted = np.sort(numbers)
    found: list[str] = []
    for some in _batches(audit.contents(case.home.ledger), 10_000):
        found += [name for name, is_wanted in zip(some, _among(_numbers(some), wanted), strict=True) if is_wanted]
    return found


def _numbers(names: Any) -> Numbers:
    return np.fromiter((number_of(name) for name in names), np.uint64)


def _among(numbers: Numbers, among: Numbers) -> NDArray[np.bool_]:
    """(n,) whether each number is among others, which ascend."""
    if not len(among):
        return np.zeros(len(numbers), np.bool_)
    return np.asarray(among[np.minimum(np.searchsorted(among, numbers), len(among) - 1)] == numbers)


def _count(case: _Case, kind: str, blobs: Sequence[Stored]) -> None:
    case.figures[kind] = case.figures.get(kind, 0) + len(blobs)
    case.figures[f"{kind}_bytes"] = case.figures.get(f"{kind}_bytes", 0) + sum(one.size for one in blobs)


def _batches(items: Any, size: int) -> Iterator[list[Any]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
