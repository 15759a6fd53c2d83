"""The result for an answer from documents: what each of its sentences rests on."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from normxlogit.data.option_checks import real_number, whole_number
from normxlogit.data.plain import Plain
from normxlogit.errors import InputError, OptionError
from normxlogit.extras import require
from normxlogit.results.base import Floats, Provenance, read_provenance
from normxlogit.results.saved import Saved
from normxlogit.text.words import Span

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

SCHEMA = "normxlogit/sources/1"

KINDS = ("document", "message", "sentence", "span")
"""Kinds of sources."""


@dataclass(frozen=True)
class Source:
    """A part of the prompt that an answer may rest on.

    Attributes:
        kind: "document", "message", "sentence" or "span".
        name: the title or id of a document, the role of a message; "" if it has none.
        text: its text, as the caller gave it.
        start, end: the first character and last + 1 of its text in the prompt.
        sentences: the first character and last + 1 of each of its sentences in `text`.
    """

    kind: str
    name: str
    text: str
    start: int
    end: int
    sentences: tuple[Span, ...]


@dataclass(frozen=True)
class AnswerSpan:
    """A sentence of the answer, or a part of it that the caller named.

    Attributes:
        start, end: its first character and last + 1 in the answer.
        tokens: how many tokens it has.
        logprob: its log-probability in nats given all sources and the answer before it: the sum
            over its tokens.
        prior: the same without any source.
    """

    start: int
    end: int
    tokens: int
    logprob: float
    prior: float

    @property
    def unexplained(self) -> float:
        """The share that no source explains, 0 to 1: exp(prior - logprob), at most 1.

        That is the probability that the model gives to the span when all sources are gone, as a
        share of the one with all of them. At 1 it would have said the same without; close to 0 it
        would hardly have.
        """
        return float(np.exp(min(0.0, self.prior - self.logprob)))


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class SourceAttribution(Saved):
    """How much each sentence of an answer rests on each source, and on each sentence of a source.

    Attributes:
        question: what was asked; "" where the prompt is a chat or has no question.
        prompt: the prompt as the model read it.
        template: the template of ours by which documents were placed in it, with {name}, {text}
            and the like; None where the caller or the chat template placed them.
        answer: the answer that was generated or given.
        sources: the sources, in the order of the prompt.
        spans: the sentences of the answer, or the parts that the caller named, in order.
        scores: float32 [spans, sources]: how much each span rests on each source.
        sentence_scores: for leading sources, by number: float32 [spans, sentences of the source].
        unit: the unit of scores, such as "nats"; "" where a score has none.
        threshold: the score from which a source is cited; None if none was set.
        passes: how many forward passes it took; a pass with gradients counts as two more.
        tokens: how many tokens these passes read; of a prefix that was computed once and kept,
            only once.
        cached: whether a shared prefix was computed once and kept; else each pass was fresh.
        provenance: the model, the method and its options.
    """

    display_name: ClassVar[str] = "result"
    noun: ClassVar[str] = "an attribution to sources"

    question: str
    prompt: str
    template: str | None
    answer: str
    sources: tuple[Source, ...]
    spans: tuple[AnswerSpan, ...]
    scores: Floats
    sentence_scores: Mapping[int, Floats] = field(default_factory=dict)
    unit: str = ""
    threshold: float | None = None
    passes: int
    tokens: int
    cached: bool
    provenance: Provenance

    @property
    def texts(self) -> tuple[str, ...]:
        """The text of each span of the answer."""
        return tuple(self.answer[span.start : span.end] for span in self.spans)

    @property
    def unexplained(self) -> NDArray[np.float32]:
        """The share of each span that no source explains, float32 [spans]; see `AnswerSpan`."""
        return np.array([span.unexplained for span in self.spans], np.float32)

    @property
    def total(self) -> Floats:
        """The scores of the spans added up, float32 [sources].

        Of `leave_one_out` that is the drop of all spans' log-probability.
        """
        total: Floats = self.scores.sum(0, dtype=np.float64).astype(np.float32)
        return total

    @property
    def citations(self) -> tuple[tuple[int, ...], ...]:
        """The numbers of the sources that each span cites, the one with the highest score first.

        Sources are numbered from 0 here, and from 1 in `cited`. Empty where no source reaches the
        threshold.

        Raises:
            OptionError: there is no threshold.
        """
        if self.threshold is None:
            raise OptionError(
                f"scores by {self.provenance.method} have no threshold of their own. Give one: "
                "threshold=... of sources(), or with_threshold(...) of the result."
            )
        return tuple(
            tuple(int(n) for n in np.argsort(-row, kind="stable") if row[n] >= self.threshold)
            for row in self.scores
        )

    @property
    def cited(self) -> str:
        """The answer with [1], [2] after each span that rests on a source; see `citations`."""
        citations, parts = self.citations, list[str]()
        for text, span in self.pieces:
            parts.append(text)
            if span is not None:
                parts += [f" [{n + 1}]" for n in sorted(citations[span])]
        return "".join(parts)

    @property
    def pieces(self) -> list[tuple[str, int | None]]:
        """The answer in pieces, each with the number of its span; None between spans.

        Spans are in the order of the answer, each once; of spans that overlap the later one has
        what the earlier ones leave. White space at the end of a span is behind it.
        """
        pieces, at = list[tuple[str, int | None]](), 0
        for number in sorted(range(len(self.spans)), key=lambda n: self.spans[n].start):
            span = self.spans[number]
            start, end = max(at, span.start), max(at, span.end)
            text = self.answer[start:end]
            kept = text.rstrip()
            pieces += [(self.answer[at:start], None), (kept, number), (text[len(kept) :], None)]
            at = end
        pieces.append((self.answer[at:], None))
        return [piece for piece in pieces if piece != ("", None)]

    def with_threshold(self, threshold: float | None) -> "SourceAttribution":
        """Return the same with another threshold.

        Raises:
            OptionError: it is no finite number.
        """
        if threshold is not None:
            threshold = real_number("threshold", threshold)
        return replace(self, threshold=threshold)

    def leading(self, span: int) -> list[int]:
        """Return the numbers of the sources of one span, the highest score first.

        Raises:
            OptionError: there is no such span.
        """
        count = len(self.spans)
        number = whole_number("span", span, least=-count, most=count - 1)
        return [int(n) for n in np.argsort(-self.scores[number], kind="stable")]

    def leading_sentences(self, span: int) -> list[tuple[int, int]]:
        """Return source and sentence numbers of one span, the highest score first.

        Only leading sources have scores for their sentences, see `sentence_scores`.

        Raises:
            OptionError: there is no such span.
        """
        count = len(self.spans)
        number = whole_number("span", span, least=-count, most=count - 1)
        scored = [
            (float(score), source, sentence)
            for source, scores in self.sentence_scores.items()
            for sentence, score in enumerate(scores[number].tolist())
        ]
        scored.sort(key=lambda item: -item[0])
        return [(source, sentence) for _, source, sentence in scored]

    def sentence(self, source: int, sentence: int) -> str:
        """Return the text of a sentence of a source."""
        start, end = self.sources[source].sentences[sentence]
        return self.sources[source].text[start:end].strip()

    def to_pandas(self) -> "DataFrame":
        """Return a pandas data frame (extra `pandas`): a row for each span, source and sentence.

        Columns: `span`, `span_text`, `span_start`, `span_end` (in the answer), `logprob`, `prior`,
        `unexplained`; `source` (from 1, as in citations), `name`, `kind`; `sentence` (from 1; none
        in the row of the whole source), `text`, `start` and `end` (in the source); `score`; and
        `cited`, none where there is no threshold.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        pandas = require("pandas", "pandas", need="a data frame needs pandas")
        frame: DataFrame = pandas.DataFrame(self.records())
        types = dict.fromkeys(("span", "span_start", "span_end", "source", "start", "end"), "Int64")
        return frame.astype({**types, "sentence": "Int64", "cited": "boolean"})

    def records(self) -> list[dict[str, Any]]:
        """Return the rows of `to_pandas`, each by column."""
        citations = None if self.threshold is None else self.citations
        rows = list[dict[str, Any]]()
        for n, (span, text) in enumerate(zip(self.spans, self.texts, strict=True)):
            about = {
                "span": n + 1,
                "span_text": text,
                "span_start": span.start,
                "span_end": span.end,
                "logprob": span.logprob,
                "prior": span.prior,
                "unexplained": span.unexplained,
            }
            for number, source in enumerate(self.sources):
                row = about | {"source": number + 1, "name": source.name, "kind": source.kind}
                is_cited = None if citations is None else number in citations[n]
                whole = {"sentence": None, "text": source.text, "start": 0, "end": len(source.text)}
                score = float(self.scores[n, number])
                rows.append(row | whole | {"score": score, "cited": is_cited})
                of_sentences = self.sentence_scores.get(number)
                if of_sentences is None:
                    continue
                for part, (start, end) in enumerate(source.sentences):
                    rows.append(
                        row
                        | {"sentence": part + 1, "text": self.sentence(number, part)}
                        | {"start": start, "end": end, "score": float(of_sentences[n, part])}
                        | {"cited": None}
                    )
        return rows

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON, as docs/sources.md describes it."""
        return {
            "schema": SCHEMA,
            "question": self.question,
            "prompt": self.prompt,
            "template": self.template,
            "answer": self.answer,
            "sources": [
                asdict(source) | {"sentences": [list(span) for span in source.sentences]}
                for source in self.sources
            ],
            "spans": [asdict(span) | {"unexplained": span.unexplained} for span in self.spans],
            "scores": self.scores.tolist(),
            "sentence_scores": {
                str(number): scores.tolist() for number, scores in self.sentence_scores.items()
            },
            "unit": self.unit,
            "threshold": self.threshold,
            "citations": None if self.threshold is None else [list(c) for c in self.citations],
            "passes": self.passes,
            "tokens": self.tokens,
            "cached": self.cached,
            "provenance": asdict(self.provenance),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "SourceAttribution":
        """Rebuild a result from `to_dict`.

        Raises:
            InputError: the data has another schema or version, or is not as docs/sources.md says.
        """
        document = Plain(
            data,
            "this is not a whole attribution to sources",
            "It may have been changed, or cut off; save the result anew.",
        )
        schema = document.get("schema").value
        if schema != SCHEMA:
            raise InputError(
                f"expected data of the schema {SCHEMA!r}, got {schema!r:.80}. It may be another "
                "kind of result, or of another version of normxlogit."
            )
        document.has_only([*(f.name for f in fields(cls)), "schema", "citations"])
        return _read(document)

    def plot(self, path: str | Path | None = None) -> "Figure":
        """Return the spans by sources as a matplotlib figure (extra `plot`): a heat map.

        Args:
            path: a file to write too, of the format that its suffix names, such as .png or .svg.

        Raises:
            InputError: the file cannot be written, or there is no such format.
            MissingExtraError: matplotlib is not installed.
        """
        return self._draw(path)

    def __repr__(self) -> str:
        return f"<SourceAttribution of {self.answer!r:.60} to {len(self.sources)} sources>"


def _read(document: Plain) -> SourceAttribution:
    prompt, answer = document.get("prompt").text(), document.get("answer").text()
    sources = tuple(_read_source(item, len(prompt)) for item in document.get("sources").items(1))
    spans = tuple(_read_span(item, len(answer)) for item in document.get("spans").items(1))
    threshold = document.get("threshold").optional(Plain.number)
    numbers = {str(number): number for number in range(len(sources))}

    def of_sentences(item: Plain) -> Floats:
        key = item.place.rpartition(".")[2]
        item.require(key in numbers, f"the scores of one of {len(sources)} sources")
        return item.numbers((len(spans), len(sources[numbers[key]].sentences)))

    sentence_scores = document.get("sentence_scores").entries(of_sentences)
    return SourceAttribution(
        question=document.get("question").text(),
        prompt=prompt,
        template=document.get("template").optional(Plain.text),
        answer=answer,
        sources=sources,
        spans=spans,
        scores=document.get("scores").numbers((len(spans), len(sources))),
        sentence_scores={numbers[key]: scores for key, scores in sentence_scores.items()},
        unit=document.get("unit").text(),
        threshold=threshold,
        passes=document.get("passes").count(),
        tokens=document.get("tokens").count(),
        cached=document.get("cached").flag(),
        provenance=read_provenance(document.get("provenance")),
    )


def _read_source(item: Plain, length: int) -> Source:
    item.has_only([f.name for f in fields(Source)])
    text, (start, end) = item.get("text").text(), _read_place(item, length)
    return Source(
        kind=item.get("kind").choice(KINDS),
        name=item.get("name").text(),
        text=text,
        start=start,
        end=end,
        sentences=tuple(_read_pair(pair, len(text)) for pair in item.get("sentences").items()),
    )


def _read_span(item: Plain, length: int) -> AnswerSpan:
    item.has_only([*(f.name for f in fields(AnswerSpan)), "unexplained"])
    start, end = _read_place(item, length)
    return AnswerSpan(
        start=start,
        end=end,
        tokens=item.get("tokens").integer(1),
        # Rounding may put a log-probability a little above 0.
        logprob=item.get("logprob").number(most=1e-3),
        prior=item.get("prior").number(most=1e-3),
    )


def _read_place(item: Plain, length: int) -> Span:
    start = item.get("start").integer(0, length)
    return start, item.get("end").integer(start, length)


def _read_pair(item: Plain, length: int) -> Span:
    first, last = item.items(2, 2)
    start = first.integer(0, length)
    return start, last.integer(start, length)
