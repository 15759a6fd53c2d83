"""What the HTML of every kind of result is made of."""

from html import escape

from normxlogit.results.base import Result
from normxlogit.show import phrases


def prediction(result: Result) -> str:
    """The heading: what the model said, and what it would have said next."""
    said, more = phrases.said(result)
    shown = ", ".join(
        f"<strong>{escape(amount)}</strong>"
        if name == "the value"
        else f"<strong>{escape(name)}</strong> {escape(amount)}"
        for name, amount in said
    )
    shown += f" and {more} more" if more else ""
    rest = ", ".join(f"{name} {amount}" for name, amount in phrases.runners_up(result))
    return (
        f"<h2>Prediction: {shown or '<strong>no label</strong>'} "
        f'<span class="nx-quiet">{escape(f"next {rest}" if rest else "")}</span></h2>\n'
    )


def legend(meaning: phrases.Meaning, note: str) -> str:
    """What the colours say, and what the scores are."""
    signs = (("", "+", meaning.positive), (' class="nx-against"', "−", meaning.negative))
    keys = "".join(
        f"<span><mark{names}>{sign}</mark> {escape(says)}</span>"
        for names, sign, says in signs
        if says is not None
    )
    return f'<p class="nx-legend">{keys}</p>\n<p class="nx-quiet">{escape(note)}</p>\n'


def look(share: float, classes: str = "") -> str:
    """Attributes of an element that is coloured by a score, `share` of the largest."""
    names = " ".join(filter(None, (classes, "nx-against" if share < 0 else "")))
    named = f' class="{names}"' if names else ""
    return f'{named} style="--share:{min(1.0, abs(share)):.2f}"'


def track(score: float, low: float, high: float) -> str:
    """A table's cell with the bar of a score, among scores from -`low` to `high`."""
    span = low + high or 1.0
    left, width = (low + min(score, 0.0)) / span, abs(score) / span
    kind = ' class="nx-against"' if score < 0 else ""
    return (
        f'<td aria-hidden="true"><span class="nx-track">'
        f'<i{kind} style="left:{left:.2%};width:{width:.2%}"></i>'
        f'<b style="left:{low / span:.2%}"></b></span></td>'
    )


def signed(score: float, largest: float) -> str:
    """A score with its sign, with three figures for the largest."""
    return phrases.number(score, largest).replace("-", "−")
