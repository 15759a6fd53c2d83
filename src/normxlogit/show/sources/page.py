"""Answers and their sources on a page."""

from markupsafe import Markup

from normxlogit.results.sources import SourceAttribution
from normxlogit.show import html, phrases
from normxlogit.show.sources import terminal
from normxlogit.show.sources.message import message
from normxlogit.show.terminal import plain


def article(result: SourceAttribution) -> html.Article:
    """Return the article of an answer and its sources."""
    body = html.Body(Markup("<pre>{}</pre>").format(plain(terminal.render(result))))
    provenance = result.provenance
    facts = {
        "Model": phrases.without_folders(provenance.model),
        "Revision": provenance.revision,
        "Class": f"{provenance.architecture}, {provenance.dtype}",
        "Versions": ", ".join(f"{name} {version}" for name, version in provenance.versions.items()),
    }
    shown = [(name, value) for name, value in facts.items() if value]
    return html.Article("sources", f"{message(result):.80} - normxlogit", body, shown, None)
