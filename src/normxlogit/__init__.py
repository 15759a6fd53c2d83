"""Which input tokens a transformer's prediction rests on, at the price of one forward pass.

Importing this package is cheap; torch is imported when a name that needs it is first used.
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from .errors import (
    InputError,
    MissingExtraError,
    ModelError,
    NormXLogitError,
    OptionError,
    UnsupportedHeadError,
)

if TYPE_CHECKING:
    from .attribution import Attribution, Failure
    from .explainer import Explainer
    from .generated import GenerationAttribution
    from .pictures import ImageAttribution
    from .result import Prediction, Result, Target
    from .sounds import AudioAttribution
    from .tensors import TensorAttribution, attribute

_HOMES = {
    "Attribution": "attribution",
    "AudioAttribution": "sounds",
    "Explainer": "explainer",
    "Failure": "attribution",
    "GenerationAttribution": "generated",
    "ImageAttribution": "pictures",
    "Prediction": "result",
    "Result": "result",
    "Target": "result",
    "TensorAttribution": "tensors",
    "attribute": "tensors",
}

__version__ = version("normxlogit")

__all__ = [
    "Attribution",
    "AudioAttribution",
    "Explainer",
    "Failure",
    "GenerationAttribution",
    "ImageAttribution",
    "InputError",
    "MissingExtraError",
    "ModelError",
    "NormXLogitError",
    "OptionError",
    "Prediction",
    "Result",
    "Target",
    "TensorAttribution",
    "UnsupportedHeadError",
    "attribute",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
