"""The documentation site, built as CONTRIBUTING says: whole, and of nothing but itself."""

import inspect
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache, cached_property
from html.parser import HTMLParser
from pathlib import Path
from types import FunctionType
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from typer.main import get_command

import normxlogit
from normxlogit.cli import app
from normxlogit.methods import METHODS
from tests.helpers.paths import ROOT
from tools import tradeoff
from tools.site.links import as_on_site, linked_files

LOADED = {
    "script": "src",
    "img": "src",
    "iframe": "src",
    "source": "src",
    "video": "src",
    "audio": "src",
    "embed": "src",
    "object": "data",
    "use": "href",
}
"""What a browser fetches for each element; beside these the `link` elements."""


class Page(HTMLParser):
    """The addresses and anchors of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text("utf-8"))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = {name: value or "" for name, value in attrs}
        self.anchors |= {attributes[name] for name in ("id", "name") if name in attributes}
        if tag == "link":
            navigates = {"canonical", "next", "prev", "alternate"} & set(attributes["rel"].split())
            (self.links if navigates else self.loaded).append(attributes["href"])
        elif attributes.get(LOADED.get(tag, "")):
            self.loaded.append(attributes[LOADED[tag]])
        if tag == "a" and "href" in attributes:
            self.links.append(attributes["href"])
        self.loaded += re.findall(r"url\(['\"]?([^'\")]+)", attributes.get("style", ""))


@cache
def read(path: Path) -> Page:
    return Page(path)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the site."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def pages(site: Path) -> list[Path]:
    found = sorted(site.rglob("*.html"))
    assert len(found) > 40
    return found


@pytest.mark.site
def test_nothing_is_loaded_from_another_host(site: Path) -> None:
    loaded = {(path, url) for path in pages(site) for url in read(path).loaded}
    for sheet in site.rglob("*.css"):
        text = sheet.read_text("utf-8")
        urls = re.findall(r"url\(['\"]?([^'\")]+)|@import ['\"]([^'\"]+)", text)
        loaded |= {(sheet, one or other) for one, other in urls}
    assert len(loaded) > 100
    assert not {entry for entry in loaded if urlsplit(entry[1]).scheme not in ("", "data")}
    assert not {entry for entry in loaded if entry[1].startswith("//")}


@pytest.mark.site
def test_no_link_is_broken(site: Path) -> None:
    broken = []
    for path in pages(site):
        if path.name == "404.html":  # its addresses are those of a site at the root of a host
            continue
        for url in [*read(path).links, *read(path).loaded]:
            parts = urlsplit(url)
            if parts.scheme or url.startswith("//"):
                continue
            to = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            to = to / "index.html" if to.is_dir() else to
            is_page = to.suffix == ".html" and to.is_file()
            anchor = unquote(parts.fragment)
            if not to.is_file() or (anchor and is_page and anchor not in read(to).anchors):
                broken.append((path.relative_to(site).as_posix(), url))
    # The top of a page is an anchor that none has to have.
    assert [entry for entry in broken if not entry[1].endswith("#__top")] == []


CALLED = (FunctionType, classmethod, staticmethod, property, cached_property)


def public_names() -> Iterator[str]:
    """The public names of the package, and those of what its classes do, inherited or not."""
    for name in normxlogit.__all__:
        yield name
        value = getattr(normxlogit, name)
        for attribute in dir(value) if isinstance(value, type) else ():
            if attribute[0] != "_" and isinstance(inspect.getattr_static(value, attribute), CALLED):
                yield f"{name}.{attribute}"


@pytest.mark.site
def test_every_public_name_is_described(site: Path) -> None:
    reference = list((site / "reference").rglob("*.html"))
    anchors = {anchor for path in reference for anchor in read(path).anchors}
    names = list(public_names())
    assert {"Explainer.explain", "Attribution.words", "Result.target", "attribute"} <= set(names)
    assert [name for name in names if f"normxlogit.{name}" not in anchors] == []
    # Arguments that share an explanation have an entry each, and their types.
    text = "".join(path.read_text("utf-8") for path in reference)
    assert re.findall(r"<code>\**\w+,", text) == []


@pytest.mark.site
def test_every_command_option_and_method_is_described(site: Path) -> None:
    text = (site / "commands/index.html").read_text("utf-8")
    group: Any = get_command(app)
    for name, command in group.commands.items():
        (section,) = re.findall(rf'<h2 id="normxlogit-{name}">.*?(?=<h2|</article>)', text, re.S)
        options = [option for parameter in command.params for option in parameter.opts]
        assert [o for o in options if o.startswith("--") and o not in section] == []
    methods = read(site / "method-reference/index.html").anchors
    assert set(METHODS) <= methods


@pytest.mark.site
def test_notebooks_have_their_outputs(site: Path) -> None:
    notebooks = sorted((ROOT / "examples").glob("*.ipynb"))
    for notebook in notebooks:
        html = (site / "examples" / notebook.stem / "index.html").read_text("utf-8")
        assert 'class="drawing"' in html or "It was not run" in html
        assert "data-drawing" not in html


@pytest.mark.site
def test_the_first_page_shows_what_the_package_draws(site: Path) -> None:
    (frame,) = [url for url in read(site / "index.html").loaded if url.startswith("live/")]
    assert "terrible" in (site / frame).read_text("utf-8")
    assert "when-not-to-trust-it" in read(site / "index.html").anchors


@pytest.mark.site
def test_programs_find_every_page(site: Path) -> None:
    text = (site / "llms.txt").read_text("utf-8")
    listed = re.findall(r"^- \[.+?\]\((.*?)\): \S", text, re.M)
    assert [place for place in listed if not (site / place).exists()] == []
    places = {re.sub(r"(index)?\.md$|/$", "", place).rstrip("/") for place in listed}
    html = {path.parent.relative_to(site).as_posix() for path in site.rglob("index.html")}
    assert {place or "." for place in places} == html - {"live"}
    markdown = (site / "examples/classification.md").read_text("utf-8")
    assert "data-drawing" not in markdown


@pytest.mark.site
def test_search_finds_pages_and_names(site: Path) -> None:
    index = json.loads((site / "search/search_index.json").read_text("utf-8"))
    titles = {document["title"] for document in index["docs"]}
    assert {"An attribution head", "When not to trust it", "Gallery"} <= titles
    assert "reference/explainer/#normxlogit.Explainer.explain" in {
        document["location"] for document in index["docs"]
    }


def test_links_are_those_of_the_site() -> None:
    text = "[a](../README.md#more) [b](heads/tags.md) [c](../LICENSE) [d](https://a.b/c) [e](#here)"
    fenced = "\n```\n[f](../README.md)\n```\n"
    assert as_on_site(text + fenced, "docs/guide.md", "guide.md") == (
        "[a](readme.md#more) [b](heads/tags.md) [c](files/LICENSE) [d](https://a.b/c) [e](#here)"
        + fenced
    )
    assert as_on_site("[a](docs/guide.md)", "README.md", "readme.md") == "[a](guide.md)"
    assert as_on_site("[a](../guide.md)", "docs/heads/tags.md", "heads/tags.md") == (
        "[a](../guide.md)"
    )
    assert linked_files({"docs/guide.md": text + fenced}) == {"LICENSE"}


def test_the_figure_of_faithfulness_and_cost_is_that_of_the_tables() -> None:
    assert tradeoff.FIGURE.read_text("utf-8") == tradeoff.drawing()
    drawn = {
        point.method.replace(", mask", ', baseline="mask"'): point for point in tradeoff.points()
    }
    readme = (ROOT / "README.md").read_text("utf-8").partition("## Which method when")[2]
    rows = re.findall(r"^\| (`.+?) \| [^|]* \| ([\d.]+)[^|]* \| ([\d.]+)", readme, re.M)
    assert len(rows) >= 5
    for names, passes, comprehensiveness in rows:
        point = drawn[names.replace("`", "")]
        assert point.comprehensiveness == pytest.approx(float(comprehensiveness), abs=5e-4)
        if point.method != "attribution_head":  # whose time is a rough one
            assert point.passes == float(passes)
