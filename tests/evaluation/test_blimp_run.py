"""`normxlogit evaluate --benchmark blimp`: a model and BLiMP's files in, a folder out."""

import json
import re
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from normxlogit import Explainer, InputError, ModelError, OptionError
from normxlogit.data.source import open_dataset
from normxlogit.evaluation import blimp, case_of
from normxlogit.evaluation.benchmark import run
from normxlogit.evaluation.benchmark.cases import Case, halves
from normxlogit.evaluation.benchmark.readings import make_items, read
from normxlogit.evaluation.report.blimp import evidence
from normxlogit.evaluation.report.plots import layers, style
from normxlogit.evaluation.report.plots.style import Figure
from tests.helpers.blimp import (
    ADJECTIVE,
    ANAPHOR,
    DISTRACTOR,
    NOUN,
    VERB,
    alignment_results,
    language_model,
)
from tests.helpers.builders import tokenizer
from tests.helpers.evaluation import run_evaluate
from tests.helpers.zoo import tiny_model

Data = dict[str, Any]
command = import_module("normxlogit.cli.commands.evaluate")

SENTENCES = {
    ANAPHOR: ("The {a} is not the {b} it.", "The {a} is not the {b} the."),
    NOUN: ("A {b} is not the {a}.", "A {b} is not it {a}."),
    ADJECTIVE: ("Don't watch the great {a}.", "Don't watch it great {a}."),
    DISTRACTOR: ("The {a} of a {b} is bad.", "The {a} of a {b} it bad."),
    VERB: ("The {a} is a {b}.", "The {a} it a {b}."),
}
"""By paradigm one that the model is to prefer, and one that differs in one word; of every other
pair of verbs the two are exchanged.
"""
NOUNS = ("movie", "plot", "mess", "acting")
PAIRS = {
    paradigm: [
        tuple(sentence.format(a=a, b=b) for sentence in sentences)
        for a in NOUNS
        for b in NOUNS
        if a != b
    ]
    for paradigm, sentences in SENTENCES.items()
}
PAIRS[VERB][::2] = [(bad, good) for good, bad in PAIRS[VERB][::2]]
CAUSAL = (ANAPHOR, DISTRACTOR, VERB)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """BLiMP's folder, made up."""
    folder = tmp_path_factory.mktemp("blimp")
    for paradigm, pairs in PAIRS.items():
        lines = [json.dumps({"sentence_good": good, "sentence_bad": bad}) for good, bad in pairs]
        (folder / f"{paradigm}.jsonl").write_text("\n".join(lines))
    return folder


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one of each kind."""
    folder = tmp_path_factory.mktemp("models")
    for kind in ("bert", "llama"):
        explainer: Any = language_model(kind)
        explainer.model.save_pretrained(folder / kind)
        explainer.tokenizer.save_pretrained(folder / kind)
    return folder


def results_in(folder: Path) -> Data:
    found: Data = json.loads((folder / "results.json").read_text("utf-8"))
    return found


def of_test_half(limit: int | None = None) -> list[Case]:
    """The test half of the made-up pairs."""
    cases = list[Case]()
    for paradigm, pairs in PAIRS.items():
        cases += halves([case_of(good, bad, paradigm) for good, bad in pairs])[1][:limit]
    return cases


@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_what_the_command_finds(kind: str, models: Path, data: Path, tmp_path: Path) -> None:
    model, out = models / kind, tmp_path / "out"
    result = run_evaluate("--benchmark", "blimp", "-m", model, "--data", data, "-o", out)
    assert (result.exit_code, result.stderr) == (0, "")
    explainer, cases = Explainer.from_pretrained(str(model)), of_test_half()
    found = results_in(out)
    assert found["test_cases"] == dict.fromkeys(PAIRS, 6)
    asked = [case for case in cases if kind == "bert" or case.paradigm in CAUSAL]
    assert found["asked"] == {name: sum(c.paradigm == name for c in asked) for name in PAIRS}
    assert found["task"] == ("fill-mask" if kind == "bert" else "text-generation")
    expected = alignment_results(explainer, make_items(asked, explainer))
    assert {name: found[name] for name in expected} == json.loads(json.dumps(expected))
    settings = found["settings"]
    assert settings["model"]["name"] == str(model)
    assert (settings["limit"], settings["seed"]) == (None, 0)
    for paradigm in PAIRS:
        (file,) = settings["data"][paradigm]["files"]
        path = data / f"{paradigm}.jsonl"
        assert file["name"] == path.name
        assert file["sha256"] == sha256(path.read_bytes()).hexdigest()
    assert {path.name for path in out.iterdir() if path.name[0] != "."} == {
        *("results.json", "settings.json", "scores.parquet", "report.md", "figures"),
    }
    last = found["text"]["average_precision"]
    lines = result.stdout.splitlines()
    order = [line.split()[0] for line in lines[1 : 1 + len(last)]]
    assert sorted(order, key=lambda name: -last[name]["mean"][-1]) == order
    for name, line in zip(order, lines[1:], strict=False):
        for metric in ("average_precision", "dot_product"):
            mean, low, high = (found["text"][metric][name][key][-1] for key in KEYS)
            assert f"{mean:.3f} [{low:.3f}, {high:.3f}]" in line
    assert f"{len(asked)} of 30 cases can be asked" in lines[-2]
    assert "Figures are for the sentence's words at layer 2, intervals 95%." in lines[-2]
    assert ("the cue comes after them" in lines[-2]) == (kind == "llama")
    assert lines[-1] == f"The report: {out / 'report.md'}"


KEYS = ("mean", "low", "high")


def test_the_report_has_the_figures(data: Path, tmp_path: Path) -> None:
    found = blimp(language_model("distilbert"), data, tmp_path / "out", name="some/di*til")
    assert found == results_in(tmp_path / "out")
    assert set(found["failed"]) == {"globenc", "alti"}
    report = (tmp_path / "out" / "report.md").read_text("utf-8")
    assert report.startswith("# Evidence on BLiMP: some/di\\*til\n")
    assert report.count("Left out (") == 1
    assert "\nLeft out (`globenc`, `alti`): this method takes apart blocks of the BERT" in report
    rows = [line.strip("| ").split(" | ") for line in report.splitlines() if line[:3] == "| `"]
    expected = [
        [
            f"`{reading}`",
            *(f"{mean:.2f}" for mean in figures["mean"]),
            f"{figures['low'][-1]:.2f} to {figures['high'][-1]:.2f}",
        ]
        for tokens in ("text", "all")
        for metric in ("dot_product", "average_precision")
        for reading, figures in found[tokens][metric].items()
    ]
    assert rows == expected
    assert len(expected) == 4 * 10
    for link in re.findall(r"\]\((figures/\S+)\)", report):
        ElementTree.fromstring((tmp_path / "out" / link).read_text("utf-8"))
    drawn = sorted(path.name for path in (tmp_path / "out" / "figures").iterdir())
    assert drawn == ["evidence.png", "evidence.svg"]
    assert (tmp_path / "out" / "figures" / drawn[0]).read_bytes()[:4] == b"\x89PNG"


def test_the_curves_are_those_of_the_figures(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawings = list[Any]()

    def keep(drawing: Any, *names: str) -> Any:
        drawings.append(drawing)
        return style.saved(drawing, *names)

    monkeypatch.setattr(layers, "saved", keep)
    found = blimp(language_model(), data, tmp_path / "out", name="a/model")["text"]
    ((one, other),) = (drawing.axes for drawing in drawings)
    for axes, metric in ((one, "dot_product"), (other, "average_precision")):
        assert axes.get_title("left") == metric.replace("_", " ")
        lines = {line.get_label(): line for line in axes.lines}
        assert set(lines) == {label for label, _, _ in layers.STYLES.values()}
        for reading, (label, _, _) in layers.STYLES.items():
            assert list(lines[label].get_xdata()) == [1, 2]
            assert list(lines[label].get_ydata()) == found[metric][reading]["mean"]
    assert drawings[0].get_suptitle() == "Evidence on BLiMP, model: words of 30 cases"


def test_limit_and_seed(data: Path) -> None:
    explainer = language_model()
    found = blimp(explainer, data, limit=2)
    assert found["test_cases"] == dict.fromkeys(PAIRS, 2)
    expected = alignment_results(explainer, make_items(of_test_half(2), explainer))
    assert found["text"] == expected["text"]
    again = blimp(explainer, data, limit=2, seed=1)
    for reading, figures in again["text"]["dot_product"].items():
        same = figures["mean"] == expected["text"]["dot_product"][reading]["mean"]
        assert same == (reading != "random")
        assert (figures["low"] == expected["text"]["dot_product"][reading]["low"]) is False


@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_the_records_of_cases_have_the_figures(kind: str, data: Path, tmp_path: Path) -> None:
    """Means, differences and the percentiles of resamples, by numpy and pandas alone."""
    found = blimp(language_model(kind), data, tmp_path / "out", seed=3)
    scores = pd.read_parquet(tmp_path / "out" / "scores.parquet")
    assert scores["case"].is_monotonic_increasing
    cases = scores.groupby("case").first()
    for paradigm, own in cases.groupby("paradigm"):
        assert len(own) == found["asked"][paradigm]
        for _, case in own.iterrows():
            good, bad = PAIRS[str(paradigm)][case["row"]]
            assert case["good"] in good.split() or f"{case['good']}." in good.split()
            assert case["bad"] in bad.split() or f"{case['bad']}." in bad.split()
            before = case["text"].split(" <mask>")[0].removeprefix("<s>")
            assert good.replace("n't", " not").startswith(before)
    assert cases["preferred"].mean() == found["accuracy"]
    for name in ("text", "all"):
        own = scores[(scores["set"] == name) & scores["dot_product"].notna()]
        ours = own[own["reading"] == "normxlogit"]
        assert found[name]["cases"] == len(ours)
        assert found[name]["tokens"] == pytest.approx(ours["tokens"].mean())
        number = len(ours)
        drawn = np.random.default_rng(3).multinomial(number, [1 / number] * number, 2000) / number
        for metric in ("dot_product", "average_precision"):
            base = np.array(ours[metric].tolist())
            assert set(own["reading"]) == set(found[name][metric])
            for reading, rows in own.groupby("reading"):
                values = np.array(rows[metric].tolist())
                check(found[name][metric][reading], values, drawn)
                if reading != "normxlogit":
                    less = found[name][f"{metric}_less_normxlogit"]
                    check(less[reading], values - base, drawn)
                for paradigm, of_one in rows.groupby("paradigm"):
                    means = found[name][f"{metric}_by_paradigm"][paradigm][reading]
                    assert means == pytest.approx(np.mean(of_one[metric].tolist(), 0), abs=1e-4)


def check(figures: Data, values: Any, drawn: Any) -> None:
    """Figures of values, [cases, layers], and how often each case is in each resample."""
    assert figures["mean"] == pytest.approx(values.mean(0), abs=1e-4)
    low, high = np.quantile(drawn @ values, [0.025, 0.975], axis=0)
    assert figures["low"] == pytest.approx(low, abs=1e-4)
    assert figures["high"] == pytest.approx(high, abs=1e-4)


@pytest.mark.parametrize(
    ("depth", "shown"), [(12, range(1, 13)), (13, [1, 3, 5, 7, 9, 11, 13]), (30, range(3, 31, 3))]
)
def test_layers_of_tables(depth: int, shown: Sequence[int]) -> None:
    figures = {key: [n / 100 for n in range(1, depth + 1)] for key in KEYS}
    of_set: Data = {"cases": 2, "tokens": 3.0, "all_evidence": 0}
    of_set |= {name: {"normxlogit": figures} for name in ("dot_product", "average_precision")}
    results = {
        "settings": {"model": {"name": "m"}, "data": {}, "limit": None, "seed": 0},
        "versions": {},
        "failed": {},
        "task": "fill-mask",
        "accuracy": 0.5,
        "test_cases": {VERB: 2},
        "asked": {VERB: 2},
        "text": {**of_set, "all_evidence": 1},
        "all": of_set,
    }
    text = evidence(results, Figure("evidence", "a caption", "", b""))
    lines = text.splitlines()
    assert "2 of 2 cases can be asked; in 1 of them all tokens are evidence." in text
    heads = [line for line in lines if line.startswith("| Reading |")]
    assert heads == [f"| Reading | {' | '.join(map(str, shown))} | 95% |"] * 4
    (row,) = {line for line in lines if line.startswith("| `normxlogit`")}
    values = " | ".join(f"{layer / 100:.2f}" for layer in shown)
    end = f"{depth / 100:.2f}"
    assert row == f"| `normxlogit` | {values} | {end} to {end} |"
    assert ("At most 12 layers are shown" in text) == (depth > 12)


def test_a_folder_holds_one_run(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    explainer, out = language_model(), tmp_path / "out"
    found = blimp(explainer, data, out, limit=2)
    monkeypatch.setattr(run, "read", stopped)
    assert blimp(explainer, data, out, limit=2) == found
    with pytest.raises(InputError, match=r"other settings: limit was 2 and is 3\. Give another"):
        blimp(explainer, data, out, limit=3)
    with pytest.raises(InputError, match="holds something else"):
        blimp(explainer, data, data)


@pytest.mark.parametrize("at", range(3))
def test_a_stopped_run_goes_on(
    at: int, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    explainer, asked = language_model(), list[int]()

    def counted(of: Explainer, items: list[Any], methods: list[str]) -> Any:
        if len(asked) == at:
            stopped()
        asked.append(len(items))
        return read(of, items, methods)

    monkeypatch.setattr(run, "read", counted)
    with pytest.raises(KeyboardInterrupt):
        blimp(explainer, data, tmp_path / "out", limit=2)
    written = {path.name for path in (tmp_path / "out").glob("*") if path.name[0] != "."}
    assert written == ({"settings.json"} if at else set())
    at = -1
    found = blimp(explainer, data, tmp_path / "out", limit=2)
    assert sum(asked) == sum(found["asked"].values())
    monkeypatch.undo()
    assert blimp(explainer, data, tmp_path / "whole", limit=2) == found
    contents = [
        {
            path.relative_to(folder): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file()
        }
        for folder in (tmp_path / "out", tmp_path / "whole")
    ]
    assert contents[0] == contents[1]


def stopped(*_: object) -> None:
    raise KeyboardInterrupt


def test_the_data_set_of_the_hub(
    models: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for paradigm, pairs in PAIRS.items():
        frame = pd.DataFrame(pairs, columns=["sentence_good", "sentence_bad"])
        (tmp_path / "hub" / paradigm).mkdir(parents=True)
        frame.assign(UID=paradigm).to_parquet(tmp_path / "hub" / paradigm / "train.parquet")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    preferred = list[str]()
    monkeypatch.setattr(command, "prefer_cached_data", preferred.append)

    def local(name: str, *, subset: str | None, split: str | None) -> Any:
        assert name == "nyu-mll/blimp"
        return open_dataset(str(tmp_path / "hub" / str(subset)), subset=None, split=split)

    monkeypatch.setattr("normxlogit.data.source.open_dataset", local)
    (tmp_path / "config.yaml").write_text("benchmark: blimp\ndata: nyu-mll/blimp\nlimit: 3")
    usual = ["--config", tmp_path / "config.yaml", "-m", models / "bert"]
    result = run_evaluate(*usual, "-o", tmp_path / "out")
    assert (result.exit_code, preferred) == (0, ["nyu-mll/blimp"]), result.output
    found = results_in(tmp_path / "out")
    expected = blimp(Explainer.from_pretrained(str(models / "bert")), data, limit=3)
    assert found["text"] == expected["text"]
    assert all(one["splits"] == ["train"] for one in found["settings"]["data"].values())
    frame.assign(sentence_bad=None).to_parquet(tmp_path / "hub" / VERB / "train.parquet")
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "fresh")
    result = run_evaluate(*usual, "-o", tmp_path / "no")
    why = f"normxlogit: {VERB}, row 0: sentence_bad is null.\n"
    assert (result.exit_code, result.stdout, result.stderr) == (1, "", why)


def test_one_line_for_what_cannot_be_done(
    model: Path, models: Path, data: Path, tmp_path: Path
) -> None:
    bert, out = ["-m", models / "bert"], tmp_path / "out"
    (tmp_path / "half").mkdir()
    (tmp_path / "half" / f"{ANAPHOR}.jsonl").write_text((data / f"{ANAPHOR}.jsonl").read_text())
    (tmp_path / "seed.yaml").write_text("benchmark: blimp\nseed: many")
    cases: list[tuple[list[object], str]] = [
        (["--benchmark", "glue"], "benchmark must be blimp or sources, got 'glue'."),
        (["--methods", "norm", "--text", "a"], "takes limit and seed beside model and data. Leave"),
        (["--limit", 0], "limit must be a whole number from 1, got 0."),
        (["--seed", -1], "seed must be a whole number from 0, got -1."),
        (["--config", tmp_path / "seed.yaml"], "seed must be a whole number from 0, got 'many'."),
        (["-m", model], "BertForSequenceClassification is for text-classification."),
        (["-m", "demo"], "BLiMP is for masked and causal language models;"),
        (["--data", tmp_path / "none"], f"there is no file or folder {tmp_path / 'none'}"),
        (["--data", tmp_path / "half"], f"there is no file or folder {tmp_path / 'half' / NOUN}"),
        (["--data", tmp_path / "half" / f"{ANAPHOR}.jsonl"], "there is no file or folder"),
        (["-o", data], "holds something else"),
        (["-o", "s3://bucket/out"], "is written to a folder on this machine"),
    ]
    for arguments, reason in cases:
        usual = ["--benchmark", "blimp", *bert, "--data", data, "-o", out]
        result = run_evaluate(*usual, *arguments)
        assert (result.exit_code, result.stdout) == (1, ""), (arguments, result.output)
        assert reason in result.stderr
        assert result.stderr.count("\n") == 1
    result = run_evaluate("--benchmark", "blimp", *bert, "-o", out)
    assert (result.exit_code, "no data. Give --data" in result.stderr) == (2, True)
    assert not out.exists()


def test_models_that_cannot_be_asked(data: Path) -> None:
    words = tokenizer(mask_token=None)
    unmasked = Explainer(tiny_model("bert", 3, mapping="masked-lm", vocab_size=len(words)), words)
    with pytest.raises(ModelError, match="of this BertForMaskedLM has no mask token"):
        blimp(unmasked, data)
    both = Explainer(tiny_model("t5", 3, mapping="seq2seq-lm", vocab_size=len(words)), words)
    with pytest.raises(ModelError, match="T5ForConditionalGeneration is for text2text-generation"):
        blimp(both, data)
    with pytest.raises(OptionError, match="limit must be"):
        blimp(both, data, limit=0)


def test_models_whose_layers_cannot_be_read(data: Path, tmp_path: Path) -> None:
    words = tokenizer(mask_token="<mask>")
    reformer = tiny_model("reformer", 3, mapping="masked-lm", vocab_size=len(words))
    with pytest.raises(ModelError, match="layer by layer, and the layers of this ReformerFor"):
        blimp(Explainer(reformer, words), data, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_causal_model_that_is_given_an_end(data: Path) -> None:
    words = tokenizer()
    ended = Explainer(tiny_model("llama", 3, mapping="causal-lm", vocab_size=len(words)), words)
    with pytest.raises(ModelError, match="LlamaForCausalLM ends texts with '</s>', after which"):
        blimp(ended, data)


def test_a_beginning_is_added_where_the_tokenizer_adds_none() -> None:
    explainer = language_model("llama")
    case = case_of("A movie is bad.", "A movie it bad.", VERB)
    (usual,) = make_items([case], explainer)
    assert (usual.text, usual.begin, usual.cues) == ("A movie", 0, ((2, 7),))
    words: Any = tokenizer(add_eos=False)
    words.backend_tokenizer.post_processor = None
    bare = Explainer(explainer.model, words)
    (item,) = make_items([case], bare)
    assert (item.text, item.begin, item.cues) == ("<s>A movie", 3, ((5, 10),))
    assert alignment_results(bare, [item]) == alignment_results(explainer, [usual])


def test_cases_that_cannot_be_asked() -> None:
    causal = language_model("llama")
    after = case_of("A movie is not the plot.", "A movie is not it plot.", NOUN)
    torn = Case("The movie performs.", (10, 18), "performs", "is", ((4, 9),), VERB)
    with pytest.raises(InputError, match="none of 2 cases can be asked"):
        make_items([after, torn], causal)
    alone = case_of("Movie is bad.", "Movie it bad.", VERB)
    with pytest.raises(InputError, match="in each of 1 cases all tokens are evidence"):
        alignment_results(causal, make_items([alone], causal))
    more = case_of("A movie is bad.", "A movie it bad.", VERB)
    found = alignment_results(causal, make_items([alone, more], causal))
    assert (found["text"]["cases"], found["text"]["all_evidence"]) == (1, 1)
    assert np.isfinite(found["accuracy"])
