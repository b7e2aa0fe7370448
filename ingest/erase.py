"""Erase: what a creator deletes leaves every answer at once, and here the disks.

The ledger forgets first (`Ledger.erase`). What is left then is a list of erasures, which a kill cannot lose: rows go,
with the bytes of their files, then blobs that nobody else has, and last the entry of the list.
"""

from __future__ import annotations

from collections.abc import Sequence

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
    unused = {one.content_sha256 for one in due}
    unused -= home.ledger.contents_in_use(sorted(unused))
    for content in sorted(unused):
        _erase_blobs(home, content, spaces)
    home.ledger.end_erasures(due)
    return len(due)


def _erase_rows(home: Home, space: Space, due: Sequence[Erasure], owner: str) -> None:
    table = home.table(space)
    last = {one.video_id: one.revision for one in sorted(due, key=lambda one: one.revision)}
    rows = table.get(last)
    gone = [video_id for video_id, video in rows.items() if video.upload.revision <= last[video_id]]
    if gone:
        with leased(home.ledger, space.id, owner, ttl_s=UPKEEP_LEASE_S):
            table.erase(gone)


def _erase_blobs(home: Home, content: str, spaces: Sequence[Space]) -> None:
    """Thumbnails first, since only the analysis knows which they are."""
    for space in spaces:
        analysis = stored_analysis(content, home.blobs, space.id)
        picture = analysis.thumbnail_sha256 if analysis else None
        if picture and not any(home.table(one).ids(f"thumbnail_sha256 = '{picture}'") for one in spaces):
            home.blobs.delete(thumbnail_key(picture))
        home.blobs.delete(analysis_key(content, space.id))
    home.blobs.delete(original_key(content))
