"""Attribution methods of tokens, summed up over sources."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from normxlogit.query import Query
from normxlogit.results.base import Floats
from normxlogit.results.reductions import check_reduction, reduce_runs
from normxlogit.sources.ablation import TokenSpan
from normxlogit.sources.case import Case


def one_pass(
    case: Case,
    parts: Sequence[TokenSpan],
    *,
    method: str,
    reduce: str = "sum",
    readout: str | None = None,
    **options: Any,
) -> Floats:
    """Scores of the prompt's tokens for a span of the answer, reduced over each part.

    A token's score for a span is the sum of its scores for the span's tokens.

    Args:
        case: the answer and its prompt.
        parts: the parts of the prompt.
        method: the method of tokens.
        reduce: what a part's score is: the "sum" over its tokens, their "mean", or "max", the one
            of the largest magnitude.
        readout: see `normxlogit.model.readouts`.
        options: the method's own.
    """
    reduce = check_reduction("reduce", reduce, method, options)
    query = Query(method=method, readout=readout, options=options)
    attribution = case.generator.continued(case.prompt, case.answer_ids, query)
    attribution = attribution.with_target_axis()
    prompt = attribution.scores[:, : len(case.ids)]  # [answer, prompt]
    spans = np.stack([np.nansum(prompt[numbers], 0) for numbers in case.spans])
    spans[:, attribution.sinks] = np.nan
    scores = np.zeros((len(spans), len(parts)), np.float32)
    for number, (start, end) in enumerate(parts):
        if end > start:
            scores[:, number] = reduce_runs(spans[:, start:end], np.array([0]), reduce)[:, 0]
    return np.nan_to_num(scores)
