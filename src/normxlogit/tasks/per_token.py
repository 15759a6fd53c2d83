"""Heads that give outputs for every token: tags, masked and next tokens, answers in a text."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from normxlogit.errors import InputError, OptionError
from normxlogit.model.forward import ForwardPass
from normxlogit.model.numerics import probability
from normxlogit.model.targets import Asked, Problem, TokenIds, is_several
from normxlogit.query import Query
from normxlogit.results.assemble import assemble, provenance_of, rows_of
from normxlogit.results.base import Prediction, Target
from normxlogit.results.text import Attribution
from normxlogit.tasks import Reading
from normxlogit.tasks.batches import Texts
from normxlogit.tasks.classification import decoder_starts
from normxlogit.text.encoded import Encoded
from normxlogit.text.encoder import Encoder

OUTSIDE = "O"
"""The tag of words that are none of what a tagger looks for, by the convention of its data sets."""

ALTERNATIVES = 10
"""How many of a vocabulary's most probable tokens a prediction lists."""


class PerToken(Texts):
    """What the heads for every token have in common."""

    has_windows = False

    def encode(self, item: Any, reading: Reading) -> Encoded:
        """A text in tokens, with the ones that are to be read."""
        if reading.long == "window":
            raise OptionError(
                "long='window' averages what classifiers say of windows, and this model says "
                "something of each token. Use long='truncate', or shorter texts."
            )
        text = super().encode(item, reading)
        if reading.position is None:
            return text
        return replace(text, read=(text.token_at(reading.position),))

    def together(
        self, texts: Sequence[Encoded], side: str, query: Query, _batch_size: int
    ) -> list[Attribution]:
        """Explain several texts in one forward pass."""
        lengths = [len(text) for text in texts]
        before = [max(lengths) - n if side == "left" else 0 for n in lengths]
        forward = self._run(texts, before, side, query)
        query = self._with_ids(query)
        asked = query.asked(forward)
        lookup = self.encoder.lookup([(text, text.windows[0]) for text in texts], side)
        answer = query.answer(forward, asked, lookup)
        several = self._has_several(texts, query, forward)
        if several and answer.scores.dim() == 2 + (query.layer == "all"):
            values = answer.values
            answer = replace(
                answer,
                scores=answer.scores[:, None],
                values=None if values is None else values[:, None],
            )
        rows = rows_of(answer, lengths, side)
        foil = None if answer.contrast is None else self._label(forward, int(answer.contrast[0]))
        provenance = provenance_of(self.model, self.name, query, answer, foil)
        axes = ("target",) * several + ("layer",) * (query.layer == "all")
        if answer.reads_decoder:
            starts = decoder_starts(self, forward)
        found = []
        contrasts = [-1] * len(texts) if answer.contrast is None else answer.contrast.tolist()
        for n, text in enumerate(texts):
            said, targets = self._said(forward, asked, n, before[n], text, contrasts[n])
            sinks = forward.sinks[n, before[n] : before[n] + len(text)].cpu().numpy()
            text = replace(text, special=text.special | sinks)
            shown = text.as_decoder_inputs(starts[n]) if answer.reads_decoder else text
            found.append(assemble(shown, [rows[n]], said, targets, answer.layers, axes, provenance))
        return found

    def _has_several(
        self,
        texts: Sequence[Encoded],  # noqa: ARG002 (of taggers it depends on them)
        query: Query,
        forward: ForwardPass,
    ) -> bool:
        """Whether results have an axis of targets, however many these are."""
        return is_several(query.target, forward.problem, len(forward.labels))

    def _with_ids(self, query: Query) -> Query:
        """The question with outputs named as the core knows them."""
        return query

    def _run(
        self, texts: Sequence[Encoded], before: Sequence[int], side: str, query: Query
    ) -> ForwardPass:
        """The forward pass; `before` counts the padding before each text."""
        raise NotImplementedError

    def _said(
        self,
        forward: ForwardPass,
        asked: Asked,
        row: int,
        before: int,
        text: Encoded,  # noqa: ARG002 (an answer is told by its text)
        contrast: int,
    ) -> tuple[Prediction, list[Target | None]]:
        """What the model said of a text, and what is explained of it.

        `before` counts the padding before the text, `contrast` is an output's id or -1.
        """
        assert forward.read is not None
        assert asked.positions is not None
        outputs = forward.at_positions[row].float()
        totals = outputs.logsumexp(-1)
        places = forward.read[row].tolist()
        asked_of = list(zip(asked.ids[row].tolist(), asked.positions[row].tolist(), strict=True))
        targets = [
            None
            if i < 0
            else self._target(forward, outputs[n := places.index(p)], totals[n], i, p - before)
            for i, p in asked_of
        ]
        known = [(n, place) for n, place in enumerate(places) if place >= 0]
        predicted = [
            self._target(forward, outputs[n], totals[n], int(outputs[n].argmax()), place - before)
            for n, place in known
        ]
        alternatives: list[Target] = []
        if len(known) == 1:
            number, place = known[0]
            ids: Sequence[int] = range(outputs.shape[-1])
            if forward.problem is Problem.TOKEN:
                top = outputs[number].topk(min(ALTERNATIVES, outputs.shape[-1])).indices.tolist()
                others = [i for i, _ in asked_of] + [contrast]
                ids = list(dict.fromkeys([*top, *(i for i in others if i >= 0)]))
            alternatives = [
                self._target(forward, outputs[number], totals[number], i, place - before)
                for i in ids
            ]
        return (
            Prediction(forward.problem.value, tuple(predicted), tuple(alternatives)),
            targets,
        )

    def _target(
        self, forward: ForwardPass, outputs: Tensor, total: Tensor, number: int, position: int
    ) -> Target:
        return Target(
            label=self._label(forward, number),
            id=number,
            logit=float(outputs[number]),
            probability=float(probability(outputs[number], total)),
            position=position,
        )

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

    def _has_several(self, texts: Sequence[Encoded], query: Query, forward: ForwardPass) -> bool:
        """Without a position several words may be explained."""
        return not texts[0].read or super()._has_several(texts, query, forward)


class Words(TokenIds):
    """The outputs of a language model by what they say."""

    def __init__(self, size: int, encoder: Encoder) -> None:
        super().__init__(size)
        self._encoder = encoder

    def __getitem__(self, index: Any) -> str:
        return self._encoder.text_of([index])


class Masks(PerToken):
    """Explains what stands at the mask."""

    def encode(self, item: Any, reading: Reading) -> Encoded:
        """A text in tokens, of which one is the mask, or was named."""
        text = super().encode(item, reading)
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
        forward.labels = Words(len(forward.labels), self.encoder)
        return forward


class Answers(PerToken):
    """Explains where a model finds the answer to a question in a text."""

    def encode(self, item: Any, reading: Reading) -> Encoded:
        """A question and the text in which its answer is."""
        if not isinstance(item, tuple):
            raise InputError("give a question and the text with its answer, as a tuple of two.")
        if len(item) != 2:
            raise InputError(
                f"give a question and the text with its answer; got a tuple of {len(item)}."
            )
        if reading.position is not None:
            raise OptionError(
                "name an answer as target: its text, or its first character and last + 1."
            )
        return super().encode(item, reading)

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

    def _said(
        self,
        forward: ForwardPass,
        asked: Asked,
        row: int,
        before: int,
        text: Encoded,
        _contrast: int,
    ) -> tuple[Prediction, list[Target | None]]:
        assert forward.read is not None
        start, end = (forward.read[row] - before).tolist()
        begin, stop = int(text.offsets[start, 0]), int(text.offsets[end, 1])
        outputs = forward.prediction[row].float()
        own = forward.captured.logits[row, :, :2].float()
        mask = forward.mask[row]
        chances = [float(probability(outputs[i], own[mask, i].logsumexp(0))) for i in (0, 1)]
        chances.append(chances[0] * chances[1])
        labels = ["start", "end", text.texts[1][begin:stop].strip()]
        places = [start, end, start]
        made = [
            Target(label, i, float(outputs[i]), chances[i], places[i])
            for i, label in enumerate(labels)
        ]
        targets = [made[i] if i >= 0 else None for i in asked.ids[row].tolist()]
        return Prediction(forward.problem.value, (made[2],), tuple(made)), targets


def _are_outputs(target: Any) -> bool:
    """Whether a target of question answering names outputs rather than an answer."""
    several = target if isinstance(target, list) else [target]
    return all(t in (None, "start", "end", "span", "all") or isinstance(t, int) for t in several)


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
