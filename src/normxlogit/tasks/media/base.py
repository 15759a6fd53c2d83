"""Classification of pictures and sounds."""

import inspect
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
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
from normxlogit.model.targets import is_several
from normxlogit.query import Query, TensorAttribution
from normxlogit.results.assemble import prediction_of, provenance_of
from normxlogit.results.audio import AudioAttribution
from normxlogit.results.base import Floats, Result
from normxlogit.results.image import ImageAttribution
from normxlogit.results.thumbnails import pillow, thumbnail
from normxlogit.tasks import Reading
from normxlogit.tasks.media.files import read_picture, read_sound
from normxlogit.tasks.media.positions import Axis, Places, find_places, stretched
from normxlogit.tasks.media.preprocessing import picture_axes, sound_axis

PARTS = 400
"""Into how many parts a sound is cut to draw how loud it is."""

_ONE_BAND = "one band"

About = TypeVar("About")
Made = TypeVar("Made", bound=Result)


@dataclass(frozen=True)
class Item(Generic[About]):
    """An item as the model takes it.

    Attributes:
        inputs: tensors of one row each.
        about: what a result needs to know of it.
    """

    inputs: Mapping[str, Tensor]
    about: About

    @property
    def shapes(self) -> tuple[Any, ...]:
        """What items must share to run together."""
        return tuple((name, tuple(value.shape)) for name, value in sorted(self.inputs.items()))


@dataclass(frozen=True)
class Picture:
    """What is known of a picture.

    Attributes:
        size: height and width of what the model sees; None if that is no picture.
        original: height and width of what was given.
        axes: where the pixels that the model sees lie on the original; None if it is not known.
        name: of its file.
        thumbnail: a small copy as PNG.
    """

    size: tuple[int, int] | None
    original: tuple[int, int]
    axes: tuple[Axis, Axis] | None
    name: str
    thumbnail: bytes


@dataclass(frozen=True)
class Sound:
    """What is known of a sound."""

    duration: float
    sampling_rate: int
    envelope: Floats
    name: str


class Media(ABC, Generic[About, Made]):
    """What readers of pictures and of sounds have in common."""

    what: str

    def __init__(self, model: PreTrainedModel, processor: Any, name: str) -> None:
        """Take a model, what prepares its inputs, and what to call the model in results."""
        self.model, self.processor, self.name = model, processor, name
        self._taken = inspect.signature(model.forward).parameters
        self._known: dict[Any, Places] = {}

    @abstractmethod
    def encode(self, item: Any, reading: Reading) -> Item[About]:
        """What the model takes for an item."""

    @abstractmethod
    def result(self, item: Item[About], shape: tuple[int, ...], **fields: Any) -> Made:
        """The result for an item.

        Args:
            item: as it was encoded.
            shape: of x^L, of this row alone.
            **fields: the fields of `Result`.
        """

    def explain(
        self, items: Mapping[int, Item[About]], query: Query, batch_size: int
    ) -> dict[int, Made | NormXLogitError]:
        """A result for each encoded item, or the reason why there is none.

        Items run together that are of one size.

        Raises:
            OptionError: the question does not fit the model.
            UnsupportedHeadError: none of the items could be explained with this model.
        """
        alike: dict[Any, list[int]] = {}
        for key, item in items.items():
            alike.setdefault(item.shapes, []).append(key)
        found: dict[int, Made | NormXLogitError] = {}
        for group in alike.values():
            for start in range(0, len(group), batch_size):
                keys = group[start : start + batch_size]
                results = self._tried([items[key] for key in keys], query)
                found.update(zip(keys, results, strict=True))
        reasons = [error for error in found.values() if isinstance(error, UnsupportedHeadError)]
        if reasons and len(reasons) == len(found):
            raise reasons[0]
        return {key: found[key] for key in items}

    def prepared(self, *args: Any, **options: Any) -> dict[str, Tensor]:
        """What the processor makes of something, as far as the model takes it.

        Raises:
            InputError: it makes nothing of it.
        """
        try:
            made = self.processor(*args, return_tensors="pt", **options)
        except Exception as error:  # processors fail in ways that raise errors of any kind
            raise InputError(
                f"{type(self.processor).__name__} could not read this {self.what}: {error}"
            ) from error
        return {
            name: value
            for name, value in made.items()
            if isinstance(value, Tensor) and name in self._taken
        }

    def _check(self, reading: Reading) -> None:
        for name, usual in vars(Reading()).items():
            value = getattr(reading, name)
            if value is not usual and (isinstance(value, Tensor) or value != usual):
                raise OptionError(f"{name}={value!r} is for texts, and this is a {self.what}.")

    def _tried(self, items: Sequence[Item[About]], query: Query) -> list[Made | NormXLogitError]:
        """Explain items together; if that fails, one by one, to tell which of them it is."""
        try:
            return [*self._together(items, query)]
        except OptionError:
            raise
        except NormXLogitError as error:
            if len(items) == 1:
                return [without_traceback(error)]
        return [self._tried([item], query)[0] for item in items]

    def _together(self, items: Sequence[Item[About]], query: Query) -> list[Made]:
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
        found = []
        for row, item in enumerate(items):
            said = prediction_of(
                answer.prediction[row], forward.problem, forward.labels, query.threshold
            )
            asked = answer.targets[row].tolist()
            found.append(
                self.result(
                    item,
                    shape,
                    **_numbers(answer, row, [t >= 0 for t in asked] if several else None),
                    axes=axes,
                    targets=tuple(said.outputs[t] for t in asked if t >= 0),
                    layers=tuple(answer.layers),
                    prediction=said,
                    provenance=provenance,
                )
            )
        return found

    def _moved(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Inputs on the model's device and, if they are no whole numbers, in its dtype."""
        place, dtype = self.model.device, self.model.dtype
        return {
            name: value.to(place, dtype if value.is_floating_point() else value.dtype)
            for name, value in inputs.items()
        }

    def _places(
        self,
        key: Any,
        inputs: Mapping[str, Tensor],
        name: str,
        orders: Sequence[tuple[int, ...]],
        shape: tuple[int, ...],
    ) -> Places:
        """`find_places`, remembered under a key."""
        if key not in self._known:
            self._known[key] = find_places(self.model, self._moved(inputs), name, orders, shape)
        return self._known[key]


class Pictures(Media[Picture, ImageAttribution]):
    """Explains what an image classifier says of a picture."""

    what = "picture"

    def __init__(self, model: PreTrainedModel, processor: Any, name: str) -> None:
        """Take a model, its image processor, and what to call the model in results."""
        super().__init__(model, getattr(processor, "image_processor", processor), name)
        self._framed: dict[tuple[int, int], tuple[Axis, Axis] | None] = {}

    def encode(self, item: Any, reading: Reading) -> Item[Picture]:
        """What the model takes for a picture.

        Args:
            item: a PIL image; the path of a file; or an array or tensor of pixels [height, width,
                3], uint8, or floats from 0 to 1. [height, width] is grey, a fourth channel alpha,
                which is left out.
            reading: must be as it is by default.

        Raises:
            InputError: it is no picture, or cannot be read.
            OptionError: a reading that is for texts.
            MissingExtraError: Pillow is not installed.
        """
        self._check(reading)
        picture, name = read_picture(item)
        inputs = self.prepared(images=picture)
        pixels = inputs.get("pixel_values")
        is_picture = pixels is not None and pixels.dim() == 4
        original = picture.height, picture.width
        return Item(
            inputs,
            Picture(
                size=tuple(pixels.shape[2:]) if is_picture else None,  # type: ignore[union-attr]
                original=original,
                axes=self._axes(original) if is_picture else None,
                name=name,
                thumbnail=thumbnail(picture),
            ),
        )

    def result(
        self, item: Item[Picture], shape: tuple[int, ...], **fields: Any
    ) -> ImageAttribution:
        """The result for a picture."""
        about, note, grid, box, prefix = item.about, "", None, None, 0
        try:
            if about.size is None:
                raise UnsupportedHeadError(
                    f"{type(self.processor).__name__} does not give the model a picture of rows "
                    "and columns."
                )
            places = self._places(item.shapes, item.inputs, "pixel_values", [(2, 3)], shape)
        except UnsupportedHeadError as error:
            note = str(error)
        else:
            down, across = places.axes
            prefix, grid = places.prefix, (down.count, across.count)
            if about.axes is None:
                note = (
                    f"which part of the picture {type(self.processor).__name__} shows the model "
                    "could not be told."
                )
            else:
                down, across = (a.along(b) for a, b in zip(places.axes, about.axes, strict=True))
                box = (across.edge(0), down.edge(0), across.edge(grid[1]), down.edge(grid[0]))
        return ImageAttribution(
            special=np.arange(fields["scores"].shape[-1]) < prefix,
            size=about.size or about.original,
            original=about.original,
            grid=grid,
            box=box,
            note=note,
            name=about.name,
            thumbnail=about.thumbnail,
            **fields,
        )

    def _axes(self, size: tuple[int, int]) -> tuple[Axis, Axis] | None:
        """Where the pixels that the model sees lie on a picture of that size."""
        if size not in self._framed:
            image = pillow()

            def pixels(picture: NDArray[np.uint8]) -> Floats:
                made = self.prepared(images=image.fromarray(picture))
                return _array(made["pixel_values"])

            self._framed[size] = picture_axes(pixels, *size)
        return self._framed[size]


class Sounds(Media[Sound, AudioAttribution]):
    """Explains what an audio classifier says of a sound."""

    what = "sound"

    def __init__(self, model: PreTrainedModel, extractor: Any, name: str) -> None:
        """Take a model, its feature extractor, and what to call the model in results."""
        super().__init__(model, getattr(extractor, "feature_extractor", extractor), name)
        self._framed: tuple[int, Axis] | None = None
        self._is_framed = False

    def encode(self, item: Any, reading: Reading) -> Item[Sound]:
        """What the model takes for a sound.

        Args:
            item: the path of a file (WAV, FLAC, OGG, ...); a tuple of samples and their sampling
                rate; or a dict of "array" and "sampling_rate". Channels are averaged.
            reading: must be as it is by default.

        Raises:
            InputError: it is no sound, cannot be read, or has another sampling rate than the model.
            OptionError: a reading that is for texts.
            MissingExtraError: it is a path, and soundfile is not installed.
        """
        self._check(reading)
        samples, rate, name = read_sound(item)
        wanted = self.processor.sampling_rate
        if rate != wanted:
            raise InputError(
                f"the sound has {rate} samples a second, and the model takes {wanted}. Resample "
                f"it, for example with torchaudio.functional.resample(sound, {rate}, {wanted}) or "
                f"librosa.resample(sound, orig_sr={rate}, target_sr={wanted})."
            )
        parts = np.array_split(np.abs(samples), min(PARTS, len(samples)))
        envelope = np.array([part.max() for part in parts], np.float32)
        inputs = _without_padding(self.prepared(samples, sampling_rate=rate))
        return Item(inputs, Sound(len(samples) / rate, rate, envelope, name))

    def result(self, item: Item[Sound], shape: tuple[int, ...], **fields: Any) -> AudioAttribution:
        """The result for a sound.

        Raises:
            InputError: the model did not hear all of it.
        """
        about, count = item.about, fields["scores"].shape[-1]
        seconds: Floats | None = None
        grid, note, special = None, "", np.zeros(count, np.bool_)
        try:
            places, time = self._timed(item, shape)
        except UnsupportedHeadError as error:
            note = str(error)
        else:
            edges = np.array([time.edge(i) for i in range(time.count + 1)])
            if edges[-1] < about.duration - 2 * time.step - 0.1:
                raise InputError(
                    f"the sound lasts {about.duration:.1f} seconds, and the model hears "
                    f"{max(0.0, edges[-1]):.1f}. Cut it into parts of that length."
                )
            bands = math.prod(axis.count for axis in places.axes[:-1])
            if len(places.axes) > 1:
                grid = bands, time.count
            heard = edges[:-1] < about.duration
            steps = np.stack([edges[:-1], edges[1:]], -1).clip(0, about.duration)
            steps[~heard] = np.nan
            seconds = np.full((count, 2), np.nan, np.float32)
            seconds[places.prefix :] = np.tile(steps, (bands, 1))
            special = np.concatenate([np.ones(places.prefix, np.bool_), np.tile(~heard, bands)])
        return AudioAttribution(
            special=special,
            seconds=seconds,
            duration=about.duration,
            sampling_rate=about.sampling_rate,
            grid=grid,
            note=note,
            name=about.name,
            envelope=about.envelope,
            **fields,
        )

    def _timed(self, item: Item[Sound], shape: tuple[int, ...]) -> tuple[Places, Axis]:
        """Where the positions lie, and those of one band in seconds."""
        name = self.model.main_input_name
        features = item.inputs.get(name)
        known = None if features is None else self._frames(name)
        if features is None or known is None or features.dim() not in (2, 3):
            raise UnsupportedHeadError(
                f"which moments the features of {type(self.processor).__name__} are of could not "
                "be told."
            )
        dim, frames = known
        places = self._known.get(_ONE_BAND)
        if places is None:
            # The bands of a spectrogram, then the steps of each; or the steps alone.
            orders = [(dim,)] if features.dim() == 2 else [(3 - dim, dim), (dim,)]
            places = self._places(item.shapes, item.inputs, name, orders, shape)
        if len(places.axes) > 1:
            return places, places.axes[1].along(frames)
        self._known[_ONE_BAND] = places
        line = stretched(places.axes[0], shape[1], features.shape[dim])
        return replace(places, axes=(line,)), line.along(frames)

    def _frames(self, name: str) -> tuple[int, Axis] | None:
        """Which dimension of the features is time, and where they lie in a sound, in seconds."""
        if not self._is_framed:
            rate = self.processor.sampling_rate

            def features(samples: Floats) -> Floats:
                return _array(self.prepared(samples, sampling_rate=rate)[name])

            self._framed = sound_axis(features, rate)
            self._is_framed = True
        return self._framed


def _numbers(answer: TensorAttribution, row: int, kept: list[bool] | None) -> dict[str, Any]:
    """The numbers of a row: of those targets that it has, if there is a dimension of targets."""

    def own(values: Tensor | None) -> Floats | None:
        if values is None:
            return None
        found = _array(values[row])
        return found if kept is None else found[kept]

    norms = answer.norms
    return {
        "scores": own(answer.scores),
        "logits": own(answer.values),
        "norms": None if norms is None else _array(norms[row]),
    }


def _array(values: Tensor) -> Floats:
    found: Floats = values.float().cpu().numpy().copy()
    return found


def _without_padding(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Features without the frames at their end that a mask calls padding."""
    mask = inputs.get("attention_mask")
    if mask is None or mask.dim() != 2:
        return inputs
    length, kept = mask.shape[1], int(mask.sum())
    if kept == length or not bool(mask[:, :kept].all()):
        return inputs
    return {
        name: value[:, :kept] if value.dim() > 1 and value.shape[1] == length else value
        for name, value in inputs.items()
    }
