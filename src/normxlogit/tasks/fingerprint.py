"""The identity of a model."""

import hashlib
import json
from typing import Any

import torch

from normxlogit.data.utf8 import lone_surrogate
from normxlogit.errors import ModelError
from normxlogit.model.targets import Problem, label_names
from normxlogit.tasks import Task
from normxlogit.tasks.explainer import ModelExplainer

_SAMPLED = 1024
_INCIDENTAL = ("_name_or_path", "transformers_version", "dtype", "torch_dtype")


def model_fingerprint(explainer: ModelExplainer) -> dict[str, Any]:
    """Return name, commit, class, dtype, SHA-256 and outputs of a model, as plain data for JSON.

    The digest covers the configuration, the tokenizer, and every weight: its name, dtype, shape and
    up to 1024 evenly spaced values. The values of offloaded and quantised weights are left out.
    """
    model = explainer.model
    digest = hashlib.sha256()
    config = model.config.to_dict()
    essential = {key: value for key, value in config.items() if key not in _INCIDENTAL}
    digest.update(json.dumps(essential, sort_keys=True, default=str).encode())
    for key, tensor in sorted(model.state_dict().items()):
        if isinstance(tensor, torch.Tensor):
            digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}".encode())
            digest.update(_sample(tensor))
    digest.update(_tokenizer(explainer.tokenizer))
    return {
        "name": explainer.name,
        "revision": getattr(model.config, "_commit_hash", None),
        "architecture": type(model).__name__,
        "dtype": str(model.dtype).removeprefix("torch."),
        "sha256": digest.hexdigest(),
        **_outputs(explainer),
    }


def _outputs(explainer: ModelExplainer) -> dict[str, Any]:
    """Return a model's task, what its outputs mean, and the names of its labels.

    Raises:
        ModelError: a label cannot be written as UTF-8.
    """
    config, task = explainer.model.config, explainer.task
    if task not in (Task.TEXT, Task.TOKENS):
        problem = Problem.SPAN if task is Task.ANSWER else Problem.TOKEN
        return {"task": task.value, "problem": problem.value, "labels": None}
    count = len(config.id2label or {})
    problem = Problem.of(config, count) if task is Task.TEXT else Problem.SINGLE_LABEL
    labels = list(label_names(config, problem, count))
    for label in labels:
        if lone_surrogate(label):
            raise ModelError(
                f"the model's label {label!r} has half a surrogate pair, which no file of rows can "
                "hold. Give it another name in model.config.id2label."
            )
    return {"task": task.value, "problem": problem.value, "labels": labels}


def _sample(tensor: torch.Tensor) -> bytes:
    is_plain = type(tensor.detach()) in (torch.Tensor, torch.nn.Parameter)
    if tensor.is_meta or tensor.numel() == 0 or not is_plain:
        return b""
    flat = tensor.detach().reshape(-1)
    # float64, for above 2 ** 24 float32 does not count every element.
    indices = torch.linspace(0, len(flat) - 1, min(_SAMPLED, len(flat)), dtype=torch.float64)
    values = flat[indices.long().to(flat.device)]
    if values.is_floating_point():
        values = values.float()  # numpy has no bfloat16
    return values.cpu().contiguous().numpy().tobytes()


def _tokenizer(tokenizer: Any) -> bytes:
    """Return the state of a tokenizer, without the padding and truncation of its last call."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        return json.dumps(tokenizer.get_vocab(), sort_keys=True).encode()
    state = json.loads(backend.to_str())
    state.pop("padding", None)
    state.pop("truncation", None)
    return json.dumps(state, sort_keys=True).encode()
