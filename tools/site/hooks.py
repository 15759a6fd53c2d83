"""What MkDocs calls while it builds the site (`hooks` in mkdocs.yml)."""

import sys
from pathlib import Path
from typing import Any

# MkDocs imports this file by its path, and `mkdocs` has not the working directory on its path.
sys.path.insert(0, str(Path(__file__).parents[2]))

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.nav import Navigation
from mkdocs.structure.pages import Page

from tools import ROOT
from tools.site import commands, gallery, links, llms, notebooks, reference
from tools.site.drawings import LIVE_PAGES, put_drawings, put_live_pages

_MARKDOWN = dict[str, str]()
"""The pages as they were given to Markdown, by their paths on the site."""

_NAVIGATION = list[Navigation]()


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages that are made, the repository's pages outside of docs/, and linked files."""
    written = {f"docs/{file.src_uri}": file.content_string for file in files.documentation_pages()}
    others = notebooks.pages() | {
        path: (ROOT / path).read_text("utf-8") for path in links.PLACES if path.endswith(".md")
    }
    made = reference.pages() | commands.pages() | gallery.pages()
    made |= {place: make() for place, make in LIVE_PAGES.items()}
    for path, text in others.items():
        made[links.PLACES[path]] = links.as_on_site(text, path, links.PLACES[path])
    for place, text in made.items():
        files.append(File.generated(config, place, content=text))
    for path in sorted(links.linked_files(written | others)):
        place = links.file_place(path)
        files.append(File.generated(config, place, abs_src_path=str(ROOT / path)))
    return files


def on_nav(nav: Navigation, **_: Any) -> None:
    """Keep the navigation, which llms.txt is made from."""
    _NAVIGATION[:] = [nav]


def on_page_markdown(markdown: str, *, page: Page, **_: Any) -> str:
    """Make links those of the site, and put live pages where the text has pictures of them."""
    place = page.file.src_uri
    if page.file.generated_by is None:
        markdown = links.as_on_site(markdown, f"docs/{place}", place)
    markdown = put_live_pages(markdown, page.url)
    _MARKDOWN[place] = markdown
    return markdown


def on_page_content(html: str, **_: Any) -> str:
    """Put drawings where their marks are."""
    return put_drawings(html)


def on_post_build(*, config: MkDocsConfig) -> None:
    """Write llms.txt, and pages as plain Markdown for what reads it."""
    llms.write(_NAVIGATION[0], _MARKDOWN, Path(config.site_dir))
