"""Models that say something else with a cache than without one."""

import functools
from typing import Any

import pytest
import torch
from transformers import BertForSequenceClassification, LlamaForCausalLM

import normxlogit as nxl
from normxlogit.errors import UnsupportedHeadError
from normxlogit.model.trials.caching import depends_on_cache
from tests.helpers.cached import unmasked_with_cache
from tests.helpers.zoo import tiny_inputs, tiny_model


def fsmt() -> Any:
    return tiny_model("fsmt", mapping="seq2seq-lm")


def bart() -> Any:
    return unmasked_with_cache(120)


def bart_that_masks_a_token() -> Any:
    """By a logit beside which all differences are small."""
    model = bart()
    model.final_logits_bias[0, 7] = -1e9
    return model


MAKERS = pytest.mark.parametrize("maker", [fsmt, bart, bart_that_masks_a_token])


def inputs_of(model: Any) -> dict[str, Any]:
    inputs = tiny_inputs(model, padding=None, mapping="seq2seq-lm")
    if model(**inputs).logits.shape[1] < inputs["decoder_input_ids"].shape[1]:
        with pytest.raises(UnsupportedHeadError, match="do not stand one to a token"):
            nxl.attribute(model, inputs)
        pytest.skip("with a cache, FSMT of the oldest transformers decodes the last token alone")
    return inputs


@torch.no_grad()
def logits(model: Any, inputs: dict[str, Any], position: int) -> torch.Tensor:
    out: torch.Tensor = model(**inputs).logits[:, position]
    return out


@MAKERS
@pytest.mark.parametrize("position", [0, 1, 4])
def test_the_prediction_is_the_models_own(maker: Any, position: int) -> None:
    model = maker()
    inputs = inputs_of(model)
    both = torch.tensor([position] * 2)
    cached = logits(model, inputs, position)
    uncached = logits(model, inputs | {"use_cache": False}, position)
    assert (cached - uncached).abs().max() > 0.01
    whole = nxl.attribute(model, inputs, position=both)
    torch.testing.assert_close(whole.prediction, cached)
    up_to = nxl.attribute(model, inputs | {"use_cache": False}, position=both)
    torch.testing.assert_close(up_to.prediction, uncached)
    # Which tokens took part, by changing each.
    for result, flags in ((whole, {}), (up_to, {"use_cache": False})):
        scored = ~result.scores[0, result.sources :].isnan()
        for token in range(5):
            changed = inputs["decoder_input_ids"].clone()
            changed[:, token] += 1
            after = logits(model, inputs | {"decoder_input_ids": changed} | flags, position)
            before = cached if not flags else uncached
            moved = bool((after - before)[0].abs().max() > 1e-6)
            assert moved == bool(scored[token]), (token, flags)


@MAKERS
def test_occlusion_hides_tokens_from_the_pass_that_is_explained(maker: Any) -> None:
    model = maker()
    inputs = inputs_of(model)
    both = torch.tensor([1, 1])
    result = nxl.attribute(
        model, inputs, position=both, target=30, method="occlusion", replacement=25
    )
    width = inputs["decoder_input_ids"].shape[1]
    for token in range(width):
        changed = inputs["decoder_input_ids"].clone()
        changed[:, token] = 25
        lost = logits(model, inputs, 1) - logits(model, inputs | {"decoder_input_ids": changed}, 1)
        torch.testing.assert_close(
            result.scores[:, -width + token], lost[:, 30], rtol=1e-4, atol=1e-5
        )


def calls(model: Any, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The arguments of further passes, as they come."""
    seen: list[dict[str, Any]] = []
    forward = type(model).forward

    @functools.wraps(forward)
    def watched(self: Any, *args: Any, **kwargs: Any) -> Any:
        seen.append(kwargs)
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(type(model), "forward", watched)
    return seen


def test_a_model_is_tried_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model: Any = tiny_model("llama", mapping="causal-lm")
    inputs = tiny_inputs(model, mapping="causal-lm")
    passes = calls(model, monkeypatch)
    options: Any = {"target": 30, "method": "norm"}
    nxl.attribute(model, inputs, **options)
    tried = [p for p in passes if p["input_ids"].shape != inputs["input_ids"].shape]
    assert sorted(p["use_cache"] for p in tried) == [False, True]
    passes.clear()
    nxl.attribute(model, inputs, **options)
    assert [p["use_cache"] for p in passes] == [False]  # whose memory nobody would read


def test_a_model_that_cannot_be_tried_runs_as_it_does_by_default() -> None:
    class Choosy(LlamaForCausalLM):  # type: ignore[no-untyped-call]
        def forward(self, input_ids: Any, use_cache: bool = True, **inputs: Any) -> Any:
            if input_ids[0, 0] == 5:
                raise ValueError("not this text")
            out = super().forward(input_ids, use_cache=use_cache, **inputs)
            out.logits = out.logits + (torch.arange(120) if use_cache else 0)
            return out

    model: Any = tiny_model("llama", mapping="causal-lm")
    model.__class__ = Choosy
    inputs = tiny_inputs(model, padding=None, mapping="causal-lm")
    result = nxl.attribute(model, inputs)
    torch.testing.assert_close(result.prediction, logits(model, inputs, -1))


def test_a_model_for_whose_trial_there_is_no_memory_is_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What does not fit now says nothing of the model."""
    model: Any = tiny_model("llama", mapping="causal-lm")
    inputs = tiny_inputs(model, padding=None, mapping="causal-lm")
    forward = type(model).forward

    @functools.wraps(forward)
    def full(*_: Any, **__: Any) -> Any:
        raise torch.OutOfMemoryError("full")

    monkeypatch.setattr(type(model), "forward", full)
    with pytest.raises(torch.OutOfMemoryError):
        depends_on_cache(model)
    monkeypatch.setattr(type(model), "forward", forward)
    assert not depends_on_cache(model)
    assert nxl.attribute(model, inputs).scores.isfinite().all()


def test_a_model_without_a_cache_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    model: Any = tiny_model("bert")
    assert isinstance(model, BertForSequenceClassification)
    passes = calls(model, monkeypatch)
    nxl.attribute(model, tiny_inputs(model), method="norm")
    assert len(passes) == 1
