"""The methods of this package as plain data: what commands say and check before torch is there.

The code of each, in a module of its own, is imported when the method is first used.
"""

import ast
import inspect
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, Literal

from normxlogit.errors import OptionError

Reads = Literal["inputs", "states", "head"]
"""How much of the forward pass a method reads: the input tokens only (and reruns of the model);
hidden states as well; or the head on hidden states."""

ONE_PASS = "1 forward"


@dataclass(frozen=True, kw_only=True)
class Declaration:
    """An attribution method without its code.

    Attributes:
        name: the name that users choose it by.
        family: the kind of method.
        source: the publication that it comes from.
        cost: forward and backward passes of the model, including that of the prediction; n is the
            number of tokens.
        serves: the heads and architectures that it can explain.
        options: the method's options, with their defaults.
        reads: how much of the forward pass it reads. A method that reads states scores the
            positions of the final layer; one that reads the head has a readout.
        of_output: whether it explains the model's own output, rather than the head's output for
            each token's state.
        has_layers: whether it can read the layers asked for.
        module: the module of `normxlogit.methods` that has its code; empty if it is not of this
            package.
    """

    name: str
    family: str
    source: str
    cost: str = ONE_PASS
    serves: str = "all"
    options: Mapping[str, Any] = field(default_factory=dict)
    reads: Reads = "inputs"
    of_output: bool = False
    has_layers: bool = False
    module: str = ""

    @property
    def runs_again(self) -> bool:
        """Whether it runs the model again after the pass of the prediction."""
        return self.cost != ONE_PASS

    @property
    def reads_head(self) -> bool:
        """Whether scores come from the head's output for each token."""
        return self.reads == "head"

    @property
    def reads_states(self) -> bool:
        """Whether scores belong to the positions of hidden states."""
        return self.reads != "inputs"

    def check(self, options: Mapping[str, Any], layer: Any) -> None:
        """Raise `OptionError` for an option or a layer that the method does not have."""
        check_option_names(self.name, options, self.options)
        if layer is not None and not self.has_layers:
            others = ", ".join(name for name, method in CATALOGUE.items() if method.has_layers)
            raise OptionError(
                f"method {self.name!r} explains the model as a whole and has no layers. Leave "
                f"layer out, or choose one of: {others}."
            )

    def documentation(self) -> str:
        """Return the docstring of its code, which is read and not imported."""
        path = files("normxlogit.methods").joinpath(f"{self.module.replace('.', '/')}.py")
        functions = (
            node
            for node in ast.parse(path.read_text("utf-8")).body
            if isinstance(node, ast.FunctionDef) and node.name == self.name
        )
        return inspect.cleandoc(ast.get_docstring(next(functions)) or "")


_ATTENTIONS = "texts, models that give attentions"
_BERT_BLOCKS = "texts, blocks of the BERT family"
_ONE_BACKWARD = "2 forwards, 1 backward a target"

CATALOGUE = {
    declaration.name: declaration
    for declaration in (
        Declaration(
            name="attention",
            family="context mixing",
            source="Bahdanau et al. 2015",
            cost="2 forwards",
            serves=_ATTENTIONS,
            reads="states",
            has_layers=True,
            module="context_mixing.attention",
        ),
        Declaration(
            name="attention_rollout",
            family="context mixing",
            source="Abnar & Zuidema 2020",
            cost="2 forwards",
            serves=_ATTENTIONS,
            reads="states",
            has_layers=True,
            module="context_mixing.attention",
        ),
        Declaration(
            name="alti",
            family="decomposition",
            source="Ferrando et al. 2022",
            cost="4 forwards, n vectors a token",
            serves=_BERT_BLOCKS,
            options={"rollout": True},
            reads="states",
            has_layers=True,
            module="context_mixing.alti",
        ),
        Declaration(
            name="attribution_head",
            family="fitted",
            source="Shapley 1953; Jethani et al. 2022; on the model's own states: "
            "docs/attribution-head.md",
            serves="texts classified or rated, with a head fitted to the model",
            options={"head": None, "unit": None},
            reads="states",
            of_output=True,
            module="attribution_head.method",
        ),
        Declaration(
            name="random",
            family="baseline",
            source="-",
            options={"seed": 0},
            module="baselines",
        ),
        Declaration(
            name="position",
            family="baseline",
            source="-",
            options={"first": False},
            module="baselines",
        ),
        Declaration(
            name="frequency",
            family="baseline",
            source="-",
            serves="texts",
            options={"counts": None},
            module="baselines",
        ),
        Declaration(
            name="decompx",
            family="decomposition",
            source="Modarressi et al. 2023",
            cost="4 forwards, 1 a token",
            serves=_BERT_BLOCKS,
            of_output=True,
            module="context_mixing.decompx",
        ),
        Declaration(
            name="globenc",
            family="decomposition",
            source="Modarressi et al. 2022",
            cost="4 forwards",
            serves=_BERT_BLOCKS,
            options={"rollout": True},
            reads="states",
            has_layers=True,
            module="context_mixing.globenc",
        ),
        Declaration(
            name="gradient_norm",
            family="gradient",
            source="Simonyan et al. 2014; Li et al. 2016 for texts",
            cost=_ONE_BACKWARD,
            serves="texts",
            options={"norm": None, "compat": None},
            of_output=True,
            module="gradients",
        ),
        Declaration(
            name="gradient_x_input",
            family="gradient",
            source="Shrikumar et al. 2016; Denil et al. 2014 for texts",
            cost=_ONE_BACKWARD,
            serves="texts",
            options={"reduce": None, "compat": None},
            of_output=True,
            module="gradients",
        ),
        Declaration(
            name="normxlogit",
            family="head on top",
            source="Abbasi et al. 2025",
            options={"norm": "embedding"},
            reads="head",
            has_layers=True,
            module="head_on_top",
        ),
        Declaration(
            name="logat",
            family="head on top",
            source="Abbasi et al. 2025",
            reads="head",
            has_layers=True,
            module="head_on_top",
        ),
        Declaration(
            name="norm",
            family="head on top",
            source="Abbasi et al. 2025",
            options={"norm": "embedding"},
            reads="states",
            has_layers=True,
            module="head_on_top",
        ),
        Declaration(
            name="integrated_gradients",
            family="gradient",
            source="Sundararajan et al. 2017",
            cost="3 forwards; n_steps and as many backward a target",
            serves="texts",
            options={"n_steps": 50, "baseline": "zero", "reduce": None, "compat": None},
            of_output=True,
            module="integrated_gradients",
        ),
        Declaration(
            name="late_lrp",
            family="gradient",
            source="Ali et al. 2022, begun late: docs/single-pass.md",
            cost="2 forwards, 1 backward through the last blocks a target",
            serves="texts, blocks with transformers' attention functions",
            options={"blocks": None, "reduce": "sum"},
            of_output=True,
            module="late_lrp",
        ),
        Declaration(
            name="occlusion",
            family="perturbation",
            source="Zeiler & Fergus 2014; Li et al. 2016 for texts",
            cost="2 forwards, 1 a unit",
            serves="texts",
            options={"unit": None, "replacement": None},
            of_output=True,
            module="occlusion",
        ),
        Declaration(
            name="progressive_inference",
            family="head on top",
            source="Kariyappa et al. 2024, SP-PI",
            serves="causal models",
            reads="head",
            of_output=True,
            has_layers=True,
            module="progressive_inference",
        ),
        Declaration(
            name="value_zeroing",
            family="context mixing",
            source="Mohebbi et al. 2023",
            cost="2 forwards, 1 a token",
            serves="texts, blocks whose values can be reached",
            options={"rollout": True},
            reads="states",
            has_layers=True,
            module="context_mixing.value_zeroing",
        ),
    )
}
"""The declarations by name, in the order in which users see them."""


def check_option_names(method: str, names: Iterable[str], options: Collection[str]) -> None:
    """Raise `OptionError` for an option that a method does not have."""
    for name in names:
        if name not in options:
            raise OptionError(
                f"method {method!r} has no option {name!r:.80}. Its options: "
                f"{', '.join(options) or 'none'}."
            )


def default_method(*, has_head: bool) -> str:
    """Return the name of the method that is meant where none is named."""
    return "attribution_head" if has_head else "normxlogit"
