"""Texts in batches: which run together, and from what the model gave to their attributions."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
import transformers
from transformers import PreTrainedModel

from . import __version__
from .assemble import assemble, prediction_of, rows_of
from .attribution import Attribution, Provenance
from .encode import Encoded, Encoder
from .errors import NormXLogitError, OptionError, UnsupportedHeadError, without_traceback
from .evidence import ForwardPass
from .padding import Padding
from .targets import Asked, is_several
from .tensors import Query


class Batches:
    """Runs encoded texts through a model."""

    def __init__(self, model: PreTrainedModel, encoder: Encoder, name: str) -> None:
        self._model, self._encoder, self._name = model, encoder, name
        self._padding = Padding(model, encoder)

    def explain(
        self, texts: Mapping[int, Encoded], query: Query, batch_size: int
    ) -> dict[int, Attribution | NormXLogitError]:
        """An attribution for each text, or the reason why there is none.

        Raises:
            OptionError: the question does not fit the model.
            UnsupportedHeadError: none of the texts could be explained with this model.
        """
        found: dict[int, Attribution | NormXLogitError] = {}
        for keys, side in self._plan(texts, batch_size):
            batch = [texts[key] for key in keys]
            found.update(zip(keys, self._tried(batch, side, query, batch_size), strict=True))
        reasons = [error for error in found.values() if isinstance(error, UnsupportedHeadError)]
        if reasons and len(reasons) == len(found):
            raise reasons[0]
        return found

    def _plan(
        self, texts: Mapping[int, Encoded], batch_size: int
    ) -> Iterator[tuple[list[int], str]]:
        """The keys of texts that run together, alike in length, and the side to pad them on."""

        def length(key: int) -> int:
            return len(texts[key])

        side: str | None = "right"
        whole = sorted((key for key in texts if len(texts[key].windows) == 1), key=length)
        if whole and batch_size > 1:
            shortest, longest = (texts[whole[i]].windows[0] for i in (0, -1))
            side = self._padding.side(shortest, longest)
        if side is None:
            groups = [list(alike) for _, alike in itertools.groupby(whole, key=length)]
        else:
            groups = [whole]
        for group in groups:
            for keys in _chunks(group, batch_size):
                yield keys, side or "right"
        for key, text in texts.items():
            if len(text.windows) > 1:
                yield [key], "right"

    def _tried(
        self, texts: Sequence[Encoded], side: str, query: Query, batch_size: int
    ) -> Sequence[Attribution | NormXLogitError]:
        """Explain texts together; if that fails, one by one, to tell which of them it is."""
        try:
            return self._together(texts, side, query, batch_size)
        except OptionError:
            raise
        except NormXLogitError as error:
            if len(texts) == 1:
                return [without_traceback(error)]
        return [self._tried([text], side, query, batch_size)[0] for text in texts]

    @torch.inference_mode()
    def _together(
        self, texts: Sequence[Encoded], side: str, query: Query, batch_size: int
    ) -> list[Attribution]:
        """Explain several texts of one window each, or one of several windows.

        What a text of several windows is said to be is decided by the mean of their logits.
        """
        windows = [window for text in texts for window in text.windows]
        owners = [n for n, text in enumerate(texts) for _ in text.windows]
        runs = [windows]
        if len(texts) == 1:
            alike = (list(group) for _, group in itertools.groupby(windows, key=len))
            runs = [run for group in alike for run in _chunks(group, batch_size)]
        forwards = [
            ForwardPass(self._model, self._encoder.batch(run, side), layer=query.layer)
            for run in runs
        ]
        outputs = torch.cat([forward.prediction for forward in forwards])
        owner = torch.tensor(owners, device=outputs.device)
        predictions = torch.stack([outputs[owner == n].mean(0) for n in range(len(texts))])
        asked = query.asked(forwards[0], predictions)
        targets = asked.ids
        rows, done = [], 0
        for run, forward in zip(runs, forwards, strict=True):
            answer = query.answer(forward, Asked(targets[owner[done : done + len(run)]]))
            rows += rows_of(answer, [len(window) for window in run], side)
            done += len(run)
        if answer.reads_decoder:
            starts = self._decoder_starts(forwards)
            texts = [
                text.as_decoder_inputs(starts[owners.index(n)]) for n, text in enumerate(texts)
            ]
        foil = None if answer.contrast is None else forward.labels[int(answer.contrast[0])]
        provenance = self._provenance(query, answer.readout, foil)
        several = is_several(query.target, forward.problem, outputs.shape[-1])
        return [
            assemble(
                text,
                [row for row, own in zip(rows, owners, strict=True) if own == n],
                prediction_of(predictions[n], forward.problem, forward.labels, query.threshold),
                targets[n].tolist(),
                answer.layers,
                ("target",) * several + ("layer",) * (query.layer == "all"),
                provenance,
            )
            for n, text in enumerate(texts)
        ]

    def _decoder_starts(self, forwards: Sequence[ForwardPass]) -> list[str]:
        """The token that the decoder's input begins with, in each row of each forward pass."""
        starts = []
        for forward in forwards:
            ids, words = forward.ids, forward.captured.looked_up
            if ids is None or words is None or not torch.equal(words.ids[:, 1:], ids[:, :-1]):
                raise UnsupportedHeadError(
                    f"the decoder of {type(self._model).__name__} does not read the text shifted "
                    "one to the right, so its positions cannot be told from the tokens."
                )
            starts += [self._encoder.token(int(i)) for i in words.ids[:, 0]]
        return starts

    def _provenance(self, query: Query, readout: str, contrast: str | None) -> Provenance:
        return Provenance(
            model=self._name,
            revision=getattr(self._model.config, "_commit_hash", None),
            architecture=type(self._model).__name__,
            dtype=str(self._model.dtype).removeprefix("torch."),
            method=query.method,
            readout=readout,
            contrast=contrast,
            options=dict(query.options),
            versions={
                "normxlogit": __version__,
                "torch": torch.__version__,
                "transformers": transformers.__version__,
            },
        )


def _chunks(values: Sequence[Any], size: int) -> Iterator[Any]:
    return (values[start : start + size] for start in range(0, len(values), size))
