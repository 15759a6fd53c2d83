"""Comparisons of scores and of results, and assertions of what kind a result is."""

from collections.abc import Iterable
from typing import Any, TypeVar

import numpy as np
from torch import Tensor

from normxlogit import Failure, GenerationAttribution, Result

AnyResult = TypeVar("AnyResult", bound=Result)


def succeeded(results: Iterable[AnyResult | Failure]) -> list[AnyResult]:
    """Return results as a list, after asserting that none of them is a `Failure`."""
    attributions = []
    for result in results:
        assert not isinstance(result, Failure), result
        attributions.append(result)
    return attributions


def as_generation(result: object) -> GenerationAttribution:
    """Return a result, after asserting that it explains generated text."""
    assert isinstance(result, GenerationAttribution), result
    return result


def assert_close(scores: Any, expected: Any, rtol: float = 1e-4) -> None:
    """Assert equality up to `rtol`, or to 1e-5 of the largest value."""
    expected = expected.numpy() if isinstance(expected, Tensor) else np.asarray(expected)
    assert scores.shape == expected.shape
    scale = float(np.nanmax(np.abs(expected)))
    np.testing.assert_allclose(scores, expected, rtol=rtol, atol=1e-5 * scale)


def assert_same_explanation(result: Any, other: Any) -> None:
    """Assert that two results explain the same text by the same scores."""
    assert type(result) is type(other)
    assert result.tokens == other.tokens
    assert [(t.label, t.id, t.position) for t in result.targets] == [
        (t.label, t.id, t.position) for t in other.targets
    ]
    for name in ("scores", "norms", "logits"):
        np.testing.assert_allclose(
            getattr(result, name), getattr(other, name), rtol=1e-4, atol=1e-4
        )
    for a, b in zip(result.targets, other.targets, strict=True):
        np.testing.assert_allclose([a.logit, a.probability], [b.logit, b.probability], rtol=1e-4)
