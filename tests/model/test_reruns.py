"""Further passes of a model: what they are checked for, and that they are of the same question."""

from typing import Any

import pytest
import torch
from torch import Tensor

import normxlogit as nxl
from normxlogit.model import reruns
from normxlogit.model.outputs import PassCounter, counting
from normxlogit.model.readouts import Objective, logit
from normxlogit.model.reruns import check_finite
from tests.helpers.rerunning import GRADIENTS
from tests.helpers.zoo import tiny_inputs, tiny_model


def test_gradients_of_which_some_are_no_numbers_are_refused() -> None:
    check_finite(torch.ones(2, 3))
    for wrong in (torch.nan, torch.inf, -torch.inf):
        gradients = torch.ones(2, 3)
        gradients[1, 2] = wrong
        with pytest.raises(nxl.ModelError, match="not finite numbers"):
            check_finite(gradients)


@pytest.mark.parametrize("method", ["occlusion", "gradient_norm"])
def test_a_batch_of_a_model_without_a_pad_token(method: str) -> None:
    model = tiny_model("llama", pad_token_id=None)
    inputs = tiny_inputs(model, padding=None)
    together = nxl.attribute(model, inputs, method=method).scores
    for row in range(2):
        one = {key: value[row : row + 1] for key, value in inputs.items()}
        alone = nxl.attribute(model, one, method=method).scores[0]
        torch.testing.assert_close(together[row], alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", GRADIENTS)
def test_tokens_that_are_looked_up_in_another_order_have_no_gradients(method: str) -> None:
    model: Any = tiny_model("bert")

    class Backwards(type(model)):  # type: ignore[misc]
        def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
            return super().forward(input_ids.flip(1), attention_mask)

    model.__class__ = Backwards
    with pytest.raises(nxl.UnsupportedHeadError, match="one by one"):
        nxl.attribute(model, tiny_inputs(model, padding=None), method=method)


@pytest.mark.parametrize("contrast", [None, 50])
@pytest.mark.parametrize("readout", ["logit", "logprob", "centered"])
def test_several_tokens_of_one_position(readout: str, contrast: int | None) -> None:
    """The pass kept one position's logits, and the head gives what is read there for each token."""
    model = tiny_model("gpt2", mapping="causal-lm")
    inputs = tiny_inputs(model, padding=None, mapping="causal-lm")
    targets = [30, 40]
    options: dict[str, Any] = {"target": targets, "contrast": contrast, "readout": readout}
    scores = nxl.attribute(model, inputs, method="gradient_norm", norm="l2", **options).scores
    embeds = model.get_input_embeddings()(inputs["input_ids"]).detach().requires_grad_()
    logits = model(inputs_embeds=embeds).logits[:, -1]
    outputs = {
        "logit": logits,
        "logprob": logits.log_softmax(-1),
        "centered": logits - logits.mean(-1, keepdim=True),
    }[readout]
    for number, target in enumerate(targets):
        values = (
            outputs[:, target] if contrast is None else outputs[:, target] - outputs[:, contrast]
        )
        (gradient,) = torch.autograd.grad(values.sum(), embeds, retain_graph=True)
        torch.testing.assert_close(scores[:, number], gradient.norm(dim=-1), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("texts", "logits", "rows"), [(2.0, 10**9, 2), (0.9, 10**9, 1), (10**9, 3, 3), (10**9, 0, 1)]
)
def test_how_many_variants_run_together(
    texts: float, logits: int, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many tokens as these texts have, and so many logits of each of two targets."""
    model = tiny_model("gpt2", mapping="causal-lm")
    inputs = tiny_inputs(model, batch=1, padding=None, mapping="causal-lm")
    options: dict[str, Any] = {"method": "occlusion", "target": [30, 40], "replacement": 9}
    expected = nxl.attribute(model, inputs, **options).scores
    monkeypatch.setattr(reruns, "AT_ONCE", int(texts * inputs["input_ids"].numel()))
    monkeypatch.setattr(reruns, "LOGITS_AT_ONCE", logits * 2 * model.config.vocab_size)
    sizes: list[int] = []
    with counting(PassCounter(sizes.append)):
        scores = nxl.attribute(model, inputs, **options).scores
    torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-5)
    assert max(sizes[1:]) == rows


def test_what_other_inputs_give_has_to_be_numbers() -> None:
    model: Any = tiny_model("bert")
    model.bert.embeddings.word_embeddings.weight.data[9] = torch.inf
    inputs = tiny_inputs(model, padding=None)
    assert nxl.attribute(model, inputs, method="occlusion", replacement=8).scores.isfinite().all()
    with pytest.raises(nxl.ModelError, match="for a variant of its inputs"):
        nxl.attribute(model, inputs, method="occlusion", replacement=9)


def test_one_variant_without_numbers_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    model: Any = tiny_model("bert")
    inputs = tiny_inputs(model, padding=None)
    forward = type(model).forward

    def odd(self: Any, input_ids: Tensor, **others: Any) -> Any:
        output = forward(self, input_ids, **others)
        output.logits = output.logits.masked_fill(input_ids[:, 1:2] == 9, torch.nan)
        return output

    monkeypatch.setattr(type(model), "forward", odd)
    assert nxl.attribute(model, inputs, method="occlusion", replacement=8).scores.isfinite().all()
    with pytest.raises(nxl.ModelError, match="for a variant of its inputs"):
        nxl.attribute(model, inputs, method="occlusion", replacement=9)


def test_a_row_without_its_padding() -> None:
    model = tiny_model("bert")
    ids, mask = torch.arange(8).reshape(2, 4), torch.tensor([[0, 1, 1, 0], [1, 1, 1, 1]])
    numbers, beside = torch.arange(2), torch.ones(3, 4)
    inputs = {"input_ids": ids, "attention_mask": mask, "numbers": numbers, "beside": beside}
    objective = Objective(logit, torch.zeros(2, 1).long())
    runs = reruns.Reruns(model, inputs, ids, mask.bool(), [("", slice(None))], objective, None)
    row, kept = runs.unpadded(0)
    assert kept.tolist() == [1, 2]
    assert row["input_ids"].tolist() == [[1, 2]]
    assert row["attention_mask"].tolist() == [[1, 1]]
    assert row["numbers"].tolist() == [0]
    assert row["beside"] is beside
    assert runs.unpadded(1)[0]["input_ids"].tolist() == [[4, 5, 6, 7]]
    for token in (-1, model.config.vocab_size):
        with pytest.raises(nxl.OptionError, match=f"there is no token {token}; ids go from 0 to"):
            runs.check_token(token)
    for token in (0, model.config.vocab_size - 1):
        runs.check_token(token)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_differences_are_held_against_the_range_of_tokens(dtype: torch.dtype) -> None:
    """Where it is known; else against the size of numbers in the same row. -1 is no target."""
    model, rows = tiny_model("bert"), torch.tensor([1, 0])
    ids, mask = torch.ones(2, 3).long(), torch.ones(2, 3, dtype=torch.bool)
    objective = Objective(logit, torch.tensor([[0, 1], [0, -1]]))
    expected = torch.tensor([[1000.0, 5.0], [10.0, 20.0]])
    width = torch.tensor([[100.0, 1.0], [10.0, 1.0]])
    share, units = (1e-4, 32) if dtype == torch.float32 else (0.05, 4)
    ulp = units * torch.finfo(dtype).eps
    # Of rows 1 and 0; without widths, sizes that are small beside others count four medians.
    for given, allowed in (
        (width, share * width[rows] + ulp * expected),
        (None, (share + ulp) * torch.tensor([[1000.0, 20.0], [20.0, 20.0]])),
    ):
        runs = reruns.Reruns(
            *(model, {"input_ids": ids}, ids, mask, [("", slice(None))], objective, None),
            width=lambda given=given: given,  # type: ignore[misc]
        )
        torch.testing.assert_close(runs.allowed(expected, rows, dtype), allowed)
        assert runs.agree(expected + 0.99 * allowed, expected, rows, dtype)
        assert not runs.agree(expected - 1.01 * allowed, expected, rows, dtype)
        off = torch.tensor([[0.0, 1e9], [0.0, 0.0]])  # of row 1, which has one target
        assert runs.agree(expected + off, expected, rows, dtype)
        assert not runs.agree(expected + off.flip(0), expected, rows, dtype)
