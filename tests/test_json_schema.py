"""What is written as JSON is what docs/attribution.schema.json says."""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from transformers import PreTrainedTokenizerBase

from normxlogit import Attribution, Explainer
from tests.builders import classifier

SCHEMA = json.loads((Path(__file__).parent.parent / "docs/attribution.schema.json").read_text())
VALIDATOR = Draft202012Validator(SCHEMA)


def through_json(attribution: Attribution) -> Any:
    return json.loads(json.dumps(attribution.to_dict(), allow_nan=False))


def test_every_kind_of_attribution(
    explainer: Explainer, wordpiece: PreTrainedTokenizerBase
) -> None:
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


def test_the_schema_tells_wrong_from_right(explainer: Explainer) -> None:
    data = through_json(explainer.explain("A great movie."))
    for wrong in ({"scores": "many"}, {"schema": "normxlogit/attribution/2"}, {"more": 1}):
        with pytest.raises(ValidationError):
            VALIDATOR.validate({**data, **wrong})
    del data["tokens"]
    with pytest.raises(ValidationError):
        VALIDATOR.validate(data)
