"""One large number hides nothing: a channel in thousands, a label or tokens masked by -1e9."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM
from transformers.modeling_outputs import SequenceClassifierOutput

import normxlogit as nxl
from normxlogit.model.capture import _gives
from normxlogit.model.numerics import agree, excess
from normxlogit.model.trace import TracedOps
from normxlogit.model.trials.causality import hides_what_follows
from normxlogit.tasks.padding import Padding
from normxlogit.text.encoder import Encoder
from tests.helpers.assertions import succeeded
from tests.helpers.builders import classifier, tokenizer
from tests.helpers.zoo import tiny_config, tiny_inputs, tiny_model

DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]
TEXTS = ["the plot", "A great movie with poor performers and a mess of a plot."]
MASKED = -1e9


def set_apart(norm: Any, size: float = 1e5) -> None:
    """Make a LayerNorm's first channel a large constant."""
    with torch.no_grad():
        norm.weight[0], norm.bias[0] = 0, size


# --- the measure -----------------------------------------------------------------------------


def random_values(seed: int, rows: int, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """A linear map of 64 numbers to 48 channels, and the same in another order of summation."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, 64, generator=generator).to(dtype)
    weight = torch.randn(48, 64, generator=generator).to(dtype)
    order = torch.randperm(64, generator=generator)
    return x @ weight.mT, x[:, order] @ weight[:, order].mT


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [1, 2, 3, 30])
def test_another_order_of_summation_agrees(rows: int, dtype: torch.dtype) -> None:
    for seed in range(50):
        values, others = random_values(seed, rows, dtype)
        for finish in (torch.tanh, torch.relu, nn.functional.gelu, torch.sigmoid):
            assert agree(finish(others), finish(values))
        masked = torch.zeros(48, dtype=dtype)
        masked[seed % 48] = -1e4
        assert agree(others + masked, values + masked)
        scale = torch.where(masked < 0, 1e2, 1.0).to(dtype)
        assert agree(others * scale, values * scale)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rows", [1, 2, 30])
def test_an_error_shows_whatever_is_large_beside_it(rows: int, dtype: torch.dtype) -> None:
    within = 0.05 if dtype.itemsize > 2 else 0.3
    for seed in range(50):
        values, _ = random_values(seed, rows, dtype)
        wrong = values * (1 + within)
        assert not agree(wrong, values)
        for large in ((slice(None), 0), (0,)) if rows > 2 else ((slice(None), 0),):
            beside, wrong_beside = values.clone(), wrong.clone()
            beside[large] = wrong_beside[large] = 3e4
            assert not agree(wrong_beside, beside)


def test_what_is_not_finite_has_to_be_the_same() -> None:
    values = torch.tensor([[1.0, torch.nan, -torch.inf, 2.0]])
    assert agree(values.clone(), values)
    for column, other in ((0, torch.nan), (1, 0.0), (2, 0.0), (2, torch.inf), (3, -torch.inf)):
        changed = values.clone()
        changed[0, column] = other
        assert excess(changed, values) > 1
    assert agree(torch.zeros(0, 3), torch.zeros(0, 3))
    assert agree(torch.tensor(1.0), torch.tensor(1.0))
    assert not agree(torch.tensor(1.1), torch.tensor(1.0))


# --- where it is used ------------------------------------------------------------------------


def test_states_that_a_trunk_changes_where_no_hook_sees_it() -> None:
    """Layers are read through the final norm, and here that is not all."""
    model: Any = tiny_model("gpt2")
    set_apart(model.transformer.ln_f)

    class Trunk(type(model.transformer)):  # type: ignore[misc]
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            output = super().forward(*args, **kwargs)
            if self.factor != 1:
                output.last_hidden_state[..., 1:].mul_(self.factor)
            return output

    model.transformer.__class__ = Trunk
    inputs = tiny_inputs(model, padding=None)
    model.transformer.factor = 1.0
    assert nxl.attribute(model, inputs, layer=1).scores.isfinite().all()
    model.transformer.factor = 1.05
    with pytest.raises(nxl.UnsupportedHeadError, match="its last block's output could not be seen"):
        nxl.attribute(model, inputs, layer=1)


def test_channels_of_images() -> None:
    """Of [batch, channels, height, width], where the width is not what stands apart."""
    states = torch.randn(2, 8, 3, 3, generator=torch.Generator().manual_seed(0))
    states[:, 0] = 1e5
    other = states.clone()
    other[:, 1:] *= 1.05
    assert _gives(TracedOps(), states, states)
    assert not _gives(TracedOps(), other, states)


def test_a_model_that_reads_both_ways() -> None:
    model: Any = tiny_model("xlnet", mapping="causal-lm")
    set_apart(model.transformer.layer[-1].ff.layer_norm)
    assert not hides_what_follows(model)


def test_padding_that_changes_states() -> None:
    """The model heeds no mask, and its third label is ruled out."""
    words = tokenizer()
    model: Any = classifier(words)

    class Heedless(type(model)):  # type: ignore[misc]
        def forward(self, input_ids: Tensor, attention_mask: Tensor, **options: Any) -> Any:
            return super().forward(input_ids, torch.ones_like(attention_mask), **options)

    model.__class__ = Heedless
    set_apart(model.bert.encoder.layer[-1].output.LayerNorm)
    with torch.no_grad():
        model.bert.pooler.dense.weight[:, 0] = 0
        model.classifier.bias[2] = MASKED
    explainer = nxl.Explainer(model, words)
    for text, result in zip(TEXTS, succeeded(explainer.explain(TEXTS)), strict=True):
        np.testing.assert_allclose(result.scores, explainer.explain(text).scores, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("num_labels", [1, 2])
def test_values_near_zero_do_not_forbid_padding(num_labels: int, dtype: torch.dtype) -> None:
    """Rounding is small beside how far apart the outputs of tokens lie, not beside such a value."""
    words = tokenizer()
    for seed in range(12):
        model: Any = classifier(words, "qwen3", num_labels=num_labels, seed=seed)
        encoder = Encoder(words, model.to(dtype))
        short, long = (encoder.encode(text).windows[0] for text in ("a b", TEXTS[1]))
        assert Padding(model, encoder).side(short, long) == encoder.padding_side


def test_choices_whose_scores_share_a_constant() -> None:
    """A model that says something else the second time, by a part of what tells choices apart."""
    model: Any = tiny_model("bert", mapping="multiple-choice")
    inputs = tiny_inputs(model, mapping="multiple-choice")
    model.classifier.bias.data[:] = 200

    class Drifting(nn.Linear):
        drift = 0.0

        def forward(self, states: Tensor) -> Tensor:
            # Gradients are on in the second pass, and states are those of whole texts.
            return super().forward(states) + self.drift * torch.is_grad_enabled()

    model.classifier.__class__ = Drifting
    assert nxl.attribute(model, inputs, method="gradient_norm").scores.nansum() > 0
    with torch.no_grad():
        scores = model(**inputs).logits
    Drifting.drift = 0.05 * float(scores.max() - scores.min())
    with pytest.raises(nxl.UnsupportedHeadError, match="before, for the same inputs"):
        nxl.attribute(model, inputs, method="gradient_norm")


def test_rows_beside_one_in_thousands() -> None:
    """The head reads several tokens, so no HoT tells how far apart outputs lie."""
    model: Any = tiny_model("bert", seed=1)

    class Mixed(type(model)):  # type: ignore[misc]
        drift = 1.0

        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
            states = self.bert(input_ids, attention_mask).last_hidden_state
            logits = self.classifier(states[:, 0] + states.mean(1))
            # Gradients are on in the second pass.
            logits[1:] *= self.drift if torch.is_grad_enabled() else 1.0
            logits[:1] *= 1e4
            return SequenceClassifierOutput(logits=logits)

    model.__class__ = Mixed
    inputs = tiny_inputs(model, batch=3, padding=None)
    assert nxl.attribute(model, inputs, method="gradient_norm", target=0).scores.sum() > 0
    Mixed.drift = 1.05
    with pytest.raises(nxl.UnsupportedHeadError, match="before, for the same inputs"):
        nxl.attribute(model, inputs, method="gradient_norm", target=0)


# --- generating ------------------------------------------------------------------------------


def generator(model_type: str, size: int) -> Any:
    torch.manual_seed(3)
    auto: Any = AutoModelForCausalLM
    model = auto.from_config(tiny_config(model_type, vocab_size=size)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


@pytest.mark.parametrize("factor", [1.0, 1.05])
def test_steps_that_give_other_logits_than_the_head(factor: float) -> None:
    """Most tokens are not to be generated, and steps after the first scale their logits."""
    words = tokenizer("bpe", add_eos=False)
    model = generator("llama", len(words))
    ruled_out = torch.zeros(len(words))
    ruled_out[: len(words) * 2 // 3] = MASKED
    model.register_buffer("ruled_out", ruled_out)

    class Scaled(type(model)):  # type: ignore[misc]
        def forward(self, input_ids: Tensor, *, past_key_values: Any = None, **others: Any) -> Any:
            before = past_key_values is not None and past_key_values.get_seq_length()
            output = super().forward(input_ids, past_key_values=past_key_values, **others)
            output.logits = output.logits * (factor if before else 1.0) + self.ruled_out
            return output

    model.__class__ = Scaled
    explainer = nxl.Explainer(model, words)
    if factor == 1:
        assert np.isfinite(explainer.generate(TEXTS[0], max_new_tokens=3).scores[0, :1]).all()
        return
    with pytest.raises(nxl.UnsupportedHeadError, match="do not give its logits"):
        explainer.generate(TEXTS[0], max_new_tokens=3)


def test_padding_that_changes_what_is_generated() -> None:
    """The model heeds no mask."""
    words = tokenizer("bpe", add_eos=False)
    model = generator("gpt2", len(words))

    class Heedless(type(model)):  # type: ignore[misc]
        def forward(
            self,
            input_ids: Tensor,
            attention_mask: Any = None,  # noqa: ARG002
            position_ids: Any = None,
            **others: Any,
        ) -> Any:
            return super().forward(input_ids, position_ids=position_ids, **others)

    model.__class__ = Heedless
    set_apart(model.transformer.ln_f)
    model.lm_head.weight = nn.Parameter(model.lm_head.weight.clone())
    model.lm_head.weight.data[:, 0] = 0
    explainer = nxl.Explainer(model, words)
    options: dict[str, Any] = {"max_new_tokens": 3, "min_new_tokens": 3}
    for text, result in zip(TEXTS, explainer.generate(TEXTS, **options), strict=True):
        alone = explainer.generate(text, **options)
        np.testing.assert_allclose(result.scores, alone.scores, rtol=1e-4, atol=1e-5)
