"""The attribution methods, behind one registry.

Importing this package registers every method; `METHODS` lists them by name.
"""

from normxlogit.methods import (  # noqa: F401  (importing a module registers its methods)
    baselines,
    gradients,
    head_on_top,
    integrated_gradients,
    late_lrp,
    occlusion,
    progressive_inference,
)
from normxlogit.methods.context import MethodContext
from normxlogit.methods.context_mixing import (  # noqa: F401
    alti,
    attention,
    decompx,
    globenc,
    value_zeroing,
)
from normxlogit.methods.registry import METHODS, Method, find_method, register

__all__ = ["METHODS", "Method", "MethodContext", "find_method", "register"]
