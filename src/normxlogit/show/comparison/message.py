"""The sentence that a comparison leads with: which word each method names, and how alike they rank.

A method names the word that the sentence about its own scores names first.
"""

from math import inf

import numpy as np

from normxlogit.results.comparison import Comparison
from normxlogit.show import phrases
from normxlogit.show.sentence import Message, Part, Role, head
from normxlogit.show.text.claims import claim_of, strengths
from normxlogit.show.text.prominence import prominent

MOST = 3
"""The most words that are named."""

_ALIKE = ((0.7, "much alike"), (0.3, "partly alike"), (-0.3, "hardly alike"), (-inf, "in reverse"))
"""From which mean rank correlation on the words are said to be ranked how."""


def message(part: Comparison) -> Message:
    """Return the sentence about a comparison of one target."""
    methods = _methods_by_word(part)
    named = [word for word in methods if word is not None]
    clauses = [_naming(methods[word], word, part) for word in named[:MOST]]
    if others := [name for word in named[MOST:] for name in methods[word]]:
        clauses.append([Part(f"{_who(others)} others")])
    if not named:
        clauses = [[Part("no word stands out" + (" by any" if len(part.methods) > 1 else ""))]]
    elif None in methods:
        clauses.append([Part(f"{_who(methods[None])} none")])
    if (alike := _alikeness(part)) is not None:
        clauses.append([Part(alike)])
    joined = [p for clause in clauses for p in (Part("; "), *clause)][1:]
    return [*head(part.first.only()), Part(": "), *joined, Part(".")]


def _methods_by_word(part: Comparison) -> dict[str | None, list[str]]:
    """Return the methods that name a word, by the word: those of most methods first, None last."""
    words = [phrases.one_line(word.text) for word in part.words]
    methods: dict[str | None, list[str]] = {}
    spelled: dict[str, str] = {}
    for (name, result), scores in zip(part.results.items(), part.scores, strict=True):
        scored = np.flatnonzero(~np.isnan(scores))
        candidates = [words[i] for i in scored]
        first = prominent(candidates, strengths(scores[scored], claim_of(result))).supporters[:1]
        word = candidates[first[0]] if first else None
        if word is not None:
            word = spelled.setdefault(word.casefold(), word)
        methods.setdefault(word, []).append(name)
    order = sorted(methods, key=lambda word: (word is None, -len(methods[word])))
    return {word: methods[word] for word in order}


def _naming(methods: list[str], word: str, part: Comparison) -> Message:
    count = len(part.methods)
    who = _who(methods)
    if len(methods) == count > 1:
        who = "both methods name" if count == 2 else f"all {count} methods name"
    return [Part(f"{who} "), Part(phrases.shortened(word, 40), Role.FOR)]


def _who(methods: list[str]) -> str:
    *before, last = map(phrases.one_line, methods)
    return f"{', '.join(before)} and {last} name" if before else f"{last} names"


def _alikeness(part: Comparison) -> str | None:
    """Say how alike the methods rank the words; None if that is not known."""
    pairs = part.rank_correlations[np.triu_indices(len(part.methods), 1)]
    if not len(pairs) or np.isnan(pairs).any():
        return None
    mean = float(pairs.mean())
    how = next(how for least, how in _ALIKE if mean >= least)
    of = "rank correlation" if len(pairs) == 1 else "mean rank correlation"
    return f"they rank the words {how} ({of} {phrases.decimal(mean, 2)})"
