"""Models of every kind of head against an oracle that shares no code with the package.

`python -m tools.coverage` compares all; these are a spread over the families.
"""

from __future__ import annotations

import pytest

from tests.helpers.zoo import MAPPINGS
from tools.coverage.compare import Result, compare

EQUAL = {
    "sequence-classification": """
        bart bert deberta-v2 distilbert ernie gpt2 jamba llama longformer mobilebert modernbert
        roberta t5 t5gemma2 xlnet zamba2
    """,
    "causal-lm": """
        bart bert bloom blt deepseek_v3 deepseek_v4 falcon gemma3 gpt2 gpt_neox granitemoehybrid
        llama mamba mixtral opt phi3 qwen3_next recurrent_gemma reformer rwkv whisper xlm xlnet
        zamba2
    """,
    "masked-lm": "albert bart bert deberta electra fnet longformer modernbert roberta squeezebert",
    "token-classification": "bert bros funnel gpt2 layoutlmv3 llama mt5 t5gemma2 xlnet",
    "question-answering": "bart bert distilbert led longformer qwen3 t5 xlm",
    "multiple-choice": "bert deberta-v2 longformer roberta xlnet",
    "seq2seq-lm": """
        bart encoder-decoder fsmt longt5 m2m_100 pegasus_x qwen2_audio seamless_m4t
        switch_transformers t5 t5gemma
    """,
    "image-classification": """
        beit clip convnext dinov2 efficientnet hgnet_v2 imagegpt mobilevit pvt resnet shieldgemma2
        siglip2 swin vit
    """,
    "audio-classification": "audio-spectrogram-transformer sew wav2vec2 whisper",
}

RAISES = {
    "sequence-classification": "canine funnel perceiver",  # other positions than those of tokens
    "causal-lm": "prophetnet",  # reads the states of several streams
    "question-answering": "big_bird lxmert splinter",  # reads other tokens, or gives no span
    "image-classification": "cvt",  # reads a class token that is no part of the states
}


def _pairs(expected: dict[str, str]) -> list[tuple[str, str]]:
    return [(mapping, name) for mapping, names in expected.items() for name in names.split()]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("mapping", "model_type"), _pairs(EQUAL))
def test_equals_the_oracle(mapping: str, model_type: str) -> None:
    row = compare(mapping, model_type)
    assert row.result == Result.EQUAL, row.detail


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("mapping", "model_type"), _pairs(RAISES))
def test_raises_where_the_oracle_finds_no_answer(mapping: str, model_type: str) -> None:
    row = compare(mapping, model_type)
    assert row.result == Result.RAISES, row.detail


def test_every_auto_mapping_is_represented() -> None:
    assert set(EQUAL) == set(MAPPINGS)
