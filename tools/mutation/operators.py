"""The changes that are made to a module: one check, tolerance, comparison or mask at a time."""

import ast
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

_NEGATED: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.GtE,
    ast.LtE: ast.Gt,
    ast.Gt: ast.LtE,
    ast.GtE: ast.Lt,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
_BOUNDARY = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt}
_OPPOSITE = {
    "any": "all",
    "all": "any",
    "min": "max",
    "max": "min",
    "amin": "amax",
    "amax": "amin",
    "minimum": "maximum",
    "maximum": "minimum",
    "argmin": "argmax",
    "argmax": "argmin",
}
_MASKS = {"where", "masked_fill", "clamp", "clamp_min", "clamp_max", "nan_to_num"}


@dataclass(frozen=True)
class Mutant:
    """A module's source with one change."""

    path: str
    """Of the module, from the root of the repository."""
    scope: str
    """The function or class around the change, or the constant of the module."""
    line: int
    lines: range
    """Those of the function around it, or of its own."""
    before: str
    after: str
    is_constant: bool
    """Whether it stands at the level of the module, where no test runs it."""
    nth: int
    """Which of the changes of this text in this scope, from 1."""
    source: bytes
    """The whole module, changed."""

    @property
    def key(self) -> str:
        """What tells it from other mutants, and stays when lines move."""
        return f"{self.path}\t{self.scope}\t{self.before}\t{self.after}\t{self.nth}"


def mutants_of(path: str, source: bytes) -> list[Mutant]:
    """Return every mutant of a module, in the order of its lines."""
    starts = [0]
    for text in source.splitlines(keepends=True):
        starts.append(starts[-1] + len(text))
    found = []
    seen: Counter[tuple[str, str, str]] = Counter()
    for node, around, new in _changes(ast.parse(source), []):
        scope = _scope(around)
        whole = _function(around) or node
        is_constant = not any(isinstance(n, (ast.FunctionDef, ast.ClassDef)) for n in around)
        assert node.end_lineno is not None
        assert node.end_col_offset is not None
        assert whole.end_lineno is not None
        start = starts[node.lineno - 1] + node.col_offset
        end = starts[node.end_lineno - 1] + node.end_col_offset
        before, after = (" ".join(text.split()) for text in (source[start:end].decode(), new))
        seen[scope, before, after] += 1
        changed = source[:start] + f"({new})".encode() + source[end:]
        if isinstance(node, ast.stmt):
            changed = source[:start] + new.encode() + source[end:]
        nth = seen[scope, before, after]
        lines = range(whole.lineno, whole.end_lineno + 1)
        found.append(
            Mutant(path, scope, node.lineno, lines, before, after, is_constant, nth, changed)
        )
    return sorted(found, key=lambda mutant: mutant.line)


def _changes(
    node: ast.AST, around: list[ast.AST]
) -> Iterator[tuple[ast.expr | ast.stmt, list[ast.AST], str]]:
    """Yield (what is replaced, the nodes around it, the new text), from a node downwards."""
    # What an error says is no check, and Python 3.11 has no positions within formatted texts.
    if isinstance(node, (ast.JoinedStr, ast.Import, ast.ImportFrom)):
        return
    if isinstance(node, (ast.expr, ast.stmt)):
        for new in _replacements(node, around):
            if new != ast.unparse(node):
                yield node, around, new
    if isinstance(node, ast.Raise):
        return
    for name, value in ast.iter_fields(node):
        if name in ("annotation", "returns", "decorator_list", "bases"):
            continue
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST):
                yield from _changes(child, [*around, node])


def _function(around: list[ast.AST]) -> ast.FunctionDef | None:
    """Return the innermost function around a node."""
    return next((n for n in reversed(around) if isinstance(n, ast.FunctionDef)), None)


def _scope(around: list[ast.AST]) -> str:
    """Return the functions and classes around a node, or the constants that it is assigned to."""
    definitions = [n.name for n in around if isinstance(n, (ast.FunctionDef, ast.ClassDef))]
    if definitions:
        return ".".join(definitions)
    assignments = (n for n in around if isinstance(n, (ast.Assign, ast.AnnAssign)))
    return next(
        (ast.unparse(n.targets[0] if isinstance(n, ast.Assign) else n.target) for n in assignments),
        "",
    )


def _replacements(node: ast.expr | ast.stmt, around: list[ast.AST]) -> Iterator[str]:
    if _is_condition(node, around[-1]):
        yield from ("True", "False")
    elif isinstance(node, ast.Compare) and len(node.ops) == 1:
        yield _compared(node, _NEGATED[type(node.ops[0])])
    elif _is_answer(around) and not isinstance(node, (ast.Constant, ast.Compare, ast.BoolOp)):
        yield from ("True", "False")
    match node:
        case ast.Compare(ops=[ast.Lt() | ast.LtE() | ast.Gt() | ast.GtE() as op]):
            yield _compared(node, _BOUNDARY[type(op)])
        case ast.BoolOp(values=values):
            for left_out in values:
                rest = [value for value in values if value is not left_out]
                yield ast.unparse(rest[0] if len(rest) == 1 else ast.BoolOp(node.op, rest))
        case ast.UnaryOp(op=ast.Invert(), operand=operand):
            yield ast.unparse(operand)
        case ast.BinOp(op=ast.BitAnd() | ast.BitOr() as op) if not _is_of_types(node):
            other = ast.BitOr() if isinstance(op, ast.BitAnd) else ast.BitAnd()
            yield ast.unparse(ast.BinOp(node.left, other, node.right))
        case ast.Constant(value=float() as number):
            yield from (f"{number * 10!r}", f"{number / 10!r}") if number else ("1.0",)
        case ast.Constant(value=int() as number) if not isinstance(number, bool):
            if isinstance(around[-1], ast.Compare) or _is_tolerance(around):
                yield str(number + 1)
        case ast.Call():
            yield from _replaced_calls(node)
        case ast.Expr(value=ast.Call()):
            yield "pass"
        case ast.Raise() if not isinstance(around[-1], ast.If):
            yield "pass"


def _is_condition(node: ast.AST, parent: ast.AST) -> bool:
    if isinstance(parent, (ast.If, ast.While, ast.IfExp)):
        return node is parent.test and "TYPE_CHECKING" not in ast.unparse(node)
    return isinstance(parent, ast.comprehension) and node in parent.ifs


def _is_answer(around: list[ast.AST]) -> bool:
    """Whether a node within these is what a function of truth values returns."""
    function = _function(around)
    return (
        isinstance(around[-1], ast.Return)
        and function is not None
        and isinstance(function.returns, ast.Name)
        and function.returns.id == "bool"
    )


def _is_tolerance(around: list[ast.AST]) -> bool:
    """Whether a number within these stands in an assignment at the level of the module."""
    inside_function = any(isinstance(node, (ast.FunctionDef, ast.ClassDef)) for node in around)
    return not inside_function and any(
        isinstance(node, (ast.Assign, ast.AnnAssign)) for node in around
    )


def _is_of_types(node: ast.BinOp) -> bool:
    """Whether `|` joins types, as in isinstance(x, int | float)."""
    sides = [ast.unparse(side).split(".")[-1] for side in (node.left, node.right)]
    return any(
        side == "None" or side[:1].isupper() or side in ("int", "float", "str") for side in sides
    )


def _compared(node: ast.Compare, sign: type[ast.cmpop]) -> str:
    return ast.unparse(ast.Compare(node.left, [sign()], node.comparators))


def _replaced_calls(node: ast.Call) -> Iterator[str]:
    """Yield a call of a mask without the mask, and one of an extremum with its opposite."""
    called = node.func
    name = called.attr if isinstance(called, ast.Attribute) else ast.unparse(called)
    if name in _OPPOSITE:
        opposite: ast.expr = ast.Name(_OPPOSITE[name])
        if isinstance(called, ast.Attribute):
            opposite = ast.Attribute(called.value, _OPPOSITE[name])
        yield ast.unparse(ast.Call(opposite, node.args, node.keywords))
    if name not in _MASKS or not isinstance(called, ast.Attribute):
        return
    if ast.unparse(called.value) != "torch":
        yield ast.unparse(called.value)
    elif name == "where":
        yield from (ast.unparse(branch) for branch in node.args[1:])
