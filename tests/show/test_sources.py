"""What is said of an answer and its sources, and how a terminal shows it."""

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from normxlogit.results.base import Provenance
from normxlogit.results.sources import AnswerSpan, Source, SourceAttribution
from normxlogit.show.sources.message import message

ANSWER = "Anna is the mayor. It was built in 1911."
PROVENANCE = Provenance(
    model="a/b",
    revision=None,
    architecture="Tiny",
    dtype="float32",
    method="leave_one_out",
    readout=None,
    of_output=True,
    unsigned=None,
    reads_layers=False,
    contrast=None,
    options={},
    versions={},
)


def source(name: str, text: str, start: int) -> Source:
    first = text.index(".") + 2
    return Source(
        "document", name, text, start, start + len(text), ((0, first), (first, len(text)))
    )


SOURCES = (
    source("Peru", "The mayor is Anna. So it is.", 0),
    source("", "It was built in 1911. It burnt.", 30),
    source("", "Bread is \x1b[31mbaked. It is.", 70),
)


def result(scores: Any, prior: float = -30.0, **changes: Any) -> SourceAttribution:
    made = SourceAttribution(
        question="Who?",
        prompt=" " * 200,
        template=None,
        answer=ANSWER,
        sources=SOURCES,
        spans=(AnswerSpan(0, 18, 5, -1.0, prior), AnswerSpan(19, 40, 6, -1.0, -1.0)),
        scores=np.array(scores, np.float32),
        sentence_scores={0: np.array([[5, 1], [0, 0]], np.float32)},
        unit="nats",
        threshold=0.7,
        passes=9,
        tokens=90,
        cached=True,
        provenance=PROVENANCE,
    )
    return replace(made, **changes)


@pytest.mark.parametrize(
    ("scores", "prior", "said"),
    [
        (
            [[4.61, 0, 0], [0, 0, 0]],
            -30,
            "Rests on document 1 (Peru): without it the answer would be 100 times less likely.",
        ),
        (
            [[9, 0, 0], [0, 1, 0]],
            -30,
            "Rests mostly on document 1 (Peru): without it the answer would be 8,100 times less "
            "likely.",
        ),
        (
            [[2, 0, 1.9], [0, 1.8, 0]],
            -30,
            "Rests on document 1 (Peru), document 3 and document 2: without document 1 (Peru) the "
            "answer would be 7.4 times less likely.",
        ),
        (
            [[20, 0, 0], [0, 0, 0]],
            -30,
            "Rests on document 1 (Peru): without it the answer would be more than a million times "
            "less likely.",
        ),
        (
            [[0.1, 0, 0], [0, 0, 0]],
            -1,
            "Rests on none of the 3 documents: without any it would be as likely.",
        ),
        (
            [[0.1, 0, 0], [0, 0, 0]],
            -1.5,
            "Rests on none of the 3 documents: without any it would be 60.7% as likely.",
        ),
        (
            [[0.1, 0, 0], [0, 0, 0]],
            -4,
            "No document stands out: without any one of them the answer stays about as likely, and "
            "without all of them it would be 20 times less likely; what several say alike counts "
            "for none.",
        ),
    ],
)
def test_the_sentence_that_leads(scores: Any, prior: float, said: str) -> None:
    assert message(result(scores, prior)) == said


@pytest.mark.parametrize(
    ("scores", "prior", "threshold", "said"),
    [
        (  # No sentence cites it, and the answer rests on it all the same.
            [[0.6, 0, 0], [0.6, 0, 0]],
            -9,
            0.7,
            "Rests on document 1 (Peru): without it the answer would be 3.3 times less likely.",
        ),
        (
            [[3, 0, 0], [2.5, 0, 0]],
            -9,
            5,
            "Rests on document 1 (Peru): without it the answer would be 240 times less likely.",
        ),
        (
            [[1, 0, 0], [-5, 0, 0]],
            -9,
            0.7,
            "Only a part of the answer rests on document 1 (Peru): without it the whole would not "
            "be much less likely.",
        ),
        (
            [[6, 0, 0], [-3, 0, 0.1]],
            -9,
            5,
            "Only a part of the answer rests on document 1 (Peru): without it the whole would be "
            "20 times less likely.",
        ),
        (
            [[3, 0, 0], [0, 0, 0]],
            -9,
            5,
            "No document stands out: without any one of them the answer would be at most 20 times "
            "less likely, and without all of them it would be 3,000 times less likely; what "
            "several say alike counts for none.",
        ),
        (
            [[0.1, -4, 0], [0, 0, 0]],
            -4,
            0.7,
            "No document stands out: without any one of them the answer would not be much less "
            "likely, and without all of them it would be 20 times less likely; what several say "
            "alike counts for none.",
        ),
        (
            [[9, 0, 0], [0, 0, 0]],
            -9,
            None,
            "By leave_one_out the answer rests most on document 1 (Peru).",
        ),
    ],
)
def test_the_sentence_that_leads_speaks_of_the_whole_answer(
    scores: Any, prior: float, threshold: float | None, said: str
) -> None:
    made = result(scores, prior, threshold=threshold)
    assert message(made) == said
    if threshold is not None:
        whole = made.to_html().partition("The whole answer")[2].partition("</caption>")[0]
        assert ("rests on no source" in whole) == (not said.startswith("Rests"))


def test_spans_out_of_order_are_cited_where_they_stand() -> None:
    made = result([[6, 0, 0], [0, 6, 0]])
    turned = replace(made, spans=made.spans[::-1], scores=made.scores[::-1])
    assert turned.cited == "Anna is the mayor. [1] It was built in 1911. [2]"
    assert turned.cited == made.cited
    said = turned.to_html().partition('nx-answer"')[2].partition("</div>")[0]
    assert re.findall(r'data-span="(\d)">([^<]*)<', said) == [
        ("1", "Anna is the mayor."),
        ("0", "It was built in 1911."),
    ]
    assert "Answer      Anna is the mayor. [1] It was built in 1911. [2]" in str(turned)


def test_scores_without_a_unit_have_an_order_only() -> None:
    by_tokens = replace(PROVENANCE, method="late_lrp", options={"reduce": "max"})
    made = result([[1, 3, 2], [0, 0, 0]], unit="", threshold=None, provenance=by_tokens)
    assert message(made) == "By late_lrp the answer rests most on document 2."
    text = str(made)
    assert "[no source]" not in text
    assert "A score is the largest of the scores of a source's tokens by late_lrp" in text
    assert message(replace(made, scores=-made.scores)) == (
        "No document speaks for the answer, by late_lrp."
    )


def test_a_terminal_shows_the_answer_with_its_sources() -> None:
    lines = str(result([[6, 0, 1], [0, 0, 0]])).splitlines()
    assert lines[0].startswith("Rests mostly on document 1 (Peru)")
    at = lines.index("Answer      Anna is the mayor. [1] [3] It was built in 1911. [no source]")
    assert lines[at - 1] == "Question    Who?"
    first = next(n for n, line in enumerate(lines) if line.strip().startswith("[1] Peru"))
    assert "+6.00" in lines[first]
    assert lines[first + 1].strip() == "“The mayor is Anna.”"
    assert "  Without any source <0.1% as likely." in lines
    assert "\x1b" not in "".join(lines)
    page = result([[6, 0, 1], [0, 0, 0]]).to_html()
    assert page.startswith("<!DOCTYPE html>")
    assert "Anna is the mayor." in page
