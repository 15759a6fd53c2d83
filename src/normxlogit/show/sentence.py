"""The sentence that a picture leads with: its parts, and what it is about."""

from dataclasses import dataclass
from enum import Enum

from normxlogit.results.base import Result
from normxlogit.show import outputs, phrases


class Role(Enum):
    """The role of a part of the sentence, by which it is coloured."""

    PLAIN = "plain"
    LABEL = "label"
    FOR = "for"
    AGAINST = "against"
    WORD = "word"  # of no side: the text has another colour for it, or none


@dataclass(frozen=True)
class Part:
    """A part of the sentence: a text in its role."""

    text: str
    role: Role = Role.PLAIN

    @property
    def quoted(self) -> str:
        """The text, in quotation marks if it is a word of the input."""
        return self.text if self.role in (Role.PLAIN, Role.LABEL) else phrases.quoted(self.text)


Message = list[Part]


def as_text(parts: Message) -> str:
    """Return the sentence without colours, its words in quotation marks."""
    return "".join(part.quoted for part in parts)


def head(result: Result) -> Message:
    """Return what a sentence is about: the target of a result, and what it is ahead of."""
    target, foil = result.target, outputs.foil(result)
    name, amount = outputs.target_name(result, target), outputs.amount(target)
    if (other := outputs.foil_name(result)) is not None:
        other_amount = "" if foil is None else f" {outputs.amount(foil)}"
        # There is a why only of what is so: that the target is ahead of the other label.
        ahead = foil is not None and target.logit > foil.logit
        return [
            *(Part("Why " if ahead else "For "), Part(name, Role.LABEL)),
            *(Part(f" {amount} rather than "), Part(other, Role.LABEL), Part(other_amount)),
        ]
    if outputs.is_nameless(result, target):
        return [Part(amount, Role.LABEL)]
    aside = [] if is_predicted(result) else [Part(", which is not predicted")]
    return [Part(name, Role.LABEL), Part(f" {amount}"), *aside]


def is_predicted(result: Result) -> bool:
    """Whether the target of a result is what the model said."""
    target = result.target
    predicted = [(said.id, said.position) for said in result.prediction.predicted]
    return (target.id, target.position) in predicted
