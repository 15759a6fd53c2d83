"""The plan of the house: who may import whom, and where things stand."""

import ast
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.helpers.paths import ROOT

SOURCE = ROOT / "src" / "normxlogit"
TESTS = ROOT / "tests"

LAYERS = (
    "__main__",
    "cli",
    "serve",
    "explainer",
    "exporting",
    "fitting",
    "evaluation",
    "show",
    "sources",
    "corpus",
    "tasks",
    "generation",
    "results",
    "query",
    "methods",
    "model",
    "text",
    "data",
    "extras",
    "errors",
)
"""Packages and root modules, highest first: each may import itself and what stands below it."""

ROOT_MODULES = {"__init__", "__main__", "errors", "explainer", "extras", "query"}
MAY_IMPORT_ROOT = {"__main__", "cli"}
"""What stands so high that it may use the package as a user does."""

MODULE_LINES, TEST_LINES = 450, 700

NOT_MIRRORED = {"helpers", "references"}
"""Folders of tests that hold none."""


def python_modules(folder: Path, package: str) -> dict[str, Path]:
    """Every module below a package's folder, by its full name."""
    paths = {}
    for path in sorted(folder.rglob("*.py")):
        parts = (package, *path.relative_to(folder).with_suffix("").parts)
        paths[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return paths


def imported_names(tree: ast.AST, package: str) -> Iterator[tuple[str, str | None]]:
    """Modules that are imported anywhere in a tree, each with the name that is taken from it.

    Args:
        tree: of a module; imports in functions and under TYPE_CHECKING count as others do.
        package: the package that the module's relative imports start from.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = [*(parents if node.level else []), *([node.module] if node.module else [])]
            yield from ((".".join(base), alias.name) for alias in node.names)


def imports_of(name: str, path: Path, modules: dict[str, Path]) -> set[str]:
    """Those of `modules` that a module imports; a submodule taken from a package is itself one."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    tree = ast.parse(path.read_text("utf-8"))
    imported = set()
    for base, attribute in imported_names(tree, package):
        submodule = f"{base}.{attribute}"
        imported.add(submodule if submodule in modules else base)
    return imported & modules.keys() - {name}


def import_graph(modules: dict[str, Path]) -> dict[str, set[str]]:
    return {name: imports_of(name, path, modules) for name, path in modules.items()}


@cache
def source_graph() -> dict[str, set[str]]:
    """What each module of the package imports of it, but for the root, which ties all together."""
    graph = import_graph(python_modules(SOURCE, "normxlogit"))
    del graph["normxlogit"]
    return graph


def layer(module: str) -> str:
    return module.split(".")[1]


def height(module: str) -> int:
    """How high the layer of a module stands; one without a place there stands on the ground."""
    return len(LAYERS) - LAYERS.index(layer(module)) if layer(module) in LAYERS else 0


def longer_than(limit: int, paths: list[Path]) -> list[str]:
    """A complaint about each file of more lines."""
    lengths = {path: len(path.read_text("utf-8").splitlines()) for path in paths}
    return [
        f"{path.relative_to(ROOT)} has {length} lines of at most {limit}: split it by topic"
        for path, length in lengths.items()
        if length > limit
    ]


def fail_with(complaints: list[str]) -> None:
    """Fail if there are any, with each on its line."""
    if complaints:
        pytest.fail("\n".join(complaints), pytrace=False)


def test_no_circle() -> None:
    graph = {name: imports - {"normxlogit"} for name, imports in source_graph().items()}
    circles = []
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        circles = [" imports ".join(reversed(error.args[1]))]
    fail_with([f"{circle}: move what they share below them" for circle in circles])


def test_every_package_has_a_place_in_the_order() -> None:
    fail_with(
        [
            f"{module} has no place in LAYERS: say there and in CONTRIBUTING.md where it stands"
            for module in source_graph()
            if layer(module) not in LAYERS
        ]
    )


def test_imports_run_down_only() -> None:
    fail_with(
        [
            f"{module} imports {imported}, which stands above it: "
            "move what both need below, or hand it in as an argument"
            for module, imports in source_graph().items()
            for imported in sorted(imports - {"normxlogit"})
            if height(imported) > height(module)
        ]
    )


def test_only_the_top_imports_the_root() -> None:
    fail_with(
        [
            f"{module} imports from normxlogit itself, which stands above it: "
            "import from the module that defines the name"
            for module, imports in source_graph().items()
            if "normxlogit" in imports and layer(module) not in MAY_IMPORT_ROOT
        ]
    )


def test_the_root_holds_no_other_module() -> None:
    fail_with(
        [
            f"{path.name} stands in the root: move it into the package that it belongs to"
            for path in sorted(SOURCE.glob("*.py"))
            if path.stem not in ROOT_MODULES
        ]
    )


def test_no_module_is_too_long() -> None:
    fail_with(longer_than(MODULE_LINES, sorted(SOURCE.rglob("*.py"))))


def test_folders_of_tests_mirror_packages() -> None:
    folders = {path.parent for path in TESTS.rglob("*.py")} - {TESTS}
    names = {folder.relative_to(TESTS) for folder in folders}
    fail_with(
        [
            f"tests/{name} mirrors no package: move its tests to tests/ or the package they test"
            for name in sorted(names)
            if name.parts[0] not in NOT_MIRRORED and not (SOURCE / name / "__init__.py").is_file()
        ]
    )


def test_no_module_imports_from_a_test() -> None:
    graph = import_graph(python_modules(TESTS, "tests"))
    fail_with(
        [
            f"{module} imports {imported}: move what it takes from there into tests/helpers"
            for module, imports in graph.items()
            for imported in sorted(imports)
            if imported.rpartition(".")[2].startswith("test_")
        ]
    )


def test_no_test_is_too_long() -> None:
    fail_with(longer_than(TEST_LINES, sorted(TESTS.rglob("*.py"))))


def test_imports_are_seen_wherever_they_stand(tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    for name in ("__init__", "above", "below/__init__", "below/a", "below/b", "below/c"):
        (tmp_path / f"{name}.py").touch()
    (tmp_path / "below/d.py").write_text(
        "import json\n"
        "from typing import TYPE_CHECKING\n"
        "import pkg.below.a\n"
        "if TYPE_CHECKING:\n"
        "    from pkg.below import b, NAME\n"
        "def later():\n"
        "    from . import c\n"
        "    from ..above import NAME\n"
    )
    modules = python_modules(tmp_path, "pkg")
    assert set(modules) == {"pkg", "pkg.above", "pkg.below"} | {f"pkg.below.{n}" for n in "abcd"}
    expected = {"pkg.above", "pkg.below", "pkg.below.a", "pkg.below.b", "pkg.below.c"}
    assert import_graph(modules)["pkg.below.d"] == expected
