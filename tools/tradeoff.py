"""The figure of docs/choose.md: faithfulness against cost, from the tables of other pages.

python -m tools.tradeoff
"""

import argparse
import re
from dataclasses import dataclass
from pathlib import Path

from matplotlib import rc_context

from normxlogit.data.files import write_whole
from normxlogit.evaluation.report.plots.style import SETTINGS, saved
from normxlogit.show.plot import new_figure
from tools import ROOT

FIGURE = ROOT / "docs/figures/tradeoff.svg"
BASELINES = ("random", "position", "frequency", "norm")


@dataclass(frozen=True)
class Point:
    """A method, its time in forward passes, and its comprehensiveness."""

    method: str
    passes: float
    comprehensiveness: float


def table(page: str, section: str) -> dict[str, dict[str, str]]:
    """Return the first table below a headline: its cells by method and by column.

    Raises:
        LookupError: there is no such headline.
    """
    text = (ROOT / "docs" / page).read_text("utf-8")
    _, headline, rest = text.partition(f"\n{section}\n")
    if not headline:
        raise LookupError(f"docs/{page} has no section {section!r}.")
    lines = [line for line in re.split(r"\n#|\n\*\*", rest)[0].splitlines() if line[:1] == "|"]
    header, _, *rows = ([cell.strip() for cell in line.strip("|").split("|")] for line in lines)
    return {row[0].strip("`"): dict(zip(header, row, strict=True)) for row in rows}


def points() -> list[Point]:
    """Return a point for each method that has both figures."""
    times = table("cost-methods.md", "## MiniLM, 6 layers of 384")
    figures = {
        **table("results.md", "### Sentiment: SST-2, preset `corrected`"),
        **table("results.md", "### Sentiment: SST-2, a later method, preset `corrected`"),
    }
    head = table("results.md", "**SST-2**")["attribution_head"]
    found = [Point("attribution_head", float(head["forwards"]), _figure(head))]
    for name, row in figures.items():
        method = name.partition(",")[0]
        if method in times:
            found.append(Point(name, float(times[method]["time at 40"]), _figure(row)))
    return found


def _figure(row: dict[str, str]) -> float:
    """Return the comprehensiveness of a row, without marks and interval."""
    return float(row["comprehensiveness ↑"].replace("*", "").split()[0])


def drawing() -> str:
    """Return the points as an SVG file."""
    with rc_context(SETTINGS):
        figure = new_figure(7.2, 4.8)
        axes = figure.add_subplot()
        axes.set_xscale("log")
        axes.set_xlim(0.3, 200)  # with room for names on both sides
        axes.xaxis.set_major_formatter("{x:g}")
        axes.set_xlabel("time, in forward passes of the model")
        axes.set_ylabel("comprehensiveness")
        for group in neighbours(points()):
            for point in group:
                axes.plot(point.passes, point.comprehensiveness, "o", color=_color(point.method))
            is_left = any(_is_in_the_way(point, group[-1]) for point in points())
            at = group[0] if is_left else group[-1]
            axes.annotate(
                " · ".join(point.method for point in group),
                (at.passes, at.comprehensiveness),
                xytext=(-7 if is_left else 7, 0),
                textcoords="offset points",
                ha="right" if is_left else "left",
                va="center",
                color=_color(at.method),
            )
        return saved(figure, "tradeoff", "").svg


def neighbours(points: list[Point]) -> list[list[Point]]:
    """Return points in groups of those whose names would lie on each other, each left to right."""
    groups = list[list[Point]]()
    for point in sorted(points, key=lambda point: point.passes):
        for group in groups:
            if point.passes / group[0].passes < 1.5 and _are_level(point, group[-1]):
                group.append(point)
                break
        else:
            groups.append([point])
    return groups


def _is_in_the_way(point: Point, other: Point) -> bool:
    """Say whether a point stands where the name of another, on its right, would."""
    return 1.5 < point.passes / other.passes < 4 and _are_level(point, other)


def _are_level(point: Point, other: Point) -> bool:
    return abs(point.comprehensiveness - other.comprehensiveness) < 0.012


def _color(method: str) -> str:
    if method in ("normxlogit", "attribution_head", "late_lrp"):
        return "#d55e00"
    return "#6e757d" if method in BASELINES else "#2a78d6"


def main() -> None:
    """Draw it where the page looks for it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, default=FIGURE)
    write_whole(parser.parse_args().output, drawing())


if __name__ == "__main__":
    main()
