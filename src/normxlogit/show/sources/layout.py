"""An answer and its sources as they are shown: names, shares, strengths, and what is folded."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate

import numpy as np

from normxlogit.results.base import Floats
from normxlogit.results.sources import Source, SourceAttribution
from normxlogit.show import phrases
from normxlogit.show.meaning import Meaning
from normxlogit.show.scales import scale
from normxlogit.show.sources import message

STRONG = 0.25
"""The share of the largest score from which on a sentence of a source stands out in a text."""

LEAST_GAIN = math.log(2)
"""The log-probability in nats that all sources together must add for any to have a share of it:
they must make the sentence twice as likely."""

LEADING = 6
"""How many sentences of a long source are shown at most before it is opened."""

TITLE = 40
"""How many characters the title of a source has at most."""

LONG = 1200
"""The number of characters from which on a source is folded."""

LONG_SENTENCE = 400
"""How many characters are shown of a sentence that is longer, such as data without stops."""


@dataclass(frozen=True, eq=False)
class View:
    """One sentence of the answer, or all of it, with the scores of all sources for it.

    Attributes:
        span: the number of the sentence among the spans; None of all of them.
        scores: float32 [sources].
        sentence_scores: of sources whose sentences have some, by number: float32 [sentences].
        gain: the log-probability in nats that all sources together add.
        tints: scores as shares of the largest by size, -1 to 1, float32 [sources]; all are smaller
            where none reaches the threshold.
        sentence_tints: the same of sentences, beside the largest sentence; the tint of the source
            where that is one sentence.
        signed: whether signs of scores mean anything.
    """

    span: int | None
    scores: Floats
    sentence_scores: dict[int, Floats]
    gain: float
    tints: Floats
    sentence_tints: dict[int, Floats]
    signed: bool

    def number(self, score: float) -> str:
        """Return a score as text."""
        return phrases.number(score, self.largest, signed=self.signed)

    @cached_property
    def largest(self) -> float:
        """The largest score by size, of sources and of sentences."""
        return scale(np.concatenate([self.scores, *self.sentence_scores.values()]))

    @property
    def unexplained(self) -> float:
        """The share that no source explains; see `AnswerSpan`."""
        return float(np.exp(min(0.0, -self.gain)))


@dataclass(frozen=True)
class Piece:
    """A part of a source: a sentence, or what is left of a long one.

    Attributes:
        sentence: its number; None of what is between sentences.
        start, end: its first character and last + 1 in the source.
        leads: whether it is shown while the source is folded.
    """

    sentence: int | None
    start: int
    end: int
    leads: bool


@dataclass(frozen=True)
class Block:
    """Adjacent pieces that are folded together, or shown."""

    pieces: tuple[Piece, ...]
    folded: bool


@dataclass(frozen=True)
class SourcesLayout:
    """An answer and its sources, as they are shown."""

    result: SourceAttribution

    @cached_property
    def views(self) -> list[View]:
        """What each sentence of the answer rests on; behind them all of it, if they are several."""
        result = self.result
        gains = [span.logprob - span.prior for span in result.spans]
        views = [
            self._view(
                number, scores, {n: part[number] for n, part in self._sentences.items()}, gain
            )
            for number, (scores, gain) in enumerate(zip(result.scores, gains, strict=True))
        ]
        if len(views) == 1:
            return views
        sums = {
            number: scores.sum(0, dtype=np.float64).astype(np.float32)
            for number, scores in self._sentences.items()
        }
        return [*views, self._view(None, result.total, sums, sum(gains))]

    @cached_property
    def _sentences(self) -> dict[int, Floats]:
        """The scores of sentences, [spans, sentences]; a source of one sentence has its own."""
        result = self.result
        whole = [n for n, source in enumerate(result.sources) if len(source.sentences) < 2]
        return {**result.sentence_scores, **{n: result.scores[:, n : n + 1] for n in whole}}

    @cached_property
    def _split(self) -> list[int]:
        """The sources of several sentences that have scores of their own."""
        return [n for n, scores in self._sentences.items() if scores.shape[1] > 1]

    @cached_property
    def marks(self) -> dict[int, int]:
        """For each source whose sentences have scores how many such sentences are before it."""
        sources = sorted(self._sentences)
        ends = accumulate(self._sentences[source].shape[1] for source in sources)
        return dict(zip(sources, [0, *ends], strict=False))

    def _view(
        self, span: int | None, scores: Floats, sentence_scores: dict[int, Floats], gain: float
    ) -> View:
        largest = scale(scores)
        threshold = self.result.threshold or 0.0
        # Noise would have the full colour if the largest score always had.
        strength = min(1.0, float(np.abs(scores).max()) / threshold) if threshold > 0 else 1.0
        tints = strength * scores / largest
        of_sentences = scale(
            np.concatenate([scores[:0], *(sentence_scores[n] for n in self._split)])
        )
        return View(
            span=span,
            scores=scores,
            sentence_scores=sentence_scores,
            gain=gain,
            tints=tints,
            sentence_tints={
                source: strength * part / of_sentences if source in self._split else tints[[source]]
                for source, part in sentence_scores.items()
            },
            signed=message.is_signed(self.result),
        )

    def name(self, view: View) -> str:
        """Return the sentence of the answer in quotation marks, or what all of them are called."""
        if view.span is not None:
            text = " ".join(phrases.visible(self.result.texts[view.span]).split())
            return f"“{phrases.shortened(text, 120)}”" if text else "“ ”"
        return "The whole answer" if self._is_whole else "All of these parts"

    @property
    def _is_whole(self) -> bool:
        """Whether the spans leave nothing of the answer out."""
        left = list(self.result.answer)
        for span in self.result.spans:
            left[span.start : span.end] = " " * (span.end - span.start)
        return not "".join(left).strip()

    def title(self, number: int) -> str:
        """Return what a source is called: its name, or how it begins if it has none.

        Sentences are called by what they say, for their name is that of what they stand in.
        """
        source = self.result.sources[number]
        if source.name and source.kind != "sentence":
            return phrases.shortened(" ".join(phrases.visible(source.name).split()), TITLE)
        text = " ".join(phrases.visible(source.text).split())
        return (
            text if len(text) <= TITLE else f"{text[:TITLE].rpartition(' ')[0] or text[:TITLE]} …"
        )

    def share(self, view: View, number: int) -> float | None:
        """Return the share of a source in what all of them do for a view.

        Scores in nats are taken beside what all sources together add to the log-probability:
        shares of sources that say the same sum up to less than 1, of those that need each other to
        more. Scores without a unit are taken beside the sum of their sizes.

        Returns:
            None if its score is not positive, or all sources together add hardly anything.
        """
        score = float(view.scores[number])
        if self.result.unit == "nats":
            whole = view.gain if view.gain >= LEAST_GAIN else 0.0
        else:
            whole = float(np.abs(view.scores).sum(dtype=np.float64))
        return score / whole if score > 0 and whole > 0 else None

    def cites(self, span: int) -> tuple[int, ...] | None:
        """Return the sources that a sentence cites, in their order; None without a threshold."""
        return None if self._citations is None else tuple(sorted(self._citations[span]))

    @cached_property
    def _citations(self) -> tuple[tuple[int, ...], ...] | None:
        return None if self.result.threshold is None else self.result.citations

    def has_source(self, view: View) -> bool:
        """Return whether there is a source that a view rests on."""
        return message.rests_on(self.result, float(view.scores.max()))

    def leading(self, view: View, count: int) -> list[int]:
        """Return the sources with the highest scores, and the one that speaks most against it."""
        order: list[int] = np.argsort(-view.scores, kind="stable").tolist()
        rows = order[:count]
        if len(order) > count and view.tints[order[-1]] <= -STRONG:
            rows = [*rows, order[-1]]
        return rows

    def leading_sentences(self, view: View, count: int) -> list[tuple[int, int]]:
        """Return source and number of the sentences that stand out, the highest score first."""
        strong = [
            (float(tint), source, number)
            for source, tints in view.sentence_tints.items()
            for number, tint in enumerate(tints.tolist())
            if tint >= STRONG
        ]
        strong.sort(key=lambda item: -item[0])
        return [(source, number) for _, source, number in strong[:count]]

    def stands_out(self, number: int) -> bool:
        """Return whether a source is strong, and among the leading ones, for any view."""
        return any(
            abs(view.tints[number]) >= 2 * STRONG and number in self.leading(view, 2)
            for view in self.views
        )

    def blocks(self, number: int) -> list[Block]:
        """Return a source in blocks: its leading sentences, and folded between them the others."""
        source = self.result.sources[number]
        pieces = list(self._pieces(source, self._leads(number)))
        if len(source.text) <= LONG:
            return [Block(tuple(pieces), folded=False)]
        blocks = list[Block]()
        for piece in pieces:
            if blocks and blocks[-1].folded != piece.leads:
                blocks[-1] = Block((*blocks[-1].pieces, piece), blocks[-1].folded)
            else:
                blocks.append(Block((piece,), folded=not piece.leads))
        return blocks

    def _pieces(self, source: Source, leading: Sequence[int]) -> Iterator[Piece]:
        at, length = 0, len(source.text)
        for number, (start, end) in enumerate(source.sentences or [(0, length)]):
            leads = number in leading
            if at < start:
                yield Piece(None, at, start, leads)
            cut = start + LONG_SENTENCE
            if leads and end > cut and length > LONG:
                cut = source.text.rfind(" ", start, cut) + 1 or cut
                yield Piece(number, start, cut, leads=True)
                start, leads = cut, False
            yield Piece(number, start, end, leads)
            at = end
        if at < length:
            yield Piece(None, at, length, leads)

    def _leads(self, number: int) -> list[int]:
        """Return the sentences of a source that stand out for any view, else its first."""
        tints = [
            view.sentence_tints[number] for view in self.views if number in view.sentence_tints
        ]
        if not tints:
            return [0]
        strongest = np.abs(np.stack(tints)).max(0)  # [sentences]
        order = np.argsort(-strongest, kind="stable").tolist()
        return [n for n in order[:LEADING] if strongest[n] >= STRONG] or [0]


def meaning(result: SourceAttribution) -> Meaning:
    """Return what scores of sources say."""
    sentence = message.meaning(result)
    if not message.is_signed(result):
        return Meaning("the sentence rests more on the source", None, sentence, signed=False)
    return Meaning("speaks for the sentence", "speaks against it", sentence)
