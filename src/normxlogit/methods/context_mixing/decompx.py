"""DecompX: the model's output as a sum of each token's contribution, through the whole model."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from normxlogit.errors import OptionError, UnsupportedHeadError
from normxlogit.methods.context import MethodContext
from normxlogit.methods.context_mixing.encoder_blocks import (
    INSTEAD_OF_DECOMPOSITION,
    Block,
    Call,
    Intermediates,
    chunks,
    run_blocks,
)
from normxlogit.methods.context_mixing.steps import Activation, Linear, Norm, PartError, Step
from normxlogit.methods.registry import implement
from normxlogit.model.clone import ModelClone
from normxlogit.model.numerics import agree, tolerance
from normxlogit.model.readouts import Objective, logit


@implement("decompx")
def decompx(context: MethodContext) -> Tensor:
    """C_k[target], token k's contribution to the model's output, which is sum_k C_k[target].

    Modarressi et al. 2023, DecompX: Explaining Transformers Decisions by Propagating Token
    Decomposition (ACL).

    Every state is kept as a sum of vectors, x_i = sum_k D_ik, one of each token k, and these go
    through all of the model. Attention: sum_j sum_h A^h_ij W_o^h (W_v D_jk)^h + D_ik, its weights A
    as they are. LayerNorm: g (D_ik - mean(D_ik)) / s_i, s_i that of x_i. Activations f: D_ik
    f(x_i) / x_i, the slope from the origin. Linear layers: W D_ik. A bias b is shared out after
    each of these by |D_ik . b|, "absdot"; those of W_v and W_o as one, but for W_v's in the first
    layer, which goes with its token. In the end the vectors go through the head in the same way,
    where a bias is shared out over all outputs jointly.

    Cost: about three further forward passes, and one for each token; n times the hidden states of
    one layer are in memory. Signed, and complete: that scores add up to the logit is checked. Trust
    it where this counts, and where a method that knows every layer is worth its price; attention,
    deviations and slopes are held fixed, so tokens that steer these and contribute little
    themselves get little.

    Args:
        context: the forward pass and what to explain of it.

    Raises:
        OptionError: the readout is neither the logit nor the value of a regression.
        UnsupportedHeadError: the model's blocks are not those of the BERT family, or its head is
            no chain of layers on one token.
    """
    reruns = context.reruns
    objective = reruns.objective
    if objective.readout is not logit:
        raise OptionError(
            "decompx decomposes the model's output, a logit or a value, and no other readout of "
            "it. Leave readout out."
        )
    weights, clone = context.read_weights(), reruns.clone()
    clone.attend("eager")
    name = type(clone.root).__name__
    # [rows, targets, sequence]
    scores = torch.zeros(len(weights), reruns.targets, weights.shape[-1], device=weights.device)
    for row, expected in enumerate(reruns.original):
        wanted = {
            number: _summands(objective, weights, row, number, name)
            for number in range(reruns.targets)
            if objective.ids[row, number] >= 0
        }
        if not wanted:
            continue
        read = {summand.position for summands in wanted.values() for summand in summands}
        outputs, tokens = _outputs(context, clone, row, sorted(read), name)
        dtype, rows = clone.root.dtype, reruns.all_rows[row : row + 1]
        within = reruns.allowed(expected[None], rows, dtype)[0]  # [targets]
        for number, summands in wanted.items():
            signed = torch.stack([s.sign * outputs[s.position][:, s.output] for s in summands])
            contributions = signed.sum(0)
            total, output = float(contributions.sum()), float(expected[number])
            # Contributions are often larger than their sum, and rounding goes with their size.
            cancelling = tolerance(torch.float32, dtype) * float(signed.abs().amax())
            if not abs(total - output) <= float(within[number]) + cancelling:
                raise UnsupportedHeadError(
                    f"the tokens' contributions to the output of {name} add up to {total:.5g}, and "
                    f"the output is {output:.5g}: {_HEAD_NEEDED}"
                )
            scores[row, number, tokens] = contributions.to(scores)
    return context.of_rows(scores)[:, :, None]


_HEAD_NEEDED = (
    "decompx needs a head that is a chain of Linear, LayerNorm and activations on the final state "
    f"of one token, and adds nothing to it. {INSTEAD_OF_DECOMPOSITION}"
)

_ACTIVATION_FUNCTIONS = (
    torch.tanh,
    functional.gelu,
    partial(functional.gelu, approximate="tanh"),
    functional.relu,
    functional.silu,
)
"""Activations that heads call as functions, which no hook sees."""


@dataclass(frozen=True)
class _Summand:
    """A summand of the number to explain: the output read at a position, times a sign, 1 or -1."""

    position: int
    output: int
    sign: int


def _summands(
    objective: Objective, weights: Tensor, row: int, number: int, name: str
) -> list[_Summand]:
    """Return the summands of the number to explain, for a row and one of its targets."""
    if objective.positions is not None:
        position = int(objective.positions[row, number])
    elif objective.span is None:
        (positions,) = weights[row, min(number, weights.shape[1] - 1)].nonzero(as_tuple=True)
        if len(positions) != 1:
            raise UnsupportedHeadError(
                f"the head of {name} reads {len(positions)} tokens together: {_HEAD_NEEDED}"
            )
        position = int(positions)

    def summands(output: int, sign: int) -> list[_Summand]:
        if objective.span is None:
            return [_Summand(position, output, sign)]
        # Question answering: output 0 is read at the span's start, 1 at its end, 2 is their sum.
        ends = (0, 1) if output == 2 else (output,)
        return [_Summand(int(objective.span[row, end]), end, sign) for end in ends]

    of_target = summands(int(objective.ids[row, number]), 1)
    if objective.foils is None:
        return of_target
    return of_target + summands(int(objective.foils[row, 0]), -1)


def _outputs(
    context: MethodContext, clone: ModelClone, row: int, read: list[int], name: str
) -> tuple[dict[int, Tensor], Tensor]:
    """Decompose the head's outputs at some positions of a row.

    Returns:
        By position, each token's contribution to the head's outputs, [tokens, outputs]; and the
        positions of the row's tokens, int64 [tokens].
    """
    blocks, after, tokens = run_blocks(context, clone, row)
    # The row was run without padding: a position's index is the number of tokens before it.
    indices = (tokens < torch.tensor(read, device=tokens.device)[:, None]).sum(-1)
    states, vectors = decompose(blocks, indices, name)
    return {
        position: _through_head(after, state, contributions, int(index))
        for position, index, state, contributions in zip(
            read, indices, states, vectors, strict=True
        )
    }, tokens


def decompose(blocks: Sequence[Block], read: Tensor, name: str) -> tuple[Tensor, Tensor]:
    """Decompose the final states of some tokens into each token's contribution.

    Args:
        blocks: all blocks of a model, in order.
        read: the indices of these tokens, int64 [read].
        name: the model's name, for errors.

    Returns:
        The states [read, hidden], and contributions [read, tokens, hidden] that sum to them over
        tokens.
    """
    state, vectors = blocks[0].states, None
    count, width = state.shape
    for number, block in enumerate(blocks, 1):
        device = block.states.device
        state, receivers = state.to(device), torch.arange(count, device=device)
        if number == len(blocks):
            receivers = read.to(device)
        # Not on the recorded states, which rounding would let drift from the vectors' sum.
        computed = block.compute(state)
        if not block.activation.is_pointwise(computed.up):
            raise UnsupportedHeadError(
                f"the activation in layer {number} of {name} does not act on each number alone, so "
                f"it has no slope. {INSTEAD_OF_DECOMPOSITION}"
            )
        if vectors is None:
            # Before the first block each token is its own only source, so contributions are the
            # decomposition, and b_v, which is in them, goes with its token.
            weights, bias = block.weights[:, receivers], block.projection.bias
            vectors = torch.einsum("hij,jhd->ijd", weights, block.contributions)
        else:
            previous, bias = vectors.to(device), block.bias
            is_whole = len(receivers) == count
            # [receivers, tokens, hidden], over the previous ones where shapes allow: n x n vectors
            # are large, and no chunk of sources reads another.
            vectors = previous if is_whole else previous.new_empty(len(receivers), count, width)
            for some in chunks(count, count * width, device):
                vectors[:, some] = block.propagate(previous[:, some], receivers)
        numbers = count * max(block.up.weight.shape)
        for some in chunks(len(receivers), numbers, device):
            vectors[some] = _through_block(block, computed, receivers[some], vectors[some], bias)
        state = computed.out
    assert vectors is not None
    return state[read.to(state.device)], vectors


def _through_block(
    block: Block, computed: Intermediates, receivers: Tensor, vectors: Tensor, bias: Tensor | None
) -> Tensor:
    """Map contributions after attention, without its bias, to those to the block's output.

    Both are [receivers, tokens, hidden].
    """
    vectors = _share_bias(vectors, bias)
    middle = _through(block.first_norm, vectors, computed.first[receivers])
    added, value = middle, computed.middle[receivers]
    for step in block.feed_forward:
        added, value = _through(step, added, value), step(value)
    return _through(block.second_norm, middle + added, computed.second[receivers])


def _through(step: Step, vectors: Tensor, at: Tensor) -> Tensor:
    """Map vectors [..., tokens, inputs] that sum to `at`, [..., inputs], to vectors that sum to
    the step's result, [..., tokens, outputs].
    """
    return _share_bias(step.linear(vectors, at), step.bias)


def _share_bias(vectors: Tensor, bias: Tensor | None) -> Tensor:
    """Share out a bias [width] over vectors [..., tokens, width], in proportion to the absolute
    value of each one's product with it ("absdot").
    """
    if bias is None:
        return vectors
    shares = (vectors @ bias).abs()  # [..., tokens]
    shares = shares / (shares.sum(-1, keepdim=True) + 1e-12)
    return vectors + shares[..., None] * bias


def _through_head(after: Iterable[Call], state: Tensor, vectors: Tensor, index: int) -> Tensor:
    """Map contributions to a token's final state to those to the head's outputs.

    Args:
        after: the calls of modules after the blocks.
        state: the token's final state, [hidden].
        vectors: each token's contribution to it, [tokens, hidden].
        index: the token's index.

    Returns:
        [tokens, outputs].
    """
    for step in _find_head_steps(after, state, index):
        vectors, state = _through(step, vectors, state), step(state)
    return vectors


@dataclass(frozen=True)
class _Chain:
    """Steps from a token's final state, and their result."""

    steps: tuple[Step, ...]
    value: Tensor

    def then(self, *steps: Step) -> "_Chain":
        value = self.value
        for step in steps:
            value = step(value)
        return _Chain((*self.steps, *steps), value)


def _find_head_steps(after: Iterable[Call], state: Tensor, index: int) -> tuple[Step, ...]:
    """Find the steps from a token's final state to the head's outputs.

    They are those to the last module whose input is the result of a module before it, or of such a
    module and an activation, from that state on.
    """
    # A call shows a module's input, not where that comes from. A module whose input is the result
    # of a chain, up to rounding, is taken to continue it; a wrong chain fails the final sum check.
    chains = [_Chain((), state)]
    for module, argument in after:
        if len(argument) != 1 or argument.dim() not in (2, 3):
            continue
        # [1, inputs] where the head has picked its token, else [1, tokens or 1, inputs].
        at = argument[0] if argument.dim() == 2 else argument[0, min(index, argument.shape[1] - 1)]
        steps = _steps(module, at.to(state))
        leads = [
            chain.then(*between)
            for chain in chains
            if chain.value.shape == at.shape
            for between in ((), *((Activation(f),) for f in _ACTIVATION_FUNCTIONS))
        ]
        if steps is None or not leads:
            continue
        # Nearest, not first: gelu and its tanh approximation agree in half precision.
        gaps = [float((lead.value.to(at) - at).abs().max()) for lead in leads]
        nearest = leads[gaps.index(min(gaps))]
        if agree(nearest.value.to(at), at):
            chains.append(nearest.then(*steps))
    return chains[-1].steps


def _steps(module: nn.Module, at: Tensor) -> tuple[Step, ...] | None:
    """Return a module, whose input is `at`, as steps; None if it is none."""
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
