"""The result: tokens and their scores, what they explain, and what made them."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .errors import InputError, NormXLogitError, OptionError
from .files import write_whole
from .words import Span, inside_characters, sentence_spans

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import RenderableType

SCHEMA = "normxlogit/attribution/1"

Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Target:
    """An output of the model.

    Attributes:
        label: its name.
        id: its number.
        logit: what the model's head gave; the value itself if the model is a regression.
        probability: by softmax, or sigmoid if several labels may hold; None in a regression.
    """

    label: str
    id: int
    logit: float
    probability: float | None

    @property
    def value(self) -> float:
        """The probability, or the value of a regression."""
        return self.logit if self.probability is None else self.probability

    def __str__(self) -> str:
        return f"{self.label} {self.value:.3f}"


@dataclass(frozen=True)
class Prediction:
    """What the model said.

    Attributes:
        problem: "single_label_classification", "multi_label_classification" or "regression".
        outputs: every output, in the order of their ids.
        predicted: the ids that count as predicted: the largest, or with several labels all those
            over the threshold (there may be none), or every value of a regression.
    """

    problem: str
    outputs: tuple[Target, ...]
    predicted: tuple[int, ...]

    @property
    def top(self) -> Target:
        """The output with the largest logit."""
        return max(self.outputs, key=lambda output: output.logit)

    @property
    def label(self) -> str:
        """The label of `top`."""
        return self.top.label

    @property
    def id(self) -> int:
        """The id of `top`."""
        return self.top.id

    @property
    def probability(self) -> float | None:
        """The probability of `top`, the model's confidence; None in a regression."""
        return self.top.probability

    def __str__(self) -> str:
        return ", ".join(str(self.outputs[i]) for i in self.predicted) or "no label"


@dataclass(frozen=True)
class Provenance:
    """What made an attribution.

    Attributes:
        model: the name or folder that the model came from.
        revision: the commit of the Hub repository, if known.
        architecture: the model's class.
        dtype: of its weights.
        method, readout, contrast, options: what was asked; the contrast by its label.
        versions: of normxlogit, torch and transformers.
    """

    model: str
    revision: str | None
    architecture: str
    dtype: str
    method: str
    readout: str
    contrast: str | None
    options: Mapping[str, Any]
    versions: Mapping[str, str]


@dataclass(frozen=True, eq=False, repr=False)
class Attribution:
    """How much each token of a text speaks for what a model said of it.

    Attributes:
        texts: the text, or the two of a pair.
        tokens: as the tokenizer spells them; after `words()` and the like, as the text does.
        scores: float32 [tokens]; positive speaks for the target. With several targets
            [targets, tokens], with all layers [layers, tokens], with both
            [targets, layers, tokens].
        special: whether a token was put there by the tokenizer, bool [tokens].
        offsets: first character and last + 1 of each token in its text, int32 [tokens, 2].
        segments: the number of the text that each token is from, int32 [tokens]; -1 for special
            ones.
        word_numbers: the number of each token's word, int32 [tokens]; -1 for special ones.
        unit: "token", "word", "sentence" or "span".
        axes: the names of the dimensions of `scores` before the last: "target", "layer".
        targets: what is explained.
        layers: the layers that the head was put on.
        prediction: what the model said.
        norms: ||x_i^0||_2, float32 [tokens]; None where not defined, and after summing.
        logits: what the readout gave, like `scores`; None if the method does not read the head, and
            after summing.
        provenance: what made it.
    """

    texts: tuple[str, ...]
    tokens: tuple[str, ...]
    scores: Floats
    special: NDArray[np.bool_]
    offsets: NDArray[np.int32]
    segments: NDArray[np.int32]
    word_numbers: NDArray[np.int32]
    axes: tuple[str, ...]
    targets: tuple[Target, ...]
    layers: tuple[int, ...]
    prediction: Prediction
    provenance: Provenance
    norms: Floats | None = None
    logits: Floats | None = None
    unit: str = "token"

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def text(self) -> str:
        """The text, or the first of a pair."""
        return self.texts[0]

    @property
    def target(self) -> Target:
        """What is explained.

        Raises:
            OptionError: it explains several targets; `targets` has them.
        """
        if len(self.targets) != 1:
            names = ", ".join(t.label for t in self.targets)
            raise OptionError(
                f"this attribution explains {len(self.targets)} targets ({names}). "
                "Use a.targets, or a.select(target=...) for one of them."
            )
        return self.targets[0]

    def select(self, *, target: str | int | None = None, layer: int | None = None) -> "Attribution":
        """The part that explains one target (by label or id), at one layer."""
        part = self
        if target is not None:
            keys = [key for t in self.targets for key in (t.label, t.id)]
            if target not in keys:
                raise OptionError(f"target {target!r} is not among {', '.join(map(str, keys))}.")
            index = keys.index(target) // 2
            part = part._take("target", index, targets=(self.targets[index],))
        if layer is not None:
            if layer not in self.layers:
                raise OptionError(f"layer {layer!r} is not among {self.layers}.")
            part = part._take("layer", self.layers.index(layer), layers=(layer,))
        return part

    def single(self) -> Iterator["Attribution"]:
        """One attribution, of scores [tokens], for each target and layer."""
        for target in self.targets:
            for layer in self.layers:
                yield self.select(target=target.id, layer=layer)

    def words(self) -> "Attribution":
        """Scores summed over the tokens of each word; special tokens stay as they are."""
        groups = [np.flatnonzero(self.word_numbers == n) for n in np.unique(self.word_numbers)]
        return self._sum([g for g in groups if self.word_numbers[g[0]] >= 0], "word")

    def sentences(self) -> "Attribution":
        """Scores summed over each sentence (see `normxlogit.words.sentence_spans`)."""
        groups = []
        for segment, text in enumerate(self.texts):
            groups += self._within(sentence_spans(text), segment)
        return self._sum([group for group in groups if len(group)], "sentence")

    def by(self, spans: Sequence[Span], *, segment: int = 0) -> "Attribution":
        """Scores summed over given spans of characters, in the order given.

        A token belongs to the first span that holds its first character that is no space; tokens in
        no span are left out, special ones too.

        Args:
            spans: first character and last + 1 of each.
            segment: which text of a pair the spans are of.

        Raises:
            InputError: a span is empty or outside of the text, or holds no token.
        """
        text = self.texts[segment]
        for start, end in spans:
            if not 0 <= start < end <= len(text):
                raise InputError(f"span ({start}, {end}) is not inside a text of {len(text)}.")
        groups = self._within(spans, segment)
        for span, group in zip(spans, groups, strict=True):
            if not len(group):
                raise InputError(f"span {tuple(span)} ({text[slice(*span)]!r}) holds no token.")
        return self._sum(groups, "span", keep_special=False)

    def top(self, count: int = 5, *, special: bool = False) -> list[tuple[str, float]]:
        """The tokens that speak most for the target with their scores, the highest first.

        Special tokens only take part if `special`.
        """
        scores = self.only().scores
        order = [
            int(i) for i in np.argsort(-scores, kind="stable") if special or not self.special[i]
        ]
        return [(self.tokens[i], float(scores[i])) for i in order[:count]]

    def only(self) -> "Attribution":
        """This attribution, if its scores are of one target and layer.

        Raises:
            OptionError: they are of several.
        """
        if self.axes and self.scores[..., 0].size > 1:
            raise OptionError(
                f"these scores have the axes {', '.join(self.axes)} besides the tokens. "
                "Use a.select(target=..., layer=...) for one of each."
            )
        return replace(self, scores=self.scores.reshape(-1), axes=())

    def to_dict(self) -> dict[str, Any]:
        """Plain data for JSON, as docs/json.md describes it."""
        return {
            "schema": SCHEMA,
            "unit": self.unit,
            "texts": list(self.texts),
            "prediction": {
                "problem": self.prediction.problem,
                "predicted": list(self.prediction.predicted),
                "outputs": [asdict(output) for output in self.prediction.outputs],
            },
            "targets": [asdict(target) for target in self.targets],
            "layers": list(self.layers),
            "axes": list(self.axes),
            "tokens": list(self.tokens),
            "scores": _plain(self.scores),
            "special": self.special.tolist(),
            "offsets": self.offsets.tolist(),
            "segments": self.segments.tolist(),
            "word_numbers": self.word_numbers.tolist(),
            "norms": _plain(self.norms),
            "logits": _plain(self.logits),
            "provenance": asdict(self.provenance),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Attribution":
        """The reverse of `to_dict`.

        Raises:
            InputError: the data is of another schema or version, or incomplete.
        """
        if data.get("schema") != SCHEMA:
            raise InputError(
                f"expected data of the schema {SCHEMA!r}, got {data.get('schema')!r}. "
                "It may be of another version of normxlogit."
            )
        try:
            prediction = data["prediction"]
            return cls(
                texts=tuple(data["texts"]),
                tokens=tuple(data["tokens"]),
                scores=np.array(data["scores"], np.float32),
                special=np.array(data["special"], np.bool_),
                offsets=np.array(data["offsets"], np.int32).reshape(-1, 2),
                segments=np.array(data["segments"], np.int32),
                word_numbers=np.array(data["word_numbers"], np.int32),
                axes=tuple(data["axes"]),
                targets=tuple(Target(**target) for target in data["targets"]),
                layers=tuple(data["layers"]),
                prediction=Prediction(
                    problem=prediction["problem"],
                    outputs=tuple(Target(**output) for output in prediction["outputs"]),
                    predicted=tuple(prediction["predicted"]),
                ),
                provenance=Provenance(**data["provenance"]),
                norms=_floats(data["norms"]),
                logits=_floats(data["logits"]),
                unit=data["unit"],
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"this is not a whole attribution: {error!r}.") from error

    def save(self, path: str | Path) -> None:
        """Write it as JSON; the file appears whole or not at all."""
        write_whole(path, json.dumps(self.to_dict(), ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, path: str | Path) -> "Attribution":
        """Read what `save` wrote."""
        try:
            data = json.loads(Path(path).read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"cannot read an attribution from {path}: {error}.") from error
        if not isinstance(data, dict):
            raise InputError(f"{path} holds JSON that is not an attribution.")
        return cls.from_dict(data)

    def to_html(self) -> str:
        """A page that needs nothing else, with the text highlighted, bars and numbers."""
        from .show.html import page

        return page([self])

    def plot(self) -> "Figure":
        """Signed bars as a matplotlib figure (extra `plot`)."""
        from .show.plot import bars

        return bars(self)

    def __str__(self) -> str:
        from .show.terminal import plain

        return plain(self)

    def __repr__(self) -> str:
        targets = ", ".join(map(str, self.targets))
        return f"<Attribution of {targets} to {len(self)} {self.unit}s of {self.text!r:.60}>"

    def __rich__(self) -> "RenderableType":
        from .show.terminal import render

        return render(self)

    def _repr_html_(self) -> str:
        from .show.html import fragment

        return fragment(self)

    def _take(self, axis: str, index: int, **changes: Any) -> "Attribution":
        if axis not in self.axes:
            return self
        at = self.axes.index(axis)
        return replace(
            self,
            scores=np.take(self.scores, [index], axis=at).squeeze(at),
            logits=None
            if self.logits is None
            else np.take(self.logits, [index], axis=at).squeeze(at),
            axes=tuple(a for a in self.axes if a != axis),
            **changes,
        )

    def _within(self, spans: Sequence[Span], segment: int) -> list[NDArray[np.intp]]:
        """For each span its tokens: those whose first visible character it is the first to hold.

        A token without one counts by where it begins.
        """
        text, owner = self.texts[segment], np.full(len(self), -1)
        for i in np.flatnonzero(self.segments == segment):
            start, end = self.offsets[i]
            visible = text[start:end].lstrip()
            first = end - len(visible) if visible else start
            owner[i] = next((n for n, (a, b) in enumerate(spans) if a <= first < b), -1)
        return [np.flatnonzero(owner == n) for n in range(len(spans))]

    def _sum(
        self, groups: Sequence[NDArray[np.intp]], unit: str, keep_special: bool = True
    ) -> "Attribution":
        if keep_special:
            alone = [np.array([i]) for i in np.flatnonzero(self.special)]
            groups = sorted([*groups, *alone], key=lambda group: int(group[0]))
        first = np.array([group[0] for group in groups], np.intp)
        spans = [(self.offsets[g, 0].min(), self.offsets[g, 1].max()) for g in groups]
        offsets = np.array(spans, np.int32).reshape(-1, 2)
        within = [inside_characters(text) for text in self.texts]
        tokens = []
        for n, i in enumerate(first):
            if self.special[i]:
                tokens.append(self.tokens[i])
                continue
            text, inside = self.texts[self.segments[i]], within[self.segments[i]]
            while offsets[n, 1] in inside:
                offsets[n, 1] += 1
            part = text[slice(*offsets[n])]
            offsets[n, 0] += len(part) - len(part.lstrip())
            tokens.append(part.strip())
        return replace(
            self,
            tokens=tuple(tokens),
            scores=np.stack([self.scores[..., g].sum(-1) for g in groups], -1),
            special=self.special[first],
            offsets=offsets,
            segments=self.segments[first],
            word_numbers=self.word_numbers[first],
            norms=None,
            logits=None,
            unit=unit,
        )


@dataclass(frozen=True)
class Failure:
    """Stands in a list of results where a text could not be explained.

    Attributes:
        item: the text, pair, or whatever it was.
        error: why.
    """

    item: Any
    error: NormXLogitError

    def __str__(self) -> str:
        return f"not explained: {self.error}"


def _plain(values: Floats | None) -> Any:
    return None if values is None else values.tolist()


def _floats(values: Any) -> Floats | None:
    return None if values is None else np.array(values, np.float32)
