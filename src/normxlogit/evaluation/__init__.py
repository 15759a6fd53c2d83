"""Measure how far attribution methods can be trusted, for a given model and its data.

Each method ranks the parts of a text, which are then hidden bit by bit while the model predicts
again. Faithfulness (to the model) and plausibility (to people or a grammar) are kept apart.

The names below are loaded when they are first used, so that importing this package is cheap.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from normxlogit.evaluation.benchmark.cases import case_of
    from normxlogit.evaluation.benchmark.run import blimp
    from normxlogit.evaluation.metrics.generation import answer_drops
    from normxlogit.evaluation.metrics.plausibility import agreement

_HOMES = {
    "agreement": "metrics.plausibility",
    "answer_drops": "metrics.generation",
    "blimp": "benchmark.run",
    "case_of": "benchmark.cases",
}

__all__ = ["agreement", "answer_drops", "blimp", "case_of"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
