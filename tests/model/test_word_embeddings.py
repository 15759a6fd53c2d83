"""The word embeddings of a sequence, noted or replaced where a model looks them up."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from normxlogit.errors import UnsupportedHeadError
from normxlogit.model.clone import Anatomy
from normxlogit.model.word_embeddings import EmbeddingHook, word_embeddings
from tests.helpers.zoo import tiny_model

SOURCE, TARGET = torch.tensor([[3, 4, 5], [6, 7, 8]]), torch.tensor([[1, 2], [2, 1]])
BOTH = torch.cat([SOURCE, TARGET], 1)
PARTS = [slice(3), slice(3, None)]


class Table(nn.Embedding):
    """Word embeddings that take ids by name too."""

    def __init__(self) -> None:
        super().__init__(10, 4)
        self.weight.data = torch.randn(10, 4, generator=torch.Generator().manual_seed(0))


def looked_up(hook: EmbeddingHook, *calls: Tensor) -> list[Tensor]:
    table = Table()
    table.register_forward_hook(hook, with_kwargs=True)
    with torch.no_grad():
        outputs = [table(calls[0]), *(table(input=ids) for ids in calls[1:])]
    hook.check("Model")
    return outputs


def test_embeddings_are_noted() -> None:
    table = Table().weight.detach()
    padded = nn.functional.pad(SOURCE, (0, 2))
    for ids, parts, calls in (
        (SOURCE, [slice(None)], [SOURCE]),
        (SOURCE, [slice(None)], [SOURCE, SOURCE]),
        (SOURCE, [slice(None)], [padded]),  # to a multiple of a block
        (SOURCE, [slice(None)], [SOURCE.mT]),  # time first
        (BOTH, PARTS, [SOURCE, TARGET]),
    ):
        hook = EmbeddingHook(ids, parts, None)
        outputs = looked_up(hook, *calls)
        for call, output in zip(calls, outputs, strict=True):
            assert torch.equal(output, table[call])
        assert torch.equal(torch.cat(hook.leaves, 1), table[ids])
        assert not any(leaf.requires_grad for leaf in hook.leaves)


def test_leaves_have_gradients_where_these_are_on() -> None:
    hook, table = EmbeddingHook(SOURCE, [slice(None)], None), Table()
    table.register_forward_hook(hook, with_kwargs=True)
    (table(SOURCE) ** 2).sum().backward()
    gradient = hook.leaves[0].grad
    assert gradient is not None
    assert torch.equal(gradient, 2 * table.weight[SOURCE])


def test_embeddings_are_replaced() -> None:
    table, others = Table().weight.detach(), torch.arange(40.0).reshape(2, 5, 4)
    outputs = looked_up(EmbeddingHook(BOTH, PARTS, others), SOURCE, TARGET)
    assert torch.equal(torch.cat(outputs, 1), others)
    (output,) = looked_up(EmbeddingHook(SOURCE, [slice(None)], others[:, :3]), SOURCE.mT)
    assert torch.equal(output, others[:, :3].transpose(0, 1))
    padded = nn.functional.pad(SOURCE, (0, 2), value=9)
    (output,) = looked_up(EmbeddingHook(SOURCE, [slice(None)], others[:, :3]), padded)
    assert torch.equal(output[:, :3], others[:, :3])
    assert torch.equal(output[:, 3:], table[padded[:, 3:]])


def test_a_decoder_looks_the_source_up_again_one_to_the_right() -> None:
    table, shifted = Table().weight.detach(), torch.cat([torch.tensor([[2], [2]]), SOURCE], 1)
    whole = [slice(None)]
    hook = EmbeddingHook(SOURCE, whole, None)
    assert torch.equal(looked_up(hook, SOURCE, shifted[:, :-1])[1], table[shifted[:, :-1]])
    others = torch.arange(24.0).reshape(2, 3, 4)
    output = looked_up(EmbeddingHook(SOURCE, whole, others), SOURCE, shifted[:, :-1])[1]
    assert torch.equal(output[:, 0], table[shifted[:, 0]])
    assert torch.equal(output[:, 1:], others[:, :-1])


def test_output_embeddings_that_are_tied_are_none_of_a_word() -> None:
    hook = EmbeddingHook(SOURCE, [slice(None)], None)
    assert hook(None, (torch.ones(2, 3),), {}, torch.ones(2, 3, 4)) is None
    with pytest.raises(UnsupportedHeadError):
        hook.check("Model")
    assert hook(None, (), {"input": SOURCE}, torch.ones(2, 3, 4)) is not None
    hook.check("Model")


@pytest.mark.parametrize(
    "calls",
    [
        [SOURCE.flip(1)],
        [SOURCE, SOURCE.flip(1)],
        [SOURCE[:, :2]],
        [SOURCE[None]],
        [torch.cat([torch.tensor([[2], [2]]), SOURCE[:, :-1]], 1)],  # shifted before it is not
    ],
)
def test_what_is_looked_up_otherwise_is_refused(calls: list[Tensor]) -> None:
    with pytest.raises(UnsupportedHeadError, match="does not look up the word embeddings"):
        looked_up(EmbeddingHook(SOURCE, [slice(None)], None), *calls)
    with pytest.raises(UnsupportedHeadError, match="Model does not"):
        looked_up(EmbeddingHook(BOTH, PARTS, None), SOURCE)


def test_tables_of_word_embeddings() -> None:
    """Those of the weights that the model names, or of their measures where these are elsewhere."""
    model: Any = tiny_model("bart", mapping="seq2seq-lm", vocab_size=120)
    tables = word_embeddings(model, Anatomy.of(model))
    weight = model.get_input_embeddings().weight
    assert tables
    assert {id(m.weight) for m in tables} == {id(weight)}
    size, padding = weight.shape[1], model.get_input_embeddings().padding_idx
    model.alike = nn.Embedding(120, size, padding)
    model.more = nn.Embedding(121, size, padding)
    model.unpadded = nn.Embedding(120, size, padding + 1)
    model.linear = nn.Linear(size, 120)
    assert word_embeddings(model, Anatomy.of(model)) == tables
    for module in [*tables, model.alike, model.more, model.unpadded, model.linear]:
        module.weight = nn.Parameter(module.weight.to("meta"))
    expected = [m for m in tables if isinstance(m, nn.Embedding)] + [model.alike]
    assert word_embeddings(model, Anatomy.of(model)) == expected
