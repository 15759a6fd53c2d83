"""What terminal, page and plot show alike: pieces of text, rows, and what a score means."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from normxlogit.results.base import Floats, Result, Target
from normxlogit.results.text import Attribution

CAVEAT = (
    "An attribution describes this model, not the world, and proves nothing by itself: how "
    "faithful it is differs between models and methods and has to be measured."
)


@dataclass(frozen=True)
class Piece:
    """A part of a text: what one or more tokens cover, or what stands between them.

    Attributes:
        text: its characters.
        score: the sum of its tokens' scores; None between tokens.
        special: whether its tokens are special, such as a sink, so that it is not coloured.
    """

    text: str
    score: float | None
    special: bool = False


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
    """What the model said.

    Attributes:
        labels: what it predicted; if that is much, the first of it.
        more: how many labels there are beyond these.
        runners_up: what it would have said next.
    """

    labels: list[Label]
    more: int
    runners_up: list[Label]


@dataclass(frozen=True)
class Meaning:
    """What the scores of an attribution say.

    Attributes:
        positive: what a positive score says, in a few words; None if there is none.
        negative: the same of a negative score.
        sentence: both at more length.
    """

    positive: str | None
    negative: str | None
    sentence: str


def visible(text: str) -> str:
    """The text with control characters as signs, so that they cannot steer a terminal or a page.

    Line breaks and tabs stay, the former as "\\n".
    """
    unified = text.replace("\r\n", "\n").replace("\r", "\n")
    return "".join(_visible(character) for character in unified)


def _visible(character: str) -> str:
    code = ord(character)
    if character in "\n\t" or not (code < 0x20 or 0x7F <= code < 0xA0 or 0xD800 <= code < 0xE000):
        return character
    if code == 0x7F:
        return "␡"
    return chr(0x2400 + code) if code < 0x20 else "\ufffd"


def one_line(text: str) -> str:
    """A token for a table: `visible`, with line breaks and tabs as signs."""
    return visible(text).replace("\n", "↵").replace("\t", "⇥") or "∅"


def pieces(attribution: Attribution, segment: int) -> list[Piece]:
    """One of the texts cut into pieces, of an attribution of one target and layer."""
    text, position = attribution.texts[segment], 0
    own = np.flatnonzero(attribution.segments == segment)
    found = []
    for start, end, numbers in covered(text, ((int(i), *attribution.offsets[i]) for i in own)):
        if start > position:
            found.append(Piece(text[position:start], None))
        score = float(np.nansum(attribution.scores[numbers]))
        found.append(Piece(text[start:end], score, bool(attribution.special[numbers].all())))
        position = end
    if position < len(text):
        found.append(Piece(text[position:], None))
    return found


def covered(text: str, tokens: Iterable[tuple[int, int, int]]) -> list[tuple[int, int, list[int]]]:
    """Where visible characters of tokens are: first, last + 1, and the numbers of the tokens.

    Args:
        text: what they are tokens of.
        tokens: of each its number, first character and last + 1. Those that share characters are
            put together, and those without a visible one left out.
    """
    spans: list[tuple[int, int, list[int]]] = []
    for number, start, end in sorted(tokens, key=lambda token: token[1:]):
        start = int(end) - len(text[start:end].lstrip())
        if spans and start < spans[-1][1]:
            first, last, before = spans.pop()
            spans.append((first, max(last, int(end)), [*before, number]))
        elif start < end:
            spans.append((start, int(end), [number]))
    return spans


def shown(attribution: Attribution, special: bool) -> list[int]:
    """The numbers of the tokens to list: those that have scores."""
    scored = ~np.isnan(attribution.scores.reshape(-1, len(attribution))).all(0)
    return [int(i) for i in np.flatnonzero(scored & (special | ~attribution.special))]


def strongest(scores: Floats, rows: Sequence[int], count: int) -> list[int]:
    """Those `count` of the rows with the largest scores [..., tokens] by size, in their order."""
    sizes = np.abs(scores).reshape(-1, scores.shape[-1]).max(0)
    return sorted(sorted(rows, key=lambda i: -sizes[i])[:count], key=rows.index)


def scale(scores: Floats) -> float:
    """The largest score by size; 1 if all are 0, or there are none."""
    return float(np.nanmax(np.abs(scores), initial=0.0)) or 1.0


def color_scale(attribution: Attribution) -> float:
    """The score that gets the full colour: the largest, by size, of a token that is not special."""
    return scale(attribution.scores[..., ~attribution.special])


def number(value: float, largest: float) -> str:
    """A score with its sign, with three figures for the largest; a dash where there is none."""
    if math.isnan(value):
        return "–"
    if not 1e-6 < largest < 1e6:
        return f"{value:+.2e}"
    decimals = max(0, 2 - math.floor(math.log10(largest)))
    return f"{round(value, decimals) + 0.0:+.{decimals}f}"


def percent(probability: float) -> str:
    """A probability that never claims certainty."""
    if 0 < probability < 0.001:
        return "<0.1%"
    return ">99.9%" if 0.999 < probability < 1 else f"{probability:.1%}"


def label(result: Result, target: Target) -> str:
    """The target's name; "the value" for the nameless output of a regression.

    What a language model writes is put between quotation marks where its ends could not be seen.
    """
    problem = result.prediction.problem
    if _is_nameless(result, target):
        return "the value"
    if problem == "token":
        return token(target.label)
    if problem in ("span", "multiple_choice"):
        return shortened(one_line(target.label)) if target.label else "no answer"
    return visible(target.label)


def _is_nameless(result: Result, target: Target) -> bool:
    """Whether the target is the only output and has no name but transformers' default one."""
    return len(result.prediction.outputs) == 1 and target.label == f"LABEL_{target.id}"


def token(text: str) -> str:
    """A token's text on one line, in quotation marks if it begins or ends with space."""
    shown = shortened(one_line(text)) if text else ""
    return shown if text and text == text.strip() else f'"{shown}"'


def shortened(text: str, length: int = 60) -> str:
    """The text, or its beginning and its end if it is longer than `length`."""
    if len(text) <= length:
        return text
    half = (length - 3) // 2
    return f"{text[:half].rstrip()} … {text[-half:].lstrip()}"


def word_of(result: Result, target: Target) -> str | None:
    """The word whose tag the target is; None if it is no tag of a word."""
    is_tag = result.prediction.problem.endswith("_classification")
    if target.position is None or not is_tag or not isinstance(result, Attribution):
        return None
    segment = int(result.segments[target.position])
    if segment < 0:
        return visible(result.tokens[target.position])
    numbers = result.word_numbers
    own = result.offsets[(numbers == numbers[target.position]) & (result.segments == segment)]
    return one_line(result.texts[segment][own[:, 0].min() : own[:, 1].max()].strip())


def named(result: Result, target: Target) -> str:
    """The target's name, with the word before it if it is a word's tag."""
    word = word_of(result, target)
    return label(result, target) if word is None else f"{word} → {label(result, target)}"


def amount(target: Target) -> str:
    """The target's probability or value."""
    return f"{target.logit:.3f}" if target.probability is None else percent(target.probability)


def verdict(result: Result, count: int = 12) -> Verdict:
    """Return what the model said of the result's input, at most `count` labels of it."""
    labels = [
        Label(named(result, target), amount(target), _is_nameless(result, target))
        for target in result.prediction.predicted
    ]
    return Verdict(labels[:count], max(0, len(labels) - count), runners_up(result))


def runners_up(result: Result) -> list[Label]:
    """The most probable that is not predicted: one label, or up to three tokens or choices.

    There are none in a regression, of an answer in a text, or of a tagger's many words.
    """
    prediction = result.prediction
    if prediction.problem in ("regression", "span"):
        return []
    ids = [target.id for target in prediction.predicted]
    rest = [output for output in prediction.outputs if output.id not in ids]
    rest.sort(key=lambda output: -output.logit)
    count = 3 if prediction.problem in ("token", "multiple_choice") else 1
    return [Label(label(result, output), amount(output)) for output in rest[:count]]


def explained(result: Result) -> str:
    """What is explained, of an attribution of one target and contrast."""
    what = f"{named(result, result.target)} {amount(result.target)}"
    other = foil(result)
    if other is not None:
        return f"{what}, rather than {label(result, other)} {amount(other)}"
    name = foil_name(result)
    return what if name is None else f"{what}, rather than {name}"


def is_plain(result: Result) -> bool:
    """Whether what is explained is the one label or value that was predicted, and nothing else."""
    targets = result.targets
    same = len(targets) == 1 and targets == result.prediction.predicted
    return result.provenance.contrast is None and same


def foil(result: Result) -> Target | None:
    """The output that the target is contrasted with, if what the model said of it is known."""
    name = result.provenance.contrast
    return next((o for o in result.prediction.outputs if o.label == name), None)


def foil_name(result: Result) -> str | None:
    """The name of what the target is contrasted with."""
    name, known = result.provenance.contrast, foil(result)
    if name is None or known is not None:
        return None if known is None else label(result, known)
    return token(name) if result.prediction.problem == "token" else visible(name)


def meaning(result: Result, name: str | None = None) -> Meaning:
    """What the scores say, of an attribution of one target; `name` instead of the target's."""
    made = result.provenance
    if name is None:
        name = label(result, result.target)
    if made.unsigned is not None:
        return Meaning(
            made.unsigned,
            None,
            f"A high score says: {made.unsigned}. It does not say for or against what.",
        )
    if made.readout == "value":
        return Meaning(
            "raises the value",
            "lowers the value",
            "A positive score raises the model's value, a negative one lowers it.",
        )
    if made.readout == "closeness":
        return Meaning(
            "closer to the prediction",
            None,
            "The higher a score, the closer the head's value for this token alone is to the "
            "model's value for the text; it does not say whether the token raises or lowers it.",
        )
    if made.readout == "distance":
        return Meaning(
            "farther from the prediction",
            None,
            "The higher a score, the farther the head's value for this token alone is from the "
            "model's value for the text; near tokens tend to be the important ones.",
        )
    if (other := foil_name(result)) is not None:
        return Meaning(
            f"speaks for {name}",
            f"speaks for {other}",
            f"A positive score speaks for {name} rather than {other}, a negative one the reverse.",
        )
    if made.readout == "logprob" and not made.of_output:
        return Meaning(
            None,
            f"the nearer to 0, the more for {name}",
            f"No score is above 0: the nearer to 0, the more a token speaks for {name}.",
        )
    kind = "token" if result.prediction.problem == "token" else "label"
    compared = {
        "margin": f" more than for any other {kind}",
        "centered": f" more than for the {kind}s on average",
    }.get(made.readout or "", "")
    return Meaning(
        f"speaks for {name}",
        "speaks against it",
        f"A positive score speaks for {name}{compared}, a negative one against it.",
    )


def how(result: Result) -> str:
    """Method, readout, layer and what the method notes, in a few words."""
    made = result.provenance
    options = [f"{name}={value}" for name, value in made.options.items()]
    readout = [] if made.readout is None else [f"readout {made.readout}"]
    layers = [layer_names(result.layers)] if made.reads_layers else []
    notes = [
        f"{name.replace('_', ' ')} {max(values):.1%}"
        for name, values in result.notes.items()
        if values
    ]
    return ", ".join([made.method, *options, *readout, *layers, *notes])


def layer_names(layers: Sequence[int]) -> str:
    """For example "layer 6" or "layers 1-6"."""
    return f"layer {layers[0]}" if len(layers) == 1 else f"layers {layers[0]}-{layers[-1]}"


def unit_note(attribution: Attribution) -> str:
    """Of what the scores are."""
    if attribution.unit == "token":
        return "One score for each token."
    return f"The score of a {attribution.unit} is the sum over its tokens."
