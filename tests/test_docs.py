"""What the documentation shows runs as it stands."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from normxlogit import Explainer
from normxlogit.methods import METHODS

ROOT = Path(__file__).parent.parent


def blocks(page: str, language: str) -> list[str]:
    text = (ROOT / page).read_text("utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def test_the_method_of_contributing(explainer: Explainer) -> None:
    (example,) = blocks("CONTRIBUTING.md", "python")
    try:
        exec(compile(example, "CONTRIBUTING.md", "exec"), {})
        found = explainer.explain("A great movie.", method="supporters")
        factors = explainer.explain("A great movie.")
        assert factors.norms is not None
        assert factors.logits is not None
        np.testing.assert_allclose(found.scores, factors.norms * (factors.logits > 0), rtol=1e-5)
    finally:
        METHODS.pop("supporters", None)


def test_the_examples_of_the_readme(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    examples = blocks("README.md", "python")
    assert len(examples) >= 3
    names: dict[str, Any] = {"folder": tmp_path}
    for example in examples:
        exec(compile(example, "README.md", "exec"), names)
    assert "POSITIVE" in capsys.readouterr().out


@pytest.mark.parametrize(
    "page", ["README.md", "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
)
def test_links_lead_somewhere(page: str | Path) -> None:
    path = ROOT / page
    for link in re.findall(r"\]\(([^)#]+)", path.read_text("utf-8")):
        if not link.startswith("http"):
            assert (path.parent / link).exists(), link
