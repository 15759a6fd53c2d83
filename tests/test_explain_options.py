"""The options of `explain` are spelled alike wherever they must be repeated.

Public functions say what they return.
"""

import ast
import dataclasses
import inspect
import re
from collections.abc import Callable, Iterator
from functools import cached_property
from textwrap import dedent
from types import FunctionType, ModuleType, UnionType
from typing import Any, Union, get_args, get_origin

import pytest
import typer.main
from torch import Tensor

import normxlogit
from normxlogit import Explainer, attribute, cli, corpus, evaluation, methods
from normxlogit.evaluation.plan import plan_of
from normxlogit.fitting.options import FitOptions
from normxlogit.query import Query
from normxlogit.tasks.explainer import ModelExplainer

OPTIONS = ("target", "contrast", "method", "layer", "readout", "threshold")
"""What can be asked of any model and input, in the order of the documentation."""

Annotations = dict[str, Any]
OTHER_ANNOTATIONS: dict[str, tuple[Callable[..., Any], Annotations]] = {
    "Explainer.stream": (Explainer.stream, {}),
    # A record of a shard has a score for each token, and so one layer.
    "Explainer.corpus": (Explainer.corpus, {"layer": int | None}),
    # Where inputs are tensors, each row may have its own contrast.
    "attribute": (attribute, {"contrast": str | int | None | Tensor}),
    # Only who is asked knows whether there is an attribution head to choose the method by. A
    # request is read without torch, whose types it names only.
    "Query": (Query, {"contrast": "Target | Tensor | None", "layer": "Layer", "method": str}),
}
"""Where the options are repeated, and which of them take other values there than in `explain`."""


def parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(function).parameters)


def test_evaluate_has_the_defaults_of_its_plan() -> None:
    evaluate = parameters(Explainer.evaluate)
    planned = parameters(plan_of)
    del planned["unknown"]
    assert {name: evaluate[name].default for name in planned} == {
        name: parameter.default for name, parameter in planned.items()
    }


@pytest.mark.parametrize("name", OTHER_ANNOTATIONS)
def test_functions_repeat_names_order_defaults_and_annotations(name: str) -> None:
    function, other_annotations = OTHER_ANNOTATIONS[name]
    explain, repeated = parameters(Explainer.explain), parameters(function)
    assert tuple(option for option in explain if option in OPTIONS) == OPTIONS
    assert tuple(option for option in repeated if option in OPTIONS) == OPTIONS
    for option in OPTIONS:
        annotation = other_annotations.get(option, explain[option].annotation)
        assert repeated[option].annotation == annotation, option
        default = "normxlogit" if annotation is str else explain[option].default
        assert repeated[option].default == default, option


def test_explain_and_stream_differ_in_their_inputs_alone() -> None:
    explain, stream = parameters(Explainer.explain), parameters(Explainer.stream)
    assert list(explain) == list(stream)
    assert list(explain)[:2] == ["self", "inputs"]
    for option in list(explain)[2:]:
        assert explain[option] == stream[option]


def command_options(command: str) -> dict[str, dict[str, Any]]:
    """What tells how each option of a command is written, by its name."""
    group: Any = typer.main.get_command(cli.app)
    return {
        option.name: {
            "flags": [*option.opts, *option.secondary_opts],
            "default": option.default or None,
            "may be repeated": getattr(option, "multiple", False),
            "values": option.nargs,
        }
        for option in group.commands[command].params
    }


@pytest.mark.parametrize("command", ["explain", "corpus"])
def test_commands_have_the_options_and_defaults_of_explain(command: str) -> None:
    explain, options = parameters(Explainer.explain), command_options(command)
    assert tuple(option for option in options if option in OPTIONS) == OPTIONS
    for option in OPTIONS:
        assert options[option] == {
            "flags": [f"--{option}"],
            "default": explain[option].default,
            "may be repeated": option == "target",
            "values": 1,
        }


def test_fit_has_the_same_defaults_everywhere() -> None:
    fit, command = parameters(Explainer.fit), command_options("fit")
    for field in dataclasses.fields(FitOptions):
        assert fit[field.name].default == field.default, field.name
        assert command[field.name]["default"] == (field.default or None), field.name


def test_commands_write_their_common_options_alike() -> None:
    explain, corpus = command_options("explain"), command_options("corpus")
    common = [*OPTIONS, "option", "long"]
    assert [explain[option] for option in common] == [corpus[option] for option in common]


RETURN_ANY = {
    "normxlogit.corpus.Row.item",  # what a user's row holds: a text, a pair, an image, ...
}
"""Public functions that may return anything."""


def public_functions(package: ModuleType) -> Iterator[tuple[str, FunctionType]]:
    """Functions and the methods and properties of classes that a package exports, by full name."""
    for name in package.__all__:
        exported, full_name = getattr(package, name), f"{package.__name__}.{name}"
        if inspect.isfunction(exported):
            yield full_name, exported
        elif inspect.isclass(exported):
            for member in inspect.classify_class_attrs(exported):
                is_own = member.defining_class.__module__.split(".")[0] == "normxlogit"
                function = underlying_function(member.object)
                if is_own and function and not member.name.startswith("_"):
                    yield f"{full_name}.{member.name}", function


def underlying_function(member: object) -> FunctionType | None:
    """The function that a method or property wraps; None for other members of a class."""
    if isinstance(member, staticmethod | classmethod):
        member = member.__func__
    elif isinstance(member, property):
        member = member.fget
    elif isinstance(member, cached_property):
        member = member.func
    return member if isinstance(member, FunctionType) else None


def is_any(annotation: object) -> bool:
    """Whether type checkers know nothing of such a value: it is Any, or a union with Any."""
    if isinstance(annotation, str):  # its names may be imported for type checkers alone
        return "Any" in annotation.split(" | ")
    is_union = get_origin(annotation) in (Union, UnionType)
    return annotation is Any or (is_union and any(map(is_any, get_args(annotation))))


def test_any_is_seen_in_unions_and_in_quotes() -> None:
    assert all(map(is_any, (Any, Any | None, "Any", "Any | None")))
    assert not any(map(is_any, (dict[str, Any], int | None, "list[Any]", None)))


def test_public_functions_say_what_they_return() -> None:
    functions = {
        name: function
        for package in (normxlogit, corpus, evaluation, methods)
        for name, function in public_functions(package)
    }
    seen = {"normxlogit.attribute", "normxlogit.Explainer.explain", "normxlogit.Attribution.words"}
    assert seen < functions.keys()
    returns = {name: function.__annotations__["return"] for name, function in functions.items()}
    assert {name for name, annotation in returns.items() if is_any(annotation)} == RETURN_ANY


@pytest.mark.parametrize("name", ["explain", "generate"])
def test_overloads_tell_the_result_of_one_input_from_that_of_a_list(name: str) -> None:
    # typing.get_overloads came with Python 3.11.
    tree = ast.parse(dedent(inspect.getsource(ModelExplainer)))
    returns = [
        ast.unparse(node.returns)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        and node.name == name
        and node.returns is not None
        and "overload" in map(ast.unparse, node.decorator_list)
    ]
    result = {"explain": "Attribution", "generate": "GenerationAttribution"}[name]
    assert {result, f"list[{result} | Failure]"} < set(returns)
    assert not [annotation for annotation in returns if "Any" in re.findall(r"\w+", annotation)]
