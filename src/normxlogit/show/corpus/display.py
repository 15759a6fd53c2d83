"""How the findings in a corpus show themselves: what `normxlogit.results.display` asks for."""

from normxlogit.corpus.findings import Findings
from normxlogit.show.corpus.page import page
from normxlogit.show.corpus.table import render
from normxlogit.show.terminal import uncoloured

__all__ = ["page", "plain", "render"]


def plain(findings: Findings) -> str:
    """Return text without colours, 88 columns wide."""
    return uncoloured(render(findings))
