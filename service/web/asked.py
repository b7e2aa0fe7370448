"""What `firstlook serve` was asked, as it is handed to the processes that it starts."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from service.web.settings import Settings


class Asked(BaseModel):
    model_config = ConfigDict(frozen=True)

    home: str
    space: str | None = None
    workers: int | None = None
    """Files decoded at once by the ingest worker; None: one a core."""
    processes: int = 1
    """That answer HTTP."""
    ray: str | None = None
    """What the ingest worker decodes and encodes on: `local`, or a cluster's address; None: threads of its own."""
    ingest: bool = True
    """Start an ingest worker; without one uploads wait for `firstlook ingest`."""
    settings: Settings = Settings()
