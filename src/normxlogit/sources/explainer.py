"""An explainer that says which source an answer rests on; `Explainer` adds the rest on top."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from normxlogit.data.option_checks import flag, real_number, whole_number
from normxlogit.errors import InputError, ModelError, OptionError
from normxlogit.results.sources import SourceAttribution
from normxlogit.sources.attribute import attribute_sources, method_options
from normxlogit.sources.methods import MOST_LEFT_OUT, default_method, find_source_method
from normxlogit.sources.prepare import prepare
from normxlogit.sources.prompt import make_prompt
from normxlogit.sources.run import AnsweredRows, answer_rows
from normxlogit.sources.weights import SourceWeights, WeightsSource, weights_of_model
from normxlogit.tasks.explainer import ModelExplainer
from normxlogit.tasks.fingerprint import model_fingerprint


class SourceExplainer(ModelExplainer):
    """Explains a model's predictions, and which source its answers rest on."""

    def sources(
        self,
        question: Any,
        documents: Sequence[Any] | None = None,
        *,
        answer: str | None = None,
        sources: Any = None,
        method: str | None = None,
        weights: WeightsSource | None = None,
        spans: Sequence[Any] | None = None,
        threshold: float | None = None,
        batch_size: int = 8,
        progress: bool = False,
        **options: Any,
    ) -> SourceAttribution:
        """Answer a question from sources, and say which of them the answer rests on.

        Each sentence of the answer gets a score for each source, and within leading sources for
        each of their sentences; see docs/sources.md. Documents are placed by the chat template if
        it reads documents, else by a template of ours, which the result holds. Tokens of the
        template that documents or messages spell are read as text.

        Args:
            question: a text; or a chat, as in `generate`. Without documents, a text is the whole
                prompt.
            documents: a list of texts, or of mappings with "text" and a "title" or "id".
            answer: the answer to explain. Without, the model generates one, greedily and of at
                most 128 tokens unless options say otherwise.
            sources: "documents", "messages" (of a chat, so tool results too), "sentences", or a
                list of parts of the prompt, each a text that occurs in it once or its first
                character and last + 1. By default the documents, else the messages of a chat, else
                the sentences of a text.
            method: "leave_one_out", which asks for the same answer without each source;
                "attention", by weights of heads; "surrogate", by random sets of sources; or an
                attribution method of tokens, whose scores are reduced over each source
                (`reduce="sum"`, "mean" or "max"). By default the first; for more than 32 sources
                "late_lrp", or with weights "attention", unless there is a threshold.
            weights: what `fit_sources` fitted to this model, or its file: weights for method
                "attention", and calibrated thresholds.
            spans: parts of the answer to explain in place of its sentences, each a text that
                occurs in it once or its first character and last + 1.
            threshold: the score from which a source is cited; by default that of the weights, or
                the method's own, if there is one. If no method is named it is in nats, and so the
                method is "leave_one_out".
            batch_size: how many prompts run together at most.
            progress: say on standard error what it costs, and how long it will take.
            **options: those of the method; of the model's `generate`; of the chat template.

        Raises:
            InputError: there is no source, one is empty, two documents are alike, the answer is
                empty, or the prompt is longer than the model takes.
            OptionError: an option does not exist or does not fit.
            ModelError: the model does not generate, or gives numbers that are not finite.
            UnsupportedHeadError: the model does not read from left to right, or does not serve the
                method.
        """
        generator = self.generator()
        if self.model.config.is_encoder_decoder:
            raise ModelError(
                f"{type(self.model).__name__} has an encoder, and sources are parts of the prompt "
                "of a decoder. Load a causal language model."
            )
        most_rows = whole_number("batch_size", batch_size)
        if threshold is not None:
            threshold = real_number("threshold", threshold)
        is_shown = flag("progress", progress)
        prompt = make_prompt(self.tokenizer, question, documents, sources, options)
        fitted = None
        if weights is not None:
            fitted = weights_of_model(weights, self.model, self.tokenizer, self.name)
        if method is None:
            method = _default(len(prompt.sources), fitted, threshold)
        chosen = find_source_method(method)
        if fitted is not None and threshold is None:
            threshold = fitted.thresholds.get(chosen.name)
        own_options = method_options(chosen, fitted, options)
        case, parts = prepare(generator, prompt, answer, spans, options, most_rows)
        return attribute_sources(
            case,
            prompt,
            parts,
            chosen,
            own_options,
            threshold=threshold,
            name=self.name,
            progress=is_shown,
        )

    def sources_corpus(
        self,
        source: str | Path,
        output: str | Path,
        *,
        parquet: bool = False,
        progress: bool = False,
        **options: Any,
    ) -> AnsweredRows:
        """Answer and explain every row of a file of questions with documents, into a folder.

        A run that was stopped, however that happened, goes on when it is called again with the same
        arguments; see docs/sources.md for the files.

        Args:
            source: a file with a row for each question (.jsonl, .ndjson, .parquet), or a folder of
                these. A row has "question" and "documents", or "messages", as in `sources`; and,
                if it likes, "answer" and "id". A question needs documents unless `sources` says
                what else its sources are.
            output: the folder to write to.
            parquet: write a table too, with a row for each span, source and sentence.
            progress: show progress, if standard error is a terminal.
            **options: those of `sources`.

        Raises:
            InputError: the source cannot be read, or the folder cannot be written to, belongs to
                another run, or is in use.
            OptionError: an option does not exist or does not fit.
            ModelError: the model does not generate.
            MissingExtraError: pyarrow is not installed, or what the method needs.
        """
        self.generator()
        _check_options(options)
        weights = options.get("weights")
        if weights is not None:
            weights = weights_of_model(weights, self.model, self.tokenizer, self.name)
        try:
            noted = options if weights is None else options | {"weights": weights.identity}
            settings = {"options": json.loads(json.dumps(noted))}
        except (TypeError, ValueError) as error:
            raise OptionError(
                f"options are noted in the folder, so they must be plain data for JSON: {error}."
            ) from error

        def ask(question: Any, documents: Any, *, answer: Any) -> SourceAttribution:
            if isinstance(question, str) and documents is None and options.get("sources") is None:
                raise InputError(
                    "the row has a question and no documents. Give it some, or take "
                    "sources='sentences', those of the question."
                )
            return self.sources(
                question, documents, answer=answer, **options | {"weights": weights}
            )

        return answer_rows(
            ask,
            source,
            output,
            {**settings, "model": model_fingerprint(self)},
            parquet=flag("parquet", parquet),
            progress=flag("progress", progress),
        )


def _default(sources: int, weights: SourceWeights | None, threshold: float | None) -> str:
    """Return the method for so many sources, if the caller names none."""
    if threshold is not None:
        # It is in one unit, whatever the number of sources.
        return default_method(1)
    name = default_method(sources)
    return name if weights is None or name in weights.thresholds else "attention"


def _check_options(options: Mapping[str, Any]) -> None:
    """Raise `OptionError` for options that not all rows of a file can have."""
    for name in ("question", "documents", "answer"):
        if name in options:
            raise OptionError(f"each row has its own {name}. Leave {name}=... out.")
    method = options.get("method")
    few = find_source_method(default_method(1) if method is None else method)
    if method is None:
        many = find_source_method(default_method(MOST_LEFT_OUT + 1))
        for name in many.options:
            if name in options and name not in few.options:
                raise OptionError(
                    f"{name} is an option of {many.name} and others, and not of {few.name}, the "
                    f"method of rows with up to {MOST_LEFT_OUT} sources. Name a method for all "
                    "rows."
                )
