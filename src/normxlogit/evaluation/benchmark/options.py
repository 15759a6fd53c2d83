"""The options of a benchmark, which need no model to be checked."""

from collections.abc import Mapping

from normxlogit.data.option_checks import whole_number
from normxlogit.errors import OptionError

BENCHMARK = "blimp"
OPTIONS = ("limit", "seed")
"""The options of a benchmark, beside the model, the data and the folder."""


def check_benchmark(name: object, options: Mapping[str, object]) -> None:
    """Check the name of a benchmark and its options.

    Raises:
        OptionError: there is no such benchmark or option, or an option is out of range.
    """
    if name != BENCHMARK:
        raise OptionError(f"benchmark must be {BENCHMARK} or sources, got {name!r}.")
    further = [option for option in options if option not in OPTIONS]
    if further:
        raise OptionError(
            f"benchmark {name!r} takes {' and '.join(OPTIONS)} beside model and data. Leave out "
            f"{', '.join(further)}."
        )
    checked_numbers(**options)


def checked_numbers(limit: object = None, seed: object = 0) -> tuple[int | None, int]:
    """Return the options of a benchmark as numbers; `OptionError` if one is out of range."""
    return (
        None if limit is None else whole_number("limit", limit),
        whole_number("seed", seed, least=0),
    )
