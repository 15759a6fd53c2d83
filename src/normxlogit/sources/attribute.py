"""Scores of sources, and of the sentences of leading ones: from a case to a result."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from normxlogit.data.progress import Meter
from normxlogit.errors import ModelError, OptionError
from normxlogit.extras import versions
from normxlogit.model.outputs import PassCounter, counting
from normxlogit.results.assemble import described
from normxlogit.results.base import Floats, Provenance
from normxlogit.results.sources import AnswerSpan, SourceAttribution
from normxlogit.sources.ablation import TokenSpan
from normxlogit.sources.case import Case
from normxlogit.sources.methods import SourceMethod
from normxlogit.sources.prompt import SourcePrompt
from normxlogit.sources.weights import SourceWeights
from normxlogit.text.words import Span

MOST_LEADING = 3
"""The most sources whose sentences have scores, if each takes passes."""


def attribute_sources(
    case: Case,
    prompt: SourcePrompt,
    parts: Sequence[Span],
    method: SourceMethod,
    options: Mapping[str, Any],
    *,
    threshold: float | None,
    name: str,
    progress: bool,
) -> SourceAttribution:
    """Score the sources of a case.

    Args:
        case: the answer and its prompt.
        prompt: where the case is from.
        parts: the characters of each span of the answer.
        method: what scores.
        options: its options.
        threshold: the score from which a source is cited; None for the method's own.
        name: what to call the model.
        progress: whether to say what it costs, and how long it will take.

    Raises:
        ModelError: the model gives numbers that are not finite.
        OptionError: an option does not fit.
    """
    counter = PassCounter()
    if progress:
        print(cost(case, method, options), file=sys.stderr)
    with Meter(_most_passes(case, method, options), 0, 0, shown=progress) as meter:
        counter.on_pass = lambda _count: meter.show(counter.passes, counter.tokens)
        with counting(counter):
            scores, of_sentences = _scores(case, method, options, threshold)
            whole, prior = case.logprobs([(), case.sources])
    for values in (scores, *of_sentences.values()):
        if not np.isfinite(values).all():
            raise ModelError(
                f"the scores by {method.name} are not finite numbers. Load the model in float32, or"
                " use another method."
            )
    model = case.generator.model
    return SourceAttribution(
        question=prompt.question,
        prompt=prompt.text,
        template=prompt.template,
        answer=case.answer,
        sources=prompt.sources,
        spans=tuple(
            AnswerSpan(start, end, len(numbers), min(0.0, float(logprob)), min(0.0, float(without)))
            for (start, end), numbers, logprob, without in zip(
                parts, case.spans, whole, prior, strict=True
            )
        ),
        scores=scores,
        sentence_scores=of_sentences,
        unit=method.unit,
        threshold=method.threshold if threshold is None else threshold,
        passes=counter.passes,
        tokens=counter.tokens,
        cached=bool(case.ablation.cached),
        provenance=Provenance(
            model=name,
            revision=getattr(model.config, "_commit_hash", None),
            architecture=type(model).__name__,
            dtype=str(model.dtype).removeprefix("torch."),
            method=method.name,
            readout=None,
            of_output=True,
            unsigned=None,
            reads_layers=False,
            contrast=None,
            options={option: described(value) for option, value in options.items()},
            versions=versions(),
        ),
    )


def cost(case: Case, method: SourceMethod, options: Mapping[str, Any]) -> str:
    """Return what a method with options takes, in a line."""
    count = len(case.sources)
    sources = f"{count} source{'s' * (count != 1)}"
    if method.passes is None:
        tokens = len(case.answer_ids)
        return f"{method.name} of {sources}: {method.cost}; {tokens} tokens of the answer."
    least = _passes_of_sources(case, method, options)
    line = f"{method.name} of {sources}: {least} forward passes"
    more = _most_passes(case, method, options) - least
    if more:
        line += f", and up to {more} for sentences of leading ones"
    return f"{line}."


def _passes_of_sources(case: Case, method: SourceMethod, options: Mapping[str, Any]) -> int:
    """Return how many passes the sources take, with those for the span's own probabilities."""
    if method.passes is None:
        return 2
    count = len(case.sources)
    removed = 1 + method.passes(count, **options)
    # Each set of sources is removed once, that of all of them too.
    return 1 + (min(removed, 2**count - 1) if method.by_level else removed)


def _most_passes(case: Case, method: SourceMethod, options: Mapping[str, Any]) -> int:
    """Return how many passes it may take, with those for sentences."""
    passes = _passes_of_sources(case, method, options)
    if method.passes is None or not method.by_level:
        return passes
    sentences = sorted(map(len, case.sentences), reverse=True)[:MOST_LEADING]
    more = sum(n for n in sentences if n > 1)
    return passes + (method.passes(more, **options) if more else 0)


def _scores(
    case: Case, method: SourceMethod, options: Mapping[str, Any], threshold: float | None
) -> tuple[Floats, dict[int, Floats]]:
    """Score the sources, [spans, sources], and sentences of some by the number of their source."""
    if not method.by_level:
        groups = [case.sources, *case.sentences]
        together: list[TokenSpan] = [part for parts in groups for part in parts]
        ends = np.cumsum([len(parts) for parts in groups])[:-1]
        scores, *of_sentences = np.split(method(case, together, **options), ends, 1)
        return scores, {n: part for n, part in enumerate(of_sentences) if part.shape[1]}
    scores = method(case, case.sources, **options)
    leading = _leading(scores, method.threshold if threshold is None else threshold)
    sentences = {n: list(case.sentences[n]) for n in leading if case.sentences[n]}
    # The only sentence of a source is the source.
    several = [part for parts in sentences.values() if len(parts) > 1 for part in parts]
    of_parts: dict[int, Floats] = {}
    scored = method(case, several, **options) if several else scores[:, :0]
    at = 0
    for number, parts in sentences.items():
        if len(parts) == 1:
            of_parts[number] = scores[:, [number]]
        else:
            of_parts[number] = scored[:, at : at + len(parts)]
            at += len(parts)
    return scores, of_parts


def _leading(scores: Floats, threshold: float | None) -> list[int]:
    """Return the sources that lead for some span, or are cited there; in order."""
    best = scores.argmax(1)
    chosen = {int(n) for n in best}
    if threshold is not None:
        chosen |= {int(n) for n in np.flatnonzero((scores >= threshold).any(0))}
    strongest = sorted(chosen, key=lambda n: -float(scores[:, n].max()))[:MOST_LEADING]
    return sorted(strongest)


def method_options(
    method: SourceMethod, weights: SourceWeights | None, options: dict[str, Any]
) -> dict[str, Any]:
    """Take the method's own options out of `options`.

    Raises:
        OptionError: there are weights, and they have nothing for the method.
    """
    chosen = {name: options.pop(name) for name in method.options if name in options}
    if weights is not None:
        if "weights" in method.options:
            chosen["weights"] = weights
        elif method.name not in weights.thresholds:
            raise OptionError(
                f"weights have nothing for method {method.name!r}. Leave them out, or take "
                "'attention'."
            )
    return chosen
