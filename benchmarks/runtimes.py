"""What explaining texts costs in each runtime beside merely classifying them, in texts a second.

    OMP_WAIT_POLICY=passive python -m benchmarks.runtimes [--output docs/cost-runtimes.md]

A MiniLM and the sentences of SST-2, from the folder that NORMXLOGIT_SHARED names. The model is
exported anew, in float32 and in int8; every way takes a turn on each part of the texts, so that a
machine whose speed drifts slows all of them alike. It needs the extras onnx and openvino.
"""

import argparse
import platform
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import openvino
import torch
import transformers
from onnx.utils import extract_model
from tokenizers import Tokenizer
from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

import normxlogit as nxl
from benchmarks.corpus import BATCH, MODEL, PARTS, fits, forwards, in_pipeline, labelled, texts
from normxlogit.exporting.agreement import answers_of, drift
from normxlogit.exporting.manifest import GRAPH, TOKENIZER, Drift
from normxlogit.exporting.sessions import Session, open_session

COUNT = 6_000
TRIED = 500
"""How many sentences of SST-2's test set the drift is measured on."""

Way = Callable[[Sequence[str]], Any]


def explained(model: Any, given: Sequence[str]) -> None:
    """Explain texts by NormXLogit, sorted by length as `explain` does it."""
    results = model.explain(list(given), method="normxlogit", batch_size=BATCH)
    assert not any(isinstance(result, nxl.Failure) for result in results)


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
        session.run(inputs)["logits"].argmax(-1).tolist()
        start = end


def without_explanations(folder: Path) -> Path:
    """A graph cut down to its logits."""
    graph = folder / GRAPH
    named = [value.name for value in onnx.load(graph, load_external_data=False).graph.input]
    bare = folder / "bare.onnx"
    extract_model(graph, bare, named, ["logits"])
    return bare


def ways(place: Path) -> tuple[dict[str, Way], dict[str, Drift]]:
    """What is timed, by name, and how far each is from the model in float32."""
    tokenizer = AutoTokenizer.from_pretrained(MODEL)
    model = AutoModelForSequenceClassification.from_pretrained(MODEL, dtype=torch.float32).eval()
    classify = pipeline("text-classification", model=model, tokenizer=tokenizer, device="cpu")
    explainer = nxl.Explainer(model, tokenizer)
    found: dict[str, Way] = {
        "pipeline, torch float32": partial(in_pipeline, classify),
        "classified, torch float32": partial(forwards, model, tokenizer),
        "explained, torch float32": partial(explained, explainer),
    }
    tried = [text for text, _ in labelled("test")][:TRIED]
    expected = answers_of(explainer, tried, "normxlogit", BATCH)
    drifts: dict[str, Drift] = {}
    for precision in ("float32", "int8"):
        folder = place / precision
        nxl.export(explainer, folder, int8=precision == "int8")
        bare, file = without_explanations(folder), Tokenizer.from_file(str(folder / TOKENIZER))
        file.no_padding()
        file.no_truncation()
        for runtime in ("onnx", "openvino"):
            for bfloat16 in (
                (False, True) if (runtime, precision) == ("openvino", "float32") else (False,)
            ):
                name = f"{runtime} {'bfloat16' if bfloat16 else precision}"
                exported = nxl.load_exported(folder, runtime, bfloat16=bfloat16)
                session = open_session(runtime, bare, ["logits"], bfloat16=bfloat16)
                found[f"classified, {name}"] = partial(classified, session, file)
                found[f"explained, {name}"] = partial(explained, exported)
                drifts[name] = drift(answers_of(exported, tried, "normxlogit", BATCH), expected)
    return found, drifts


def seconds(found: dict[str, Way], given: Sequence[str]) -> dict[str, float]:
    """The seconds that each way takes for texts, in parts, the ways in turn."""
    for way in found.values():
        way(given[: 4 * BATCH])
    took = dict.fromkeys(found, 0.0)
    for part in np.array_split(np.arange(len(given)), PARTS):
        own = [given[n] for n in part]
        for name, way in found.items():
            start = time.perf_counter()
            way(own)
            took[name] += time.perf_counter() - start
    return took


def rows(took: dict[str, float], count: int) -> Iterator[str]:
    """A row of the table for each way."""
    pipe = took["pipeline, torch float32"]
    for name, own in took.items():
        bare = took.get(name.replace("explained", "classified"))
        beside = f"{bare / own:.2f}" if bare is not None and "explained" in name else ""
        yield f"| {name} | {count / own:.0f} | {pipe / own:.2f} | {beside} |"


def main() -> None:
    """Measure, print and, if asked, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        found, drifts = ways(Path(place))
        took = seconds(found, list(texts(options.count)))
    lines = [
        "# What an exported model costs",
        "",
        "Written by `OMP_WAIT_POLICY=passive python -m benchmarks.runtimes --output "
        f"docs/cost-runtimes.md` with normxlogit {nxl.__version__}, torch {torch.__version__}, "
        f"transformers {transformers.__version__}, onnxruntime {onnxruntime.__version__}, "
        f"openvino {openvino.__version__}, Python {platform.python_version()}, "
        f"{torch.get_num_threads()} threads of {platform.processor() or platform.machine()} "
        f"({'with' if torch.cpu._is_avx512_bf16_supported() else 'without'} AVX512-BF16).",
        "",
        f"A MiniLM fine-tuned on SST-2, and {options.count:,} of its sentences. *Pipeline* is "
        '`transformers.pipeline("text-classification", batch_size=32)`, which classifies; '
        "*classified* a loop by hand in that runtime, sorted by length, whose graph has no "
        "explanations; *explained* `explain` by NormXLogit, of an `Explainer` or of an exported "
        f"model. Ways take turns on {PARTS} parts of the texts.",
        "",
        "| way | texts a second | times the pipeline | times the loop of its runtime |",
        "|---|---|---|---|",
        *rows(took, options.count),
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
