"""The identity of a model."""

from typing import Any

from normxlogit.data.utf8 import lone_surrogate
from normxlogit.errors import ModelError
from normxlogit.model.targets import Problem, label_names
from normxlogit.tasks import Task
from normxlogit.tasks.digest import digest
from normxlogit.tasks.explainer import ModelExplainer


def model_fingerprint(explainer: ModelExplainer) -> dict[str, Any]:
    """Return name, commit, class, dtype, SHA-256 and outputs of a model, as plain data for JSON.

    With those of its attribution head, if it has one.
    """
    model, head = explainer.model, explainer.head
    return {
        "name": explainer.name,
        "revision": getattr(model.config, "_commit_hash", None),
        "architecture": type(model).__name__,
        "dtype": str(model.dtype).removeprefix("torch."),
        "sha256": digest(model, explainer.tokenizer),
        **_outputs(explainer),
        **({} if head is None else {"head": head.identity}),
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
