"""The attribution methods, behind one registry.

Importing this package registers every method; `METHODS` lists them by name.
"""

# ruff: noqa: F401, I001  (importing a module registers its methods; users see them in this order)

from normxlogit.methods.context_mixing import alti
from normxlogit.methods import baselines
from normxlogit.methods.context_mixing import decompx, globenc
from normxlogit.methods import gradients, head_on_top, integrated_gradients, late_lrp
from normxlogit.methods import occlusion, progressive_inference
from normxlogit.methods.context_mixing import value_zeroing
from normxlogit.methods.context import MethodContext
from normxlogit.methods.registry import METHODS, Method, find_method, register
from normxlogit.methods.scores import MethodScores

__all__ = ["METHODS", "Method", "MethodContext", "MethodScores", "find_method", "register"]
