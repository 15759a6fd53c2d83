"""How many tokens may be generated: as many as the model has positions for, however it is said."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from transformers import GenerationConfig

import normxlogit as nxl
from tests.helpers.assertions import as_generation
from tests.helpers.models import explainer_with_head, tokenizer_with_mask

PROMPT = "A great movie."
POSITIONS = 24
Options = dict[str, Any]


def configured(**options: Any) -> Options:
    return {"generation_config": GenerationConfig(**options)}  # type: ignore[no-untyped-call]


WAYS: dict[str, Callable[[int, int], Options]] = {
    "max_new_tokens": lambda _, count: {"max_new_tokens": count},
    "max_length": lambda before, count: {"max_length": before + count},
    "configured max_new_tokens": lambda _, count: configured(max_new_tokens=count),
    "configured max_length": lambda before, count: configured(max_length=before + count),
    "numpy": lambda _, count: {"max_new_tokens": np.int64(count)},
}
"""Ways to ask for `count` tokens after the `before` ones that the model is fed first."""


def talker(mapping: str) -> tuple[nxl.Explainer, int]:
    """A random model of few positions that never ends, and the tokens that it is fed at first."""
    if mapping == "causal-lm":
        words = tokenizer_with_mask("bpe", is_open=True)
        explainer = explainer_with_head("gpt2", mapping, words, max_position_embeddings=POSITIONS)
        before = len(explainer.encoder().encode(PROMPT))
    else:
        explainer = explainer_with_head("bart", mapping, max_position_embeddings=POSITIONS)
        before = 1
    model: Any = explainer.model
    model.generation_config.eos_token_id = model.generation_config.forced_eos_token_id = None
    return nxl.Explainer(model, explainer.tokenizer), before


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("mapping", ["causal-lm", "seq2seq-lm"])
def test_all_positions_may_be_used_and_no_more(mapping: str, way: str) -> None:
    explainer, before = talker(mapping)
    room = POSITIONS - before if mapping == "causal-lm" else POSITIONS
    result = as_generation(explainer.generate(PROMPT, **WAYS[way](before, room)))
    assert len(result.targets) == room
    says = rf"{room + 1} are to be generated.*takes {POSITIONS} in all.*by max_new_tokens\.$"
    for call in (explainer.generate, explainer.generate_stream):
        with pytest.raises(nxl.InputError, match=says):
            call(PROMPT, **WAYS[way](before, room + 1))


def test_a_length_that_comes_with_the_model_is_nobodys_request() -> None:
    explainer, _ = talker("causal-lm")
    model: Any = explainer.model
    free = explainer.generate(PROMPT, max_new_tokens=1)
    model.generation_config.max_length = 1000
    model.generation_config.eos_token_id = free.targets[0].id
    assert len(explainer.generate(PROMPT).targets) == 1


@pytest.mark.parametrize("name", ["max_length", "max_new_tokens", "num_beams"])
@pytest.mark.parametrize("value", [True, np.True_, 0, -1, 2.5, float("nan"), "5", [3]])
def test_a_length_is_a_whole_number(name: str, value: Any) -> None:
    explainer, _ = talker("causal-lm")
    with pytest.raises(nxl.OptionError, match=f"^{name} must be a whole number from 1, got"):
        explainer.generate(PROMPT, **{name: value})


def test_a_generation_config_is_transformers_own() -> None:
    explainer, _ = talker("causal-lm")
    for call in (explainer.generate, explainer.generate_stream):
        with pytest.raises(nxl.OptionError, match=r"transformers\.GenerationConfig, got dict"):
            call(PROMPT, generation_config={"max_new_tokens": 3})
