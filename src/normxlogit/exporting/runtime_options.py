"""Options of a corpus that runs in another runtime than torch, checked without torch."""

from collections.abc import Mapping
from typing import Any

from normxlogit.data.option_checks import one_of
from normxlogit.errors import OptionError
from normxlogit.exporting.manifest import NEEDED
from normxlogit.extras import check_installed
from normxlogit.methods.catalogue import default_method

PRECISIONS_OF: Mapping[str, tuple[str, ...]] = {
    "torch": (),
    "onnx": ("float32", "int8"),
    "openvino": ("float32", "bfloat16"),
}
"""The runtimes, and what each may be told to compute in; torch computes in the model's dtype."""


def check_runtime(runtime: object, precision: object, engine: object = "local") -> None:
    """Find out whether there is such a runtime.

    Raises:
        OptionError: there is none, or it does not compute in that precision, or it is not for this
            engine.
        MissingExtraError: a package that it needs is not installed.
    """
    name = one_of("runtime", runtime, PRECISIONS_OF)
    if name == "torch":
        if precision is not None:
            raise OptionError(
                "torch computes in the dtype that the model is loaded in. Leave precision out, and "
                "load the model in that dtype."
            )
        return
    if precision is not None:
        one_of(f"precision of {name}", precision, PRECISIONS_OF[name])
    if engine != "local":
        raise OptionError(f"engine={engine!r} runs torch. Leave out the engine or the runtime.")
    check_installed(NEEDED, "onnx")
    if name == "openvino":
        check_installed(["openvino"], "openvino")


def check_request(
    runtime: str,
    *,
    method: str | None,
    options: Mapping[str, Any],
    layer: object,
    readout: object,
    has_head: bool,
) -> None:
    """Raise `OptionError` for what an exported graph does not hold."""
    served = ("normxlogit", *(["attribution_head"] if has_head else []))
    name = default_method(has_head=has_head) if method is None else method
    named = {"layer": layer, "readout": readout, **options}
    others = [option for option, value in named.items() if value is not None and option != "head"]
    if name not in served:
        others.insert(0, f"method {name!r}")
    if others:
        raise OptionError(
            f"the graph that runtime {runtime!r} runs has no {', '.join(others)}: it holds "
            f"{' and '.join(served)} with the default readout and options at the last layer. Take "
            "runtime 'torch' for the rest."
        )
