"""The options of the benchmark of sources, which need no model to be checked."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from normxlogit.data.option_checks import check_type, whole_number
from normxlogit.data.option_values import parse_method
from normxlogit.errors import OptionError

BENCHMARK = "sources"
OPTIONS = ("limit", "methods", "seed", "weights")
"""The options of the benchmark, beside the model, the data and the folder."""
QUESTIONS = 240
"""How many questions of the synthetic set are asked by default."""
METHODS = (
    "leave_one_out",
    "attention",
    "late_lrp",
    "late_lrp:reduce=max",
    "normxlogit",
    "normxlogit:reduce=max",
)
"""The methods that are compared by default, beside random scores."""
RANDOM = "random"


@dataclass(frozen=True)
class BenchmarkOptions:
    """The options of a benchmark of sources.

    Attributes:
        limit: how many questions are asked; None for all of a file.
        methods: by the name that tables have, a method and its options.
        seed: of the synthetic set, random scores and the bootstrap.
        weights: the file of the model's weights of sources, or these; None for none.
    """

    limit: int | None
    methods: Mapping[str, tuple[str, Mapping[str, Any]]]
    seed: int
    weights: Any


def check_options(options: Mapping[str, object]) -> BenchmarkOptions:
    """Check the options of the benchmark.

    Raises:
        OptionError: there is no such option or method, or a value is out of range.
    """
    further = [option for option in options if option not in OPTIONS]
    if further:
        raise OptionError(
            f"benchmark {BENCHMARK!r} takes {', '.join(OPTIONS)} beside model and data. Leave out "
            f"{', '.join(further)}."
        )
    limit, methods = options.get("limit"), options.get("methods", METHODS)
    return BenchmarkOptions(
        None if limit is None else whole_number("limit", limit),
        _parse_methods(methods),
        whole_number("seed", options.get("seed", 0), least=0),
        options.get("weights"),
    )


def _parse_methods(methods: object) -> dict[str, tuple[str, Mapping[str, Any]]]:
    check_type("methods", methods, Sequence)
    assert isinstance(methods, Sequence)
    parsed: dict[str, tuple[str, Mapping[str, Any]]] = {}
    for spec in methods:
        check_type("methods", spec, str)
        if spec in parsed:
            raise OptionError(f"method {spec!r:.80} is given twice. Leave one out.")
        parsed[spec] = parse_method(spec)
    if not parsed:
        raise OptionError("methods must name one method or more.")
    return parsed
