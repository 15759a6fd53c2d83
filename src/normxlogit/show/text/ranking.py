"""The words of a text in the order in which they are listed, with their shares."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from normxlogit.results.text import Attribution
from normxlogit.show import phrases
from normxlogit.show.text.claims import by_strength, claim_of, shares
from normxlogit.show.text.pieces import listed

Order = Literal["strength", "text"]

MOST = 10
"""How many words are listed before the others are asked for."""


@dataclass(frozen=True)
class Ranking:
    """The words to list.

    Attributes:
        rows: their numbers, in order.
        shares: the share of each in the total of all words' scores, signs aside, as text; empty
            where sizes say nothing, and for special tokens.
    """

    rows: list[int]
    shares: list[str]


def ranked(attribution: Attribution, order: Order, *, special: bool = False) -> Ranking:
    """Order the tokens of one target and layer that have scores.

    Args:
        attribution: what is shown.
        order: the strongest first, or as in the text.
        special: whether special tokens are listed too.
    """
    rows, claim = listed(attribution, special), claim_of(attribution)
    if order == "strength":
        rows = [rows[n] for n in by_strength(attribution.scores[rows], claim)]
    scored = listed(attribution, special=False)
    parts = shares(attribution.scores[scored], claim)
    texts = (
        {} if parts is None else dict(zip(scored, map(phrases.share, parts.tolist()), strict=True))
    )
    return Ranking(rows, [texts.get(row, "") for row in rows])


def in_words(attribution: Attribution) -> Attribution:
    """Return the words if these are tokens: no reader knows the pieces of a tokenizer."""
    return attribution.words() if attribution.unit == "token" else attribution


def names(attribution: Attribution) -> list[str]:
    """Return what each token is called: as the text spells it, on one line.

    A tokenizer spells tokens in signs of its own, such as "Ġdog" or "##ers".
    """
    return [_name(attribution, number) for number in range(len(attribution))]


def _name(attribution: Attribution, number: int) -> str:
    segment = int(attribution.segments[number])
    if attribution.unit != "token" or segment < 0:
        return phrases.one_line(attribution.tokens[number])
    start, end = attribution.offsets[number].tolist()
    part = attribution.texts[segment][start:end]
    return phrases.one_line(part.strip() or part or attribution.tokens[number])


def in_which_text(attribution: Attribution, rows: Sequence[int]) -> list[str]:
    """Return of a pair in which text each of these tokens is; empty for other texts."""
    if len(attribution.texts) < 2:
        return [""] * len(rows)
    segments = attribution.segments[rows].tolist()
    return [f"text {segment + 1}" if segment >= 0 else "" for segment in segments]


def placed_names(attribution: Attribution) -> list[str]:
    """Return what each token is called; in a pair, with the text that it is in."""
    texts = in_which_text(attribution, range(len(attribution)))
    return [
        f"{name} ({text})" if text else name
        for name, text in zip(names(attribution), texts, strict=True)
    ]


def begins_text(attribution: Attribution, rows: Sequence[int]) -> list[int | None]:
    """Return for each of these tokens of a pair, if it is the first of a text, that text's number.

    It is counted from 1; for all others it is None.
    """
    segments = attribution.segments[rows]
    firsts = {int(np.argmax(segments == n)): n + 1 for n in np.unique(segments) if n >= 0}
    pair = len(attribution.texts) > 1
    return [firsts.get(at) if pair else None for at in range(len(rows))]
