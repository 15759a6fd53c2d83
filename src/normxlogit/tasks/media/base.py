"""The common part of explaining images and audio: running batches and making results."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor
from transformers import PreTrainedModel

from normxlogit.errors import (
    InputError,
    NormXLogitError,
    OptionError,
    UnsupportedHeadError,
    without_traceback,
)
from normxlogit.model.forward import ForwardPass
from normxlogit.model.numerics import to_numpy
from normxlogit.model.targets import is_several
from normxlogit.query import Query, TensorAttribution
from normxlogit.results.assemble import prediction_of, provenance_of
from normxlogit.results.base import Floats, Result
from normxlogit.tasks import Reading
from normxlogit.tasks.media.positions import PatchLayout, find_patch_layout

Info = TypeVar("Info")
MediaResult = TypeVar("MediaResult", bound=Result)


@dataclass(frozen=True)
class Item(Generic[Info]):
    """An image or a piece of audio, prepared for the model.

    Attributes:
        inputs: the model's inputs, tensors of one row each.
        info: facts about it that its result reports.
    """

    inputs: Mapping[str, Tensor]
    info: Info

    @property
    def shapes(self) -> tuple[Any, ...]:
        """Names and shapes of the inputs; items that share them may run in one batch."""
        return tuple((name, tuple(value.shape)) for name, value in sorted(self.inputs.items()))


class MediaExplainer(ABC, Generic[Info, MediaResult]):
    """Explains predictions of a classifier of images or audio.

    Attributes:
        medium: "image" or "audio", for messages.
    """

    medium: str

    def __init__(self, model: PreTrainedModel, processor: Any, name: str) -> None:
        """Take a model, its processor, and the model's name for results."""
        self.model, self.processor, self.name = model, processor, name
        self._parameters = inspect.signature(model.forward).parameters
        self._layouts: dict[Any, PatchLayout] = {}

    @abstractmethod
    def encode(self, item: Any, reading: Reading) -> Item[Info]:
        """Prepare an item for the model."""

    @abstractmethod
    def result(self, item: Item[Info], shape: tuple[int, ...], **fields: Any) -> MediaResult:
        """Return the result for an item.

        Args:
            item: as it was encoded.
            shape: of x^L, for this row alone.
            **fields: the fields of `Result`.
        """

    def explain(
        self, items: Mapping[int, Item[Info]], query: Query, batch_size: int
    ) -> dict[int, MediaResult | NormXLogitError]:
        """Return a result for each encoded item, or the reason why there is none.

        Items of one size run together.

        Raises:
            OptionError: the query does not fit the model.
            UnsupportedHeadError: none of the items could be explained with this model.
        """
        same_shapes: dict[Any, list[int]] = {}
        for key, item in items.items():
            same_shapes.setdefault(item.shapes, []).append(key)
        outcomes: dict[int, MediaResult | NormXLogitError] = {}
        for group in same_shapes.values():
            for start in range(0, len(group), batch_size):
                keys = group[start : start + batch_size]
                results = self._explain_or_split([items[key] for key in keys], query)
                outcomes.update(zip(keys, results, strict=True))
        reasons = [error for error in outcomes.values() if isinstance(error, UnsupportedHeadError)]
        if reasons and len(reasons) == len(outcomes):
            raise reasons[0]
        return {key: outcomes[key] for key in items}

    def prepared(self, *args: Any, **options: Any) -> dict[str, Tensor]:
        """Run the processor and return those of its tensors that the model's forward accepts.

        Raises:
            InputError: the processor fails.
        """
        try:
            features = self.processor(*args, return_tensors="pt", **options)
        except Exception as error:  # processors fail in ways that raise errors of any kind
            raise InputError(
                f"{type(self.processor).__name__} could not read this {self.medium}: {error}"
            ) from error
        return {
            name: value
            for name, value in features.items()
            if isinstance(value, Tensor) and name in self._parameters
        }

    def _refuse_text_options(self, reading: Reading) -> None:
        for name, default in vars(Reading()).items():
            value = getattr(reading, name)
            if value is not default and (isinstance(value, Tensor) or value != default):
                raise OptionError(f"{name}={value!r} is for texts, not for {self.medium} input.")

    def _explain_or_split(
        self, items: Sequence[Item[Info]], query: Query
    ) -> list[MediaResult | NormXLogitError]:
        """Explain a batch. On an error, retry one item at a time to isolate it."""
        try:
            return [*self._explain_batch(items, query)]
        except OptionError:
            raise
        except NormXLogitError as error:
            if len(items) == 1:
                return [without_traceback(error)]
        return [self._explain_or_split([item], query)[0] for item in items]

    def _explain_batch(self, items: Sequence[Item[Info]], query: Query) -> list[MediaResult]:
        inputs = self._moved(
            {name: torch.cat([item.inputs[name] for item in items]) for name in items[0].inputs}
        )
        with torch.inference_mode():
            forward = ForwardPass.run(self.model, inputs, layer=query.layer)
            answer = query.answer(forward, query.asked(forward))
        foil = None if answer.contrast is None else forward.labels[int(answer.contrast[0])]
        provenance = provenance_of(self.model, self.name, query, answer, foil)
        several = is_several(query.target, forward.problem, forward.prediction.shape[-1])
        axes = ("target",) * several + ("layer",) * (query.layer == "all")
        shape = (1, *forward.captured.states.raw.shape[1:])
        results = []
        for row, item in enumerate(items):
            prediction = prediction_of(
                answer.prediction[row], forward.problem, forward.labels, query.threshold
            )
            targets = answer.targets[row].tolist()  # -1 where the row has fewer than others
            results.append(
                self.result(
                    item,
                    shape,
                    **_row_values(answer, row, [t >= 0 for t in targets] if several else None),
                    axes=axes,
                    targets=tuple(prediction.outputs[t] for t in targets if t >= 0),
                    layers=tuple(answer.layers),
                    prediction=prediction,
                    provenance=provenance,
                )
            )
        return results

    def _moved(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return inputs on the model's device, and floating-point ones in its dtype."""
        device, dtype = self.model.device, self.model.dtype
        return {
            name: value.to(device, dtype if value.is_floating_point() else value.dtype)
            for name, value in inputs.items()
        }

    def _layout(
        self,
        key: Any,
        inputs: Mapping[str, Tensor],
        name: str,
        orders: Sequence[tuple[int, ...]],
        shape: tuple[int, ...],
    ) -> PatchLayout:
        """Return `find_patch_layout`'s answer, cached under `key`."""
        if key not in self._layouts:
            self._layouts[key] = find_patch_layout(
                self.model, self._moved(inputs), name, orders, shape
            )
        return self._layouts[key]


def _row_values(
    answer: TensorAttribution, row: int, has_target: list[bool] | None
) -> dict[str, Floats | None]:
    """Return the scores, logits and norms of one row.

    Args:
        answer: of the batch.
        row: which row of it.
        has_target: which of the batch's targets this row has; None if there is no such dimension.
    """

    # Copies: a view would keep the whole batch in memory as long as one result lives.
    def kept(values: Tensor | None) -> Floats | None:
        if values is None:
            return None
        array = to_numpy(values[row])
        return array.copy() if has_target is None else array[has_target]

    norms = answer.norms
    return {
        "scores": kept(answer.scores),
        "logits": kept(answer.values),
        "norms": None if norms is None else to_numpy(norms[row]).copy(),
    }
