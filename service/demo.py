"""`make demo`: sample clips, or a folder of one's own, become a library; then it is searched.

python -m service.demo [--home firstlook-demo] [--videos FOLDER]
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from rich.console import Console
from rich.table import Table

from index.records import Video
from ingest.samples import draw_samples
from service import report
from service.display import shown
from service.library import Library, Match, Options

ASKED = ("a cat", "a hot drink", "a machine that flies into space")
"""Sentences for the sample clips. The clips without a caption that they find are found by what is seen in them."""
ROWS = 8
NEIGHBOURS = 3
CELL_PX = (150, 240)


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
