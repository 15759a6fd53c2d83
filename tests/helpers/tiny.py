"""A small random classifier in a folder, as users have it on disk."""

from collections.abc import Sequence
from pathlib import Path

from tests.helpers.builders import classifier, tokenizer


def tiny_classifier(
    folder: Path,
    *,
    labels: Sequence[str] = ("NEGATIVE", "POSITIVE"),
    problem_type: str | None = None,
) -> Path:
    """Save a BERT with random weights, and biases that are not 0, and its tokenizer."""
    words = tokenizer()
    model = classifier(
        words,
        num_labels=len(labels),
        id2label=dict(enumerate(labels)),
        label2id={label: i for i, label in enumerate(labels)},
        problem_type=problem_type,
        max_position_embeddings=64,
    )
    model.save_pretrained(folder)
    words.save_pretrained(folder)
    return folder
