"""Encoder-decoders, against the model's own hidden states and logits."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch

from normxlogit import Explainer, Failure, InputError, OptionError
from tests.helpers.assertions import as_generation, assert_close, assert_same_explanation
from tests.helpers.models import explainer_with_head
from tests.helpers.texts import TEXTS


class Source:
    """What an encoder-decoder gives for a source and what its decoder has read."""

    @torch.no_grad()
    def __init__(self, explainer: Explainer, text: str, decoder: Sequence[int]) -> None:
        model: Any = explainer.model
        inputs = explainer.tokenizer(text, return_tensors="pt")
        output = model(
            **inputs, decoder_input_ids=torch.tensor([list(decoder)]), output_hidden_states=True
        )
        states = output.encoder_last_hidden_state[0]
        if model.config.model_type == "t5":
            scale = model.config.d_model**-0.5 if model.config.tie_word_embeddings else 1.0
            of_source = model.lm_head(states * scale)
        else:
            of_source = model.lm_head(states) + model.final_logits_bias
        self.next = output.logits[0, -1]
        self.norms = torch.cat(
            [
                output.encoder_hidden_states[0][0].norm(dim=-1),
                output.decoder_hidden_states[0][0].norm(dim=-1),
            ]
        )
        self.logits = torch.cat([of_source, output.logits[0]])


@pytest.mark.parametrize("model_type", ["t5", "bart"])
@pytest.mark.parametrize("is_given", [True, False])
def test_an_encoder_decoder(model_type: str, is_given: bool) -> None:
    explainer = explainer_with_head(model_type, "seq2seq-lm")
    model: Any = explainer.model
    model.generation_config.max_length = 8
    source = explainer.tokenizer(TEXTS[0], return_tensors="pt")
    first = [model.generation_config.decoder_start_token_id]
    if is_given:
        result = as_generation(explainer.explain(TEXTS[0], target="good plot"))
        ids = explainer.tokenizer("good plot")["input_ids"]
        assert result.answer == "good plot"
    else:
        result = as_generation(explainer.explain(TEXTS[0]))
        ids = model.generate(**source)[0].tolist()
        assert first == ids[:1]
        ids = ids[1:]
        assert len(ids) >= 7
    assert [t.id for t in result.targets] == ids
    count = source["input_ids"].shape[1]
    assert result.tokens == tuple(
        explainer.tokenizer.convert_ids_to_tokens([*source["input_ids"][0], *first, *ids])
    )
    for n, number in enumerate(ids):
        said = Source(explainer, TEXTS[0], [*first, *ids[:n]])
        known = count + 1 + n
        assert_close(result.scores[n, :known], said.norms * said.logits[:, number])
        assert np.isnan(result.scores[n, known:]).all()
        chance = float(said.next.softmax(-1)[number])
        assert result.targets[n].probability == pytest.approx(chance, rel=1e-3)
        assert result.targets[n].position == known - 1
        assert result.norms is not None
        assert_close(result.norms[:known], said.norms)
    assert result.prompt == TEXTS[0]
    whole = result.whole()
    assert len(whole) == count + len(ids) - (1 if is_given else 0)
    rows = [n for n in range(len(ids)) if ids[n] > 4] or list(range(len(ids)))
    assert_close(whole.scores, np.nansum(result.scores[rows], 0)[: len(whole)])


def test_encoder_decoders_in_a_list() -> None:
    explainer = explainer_with_head("t5", "seq2seq-lm")
    results = explainer.explain([TEXTS[0], "", TEXTS[1]], target="good")
    assert_same_explanation(results[0], explainer.explain(TEXTS[0], target="good"))
    assert isinstance(results[1], Failure)
    assert_same_explanation(results[2], explainer.explain(TEXTS[1], target="good"))
    with pytest.raises(OptionError, match="layer is not defined"):
        explainer.explain(TEXTS[0], layer="all")
    with pytest.raises(OptionError, match="layer is not defined"):
        explainer.explain(TEXTS[0], target="good", layer=1)
    with pytest.raises(InputError, match="reads one text, and this is a pair"):
        explainer.explain((TEXTS[0], TEXTS[1]))
