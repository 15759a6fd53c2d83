"""What a head knows of texts like those that it was fitted on, beside its network."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from normxlogit.fitting.training import Example, states_of
from normxlogit.methods.attribution_head.head import EmptyOutcomes, UsualStates

_COMPONENTS = 32
"""In how many directions texts like those of a fit may differ from each other."""


def empty_outcomes(examples: Sequence[Example]) -> EmptyOutcomes:
    """What the model says of texts with every word hidden: the mean over those of each length."""
    lengths = np.array([len(example.words) for example in examples])
    logits = np.stack([example.outcomes.empty for example in examples])
    unique = np.unique(lengths)
    means = np.stack([logits[lengths == length].mean(0) for length in unique])
    return EmptyOutcomes(torch.from_numpy(unique), torch.from_numpy(means))


def usual_states(examples: Sequence[Example], others: Sequence[Example]) -> UsualStates:
    """The mean states of texts, and how far from them one in a hundred other texts is."""

    def means(some: Sequence[Example]) -> Tensor:
        return torch.stack([states_of([example]).mean(0) for example in some])

    fitted = means(examples)
    mean = fitted.mean(0)
    # A feature that never varies seems to by as much as float16 rounds it, a part in a thousand.
    deviation = torch.maximum(fitted.std(0), mean.abs() / 1000).clamp_min(1e-6)
    count = max(1, min(_COMPONENTS, len(fitted) // 8))
    usual = UsualStates(mean, deviation, directions((fitted - mean) / deviation, count), 1.0)
    distances = usual.distance(means(others))
    # Where all texts are the same the distance is 0, and any other text is unlike them.
    return replace(usual, limit=max(float(distances.quantile(0.99)), 1e-3))


def directions(texts: Tensor, count: int) -> Tensor:
    """The directions in which texts differ most: [texts, features] -> [count, features].

    The leading right singular vectors, orthonormal, by the eigenvectors of the smaller Gram matrix:
    hundreds of texts may have ten thousand features, or the other way round.
    """
    values = texts.double()
    is_wide = texts.shape[0] < texts.shape[1]
    gram = values @ values.T if is_wide else values.T @ values
    leading: Tensor = torch.linalg.eigh(gram).eigenvectors[:, -count:].flip(1)  # largest first
    if is_wide:
        # Orthonormal also where texts are so alike that singular values are 0.
        leading = torch.linalg.qr(values.T @ leading).Q
    return leading.T.float().contiguous()
