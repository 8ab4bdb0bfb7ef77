"""RELIC (Mitrovic et al., ICLR 2021): instance discrimination against a slow copy, and an invariance penalty on it.

The authors published no code; the form of the penalty is that of the unofficial `filipbasara0/relic`.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..runtime.distributed import gather
from ..runtime.precision import full_precision
from ..specs.fields import Amount, Positive, Share
from ..specs.run import Run
from ..views.batch import Batch
from .base import Embedded, Method, Targets
from .parts.target_network import Target, ema_momentum

LARGEST_SCALE = 5.0  # of the learned logits; `max_tau` of the unofficial code, a temperature of 0.2


class RELIC(Method):
    """Find the other view of each image among the target network's, equally well from either view."""

    def __init__(
        self,
        run: Run,
        size: int,
        *,
        temperature: Positive = 0.5,  # ours: that of recipe S for SimCLR
        alpha: Amount = 1.0,  # weight of the penalty; the unofficial code's
        momentum: Share = 0.99,  # of the target at the start; the unofficial code's
        learned_temperature: bool = False,  # the unofficial code learns it, from 1; `temperature` is then unused
    ) -> None:
        super().__init__(run, size)
        self.alpha = alpha
        self.temperature = temperature
        # That code also adds a learned number to every logit; it cancels in each softmax, so there is none here.
        self.log_scale = nn.Parameter(torch.zeros(())) if learned_temperature else None
        self.target = Target(self.backbone, self.projector)
        self.initial_momentum = momentum

    @torch.no_grad()
    def targets(self, batch: Batch) -> Targets:
        """The target network's embedding of each view, for the whole batch."""
        return tuple(gather(self.target(view)) for view in batch.views[:2])

    def loss(self, embedded: Embedded, targets: Targets) -> Tensor:
        z1, z2 = (gather(z) for z in embedded.embeddings[:2])
        target1, target2 = targets
        temperature: float | Tensor = self.temperature
        if self.log_scale is not None:
            temperature = self.log_scale.exp().clamp(max=LARGEST_SCALE).reciprocal()
        one = relic_loss(z1, target2, temperature, self.alpha)
        return (one + relic_loss(z2, target1, temperature, self.alpha)) / 2

    def after_step(self, progress: float, embedded: Embedded, targets: Targets) -> None:
        """Move the target towards the online network."""
        self.target.follow(self.backbone, self.projector, momentum=ema_momentum(self.initial_momentum, progress))


@full_precision
def relic_loss(online_ND: Tensor, target_ND: Tensor, temperature: float | Tensor, alpha: float) -> Tensor:
    """Cross-entropy of finding row i of the target from row i, plus alpha times the invariance penalty.

    N batch, D embedding. Logits are cosines over the temperature. The penalty is the mean over i of
    KL(q_i || p_i), with p_i the distribution over target rows from online row i and q_i that over online rows from
    target row i; the gradient goes through both.
    """
    logits_NN = F.normalize(online_ND, dim=1) @ F.normalize(target_ND, dim=1).T / temperature
    log_p_NN = logits_NN.log_softmax(dim=1)
    log_q_NN = logits_NN.T.log_softmax(dim=1)
    divergence_N = (log_q_NN.exp() * (log_q_NN - log_p_NN)).sum(dim=1)
    return (alpha * divergence_N - log_p_NN.diagonal()).mean()
