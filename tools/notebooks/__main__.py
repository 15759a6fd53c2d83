"""The notebooks in examples/, made from the Markdown pages beside this file.

    python -m tools.notebooks

A block of Python becomes a cell of code, all between two blocks a cell of text. They hold no
outputs.
"""

import json
import re
from pathlib import Path
from typing import Any

from tests.helpers.paths import ROOT

SOURCES = sorted(Path(__file__).parent.glob("*.md"))
FOLDER = ROOT / "examples"


def notebook(source: str) -> dict[str, Any]:
    """Return a page of Markdown as a notebook, format 4.4."""
    cells = list[dict[str, Any]]()
    for number, part in enumerate(re.split(r"^```python\n(.*?)^```$", source, flags=re.M | re.S)):
        lines = part.strip().splitlines(keepends=True)
        if number % 2:
            code = {"execution_count": None, "outputs": [], "source": lines}
            cells.append({"cell_type": "code", "metadata": {}, **code})
        elif lines:
            cells.append({"cell_type": "markdown", "metadata": {}, "source": lines})
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
    return {"cells": cells, "metadata": metadata, "nbformat": 4, "nbformat_minor": 4}


def as_text(source: Path) -> str:
    """Return the file of the notebook that is made from a page."""
    made = notebook(source.read_text("utf-8"))
    return json.dumps(made, indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    """Write all notebooks."""
    for source in SOURCES:
        (FOLDER / f"{source.stem}.ipynb").write_text(as_text(source), "utf-8")


if __name__ == "__main__":
    main()
