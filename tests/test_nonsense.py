"""Nonsense for any parameter of a public function is refused by an error of the package's own."""

import inspect
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from huggingface_hub import constants

import normxlogit as nxl
from normxlogit import Explainer, NormXLogitError, evaluation
from normxlogit.evaluation.benchmark.cases import RULES
from normxlogit.methods import METHODS, find_method
from tests.helpers.models import (
    causal_lm,
    classifier_explainer,
    explainer_with_head,
    image_classifier,
)
from tests.helpers.texts import MASKED, PROMPT, TEXTS

NONSENSE: dict[str, Callable[[], Any]] = {
    "None": lambda: None,
    "nan": lambda: float("nan"),
    "infinity": lambda: float("inf"),
    "-1": lambda: -1,
    "0": lambda: 0,
    "10**30": lambda: 10**30,
    "text": lambda: "x",
    "half a character": lambda: "\ud800",
    "bytes": lambda: b"x",
    "[]": list,
    "[None]": lambda: [None],
    "numpy's True": lambda: np.True_,
    "pandas' NA": lambda: pd.NA,
    "generator": lambda: (number for number in range(2)),
    "object": object,
}


def complaints(function: Callable[..., Any], **arguments: Any) -> Iterator[str]:
    """What goes wrong, in a line each, as each argument in turn is replaced by nonsense."""
    for name in arguments:
        for label, nonsense in NONSENSE.items():
            try:
                results = function(**arguments | {name: nonsense()})
                if isinstance(results, Iterator):
                    list(results)
            except NormXLogitError as error:
                if "\n" in str(error):
                    yield f"{name}={label}: an error of several lines: {error}"
            except Exception as error:
                yield f"{name}={label}: {type(error).__name__}: {error}"


def defaults(function: Callable[..., Any], **arguments: Any) -> dict[str, Any]:
    """The arguments of a call, those that are not given by their defaults."""
    parameters = inspect.signature(function).parameters.values()
    optional = {p.name: p.default for p in parameters if p.default is not p.empty}
    return optional | arguments


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.chdir(tmp_path)  # for outputs


CLASSIFIER, LANGUAGE = classifier_explainer(), causal_lm()
MASK = explainer_with_head("bert", "masked-lm")
TEXT, ANSWER = CLASSIFIER.explain(TEXTS[0]), LANGUAGE.generate(PROMPT, max_new_tokens=3)
VIT, PIXELS = image_classifier()
IMAGE = VIT.explain(PIXELS)
INPUTS = {"input_ids": torch.tensor([[0, 5, 6, 7, 2]])}
CALLS: dict[str, tuple[Callable[..., Any], dict[str, Any]]] = {
    "Explainer": (Explainer, {"model": CLASSIFIER.model, "tokenizer": CLASSIFIER.tokenizer}),
    "from_pretrained": (Explainer.from_pretrained, {}),
    "explain": (CLASSIFIER.explain, {"inputs": TEXTS[:2]}),
    "explain a mask": (MASK.explain, {"inputs": MASKED[0]}),
    "explain a token": (LANGUAGE.explain, {"inputs": PROMPT}),
    "stream": (CLASSIFIER.stream, {"inputs": TEXTS[:2]}),
    "generate": (
        LANGUAGE.generate,
        {"prompts": PROMPT, "max_new_tokens": 2, "max_length": None, "num_beams": 1}
        | {"num_return_sequences": 1, "generation_config": None, "stop_strings": None},
    ),
    "generate_stream": (LANGUAGE.generate_stream, {"prompt": PROMPT, "max_new_tokens": 2}),
    "token_counts": (CLASSIFIER.token_counts, {"texts": TEXTS}),
    "limited": (CLASSIFIER.limited, {"tokens": 9}),
    "corpus": (CLASSIFIER.corpus, {"source": TEXTS[:2]}),
    "attribute": (nxl.attribute, {"model": CLASSIFIER.model, "inputs": INPUTS}),
    "attribute a token": (nxl.attribute, {"model": LANGUAGE.model, "inputs": INPUTS}),
    "agreement": (evaluation.agreement, {"attributions": [TEXT], "rationales": [[[(0, 3)]]]}),
    "answer_drops": (evaluation.answer_drops, {"explainer": LANGUAGE, "generation": ANSWER}),
    "blimp": (evaluation.blimp, {"explainer": LANGUAGE, "source": "nowhere"}),
    "case_of": (
        evaluation.case_of,
        {"good": "Some boys run.", "bad": "Some boys runs.", "paradigm": next(iter(RULES))},
    ),
    "select": (TEXT.select, {}),
    "at": (TEXT.at, {"number": 0}),
    "words": (TEXT.words, {}),
    "sentences": (TEXT.sentences, {}),
    "by": (TEXT.by, {"parts": "word"}),
    "by spans": (TEXT.by, {"parts": [(0, 3)]}),
    "top": (TEXT.top, {}),
    "answer.span": (ANSWER.span, {"part": (0, 1)}),
    "answer.at": (ANSWER.at, {"number": 0}),
    "explain an image": (VIT.explain, {"inputs": PIXELS}),
    "image.top": (IMAGE.top, {}),
    "image.cell": (IMAGE.cell, {"row": 0, "column": 0}),
    "image.heatmap": (IMAGE.heatmap, {}),
    "image.overlay": (IMAGE.overlay, {}),
    "find_method": (find_method, {"name": "norm"}),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", CALLS)
def test_nonsense_is_refused(name: str) -> None:
    function, arguments = CALLS[name]
    assert list(complaints(function, **defaults(function, **arguments))) == []


@pytest.mark.filterwarnings("ignore")
def test_nonsense_is_refused_by_evaluate() -> None:
    options = {"methods": ["norm"], "metrics": ["curves"], "draws": 1, "limit": 1}
    arguments = defaults(CLASSIFIER.evaluate, source=TEXTS[:1], **options)
    assert list(complaints(CLASSIFIER.evaluate, **arguments)) == []


@pytest.mark.filterwarnings("ignore")
def test_nonsense_is_refused_by_a_corpus_of_files(tmp_path: Path) -> None:
    source = tmp_path / "texts.csv"
    source.write_text("text\nA great movie\n", "utf-8")
    arguments = defaults(CLASSIFIER.corpus, source=source, output="folder")
    assert list(complaints(CLASSIFIER.corpus, **arguments)) == []


def test_complaints_are_heard() -> None:
    def careless(first: Any, second: Any = 1) -> Any:
        return len(first) + second

    heard = list(complaints(careless, **defaults(careless, first="ab")))
    assert {line.partition(":")[0] for line in heard} >= {"first=None", "second=text"}


@pytest.mark.parametrize("method", METHODS)
def test_nonsense_is_refused_as_an_option_of_a_method(method: str) -> None:
    options = dict.fromkeys(METHODS[method].options)
    explain = partial(CLASSIFIER.explain, TEXTS[0], method=method)
    for option in options:
        assert list(complaints(explain, **{option: None})) == []
