"""Random tiny models, and inputs for them, of every type in transformers' auto mappings.

A tiny config is the type's default config with the fields of `_SMALL` cut down, sub-configs
included; `_PER_TYPE` holds what a type needs beyond that. Nothing is downloaded.
"""

from __future__ import annotations

import inspect
from typing import Any, Literal

import torch
import transformers
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
)

SEQUENCE_CLASSIFIERS: dict[str, str] = {
    model_type: names if isinstance(names, str) else names[0]
    for model_type, names in MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES.items()
}
"""Model type to class name, in transformers' order."""

Padding = Literal["right", "left"]

VOCABULARY = 120
PAD, BOS, EOS = 1, 0, 2
_ORDINARY_TOKENS = (20, 100)
"""Range of the ids that no config of the zoo gives a special meaning."""

_HIDDEN, _INNER, _HEADS, _HEAD, _LAYERS, _RANK = 32, 64, 4, 8, 2, 16

_SMALL: dict[str, int] = {
    name: value
    for value, names in (
        (
            _HIDDEN,
            "hidden_size d_model n_embd dim emb_dim embedding_size word_embed_proj_dim "
            "entity_emb_size d_latents input_embedding_size output_embedding_size "
            "pronunciation_embed_dim shape_embed_dim prediction_head_size out_hidden_size "
            "attention_hidden_size",
        ),
        (
            _INNER,
            "intermediate_size moe_intermediate_size shared_expert_intermediate_size ffn_dim "
            "encoder_ffn_dim decoder_ffn_dim d_ff dff d_inner hidden_dim ffn_hidden_size "
            "feed_forward_size",
        ),
        (
            _HEADS,
            "num_attention_heads n_head n_heads num_heads encoder_attention_heads "
            "decoder_attention_heads num_self_attention_heads num_cross_attention_heads "
            "linear_num_value_heads index_n_heads",
        ),
        (2, "num_key_value_heads num_kv_heads linear_num_key_heads"),
        (
            _HEAD,
            "head_dim attention_head_size attention_head_dim kv_channels d_kv d_head "
            "qk_nope_head_dim qk_rope_head_dim v_head_dim linear_key_head_dim "
            "linear_value_head_dim index_head_dim query_pre_attn_scalar mamba_d_state",
        ),
        (_RANK, "kv_lora_rank q_lora_rank adapter_rank intra_bottleneck_size dim_model_base"),
        (
            _LAYERS,
            "num_hidden_layers n_layer n_layers num_layers encoder_layers decoder_layers "
            "num_decoder_layers num_self_attends_per_block depth",
        ),
        (
            VOCABULARY,
            "vocab_size entity_vocab_size pronunciation_vocab_size shape_vocab_size",
        ),
        (
            128,
            "max_position_embeddings n_positions max_seq_len original_max_position_embeddings "
            "max_2d_position_embeddings",
        ),
        (4, "num_experts num_local_experts n_routed_experts rotary_dim index_topk"),
        (2, "num_experts_per_tok"),
        (1, "n_group topk_group first_k_dense_replace n_shared_experts"),
        (0, "num_mtp_layers"),
        (64, "num_hash_buckets"),
        (32, "image_size input_size"),
        (8, "patch_size"),
        # LayoutLMv3: 4 x coordinate + 2 x shape = hidden
        (6, "coordinate_size"),
        (4, "shape_size"),
        # Perceiver: as many latents as `tiny_inputs` has tokens, so that no shape tells them apart
        (7, "num_latents"),
    )
    for name in names.split()
}
"""Largest value that a field may keep; a smaller default stays."""

_TOKEN_IDS: dict[str, int | None] = {
    "pad_token_id": PAD,
    "bos_token_id": BOS,
    "cls_token_id": BOS,
    "eos_token_id": EOS,
    "sep_token_id": EOS,
    "decoder_start_token_id": BOS,
    "forced_eos_token_id": None,
    "mask_token_id": 4,
    # XLM, FlauBERT
    "pad_index": PAD,
    "bos_index": BOS,
    "eos_index": EOS,
    # multimodal types, fed with text only
    "boi_token_index": 10,
    "eoi_token_index": 11,
    "image_token_index": 12,
    "image_token_id": 12,
    "video_token_id": 13,
    "vision_start_token_id": 14,
    "vision_end_token_id": 15,
}

_ATTENTION_TOO = ["linear_attention", "full_attention"]
"""Layer types of hybrids whose first two layers would both be linear attention."""

_ROPE = {"rope_type": "default", "rope_theta": 10_000.0}

_PER_TYPE: dict[str, dict[str, Any]] = {
    "cohere_compass_text": {
        "layer_types": ["sliding_attention", "full_attention"],
        "rope_parameters": {"sliding_attention": _ROPE, "full_attention": _ROPE},
    },
    "deepseek_v2": {"num_experts_per_tok": 2},  # None by default
    "esm": {"vocab_size": VOCABULARY},  # None by default
    "esmc": {"vocab_size": VOCABULARY},  # 64 by default, less than the ids of `tiny_inputs`
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "hunyuan_v1_dense": {"head_dim": _HEAD},  # None by default, and not derived
    "hunyuan_v1_moe": {"head_dim": _HEAD},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "lilt": {"hidden_size": 48},  # six box coordinates share it evenly
    "longformer": {"attention_window": 4},  # sequences are padded to a multiple of it
    "markuplm": {"max_depth": 4, "xpath_unit_hidden_size": 4},
    "ministral": {"head_dim": _HEAD},
    "nemotron": {"num_key_value_heads": 2},
    "qwen3_5_text": {"layer_types": _ATTENTION_TOO},
    "qwen3_next": {"layer_types": _ATTENTION_TOO},
    "reformer": {
        "attn_layers": ["local", "lsh"],
        "axial_pos_embds_dim": [16, 16],
        "axial_pos_shape": [8, 16],
        "hash_seed": 0,  # random hashes in every forward pass otherwise
        "local_attn_chunk_length": 4,
        "lsh_attn_chunk_length": 4,
        "num_buckets": 2,
    },
    "t5": {"decoder_start_token_id": BOS},
    "xmod": {"default_language": "en_XX"},
    "zamba": {
        "attention_hidden_size": 2 * _HIDDEN,  # attention sees the embeddings beside the states
        "attention_head_dim": 2 * _HIDDEN // _HEADS,
        "num_hidden_layers": 4,
        "layers_block_type": ["linear_attention", "hybrid"] * 2,
    },
    "zamba2": {
        "num_hidden_layers": 3,
        "layers_block_type": ["linear_attention", "linear_attention", "hybrid"],
        "mamba_headdim": 8,
    },
}


def _build_config(
    config_class: type[PretrainedConfig], overrides: dict[str, Any]
) -> PretrainedConfig:
    default = config_class()
    arguments: dict[str, Any] = {}
    for name in inspect.signature(config_class.__init__).parameters:
        value = getattr(default, name, None)
        if isinstance(value, PretrainedConfig):
            arguments[name] = _build_config(type(value), {})
        elif name in _TOKEN_IDS:
            arguments[name] = _TOKEN_IDS[name]
        elif name in _SMALL and isinstance(value, int):
            arguments[name] = min(value, _SMALL[name])
    heads, kv_heads = "num_attention_heads", "num_key_value_heads"
    if kv_heads in arguments and getattr(default, heads) == getattr(default, kv_heads):
        arguments[kv_heads] = arguments[heads]  # no grouped queries by default: not here either
    arguments |= _PER_TYPE.get(config_class.model_type, {})
    return config_class(**(arguments | overrides))


def tiny_config(model_type: str, **overrides: Any) -> PretrainedConfig:
    """The default config of `model_type`, cut down to some ten thousand parameters.

    `overrides` are keyword arguments of the config and win over the zoo's own values.
    """
    return _build_config(CONFIG_MAPPING[model_type], overrides)


def tiny_model(
    model_type: str, num_labels: int = 3, seed: int = 0, **overrides: Any
) -> PreTrainedModel:
    """A random sequence classifier of `model_type`, on the CPU in float32 and in eval mode.

    Noise on top of the initialisation makes biases and LayerNorms non-trivial. The same arguments
    give the same weights, and the global random state is left alone. `overrides` go to the config.
    Raises whatever transformers raises when the type cannot be built, such as ImportError.
    """
    config = tiny_config(model_type, **overrides)
    for part in (config, config.get_text_config()):
        part.num_labels = num_labels
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: PreTrainedModel = getattr(transformers, SEQUENCE_CLASSIFIERS[model_type])(config)
        nn.Module.float(model).train(False)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter), alpha=0.1)
    return model


def tiny_inputs(
    model: PreTrainedModel,
    batch: int = 2,
    length: int = 7,
    seed: int = 0,
    padding: Padding | None = "right",
) -> dict[str, Tensor]:
    """Random `input_ids` and `attention_mask`, both [batch, length] and int64.

    Every row begins with the zoo's bos and ends with its eos, the only ones in it. With `padding`,
    row b is 2b tokens shorter than `length` (but at least 3 tokens long), so that row 0 is full.
    """
    config = model.config.get_text_config()
    pad = getattr(config, "pad_token_id", None)
    pad = PAD if pad is None else pad
    generator = torch.Generator().manual_seed(seed)
    ids = torch.full((batch, length), pad)
    mask = torch.zeros(batch, length, dtype=torch.long)
    for row in range(batch):
        real = max(min(3, length), length - 2 * row) if padding else length
        tokens = torch.randint(*_ORDINARY_TOKENS, (real,), generator=generator)
        tokens[0], tokens[-1] = BOS, EOS
        span = slice(length - real, None) if padding == "left" else slice(real)
        ids[row, span] = tokens
        mask[row, span] = 1
    return {"input_ids": ids, "attention_mask": mask}
