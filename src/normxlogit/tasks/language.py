"""Language models that write: the next token, a given continuation, or what they generate."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from transformers import PreTrainedModel

from normxlogit.errors import InputError, OptionError
from normxlogit.generation.texts import Generator
from normxlogit.query import Query
from normxlogit.results.text import Attribution
from normxlogit.tasks import InputOptions, TaskExplainer
from normxlogit.tasks.batches import Explained
from normxlogit.tasks.per_token import Masks, PerToken
from normxlogit.tasks.splitting import explain_or_split
from normxlogit.text.chat import is_chat
from normxlogit.text.encoded import Encoded
from normxlogit.text.encoder import Encoder


class Causal(Masks):
    """Explains the token that a causal language model puts next, or a given continuation."""

    def __init__(self, model: PreTrainedModel, encoder: Encoder, name: str) -> None:
        super().__init__(model, encoder, name)
        self.generator = Generator(model, encoder, name)

    def encode(self, item: Any, input_options: InputOptions) -> Encoded:
        """A text or a chat in tokens, of which the last is read."""
        if input_options.position is not None:
            raise OptionError(
                "a causal language model is read at the end of the text. Give the text up to "
                "where it is to be explained, or a continuation as target."
            )
        if is_chat(item):
            text = self.encoder.chat(item, input_options.template)
        elif isinstance(item, tuple):
            raise InputError("a language model continues one text, and this is a pair.")
        else:
            text = PerToken.encode(self, item, input_options)
        return replace(text, read=(len(text) - 1,))

    def explain(
        self, items: Mapping[int, Encoded], query: Query, batch_size: int
    ) -> dict[int, Explained]:
        """An attribution for each text; of a continuation a `GenerationAttribution`."""
        if not isinstance(query.target, (str, list)):
            return super().explain(items, query, batch_size)
        return {key: _continued(self, text, query) for key, text in items.items()}


class Seq2Seq(TaskExplainer):
    """Explains what an encoder-decoder writes for a text, or would have to write."""

    def __init__(self, model: PreTrainedModel, encoder: Encoder, name: str) -> None:
        self.encoder = encoder
        self.generator = Generator(model, encoder, name)

    def encode(self, item: Any, input_options: InputOptions) -> Encoded:
        """A text in tokens."""
        if input_options.position is not None or input_options.long == "window":
            raise OptionError("position and long='window' do not apply to encoder-decoders.")
        if is_chat(item):
            return self.encoder.chat(item, input_options.template)
        if isinstance(item, tuple):
            raise InputError("an encoder-decoder reads one text, and this is a pair. Join them.")
        return self.encoder.encode(
            item,
            is_split_into_words=input_options.is_split_into_words,
            long=input_options.long,
            has_windows=False,
        )

    def explain(
        self,
        items: Mapping[int, Encoded],
        query: Query,
        batch_size: int,  # noqa: ARG002
    ) -> dict[int, Explained]:
        """A `GenerationAttribution` for each text."""
        if isinstance(query.target, (str, list)):
            return {key: _continued(self, text, query) for key, text in items.items()}
        if query.target is not None or query.contrast is not None:
            raise OptionError(
                "an encoder-decoder is explained by what it writes, or by a text that is given as "
                "target; a contrast needs such a text."
            )
        if query.layer is not None:
            raise OptionError(
                "layer is not defined for a model with an encoder and a decoder, whose layers do "
                "not correspond. Leave it out."
            )

        def answered(texts: Sequence[Encoded]) -> list[Attribution]:
            sequences = self.generator.generate(texts, query, {"num_return_sequences": 1})
            return [first for first, *_ in sequences]

        return {key: explain_or_split([text], answered)[0] for key, text in items.items()}


def _check_target(target: Any) -> None:
    """Several texts are no continuation, and ids may be any integers."""
    if isinstance(target, list) and any(isinstance(part, str) for part in target):
        raise OptionError(
            "target is several texts, and one continuation is explained at a time: give one text, "
            "or a list of token ids."
        )


def _continued(reader: Causal | Seq2Seq, text: Encoded, query: Query) -> Explained:
    """Explain the target as a continuation of the text."""
    target: Any = query.target
    _check_target(target)
    contrast = None if query.contrast is None else reader.encoder.id_of(query.contrast)
    query = replace(query, target=None, contrast=contrast)
    return explain_or_split(
        [text], lambda texts: [reader.generator.continued(texts[0], target, query)]
    )[0]
