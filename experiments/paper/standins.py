"""The data of the stand-ins for the paper's experiment 1, as CSV files that `evaluate` reads.

    python -m experiments.paper.standins --data DATA --output FOLDER [--split dev | train]

DATA holds sst2/, stsb/ and sick/ as they are published (see docs/results.md). Each file has the
first 500 rows of a test set, or of a dev set, which in SICK is called the trial set; of SICK and
STS-B, whose rows stand by source, 500 are drawn with seed 0; SICK's trial set has 495. Training
sets, on which heads are fitted, are whole.
"""

import argparse
import csv
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

ROWS = 500

Row = Sequence[str]


def sst2(folder: Path, split: str) -> Iterator[Row]:
    """Texts and labels, 0 or 1."""
    for line in (folder / "sst2" / f"{split}.tsv").read_text("utf-8").splitlines():
        yield line.split("\t")


def stsb(folder: Path, split: str) -> Iterator[Row]:
    """Pairs and scores from 0 to 5."""
    for line in (folder / "stsb" / f"sts-{split}.csv").read_text("utf-8").splitlines():
        fields = line.split("\t")
        yield fields[5], fields[6], fields[4]


def sick(folder: Path, split: str) -> Iterator[Row]:
    """Pairs and labels: entailment, neutral, contradiction."""
    with (folder / "sick" / "SICK.txt").open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
            if row["SemEval_set"] == {"test": "TEST", "dev": "TRIAL", "train": "TRAIN"}[split]:
                yield row["sentence_A"], row["sentence_B"], row["entailment_label"].lower()


def main() -> None:
    """Write the files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--split", choices=("test", "dev", "train"), default="test")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    for read in (sst2, stsb, sick):
        rows = list(read(options.data, options.split))
        if options.split == "train":
            kept = rows
        else:
            count = min(ROWS, len(rows))
            kept = rows[:count] if read is sst2 else random.Random(0).sample(rows, count)
        names = ["text", "label"] if len(rows[0]) == 2 else ["text", "pair", "label"]
        with (options.output / f"{read.__name__}.csv").open("w", encoding="utf-8", newline="") as f:
            csv.writer(f).writerows([names, *kept])


if __name__ == "__main__":
    main()
