"""Compare methods on one text."""

from collections.abc import Mapping, Sequence
from typing import Any

from normxlogit.errors import (
    InputError,
    ModelError,
    NormXLogitError,
    OptionError,
    without_traceback,
)
from normxlogit.evaluation.method_specs import MethodSpec, parse_method_specs
from normxlogit.results.comparison import Comparison
from normxlogit.results.generation import GenerationAttribution
from normxlogit.results.text import Attribution, Failure
from normxlogit.tasks import Task
from normxlogit.tasks.explainer import ModelExplainer


def compare(
    explainer: ModelExplainer,
    text: Any,
    methods: Sequence[str | Mapping[str, Any]],
    options: Mapping[str, Any],
) -> Comparison:
    """Explain a text by several methods; see `Explainer.compare`.

    Args:
        options: those of `Explainer.explain` that all methods share, with layer and readout.
    """
    specs = parse_method_specs(methods)
    if explainer.task in (Task.IMAGE, Task.AUDIO):
        raise ModelError(
            f"compare sets words side by side, and {type(explainer.model).__name__} is for "
            f"{explainer.task.value}. Explain by one method after the other."
        )
    if options["layer"] == "all":
        raise OptionError("compare takes one layer, or a layer for each method: NAME:layer=3.")
    results: dict[str, Attribution] = {}
    errors: dict[str, NormXLogitError] = {}
    for spec in specs:
        try:
            results[spec.name] = _explain(explainer, text, spec, options)
        except NormXLogitError as error:
            errors[spec.name] = without_traceback(error)
    if not results:
        raise _none(errors)
    return Comparison(results, {name: str(error) for name, error in errors.items()})


def _explain(
    explainer: ModelExplainer, text: Any, spec: MethodSpec, options: Mapping[str, Any]
) -> Attribution:
    """Explain the text by one method, by words; of a generated text the sum over the answer."""
    arguments = {**options, **spec.arguments({})}
    for name in ("layer", "readout"):
        arguments[name] = options[name] if arguments[name] is None else arguments[name]
    (result,) = explainer.stream([text], **arguments)
    if isinstance(result, Failure):
        raise result.error
    assert isinstance(result, Attribution)
    return (result.whole() if isinstance(result, GenerationAttribution) else result).words()


def _none(errors: Mapping[str, NormXLogitError]) -> NormXLogitError:
    """The error of no method: that of all if they agree, such as on a text that is blank."""
    first, *others = errors.values()
    if all(str(other) == str(first) for other in others):
        return first
    reasons = " ".join(f"{name}: {error}" for name, error in errors.items())
    is_of_text = all(isinstance(error, InputError) for error in errors.values())
    kind = InputError if is_of_text else OptionError
    return kind(f"none of these methods can explain this text. {reasons}")
