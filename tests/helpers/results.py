"""Results made by hand, for what shows them and writes them."""

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from PIL import Image

from normxlogit import (
    Attribution,
    AudioAttribution,
    GenerationAttribution,
    ImageAttribution,
    Prediction,
    Target,
)
from normxlogit.results.base import Provenance, Result
from normxlogit.results.thumbnails import thumbnail
from normxlogit.results.verification import Verification
from normxlogit.text.message import Message
from normxlogit.text.words import word_numbers
from tests.helpers.pages import HOSTILE

PROVENANCE = Provenance(
    model="some/model",
    revision="abc123",
    architecture="SomeForCausalLM",
    dtype="float32",
    method="normxlogit",
    readout="logit",
    of_output=False,
    unsigned=None,
    reads_layers=True,
    contrast=None,
    options={},
    versions={"normxlogit": "1.2.3"},
)

_TOKEN = re.compile(r"<[|/\w]+>| ?\w{1,6}|\s+(?=\s|$)| ?[^\w\s]|\s")
_SPECIAL = re.compile(r"<[|/\w]+>")

CHAT = (
    ("system", "You are a helpful geographer. Answer briefly."),
    ("user", "What is the capital of France?\nAnd how many people live there?"),
)


def token_spans(text: str) -> list[tuple[int, int]]:
    """Where tokens like those of a byte-level tokenizer are: with their space before them."""
    return [match.span() for match in _TOKEN.finditer(text)]


def generation(
    prompt: str = "The capital of France is",
    answer: str = " Paris. It has many bridges.",
    *,
    messages: Sequence[Message] = (),
    end: str | None = "</s>",
    start: str | None = "<s>",
    layers: tuple[int, ...] = (12,),
    seed: int = 0,
    **provenance: Any,
) -> GenerationAttribution:
    """A generation with random scores, that of the first token being by far the largest."""
    spans = [token_spans(prompt), token_spans(answer)]
    segments = [n for n, part in enumerate(spans) for _ in part]
    offsets = [span for part in spans for span in part]
    texts = (prompt, answer)
    tokens = [texts[n][slice(*span)] for n, span in zip(segments, offsets, strict=True)]
    answer_offsets = list(spans[1])
    if start is not None:
        tokens, segments, offsets = [start, *tokens], [-1, *segments], [(0, 0), *offsets]
    if end is not None:
        tokens, segments, offsets = [*tokens, end], [*segments, -1], [*offsets, (0, 0)]
        answer_offsets.append((len(answer), len(answer)))
    special = np.array([bool(_SPECIAL.fullmatch(t.strip())) for t in tokens])
    segments = [-1 if is_special else s for s, is_special in zip(segments, special, strict=True)]
    count, first = len(answer_offsets), len(tokens) - len(answer_offsets)
    random = np.random.default_rng(seed)
    axes: tuple[str, ...] = ("target",)
    shape: tuple[int, ...] = (count, len(tokens))
    if len(layers) > 1:
        axes, shape = ("target", "layer"), (count, len(layers), len(tokens))
    scores = random.normal(0.3, 1.0, shape) * random.gamma(0.6, 1.0, len(tokens))
    scores[..., 0] = 200.0
    for n in range(count):
        scores[n, ..., first + n :] = np.nan
    targets = tuple(
        Target(tokens[first + n], 100 + n, 5.0 + n, float(random.uniform(0.4, 1)), first + n - 1)
        for n in range(count)
    )
    numbers = word_numbers(texts, offsets, segments, [None] * len(tokens))
    return GenerationAttribution(
        texts=texts,
        tokens=tuple(tokens),
        scores=scores.astype(np.float32),
        axes=axes,
        special=special,
        offsets=np.array(offsets, np.int32),
        segments=np.array(segments, np.int32),
        word_numbers=numbers,
        targets=targets,
        layers=layers,
        prediction=Prediction("token", targets, ()),
        provenance=replace(PROVENANCE, **provenance),
        norms=np.ones(len(tokens), np.float32),
        messages=tuple(messages),
        answer_offsets=np.array(answer_offsets, np.int32),
        answer_special=np.array([i < 0 for i in segments[first:]]),
    )


def chat(
    turns: Sequence[tuple[str, str]] = CHAT,
    answer: str = "Paris.\n\nAbout 2.1 million people live there.",
    **options: Any,
) -> GenerationAttribution:
    """A generation that answers a chat."""
    prompt, messages = "", []
    for role, content in turns:
        prompt += f"<|im_start|>{role}\n"
        messages.append(Message(role, len(prompt), len(prompt) + len(content)))
        prompt += f"{content}<|im_end|>\n"
    prompt += "<|im_start|>assistant\n"
    options = {"end": "<|im_end|>", **options}
    return generation(prompt, answer, messages=messages, start=None, **options)


def attribution(
    text: str,
    spans: list[tuple[int, int]],
    scores: Any,
    *,
    labels: tuple[str, ...] = ("NEGATIVE", "POSITIVE"),
    explained: tuple[int, ...] = (1,),
    layers: tuple[int, ...] = (6,),
    axes: tuple[str, ...] = (),
    problem: str = "single_label_classification",
    **provenance: Any,
) -> Attribution:
    """An attribution to these spans, between a [CLS] and a [SEP] with the largest scores by far."""
    scores = np.array(scores, np.float32)
    frame = np.full((*scores.shape[:-1], 1), 100, np.float32)
    count = len(spans)
    regression = problem == "regression"
    outputs = tuple(
        Target(label, i, float(i), None if regression else (i + 1) / (len(labels) + 1))
        for i, label in enumerate(labels)
    )
    provenance = {
        "architecture": "SomeForSequenceClassification",
        "readout": "closeness" if regression else "logit",
        **provenance,
    }
    return Attribution(
        texts=(text,),
        tokens=("[CLS]", *(text[slice(*span)] for span in spans), "[SEP]"),
        scores=np.concatenate([frame, scores, frame], -1),
        special=np.array([True, *[False] * count, True]),
        offsets=np.array([(0, 0), *spans, (0, 0)], np.int32),
        segments=np.array([-1, *[0] * count, -1], np.int32),
        word_numbers=np.array([-1, *range(count), -1], np.int32),
        axes=axes,
        targets=tuple(outputs[i] for i in explained),
        layers=layers,
        prediction=Prediction(problem, outputs[-1:], outputs),
        provenance=replace(PROVENANCE, **provenance),
        norms=np.ones(count + 2, np.float32),
        unit="word",
    )


def word_spans(text: str) -> list[tuple[int, int]]:
    """The spans of words between spaces."""
    spans, start = [], 0
    for word in text.split():
        start = text.index(word, start)
        spans.append((start, start + len(word)))
        start += len(word)
    return spans


def word_attribution(text: str, scores: Any, **options: Any) -> Attribution:
    """An attribution whose tokens are the words between spaces."""
    return attribution(text, word_spans(text), scores, **options)


def pair() -> Attribution:
    """An attribution of two texts, a word each."""
    one = word_attribution("one two", [1.0, 2.0])
    return replace(
        one,
        texts=("one", "two"),
        offsets=np.array([(0, 0), (0, 3), (0, 3), (0, 0)], np.int32),
        segments=np.array([-1, 0, 1, -1], np.int32),
    )


GOOD_BAD = word_attribution("good  but\n bad", [4.0, 0.0, -2.0])


def verification(**changes: Any) -> Verification:
    """A verification with figures that are easy to tell apart."""
    fields: dict[str, Any] = {
        "operator": "mask",
        "words": 5,
        "top": ("good", "but"),
        "whole": 0.9,
        "without_top": 0.2,
        "top_alone": 0.8,
        "random_without": (0.5, 0.75),
        "random_alone": (0.25, 0.125),
        "sets": 30,
        "explained_variance": 0.75,
        "shuffled_variance": -0.5,
        "passes": 70,
    }
    return Verification(**(fields | changes))


VERIFIED = replace(GOOD_BAD, base=(0.5,), verifications=(verification(),))


def hostile() -> Attribution:
    """An attribution whose every text tries to run a script."""
    shown = word_attribution(HOSTILE, [1.0, -1.0], labels=(HOSTILE, HOSTILE), contrast="0")
    made = replace(shown.provenance, model=HOSTILE, revision=HOSTILE, options={"o": HOSTILE})
    return replace(shown, provenance=made)


DOG = Target("dog", 1, 2.0, 0.8)
COMMON: dict[str, Any] = {
    "scores": np.array([9, 1, -1, 2, 0], np.float32),
    "axes": (),
    "targets": (DOG,),
    "layers": (12,),
    "prediction": Prediction("single_label_classification", (DOG,), (DOG,)),
    "provenance": PROVENANCE,
    "special": np.array([True, False, False, False, False]),
}
IMAGE = ImageAttribution(size=(32, 32), original=(64, 60), **COMMON)
SECONDS = np.array([[np.nan, np.nan], [0, 1], [1, 2], [2, 3], [3, 4]], np.float32)
SOUND = AudioAttribution(
    seconds=SECONDS,
    duration=3.9,
    sampling_rate=16_000,
    envelope=np.array([0, 0.5], np.float32),
    **COMMON,
)

PATCHES = replace(
    IMAGE, grid=(2, 2), box=(0.0, -1.5, 60.0, 64.0), thumbnail=thumbnail(Image.new("RGB", (60, 64)))
)
MADE_BY_HAND: dict[str, Result] = {
    "text": GOOD_BAD,
    "verified": VERIFIED,
    "pair": pair(),
    "every target and layer": word_attribution(
        "good bad",
        np.arange(8).reshape(2, 2, 2),
        explained=(0, 1),
        layers=(5, 6),
        axes=("target", "layer"),
    ),
    "regression": word_attribution(
        "a b", [1.0, -2.0], labels=("LABEL_0",), explained=(0,), problem="regression"
    ),
    "generation": generation(),
    "all layers": generation(layers=(1, 2)),
    "words": generation().words(),
    "whole": generation().whole(),
    "one token": generation().at(2),
    "chat": chat(),
    "messages": chat().by("message"),
    "roles": chat().by("role"),
    "lines": chat().by("line"),
    "image": IMAGE,
    "patches": PATCHES,
    "sound": SOUND,
    "spectrogram": replace(SOUND, grid=(2, 2)),
    "unknown times": replace(SOUND, seconds=None, note="no idea"),
}
"""Results of every kind, by what is special about them."""
