"""π-Soft-NC and π-Soft-NS beside a slow, plain computation: one text, one mask at a time."""

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor
from transformers import BertConfig
from transformers.modeling_outputs import SequenceClassifierOutput
from typer.testing import CliRunner

from normxlogit import Explainer, ModelError, OptionError, cli
from normxlogit.data.files import write_whole
from normxlogit.evaluation import checkpoint, run
from normxlogit.evaluation.metrics.soft import keep_probabilities
from normxlogit.methods import METHODS, register
from normxlogit.methods.context import MethodContext
from tests.helpers.builders import tokenizer
from tests.helpers.evaluation import (
    OUTPUT_FILES,
    RATIOS,
    ROWS,
    TEXTS,
    PlainEvaluation,
    output_bytes,
    rows_reaching_model,
)
from tests.helpers.models import BagForSequenceClassification, classifier_explainer
from tests.helpers.soft_evaluation import SOFT, PlainSoftEvaluation, plain_chances
from tests.helpers.tiny import tiny_classifier

Data = dict[str, Any]
DECODER: Data = {"kind": "bpe", "add_eos": False}
SCORES = st.lists(st.floats(-1e30, 1e30) | st.integers(-3, 3).map(float), min_size=1, max_size=30)


@given(SCORES, st.lists(st.floats(0, 1), min_size=1, max_size=5))
def test_chances_have_the_mean_that_was_asked_for_and_the_order_of_scores(
    scores: list[float], shares: list[float]
) -> None:
    found = keep_probabilities(np.array(scores), shares)
    assert found.shape == (len(shares), len(scores))
    assert ((found >= 0) & (found <= 1)).all()
    np.testing.assert_allclose(found.mean(1), shares, rtol=0, atol=1e-9)
    for own, share in zip(found, shares, strict=True):
        ranked = own[np.argsort(scores, kind="stable")]
        assert (np.diff(ranked) >= -1e-15).all()
        np.testing.assert_allclose(own, plain_chances(scores, share), rtol=0, atol=1e-9)


@given(st.lists(st.integers(-9, 9), min_size=1, max_size=9), st.floats(0.1, 10), st.floats(-5, 5))
def test_neither_a_factor_nor_a_constant_keeps_more(
    scores: list[int], factor: float, constant: float
) -> None:
    own = np.array(scores, np.float64)
    moved = factor * own + constant if np.ptp(own) else own
    np.testing.assert_allclose(
        keep_probabilities(moved, RATIOS), keep_probabilities(own, RATIOS), rtol=0, atol=1e-9
    )


def test_what_has_no_score_is_like_the_lowest() -> None:
    holes = np.array([np.nan, 3, 1, np.nan])
    assert (
        keep_probabilities(holes, [0.25]).tolist()
        == keep_probabilities(np.array([1.0, 3, 1, 1]), [0.25]).tolist()
    )
    assert keep_probabilities(np.full(2, np.nan), [0.25]).tolist() == [[0.25, 0.25]]


CASES: dict[str, tuple[Callable[[], Explainer], Data]] = {
    "words": (classifier_explainer, {}),
    "tokens": (classifier_explainer, {"unit": "token", "seed": 3}),
    "pairs": (classifier_explainer, {"pair": "second"}),
    "a value": (lambda: classifier_explainer(num_labels=1), {}),
    "relative positions": (lambda: classifier_explainer("deberta-v2"), {}),
    "encoder and decoder": (lambda: classifier_explainer("bart"), {}),
    "Llama": (
        lambda: classifier_explainer("llama", padding_side="left", **DECODER),
        {"operator": "unk"},
    ),
    "GPT-2": (
        lambda: classifier_explainer("gpt2", pad_token=None, **DECODER),
        {"operator": "delete"},
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_both_metrics_of_every_text(case: str) -> None:
    make, options = CASES[case]
    explainer = make()
    rows: list[Data] = list(ROWS)[2:] if case == "pairs" else list(ROWS)
    if case == "tokens":
        rows = [{**row, "text": f"{row['second']} bel"} for row in rows[1:]]
    before = {name: value.clone() for name, value in explainer.model.state_dict().items()}
    options = {**options, "methods": ["normxlogit", "norm", "random"], "draws": 2}
    with rows_reaching_model(explainer.model) as run_with:
        found = explainer.evaluate(rows, **options, metrics=["soft"])
    with rows_reaching_model(explainer.model) as run_without:
        bare = explainer.evaluate(rows, **options)
    expected: dict[str, dict[str, list[float]]] = {}
    known: dict[int, PlainSoftEvaluation] = {}
    is_decoder = case in ("Llama", "GPT-2")
    for record in found.scores.to_pylist():
        number, row = record["row"], rows[record["row"]]
        item = (row["text"], row["second"]) if "pair" in options else row["text"]
        if number not in known:
            unit = options.get("unit", "word")
            plain = PlainEvaluation(explainer, item, "unk", unit, reads_last=is_decoder)
            known[number] = PlainSoftEvaluation(
                explainer, item, plain, number, options.get("seed", 0)
            )
        soft = known[number]
        if soft.room <= 1e-6:
            assert np.isnan([record[name] for name in SOFT]).all()
            continue
        again = soft.figures(record["scores"])
        within = 3e-6 / soft.room
        np.testing.assert_allclose([record[name] for name in SOFT], again, rtol=0, atol=within)
        for name, value in zip(SOFT, again, strict=True):
            own = expected.setdefault(name, {}).setdefault(record["method"], [])
            own.append(value)
    assert len(known) == len(rows)
    assert sum(soft.room > 1e-3 for soft in known.values()) >= 2
    for name, method in itertools.product(SOFT, ("normxlogit", "norm", "random")):
        figure = found.results["methods"][method]["figures"][name]
        assert figure["value"] == pytest.approx(np.mean(expected[name][method]), abs=1e-4)
        assert figure["by_ratio"] is None
    assert found.results["metrics"]["pi_soft_nc"]["higher_is_better"]
    spent, without = found.results["forwards"], bare.results["forwards"]
    variants = len(rows) * (1 + 4 * len(RATIOS) * 2)
    assert spent["asked"] - without["asked"] == variants
    assert spent["run"] - without["run"] == variants + 3 * len(rows)
    assert spent["run"] - without["run"] == len(run_with) - len(run_without)
    tokens = sum(map(len, run_with)) - sum(map(len, run_without))
    assert spent["tokens"] - without["tokens"] == tokens
    model = explainer.model
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


def bag(kind: Any = BagForSequenceClassification) -> Explainer:
    """A linear model of two classes, which says of no words that both are about as likely."""
    words = tokenizer(mask_token="<mask>")
    config: Any = BertConfig
    model: Any = kind(config(vocab_size=len(words), num_labels=2))
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        model.bag.embeddings.weight.normal_(generator=generator)
        model.bag.embeddings.weight[:5] = 0  # special tokens
        model.classifier.weight.normal_(generator=generator)
        model.classifier.weight[0] = -model.classifier.weight[1]
        model.classifier.bias.copy_(torch.tensor([0.01, -0.01]))
    return Explainer(model.eval(), words)


@pytest.fixture
def changed() -> Iterator[None]:
    """Methods that are occlusion turned round, and ten times as large."""

    @register("reverse", family="test", source="-", of_output=True)
    def reverse(context: MethodContext) -> Tensor:
        return -METHODS["occlusion"](context).scores

    @register("tenfold", family="test", source="-", of_output=True)
    def tenfold(context: MethodContext) -> Tensor:
        return 10 * METHODS["occlusion"](context).scores

    yield
    for name in ("reverse", "tenfold"):
        del METHODS[name]


@pytest.mark.usefixtures("changed")
def test_the_oracle_of_a_linear_model_beats_random_order_and_that_its_reverse() -> None:
    texts = [*TEXTS[:4], "a bad movie but one great plot", "not one mess", "two bad three great"]
    found = bag().evaluate(
        texts, methods=["occlusion", "tenfold", "random", "reverse"], metrics=["soft"]
    )
    figures = {name: own["figures"] for name, own in found.results["methods"].items()}
    for name in SOFT:
        best, chance, worst = (
            figures[method][name]["value"] for method in ("occlusion", "random", "reverse")
        )
        assert best > chance + 0.1 > chance > worst + 0.1
        assert figures["reverse"][name]["beside_best"]["high"] < 0
        assert figures["tenfold"][name]["value"] == pytest.approx(best, abs=1e-6)
    by_method: dict[str, list[Data]] = {}
    for record in found.scores.to_pylist():
        by_method.setdefault(record["method"], []).append(record)
    for one, other in zip(by_method["occlusion"], by_method["tenfold"], strict=True):
        assert [one[name] for name in SOFT] == pytest.approx([other[name] for name in SOFT])
        assert np.allclose(10 * np.array(one["scores"]), other["scores"])


def test_where_no_words_say_as_much_there_is_nothing_to_tell() -> None:
    explainer = bag()
    model: Any = explainer.model
    with torch.no_grad():
        model.classifier.bias.copy_(torch.tensor([9.0, -9.0]))
        model.classifier.weight[0] = -model.classifier.weight[1].abs()
        model.classifier.weight[1] = -model.classifier.weight[0]
        model.bag.embeddings.weight[5:] = model.bag.embeddings.weight[5:].abs() / 10
    found = explainer.evaluate(TEXTS, methods=["norm"], metrics=["soft"])
    for name in SOFT:
        assert np.isnan(found.scores[name].to_pylist()).all()
        assert name not in found.results["metrics"]


def soft_values(explainer: Explainer, rows: Any, **options: Any) -> NDArray[np.float64]:
    scores = explainer.evaluate(rows, methods=["norm"], metrics=["soft"], **options).scores
    return np.array([scores[name].to_numpy() for name in SOFT]).T


def test_masks_depend_on_the_seed_and_the_row_alone() -> None:
    explainer = classifier_explainer(num_labels=1)
    whole = soft_values(explainer, TEXTS)
    assert (soft_values(explainer, TEXTS) == whole).all()
    np.testing.assert_allclose(soft_values(explainer, TEXTS, limit=2), whole[:2], atol=1e-3)
    assert (np.abs(soft_values(explainer, TEXTS, seed=1) - whole) > 1e-3).any(1).all()
    twice = soft_values(explainer, [TEXTS[0]] * 2)
    assert (np.abs(twice[0] - twice[1]) > 1e-3).any()


def test_stopped_at_each_part_it_goes_on_to_the_same_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("normxlogit.evaluation.report.write_report", lambda *_: None)
    monkeypatch.setattr(run, "AT_A_TIME", 2)
    explainer = classifier_explainer()
    options: Data = {"methods": ["norm", "random"], "metrics": ["soft"], "draws": 2}
    for name in ("whole", "again"):
        explainer.evaluate(TEXTS, tmp_path / name, **options)
    assert output_bytes(tmp_path / "again") == output_bytes(tmp_path / "whole")
    for stop in range(3):
        folder, saved = tmp_path / str(stop), 0

        def writes(path: Path, text: Any, stop: int = stop) -> None:
            nonlocal saved
            if path.suffix == ".parquet":
                if saved == stop:
                    raise KeyboardInterrupt
                saved += 1
            write_whole(path, text)

        with monkeypatch.context() as patch:
            patch.setattr(checkpoint, "write_whole", writes)
            with pytest.raises(KeyboardInterrupt):
                explainer.evaluate(TEXTS, folder, **options)
        assert len(list((folder / ".parts").glob("0*.parquet"))) == stop
        explainer.evaluate(TEXTS, folder, **options)
        assert output_bytes(folder) == output_bytes(tmp_path / "whole")
    assert all((tmp_path / "whole" / name).exists() for name in OUTPUT_FILES)


def test_the_preset_of_the_paper_has_no_whole_special_tokens() -> None:
    with pytest.raises(OptionError, match=r"keeps special tokens whole.*take preset 'corrected'"):
        classifier_explainer().evaluate(TEXTS, methods=["norm"], metrics=["soft"], preset="paper")


class BackwardsForSequenceClassification(BagForSequenceClassification):  # type: ignore[no-untyped-call]
    """Looks its tokens up in another order than they are given in."""

    def forward(
        self, input_ids: Any = None, attention_mask: Any = None, inputs_embeds: Any = None, **_: Any
    ) -> SequenceClassifierOutput:
        return super().forward(input_ids.flip(1), attention_mask, inputs_embeds)


class FickleForSequenceClassification(BagForSequenceClassification):  # type: ignore[no-untyped-call]
    """Says something else each time."""

    def forward(
        self, input_ids: Any = None, attention_mask: Any = None, inputs_embeds: Any = None, **_: Any
    ) -> SequenceClassifierOutput:
        logits: Any = super().forward(input_ids, attention_mask, inputs_embeds).logits
        return SequenceClassifierOutput(logits=logits + torch.rand(2))


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (BackwardsForSequenceClassification, "does not look them up one by one"),
        (FickleForSequenceClassification, r"with its own embeddings put in place gives \[\["),
    ],
)
def test_models_whose_embeddings_cannot_be_replaced(kind: Any, reason: str) -> None:
    explainer = bag(kind)
    explainer.evaluate(TEXTS, methods=["random"])
    with pytest.raises(ModelError, match=f"{reason}.*Leave soft out of metrics") as error:
        explainer.evaluate(TEXTS, methods=["random"], metrics=["soft"])
    assert "\n" not in str(error.value)


def test_the_report_shows_both(tmp_path: Path) -> None:
    data, out = tmp_path / "reviews.txt", tmp_path / "out"
    data.write_text("\n".join(TEXTS))
    usual = ["--model", tiny_classifier(tmp_path / "model"), "--data", data, "-o", out]
    usual += ["--operator", "unk", "--methods", "norm,logat,random", "--metrics", "soft,loo_tau"]
    result = CliRunner().invoke(cli.app, ["evaluate", *map(str, usual)])
    assert result.exit_code == 0, result.output
    page, text = ((out / f"report.{kind}").read_text("utf-8") for kind in ("html", "md"))
    for shown in ("π-Soft-NC", "π-Soft-NS"):
        assert f"{shown}\N{NO-BREAK SPACE}↑" in page
        assert f"| {shown}\N{NO-BREAK SPACE}↑ |" in text
