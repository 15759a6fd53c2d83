"""What the tests of evaluations share."""

import pytest

from normxlogit import Explainer
from tests.helpers.models import classifier_explainer


@pytest.fixture(scope="module")
def bert() -> Explainer:
    """A random three-class BERT whose tokenizer has a mask token."""
    return classifier_explainer()
