"""The base of every result: scores, their targets, and the provenance of both."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from normxlogit.data.display import DISPLAYS, Displayed, ResultDisplay
from normxlogit.data.files import write_whole
from normxlogit.data.option_checks import as_integer, whole_number
from normxlogit.errors import InputError, OptionError
from normxlogit.model.targets import fitting

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCHEMA = "normxlogit/attribution/1"

Floats = NDArray[np.float32]

AnyResult = TypeVar("AnyResult", bound="Result")

_CLASSES: dict[Any, Any] = {}
"""The class of each kind of result; `normxlogit.results` imports them all."""


@dataclass(frozen=True)
class Target:
    """An output of the model.

    Attributes:
        label: its name.
        id: its number.
        logit: the output of the head; for a regression the value itself.
        probability: by softmax, or by sigmoid if several labels may hold; None for a regression.
        position: the token at which it is read, if the head has outputs for every token: for a
            causal language model the token before the predicted one; for an answer its first.
    """

    label: str
    id: int
    logit: float
    probability: float | None
    position: int | None = None

    @property
    def value(self) -> float:
        """The probability; for a regression the value."""
        return self.logit if self.probability is None else self.probability

    def __str__(self) -> str:
        return f"{self.label} {self.value:.3f}"


@dataclass(frozen=True)
class Prediction:
    """The prediction of the model.

    Attributes:
        problem: the kind of outputs: "single_label_classification", "multi_label_classification",
            "regression", "multiple_choice", "span" (an answer in a text) or "token".
        predicted: the outputs that count as predicted: the largest; with several labels those over
            the threshold (there may be none); every value of a regression; the tag of every word in
            token classification; every token of generated text.
        outputs: the candidates at one position in the order of their ids: all of them, or from a
            vocabulary the most probable and the requested ones. Empty if several positions are
            read.
    """

    problem: str
    predicted: tuple[Target, ...]
    outputs: tuple[Target, ...]

    @property
    def top(self) -> Target:
        """The output with the largest logit."""
        return max(self.outputs or self.predicted, key=lambda output: output.logit)

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
        """The probability of `top`, the model's confidence; None for a regression."""
        return self.top.probability

    def __str__(self) -> str:
        return ", ".join(map(str, self.predicted)) or "no label"


@dataclass(frozen=True)
class Provenance:
    """How an attribution was made.

    Attributes:
        model: the name or folder that the model came from.
        revision: the commit of the Hub repository, if known.
        architecture: the model's class.
        dtype: the type of its weights.
        method, readout, contrast, options: the query; the contrast by its label; no readout if the
            method uses none.
        of_output: whether the readout is of the model's own output, rather than of the head's
            output for each token.
        unsigned: the meaning of a high score, if scores neither support nor oppose the target.
        reads_layers: whether the scores depend on the result's layers.
        versions: the versions of normxlogit, torch and transformers.
    """

    model: str
    revision: str | None
    architecture: str
    dtype: str
    method: str
    readout: str | None
    of_output: bool
    unsigned: str | None
    reads_layers: bool
    contrast: str | None
    options: Mapping[str, Any]
    versions: Mapping[str, str]


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Result(Displayed):
    """An explanation of any kind of input.

    Attributes:
        scores: float32 [positions]; positive supports the target. With several targets
            [targets, positions], with all layers [layers, positions], with both
            [targets, layers, positions].
        axes: the names of the dimensions of `scores` before the last: "target", "layer".
        targets: the outputs that are explained.
        layers: the layers that the head was put on.
        prediction: the prediction of the model.
        norms: ||x_i^0||_2, float32 [positions]; None where not defined.
        logits: the readouts, shaped like `scores`; None if the method does not read the head.
        provenance: how it was made.
        notes: the method's notes on its scores, a number for each target by name, such as the
            "completeness_gap" of integrated gradients.
    """

    kind: ClassVar[str]
    display_name = "result"

    scores: Floats
    axes: tuple[str, ...]
    targets: tuple[Target, ...]
    layers: tuple[int, ...]
    prediction: Prediction
    provenance: Provenance
    norms: Floats | None = None
    logits: Floats | None = None
    notes: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    def __init_subclass__(cls, *, kind: str | None = None) -> None:
        """Register the class as that of a kind, by which `from_dict` and `load` find it."""
        if kind is not None:
            cls.kind = kind
            _CLASSES[kind] = cls

    def __len__(self) -> int:
        return int(self.scores.shape[-1])

    @property
    def target(self) -> Target:
        """The output that is explained.

        Raises:
            OptionError: several targets are explained; `targets` has them.
        """
        if len(self.targets) != 1:
            names = ", ".join(t.label for t in self.targets)
            raise OptionError(
                f"this attribution explains {len(self.targets)} targets ({names}). "
                "Use a.targets, or a.select(target=...) for one of them."
            )
        return self.targets[0]

    def select(
        self: AnyResult, *, target: str | int | None = None, layer: int | None = None
    ) -> AnyResult:
        """Return the part that explains one target (by label or id), at one layer.

        Raises:
            OptionError: there is no such target or layer, or several targets fit.
        """
        part = self
        if target is not None:
            labels, ids = [t.label for t in self.targets], [t.id for t in self.targets]
            numbers = fitting(target, labels, ids)
            if not numbers:
                keys = ", ".join(f"{label} (id {i})" for label, i in zip(labels, ids, strict=True))
                raise OptionError(f"target {target!r} is not among {keys}.")
            if len(numbers) > 1:
                places = ", ".join(f"{n} (id {ids[n]})" for n in numbers)
                raise OptionError(
                    f"{len(numbers)} targets fit {target!r}: those of the numbers {places}. "
                    "Use a.at(number) for one of them."
                )
            part = part.at(numbers[0])
        if layer is not None:
            number = as_integer(layer)
            if number not in self.layers:
                raise OptionError(f"layer {layer!r:.80} is not among {self.layers}.")
            part = part._take("layer", self.layers.index(number), layers=(number,))
        return part

    def at(self: AnyResult, number: int) -> AnyResult:
        """Return the part that explains the target of this number in `targets`.

        Raises:
            OptionError: there are not as many. Negative ones count from the last.
        """
        count = len(self.targets)
        number = whole_number("number", number, least=-count, most=count - 1)
        notes = {name: (values[number],) for name, values in self.notes.items()}
        return self._take("target", number, targets=(self.targets[number],), notes=notes)

    def single(self: AnyResult) -> Iterator[AnyResult]:
        """Yield an attribution with scores [positions] for each target and layer."""
        for number in range(len(self.targets)):
            for layer in self.layers:
                yield self.at(number).select(layer=layer)

    def only(self: AnyResult) -> AnyResult:
        """Return this attribution without axes, if it is of one target and layer.

        Raises:
            OptionError: it is of several.
        """
        if self.axes and self.scores[..., 0].size > 1:
            raise OptionError(
                f"these scores have the axes {', '.join(self.axes)} besides the tokens. "
                "Use a.select(target=..., layer=...) for one of each."
            )
        return replace(self, scores=self.scores.reshape(-1), axes=())

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON, as docs/json.md describes it."""
        return {
            "schema": SCHEMA,
            "kind": self.kind,
            **self._own_to_dict(),
            "prediction": {
                "problem": self.prediction.problem,
                "predicted": [asdict(target) for target in self.prediction.predicted],
                "outputs": [asdict(target) for target in self.prediction.outputs],
            },
            "targets": [asdict(target) for target in self.targets],
            "layers": list(self.layers),
            "axes": list(self.axes),
            "scores": plain(self.scores),
            "norms": plain(self.norms),
            "logits": plain(self.logits),
            "notes": {name: list(values) for name, values in self.notes.items()},
            "provenance": asdict(self.provenance),
        }

    @classmethod
    def from_dict(cls: type[AnyResult], data: Mapping[str, Any]) -> AnyResult:
        """Rebuild a result from `to_dict`; its class is that of the data's kind.

        Raises:
            InputError: the data has another schema or version, is incomplete, or is of a kind that
                is not this class.
        """
        if data.get("schema") != SCHEMA:
            raise InputError(
                f"expected data of the schema {SCHEMA!r}, got {data.get('schema')!r}. "
                "It may be of another version of normxlogit."
            )
        result_class = _CLASSES.get(data.get("kind"))
        if result_class is None or not issubclass(result_class, cls):
            raise InputError(f"expected an {cls.__name__}, got the kind {data.get('kind')!r}.")
        try:
            prediction = data["prediction"]
            result: AnyResult = result_class(
                **result_class._own_from_dict(data),
                scores=np.array(data["scores"], np.float32),
                axes=tuple(data["axes"]),
                targets=_targets(data["targets"]),
                layers=tuple(data["layers"]),
                prediction=Prediction(
                    problem=prediction["problem"],
                    predicted=_targets(prediction["predicted"]),
                    outputs=_targets(prediction["outputs"]),
                ),
                provenance=Provenance(**data["provenance"]),
                norms=_floats(data["norms"]),
                logits=_floats(data["logits"]),
                notes={name: tuple(values) for name, values in data["notes"].items()},
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"this is not a whole attribution: {error!r}.") from error
        return result

    def save(self, path: str | Path) -> None:
        """Write the result as JSON; the file appears whole or not at all."""
        write_whole(path, json.dumps(self.to_dict(), ensure_ascii=False) + "\n")

    @classmethod
    def load(cls: type[AnyResult], path: str | Path) -> AnyResult:
        """Read a result that `save` wrote."""
        try:
            data = json.loads(Path(path).read_text("utf-8"))
        except (OSError, ValueError) as error:
            raise InputError(f"cannot read an attribution from {path}: {error}.") from error
        if not isinstance(data, dict):
            raise InputError(f"{path} holds JSON that is not an attribution.")
        return cls.from_dict(data)

    def plot(self) -> "Figure":
        """Return the scores as a matplotlib figure (extra `plot`): signed bars over a text, a heat
        map of generated text, the image under its scores, or a track over time.
        """
        return self._display().figure(self)

    def _repr_html_(self) -> str:
        return self._display().fragment(self)

    def _display(self) -> ResultDisplay:
        display: ResultDisplay = DISPLAYS[self.display_name]()
        return display

    def _own_to_dict(self) -> dict[str, Any]:
        """Return the attributes that this kind adds, as plain data."""
        raise NotImplementedError

    @classmethod
    def _own_from_dict(cls, data: Mapping[str, Any]) -> dict[str, Any]:
        """Return arguments of the class from what `_own_to_dict` wrote."""
        raise NotImplementedError

    def _take(self: AnyResult, axis: str, index: int, **changes: Any) -> AnyResult:
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


def plain(values: Floats | None) -> Any:
    """Return nested lists of numbers, with None for nan, which JSON does not have."""
    if values is None or not np.isnan(values).any():
        return None if values is None else values.tolist()
    objects = values.astype(object)
    objects[np.isnan(values)] = None
    return objects.tolist()


def _floats(values: Any) -> Floats | None:
    return None if values is None else np.array(values, np.float32)


def _targets(values: Sequence[Mapping[str, Any]]) -> tuple[Target, ...]:
    return tuple(Target(**target) for target in values)
