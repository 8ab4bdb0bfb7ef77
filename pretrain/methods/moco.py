"""MoCo (He et al., CVPR 2020; Chen et al., 2020), and the symmetric MoCo v2+ of solo-learn's CIFAR recipe.

The keys of each view have a queue of their own (solo-learn); of one direction there is one queue, as in the papers.
"""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from ..networks.heads import mlp, projector_widths
from ..runtime.copies import send
from ..runtime.distributed import gather, share, world
from ..runtime.precision import at_least_float32, full_precision
from ..runtime.randomness import permutation
from ..specs.fields import Positive, Range, Share
from ..specs.run import Run
from ..views.batch import Batch
from .base import SMALL_BATCH, Embedded, Method, Targets, check_option
from .parts.target_network import Target, ema_momentum


class MoCo(Method):
    """Find the key of the same image, made by a slowly moving copy of the network, among a queue of older keys."""

    small = (("queue", 2 * SMALL_BATCH),)

    queue: Tensor  # directions x queue x out: rows of unit length
    pointer: Tensor  # the row that the next key overwrites, the oldest

    def __init__(
        self,
        run: Run,
        size: int,
        *,
        temperature: Positive = 0.2,  # solo-learn; MoCo v1: 0.07
        momentum: Share = 0.99,  # of the target at the start (solo-learn); MoCo v1 and v2: 0.999
        final_momentum: Share = 0.999,  # at the end, reached by a cosine; the same at both ends is a constant
        queue: Annotated[int, Range(1, cap=10**8)] = 32768,  # keys a direction (solo-learn); MoCo v1 and v2: 65536
        symmetric: bool = True,  # both directions (solo-learn); the papers query with the first view only
    ) -> None:
        super().__init__(run, size)
        fits = queue > 0 and queue % run.batch_size == 0
        check_option("queue", queue, fits, f"a multiple of the whole batch of {run.batch_size}")
        head = run.projector
        widths = projector_widths(self.backbone.features, head.layers, head.hidden, head.out)
        self.projector = mlp(widths, norm=False)
        self.target = Target(self.backbone, self.projector)
        self.temperature = temperature
        self.momenta = momentum, final_momentum
        self.seed = run.seed
        self.separate_norms = run.norm_groups > 1
        rows = F.normalize(torch.randn(queue, head.out), dim=1)
        # The same rows for both, so that at the start the order of the views does not matter.
        self.register_buffer("queue", rows.repeat(2 if symmetric else 1, 1, 1))
        self.register_buffer("pointer", torch.zeros((), dtype=torch.int64))

    @torch.no_grad()
    def targets(self, batch: Batch) -> Targets:
        """The queues, and for each direction the keys of the view that is not its query."""
        others = (batch.views[1], batch.views[0])[: len(self.queue)]
        return (self.queue.clone(), *(self._keys(view, batch.step) for view in others))

    def loss(self, embedded: Embedded, targets: Targets) -> Tensor:
        queues, *keys = targets
        directions = zip(embedded.embeddings[: len(keys)], keys, queues, strict=True)
        return torch.stack([moco_loss(query, key, rows, self.temperature) for query, key, rows in directions]).mean()

    @torch.no_grad()
    def after_step(self, progress: float, embedded: Embedded, targets: Targets) -> None:
        """Put the whole batch's keys in the place of the oldest, and move the target towards the online network."""
        keys = torch.stack([gather(key) for key in targets[1:]]).to(self.queue.dtype)
        count = keys.shape[1]
        self.queue.index_copy_(1, self.pointer + torch.arange(count, device=keys.device), keys)
        self.pointer.add_(count).remainder_(self.queue.shape[1])
        initial, final = self.momenta
        self.target.follow(self.backbone, self.projector, momentum=ema_momentum(initial, progress, final))

    def _keys(self, images: Tensor, step: int) -> Tensor:
        """Unit keys of this process's images (N x 3 x S x S).

        Where each process has batch-norm statistics of its own, a query and its key would share theirs, which gives
        the key away (MoCo, section 3.3): the target then embeds a share of the shuffled batch, and keys are put back.
        """
        shuffled = self.separate_norms and world() > 1
        if shuffled:
            order = send(permutation(self.seed, step, len(images) * world()), images.device)
            images = share(gather(images)[order])
        keys = F.normalize(at_least_float32(self.target(images)), dim=1)
        return share(gather(keys)[order.argsort()]) if shuffled else keys


@full_precision
def moco_loss(query_ND: Tensor, key_ND: Tensor, queue_KD: Tensor, temperature: float) -> Tensor:
    """InfoNCE of each query with its own key against the queue (MoCo, Eq. 1), the mean over the batch.

    N batch, D embedding, K queue, whose rows have unit length; queries and keys are normalised here.
    """
    query_ND, key_ND = F.normalize(query_ND, dim=1), F.normalize(key_ND, dim=1)
    positive_N1 = (query_ND * key_ND).sum(dim=1, keepdim=True)
    logits_NL = torch.cat([positive_N1, query_ND @ queue_KD.T], dim=1) / temperature
    return F.cross_entropy(logits_NL, torch.zeros(len(logits_NL), dtype=torch.int64, device=logits_NL.device))
