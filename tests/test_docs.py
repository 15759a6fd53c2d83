"""The examples of the documentation run as they stand, and its links lead somewhere."""

import copy
import importlib.util
import re
import shlex
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import LlamaForCausalLM, PreTrainedTokenizerBase
from typer.main import get_command
from typer.testing import CliRunner

from normxlogit import Explainer, cli
from normxlogit.methods import METHODS
from tests.helpers.documents import code_blocks
from tests.helpers.paths import ROOT
from tests.helpers.zoo import tiny_config

NEEDS = {"docs/coming-from.md": "shap", "docs/tools.md": "shap", "docs/mlflow.md": "mlflow"}
"""Packages of others that pages are about, whose warnings are not ours."""

AT_ROOT = ("CONTRIBUTING.md", "README.md", "RELEASING.md", "SECURITY.md")

ELSEWHERE = ("docs/serve.md",)
"""Pages whose examples need more than a process, and have a test of their own."""

PAGES = sorted(page.relative_to(ROOT).as_posix() for page in (ROOT / "docs").rglob("*.md"))


def test_the_method_of_contributing(explainer: Explainer) -> None:
    (example,) = code_blocks("CONTRIBUTING.md", "python")
    try:
        exec(compile(example, "CONTRIBUTING.md", "exec"), {})
        attribution = explainer.explain("A great movie.", method="supporters")
        factors = explainer.explain("A great movie.")
        assert factors.norms is not None
        assert factors.logits is not None
        np.testing.assert_allclose(
            attribution.scores, factors.norms * (factors.logits > 0), rtol=1e-5
        )
    finally:
        METHODS.pop("supporters", None)


def chatting(words: PreTrainedTokenizerBase) -> Explainer:
    """A random language model that takes chats."""
    words = copy.deepcopy(words)
    words.chat_template = (
        "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}\n{% endfor %}"
    )
    torch.manual_seed(0)
    config: Any = tiny_config("llama", vocab_size=len(words), max_position_embeddings=256)
    return Explainer(LlamaForCausalLM(config), words)


def test_the_examples_of_the_readme(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, wordpiece: PreTrainedTokenizerBase
) -> None:
    examples = code_blocks("README.md", "python")
    assert len(examples) == 2
    names: dict[str, Any] = {"folder": tmp_path, "llm": chatting(wordpiece)}
    for example in examples:
        exec(compile(example, "README.md", "exec"), names)
    assert "POSITIVE" in capsys.readouterr().out


def test_the_outputs_of_the_readme_are_real() -> None:
    """What follows a command that explains is what it prints, but for bars and last digits."""
    examples = re.findall(
        r"^```sh\n(?:[^\n]* && )?normxlogit explain ([^\n]*)\n```\n\n```\n(.*?)^```",
        (ROOT / "README.md").read_text("utf-8"),
        re.DOTALL | re.MULTILINE,
    )
    assert len(examples) == 3
    for arguments, shown in examples:
        result = CliRunner().invoke(cli.app, ["explain", *shlex.split(arguments)])
        assert result.exit_code == 0, result.output
        ours, printed = (re.sub("[█▌▐│]", "", text).split() for text in (shown, result.stdout))
        assert len(ours) == len(printed), result.stdout
        for word, other in zip(ours, printed, strict=True):
            if word != other:
                numbers = [float(part.strip("%,").replace("−", "-")) for part in (word, other)]
                assert numbers[0] == pytest.approx(numbers[1], abs=0.11), result.stdout


def no_network(*_args: Any, **_kwargs: Any) -> None:
    raise AssertionError("the page needs a network")


def page_tests(pages: list[str]) -> list[Any]:
    ignored = pytest.mark.filterwarnings("ignore")
    here = [page for page in pages if page not in ELSEWHERE]
    return [pytest.param(page, marks=ignored if page in NEEDS else ()) for page in here]


@pytest.mark.filterwarnings("ignore:Do not use it")  # a head that an example fits to few texts
@pytest.mark.filterwarnings("ignore:a pair")  # of the demo, which is told of single texts
@pytest.mark.parametrize("page", page_tests(PAGES))
def test_the_examples_of_a_page(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
    if page in NEEDS:
        pytest.importorskip(NEEDS[page])
    monkeypatch.setattr(socket.socket, "connect", no_network)
    names: dict[str, Any] = {"folder": tmp_path}
    with torch.random.fork_rng(devices=[]):
        for example in code_blocks(page, "python"):
            exec(compile(example, page, "exec"), names)
    assert page.startswith("docs/heads/") <= ("explainer" in names)
    if page == "docs/mlflow.md":
        kept = {path.name for path in (tmp_path / "artefacts").rglob("*") if path.is_file()}
        assert kept >= {"0.html", "1.json", "0.png", "tokens.csv", "report.html", "scores.parquet"}


@pytest.mark.parametrize("page", [*AT_ROOT, *PAGES])
def test_the_commands_of_a_page_are_understood(page: str) -> None:
    """Their subcommands, arguments and options are there; what they do is tested elsewhere."""
    commands: Any = get_command(cli.app)
    for block in code_blocks(page, "sh"):
        for module in re.findall(r"\bpython -m ([\w.]+)", block):
            assert importlib.util.find_spec(module), module
        for command in re.split(r"\n|&&|\|", block.replace("\\\n", " ")):
            if not command.strip().startswith("normxlogit "):
                continue
            _, name, *arguments = shlex.split(command.partition("<")[0], comments=True)
            if name.startswith("-"):
                assert any(name in parameter.opts for parameter in commands.params), command
            elif "--help" not in arguments:
                commands.commands[name].make_context(name, arguments)


@pytest.mark.parametrize("page", [*AT_ROOT, *PAGES])
def test_links_lead_somewhere(page: str) -> None:
    path = ROOT / page
    for link, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)\s]+))?", path.read_text("utf-8")):
        if link.startswith("http"):
            continue
        to = (path.parent / link) if link else path
        assert to.exists(), link
        if anchor and to.suffix == ".md":
            assert anchor in anchors(to), f"{link}#{anchor}"


def anchors(page: Path) -> set[str]:
    """The headlines of a page as links name them."""
    headlines = re.findall(r"^#+ (.*)", page.read_text("utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", headline.lower()).replace(" ", "-") for headline in headlines}


def test_every_page_can_be_found_from_the_index() -> None:
    index = ROOT / "docs" / "index.md"
    linked = {
        (index.parent / link).resolve()
        for link in re.findall(r"\]\(([^)#]+)", index.read_text("utf-8"))
    }
    assert {(ROOT / page).resolve() for page in PAGES} - linked == {index.resolve()}
