"""CMC (Tian et al., ECCV 2020; code `HobbitLong/CMC`), between an image's lightness and its colour."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..networks.heads import mlp, projector_widths
from ..networks.two_trunks import TwoTrunks
from ..runtime.copies import send
from ..runtime.distributed import gather, world
from ..runtime.precision import full_precision
from ..runtime.randomness import generator, uniform
from ..specs.fields import Positive, Share, Width
from ..specs.run import Run
from ..views.batch import Batch
from .base import Embedded, Method, Targets

Form = Literal["nce", "softmax"]
_NEGATIVES_DRAW = 1_000  # stands where a view's number stands: random numbers that no view uses


class CMC(Method):
    """Find an image's lightness among those of `negatives` other images by its colour, and its colour by its lightness.

    One view is enough, for the two sides compared are colour spaces. Embeddings are compared with two memory banks,
    lightness and colour, of a row for each training image; a row follows its embedding by `bank_momentum`.
    """

    small = (("negatives", 6),)

    backbone: TwoTrunks
    projector: nn.ModuleList
    banks: Tensor
    log_normalisers: Tensor

    def __init__(
        self,
        run: Run,
        size: int,
        *,
        temperature: Positive = 0.07,
        negatives: Width = 4096,
        bank_momentum: Share = 0.5,
        form: Form = "nce",
    ) -> None:
        if run.backbone.colours == "rgb":
            raise ValueError("cmc compares two colour spaces: backbone.colours must be lab or ycbcr, not rgb")
        super().__init__(run, size)
        self.seed, self.temperature, self.negatives = run.seed, temperature, negatives
        self.bank_momentum, self.form = bank_momentum, form
        head = run.projector
        trunks = (self.backbone.lightness, self.backbone.colour)
        self.projector = nn.ModuleList(
            mlp(projector_widths(trunk.features, head.layers, head.hidden, head.out)) for trunk in trunks
        )
        self.register_buffer("log_normalisers", torch.full((2,), torch.inf))  # one a bank; infinite = not fixed yet
        self.fixed = False  # whether they are: known to the host, which would wait to read it from the device
        self.register_load_state_dict_post_hook(_note_fixed)  # type: ignore[no-untyped-call]

    def allocate(self, images: int) -> None:
        """Make the banks (2 x images x D), with rows of a length about 1 in random directions."""
        width = self.embedding_width
        drawn = torch.rand(2, images, width, generator=generator(self.seed, "banks"))
        like = self.log_normalisers
        self.register_buffer("banks", ((2 * drawn - 1) * math.sqrt(3 / width)).to(like.device, like.dtype))

    def embed(self, views: Sequence[Tensor]) -> Embedded:
        """Of the first view: the two trunks' features side by side, and an embedding of lightness and one of colour."""
        parts = self.backbone.parts(views[0])
        embeddings = tuple(head(part) for head, part in zip(self.projector, parts, strict=True))
        return Embedded((torch.cat(parts, dim=1),), embeddings)

    @torch.no_grad()
    def targets(self, batch: Batch) -> Targets:
        """Rows of both banks (2 x N x 1 + negatives x D, the sample's own first), normalisers, the batch's indices."""
        index = send(batch.index, self.banks.device)
        drawn = uniform(self.seed, batch.step, index, _NEGATIVES_DRAW, self.negatives)
        others = (drawn.double() * self.banks.shape[1]).long()  # in float32 the product may round up to the last + 1
        rows = self.banks[:, torch.cat([index[:, None], others], dim=1)]
        return rows, self.log_normalisers.clone() if self.fixed else None, gather(index)

    def loss(self, embedded: Embedded, targets: Targets) -> Tensor:
        rows, normalisers, _ = targets
        lightness, colour = embedded.embeddings
        if self.form == "softmax":
            terms = [contrast_loss(z, row, self.temperature) for z, row in zip((colour, lightness), rows, strict=True)]
        else:
            if normalisers is None:
                normalisers = self._first_normalisers(embedded, rows)
            images = self.banks.shape[1]
            terms = [
                nce_loss(z, row, normaliser, images, self.temperature)
                for z, row, normaliser in zip((colour, lightness), rows, normalisers, strict=True)
            ]
        return torch.stack(terms).sum()

    @torch.no_grad()
    def after_step(self, progress: float, embedded: Embedded, targets: Targets) -> None:
        """Move the batch's rows of both banks; fix the normalisers if this was the first batch."""
        rows, normalisers, index = targets
        if self.form == "nce" and normalisers is None:
            self.log_normalisers.copy_(self._first_normalisers(embedded, rows))
            self.fixed = True
        for bank, z in zip(self.banks, embedded.embeddings, strict=True):
            seen = gather(F.normalize(z.to(bank.dtype), dim=1))
            bank[index] = F.normalize(bank[index].lerp(seen, 1 - self.bank_momentum), dim=1)

    @torch.no_grad()
    def _first_normalisers(self, embedded: Embedded, rows: Tensor) -> Tensor:
        """Logarithms of the images' number times the mean of exp(score / temperature), over the whole batch."""
        logarithms = []
        for z, row in zip(reversed(embedded.embeddings), rows, strict=True):
            logits = bank_scores(z, row) / self.temperature
            sums = gather(logits.logsumexp((0, 1), keepdim=True))
            mean = sums.logsumexp((0, 1)) - math.log(world() * logits.numel())
            logarithms.append(mean + math.log(self.banks.shape[1]))
        return torch.stack(logarithms)


def _note_fixed(method: nn.Module, _: object) -> None:
    assert isinstance(method, CMC)
    method.fixed = bool(method.log_normalisers.isfinite().all())


@full_precision
def bank_scores(z_ND: Tensor, rows_NRD: Tensor) -> Tensor:
    """Products of each normalised embedding with its own R rows of a bank: N x R."""
    return (rows_NRD @ F.normalize(z_ND, dim=1)[:, :, None]).squeeze(2)


@full_precision
def nce_loss(
    z_ND: Tensor, rows_NRD: Tensor, log_normaliser: Tensor, images: int, temperature: float, eps: float = 1e-7
) -> Tensor:
    """Noise-contrastive estimation of which row is the sample's own, the first (CMC, section 3.4; eps: CMC code).

    N batch, D embedding, R rows a sample, R - 1 of them noise, drawn from `images`. Sum over rows, mean over samples.
    """
    noise = (rows_NRD.shape[1] - 1) / images
    # With P = exp(score / temperature) / normaliser the terms are P / (P + noise + eps) and noise / (P + noise + eps);
    # in logarithms, as nothing keeps exp(score / temperature) in range.
    odds_NR = bank_scores(z_ND, rows_NRD) / temperature - log_normaliser - math.log(noise + eps)
    own_N = F.logsigmoid(odds_NR[:, 0])
    others_NK = F.logsigmoid(-odds_NR[:, 1:]) + math.log(noise / (noise + eps))
    return -(own_N + others_NK.sum(1)).mean()


@full_precision
def contrast_loss(z_ND: Tensor, rows_NRD: Tensor, temperature: float) -> Tensor:
    """Cross-entropy of the sample's own row, the first, among its R rows (CMC, section 3). N batch, D embedding."""
    logits_NR = bank_scores(z_ND, rows_NRD) / temperature
    return F.cross_entropy(logits_NR, torch.zeros(len(logits_NR), dtype=torch.int64, device=logits_NR.device))
