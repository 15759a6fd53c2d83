"""What explaining a corpus costs beside merely classifying it, in texts a second; and its memory.

    OMP_WAIT_POLICY=passive python -m benchmarks.corpus [--output docs/cost-corpus.md]

The texts are those of SST-2, again and again. They are taken in parts, and every way runs on a part
before the next is taken, so that a machine whose speed drifts slows all of them alike. Memory is
the most that a process of its own had resident. It needs the fine-tuned MiniLM and SST-2 in the
folder that NORMXLOGIT_SHARED names, and the extra corpus.
"""

import argparse
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import transformers
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

import normxlogit as nxl
from benchmarks.heads import untrained_head
from normxlogit.text.lengths import TOKENS

SHARED = Path(os.environ.get("NORMXLOGIT_SHARED", "../shared"))
MODEL = SHARED / "models/minilm-sst2"
COUNT, PARTS = 20_000, 5
BATCH = 64
"""Of the loop by hand and of ours, as `Explainer.corpus` has it unless told otherwise."""
LARGE = 10
"""How many times as many rows the second measurement of memory has."""

Way = Callable[[Sequence[str]], Any]


def texts(count: int) -> Iterator[str]:
    """SST-2's test and training sentences, repeated."""
    known = [text for part in ("test", "train") for text, _ in labelled(part)]
    return (known[n % len(known)] for n in range(count))


def labelled(part: str) -> list[tuple[str, str]]:
    """The sentences of a part of SST-2 with their labels, "0" or "1"."""
    lines = (SHARED / f"data/sst2/{part}.tsv").read_text("utf-8").split("\n")
    return [(text, label) for text, _, label in (line.rpartition("\t") for line in lines) if text]


def in_pipeline(classify: Any, given: Sequence[str]) -> None:
    """transformers' pipeline, which classifies texts as they come."""
    assert len(classify(list(given), batch_size=32)) == len(given)


@torch.inference_mode()
def forwards(model: Any, tokenizer: Any, given: Sequence[str]) -> None:
    """The same forwards as ours in a loop by hand: sorted by length, in batches of as many texts
    and tokens.
    """
    ids = sorted(tokenizer(list(given))["input_ids"], key=len)
    start = 0
    while start < len(ids):
        end = start + 1
        while end < len(ids) and end - start < BATCH and fits(end + 1 - start, len(ids[end])):
            end += 1
        batch = tokenizer.pad({"input_ids": ids[start:end]}, return_tensors="pt")
        model(**batch).logits.argmax(-1).tolist()
        start = end


def fits(rows: int, longest: int) -> bool:
    """Whether a batch is within the budget of tokens."""
    return rows * longest <= BATCH * TOKENS


def explained(explainer: nxl.Explainer, given: Sequence[str]) -> None:
    """`Explainer.corpus`, from a Parquet file into shards."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "texts.parquet"
        write(source, given)
        summary = explainer.corpus(source, Path(folder) / "out")
        assert (summary.rows, summary.errors) == (len(given), {})


def write(path: Path, given: Sequence[str]) -> None:
    pq.write_table(pa.table({"text": list(given)}), path, row_group_size=4096)


def ways() -> dict[str, Way]:
    """What is timed, by name."""
    found: dict[str, Way] = {}
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    for dtype in ("float32", "bfloat16"):
        model = AutoModelForSequenceClassification.from_pretrained(
            MODEL, dtype=getattr(torch, dtype)
        ).train(False)
        classify = pipeline("text-classification", model=model, tokenizer=tokenizer, device="cpu")
        found[f"pipeline, {dtype}"] = partial(in_pipeline, classify)
        found[f"forwards, {dtype}"] = partial(forwards, model, tokenizer)
        explainer = nxl.Explainer(model, tokenizer)
        found[f"corpus, {dtype}"] = partial(explained, explainer)
        with_head = explainer.with_head(untrained_head(model))
        found[f"corpus with a head, {dtype}"] = partial(explained, with_head)
    return found


def seconds(count: int) -> dict[str, float]:
    """The seconds that each way takes for so many texts, in parts, the ways in turn."""
    given, found = list(texts(count)), ways()
    for way in found.values():
        way(given[: 4 * BATCH])
    took = dict.fromkeys(found, 0.0)
    for part in np.array_split(np.arange(count), PARTS):
        for name, way in found.items():
            own = [given[n] for n in part]
            start = time.perf_counter()
            way(own)
            took[name] += time.perf_counter() - start
    return took


def resident(count: int) -> int:
    """The most bytes that a process had resident which explained so many rows of a file."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "texts.txt"
        source.write_text("".join(f"{text}\n" for text in texts(count)), "utf-8")
        arguments = [sys.executable, "-m", "benchmarks.corpus", "--explain", str(source)]
        done = subprocess.run(arguments, check=True, stdout=subprocess.PIPE)
    return int(done.stdout.split()[-1])


def explain_and_tell(source: Path) -> None:
    """Explain a file, and print the most bytes that this process had resident."""
    explainer = nxl.Explainer.from_pretrained(str(MODEL), dtype="bfloat16")
    explainer.corpus(source, source.parent / "out")
    unit = 1 if sys.platform == "darwin" else 1024
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)


def differences() -> Iterator[str]:
    """What bfloat16 changes over SST-2's test set: rows of a table."""
    given = [text for text, _ in labelled("test")]
    found = {
        dtype: nxl.Explainer.from_pretrained(str(MODEL), dtype=dtype).explain(given, target=1)
        for dtype in ("float32", "bfloat16")
    }
    holders, flips, tops = [], 0, 0
    for full, half in zip(found["float32"], found["bfloat16"], strict=True):
        assert isinstance(full, nxl.Attribution), full
        assert isinstance(half, nxl.Attribution), half
        words, other = full.words(), half.words()
        holders.append(np.abs(words.scores - other.scores) / np.abs(words.scores).max())
        flips += full.prediction.id != half.prediction.id
        tops += words.top(1)[0][0] != other.top(1)[0][0]
    every = np.concatenate(holders)
    yield f"| difference of a word's score, median | {np.median(every):.4f} |"
    yield f"| 99th percentile | {np.quantile(every, 0.99):.4f} |"
    yield f"| largest | {every.max():.4f} |"
    yield f"| texts with another prediction | {flips} of {len(given)} ({flips / len(given):.2%}) |"
    yield f"| texts with another strongest word | {tops} ({tops / len(given):.2%}) |"


def main() -> None:
    """Measure, print and, if asked, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--explain", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.explain:
        explain_and_tell(options.explain)
        return
    lines: list[str] = []

    def say(*more: str) -> None:
        lines.extend(more)
        print("\n".join(more), flush=True)

    say(
        "# What a corpus costs",
        "",
        "Written by `OMP_WAIT_POLICY=passive python -m benchmarks.corpus --output "
        f"docs/cost-corpus.md` with normxlogit {nxl.__version__}, torch {torch.__version__}, "
        f"transformers {transformers.__version__}, Python {platform.python_version()}, "
        f"{torch.get_num_threads()} threads of {platform.processor() or platform.machine()} "
        f"({'with' if torch.cpu._is_avx512_bf16_supported() else 'without'} AVX512-BF16).",
        "",
        f"A MiniLM fine-tuned on SST-2, and {options.count:,} of its sentences. *Pipeline* is "
        '`transformers.pipeline("text-classification", batch_size=32)`, which classifies; '
        "*forwards* a loop by hand that tokenises all texts, sorts them by length and runs the "
        "model on batches, without explanations; *corpus* explains the texts of a Parquet file "
        "into shards, by NormXLogit or with an attribution head of the default size. Ways take "
        f"turns on {PARTS} parts of the texts.",
        "",
        "| way | texts a second | times the pipeline in float32 | times the pipeline | times the "
        "forwards | times NormXLogit |",
        "|---|---|---|---|---|---|",
    )
    took = seconds(options.count)
    for name in took:
        dtype = name.split(", ")[1]
        own = (f"{way}, {dtype}" for way in ("pipeline", "forwards", "corpus"))
        base = (took["pipeline, float32"], *(took[name] for name in own))
        ratios = " | ".join(f"{other / took[name]:.2f}" for other in base)
        say(f"| {name} | {options.count / took[name]:.0f} | {ratios} |")
    say(
        "",
        "## Scores in bfloat16",
        "",
        "SST-2's test set, scores for one label, beside those in float32. Differences of words' "
        "scores are relative to the largest score of a word in the text.",
        "",
        "| | |",
        "|---|---|",
        *differences(),
    )
    few, many = (resident(count) for count in (options.count, LARGE * options.count))
    say(
        "",
        "## Memory",
        "",
        f"The most that a process had resident, in bfloat16: {few / 2**20:.0f} MiB with "
        f"{options.count:,} rows, {many / 2**20:.0f} MiB with {LARGE * options.count:,} "
        f"({many / few - 1:+.1%}).",
    )
    if options.output:
        options.output.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
