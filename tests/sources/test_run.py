"""Files of questions: every row answered into a folder, in runs that can be resumed."""

import json
import sys
from math import log
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import normxlogit as nxl
from normxlogit.sources.explainer import SourceExplainer
from normxlogit.sources.weights import SourceWeights
from normxlogit.tasks.digest import digest
from tests.helpers.answers import answerer

ROWS: list[dict[str, Any]] = [
    {"id": 5, "question": "Is it good?", "documents": ["The plot is not bad.", {"text": "No."}]},
    {"question": "Is it?", "documents": ["It is."], "answer": "It is good."},
    {"question": "Is it?", "documents": []},
    {"messages": [{"role": "user", "content": "Is the acting good?"}], "answer": "No."},
    {"documents": ["It is."]},
]


@pytest.fixture(scope="module")
def llm() -> nxl.Explainer:
    return answerer()


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS) + "no json\n", "utf-8")
    return path


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "answers.jsonl").read_text().splitlines()]


def test_every_row_has_its_line(llm: nxl.Explainer, questions: Path, tmp_path: Path) -> None:
    folder = tmp_path / "answers"
    done = llm.sources_corpus(questions, folder, max_new_tokens=5, parquet=True)
    assert (done.rows, done.errors, done.was_finished) == (6, 3, False)
    assert str(done) == f"6 rows, 3 errors; in {folder}"
    records = lines(folder)
    assert [record["row"] for record in records] == list(range(6))
    assert [record["error_kind"] for record in records] == [
        *(None, None, "input", None, "input", "broken_row")
    ]
    assert records[0]["id"] == "5"
    assert "there are no documents" in records[2]["error"]
    assert "neither a question nor messages" in records[4]["error"]
    expected = llm.sources(ROWS[1]["question"], ROWS[1]["documents"], answer=ROWS[1]["answer"])
    result = nxl.SourceAttribution.from_dict(records[1]["attribution"])
    assert result.scores == pytest.approx(expected.scores, abs=1e-4)
    table = pq.read_table(folder / "answers.parquet").to_pylist()
    assert [row["error"] is None for row in table if row["row"] == 2] == [False]
    whole = [row for row in table if row["row"] == 1 and row["sentence"] is None]
    assert [row["score"] for row in whole] == pytest.approx(result.scores.ravel().tolist())
    assert {row["answer"] for row in whole} == {"It is good."}


def test_a_run_that_was_stopped_goes_on(
    llm: nxl.Explainer, questions: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, folder = tmp_path / "whole", tmp_path / "stopped"
    llm.sources_corpus(questions, whole, max_new_tokens=5)
    asked = list[Any]()
    ask = SourceExplainer.sources

    def stopping(self: Any, question: Any, *args: Any, **options: Any) -> Any:
        asked.append(question)
        if len(asked) == 3:
            raise KeyboardInterrupt
        return ask(self, question, *args, **options)

    monkeypatch.setattr(SourceExplainer, "sources", stopping)
    with pytest.raises(KeyboardInterrupt):
        llm.sources_corpus(questions, folder, max_new_tokens=5)
    # As if the machine had stopped in the middle of a line.
    with (folder / "answers.jsonl").open("a") as file:
        file.write('{"row": 2, "id')
    assert len(asked) == 3
    llm.sources_corpus(questions, folder, max_new_tokens=5)
    assert len(asked) == 3 + 2  # rows 2 and 3; the others have no question
    ours, theirs = lines(folder), lines(whole)
    for record in (*ours, *theirs):
        (record["attribution"] or {}).pop("passes", None)
        (record["attribution"] or {}).pop("tokens", None)
    assert [r["error"] for r in ours] == [r["error"] for r in theirs]
    assert [(r["attribution"] or {}).get("answer") for r in ours] == [
        (r["attribution"] or {}).get("answer") for r in theirs
    ]
    assert llm.sources_corpus(questions, folder, max_new_tokens=5).was_finished
    with pytest.raises(nxl.InputError, match=r"options\.max_new_tokens was 5 and is 6"):
        llm.sources_corpus(questions, folder, max_new_tokens=6)
    answers = folder / "answers.jsonl"
    with answers.open("a") as file:
        file.write(json.dumps({**ours[-1], "row": 6}) + "\n")
    with pytest.raises(nxl.InputError, match="has 7 lines, and the data 6 rows"):
        llm.sources_corpus(questions, folder, max_new_tokens=5)
    for line in ('{"row": 9}\n', '{"row": 0}\n'):
        answers.write_text(line * 6)
        with pytest.raises(nxl.InputError, match=r"line 1 of .* is not that of row 0"):
            llm.sources_corpus(questions, folder, max_new_tokens=5)


def test_what_cannot_be_a_run(llm: nxl.Explainer, tmp_path: Path) -> None:
    file, folder = tmp_path / "rows.jsonl", tmp_path / "answers"
    file.write_text('{"text": "A movie."}\n')
    with pytest.raises(nxl.InputError, match="neither a question nor messages"):
        llm.sources_corpus(file, folder)
    file.write_text('{"question": "Is it?", "documents": ["It is."]}\n')
    with pytest.raises(nxl.OptionError, match="there is no method 'magic'"):
        llm.sources_corpus(file, folder, method="magic")
    with pytest.raises(nxl.OptionError, match="treshold"):
        llm.sources_corpus(file, folder, treshold=1)
    for name in ("question", "documents", "answer"):
        options: dict[str, Any] = {name: "x"}
        with pytest.raises(nxl.OptionError, match=f"each row has its own {name}"):
            llm.sources_corpus(file, folder, **options)
    with pytest.raises(nxl.OptionError, match=r"reduce is .* not of leave_one_out.* Name a method"):
        llm.sources_corpus(file, folder, reduce="max")
    assert not folder.exists()


def written(folder: Path, rows: list[dict[str, Any]], name: str = "rows.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def test_bytes_that_are_no_text_are_an_error(llm: nxl.Explainer, tmp_path: Path) -> None:
    good, bad = b"fine", b"\xff\xfe bad"
    columns: dict[str, list[Any]] = {
        "question": [good, bad, good, good],
        "documents": [[bad, b"It is."], [b"It is."], [b"It is."], [b"It is."]],
        "answer": [good, good, bad, good],
    }
    binary = pa.binary()
    types = {"question": binary, "documents": pa.list_(binary), "answer": binary}
    pq.write_table(pa.table(columns, pa.schema(list(types.items()))), tmp_path / "rows.parquet")
    done = llm.sources_corpus(tmp_path / "rows.parquet", tmp_path / "answers")
    assert (done.rows, done.errors) == (4, 3)
    records = lines(tmp_path / "answers")
    for record, name in zip(records, ("documents", "question", "answer"), strict=False):
        assert record["error_kind"] == "undecodable"
        assert record["error"] == f"a text of {name} is not UTF-8 (byte 0 is 0xff)"
    assert records[3]["attribution"]["question"] == "fine"


def test_rows_that_do_not_say_what_is_asked_of_what(llm: nxl.Explainer, tmp_path: Path) -> None:
    chat = [{"role": "user", "content": "Is it good?"}]
    rows: list[dict[str, Any]] = [
        {"question": "Is it? It is."},
        {"question": "Is it? It is.", "documents": None},
        {"question": "Is it?", "documents": ["It is."], "messages": chat},
        {"messages": "Is it?", "documents": ["It is."]},
        {"messages": chat},
    ]
    file = written(tmp_path, [{**row, "answer": "It is."} for row in rows])
    llm.sources_corpus(file, tmp_path / "answers")
    said = [record["error"] or "" for record in lines(tmp_path / "answers")]
    assert "a question and no documents" in said[0]
    assert said[1] == said[0]
    assert "has a question and messages" in said[2]
    assert "messages must be a list" in said[3]
    assert said[4] == ""
    llm.sources_corpus(file, tmp_path / "of sentences", sources="sentences")
    assert [record["error"] is None for record in lines(tmp_path / "of sentences")][:2] == [
        True
    ] * 2


def test_rows_of_few_documents_and_of_many(
    llm: nxl.Explainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row's default method never ends a run, and its unit and threshold go together."""
    monkeypatch.setattr("normxlogit.sources.methods.MOST_LEFT_OUT", 2)
    sizes = (2, 3)
    file = written(
        tmp_path,
        [
            {
                "question": "Is it?",
                "answer": "It is.",
                "documents": [f"It is {n}." for n in range(k)],
            }
            for k in sizes
        ],
    )
    config = llm.model.config
    weights = SourceWeights(
        heads=np.ones((config.num_hidden_layers, config.num_attention_heads), np.float32),
        thresholds={"leave_one_out": 0.5, "attention": 0.25},
        model={"name": "a", "weights": digest(llm.model, llm.tokenizer, of_any_dtype=True)},
    )
    cases: dict[str, tuple[dict[str, Any], list[Any]]] = {
        "plain": ({}, [("leave_one_out", "nats", log(2)), ("late_lrp", "", None)]),
        "weights": (
            {"weights": weights},
            [("leave_one_out", "nats", 0.5), ("attention", "", 0.25)],
        ),
        "threshold": ({"threshold": 0.7}, [("leave_one_out", "nats", 0.7)] * 2),
        "both": (
            {"threshold": 0.7, "weights": weights},
            [("leave_one_out", "nats", 0.7)] * 2,
        ),
    }
    for name, (options, expected) in cases.items():
        folder = tmp_path / name
        done = llm.sources_corpus(file, folder, parquet=True, **options)
        assert (done.rows, done.first_error) == (2, None)
        for record, (method, unit, threshold) in zip(lines(folder), expected, strict=True):
            made = nxl.SourceAttribution.from_dict(record["attribution"])
            assert (made.provenance.method, made.unit) == (method, unit)
            assert made.threshold == pytest.approx(threshold)
        table = pq.read_table(folder / "answers.parquet").to_pylist()
        assert {(row["row"], row["method"], row["unit"]) for row in table} == {
            (number, method, unit) for number, (method, unit, _) in enumerate(expected)
        }


def test_a_package_that_is_missing_ends_the_run(
    llm: nxl.Explainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    file = written(tmp_path, [{"question": "Is it?", "answer": "It is.", "documents": ["It."]}])
    with pytest.raises(nxl.MissingExtraError, match="scikit-learn"):
        llm.sources_corpus(file, tmp_path / "answers", method="surrogate")
    assert not (tmp_path / "answers").exists()


@pytest.mark.parametrize("path", [None, 3, "", b"x"])
def test_weights_are_of_a_file(path: Any) -> None:
    with pytest.raises(nxl.OptionError, match="are read from a file"):
        SourceWeights.load(path)
