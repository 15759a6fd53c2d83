"""Attention at the answer's words as scores of sources: AT2."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from normxlogit.errors import InputError
from normxlogit.methods.context_mixing.paid_attention import TokenSpan, paid_attention
from normxlogit.results.base import Floats
from normxlogit.sources.case import Case
from normxlogit.sources.weights import SourceWeights


def attention(case: Case, parts: Sequence[TokenSpan], weights: Any = None) -> Floats:
    """sum_h w_h sum_(j in part) mean_i A_h[i, j], i being where the span's tokens are predicted.

    Cohen-Wang et al. 2025, Learning to Attribute with Attention (AT2). With weights w of the model
    (`Explainer.fit_sources`) a score estimates the share of its probability that the span loses
    without the part; without, w is the same for all heads of all layers, and a score is the mean
    share of attention. Cost: one forward pass, with eager attention.

    Args:
        case: the answer and its prompt.
        parts: the parts of the prompt.
        weights: `SourceWeights` of this model.

    Raises:
        InputError: the weights are for other layers and heads.
        UnsupportedHeadError: the model does not give the weights of its attention.
    """
    paid = attention_of_heads(case, parts)  # [spans, layers, heads, parts]
    if isinstance(weights, SourceWeights):
        heads = weights.heads
        if heads.shape != paid.shape[1:3]:
            raise InputError(
                f"these weights are for {heads.shape[0]} layers of {heads.shape[1]} heads, and the "
                f"model gave {paid.shape[1]} of {paid.shape[2]}. Fit them again with `normxlogit "
                "fit-sources`."
            )
    else:
        heads = np.full(paid.shape[1:3], 1 / np.prod(paid.shape[1:3]), np.float32)
    scores: Floats = np.einsum("slhp,lh->sp", paid, heads).astype(np.float32)
    return scores


def attention_of_heads(case: Case, parts: Sequence[TokenSpan]) -> Floats:
    """What each head pays to each part for each span, float32 [spans, layers, heads, parts].

    The mean over a span's tokens of the attention at the position where each is predicted.
    """
    # The last token of the answer predicts nothing of it.
    ids = torch.tensor([*case.ids, *case.answer_ids[:-1]], device=case.ablation.device)
    groups = [(len(case.ids) - 1 + numbers).tolist() for numbers in case.spans]
    return paid_attention(case.generator.model, ids, groups, parts).cpu().numpy()
