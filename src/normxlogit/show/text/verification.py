"""What a verification found, in sentences and in bars."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup
from rich.text import Text

from normxlogit.results.text import Attribution
from normxlogit.results.verification import Verification
from normxlogit.show import outputs, phrases
from normxlogit.show.markup import BarRow, bar
from normxlogit.show.templating import fill
from normxlogit.show.terminal import DIM, LABEL

TITLE = "Checked by hiding words"

_OPERATORS = {
    "mask": "behind the mask token",
    "remove": "by the attention mask",
    "eos": "behind the end-of-text token",
}


@dataclass(frozen=True)
class Receipt:
    """A verification of one target, in words.

    Attributes:
        target: what is explained; None if the result explains nothing else.
        sentences: what was found, the first of them for whoever reads no more.
        note: how it was measured, and what that took.
        outcomes: what the model said, by what was hidden.
    """

    target: str | None
    sentences: list[str]
    note: str
    outcomes: list[BarRow]


def html(attribution: Attribution) -> Markup:
    """Return the HTML of an attribution's verifications; nothing if it has none."""
    receipts = list(_receipts(attribution))
    return (
        fill("verification.html", {"title": TITLE, "receipts": receipts}) if receipts else Markup()
    )


def lines(attribution: Attribution) -> Iterator[Text]:
    """Yield the lines of an attribution's verifications in a terminal; none if it has none."""
    for receipt in _receipts(attribution):
        of = "" if receipt.target is None else f": {receipt.target}"
        yield Text(f"{TITLE}{of}", LABEL)
        yield from map(Text, receipt.sentences)
        yield Text(receipt.note, DIM)
        yield Text()


def _receipts(attribution: Attribution) -> Iterator[Receipt]:
    for number, verification in enumerate(attribution.verifications or ()):
        part = attribution.at(number)
        yield Receipt(
            target=outputs.output_name(part, part.target) if len(attribution.targets) > 1 else None,
            sentences=_sentences(part, verification),
            note=_note(verification),
            outcomes=_outcomes(part, verification),
        )


def _sentences(part: Attribution, verification: Verification) -> list[str]:
    sentences = [_drop(part, verification)]
    if verification.words > 1:
        sentences.append(_alone(part, verification))
    if part.base is not None:
        sentences.append(_explained(verification))
    return sentences


def _drop(part: Attribution, verification: Verification) -> str:
    """Say what hiding the top words does, beside hiding random ones."""
    target = outputs.output_name(part, part.target)
    whole, without = (_amount(part, v) for v in (verification.whole, verification.without_top))
    sentence = f"Hiding {_listed(verification.top)} takes {target} from {whole} to {without}"
    if verification.words == 1:
        return f"{sentence}; there is no other word to compare it with."
    some, random = _some(verification), np.array(verification.random_without)
    if part.target.probability is None:
        # Values that rise and fall would cancel out in a mean.
        moved = np.abs(random - verification.whole).mean()
        return f"{sentence}; hiding {some} moves it by {phrases.decimal(moved)} on average."
    return f"{sentence}, hiding {some} to {_amount(part, float(random.mean()))} on average."


def _alone(part: Attribution, verification: Verification) -> str:
    """Say what is left with all but the top words hidden, beside all but random ones."""
    target, some = outputs.output_name(part, part.target), _some(verification)
    alone, random = verification.top_alone, float(np.mean(verification.random_alone))
    return (
        f"Hiding all other words takes {target} to {_amount(part, alone)}, hiding all but {some} "
        f"to {_amount(part, random)} on average."
    )


def _some(verification: Verification) -> str:
    """Return as many random words as top words are hidden, by name."""
    return ("a random word", "two random words", "three random words")[len(verification.top) - 1]


def _explained(verification: Verification) -> str:
    """Say how much of the model's outcomes additive scores explain."""
    explained, shuffled = verification.explained_variance, verification.shuffled_variance
    if explained is None or shuffled is None:
        if verification.words == 1:
            return "With one word there are no sets of words for the scores to add up over."
        return "What the model says hardly moves with words hidden, so sums explain nothing."
    return (
        f"Over {verification.sets} random sets of words, sums of the scores explain "
        f"{_share(explained)} of the variance of what the model says; the same scores dealt out "
        f"at random, {_share(shuffled)}."
    )


def _note(verification: Verification) -> str:
    parts = [f"Words hidden {_OPERATORS[verification.operator]}"]
    if verification.words > 1:
        parts.append(f"means over {len(verification.random_without)} random orders")
    return f"{'; '.join([*parts, f'{verification.passes} further forward passes'])}."


def _outcomes(part: Attribution, verification: Verification) -> list[BarRow]:
    count = len(verification.top)
    top = "top word" if count == 1 else f"top {count} words"
    some = "a random word" if count == 1 else f"{count} random words"
    outcomes = {"nothing hidden": verification.whole, f"{top} hidden": verification.without_top}
    if verification.words > 1:
        outcomes |= {
            f"{some} hidden": float(np.mean(verification.random_without)),
            f"only the {top} left": verification.top_alone,
            f"only {some} left": float(np.mean(verification.random_alone)),
        }
    has_probability = part.target.probability is not None
    low = 0.0 if has_probability else max(0.0, -min(outcomes.values()))
    high = 1.0 if has_probability else max(0.0, *outcomes.values())
    return [
        BarRow(name, _amount(part, outcome), bar(outcome, low, high))
        for name, outcome in outcomes.items()
    ]


def _listed(words: tuple[str, ...]) -> str:
    """Return words in quotation marks, as a sentence lists them."""
    quoted = [phrases.quoted(phrases.shortened(phrases.one_line(word), 30)) for word in words]
    *before, last = quoted
    return f"{', '.join(before)} and {last}" if before else last


def _amount(part: Attribution, outcome: float) -> str:
    """Return an outcome as the prediction is shown."""
    return phrases.decimal(outcome) if part.target.probability is None else phrases.percent(outcome)


def _share(variance: float) -> str:
    return f"{variance:.0%}" if variance > 0.005 else "none"
