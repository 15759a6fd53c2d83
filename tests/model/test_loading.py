"""What cannot be loaded says what lies there, and what to do."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from huggingface_hub.utils.tqdm import (
    are_progress_bars_disabled,
    disable_progress_bars,
    enable_progress_bars,
)
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
from normxlogit.model.loading.names import check_model_name
from normxlogit.model.loading.pretrained import (
    _auto_classes,
    _bars_of_downloads_only,
    find_device,
    has_bfloat16,
    seems_untrained,
)
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


@pytest.mark.parametrize("name", ["a/b/c", "-a", "a-", "a/", "/a", "a b", "https://a.b/c", "a/b\n"])
def test_what_is_neither_a_folder_nor_an_id(name: str) -> None:
    with pytest.raises(ModelError, match="no such folder, and an id on the Hub is a name"):
        check_model_name(name)


def test_folders_and_ids(model: Path, tmp_path: Path) -> None:
    for name in ("gpt2", "a/b", "org-1/bert.base_v2", str(model)):
        check_model_name(name)
    with pytest.raises(ModelError, match=r"it has no config\.json"):
        check_model_name(str(tmp_path))
    shutil.copytree(model, tmp_path / "inner")
    check_model_name(str(tmp_path), subfolder="inner")
    check_model_name(str(tmp_path), gguf_file="a.gguf")
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ModelError, match="which is a file") as caught:
        check_model_name(str(tmp_path / "notes.txt"))
    assert "gguf" not in str(caught.value)


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    available = {"cuda": False, "mps": False}
    monkeypatch.setattr(torch.cuda, "is_available", lambda: available["cuda"])
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: available["mps"])
    for name in ("cuda", "mps", "cuda:1", torch.device("cuda")):
        with pytest.raises(OptionError, match="is not available on this machine"):
            find_device(name)
    assert find_device("auto") == find_device("cpu") == torch.device("cpu")
    assert find_device("meta") == torch.device("meta")
    available["mps"] = True
    assert find_device("auto") == find_device("mps") == torch.device("mps")
    available["cuda"] = True
    assert find_device("auto") == torch.device("cuda")
    assert find_device("cuda:1") == torch.device("cuda:1")


def test_which_devices_have_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    for names in ((), ("avx512_bf16",), ("amx_bf16",), ("avx512",)):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda n=names: dict.fromkeys(n, True))
        has = bool({"avx512_bf16", "amx_bf16"}.intersection(names))
        assert has_bfloat16(torch.device("cpu")) is has
        assert not has_bfloat16(torch.device("cuda"))


def test_half_precision_is_loaded_as_float32_unless_asked_for(model: Path, tmp_path: Path) -> None:
    folder = tmp_path / "half"
    shutil.copytree(model, folder)
    auto: Any = transformers.AutoModelForSequenceClassification
    for saved, loaded in (
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.bfloat16),
        (torch.float32, torch.float32),
    ):
        auto.from_pretrained(model).to(saved).save_pretrained(folder)
        assert Explainer.from_pretrained(folder).model.dtype == loaded
    for dtype in ("float16", torch.float16):
        assert Explainer.from_pretrained(model, dtype=dtype).model.dtype == torch.float16


@pytest.mark.parametrize("downloads", [True, False])
@pytest.mark.parametrize("weights", [True, False])
def test_bars_are_left_as_they_were(downloads: bool, weights: bool) -> None:
    """The bar of weights is hidden while they are read, that of downloads is as the user set it."""
    bars: Any = transformers.utils.logging
    before = bars.is_progress_bar_enabled(), are_progress_bars_disabled()
    try:
        (bars.enable_progress_bar if weights else bars.disable_progress_bar)()
        (enable_progress_bars if downloads else disable_progress_bars)()
        with _bars_of_downloads_only():
            assert not bars.is_progress_bar_enabled()
            assert are_progress_bars_disabled() is not downloads
        assert bars.is_progress_bar_enabled() is weights
        assert are_progress_bars_disabled() is not downloads
    finally:
        (bars.enable_progress_bar if before[0] else bars.disable_progress_bar)()
        (disable_progress_bars if before[1] else enable_progress_bars)()


def test_weights_that_are_missing_or_of_another_shape(model: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no weights for classifier\.bias, classifier\.weight of"):
        Explainer.from_pretrained(model, num_labels=5, ignore_mismatched_sizes=True)
    auto: Any = transformers.AutoModelForSequenceClassification
    whole = auto.from_pretrained(model)
    folder = tmp_path / "trunk"
    shutil.copytree(model, folder)
    weights = {name: w for name, w in whole.state_dict().items() if "layer.0" not in name}
    whole.save_pretrained(folder, state_dict=weights)
    with pytest.raises(ModelError, match=r"(bert\.encoder\S+, ){3}bert\.encoder\S+ \.\.\. of Bert"):
        Explainer.from_pretrained(folder)


def test_the_task_is_told_by_the_class_of_the_model() -> None:
    for architectures, auto in (
        (["BertForTokenClassification"], transformers.AutoModelForTokenClassification),
        (["GPT2LMHeadModel"], AutoModelForCausalLM),
        (["AutoModelForMaskedLM"], transformers.AutoModelForMaskedLM),
        (["Unheard"], transformers.AutoModelForSequenceClassification),
        (None, transformers.AutoModelForSequenceClassification),
    ):
        assert _auto_classes(BertConfig(architectures=architectures))[0] is auto
    remote: Any = BertConfig(architectures=["Mine"])
    remote.auto_map = {"AutoModelForCausalLM": "mine.Mine"}
    assert _auto_classes(remote)[0] is AutoModelForCausalLM
