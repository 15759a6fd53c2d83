"""Hooks are on a clone of the model, never on the model."""

import pytest

from normxlogit.model.clone import Anatomy
from normxlogit.model.trace import ForwardTrace
from tests.helpers.zoo.models import tiny_model


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
