"""Steps of an ingest as lines of a log: which task analysed what, what was committed, and what failed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ingest.pipeline import Step


def lines_of(step: Step) -> list[dict[str, Any]]:
    """What a step has to tell, as JSON objects; nothing where nothing ended.

    >>> lines_of(Step(task="decode-1", analysed=("cat-1",), failed_ids=("bad",), reasons=("not_media",)))
    [{'event': 'analysed', 'task': 'decode-1', 'videos': ['cat-1'], 'failed': {'bad': 'not_media'}}]
    """
    lines: list[dict[str, Any]] = []
    if step.analysed or step.failed_ids:
        failed = dict(zip(step.failed_ids, step.reasons, strict=True))
        lines.append({"event": "analysed", "task": step.task, "videos": list(step.analysed), "failed": failed})
    if step.committed_ids:
        lines.append({"event": "committed", "videos": list(step.committed_ids), "s": round(step.commit_s, 3)})
    return lines


@contextmanager
def written(path: Path | None) -> Iterator[Callable[[Step], None]]:
    """Append the lines of each step to a file, with when it was; None: to nowhere."""
    if path is None:
        yield lambda step: None
        return
    with path.open("a", encoding="utf-8") as file:

        def write(step: Step) -> None:
            for line in lines_of(step):
                at = datetime.now(UTC).isoformat(timespec="milliseconds")
                file.write(json.dumps({"at": at, **line}, ensure_ascii=False) + "\n")
            file.flush()

        yield write
