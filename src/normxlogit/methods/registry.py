"""The registry of attribution methods.

A method is a function from `MethodContext` to scores, registered under its name:

    @register("norm", family="head on top", cost="1 forward", source="...", reads="states")
    def norm(context: MethodContext) -> Tensor: ...

Its keyword arguments are its options, which `explain` and `attribute` pass on.
"""

import difflib
import inspect
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from torch import Tensor

from normxlogit.errors import OptionError
from normxlogit.methods.context import MethodContext, Reads
from normxlogit.methods.scores import MethodScores
from normxlogit.model.targets import Problem

Score = Callable[..., Tensor | MethodScores]
AnyScore = TypeVar("AnyScore", bound=Score)

ONE_PASS = "1 forward"


@dataclass(frozen=True)
class Method:
    """An attribution method.

    Attributes:
        name: the name that users choose it by.
        family: the kind of method.
        cost: forward and backward passes of the model, including that of the prediction; n is the
            number of tokens.
        serves: the heads and architectures that it can explain.
        source: the publication that it comes from.
        score: takes a `MethodContext` and the method's options, and returns scores that broadcast
            to [batch, targets, layers, sequence], alone or as `MethodScores`. Values at padding are
            ignored.
        reads: how much of the forward pass it reads. A method that reads states scores the
            positions of the final layer; one that reads the head has a readout.
        of_output: whether it explains the model's own output, rather than the head's output for
            each token's state.
        has_layers: whether it can read the layers asked for.
        readouts: the names of the readouts that it has for each problem, the default first; None
            if it has all.
        keeps: the layers whose outputs the forward pass must keep for it, given its options; 0 is
            the first block's input.
        divides: whether, given its options, it scores parts of the text and shares each part's
            score out among the part's tokens, so that nothing but their sum says anything.
    """

    name: str
    family: str
    cost: str
    serves: str
    source: str
    score: Score
    reads: Reads
    of_output: bool
    has_layers: bool
    readouts: Mapping[Problem, Collection[str]] | None
    keeps: Callable[[Mapping[str, Any]], Collection[int]]
    divides: Callable[[Mapping[str, Any]], bool]

    @property
    def runs_again(self) -> bool:
        """Whether it runs the model again after the pass of the prediction."""
        return self.cost != ONE_PASS

    @property
    def options(self) -> list[str]:
        """The names of the method's options."""
        # The first parameter is the context.
        return list(inspect.signature(self.score).parameters)[1:]

    def check(self, options: Mapping[str, Any], layer: Any) -> None:
        """Raise `OptionError` for an option or a layer that the method does not have."""
        for name in options:
            if name not in self.options:
                raise OptionError(
                    f"method {self.name!r} has no option {name!r}. "
                    f"Its options: {', '.join(self.options) or 'none'}."
                )
        if layer is not None and not self.has_layers:
            others = ", ".join(method.name for method in METHODS.values() if method.has_layers)
            raise OptionError(
                f"method {self.name!r} explains the model as a whole and has no layers. Leave "
                f"layer out, or choose one of: {others}."
            )

    @property
    def reads_head(self) -> bool:
        """Whether scores come from the head's output for each token."""
        return self.reads == "head"

    @property
    def reads_states(self) -> bool:
        """Whether scores belong to the positions of hidden states."""
        return self.reads != "inputs"

    def __call__(self, context: MethodContext, **options: Any) -> MethodScores:
        """Score every token."""
        scores = self.score(context, **options)
        return MethodScores(scores) if isinstance(scores, Tensor) else scores


METHODS: dict[str, Method] = {}


def register(
    name: str,
    *,
    family: str,
    source: str,
    cost: str = ONE_PASS,
    serves: str = "all",
    reads: Reads = "inputs",
    of_output: bool = False,
    has_layers: bool = False,
    readouts: Mapping[Problem, Collection[str]] | None = None,
    keeps: Callable[[Mapping[str, Any]], Collection[int]] = lambda _options: (),
    divides: Callable[[Mapping[str, Any]], bool] = lambda _options: False,
) -> Callable[[AnyScore], AnyScore]:
    """Register a function as a method that `explain(..., method=name)` finds; see `Method`."""

    def add(score: AnyScore) -> AnyScore:
        if name in METHODS:
            raise OptionError(f"a method named {name!r} is registered already.")
        METHODS[name] = Method(
            name,
            family,
            cost,
            serves,
            source,
            score,
            reads,
            of_output,
            has_layers,
            readouts,
            keeps,
            divides,
        )
        return score

    return add


def find_method(name: str) -> Method:
    """Return the method of that name; `OptionError` with all names if there is none."""
    if not isinstance(name, str) or name not in METHODS:
        alike = _alike(name) if isinstance(name, str) else []
        hint = f" Did you mean {' or '.join(alike)}?" if alike else ""
        raise OptionError(
            f"there is no method {name!r:.80}.{hint} The methods: {', '.join(METHODS)}."
        )
    return METHODS[name]


def _alike(name: str) -> list[str]:
    """Return the methods that a name may stand for: by their initials, a part, or a misspelling."""
    written = re.sub(r"\W+", "_", name.casefold())
    if not written.strip("_"):
        return []
    by_initials = [m for m in METHODS if written == "".join(word[0] for word in m.split("_"))]
    by_part = [method for method in METHODS if written in method]
    return by_initials or by_part[:3] or difflib.get_close_matches(written, METHODS, 3)
