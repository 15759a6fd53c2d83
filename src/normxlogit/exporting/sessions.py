"""The runtimes that run an exported graph: numbers in, numbers out, without torch."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from normxlogit.data.option_checks import one_of
from normxlogit.errors import InputError, NormXLogitError, OptionError, first_line
from normxlogit.extras import require

Inputs = Mapping[str, NDArray[np.int64]]


class Session(Protocol):
    """A graph, loaded by a runtime.

    Attributes:
        version: of the runtime, by the name of its package.
    """

    version: Mapping[str, str]

    def run(self, inputs: Inputs) -> dict[str, NDArray[np.float32]]:
        """Run the graph on inputs [batch, sequence]; return its outputs by name."""


class OnnxRuntime:
    """ONNX Runtime, on the CPU."""

    def __init__(self, path: Path, outputs: Sequence[str], *, bfloat16: bool = False) -> None:
        """Load a graph.

        Raises:
            OptionError: bfloat16 is asked for.
            MissingExtraError: onnxruntime is not installed.
        """
        if bfloat16:
            raise OptionError(
                "ONNX Runtime computes in the graph's own precision. Leave bfloat16 out, or take "
                "runtime='openvino'."
            )
        runtime = require("onnxruntime", "onnx")
        options = runtime.SessionOptions()
        options.log_severity_level = 3  # else it warns of every shape that it infers anew
        self.version = {"onnxruntime": str(runtime.__version__)}
        self._session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self._outputs = list(outputs)
        # An input that no output depends on is not in the graph.
        self._inputs = {value.name for value in self._session.get_inputs()}

    def run(self, inputs: Inputs) -> dict[str, NDArray[np.float32]]:
        """Run the graph; see `Session`."""
        read = {name: values for name, values in inputs.items() if name in self._inputs}
        return dict(zip(self._outputs, self._session.run(self._outputs, read), strict=True))


class OpenVino:
    """OpenVINO, on the CPU."""

    def __init__(self, path: Path, outputs: Sequence[str], *, bfloat16: bool = False) -> None:
        """Load a graph.

        Raises:
            MissingExtraError: openvino is not installed.
        """
        openvino = require("openvino", "openvino")
        self.version = {"openvino": str(openvino.__version__)}
        # Where the processor has units for bfloat16 it would compute in that unless told.
        precision = "bf16" if bfloat16 else "f32"
        settings = {"INFERENCE_PRECISION_HINT": precision, "PERFORMANCE_HINT": "LATENCY"}
        self._model = openvino.Core().compile_model(path, "CPU", settings)
        self._outputs = list(outputs)
        self._inputs = {port.get_any_name() for port in self._model.inputs}

    def run(self, inputs: Inputs) -> dict[str, NDArray[np.float32]]:
        """Run the graph; see `Session`."""
        read = {name: values for name, values in inputs.items() if name in self._inputs}
        # A request of its own for each run, so that several threads may share the graph.
        results = self._model.create_infer_request().infer(read)
        return {name: np.array(results[name]) for name in self._outputs}


RUNTIMES: Mapping[str, Any] = {"onnx": OnnxRuntime, "openvino": OpenVino}
"""The runtimes by name."""


def open_session(
    runtime: str, path: Path, outputs: Sequence[str], *, bfloat16: bool = False
) -> Session:
    """Load a graph by a runtime; with `bfloat16` it computes in that.

    Raises:
        OptionError: there is no such runtime, or it does not compute in bfloat16.
        MissingExtraError: it is not installed.
        InputError: it cannot load the graph.
    """
    session = RUNTIMES[one_of("runtime", runtime, RUNTIMES)]
    try:
        loaded: Session = session(path, outputs, bfloat16=bfloat16)
    except (NormXLogitError, MemoryError):
        raise
    except Exception as error:  # runtimes raise errors of their own kinds
        raise InputError(
            f"{runtime} cannot load {path}: {first_line(error)}. Take another runtime: "
            f"{', '.join(RUNTIMES)}."
        ) from error
    return loaded
