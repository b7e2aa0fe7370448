"""One folder holds everything: the ledger, the blobs, the behaviour log and the tables.

```
firstlook-data/
  ledger.sqlite     uploads, leases, failures, spaces        the truth
  blobs/            originals, thumbnails, analyses          the truth
  behaviour.sqlite  events, impressions, states of viewers   the truth, with the first of them
  tables/           one Lance table a space                  derived
```

Each of them can live elsewhere, by URL: `ledger_url` and `behaviour_url` (PostgreSQL), `blobs_url` (s3://…),
`tables_url`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from index.behaviour import Behaviour
from index.blobs import Blobs
from index.ledger import Ledger
from index.records import Space
from index.table import VideoTable

DEFAULT_FOLDER = "firstlook-data"


@dataclass(frozen=True, slots=True, kw_only=True)
class Home:
    """The stores of one library, opened."""

    folder: Path
    ledger: Ledger
    behaviour: Behaviour
    blobs: Blobs
    blobs_url: str
    tables_url: str

    @classmethod
    def open(
        cls,
        folder: str | Path | None = None,
        *,
        create: bool = True,
        ledger_url: str | None = None,
        behaviour_url: str | None = None,
        blobs_url: str | None = None,
        tables_url: str | None = None,
    ) -> Home:
        """Open a home, making it where there is none.

        Args:
            folder: default `FIRSTLOOK_HOME`, then `./firstlook-data`.
            create: make it where there is none.
            ledger_url: default `FIRSTLOOK_LEDGER_URL`, then SQLite in the folder; the next three likewise.

        Raises:
            NotADirectoryError: the folder is a file.
            FileNotFoundError: there is none, and none is to be made.
        """
        path = Path(folder or os.environ.get("FIRSTLOOK_HOME") or DEFAULT_FOLDER).resolve()
        if path.exists() and not path.is_dir():
            raise NotADirectoryError(f"a home is a folder; {path} is a file")
        ledger_url = ledger_url or os.environ.get("FIRSTLOOK_LEDGER_URL")
        if not create and not ledger_url and not (path / "ledger.sqlite").is_file():
            raise FileNotFoundError(f"no library at {path}; firstlook ingest PATHS makes one")
        path.mkdir(parents=True, exist_ok=True)
        blobs_url = _absolute(blobs_url or os.environ.get("FIRSTLOOK_BLOBS_URL") or str(path / "blobs"))
        behaviour_url = behaviour_url or os.environ.get("FIRSTLOOK_BEHAVIOUR_URL")
        return cls(
            folder=path,
            ledger=Ledger(ledger_url or f"sqlite:///{path}/ledger.sqlite"),
            behaviour=Behaviour(behaviour_url or f"sqlite:///{path}/behaviour.sqlite"),
            blobs=Blobs(blobs_url),
            blobs_url=blobs_url,
            tables_url=_absolute(tables_url or os.environ.get("FIRSTLOOK_TABLES_URL") or str(path / "tables")),
        )

    def table(self, space: Space) -> VideoTable:
        return VideoTable.open(self.tables_url, space)

    def close(self) -> None:
        self.behaviour.close()
        self.ledger.close()


def _absolute(url: str) -> str:
    """Workers elsewhere start in another folder."""
    return url if "://" in url else str(Path(url).resolve())
