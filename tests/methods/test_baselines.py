"""Progressive inference, and the baselines that read no model."""

import numpy as np
import pytest
import torch

import normxlogit as nxl
from tests.helpers.zoo import tiny_inputs, tiny_model


def test_progressive_inference_reads_the_text_word_by_word() -> None:
    model = tiny_model("llama")
    inputs = tiny_inputs(model, batch=1, padding=None)
    ids = inputs["input_ids"]
    with torch.no_grad():
        prefixes = torch.cat([model(input_ids=ids[:, : i + 1]).logits for i in range(ids.shape[1])])
    expected = torch.cat([prefixes[:1], prefixes.diff(dim=0)]).mT
    scores = nxl.attribute(model, inputs, target="all", method="progressive_inference").scores[0]
    torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(scores.sum(-1), prefixes[-1], rtol=1e-4, atol=1e-5)


def test_progressive_inference_with_padding_on_the_left() -> None:
    model = tiny_model("gpt2", mapping="causal-lm")
    inputs = tiny_inputs(model, batch=2, padding=None)
    scores = nxl.attribute(model, inputs, method="progressive_inference").scores
    padded = {key: torch.nn.functional.pad(value, (2, 0)) for key, value in inputs.items()}
    padded["position_ids"] = torch.nn.functional.pad(torch.arange(7)[None].expand(2, -1), (2, 0))
    beside = nxl.attribute(model, padded, method="progressive_inference").scores
    torch.testing.assert_close(beside[:, 2:], scores, rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        last = model(**inputs).logits[:, -1].max(-1).values
    torch.testing.assert_close(scores.sum(-1), last, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("model_type", ["bert", "bart", "xlnet"])
def test_progressive_inference_needs_a_causal_model(model_type: str) -> None:
    model = tiny_model(model_type)
    with pytest.raises(nxl.UnsupportedHeadError, match="causal"):
        nxl.attribute(model, tiny_inputs(model), method="progressive_inference")


def test_position_and_frequency() -> None:
    model = tiny_model("bert")
    inputs = tiny_inputs(model, batch=2, padding="left")
    scores = nxl.attribute(model, inputs, method="position").scores
    assert scores[1].nan_to_num(-1).tolist() == [-1, -1, 0, 1, 2, 3, 4]
    scores = nxl.attribute(model, inputs, method="position", first=True).scores
    assert scores[1].nan_to_num(-1).tolist() == [-1, -1, 4, 3, 2, 1, 0]
    counts = {int(inputs["input_ids"][0, 1]): 7, 0: 2}
    scores = nxl.attribute(model, inputs, method="frequency", counts=counts).scores
    assert float(scores[0, 1]) == pytest.approx(-np.log(8 / 12))
    assert float(scores[0, 0]) == pytest.approx(-np.log(3 / 12))
    with pytest.raises(nxl.OptionError, match="token_counts"):
        nxl.attribute(model, inputs, method="frequency")


def test_counts_of_a_corpus(explainer: nxl.Explainer) -> None:
    texts = ["the plot is the plot", "the end " * 60]
    counts = explainer.token_counts(texts)
    ids = [explainer.tokenizer(text)["input_ids"] for text in texts]
    assert counts.total() == sum(map(len, ids))
    rare = explainer.explain("the plot", method="frequency", counts=counts)
    assert rare.tokens[1:-1] == ("the", "plot")
    assert rare.scores[1] < rare.scores[2]
    assert rare.provenance.options["counts"] == f"Counter of {len(counts)}"


def test_progressive_inference_ends_where_the_head_reads() -> None:
    model = tiny_model("llama", pad_token_id=2)
    ids = torch.tensor([[1, 30, 31, 32, 2]])  # the last one counts as padding
    result = nxl.attribute(model, {"input_ids": ids}, method="progressive_inference")
    assert result.scores[0].isnan().tolist() == [False] * 4 + [True]
    own = result.prediction[0, int(result.targets[0, 0])]
    assert float(result.scores[0].nansum()) == pytest.approx(float(own), rel=1e-4)


def test_progressive_inference_of_a_regression_adds_up_to_its_value() -> None:
    model = tiny_model("llama", 1)
    inputs = tiny_inputs(model, batch=1, padding=None)
    result = nxl.attribute(model, inputs, method="progressive_inference")
    assert result.readout == "value"
    assert float(result.scores.sum()) == pytest.approx(float(result.prediction), rel=1e-4)
    with pytest.raises(nxl.OptionError, match="closeness"):
        nxl.attribute(model, inputs, method="progressive_inference", readout="closeness")
