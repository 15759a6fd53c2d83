"""The result for audio: stretches of time and their scores."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from normxlogit.data.option_checks import whole_number
from normxlogit.data.plain import Plain
from normxlogit.errors import InputError
from normxlogit.results.base import Floats, Result, plain, read_pair, read_positions
from normxlogit.results.ranking import strongest_first

_LONGEST = 1e9
"""More seconds than any sound has."""


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class AudioAttribution(Result, kind="audio"):
    """How much each stretch of a sound supports what the model predicted.

    Attributes:
        scores, norms, logits: as in `Result`; the last dimension is positions.
        special: whether a position is no part of the sound, bool [positions]: CLS and the like, and
            the silence that pads a fixed window.
        seconds: where each position begins and ends, float32 [positions, 2], nan for positions
            outside of time; None if unknown.
        duration: the length of the sound in seconds.
        sampling_rate: its samples a second.
        grid: the numbers of frequency bands and of time steps, if the model cuts a spectrogram into
            patches: band by band, the lowest first. Else None.
        note: why `seconds` is unknown.
        name: the name of the sound's file, if it came from one.
        envelope: the loudest sample of each of many equal parts, float32 [parts], to draw the wave.
    """

    _own_fields: ClassVar[tuple[str, ...]] = (
        *("special", "seconds", "duration", "sampling_rate", "grid", "note", "name"),
        "envelope",
    )

    special: NDArray[np.bool_]
    seconds: Floats | None
    duration: float
    sampling_rate: int
    grid: tuple[int, int] | None = None
    note: str = ""
    name: str = ""
    envelope: Floats

    def patches(self) -> Floats:
        """Return scores float32 [..., bands, steps], if the model cuts a spectrogram into patches.

        Raises:
            InputError: the model has no bands.
        """
        if self.grid is None:
            raise InputError("this model does not cut a spectrogram into bands of frequency.")
        kept = self.scores[..., ~self.special]
        return kept.reshape(*self.scores.shape[:-1], self.grid[0], -1)

    def track(self) -> Floats:
        """Return scores float32 [..., steps] over time, summed over frequency bands.

        `times` says when the steps are.
        """
        return self.scores[..., ~self.special] if self.grid is None else self.patches().sum(-2)

    def times(self) -> Floats:
        """Return where each step of `track` begins and ends in seconds, float32 [steps, 2].

        Raises:
            InputError: they are unknown.
        """
        if self.seconds is None:
            raise InputError(f"the times of this sound's positions are not known: {self.note}")
        kept = self.seconds[~self.special]
        return kept if self.grid is None else kept[: len(kept) // self.grid[0]]

    def top(self, count: int = 5, *, by: str = "score") -> list[tuple[tuple[float, float], float]]:
        """Return start and end in seconds of the steps that support the target most, with scores.

        Raises:
            InputError: the times are unknown.
            OptionError: the count is no whole number from 0, or `by` is neither "score" nor
                "magnitude".
        """
        count = whole_number("count", count, least=0)
        scores, times = self.only().track(), self.times()
        order = strongest_first(scores, by)[:count]
        return [((float(times[i, 0]), float(times[i, 1])), float(scores[i])) for i in order]

    def __repr__(self) -> str:
        targets = ", ".join(map(str, self.targets))
        return f"<AudioAttribution of {targets} to {len(self)} positions of {self.duration:.2f} s>"

    def _own_columns(self) -> dict[str, Any]:
        bands: list[int | None] = [None] * len(self)
        if self.grid is not None:
            heard = np.flatnonzero(~self.special)
            for number, position in enumerate(heard):
                bands[position] = number // (len(heard) // self.grid[0])
        unknown = np.full((len(self), 2), np.nan, np.float32)
        seconds = unknown if self.seconds is None else self.seconds
        return {
            "position": range(len(self)),
            "band": bands,
            "start_seconds": seconds[:, 0],
            "end_seconds": seconds[:, 1],
            "special": self.special,
        }

    def _own_to_dict(self) -> dict[str, Any]:
        return {
            "special": self.special.tolist(),
            "seconds": plain(self.seconds),
            "duration": self.duration,
            "sampling_rate": self.sampling_rate,
            "grid": None if self.grid is None else list(self.grid),
            "note": self.note,
            "name": self.name,
            "envelope": plain(self.envelope),
        }

    @classmethod
    def _own_from_dict(cls, data: Plain, common: Mapping[str, Any]) -> dict[str, Any]:
        special = read_positions(data, common["scores"])
        heard = int((~special).sum())
        seconds = data.get("seconds").optional(
            lambda value: value.numbers((len(special), 2), least=0.0, gaps=True)
        )
        if seconds is not None:
            # Where a position is not known its bounds are nan, of which nothing is true.
            first, last = seconds[~special].T
            data.get("seconds").require(
                ((first <= last) & (last <= _LONGEST)).all(), "the times of all steps"
            )
        grid = data.get("grid").optional(read_pair)
        data.get("grid").require(
            grid is None or (heard % grid[0] == 0 and heard <= grid[0] * grid[1]),
            f"the bands and steps of {heard} positions",
        )
        rate = data.get("sampling_rate").integer(1)
        return {
            "special": special,
            "seconds": seconds,
            "duration": data.get("duration").number(1 / rate, _LONGEST),
            "sampling_rate": rate,
            "grid": grid,
            "note": data.get("note").text(),
            "name": data.get("name").text(),
            "envelope": data.get("envelope").numbers((None,), least=0.0),
        }
