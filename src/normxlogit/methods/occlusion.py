"""Occlusion: what the model's output loses when a part of the text is not to be read."""

from typing import Any

import torch
from torch import Tensor

from normxlogit.errors import InputError, OptionError, UnsupportedHeadError
from normxlogit.methods.context import MethodContext
from normxlogit.methods.registry import register
from normxlogit.model.numerics import agree
from normxlogit.model.reruns import Reruns
from normxlogit.text.token_lookup import NO_TEXT


@register(
    "occlusion",
    family="perturbation",
    cost="2 forwards, 1 a unit",
    serves="texts",
    source="Zeiler & Fergus 2014; Li et al. 2016 for texts",
    of_output=True,
)
def occlusion(context: MethodContext, unit: Any = None, replacement: Any = None) -> Tensor:
    """f(x) - f(x without the unit), shared out evenly among the unit's tokens.

    Zeiler & Fergus 2014, Visualizing and Understanding Convolutional Networks; Li et al. 2016,
    Understanding Neural Networks through Representation Erasure.

    Cost: a forward pass for each unit, several in a batch. The plainest answer to what a unit alone
    does; units that say the same hide each other, for either can be left out. The inputs are unlike
    what a model was trained on, less so with a mask token for a model that knows it. A hidden
    token's own state is still there: a head that reads it, as those of causal classifiers read the
    last, still sees it.

    Args:
        context: what one forward pass gave.
        unit: "token", "word", "sentence"; or a list of parts of the text, each its first character
            and last + 1; or numbers of units, int64 [batch, sequence], -1 for none. Tokens of none,
            such as special ones, stay and have no score (nan). Words of texts, and every token of
            tensors, if not given.
        replacement: what comes in place of each of the unit's tokens: "mask", the tokenizer's mask
            token; "remove", hidden by the attention mask; "pad", or another token's id or text. The
            mask token if the tokenizer has one, and else "remove", if not given.

    Raises:
        InputError: a row would be left without any token.
        OptionError: no such unit or replacement.
        UnsupportedHeadError: the model does not heed its attention mask.
    """
    reruns = context.reruns
    units, token = _units(unit, context), _token(replacement, context)
    pairs = [
        (row, number)
        for row in range(len(units))
        for number in sorted(set(units[row][reruns.mask[row]].tolist()) - {-1})
    ]
    if not pairs:
        return torch.full((1, 1, 1, units.shape[1]), torch.nan, device=units.device)
    if token is None:
        _check_mask(reruns, units)
    rows, numbers = (torch.tensor(part, device=units.device) for part in zip(*pairs, strict=True))
    scores = torch.zeros(len(units), reruns.targets, units.shape[1], device=units.device)
    for some in reruns.batches(len(rows)):
        own, number = rows[some], numbers[some, None]
        hidden = (units[own] == number) & reruns.mask[own]
        if token is None:
            left = reruns.values(own, mask=reruns.mask[own] & ~hidden)
        else:
            left = reruns.values(own, ids=reruns.ids[own].masked_fill(hidden, token))
        lost = (reruns.own[own] - left) / hidden.sum(1, keepdim=True)
        scores.index_add_(0, own, torch.where(hidden[:, None], lost[:, :, None], 0))
    scores = scores.masked_fill((units < 0)[:, None], torch.nan)
    return context.of_rows(scores)[:, :, None]


def _check_mask(reruns: Reruns, units: Tensor) -> None:
    """Raise an error if rows would be empty, or hiding tokens changes nothing in any of them."""
    alone = (units == units.amax(1, keepdim=True)) & (units >= 0)
    if ((alone | ~reruns.mask).all(1)).any():
        raise InputError(
            "hiding the only unit of a text leaves the model nothing to read. Give a token as "
            "replacement, or a longer text."
        )
    others = (units >= 0) & ~alone & reruns.mask
    tried = others.any(1).nonzero().flatten()
    if len(tried) == 0:
        return
    left = reruns.values(tried, mask=reruns.mask[tried] & ~others[tried])
    if agree(left, reruns.own[tried]):
        raise UnsupportedHeadError(
            "hiding tokens by the attention mask changes nothing that this model says, so it does "
            "not heed it. Give a token as replacement."
        )


def _token(replacement: Any, context: MethodContext) -> int | None:
    """The id that comes in place of tokens; None if they are hidden."""
    if replacement is None:
        return context.lookup.mask
    if isinstance(replacement, str) and replacement == "remove":
        return None
    token = context.lookup.token(replacement) if isinstance(replacement, str) else replacement
    if isinstance(token, bool) or not isinstance(token, int):
        raise OptionError(
            f"replacement must be 'mask', 'remove', 'pad', a token's text or id; got {token!r}."
        )
    context.reruns.check_token(token)
    return token


def _units(unit: Any, context: MethodContext) -> Tensor:
    """The number of every token's unit, int64 [rows, sequence]; -1 for tokens of none."""
    ids, has_text = context.reruns.ids, context.lookup is not NO_TEXT
    if unit is None:
        unit = "word" if has_text else "token"
    if isinstance(unit, str) and unit == "token" and not has_text:
        return torch.arange(ids.shape[1], device=ids.device).expand_as(ids)
    if isinstance(unit, Tensor) and has_text:
        raise OptionError("unit is a tensor for tensors without text only. Give parts of the text.")
    given: Tensor = unit if isinstance(unit, Tensor) else context.lookup.units(unit)
    given = given.reshape(-1, given.shape[-1] if given.dim() else 1).to(ids.device)
    is_number = not given.is_floating_point() and given.dtype != torch.bool
    if not is_number or given.shape != ids.shape or given.min() < -1:
        raise OptionError(
            f"unit must have an integer from -1 for each of {list(ids.shape)} tokens; got "
            f"{given.dtype} of shape {list(given.shape)}."
        )
    return given
