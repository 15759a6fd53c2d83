"""HTML that needs nothing else: a page, or a fragment for a notebook."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from normxlogit.results.base import Provenance, Result
from normxlogit.results.text import Failure
from normxlogit.show import meaning, outputs, phrases
from normxlogit.show.inline import inlined
from normxlogit.show.policy import content_policy
from normxlogit.show.templating import asset, fill


@dataclass(frozen=True)
class Body:
    """A result as HTML for a page or a notebook.

    Attributes:
        html: the HTML, which needs a frame.
        styles, scripts: the names of the style sheets and scripts that it needs.
        has_images: whether it embeds images.
    """

    html: Markup
    styles: tuple[str, ...] = ()
    scripts: tuple[str, ...] = ()
    has_images: bool = False


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
        title: what the page is called if there is nothing else on it.
        body: what is shown of the result; None for a failure.
        facts: names and values of what made the result.
        failure: what there is to say of a failure.
    """

    kind: str
    title: str
    body: Body | None
    facts: list[tuple[str, str]]
    failure: FailureText | None


def result_article(result: Result, body: Body) -> Article:
    """Return the article of a result."""
    return Article(result.kind, _title(result), body, _facts(result), None)


def failure_article(failure: Failure) -> Article:
    """Return the article of what could not be explained."""
    parts = failure.item if isinstance(failure.item, tuple) else (failure.item,)
    texts = [part if isinstance(part, str) else repr(part) for part in parts]
    words = FailureText(str(failure.error), "\n".join(texts))
    return Article("failure", "normxlogit", None, [], words)


def page(articles: Sequence[Article]) -> str:
    """Return a self-contained page of articles, in their order."""
    bodies = [article.body for article in articles if article.body is not None]
    main = fill("articles.html", {"articles": articles})
    title = articles[0].title if len(articles) == 1 else "normxlogit"
    has_images = any(body.has_images for body in bodies)
    return document(title, main, _style(bodies), _script(bodies), has_images=has_images)


def document(
    title: str,
    main: Markup,
    style: Markup,
    script: Markup | None = None,
    *,
    has_images: bool = False,
    figure_styles: Sequence[str] = (),
) -> str:
    """Return a page, whose policy lets nothing run or load but what is named here.

    Args:
        title: its title, as text.
        main: what is in it.
        style: its style sheet, besides that of all pages.
        script: its script.
        has_images: whether `main` embeds images.
        figure_styles: the contents of the style elements in `main`, which figures have.
    """
    # Hashes are of elements' whole contents, so line breaks at their ends are put in here.
    style = Markup("\n") + style + asset("page.css")
    script = None if script is None else Markup("\n") + script
    values = {
        "title": title,
        "main": main,
        "policy": content_policy([style, *figure_styles], script, has_images=has_images),
        "style": style,
        "script": script,
        "caveat": phrases.CAVEAT,
    }
    return str(fill("page.html", values))


def fragment(article: Article) -> str:
    """Return an article without a page, which needs no style sheet and no script."""
    return str(inlined(fill("fragment.html", {"article": article, "caveat": phrases.CAVEAT})))


def _style(bodies: Iterable[Body]) -> Markup:
    names = dict.fromkeys(["fragment.css", *(name for body in bodies for name in body.styles)])
    return Markup("").join(map(asset, names))


def _script(bodies: Iterable[Body]) -> Markup | None:
    names = dict.fromkeys(name for body in bodies for name in body.scripts)
    return Markup("").join(map(asset, names)) if names else None


def _title(result: Result) -> str:
    predicted = outputs.verdict(result).labels
    labels = ", ".join(f"{label.name} {label.amount}" for label in predicted) or "no label"
    text = " ".join(phrases.visible(getattr(result, "text", "")).split())
    return f"{labels:.80}: {text:.60} - normxlogit" if text else f"{labels:.80} - normxlogit"


def _facts(result: Result) -> list[tuple[str, str]]:
    targets = (
        ""
        if result.kind == "generation"
        else ", ".join(outputs.target_name(result, target) for target in result.targets)
    )
    details = {
        "Method": meaning.method_summary(result),
        "Target": targets,
        "Contrast": outputs.foil_name(result),
    }
    return facts(result.provenance, details)


def facts(provenance: Provenance, details: Mapping[str, str | None]) -> list[tuple[str, str]]:
    """Return names and values of what made a result; those without a value are left out.

    Args:
        provenance: how it was made.
        details: what there is to say of this kind of result.
    """
    versions = (f"{name} {version}" for name, version in provenance.versions.items())
    values = {
        "Model": phrases.without_folders(provenance.model),
        "Revision": provenance.revision,
        "Class": f"{provenance.architecture}, {provenance.dtype}",
        **details,
        "Versions": ", ".join(versions),
    }
    return [(name, value) for name, value in values.items() if value]
