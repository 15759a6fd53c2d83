"""A graph in a smaller precision, and without what the exporter notes of this machine."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from normxlogit.errors import ModelError
from normxlogit.extras import require

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
    """Turn the weights of matrix products into int8, one scale for each output.

    The numbers that they are multiplied by become int8 as they come (dynamic quantisation).

    Args:
        path: the graph.
        nodes: those to change. The head is not among them: it is small, and a token's readout is
            what rounding would reach first.

    Raises:
        ModelError: none of them became int8.
    """
    onnx = require("onnx", "onnx")
    require("onnxruntime", "onnx")
    quantization = require("onnxruntime.quantization", "onnx")
    quantization.quantize_dynamic(
        path,
        path,
        op_types_to_quantize=["MatMul"],
        # A product with a bias (GPT-2) is first split into the two, under another name.
        nodes_to_quantize=[*nodes, *(f"{node}_MatMul" for node in nodes)],
        per_channel=True,
        # Of processors without VNNI, which add pairs of products in 16 bits, these could overflow.
        reduce_range=True,
        weight_type=quantization.QuantType.QInt8,
    )
    graph = onnx.load(path, load_external_data=False).graph
    if not any(node.op_type == "MatMulInteger" for node in graph.node):
        raise ModelError(
            "no matrix product of this model's blocks could be turned into int8. Export it in "
            "float32 or float16."
        )


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
    onnx.save(model, path)
