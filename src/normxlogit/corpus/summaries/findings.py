"""The findings of a run over a corpus, as plain data."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from normxlogit.data.display import Displayed

SCHEMA = "normxlogit/summary/1"


@dataclass(frozen=True)
class Label:
    """A label and its counts.

    Attributes:
        label: its name.
        predicted: the rows that it is predicted for; of a tagger, the words.
        given: the rows that have it as their own label.
    """

    label: str
    predicted: int
    given: int


@dataclass(frozen=True)
class Values:
    """The values that a regression predicted for an output.

    Attributes:
        label: the name of the output.
        count: how many values.
        mean, low, high: of these values.
        edges: where the first bin begins and the last one ends.
        bins: how many values are in each of 20 equal parts between the edges.
    """

    label: str
    count: int
    mean: float
    low: float
    high: float
    edges: tuple[float, float]
    bins: tuple[int, ...]


@dataclass(frozen=True)
class Word:
    """A word that pushes a target.

    Attributes:
        word: the word, in lower case.
        mean: the mean of its scores for the target.
        lead: by how much that is above the mean of all words, at the least: the lower end of the
            95% interval of the difference.
        count: in how many places it has a score for the target.
        corpus_count: the same for all targets together.
    """

    word: str
    mean: float
    lead: float
    count: int
    corpus_count: int


@dataclass(frozen=True)
class ClassWords:
    """The words that push a target.

    Attributes:
        target: the label; None for all targets together.
        records: how often it was explained.
        mean: the mean score of all words for it; None if none has a score.
        min_count: how often a word must occur to be listed.
        eligible: how many words do.
        by_frequency: whether a word must also be more frequent with this target than elsewhere.
        leading: how many words push it.
        words: those with the greatest lead.
    """

    target: str | None
    records: int
    mean: float | None
    min_count: int
    eligible: int
    by_frequency: bool
    leading: int
    words: tuple[Word, ...]


Mark = tuple[int, int, float]
"""The first character of a word in its text, its last + 1, and its score."""


@dataclass(frozen=True)
class Difference:
    """A row whose prediction is not its label.

    Attributes:
        row, file, id, text, text_sha256, pair, pair_sha256: as in the shards.
        label: the row's own label, by the model's name for it.
        prediction, value: what is predicted, and its probability or value.
        target: the target of the scores: the prediction if it was explained.
        words: the words with the largest absolute scores, as they stand in the text.
        marks: for the text, and the second one of a pair, where each word with a score stands;
            empty where the shards have hashes only.
    """

    row: int
    file: str | None
    id: str | None
    text: str | None
    text_sha256: str | None
    pair: str | None
    pair_sha256: str | None
    label: str
    prediction: str
    value: float
    target: str
    words: tuple[tuple[str, float], ...]
    marks: tuple[tuple[Mark, ...], ...]


@dataclass(frozen=True)
class Findings(Displayed):
    """The findings of a run over a corpus; docs/summary.md says how they are counted.

    Attributes:
        folder: the run's folder.
        finished: whether the run had come to its end.
        model, task, problem: the model's name, its task, and what its outputs mean.
        options: the options of the run.
        rows, explained: rows of the source, and those of them that were explained.
        judged, unlike: of how many of them it is known whether the text is unlike those that the
            attribution head was fitted on, and of how many it is; 0 without a head.
        signed: whether any word's score is below zero, so that signs mean something.
        errors: how many rows were not, by kind.
        records, tokens, shards: how many were written.
        broken: files that could not be read, and why.
        labels: the most frequent first; None for a regression, or if there are too many.
        values: the values of a regression, by output; else None.
        compared: rows with a label that the model knows.
        differing: those with another prediction.
        mean_difference: the mean of |prediction - label| for a regression; else None.
        unknown: labels that the model does not know, up to ten.
        unknown_rows: how many rows have such a label.
        words: by target, the most frequent first.
        differences: rows with another prediction, the surest first; for a regression, those that
            are farthest off.
    """

    display_name = "corpus"

    folder: str
    finished: bool
    model: str
    task: str
    problem: str
    options: Mapping[str, Any]
    rows: int
    explained: int
    judged: int
    unlike: int
    signed: bool
    errors: Mapping[str, int]
    records: int
    tokens: int
    shards: int
    broken: Mapping[str, str]
    labels: tuple[Label, ...] | None
    values: tuple[Values, ...] | None
    compared: int
    differing: int
    mean_difference: float | None
    unknown: tuple[str, ...]
    unknown_rows: int
    words: tuple[ClassWords, ...]
    differences: tuple[Difference, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data for JSON."""
        return {"schema": SCHEMA, **asdict(self)}
