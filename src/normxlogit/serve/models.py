"""The models of a server: what each is called, what it can do, and how it answers."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from normxlogit.corpus.threads import thread_count, worker_threads
from normxlogit.errors import OptionError
from normxlogit.explainer import Explainer
from normxlogit.serve.batching import Lane, Work
from normxlogit.serve.limits import (
    GATHERED,
    TOGETHER,
    Limits,
    NotFoundError,
    UnavailableError,
)
from normxlogit.serve.metrics import Metrics
from normxlogit.tasks import Task

_OF_TEXTS = tuple(task for task in Task if task not in (Task.IMAGE, Task.AUDIO))
_ENDPOINTS = {
    "explain": _OF_TEXTS,
    "compare": _OF_TEXTS,
    "verify": (Task.TEXT,),
    "generate": (Task.CAUSAL, Task.SEQ2SEQ),
    "sources": (Task.CAUSAL,),
}
"""What can be asked of models of each kind."""
_LONG = ("generate", "sources")
"""What takes seconds, and so has a thread of its own: short answers do not wait for it."""


class ServedModel:
    """A model that answers requests.

    Attributes:
        name: what requests call it.
        explainer: explains its predictions; results call it by the same name.
    """

    def __init__(self, name: str, explainer: Explainer) -> None:
        """Take a model; `running` starts its threads."""
        self.name = name
        if explainer.name != name:
            # Results name the model as requests do, and not by a path of this machine.
            explainer = Explainer(
                explainer.model, explainer.tokenizer, name=name, head=explainer.head
            )
        self.explainer = explainer
        self.endpoints = [e for e, tasks in _ENDPOINTS.items() if self.explainer.task in tasks]
        self._lanes: dict[str, Lane] = {}

    @contextmanager
    def running(self, limits: Limits, metrics: Metrics) -> Iterator[None]:
        """Start the model's threads, within an event loop, and end them."""
        device = self.explainer.model.device
        with worker_threads(device) as short, ThreadPoolExecutor(1) as long:
            self._lanes = {
                "short": Lane(
                    short,
                    thread_count(device),
                    queue=limits.queue,
                    together=TOGETHER,
                    gathered=GATHERED,
                    observe=metrics.batches(self.name),
                ),
                "long": Lane(long, 1, queue=limits.queue),
            }
            for purpose, lane in self._lanes.items():
                metrics.watch_waiting(self.name, purpose, lane.waiting)
            yield

    def check_serves(self, endpoint: str) -> None:
        """Raise `OptionError` if this kind of model has no such answers."""
        if endpoint not in self.endpoints:
            others = ", ".join(self.endpoints) or "nothing"
            raise OptionError(
                f"model {self.name!r} is for {self.explainer.task.value}, which has no "
                f"{endpoint}. It serves: {others}."
            )

    async def together(
        self, work: Work, items: Sequence[Any], *, key: str, length: int
    ) -> Sequence[Any]:
        """Return answers about items, computed with those of other requests; see `Lane.run`."""
        return await self._lanes["short"].run(work, items, key=key, length=length)

    async def alone(self, endpoint: str, work: Callable[[], Any]) -> Any:
        """Return what a function computes in a thread of the model, when it is its turn."""
        lane = self._lanes["long" if endpoint in _LONG else "short"]
        (answer,) = await lane.run(lambda _items: [work()], [None])
        return answer

    def about(self) -> dict[str, Any]:
        """Return what clients may know of the model."""
        explainer, model = self.explainer, self.explainer.model
        has_labels = explainer.task in (Task.TEXT, Task.TOKENS)
        labels = (model.config.id2label or {}) if has_labels else {}
        encoder = getattr(explainer.task_explainer, "encoder", None)
        return {
            "name": self.name,
            "task": explainer.task.value,
            "architecture": type(model).__name__,
            "dtype": str(model.dtype).removeprefix("torch."),
            "labels": [str(label) for _, label in sorted(labels.items())],
            "max_tokens": getattr(encoder, "max_length", None),
            "head": explainer.head is not None,
            "endpoints": list(self.endpoints),
        }


class Models:
    """The models of a server by name.

    Attributes:
        served: those that loaded, in the order in which they were named.
        failed: the names of the others.
    """

    def __init__(self, named: Mapping[str, ServedModel | None]) -> None:
        """Take models by name; None for one that did not load. The first is the default."""
        self._named = dict(named)
        self.served = [model for model in named.values() if model is not None]
        self.failed = [name for name, model in named.items() if model is None]

    def find(self, name: str | None) -> ServedModel:
        """Return the model of that name, or the default.

        Raises:
            NotFoundError: the server was not started with it.
            UnavailableError: it did not load.
        """
        if name is None:
            name = next(iter(self._named))
        if name not in self._named:
            raise NotFoundError(
                f"there is no model {name!r:.80} here. The models: {', '.join(self._named)}."
            )
        model = self._named[name]
        if model is None:
            raise UnavailableError(f"model {name!r} did not load. The server's log says why.")
        return model
