"""Next tokens and given continuations, against the model's own logits."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import normxlogit as nxl
from normxlogit import Explainer
from tests.helpers.assertions import as_generation, assert_close, assert_same_explanation
from tests.helpers.model_outputs import block_outputs, model_outputs
from tests.helpers.models import causal_lm
from tests.helpers.texts import CONTINUATION, PROMPT, TEXTS

# Next tokens


@pytest.mark.parametrize("model_type", ["gpt2", "llama", "gpt_neox", "bloom"])
def test_the_next_token(model_type: str) -> None:
    explainer = causal_lm(model_type)
    outputs = model_outputs(explainer, TEXTS[0])
    best = int(outputs.logits[-1].argmax())
    result = explainer.explain(TEXTS[0])
    assert (result.target.id, result.target.position) == (best, len(outputs.ids) - 1)
    assert result.target.probability == pytest.approx(
        float(outputs.logits[-1].softmax(-1)[best]), rel=1e-4
    )
    assert_close(result.scores, outputs.norms * outputs.logits[:, best])
    assert_close(explainer.explain(TEXTS[0], target=7).scores, outputs.norms * outputs.logits[:, 7])
    apart = explainer.explain(TEXTS[0], target=7, contrast=9)
    assert_close(apart.scores, outputs.norms * (outputs.logits[:, 7] - outputs.logits[:, 9]))
    for readout in ("margin", "logprob", "centered"):
        others = outputs.logits.clone()
        others[:, 7] = -torch.inf
        expected = {
            "margin": outputs.logits[:, 7] - others.amax(-1),
            "logprob": outputs.logits.log_softmax(-1)[:, 7],
            "centered": outputs.logits[:, 7] - outputs.logits.mean(-1),
        }[readout]
        assert_close(
            explainer.explain(TEXTS[0], target=7, readout=readout).scores, outputs.norms * expected
        )


@pytest.mark.parametrize("model_type", ["gpt2", "llama"])
def test_layers_before_the_next_token(model_type: str) -> None:
    explainer = causal_lm(model_type)
    model: Any = explainer.model
    said = model_outputs(explainer, TEXTS[0])
    ids = torch.tensor([said.ids])
    is_gpt = model_type == "gpt2"
    states = block_outputs(
        model.transformer.h if is_gpt else model.model.layers, lambda: model(ids)
    )
    norm = model.transformer.ln_f if is_gpt else model.model.norm
    with torch.no_grad():
        expected = torch.stack([said.norms * model.lm_head(norm(s))[:, 7] for s in states])
    assert_close(explainer.explain(TEXTS[0], target=7, layer="all").scores, expected)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("model_type", ["gpt2", "llama", "bloom"])
def test_next_tokens_in_a_batch(model_type: str, side: str) -> None:
    explainer = causal_lm(model_type, padding_side=side)
    for options in ({}, {"target": 7, "contrast": 9, "layer": "all"}, {"readout": "centered"}):
        for text, one in zip(TEXTS, explainer.explain(TEXTS, **options), strict=True):
            assert_same_explanation(one, explainer.explain(text, **options))


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_next_token_of_tensors_is_that_after_the_last_of_each_row(side: str) -> None:
    explainer = causal_lm("llama", padding_side=side)
    inputs = dict(explainer.tokenizer(TEXTS, return_tensors="pt", padding=True))
    result = nxl.attribute(explainer.model, inputs)
    for row, text in enumerate(TEXTS):
        outputs = model_outputs(explainer, text)
        best = int(outputs.logits[-1].argmax())
        kept = inputs["attention_mask"][row].bool()
        assert result.targets[row].tolist() == [best]
        assert_close(result.scores[row][kept], outputs.norms * outputs.logits[:, best])
        assert bool(result.scores[row][~kept].isnan().all())


def continuation() -> tuple[Explainer, list[int], list[int], NDArray[np.float32], list[float]]:
    """A writer, the tokens of prompt and continuation, the scores, and the probabilities."""
    explainer = causal_lm()
    before = explainer.tokenizer(PROMPT)["input_ids"]
    ids = explainer.tokenizer(PROMPT + CONTINUATION)["input_ids"][len(before) :]
    scores = np.full((len(ids), len(before) + len(ids)), np.nan, np.float32)
    chances = []
    for n, number in enumerate(ids):
        outputs = model_outputs(explainer, ids=[*before, *ids[:n]])
        scores[n, : len(before) + n] = outputs.norms * outputs.logits[:, number]
        chances.append(float(outputs.logits[-1].softmax(-1)[number]))
    return explainer, before, ids, scores, chances


def test_a_given_continuation_token_by_token() -> None:
    explainer, before, ids, scores, chances = continuation()
    for target in (CONTINUATION, ids):
        result = as_generation(explainer.explain(PROMPT, target=target))
        assert_close(result.scores, scores)
        np.testing.assert_allclose(
            np.array([t.probability for t in result.targets], float), np.array(chances), rtol=1e-4
        )
        assert [t.id for t in result.targets] == ids
        assert [t.position for t in result.targets] == [
            len(before) - 1 + n for n in range(len(ids))
        ]
        assert (result.prompt, result.answer) == (PROMPT, CONTINUATION)
    for n, number in enumerate(ids):
        prefix = torch.tensor([[*before, *ids[:n]]])
        alone = nxl.attribute(explainer.model, {"input_ids": prefix}, target=number)
        assert_close(result.scores[n, : prefix.shape[1]], alone.scores[0])
    apart = explainer.explain(PROMPT, target=CONTINUATION, contrast=9)
    layers = explainer.explain(PROMPT, target=ids, layer="all")
    assert layers.scores.shape == (len(ids), 2, scores.shape[1])
    assert_close(layers.select(layer=2).scores, scores)
    last = model_outputs(explainer, ids=[*before, *ids[:-1]])
    assert_close(
        apart.scores[-1, :-1],
        last.norms * (last.logits[:, ids[-1]] - last.logits[:, 9]),
    )


def test_parts_of_a_continuation() -> None:
    explainer, before, ids, scores, chances = continuation()
    result = as_generation(explainer.explain(PROMPT, target=CONTINUATION))
    whole = result.whole()
    assert_close(whole.scores, np.nansum(scores, 0)[:-1])
    assert whole.target.label == CONTINUATION
    assert whole.target.probability == pytest.approx(np.prod(chances), rel=1e-3)
    text = explainer.tokenizer.decode
    first = next(n for n in range(len(ids)) if text(ids[: n + 1]).endswith(" not"))
    start = next(n for n in range(len(ids)) if text(ids[: n + 1]) > " is")
    part = result.span("not")
    same_part = result.span((CONTINUATION.index("not"), CONTINUATION.index("not") + 3))
    assert_close(part.scores, same_part.scores)
    rows = range(start if text(ids[start : start + 1]).strip() else start + 1, first + 1)
    assert_close(part.scores, np.nansum(scores[list(rows)], 0)[: len(before) + rows[-1]])
    (dot,) = [n for n, number in enumerate(ids) if text([number]) == "."]
    assert_close(result.span(".").scores, scores[dot, : len(before) + dot])
    words = result.by("word")
    np.testing.assert_allclose(np.nansum(words.scores, -1), np.nansum(result.scores, -1), rtol=1e-4)
    answer = words.segments == 1
    assert [words.tokens[i] for i in np.flatnonzero(answer)] == [
        "is", "not", "bad", ".", "Good", "!", "Don't", "watch", "it", "👍🏽",
    ]  # fmt: skip
    assert_close(words.whole().scores.sum(), whole.scores.sum())
    assert result.by("sentence").tokens[1:] == (
        "A great movie.", "But the plot", "is not bad.", "Good!", "Don't watch it 👍🏽",
    )  # fmt: skip
    assert result.by("line").tokens[1:] == (
        "A great movie.", "But the plot", "is not bad. Good!", "Don't watch it 👍🏽",
    )  # fmt: skip
    one = result.select(target=ids[2])
    assert_close(one.scores, scores[2])


def test_a_continuation_survives_a_file(tmp_path: Path) -> None:
    explainer, *_ = continuation()
    for options in ({}, {"layer": "all"}):
        result = as_generation(explainer.explain(PROMPT, target=CONTINUATION, **options))
        result.save(tmp_path / "why.json")
        loaded = as_generation(nxl.Attribution.load(tmp_path / "why.json"))
        assert loaded.to_dict() == result.to_dict()
        np.testing.assert_array_equal(loaded.scores, result.scores)
        assert_close(loaded.whole().scores, result.whole().scores)
        assert_close(loaded.by("word").scores, result.by("word").scores)


def test_the_tokens_of_a_prompt_stay_when_a_continuation_would_join_them() -> None:
    explainer = causal_lm()
    before = explainer.tokenizer("A great mov")["input_ids"]
    result = explainer.explain("A great mov", target="ie with")
    ids = [t.id for t in result.targets]
    assert result.tokens[: len(before)] == tuple(explainer.tokenizer.convert_ids_to_tokens(before))
    assert explainer.tokenizer.decode(ids) == "ie with"
