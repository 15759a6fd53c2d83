"""Results as HTML that needs nothing else: a page, or a fragment for a notebook."""

from collections.abc import Sequence
from html import escape
from importlib.resources import files

from normxlogit.results.base import Result
from normxlogit.results.text import Failure
from normxlogit.show import dispatch, phrases


def page(items: Sequence[Result | Failure], *, special: bool = False) -> str:
    """A self-contained page of results, in their order.

    Args:
        items: of any kind and unit, with any number of targets and layers; each `Failure` is told
            as such.
        special: of texts, give special tokens bars too; the tables of numbers always have them,
            marked.
    """
    several = len(items) > 1
    parts = []
    for position, item in enumerate(items, 1):
        parts.append(_opening(item))
        if several:
            parts.append(f'<p class="nx-quiet">{position} of {len(items)}</p>\n')
        if isinstance(item, Failure):
            parts.append(_failure(item))
        else:
            parts += [dispatch.body(item, special), _made_by(item, folded=several)]
        parts.append("</article>\n")
    style, script = _assets([item for item in items if isinstance(item, Result)])
    return document(_title(items), "".join(parts), style, script)


def document(title: str, main: str, style: str, script: str = "") -> str:
    """A page: its title as text, what is in it, its style sheet, and its script's element."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n"
        f"<style>\n{style}{asset('page.css')}</style>\n</head>\n<body>\n"
        f"<main>\n{main}</main>\n<footer>{_caveat()}</footer>\n{script}"
        "</body>\n</html>\n"
    )


def fragment(result: Result, *, special: bool = False) -> str:
    """The same without a page around it; its style and script concern nothing outside of it."""
    style, script = _assets([result])
    return (
        f"<style>{style}</style>\n{_opening(result)}"
        f"{dispatch.body(result, special)}{_made_by(result)}{_caveat()}</article>\n{script}"
    )


def _opening(item: Result | Failure) -> str:
    kind = "failure" if isinstance(item, Failure) else item.kind
    return f'<article class="normxlogit nx-{kind}">\n'


def _assets(results: Sequence[Result]) -> tuple[str, str]:
    """The style, and the script in its element, of these kinds of results."""
    names = dispatch.assets(results)
    style = "".join(asset(name) for name in ("fragment.css", *names) if name.endswith(".css"))
    code = "".join(asset(name) for name in names if name.endswith(".js"))
    return style, f"<script>\n{code}</script>\n" if code else ""


def asset(name: str) -> str:
    """The text of a style sheet or script of this package."""
    return (files(__package__) / name).read_text("utf-8")


def _title(items: Sequence[Result | Failure]) -> str:
    if len(items) != 1 or isinstance(items[0], Failure):
        return "normxlogit"
    said, _ = phrases.said(items[0])
    labels = ", ".join(" ".join(pair) for pair in said) or "no label"
    text = " ".join(phrases.visible(getattr(items[0], "text", "")).split())
    return f"{labels:.80}: {text:.60} - normxlogit" if text else f"{labels:.80} - normxlogit"


def _failure(failure: Failure) -> str:
    item = failure.item if isinstance(failure.item, tuple) else (failure.item,)
    text = "\n".join(
        phrases.visible(part if isinstance(part, str) else repr(part)) for part in item
    )
    return (
        "<h2><strong>Not explained</strong></h2>\n"
        f"<p>{escape(phrases.visible(str(failure.error)))}</p>\n"
        f'<p class="nx-text nx-quiet" dir="auto">{escape(text)}</p>\n'
    )


def _made_by(result: Result, *, folded: bool = False) -> str:
    made = result.provenance
    targets = (
        ""
        if result.kind == "generation"
        else ", ".join(phrases.named(result, target) for target in result.targets)
    )
    facts = (
        ("Model", made.model),
        ("Revision", made.revision),
        ("Class", f"{made.architecture}, {made.dtype}"),
        ("Method", phrases.how(result)),
        ("Target", targets),
        ("Contrast", phrases.foil_name(result)),
        ("Versions", ", ".join(f"{name} {version}" for name, version in made.versions.items())),
    )
    rows = "".join(
        f"<dt>{name}</dt><dd>{escape(phrases.visible(value))}</dd>\n"
        for name, value in facts
        if value
    )
    if folded:
        return f"<details><summary>What made this</summary><dl>{rows}</dl></details>\n"
    return f"<footer><dl>{rows}</dl></footer>\n"


def _caveat() -> str:
    return f'<p class="nx-quiet">{escape(phrases.CAVEAT)}</p>\n'
