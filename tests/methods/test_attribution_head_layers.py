"""What an attribution head keeps of its layers: no more than it needs, and that is right."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from benchmarks.measure import peak_bytes
from normxlogit import attribute
from normxlogit.methods.attribution_head import AttributionHead
from normxlogit.methods.attribution_head.head import EmptyOutcomes, FitRecord, UsualStates
from normxlogit.methods.attribution_head.network import HeadNetwork
from normxlogit.model.targets import Problem
from tests.helpers.zoo.models import tiny_model

WIDTH, COMPONENTS, OUTPUTS = 4, 3, 3
UNLIKE = "distance from the texts it was fitted on"


def random_head(hidden: int, layers: tuple[int, ...], outputs: int = OUTPUTS) -> AttributionHead:
    """A head of random numbers; none of its parts is such that it could be left out."""
    torch.manual_seed(0)
    features = hidden * len(layers)
    network = HeadNetwork(features, WIDTH, outputs).eval().requires_grad_(False)
    network.mean.normal_()
    network.deviation.uniform_(0.5, 2)
    components = torch.linalg.qr(torch.randn(features, COMPONENTS)).Q.T.contiguous()
    return AttributionHead(
        network,
        EmptyOutcomes(torch.arange(1, 20), torch.randn(19, outputs)),
        UsualStates(torch.randn(features), torch.rand(features) + 0.5, components, 2.0),
        FitRecord({}, Problem.SINGLE_LABEL, layers, "mask", {}, {}, {}, {}),
    )


def a_batch(rows: int, longest: int, side: str, pad: int = 0) -> dict[str, Tensor]:
    """Random ids of rows of which the first is the longest, padded on one side."""
    torch.manual_seed(1)
    mask = torch.zeros(rows, longest, dtype=torch.int64)
    for row in range(rows):
        length = max(3, longest - row)
        mask[row, -length if side == "left" else 0 :][:length] = 1
    ids = torch.randint(5, 20, mask.shape).where(mask > 0, pad)
    return {"input_ids": ids, "attention_mask": mask}


@torch.no_grad()
def by_hand(model: Any, ids: Tensor, head: AttributionHead) -> tuple[Tensor, Tensor, float]:
    """A text's scores [outputs, words], base [outputs] and distance, from the model's own states.

    The first and the last token are no words, and every other one is.
    """
    mask = torch.ones_like(ids)[None]
    output = model(input_ids=ids[None], attention_mask=mask, output_hidden_states=True)
    states = torch.cat([output.hidden_states[layer][0] for layer in head.layers], -1).double()
    network, usual = head.network.double(), head.usual
    standard = (states - network.mean) / network.deviation
    values = network.outer(torch.nn.functional.gelu(network.inner(standard)))[1:-1]
    network.float()
    logits = output.logits[0].double() - output.logits[0].double().mean()
    empty = head.empty.logits[len(ids) - 1].double()  # of lengths from 1
    base = empty - empty.mean()
    scores = values + (logits - base - values.sum(0)) / len(values)
    of_text = (states.mean(0) - usual.mean) / usual.deviation
    rest = of_text - usual.components.T.double() @ (usual.components.double() @ of_text)
    return scores.T, base, float(rest.square().mean().sqrt() / usual.limit)


@pytest.mark.parametrize(
    ("model_type", "side"),
    [("bert", "right"), ("xlnet", "left"), ("gpt2", "right"), ("llama", "left")],
)
@pytest.mark.parametrize(("rows", "longest"), [(3, 7), (5, 5), (7, 4), (1, 6)])
def test_scores_are_the_formula_on_the_models_own_states(
    model_type: str, side: str, rows: int, longest: int
) -> None:
    """Of blocks that work on [sequence, batch, hidden] too, also where both are as long."""
    model = tiny_model(model_type)
    head = random_head(int(model.config.hidden_size), (0, 1))
    inputs = a_batch(rows, longest, side, int(model.config.pad_token_id or 0))
    masks = inputs["attention_mask"].bool()
    words = torch.arange(-1, longest - 1).expand(rows, -1).clone()
    for row, mask in enumerate(masks):
        words[row, ~mask] = -1
        words[row, mask.nonzero().flatten()[[0, -1]]] = -1
    result = attribute(model, inputs, target="all", head=head, unit=words)
    assert result.base is not None
    for row, mask in enumerate(masks):
        scores, base, distance = by_hand(model, inputs["input_ids"][row, mask], head)
        actual = result.scores[row][:, mask][:, 1:-1].double()
        torch.testing.assert_close(actual, scores, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(result.base[row].double(), base, rtol=1e-5, atol=1e-6)
        notes = result.notes[UNLIKE][row].tolist()
        assert notes == pytest.approx([distance] * OUTPUTS, rel=1e-5)


def test_no_layer_is_kept_whole() -> None:
    """Peak memory is the forward pass's, and little more than what the head makes of layers."""
    model: Any = tiny_model("bert", hidden_size=64, intermediate_size=128, num_hidden_layers=6)
    inputs = a_batch(4, 48, "right")
    words = torch.where(inputs["attention_mask"] > 0, torch.arange(48), -1)
    head = random_head(64, (0, 2, 4, 6))

    @torch.inference_mode()
    def forward() -> Any:
        return model(**inputs).logits

    explain = partial(attribute, model, inputs, head=head, unit=words)
    forward(), explain()  # what is made once is made
    assert peak_bytes(explain) <= 1.15 * peak_bytes(forward)
