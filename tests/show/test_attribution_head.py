"""How terminal and page show scores that add up, and a text unlike those of the head."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from normxlogit import Attribution
from normxlogit.methods.scores import UNLIKE
from normxlogit.show.dispatch import page, plain
from tests.helpers.pages import HTMLReader
from tests.helpers.results import GOOD_BAD, word_attribution

HEAD = {
    "identity": "0" * 64,
    "fitted_on": {"sha256": "1" * 64, "texts": 2000, "rows": 3000},
    "held_out": {"texts": 200},
}


def explained(
    scores: Any = (4.0, 0.5, -2.0),
    *,
    base: tuple[float, ...] = (-1.25,),
    distance: float = 0.5,
    **options: Any,
) -> Attribution:
    """A result of an attribution head, in which special tokens have no score."""
    usual = {"readout": "centered", "of_output": True, "method": "attribution_head"}
    usual["options"] = {"head": HEAD}
    shown = word_attribution("good but bad", list(scores), **{**usual, **options})
    scored = np.where(shown.special, np.nan, shown.scores).astype(np.float32)
    notes = {UNLIKE: (distance,) * len(base)}
    return replace(shown, scores=scored, base=base, notes=notes)


def views(result: Attribution) -> list[str]:
    """What terminal and page say, with lines joined."""
    reader = HTMLReader(page([result]))
    return [" ".join(text.split()) for text in (plain(result), reader.text())]


def test_scores_and_base_value_add_up() -> None:
    for view in views(explained()):
        assert (
            "base value −1.25, good +4.00, bad −2.00, but +0.50 = +1.25, the centred logit of "
            "POSITIVE" in view
        )
    for view in views(GOOD_BAD):
        assert "base value" not in view


def test_each_target_has_its_sum() -> None:
    both = explained(
        [[4.0, 0.5, -2.0], [-4.0, -0.5, 2.0]],
        base=(-1.25, 1.25),
        explained=(1, 0),
        axes=("target",),
    )
    for view in views(both):
        assert "but +0.50 = +1.25, the centred logit of POSITIVE" in view
        assert "base value +1.25, good −4.00, bad +2.00, but −0.50 = −1.25, the centred" in view


def test_the_sum_says_what_is_contrasted_and_what_a_regression_is() -> None:
    for view in views(explained(contrast="NEGATIVE")):
        assert "= +1.25, the centred logit of POSITIVE less NEGATIVE" in view
    regression: Any = {"problem": "regression", "labels": ("LABEL_0",), "explained": (0,)}
    for view in views(explained(readout="value", **regression)):
        assert "= +1.25, the value" in view
        assert "the value of" not in view
    for view in views(explained(base=(-2.5,), readout="closeness", **regression)):
        assert "base value −2.50, " in view
        assert "= +0.00, the closeness to the prediction" in view
        assert "closer to the prediction" in view
        assert "farther from it" in view
        assert "this token alone" not in view


@pytest.mark.parametrize("distance", [0.3, 1.0, float("nan")])
def test_a_text_like_those_of_the_head_is_not_flagged(distance: float) -> None:
    for view in views(explained(distance=distance)):
        assert "unlike" not in view
        assert UNLIKE not in view


def test_a_text_unlike_those_of_the_head_is_flagged_once() -> None:
    targets: Any = {"explained": (1, 0), "axes": ("target",)}
    both = explained([[1.0, 2.0, 3.0]] * 2, base=(0, 0), distance=1.84, **targets)
    for result in (explained(distance=1.84), both):
        for view in views(result):
            assert view.count("This text is unlike those that the attribution head was") == 1
            assert "(distance 1.84," in view
            assert UNLIKE not in view


def test_the_method_is_named_by_how_much_it_was_fitted_on() -> None:
    for view in views(explained()):
        assert "attribution_head, fitted on 2,000 texts, readout centered" in view
        assert "0" * 64 not in view
    for strange in ({"fitted_on": {"texts": "many"}}, {"fitted_on": 5}, {}):
        assert "attribution_head, head=" in plain(explained(options={"head": strange}))
