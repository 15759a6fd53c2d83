"""Arguments that are natural are served whatever their type, and others refused in a line."""

import difflib
import pickle
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import normxlogit as nxl
from normxlogit import Explainer, Failure, InputError, OptionError
from tests.helpers.assertions import assert_same_explanation, succeeded
from tests.helpers.models import (
    causal_lm,
    classifier_explainer,
    explainer_with_head,
    image_classifier,
    token_classifier,
)
from tests.helpers.texts import CONTEXT, MASKED, PROMPT, QUESTION, TEXTS
from tests.helpers.zoo import tiny_model

MESSAGES = [{"role": "user", "content": "A great movie."}]
INPUTS = {"input_ids": torch.tensor([[0, 5, 6, 7, 2], [0, 8, 9, 7, 2]])}


def assert_same(result: Any, expected: Any) -> None:
    np.testing.assert_array_equal(result.scores, expected.scores)
    assert result.axes == expected.axes
    assert [t.id for t in result.targets] == [t.id for t in expected.targets]


@pytest.mark.parametrize(
    ("options", "plain"),
    [
        ({"target": np.int64(1)}, {"target": 1}),
        ({"target": np.array(1)}, {"target": 1}),
        ({"target": np.array([2, 0])}, {"target": [2, 0]}),
        ({"target": np.array(["LABEL_2", "LABEL_0"])}, {"target": ["LABEL_2", "LABEL_0"]}),
        ({"target": [np.uint8(2), 0]}, {"target": [2, 0]}),
        ({"target": 1, "contrast": np.int32(0)}, {"target": 1, "contrast": 0}),
        ({"layer": np.int64(1)}, {"layer": 1}),
        ({"batch_size": np.int16(2)}, {"batch_size": 2}),
        ({"threshold": np.float32(0.5)}, {}),
        ({"is_split_into_words": np.False_}, {}),
        ({"method": "random", "seed": np.int64(3)}, {"method": "random", "seed": 3}),
        ({"method": "late_lrp", "blocks": np.int64(1)}, {"method": "late_lrp", "blocks": 1}),
        (
            {"method": "integrated_gradients", "n_steps": np.int64(3), "baseline": np.int64(5)},
            {"method": "integrated_gradients", "n_steps": 3, "baseline": 5},
        ),
        (
            {"method": "occlusion", "replacement": np.int64(5)},
            {"method": "occlusion", "replacement": 5},
        ),
    ],
)
def test_numpys_numbers_and_arrays_are_served(
    options: dict[str, Any], plain: dict[str, Any]
) -> None:
    explainer: Any = classifier_explainer()
    results, expected = explainer.explain(TEXTS, **options), explainer.explain(TEXTS, **plain)
    for result, other in zip(succeeded(results), succeeded(expected), strict=True):
        assert_same(result, other)
    assert result.to_dict()["provenance"]["options"] == other.to_dict()["provenance"]["options"]


def test_positions_answers_and_choices_by_numpys_numbers() -> None:
    tags = token_classifier()
    first, last = np.array([2, 7])
    for position, plain in ((np.int64(3), 3), ((first, last), (2, 7))):
        result = tags.explain(TEXTS[0], position=position)
        assert_same(result, tags.explain(TEXTS[0], position=plain))
    answers = explainer_with_head("bert", "question-answering")
    for target, other in (((first, last), (2, 7)), (np.int64(1), 1)):
        result = answers.explain((QUESTION, CONTEXT), target=target)
        assert_same(result, answers.explain((QUESTION, CONTEXT), target=other))
    choices = explainer_with_head("bert", "multiple-choice")
    item = (QUESTION, ["a movie", "a plot"])
    assert_same(choices.explain(item, target=np.int64(1)), choices.explain(item, target=1))


def test_results_by_numpys_numbers() -> None:
    result: Any = classifier_explainer().explain(TEXTS[0], target="all", layer="all")
    part = result.select(target=np.int64(1), layer=np.int64(2))
    np.testing.assert_array_equal(part.scores, result.scores[1, 1])
    assert part.top(np.int8(2)) == part.top(2)
    spans = np.array([[0, 7], [8, 13]])
    by = part.by([(0, 7), (8, 13)])
    np.testing.assert_array_equal(part.by(spans).scores, by.scores)
    assert part.by(spans, segment=np.int64(0)).tokens == by.tokens


@pytest.mark.parametrize("position", [2, np.int64(2), [2, 2], np.array([2, 2]), [[2], [2]]])
def test_attributes_position_is_a_number_or_a_list(position: Any) -> None:
    model = token_classifier().model
    result = nxl.attribute(model, INPUTS, position=position)
    expected = nxl.attribute(model, INPUTS, position=torch.tensor([2, 2]))
    torch.testing.assert_close(result.scores, expected.scores, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"threshold": float("nan")}, "threshold must be a number from 0 to 1, got nan"),
        ({"threshold": -0.1}, "threshold must be a number from 0 to 1, got -0.1"),
        ({"threshold": float("inf")}, "threshold must be a number from 0 to 1, got inf"),
        ({"threshold": True}, "threshold must be a number from 0 to 1, got True"),
        ({"layer": np.True_}, "layer must be a number from 1"),
        ({"batch_size": True}, "batch_size must be a whole number from 1 to"),
        ({"batch_size": 10**30}, r"batch_size must be a whole number from 1 to \d+, got 10000"),
        ({"target": np.array([0.5])}, "no label 0.5"),
        ({"target": [None]}, "no label None"),
        ({"target": [np.True_]}, "no label"),
        ({"readout": ["logit"]}, r"readout \['logit'\] is not one of"),
        ({"is_split_into_words": "no"}, "is_split_into_words must be True or False, got 'no'"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(OptionError, match=says):
        classifier_explainer().explain(TEXTS, **options)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (pd.NA, "expected text, got NAType"),
        (float("nan"), "expected text, got float"),
        (None, "expected text, got NoneType"),
        ("half \ud800", r"character 5 of the text is '\\ud800'"),
        (("a text", "\udfff"), "half a surrogate"),
        (
            MESSAGES,
            r'got a chat, .* Explain the text of a message, message\["content"\]; or load a',
        ),
        ({"messages": MESSAGES}, "expected text, got a chat, which BertForSequenceClassification"),
    ],
)
def test_what_is_no_text_fails_alone(text: Any, says: str) -> None:
    explainer: Any = classifier_explainer()
    failure, result = explainer.explain([text, TEXTS[0]])
    assert isinstance(failure, Failure)
    assert_same_explanation(result, explainer.explain(TEXTS[0]))
    with pytest.raises(InputError, match=says):
        explainer.explain(text)


def test_one_text_is_no_list_of_its_characters() -> None:
    explainer: Any = classifier_explainer()
    for call in (explainer.stream, explainer.token_counts):
        for texts in ("a text", b"a text", None, 5):
            with pytest.raises(InputError, match="expected a list or an iterator of texts, got"):
                call(texts)


def test_parts_that_are_none_are_refused() -> None:
    result: Any = classifier_explainer().explain(TEXTS[0])
    no_lists: list[Any] = [[], None, 5, "letter", ()]
    for parts in no_lists:
        with pytest.raises(OptionError, match="parts must be word, sentence"):
            result.by(parts)
    no_spans: list[Any] = [[None], [(0, True)], [(0, 10**30)], ["ab"], [(3, 1)]]
    for parts in no_spans:
        with pytest.raises(InputError, match="is not inside a text of 35 characters"):
            result.by(parts)
    for segment in (1, -1, True, None):
        with pytest.raises(OptionError, match="segment must be a whole number from 0 to 0"):
            result.by([(0, 3)], segment=segment)
    for count in (-1, 1.5, True, "5"):
        with pytest.raises(OptionError, match="count must be a whole number from 0"):
            result.top(count)
    assert result.top(10**30) == result.top(len(result))
    with pytest.raises(OptionError, match="layer True is not among"):
        classifier_explainer().explain(TEXTS[0], layer="all").select(layer=True)


def test_inputs_are_named() -> None:
    nonsense: list[Any] = [None, [], "text", INPUTS["input_ids"], {1: INPUTS["input_ids"]}]
    for inputs in nonsense:
        with pytest.raises(InputError, match="inputs must be the model's inputs by name"):
            nxl.attribute(classifier_explainer().model, inputs)


@pytest.mark.parametrize("target", [[None], 10**30, -1, True, "100", torch.tensor([0, 1000])])
def test_a_vocabulary_is_not_searched_for_names_like_an_id(
    target: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: Any) -> Any:
        raise AssertionError("difflib ran over a vocabulary")

    monkeypatch.setattr(difflib, "get_close_matches", never)
    model = tiny_model("llama", mapping="causal-lm", vocab_size=100)
    for options in ({"target": target}, {"target": 1, "contrast": target}):
        with pytest.raises(OptionError, match="from 0 to 99"):
            nxl.attribute(model, INPUTS, **options)


def pickled() -> Iterator[tuple[str, Explainer, Any, dict[str, Any]]]:
    """Explainers of several kinds of heads, what they explain, and their options."""
    yield "classifier", classifier_explainer(), TEXTS[0], {}
    yield "shorter texts", classifier_explainer().limited(9), TEXTS[0], {"long": "truncate"}
    yield "mask", explainer_with_head("bert", "masked-lm"), MASKED[0], {}
    yield "language", causal_lm(), PROMPT, {}
    yield "image", *image_classifier(), {}


@pytest.mark.parametrize("name", ["classifier", "shorter texts", "mask", "language", "image"])
def test_an_explainer_is_pickled(name: str) -> None:
    kinds = {kind: (explainer, item, options) for kind, explainer, item, options in pickled()}
    explainer, item, options = kinds[name]
    expected = explainer.explain(item, **options).to_dict()  # used before, caches and all
    copy = pickle.loads(pickle.dumps(explainer))
    assert copy.explain(item, **options).to_dict() == expected
    assert (copy.name, copy.task) == (explainer.name, explainer.task)
    assert pickle.loads(pickle.dumps(copy)).explain(item, **options).to_dict() == expected
