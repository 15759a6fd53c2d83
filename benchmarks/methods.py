"""What each attribution method costs: time and memory, as multiples of one forward pass.

    OMP_WAIT_POLICY=passive python -m benchmarks.methods [--output docs/cost-methods.md]

Every method is timed beside forward passes of its own, run just before it in the same process.
Memory is the peak of what torch allocates during a call, above what was allocated before it (the
weights), by torch's own profiler. It needs the extra captum, and the fine-tuned MiniLM in the
folder that NORMXLOGIT_SHARED names.
"""

import argparse
import os
import platform
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    BertForSequenceClassification,
    PreTrainedModel,
)

import normxlogit as nxl
from benchmarks.measure import peak_bytes, seconds_of
from normxlogit.methods import METHODS

SHARED = Path(os.environ.get("NORMXLOGIT_SHARED", "../shared"))
LENGTHS = (40, 120, 360, 512)
LOOPED = (40, 120)
MASK = 103
BUDGET = 2**30
MOST, EIGHT = 512, 8
"""The largest batch that is told, and the batch that is run."""
OPTIONS: dict[str, dict[str, Any]] = {
    "frequency": {"counts": {}},
    "occlusion": {"replacement": MASK},
}
LEFT_OUT = ("progressive_inference", "attribution_head")
"""The first serves causal models only, and costs what LogAt does; the second has to be fitted."""
PAPER = {
    "gradient_norm": (".77 / .77 / .76 / .78", 100, ".0076"),
    "gradient_x_input": (".80 / .81 / .80 / .80", 100, ".0081"),
    "integrated_gradients": (".82 / .96 / 1.47 / 1.79", 2, "1.41"),
    "decompx": (".39 / .38 / .99 / 2.36", 1, "2.36"),
    "normxlogit": (".36 / .36 / .38 / .36", 750, ".0005"),
}
"""Abbasi et al. 2025, BERT on a GPU of 48 GB: seconds a text at lengths 40 / 120 / 360 / 512, the
largest batch at length 512, and seconds a text in it."""

Inputs = dict[str, Tensor]
Call = Callable[[], Any]


def inputs_of(length: int, batch: int = 1) -> Inputs:
    """Random tokens between [CLS] and [SEP]."""
    generator = torch.Generator().manual_seed(length)
    ids = torch.randint(1000, 28000, (batch, length), generator=generator)
    ids[:, 0], ids[:, -1] = 101, 102
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


@torch.inference_mode()
def forward(model: Any, inputs: Inputs) -> Any:
    """The model's own forward pass."""
    return model(**inputs).logits


def explained(model: Any, inputs: Inputs, method: str) -> Call:
    """A call of a method."""
    return partial(nxl.attribute, model, inputs, method=method, **OPTIONS.get(method, {}))


def seconds(way: Call, base: Call, runs: int) -> tuple[float, float]:
    """Median seconds of a way, and as a multiple of a base that is run before it.

    What takes long is run once, after a first run of the base alone.
    """
    own = seconds_of({"base": base}, 5)["base"]
    start = time.perf_counter()
    way()
    took = time.perf_counter() - start
    if took < 10:
        took = seconds_of({"way": way}, runs)["way"]
    return took, took / own


def costs(model: Any, limit: float, took_at: dict[tuple[str, int], float]) -> Iterator[str]:
    """A row for each method: time and memory at every length; `took_at` gets the seconds."""
    base = {length: partial(forward, model, inputs_of(length)) for length in LENGTHS}
    bytes_of = {length: peak_bytes(base[length]) for length in LENGTHS}
    for name in METHODS:
        if name in LEFT_OUT:
            continue
        times, memories = [], []
        took, before = 0.0, LENGTHS[0]
        for length in LENGTHS:
            if took * (length / before) ** 2 > limit:
                times.append("-")
                memories.append("-")
                continue
            way = explained(model, inputs_of(length), name)
            took, ratio = seconds(way, base[length], 3)
            before = length
            took_at[name, length] = took
            times.append(f"{ratio:.3g}")
            memories.append(f"{peak_bytes(way) / bytes_of[length]:.3g}" if took < 5 else "-")
        paper = PAPER[name][0] if name in PAPER else ""
        yield f"| `{name}` | {' | '.join(times)} | {' | '.join(memories)} | {paper} |"


def batches(model: Any, length: int, took_at: dict[tuple[str, int], float]) -> Iterator[str]:
    """A row for each method: the largest batch within the budget, and the time of eight texts; not
    of methods that make a pass for each token or step, which take the same memory for any batch.
    """

    def call(name: str, batch: int) -> Call:
        inputs = inputs_of(length, batch)
        if name == "forward":
            return partial(forward, model, inputs)
        return explained(model, inputs, name)

    for name in ("forward", *(name for name in METHODS if name not in LEFT_OUT)):
        if took_at.get((name, length), 0 if name == "forward" else 9) > 5:
            yield f"| `{name}` | - | - | {of_paper(name)} |"
            continue
        few, eight = peak_bytes(call(name, 2)), peak_bytes(call(name, EIGHT))
        each = max(eight - few, 1) / (EIGHT - 2)
        most = min(MOST, int(2 + (BUDGET - few) / each))
        _, ratio = seconds(call(name, EIGHT), call("forward", EIGHT), 3)
        yield f"| `{name}` | {'over ' * (most == MOST)}{most} | {ratio:.3g} | {of_paper(name)} |"


def of_paper(name: str) -> str:
    """The paper's largest batch, and its seconds a text in it."""
    return f"{PAPER[name][1]} | {PAPER[name][2]}" if name in PAPER else " | "


def loops(model: Any) -> Iterator[str]:
    """Rows: how much longer the plain loop takes, of the methods whose passes run in batches."""
    for name, loop in (
        ("integrated_gradients", loop_of_steps),
        ("occlusion", loop_of_tokens),
        ("value_zeroing", loop_of_layers),
    ):
        ratios = []
        for length in LOOPED:
            inputs = inputs_of(length)
            ways = {"ours": explained(model, inputs, name), "loop": partial(loop, model, inputs)}
            took = seconds_of(ways, 5)
            ratios.append(f"{took['loop'] / took['ours']:.2f}")
        yield f"| `{name}` | {' | '.join(ratios)} |"


def loop_of_steps(model: Any, inputs: Inputs) -> Tensor:
    """Integrated gradients, a forward and a backward pass for each of 50 steps."""
    embedded = model.get_input_embeddings()(inputs["input_ids"]).detach()
    target = int(forward(model, inputs).argmax())
    total = torch.zeros_like(embedded)
    for step in range(50):
        point = (embedded * (step + 0.5) / 50).requires_grad_()
        logits = model(inputs_embeds=point, attention_mask=inputs["attention_mask"]).logits
        total += torch.autograd.grad(logits[0, target], point)[0]
    scores: Tensor = (total * embedded).sum(-1) / 50
    return scores


def loop_of_tokens(model: Any, inputs: Inputs) -> list[float]:
    """Occlusion, a forward pass for each token."""
    own = forward(model, inputs)[0]
    target, lost = int(own.argmax()), []
    for token in range(inputs["input_ids"].shape[1]):
        ids = inputs["input_ids"].clone()
        ids[0, token] = MASK
        lost.append(float((own - forward(model, {**inputs, "input_ids": ids})[0])[target]))
    return lost


@torch.inference_mode()
def loop_of_layers(model: Any, inputs: Inputs) -> list[Tensor]:
    """Value zeroing of a BERT, each layer run again for each token."""
    states = model(**inputs, output_hidden_states=True).hidden_states
    zeroed: list[int] = []

    def zero(_module: nn.Module, _args: Any, values: Tensor) -> Tensor:
        values = values.clone()
        values[:, zeroed[0]] = 0
        return values

    maps = []
    for number, layer in enumerate(model.bert.encoder.layer):
        handle = layer.attention.self.value.register_forward_hook(zero)
        columns = []
        for token in range(inputs["input_ids"].shape[1]):
            zeroed[:] = [token]
            output = layer(states[number])
            changed = output[0] if isinstance(output, tuple) else output
            alike = nn.functional.cosine_similarity(changed, states[number + 1], dim=-1)
            columns.append(1 - alike[0])
        handle.remove()
        maps.append(torch.stack(columns, 1))
    return maps


def main() -> None:
    """Measure, print and, if asked, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--limit", type=float, default=20, help="seconds a call may take")
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    lines: list[str] = []

    def say(*new: str) -> None:
        lines.extend(new)
        print("\n".join(new), flush=True)

    minilm = AutoModelForSequenceClassification.from_pretrained(
        SHARED / "models" / "minilm-sst2", dtype=torch.float32
    )
    base = BertForSequenceClassification(BertConfig())
    models: dict[str, PreTrainedModel] = {
        "MiniLM, 6 layers of 384": minilm,
        "random BERT-base, 12 layers of 768": base,
    }
    say(
        "# What the methods cost",
        "",
        "Written by `OMP_WAIT_POLICY=passive python -m benchmarks.methods --output "
        f"docs/cost-methods.md` with normxlogit {nxl.__version__}, torch {torch.__version__}, "
        f"transformers {transformers.__version__}, Python {platform.python_version()}, "
        f"{torch.get_num_threads()} threads of {platform.processor() or platform.machine()}, "
        "float32.",
        "",
        "One text, its predicted class, by `normxlogit.attribute` with the methods' default "
        "options (integrated gradients with 50 steps; occlusion of every token by a mask; value "
        "zeroing, GlobEnc and ALTI rolled out over all layers). Time and peak memory beyond the "
        "weights are multiples of the model's own forward pass on the same text. A dash stands for "
        f"what would take longer than {options.limit:.0f} s here, and of memory longer than "
        "five. Beside it the paper's seconds a text, on a GPU of 48 GB, where the time of short "
        "texts is that of starting kernels.",
    )
    took_at: dict[str, dict[tuple[str, int], float]] = {title: {} for title in models}
    head = " | ".join(map(str, LENGTHS))
    for title, model in models.items():
        model.train(False)
        say(
            "",
            f"## {title}",
            "",
            f"| method | time at {head} tokens | memory at {head} "
            f"| paper: s at {' / '.join(map(str, LENGTHS))} |",
            "|---|" + "---|" * (2 * len(LENGTHS) + 1),
        )
        for row in costs(model, options.limit, took_at[title]):
            say(row)
    say(
        "",
        "## Batches",
        "",
        f"MiniLM, texts of {LENGTHS[-1]} tokens: how many run together in {BUDGET >> 20} MiB "
        "beyond the weights, by what two and eight take; and the time of eight as a multiple of "
        "their forward pass. A dash stands for methods that take over five seconds a text: they "
        "make their passes in batches of a fixed size, so that more texts take no more memory. "
        "Beside it the paper's, for BERT in 48 GB, and "
        "seconds a text in such a batch.",
        "",
        "| method | largest batch | time | paper: largest batch | paper: s a text |",
        "|---|---|---|---|---|",
    )
    for row in batches(minilm, LENGTHS[-1], next(iter(took_at.values()))):
        say(row)
    say(
        "",
        "## Beside the plain loop",
        "",
        "MiniLM: the time of a loop that makes the same passes one by one, as a multiple of ours.",
        "",
        f"| method | {' | '.join(f'{length} tokens' for length in LOOPED)} |",
        "|---|" + "---|" * len(LOOPED),
    )
    for row in loops(minilm):
        say(row)
    if options.output:
        options.output.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
