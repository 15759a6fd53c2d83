"""Choices, against the model's own logit of each."""

from typing import Any

import numpy as np
import pytest
import torch

from normxlogit import Attribution, Failure
from tests.helpers.assertions import assert_close, assert_same_explanation
from tests.helpers.models import explainer_with_head


@pytest.mark.parametrize("layer", [None, "all"])
def test_choices(layer: Any) -> None:
    explainer = explainer_with_head("bert", "multiple-choice")
    model: Any = explainer.model
    text, choices = "The movie is", ["good", "a mess, and bad", "not great"]
    hot, norms, logits = [], [], []
    for choice in choices:
        inputs = explainer.tokenizer(text, choice, return_tensors="pt")
        with torch.no_grad():
            output = model.bert(**inputs, output_hidden_states=True)
            hot.append(
                torch.stack(
                    [
                        torch.stack(
                            [
                                model.classifier(model.bert.pooler(state[:, i : i + 1]))[0, 0]
                                for i in range(state.shape[1])
                            ]
                        )
                        for state in output.hidden_states[1:]
                    ]
                )
            )
            logits.append(float(model.classifier(output.pooler_output)[0, 0]))
        norms.append(output.hidden_states[0][0].norm(dim=-1))
    best = int(np.argmax(logits))
    for target, number in ((None, best), ("good", 0), (1, 1), ("not great", 2)):
        result = explainer.explain((text, choices), target=target, layer=layer)
        assert (result.target.label, result.target.id) == (choices[number], number)
        assert result.texts == (text, choices[number])
        assert result.prediction.label == choices[best]
        assert [o.label for o in result.prediction.outputs] == choices
        np.testing.assert_allclose([o.logit for o in result.prediction.outputs], logits, rtol=1e-4)
        np.testing.assert_allclose(
            np.array([o.probability for o in result.prediction.outputs], float),
            torch.tensor(logits).softmax(-1),
            rtol=1e-4,
        )
        expected = norms[number] * hot[number]
        assert_close(result.scores, expected if layer else expected[-1])
        assert result.norms is not None
        assert_close(result.norms, norms[number])


def test_a_choice_rather_than_another() -> None:
    explainer = explainer_with_head("bert", "multiple-choice")
    item = ("The movie is", ["good", "a mess, and bad"])
    ours, theirs = (explainer.explain(item, target=number) for number in (1, 0))
    result = explainer.explain(item, target=1, contrast="good")
    shared = int(np.flatnonzero(result.segments == 1)[0])
    assert result.tokens[:shared] == theirs.tokens[:shared]
    difference = ours.scores[:shared] - theirs.scores[:shared]
    np.testing.assert_allclose(result.scores[:shared], difference, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(result.scores[shared:], ours.scores[shared:])
    assert result.provenance.contrast == "good"


def test_choices_in_a_list() -> None:
    explainer = explainer_with_head("bert", "multiple-choice")
    items = [("The movie is", ["good", "bad"]), ("A", ["one", "two", "three three"])]
    for item, found in zip(items, explainer.explain(items), strict=True):
        assert_same_explanation(found, explainer.explain(item))
    named = explainer.explain(items, target="bad")
    assert isinstance(named[0], Attribution)
    assert named[0].target.label == "bad"
    assert isinstance(named[1], Failure)
    assert "there is no choice 'bad'" in str(named[1].error)
