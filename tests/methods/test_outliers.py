"""Models are taken apart where their parts give what they give, whatever is large beside it."""

import copy
import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import normxlogit as nxl
from normxlogit.methods.context_mixing.block_copies import BlockCall
from normxlogit.methods.context_mixing.steps import Activation
from normxlogit.methods.context_mixing.value_projection import value_projection
from tests.helpers.zoo import tiny_inputs, tiny_model

LARGE = 1e5


def bert(**config: Any) -> Any:
    """A random BERT whose every state has a first channel that is large, and read by nothing."""
    model: Any = copy.deepcopy(tiny_model("bert", **config))
    with torch.no_grad():
        for layer in model.bert.encoder.layer:
            # The second norm would be of this one number only, were it in the first norm's output.
            layer.output.LayerNorm.weight[0], layer.output.LayerNorm.bias[0] = 0, LARGE
            for read in (*layer.attention.self.children(), layer.intermediate.dense):
                if isinstance(read, nn.Linear):
                    read.weight[:, 0] = 0
        model.bert.pooler.dense.weight[:, 0] = 0
    return model


class Lifted(nn.LayerNorm):
    """A norm whose channels but the first are 5% larger than its weights say."""

    def forward(self, states: Tensor) -> Tensor:
        normed: Tensor = super().forward(states)
        return torch.cat([normed[..., :1], 1.05 * normed[..., 1:]], -1)


def test_norms_with_one_large_gain() -> None:
    """The divisor is read off the output, here that of a channel which is as a norm gives it."""
    model: Any = copy.deepcopy(tiny_model("bert"))
    norm = model.bert.encoder.layer[-1].output.LayerNorm
    norm.weight.data[0] = LARGE
    model.bert.pooler.dense.weight.data[:, 0] = 0
    inputs = tiny_inputs(model)
    assert nxl.attribute(model, inputs, method="late_lrp").scores.nansum() != 0
    norm.__class__ = Lifted
    with pytest.raises(nxl.UnsupportedHeadError, match="LayerNorm"):
        nxl.attribute(model, inputs, method="late_lrp")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("model_type", ["bert", "distilbert", "electra"])
def test_norms_with_one_large_bias(model_type: str, dtype: torch.dtype) -> None:
    """What a bias in thousands leaves of its channel is rounding, and says nothing of divisors."""
    model: Any = copy.deepcopy(tiny_model(model_type))
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.bias.data[0] += 1000
    inputs = tiny_inputs(model, padding=None)
    scores = nxl.attribute(model.to(dtype), inputs, target=0, method="late_lrp").scores
    assert scores.isfinite().all()


@pytest.mark.parametrize("method", ["globenc", "alti", "decompx"])
def test_blocks_with_one_large_channel(method: str) -> None:
    model = bert(num_hidden_layers=1)
    inputs = tiny_inputs(model, padding=None)
    assert nxl.attribute(model, inputs, method=method).scores.isfinite().all()

    def lift(_block: nn.Module, _args: Any, output: Any) -> Any:
        states = output[0] if isinstance(output, tuple) else output
        lifted = torch.cat([states[..., :1], 1.05 * states[..., 1:]], -1)
        return (lifted, *output[1:]) if isinstance(output, tuple) else lifted

    model.bert.encoder.layer[0].register_forward_hook(lift)
    with pytest.raises(nxl.UnsupportedHeadError, match="put together again"):
        nxl.attribute(model, inputs, method=method)


def test_a_head_with_a_label_that_is_ruled_out() -> None:
    model: Any = copy.deepcopy(tiny_model("bert"))
    model.classifier.bias.data[2] = -1e9
    inputs = tiny_inputs(model)
    result = nxl.attribute(model, inputs, method="decompx", target=0)
    torch.testing.assert_close(
        result.scores.nansum(-1), result.prediction[:, 0], rtol=1e-4, atol=1e-5
    )
    model.classifier.register_forward_hook(lambda _m, _a, output: output * 1.1)
    with pytest.raises(nxl.UnsupportedHeadError, match="add up to"):
        nxl.attribute(model, inputs, method="decompx", target=0)


class Sharing(nn.Module):
    """An activation that gives each number a part of the mean of its token."""

    def __init__(self, part: float) -> None:
        super().__init__()
        self.part = part

    def forward(self, x: Tensor) -> Tensor:
        return torch.relu(x) + self.part * x.clamp(max=3).mean(-1, keepdim=True)


def test_activations_of_one_large_number() -> None:
    x = torch.randn(7, 20, generator=torch.Generator().manual_seed(0))
    x[:, 0] = LARGE
    assert Activation(torch.relu).is_pointwise(x)
    assert not Activation(Sharing(0.5)).is_pointwise(x)


@pytest.mark.parametrize("head", [0, 1])
def test_attention_of_which_a_head_has_large_values(
    head: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other head's output is 5% more than the product of its weights and values."""
    model: Any = copy.deepcopy(tiny_model("bert", num_attention_heads=2))
    for layer in model.bert.encoder.layer:
        width = layer.attention.self.attention_head_size
        some = slice(head * width, (head + 1) * width)
        layer.attention.self.value.bias.data[some] = LARGE
        layer.attention.output.dense.weight.data[:, some] = 0
    inputs = tiny_inputs(model, padding=None)
    assert nxl.attribute(model, inputs, method="value_zeroing").scores.isfinite().all()
    code = sys.modules[type(model).__module__]
    eager = code.eager_attention_forward

    def lifted(*args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        mixed, weights = eager(*args, **kwargs)  # [batch, tokens, heads, width]
        factors = torch.tensor([1.05, 1.05])
        factors[head] = 1
        return mixed * factors[:, None], weights

    model.set_attn_implementation("eager")
    monkeypatch.setattr(code, "eager_attention_forward", lifted)
    with pytest.raises(nxl.UnsupportedHeadError, match="not the product of weights"):
        nxl.attribute(model, inputs, method="value_zeroing")


class Remembering(nn.Module):
    """A block that gives something else when it is run again."""

    def __init__(self) -> None:
        super().__init__()
        self.factor = 1.0

    def forward(self, states: Tensor) -> Tensor:
        return torch.cat([states[..., :1], self.factor * states[..., 1:]], -1)


def test_blocks_that_give_something_else_on_copies() -> None:
    block = Remembering()
    states = torch.randn(1, 5, 12, generator=torch.Generator().manual_seed(0))
    states[..., 0] = LARGE
    call = BlockCall(block, (states,), {}, block(states), "the block")
    context = torch.no_grad
    assert call.on_copies(3, context).shape == (3, 5, 12)
    block.factor = 1.05
    with pytest.raises(nxl.UnsupportedHeadError, match="something else when run again"):
        call.on_copies(3, context)


class Scaled(nn.Module):
    """Attention that mixes what `value` gives, of which one number is large and others cut off."""

    def __init__(self, cut: bool) -> None:
        super().__init__()
        self.cut = cut
        self.value, self.out = nn.Linear(12, 12), nn.Linear(12, 12)

    def forward(self, states: Tensor) -> Tensor:
        value = self.value(states)
        others = value[..., 1:].relu() if self.cut else value[..., 1:]
        weights = (0.1 * states @ states.mT).softmax(-1)
        mixed = weights @ torch.cat([LARGE * value[..., :1], others], -1)
        output: Tensor = states + self.out(mixed)
        return output


@pytest.mark.parametrize("cut", [False, True])
def test_values_of_which_one_number_is_large(cut: bool) -> None:
    torch.manual_seed(0)
    block = Scaled(cut).requires_grad_(False)
    block.out.weight[:, 0] = 0
    states = torch.randn(1, 5, 12)
    call = BlockCall(block, (states,), {}, block(states), "the block")
    assert value_projection(call) is (None if cut else block.value)
