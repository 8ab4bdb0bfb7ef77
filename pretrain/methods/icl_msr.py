"""ICL-MSR (Qiang et al., ICML 2022): a reconstruction, for neither code nor loss is published where we could read it.

From the paper's abstract: backgrounds are a confounder; a meta-learned semantic regulariser, a backdoor adjustment, is
added to a contrastive method (here SimCLR) to take their influence out, and is trained on two levels. The rest is ours.
A meta network weighs each direction of each embedding between 0 and 1, and the regulariser is the contrastive loss of
the weighed embeddings. The meta network learns, by the hypergradient of a virtual step, the weights whose step lowers
the plain contrastive loss most; directions that do not help, such as those of backgrounds, are meant to lose theirs.
A term of its own keeps the weights in their range and apart.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ..networks.heads import mlp
from ..runtime.precision import full_precision
from ..specs.fields import Amount, Positive
from ..specs.run import Run
from ..views.batch import Batch
from .barlow_twins import standardise
from .parts.regulariser import Outputs, Regulariser
from .simclr import SimCLR, nt_xent_loss


class ICLMSR(SimCLR):
    """SimCLR, whose trunk also learns from embeddings as a meta network weighs them."""

    def __init__(
        self,
        run: Run,
        size: int,
        *,
        temperature: Positive = 0.5,
        output_norm: bool = True,
        strength: Amount = 0.1,  # of the regulariser in the trunk's loss; ours
        balance: Amount = 1.0,  # of the meta network's own term in its loss; ours
    ) -> None:
        super().__init__(run, size, temperature=temperature, output_norm=output_norm)
        self.regulariser = MetaSemantic(self.backbone.features, run.projector.out, temperature, strength, balance)


class MetaSemantic(Regulariser):
    """The meta network: representations (N x D') to weights of the embedding's directions (N x D) in (0, 1)."""

    coupled_name, own_name = "msr", "balance"

    def __init__(self, features: int, width: int, temperature: float, strength: float, balance: float) -> None:
        super().__init__()
        self.network = mlp((features, width, width))
        self.temperature, self.strength, self.balance = temperature, strength, balance

    def forward(self, h: Tensor) -> Tensor:
        """Weights of representations."""
        return torch.sigmoid(self.network(h))

    def on(self, batch: Batch, samples: int) -> Weighing:
        """The regulariser of one batch."""
        return Weighing(self)


class Weighing:
    """The contrastive loss of weighed embeddings and the balance of the weights, for one batch."""

    def __init__(self, meta: MetaSemantic) -> None:
        self.meta = meta
        self.weight, self.own_weight = meta.strength, meta.balance
        self._seen: Tensor | None = None

    def __call__(self, y: Outputs) -> tuple[Tensor, Tensor]:
        """Both terms. The weights' input is that of the batch's first y, held fixed: were the trunk trained through
        it, it could write into the weights which image it sees, and the weighed loss would no longer need z."""
        if self._seen is None:
            self._seen = torch.cat([y.h1, y.h2]).detach()
        weights = self.meta(self._seen)
        w1, w2 = weights.chunk(2)
        return nt_xent_loss(y.z1 * w1, y.z2 * w2, self.meta.temperature), balance_loss(weights)


@full_precision
def balance_loss(w_ND: Tensor) -> Tensor:
    """Squared distance of each row's mean from 1/2, plus squared correlation of each two columns; the mean of either.

    N rows, D directions of the embedding. Cosines ignore a row's scale, so without the first term all weights of a row
    might drift to where the sigmoid is flat; without the second they might all become one number.
    """
    off_middle = (w_ND.mean(dim=1) - 0.5).square().mean()
    width = w_ND.shape[1]
    standard_ND = standardise(w_ND)
    c_DD = standard_ND.T @ standard_ND / len(w_ND)
    off_diagonal = c_DD.square().sum() - c_DD.diagonal().square().sum()
    return off_middle + off_diagonal / max(width * (width - 1), 1)
