"""What a method declares when it is registered, and what its context then lets it read."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor

import normxlogit as nxl
from normxlogit.errors import OptionError
from normxlogit.methods import METHODS, MethodContext, MethodScores, find_method, register
from normxlogit.methods.catalogue import CATALOGUE
from tests.helpers.zoo.models import tiny_model

IDS = torch.tensor([[5, 6, 7, 8]])
READS: dict[str, Callable[[MethodContext], Any]] = {
    "values": lambda context: context.values,
    "norms": lambda context: context.norms(),
    "layers": lambda context: context.layers,
    "state_norms": lambda context: context.state_norms(),
}


@pytest.fixture
def registered() -> Iterator[Callable[..., None]]:
    """Registers a function as the method "mine", and takes it out again."""

    def add(score: Callable[..., Tensor | MethodScores], **declared: Any) -> None:
        register("mine", family="test", source="-", **declared)(score)

    yield add
    METHODS.pop("mine", None)


def explain(**asked: Any) -> nxl.TensorAttribution:
    return nxl.attribute(tiny_model("bert"), {"input_ids": IDS}, method="mine", **asked)


@pytest.mark.parametrize("what", READS)
def test_a_method_reads_no_more_than_it_declares(
    what: str, registered: Callable[..., None]
) -> None:
    def reads(context: MethodContext) -> Tensor:
        READS[what](context)
        return torch.zeros(1, 1, 1, 4)

    registered(reads)
    needed = "head" if what == "values" else "states"
    with pytest.raises(nxl.OptionError, match=f"Register it with reads='{needed}'"):
        explain()


def test_what_a_method_declares_is_what_its_result_says(registered: Callable[..., None]) -> None:
    registered(lambda context: context.norms() * context.values, reads="head", has_layers=True)
    result = explain(target=0)
    expected = nxl.attribute(tiny_model("bert"), {"input_ids": IDS}, target=0)
    torch.testing.assert_close(result.scores, expected.scores)
    assert (result.readout, result.reads_layers, result.unsigned) == ("logit", True, None)
    assert result.values is not None


def test_scores_come_with_what_they_mean(registered: Callable[..., None]) -> None:
    def score(context: MethodContext) -> MethodScores:
        gap = torch.full(context.targets.ids.shape, 0.5)
        return MethodScores(torch.ones(1, 1, 1, 4), unsigned="one", notes={"gap": gap})

    registered(score)
    result = explain(target=[0, 1])
    assert (result.unsigned, result.readout, result.reads_layers) == ("one", None, False)
    torch.testing.assert_close(result.notes["gap"], torch.tensor([[0.5, 0.5]]))
    torch.testing.assert_close(result.scores, torch.ones(1, 2, 4))
    with pytest.raises(nxl.OptionError, match="whatever the target is"):
        explain(target=0, contrast=1)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("ig", "integrated_gradients"),
        ("GxI", "gradient_x_input"),
        ("vz", "value_zeroing"),
        ("lrp", "late_lrp"),
        ("rollout", "attention_rollout"),
        ("Integrated Gradients", "integrated_gradients"),
        ("integratedgradients", "integrated_gradients"),
        ("normxlogits", "normxlogit"),
        ("oclusion", "occlusion"),
    ],
)
def test_a_method_is_suggested_by_initials_a_part_or_a_near_name(name: str, meant: str) -> None:
    says = rf"there is no method '{name}'\. Did you mean {meant}\b.*\? The methods: "
    with pytest.raises(OptionError, match=says):
        find_method(name)


@pytest.mark.parametrize("name", ["shap", "", "_", "  "])
def test_nothing_is_suggested_for_what_is_like_none(name: str) -> None:
    with pytest.raises(OptionError, match=rf"there is no method '{name}'\. The methods: "):
        find_method(name)


def test_the_catalogue_says_what_the_code_has() -> None:
    for name, declaration in CATALOGUE.items():
        method = METHODS[name]
        parameters = list(inspect.signature(method.score).parameters.values())[1:]
        assert {p.name: p.default for p in parameters} == declaration.options, name
        assert method.score.__name__ == name
        assert method.score.__module__ == f"normxlogit.methods.{declaration.module}"
        assert method.documentation() == declaration.documentation() != ""


def test_names_of_the_catalogue_are_taken(registered: Callable[..., None]) -> None:
    with pytest.raises(OptionError, match="'norm' is registered already"):
        register("norm", family="test", source="-")(lambda context: context.mask)
    registered(lambda context: context.mask)
    assert list(METHODS) == [*CATALOGUE, "mine"]
    assert len(METHODS) == len(CATALOGUE) + 1
