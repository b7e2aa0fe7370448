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
from contextlib import contextmanager

from index.home import Home
from index.ledger import Lease
from index.records import Failure, Space, Upload, Video
from index.table import VideoTable

PATIENCE_S = 900.0
"""So long a commit waits for another writer; a commit takes well under a second, building an index minutes."""
UPKEEP_LEASE_S = 900.0


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
            if self._table.upkeep_is_due():
                self._ledger.lease(self._space.id, self._owner, ttl_s=UPKEEP_LEASE_S)
                self._table.optimize_if_due()

    def restore(self, videos: Sequence[Video]) -> None:
        """Write rows that the ledger calls videos already: the table is derived, and can lose some."""
        with self._leased():
            self._table.upsert(videos)

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

    @contextmanager
    def _leased(self) -> Iterator[Lease]:
        lease = self._lease()
        try:
            yield lease
        finally:
            self._ledger.end_lease(lease)

    def _lease(self) -> Lease:
        waited_s = 0.0
        while True:
            lease = self._ledger.lease(self._space.id, self._owner)
            if lease is not None:
                return lease
            if waited_s > PATIENCE_S:
                raise TableBusy(
                    f"another process has been writing the table of {self._space.id} for {waited_s:.0f} s; "
                    "what was analysed is kept, run ingest again when it is done"
                )
            self._sleep(0.05)
            waited_s += 0.05
