"""BLiMP's pairs on number agreement, and the words that settle the number.

Each pair of sentences (Warstadt et al. 2020, BLiMP) differs in one word, the target; its number is
settled by another, the cue. The sentences are generated from templates, so that rules find the cue
without a parser; docs/blimp.md has the rules, and how far they were checked.
"""

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from normxlogit.data.location import address, locate, redacted
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
"""A noun phrase at the beginning: a determiner, the first part of a compound, the head."""

_LAST = re.compile(r"(?P<head>[A-Za-z]+)\.")


@dataclass(frozen=True)
class Case:
    """A grammatical sentence, and the word in it that another settles.

    Attributes:
        text: the sentence, contractions expanded.
        target: where the word is in which the sentences of the pair differ: its first character and
            last + 1.
        good, bad: that word in the grammatical and in the other sentence.
        cues: where the words are that settle its number, in the order of the text.
        paradigm: BLiMP's name for the kind of pair.
        row: how many rows of the paradigm's data are before it, if that is known.
    """

    text: str
    target: Span
    good: str
    bad: str
    cues: tuple[Span, ...]
    paradigm: str
    row: int | None = None

    def with_target(self, word: str) -> "Case":
        """The case with another word, such as the mask token, in the target's place."""
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
        """Whether what settles the target is all before it, as a causal model needs it."""
        return all(end <= self.target[0] for _, end in self.cues)


Rule = Callable[[str, Span], Span | None]
"""Takes a sentence and the target in it, and gives the cue; None if it is not of the template."""


def antecedent(text: str, target: Span) -> Span | None:
    """The head of the noun phrase, or the name, that the sentence begins with."""
    found = _HEAD.match(text)
    return found.span("head") if found and found.end() < target[0] else None


def subject(text: str, target: Span) -> Span | None:
    """The same, if the target, a verb, is the next word."""
    found = _HEAD.match(text)
    return found.span("head") if found and found.end() + 1 == target[0] else None


def relational_subject(text: str, target: Span) -> Span | None:
    """The same, if "of" or "about" is the next word: not the distractor between it and the verb."""
    found = _HEAD.match(text)
    if found is None or not re.match(r" (?:of|about) [A-Za-z ]+ $", text[found.end() : target[0]]):
        return None
    return found.span("head")


def determined_noun(text: str, target: Span) -> Span | None:
    """The last word of the sentence, which the noun phrase ends that the target, a determiner,
    begins.
    """
    found = _LAST.search(text)
    if found is None or found.end() != len(text) or found.start() <= target[1]:
        return None
    return found.span("head")


RULES: dict[str, Rule] = {
    "anaphor_number_agreement": antecedent,
    "determiner_noun_agreement_2": determined_noun,
    "determiner_noun_agreement_with_adj_2": determined_noun,
    "distractor_agreement_relational_noun": relational_subject,
    "regular_plural_subject_verb_agreement_1": subject,
}
"""The paradigms of Abbasi et al. 2025, and how the cue is found in each."""


def expand(sentence: str) -> str:
    """The sentence with "not" written out: "can't" is "cannot", "won't" "will not", ..."""
    for short, long in _CONTRACTIONS:
        sentence = sentence.replace(short, long)
    return sentence


def case_of(good: str, bad: str, paradigm: str) -> Case:
    """A pair of sentences as a case.

    Raises:
        InputError: there are no rules for the paradigm, or the pair does not fit them.
    """
    if paradigm not in RULES:
        raise InputError(f"there is no rule for {paradigm!r}; there are {', '.join(RULES)}.")
    good, bad = expand(good), expand(bad)
    words, others = good.split(" "), bad.split(" ")
    differing = [n for n, (a, b) in enumerate(zip(words, others, strict=False)) if a != b]
    if len(words) != len(others) or len(differing) != 1:
        raise InputError(f"{good!r} and {bad!r} do not differ in one word.")
    (number,) = differing
    start = len(" ".join(words[:number])) + (number > 0)
    one, other = (re.sub(r"\W+$", "", found[number]) for found in (words, others))
    target = (start, start + len(one))
    cue = RULES[paradigm](good, target)
    if cue is None:
        raise InputError(f"{good!r} is not of the template of {paradigm}: its cue is not known.")
    return Case(good, target, one, other, (cue,), paradigm)


def read_cases(source: str | Path, paradigm: str) -> tuple[list[Case], dict[str, Any]]:
    """The pairs of a paradigm as cases, in their order.

    Args:
        source: a folder, here or in a store, that has the paradigm's JSONL file; or the id of a
            data set on the Hub that has the paradigm as a subset, such as "nyu-mll/blimp", of which
            the split "train" is read.
        paradigm: BLiMP's name.

    Returns:
        The cases, and what tells the data from other data, as plain data for JSON.

    Raises:
        InputError: it cannot be read or is empty, or a row is no pair that fits the rules; the
            error says which.
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
    """Cases to train on and cases to test on, half of each paradigm, drawn by the seed.

    Which half a case is in depends on the cases of its own paradigm and their order alone. Of an
    odd number the test half has one more.
    """
    trained: set[int] = set()
    for paradigm in dict.fromkeys(case.paradigm for case in cases):
        own = [n for n, case in enumerate(cases) if case.paradigm == paradigm]
        random.Random(f"{seed} {paradigm}").shuffle(own)
        trained.update(own[: len(own) // 2])
    return (
        [case for n, case in enumerate(cases) if n in trained],
        [case for n, case in enumerate(cases) if n not in trained],
    )


def target_ids(case: Case, tokenizer: PreTrainedTokenizerBase) -> tuple[int, int] | None:
    """The ids that the good and the bad word have within the text; None if one of them is not a
    single known token.

    Raises:
        ModelError: the tokenizer does not tell where its tokens are.
    """
    if not tokenizer.is_fast:
        raise ModelError("the tokenizer has no character offsets: load one with a tokenizer.json.")
    found = []
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
        found.append(within[0][0])
    return found[0], found[1]
