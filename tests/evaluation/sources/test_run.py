"""`normxlogit evaluate --benchmark sources`: questions in, a folder of figures out."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from normxlogit import InputError, OptionError
from normxlogit.evaluation.sources import run
from normxlogit.evaluation.sources.answers import Answered, answer_questions
from normxlogit.evaluation.sources.questions import read_questions
from normxlogit.evaluation.sources.run import benchmark_sources
from tests.helpers.evaluation import run_evaluate
from tests.helpers.sources import answered_by, answering_explainer, questions_file

METHODS = ["leave_one_out", "normxlogit:reduce=max", "attention"]


def logprob(answered: Answered, removed: list[int]) -> float:
    """The answer's log-probability without some documents, by a fresh pass over what is left."""
    case = answered.case
    gone = {t for n in removed for t in range(*case.sources[n])}
    prompt = [token for place, token in enumerate(case.ids) if place not in gone]
    with torch.no_grad():
        logits = case.generator.model(torch.tensor([[*prompt, *case.answer_ids]])).logits[0]
    rows = logits[len(prompt) - 1 : -1].log_softmax(-1)
    return float(sum(rows[n, case.answer_ids[n]] for n in case.spans[0]))


def test_drops_are_those_of_fresh_passes(tmp_path: Path) -> None:
    (question,) = read_questions(questions_file(tmp_path, 1))
    answered = answered_by(answering_explainer(), question)
    whole = logprob(answered, [])
    assert answered.logprob == pytest.approx(whole, abs=1e-4)
    assert answered.prior == pytest.approx(logprob(answered, [0, 1, 2]), abs=1e-4)
    alone = [whole - logprob(answered, [n]) for n in range(3)]
    assert answered.drops() == pytest.approx(alone, abs=1e-4)
    others = [whole - logprob(answered, [0, 1]), whole - logprob(answered, [1, 2])]
    assert answered.drops_of_others([2, 0]) == pytest.approx(others, abs=1e-4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run by the command."""
    place = tmp_path_factory.mktemp("sources")
    explainer: Any = answering_explainer()
    explainer.model.save_pretrained(place / "model")
    explainer.tokenizer.save_pretrained(place / "model")
    data, out = questions_file(place, 10), place / "out"
    arguments = ["--benchmark", "sources", "-m", place / "model", "--data", data, "-o", out]
    result = run_evaluate(*arguments, "--methods", ",".join(METHODS))
    assert (result.exit_code, result.stderr) == (0, "")
    assert "leave_one_out" in result.stdout
    return out


def test_what_the_command_finds(folder: Path) -> None:
    rows = pq.read_table(folder / "scores.parquet").to_pylist()
    assert [(row["number"], row["method"]) for row in rows] == [
        (number, name) for number in range(10) for name in [*METHODS, "random"]
    ]
    assert not any(row["error"] for row in rows)
    by_method = {name: [row for row in rows if row["method"] == name] for name in METHODS}
    for row in by_method["leave_one_out"]:
        assert row["drop"] == pytest.approx(max(row["scores"]), abs=1e-4)
        assert row["threshold"] == pytest.approx(np.log(2))
    results = json.loads((folder / "results.json").read_text("utf-8"))
    for name, of_method in by_method.items():
        hits = [row["named"] in row["gold"] for row in of_method if row["gold"]]
        assert len(hits) == 8
        figure = results["groups"]["all"]["methods"][name]["top1"]
        assert figure["value"] == pytest.approx(np.mean(hits))
        assert results["costs"][name]["passes"] == pytest.approx(
            np.mean([row["passes"] for row in of_method]), abs=1e-4
        )
        assert all(row["scores"][row["named"]] == max(row["scores"]) for row in of_method)
        assert f"`{name}`" in (folder / "report.md").read_text("utf-8")
    assert [row["passes"] for row in by_method["attention"]] == [1] * 10
    assert results["questions"]["kinds"].keys() == {"even", "odd"}


def without_times(results: dict[str, Any]) -> dict[str, Any]:
    costs = {name: {**cost, "seconds": 0} for name, cost in results["costs"].items()}
    return {**results, "costs": costs}


def test_a_run_goes_on_where_it_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    explainer, data = answering_explainer(), questions_file(tmp_path, 10)
    options: dict[str, Any] = {"methods": ["normxlogit"], "seed": 3}
    whole = benchmark_sources(explainer, data, **options)
    asked: list[str] = []

    def stopping(explainer: Any, questions: Any) -> Any:
        if asked:
            raise KeyboardInterrupt
        asked.extend(question.question for question in questions)
        return answer_questions(explainer, questions)

    monkeypatch.setattr(run, "answer_questions", stopping)
    with pytest.raises(KeyboardInterrupt):
        benchmark_sources(explainer, data, tmp_path / "out", **options)
    asked.clear()
    resumed = benchmark_sources(explainer, data, tmp_path / "out", **options)
    assert len(asked) == 2  # what came after the first eight
    assert without_times(resumed) == without_times(whole)
    assert benchmark_sources(explainer, data, tmp_path / "out", **options) == resumed
    with pytest.raises(InputError, match="seed"):
        benchmark_sources(explainer, data, tmp_path / "out", **{**options, "seed": 4})


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"draws": 3}, "Leave out draws"),
        ({"limit": 0}, "limit must be"),
        ({"methods": ["nothing"]}, "no method 'nothing'"),
        ({"methods": ["leave_one_out:depth=3"]}, "no option 'depth'"),
        ({"methods": ["leave_one_out", "leave_one_out"]}, "given twice"),
        ({"methods": ["attention:weights"]}, "has no ="),
        ({"methods": []}, "one method or more"),
    ],
)
def test_options_that_are_refused(options: dict[str, Any], complaint: str, tmp_path: Path) -> None:
    with pytest.raises((InputError, OptionError), match=complaint):
        benchmark_sources(answering_explainer(), questions_file(tmp_path, 1), **options)
