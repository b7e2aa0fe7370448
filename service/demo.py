"""`make demo`: sample clips, or a folder of one's own, become a library; it is searched, and somebody gets a feed.

python -m service.demo [--home firstlook-demo] [--videos FOLDER]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from rich.console import Console
from rich.table import Table

from index.records import Event, Video
from ingest.samples import draw_samples
from service import report
from service.cli_feed import page_lines
from service.display import shown
from service.library import Library, Match, Options

ASKED = ("a cat", "a hot drink", "a machine that flies into space")
"""Sentences for the sample clips. The clips without a caption that they find are found by what is seen in them."""
ROWS = 8
NEIGHBOURS = 3
CELL_PX = (150, 240)
VIEWER = "ana"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A video and what is most like it."""

    video: Video
    matches: list[Match]


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, default=Path("firstlook-demo"))
    parser.add_argument("--videos", type=Path, help="a folder of your own; default: clips that are drawn now")
    asked = parser.parse_args(arguments)
    console = Console(highlight=False, markup=False, soft_wrap=True)
    home = asked.home / ("yours" if asked.videos else "samples")
    with Library.open(home) as library:
        if asked.videos:
            ingest(library, console, paths=[asked.videos.expanduser()])
        else:
            ingest(library, console, manifest=drawn(asked.home / "clips", console))
        rows = neighbours(library)
        if not rows:
            console.print("no videos, so nothing to compare; firstlook failures --home " + str(home))
            return 1
        show_neighbours(rows, console)
        for sentence in ASKED if not asked.videos else (likely_words(rows),):
            console.print(f'\nfirstlook search --home {home} --text "{sentence}" -k 6')
            report.hits(library.search(text=sentence, k=6))
        show_feed(library, rows, home, console)
        sheet = contact_sheet(library, rows, asked.home / f"{home.name}.jpg")
        console.print()
        report.record(rows[0].video)
        console.print(f"\nThe table above as pictures: {sheet}")
        for row in rows[:3]:
            console.print(f"  thumbnail of {row.video.upload.video_id}: {library.thumbnail(row.video)}")
        console.print(f"Next: .venv/bin/firstlook search --home {home} --file ANY_VIDEO_PICTURE_OR_SOUND")
    return 0


def drawn(folder: Path, console: Console) -> Path:
    """Draw the sample clips, once."""
    manifest = folder / "manifest.jsonl"
    if not manifest.exists():
        console.print(f"drawing 48 sample clips into {folder}")
        draw_samples(folder)
    return manifest


def ingest(library: Library, console: Console, *, paths: Sequence[Path] = (), manifest: Path | None = None) -> None:
    with shown() as listener:
        summary = library.ingest(paths, manifest, options=Options(), listener=listener)
    report.summary(summary)
    for failure in library.failures()[:5]:
        console.print(f"  {failure.uri}: {failure.reason}: {failure.detail}")


def neighbours(library: Library) -> list[Row]:
    """A few videos, spread over the library, with their nearest neighbours."""
    table = library.home.table(library.space)
    ids = table.ids()
    chosen = [ids[number * len(ids) // min(ROWS, len(ids))] for number in range(min(ROWS, len(ids)))]
    videos = table.get(chosen)
    return [Row(video=videos[one], matches=library.search(video=one, k=NEIGHBOURS)) for one in chosen]


def show_neighbours(rows: Sequence[Row], console: Console) -> None:
    table = Table(box=None, header_style="bold", title="\nnearest neighbours", title_justify="left", pad_edge=False)
    table.add_column("video")
    for number in range(NEIGHBOURS):
        table.add_column(f"{number + 1}.")
    for row in rows:
        cells = [
            f"{match.video_id} {match.score:.2f}\n{report.in_words(match.upload, match.glance)}"
            for match in row.matches
        ]
        table.add_row(
            f"{row.video.upload.video_id}\n{report.in_words(row.video.upload, row.video.glance)}",
            *cells,
            end_section=True,
        )
    Console(highlight=False, markup=False, width=max(console.width, 150)).print(table)


def show_feed(library: Library, rows: Sequence[Row], home: Path, console: Console) -> None:
    """Let somebody watch two videos that are alike to the end, and leave another; then make her next page."""
    liked, left = rows[len(rows) // 4], rows[-3 % len(rows)]
    watched = [liked.video.upload.video_id, *(match.video_id for match in liked.matches[:1])]
    at_s = time.time() - 60
    library.append_events([
        *(_view(video_id, at_s + n, seconds=None, library=library) for n, video_id in enumerate(watched)),
        _view(left.video.upload.video_id, at_s + 9, seconds=0.8, library=library),
    ])  # fmt: skip
    console.print(
        f"\n{VIEWER} watched {' and '.join(watched)} to the end, and left {left.video.upload.video_id} at once."
    )
    console.print(f"firstlook feed --home {home} --user {VIEWER} -k 6 --why --look")
    page = library.recommender().feed(VIEWER, k=6, write_down=False)
    for line in page_lines(page, library, says_why=True):
        console.print(line)


def _view(video_id: str, at_s: float, *, seconds: float | None, library: Library) -> Event:
    """A view of so many seconds, or to the end. Its id is the same in every demo, so that it is counted once."""
    glance = library.glance(video_id)
    assert glance is not None
    return Event(
        event_id=f"demo-{VIEWER}-{video_id}",
        kind="view",
        viewer_id=VIEWER,
        video_id=video_id,
        time_s=at_s,
        watch_s=glance.duration_s if seconds is None else min(seconds, glance.duration_s),
    )


def likely_words(rows: Sequence[Row]) -> str:
    """Something that can be found: the surest tag of the videos shown."""
    tags = [tag for row in rows for tag in row.video.tags]
    return max(tags, key=lambda tag: tag.probability).name if tags else "people talking"


def contact_sheet(library: Library, rows: Sequence[Row], path: Path) -> Path:
    """Draw a row of thumbnails a video: itself, a gap, its neighbours."""
    width, height = CELL_PX
    sheet = Image.new("RGB", ((NEIGHBOURS + 1) * width + width // 4, len(rows) * height), "white")
    for line, row in enumerate(rows):
        for column, glance in enumerate([row.video.glance, *(match.glance for match in row.matches)]):
            thumbnail = library.thumbnail(glance)
            if thumbnail is None:
                continue
            with Image.open(thumbnail) as picture:
                picture.thumbnail((width - 6, height - 6))
                sheet.paste(picture, (column * width + (width // 4 if column else 0) + 3, line * height + 3))
    sheet.save(path, quality=85)
    return path


if __name__ == "__main__":
    sys.exit(main())
