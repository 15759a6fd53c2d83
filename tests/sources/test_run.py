"""Files of questions: every row answered into a folder, in runs that can be resumed."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

import normxlogit as nxl
from normxlogit.sources.explainer import SourceExplainer
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
    (folder / "answers.jsonl").write_text('{"row": 9}\n' * 6)
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
    assert not folder.exists()
