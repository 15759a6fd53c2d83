"""Hooks are on a clone of the model, never on the model."""

from types import MethodType
from typing import Any

import pytest
import torch
from torch import nn
from transformers import PretrainedConfig

from normxlogit.errors import ModelError, UnsupportedHeadError
from normxlogit.model.clone import Anatomy, ModelClone, blocks_of, unwrap
from normxlogit.model.trace import ForwardTrace
from tests.helpers.zoo import tiny_inputs, tiny_model


# XLM and FlauBERT keep LayerNorms, which are plain modules of torch, in lists as blocks are kept.
@pytest.mark.parametrize("model_type", ["bert", "flaubert", "gpt2", "llama", "xlm"])
def test_no_module_of_the_model_is_hooked(model_type: str) -> None:
    model = tiny_model(model_type)
    trace = ForwardTrace(model, Anatomy.of(model), layers=range(1, 9), trails=True)
    hooked = [
        name
        for name, module in model.named_modules()
        if module._forward_hooks or module._forward_pre_hooks
    ]
    trace.release()
    assert hooked == []


def test_the_anatomy_of_a_model() -> None:
    """Lists inside blocks are parts of these; what is held twice counts where it is first."""
    shared, inner = nn.Linear(2, 2), nn.ModuleList([nn.Linear(2, 2)])
    block = nn.Sequential(nn.Linear(2, 2), inner)
    blocks, groups = nn.ModuleList([block, shared]), nn.ModuleList([nn.ModuleList([nn.Identity()])])
    trunk = nn.Sequential(nn.LayerNorm(2), blocks)
    model = nn.Sequential(trunk, groups, shared, nn.Dropout())
    model.register_module("none", None)
    anatomy = Anatomy.of(model)
    assert anatomy.modules == list(model.modules())
    assert anatomy.stacks == [blocks, groups]
    assert set(anatomy.outside_stacks) == {model, trunk, trunk[0], model[3]}
    assert set(anatomy.holders) == {model, trunk}
    assert list(blocks_of(blocks)) == [block, shared]
    assert list(blocks_of(groups)) == [groups[0][0]]  # type: ignore[index]
    bert: Any = tiny_model("bert")
    of_bert = Anatomy.of(bert)
    assert of_bert.stacks == [bert.bert.encoder.layer]
    assert set(of_bert.holders) == {bert, bert.bert, bert.bert.encoder}
    assert Anatomy.of(nn.ModuleList([inner])).holders == []


@pytest.mark.parametrize("frozen", [True, False])
def test_a_clone_shares_weights_and_nothing_that_a_forward_may_set(frozen: bool) -> None:
    model: Any = tiny_model("bert").train()
    inputs = tiny_inputs(model, padding=None)
    clone = ModelClone(Anatomy.of(model), frozen=frozen)
    root = clone.root
    with torch.no_grad():
        first = root(**inputs).logits
        assert torch.equal(root(**inputs).logits, first)  # without dropout
    for module, twin in clone.of.items():
        assert type(twin) is type(module)
        if twin is module:
            assert type(module).__module__.startswith("torch.nn.modules.")
            assert not module._modules
            assert not module.training
            continue
        assert not twin.training
        for name, weight in module._parameters.items():
            other = twin._parameters[name]
            if weight is None or other is None:
                assert weight is other
            elif frozen:
                assert other.data_ptr() == weight.data_ptr()
                assert not other.requires_grad
            else:
                assert other is weight
        for name, child in module._modules.items():
            assert twin._modules[name] is (None if child is None else clone.of[child])
    assert all(weight.requires_grad for weight in model.parameters())
    assert model.training
    root.config.num_labels = 7
    assert root.bert.config is root.config is not model.config
    assert model.config.num_labels == 3
    root.bert.new = root.bert.encoder.new = 3
    root.bert.register_forward_hook(lambda *_: None)
    assert not model.bert._forward_hooks
    assert not hasattr(model.bert, "new")
    assert not hasattr(model.bert.encoder, "new")


def test_configurations_of_a_clone_are_its_own() -> None:
    model: Any = tiny_model("bert")
    before = model.config.to_dict(), model.config._attn_implementation
    clone = ModelClone(Anatomy.of(model))
    clone.set_pad_token_id(-1)
    clone.attend("eager")
    for twin in clone.of.values():
        if isinstance(config := vars(twin).get("config"), PretrainedConfig):
            assert config._attn_implementation == "eager"
    assert clone.root.config.pad_token_id == -1
    assert clone.root.bert.config.pad_token_id != -1
    assert (model.config.to_dict(), model.config._attn_implementation) == before
    text = ModelClone(Anatomy.of(tiny_model("gpt2", mapping="causal-lm")))
    text.set_pad_token_id(5)
    assert text.root.config.pad_token_id == text.root.config.get_text_config().pad_token_id == 5


def test_forwards_that_were_replaced() -> None:
    """Inside blocks they run as they are, bound to the clone if they are bound to the model."""
    model: Any = tiny_model("bert")
    inputs = tiny_inputs(model, padding=None)
    with torch.no_grad():
        expected = model(**inputs).logits
    dense = model.bert.encoder.layer[0].output.dense
    dense.forward = lambda hidden: 0 * nn.Linear.forward(dense, hidden)
    clone = ModelClone(Anatomy.of(model)).root
    with torch.no_grad():
        assert not torch.allclose(clone(**inputs).logits, expected)
        assert torch.equal(clone(**inputs).logits, model(**inputs).logits)
    with pytest.raises(ModelError, match=r"in training mode.*Call model\.eval\(\) first"):
        ModelClone(Anatomy.of(model.train()))
    del dense.forward
    model.bert.forward = lambda **_: None
    with pytest.raises(UnsupportedHeadError, match="the forward of this BertModel was replaced"):
        ModelClone(Anatomy.of(model.eval()))
    model.bert.forward = MethodType(type(model.bert).forward, model.bert)
    bound = ModelClone(Anatomy.of(model)).root
    assert bound.bert.forward.__self__ is bound.bert
    with torch.no_grad():
        assert torch.equal(bound(**inputs).logits, expected)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch.jit
def test_what_is_no_model_of_transformers() -> None:
    model = tiny_model("bert")
    assert unwrap(model) is model
    for other in (nn.Linear(2, 2), nn.DataParallel(model)):
        with pytest.raises(ModelError, match="expected a transformers PreTrainedModel, got torch"):
            unwrap(other)
    scripted = torch.jit.script(nn.Linear(2, 2))
    with pytest.raises(ModelError, match="TorchScript"):
        ModelClone(Anatomy.of(nn.Sequential(scripted)))
