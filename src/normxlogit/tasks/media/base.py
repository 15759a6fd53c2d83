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
)
from normxlogit.model.forward import ForwardPass
from normxlogit.model.inference import inference, without_autocast
from normxlogit.query import Query
from normxlogit.results.assemble import (
    prediction_of,
    provenance_of,
    result_fields,
    window_scores,
)
from normxlogit.results.base import Result
from normxlogit.tasks import InputOptions, TaskExplainer
from normxlogit.tasks.media.positions import PatchLayout, find_patch_layout
from normxlogit.tasks.splitting import explain_or_split, raise_if_unsupported

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


class MediaExplainer(TaskExplainer, ABC, Generic[Info, MediaResult]):
    """Explains predictions of a classifier of images or audio.

    Attributes:
        medium: "image" or "audio", for messages.
    """

    medium: str

    def __init__(self, model: PreTrainedModel, processor: Any, name: str) -> None:
        """Take a model, its processor, and the model's name for results."""
        self.model, self.processor, self.name = model, processor, name
        self._parameters = frozenset(inspect.signature(model.forward).parameters)
        self._layouts: dict[Any, PatchLayout] = {}

    @abstractmethod
    def encode(self, item: Any, input_options: InputOptions) -> Item[Info]:
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
                batch = [items[key] for key in keys]
                results = explain_or_split(batch, lambda some: self._explain_batch(some, query))
                outcomes.update(zip(keys, results, strict=True))
        raise_if_unsupported(outcomes.values())
        return {key: outcomes[key] for key in items}

    def prepared(self, *args: Any, **options: Any) -> dict[str, Tensor]:
        """Run the processor and return those of its tensors that the model's forward accepts.

        Raises:
            InputError: the processor fails.
        """
        try:
            with without_autocast():
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

    def _refuse_text_options(self, input_options: InputOptions) -> None:
        for name, default in vars(InputOptions()).items():
            value = getattr(input_options, name)
            if type(value) is not type(default) or value != default:
                raise OptionError(f"{name}={value!r} is for texts, not for {self.medium} input.")

    def _explain_batch(self, items: Sequence[Item[Info]], query: Query) -> list[MediaResult]:
        inputs = self._moved(
            {name: torch.cat([item.inputs[name] for item in items]) for name in items[0].inputs}
        )
        with inference():
            forward = ForwardPass.run(self.model, inputs, layer=query.layer)
            scored = query.score(forward, query.targets(forward))
            scores = window_scores(scored)
        provenance = provenance_of(self.model, self.name, scored)
        shape = (1, *forward.captured.states.raw.shape[1:])
        results = []
        for row, item in enumerate(items):
            prediction = prediction_of(
                forward.prediction[row], forward.problem, forward.labels, query.threshold
            )
            # -1 stands where the row has fewer targets than others.
            targets = [
                prediction.outputs[number] if number >= 0 else None
                for number in scored.targets.ids[row].tolist()
            ]
            fields = result_fields(scored, scores[row], prediction, targets, provenance)
            results.append(self.result(item, shape, **fields))
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
