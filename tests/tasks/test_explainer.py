"""The front door: what it takes, what it refuses, and how."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import EsmTokenizer, PreTrainedTokenizerBase

import normxlogit as nxl
from normxlogit import Attribution, Explainer, Failure
from normxlogit.text.offsets import recover_offsets
from tests.helpers.builders import classifier, tokenizer
from tests.helpers.heads import fit_tiny
from tests.helpers.models import causal_lm, classifier_explainer

LONG = " ".join(f"{['good', 'bad', 'great', 'mess'][i % 4]}" for i in range(150))


def test_a_bad_item_does_not_lose_the_others(explainer: Explainer) -> None:
    items: list[Any] = ["A great movie.", "", None, LONG, ("one",), b"bytes", "\ud800", "A mess."]
    found = explainer.explain(items)
    assert [type(f) for f in found] == [Attribution] + [Failure] * 6 + [Attribution]
    reasons = [str(f.error) for f in found if isinstance(f, Failure)]
    for reason, says in zip(
        reasons,
        ["empty or blank", "got NoneType", "512|64", "pair", "got bytes", "half a surrogate"],
        strict=True,
    ):
        assert any(part in reason for part in says.split("|")), reason
    assert [f.item for f in found if isinstance(f, Failure)] == items[1:7]
    last = found[-1]
    assert isinstance(last, Attribution)
    np.testing.assert_allclose(
        last.scores, explainer.explain("A mess.").scores, rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("text", ["", " \n\t", ("a", ""), ("", "a")])
def test_blank_text(explainer: Explainer, text: Any) -> None:
    with pytest.raises(nxl.InputError, match="empty or blank"):
        explainer.explain(text)


def test_text_without_a_token(explainer: Explainer) -> None:
    with pytest.raises(nxl.InputError, match="makes no token"):
        explainer.explain("\x00\x01")


def test_words_where_a_text_was_announced(explainer: Explainer) -> None:
    with pytest.raises(nxl.InputError, match="list of words"):
        explainer.explain("a text", is_split_into_words=True)


def test_a_text_over_the_limit(explainer: Explainer) -> None:
    with pytest.raises(nxl.InputError, match=r"152 tokens.*limit of 64.*truncate.*window"):
        explainer.explain(LONG)
    with pytest.raises(nxl.OptionError, match="error, truncate, window"):
        explainer.explain(LONG, long="cut")


def test_truncation_explains_the_beginning(explainer: Explainer) -> None:
    found = explainer.explain(LONG, long="truncate")
    assert len(found) == 64
    beginning = explainer.explain(" ".join(LONG.split()[:62]))
    np.testing.assert_allclose(found.scores, beginning.scores, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("batch_size", [1, 2, 32])
def test_windows_are_averaged_where_they_overlap(explainer: Explainer, batch_size: int) -> None:
    """Windows of 62 words and two special tokens, each beginning 46 words after the last."""
    words = LONG.split()
    found = explainer.explain(LONG, long="window", target=1, batch_size=batch_size)
    assert found.words().tokens == ("<s>", *words, "</s>")
    total, count, logits = np.zeros(152), np.zeros(152), []
    for start in (0, 46, 92):
        part = explainer.explain(" ".join(words[start : start + 62]), target=1)
        logits.append([o.logit for o in part.prediction.outputs])
        places = [0, *range(start + 1, start + len(part) - 1), 151]
        total[places] += part.scores
        count[places] += 1
    assert count.min() == 1
    np.testing.assert_allclose(found.scores, total / count, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
        [o.logit for o in found.prediction.outputs], np.mean(logits, 0), rtol=1e-4
    )


def test_windows_of_a_pair_go_over_the_second_text(explainer: Explainer) -> None:
    found = explainer.explain(("A great movie.", LONG), long="window")
    assert found.words().tokens[:6] == ("<s>", "A", "great", "movie", ".", "</s>")
    assert len(found.words()) == 6 + 150 + 1
    assert np.isfinite(found.scores).all()
    with pytest.raises(nxl.InputError, match="leaves no room"):
        explainer.explain((LONG, LONG), long="window")
    for first in (40, 50, 58, 59):
        pair = (" ".join(["good"] * first), LONG)
        tight = explainer.explain(pair, long="window")
        assert len(tight.words()) == first + 150 + 3
        assert np.isfinite(tight.scores).all()


def test_a_contrast_that_one_text_is_predicted_to_be(wordpiece: PreTrainedTokenizerBase) -> None:
    model: Any = classifier(wordpiece)
    explainer = Explainer(model, wordpiece)
    texts = [f"{a} {b}" for a in ("good", "bad", "mess") for b in ("movie", "plot", "one", "two")]
    outputs = [[o.logit for o in explainer.explain(text).prediction.outputs] for text in texts]
    with torch.no_grad():
        model.classifier.bias -= torch.tensor(outputs).mean(0)
    predicted = [explainer.explain(text).prediction.id for text in texts]
    assert len(set(predicted)) > 1
    found = explainer.explain(texts, contrast=predicted[0])
    for result, label in zip(found, predicted, strict=True):
        assert isinstance(result, Failure) == (label == predicted[0])
    with pytest.raises(nxl.OptionError, match="both"):
        explainer.explain(texts, target=1, contrast=1)
    with pytest.raises(nxl.OptionError, match="no label"):
        explainer.explain(texts, target=1, contrast=[0, 2])


def test_one_target_a_row_is_for_tensors(explainer: Explainer) -> None:
    with pytest.raises(nxl.OptionError, match=r"normxlogit\.attribute"):
        explainer.explain(["A mess.", "Good."], target=torch.tensor([0, 1]))


def test_failures_keep_no_tensors_alive(explainer: Explainer) -> None:
    (failure,) = explainer.explain([""])
    assert isinstance(failure, Failure)
    assert failure.error.__traceback__ is None
    assert failure.error.__context__ is None


def test_windows_among_other_texts(explainer: Explainer) -> None:
    one, two, three = explainer.explain(["A mess.", LONG, "Good."], long="window")
    assert isinstance(two, Attribution)
    np.testing.assert_allclose(
        two.scores, explainer.explain(LONG, long="window").scores, rtol=1e-5, atol=1e-5
    )
    assert isinstance(one, Attribution)
    assert isinstance(three, Attribution)
    assert three.text == "Good."


def test_decoder_inputs_are_shifted(wordpiece: PreTrainedTokenizerBase) -> None:
    """BART's x^L stands for the token before: a start token comes first, and the last falls off."""
    model = classifier(wordpiece, "bart")
    found = Explainer(model, wordpiece).explain("A great movie.")
    assert found.tokens == ("<s>", "<s>", "a", "great", "movie", ".")
    assert found.special.tolist() == [True, True, False, False, False, False]
    assert found.words().tokens == ("<s>", "<s>", "A", "great", "movie", ".")
    ids = wordpiece("A great movie.", return_tensors="pt")
    scores = nxl.attribute(model, dict(ids)).scores[0]
    np.testing.assert_allclose(found.scores, scores.numpy(), rtol=1e-5)


@pytest.mark.parametrize("model_type", ["mbart", "plbart", "bart", "t5"])
def test_what_a_decoder_begins_with_is_seen_not_assumed(
    wordpiece: PreTrainedTokenizerBase, model_type: str
) -> None:
    """mBART moves the last token, here </s>, to the front; the others begin with a fixed one."""
    model: Any = classifier(wordpiece, model_type)
    found = Explainer(model, wordpiece).explain("A great movie.")
    first = "</s>" if model_type in ("mbart", "plbart") else "<s>"
    assert found.tokens == (first, "<s>", "a", "great", "movie", ".")
    table = model.get_input_embeddings().weight.detach()
    ids: Any = wordpiece.convert_tokens_to_ids(list(found.tokens))
    words = Explainer(model, wordpiece).explain("A great movie.", method="norm", norm="word")
    scale = words.scores[2] / float(table[ids[2]].norm())
    np.testing.assert_allclose(words.scores, scale * table[ids].norm(dim=-1), rtol=1e-5)


def test_a_tokenizer_of_another_model(wordpiece: PreTrainedTokenizerBase) -> None:
    for size in (100, 10 * len(wordpiece)):
        model = classifier(wordpiece)
        model.resize_token_embeddings(size)
        with pytest.raises(nxl.ModelError, match=f"{len(wordpiece)} tokens and the model {size}"):
            Explainer(model, wordpiece)


def test_a_head_that_was_never_trained(wordpiece: PreTrainedTokenizerBase) -> None:
    model: Any = classifier(wordpiece)
    torch.nn.init.zeros_(model.classifier.bias)
    with pytest.warns(UserWarning, match="never to have been trained"):
        Explainer(model, wordpiece)


def test_not_a_model(wordpiece: PreTrainedTokenizerBase) -> None:
    with pytest.raises(nxl.ModelError, match="PreTrainedModel"):
        Explainer(torch.nn.Linear(2, 2), wordpiece)
    model: Any = classifier(wordpiece)
    headless = Explainer(model.bert, wordpiece)
    with pytest.raises(nxl.ModelError, match="AutoModelForSequenceClassification"):
        headless.explain("A great movie.")


def test_one_nan_among_others_is_reported_in_place(wordpiece: PreTrainedTokenizerBase) -> None:
    model: Any = classifier(wordpiece)
    with torch.no_grad():
        model.bert.embeddings.word_embeddings.weight[wordpiece.convert_tokens_to_ids("movie")] = (
            torch.nan
        )
    first, second = Explainer(model, wordpiece).explain(["A mess.", "A movie."])
    assert isinstance(first, Attribution)
    assert isinstance(second, Failure)
    assert "not finite" in str(second.error)
    assert second.error.__traceback__ is None
    assert second.error.__context__ is None


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"long": "no"}, {"method": "no"}])
def test_wrong_options_are_errors_before_anything_runs(
    explainer: Explainer, wrong: dict[str, Any]
) -> None:
    with pytest.raises(nxl.OptionError):
        explainer.explain(["", None], **wrong)
    with pytest.raises(nxl.OptionError):
        explainer.stream([], **wrong)


def test_a_saved_model(
    explainer: Explainer, wordpiece: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    classifier(wordpiece).save_pretrained(tmp_path)
    wordpiece.save_pretrained(tmp_path)
    loaded = Explainer.from_pretrained(str(tmp_path), device="cpu")
    found = loaded.explain("A great movie.")
    np.testing.assert_allclose(
        found.scores, explainer.explain("A great movie.").scores, rtol=1e-5, atol=1e-5
    )
    assert found.provenance.model == str(tmp_path)
    assert found.provenance.dtype == "float32"
    half = Explainer.from_pretrained(str(tmp_path), dtype="bfloat16").explain("A great movie.")
    assert half.provenance.dtype == "bfloat16"
    with pytest.raises(nxl.OptionError, match="no dtype"):
        Explainer.from_pretrained(str(tmp_path), dtype="float8")
    for device in ("tpu9", "cuda:99"):
        with pytest.raises(nxl.OptionError, match="device"):
            Explainer.from_pretrained(str(tmp_path), device=device)


def test_float16_on_a_cpu_becomes_float32(
    wordpiece: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    model: Any = classifier(wordpiece)
    model.half().save_pretrained(tmp_path)
    wordpiece.save_pretrained(tmp_path)
    found = Explainer.from_pretrained(str(tmp_path), device="cpu").explain("A great movie.")
    assert found.provenance.dtype == "float32"


def test_a_saved_model_without_a_head(wordpiece: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    model: Any = classifier(wordpiece)
    model.bert.save_pretrained(tmp_path)
    wordpiece.save_pretrained(tmp_path)
    with pytest.raises(nxl.ModelError, match=r"classifier.*random"):
        Explainer.from_pretrained(str(tmp_path))


def test_no_such_model(tmp_path: Path) -> None:
    with pytest.raises(nxl.ModelError, match="no/such"):
        Explainer.from_pretrained("no/such")
    with pytest.raises(nxl.ModelError, match="folder"):
        Explainer.from_pretrained(str(tmp_path))


def test_pickled_weights_are_refused(wordpiece: PreTrainedTokenizerBase, tmp_path: Path) -> None:
    model = classifier(wordpiece)
    model.config.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    wordpiece.save_pretrained(tmp_path)
    with pytest.raises(nxl.ModelError, match="safetensors"):
        Explainer.from_pretrained(str(tmp_path))


def test_code_that_comes_with_a_model_does_not_run(
    wordpiece: PreTrainedTokenizerBase, tmp_path: Path
) -> None:
    classifier(wordpiece).save_pretrained(tmp_path)
    wordpiece.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    config["auto_map"] = {
        "AutoConfig": "evil.Config",
        "AutoModelForSequenceClassification": "evil.M",
    }
    config["model_type"] = "never-heard-of"
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "evil.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(nxl.ModelError):
        Explainer.from_pretrained(str(tmp_path))
    assert not (tmp_path / "ran").exists()


@pytest.fixture
def slow(tmp_path: Path) -> PreTrainedTokenizerBase:
    """A tokenizer of Python's own, that tells no offsets: one letter a token."""
    letters = "ABCDEFGHIKLMNPQRSTUVWXYZ"
    (tmp_path / "vocab.txt").write_text("\n".join(["<cls>", "<pad>", "<eos>", "<unk>", *letters]))
    esm: Any = EsmTokenizer
    tokenizer: PreTrainedTokenizerBase = esm(str(tmp_path / "vocab.txt"))
    assert not tokenizer.is_fast
    return tokenizer


def test_a_tokenizer_without_offsets(slow: PreTrainedTokenizerBase) -> None:
    model = classifier(slow, "esm", num_labels=2)
    found = Explainer(model, slow).explain("MKT  AYI")
    assert found.tokens == ("<cls>", *"MKTAYI", "<eos>")
    assert [found.text[a:b] for a, b in found.offsets[1:-1]] == list("MKTAYI")
    assert found.words().tokens == ("<cls>", "MKT", "AYI", "<eos>")
    inputs = dict(slow("MKT  AYI", return_tensors="pt"))
    np.testing.assert_allclose(
        found.scores, nxl.attribute(model, inputs).scores[0].numpy(), rtol=1e-5
    )
    explainer = Explainer(model, slow)
    unknown = explainer.explain("MK bb AY")
    assert unknown.words().tokens == ("<cls>", "MK", "bb", "AY", "<eos>")
    with pytest.raises(nxl.InputError, match="fast tokenizer"):
        explainer.explain(["MK", "AY"], is_split_into_words=True)
    pair = explainer.explain(("MK", "AY"))
    assert pair.segments.tolist() == [-1, 0, 0, -1, 1, 1, -1]


def test_a_token_that_is_not_found_is_an_error(slow: PreTrainedTokenizerBase) -> None:
    batch = slow(["MKT"])
    with pytest.raises(nxl.InputError, match="could not be found in 'KT'"):
        recover_offsets(batch, ["KT"], slow)


def test_regression_and_several_labels(wordpiece: PreTrainedTokenizerBase) -> None:
    value = Explainer(classifier(wordpiece, num_labels=1), wordpiece).explain("A great movie.")
    assert value.prediction.problem == "regression"
    assert value.prediction.probability is None
    assert value.target.value == value.target.logit
    assert value.provenance.readout == "closeness"
    words = tokenizer()
    model = classifier(words, num_labels=4, problem_type="multi_label_classification")
    several = Explainer(model, words).explain(["A great movie.", "A mess."], threshold=0.0)
    for found in several:
        assert isinstance(found, Attribution)
        assert found.scores.shape == (4, len(found))
        assert [t.id for t in found.prediction.predicted] == [0, 1, 2, 3]
    none = Explainer(model, words).explain("A great movie.", threshold=1.0)
    assert none.prediction.predicted == ()
    assert none.scores.shape == (1, len(none))


def test_an_explainer_says_what_it_is(explainer: Explainer) -> None:
    assert repr(explainer).startswith(
        f"<Explainer of {explainer.name}: BertForSequenceClassification for text-classification "
        "(LABEL_0, LABEL_1, LABEL_2), float32 on cpu"
    )
    assert "head" not in repr(explainer)
    saved = classifier_explainer()
    saved.name = "/home/somebody/models/sentiment"
    assert repr(saved).startswith("<Explainer of sentiment: BertForSequenceClassification for")
    assert "(7 labels)" in repr(classifier_explainer(num_labels=7))
    assert "for text-generation, float32" in repr(causal_lm())
    assert "with an attribution head" in repr(fit_tiny(classifier_explainer()))
