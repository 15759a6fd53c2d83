"""Integrated gradients (Sundararajan et al. 2017), by captum."""

from typing import Any

import torch
from torch import Tensor

from normxlogit.data.option_checks import as_integer, whole_number
from normxlogit.errors import OptionError
from normxlogit.extras import require
from normxlogit.methods.context import MethodContext
from normxlogit.methods.gradients import choose_reduction, choose_reruns
from normxlogit.methods.registry import implement
from normxlogit.methods.scores import MethodScores
from normxlogit.model.reruns import Reruns, check_finite, differentiable
from normxlogit.text.token_lookup import NO_TEXT

PACE = 6
"""The point at step t of [0, 1] lies at t to this power of the way from the baseline. The integral
is the same, and most steps are taken where models with RMSNorm change most: just above zero, where
300 even steps leave gaps of over 100% on a random Llama, and these less than 0.01%."""


@implement("integrated_gradients")
def integrated_gradients(
    context: MethodContext,
    n_steps: int = 50,
    baseline: Any = "zero",
    reduce: str | None = None,
    compat: str | None = None,
) -> MethodScores:
    """(x_i - b_i) * the mean of df/dx_i on the straight line from b to x, summed over the width.

    Sundararajan et al. 2017, Axiomatic Attribution for Deep Networks (ICML), equation 1.

    Cost: `n_steps` forward and backward passes for each target, several in a batch, by
    Gauss-Legendre quadrature. Scores add up to f(x) - f(b) up to the completeness gap, which the
    result notes as a share of |f(x) - f(b)|; if it is more than a few percent, take more steps.
    They tell what the tokens add to the baseline, so they are as good as that is: a model has
    rarely seen zeros, and more often a mask.

    Args:
        context: the forward pass and what to explain of it.
        n_steps: how many points on the line.
        baseline: where the line begins: "zero"; "mask" or "pad" for the embedding of that token, or
            a token's id; or a vector [width], or for tensors without text [batch, sequence, width].
        reduce: "sum", the default, keeps the sign; "l1" sums absolute values, as the NormXLogit
            paper's experiments do.
        compat: "paper" to compute as the NormXLogit paper's notebook does: L1, texts embedded
            twice, with Gauss-Legendre's own steps.

    Raises:
        OptionError: no such baseline.
        UnsupportedHeadError: the model has no gradients at its word embeddings.
        MissingExtraError: captum is not installed.
    """
    captum = require("captum.attr", "captum", need="integrated gradients need captum")
    n_steps = whole_number("n_steps", n_steps)
    reruns, reduction = choose_reruns(context, compat), choose_reduction(reduce, compat)
    pace = 1 if compat else PACE
    if compat and not (isinstance(baseline, str) and baseline == "zero"):
        raise OptionError("compat='paper' begins at zero. Leave baseline out.")
    scores, gaps = [], []
    with differentiable():
        embeddings = reruns.embeddings  # [rows, sequence, width]
        start = _baseline(baseline, context, reruns, embeddings)
        # Padding stays as it is. Cloned: autograd takes no tensors made in inference mode.
        start = torch.where(reruns.mask.clone()[..., None], start, embeddings)
        rows, ones = reruns.all_rows.clone(), torch.ones_like(embeddings)
        # captum runs a step of all rows together at the least.
        batch_size = max(len(rows), reruns.at_once)
        with torch.no_grad():
            ends = [
                torch.cat(
                    [
                        reruns.values_of_embeddings(end[some], rows[some])
                        for some in reruns.batches(len(rows))
                    ]
                )
                for end in (embeddings, start)
            ]
        reruns.check(ends[0], rows)
        moved = ends[0] - ends[1]  # f(x) - f(b), [rows, targets]
        for n in range(reruns.targets):
            # captum moves `steps` from zeros to ones evenly. By the chain rule its gradient holds
            # (x - b) and the pace, so the integral over `steps` is that over the line.
            def output(steps: Tensor, rows: Tensor, n: int = n) -> Tensor:
                point = start[rows] + steps**pace * (embeddings - start)[rows]
                return reruns.values_of_embeddings(point, rows)[:, n]

            with reruns.differentiating():
                parts: Tensor = captum.IntegratedGradients(output).attribute(
                    ones,
                    torch.zeros_like(ones),
                    additional_forward_args=(rows,),
                    n_steps=n_steps,
                    internal_batch_size=batch_size,
                )
            check_finite(parts)
            gaps.append((parts.sum((1, 2)) - moved[:, n]).abs())
            scores.append(reduction(parts.detach().float()))
    gap = torch.stack(gaps, 1) / moved.abs().clamp_min(1e-12)
    return MethodScores(
        context.of_rows(torch.stack(scores, 1))[:, :, None],
        unsigned=reduction.unsigned,
        notes={"completeness_gap": context.of_rows(gap[..., None])[..., 0]},
    )


def _baseline(baseline: Any, context: MethodContext, reruns: Reruns, embeddings: Tensor) -> Tensor:
    """Return the embeddings to begin at, [rows, sequence, width]."""
    if isinstance(baseline, str) and baseline == "zero":
        return torch.zeros_like(embeddings)
    if isinstance(baseline, Tensor) and baseline.is_floating_point():
        start = baseline.to(embeddings)
        shapes = [embeddings.shape[-1:]] + [embeddings.shape] * (context.lookup is NO_TEXT)
        if start.shape in shapes and start.isfinite().all():
            return start.expand_as(embeddings)
        raise OptionError(
            f"baseline must be finite numbers [{embeddings.shape[-1]}], or for tensors without "
            f"text {list(embeddings.shape)}; got {list(baseline.shape)}."
        )
    if isinstance(baseline, str) and baseline in ("mask", "pad"):
        baseline = context.lookup.token(baseline)
    token = as_integer(baseline)
    if token is None:
        raise OptionError(
            "baseline must be 'zero', 'mask', 'pad', a token's id or a tensor; got "
            f"{baseline!r:.80}."
        )
    reruns.check_token(token)
    return reruns.embedding_of(token).expand_as(embeddings)
