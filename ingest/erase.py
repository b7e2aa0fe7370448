"""Erase: what a creator deletes leaves every answer at once, and here the disks.

The ledger forgets first (`Ledger.erase`). What is left then is a list of erasures, which a kill cannot lose: rows go,
with the bytes of their files, then blobs that nobody else has, and last the entry of the list.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from index.blobs import analysis_key, original_key, thumbnail_key
from index.home import Home
from index.ledger import Erasure
from index.records import Space
from ingest.chunk_decode import stored_analysis
from ingest.commit import UPKEEP_LEASE_S, leased


def erase_due(home: Home, owner: str) -> int:
    """Delete what the ledger has forgotten from tables and blobs; return how many erasures that ended.

    Rewrites the files that held the rows and rebuilds the index of words: seconds at 100,000 rows, so call it for many
    at once.

    Args:
        home: whose tables and blobs.
        owner: who asks for the leases of the tables (`ledger.owner_name`).
    """
    due = home.ledger.erasures_due()
    if not due:
        return 0
    spaces = home.ledger.spaces()
    for space in spaces:
        _erase_rows(home, space, due, owner)
    for content in sorted({one.content_sha256 for one in due}):
        pictures = _pictures_of(content, home, spaces)
        home.ledger.while_unused(content, partial(_erase_blobs, home, content, spaces, pictures))
    home.ledger.end_erasures(due)
    return len(due)


def _erase_rows(home: Home, space: Space, due: Sequence[Erasure], owner: str) -> None:
    """Also where no row is left to be seen: a deletion only hides, and its bytes stay until files are rewritten."""
    last = {one.video_id: one.revision for one in sorted(due, key=lambda one: one.revision)}
    with leased(home.ledger, space.id, owner, ttl_s=UPKEEP_LEASE_S):
        table = home.table(space)
        rows = table.get(last)
        table.erase(video_id for video_id, video in rows.items() if video.upload.revision <= last[video_id])


def _pictures_of(content: str, home: Home, spaces: Sequence[Space]) -> list[str]:
    """Thumbnails that only this content has; its analyses are the ones who know which they are."""
    analyses = (stored_analysis(content, home.blobs, space.id) for space in spaces)
    names = {analysis.thumbnail_sha256 for analysis in analyses if analysis is not None}
    tables = [home.table(space) for space in spaces]
    return [name for name in names if name and not any(table.ids(f"thumbnail_sha256 = '{name}'") for table in tables)]


def _erase_blobs(home: Home, content: str, spaces: Sequence[Space], pictures: Sequence[str]) -> None:
    for name in pictures:
        home.blobs.delete(thumbnail_key(name))
    for space in spaces:
        home.blobs.delete(analysis_key(content, space.id))
    home.blobs.delete(original_key(content))
