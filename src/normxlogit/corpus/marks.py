"""Where the words of a record stand in its texts."""

import math
from collections.abc import Mapping
from typing import Any

from normxlogit.corpus.findings import Mark


def find_marks(record: Mapping[str, Any]) -> tuple[tuple[Mark, ...], ...]:
    """Return for each text of a record where its words with a score stand.

    Words are pieces of the texts, in their order. Shards have no offsets of words, so each word is
    looked for from the end of the one before it.

    Args:
        record: a record as in the shards, with its texts, words, offsets and segments.
    """
    texts = [record[name] for name in ("text", "pair") if record[name] is not None]
    # The texts may have been cut off, and what was left out may well hold the next word.
    ends = [0] * len(texts)
    for span, segment in zip(record["offsets"] or (), record["segments"] or (), strict=True):
        if 0 <= segment < len(texts):
            ends[segment] = max(ends[segment], span["end"])
    marks: list[list[Mark]] = [[] for _ in texts]
    number, position = 0, 0
    for word, score in zip(record["words"], record["word_scores"], strict=True):
        for later in range(number, len(texts)):
            start = texts[later].find(word, position if later == number else 0, ends[later])
            if start >= 0:
                number, position = later, start + len(word)
                if math.isfinite(score):
                    marks[number].append((start, position, score))
                break
    return tuple(map(tuple, marks))
