"""The figures of a report."""

from normxlogit.evaluation.report.plots.curves import curve
from normxlogit.evaluation.report.plots.layer_heatmap import heat
from normxlogit.evaluation.report.plots.scatter import scatter
from normxlogit.evaluation.report.plots.style import SETTINGS, Figure
from normxlogit.evaluation.report.view import MAIN, EvaluationView
from normxlogit.show.plot import new_figure


def figures(found: EvaluationView) -> list[Figure]:
    """Curves of the metrics that have them, cost, and maps by layer: those there is data for.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    new_figure(1, 1)
    from matplotlib import rc_context

    names = found.representatives()
    by_share = [metric for metric, about in found.metrics.items() if about["by_ratio"]]
    with rc_context(SETTINGS):
        drawn = [
            *(curve(found, metric, names) for metric in by_share),
            scatter(found, names),
            *(heat(found, metric) for metric in MAIN),
        ]
    return [figure for figure in drawn if figure is not None]
