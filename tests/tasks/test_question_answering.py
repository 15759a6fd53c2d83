"""Answers in a context, against the model's own logits of starts and ends."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from normxlogit import Explainer
from tests.helpers.assertions import assert_close, assert_same_explanation
from tests.helpers.model_outputs import model_outputs
from tests.helpers.models import explainer_with_head, tokenizer_with_mask
from tests.helpers.texts import CONTEXT, QUESTION, TEXTS
from tests.helpers.zoo import tiny_model


def best_span(logits: Tensor, may: Sequence[int]) -> tuple[int, int]:
    pairs = [(s, e) for s in may for e in may if s <= e]
    return max(pairs, key=lambda p: float(logits[p[0], 0] + logits[p[1], 1]))


def in_context(explainer: Explainer, *texts: str) -> list[int]:
    sequence = explainer.tokenizer(*texts).sequence_ids(0)
    return [i for i, s in enumerate(sequence) if s == 1]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("model_type", ["bert", "bart", "llama", "t5"])
def test_the_predicted_answer_is_the_best_one_within_the_context(
    model_type: str, seed: int
) -> None:
    words = tokenizer_with_mask()
    model = tiny_model(model_type, mapping="question-answering", vocab_size=len(words), seed=seed)
    explainer = Explainer(model, words)
    outputs = model_outputs(explainer, QUESTION, CONTEXT)
    may = in_context(explainer, QUESTION, CONTEXT)
    start, end = best_span(outputs.logits, may)
    characters = explainer.tokenizer(QUESTION, CONTEXT)
    begin, stop = characters.token_to_chars(start).start, characters.token_to_chars(end).end
    result = explainer.explain((QUESTION, CONTEXT))
    assert result.target.label == CONTEXT[begin:stop].strip()
    assert (result.target.position, result.target.id) == (start, 2)
    assert result.prediction.predicted == (result.target,)
    first, last, whole = result.prediction.outputs
    assert (first.position, last.position) == (start, end)
    chances = outputs.logits.softmax(0)
    assert first.probability == pytest.approx(float(chances[start, 0]), rel=1e-4)
    assert last.probability == pytest.approx(float(chances[end, 1]), rel=1e-4)
    assert whole.probability == pytest.approx(float(chances[start, 0] * chances[end, 1]), rel=1e-4)
    assert whole.logit == pytest.approx(
        float(outputs.logits[start, 0] + outputs.logits[end, 1]), abs=1e-4
    )
    assert_close(result.scores, outputs.norms * outputs.logits.sum(-1))
    for output, which in (("start", 0), ("end", 1)):
        part = explainer.explain((QUESTION, CONTEXT), target=output)
        assert_close(part.scores, outputs.norms * outputs.logits[:, which])
        assert part.target.position == (start, end)[which]
    every = explainer.explain((QUESTION, CONTEXT), target="all")
    assert_close(
        every.scores, outputs.norms * torch.stack([*outputs.logits.T, outputs.logits.sum(-1)])
    )
    apart = explainer.explain((QUESTION, CONTEXT), target="start", contrast="end")
    assert_close(apart.scores, outputs.norms * (outputs.logits[:, 0] - outputs.logits[:, 1]))


def test_an_answer_by_its_text_or_characters() -> None:
    explainer = explainer_with_head("bert", "question-answering")
    outputs = model_outputs(explainer, QUESTION, CONTEXT)
    encoding = explainer.tokenizer(QUESTION, CONTEXT)
    for answer in ("poor performers", (19, 34)):
        result = explainer.explain((QUESTION, CONTEXT), target=answer)
        start, end = (encoding.char_to_token(c, sequence_index=1) for c in (19, 33))
        assert result.target.label == "poor performers"
        assert result.target.position == start
        assert [o.position for o in result.prediction.outputs] == [start, end, start]
        logit = float(outputs.logits[start, 0] + outputs.logits[end, 1])
        assert result.target.logit == pytest.approx(logit, abs=1e-4)
        assert_close(result.scores, outputs.norms * outputs.logits.sum(-1))
    second = explainer.explain((QUESTION, CONTEXT), target=(38, 43))
    assert second.target.label == "great"
    assert second.target.position == encoding.char_to_token(38, sequence_index=1)


def test_the_positions_of_a_decoder_that_answers() -> None:
    """Position i of BART has read the token before, whose score it is; the answer is not moved."""
    explainer = explainer_with_head("bart", "question-answering")
    outputs = model_outputs(explainer, QUESTION, CONTEXT)
    ids = explainer.tokenizer(QUESTION, CONTEXT)["input_ids"]
    tokens = explainer.tokenizer.convert_ids_to_tokens(ids)
    result = explainer.explain((QUESTION, CONTEXT), target="poor")
    start = tokens.index("poor")
    assert result.target.label == "poor"
    assert result.target.position == start
    assert result.tokens[1:] == tuple(tokens[:-1])
    assert result.target.logit == pytest.approx(float(outputs.logits[start].sum()), abs=1e-4)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("model_type", ["bert", "llama", "bart", "roberta"])
def test_answers_in_a_batch(model_type: str, side: str) -> None:
    explainer = explainer_with_head(
        model_type, "question-answering", tokenizer_with_mask(padding_side=side)
    )
    pairs = [(QUESTION, CONTEXT), ("what", "Good."), ("what plot", TEXTS[2])]
    for target in (None, "start", "all"):
        together = explainer.explain(pairs, target=target)
        for pair, one in zip(pairs, together, strict=True):
            assert_same_explanation(one, explainer.explain(pair, target=target))
