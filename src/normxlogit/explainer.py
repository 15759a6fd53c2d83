"""The public face: `Explainer` explains inputs, corpora, and how far to trust a method."""

import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from normxlogit.errors import ModelError, OptionError
from normxlogit.evaluation.perturb.presets import RATIOS
from normxlogit.evaluation.plan import METHODS, PACKAGES, plan_of
from normxlogit.methods.attribution_head import AttributionHead
from normxlogit.model.targets import Target, Targets
from normxlogit.show.phrases import without_folders
from normxlogit.sources.explainer import SourceExplainer
from normxlogit.tasks import Task

if TYPE_CHECKING:
    from normxlogit.corpus import Explained, Summary
    from normxlogit.evaluation.run import Evaluation
    from normxlogit.results.base import Result
    from normxlogit.results.comparison import Comparison
    from normxlogit.results.text import Attribution
    from normxlogit.sources.weights import SourceWeights

_WITH_LABELS = (Task.TEXT, Task.TOKENS, Task.IMAGE, Task.AUDIO)


class Explainer(SourceExplainer):
    """Explains a model's predictions for texts, images or audio.

    Several threads may use it at once. It never changes the model or the tokenizer.

    Attributes:
        model: the transformers model, out of its wrappers.
        tokenizer: the tokenizer; for other models the image processor or feature extractor.
        task: the kind of the model's head, by the name of transformers' pipeline for it.
        name: what results call the model.
    """

    def __repr__(self) -> str:
        labels = [str(label) for label in (self.model.config.id2label or {}).values()]
        kind = f"{type(self.model).__name__} for {self.task.value}"
        if self.task in _WITH_LABELS:
            shown = ", ".join(labels) if len(labels) <= 4 else f"{len(labels)} labels"
            kind += f" ({shown})"
        weights = f"{str(self.model.dtype).removeprefix('torch.')} on {self.model.device}"
        head = "" if self.head is None else ", with an attribution head"
        return f"<Explainer of {without_folders(self.name)}: {kind}, {weights}{head}>"

    @overload
    def corpus(self, source: Any, output: None = None, **options: Any) -> "Iterator[Explained]": ...
    @overload
    def corpus(self, source: str | Path, output: str | Path, **options: Any) -> "Summary": ...
    def corpus(
        self,
        source: Any,
        output: str | Path | None = None,
        *,
        text: str = "text",
        pair: str | None = None,
        id: str | None = None,
        label: str | None = None,
        subset: str | None = None,
        split: str | None = None,
        target: Targets = None,
        contrast: Target | None = None,
        method: str | None = None,
        layer: int | None = None,
        readout: str | None = None,
        threshold: float = 0.5,
        batch_size: int = 64,
        long: str = "error",
        hash: bool = False,
        float16: bool = False,
        strict: bool = False,
        progress: bool = False,
        engine: str = "local",
        workers: int | None = None,
        gpus_per_worker: float = 0,
        runtime: str = "torch",
        precision: str | None = None,
        **options: Any,
    ) -> "Summary | Iterator[Explained]":
        """Explain every row of a corpus, into Parquet files or one after the other.

        A run into a folder that was stopped, however that happened, resumes when it is called again
        with the same arguments; see docs/corpus.md, also for the columns.

        Args:
            source: a file (.parquet, .csv, .tsv, .jsonl, .ndjson, .txt), a folder of these, the
                URI of such in an object store, or the id of a data set on the Hub; without
                `output` also texts, mappings from columns to values, or a data frame of pandas or
                polars.
            output: the folder to write to, or its URI. Without it nothing is written.
            text, pair: the columns of the texts, and of the second texts of pairs.
            id, label: columns to write beside the explanations.
            subset, split: of a data set on the Hub; all splits if not given.
            target: as in `explain`; "column:NAME" names the column that holds each row's target.
            hash: write SHA-256 hashes in place of the texts.
            float16: write the scores of tokens as float16.
            strict: stop at the first row or file that cannot be explained.
            progress: show progress, if standard error is a terminal.
            engine: "local", this process, or "ray", the workers of a Ray cluster.
            workers: how many workers; as many as fit by default.
            gpus_per_worker: the share of a GPU that each worker has.
            runtime: "torch", "onnx" or "openvino"; the model is exported for these two once.
            precision: of "onnx" "float32" or "int8", of "openvino" "float32" or "bfloat16".
            contrast, method, layer, readout, threshold, batch_size, long, **options: as in
                `explain`, but for one layer.

        Returns:
            A `Summary` of what was written; without `output` an iterator of `Explained`.

        Raises:
            InputError: the source cannot be read, or the folder cannot be written to, belongs to
                another run, or is in use; while iterating, a file cannot be read further; if
                `strict`, a row cannot be explained.
            OptionError: an option does not exist or does not fit.
            ModelError: the model does not read texts, or cannot be sent to workers or exported.
            UnsupportedHeadError: scores of this model could not be vouched for.
            MissingExtraError: pyarrow, datasets, Ray or a runtime is not installed.
            NormXLogitError: Ray cannot go on.
        """
        from normxlogit.corpus.explain import Question
        from normxlogit.corpus.job import make_job
        from normxlogit.corpus.run import explain_each, find_workers, write_shards
        from normxlogit.data.option_checks import flag
        from normxlogit.data.rows import Columns
        from normxlogit.exporting.runtime import find_runtime

        name, options = self._method(method, options)
        graph = find_runtime(self, runtime, precision, engine)
        job = make_job(
            Columns(text, pair, id, label),
            Question(target, contrast, name, layer, readout, threshold, options, long, batch_size),
            hashed=hash,
            float16=float16,
            strict=strict,
        )
        ray_workers = find_workers(engine, workers, gpus_per_worker)
        if output is None:
            if ray_workers is not None:
                raise OptionError('engine="ray" writes files. Name an output folder.')
            return explain_each(self, source, job, subset=subset, split=split, runtime=graph)
        if not isinstance(source, (str, Path)):
            raise OptionError(
                "rows that are not in a file or data set cannot be found again when a run goes on. "
                "Write them to a file first, or leave out output for an iterator."
            )
        return write_shards(
            self,
            source,
            output,
            job,
            subset=subset,
            split=split,
            progress=flag("progress", progress),
            workers=ray_workers,
            runtime=graph,
        )

    def fit(
        self,
        source: Any,
        output: str | Path | None = None,
        *,
        text: str = "text",
        pair: str | None = None,
        subset: str | None = None,
        split: str | None = None,
        texts: int = 2000,
        masks: int = 16,
        layers: Sequence[int] | None = None,
        width: int = 64,
        seed: int = 0,
        progress: bool = False,
    ) -> AttributionHead:
        """Fit an attribution head: a small network that gives Shapley values at one pass.

        The model is run on every text `masks` + 1 times, with random sets of words hidden; then the
        network learns to tell these outcomes from the hidden states of the whole text. A tenth of
        the texts is held out, and `head.record.held_out` says how good the head is on them. See
        docs/attribution-head.md. A fit with an `output` that was stopped goes on where it was when
        it is called again with the same arguments.

        Args:
            source: what `corpus` reads: a file, a folder, the id of a data set on the Hub; or
                texts, mappings from columns to values, a data frame.
            output: the file to write, by convention `NAME.head`. Without it nothing is written.
            text, pair: the columns of the texts, and of the second texts of pairs.
            subset, split: of a data set on the Hub; all splits if not given.
            texts: how many texts are drawn at random from the source.
            masks: how many sets of words are hidden for each text, an even number.
            layers: the blocks whose outputs the head reads, 0 being the first block's input; by
                default four from there to the last.
            width: how many hidden units the head has.
            seed: of all that is drawn; the same seed gives the same head.
            progress: show progress on standard error, how long it will take, and at the end
                whether to use the head. Without, a head that is not to be used is a warning.

        Returns:
            The head; `Explainer(model, tokenizer, head=head)` uses it.

        Raises:
            InputError: the source cannot be read or has too few texts, the file cannot be written,
                or a fit with other arguments is under way there.
            OptionError: an option is out of range.
            ModelError: the model is not a classifier or regression of texts.
            UnsupportedHeadError: the model does not show its layers.
        """
        from normxlogit.data.location import local_path
        from normxlogit.data.option_checks import flag
        from normxlogit.data.rows import Columns
        from normxlogit.fitting.options import FitOptions
        from normxlogit.fitting.run import fit

        def say(line: str) -> None:
            if progress:
                print(line, file=sys.stderr)

        head = fit(
            self,
            source,
            Columns(text, pair),
            FitOptions(texts, masks, layers, width, seed),
            output=(
                None if output is None else local_path(output, what="a head is written to a file")
            ),
            subset=subset,
            split=split,
            progress=flag("progress", progress),
            say=say,
        )
        held_out = head.record.held_out
        say(held_out["verdict"])
        if not progress and not held_out["use"]:
            warnings.warn(held_out["verdict"], stacklevel=2)
        return head

    def fit_sources(
        self,
        source: str | Path | None = None,
        output: str | Path | None = None,
        *,
        progress: bool = False,
        **options: int,
    ) -> "SourceWeights":
        """Fit weights of attention heads for `sources(..., method="attention", weights=...)`.

        Args:
            source: a file of questions with gold sources, see docs/sources-results.md; questions
                that this package makes if not given.
            output: the file to write, by convention `NAME.sources`.
            progress: show progress on standard error.
            options: `questions` (240), how many are asked, and `seed` (0).

        Raises:
            InputError, OptionError, ModelError, UnsupportedHeadError: see
                `normxlogit.fitting.sources.fit_sources`.
        """
        from normxlogit.fitting.sources import fit_sources

        return fit_sources(self, source, output, progress=progress, **options)

    def compare(
        self,
        text: Any,
        methods: Sequence[str | Mapping[str, Any]],
        *,
        target: Targets = None,
        contrast: Target | None = None,
        layer: int | None = None,
        readout: str | None = None,
        threshold: float = 0.5,
        position: Any = None,
        long: str = "error",
        is_split_into_words: bool = False,
    ) -> "Comparison":
        """Explain a text by several methods, to see them side by side; see docs/compare.md.

        Each method takes the passes that it takes by itself (`normxlogit methods`). One that does
        not serve this model, or this text, is shown with the reason why.

        Args:
            text: a text, a pair as a tuple of two, a chat, or whatever else of text `explain`
                takes; of a text that is generated the answer as a whole is explained.
            methods: a list of names, "NAME:OPTION=VALUE:...", or mappings with "method" and any of
                "name", "layer", "readout" and "options".
            target, contrast, layer, readout, threshold, position, long, is_split_into_words: as in
                `explain`, for all methods; a layer or readout of a method's own goes first.

        Raises:
            OptionError: a method or an option does not exist or is given twice; or none of the
                methods can explain the text.
            NormXLogitError: that of `explain`, if it is the same by every method.
            ModelError: the model reads no texts.
        """
        from normxlogit.evaluation.comparison import compare

        options = {
            "target": target,
            "contrast": contrast,
            "layer": layer,
            "readout": readout,
            "threshold": threshold,
            "position": position,
            "long": long,
            "is_split_into_words": is_split_into_words,
        }
        return compare(self, text, methods, options)

    def verify(self, attribution: "Result") -> "Attribution":
        """Hold an attribution against what the model does when words of its text are hidden.

        The words are hidden by the mask token, or by the attention mask where there is none; where
        that would leave nothing to read, the end-of-text token comes in their place. Three things
        are measured, see docs/verify.md: the target's probability (or the value) with the top words
        hidden, and with all others hidden, beside as many words of twenty random orders; and of
        additive scores, those with a base value, how much of what the model says of 32 random sets
        of words they explain.

        Cost: 43 forward passes at most, and 32 more for additive scores, in batches; of several
        targets 42 more for each. Short texts take fewer; `verification.passes` says how many.

        Args:
            attribution: of tokens or words, by this model, at one layer.

        Returns:
            A copy with `verification`, or `verifications` of several targets.

        Raises:
            InputError: the attribution is another model's, of a chat, of several windows, or of a
                text without words.
            OptionError: it is no result, of larger units than words, or of several layers.
            ModelError: the model is not a classifier or regression of texts.
            UnsupportedHeadError: no word can be hidden from the model.
        """
        from normxlogit.evaluation.verification import verify

        return verify(self, attribution)

    def evaluate(
        self,
        source: Any,
        output: str | Path | None = None,
        *,
        text: str = "text",
        pair: str | None = None,
        label: str | None = None,
        subset: str | None = None,
        split: str | None = None,
        methods: Sequence[str | Mapping[str, Any]] | None = None,
        preset: str = "corrected",
        unit: str | None = None,
        operator: str | None = None,
        ratios: Sequence[float] = RATIOS,
        metrics: Sequence[str] = (),
        draws: int | None = None,
        seed: int = 0,
        long: str = "error",
        max_length: int | None = None,
        limit: int | None = None,
        progress: bool = False,
        **unknown: object,
    ) -> "Evaluation":
        """Measure how faithful attribution methods are to the model, on your data.

        For each text and method the most important words are hidden, and then all others, and the
        model predicts again: see docs/evaluate.md for the metrics. A run into a folder that was
        stopped resumes when it is called again with the same arguments.

        Args:
            source: a file (.parquet, .csv, .tsv, .jsonl, .ndjson, .txt), a folder of these, the id
                of a data set on the Hub, or texts, mappings from columns to values, or a data
                frame of pandas or polars.
            output: a local folder for the report, figures and scores. Without it nothing is
                written.
            text, pair, label: the columns of the texts, of the second texts of pairs, and of the
                labels (names or ids of classes, or values), if there are any.
            subset, split: of a data set on the Hub; all splits if not given.
            methods: a list of names, "NAME:OPTION=VALUE:...", or mappings with "method" and any of
                "name", "layer", "readout" and "options"; a selection of all families by default,
                with "attribution_head" if the explainer has one.
            preset: "corrected", or "paper" to evaluate as the NormXLogit paper's notebook does.
            unit: what is ranked and hidden: "word" (the default), "token" or "sentence".
            operator: how it is hidden: "mask" (the default), "remove" (by the attention mask),
                "delete" (from the text), "pad", "unk", "eos", or another token to put in its place.
            ratios: the shares of a text that are hidden; 0.1 to 0.9 by default.
            metrics: metrics beside comprehensiveness and sufficiency: "curves", "naopc",
                "loo_tau", "soft", "sanity".
            draws: how many random orders method "random" has; 20 by default.
            seed: the seed of random orders and of the bootstrap.
            long: what to do with a text over the model's limit: "error" leaves it out and reports
                it; "truncate" takes its beginning.
            max_length: a limit below the model's, in tokens, special tokens included.
            limit: how many rows to read.
            progress: show progress, if standard error is a terminal.

        Returns:
            An `Evaluation`: its `results`, the `scores` of every text, and the `costs`.

        Raises:
            InputError: the source cannot be read, none of its rows can be evaluated, or the folder
                belongs to another run, is in use, or cannot be written to.
            OptionError: an option does not exist or does not fit; no method serves the model.
            ModelError: the model is not a classifier or regression of texts.
            MissingExtraError: a package of the extra `evaluate` is not installed.
        """
        from normxlogit.data.location import local_path
        from normxlogit.data.option_checks import flag
        from normxlogit.data.rows import Columns
        from normxlogit.extras import require

        for module in PACKAGES:
            require(module, "evaluate")
        from normxlogit.evaluation.run import evaluate

        if self.task is not Task.TEXT:
            raise ModelError(
                f"evaluate is for classifiers and regressions of texts; {type(self.model).__name__}"
                f" is for {self.task.value}."
            )
        if methods is None:
            methods = METHODS if self.head is None else ("attribution_head", *METHODS)
        plan = plan_of(
            methods=methods,
            preset=preset,
            unit=unit,
            operator=operator,
            ratios=ratios,
            metrics=metrics,
            draws=draws,
            seed=seed,
            long=long,
            max_length=max_length,
            limit=limit,
            **unknown,
        )
        explainer = self if plan.max_length is None else self.limited(plan.max_length)
        return evaluate(
            explainer,
            source,
            Columns(text, pair, None, label),
            plan,
            output=None if output is None else local_path(output),
            subset=subset,
            split=split,
            progress=flag("progress", progress),
        )
