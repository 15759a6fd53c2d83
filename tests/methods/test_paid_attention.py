"""What heads pay to parts of a prompt, held against all the maps that the model returns at once."""

import copy

import pytest
import torch

from normxlogit import UnsupportedHeadError
from normxlogit.methods.context_mixing.paid_attention import paid_attention
from tests.helpers.state import model_state
from tests.helpers.zoo import tiny_model

GROUPS = [[3, 7], [11]]
PARTS = [(0, 2), (2, 3), (4, 9)]


@pytest.mark.parametrize("kind", ["llama", "gpt2", "qwen2", "gemma3_text"])
def test_sums_of_the_models_own_maps(kind: str) -> None:
    model = tiny_model(kind, mapping="causal-lm")
    ids = torch.arange(5, 17)
    paid = paid_attention(model, ids, GROUPS, PARTS)
    eager = copy.deepcopy(model)
    eager.set_attn_implementation("eager")
    with torch.no_grad():
        maps = eager(ids[None], output_attentions=True).attentions
    for layer, attention in enumerate(maps):
        for group, positions in enumerate(GROUPS):
            for part, (start, end) in enumerate(PARTS):
                for head in range(attention.shape[1]):
                    expected = sum(
                        float(attention[0, head, p, start:end].sum()) for p in positions
                    ) / len(positions)
                    assert float(paid[group, layer, head, part]) == pytest.approx(
                        expected, abs=1e-6
                    )
    assert paid.shape == (2, len(maps), maps[0].shape[1], 3)


def test_the_model_stays_as_it_was() -> None:
    model = tiny_model("llama", mapping="causal-lm")
    before = model_state(model)
    paid_attention(model, torch.arange(5, 17), GROUPS, PARTS)
    assert model_state(model) == before


def test_a_model_without_attention_is_refused() -> None:
    model = tiny_model("mamba", mapping="causal-lm")
    with pytest.raises(UnsupportedHeadError, match="leave_one_out"):
        paid_attention(model, torch.arange(5, 17), GROUPS, PARTS)
