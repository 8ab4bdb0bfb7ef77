"""MEC (Liu et al., NeurIPS 2022): maximum entropy coding, with the heads and the slow target of the authors' code."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from ..networks.heads import mlp
from ..runtime.distributed import gather
from ..runtime.precision import full_precision
from ..specs.fields import Amount, Positive, Range, Share, Width
from ..specs.run import Run
from ..views.batch import Batch
from .base import Embedded, Method, Targets, check_option
from .parts.coding_rate import PER_SAMPLE_WEIGHT, coding_loss, inverse_lambda
from .parts.target_network import Target, ema_momentum
from .simsiam import normalised_projector


class MEC(Method):
    """Maximise the coding length that each view's prediction shares with the other view as a slow copy sees it."""

    def __init__(
        self,
        run: Run,
        size: int,
        *,
        momentum: Share = 0.996,  # of the target at the start; these defaults are the authors' code
        predictor_hidden: Width = 512,
        order: Annotated[int, Range(1, cap=100)] = 4,  # of the Taylor series of the log-determinant
        squared_error: Positive = 64.0,  # eps of the coding length, already squared
        warmup_epochs: Amount = 10.0,  # of lambda; none where embeddings are no wider than the squared error
    ) -> None:
        super().__init__(run, size)
        check_option("order", order, order == 1 or order % 2 == 0, "1 or even")
        self.projector = normalised_projector(self.backbone.features, run.projector)
        self.predictor = mlp((run.projector.out, predictor_hidden, run.projector.out), bias=False)
        self.target = Target(self.backbone, self.projector)
        self.initial_momentum, self.order, self.squared_error = momentum, order, squared_error
        # Eigenvalues are at most lambda N = D / eps; where that is at most 1, the series converges from the start.
        self.warmup_epochs = warmup_epochs if run.projector.out > squared_error else 0.0

    @torch.no_grad()
    def targets(self, batch: Batch) -> Targets:
        """1 / lambda of this moment, then the target network's embedding of each view, of the whole batch."""
        outputs = [gather(self.target(view)) for view in batch.views[:2]]
        n, d = outputs[0].shape
        moment = batch.epoch, self.warmup_epochs, batch.step_epochs
        return (inverse_lambda(n, d, self.squared_error, *moment), *outputs)

    def loss(self, embedded: Embedded, targets: Targets) -> Tensor:
        one_over_lambda, target1, target2 = targets
        p1, p2 = (gather(self.predictor(z)) for z in embedded.embeddings[:2])
        one = mec_loss(p1, target2, one_over_lambda, self.order)
        return (one + mec_loss(p2, target1, one_over_lambda, self.order)) / 2

    def after_step(self, progress: float, embedded: Embedded, targets: Targets) -> None:
        """Move the target towards the online network."""
        self.target.follow(self.backbone, self.projector, momentum=ema_momentum(self.initial_momentum, progress))


@full_precision
def mec_loss(prediction_ND: Tensor, target_ND: Tensor, one_over_lambda: float, order: int) -> Tensor:
    """-Tr p_m(lambda P Z^T) / (lambda N) for row-normalised P and Z, the form that the authors' code trains on.

    N batch, D embedding, m order; p_m is the series of coding_rate.py.
    """
    return coding_loss(prediction_ND, target_ND, one_over_lambda, order, "per_sample") / PER_SAMPLE_WEIGHT
