"""Names and ids of outputs: one meaning, wherever they are given."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from normxlogit import Explainer, OptionError
from normxlogit.corpus import summary
from normxlogit.model.targets import Problem, TokenIds, is_several, target_id, target_ids
from tests.helpers.corpora import WRITERS, read_shards
from tests.helpers.tiny import tiny_classifier

STARS = ["5", "4", "3", "2", "1"]
"""Labels that are numbers, but not their ids."""


def explainer_of(folder: Path, labels: list[str]) -> Explainer:
    return Explainer.from_pretrained(str(tiny_classifier(folder, labels=labels)))


@pytest.fixture(scope="module")
def stars(tmp_path_factory: pytest.TempPathFactory) -> Explainer:
    return explainer_of(tmp_path_factory.mktemp("stars"), STARS)


@pytest.mark.parametrize(
    ("target", "labels", "expected"),
    [
        ("B", ["A", "B"], 1),
        ("b", ["A", "B"], 1),
        (" b ", ["A", "B"], 1),
        ("b", ["b", "B"], 0),
        ("1", ["A", "B"], 1),
        ("1.0", ["A", "B"], 1),
        (1, ["A", "B"], 1),
        (np.int64(1), ["A", "B"], 1),
        ("1", ["1", "0"], 0),
        ("1.0", ["1", "0"], 0),
        ("1", ["0.0", "1.0"], 1),
        (1, ["1", "0"], 1),
        ("2", ["A", "2", "B"], 1),
        (2, ["A", "2", "B"], 2),
        (1, ["A", "A"], 1),
        ("1", ["A", "A"], 1),
    ],
)
def test_a_name_means_a_name(target: Any, labels: list[str], expected: int) -> None:
    assert target_id(target, labels) == expected


@pytest.mark.parametrize(
    ("target", "labels", "message"),
    [
        ("A", ["A", "B", "A"], r"2 labels fit 'A': those of the ids 0, 2\. Give the id of one"),
        ("a", ["A", "á", " A"], r"2 labels fit 'a': those of the ids 0, 2\."),
        ("0", ["1", "2"], r"no label '0'\. Its labels: 1, 2, or an id from 0 to 1"),
        ("2", ["A", "B"], "no label '2'"),
        (2, ["A", "B"], "no label 2"),
        (-1, ["A", "B"], "no label -1"),
        (1.0, ["A", "B"], r"no label 1\.0"),
        (True, ["A", "B"], "no label True"),
        ("POSITVE", ["NEGATIVE", "POSITIVE"], r"Its labels: NEGATIVE, POSITIVE, or an id"),
        ("n8", [f"name {n}" for n in range(11)], r"Its labels: .*and \d+ more, or an id"),
        ("zebra", [f"name {n}" for n in range(99)], r"Its labels: name 0, name 1, .* and \d+ more"),
        ("nam 10", [f"name {n}" for n in range(99)], r"Its labels: name 10, .* and 96 more"),
    ],
)
def test_what_names_no_output_or_several(target: Any, labels: list[str], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        target_id(target, labels)


def test_token_ids_have_no_names() -> None:
    """So what would be the name of a number elsewhere is the number, however it is written."""
    for target in ("7", "07", " 7 ", 7):
        assert target_id(target, TokenIds(9)) == 7


def test_labels_above_the_threshold_stand_first() -> None:
    """Rows with fewer of them end in -1, and one with none has its most probable label."""
    logits = torch.tensor([[2.0, -1.0, 3.0, -4.0], [-3.0, -1.0, -2.0, -4.0], [1.0, 2.0, -1.0, 3.0]])
    ids = target_ids(None, logits, ["A", "B", "C", "D"], Problem.MULTI_LABEL, 0.5)
    assert ids.tolist() == [[2, 0, -1], [1, -1, -1], [3, 1, 0]]


def test_which_results_have_an_axis_of_targets() -> None:
    for problem in Problem:
        assert is_several(None, problem, 1) == (problem is Problem.MULTI_LABEL)
        several = (Problem.MULTI_LABEL, Problem.REGRESSION)
        assert is_several(None, problem, 3) == (problem in several)
        assert is_several("all", problem, 1)
        assert is_several([0], problem, 3)
        assert not is_several("A", problem, 3)
        assert not is_several(0, problem, 3)


@pytest.mark.parametrize("end", [end for end in WRITERS if end != ".txt"])
@pytest.mark.parametrize("make", [int, float, str])
def test_a_cell_means_the_same_in_every_format(
    end: str, make: Any, stars: Explainer, tmp_path: Path
) -> None:
    source, out = tmp_path / f"reviews{end}", tmp_path / "out"
    names = ["1", "5", "4", "0"]
    WRITERS[end](source, pd.DataFrame({"text": ["one"] * 4, "stars": list(map(make, names))}))
    stars.corpus(source, out, target="column:stars", label="stars")
    rows = read_shards(out)
    assert [row["target"] for row in rows] == ["1", "5", "4", None]
    assert rows[3]["error_kind"] == "target"
    prediction = stars.explain("one").prediction.label
    findings = summary(out)
    assert (findings.compared, findings.differing) == (3, 3 - names[:3].count(prediction))
    evaluation = stars.evaluate(source, label="stars", methods=["norm"], operator="remove")
    examples = evaluation.results["examples"]
    assert examples["labels"] == {"1": 1, "4": 1, "5": 1}
    assert examples["errors"] == {"label": 1}
    assert examples["accuracy"] == pytest.approx(names[:3].count(prediction) / 3)


def test_select_agrees_with_explain(stars: Explainer) -> None:
    every = stars.explain("one", target="all")
    for target in ("1", "5", " 5", 0, 3):
        selected = every.select(target=target)
        assert selected.target.id == stars.explain("one", target=target).target.id
    with pytest.raises(OptionError, match=r"target '0' is not among 5 \(id 0\), 4 \(id 1\)"):
        every.select(target="0")


def test_two_outputs_of_one_name(tmp_path: Path) -> None:
    twins = explainer_of(tmp_path / "model", ["A", "A", "B"])
    assert [twins.explain("one", target=n).target.id for n in range(3)] == [0, 1, 2]
    with pytest.raises(OptionError, match="2 labels fit 'A': those of the ids 0, 1"):
        twins.explain("one", target="A")
    with pytest.raises(OptionError, match="2 labels fit 'a'"):
        twins.explain("one", target="B", contrast="a")
    every = twins.explain("one", target="all")
    assert every.select(target=1).target.id == 1
    with pytest.raises(OptionError, match=r"those of the numbers 0 \(id 0\), 1 \(id 1\)"):
        every.select(target="A")
    rows = [{"text": "one", "gold": gold} for gold in ("A", 0, "1", "B", 2)]
    explained = list(twins.corpus(rows, target="column:gold"))
    ids = [e.attribution and e.attribution.target.id for e in explained]
    assert ids == [None, 0, 1, 2, 2]
    # Predictions are compared by name, which cannot tell one A from the other.
    examples = twins.evaluate(rows, label="gold", methods=["norm"], operator="remove").results[
        "examples"
    ]
    assert examples["errors"] == {"label": 3}
    assert examples["labels"] == {"B": 2}
