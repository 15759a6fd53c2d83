"""The sentence that a picture of generated text leads with: the words of the prompt that count."""

import numpy as np

from normxlogit.show import phrases
from normxlogit.show.generation.layout import GenerationLayout
from normxlogit.show.sentence import Message, Part, Role
from normxlogit.show.text.message import clauses

ANSWER = "The answer"


def message(layout: GenerationLayout) -> Message:
    """Return the sentence about what the answer, or the explained part of it, rests on.

    It names words as that about a text does, but of the prompt only.
    """
    scores = layout.summed(layout.whole)
    rows = np.flatnonzero(layout.ranked & ~np.isnan(scores))
    words = [phrases.one_line(layout.words.tokens[row]) for row in rows]
    if not words:
        clause = [Part("no word of its prompt has a score")]
    elif len(words) == 1:
        clause = [Part(words[0], Role.FOR), Part(" is the only word of its prompt")]
    else:
        clause = clauses(layout.words.whole().only(), words, scores[rows])
    return [Part(layout.explained or ANSWER, Role.LABEL), Part(": "), *clause, Part(".")]
