"""What Prometheus reads of a server."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, generate_latest
from prometheus_client.registry import Collector

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_ITEMS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """Counts requests. Each application has its own, so that several share a process."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._paths: Collection[str] = ()
        self._requests = Counter(
            "normxlogit_requests",
            "Requests that were answered.",
            ("path", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "normxlogit_request_seconds",
            "Seconds from a request to the end of its answer.",
            ("path",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._batches = Histogram(
            "normxlogit_batch_items",
            "Texts that were explained together.",
            ("model",),
            buckets=_ITEMS,
            registry=self._registry,
        )
        self._waiting = Gauge(
            "normxlogit_waiting_requests",
            "Requests that wait for a model.",
            ("model", "for"),
            registry=self._registry,
        )

    def name_paths(self, paths: Collection[str]) -> None:
        """Say which paths there are; all others are counted together."""
        self._paths = frozenset(paths)

    def answered(self, path: str, status: int, seconds: float) -> None:
        """Count a request."""
        name = self.name_of(path)
        self._requests.labels(name, str(status)).inc()
        self._seconds.labels(name).observe(seconds)

    def name_of(self, path: str) -> str:
        """Return a path as it is counted."""
        return path if path in self._paths else "other"

    def batches(self, model: str) -> Callable[[int], None]:
        """Return a function that counts a batch of so many texts."""
        return self._batches.labels(model).observe

    def watch_waiting(self, model: str, purpose: str, count: Callable[[], int]) -> None:
        """Read how many requests wait whenever somebody asks."""
        self._waiting.labels(model, purpose).set_function(count)

    def collect(self) -> list[Metric]:
        """Return everything as it stands now."""
        return list(self._registry.collect())

    async def text(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self._registry)


class Joined(Collector):
    """The metrics of several replicas, each with its name as the label `replica`.

    They are not added up: a replica that dies would take its counts out of a sum, and a counter
    must never fall.
    """

    def __init__(self, replicas: Mapping[str, Sequence[Metric]]) -> None:
        """Take what `Metrics.collect` returned, by replica."""
        self._replicas = replicas

    def collect(self) -> Iterable[Metric]:
        """Return each metric once, with the samples of all replicas."""
        families: dict[str, Metric] = {}
        for replica, metrics in self._replicas.items():
            for metric in metrics:
                family = families.setdefault(
                    metric.name, Metric(metric.name, metric.documentation, metric.type)
                )
                family.samples += [
                    sample._replace(labels={**sample.labels, "replica": replica})
                    for sample in metric.samples
                ]
        return families.values()
