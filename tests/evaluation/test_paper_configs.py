"""The settings of experiments/paper, and the tables that are made of what they give."""

import csv
import json
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from experiments.paper import faithfulness, standins
from normxlogit import OptionError, cli
from normxlogit.cli.model import ModelOptions
from normxlogit.evaluation.plan import plan_of
from tests.helpers.evaluation import TEXTS
from tests.helpers.models import classifier_explainer
from tests.helpers.paths import ROOT

Data = dict[str, Any]
CONFIGS = ROOT / "experiments" / "paper" / "configs"
NAMES = sorted(path.stem for path in CONFIGS.glob("*.yaml"))
OF_PAPER = {
    "random",
    "norm",
    "logat",
    "normxlogit",
    "gradient_norm",
    "gradient_x_input",
    "integrated_gradients",
}
COLUMNS = {
    "sst2": ("sentence", None),
    "mnli": ("premise", "hypothesis"),
    "qnli": ("question", "sentence"),
    "stsb": ("sentence1", "sentence2"),
}
"""Those of GLUE."""
OF_EVIDENCE = "blimp-roberta"
"""The settings of experiment 2."""


def test_there_are_settings_of_every_table() -> None:
    models = ("bert", "deberta", "llama2")
    own = [f"{task}-{model}" for task in COLUMNS for model in models]
    own += [f"standin-{task}-{preset}" for task in LABELS for preset in ("paper", "corrected")]
    assert sorted([*own, OF_EVIDENCE]) == NAMES


def test_settings_of_the_second_experiment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, ...]] = []

    def blimp(explainer: str, source: str, output: Path, **options: Any) -> None:
        asked.append((explainer, source, output, options))
        raise OptionError("that is enough.")

    command = sys.modules["normxlogit.cli.commands.evaluate"]
    monkeypatch.setattr("normxlogit.evaluation.benchmark.run.blimp", blimp)
    monkeypatch.setattr(command, "load", lambda options: f"loaded {options.model}")
    monkeypatch.setattr(command, "prefer_cached_data", lambda _: None)
    arguments = ["--config", str(CONFIGS / f"{OF_EVIDENCE}.yaml"), "-o", str(tmp_path / "out")]
    result = CliRunner().invoke(cli.app, ["evaluate", *arguments])
    assert result.stderr == "normxlogit: that is enough.\n"
    model = "FacebookAI/roberta-base"
    options = {"name": model, "progress": True}
    assert asked == [(f"loaded {model}", "nyu-mll/blimp", tmp_path / "out", options)]


@pytest.mark.parametrize("name", [name for name in NAMES if name != OF_EVIDENCE])
def test_settings_are_what_the_command_takes(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, Data]] = []

    def evaluate(source: str, output: Path, **options: Any) -> None:  # noqa: ARG001
        asked.append((source, options))
        raise OptionError("that is enough.")

    def load(options: ModelOptions) -> Any:
        assert options.model
        return SimpleNamespace(evaluate=evaluate)

    command = sys.modules["normxlogit.cli.commands.evaluate"]
    monkeypatch.setattr(command, "load", load)
    monkeypatch.setattr(command, "check_source", lambda *_args, **_options: None)  # none is there
    *standin, task, last = name.split("-")
    arguments = ["--config", str(CONFIGS / f"{name}.yaml"), "-o", str(tmp_path / "out")]
    if standin or last == "llama2":
        arguments += ["--model", "fine-tuned"]
    if standin:
        arguments += ["--data", "rows.csv"]
    result = CliRunner().invoke(cli.app, ["evaluate", *arguments])
    assert "that is enough." in result.stderr, result.output
    ((source, options),) = asked
    assert options.pop("progress")
    columns = [options.pop(key, None) for key in ("text", "pair", "label", "subset", "split")]
    plan = plan_of(**options)
    methods = {spec.method for spec in plan.method_specs}
    assert plan.preset.name == ("corrected" if last == "corrected" else "paper")
    assert plan.operator == ("unk" if last == "llama2" else None)
    assert plan.max_length == (90 if task == "mnli" else None)
    if last == "corrected":
        assert methods >= OF_PAPER | {"decompx", "occlusion", "position", "frequency"}
    else:
        assert methods == OF_PAPER | ({"decompx"} if last in ("paper", "bert") else set())
    if standin:
        pair = None if task == "sst2" else "pair"
        assert (source, columns) == ("rows.csv", ["text", pair, "label", None, None])
    else:
        split = "validation_mismatched" if task == "mnli" else "validation"
        assert source == "nyu-mll/glue"
        assert columns == [*COLUMNS[task], "label", task, split]
        assert plan.limit == (500 if task in ("mnli", "qnli") else None)


LABELS = {
    "sst2": ["NEGATIVE", "POSITIVE"],
    "sick": ["entailment", "neutral", "contradiction"],
    "stsb": ["value"],
}
GIVEN = {
    "sst2": ["0", "1", "0", "1", "1"],
    "sick": ["NEUTRAL", "ENTAILMENT", "NEUTRAL", "CONTRADICTION", "ENTAILMENT"],
    "stsb": ["0.5", "3.2", "4.75", "2.000", "1"],
}
OTHERS = ["one two bad", "a plot", "one", "two", "bad plot"]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few rows of the data as they are published."""
    folder = tmp_path_factory.mktemp("published")
    rows = list(zip(*GIVEN.values(), TEXTS, OTHERS, strict=True))
    files = {
        "sst2/test.tsv": [f"{text}\t{label}" for label, _, _, text, _ in rows],
        "stsb/sts-test.csv": [
            f"main-captions\tMSRvid\t2012test\t{n}\t{value}\t{text}\t{other}"
            for n, (_, _, value, text, other) in enumerate(rows)
        ],
        "sick/SICK.txt": [
            "pair_ID\tsentence_A\tsentence_B\tentailment_label\tSemEval_set",
            "0\tnot one\tnot two\tNEUTRAL\tTRAIN",
            *(f"9\t{text}\t{other}\t{label}\tTEST" for _, label, _, text, other in rows),
        ],
    }
    for name, lines in files.items():
        (folder / name).parent.mkdir()
        (folder / name).write_text("\n".join(lines) + "\n", "utf-8")
    return folder


@pytest.fixture(scope="module")
def results(published: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the commands of docs/results.md write, of small random models and some of the data."""
    work = tmp_path_factory.mktemp("work")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(standins, "ROWS", 4)
        patch.setattr("normxlogit.evaluation.report.write_report", lambda *_: None)
        patch.setattr("sys.argv", ["-", "--data", str(published), "--output", str(work / "data")])
        standins.main()
        for task, labels in LABELS.items():
            explainer = classifier_explainer(num_labels=len(labels))
            classifier: Any = explainer.model.classifier
            classifier.weight.data *= 20  # so that figures are not all about 0
            explainer.model.config.id2label = dict(enumerate(labels))
            explainer.model.save_pretrained(work / task)
            explainer.tokenizer.save_pretrained(work / task)
        for task, preset in TABLES:
            given: Data = {
                "--config": CONFIGS / f"standin-{task}-{preset}.yaml",
                "--model": work / task,
                "--data": work / "data" / f"{task}.csv",
                "--output": work / "results" / f"{task}-{preset}",
            }
            evaluated(given)
        late = {"--methods": "normxlogit,late_lrp", "--output": work / "results" / "sst2-late"}
        corrected = {"--config": CONFIGS / "standin-sst2-corrected.yaml", "--model": work / "sst2"}
        evaluated({**corrected, **late, "--data": work / "data" / "sst2.csv"})
    return work / "results"


def evaluated(options: Data) -> None:
    arguments = [str(part) for option in options.items() for part in option]
    result = CliRunner().invoke(cli.app, ["evaluate", *arguments])
    assert result.exit_code == 0, result.output


TABLES = [("sst2", "paper"), ("sst2", "corrected"), ("sick", "paper"), ("stsb", "corrected")]


def test_the_data_of_stand_ins(results: Path) -> None:
    for task, labels in GIVEN.items():
        with (results.parent / "data" / f"{task}.csv").open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        texts = [row["text"] for row in rows]
        assert len(set(texts)) == 4
        if task == "sst2":
            assert texts == TEXTS[:4]
        for row in rows:
            n = TEXTS.index(row["text"])
            assert row["label"] == labels[n].lower()
            assert row.get("pair") == (None if task == "sst2" else OTHERS[n])


@pytest.fixture(scope="module")
def printed(results: Path) -> list[str]:
    """The lines that are printed of the results."""
    lines: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["-", "--results", str(results)])
        patch.setattr("builtins.print", lambda text: lines.extend(text.splitlines()))
        faithfulness.main()
    return lines


def test_where_a_later_method_stands(results: Path, printed: list[str]) -> None:
    late, others = (
        pd.read_parquet(results / f"sst2-{run}" / "scores.parquet") for run in ("late", "corrected")
    )
    lines = [line for line in printed if line.startswith("- `")]
    for line, metric in zip(lines, ("comprehensiveness", "sufficiency"), strict=True):
        assert line.startswith(f"- `late_lrp`, {metric}: ahead of it are ")
        first, second, third = line.split("; ")
        own = late[late["method"] == "late_lrp"][metric].map(np.mean).mean()
        means = {name: x.map(np.mean).mean() for name, x in others.groupby("method")[metric]}
        ahead = dict(re.findall(r"`([^`]+)` by (\S+?)(?:,|$)", first))
        alike = re.findall("`([^`]+)`", second.removeprefix("not told apart from it "))
        behind = int(third.removeprefix("behind it the other ").rstrip("."))
        assert len(ahead) + len(alike) + behind == len(means) == 19
        better = {
            name: (x - own) * (1 if metric == "comprehensiveness" else -1)
            for name, x in means.items()
        }
        for name, by in ahead.items():
            assert float(by) == pytest.approx(better[name], abs=6e-4)
            assert better[name] > 0
        rest = [x for name, x in better.items() if name not in (*ahead, *alike)]
        assert all(x < 0 for x in rest)
        assert ahead or rest, "what is told apart is a part of the test"


@pytest.fixture(scope="module")
def tables(printed: list[str]) -> dict[str, list[list[str]]]:
    """The cells of each table that is printed, the headings first, by what stands over it."""
    found: dict[str, list[list[str]]] = {}
    for line in printed:
        if line.startswith("### "):
            found[line] = []
        elif line.startswith("| "):
            found[[*found][-1]].append([cell.strip() for cell in line.strip("|").split("|")])
    return found


def own_table(tables: dict[str, list[list[str]]], task: str, preset: str) -> list[Data]:
    """The rows of one table, by heading; cells under the same heading are a list."""
    named = {"sst2": "SST-2", "sick": "SICK", "stsb": "STS-B"}[task]
    (cells,) = [
        own
        for title, own in tables.items()
        if named in title and f"`{preset}`" in title and "later" not in title
    ]
    found = []
    for row in cells[1:]:
        by_heading: Data = {}
        for heading, cell in zip(cells[0], row, strict=True):
            by_heading.setdefault(heading, []).append(cell)
        found.append(by_heading)
    return found


def interval(cell: str) -> list[float]:
    """A figure and the two ends of its interval."""
    parts = re.fullmatch(r"\**([-+]?\d+\.\d{3})\** \((\S+) to (\S+)\)", cell)
    assert parts is not None, cell
    return [float(number) for number in parts.groups()]


@pytest.mark.parametrize(("task", "preset"), TABLES)
def test_tables_have_the_figures_that_were_found(
    results: Path, tables: dict[str, list[list[str]]], task: str, preset: str
) -> None:
    assert len(tables) == len(TABLES) + 1
    folder = results / f"{task}-{preset}"
    found = json.loads((folder / "results.json").read_text("utf-8"))
    costs = json.loads((folder / "cost.json").read_text("utf-8"))["methods"]
    assert found["failed"] == {}
    rows = own_table(tables, task, preset)
    drops = [found["methods"][row["method"][0].strip("`")] for row in rows]
    values = [method["figures"]["comprehensiveness"]["value"] for method in drops]
    assert values == sorted(values, reverse=True)
    assert len(rows) == len(found["methods"]) == len({row["method"][0] for row in rows})
    for row in rows:
        name = row["method"][0].strip("`")
        assert float(row["forwards"][0]) == round(costs.get(name, {"forwards": 0})["forwards"], 1)
        for metric, about in found["metrics"].items():
            arrow = "↑" if about["higher_is_better"] else "↓"
            (cell,) = row[f"{metric.replace('_', ' ')} {arrow}"]
            figure = found["methods"][name]["figures"][metric]
            expected = [round(figure[part], 3) for part in ("value", "low", "high")]
            assert interval(cell) == pytest.approx(expected, abs=1e-9)
            beside = figure["beside_best"]
            assert cell.startswith("**") == (beside is None or not beside["differs"])


@pytest.mark.parametrize(("task", "preset"), TABLES)
def test_differences_are_those_of_the_texts(
    results: Path, tables: dict[str, list[list[str]]], task: str, preset: str
) -> None:
    records = pq.read_table(results / f"{task}-{preset}" / "scores.parquet").to_pylist()
    drawn = np.random.default_rng(0).multinomial(4, [1 / 4] * 4, 2000)
    resamples = [np.repeat(range(4), counts) for counts in drawn]

    def per_text(method: str, metric: str) -> Any:
        own = [record for record in records if record["method"] == method]
        return np.array([np.mean([r[metric] for r in own if r["row"] == row]) for row in range(4)])

    for row in own_table(tables, task, preset):
        name = row["method"][0].strip("`")
        for metric in ("comprehensiveness", "sufficiency"):
            (cell,) = row[f"{metric}: NormXLogit less it"]
            if name == "normxlogit":
                assert cell == ""
                continue
            gap = per_text("normxlogit", metric) - per_text(name, metric)
            ends = np.quantile([gap[rows].mean() for rows in resamples], [0.025, 0.975])
            assert interval(cell) == pytest.approx([gap.mean(), *ends], abs=6e-4)


PUBLISHED = {
    "random": (".245", ".361", ".362", ".484", ".490", ".457"),
    "norm": (".311", ".393", ".389", ".477", ".451", ".321"),
    "logat": (".364", ".566", ".373", ".324", ".459", ".313"),
    "normxlogit": (".423", ".556", ".381", ".333", ".451", ".281"),
    "gradient_norm": (".331", ".460", ".250", ".393", ".610", ".374"),
    "gradient_x_input": (".339", ".456", ".245", ".406", ".613", ".358"),
    "integrated_gradients": (".367", ".466", ".221", ".393", ".642", ".370"),
    "decompx": (".574", ".585", ".157", ".294", ".666", ".336"),
}
"""Of BERT: one of SST-2, four of MultiNLI (comprehensiveness, sufficiency, and the accuracies) of
which the last three are from the notebook, and one of STS-B.
"""


@pytest.mark.parametrize(("task", "preset"), TABLES)
def test_what_was_published_stands_beside_it(
    tables: dict[str, list[list[str]]], task: str, preset: str
) -> None:
    own = {"sst2": slice(1), "sick": slice(1, 5), "stsb": slice(5, 6)}[task]
    for row in own_table(tables, task, preset):
        (heading,) = [heading for heading in row if "paper" in heading]
        published = PUBLISHED.get(row["method"][0].strip("`"), ("",) * 6)
        assert row[heading] == [*published[own]]
