"""Layer-wise relevance propagation through a model's last blocks only."""

from functools import partial

from normxlogit.data.option_checks import one_of, whole_number
from normxlogit.methods.context import MethodContext
from normxlogit.methods.lrp_passes import LRPReruns
from normxlogit.methods.registry import implement
from normxlogit.methods.scores import MethodScores

BLOCKS = 3


@implement("late_lrp")
def late_lrp(
    context: MethodContext, blocks: int | None = None, reduce: str = "sum"
) -> MethodScores:
    """Sum over the width of h_i * df(x)/dh_i, at token i's state h_i before the last blocks.

    Ali et al. 2022, XAI for Transformers: Better Explanations through Conservative Propagation
    (ICML): the weights of attention and the divisors of norms are constants to the gradient. They
    go down to the word embeddings; the late start is ours, found on six-layer models
    (docs/single-pass.md), where it is more faithful than NormXLogit and than going all the way.

    Cost: a further forward and, for each target, a backward pass through the last blocks only.
    Scores have a sign; for a regression whose value may move either way, take `reduce="abs"`.

    Args:
        context: the forward pass and what to explain of it.
        blocks: how many blocks to go through, from the last; by default 3, or all if there are
            fewer.
        reduce: "sum" keeps the sign; "abs" is the sum's absolute value, for a regression, to ask
            what moves its value in either direction.

    Raises:
        OptionError: there are fewer blocks, or no such `reduce`.
        UnsupportedHeadError: the model has no such blocks, attention or norms.
    """
    most = context.depth
    if blocks is not None:
        blocks = whole_number("blocks", blocks, most=most or None)
    one_of("reduce", reduce, ("sum", "abs"))
    last = min(blocks or BLOCKS, most)
    lrp = partial(LRPReruns, blocks=context.blocks, depth=context.depth, last=last)
    reruns = context.reruns_by(lrp)
    # Reduced from [rows, sequence, width] for each target: [rows, targets, sequence].
    relevance = reruns.gradients(lambda gradients, states: (gradients * states).sum(-1))
    scores = context.of_rows(relevance)[:, :, None]
    if reduce == "abs":
        return MethodScores(scores.abs(), unsigned="larger part, for or against")
    return MethodScores(scores)
