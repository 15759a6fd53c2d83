"""GlobEnc, ALTI and DecompX, against what their authors' code gives and algebra on the model."""

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

import normxlogit as nxl
from normxlogit.methods.context_mixing import alti, decompx, globenc
from tests.helpers.assertions import succeeded
from tests.helpers.builders import classifier, tokenizer
from tests.helpers.references import (
    REFERENCE_INPUTS,
    reference_inputs,
    reference_model,
    reference_numbers,
)
from tests.helpers.zoo import tiny_inputs, tiny_model

METHODS = ["globenc", "alti", "decompx"]
MAPS = {"globenc": ("enc", "rollout"), "alti": ("contributions", "rollout")}
SERVED = ["bert", "roberta", "xlm-roberta", "camembert", "electra", "ernie", "rembert", "roformer"]
REFUSED = ["albert", "distilbert", "deberta-v2", "llama", "gpt2", "bart", "t5", "big_bird", "xmod"]
CLOSE = {torch.float64: 1e-6, torch.float32: 1e-5}
"""Scores are float32 of either."""


def together(kind: str) -> tuple[dict[str, Tensor], list[int]]:
    """All inputs of the references in one batch, and how long each is."""
    rows = [reference_inputs(kind, number) for name, number in REFERENCE_INPUTS if name == kind]
    for row in rows:
        row["attention_mask"] = torch.ones_like(row["input_ids"])
    padded = {
        name: pad_sequence([row[name][0] for row in rows], batch_first=True) for name in rows[0]
    }
    return padded, [row["input_ids"].shape[1] for row in rows]


def assert_near(actual: Tensor, expected: Tensor, within: float) -> None:
    """Each differs by no more than so much of the largest number."""
    assert actual.shape == expected.shape
    assert float((actual - expected).abs().max()) <= within * float(expected.abs().max())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("kind", "number"), REFERENCE_INPUTS)
@pytest.mark.parametrize("method", MAPS)
def test_maps_are_those_of_the_authors(
    method: str, kind: str, number: int, dtype: torch.dtype
) -> None:
    model, inputs = reference_model(kind, dtype), reference_inputs(kind, number)
    for rollout in (False, True):
        key = f"{kind}/{number}/{method}/{MAPS[method][rollout]}"
        expected = reference_numbers(method)[key][:, 0]  # the row of [CLS] in every layer
        result = nxl.attribute(model, inputs, method=method, layer="all", rollout=rollout)
        for layer, (scores, reference) in enumerate(
            zip(result.scores[0], expected, strict=True), 1
        ):
            assert_near(scores, reference, CLOSE[dtype])
            alone = nxl.attribute(model, inputs, method=method, layer=layer, rollout=rollout)
            torch.testing.assert_close(alone.scores[0], scores)
        assert result.layers == [1, 2, 3]
        assert result.unsigned
        last = nxl.attribute(model, inputs, method=method, rollout=rollout).scores
        torch.testing.assert_close(last, result.scores[:, -1])


@pytest.mark.parametrize(("kind", "number"), REFERENCE_INPUTS)
def test_in_float64_all_rows_are_those_of_the_authors(
    kind: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, inputs = reference_model(kind, torch.float64), reference_inputs(kind, number)
    for module, name, key in (
        (alti, "alti_map", "alti/contributions"),
        (globenc, "globenc_map", "globenc/enc"),
        (decompx, "_through_head", "decompx/classifier"),
    ):
        maps: list[Tensor] = []
        original = getattr(module, name)

        def note(*args: Any, original: Any = original, maps: list[Tensor] = maps) -> Tensor:
            maps.append(original(*args))
            return maps[-1]

        monkeypatch.setattr(module, name, note)
        method = key.split("/")[0]
        options: dict[str, Any] = {} if method == "decompx" else {"layer": "all"}
        nxl.attribute(model, inputs, method=method, **options)
        expected = reference_numbers(method)[f"{kind}/{number}/{key}"]
        assert_near(torch.stack(maps).reshape(expected.shape), expected, 1e-12)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(("kind", "number"), REFERENCE_INPUTS)
def test_outputs_are_decomposed_as_by_the_authors(
    kind: str, number: int, dtype: torch.dtype
) -> None:
    model, inputs = reference_model(kind, dtype), reference_inputs(kind, number)
    result = nxl.attribute(model, inputs, method="decompx", target="all")
    expected = reference_numbers("decompx")[f"{kind}/{number}/decompx/classifier"].T
    assert_near(result.scores[0], expected, CLOSE[dtype])
    assert_near(
        result.scores[0].sum(-1), reference_numbers("inputs")[f"{kind}/{number}/logits"], 1e-5
    )
    assert result.unsigned is None
    assert result.readout == "logit"
    two = nxl.attribute(model, inputs, method="decompx", target=2, contrast=0).scores[0]
    assert_near(two, expected[2] - expected[0], 1e-5)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["bert", "roberta"])
def test_padding_changes_nothing(kind: str, method: str) -> None:
    model = reference_model(kind, torch.float32)
    inputs, lengths = together(kind)
    batch = nxl.attribute(model, inputs, method=method, target="all").scores
    for number, (scores, length) in enumerate(zip(batch, lengths, strict=True)):
        if method == "decompx":
            expected = reference_numbers(method)[f"{kind}/{number}/decompx/classifier"].T
        else:
            expected = reference_numbers(method)[f"{kind}/{number}/{method}/rollout"][
                -1, :1
            ].expand(3, -1)
        assert_near(scores[:, :length], expected, 1e-5)
        assert scores[:, length:].isnan().all()


@pytest.mark.parametrize("method", METHODS)
def test_padding_on_the_left(method: str) -> None:
    model = tiny_model("roberta", mapping="token-classification")
    right, left = (
        tiny_inputs(model, batch=3, padding=side, mapping="token-classification")
        for side in ("right", "left")
    )
    from_right, from_left = (
        nxl.attribute(model, inputs, method=method, position=position).scores
        for inputs, position in ((right, torch.tensor([1, 1, 1])), (left, torch.tensor([1, 3, 5])))
    )
    for row, length in enumerate([7, 5, 3]):
        torch.testing.assert_close(
            from_right[row, :length], from_left[row, -length:], rtol=1e-4, atol=1e-5
        )
        assert from_left[row, :-length].isnan().all()


@pytest.mark.parametrize("model_type", SERVED)
def test_parts_add_up(model_type: str) -> None:
    model = tiny_model(model_type)
    inputs = tiny_inputs(model, batch=3)
    whole = nxl.attribute(model, inputs, method="decompx", target="all")
    with torch.no_grad():
        logits = model(**inputs).logits
    torch.testing.assert_close(whole.scores.nansum(-1), logits, rtol=1e-4, atol=1e-5)
    for rollout in (True, False):
        parts = nxl.attribute(model, inputs, method="alti", layer="all", rollout=rollout).scores
        torch.testing.assert_close(parts.nansum(-1), torch.ones(parts.shape[:2]))
    norms = nxl.attribute(model, inputs, method="globenc").scores
    assert (norms.nan_to_num(1.0) > 0).all()


HEADS = [
    ("bert", "token-classification", torch.tensor([1, 2, 0])),
    ("roberta", "token-classification", torch.tensor([[0, 2], [2, 1], [1, -1]])),
    ("electra", "token-classification", torch.tensor([1, 2, 0])),
    ("bert", "masked-lm", torch.tensor([[1], [1], [1]])),
    ("roberta", "masked-lm", torch.tensor([[1, 2, 0, 3, 4, 5, 6]] * 3)),
    ("electra", "masked-lm", torch.tensor([1, 1, 1])),
    ("bert", "causal-lm", None),
    ("roberta", "causal-lm", None),
]


@pytest.mark.parametrize(("model_type", "mapping", "position"), HEADS)
def test_heads_for_every_token(model_type: str, mapping: str, position: Tensor | None) -> None:
    model = tiny_model(model_type, mapping=mapping)
    inputs = tiny_inputs(model, batch=3, padding=None, mapping=mapping)
    with torch.no_grad():
        logits = model(**inputs).logits
    result = nxl.attribute(model, inputs, method="decompx", position=position)
    read = torch.full((3, 1), 6) if position is None else position.reshape(3, -1)
    expected = logits[torch.arange(3)[:, None], read].max(-1).values
    is_read = read >= 0
    sums = result.scores.nansum(-1).reshape(3, -1)
    torch.testing.assert_close(sums[is_read], expected[is_read], rtol=1e-4, atol=1e-4)
    for method in MAPS:
        scores = nxl.attribute(model, inputs, method=method, position=position).scores
        assert scores.shape == result.scores.shape


def test_answers_are_the_sum_of_their_ends() -> None:
    model = tiny_model("bert", mapping="question-answering")
    inputs = tiny_inputs(model, batch=2, mapping="question-answering")
    results = {
        target: nxl.attribute(model, inputs, method="decompx", target=target)
        for target in ("start", "end", "span")
    }
    with torch.no_grad():
        outputs = model(**inputs)
    read = results["span"].prediction
    for target, logits, column in (
        ("start", outputs.start_logits, 0),
        ("end", outputs.end_logits, 1),
    ):
        torch.testing.assert_close(results[target].scores.nansum(-1), read[:, column])
        assert ((logits - read[:, column : column + 1]).abs().amin(-1) < 1e-5).all()
    start, end = results["start"].scores.nan_to_num(), results["end"].scores.nan_to_num()
    torch.testing.assert_close(results["span"].scores.nan_to_num(), start + end)
    contrast = nxl.attribute(model, inputs, method="decompx", target="start", contrast="end")
    torch.testing.assert_close(contrast.scores.nan_to_num(), start - end)


def test_choices_regressions_and_several_labels() -> None:
    model = tiny_model("roberta", mapping="multiple-choice")
    inputs = tiny_inputs(model, batch=2, mapping="multiple-choice")
    result = nxl.attribute(model, inputs, method="decompx", target="all")
    torch.testing.assert_close(result.scores.nansum(-1), result.prediction, rtol=1e-4, atol=1e-5)
    for method in MAPS:
        chosen = nxl.attribute(model, inputs, method=method, target="all").scores
        assert chosen.shape == result.scores.shape
    model = tiny_model("bert", 1)
    result = nxl.attribute(model, tiny_inputs(model), method="decompx")
    assert result.readout == "value"
    torch.testing.assert_close(result.scores.nansum(-1), result.prediction[:, 0])
    model = tiny_model("bert", problem_type="multi_label_classification")
    result = nxl.attribute(model, tiny_inputs(model), method="decompx")
    sums = result.scores.nansum(-1)
    torch.testing.assert_close(sums, result.prediction.gather(1, result.targets.clamp_min(0)))


@pytest.mark.parametrize(
    "config", [{"is_decoder": True}, {"hidden_act": "relu"}, {"hidden_act": "gelu_new"}]
)
def test_other_blocks_of_the_family(config: dict[str, Any]) -> None:
    model = tiny_model("bert", **config)
    result = nxl.attribute(model, tiny_inputs(model), method="decompx", target="all")
    torch.testing.assert_close(result.scores.nansum(-1), result.prediction, rtol=1e-4, atol=1e-5)
    if "is_decoder" in config:  # [CLS] has read itself only
        for method in METHODS:
            scores = nxl.attribute(model, tiny_inputs(model), method=method).scores
            assert (scores[:, 0].abs() > 0.01).all()
            assert (scores[:, 1:].nan_to_num() == 0).all()


def test_blocks_that_share_their_weights() -> None:
    model: Any = tiny_model("bert")
    model.bert.encoder.layer[1] = model.bert.encoder.layer[0]
    inputs = tiny_inputs(model)
    untied = copy.deepcopy(model)
    untied.bert.encoder.layer[1] = copy.deepcopy(untied.bert.encoder.layer[0])
    for method in METHODS:
        tied, of_untied = (nxl.attribute(m, inputs, method=method).scores for m in (model, untied))
        torch.testing.assert_close(tied, of_untied, equal_nan=True)


@pytest.mark.parametrize("method", METHODS)
def test_one_token(method: str) -> None:
    model = tiny_model("bert")
    ids = torch.tensor([[0, 5, 2], [0, 1, 1]])
    mask = torch.tensor([[1, 1, 1], [1, 0, 0]])
    result = nxl.attribute(model, {"input_ids": ids, "attention_mask": mask}, method=method)
    alone = nxl.attribute(model, {"input_ids": ids[1:, :1]}, method=method)
    torch.testing.assert_close(result.scores[1, :1], alone.scores[0])
    if method == "decompx":
        torch.testing.assert_close(alone.scores[0, 0], alone.prediction.max())
    if method == "alti":
        assert float(alone.scores) == 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("method", METHODS)
def test_half_precision_is_near(method: str, dtype: torch.dtype) -> None:
    model = reference_model("bert", torch.float32)
    inputs = reference_inputs("bert", 1)
    exact = nxl.attribute(model, inputs, target=1, method=method).scores
    near = nxl.attribute(copy.deepcopy(model).to(dtype), inputs, target=1, method=method).scores
    assert near.dtype == torch.float32
    assert_near(near, exact, 0.01 if dtype == torch.float16 else 0.08)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("model_type", REFUSED)
def test_other_blocks_are_refused(model_type: str, method: str) -> None:
    model = tiny_model(model_type)
    inputs = tiny_inputs(model, batch=1, padding=None)
    with pytest.raises(nxl.UnsupportedHeadError, match=r"BERT family.*normxlogit"):
        nxl.attribute(model, inputs, method=method)


@pytest.mark.parametrize("method", METHODS)
def test_pictures_are_refused(method: str) -> None:
    model = tiny_model("vit", mapping="image-classification")
    with pytest.raises(nxl.UnsupportedHeadError, match="no tokens"):
        nxl.attribute(model, tiny_inputs(model, mapping="image-classification"), method=method)


class Shares(nn.Module):
    """Of a token's numbers, each in relation to the others."""

    def forward(self, x: Tensor) -> Tensor:
        return x.softmax(-1)


def softmax(model: Any) -> None:
    model.bert.encoder.layer[1].intermediate.intermediate_act_fn = Shares()


def scaled_block(model: Any) -> None:
    model.bert.encoder.layer[1].register_forward_hook(lambda _m, _a, output: output * 1.1)


def between(model: Any) -> None:
    model.bert.encoder.layer[1].register_forward_pre_hook(
        lambda _m, args: (args[0] * 1.1, *args[1:])
    )


def other_norm(model: Any) -> None:
    model.bert.encoder.layer[0].output.LayerNorm = nn.RMSNorm(32)


def low_rank(model: Any) -> None:
    layer = model.bert.encoder.layer[0].attention.self
    layer.value = nn.Sequential(nn.Linear(32, 4), nn.Linear(4, 32))


def scaled_head(model: Any) -> None:
    model.classifier.register_forward_hook(lambda _m, _a, output: output * 1.1)


def softmax_in_head(model: Any) -> None:
    model.classifier = nn.Sequential(nn.Linear(32, 8), Shares(), nn.Linear(8, 3))


CHANGES = [
    pytest.param(softmax, ["decompx"], "number alone", id="softmax"),
    pytest.param(scaled_block, METHODS, "put together again", id="scaled block"),
    pytest.param(between, METHODS, "between its layers 1 and 2|put together", id="between"),
    pytest.param(other_norm, METHODS, "RMSNorm", id="other norm"),
    pytest.param(low_rank, METHODS, "value is a .*Sequential", id="low rank"),
    pytest.param(scaled_head, ["decompx"], "add up to", id="scaled head"),
    pytest.param(softmax_in_head, ["decompx"], "add up to", id="softmax in head"),
]


@pytest.mark.parametrize(("change", "fail", "match"), CHANGES)
def test_what_is_not_understood_is_refused(change: Any, fail: list[str], match: str) -> None:
    model = tiny_model("bert")
    change(model)
    inputs = tiny_inputs(model)
    for method in METHODS:
        if method in fail:
            with pytest.raises(nxl.UnsupportedHeadError, match=match):
                nxl.attribute(model, inputs, method=method)
        else:
            assert nxl.attribute(model, inputs, method=method).scores.nansum() != 0


def test_a_head_of_several_layers() -> None:
    model: Any = tiny_model("bert")
    model.classifier = nn.Sequential(
        nn.Linear(32, 16), nn.ReLU(), nn.LayerNorm(16), nn.Dropout(), nn.Linear(16, 3, bias=False)
    ).eval()
    result = nxl.attribute(model, tiny_inputs(model), method="decompx", target="all")
    torch.testing.assert_close(result.scores.nansum(-1), result.prediction, rtol=1e-4, atol=1e-5)


def test_a_rollout_too_large_for_a_float_is_refused() -> None:
    model: Any = tiny_model("bert", num_hidden_layers=4)
    with torch.no_grad():
        for block in model.bert.encoder.layer:
            block.output.LayerNorm.weight.mul_(1e12)
    inputs = tiny_inputs(model)
    with pytest.raises(nxl.UnsupportedHeadError, match="rollout=False"):
        nxl.attribute(model, inputs, method="globenc")
    scores = nxl.attribute(model, inputs, method="globenc", rollout=False, layer=1).scores
    assert scores[0].isfinite().all()


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"method": "globenc", "rollout": 1}, "rollout must be"),
        ({"method": "alti", "rollout": "no"}, "rollout must be"),
        ({"method": "alti", "layer": 3}, "from 1 to 2"),
        ({"method": "decompx", "layer": 1}, "has no layers"),
        ({"method": "decompx", "readout": "margin"}, "no other readout"),
        ({"method": "decompx", "rollout": True}, "no option"),
    ],
)
def test_options_that_do_not_fit(options: dict[str, Any], match: str) -> None:
    model = tiny_model("bert")
    with pytest.raises(nxl.OptionError, match=match):
        nxl.attribute(model, tiny_inputs(model), **options)


@pytest.mark.parametrize("method", METHODS)
def test_the_users_model_is_the_same_after_a_call_and_a_failure(method: str) -> None:
    model: Any = tiny_model("bert").train()
    inputs = tiny_inputs(model)
    calls = []

    def fails(*_: Any) -> None:
        calls.append(1)
        if len(calls) == 2:
            raise RuntimeError("broken")

    model.bert.encoder.layer[1].register_forward_pre_hook(fails)
    before = [(name, id(p), p.requires_grad, p.clone()) for name, p in model.named_parameters()]
    keys = [sorted(vars(module)) for module in model.modules()]
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    attention = model.config._attn_implementation
    with pytest.raises(nxl.ModelError, match="broken"):
        nxl.attribute(model, inputs, method=method)
    nxl.attribute(model, inputs, method=method)
    assert all(module.training for module in model.modules())
    assert keys == [sorted(vars(module)) for module in model.modules()]
    assert hooks == [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    assert [attention] * 2 == [m.config._attn_implementation for m in (model, model.bert)]
    for (name, number, wants, value), (name_after, p) in zip(
        before, model.named_parameters(), strict=True
    ):
        assert (name, number, wants) == (name_after, id(p), p.requires_grad)
        assert torch.equal(value, p)
        assert p.grad is None


@pytest.mark.parametrize("method", METHODS)
def test_texts(method: str) -> None:
    texts = ["A great movie with poor performers.", "Good.", "The plot is not bad at all; a mess."]
    words = tokenizer()
    explainer = nxl.Explainer(classifier(words, "roberta"), words)
    results = succeeded(explainer.explain(texts, method=method))
    for text, result in zip(texts, results, strict=True):
        alone = explainer.explain(text, method=method)
        np.testing.assert_allclose(result.scores, alone.scores, rtol=1e-3, atol=1e-5)
