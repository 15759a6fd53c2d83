"""The result for texts: tokens and their scores."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from normxlogit.data.option_checks import flag, whole_number
from normxlogit.data.plain import Plain
from normxlogit.errors import InputError, NormXLogitError, OptionError
from normxlogit.results.base import Result
from normxlogit.results.interchange.shap import shap_explanation
from normxlogit.results.prediction import with_positions
from normxlogit.results.ranking import strongest_first
from normxlogit.results.reductions import check_reduction, combined, read_reductions, reduce_runs
from normxlogit.results.verification import Verification, read_verifications
from normxlogit.text.message import Message, read_message
from normxlogit.text.words import (
    Span,
    are_spans,
    are_words,
    checked_span,
    first_visible,
    inside_characters,
    line_spans,
    owners,
    sentence_spans,
)

if TYPE_CHECKING:
    from shap import Explanation

Text = TypeVar("Text", bound="Attribution")

FAILURE_SCHEMA = "normxlogit/failure/1"

UNITS = ("token", "word", "sentence", "line", "message", "role", "span")
"""What the tokens of an `Attribution` may be."""


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Attribution(Result, kind="text"):
    """How much each token of a text supports what the model predicted.

    Attributes:
        texts: the text, or the two of a pair.
        tokens: the tokens, as the tokenizer spells them; after `words()` and the like, as the text
            does.
        scores, norms, logits: as in `Result`, the last dimension being the tokens; norms and logits
            are None after summing.
        special: whether a token was added by the tokenizer or is a sink, bool [tokens].
        offsets: first character and last + 1 of each token in its text, int32 [tokens, 2].
        segments: the number of each token's text, int32 [tokens]; -1 for special tokens.
        word_numbers: the number of each token's word, int32 [tokens]; -1 for special tokens.
        unit: "token", "word", "sentence", "line", "message", "role" or "span".
        reductions: how the scores of tokens became those of larger units, "sum", "mean" or "max":
            one, or several in turn, as in `words(reduce="max").sentences()`; empty for tokens.
        messages: where the messages of a chat are in its first text; empty for other texts.
        verifications: for each target how far the scores hold when words are hidden; None before
            `Explainer.verify`.
    """

    _own_fields: ClassVar[tuple[str, ...]] = (
        *("unit", "texts", "tokens", "special", "offsets", "segments", "word_numbers"),
        *("messages", "reductions", "verifications"),
    )

    texts: tuple[str, ...]
    tokens: tuple[str, ...]
    special: NDArray[np.bool_]
    offsets: NDArray[np.int32]
    segments: NDArray[np.int32]
    word_numbers: NDArray[np.int32]
    unit: str = "token"
    reductions: tuple[str, ...] = ()
    messages: tuple[Message, ...] = ()
    verifications: tuple[Verification, ...] | None = None

    @property
    def text(self) -> str:
        """The text, or the first of a pair."""
        return self.texts[0]

    @property
    def verification(self) -> Verification | None:
        """How far the scores hold when words are hidden; None before `Explainer.verify`.

        Raises:
            OptionError: several targets are explained; `verifications` has them.
        """
        self.target  # noqa: B018
        return None if self.verifications is None else self.verifications[0]

    @property
    def sinks(self) -> list[int]:
        """The numbers of the tokens that count as special because they are sinks.

        Decoders park attention on the first token; see docs/method.md.
        """
        return [int(i) for i in np.flatnonzero(self.special) if self.segments[i] >= 0]

    def at(self: Text, number: int) -> Text:
        """Return the part that explains the target of this number in `targets`.

        Raises:
            OptionError: there are not as many. Negative ones count from the last.
        """
        part = super().at(number)
        if self.verifications is None:
            return part
        return replace(part, verifications=(self.verifications[number],))

    def words(self: Text, reduce: str = "sum") -> Text:
        """Make one score of those of each word's tokens; special tokens stay as they are.

        A word ends where a message of a chat does.

        Args:
            reduce: "sum"; "mean", which does not grow with the number of tokens; or "max", the
                score of the largest magnitude with its sign. Only sums add up: what is reduced
                otherwise has no base value. See docs/words.md.

        Raises:
            OptionError: there is no such reduction, or the method scored whole words, of which
                only the sum says anything.
        """
        message = [-1] * len(self)
        if self.messages:
            spans = [(m.start, m.end) for m in self.messages]
            for number, tokens in enumerate(self._within(spans, 0)):
                for i in tokens:
                    message[i] = number
        groups: dict[tuple[int, int], list[int]] = {}
        keys = zip(self.word_numbers.tolist(), message, strict=True)
        for i, (key, is_special) in enumerate(zip(keys, self.special.tolist(), strict=True)):
            if not is_special and key[0] >= 0:
                groups.setdefault(key, []).append(i)
        return self._grouped(list(groups.values()), "word", reduce)

    def sentences(self: Text, reduce: str = "sum") -> Text:
        """Make one score of those of each sentence, see `normxlogit.text.words.sentence_spans`.

        Args:
            reduce: as in `words`.

        Raises:
            OptionError: as in `words`.
        """
        groups = []
        for segment, text in enumerate(self.texts):
            parts = [] if segment else [(m.start, m.end) for m in self.messages]
            groups += self._within(sentence_spans(text, parts), segment)
        return self._grouped([group for group in groups if len(group)], "sentence", reduce)

    def by(
        self: Text, parts: str | Sequence[Span], *, segment: int = 0, reduce: str = "sum"
    ) -> Text:
        """Make one score of those of each part of the text.

        A token belongs to the first part that holds its first visible character; tokens in no part
        are left out, special ones too.

        Args:
            parts: "word", "sentence" or "line"; for a chat "message" or "role", where the answer,
                if any, is a message of the assistant; or the first character and last + 1 of each
                part, in the order wanted.
            segment: the number of the text that characters are counted in.
            reduce: as in `words`.

        Raises:
            InputError: a span is empty or outside of the text, or holds no token.
            OptionError: the name of the parts is unknown, there are none, or the text is no chat;
                there is no such segment; as in `words`.
        """
        if not isinstance(parts, str):
            groups = self._checked_groups(parts, segment)
            return self._grouped(groups, "span", reduce, keep_special=False)
        if parts == "word":
            return self.words(reduce)
        if parts == "sentence":
            return self.sentences(reduce)
        if parts == "line":
            groups = [
                g for n, text in enumerate(self.texts) for g in self._within(line_spans(text), n)
            ]
            return self._grouped([g for g in groups if len(g)], "line", reduce)
        if parts not in ("message", "role"):
            raise _no_parts(parts)
        if not self.messages:
            raise OptionError(f"by({parts!r}) needs a chat, and this text has no messages.")
        groups = self._within([(m.start, m.end) for m in self.messages], 0)
        roles = [message.role for message in self.messages]
        if len(self.texts) > 1:
            groups.append(np.flatnonzero((self.segments == 1) & ~self.special))
            roles.append("assistant")
        named = [(role, g) for role, g in zip(roles, groups, strict=True) if len(g)]
        if parts == "role":
            of_role = {r: np.concatenate([g for s, g in named if s == r]) for r, _ in named}
            named = list(of_role.items())
        grouped = self._grouped([group for _, group in named], parts, reduce, keep_special=False)
        if parts == "role":
            grouped = replace(grouped, tokens=tuple(role for role, _ in named))
        return grouped

    def top(
        self, count: int = 5, *, by: str = "score", special: bool = False
    ) -> list[tuple[str, float]]:
        """Return the tokens that support the target most with their scores, the highest first.

        Args:
            count: how many.
            by: "score", or "magnitude" for the tokens that count most, for the target or against
                it, the largest first.
            special: whether special tokens are among them.

        Raises:
            OptionError: the count is no whole number from 0, another option has no such value, or
                the scores are of several targets or layers.
        """
        count, special = whole_number("count", count, least=0), flag("special", special)
        scores = self.only().scores
        shown = ~np.isnan(scores) & (special | ~self.special)
        order = [int(i) for i in strongest_first(scores, by) if shown[i]]
        return [(self.tokens[i], float(scores[i])) for i in order[:count]]

    def to_shap(self) -> "Explanation":
        """Return the scores as a `shap.Explanation` (extra `shap`), for the plots of that package.

        Its `values` are [tokens], with several targets [tokens, targets]; its `data` are the
        tokens, each with the characters that it covers and the space after it. If the scores are
        additive, `base_values + values.sum(0)` is what the method explains (see `base_value`). For
        all other methods `base_values` is nan, so that nothing passes for such a sum: shap's bar
        plot draws them, and its waterfall, force and text plots need a base value.

        Raises:
            OptionError: the scores are of several layers, or the tokens that have scores differ
                between targets, as they do in generated text.
            MissingExtraError: shap is not installed.
        """
        if len(self.layers) > 1:
            raise OptionError(
                f"shap knows no layers, and this attribution has {len(self.layers)}. Use "
                "a.select(layer=...) for one of them."
            )
        scores = self.scores.reshape(len(self.targets), len(self))
        scored = ~np.isnan(scores)  # [targets, tokens]
        if (scored != scored[0]).any():
            raise OptionError(
                "the tokens that have scores differ between targets, which shap does not know. Use "
                "a.at(number) for one of them, or a.whole() for all of an answer."
            )
        numbers = np.flatnonzero(scored[0])
        return shap_explanation(
            scores[:, numbers],
            self.base,
            [self._piece(number) for number in numbers.tolist()],
            [target.label for target in self.targets],
        )

    def _piece(self, number: int) -> str:
        """Return the characters of a token with the space before the next one."""
        segment, (start, end) = self.segments[number], self.offsets[number]
        if segment < 0:
            return self.tokens[number]
        text: str = self.texts[segment]
        after = text[end:]
        if number + 1 < len(self) and self.segments[number + 1] == segment:
            after = text[end : max(end, self.offsets[number + 1, 0])]
        return text[start:end] + after[: len(after) - len(after.lstrip())]

    def __repr__(self) -> str:
        targets = ", ".join(map(str, self.targets))
        return f"<Attribution of {targets} to {len(self)} {self.unit}s of {self.text!r:.60}>"

    def _own_columns(self) -> dict[str, Any]:
        return {
            "token": self.tokens,
            "start": self.offsets[:, 0],
            "end": self.offsets[:, 1],
            "segment": self.segments,
            "word": self.word_numbers,
            "special": self.special,
        }

    def _own_to_dict(self) -> dict[str, Any]:
        return {
            "unit": self.unit,
            "reductions": list(self.reductions),
            "texts": list(self.texts),
            "tokens": list(self.tokens),
            "special": self.special.tolist(),
            "offsets": self.offsets.tolist(),
            "segments": self.segments.tolist(),
            "word_numbers": self.word_numbers.tolist(),
            "messages": [asdict(message) for message in self.messages],
            # Only where the model was run for it, so that other results stay as they were.
            **(
                {}
                if self.verifications is None
                else {"verifications": [asdict(v) for v in self.verifications]}
            ),
        }

    @classmethod
    def _own_from_dict(cls, data: Plain, common: Mapping[str, Any]) -> dict[str, Any]:
        count = common["scores"].shape[-1]
        texts = tuple(text.text() for text in data.get("texts").items(1, 2))
        special = data.get("special").flags((count,))
        segments = data.get("segments").integers((count,), -1, len(texts) - 1)
        offsets = data.get("offsets").integers((count, 2))
        words = data.get("word_numbers").integers((count,), -1)
        data.get("special").require(special[segments < 0].all(), "true for tokens of no text")
        lengths = np.array([*map(len, texts), max(map(len, texts))])  # the last for tokens of none
        data.get("offsets").require(are_spans(offsets, lengths[segments]), "parts of the texts")
        data.get("word_numbers").require(
            are_words(words[~special], segments[~special]),
            "a number from 0 for each token that is not special, and of one text for each number",
        )
        unit = data.get("unit").choice(UNITS)
        return {
            "unit": unit,
            "reductions": read_reductions(data, unit, common["base"]),
            "texts": texts,
            "tokens": tuple(token.text() for token in data.get("tokens").items(count, count)),
            "special": special,
            "offsets": offsets,
            "segments": segments,
            "word_numbers": words,
            "messages": tuple(
                read_message(message, len(texts[0])) for message in data.get("messages").items()
            ),
            "verifications": read_verifications(
                data,
                len(common["targets"]),
                has_probabilities=common["prediction"].problem != "regression",
            ),
        }

    def _checked_groups(self, parts: Any, segment: int) -> list[NDArray[np.intp]]:
        segment = whole_number("segment", segment, least=0, most=len(self.texts) - 1)
        text = self.texts[segment]
        listed = parts.tolist() if isinstance(parts, np.ndarray) else parts
        if not isinstance(listed, (list, tuple)) or not listed:
            raise _no_parts(parts)
        spans = [checked_span(part, text) for part in listed]
        groups = self._within(spans, segment)
        for span, group in zip(spans, groups, strict=True):
            if not len(group):
                raise InputError(f"span {tuple(span)} ({text[slice(*span)]!r}) holds no token.")
        return groups

    def _within(self, spans: Sequence[Span], segment: int) -> list[NDArray[np.intp]]:
        """Return the numbers of the tokens of each span, see `owners`."""
        tokens = np.flatnonzero((self.segments == segment) & ~self.special)
        numbers = owners(self.texts[segment], self.offsets[tokens], spans)
        return [tokens[numbers == n] for n in range(len(spans))]

    def _grouped(
        self: Text,
        groups: Sequence[Sequence[int] | NDArray[np.intp]],
        unit: str,
        reduce: str,
        keep_special: bool = True,
    ) -> Text:
        """Make one score of those of each group of tokens; no token is in two of them."""
        method = self.provenance
        reduce = check_reduction("reduce", reduce, method.method, method.options)
        special, segments = self.special.tolist(), self.segments.tolist()
        if keep_special:
            alone = [[i] for i, is_special in enumerate(special) if is_special]
            groups = sorted([*groups, *alone], key=lambda group: group[0])
        if not groups:
            raise InputError(f"no {unit} of this text holds a token, so nothing has a score.")
        sizes = [len(group) for group in groups]
        # Tokens group by group, so that a group is a run and numpy can reduce all runs at once.
        order = np.fromiter(itertools.chain.from_iterable(groups), np.intp, sum(sizes))
        starts = np.cumsum([0, *sizes[:-1]])
        first = order[starts]
        begins = np.minimum.reduceat(self.offsets[order, 0], starts).tolist()
        ends = np.maximum.reduceat(self.offsets[order, 1], starts).tolist()
        within = [inside_characters(text) for text in self.texts]
        tokens = []
        for n, i in enumerate(first.tolist()):
            if special[i]:
                tokens.append(self.tokens[i])
                continue
            text, inside = self.texts[segments[i]], within[segments[i]]
            # A group may end within what a reader sees as one character; then all of it is shown.
            while ends[n] in inside:
                ends[n] += 1
            visible = first_visible(text, begins[n], ends[n])
            if visible < ends[n]:
                begins[n] = visible
            part = text[begins[n] : ends[n]]
            tokens.append(part.strip() or part)
        places = np.full(len(self), -1)
        places[order] = np.repeat(np.arange(len(groups)), sizes)
        prediction = self.prediction
        return replace(
            self,
            targets=with_positions(self.targets, places),
            prediction=replace(
                prediction,
                predicted=with_positions(prediction.predicted, places),
                outputs=with_positions(prediction.outputs, places),
            ),
            tokens=tuple(tokens),
            scores=reduce_runs(self.scores[..., order], starts, reduce),
            base=self.base if reduce == "sum" else None,
            reductions=combined(self.reductions, reduce),
            special=self.special[first],
            offsets=np.array(list(zip(begins, ends, strict=True)), np.int32),
            segments=self.segments[first],
            word_numbers=self.word_numbers[first],
            norms=None,
            logits=None,
            unit=unit,
        )


@dataclass(frozen=True)
class Failure:
    """An item of a list that could not be explained, in the place of its result.

    Attributes:
        item: the text, pair, or other input.
        error: why it could not be explained.
    """

    item: Any
    error: NormXLogitError

    def __str__(self) -> str:
        return f"not explained: {self.error}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON, as docs/json.md describes it."""
        return {"schema": FAILURE_SCHEMA, "item": self.item, "error": str(self.error)}


def _no_parts(parts: Any) -> OptionError:
    return OptionError(
        "parts must be word, sentence, line, message, role, or a list of spans of characters; got "
        f"{parts!r:.80}."
    )
