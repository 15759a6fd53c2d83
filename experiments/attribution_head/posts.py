"""Posts, on which no head here was fitted, as a CSV file that `evaluate` reads.

    python -m experiments.attribution_head.posts --data FILE --output FILE

FILE is the test set of WNUT-17 (Derczynski et al. 2017, CC BY 4.0): posts on YouTube, Reddit,
Twitter and Stack Exchange. 500 are drawn with seed 0 from those that have four words or more and no
link. They have no labels.
"""

import argparse
import csv
import random
from pathlib import Path

COUNT, LEAST = 500, 4


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    options = parser.parse_args()
    posts = []
    for lines in options.data.read_text("utf-8").split("\n\n"):
        words = [line.split("\t")[0] for line in lines.strip().split("\n")]
        if len(words) >= LEAST and not any("http" in word for word in words):
            posts.append(" ".join(words))
    kept = random.Random(0).sample(posts, COUNT)
    with options.output.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["text"], *([post] for post in kept)])


if __name__ == "__main__":
    main()
