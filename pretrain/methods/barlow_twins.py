"""Barlow Twins (Zbontar et al., ICML 2021)."""

from __future__ import annotations

import torch
from torch import Tensor

from ..networks.heads import mlp, projector_widths
from ..runtime.distributed import gather
from ..runtime.precision import full_precision
from ..specs.fields import Amount, Positive
from ..specs.run import Run
from .base import Embedded, Method, Targets


class BarlowTwins(Method):
    """Make the cross-correlation of two views' embeddings the identity."""

    def __init__(
        self,
        run: Run,
        size: int,
        *,
        off_diagonal: Amount = 0.0051,
        scale: Positive = 1.0,
        bias: bool = True,  # of the projector's linear layers; the authors' code has none
    ) -> None:
        super().__init__(run, size)
        head = run.projector
        if not bias:
            widths = projector_widths(self.backbone.features, head.layers, head.hidden, head.out)
            self.projector = mlp(widths, bias=False, last_bias=False)
        self.off_diagonal = off_diagonal  # section 2.1 of the paper
        self.scale = scale  # solo-learn multiplies the loss by 0.1

    def loss(self, embedded: Embedded, targets: Targets) -> Tensor:
        z1, z2 = (gather(z) for z in embedded.embeddings[:2])
        return self.scale * barlow_twins_loss(z1, z2, self.off_diagonal)


@full_precision
def barlow_twins_loss(z1_ND: Tensor, z2_ND: Tensor, off_diagonal: float) -> Tensor:
    """Redundancy-reduction loss (Barlow Twins, Eq. 1). N batch, D embedding.

    Columns are standardised with the biased variance and eps 1e-5, as a batch norm without affine does.
    """
    c_DD = standardise(z1_ND).T @ standardise(z2_ND) / len(z1_ND)
    diagonal_D = c_DD.diagonal()
    on = (diagonal_D - 1).square().sum()
    off = c_DD.square().sum() - diagonal_D.square().sum()
    return on + off_diagonal * off


def standardise(z_ND: Tensor, eps: float = 1e-5) -> Tensor:
    """Columns with mean 0 and variance 1 over the batch; eps is PyTorch's batch-norm default."""
    variance_D, mean_D = torch.var_mean(z_ND, dim=0, correction=0)
    return (z_ND - mean_D) * (variance_D + eps).rsqrt()
