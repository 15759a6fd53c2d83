"""What terminal, page and plot show alike: pieces of text, rows, and what a score means."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from normxlogit.attribution import Attribution
from normxlogit.result import Floats, Target

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
    """

    text: str
    score: float | None


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
    text = attribution.texts[segment]
    spans: list[tuple[int, int, float]] = []
    own = np.flatnonzero(attribution.segments == segment)
    for i in sorted(own, key=lambda i: tuple(attribution.offsets[i])):
        start, end = map(int, attribution.offsets[i])
        start = end - len(text[start:end].lstrip())
        score = float(attribution.scores[i])
        if spans and start < spans[-1][1]:
            first, last, before = spans.pop()
            spans.append((first, max(last, end), before + score))
        elif start < end:
            spans.append((start, end, score))
    found = []
    position = 0
    for start, end, score in spans:
        if start > position:
            found.append(Piece(text[position:start], None))
        found.append(Piece(text[start:end], score))
        position = end
    if position < len(text):
        found.append(Piece(text[position:], None))
    return found


def shown(attribution: Attribution, special: bool) -> list[int]:
    """The numbers of the tokens to list."""
    return [i for i in range(len(attribution)) if special or not attribution.special[i]]


def strongest(scores: Floats, rows: Sequence[int], count: int) -> list[int]:
    """Those `count` of the rows with the largest scores [..., tokens] by size, in their order."""
    sizes = np.abs(scores).reshape(-1, scores.shape[-1]).max(0)
    return sorted(sorted(rows, key=lambda i: -sizes[i])[:count], key=rows.index)


def scale(scores: Floats) -> float:
    """The largest score by size; 1 if all are 0, or there are none."""
    return float(np.abs(scores).max(initial=0.0)) or 1.0


def color_scale(attribution: Attribution) -> float:
    """The score that gets the full colour: the largest, by size, of a token that is not special."""
    return scale(attribution.scores[..., ~attribution.special])


def number(value: float, largest: float) -> str:
    """A score with its sign, with three figures for the largest."""
    if not 1e-6 < largest < 1e6:
        return f"{value:+.2e}"
    decimals = max(0, 2 - math.floor(math.log10(largest)))
    return f"{round(value, decimals) + 0.0:+.{decimals}f}"


def percent(probability: float) -> str:
    """A probability that never claims certainty."""
    if 0 < probability < 0.001:
        return "<0.1%"
    return ">99.9%" if 0.999 < probability < 1 else f"{probability:.1%}"


def label(attribution: Attribution, target: Target) -> str:
    """The target's name; "the value" for the nameless output of a regression."""
    nameless = len(attribution.prediction.outputs) == 1 and target.label == f"LABEL_{target.id}"
    return "the value" if nameless else visible(target.label)


def amount(target: Target) -> str:
    """The target's probability or value."""
    return f"{target.logit:.3f}" if target.probability is None else percent(target.probability)


def predicted(attribution: Attribution) -> list[tuple[str, str]]:
    """The labels that count as predicted with their probabilities or values."""
    return [(label(attribution, t), amount(t)) for t in attribution.prediction.predicted]


def runner_up(attribution: Attribution) -> tuple[str, str] | None:
    """The most probable label that is not predicted; None in a regression."""
    prediction = attribution.prediction
    ids = [target.id for target in prediction.predicted]
    rest = [output for output in prediction.outputs if output.id not in ids]
    if not rest or prediction.problem == "regression":
        return None
    best = max(rest, key=lambda output: output.logit)
    return label(attribution, best), amount(best)


def explained(attribution: Attribution) -> str:
    """What is explained, of an attribution of one target and contrast."""
    compared = (attribution.target, foil(attribution))
    names = [f"{label(attribution, t)} {amount(t)}" for t in compared if t is not None]
    return ", rather than ".join(names)


def is_plain(attribution: Attribution) -> bool:
    """Whether what is explained is the one label or value that was predicted, and nothing else."""
    targets = attribution.targets
    same = len(targets) == 1 and targets == attribution.prediction.predicted
    return attribution.provenance.contrast is None and same


def foil(attribution: Attribution) -> Target | None:
    """The output that the target is contrasted with."""
    name = attribution.provenance.contrast
    return next((o for o in attribution.prediction.outputs if o.label == name), None)


def meaning(attribution: Attribution) -> Meaning:
    """What the scores say, of an attribution of one target."""
    made, name = attribution.provenance, label(attribution, attribution.target)
    if made.method == "random":
        return Meaning("random", None, "The scores are random: what any other method has to beat.")
    if made.method == "norm":
        return Meaning(
            "longer embedding",
            None,
            "A score is the length of the embedding: how much a token carries, but not for what.",
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
    if (contrast := foil(attribution)) is not None:
        other = label(attribution, contrast)
        return Meaning(
            f"speaks for {name}",
            f"speaks for {other}",
            f"A positive score speaks for {name} rather than {other}, a negative one the reverse.",
        )
    if made.readout == "logprob":
        return Meaning(
            None,
            f"the nearer to 0, the more for {name}",
            f"No score is above 0: the nearer to 0, the more a token speaks for {name}.",
        )
    compared = {
        "margin": " more than for any other label",
        "centered": " more than for the labels on average",
    }.get(made.readout, "")
    return Meaning(
        f"speaks for {name}",
        "speaks against it",
        f"A positive score speaks for {name}{compared}, a negative one against it.",
    )


def how(attribution: Attribution) -> str:
    """Method, readout and layer in a few words."""
    made, layers = attribution.provenance, attribution.layers
    options = [f"{name}={value}" for name, value in made.options.items()]
    reads = (
        []
        if made.method in ("norm", "random")
        else [f"readout {made.readout}", layer_names(layers)]
    )
    return ", ".join([made.method, *options, *reads])


def layer_names(layers: Sequence[int]) -> str:
    """For example "layer 6" or "layers 1-6"."""
    return f"layer {layers[0]}" if len(layers) == 1 else f"layers {layers[0]}-{layers[-1]}"


def unit_note(attribution: Attribution) -> str:
    """Of what the scores are."""
    if attribution.unit == "token":
        return "One score for each token."
    return f"The score of a {attribution.unit} is the sum over its tokens."
