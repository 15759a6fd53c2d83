"""The versions that an evaluation keeps, and goes on with alone."""

import json
import sys
from importlib import metadata
from pathlib import Path

import captum
import numpy as np
import pytest
import scipy
import tokenizers
import torch
import transformers

import normxlogit
from normxlogit import Explainer, InputError, extras

TEXTS = ["a great movie", "the plot is bad", "one two three"]
MODULES = (normxlogit, torch, transformers, captum, np, scipy, tokenizers)


@pytest.fixture(autouse=True)
def _no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("normxlogit.evaluation.report.write_report", lambda *_: None)


def evaluated(explainer: Explainer, folder: Path) -> dict[str, str]:
    found: dict[str, str] = explainer.evaluate(
        TEXTS, folder, methods=["norm"], operator="unk"
    ).results["versions"]
    return found


def with_captum(version: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another version of captum is installed, or none."""

    def found(package: str) -> str:
        if package != "captum":
            return metadata.version(package)
        if version is None:
            raise metadata.PackageNotFoundError(package)
        return version

    monkeypatch.setattr(extras, "version", found)


def test_versions_of_all_that_figures_depend_on(explainer: Explainer, tmp_path: Path) -> None:
    found = evaluated(explainer, tmp_path / "out")
    expected = {module.__name__: module.__version__ for module in MODULES}
    assert found == expected | {"python": ".".join(map(str, sys.version_info[:3]))}
    settings = json.loads((tmp_path / "out" / "settings.json").read_text("utf-8"))
    assert settings["versions"] == found


def test_another_captum_does_not_go_on(
    explainer: Explainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluated(explainer, tmp_path / "out")
    with_captum("0.0.1", monkeypatch)
    reason = f'versions.captum was "{captum.__version__}" and is "0.0.1"'
    with pytest.raises(InputError, match=reason):
        evaluated(explainer, tmp_path / "out")


def test_without_captum(
    explainer: Explainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with_captum(None, monkeypatch)
    found = evaluated(explainer, tmp_path / "out")
    assert "captum" not in found
    assert found["numpy"] == np.__version__
