"""What a model says of texts with sets of words hidden."""

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normxlogit.data.files import write_whole
from normxlogit.data.run_folder import RunFolder
from normxlogit.errors import InputError
from normxlogit.evaluation.perturb.predictions import PredictionCache
from normxlogit.evaluation.perturb.samples import Sample
from normxlogit.fitting.coalitions import draw

AT_A_TIME = 64
"""How many texts make a part, which is saved once it is done."""


@dataclass(frozen=True, eq=False)
class Outcomes:
    """What a model says of a text with sets of its words shown and the others hidden.

    Attributes:
        shown: bool [sets, words].
        logits: the model's outputs, float32 [sets, outputs].
        empty: those with every word hidden, float32 [outputs].
    """

    shown: NDArray[np.bool_]
    logits: NDArray[np.float32]
    empty: NDArray[np.float32]


class OutcomeFolder(RunFolder):
    """The outcomes of a fit that is under way; a context manager that keeps others out."""

    RECORD = "fit.json"
    CONTENT = "a fit"
    MAKES_PARENTS = False

    path: Path

    def read(self, number: int) -> NDArray[np.float32] | None:
        """The outputs of a part, [variants, outputs]; None if it is not done.

        Raises:
            InputError: its file is not whole.
        """
        path = self._part(number)
        if not path.exists():
            return None
        try:
            outputs: NDArray[np.float32] = np.load(path, allow_pickle=False)
        except (OSError, ValueError) as error:
            raise InputError(f"{path} is not whole: {error}. Delete it to run it again.") from error
        return outputs

    def write(self, number: int, outputs: NDArray[np.float32]) -> None:
        """Save the outputs of a part."""
        self.has_begun = True
        buffer = io.BytesIO()
        np.save(buffer, outputs, allow_pickle=False)
        write_whole(self._part(number), buffer.getvalue())

    def remove(self) -> None:
        """Delete the folder, once the head is written."""
        for path in self.path.iterdir():
            path.unlink()
        self.path.rmdir()

    def _start(self) -> None:
        from json import dumps

        write_whole(self.path / self.RECORD, dumps(self.settings, indent=2) + "\n")

    def _resume(self, record: Mapping[str, Any]) -> None:  # noqa: ARG002
        self.has_begun = True

    def _part(self, number: int) -> Path:
        return self.path / f"outcomes-{number:06}.npy"


def measure(
    samples: Sequence[Sample],
    cache: PredictionCache,
    masks: int,
    seed: int,
    folder: OutcomeFolder | None,
    show: Callable[[int, int], None],
) -> list[Outcomes]:
    """Run a model on every text with `masks` random sets of words shown, and with none.

    Args:
        samples: the texts.
        cache: the model, which gives logits, and how words are hidden.
        masks: how many sets are drawn for each text.
        seed: of the sets.
        folder: where parts are saved, and found again; None to keep them in memory alone.
        show: called with the texts done and the tokens run.
    """
    outcomes: list[Outcomes] = []
    for number, start in enumerate(range(0, len(samples), AT_A_TIME)):
        part = samples[start : start + AT_A_TIME]
        sets = [
            draw(sample.count, masks, np.random.default_rng([seed, 1, start + n]))
            for n, sample in enumerate(part)
        ]
        variants = [np.concatenate([shown, np.zeros((1, shown.shape[1]), bool)]) for shown in sets]
        outputs = folder.read(number) if folder else None
        if outputs is None:
            predicted = cache.predict([(s, ~v) for s, v in zip(part, variants, strict=True)])
            outputs = np.concatenate(predicted).astype(np.float32)
            cache.forget()
            if folder:
                folder.write(number, outputs)
        ends = np.cumsum([len(v) for v in variants])
        if len(outputs) != ends[-1]:
            raise InputError(f"part {number} of the outcomes is not whole. Delete its folder.")
        for shown, logits in zip(sets, np.split(outputs, ends[:-1]), strict=True):
            outcomes.append(Outcomes(shown, logits[:-1], logits[-1]))
        show(start + len(part), cache.tokens)
    return outcomes
