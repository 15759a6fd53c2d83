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
    padded: they are seeded by its token ids (of images and sounds, by how many positions there
    are).
    """
    mask = evidence.mask
    ids = torch.zeros_like(mask, dtype=torch.long) if evidence.ids is None else evidence.ids
    rows = []
    for own, kept in zip(ids.expand(mask.shape).flatten(0, 1), mask.flatten(0, 1), strict=True):
        tokens = own[kept].tolist()
        generator = torch.Generator().manual_seed(zlib.crc32(repr((seed, tokens)).encode()))
        row = torch.zeros(len(kept))
        row[kept.cpu()] = torch.rand(len(tokens), generator=generator)
        rows.append(row)
    return torch.stack(rows).reshape(mask.shape)[:, :, None].to(mask.device)
