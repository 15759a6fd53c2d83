"""What an exported model must say: the same as `explain`, number by number."""

import hashlib
import json
from typing import Any

import numpy as np

from normxlogit import Attribution

TEXTS: list[Any] = [
    "bad",
    "A great movie with poor performers.",
    ("premise one two", "hypothesis three four five six seven"),
    "The plot is not bad at all; the acting, however, is a mess. Don't watch it twice, 我喜欢!",
    "twice",
]


def assert_same(actual: Any, expected: Any, relative: float = 1e-4) -> None:
    """Hold a result against another of the same text, number by number."""
    assert isinstance(actual, Attribution)
    assert isinstance(expected, Attribution)
    for name in ("texts", "tokens", "axes", "layers", "messages", "unit"):
        assert getattr(actual, name) == getattr(expected, name), name
    for name in ("special", "offsets", "segments", "word_numbers"):
        np.testing.assert_array_equal(getattr(actual, name), getattr(expected, name))
    for name in ("scores", "logits", "norms"):
        values, others = getattr(actual, name), getattr(expected, name)
        assert (values is None) == (others is None), name
        if others is not None:
            scale = np.nanmax(np.abs(others))
            np.testing.assert_allclose(values, others, rtol=0, atol=relative * scale)
    labels = [(t.label, t.id) for t in actual.targets]
    assert labels == [(t.label, t.id) for t in expected.targets]
    outputs, others = (
        np.array([[o.logit, o.probability or 0.0] for o in a.prediction.outputs])
        for a in (actual, expected)
    )
    np.testing.assert_allclose(outputs, others, rtol=0, atol=relative * np.abs(others).max())
    predicted = [t.id for t in actual.prediction.predicted]
    assert predicted == [t.id for t in expected.prediction.predicted]
    assert (actual.base is None) == (expected.base is None)
    if actual.base is not None and expected.base is not None:
        np.testing.assert_allclose(actual.base, expected.base, rtol=0, atol=1e-4 * scale)
    assert actual.notes.keys() == expected.notes.keys()
    for name, note in expected.notes.items():
        np.testing.assert_allclose(actual.notes[name], note, rtol=relative)


def signed(manifest: dict[str, Any]) -> str:
    """The JSON of a manifest with the SHA-256 of what it holds."""
    fields = {name: value for name, value in manifest.items() if name != "sha256"}
    digest = hashlib.sha256(json.dumps(fields, sort_keys=True).encode()).hexdigest()
    return json.dumps(fields | {"sha256": digest})
