"""TCR (Li et al., 2022, NMCE): maximise the total coding rate of the views' mean embedding, and align the views to it.

The rate is a log-determinant, computed exactly (`slogdet`, by LU) and not by a series, of the smaller of the N x N and
D x D matrices, which have the same determinant. NMCE's code takes the mean embedding's rate when it clusters.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ..runtime.distributed import gather
from ..runtime.precision import full_precision
from ..specs.fields import Amount, Positive
from ..specs.run import Run
from .base import Embedded, Method, Targets


class TCR(Method):
    """Spread the images' mean embeddings over as many directions as possible while their views agree."""

    def __init__(
        self,
        run: Run,
        size: int,
        *,
        squared_error: Positive = 0.2,  # eps of the coding rate, already squared; NMCE's commands
        alignment: Amount = 20.0,  # weight of the views' cosine to their mean; NMCE's commands: 20 to 200
    ) -> None:
        super().__init__(run, size)
        self.squared_error, self.alignment = squared_error, alignment

    def loss(self, embedded: Embedded, targets: Targets) -> Tensor:
        return tcr_loss([gather(z) for z in embedded.embeddings], self.squared_error, self.alignment)


@full_precision
def tcr_loss(views_ND: Sequence[Tensor], squared_error: float, alignment: float) -> Tensor:
    """-R(mean) - alignment * mean cos(view, mean), with unit rows and a mean over views that is normalised again.

    One N x D embedding a view: N batch, D embedding.
    """
    rows_VND = F.normalize(torch.stack(list(views_ND)), dim=2)
    mean_ND = F.normalize(rows_VND.mean(dim=0), dim=1)
    agreement = (rows_VND * mean_ND).sum(dim=2).mean()
    return -coding_rate(mean_ND, squared_error) - alignment * agreement


def coding_rate(z_ND: Tensor, squared_error: float) -> Tensor:
    """R(Z) = 1/2 log det(I + D / (N eps) Z^T Z), eps the squared decoding error. N batch, D embedding."""
    n, d = z_ND.shape
    product_KK = z_ND @ z_ND.T if n < d else z_ND.T @ z_ND
    identity_KK = torch.eye(len(product_KK), dtype=z_ND.dtype, device=z_ND.device)
    log_det: Tensor = torch.linalg.slogdet(identity_KK + d / (n * squared_error) * product_KK).logabsdet
    return log_det / 2
