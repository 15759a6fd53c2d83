"""Classification and regression of texts and pairs, long ones in windows that overlap."""

import itertools
from collections.abc import Sequence
from typing import Any

import torch

from normxlogit.errors import OptionError, UnsupportedHeadError
from normxlogit.model.forward import ForwardPass
from normxlogit.model.targets import Asked, is_several
from normxlogit.query import Query
from normxlogit.results.assemble import assemble, prediction_of, provenance_of, rows_of
from normxlogit.results.text import Attribution
from normxlogit.tasks import Reading
from normxlogit.tasks.batches import Texts, chunks
from normxlogit.text.encoded import Encoded


class Classification(Texts):
    """Explains what a sequence classifier says of a text."""

    def encode(self, item: Any, reading: Reading) -> Encoded:
        """A text or a pair in tokens."""
        if reading.position is not None:
            raise OptionError(
                "position is for models that say something of every token, and this one says one "
                "thing of the whole text. Leave it out."
            )
        return super().encode(item, reading)

    def together(
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
            runs = [run for group in alike for run in chunks(group, batch_size)]
        forwards = [
            ForwardPass.run(self.model, self.encoder.batch(run, side), layer=query.layer)
            for run in runs
        ]
        outputs = torch.cat([forward.prediction for forward in forwards])
        owner = torch.tensor(owners, device=outputs.device)
        predictions = torch.stack([outputs[owner == n].mean(0) for n in range(len(texts))])
        targets = query.asked(forwards[0], predictions).ids
        rows, done = [], 0
        for run, forward in zip(runs, forwards, strict=True):
            whose = owners[done : done + len(run)]
            parts = [(texts[n], window) for n, window in zip(whose, run, strict=True)]
            answer = query.answer(forward, Asked(targets[whose]), self.encoder.lookup(parts, side))
            rows += rows_of(answer, [len(window) for window in run], side)
            done += len(run)
        if answer.reads_decoder:
            starts = self._decoder_starts(forwards)
            texts = [
                text.as_decoder_inputs(starts[owners.index(n)]) for n, text in enumerate(texts)
            ]
        foil = None if answer.contrast is None else forward.labels[int(answer.contrast[0])]
        provenance = provenance_of(self.model, self.name, query, answer, foil)
        several = is_several(query.target, forward.problem, outputs.shape[-1])
        axes = ("target",) * several + ("layer",) * (query.layer == "all")
        found = []
        for n, text in enumerate(texts):
            said = prediction_of(predictions[n], forward.problem, forward.labels, query.threshold)
            asked = [said.outputs[t] if t >= 0 else None for t in targets[n].tolist()]
            own = [row for row, own in zip(rows, owners, strict=True) if own == n]
            found.append(assemble(text, own, said, asked, answer.layers, axes, provenance))
        return found

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
