"""The texts that a head is fitted on: drawn from a source, as the model reads them."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from normxlogit.data.rows import Bad, Row
from normxlogit.errors import InputError
from normxlogit.evaluation.perturb.samples import Sample, renumbered
from normxlogit.fitting.options import LEAST
from normxlogit.text.encoder import Encoder


@dataclass(frozen=True)
class Drawn:
    """The texts of a fit.

    Attributes:
        samples: the texts, in the order drawn; their outputs are yet unknown.
        rows: how many rows the source has.
        left_out: how many of the rows drawn cannot be used, by the kind of error.
    """

    samples: list[Sample]
    rows: int
    left_out: Counter[str]

    @property
    def counts(self) -> dict[str, Any]:
        """The rows that there are and those left out, as plain data."""
        return {"rows": self.rows, "left_out": dict(self.left_out)}


def draw_texts(rows: Iterable[Row], count: int, seed: int, encoder: Encoder) -> Drawn:
    """Draw texts at random from all rows of a source, whatever its size.

    A reservoir (Vitter 1985, algorithm R) of twice as many rows as needed: blank ones, those that
    are too long for the model, and those of a single word are replaced by the next.

    Raises:
        InputError: fewer than `LEAST` rows can be used.
    """
    generator = np.random.default_rng([seed, 0])
    reservoir: list[Row] = []
    total = 0
    for total, row in enumerate(rows, 1):
        if total <= 2 * count:
            reservoir.append(row)
        elif (place := int(generator.integers(total))) < 2 * count:
            reservoir[place] = row
    samples: list[Sample] = []
    left_out: Counter[str] = Counter()
    first = ""
    for place in generator.permutation(len(reservoir)).tolist():
        if len(samples) == count:
            break
        row = reservoir[place]
        try:
            samples.append(_sample(row, encoder))
        except InputError as error:
            bad = row.bad or Bad.of(error)
            left_out[bad.kind.value] += 1
            first = first or f"{row}: {bad.why}"
    if len(samples) < LEAST:
        raise InputError(
            f"a head needs {LEAST} texts or more to be fitted and tried on, of two words or more "
            f"each; the source has {len(samples)} among its {total} rows. "
            + (f"The first that cannot be used: {first.rstrip('.')}." if first else "Give more.")
        )
    return Drawn(samples, total, left_out)


def _sample(row: Row, encoder: Encoder) -> Sample:
    if row.bad is not None:
        raise InputError(row.bad.why)
    encoded = encoder.encode(row.item, long="error", has_windows=False)
    units = renumbered(encoded.units("word"))
    if units.max(initial=-1) < 1:
        raise InputError("it has a single word, which leaves nothing to compare")
    return Sample(row.number, row.item, encoded, units, np.zeros(0), None)
