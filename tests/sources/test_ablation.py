"""An answer without parts of its prompt, held against a fresh pass for each."""

from typing import Any

import pytest
import torch

from normxlogit.errors import UnsupportedHeadError
from normxlogit.model.outputs import PassCounter, counting
from normxlogit.sources.ablation import Ablation, TokenSpan
from tests.helpers.answers import by_fresh_pass, random_causal

GENERATOR = torch.Generator().manual_seed(0)
PROMPT = torch.randint(5, 120, (90,), generator=GENERATOR).tolist()
ANSWER = torch.randint(5, 120, (7,), generator=GENERATOR).tolist()
PARTS = [(10, 25), (25, 40), (40, 62), (62, 80)]
ROWS: list[list[TokenSpan]] = [
    [],
    *([part] for part in PARTS),
    PARTS,
    [PARTS[2], PARTS[0]],
    [(20, 30), (5, 25)],
    [(80, 90)],
    [(0, 10)],
    [(0, 90)],
]
DYNAMIC = {
    "rope_parameters": {"rope_type": "dynamic", "factor": 4.0, "rope_theta": 10000.0},
    "max_position_embeddings": 64,
}


# Its scale changes once, at 84 tokens: between the whole prompt and its variants.
LONG_ROPE = {
    "rope_parameters": {
        "rope_type": "longrope",
        "rope_theta": 10000.0,
        "short_factor": [1.0] * 4,
        "long_factor": [6.0] * 4,
        "original_max_position_embeddings": 84,
    },
    "original_max_position_embeddings": 84,
    "max_position_embeddings": 1000,
}


def expected(
    model: Any, removed: list[TokenSpan], start: int = 0, prompt: list[int] = PROMPT
) -> torch.Tensor:
    kept = [t for i, t in enumerate(prompt) if not any(a <= i < b for a, b in removed)]
    return by_fresh_pass(model, kept or [start], ANSWER)


@pytest.mark.parametrize(
    ("model_type", "options", "cached"),
    [
        ("llama", {}, True),
        ("qwen3", {}, True),
        ("gemma2", {"sliding_window": 24}, True),
        ("gemma3_text", {"sliding_window": 24}, True),
        ("gpt2", {}, True),
        ("mistral", {"sliding_window": 24}, True),
        ("mamba", {}, False),
        ("jamba", {}, False),
        ("llama", DYNAMIC, False),
    ],
)
def test_as_exact_as_fresh_passes(model_type: str, options: dict[str, Any], cached: bool) -> None:
    model = random_causal(model_type, **options)
    ablation, counter = Ablation(model, PROMPT, ANSWER, start=0, most_rows=4), PassCounter()
    with counting(counter):
        logprobs = ablation.logprobs(ROWS)
    fresh = torch.stack([expected(model, row) for row in ROWS])
    assert (logprobs - fresh).abs().max() < 1e-4
    # What goes matters by far more, so that a row of another's numbers would be noticed; but for
    # what no window reaches from the answer.
    near = fresh[3:8]
    assert torch.cdist(near, near).fill_diagonal_(9).min() > 1e-3
    assert ablation.cached is cached
    whole = sum(90 + 6 - sum(b - a for a, b in row) for row in ROWS)
    assert (counter.tokens < whole) is cached


def test_longer_texts_are_tried_again() -> None:
    """What holds in a short text need not in a long one; what failed once is not tried again."""
    model = random_causal("llama", **DYNAMIC)
    short = Ablation(model, PROMPT[:40], ANSWER, start=0, most_rows=4)
    parts = [[(10, 20)], [(20, 30)], [(30, 38)]]
    short.logprobs(parts)
    assert short.cached is True
    for _ in range(2):
        ablation = Ablation(model, PROMPT, ANSWER, start=0, most_rows=4)
        logprobs = ablation.logprobs(ROWS)
        assert ablation.cached is False
        fresh = torch.stack([expected(model, row) for row in ROWS])
        assert (logprobs - fresh).abs().max() < 1e-4


def test_lengths_between_which_nothing_was_tried() -> None:
    """A trial above the length at which positions change says nothing about texts across it."""
    model = random_causal("phi3", **LONG_ROPE)
    long = PROMPT * 3
    above: list[list[TokenSpan]] = [[(100 + a, 100 + b)] for a, b in PARTS]
    for prompt, rows, cached in ((long, above, True), (PROMPT, ROWS, False), (long, above, True)):
        ablation = Ablation(model, prompt, ANSWER, start=0, most_rows=4)
        logprobs = ablation.logprobs(rows)
        fresh = torch.stack([expected(model, row, prompt=prompt) for row in rows])
        assert (logprobs - fresh).abs().max() < 1e-4
        assert ablation.cached is cached


def test_little_before_the_first_part() -> None:
    """A trial that takes a token from the cache does not see how positions change."""
    model = random_causal("phi3", **LONG_ROPE)
    rows: list[list[TokenSpan]] = [[(1, 25)], [(25, 40)], [(40, 62)], [(80, 90)], [(1, 90)]]
    ablation = Ablation(model, PROMPT, ANSWER, start=0, most_rows=4)
    logprobs = torch.cat([ablation.logprobs(rows[:4]), ablation.logprobs(rows[4:])])
    fresh = torch.stack([expected(model, row) for row in rows])
    assert (logprobs - fresh).abs().max() < 1e-4
    assert ablation.cached is False


def test_memory_that_runs_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch that is too large is run in halves."""
    model = random_causal("llama")
    ablation = Ablation(model, PROMPT, ANSWER, start=0, most_rows=8)
    ablation.logprobs([[part] for part in PARTS])
    run, rows = ablation._logits, list[int]()

    def limited(variants: Any, *args: Any) -> Any:
        rows.append(len(variants))
        if len(variants) > 1:
            raise torch.OutOfMemoryError
        return run(variants, *args)

    monkeypatch.setattr(ablation, "_logits", limited)
    words = [[(n, n + 1)] for n in range(40, 44)]
    logprobs = ablation.logprobs(words)
    assert max(rows) > 1
    fresh = torch.stack([expected(model, row) for row in words])
    assert (logprobs - fresh).abs().max() < 1e-4


def test_models_that_read_both_ways() -> None:
    with pytest.raises(UnsupportedHeadError, match="reads its prompt in both directions"):
        Ablation(random_causal("xlnet"), PROMPT, ANSWER, start=0, most_rows=4)


def test_the_model_is_left_alone() -> None:
    model = random_causal("llama", **DYNAMIC)
    before = {name: value.clone() for name, value in model.named_buffers()}
    forwards = {name: vars(module).get("forward") for name, module in model.named_modules()}
    Ablation(model, PROMPT, ANSWER, start=0, most_rows=4).logprobs(ROWS)
    assert all(torch.equal(value, before[name]) for name, value in model.named_buffers())
    assert forwards == {n: vars(module).get("forward") for n, module in model.named_modules()}
