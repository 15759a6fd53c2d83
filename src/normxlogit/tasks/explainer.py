"""Texts, images or audio in, results out; `Explainer` adds corpora and evaluation on top."""

import copy
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from os import PathLike
from types import NoneType
from typing import Any, TypeVar, overload

import torch
from torch import Tensor

from normxlogit.data.option_checks import flag, whole_number
from normxlogit.errors import (
    ModelError,
    OptionError,
)
from normxlogit.generation.stream import Stream
from normxlogit.generation.texts import Generator
from normxlogit.methods.attribution_head import AttributionHead
from normxlogit.model.clone import unwrap
from normxlogit.model.forward import Layer
from normxlogit.model.loading.pretrained import load, warn_if_untrained
from normxlogit.model.targets import Target, Targets
from normxlogit.query import Query, method_name
from normxlogit.results.base import Result
from normxlogit.results.generation import GenerationAttribution
from normxlogit.results.text import Attribution, Failure
from normxlogit.tasks import InputOptions
from normxlogit.tasks.batches import read_ahead
from normxlogit.tasks.generate import Generated, generate, generation_query, template_options
from normxlogit.tasks.head_of_model import HeadSource, head_of_model
from normxlogit.tasks.holders import unpacked
from normxlogit.tasks.items import items_of, values_of
from normxlogit.tasks.registry import task_explainer_of, task_of
from normxlogit.text.encoder import Encoder
from normxlogit.text.lengths import MOST_TOGETHER
from normxlogit.text.message import Chat
from normxlogit.text.validation import are_words, check_long, check_several

AnyExplainer = TypeVar("AnyExplainer", bound="ModelExplainer")


class ModelExplainer:
    """Explains a model's predictions for texts, images or audio.

    Several threads may use it at once. It never changes the model or the tokenizer.

    Attributes:
        model: the transformers model, out of its wrappers.
        tokenizer: the tokenizer; for other models the image processor or feature extractor.
        task: the kind of the model's head, by the name of transformers' pipeline for it.
        name: what results call the model.
        head: the attribution head that was fitted to it, if there is one.
        task_explainer: encodes and explains inputs for this kind of head.
    """

    def __init__(
        self,
        model: Any,
        tokenizer: Any = None,
        *,
        name: str | None = None,
        head: HeadSource | None = None,
    ) -> None:
        """Take a model and the tokenizer that belongs to it.

        Args:
            model: a transformers model with a head for classification (of texts, tokens, images or
                audio), question answering, multiple choice or language modelling, as it is or
                wrapped by PEFT or torch.compile; or a pipeline of transformers, or a CrossEncoder
                of sentence-transformers, which hold both a model and its tokenizer.
            tokenizer: its tokenizer; for models of images or audio the image processor or feature
                extractor.
            name: what to call the model in results; its own name or path if not given.
            head: an attribution head fitted to this model, its file, or "demo" for the demo's
                ("./demo" for a file of that name): then "attribution_head" is the method unless
                another is named.

        Raises:
            ModelError: there is no such head, the tokenizer belongs to another model, or the
                pipeline is for a task that is not explained.
            InputError: the file holds no attribution head, or one of another model.
            OptionError: the name is no text.
        """
        if not isinstance(name, (str, NoneType)):
            raise OptionError(f"name is what results call the model, a text; got {name!r:.80}.")
        model, tokenizer = unpacked(model, tokenizer)
        self.model = unwrap(model)
        self.tokenizer = tokenizer
        self.task = task_of(self.model)
        self.name = name or self.model.name_or_path or type(self.model).__name__
        self.task_explainer = task_explainer_of(self.model, tokenizer, self.name)
        self.head = None if head is None else self._own_head(head)
        warn_if_untrained(self.model)

    @classmethod
    def from_pretrained(
        cls: type[AnyExplainer],
        name: str | PathLike[str] = "demo",
        *,
        revision: str | None = None,
        device: str | torch.device = "auto",
        dtype: str | torch.dtype = "auto",
        trust_remote_code: bool = False,
        head: HeadSource | None = None,
        **options: Any,
    ) -> AnyExplainer:
        """Load a model and its tokenizer.

        Args:
            name: a Hub id or a folder; "demo" is the sentiment classifier inside this package
                (write "./demo" for a folder of that name).
            revision: branch, tag or commit on the Hub.
            device: "auto" (CUDA, else Apple's MPS, else the CPU), or a torch device.
            dtype: of the weights: "auto" as they are stored (float16 becomes float32 on a CPU),
                "float32", "bfloat16", "float16".
            trust_remote_code: run code that comes with the model. Off, unless you trust its
                authors.
            head: an attribution head fitted to this model, its file, or "demo" for the demo's.
            **options: further arguments of the model's `from_pretrained`.

        Raises:
            ModelError: no such model, no weights as safetensors, or none for the head.
            InputError: the file holds no attribution head, or one of another model.
            OptionError: no such device or dtype.
        """
        model, tokenizer = load(
            name,
            revision=revision,
            device=device,
            dtype=dtype,
            trust_remote_code=trust_remote_code,
            **options,
        )
        return cls(model, tokenizer, name=str(name), head=head)

    # A str is taken for a text here, so that type checkers know its result; of an image or audio
    # file give a Path. Whether an array is an image or a list of texts is not known to them.
    @overload
    def explain(self, inputs: str | tuple[Any, Any], **options: Any) -> Attribution: ...
    @overload
    def explain(self, inputs: Chat, **options: Any) -> Attribution: ...
    @overload
    def explain(
        self, inputs: list[str] | list[tuple[str, str]], **options: Any
    ) -> list[Attribution | Failure]: ...
    @overload
    def explain(self, inputs: list[Any], **options: Any) -> list[Result | Failure]: ...
    @overload
    def explain(self, inputs: Any, **options: Any) -> Result | list[Result | Failure]: ...
    def explain(
        self,
        inputs: Any,
        *,
        target: Targets = None,
        contrast: Target | None = None,
        method: str | None = None,
        layer: Layer = None,
        readout: str | None = None,
        threshold: float = 0.5,
        position: Any = None,
        batch_size: int = 32,
        long: str = "error",
        is_split_into_words: bool = False,
        **options: Any,
    ) -> Result | Sequence[Result | Failure]:
        """Explain a text, a pair, an image, ..., or a list of these.

        What `target` may be depends on the head; None explains the prediction:

        | head | target |
        |---|---|
        | classification | a label or its id, a list of these, or "all" |
        | multi-label classification | the same; None is every label over `threshold` |
        | question answering | the answer's text, or (first character, last + 1), "start", "end" |
        | multiple choice | a choice's text or number |
        | masked language model | a token's text or id |
        | language model | the same; a continuation's text, or its ids |

        Args:
            inputs: an input of the model, or a list of inputs (or a column of a table, an array of
                texts, an iterator): a str; a pair as a tuple of two; for question answering
                (question, text); for multiple choice (text, [choice, ...]); an image or audio, or
                its path. With `is_split_into_words` a list of words takes the place of a str.
            target: the output to explain; see above.
            contrast: an output whose readout is subtracted from the target's.
            method: see `normxlogit.methods.METHODS`; None is normxlogit, or attribution_head if the
                explainer has a head.
            layer: put the head on the hidden states of layer 1 .. L, or of "all"; None is the last.
            readout: see `normxlogit.model.readouts`; None is "logit", for regressions "closeness".
            threshold: in multi-label classification, the probability over which a label counts as
                predicted.
            position: for heads that give outputs for every token, the token to explain: a word that
                occurs once, (first character, last + 1), or a token's number. By default every word
                with a tag, and the mask.
            batch_size: how many texts run together at most; texts of more than 128 tokens run in
                smaller batches.
            long: what to do with a text over the model's limit: "error"; "truncate", explain its
                beginning; "window", explain windows that overlap by a quarter, and average logits
                for the prediction and scores where windows overlap.
            is_split_into_words: texts are lists of words.
            **options: the method's own options.

        Returns:
            An `Attribution`, `ImageAttribution` or `AudioAttribution`; for a list of inputs a list
            in the same order, with a `Failure` in the place of each that could not be explained.

        Raises:
            InputError: the input cannot be explained. (In a list it becomes a `Failure`.)
            OptionError: an option does not exist or does not fit.
            ModelError: logits are not finite. (In a list it becomes a `Failure`.)
            UnsupportedHeadError: scores of this model could not be vouched for.
        """
        is_split = flag("is_split_into_words", is_split_into_words)
        items = items_of(inputs)
        if is_split and are_words(items):
            inputs, items = items, None
        results = self.stream(
            [inputs] if items is None else items,
            target=target,
            contrast=contrast,
            method=method,
            layer=layer,
            readout=readout,
            threshold=threshold,
            position=position,
            batch_size=batch_size,
            long=long,
            is_split_into_words=is_split_into_words,
            **options,
        )
        if items is not None:
            return list(results)
        (result,) = results
        if isinstance(result, Failure):
            raise result.error
        return result

    def stream(
        self,
        inputs: Iterable[Any],
        *,
        target: Targets = None,
        contrast: Target | None = None,
        method: str | None = None,
        layer: Layer = None,
        readout: str | None = None,
        threshold: float = 0.5,
        position: Any = None,
        batch_size: int = 32,
        long: str = "error",
        is_split_into_words: bool = False,
        **options: Any,
    ) -> Iterator[Result | Failure]:
        """Explain inputs as they come, in bounded memory.

        The arguments are those of `explain`. Sixteen batches are read at a time (of an iterator,
        the first batch alone), so that texts of like length run together.

        Returns:
            An iterator with a result or a `Failure` for each input, in order.
        """
        name, options = self._method(method, options)
        query = Query(target, contrast, name, layer, readout, threshold, options)
        if isinstance(target, Tensor) or isinstance(contrast, Tensor):
            raise OptionError(
                "target and contrast are the same for all texts here: a label, an id, or several. "
                "A tensor with one id a row is for normxlogit.attribute."
            )
        size = whole_number("batch_size", batch_size, most=MOST_TOGETHER)
        check_long(long)
        check_several(inputs)
        input_options = InputOptions(
            long, flag("is_split_into_words", is_split_into_words), position
        )

        def results() -> Iterator[Result | Failure]:
            for ahead in read_ahead(values_of(inputs), size):
                explained = self.task_explainer.explain_all(ahead, input_options, query, size)
                for item, result in zip(ahead, explained, strict=True):
                    yield result if isinstance(result, Result) else Failure(item, result)

        return results()

    @overload
    def generate(
        self, prompts: str | Chat, *, num_return_sequences: int, **options: Any
    ) -> GenerationAttribution | list[GenerationAttribution]: ...
    @overload
    def generate(self, prompts: str | Chat, **options: Any) -> GenerationAttribution: ...
    @overload
    def generate(
        self, prompts: list[Any], *, num_return_sequences: int, **options: Any
    ) -> list[Generated]: ...
    @overload
    def generate(
        self, prompts: list[Any], **options: Any
    ) -> list[GenerationAttribution | Failure]: ...
    def generate(
        self,
        prompts: Any,
        *,
        method: str = "normxlogit",
        readout: str | None = None,
        batch_size: int = 8,
        **options: Any,
    ) -> Generated | Sequence[Generated]:
        """Generate text, and explain every new token by all tokens before it.

        The scores come from the states that decoding computes anyway, at about the price of
        generating alone.

        Args:
            prompts: a text; a chat, as a list of messages, each a dict or an object with "role" and
                "content", or as a dict with such "messages"; or a list of texts or of chats.
            method: see `normxlogit.methods.METHODS`.
            readout: see `normxlogit.model.readouts`; None is "logit".
            batch_size: how many prompts run together.
            **options: the method's own; any of the model's own `generate`: `max_new_tokens`,
                `do_sample`, `num_beams`, `stop_strings`, ...; and for chats those of the template:
                `tools`, `documents`, `add_generation_prompt`, `continue_final_message`, and what
                it reads by itself, such as `enable_thinking`. A last message of the assistant is
                continued, unless these say otherwise.

        Returns:
            A `GenerationAttribution`, or with `num_return_sequences` over one a list of these; for
            a list of prompts a list in the same order, with a `Failure` in the place of each that
            could not be explained. Probabilities are the model's own, before options such as the
            temperature act.

        Raises:
            InputError: a prompt cannot be continued. (In a list it becomes a `Failure`.)
            OptionError: an option does not exist or does not fit.
            ModelError: the model does not generate.
            UnsupportedHeadError: scores of this model could not be vouched for.
        """
        several = items_of(prompts)
        items = [prompts] if several is None else several
        query = generation_query(method, readout, options)
        generator = self.generator()
        template = template_options(self.tokenizer, items, options)
        results = generate(
            generator, self.task_explainer, items, query, batch_size, options, template
        )
        if several is not None:
            return results
        (result,) = results
        if isinstance(result, Failure):
            raise result.error
        return result

    def generate_stream(
        self, prompt: Any, *, method: str = "normxlogit", readout: str | None = None, **options: Any
    ) -> Stream:
        """Generate text, and yield every new token with its scores as soon as it is generated.

        Args:
            prompt: a text or a chat; see `generate`.
            method, readout, **options: those of `generate`, without beams.

        Returns:
            An iterator of `GenerationAttribution`, each of one new token. When it is exhausted, its
            `result` is that of the whole answer. Leaving it early stops the generation.

        Raises as `generate`.
        """
        query = generation_query(method, readout, options)
        generator = self.generator()
        input_options = InputOptions(template=template_options(self.tokenizer, [prompt], options))
        return Stream(generator, self.task_explainer.encode(prompt, input_options), query, options)

    def _own_head(self, head: HeadSource) -> AttributionHead:
        return head_of_model(head, self.model, self.tokenizer, self.name)

    def with_head(self: AnyExplainer, head: AttributionHead | None) -> AnyExplainer:
        """Return an explainer of the same model with a head that was fitted to it, or with none."""
        with_head = copy.copy(self)
        with_head.head = head
        return with_head

    def _method(self, method: str | None, options: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
        """The method's name and options; those of an attribution head with the explainer's own."""
        options = dict(options)
        if method is None or (isinstance(method, str) and method == "attribution_head"):
            other = options.get("head")
            head = self.head if other is None or other is self.head else self._own_head(other)
            if head is not None:
                options["head"] = head
        return method_name(method, options), options

    def token_counts(self, texts: Iterable[str]) -> Counter[int]:
        """How often each token occurs in texts, by its id: the `counts` of method "frequency".

        Raises:
            InputError: one of them is not a text, or is blank.
            ModelError: the model does not read texts.
        """
        check_several(texts)
        return self.encoder().counts(texts)

    def limited(self: AnyExplainer, tokens: int) -> AnyExplainer:
        """Return an explainer of the same model that takes texts of at most `tokens` tokens."""
        self.encoder()  # which only models of texts have
        least = self.tokenizer.num_special_tokens_to_add() + 1
        tokens = whole_number("max_length", tokens)
        if tokens < least:
            raise OptionError(f"max_length must leave room for a word: at least {least} tokens.")
        limited = copy.copy(self)
        limited.tokenizer = copy.deepcopy(self.tokenizer)
        limited.tokenizer.model_max_length = min(tokens, self.tokenizer.model_max_length)
        limited.task_explainer = task_explainer_of(self.model, limited.tokenizer, self.name)
        return limited

    def encoder(self) -> Encoder:
        """Return what turns texts into tokens.

        Raises:
            ModelError: the model reads no texts.
        """
        encoder = getattr(self.task_explainer, "encoder", None)
        if not isinstance(encoder, Encoder):
            raise ModelError(f"{type(self.model).__name__} reads no texts, so it has no tokens.")
        return encoder

    def generator(self) -> Generator:
        """Return what generates text and explains it.

        Raises:
            ModelError: the model does not generate text.
        """
        generator = getattr(self.task_explainer, "generator", None)
        if not isinstance(generator, Generator):
            raise ModelError(
                f"{type(self.model).__name__} does not generate text; load the model with "
                "AutoModelForCausalLM or AutoModelForSeq2SeqLM."
            )
        return generator
