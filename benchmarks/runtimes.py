"""What explaining a corpus costs in each runtime beside merely classifying it, in texts a second.

    OMP_WAIT_POLICY=passive python -m benchmarks.runtimes [--output docs/cost-runtimes.md]

A MiniLM and the sentences of SST-2, from the folder that NORMXLOGIT_SHARED names. The texts are
taken in parts, and every way runs on a part before the next is taken, so that a machine whose speed
drifts slows all of them alike; no part is begun after `--seconds`. It needs the extras corpus, onnx
and openvino.
"""

import argparse
import os
import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import torch
import transformers
from onnx.utils import extract_model
from tokenizers import Tokenizer
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

import normxlogit as nxl
from benchmarks.corpus import (
    BATCH,
    MODEL,
    fits,
    forwards,
    in_pipeline,
    labelled,
    texts,
    write,
)
from normxlogit.corpus.explain import Question
from normxlogit.corpus.job import make_job
from normxlogit.corpus.run import write_shards
from normxlogit.corpus.runtimes import Runner, Runtime, Torch
from normxlogit.data.rows import Columns
from normxlogit.exporting.agreement import answers_of, drift
from normxlogit.exporting.cache import cached_export
from normxlogit.exporting.manifest import GRAPH, TOKENIZER, Drift
from normxlogit.exporting.running.sessions import Session, open_session
from normxlogit.exporting.runtime import GraphRuntime
from normxlogit.query import Query

COUNT, PARTS, SECONDS = 12_000, 4, 420
TRIED = 300
"""How many sentences of SST-2's test set the drift is measured on."""
GRAPHS = (
    ("onnx", "float32"),
    ("openvino", "float32"),
    ("openvino", "bfloat16"),
    ("onnx", "int8"),
)

Way = Callable[[Sequence[str]], Any]


class Opened:
    """A runtime that is opened once: the start is measured apart from the rows."""

    def __init__(self, runtime: GraphRuntime, query: Query) -> None:
        start = time.perf_counter()
        self.settings, self.check = runtime.settings, runtime.check
        self._runner = runtime.open(query)
        self.seconds = time.perf_counter() - start

    def open(self, _query: Query) -> Runner:
        """What was opened before."""
        return self._runner


def explained(explainer: nxl.Explainer, runtime: Runtime, given: Sequence[str]) -> None:
    """`Explainer.corpus`, from a Parquet file into shards."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "texts.parquet"
        write(source, given)
        job = make_job(Columns("text"), Question(), hashed=False, float16=False, strict=False)
        summary = write_shards(
            explainer,
            source,
            Path(folder) / "out",
            job,
            subset=None,
            split=None,
            progress=False,
            runtime=runtime,
        )
        assert (summary.rows, summary.errors) == (len(given), {})


def classified(session: Session, tokenizer: Tokenizer, given: Sequence[str]) -> None:
    """A loop by hand over the same batches, which runs the graph without explanations."""
    encodings = sorted(tokenizer.encode_batch(list(given)), key=len)
    start = 0
    while start < len(encodings):
        end = start + 1
        while (
            end < len(encodings)
            and end - start < BATCH
            and fits(end + 1 - start, len(encodings[end]))
        ):
            end += 1
        batch = encodings[start:end]
        ids = np.zeros((len(batch), len(batch[-1])), np.int64)
        mask = np.zeros_like(ids)
        for row, encoding in enumerate(batch):
            ids[row, : len(encoding)], mask[row, : len(encoding)] = encoding.ids, 1
        inputs = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        session.run(inputs, ["logits"])["logits"].argmax(-1).tolist()
        start = end


def without_explanations(graph: Path, bare: Path) -> Path:
    """A graph cut down to its logits."""
    named = [value.name for value in onnx.load(graph, load_external_data=False).graph.input]
    extract_model(graph, bare, named, ["logits"])
    return bare


def ways(place: Path) -> tuple[dict[str, Way], dict[str, Drift], dict[str, float]]:
    """What is timed, by name; how far graphs are from the model; how long they take to open."""
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    model = AutoModelForSequenceClassification.from_pretrained(MODEL, dtype=torch.float32).eval()
    classify = pipeline("text-classification", model=model, tokenizer=tokenizer, device="cpu")
    explainer = nxl.Explainer(model, tokenizer)
    found: dict[str, Way] = {
        "pipeline, torch float32": partial(in_pipeline, classify),
        "loop, torch float32": partial(forwards, model, tokenizer),
        "corpus, torch float32": partial(explained, explainer, Torch(explainer)),
    }
    tried = [text for text, _ in labelled("test")][:TRIED]
    expected = answers_of(explainer, tried, "normxlogit", BATCH)
    drifts: dict[str, Drift] = {}
    starts: dict[str, float] = {}
    for runtime, precision in GRAPHS:
        name, in_bfloat16 = f"{runtime} {precision}", precision == "bfloat16"
        folder = cached_export(explainer, int8=precision == "int8")
        bare = without_explanations(folder / GRAPH, place / f"{folder.name}.onnx")
        file = Tokenizer.from_file(str(folder / TOKENIZER))
        file.no_padding()
        file.no_truncation()
        session = open_session(runtime, bare, ["logits"], bfloat16=in_bfloat16)
        opened = Opened(GraphRuntime(explainer, runtime, precision), Query())
        found[f"loop, {name}"] = partial(classified, session, file)
        found[f"corpus, {name}"] = partial(explained, explainer, opened)
        exported = nxl.load_exported(folder, runtime, bfloat16=in_bfloat16)
        drifts[name] = drift(answers_of(exported, tried, "normxlogit", BATCH), expected)
        starts[name] = opened.seconds
    return found, drifts, starts


def seconds(
    found: dict[str, Way], given: Sequence[str], most: float
) -> tuple[dict[str, float], int]:
    """The seconds that each way takes for texts, in parts, the ways in turn; and for how many."""
    for way in found.values():
        way(given[: 2 * BATCH])
    took, done, begun = dict.fromkeys(found, 0.0), 0, time.perf_counter()
    for part in np.array_split(np.arange(len(given)), PARTS):
        if done and time.perf_counter() - begun > most:
            break
        own = [given[n] for n in part]
        for name, way in found.items():
            start = time.perf_counter()
            way(own)
            took[name] += time.perf_counter() - start
        done += len(own)
    return took, done


def rows(took: dict[str, float], count: int, starts: dict[str, float]) -> Iterator[str]:
    """A row of the table for each way."""
    base = took["pipeline, torch float32"]
    for name, own in took.items():
        way, _, runtime = name.partition(", ")
        beside = f"{took[f'loop, {runtime}'] / own:.2f}" if way == "corpus" else ""
        start = f"{starts[runtime]:.1f}" if way == "corpus" and runtime in starts else ""
        yield f"| {name} | {count / own:.0f} | {base / own:.2f} | {beside} | {start} |"


def main() -> None:
    """Measure, print and, if asked, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        os.environ["XDG_CACHE_HOME"] = place
        found, drifts, starts = ways(Path(place))
        took, count = seconds(found, list(texts(options.count)), options.seconds)
    lines = [
        "# What a corpus costs in other runtimes",
        "",
        "Written by `OMP_WAIT_POLICY=passive python -m benchmarks.runtimes --output "
        f"docs/cost-runtimes.md` with normxlogit {nxl.__version__}, torch {torch.__version__}, "
        f"transformers {transformers.__version__}, onnxruntime {onnxruntime.__version__}, "
        f"openvino {version('openvino')}, Python {platform.python_version()}, "
        f"{torch.get_num_threads()} threads of {platform.processor() or platform.machine()} "
        f"({'with' if torch.cpu._is_avx512_bf16_supported() else 'without'} AVX512-BF16).",
        "",
        f"A MiniLM fine-tuned on SST-2, and {count:,} of its sentences. *Pipeline* is "
        '`transformers.pipeline("text-classification", batch_size=32)`, which classifies; *loop* a '
        "loop by hand in that runtime over batches sorted by length, whose graph has no "
        "explanations; *corpus* explains the texts of a Parquet file into shards by NormXLogit. "
        f"Ways take turns on {PARTS} parts of the texts. The start is not in the texts a second: a "
        "graph that was exported before is loaded and held against the model.",
        "",
        "| way | texts a second | times the pipeline | times the loop of its runtime | seconds to "
        "start |",
        "|---|---|---|---|---|",
        *rows(took, count, starts),
        "",
        "## Drift",
        "",
        f"{TRIED} sentences of SST-2's test set, beside torch in float32: scores of tokens for the "
        "predicted label. The difference is a share of the largest number of a text.",
        "",
        "| runtime | other prediction | other strongest token | rank correlation, mean | lowest | "
        "largest difference |",
        "|---|---|---|---|---|---|",
        *(
            f"| {name} | {d.predictions_changed} | {d.strongest_changed} | "
            f"{d.rank_correlation:.4f} | {d.lowest_rank_correlation:.4f} | "
            f"{d.largest_difference:.1e} |"
            for name, d in drifts.items()
        ),
    ]
    print("\n".join(lines))
    if options.output:
        options.output.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
