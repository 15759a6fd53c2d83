"""A model that returns its explanation: eager, compiled and exported by torch."""

import copy
from typing import Any

import numpy as np
import pytest
import torch

from normxlogit import Explainer, ModelError, attribute, with_explanations
from normxlogit.exporting.module import Explanation
from tests.helpers.builders import classifier, tokenizer
from tests.helpers.models import token_classifier

TEXTS = ["bad", "A great movie with poor performers."]


def inputs_of(words: Any, texts: list[str] = TEXTS) -> dict[str, torch.Tensor]:
    return dict(words(texts, padding=True, return_tensors="pt"))


def assert_explains(explanation: Explanation, model: Any, inputs: Any) -> None:
    expected = attribute(model, inputs, target="all")
    scores = expected.scores.nan_to_num(0.0)
    np.testing.assert_allclose(explanation.scores, scores, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(explanation.logits, expected.prediction, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("model_type", ["bert", "albert", "gpt2"])
def test_forward_returns_what_attribute_returns(model_type: str) -> None:
    words = tokenizer()
    model = classifier(words, model_type)
    assert_explains(with_explanations(model)(**inputs_of(words)), model, inputs_of(words))


def test_goes_through_compile_without_a_break_and_through_export() -> None:
    words = tokenizer()
    model = classifier(words)
    module, inputs = with_explanations(model), inputs_of(words)
    torch._dynamo.reset()
    compiled = torch.compile(module, fullgraph=True, backend="eager")
    for texts in (TEXTS, [*TEXTS, "The plot is not bad at all."]):
        assert_explains(compiled(**inputs_of(words, texts)), model, inputs_of(words, texts))
    free = {0: torch.export.Dim.AUTO, 1: torch.export.Dim.AUTO}
    program = torch.export.export(module, (), inputs, dynamic_shapes=dict.fromkeys(inputs, free))
    longer = inputs_of(words, [*TEXTS, "The plot is not bad at all; the acting is a mess."])
    assert_explains(program.module()(**longer), model, longer)


def test_the_head_scores_too(with_head: Explainer) -> None:
    words: Any = with_head.tokenizer
    module, text = with_explanations(with_head), "a great movie with bad plot"
    expected = with_head.explain(text, target="all")
    numbers = torch.from_numpy(np.where(expected.special, -1, expected.word_numbers))[None]
    explanation = module(**inputs_of(words, [text]), words=numbers.long())
    assert explanation.head_scores is not None
    assert explanation.head_base is not None
    np.testing.assert_allclose(
        explanation.head_scores[0], np.nan_to_num(expected.scores), rtol=1e-4, atol=1e-5
    )
    # With the base value they add up to the centred logits.
    centred = explanation.logits - explanation.logits.mean(-1, keepdim=True)
    total = explanation.head_base + explanation.head_scores.sum(-1)
    np.testing.assert_allclose(total, centred, atol=1e-4)
    with pytest.raises(ModelError, match="which tokens make a word"):
        module(**inputs_of(words, [text]))


def test_the_model_is_not_changed() -> None:
    words = tokenizer()
    model = classifier(words)
    before = copy.deepcopy(model.state_dict())
    module = with_explanations(model)
    module.train().double()
    assert not module.training
    assert not any(part.training for part in module.modules())
    assert model.dtype == torch.float32
    assert all(weight.requires_grad for weight in model.parameters())
    for name, weight in model.state_dict().items():
        torch.testing.assert_close(weight, before[name], rtol=0, atol=0)
    model.train()  # its dropout is not the module's
    inputs = inputs_of(words)
    first, second = module(**inputs), module(**inputs)
    torch.testing.assert_close(first.scores, second.scores, rtol=0, atol=0)


def test_other_heads_are_refused() -> None:
    with pytest.raises(ModelError, match="does not classify or rate texts"):
        with_explanations(token_classifier().model)
