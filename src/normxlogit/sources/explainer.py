"""An explainer that says which source an answer rests on; `Explainer` adds the rest on top."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from normxlogit.data.option_checks import flag, real_number, whole_number
from normxlogit.errors import ModelError, OptionError
from normxlogit.results.sources import SourceAttribution
from normxlogit.sources.attribute import attribute_sources, method_options
from normxlogit.sources.methods import default_method, find_source_method
from normxlogit.sources.prepare import prepare
from normxlogit.sources.prompt import make_prompt
from normxlogit.sources.run import AnsweredRows, answer_rows
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
        weights: Any = None,
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
            method: "leave_one_out", which asks for the same answer without each source; or an
                attribution method of tokens, whose scores are reduced over each source
                (`reduce="sum"`, "mean" or "max"). By default the first, for more than 32 sources
                the second.
            weights: what a fitted method was fitted to.
            spans: parts of the answer to explain in place of its sentences, each a text that
                occurs in it once or its first character and last + 1.
            threshold: the score from which a source is cited; by default the method's own, if it
                has one.
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
        name = default_method(len(prompt.sources)) if method is None else method
        chosen = find_source_method(name)
        own_options = method_options(chosen, weights, options)
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
                if it likes, "answer" and "id".
            output: the folder to write to.
            parquet: write a table too, with a row for each span, source and sentence.
            progress: show progress, if standard error is a terminal.
            **options: those of `sources`.

        Raises:
            InputError: the source cannot be read, or the folder cannot be written to, belongs to
                another run, or is in use.
            OptionError: an option does not exist or does not fit.
            ModelError: the model does not generate.
            MissingExtraError: pyarrow is not installed.
        """
        self.generator()
        find_source_method(options.get("method") or default_method(1))
        try:
            settings = {"options": json.loads(json.dumps(options))}
        except (TypeError, ValueError) as error:
            raise OptionError(
                f"options are noted in the folder, so they must be plain data for JSON: {error}."
            ) from error

        def ask(question: Any, documents: Any, *, answer: Any) -> SourceAttribution:
            return self.sources(question, documents, answer=answer, **options)

        return answer_rows(
            ask,
            source,
            output,
            {**settings, "model": model_fingerprint(self)},
            parquet=flag("parquet", parquet),
            progress=flag("progress", progress),
        )
