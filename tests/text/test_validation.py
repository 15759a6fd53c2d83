"""What is no text, no list of texts, or no tokenizer of a model."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from normxlogit.errors import InputError, ModelError
from normxlogit.text.documents import read_documents
from normxlogit.text.validation import (
    are_words,
    check_same_vocabulary,
    check_several,
    check_text,
    max_length,
)


def test_several_texts_are_a_list_or_an_iterator() -> None:
    texts: Any
    for texts in ([], ["a"], ("a",), iter(["a"]), np.array(["a"])):
        check_several(texts)
    for texts in ("a", b"a", 3, None):
        with pytest.raises(InputError, match="a list or an iterator of texts, got"):
            check_several(texts)


@pytest.mark.parametrize(
    ("parts", "is_split", "message"),
    [
        (["a", " "], False, "empty or blank"),
        ([""], False, "empty or blank"),
        ([["", " "]], True, "empty or blank"),
        ([[]], True, "empty or blank"),
        ([3], False, "expected text, got int: 3"),
        ([["a", None]], True, "expected text, got NoneType"),
        (["a"], True, "a text is a list of words; got str"),
        ([3], True, "a text is a list of words; got int"),
        (["ab\ud800"], False, "character 2 of the text is"),
        ([["a", "\udfff"]], True, "character 0 of the text is"),
    ],
)
def test_what_is_no_text(parts: list[Any], is_split: bool, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_text(parts, is_split)


def test_what_is_a_text() -> None:
    check_text(["a", " b"], False)
    check_text([["", "a"], ("b",)], True)
    for words in (["a"], ["a", "b"]):
        assert are_words(words)
    for others in ([], ["a", 3], ("a",), "a", [["a"]]):
        assert not are_words(others)


def model_of(rows: int = 100, **config: Any) -> Any:
    text = SimpleNamespace(vocab_size=rows, **config)
    config_ = SimpleNamespace(get_text_config=lambda: text)
    return SimpleNamespace(config=config_, base_model=SimpleNamespace())


class Words(SimpleNamespace):
    """A tokenizer of some tokens, of which some were added."""

    def __len__(self) -> int:
        return int(self.vocab_size + self.added)


def test_vocabularies_are_of_one_size_but_for_padding_and_added_tokens() -> None:
    for size, added in ((100, 0), (100, 9), (90, 0), (80, 10)):
        check_same_vocabulary(Words(vocab_size=size, added=added), model_of())  # type: ignore[arg-type]
    for size, added in ((101, 0), (89, 0), (80, 9), (101, -10)):
        with pytest.raises(ModelError, match=f"has {size + added} tokens and the model 100"):
            check_same_vocabulary(Words(vocab_size=size, added=added), model_of())  # type: ignore[arg-type]


def test_a_text_is_at_most_as_long_as_both_accept() -> None:
    def most(tokens: int, table: Any = None, **config: Any) -> int | None:
        model = model_of(**config)
        if table is not None:
            embeddings = SimpleNamespace(position_embeddings=SimpleNamespace(**table))
            model.base_model = SimpleNamespace(embeddings=embeddings)
        return max_length(SimpleNamespace(model_max_length=tokens), model)  # type: ignore[arg-type]

    assert most(512) == most(512, max_position_embeddings=600) == 512
    assert most(10**30, max_position_embeddings=600) == 600
    assert most(10**30) is most(10**9) is most(10**30, max_position_embeddings=-1) is None
    assert most(10**9 - 1) == 10**9 - 1
    assert most(1) == 1
    assert most(0, max_position_embeddings=7) == 7
    assert most(512, {"num_embeddings": 514, "padding_idx": 1}, max_position_embeddings=514) == 512
    assert most(10**30, {"num_embeddings": 514, "padding_idx": 1}) == 512
    assert most(10**30, {"num_embeddings": 514, "padding_idx": None}) == 514
    assert most(10**30, {"num_embeddings": 514}) == 514


@pytest.mark.parametrize(
    ("documents", "message"),
    [
        ([], "there are no documents"),
        ("a", "must be a list of texts, or of mappings with a title and a text; got str"),
        (b"a", "got bytes"),
        ({"text": "a"}, "got dict"),
        (3, "got int"),
        (iter(["a"]), "got list_iterator"),
        (["a", " a "], "documents 1 and 2 have the same text"),
        ([{"title": "a"}], "document 1 has no text; its fields: title"),
        (["a", {}], "document 2 has no text; its fields: none"),
        (["a", "  "], "document 2 is empty"),
        ([{"text": 3}], "document 1: expected text, got int"),
        ([{"text": "a", "name": "\ud800"}], "document 1: character 0 of the text"),
    ],
)
def test_what_are_no_documents(documents: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_documents(documents)


def test_documents_are_named_by_the_first_field_that_names_them() -> None:
    given = ["a", {"text": "b", "id": 7, "name": "x"}, {"text": "c", "title": "", "id": " t \n u"}]
    for documents in (given, tuple(given)):
        assert [d.name for d in read_documents(documents)] == ["", "7", "t u"]
    assert [d.text for d in read_documents(np.array(["a", "b"]))] == ["a", "b"]
    assert read_documents([{"text": "a", "title": None, "id": 0}])[0].name == "0"
