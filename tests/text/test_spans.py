"""Parts of texts: spans, lines, tokens that are looked for, and texts of like length."""

import random
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from normxlogit.errors import InputError
from normxlogit.text.decoding import token_spans
from normxlogit.text.lengths import by_length
from normxlogit.text.offsets import _next_span, joined_word_offsets
from normxlogit.text.words import are_spans, are_words, as_span, checked_span, line_spans, owners


def test_a_span_is_a_pair_of_integers_inside_the_text() -> None:
    part: Any
    for part in ((0, 2), [0, 2], (np.int64(0), np.int32(2))):
        assert as_span(part) == checked_span(part, "ab") == (0, 2)
    for part in ((0, 2, 4), (0,), "ab", None, 3, (0, 1.5), (True, 2), (0, "1"), {0: 1, 1: 2}):
        assert as_span(part) is None
    for part in ((0, 3), (-1, 1), (1, 1), (2, 1), (0, 1.0), None):
        with pytest.raises(InputError, match="is not inside a text of 2 characters"):
            checked_span(part, "ab")
    assert checked_span((1, 2), "ab") == (1, 2)


def test_a_token_is_of_the_span_that_holds_its_first_visible_character() -> None:
    text = " ab  cd "
    spans = [(0, 4), (4, 7), (6, 8)]
    tokens = [(0, 1), (0, 2), (1, 3), (3, 6), (4, 5), (5, 7), (7, 8), (8, 8)]
    # In turn: a space; a space and "a"; "ab"; two spaces and "c"; a space; "cd"; a space; nothing.
    assert owners(text, tokens, spans).tolist() == [0, 0, 0, 1, 1, 1, 2, 2]
    assert owners(text, tokens, [(1, 2), (5, 6)]).tolist() == [-1, 0, 0, 1, -1, 1, -1, -1]
    assert owners(text, [(6, 7), (8, 8)], [(0, 6), (5, 8)]).tolist() == [1, 1]
    assert owners(text, [(2, 3), (8, 8)], [(0, 2)]).tolist() == [-1, -1]


def test_lines_cover_the_text() -> None:
    def lines(text: str) -> list[str]:
        return [text[start:end] for start, end in line_spans(text)]

    assert lines("a\nb\r\nc") == ["a\n", "b\r\n", "c"]
    assert lines("\n \na\n\n\u200d\nb\n") == ["\n \na\n\n\u200d\n", "b\n"]
    assert lines("\n") == ["\n"]
    assert lines("") == [""]


def test_what_spans_and_words_may_be() -> None:
    lengths = np.array([4, 4])
    for offsets, fits in (
        ([[0, 4], [2, 2]], True),
        ([[0, 4], [2, 5]], False),
        ([[0, 4], [3, 2]], False),
    ):
        assert are_spans(np.array(offsets, np.int32), lengths) is fits
    for numbers, segments, fits in (
        ([0, 0, 1], [0, 0, 1], True),
        ([0, 1, 1], [0, 0, 1], False),
        ([-1, 0, 1], [0, 0, 1], False),
    ):
        assert are_words(np.array(numbers, np.int32), np.array(segments, np.int32)) is fits


def test_texts_of_like_length_run_together() -> None:
    draw = random.Random(0)
    for _ in range(50):
        lengths = sorted(draw.randint(1, 12) for _ in range(draw.randint(0, 9)))
        padded, most = draw.choice([0.0, 0.25, 1.0]), draw.choice([1, 6, 20])
        asked: list[tuple[int, int]] = []

        def fits(rows: int, length: int, asked: Any = asked, most: int = most) -> bool:
            asked.append((rows, length))
            return rows * length <= most

        keys = list(range(len(lengths)))
        batches = list(by_length(keys, lengths.__getitem__, fits, padded=padded))
        assert [key for batch in batches for key in batch] == keys
        assert all(rows > 1 for rows, _ in asked)
        for number, batch in enumerate(batches):
            sizes = [lengths[key] for key in batch]
            assert sizes[-1] <= (1 + padded) * sizes[0]
            assert len(batch) == 1 or len(batch) * sizes[-1] <= most
            if number + 1 < len(batches):  # one more would not be alike, or not fit
                longer = lengths[batches[number + 1][0]]
                too_many = (len(batch) + 1) * longer > most
                assert too_many or longer > (1 + padded) * sizes[0]


def test_tokens_that_share_a_character_get_the_same() -> None:
    pieces = [b"a", b"\xc3", b"\xa9", b" b", b"", b"c\xf0\x9f", b"\x91\x8d", b"."]

    def decode(ids: Any) -> str:
        return b"".join(pieces[i] for i in ids).decode(errors="replace")

    text = decode(range(8))
    assert text == "aé bc👍."
    spans = token_spans(range(8), text, decode)
    # What adds nothing waits for the next; "c" and the thumb are of two tokens together.
    assert spans == [(0, 1), (1, 2), (1, 2), (2, 4), (4, 6), (4, 6), (4, 6), (6, 7)]
    assert token_spans(range(2), "a\ufffd", decode) == [(0, 1), (1, 2)]
    assert token_spans([], "", decode) == []


def test_a_decoder_that_needs_all_that_stands_before() -> None:
    """One that opens quotes and closes them in turn."""

    def decode(ids: Any) -> str:
        words, quotes = "", 0
        for i in ids:
            words += ("“" if quotes % 2 == 0 else "”") * 2 if i == 9 and quotes > 1 else str(i)
            quotes += i == 9
        return words

    ids = [9, 1, 9, 2, 9, 9]
    text = decode(ids)
    spans = token_spans(ids, text, decode)
    assert spans[-1][1] == len(text)
    assert [text[slice(*span)] for span in spans] == ["9", "1", "9", "2", "““", "””"]


@pytest.mark.parametrize(
    ("token", "text", "cursor", "unknown", "span"),
    [
        ("ab", "ab cd", 0, False, (0, 2)),
        ("▁cd", "ab  cd", 2, False, (4, 6)),
        ("##b", "ab", 1, False, (1, 2)),
        ("Ġcd", "ab cd", 2, False, (3, 5)),
        ("ab</w>", "AB", 0, False, (0, 2)),
        ("a@@", "ab", 0, False, (0, 1)),
        ("▁", "ab cd", 2, False, (2, 2)),
        ("cd", "ab cd", 0, False, None),
        ("abc", "ab", 0, False, None),
        ("<unk>", "ab  cd e", 2, True, (4, 6)),
        ("<unk>", "ab  ", 2, True, None),
    ],
)
def test_where_a_token_stands(
    token: str, text: str, cursor: int, unknown: bool, span: tuple[int, int] | None
) -> None:
    assert _next_span(token, text, cursor, unknown) == span


def test_offsets_of_given_words() -> None:
    encoding = SimpleNamespace(
        offsets=[(0, 0), (0, 2), (2, 3), (0, 1), (0, 0), (0, 2)], word_ids=[None, 0, 0, 1, None, 0]
    )
    offsets, numbers = joined_word_offsets([["abc", "d"], ["ef"]], encoding, [-1, 0, 0, 0, -1, 1])
    assert offsets == [(0, 0), (0, 2), (2, 3), (4, 5), (0, 0), (0, 2)]
    assert numbers == [-1, 0, 0, 1, -1, 2]
