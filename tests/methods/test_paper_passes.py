"""The paper's own way, against the numbers of its notebook."""

import numpy as np
import pytest
import torch

import normxlogit as nxl
from tests.helpers.assertions import succeeded
from tests.helpers.builders import classifier, tokenizer
from tests.helpers.references import reference_inputs, reference_model, reference_numbers
from tests.helpers.zoo import tiny_inputs, tiny_model


@pytest.mark.parametrize("number", range(5))
@pytest.mark.parametrize(
    ("method", "key"),
    [
        ("gradient_norm", "gradient_norm"),
        ("gradient_x_input", "input_x_gradient"),
        ("integrated_gradients", "integrated_gradients"),
    ],
)
def test_the_papers_way_gives_what_its_notebook_gave(number: int, method: str, key: str) -> None:
    references = reference_numbers("notebook")
    model, inputs = reference_model("bert", torch.float32), reference_inputs("bert", number)
    result = nxl.attribute(model, inputs, method=method, compat="paper")
    assert result.targets[0].tolist() == references[f"bert/{number}/notebook/prediction"].tolist()
    expected = references[f"bert/{number}/notebook/{key}"]
    torch.testing.assert_close(result.scores[0].double(), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_normxlogit_gives_what_the_notebook_gave(kind: str) -> None:
    references = reference_numbers("notebook")
    for number in range(4):
        result = nxl.attribute(reference_model(kind, torch.float32), reference_inputs(kind, number))
        expected = references[f"{kind}/{number}/notebook/normxlogit"]
        torch.testing.assert_close(result.scores[0].double(), expected, rtol=1e-4, atol=1e-5)


def test_the_papers_way_is_of_one_row_at_a_time() -> None:
    words = tokenizer("bpe", add_eos=False)
    explainer = nxl.Explainer(classifier(words, "gpt2"), words)
    texts = ["Good", "The plot is not bad at all"]
    many = succeeded(explainer.explain(texts, method="gradient_norm", compat="paper"))
    for text, result in zip(texts, many, strict=True):
        alone = explainer.explain(text, method="gradient_norm", compat="paper")
        np.testing.assert_allclose(result.scores, alone.scores, rtol=1e-4)
    with pytest.raises(nxl.OptionError, match="begins at zero"):
        explainer.explain("Good", method="integrated_gradients", compat="paper", baseline=3)
    bart = tiny_model("bart")
    with pytest.raises(nxl.UnsupportedHeadError, match="compat='paper'"):
        nxl.attribute(bart, tiny_inputs(bart, padding=None), method="gradient_norm", compat="paper")
