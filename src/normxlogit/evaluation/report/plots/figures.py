"""All figures of a report."""

from normxlogit.evaluation.report.plots.curves import draw_curve
from normxlogit.evaluation.report.plots.layer_heatmap import draw_heatmap
from normxlogit.evaluation.report.plots.scatter import draw_scatter
from normxlogit.evaluation.report.plots.style import SETTINGS, Figure
from normxlogit.evaluation.report.view import MAIN, EvaluationView
from normxlogit.show.plot import new_figure


def draw_figures(view: EvaluationView) -> list[Figure]:
    """Draw curves, cost, and maps by layer, as far as there is data for them.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    new_figure(1, 1)  # raises the error that names the extra, where matplotlib is missing
    from matplotlib import rc_context

    names = view.representatives()
    by_share = [metric for metric, about in view.metrics.items() if about["by_ratio"]]
    with rc_context(SETTINGS):
        figures = [
            *(draw_curve(view, metric, names) for metric in by_share),
            draw_scatter(view, names),
            *(draw_heatmap(view, metric) for metric in MAIN),
        ]
    return [figure for figure in figures if figure is not None]
