"""The floor's work as a Daft pipeline, as its guide to stateful functions writes one: `daft.cls` loads the model once a
process, two processes, parquet at the end.

    python -m bench.peers.daft_pipeline FOLDER --network network.xml [--precision bf16]

`into_batches` is a kindness: a folder of paths is one batch to Daft's local runner, which then goes to one of the two
processes while the other waits.
Source: the docstrings of `daft.cls`, `daft.method`, `daft.from_glob_path` and `DataFrame.into_batches`, Daft 0.7.26.
"""

from __future__ import annotations

import tempfile
from typing import Any

import daft
from daft import DataType

from bench.floor import BANDS
from bench.peers.work import Asked, load, read_arguments, report, row_of

BATCH = 4
ROW = DataType.struct(
    {
        "name": DataType.string(),
        "vision": DataType.embedding(DataType.float32(), 1280),
        "log_mel": DataType.embedding(DataType.float32(), 2 * BANDS),
        "decoded_at_s": DataType.float64(),
    }
)


def run(asked: Asked, folder: str) -> list[float]:
    """Write `folder`; return when each file was decoded."""

    @daft.cls(use_process=True, max_concurrency=asked.workers)
    class Look:
        def __init__(self, network: str, precision: str) -> None:
            load(network, precision)

        @daft.method(return_dtype=ROW, unnest=True)
        def see(self, path: str) -> dict[str, Any]:
            return row_of(path.removeprefix("file://"))

    look = Look(str(asked.network), asked.precision)
    files = daft.from_glob_path(f"{asked.folder}/*").into_batches(BATCH)
    files.select(look.see(files["path"])).write_parquet(folder)
    decoded_at_s: list[float] = daft.read_parquet(f"{folder}/*.parquet").to_pydict()["decoded_at_s"]
    return decoded_at_s


if __name__ == "__main__":
    asked = read_arguments(__doc__)
    with tempfile.TemporaryDirectory() as temporary:
        report(run(asked, f"{temporary}/rows"), asked)
