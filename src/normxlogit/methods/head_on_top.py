"""NormXLogit and its two factors (Abbasi, Modarres, Pilehvar, EMNLP 2025)."""

from torch import Tensor

from normxlogit.methods.context import MethodContext
from normxlogit.methods.registry import register
from normxlogit.methods.scores import MethodScores

SOURCE = "Abbasi et al. 2025"


@register(
    "normxlogit",
    family="head on top",
    cost="1 forward",
    serves="all",
    source=SOURCE,
    reads="head",
    has_layers=True,
)
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


@register(
    "logat",
    family="head on top",
    cost="1 forward",
    serves="all",
    source=SOURCE,
    reads="head",
    has_layers=True,
)
def logat(context: MethodContext) -> Tensor:
    """HoT(x_i^L)[target], the model's head on each token's final representation.

    Cost: one forward pass.

    Args:
        context: the forward pass and what to explain of it.
    """
    return context.values


@register(
    "norm",
    family="head on top",
    cost="1 forward",
    serves="all",
    source=SOURCE,
    reads="states",
    has_layers=True,
)
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
