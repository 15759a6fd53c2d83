"""What an explanation costs beside the model's own forward pass: time and memory, as ratios.

    OMP_WAIT_POLICY=passive python -m benchmarks.forward [--output docs/cost.md]

Times are medians of interleaved runs (A B C D, A B C D, ...) in one process, so that a machine
whose speed drifts slows all of them alike. Memory is the peak of what torch allocates during a
call, above what was allocated before it (the weights), by torch's own profiler.
"""

import argparse
import os
import platform
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    PreTrainedModel,
)

import normxlogit as nxl
from benchmarks.heads import untrained_head
from benchmarks.measure import peak_bytes, seconds_of
from normxlogit.methods.attribution_head import AttributionHead

BATCH = 8
RUNS = {32: 6, 128: 2, 512: 1}
"""For each length, how many times the runs asked for: short runs are noisier."""
Inputs = dict[str, Tensor]
Way = Callable[[Any, Inputs], Any]


@torch.inference_mode()
def forward(model: Any, inputs: Inputs) -> Any:
    """The model's own forward pass."""
    return model(**inputs).logits


def attribute(model: Any, inputs: Inputs) -> Tensor:
    """NormXLogit by this package."""
    return nxl.attribute(model, inputs).scores


@torch.no_grad()
def token_by_token(model: Any, inputs: Inputs) -> Tensor:
    """NormXLogit as the authors' notebook computes it: all hidden states, one token at a time."""
    states = model(**inputs, output_hidden_states=True).hidden_states
    own = model(**inputs).logits.argmax(-1)
    scores = []
    for token in range(states[0].shape[1]):
        pooled = torch.tanh(model.bert.pooler.dense(states[-1][:, token]))
        logit = model.classifier(pooled).gather(1, own[:, None])[:, 0]
        scores.append(states[0][:, token].norm(dim=-1) * logit)
    return torch.stack(scores, 1)


def gradient_x_input(model: Any, inputs: Inputs) -> Any:
    """Gradient times input at the word embeddings, summed over the hidden dimension."""
    embedded = model.get_input_embeddings()(inputs["input_ids"]).detach().requires_grad_()
    logits = model(inputs_embeds=embedded, attention_mask=inputs["attention_mask"]).logits
    (gradient,) = torch.autograd.grad(logits.amax(-1).sum(), embedded)
    return (gradient * embedded).sum(-1).detach()


def attribution_head(head: AttributionHead, model: Any, inputs: Inputs) -> Tensor:
    """Shapley values by a head; every token but the first and last is a word."""
    rows, length = inputs["input_ids"].shape
    words = torch.arange(-1, length - 1).expand(rows, length).clone()
    words[:, -1] = -1
    return nxl.attribute(model, inputs, method="attribution_head", head=head, unit=words).scores


def ways(model: PreTrainedModel) -> dict[str, Way]:
    """What is measured, by name."""
    return {
        "forward": forward,
        "normxlogit": attribute,
        "attribution head": partial(attribution_head, untrained_head(model)),
        "token by token": token_by_token,
        "gradient x input": gradient_x_input,
    }


FOR_THE_RECORD = ("token by token", "gradient x input")
"""Run three times only, beside forward passes of their own."""


def measure(model: PreTrainedModel, length: int, runs: int) -> dict[str, tuple[float, float]]:
    """Seconds (median) and peak bytes of each way, on a batch of random ids."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.randint(1000, model.config.vocab_size, (BATCH, length), generator=generator)
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    expected = token_by_token(model, inputs)
    torch.testing.assert_close(attribute(model, inputs), expected, rtol=1e-4, atol=1e-4)
    calls = {name: partial(way, model, inputs) for name, way in ways(model).items()}
    seconds = seconds_of({n: c for n, c in calls.items() if n not in FOR_THE_RECORD}, runs)
    some = {n: c for n, c in calls.items() if n in ("forward", *FOR_THE_RECORD)}
    slow = seconds_of(some, 3)
    scale = seconds["forward"] / slow["forward"]
    seconds |= {name: slow[name] * scale for name in FOR_THE_RECORD}
    return {name: (seconds[name], peak_bytes(call)) for name, call in calls.items()}


def models() -> dict[str, PreTrainedModel]:
    """A BERT-base of random weights and, where the shared models are, a fine-tuned MiniLM."""
    torch.manual_seed(0)
    found: dict[str, PreTrainedModel] = {
        "BERT-base, random": BertForSequenceClassification(BertConfig())
    }
    shared = Path(os.environ.get("NORMXLOGIT_SHARED", "../shared")) / "models/minilm-sst2"
    if shared.is_dir():
        found["minilm-sst2"] = AutoModelForSequenceClassification.from_pretrained(
            shared, dtype=torch.float32
        )
    return {name: model.train(False) for name, model in found.items()}


def main() -> None:
    """Measure, print and, if asked, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=11)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    lines = [
        "# What an explanation costs",
        "",
        "Written by `OMP_WAIT_POLICY=passive python -m benchmarks.forward --output docs/cost.md` "
        f"with normxlogit {nxl.__version__}, torch {torch.__version__}, transformers "
        f"{transformers.__version__}, Python {platform.python_version()}, "
        f"{torch.get_num_threads()} threads of {platform.processor() or platform.machine()}.",
        "",
        f"Batches of {BATCH}. Ratios to the model's own forward pass under `inference_mode`: "
        f"medians of at least {options.runs} interleaved runs in one process, and peak memory "
        "beyond the weights. "
        "The *attribution head* is of the default size: four layers, 64 hidden units. "
        "*Token by token* is the way of the authors' notebook.",
        "",
        "| model | length | normxlogit: time | memory | attribution head: time | memory "
        "| token by token: time | memory | gradient x input: time | memory |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    print("\n".join(lines), flush=True)
    for name, model in models().items():
        for length in RUNS:
            found = measure(model, length, options.runs * RUNS[length])
            base_time, base_memory = found.pop("forward")
            cells = [
                f"{seconds / base_time:.3f} | {memory / base_memory:.3f}"
                for seconds, memory in found.values()
            ]
            lines.append(f"| {name} | {length} | {' | '.join(cells)} |")
            print(lines[-1], flush=True)
    if options.output:
        options.output.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
