"""SSL-HSIC (Li et al., NeurIPS 2021; code `deepmind/ssl_hsic`), with the heads of BYOL.

The embeddings of an image are made to depend on which image it is, in the sense of the Hilbert-Schmidt independence
criterion with an inverse multiquadric kernel k(a, b) = c / sqrt(c^2 + |a - b|^2) on the unit sphere. The kernel's scale
c is learned beside the network, by an objective of its own.
"""

from __future__ import annotations

from typing import Annotated, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..networks.heads import mlp
from ..networks.running_statistics import frozen_statistics
from ..runtime.copies import send
from ..runtime.distributed import gather, world
from ..runtime.precision import at_least_float32, full_precision
from ..runtime.randomness import generator
from ..specs.fields import BELOW_ONE, Amount, Range, Share, Width
from ..specs.run import Run
from ..views.batch import Batch
from .base import Embedded, Method, Targets
from .byol import projector_without_last_bias
from .parts.fourier import Draw, draw_fourier, fourier_features
from .parts.target_network import Target, ema_momentum

LARGEST_EXACT_BATCH = 512  # with it the matrix of 4 views has 2048 rows: cheaper than two draws of features
LEAST_HSIC = 1e-12  # HSIC(Z, Z) below it is rounding in float32, and its root gets no slope
LEAST_SCALE = 0.01  # ours: keeps c from crossing 0 when embeddings collapse; trained ones have c near 1
ADAM_BETAS = (0.9, 0.999)  # Adam's defaults, which the authors use
ADAM_EPS = 1e-8  # likewise
Form = Literal["exact", "random", "auto"]


class SSLHSIC(Method):
    """Maximise dependence between embeddings and image identity, minus gamma times the embeddings' own."""

    small = (("features", 16), ("predictor_hidden", 12))

    scale: Tensor  # c of the kernel
    scale_moments: Tensor  # Adam's two running means for c
    scale_updates: Tensor  # int64, how many there were

    def __init__(
        self,
        run: Run,
        size: int,
        *,
        target: bool = True,  # without it the two projections alone are compared, and there is no predictor
        predictor_hidden: Width = 1024,
        momentum: Share = 0.99,
        gamma: Amount = 3.0,  # the authors' weight of sqrt HSIC(Z, Z)
        features: Width = 512,  # of one draw; the authors' number
        form: Form = "auto",  # exact kernel matrix, random Fourier features; auto: exact for whole batches up to 512
        kernel_lr: Amount = 3e-4,  # the authors'
        pairs: Width = 4096,  # sampled a step for c; the authors take all pairs of two samples of 1024 rows
        last_bias: bool = True,  # of the last layers of projector and predictor; the authors have none
        average: Annotated[float, Range(0, BELOW_ONE)] = 0.0,  # momentum of the averaged trunk that is kept; 0 = none
    ) -> None:
        super().__init__(run, size)
        if not last_bias:
            self.projector = projector_without_last_bias(self.backbone.features, run.projector)
        width = run.projector.out
        self.predictor = mlp((width, predictor_hidden, width), last_bias=last_bias) if target else None
        self.target = Target(self.backbone, self.projector) if target else None
        self.initial_momentum, self.gamma, self.features, self.form = momentum, gamma, features, form
        self.kernel_lr, self.pairs, self.seed = kernel_lr, pairs, run.seed
        self.average, self.averaged = average, Target(self.backbone) if average else None
        self.register_buffer("scale", torch.ones(()))
        self.register_buffer("scale_moments", torch.zeros(2))
        self.register_buffer("scale_updates", torch.zeros((), dtype=torch.int64))

    @property
    def encoder(self) -> nn.Module:
        """The trunk; with `average`, its averaged parameters beside the batch-norm statistics of training."""
        if self.averaged is None:
            return self.backbone
        (trunk,) = self.averaged
        for buffer, current in zip(trunk.buffers(), self.backbone.buffers(), strict=True):
            buffer.copy_(current)
        return trunk

    @torch.no_grad()
    def targets(self, batch: Batch) -> Targets:
        """This batch's kernel scale, target embeddings, feature draws (none in the exact form) and sampled pairs."""
        view = batch.views[0]
        held = () if self.target is None else tuple(gather(self.target(view)) for view in batch.views[:2])
        images = len(view) * world()
        source = generator(self.seed, f"ssl_hsic, step {batch.step}")
        pairs = send(torch.randint(images * (2 + len(held)), (2, self.pairs), generator=source), view.device)
        draws: tuple[Draw, ...] = ()
        if self.form == "random" or (self.form == "auto" and images > LARGEST_EXACT_BATCH):
            draws = tuple(draw_fourier(self.embedding_width, self.features, source, view) for _ in range(2))
        return self.scale.clone(), held, draws, pairs

    def loss(self, embedded: Embedded, targets: Targets) -> Tensor:
        scale, held, draws, _ = targets
        views = self._views(embedded, held)
        if draws:
            return hsic_loss_random(views, *draws, scale, self.gamma)
        return hsic_loss_exact(views, scale, self.gamma)

    @torch.no_grad()
    def after_step(self, progress: float, embedded: Embedded, targets: Targets) -> None:
        """One step of Adam on the kernel's scale; move the target towards the online network."""
        _, held, _, pairs = targets
        with frozen_statistics(self):  # the batch has been counted
            first, second = torch.cat(self._views(embedded, held))[pairs]
        slope = kernel_slope(first, second, self.scale)
        _adam_ascent_(self.scale, self.scale_moments, self.scale_updates, slope, self.kernel_lr)
        self.scale.clamp_(min=LEAST_SCALE)
        if self.averaged is not None:
            self.averaged.follow(self.backbone, momentum=self.average)
        if self.target is not None:
            momentum = ema_momentum(self.initial_momentum, progress)
            self.target.follow(self.backbone, self.projector, momentum=momentum)

    def _views(self, embedded: Embedded, held: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """What is compared, for the whole batch: predictions and targets, or the projections where neither exists."""
        online = embedded.embeddings[:2]
        if self.predictor is not None:
            online = tuple(self.predictor(at_least_float32(z)) for z in online)  # after a step there is no autocast
        return (*(gather(z) for z in online), *held)


@full_precision
def hsic_loss_exact(views: tuple[Tensor, ...], scale: float | Tensor, gamma: float) -> Tensor:
    """gamma sqrt(HSIC(Z, Z)) - HSIC(Z, Y) from the kernel matrix of all views.

    `views` are K matrices N x D (N batch, D embedding), M = N K rows together, of which the kernel sees the directions.
    HSIC(Z, Y) is the sum of the kernel over pairs of one image over N K (K - 1), less the mean over all M^2 pairs;
    rows are paired with themselves in both, as in the authors' code. HSIC(Z, Z) is the biased estimate, the squared
    norm of the doubly centred kernel matrix over M^2.
    """
    z_KND = F.normalize(torch.stack(views), dim=2)
    count, batch = z_KND.shape[:2]
    z_MD = z_KND.flatten(0, 1)
    k_MM = scale * (scale**2 + 2 - 2 * z_MD @ z_MD.T).rsqrt()
    same_image = torch.einsum("vnwn->", k_MM.view(count, batch, count, batch))
    mean_M = k_MM.mean(dim=1)
    hsic_zy = same_image / (batch * count * (count - 1)) - mean_M.mean()
    centred_MM = k_MM - mean_M - mean_M[:, None] + mean_M.mean()
    return gamma * _root(centred_MM.square().mean()) - hsic_zy


@full_precision
def hsic_loss_random(
    views: tuple[Tensor, ...], first: Draw, second: Draw, scale: float | Tensor, gamma: float
) -> Tensor:
    """`hsic_loss_exact` from two independent draws of random Fourier features, without a matrix of rows by rows.

    F features. HSIC(Z, Y) uses the first draw, HSIC(Z, Z) the product of both, so each is an unbiased estimate of its
    exact form; the error falls as 1 / sqrt(F).
    """
    z_KND = F.normalize(torch.stack(views), dim=2)
    count, batch = z_KND.shape[:2]
    rows = count * batch
    first_KNF, second_KNF = fourier_features(z_KND / scale, *first), fourier_features(z_KND / scale, *second)
    mean_F = first_KNF.mean(dim=(0, 1))
    same_image = first_KNF.sum(dim=0).square().sum()
    hsic_zy = same_image / (rows * (count - 1)) - mean_F.square().sum()
    first_MF, second_MF = first_KNF.flatten(0, 1), second_KNF.flatten(0, 1)
    c_FF = (first_MF - mean_F).T @ (second_MF - second_MF.mean(dim=0))
    return gamma * _root(c_FF.square().sum() / rows**2) - hsic_zy


@full_precision
def kernel_slope(first_PD: Tensor, second_PD: Tensor, scale: Tensor) -> Tensor:
    """Derivative by c of the mean over P pairs of log |dk / dD|, D the squared distance of a pair's directions.

    The scale maximises how fast the kernel changes with distance (SSL-HSIC's code): |dk / dD| = c (D + c^2)^(-3/2) / 2.
    """
    squared_P = (F.normalize(first_PD, dim=1) - F.normalize(second_PD, dim=1)).square().sum(dim=1)
    return (1 / scale - 3 * scale / (squared_P + scale**2)).mean()


def _root(hsic: Tensor) -> Tensor:
    """Square root with slope 0, not infinity, where embeddings have collapsed; nowhere else is it changed."""
    return hsic.clamp(min=LEAST_HSIC).sqrt()


def _adam_ascent_(value: Tensor, moments: Tensor, updates: Tensor, slope: Tensor, lr: float) -> None:
    """One step of Adam (Kingma and Ba, ICLR 2015) up the slope, in place."""
    updates += 1
    betas = torch.stack([moments.new_full((), beta) for beta in ADAM_BETAS])  # new_tensor would copy from the host
    moments.lerp_(torch.stack([slope, slope.square()]).to(moments), 1 - betas)
    mean, square = moments / (1 - betas**updates)
    value += lr * mean / (square.sqrt() + ADAM_EPS)
