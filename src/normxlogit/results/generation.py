"""The result for generated text: every new token with its scores over all tokens before it."""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from normxlogit.data.plain import Plain
from normxlogit.errors import InputError, OptionError
from normxlogit.results.base import Floats
from normxlogit.results.prediction import Prediction, Target
from normxlogit.results.text import Attribution
from normxlogit.text.words import Span, are_spans, checked_span


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class GenerationAttribution(Attribution, kind="generation"):
    """An `Attribution` of generated text: how much each token before it supports each new token.

    Its targets are the tokens of the answer in order. Its tokens are those of the prompt (for an
    encoder-decoder the source, and what the decoder starts with) and then those of the answer.
    `words()`, `by(...)` and the like sum over tokens that are scored, or reduce them otherwise;
    `span(...)` and `whole()` sum over tokens of the answer that are explained. Their order matters
    with `reduce="max"` alone: `g.whole().words(reduce="max")` finds each word's largest token for
    the answer as a whole, `g.words(reduce="max").whole()` that for each token of the answer.

    Attributes:
        texts: the prompt and the answer.
        segments: 0 for tokens of the prompt, 1 for those of the answer, -1 for special tokens.
        scores: float32 [answer, tokens] (with all layers [answer, layers, tokens]), nan for
            tokens that are not before the one that is explained.
        answer_offsets: first character and last + 1 of each of the answer's tokens in the answer,
            int32 [answer, 2].
        answer_special: whether it is a special token, such as the end of the text, bool [answer].
        cut_after: the number of new tokens at which a limit ended the answer; None if it ended by
            itself or at a text to stop at, or was given.
    """

    _own_fields: ClassVar[tuple[str, ...]] = (
        *Attribution._own_fields,
        "answer_offsets",
        "answer_special",
        "cut_after",
    )

    answer_offsets: NDArray[np.int32]
    answer_special: NDArray[np.bool_]
    cut_after: int | None = None

    @property
    def prompt(self) -> str:
        """The prompt as the model got it; for an encoder-decoder, the source."""
        return self.texts[0]

    @property
    def answer(self) -> str:
        """The text that was generated, or that the user gave to be explained."""
        return self.texts[1]

    def at(self, number: int) -> "GenerationAttribution":
        """Return the part that explains the token of this number in the answer."""
        return replace(
            super().at(number),
            answer_offsets=self.answer_offsets[[number]],
            answer_special=self.answer_special[[number]],
        )

    def with_target_axis(self) -> "GenerationAttribution":
        """Return the same with scores [answer, ...] also where the answer is one token."""
        if "target" in self.axes:
            return self
        return replace(
            self,
            scores=self.scores[None],
            logits=None if self.logits is None else self.logits[None],
            axes=("target", *self.axes),
        )

    def whole(self) -> Attribution:
        """Return what the answer as a whole rests on: the sum over its tokens but special ones."""
        explained = np.flatnonzero(~self.answer_special)
        return self._joined(explained if len(explained) else np.arange(len(self.targets)))

    def span(self, part: str | Span) -> Attribution:
        """Return what a part of the answer rests on: the sum over its tokens.

        Args:
            part: text that occurs once in the answer, or its first character and last + 1.

        Raises:
            InputError: there is no such part, or it holds no token.
            OptionError: the text occurs several times.
        """
        if isinstance(part, str):
            count = self.answer.count(part) if part else 0
            if count > 1:
                raise OptionError(
                    f"{part!r} occurs {count} times in the answer: give its first character and "
                    "last + 1."
                )
            if not count:
                raise InputError(f"{part!r} does not occur in the answer {self.answer!r:.80}.")
            start = self.answer.index(part)
            part = (start, start + len(part))
        start, end = checked_span(part, self.answer)
        a, b = self.answer_offsets.T
        inside = np.flatnonzero((a < end) & (b > start) & (b > a))
        if not len(inside):
            raise InputError(f"span ({start}, {end}) of the answer holds no token.")
        return self._joined(inside)

    def _joined(self, explained: NDArray[np.intp]) -> Attribution:
        """Return the sum over these targets, for the tokens before the last of them."""
        if "target" not in self.axes:
            return self.with_target_axis()._joined(explained)
        targets = [self.targets[n] for n in explained]
        scored = ~np.isnan(self.scores[explained[-1]]).reshape(-1, len(self)).any(0)  # [tokens]
        begin, end = self.answer_offsets[explained[0], 0], self.answer_offsets[explained[-1], 1]
        probabilities = [t.probability for t in targets if t.probability is not None]
        joint = Target(
            label=self.answer[begin:end] or targets[0].label,
            id=targets[0].id,
            logit=float(sum(t.logit for t in targets)),
            probability=float(np.prod(probabilities)) if probabilities else None,
            position=targets[0].position,
        )

        def summed(values: Floats | None) -> Floats | None:
            return None if values is None else np.nansum(values[explained], 0)[..., scored]

        scores = summed(self.scores)
        assert scores is not None
        return Attribution(
            texts=self.texts,
            tokens=tuple(itertools.compress(self.tokens, scored)),
            scores=scores,
            special=self.special[scored],
            offsets=self.offsets[scored],
            segments=self.segments[scored],
            word_numbers=self.word_numbers[scored],
            unit=self.unit,
            reductions=self.reductions,
            messages=self.messages,
            axes=self.axes[1:],
            targets=(joint,),
            layers=self.layers,
            prediction=Prediction(self.prediction.problem, (joint,), ()),
            provenance=self.provenance,
            norms=None if self.norms is None else self.norms[scored],
            logits=summed(self.logits),
        )

    def _own_to_dict(self) -> dict[str, Any]:
        return super()._own_to_dict() | {
            "answer_offsets": self.answer_offsets.tolist(),
            "answer_special": self.answer_special.tolist(),
            "cut_after": self.cut_after,
        }

    @classmethod
    def _own_from_dict(cls, data: Plain, common: Mapping[str, Any]) -> dict[str, Any]:
        fields = super()._own_from_dict(data, common)
        data.get("texts").items(2, 2)
        data.get("prediction").get("problem").choice(("token",))
        count = len(common["targets"])
        # [answer, ...]: what the answer as a whole rests on is known where its last token's is.
        scored = ~np.isnan(common["scores"].reshape(count, -1)).all(1)
        data.get("scores").require(scored.all(), "a number at least for each token of the answer")
        offsets = data.get("answer_offsets").integers((count, 2))
        data.get("answer_offsets").require(
            are_spans(offsets, len(fields["texts"][1])), "parts of the answer"
        )
        return fields | {
            "answer_offsets": offsets,
            "answer_special": data.get("answer_special").flags((count,)),
            "cut_after": _read_cut(data),
        }


def _read_cut(data: Plain) -> int | None:
    """Read where an answer was cut; results of older versions have no such field."""
    if "cut_after" not in data.value:
        return None
    return data.get("cut_after").optional(lambda count: count.integer(least=1))
