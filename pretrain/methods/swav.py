"""SwAV (Caron et al., NeurIPS 2020; code `facebookresearch/swav`); defaults are solo-learn's for CIFAR."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..runtime.distributed import gather, share
from ..runtime.precision import full_precision
from ..specs.fields import Amount, Count, Positive, Range, Width
from ..specs.run import Run
from ..views.batch import Batch
from .base import SMALL_BATCH, Embedded, Method, Targets, check_option


class SwAV(Method):
    """Predict, from every other crop, the prototypes that a large crop is assigned to; the batch shares them evenly.

    The first `large` views are assigned; all further ones, of any size, only predict. `queue` counts the embeddings
    kept of earlier batches for each assigned crop, over all processes; they take part in the assignment alone.
    """

    small = (("prototypes", 10), ("queue", SMALL_BATCH), ("queue_epoch", 0), ("freeze_epochs", 0))

    queue: Tensor
    queued: Tensor

    def __init__(
        self,
        run: Run,
        size: int,
        *,
        temperature: Positive = 0.1,
        epsilon: Positive = 0.05,
        iterations: Annotated[int, Range(1, cap=10**4)] = 3,
        prototypes: Width = 3000,
        queue: Annotated[int, Range(0, cap=10**8)] = 3840,
        queue_epoch: Amount = 50,
        freeze_epochs: Amount = 2,
        large: Count = 2,
    ) -> None:
        super().__init__(run, size)
        whole_batches = queue >= 0 and queue % run.batch_size == 0
        check_option("queue", queue, whole_batches, f"0 or a multiple of the batch, {run.batch_size}")
        check_option("large", large, 1 <= large <= len(run.views), f"between 1 and the {len(run.views)} views")
        self.temperature, self.epsilon, self.iterations = temperature, epsilon, iterations
        self.queue_epoch, self.freeze_epochs, self.large = queue_epoch, freeze_epochs, large
        self.prototypes = nn.Linear(run.projector.out, prototypes, bias=False)
        self._normalise_prototypes()
        self.register_buffer("queue", torch.zeros(large, queue, run.projector.out))  # newest first
        self.register_buffer("queued", torch.zeros((), dtype=torch.int64))  # rows of the queue that are filled
        self.filled = 0  # the same number on the host, which would wait to read it from the device
        self.register_load_state_dict_post_hook(_note_filled)  # type: ignore[no-untyped-call]

    @torch.no_grad()
    def targets(self, batch: Batch) -> Targets:
        """The queue once it is full (else none of it), whether it takes this batch in, whether prototypes rest."""
        length = self.queue.shape[1]
        storing = length > 0 and batch.epoch >= self.queue_epoch
        full = storing and self.filled == length
        return self.queue[:, : length if full else 0].clone(), storing, batch.epoch < self.freeze_epochs

    def loss(self, embedded: Embedded, targets: Targets) -> Tensor:
        queue_VLD, _, frozen = targets
        prototypes = self.prototypes.weight.detach() if frozen else self.prototypes.weight
        scores = [prototype_scores(z, prototypes) for z in embedded.embeddings]
        large = embedded.embeddings[: self.large]
        assignments = [self._assignment(z, stored) for z, stored in zip(large, queue_VLD, strict=True)]
        return swav_loss(scores, assignments, self.temperature)

    @torch.no_grad()
    def after_step(self, progress: float, embedded: Embedded, targets: Targets) -> None:
        """Put the prototypes back on the unit sphere, and the batch's embeddings into the queue's front."""
        self._normalise_prototypes()
        _, storing, _ = targets
        if storing:
            large = [gather(F.normalize(z.to(self.queue.dtype), dim=1)) for z in embedded.embeddings[: self.large]]
            length = self.queue.shape[1]
            self.queue.copy_(torch.cat([torch.stack(large), self.queue], dim=1)[:, :length])
            self.filled = min(self.filled + len(large[0]), length)
            self.queued.fill_(self.filled)

    @torch.no_grad()
    def _assignment(self, z: Tensor, stored: Tensor) -> Tensor:
        """Of this process's share, made over the queue's rows and the whole batch."""
        everyone = torch.cat([stored, gather(z.to(stored.dtype))])
        assigned = sinkhorn(prototype_scores(everyone, self.prototypes.weight), self.epsilon, self.iterations)
        return share(assigned[len(stored) :])

    @torch.no_grad()
    def _normalise_prototypes(self) -> None:
        self.prototypes.weight.copy_(F.normalize(self.prototypes.weight, dim=1))


def _note_filled(method: nn.Module, _: object) -> None:
    assert isinstance(method, SwAV)
    method.filled = int(method.queued)


@full_precision
def prototype_scores(z_ND: Tensor, prototypes_KD: Tensor) -> Tensor:
    """Products of normalised embeddings with prototypes: N x K. N samples, D embedding, K prototypes."""
    return F.normalize(z_ND, dim=1) @ prototypes_KD.T


@torch.no_grad()
@full_precision
def sinkhorn(scores_NK: Tensor, epsilon: float, iterations: int) -> Tensor:
    """Soft assignments of N samples to K prototypes (N x K): rows sum to 1, columns to about N / K (SwAV, Eq. 3-5).

    The largest score is taken off first, which cancels in the normalisations and keeps exp from overflowing.
    """
    tiny = torch.finfo(scores_NK.dtype).tiny  # a prototype or sample beyond exp's range gets nothing, instead of 0 / 0
    q_NK = ((scores_NK - scores_NK.max()) / epsilon).exp_()
    samples, prototypes = q_NK.shape
    q_NK /= q_NK.sum()
    for _ in range(iterations):
        q_NK /= q_NK.sum(0, keepdim=True).mul_(prototypes).clamp_(min=tiny)
        q_NK /= q_NK.sum(1, keepdim=True).mul_(samples).clamp_(min=tiny)
    return q_NK.mul_(samples)


@full_precision
def swav_loss(scores_NK: Sequence[Tensor], assignments_NK: Sequence[Tensor], temperature: float) -> Tensor:
    """Cross-entropy of each assigned crop's assignment with every other crop's prediction, the mean over pairs.

    One N x K tensor a crop (SwAV, Eq. 2 and 6). N batch, K prototypes; the assigned crops come first.
    """
    predictions_NK = [F.log_softmax(scores / temperature, dim=1) for scores in scores_NK]
    terms = [
        -(assignment * prediction).sum(1).mean()
        for assigned, assignment in enumerate(assignments_NK)
        for predicting, prediction in enumerate(predictions_NK)
        if predicting != assigned
    ]
    return torch.stack(terms).mean()
