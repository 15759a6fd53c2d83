"""Whether a model says the same from a cut cache of keys and values as in a fresh pass.

It does if keys and values of a token depend on the tokens before it alone, and stay as they are in
a shorter text. Recurrent states cannot be cut; positions whose scale follows the length of the text
(dynamic RoPE) change with it, and what a sliding window does shows beyond the window only. So it is
tried on the text in question, and again beside a longer one.
"""

from weakref import WeakKeyDictionary

from transformers import PreTrainedModel

_LENGTHS: WeakKeyDictionary[PreTrainedModel, tuple[int, int | None]] = WeakKeyDictionary()
"""Up to which length it holds, in tokens, and from which on it does not, for each model."""


def cache_can_be_cut(model: PreTrainedModel, length: int) -> bool | None:
    """Return whether it holds in texts of `length` tokens; None if that is yet to be tried."""
    right, wrong = _LENGTHS.get(model, (0, None))
    if length <= right:
        return True
    return False if wrong is not None and length >= wrong else None


def note_trial(model: PreTrainedModel, length: int, holds: bool) -> None:
    """Remember how a trial on a text of `length` tokens came out."""
    right, wrong = _LENGTHS.get(model, (0, None))
    if holds:
        _LENGTHS[model] = (max(right, length), wrong)
    else:
        _LENGTHS[model] = (right, length if wrong is None else min(wrong, length))
