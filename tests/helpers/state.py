"""Everything that can be told of a model, to show that a call leaves it as it was."""

import copy
from typing import Any

from torch import nn


def model_state(model: nn.Module) -> dict[str, Any]:
    """Everything that can be told of a model: attributes, containers' contents, weights, modes."""
    state: dict[str, Any] = {}
    for name, module in model.named_modules():
        for key, value in module.__dict__.items():
            where = f"{name}.{key}"
            if isinstance(value, (dict, set, list)):
                items = value.items() if isinstance(value, dict) else enumerate(value)
                state[where] = [(k, id(v)) for k, v in items]
            else:
                state[where] = (type(value), value if isinstance(value, (int, str)) else id(value))
        state[f"{name} forward"] = "forward" in module.__dict__
    for name, tensor in model.state_dict().items():
        state[f"weight {name}"] = (tensor.data_ptr(), tensor._version, tensor.sum().item())
    config: Any = model.config
    state["config"] = copy.deepcopy(config.to_dict())
    state["config attributes"] = copy.deepcopy(config.__dict__)
    return state
