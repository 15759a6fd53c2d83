"""Samples: which unit each token of an explanation belongs to."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from normxlogit.errors import ModelError
from normxlogit.evaluation.perturb.samples import Sample


def test_units_of_the_tokens_that_were_explained() -> None:
    encoded: Any = SimpleNamespace(tokens=("<s>", "a", "b"))
    sample = Sample(3, "a b", encoded, np.array([-1, 0, 1]), np.zeros(2), None)
    assert sample.units_in(["<s>", "a", "b"]).tolist() == [-1, 0, 1]
    # A decoder's, shifted to the right.
    assert sample.units_in(["</s>", "<s>", "a"]).tolist() == [-1, -1, 0]
    for others in (["<s>", "a", "c"], ["<s>", "a"], ["</s>", "<s>", "b"]):
        with pytest.raises(ModelError, match="row 3 was explained in other tokens"):
            sample.units_in(others)
