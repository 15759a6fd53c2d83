"""The patches of an image that are listed."""

import numpy as np

from normxlogit.results.image import ImageAttribution

STRONGEST = 5
"""How many patches are listed."""


def strongest_patches(result: ImageAttribution) -> list[tuple[tuple[int, int], float]]:
    """Return row, column and score of the patches with the largest scores by size.

    Those with the highest scores come first.
    """
    patches = result.patches()
    order = np.argsort(-np.abs(patches).ravel(), kind="stable")[:STRONGEST]
    cells = [divmod(int(i), patches.shape[1]) for i in order]
    scored = [(cell, float(patches[cell])) for cell in cells]
    return sorted(scored, key=lambda patch: -patch[1])
