"""The demo's page in Chromium: it says what Python says, and asks nobody else."""

import functools
import json
import random
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from normxlogit import Attribution, Explainer
from normxlogit.show.meaning import caution
from normxlogit.show.phrases import CAVEAT, one_line
from normxlogit.show.text.pieces import pieces
from tests.helpers.chromium import Chromium, chromium, requested
from tests.helpers.pages import HOSTILE, HTMLReader
from tests.helpers.paths import ROOT
from tools.web_demo import OUTPUT, PACKAGE, SOURCE

pytestmark = pytest.mark.browser

POLICY = "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'"
"""What a strict host sends with every file, so that it also holds for the worker."""

FIRST = "My claim was rejected; the staff were wonderful but the food was terrible."
TEXTS = [
    FIRST,
    "bad",
    "Don’t watch it twice; I couldn't in 2024 — «très» cafe\u0301, O'Neill's 3.14!",
    "So good 👍🏽👍 👨‍👩‍👧 ❤️\u200d🔥 🇩🇪 ☺ ... loved it?!",
    "我喜欢这部电影。 とても良い か\u3099 ดีมาก 한국어 हिन्दी क्षमा العَرَبِيّة 𠀀𠀁",
    HOSTILE + " is a terrible <mark>film</mark> &amp; a waste",
    "Its [SEP] plot is a [MASK] of [UNK] \x07things\u202e and \n\tlines  of ΟΔΟΣ İstanbul",
    "x" * 101 + " unbelievably uninteresting",
    "the " * 509 + "end",
    "!?",
]
LONG = "the " * 510 + "end"
ALPHABET = [
    *"abcdeEZé'’ʼ .,;!?-_()0123456789\n\t\r\"$[]",
    *("don't", "[SEP]", "[MASK]", "[UNK]", "[CLS]", "good", "terrible", " ", " ", "e\u0301"),
    *("\u0301", "ﬁ", "ß", "ẞ", "İ", "ΟΔΟΣ", "Σ", "й", "نَ", "ש", "ि", "क्ष", "ไ", "ท", "我", "喜"),
    *(
        "す",
        "ー",
        "か\u3099",
        "한",
        "\u1112\u1161\u11ab",
        "👍🏽",
        "👨‍👩‍👧",
        "🇩🇪",
        "❤️",
        "☺",
        "\u200b",
    ),
    *("\u200d", "\u00ad", "\u2066", "\x07", "\x1c", "\x85", "\u3000", "\u00a0", "\ufeff", "\ufffd"),
    *("𠀀", "𫠠", "丽", "\u2028", "½", "№", "…", "—", "“", "”", "。", "٣", "𝒜", "\u0345", "\u3164"),
]

STATE = """
(() => {
  const rows = (selector) => [...document.querySelectorAll(selector + " tr")].map((row) => [
    row.querySelector("th").textContent, Number(row.querySelector("data").value)]);
  const method = (id) => ({
    pieces: [...document.querySelector(`#${id} .nx-text`).childNodes].map((node) => [
      node.textContent, node.nodeName === "MARK"]),
    rows: [...rows(`#${id} .strongest`), ...rows(`#${id} .others tbody`)],
    fall: document.querySelector(`#${id} .fall`).hidden ? null : rows(`#${id} .fall tbody`),
  });
  const [status, unlike, methods] = ["status", "unlike", "methods"].map(
    (id) => document.getElementById(id));
  return {
    status: status.textContent.replace(/\\s+/g, " "),
    unlike: unlike.hidden ? null : unlike.textContent,
    methods: methods.hidden
      ? null : {normxlogit: method("normxlogit"), attribution_head: method("head")},
  };
})()
"""
READ = """
(async (texts) => {
  const module = (name) => import(new URL(name, location));
  const [{Reader}, {findWords}, {Tokenizer}] = await Promise.all(
    ["tokens.js", "words.js", "vendor/tokenizers.mjs"].map(module));
  const [file, config, {text}] = await Promise.all(
    ["tokenizer.json", "tokenizer_config.json", "manifest.json"].map(
      async (name) => (await fetch(name)).json()));
  const reader = new Reader(new Tokenizer(file, config), text);
  return texts.map((text) => {
    const {characters, tokens} = reader.read(text);
    return {
      ids: tokens.map(({id}) => id),
      offsets: tokens.map(({start, end}) => [start, end]),
      words: findWords(characters, tokens).numbers,
    };
  });
})
"""


@dataclass(frozen=True)
class Visit:
    """What a visit to the page has shown.

    Attributes:
        states: for each text what the page shows of it.
        typed: what it shows after typing, key by key.
        read: for each of `random_texts` the tokens and words.
        width: of the page, in a window of 390 pixels.
        box: how the text box is called, for those who do not see it.
        complaints: what the browser has logged, such as violations of the policy.
        requests: paths of what the page has asked its host for, and addresses of anything else.
    """

    states: dict[str, dict[str, Any]]
    typed: dict[str, Any]
    read: list[dict[str, Any]]
    width: int
    box: str
    complaints: list[str]
    requests: set[str]


def random_texts() -> list[str]:
    choose = random.Random(3)
    return ["a" + "".join(choose.choices(ALPHABET, k=choose.randint(1, 14))) for _ in range(400)]


class StrictHandler(SimpleHTTPRequestHandler):
    """Serves files under a strict policy."""

    def end_headers(self) -> None:
        self.send_header("Content-Security-Policy", POLICY)
        super().end_headers()

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """Serve a folder; gives the origin."""
    handler = functools.partial(StrictHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def settled(page: Chromium) -> dict[str, Any]:
    """What the page shows once it waits for nothing."""
    deadline = time.monotonic() + 120
    while page.run("document.querySelector('#page')?.ariaBusy") != "false":
        assert time.monotonic() < deadline, page.run("document.body?.innerText")
        time.sleep(0.02)
    state: dict[str, Any] = page.run(STATE)
    return state


def entered(page: Chromium, text: str) -> dict[str, Any]:
    """What the page shows of a text that is put into its box."""
    page.run(f"box.value = {json.dumps(text)}; box.dispatchEvent(new InputEvent('input'));")
    return settled(page)


def typed(page: Chromium, text: str) -> dict[str, Any]:
    """What the page shows of a text that is typed over what is in its box."""
    page.run("box.focus(); box.select();")
    for character in text:
        page.send("Input.insertText", text=character)
    return settled(page)


def complaints(page: Chromium) -> list[str]:
    logs = [e["params"] for e in page.events if e["method"] == "Log.entryAdded"]
    errors = [e["params"] for e in page.events if e["method"] == "Runtime.exceptionThrown"]
    # A browser asks every host for an icon.
    return [str(log) for log in [*logs, *errors] if "favicon.ico" not in str(log)]


@pytest.fixture(scope="module")
def visit(tmp_path_factory: pytest.TempPathFactory) -> Visit:
    if not (OUTPUT / "index.html").is_file():
        pytest.skip(
            f"there is no page in {OUTPUT.relative_to(ROOT)}: python -m tools.web_demo builds it, "
            "with npm."
        )
    folder = tmp_path_factory.mktemp("chromium")
    with served(OUTPUT) as origin:
        with chromium(folder) as page:
            page.send("Page.navigate", url=f"{origin}/")
            states = {FIRST: settled(page)}
            states |= {
                text: entered(page, text) for text in [*TEXTS[1:], "", " \n", LONG, "\u200b"]
            }
            last = typed(page, "A great film!")
            read = page.run(f"({READ})({json.dumps(random_texts())})")
            tree = page.send("Accessibility.getFullAXTree")["nodes"]
            names = [node["name"]["value"] for node in tree if node["role"]["value"] == "textbox"]
            page.send(
                "Emulation.setDeviceMetricsOverride",
                width=390,
                height=844,
                deviceScaleFactor=1,
                mobile=True,
            )
            page.run("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
            width = page.run("document.documentElement.scrollWidth")
            log = complaints(page)
        requests = {url.removeprefix(f"{origin}/") for url in requested(folder, origin)}
    return Visit(states, last, read, width, names[0], log, requests)


@pytest.fixture(scope="module")
def explainer() -> Explainer:
    return Explainer.from_pretrained("demo", device="cpu", head="demo")


def explained(explainer: Explainer, text: str, method: str) -> Attribution:
    result = explainer.explain(text, method=method)
    assert isinstance(result, Attribution)
    return result


def assert_says(state: dict[str, Any], explainer: Explainer, text: str) -> None:
    """Assert that the page shows the prediction, words and scores that Python gives."""
    for method, shown in state["methods"].items():
        attribution = explained(explainer, text, method)
        words = attribution.words()
        listed = ~words.special
        expected = [
            (one_line(words.tokens[i]), float(words.scores[i])) for i in np.flatnonzero(listed)
        ]
        largest = max(abs(score) for _, score in expected)
        rows = sorted(map(tuple, shown["rows"]))
        assert [name for name, _ in rows] == [name for name, _ in sorted(expected)]
        np.testing.assert_allclose(
            [score for _, score in rows],
            [score for _, score in sorted(expected)],
            rtol=0,
            atol=1e-3 * largest,
        )
        assert shown["pieces"] == [
            [piece.text, piece.score is not None] for piece in pieces(words, 0)
        ]
        outputs = sorted(attribution.prediction.outputs, key=lambda output: -output.logit)
        said = [f"{output.label} {output.probability:.1%}" for output in outputs]
        assert state["status"] == f"Prediction: {said[0]} next {said[1]}"
        if method == "normxlogit":
            assert shown["fall"] is None
            continue
        (base,) = attribution.base or ()
        fall = [shown["fall"][0][1], shown["fall"][-1][1]]
        total = base + sum(score for _, score in expected)
        np.testing.assert_allclose(fall, [base, total], rtol=0, atol=1e-3 * largest)
        assert state["unlike"] == caution(attribution)


@pytest.mark.parametrize("text", TEXTS, ids=[f"{text:.9}" for text in TEXTS])
def test_the_page_says_what_python_says(visit: Visit, explainer: Explainer, text: str) -> None:
    assert_says(visit.states[text], explainer, text)


def test_what_is_typed_is_explained(visit: Visit, explainer: Explainer) -> None:
    assert_says(visit.typed, explainer, "A great film!")
    assert visit.box == "Type a sentence of a review, in English:"


def test_what_cannot_be_explained_is_said(visit: Visit) -> None:
    said = {
        "": "Type a text to see the model’s prediction, and the words that it rests on.",
        LONG: "The text has 513 tokens, over the limit of 512. Shorten it.",
        "\u200b": "The tokenizer makes no token of this text. Type words.",
    }
    said[" \n"] = said[""]
    for text, sentence in said.items():
        assert visit.states[text] == {"status": sentence, "unlike": None, "methods": None}


def test_tokens_and_words_are_those_of_python(visit: Visit, explainer: Explainer) -> None:
    encoder = explainer.encoder()
    for text, read in zip(random_texts(), visit.read, strict=True):
        encoded = encoder.encode(text)
        assert read == {
            "ids": list(encoded.windows[0].inputs["input_ids"]),
            "offsets": encoded.offsets.tolist(),
            "words": encoded.words.tolist(),
        }, ascii(text)


def test_the_page_asks_for_its_own_files_only(visit: Visit) -> None:
    files = {path.relative_to(OUTPUT).as_posix() for path in OUTPUT.rglob("*") if path.is_file()}
    assert visit.requests == files - {"index.html", "vendor/tokenizers.LICENSE"}
    assert visit.complaints == []


def test_the_page_fits_a_phone(visit: Visit) -> None:
    assert visit.width == 390


@pytest.mark.usefixtures("visit")
def test_the_page_was_built_of_the_sources() -> None:
    for path in SOURCE.iterdir():
        if path.name not in PACKAGE:
            assert (OUTPUT / path.name).read_bytes() == path.read_bytes(), "build it again"
    megabytes = sum(path.stat().st_size for path in OUTPUT.rglob("*") if path.is_file()) / 1e6
    read = HTMLReader((OUTPUT / "index.html").read_text("utf-8"))
    assert f"{megabytes:.0f} MB are loaded once" in read.text()
    assert CAVEAT in " ".join(read.text().split())
