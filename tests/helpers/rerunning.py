"""The methods that run the model again, and inputs for them."""

import torch
from torch import Tensor
from transformers import PreTrainedModel

from tests.helpers.zoo import tiny_inputs

GRADIENTS = ["gradient_norm", "gradient_x_input", "integrated_gradients"]
RERUNNING = [*GRADIENTS, "occlusion"]


def row_of_distinct_tokens(
    model: PreTrainedModel, mapping: str = "sequence-classification"
) -> dict[str, Tensor]:
    """A row in which every token occurs once."""
    inputs = tiny_inputs(model, batch=1, padding=None, mapping=mapping)
    ids = inputs["input_ids"]
    ids[0, 1:-1] = torch.arange(10, 10 + ids.shape[1] - 2)
    return inputs
