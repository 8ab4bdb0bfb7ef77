"""SimCLR (Chen et al., ICML 2020), with the head of the W-MSE code for small images."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..networks.batch_norm import BatchNorm
from ..runtime.distributed import gather
from ..runtime.precision import full_precision
from ..specs.fields import Positive
from ..specs.run import Run
from .base import Embedded, Method, Targets


class SimCLR(Method):
    """InfoNCE between two views; every other image of the batch, in both views, is a negative."""

    def __init__(self, run: Run, size: int, *, temperature: Positive = 0.5, output_norm: bool = True) -> None:
        super().__init__(run, size)
        self.temperature = temperature
        # The W-MSE code ends SimCLR's small-image head with one more batch norm, over both views.
        self.output_norm = BatchNorm(run.projector.out) if output_norm else nn.Identity()

    def embed(self, views: Sequence[Tensor]) -> Embedded:
        """The trunk runs once a view, the head once on both views together, so they share its batch statistics."""
        representations = tuple(self.backbone(view) for view in views)
        embeddings = self.output_norm(self.projector(torch.cat(representations)))
        return Embedded(representations, embeddings.chunk(len(representations)))

    def loss(self, embedded: Embedded, targets: Targets) -> Tensor:
        z1, z2 = (gather(z) for z in embedded.embeddings[:2])
        return nt_xent_loss(z1, z2, self.temperature)


@full_precision
def nt_xent_loss(z1_ND: Tensor, z2_ND: Tensor, temperature: float) -> Tensor:
    """Normalised-temperature cross-entropy, the mean over 2N anchors (CompMod paper, Eq. 1; SimCLR, Eq. 1).

    N batch, D embedding. Each anchor has one positive and 2N - 2 negatives by cosine similarity.
    """
    z_MD = F.normalize(torch.cat([z1_ND, z2_ND]), dim=1)
    logits_MM = z_MD @ z_MD.T / temperature
    logits_MM = logits_MM.masked_fill(torch.eye(len(z_MD), dtype=torch.bool, device=z_MD.device), -torch.inf)
    partner_M = torch.arange(len(z_MD), device=z_MD.device).roll(len(z1_ND))
    return F.cross_entropy(logits_MM, partner_M)
