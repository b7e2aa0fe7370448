"""The commands that make feeds, and those that say why. `service/cli.py` registers them."""

from __future__ import annotations

import json
import sys
import textwrap
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from index.records import Impression
from recommend.explore import Status
from recommend.pipeline import Page
from recommend.report import KINDS, Section, Value
from recommend.report import write as write_report
from recommend.why import Strongest, page_notes, why_lines, why_served
from service.cli_shared import common, say
from service.library import Library
from service.slates import SlateMaker, in_chunks, table_of, write_slates


def _named(_context: click.Context, _parameter: click.Parameter, viewer: str) -> str:
    if not viewer.strip():
        raise click.BadParameter("a viewer's id is wanted, got an empty text")
    return viewer


@click.command()
@click.option("--user", "viewer", required=True, callback=_named, help="Whose feed.")
@click.option("-k", default=20, show_default=True, type=click.IntRange(1, 100), help="Places.")
@click.option("--session", default="", help="Of the app: what it was served does not come again in it.")
@click.option("--language", "languages", multiple=True, help="That the viewer reads; may be repeated. Default: any.")
@click.option("--why", "says_why", is_flag=True, help="Say of each video why it has its place.")
@click.option("--look", is_flag=True, help="Write nothing down: nobody is shown this page.")
@common
def feed(
    viewer: str,
    k: int,
    session: str,
    languages: tuple[str, ...],
    says_why: bool,
    look: bool,
    home: Path | None,
    space: str | None,
    as_json: bool,
) -> None:
    """Make the next page of a viewer's feed."""
    with Library.open(home, space=space, create=False) as library:
        recommender = library.recommender()
        page = recommender.feed(viewer, k=k, session_id=session, languages=languages, write_down=not look)
        if as_json:
            print(json.dumps(page_json(page, recommender.strongest(page) if says_why else {}), ensure_ascii=False))
            return
        lines = list(page_lines(page, library, says_why))
    print("\n".join(lines) or "nothing may be shown: the library is empty, or he has seen all of it")


@click.command()
@click.option("--as-of", metavar="TIME", help="Go by what happened before it, such as 2026-11-28T12:00Z.")
@click.option("--ablate", is_flag=True, help="Also say what each context adds; takes as long again for each.")
@click.option("--threads", default=1, show_default=True, type=click.IntRange(1, 64))
@common
def train(as_of: str | None, ablate: bool, threads: int, home: Path | None, space: str | None, as_json: bool) -> None:
    """Learn a ranker and a collaborative model from the log; the next page is ranked by them."""
    as_of_s = None if as_of is None else _moment_s(as_of)
    with Library.open(home, space=space, create=False) as library:
        training = library.recommender().train(as_of_s=as_of_s, ablate=ablate, threads=threads)
    say(asdict(training.report), as_json, "\n".join(training.report.lines()))


@click.command("why-not")
@click.argument("video_id")
@click.option("--user", "viewer", required=True, callback=_named, help="In whose feed it is missing.")
@common
def why_not(video_id: str, viewer: str, home: Path | None, space: str | None, as_json: bool) -> None:
    """Say where VIDEO_ID falls out of a viewer's page."""
    with Library.open(home, space=space, create=False) as library:
        said = library.recommender().why_not(video_id, viewer)
    say({"video_id": video_id, "viewer_id": viewer, "why_not": said}, as_json, said)


@click.command()
@click.option("--user", "viewer", required=True, callback=_named, help="Whose feed.")
@click.option("--less", metavar="TARGET", help="category:NAME, creator:ID or sound:ID.")
@click.option("--more", metavar="TARGET", help="Likewise.")
@click.option("--explore", type=click.FloatRange(0, 1), help="0: nothing new, 1: much.")
@click.option("--reset", is_flag=True, help="All dials back.")
@click.option("--undo", is_flag=True, help="The last one back.")
@common
def dial(
    viewer: str,
    less: str | None,
    more: str | None,
    explore: float | None,
    reset: bool,
    undo: bool,
    home: Path | None,
    space: str | None,
    as_json: bool,
) -> None:
    """Turn a dial of a viewer's feed; the next page follows it. Without one: show them."""
    turns: list[tuple[str, str | float | None]] = [("less", less), ("more", more), ("explore", explore)]
    turns = [(action, target) for action, target in turns if target is not None]
    turns += [(action, None) for action, is_wanted in (("reset", reset), ("undo", undo)) if is_wanted]
    if len(turns) > 1:
        raise click.UsageError(f"one dial at a time, got {', '.join(action for action, _ in turns)}")
    with Library.open(home, space=space, create=False) as library:
        recommender = library.recommender()
        for action, target in turns:
            recommender.dial(viewer, action, target)
        dials = recommender.dials(viewer)
    wanted = ", ".join(f"{way} {target}" for target, way in dials["wanted"].items()) or "nothing more or less"
    explored = "as the system thinks" if dials["explore"] is None else f"{dials['explore']:g}"
    say({"viewer_id": viewer, **dials}, as_json, f"{viewer}: {wanted}; explore {explored}")


@click.command()
@click.option("--users", required=True, help="A file with an id a line, or `all`: everybody who ever did something.")
@click.option("-k", default=50, show_default=True, type=click.IntRange(1, 200), help="Places a slate.")
@click.option("--out", required=True, type=click.Path(path_type=Path, dir_okay=False), help="A Parquet file.")
@click.option("--ray", metavar="ADDRESS", help="local, auto or host:port. Default: this process alone.")
@common
def recommend(
    users: str, k: int, out: Path, ray: str | None, home: Path | None, space: str | None, as_json: bool
) -> None:
    """Make slates in bulk: for every viewer the page that he would get now. Nothing is written down of them."""
    listed = None if users == "all" else _listed(Path(users))
    _writable(out, "--out")
    with Library.open(home, space=space, create=False) as library:
        viewers = library.home.behaviour.viewers() if listed is None else listed
        chunks = in_chunks(viewers)
        until = library.home.behaviour.last_seq()
        maker = SlateMaker(home=library.home.folder, space=library.space.id, k=k, now_s=time.time(), until=until)
        started = time.monotonic()
        if ray is None:
            recommender = library.recommender()
            pages = (recommender.slates(chunk, k=k, now_s=maker.now_s, until=until) for chunk in chunks)
            written = write_slates(out, (table_of(page for _, page in some) for some in pages), on_progress=_said)
        else:
            from ingest.cluster import connected, spread  # imports Ray, which takes a second and 60 MB

            with connected(ray):
                written = write_slates(out, spread(maker, chunks), on_progress=_said)
    seconds = time.monotonic() - started
    facts = {**written, "seconds": round(seconds, 3), "slates_per_second": round(written["slates"] / seconds, 1)}
    pace = f"{seconds:.1f} s, {facts['slates_per_second']:,} a second"
    say(facts, as_json, f"{written['slates']:,} slates of up to {k} in {pace}: {out}")


@click.command()
@click.option("-k", "limit", default=20, show_default=True, type=click.IntRange(1, 5_000), help="Videos.")
@common
def cold(limit: int, home: Path | None, space: str | None, as_json: bool) -> None:
    """The pool of new videos: what each segment of viewers made of them so far, and what happens next."""
    with Library.open(home, space=space, create=False) as library:
        pool = library.recommender().cold()
    if as_json:
        print(json.dumps([asdict(one) for one in pool[:limit]], ensure_ascii=False))
        return
    print("\n".join(_cold_lines(pool, limit)))


@click.command()
@click.option(
    "--report", type=click.Path(path_type=Path, dir_okay=False), help="Also write all of it as one HTML page."
)
@common
def evaluate(report: Path | None, home: Path | None, space: str | None, as_json: bool) -> None:
    """Say what the feed is worth: what was served and watched, and how the ranker does on days it had not seen."""
    _writable(report, "--report")
    with Library.open(home, space=space, create=False) as library:
        sections, facts = library.recommender().appraised()
    if report is not None:
        write_report(report, sections, facts, time.time())
    if as_json:
        print(json.dumps({"facts": facts, "sections": [asdict(one) for one in sections]}, ensure_ascii=False))
    else:
        print("\n".join(_section_lines(sections)) or "nothing was served yet, so there is nothing to count")
    if report is not None:
        print(f"report: {report}", file=sys.stderr)


def page_json(page: Page, strongest: Mapping[str, Sequence[Strongest]]) -> dict[str, Any]:
    """A page as the command and the route tell it.

    Args:
        strongest: video -> what moved its score most; empty: nobody asked.
    """
    said = asdict(page)
    said["videos"] = [
        {
            **asdict(one),
            "impression_id": served.impression_id,
            "why": why_served(served, strongest.get(one.video_id, ())),
        }
        for one, served in zip(page.videos, _written(page), strict=True)
    ]
    return said


def _written(page: Page) -> list[Impression]:
    from service.recommender import written  # imports what trains, which takes seconds

    return written(page)


def page_lines(page: Page, library: Library, says_why: bool) -> Iterator[str]:
    """A page as the terminal shows it, and with `says_why` why each video has its place."""
    glances = {one.video_id: library.glance(one.video_id) for one in page.videos}
    uploads = library.home.ledger.uploads(list(glances))
    strongest = library.recommender().strongest(page) if says_why else {}
    for one, served in zip(page.videos, _written(page), strict=True):
        caption = uploads[one.video_id].caption if one.video_id in uploads else ""
        glance = glances[one.video_id]
        seen = caption or (f"({', '.join(glance.tags[:2])})" if glance is not None and glance.tags else "")
        yield f"{one.position + 1:>3}  {one.slot:<8} {one.source:<13} {one.score:6.3f}  {one.video_id:<20} {seen[:60]}"
        if says_why:
            yield from (f"       {line}" for line in why_lines(why_served(served, strongest.get(one.video_id, ()))))
    if says_why:
        yield ""
        yield from page_notes(
            removed=page.removed,
            held_back=page.held_back,
            relaxed=page.relaxed,
            guardrails=page.guardrails,
            dials=library.recommender().dials(page.viewer_id),
        )
        yield f"ranked by {page.ranker}; the log up to record {page.seq:,}"


def _cold_lines(pool: Sequence[Status], limit: int) -> Iterator[str]:
    if not pool:
        yield "no new videos: none was uploaded in the last week, or all have had their first look"
        return
    yield f"{'video':<24} {'verdict':<9} {'looks':>6} {'left':>5}  best segments: share of long views (seen)"
    for one in pool[:limit]:
        best = [f"{s.segment} {s.mean:.2f} ({s.shown:.0f})" for s in one.segments[:3]]
        yield f"{one.video_id:<24.24} {one.verdict:<9} {one.spent:>6.0f} {one.budget_left:>5.0%}  {', '.join(best)}"
        yield f"{'':<24} {one.next}"
    if len(pool) > limit:
        yield f"and {len(pool) - limit:,} more"


def _section_lines(sections: Sequence[Section]) -> Iterator[str]:
    """Tables as text; what kind of figures they are stands beside each title, and what they are of below it."""
    for section in sections:
        yield f"{section.title}  ({KINDS[section.kind]})"
        yield from textwrap.wrap(section.note, 118, initial_indent="  ", subsequent_indent="  ")
        if not section.rows:
            yield ""
            continue
        columns = list(dict.fromkeys(name for row in section.rows for name in row))
        cells = [columns, *([_cell(row.get(name)) for name in columns] for row in section.rows)]
        widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
        for row in cells:
            yield "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        yield ""


def _cell(value: Value) -> str:
    if value is None:
        return "-"
    return f"{value:,.4g}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def _moment_s(text: str) -> float:
    """Seconds since 1970; a time without a zone is UTC."""
    try:
        return float(text)
    except ValueError:
        pass
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise click.UsageError(f"--as-of wants a time such as 2026-11-28T12:00Z, got {text!r}") from error
    return (moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)).timestamp()


def _listed(path: Path) -> list[str]:
    """The ids of a file, a line each; one that comes twice is one viewer."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise click.UsageError(f"--users: {path} wants to be text in UTF-8, an id a line; got {error}") from error
    except OSError as error:
        raise click.UsageError(f"--users wants `all` or a file with an id a line; {path}: {error.strerror}") from error
    return list(dict.fromkeys(line.strip() for line in text.splitlines() if line.strip()))


def _writable(path: Path | None, option: str) -> None:
    """What takes minutes to make should not fail for its folder."""
    if path is not None and not path.absolute().parent.is_dir():
        raise click.UsageError(f"{option}: there is no folder {path.absolute().parent}")


def _said(slates: int) -> None:
    print(f"{slates:,} slates", file=sys.stderr)


COMMANDS = (train, feed, why_not, dial, recommend, cold, evaluate)
