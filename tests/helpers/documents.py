"""Code in the repository's own documents."""

import re

from tests.helpers.paths import ROOT


def code_blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of a language on a page, a path below the repository's root."""
    text = (ROOT / page).read_text("utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
