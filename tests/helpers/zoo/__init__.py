"""Random tiny models, and inputs for them, of every type in transformers' auto mappings."""

from tests.helpers.zoo.configs import tiny_config
from tests.helpers.zoo.models import MAPPINGS, Mapping, Padding, tiny_inputs, tiny_model

__all__ = ["MAPPINGS", "Mapping", "Padding", "tiny_config", "tiny_inputs", "tiny_model"]
