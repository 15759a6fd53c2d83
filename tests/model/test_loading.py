"""What cannot be loaded says what lies there, and what to do."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    BertConfig,
    PreTrainedModel,
    modeling_gguf_pytorch_utils,
)
from typer.testing import CliRunner

import normxlogit as nxl
from normxlogit import Explainer, ModelError, OptionError, cli
from normxlogit.model.loading.pretrained import seems_untrained
from tests.helpers.texts import TEXTS
from tests.helpers.zoo import tiny_config, tiny_model


def pickled(model: Path, folder: Path) -> Path:
    """A copy of a model's folder with pickled weights only."""
    shutil.copytree(model, folder)
    auto: Any = transformers.AutoModelForSequenceClassification
    torch.save(auto.from_pretrained(folder).state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    return folder


def test_pickled_weights_are_refused_with_the_line_that_converts_them(
    model: Path, tmp_path: Path
) -> None:
    folder = pickled(model, tmp_path / "pickled")
    with pytest.raises(ModelError, match=r"pytorch_model\.bin is a pickle") as caught:
        Explainer.from_pretrained(folder)
    line = str(caught.value).rpartition("convert it once: ")[2].removesuffix(".")
    assert line.startswith("transformers.AutoModelForSequenceClassification.from_pretrained(")
    eval(line, {"transformers": transformers})
    result = Explainer.from_pretrained(folder).explain(TEXTS[0])
    assert (
        result.scores.tolist() == Explainer.from_pretrained(model).explain(TEXTS[0]).scores.tolist()
    )


def test_a_folder_without_any_weights_says_nothing_of_pickles(model: Path, tmp_path: Path) -> None:
    folder = pickled(model, tmp_path / "empty")
    (folder / "pytorch_model.bin").unlink()
    with pytest.raises(ModelError, match=r"no file named model\.safetensors") as caught:
        Explainer.from_pretrained(folder)
    assert "pickle" not in str(caught.value)


def test_a_folder_of_gguf_names_the_files_in_it(tmp_path: Path) -> None:
    for name in ("b-q8.gguf", "a-q4.gguf"):
        (tmp_path / name).touch()
    says = r"but a-q4\.gguf, b-q8\.gguf.*gguf_file='a-q4\.gguf', or --gguf-file a-q4\.gguf\.$"
    with pytest.raises(ModelError, match=says):
        Explainer.from_pretrained(tmp_path)
    run = CliRunner().invoke(cli.app, ["generate", "-m", str(tmp_path), "A plot"])
    assert run.exit_code == 1
    assert "--gguf-file a-q4.gguf" in run.stderr
    with pytest.raises(ModelError, match=r"which is a file.*gguf_file='a-q4\.gguf'"):
        Explainer.from_pretrained(tmp_path / "a-q4.gguf")
    with pytest.raises(ModelError) as caught:  # it was named, and is no GGUF
        Explainer.from_pretrained(tmp_path, gguf_file="a-q4.gguf")
    assert "Say that it is to be loaded" not in str(caught.value)


def test_the_bar_for_a_gguf_file_is_hidden_as_others_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.gguf").touch()
    reader: Any = modeling_gguf_pytorch_utils
    bar = reader.tqdm

    def read(*_args: Any, **_options: Any) -> None:
        assert list(reader.tqdm([1, 2], desc="reading")) == [1, 2]
        raise ValueError("no more")

    monkeypatch.setattr(AutoModelForCausalLM, "from_pretrained", read)
    with pytest.raises(ModelError, match="no more"):
        Explainer.from_pretrained(tmp_path, gguf_file="a.gguf")
    assert capsys.readouterr().err == ""
    assert reader.tqdm is bar


def test_a_model_is_named_by_a_path_too(model: Path) -> None:
    explainer = Explainer.from_pretrained(model, device=torch.device("cpu"))
    assert explainer.name == str(model)
    assert explainer.explain(TEXTS[0]).to_dict()["provenance"]["model"] == str(model)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"name": None}, "a model is named by"),
        ({"name": b"demo"}, "a model is named by"),
        ({"revision": 3}, "a revision by its name; got 'demo' and 3"),
        ({"device": None}, "a device is one of auto, cpu, cuda, mps; got None"),
        ({"device": 0}, "a device is one of"),
        ({"dtype": 16}, "there is no dtype 16"),
        ({"trust_remote_code": "no"}, "trust_remote_code must be True or False, got 'no'"),
    ],
)
def test_options_of_another_type_are_refused(options: dict[str, Any], says: str) -> None:
    with pytest.raises(OptionError, match=says):
        Explainer.from_pretrained(**{"name": "demo", **options})


def test_a_device_is_checked_before_anything_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(nxl.OptionError, match="there is no device 'gpu'"):
        Explainer.from_pretrained(tmp_path / "nowhere", device="gpu")


class Bare(PreTrainedModel):  # type: ignore[no-untyped-call]
    """A model that names no part of it as its trunk, with a linear layer of as many outputs."""

    config_class = BertConfig

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.classifier = nn.Linear(4, config.num_labels)


def test_a_bias_of_zeros_is_of_a_head_that_was_never_trained() -> None:
    models: tuple[Any, ...] = Bare(tiny_config("bert")), tiny_model("bert")
    assert models[0].base_model is models[0]
    for model in models:
        assert not seems_untrained(model)
        model.classifier.bias.data.zero_()
        assert seems_untrained(model)


def test_a_trunk_may_have_biases_of_zeros() -> None:
    model: Any = tiny_model("bert", num_labels=32)
    model.bert.pooler.dense.bias.data.zero_()
    assert model.bert.pooler.dense.out_features == model.config.num_labels
    assert not seems_untrained(model)
