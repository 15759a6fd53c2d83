"""The app in a browser: each of its views, and what must not run in it."""

import copy
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import pytest
from fastapi.testclient import TestClient

from normxlogit import Explainer
from normxlogit.serve.gate import Access
from tests.helpers.chromium import Chromium, chromium
from tests.helpers.pages import HOSTILE, HTMLReader
from tests.helpers.serving import serving

TEXT = "The film was great, but far too long."
KEY = "a-key-that-nobody-guesses"
TABLE = (
    "id,review,label\r\n"
    '1,"A great, lovely film.",positive\r\n'
    "2,The plot was dull.,positive\r\n"
    f'3,"{HOSTILE.replace(chr(34), 2 * chr(34))}",negative\r\n'
    '4,"I loved ""it""\r\na lot",positive\r\n'
    "5,,negative\r\n"
)


@dataclass
class Page:
    """The app in a browser."""

    browser: Chromium
    address: str

    def open(self, fragment: dict[str, str] | None = None, **query: str) -> None:
        """Open the app anew, in a state."""
        self.visit(f"{self.address}?{urlencode(query)}#{urlencode(fragment or {})}")

    def visit(self, address: str) -> None:
        """Open an address anew."""
        self.browser.send("Page.navigate", url="about:blank")
        self.browser.send("Page.navigate", url=address)
        self.wait("document.body?.dataset.ready === ''")

    def run(self, script: str) -> Any:
        return self.browser.run(script)

    def wait(self, condition: str) -> None:
        """Wait until it holds in the page."""
        until = time.monotonic() + 60
        while not self.run(f"Boolean({condition})"):
            if time.monotonic() > until:
                shown = self.run("document.body.innerText")
                pytest.fail(f"{condition} does not come true. The page shows: {shown[-2000:]}")
            time.sleep(0.05)

    def text(self, selector: str) -> str:
        """The text of an element."""
        found: str = self.run(f"document.querySelector({json.dumps(selector)}).textContent")
        return found

    def press(self, key: str) -> None:
        code = {" ": "Space"}.get(key, key)
        typed = {"text": key} if len(key) == 1 else {}
        self.browser.send("Input.dispatchKeyEvent", type="keyDown", key=key, code=code, **typed)
        self.browser.send("Input.dispatchKeyEvent", type="keyUp", key=key, code=code)

    def errors(self) -> list[Any]:
        """What scripts failed with, and what the policy refused."""
        self.run("1")  # what was reported until now is read
        kinds = ("Runtime.exceptionThrown", "Log.entryAdded")
        return [event for event in self.browser.events if event["method"] in kinds]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    with chromium(tmp_path_factory.mktemp("browser")) as browser:
        yield browser


@pytest.fixture(scope="module")
def hostile(demo: Explainer) -> Explainer:
    """The demo, a label of which is a script."""
    model = copy.deepcopy(demo.model)
    model.config.id2label = {0: HOSTILE, 1: "POSITIVE"}
    return Explainer(model, demo.tokenizer)


@pytest.fixture(scope="module")
def page(browser: Chromium, demo: Explainer) -> Iterator[Page]:
    with serving(demo) as (_, port):
        yield Page(browser, f"http://127.0.0.1:{port}/")


def test_the_page_may_run_its_own_scripts_only(client: TestClient) -> None:
    answer = client.get("/")
    policy = answer.headers["content-security-policy"].split("; ")
    assert "default-src 'self'" in policy
    assert "frame-ancestors 'none'" in policy
    assert not any(part.startswith("script-src") or "eval" in part for part in policy)
    for tag, attributes in HTMLReader(answer.text).elements:
        assert tag != "style"
        assert tag != "script" or attributes["src"]
        assert not any(name.startswith("on") or name == "style" for name in attributes)
        for source in (attributes.get("src"), attributes.get("href")):
            assert source is None or source.startswith(("static/", "data:", "docs"))
            if source is not None and source.startswith("static/"):
                assert client.get(f"/{source}").is_success, source
    for name in ("..%2fpages.py", "pages.py", "%2fetc%2fpasswd", "app.html"):
        assert client.get(f"/static/{name}").status_code == 404


def test_a_result_is_drawn_as_its_page_draws_it(client: TestClient, demo: Explainer) -> None:
    result = client.post("/v1/explain", json={"text": TEXT, "method": "normxlogit"}).json()
    drawn = client.post("/app/draw", json={"result": result}).json()
    assert drawn["html"].strip() in demo.explain(TEXT, method="normxlogit").to_html()
    assert drawn["trial"]["claims"] == "order"
    words = [TEXT[word["start"] : word["end"]] for word in drawn["trial"]["words"]]
    assert words == TEXT.replace(",", " ,").replace(".", " .").split()
    compared = client.post("/v1/compare", json={"text": TEXT, "methods": ["norm", "logat"]}).json()
    drawn = client.post("/app/draw", json={"result": compared}).json()
    assert drawn["html"].strip() in demo.compare(TEXT, ["norm", "logat"]).to_html()
    for wrong in ({}, {**result, "scores": "none"}, {**compared, "results": {}}):
        assert client.post("/app/draw", json={"result": wrong}).status_code == 422


@pytest.mark.browser
def test_a_text_is_explained_and_its_address_shows_it_again(page: Page, demo: Explainer) -> None:
    page.open()
    page.run(
        f"document.querySelector('#text').value = {TEXT!r};"
        "document.querySelector('#target').value = 'POSITIVE';"
        "document.querySelector('#method').value = 'normxlogit';"
        "document.querySelector('#ask').requestSubmit()"
    )
    page.wait("document.querySelector('#result article')")
    expected = demo.explain(TEXT, target="POSITIVE", method="normxlogit")
    shown = page.text("#result article")
    assert shown.strip() in HTMLReader(expected.to_html()).text()
    address = page.run("location.href")
    assert "film" in address.partition("#")[2]
    assert "film" not in address.partition("#")[0]
    page.visit(address)
    page.wait("document.querySelector('#result article')")
    assert page.text("#result article") == shown
    page.run("document.querySelector('#contrast').value = 'POSITIVE'")
    page.run("document.querySelector('#ask').requestSubmit()")
    page.wait("!document.querySelector('#error').hidden")
    assert "POSITIVE" in page.text("#error")
    assert page.errors() == [] or all("422" in json.dumps(e) for e in page.errors())


@pytest.mark.browser
def test_words_are_taken_away_by_keyboard(page: Page, demo: Explainer) -> None:
    page.open({"text": TEXT}, method="normxlogit")
    page.wait("!document.querySelector('#trial').hidden")
    page.run("document.querySelector('#result mark[tabindex=\"0\"]').focus()")
    for key in ("ArrowRight", "ArrowRight", "ArrowRight", " "):
        page.press(key)
    page.wait("document.querySelector('#trial-outcome').textContent")
    whole, without = (
        demo.explain(text, target=demo.explain(TEXT).targets[0].label).targets[0].probability
        for text in (TEXT, TEXT.replace(" great", ""))
    )
    assert whole is not None
    assert without is not None
    assert f"Without “great”: NEGATIVE {whole:.1%} → {without:.1%}" in page.text("#trial-outcome")
    assert page.run("document.activeElement.getAttribute('aria-pressed')") == "true"
    address = page.run("location.href")
    page.press(" ")
    page.wait("!document.querySelector('#trial-outcome').textContent")
    assert page.run("document.activeElement.getAttribute('aria-pressed')") == "false"
    page.visit(address)
    page.wait("document.querySelector('#trial-outcome').textContent")
    assert "“great”" in page.text("#tried")
    page.run("document.querySelector('#try-strongest').click()")
    page.wait("document.querySelectorAll('#tried tr').length >= 6")


@pytest.mark.browser
def test_methods_stand_side_by_side(page: Page, demo: Explainer) -> None:
    page.open({"text": TEXT}, view="compare", methods="norm,logat")
    page.wait("document.querySelector('#comparison article')")
    expected = HTMLReader(demo.compare(TEXT, ["logat", "norm"]).to_html()).text()
    assert page.text("#comparison article").strip() in expected


@pytest.mark.browser
def test_a_table_is_explained_and_sorted(page: Page) -> None:
    page.open(view="table")
    page.run(
        "const files = new DataTransfer();"
        f"files.items.add(new File([{json.dumps(TABLE)}], 'own.csv'));"
        "document.querySelector('#file').files = files.files;"
        "document.querySelector('#file').dispatchEvent(new Event('change'))"
    )
    page.wait("!document.querySelector('#columns').hidden")
    columns = "['text-column', 'label-column'].map((id) => document.getElementById(id).value)"
    assert page.run(columns) == ["1", "2"]
    page.run("document.querySelector('#columns').requestSubmit()")
    page.wait("document.querySelector('#status').textContent.startsWith('5 of 5 rows')")
    assert page.text("#status") == "5 of 5 rows; the model disagrees with the label of 1."
    rows = page.run(
        "Array.from(document.querySelectorAll('#rows tbody tr'), (row) =>"
        " Array.from(row.cells, (cell) => cell.textContent))"
    )
    assert [rows[0][0], rows[-1][0]] == ["2", "5"]
    assert rows[0][2] == "NEGATIVE"
    shares = [float(row[5].rstrip("%")) for row in rows[:-1]]
    assert shares == sorted(shares, reverse=True)
    assert HOSTILE in {row[1] for row in rows}
    assert 'I loved "it" a lot' in {row[1] for row in rows}
    page.run("document.querySelector('#rows tbody button').click()")
    page.wait("document.querySelector('#result article')")
    assert page.run("document.querySelector('#text').value") == "The plot was dull."
    page.run("history.back()")
    page.wait("document.body.dataset.view === 'table'")
    assert page.run("document.querySelectorAll('#rows tbody tr').length") == 5


@pytest.mark.browser
def test_scripts_in_texts_and_labels_do_not_run(browser: Chromium, hostile: Explainer) -> None:
    with serving(hostile) as (_, port):
        page = Page(browser, f"http://127.0.0.1:{port}/")
        text = f"{HOSTILE} <img src=x onerror=alert(1)> bad"
        page.open({"text": text, "without": "1"})
        page.wait("document.querySelector('#trial-outcome').textContent")
        assert page.run("document.querySelector('#result div.nx-text').textContent") == text
        assert HOSTILE in page.text("#trial-outcome")
        assert HOSTILE in page.text("#target")
        assert page.run(
            "document.querySelectorAll('main script, main img, main b:empty').length"
        ) == (page.run("document.querySelectorAll('main .nx-track b').length"))
        # The policy holds where all else fails.
        page.run("document.body.append(document.createElement('div'))")
        page.run(
            "document.body.lastChild.innerHTML = '<img src=x onerror=\"window.ran = 1\">';"
            "const own = document.createElement('script'); own.textContent = 'window.ran = 1';"
            "document.head.append(own)"
        )
        assert (
            page.run("new Promise((done) => setTimeout(() => done(window.ran ?? null), 300))")
            is None
        )


@pytest.mark.browser
def test_a_key_is_asked_for_and_kept_in_the_tab(browser: Chromium, demo: Explainer) -> None:
    with serving(demo, access=Access(key=KEY)) as (_, port):
        browser.send("Page.navigate", url=f"http://127.0.0.1:{port}/#text=good")
        page = Page(browser, f"http://127.0.0.1:{port}/")
        for key in ("wrong", KEY):
            page.wait("document.querySelector('#key')?.open")
            page.run(
                f"document.querySelector('#key-value').value = {key!r};"
                "document.querySelector('#key-form').requestSubmit()"
            )
            if key != KEY:
                page.wait("!document.querySelector('#key-wrong').hidden")
        page.wait("document.querySelector('#result article')")
        assert KEY not in page.run("location.href + document.cookie + JSON.stringify(localStorage)")


@pytest.mark.browser
def test_an_answer_is_streamed_and_drawn(browser: Chromium, llm: Explainer) -> None:
    with serving(llm) as (_, port):
        page = Page(browser, f"http://127.0.0.1:{port}/")
        page.open(view="chat")
        for turn in (1, 2):
            page.run(
                "document.querySelector('#new-tokens').value = 6;"
                "document.querySelector('#prompt').value = 'the cat sat';"
                "document.querySelector('#chat').requestSubmit()"
            )
            page.wait(
                f"document.querySelectorAll('.app-why article[data-started]').length == {turn}"
            )
        asked = [{"role": "user", "content": "the cat sat"}]
        expected = llm.generate(asked, max_new_tokens=6).answer
        assert page.text("#turns .nx-answer").strip() == expected.strip()
        fragment = {"question": "who sat?", "documents": "the cat sat\n\nthe dog ran"}
        page.open(fragment, view="sources")
        page.run("document.querySelector('#from-sources').requestSubmit()")
        page.wait("document.querySelector('#answered article[data-started]')")
        assert "the dog ran" in page.text("#answered")
