"""The attribution methods, behind one registry.

`METHODS` has them by name. What is said of them is plain data; torch is imported with the code of a
method, when that is first looked up, and with `MethodContext`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from normxlogit.methods.catalogue import Declaration
from normxlogit.methods.registry import METHODS, Method, find_declaration, find_method, register
from normxlogit.methods.scores import MethodScores

if TYPE_CHECKING:
    from normxlogit.methods.context import MethodContext

__all__ = [
    "METHODS",
    "Declaration",
    "Method",
    "MethodContext",
    "MethodScores",
    "find_declaration",
    "find_method",
    "register",
]


def __getattr__(name: str) -> Any:
    if name != "MethodContext":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return import_module(".context", __name__).MethodContext
