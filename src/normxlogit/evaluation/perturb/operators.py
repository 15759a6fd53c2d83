"""Ways to hide parts of a text from a model.

Each makes what the model takes of a text, some of whose units are hidden. None of them is neutral:
the model was hardly trained on any such text, and what it says may be due to that.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from normxlogit.errors import InputError, OptionError
from normxlogit.evaluation.perturb.samples import Sample, tokens_hidden
from normxlogit.text.encoder import Encoder

Inputs = dict[str, NDArray[np.int64]]
"""What a model takes of a text, by name, int64 [tokens]."""

Operator = Callable[[Sample, NDArray[np.bool_]], list[Inputs]]
"""Takes a text and which of its units are hidden, bool [variants, units]; gives each variant."""

EFFECTS = {
    "mask": "the mask token in place of each token, which the model knows from pretraining",
    "remove": "hidden by the attention mask: the others keep their positions, and a causal model "
    "still reads the state of its last token",
    "delete": "cut out of the text: the others move together, and the text may turn ungrammatical",
    "pad": "the padding token, attended to, which no model is trained to read",
    "unk": "the token for the unknown, which byte-level tokenizers never produce",
    "eos": "the end-of-text token, after which a causal model may take the text for another",
}
"""Names of operators, and what each does; any other name is a token that comes in place of those
that are hidden.
"""


def find_operator(name: str | None, encoder: Encoder) -> tuple[str, Operator]:
    """The operator of that name, and its name; without one the mask token, if there is one.

    Raises:
        OptionError: there is no such token; or none is named, and there is no mask token.
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
    special = {key: getattr(encoder.tokenizer, f"{key}_token_id") for key in ("unk", "eos")}
    special |= {"mask": encoder.tokenizer.mask_token_id, "pad": encoder.tokenizer.pad_token_id}
    if name in special and special[name] is None:
        raise OptionError(f"this tokenizer has no {name} token. Choose another way to hide words.")
    return name, replacement(special[name] if name in special else encoder.id_of(name))


def describe_operator(name: str) -> str:
    """What the operator of that name does."""
    return EFFECTS.get(name, "that token in place of each")


def replacement(token: int) -> Operator:
    """A token comes in place of each that is hidden."""

    def replace(sample: Sample, hidden: NDArray[np.bool_]) -> list[Inputs]:
        own = arrays(sample)
        ids = np.where(tokens_hidden(sample, hidden), token, own["input_ids"])
        return [{**own, "input_ids": row} for row in ids]

    return replace


def remove(sample: Sample, hidden: NDArray[np.bool_]) -> list[Inputs]:
    """Hidden tokens stay where they are, and the attention mask tells the model not to read them.

    Raises:
        InputError: no token would be left.
    """
    own = arrays(sample)
    masks = np.where(tokens_hidden(sample, hidden), 0, own["attention_mask"])
    if not masks.any(1).all():
        raise InputError(
            f"row {sample.number}: hiding every token leaves the model nothing to read. Put a "
            "token in their place instead."
        )
    return [{**own, "attention_mask": row} for row in masks]


def deletion(encoder: Encoder) -> Operator:
    """Hidden units are cut out of the text, which is tokenised anew."""

    def delete(sample: Sample, hidden: NDArray[np.bool_]) -> list[Inputs]:
        whole = sample.texts_read()
        spans = [sample.span(np.flatnonzero(sample.units == n)) for n in range(sample.count)]
        found = []
        for row in hidden:
            texts = without(whole, [spans[n] for n in np.flatnonzero(row)])
            inputs = encoder.inputs_of(texts)
            if not inputs["input_ids"]:
                raise InputError(
                    f"row {sample.number}: deleting every word leaves the model nothing to read. "
                    "Put a token in their place instead."
                )
            found.append({name: np.array(values, np.int64) for name, values in inputs.items()})
        return found

    return delete


def without(texts: Sequence[str], spans: Sequence[tuple[int, int, int]]) -> list[str]:
    """Texts without some characters, which several spans may hold, and without the double spaces
    that this leaves.
    """
    found = []
    for number, text in enumerate(texts):
        cut = len(text)
        for _, start, end in sorted((s for s in spans if s[0] == number), reverse=True):
            before, after = text[:start], text[min(end, cut) :]
            space = " " * (before.endswith(" ") or after.startswith(" "))
            text, cut = before.rstrip(" ") + space + after.lstrip(" "), start
        found.append(text.strip(" "))
    return found


def arrays(sample: Sample) -> Inputs:
    """What the model takes of a text as it is."""
    inputs: dict[str, Any] = sample.inputs
    return {name: np.array(values, np.int64) for name, values in inputs.items()}
