"""Attributions as HTML that needs nothing else: a page, or a fragment for a notebook."""

from collections.abc import Iterator, Sequence
from html import escape
from importlib.resources import files

from normxlogit.attribution import Attribution, Failure
from normxlogit.show import view

ROWS = 60
"""How many bars a section has at most; the table of numbers has all."""


def page(attributions: Sequence[Attribution | Failure], *, special: bool = False) -> str:
    """A self-contained page of attributions, in their order.

    Args:
        attributions: of any unit, with any number of targets and layers; each `Failure` is
            told as such.
        special: give special tokens bars too; the tables of numbers always have them, marked.
    """
    several = len(attributions) > 1
    parts = []
    for position, item in enumerate(attributions, 1):
        parts.append('<article class="normxlogit">\n')
        if several:
            parts.append(f'<p class="nx-quiet">{position} of {len(attributions)}</p>\n')
        if isinstance(item, Attribution):
            parts += [_body(item, special), _made_by(item, folded=several)]
        else:
            parts.append(_failure(item))
        parts.append("</article>\n")
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(_title(attributions))}</title>\n"
        f"<style>\n{_css('fragment.css')}{_css('page.css')}</style>\n</head>\n<body>\n"
        f"<main>\n{''.join(parts)}</main>\n<footer>{_caveat()}</footer>\n</body>\n</html>\n"
    )


def fragment(attribution: Attribution, *, special: bool = False) -> str:
    """The same without a page around it; its style concerns nothing outside of it."""
    return (
        f'<style>{_css("fragment.css")}</style>\n<article class="normxlogit">\n'
        f"{_body(attribution, special)}{_made_by(attribution)}{_caveat()}</article>\n"
    )


def _css(name: str) -> str:
    return (files(__package__) / name).read_text("utf-8")


def _title(items: Sequence[Attribution | Failure]) -> str:
    if len(items) != 1 or not isinstance(items[0], Attribution):
        return "normxlogit"
    said = " ".join(" ".join(pair) for pair in view.predicted(items[0]))
    text = " ".join(view.visible(items[0].text).split())
    return f"{said or 'no label'}: {text:.60} - normxlogit"


def _failure(failure: Failure) -> str:
    item = failure.item if isinstance(failure.item, tuple) else (failure.item,)
    text = "\n".join(view.visible(part if isinstance(part, str) else repr(part)) for part in item)
    return (
        "<h2><strong>Not explained</strong></h2>\n"
        f"<p>{escape(view.visible(str(failure.error)))}</p>\n"
        f'<p class="nx-text nx-quiet" dir="auto">{escape(text)}</p>\n'
    )


def _body(attribution: Attribution, special: bool) -> str:
    parts = [_prediction(attribution)]
    for target in attribution.targets:
        part = attribution.select(target=target.id)
        if not view.is_plain(attribution):
            parts.append(f"<h3>Explained: {escape(view.explained(part))}</h3>\n")
        parts += _texts(part.select(layer=part.layers[-1]))
        parts.append(_legend(part))
        if len(part.layers) > 1:
            parts.append(_heat_map(part, special))
        else:
            part = part.only()
            parts += [_bars(part, special), _numbers(part)]
    return "".join(parts)


def _prediction(attribution: Attribution) -> str:
    said = ", ".join(
        f"<strong>{escape(amount)}</strong>"
        if name == "the value"
        else f"<strong>{escape(name)}</strong> {escape(amount)}"
        for name, amount in view.predicted(attribution)
    )
    second = view.runner_up(attribution)
    rest = "" if second is None else f"next {escape(second[0])} {escape(second[1])}"
    return (
        f"<h2>Prediction: {said or '<strong>no label</strong>'} "
        f'<span class="nx-quiet">{rest}</span></h2>\n'
    )


def _texts(attribution: Attribution) -> Iterator[str]:
    largest = view.color_scale(attribution)
    target = view.label(attribution, attribution.target)
    for segment in range(len(attribution.texts)):
        if len(attribution.texts) > 1:
            yield f"<h4>Text {segment + 1}</h4>\n"
        body = ""
        for piece in view.pieces(attribution, segment):
            text = escape(view.visible(piece.text))
            if piece.score is None:
                body += text
            else:
                title = f"{view.number(piece.score, largest)}, {target}"
                look = _look(piece.score / largest)
                body += f'<mark{look} title="{escape(title)}">{text}</mark>'
        yield f'<div class="nx-text" dir="auto">{body}</div>\n'


def _look(share: float, classes: str = "") -> str:
    """Attributes of an element that is coloured by a score, `share` of the largest."""
    names = " ".join(filter(None, (classes, "nx-against" if share < 0 else "")))
    named = f' class="{names}"' if names else ""
    return f'{named} style="--share:{min(1.0, abs(share)):.2f}"'


def _legend(attribution: Attribution) -> str:
    meaning = view.meaning(attribution)
    signs = (("", "+", meaning.positive), (' class="nx-against"', "−", meaning.negative))
    keys = "".join(
        f"<span><mark{look}>{sign}</mark> {escape(says)}</span>"
        for look, sign, says in signs
        if says is not None
    )
    note = f"{meaning.sentence} {view.unit_note(attribution)}"
    return f'<p class="nx-legend">{keys}</p>\n<p class="nx-quiet">{escape(note)}</p>\n'


def _bars(attribution: Attribution, special: bool) -> str:
    rows = view.shown(attribution, special)
    note = ""
    if len(rows) > ROWS:
        note = f" The {ROWS} strongest of {len(rows)}."
        rows = view.strongest(attribution.scores, rows, ROWS)
    scores = attribution.scores[rows]
    low, high = float(-scores.min(initial=0.0)), float(scores.max(initial=0.0))
    span, largest = low + high or 1.0, view.scale(scores)
    body = ""
    for row, score in zip(rows, scores.tolist(), strict=True):
        left, width = (low + min(score, 0.0)) / span, abs(score) / span
        kind = ' class="nx-against"' if score < 0 else ""
        body += (
            f"{_heading(attribution, rows, row, 3)}<tr>{_name(attribution, row)}"
            f'<td class="nx-number">{_number(score, largest)}</td>'
            f'<td aria-hidden="true"><span class="nx-track">'
            f'<i{kind} style="left:{left:.2%};width:{width:.2%}"></i>'
            f'<b style="left:{low / span:.2%}"></b></span></td></tr>\n'
        )
    return (
        f'<table class="nx-bars"><caption>Scores in text order.{note}</caption>\n'
        f"<tbody>\n{body}</tbody></table>\n"
    )


def _numbers(attribution: Attribution) -> str:
    readout = attribution.provenance.readout.capitalize()
    factors = {"Norm": attribution.norms, readout: attribution.logits}
    present = {name: values for name, values in factors.items() if values is not None}
    largest = view.scale(attribution.scores)
    head = "".join(f'<th scope="col" class="nx-number">{name}</th>' for name in ("Score", *present))
    rows = range(len(attribution))
    body = ""
    for row in rows:
        cells = [_number(float(attribution.scores[row]), largest)]
        for name, values in present.items():
            cell = _number(float(values[row]), view.scale(values))
            cells.append(cell.removeprefix("+") if name == "Norm" else cell)
        body += (
            f"{_heading(attribution, rows, row, 1 + len(cells))}<tr>{_name(attribution, row)}"
            + "".join(f'<td class="nx-number">{cell}</td>' for cell in cells)
            + "</tr>\n"
        )
    return (
        f"<details><summary>All numbers, with the special tokens</summary>\n"
        f'<div class="nx-scroll"><table><thead><tr><th scope="col">{attribution.unit.capitalize()}'
        f"</th>{head}</tr></thead>\n<tbody>\n{body}</tbody></table></div></details>\n"
    )


def _heat_map(attribution: Attribution, special: bool) -> str:
    rows = view.shown(attribution, special)
    full = view.color_scale(attribution)
    largest = view.scale(attribution.scores[:, rows])
    head = "".join(f'<th scope="col" class="nx-number">{n}</th>' for n in attribution.layers)
    body = ""
    for row in rows:
        cells = "".join(
            f"<td{_look(score / full, 'nx-number')}>{_number(score, largest)}</td>"
            for score in attribution.scores[:, row].tolist()
        )
        heading = _heading(attribution, rows, row, 1 + len(attribution.layers))
        body += f"{heading}<tr>{_name(attribution, row)}{cells}</tr>\n"
    return (
        f"<h4>Scores by layer, in text order. The text above shows layer "
        f"{attribution.layers[-1]}.</h4>\n"
        '<div class="nx-scroll" tabindex="0" role="region" aria-label="Scores by layer">'
        f'<table class="nx-heat"><thead><tr><th scope="col">Layer</th>{head}</tr></thead>'
        f"\n<tbody>\n{body}</tbody></table></div>\n"
    )


def _heading(attribution: Attribution, rows: Sequence[int], row: int, columns: int) -> str:
    """A row that says which text begins, before the first row of each text of a pair."""
    segment = int(attribution.segments[row])
    own = [i for i in rows if attribution.segments[i] == segment]
    if len(attribution.texts) == 1 or segment < 0 or own[0] != row:
        return ""
    return f'<tr><th scope="colgroup" colspan="{columns}">Text {segment + 1}</th></tr>\n'


def _name(attribution: Attribution, row: int) -> str:
    name = escape(view.one_line(attribution.tokens[row]))
    if attribution.special[row]:
        return f'<th scope="row" class="nx-special">{name} (special)</th>'
    return f'<th scope="row" dir="auto">{name}</th>'


def _number(score: float, largest: float) -> str:
    return view.number(score, largest).replace("-", "−")


def _made_by(attribution: Attribution, *, folded: bool = False) -> str:
    made = attribution.provenance
    contrast = view.foil(attribution)
    targets = ", ".join(view.label(attribution, target) for target in attribution.targets)
    facts = (
        ("Model", made.model),
        ("Revision", made.revision),
        ("Class", f"{made.architecture}, {made.dtype}"),
        ("Method", view.how(attribution)),
        ("Target", targets),
        ("Contrast", contrast and view.label(attribution, contrast)),
        ("Versions", ", ".join(f"{name} {version}" for name, version in made.versions.items())),
    )
    rows = "".join(
        f"<dt>{name}</dt><dd>{escape(view.visible(value))}</dd>\n" for name, value in facts if value
    )
    if folded:
        return f"<details><summary>What made this</summary><dl>{rows}</dl></details>\n"
    return f"<footer><dl>{rows}</dl></footer>\n"


def _caveat() -> str:
    return f'<p class="nx-quiet">{escape(view.CAVEAT)}</p>\n'
