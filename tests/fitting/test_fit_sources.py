"""Weights of sources: fitted, kept in a file, used, and refused where they do not belong."""

import copy
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from typer.testing import CliRunner

from normxlogit import Explainer, InputError, OptionError, cli
from normxlogit.evaluation.sources.questions import read_questions
from normxlogit.sources.attention import attention_of_heads
from normxlogit.sources.weights import SourceWeights
from tests.helpers.sources import answered_by, answering_explainer, questions_file

COUNT = 15


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return questions_file(tmp_path_factory.mktemp("data"), COUNT)


@pytest.fixture(scope="module")
def weights(data: Path) -> SourceWeights:
    return answering_explainer().fit_sources(data)


def maps_of(explainer: Explainer, ids: list[int]) -> Any:
    model: Any = explainer.model
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        with torch.no_grad():
            return torch.stack(model(torch.tensor([ids]), output_attentions=True).attentions)[:, 0]
    finally:
        model.set_attn_implementation(before)


def test_scores_are_weighted_sums_of_the_models_own_maps(
    weights: SourceWeights, data: Path
) -> None:
    """By the maps of all layers at once, and loops."""
    explainer, question = answering_explainer(), read_questions(data)[4]
    answered = answered_by(explainer, question)
    case = answered.case
    found = explainer.sources(
        question.question,
        list(question.documents),
        answer=case.answer,
        spans=list(answered.parts),
        method="attention",
        weights=weights,
    )
    maps = maps_of(explainer, [*case.ids, *case.answer_ids])  # [layers, heads, tokens, tokens]
    rows = [len(case.ids) - 1 + number for number in case.spans[0]]
    for number, (start, end) in enumerate(case.sources):
        expected = sum(
            float(weights.heads[layer, head] * maps[layer, head, row, start:end].sum())
            for layer in range(maps.shape[0])
            for head in range(maps.shape[1])
            for row in rows
        ) / len(rows)
        assert found.scores[0, number] == pytest.approx(expected, abs=1e-5)
    assert found.threshold == pytest.approx(weights.thresholds["attention"])


def test_weights_solve_ridge_on_two_questions_of_three(weights: SourceWeights, data: Path) -> None:
    explainer, features, targets = answering_explainer(), [], []
    for number, question in enumerate(read_questions(data)):
        if number % 3 != 2:
            answered = answered_by(explainer, question)
            paid = attention_of_heads(answered.case, answered.case.sources)[0]
            features.append(paid.reshape(-1, paid.shape[-1]).T)
            targets.append(1 - np.exp(-np.maximum(answered.drops(), 0)))
    x, y = np.concatenate(features).astype(np.float64), np.concatenate(targets)
    penalty = weights.settings["penalty"] * np.mean(np.square(x).sum(0))
    # At the minimum of |xw - y|^2 + penalty |w|^2 the gradient is 0.
    w = weights.heads.reshape(-1).astype(np.float64)
    gradient = x.T @ (x @ w - y) + penalty * w
    assert np.abs(gradient).max() <= 1e-4 * np.abs(x.T @ y).max()
    assert weights.held_out["questions"] == COUNT // 3


def test_a_file_gives_the_same_weights(weights: SourceWeights, tmp_path: Path) -> None:
    weights.save(tmp_path / "tiny.sources")
    loaded = SourceWeights.load(tmp_path / "tiny.sources")
    assert (loaded.heads == weights.heads).all()
    for name in ("thresholds", "model", "settings", "data", "held_out", "versions", "identity"):
        assert getattr(loaded, name) == getattr(weights, name)


def test_weights_of_another_model_are_refused_by_both_names(
    weights: SourceWeights, tmp_path: Path
) -> None:
    other = answering_explainer("gpt2")
    weights.save(tmp_path / "tiny.sources")
    with pytest.raises(InputError, match=r"LlamaForCausalLM.*GPT2LMHeadModel"):
        other.sources("Is it?", ["a", "b"], method="attention", weights=tmp_path / "tiny.sources")
    with pytest.raises(OptionError, match="got 3"):
        other.sources("Is it?", ["a", "b"], method="attention", weights=3)  # type: ignore[arg-type]


def test_weights_are_refused_once_the_model_has_been_trained_on(weights: SourceWeights) -> None:
    shared = answering_explainer()
    explainer = Explainer(copy.deepcopy(shared.model), shared.tokenizer)
    asked: dict[str, Any] = {"method": "attention", "weights": weights}
    explainer.sources("Is it?", ["a", "b"], **asked)
    with torch.no_grad():
        explainer.model.lm_head.weight.mul_(2)
    with pytest.raises(InputError, match="have changed since"):
        explainer.sources("Is it?", ["a", "b"], **asked)


def test_files_that_are_refused(weights: SourceWeights, tmp_path: Path) -> None:
    for name, content in (("none", None), ("text", b"x"), ("empty", b"")):
        path = tmp_path / name
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(InputError, match=re.escape(str(path))):
            SourceWeights.load(path)
    save_file({"heads": np.ones((2, 2), np.float32)}, tmp_path / "other")
    with pytest.raises(InputError, match="not weights of sources"):
        SourceWeights.load(tmp_path / "other")
    weights.save(tmp_path / "whole")
    content = (tmp_path / "whole").read_bytes()
    newer = content.replace(b'\\"schema\\": 1', b'\\"schema\\": 7')
    assert newer != content
    (tmp_path / "newer").write_bytes(newer)
    with pytest.raises(InputError, match="newer normxlogit"):
        SourceWeights.load(tmp_path / "newer")


def test_the_command_writes_the_same_weights(
    weights: SourceWeights, data: Path, tmp_path: Path
) -> None:
    explainer: Any = answering_explainer()
    explainer.model.save_pretrained(tmp_path / "model")
    explainer.tokenizer.save_pretrained(tmp_path / "model")
    file = tmp_path / "tiny.sources"
    arguments = ["fit-sources", str(data), "-m", str(tmp_path / "model"), "-o", str(file)]
    result = CliRunner().invoke(cli.app, arguments)
    assert result.exit_code == 0, result.stderr
    assert "leave_one_out" in result.stdout
    assert SourceWeights.load(file).heads == pytest.approx(weights.heads, abs=1e-6)


def test_too_few_questions_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="3 questions could be asked"):
        answering_explainer().fit_sources(questions_file(tmp_path, 3))
    with pytest.raises(OptionError, match="questions must be"):
        answering_explainer().fit_sources(questions=3)
