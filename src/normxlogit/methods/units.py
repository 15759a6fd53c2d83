"""The parts of a text that a method scores as one, for each token by its number."""

from typing import Any

import torch
from torch import Tensor

from normxlogit.errors import OptionError
from normxlogit.text.token_lookup import NO_TEXT, TokenLookup


def units_of(unit: Any, ids: Tensor, mask: Tensor, lookup: TokenLookup) -> Tensor:
    """Return the number of each token's unit, int64 [rows, sequence]; -1 for none, as padding has.

    Args:
        unit: "token", "word", "sentence", a list of parts of the text; of tensors without text the
            numbers themselves, or "token"; None for words, or tokens of tensors.
        ids: the tokens, int64 [rows, sequence].
        mask: which of them are no padding, bool [rows, sequence].
        lookup: what the tokenizer knows about them.

    Raises:
        OptionError: it is none of these.
    """
    has_text = lookup is not NO_TEXT
    if unit is None:
        unit = "word" if has_text else "token"
    if isinstance(unit, str) and unit == "token" and not has_text:
        return torch.arange(ids.shape[1], device=ids.device).expand_as(ids).masked_fill(~mask, -1)
    if isinstance(unit, Tensor) and has_text:
        raise OptionError("unit is a tensor for tensors without text only. Give parts of the text.")
    units: Tensor = unit if isinstance(unit, Tensor) else lookup.units(unit)
    # [batch, choices, sequence] -> [rows, sequence]
    units = units.reshape(-1, units.shape[-1] if units.dim() else 1).to(ids.device)
    is_integer = not units.is_floating_point() and units.dtype != torch.bool
    if not is_integer or units.shape != ids.shape or units.min() < -1:
        raise OptionError(
            f"unit must have an integer from -1 for each of {list(ids.shape)} tokens; got "
            f"{units.dtype} of shape {list(units.shape)}."
        )
    return units.masked_fill(~mask, -1)
