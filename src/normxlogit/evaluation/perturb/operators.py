"""Perturbation operators: ways to hide parts of a text from a model.

Each builds the model's inputs for a text with some of its units hidden. None of them is neutral:
the model was hardly trained on such texts, so its output may be an artefact of the operator.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normxlogit.errors import InputError, OptionError
from normxlogit.evaluation.perturb.samples import Sample, hidden_tokens
from normxlogit.text.encoder import Encoder

Inputs = dict[str, NDArray[np.int64]]
"""The model's inputs for one text, by name, int64 [tokens]."""

Operator = Callable[[Sample, NDArray[np.bool_]], list[Inputs]]
"""Take a text and which of its units are hidden, bool [variants, units]; build each variant."""

EFFECTS = {
    "mask": "the mask token in place of each token, which the model knows from pretraining",
    "remove": "hidden by the attention mask: the others keep their positions, and a causal model "
    "still reads the state of its last token",
    "delete": "cut out of the text: the others move together, and the text may turn ungrammatical",
    "pad": "the padding token, attended to, which no model is trained to read",
    "unk": "the token for the unknown, which byte-level tokenizers never produce",
    "eos": "the end-of-text token, after which a causal model may take the text for another",
}
"""Names of operators and what each does; any other name is a token to replace hidden ones with."""


def find_operator(name: str | None, encoder: Encoder) -> tuple[str, Operator]:
    """Find an operator by name; None takes the mask token.

    Returns:
        Its name and the operator.

    Raises:
        OptionError: the tokenizer has no such token, or no mask token if no name is given.
    """
    if name is None:
        if encoder.mask_token is None:
            others = (f"{key}: {effect}" for key, effect in EFFECTS.items() if key != "mask")
            choices = "; ".join(others)
            raise OptionError(
                "this tokenizer has no mask token, so say how words are to be hidden "
                f"({choices}; or the text of a token that comes in their place)."
            )
        name = "mask"
    if name == "remove":
        return name, remove
    if name == "delete":
        return name, deletion(encoder)
    token = encoder.special_id(name) if name in EFFECTS else encoder.id_of(name)
    return name, replacement(token)


def hiding_of(encoder: Encoder, sample: Sample) -> str:
    """Choose how words are hidden: behind the mask token, else by the attention mask.

    Where the tokenizer adds no token of its own, the attention mask would hide all there is once
    every word is hidden; then the end-of-text token comes in their place.
    """
    if encoder.mask_token is not None:
        return "mask"
    return "remove" if bool((sample.units < 0).any()) else "eos"


def describe_operator(name: str) -> str:
    """Describe what the operator of this name does to a text."""
    return EFFECTS.get(name, "that token in place of each")


def replacement(token: int) -> Operator:
    """Replace each hidden token with `token`."""

    def replace(sample: Sample, hidden: NDArray[np.bool_]) -> list[Inputs]:
        inputs = arrays(sample)
        ids = np.where(hidden_tokens(sample, hidden), token, inputs["input_ids"])
        return [{**inputs, "input_ids": row} for row in ids]  # ids: [variants, tokens]

    return replace


def remove(sample: Sample, hidden: NDArray[np.bool_]) -> list[Inputs]:
    """Hide tokens by the attention mask; the others keep their positions.

    Raises:
        InputError: no token would be left.
    """
    inputs = arrays(sample)
    masks = np.where(hidden_tokens(sample, hidden), 0, inputs["attention_mask"])
    if not masks.any(1).all():  # a softmax over nothing is nan, or uniform over hidden tokens
        raise InputError(
            f"row {sample.number}: hiding every token leaves the model nothing to read. Put a "
            "token in their place instead."
        )
    return [{**inputs, "attention_mask": row} for row in masks]


def deletion(encoder: Encoder) -> Operator:
    """Cut hidden units out of the text and tokenize the rest again."""

    def delete(sample: Sample, hidden: NDArray[np.bool_]) -> list[Inputs]:
        # Cut from the texts as far as they were read: tokens that were truncated away would
        # otherwise move up into the window as others are cut out.
        whole = sample.texts_read()
        spans = [sample.span(np.flatnonzero(sample.units == n)) for n in range(sample.count)]
        variants = []
        for row in hidden:
            texts = without(whole, [spans[n] for n in np.flatnonzero(row)])
            inputs = encoder.inputs_of(texts)
            if not inputs["input_ids"]:
                raise InputError(
                    f"row {sample.number}: deleting every word leaves the model nothing to read. "
                    "Put a token in their place instead."
                )
            variants.append({name: np.array(values, np.int64) for name, values in inputs.items()})
        return variants

    return delete


def without(texts: Sequence[str], spans: Sequence[tuple[int, int, int]]) -> list[str]:
    """Cut spans (number of the text, first character, last + 1) out of texts.

    Spans may overlap. Where a cut leaves two spaces side by side, one of them goes too.
    """
    results = []
    for number, text in enumerate(texts):
        # From the last span to the first, so that the offsets of those to come still hold. `cut`
        # is where the previous cut began: an overlapping span must not reach beyond it again.
        cut = len(text)
        for _, start, end in sorted((s for s in spans if s[0] == number), reverse=True):
            before, after = text[:start], text[min(end, cut) :]
            space = " " * (before.endswith(" ") or after.startswith(" "))
            text, cut = before.rstrip(" ") + space + after.lstrip(" "), start
        results.append(text.strip(" "))
    return results


def arrays(sample: Sample) -> Inputs:
    """The model's inputs for the whole text, as arrays."""
    inputs: dict[str, Any] = sample.inputs
    return {name: np.array(values, np.int64) for name, values in inputs.items()}
