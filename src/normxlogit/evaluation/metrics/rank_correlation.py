"""How alike two rankings of a text's parts are."""

import numpy as np
from scipy.stats import kendalltau

from normxlogit.evaluation.metrics.faithfulness import Floats


def tau(scores: Floats, lost: Floats) -> float:
    """Kendall's rank correlation tau-b of scores with the losses of single units, [units].

    Units without a score (nan) rank lowest. Constant scores say nothing: 0. Constant losses leave
    nothing to rank: nan.
    """
    if len(lost) < 2 or (lost == lost[0]).all():
        return float("nan")
    low = np.where(np.isnan(scores), -np.inf, scores)
    return 0.0 if (low == low[0]).all() else float(kendalltau(low, lost).statistic)
