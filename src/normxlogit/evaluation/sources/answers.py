"""Answers to questions with documents, and how they change as documents go."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normxlogit.errors import UnsupportedHeadError
from normxlogit.evaluation.sources.questions import GoldQuestion
from normxlogit.results.sources import SourceAttribution
from normxlogit.sources.attribute import attribute_sources
from normxlogit.sources.case import Case
from normxlogit.sources.explainer import SourceExplainer
from normxlogit.sources.methods import SourceMethod
from normxlogit.sources.prepare import prepare
from normxlogit.sources.prompt import SourcePrompt, make_prompt
from normxlogit.text.words import Span

Floats = NDArray[np.float64]

GENERATION = {"do_sample": False, "max_new_tokens": 24}
"""How answers are generated: these are short, and the same each time."""
_ROWS = 8
"""How many prompts run together."""


@dataclass(frozen=True)
class Answered:
    """A question with the answer of a model, which is one span.

    Attributes:
        question: the question.
        case: the answer and its prompt in tokens.
        prompt: where the case is from.
        parts: the characters of the answer that are explained: all that can be seen of it.
        name: what to call the model.
    """

    question: GoldQuestion
    case: Case
    prompt: SourcePrompt
    parts: tuple[Span, ...]
    name: str

    @property
    def logprob(self) -> float:
        """The log-probability of the answer, in nats."""
        return float(self.case.logprobs([()])[0, 0])

    @property
    def prior(self) -> float:
        """The same without any document."""
        return float(self.case.logprobs([self.case.sources])[0, 0])

    def drops(self) -> Floats:
        """How far the log-probability falls without each document, float64 [documents]."""
        without = self.case.logprobs([[source] for source in self.case.sources])
        return self.logprob - without[:, 0].astype(np.float64)

    def drops_of_others(self, numbers: Sequence[int]) -> Floats:
        """How far it falls without all documents but one, for some of them."""
        others = [[s for n, s in enumerate(self.case.sources) if n != kept] for kept in numbers]
        return self.logprob - self.case.logprobs(others)[:, 0].astype(np.float64)

    def attribute(
        self, method: SourceMethod, options: Mapping[str, Any]
    ) -> tuple[SourceAttribution, float]:
        """Score the documents by a method; return the result, and the seconds that it took.

        Its passes are those of the method alone, once the answer's log-probability with and
        without documents is known.
        """
        start = perf_counter()
        result = attribute_sources(
            self.case,
            self.prompt,
            self.parts,
            method,
            options,
            threshold=None,
            name=self.name,
            progress=False,
        )
        return result, perf_counter() - start


def answer_question(explainer: SourceExplainer, question: GoldQuestion) -> Answered:
    """Let a model answer a question.

    Raises:
        NormXLogitError: that of `SourceExplainer.sources`.
    """
    prompt = make_prompt(explainer.tokenizer, question.question, list(question.documents), None, {})
    generator = explainer.generator()
    if explainer.model.config.is_encoder_decoder:
        raise UnsupportedHeadError(
            f"{type(explainer.model).__name__} has an encoder, and sources are parts of the prompt "
            "of a decoder. Load a causal language model."
        )
    case, parts = prepare(generator, prompt, None, None, GENERATION, _ROWS)
    # A benchmark asks for the sources of the whole answer, however many sentences it has.
    numbers = np.concatenate(case.spans)
    whole = (parts[0][0], parts[-1][1])
    case = replace(case, spans=(numbers,))
    return Answered(question, case, prompt, (whole,), explainer.name)
