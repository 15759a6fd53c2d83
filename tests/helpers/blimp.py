"""Names of BLiMP's paradigms, and tiny language models to read them with."""

from typing import Any

import tokenizers

from normxlogit import Explainer
from normxlogit.evaluation.benchmark.cases import Case
from normxlogit.evaluation.benchmark.readings import (
    Item,
    Read,
    group_by_words,
    read,
    supported_methods,
)
from normxlogit.evaluation.benchmark.scores import build_results, score_items
from tests.helpers.builders import tokenizer
from tests.helpers.zoo import tiny_model

ANAPHOR, NOUN, ADJECTIVE, DISTRACTOR, VERB = (
    "anaphor_number_agreement",
    "determiner_noun_agreement_2",
    "determiner_noun_agreement_with_adj_2",
    "distractor_agreement_relational_noun",
    "regular_plural_subject_verb_agreement_1",
)


def target_and_cues(case: Case) -> tuple[str, list[str]]:
    """The target and the cues, as they stand in the text."""
    return case.text[slice(*case.target)], [case.text[slice(*cue)] for cue in case.cues]


def language_model(kind: str = "bert") -> Explainer:
    """A random model of two layers: a masked one, but for Llama.

    RoBERTa's mask takes the space before it.
    """
    if kind == "llama":
        words = tokenizer(add_eos=False)
    elif kind == "roberta":
        words = tokenizer("bpe", mask_token="<mask>")
        mask = tokenizers.AddedToken("<mask>", lstrip=True, special=True)
        words.backend_tokenizer.add_special_tokens([mask])
        assert words.tokenize("a <mask>")[-1] == " <mask>"
    else:
        words = tokenizer(mask_token="<mask>")
    mapping = "causal-lm" if kind == "llama" else "masked-lm"
    return Explainer(tiny_model(kind, 3, mapping=mapping, vocab_size=len(words)), words)


def alignment_results(explainer: Explainer, items: list[Item]) -> dict[str, Any]:
    """The results that `blimp` would give for these items."""
    methods, _ = supported_methods(explainer, items[0])
    reads = dict[int, Read]()
    for numbers in group_by_words(items):
        readings = read(explainer, [items[n] for n in numbers], methods)
        reads.update(zip(numbers, readings, strict=True))
    return build_results(score_items(items, sorted(reads), [reads[n] for n in sorted(reads)], 0), 0)
