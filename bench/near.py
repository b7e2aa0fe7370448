"""What do neighbourhoods miss, and what do they save, on vectors of real texts?

    python bench/near.py --titles CSV [--rows 19220]

Titles (a CSV without a header whose second column is text, such as MicroLens-50k_titles.csv) are encoded as captions
are; of 500 of them the ten most like each are looked for among all, by neighbourhoods (index/near.py) at several shares
of lists, and by a pass over all rows, which is the referee.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from pathlib import Path

sys.path[0] = str(Path(__file__).parent.parent)  # bench/ingest.py would hide the package ingest

import numpy as np

from bench.machine import facts, interval
from encoders.text import Text
from index import near
from index.search import SPARE

SEED = 7
ASKED = 500
K = 10
SHARES = (0.03, 0.06, 0.125, 0.25)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--titles", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=1_000_000)
    asked = parser.parse_args()
    with asked.titles.open(encoding="utf-8", newline="") as file:
        titles = list(dict.fromkeys(row[1] for row in csv.reader(file) if len(row) > 1 and row[1].strip()))
    rows = np.asarray(Text(threads=2).encode(titles[: asked.rows]), dtype=np.float32)
    drawn = np.random.default_rng(SEED).choice(len(rows), min(ASKED, len(rows)), replace=False)
    best = [set(np.argsort(-(rows @ rows[i]))[1 : K + 1].tolist()) for i in drawn]
    for name, value in facts(seed=SEED).items():
        print(f"{name}: {value}")
    print(f"{len(rows):,} distinct titles, {rows.shape[1]} dimensions, {len(drawn)} asked\n")
    print(f"{'lists looked through':>22}{'recall@10':>12}{'95 %':>16}{'ms a query':>12}")
    for share in SHARES:
        near.LOOKED_THROUGH = share
        found = near.Near({"": rows}, np.ones(rows.shape[1], np.float32))
        recalls, took_s = [], []
        for i, ten in zip(drawn, best, strict=True):
            began = time.thread_time()
            numbers = found.nearest(rows[i], K + 1 + SPARE, found.generation)
            assert numbers is not None
            took_s.append(time.thread_time() - began)
            recalls.append(len(ten & set(numbers.tolist())) / K)
        mean, low, high = interval(np.array(recalls), seed=SEED)
        is_default = "  (default)" if share == 0.125 else ""
        print(
            f"{share:>22.1%}{mean:>12.4f}{f'[{low:.4f}, {high:.4f}]':>16}{np.median(took_s) * 1e3:>12.2f}{is_default}"
        )


if __name__ == "__main__":
    main()
