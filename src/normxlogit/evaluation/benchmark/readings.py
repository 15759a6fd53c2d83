"""Readings of BLiMP's cases: scores of their tokens from each layer of a language model.

For masked language models the logit of the good word at the mask is explained; for causal ones that
of the good word after its prefix, in paradigms whose cue comes first. If the tokenizer of a causal
model adds no beginning-of-text token, it is added here, so that the first word of the sentence does
not become the attention sink. `first` and `nearest` rank tokens by position alone, from the start
of the text and by distance to the target.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normxlogit.data.option_checks import check_type
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
"""Sets of tokens that are evaluated: the words of the sentence, or special tokens as well, as in
the paper. The masked token is in neither.
"""
SIGNED = (
    "normxlogit",
    "logat",
    "logat_foil",
    "normxlogit_contrast",
    "logat_contrast",
)
"""Readings with signed scores: of the good word, the bad one, and their difference."""
CONTEXT_MIXING = ("globenc", "alti", "value_zeroing")


@dataclass(frozen=True)
class Item:
    """A case as input of a model.

    Attributes:
        case: the case.
        text: the sentence with the mask, or up to the target.
        begin: the first character of the sentence in the text.
        cues: the spans of the evidence in the text.
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
    """All readings of an item.

    Attributes:
        scores: the scores of each reading, [layers, tokens].
        evidence: the tokens of the cues, bool [tokens].
        sets: the tokens in each of `SETS`, bool [tokens].
        preferred: whether the good word has the higher logit.
    """

    scores: dict[str, Floats]
    evidence: NDArray[np.bool_]
    sets: dict[str, NDArray[np.bool_]]
    preferred: bool


def check_model(explainer: ModelExplainer) -> None:
    """Check that a model can be asked for the target.

    Raises:
        ModelError: it is neither a masked nor a causal language model, has no mask token, or would
            be asked for the next word after a special token that ends every text.
    """
    check_type("explainer", explainer, ModelExplainer)
    tokenizer = explainer.tokenizer
    kind = type(explainer.model).__name__
    if explainer.task not in (Task.MASK, Task.CAUSAL):
        raise ModelError(
            f"BLiMP is for masked and causal language models; {kind} is for {explainer.task.value}."
        )
    if explainer.task is Task.MASK and tokenizer.mask_token is None:
        raise ModelError(
            f"the tokenizer of this {kind} has no mask token to put in the target's place."
        )
    last = tokenizer("x")["input_ids"][-1]
    if explainer.task is Task.CAUSAL and last in tokenizer.all_special_ids:
        raise ModelError(
            f"the tokenizer of this {kind} ends texts with {tokenizer.decode([last])!r}, after "
            "which there is no next word to ask for. Load one that does not (add_eos_token=False)."
        )


def make_items(cases: Sequence[Case], explainer: ModelExplainer) -> list[Item]:
    """Make items of the cases that the model can be asked about.

    In the others the words are not single tokens, or the cue comes too late for a causal model.

    Raises:
        InputError: none are left.
        ModelError: the tokenizer has no character offsets.
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
            f"none of {len(cases)} cases can be asked: the words are not single tokens of this "
            "model, or, for a causal one, the cue comes after the target."
        )
    return items


def group_by_words(items: Sequence[Item]) -> list[list[int]]:
    """Group the numbers of items by their good and bad word.

    The items of a group have the same targets, so that they are explained in batches.
    """
    groups = defaultdict[tuple[int, int], list[int]](list)
    for number, item in enumerate(items):
        groups[item.good, item.bad].append(number)
    return list(groups.values())


def supported_methods(explainer: ModelExplainer, item: Item) -> tuple[list[str], dict[str, str]]:
    """Try the context-mixing methods on an item.

    Returns:
        The methods that serve the model, and why each of the others does not.

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
    supported, failed = list[str](), dict[str, str]()
    for name in CONTEXT_MIXING:
        try:
            explainer.explain(item.text, target=item.good, layer="all", **_options(name))
        except NormXLogitError as error:
            failed[name] = str(error)
        else:
            supported.append(name)
    return supported, failed


def read(explainer: ModelExplainer, items: Sequence[Item], methods: Sequence[str]) -> list[Read]:
    """Compute all readings of items with the same good and the same bad word, in their order.

    Raises:
        InputError: a text is too long for the model.
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
            {name: attributions[n].scores for name, attributions in others.items()},
            explainer.task is Task.CAUSAL,
        )
        for n, item in enumerate(items)
    ]


def _options(name: str) -> dict[str, Any]:
    """The options of `Explainer.explain` for a method; context mixing without rollout."""
    return {"method": name} if name == "norm" else {"method": name, "rollout": False}


def _explained(
    explainer: ModelExplainer, items: Sequence[Item], **options: Any
) -> list[Attribution]:
    """Explain each text at every layer."""
    texts = [item.text for item in items]
    attributions = []
    for result in explainer.explain(texts, layer="all", batch_size=64, **options):
        if isinstance(result, Failure):
            raise result.error
        attributions.append(result)
    return attributions


def _read(
    item: Item, good: Attribution, bad: Attribution, scores: dict[str, Any], is_causal: bool
) -> Read:
    """Combine the attributions of the good and the bad word with the scores of other methods."""
    assert good.logits is not None
    assert bad.logits is not None
    assert good.norms is not None
    assert good.target.position is not None
    contrast = good.logits - bad.logits  # [layers, tokens]
    # A causal model predicts the target at the token before it.
    target = good.target.position + is_causal
    positions, shape = np.arange(len(good)), good.scores.shape
    readings = {
        "normxlogit": good.scores,
        "logat": good.logits,
        "logat_foil": bad.logits,
        "normxlogit_contrast": good.norms * contrast,
        "logat_contrast": contrast,
        **scores,
        "first": np.broadcast_to(len(good) - positions, shape),
        "nearest": np.broadcast_to(len(good) + 1 - abs(positions - target), shape),
    }
    kept = positions != target
    in_sentence = (good.segments >= 0) & (good.offsets[:, 0] >= item.begin)
    return Read(
        {name: values.astype(np.float64) for name, values in readings.items()},
        rationale_mask(good, [item.cues]),
        {"text": kept & in_sentence, "all": kept},
        good.target.logit > bad.target.logit,
    )
