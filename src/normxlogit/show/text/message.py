"""The sentence that a picture of a text leads with: what is explained, and which words stand out.

It says no more than the scores do (`claims`), and names no word where none stands out
(`prominence`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from normxlogit.results.base import Floats
from normxlogit.results.text import Attribution
from normxlogit.show import outputs, phrases
from normxlogit.show.sentence import Message, Part, Role, head, is_predicted
from normxlogit.show.text.claims import Claim, claim_of, has_sides, strengths
from normxlogit.show.text.function_words import is_light, is_mark
from normxlogit.show.text.pieces import listed
from normxlogit.show.text.prominence import Prominent, prominent


def message(attribution: Attribution) -> Message:
    """Return the sentence about an attribution of one target and layer.

    Scores that have no zero are compared with their median, and only ranked.
    """
    rows = listed(attribution, special=False)
    words = [phrases.one_line(attribution.tokens[i]) for i in rows]
    scores = attribution.scores[rows]
    return [*head(attribution), Part(": "), *clauses(attribution, words, scores), Part(".")]


Verb = tuple[str, str]
"""A verb with its object: singular and plural."""


@dataclass(frozen=True)
class Side:
    """The words of one side that are named.

    Attributes:
        words: these.
        places: of each that the other side names too which one it is, such as "2nd"; else "".
        role: the side.
    """

    words: list[str]
    places: list[str]
    role: Role

    @classmethod
    def of(cls, words: Sequence[str], rows: list[int], others: list[int], role: Role) -> "Side":
        """Return a side by the numbers of its words among all, and of those of the other side."""
        named = {words[row].casefold() for row in others}
        places = [_place(words, row) if words[row].casefold() in named else "" for row in rows]
        return cls([words[row] for row in rows], places, role)

    @property
    def listed(self) -> Message:
        """The words, with commas and "and" between them."""
        parts = list[Part]()
        for number, (word, place) in enumerate(zip(self.words, self.places, strict=True)):
            if number:
                parts.append(Part(" and " if number == len(self.words) - 1 else ", "))
            parts.append(Part(phrases.shortened(word, 40), self.role))
            if place:
                parts.append(Part(f" ({place})"))
        return parts

    def do(self, verb: Verb) -> Message:
        """Return the clause that these words do something."""
        return [*self.listed, Part(f" {verb[len(self.words) > 1]}")]


def _place(words: Sequence[str], row: int) -> str:
    """Return which of several like words one is, such as "2nd"."""
    alike = [n for n, word in enumerate(words) if word.casefold() == words[row].casefold()]
    number = alike.index(row) + 1
    ending = {1: "st", 2: "nd", 3: "rd"}.get(number % 10 if number % 100 // 10 != 1 else 0, "th")
    return f"{number}{ending}"


_BY_READOUT: dict[str | None, tuple[Verb, Verb]] = {
    "value": (("raises it", "raise it"), ("lowers it", "lower it")),
    "closeness": (("leads to it", "lead to it"), ("leads away from it", "lead away from it")),
}
_SPEAK: tuple[Verb, Verb] = (
    ("speaks for it", "speak for it"),
    ("speaks against it", "speak against it"),
)


def _verbs(attribution: Attribution) -> tuple[Verb, Verb]:
    """Return what words that support the target do, and what those that oppose it do."""
    support, oppose = _BY_READOUT.get(attribution.provenance.readout, _SPEAK)
    foil = outputs.foil_name(attribution)
    return support, oppose if foil is None else (f"speaks for {foil}", f"speak for {foil}")


_ORDERS = (Claim.ORDER, Claim.BELOW)


def clauses(attribution: Attribution, words: Sequence[str], scores: Floats) -> Message:
    """Return what a sentence says of words: which of them stand out, and what they do.

    Args:
        attribution: one target and layer.
        words: those that may be named.
        scores: of each, float32 [words].
    """
    unit = attribution.unit
    if not words:
        return [Part(f"it has no {unit} with a score")]
    sole = [word for word in words if not is_mark(word)] or list(words)
    if len(sole) == 1:
        return [Part(sole[0], Role.FOR), Part(f" is its only {unit}")]
    claim = claim_of(attribution)
    named = prominent(words, strengths(scores, claim))
    if claim in _ORDERS:
        # The function words and marks of a text always are among those with the lowest norms.
        named = replace(named, opposers=[i for i in named.opposers if not is_light(words[i])])
    supporters = Side.of(words, named.supporters, named.opposers, Role.FOR)
    opposers = Side.of(words, named.opposers, named.supporters, Role.AGAINST)
    if not supporters.words and (not opposers.words or claim not in (Claim.CAUSE, *_ORDERS)):
        return [Part(f"no {unit} stands out")]
    if claim is Claim.CAUSE:
        return _cause(attribution, named, supporters, opposers, scores)
    among = [] if named.first else [Part("of the content words, ")]
    if claim in _ORDERS:
        above = claim is Claim.BELOW or bool(scores.max() > 0)
        below = bool(named.opposers) and scores[named.opposers[0]] < 0
        # Words are in the colours that they have in the text, which go by the sign.
        if supporters.words and scores[named.supporters[0]] <= 0:
            supporters = replace(supporters, role=Role.WORD)
        if not below:
            opposers = replace(opposers, role=Role.WORD)
        return [*among, *_order(attribution, supporters, opposers, above, below)]
    if claim is Claim.SIZE:
        meaning = phrases.one_line(attribution.provenance.unsigned or "")
        clause = supporters.do(("has the largest score", "have the largest scores"))
        return [*among, *clause, Part(f" ({meaning}), which takes no side")]
    verb = ("by itself comes closest to it", "by themselves come closest to it")
    return [*among, *supporters.do(verb)]


def _cause(
    attribution: Attribution, named: Prominent, supporters: Side, opposers: Side, scores: Floats
) -> Message:
    """Say what words do, where a score is what a word does."""
    support, oppose = _verbs(attribution)
    if not supporters.words:
        none = "stands out for it" if scores.max() > 0 else support[0]
        return [Part(f"no {attribution.unit} {none}; "), *opposers.do(oppose)]
    if support in _SPEAK and is_predicted(attribution):
        # "Mostly" is half of all support or more; "above all" is more than any other word.
        extent = "mostly" if named.majority else "above all" if named.first else "partly"
        clause = [Part(f"{extent} because of "), *supporters.listed]
    else:
        clause = supporters.do(support)
    if opposers.words:
        return [*clause, Part("; "), *opposers.do(oppose)]
    return clause if scores.min() < 0 else [*clause, Part(f"; no {attribution.unit} {oppose[0]}")]


def _order(
    attribution: Attribution, supporters: Side, opposers: Side, any_above: bool, below: bool
) -> Message:
    """Say which words support the target more than others do, where scores are an order only.

    Args:
        attribution: one target and layer.
        supporters: the words far above the median.
        opposers: those far below it.
        any_above: whether any score is above 0, or would be if scores could.
        below: whether the score of the first of the opposers is below 0.
    """
    support, oppose = _verbs(attribution)
    verb, extents = support, ("most", "least")
    if not any_above:
        verb, extents = oppose, ("least", "most")
    clause = [Part(f"no {attribution.unit} stands out for it")]
    if supporters.words:
        clause = [*supporters.do(verb), Part(f" {extents[0]}")]
    if not opposers.words:
        return clause
    if any_above and below and has_sides(attribution):
        return [*clause, Part("; "), *opposers.do(oppose)]
    if supporters.words:
        return [*clause, Part(", "), *opposers.listed, Part(f" {extents[1]}")]
    return [*clause, Part("; "), *opposers.do(verb), Part(f" {extents[1]}")]
