"""What holds for every kind of head: clear refusals, and a model left as it was."""

import copy
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch

import normxlogit as nxl
from normxlogit import Explainer, InputError, OptionError
from normxlogit.results.generation import GenerationAttribution
from tests.helpers.assertions import assert_same_explanation
from tests.helpers.builders import tokenizer
from tests.helpers.models import (
    brief_encoder_decoder,
    causal_lm,
    explainer_with_head,
    token_classifier,
)
from tests.helpers.state import model_state
from tests.helpers.texts import CONTEXT, CONTINUATION, MASKED, PROMPT, QUESTION, TEXTS


@dataclass
class Case:
    """A head, two good inputs for it, and options that go with them."""

    make: Callable[[], Explainer]
    item: Any
    other: Any
    options: dict[str, Any]


PAIR, OTHER_PAIR = (QUESTION, CONTEXT), ("what plot", TEXTS[2])

HEADS = {
    "classifier": Case(
        lambda: explainer_with_head("bert", "sequence-classification"), TEXTS[0], TEXTS[2], {}
    ),
    "tags": Case(token_classifier, TEXTS[0], "the movie is good", {"position": "movie"}),
    "answers": Case(
        lambda: explainer_with_head("bert", "question-answering"), PAIR, OTHER_PAIR, {}
    ),
    "decoder answers": Case(
        lambda: explainer_with_head("bart", "question-answering"), PAIR, OTHER_PAIR, {}
    ),
    "choices": Case(
        lambda: explainer_with_head("bert", "multiple-choice"),
        (QUESTION, ["a", "b plot"]),
        ("a", ["b", "c d"]),
        {},
    ),
    "masks": Case(lambda: explainer_with_head("bert", "masked-lm"), MASKED[0], MASKED[2], {}),
    "next": Case(causal_lm, TEXTS[0], TEXTS[2], {}),
    "continuation": Case(causal_lm, PROMPT, TEXTS[1], {"target": CONTINUATION}),
    "t5": Case(
        lambda: explainer_with_head("t5", "seq2seq-lm"), TEXTS[0], TEXTS[1], {"target": "good plot"}
    ),
    "bart": Case(brief_encoder_decoder, TEXTS[0], TEXTS[1], {}),
}


@pytest.mark.parametrize(
    ("head", "item", "options", "says"),
    [
        ("classifier", TEXTS[0], {"position": 3}, "one thing of the whole text"),
        ("tags", TEXTS[0], {"position": "nope"}, "'nope' does not occur in the text"),
        ("tags", TEXTS[0], {"position": ""}, "'' does not occur"),
        ("tags", TEXTS[0], {"position": 99}, "position 99 is not among the text's 18 tokens"),
        ("tags", TEXTS[0], {"position": (5, 3)}, r"\(5, 3\) are not the first character"),
        ("tags", TEXTS[0], {"position": ("a", "b")}, r"are not the first character"),
        ("tags", TEXTS[0], {"position": (1.5, 3)}, r"are not the first character"),
        ("tags", TEXTS[0], {"position": 1.5}, "position must be the number of a token"),
        ("tags", TEXTS[0], {"position": True}, "position must be"),
        ("tags", TEXTS[0], {"position": "movie", "target": "ORG"}, "no label 'ORG'"),
        ("tags", TEXTS[0], {"long": "window"}, "long='window' averages"),
        ("tags", "good " * 90, {}, "limit of 64. Shorten it; .*long='truncate'.$"),
        ("answers", "text", {}, "a question and the text with its answer, as a tuple of two"),
        ("answers", ("a", "b", "c"), {}, "a question and the text.*got a tuple of 3"),
        ("answers", (QUESTION, CONTEXT), {"target": "nope"}, "'nope' does not occur"),
        ("answers", (QUESTION, CONTEXT), {"target": "what"}, "'what' does not occur"),
        ("answers", (QUESTION, CONTEXT), {"target": "great"}, "occurs 2 times"),
        ("answers", (QUESTION, CONTEXT), {"target": (7, 2)}, "are not the first character"),
        ("answers", (QUESTION, CONTEXT), {"target": ["movie"]}, "named by its text"),
        ("answers", (QUESTION, CONTEXT), {"position": 3}, "name an answer as target"),
        ("answers", (QUESTION, CONTEXT), {"readout": "margin"}, "not one of those for span"),
        ("choices", "a text", {}, r"\(text, \[choice, choice, \.\.\.\]\)"),
        ("choices", ("a", ["b"]), {}, r"\(text, \[choice, choice, \.\.\.\]\)"),
        ("choices", ("a", ["b", ""]), {}, "empty or blank"),
        ("choices", ("a", ["b", "b"]), {"target": "b"}, "'b' is 2 of the choices"),
        ("choices", ("a", ["b", "c"]), {"target": "d"}, "no choice 'd'.*'b', 'c'.*0 to 1"),
        ("choices", ("a", ["b", "c"]), {"target": 2}, "there is no choice 2"),
        ("choices", ("a", ["b", "c"]), {"target": "all"}, "explained at a time"),
        ("choices", ("a", ["b", "c"]), {"target": 1, "contrast": "c"}, "are both 'c'"),
        ("choices", ("a", ["b", "c"]), {"contrast": "d"}, "there is no choice 'd'"),
        ("choices", ("a", ["b", "c"]), {"long": "window"}, "do not apply to multiple choice"),
        ("masks", MASKED[0], {"target": "unbelievably"}, r"is 12 tokens.*\(u = \d+.*by its id"),
        ("masks", MASKED[0], {"target": "♞"}, "no token for '♞'"),
        ("masks", MASKED[0], {"target": ""}, "no token for ''"),
        ("masks", MASKED[0], {"target": 10**6}, "there is no token 1000000; ids go from 0"),
        ("masks", MASKED[0], {"target": "plot", "contrast": "plot"}, "are both 'plot'"),
        ("next", ("a", "b"), {}, "continues one text, and this is a pair"),
        ("next", "a", {"position": 1}, "read at the end of the text"),
        ("next", "a", {"layer": 9}, "there is no layer 9: layers go from 1 to 2"),
        ("next", "a", {"target": ""}, "the target is empty"),
        ("next", "a", {"target": []}, "the target is empty"),
        ("next", "a", {"target": [5, 10**6]}, "there is no token 1000000"),
        ("next", "a", {"target": "x" * 500}, r"502 tokens, and the model takes 64|the model takes"),
        ("next", "a", {"target": "\ud800"}, "the tokenizer could not read"),
        ("next", "a", {"target": 1.5}, "a token is named by its text or id; got 1.5"),
        ("t5", TEXTS[0], {"target": 5}, "by what it writes, or by a text"),
        ("t5", TEXTS[0], {"contrast": 5, "target": None}, "a contrast needs such a text"),
        ("t5", TEXTS[0], {"position": 3}, "do not apply to encoder-decoders"),
    ],
)  # fmt: skip
def test_what_cannot_be_explained_is_one_clear_line(
    head: str, item: Any, options: dict[str, Any], says: str
) -> None:
    explainer = HEADS[head].make()
    with pytest.raises((InputError, OptionError), match=says) as caught:
        explainer.explain(item, **options)
    assert "\n" not in str(caught.value)


def test_a_tokenizer_without_a_mask_token() -> None:
    explainer = Explainer(explainer_with_head("bert", "masked-lm").model, tokenizer())
    with pytest.raises(InputError, match="the tokenizer has no mask token: say with position"):
        explainer.explain("a movie")
    assert explainer.explain("a movie", position="movie").target.position == 2


# What is left as it was


def all_state(explainer: Explainer) -> dict[str, Any]:
    model: Any = explainer.model
    words: Any = explainer.tokenizer
    state = model_state(model)
    state["tokenizer"] = words.backend_tokenizer.to_str()
    state["tokenizer attributes"] = {
        k: repr(v) for k, v in words.__dict__.items() if k != "_tokenizer"
    }
    generation = getattr(model, "generation_config", None)
    state["generation"] = None if generation is None else copy.deepcopy(generation.to_dict())
    state["hooks"] = [
        (name, len(m._forward_hooks), len(m._forward_pre_hooks))
        for name, m in model.named_modules()
    ]
    return state


@pytest.mark.parametrize("mode", ["train", "eval"])
@pytest.mark.parametrize("head", HEADS)
def test_nothing_of_the_users_is_changed(head: str, mode: str) -> None:
    case = HEADS[head]
    explainer = case.make()
    model: Any = explainer.model
    model.train(mode == "train")
    explainer.tokenizer.truncation_side = "left"
    before = all_state(explainer)
    explainer = Explainer(model, explainer.tokenizer)

    def check() -> None:
        after = all_state(explainer)
        assert {key for key in before if before[key] != after.get(key)} == set()
        assert before.keys() == after.keys()

    explainer.explain(case.item, **case.options)
    check()
    explainer.explain([case.item, "", 3, case.other], batch_size=2, **case.options)
    check()
    explainer.explain(["good " * 90], long="truncate", **case.options)
    check()
    with pytest.raises((InputError, OptionError)):
        explainer.explain(case.item, **(case.options | {"contrast": "no such thing, for sure"}))
    check()
    with pytest.raises(nxl.NormXLogitError):
        nxl.attribute(model, {"input_ids": torch.tensor([[10**6, 5]])}, position=0)
    check()
    if model.can_generate() and head != "masks":
        made = explainer.generate(["A great", "Good"], max_new_tokens=3)
        assert all(isinstance(one, GenerationAttribution) for one in made)
        check()
        with pytest.raises(nxl.NormXLogitError):
            explainer.generate("A great", max_new_tokens=2, no_such_option=True)
        check()


@pytest.mark.parametrize("head", HEADS)
def test_two_threads_give_what_one_gives(head: str) -> None:
    case = HEADS[head]
    explainer = case.make()
    items = (case.item, case.other)
    expected = [explainer.explain(item, **case.options) for item in items]
    found: list[list[Any]] = [[], []]

    def work(number: int) -> None:
        for _ in range(6):
            found[number].append(explainer.explain(items[number], **case.options))

    threads = [threading.Thread(target=work, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in (0, 1):
        assert len(found[number]) == 6
        for one in found[number]:
            assert_same_explanation(one, expected[number])
