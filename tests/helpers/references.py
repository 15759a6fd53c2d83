"""Numbers computed by the authors' own code, and the models and inputs that they are of."""

import json
from functools import cache
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import AutoConfig, AutoModelForSequenceClassification

from tests.helpers.paths import REFERENCES

REFERENCE_INPUTS = [("bert", n) for n in range(5)] + [("roberta", n) for n in range(4)]
"""Kinds of model and numbers of their texts."""


@cache
def reference_numbers(name: str) -> dict[str, Tensor]:
    """All tensors of a file of `tests/references`, which must not be changed."""
    return load_file(REFERENCES / f"{name}.safetensors")


@cache
def reference_model(kind: str, dtype: torch.dtype) -> Any:
    """The model that the numbers of a kind are of."""
    config = AutoConfig.for_model(**json.loads((REFERENCES / f"{kind}.json").read_text()))
    auto: Any = AutoModelForSequenceClassification
    model = auto.from_config(config)
    model.load_state_dict(reference_numbers(kind))
    return model.to(dtype).eval()


def reference_inputs(kind: str, number: int) -> dict[str, Tensor]:
    """One of the inputs that the numbers of a kind are of: a row."""
    return {
        name: reference_numbers("inputs")[key][None].long()
        for name in ("input_ids", "token_type_ids")
        if (key := f"{kind}/{number}/{name}") in reference_numbers("inputs")
    }
