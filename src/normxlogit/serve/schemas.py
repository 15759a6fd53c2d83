"""What requests hold. A field has the name and the meaning that the argument in Python has."""

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StrictInt, StrictStr

from normxlogit.errors import InputError, OptionError
from normxlogit.evaluation.method_specs import parse_method_specs
from normxlogit.methods import find_declaration
from normxlogit.methods.catalogue import check_option_names, default_method
from normxlogit.results.reductions import check_reduction
from normxlogit.serve.limits import Limits, check_options
from normxlogit.sources.methods import default_method as default_source_method
from normxlogit.sources.methods import find_source_method

NEW_TOKENS = 128
"""How many tokens are generated at most, unless a request says otherwise."""

Label = StrictInt | StrictStr
Span = Annotated[list[StrictInt], Field(min_length=2, max_length=2)]


class Message(BaseModel):
    """A message of a chat."""

    model_config = ConfigDict(extra="forbid")

    role: str
    content: str


class Request(BaseModel):
    """What all requests have."""

    model_config = ConfigDict(extra="forbid")

    model: str | None = Field(
        None, description="One of /v1/models; the first that the server was started with."
    )


class TextRequest(Request):
    """A text, or something in its place, and what to explain of it."""

    text: str | list[str] | None = Field(
        None, description="A text, or a list of texts, which gives a list of results."
    )
    pair: str | list[str] | None = Field(
        None, description="The second text of a pair: for a question, what is to answer it."
    )
    choices: list[str] | None = Field(None, description="The choices of a multiple choice.")
    messages: list[Message] | None = Field(None, description="A chat, in place of a text.")
    target: Label | list[Label] | None = Field(
        None, description="The output to explain; several, or 'all'. Default: the prediction."
    )
    contrast: Label | None = Field(None, description="Explain the target rather than this output.")
    layer: StrictInt | Literal["all"] | None = Field(
        None, description="The layer whose hidden states the head is put on. Default: the last."
    )
    readout: str | None = Field(None, description="The number read from the head.")
    threshold: float = Field(
        0.5, description="For several labels at once: the probability from which one is predicted."
    )
    position: StrictInt | StrictStr | Span | None = Field(
        None,
        description="For heads that say something of every token: a word that occurs once, its "
        "first character and last + 1, or a token's number.",
    )
    long: Literal["error", "truncate", "window"] = Field(
        "error", description="What to do with a text over the model's limit."
    )

    def items(self, limits: Limits) -> tuple[list[Any], bool]:
        """Return what is to be explained, and whether it was given as a list.

        Raises:
            InputError: there is nothing, or what does not go together.
            TooLargeError: it is too much.
        """
        if (self.text is None) == (self.messages is None):
            raise InputError("give either a text or the messages of a chat.")
        if self.messages is not None:
            if self.pair is not None or self.choices is not None:
                raise InputError("a chat has neither a pair nor choices. Leave them out.")
            return [_chat(self.messages, limits)], False
        is_list = isinstance(self.text, list)
        texts = self.text if isinstance(self.text, list) else [self.text]
        limits.check_items(len(texts))
        items: list[Any] = list(texts)
        if self.choices is not None:
            if self.pair is not None:
                raise InputError("give either a pair or choices.")
            items = [(text, self.choices) for text in texts]
        elif self.pair is not None:
            if isinstance(self.pair, list) != is_list:
                raise InputError("text and pair must both be texts, or both lists of texts.")
            pairs = self.pair if isinstance(self.pair, list) else [self.pair]
            if len(pairs) != len(texts):
                raise InputError(f"there are {len(texts)} texts and {len(pairs)} second ones.")
            items = list(zip(texts, pairs, strict=True))
        for item in items:
            limits.check_characters(length_of(item))
        return items, is_list

    def item(self, limits: Limits) -> Any:
        """Return the one text that is to be explained.

        Raises:
            InputError: it is none, or several.
            TooLargeError: it is too long.
        """
        items, is_list = self.items(limits)
        if is_list:
            raise InputError("this takes one text, not a list. Send a request for each.")
        return items[0]

    def shared(self) -> dict[str, Any]:
        """Return the arguments that `explain` and `compare` have in common."""
        position = tuple(self.position) if isinstance(self.position, list) else self.position
        names = ("target", "contrast", "layer", "readout", "threshold", "long")
        return {name: getattr(self, name) for name in names} | {"position": position}


class ExplainRequest(TextRequest):
    """A text to explain by one method."""

    method: str | None = Field(
        None, description="Default: normxlogit; attribution_head if the model has a head."
    )
    options: dict[str, Any] = Field({}, description="The method's own options.")
    unit: Literal["token", "word", "sentence"] = Field(
        "token", description="What has a score. Those of words and sentences are of their tokens."
    )
    reduce: Literal["sum", "mean", "max"] = Field(
        "sum", description="How the scores of tokens become that of a word or sentence."
    )

    def arguments(self, *, has_head: bool) -> dict[str, Any]:
        """Return the arguments of `Explainer.explain`.

        Raises:
            OptionError: there is no such method or option, or no request may have it.
        """
        name = default_method(has_head=has_head) if self.method is None else self.method
        check_options(self.options)
        # Checked here too, for an option could be named like an argument.
        find_declaration(name).check(self.options, self.layer)
        if self.unit != "token":
            check_reduction("reduce", self.reduce, name, self.options)
        return {**self.shared(), "method": self.method, **self.options}

    def key(self) -> str:
        """Return what is the same for requests that may be answered together."""
        fields = self.model_dump(exclude={"model", "text", "pair", "messages"})
        return json.dumps(fields, sort_keys=True)


class CompareRequest(TextRequest):
    """A text to explain by several methods."""

    methods: list[str | dict[str, Any]] = Field(
        max_length=32,
        description="Names, NAME:OPTION=VALUE:..., or objects with method and any of name, layer, "
        "readout and options.",
    )
    layer: StrictInt | None = Field(None, description="For all methods but those with their own.")

    def check(self) -> None:
        """Refuse methods that no request may ask for.

        Raises:
            OptionError: a method or option does not exist, or is none for requests.
        """
        for spec in parse_method_specs(self.methods):
            check_options(spec.options)


class GenerationRequest(Request):
    """How a language model continues."""

    max_new_tokens: int | None = Field(
        None, ge=1, description=f"Default: {NEW_TOKENS}, or what the server allows."
    )
    do_sample: bool = Field(False, description="Draw tokens rather than take the likeliest.")
    temperature: float | None = Field(None, description="Below 1, likely tokens become likelier.")
    top_p: float | None = Field(
        None, description="Draw from the likeliest tokens of this total probability."
    )
    top_k: int | None = Field(None, description="Draw from so many of the likeliest tokens.")
    repetition_penalty: float | None = Field(
        None, description="Above 1, tokens that are there already become less likely."
    )
    stop_strings: list[str] | None = Field(None, description="Texts after which the answer ends.")

    def generation(self, limits: Limits) -> dict[str, Any]:
        """Return the options of the model's `generate`.

        Raises:
            OptionError: too many tokens are asked for, or a stop string is empty.
        """
        if self.max_new_tokens is not None:
            limits.check_new_tokens(self.max_new_tokens)
        if "" in (self.stop_strings or ()):
            raise OptionError("a stop string is empty, and every answer contains the empty text.")
        names = GenerationRequest.model_fields.keys() - Request.model_fields.keys()
        options = {name: getattr(self, name) for name in sorted(names)}
        options["max_new_tokens"] = self.max_new_tokens or min(NEW_TOKENS, limits.new_tokens)
        return {name: value for name, value in options.items() if value is not None}


class GenerateRequest(GenerationRequest):
    """A prompt to continue."""

    prompt: str | None = Field(None, description="The text to continue.")
    messages: list[Message] | None = Field(None, description="A chat, in place of a prompt.")
    tools: list[dict[str, Any]] | None = Field(None, description="For the chat template.")
    method: str = Field("normxlogit", description="The method that explains each token.")
    readout: str | None = Field(None, description="The number read from the head.")
    options: dict[str, Any] = Field({}, description="The method's own options.")
    stream: bool = Field(True, description="Send tokens while they are made, as events.")

    def question(self, limits: Limits) -> Any:
        """Return the prompt or the chat; see `question_of`."""
        return question_of(self.prompt, self.messages, "prompt", limits)

    def arguments(self, limits: Limits) -> dict[str, Any]:
        """Return the arguments of `Explainer.generate_stream`.

        Raises:
            OptionError: there is no such method or option, or no request may have it.
        """
        check_options(self.options)
        find_declaration(self.method).check(self.options, None)
        tools = {} if self.tools is None else {"tools": self.tools}
        return {
            "method": self.method,
            "readout": self.readout,
            **self.generation(limits),
            **tools,
            **self.options,
        }


class Document(BaseModel):
    """A document that an answer may rest on."""

    model_config = ConfigDict(extra="forbid")

    text: str
    title: str | None = None
    id: str | None = None


class SourcesRequest(GenerationRequest):
    """A question with its sources."""

    question: str | None = Field(None, description="What to answer.")
    messages: list[Message] | None = Field(None, description="A chat, in place of a question.")
    documents: list[str | Document] | None = Field(
        None, description="Texts, or objects with text and a title or id."
    )
    answer: str | None = Field(None, description="The answer to explain. Default: it is made.")
    sources: Literal["documents", "messages", "sentences"] | list[str | Span] | None = Field(
        None, description="What the sources are. Default: the documents, else what there is."
    )
    spans: list[str | Span] | None = Field(
        None, description="Parts of the answer to explain. Default: its sentences."
    )
    method: str | None = Field(
        None, description="Default: leave_one_out for up to 32 sources, else late_lrp."
    )
    threshold: float | None = Field(
        None, description="The score from which a source is cited, in the method's own unit."
    )
    options: dict[str, Any] = Field({}, description="The method's own options.")

    def question_or_chat(self, limits: Limits) -> Any:
        """Return the question or the chat; see `question_of`."""
        limits.check_items(len(self.documents or [""]))
        return question_of(self.question, self.messages, "question", limits)

    def arguments(self, limits: Limits) -> dict[str, Any]:
        """Return the arguments of `Explainer.sources` but for the question.

        Raises:
            OptionError: there is no such method or option, or no request may have it.
            TooLargeError: there is too much of something.
        """
        check_options(self.options)
        name = default_source_method(1) if self.method is None else self.method
        method = find_source_method(name)
        check_option_names(name, self.options, method.options)
        documents = None
        if self.documents is not None:
            documents = [
                document if isinstance(document, str) else document.model_dump(exclude_none=True)
                for document in self.documents
            ]
            for document in documents:
                limits.check_characters(
                    len(document if isinstance(document, str) else document["text"])
                )
        return {
            "documents": documents,
            "answer": self.answer,
            "sources": _with_tuples(self.sources),
            "spans": _with_tuples(self.spans),
            "method": self.method,
            "threshold": self.threshold,
            **({} if self.answer is not None else self.generation(limits)),
            **self.options,
        }


def question_of(
    text: str | None, messages: Sequence[Message] | None, name: str, limits: Limits
) -> Any:
    """Return a text, or the messages of a chat as plain data.

    Raises:
        InputError: there is neither, or both.
        TooLargeError: it is too long.
    """
    if (text is None) == (messages is None):
        raise InputError(f"give either a {name} or the messages of a chat.")
    if messages is None:
        limits.check_characters(len(text or ""))
        return text
    return _chat(messages, limits)


def _chat(messages: Sequence[Message], limits: Limits) -> list[dict[str, str]]:
    limits.check_characters(sum(len(message.content) for message in messages))
    return [message.model_dump() for message in messages]


def length_of(item: Any) -> int:
    """Return how many characters an item has in all its parts."""
    if isinstance(item, str):
        return len(item)
    if isinstance(item, Mapping):
        return sum(map(length_of, item.values()))
    return sum(map(length_of, item))


def _with_tuples(parts: Any) -> Any:
    """Return a list with its spans as tuples."""
    if not isinstance(parts, list):
        return parts
    return [tuple(part) if isinstance(part, list) else part for part in parts]
