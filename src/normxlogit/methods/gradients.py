"""Gradients of the output with respect to the word embeddings.

They are taken at the embeddings that the model itself looks up, with all its other inputs as well.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from normxlogit.data.option_checks import one_of
from normxlogit.errors import OptionError
from normxlogit.methods.context import MethodContext
from normxlogit.methods.paper_passes import NotebookReruns
from normxlogit.methods.registry import implement
from normxlogit.methods.scores import MethodScores
from normxlogit.model.reruns import Reruns


@implement("gradient_norm")
def gradient_norm(
    context: MethodContext, norm: str | None = None, compat: str | None = None
) -> MethodScores:
    """||df(x)/dx_i||_p of the model's output f at word embedding x_i.

    Simonyan et al. 2014, Deep Inside Convolutional Networks; Li et al. 2016, Visualizing and
    Understanding Neural Models in NLP.

    Cost: a further forward and, for each target, a backward pass. Never negative: it tells how
    strongly the output answers to small changes of a token, not for or against what.

    Args:
        context: the forward pass and what to explain of it.
        norm: "l2", the default, or "l1".
        compat: "paper" to compute as the NormXLogit paper's notebook does: L1, texts embedded
            twice.
    """
    reruns = choose_reruns(context, compat)
    default = "l1" if compat else "l2"
    norm = default if norm is None else one_of("norm", norm, ("l1", "l2"))
    order = 1 if norm == "l1" else 2

    def length(gradient: Tensor, _embedding: Tensor) -> Tensor:
        norms: Tensor = torch.linalg.vector_norm(gradient, ord=order, dim=-1)
        return norms

    scores = context.of_rows(reruns.gradients(length))[:, :, None]
    return MethodScores(scores, unsigned="larger gradient")


@implement("gradient_x_input")
def gradient_x_input(
    context: MethodContext, reduce: str | None = None, compat: str | None = None
) -> MethodScores:
    """Sum over the width of x_i * df(x)/dx_i, at word embedding x_i.

    Shrikumar et al. 2016, Not Just a Black Box; Denil et al. 2014, Extraction of Salient Sentences
    from Labelled Documents.

    Cost: a further forward and, for each target, a backward pass. Exact for a linear model; for
    others a first guess, noisy where the output saturates.

    Args:
        context: the forward pass and what to explain of it.
        reduce: "sum", the default, keeps the sign; "l1" sums absolute values, as the NormXLogit
            paper's experiments do.
        compat: "paper" to compute as the NormXLogit paper's notebook does: L1, texts embedded
            twice.
    """
    reruns, reduction = choose_reruns(context, compat), choose_reduction(reduce, compat)
    products = reruns.gradients(lambda gradients, vectors: reduction(gradients * vectors))
    return MethodScores(context.of_rows(products)[:, :, None], unsigned=reduction.unsigned)


def choose_reruns(context: MethodContext, compat: str | None) -> Reruns:
    """Return the reruns to take gradients of: the notebook's for compat="paper".

    Raises:
        OptionError: `compat` is neither None nor "paper".
    """
    if compat is None:
        return context.reruns
    if not isinstance(compat, str) or compat != "paper":
        raise OptionError(f"compat must be 'paper' or None, got {compat!r:.80}.")
    return context.reruns_by(NotebookReruns)


@dataclass(frozen=True)
class Reduction:
    """Reduces each token's vector to the sum of its entries, or of their absolute values.

    Attributes:
        is_l1: whether absolute values are summed, which loses the sign.
    """

    is_l1: bool

    def __call__(self, vectors: Tensor) -> Tensor:
        """[..., width] -> [...]."""
        return (vectors.abs() if self.is_l1 else vectors).sum(-1)

    @property
    def unsigned(self) -> str | None:
        """The meaning of a high score, if scores have no sign."""
        return "larger share, for or against" if self.is_l1 else None


def choose_reduction(reduce: str | None, compat: str | None) -> Reduction:
    """Return the reduction "sum" or "l1"; by default "l1" for compat="paper", else "sum".

    Raises:
        OptionError: `reduce` is something else.
    """
    default = "l1" if compat else "sum"
    reduce = default if reduce is None else one_of("reduce", reduce, ("sum", "l1"))
    return Reduction(is_l1=reduce == "l1")
