"""Shapley values of words by a fitted head, at the price of the forward pass."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from normxlogit.errors import OptionError, UnsupportedHeadError
from normxlogit.methods.attribution_head.games import READOUTS, game_values
from normxlogit.methods.attribution_head.head import AttributionHead
from normxlogit.methods.attribution_head.network import shared_out
from normxlogit.methods.context import MethodContext
from normxlogit.methods.registry import implement
from normxlogit.methods.scores import UNLIKE, MethodScores
from normxlogit.methods.units import units_of
from normxlogit.model.readings import Reading
from normxlogit.text.token_lookup import NO_TEXT


def readings_of(options: Mapping[str, Any]) -> Mapping[int, Reading]:
    """What the head among a method's options keeps of the layers that it reads."""
    head = options.get("head")
    return head.readings if isinstance(head, AttributionHead) else {}


@implement("attribution_head", readouts=READOUTS, keeps=readings_of, divides=lambda _options: True)
def attribution_head(context: MethodContext, head: Any = None, unit: Any = None) -> MethodScores:
    """Estimate the Shapley values of words by a network on the model's own hidden states.

    The network was trained on what the model says of texts with random sets of words hidden
    (`Explainer.fit`), by the weighted least squares whose solution the Shapley values are: Shapley
    1953; Lundberg & Lee 2017, SHAP; Jethani et al. 2022, FastSHAP, equations 6 and 7. That the
    network reads the states of the model that it explains, and so needs no model of its own, is
    ours.

    Cost: no more than the forward pass. Scores are additive: with the base value, what the model
    says of a text of that length with every word hidden, those of all words sum up to the target's
    centred logit, or to the value of a regression. They have a sign, and zero means that a word
    does not matter. Trust them on texts like those that the head was fitted on; a note says how far
    a text is from these.

    Args:
        context: the forward pass and what to explain of it.
        head: the fitted `AttributionHead`; of an `Explainer` its own if not given.
        unit: for tensors without text, the number of each token's word, int64 [batch, sequence], -1
            for special tokens.

    Raises:
        OptionError: there is no head, or it was fitted to a model of another kind.
        UnsupportedHeadError: the model does not show the layers that the head reads.
    """
    if not isinstance(head, AttributionHead):
        raise OptionError(
            "method 'attribution_head' needs a head that was fitted to this model: "
            "Explainer(..., head='FILE'), or --head FILE. `normxlogit fit` makes one."
        )
    if context.ids is None or context.targets.positions is not None or context.reads_decoder:
        raise UnsupportedHeadError(
            "an attribution head reads an encoder's or a decoder's states of a text that is "
            "classified or rated as a whole, and this model has none. Take another method."
        )
    words = _words(unit, context)
    outputs = context.outputs.float()
    read = [_layer(context, number) for number in head.layers]
    _check_kind(head, context, outputs.shape[-1], read)
    head = head.on(outputs.device)
    values = head.network.of_layers(part for _, part in read)  # [rows, sequence, games]
    empty = head.empty.at(context.mask[:, 0].sum(1))
    problem = head.record.problem
    base = game_values(empty, outputs, problem)
    gain = game_values(outputs, outputs, problem) - base
    parts, _ = shared_out(values, words, gain)
    offset = READOUTS[problem].index(context.readout) * outputs.shape[-1]

    def of_targets(games: Tensor) -> Tensor:
        """[rows, ..., games] -> [rows, ..., targets], less the foil's."""
        chosen = _gathered(games, context.targets.ids.clamp_min(0) + offset)
        foils = context.foils
        return chosen if foils is None else chosen - _gathered(games, foils + offset)

    scores = of_targets(parts).transpose(1, 2)  # [rows, targets, sequence]
    scores = scores.masked_fill((words < 0)[:, None], torch.nan)
    distance = head.usual.distance(torch.cat([means for means, _ in read], -1))
    return MethodScores(
        scores[:, :, None],
        base=of_targets(base),
        notes={UNLIKE: distance[:, None].expand(-1, scores.shape[1])},
    )


def _gathered(games: Tensor, ids: Tensor) -> Tensor:
    """The games of ids, int64 [rows, targets]: [rows, ..., games] -> [rows, ..., targets]."""
    between = games.dim() - 2
    index = ids.reshape(len(ids), *(1,) * between, -1).expand(*games.shape[:-1], -1)
    return games.gather(-1, index)


def _words(unit: Any, context: MethodContext) -> Tensor:
    """The number of each token's word, int64 [batch, sequence]; -1 for none."""
    has_text = context.lookup is not NO_TEXT
    if has_text and unit not in (None, "word"):
        raise OptionError(
            f"an attribution head divides an outcome among words, so unit={unit!r:.80} is not for "
            "it. Sum the scores of words: a.sentences(), a.by(spans)."
        )
    if not has_text and not isinstance(unit, Tensor):
        raise OptionError(
            "an attribution head needs to know which tokens make a word. Give unit, the number of "
            "each token's word, int64 [batch, sequence], -1 for special tokens."
        )
    assert context.ids is not None
    return units_of(unit, context.ids[:, 0], context.mask[:, 0], context.lookup)


def _check_kind(
    head: AttributionHead, context: MethodContext, outputs: int, read: Sequence[tuple[Tensor, ...]]
) -> None:
    wanted = (head.record.problem.value, head.empty.logits.shape[1], head.hidden)
    widths = {means.shape[-1] for means, *_ in read}
    width = next(iter(widths - {head.hidden}), head.hidden)
    shape = (context.problem.value, outputs, width)
    if shape != wanted:
        raise OptionError(
            "this head was fitted to a {} of {} outputs and width {}, ".format(*wanted)
            + "and this model is a {} of {} and width {}. ".format(*shape)
            + "Give the head of this model."
        )


def _layer(context: MethodContext, number: int) -> tuple[Tensor, ...]:
    read = context.layer(number)
    if read is None:
        raise UnsupportedHeadError(
            f"the states of layer {number}, which this head reads, do not stand one to a token of "
            "this model. Fit a head on other layers, or take another method."
        )
    return read
