"""The parts of a text that are scored as one, and the games that heads play on them."""

from typing import Any

import pytest
import torch

from normxlogit.errors import OptionError
from normxlogit.methods.attribution_head.games import game_count, game_values
from normxlogit.methods.scores import UNLIKE, is_unlike
from normxlogit.methods.units import units_of
from normxlogit.model.targets import Problem
from normxlogit.text.token_lookup import NO_TEXT, TokenLookup

IDS = torch.tensor([[5, 6, 7], [8, 9, 5]])
WORDS = torch.tensor([[0, 0, 1], [-1, 0, 1]])
ALL = torch.ones(2, 3, dtype=torch.bool)


def test_units_of_tensors_are_tokens_or_numbers() -> None:
    unit: Any
    for unit in (None, "token"):
        assert units_of(unit, IDS, ALL, NO_TEXT).tolist() == [[0, 1, 2], [0, 1, 2]]
    assert torch.equal(units_of(WORDS, IDS, ALL, NO_TEXT), WORDS)
    assert torch.equal(units_of(WORDS[None].int(), IDS, ALL, NO_TEXT), WORDS.int())
    for unit in ("word", [(0, 1)]):
        with pytest.raises(OptionError, match="needs the text"):
            units_of(unit, IDS, ALL, NO_TEXT)


@pytest.mark.parametrize(
    "unit",
    [WORDS.float(), WORDS >= 0, WORDS[:, :2], WORDS[:1], WORDS - 1, torch.tensor(1)],
)
def test_what_are_no_units(unit: Any) -> None:
    with pytest.raises(OptionError, match=r"an integer from -1 for each of \[2, 3\] tokens"):
        units_of(unit, IDS, ALL, NO_TEXT)


def test_units_of_texts_are_what_the_tokenizer_says() -> None:
    asked: list[Any] = []

    def units(unit: Any) -> torch.Tensor:
        asked.append(unit)
        return WORDS

    lookup = TokenLookup(units, lambda _: 0, None)
    for unit in (None, "token", "sentence", [(0, 1)]):
        assert torch.equal(units_of(unit, IDS, ALL, lookup), WORDS)
    assert asked == ["word", "token", "sentence", [(0, 1)]]
    with pytest.raises(OptionError, match="for tensors without text only"):
        units_of(WORDS, IDS, ALL, lookup)


def test_padding_is_in_no_unit() -> None:
    mask = torch.tensor([[True, True, False], [True, True, True]])
    assert units_of("token", IDS, mask, NO_TEXT).tolist() == [[0, 1, -1], [0, 1, 2]]
    assert units_of(WORDS, IDS, mask, NO_TEXT).tolist() == [[0, 0, -1], [-1, 0, 1]]


def test_a_text_is_unlike_others_past_a_distance_of_one() -> None:
    assert is_unlike({}) is None
    for distances, is_far in (([], False), ([0.2, 1.0], False), ([0.2, 1.01], True)):
        assert is_unlike({UNLIKE: distances}) is is_far


def test_the_values_of_games() -> None:
    logits, whole = torch.tensor([[1.0, 3.0], [0.0, -2.0]]), torch.tensor([2.0, 3.0])
    for problem, values in (
        (Problem.SINGLE_LABEL, [[-1, 1], [1, -1]]),
        (Problem.MULTI_LABEL, [[1, 3], [0, -2]]),
        (Problem.REGRESSION, [[1, 3, -1, 0], [0, -2, -2, -5]]),
    ):
        assert game_values(logits, whole, problem).tolist() == values
        assert game_count(problem, 2) == len(values[0])
