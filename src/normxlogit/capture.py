"""One forward pass: the prediction, and ||x^0|| and x^L of every token."""

import inspect
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.utils.generic import ModelOutput

from .errors import ModelError, UnsupportedHeadError
from .numerics import agree
from .shadow import Anatomy, Shadow
from .watch import Derived, LookedUp, Stack, Watch, norms_of


@dataclass(frozen=True)
class Capture:
    """What one forward pass gave.

    Attributes:
        shadow: the copy of the model that ran; the head is replayed on it.
        trunk: the shadow's module that computed `hidden`.
        trunk_output: what the trunk returned.
        inputs: what the model was given.
        logits: the model's own output, [batch, classes].
        hidden: x^L, [batch, sequence, hidden].
        norms: ||x^0||_2 in float32, [batch, sequence]; None where x^0 has other positions than x^L.
        looked_up: the last use of the word embeddings, the decoder's if there is one; or None.
        depth: how many layers there are.
        layers: hidden states as the head would read them, [batch, sequence, hidden], of those
            layers that were asked for; layer 1 is the first block's output, the last is x^L.
        derived: how further tensors of the trunk's output came from x^L.
    """

    shadow: Shadow
    trunk: nn.Module
    trunk_output: ModelOutput
    inputs: dict[str, Any]
    logits: Tensor
    hidden: Tensor
    norms: Tensor | None
    looked_up: LookedUp | None
    depth: int
    layers: dict[int, Tensor]
    derived: dict[str, Derived]

    @property
    def reads_decoder(self) -> bool:
        """Whether the positions are a decoder's, whose inputs are shifted one to the right."""
        return "encoder_last_hidden_state" in self.trunk_output


def capture(
    model: PreTrainedModel, inputs: Mapping[str, Any], *, layers: Container[int] = ()
) -> Capture:
    """Run `model` once on `inputs` and keep what an explanation needs.

    Args:
        model: any transformers model with a head; it is not changed.
        inputs: what the model's forward takes, on the model's device.
        layers: the layers whose hidden states to keep.

    Raises:
        ModelError: the model's own forward fails on these inputs.
        UnsupportedHeadError: the model does not show where its head's input, or that of a layer,
            comes from.
    """
    watch = Watch(model, layers)
    arguments = _arguments(model, inputs, watch.shadow)
    try:
        outputs = watch.run(arguments)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        raise ModelError(
            f"{type(model).__name__} could not run on these inputs: {type(error).__name__}: {error}"
        ) from error
    logits = outputs.get("logits") if isinstance(outputs, ModelOutput) else None
    if not isinstance(logits, Tensor) or logits.dim() != 2:
        found = "no logits" if logits is None else f"logits of shape {list(logits.shape)}"
        raise UnsupportedHeadError(
            f"{type(model).__name__} returned {found} where a sequence classifier returns "
            "[batch, classes]. Load the model with AutoModelForSequenceClassification."
        )
    trunk, output = watch.trunk()
    hidden = output["last_hidden_state"]
    if hidden.dim() != 3:
        raise UnsupportedHeadError(
            f"the trunk of {type(model).__name__} returned hidden states of shape "
            f"{list(hidden.shape)}; only [batch, sequence, hidden] is supported."
        )
    stack = watch.main_stack(trunk, output)
    time_first = stack is not None and _is_time_first(stack, watch.looked_up, hidden, model, inputs)
    if stack is None:
        norms = _norms_of_hidden_state_zero(model, arguments, hidden)
    else:
        norms = stack.norms.T if time_first else stack.norms
    return Capture(
        shadow=watch.shadow,
        trunk=trunk,
        trunk_output=output,
        inputs=arguments,
        logits=logits,
        hidden=hidden,
        norms=norms,
        looked_up=watch.looked_up,
        depth=0 if stack is None else stack.depth,
        layers=_finished(watch, stack, hidden, time_first) if layers and stack else {},
        derived=_derived(watch, output, hidden),
    )


def _arguments(model: PreTrainedModel, inputs: Mapping[str, Any], shadow: Shadow) -> dict[str, Any]:
    """The inputs without labels, of which a forward would learn a problem type, and without a cache
    that nobody reads; with a pad token where rows are full.

    Last-token heads refuse a batch when no pad token is defined, for they could not find the last
    token. In rows without padding it is the last position, so an id that no token has will do.
    """
    own = ("labels", "return_dict", "output_hidden_states", "output_attentions")
    arguments = {key: value for key, value in inputs.items() if key not in own}
    if _takes_cache(type(model).forward):
        arguments.setdefault("use_cache", False)
    mask = inputs.get("attention_mask")
    no_pad_token = getattr(model.config.get_text_config(), "pad_token_id", None) is None
    if no_pad_token and (mask is None or bool(mask.all())):
        shadow.set_pad_token_id(-1)
    return arguments


def _derived(watch: Watch, output: ModelOutput, hidden: Tensor) -> dict[str, Derived]:
    """How further tensors of the trunk's output came from x^L, for those that can be made again.

    Addresses of freed tensors are used anew, so a trace is only believed if it gives the tensor.
    """
    found = {}
    for key, value in output.items():
        if isinstance(value, Tensor) and value is not hidden:
            derived = watch.trace(value, hidden)
            if derived is not None and _gives(derived, hidden, value):
                found[key] = derived
    return found


def _gives(derived: Derived, hidden: Tensor, value: Tensor) -> bool:
    try:
        made = derived(hidden)
    except Exception:
        return False
    return made.shape == value.shape and agree(made, value)


@cache
def _takes_cache(forward: Callable[..., Any]) -> bool:
    return "use_cache" in inspect.signature(forward).parameters


def _norms_of_hidden_state_zero(
    model: PreTrainedModel, arguments: Mapping[str, Any], hidden: Tensor
) -> Tensor | None:
    """Norms from a second forward pass that returns its hidden states.

    For the few trunks whose blocks work on other positions than they give: padded to the width of
    an attention window (Longformer, Reformer), or with channels before positions (SqueezeBERT).
    """
    root = Shadow(Anatomy.of(model)).root
    states = root(**arguments, output_hidden_states=True, return_dict=True).get("hidden_states")
    if not states or states[0].shape[:2] != hidden.shape[:2]:
        return None
    return norms_of(states[0])


def _is_time_first(
    stack: Stack,
    looked_up: LookedUp | None,
    hidden: Tensor,
    model: PreTrainedModel,
    inputs: Mapping[str, Any],
) -> bool:
    """Whether blocks work on [sequence, batch, hidden], the trunk giving [batch, sequence, hidden].

    A batch as large as it is long does not show it; then the ids that were looked up may, and else
    a second forward pass of one row alone does.
    """
    batch, sequence = hidden.shape[:2]
    if batch != sequence or batch == 1:
        return stack.shape[0] != batch
    ids = inputs.get("input_ids")
    if looked_up is not None and ids is not None and not torch.equal(ids, ids.T):
        return not torch.equal(looked_up.ids, ids)
    row = {
        key: value[:1] if isinstance(value, Tensor) and value.shape[:1] == (batch,) else value
        for key, value in inputs.items()
    }
    watch = Watch(model)
    watch.run(_arguments(model, row, watch.shadow))
    alone = watch.main_stack(*watch.trunk())
    return alone is not None and alone.shape[0] != 1


def _finished(watch: Watch, stack: Stack, hidden: Tensor, time_first: bool) -> dict[int, Tensor]:
    """Hidden states of layers, with what the trunk does to its last block's (a final norm)."""
    last = stack.last
    finish = (watch.trace(hidden, last) or Derived()) if last is not None else None
    expected = hidden.transpose(0, 1) if time_first else hidden
    if finish is None or last is None or not _gives(finish, last, expected):
        raise UnsupportedHeadError(
            f"how {type(watch.shadow.root).__name__} makes its final hidden state from its last "
            "block's output could not be seen, so what its head would read at another layer is not "
            "known. Leave `layer` out to explain the final layer."
        )
    finished = {index: finish(state) for index, state in stack.kept.items()}
    return {i: s.transpose(0, 1) if time_first else s for i, s in finished.items()}
