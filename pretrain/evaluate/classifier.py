"""Classifier: a backbone with a linear layer on it, how it is updated, what it learns from, and its accuracy.

Initial layer and rates per epoch are those of Barlow Twins' evaluation (Zbontar et al., ICML 2021, code).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..data.imagenet import Files
from ..data.images import Images
from ..networks.batch_norm import synchronise_batch_norms
from ..optim import LARS
from ..runtime.distributed import broadcast_, rank, share, total, world
from ..runtime.gradients import mean_gradients
from ..runtime.randomness import generator, permutation
from ..specs.measurement import FineTuning
from ..views.augment import Views
from ..views.crops import RandomCrops
from ..views.loader import batches
from ..views.requests import Request
from .features import network_input, pixels_in_order
from .linear import TOP

INITIAL_STD = 0.01  # of the layer's weights; Barlow Twins code
TRUST = 0.001  # of LARS, in LARC's form without clipping; SimSiam code
LEAST = 2  # images a process needs of a batch: batch norm knows nothing of one
SCORED = 256  # images scored at once


class Classifier(nn.Module):
    """Images (N x 3 x H x W) to logits (N x classes). A frozen backbone stays in evaluation mode."""

    def __init__(self, backbone: nn.Module, classes: int, spec: FineTuning) -> None:
        super().__init__()
        self.spec, self.frozen = spec, not spec.backbone_lr
        self.backbone = backbone.requires_grad_(not self.frozen)
        features: int = backbone.features  # type: ignore[assignment]  # every trunk has them
        self.head = nn.utils.skip_init(nn.Linear, features, classes)
        nn.init.normal_(self.head.weight, std=INITIAL_STD, generator=generator(spec.run.seed, "fine-tuning head"))
        nn.init.zeros_(self.head.bias)
        broadcast_(list(self.head.parameters()))  # machines may round the same drawing differently
        if not self.frozen and world() > 1:
            synchronise_batch_norms(backbone)

    @property
    def learner(self) -> nn.Module:
        """What training changes, and a checkpoint holds."""
        return self.head if self.frozen else self

    def train(self, mode: bool = True) -> Classifier:
        """As nn.Module, but for a frozen backbone."""
        super().train(mode)
        if self.frozen:
            self.backbone.eval()
        return self

    def forward(self, x_N3HW: Tensor) -> Tensor:
        device = x_N3HW.device.type
        half = self.spec.precision == "bfloat16"
        narrow: AbstractContextManager[Any] = torch.autocast(device, dtype=torch.bfloat16) if half else nullcontext()
        with narrow:
            with torch.no_grad() if self.frozen else nullcontext():
                features_ND = self.backbone(x_N3HW.to(self.head.weight.dtype))
            logits_NC: Tensor = self.head(features_ND)
        return logits_NC.to(torch.promote_types(logits_NC.dtype, torch.float32))

    def optimizer(self) -> torch.optim.Optimizer:
        """The optimiser of what is trained: the layer, then the backbone; weight decay is on all of it."""
        spec = self.spec
        groups: list[dict[str, Any]] = [{"params": list(self.head.parameters()), "lr": spec.head_lr}]
        if not self.frozen:
            groups.append({"params": list(self.backbone.parameters()), "lr": spec.backbone_lr})
        common: dict[str, Any] = {"momentum": spec.momentum, "weight_decay": spec.weight_decay}
        if spec.optimizer == "lars":
            return LARS(groups, lr=spec.head_lr, trust=TRUST, clip=False, larc=True, **common)
        return torch.optim.SGD(groups, lr=spec.head_lr, nesterov=spec.nesterov, **common)

    def update(
        self,
        optimizer: torch.optim.Optimizer,
        epoch: int,
        x_N3HW: Tensor,
        labels_N: Tensor,
        passengers: Sequence[Tensor] = (),
    ) -> Tensor:
        """One step on this process's part of a batch; the mean cross-entropy of the whole batch before it.

        `passengers` are scalars to overwrite by their means over processes.
        """
        for group, peak in zip(optimizer.param_groups, (self.spec.head_lr, self.spec.backbone_lr), strict=False):
            group["lr"] = peak * rate_share(self.spec, epoch)
        self.train()
        loss = F.cross_entropy(self(x_N3HW), labels_N)
        mean_loss = loss.detach()
        trained = [parameter for parameter in self.parameters() if parameter.requires_grad]
        gradients = mean_gradients(loss, trained, [mean_loss, *passengers])
        for parameter, gradient in zip(trained, gradients, strict=True):
            parameter.grad = gradient
        optimizer.step()
        return mean_loss

    @torch.no_grad()
    def accuracy(self, images: Images | Files, device: torch.device, workers: int) -> dict[str, float]:
        """Shares of all images whose class is the first, or among the first five, on every process."""
        dataset = self.spec.run.data
        own = images.take(np.arange(rank(), len(images), world()))
        labels_N = torch.from_numpy(own.labels).to(device)
        found_2 = torch.zeros(2, dtype=torch.float64, device=device)
        self.eval()
        start = 0
        for pixels_B3HW in pixels_in_order(own, dataset, SCORED, workers):
            logits_BC = self(network_input(pixels_B3HW.to(device), dataset))
            top_BK = logits_BC.topk(min(TOP, logits_BC.shape[1])).indices
            hits_BK = top_BK == labels_N[start : start + len(top_BK), None]
            found_2 += torch.stack([hits_BK[:, 0].sum(), hits_BK.sum()])
            start += len(top_BK)
        top1, top5 = (total(found_2) / len(images)).tolist()
        return {"top1": top1, "top5": top5}


def rate_share(spec: FineTuning, epoch: int) -> float:
    """Learning rates of an epoch, counted from 0, as a share of the first one's."""
    if spec.schedule == "steps":
        return spec.drop_factor ** sum(epoch >= drop for drop in spec.drops)
    return (1 + math.cos(math.pi * epoch / spec.epochs)) / 2


def steps_per_epoch(images: int, batch_size: int) -> int:
    """Batches of an epoch, a smaller last one among them unless a process would have too few images of it.

    Raises ValueError when there is not one batch, or the processes cannot share them equally.
    """
    if batch_size % world():
        raise ValueError(f"batch_size {batch_size} cannot be shared equally by {world()} processes")
    full, left = divmod(images, batch_size)
    steps = full + (left >= LEAST * world())
    if not steps:
        raise ValueError(f"{images} training images are too few; expected at least {LEAST * world()}")
    return steps


def examples(
    images: Images | Files, spec: FineTuning, steps: range, device: torch.device, workers: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """This process's part of the batch of each step: views (N x 3 x S x S, normalised) and labels, on the device."""
    dataset, seed = spec.run.data, spec.run.seed
    view = Views(spec.augmentation, dataset, seed, 0)
    requests = _requests(len(images), spec, steps)
    if isinstance(images, Files):
        in_epoch = steps_per_epoch(len(images), spec.batch_size)
        crops, cuda = RandomCrops(dataset, (spec.augmentation,), seed), device.type == "cuda"
        for step, loaded in zip(steps, batches(images, requests, crops, workers, pin_memory=cuda), strict=True):
            pixels_N3SS = loaded.pixels[0].to(device, non_blocking=True)
            views_N3SS = view.after_crop(pixels_N3SS, loaded.samples, step // in_epoch)
            yield views_N3SS, loaded.labels.to(device, non_blocking=True)
        return
    pixels = torch.from_numpy(np.ascontiguousarray(images.pixels)).to(device)
    labels = torch.from_numpy(images.labels).to(device)
    for epoch, index_N in requests:
        rows_N = index_N.to(device, non_blocking=True)
        yield view(pixels[rows_N], index_N, epoch), labels[rows_N]


def _requests(images: int, spec: FineTuning, steps: range) -> Iterator[Request]:
    """Epoch and samples of each step; equal parts for all processes, so a few of a last batch may be left over."""
    in_epoch, size = steps_per_epoch(images, spec.batch_size), spec.batch_size
    drawn, order = -1, torch.empty(0)
    for step in steps:
        epoch, position = divmod(step, in_epoch)
        if epoch != drawn:
            drawn, order = epoch, permutation(spec.run.seed, epoch, images)
        yield epoch, share(order[position * size : (position + 1) * size])
