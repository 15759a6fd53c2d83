"""Reports that are written of made-up evaluations."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from normxlogit.evaluation.report.pages.page import page
from normxlogit.evaluation.report.view import EvaluationView
from tests.helpers.pages import HOSTILE, HTMLReader
from tests.helpers.random_evaluation import Data, random_evaluation

FEW_METHODS = ("normxlogit", "gradient_x_input", "integrated_gradients", "occlusion", "random")
LAYERS = tuple(f"{name}:layer={n}" for name in ("normxlogit", "norm") for n in (1, 2, 3))

MANY_LAYERS = tuple(
    f"{name}:layer={n}"
    for name in (
        "normxlogit",
        "logat",
        "attention_rollout",
        "value_zeroing",
        "progressive_inference",
    )
    for n in range(1, 25)
)

HARD_NAME = "integrated_gradients:baseline=<$x$>|" + "你" * 20

CASES: dict[str, Callable[[], tuple[Data, pa.Table]]] = {
    "small": lambda: random_evaluation(FEW_METHODS),
    "all": lambda: random_evaluation(further=True, failed={"lrp": "it <failed>."}, examples=30),
    "layers": lambda: random_evaluation((*FEW_METHODS, *LAYERS), examples=30),
    "many layers": lambda: random_evaluation(MANY_LAYERS, examples=30),
    "regression": lambda: random_evaluation(FEW_METHODS, regression=True, pairs=True, examples=30),
    "unlabelled": lambda: random_evaluation(FEW_METHODS, labelled=False, examples=30),
    "one": lambda: random_evaluation(("normxlogit",), examples=30),
    "random alone": lambda: random_evaluation(("random",), examples=30),
    "hostile": lambda: random_evaluation(
        FEW_METHODS, text=f"{HOSTILE} | [a](b) `c` \u202e \ud7ff", examples=30
    ),
}


def with_hostile_names(results: Data, scores: pa.Table) -> tuple[Data, pa.Table]:
    """The same results with hostile names wherever a name can come from a user."""
    text = json.dumps(results).replace("some/model-for-sentiment", json.dumps(HOSTILE)[1:-1])
    results = json.loads(text)
    results["notes"] = [HOSTILE]
    results["failed"] = {HOSTILE: HOSTILE}
    results["settings"]["data"] = {"dataset": HOSTILE}
    results["examples"]["first_errors"] = [HOSTILE]
    results["examples"]["labels"] = {HOSTILE: 7}
    results["settings"]["operator"] = HOSTILE
    results["settings"]["candidates"][2]["name"] = HARD_NAME
    results = json.loads(
        json.dumps(results).replace('"integrated_gradients"', json.dumps(HARD_NAME))
    )
    results["methods"][HARD_NAME]["method"] = "integrated_gradients"
    results["metrics"]["sufficiency"]["about"] = HOSTILE
    columns = {name: scores[name].to_pylist() for name in ("label", "prediction", "method")}
    columns["method"] = [HARD_NAME if n == "integrated_gradients" else n for n in columns["method"]]
    columns["label"] = columns["prediction"] = [HOSTILE] * len(scores)
    for name, values in columns.items():
        scores = scores.set_column(scores.schema.get_field_index(name), name, pa.array(values))
    return results, scores


class PageReader(HTMLReader):
    """A reader of pages that may break long names."""

    VOID = HTMLReader.VOID | {"wbr"}


@dataclass(frozen=True)
class WrittenReport:
    """A report that was written, and what it was made of."""

    folder: Path
    results: Data
    scores: pa.Table
    paths: list[Path]

    @property
    def html(self) -> str:
        return (self.folder / "report.html").read_text("utf-8")

    @property
    def markdown(self) -> str:
        return (self.folder / "report.md").read_text("utf-8")


def write_page(evaluation: tuple[Data, pa.Table]) -> str:
    """The page of an evaluation, without figures."""
    results, scores = evaluation
    return page(EvaluationView(results, None), [], {}, [], scores)


FIGURES = {"comprehensiveness", "sufficiency"}
