"""What runs the model over a corpus: torch, or another runtime that is handed in."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from normxlogit.query import Query
from normxlogit.tasks import TaskExplainer
from normxlogit.tasks.explainer import ModelExplainer


@dataclass(frozen=True)
class Runner:
    """A model that is ready to explain rows.

    Attributes:
        texts: encodes and explains texts.
        device: where torch runs it; None if something else does.
        record: what the manifest says of the runtime: its settings; of another than torch also its
            version, and how far its explanations are from the model's.
    """

    texts: TaskExplainer
    device: torch.device | None
    record: Mapping[str, Any]


class Runtime(Protocol):
    """A runtime for the model of an explainer.

    Attributes:
        settings: its name and its precision, which a run goes on with only.
    """

    @property
    def settings(self) -> Mapping[str, str]: ...

    def check(self, query: Query) -> None:
        """Refuse what it cannot answer.

        Raises:
            OptionError: the query has a method or an option that it lacks.
            ModelError: it cannot run the model.
        """

    def open(self, query: Query) -> Runner:
        """Make the model ready.

        Raises:
            NormXLogitError: it cannot run the model, or would say something else.
        """


class Torch:
    """The runtime that models are made in, which answers every query."""

    def __init__(self, explainer: ModelExplainer) -> None:
        self._explainer = explainer

    @property
    def settings(self) -> Mapping[str, str]:
        precision = str(self._explainer.model.dtype).removeprefix("torch.")
        return {"name": "torch", "precision": precision}

    def check(self, query: Query) -> None:
        pass

    def open(self, query: Query) -> Runner:  # noqa: ARG002
        explainer = self._explainer
        return Runner(explainer.task_explainer, explainer.model.device, self.settings)
