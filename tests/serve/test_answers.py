"""What the API answers is what the package gives, and errors are one line with the right status."""

import json
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from normxlogit import Explainer
from normxlogit.evaluation.method_specs import parse_method_specs
from normxlogit.results.text import Failure

TEXT = "A great movie with poor performers."


def alike(answer: Any, expected: Any) -> bool:
    """Whether JSON is that of `to_dict`; numbers to 1e-5, for models run in other batches."""
    if isinstance(expected, dict):
        return answer.keys() == expected.keys() and all(
            alike(answer[name], expected[name]) for name in expected
        )
    if isinstance(expected, (list, tuple)):
        return len(answer) == len(expected) and all(map(alike, answer, expected))
    if isinstance(expected, float):
        return bool(np.isclose(answer, expected, rtol=1e-5, atol=1e-5))
    return bool(answer == expected)


def named(explainer: Explainer, name: str) -> Explainer:
    """The same model, called as the server calls it."""
    return Explainer(explainer.model, explainer.tokenizer, name=name, head=explainer.head)


EXPLAINED: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({}, {}),
    ({"target": "NEGATIVE", "contrast": 1}, {"target": "NEGATIVE", "contrast": 1}),
    ({"target": "all", "method": "norm"}, {"target": "all", "method": "norm"}),
    (
        {"method": "normxlogit", "layer": "all", "readout": "margin"},
        {"method": "normxlogit", "layer": "all", "readout": "margin"},
    ),
    (
        {"method": "integrated_gradients", "options": {"n_steps": 8}},
        {"method": "integrated_gradients", "n_steps": 8},
    ),
    ({"pair": "It is good.", "method": "logat"}, {"method": "logat"}),
]


@pytest.mark.parametrize(("fields", "arguments"), EXPLAINED)
@pytest.mark.filterwarnings("ignore:a pair")
def test_explain(
    client: TestClient, demo: Explainer, fields: dict[str, Any], arguments: dict[str, Any]
) -> None:
    item = (TEXT, fields["pair"]) if "pair" in fields else TEXT
    answer = client.post("/v1/explain", json={"text": TEXT, **fields})
    assert answer.status_code == 200, answer.text
    expected = named(demo, "demo").explain(item, **arguments).to_dict()
    assert alike(answer.json(), expected)


def test_explain_a_list_by_words(client: TestClient, demo: Explainer) -> None:
    texts = [TEXT, " ", "It is good."]
    asked = {"text": texts, "method": "normxlogit", "unit": "word", "reduce": "max"}
    answers = client.post("/v1/explain", json=asked).json()
    results = named(demo, "demo").explain(texts, method="normxlogit")
    for answer, result in zip(answers, results, strict=True):
        expected = result if isinstance(result, Failure) else result.words("max")
        assert alike(answer, expected.to_dict())


def test_compare_and_verify(client: TestClient, demo: Explainer) -> None:
    methods: list[Any] = ["normxlogit", {"method": "occlusion", "options": {"unit": "word"}}]
    answer = client.post("/v1/compare", json={"text": TEXT, "methods": methods, "target": 0})
    own = named(demo, "demo")
    assert alike(answer.json(), own.compare(TEXT, methods, target=0).to_dict())
    answer = client.post("/v1/verify", json={"text": TEXT})
    assert alike(answer.json(), own.verify(own.explain(TEXT)).to_dict())
    assert parse_method_specs(methods)[1].options == {"unit": "word"}


def events(text: str) -> list[tuple[str, Any]]:
    """Server-sent events: their names, and the JSON that each holds."""
    parsed = []
    for block in text.strip().split("\n\n"):
        name, data = block.split("\n")
        assert name.startswith("event: ")
        assert data.startswith("data: ")
        parsed.append((name[7:], json.loads(data[6:])))
    return parsed


def test_generate(client: TestClient, llm: Explainer) -> None:
    prompt = "Is it a great movie?"
    asked = {"model": "llm", "prompt": prompt, "max_new_tokens": 5}
    answer = client.post("/v1/generate", json=asked)
    assert answer.headers["content-type"].startswith("text/event-stream")
    *tokens, (last, result) = events(answer.text)
    expected = named(llm, "llm").generate(prompt, max_new_tokens=5)
    assert alike(result, expected.to_dict())
    assert [name for name, _ in tokens] == ["token"] * len(expected.targets)
    assert last == "result"
    assert [data["token"] for _, data in tokens] == [target.label for target in expected.targets]
    assert tokens[-1][1]["answer"] == expected.answer
    whole = client.post("/v1/generate", json={**asked, "stream": False})
    assert alike(whole.json(), expected.to_dict())


def test_sources_and_a_chat(client: TestClient, llm: Explainer) -> None:
    documents = [{"title": "Plot", "text": "The plot is bad."}, "A great movie."]
    asked = {"question": "Is it good?", "documents": documents, "answer": "It is good."}
    answer = client.post("/v1/sources", json={"model": "llm", **asked})
    own = named(llm, "llm")
    expected = own.sources("Is it good?", documents, answer="It is good.")
    assert alike(answer.json(), json.loads(json.dumps(expected.to_dict())))
    chat = [{"role": "user", "content": "Is the plot bad?"}]
    answer = client.post("/v1/explain", json={"model": "llm", "messages": chat})
    assert alike(answer.json(), json.loads(json.dumps(own.explain(chat).to_dict())))


def test_models_and_health(client: TestClient) -> None:
    about = client.get("/v1/models").json()
    assert about["failed"] == ["broken"]
    assert [(m["name"], m["task"], m["head"]) for m in about["models"]] == [
        ("demo", "text-classification", True),
        ("llm", "text-generation", False),
    ]
    assert about["models"][0]["labels"] == ["NEGATIVE", "POSITIVE"]
    assert about["models"][1]["endpoints"] == ["explain", "compare", "generate", "sources"]
    assert client.get("/healthz").json() == {"status": "ok"}
    assert "normxlogit_requests_total" in client.get("/metrics").text


REFUSED: list[tuple[str, Any, int, str]] = [
    ("explain", {}, 422, "give either a text or the messages"),
    ("explain", {"text": " "}, 422, "empty or blank"),
    ("explain", {"text": []}, 422, "the list is empty"),
    ("explain", {"text": ["a"] * 9}, 413, "8 texts, and this one has 9"),
    ("explain", {"text": "a" * 1001}, 413, "1000 characters"),
    ("explain", {"text": "!" * 900}, 413, "over the limit of"),
    ("explain", {"text": TEXT, "model": "../demo"}, 404, "no model '../demo' here"),
    ("explain", {"text": TEXT, "model": "broken"}, 503, "did not load"),
    ("explain", {"text": TEXT, "target": "none"}, 422, "no label 'none'"),
    ("explain", {"text": TEXT, "method": "magic"}, 422, "no method 'magic'"),
    ("explain", {"text": TEXT, "options": {"target": 1}}, 422, "no option 'target'"),
    ("explain", {"text": TEXT, "txet": 1}, 422, "txet: Extra inputs"),
    ("explain", {"text": TEXT, "threshold": "x"}, 422, "threshold: "),
    ("explain", {"text": TEXT, "method": "alti", "model": "llm"}, 422, "BERT"),
    ("explain", {"text": TEXT, "options": {"head": "/etc/passwd"}}, 422, "names a file"),
    ("compare", {"text": TEXT, "methods": ["attribution_head:head=/etc/passwd"]}, 422, "a file"),
    ("compare", {"text": [TEXT], "methods": ["norm"]}, 422, "one text, not a list"),
    ("verify", {"text": TEXT, "model": "llm"}, 422, "has no verify"),
    ("generate", {"prompt": TEXT}, 422, "which has no generate"),
    ("generate", {"prompt": TEXT, "model": "llm", "max_new_tokens": 17}, 422, "16 at most"),
    ("generate", {"prompt": TEXT, "model": "llm", "custom_generate": "x"}, 422, "custom_gener"),
    ("generate", {"prompt": TEXT, "model": "llm", "options": {"weights": "x"}}, 422, "a file"),
    ("generate", {"prompt": TEXT, "model": "llm", "readout": "magic"}, 422, "magic"),
    ("sources", {"question": TEXT, "model": "llm", "options": {"weights": "x"}}, 422, "a file"),
    ("explain", b"{", 400, "no JSON"),
    ("explain", b"[" * 100_000, 400, "JSON"),
    ("explain", b'{"text": "\\ud800"}', 422, "surrogate"),
    ("none", {}, 404, "no such page"),
]


@pytest.mark.parametrize(("endpoint", "asked", "status", "message"), REFUSED)
def test_errors_are_one_line(
    client: TestClient, endpoint: str, asked: Any, status: int, message: str
) -> None:
    body = asked if isinstance(asked, bytes) else json.dumps(asked).encode()
    headers = {"Content-Type": "application/json"}
    answer = client.post(f"/v1/{endpoint}", content=body, headers=headers)
    error = answer.json()["error"]
    assert (answer.status_code, error["status"]) == (status, status), answer.text
    assert message in error["message"]
    assert "\n" not in error["message"]
    assert "Traceback" not in answer.text


def test_a_bug_is_no_traceback(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("secret of the inside")

    monkeypatch.setattr(Explainer, "compare", broken)
    answer = client.post("/v1/compare", json={"text": TEXT, "methods": ["norm"]})
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert "secret of the inside" in caplog.text
