"""Occlusion: what the model's output loses when a part of the text is hidden."""

from typing import Any

import torch
from torch import Tensor

from normxlogit.data.option_checks import as_integer
from normxlogit.errors import InputError, OptionError, UnsupportedHeadError
from normxlogit.methods.context import MethodContext
from normxlogit.methods.registry import implement
from normxlogit.methods.units import units_of
from normxlogit.model.reruns import Reruns


@implement("occlusion", divides=lambda options: options.get("unit") != "token")
def occlusion(context: MethodContext, unit: Any = None, replacement: Any = None) -> Tensor:
    """f(x) - f(x without the unit), shared out evenly among the unit's tokens.

    Zeiler & Fergus 2014, Visualizing and Understanding Convolutional Networks; Li et al. 2016,
    Understanding Neural Networks through Representation Erasure.

    Cost: a forward pass for each unit, several in a batch. The plainest answer to what a unit alone
    does; units that say the same hide each other, for either can be left out. The inputs are unlike
    what a model was trained on, less so with a mask token for a model that knows it. A token hidden
    by the attention mask still has a state of its own: a head that reads it, as those of causal
    classifiers read the last, still sees it.

    Args:
        context: the forward pass and what to explain of it.
        unit: "token", "word", "sentence"; or a list of parts of the text, each its first character
            and last + 1; or the unit's number for each token, int64 [batch, sequence], -1 for none.
            Tokens without a unit, such as special ones, stay and have no score (nan). By default
            words for texts, and tokens for tensors.
        replacement: replaces each of the unit's tokens: "mask", the tokenizer's mask token;
            "remove", hidden by the attention mask; "pad", or another token's id or text. By default
            the mask token if the tokenizer has one, else "remove".

    Raises:
        InputError: a row would be left without any token.
        OptionError: no such unit or replacement.
        UnsupportedHeadError: the model does not heed its attention mask.
    """
    reruns = context.reruns
    units = units_of(unit, reruns.ids, reruns.mask, context.lookup)
    token = _token(replacement, context)
    pairs = [
        (row, number)
        for row in range(len(units))
        for number in sorted(set(units[row].tolist()) - {-1})
    ]
    if not pairs:
        return torch.full((1, 1, 1, units.shape[1]), torch.nan, device=units.device)
    if token is None:
        _check_mask(reruns, units)
    rows, numbers = (torch.tensor(part, device=units.device) for part in zip(*pairs, strict=True))
    scores = torch.zeros(len(units), reruns.targets, units.shape[1], device=units.device)
    for some in reruns.batches(len(rows)):
        row, number = rows[some], numbers[some, None]
        hidden = units[row] == number  # [variants, sequence]
        if token is None:
            values = reruns.values(row, mask=reruns.mask[row] & ~hidden)
        else:
            values = reruns.values(row, ids=reruns.ids[row].masked_fill(hidden, token))
        loss = (reruns.original[row] - values) / hidden.sum(1, keepdim=True)  # [variants, targets]
        # [variants, targets, sequence] into [rows, targets, sequence]; units share no tokens.
        scores.index_add_(0, row, torch.where(hidden[:, None], loss[:, :, None], 0))
    scores = scores.masked_fill((units < 0)[:, None], torch.nan)
    return context.of_rows(scores)[:, :, None]


def _check_mask(reruns: Reruns, units: Tensor) -> None:
    """Raise an error if a row would be empty, or if hiding tokens changes no row's values."""
    # The tokens of each row's last unit, which is the only one if they and padding are all.
    last = (units == units.amax(1, keepdim=True)) & (units >= 0)
    if ((last | ~reruns.mask).all(1)).any():
        raise InputError(
            "hiding the only unit of a text leaves the model nothing to read. Give a token as "
            "replacement, or a longer text."
        )
    # Some models (FNet) take a mask and ignore it. Hiding all other units at once has to change a
    # value of some row if hiding does anything.
    others = (units >= 0) & ~last
    rows = others.any(1).nonzero().flatten()
    if len(rows) == 0:
        return
    values = reruns.values(rows, mask=reruns.mask[rows] & ~others[rows])
    if reruns.agree(values, reruns.original[rows], rows):
        raise UnsupportedHeadError(
            "hiding tokens by the attention mask changes nothing in this model's output, so it "
            "does not heed it. Give a token as replacement."
        )


def _token(replacement: Any, context: MethodContext) -> int | None:
    """Return the id that replaces tokens; None if the attention mask hides them."""
    if replacement is None:
        return context.lookup.mask
    if isinstance(replacement, str) and replacement == "remove":
        return None
    if isinstance(replacement, str):
        replacement = context.lookup.token(replacement)
    token = as_integer(replacement)
    if token is None:
        raise OptionError(
            "replacement must be 'mask', 'remove', 'pad', a token's text or id; got "
            f"{replacement!r:.80}."
        )
    context.reruns.check_token(token)
    return token
