"""The plan of an evaluation: its options, checked."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import NoneType
from typing import Any

from normxlogit.data.option_checks import one_of, shares, whole_number
from normxlogit.errors import OptionError
from normxlogit.evaluation.method_specs import MethodSpec, parse_method_specs
from normxlogit.evaluation.perturb.presets import RATIOS, Corrected, Paper, Preset
from normxlogit.text.validation import check_long

METHODS = (
    "normxlogit",
    "late_lrp",
    "gradient_x_input",
    "integrated_gradients",
    "occlusion",
    "random",
)
PACKAGES = ("pyarrow", "filelock", "scipy", "matplotlib")
"""The packages of the extra that an evaluation needs."""

UNITS = ("word", "token", "sentence")
FURTHER = ("curves", "naopc", "loo_tau", "soft", "sanity")
"""Metrics beside comprehensiveness and sufficiency; each takes a pass per unit or more."""


@dataclass(frozen=True)
class Plan:
    """The options of an evaluation.

    Attributes:
        method_specs: the methods.
        preset: how texts are split into units, hidden and counted.
        unit: the kind of units that are ranked.
        operator: how units are hidden, see `perturb.operators`; None for the mask token.
        ratios: the shares of a text that are hidden.
        further: the metrics of `FURTHER` to compute.
        seed: of random orders and resamples.
        long: how to treat a text over the model's limit: "error" or "truncate".
        max_length: a limit in tokens below the model's; None for the model's.
        limit: the number of rows to read; None for all.
    """

    method_specs: Sequence[MethodSpec]
    preset: Preset
    unit: str
    operator: str | None
    ratios: tuple[float, ...]
    further: tuple[str, ...]
    seed: int
    long: str
    max_length: int | None
    limit: int | None

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {
            "preset": self.preset.name,
            "unit": self.unit,
            "operator": self.operator,
            "ratios": list(self.ratios),
            "candidates": [spec.to_dict() for spec in self.method_specs],
            "metrics": list(self.further),
            "draws": self.preset.draws,
            "seed": self.seed,
            "limit": self.limit,
            "long": self.long,
            "max_length": self.max_length,
        }


def plan_of(
    *,
    methods: Sequence[str | Mapping[str, Any]] | None = None,
    preset: str = "corrected",
    unit: str | None = None,
    operator: str | None = None,
    ratios: Sequence[float] = RATIOS,
    metrics: Sequence[str] = (),
    draws: int | None = None,
    seed: int = 0,
    long: str = "error",
    max_length: int | None = None,
    limit: int | None = None,
    **unknown: object,
) -> Plan:
    """Check the arguments of `Explainer.evaluate` and make a plan of them.

    Raises:
        OptionError: an option does not exist, or its value is not valid.
    """
    if unknown:
        raise OptionError(f"evaluate has no option {next(iter(unknown))!r}.")
    one_of("preset", preset, ("corrected", "paper"))
    if preset == "paper" and (unit is not None or draws is not None):
        raise OptionError(
            "preset 'paper' ranks tokens and draws one random order. Leave out unit and draws."
        )
    if unit is not None:
        one_of("unit", unit, UNITS)
    check_long(long)
    if long == "window":
        raise OptionError(
            "long must be 'error' or 'truncate' here: a text in several windows has no single "
            "output to hide words from."
        )
    draws = None if draws is None else whole_number("draws", draws)
    limit = None if limit is None else whole_number("limit", limit, most=sys.maxsize)
    max_length = None if max_length is None else whole_number("max_length", max_length)
    seed = whole_number("seed", seed, least=0)
    if not isinstance(operator, (str, NoneType)):
        raise OptionError(f"operator must be a name or the text of a token, got {operator!r}.")
    is_list = isinstance(metrics, Sequence) and not isinstance(metrics, str)
    if not is_list or not all(isinstance(m, str) and m in FURTHER for m in metrics):
        raise OptionError(
            f"metrics must be a list of any of {', '.join(FURTHER)}, which come beside "
            f"comprehensiveness and sufficiency; got {metrics!r}."
        )
    if preset == "paper" and "soft" in metrics:
        raise OptionError(
            "metric 'soft' keeps special tokens whole, and preset 'paper' counts them. Leave soft "
            "out, or take preset 'corrected'."
        )
    unit = unit or ("token" if preset == "paper" else "word")
    method_specs = parse_method_specs(METHODS if methods is None else methods)
    reduced = next((spec for spec in method_specs if spec.reduction != "sum"), None)
    if unit == "token" and reduced is not None:
        raise OptionError(
            f"{reduced.name!r}: tokens are ranked, so there is nothing to reduce. Leave reduction "
            "out, or rank words."
        )
    return Plan(
        method_specs=method_specs,
        preset=Paper() if preset == "paper" else Corrected(unit, 20 if draws is None else draws),
        unit=unit,
        operator=operator,
        ratios=shares("ratios", ratios),
        further=tuple(name for name in FURTHER if name in metrics),
        seed=seed,
        long=long,
        max_length=max_length,
        limit=limit,
    )
