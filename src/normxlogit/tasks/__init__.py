"""From a user's inputs to results, for each kind of head.

A task explainer knows one kind of head: it encodes items (texts, pairs, images, ...) as inputs of
the model, runs them in batches where it can, and makes results of the scores.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol

from normxlogit.errors import InputError, NormXLogitError, without_traceback

if TYPE_CHECKING:
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
    """How to encode items; the fields are arguments of `Explainer.explain`.

    Attributes:
        template: options of the chat template, from those of `Explainer.generate`.
    """

    long: str = "error"
    is_split_into_words: bool = False
    position: Any = None
    template: Mapping[str, Any] = field(default_factory=dict)


class TaskExplainer(Protocol):
    """Explains items of one kind."""

    def encode(self, item: Any, input_options: InputOptions) -> Any:
        """Turn an item into the model's inputs, with what a result needs to know about it.

        Raises:
            InputError: the item cannot be explained.
            OptionError: an option that this kind of head does not have.
        """

    def encode_all(self, items: Sequence[Any], input_options: InputOptions) -> list[Any]:
        """Encode several items; in the place of one that cannot be explained stands why."""
        encoded: list[Any] = []
        for item in items:
            try:
                encoded.append(self.encode(item, input_options))
            except InputError as error:
                encoded.append(without_traceback(error))
        return encoded

    def explain_all(
        self, items: Sequence[Any], input_options: InputOptions, query: Any, batch_size: int
    ) -> list[Any]:
        """Encode and explain several items: a result for each, or the reason why there is none.

        `query` is what `explain` takes; raises as it does.
        """
        encoded = self.encode_all(items, input_options)
        good = {n: item for n, item in enumerate(encoded) if not isinstance(item, InputError)}
        explained = self.explain(good, query, batch_size)
        return [explained.get(n, item) for n, item in enumerate(encoded)]

    def explain(
        self, items: Mapping[int, Any], query: "Query", batch_size: int
    ) -> "Mapping[int, Result | NormXLogitError]":
        """Explain encoded items: a result for each, or the reason why there is none.

        Raises:
            OptionError: the query does not fit the model.
            UnsupportedHeadError: none of the items could be explained with this model.
        """
