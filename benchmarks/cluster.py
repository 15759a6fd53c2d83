"""How fast the workers of `--engine ray` explain, and how fast they are given rows.

    OMP_WAIT_POLICY=passive python -m benchmarks.cluster [--workers 2] [--rows 20480]

The texts are those of SST-2, again and again: of a multiple of as many shards as there are workers,
and one more, so that no worker waits at the end. The rate is that from the first shard on, so that
neither the start of Ray nor the loading of the model is in it: a run of a million rows has them
once. It needs the fine-tuned MiniLM and SST-2 in the folder that NORMXLOGIT_SHARED names, and the
extra ray.
"""

import argparse
import tempfile
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

import normxlogit as nxl
from benchmarks.corpus import MODEL, texts
from normxlogit.corpus import shards
from normxlogit.corpus.explain import Question
from normxlogit.corpus.folder import Folder
from normxlogit.corpus.job import Job
from normxlogit.corpus.progress import MissingShards, Progress
from normxlogit.corpus.ray import read_pieces
from normxlogit.data.rows import Columns
from normxlogit.data.source import open_source

READ = 200_000
"""How many rows are read to see how fast."""


def reading(folder: Path) -> dict[str, float]:
    """Rows a second that the reader gives on, by the kind of file."""
    table = pa.table({"text": list(texts(READ))})
    pq.write_table(table, folder / "read.parquet")
    pyarrow.csv.write_csv(table, folder / "read.csv")
    found = {}
    for name in ("read.parquet", "read.csv"):
        source = open_source(folder / name, subset=None, split=None)
        start = time.perf_counter()
        for _ in read_pieces(
            None, source, Job(Columns(), Question()), [MissingShards()], shards.ROWS
        ):
            pass
        found[name] = READ / (time.perf_counter() - start)
    return found


def explaining(folder: Path, workers: int, rows: int, dtype: str) -> tuple[float, float]:
    """Seconds until the first shard, and rows a second of all workers from there on."""
    source = folder / "explained.parquet"
    pq.write_table(pa.table({"text": list(texts(rows))}), source)
    explainer = nxl.Explainer.from_pretrained(str(MODEL), device="cpu", dtype=dtype)
    seen, add = list[tuple[float, int]](), Folder.add

    def noted(self: Folder, shard: Progress) -> None:
        add(self, shard)
        seen.append((time.perf_counter(), self.progress.rows))

    Folder.add = noted  # type: ignore[method-assign]
    start = time.perf_counter()
    explainer.corpus(source, folder / "out", engine="ray", workers=workers)
    (first, before), (last, after) = seen[0], seen[-1]
    return first - start, (after - before) / (last - first)


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rows", type=int, default=20_480)
    parser.add_argument("--dtype", default="float32")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for name, rate in reading(Path(folder)).items():
            print(f"{name}: {rate:,.0f} rows/s read")
        seconds, rate = explaining(Path(folder), given.workers, given.rows, given.dtype)
        print(f"first shard after {seconds:.1f} s")
        each = rate / given.workers
        hours = 1e6 / each / 3600
        print(f"{rate:,.0f} rows/s; {each:,.0f} a worker; {hours:.1f} worker hours a million rows")


if __name__ == "__main__":
    main()
