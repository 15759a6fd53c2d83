"""Whether a language model predicts the next token, and whether its states hide what follows."""

from weakref import WeakKeyDictionary

import torch
from transformers import PreTrainedModel

from normxlogit.errors import NormXLogitError
from normxlogit.model.capture import capture
from normxlogit.model.inference import inference
from normxlogit.model.numerics import agree


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

    Tried once for each model, by changing the second of two tokens: some models that generate read
    their prompt in both directions (XLNet, CPM-Ant). Models that cannot be tried count as declared.
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
