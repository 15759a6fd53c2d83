"""Does a ranking of a prompt's words tell what an answer rests on?"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from normxlogit.errors import InputError, ModelError, OptionError
from normxlogit.evaluation.perturb.operators import without
from normxlogit.evaluation.perturb.presets import RATIOS
from normxlogit.evaluation.perturb.rankings import hidden_sets, rank_units
from normxlogit.results.generation import GenerationAttribution
from normxlogit.results.text import Failure
from normxlogit.tasks.explainer import ModelExplainer

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class AnswerDrops:
    """What an answer's log-probability loses as words of its prompt are cut out.

    Attributes:
        words: the prompt's words, the most important first.
        log_probability: log p(answer | prompt), in nats.
        counts: how many words the top are, for each share or number that was asked for.
        without_top: log p(answer | prompt) - log p(answer | prompt without the top words), float64
            [counts]; the higher the better.
        top_alone: the same with all other words cut out; the lower the better.
    """

    words: tuple[str, ...]
    log_probability: float
    counts: tuple[int, ...]
    without_top: Floats
    top_alone: Floats

    @property
    def comprehensiveness(self) -> float:
        """The mean of `without_top`: AOPC."""
        return float(self.without_top.mean())

    @property
    def sufficiency(self) -> float:
        """The mean of `top_alone`."""
        return float(self.top_alone.mean())


def answer_drops(
    explainer: ModelExplainer,
    found: GenerationAttribution,
    ratios: Sequence[float] | None = None,
    *,
    counts: Sequence[int] | None = None,
) -> AnswerDrops:
    """Cut the words out of a prompt that an answer is said to rest on most, and then all others.

    Words are ranked by their scores for the answer as a whole. A share k of n words is the whole
    number next to k n, the larger of two; the last word stays if no other would. The answer is
    given to the model as text after each prompt, so that what it would generate instead plays no
    part.

    Args:
        explainer: of the model that answered.
        found: the answer, by any method, from a prompt that is no chat.
        ratios: the shares, `RATIOS` if there are no counts either.
        counts: numbers of words, in place of shares.

    Raises:
        OptionError: both ratios and counts, or some that are no shares or numbers of words.
        InputError: the prompt is a chat, or has fewer than two words.
        ModelError: an answer's probability is 0 in float32, so that there is no logarithm.
    """
    if found.messages:
        raise InputError("the words of a chat stand in its template. Give a prompt that is a text.")
    ranked = found.whole().words()
    own = np.flatnonzero((ranked.segments == 0) & ~ranked.special)
    if len(own) < 2:
        raise InputError(f"the prompt {found.prompt!r:.60} has fewer than two words to rank.")
    order = rank_units(ranked.scores[own].astype(np.float64))
    cut_out = _counts(ratios, counts, len(own))
    top = hidden_sets(order, cut_out)
    others = ~hidden_sets(order, [max(count, 1) for count in cut_out])
    spans = [(0, int(start), int(end)) for start, end in ranked.offsets[own]]
    prompts = [
        without([found.prompt], [spans[n] for n in np.flatnonzero(hidden)])[0]
        for hidden in (np.zeros(len(own), np.bool_), *top, *others)
    ]
    whole, *cut = _log_probabilities(explainer, prompts, found.answer)
    lost = whole - np.array(cut)
    words = tuple(ranked.tokens[own[n]] for n in order)
    return AnswerDrops(words, whole, cut_out, *np.split(lost, 2))


def _counts(
    ratios: Sequence[float] | None, counts: Sequence[int] | None, words: int
) -> tuple[int, ...]:
    """How many words are cut out: the shares of so many, or the counts; one word is left."""
    if counts is None:
        shares = RATIOS if ratios is None else ratios
        if not len(shares) or not all(0 <= share <= 1 for share in shares):
            raise OptionError(f"ratios must be a list of shares from 0 to 1, got {shares!r}.")
        counts = [int(share * words + 0.5 + 1e-9) for share in shares]
    elif ratios is not None:
        raise OptionError("ratios and counts say both how many words are cut out. Give one.")
    elif not counts or not all(type(count) is int and count > 0 for count in counts):
        raise OptionError(f"counts must be a list of whole numbers from 1, got {counts!r}.")
    return tuple(min(count, words - 1) for count in counts)


def _log_probabilities(
    explainer: ModelExplainer, prompts: Sequence[str], answer: str
) -> list[float]:
    """log p(answer | prompt) of each prompt."""
    alike = list(dict.fromkeys(prompts))
    found = {}
    for prompt, result in zip(alike, explainer.explain(alike, target=answer), strict=True):
        if isinstance(result, Failure):
            raise result.error
        probabilities = [target.probability for target in result.targets]
        if not all(probabilities):
            raise ModelError(f"the answer {answer!r:.60} has probability 0 after {prompt!r:.60}.")
        found[prompt] = math.fsum(map(math.log, probabilities))
    return [found[prompt] for prompt in prompts]
