"""The page of an answer from documents: what it says by itself, and what its script lights up."""

import json
import re
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import AxesImage

from normxlogit.results.sources import SourceAttribution
from normxlogit.show.dispatch import figure, fragment, page, plain
from normxlogit.show.sources.layout import SourcesLayout
from tests.helpers import control_characters
from tests.helpers.control_characters import assert_visible
from tests.helpers.notebook import lost_when_untrusted
from tests.helpers.pages import HTMLReader, played
from tests.helpers.policy import assert_policy
from tests.helpers.source_results import ANSWER, DOCUMENTS, RIVERS, SCORES, answered

HOSTILE = "</script><script>alert(1)</script>\"'& <b>\u2028<!-- x"
FACTS = [f"Fact {n} of the many facts of this document is fact {n}." for n in range(60)]
CHAT = (
    ("user", "Will it rain in Paris? And tomorrow?"),
    ("tool", '{"hours":[' + ",".join(f'{{"hour":{h},"rain":0.5}}' for h in range(90)) + "]}"),
)

LONG = answered(
    [("", " ".join(FACTS)), *DOCUMENTS[1:]],
    sentence_scores={0: np.eye(3, 60, 40) * [[9], [0.4], [0.02]]},
)
CASES = {
    "rivers": RIVERS,
    "long": LONG,
    "one": answered(DOCUMENTS[:1], "It is 1,094 km long.", [[7.5]], [7.25]),
    "no threshold": answered(threshold=None, unit=""),
    "nothing": answered(scores=np.array(SCORES) / 100, gains=(0.01, 0.0, -0.25)),
    "chat": answered(CHAT, "Yes.", [[0.5, 6.25]], [8.0], kind="message", question=""),
    "parts": answered(
        [("", "1,094 km"), ("", "Giant Mountains")],
        scores=[[4.0, 0.5], [-1.5, 1.0]],
        gains=[4.0, 1.0],
        kind="span",
        spans=[(0, 26), (27, 46)],
    ),
    "sentences": answered(kind="sentence"),
    "hostile": answered([(HOSTILE, HOSTILE)] * 2, HOSTILE, [[1.0, 2.0]], [3.0], question=HOSTILE),
    "overlapping": answered(spans=[(0, 30), (27, 46), (10, 20)]),
}


def inner(html: str, start: str, end: str) -> str:
    """The text between two pieces of HTML, as a reader sees it."""
    part = html.partition(start)[2].partition(end)[0]
    return unescape(re.sub(r"<[^<>]*>", "", part.partition(">")[2]))


def views(html: str) -> Any:
    (data,) = re.findall(r'<script type="application/json">(.*?)</script>', html, re.DOTALL)
    return json.loads(data)


def value(shown: str) -> float:
    return float(shown.replace("−", "-").removesuffix(" nats"))


def tints(html: str, name: str) -> list[float]:
    """The signed shares of the elements with a data attribute, in their order."""
    elements = re.findall(rf'<[^>]* data-{name}="\d+"[^>]*>', html)
    return [
        float(re.findall(r"--share:([\d.]+)", e)[0]) * (-1 if "nx-against" in e else 1)
        for e in elements
    ]


def test_without_a_script_the_whole_answer_is_drawn() -> None:
    html = page([RIVERS])
    total = np.array(SCORES).sum(0)
    np.testing.assert_allclose(tints(html, "source"), total / total.max(), atol=0.006)
    sentences = np.concatenate([scores.sum(0) for scores in RIVERS.sentence_scores.values()])
    # The last document is one sentence, which is coloured as it is.
    expected = [*sentences / np.abs(sentences).max(), total[2] / total.max()]
    np.testing.assert_allclose(tints(html, "mark"), expected, atol=0.006)
    assert re.findall(r"<small>(.*?)</small>", html)[:2] == ["\xa0+9.5", ""]


def test_the_answer_cites_as_the_result_does() -> None:
    for name in ("rivers", "chat", "parts", "overlapping"):
        result = CASES[name]
        said = inner(page([result]), 'class="nx-text nx-answer"', "</div>")
        assert said.replace(" [no source]", "") == result.cited, name
        assert said.count("[no source]") == sum(not cited for cited in result.citations)


def test_nothing_is_cited_without_a_threshold() -> None:
    html = page([CASES["no threshold"]])
    assert inner(html, 'class="nx-text nx-answer"', "</div>") == ANSWER
    assert "There is no threshold" in html
    assert "nats" not in html.partition('class="nx-legend"')[0].replace(" nats)", "")


def test_data_are_what_the_scores_are() -> None:
    data = views(page([RIVERS]))
    assert len(data) == 4
    for view, scores in zip(data, [*RIVERS.scores, RIVERS.total], strict=True):
        largest = np.abs(scores).max()
        shown = [value(number) for _, number, _ in view["sources"]]
        np.testing.assert_allclose(shown, scores, atol=0.006 * max(1, largest))
    first = data[0]
    assert [tint for tint, *_ in first["sources"]] == [100, 3, -5]
    assert first["sentences"] == [[100, "\xa0+9.25"], 1, 3, 0, 0, -5]
    assert first["top"] == [0, 0]
    assert first["spoken"].startswith("“The Elbe is 1,094 km long.” rests most on: 1 Rivers (+9.50")


def test_shares_are_of_what_all_sources_add() -> None:
    """Of nats beside the gain by all of them; of other scores beside their sum of sizes."""
    data = views(page([RIVERS]))
    shares = [[share for *_, share in view["sources"]] for view in data]
    assert shares[0] == [">100%", f"{0.25 / 9:.1%}", ""]
    assert shares[1] == ["12.5%", "100.0%", "3.1%"]
    assert shares[2] == ["", "", ""], "all sources together add less than 0.7 nats"
    unitless = views(page([CASES["no threshold"]]))
    assert unitless[0]["sources"][0][2] == f"{9.5 / 10.25:.1%}"


def test_what_no_source_explains_is_said_of_each_sentence() -> None:
    text = HTMLReader(page([RIVERS])).text("p")
    assert f"Without any source it would be {np.exp(-4):.1%} as likely (−4.00 nats)" in text
    assert f"it would be {np.exp(-0.05):.1%} as likely" in text
    assert "the answer would be no less likely" in page([CASES["nothing"]])


def test_noise_is_pale_and_rests_on_nothing() -> None:
    data = views(page([CASES["nothing"]]))
    for view in data:
        assert max(abs(tint) for tint, *_ in view["sources"]) <= 15
        assert "rests on no source" in view["spoken"]
    loud = views(page([CASES["nothing"].with_threshold(None)]))
    assert loud[0]["sources"][0][0] == 100


def test_where_every_source_speaks_against_a_sentence_none_explains_it() -> None:
    result = answered(scores=-np.abs(SCORES), gains=(-1.0, -1.0, -1.0))
    for view in views(page([result])):
        assert "rests on no source; none speaks for it: " in view["spoken"]
        assert view["spoken"].endswith("would be no less likely, so that none explains it.")


def test_what_speaks_against_a_sentence_is_no_matter_of_colour() -> None:
    html = page([CASES["parts"]])
    assert views(html)[1]["sources"][0][:2] == [-100, "−1.50 nats"]
    assert views(html)[1]["sources"][0][2] == "", "it has no share"
    sheet = html.partition("<style>")[2].partition("</style>")[0]
    assert re.search(r"nx-source\.nx-against { border-inline-start: 5px dashed", sheet)
    many = answered([("", f"Text {n}.") for n in range(9)], "Yes.", [[3.0, *[0.1] * 7, -2]], [3])
    reading = inner(page([many]), '<details class="nx-reading"', "</details>")
    assert "−2.00" in reading
    assert "3 others: +0.10" in reading


@pytest.mark.parametrize("name", CASES)
def test_sources_stay_whole_and_in_order(name: str) -> None:
    html = page([CASES[name]]).partition('class="nx-box"')[2]
    html = re.sub(r"<summary>.*?</summary>|<small>.*?</small>|<button.*?</button>", "", html)
    shown, at = "".join(unescape(re.sub(r"<[^<>]*>", "", html)).split()), 0
    for source in CASES[name].sources:
        text = "".join(source.text.split())
        at = shown.index(text, at) + len(text)


def test_long_documents_are_folded_around_their_leading_sentences() -> None:
    html = page([LONG]).partition('class="nx-box"')[2]
    first = html.partition('data-source="1"')[0]
    folded = "".join(re.findall(r'<details class="nx-fold">(.*?)</details>', first, re.DOTALL))
    for n in (40, 41, 42):
        # The last stands out for no sentence of the answer that rests on anything.
        assert (FACTS[n] in folded) == (n == 42)
    assert sum(fact in folded for fact in FACTS) == 58
    assert re.findall("([\\d,]+) more characters", first)[0] == f"{len(' '.join(FACTS[:40])) + 1:,}"
    assert first.count("nx-all") == 1
    assert "nx-fold" not in html.partition('data-source="1"')[2].partition("<script")[0]


def test_a_long_sentence_is_folded_too() -> None:
    html = page([CASES["chat"]]).partition('class="nx-box"')[2]
    (folded,) = re.findall(r'<details class="nx-fold">(.*?)</details>', html, re.DOTALL)
    assert '"hour":89' in unescape(folded)
    assert '"hour":1,' not in unescape(folded)


def test_many_sources_are_closed_but_for_the_leading_ones() -> None:
    draw = np.random.default_rng(0)
    documents = [(f"Title {n}", " ".join(FACTS[:20])) for n in range(100)]
    scores = draw.normal(0, 0.05, (3, 100))
    scores[:, 70] = 5
    html = page([answered(documents, ANSWER, scores, (5, 5, 5))])
    cards = re.findall(r"<details data-source[^>]*>", html)
    assert [n for n, card in enumerate(cards) if " open" in card] == [70]
    assert len(html) < 400_000
    assert "95 others: from " in html


def test_a_source_without_a_name_is_called_by_how_it_begins() -> None:
    long = "An unnamed document begins with a sentence that is long."
    layout = SourcesLayout(answered([("", long), ("A", "B."), ("", "")], ANSWER))
    assert [layout.title(n) for n in range(3)] == ["An unnamed document begins with a …", "A", ""]


def test_parts_of_documents_stand_below_their_names() -> None:
    read = HTMLReader(page([CASES["sentences"]]))
    assert read.text("h4") == "RiversLakes"
    assert "Sentences" in read.text("h3")
    assert [a.get("data-source") for _, a in read.elements if "data-source" in a] == [*"012"]


def test_nothing_in_the_texts_is_taken_for_html() -> None:
    html = page([CASES["hostile"]])
    assert "<script>alert" not in html
    assert "<!--" not in html
    names = [name for name, _ in HTMLReader(html).elements]
    assert names.count("script") == 2
    assert "alert" in views(html)[0]["spoken"]
    assert_policy(html)
    for word in ("http", "url(", "@import", "innerHTML", " onclick"):
        assert word not in html.replace("http-equiv", "")


def test_control_characters_become_signs() -> None:
    evil = control_characters.HOSTILE
    result = answered([(evil, f"a{evil}")] * 2, f"b{evil}", [[1.0, 2.0]], [3.0], question=evil)
    result = replace(result, template=evil)
    for html in (page([result]), fragment(result)):
        assert_visible(html)
        for _, attributes in HTMLReader(html).elements:
            assert_visible(" ".join(filter(None, attributes.values())))


@pytest.mark.parametrize("name", CASES)
def test_a_cell_says_all_that_a_page_says(name: str) -> None:
    result = CASES[name]
    html = fragment(result)
    assert lost_when_untrusted(html) == set()
    read = HTMLReader(html)
    assert not {"script", "style", "button"} & {element for element, _ in read.elements}
    said = re.sub(
        r"<title>.*?</title>|<button.*?</button>|<p class=\"nx-hint.*?</p>", "", page([result])
    )
    said = re.sub(r"<script.*?</script>", "", said, flags=re.DOTALL)
    assert read.text().split() == HTMLReader(said).text().split()


def test_a_strong_sentence_is_bold_where_styles_are_lost() -> None:
    plain = re.sub(r' style="[^"]*"', "", fragment(RIVERS))
    assert '<b data-mark="0">The Elbe is 1,094 km long.' in plain
    assert '<span data-mark="1">' in plain


def test_kinds_share_a_page() -> None:
    html = page([RIVERS, CASES["chat"]])
    assert html.count('"use strict"') == 1
    articles = [a["class"] for name, a in HTMLReader(html).elements if name == "article"]
    assert articles == ["normxlogit nx-sources"] * 2


def test_what_made_it_is_said() -> None:
    text = page([RIVERS])
    assert "<dd>23 forward passes over 4,310 tokens, what they share read once</dd>" in text
    assert "<dd>Document {number}:" in text
    assert "<dt>Placed by" not in page([replace(RIVERS, template=None)])


def test_scores_without_a_sign_have_no_plus() -> None:
    """Those in nats may be above or below zero; others, such as attention, may never be."""
    shown = {}
    for unit, lowest in (("nats", 0.1), ("", 0.1), ("", -0.1)):
        scores = np.full_like(RIVERS.scores, 0.5)
        scores[0, 0] = lowest
        result = replace(RIVERS, scores=scores, sentence_scores={}, unit=unit, threshold=None)
        html = page([result]).partition("</style>")[2]
        shown[unit, lowest] = "+0.5" in html, "+0.5" in plain(result), "high:</mark>" in html
    assert shown == {
        ("nats", 0.1): (True, True, False),
        ("", 0.1): (False, False, True),
        ("", -0.1): (True, True, False),
    }


def test_plot_is_a_heat_map_of_sentences_by_sources(tmp_path: Path) -> None:
    axes = RIVERS.plot(tmp_path / "why.svg").axes[0]
    (image,) = (child for child in axes.get_children() if isinstance(child, AxesImage))
    np.testing.assert_allclose(np.asarray(image.get_array(), float), SCORES, rtol=1e-6)
    names = [label.get_text() for label in axes.get_xticklabels()]
    assert names[0] == "[1] Rivers"
    assert (tmp_path / "why.svg").stat().st_size > 1000


def test_a_large_plot_says_what_it_leaves_out() -> None:
    scores = np.random.default_rng(0).normal(size=(50, 80))
    documents = [(str(n), f"Text {n}.") for n in range(80)]
    result = answered(documents, "So. " * 50, scores, [1.0] * 50)
    axes = figure(result).axes[0]
    assert "the 40 strongest of the answer's 50 sentences" in axes.get_xlabel()
    assert "the 60 strongest of 80 sources" in axes.get_xlabel()
    assert (len(axes.get_yticks()), len(axes.get_xticks())) == (40, 60)


STEPS = """
(function () {
  var article = document.querySelector("article");
  var said = Array.from(article.querySelectorAll("[data-span]"));
  var out = {};
  function share(element) {
    var part = Number(element.style.getPropertyValue("--share"));
    return element.classList.contains("nx-against") ? -part : part;
  }
  function state(name) {
    out[name] = {
      on: said.filter(function (s) { return s.classList.contains("nx-on"); })
        .map(function (s) { return Number(s.dataset.span); }),
      sources: Array.from(article.querySelectorAll("[data-source]"), function (source) {
        return [share(source), source.querySelector(".nx-number").textContent];
      }),
      marks: Object.fromEntries(Array.from(article.querySelectorAll("[data-mark]"), function (m) {
        return [m.dataset.mark, [share(m), m.querySelector("small").textContent]];
      })),
      open: Array.from(article.querySelectorAll(".nx-fold"), function (fold) { return fold.open; }),
      readings: Array.from(article.querySelectorAll(".nx-reading"))
        .filter(function (reading) { return !reading.hidden; })
        .map(function (reading) { return Number(reading.dataset.view); }),
      live: article.querySelector(".nx-live").textContent,
      clear: !article.querySelector(".nx-clear").hidden,
      focus: document.activeElement.dataset.span || document.activeElement.localName
    };
  }
  function key(name) {
    document.activeElement.dispatchEvent(new KeyboardEvent("keydown",
      { key: name, bubbles: true, cancelable: true }));
  }
  function point(element) {
    element.dispatchEvent(new PointerEvent("pointerover", { bubbles: true, pointerType: "mouse" }));
  }
  state("start");
  point(said[1]);
  state("hover");
  article.querySelector(".nx-answer").dispatchEvent(new PointerEvent("pointerleave"));
  state("left");
  said[0].click();
  state("tapped");
  point(said[2]);
  state("hover while chosen");
  key("ArrowRight");
  state("right");
  key("Escape");
  state("escaped");
  key("End");
  state("end");
  article.querySelector(".nx-clear").click();
  state("cleared");
  article.querySelector(".nx-reading:not([hidden]) th button").click();
  state("shown");
  article.querySelector(".nx-all").click();
  state("all");
  var made = document.createElement("pre");
  made.id = "states";
  made.textContent = JSON.stringify(out);
  document.body.append(made);
})();
"""


@pytest.fixture(scope="module")
def states(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return played(page([LONG]), STEPS, tmp_path_factory.mktemp("long"))


def check(state: dict[str, Any], result: SourceAttribution, span: int | None) -> None:
    """Whether what is lit and listed is of this sentence of the answer, or of all of it."""
    layout = SourcesLayout(result)
    view = layout.views[-1 if span is None else span]
    scores = result.total if span is None else result.scores[span]
    sizes = min(1.0, np.abs(scores).max() / (result.threshold or 1))
    lit = [share for share, _ in state["sources"]]
    np.testing.assert_allclose(lit, sizes * scores / np.abs(scores).max(), atol=0.006)
    numbers = [value(number) for _, number in state["sources"]]
    np.testing.assert_allclose(numbers, scores, atol=0.06)
    of_first = view.sentence_tints[0]
    np.testing.assert_allclose([state["marks"][str(n)][0] for n in range(60)], of_first, atol=0.006)
    assert state["on"] == ([] if span is None else [span])
    assert state["readings"] == [len(layout.views) - 1 if span is None else span]


@pytest.mark.browser
class TestScript:
    def test_pointing_lights_up_what_a_sentence_rests_on(self, states: dict[str, Any]) -> None:
        check(states["start"], LONG, None)
        check(states["hover"], LONG, 1)
        assert states["hover"]["marks"]["41"][1] == "\xa0+0.40"
        assert states["left"] == states["start"]
        assert not any(states["hover"]["open"]), "pointing moves nothing"

    def test_a_sentence_that_is_tapped_stays(self, states: dict[str, Any]) -> None:
        check(states["tapped"], LONG, 0)
        assert states["tapped"]["clear"]
        assert states["tapped"]["live"].startswith("“The Elbe is 1,094 km long.” rests most on: 1")
        assert states["hover while chosen"] == states["tapped"]

    def test_keys_choose_and_clear(self, states: dict[str, Any]) -> None:
        check(states["right"], LONG, 1)
        assert states["right"]["focus"] == "1"
        check(states["escaped"], LONG, None)
        check(states["end"], LONG, 2)
        check(states["cleared"], LONG, None)
        assert states["cleared"]["focus"] == "2", "the keyboard goes on where it was"
        assert not states["cleared"]["clear"]

    def test_names_lead_to_sources_and_folds_open(self, states: dict[str, Any]) -> None:
        assert states["shown"]["focus"] == "summary"
        check(states["shown"], LONG, None)
        assert all(states["all"]["open"])
        assert not all(states["shown"]["open"])

    def test_hostile_texts(self, tmp_path: Path) -> None:
        script = STEPS.replace('article.querySelector(".nx-all").click();', "")
        script = re.sub(r"point\(said\[[12]\]\)", "point(said[0])", script)
        assert played(page([CASES["hostile"]]), script, tmp_path)["tapped"]["on"] == [0]
