"""The page of a generation: what it says without a script, and what its script lights up."""

import json
import re
from collections.abc import Iterable
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import AxesImage

from normxlogit import Failure, GenerationAttribution, InputError
from normxlogit.show import phrases
from normxlogit.show.dispatch import figure, fragment, page, plain
from normxlogit.show.generation.layout import GenerationLayout
from tests.helpers.pages import HTMLReader, played
from tests.helpers.results import CHAT, GOOD_BAD, chat, generation

HOSTILE = "</script><script>alert(1)</script>\"'& <b>\u2028<!-- x"
LONG = "The committee met on Tuesday, and argued that Dr. Alvarez had been right since 2015. " * 33

CASES = {
    "plain": generation(),
    "chat": chat(),
    "layers": generation(layers=(1, 2, 3)),
    "one token": generation().at(1),
    "words": generation().words(),
    "no end": chat(end=None),
    "hostile": generation(HOSTILE, HOSTILE),
    "hostile chat": chat([(HOSTILE, HOSTILE)], HOSTILE),
    "lines": generation("a\n\n b\n", "\n\nc \n"),
}


def numbers(html: str) -> Any:
    (data,) = re.findall(r'<script type="application/json">(.*?)</script>', html, re.DOTALL)
    return json.loads(data)


def lit(html: str, kind: str) -> dict[int, float]:
    """The signed shares of the coloured marks: by column of the prompt, or cell of the answer."""
    found = {}
    for mark in re.findall(r"<mark [^>]*>", html):
        number = re.search(rf'data-{kind}="(\d+)"', mark)
        share = re.search(r"--share: ?([\d.]+)", mark)
        if number and share:
            found[int(number[1])] = float(share[1]) * (-1 if "nx-against" in mark else 1)
    return found


def expected(result: GenerationAttribution, start: int = 0, end: int = 0) -> dict[int, float]:
    """What each word before the last explained token has, by the result's own sums."""
    words = result.words() if result.unit == "token" else result
    joint = words.span((start, end)) if end else words.whole()
    if "layer" in joint.axes:
        joint = joint.select(layer=joint.layers[-1])
    shown = ~joint.special
    scores = joint.scores / np.abs(joint.scores[shown]).max()
    return dict(enumerate(np.where(shown, scores, 0).tolist()))


@pytest.mark.parametrize("name", ["plain", "layers", "words"])
def test_without_a_script_the_whole_answer_is_drawn(name: str) -> None:
    result = CASES[name]
    shares = lit(page([result]), "column")
    scores = expected(result)
    for column, share in shares.items():
        assert share == pytest.approx(scores[column], abs=0.006)
    assert len(shares) >= 5


@pytest.mark.parametrize("name", CASES)
def test_prompt_and_answer_stay_whole(name: str) -> None:
    result = CASES[name]
    html = page([result])
    read = HTMLReader(html)
    assert [name for name, _ in read.elements].count("script") == 2
    prompt = html.partition('class="nx-prompt"')[2].partition("<h3>Answer</h3>")[0]
    answer = html.partition('class="nx-text nx-answer"')[2].partition("</div>")[0]
    for part, text in ((prompt, result.prompt), (answer, result.answer)):
        shown = unescape(re.sub(r"<[^<>]*>", "", "<" + part))
        assert [c for c in shown if not c.isspace() and c not in "↵␣"][: len(text)]
        for word in re.findall(r"\w+", text):
            assert word in shown


def test_nothing_in_the_texts_is_taken_for_html() -> None:
    for name in ("hostile", "hostile chat"):
        html = page([CASES[name]])
        assert "<script>alert" not in html
        assert "<!--" not in html
        assert "\u2028" not in html.partition("application/json")[2].partition("</script>")[0]
        assert "alert" in " ".join(numbers(html)["names"])
        names = {element for element, _ in HTMLReader(html).elements}
        assert "b" in names
        assert HTMLReader(html).text("mark").count("alert") >= 2


def test_data_are_what_the_scores_are() -> None:
    result = CASES["plain"]
    data, words = numbers(page([result])), result.words()
    for row, scores in zip(data["rows"], words.scores, strict=True):
        known = scores[~np.isnan(scores)]
        np.testing.assert_allclose(row, known, rtol=6e-4)
    sums = np.array(data["parts"]).sum(0) + data["rest"]
    np.testing.assert_allclose(sums, np.nansum(result.scores, -1), rtol=2e-3)


def test_a_long_page_stays_small() -> None:
    result = generation(LONG, LONG[:560])
    assert len(result.tokens) - len(result.targets) > 600
    assert len(result.targets) > 115
    assert len(page([result]).encode()) < 1_000_000


def test_page_needs_no_network_and_no_evaluation() -> None:
    html = page([CASES["chat"]]).replace("http-equiv", "")
    for word in ("http", "url(", "@import", "eval(", "Function(", "innerHTML", " onclick"):
        assert word not in html
    assert "</" not in html.rpartition("<script>")[2].partition("</script>")[0]


def test_a_page_has_its_script_once_and_a_fragment_neither_it_nor_what_it_shows() -> None:
    assert page([CASES["plain"], CASES["chat"]]).count('"use strict"') == 1
    piece = HTMLReader(fragment(CASES["chat"]))
    assert not {"script", "style", "button"} & {name for name, _ in piece.elements}
    assert not [1 for _, attributes in piece.elements if "id" in attributes]
    assert "Point at a word" not in piece.text()


def test_kinds_share_a_page() -> None:
    html = page([GOOD_BAD, CASES["plain"], Failure("x", InputError("no")), CASES["chat"]])
    read = HTMLReader(html)
    articles = [a["class"] for name, a in read.elements if name == "article"]
    kinds = ("text", "generation", "failure", "generation")
    assert articles == [f"normxlogit nx-{kind}" for kind in kinds]
    assert "4 of 4" in read.text("p")


def test_a_chat_shows_its_messages_and_their_sums() -> None:
    result = CASES["chat"]
    read = HTMLReader(page([result]))
    assert read.text("h4") == "systemuser"
    messages = result.by("message")
    whole = GenerationLayout(result)
    for part, number in zip(whole.parts, range(2), strict=False):
        np.testing.assert_allclose(part.scores, messages.scores[:, number], rtol=1e-4)
    assert [part.name for part in whole.parts] == ["system", "user", "the answer"]


def test_one_token_is_shown_in_its_answer() -> None:
    html = page([CASES["plain"].at(2)])
    assert HTMLReader(html).text("h3") == "PromptAnswer“It”"
    words = CASES["plain"].words()
    scores = words.scores[2] / np.nanmax(np.abs(words.scores[2][~words.special]))
    shares = lit(html, "column")
    assert shares == pytest.approx({n: scores[n] for n in range(1, 8)}, abs=0.006)
    assert list(lit(html, "cell")) == [0]


def test_special_tokens_that_begin_an_answer_are_no_part_of_the_prompt() -> None:
    html = page([generation("Two and two", "<think> is four", end=None)])
    prompt, answer = html.partition('class="nx-prompt"')[2].split("<h3>Answer</h3>")
    assert "think" not in prompt
    assert "&lt;think&gt;" in answer


def test_terminal_lists_the_words_of_each_sentence() -> None:
    result = CASES["chat"]
    lines = plain(result)
    first = result.words().span("Paris.")
    assert "“Paris.” rests most on" in lines
    assert lines.index("“Paris.”") < lines.index("“About 2.1 million people live there.”")
    score, word = max(
        (float(score), word)
        for score, word, segment in zip(first.scores, first.tokens, first.segments, strict=True)
        if segment == 0 and word.strip() not in ("system", "user", "assistant", "")
    )
    inside = [
        score
        for score, segment, start in zip(
            first.scores, first.segments, first.offsets[:, 0], strict=True
        )
        if segment == 0 and any(m.start <= start < m.end for m in result.messages)
    ]
    share = score / np.abs(inside).sum()
    assert re.search(rf"^  {re.escape(word)} +\+{score:.2f} +{share:.0%}  │█", lines, re.MULTILINE)
    assert "what the model's chat template adds" in lines
    assert "Sums, as shares: system" in lines
    assert "What is the capital" in lines
    assert "\x1b" not in lines


@pytest.mark.parametrize("name", ["plain", "chat"])
def test_terminal_has_the_sums_of_all_parts_as_shares(name: str) -> None:
    result = CASES[name]
    words = result.words()
    in_sentence = words.answer_offsets[:, 0] <= words.answer.index(".")
    scores, starts = np.nansum(words.scores[in_sentence], 0), words.offsets[:, 0]
    in_prompt = (words.segments == 0) & ~words.special
    sums = {
        message.role: scores[in_prompt & (starts >= message.start) & (starts < message.end)].sum()
        for message in result.messages
    } or {"the prompt": scores[in_prompt].sum()}
    sums["the answer"] = scores[(words.segments == 1) & ~words.special].sum()
    frame = "the template" if result.messages else "special tokens"
    sums[frame] = scores.sum() - sum(sums.values())
    whole = sum(map(abs, sums.values()))
    printed = " ".join(plain(result).partition("Sums, as shares: ")[2].split())
    shares = re.findall(r"([a-z ]+) ([<>]?−?\d+)%(?:, |$| )", printed)[: len(sums)]
    assert [part for part, _ in shares] == list(sums)
    for part, shown in shares:
        assert shown + "%" == phrases.share(sums[part] / whole), part


def test_page_and_terminal_lead_with_the_words_of_the_prompt_that_count() -> None:
    result = generation("Name the city of France", " Paris", end=None)
    scores = np.zeros_like(result.scores)
    france = result.tokens.index(" France")
    scores[:, france], scores[:, result.tokens.index(" of")] = 4.0, 3.0
    scores[:, result.tokens.index("Name")] = -0.5
    scores[:, 0] = 50.0  # <s>, which is no word of the prompt
    strong = replace(result, scores=scores)
    sentence = "The answer: “France” speaks for it most."
    assert plain(strong).startswith(sentence)
    assert (
        HTMLReader(page([strong]))
        .text("h2", "strong", "em")
        .startswith(re.sub("[“”]", "", sentence))
    )
    cause = replace(strong, provenance=replace(strong.provenance, of_output=True))
    assert plain(cause).startswith("The answer: mostly because of “France”.")
    flat = replace(strong, scores=np.ones_like(scores))
    assert plain(flat).startswith("The answer: no word stands out.")
    assert plain(generation("Hello", " you")).startswith(
        "The answer: “Hello” is the only word of its prompt."
    )
    assert plain(CASES["plain"].at(2)).startswith("“It”: ")


def test_the_page_has_the_shares_of_the_terminal() -> None:
    for result in (generation(answer=" Paris."), chat(answer="Paris.")):
        printed = " ".join(plain(result).partition("Sums, as shares: ")[2].split())
        parts = re.findall(r"nx-parts.*?</table>", page([result]), re.DOTALL)[0]
        rows = re.findall(r'<th scope="row">(.*?)</th>\s*<td class="nx-number">(.*?)</td>', parts)
        assert rows
        for name, shown in rows:
            assert f"{name} {unescape(shown)}" in printed
        (rest,) = re.findall(r'<span class="nx-rest">(.*?)</span>', page([result]))
        assert unescape(rest) in printed


def test_an_answer_that_a_limit_ended_says_so() -> None:
    result = replace(CASES["no end"], cut_after=1234)
    for shown in (result, result.at(0)):
        assert "cut after 1,234 tokens, the limit" in plain(shown)
        assert "Answer (cut after 1,234 tokens, the limit)" in HTMLReader(page([shown])).text()
    for of_all in (plain(CASES["no end"]), page([CASES["no end"]])):
        assert "the limit" not in of_all


def test_scores_whose_size_says_nothing_have_no_shares() -> None:
    result = generation(readout="logprob")
    assert "signs aside" not in plain(result)
    assert not re.search(r"\d%  [█▌▐ ]*│", plain(result))
    html = page([result]).partition("<style>")[2].partition("</style>")[2]
    assert 'class="nx-share"' not in html
    assert numbers(page([result]))["shares"] is False


def test_terminal_of_every_case() -> None:
    for result in CASES.values():
        assert "rests most on" in plain(result)
        assert max(map(len, plain(result).splitlines())) <= 88
        assert "<script>" not in page([result]).partition("<title>")[2].partition("</title>")[0]


def test_plot_is_a_heat_map_of_answer_by_prompt() -> None:
    result = CASES["plain"]
    axes = figure(result).axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == result.prompt.split()
    (image,) = (child for child in axes.get_children() if isinstance(child, AxesImage))
    drawn = np.asarray(image.get_array(), float)
    np.testing.assert_allclose(drawn, result.words().scores[:-1, 1:6], rtol=1e-6)
    assert len(axes.get_yticklabels()) == len(result.targets) - 1


def test_a_large_plot_says_what_it_leaves_out() -> None:
    axes = figure(generation(LONG, LONG[:560])).axes[0]
    label = axes.get_xlabel()
    assert "the 60 strongest of the answer's" in label
    assert "the 80 strongest of the prompt's" in label
    assert (len(axes.get_yticks()), len(axes.get_xticks())) == (60, 80)


STEPS = """
(async function () {
  var article = document.querySelector("article");
  var cells = Array.from(article.querySelectorAll("[data-cell]"));
  var out = {};
  function state(name) {
    var shares = function (kind) {
      return Object.fromEntries(Array.from(article.querySelectorAll("[data-" + kind + "]"),
        function (mark) {
          var share = Number(mark.style.getPropertyValue("--share") || 0);
          return [mark.dataset[kind], mark.classList.contains("nx-against") ? -share : share];
        }));
    };
    out[name] = {
      columns: shares("column"), cells: shares("cell"),
      on: cells.filter(function (c) { return c.classList.contains("nx-on"); })
        .map(function (c) { return Number(c.dataset.cell); }),
      what: article.querySelector(".nx-what").textContent,
      chance: article.querySelector(".nx-chance").textContent,
      live: article.querySelector(".nx-live").textContent,
      tabs: cells.filter(function (c) { return c.tabIndex === 0; })
        .map(function (c) { return Number(c.dataset.cell); }),
      focus: document.activeElement.dataset.cell || null,
      clear: !article.querySelector(".nx-clear").hidden,
      opposes: !article.querySelector(".nx-legend mark.nx-against").parentNode.hidden,
      words: Array.from(article.querySelectorAll(".nx-words tr"), function (row) {
        return Array.from(row.cells).slice(0, 3).map(function (cell) { return cell.textContent; });
      }),
      parts: Array.from(article.querySelectorAll(".nx-parts tr"), function (row) {
        return [row.querySelector("th").textContent, row.querySelector("td").textContent];
      })
    };
  }
  function key(name, shift) {
    document.activeElement.dispatchEvent(new KeyboardEvent("keydown",
      { key: name, shiftKey: Boolean(shift), bubbles: true, cancelable: true }));
  }
  function wait() { return new Promise(function (done) { setTimeout(done, 30); }); }
  while (!document.hasFocus()) { await wait(); }  // a busy machine turns to the window later
  state("start");
  cells[2].dispatchEvent(new PointerEvent("pointerover", { bubbles: true, pointerType: "mouse" }));
  state("hover");
  article.querySelector(".nx-answer").dispatchEvent(new PointerEvent("pointerleave"));
  state("left");
  cells[0].focus();
  state("focus");
  key("ArrowRight");
  state("right");
  key("ArrowRight", true);
  key("ArrowRight", true);
  state("extended");
  cells[4].dispatchEvent(new PointerEvent("pointerover", { bubbles: true, pointerType: "mouse" }));
  state("hover while selected");
  key("Escape");
  state("escaped");
  key("End");
  state("end");
  key("ArrowLeft", true);
  key("ArrowLeft", true);
  state("backwards");
  cells[1].click();
  state("tapped");
  var range = document.createRange();
  range.setStart(cells[2].firstChild, 1);
  range.setEnd(cells[4].firstChild, 0);
  document.getSelection().removeAllRanges();
  document.getSelection().addRange(range);
  await wait();
  state("dragged");
  article.querySelector(".nx-clear").click();
  await wait();
  state("cleared");
  document.getSelection().selectAllChildren(article.querySelector(".nx-prompt"));
  await wait();
  state("prompt selected");
  var made = document.createElement("pre");
  made.id = "states";
  made.textContent = JSON.stringify(out);
  document.body.append(made);
})();
"""


@pytest.fixture(scope="module")
def states(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return played(page([CASES["plain"]]), STEPS, tmp_path_factory.mktemp("plain"))


def check(state: dict[str, Any], result: GenerationAttribution, first: int, last: int) -> None:
    """Whether what is lit, listed and said is the sum over these tokens of the answer."""
    a, b = result.answer_offsets[first, 0], result.answer_offsets[last, 1]
    words = result.words()
    joint = words.span((int(a), int(b)))
    scores = expected(result, int(a), int(b))
    lit_columns = {int(n): share for n, share in state["columns"].items()}
    for column, share in lit_columns.items():
        assert share == pytest.approx(scores[column], abs=0.0006)
    places = GenerationLayout(result).cells
    for number, share in state["cells"].items():
        cell = places[int(number)]
        wanted = scores.get(cell.column, 0.0) if int(number) < last and cell.column >= 0 else 0.0
        assert share == pytest.approx(wanted, abs=0.0006)
    prompt = [n for n in range(len(joint)) if joint.segments[n] == 0]
    largest = float(np.abs(joint.scores[~joint.special]).max())
    order = sorted(prompt, key=lambda n: -joint.scores[n])[:8]
    assert [name for name, *_ in state["words"]] == [joint.tokens[n] for n in order]
    total = np.abs(joint.scores[[n for n in prompt if not joint.special[n]]]).sum()
    for (_, number, share), n in zip(state["words"], order, strict=True):
        assert number == phrases.number(float(joint.scores[n]), largest)
        assert share == phrases.share(abs(joint.scores[n]) / total)
    assert state["parts"] == part_shares(result, range(first, last + 1))
    lit_shares = [*state["columns"].values(), *state["cells"].values()]
    assert state["opposes"] == any(share < 0 for share in lit_shares)


def part_shares(result: GenerationAttribution, targets: Iterable[int]) -> list[list[str]]:
    """The names of the parts, and their sums as shares of all sums with what is in none."""
    parts = GenerationLayout(result).parts
    plain_targets = [n for n in targets if not result.answer_special[n]] or list(targets)
    sums = [float(part.scores[plain_targets].sum()) for part in parts]
    rest = float(np.nansum(result.scores[plain_targets])) - sum(sums)
    whole = sum(map(abs, [*sums, rest]))
    return [
        [part.name, phrases.share(value / whole)] for part, value in zip(parts, sums, strict=True)
    ]


@pytest.mark.browser
class TestScript:
    """What the page's script does in Chromium."""

    def test_the_script_starts_with_what_the_page_says_without_it(
        self, states: dict[str, Any]
    ) -> None:
        html = page([CASES["plain"]])
        for kind in ("column", "cell"):
            drawn = lit(html, kind)
            script = {int(n): s for n, s in states["start"][f"{kind}s"].items() if int(n) in drawn}
            assert script == pytest.approx(drawn, abs=0.006)
        for cell in re.findall(r"nx-words.*?</table>", html, re.DOTALL):
            for name, shown, share in states["start"]["words"]:
                cells = f'<td class="nx-number">{shown}</td><td class="nx-share">{share}</td>'
                assert f"{name}</th>{cells}" in cell
        assert states["start"]["what"] == "The whole answer"
        assert states["start"]["tabs"] == [0]
        assert not states["start"]["clear"]

    def test_pointing_lights_and_leaving_shows_the_whole_again(
        self, states: dict[str, Any]
    ) -> None:
        check(states["hover"], CASES["plain"], 2, 2)
        assert states["hover"]["what"] == "“It”"
        assert states["left"] == states["start"]

    def test_keys_move_and_extend_and_escape_clears(self, states: dict[str, Any]) -> None:
        check(states["focus"], CASES["plain"], 0, 0)
        check(states["right"], CASES["plain"], 1, 1)
        assert states["right"]["tabs"] == [1]
        assert states["right"]["focus"] == "1"
        check(states["extended"], CASES["plain"], 1, 3)
        assert states["extended"]["on"] == [1, 2, 3]
        assert states["extended"]["focus"] == "3"
        assert states["hover while selected"] == states["extended"]
        assert states["escaped"]["columns"] == states["start"]["columns"]
        assert states["escaped"]["on"] == []

    def test_special_tokens_of_the_answer_alone_and_in_a_span(self, states: dict[str, Any]) -> None:
        count = len(CASES["plain"].targets)
        assert states["end"]["on"] == [count - 1]
        assert states["end"]["what"] == "“</s>”"
        assert states["backwards"]["on"] == [count - 3, count - 2, count - 1]
        check(states["backwards"], CASES["plain"], count - 3, count - 2)

    def test_tapping_and_selecting_text(self, states: dict[str, Any]) -> None:
        check(states["tapped"], CASES["plain"], 1, 1)
        assert states["tapped"]["clear"]
        assert states["dragged"]["on"] == [2, 3]
        check(states["dragged"], CASES["plain"], 2, 3)
        assert states["cleared"]["columns"] == states["start"]["columns"]
        assert not states["cleared"]["clear"]
        assert states["prompt selected"]["on"] == []

    def test_what_is_spoken(self, states: dict[str, Any]) -> None:
        spoken = states["extended"]["live"]
        rows = states["extended"]["words"][:3]
        said = ", ".join(f"{name} ({shown})" for name, shown, _ in rows)
        assert spoken == f"{states['extended']['what']} rests most on: {said}"
        assert states["hover"]["live"] == ""
        chance = np.prod([t.probability or 0.0 for t in CASES["plain"].targets[1:4]])
        assert states["extended"]["chance"].startswith(f"probability {chance:.1%}")

    def test_a_chat(self, tmp_path: Path) -> None:
        result = CASES["chat"]
        shown = played(page([result]), STEPS, tmp_path)["hover"]
        exhibit = GenerationLayout(result)
        targets = exhibit.cells[2].targets
        scores = exhibit.summed(targets)
        top = exhibit.top(scores)
        assert [name for name, *_ in shown["words"]] == [exhibit.words.tokens[n] for n in top]
        assert shown["parts"] == part_shares(result, targets)
        frame = [n for n, ranked in enumerate(exhibit.coloured) if not ranked]
        assert all(shown["columns"].get(str(n), 0) == 0 for n in frame)

    def test_hostile_texts(self, tmp_path: Path) -> None:
        result = replace(CASES["hostile chat"])
        assert played(page([result]), STEPS, tmp_path)["start"]["what"] == "The whole answer"


def test_the_chat_is_as_it_was_written() -> None:
    result = CASES["chat"]
    for (role, content), message in zip(CHAT, result.messages, strict=True):
        assert message.role == role
        assert result.prompt[message.start : message.end] == content
