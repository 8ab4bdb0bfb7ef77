"""W-MSE (Ermolov et al., ICML 2021; code `htdt/self-supervised`), with two views or more."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Annotated

import torch
import torch.nn.functional as F
from torch import Tensor

from ..runtime.copies import send
from ..runtime.distributed import gather, world
from ..runtime.precision import full_precision
from ..runtime.randomness import permutation
from ..specs.fields import Count, Range
from ..specs.run import Run
from ..views.batch import Batch
from .base import SMALL_BATCH, Embedded, Method, Targets, check_option

Repeats = Annotated[int, Range(1, cap=10**4)]
_FIRST_DRAW = -1_000  # stands where an epoch stands, counting down: orders of epochs are drawn from 0 up, subsets below


class WMSE(Method):
    """Pull the views of a sample together after whitening, which rules collapse out without negatives.

    `whitening` is the number of rows whitened together, `repeats` how often the batch is divided anew for that.
    """

    small = (("whitening", SMALL_BATCH), ("repeats", 2))

    def __init__(self, run: Run, size: int, *, whitening: Count = 128, repeats: Repeats = 1) -> None:
        super().__init__(run, size)
        divides = run.batch_size % whitening == 0
        check_option("whitening", whitening, divides, f"a divisor of the batch, {run.batch_size}")
        wide = whitening > run.projector.out
        check_option("whitening", whitening, wide, f"above the embedding width, {run.projector.out}")
        self.seed, self.whitening, self.repeats = run.seed, whitening, repeats
        self.remedy = "whitening needs embeddings in all projector.out directions: a smaller out or more rows help"

    def embed(self, views: Sequence[Tensor]) -> Embedded:
        """The trunk runs once a view, the head once on all views together, so they share its batch statistics."""
        representations = tuple(self.backbone(view) for view in views)
        return Embedded(representations, self.projector(torch.cat(representations)).chunk(len(representations)))

    @torch.no_grad()
    def targets(self, batch: Batch) -> Targets:
        """The orders in which the whole batch is divided, one a repeat: (repeats, samples)."""
        samples, first = world() * len(batch.index), _FIRST_DRAW - batch.step * self.repeats
        orders = [permutation(self.seed, first - repeat, samples) for repeat in range(self.repeats)]
        return (send(torch.stack(orders), batch.views[0].device),)

    def loss(self, embedded: Embedded, targets: Targets) -> Tensor:
        return w_mse_loss([gather(z) for z in embedded.embeddings], *targets, self.whitening)


@full_precision
def w_mse_loss(z_ND: Sequence[Tensor], order_RN: Tensor, sub_batch: int) -> Tensor:
    """Mean of 2 - 2 cos between whitened views over samples, pairs of views and orders (W-MSE, section 3).

    One N x D tensor a view. N batch, D embedding, R orders; each order cuts all views into the same sub-batches.
    """
    terms = []
    for order_N in order_RN:
        whitened_ND = [F.normalize(whiten(z[order_N], sub_batch), dim=1) for z in z_ND]
        terms += [2 - 2 * (one * other).sum(1).mean() for one, other in combinations(whitened_ND, 2)]
    return torch.stack(terms).mean()


def whiten(z_ND: Tensor, sub_batch: int) -> Tensor:
    """Rows of each consecutive sub-batch with mean 0 and covariance (divisor one less than its rows) the identity.

    By the Cholesky factor L of the covariance: X goes to X L^-T (W-MSE, section 3). Rows whose covariance has none
    become NaN and raise nothing, so that every process of a run sees that its loss is not finite.
    """
    x_SWD = z_ND.reshape(-1, sub_batch, z_ND.shape[1])
    x_SWD = x_SWD - x_SWD.mean(1, keepdim=True)
    covariance_SDD = x_SWD.mT @ x_SWD / (sub_batch - 1)
    factor_SDD, failed_S = torch.linalg.cholesky_ex(covariance_SDD)
    factor_SDD = factor_SDD.masked_fill((failed_S != 0)[:, None, None], torch.nan)
    whitened_SDW: Tensor = torch.linalg.solve_triangular(factor_SDD, x_SWD.mT, upper=False)
    return whitened_SDW.mT.reshape(z_ND.shape)
