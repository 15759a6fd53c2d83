"""From what a user gives to results, for each kind of head.

A reader knows one kind: it turns items (texts, pairs, pictures, ...) into what the model takes,
runs them together where it can, and makes results of what was found.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

from normxlogit.errors import NormXLogitError
from normxlogit.query import Query
from normxlogit.results.base import Result


class Task(str, Enum):
    """Kinds of heads, by the names of transformers' pipelines."""

    TEXT = "text-classification"
    TOKENS = "token-classification"
    ANSWER = "question-answering"
    CHOICE = "multiple-choice"
    MASK = "fill-mask"
    CAUSAL = "text-generation"
    SEQ2SEQ = "text2text-generation"
    IMAGE = "image-classification"
    AUDIO = "audio-classification"


@dataclass(frozen=True)
class InputOptions:
    """How items are to be read; the fields are arguments of `Explainer.explain`."""

    long: str = "error"
    is_split_into_words: bool = False
    position: Any = None


class TaskExplainer(Protocol):
    """Explains items of one kind."""

    def encode(self, item: Any, reading: InputOptions) -> Any:
        """What the model takes for an item, and what a result needs to know of it.

        Raises:
            InputError: the item cannot be explained.
            OptionError: a reading that does not exist for this kind.
        """

    def explain(
        self, items: Mapping[int, Any], query: Query, batch_size: int
    ) -> Mapping[int, Result | NormXLogitError]:
        """A result for each encoded item, or the reason why there is none.

        Raises:
            OptionError: the question does not fit the model.
            UnsupportedHeadError: none of the items could be explained with this model.
        """
