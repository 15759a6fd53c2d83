"""What models do between their head and their logits is part of the explanation, or refused."""

from collections.abc import Callable
from types import MethodType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from transformers import BertForTokenClassification, LlamaForCausalLM, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutput, TokenClassifierOutput

import normxlogit as nxl
from normxlogit.errors import ModelError, UnsupportedHeadError
from normxlogit.model.heads.replay import Replay
from tests.helpers.by_hand import generated_scores_by_hand, scores_by_hand
from tests.helpers.head_use import record_head_use
from tests.helpers.random_models import PROMPT, WORDS, inputs_for, random_model
from tests.helpers.zoo import tiny_inputs


@pytest.mark.parametrize(
    ("model_type", "config"),
    [
        ("gemma2", {"final_logit_softcapping": 2.0}),
        ("granite", {"logits_scaling": 7.0}),
        ("cohere", {"logit_scale": 0.3}),
        ("llama", {"tie_word_embeddings": True}),
        ("llama", {"tie_word_embeddings": False}),
        ("phi", {}),
        ("gptj", {}),
    ],
)
def test_heads_of_causal_models_are_sliced(
    model_type: str, config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    used = record_head_use(monkeypatch)
    model = random_model(model_type, **config)
    inputs = inputs_for(model, "causal-lm")
    expected = scores_by_hand(model, inputs, "causal-lm")
    torch.testing.assert_close(nxl.attribute(model, inputs).scores, expected)
    assert used == {"sliced"}


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("model_type", ["t5", "bart"])
def test_heads_of_encoder_decoders_are_sliced(
    model_type: str, tied: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    used = record_head_use(monkeypatch)
    model: Any = random_model(model_type, "seq2seq-lm", tie_word_embeddings=tied)
    inputs = inputs_for(model, "seq2seq-lm")
    if model_type == "bart":
        model.final_logits_bias.normal_(generator=torch.Generator().manual_seed(0))
    expected = scores_by_hand(model, inputs, "seq2seq-lm")
    torch.testing.assert_close(nxl.attribute(model, inputs).scores, expected)
    assert used == {"sliced"}


@pytest.mark.parametrize("vocab_size", [32, 37])
@pytest.mark.parametrize("model_type", ["bert", "roberta", "distilbert"])
def test_masked_heads_with_a_bias_as_long_as_another_dimension(
    model_type: str, vocab_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The head's own layer norm and dense layer have 32 numbers as well, and are not to be sliced;
    then the sliced head does not agree, and the whole one is used.
    """
    used = record_head_use(monkeypatch)
    width = {"dim": 32} if model_type == "distilbert" else {"hidden_size": 32}
    model = random_model(model_type, "masked-lm", vocab_size=vocab_size, **width)
    ids = torch.randint(5, vocab_size, (2, 7), generator=torch.Generator().manual_seed(0))
    inputs = {"input_ids": ids, "attention_mask": torch.ones_like(ids)}
    expected = scores_by_hand(model, inputs, "masked-lm")
    torch.testing.assert_close(nxl.attribute(model, inputs, position=1).scores, expected)
    assert used == ({"sliced", "whole"} if vocab_size == 32 else {"sliced"})


class Odd(LlamaForCausalLM):  # type: ignore[no-untyped-call]
    """A language model whose forward does something to its logits, [batch, sequence, outputs]."""

    odd: Callable[[Tensor], Tensor]

    def forward(self, **inputs: Any) -> Any:
        output: Any = super().forward(**inputs)
        output.logits = self.odd(output.logits)
        return output


def masks_the_first(logits: Tensor) -> Tensor:
    logits[..., :5] = -1e4
    return logits


def masks_some(logits: Tensor) -> Tensor:
    masked = torch.tensor([0, 3, 150])
    logits[..., masked[masked < logits.shape[-1]]] = torch.finfo(logits.dtype).min
    return logits


def raises_one(logits: Tensor) -> Tensor:
    logits[..., 0] *= 1.5
    return logits


def weighs(logits: Tensor) -> Tensor:
    """By numbers that are neither a parameter nor a buffer."""
    return logits * torch.linspace(0.5, 2, len(WORDS))[: logits.shape[-1]]


def weighs_alike(logits: Tensor) -> Tensor:
    """Which makes a whole vocabulary of one sliced row."""
    return logits * torch.full((len(WORDS),), 2.0)


def is_sure(logits: Tensor) -> Tensor:
    return (30 * logits).log_softmax(-1)


def less_the_largest(logits: Tensor) -> Any:
    return logits - logits.amax(-1, keepdim=True)


def normalised(logits: Tensor) -> Any:
    return logits / logits.norm(dim=-1, keepdim=True)


def leaves_out_the_last(logits: Tensor) -> Tensor:
    """Rows of the table that only fill it up."""
    return logits[..., : max(1, logits.shape[-1] - 7)]


def one_more(logits: Tensor) -> Tensor:
    """An output for which the table has no row, and the likeliest."""
    return torch.cat([logits, logits.amax(-1, keepdim=True) + 1], -1)


def widened(logits: Tensor) -> Tensor:
    return logits.float()


def less_the_mean_of_positions(logits: Tensor) -> Tensor:
    return logits - 0.5 * logits.mean(1, keepdim=True)


def added_up(logits: Tensor) -> Tensor:
    return logits.cumsum(1)


def odd(how: Callable[[Tensor], Tensor], **config: Any) -> PreTrainedModel:
    model: Any = random_model("llama", **config)
    model.__class__, model.odd = Odd, how
    return model  # type: ignore[no-any-return]


@pytest.mark.parametrize("likeliest", [True, False])
@pytest.mark.parametrize(
    "how",
    [
        masks_the_first,
        masks_some,
        raises_one,
        weighs,
        weighs_alike,
        is_sure,
        less_the_largest,
        normalised,
        leaves_out_the_last,
        one_more,
    ],
)
def test_odd_heads_are_explained_as_they_are(
    how: Callable[[Tensor], Tensor], likeliest: bool
) -> None:
    for seed in range(4):
        model = odd(how, seed=seed)
        inputs = tiny_inputs(model, seed=seed, padding=None)
        with torch.no_grad():
            said = model(**inputs, output_hidden_states=True)
        target = said.logits[:, -1].argmax(-1) if likeliest else torch.tensor([30, 30])
        index = target[:, None, None].expand(-1, said.logits.shape[1], 1)
        expected = said.hidden_states[0].norm(dim=-1) * said.logits.gather(-1, index)[..., 0]
        scores = nxl.attribute(model, inputs, target=target).scores
        torch.testing.assert_close(scores, expected, rtol=1e-3, atol=1e-3)


def test_a_wrong_head_is_caught_beside_logits_that_are_masked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Next to -3e38 any difference is small."""
    model = odd(masks_some, vocab_size=1200)
    inputs = tiny_inputs(model, length=64, padding=None)
    nxl.attribute(model, inputs)
    alone = Replay.alone

    def wrong(self: Replay, vectors: Tensor, rows: Tensor) -> Tensor:
        logits = alone(self, vectors, rows)
        return torch.where(logits.abs() < 1e30, 0.9 * logits, logits)

    monkeypatch.setattr(Replay, "alone", wrong)
    with pytest.raises(UnsupportedHeadError, match="does not give"):
        nxl.attribute(model, inputs)


def test_half_precision_whose_logits_are_made_float32() -> None:
    """They are as coarse as the states that they come from."""
    for seed in range(8):
        model: Any = odd(widened, seed=seed, vocab_size=1200)
        inputs = tiny_inputs(model, length=40, seed=seed, padding=None)
        expected = scores_by_hand(model.bfloat16(), inputs, "causal-lm")
        scores = nxl.attribute(model, inputs).scores
        difference = (scores - expected).abs().amax(-1) / expected.abs().amax(-1)
        assert difference.max() < 0.03
        for target in (nxl.attribute(model, inputs, readout="logprob").scores, scores):
            assert target.isfinite().all()


@pytest.mark.parametrize("how", [less_the_mean_of_positions, added_up])
def test_heads_that_mix_positions_are_refused(how: Callable[[Tensor], Tensor]) -> None:
    model = odd(how)
    with pytest.raises(UnsupportedHeadError, match="something besides"):
        nxl.attribute(model, inputs_for(model, "causal-lm"))


def test_heads_that_give_a_token_several_positions_are_refused() -> None:
    model = odd(lambda logits: torch.cat([logits, logits], 1))
    with pytest.raises(UnsupportedHeadError, match="not one output a token"):
        nxl.attribute(model, inputs_for(model, "causal-lm"))


@pytest.mark.parametrize("how", [masks_some, is_sure, leaves_out_the_last])
def test_odd_heads_generate(how: Callable[[Tensor], Tensor]) -> None:
    model = odd(how)
    result = nxl.Explainer(model, WORDS).generate(PROMPT, max_new_tokens=4)
    ids: Any = WORDS.convert_tokens_to_ids(list(result.tokens))
    expected = generated_scores_by_hand(model, ids, 4).numpy()
    np.testing.assert_allclose(result.scores, expected, rtol=1e-3, atol=1e-3)


def test_a_head_whose_forward_was_replaced() -> None:
    """A method keeps working on what it is bound to; a function may lead anywhere."""
    model = random_model("llama")
    inputs = inputs_for(model, "causal-lm")
    expected = scores_by_hand(model, inputs, "causal-lm")

    def doubled(self: Any, **arguments: Any) -> Any:
        output = type(self).forward(self, **arguments)
        output.logits = 2 * output.logits
        return output

    model.forward = MethodType(doubled, model)
    torch.testing.assert_close(nxl.attribute(model, inputs).scores, 2 * expected)
    model.forward = lambda **arguments: type(model).forward(model, **arguments)
    with pytest.raises(UnsupportedHeadError, match="replaced on the instance"):
        nxl.attribute(model, inputs)


@pytest.mark.parametrize("column", [0, 5, -1])
def test_logits_of_minus_infinity_are_refused(column: int) -> None:
    def masked(logits: Tensor) -> Tensor:
        logits[..., column] = -torch.inf
        return logits

    model = odd(masked)
    with pytest.raises(ModelError, match="gave logits that are not finite"):
        nxl.attribute(model, inputs_for(model, "causal-lm"))


class Looking(LlamaForCausalLM):  # type: ignore[no-untyped-call]
    """A language model whose head reads a twentieth of the state before each token's own."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor, **_: Any) -> Any:
        states = self.model(input_ids, attention_mask=attention_mask).last_hidden_state
        before = torch.cat([torch.zeros_like(states[:, :1]), states[:, :-1]], 1)
        return CausalLMOutput(logits=self.lm_head(states + 0.05 * before))


class LookingTags(BertForTokenClassification):  # type: ignore[no-untyped-call]
    """A tagger whose head does."""

    def forward(self, input_ids: Tensor, attention_mask: Tensor, **_: Any) -> Any:
        states = self.bert(input_ids, attention_mask=attention_mask).last_hidden_state
        before = torch.cat([torch.zeros_like(states[:, :1]), states[:, :-1]], 1)
        return TokenClassifierOutput(logits=self.classifier(states + 0.05 * before))


class Unequal(BertForTokenClassification):  # type: ignore[no-untyped-call]
    """A tagger that adds one to the logits of a position."""

    at = 0

    def forward(self, input_ids: Tensor, attention_mask: Tensor, **_: Any) -> Any:
        output: Any = super().forward(input_ids, attention_mask)
        if output.logits.shape[1] > 1:
            output.logits[:, self.at] += 1
        return output


@pytest.mark.parametrize("position", range(7))
def test_tags_that_go_by_the_position_are_refused(position: int) -> None:
    model: Any = random_model("bert", "token-classification")
    inputs = tiny_inputs(model, padding=None, mapping="token-classification")
    model.__class__, model.at = Unequal, position
    with pytest.raises(UnsupportedHeadError, match="does not give"):
        nxl.attribute(model, inputs, position=3)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("mapping", ["causal-lm", "token-classification"])
def test_heads_that_read_a_little_of_another_state(mapping: str, dtype: torch.dtype) -> None:
    for seed in range(4):
        is_language = mapping == "causal-lm"
        model: Any = random_model("llama" if is_language else "bert", mapping, seed=seed)
        inputs = tiny_inputs(model, length=24, seed=seed, padding=None, mapping=mapping)
        nxl.attribute(model.to(dtype), inputs, position=23)
        model.__class__ = Looking if is_language else LookingTags
        with pytest.raises(UnsupportedHeadError, match="does not give"):
            nxl.attribute(model, inputs, position=23)
