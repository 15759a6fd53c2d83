"""BLiMP's pairs on number agreement, and the words that determine the number.

The sentences of a pair (Warstadt et al. 2020, BLiMP) differ in one word, the target; another word,
the cue, determines its number. Sentences are generated from templates, so rules find the cue
without a parser; docs/blimp.md has the rules and how they were checked.
"""

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from normxlogit.data.location import address, locate, redacted
from normxlogit.data.option_checks import check_type
from normxlogit.data.rows import Columns
from normxlogit.data.source import read_rows
from normxlogit.errors import InputError, ModelError
from normxlogit.text.words import Span

_CONTRACTIONS = (("can't", "cannot"), ("won't", "will not"), ("n't", " not"))

_HEAD = re.compile(
    r"(?:(?:A lot of|A|An|All|Every|Many|Most|Some|That|The|These|This|Those) )?"
    r"(?:art (?=galler)|college (?=campus)|[Cc]urrent (?=events)|grocery (?=store)|"
    r"Great (?=Lakes)|Harvard (?=University)|high (?=school)|movie (?=theater)|"
    r"newspaper (?=article)|public (?=park)|Winston (?=Churchill))?"
    r"(?P<head>[A-Za-z]+)(?= )"
)
"""A noun phrase at the start of a sentence: determiner, first part of a compound, head."""

_LAST = re.compile(r"(?P<head>[A-Za-z]+)\.")


@dataclass(frozen=True)
class Case:
    """A grammatical sentence with its target and cues.

    Attributes:
        text: the sentence, contractions expanded.
        target: the span of the word in which the sentences of the pair differ: its first character
            and last + 1.
        good, bad: that word in the grammatical and in the other sentence.
        cues: the spans of the words that determine its number, in the order of the text.
        paradigm: BLiMP's name for the kind of pair.
        row: its row in the paradigm's data, from 0; None if unknown.
    """

    text: str
    target: Span
    good: str
    bad: str
    cues: tuple[Span, ...]
    paradigm: str
    row: int | None = None

    def with_target(self, word: str) -> "Case":
        """Replace the target with another word, such as the mask token."""
        start, end = self.target
        moved = len(word) - (end - start)
        return replace(
            self,
            text=self.text[:start] + word + self.text[end:],
            target=(start, end + moved),
            cues=tuple((a + moved, b + moved) if a >= end else (a, b) for a, b in self.cues),
        )

    @property
    def prefix(self) -> str:
        """The text before the target, without the space between them."""
        return self.text[: self.target[0]].rstrip()

    @property
    def cue_comes_first(self) -> bool:
        """Whether all cues precede the target, as a causal model needs."""
        return all(end <= self.target[0] for _, end in self.cues)


Rule = Callable[[str, Span], Span | None]
"""Take a sentence and its target; return the cue, or None if the template does not match."""


def antecedent(text: str, target: Span) -> Span | None:
    """Find the head of the noun phrase, or the name, that starts the sentence."""
    phrase = _HEAD.match(text)
    return phrase.span("head") if phrase and phrase.end() < target[0] else None


def subject(text: str, target: Span) -> Span | None:
    """As `antecedent`, if the target, a verb, is the next word."""
    phrase = _HEAD.match(text)
    return phrase.span("head") if phrase and phrase.end() + 1 == target[0] else None


def relational_subject(text: str, target: Span) -> Span | None:
    """As `antecedent`, if "of" or "about" is the next word; skip the distractor before the verb."""
    phrase = _HEAD.match(text)
    if phrase is None:
        return None
    between = text[phrase.end() : target[0]]
    return phrase.span("head") if re.match(r" (?:of|about) [A-Za-z ]+ $", between) else None


def determined_noun(text: str, target: Span) -> Span | None:
    """Find the last word of the sentence, the noun that the target, a determiner, belongs to."""
    last = _LAST.search(text)
    if last is None or last.end() != len(text) or last.start() <= target[1]:
        return None
    return last.span("head")


RULES: dict[str, Rule] = {
    "anaphor_number_agreement": antecedent,
    "determiner_noun_agreement_2": determined_noun,
    "determiner_noun_agreement_with_adj_2": determined_noun,
    "distractor_agreement_relational_noun": relational_subject,
    "regular_plural_subject_verb_agreement_1": subject,
}
"""The paradigms of Abbasi et al. 2025, and the rule that finds the cue in each."""


def expand(sentence: str) -> str:
    """Write "not" out: "can't" becomes "cannot", "won't" "will not", ..."""
    for short, long in _CONTRACTIONS:
        sentence = sentence.replace(short, long)
    return sentence


def case_of(good: str, bad: str, paradigm: str) -> Case:
    """Make a case of a pair of sentences.

    Raises:
        InputError: there is no rule for the paradigm, or it does not match the pair.
        OptionError: one of them is no text.
    """
    for name, text in (("good", good), ("bad", bad), ("paradigm", paradigm)):
        check_type(name, text, str)
    if paradigm not in RULES:
        raise InputError(f"there is no rule for {paradigm!r}; there are {', '.join(RULES)}.")
    good, bad = expand(good), expand(bad)
    words, others = good.split(" "), bad.split(" ")
    differing = [n for n, (a, b) in enumerate(zip(words, others, strict=False)) if a != b]
    if len(words) != len(others) or len(differing) != 1:
        raise InputError(f"{good!r} and {bad!r} do not differ in one word.")
    (number,) = differing
    start = len(" ".join(words[:number])) + (number > 0)
    right, wrong = (re.sub(r"\W+$", "", sentence[number]) for sentence in (words, others))
    target = (start, start + len(right))
    cue = RULES[paradigm](good, target)
    if cue is None:
        raise InputError(
            f"{good!r} does not match the template of {paradigm}, so its cue is unknown."
        )
    return Case(good, target, right, wrong, (cue,), paradigm)


def read_cases(source: str | Path, paradigm: str) -> tuple[list[Case], dict[str, Any]]:
    """Read the pairs of a paradigm as cases, in their order.

    Args:
        source: a folder, local or in a store, with the paradigm's JSONL file; or the id of a data
            set on the Hub with the paradigm as a subset, such as "nyu-mll/blimp", whose split
            "train" is read.
        paradigm: BLiMP's name.

    Returns:
        The cases, and what identifies the data, as plain data for JSON.

    Raises:
        InputError: the source cannot be read or is empty, or a row is no pair that the rules match;
            the error names the row.
    """
    columns, place = Columns("sentence_good", "sentence_bad"), locate(source)
    if place.exists():
        file = address(place / f"{paradigm}.jsonl")
        rows, data = read_rows(file, columns, subset=None, split=None, strict=True)
    else:
        rows, data = read_rows(source, columns, subset=paradigm, split="train", strict=True)
    cases = []
    for row in rows:
        try:
            if row.bad is not None:
                raise InputError(row.bad.why)
            case = case_of(str(row.text), str(row.pair), paradigm)
            cases.append(replace(case, row=row.number))
        except InputError as error:
            why = str(error).rstrip(".")
            raise InputError(f"{paradigm}, row {row.number}: {why}.") from error
    if not cases:
        raise InputError(f"there are no pairs of {paradigm} in {redacted(source)}.")
    assert data is not None
    return cases, dict(data)


def halves(cases: Sequence[Case], seed: int = 0) -> tuple[list[Case], list[Case]]:
    """Split cases into a training and a test half of each paradigm, drawn by the seed.

    Which half a case is in depends only on the cases of its own paradigm and their order. The test
    half has one more if the number is odd.
    """
    training: set[int] = set()
    for paradigm in dict.fromkeys(case.paradigm for case in cases):
        numbers = [n for n, case in enumerate(cases) if case.paradigm == paradigm]
        random.Random(f"{seed} {paradigm}").shuffle(numbers)
        training.update(numbers[: len(numbers) // 2])
    return (
        [case for n, case in enumerate(cases) if n in training],
        [case for n, case in enumerate(cases) if n not in training],
    )


def target_ids(case: Case, tokenizer: PreTrainedTokenizerBase) -> tuple[int, int] | None:
    """Find the ids of the good and the bad word in the text.

    Returns:
        None unless each is a single known token.

    Raises:
        ModelError: the tokenizer has no character offsets.
    """
    if not tokenizer.is_fast:
        raise ModelError("the tokenizer has no character offsets: load one with a tokenizer.json.")
    ids = []
    for word in (case.good, case.bad):
        full = case.with_target(word)
        start, end = full.target
        encoded: Any = tokenizer(full.text, return_offsets_mapping=True)
        within = [
            (number, full.text[a:b].strip())
            for number, (a, b) in zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
            if a < end and b > start
        ]
        if len(within) != 1 or within[0][1] != word or within[0][0] == tokenizer.unk_token_id:
            return None
        ids.append(within[0][0])
    return ids[0], ids[1]
