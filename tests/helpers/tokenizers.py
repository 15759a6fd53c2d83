"""Tokenizers that normalize, split and trim in different ways, trained on the spot."""

from collections.abc import Callable
from typing import Any

from tokenizers import (
    AddedToken,
    Tokenizer,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from normxlogit import Explainer
from tests.helpers.builders import CORPUS, SPECIALS


def _word_pieces(normalizer: Any) -> Tokenizer:
    inner = Tokenizer(models.WordPiece(unk_token="<unk>", max_input_chars_per_word=200))
    inner.normalizer, inner.pre_tokenizer = normalizer, pre_tokenizers.BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=300, special_tokens=SPECIALS, initial_alphabet=list("abcdefghijklmnopqrstuvwxyz")
    )
    inner.train_from_iterator(CORPUS, trainer)
    return inner


def _byte_level(normalizer: Any = None, *, trim: bool, prefix: bool) -> Tokenizer:
    inner = Tokenizer(models.BPE())
    if normalizer is not None:
        inner.normalizer = normalizer
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    trainer = trainers.BpeTrainer(
        vocab_size=400,
        special_tokens=SPECIALS,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    inner.train_from_iterator(CORPUS, trainer)
    inner.post_processor = processors.ByteLevel(trim_offsets=trim, add_prefix_space=prefix)
    return inner


def _characters() -> Tokenizer:
    """BPE without an unknown token: what is not in its alphabet has no token at all."""
    inner = Tokenizer(models.BPE())
    inner.normalizer, inner.pre_tokenizer = normalizers.NFC(), pre_tokenizers.Whitespace()
    inner.train_from_iterator(
        CORPUS[:2], trainers.BpeTrainer(vocab_size=120, special_tokens=SPECIALS)
    )
    return inner


def _unigram(normalizer: Any, *, split: bool, scheme: str) -> Tokenizer:
    inner = Tokenizer(models.Unigram())
    inner.normalizer = normalizer
    inner.pre_tokenizer = pre_tokenizers.Metaspace(split=split, prepend_scheme=scheme)
    trainer = trainers.UnigramTrainer(vocab_size=400, special_tokens=SPECIALS, unk_token="<unk>")
    inner.train_from_iterator(CORPUS, trainer)
    return inner


_KINDS: dict[str, Callable[[], Tokenizer]] = {
    "word pieces without accents": lambda: _word_pieces(normalizers.BertNormalizer()),
    "word pieces with accents": lambda: _word_pieces(
        normalizers.BertNormalizer(strip_accents=False, lowercase=False)
    ),
    "word pieces, composed": lambda: _word_pieces(normalizers.NFC()),
    "bytes": lambda: _byte_level(trim=False, prefix=False),
    "bytes, trimmed": lambda: _byte_level(trim=True, prefix=False),
    "bytes after a space": lambda: _byte_level(trim=False, prefix=True),
    "bytes after a space, trimmed, composed": lambda: _byte_level(
        normalizers.NFKC(), trim=True, prefix=True
    ),
    "characters that are known": _characters,
    "unigrams": lambda: _unigram(normalizers.NFKC(), split=False, scheme="always"),
    "unigrams of words": lambda: _unigram(normalizers.NFD(), split=True, scheme="first"),
    "unigrams without accents": lambda: _unigram(
        normalizers.Sequence([normalizers.NFD(), normalizers.StripAccents()]),
        split=True,
        scheme="never",
    ),
}

TOKENIZERS = (*_KINDS, "demo", "given white space on the left", "given white space on the right")


def make_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """The tokenizer of that name in `TOKENIZERS`."""
    if name == "demo":
        demo: PreTrainedTokenizerBase = Explainer.from_pretrained("demo").tokenizer
        return demo
    inner = _KINDS.get(name, _KINDS["bytes, trimmed"])()
    for text in ("<mask>", "</s>"):
        added = AddedToken(
            text, lstrip=name.endswith("left"), rstrip=name.endswith("right"), special=True
        )
        inner.add_special_tokens([added])
    fast: Any = PreTrainedTokenizerFast
    made: PreTrainedTokenizerBase = fast(
        tokenizer_object=inner, eos_token="</s>", pad_token="<pad>", unk_token="<unk>"
    )
    return made
