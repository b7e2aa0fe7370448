"""The log of a process of `firstlook serve`: one JSON object a line, whoever speaks and whatever was sent to us."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime


class AsLine(logging.Formatter):
    """What we log is a JSON object already; what others say becomes one, a traceback too.

    >>> said = logging.makeLogRecord({"name": "uvicorn.error", "levelname": "WARNING", "msg": "two\\nlines"})
    >>> {name: value for name, value in json.loads(AsLine().format(said)).items() if name != "at"}
    {'event': 'said', 'by': 'uvicorn.error', 'level': 'warning', 'text': 'two\\nlines'}
    """

    def format(self, record: logging.LogRecord) -> str:
        said = record.getMessage()
        at = datetime.now(UTC).isoformat(timespec="milliseconds")
        if record.name.startswith("firstlook") and not record.exc_info:
            return said if said.startswith('{"at"') else f'{{"at": "{at}", {said[1:]}'
        line = {"at": at, "event": "said", "by": record.name}
        line |= {"level": record.levelname.lower(), "text": said.strip()}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


def log_to_stderr() -> None:
    """Log what we say from INFO on, and the encoders, who take long when they load; what others say from WARNING on."""
    lines = logging.StreamHandler(sys.stderr)
    lines.setFormatter(AsLine())
    logging.basicConfig(handlers=[lines])
    for ours in ("firstlook", "encoders"):
        logging.getLogger(ours).setLevel(logging.INFO)
