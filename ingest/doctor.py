"""Doctor: is everything there, whole, and once? And with `fix`, make it so again. Nothing is ever decoded here.

The ledger and the blobs are the truth, the table is derived from them. So the table is mended in one way only: what
is wrong in it goes, what it lacks is made again from uploads and analyses. And the truth is never mended by
guessing: a damaged ledger stops every repair, a damaged original is named, and no more.

`CHECKS` is the list, in order. docs/doctor.md says the same at more length.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from typing import Any

from index import audit
from index.home import Home
from index.records import Space
from ingest.doctor_blobs import analyses, leftovers, originals, thumbnails
from ingest.doctor_case import Case, Finding, LedgerContradicts
from ingest.doctor_table import indexes, rows, table
from ingest.fuse import TextEncoder

NAMED = 3
"""So many of what a finding concerns are shown to a person."""


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
        counts: dict[str, int] = {}
        for finding in self.findings:
            counts[finding.kind] = counts.get(finding.kind, 0) + finding.count
        return counts

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
    case = Case(home=home, space=space, text=text, deep=deep, fix=fix, seed=seed, clock=clock, began_s=clock())
    with ExitStack() as stack:
        stack.callback(case.close)
        try:
            for check in CHECKS:
                if check is table and case.fix:
                    stack.enter_context(case.leased())
                on_check(check.__name__)
                case.findings += check(case)
        except (LedgerContradicts, *audit.DAMAGED) as error:
            said = error.said if isinstance(error, LedgerContradicts) else [str(error).splitlines()[0]]
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


def ledger(case: Case) -> list[Finding]:
    """The ledger is whole, and knows this space; with `deep` SQLite reads all of its pages.

    Raises:
        LedgerContradicts: it is not; everything else would be judged by what is wrong itself.
    """
    store = case.home.ledger
    said = (audit.integrity(store) if case.deep else []) + audit.disagreements(store, case.space.id)
    if said:
        raise LedgerContradicts(said)
    case.figures |= {f"ledger_{name}": n for name, n in store.counts(case.space.id).items()}
    return []


def leases(case: Case) -> list[Finding]:
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


CHECKS: tuple[Callable[[Case], list[Finding]], ...] = (
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
