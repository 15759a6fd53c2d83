"""Words, sentences and spans of any text and tokenizer: whole for a reader, and nothing lost."""

import unicodedata
from functools import cache
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from normxlogit import Attribution, InputError
from normxlogit.results.prediction import Prediction, Target
from normxlogit.text.encoder import Encoder
from normxlogit.text.words import first_visible
from tests.helpers.results import PROVENANCE
from tests.helpers.tokenizers import TOKENIZERS, make_tokenizer

LETTERS = {
    "Latin": "un be liev able dé jà ê nói Việt Đặng œuf ﬁn",
    "Greek": "ἄνθρωπος καί ὠδή",
    "Cyrillic": "ещё йод їжа",
    "Hebrew": "שָׁלוֹם בְּרֵאשִׁית",
    "Arabic": "كِتَابٌ مُحَمَّد آن",
    "Hindi": "हिन्दी क़लम कि",
    "Tamil": "தமிழ் கொ",
    "Korean": "한국 말 값 뷁",
}
"""Of scripts that are written with spaces: letters that have marks, or are made of several."""

HIDDEN = ["\u00ad", "\u200d", "\u200c", "\u2060", "\u200e", "\u200f", "\ufeff", "\u034f"]
FORMS = ("NFC", "NFD", "NFKC", "NFKD")

syllables = st.builds(
    unicodedata.normalize,
    st.sampled_from(FORMS),
    st.sampled_from([part for parts in LETTERS.values() for part in parts.split()]),
)
words = st.builds(
    lambda parts, hyphen: hyphen.join(parts),
    st.lists(syllables, min_size=1, max_size=4),
    st.sampled_from(["", *HIDDEN]),
)
pieces = st.one_of(
    syllables,
    st.sampled_from(HIDDEN),
    st.sampled_from([" ", "  ", "\n", "\t\n ", "\u00a0", "\u3000", "\u200b", "\x00", "\r\n"]),
    st.sampled_from(["</s>", " </s>", "</s> ", "<mask>", "<pad>", "<unk>"]),
    st.sampled_from([*"?!.,…'’-()。、「」", "...", "?!"]),
    st.sampled_from(["👍🏽", "👨‍👩‍👧", "❤\ufe0f", "🇩🇪", "\u0301", "\u202eabc\u202c"]),
    st.sampled_from(["我喜欢", "ภาพยนตร์", "映画は", "2024", "don't", "l'été"]),
    st.characters(exclude_categories=["Cs"]),
)
texts = st.lists(pieces, min_size=1, max_size=12).map("".join)


@cache
def encoder(name: str) -> Encoder:
    words = make_tokenizer(name)
    config = SimpleNamespace(vocab_size=len(words), max_position_embeddings=None)
    model: Any = SimpleNamespace(
        config=SimpleNamespace(get_text_config=lambda: config), base_model=None
    )
    return Encoder(words, model)


def scored(name: str, text: Any) -> Attribution:
    """The tokens of a text with whole numbers for scores, whose sums are exact."""
    encoded = encoder(name).encode(text)
    target = Target("A", 0, 1.0, None)
    return Attribution(
        texts=encoded.texts,
        tokens=encoded.tokens,
        scores=np.random.default_rng(0).integers(1, 1000, len(encoded)).astype(np.float32),
        special=encoded.special,
        offsets=encoded.offsets,
        segments=encoded.segments,
        word_numbers=encoded.words,
        axes=(),
        targets=(target,),
        layers=(1,),
        prediction=Prediction("regression", (target,), (target,)),
        provenance=PROVENANCE,
    )


def total(result: Attribution, segment: int | None = None) -> float:
    """The sum over what is not special."""
    counted = ~result.special
    if segment is not None:
        counted &= result.segments == segment
    return float(result.scores[counted].sum())


def spoken(result: Attribution) -> list[str]:
    return [
        token for token, hidden in zip(result.tokens, result.special, strict=True) if not hidden
    ]


def is_seen(text: str) -> bool:
    return first_visible(text, 0, len(text)) < len(text)


def assert_nothing_is_lost(result: Attribution, cuts: list[int]) -> None:
    """Sums are those of the tokens; `cuts` choose the tokens at which texts are cut into spans."""
    for summed in (result.words(), result.sentences(), result.by("line")):
        assert total(summed) == total(result)
    for segment, text in enumerate(result.texts):
        inside = result.offsets[(result.segments == segment) & ~result.special]
        firsts = ((first_visible(text, start, end), end) for start, end in inside.tolist())
        starts = sorted({first for first, end in firsts if first < end})
        # A cut before the first token would make a span without one, which is refused.
        chosen = {starts[cut % len(starts)] for cut in cuts if starts} - {*starts[:1]}
        ends = sorted({0, len(text), *chosen})
        if len(inside):
            summed = result.by(list(pairwise(ends)), segment=segment)
            assert total(summed) == total(result, segment)


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(max_examples=80, deadline=None)
@given(text=texts, cuts=st.lists(st.integers(0, 40), max_size=3))
def test_words_sentences_and_spans_sum_to_the_tokens(name: str, text: str, cuts: list[int]) -> None:
    try:
        result = scored(name, text)
    except InputError:  # no token, or nothing to see
        return
    assert_nothing_is_lost(result, cuts)


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(max_examples=50, deadline=None)
@given(first=texts, second=texts)
def test_pairs_sum_to_the_tokens(name: str, first: str, second: str) -> None:
    try:
        result = scored(name, (first, second))
    except InputError:
        return
    assert_nothing_is_lost(result, [1, 5])


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(max_examples=50, deadline=None)
@given(text=texts)
def test_what_is_not_seen_is_no_word_beside_one(name: str, text: str) -> None:
    try:
        result = scored(name, text).words()
    except InputError:
        return
    for n in np.flatnonzero(~result.special):
        if not is_seen(result.tokens[n]):
            beside = [i for i in (n - 1, n + 1) if 0 <= i < len(result)]
            assert all(result.special[i] for i in beside)


@pytest.mark.parametrize("name", [n for n in TOKENIZERS if n != "characters that are known"])
@settings(max_examples=50, deadline=None)
@given(expected=st.lists(words, min_size=1, max_size=5))
def test_words_stay_whole(name: str, expected: list[str]) -> None:
    """Whatever the tokenizer composes, strips or leaves out."""
    assert spoken(scored(name, " ".join(expected)).words()) == expected


@pytest.mark.parametrize("name", TOKENIZERS)
def test_white_space_before_a_special_token_is_counted(name: str) -> None:
    for text in (" </s> good", "good </s>  </s> bad", "good </s> ", "\u00ad</s>good"):
        assert_nothing_is_lost(scored(name, text), [])


def test_marks_that_the_tokenizer_keeps_together_are_one_word() -> None:
    assert spoken(scored("bytes", "good?!... (bad)").words()) == ["good", "?!...", "(", "bad", ")"]
    word_pieces = spoken(scored("word pieces with accents", "good?!...").words())
    assert word_pieces == ["good", "?", "!", ".", ".", "."]
