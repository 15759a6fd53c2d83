"""The cells of a notebook, run as a notebook runs them."""

import ast
import re
from typing import Any


def run_cell(source: str, names: dict[str, Any]) -> Any:
    """Run a cell of code, but not its installations, and return what the notebook would show."""
    body = ast.parse(re.sub(r"^%pip .*", "", source, flags=re.MULTILINE)).body
    last = body[-1] if body else None
    if not isinstance(last, ast.Expr):
        exec(compile(ast.Module(body, []), "cell", "exec"), names)
        return None
    exec(compile(ast.Module(body[:-1], []), "cell", "exec"), names)
    return eval(compile(ast.Expression(last.value), "cell", "eval"), names)
