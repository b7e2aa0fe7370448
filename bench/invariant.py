"""Every file ends as a video or a failure: real clips, hostile files, sounds and speech, all in one ingest.

    python bench/invariant.py --data DIR [--json]

DIR holds folders with a MANIFEST.csv (columns `file`, `sha256`, `probe`); everything under `videos`, `hostile`,
`labelled` and `speech` of each is ingested. Checked: videos + failures = uploads; files that another program decoded
without an error (`probe` is `ok`) are videos; at most 5 % of the failures are under a catch-all reason; no file took
more than its limits; the table and the ledger agree; and the same ingest again decodes nothing and is quick.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

sys.path[0] = str(Path(__file__).parent.parent)  # bench/ingest.py would hide the package ingest

import psutil

from bench.machine import facts
from ingest.clip import Clip
from ingest.decode import DecodePool
from ingest.decode_wire import Limits
from service.library import Library

FOLDERS = ("videos", "hostile", "labelled", "speech")
CATCH_ALL = ("invalid_data", "undecodable")
CATCH_ALL_MOST = 0.05
AGAIN_PER_SECOND = 200
EXCEPTIONS = {"localonly/hostile/fuzz_images/cowboy_small.gif": "one frame that claims to last 655 s"}


@dataclass(slots=True)
class Watch:
    """What decoding took at most, seen from outside."""

    decodes: int = 0
    wall_s: dict[str, float] = field(default_factory=dict)
    child_rss_bytes: int = 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--json", action="store_true")
    asked = parser.parse_args()
    asked.data = asked.data.resolve()
    folders = [folder for name in FOLDERS for folder in sorted(asked.data.glob(f"*/{name}"))]
    if not folders:
        sys.exit(f"no {', '.join(FOLDERS)} under {asked.data}/*")
    with tempfile.TemporaryDirectory() as home, watched() as watch, Library.open(home) as library:
        summary = library.ingest(folders)
        decodes = watch.decodes
        again = library.ingest(folders)
        failures = {failure.video_id: failure for failure in library.failures()}
        agree = library.home.table(library.space).ids() == sorted(library.home.ledger.video_ids(library.space.id))
        faults = library.home.table(library.space).check()
    good = decoded_elsewhere(asked.data)
    refused = {
        str(Path(failure.uri).relative_to(asked.data)): failure.reason
        for failure in failures.values()
        if failure.uri.startswith("/") and str(Path(failure.uri).relative_to(asked.data)) in good
    }
    catch_all = sum(summary.reasons.get(reason, 0) for reason in CATCH_ALL) / max(summary.failures, 1)
    again_per_second = (again.uploads + len(again.extra_paths)) / again.seconds
    slowest = max(watch.wall_s, key=lambda path: watch.wall_s[path])
    named = {path: why for path, why in refused.items() if why != "still_image" and path not in EXCEPTIONS}
    checks = {
        "what another program decodes is a video, but for still pictures and the exceptions named": not named,
        "no child took more memory than its limit": watch.child_rss_bytes <= Limits().extra_memory_bytes + (250 << 20),
        "again decodes nothing": watch.decodes == decodes and again.skipped == again.uploads == summary.uploads,
        f"again passes >= {AGAIN_PER_SECOND} files a second": again_per_second >= AGAIN_PER_SECOND,
        "videos + failures == uploads": summary.videos + summary.failures == summary.uploads,
        "nothing is pending": summary.pending == 0,
        "table and ledger agree": agree and not faults,
        f"catch-all <= {CATCH_ALL_MOST:.0%} of failures": catch_all <= CATCH_ALL_MOST,
        "no file took longer than its wall limit": watch.wall_s[slowest] <= Limits().max_wall_s + 1,
    }
    result = {
        "uploads": summary.uploads,
        "videos": summary.videos,
        "failures": summary.failures,
        "extra_paths": len(summary.extra_paths),
        "seconds": summary.seconds,
        "again_files_per_second": round(again_per_second),
        "reasons": dict(summary.reasons),
        "catch_all_share": round(catch_all, 4),
        "decoded_elsewhere_but_refused": refused,
        "slowest_decode_s": round(watch.wall_s[slowest], 2),
        "largest_child_mb": watch.child_rss_bytes >> 20,
        "checks": checks,
        "pass": all(checks.values()),
    }
    if asked.json:
        print(json.dumps(result | facts()))
    else:
        for name, value in (facts() | result).items():
            if isinstance(value, dict):
                print(f"{name}:")
                for key, inner in value.items():
                    print(f"  {inner!s:>8}  {key}")
            else:
                print(f"{name}: {value}")
    return 0 if result["pass"] else 1


def decoded_elsewhere(data: Path) -> set[str]:
    """Files, relative to the data, that the manifest's program decoded to the end, with picture or sound in them."""
    good = set()
    for manifest in data.glob("*/MANIFEST.csv"):
        with manifest.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                if row["probe"] == "ok" and row["kind"] in ("video", "audio"):
                    good.add(f"{manifest.parent.name}/{row['file']}")
    return good


@contextmanager
def watched() -> Iterator[Watch]:
    """Time every decode, and sample the memory of the children, for as long as the block lasts."""
    watch, over = Watch(), threading.Event()
    decode = DecodePool.decode

    def timed(self: DecodePool, path: Path | str) -> Clip:
        watch.decodes += 1
        started = time.monotonic()
        try:
            return decode(self, path)
        finally:
            watch.wall_s[str(path)] = time.monotonic() - started

    def sample() -> None:
        while not over.wait(0.05):
            for child in psutil.Process().children():
                try:
                    watch.child_rss_bytes = max(watch.child_rss_bytes, child.memory_info().rss)
                except psutil.NoSuchProcess:
                    continue

    sampler = threading.Thread(target=sample, daemon=True)
    sampler.start()
    DecodePool.decode = timed  # type: ignore[method-assign]
    try:
        yield watch
    finally:
        DecodePool.decode = decode  # type: ignore[method-assign]
        over.set()
        sampler.join()


if __name__ == "__main__":
    sys.exit(main())
