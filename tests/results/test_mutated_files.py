"""A file that somebody else wrote is refused, or is a result whose every method works."""

import copy
import io
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import pytest
from jsonschema import Draft202012Validator
from rich.console import Console

from normxlogit import Attribution, InputError, OptionError
from normxlogit.results.audio import AudioAttribution
from normxlogit.results.base import Result
from normxlogit.results.generation import GenerationAttribution
from normxlogit.results.image import ImageAttribution
from normxlogit.show.dispatch import render
from tests.helpers.mutations import VALUES, mutate, places
from tests.helpers.pages import HTMLReader
from tests.helpers.paths import ROOT
from tests.helpers.results import IMAGE, MADE_BY_HAND, PATCHES, SOUND, chat, generation

SCHEMA = json.loads((ROOT / "docs/attribution.schema.json").read_text())
VALIDATOR = Draft202012Validator(SCHEMA)
MUTATIONS = 300
"""How many mutations of each result are tried. Of those that load, every tenth is also drawn as a
figure and held against the schema, which take longest.
"""

RESULTS: dict[str, Result] = {
    **{
        name: MADE_BY_HAND[name]
        for name in ("text", "verified", "pair", "every target and layer", "regression", "whole")
    },
    "generation": generation("The sky is", " blue. It is."),
    "all layers": generation("The sky", " is", layers=(1, 2)),
    "one token": generation("The sky is", " blue.").at(1),
    "chat": chat([("system", "Be brief."), ("user", "Why?")], "So.\nYes."),
    "image": IMAGE,
    "patches": PATCHES,
    "sound": SOUND,
    "spectrogram": replace(SOUND, grid=(2, 2)),
}
"""Small results of every kind."""


def shown(summed: Callable[[], Attribution]) -> tuple[str, str, Result]:
    result = summed()
    return str(result), result.to_html(), Result.from_dict(result.to_dict())


def methods(result: Result) -> Iterator[Callable[[], object]]:
    """What a user may do with a result, in the forms that must not fail."""
    yield lambda: str(result)
    yield lambda: repr(result)
    yield lambda: Console(file=io.StringIO(), width=8).print(render(result, special=True))
    yield lambda: HTMLReader(result.to_html())
    yield lambda: HTMLReader(result._repr_html_())
    yield lambda: Result.from_dict(result.to_dict())
    yield lambda: json.dumps(result.to_dict(), allow_nan=False)
    yield lambda: [part.only().to_dict() for part in result.single()]
    yield lambda: (len(result), str(result.prediction), result.prediction.top)
    for part in result.single():
        if isinstance(part, (Attribution, ImageAttribution, AudioAttribution)):
            yield part.top
    if isinstance(result, Attribution):
        for unit in (result.words, result.sentences):
            yield partial(shown, unit)
        for parts in ("word", "sentence", "line", "message", "role"):
            yield partial(shown, partial(result.by, parts))
    if isinstance(result, GenerationAttribution):
        yield lambda: [part.to_html() for part in (result.whole(), result.at(0))]
    if isinstance(result, ImageAttribution):
        yield lambda: (result.picture, result.patches(), result.cell(0, 0))
    if isinstance(result, AudioAttribution):
        yield lambda: (result.track(), result.patches(), result.times())


def is_said_beforehand(error: Exception, result: Result) -> bool:
    """Whether a method may refuse this result by what the docs say of its kind."""
    if isinstance(error, OptionError):
        return isinstance(result, Attribution) and "no messages" in str(error)
    unknown = ("no rows and columns", "is not known", "are not known", "does not cut")
    return isinstance(error, InputError) and (
        any(words in str(error) for words in unknown)
        or (isinstance(result, Attribution) and "of this text holds a token" in str(error))
    )


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", RESULTS)
def test_what_loads_works_and_what_does_not_is_an_input_error(name: str) -> None:
    draw = random.Random(name)
    original = json.loads(json.dumps(RESULTS[name].to_dict()))
    loaded = 0
    for _ in range(MUTATIONS):
        data = copy.deepcopy(original)
        for _ in range(draw.choice([1, 1, 1, 2, 4])):
            mutate(data, draw)
        try:
            result = Result.from_dict(data)
        except InputError:
            continue
        loaded += 1
        for method in methods(result):
            try:
                method()
            except (InputError, OptionError) as error:
                if not is_said_beforehand(error, result):
                    raise
        if loaded % 10 == 1:
            VALIDATOR.validate(data)
            if not isinstance(result, ImageAttribution) or result.grid:
                result.plot().canvas.draw()
    assert 0 < loaded < MUTATIONS


def test_a_special_token_within_a_character_of_the_answer() -> None:
    """Both are shown as one, also where that one ends the answer."""
    data = RESULTS["generation"].to_dict()
    count = len(data["targets"])
    data["answer_offsets"] = [[0, 2]] * count
    data["answer_special"] = [False] + [True] * (count - 1)
    assert "nx-answer" in Result.from_dict(data).to_html()


@pytest.mark.parametrize("name", ["text", "chat", "patches", "spectrogram"])
def test_what_the_schema_refuses_is_not_loaded(name: str) -> None:
    """Any value is replaced by any other, so that no field is without a check."""
    original = json.loads(json.dumps(RESULTS[name].to_dict()))
    draw, refused = random.Random(name), 0
    while refused < 150:
        data = copy.deepcopy(original)
        container, key = draw.choice(list(places(data)))
        container[key] = copy.deepcopy(draw.choice(VALUES))
        if not VALIDATOR.is_valid(data):
            refused += 1
            with pytest.raises(InputError):
                Result.from_dict(data)
