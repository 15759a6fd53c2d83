"""What experiments/attribution_head trains is what a fit trains, and what it tries is whole."""

import csv
from pathlib import Path

import numpy as np
import pytest
import torch

from experiments.attribution_head import material, variants
from experiments.attribution_head.material import Material, Source, read_material, with_masks
from normxlogit.fitting import run, training
from tests.helpers.heads import reviews
from tests.helpers.models import classifier_explainer


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model and texts."""
    folder = tmp_path_factory.mktemp("work")
    explainer = classifier_explainer()
    explainer.model.save_pretrained(folder / "model")
    explainer.tokenizer.save_pretrained(folder / "model")
    with (folder / "texts.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["text"], *([text] for text in reviews(40))])
    return folder


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "EPOCHS", 2)
    for module in (run, material):
        monkeypatch.setattr(module, "in_bfloat16", lambda _: None)  # on any machine


def read(work: Path, masks: int) -> Material:
    source = Source(work / "texts.csv", None)
    return read_material(str(work / "model"), source, 40, masks, work / f"outcomes-{masks}")


@pytest.mark.filterwarnings("ignore:Do not use it")  # of a head with so little to go by
def test_a_variant_is_what_a_fit_of_these_settings_makes(work: Path) -> None:
    texts = read(work, 4)
    variant = variants.Variant.parse("texts=40:masks=4:width=8:layers=1,2:epochs=2")
    head = texts.explainer.fit(work / "texts.csv", texts=40, masks=4, width=8, layers=[1, 2])
    result, layers = variants.trained(texts, variant)
    assert layers == [1, 2]
    assert result.epoch == head.record.settings["epoch"]
    # On some processors products round by where their numbers stand in memory.
    torch.testing.assert_close(result.network.state_dict(), head.network.state_dict())


def test_fewer_sets_are_among_those_measured(work: Path) -> None:
    more, few = read(work, 8).examples, read(work, 4).examples
    of_both = with_masks(more, 4)
    assert {len(example.outcomes.shown) for example in more} == {2, 6, 8}
    for example, measured, drawn in zip(of_both, more, few, strict=True):
        shown, logits = example.outcomes.shown, example.outcomes.logits
        assert len(shown) == len(drawn.outcomes.shown)
        np.testing.assert_array_equal(shown[0::2], ~shown[1::2])
        for row, output in zip(shown, logits, strict=True):
            places = (measured.outcomes.shown == row).all(1)
            assert output in measured.outcomes.logits[places]
        if len(measured.outcomes.shown) < 8:  # all there are, of which a fit draws these
            np.testing.assert_array_equal(shown, drawn.outcomes.shown)
            np.testing.assert_array_equal(example.outcomes.weights, drawn.outcomes.weights)


def test_the_command_goes_on_where_it_was(
    work: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    files = ["--train", work / "texts.csv", "--dev", work / "texts.csv", "--work", work / "tried"]
    options = ["--model", work / "model", *files, "--texts", 40, "--masks", 4, "--variants"]
    named = ["small:texts=40:masks=4:width=4", "wide:texts=40:masks=4:width=8"]
    printed = []
    for _ in range(2):
        monkeypatch.setattr("sys.argv", ["-", *map(str, options), *named])
        variants.main()
        printed.append(capsys.readouterr().out.splitlines())
        monkeypatch.setattr(variants, "figures", None)  # what is done is not done again
    assert printed[0][-4:] == printed[1][-4:]
    assert printed[0][-4].startswith("small")
    assert "(+0.0000, +0.0000 to +0.0000)" in printed[0][-4]
