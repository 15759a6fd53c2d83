"""The sentence that a picture of an answer from documents leads with: what the answer rests on."""

import numpy as np

from normxlogit.results.sources import SourceAttribution
from normxlogit.show import phrases
from normxlogit.show.sources.layout import SourcesLayout
from normxlogit.show.text.message import Message, Part, Role

MOST_NAMED = 3
"""How many sources are named at most."""


def message(result: SourceAttribution) -> Message:
    """Return the sentence about an answer."""
    layout = SourcesLayout(result)
    return [Part("The answer", Role.LABEL), Part(": "), *_clauses(layout), Part(".")]


def _clauses(layout: SourcesLayout) -> Message:
    result = layout.result
    if result.threshold is None:
        best = int(np.argmax(result.total))
        if result.total[best] <= 0:
            return [Part("no source speaks for it")]
        return [Part("it rests most on "), *_named(layout, [best])]
    count = len(result.spans)
    spans = [set(cites) for cites in result.citations]
    without = sum(not cites for cites in spans)
    if without == count:
        return [Part("no source stands out")]
    often = {n: sum(n in cites for cites in spans) for n in set().union(*spans)}
    order = sorted(often, key=lambda n: (-often[n], -result.total[n]))
    clause = [Part("it rests on "), *_named(layout, order)]
    if without:
        verb = "rests" if without == 1 else "rest"
        clause.append(Part(f"; {without} of its {count} sentences {verb} on none"))
    return clause


def _named(layout: SourcesLayout, numbers: list[int]) -> Message:
    """Return the names of sources with their numbers, and how many more there are."""
    named = numbers[:MOST_NAMED]
    more = len(numbers) - len(named)
    parts = list[Part]()
    for place, number in enumerate(named):
        if place:
            is_last = place == len(named) - 1 and not more
            parts.append(Part(" and " if is_last else ", "))
        title = phrases.shortened(layout.title(number), 40)
        parts += [Part(title, Role.FOR), Part(f" [{number + 1}]")]
    return [*parts, Part(f" and {more} more")] if more else parts
