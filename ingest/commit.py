"""Commit: rows go into the table, and only then does the ledger hear of it.

The order is the protocol. An analysis is a blob before its row is written; the row is in the table before the ledger
calls the upload a video. Killed between any two of these, the next run finds the earlier step done and goes on: the
row is written again by its key, and nothing is decoded twice.

One writer a table: the lease is taken for the length of one commit, and the acknowledgement is refused when it has
passed to somebody else meanwhile. (Lance does not fence a stalled writer, but its rows are keyed, and equal.)
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager

from index.home import Home
from index.ledger import Lease, Ledger
from index.records import Failure, Space, Upload, Video
from index.table import VideoTable

COMMIT_LEASE_S = 60.0
UPKEEP_LEASE_S = 900.0
PATIENCE_S = 2 * UPKEEP_LEASE_S
"""So long a commit waits for another writer: longer than the longest lease, that of building an index."""


class TableBusy(Exception):
    """Another process holds the lease of the table and does not let go."""


class Committer:
    """Writes what became of uploads: rows of videos, and failures.

    Args:
        home: whose ledger and table.
        space: the space of all rows.
        owner: who asks for the lease (`ledger.owner_name`).
    """

    def __init__(self, home: Home, space: Space, owner: str, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._ledger, self._space, self._owner, self._sleep = home.ledger, space, owner, sleep
        self._table: VideoTable = home.table(space)

    def commit(self, videos: Sequence[Video]) -> None:
        """Write rows in one commit, then acknowledge them.

        Raises:
            TableBusy: the lease was not to be had.
            LeaseLost: it passed to somebody else before the acknowledgement; the uploads stay queued.
        """
        if not videos:
            return
        # An edit may have been analysed before its forerunner was committed; one row a video, and the newest counts.
        newest = {video.upload.video_id: video for video in sorted(videos, key=lambda video: video.upload.revision)}
        rows = list(newest.values())
        with self._leased() as lease:
            self._table.upsert(rows)
            self._ledger.acknowledge([(video.upload, video.partial) for video in rows], self._space.id, lease)
            self._take_back_erased([video.upload for video in rows])
            if self._table.upkeep_is_due():
                self._ledger.lease(self._space.id, self._owner, ttl_s=UPKEEP_LEASE_S)
                self._table.optimize_if_due()

    def _take_back_erased(self, uploads: Sequence[Upload]) -> None:
        known = self._ledger.standings([upload.video_id for upload in uploads], self._space.id)
        if erased := [upload for upload in uploads if upload.video_id not in known]:
            self._table.delete([upload.video_id for upload in erased])
            self._ledger.erase_again(erased)

    def fail(self, failures: Sequence[tuple[Upload, Failure]]) -> list[str]:
        """Write failures down, in the ledger alone.

        Returns:
            Ids that may have a row of an earlier revision: it has to go, since an upload is a video or a failure.
        """
        failed = set(self._ledger.fail(failures, self._space.id, self._owner))
        return [upload.video_id for upload, _ in failures if upload.revision > 1 and upload.video_id in failed]

    def remove(self, video_ids: Sequence[str]) -> None:
        """Take rows out of the table."""
        with self._leased():
            self._table.delete(video_ids)

    def _leased(self) -> AbstractContextManager[Lease]:
        return leased(self._ledger, self._space.id, self._owner, sleep=self._sleep)


@contextmanager
def leased(
    ledger: Ledger,
    table: str,
    owner: str,
    *,
    ttl_s: float = COMMIT_LEASE_S,
    sleep: Callable[[float], None] = time.sleep,
) -> Iterator[Lease]:
    """Hold the right to write a table while the block lasts, waiting for whoever has it.

    Raises:
        TableBusy: they did not let go of it within `PATIENCE_S`.
    """
    waited_s = 0.0
    while (lease := ledger.lease(table, owner, ttl_s=ttl_s)) is None:
        if waited_s > PATIENCE_S:
            raise TableBusy(
                f"another process has been writing the table of {table} for {waited_s:.0f} s; "
                "nothing that was done is lost, run it again when the other has ended"
            )
        sleep(0.05)
        waited_s += 0.05
    try:
        yield lease
    finally:
        ledger.end_lease(lease)
