"""DCL, by either paper of that name: debiased (Chuang et al., NeurIPS 2020) or decoupled (Yeh et al., ECCV 2022).

The CompMod paper gives no reference for its row. Debiased is the better guess, for it sits beside CMC in that paper's
ImageNet-100 table, and is the default; "weighted" is the second paper's DCLW.
"""

from __future__ import annotations

import math
from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from ..runtime.distributed import gather
from ..runtime.precision import full_precision
from ..specs.fields import BELOW_ONE, Positive, Range
from ..specs.run import Run
from .base import Embedded, Method, Targets

Form = Literal["debiased", "decoupled", "weighted"]


class DCL(Method):
    """Contrast two views as SimCLR does, with the negatives corrected or the positive taken out of their sum."""

    def __init__(
        self,
        run: Run,
        size: int,
        *,
        form: Form = "debiased",
        temperature: Positive = 0.5,  # debiased, the authors' code; the decoupled papers use 0.1
        prior: Annotated[
            float, Range(0, BELOW_ONE)
        ] = 0.1,  # debiased: probability that a negative is of the anchor's class (STL-10, authors' code)
        sigma: Positive = 0.5,  # weighted: width of the positives' weights (Yeh et al.)
    ) -> None:
        super().__init__(run, size)
        self.form, self.temperature, self.prior, self.sigma = form, temperature, prior, sigma

    def loss(self, embedded: Embedded, targets: Targets) -> Tensor:
        z1, z2 = (gather(z) for z in embedded.embeddings[:2])
        if self.form == "debiased":
            return debiased_loss(z1, z2, self.temperature, self.prior)
        return decoupled_loss(z1, z2, self.temperature, self.sigma if self.form == "weighted" else None)


@full_precision
def debiased_loss(z1_ND: Tensor, z2_ND: Tensor, temperature: float, prior: float) -> Tensor:
    """Contrastive loss with the expected share of same-class negatives taken out (Chuang et al., Eq. 7 and 8).

    N batch, D embedding; the mean over M = 2N anchors, each with 2N - 2 negatives. `prior` is tau plus.
    """
    positive_M, negative_MM = _logits(z1_ND, z2_ND, temperature)
    count = len(positive_M) - 2
    sum_M = negative_MM.exp().sum(dim=1)
    corrected_M = (sum_M - prior * count * positive_M.exp()) / (1 - prior)
    corrected_M = corrected_M.clamp(min=count * math.exp(-1 / temperature))
    return ((positive_M.exp() + corrected_M).log() - positive_M).mean()


@full_precision
def decoupled_loss(z1_ND: Tensor, z2_ND: Tensor, temperature: float, sigma: float | None = None) -> Tensor:
    """Contrastive loss without the positive in the denominator (Yeh et al., Eq. 6), the mean over M = 2N anchors.

    N batch, D embedding. With `sigma` the positives are weighted by 2 - N softmax(cos / sigma) over the batch, which
    no gradient reaches: a pair that is still far apart counts more.
    """
    positive_M, negative_MM = _logits(z1_ND, z2_ND, temperature)
    weight_M = torch.ones_like(positive_M)
    if sigma is not None:
        cosine_N = temperature * positive_M[: len(z1_ND)].detach()
        weight_M = (2 - len(z1_ND) * (cosine_N / sigma).softmax(dim=0)).repeat(2)
    return (negative_MM.logsumexp(dim=1) - weight_M * positive_M).mean()


def _logits(z1_ND: Tensor, z2_ND: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Cosine over temperature: of each anchor's positive (M), and of all pairs, -inf between views of one image."""
    z_MD = F.normalize(torch.cat([z1_ND, z2_ND]), dim=1)
    logits_MM = z_MD @ z_MD.T / temperature
    image_M = torch.arange(len(z1_ND), device=z_MD.device).repeat(2)
    positive_M = logits_MM.diagonal(len(z1_ND)).repeat(2)
    return positive_M, logits_MM.masked_fill(image_M[:, None] == image_M, -torch.inf)
