"""Precise batch norm: statistics averaged over batches instead of remembered with a momentum (Wu and He, ECCV 2018).

As Detectron2's PreciseBN hook does it through fvcore: the mean of the batches' means and of their variances.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn


def average_statistics(model: nn.Module, batches: Iterable[Any]) -> None:
    """Replace the running statistics of every batch norm by their mean over `batches`; without any, leave them."""
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    momenta = [norm.momentum for norm in norms]
    running = [(norm.get_buffer("running_mean"), norm.get_buffer("running_var")) for norm in norms]
    sums = [(torch.zeros_like(mean), torch.zeros_like(variance)) for mean, variance in running]
    count = 0
    model.train()
    for norm in norms:
        norm.momentum = 1.0  # running statistics become those of the batch
    with torch.no_grad():
        for batch in batches:
            model(batch)
            count += 1
            for (mean, variance), (mean_sum, variance_sum) in zip(running, sums, strict=True):
                mean_sum += mean
                variance_sum += variance
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
        for (mean, variance), (mean_sum, variance_sum) in zip(running, sums, strict=True):
            if count:
                mean.copy_(mean_sum / count)
                variance.copy_(variance_sum / count)
