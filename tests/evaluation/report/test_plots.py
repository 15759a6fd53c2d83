"""The plots of a report: what is drawn, whole and legible."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure as Drawing
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from normxlogit import MissingExtraError
from normxlogit.evaluation.report import write_report
from normxlogit.evaluation.report.plots import curves, layer_heatmap, scatter
from normxlogit.evaluation.report.plots.figures import draw_figures
from normxlogit.evaluation.report.plots.style import Figure
from normxlogit.evaluation.report.view import EvaluationView
from tests.helpers.packages import hide_package
from tests.helpers.random_evaluation import STRENGTH, Data, method_costs, random_evaluation
from tests.helpers.reports import FEW_METHODS, FIGURES, WrittenReport


def drawings(
    monkeypatch: pytest.MonkeyPatch, results: Data
) -> dict[str, tuple[Drawing, list[tuple[str, Bbox]]]]:
    """Figures by their names, with the texts that can be seen in them and where they are."""
    kept: dict[str, tuple[Drawing, list[tuple[str, Bbox]]]] = {}

    texts: list[tuple[str, Bbox]] = []
    draw = Text.draw

    def seen(text: Text, renderer: Any) -> None:
        draw(text, renderer)
        if text.get_visible() and text.get_text().strip():
            texts.append((text.get_text(), Text.get_window_extent(text, renderer)))

    def keep(drawing: Drawing, name: str, caption: str) -> Figure:
        texts.clear()
        with monkeypatch.context() as patch:
            patch.setattr(Text, "draw", seen)
            canvas: Any = FigureCanvasAgg(drawing)
            canvas.draw()
        kept[name] = drawing, list(texts)
        return Figure(name, caption, "", b"")

    for module in (curves, scatter, layer_heatmap):
        monkeypatch.setattr(module, "saved", keep)
    draw_figures(EvaluationView(results, method_costs(results)))
    return kept


@pytest.mark.parametrize("case", ["small", "all", "layers", "many layers", "hostile"])
def test_texts_in_figures_are_whole_and_cover_no_other(
    monkeypatch: pytest.MonkeyPatch, reports: dict[str, WrittenReport], case: str
) -> None:
    for name, (drawing, texts) in drawings(monkeypatch, reports[case].results).items():
        width, height = drawing.get_size_inches() * drawing.dpi
        assert len(texts) > 10
        for text, box in texts:
            assert box.x0 >= 0, (name, text)
            assert box.y0 >= 0, (name, text)
            assert box.x1 <= width, (name, text)
            assert box.y1 <= height, (name, text)
        for (text, one), (other_text, other) in itertools.combinations(texts, 2):
            across = min(one.x1, other.x1) - max(one.x0, other.x0)
            up = min(one.y1, other.y1) - max(one.y0, other.y0)
            assert across <= 0 or up <= 0, (name, text, other_text)


def rounded(values: Any) -> tuple[float, ...]:
    return tuple(np.round(np.array(values, float), 9).tolist())


def test_every_method_is_drawn_and_named(
    monkeypatch: pytest.MonkeyPatch, reports: dict[str, WrittenReport]
) -> None:
    results = reports["all"].results
    drawn = drawings(monkeypatch, results)
    for name in ("comprehensiveness", "cost"):
        assert set(STRENGTH) <= {text for text, _ in drawn[name][1]}
    (axes,) = drawn["comprehensiveness"][0].axes
    values = {rounded(line.get_ydata()) for line in axes.lines}
    for one in results["methods"].values():
        assert rounded(one["figures"]["comprehensiveness"]["by_ratio"]) in values
    (axes,) = drawn["cost"][0].axes
    points = {rounded(point) for line in axes.lines for point in np.array(line.get_xydata())}
    for name, one in results["methods"].items():
        value = one["figures"]["comprehensiveness"]["value"]
        assert rounded([STRENGTH[name][1], value]) in points


def test_maps_by_layer(monkeypatch: pytest.MonkeyPatch, reports: dict[str, WrittenReport]) -> None:
    results = reports["layers"].results
    drawn = drawings(monkeypatch, results)
    for metric in FIGURES:
        (axes,) = drawn[f"layers_{metric}"][0].axes
        (image,) = axes.images
        expected = [
            [results["methods"][f"{m}:layer={n}"]["figures"][metric]["value"] for n in (1, 2, 3)]
            for m in ("normxlogit", "norm")
        ]
        names = [label.get_text() for label in axes.get_xticklabels()]
        assert [label.get_text() for label in axes.get_yticklabels()] == ["1", "2", "3"]
        shown = np.array(image.get_array()).T.tolist()
        found = dict(zip(names, shown, strict=True))
        assert sorted(found) == ["norm", "normxlogit"]
        assert found["normxlogit"] == pytest.approx(expected[0])
        assert found["norm"] == pytest.approx(expected[1])
        best = image.to_rgba(np.array([min(map(min, expected)), max(map(max, expected))]))
        bright = best[:, :3].sum(1)
        assert (bright[1] > bright[0]) == (metric == "comprehensiveness")
    drawn_lines = {text for text, _ in drawn["comprehensiveness"][1]}
    assert {"normxlogit", "norm:layer=3"} < drawn_lines
    assert {"normxlogit:layer=3", "norm:layer=2"}.isdisjoint(drawn_lines)


def luminance(color: Sequence[float]) -> float:
    """Of a colour, from 0 to 1 for each of red, green and blue, as WCAG 2 has it."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in color]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_numbers_in_maps_are_not_too_faint(
    monkeypatch: pytest.MonkeyPatch, reports: dict[str, WrittenReport]
) -> None:
    drawn = drawings(monkeypatch, reports["many layers"].results)
    for metric in FIGURES:
        (axes,) = drawn[f"layers_{metric}"][0].axes
        (image,) = axes.images
        colors = image.to_rgba(np.array(image.get_array()))[..., :3]
        assert len(axes.texts) == colors[..., 0].size > 100
        for text in axes.texts:
            column, row = (int(at) for at in text.get_position())
            both = [luminance(to_rgb(text.get_color())), luminance(colors[row, column].tolist())]
            assert (max(both) + 0.05) / (min(both) + 0.05) > 4.5


def test_without_matplotlib_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    results, scores = random_evaluation(FEW_METHODS, examples=5)
    hide_package(monkeypatch, "matplotlib")
    with pytest.raises(MissingExtraError, match=r'pip install "normxlogit\[plot\]"'):
        write_report(tmp_path / "new", results, scores, None)
    assert not (tmp_path / "new").exists()
