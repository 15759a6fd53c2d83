"""DecompX: the model's output as a sum of what each token brings to it, through the whole model."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from normxlogit.errors import OptionError, UnsupportedHeadError
from normxlogit.methods.context import MethodContext
from normxlogit.methods.context_mixing.encoder_blocks import (
    FAMILY,
    SERVES,
    WAY_OUT,
    Activation,
    Block,
    Call,
    Inside,
    Linear,
    Norm,
    PartError,
    Step,
    run,
    some_at_a_time,
)
from normxlogit.methods.registry import register
from normxlogit.model.clone import ModelClone
from normxlogit.model.numerics import agree, magnitude, tolerance
from normxlogit.model.objective import Objective
from normxlogit.model.readouts import logit


@register(
    "decompx",
    family=FAMILY,
    cost="4 forwards, 1 a token",
    serves=SERVES,
    source="Modarressi et al. 2023",
    of_output=True,
)
def decompx(context: MethodContext) -> Tensor:
    """C_k[target], what token k brings to the model's output, which is sum_k C_k[target].

    Modarressi et al. 2023, DecompX: Explaining Transformers Decisions by Propagating Token
    Decomposition (ACL).

    Every state is kept as a sum of vectors, x_i = sum_k D_ik, one of each token k, and these go
    through all of the model. Attention: sum_j sum_h A^h_ij W_o^h (W_v D_jk)^h + D_ik, the attention
    being as it is. LayerNorm: g (D_ik - mean(D_ik)) / s_i, s_i that of x_i. Activations f: D_ik
    f(x_i) / x_i, the slope from the origin. Linear layers: W D_ik. A bias b is shared out after
    each of these by |D_ik . b|, "absdot"; those of W_v and W_o as one, but for W_v's in the first
    layer, which goes with its token. In the end the vectors go through the head in the same way,
    where a bias is shared out over all outputs jointly.

    Cost: that of about three further forward passes, and of one for each token; n times the hidden
    states of one layer are in memory. Signed, and complete: that scores add up to the logit is
    checked. Trust it where this counts, and where a method that knows every layer is worth its
    price; attention, deviations and slopes are taken as given, so tokens that steer these and bring
    little get little.

    Raises:
        OptionError: a readout other than the logit, or the value of a regression.
        UnsupportedHeadError: the model's blocks are not those of the BERT family, or its head is
            no chain of layers on one token.
    """
    reruns = context.reruns
    objective = reruns.objective
    if objective.readout is not logit:
        raise OptionError(
            "decompx takes the model's output apart, a logit or a value, and no other readout of "
            "it. Leave readout out."
        )
    weights, clone = context.read_weights(), reruns.clone()
    clone.attend("eager")
    name = type(clone.root).__name__
    scores = torch.zeros(len(weights), reruns.targets, weights.shape[-1], device=weights.device)
    for row, own in enumerate(reruns.own):
        wanted = {
            number: _summands(objective, weights, row, number, name)
            for number in range(reruns.targets)
            if objective.ids[row, number] >= 0
        }
        if not wanted:
            continue
        read = {summand.position for summands in wanted.values() for summand in summands}
        outputs, kept = _outputs(context, clone, row, sorted(read), name)
        size = max(_size(parts) for parts in outputs.values())
        within = tolerance(torch.float32, clone.root.dtype) * size
        for number, summands in wanted.items():
            parts = [s.sign * outputs[s.position][:, s.output] for s in summands]
            found = torch.stack(parts).sum(0)
            total, said = float(found.sum()), float(own[number])
            if not abs(total - said) <= within:
                raise UnsupportedHeadError(
                    f"what the tokens bring to the output of {name} adds up to {total:.5g}, and "
                    f"the output is {said:.5g}: {_CHAIN}"
                )
            scores[row, number, kept] = found.to(scores)
    return context.of_rows(scores)[:, :, None]


_CHAIN = (
    "decompx needs a head that is a chain of Linear, LayerNorm and activations on the final state "
    f"of one token, and adds nothing to it. {WAY_OUT}"
)

_PLAIN = (
    torch.tanh,
    functional.gelu,
    partial(functional.gelu, approximate="tanh"),
    functional.relu,
    functional.silu,
)
"""Activations that heads call as functions, which no hook sees."""


@dataclass(frozen=True)
class _Summand:
    """A part of the number that is explained: an output, added (sign 1) or subtracted (-1), that
    is read at a position.
    """

    position: int
    output: int
    sign: int


def _summands(
    objective: Objective, weights: Tensor, row: int, number: int, name: str
) -> list[_Summand]:
    """What the number that is explained consists of, for a row and one of its targets."""
    if objective.positions is not None:
        position = int(objective.positions[row, number])
    elif objective.span is None:
        (positions,) = weights[row, min(number, weights.shape[1] - 1)].nonzero(as_tuple=True)
        if len(positions) != 1:
            raise UnsupportedHeadError(
                f"the head of {name} reads {len(positions)} tokens together: {_CHAIN}"
            )
        position = int(positions)

    def parts(output: int, sign: int) -> list[_Summand]:
        if objective.span is None:
            return [_Summand(position, output, sign)]
        ends = (0, 1) if output == 2 else (output,)
        return [_Summand(int(objective.span[row, end]), end, sign) for end in ends]

    found = parts(int(objective.ids[row, number]), 1)
    if objective.foils is not None:
        found += parts(int(objective.foils[row, 0]), -1)
    return found


def _outputs(
    context: MethodContext, clone: ModelClone, row: int, read: list[int], name: str
) -> tuple[dict[int, Tensor], Tensor]:
    """What each token of a row brings to the head's outputs, [tokens, outputs], by the position
    that these are read at; and the positions of the row's tokens, int64 [tokens].
    """
    blocks, after, kept = run(context, clone, row)
    tokens = (kept < torch.tensor(read, device=kept.device)[:, None]).sum(-1)
    states, vectors = decompose(blocks, tokens, name)
    return {
        position: _through_head(after, state, parts, int(token))
        for position, token, state, parts in zip(read, tokens, states, vectors, strict=True)
    }, kept


def _size(parts: Tensor) -> float:
    """What rounding is relative to: the largest part or sum of [tokens, outputs]."""
    return float(magnitude(torch.cat([parts, parts.sum(0, keepdim=True)]).abs().amax(0)))


def decompose(blocks: Sequence[Block], read: Tensor, name: str) -> tuple[Tensor, Tensor]:
    """The final states of some tokens, and what each token brings to them.

    Args:
        blocks: all of a model's, in their order.
        read: which tokens, int64 [read].
        name: of the model.

    Returns:
        [read, hidden] and [read, tokens, hidden], which sum over tokens to the former.
    """
    state, vectors = blocks[0].given, None
    count, width = state.shape
    for number, block in enumerate(blocks, 1):
        place = block.given.device
        state, receivers = state.to(place), torch.arange(count, device=place)
        if number == len(blocks):
            receivers = read.to(place)
        inside = block.inside(state)
        if not block.activation.is_pointwise(inside.up):
            raise UnsupportedHeadError(
                f"the activation in layer {number} of {name} does not act on each number alone, so "
                f"it has no slope. {WAY_OUT}"
            )
        if vectors is None:
            weights, bias = block.weights[:, receivers], block.mixed.bias
            vectors = torch.einsum("hij,jhd->ijd", weights, block.brought)
        else:
            given, bias = vectors.to(place), block.bias
            is_whole = len(receivers) == count
            vectors = given if is_whole else given.new_empty(len(receivers), count, width)
            for some in some_at_a_time(count, count * width, place):
                vectors[:, some] = block.passed_on(given[:, some], receivers)
        numbers = count * max(block.up.weight.shape)
        for some in some_at_a_time(len(receivers), numbers, place):
            vectors[some] = _through_block(block, inside, receivers[some], vectors[some], bias)
        state = inside.out
    assert vectors is not None
    return state[read.to(state.device)], vectors


def _through_block(
    block: Block, inside: Inside, receivers: Tensor, vectors: Tensor, bias: Tensor | None
) -> Tensor:
    """From what attention gave to some tokens, but for its bias, to the block's output, both
    [receivers, tokens, hidden].
    """
    vectors = _shared_out(vectors, bias)
    middle = _through(block.first_norm, vectors, inside.first[receivers])
    added, value = middle, inside.middle[receivers]
    for step in block.feed_forward:
        added, value = _through(step, added, value), step(value)
    return _through(block.second_norm, middle + added, inside.second[receivers])


def _through(step: Step, vectors: Tensor, at: Tensor) -> Tensor:
    """Of vectors [..., tokens, inputs] that sum to `at`, [..., inputs], those that sum to the
    step's result, [..., tokens, outputs].
    """
    return _shared_out(step.linear(vectors, at), step.bias)


def _shared_out(vectors: Tensor, bias: Tensor | None) -> Tensor:
    """Vectors [..., tokens, width], each with a part of a bias [width] in proportion to the size of
    its product with it ("absdot").
    """
    if bias is None:
        return vectors
    shares = (vectors @ bias).abs()
    shares = shares / (shares.sum(-1, keepdim=True) + 1e-12)
    return vectors + shares[..., None] * bias


def _through_head(after: Iterable[Call], state: Tensor, vectors: Tensor, token: int) -> Tensor:
    """What each token brings to the head's outputs, [tokens, outputs].

    Args:
        after: the calls of modules that came after the blocks.
        state: the final state of a token, [hidden].
        vectors: what each token brings to it, [tokens, hidden].
        token: its number.
    """
    for step in _chain(after, state, token):
        vectors, state = _through(step, vectors, state), step(state)
    return vectors


@dataclass(frozen=True)
class _Chain:
    """Steps from a token's final state, and what they give."""

    steps: tuple[Step, ...]
    value: Tensor

    def then(self, *steps: Step) -> "_Chain":
        value = self.value
        for step in steps:
            value = step(value)
        return _Chain((*self.steps, *steps), value)


def _chain(after: Iterable[Call], state: Tensor, token: int) -> tuple[Step, ...]:
    """The steps from a token's final state to the last module that was given what one of the
    modules before it, or one of these and an activation, had made of that state.
    """
    chains = [_Chain((), state)]
    for module, given in after:
        if len(given) != 1 or given.dim() not in (2, 3):
            continue
        own = given[0] if given.dim() == 2 else given[0, min(token, given.shape[1] - 1)]
        steps = _steps(module, own.to(state))
        leads = [
            chain.then(*between)
            for chain in chains
            if chain.value.shape == own.shape
            for between in ((), *((Activation(plain),) for plain in _PLAIN))
        ]
        if steps is None or not leads:
            continue
        gaps = [float((lead.value.to(own) - own).abs().max()) for lead in leads]
        nearest = leads[gaps.index(min(gaps))]
        if agree(nearest.value.to(own), own):
            chains.append(nearest.then(*steps))
    return chains[-1].steps


def _steps(module: nn.Module, at: Tensor) -> tuple[Step, ...] | None:
    """What a module does to a vector, which is given; None if that is no such step."""
    if isinstance(module, nn.Dropout | nn.Identity):
        return ()
    try:
        if isinstance(module, nn.Linear):
            return (Linear.of(module, at.dtype),)
        if isinstance(module, nn.LayerNorm):
            return (Norm.of(module, at.dtype),)
    except PartError:
        return None
    activation = Activation(module)
    return (activation,) if activation.is_pointwise(at) else None
