"""What a tokenizer knows of a batch's tokens, and tensors alone do not."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from normxlogit.errors import OptionError


@dataclass(frozen=True)
class TokenLookup:
    """Answers what methods ask of texts.

    Attributes:
        units: the number of the unit that each token belongs to, int64 [rows, sequence], -1 for
            tokens of none; takes "token", "word", "sentence", or a list of parts of the text, each
            its first character and last + 1.
        token: the id of a token; takes "mask", "pad", or its text.
        mask: the id of the mask token, if there is one.
    """

    units: Callable[[Any], Tensor]
    token: Callable[[str], int]
    mask: int | None


def _no_units(unit: Any) -> Tensor:
    raise OptionError(
        f"unit {unit!r} is told by a text, and here are tensors only. Give 'token', or the number "
        "of each token's unit, int64 [batch, sequence]; normxlogit.Explainer takes texts."
    )


def _no_token(token: Any) -> int:
    raise OptionError(
        f"{token!r} is told by a tokenizer, and here are tensors only. Give the token's id; "
        "normxlogit.Explainer has the tokenizer."
    )


NO_TEXT = TokenLookup(_no_units, _no_token, None)
