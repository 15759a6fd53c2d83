"""The comparison as a page of Markdown."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version

from tools.coverage.compare import MEANINGS, TOLERANCE, Result, Row

Tables = Mapping[str, Sequence[Row]]
"""Title of an auto mapping to its rows."""


def page(tables: Tables, command: str) -> str:
    """What was compared and how, a summary of all, then a table for every mapping."""
    all_rows = [row for rows in tables.values() for row in rows]
    results = sorted({row.result for row in all_rows})
    return "\n".join(
        [
            "# Which models can be explained",
            "",
            summary(all_rows),
            "",
            *_table(
                ["auto mapping", "model types", *(result.label for result in results)],
                [
                    [title, str(len(rows)), *(str(_counts(rows)[result]) for result in results)]
                    for title, rows in tables.items()
                ],
            ),
            "",
            *(f"- **{result.label}**: {MEANINGS[result]}" for result in results),
            "",
            f"Written by `{command}` with transformers {version('transformers')}, "
            f"torch {version('torch')} and Python {platform.python_version()}.",
            "",
            "Every model type of transformers' auto mappings, built from a tiny random config, is "
            "explained by `normxlogit.attribute` and by an oracle that shares no code with it.",
            "",
            "- Of a head that gives one output for a sequence, the oracle overwrites the final "
            "hidden states inside the model's own forward pass, with those of each token in turn.",
            "- Of a head that gives one for every token, it takes the model's own logits, having "
            "seen that they move along when the final hidden states are moved, and with nothing "
            "else. For the source of an encoder-decoder the decoder's final states are overwritten "
            "with the encoder's.",
            "- The norms are those of transformers' own `hidden_states[0]`, or where this is "
            "something else, of what the first block reads.",
            "",
            "Compared are the scores, both their factors, all logits where there are few, the "
            "prediction, the position that is read, and which positions have no score; of texts "
            "without padding, with padding on the right, and on the left; of heads for every token "
            "for two targets at two positions. The difference is the largest of these, relative to "
            f"the largest value expected; up to {TOLERANCE:.0e} is equal. *Norm undefined, logat* "
            "says that the first block reads other positions than the head, or several vectors for "
            'each, so that `method="normxlogit"` is refused, and `method="logat"`, which needs '
            "no norm, was compared.",
            "",
            "The texts are short. BigBird attends to blocks in those of more than "
            "`(5 + 2 * num_random_blocks) * block_size` tokens (704 in its published models), and "
            "pads them to whole blocks: if the length is a multiple of `block_size` they are "
            'explained like short ones, else by `method="logat"` only '
            "(`pytest tests/model/test_block_sparse.py`).",
            *(line for title, rows in tables.items() for line in _section(title, rows)),
            "",
        ]
    )


def summary(rows: Iterable[Row]) -> str:
    """How many there are of each result, in one sentence."""
    counts = _counts(rows)
    parts = ", ".join(f"{counts[result]} {result.label}" for result in Result if counts[result])
    return f"{counts.total()} pairs of head and model type: {parts}."


def _counts(rows: Iterable[Row]) -> Counter[Result]:
    return Counter(row.result for row in rows)


def _section(title: str, rows: Sequence[Row]) -> list[str]:
    return [
        "",
        f"## {title}",
        "",
        summary(rows),
        "",
        *_table(
            ["model type", "class", "result", "difference, or why"],
            [[row.model_type, row.class_name, row.result.label, row.detail] for row in rows],
        ),
    ]


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [_line(head), _line(["---"] * len(head)), *(_line(row) for row in rows)]


def _line(cells: Sequence[str]) -> str:
    escaped = (cell.replace("|", r"\|").replace("<", "&lt;") for cell in cells)
    return f"| {' | '.join(escaped)} |"
