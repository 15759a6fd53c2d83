"""Show cues that the rules find, to be checked by eye: 50 of each paradigm, drawn by a seed.

    python -m experiments.paper.cues --data ../shared/data/blimp

Each line is a sentence with the cue in angle brackets and the target in square ones, beside it the
word of the other sentence of the pair. docs/blimp.md tells how many were right.
"""

import argparse
import random

from normxlogit.evaluation.benchmark.cases import RULES, Case, read_cases

SHOWN = 50


def drawn(paradigm: str) -> list[int]:
    """The numbers of the cases that are shown, of a thousand."""
    return sorted(random.Random(f"{SHOWN} {paradigm}").sample(range(1000), SHOWN))


def marked(case: Case) -> str:
    """The sentence with its cue and target."""
    text = case.text
    marks = [(case.target, "[", f"|{case.bad}]"), *((cue, "<", ">") for cue in case.cues)]
    for (start, end), before, after in sorted(marks, reverse=True):
        text = text[:start] + before + text[start:end] + after + text[end:]
    return text


def main() -> None:
    """Print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True, help="BLiMP's folder, or nyu-mll/blimp")
    options = parser.parse_args()
    for paradigm in RULES:
        cases, _ = read_cases(options.data, paradigm)
        print(f"\n{paradigm}")
        for number in drawn(paradigm):
            print(f"{number:3} {marked(cases[number])}")


if __name__ == "__main__":
    main()
