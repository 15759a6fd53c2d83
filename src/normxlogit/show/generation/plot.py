"""Generations as matplotlib figures."""

from typing import TYPE_CHECKING

import numpy as np

from normxlogit.results.generation import GenerationAttribution
from normxlogit.show import phrases
from normxlogit.show.generation.layout import GenerationLayout
from normxlogit.show.meaning import score_meaning
from normxlogit.show.plot import draw_heat, new_figure, signs
from normxlogit.show.scales import scale, strongest

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_TOKENS, MOST_WORDS = 60, 80
"""How many tokens of the answer and words of the prompt a figure has at most."""


def figure(result: GenerationAttribution, top: int | None = None) -> "Figure":
    """Draw a heat map of the answer's tokens by the prompt's words, the strongest if many.

    With `top` that many words are drawn at most.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    layout = GenerationLayout(result)
    cells = [cell for cell in layout.cells if not cell.special] or layout.cells
    columns = [int(i) for i in np.flatnonzero(layout.ranked)]
    scores = np.stack([layout.summed(cell.targets) for cell in cells])  # [cells, columns]
    notes = []
    rows = list(range(len(cells)))
    if len(rows) > MOST_TOKENS:
        notes.append(f"the {MOST_TOKENS} strongest of the answer's {len(rows)} tokens")
        rows = strongest(np.nan_to_num(scores[:, columns]).T, rows, MOST_TOKENS)
    most = MOST_WORDS if top is None else top
    if len(columns) > most:
        notes.append(f"the {most} strongest of the prompt's {len(columns)} words")
        columns = strongest(np.nan_to_num(scores[rows]), columns, most)
    part = scores[np.ix_(rows, columns)]
    drawing = new_figure(3.0 + 0.19 * max(len(columns), 10), 2.2 + 0.19 * max(len(rows), 4))
    axes = drawing.subplots()
    draw_heat(axes, part, scale(np.nan_to_num(part)))
    names = [phrases.shortened(phrases.one_line(layout.words.tokens[i]), 24) for i in columns]
    axes.set_xticks(range(len(columns)), names, rotation=90, fontsize=8, parse_math=False)
    labels = [phrases.shortened(cells[i].text.replace("\n", "↵"), 24) for i in rows]
    axes.set_yticks(range(len(rows)), labels, fontsize=8, parse_math=False)
    axes.set_ylabel("token of the answer")
    meaning = score_meaning(layout.words, "the token").shown(part)
    lines = ["word of the prompt", signs(meaning), *notes]
    axes.set_xlabel("\n".join(lines), parse_math=False)
    return drawing
