"""Small tokenizers of the three kinds, trained on the spot, and random classifiers for them."""

from typing import Any

from tokenizers import (
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import PreTrainedModel, PreTrainedTokenizerBase, PreTrainedTokenizerFast

from tests.helpers.zoo import tiny_model

CORPUS = [
    "A great movie with poor performers. I didn't like it, but they're unbelievably good!",
    "The plot is not bad at all; the acting, however, is a mess. Don't watch it twice.",
    "El rápido zorro marrón salta sobre el perro perezoso. ¿Qué? ¡Sí!",
    "我喜欢这部电影 因为它很好看。 この映画はとても面白いです。 ภาพยนตร์เรื่องนี้ดีมาก",
    "Мне понравился этот фильм. هذا الفيلم جيد جدا. यह फिल्म बहुत अच्छी है।",
    "premise hypothesis first second one two three four five six seven eight nine ten",
]
SPECIALS = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
"""In the order of the ids that the tiny models of `tests.helpers.zoo` use."""

KINDS = ("wordpiece", "bpe", "unigram")


def tokenizer(
    kind: str = "wordpiece", *, add_eos: bool = True, **options: Any
) -> PreTrainedTokenizerBase:
    """A tokenizer of a kind, with <s> ... </s> around the text."""
    if kind == "wordpiece":
        inner = _wordpiece()
    elif kind == "bpe":
        inner = Tokenizer(models.BPE())
        inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
        inner.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        inner.train_from_iterator(
            CORPUS,
            trainers.BpeTrainer(vocab_size=400, special_tokens=SPECIALS, initial_alphabet=alphabet),
        )
    else:
        inner = Tokenizer(models.Unigram())
        inner.pre_tokenizer = pre_tokenizers.Metaspace(split=False)
        inner.train_from_iterator(
            CORPUS,
            trainers.UnigramTrainer(vocab_size=400, special_tokens=SPECIALS, unk_token="<unk>"),
        )
    inner.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>" if add_eos else "<s> $A",
        pair="<s> $A </s> $B </s>",
        special_tokens=[("<s>", 0), ("</s>", 2)],
    )
    defaults = {
        "bos_token": "<s>",
        "pad_token": "<pad>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "cls_token": "<s>",
        "sep_token": "</s>",
        "model_max_length": 64,
    }
    fast: Any = PreTrainedTokenizerFast
    trained: PreTrainedTokenizerBase = fast(
        tokenizer_object=inner,
        model_input_names=["input_ids", "attention_mask"],
        **(defaults | options),
    )
    return trained


def _wordpiece() -> Tokenizer:
    """A vocabulary of the short words of the corpus, and of all its characters for the others."""
    normalizer, splitter = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    words = [
        word
        for text in CORPUS
        for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(text))
    ]
    characters = sorted(
        {character for word in words for character in word} | set("x👍🏽👨👩👧\u200d")
    )
    short = sorted({word for word in words if 1 < len(word) <= 6})
    pieces = [*SPECIALS, *characters, *(f"##{c}" for c in characters), *short]
    inner = Tokenizer(models.WordPiece({p: i for i, p in enumerate(pieces)}, unk_token="<unk>"))
    inner.normalizer, inner.pre_tokenizer = normalizer, splitter
    return inner


def classifier(
    words: PreTrainedTokenizerBase, model_type: str = "bert", num_labels: int = 3, **config: Any
) -> PreTrainedModel:
    """A random classifier whose vocabulary is that of the tokenizer."""
    return tiny_model(model_type, num_labels, vocab_size=len(words), **config)
