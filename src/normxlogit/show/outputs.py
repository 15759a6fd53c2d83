"""The prediction of a model, and the target that is explained, in words."""

from dataclasses import dataclass

from normxlogit.results.base import Result
from normxlogit.results.prediction import Target
from normxlogit.results.text import Attribution
from normxlogit.show.phrases import decimal, one_line, percent, shortened, token, visible


@dataclass(frozen=True)
class Label:
    """A label with its probability or value, as text.

    Attributes:
        name: what it is called.
        amount: its probability or value.
        nameless: whether it is the only output of a regression, whose value says all.
    """

    name: str
    amount: str
    nameless: bool = False


@dataclass(frozen=True)
class Verdict:
    """A prediction, as text.

    Attributes:
        labels: the predicted labels, the first of them if they are many.
        more: how many labels there are beyond these.
        runners_up: the most probable labels that are not predicted.
    """

    labels: list[Label]
    more: int
    runners_up: list[Label]


def output_name(result: Result, target: Target) -> str:
    """Return the name of an output; "the value" for the nameless output of a regression.

    A token of a language model is in quotation marks where its ends could not be seen.
    """
    problem = result.prediction.problem
    if is_nameless(result, target):
        return "the value"
    if problem == "token":
        return token(target.label)
    if problem in ("span", "multiple_choice"):
        return shortened(one_line(target.label)) if target.label else "no answer"
    return visible(target.label)


def is_nameless(result: Result, target: Target) -> bool:
    """Whether the target is the only output and has no name but transformers' default one."""
    return len(result.prediction.outputs) == 1 and target.label == f"LABEL_{target.id}"


def tagged_word(result: Result, target: Target) -> str | None:
    """Return the word whose tag the target is; None if it is no tag of a word."""
    is_tag = result.prediction.problem.endswith("_classification")
    if target.position is None or not is_tag or not isinstance(result, Attribution):
        return None
    segment = int(result.segments[target.position])
    if segment < 0:
        return visible(result.tokens[target.position])
    numbers = result.word_numbers
    in_word = (numbers == numbers[target.position]) & (result.segments == segment)
    offsets = result.offsets[in_word]  # [tokens of the word, 2]
    return one_line(result.texts[segment][offsets[:, 0].min() : offsets[:, 1].max()].strip())


def target_name(result: Result, target: Target) -> str:
    """Return the name of an output, with the word before it if it is a word's tag."""
    word, name = tagged_word(result, target), output_name(result, target)
    return name if word is None else f"{word} → {name}"


def amount(target: Target) -> str:
    """Return the probability or value of an output."""
    return decimal(target.logit) if target.probability is None else percent(target.probability)


def verdict(result: Result, count: int = 12) -> Verdict:
    """Return what the model said of the result's input, at most `count` labels of it."""
    labels = [
        Label(target_name(result, target), amount(target), is_nameless(result, target))
        for target in result.prediction.predicted
    ]
    return Verdict(labels[:count], max(0, len(labels) - count), runners_up(result))


def runners_up(result: Result) -> list[Label]:
    """Return the most probable label that is not predicted, or up to three tokens or choices.

    There are none for regressions, answers in a text, and taggers.
    """
    prediction = result.prediction
    if prediction.problem in ("regression", "span"):
        return []
    ids = [target.id for target in prediction.predicted]
    rest = [output for output in prediction.outputs if output.id not in ids]
    rest.sort(key=lambda output: -output.logit)
    count = 3 if prediction.problem in ("token", "multiple_choice") else 1
    return [Label(output_name(result, output), amount(output)) for output in rest[:count]]


def is_plain(result: Result) -> bool:
    """Whether the target is the one label or value that was predicted, without a contrast."""
    targets = result.targets
    same = len(targets) == 1 and targets == result.prediction.predicted
    return result.provenance.contrast is None and same


def foil(result: Result) -> Target | None:
    """Return the output that the target is contrasted with, if its probability is known."""
    name = result.provenance.contrast
    return next((o for o in result.prediction.outputs if o.label == name), None)


def foil_name(result: Result) -> str | None:
    """Return the name of what the target is contrasted with; None if it is not."""
    name, output = result.provenance.contrast, foil(result)
    if name is None:
        return None
    if output is not None:
        return output_name(result, output)
    return token(name) if result.prediction.problem == "token" else visible(name)
