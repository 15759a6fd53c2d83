"""Which words push a target: a mean held against that of all words, and a frequency likewise.

A list by means alone is led by rare words with one extreme score, and where nothing stands out by
function words and scraps of the tokenizer, which every text has. So a word is listed if

- its mean is above that of all words by more than chance makes it, and by more than a trifle: the
  lower end of the 95% interval of the difference, its lead, is above `LEAST` standard deviations
  of all scores. The variance of few scores is itself a poor estimate, so it is drawn towards that
  within all words, as a prior of `PRIOR` scores would;
- and, where each text was explained for one of several targets, it occurs with no other target, or
  with this one more often than the target's share of all words lets expect, by more than one
  standard error. What every text has, occurs everywhere by that share.
"""

import math
from collections import Counter

from normxlogit.corpus.summaries.findings import ClassWords, Word
from normxlogit.corpus.summaries.tally import Scores, WordTally

PRIOR = 4
"""How many scores the variance within all words counts as, beside those of a word itself."""
LEAST = 0.2
"""The least lead in standard deviations of all scores: what is called a small effect."""
_INTERVAL = 1.96


def leading_words(
    tally: WordTally, explained: int, top: int, min_count: int | None
) -> tuple[ClassWords, ...]:
    """Choose the words of each target, the targets with most records first.

    Args:
        tally: the scores.
        explained: the number of rows that were explained.
        top: how many words of a target are listed at most.
        min_count: how often a word must occur with a target. Without it 5, or once for every 1000
            records of the target, if that is more.
    """
    # With several targets for a text each has the same words, and frequencies say nothing.
    by_frequency = len(tally.records) > 1 and tally.records.total() == explained
    corpus: Counter[str] = Counter()
    for words in tally.words.values():
        corpus.update({word: scores.count for word, scores in words.items()})
    return tuple(
        _of_target(
            target,
            records,
            tally.words.get(target, {}),
            corpus,
            by_frequency,
            top,
            min_count or max(5, math.ceil(records / 1000)),
        )
        for target, records in tally.records.most_common()
    )


def _of_target(
    target: str | None,
    records: int,
    words: dict[str, Scores],
    corpus: Counter[str],
    by_frequency: bool,
    top: int,
    least: int,
) -> ClassWords:
    together = Scores()
    for scores in words.values():
        together.add(scores)
    share = together.count / (corpus.total() or 1)
    variance = _variance_within(words, together)
    least_lead = LEAST * math.sqrt(together.deviation / (together.count or 1))
    eligible = {word: scores for word, scores in words.items() if scores.count >= least}
    leading = [
        Word(word, scores.mean, lead, scores.count, corpus[word])
        for word, scores in eligible.items()
        if (lead := _lead(scores, together.mean, variance)) > least_lead
        and (not by_frequency or _is_more_frequent(scores.count, corpus[word], share))
    ]
    leading.sort(key=lambda word: (-word.lead, -word.count, word.word))
    mean = together.mean if together.count else None
    return ClassWords(
        target,
        records,
        mean,
        least,
        len(eligible),
        by_frequency,
        len(leading),
        tuple(leading[:top]),
    )


def _variance_within(words: dict[str, Scores], together: Scores) -> float:
    """The variance of scores about the means of their words; if no word occurs twice, about the
    mean of all.
    """
    degrees = together.count - len(words)
    if degrees:
        return sum(scores.deviation for scores in words.values()) / degrees
    return together.deviation / together.count if together.count else 0.0


def _lead(scores: Scores, mean: float, variance: float) -> float:
    """The lower end of the interval of a word's mean less that of all words."""
    shrunk = (scores.deviation + PRIOR * variance) / (scores.count - 1 + PRIOR)
    return scores.mean - mean - _INTERVAL * math.sqrt(shrunk / scores.count)


def _is_more_frequent(count: int, corpus_count: int, share: float) -> bool:
    """Whether a word occurs with no other target than this one, which has this share of all words,
    or more often with it than chance lets it, by one standard error of a binomial distribution.
    """
    # Where nearly all words are of one target, a rare word cannot be more frequent there than that.
    error = math.sqrt(corpus_count * share * (1 - share))
    return count == corpus_count or count - corpus_count * share > error
