"""HTML pages, read back, and the browser that shows them."""

import json
import re
import shutil
import subprocess
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.policy import with_script

HOSTILE = "<script>alert(1)</script>\"'& <b>"
"""Text that breaks out of markup unless it is escaped."""


class HTMLReader(HTMLParser):
    """Collect the elements of a page with their attributes, and its texts with their elements."""

    VOID = frozenset({"meta", "br", "wbr", "link", "img", "input"})

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.path: list[str] = []
        self.texts: list[tuple[str, str]] = []
        self.feed(html)
        self.close()
        assert self.path == [], "an element was not closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.path.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.path.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.path:
            self.texts.append((self.path[-1] if self.path else "", data))

    def text(self, *tags: str) -> str:
        """The text of these elements, or of the whole page."""
        return "".join(data for tag, data in self.texts if tag in tags or not tags)


def find_browser() -> str | None:
    """The path of Chromium or Chrome, if it is installed."""
    names = ("chromium", "chromium-browser", "google-chrome")
    return next((path for path in map(shutil.which, names) if path), None)


def played(html: str, script: str, folder: Path) -> dict[str, Any]:
    """The states of a page that a script in it leaves as JSON in an element with the id "states".

    Args:
        html: the page.
        script: runs in it when it has loaded.
        folder: for the page's file, and the browser's own.
    """
    browser = find_browser()
    if browser is None:
        pytest.fail("these tests need Chromium or Chrome: install it, or use -m 'not browser'.")
    path = folder / "page.html"
    path.write_text(with_script(html, script), "utf-8")
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu"]
    command += ["--no-first-run", "--disable-background-networking"]
    command += ["--virtual-time-budget=60000", f"--user-data-dir={folder / 'profile'}"]
    command += ["--dump-dom", path.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    states = re.search(r'<pre id="states">(.*?)</pre>', done.stdout, re.DOTALL)
    assert states, "the script of the page or of the test has failed"
    found: dict[str, Any] = json.loads(unescape(states[1]))
    return found
