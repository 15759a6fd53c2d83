"""What an evaluation costs beyond the passes that it truly needs.

    OMP_WAIT_POLICY=passive python -m benchmarks.evaluation [--rows 500] [--output FILE]

Needed are: each variant of a text that two methods, shares or metrics have in common, once, in
batches of like length; and the methods' own passes. Both are timed after the evaluation, in the
same process: the variants in a bare loop of the model, the methods by `Explainer.explain`. It needs
the extra evaluate, and the fine-tuned MiniLM and the data of the folder that NORMXLOGIT_SHARED
names.
"""

import argparse
import os
import platform
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import transformers
from torch import Tensor

import normxlogit as nxl
from normxlogit.evaluate import answers, run

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


class Recorded(answers.Answers):
    """Answers that keep what the model was run on."""

    batches: list[dict[str, Tensor]]

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        Recorded.batches = []

    def _outputs(self, inputs: dict[str, Tensor]) -> answers.Outputs:
        Recorded.batches.append(inputs)
        return super()._outputs(inputs)


@torch.inference_mode()
def bare(model: Any) -> float:
    """Seconds of the model on every batch again."""
    start = time.perf_counter()
    for batch in Recorded.batches:
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
    texts = [row["text"] for row in rows]

    with patch.object(run, "Answers", Recorded):
        start = time.perf_counter()
        found = explainer.evaluate(rows, label="label", methods=METHODS)
        whole = time.perf_counter() - start
    forwards = bare(explainer.model)
    seconds = {}
    for method in METHODS:
        start = time.perf_counter()
        explainer.explain(texts, method=method)
        seconds[method] = time.perf_counter() - start
    methods = sum(seconds.values())
    counts = found.results["forwards"]
    real = sum(int(batch["attention_mask"].sum()) for batch in Recorded.batches)
    padded = sum(int(np.prod(batch["input_ids"].shape)) for batch in Recorded.batches)
    text = f"""# What an evaluation costs

Written by `OMP_WAIT_POLICY=passive python -m benchmarks.evaluation --rows {options.rows} --output
docs/cost-evaluate.md` with normxlogit {nxl.__version__}, torch {torch.__version__}, transformers
{transformers.__version__}, Python {platform.python_version()}, {torch.get_num_threads()} threads of
{platform.processor() or platform.machine()}, float32.

MiniLM, {len(rows)} sentences of SST-2, {len(METHODS)} methods ({", ".join(METHODS)}),
comprehensiveness and sufficiency at nine shares.

| | |
|---|---|
| variants of texts that methods, shares and metrics ask for | {counts["asked"]:,} |
| of them run: the others are the same as another, or the text itself | {counts["run"]:,} |
| tokens of these, and with padding | {real:,}, {padded:,} |
| seconds of these in a bare loop of the model | {forwards:.1f} |
| seconds of the methods, by `Explainer.explain` | {methods:.1f} |
| seconds of the evaluation | {whole:.1f} |
| **as a multiple of what it needs** | **{whole / (forwards + methods):.2f}** |
"""
    print(text)
    if options.output:
        options.output.write_text(text)


if __name__ == "__main__":
    main()
