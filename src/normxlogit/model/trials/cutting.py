"""Whether a model says the same from a cut cache of keys and values as in a fresh pass.

It does if keys and values of a token depend on the tokens before it alone, and stay as they are in
a shorter text. Recurrent states cannot be cut; positions whose scale follows the length of the text
(dynamic RoPE) change with it, some at one length only (LongRoPE), and what a sliding window does
shows beyond the window only. So it is tried between the shortest text in question and the longest,
and again where lengths are out of the range that was tried.
"""

from weakref import WeakKeyDictionary

from transformers import PreTrainedModel

Lengths = tuple[int, int]
"""Of the shortest text, in tokens, and of the longest, from whose cache it is cut."""

_HOLDS: WeakKeyDictionary[PreTrainedModel, list[Lengths]] = WeakKeyDictionary()
"""Between which lengths it holds, for each model; ranges that lie apart."""

_FAILS: WeakKeyDictionary[PreTrainedModel, int] = WeakKeyDictionary()
"""The least longest text with which it does not."""


def cache_can_be_cut(model: PreTrainedModel, lengths: Lengths) -> bool | None:
    """Return whether it holds between two lengths; None if that is yet to be tried."""
    shortest, longest = lengths
    if any(first <= shortest and longest <= last for first, last in _HOLDS.get(model, ())):
        return True
    return False if model in _FAILS and longest >= _FAILS[model] else None


def note_trial(model: PreTrainedModel, lengths: Lengths, holds: bool) -> None:
    """Remember how a trial between two lengths came out."""
    shortest, longest = lengths
    if not holds:
        _FAILS[model] = min(longest, _FAILS.get(model, longest))
        return
    apart = list[Lengths]()
    for first, last in _HOLDS.get(model, ()):
        if first <= longest and shortest <= last:
            shortest, longest = min(shortest, first), max(longest, last)
        else:
            apart.append((first, last))
    _HOLDS[model] = [*apart, (shortest, longest)]
