"""The public face: `Explainer` explains inputs, corpora, and how far to trust a method."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from normxlogit.errors import ModelError, OptionError
from normxlogit.model.targets import Target, Targets
from normxlogit.tasks import Task
from normxlogit.tasks.explainer import ModelExplainer

if TYPE_CHECKING:
    from normxlogit.corpus import Explained, Summary
    from normxlogit.evaluation.run import Evaluation


class Explainer(ModelExplainer):
    """Explains what a model says of texts, pictures or sounds.

    It may be used by several threads at once, and never changes the model or the tokenizer.

    Attributes:
        model: the transformers model, out of its wrappers.
        tokenizer: as it was given; the image processor or feature extractor of other models.
        task: the kind of the model's head, by the name of transformers' pipeline for it.
        name: what results call the model.
    """

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
        method: str = "normxlogit",
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
        **options: Any,
    ) -> "Summary | Iterator[Explained]":
        """Explain every row of a corpus, into Parquet files or one after the other.

        A run into a folder that was stopped, however that came about, goes on where it was when it
        is called again with the same arguments; see docs/corpus.md, which has the columns too.

        Args:
            source: a file (.parquet, .csv, .tsv, .jsonl, .ndjson, .txt), a folder of these, the
                URI of such in an object store, or the id of a data set on the Hub; without
                `output` also texts, or mappings from columns to values.
            output: the folder to write to, or its URI. Without it nothing is written.
            text, pair: the columns of the texts, and of the second texts of pairs.
            id, label: columns to be written beside the explanations.
            subset, split: of a data set on the Hub; all splits if not given.
            target: as in `explain`; "column:NAME" is the column with each row's own target.
            hash: write SHA-256 hashes of the texts in their place.
            float16: write scores of tokens as float16.
            strict: stop at the first row or file that cannot be explained.
            progress: show rows a second and the like, if standard error is a terminal.
            engine: "local", this process, or "ray", the workers of a Ray cluster.
            workers: how many of these; as many as there is room for, if not given.
            gpus_per_worker: the share of a GPU that each has.
            contrast, method, layer, readout, threshold, batch_size, long, **options: as in
                `explain`, the layer being one.

        Returns:
            With `output` a `Summary` of what is there. Else an iterator of `Explained`: a row, and
            its attribution or why there is none.

        Raises:
            InputError: the source cannot be read, or the folder not be written to; it is of
                another run or in use; of an iterator that a file cannot be read further; if
                `strict`, that a row cannot be explained.
            OptionError: an option that does not exist or does not fit.
            ModelError: the model reads no texts, or cannot be sent to workers.
            UnsupportedHeadError: scores of this model could not be vouched for.
            MissingExtraError: pyarrow, datasets or Ray is not installed.
            NormXLogitError: Ray cannot go on.
        """
        from normxlogit.corpus.explain import Question
        from normxlogit.corpus.job import make_job
        from normxlogit.corpus.run import explain_each, find_workers, write_shards
        from normxlogit.data.rows import Columns

        job = make_job(
            Columns(text, pair, id, label),
            Question(
                target, contrast, method, layer, readout, threshold, options, long, batch_size
            ),
            hashed=hash,
            float16=float16,
            strict=strict,
        )
        ray_workers = find_workers(engine, workers, gpus_per_worker)
        if output is None:
            if ray_workers is not None:
                raise OptionError('engine="ray" writes files. Name an output folder.')
            return explain_each(self, source, job, subset=subset, split=split)
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
            progress=progress,
            workers=ray_workers,
        )

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
        progress: bool = False,
        **options: Any,
    ) -> "Evaluation":
        """Hold attribution methods against what the model does when words are hidden.

        For each text and method the most important words are hidden, and then all others, and the
        model is asked again: see docs/evaluate.md for the figures. A run into a folder that was
        stopped goes on where it was when it is called again with the same arguments.

        Args:
            source: a file (.parquet, .csv, .tsv, .jsonl, .ndjson, .txt), a folder of these, the id
                of a data set on the Hub, or texts, or mappings from columns to values.
            output: the folder on this machine for the report, figures and scores. Without it
                nothing is written.
            text, pair, label: the columns of the texts, of the second texts of pairs, and of the
                labels (names or ids of classes, or values), if there are any.
            subset, split: of a data set on the Hub; all splits if not given.
            progress: show how far it is, if standard error is a terminal.
            methods: a list of names, "NAME:OPTION=VALUE:...", or mappings with "method" and any of
                "name", "layer", "readout" and "options".
            preset: "corrected", or "paper" for the way of the NormXLogit paper's notebook.
            unit: what is ranked and hidden: "word", if not given, "token" or "sentence".
            operator: how: "mask", if not given, "remove" (by the attention mask), "delete" (from
                the text), "pad", "unk", "eos", or another token in place of each that is hidden.
            ratios: the shares of a text that are hidden, 0.1 to 0.9 if not given.
            metrics: beside comprehensiveness and sufficiency: "curves", "naopc", "loo_tau",
                "soft", "sanity".
            draws: how many random orders there are for method "random", 20 if not given.
            seed: of random orders and of the bootstrap.
            long: what to do with a text over the model's limit: "error" leaves it out and says so;
                "truncate" takes its beginning.
            max_length: a limit below the model's, in tokens, special ones among them.
            limit: how many rows to read.

        Returns:
            An `Evaluation`: its `results`, its `scores` of every text, and its `costs`.

        Raises:
            InputError: the source cannot be read, none of its rows can be evaluated, or the folder
                is of another run, in use, or cannot be written to.
            OptionError: an option that does not exist or does not fit; none of the methods serves
                the model.
            ModelError: the model is no classifier or regression of texts.
            MissingExtraError: what the extra `evaluate` brings is not installed.
        """
        from normxlogit.data.location import local_folder
        from normxlogit.data.rows import Columns
        from normxlogit.extras import require

        for module in ("pyarrow", "filelock", "scipy", "matplotlib"):
            require(module, "evaluate")
        from normxlogit.evaluation.plan import plan_of
        from normxlogit.evaluation.run import evaluate

        if self.task is not Task.TEXT:
            raise ModelError(
                f"evaluate is for classifiers and regressions of texts; {type(self.model).__name__}"
                f" is for {self.task.value}."
            )
        plan = plan_of(**options)
        explainer = self if plan.max_length is None else self.limited(plan.max_length)
        return evaluate(
            explainer,
            source,
            Columns(text, pair, None, label),
            plan,
            output=None if output is None else local_folder(output),
            subset=subset,
            split=split,
            progress=progress,
        )
