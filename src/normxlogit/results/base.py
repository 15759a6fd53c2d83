"""The base of every result: scores, their targets, and the provenance of both."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from dataclasses import fields as dataclass_fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

import numpy as np
from numpy.typing import NDArray

from normxlogit.data.option_checks import as_integer, whole_number
from normxlogit.data.plain import Plain
from normxlogit.errors import InputError, OptionError
from normxlogit.model.targets import fitting
from normxlogit.results.interchange.tables import Tabular
from normxlogit.results.prediction import Prediction, Target, read_prediction, read_targets
from normxlogit.results.saved import Saved

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SCHEMA = "normxlogit/attribution/1"

LARGEST_TOTAL = 1e37
"""The most that the sizes of all scores may sum up to, a little below what float32 holds: so no sum
over tokens or targets overflows."""

Floats = NDArray[np.float32]

AnyResult = TypeVar("AnyResult", bound="Result")

_CLASSES: dict[Any, Any] = {}
"""The class of each kind of result; `normxlogit.results` imports them all."""


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
class Result(Saved, Tabular):
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
        base: for each target what additive scores add up from, such as what the model says with
            every word hidden; None if the method's scores are not additive.
        notes: the method's notes on its scores, a number for each target by name, such as the
            "completeness_gap" of integrated gradients.
    """

    kind: ClassVar[str]
    display_name = "result"
    noun = "an attribution"
    _own_fields: ClassVar[tuple[str, ...]]
    """The names of the fields that this kind adds to the data."""

    scores: Floats
    axes: tuple[str, ...]
    targets: tuple[Target, ...]
    layers: tuple[int, ...]
    prediction: Prediction
    provenance: Provenance
    norms: Floats | None = None
    logits: Floats | None = None
    base: tuple[float, ...] | None = None
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

    @property
    def base_value(self) -> float | None:
        """What the scores add up from: with all of them it sums up to the target's readout.

        The readout is of the model's own output. None if the method's scores are not additive.

        Raises:
            OptionError: several targets are explained; `base` has them.
        """
        self.target  # noqa: B018
        return None if self.base is None else self.base[0]

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
        base = None if self.base is None else (self.base[number],)
        targets = (self.targets[number],)
        return self._take("target", number, targets=targets, base=base, notes=notes)

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
            "base": None if self.base is None else list(self.base),
            "notes": {name: list(values) for name, values in self.notes.items()},
            "provenance": asdict(self.provenance),
        }

    @classmethod
    def from_dict(cls: type[AnyResult], data: Mapping[str, Any]) -> AnyResult:
        """Rebuild a result from `to_dict`; its class is that of the data's kind.

        Raises:
            InputError: the data has another schema or version, is not as docs/json.md says, or is
                of a kind that is not this class.
        """
        document = Plain(
            data,
            "this is not a whole attribution",
            "It may have been changed, or cut off; save the result anew.",
        )
        schema, kind = (document.get(name).value for name in ("schema", "kind"))
        if schema != SCHEMA:
            raise InputError(
                f"expected data of the schema {SCHEMA!r}, got {schema!r:.80}. "
                "It may be of another version of normxlogit."
            )
        result_class = _CLASSES.get(kind) if isinstance(kind, str) else None
        if result_class is None or not issubclass(result_class, cls):
            raise InputError(f"expected an {cls.__name__}, got the kind {kind!r:.80}.")
        document.has_only([*_FIELDS, *result_class._own_fields])
        result: AnyResult = result_class(**_read_common(document, result_class))
        return result

    def plot(self, path: str | Path | None = None, *, top: int | None = None) -> "Figure":
        """Return the scores as a matplotlib figure (extra `plot`): signed bars over a text, a heat
        map of generated text, the image under its scores, or a track over time.

        Args:
            path: a file to write too, of the format that its suffix names, such as .png or .svg.
            top: of a text, how many tokens to draw, those with the strongest scores.

        Raises:
            InputError: the file cannot be written, or there is no such format.
            OptionError: `top` is no whole number from 1, or this is no text.
            MissingExtraError: matplotlib is not installed.
        """
        options = {} if top is None else {"top": whole_number("top", top)}
        return self._draw(path, **options)

    def _own_to_dict(self) -> dict[str, Any]:
        """Return the attributes that this kind adds, as plain data."""
        raise NotImplementedError

    @classmethod
    def _own_from_dict(cls, data: Plain, common: Mapping[str, Any]) -> dict[str, Any]:
        """Return arguments of the class from what `_own_to_dict` wrote.

        Args:
            data: the data of the whole result.
            common: the arguments that all kinds have. What a kind asks of these more than others
                is checked here too.

        Raises:
            InputError: a method of the result would fail with this data.
        """
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


_FIELDS = (
    *("schema", "kind", "prediction", "targets", "layers", "axes", "scores", "norms", "logits"),
    *("base", "notes", "provenance"),
)


def _read_common(document: Plain, result_class: type[Result]) -> dict[str, Any]:
    """Read the arguments of a result of any kind."""
    axes = tuple(axis.text() for axis in document.get("axes").items())
    document.get("axes").require(
        axes in ((), ("target",), ("layer",), ("target", "layer")), '"target", "layer", or both'
    )
    targets, layers = document.get("targets").items(1), document.get("layers").items(1)
    shape: list[int | None] = []
    for axis, items, name in (("target", targets, "targets"), ("layer", layers, "layers")):
        if axis in axes:
            shape.append(len(items))
        else:
            document.get(name).items(1, 1)
    scores = document.get("scores").numbers((*shape, None), gaps=True)
    document.get("scores").require(
        np.nansum(np.abs(scores), dtype=np.float64) <= LARGEST_TOTAL,
        f"numbers whose sizes sum up to at most {LARGEST_TOTAL:g}",
    )
    count = scores.shape[-1]
    fields = {
        "scores": scores,
        "axes": axes,
        "targets": read_targets(targets, count),
        "layers": tuple(layer.integer() for layer in layers),
        "prediction": read_prediction(document.get("prediction"), count),
        "provenance": read_provenance(document.get("provenance")),
        "norms": document.get("norms").optional(lambda norms: norms.numbers((count,), gaps=True)),
        "logits": document.get("logits").optional(
            lambda logits: logits.numbers(scores.shape, gaps=True)
        ),
        "base": _read_base(document, len(targets)),
        "notes": document.get("notes").entries(
            lambda note: tuple(value.number() for value in note.items(len(targets), len(targets)))
        ),
    }
    return fields | result_class._own_from_dict(document, fields)


def _read_base(document: Plain, targets: int) -> tuple[float, ...] | None:
    """Read what additive scores add up from; results of older versions have no such field."""
    if "base" not in document.value:
        return None
    return document.get("base").optional(
        lambda base: tuple(value.number() for value in base.items(targets, targets))
    )


def read_provenance(item: Plain) -> Provenance:
    names = [field.name for field in dataclass_fields(Provenance)]
    item.has_only(names)
    values = {name: item.get(name) for name in names}
    return Provenance(
        model=values["model"].text(),
        revision=values["revision"].optional(Plain.text),
        architecture=values["architecture"].text(),
        dtype=values["dtype"].text(),
        method=values["method"].text(),
        readout=values["readout"].optional(Plain.text),
        of_output=values["of_output"].flag(),
        unsigned=values["unsigned"].optional(Plain.text),
        reads_layers=values["reads_layers"].flag(),
        contrast=values["contrast"].optional(Plain.text),
        options=values["options"].entries(Plain.anything),
        versions=values["versions"].entries(Plain.text),
    )


def read_positions(data: Plain, scores: Floats) -> NDArray[np.bool_]:
    """Read which positions of an image or of audio are special; the others all have scores.

    Raises:
        InputError: a score is missing, or all positions are special.
    """
    data.get("scores").require(not np.isnan(scores).any(), "numbers without null")
    special = data.get("special").flags((scores.shape[-1],))
    data.get("special").require(not special.all(), "false for one position at least")
    return special


def read_pair(item: Plain) -> tuple[int, int]:
    """Read two whole numbers from 1.

    Raises:
        InputError: it is something else.
    """
    first, second = (value.integer(1) for value in item.items(2, 2))
    return first, second
