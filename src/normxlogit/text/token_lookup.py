"""Questions about a batch's tokens that only text and tokenizer can answer."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from normxlogit.errors import OptionError


@dataclass(frozen=True)
class TokenLookup:
    """Answers the questions that methods ask about text.

    Attributes:
        units: returns the number of each token's unit, int64 [rows, sequence], -1 for none, given
            "token", "word", "sentence", or a list of parts of the text, each its first character
            and last + 1.
        token: returns the id of a token, given "mask", "pad", or its text.
        mask: the id of the mask token, if there is one.
    """

    units: Callable[[Any], Tensor]
    token: Callable[[str], int]
    mask: int | None


def _no_units(unit: Any) -> Tensor:
    raise OptionError(
        f"unit={unit!r} needs the text, and attribute() gets tensors only. Give 'token', or the "
        "number of each token's unit, int64 [batch, sequence]; normxlogit.Explainer takes texts."
    )


def _no_token(token: Any) -> int:
    raise OptionError(
        f"the token {token!r} needs a tokenizer, and attribute() gets tensors only. Give the "
        "token's id; normxlogit.Explainer has the tokenizer."
    )


NO_TEXT = TokenLookup(_no_units, _no_token, None)
