"""Which tokens the final states of a forward pass depend on, by gradients.

Attention gives a masked position the weight zero, so its gradient is zero too, and not only small.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from normxlogit.errors import NormXLogitError, UnsupportedHeadError
from normxlogit.model.capture import Capture
from normxlogit.model.clone import Anatomy, ModelClone, blocks_of
from normxlogit.model.numerics import agree, first_tensor
from normxlogit.model.outputs import named_states, run_model
from normxlogit.model.reruns import check_finite, differentiable


def dependence(model: PreTrainedModel, captured: Capture, positions: Tensor) -> Tensor:
    """Tell which x_j^0 the states x_i^L at some positions depend on.

    Cost: a forward pass up to the head, and a backward pass for each column of `positions`.

    Args:
        model: it is not changed.
        captured: the forward pass, which is repeated.
        positions: i, int64 [rows, positions]; below 0 where a row has fewer.

    Returns:
        bool [rows, positions, sequence].

    Raises:
        UnsupportedHeadError: the pass cannot be repeated, or has no gradients.
    """
    columns = []
    with differentiable():
        try:
            leaf, states = _leaf_and_states(model, captured)
            generator = torch.Generator().manual_seed(0)
            # At random, for the sum of what a LayerNorm gives is the same for all inputs.
            direction = torch.randn(states.shape[-1], generator=generator).to(states.device)
            values = states.float() @ direction  # [rows, sequence]
            for column in positions.to(values.device).T:
                value = values.gather(1, column.clamp_min(0)[:, None]).sum()
                gradient = torch.autograd.grad(value, leaf, retain_graph=True)[0]
                check_finite(gradient)
                columns.append((gradient != 0).any(-1).to(positions.device))
        except (torch.OutOfMemoryError, NormXLogitError):
            raise
        except Exception as error:
            raise _unknown(model, captured, f"{type(error).__name__}: {error}") from error
    depends = torch.stack(columns, 1)  # [rows, positions, sequence], or the other way round
    return depends.transpose(0, 2) if captured.states.time_first else depends


def _leaf_and_states(model: PreTrainedModel, captured: Capture) -> tuple[Tensor, Tensor]:
    """x^0 as a leaf of autograd's graph, and x^L, [rows, sequence, hidden], in another pass."""
    stack = captured.states.stack
    if stack is None:
        raise _unknown(model, captured, "its blocks do not work on the positions of its states")
    clone = ModelClone(Anatomy.of(model), frozen=True)
    original = {twin: module for module, twin in captured.clone.of.items()}
    leaves: list[Tensor] = []

    def on_block(_block: nn.Module, args: Any, kwargs: Any) -> Any:
        hidden = first_tensor((*args, *kwargs.values()))
        if leaves or hidden is None:
            return None
        leaves.append(hidden.detach().clone().requires_grad_())
        args = tuple(leaves[0] if value is hidden else value for value in args)
        return args, {k: leaves[0] if value is hidden else value for k, value in kwargs.items()}

    def on_trunk(_trunk: nn.Module, _args: Any, output: Any) -> None:
        fields = named_states(output)
        raise _ReachedHeadError(None if fields is None else fields["last_hidden_state"])

    for block in blocks_of(clone.of[original[stack.blocks]]):
        block.register_forward_pre_hook(on_block, with_kwargs=True)
    clone.of[original[captured.trunk]].register_forward_hook(on_trunk)
    inputs = {k: v.clone() if isinstance(v, Tensor) else v for k, v in captured.inputs.items()}
    states = None
    try:
        run_model(clone.root, inputs)
    except _ReachedHeadError as reached:
        states = reached.states
    raw = captured.states.raw
    if not leaves or states is None or states.shape != raw.shape:
        raise _unknown(model, captured, "its pass could not be followed")
    if not agree(states.detach().to(raw.device), raw):
        raise _unknown(model, captured, "it gave other states for the same inputs")
    return leaves[0], states


class _ReachedHeadError(Exception):
    """Ends a pass at the trunk's output, for the head need not run."""

    def __init__(self, states: Tensor | None) -> None:
        super().__init__("the trunk has returned")
        self.states = states


def _unknown(model: PreTrainedModel, captured: Capture, reason: str) -> UnsupportedHeadError:
    return UnsupportedHeadError(
        f"which tokens after a position {type(model).__name__} reads there, given "
        f"{', '.join(captured.inputs)}, could not be found out: {reason}. Explain the last token, "
        "by leaving position out."
    )
