"""Results as HTML that needs nothing else: a page, or a fragment for a notebook."""

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from normxlogit.results.base import Result
from normxlogit.results.text import Failure
from normxlogit.show import dispatch, phrases
from normxlogit.show.templating import asset, fill


@dataclass(frozen=True)
class FailureText:
    """Why an item was not explained, and the item as text."""

    error: str
    item: str


@dataclass(frozen=True)
class Article:
    """A result or a failure on a page.

    Attributes:
        kind: of the result; "failure" if it is none.
        body: the HTML of the result; None for a failure.
        facts: names and values of what made the result.
        failure: what there is to say of a failure.
    """

    kind: str
    body: Markup | None
    facts: list[tuple[str, str]]
    failure: FailureText | None


def page(items: Sequence[Result | Failure], *, special: bool = False) -> str:
    """Return a self-contained page of results, in their order.

    Args:
        items: results of any kind and unit, with any number of targets and layers, and failures.
        special: of texts, give special tokens bars too; the tables of numbers always have them,
            marked.
    """
    articles = [_article(item, special) for item in items]
    style, script = _assets([item for item in items if isinstance(item, Result)])
    return document(_title(items), fill("articles.html", {"articles": articles}), style, script)


def document(title: str, main: Markup, style: Markup, script: Markup | None = None) -> str:
    """Return a page.

    Args:
        title: its title, as text.
        main: what is in it.
        style: its style sheet, besides that of all pages.
        script: its script.
    """
    values = {
        "title": title,
        "main": main,
        "style": style + asset("page.css"),
        "script": script,
        "caveat": phrases.CAVEAT,
    }
    return str(fill("page.html", values))


def fragment(result: Result, *, special: bool = False) -> str:
    """Return the result without a page; its style and script concern nothing outside of it."""
    style, script = _assets([result])
    values = {
        "article": _article(result, special),
        "style": style,
        "script": script,
        "caveat": phrases.CAVEAT,
    }
    return str(fill("fragment.html", values))


def _article(item: Result | Failure, special: bool) -> Article:
    if isinstance(item, Failure):
        return Article("failure", None, [], _failure(item))
    return Article(item.kind, dispatch.body(item, special), _facts(item), None)


def _assets(results: Sequence[Result]) -> tuple[Markup, Markup | None]:
    """Return the style sheet, and the script, of these kinds of results."""
    names = dispatch.assets(results)
    styles = [asset(name) for name in ("fragment.css", *names) if name.endswith(".css")]
    scripts = [asset(name) for name in names if name.endswith(".js")]
    return Markup("").join(styles), Markup("").join(scripts) if scripts else None


def _title(items: Sequence[Result | Failure]) -> str:
    if len(items) != 1 or isinstance(items[0], Failure):
        return "normxlogit"
    predicted = phrases.verdict(items[0]).labels
    labels = ", ".join(f"{label.name} {label.amount}" for label in predicted) or "no label"
    text = " ".join(phrases.visible(getattr(items[0], "text", "")).split())
    return f"{labels:.80}: {text:.60} - normxlogit" if text else f"{labels:.80} - normxlogit"


def _failure(failure: Failure) -> FailureText:
    parts = failure.item if isinstance(failure.item, tuple) else (failure.item,)
    texts = [part if isinstance(part, str) else repr(part) for part in parts]
    return FailureText(str(failure.error), "\n".join(texts))


def _facts(result: Result) -> list[tuple[str, str]]:
    provenance = result.provenance
    targets = (
        ""
        if result.kind == "generation"
        else ", ".join(phrases.named(result, target) for target in result.targets)
    )
    versions = (f"{name} {version}" for name, version in provenance.versions.items())
    facts = {
        "Model": provenance.model,
        "Revision": provenance.revision,
        "Class": f"{provenance.architecture}, {provenance.dtype}",
        "Method": phrases.how(result),
        "Target": targets,
        "Contrast": phrases.foil_name(result),
        "Versions": ", ".join(versions),
    }
    return [(name, value) for name, value in facts.items() if value]
