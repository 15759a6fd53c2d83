"""Faithfulness of generation: does a ranking of a prompt's words show what an answer rests on?"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from normxlogit.data.option_checks import as_integer, check_type, shares
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
    """The loss in an answer's log-probability as words of its prompt are cut out.

    Attributes:
        words: the prompt's words, the most important first.
        log_probability: log p(answer | prompt), in nats.
        counts: the number of top words, for each share or number requested.
        without_top: log p(answer | prompt) - log p(answer | prompt without the top words), float64
            [counts]; higher is better.
        top_alone: the same with all other words cut out; lower is better.
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
    generation: GenerationAttribution,
    ratios: Sequence[float] | None = None,
    *,
    counts: Sequence[int] | None = None,
    reduce: str = "sum",
) -> AnswerDrops:
    """Cut the top-ranked words out of a prompt, and all others, and score the answer again.

    Words are ranked by their scores for the answer as a whole. A share k of n words is k n rounded,
    halves up; at least one word always stays. The answer is passed to the model as text after each
    prompt, so what it would generate instead plays no part.

    Args:
        explainer: the explainer of the model that answered.
        generation: the answer, explained by any method, to a prompt that is not a chat.
        ratios: shares of the words; `RATIOS` by default.
        counts: numbers of words, instead of shares.
        reduce: how the scores of a word's tokens become the word's, see `Attribution.words`.

    Raises:
        OptionError: both ratios and counts are set, or one of them is out of range; there is no
            such `reduce`.
        InputError: the prompt is a chat, or has fewer than two words.
        ModelError: an answer's probability is 0 in float32, so it has no logarithm.
    """
    check_type("explainer", explainer, ModelExplainer)
    check_type("generation", generation, GenerationAttribution)
    if generation.messages:
        raise InputError("the words of a chat stand in its template. Give a prompt that is a text.")
    answer = generation.whole().words(reduce)
    words = np.flatnonzero((answer.segments == 0) & ~answer.special)  # those of the prompt
    if len(words) < 2:
        raise InputError(f"the prompt {generation.prompt!r:.60} has fewer than two words to rank.")
    order = rank_units(answer.scores[words].astype(np.float64))
    cut_out = _counts(ratios, counts, len(words))
    top = hidden_sets(order, cut_out)  # bool [counts, words]
    others = ~hidden_sets(order, [max(count, 1) for count in cut_out])
    spans = [(0, int(start), int(end)) for start, end in answer.offsets[words]]
    prompts = [
        without([generation.prompt], [spans[n] for n in np.flatnonzero(hidden)])[0]
        for hidden in (np.zeros(len(words), np.bool_), *top, *others)
    ]
    whole, *cut = _log_probabilities(explainer, prompts, generation.answer)
    lost = whole - np.array(cut)  # [2 * counts]
    ranked = tuple(answer.tokens[words[n]] for n in order)
    return AnswerDrops(ranked, whole, cut_out, *np.split(lost, 2))


def _counts(
    ratios: Sequence[float] | None, counts: Sequence[int] | None, words: int
) -> tuple[int, ...]:
    """Turn shares or counts into numbers of words to cut out, of which one is always left."""
    if counts is None:
        parts = shares("ratios", RATIOS if ratios is None else ratios)
        numbers = [int(share * words + 0.5 + 1e-9) for share in parts]
    elif ratios is not None:
        raise OptionError(
            "ratios and counts both set how many words are cut out. Give one of them."
        )
    else:
        is_list = isinstance(counts, (list, tuple, np.ndarray))
        numbers = [as_integer(count) or 0 for count in counts] if is_list else []
        if not numbers or min(numbers) < 1:
            raise OptionError(f"counts must be a list of whole numbers from 1, got {counts!r:.80}.")
    return tuple(min(number, words - 1) for number in numbers)


def _log_probabilities(
    explainer: ModelExplainer, prompts: Sequence[str], answer: str
) -> list[float]:
    """log p(answer | prompt) for each prompt."""
    distinct = list(dict.fromkeys(prompts))
    by_prompt = {}
    for prompt, result in zip(distinct, explainer.explain(distinct, target=answer), strict=True):
        if isinstance(result, Failure):
            raise result.error
        probabilities = [target.probability or 0.0 for target in result.targets]
        if not all(probabilities):
            raise ModelError(f"the answer {answer!r:.60} has probability 0 after {prompt!r:.60}.")
        by_prompt[prompt] = math.fsum(map(math.log, probabilities))
    return [by_prompt[prompt] for prompt in prompts]
