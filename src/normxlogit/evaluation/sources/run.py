"""Run the benchmark of sources, from questions to a folder of results, or resume it."""

import json
import platform
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from normxlogit.data.files import write_whole
from normxlogit.data.location import local_path
from normxlogit.data.progress import Meter
from normxlogit.errors import NormXLogitError
from normxlogit.evaluation.sources.answers import GENERATION, Answered, answer_questions
from normxlogit.evaluation.sources.options import (
    BENCHMARK,
    QUESTIONS,
    RANDOM,
    BenchmarkOptions,
    check_options,
)
from normxlogit.evaluation.sources.questions import GoldQuestion, identity, read_questions
from normxlogit.evaluation.sources.synthetic import make_questions
from normxlogit.extras import require, versions
from normxlogit.methods.catalogue import check_option_names
from normxlogit.results.sources import SourceAttribution
from normxlogit.sources.attribute import method_options
from normxlogit.sources.explainer import SourceExplainer
from normxlogit.sources.methods import SourceMethod, find_source_method
from normxlogit.sources.weights import SourceWeights, weights_of_model
from normxlogit.tasks.fingerprint import model_fingerprint

if TYPE_CHECKING:
    import pyarrow as pa

    from normxlogit.evaluation.checkpoint import Checkpoint

SCHEMA, RESULTS, SCORES, REPORT = (
    "normxlogit/source-benchmark/1",
    "results.json",
    "scores.parquet",
    "report.md",
)
_FURTHER = ("numpy", "tokenizers", "scikit-learn")
_TOGETHER = 8
"""How many questions are a part of a run, which is done again where the run stopped in it."""


@dataclass(frozen=True)
class _Scorer:
    """A method that is compared.

    Attributes:
        name: what tables call it.
        method: the method.
        options: its options.
        threshold: the score from which a source is cited; None if none was chosen.
    """

    name: str
    method: SourceMethod
    options: Mapping[str, Any]
    threshold: float | None


def benchmark_sources(
    explainer: SourceExplainer,
    source: str | Path | None = None,
    output: str | Path | None = None,
    *,
    name: str | None = None,
    progress: bool = False,
    **options: Any,
) -> dict[str, Any]:
    """Measure whether methods name the sources of a model's answers.

    The model answers each question by itself, greedily; each method scores the documents for that
    answer. A run into a folder resumes one that was stopped there, and returns the results of one
    that finished.

    Args:
        explainer: the explainer of a causal language model.
        source: a file of questions, see `read_questions`; the test part of the synthetic set if not
            given.
        output: the folder on this machine for results.json, scores.parquet and report.md. Without
            it nothing is written.
        name: the name of the model; the explainer's name by default.
        progress: show progress if standard error is a terminal.
        options: see `check_options`.

    Returns:
        The content of results.json, as plain data for JSON.

    Raises:
        InputError: questions cannot be read, none can be asked; the weights are another model's;
            the folder belongs to another run, is in use, or cannot be written to.
        OptionError: an option or a method does not exist, or is out of range.
        ModelError: the model does not generate text.
        MissingExtraError: the extra `evaluate` is not installed.
    """
    for module in ("pyarrow", "filelock"):
        require(module, "evaluate")
    from normxlogit.evaluation.checkpoint import Checkpoint, parquet
    from normxlogit.evaluation.finished import read_results
    from normxlogit.evaluation.report.sources import sources_report
    from normxlogit.evaluation.sources.figures import build_figures

    chosen = check_options(options)
    folder = None if output is None else local_path(output)
    explainer.generator()
    weights = (
        None
        if chosen.weights is None
        else weights_of_model(chosen.weights, explainer.model, explainer.tokenizer, explainer.name)
    )
    questions, data = _questions(source, chosen)
    scorers = [_scorer(spec, *named, weights) for spec, named in chosen.methods.items()]
    settings = {
        "benchmark": BENCHMARK,
        "model": model_fingerprint(explainer) | {"name": name or explainer.name},
        "data": data,
        "limit": chosen.limit,
        "methods": list(chosen.methods),
        "seed": chosen.seed,
        "weights": None if weights is None else weights.identity,
        "generation": GENERATION,
    }
    used = {**versions(*_FURTHER), "python": platform.python_version()}
    with ExitStack() as stack:
        checkpoint = None
        if folder is not None:
            checkpoint = stack.enter_context(Checkpoint(folder, {**settings, "versions": used}))
            if (folder / RESULTS).exists():
                finished, _ = read_results(folder / RESULTS, SCHEMA)
                checkpoint.finish()
                return finished
        records = _records(explainer, questions, scorers, chosen.seed, checkpoint, progress)
        results = {
            "schema": SCHEMA,
            "settings": settings,
            "versions": used,
            **build_figures(records, chosen.seed),
        }
        if folder is not None and checkpoint is not None:
            write_whole(folder / SCORES, parquet(records))
            write_whole(folder / REPORT, sources_report(results))
            write_whole(folder / RESULTS, json.dumps(results, indent=2) + "\n")
            checkpoint.finish()
    return results


def _questions(
    source: str | Path | None, options: BenchmarkOptions
) -> tuple[list[GoldQuestion], dict[str, Any]]:
    """The questions, and what identifies them."""
    if source is not None:
        return read_questions(source, options.limit), identity(source)
    count = QUESTIONS if options.limit is None else options.limit
    made = make_questions(count, options.seed, "test")
    return made, {"synthetic": "test", "questions": count, "seed": options.seed}


def _scorer(
    spec: str, name: str, options: Mapping[str, Any], weights: SourceWeights | None
) -> _Scorer:
    """Find a method and its options, and its threshold.

    Raises:
        OptionError: there is no such method, or it has no such option.
    """
    method, rest = find_source_method(name), dict(options)
    own = method_options(method, None, rest)
    check_option_names(name, rest, method.options)
    threshold = method.threshold
    if weights is not None:
        if "weights" in method.options:
            own["weights"] = weights
        threshold = weights.thresholds.get(spec, threshold)
    return _Scorer(spec, method, own, threshold)


def _records(
    explainer: SourceExplainer,
    questions: Sequence[GoldQuestion],
    scorers: Sequence[_Scorer],
    seed: int,
    checkpoint: "Checkpoint | None",
    progress: bool,
) -> "pa.Table":
    """Make the records of all questions, in their order, except those in a checkpoint."""
    import pyarrow as pa

    from normxlogit.evaluation.sources.figures import RECORDS

    parts = [table for table, _ in checkpoint.parts(RECORDS)] if checkpoint else []
    done, tokens = len(parts) * _TOGETHER, 0
    with Meter(len(questions), done, tokens, shown=progress) as meter:
        for start in range(done, len(questions), _TOGETHER):
            rows: list[dict[str, Any]] = []
            together = questions[start : start + _TOGETHER]
            answers = answer_questions(explainer, together)
            for number, (question, answered) in enumerate(
                zip(together, answers, strict=True), start
            ):
                rows += _ask(number, question, answered, scorers, seed)
                tokens += sum(row["tokens"] or 0 for row in rows if row["number"] == number)
                meter.show(number + 1, tokens)
            part = pa.Table.from_pylist(rows, RECORDS)
            if checkpoint:
                checkpoint.save(len(parts), part, {})
            parts.append(part)
    return pa.concat_tables(parts)


def _ask(
    number: int,
    question: GoldQuestion,
    answered: Answered | NormXLogitError,
    scorers: Sequence[_Scorer],
    seed: int,
) -> list[dict[str, Any]]:
    """Make the records of a question: one for each method, and one of random scores."""
    about: dict[str, Any] = {
        "number": number,
        "kind": question.kind,
        "question": question.question,
        "gold": list(question.gold),
        "tokens": None,
    }
    try:
        if isinstance(answered, NormXLogitError):
            raise answered
        # Methods find these known; that of each document alone is theirs to ask for.
        about |= {
            "answer": answered.case.answer,
            "right": question.is_right(answered.case.answer),
            "logprob": answered.logprob,
            "prior": answered.prior,
        }
    except NormXLogitError as error:
        names = [scorer.name for scorer in scorers] + [RANDOM]
        return [{**about, "method": name, "error": str(error)} for name in names]
    rows = [_score(answered, scorer, about) for scorer in scorers]
    drawn = np.random.default_rng([seed, number]).random(len(question.documents))
    rows.append(
        {
            **about,
            "method": RANDOM,
            "scores": drawn.tolist(),
            "named": int(drawn.argmax()),
            "passes": 0,
            "tokens": 0,
            "seconds": 0.0,
        }
    )
    # The passes for these come last, so that methods which need the same are not given them.
    drops = answered.drops()
    named = sorted({row["named"] for row in rows if "named" in row})
    of_others = dict(zip(named, answered.drops_of_others(named), strict=True))
    for row in rows:
        if "named" in row:
            row["drop"] = float(drops[row["named"]])
            row["drop_of_others"] = float(of_others[row["named"]])
    return rows


def _score(answered: Answered, scorer: _Scorer, about: Mapping[str, Any]) -> dict[str, Any]:
    row = {**about, "method": scorer.name, "threshold": scorer.threshold}
    try:
        result, seconds = answered.attribute(scorer.method, scorer.options)
    except NormXLogitError as error:
        return {**row, "error": str(error)}
    scores = result.scores[0].astype(np.float64)
    return {
        **row,
        "scores": scores.tolist(),
        "named": int(scores.argmax()),
        "right_sentence": _names_gold_sentence(result, answered.question),
        "passes": result.passes,
        "tokens": result.tokens,
        "seconds": seconds,
    }


def _names_gold_sentence(result: SourceAttribution, question: GoldQuestion) -> bool | None:
    """Whether the leading sentence of all is a gold one; None where none is known or scored."""
    leading = result.leading_sentences(0)
    if not question.sentences or not leading:
        return None
    source, sentence = leading[0]
    start, end = result.sources[source].sentences[sentence]
    return any(
        source == document and start < last and first < end
        for document, first, last in question.sentences
    )
