"""Links of the repository's pages, as the site has them.

A page in docs/ may link to any file of the repository. On the site a page outside of docs/ has a
place of its own, and any other file a copy.
"""

import posixpath
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from tools import ROOT

PLACES = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "README.md": "readme.md",
    "RELEASING.md": "releasing.md",
    "SECURITY.md": "security.md",
    "src/normxlogit/demo/MODEL_CARD.md": "demo-model.md",
    **{
        path.relative_to(ROOT).as_posix(): f"examples/{path.stem}.md"
        for path in sorted((ROOT / "examples").glob("*.ipynb"))
    },
}
"""Where pages of the repository outside of docs/ are on the site."""

_FENCE = re.compile(r"^(```.*?^```[^\n]*$)", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"(\]\()([^)#\s]+)")


def linked_files(pages: Mapping[str, str]) -> set[str]:
    """Return the files that pages link to and that have no page on the site.

    Args:
        pages: in Markdown, by their paths below the repository's root.
    """
    paths = {
        _path(link, source)
        for source, text in pages.items()
        for part in _FENCE.split(text)[::2]
        for _, link in _LINK.findall(part)
    }
    named = {path for path in paths if path is not None and not path.startswith("docs/")}
    return named - PLACES.keys()


def as_on_site(text: str, source: str, place: str) -> str:
    """Return a page with its links as the site has them.

    Args:
        text: the page, in Markdown.
        source: its path below the repository's root.
        place: its path below the site's.
    """

    def relink(match: re.Match[str]) -> str:
        path = _path(match[2], source)
        if path is None:
            return match[0]
        return match[1] + posixpath.relpath(_place(path), posixpath.dirname(place) or ".")

    return _outside_fences(text, lambda part: _LINK.sub(relink, part))


def _path(link: str, source: str) -> str | None:
    """Return the path of a linked file below the repository's root; None of an address."""
    if "://" in link or link.startswith("mailto:"):
        return None
    return posixpath.normpath(posixpath.join(posixpath.dirname(source), link))


def _place(path: str) -> str:
    """Return where a file of the repository is on the site."""
    if path.startswith("docs/"):
        return path.removeprefix("docs/")
    return PLACES.get(path) or file_place(path)


def file_place(path: str) -> str:
    """Return where the copy of a file that is no page is on the site."""
    return f"files/{Path(path).name}"


def _outside_fences(text: str, change: Callable[[str], str]) -> str:
    """Return a text with its parts outside of fenced code changed."""
    parts = _FENCE.split(text)
    parts[::2] = map(change, parts[::2])
    return "".join(parts)
