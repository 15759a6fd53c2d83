"""What a cell of a notebook shows, and what is left of it where hosts take styles away."""

import base64
import io
import re
import subprocess
import sys
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from huggingface_hub.utils.tqdm import are_progress_bars_disabled
from markupsafe import Markup
from PIL import Image
from transformers.utils import logging

import normxlogit
from normxlogit import GenerationAttribution
from normxlogit.results.comparison import Comparison
from normxlogit.show.dispatch import fragment, page
from normxlogit.show.inline import inlined
from tests.helpers.notebook import lost_when_untrusted
from tests.helpers.pages import HOSTILE, HTMLReader
from tests.helpers.results import GOOD_BAD, MADE_BY_HAND, SOUND, hostile, word_attribution

CASES: dict[str, Any] = MADE_BY_HAND | {
    "hostile": hostile(),
    "comparison": Comparison({"one": GOOD_BAD, "other": GOOD_BAD}, {"third": "of no use"}),
}
# A page of generated text also tells how to point at it.
READ_ONLY = [
    name for name, result in CASES.items() if not isinstance(result, GenerationAttribution)
]

WORD = re.compile(r'<(b|i|span)[^>]* style="([^"]*)" title="([+−][\d.]+), POSITIVE">([^<]+)<')


@pytest.mark.parametrize("name", CASES)
def test_a_notebook_that_is_not_trusted_loses_no_style(name: str) -> None:
    assert lost_when_untrusted(CASES[name]._repr_html_()) == set()


def test_colours_are_as_strong_as_scores() -> None:
    shown = word_attribution("a b c d", [4.0, 1.0, -3.0, 0.0])
    words = WORD.findall(fragment(shown))
    assert [word for *_, word in words] == ["a", "b", "c", "d"]
    opacity = [float(re.findall(r"background-color:rgba\(.*?([\d.]+)\)", w[1])[0]) for w in words]
    np.testing.assert_allclose(np.array(opacity) / max(opacity), [1, 0.25, 0.75, 0], atol=0.01)
    hues = [re.findall(r"background-color:rgba\((\d+),\d+,(\d+)", word[1])[0] for word in words]
    assert [int(red) > int(blue) for red, blue in hues] == [False, False, True, False]


def test_words_are_legible_on_light_and_on_dark_ground() -> None:
    def luminance(color: Any) -> float:
        share = np.asarray(color, float) / 255
        linear = np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)
        return float(linear @ [0.2126, 0.7152, 0.0722])

    for _, style, *_ in WORD.findall(fragment(word_attribution("a b", [1.0, -1.0]))):
        *color, opacity = re.findall(r"[\d.]+", style.partition("background-color:")[2])[:4]
        share = float(opacity)
        # JupyterLab's light theme, and the dark one of VS Code, whose text is greyer.
        for ground, text in ((255, 33), (30, 204)):
            mixed = share * np.array(color, float) + (1 - share) * ground
            low, high = sorted((luminance(mixed), luminance([text] * 3)))
            assert (high + 0.05) / (low + 0.05) > 4.5


def test_without_styles_strong_words_are_bold_and_italic() -> None:
    shown = word_attribution("much some against no", [4.0, 1.0, -3.0, 0.0])
    names = {word: name for name, *_, word in WORD.findall(fragment(shown))}
    assert names == {"much": "b", "some": "span", "against": "i", "no": "span"}
    plain = re.sub(r' style="[^"]*"', "", fragment(shown))
    assert "<span><b>+</b> supports POSITIVE</span> <span><i>−</i> opposes it</span>" in plain
    assert "<mark" not in plain


@pytest.mark.parametrize("name", READ_ONLY)
def test_a_cell_says_all_that_a_page_says(name: str) -> None:
    shown = CASES[name]
    # Titles of the page and of parts that are pointed at.
    said = re.sub(r"<title>.*?</title>", "", page([shown]))
    assert HTMLReader(fragment(shown)).text().split() == HTMLReader(said).text().split()


def test_text_of_others_stays_text() -> None:
    reader = HTMLReader(fragment(hostile()))
    assert HOSTILE in reader.text("span", "b", "i")
    assert "script" not in {name for name, _ in reader.elements}


def test_drawings_are_whole_pictures() -> None:
    (svg,) = re.findall(r"url\(data:image/svg\+xml;base64,([\w+/=]+)\)", fragment(SOUND))
    drawing = ElementTree.fromstring(base64.b64decode(svg))
    steps = [part for part in drawing if part.tag == "{http://www.w3.org/2000/svg}rect"]
    heights = [float(step.attrib["height"]) for step in steps]
    scores = np.abs(SOUND.scores[~SOUND.special])
    np.testing.assert_allclose(np.array(heights) / max(heights), scores / scores.max(), atol=0.01)
    assert all("fill:#" in step.attrib["style"] for step in steps)


def test_styles_come_from_the_nearest_names() -> None:
    html = Markup(
        '<article class="normxlogit"><div class="nx-heat"><table><tr><td style="--share:0.5">1</td>'
        '<td class="nx-against">2</td></tr></table></div><td>3</td></article>'
    )
    first, second, third = re.findall(r"<td.*?>", inlined(html))
    assert "background-color:rgba(26,102,204,0.30)" in first
    assert "background-color" not in second, "it has no share"
    assert "background-color" not in third, "it is in no heat map"


def test_a_figure_is_the_picture_of_a_cell() -> None:
    figure = GOOD_BAD.plot()
    content, shown = figure._repr_png_()  # type: ignore[attr-defined]
    image = Image.open(io.BytesIO(content))
    width, height = figure.get_size_inches() * figure.dpi
    assert shown == {"width": width, "height": height}
    assert image.size == (2 * width, 2 * height)


def test_printing_shows_nothing_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rich.console._is_jupyter", lambda: True)
    assert "POSITIVE" in str(GOOD_BAD)


def test_loading_a_model_shows_no_bar_but_those_of_downloads(
    capfd: pytest.CaptureFixture[str],
) -> None:
    assert logging.is_progress_bar_enabled()
    normxlogit.Explainer.from_pretrained("demo")
    assert "Loading weights" not in capfd.readouterr().err
    assert logging.is_progress_bar_enabled()
    assert not are_progress_bars_disabled()


def test_no_widgets_are_asked_for_in_a_notebook() -> None:
    code = """if True:
        import sys, warnings
        warnings.simplefilter("error")
        from tqdm import TqdmWarning, std
        class Asking:
            def __getattr__(self, name):
                warnings.warn("IProgress not found. Please update jupyter.", TqdmWarning)
                return std.tqdm
        sys.modules["tqdm.autonotebook"] = Asking()
        import normxlogit
        normxlogit.InputError, normxlogit.Failure
        assert "tqdm.auto" in sys.modules
    """
    subprocess.run([sys.executable, "-c", code], check=True)
