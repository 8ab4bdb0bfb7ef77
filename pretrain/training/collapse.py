"""Collapse: how spread out embeddings are, so that a run whose network answers the same to every image is noticed.

The standard deviation is SimSiam's measure (Chen and He, CVPR 2021, section 4.1), the effective rank that of Roy and
Vetterli (EUSIPCO 2007).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from ..methods.base import Embedded
from ..runtime.distributed import gather
from ..runtime.precision import at_least_float32

MOVES_NO_NUMBER = "only logs how spread out embeddings are"

LEAST_STD = 0.1  # ours: of 1 for directions spread evenly; SimSiam's collapsed runs go to 0
LEAST_RANK = 1.5  # ours: embeddings on one line have 1


@torch.no_grad()
def spread(embedded: Embedded) -> dict[str, float]:
    """Figures of the first view over the whole batch, to log; every process must call it."""
    h_NF, z_ND = (gather(at_least_float32(part[0])) for part in (embedded.representations, embedded.embeddings))
    return {
        "embedding_std": float(normalised_std(z_ND)),
        "embedding_rank": float(effective_rank(z_ND)),
        "representation_rank": float(effective_rank(h_NF)),
    }


def collapsed(figures: dict[str, float]) -> str:
    """What is wrong, in words, or "" when nothing is."""
    if figures["embedding_std"] < LEAST_STD:
        return f"the embeddings of all images are nearly one (std {figures['embedding_std']:.3f} of about 1)"
    if figures["embedding_rank"] < LEAST_RANK:
        return f"the embeddings lie on a line (effective rank {figures['embedding_rank']:.2f})"
    return ""


def normalised_std(z_ND: Tensor) -> Tensor:
    """Mean standard deviation of normalised embeddings, times sqrt(D): 1 when spread evenly, 0 when all are one."""
    deviation_D = F.normalize(z_ND, dim=1).std(0, correction=0)
    return deviation_D.mean() * math.sqrt(z_ND.shape[1])


def effective_rank(z_ND: Tensor) -> Tensor:
    """exp of the entropy of the singular values' shares, of centred rows: 1 to min(N - 1, D); 1 too when all are 0."""
    values = torch.linalg.svdvals(z_ND - z_ND.mean(0))
    shares = values / values.sum().clamp_min(torch.finfo(values.dtype).tiny)
    entropy: Tensor = torch.special.entr(shares).sum()
    return entropy.exp()
