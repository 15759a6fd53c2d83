"""Rows, sources, options and models that an evaluation leaves out or refuses."""

from pathlib import Path
from typing import Any

import pytest

from normxlogit import Explainer, InputError, ModelError, OptionError
from tests.helpers.builders import classifier, tokenizer
from tests.helpers.evaluation import TEXTS, Data
from tests.helpers.models import causal_lm, classifier_explainer, token_classifier


def test_rows_that_cannot_be_used_are_left_out_and_the_others_are_not(bert: Explainer) -> None:
    rows: list[Any] = [
        {"text": "a mess", "label": "LABEL_1"},
        {"text": "a mess", "label": "solid"},
        {"text": "one two three " * 40, "label": 0},
        {"text": " ", "label": 0},
        {"text": None, "label": 0},
        {"text": 5, "label": 0},
        {"label": 0},
        {"text": "bad plot", "label": "2"},
        {"text": "not bad", "label": 2.0},
        {"text": "one two", "label": None},
    ]
    found = bert.evaluate(rows, label="label", methods=["norm", "progressive_inference"])
    examples = found.results["examples"]
    assert examples["read"] == 10
    assert (examples["evaluated"], examples["labelled"]) == (4, 3)
    kinds = ("blank", "label", "missing_column", "not_text", "null", "too_long")
    assert examples["errors"] == dict.fromkeys(kinds, 1)
    assert "no label 'solid'" in examples["first_errors"][0]
    assert "122 tokens, over the limit of 64" in examples["first_errors"][1]
    assert examples["labels"] == {"LABEL_1": 1, "LABEL_2": 2}
    assert found.scores["row"].to_pylist() == [0, 7, 8, 9]
    assert found.scores["label"].to_pylist() == ["LABEL_1", "LABEL_2", "LABEL_2", None]
    assert list(found.results["methods"]) == ["norm"]
    assert "causal" in found.results["failed"]["progressive_inference"]
    assert any("4 examples are few" in note for note in found.results["notes"])
    alone = bert.evaluate([rows[n] for n in (0, 7, 8, 9)], label="label", methods=["norm"])
    assert found.results["methods"] == alone.results["methods"]


@pytest.mark.parametrize(
    ("rows", "cut", "pair"),
    [
        (["one two three mess plot good", "bad"], ["one two three mess", "bad"], None),
        (
            [{"text": "a good plot", "pair": "one"}, {"text": "bad", "pair": "a"}],
            [{"text": "a good", "pair": "one"}, {"text": "bad", "pair": "a"}],
            "pair",
        ),
    ],
)
def test_a_limit_below_the_models(bert: Explainer, rows: Any, cut: Any, pair: str | None) -> None:
    """Six tokens are four of a text, or three of a pair, and special ones."""
    usual: Data = {"methods": ["norm", "occlusion"], "pair": pair}
    found = bert.evaluate(rows, long="truncate", max_length=6, **usual)
    expected = bert.evaluate(cut, **usual)
    texts = ["text", "pair"]
    assert found.scores["row"].to_pylist() == [0, 0, 1, 1]
    assert found.scores.drop_columns(texts).equals(expected.scores.drop_columns(texts))
    assert found.results["methods"] == expected.results["methods"]
    assert found.results["settings"]["max_length"] == 6
    whole, above = (
        bert.evaluate(rows, max_length=tokens, long="truncate", **usual) for tokens in (None, 1000)
    )
    assert whole.scores.equals(above.scores)
    assert not whole.scores.equals(found.scores)
    left = bert.evaluate(rows, max_length=6, **usual)
    assert left.scores["row"].to_pylist() == [1, 1]
    assert left.results["examples"]["errors"] == {"too_long": 1}
    assert "tokens, over the limit of 6." in left.results["examples"]["first_errors"][0]
    assert bert.tokenizer.model_max_length == 64


def test_a_limit_above_the_tokenizers_is_none() -> None:
    explainer = classifier_explainer(model_max_length=8)
    found = explainer.evaluate(
        ["bad", "one two three mess plot good a"], methods=["norm"], max_length=20
    )
    assert found.results["examples"]["errors"] == {"too_long": 1}
    assert "9 tokens, over the limit of 8." in found.results["examples"]["first_errors"][0]


def test_one_class_only_is_said(bert: Explainer) -> None:
    rows = [{"text": text, "label": 1} for text in TEXTS[:3]]
    notes = bert.evaluate(rows, label="label", methods=["norm"]).results["notes"]
    assert notes[1] == "every example has the label LABEL_1."
    assert notes[0].startswith("3 examples are few")


def test_labels_by_name_that_look_like_numbers() -> None:
    explainer = classifier_explainer()
    explainer.model.config.id2label = {0: "2", 1: "1", 2: "0"}
    rows = [{"text": text, "label": label} for text, label in zip(TEXTS, "20102", strict=True)]
    found = explainer.evaluate(rows, label="label", methods=["norm"])
    assert found.scores["label"].to_pylist() == list("20102")


REFUSED: list[tuple[Data, str]] = [
    ({"methods": []}, "methods must be a list"),
    ({"methods": "norm"}, "methods must be a list"),
    ({"methods": 5}, "methods must be a list"),
    ({"methods": {"method": "norm"}}, "methods must be a list"),
    ({"methods": ["norm", "norm"]}, "'norm' is given twice"),
    ({"methods": ["nom"]}, "there is no method 'nom'"),
    ({"methods": ["norm:layer"]}, "NAME:OPTION=VALUE"),
    ({"methods": ["norm:x=1"]}, "has no option 'x'"),
    ({"methods": ["logat:layer=all"]}, "Give a method for each"),
    ({"methods": ["logat:layer=99"]}, "there is no layer 99"),
    ({"methods": ["random:seed=1"]}, "random takes no options here"),
    ({"methods": [{"method": "random", "name": "chance"}]}, "another name for 'random'"),
    ({"methods": [{"method": "norm", "name": "random"}]}, "another name for 'norm'"),
    ({"methods": [{"method": "norm", "name": 5}]}, "must be text, got 5"),
    ({"methods": [{"method": "norm", "options": 5}]}, "plain data by name"),
    ({"methods": [{"method": "norm", "options": {"norm": object()}}]}, "plain data by name"),
    ({"methods": [{"name": "x"}]}, "a method is a name"),
    ({"preset": "Paper"}, "preset must be"),
    ({"preset": "paper", "draws": 3}, "Leave out unit and draws"),
    ({"unit": "letter"}, "unit must be one of"),
    ({"operator": "great movie"}, "is 2 tokens"),
    ({"operator": 5}, "operator must be"),
    ({"ratios": []}, "ratios must be a list"),
    ({"ratios": 0.5}, "ratios must be a list"),
    ({"ratios": [1.5]}, "ratios must be a list"),
    ({"ratios": None}, "ratios must be a list"),
    ({"metrics": "curves"}, "metrics must be a list"),
    ({"metrics": 5}, "metrics must be a list"),
    ({"metrics": ["x"]}, "metrics must be a list"),
    ({"draws": 0}, "draws must be a whole number from 1"),
    ({"seed": None}, "seed must be a whole number from 0"),
    ({"limit": 0}, "limit must be a whole number from 1"),
    ({"long": "window"}, "long must be"),
    ({"max_length": 0}, "max_length must be a whole number from 1"),
    ({"max_length": "90"}, "max_length must be a whole number from 1"),
    ({"max_length": 2}, "max_length must leave room for a word: at least 3 tokens"),
    ({"split": "train"}, "data sets of the Hub"),
    ({"target": 1}, "no option 'target'"),
]


@pytest.mark.parametrize(("options", "reason"), REFUSED)
def test_options_that_do_not_fit(bert: Explainer, options: Data, reason: str) -> None:
    with pytest.raises(OptionError, match=reason) as error:
        bert.evaluate(TEXTS, **{"methods": ["norm"], **options})
    assert "\n" not in str(error.value)


def test_sources_that_do_not_fit(bert: Explainer, tmp_path: Path) -> None:
    (tmp_path / "empty.csv").write_text("")
    (tmp_path / "header.csv").write_text("text,label\n")
    (tmp_path / "other.csv").write_text("review,label\na mess,1\n")
    cases: list[tuple[Any, str]] = [
        (5, "got int"),
        ([], "there are none"),
        (["", " "], "text is blank"),
        (tmp_path / "none.csv", "there is no file"),
        (tmp_path / "empty.csv", "there are none"),
        (tmp_path / "header.csv", "there are none"),
        (tmp_path / "other.csv", "has no column 'text'"),
    ]
    for source, reason in cases:
        with pytest.raises(InputError, match=reason):
            bert.evaluate(source, methods=["norm"])


def test_models_that_cannot_be_evaluated() -> None:
    several = Explainer(
        classifier(words := tokenizer(), problem_type="multi_label_classification"), words
    )
    for explainer in (several, token_classifier(), causal_lm()):
        with pytest.raises(ModelError, match="evaluate is for"):
            explainer.evaluate(TEXTS, operator="delete")
    with pytest.raises(OptionError, match="has no mask token, so say how"):
        Explainer(classifier(words), words).evaluate(TEXTS)
    with pytest.raises(ModelError, match=r"same number of <eos> tokens\. Choose another operator"):
        classifier_explainer("bart").evaluate(TEXTS, methods=["norm"], operator="eos")
