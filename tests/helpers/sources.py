"""Short questions with gold sources, and a tiny model that answers them somehow."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from normxlogit import Explainer
from normxlogit.evaluation.sources.answers import Answered, answer_questions
from normxlogit.evaluation.sources.questions import GoldQuestion
from tests.helpers.builders import tokenizer
from tests.helpers.zoo import tiny_model

WORDS = ("movie", "plot", "mess", "acting", "one", "two")


def question_line(number: int) -> dict[str, Any]:
    """A question of three short documents, one of them gold but for every fourth."""
    a, b, c = (WORDS[(number + n) % len(WORDS)] for n in range(3))
    line: dict[str, Any] = {
        "question": f"What is {a}?",
        "documents": [f"The {a} is good. It is {c}.", f"A {b} is bad.", {"text": f"Not {c} {b}."}],
        "gold": [] if number % 4 == 3 else [{"document": number % 3, "sentence": ""}],
        "answer": a,
        "kind": "odd" if number % 2 else "even",
    }
    for gold in line["gold"]:
        document = line["documents"][gold["document"]]
        text = document["text"] if isinstance(document, dict) else document
        gold["sentence"] = text.partition(". ")[0].rstrip(".") + "."
    return line


def questions_file(folder: Path, count: int) -> Path:
    """Write so many questions as JSON lines."""
    path = folder / "questions.jsonl"
    path.write_text("".join(json.dumps(question_line(n)) + "\n" for n in range(count)))
    return path


@cache
def answering_explainer(kind: str = "llama") -> Explainer:
    """A random causal model of two layers, and a tokenizer without a chat template."""
    words = tokenizer(add_eos=False, model_max_length=512)
    model = tiny_model(
        kind, 3, mapping="causal-lm", vocab_size=len(words), max_position_embeddings=512
    )
    return Explainer(model, words)


def answered_by(explainer: Explainer, question: GoldQuestion) -> Answered:
    """The answer to a question, which must succeed."""
    (answered,) = answer_questions(explainer, [question])
    assert isinstance(answered, Answered), answered
    return answered
