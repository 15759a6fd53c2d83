"""llms.txt: what the site has, for programs that read; and its pages as Markdown beside it."""

import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.structure import StructureItem
from mkdocs.structure.nav import Navigation, Section
from mkdocs.structure.pages import Page

from tools.site.drawings import put_texts

_HEAD = """\
# normxlogit

> Which input tokens a transformer's prediction rests on, at the price of one forward pass: a \
Python package and a command for any Hugging Face model.
"""


def write(navigation: Navigation, pages: dict[str, str], folder: Path) -> None:
    """Write llms.txt and the pages as Markdown.

    Args:
        navigation: the sections, and the pages in them.
        pages: the Markdown of the pages, by their places.
        folder: that of the site.
    """
    for place, markdown in pages.items():
        if "\n::: " not in markdown:  # which stands for what is only in the page's HTML
            path = folder / place
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(put_texts(markdown), "utf-8")
    lines = [_HEAD, *(line for item in navigation.items for line in _lines(item, pages))]
    (folder / "llms.txt").write_text("\n".join(lines) + "\n", "utf-8")


def _lines(item: StructureItem, pages: dict[str, str]) -> Iterator[str]:
    """Yield the lines of a page, or of a section."""
    if isinstance(item, Section):
        yield f"\n## {item.title}\n"
        for child in item.children:
            yield from _lines(child, pages)
    if isinstance(item, Page):
        markdown = pages[item.file.src_uri]
        place = item.url if "\n::: " in markdown else item.file.src_uri
        yield f"- [{item.title}]({place}): {_first_sentence(markdown)}"


def _first_sentence(markdown: str) -> str:
    """Return the first sentence of a page's text, without links."""
    text = re.sub(r"^```.*?^```", "", markdown, flags=re.DOTALL | re.MULTILINE)
    paragraphs = (part.strip() for part in text.split("\n\n"))
    paragraph = next((part for part in paragraphs if part and part[0] not in "#<!|*-:["), "")
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", paragraph).replace("\n", " ")
    sentence = re.split(r"(?<=[.:?]) ", plain)[0]
    return sentence if sentence.endswith("?") else sentence.rstrip(":.") + "."
