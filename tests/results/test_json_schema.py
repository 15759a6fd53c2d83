"""What is written as JSON is what docs/attribution.schema.json says."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from transformers import PreTrainedTokenizerBase

from normxlogit import Explainer
from normxlogit.results.base import Result
from tests.helpers.builders import classifier
from tests.helpers.paths import ROOT
from tests.helpers.results import IMAGE, MADE_BY_HAND

SCHEMA = json.loads((ROOT / "docs/attribution.schema.json").read_text())
VALIDATOR = Draft202012Validator(SCHEMA)


def through_json(result: Result) -> Any:
    return json.loads(json.dumps(result.to_dict(), allow_nan=False))


def test_every_kind_of_text(explainer: Explainer, wordpiece: PreTrainedTokenizerBase) -> None:
    text = "A great movie. The plot is a mess!"
    one = explainer.explain(text)
    several = Explainer(
        classifier(wordpiece, num_labels=4, problem_type="multi_label_classification"), wordpiece
    )
    value = Explainer(classifier(wordpiece, num_labels=1), wordpiece)
    for attribution in (
        one,
        one.words(),
        one.sentences(),
        one.by([(0, 7)]),
        explainer.explain((text, "A mess."), contrast=0, target=1, norm="word"),
        explainer.explain(text, target="all", layer="all"),
        explainer.explain(text, method="random", seed=3),
        several.explain(text, threshold=0.0),
        value.explain(text),
    ):
        VALIDATOR.validate(through_json(attribution))


@pytest.mark.parametrize("name", MADE_BY_HAND)
def test_every_other_kind(name: str) -> None:
    result = MADE_BY_HAND[name]
    data = through_json(result)
    VALIDATOR.validate(data)
    again = Result.from_dict(data)
    assert type(again) is type(result)
    assert again.to_dict() == result.to_dict()
    np.testing.assert_array_equal(again.scores, result.scores)


def test_every_kind_is_known_wherever_results_come_from(tmp_path: Path) -> None:
    IMAGE.save(tmp_path / "image.json")
    script = (
        "from normxlogit.results.base import Result\n"
        f"print(type(Result.load({str(tmp_path / 'image.json')!r})).__name__)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == "ImageAttribution\n", done.stderr


@pytest.mark.parametrize("name", MADE_BY_HAND)
def test_every_field_has_its_place(name: str) -> None:
    data = through_json(MADE_BY_HAND[name])
    # Files of older versions lack the first three, and results that were not verified the last.
    for field in data.keys() - {"base", "reductions", "cut_after", "verifications"}:
        less = {key: value for key, value in data.items() if key != field}
        with pytest.raises(ValidationError):
            VALIDATOR.validate(less)
    with pytest.raises(ValidationError):
        VALIDATOR.validate({**data, "more": 1})


def test_every_kind_is_told_from_the_others() -> None:
    kinds = {result.kind: through_json(result) for result in MADE_BY_HAND.values()}
    assert set(kinds) == {"text", "generation", "image", "audio"}
    for kind, data in kinds.items():
        for other in {*kinds, "video"} - {kind}:
            with pytest.raises(ValidationError):
                VALIDATOR.validate({**data, "kind": other})


def test_the_schema_tells_wrong_from_right(explainer: Explainer) -> None:
    data = through_json(explainer.explain("A great movie."))
    wrongs: tuple[dict[str, Any], ...] = (
        {"scores": "many"},
        {"schema": "normxlogit/attribution/2"},
        {"more": 1},
        {"answer_special": [False]},
        {"targets": []},
    )
    for wrong in wrongs:
        with pytest.raises(ValidationError):
            VALIDATOR.validate({**data, **wrong})
