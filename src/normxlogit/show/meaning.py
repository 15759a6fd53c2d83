"""The meaning of scores, and how they were made, in words."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from normxlogit.methods.scores import UNLIKE, is_unlike
from normxlogit.results.base import Floats, Provenance, Result
from normxlogit.results.reductions import REDUCTIONS
from normxlogit.results.text import Attribution
from normxlogit.show.outputs import foil_name, output_name
from normxlogit.show.phrases import visible


@dataclass(frozen=True)
class Meaning:
    """The meaning of an attribution's scores.

    Attributes:
        positive: what a positive score says, in a few words; None if no score is positive.
        negative: the same of a negative score.
        sentence: both at more length.
        signed: whether a sign means anything; if not, only `positive` is there, of high scores.
    """

    positive: str | None
    negative: str | None
    sentence: str
    signed: bool = True

    @property
    def signs(self) -> list[tuple[str, str, bool]]:
        """What a legend lists: a sign, what it says, and whether it is in the colour of support."""
        sides = (
            ("+" if self.signed else "high:", self.positive, True),
            ("−", self.negative, False),
        )
        return [(sign, words, is_for) for sign, words, is_for in sides if words is not None]

    def shown(self, scores: Floats) -> "Meaning":
        """Return it for a legend: of two signs without the one that none of these scores has."""
        above, below = bool((scores > 0).any()), bool((scores < 0).any())
        if above == below or self.positive is None or self.negative is None:
            return self
        return replace(self, negative=None) if above else replace(self, positive=None)


def score_meaning(result: Result, name: str | None = None) -> Meaning:
    """Return what the scores of an attribution of one target say.

    Args:
        result: the attribution.
        name: what the target is called instead of its own name.
    """
    provenance = result.provenance
    if name is None:
        name = output_name(result, result.target)
    if not is_signed(result):
        return _of_high_scores(provenance)
    if provenance.readout == "value":
        return Meaning(
            "raises the value",
            "lowers the value",
            "A positive score raises the model's value, a negative one lowers it.",
        )
    if provenance.readout == "closeness":
        return Meaning(
            "closer to the prediction",
            "farther from it",
            "A positive score brings the model's value closer to what it is for the whole text, a "
            "negative one takes it farther away; neither says whether it raises or lowers the "
            "value.",
        )
    if (other := foil_name(result)) is not None:
        return Meaning(
            f"supports {name}",
            f"supports {other}",
            f"A positive score supports {name} rather than {other}, a negative one the reverse.",
        )
    if provenance.readout == "logprob" and not provenance.of_output:
        return Meaning(
            None,
            f"closer to 0: supports {name} more",
            f"No score is above 0: the closer to 0, the more a token supports {name}.",
        )
    kind = "token" if result.prediction.problem == "token" else "label"
    compared = {
        "margin": f" more than any other {kind}",
        "centered": f" more than the average {kind}",
    }.get(provenance.readout or "", "")
    return Meaning(
        f"supports {name}",
        "opposes it",
        f"A positive score supports {name}{compared}, a negative one opposes it.",
    )


def is_signed(result: Result) -> bool:
    """Whether the signs of scores mean anything, so that a positive one is shown with a plus."""
    provenance = result.provenance
    is_near = provenance.readout == "closeness" and result.base is None
    return provenance.unsigned is None and provenance.readout != "distance" and not is_near


def _of_high_scores(provenance: Provenance) -> Meaning:
    """Return what high scores say where signs mean nothing."""
    if provenance.unsigned is not None:
        high = visible(provenance.unsigned)
        sentence = f"A high score means: {high}. It does not tell support from opposition."
    elif provenance.readout == "closeness":
        high = "closer to the prediction"
        sentence = (
            "The higher a score, the closer the head's value for this token alone is to the "
            "model's value for the text; it does not say whether the token raises or lowers it."
        )
    else:
        high = "farther from the prediction"
        sentence = (
            "The higher a score, the farther the head's value for this token alone is from the "
            "model's value for the text; near tokens tend to be the important ones."
        )
    return Meaning(high, None, sentence, signed=False)


def method_summary(result: Result) -> str:
    """Return method, readout, layer and what the method notes, in a few words."""
    provenance = result.provenance
    options = [_option(name, value) for name, value in provenance.options.items()]
    readout = [] if provenance.readout is None else [f"readout {provenance.readout}"]
    layers = [layer_names(result.layers)] if provenance.reads_layers else []
    parts = []
    if isinstance(result, Attribution) and set(result.reductions) - {"sum"}:
        parts = [f"{result.unit}s by {', then '.join(result.reductions)}"]
    notes = [
        f"{name.replace('_', ' ')} {max(values):.1%}"
        for name, values in result.notes.items()
        if values and name != UNLIKE  # of which `caution` says what it means
    ]
    return ", ".join([provenance.method, *options, *readout, *layers, *parts, *notes])


def _option(name: str, value: Any) -> str:
    """Return an option with its value; of a fitted head, on how many texts it was fitted."""
    data = value.get("fitted_on") if isinstance(value, Mapping) else None
    texts = data.get("texts") if isinstance(data, Mapping) else None
    return f"fitted on {texts:,} texts" if isinstance(texts, int) else f"{name}={value}"


_SUMS = {"centered": "centred logit", "closeness": "closeness to the prediction"}
"""What additive scores sum up to, by readout, if it is not called by the readout's name."""


def total_name(result: Result) -> str:
    """Return what the additive scores of one target and its base value sum up to."""
    readout = result.provenance.readout or "output"
    what = _SUMS.get(readout, readout)
    other = foil_name(result)
    name = output_name(result, result.target) + ("" if other is None else f" less {other}")
    return visible(f"the {what}" if name == "the value" else f"the {what} of {name}")


def caution(result: Result) -> str | None:
    """Return what to be careful about with the scores of one target; None if nothing is known."""
    if not is_unlike(result.notes):
        return None
    distance = max(result.notes[UNLIKE])
    return (
        "This text is unlike those that the attribution head was fitted on (distance "
        f"{distance:.2f}, where 99 of 100 such texts are below 1): trust its scores less."
    )


def layer_names(layers: Sequence[int]) -> str:
    """Return for example "layer 6" or "layers 1-6"."""
    return f"layer {layers[0]}" if len(layers) == 1 else f"layers {layers[0]}-{layers[-1]}"


def unit_note(attribution: Attribution) -> str:
    """Return a sentence that says what has a score."""
    if attribution.unit == "token":
        return "One score for each token."
    if len(attribution.reductions) > 1:
        steps = ", then ".join(attribution.reductions)
        return f"The score of a {attribution.unit} comes from its tokens' in steps: {steps}."
    (reduction,) = attribution.reductions or ("sum",)
    return f"The score of a {attribution.unit} is {REDUCTIONS[reduction]}."
