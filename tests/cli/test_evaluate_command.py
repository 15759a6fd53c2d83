"""Inputs, refusals and output of `normxlogit evaluate`; bad input from Python is refused alike."""

import json
import sys
from collections.abc import Callable
from importlib import import_module
from itertools import islice, permutations
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from typer.main import get_command

from normxlogit import Explainer, InputError, ModelError, NormXLogitError, OptionError, cli
from normxlogit.cli.model import ModelOptions
from normxlogit.evaluation import run
from tests.helpers.builders import classifier, tokenizer
from tests.helpers.evaluation import ROWS, TEXTS, run_evaluate, write_reviews
from tests.helpers.memory import cpu_out_of_memory, gpu_out_of_memory
from tests.helpers.models import classifier_explainer

Data = dict[str, Any]
command = import_module("normxlogit.cli.commands.evaluate")


@pytest.fixture(autouse=True)
def no_report(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("normxlogit.evaluation.report.write_report", lambda *_: None)


@pytest.fixture(scope="module")
def bert() -> Explainer:
    """A random three-class BERT whose tokenizer has a mask token."""
    return classifier_explainer()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "reviews.csv"
    path.write_text("text,label\na mess,NEGATIVE\nnot bad,POSITIVE\nbad plot,NEGATIVE\n")
    return path


def settings(folder: Path) -> Data:
    recorded: Data = json.loads((folder / "results.json").read_text("utf-8"))["settings"]
    return recorded


def test_ratios_are_those_of_python(model: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    usual = ["--model", model, "--data", data, "--operator", "unk", "--methods", "norm"]
    result = run_evaluate(*usual, "--ratios", "0.1, 1", "-o", out)
    assert result.exit_code == 0, result.output
    results = json.loads((out / "results.json").read_text("utf-8"))
    options: Data = {"methods": ["norm"], "operator": "unk"}
    explainer = Explainer.from_pretrained(str(model))
    again = explainer.evaluate(data, ratios=[0.1, 1], **options).results
    assert results["settings"]["ratios"] == again["settings"]["ratios"] == [0.1, 1]
    assert results["methods"] == again["methods"]
    assert len(results["methods"]["norm"]["figures"]["sufficiency"]["by_ratio"]) == 2
    (tmp_path / "config.yaml").write_text("ratios: [0.3, 0.4]")
    run_evaluate(*usual, "--config", tmp_path / "config.yaml", "-o", tmp_path / "file")
    assert settings(tmp_path / "file")["ratios"] == [0.3, 0.4]
    both = ["--config", tmp_path / "config.yaml", "--ratios", "0.5"]
    run_evaluate(*usual, *both, "-o", tmp_path / "both")
    assert settings(tmp_path / "both")["ratios"] == [0.5]
    for ratios, shown in (
        ("0.1,x", "[0.1, 'x']"),
        ("1.5", "[1.5]"),
        ("-0.1", "[-0.1]"),
        ("nan", "[nan]"),
        ("true", "['true']"),
        ("", "['']"),
    ):
        result = run_evaluate(*usual, "--ratios", ratios, "-o", tmp_path / "no")
        why = f"normxlogit: ratios must be a list of shares from 0 to 1, got {shown}.\n"
        assert (result.exit_code, result.stdout, result.stderr) == (1, "", why)
    with pytest.raises(OptionError, match=r"ratios must be .*, got \[True\]"):
        explainer.evaluate(data, ratios=[True], **options)
    assert not (tmp_path / "no").exists()


def test_texts_are_cut_at_a_limit(model: Path, data: Path, tmp_path: Path) -> None:
    usual = ["-m", model, "--data", data, "--operator", "unk", "--methods", "norm"]
    limits = ["--long", "truncate", "--max-length", "3"]
    result = run_evaluate(*usual, *limits, "-o", tmp_path / "out")
    assert (result.exit_code, result.stderr) == (0, "")
    results = json.loads((tmp_path / "out" / "results.json").read_text("utf-8"))
    assert results["settings"]["max_length"] == 3
    units = pq.read_table(tmp_path / "out" / "scores.parquet")["units"].to_pylist()
    assert units
    assert {len(words) for words in units} == {1}


HERE = "model: some/model\nrevision: old\n"


@pytest.mark.parametrize(
    ("text", "arguments", "expected"),
    [
        ("", [], ("demo", None)),
        ("", ["--revision", "new"], ("demo", "new")),
        (HERE, [], ("some/model", "old")),
        (HERE, ["--revision", "new"], ("some/model", "new")),
        (HERE, ["--model", "demo"], ("demo", None)),
        (HERE, ["-m", "other/model"], ("other/model", None)),
        (HERE, ["-m", "other/model", "--revision", "new"], ("other/model", "new")),
        (HERE, ["-m", "some/model"], ("some/model", "old")),
        ("revision: old\n", ["-m", "other/model"], ("other/model", "old")),
    ],
)
def test_the_model_on_the_command_line_takes_precedence(
    text: str,
    arguments: list[str],
    expected: tuple[str, str | None],
    data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loaded = list[tuple[str, str | None]]()

    def load(options: ModelOptions) -> Explainer:
        loaded.append((options.model, options.revision))
        raise InputError("stop.")

    monkeypatch.setattr(command, "load", load)
    (tmp_path / "config.yaml").write_text(f"{text}data: {data}\n")
    run_evaluate("--config", tmp_path / "config.yaml", *arguments, "-o", tmp_path / "out")
    assert loaded == [expected]


def test_the_demo_instead_of_the_model_in_a_file(model: Path, data: Path, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(f"model: {model}\nmethods: [norm]\noperator: unk")
    usual = ["--config", tmp_path / "config.yaml", "--data", data]
    for name, arguments in ((str(model), []), ("demo", ["--model", "demo"])):
        out = tmp_path / f"{len(arguments)}"
        assert run_evaluate(*usual, *arguments, "-o", out).exit_code == 0
        assert settings(out)["model"]["name"] == name


def test_help_says_what_may_stand_in_a_file(tmp_path: Path) -> None:
    group: Any = get_command(cli.app)
    options = {option.name: option for option in group.commands["evaluate"].params}
    named = command.OPTIONS.split(", ")
    assert f"any of these options by name: {command.OPTIONS};" in options["config"].help
    (tmp_path / "config.yaml").write_text("\n".join(f"{name}: null" for name in named))
    usual = ["--config", tmp_path / "config.yaml", "-o", tmp_path / "out"]
    assert "no data. Give --data FILE" in run_evaluate(*usual).stderr
    others = set(options) - set(named)
    assert others == {
        *("config", "debug", "device", "dtype", "gguf_file", "output", "trust_remote_code"),
    }
    for name in others:
        (tmp_path / "config.yaml").write_text(f"{name}: auto")
        result = run_evaluate(*usual)
        assert result.exit_code == 2
        assert f"must have options by name, and {name} is none" in unwrapped(result.stderr)


@pytest.mark.parametrize(
    "name", ["model", "revision", "data", "text", "pair", "label", "subset", "split"]
)
@pytest.mark.parametrize("value", ["5", "[a, b]", "true"])
def test_names_in_a_file_are_text(name: str, value: str, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text(f"{name}: {value}")
    result = run_evaluate("--config", tmp_path / "config.yaml", "-o", tmp_path / "out")
    assert result.exit_code == 2
    assert f"{name} must be text, got {yaml.safe_load(value)!r}." in unwrapped(result.stderr)


def test_what_is_null_in_a_file_is_not_given(model: Path, data: Path, tmp_path: Path) -> None:
    options = {"model": str(model), "data": str(data), "operator": "unk", "methods": ["norm"]}
    names = dict.fromkeys(command.OPTIONS.split(", "))
    for kind, settings_in_file in {"null": {**names, **options}, "left out": options}.items():
        (tmp_path / f"{kind}.yaml").write_text(yaml.safe_dump(settings_in_file))
        result = run_evaluate("--config", tmp_path / f"{kind}.yaml", "-o", tmp_path / kind)
        assert (result.exit_code, result.stderr) == (0, "")
    null, out = ((tmp_path / kind / "results.json").read_bytes() for kind in ("null", "left out"))
    assert null == out


def test_a_file_of_options_needs_an_extra(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "yaml", None)
    (tmp_path / "config.yaml").write_text(f"data: {data}")
    result = run_evaluate("--config", tmp_path / "config.yaml", "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert result.stderr == (
        "normxlogit: settings in a file need PyYAML. "
        'Install it with: pip install "normxlogit[evaluate]"\n'
    )


def unwrapped(text: str) -> str:
    return " ".join(text.replace("│", " ").split())


@pytest.mark.parametrize("uri", ["s3://bucket/out", "s3://key:secret@bucket/out", "file:///out"])
def test_an_evaluation_is_written_to_this_machine(
    uri: str, bert: Explainer, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(command, "load", pytest.fail)
    monkeypatch.chdir(tmp_path)
    result = run_evaluate("--data", data, "--output", uri)
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert "an evaluation is written to a folder on this machine" in result.stderr
    assert "secret" not in result.stderr
    with pytest.raises(InputError, match=r"cannot write \w+://.*out: an evaluation is written to"):
        bert.evaluate(TEXTS, uri, methods=["norm"])
    assert list(tmp_path.iterdir()) == [data]


@pytest.mark.parametrize("error", [cpu_out_of_memory, gpu_out_of_memory])
def test_smaller_batches_where_memory_runs_out(
    error: Callable[[], Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "AT_A_TIME", 4)
    orders = islice(permutations(["one", "two", "three", "four"]), 8)
    rows = [{"text": " ".join(words), "label": n % 3} for n, words in enumerate(orders)]
    options: Data = {"label": "label", "methods": ["norm", "random"], "metrics": ["curves"]}
    explainer = classifier_explainer()
    whole = explainer.evaluate(rows, **options)
    sizes = list[int]()

    def note(_module: Any, inputs: Any) -> None:
        sizes.append(len(inputs[0]))
        if len(inputs[0]) > 2:
            raise error()

    model: Any = explainer.model
    model.bert.encoder.register_forward_pre_hook(note)
    with pytest.warns(RuntimeWarning, match="memory ran out with a batch of") as warned:
        narrow = explainer.evaluate(rows, **options)
    tried = [size for size in sizes if size > len(rows)]
    assert len(tried) > 2
    assert tried == [tried[0] >> n for n in range(len(tried))]
    assert len(warned) == 3  # of reading the rows, of explaining them, of their variants
    assert narrow.results["forwards"] == whole.results["forwards"]
    columns = ["text", "method", "draw", "label", "prediction", "units"]
    assert narrow.scores.select(columns).equals(whole.scores.select(columns))
    for name in ("comprehensiveness", "sufficiency", "deletion", "insertion", "scores"):
        scores, expected = (
            np.array(evaluation.scores[name].to_pylist()) for evaluation in (narrow, whole)
        )
        np.testing.assert_allclose(scores, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("error", [cpu_out_of_memory, gpu_out_of_memory])
def test_one_text_that_does_not_fit_into_memory(error: Callable[[], Exception]) -> None:
    explainer = classifier_explainer()

    def note(_module: Any, inputs: Any) -> None:
        if inputs[0].shape[1] > 6:
            raise error()

    model: Any = explainer.model
    model.bert.encoder.register_forward_pre_hook(note)
    with pytest.raises(ModelError, match="not enough memory for one text of 7 tokens") as raised:
        explainer.evaluate(["one two three four five"], methods=["norm"])
    assert "\n" not in str(raised.value)


def test_columns_that_a_file_lacks(
    bert: Explainer, model: Path, data: Path, tmp_path: Path
) -> None:
    for name in ("label", "pair"):
        column: Data = {name: "gold"}
        why = "reviews.csv has no column 'gold'. Its columns: text, label."
        with pytest.raises(InputError) as raised:
            bert.evaluate(data, methods=["norm"], **column)
        usual = ["-m", model, "--data", data, "--operator", "unk", "-o", tmp_path / "out"]
        result = run_evaluate(*usual, f"--{name}", "gold")
        assert (result.exit_code, result.stdout) == (1, "")
        assert (str(raised.value), result.stderr) == (why, f"normxlogit: {why}\n")
        assert not (tmp_path / "out").exists()


def test_rows_without_a_label(bert: Explainer) -> None:
    def results_of(rows: list[Any]) -> Data:
        results: Data = bert.evaluate(rows, label="label", methods=["norm"]).results
        return results

    for rows in ([{"text": text} for text in TEXTS], TEXTS):
        results = results_of(rows)
        assert results["notes"][1:] == [
            "no row has a label in label, so nothing is compared with labels."
        ]
        assert list(results["metrics"]) == ["comprehensiveness", "sufficiency"]
    some: list[Any] = [*ROWS[:3], {"text": TEXTS[3]}, {**ROWS[4], "label": None}]
    results = results_of(some)
    assert results["notes"][1:] == [
        "2 of 5 examples have no label in label: comparisons with labels are over the others."
    ]
    accuracy = results["methods"]["norm"]["figures"]["comprehensiveness_accuracy"]
    alone = results_of(ROWS[:3])
    assert accuracy == alone["methods"]["norm"]["figures"]["comprehensiveness_accuracy"]
    assert results["examples"]["accuracy"] == alone["examples"]["accuracy"]
    assert len(alone["notes"]) == len(results_of(ROWS)["notes"]) == 1


UNKNOWN = (
    "no row can be evaluated: row 0{of}: this model has no label 'solid'. Its labels: {labels}, or "
    "an id from 0 to {last}; row 1{of_next}: this model has no label '7'. Its labels: {labels}, or "
    "an id from 0 to {last}."
)


def test_labels_that_are_all_unknown(
    bert: Explainer, model: Path, data: Path, tmp_path: Path
) -> None:
    rows: list[Data] = [{"text": "a mess", "label": "solid"}, {"text": "not bad", "label": 7}]
    with pytest.raises(InputError) as raised:
        bert.evaluate(rows, label="label", methods=["norm"])
    labels = "LABEL_0, LABEL_1, LABEL_2"
    assert str(raised.value) == UNKNOWN.format(labels=labels, last=2, of="", of_next="")
    values = Explainer(classifier(words := tokenizer(mask_token="<mask>"), num_labels=1), words)
    with pytest.raises(InputError, match="row 0: its label 'solid' is no number"):
        values.evaluate(rows[:1], label="label", methods=["norm"])
    data.write_text("text,label\na mess,solid\nnot bad,7\n")
    usual = ["-m", model, "--data", data, "--label", "label", "--operator", "unk"]
    result = run_evaluate(*usual, "-o", tmp_path / "out")
    assert (result.exit_code, result.stdout) == (1, "")
    assert (
        result.stderr
        == "normxlogit: "
        + UNKNOWN.format(
            labels="NEGATIVE, POSITIVE",
            last=1,
            of=" (row 0 of reviews.csv)",
            of_next=" (row 1 of reviews.csv)",
        )
        + "\n"
    )


def test_labels_of_a_regression_that_are_all_alike() -> None:
    explainer = classifier_explainer(num_labels=1)
    rows = [{"text": text, "value": 2.5} for text in TEXTS]
    results = explainer.evaluate(rows, label="value", methods=["norm"]).results
    assert results["notes"][1:] == [
        "every label is 2.5, so correlations with the labels are undefined and given as 0."
    ]
    assert results["examples"]["pearson"] == 0
    figure = results["methods"]["norm"]["figures"]["sufficiency_pearson"]
    assert (figure["value"], figure["low"], figure["high"]) == (0, 0, 0)
    rows[0]["value"] = 3
    again = explainer.evaluate(rows, label="value", methods=["norm"]).results
    assert len(again["notes"]) == 1


FILES = {
    "nothing": ("", "no row can be evaluated: there are none."),
    "a header": ("text,label\n", "no row can be evaluated: there are none."),
    "blanks": ('text,label\n" ",NEGATIVE\n', "reviews.csv): text is blank."),
    "a long text": (f"text,label\n{'one ' * 70},NEGATIVE\n", "72 tokens, over the limit of 64"),
}


@pytest.mark.parametrize("case", FILES)
def test_files_of_which_nothing_can_be_evaluated(
    case: str, model: Path, data: Path, tmp_path: Path
) -> None:
    content, why = FILES[case]
    data.write_text(content)
    usual = ["-m", model, "--data", data, "--label", "label", "--operator", "unk"]
    result = run_evaluate(*usual, "-o", tmp_path / "out")
    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert why in result.stderr
    with pytest.raises(NormXLogitError) as raised:
        Explainer.from_pretrained(str(model)).evaluate(data, label="label", operator="unk")
    assert result.stderr == f"normxlogit: {raised.value}\n"


def test_what_the_command_says_in_the_end(model: Path, data: Path, tmp_path: Path) -> None:
    lines = ["text,label", "a mess,NEGATIVE", "not bad,NEGATIVE", "bad plot,NEGATIVE"]
    lines += [f"{'one ' * 70},NEGATIVE", "one two,solid"]
    data.write_text("\n".join(lines))
    usual = ["-m", model, "--data", data, "--label", "label", "--operator", "unk", "--draws", "2"]
    usual += ["--methods", "norm,progressive_inference,random", "-o", tmp_path / "out"]
    result = run_evaluate(*usual)
    assert (result.exit_code, result.stderr) == (0, "")
    results = json.loads((tmp_path / "out" / "results.json").read_text("utf-8"))
    printed = result.stdout.splitlines()
    assert printed[0].split("  ")[0] == "method"
    for name in ("comprehensiveness ↑", "sufficiency_accuracy ↑", "sufficiency ↓", "cost"):
        assert name in printed[0]
    figures = {name: method["figures"] for name, method in results["methods"].items()}
    by_name = {line.split()[0]: line for line in printed[1:3]}
    order = sorted(figures, key=lambda name: -figures[name]["comprehensiveness"]["value"])
    assert list(by_name) == order
    assert set(order) == {"norm", "random"}
    for name, by_metric in figures.items():
        for figure in by_metric.values():
            value, low, high = (round(figure[key], 3) + 0.0 for key in ("value", "low", "high"))
            shown = f"{value:.3f} [{low:.3f}, {high:.3f}]"
            assert shown.replace("-", "−") in by_name[name]
    assert printed[3].startswith("progressive_inference left out: ")
    assert "causal" in printed[3]
    assert printed[4].startswith("3 of 5 rows (1 label, 1 too_long). Intervals are 95%")
    forwards = results["forwards"]
    assert forwards["asked"] == 3 * 3 * 2 * 9  # texts, rankings, top or all others, shares
    assert forwards["run"] == 3 * 3  # all sets of two words but the empty one
    assert printed[5] == "Variants of texts: 162 asked for, 9 run."
    assert printed[6:] == [
        "Note: 3 examples are few: the intervals are wide, and may be wrong.",
        "Note: every example has the label NEGATIVE.",
        "Note: this tokenizer has no mask token, and words were hidden by 'unk': the token for the "
        "unknown, which byte-level tokenizers never produce.",
        f"The report: {tmp_path / 'out' / 'report.html'}",
    ]
    assert run_evaluate(*usual).stdout == result.stdout


EFFECTS = {
    "remove": "hidden by the attention mask: the others keep their positions, and a causal model "
    "still reads the state of its last token",
    "delete": "cut out of the text: the others move together, and the text may turn ungrammatical",
    "pad": "the padding token, attended to, which no model is trained to read",
    "unk": "the token for the unknown, which byte-level tokenizers never produce",
    "eos": "the end-of-text token, after which a causal model may take the text for another",
}


def test_without_a_mask_token_every_way_is_said_with_its_effect() -> None:
    decoder = classifier_explainer(
        "llama", kind="bpe", add_eos=False, padding_side="left", mask_token=None
    )
    with pytest.raises(OptionError) as raised:
        decoder.evaluate(TEXTS, methods=["norm"])
    message = str(raised.value)
    assert message.startswith(
        "this tokenizer has no mask token, so say how words are to be hidden ("
    )
    assert "\n" not in message
    for name, effect in EFFECTS.items():
        assert f"{name}: {effect};" in message
    assert message.endswith("or the text of a token that comes in their place).")
    for name, effect in (*EFFECTS.items(), ("a", "that token in place of each")):
        results = decoder.evaluate(TEXTS, methods=["norm"], operator=name, unit="token").results
        assert results["notes"][1:] == [
            f"this tokenizer has no mask token, and tokens were hidden by '{name}': {effect}."
        ]


@pytest.mark.parametrize("operator", [None, "unk"])
def test_with_a_mask_token_there_is_no_such_note(bert: Explainer, operator: str | None) -> None:
    notes = bert.evaluate(TEXTS, methods=["norm"], operator=operator).results["notes"]
    assert notes == ["5 examples are few: the intervals are wide, and may be wrong."]


def test_one_line_on_the_command_line(model: Path, tmp_path: Path) -> None:
    data, out = write_reviews(tmp_path / "reviews.csv", 3), tmp_path / "out"
    usual = ["--model", model, "--data", data, "-o", out, "--operator", "unk", "--methods", "norm"]
    configs = {
        "unknown": "colour: red",
        "list": "- norm",
        "broken": "a: [",
        "ratios": "ratios: 0.5",
        "methods": "methods: 5",
    }
    for name, text in configs.items():
        (tmp_path / f"{name}.yaml").write_text(text)
    cases: list[tuple[list[object], int, str]] = [
        (["--limit", 0], 1, "limit must be"),
        (["--methods", "norm,norm"], 1, "given twice"),
        (["--text", "review"], 1, "has no column 'review'"),
        (["--operator", "mask"], 1, "has no mask token"),
        (["--output", data], 1, "reviews.csv"),
        (["--output", tmp_path], 1, "holds something else"),
        (["--draws", "many"], 2, "Invalid value"),
        (["--config", tmp_path / "unknown.yaml"], 2, "colour"),
        (["--config", tmp_path / "list.yaml"], 2, "must have options by name"),
        (["--config", tmp_path / "broken.yaml"], 2, "is not valid YAML"),
        (["--config", tmp_path / "none.yaml"], 1, "none.yaml"),
        (["--config", tmp_path / "ratios.yaml"], 1, "ratios must be a list"),
    ]
    for arguments, code, reason in cases:
        result = run_evaluate(*usual, *arguments)
        said = " ".join(result.stderr.replace("│", " ").split())
        assert (result.exit_code, reason in said) == (code, True), (arguments, result.output)
        assert "Traceback" not in result.output
        assert code == 2 or result.stderr.count("\n") == 1
    result = run_evaluate("--model", model, "-o", out, "--config", tmp_path / "methods.yaml")
    assert (result.exit_code, "no data" in result.stderr) == (2, True)
    assert not out.exists()
