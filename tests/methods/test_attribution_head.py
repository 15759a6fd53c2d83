"""An attribution head's scores: what they add up to, for whom they are, and its file."""

import copy
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from tokenizers.processors import TemplateProcessing

from normxlogit import (
    Attribution,
    Explainer,
    Failure,
    InputError,
    OptionError,
    UnsupportedHeadError,
    attribute,
)
from normxlogit.evaluation.plan import METHODS
from normxlogit.fitting import training
from normxlogit.methods.attribution_head import AttributionHead
from normxlogit.results.base import Result
from tests.helpers.assertions import succeeded
from tests.helpers.builders import classifier, tokenizer
from tests.helpers.heads import centred, fit_tiny, head_of, reviews
from tests.helpers.models import (
    classifier_explainer,
    explainer_with_head,
    image_classifier,
    token_classifier,
)
from tests.helpers.mutations import mutate

TEXTS = ["A great movie with poor performers.", "not bad", "it's a mess, don't watch it twice"]
PAIRS = list(zip(reviews(40), reviews(40, seed=1), strict=True))
UNLIKE = "distance from the texts it was fitted on"


def llama() -> Explainer:
    """A decoder that classifies; without a mask token, words are hidden by the attention mask."""
    words = tokenizer()
    return Explainer(classifier(words, "llama"), words)


def bare() -> Explainer:
    """A decoder whose tokenizer adds nothing to a text: the mask would hide all that there is."""
    words: Any = tokenizer()
    words.backend_tokenizer.post_processor = TemplateProcessing(single="$A", pair="$A $B")
    return Explainer(classifier(words, "llama"), words)


def multi_label() -> Explainer:
    words = tokenizer(mask_token="<mask>")
    model = classifier(words, num_labels=4, problem_type="multi_label_classification")
    return Explainer(model, words)


def several_values() -> Explainer:
    words = tokenizer(mask_token="<mask>")
    return Explainer(classifier(words, num_labels=2, problem_type="regression"), words)


def wide() -> Explainer:
    words = tokenizer(mask_token="<mask>")
    return Explainer(classifier(words, hidden_size=64), words)


BUILDERS = {
    "bert": classifier_explainer,
    "distilbert": lambda: classifier_explainer("distilbert"),
    "llama": llama,
    "gpt2": lambda: classifier_explainer("gpt2"),
    "bare": bare,
    "multi-label": multi_label,
    "regression": lambda: classifier_explainer(num_labels=1),
    "several values": several_values,
}


def _fit_pairs() -> Explainer:
    rows = [{"one": first, "other": second} for first, second in PAIRS]
    explainer: Explainer = fit_tiny(classifier_explainer(), rows, text="one", pair="other")
    return explainer


@pytest.fixture(scope="module")
def fitted() -> Any:
    """Explainers with heads, by name, each fitted when it is first asked for."""
    known: dict[str, Explainer] = {}

    def by_name(name: str) -> Explainer:
        if name not in known:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(training, "EPOCHS", 5)
                known[name] = _fit_pairs() if name == "pairs" else fit_tiny(BUILDERS[name]())
        return known[name]

    return by_name


@torch.no_grad()
def logits_of(explainer: Explainer, item: Any) -> Any:
    """The model's own logits, float64 [outputs]."""
    words: Any = explainer.tokenizer
    parts = item if isinstance(item, tuple) else (item,)
    inputs = words(*parts, return_tensors="pt")
    return explainer.model(**inputs).logits[0].double().numpy()


def assert_adds_up(attribution: Attribution, expected: Any) -> None:
    """Assert that for each target base and scores sum up to what is expected, to 1e-5."""
    assert attribution.base is not None
    scores = attribution.scores.astype(np.float64)
    if "target" not in attribution.axes:
        scores = scores[None]
    np.testing.assert_array_equal(
        np.isnan(scores), np.broadcast_to(attribution.special, scores.shape)
    )
    sums = np.nansum(scores, -1) + np.array(attribution.base)
    size = max(1.0, np.nanmax(np.abs(scores)), np.abs(attribution.base).max())
    np.testing.assert_allclose(sums, expected, atol=1e-5 * size)


@pytest.mark.parametrize("name", ["bert", "distilbert", "llama", "gpt2", "pairs"])
def test_scores_add_up_to_the_centred_logit(fitted: Any, name: str) -> None:
    explainer = fitted(name)
    items = PAIRS[:3] if name == "pairs" else TEXTS
    for item in items:
        logits = centred(logits_of(explainer, item))
        one = explainer.explain(item)
        assert one.provenance.method == "attribution_head"
        assert one.provenance.readout == "centered"
        assert one.target.id == logits.argmax()
        assert one.base_value == one.base[0]
        assert_adds_up(one, logits.max())
        every = explainer.explain(item, target="all")
        assert_adds_up(every, logits)
        np.testing.assert_array_equal(every.scores[one.target.id], one.scores)
        words = one.words()
        assert words.base == one.base
        assert_adds_up(words, logits.max())


def test_a_contrast_is_the_difference_of_two_targets(fitted: Any) -> None:
    for name in ("bert", "llama", "multi-label"):
        explainer = fitted(name)
        every = explainer.explain(TEXTS[0], target="all")
        logits = logits_of(explainer, TEXTS[0])
        for target, foil in ((0, 2), (2, 1)):
            one = explainer.explain(TEXTS[0], target=target, contrast=foil)
            np.testing.assert_allclose(
                one.scores, every.scores[target] - every.scores[foil], rtol=1e-5, atol=1e-6
            )
            assert one.base_value == pytest.approx(every.base[target] - every.base[foil], abs=1e-6)
            assert_adds_up(one, logits[target] - logits[foil])


def test_several_labels_at_once(fitted: Any) -> None:
    explainer = fitted("multi-label")
    for text in TEXTS:
        logits = logits_of(explainer, text)
        every = explainer.explain(text, target="all")
        assert every.provenance.readout == "logit"
        assert_adds_up(every, logits)
        some = explainer.explain(text, target=[1, 3])
        assert_adds_up(some, logits[[1, 3]])
    several = explainer.explain(TEXTS, threshold=0.5)
    for text, result in zip(TEXTS, several, strict=True):
        if isinstance(result, Attribution):
            assert_adds_up(result, [logits_of(explainer, text)[t.id] for t in result.targets])


@pytest.mark.parametrize("name", ["regression", "several values"])
def test_values_and_closeness(fitted: Any, name: str) -> None:
    explainer = fitted(name)
    for text in TEXTS:
        values = logits_of(explainer, text)
        value = explainer.explain(text, target="all")
        assert value.provenance.readout == "value"
        assert_adds_up(value, values)
        close = explainer.explain(text, target="all", readout="closeness")
        assert_adds_up(close, np.zeros(len(values)))
        # The value with every word hidden is as far away as the value game says.
        np.testing.assert_allclose(close.base, -np.abs(np.array(value.base) - values), atol=1e-5)


@pytest.mark.parametrize("name", [*BUILDERS, "pairs"])
def test_scores_are_the_same_alone_and_in_a_batch(fitted: Any, name: str) -> None:
    explainer = fitted(name)
    items = PAIRS[:6] if name == "pairs" else [*TEXTS, *reviews(6, seed=9)]
    together = succeeded(explainer.explain(items, target="all", batch_size=16))
    for item, result in zip(items, together, strict=True):
        alone = explainer.explain(item, target="all")
        scale = np.nanmax(np.abs(alone.scores))
        np.testing.assert_allclose(result.scores, alone.scores, atol=1e-4 * scale)
        np.testing.assert_allclose(result.base, alone.base, atol=1e-5)
        np.testing.assert_allclose(result.notes[UNLIKE], alone.notes[UNLIKE], rtol=1e-4)


def tensors_of(explainer: Explainer, texts: list[str], side: str) -> tuple[dict[str, Any], Any]:
    """Padded inputs, and the number of each token's word, -1 for special tokens and padding."""
    words = copy.deepcopy(explainer.tokenizer)
    words.padding_side = side
    encoded: Any = words(texts, padding=True, return_tensors="pt")
    units = [[-1 if w is None else w for w in encoded.word_ids(n)] for n in range(len(texts))]
    return dict(encoded), torch.tensor(units)


@pytest.mark.parametrize(
    ("name", "side"),
    [("bert", "right"), ("distilbert", "right"), ("llama", "right"), ("llama", "left")],
)
def test_tensors_under_padding_on_either_side(fitted: Any, name: str, side: str) -> None:
    explainer = fitted(name)
    texts = reviews(4, seed=3)  # in which words are what lies between spaces
    inputs, units = tensors_of(explainer, texts, side)
    result = attribute(explainer.model, inputs, head=explainer.head, unit=units)
    assert result.scores.shape == units.shape
    assert result.base is not None
    for row, text in enumerate(texts):
        alone = explainer.explain(text)
        scores = result.scores[row][inputs["attention_mask"][row].bool()].numpy()
        np.testing.assert_allclose(
            scores, alone.scores, atol=1e-4 * np.nanmax(np.abs(alone.scores))
        )
        assert float(result.base[row, 0]) == pytest.approx(alone.base_value, abs=1e-5)
        assert result.scores[row][units[row] < 0].isnan().all()


def test_tensors_need_to_be_told_the_words(fitted: Any) -> None:
    explainer = fitted("bert")
    inputs, units = tensors_of(explainer, TEXTS, "right")
    for unit in (None, "token"):
        with pytest.raises(OptionError, match="needs to know which tokens make a word"):
            attribute(explainer.model, inputs, head=explainer.head, unit=unit)
    with pytest.raises(OptionError, match="unit must have an integer"):
        attribute(explainer.model, inputs, head=explainer.head, unit=units[:, 1:])
    with pytest.raises(OptionError, match="needs a head"):
        attribute(explainer.model, inputs, method="attribution_head", unit=units)
    for parts in ("token", "sentence", [(0, 3)]):
        with pytest.raises(OptionError, match="divides an outcome among words"):
            explainer.explain(TEXTS[0], unit=parts)
    assert explainer.explain(TEXTS[0], unit="word").base is not None


def test_a_token_of_a_word_has_an_even_share_of_what_is_missing(fitted: Any) -> None:
    """So that it does not matter for a word into how many tokens it is cut."""
    explainer = fitted("bert")
    head = head_of(explainer)
    empty = copy.deepcopy(head)
    with torch.no_grad():
        empty.network.outer.weight.zero_()
        empty.network.outer.bias.zero_()
    attribution = explainer.with_head(empty).explain("unbelievably good")
    words = attribution.words()
    assert len(attribution.tokens) > len(words.tokens)
    scores = words.scores[~words.special]
    np.testing.assert_allclose(scores, scores.mean(), rtol=1e-5)


@pytest.mark.parametrize("name", ["bert", "regression", "multi-label"])
def test_windows_of_a_long_text(fitted: Any, name: str) -> None:
    """They add up to the mean of the windows' logits, which is the prediction."""
    explainer = fitted(name)
    text = " ".join(reviews(40, seed=5))
    result = explainer.explain(text, target="all", long="window")
    logits = np.array([output.logit for output in result.prediction.outputs])
    assert_adds_up(result, centred(logits) if name == "bert" else logits)
    assert isinstance(explainer.explain([text])[0], Failure)


@torch.no_grad()
def test_how_far_a_text_is_from_those_fitted_on(fitted: Any) -> None:
    """By the mean of all layers' states over the text's tokens, each feature standardised.

    Without the directions in which the texts of the fit differ most.
    """
    explainer = fitted("bert")
    words, usual = explainer.tokenizer, explainer.head.usual

    def distance(text: str) -> float:
        inputs = words(text, return_tensors="pt")
        layers = explainer.model(**inputs, output_hidden_states=True).hidden_states
        mean = torch.cat([layer[0].mean(0) for layer in layers])
        standard = (mean - usual.mean) / usual.deviation
        for direction in usual.components:
            standard = standard - (standard * direction).sum() * direction
        return float(standard.square().mean().sqrt() / usual.limit)

    for text in TEXTS:
        assert explainer.explain(text).notes[UNLIKE][0] == pytest.approx(distance(text), rel=1e-3)
    # The texts that were held out are within the limit, but for one in a hundred.
    assert np.quantile([distance(text) for text in reviews(40)], 0.3) < 1


def test_json_keeps_the_base(fitted: Any, tmp_path: Path) -> None:
    for target in (None, "all"):
        result = fitted("bert").explain(TEXTS[0], target=target)
        result.save(tmp_path / "a.json")
        again = Attribution.load(tmp_path / "a.json")
        assert again.base == result.base
        assert again.to_dict() == json.loads(json.dumps(result.to_dict())) == result.to_dict()
        assert again.at(0).base_value == result.at(0).base_value == result.base[0]
        older = result.to_dict()
        del older["base"]
        assert Result.from_dict(older).base is None
        gaps, longer = [None] * len(result.base), [*result.base, 0.0]
        wrongs: tuple[Any, ...] = ([], "1", {}, gaps, longer)
        for wrong in wrongs:
            with pytest.raises(InputError, match="base"):
                Result.from_dict({**result.to_dict(), "base": wrong})
    with pytest.raises(OptionError, match="explains 3 targets"):
        _ = result.base_value
    assert fitted("bert").explain(TEXTS[0], method="normxlogit").base_value is None


@pytest.mark.parametrize(
    ("name", "hiding"), [("bert", "mask"), ("llama", "remove"), ("bare", "eos")]
)
def test_its_file(fitted: Any, tmp_path: Path, name: str, hiding: str) -> None:
    explainer = fitted(name)
    assert head_of(explainer).record.hiding == hiding
    head_of(explainer).save(tmp_path / "a.head")
    expected = explainer.explain(TEXTS[0])
    for head in (tmp_path / "a.head", str(tmp_path / "a.head"), head_of(explainer)):
        again = Explainer(explainer.model, explainer.tokenizer, head=head)
        np.testing.assert_array_equal(again.explain(TEXTS[0]).scores, expected.scores)
    bare = explainer.with_head(None)
    assert bare.explain(TEXTS[0]).provenance.method == "normxlogit"
    given = bare.explain(TEXTS[0], head=str(tmp_path / "a.head"))
    np.testing.assert_array_equal(given.scores, expected.scores)
    with pytest.raises(OptionError, match="needs a head that was fitted to this model"):
        bare.explain(TEXTS[0], method="attribution_head")
    with pytest.raises(OptionError, match="head is an attribution head or its file; got 3"):
        Explainer(explainer.model, explainer.tokenizer, head=3)  # type: ignore[arg-type]


def test_a_model_loaded_in_bfloat16_takes_the_head(fitted: Any, tmp_path: Path) -> None:
    explainer = fitted("bert")
    explainer.model.save_pretrained(tmp_path / "model")
    explainer.tokenizer.save_pretrained(tmp_path / "model")
    head_of(explainer).save(tmp_path / "a.head")
    for dtype in ("bfloat16", "float32"):
        loaded = Explainer.from_pretrained(
            tmp_path / "model", dtype=dtype, device="cpu", head=tmp_path / "a.head"
        )
        assert str(loaded.model.dtype) == f"torch.{dtype}"
        result = loaded.explain(TEXTS[0])
        logits = np.array([output.logit for output in result.prediction.outputs])
        assert_adds_up(result, centred(logits).max())


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_model_of_half_precision_is_fitted_and_explained(dtype: str, tmp_path: Path) -> None:
    whole = classifier_explainer()
    whole.model.save_pretrained(tmp_path / "model")
    whole.tokenizer.save_pretrained(tmp_path / "model")
    explainer = Explainer.from_pretrained(tmp_path / "model", dtype=dtype, device="cpu")
    head_of(fit_tiny(explainer)).save(tmp_path / "a.head")
    loaded = Explainer.from_pretrained(
        tmp_path / "model", dtype=dtype, device="cpu", head=tmp_path / "a.head"
    )
    result = loaded.explain(TEXTS[0])
    assert str(loaded.model.dtype) == f"torch.{dtype}"
    assert_adds_up(result, centred([output.logit for output in result.prediction.outputs]).max())


def test_a_model_that_float16_rounds_is_refused_with_a_way_out(fitted: Any, tmp_path: Path) -> None:
    explainer = fitted("bert")
    explainer.model.save_pretrained(tmp_path)
    explainer.tokenizer.save_pretrained(tmp_path)
    half = copy.deepcopy(explainer.model).half()
    with pytest.raises(InputError, match=r"loaded in float16: load it in float32, as it was") as e:
        Explainer(half, explainer.tokenizer, head=explainer.head)
    assert "\n" not in str(e.value)
    Explainer.from_pretrained(tmp_path, dtype="float32", head=explainer.head)
    of_half = fit_tiny(Explainer(half, explainer.tokenizer)).head
    with pytest.raises(InputError, match=r"loaded in float32: load it in float16, as it was"):
        Explainer(explainer.model, explainer.tokenizer, head=of_half)
    Explainer.from_pretrained(tmp_path, dtype="float16", device="cpu", head=of_half)


@torch.no_grad()
def _other_weights(model: Any, _: Any) -> None:
    model.classifier.bias[0] += 1


def _other_labels(model: Any, _: Any) -> None:
    model.config.id2label = {0: "A", 1: "B", 2: "C"}


def _other_tokenizer(_: Any, words: Any) -> None:
    words.add_tokens(["performers"])


@pytest.mark.parametrize("change", [_other_weights, _other_labels, _other_tokenizer])
def test_another_model_is_refused_by_both_names(fitted: Any, change: Any) -> None:
    explainer = fitted("bert")
    model, words = copy.deepcopy((explainer.model, explainer.tokenizer))
    assert Explainer(model, words, head=explainer.head).head is explainer.head
    change(model, words)
    names = rf"fitted to {explainer.name}, and the model is another/model"
    with pytest.raises(InputError, match=names) as error:
        Explainer(model, words, name="another/model", head=explainer.head)
    assert "\n" not in str(error.value)
    other = Explainer(model, words, name="another/model")
    with pytest.raises(InputError, match=names):
        other.explain(TEXTS[0], head=explainer.head)
    with pytest.raises(InputError, match=names):
        other.corpus(TEXTS, head=explainer.head)


def test_tensors_of_another_kind_of_model_are_refused(fitted: Any) -> None:
    """`attribute` has no tokenizer to tell a model by, but a head that cannot fit is told."""
    head = fitted("bert").head
    for other in (
        fitted("multi-label"),
        fitted("regression"),
        wide(),
    ):
        inputs, units = tensors_of(other, TEXTS, "right")
        with pytest.raises(OptionError, match="Give the head of this model"):
            attribute(other.model, inputs, head=head, unit=units)


def test_a_head_of_layers_that_a_model_has_not(fitted: Any) -> None:
    words = tokenizer(mask_token="<mask>")
    shallow = Explainer(classifier(words, num_hidden_layers=1), words)
    inputs, units = tensors_of(shallow, TEXTS, "right")
    with pytest.raises(UnsupportedHeadError, match="the states of layer 2"):
        attribute(shallow.model, inputs, head=fitted("bert").head, unit=units)


def test_other_tasks_are_refused(fitted: Any) -> None:
    head = fitted("bert").head
    for explainer, item in (
        (token_classifier(), TEXTS[0]),
        (explainer_with_head("bert", "multiple-choice"), ("a", ["great", "movie"])),
        (explainer_with_head("bert", "question-answering"), ("what", TEXTS[0])),
        (explainer_with_head("bert", "masked-lm"), "a <mask> movie"),
        (image_classifier()[0], image_classifier()[1]),
        (classifier_explainer("bart"), TEXTS[0]),
        (classifier_explainer("t5"), TEXTS[0]),
    ):
        with pytest.raises(InputError, match="fitted to"):
            explainer.explain(item, head=head)
        # Also where it is not told by the weights.
        explainer.head = head
        with pytest.raises(UnsupportedHeadError, match="Take another method") as error:
            explainer.explain(item)
        assert "\n" not in str(error.value)


def test_options_that_it_has_not(fitted: Any) -> None:
    explainer = fitted("bert")
    with pytest.raises(OptionError, match="has no layers"):
        explainer.explain(TEXTS[0], layer=1)
    with pytest.raises(OptionError, match="readout"):
        explainer.explain(TEXTS[0], readout="margin")
    with pytest.raises(OptionError, match="no option"):
        explainer.explain(TEXTS[0], norm="word")
    with pytest.raises(OptionError, match="contrast compares two labels"):
        fitted("regression").explain(TEXTS[0], target=0, contrast=0)


def test_files_that_are_no_heads(fitted: Any, tmp_path: Path) -> None:
    explainer = fitted("bert")
    path = tmp_path / "a.head"
    head_of(explainer).save(path)
    whole = path.read_bytes()
    (tmp_path / "text").write_text("a great movie")
    (tmp_path / "empty").touch()
    (tmp_path / "cut").write_bytes(whole[:-10])
    (tmp_path / "more").write_bytes(whole + b"0")
    save_file({"a": torch.zeros(3)}, tmp_path / "tensors")
    (tmp_path / "newer").write_bytes(whole.replace(rb"\"schema\": 1", rb"\"schema\": 9", 1))
    messages = {
        "none": "there is no file",
        "text": "is no attribution head",
        "empty": "is no attribution head",
        "cut": "is no attribution head",
        "more": "is no attribution head",
        "tensors": "is a file of tensors but no attribution head",
        "newer": r"made by a newer normxlogit \(schema 9; this one reads up to 1\). Upgrade",
        ".": "is no attribution head",
    }
    for name, message in messages.items():
        with pytest.raises(InputError, match=message) as error:
            Explainer(explainer.model, explainer.tokenizer, head=tmp_path / name)
        assert "\n" not in str(error.value)
        assert str(error.value).endswith(".")


def _explains(explainer: Explainer, path: Path) -> bool:
    """Whether a file is read and, if it is of this model, explains."""
    try:
        head = AttributionHead.load(path)
    except InputError:
        return False
    assert json.dumps(head.summary(), allow_nan=False)
    explainer.with_head(head).explain("a great movie", target=0)
    return True


@pytest.mark.filterwarnings("error")
def test_changed_bytes_are_an_input_error(fitted: Any, tmp_path: Path) -> None:
    explainer, path, draw = fitted("bert"), tmp_path / "a.head", random.Random(0)
    head_of(explainer).save(path)
    whole, refused = path.read_bytes(), 0
    header = 8 + int.from_bytes(whole[:8], "little")
    for _ in range(300):
        changed = bytearray(whole)
        for _ in range(draw.choice([1, 1, 3])):
            changed[draw.randrange(header)] = draw.randrange(256)
        if draw.random() < 0.2:
            del changed[draw.randrange(len(changed)) :]
        path.write_bytes(changed)
        try:
            AttributionHead.load(path)
        except InputError:
            refused += 1
    assert refused > 100


@pytest.mark.filterwarnings("error")
def test_changed_records_are_an_input_error_or_a_head(fitted: Any, tmp_path: Path) -> None:
    explainer, path, draw = fitted("bert"), tmp_path / "a.head", random.Random(0)
    head_of(explainer).save(path)
    with safe_open(path, framework="pt") as file:
        ((kind, text),) = file.metadata().items()
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    read = 0
    for _ in range(80):
        record = json.loads(text)
        for _ in range(draw.choice([1, 1, 3])):
            mutate(record, draw)
        try:
            content = json.dumps(record).encode("utf-8", "replace").decode()
        except ValueError:
            continue
        save_file(tensors, path, {kind: content})
        try:
            read += _explains(explainer, path)
        except (OptionError, UnsupportedHeadError):
            read += 1  # of another problem, or other layers
    assert 0 < read < 80


@pytest.mark.filterwarnings("error")
def test_changed_tensors_are_an_input_error_or_a_head(fitted: Any, tmp_path: Path) -> None:
    explainer, path = fitted("bert"), tmp_path / "a.head"
    head_of(explainer).save(path)
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
        whole = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    changes: list[Any] = [
        lambda t: t[:0],
        lambda t: t[:-1],
        lambda t: t[None],
        lambda t: t.double(),
        lambda t: t.to(torch.bfloat16),
        lambda t: t > 0,
        torch.zeros_like,
        lambda t: -t,
        lambda t: t * torch.nan if t.is_floating_point() else -t,
        lambda t: t / 0 if t.is_floating_point() else t * 0,
        lambda t: torch.cat([t, t]),
        lambda t: t.flip(0).contiguous(),
        lambda t: t.reshape(-1)[0].clone(),
    ]
    read = 0
    for key in whole:
        for change in changes:
            save_file(whole | {key: change(whole[key]).contiguous()}, path, metadata)
            read += _explains(explainer, path)
        save_file({k: t for k, t in whole.items() if k != key}, path, metadata)
        assert not _explains(explainer, path)
    assert 0 < read < len(whole) * len(changes) / 2


def test_a_corpus(fitted: Any, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    explainer = fitted("bert")
    (tmp_path / "texts.csv").write_text("text\n" + "\n".join(reviews(12, seed=2)) + "\n")
    rows = list(explainer.corpus(tmp_path / "texts.csv"))
    for text, row in zip(reviews(12, seed=2), rows, strict=True):
        assert row.attribution.provenance.method == "attribution_head"
        expected = explainer.explain(text)
        np.testing.assert_allclose(row.attribution.scores, expected.scores, atol=1e-5)
    explainer.corpus(tmp_path / "texts.csv", tmp_path / "out")
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert explainer.head.identity in json.dumps(manifest)
    assert '"attribution_head"' in json.dumps(manifest)
    # A run goes on with the same head alone.
    other = fit_tiny(explainer.with_head(None), seed=1)
    with pytest.raises(InputError, match="head"):
        other.corpus(tmp_path / "texts.csv", tmp_path / "out")
    explainer.corpus(tmp_path / "texts.csv", tmp_path / "out")


def test_an_evaluation(fitted: Any) -> None:
    for module in ("pyarrow", "scipy", "matplotlib"):
        pytest.importorskip(module)
    explainer = fitted("bert")
    results = json.dumps(explainer.evaluate(reviews(3, seed=4), draws=1).results)
    assert explainer.head.identity in results
    assert all(f'"{name}"' in results for name in ("attribution_head", *METHODS))
    others = explainer.evaluate(reviews(3, seed=4), draws=1, methods=["random"]).results
    assert '"attribution_head"' not in json.dumps(others["methods"])
