"""The result of several methods for one text, side by side."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from normxlogit.data.display import DISPLAYS, Displayed, ResultDisplay
from normxlogit.errors import InputError
from normxlogit.results.base import Floats
from normxlogit.results.interchange.tables import Columns, data_frame
from normxlogit.results.prediction import Target
from normxlogit.results.text import Attribution

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame

SCHEMA = "normxlogit/comparison/1"


@dataclass(frozen=True)
class Word:
    """A word that has a score by one method at least.

    Attributes:
        segment: the number of its text.
        start, end: its first character and last + 1 in it.
        text: the word.
        number: its number, as in `Attribution.word_numbers`.
    """

    segment: int
    start: int
    end: int
    text: str
    number: int = field(compare=False)


@dataclass(frozen=True, eq=False, repr=False)
class Comparison(Displayed):
    """What several methods say of the words of one text; special tokens are left out.

    Attributes:
        results: the words' attribution by each method, by its name as it was asked for.
        not_served: why each other method that was asked for gives none.

    Raises:
        InputError: there are no results, or they do not explain the same outputs at one layer each.
    """

    display_name: ClassVar[str] = "comparison"

    results: Mapping[str, Attribution]
    not_served: Mapping[str, str]

    def __post_init__(self) -> None:
        explained = {
            tuple((target.id, target.label) for target in result.targets)
            for result in self.results.values()
        }
        if len(explained) != 1 or any(len(r.layers) > 1 for r in self.results.values()):
            raise InputError(
                "a comparison is of one result or more, which explain the same outputs of the "
                "model at one layer each; these do not."
            )

    @property
    def methods(self) -> tuple[str, ...]:
        """The names of the methods that have results."""
        return tuple(self.results)

    @property
    def first(self) -> Attribution:
        """The result of the first method; prediction and texts are the same in all."""
        return next(iter(self.results.values()))

    @property
    def targets(self) -> tuple[Target, ...]:
        """The outputs that are explained."""
        return self.first.targets

    @cached_property
    def words(self) -> list[Word]:
        """The words, in the order of the text."""
        words = {word: None for result in self.results.values() for word in _words(result).values()}
        return sorted(words, key=lambda word: (word.segment, word.start, word.end))

    def at(self, number: int) -> "Comparison":
        """Return the part that explains the target of this number in `targets`.

        Raises:
            OptionError: there are not as many.
        """
        parts = {name: result.at(number) for name, result in self.results.items()}
        return Comparison(parts, self.not_served)

    @cached_property
    def scores(self) -> Floats:
        """The words' scores by each method, float32 [methods, words]; nan where it has none.

        Raises:
            OptionError: several targets are explained; `at` returns one of them.
        """
        places = {word: place for place, word in enumerate(self.words)}
        scores = np.full((len(self.results), len(places)), np.nan, np.float32)
        for row, result in zip(scores, self.results.values(), strict=True):
            single = result.only()
            for token, word in _words(single).items():
                row[places[word]] = single.scores[token]
        return scores

    @property
    def shares(self) -> Floats:
        """`scores` as shares of each method's own largest by magnitude, from -1 to 1."""
        largest = np.nanmax(np.abs(self.scores), axis=1, keepdims=True, initial=0.0)
        return (self.scores / np.where(largest > 0, largest, 1)).astype(np.float32)

    @property
    def rank_correlations(self) -> NDArray[np.float64]:
        """Spearman's rank correlation of the words' scores by each two methods.

        Over the words that have a score by both; nan where these are fewer than two, or all scores
        of a method are the same. Float64 [methods, methods].
        """
        scores = self.scores
        return np.array([[rank_correlation(row, column) for column in scores] for row in scores])

    def to_pandas(self) -> "DataFrame":
        """Return a row for each target and word, as a data frame of pandas (extra `pandas`).

        Its first columns are those of `Attribution.to_pandas`: `target`, `token` (the word),
        `start`, `end`, `segment` and `word`. Then comes for each method its name with the raw score
        and "NAME share" with the score as a share of the method's own largest.

        Raises:
            MissingExtraError: pandas is not installed.
        """
        parts = [self.at(number) for number in range(len(self.targets))]
        words = self.words * len(parts)
        columns: Columns = {
            "target": [target.label for target in self.targets for _ in self.words],
            "token": [word.text for word in words],
            "start": [word.start for word in words],
            "end": [word.end for word in words],
            "segment": [word.segment for word in words],
            "word": [word.number for word in words],
        }
        for row, name in enumerate(self.methods):
            columns[name] = [score for part in parts for score in part.scores[row]]
        for row, name in enumerate(self.methods):
            columns[f"{name} share"] = [share for part in parts for share in part.shares[row]]
        return data_frame(columns)

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON, as docs/json.md describes it."""
        parts = [self.at(number) for number in range(len(self.targets))]
        return {
            "schema": SCHEMA,
            "results": {name: result.to_dict() for name, result in self.results.items()},
            "not_served": dict(self.not_served),
            "rank_correlations": [
                [[None if np.isnan(value) else value for value in row] for row in matrix]
                for matrix in (part.rank_correlations.tolist() for part in parts)
            ],
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Comparison":
        """Restore a comparison from `to_dict`.

        Raises:
            InputError: the data are not of a whole comparison.
        """
        results, not_served = data.get("results"), data.get("not_served")
        if not (isinstance(results, dict) and results and isinstance(not_served, dict)):
            raise InputError(
                "this is not a whole comparison. Take one that to_dict or /v1/compare gave."
            )
        return cls(
            {name: Attribution.from_dict(result) for name, result in results.items()},
            {name: str(why) for name, why in not_served.items()},
        )

    def plot(self) -> "Figure":
        """Return the words by methods as a matplotlib figure (extra `plot`): a heat map."""
        return self._display().figure(self)

    def __repr__(self) -> str:
        return f"<Comparison of {', '.join(self.methods)} on {self.first.text!r:.60}>"

    def _display(self) -> ResultDisplay:
        display: ResultDisplay = DISPLAYS[self.display_name]()
        return display


def rank_correlation(scores: NDArray[Any], others: NDArray[Any]) -> float:
    """Spearman's rank correlation of two methods' scores, [words]; ties have their mean rank.

    Over what both have; nan of fewer than two words, and where all scores of one are the same.
    """
    in_both = ~np.isnan(scores) & ~np.isnan(others)
    ranks = [_ranks(values[in_both]) for values in (scores, others)]
    first, second = (rank - rank.mean() if len(rank) else rank for rank in ranks)
    size = np.sqrt((first @ first) * (second @ second))
    return float(first @ second / size) if size > 0 else float("nan")


def _ranks(values: NDArray[Any]) -> NDArray[np.float64]:
    """The rank of each value from 1; the mean of their ranks where values are the same."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = counts.cumsum()  # the rank of the last of each group of equal values
    ranks: NDArray[np.float64] = (last - (counts - 1) / 2)[place]
    return ranks


def _words(result: Attribution) -> dict[int, Word]:
    """The words of an attribution of words that are not special, by the number of their token."""
    kept = np.flatnonzero(~result.special).tolist()
    segments, offsets = result.segments.tolist(), result.offsets.tolist()
    numbers = result.word_numbers.tolist()
    return {
        i: Word(segments[i], offsets[i][0], offsets[i][1], result.tokens[i], numbers[i])
        for i in kept
    }
