"""What is asked of a text, checked without torch: by which method, for which outputs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from normxlogit.data.option_checks import as_integer, real_number
from normxlogit.errors import OptionError
from normxlogit.methods.registry import find_declaration
from normxlogit.model.targets import Target, Targets

if TYPE_CHECKING:
    from torch import Tensor

    from normxlogit.model.forward import Layer


@dataclass(frozen=True)
class Request:
    """What is asked for; the fields are arguments of `attribute`.

    Arrays become lists, and numpy's numbers Python's.

    Raises:
        OptionError: there is no such method, option of it, or layer; or the threshold is no
            probability.
    """

    target: Targets = None
    contrast: "Target | Tensor | None" = None
    method: str = "normxlogit"
    layer: "Layer" = None
    readout: str | None = None
    threshold: float = 0.5
    options: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        find_declaration(self.method).check(self.options, self.layer)
        plain = {
            "target": _without_numpy(self.target),
            "contrast": _without_numpy(self.contrast),
            "layer": _layer(self.layer),
            "options": {name: _without_numpy(option) for name, option in self.options.items()},
            "threshold": real_number("threshold", self.threshold, least=0, most=1),
        }
        for name, value in plain.items():
            object.__setattr__(self, name, value)  # the way to set a field of a frozen class


def _without_numpy(value: Any) -> Any:
    """Return a value without numpy's types: numbers and texts as Python's, arrays as lists."""
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    if type(value) in (list, tuple):
        return type(value)(map(_without_numpy, value))
    return value


def _layer(layer: Any) -> "Layer":
    if layer is None or (isinstance(layer, str) and layer == "all"):
        return layer  # type: ignore[return-value]
    number = as_integer(layer)
    if number is None or number < 1:
        raise OptionError(f"layer must be a number from 1, 'all' or None, got {layer!r:.80}.")
    return number
