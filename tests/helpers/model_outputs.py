"""A model's own outputs, for tests to compare with."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from normxlogit import Explainer


@dataclass
class ModelOutputs:
    """A model's own outputs for one input: each [sequence, ...]."""

    ids: list[int]
    norms: Tensor
    logits: Any
    states: tuple[Tensor, ...]


@torch.no_grad()
def model_outputs(
    explainer: Explainer, *texts: str, ids: Sequence[int] | None = None
) -> ModelOutputs:
    """Run the model on texts as its tokenizer encodes them, or on `ids`."""
    model: Any = explainer.model
    inputs = dict(explainer.tokenizer(*texts, return_tensors="pt")) if ids is None else {}
    if ids is not None:
        inputs = {"input_ids": torch.tensor([list(ids)])}
    output = model(**inputs, output_hidden_states=True)
    states = output.get("hidden_states") or output.decoder_hidden_states
    logits = output.get("logits")
    if logits is None:
        logits = torch.stack([output.start_logits, output.end_logits], -1)
    return ModelOutputs(
        inputs["input_ids"][0].tolist(),
        states[0][0].norm(dim=-1),
        logits[0],
        tuple(state[0] for state in states),
    )


@torch.no_grad()
def block_outputs(blocks: nn.ModuleList, run: Callable[[], Any]) -> list[Tensor]:
    """The output of each block while `run` runs, [sequence, hidden]."""
    kept: list[Tensor] = []

    def keep(_module: nn.Module, _args: Any, output: Any) -> None:
        kept.append((output if isinstance(output, Tensor) else output[0])[0])

    hooks = [block.register_forward_hook(keep) for block in blocks]
    run()
    for hook in hooks:
        hook.remove()
    return kept
