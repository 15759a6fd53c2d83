"""Whether a language model predicts the next token, and whether its states know what follows."""

from weakref import WeakKeyDictionary

import torch
from transformers import PreTrainedModel

from normxlogit.errors import NormXLogitError
from normxlogit.model.capture import capture
from normxlogit.model.numerics import agree


def is_causal(model: PreTrainedModel) -> bool:
    """Whether a language model says of itself that it predicts the next token.

    Those that generate do, but for the ones that transformers lists as masked language models too
    and whose configuration does not make them causal (XLM, FlauBERT).
    """
    if not model.can_generate():
        return False
    return getattr(model.config, "causal", True) is not False


_HIDING: WeakKeyDictionary[PreTrainedModel, bool] = WeakKeyDictionary()


@torch.inference_mode()
def hides_what_follows(model: PreTrainedModel) -> bool:
    """Whether another second token leaves the state of the first one alone.

    Found out once for each model, by two passes over two tokens: some models that generate read
    their prompt in both directions (XLNet, CPM-Ant). What cannot be tried counts as declared.
    """
    if model not in _HIDING:
        first, second = (torch.tensor([[5, last]], device=model.device) for last in (6, 7))
        name = "decoder_input_ids" if model.config.is_encoder_decoder else "input_ids"
        try:
            before, after = (
                capture(model, {"input_ids": first, name: ids}).states.tokens[:, 0].float()
                for ids in (first, second)
            )
            _HIDING[model] = agree(after, before)
        except NormXLogitError:
            _HIDING[model] = is_causal(model)
    return _HIDING[model]
