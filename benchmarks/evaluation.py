"""What an evaluation costs beyond the passes that it truly needs.

    OMP_WAIT_POLICY=passive python -m benchmarks.evaluation [--rows 500] [--output FILE]

Needed are: each variant of a text that two methods, shares or metrics have in common, once, in
batches of like length; and the methods' own passes. Both are timed after each part of 32 texts, in
the same process, so that a machine whose speed drifts treats all alike: the variants in a bare loop
of the model, the methods by `Explainer.explain`. It needs the extra evaluate, and the fine-tuned
MiniLM and the data of the folder that NORMXLOGIT_SHARED names.
"""

import argparse
import os
import platform
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
import transformers
from torch import Tensor

import normxlogit as nxl
from normxlogit.evaluation import batch_evaluator, run
from normxlogit.evaluation.perturb import predictions

SHARED = Path(os.environ.get("NORMXLOGIT_SHARED", "../shared"))
METHODS = (
    "normxlogit",
    "norm",
    "logat",
    "position",
    "gradient_norm",
    "gradient_x_input",
    "integrated_gradients",
    "occlusion",
    "attention",
    "globenc",
)


class Recorded(predictions.PredictionCache):
    """Predictions that keep what the model was run on."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.batches: list[dict[str, Tensor]] = []

    def _outputs(self, windows: Any, side: str) -> predictions.Outputs:
        self.batches.append(self._encoder.batch(windows, side))
        return super()._outputs(windows, side)


class Beside(batch_evaluator.BatchEvaluator):
    """Parts, each followed by a bare run of what it needed."""

    forwards = methods = 0.0
    real = padded = 0

    def __init__(self, explainer: nxl.Explainer, reader: Any, found: Any, *others: Any) -> None:
        super().__init__(explainer, reader, found, *others)
        self._bare, self._recorded = explainer, found

    def part(self, rows: Any, serving: Any, *others: Any) -> Any:
        self._recorded.batches.clear()
        done = super().part(rows, serving, *others)
        Beside.forwards += forwards(self._bare.model, self._recorded.batches)
        for own in self.arguments(serving).values():
            start = time.perf_counter()
            self._bare.explain([row.text for row in rows], **own)
            Beside.methods += time.perf_counter() - start
        for batch in self._recorded.batches:
            Beside.real += int(batch["attention_mask"].sum())
            Beside.padded += batch["input_ids"].numel()
        return done


@torch.inference_mode()
def forwards(model: Any, batches: list[dict[str, Tensor]]) -> float:
    """Seconds of the model on every batch again."""
    start = time.perf_counter()
    for batch in batches:
        model(**batch)
    return time.perf_counter() - start


def main() -> None:
    """Measure, print and, if asked, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=500)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    lines = (SHARED / "data" / "sst2" / "test.tsv").read_text("utf-8").splitlines()
    rows = [dict(zip(("text", "label"), line.split("\t"), strict=True)) for line in lines]
    rows = rows[: options.rows]
    explainer = nxl.Explainer.from_pretrained(str(SHARED / "models" / "minilm-sst2"))

    with (
        patch.object(run, "PredictionCache", Recorded),
        patch.object(run, "BatchEvaluator", Beside),
    ):
        start = time.perf_counter()
        found = explainer.evaluate(rows, label="label", methods=METHODS)
        whole = time.perf_counter() - start
    needed = Beside.forwards + Beside.methods
    counts = found.results["forwards"]
    text = f"""# What an evaluation costs

Written by `OMP_WAIT_POLICY=passive python -m benchmarks.evaluation --rows {options.rows} --output
docs/cost-evaluate.md` with normxlogit {nxl.__version__}, torch {torch.__version__}, transformers
{transformers.__version__}, Python {platform.python_version()}, {torch.get_num_threads()} threads of
{platform.processor() or platform.machine()}, float32.

A fine-tuned MiniLM, {len(rows)} sentences of SST-2, comprehensiveness and sufficiency at nine
shares, {len(METHODS)} methods: {", ".join(METHODS[:5])},
{", ".join(METHODS[5:])}. Written to no folder. What is needed is timed after
each part of 32 texts in the same process; the evaluation's seconds are without that, and with the
timing of each method by itself that it reports.

| | |
|---|---|
| variants of texts that methods, shares and metrics ask for | {counts["asked"]:,} |
| of them run: the others are the same as another, or the text itself | {counts["run"]:,} |
| tokens of these, and with padding | {Beside.real:,}, {Beside.padded:,} |
| seconds of these in a bare loop of the model | {Beside.forwards:.1f} |
| seconds of the methods, by `Explainer.explain` | {Beside.methods:.1f} |
| seconds of the evaluation | {whole - needed:.1f} |
| **as a multiple of what it needs** | **{whole / needed - 1:.2f}** |
"""
    print(text)
    if options.output:
        options.output.write_text(text)


if __name__ == "__main__":
    main()
