"""The display of a corpus' summary, as `normxlogit.data.display` defines one."""

from normxlogit.corpus.summaries.findings import Findings
from normxlogit.show import terminal
from normxlogit.show.corpus.page import fragment
from normxlogit.show.corpus.page import page as to_html
from normxlogit.show.corpus.terminal import render

__all__ = ["fragment", "plain", "render", "to_html"]


def plain(findings: Findings) -> str:
    """Return text without colours, 88 columns wide."""
    return terminal.plain(render(findings))
