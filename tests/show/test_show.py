import io
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from matplotlib.patches import Rectangle
from rich.console import Console

from normxlogit import (
    Attribution,
    Explainer,
    Failure,
    InputError,
    MissingExtraError,
    Prediction,
    Target,
)
from normxlogit.show import colors, phrases
from normxlogit.show.dispatch import fragment, page, plain, render
from normxlogit.show.templating import asset
from normxlogit.show.text.pieces import pieces
from normxlogit.show.text.plot import figure as bars
from tests.helpers.packages import hide_package
from tests.helpers.pages import HOSTILE, HTMLReader
from tests.helpers.results import (
    GOOD_BAD,
    MADE_BY_HAND,
    attribution,
    generation,
    hostile,
    word_attribution,
)


def colored(shown: Attribution, **options: Any) -> str:
    file = io.StringIO()
    console = Console(file=file, force_terminal=True, color_system="truecolor", width=80)
    console.print(render(shown, **options))
    return file.getvalue()


def bar_of(lines: str, name: str) -> str:
    (line,) = [line for line in lines.splitlines() if line.split()[:1] == [name] and "│" in line]
    return line


def test_pieces_put_together_are_the_text() -> None:
    text = " a\r\n b\tc👍🏽 "
    shown = attribution(text, [(0, 2), (4, 6), (7, 9), (8, 10), (8, 10)], [1.0, 2, 3, 4, 5])
    parts = pieces(shown, 0)
    assert "".join(piece.text for piece in parts) == text
    scored = [(piece.text, piece.score) for piece in parts if piece.score is not None]
    assert scored == [("a", 1.0), ("b", 2.0), ("c👍🏽", 12.0)]


def test_bars_stand_on_the_side_of_their_sign() -> None:
    lines = plain(GOOD_BAD)
    good, but, bad = (bar_of(lines, name) for name in ("good", "but", "bad"))
    zero = good.index("│")
    assert but.index("│") == bad.index("│") == zero
    assert good[zero + 1] == "█"
    assert good[zero - 1] == " "
    assert but.endswith("│")
    assert but[zero - 1] == " "
    assert bad.endswith("█│")
    assert 1.8 < good.count("█") / bad.count("█") < 2.3
    assert good.split()[1] == "+4.00"
    assert bad.split()[1] == "−2.00"


def test_terminal_says_what_was_predicted_and_by_what() -> None:
    lines = plain(GOOD_BAD)
    assert lines.startswith("POSITIVE 66.7%: ")
    assert "\nNext        NEGATIVE 33.3%\n" in lines
    assert "Prediction" not in lines
    assert "some/model" in lines
    other = plain(word_attribution("a b", [1.0, 2.0], explained=(0,), contrast="POSITIVE"))
    assert "\nPrediction  POSITIVE 66.7%   next NEGATIVE 33.3%\n" in other


def test_a_contrast_is_found_by_name_before_number() -> None:
    shown = word_attribution(
        "a b", [-1.0, 2.0], labels=("2", "1", "0"), explained=(1,), contrast="2"
    )
    assert "rather than 2 25.0%" in plain(shown)
    assert "+ supports 1   − supports 2" in plain(shown)
    assert "A positive score supports 1 rather than 2" in HTMLReader(page([shown])).text("p")


def test_special_tokens_are_left_out_unless_asked_for() -> None:
    assert "[CLS]" not in plain(GOOD_BAD)
    assert "[CLS]" in plain(GOOD_BAD, special=True)
    assert bar_of(plain(GOOD_BAD), "good").count("█") > 20, "scaled by a special token"


def test_colours_tell_for_from_against() -> None:
    shown = colored(GOOD_BAD)
    assert "\x1b[1;38;2;255;255;255;48;2;26;115;232mgood\x1b[0m" in shown
    assert "\x1b[1;4;38;2;194;81;0mbad\x1b[0m" in shown
    assert "but\n" in shown
    assert "\x1b" not in plain(GOOD_BAD)


def test_a_long_text_is_shown_whole_with_its_strongest_words() -> None:
    words = [f"w{i}" for i in range(50)]
    scores = [float(i % 2 or -i) for i in range(50)]
    lines = plain(word_attribution(" ".join(words), scores))
    text, table = lines.split("\n\n", 2)[1:]
    assert text.split() == words
    rows = [line.split()[0] for line in table.split("\n\n")[0].splitlines()]
    assert rows == [*(f"w{i}" for i in range(48, 28, -2)), "..."]
    assert "  ... and 40 more words\n" in lines
    in_order = plain(word_attribution(" ".join(words), scores), order="text")
    assert [line.split()[0] for line in in_order.splitlines() if "│" in line] == words


def test_every_target_has_its_block() -> None:
    lines = plain(word_attribution("a b", [[1.0, 2], [3, -4]], explained=(0, 1), axes=("target",)))
    assert lines.startswith("Prediction  POSITIVE 66.7%   next NEGATIVE 33.3%\n\nNEGATIVE 33.3%, ")
    assert "\nPOSITIVE 66.7%: " in lines
    assert lines.count("a b\n") == 2


def test_layers_are_a_table_that_fits() -> None:
    layers = tuple(range(1, 25))
    scores = np.arange(48).reshape(24, 2)
    lines = plain(word_attribution("a b", scores, layers=layers, axes=("layer",)))
    assert max(map(len, lines.splitlines())) <= 88
    for layer in layers:
        assert f"L{layer}" in lines.split()
    assert {"+46.0", "+47.0"} <= set(lines.split())


def test_regression_shows_its_value() -> None:
    shown = word_attribution(
        "a b", [1.0, 2.0], labels=("LABEL_0",), explained=(0,), problem="regression"
    )
    assert plain(shown).startswith("0.000: ")
    assert "LABEL_0" not in plain(shown)
    assert "%" not in plain(shown)
    assert "<strong>0.000</strong>" in page([shown])


def test_a_text_cannot_steer_the_terminal() -> None:
    shown = word_attribution("a\x1b[31m \x07b\x9b", [1.0, 2.0])
    assert not set(plain(shown)) & set("\x1b\x07\x9b")
    assert "a␛[31m" in plain(shown)


def test_pairs_are_labelled() -> None:
    one = word_attribution("a b", [1.0, -1.0])
    pair = replace(one, texts=("a", "b"), segments=np.array([-1, 0, 1, -1], np.int32))
    pair = replace(pair, offsets=np.array([(0, 0), (0, 1), (0, 1), (0, 0)], np.int32))
    assert "Text 1  a\nText 2  b\n" in plain(pair)
    assert HTMLReader(page([pair])).text("h4") == "Text 1Text 2"


@pytest.mark.parametrize("scores", [[0.0, 0.0], [1e-9, -1e-9], [1e9, -3e8], [-1.0, -2.0]])
def test_any_scale_of_scores_can_be_shown(scores: list[float]) -> None:
    shown = word_attribution("a b", scores)
    assert bar_of(plain(shown), "a")
    assert "nan" not in page([shown])
    assert bars(shown)


@pytest.mark.parametrize(
    ("value", "expected"), [(0.5, "50.0%"), (0.99999, ">99.9%"), (1e-9, "<0.1%"), (1.0, "100.0%")]
)
def test_percentages_do_not_claim_certainty(value: float, expected: str) -> None:
    assert phrases.percent(value) == expected


@pytest.mark.parametrize("make", [lambda a: page([a]), lambda a: page([a] * 2), fragment])
def test_script_tags_and_quotes_stay_text(make: Any) -> None:
    read, harmless = HTMLReader(make(hostile())), HTMLReader(make(GOOD_BAD))
    names = {name for name, _ in read.elements}
    assert names <= {name for name, _ in harmless.elements} | {"h3"}
    assert "script" not in names
    known = {"class", "style", "title", "dir", "scope", "lang", "charset", "name", "content"}
    known |= {"aria-hidden", "colspan", "http-equiv"}
    assert {key for _, attributes in read.elements for key in attributes} <= known
    assert HOSTILE in read.text("mark", "div", "span", "b", "i")
    assert HOSTILE in read.text("dd")


def test_a_failure_is_told_in_its_place() -> None:
    read = HTMLReader(page([GOOD_BAD, Failure(HOSTILE, InputError("<i>no</i>")), GOOD_BAD]))
    assert "script" not in {name for name, _ in read.elements}
    assert "<i>no</i>" in read.text("p")
    assert [name for name, _ in read.elements].count("article") == 3
    assert "2 of 3" in read.text("p")


def test_page_needs_no_network() -> None:
    html = page([GOOD_BAD])
    assert "http" not in html.replace("http-equiv", "")
    assert "url(" not in html
    assert "@import" not in html
    assert not {"link", "script", "img", "iframe"} & {name for name, _ in HTMLReader(html).elements}
    assert ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"}) in (
        HTMLReader(html).elements
    )


def test_page_keeps_the_text_as_it_was() -> None:
    read = HTMLReader(page([GOOD_BAD]))
    assert read.text("mark", "div").strip().startswith("good  but\n bad")


def test_page_carries_signs_without_colour() -> None:
    read = HTMLReader(page([GOOD_BAD]))
    marks = [attributes for name, attributes in read.elements if name == "mark"]
    assert [mark["title"] for mark in marks if "title" in mark] == [
        "+4.00, POSITIVE",
        "+0.00, POSITIVE",
        "−2.00, POSITIVE",
    ]
    assert [mark.get("class") for mark in marks[:3]] == [None, None, "nx-against"]
    cells = read.text("td")
    assert "+4.00" in cells
    assert "−2.00" in cells


def test_bars_of_the_page_share_a_zero_line() -> None:
    read = HTMLReader(page([GOOD_BAD]))
    styles = [attributes["style"] for name, attributes in read.elements if name == "i"]
    assert styles == [
        "left:33.33%;width:66.67%",
        "left:0.00%;width:33.33%",
        "left:33.33%;width:0.00%",
    ]
    zeros = {attributes["style"] for name, attributes in read.elements if name == "b"}
    assert zeros == {"left:33.33%"}


def test_page_says_what_made_it() -> None:
    text = HTMLReader(page([GOOD_BAD])).text("dd")
    for fact in (
        "some/model",
        "abc123",
        "SomeFor",
        "float32",
        "normxlogit, readout logit, layer 6",
    ):
        assert fact in text
    assert "normxlogit 1.2.3" in text
    assert phrases.CAVEAT in HTMLReader(page([GOOD_BAD])).text("p")


def test_page_has_a_heat_map_of_layers_for_each_target() -> None:
    scores = np.arange(12).reshape(2, 3, 2)
    shown = word_attribution(
        "a b", scores, explained=(0, 1), layers=(1, 2, 3), axes=("target", "layer")
    )
    read = HTMLReader(page([shown]))
    assert [a.get("class") for n, a in read.elements if n == "table"] == ["nx-heat", "nx-heat"]
    assert [name for name, _ in read.elements].count("h3") == 2


def test_plot_draws_what_the_scores_are() -> None:
    (axes,) = bars(word_attribution("good $x$ bad", [4.0, 0.5, -2.0])).axes
    widths = [patch.get_width() for patch in axes.patches if isinstance(patch, Rectangle)]
    assert widths == [4.0, -2.0, 0.5]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["good", "bad", "$x$"]
    bottom, top = axes.get_ylim()
    assert bottom > top, "the strongest word belongs on top"
    (axes,) = bars(word_attribution("good $x$ bad", [4.0, 0.5, -2.0]), order="text").axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["good", "$x$", "bad"]


def test_plot_has_a_panel_for_each_target_and_a_heat_map_of_layers() -> None:
    scores = np.arange(12).reshape(2, 3, 2)
    figure = bars(
        word_attribution(
            "a b", scores, explained=(0, 1), layers=(1, 2, 3), axes=("target", "layer")
        )
    )
    images = [axes.images[0].get_array() for axes in figure.axes if axes.images]
    assert [image.tolist() for image in images if image is not None] == [
        scores[0].T.tolist(),
        scores[1].T.tolist(),
    ]
    figure.savefig(io.BytesIO())


def test_plot_without_matplotlib_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    hide_package(monkeypatch, "matplotlib")
    with pytest.raises(MissingExtraError, match=r'pip install "normxlogit\[plot\]"'):
        GOOD_BAD.plot()


def test_attribution_shows_itself_by_these() -> None:
    assert str(GOOD_BAD) == plain(GOOD_BAD)
    assert GOOD_BAD.to_html() == page([GOOD_BAD])
    assert GOOD_BAD._repr_html_() == fragment(GOOD_BAD)


def tagged(text: str, tags: dict[str, str], scores: Any) -> Attribution:
    """A tagger's: one target for each of these words, all of them with the label's id 1."""
    shown = word_attribution(text, scores, explained=(0,) * len(tags), axes=("target",))
    words = text.split()
    targets = tuple(
        Target(label, 1, 3.0, 0.98, words.index(word) + 1) for word, label in tags.items()
    )
    said = Prediction("single_label_classification", targets, ())
    return replace(shown, targets=targets, prediction=said)


def test_tags_are_shown_with_their_words() -> None:
    shown = tagged(
        "Anna visits Berlin", {"Anna": "B-PER", "Berlin": "B-LOC"}, [[4.0, 1, 2], [1, 2, 5]]
    )
    lines = plain(shown)
    assert "Prediction  Anna → B-PER 98.0%, Berlin → B-LOC 98.0%" in lines
    anna, berlin = "\nAnna → B-PER 98.0%: ", "\nBerlin → B-LOC 98.0%: "
    assert lines.index(anna) < lines.index(berlin)
    assert "+5.00" in lines.partition(berlin)[2].partition("supports")[0]
    assert "+ supports B-LOC" in lines
    read = HTMLReader(page([shown]))
    assert "Anna → B-PER" in read.text("strong")
    titles = [axes.get_title("left") for axes in bars(shown).axes]
    assert titles[0].startswith("Anna → B-PER 98.0%: ")
    assert titles[1].startswith("Berlin → B-LOC 98.0%: ")


def test_tags_of_many_words_are_counted() -> None:
    words = [f"w{n}" for n in range(20)]
    shown = tagged(" ".join(words), dict.fromkeys(words, "NOUN"), np.eye(20))
    first = plain(shown).partition("\n\n")[0]
    assert "w11 → NOUN 98.0% and 8 more" in " ".join(first.split())
    assert "w12" not in first


def test_a_tag_is_contrasted_by_name() -> None:
    shown = tagged("Anna visits Berlin", {"Berlin": "B-LOC"}, [[-1.0, 2, 5]])
    shown = replace(shown, provenance=replace(shown.provenance, contrast="B-ORG"))
    assert plain(shown).startswith("For Berlin → B-LOC 98.0% rather than B-ORG: ")
    assert "+ supports B-LOC   − supports B-ORG" in plain(shown)


@pytest.mark.parametrize(
    ("scores", "signs"),
    [
        ([4.0, 0.5, -2.0], ["+ supports POSITIVE", "− opposes it"]),
        ([4.0, 0.5, 2.0], ["+ supports POSITIVE"]),
        ([-4.0, 0.0, -2.0], ["− opposes it"]),
    ],
)
def test_the_legend_has_the_signs_that_are_there(scores: list[float], signs: list[str]) -> None:
    shown = word_attribution("good but bad", scores)
    (line,) = [x for x in plain(shown).splitlines() if re.match("[+−] (supports|opposes)", x)]
    assert line == "   ".join(signs)
    legend = page([shown]).partition('<p class="nx-legend">')[2].partition("</p>")[0]
    assert legend.count("<mark") == len(signs)
    label = bars(shown).axes[0].get_xlabel()
    assert label == ", ".join(signs)


def test_minus_signs_and_quotes_are_the_same_everywhere() -> None:
    shown = replace(word_attribution("good but bad", [4.0, 0.5, -2.0]), base=(-1.5,))
    answer = replace(generation(), scores=-np.abs(generation().scores))
    one: dict[str, Any] = {"labels": ("LABEL_0",), "explained": (0,), "problem": "regression"}
    value = word_attribution("a b", [1.0, -2.0], **one)
    value = replace(value, targets=(Target("LABEL_0", 0, -1.25, None),))
    for result in (shown, answer, value, of_tokens(" Paris")):
        html = HTMLReader(page([result]))
        texts = [data for tag, data in html.texts if tag != "script"]
        for text in (plain(result), " ".join(texts)):
            assert not re.search(r"(?<!\w)-\d", text)
            assert '"' not in text
    assert "−" in plain(answer)


def of_tokens(*labels: str, **options: Any) -> Attribution:
    shown = word_attribution("The capital is", [1.0, 2.0, -1.0], **options)
    outputs = tuple(Target(x, n, 9.0 - n, 0.5**n / 2, 3) for n, x in enumerate(labels))
    said = Prediction("token", outputs[:1], outputs)
    return replace(shown, targets=outputs[:1], prediction=said)


def test_tokens_of_a_language_model_can_be_seen() -> None:
    shown = of_tokens(" Paris", "\n", "Lyon", " a", " b")
    lines = plain(shown)
    assert lines.startswith("“ Paris” 50.0%: ")
    assert "\nNext        “↵” 25.0%, Lyon 12.5%, “ a” 6.2%\n" in lines
    assert "+ supports “ Paris”" in lines
    assert "“ Paris”" in HTMLReader(page([shown])).text("strong")
    other = of_tokens(" Paris", " Lyon", contrast=" Lyon")
    assert plain(other).startswith("Why “ Paris” 50.0% rather than “ Lyon” 25.0%: ")


@pytest.mark.parametrize(
    ("text", "expected"), [("in", "in"), (" in", "“ in”"), ("\t", "“⇥”"), ("", "“”")]
)
def test_tokens_are_quoted_where_they_need_be(text: str, expected: str) -> None:
    assert phrases.token(text) == expected


def test_an_answer_in_a_text_has_no_runners_up() -> None:
    shown = of_tokens("start", "end", "Paris")
    answer = replace(shown.prediction.outputs[2], probability=0.7)
    said = replace(shown.prediction, problem="span", predicted=(answer,))
    shown = replace(shown, prediction=said, targets=(answer,))
    assert plain(shown).startswith("Paris 70.0%: ")
    assert "Next" not in plain(shown)
    nothing = replace(answer, label="")
    shown = replace(shown, prediction=replace(said, predicted=(nothing,)), targets=(nothing,))
    assert plain(shown).startswith("no answer 70.0%: ")


def test_choices_are_shown_with_the_others() -> None:
    long = "by " + "a very long way " * 9 + "home"
    shown = of_tokens("on foot", long, "by sea")
    shown = replace(shown, prediction=replace(shown.prediction, problem="multiple_choice"))
    lines = " ".join(plain(shown).split())
    assert lines.startswith("on foot 50.0%: ")
    assert "Next by a very long way" in lines
    assert "… " in lines
    assert "by sea 12.5%" in lines


def test_sinks_are_marked_and_not_coloured() -> None:
    shown = word_attribution("good but bad", [400.0, 1.0, -2.0])
    shown = replace(shown, special=np.array([True, True, False, False, True]))
    marks = [a for name, a in HTMLReader(page([shown])).elements if name == "mark"]
    assert marks[0].get("class") == "nx-special"
    assert "sink" in (marks[0].get("title") or "")
    assert "style" not in marks[0]
    assert "good  " not in plain(shown)
    assert "\x1b[2mgood\x1b[0m" in colored(shown)


def test_tokens_without_a_score_are_left_out() -> None:
    explainer = Explainer.from_pretrained("demo")
    whole = explainer.explain("A great movie with poor performers.", method="occlusion")
    part = explainer.explain(
        "A great movie with poor performers.", method="occlusion", unit=[(2, 7)]
    )
    assert plain(whole, special=True).count("\n") == plain(whole).count("\n")
    assert "nan" not in whole.to_html() + part.to_html() + str(part)
    assert [line.split()[0] for line in str(part).splitlines() if "█" in line] == ["great"]
    (bar,) = part.plot().axes[0].patches
    assert isinstance(bar, Rectangle)
    assert bar.get_height() > 0


def test_style_sheets_have_the_colours_of_figures() -> None:
    assert f"--for-bar: {colors.FOR};" in asset("fragment.css")
    red, green, blue = colors.rgb(colors.FOR)
    assert f"rect {{ fill: rgb({red} {green} {blue} /" in asset("picture.css")


@pytest.mark.parametrize(
    ("provenance", "signs"),
    [
        ({"unsigned": "more attention"}, "high: more attention"),
        ({"readout": "distance"}, "high: farther from the prediction"),
        ({}, "+ supports POSITIVE"),
    ],
)
def test_a_plus_is_only_of_scores_with_sides(provenance: dict[str, Any], signs: str) -> None:
    shown = word_attribution("good but bad", [4.0, 0.5, 1.0])
    shown = replace(shown, provenance=replace(shown.provenance, **provenance))
    assert signs in str(shown)
    read = HTMLReader(page([shown]))
    titles = [attributes.get("title") or "" for _, attributes in read.elements]
    (title,) = [title for title in titles if "4.00" in title]
    drawn = [text.get_text() for text in bars(shown).axes[0].texts]
    texts = [str(shown), "".join(read.text("td")), title, " ".join(drawn)]
    assert all("4.00" in text for text in texts)
    assert [("+4.00" in text) for text in texts] == [signs.startswith("+")] * 4


@pytest.mark.parametrize("name", ["patches", "sound"])
def test_pictures_of_images_and_sounds_lead_as_those_of_texts_do(name: str) -> None:
    shown = MADE_BY_HAND[name]
    other = Target("cat", 0, 1.0, 0.2)
    read = HTMLReader(page([shown]))
    assert str(shown).startswith("dog 80.0%\n")
    assert read.text("h2", "strong").startswith("dog 80.0%")
    assert "dog 80.0%" in [axes.get_title() for axes in shown.plot().axes]
    of_other = replace(shown, targets=(other,))
    lines = str(of_other).splitlines()
    assert lines[:2] == ["cat 20.0%, which is not predicted", "Prediction  dog 80.0%"]
    contrasted = replace(
        shown,
        prediction=replace(shown.prediction, outputs=(*shown.prediction.outputs, other)),
        provenance=replace(shown.provenance, contrast="cat"),
    )
    assert str(contrasted).startswith("Why dog 80.0% rather than cat 20.0%\n")
