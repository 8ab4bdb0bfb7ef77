"""BYOL (Grill et al., NeurIPS 2020), with the small-image head and target schedule of the W-MSE code."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from ..networks import mlp
from ..run import Run, Share, Width
from .base import Batch, Embedded, Method, Targets, full_precision
from .ema import Target, ema_momentum


class BYOL(Method):
    """Predict the other view's embedding as a slowly moving copy of the network sees it."""

    def __init__(self, run: Run, size: int, *, momentum: Share = 0.99, predictor_hidden: Width = 1024) -> None:
        super().__init__(run, size)
        self.predictor = mlp((run.projector.out, predictor_hidden, run.projector.out))
        self.target = Target(self.backbone, self.projector)
        self.initial_momentum = momentum

    @torch.no_grad()
    def targets(self, batch: Batch) -> Targets:
        """The target network's embedding of each view."""
        return tuple(self.target(view) for view in batch.views[:2])

    def loss(self, embedded: Embedded, targets: Targets) -> Tensor:
        z1, z2 = embedded.embeddings[:2]
        target1, target2 = targets
        return byol_loss(self.predictor(z1), target2) + byol_loss(self.predictor(z2), target1)

    def after_step(self, progress: float, embedded: Embedded, targets: Targets) -> None:
        """Move the target towards the online network."""
        self.target.follow(self.backbone, self.projector, momentum=ema_momentum(self.initial_momentum, progress))


@full_precision
def byol_loss(prediction_ND: Tensor, target_ND: Tensor) -> Tensor:
    """Mean of 2 - 2 cos over the batch (BYOL, Eq. 2). N batch, D embedding."""
    return (2 - 2 * F.cosine_similarity(prediction_ND, target_ND, dim=1)).mean()
