"""The methods that score sources, by name.

A method is a function from a `Case` and parts of its prompt to a score of each part for each span
of the answer. Its keyword arguments are its options. Any attribution method of tokens is one too,
by its scores summed up over a part; see `one_pass`.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from normxlogit.errors import OptionError
from normxlogit.methods import find_declaration
from normxlogit.methods.registry import function_options
from normxlogit.results.base import Floats
from normxlogit.sources.ablation import TokenSpan
from normxlogit.sources.attention import attention
from normxlogit.sources.case import Case
from normxlogit.sources.leave_one_out import THRESHOLD, leave_one_out
from normxlogit.sources.one_pass import one_pass
from normxlogit.sources.surrogate import ABLATIONS, surrogate, surrogate_passes

Score = Callable[..., Floats]
"""(case, parts, **options) -> float32 [spans, parts]."""

MOST_LEFT_OUT = 32
"""Up to how many sources each is left out by default; that takes a pass for each."""

ONE_PASS = "late_lrp"
"""The default method for more sources."""


@dataclass(frozen=True, kw_only=True)
class SourceMethod:
    """A method that scores sources.

    Attributes:
        name: the name that users choose it by.
        score: takes a `Case`, the first token and last + 1 of each part to score, and the method's
            options; returns float32 [spans, parts].
        cost: its passes of the model, in words.
        passes: how many forward passes it takes for so many parts, with options; None if that is
            not known.
        unit: the unit of its scores; "" if they have none.
        threshold: the score from which a source is cited; None if that cannot be said.
        by_level: whether it removes sets of parts, and so is called for the sources, and again for
            the sentences of leading ones; else once for the sources and all sentences.
        options: its options, with their defaults.
    """

    name: str
    score: Score
    cost: str
    passes: Callable[..., int] | None = None
    unit: str = ""
    threshold: float | None = None
    by_level: bool = True
    options: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, case: Case, parts: Sequence[TokenSpan], **options: Any) -> Floats:
        """Score parts of the prompt."""
        return self.score(case, parts, **options)


SOURCE_METHODS: dict[str, SourceMethod] = {}


def register(
    name: str,
    score: Score,
    *,
    cost: str,
    passes: Callable[..., int] | None = None,
    unit: str = "",
    threshold: float | None = None,
    by_level: bool = True,
) -> None:
    """Register a function as a method of sources; see `SourceMethod`.

    Raises:
        OptionError: the name is taken.
    """
    if name in SOURCE_METHODS:
        raise OptionError(f"a method named {name!r} is registered already.")
    SOURCE_METHODS[name] = SourceMethod(
        name=name,
        score=score,
        cost=cost,
        passes=passes,
        unit=unit,
        threshold=threshold,
        by_level=by_level,
        options=function_options(score, inputs=2),  # the case and the parts
    )


register(
    "leave_one_out",
    leave_one_out,
    cost="1 forward a part, of what comes after it",
    passes=lambda parts: parts,
    unit="nats",
    threshold=THRESHOLD,
)

register(
    "surrogate",
    surrogate,
    cost=f"{ABLATIONS} forwards, each without a random half of the sources",
    passes=surrogate_passes,
    unit="nats",
)

register(
    "attention",
    attention,
    cost="1 forward, with eager attention",
    passes=lambda _parts, **_options: 1,
    by_level=False,
)


def default_method(sources: int) -> str:
    """Return the method for so many sources, if the caller names none."""
    return "leave_one_out" if sources <= MOST_LEFT_OUT else ONE_PASS


def find_source_method(name: Any) -> SourceMethod:
    """Return the method of that name: of sources, or an attribution method of tokens.

    Raises:
        OptionError: there is none.
    """
    if isinstance(name, str) and name in SOURCE_METHODS:
        return SOURCE_METHODS[name]
    try:
        declaration = find_declaration(name)
    except OptionError as error:
        raise OptionError(
            f"{str(error).removesuffix('.')}; and of sources alone: {', '.join(SOURCE_METHODS)}."
        ) from error
    return SourceMethod(
        name=declaration.name,
        score=partial(one_pass, method=declaration.name),
        cost=declaration.cost,
        by_level=False,
        options={"reduce": "sum", "readout": None, **declaration.options},
    )
