"""A graph in a smaller precision, and without what the exporter notes of this machine."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from normxlogit.errors import ModelError
from normxlogit.exporting.graph import LARGEST
from normxlogit.extras import require

WEIGHTS_MOST = 63
"""The largest weight in int8. Processors without VNNI add pairs of products in 16 bits, which hold
two of 255 times 63 and not of 255 times 127."""

_CONSTANTS: dict[str, Any] = {
    "int8_zero": np.uint8(128),
    "int8_weights_zero": np.int8(0),
    "int8_step": np.float32(1 / 127),
    "int8_tiny": np.float32(1e-30),
    "int8_last_axis": np.array([-1], np.int64),
}
_NAMESPACE = "namespace"


def block_nodes(path: Path, stack: str) -> list[str]:
    """Return the names of a graph's nodes that are in the model's blocks.

    Args:
        path: the graph, as the exporter wrote it.
        stack: the name of the module that holds the blocks.
    """
    graph = require("onnx", "onnx").load(path, load_external_data=False).graph
    return [
        node.name
        for node in graph.node
        if any(note.key == _NAMESPACE and f"{stack}." in note.value for note in node.metadata_props)
    ]


def strip(path: Path) -> None:
    """Take out what the exporter notes of its own: source lines, and paths of this machine."""
    onnx = require("onnx", "onnx")
    model = onnx.load(path, load_external_data=False)
    for part in _parts(model):
        del part.metadata_props[:]
        part.doc_string = ""
    onnx.save(model, path)


def _parts(model: Any) -> Iterator[Any]:
    """A model, and all in it that has notes."""
    yield model
    for graph in (model.graph, *model.functions):
        yield graph
        yield from graph.node
        yield from graph.value_info
        if graph is model.graph:
            yield from (*graph.input, *graph.output, *graph.initializer)


def to_int8(path: Path, nodes: list[str]) -> None:
    """Turn the weights of matrix products into int8, with a scale for each output.

    What they are multiplied by becomes int8 as it comes, with a scale for each token: so what a
    graph says of a text does not depend on the texts beside it. (The dynamic quantisation of ONNX
    Runtime has one scale for all of a batch; docs/export.md compares them.)

    Args:
        path: the graph.
        nodes: those to change. The head is not among them: it is small, and a token's readout is
            what rounding would reach first.

    Raises:
        ModelError: none of them became int8.
    """
    onnx = require("onnx", "onnx")
    model = onnx.load(path)
    products = _Int8Products(onnx, model.graph)
    changed = [n for node in model.graph.node for n in products.replaced(node, node.name in nodes)]
    if not products.count:
        raise ModelError(
            "no matrix product of this model's blocks could be turned into int8. Export it in "
            "float32 or float16."
        )
    del model.graph.node[:]
    model.graph.node.extend(changed)
    used = {name for node in changed for name in node.input}
    tensors = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(tensors)
    _save(onnx, model, path)


class _Int8Products:
    """Turns products by weights of a graph into int8.

    Attributes:
        count: how many became int8.
    """

    def __init__(self, onnx: Any, graph: Any) -> None:
        self._onnx, self._graph, self.count = onnx, graph, 0
        self._weights = {tensor.name: tensor for tensor in graph.initializer}
        self._rounded: set[str] = set()  # what is multiplied, which several products may share
        for name, value in _CONSTANTS.items():
            self._add(name, value)

    def replaced(self, node: Any, is_chosen: bool) -> list[Any]:
        """Return the nodes that stand for a node: itself, if it is no product to change."""
        weight = self._weights.get(node.input[1]) if node.op_type in ("MatMul", "Gemm") else None
        if not is_chosen or weight is None or len(weight.dims) != 2:
            return [node]
        settings = {a.name: self._onnx.helper.get_attribute_value(a) for a in node.attribute}
        factors = {settings.get("alpha", 1.0), settings.get("beta", 1.0)}
        if settings.get("transA") or factors != {1.0}:
            return [node]
        self.count += 1
        matrix = self._onnx.numpy_helper.to_array(weight)
        matrix = matrix.T if settings.get("transB") else matrix  # [inputs, outputs]
        scales = np.maximum(np.abs(matrix).max(0), np.float32(1e-30)) / WEIGHTS_MOST
        own, source, (output,) = f"{node.name}_int8", node.input[0], node.output
        self._add(f"{own}_weights", np.rint(matrix / scales).astype(np.int8))
        self._add(f"{own}_scales", scales.astype(np.float32))
        self._add(f"{own}_width", np.array([matrix.shape[1]], np.int64))
        rounding = [] if source in self._rounded else self._round(source, matrix.shape[0])
        bias = list(node.input[2:])
        return [
            *rounding,
            self._node(
                "MatMulInteger",
                [f"{source}_int8", f"{own}_weights", "int8_zero", "int8_weights_zero"],
                f"{own}_sums",
            ),
            # The scale of the token, and then that of the output. (ONNX Runtime takes a product of
            # both for one of two numbers and fuses it wrongly.)
            self._node("DequantizeLinear", [f"{own}_sums", f"{source}_scales"], f"{own}_t", axis=0),
            self._node("Mul", [f"{own}_t", f"{own}_scales"], f"{own}_rows"),
            *([self._node("Add", [f"{own}_rows", *bias], f"{own}_sum")] if bias else []),
            self._node("Concat", [f"{source}_shape", f"{own}_width"], f"{own}_shape", axis=0),
            self._node(
                "Reshape", [f"{own}_sum" if bias else f"{own}_rows", f"{own}_shape"], output
            ),
        ]

    def _round(self, name: str, width: int) -> list[Any]:
        """Nodes that round vectors of tokens, [..., width], to int8 [tokens, width] plus 128."""
        self._rounded.add(name)
        self._add(f"{name}_flat", np.array([-1, width], np.int64))
        return [
            self._node("Shape", [name], f"{name}_shape", start=0, end=-1),
            self._node("Reshape", [name, f"{name}_flat"], f"{name}_rows"),
            self._node("Abs", [f"{name}_rows"], f"{name}_sizes"),
            self._node(
                "ReduceMax", [f"{name}_sizes", "int8_last_axis"], f"{name}_largest", keepdims=0
            ),
            self._node("Max", [f"{name}_largest", "int8_tiny"], f"{name}_most"),
            self._node("Mul", [f"{name}_most", "int8_step"], f"{name}_scales"),
            self._node("Shape", [f"{name}_scales"], f"{name}_count"),
            self._node("Expand", ["int8_zero", f"{name}_count"], f"{name}_zeros"),
            self._node(
                "QuantizeLinear",
                [f"{name}_rows", f"{name}_scales", f"{name}_zeros"],
                f"{name}_int8",
                axis=0,
            ),
        ]

    def _add(self, name: str, values: Any) -> None:
        self._graph.initializer.append(self._onnx.numpy_helper.from_array(values, name))

    def _node(self, kind: str, inputs: Sequence[str], output: str, **settings: Any) -> Any:
        return self._onnx.helper.make_node(kind, inputs, [output], name=output, **settings)


def to_float16(path: Path) -> None:
    """Turn a graph's weights and computations into float16; inputs and outputs stay as they are."""
    onnx = require("onnx", "onnx")
    converter = require("onnxruntime.transformers.float16", "onnx")
    try:
        model = converter.convert_float_to_float16(onnx.load(path), keep_io_types=True)
    except Exception as error:
        raise ModelError(
            f"this graph cannot be turned into float16: {error}. Export it in float32 or int8."
        ) from error
    _save(onnx, model, path)


def _save(onnx: Any, model: Any, path: Path) -> None:
    """Replace a graph, and the file of its weights if it has one."""
    for stale in path.parent.glob(f"{path.name}.*"):
        stale.unlink()
    size = sum(len(tensor.raw_data) for tensor in model.graph.initializer)
    onnx.save(model, path, save_as_external_data=size >= LARGEST, location=f"{path.name}.data")
