"""The floor's work in Pixeltable, as its guide to custom functions writes it: a table of videos, and a computed column
that an insert fills; the model is loaded once, in this process.

    python -m bench.peers.pixeltable_pipeline FOLDER --network network.xml [--precision bf16]

Pixeltable calls such a function row after row on one thread: `--workers` changes nothing.
Source: https://docs.pixeltable.com/platform/custom-functions; `exec/expr_eval/evaluators.py` of Pixeltable 0.7.21.
"""

from __future__ import annotations

import os
import signal
import tempfile
import time
from pathlib import Path
from typing import Any

from bench.peers.work import Asked, files_in, read_arguments, report

STOP_S = 10.0


def run(asked: Asked, home: Path) -> list[float]:
    """Fill a table; return when each file was decoded."""
    os.environ |= {"PIXELTABLE_HOME": str(home), "XDG_RUNTIME_DIR": str(home)}  # read when it is imported
    import pixeltable as pxt

    from bench.peers.pixeltable_look import decoded_at_s, look

    table: Any = pxt.create_table("videos", {"path": pxt.String})
    table.add_computed_column(row=look(table.path, str(asked.network), asked.precision))
    status = table.insert([{"path": path} for path in files_in(asked.folder)])
    if status.num_excs or table.count() != len(decoded_at_s):
        raise RuntimeError(f"{status.num_excs} failed, {table.count()} rows of {len(decoded_at_s)} files")
    return decoded_at_s


def stop_postgres(home: Path) -> None:
    """End the server that Pixeltable leaves running, in its fast mode."""
    noted = home / "pgdata" / "postmaster.pid"
    os.kill(int(noted.read_text().splitlines()[0]), signal.SIGINT)
    deadline_s = time.monotonic() + STOP_S
    while noted.exists() and time.monotonic() < deadline_s:
        time.sleep(0.02)


if __name__ == "__main__":
    asked = read_arguments(__doc__)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        decoded_at_s = run(asked, Path(temporary))
        stop_postgres(Path(temporary))
    report(decoded_at_s, asked)
