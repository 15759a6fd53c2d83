"""Classification and regression of texts and pairs, long ones in windows that overlap."""

import itertools
import re
import warnings
from collections.abc import Sequence
from typing import Any

import torch
from transformers import PreTrainedModel

from normxlogit.errors import OptionError, UnsupportedHeadError
from normxlogit.model.forward import ForwardPass
from normxlogit.model.targets import TargetIds
from normxlogit.query import Query
from normxlogit.results.assemble import (
    attribution,
    prediction_of,
    provenance_of,
    window_scores,
)
from normxlogit.results.text import Attribution
from normxlogit.results.windows import WindowScores
from normxlogit.tasks import InputOptions
from normxlogit.tasks.batches import Texts, chunks
from normxlogit.text.encoded import Encoded

_SINGLE_TEXTS = ("agnews", "cola", "imdb", "rottentomatoes", "sst2", "yelppolarity")
"""Data sets of single texts, by the names that training scripts leave in configurations."""


class Classification(Texts):
    """Explains what a sequence classifier says of a text."""

    def encode(self, item: Any, input_options: InputOptions) -> Encoded:
        """A text or a pair in tokens."""
        if input_options.position is not None:
            raise OptionError(
                "position is for models that say something of every token, and this one says one "
                "thing of the whole text. Leave it out."
            )
        if isinstance(item, tuple) and len(item) == 2 and reads_single_texts(self.model):
            warnings.warn(
                f"a pair (in Python a tuple of two) is read as one input, and {self.name} was "
                f"trained on single texts ({self.model.config.finetuning_task}). Give several "
                "texts one by one, or as a list.",
                stacklevel=1,  # one place, whoever calls: it is shown once for many pairs
            )
        return super().encode(item, input_options)

    def together(
        self, texts: Sequence[Encoded], side: str, query: Query, batch_size: int
    ) -> list[Attribution]:
        """Explain several texts of one window each, or one of several windows."""
        windows = [window for text in texts for window in text.windows]
        owners = [n for n, text in enumerate(texts) for _ in text.windows]
        runs = [windows]
        if len(texts) == 1:
            alike = (list(group) for _, group in itertools.groupby(windows, key=len))
            runs = [run for group in alike for run in chunks(group, batch_size)]
        forwards = [
            ForwardPass.run(
                self.model,
                self.encoder.batch(run, side),
                layer=query.layer,
                readings=query.readings,
            )
            for run in runs
        ]
        # A text's prediction is the mean of its windows' logits, [texts, outputs].
        outputs = torch.cat([forward.prediction for forward in forwards])
        owner = torch.tensor(owners, device=outputs.device)
        predictions = torch.stack([outputs[owner == n].mean(0) for n in range(len(texts))])
        targets = query.targets(forwards[0], predictions).ids
        scores: list[WindowScores] = []
        for run, forward in zip(runs, forwards, strict=True):
            run_owners = owners[len(scores) : len(scores) + len(run)]
            parts = [(texts[n], window) for n, window in zip(run_owners, run, strict=True)]
            lookup = self.encoder.lookup(parts, side)
            scored = query.score(forward, TargetIds(targets[run_owners]), lookup)
            scores += window_scores(scored, [len(window) for window in run], side)
        if scored.reads_decoder:
            starts = self._decoder_starts(forwards)
            texts = [
                text.as_decoder_inputs(starts[owners.index(n)]) for n, text in enumerate(texts)
            ]
        provenance = provenance_of(self.model, self.name, scored)
        results = []
        for n, text in enumerate(texts):
            prediction = prediction_of(
                predictions[n], forward.problem, forward.labels, query.threshold
            )
            explained = [prediction.outputs[t] if t >= 0 else None for t in targets[n].tolist()]
            parts_of_text = [part for part, o in zip(scores, owners, strict=True) if o == n]
            results.append(
                attribution(text, scored, parts_of_text, prediction, explained, provenance)
            )
        return results

    def _decoder_starts(self, forwards: Sequence[ForwardPass]) -> list[str]:
        """The token that the decoder's input begins with, in each row of each forward pass."""
        return [start for forward in forwards for start in decoder_starts(self, forward)]


def decoder_starts(texts: Texts, forward: ForwardPass) -> list[str]:
    """The token that the decoder's input begins with, in each row of a forward pass.

    Raises:
        UnsupportedHeadError: the rest of it is not the text.
    """
    ids, words = forward.ids, forward.captured.looked_up
    if ids is None or words is None or not torch.equal(words.ids[:, 1:], ids[:, :-1]):
        raise UnsupportedHeadError(
            f"the decoder of {type(texts.model).__name__} does not read the text shifted "
            "one to the right, so its positions cannot be told from the tokens."
        )
    return [texts.encoder.token(int(i)) for i in words.ids[:, 0]]


def reads_single_texts(model: PreTrainedModel) -> bool:
    """Tell whether a model's configuration says that it was trained on texts rather than on pairs.

    Nothing else does: token types are those of the pre-trained model, and their weights stay as
    they were where no text has the second.
    """
    task = str(getattr(model.config, "finetuning_task", None) or "")
    return re.sub(r"[-_ ]", "", re.split(r"[:/]", task.lower())[-1]) in _SINGLE_TEXTS
