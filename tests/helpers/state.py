"""The whole state of a model, to show that a call leaves it as it was."""

import copy
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn


def model_state(model: nn.Module) -> dict[str, Any]:
    """The whole state of a model: attributes, containers' contents, weights, modes, config."""
    state: dict[str, Any] = {}
    for name, module in model.named_modules():
        state |= _attributes(name, module)
        state[f"{name} forward"] = "forward" in module.__dict__
    for name, tensor in model.state_dict().items():
        state[f"weight {name}"] = (tensor.data_ptr(), tensor._version, tensor.sum().item())
    config: Any = model.config
    state["config"] = copy.deepcopy(config.to_dict())
    state["config attributes"] = copy.deepcopy(config.__dict__)
    return state


def offloaded_state(model: nn.Module) -> dict[str, Any]:
    """As much of a model's state as can be read without loading offloaded weights."""
    state: dict[str, Any] = {}
    for name, module in model.named_modules():
        state |= _attributes(name, module)
        for hook in _hooks(vars(module).get("_hf_hook")):
            state[f"{name} hook {id(hook)}"] = {
                key: _contents(value) for key, value in vars(hook).items() if key != "weights_map"
            }
        tensors = [*module._parameters.items(), *module._buffers.items()]
        for key, tensor in tensors:
            if tensor is not None:
                place = tensor.device
                has_no_pointer = tensor.is_inference() or type(tensor.data) is not Tensor
                pointer = 0 if place.type == "meta" or has_no_pointer else tensor.data_ptr()
                version = 0 if tensor.is_inference() else tensor._version
                state[f"tensor {name}.{key}"] = (id(tensor), place, version, pointer)
    state["config"] = copy.deepcopy(getattr(model, "config", nn.Module()).__dict__)
    return state


def _attributes(name: str, module: nn.Module) -> dict[str, Any]:
    """The attributes of a module: type and value, or the identities of what a container holds."""
    state: dict[str, Any] = {}
    for key, value in vars(module).items():
        if isinstance(value, (dict, set, list)):
            items = value.items() if isinstance(value, dict) else enumerate(value)
            state[f"{name}.{key}"] = [(k, id(v)) for k, v in items]
        else:
            content = value if isinstance(value, (int, str)) else id(value)
            state[f"{name}.{key}"] = (type(value), content)
    return state


def _hooks(hook: Any) -> Iterator[Any]:
    if hook is not None:
        yield hook
        for inner in getattr(hook, "hooks", ()):
            yield from _hooks(inner)


def _contents(value: Any) -> Any:
    return {k: _contents(v) for k, v in value.items()} if isinstance(value, dict) else repr(value)


def assert_unchanged(before: dict[str, Any], model: nn.Module) -> None:
    """Assert that a model is as it was when `offloaded_state` gave `before`."""
    after = offloaded_state(model)
    assert {k for k in before.keys() | after.keys() if before.get(k) != after.get(k)} == set()
