"""BigBird attends to blocks in texts above some length, and pads them to whole blocks."""

from typing import Any

import pytest
import torch
from torch import Tensor

import normxlogit as nxl
from tests.helpers.zoo import tiny_model

BLOCK, THRESHOLD = 4, 28
"""The blocks' size, and the length up to which one random block leaves attention whole."""


def big_bird() -> Any:
    sizes: Any = {"block_size": BLOCK, "num_random_blocks": 1, "max_position_embeddings": 128}
    return tiny_model("big_bird", attention_type="block_sparse", **sizes)


def expected(ids: Tensor) -> tuple[Tensor, Tensor]:
    """||x^0|| and the head on x^L of the text's tokens, [tokens] and [tokens, labels]."""
    model = big_bird()
    with torch.no_grad():
        states = model.bert(ids).last_hidden_state[0]
        assert model.bert.attention_type == "block_sparse"
        hot = model.classifier(states[:, None])
        return model.bert.embeddings(ids)[0].norm(dim=-1), hot


@pytest.mark.parametrize("length", [THRESHOLD + BLOCK, THRESHOLD + 4 * BLOCK])
def test_texts_of_whole_blocks_are_explained(length: int) -> None:
    ids = torch.randint(20, 100, (1, length), generator=torch.Generator().manual_seed(0))
    norms, hot = expected(ids)
    result = nxl.attribute(big_bird(), {"input_ids": ids}, target=1)
    torch.testing.assert_close(result.scores[0], norms * hot[:, 1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("length", [THRESHOLD + 1, THRESHOLD + 2 * BLOCK - 1])
def test_others_have_no_norm_and_are_explained_by_logat(length: int) -> None:
    ids = torch.randint(20, 100, (1, length), generator=torch.Generator().manual_seed(0))
    _, hot = expected(ids)
    with pytest.raises(nxl.UnsupportedHeadError, match="method='logat' needs no norm"):
        nxl.attribute(big_bird(), {"input_ids": ids}, target=1)
    result = nxl.attribute(big_bird(), {"input_ids": ids}, target=1, method="logat")
    torch.testing.assert_close(result.scores[0], hot[:, 1], rtol=1e-4, atol=1e-5)
