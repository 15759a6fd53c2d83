"""The report of an evaluation: a page, its Markdown version, and figures."""

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
from normxlogit.evaluation.report.plots.figures import draw_figures
from normxlogit.evaluation.report.plots.layers import draw_by_layer
from normxlogit.evaluation.report.plots.style import Figure, shortened
from normxlogit.evaluation.report.verdicts import compare_with_random
from normxlogit.evaluation.report.view import EvaluationView

if TYPE_CHECKING:
    import pyarrow as pa

FIGURES = "figures"


def write_report(
    folder: Path, results: Mapping[str, Any], scores: "pa.Table", costs: Mapping[str, Any] | None
) -> list[Path]:
    """Write report.html, report.md, figures/*.svg and figures/*.png, deterministically.

    Args:
        folder: the folder to write to, created if it does not exist.
        results: the content of results.json.
        scores: the content of scores.parquet, see `records.SCHEMA`.
        costs: the content of cost.json; None if costs were not measured.

    Returns:
        The paths written.

    Raises:
        InputError: the folder cannot be written to.
        MissingExtraError: matplotlib is not installed.
    """
    view = EvaluationView(results, costs)
    paired = PairedBootstrap(scores, int(results["settings"]["seed"]))
    random = compare_with_random(view, paired)
    paragraphs = advice(view, paired.difference)
    figures = draw_figures(view)
    texts = {
        "report.html": page(view, paragraphs, random, figures, scores),
        "report.md": markdown(view, paragraphs, random, figures),
    }
    return _write(folder, figures, texts)


def without_figures(
    results: Mapping[str, Any], scores: "pa.Table", costs: Mapping[str, Any] | None
) -> str:
    """Return the content of report.md but for its figures; for the arguments see `write_report`."""
    view = EvaluationView(results, costs)
    paired = PairedBootstrap(scores, int(results["settings"]["seed"]))
    return markdown(view, advice(view, paired.difference), compare_with_random(view, paired), [])


def write_evidence(folder: Path, results: Mapping[str, Any]) -> list[Path]:
    """Write report.md, figures/evidence.svg and figures/evidence.png of a benchmark.

    Args:
        folder: the folder to write to, created if it does not exist.
        results: the content of results.json, see `benchmark.run.blimp`.

    Returns, raises: as `write_report`.
    """
    name = results["settings"]["model"]["name"].rstrip("/").rpartition("/")[-1]
    title = f"Evidence on BLiMP, {shortened(name)}: words of {results['text']['cases']:,} cases"
    figure = draw_by_layer("evidence", title, results["text"])
    return _write(folder, [figure], {"report.md": evidence(results, figure)})


def _write(folder: Path, figures: Sequence[Figure], texts: Mapping[str, str]) -> list[Path]:
    """Write figures, and then texts, which are given by file name."""
    try:
        (folder / FIGURES).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write {folder}: {error.strerror or error}.") from error
    contents: dict[Path, str | bytes] = {}
    for figure in figures:
        contents[folder / FIGURES / f"{figure.name}.svg"] = figure.svg
        contents[folder / FIGURES / f"{figure.name}.png"] = figure.png
    contents |= {folder / name: text for name, text in texts.items()}
    for path, content in contents.items():
        write_whole(path, content)
    return list(contents)
