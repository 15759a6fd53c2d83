"""The job of a corpus run, and its steps for each row, whichever engine runs it."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import TYPE_CHECKING, Any

from normxlogit.corpus.explain import Question
from normxlogit.corpus.explained import Explained
from normxlogit.corpus.options import FROM_COLUMN, check_target
from normxlogit.data.option_checks import flag
from normxlogit.data.rows import Columns, Row
from normxlogit.data.source import Source
from normxlogit.errors import InputError, OptionError
from normxlogit.methods.attribution_head import AttributionHead

if TYPE_CHECKING:  # these need pyarrow, which explaining without writing does not
    from normxlogit.corpus.progress import MissingShards, Progress
    from normxlogit.corpus.shards import Writer


@dataclass(frozen=True)
class Job:
    """The columns of a source to read, the question to ask, and how to write the answers.

    Attributes:
        columns: the columns to read.
        question: what is asked of every row.
        hashed: write hashes in place of texts.
        float16: write the scores of tokens as float16.
        strict: stop at the first row or file that cannot be explained.
    """

    columns: Columns
    question: Question
    hashed: bool = False
    float16: bool = False
    strict: bool = False

    def options(self) -> dict[str, Any]:
        """Return the options that rows and scores depend on, as plain data for JSON.

        Raises:
            OptionError: they are not.
        """
        question = dict(vars(self.question))
        del question["batch_size"]  # a run may be resumed with another
        method_options = question.pop("options")
        columns = dict(vars(self.columns))
        target_column = columns.pop("target")
        if target_column is not None:
            question["target"] = FROM_COLUMN + target_column
        # In this order they stand in the manifest.
        options = {
            **question,
            "options": method_options,
            **columns,
            "hash": self.hashed,
            "float16": self.float16,
        }
        try:
            return dict(json.loads(json.dumps(options, default=_identity)))
        except (TypeError, ValueError) as error:
            raise OptionError(
                f"options are noted in the manifest, so they must be plain data for JSON: {error}."
            ) from error


def _identity(option: Any) -> str:
    """What stands for an attribution head among options."""
    if isinstance(option, AttributionHead):
        return option.identity
    raise TypeError(f"{type(option).__name__} is not plain data")


def make_job(
    columns: Columns, question: Question, *, hashed: bool, float16: bool, strict: bool
) -> Job:
    """Return the job, with the column that a target "column:NAME" names among its columns.

    Raises:
        OptionError: a flag is neither True nor False, or the target names a column among others.
    """
    target = question.target
    check_target(target)
    if isinstance(target, str) and target.startswith(FROM_COLUMN):
        columns = replace(columns, target=target.removeprefix(FROM_COLUMN))
        question = replace(question, target=None)
    return Job(
        columns, question, flag("hash", hashed), flag("float16", float16), flag("strict", strict)
    )


def missing_rows(source: Source, job: Job, missing: "MissingShards", size: int) -> Iterator[Row]:
    """Read the rows of missing shards; a shard holds `size`."""
    start = missing.start
    rows = source.rows(
        job.columns, part=start.part, place=start.place, number=start.row, strict=job.strict
    )
    return islice(rows, missing.rows(size))


def fill(shard: "Writer", window: Sequence[Explained], job: Job, progress: "Progress") -> None:
    """Write rows to a shard, and count them.

    Raises:
        InputError: the job is strict, and a row could not be explained.
    """
    for explained in shard.write(window):
        if job.strict:
            check_explained(explained)
        progress.count(explained)
    progress.records = shard.records


def check_explained(explained: Explained) -> None:
    """Raise an InputError if a row could not be explained."""
    if explained.bad is not None:
        raise InputError(explained.complaint)
