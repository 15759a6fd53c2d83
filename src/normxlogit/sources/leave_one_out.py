"""Leaving each source out, and asking for the same answer again."""

import math
from collections.abc import Sequence

import numpy as np

from normxlogit.results.base import Floats
from normxlogit.sources.ablation import TokenSpan
from normxlogit.sources.case import Case

THRESHOLD = math.log(2)
"""A source without which a span is at most half as likely is cited. Not calibrated."""


def leave_one_out(case: Case, parts: Sequence[TokenSpan]) -> Floats:
    """log p(span | prompt) - log p(span | prompt without the part), in nats.

    The span's tokens are those of the answer, each given the answer before it. Cost: a forward pass
    for each part; what comes before the part is shared by all. Two parts that say something
    alike get no score for it, as it is still there when either goes.
    """
    whole, *without = case.logprobs([(), *([part] for part in parts)])
    drops: Floats = whole[:, None] - np.stack(without, 1)
    return drops
