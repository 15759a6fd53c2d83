"""Baselines that any method has to beat: chance, a token's position, its rarity."""

import operator
import zlib
from collections.abc import Mapping
from typing import Any

import torch

from normxlogit.data.option_checks import as_integer, flag
from normxlogit.errors import OptionError, UnsupportedHeadError
from normxlogit.methods.context import MethodContext
from normxlogit.methods.registry import implement
from normxlogit.methods.scores import MethodScores


@implement("random")
def random(context: MethodContext, seed: int = 0) -> MethodScores:
    """Uniform draws from [0, 1). Cost: that of the prediction. Tells what chance gives.

    A text gets the same draws for the same seed, in any batch and with any padding: its token ids
    seed them (for images and audio, the number of positions does).

    Args:
        context: the forward pass and what to explain of it.
        seed: another seed gives other draws.
    """
    number = as_integer(seed)
    if number is None:
        raise OptionError(f"seed must be a whole number, got {seed!r:.80}.")
    mask = context.mask
    ids = torch.zeros_like(mask, dtype=torch.long) if context.ids is None else context.ids
    draws = []
    # [batch, targets or 1, sequence] -> [batch * targets, sequence]
    for row, kept in zip(ids.expand(mask.shape).flatten(0, 1), mask.flatten(0, 1), strict=True):
        tokens = row[kept].tolist()
        # Not hash(), which differs between processes; on the CPU, for GPUs draw other numbers.
        generator = torch.Generator().manual_seed(zlib.crc32(repr((number, tokens)).encode()))
        draw = torch.zeros(len(kept))
        draw[kept.cpu()] = torch.rand(len(tokens), generator=generator)
        draws.append(draw)
    scores = torch.stack(draws).reshape(mask.shape)[:, :, None].to(mask.device)
    return MethodScores(scores, unsigned="random")


@implement("position")
def position(context: MethodContext, first: bool = False) -> MethodScores:
    """The number of tokens before a token; with `first` the number of tokens after it.

    Cost: that of the prediction. Shows how good a ranking by position alone can be: the last tokens
    of a text, or its first, often count most.

    Args:
        context: the forward pass and what to explain of it.
        first: rank the first tokens highest, instead of the last.
    """
    first = flag("first", first)
    mask = context.mask.long()
    order = mask.flip(-1).cumsum(-1).flip(-1) if first else mask.cumsum(-1)
    meaning = "nearer to the beginning" if first else "nearer to the end"
    return MethodScores((order - 1).float()[:, :, None], unsigned=meaning)


@implement("frequency")
def frequency(context: MethodContext, counts: Mapping[Any, Any] | None = None) -> MethodScores:
    """-log((count + 1) / (total + n + 1)): how rare a token is, by the counts of n tokens.

    Cost: that of the prediction. Shows how good a ranking by rarity alone can be.

    Args:
        context: the forward pass and what to explain of it.
        counts: how often each token occurs, by its id (a number, or a text of digits, as keys of
            JSON are); `Explainer.token_counts` counts a corpus.

    Raises:
        OptionError: there are no counts, or they are no such mapping.
    """
    try:
        by_id = {int(k): operator.index(v) for k, v in counts.items()}  # type: ignore[union-attr]
    except (AttributeError, TypeError, ValueError) as error:
        raise OptionError(
            "frequency needs counts, a dict with how often each token id occurs; got "
            f"{counts!r:.80} ({error}). explainer.token_counts(texts) makes one from a corpus."
        ) from error
    if context.ids is None:
        raise UnsupportedHeadError("frequency counts tokens, and images and audio have none.")
    unique, index = torch.unique(context.ids, return_inverse=True)
    # Add-one smoothing over the n counted tokens and one more, which stands for all others.
    seen = torch.tensor([by_id.get(i, 0) for i in unique.tolist()], dtype=torch.float64)
    rarity = -((seen + 1) / (sum(by_id.values()) + len(by_id) + 1)).log()
    scores = rarity.float().to(index.device)[index][:, :, None]
    return MethodScores(scores, unsigned="rarer token")
