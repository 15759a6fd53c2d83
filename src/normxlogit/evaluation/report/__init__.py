"""The report of an evaluation: a page, the same in Markdown, and its figures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from normxlogit.data.files import write_whole
from normxlogit.errors import InputError
from normxlogit.evaluation.report.advice import advice
from normxlogit.evaluation.report.blimp import evidence
from normxlogit.evaluation.report.pages.markdown import markdown
from normxlogit.evaluation.report.pages.page import page
from normxlogit.evaluation.report.paired_bootstrap import PairedBootstrap
from normxlogit.evaluation.report.plots.figures import figures
from normxlogit.evaluation.report.plots.layers import by_layer
from normxlogit.evaluation.report.plots.style import Figure, shortened
from normxlogit.evaluation.report.view import EvaluationView
from normxlogit.evaluation.report.vs_random import compare_with_random

if TYPE_CHECKING:
    import pyarrow as pa

FIGURES = "figures"


def write_report(
    folder: Path, results: Mapping[str, Any], scores: "pa.Table", costs: Mapping[str, Any] | None
) -> list[Path]:
    """Write report.html, report.md, figures/*.svg and figures/*.png; the same from the same.

    Args:
        folder: where to; made if it does not exist.
        results: the content of results.json.
        scores: that of scores.parquet, see `records.SCHEMA`.
        costs: that of cost.json; None if costs were not measured.

    Returns:
        What was written.

    Raises:
        InputError: it cannot be written there.
        MissingExtraError: matplotlib is not installed.
    """
    found = EvaluationView(results, costs)
    paired = PairedBootstrap(scores, int(results["settings"]["seed"]))
    random = compare_with_random(found, paired)
    paragraphs = advice(found, paired.difference)
    drawn = figures(found)
    texts = {
        "report.html": page(found, paragraphs, random, drawn, scores),
        "report.md": markdown(found, paragraphs, random, drawn),
    }
    return _written(folder, drawn, texts)


def write_evidence(folder: Path, results: Mapping[str, Any]) -> list[Path]:
    """Write report.md, figures/evidence.svg and figures/evidence.png of a benchmark.

    Args:
        folder: where to; made if it does not exist.
        results: the content of results.json, see `benchmark.blimp`.

    Returns, raises: as `write_report`.
    """
    name = results["settings"]["model"]["name"].rstrip("/").rpartition("/")[-1]
    title = f"Evidence on BLiMP, {shortened(name)}: words of {results['text']['cases']:,} cases"
    figure = by_layer("evidence", title, results["text"])
    return _written(folder, [figure], {"report.md": evidence(results, figure)})


def _written(folder: Path, drawn: Sequence[Figure], texts: Mapping[str, str]) -> list[Path]:
    """Write figures, and then texts by the names of their files."""
    try:
        (folder / FIGURES).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write {folder}: {error.strerror or error}.") from error
    contents: dict[Path, str | bytes] = {}
    for figure in drawn:
        contents[folder / FIGURES / f"{figure.name}.svg"] = figure.svg
        contents[folder / FIGURES / f"{figure.name}.png"] = figure.png
    contents |= {folder / name: text for name, text in texts.items()}
    for path, content in contents.items():
        write_whole(path, content)
    return list(contents)
