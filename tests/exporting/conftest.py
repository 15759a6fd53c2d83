"""A tiny classifier with an attribution head, exported once."""

from pathlib import Path

import pytest

from normxlogit import Explainer, ExportedModel, export, load_exported
from tests.helpers.heads import fit_tiny
from tests.helpers.models import classifier_explainer


@pytest.fixture(scope="session")
def with_head() -> Explainer:
    """A random BERT of three classes, with a head."""
    return fit_tiny(classifier_explainer(), layers=[0, 2])  # type: ignore[no-any-return]


@pytest.fixture(scope="session")
def folder(with_head: Explainer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What was exported of it."""
    folder = tmp_path_factory.mktemp("exported") / "bert"
    export(with_head, folder)
    return folder


@pytest.fixture(scope="session")
def exported(folder: Path) -> ExportedModel:
    return load_exported(folder)
