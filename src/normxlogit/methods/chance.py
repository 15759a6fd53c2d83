"""Random scores: what any method has to beat."""

import zlib

import torch
from torch import Tensor

from normxlogit.evidence import Evidence
from normxlogit.methods import register


@register("random", family="baseline", source="-")
def random(evidence: Evidence, seed: int = 0) -> Tensor:
    """Uniform draws from [0, 1).

    A text gets the same draws for the same seed, whatever batch it stands in and however that is
    padded: they are seeded by its token ids.
    """
    scores = torch.zeros(evidence.mask.shape)
    for row, (ids, kept) in enumerate(zip(evidence.ids, evidence.mask, strict=True)):
        own = ids[kept].tolist()
        generator = torch.Generator().manual_seed(zlib.crc32(repr((seed, own)).encode()))
        scores[row, kept.cpu()] = torch.rand(len(own), generator=generator)
    return scores[:, None, None].to(evidence.mask.device)
