"""The model inside the package is small, loads without a word, and says what a reader would."""

import csv
from importlib.resources import files
from pathlib import Path

import pytest

from normxlogit import Attribution, Explainer, InputError
from tests.helpers.models import classifier_explainer
from tests.helpers.paths import SHARED

TABLE = Path(__file__).parent.parent / "tools/demo_sentences.tsv"


@pytest.fixture(scope="module")
def demo() -> Explainer:
    return Explainer.from_pretrained("demo", device="cpu")


def test_size_and_files() -> None:
    folder = files("normxlogit") / "demo"
    sizes = {f.name: len(f.read_bytes()) for f in folder.iterdir() if f.is_file()}
    assert sizes.pop("MODEL_CARD.md") > 1000
    assert sizes.pop("attribution_head.safetensors") < 300_000
    assert set(sizes) == {
        "config.json",
        "model.safetensors",
        "tokenizer.json",
        "tokenizer_config.json",
    }
    assert sum(sizes.values()) <= 16_000_000


def test_hand_written_sentences(demo: Explainer) -> None:
    """At least nine in ten are right, and rest on a word that a reader would point at."""
    with TABLE.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    assert len(rows) >= 30
    right, pointed = 0, 0
    for row, found in zip(rows, demo.explain([r["text"] for r in rows]), strict=True):
        assert isinstance(found, Attribution)
        right += found.prediction.label == row["label"]
        strongest = [word.lower() for word, _ in found.words().top(5)]
        pointed += any(word in strongest for word in row["words"].lower().split())
    assert right >= 0.9 * len(rows)
    assert pointed >= 0.9 * len(rows)


def test_the_example_of_the_readme(demo: Explainer) -> None:
    words = dict(demo.explain("A great movie with poor performers.").words().top(99))
    assert max(words, key=lambda word: words[word]) == "poor"
    assert words["great"] < 0


def test_where_the_head_of_the_readme_differs(demo: Explainer) -> None:
    explainer = Explainer(demo.model, demo.tokenizer, head="demo")
    signs = {}
    for method in ("normxlogit", "attribution_head"):
        words = explainer.explain("Great acting, dull plot.", method=method).words()
        signs[method] = dict(zip(words.tokens, words.scores > 0, strict=True))
    assert all(signs["normxlogit"].values())
    assert not signs["attribution_head"]["Great"]
    assert signs["attribution_head"]["dull"]


def test_its_head(demo: Explainer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is asked for by name, belongs to the demo model alone, and points where a reader would."""
    assert demo.head is None
    for dtype in ("float32", "bfloat16", "float16"):
        explainer = Explainer.from_pretrained("demo", device="cpu", dtype=dtype, head="demo")
        assert explainer.explain("A great movie.").provenance.method == "attribution_head"
    explainer = Explainer(demo.model, demo.tokenizer, head="demo")
    with TABLE.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    strongest = [
        [word.lower() for word, _ in a.words().top(3)] if isinstance(a, Attribution) else []
        for a in explainer.explain([row["text"] for row in rows])
    ]
    pointed = [
        any(word in words for word in row["words"].lower().split())
        for row, words in zip(rows, strongest, strict=True)
    ]
    assert sum(pointed) >= 0.9 * len(rows)
    other = classifier_explainer()
    with pytest.raises(InputError, match="fitted to demo, and the model is tiny"):
        Explainer(other.model, other.tokenizer, name="tiny", head="demo")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "demo").write_bytes(b"no head")
    for path in ("./demo", Path("demo"), tmp_path / "demo"):
        with pytest.raises(InputError, match="demo is no attribution head"):
            Explainer(demo.model, demo.tokenizer, head=path)


@pytest.mark.shared
def test_accuracy_on_the_dev_set(demo: Explainer) -> None:
    lines = (SHARED / "data/sst2/dev.tsv").read_text("utf-8").splitlines()
    rows = [line.rsplit("\t", 1) for line in lines]
    assert len(rows) == 872
    found = demo.explain([text for text, _ in rows], method="norm")
    right = sum(
        isinstance(a, Attribution) and a.prediction.id == int(gold)
        for a, (_, gold) in zip(found, rows, strict=True)
    )
    assert right / len(rows) >= 0.86
