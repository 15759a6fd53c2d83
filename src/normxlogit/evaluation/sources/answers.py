"""Answers to questions with documents, and how they change as documents go."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normxlogit.errors import NormXLogitError, UnsupportedHeadError
from normxlogit.evaluation.sources.questions import GoldQuestion
from normxlogit.results.sources import SourceAttribution
from normxlogit.sources.attribute import attribute_sources
from normxlogit.sources.case import Case
from normxlogit.sources.explainer import SourceExplainer
from normxlogit.sources.methods import SourceMethod
from normxlogit.sources.prepare import encode, prepare
from normxlogit.sources.prompt import SourcePrompt, make_prompt
from normxlogit.tasks.splitting import explain_or_split
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


def answer_questions(
    explainer: SourceExplainer, questions: Sequence[GoldQuestion]
) -> list[Answered | NormXLogitError]:
    """Let a model answer questions, together; where it cannot, say why.

    Raises:
        ModelError: the model does not generate text.
        UnsupportedHeadError: it has an encoder.
    """
    generator = explainer.generator()
    if explainer.model.config.is_encoder_decoder:
        raise UnsupportedHeadError(
            f"{type(explainer.model).__name__} has an encoder, and sources are parts of the prompt "
            "of a decoder. Load a causal language model."
        )

    def make(question: GoldQuestion) -> SourcePrompt | NormXLogitError:
        try:
            documents = list(question.documents)
            return make_prompt(explainer.tokenizer, question.question, documents, None, {})
        except NormXLogitError as error:
            return error

    def generate(batch: Sequence[SourcePrompt]) -> list[str]:
        ids = generator.answers([encode(generator, prompt) for prompt in batch], GENERATION)
        texts = [generator.encoder.answer(of_prompt)[0] for of_prompt in ids]
        return [prompt.cut(text) for prompt, text in zip(batch, texts, strict=True)]

    prompts = [make(question) for question in questions]
    made = [prompt for prompt in prompts if isinstance(prompt, SourcePrompt)]
    at_once = _ROWS if generator.takes_padding() else 1
    texts = [
        text
        for start in range(0, len(made), at_once)
        for text in explain_or_split(made[start : start + at_once], generate)
    ]
    answers = iter(texts)
    return [
        _answered(explainer, question, prompt, next(answers))
        if isinstance(prompt, SourcePrompt)
        else prompt
        for question, prompt in zip(questions, prompts, strict=True)
    ]


def _answered(
    explainer: SourceExplainer,
    question: GoldQuestion,
    prompt: SourcePrompt,
    answer: str | NormXLogitError,
) -> Answered | NormXLogitError:
    if isinstance(answer, NormXLogitError):
        return answer
    try:
        case, parts = prepare(explainer.generator(), prompt, answer.strip(), None, {}, _ROWS)
    except NormXLogitError as error:
        return error
    # A benchmark asks for the sources of the whole answer, however many sentences it has.
    case = replace(case, spans=(np.concatenate(case.spans),))
    return Answered(question, case, prompt, ((parts[0][0], parts[-1][1]),), explainer.name)
