"""BYOL (Grill et al., NeurIPS 2020), with the small-image head and target schedule of the W-MSE code."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..networks import mlp
from ..run import Run
from .base import Embedded, Method, full_precision


class BYOL(Method):
    """Predict the other view's embedding as a slowly moving copy of the network sees it."""

    def __init__(self, run: Run, size: int, *, momentum: float = 0.99, predictor_hidden: int = 1024) -> None:
        super().__init__(run, size)
        self.predictor = mlp((run.projector.out, predictor_hidden, run.projector.out))
        self.target = copy.deepcopy(nn.Sequential(self.backbone, self.projector)).requires_grad_(False)
        self.initial_momentum = momentum

    @torch.no_grad()
    def targets(self, views: Sequence[Tensor]) -> tuple[Tensor, ...]:
        """The target network's embedding of each view. It runs in train mode and keeps its own batch-norm buffers."""
        return tuple(self.target(view) for view in views)

    def loss(self, embedded: Embedded, targets: tuple[Tensor, ...]) -> Tensor:
        z1, z2 = embedded.embeddings
        target1, target2 = targets
        return byol_loss(self.predictor(z1), target2) + byol_loss(self.predictor(z2), target1)

    @torch.no_grad()
    def after_step(self, progress: float) -> None:
        """Move the target's parameters towards the online ones; its buffers are not averaged."""
        momentum = ema_momentum(self.initial_momentum, progress)
        online: list[Tensor] = [*self.backbone.parameters(), *self.projector.parameters()]
        torch._foreach_lerp_(list(self.target.parameters()), online, 1 - momentum)


@full_precision
def byol_loss(prediction_ND: Tensor, target_ND: Tensor) -> Tensor:
    """Mean of 2 - 2 cos over the batch (BYOL, Eq. 2). N batch, D embedding."""
    return (2 - 2 * F.cosine_similarity(prediction_ND, target_ND, dim=1)).mean()


def ema_momentum(initial: float, progress: float) -> float:
    """Momentum of the target: from `initial` to 1 by a cosine over training (BYOL, section 3.2)."""
    return 1 - (1 - initial) * (math.cos(math.pi * progress) + 1) / 2
