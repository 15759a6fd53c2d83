"""Runs in an environment of its own: inseq's gradient x input and captum's feature ablation.

    python -m venv rivals && rivals/bin/pip install torch==2.13.0 inseq==0.7.1 captum
    rivals/bin/python benchmarks/rivals.py FOLDER

FOLDER holds a causal language model, its tokenizer and prompt.txt. Prints a line of JSON for each:
its time as a multiple of a bare forward pass in this process.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import inseq
import torch
from captum.attr import FeatureAblation, LLMAttribution, TextTokenInput
from transformers import AutoModelForCausalLM, AutoTokenizer


def seconds(way: Callable[[], Any], runs: int) -> float:
    """Median seconds."""
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        way()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def main(folder: str) -> None:
    """Measure and print."""
    text = (Path(folder) / "prompt.txt").read_text()
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    model = model.eval()
    inputs = tokenizer(text, return_tensors="pt")
    with torch.no_grad():
        following: str = tokenizer.decode([int(model(**inputs).logits[0, -1].argmax())])

    def forward() -> Any:
        with torch.no_grad():
            return model(**inputs).logits

    gradients = inseq.load_model(model, "input_x_gradient", tokenizer=tokenizer)

    def gradient_x_input() -> Any:
        return gradients.attribute(text, text + following, show_progress=False)

    ablation = LLMAttribution(FeatureAblation(model), tokenizer)
    features = TextTokenInput(text, tokenizer)

    def feature_ablation() -> Any:
        return ablation.attribute(features, target=following, use_cached_outputs=False)

    forward()
    for name, way, runs in (
        (f"inseq {version('inseq')}: input x gradient", gradient_x_input, 3),
        (f"captum {version('captum')}: feature ablation", feature_ablation, 1),
    ):
        base = seconds(forward, 5)
        ratio = seconds(way, runs) / base
        print(json.dumps({"name": name, "ratio": ratio}), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
