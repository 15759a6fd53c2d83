"""The options of `explain` are spelled alike wherever they must be repeated."""

import inspect
from collections.abc import Callable
from typing import Any

import pytest
import typer.main
from torch import Tensor

from normxlogit import Explainer, attribute, cli
from normxlogit.query import Query

OPTIONS = ("target", "contrast", "method", "layer", "readout", "threshold")
"""What can be asked of any model and input, in the order of the documentation."""

Annotations = dict[str, Any]
OTHER_ANNOTATIONS: dict[str, tuple[Callable[..., Any], Annotations]] = {
    "Explainer.stream": (Explainer.stream, {}),
    # A record of a shard has a score for each token, and so one layer.
    "Explainer.corpus": (Explainer.corpus, {"layer": int | None}),
    # Where inputs are tensors, each row may have its own contrast.
    "attribute": (attribute, {"contrast": str | int | None | Tensor}),
    "Query": (Query, {"contrast": str | int | None | Tensor}),
}
"""Where the options are repeated, and which of them take other values there than in `explain`."""


def parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    return dict(inspect.signature(function).parameters)


@pytest.mark.parametrize("name", OTHER_ANNOTATIONS)
def test_functions_repeat_names_order_defaults_and_annotations(name: str) -> None:
    function, other_annotations = OTHER_ANNOTATIONS[name]
    explain, repeated = parameters(Explainer.explain), parameters(function)
    assert tuple(option for option in explain if option in OPTIONS) == OPTIONS
    assert tuple(option for option in repeated if option in OPTIONS) == OPTIONS
    for option in OPTIONS:
        annotation = other_annotations.get(option, explain[option].annotation)
        assert repeated[option].annotation == annotation, option
        assert repeated[option].default == explain[option].default, option


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


def test_commands_write_their_common_options_alike() -> None:
    explain, corpus = command_options("explain"), command_options("corpus")
    common = [*OPTIONS, "option", "long"]
    assert [explain[option] for option in common] == [corpus[option] for option in common]
