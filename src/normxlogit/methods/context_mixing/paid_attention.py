"""How much attention each head of each layer pays to parts of a prompt, from given positions."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from normxlogit.errors import UnsupportedHeadError
from normxlogit.model.clone import Anatomy, ModelClone
from normxlogit.model.inference import inference
from normxlogit.model.outputs import parameters_of, run_model

TokenSpan = tuple[int, int]
"""The first of some tokens, and the last + 1."""

_OTHERS = "Take a method that runs the model without parts of the prompt: leave_one_out."


@inference()
def paid_attention(
    model: PreTrainedModel,
    ids: Tensor,
    groups: Sequence[Sequence[int]],
    parts: Sequence[TokenSpan],
) -> Tensor:
    """Run a causal model once, and add up the attention that is paid to parts of its input.

    The pass takes eager attention, whose weights are read as each layer gives them, and let go
    before the next one: more than one layer's are never held.

    Args:
        model: it is not changed.
        ids: the tokens of the input, int64 [tokens].
        groups: positions that pay; the mean over those of a group is taken.
        parts: what they pay to; the sum over a part's tokens is taken.

    Returns:
        float32 [groups, layers, heads, parts].

    Raises:
        UnsupportedHeadError: the model gives no weight of each token for each token, in as many
            heads in each layer.
    """
    length = len(ids)
    clone = ModelClone(Anatomy.of(model))
    clone.attend("eager")
    paying = ids.new_zeros(len(groups), length, dtype=torch.float32)
    for number, positions in enumerate(groups):
        paying[number, list(positions)] = 1 / len(positions)
    received = ids.new_zeros(length, len(parts), dtype=torch.float32)
    for number, (start, end) in enumerate(parts):
        received[start:end, number] = 1
    rows = paying.any(0).nonzero().flatten()
    paying = paying[:, rows]
    sums: list[Tensor] = []

    def read(_module: nn.Module, _args: Any, output: Any) -> Any:
        if not isinstance(output, tuple):
            return output
        kept = []
        for value in output:
            is_map = isinstance(value, Tensor) and value.dim() == 4 and value.shape[0] == 1
            if is_map and value.shape[2:] == (length, length):
                weights = value[0, :, rows.to(value.device)].float()  # [heads, rows, tokens]
                paid = paying.to(weights) @ weights @ received.to(weights)  # [heads, groups, parts]
                sums.append(paid.transpose(0, 1).to(ids.device))
                value = None
            kept.append(value)
        return tuple(kept)

    handles = [
        twin.register_forward_hook(read)
        for original, twin in clone.of.items()
        if twin is not original
    ]
    name = type(model).__name__
    try:
        run_model(clone.root, {"input_ids": ids[None]}, **_flags(clone.root))
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        raise UnsupportedHeadError(
            f"{name} could not be run with eager attention ({type(error).__name__}: {error}), so "
            f"what its heads attend to is not known. {_OTHERS}"
        ) from error
    finally:
        for handle in handles:
            handle.remove()
    shapes = {tuple(paid.shape) for paid in sums}
    if len(shapes) != 1:
        raise UnsupportedHeadError(
            f"{name} gave attention weights of {length} by {length} tokens in {len(sums)} layers, "
            f"with {sorted(shape[1] for shape in shapes)} heads; as many heads in each layer are "
            f"needed. {_OTHERS}"
        )
    return torch.stack(sums, 1)


def _flags(model: Any) -> Mapping[str, Any]:
    """No cache, and logits of the last token only, where a model has these arguments."""
    wanted = {"use_cache": False, "logits_to_keep": 1}
    parameters = parameters_of(type(model).forward)
    return {name: value for name, value in wanted.items() if name in parameters}
