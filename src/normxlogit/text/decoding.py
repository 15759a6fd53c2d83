"""Which characters of a decoded text each of its tokens stands for."""

from collections.abc import Callable, Sequence

from normxlogit.text.words import Span

_INCOMPLETE = "\ufffd"
"""The replacement character: bytes that are not yet a whole character decode to it."""


def token_spans(
    ids: Sequence[int], text: str, decode: Callable[[Sequence[int]], str]
) -> list[Span]:
    """Return the characters of each token of `ids`, which decode to `text` together.

    Tokens that only together make one character (bytes of an emoji, say) all get that character.
    """
    # A token decoded alone loses the space before it (SentencePiece, WordPiece), so its length is
    # the difference between decoding with and without it, after one token of context. Tokenizers
    # that merge further back than that need all tokens before it, which is quadratic: only then.
    for context in (1, len(ids)):
        spans, complete, start, end = list[Span](), 0, 0, 0
        for count in range(1, len(ids) + 1):
            first = max(0, complete - context)
            before, after = decode(ids[first:complete]), decode(ids[first:count])
            is_last = count == len(ids)
            # Wait for more tokens while the character is incomplete or nothing was added.
            if (after.endswith(_INCOMPLETE) or len(after) <= len(before)) and not is_last:
                continue
            end += len(after) - len(before)
            spans += [(start, end)] * (count - complete)
            complete, start = count, end
        if end == len(text):
            break
    return spans
