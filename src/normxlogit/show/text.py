"""Attributions of texts: words in their colours, bars, and all numbers."""

from collections.abc import Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING

from normxlogit.results.text import Attribution
from normxlogit.show import phrases
from normxlogit.show.markup import legend, look, prediction, signed, track

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from normxlogit.show.terminal import Report

ROWS = 60
"""How many bars a section has at most; the table of numbers has all."""


def body(attribution: Attribution, *, special: bool = False) -> str:
    """HTML of an attribution of any unit, with any number of targets and layers."""
    parts = [prediction(attribution)]
    for number in range(len(attribution.targets)):
        part = attribution.at(number)
        if not phrases.is_plain(attribution):
            parts.append(f"<h3>Explained: {escape(phrases.explained(part))}</h3>\n")
        parts += _texts(part.select(layer=part.layers[-1]))
        meaning = phrases.meaning(part)
        parts.append(legend(meaning, f"{meaning.sentence} {phrases.unit_note(part)}"))
        if len(part.layers) > 1:
            parts.append(_heat_map(part, special))
        else:
            part = part.only()
            parts += [_bars(part, special), _numbers(part)]
    return "".join(parts)


def render(attribution: Attribution, *, special: bool = False) -> "Report":
    """What rich prints of it."""
    from normxlogit.show.terminal import Report

    return Report(attribution, special)


def figure(attribution: Attribution, *, special: bool = False) -> "Figure":
    """It as a matplotlib figure."""
    from normxlogit.show.plot import bars

    return bars(attribution, special=special)


def _texts(attribution: Attribution) -> Iterator[str]:
    largest = phrases.color_scale(attribution)
    target = phrases.label(attribution, attribution.target)
    for segment in range(len(attribution.texts)):
        if len(attribution.texts) > 1:
            yield f"<h4>Text {segment + 1}</h4>\n"
        body = ""
        for piece in phrases.pieces(attribution, segment):
            text = escape(phrases.visible(piece.text))
            if piece.score is None:
                body += text
            else:
                title = f"{phrases.number(piece.score, largest)}, {target}"
                looks = look(piece.score / largest)
                if piece.special:
                    looks, title = ' class="nx-special"', f"{title}, not coloured: a sink"
                body += f'<mark{looks} title="{escape(title)}">{text}</mark>'
        yield f'<div class="nx-text" dir="auto">{body}</div>\n'


def _bars(attribution: Attribution, special: bool) -> str:
    rows = phrases.shown(attribution, special)
    note = ""
    if len(rows) > ROWS:
        note = f" The {ROWS} strongest of {len(rows)}."
        rows = phrases.strongest(attribution.scores, rows, ROWS)
    scores = attribution.scores[rows]
    low, high = float(-scores.min(initial=0.0)), float(scores.max(initial=0.0))
    largest, body = phrases.scale(scores), ""
    for row, score in zip(rows, scores.tolist(), strict=True):
        body += (
            f"{_heading(attribution, rows, row, 3)}<tr>{_name(attribution, row)}"
            f'<td class="nx-number">{signed(score, largest)}</td>{track(score, low, high)}</tr>\n'
        )
    return (
        f'<table class="nx-bars"><caption>Scores in text order.{note}</caption>\n'
        f"<tbody>\n{body}</tbody></table>\n"
    )


def _numbers(attribution: Attribution) -> str:
    readout = (attribution.provenance.readout or "readout").capitalize()
    factors = {"Norm": attribution.norms, readout: attribution.logits}
    present = {name: values for name, values in factors.items() if values is not None}
    largest = phrases.scale(attribution.scores)
    head = "".join(f'<th scope="col" class="nx-number">{name}</th>' for name in ("Score", *present))
    rows = range(len(attribution))
    body = ""
    for row in rows:
        cells = [signed(float(attribution.scores[row]), largest)]
        for name, values in present.items():
            cell = signed(float(values[row]), phrases.scale(values))
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
    rows = phrases.shown(attribution, special)
    full = phrases.color_scale(attribution)
    largest = phrases.scale(attribution.scores[:, rows])
    head = "".join(f'<th scope="col" class="nx-number">{n}</th>' for n in attribution.layers)
    body = ""
    for row in rows:
        cells = "".join(
            f"<td{look(score / full, 'nx-number')}>{signed(score, largest)}</td>"
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
    name = escape(phrases.one_line(attribution.tokens[row]))
    if attribution.special[row]:
        return f'<th scope="row" class="nx-special">{name} (special)</th>'
    return f'<th scope="row" dir="auto">{name}</th>'
