"""Where the words of a record stand in its texts."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from normxlogit.corpus.summaries.findings import Mark


def find_marks(record: Mapping[str, Any]) -> tuple[tuple[Mark, ...], ...]:
    """Return for each text of a record where its words with a score stand.

    Words are pieces of the texts, in their order. Shards have no offsets of words, so each word is
    looked for from the end of the one before it.

    Args:
        record: a record as in the shards, with its texts, words, offsets and segments.
    """
    texts = [record[name] for name in ("text", "pair") if record[name] is not None]
    ends = _ends(texts, record["offsets"], record["segments"])
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


def _ends(
    texts: Sequence[str],
    offsets: Sequence[Mapping[str, int]] | None,
    segments: Sequence[int] | None,
) -> list[int]:
    """Return how far each text was read; to its end if the record does not say.

    Texts may have been cut off, and what was left out may well hold the next word.
    """
    if offsets is None or segments is None:
        return [len(text) for text in texts]
    ends = [0] * len(texts)
    for span, segment in zip(offsets, segments, strict=True):
        if 0 <= segment < len(texts):
            ends[segment] = max(ends[segment], span["end"])
    return ends
