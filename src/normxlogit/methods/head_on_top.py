"""NormXLogit and its two factors (Abbasi, Modarres, Pilehvar, EMNLP 2025)."""

from torch import Tensor

from normxlogit.methods.context import MethodContext
from normxlogit.methods.registry import implement
from normxlogit.methods.scores import MethodScores


@implement("normxlogit")
def normxlogit(context: MethodContext, norm: str = "embedding") -> Tensor:
    """||x_i^0||_2 * HoT(x_i^L)[target].

    Cost: one forward pass. Trust it to rank what a prediction rests on about as well as gradient
    methods that drop the sign; integrated gradients with the sign kept rank better, at the cost of
    many passes.

    Args:
        context: the forward pass and what to explain of it.
        norm: "embedding" for hidden_states[0], the embedding layer's output, as in the authors'
            code; "word" for the bare word embedding.
    """
    return context.norms(norm) * context.values


@implement("logat")
def logat(context: MethodContext) -> Tensor:
    """HoT(x_i^L)[target], the model's head on each token's final representation.

    Cost: one forward pass.

    Args:
        context: the forward pass and what to explain of it.
    """
    return context.values


@implement("norm")
def norm(context: MethodContext, norm: str = "embedding") -> MethodScores:
    """||x_i^0||_2 (after Oyama et al. 2023), or ||x_i^l||_2 if a layer l is asked for.

    Cost: one forward pass. Never negative, and the same for every target: how much a token carries,
    but not for what.

    Args:
        context: the forward pass and what to explain of it.
        norm: "embedding" or "word", as for `normxlogit`; has no effect on a layer's states.
    """
    states = context.state_norms()
    if states is None:
        return MethodScores(context.norms(norm), unsigned="longer embedding", of_layers=False)
    return MethodScores(states, unsigned="longer state")
