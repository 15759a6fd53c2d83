"""What the layers of a language model say of BLiMP's cases, by each way to read them.

Of a masked language model the logit of the good word at the mask is explained; of a causal one that
of the good word after the words before it, in the paradigms whose cue comes first. To texts of
causal models their token for the beginning is added where the tokenizer adds none, so that a
sentence's first word is not the sink that all others look at. `first` and `nearest` rank tokens by
where they stand, from the beginning and from the target.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normxlogit.errors import (
    InputError,
    ModelError,
    NormXLogitError,
    OptionError,
    UnsupportedHeadError,
)
from normxlogit.evaluation.benchmark.cases import Case, target_ids
from normxlogit.evaluation.metrics.plausibility import rationale_mask
from normxlogit.results.text import Attribution, Failure
from normxlogit.tasks import Task
from normxlogit.tasks.explainer import ModelExplainer
from normxlogit.text.words import Span

Floats = NDArray[np.float64]

SETS = ("text", "all")
"""Whose figures there are: of the words of the sentence, and of special tokens too, as in the
paper. The masked token is in neither.
"""
MADE_OF_LOGITS = (
    "normxlogit",
    "logat",
    "logat_foil",
    "normxlogit_contrast",
    "logat_contrast",
)
"""The readings whose scores have a sign: of the good word, of the bad one, of their difference."""
CONTEXT_MIXING = ("globenc", "alti", "value_zeroing")


@dataclass(frozen=True)
class Item:
    """A case as a model takes it.

    Attributes:
        case: what it is made of.
        text: with the mask, or up to the target.
        begin: the first character of the text that is of the sentence.
        cues: where the evidence is in the text.
        good, bad: the ids of the words.
    """

    case: Case
    text: str
    begin: int
    cues: tuple[Span, ...]
    good: int
    bad: int


@dataclass(frozen=True)
class Read:
    """What a model's layers say of an item.

    Attributes:
        scores: of each reading, [layers, tokens].
        evidence: bool [tokens].
        sets: which tokens are in each of `SETS`, bool [tokens].
        preferred: whether the good word has the higher logit.
    """

    scores: dict[str, Floats]
    evidence: NDArray[np.bool_]
    sets: dict[str, NDArray[np.bool_]]
    preferred: bool


def check_model(explainer: ModelExplainer) -> None:
    """Find out whether a model can be asked.

    Raises:
        ModelError: it is no masked or causal language model, has no mask token, or is asked for the
            next word after a special token that ends every text.
    """
    tokenizer = explainer.tokenizer
    kind = type(explainer.model).__name__
    if explainer.task not in (Task.MASK, Task.CAUSAL):
        raise ModelError(
            f"BLiMP is for masked and causal language models; {kind} is for {explainer.task.value}."
        )
    if explainer.task is Task.MASK and tokenizer.mask_token is None:
        raise ModelError(f"the tokenizer of this {kind} has no mask token to put a question with.")
    last = tokenizer("x")["input_ids"][-1]
    if explainer.task is Task.CAUSAL and last in tokenizer.all_special_ids:
        raise ModelError(
            f"the tokenizer of this {kind} ends texts with {tokenizer.decode([last])!r}, after "
            "which there is no next word to ask for. Load one that does not (add_eos_token=False)."
        )


def make_items(cases: Sequence[Case], explainer: ModelExplainer) -> list[Item]:
    """The cases that the model can be asked about: the words of the others are no single tokens,
    or their cue comes too late for a causal model.

    Raises:
        InputError: there are none.
        ModelError: the tokenizer does not tell where its tokens are.
    """
    tokenizer, is_causal = explainer.tokenizer, explainer.task is Task.CAUSAL
    start = tokenizer.bos_token or "" if is_causal else ""
    if start and tokenizer("x")["input_ids"][0] == tokenizer.bos_token_id:
        start = ""
    items = []
    for case in cases:
        ids = target_ids(case, tokenizer)
        if ids is None or (is_causal and not case.cue_comes_first):
            continue
        posed = case if is_causal else case.with_target(str(tokenizer.mask_token))
        text = case.prefix if is_causal else posed.text
        cues = tuple((a + len(start), b + len(start)) for a, b in posed.cues)
        items.append(Item(case, start + text, len(start), cues, *ids))
    if not items:
        raise InputError(
            f"none of {len(cases)} cases can be asked: the words are no single tokens of this "
            "model, or, of a causal one, the cue comes after the target."
        )
    return items


def same_words(items: Sequence[Item]) -> list[list[int]]:
    """The numbers of the items that have the same good and the same bad word, by these."""
    groups = defaultdict[tuple[int, int], list[int]](list)
    for number, item in enumerate(items):
        groups[item.good, item.bad].append(number)
    return list(groups.values())


def serving(explainer: ModelExplainer, item: Item) -> tuple[list[str], dict[str, str]]:
    """The methods of context mixing that serve the model, and why the others do not.

    Raises:
        InputError: the text is too long for the model.
        ModelError: the model's layers cannot be read.
    """
    try:
        _explained(explainer, [item], target=item.good)
    except (OptionError, UnsupportedHeadError) as error:
        raise ModelError(
            f"BLiMP is asked layer by layer, and the layers of this "
            f"{type(explainer.model).__name__} cannot be read, though its output may be: see "
            "`explain`."
        ) from error
    found, failed = list[str](), dict[str, str]()
    for name in CONTEXT_MIXING:
        try:
            explainer.explain(item.text, target=item.good, layer="all", **_options(name))
        except NormXLogitError as error:
            failed[name] = str(error)
        else:
            found.append(name)
    return found, failed


def read(explainer: ModelExplainer, items: Sequence[Item], methods: Sequence[str]) -> list[Read]:
    """All readings of items that have the same good and the same bad word, in their order.

    Raises:
        InputError: one is too long for the model.
        ModelError: the model cannot be explained.
    """
    good, bad = (
        _explained(explainer, items, target=number) for number in (items[0].good, items[0].bad)
    )
    others = {
        name: _explained(explainer, items, target=items[0].good, **_options(name))
        for name in ("norm", *methods)
    }
    return [
        _read(
            item,
            good[n],
            bad[n],
            {name: own[n].scores for name, own in others.items()},
            explainer.task is Task.CAUSAL,
        )
        for n, item in enumerate(items)
    ]


def _options(name: str) -> dict[str, Any]:
    """A method as `Explainer.explain` takes it: of context mixing single layers."""
    return {"method": name} if name == "norm" else {"method": name, "rollout": False}


def _explained(
    explainer: ModelExplainer, items: Sequence[Item], **options: Any
) -> list[Attribution]:
    """An attribution of every layer for each text."""
    found = explainer.explain([item.text for item in items], layer="all", batch_size=64, **options)
    for result in found:
        if isinstance(result, Failure):
            raise result.error
    return found


def _read(
    item: Item, one: Attribution, other: Attribution, scores: dict[str, Any], is_causal: bool
) -> Read:
    """The readings of the good word, of the bad one, and the scores of other methods."""
    assert one.logits is not None
    assert other.logits is not None
    assert one.norms is not None
    assert one.target.position is not None
    contrast = one.logits - other.logits
    place = one.target.position + is_causal
    numbers, shape = np.arange(len(one)), one.scores.shape
    readings = {
        "normxlogit": one.scores,
        "logat": one.logits,
        "logat_foil": other.logits,
        "normxlogit_contrast": one.norms * contrast,
        "logat_contrast": contrast,
        **scores,
        "first": np.broadcast_to(len(one) - numbers, shape),
        "nearest": np.broadcast_to(len(one) + 1 - abs(numbers - place), shape),
    }
    kept = numbers != place
    return Read(
        {name: own.astype(np.float64) for name, own in readings.items()},
        rationale_mask(one, [item.cues]),
        {"text": kept & (one.segments >= 0) & (one.offsets[:, 0] >= item.begin), "all": kept},
        one.target.logit > other.target.logit,
    )
