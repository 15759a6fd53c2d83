"""Check the embedded demo model: accuracy, and whether explanations point where a reader would.

    python -m tools.check_demo

Reads SST-2 dev and test from the folder named by the environment variable NORMXLOGIT_SHARED
(default ../shared) and the hand-written sentences of tools/demo_sentences.tsv. Prints the
accuracy on test, on dev, and on dev naturalised (contractions joined, punctuation attached,
capital first letter, final period), and for every hand-written sentence the prediction and the
three content words with the highest attribution ||x^0|| * HoT(x^L)[predicted class], summed
over a word's tokens. A content word is a word that is not in STOP_WORDS; negators (not, never,
nothing) are content words, and a contraction (don't) is one content word. "top" says whether
the first of the three is a word that a reader would point at, "3" whether any of them is.
Then the same counts for the words' scores by the model's attribution head, if the folder has one.
Exits 1 if a requirement is not met.
"""

from __future__ import annotations

import argparse
import csv
import math
import os
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import normxlogit as nxl

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / "src" / "normxlogit" / "demo"
HEAD = "attribution_head.safetensors"
SENTENCES = ROOT / "tools" / "demo_sentences.tsv"

MAX_BYTES = 16_000_000
MAX_HEAD_BYTES = 300_000
MIN_ACCURACY = 0.86
MIN_ACCURACY_NATURAL = 0.85
MIN_LABELS_RIGHT = 0.90
MIN_TOP_WORD = 0.80
MIN_TOP_THREE = 0.95

_STOP_WORDS = """
    a about all an and any anyone are as at be been being but by did do does for from had has
    have having he her him his i if in is it its itself me more my neither nor of off on or our
    out over own she so some such than that the their them there these they this those to too
    us very was we were what when where which while who whole will with within would yet you
    your although though despite after before during until aside otherwise ever just
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())

WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")


@dataclass(frozen=True)
class Sentence:
    """One hand-written sentence, its label, and the words a reader would point at."""

    text: str
    label: str
    words: frozenset[str]
    kind: str


@dataclass(frozen=True)
class Finding:
    """What the model says on one sentence."""

    sentence: Sentence
    predicted: str
    confidence: float
    top: list[tuple[str, float]]

    @property
    def right(self) -> bool:
        return self.predicted == self.sentence.label

    @property
    def top_word_hit(self) -> bool:
        return self.top[0][0].lower() in self.sentence.words

    @property
    def top_three_hit(self) -> bool:
        return any(word.lower() in self.sentence.words for word, _ in self.top)


def shared_folder() -> Path:
    return Path(os.environ.get("NORMXLOGIT_SHARED", ROOT.parent / "shared"))


def read_sst2(path: Path) -> list[tuple[str, int]]:
    """Read tab-separated text and 0/1, skipping a GLUE header if there is one."""
    rows: list[tuple[str, int]] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        text, _, label = line.rpartition("\t")
        if label.strip() in {"0", "1"}:
            rows.append((text.strip(), int(label)))
    return rows


def naturalise(text: str, *, final_period: bool = True) -> str:
    """Turn a Penn-Treebank-tokenised lower-case sentence into ordinary written English."""
    text = re.sub(r"-lrb-\s*", "(", text)
    text = re.sub(r"\s*-rrb-", ")", text)
    text = re.sub(r"``\s*|\s*''", '"', text)
    text = re.sub(r"\s+--\s+", " - ", text)
    text = re.sub(r"\b(ca|wo|[a-z]+) n't\b", r"\1n't", text)
    text = re.sub(r"\s+('(?:s|re|ve|ll|d|m))\b", r"\1", text)
    text = re.sub(r"\s+([,.;:!?%])", r"\1", text)
    text = re.sub(r"\s+", " ", text).strip()
    text = re.sub(r"\bi\b", "I", text)
    text = text[:1].upper() + text[1:]
    if final_period and text and text[-1] not in ".!?":
        text += "."
    return text


def read_sentences(path: Path) -> list[Sentence]:
    with path.open(encoding="utf-8", newline="") as file:
        return [
            Sentence(row["text"], row["label"], frozenset(row["words"].split()), row["kind"])
            for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        ]


@torch.inference_mode()
def predict(model: Any, tokenizer: Any, texts: Sequence[str], batch_size: int = 32) -> list[int]:
    """Predicted class id of every text, in order; batches are sorted by length."""
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    predicted = [0] * len(texts)
    for start in range(0, len(order), batch_size):
        chunk = order[start : start + batch_size]
        batch = tokenizer([texts[i] for i in chunk], padding=True, return_tensors="pt")
        for i, label in zip(chunk, model(**batch).logits.argmax(-1).tolist(), strict=True):
            predicted[i] = label
    return predicted


def accuracy(
    model: Any,
    tokenizer: Any,
    rows: Sequence[tuple[str, int]],
    form: Callable[[str], str] = str,
) -> float:
    predicted = predict(model, tokenizer, [form(text) for text, _ in rows])
    gold = [label for _, label in rows]
    return sum(p == g for p, g in zip(predicted, gold, strict=True)) / len(rows)


def word_spans(text: str) -> list[tuple[int, int]]:
    return [match.span() for match in WORD.finditer(text)]


@torch.inference_mode()
def find(model: Any, tokenizer: Any, sentence: Sentence) -> Finding:
    """Predict and explain one sentence."""
    encoded = tokenizer(sentence.text, return_offsets_mapping=True, return_tensors="pt")
    offsets: list[list[int]] = encoded.pop("offset_mapping")[0].tolist()
    output = model(**encoded, output_hidden_states=True)
    target = int(output.logits[0].argmax())
    norms = output.hidden_states[0][0].norm(dim=-1)
    states = output.hidden_states[-1][0]
    token_logits = model.classifier(model.bert.pooler(states[:, None]))[:, target]
    scores: list[float] = (norms * token_logits).tolist()
    return Finding(
        sentence,
        model.config.id2label[target],
        float(output.logits[0].softmax(-1)[target]),
        content_words(sentence.text, scores, offsets)[:3],
    )


def find_by_head(explainer: nxl.Explainer, sentence: Sentence) -> Finding:
    """The same by the model's attribution head."""
    a = explainer.explain(sentence.text)
    words = content_words(sentence.text, a.scores.tolist(), a.offsets.tolist())
    confidence = a.prediction.probability
    assert confidence is not None
    return Finding(sentence, a.prediction.label, confidence, words[:3])


def content_words(
    text: str, scores: Sequence[float], offsets: Sequence[Sequence[int]]
) -> list[tuple[str, float]]:
    """The content words with the sum of their tokens' scores, the highest first."""
    words: list[tuple[str, float]] = []
    for start, end in word_spans(text):
        word = text[start:end]
        inside = [s for s, (a, b) in zip(scores, offsets, strict=True) if start <= a < b <= end]
        if word.lower() not in STOP_WORDS:
            words.append((word, math.fsum(inside)))
    return sorted(words, key=lambda pair: -pair[1])


def print_table(findings: Sequence[Finding]) -> None:
    print(f"{'kind':8} {'label':8} {'predicted':9} {'conf':>4} top 3  sentence | top content words")
    for f in findings:
        verdict = f"{'+' if f.top_word_hit else '-'}    {'+' if f.top_three_hit else '-'}"
        tops = ", ".join(f"{word} {score:.1f}" for word, score in f.top)
        wrong = " " if f.right else "!"
        print(
            f"{f.sentence.kind:8} {f.sentence.label:8} {f.predicted:8}{wrong} "
            f"{f.confidence:4.2f} {verdict}  {f.sentence.text} | {tops}"
        )


def folder_bytes(folder: Path) -> int:
    return sum(
        (folder / name).stat().st_size
        for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors")
    )


def share(flags: Sequence[bool]) -> float:
    return sum(flags) / len(flags)


def check(folder: Path) -> bool:
    """Measure the model in `folder`, print the figures, and say whether all requirements hold."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    data = shared_folder() / "data" / "sst2"
    dev, test = read_sst2(data / "dev.tsv"), read_sst2(data / "test.tsv")
    findings = [find(model, tokenizer, s) for s in read_sentences(SENTENCES)]
    print_table(findings)

    by_kind: dict[str, list[bool]] = {}
    for f in findings:
        by_kind.setdefault(f.sentence.kind, []).append(f.right)
    print(f"\n{len(findings)} hand-written sentences, right by kind:")
    print("  " + ", ".join(f"{kind} {sum(flags)}/{len(flags)}" for kind, flags in by_kind.items()))

    size = folder_bytes(folder)
    in_float32 = model.dtype == torch.float32
    measured = [
        ("accuracy, SST-2 dev as it is", accuracy(model, tokenizer, dev), MIN_ACCURACY),
        (
            "accuracy, SST-2 dev naturalised",
            accuracy(model, tokenizer, dev, naturalise),
            MIN_ACCURACY_NATURAL,
        ),
        ("hand-written: label right", share([f.right for f in findings]), MIN_LABELS_RIGHT),
        ("hand-written: top word", share([f.top_word_hit for f in findings]), MIN_TOP_WORD),
        ("hand-written: in top 3", share([f.top_three_hit for f in findings]), MIN_TOP_THREE),
    ]
    print(f"{'accuracy, SST-2 test':34} {accuracy(model, tokenizer, test):.4f}")
    print(f"{'loads as':34} {model.dtype}")
    print(f"{'size in bytes':34} {size:,} (at most {MAX_BYTES:,})")
    for name, value, least in measured:
        print(f"{name:34} {value:.4f} (at least {least})")
    return size <= MAX_BYTES and in_float32 and all(value >= least for _, value, least in measured)


def check_head(folder: Path) -> bool:
    """The same for the model's attribution head."""
    file = folder / HEAD
    explainer = nxl.Explainer.from_pretrained(folder, head=file)
    findings = [find_by_head(explainer, sentence) for sentence in read_sentences(SENTENCES)]
    print("\nby the attribution head:")
    print_table(findings)
    size = file.stat().st_size
    top, three = (
        [getattr(f, name) for f in findings] for name in ("top_word_hit", "top_three_hit")
    )
    print(f"{'size in bytes':34} {size:,} (at most {MAX_HEAD_BYTES:,})")
    print(f"{'hand-written: top word':34} {sum(top)} of {len(top)} (at least {MIN_TOP_WORD})")
    print(f"{'hand-written: in top 3':34} {sum(three)} of {len(three)}")
    return size <= MAX_HEAD_BYTES and share(top) >= MIN_TOP_WORD


def main() -> int:
    parser = argparse.ArgumentParser(description="Check the embedded demo model.")
    parser.add_argument("folder", nargs="?", type=Path, default=DEMO)
    arguments = parser.parse_args()
    met = check(arguments.folder)
    if (arguments.folder / HEAD).exists():
        met &= check_head(arguments.folder)
    print("all requirements met" if met else "A REQUIREMENT IS NOT MET")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main())
