"""The command line: `firstlook …`. Thin over `Library`, with the same words.

Results go to stdout, everything else to stderr. Exit code 0 also when some files were at fault, since that is
reported; 1 when we or the request were; 2 when the command line was; 130 when an ingest was stopped before its end.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator, Set
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NoReturn

import click

from encoders.models import ModelMissing
from index.access import SCOPES, Access
from index.ledger import LeaseLost, LedgerDamaged
from index.search import QueryError
from index.table import TableUnreadable
from index.where import WhereError
from ingest.backfill import BY_REQUEST, SAMPLE, BackfillError
from ingest.clip import MediaError
from ingest.commit import TableBusy
from ingest.decode_wire import Limits
from ingest.doctor import told
from ingest.pipeline import StandsStill
from ingest.ray_token import ClusterRefused
from ingest.spaces import ENCODERS, RECIPES, SpaceChanged
from ingest.uploads import ManifestError
from recommend.events import EventsError
from recommend.faults import Leak, TooLittle, UnknownDial
from service import cli_behaviour, cli_feed, report
from service.cli_shared import INTERRUPTED, OURS, common, say, stoppable
from service.display import shown
from service.library import Backfill, EmptyLibrary, Library, Options, Summary, UnknownSpace, UnknownVideo
from service.metrics import served
from service.steps import written
from service.watch import Watch

CORE_HOUR = 0.045
"""What a core costs for an hour, in dollars; docs/cluster.md says where."""

_SAID_CLEARLY = (
    EmptyLibrary, UnknownSpace, UnknownVideo, SpaceChanged, ManifestError, WhereError, QueryError, ModelMissing,
    MediaError, TableBusy, TableUnreadable, LeaseLost, LedgerDamaged, OSError, ClusterRefused, BackfillError,
    EventsError, UnknownDial, TooLittle, Leak,
)  # fmt: skip
"""Errors whose one line tells a person what to do; any other is a bug of ours and comes with its traceback."""


def main() -> NoReturn:
    """Run the command line."""
    try:
        sys.exit(cli(standalone_mode=False) or 0)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        sys.exit(INTERRUPTED)
    except StandsStill as error:
        print(f"firstlook: {error}", file=sys.stderr, flush=True)
        os._exit(OURS)  # a thread that hangs would be waited for
    except _SAID_CLEARLY as error:
        print(f"firstlook: {error}", file=sys.stderr)
        sys.exit(OURS)


def _working(command: Any) -> Any:
    """The options of commands that decode: workers, and what one file may cost."""
    defaults = Limits()
    for option in (
        click.option("--max-cpu", type=click.IntRange(1), default=defaults.max_cpu_s, help="CPU-seconds."),
        click.option("--max-memory", type=click.IntRange(1), default=defaults.extra_memory_bytes >> 20, help="MB."),
        click.option("--max-streams", type=click.IntRange(1), default=defaults.max_streams, help="In one file."),
        click.option("--max-frames", type=click.IntRange(1), default=defaults.max_frames, help="In one file."),
        click.option("--max-duration", type=click.FloatRange(0.1), default=defaults.max_duration_s, help="Seconds."),
        click.option("--max-pixels", type=click.IntRange(1), default=defaults.max_pixels, help="Width x height."),
        click.option("--workers", type=click.IntRange(1, 256), help="Default: one a core."),
    ):
        command = option(command)
    return command


def _options(
    *,
    workers: int | None,
    max_pixels: int,
    max_duration: float,
    max_frames: int,
    max_streams: int,
    max_memory: int,
    max_cpu: int,
) -> Options:
    limits = Limits(
        max_pixels=max_pixels,
        max_duration_s=max_duration,
        max_frames=max_frames,
        max_streams=max_streams,
        extra_memory_bytes=max_memory << 20,
        max_cpu_s=max_cpu,
    )
    return Options(limits=limits) if workers is None else Options(limits=limits, workers=workers)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="firstlook")
def cli() -> None:
    """Understand short videos, find what is like them, and give every new one a fair first look."""
    logging.basicConfig(format="%(message)s", stream=sys.stderr)
    logging.getLogger("encoders").setLevel(logging.INFO)  # what takes long, once: converting a network


@cli.command()
@click.argument("paths", nargs=-1)
@click.option(
    "--manifest", type=click.Path(path_type=Path), help="CSV, JSONL or Parquet with uri, caption, hashtags, …"
)
@click.option("--sampling", type=click.Choice(["full", "fast"]), help="fast takes frames that are cheap to reach.")
@click.option("--without", multiple=True, type=click.Choice(ENCODERS), help="Leave an encoder out; may be repeated.")
@click.option("--new-space", is_flag=True, help="Fill a new space with the encoders installed now.")
@click.option("--in-place", is_flag=True, help="Refer to the originals where they lie instead of copying them.")
@_working
@common
def ingest(
    paths: tuple[str, ...],
    manifest: Path | None,
    sampling: str | None,
    without: tuple[str, ...],
    new_space: bool,
    in_place: bool,
    home: Path | None,
    space: str | None,
    as_json: bool,
    **working: Any,
) -> int:
    """Turn files, folders and patterns into a searchable library.

    Goes on with what an earlier run left waiting; without any PATHS also with a backfill that was left. What has not
    changed costs nothing.
    """
    recipe = None
    if sampling or without:
        if space:
            raise click.UsageError(
                "--sampling and --without make a space of their own; --space names one that is there"
            )
        recipe = replace(RECIPES["local-fast" if sampling == "fast" else "local"], without=tuple(sorted(set(without))))
    options = replace(_options(**working), new_space=new_space, in_place=in_place)
    with (
        Library.open(home, space=space, recipe=recipe, create=bool(paths or manifest)) as library,
        stoppable() as stop,
        shown(quiet=as_json) as listener,
    ):
        summary = library.ingest(paths, manifest, options=options, listener=listener, stop=stop)
    return _end(summary, as_json)


@cli.command()
@click.option(
    "--manifest", type=click.Path(path_type=Path), help="CSV, JSONL or Parquet with uri, caption, hashtags, …"
)
@click.option("--where", help="Of the uploads, those whose row in the live space fits; docs/where.md. Wants --space.")
@click.option("--in-place", is_flag=True, help="Refer to the originals where they lie instead of copying them.")
@click.option("--ray", metavar="local|ADDRESS", envvar="RAY_ADDRESS", help="Run on Ray. Default: RAY_ADDRESS, threads.")
@click.option("--decoders", type=click.IntRange(1), help="Chunks decoded at once on Ray. Default: one a CPU.")
@click.option("--encoders", type=click.IntRange(1), help="Encoders on Ray. Default: one a machine, or what GPUs hold.")
@click.option("--threads", type=click.IntRange(1), help="Of an encoder. Default: the CPUs of a machine.")
@click.option("--gpus", type=click.FloatRange(0), default=0.0, show_default=True, help="Of an encoder, such as .25.")
@click.option("--max-hours", type=click.FloatRange(0, min_open=True), help="Stop cleanly when they are used.")
@click.option("--estimate", is_flag=True, help="Say from a sample what it will take, and do nothing.")
@click.option("--sample", type=click.IntRange(1), help=f"Videos of an --estimate. Default: {SAMPLE}.")
@click.option("--price", type=click.FloatRange(0), help=f"Of a core and hour. Default: {CORE_HOUR}.")
@click.option("--metrics", metavar="[HOST:]PORT", help="Answer Prometheus there while it runs.")
@click.option(
    "--log", type=click.Path(path_type=Path, dir_okay=False), help="Append what each task did, as JSON lines."
)
@_working
@common
def backfill(
    manifest: Path | None,
    where: str | None,
    in_place: bool,
    ray: str | None,
    decoders: int | None,
    encoders: int | None,
    threads: int | None,
    gpus: float,
    max_hours: float | None,
    estimate: bool,
    sample: int | None,
    price: float | None,
    metrics: str | None,
    log: Path | None,
    home: Path | None,
    space: str | None,
    as_json: bool,
    **working: Any,
) -> int:
    """Fill a space with what a manifest names, or with every upload that it lacks.

    Goes on with what an earlier run left. Uploads that arrive meanwhile go first.
    """
    pools = {"decoders": decoders, "encoders": encoders, "threads": threads, "gpus": gpus or None}
    if ray is None and any(pools.values()):
        raise click.UsageError("--decoders, --encoders, --threads and --gpus are of Ray; they want --ray")
    if ray not in (None, "local") and working["workers"]:
        raise click.UsageError("--workers is of this machine; on a cluster --decoders says how many decode")
    if not estimate and (sample, price) != (None, None):
        raise click.UsageError("--sample and --price are of an --estimate")
    if estimate and log:
        raise click.UsageError("--estimate does nothing that --log could write down")
    asked = Backfill(
        manifest=manifest,
        where=where,
        ray=ray,
        pools={name: number for name, number in pools.items() if number is not None},
        max_hours=max_hours,
    )
    options = replace(_options(**working), in_place=in_place)
    with (
        Library.open(home, space=space, create=bool(manifest)) as library,
        stoppable() as stop,
        shown(quiet=as_json) as listener,
    ):
        if estimate:
            reckoned = library.estimate(
                asked,
                sample=sample or SAMPLE,
                price_per_core_hour=CORE_HOUR if price is None else price,
                options=options,
                listener=listener,
                stop=stop,
            )
        else:
            with served(metrics, listener.on_message) as meters, written(log) as write:
                heard = listener.beside(lambda pending: None, write)
                heard = heard if meters is None else heard.beside(meters.on_work, meters.on_step)
                ran = library.backfill(asked, options=options, listener=heard, stop=stop)
    if estimate:
        print(json.dumps(asdict(reckoned))) if as_json else report.estimate(reckoned)
        return 0
    if as_json:
        print(json.dumps(report.backfill_json(ran), ensure_ascii=False))
    else:
        report.backfill(ran)
    return INTERRUPTED if ran.stopped == BY_REQUEST else 0


@cli.command()
@common
def jobs(home: Path | None, space: str | None, as_json: bool) -> None:
    """List backfills, newest first, with their throughput."""
    with Library.open(home, space=space, create=False) as library:
        found = library.jobs()
    if as_json:
        print(json.dumps(report.jobs_json(found), ensure_ascii=False))
    else:
        report.jobs(found)


@cli.command()
@click.option("--video", metavar="ID", help="Like this video of the library.")
@click.option("--file", "path", type=click.Path(path_type=Path), help="Like this video, picture or sound.")
@click.option("--text", help="What these words say.")
@click.option("--batch", type=click.Path(path_type=Path), help="JSON lines {video|file|text: …}; answers a line each.")
@click.option("-k", default=10, show_default=True, type=click.IntRange(1, 1000), help="How many hits.")
@click.option("--where", help="A filter such as \"duration_s < 30 and hashtag = 'dance'\"; docs/where.md.")
@click.option("--weights", help="What counts how much, such as vision=.5,text=.3,sound=.2.")
@common
def search(
    video: str | None,
    path: Path | None,
    text: str | None,
    batch: Path | None,
    k: int,
    where: str | None,
    weights: str | None,
    home: Path | None,
    space: str | None,
    as_json: bool,
) -> None:
    """Find videos like a video, like a file, or by words."""
    asked = [one for one in (video, path, text, batch) if one is not None]
    if len(asked) != 1:
        raise click.UsageError(f"one of --video, --file, --text, --batch is wanted, {len(asked)} came")
    with Library.open(home, space=space, create=False) as library:
        if batch is not None:
            for answer in library.search_lines(_lines(batch), k=k, where=where, weights=_weights(weights)):
                print(json.dumps(answer, ensure_ascii=False))
            return
        hits = library.search(video=video, file=path, text=text, k=k, where=where, weights=_weights(weights))
        if as_json:
            print(json.dumps({"hits": [hit.to_json() for hit in hits]}, ensure_ascii=False))
        else:
            report.hits(hits)


@cli.command()
@click.option("--all", "everything", is_flag=True, required=True, help="Neighbours of every video.")
@click.option("-k", default=20, show_default=True, type=click.IntRange(1, 1000), help="How many neighbours each.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="A Parquet file.")
@common
def similar(everything: bool, k: int, out: Path, home: Path | None, space: str | None, as_json: bool) -> None:
    """Write the nearest neighbours of all videos to a Parquet file."""
    del everything  # the flag says it in the command line; one video is what `search --video` is for
    with Library.open(home, space=space, create=False) as library:
        count = library.similar_all(out, k=k)
    say({"videos": count, "k": k, "out": str(out)}, as_json, f"neighbours of {count} videos in {out}")


@cli.command()
@click.argument("video_id")
@common
def show(video_id: str, home: Path | None, space: str | None, as_json: bool) -> None:
    """Show one video, or why it is none."""
    with Library.open(home, space=space, create=False) as library:
        found = library.show(video_id)
    if as_json:
        print(json.dumps(report.plain(found), ensure_ascii=False))
    else:
        report.record(found)


@cli.command()
@common
def status(home: Path | None, space: str | None, as_json: bool) -> None:
    """Count what the library holds and what waits."""
    with Library.open(home, space=space, create=False) as library:
        counts = library.status()
    if as_json:
        print(json.dumps(counts, ensure_ascii=False))
    else:
        report.status(counts)


@cli.command()
@click.option("--retry", is_flag=True, help="Try them again, and complete partial videos.")
@click.option("--quarantined", is_flag=True, help="With --retry: also those that killed their decode child.")
@_working
@common
def failures(
    retry: bool, quarantined: bool, home: Path | None, space: str | None, as_json: bool, **working: Any
) -> int:
    """List what did not become a video, and why; or try it again."""
    with Library.open(home, space=space, create=False) as library:
        if retry:
            options = _options(**working)
            with stoppable() as stop, shown(quiet=as_json) as listener:
                summary = library.retry(quarantined=quarantined, options=options, listener=listener, stop=stop)
            return _end(summary, as_json)
        found = library.failures()
    if as_json:
        print(json.dumps([asdict(failure) for failure in found], ensure_ascii=False))
    else:
        report.failures(found)
    return 0


@cli.command()
@click.option(
    "--deep", is_flag=True, help="Read every byte: rows, originals, analyses and thumbnails by their digests."
)
@click.option("--fix", is_flag=True, help="Mend what is derived; without it nothing is changed.")
@common
def doctor(deep: bool, fix: bool, home: Path | None, space: str | None, as_json: bool) -> int:
    """Examine a library: is everything there, whole, and once? docs/doctor.md tells what is looked at."""
    with Library.open(home, space=space, create=False) as library:
        found = library.doctor(deep=deep, fix=fix)
    print(json.dumps(found.to_json(), ensure_ascii=False) if as_json else told(found))
    return 0 if found.healthy else OURS


@cli.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8000, show_default=True, type=click.IntRange(0, 65_535), help="0: any free one.")
@click.option("--name", "names", multiple=True, help="A name that we are called by, beside those of this machine.")
@click.option("--store", "stores", multiple=True, help="A folder or bucket that uploads may be named from.")
@click.option("--behind-tls", is_flag=True, help="A proxy before us ends TLS; wanted beyond this machine.")
@click.option("--processes", default=1, show_default=True, type=click.IntRange(1, 64), help="That answer.")
@click.option("--workers", type=click.IntRange(1, 256), help="Files decoded at once. Default: one a core.")
@click.option("--ray", metavar="local|ADDRESS", help="Decode and encode on Ray. Default: threads of the ingest worker.")
@click.option("--no-ingest", is_flag=True, help="Only answer; uploads wait.")
@click.option("--space", help="Name or id of a space. Default: the home's live one, then local.")
@click.option("--home", type=click.Path(path_type=Path), help="Default: FIRSTLOOK_HOME, then ./firstlook-data.")
def serve(
    host: str,
    port: int,
    names: tuple[str, ...],
    stores: tuple[str, ...],
    behind_tls: bool,
    processes: int,
    workers: int | None,
    ray: str | None,
    no_ingest: bool,
    space: str | None,
    home: Path | None,
) -> None:
    """Answer HTTP: uploads come in, and what is like a video goes out. SIGHUP renews what answers, without a gap.

    Wants a key on every call; `firstlook keys create` makes one.
    """
    from service.web.asked import Asked  # FastAPI and uvicorn: only this command pays for them
    from service.web.serve import NotReady, Parent, bind, check_reach
    from service.web.settings import Settings, as_host

    logging.getLogger("firstlook").setLevel(logging.INFO)
    if ray is not None and no_ingest:
        raise click.UsageError("--ray is of the ingest worker, and --no-ingest leaves it out")
    if ray not in (None, "local") and workers:
        raise click.UsageError("--workers is of this machine; a cluster decodes on every CPU that it has")
    try:
        check_reach(host, behind_tls=behind_tls)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    with Library.open(home, space=space) as library:
        library.settle_space()
        folder, space_id = str(library.home.folder), library.space.id
    if ray is not None:
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as apart:  # no Ray in whoever holds the socket
            apart.submit(_check_cluster, ray).result()
    listening = bind(host, port)
    port = listening.getsockname()[1]
    known = Settings()
    settings = known.model_copy(
        update={
            "hosts": tuple(dict.fromkeys([*known.hosts, *map(as_host, (host, *names))])),
            "stores": tuple(stores),
            "secure": behind_tls,
        }
    )
    asked = Asked(
        home=folder,
        space=space_id,
        workers=workers,
        processes=processes,
        ray=ray,
        ingest=not no_ingest,
        settings=settings,
    )
    try:
        Parent(asked, listening).run(lambda: print(f"firstlook answers at http://{host}:{port}", flush=True))
    except NotReady as error:
        raise click.ClickException(str(error)) from error


def _check_cluster(address: str) -> None:
    from ingest.cluster import check

    check(address)


@cli.command()
@click.argument("place")
@click.option("--every", default=5.0, show_default=True, type=click.FloatRange(0.1), help="Seconds between two looks.")
@click.option("--space", help="Name or id of a space. Default: the home's live one, then local.")
@click.option("--home", type=click.Path(path_type=Path), help="Default: FIRSTLOOK_HOME, then ./firstlook-data.")
def watch(place: str, every: float, space: str | None, home: Path | None) -> None:
    """Make an upload of whatever is dropped into PLACE, a folder or a bucket such as s3://uploads/incoming.

    It writes them down; the worker of firstlook serve works on them. Until Ctrl-C or SIGTERM.
    """

    def tell(new: Set[str]) -> None:
        print(f"{len(new)} new in {place}", file=sys.stderr)

    if "://" not in place and not Path(place).is_dir():
        raise click.UsageError(f"a folder or a URL is wanted, and {place} is none")
    with Library.open(home, space=space) as library, stoppable() as stop:
        library.settle_space()
        Watch(place, library.home, library.space.id).run(stop, every_s=every, on_new=tell)


@cli.group()
def keys() -> None:
    """Who may use the HTTP doors."""


@keys.command("create")
@click.option("--scope", required=True, help=f"Of {', '.join(SCOPES)}; several with commas.")
@click.option("--viewer", help="Bind it to one viewer, whose feed and events it is for.")
@click.option("--label", default="", help="For you: who has it.")
@click.option("--days", type=click.FloatRange(0, min_open=True), help="How long it holds. Default: until revoked.")
@common
def keys_create(
    scope: str,
    viewer: str | None,
    label: str,
    days: float | None,
    home: Path | None,
    space: str | None,
    as_json: bool,
) -> None:
    """Make a key and print it, this once: only its hash is kept."""
    with Library.open(home, space=space) as library:
        try:
            key, text = Access(library.home.ledger).create(
                [part.strip() for part in scope.split(",")],
                label=label,
                ttl_s=days * 86_400 if days else None,
                viewer_id=viewer,
            )
        except ValueError as error:
            raise click.BadParameter(str(error), param_hint="--scope") from error
    bound = {} if key.viewer_id is None else {"viewer_id": key.viewer_id}
    say({"key_id": key.key_id, "key": text, "scopes": list(key.scopes), **bound}, as_json, text)


@keys.command("list")
@common
def keys_list(home: Path | None, space: str | None, as_json: bool) -> None:
    """List keys; what opens doors is not among what is known of them."""
    with Library.open(home, space=space, create=False) as library:
        found = Access(library.home.ledger).listed()
    if as_json:
        print(json.dumps([asdict(key) for key in found], ensure_ascii=False))
    else:
        report.keys(found)


@keys.command("revoke")
@click.argument("key_id")
@common
def keys_revoke(key_id: str, home: Path | None, space: str | None, as_json: bool) -> int:
    """End a key, and the sessions that were opened with it."""
    with Library.open(home, space=space, create=False) as library:
        ended = Access(library.home.ledger).revoke(key_id)
    say({"revoked": ended}, as_json, "revoked; it opens nothing within seconds" if ended else "no such key")
    return 0 if ended else OURS


@cli.command()
@click.option("--out", required=True, type=click.Path(path_type=Path, file_okay=False), help="A new or empty folder.")
@common
def export(out: Path, home: Path | None, space: str | None, as_json: bool) -> None:
    """Write everything out: videos with their vectors, failures, thumbnails."""
    with Library.open(home, space=space, create=False) as library:
        counts = library.export(out)
    say(
        counts,
        as_json,
        f"{counts['videos']} videos, {counts['failures']} failures, {counts['thumbnails']} thumbnails in {out}",
    )


def _end(summary: Summary, as_json: bool) -> int:
    """Print how an ingest ended, and give its exit code."""
    if as_json:
        print(json.dumps(report.summary_json(summary), ensure_ascii=False))
    else:
        report.summary(summary)
    return INTERRUPTED if summary.pending else 0


def _weights(text: str | None) -> dict[str, float] | None:
    """Read `vision=.5,text=.3`; how they are checked and scaled is the search's business."""
    if text is None:
        return None
    try:
        return {name.strip(): float(value) for name, value in (part.split("=") for part in text.split(","))}
    except ValueError as error:
        raise click.BadParameter(
            f"wanted such as vision=.5,text=.3,sound=.2, got {text!r}", param_hint="--weights"
        ) from error


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    """Read a batch; a line that cannot be read is handed on as its error, so that every line has an answer."""
    with path.open(encoding="utf-8", errors="replace") as file:
        for number, line in enumerate(file, start=1):
            try:
                asked = json.loads(line)
            except json.JSONDecodeError as error:
                yield {"line": number, "error": f"not JSON: {error}"}
                continue
            if not isinstance(asked, dict):
                yield {"line": number, "error": f"an object is wanted, got {line.strip()[:100]}"}
                continue
            yield asked


for _command in (*cli_behaviour.COMMANDS, *cli_feed.COMMANDS):
    cli.add_command(_command)

if __name__ == "__main__":
    main()
