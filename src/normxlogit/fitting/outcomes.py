"""What a model says of texts with sets of words hidden."""

import contextlib
import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normxlogit.data.files import write_whole
from normxlogit.data.run_folder import LOCK, RunFolder
from normxlogit.errors import InputError
from normxlogit.evaluation.perturb.predictions import PredictionCache
from normxlogit.evaluation.perturb.samples import Sample
from normxlogit.fitting.coalitions import choose_sets, count_sets

AT_A_TIME = 64
"""How many texts make a part, which is saved once it is done."""


@dataclass(frozen=True, eq=False)
class Outcomes:
    """What a model says of a text with sets of its words shown and the others hidden.

    Attributes:
        shown: bool [sets, words].
        weights: how much each set counts, float32 [sets]; they sum up to 1.
        logits: the model's outputs, float32 [sets, outputs].
        empty: those with every word hidden, float32 [outputs].
    """

    shown: NDArray[np.bool_]
    weights: NDArray[np.float32]
    logits: NDArray[np.float32]
    empty: NDArray[np.float32]


class OutcomeFolder(RunFolder):
    """The outcomes of a fit that is under way; a context manager that keeps others out."""

    RECORD = "fit.json"
    CONTENT = "a fit"
    MAKES_PARENTS = False

    path: Path

    def __init__(self, path: Path, settings: Mapping[str, Any], outputs: int) -> None:
        """Take the folder of a fit.

        Args:
            path: the folder.
            settings: what the outcomes depend on.
            outputs: how many the model has.
        """
        super().__init__(path, settings)
        self.outputs = outputs

    def read(self, number: int, variants: int) -> NDArray[np.float32] | None:
        """The outputs of a part, [variants, outputs]; None if it is not done.

        Raises:
            InputError: its file is not whole.
        """
        path = self._part(number)
        if not path.exists():
            return None
        try:
            outputs: NDArray[np.float32] = np.load(path, allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise InputError(f"{path} is not whole: {error}. Delete it to run it again.") from error
        is_whole = (
            isinstance(outputs, np.ndarray)
            and outputs.dtype == np.float32
            and outputs.shape == (variants, self.outputs)
            and bool(np.isfinite(outputs).all())
        )
        if not is_whole:
            raise InputError(
                f"{path} does not hold {variants} x {self.outputs} outputs of the model. Delete it "
                "to run it again."
            )
        return outputs

    def missing(self, samples: Sequence[Sample]) -> list[Sample]:
        """The texts whose part is not done."""
        return [s for n, s in enumerate(samples) if not self._part(n // AT_A_TIME).exists()]

    def write(self, number: int, outputs: NDArray[np.float32]) -> None:
        """Save the outputs of a part."""
        buffer = io.BytesIO()
        np.save(buffer, outputs, allow_pickle=False)
        write_whole(self._part(number), buffer.getvalue())
        self.has_begun = True

    def remove(self) -> None:
        """Delete the folder, once the head is written."""
        # The record goes last but for the lock: without it the rest would be taken for something
        # else when an interrupted fit is called again.
        paths = sorted(self.path.iterdir(), key=lambda path: path.name in (self.RECORD, LOCK))
        with contextlib.suppress(OSError):  # the head is there, whatever is left of this
            for path in paths:
                path.unlink()
            self.path.rmdir()

    def _start(self) -> None:
        write_whole(self.path / self.RECORD, json.dumps(self.settings, indent=2) + "\n")

    def _resume(self, record: Mapping[str, Any]) -> None:  # noqa: ARG002
        self.has_begun = True

    def _part(self, number: int) -> Path:
        return self.path / f"outcomes-{number:06}.npy"


def count_passes(samples: Sequence[Sample], masks: int) -> int:
    """How many forward passes `measure` makes."""
    return sum(count_sets(sample.count, masks) + 1 for sample in samples)


def measure(
    samples: Sequence[Sample],
    cache: PredictionCache,
    masks: int,
    seed: int,
    folder: OutcomeFolder | None,
    show: Callable[[int, int], None],
) -> list[Outcomes]:
    """Run a model on every text with sets of words shown, and with none.

    Args:
        samples: the texts.
        cache: the model, which gives logits, and how words are hidden.
        masks: how many sets there are for each text; all where a text has fewer.
        seed: of the sets.
        folder: where parts are saved, and found again; None to keep them in memory alone.
        show: called with the texts done and the tokens run.
    """
    outcomes: list[Outcomes] = []
    for number, start in enumerate(range(0, len(samples), AT_A_TIME)):
        part = samples[start : start + AT_A_TIME]
        sets = [
            choose_sets(sample.count, masks, np.random.default_rng([seed, 1, start + n]))
            for n, sample in enumerate(part)
        ]
        variants = [np.pad(shown, ((0, 1), (0, 0))) for shown, _ in sets]  # the last shows none
        ends = np.cumsum([len(v) for v in variants])
        outputs = folder.read(number, int(ends[-1])) if folder else None
        if outputs is None:
            if number:
                cache.forget()  # only now, for the first texts may have been run before
            predicted = cache.predict([(s, ~v) for s, v in zip(part, variants, strict=True)])
            outputs = np.concatenate(predicted).astype(np.float32)
            if folder:
                folder.write(number, outputs)
        for (shown, weights), logits in zip(sets, np.split(outputs, ends[:-1]), strict=True):
            outcomes.append(Outcomes(shown, weights, logits[:-1], logits[-1]))
        show(start + len(part), cache.tokens)
    return outcomes
