"""Whether the sentence that a picture leads with names a word that a reader would name.

The sentences of `message_sentences.tsv` were written, with these words, before any model was run on
them: ten for the demo, ten for a model fine-tuned on SST-2.

    python -m tools.check_messages demo --model demo --head demo
    python -m tools.check_messages minilm-sst2 --model MODEL --head reviews.head
"""

import argparse
import csv
from pathlib import Path

from normxlogit import Attribution, Explainer
from normxlogit.show.sentence import Role, as_text
from normxlogit.show.text.message import message

TABLE = Path(__file__).with_name("message_sentences.tsv")


def read(model: str) -> list[dict[str, str]]:
    """Return the rows of the table for a model: text, label, and words apart by spaces."""
    with TABLE.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    return [row for row in rows if row["model"] == model]


def check(explainer: Explainer, rows: list[dict[str, str]]) -> list[tuple[str, bool]]:
    """Return the sentence about each text, and whether it gives a reader's word as a reason."""
    checked = list[tuple[str, bool]]()
    for row in rows:
        attribution = explainer.explain(row["text"])
        assert isinstance(attribution, Attribution)
        parts = message(attribution.words())
        reasons = {part.text.casefold() for part in parts if part.role is Role.FOR}
        is_named = attribution.target.label == row["label"] and bool(
            reasons & set(row["words"].casefold().split())
        )
        checked.append((as_text(parts), is_named))
    return checked


def main() -> None:
    """Print each sentence, and how many name a word of the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("rows", help="which rows of the table: the name in its column model")
    parser.add_argument("--model", required=True)
    parser.add_argument("--head", required=True)
    arguments = parser.parse_args()
    explainer = Explainer.from_pretrained(arguments.model, head=arguments.head)
    checked = check(explainer, read(arguments.rows))
    for sentence, is_named in checked:
        print("named " if is_named else "MISSED", sentence)
    print(sum(is_named for _, is_named in checked), "of", len(checked))


if __name__ == "__main__":
    main()
