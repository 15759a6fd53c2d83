"""What a page needs to hold scores against the model: where words stand, and what is claimed."""

from typing import Any

import numpy as np

from normxlogit.results.base import Floats
from normxlogit.results.text import Attribution
from normxlogit.show.text.claims import Claim, by_strength, claim_of, has_sides, shares
from normxlogit.show.text.pieces import pieces
from normxlogit.show.text.ranking import in_words


def trial(attribution: Attribution) -> dict[str, Any] | None:
    """Return the words in the order in which they are drawn, with what their scores claim.

    `claims` is "sides" where a sign says whether a word speaks for the target or against it, "size"
    where scores say only how much a word counts, "order" where they have no sizes either. None if
    several targets or layers are explained: then no one score is a word's.
    """
    if len(attribution.targets) > 1 or len(attribution.layers) > 1:
        return None
    shown = in_words(attribution).only()
    drawn = [
        (segment, piece)
        for segment in range(len(shown.texts))
        for piece in pieces(shown, segment)
        if piece.score is not None
    ]
    scores = np.array([p.score for _, p in drawn if not p.special], np.float32)
    claim = claim_of(shown)
    ranks = {n: rank for rank, n in enumerate(by_strength(scores, claim), 1)}
    parts = shares(scores, claim)
    words: list[dict[str, Any]] = []
    number = 0
    for segment, piece in drawn:
        word: dict[str, Any] = {
            "segment": segment,
            "start": piece.start,
            "end": piece.start + len(piece.text),
        }
        if piece.special:
            words.append(word | {"score": None, "rank": None, "share": None})
            continue
        share = None if parts is None else float(parts[number])
        words.append(word | {"score": piece.score, "rank": ranks[number], "share": share})
        number += 1
    return {"claims": _kind(shown, claim, scores), "words": words}


def _kind(attribution: Attribution, claim: Claim, scores: Floats) -> str:
    if claim is Claim.SIZE:
        return "size"
    if attribution.provenance.readout in ("closeness", "distance"):
        # Signed, but by the way to the prediction, and not up or down.
        return "size" if claim is Claim.CAUSE else "order"
    has_both = bool((scores > 0).any() and (scores < 0).any())
    is_sided = claim is Claim.CAUSE or has_sides(attribution) or has_both
    return "sides" if is_sided else "order"
