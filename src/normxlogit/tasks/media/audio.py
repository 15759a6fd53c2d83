"""Explains audio classification."""

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor
from transformers import PreTrainedModel

from normxlogit.errors import InputError, UnsupportedHeadError
from normxlogit.model.numerics import to_numpy
from normxlogit.results.audio import AudioAttribution
from normxlogit.results.base import Floats
from normxlogit.tasks import InputOptions
from normxlogit.tasks.media.base import Item, MediaExplainer
from normxlogit.tasks.media.files import read_audio
from normxlogit.tasks.media.positions import GridAxis, PatchLayout, extended
from normxlogit.tasks.media.preprocessing import audio_axis

ENVELOPE_PARTS = 400
"""The number of parts whose loudest samples are kept, to draw the audio."""

_ONE_BAND = "one band"


@dataclass(frozen=True)
class AudioInfo:
    """Facts about audio that its result reports.

    Attributes:
        duration: in seconds.
        sampling_rate: in samples per second.
        envelope: the loudest sample of each part, float32 [parts].
        name: the name of its file.
    """

    duration: float
    sampling_rate: int
    envelope: Floats
    name: str


class AudioExplainer(MediaExplainer[AudioInfo, AudioAttribution]):
    """Explains what an audio classifier predicts."""

    medium = "audio"

    def __init__(self, model: PreTrainedModel, extractor: Any, name: str) -> None:
        """Take a model, its feature extractor, and the model's name for results."""
        super().__init__(model, getattr(extractor, "feature_extractor", extractor), name)
        self._frames: tuple[int, GridAxis] | None = None
        self._has_tried_frames = False

    def encode(self, item: Any, input_options: InputOptions) -> Item[AudioInfo]:
        """Prepare audio for the model.

        Args:
            item: the path of a file (WAV, FLAC, OGG, ...); a tuple of samples and their sampling
                rate; or a dict of "array" and "sampling_rate". Channels are averaged.
            input_options: must be the default.

        Raises:
            InputError: it is not audio, cannot be read, or has another sampling rate than the
                model's.
            OptionError: `reading` has options for texts.
            MissingExtraError: it is a path, and soundfile is not installed.
        """
        self._refuse_text_options(input_options)
        samples, rate, name = read_audio(item)
        expected = self.processor.sampling_rate
        if rate != expected:
            raise InputError(
                f"the audio has {rate} samples per second, and the model takes {expected}. "
                "Resample it, for example with "
                f"torchaudio.functional.resample(samples, {rate}, {expected}) or "
                f"librosa.resample(samples, orig_sr={rate}, target_sr={expected})."
            )
        parts = np.array_split(np.abs(samples), min(ENVELOPE_PARTS, len(samples)))
        envelope = np.array([part.max() for part in parts], np.float32)
        inputs = _without_padding(self.prepared(samples, sampling_rate=rate))
        return Item(inputs, AudioInfo(len(samples) / rate, rate, envelope, name))

    def result(
        self, item: Item[AudioInfo], shape: tuple[int, ...], **fields: Any
    ) -> AudioAttribution:
        """Return the result for audio.

        Raises:
            InputError: the extractor cut off its end, so the model did not hear all of it.
        """
        info, count = item.info, fields["scores"].shape[-1]
        seconds: Floats | None = None
        grid, note, special = None, "", np.zeros(count, np.bool_)
        # Scores are good without a layout: the result says why there is none, and is not refused.
        try:
            layout, time = self._layout_in_time(item, shape)
        except UnsupportedHeadError as error:
            note = str(error)
        else:
            edges = np.array([time.edge(i) for i in range(time.count + 1)])
            # Convolutions without padding leave out the last step or two; more has been cut off.
            if edges[-1] < info.duration - 2 * time.step - 0.1:
                raise InputError(
                    f"the audio lasts {info.duration:.1f} seconds, and the model hears "
                    f"{max(0.0, edges[-1]):.1f}. Cut it into parts of that length."
                )
            bands = math.prod(axis.count for axis in layout.axes[:-1])
            if len(layout.axes) > 1:
                grid = bands, time.count
            # Extractors fill short audio up to a fixed window: steps after its end are silence.
            heard = edges[:-1] < info.duration
            steps = np.stack([edges[:-1], edges[1:]], -1).clip(0, info.duration)  # [steps, 2]
            steps[~heard] = np.nan
            # Positions go band by band, each with all steps.
            seconds = np.full((count, 2), np.nan, np.float32)
            seconds[layout.prefix :] = np.tile(steps, (bands, 1))
            special = np.concatenate([np.ones(layout.prefix, np.bool_), np.tile(~heard, bands)])
        return AudioAttribution(
            special=special,
            seconds=seconds,
            duration=info.duration,
            sampling_rate=info.sampling_rate,
            grid=grid,
            note=note,
            name=info.name,
            envelope=info.envelope,
            **fields,
        )

    def _layout_in_time(
        self, item: Item[AudioInfo], shape: tuple[int, ...]
    ) -> tuple[PatchLayout, GridAxis]:
        """Return the layout of the positions, and its axis of time in seconds.

        Raises:
            UnsupportedHeadError: they could not be determined.
        """
        name = self.model.main_input_name
        features = item.inputs.get(name)
        frames = None if features is None else self._frames_in_time(name)
        if features is None or frames is None or features.dim() not in (2, 3):
            raise UnsupportedHeadError(
                f"the times that the features of {type(self.processor).__name__} stand for could "
                "not be determined."
            )
        dim, frame_axis = frames
        layout = self._layouts.get(_ONE_BAND)
        if layout is None:
            # The bands of a spectrogram, then the steps of each; or the steps alone.
            orders = [(dim,)] if features.dim() == 2 else [(3 - dim, dim), (dim,)]
            layout = self._layout(item.shapes, item.inputs, name, orders, shape)
        if len(layout.axes) > 1:
            return layout, layout.axes[1].mapped_through(frame_axis)
        # Steps alone lie the same at every length, so the layout is found once, not per length,
        # as audio comes in any length.
        self._layouts[_ONE_BAND] = layout
        steps = extended(layout.axes[0], shape[1], features.shape[dim])
        return replace(layout, axes=(steps,)), steps.mapped_through(frame_axis)

    def _frames_in_time(self, name: str) -> tuple[int, GridAxis] | None:
        """Return which dimension of the features is time, and its frames in seconds of audio."""
        if not self._has_tried_frames:
            rate = self.processor.sampling_rate

            def features(samples: Floats) -> Floats:
                return to_numpy(self.prepared(samples, sampling_rate=rate)[name])

            self._frames = audio_axis(features, rate)
            self._has_tried_frames = True
        return self._frames


def _without_padding(inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return features without the frames at their end that a mask calls padding."""
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
