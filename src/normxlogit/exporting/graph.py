"""A model with explanations as an ONNX graph."""

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from normxlogit.errors import ModelError, first_line
from normxlogit.exporting.module import Explanation, WithExplanations
from normxlogit.extras import require
from normxlogit.model.inference import without_autocast

LARGEST = 1 << 30
"""From this size of the weights on, in bytes, they lie in a file of their own: a graph in one file
holds two gigabytes."""


class _InOrder(nn.Module):
    """A module whose inputs and outputs are tensors in order, as graphs have them."""

    def __init__(self, module: WithExplanations, names: Sequence[str]) -> None:
        super().__init__()
        self.module, self._names = module, tuple(names)

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        explanation = self.module(**dict(zip(self._names, inputs, strict=True)))
        return tuple(value for value in explanation if value is not None)


def outputs_of(module: WithExplanations) -> tuple[str, ...]:
    """Return the names of the outputs that a module has."""
    names = Explanation._fields
    return names if module.head is not None else names[:4]


def write_graph(module: WithExplanations, inputs: Mapping[str, Tensor], path: Path) -> int:
    """Write a module as a graph whose batch and length are free; return its opset.

    Args:
        module: the module.
        inputs: its inputs, int64 [batch, sequence], for the exporter to run it on.
        path: the file.

    Raises:
        MissingExtraError: onnx or onnxscript is not installed.
        ModelError: the exporter cannot express the model.
    """
    onnx = require("onnx", "onnx")
    require("onnxscript", "onnx")
    weights = sum(p.numel() * p.element_size() for p in module.parameters())
    try:
        with _silent(), without_autocast(), torch.no_grad():
            torch.onnx.export(
                _InOrder(module, list(inputs)).eval(),
                tuple(inputs.values()),
                path,
                input_names=list(inputs),
                output_names=list(outputs_of(module)),
                dynamic_shapes=(({0: "batch", 1: "sequence"},) * len(inputs),),
                dynamo=True,
                external_data=weights >= LARGEST,
                verbose=False,
            )
    except Exception as error:  # the exporter raises errors of many kinds
        cause: BaseException = error
        while cause.__cause__ is not None:
            cause = cause.__cause__
        raise ModelError(
            f"{type(module.model).__name__} cannot be exported: {type(cause).__name__}: "
            f"{first_line(cause)}. Explain it with Explainer."
        ) from error
    onnx.checker.check_model(path, full_check=True)
    graph = onnx.load(path, load_external_data=False)
    return next(int(o.version) for o in graph.opset_import if o.domain in ("", "ai.onnx"))


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Silence what the exporter prints and logs of its steps."""
    disabled = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        with (
            warnings.catch_warnings(),
            Path(os.devnull).open("w") as nowhere,
            contextlib.redirect_stdout(nowhere),
            contextlib.redirect_stderr(nowhere),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
