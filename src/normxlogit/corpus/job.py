"""What a corpus run does with each row, whichever engine runs it."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from normxlogit.corpus.explain import Explained, Question
from normxlogit.data.rows import Columns, Row
from normxlogit.data.source import Source
from normxlogit.errors import InputError, OptionError

if TYPE_CHECKING:  # these need pyarrow, which explaining without writing does not
    from normxlogit.corpus.progress import MissingShards, Progress
    from normxlogit.corpus.shards import Writer

_FROM_COLUMN = "column:"


@dataclass(frozen=True)
class Job:
    """What is to be done with a source.

    Attributes:
        columns: those to read.
        question: what is asked of every row.
        hashed: whether hashes take the place of texts.
        float16: whether the scores of tokens are float16.
        strict: whether the first row or file that cannot be explained ends the run.
    """

    columns: Columns
    question: Question
    hashed: bool = False
    float16: bool = False
    strict: bool = False

    def options(self) -> dict[str, Any]:
        """What rows and scores depend on, as plain data for JSON.

        Raises:
            OptionError: it is not.
        """
        asked = vars(self.question) | vars(self.columns)
        if self.columns.target is not None:
            asked["target"] = _FROM_COLUMN + self.columns.target
        else:
            asked["target"] = self.question.target
        del asked["batch_size"]
        options = {**asked, "hash": self.hashed, "float16": self.float16}
        try:
            return dict(json.loads(json.dumps(options)))
        except (TypeError, ValueError) as error:
            raise OptionError(
                f"options are noted in the manifest, so they must be plain data for JSON: {error}."
            ) from error


def job_of(
    columns: Columns, question: Question, *, hashed: bool, float16: bool, strict: bool
) -> Job:
    """The job, where a target "column:NAME" names the column that holds each row's target."""
    target = question.target
    if isinstance(target, str) and target.startswith(_FROM_COLUMN):
        columns = replace(columns, target=target.removeprefix(_FROM_COLUMN))
        question = replace(question, target=None)
    elif isinstance(target, (list, tuple)) and any(str(t).startswith(_FROM_COLUMN) for t in target):
        raise OptionError("a column of targets stands alone: it cannot be one of several targets.")
    return Job(columns, question, hashed, float16, strict)


def missing_rows(source: Source, job: Job, gap: "MissingShards", size: int) -> Iterator[Row]:
    """The rows that are missing; a shard holds `size`."""
    start = gap.start
    rows = source.rows(
        job.columns, part=start.part, place=start.place, number=start.row, strict=job.strict
    )
    return islice(rows, gap.rows(size))


def fill(shard: "Writer", window: Sequence[Explained], job: Job, done: "Progress") -> None:
    """Write rows to a shard, and count them.

    Raises:
        InputError: the job is strict, and one could not be explained.
    """
    for explained in shard.write(window):
        if job.strict:
            check_explained(explained)
        done.count(explained)
    done.records = shard.records


def check_explained(explained: Explained) -> None:
    if explained.bad is not None:
        raise InputError(explained.complaint)
