"""Words at masks, against the model's own logits over the vocabulary."""

from typing import Any

import pytest
import torch

from normxlogit import InputError
from tests.helpers.assertions import assert_close, assert_same_explanation
from tests.helpers.model_outputs import block_outputs, model_outputs
from tests.helpers.models import explainer_with_head, tokenizer_with_mask
from tests.helpers.texts import MASKED


def test_what_stands_at_the_mask() -> None:
    explainer = explainer_with_head("bert", "masked-lm")
    words = explainer.tokenizer
    outputs = model_outputs(explainer, MASKED[0])
    place = outputs.ids.index(words.mask_token_id)
    best = int(outputs.logits[place].argmax())
    result = explainer.explain(MASKED[0])
    assert (result.target.id, result.target.position) == (best, place)
    assert result.target.label == words.decode([best])
    chances = outputs.logits[place].softmax(-1)
    assert result.target.probability == pytest.approx(float(chances[best]), rel=1e-4)
    assert [o.id for o in result.prediction.outputs] == chances.topk(10).indices.tolist()
    assert_close(result.scores, outputs.norms * outputs.logits[:, best])
    number = words.convert_tokens_to_ids("movie")
    for target in ("movie", "Movie", number):
        assert_close(
            explainer.explain(MASKED[0], target=target).scores,
            outputs.norms * outputs.logits[:, number],
        )
    other = words.convert_tokens_to_ids("plot")
    two = explainer.explain(MASKED[0], target=["movie", other])
    assert [t.label for t in two.targets] == ["movie", "plot"]
    assert_close(two.scores, outputs.norms * outputs.logits.T[[number, other]])
    apart = explainer.explain(MASKED[0], target="movie", contrast="plot")
    assert_close(
        apart.scores, outputs.norms * (outputs.logits[:, number] - outputs.logits[:, other])
    )
    assert apart.provenance.contrast == "plot"


def test_readouts_over_the_whole_vocabulary() -> None:
    explainer = explainer_with_head("bert", "masked-lm")
    outputs = model_outputs(explainer, MASKED[0])
    for target in ("movie", None):
        for readout in ("margin", "logprob", "centered"):
            result = explainer.explain(MASKED[0], target=target, readout=readout)
            number, logits = result.target.id, outputs.logits
            others = logits.clone()
            others[:, number] = -torch.inf
            expected = {
                "margin": logits[:, number] - others.amax(-1),
                "logprob": logits.log_softmax(-1)[:, number],
                "centered": logits[:, number] - logits.mean(-1),
            }[readout]
            assert_close(result.scores, outputs.norms * expected)


def test_which_token_is_explained() -> None:
    explainer = explainer_with_head("bert", "masked-lm")
    outputs = model_outputs(explainer, "a <mask> ! <mask>")
    for place in (2, 4):
        result = explainer.explain("a <mask> ! <mask>", position=place)
        assert result.target.id == int(outputs.logits[place].argmax())
    with pytest.raises(InputError, match=r"2 times.*position=2 or position=4"):
        explainer.explain("a <mask> ! <mask>")
    with pytest.raises(InputError, match=r"the text has no <mask>"):
        explainer.explain("a movie")
    unmasked = explainer.explain("a movie", position="movie")
    assert unmasked.target.position == 2
    assert_close(unmasked.logits, model_outputs(explainer, "a movie").logits[:, unmasked.target.id])


@pytest.mark.parametrize("model_type", ["bert", "modernbert"])
def test_layers_after_a_pre_norm_and_a_post_norm_trunk(model_type: str) -> None:
    explainer = explainer_with_head(model_type, "masked-lm")
    model: Any = explainer.model
    said = model_outputs(explainer, MASKED[0])
    inputs = explainer.tokenizer(MASKED[0], return_tensors="pt")
    is_post = model_type == "bert"
    blocks = model.bert.encoder.layer if is_post else model.model.layers
    number = explainer.tokenizer.convert_tokens_to_ids("movie")
    with torch.no_grad():
        states = block_outputs(blocks, lambda: model(**inputs))
        if is_post:
            logits = [model.cls(state) for state in states]
        else:
            logits = [model.decoder(model.head(model.model.final_norm(s))) for s in states]
    expected = torch.stack([said.norms * logit[:, number] for logit in logits])
    found = explainer.explain(MASKED[0], target="movie", layer="all")
    assert found.layers == tuple(range(1, len(states) + 1))
    assert_close(found.scores, expected)
    assert_close(found.scores[-1], said.norms * said.logits[:, number])
    assert_close(explainer.explain(MASKED[0], target="movie", layer=1).scores, expected[0])


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("model_type", ["bert", "roberta", "modernbert"])
def test_masks_in_a_batch(model_type: str, side: str) -> None:
    explainer = explainer_with_head(model_type, "masked-lm", tokenizer_with_mask(padding_side=side))
    for options in ({}, {"target": "movie", "contrast": "plot"}, {"readout": "margin"}):
        for text, one in zip(MASKED, explainer.explain(MASKED, **options), strict=True):
            assert_same_explanation(one, explainer.explain(text, **options))
