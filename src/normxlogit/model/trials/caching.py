"""Whether a model says the same with a cache of keys and values and without one."""

from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor
from transformers import PreTrainedModel

from normxlogit.model.clone import Anatomy, ModelClone
from normxlogit.model.inference import inference
from normxlogit.model.numerics import agree
from normxlogit.model.outputs import logits_of, parameters_of, run_model


def without_cache(model: PreTrainedModel) -> dict[str, Any]:
    """The argument that switches the cache of a model's forward off; none if it has no such one."""
    return {"use_cache": False} if "use_cache" in parameters_of(type(model).forward) else {}


_DEPENDING: WeakKeyDictionary[PreTrainedModel, bool] = WeakKeyDictionary()


@inference()
def depends_on_cache(model: PreTrainedModel) -> bool:
    """Whether a model's logits differ with a cache and without one.

    Tried once for each model, on two tokens: some models mask what follows a token only without a
    cache (FSMT), so that a forward pass over several is another one. Models that cannot be tried
    count as depending.
    """
    if not without_cache(model):
        return False
    if model not in _DEPENDING:
        try:
            with_it, without = (_logits(model, use_cache=flag) for flag in (True, False))
            _DEPENDING[model] = not agree(with_it, without)
        except torch.OutOfMemoryError:
            raise
        except Exception:
            _DEPENDING[model] = True
    return _DEPENDING[model]


def _logits(model: PreTrainedModel, *, use_cache: bool) -> Tensor:
    # Some classifiers are read at the end token, of which a text must have one (BART).
    end = getattr(model.config.get_text_config(), "eos_token_id", None)
    end = end[0] if isinstance(end, list) else end
    device = model.device if model.device.type != "meta" else "cpu"  # of offloaded weights
    ids = torch.tensor([[5, end or 6]], device=device)
    inputs = {"input_ids": ids}
    if model.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = ids
    clone = ModelClone(Anatomy.of(model))
    logits = logits_of(run_model(clone.root, inputs, use_cache=use_cache), None)
    if logits is None:
        raise TypeError("no logits")
    # Tokens that are never generated may have -inf, which is no difference.
    return logits.nan_to_num(neginf=0)
