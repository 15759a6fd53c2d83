"""Which input tokens a transformer's prediction rests on, at the price of one forward pass.

Importing this package is cheap; torch is imported when a name that needs it is first used.
"""

import sys
import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

from normxlogit.data.display import DISPLAYS
from normxlogit.errors import (
    InputError,
    MissingExtraError,
    ModelError,
    NormXLogitError,
    OptionError,
    UnsupportedHeadError,
)
from normxlogit.extras import VERSION

if TYPE_CHECKING:
    from normxlogit.explainer import Explainer
    from normxlogit.exporting.exported import ExportedModel, load_exported
    from normxlogit.exporting.module import with_explanations
    from normxlogit.exporting.writing import export
    from normxlogit.query import TensorAttribution, attribute
    from normxlogit.results.audio import AudioAttribution
    from normxlogit.results.base import Result
    from normxlogit.results.comparison import Comparison
    from normxlogit.results.generation import GenerationAttribution
    from normxlogit.results.image import ImageAttribution
    from normxlogit.results.interchange.several import to_pandas, to_shap
    from normxlogit.results.prediction import Prediction, Target
    from normxlogit.results.sources import SourceAttribution
    from normxlogit.results.text import Attribution, Failure
    from normxlogit.results.verification import Verification

_HOMES = {
    "Attribution": "results.text",
    "AudioAttribution": "results.audio",
    "Comparison": "results.comparison",
    "Explainer": "explainer",
    "ExportedModel": "exporting.exported",
    "Failure": "results.text",
    "GenerationAttribution": "results.generation",
    "ImageAttribution": "results.image",
    "Prediction": "results.prediction",
    "Result": "results.base",
    "SourceAttribution": "results.sources",
    "Target": "results.prediction",
    "TensorAttribution": "query",
    "Verification": "results.verification",
    "attribute": "query",
    "export": "exporting.writing",
    "load_exported": "exporting.exported",
    "to_pandas": "results.interchange.several",
    "to_shap": "results.interchange.several",
    "with_explanations": "exporting.module",
}

__version__ = VERSION

# Results print themselves and make pages, but what draws them stands above them. Only this module
# knows both, and loads the drawing when something is first shown.
DISPLAYS["result"] = lambda: import_module("normxlogit.show.dispatch")
DISPLAYS["comparison"] = DISPLAYS["result"]
DISPLAYS["corpus"] = lambda: import_module("normxlogit.show.corpus.display")

__all__ = [
    "Attribution",
    "AudioAttribution",
    "Comparison",
    "Explainer",
    "ExportedModel",
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
    "SourceAttribution",
    "Target",
    "TensorAttribution",
    "UnsupportedHeadError",
    "Verification",
    "attribute",
    "export",
    "load_exported",
    "to_pandas",
    "to_shap",
    "with_explanations",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    _import_bars()
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def _import_bars() -> None:
    """Import tqdm, as transformers will, without its request for ipywidgets in a notebook."""
    if "tqdm.auto" not in sys.modules:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "IProgress not found")
            import_module("tqdm.auto")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
