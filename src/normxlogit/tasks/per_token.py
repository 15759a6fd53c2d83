"""Heads with outputs for every token: tags, masked and next tokens, question answering."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from normxlogit.errors import InputError, OptionError
from normxlogit.model.forward import ForwardPass
from normxlogit.model.numerics import probability
from normxlogit.model.targets import Problem
from normxlogit.query import Query, ScoredBatch
from normxlogit.results.assemble import VocabularyLabels, attribution, provenance_of, window_scores
from normxlogit.results.prediction import Prediction, Target
from normxlogit.results.text import Attribution
from normxlogit.tasks import InputOptions
from normxlogit.tasks.batches import Texts
from normxlogit.tasks.classification import decoder_starts
from normxlogit.text.encoded import Encoded

OUTSIDE = "O"
"""The tag of words outside of all entities, by convention."""

ALTERNATIVES = 10
"""How many of a vocabulary's most probable tokens a prediction lists."""


class PerToken(Texts):
    """What the heads for every token have in common."""

    has_windows = False

    def encode(self, item: Any, input_options: InputOptions) -> Encoded:
        """A text in tokens, with the ones that are to be read."""
        if input_options.long == "window":
            raise OptionError(
                "long='window' averages what classifiers say of windows, and this model says "
                "something of each token. Use long='truncate', or shorter texts."
            )
        text = super().encode(item, input_options)
        if input_options.position is None:
            return text
        return replace(text, read=(text.token_at(input_options.position),))

    def together(
        self, texts: Sequence[Encoded], side: str, query: Query, _batch_size: int
    ) -> list[Attribution]:
        """Explain several texts in one forward pass."""
        lengths = [len(text) for text in texts]
        padding = [max(lengths) - n if side == "left" else 0 for n in lengths]
        forward = self._run(texts, padding, side, query)
        query = self._with_ids(query)
        lookup = self.encoder.lookup([(text, text.windows[0]) for text in texts], side)
        scored = query.score(forward, query.targets(forward), lookup)
        scored = replace(scored, has_target_axis=self._has_target_axis(texts, scored))
        scores = window_scores(scored, lengths, side)
        provenance = provenance_of(self.model, self.name, scored)
        if scored.reads_decoder:
            starts = decoder_starts(self, forward)
        results = []
        for n, text in enumerate(texts):
            prediction, explained = self._named(scored, n, padding[n], text)
            sinks = forward.sinks[n, padding[n] : padding[n] + len(text)].cpu().numpy()
            text = replace(text, special=text.special | sinks)
            if scored.reads_decoder:
                text = text.as_decoder_inputs(starts[n])
            results.append(
                attribution(text, scored, [scores[n]], prediction, explained, provenance)
            )
        return results

    def _has_target_axis(self, texts: Sequence[Encoded], scored: ScoredBatch) -> bool:  # noqa: ARG002
        """Whether results have an axis of targets; it depends on the texts for some heads."""
        return scored.has_target_axis

    def _with_ids(self, query: Query) -> Query:
        """The query with outputs named by their ids."""
        return query

    def _run(
        self, texts: Sequence[Encoded], before: Sequence[int], side: str, query: Query
    ) -> ForwardPass:
        """The forward pass; `before` counts the padding before each text."""
        raise NotImplementedError

    def _named(
        self,
        scored: ScoredBatch,
        row: int,
        padding: int,
        text: Encoded,  # noqa: ARG002 (an answer is named by its text)
    ) -> tuple[Prediction, list[Target | None]]:
        """The model's prediction for a text and the targets explained, by name.

        `padding` counts the positions before the text's first token.
        """
        forward, targets = scored.forward, scored.targets
        assert forward.read is not None
        assert targets.positions is not None
        outputs = forward.at_positions[row].float()  # [positions, outputs]
        totals = outputs.logsumexp(-1)
        read = forward.read[row].tolist()

        def named(n: int, output: int) -> Target:
            """An output at the nth position that is read."""
            return Target(
                label=self._label(forward, output),
                id=output,
                logit=float(outputs[n, output]),
                probability=float(probability(outputs[n, output], totals[n])),
                position=read[n] - padding,
            )

        pairs = zip(targets.ids[row].tolist(), targets.positions[row].tolist(), strict=True)
        explained = [None if i < 0 else named(read.index(position), i) for i, position in pairs]
        present = [n for n, position in enumerate(read) if position >= 0]
        predicted = tuple(named(n, int(outputs[n].argmax())) for n in present)
        alternatives: tuple[Target, ...] = ()
        if len(present) == 1:
            n = present[0]
            ids: Sequence[int] = range(outputs.shape[-1])
            if forward.problem is Problem.TOKEN:
                # Of a vocabulary only the likeliest tokens, and those that were asked about.
                likeliest = outputs[n].topk(min(ALTERNATIVES, outputs.shape[-1])).indices.tolist()
                asked_about = [*targets.ids[row].tolist()]
                if scored.foils is not None:
                    asked_about.append(int(scored.foils[row, 0]))
                ids = list(dict.fromkeys([*likeliest, *(i for i in asked_about if i >= 0)]))
            alternatives = tuple(named(n, i) for i in ids)
        return Prediction(forward.problem.value, predicted, alternatives), explained

    def _label(self, forward: ForwardPass, number: int) -> str:
        return str(forward.labels[number])

    def _inputs(self, texts: Sequence[Encoded], side: str) -> dict[str, Tensor]:
        return self.encoder.batch([text.windows[0] for text in texts], side)


class Tags(PerToken):
    """Explains the tags of words."""

    def _run(
        self, texts: Sequence[Encoded], before: Sequence[int], side: str, query: Query
    ) -> ForwardPass:
        forward = ForwardPass.run(self.model, self._inputs(texts, side), layer=query.layer)
        tags = forward.captured.logits.argmax(-1)
        labels = list(forward.labels)
        outside = labels.index(OUTSIDE) if OUTSIDE in labels else -1
        places = []
        for row, (text, padding) in enumerate(zip(texts, before, strict=True)):
            read = list(text.read)
            if not read:
                first = text.first_tokens()
                read = [i for i in first if int(tags[row, i + padding]) != outside]
            if not read:
                raise InputError(
                    f"the model tags every word of the text {OUTSIDE!r}: say with position which "
                    "word's tag is to be explained."
                )
            places.append([i + padding for i in read])
        forward.read_at(_padded(places))
        return forward

    def _has_target_axis(self, texts: Sequence[Encoded], scored: ScoredBatch) -> bool:
        """Without a position the words with a tag are explained, however many there are."""
        return not texts[0].read or scored.has_target_axis


class Masks(PerToken):
    """Explains what stands at the mask."""

    def encode(self, item: Any, input_options: InputOptions) -> Encoded:
        """A text in tokens, of which one is the mask, or was named."""
        text = super().encode(item, input_options)
        if text.read:
            return text
        mask = self.encoder.mask_token
        ids = text.windows[0].inputs["input_ids"]
        places = [] if mask is None else [i for i, number in enumerate(ids) if number == mask[1]]
        if mask is None:
            raise InputError(
                "the tokenizer has no mask token: say with position which token of the text is to "
                "be explained."
            )
        if not places:
            raise InputError(
                f"the text has no {mask[0]}: put it where a word is to be predicted, or say with "
                "position which token is to be explained."
            )
        if len(places) > 1:
            raise InputError(
                f"the text has {mask[0]} {len(places)} times, and one is explained at a time: name "
                f"it by the number of its token, position={places[0]} or position={places[1]}."
            )
        return replace(text, read=(places[0],))

    def _with_ids(self, query: Query) -> Query:
        def number(target: Any) -> Any:
            return None if target is None else self.encoder.id_of(target)

        target: Any = query.target
        target = [number(t) for t in target] if isinstance(target, list) else number(target)
        return replace(query, target=target, contrast=number(query.contrast))

    def _run(
        self, texts: Sequence[Encoded], before: Sequence[int], side: str, query: Query
    ) -> ForwardPass:
        places = [
            [i + padding for i in text.read] for text, padding in zip(texts, before, strict=True)
        ]
        forward = ForwardPass.run(
            self.model, self._inputs(texts, side), layer=query.layer, position=_padded(places)
        )
        forward.labels = VocabularyLabels(len(forward.labels), self.encoder)
        return forward


class QuestionAnswering(PerToken):
    """Explains where a model finds the answer to a question in a text."""

    def encode(self, item: Any, input_options: InputOptions) -> Encoded:
        """A question and the text in which its answer is."""
        if not isinstance(item, tuple):
            raise InputError("give a question and the text with its answer, as a tuple of two.")
        if len(item) != 2:
            raise InputError(
                f"give a question and the text with its answer; got a tuple of {len(item)}."
            )
        if input_options.position is not None:
            raise OptionError(
                "name an answer as target: its text, or its first character and last + 1."
            )
        return super().encode(item, input_options)

    def _with_ids(self, query: Query) -> Query:
        return query if _are_outputs(query.target) else replace(query, target="span")

    def _run(
        self, texts: Sequence[Encoded], before: Sequence[int], side: str, query: Query
    ) -> ForwardPass:
        inputs = self._inputs(texts, side)
        length = inputs["input_ids"].shape[1]
        may = torch.zeros(len(texts), length, dtype=torch.bool)
        for row, (text, padding) in enumerate(zip(texts, before, strict=True)):
            may[row, [i + padding for i in range(len(text)) if text.segments[i] == 1]] = True
        position = None
        if not _are_outputs(query.target):
            spans = [_span(text, query.target) for text in texts]
            position = torch.tensor(
                [[i + p for i in span] for span, p in zip(spans, before, strict=True)]
            )
        return ForwardPass.run(
            self.model, inputs, layer=query.layer, position=position, answerable=may
        )

    def _named(
        self, scored: ScoredBatch, row: int, padding: int, text: Encoded
    ) -> tuple[Prediction, list[Target | None]]:
        forward = scored.forward
        assert forward.read is not None
        start, end = (forward.read[row] - padding).tolist()
        first, last = int(text.offsets[start, 0]), int(text.offsets[end, 1])
        outputs = forward.prediction[row].float()  # [start, end, span]
        # Start and end are each a distribution over the text's tokens, [sequence, 2].
        logits = forward.captured.logits[row, :, :2].float()[forward.mask[row]]
        probabilities = [float(probability(outputs[i], logits[:, i].logsumexp(0))) for i in (0, 1)]
        probabilities.append(probabilities[0] * probabilities[1])
        labels = ["start", "end", text.texts[1][first:last].strip()]
        answers = [
            Target(label, i, float(outputs[i]), probabilities[i], position)
            for i, (label, position) in enumerate(zip(labels, [start, end, start], strict=True))
        ]
        explained = [answers[i] if i >= 0 else None for i in scored.targets.ids[row].tolist()]
        return Prediction(forward.problem.value, (answers[2],), tuple(answers)), explained


def _are_outputs(target: Any) -> bool:
    """Whether a target of question answering names outputs rather than an answer."""
    several = target if isinstance(target, list) else [target]
    names = ("start", "end", "span", "all")
    return all(
        t is None or isinstance(t, int) or (isinstance(t, str) and t in names) for t in several
    )


def _span(text: Encoded, named: Any) -> tuple[int, int]:
    """The first and the last token of an answer that was named by its text or characters."""
    if isinstance(named, str):
        inside = text.tokens_of(named, 1)
    elif isinstance(named, tuple) and len(named) == 2:
        inside = text.tokens_within(*named, 1)
    else:
        raise OptionError(
            "an answer is named by its text, or a tuple of its first character and last + 1; got "
            f"{named!r}. Or ask for 'start', 'end' or 'span'."
        )
    return inside[0], inside[-1]


def _padded(places: Sequence[Sequence[int]]) -> Tensor:
    """Lists of positions as one tensor, shorter ones ending in -1."""
    width = max(map(len, places))
    return torch.tensor([[*row, *[-1] * (width - len(row))] for row in places])
