"""The floor's work as a Ray Data pipeline, as its guide to batch inference writes one: a class that loads the
model once, a pool of actors, parquet at the end.

    python -m bench.peers.ray_data FOLDER --network network.xml [--precision bf16]

One stage does all the work of a file, so that no frame goes through the object store: kinder to Ray Data than the usual
two (decode, then encode). Parquet, since `write_lance` of Ray 2.60 does not work with pylance 14.
Source: https://docs.ray.io/en/latest/data/batch_inference.html; `Dataset.map` of Ray 2.60.
"""

from __future__ import annotations

import tempfile
from typing import Any

import pyarrow.parquet as pq
import ray

from bench.peers.work import Asked, files_in, load, read_arguments, report, row_of


class Look:
    """What an actor is made of."""

    def __init__(self, network: str, precision: str) -> None:
        load(network, precision)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        return row_of(row["item"])


def run(asked: Asked, folder: str) -> list[float]:
    """Write `folder`; return when each file was decoded."""
    dataset = ray.data.from_items(files_in(asked.folder)).map(
        Look,
        fn_constructor_args=(str(asked.network), asked.precision),
        compute=ray.data.ActorPoolStrategy(size=asked.workers),
    )
    dataset.write_parquet(folder)
    decoded_at_s: list[float] = pq.read_table(folder, columns=["decoded_at_s"])["decoded_at_s"].to_pylist()
    return decoded_at_s


if __name__ == "__main__":
    asked = read_arguments(__doc__)
    with tempfile.TemporaryDirectory() as temporary:
        # a cluster of its own: without an address it may join one that runs here
        ray.init(address="local", num_cpus=asked.workers, log_to_driver=False, _temp_dir=temporary)
        decoded_at_s = run(asked, f"{temporary}/rows")
        ray.shutdown()
    report(decoded_at_s, asked)
