"""What is written as JSON is what docs/attribution.schema.json says."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from transformers import PreTrainedTokenizerBase

from normxlogit import Explainer
from normxlogit.results.audio import AudioAttribution
from normxlogit.results.base import Prediction, Result, Target
from normxlogit.results.image import ImageAttribution
from tests.helpers.builders import classifier
from tests.helpers.paths import ROOT
from tests.helpers.results import PROVENANCE, chat, generation

SCHEMA = json.loads((ROOT / "docs/attribution.schema.json").read_text())
VALIDATOR = Draft202012Validator(SCHEMA)

DOG = Target("dog", 1, 2.0, 0.8)
COMMON: dict[str, Any] = {
    "scores": np.array([9, 1, -1, 2, 0], np.float32),
    "axes": (),
    "targets": (DOG,),
    "layers": (12,),
    "prediction": Prediction("single_label_classification", (DOG,), (DOG,)),
    "provenance": PROVENANCE,
    "special": np.array([True, False, False, False, False]),
}
IMAGE = ImageAttribution(size=(32, 32), original=(64, 60), **COMMON)
SECONDS = np.array([[np.nan, np.nan], [0, 1], [1, 2], [2, 3], [3, 4]], np.float32)
SOUND = AudioAttribution(
    seconds=SECONDS,
    duration=3.9,
    sampling_rate=16_000,
    envelope=np.array([0, 0.5], np.float32),
    **COMMON,
)
PNG = b"\x89PNG\r\n\x1a\n"

MADE_BY_HAND = {
    "generation": generation(),
    "all layers": generation(layers=(1, 2)),
    "words": generation().words(),
    "whole": generation().whole(),
    "one token": generation().at(2),
    "chat": chat(),
    "messages": chat().by("message"),
    "roles": chat().by("role"),
    "lines": chat().by("line"),
    "image": IMAGE,
    "patches": replace(IMAGE, grid=(2, 2), box=(0.0, -1.5, 60.0, 64.0), thumbnail=PNG),
    "sound": SOUND,
    "spectrogram": replace(SOUND, grid=(2, 2)),
    "unknown times": replace(SOUND, seconds=None, note="no idea"),
}


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


@pytest.mark.parametrize("name", MADE_BY_HAND)
def test_every_field_has_its_place(name: str) -> None:
    data = through_json(MADE_BY_HAND[name])
    for field in data:
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
