"""The registry of attribution methods.

A method is a function from `MethodContext` to scores. Its keyword arguments are its options, which
`explain` and `attribute` pass on. One of this package is declared in the catalogue:

    @implement("norm")
    def norm(context: MethodContext) -> Tensor: ...

Any other says the same of itself where it is registered:

    @register("mine", family="head on top", source="...", reads="states")
    def mine(context: MethodContext) -> Tensor: ...
"""

import difflib
import inspect
import re
from collections.abc import Callable, Collection, Iterator, Mapping, MutableMapping
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

from normxlogit.errors import OptionError
from normxlogit.methods.catalogue import CATALOGUE, ONE_PASS, Declaration, Reads
from normxlogit.methods.scores import MethodScores
from normxlogit.model.targets import Problem

if TYPE_CHECKING:
    from torch import Tensor

    from normxlogit.methods.context import MethodContext
    from normxlogit.model.readings import Reading

Score = Callable[..., "Tensor | MethodScores"]
AnyScore = TypeVar("AnyScore", bound=Score)

Readouts = Mapping[Problem, Collection[str]]
Keeps = Callable[[Mapping[str, Any]], Mapping[int, "Reading"]]
Divides = Callable[[Mapping[str, Any]], bool]


def _keeps_none(_options: Mapping[str, Any]) -> Mapping[int, "Reading"]:
    return {}


def _divides_none(_options: Mapping[str, Any]) -> bool:
    return False


@dataclass(frozen=True, kw_only=True)
class Method(Declaration):
    """An attribution method.

    Attributes:
        score: takes a `MethodContext` and the method's options, and returns scores that broadcast
            to [batch, targets, layers, sequence], alone or as `MethodScores`. Values at padding are
            ignored.
        readouts: the names of the readouts that it has for each problem, the default first; None
            if it has all.
        keeps: what the forward pass must keep of blocks' outputs for it, given its options, by
            their numbers; 0 is the first block's input. `whole` keeps an output as it is.
        divides: whether, given its options, it scores parts of the text and shares each part's
            score out among the part's tokens, so that nothing but their sum says anything.
    """

    score: Score
    readouts: Readouts | None = None
    keeps: Keeps = _keeps_none
    divides: Divides = _divides_none

    def documentation(self) -> str:
        """Return the docstring of its code."""
        return inspect.getdoc(self.score) or ""

    def __call__(self, context: "MethodContext", **options: Any) -> MethodScores:
        """Score every token."""
        scores = self.score(context, **options)
        return scores if isinstance(scores, MethodScores) else MethodScores(scores)


class Registry(MutableMapping[str, Method]):
    """The methods by name; those of the catalogue are imported when they are first looked up."""

    def __init__(self) -> None:
        self._methods: dict[str, Method] = {}

    def declaration(self, name: str) -> Declaration:
        """Return what is known of a method, without importing its code."""
        return self._methods.get(name) or CATALOGUE[name]

    def __getitem__(self, name: str) -> Method:
        if name not in self._methods and name in CATALOGUE:
            import_module(f"normxlogit.methods.{CATALOGUE[name].module}")
        return self._methods[name]

    def __setitem__(self, name: str, method: Method) -> None:
        self._methods[name] = method

    def __delitem__(self, name: str) -> None:
        del self._methods[name]

    def __contains__(self, name: object) -> bool:
        return name in CATALOGUE or name in self._methods

    def __iter__(self) -> Iterator[str]:
        return iter([*CATALOGUE, *(name for name in self._methods if name not in CATALOGUE)])

    def __len__(self) -> int:
        return len(CATALOGUE.keys() | self._methods.keys())


METHODS = Registry()


def implement(
    name: str,
    *,
    readouts: Readouts | None = None,
    keeps: Keeps = _keeps_none,
    divides: Divides = _divides_none,
) -> Callable[[AnyScore], AnyScore]:
    """Register a function as the code of a method in the catalogue; see `Method`."""

    def add(score: AnyScore) -> AnyScore:
        declared = vars(CATALOGUE[name])
        METHODS[name] = Method(
            **declared, score=score, readouts=readouts, keeps=keeps, divides=divides
        )
        return score

    return add


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
    readouts: Readouts | None = None,
    keeps: Keeps = _keeps_none,
    divides: Divides = _divides_none,
) -> Callable[[AnyScore], AnyScore]:
    """Register a function as a method that `explain(..., method=name)` finds; see `Method`."""

    def add(score: AnyScore) -> AnyScore:
        if name in METHODS:
            raise OptionError(f"a method named {name!r} is registered already.")
        METHODS[name] = Method(
            name=name,
            family=family,
            source=source,
            cost=cost,
            serves=serves,
            options=function_options(score, inputs=1),  # the context
            reads=reads,
            of_output=of_output,
            has_layers=has_layers,
            score=score,
            readouts=readouts,
            keeps=keeps,
            divides=divides,
        )
        return score

    return add


def find_method(name: str) -> Method:
    """Return the method of that name; `OptionError` with all names if there is none."""
    return METHODS[find_declaration(name).name]


def find_declaration(name: str) -> Declaration:
    """Return what is known of the method of that name, without importing its code.

    Raises:
        OptionError: there is none.
    """
    if not isinstance(name, str) or name not in METHODS:
        alike = _alike(name) if isinstance(name, str) else []
        hint = f" Did you mean {' or '.join(alike)}?" if alike else ""
        raise OptionError(
            f"there is no method {name!r:.80}.{hint} The methods: {', '.join(METHODS)}."
        )
    return METHODS.declaration(name)


def function_options(score: Callable[..., Any], inputs: int) -> dict[str, Any]:
    """Return the arguments of a function after its `inputs`, with their defaults."""
    parameters = list(inspect.signature(score).parameters.values())[inputs:]
    return {parameter.name: parameter.default for parameter in parameters}


def _alike(name: str) -> list[str]:
    """Return the methods that a name may stand for: by their initials, a part, or a misspelling."""
    written = re.sub(r"\W+", "_", name.casefold())
    if not written.strip("_"):
        return []
    by_initials = [m for m in METHODS if written == "".join(word[0] for word in m.split("_"))]
    by_part = [method for method in METHODS if written in method]
    return by_initials or by_part[:3] or difflib.get_close_matches(written, METHODS, 3)
