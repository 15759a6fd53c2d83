"""Tiny configs of every model type of transformers.

A tiny config is the type's default config with the fields of `_SMALL` and `_SMALL_LISTS` cut down,
sub-configs included; `_PER_TYPE` holds what a type needs beyond that. Nothing is downloaded.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any

from transformers import PretrainedConfig
from transformers.models.auto.configuration_auto import CONFIG_MAPPING

VOCABULARY = 120
PAD, BOS, EOS, MASK = 1, 0, 2, 4

_HIDDEN, _INNER, _HEADS, _HEAD, _LAYERS, _RANK = 32, 64, 4, 8, 2, 16


def _by_name(*groups: tuple[int, str]) -> dict[str, int]:
    return {name: value for value, names in groups for name in names.split()}


_SMALL: dict[str, int] = _by_name(
    (
        _HIDDEN,
        "hidden_size d_model n_embd dim emb_dim embedding_size embed_dim word_embed_proj_dim "
        "entity_emb_size d_latents input_embedding_size output_embedding_size decoder_hidden_size "
        "pronunciation_embed_dim shape_embed_dim prediction_head_size out_hidden_size d_embed "
        "attention_hidden_size linear_attention_hidden_size lru_width backbone_hidden_size "
        "decoder_embed_dim cross_attention_hidden_size projection_dim embedding_rank embedding_dim "
        "router_hidden_size mamba_d_ssm conv_hidden_size codevector_dim proj_codevector_dim "
        "pooler_hidden_size hidden_size_global audio_hidden_size output_dim ext_pw_out_channel "
        "nemo_conv_channels depthwise_separable_out_channel downsample_hidden_size output_channels",
    ),
    (
        _INNER,
        "intermediate_size moe_intermediate_size shared_expert_intermediate_size ffn_dim dim_ff "
        "encoder_ffn_dim decoder_ffn_dim d_ff dff d_inner hidden_dim ffn_hidden_size n_inner "
        "feed_forward_size expert_ffn_hidden_size intermediate_size_mlp dense_intermediate_size "
        "moe_shared_expert_intermediate_size shared_experts_intermediate_size expert_dim "
        "shared_intermediate_size speech_encoder_intermediate_size t2u_decoder_ffn_dim "
        "t2u_encoder_ffn_dim prompt_mid_dim mlp_dim",
    ),
    (
        _HEADS,
        "num_attention_heads n_head n_heads num_heads encoder_attention_heads attention_heads "
        "decoder_attention_heads num_self_attention_heads num_cross_attention_heads "
        "num_encoder_attention_heads num_decoder_attention_heads swa_num_attention_heads "
        "linear_num_value_heads linear_num_heads index_n_heads speech_encoder_attention_heads "
        "t2u_encoder_attention_heads t2u_decoder_attention_heads mamba_num_heads "
        "full_num_attention_heads sliding_num_attention_heads",
    ),
    (
        2,
        "num_key_value_heads num_kv_heads linear_num_key_heads swa_num_key_value_heads "
        "num_global_key_value_heads n_head_kv multi_query_group_num n_mamba_heads",
    ),
    (
        _HEAD,
        "head_dim attention_head_size attention_head_dim kv_channels d_kv d_head dim_head "
        "qk_nope_head_dim qk_rope_head_dim v_head_dim linear_key_head_dim swa_v_head_dim "
        "linear_value_head_dim linear_head_dim index_head_dim query_pre_attn_scalar mamba_d_state "
        "global_head_dim swa_head_dim mamba_head_dim state_size ssm_state_size mamba_n_heads",
    ),
    (
        _RANK,
        "kv_lora_rank q_lora_rank o_lora_rank adapter_rank intra_bottleneck_size dim_model_base "
        "hc_lowrank laurel_rank gated_norm_rank lora_rank hidden_size_per_layer_input qk_head_dim "
        "classifier_proj_size time_mix_extra_dim decay_lora_rank visual_feat_dim num_mel_bins "
        "aspp_out_channels num_conv_pos_embeddings",
    ),
    (
        _LAYERS,
        "num_hidden_layers n_layer n_layers num_layers encoder_layers decoder_layers "
        "num_decoder_layers num_encoder_layers num_self_attends_per_block speech_encoder_layers "
        "t2u_encoder_layers t2u_decoder_layers l_layers x_layers r_layers max_window_layers "
        "num_conv_pos_embedding_groups layer_group_size num_codebooks num_blocks",
    ),
    (
        VOCABULARY,
        "vocab_size src_vocab_size tgt_vocab_size entity_vocab_size pronunciation_vocab_size "
        "shape_vocab_size vocab_size_per_layer_input unit_hifi_gan_vocab_size t2u_vocab_size "
        "char_vocab_size unpadded_vocab_size text_vocab_size",
    ),
    (
        128,
        "max_position_embeddings n_positions max_seq_len original_max_position_embeddings n_ctx "
        "max_2d_position_embeddings max_source_positions max_target_positions seq_length "
        "max_encoder_position_embeddings max_decoder_position_embeddings context_length "
        "t2u_max_position_embeddings max_sequence_length original_context_length",
    ),
    (
        4,
        "num_experts num_local_experts n_routed_experts moe_num_experts rotary_dim index_topk "
        "shape_size num_frames prompt_length spkr_embed_dim lang_embed_dim max_depth "
        "xpath_unit_hidden_size",
    ),
    (2, "num_experts_per_tok moe_topk moe_k moe_top_k top_k_experts zero_expert_num"),
    (
        1,
        "n_group topk_group first_k_dense_replace n_shared_experts num_shared_experts "
        "num_expert_group mamba_n_groups hidden_groups encoder_hash_byte_group_nb_functions",
    ),
    (0, "num_mtp_layers num_nextn_predict_layers num_kv_shared_layers"),
    (
        64,
        "num_hash_buckets sliding_window attention_chunk_size local_attention chunk_size "
        "mamba_chunk_size attention_window_size",
    ),
    (32, "image_size input_size codebook_size audio_vocab_size upsample_initial_channel"),
    (8, "patch_size unit_embed_dim xvector_output_dim"),
    # LayoutLMv3: 4 x coordinate + 2 x shape = hidden
    (6, "coordinate_size"),
    # Perceiver: as many latents as `tiny_inputs` has tokens, so that no shape tells them apart
    (7, "num_latents"),
)
"""Largest value that a field may keep; a smaller default stays."""

_CHANNELS = 16

_SMALL_LISTS: dict[str, int] = _by_name(
    (
        1,
        "depths depth num_block_repeats n_attn_blocks stage_num_blocks stage_numb_of_layers",
    ),
    (2, "num_heads num_attention_heads"),
    (_CHANNELS, "conv_dim tdnn_dim"),
)
"""Largest value that the numbers in a list may keep."""

_GROWING_LISTS = (
    "hidden_sizes",
    "neck_hidden_sizes",
    "embed_dims",
    "embed_dim",
    "stage_in_channels",
    "stage_mid_channels",
    "stage_out_channels",
    "encoder_hidden_sizes",
    "decoder_hidden_sizes",
)
"""Lists of channels, one a stage: at most 16 in the first, 32 in the second, ..."""

_TOKEN_IDS: dict[str, int | None] = {
    "pad_token_id": PAD,
    "bos_token_id": BOS,
    "cls_token_id": BOS,
    "eos_token_id": EOS,
    "sep_token_id": EOS,
    "decoder_start_token_id": BOS,
    "forced_bos_token_id": None,
    "forced_eos_token_id": None,
    "begin_suppress_tokens": None,
    "mask_token_id": MASK,
    "question_token_id": 3,
    "eod_token_id": 3,
    "tag_pad_id": 0,
    "subs_pad_id": 0,
    # XLM, FlauBERT
    "pad_index": PAD,
    "bos_index": BOS,
    "eos_index": EOS,
    "unk_index": 3,
    "mask_index": 5,
}

_MODALITIES = (
    "image",
    "audio",
    "video",
    "vision",
    "boi",
    "eoi",
    "boa",
    "eoa",
    "document",
    "timestamp",
    "speech",
    "box",
    "start",
    "end",
)
"""First words of the names of ids that mark other modalities; `tiny_inputs` is text only."""

_ATTENTION_TOO = ["linear_attention", "full_attention"]
"""Layer types of hybrids whose first two layers would both be linear attention."""

_ROPE = {"rope_type": "default", "rope_theta": 10_000.0}

_ROPES = {"sliding_attention": _ROPE, "full_attention": _ROPE}
_SLIDING_TOO = ["sliding_attention", "full_attention"]
_CONVOLUTION_TOO = ["conv", "full_attention"]

_SWIN: dict[str, Any] = {"image_size": 32, "patch_size": 2, "window_size": 4, "embed_dim": 16}
_SWIN |= {"depths": [1, 1], "num_heads": [2, 2]}
_GEMMA4 = {"hidden_size_per_layer_input": 0, "layer_types": _SLIDING_TOO, "head_dim": _HEAD}
_VIBEVOICE_ENCODER = {"num_filters": 4, "downsampling_ratios": [2, 2], "depths": [1, 1, 1]}

_PYRAMIDS = (
    "convnext",
    "convnextv2",
    "mobilevit",
    "poolformer",
    "pvt",
    "pvt_v2",
    "segformer",
    "swiftformer",
)
"""They end with a 32nd of the image's height and width."""

_PER_TYPE: dict[str, dict[str, Any]] = {
    **{model_type: {"image_size": 64} for model_type in _PYRAMIDS},
    "audio-spectrogram-transformer": {"max_length": 40, "num_mel_bins": 32},
    "bamba": {"attn_layer_indices": [1], "mamba_n_heads": 8, "mamba_d_head": 8},
    "bit": {"num_groups": 2},
    "blt": {
        "encoder_hash_byte_group_vocab": 64,
        "encoder_hash_byte_group_size": [3],
        "use_cache": False,
    },
    "bros": {"dim_bbox": 8, "hidden_size": 64},
    "cohere_compass_text": {"layer_types": _SLIDING_TOO, "rope_parameters": _ROPES},
    "cvt": {"embed_dim": [16, 32, 48], "num_heads": [1, 2, 2], "depth": [1, 2, 3]},
    "dbrx": {
        "attn_config": {"kv_n_heads": 2, "rope_theta": 10_000.0, "clip_qkv": 8}
    },  # cannot do without
    "deepseek_v2": {"num_experts_per_tok": 2},  # None by default
    "donut-swin": _SWIN,
    "dots3_note_text": {
        "layer_types": ["indexed_attention"] * 2,
        "num_attention_heads": _HEADS,
        "num_key_value_heads": _HEADS,
        "kv_lora_rank": _RANK,
        "qk_nope_head_dim": _HEAD,
    },
    "dots1": {  # None by default
        "n_routed_experts": 4,
        "n_shared_experts": 1,
        "num_experts_per_tok": 2,
        "first_k_dense_replace": 1,
    },
    "efficientnet": {
        "width_coefficient": 0.25,
        "depth_coefficient": 0.5,
        "hidden_dim": 320,  # 1280 at full width
        "image_size": 64,
    },
    "esm": {"vocab_size": VOCABULARY},  # None by default
    "esmc": {"vocab_size": VOCABULARY},  # 64 by default, less than the ids of `tiny_inputs`
    "focalnet": {
        "image_size": 64,
        "patch_size": 2,
        "embed_dim": 16,
        "depths": [1, 1],
        "hidden_sizes": [16, 32],
        "focal_levels": [1, 1],
        "focal_windows": [3, 3],
    },
    "gemma3n_text": {"intermediate_size": [_INNER] * 2, "activation_sparsity_pattern": [0.95, 0.0]},
    "gemma4_text": _GEMMA4,
    "gemma4_unified_text": _GEMMA4,
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "granitemoehybrid": {"layer_types": _ATTENTION_TOO},
    "hiera": {"embed_dim": 16, "depths": [1, 1, 1, 1], "image_size": [64, 64]},
    "hgnet_v2": {
        "stem_channels": [3, 16, 16],
        "depths": [1, 1, 1, 1],
        "stage_in_channels": [16, 16, 32, 48],
        "stage_mid_channels": [8, 8, 8, 8],
        "stage_out_channels": [16, 32, 48, 64],
        "hidden_sizes": [16, 32, 48, 64],
        "stage_numb_of_layers": [2, 2, 2, 2],
    },
    "hunyuan_v1_dense": {"head_dim": _HEAD},  # None by default, and not derived
    "hunyuan_v1_moe": {"head_dim": _HEAD},
    "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "kimi_linear": {"layer_types": _ATTENTION_TOO},
    "led": {"attention_window": 4},
    "levit": {"image_size": 128, "patch_size": 16},
    "lfm2": {"layer_types": _CONVOLUTION_TOO},
    "lfm2_moe": {"layer_types": _CONVOLUTION_TOO},
    "lfm3": {"layer_types": _CONVOLUTION_TOO},
    "lilt": {"hidden_size": 48},  # six box coordinates share it evenly
    "longformer": {"attention_window": 4},  # sequences are padded to a multiple of it
    "lxmert": {"num_qa_labels": 5, "num_object_labels": 5, "num_attr_labels": 5},
    "mamba2": {"num_heads": 8, "head_dim": 8, "n_groups": 1},
    "ministral": {"head_dim": _HEAD},
    "mobilenet_v1": {"depth_multiplier": 0.1, "image_size": 64},
    "mobilenet_v2": {"depth_multiplier": 0.1, "image_size": 64},
    "mobilevitv2": {
        "base_attn_unit_dims": [32, 48, 64],
        "width_multiplier": 0.25,
        "image_size": 64,
    },
    "nemotron": {"num_key_value_heads": 2},
    "nemotron_h": {
        "layers_block_type": ["linear_attention", "full_attention", "moe"],
        "mamba_num_heads": 8,
        "n_groups": 1,
    },
    "neomme": {"layer_types": _SLIDING_TOO, "head_dim": 16, "hidden_size": 64},
    "nystromformer": {"segment_means_seq_len": 7, "num_landmarks": 7},
    "qwen3_5_moe_text": {"layer_types": _ATTENTION_TOO},
    "qwen3_5_text": {"layer_types": _ATTENTION_TOO},
    "qwen3_5_vision": {"num_position_embeddings": 16},
    "qwen3_next": {"layer_types": _ATTENTION_TOO},
    "qwen4_exp_text": {
        "layer_types": _ATTENTION_TOO,
        "indexer_n_heads": 2,
        "indexer_kv_heads": 1,
        "indexer_head_dim": 8,
        "indexer_budget": 8,
        "indexer_block_size": 4,
        "indexer_token_budget": 8,
        "indexer_compress_ratio": 4,
    },
    "recurrent_gemma": {"block_types": ["recurrent", "attention"]},
    "reformer": {
        "attn_layers": ["local", "lsh"],
        "axial_pos_embds_dim": [16, 16],
        "axial_pos_shape": [8, 16],
        "hash_seed": 0,  # random hashes in every forward pass otherwise
        "local_attn_chunk_length": 4,
        "lsh_attn_chunk_length": 4,
        "num_buckets": 2,
    },
    "shieldgemma2": {"yes_token_index": 7, "no_token_index": 8},
    "perceiver": {"image_size": 16, "_label_trainable_num_channels": _HIDDEN},
    "siglip2_vision_model": {"patch_size": 4, "num_patches": 16},
    "swin": _SWIN,
    "swinv2": _SWIN,
    "t5": {"decoder_start_token_id": BOS},
    "textnet": {"image_size": [64, 64], "stem_out_channels": 16},
    "vibevoice_acoustic_tokenizer_encoder": _VIBEVOICE_ENCODER,
    "whisper": {"num_mel_bins": 16, "max_source_positions": 20},
    "xlstm": {"hidden_size": 64, "embedding_dim": 64, "qk_dim_factor": 1.0},
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
        "n_mamba_heads": 8,
        "mamba_headdim": 8,
        "mamba_ngroups": 1,
    },
}
"""What a type needs beyond `_SMALL`: where its own defaults are None, or do not fit each other."""

_PARTS: dict[str, dict[str, tuple[str, dict[str, Any]]]] = {
    "encoder-decoder": {
        "encoder": ("bert", {}),
        "decoder": ("bert", {"is_decoder": True, "add_cross_attention": True}),
    }
}
"""Model types and fields of the sub-configs that a composite has no default for."""


def tiny_config(model_type: str, **overrides: Any) -> PretrainedConfig:
    """The default config of `model_type`, cut down to some ten thousand parameters.

    `overrides` are keyword arguments of the config and win over the zoo's own values.
    """
    config = _build(CONFIG_MAPPING[model_type], overrides)
    for part in (config, config.get_text_config()):
        if not hasattr(part, "pad_token_id"):  # transformers 5.0 forgets it in some
            part.pad_token_id = PAD
    return config


def config_fields(model_type: str) -> list[str]:
    """The keyword arguments of a type's config."""
    return list(inspect.signature(CONFIG_MAPPING[model_type].__init__).parameters)[1:]


def _build(config_class: type[PretrainedConfig], overrides: dict[str, Any]) -> PretrainedConfig:
    own = _PER_TYPE.get(config_class.model_type, {})
    parts: dict[str, Any] = {
        name: tiny_config(model_type, **fields)
        for name, (model_type, fields) in _PARTS.get(config_class.model_type, {}).items()
    }
    default = config_class(**parts)
    arguments: dict[str, Any] = {}
    modality_token = 10
    for name in inspect.signature(config_class.__init__).parameters:
        value = _field(default, name)
        if name in parts:
            arguments[name] = parts[name]
        elif isinstance(value, PretrainedConfig):
            arguments[name] = _build(type(value), {})
        elif name in _TOKEN_IDS:
            arguments[name] = _TOKEN_IDS[name]
        elif isinstance(value, int) and _marks_modality(name):
            arguments[name] = modality_token
            modality_token += 1
        elif name in _SMALL and isinstance(value, int | float) and not isinstance(value, bool):
            arguments[name] = min(value, _SMALL[name])
        elif isinstance(value, list | tuple) and value and all(type(v) is int for v in value):
            arguments |= _cut_list(name, value)
    heads, kv_heads = "num_attention_heads", "num_key_value_heads"
    if kv_heads in arguments and _field(default, heads) == _field(default, kv_heads):
        arguments[kv_heads] = arguments[heads]  # no grouped queries by default: not here either
    return config_class(**(arguments | own | overrides))


def _field(config: PretrainedConfig, name: str) -> Any:
    """None for a field that varies from layer to layer, which cannot be read of the whole."""
    try:
        return getattr(config, name, None)
    except RuntimeError:
        return None


def _marks_modality(name: str) -> bool:
    return name.endswith(("_token_id", "_token_index")) and name.startswith(_MODALITIES)


def _cut_list(name: str, value: Sequence[int]) -> dict[str, Any]:
    if name in _GROWING_LISTS:
        limits = [_CHANNELS * (stage + 1) for stage in range(len(value))]
        return {name: [min(v, limit) for v, limit in zip(value, limits, strict=True)]}
    if name in _SMALL_LISTS:
        return {name: [min(v, _SMALL_LISTS[name]) for v in value]}
    return {}
