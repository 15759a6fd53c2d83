"""The runtimes that run an exported graph: numbers in, numbers out, without torch."""

import os
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from normxlogit.data.option_checks import one_of
from normxlogit.errors import InputError, ModelError, NormXLogitError, OptionError
from normxlogit.extras import require

Inputs = Mapping[str, NDArray[np.int64]]


class Session(ABC):
    """A graph, loaded by a runtime; several threads may run it at once.

    Attributes:
        version: of the runtime, by the name of its package.
        inputs: the names of the graph's inputs: one that no output depends on is not in the graph.
        outputs: the names of its outputs.
    """

    NAME: ClassVar[str]
    PACKAGE: ClassVar[str]
    version: Mapping[str, str]
    inputs: Collection[str]
    outputs: Collection[str]

    @abstractmethod
    def __init__(self, path: Path, *, bfloat16: bool, streams: int) -> None:
        """Load a graph, see `open_session`."""

    def run(self, inputs: Inputs, names: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """Run the graph on inputs [batch, sequence]; return the outputs of these names.

        Raises:
            ModelError: the runtime fails.
        """
        try:
            return self._run({n: values for n, values in inputs.items() if n in self.inputs}, names)
        except Exception as error:  # runtimes raise errors of their own kinds
            rows, width = next(iter(inputs.values())).shape
            raise ModelError(
                f"{self.NAME} could not run the graph on {rows} x {width} tokens: "
                f"{_reason(error)}. Take another runtime, or explain it with Explainer."
            ) from error

    @abstractmethod
    def _run(self, inputs: Inputs, names: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        """Run the graph on its own inputs."""


class OnnxRuntime(Session):
    """ONNX Runtime, on the CPU."""

    NAME, PACKAGE = "onnx", "onnxruntime"

    def __init__(self, path: Path, *, bfloat16: bool, streams: int) -> None:
        if bfloat16:
            raise OptionError(
                "ONNX Runtime computes in the graph's own precision. Leave bfloat16 out, or take "
                "runtime='openvino'."
            )
        runtime = require("onnxruntime", "onnx")
        options = runtime.SessionOptions()
        options.log_severity_level = 3  # else it warns of every shape that it infers anew
        if streams > 1:
            options.intra_op_num_threads = max(1, _processors() // streams)
        self.version = {"onnxruntime": str(runtime.__version__)}
        self._session = runtime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        self.inputs = {value.name for value in self._session.get_inputs()}
        self.outputs = {value.name for value in self._session.get_outputs()}

    def _run(self, inputs: Inputs, names: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        return dict(zip(names, self._session.run(list(names), inputs), strict=True))


class OpenVino(Session):
    """OpenVINO, on the CPU."""

    NAME, PACKAGE = "openvino", "openvino"

    def __init__(self, path: Path, *, bfloat16: bool, streams: int) -> None:
        openvino = _openvino()
        self.version = {"openvino": str(openvino.__version__)}
        settings: dict[str, Any] = {
            # Where the processor has units for bfloat16 it would compute in that unless told.
            "INFERENCE_PRECISION_HINT": "bf16" if bfloat16 else "f32",
            "PERFORMANCE_HINT": "LATENCY",
        }
        if streams > 1:
            settings |= {"NUM_STREAMS": streams, "INFERENCE_NUM_THREADS": _processors()}
        core = openvino.Core()
        if bfloat16 and not _computes_in_bfloat16(core):
            raise OptionError(
                "this processor does not compute in bfloat16 (AVX512-BF16, AMX). Leave it out: "
                "float32 is the default."
            )
        self._model = core.compile_model(path, "CPU", settings)
        self._requests = threading.local()
        self.inputs = {port.get_any_name() for port in self._model.inputs}
        self.outputs = {name for port in self._model.outputs for name in port.get_names()}

    def _run(self, inputs: Inputs, names: Sequence[str]) -> dict[str, NDArray[np.float32]]:
        if not hasattr(self._requests, "own"):  # a request runs for one thread at a time
            self._requests.own = self._model.create_infer_request()
        results = self._requests.own.infer(inputs, share_inputs=True, share_outputs=True)
        # Copied: the next run of this thread overwrites them.
        return {name: np.array(results[name]) for name in names}


def _computes_in_bfloat16(core: Any) -> bool:
    return "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")


RUNTIMES: Mapping[str, type[Session]] = {kind.NAME: kind for kind in (OnnxRuntime, OpenVino)}
"""The runtimes by name."""


def open_session(
    runtime: str,
    path: Path,
    outputs: Sequence[str],
    *,
    bfloat16: bool = False,
    streams: int = 1,
) -> Session:
    """Load a graph by a runtime.

    Args:
        runtime: a name of `RUNTIMES`.
        path: the graph.
        outputs: the outputs that it must have.
        bfloat16: compute in bfloat16.
        streams: how many threads run it at a time; each gets its part of the processors.

    Raises:
        OptionError: there is no such runtime, or it does not compute in bfloat16.
        MissingExtraError: it is not installed.
        InputError: it cannot load the graph.
    """
    kind = RUNTIMES[one_of("runtime", runtime, RUNTIMES)]
    try:
        session = kind(path, bfloat16=bfloat16, streams=streams)
    except (NormXLogitError, MemoryError):
        raise
    except Exception as error:  # runtimes raise errors of their own kinds
        raise InputError(
            f"{runtime} cannot load {path}: {_reason(error)}. Take another runtime: "
            f"{', '.join(RUNTIMES)}."
        ) from error
    missing = [name for name in outputs if name not in session.outputs]
    if missing:
        raise InputError(
            f"{path} has no output {', '.join(missing)}, which its manifest names. Export the "
            "model again."
        )
    return session


def _openvino() -> Any:
    """Import OpenVINO, but not the package by which it would report to its makers that it was.

    Raises:
        MissingExtraError: it is not installed.
    """
    telemetry, absent = "openvino_telemetry", object()
    before = sys.modules.get(telemetry, absent)
    sys.modules[telemetry] = None  # type: ignore[assignment]
    try:
        return require("openvino", "openvino")
    finally:
        if before is absent:
            del sys.modules[telemetry]
        else:
            sys.modules[telemetry] = before  # type: ignore[assignment]


def _reason(error: Exception) -> str:
    """What a runtime says of an error, on one line; some name their own source on the first."""
    return " ".join(str(error).split())[:300].rstrip(".") or type(error).__name__


def _processors() -> int:
    """How many processors this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
