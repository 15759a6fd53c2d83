"""Whether a language model predicts the next token, and whether its states hide what follows."""

from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from transformers import PreTrainedModel

from normxlogit.errors import NormXLogitError
from normxlogit.model.capture import Capture, capture
from normxlogit.model.inference import inference
from normxlogit.model.numerics import agree
from normxlogit.model.trials.caching import depends_on_cache, without_cache
from normxlogit.model.trials.dependence import dependence


def is_causal(model: PreTrainedModel) -> bool:
    """Whether a language model declares that it predicts the next token.

    Models that generate do, except those that transformers also lists as masked language models
    and whose configuration does not make them causal (XLM, FlauBERT).
    """
    if not model.can_generate():
        return False
    return getattr(model.config, "causal", True) is not False


_HIDING: WeakKeyDictionary[PreTrainedModel, bool] = WeakKeyDictionary()


@inference()
def hides_what_follows(model: PreTrainedModel) -> bool:
    """Whether the state at a token is independent of the tokens after it.

    In a pass over text alone, without a cache. Tried once for each model, by changing the second of
    two tokens: some models that generate read their prompt in both directions (XLNet, CPM-Ant).
    Models that cannot be tried count as declared.
    """
    if model not in _HIDING:
        device = model.device if model.device.type != "meta" else "cpu"  # of offloaded weights
        first, second = (torch.tensor([[5, last]], device=device) for last in (6, 7))
        name = "decoder_input_ids" if model.config.is_encoder_decoder else "input_ids"
        try:
            before, after = (
                capture(model, {"input_ids": first, name: ids} | without_cache(model))
                .states.tokens[:, 0]
                .float()
                for ids in (first, second)
            )
            _HIDING[model] = agree(after, before)
        except NormXLogitError:
            _HIDING[model] = is_causal(model)
    return _HIDING[model]


_TEXT = frozenset(
    f"{prefix}{name}"
    for prefix in ("", "decoder_")
    for name in ("input_ids", "attention_mask", "position_ids")
)
"""Inputs with which a pass hides what `hides_what_follows` found that it does; others may lift the
mask from a part of the sequence, as those of images do (Gemma 3, PaliGemma)."""


def tokens_read(
    model: PreTrainedModel, captured: Capture, positions: Tensor, mask: Tensor
) -> Tensor:
    """Which tokens took part in the states at some positions of a pass of a causal model.

    Args:
        model: it is not changed.
        captured: the forward pass.
        positions: int64 [rows, positions], -1 where a row has fewer.
        mask: which positions hold tokens, an encoder's before a decoder's, bool [rows, sequence].

    Returns:
        bool [rows, positions, sequence].

    Raises:
        UnsupportedHeadError: whether later tokens took part cannot be told.
    """
    sources = mask.shape[1] - captured.states.tokens.shape[1]
    is_after = torch.arange(mask.shape[1], device=mask.device) - sources > positions[..., None]
    later = mask[:, None] & is_after & (positions >= 0)[..., None]
    # What a model reads of later tokens costs passes to find out: only if there are any.
    if later.any():
        later[..., sources:] &= _depends_on_later(model, captured, positions)
    return (mask[:, None] & ~is_after) | later


def all_hide_what_follows(model: PreTrainedModel, captured: Capture, mask: Tensor) -> bool:
    """Whether no state of a forward pass depends on what follows it.

    `mask` says which positions hold tokens, bool [rows, sequence]. Raises as `tokens_read`.
    """
    if not hides_what_follows(model):
        return False
    order = torch.arange(mask.shape[1], device=mask.device)
    depends = _depends_on_later(model, captured, order.expand(len(mask), -1))
    is_after = order > order[:, None]
    return not bool((depends & is_after & mask[..., None]).any())


def _depends_on_later(model: PreTrainedModel, captured: Capture, positions: Tensor) -> Tensor:
    """Whether the states at some positions depend on the tokens after these.

    Texts without a cache are as `hides_what_follows` says; any other pass is tried as it is.

    Returns:
        bool, broadcasts to [rows, positions, sequence]; anything for tokens that are not after.
    """
    inputs = {key: value for key, value in captured.inputs.items() if value is not None}
    has_cache = inputs.pop("use_cache", None) is not False and depends_on_cache(model)
    if _TEXT.issuperset(inputs) and not has_cache:
        return torch.tensor(not hides_what_follows(model), device=positions.device)
    unique, index = torch.unique(positions, dim=1, return_inverse=True)
    return dependence(model, captured, unique)[:, index]
