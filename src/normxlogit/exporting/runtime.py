"""A corpus run by an exported graph: exported once, kept, and held against the model each time."""

from dataclasses import asdict, dataclass
from typing import Any

from normxlogit.corpus.runtimes import Runner
from normxlogit.corpus.threads import COUNT
from normxlogit.data.plain import LARGEST_NUMBER
from normxlogit.errors import ModelError
from normxlogit.exporting.agreement import TOGETHER, TOLERANCE, answers_of, drift
from normxlogit.exporting.cache import cached_export
from normxlogit.exporting.exported import ExportedModel
from normxlogit.exporting.runtime_options import check_request, check_runtime
from normxlogit.exporting.writing import check_exportable, trial_items
from normxlogit.query import Query
from normxlogit.tasks.explainer import ModelExplainer


@dataclass(frozen=True)
class GraphRuntime:
    """ONNX Runtime or OpenVINO for the model of an explainer; see `corpus.runtimes.Runtime`.

    Attributes:
        explainer: of the model, in float32.
        name: "onnx" or "openvino".
        precision: what it computes in.
    """

    explainer: ModelExplainer
    name: str
    precision: str

    @property
    def settings(self) -> dict[str, str]:
        """Its name and precision."""
        return {"name": self.name, "precision": self.precision}

    def check(self, query: Query) -> None:
        """Refuse what a graph does not hold, and models that have none."""
        check_request(
            self.name,
            method=query.method,
            options=query.options,
            layer=query.layer,
            readout=query.readout,
            has_head=query.options.get("head") is not None,
        )
        check_exportable(self.explainer)

    def open(self, query: Query) -> Runner:
        """Export the model unless that was done before, and hold the graph against it.

        Raises:
            ModelError: it cannot be exported, or this runtime says something else than the model.
            InputError: the graph cannot be kept.
        """
        explainer = self.explainer.with_head(query.options.get("head"))
        folder = cached_export(explainer, int8=self.precision == "int8")
        exported = ExportedModel(
            folder, self.name, bfloat16=self.precision == "bfloat16", streams=COUNT
        )
        items = trial_items(explainer)
        found = drift(
            answers_of(exported, items, query.method, TOGETHER),
            answers_of(explainer, items, query.method, TOGETHER),
        )
        limit = TOLERANCE if self.precision == "float32" else LARGEST_NUMBER
        if not found.largest_difference <= limit:
            raise ModelError(
                f"the graph in {folder} does not say what {explainer.name} says when {self.name} "
                f"runs it: its numbers by {query.method} are off by {found.largest_difference:.1e} "
                "of the largest. Take another runtime, or delete the folder."
            )
        (version,) = (v for name, v in exported.texts.versions.items() if name != "normxlogit")
        record: dict[str, Any] = {**self.settings, "version": version, "drift": asdict(found)}
        return Runner(exported.texts, None, record)


def find_runtime(
    explainer: ModelExplainer, runtime: str, precision: str | None, engine: str
) -> GraphRuntime | None:
    """Return what runs a corpus other than torch; None for torch.

    Raises as `check_runtime`.
    """
    check_runtime(runtime, precision, engine)
    return None if runtime == "torch" else GraphRuntime(explainer, runtime, precision or "float32")
