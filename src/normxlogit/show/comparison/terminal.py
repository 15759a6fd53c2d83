"""Comparisons of methods in a terminal: words by methods, and how their ranks correlate."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.style import Style
from rich.text import Text

from normxlogit.results.comparison import Comparison
from normxlogit.show import phrases
from normxlogit.show.colors import TERMINAL_AGAINST, TERMINAL_FOR
from normxlogit.show.comparison import table
from normxlogit.show.comparison.message import message
from normxlogit.show.terminal import (
    DIM,
    LABEL,
    beside,
    column_blocks,
    fitted,
    legend,
    prediction,
    sentence,
)

ROWS = 30
"""How many words the table has at most."""

_GAP = 2
"""How many columns of a terminal stand before each of the table."""


def render(comparison: Comparison) -> RenderableType:
    """Return what rich prints of a comparison."""
    return ComparisonReport(comparison)


@dataclass(frozen=True)
class ComparisonReport:
    """A comparison as rich prints it."""

    comparison: Comparison

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> RenderResult:
        comparison, width = self.comparison, options.max_width
        several = len(comparison.targets) > 1
        if several:
            yield prediction(comparison.first)
        for number in range(len(comparison.targets)):
            part = comparison.at(number)
            if several:
                yield Text()
            yield sentence(message(part))
            if not several:
                yield from beside(comparison.first)
            yield Text()
            yield from _words(part, width)
            yield from legend(table.meaning(part), table.note(part, ROWS))
            yield Text()
            if len(part.methods) > 1:
                yield Text(table.CORRELATIONS, LABEL)
                yield from _correlations(part, width)
        for name, why in comparison.not_served.items():
            yield Text.assemble(
                (f"{phrases.visible(name)} not shown: ", LABEL), phrases.visible(why)
            )
        if comparison.not_served:
            yield Text()
        for summary in table.methods(comparison.at(0)):
            yield Text(phrases.visible(summary), DIM)
        model = phrases.without_folders(comparison.first.provenance.model)
        yield Text(phrases.visible(f"model {model}"), DIM)


def _words(part: Comparison, width: int) -> Iterator[Text]:
    rows = table.table(part, ROWS)
    names = [phrases.one_line(row.name) for row in rows]
    cells = [[Text(cell.number, _style(cell)) for cell in row.cells] for row in rows]
    headings = [None if row.segment is None else f"Text {row.segment}" for row in rows]
    kinds = [kind.value for kind in table.kinds(part)]
    yield from _blocks(names, part.methods, cells, headings, width, kinds if any(kinds) else None)


def _correlations(part: Comparison, width: int) -> Iterator[Text]:
    cells = [list(map(Text, row)) for row in table.correlations(part)]
    names = list(map(phrases.one_line, part.methods))
    yield from _blocks(names, part.methods, cells, [None] * len(names), width)


def _blocks(
    names: Sequence[str],
    columns: Sequence[str],
    cells: Sequence[Sequence[Text]],
    headings: Sequence[str | None],
    width: int,
    kinds: Sequence[str] | None = None,
) -> Iterator[Text]:
    """Yield a table, in as many blocks of columns as the width asks for.

    Args:
        names: of the rows.
        columns: the names of the columns.
        cells: of each row.
        headings: what stands above each row; None for nothing.
        width: how many columns the terminal has.
        kinds: what stands below the names of the columns.
    """
    name_width = min(max(map(cell_len, names), default=0), max(8, width // 3))
    room = max(8, width - name_width - 4)
    columns = [fitted(c, room) if cell_len(c) > room else c for c in map(phrases.one_line, columns)]
    heads = [columns] if kinds is None else [columns, kinds]
    sizes = [max(6, *map(cell_len, column)) for column in zip(*heads, strict=True)]
    for block in column_blocks(sizes, room, _GAP):
        for head in heads:
            if not any(head[n] for n in block):
                continue
            line = "".join(" " * (_GAP + sizes[n] - cell_len(head[n])) + head[n] for n in block)
            yield Text(f"  {'':{name_width}}{line}", DIM, no_wrap=True, overflow="crop")
        for name, row, heading in zip(names, cells, headings, strict=True):
            if heading is not None:
                yield Text(f"  {heading}", DIM)
            of_row = Text(f"  {fitted(name, name_width)}", no_wrap=True, overflow="crop")
            for n in block:
                of_row.append(" " * (_GAP + sizes[n] - row[n].cell_len))
                of_row.append_text(row[n])
            yield of_row
        yield Text()


def _style(cell: table.Cell) -> Style:
    """Return the look of a cell: the stronger its tint, the more of colour, bold and ground."""
    size = abs(cell.tint or 0.0)
    if size < 0.05:
        return DIM
    if not cell.has_sides:
        return Style(bold=size >= 0.35, reverse=size >= 0.7)
    color = TERMINAL_FOR if (cell.tint or 0.0) > 0 else TERMINAL_AGAINST
    if size < 0.7:
        return Style(color=color, bold=size >= 0.35)
    return Style(color="#ffffff", bgcolor=color, bold=True)
