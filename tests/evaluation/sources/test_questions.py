"""Questions with gold sources: made from a seed, and read from a file."""

import json
from pathlib import Path

import pytest

from normxlogit import InputError, OptionError
from normxlogit.evaluation.sources.facts import FACTS
from normxlogit.evaluation.sources.questions import GoldQuestion, read_questions, text_of
from normxlogit.evaluation.sources.synthetic import KINDS, make_questions


def documents_with(question: GoldQuestion) -> list[int]:
    texts = map(text_of, question.documents)
    return [n for n, text in enumerate(texts) if question.is_right(text)]


@pytest.mark.parametrize("part", ["fit", "test"])
@pytest.mark.parametrize("seed", [0, 1])
def test_made_questions_have_their_sources(part: str, seed: int) -> None:
    questions = make_questions(300, seed, part)
    assert {question.kind for question in questions} == set(KINDS)
    assert len({(question.question, question.documents) for question in questions}) == 300
    for question in questions:
        assert 5 <= len(question.documents) <= 10
        assert len(set(question.documents)) == len(question.documents)
        stated = [text_of(question.documents[n])[start:end] for n, start, end in question.sentences]
        assert [n for n, _, _ in question.sentences] == list(question.gold)
        assert all(text.endswith(".") and text.count(".") == 1 for text in stated)
        if question.kind in ("knowledge", "unanswered"):
            assert not question.gold
            assert not documents_with(question)
        else:
            (answering,) = documents_with(question)
            assert answering in question.gold
            assert len(question.gold) == (2 if question.kind == "two_hop" else 1)
        if question.kind == "two_hop":
            of_kin = stated[1 - question.gold.index(answering)]
            name = of_kin.rpartition(" is ")[2].rstrip(".")
            assert name in text_of(question.documents[answering])
            assert name not in question.question


def test_more_questions_are_the_same_ones_and_others() -> None:
    assert make_questions(30, 4)[:10] == make_questions(10, 4)
    assert make_questions(10, 4) != make_questions(10, 5)


def test_the_parts_share_no_name_and_no_fact() -> None:
    fit, test = FACTS["fit"], FACTS["test"]
    for name in ("first", "last", "kin", "knowledge", "of_people"):
        assert not set(getattr(fit, name)) & set(getattr(test, name))
    assert not fit.places.keys() & test.places.keys()

    def statements(part: str) -> set[str]:
        questions = make_questions(200, 0, part)
        texts = " ".join(text_of(d) for q in questions for d in q.documents)
        names = [*FACTS[part].first, *FACTS[part].last]
        return {word for word in names if word in texts.split()}

    assert not statements("fit") & statements("test")


@pytest.mark.parametrize(
    "arguments", [(0,), (3, -1), (3, 0, "dev")], ids=["none", "a negative seed", "another part"]
)
def test_what_cannot_be_made(arguments: tuple[int, ...]) -> None:
    with pytest.raises(OptionError):
        make_questions(*arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("right", "answer", "expected"),
    [
        ("Peru", "He was born in peru.", True),
        ("four|4", "A square has 4 sides.", True),
        ("4", "About 44 of them", False),
        ("da Vinci", "Leonardo da Vinci painted it", True),
        ("da Vinci", "Vinci da", False),
        (None, "Peru", None),
    ],
)
def test_right_answers(right: str | None, answer: str, expected: bool | None) -> None:
    assert GoldQuestion("?", ("d",), (0,), answer=right).is_right(answer) is expected


def write(folder: Path, *lines: object) -> Path:
    path = folder / "questions.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)) + "\n\n")
    return path


def test_a_file_of_questions(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        {"question": "Who?", "documents": ["It was Ann.", "No."], "gold": [0], "answer": "Ann"},
        {
            "question": "When?",
            "documents": [{"title": "a", "text": "Not now. At six."}, "x"],
            "gold": [{"document": 0, "sentence": "At six."}, 1],
            "kind": "hard",
        },
        {"question": "Why?", "documents": ["x"], "gold": []},
    )
    first, second, third = read_questions(path)
    assert first == GoldQuestion("Who?", ("It was Ann.", "No."), (0,), (), "Ann")
    assert (second.gold, second.sentences, second.kind) == ((0, 1), ((0, 9, 16),), "hard")
    assert second.documents[0] == {"title": "a", "text": "Not now. At six."}
    assert third.gold == ()
    assert read_questions(path, 1) == [first]


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ({"documents": ["x"], "gold": []}, "question is missing"),
        ({"question": "?", "documents": [], "gold": []}, "documents must be a list of 1 or more"),
        ({"question": "?", "documents": ["x"], "gold": [1]}, "from 0 to 0, got 1"),
        ({"question": "?", "documents": ["x"]}, "gold is missing"),
        ({"question": "?", "documents": ["x"], "gold": [], "golden": 1}, "golden"),
        (
            {"question": "?", "documents": ["x"], "gold": [{"document": 0, "sentence": "y"}]},
            "in the text of document 0",
        ),
    ],
)
def test_lines_that_are_no_question(line: object, complaint: str, tmp_path: Path) -> None:
    path = write(tmp_path, {"question": "Why?", "documents": ["x"], "gold": []}, line)
    with pytest.raises(InputError, match=f"line 2.*{complaint}"):
        read_questions(path)


def test_a_file_without_questions(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no question"):
        read_questions(write(tmp_path))
    with pytest.raises(InputError, match="cannot read"):
        read_questions(tmp_path / "none.jsonl")
