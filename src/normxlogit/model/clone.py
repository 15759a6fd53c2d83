"""A structural copy of a model that shares its weights.

Capture needs hooks, and replay needs a trunk that returns given states at once. Both are put on a
clone, never on the user's model, which therefore is the same after a call as before it, whatever
happens in between.
"""

import copy
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial, update_wrapper
from types import FunctionType, MethodType
from typing import Any

import torch
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from normxlogit.errors import ModelError, UnsupportedHeadError

_CONTAINERS = frozenset((dict, OrderedDict, list, set))


def unwrap(model: nn.Module) -> PreTrainedModel:
    """Return the transformers model inside torch.compile's and PEFT's wrappers.

    Raises:
        ModelError: there is no `PreTrainedModel` inside.
        UnsupportedHeadError: the wrapper computes something that the inner model does not (prompt
            learning puts virtual tokens in front of the text).
    """
    inner: Any = getattr(model, "_orig_mod", model)
    if hasattr(inner, "get_base_model"):
        if getattr(getattr(inner, "active_peft_config", None), "is_prompt_learning", False):
            raise UnsupportedHeadError(
                f"{type(inner).__name__} puts virtual tokens before the text (prompt learning), "
                "and these have no place in an attribution to the text. Adapters that change "
                "weights (LoRA and its like) are supported."
            )
        inner = inner.get_base_model()
    if not isinstance(inner, PreTrainedModel):
        raise ModelError(
            f"expected a transformers PreTrainedModel, got {type(inner).__module__}."
            f"{type(inner).__name__}. Load one with AutoModelForSequenceClassification, or take "
            "it out of its wrapper (model.module)."
        )
    return inner


@dataclass(frozen=True)
class Anatomy:
    """A model's modules, sorted by where they are.

    Attributes:
        modules: all of them, the model first.
        stacks: the outermost module lists, which hold blocks.
        outside_stacks: the modules that are not in a stack.
        holders: those of `outside_stacks` that hold a stack or a sub-model, or are one.
    """

    modules: list[nn.Module]
    stacks: list[nn.Module]
    outside_stacks: list[nn.Module]
    holders: list[nn.Module]

    @classmethod
    def of(cls, model: nn.Module) -> "Anatomy":
        """Sort the modules of a model, or of a part of it, in one walk that visits each once."""
        anatomy = cls([], [], [], [])
        seen = set()

        def visit(module: nn.Module, in_stack: bool) -> bool:
            if module in seen:
                return False
            seen.add(module)
            anatomy.modules.append(module)
            # Lists inside blocks (experts, nested stages) are parts of the block, not stacks.
            is_stack = isinstance(module, nn.ModuleList) and not in_stack
            holds = is_stack or isinstance(module, PreTrainedModel)
            for child in module._modules.values():
                if child is not None:
                    holds |= visit(child, in_stack or is_stack)
            if is_stack:
                anatomy.stacks.append(module)
            elif not in_stack:
                anatomy.outside_stacks.append(module)
                if holds:
                    anatomy.holders.append(module)
            return holds

        visit(model, False)
        return anatomy


def blocks_of(stack: nn.Module) -> Iterator[nn.Module]:
    """The blocks of a stack, or of the stacks in it."""
    for block in stack.children():
        if isinstance(block, nn.ModuleList):
            yield from blocks_of(block)
        else:
            yield block


class ModelClone:
    """A copy of a model's module tree in evaluation mode, which shares parameters and buffers.

    Modules are copied with their configuration and the containers that they hold, so hooks, flags,
    replaced children and attributes that a forward sets on its own module stay here. Only what a
    forward writes into a buffer or a nested container in place reaches the model, as it would in
    any forward pass. Forwards that were put on a module and lead back to it (accelerate's, which
    load offloaded weights, and methods) are bound to its copy, so that the weights are loaded into
    the copy; compiled forwards are replaced by what was compiled.

    Attributes:
        root: the copy of the model.
        of: the copy of each of the model's modules.
    """

    def __init__(self, anatomy: Anatomy, *, frozen: bool = False) -> None:
        """Copy a model's modules; plain modules of torch inside blocks are shared.

        Args:
            anatomy: the model's.
            frozen: let the clone's parameters be constants to autograd, so that gradients with
                respect to activations keep nothing that only gradients of weights need.

        Raises:
            ModelError: a module is TorchScript, or dropout cannot be kept from acting.
            UnsupportedHeadError: a forward outside of the blocks was replaced on the instance.
        """
        model = anatomy.modules[0]
        # What gets hooks is always copied: modules outside of stacks, and blocks, which may be
        # plain modules of torch (XLM keeps its LayerNorms in lists).
        hooked = set(anatomy.outside_stacks)
        hooked.update(block for stack in anatomy.stacks for block in blocks_of(stack))
        self.of: dict[nn.Module, nn.Module] = {
            m: m if _can_be_shared(m) and m not in hooked and not frozen else _bare_copy(m)
            for m in anatomy.modules
        }
        if frozen:
            for twin in self.of.values():
                for name, weight in twin._parameters.items():
                    if weight is not None and weight.requires_grad:
                        twin._parameters[name] = nn.Parameter(weight.detach(), False)
        configs: dict[int, PretrainedConfig] = {}
        tied: dict[int, Any] = {}
        for original, twin in self.of.items():
            if twin is original:
                continue
            attributes = twin.__dict__
            attributes["_modules"] = {
                name: None if child is None else self.of[child]
                for name, child in original._modules.items()
            }
            # Modules share configurations; so do their copies.
            if isinstance(config := attributes.get("config"), PretrainedConfig):
                if id(config) not in configs:
                    configs[id(config)] = copy.copy(config)
                attributes["config"] = configs[id(config)]
            for name, value in original.__dict__.items():
                if (bound := self._bound(value)) is not value:
                    attributes[name] = bound
            if "_hf_hook" in attributes:
                attributes["_hf_hook"] = _copy_of_hook(attributes["_hf_hook"], tied)
        # Inside blocks a replaced forward runs as it is; around them replay relies on the class's.
        for module in anatomy.holders:
            if "forward" in vars(module) and self._bound(module.forward) is module.forward:
                raise UnsupportedHeadError(
                    f"the forward of this {type(module).__name__} was replaced on the instance, so "
                    "what its class computes may not be what it computes. Put the change into a "
                    "subclass."
                )
        if model.training and any(
            "forward" in vars(m) and self._bound(m.forward) is m.forward for m in self.of
        ):
            raise ModelError(
                f"this {type(model).__name__} is in training mode and its modules carry forwards "
                "of their own, so dropout cannot be kept from acting. Call model.eval() first."
            )
        self.root: Any = self.of[model]

    def _bound(self, value: Any) -> Any:
        """Bind an attribute that is bound to the model to the copy; return others unchanged."""
        # torch.compile puts a wrapper in the forward's place; what it compiled can be hooked.
        if isinstance(value, FunctionType) and hasattr(value, "_torchdynamo_orig_callable"):
            value = vars(value)["__wrapped__"]
        if type(value) is MethodType and value.__self__ in self.of:
            return MethodType(value.__func__, self.of[value.__self__])
        if type(value) is partial and isinstance(inner := next(iter(value.args), None), nn.Module):
            bound = partial(value.func, self.of[inner], *value.args[1:], **value.keywords)
            return update_wrapper(bound, self._bound(getattr(value, "__wrapped__", bound)))
        return value

    def set_pad_token_id(self, value: int) -> None:
        """Give the clone's configuration a pad token; the model's own is not changed."""
        config = copy.deepcopy(self.root.config)
        config.pad_token_id = value
        config.get_text_config().pad_token_id = value
        self.root.config = config

    def attend(self, implementation: str) -> None:
        """Switch the clone to an attention implementation registered with transformers.

        The model's own configurations are not changed.
        """
        # One memo for all of them, as sub-configurations are shared between modules.
        copies: dict[int, Any] = {}
        for twin in self.of.values():
            if isinstance(config := vars(twin).get("config"), PretrainedConfig):
                twin.config = copy.deepcopy(config, copies)  # type: ignore[assignment]
        for config in copies.values():
            if isinstance(config, PretrainedConfig):
                config._attn_implementation = implementation


def _can_be_shared(module: nn.Module) -> bool:
    """Whether a plain module of torch has no children, mode or own forward to differ in."""
    return (
        not module._modules
        and not module.training
        and "forward" not in vars(module)
        and type(module).__module__.startswith("torch.nn.modules.")
    )


def _bare_copy(module: nn.Module) -> nn.Module:
    if isinstance(module, torch.jit.ScriptModule):
        raise ModelError("TorchScript modules cannot be taken apart. Pass the original model.")
    # By hand, as copy.copy would go through whatever __reduce__ or __getstate__ a class defines.
    twin = module.__class__.__new__(module.__class__)
    attributes = module.__dict__.copy()
    for name, value in attributes.items():
        if type(value) in _CONTAINERS:
            attributes[name] = value.copy() if value else type(value)()
    attributes["training"] = False
    attributes["_compiled_call_impl"] = None
    twin.__dict__ = attributes
    return twin


def _copy_of_hook(hook: Any, tied: dict[int, Any]) -> Any:
    """Copy one of accelerate's hooks, which keep the weights that they load.

    A model's hooks share one map of loaded tied weights; `tied` holds the copy of each such map, by
    the id of the original, so that the copies share one too.
    """
    twin = copy.copy(hook)
    attributes = vars(twin)
    if "hooks" in attributes:
        attributes["hooks"] = [_copy_of_hook(inner, tied) for inner in attributes["hooks"]]
    if (loaded := attributes.get("tied_params_map")) is not None:
        if id(loaded) not in tied:
            tied[id(loaded)] = {pointer: dict(devices) for pointer, devices in loaded.items()}
        attributes["tied_params_map"] = tied[id(loaded)]
    return twin
