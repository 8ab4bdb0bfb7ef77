"""BYOL (Grill et al., NeurIPS 2020), with the small-image head and target schedule of the W-MSE code."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..networks.heads import mlp, projector_widths
from ..runtime.precision import full_precision
from ..specs.fields import Share, Width
from ..specs.run import Projector, Run
from ..views.batch import Batch
from .base import Embedded, Method, Targets
from .parts.target_network import Target, ema_momentum


class BYOL(Method):
    """Predict the other view's embedding as a slowly moving copy of the network sees it."""

    small = (("predictor_hidden", 12),)

    def __init__(
        self,
        run: Run,
        size: int,
        *,
        momentum: Share = 0.99,
        momentum_moves: Literal["epoch", "step"] = "epoch",  # how often it rises; BYOL's own code: every step
        predictor_hidden: Width = 1024,
        last_bias: bool = True,  # of the last layers of projector and predictor; BYOL's own code has none
    ) -> None:
        super().__init__(run, size)
        if not last_bias:
            self.projector = projector_without_last_bias(self.backbone.features, run.projector)
        widths = (run.projector.out, predictor_hidden, run.projector.out)
        self.predictor = mlp(widths, last_bias=last_bias)
        self.by_step, self.epochs = momentum_moves == "step", run.epochs
        self.target = Target(self.backbone, self.projector)
        self.initial_momentum = momentum

    @torch.no_grad()
    def targets(self, batch: Batch) -> Targets:
        """The target network's embedding of each view; where the momentum moves by steps, the share of training too."""
        outputs = tuple(self.target(view) for view in batch.views[:2])
        return (*outputs, batch.epoch / self.epochs) if self.by_step else outputs

    def loss(self, embedded: Embedded, targets: Targets) -> Tensor:
        z1, z2 = embedded.embeddings[:2]
        target1, target2 = targets[:2]
        return byol_loss(self.predictor(z1), target2) + byol_loss(self.predictor(z2), target1)

    def after_step(self, progress: float, embedded: Embedded, targets: Targets) -> None:
        """Move the target towards the online network."""
        progress = targets[2] if self.by_step else progress
        self.target.follow(self.backbone, self.projector, momentum=ema_momentum(self.initial_momentum, progress))


def projector_without_last_bias(features: int, head: Projector) -> nn.Sequential:
    """The projector of BYOL's own code on ImageNet, which SSL-HSIC's shares."""
    return mlp(projector_widths(features, head.layers, head.hidden, head.out), last_bias=False)


@full_precision
def byol_loss(prediction_ND: Tensor, target_ND: Tensor) -> Tensor:
    """Mean of 2 - 2 cos over the batch (BYOL, Eq. 2). N batch, D embedding."""
    return (2 - 2 * F.cosine_similarity(prediction_ND, target_ND, dim=1)).mean()
