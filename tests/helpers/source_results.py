"""Answers from documents and their sources, made by hand."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from normxlogit.results.sources import AnswerSpan, Source, SourceAttribution
from normxlogit.text.words import sentence_spans
from tests.helpers.results import PROVENANCE

Named = tuple[str, str]
"""The name of a source, and its text."""

DOCUMENTS: tuple[Named, ...] = (
    ("Rivers", "The Elbe is 1,094 km long. It rises in the Giant Mountains."),
    ("", "Hamburg lies on the Elbe. Its port is large. Ships come from all over the world."),
    ("Lakes", "Lake Constance is not a river."),
)
ANSWER = "The Elbe is 1,094 km long. Hamburg lies on it. That is all I know."
SCORES = ((9.5, 0.25, -0.5), (0.5, 4.0, 0.125), (0.03, 0.02, -0.01))
GAINS = (9.0, 4.0, 0.05)
"""The log-probability in nats that all sources together add to each sentence."""


def answered(
    documents: Sequence[Named] = DOCUMENTS,
    answer: str = ANSWER,
    scores: Any = SCORES,
    gains: Sequence[float] = GAINS,
    *,
    sentence_scores: Mapping[int, Any] | None = None,
    kind: str = "document",
    spans: Sequence[tuple[int, int]] | None = None,
    unit: str = "nats",
    threshold: float | None = 0.6875,
    question: str = "How long is the Elbe, and who lies on it?",
    **changes: Any,
) -> SourceAttribution:
    """An attribution of an answer to documents."""
    prompt, sources = "", []
    for name, text in documents:
        start = len(prompt)
        prompt += f"{text}\n\n"
        sentences = tuple(sentence_spans(text))
        sources.append(Source(kind, name, text, start, start + len(text), sentences))
    if spans is None:
        spans = [(a, a + len(answer[a:b].rstrip())) for a, b in sentence_spans(answer)]
    result = SourceAttribution(
        question=question,
        prompt=f"{prompt}Question: {question}",
        template="Document {number}:\n{text}\n\n",
        answer=answer,
        sources=tuple(sources),
        spans=tuple(
            AnswerSpan(a, b, 7, -1.0, -1.0 - gain)
            for (a, b), gain in zip(spans, gains, strict=True)
        ),
        scores=np.array(scores, np.float32),
        sentence_scores={
            number: np.array(part, np.float32) for number, part in (sentence_scores or {}).items()
        },
        unit=unit,
        threshold=threshold,
        passes=23,
        tokens=4310,
        cached=True,
        provenance=replace(PROVENANCE, method="leave_one_out", readout=None, reads_layers=False),
    )
    return replace(result, **changes)


SENTENCES = {
    0: ((9.25, 0.125), (0.25, 0.0625), (0.015625, 0.0)),
    1: ((0.25, 0.0, 0.0), (3.75, 0.5, -0.25), (0.0, 0.0, 0.0)),
}
"""Scores of the sentences of the first two documents."""

RIVERS = answered(sentence_scores=SENTENCES)
