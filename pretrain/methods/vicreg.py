"""VICReg (Bardes et al., ICLR 2022)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from ..networks.heads import mlp, projector_widths
from ..runtime.distributed import gather
from ..runtime.precision import full_precision
from ..specs.fields import Amount
from ..specs.run import Run
from .base import Embedded, Method, Targets

EPSILON = 1e-4  # below the square root of a variance; the authors' code


class VICReg(Method):
    """Draw the two views together, keep each coordinate's deviation above 1, and decorrelate the coordinates."""

    def __init__(
        self,
        run: Run,
        size: int,
        *,
        invariance: Amount = 25.0,  # the three weights: VICReg, section 4.2
        variance: Amount = 25.0,
        covariance: Amount = 1.0,
    ) -> None:
        super().__init__(run, size)
        self.weights = {"invariance": invariance, "variance": variance, "covariance": covariance}
        head = run.projector
        widths = projector_widths(self.backbone.features, head.layers, head.hidden, head.out)
        self.projector = mlp(widths, last_bias=False)  # the authors' code

    def loss(self, embedded: Embedded, targets: Targets) -> Tensor:
        z1, z2 = (gather(z) for z in embedded.embeddings[:2])
        return vicreg_loss(z1, z2, **self.weights)


@full_precision
def vicreg_loss(z1_ND: Tensor, z2_ND: Tensor, invariance: float, variance: float, covariance: float) -> Tensor:
    """Variance-invariance-covariance loss (VICReg, Eq. 6). N batch, D embedding; rows are not normalised.

    The variance term is the mean over the two views, as in the authors' code, and the covariance term their sum.
    """
    return (
        invariance * F.mse_loss(z1_ND, z2_ND)
        + variance * (_hinge(z1_ND) + _hinge(z2_ND)) / 2
        + covariance * (_off_diagonal(z1_ND) + _off_diagonal(z2_ND))
    )


def _hinge(z_ND: Tensor) -> Tensor:
    """How far the coordinates' deviations are below 1, on average; divisor N - 1."""
    return (1 - (z_ND.var(dim=0) + EPSILON).sqrt()).relu().mean()


def _off_diagonal(z_ND: Tensor) -> Tensor:
    """Sum of squared covariances between different coordinates, over D; divisor N - 1."""
    n, d = z_ND.shape
    centred_ND = z_ND - z_ND.mean(dim=0)
    covariance_DD = centred_ND.T @ centred_ND / (n - 1)
    return (covariance_DD.square().sum() - covariance_DD.diagonal().square().sum()) / d
