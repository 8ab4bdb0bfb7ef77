"""SimSiam (Chen and He, CVPR 2021)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from ..networks.batch_norm import BatchNorm
from ..networks.heads import mlp, projector_widths
from ..runtime.precision import at_least_float32, full_precision
from ..specs.fields import Width
from ..specs.run import Projector, Run
from .base import Embedded, Method, Targets


class SimSiam(Method):
    """Predict the other view's embedding, which gets no gradient; there is no other network and no negative."""

    small = (("predictor_hidden", 6),)

    def __init__(self, run: Run, size: int, *, predictor_hidden: Width = 512) -> None:  # the paper's baseline
        super().__init__(run, size)
        self.projector = normalised_projector(self.backbone.features, run.projector)
        self.predictor = mlp((run.projector.out, predictor_hidden, run.projector.out), bias=False)

    def loss(self, embedded: Embedded, targets: Targets) -> Tensor:
        z1, z2 = embedded.embeddings[:2]
        return simsiam_loss(self.predictor(z1), self.predictor(z2), z1, z2)


def normalised_projector(features: int, head: Projector) -> nn.Sequential:
    """An MLP with batch norm after its last layer too, there without scale and shift (SimSiam's code).

    No linear layer has a bias, for each is followed by a batch norm.
    """
    widths = projector_widths(features, head.layers, head.hidden, head.out)
    return nn.Sequential(*mlp(widths, bias=False, last_bias=False), _Standardisation(head.out, affine=False))


class _Standardisation(BatchNorm):
    """Batch norm in float32 or better: PyTorch without a scale keeps statistics in the type of the input."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(at_least_float32(x)).to(x.dtype)


@full_precision
def simsiam_loss(p1_ND: Tensor, p2_ND: Tensor, z1_ND: Tensor, z2_ND: Tensor) -> Tensor:
    """-1/2 [mean cos(p1, sg(z2)) + mean cos(p2, sg(z1))] (SimSiam, Eq. 4), sg the stop-gradient.

    N batch, D embedding; p are predictions, z the embeddings they were made from.
    """
    one = F.cosine_similarity(p1_ND, z2_ND.detach(), dim=1).mean()
    return -(one + F.cosine_similarity(p2_ND, z1_ND.detach(), dim=1).mean()) / 2
