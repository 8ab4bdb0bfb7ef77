"""The linear probe: one linear layer on fixed features (Ermolov et al., ICML 2021, code `htdt/self-supervised`)."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from ..runtime.randomness import generator, permutation
from .features import full_precision

FIRST_LR, LAST_LR = 1e-2, 1e-6  # W-MSE code, eval_sgd
WEIGHT_DECAY = 5e-6  # W-MSE code, eval_sgd
TOP = 5  # classes that count as hit in the wider accuracy; the papers print top-1 and top-5


@dataclass(frozen=True)
class LinearResult:
    """Shares of the test images, 0 to 1. The papers print the last epoch; the best is kept beside it."""

    top1: float
    top5: float  # 1 when there are at most five classes
    best_top1: float
    best_epoch: int  # counted from 1; the first of equals
    loss: float  # mean training loss over the last epoch


def linear_probe(
    train_ND: Tensor,
    train_labels: Tensor,
    test_MD: Tensor,
    test_labels: Tensor,
    classes: int,
    *,
    epochs: int = 500,
    seed: int = 0,
    batch_size: int = 1000,
) -> LinearResult:
    """Train a linear layer with bias by Adam on `train_ND` (images x features) and score it on `test_MD`.

    The rate falls exponentially, per epoch, from 1e-2 in the first to 1e-6 in the last. The last, smaller batch is
    kept. Weights and order are functions of `seed`; the global random state is neither read nor changed. It computes in
    float32, or in the features' own type where that is wider.
    """
    _check(train_ND, train_labels, classes, "training")
    _check(test_MD, test_labels, classes, "test")
    if epochs < 1 or batch_size < 1:
        raise ValueError(f"epochs and batch_size must be at least 1, not {epochs} and {batch_size}")
    device = train_ND.device
    dtype = functools.reduce(torch.promote_types, (train_ND.dtype, test_MD.dtype, torch.float32))
    train_ND, test_MD = train_ND.to(dtype), test_MD.to(device, dtype)
    train_labels, test_labels = train_labels.to(device).long(), test_labels.to(device).long()
    count, width = train_ND.shape
    weight_CD, bias_C = (tensor.to(device, dtype) for tensor in _initial(classes, width, seed))
    adam = torch.optim.Adam([weight_CD, bias_C], lr=FIRST_LR, weight_decay=WEIGHT_DECAY, fused=True)
    correct_E = torch.zeros(epochs, dtype=torch.long, device=device)
    rows_BD = train_ND.new_empty(min(batch_size, count), width)
    with full_precision(device), torch.no_grad():
        for epoch in range(epochs):
            adam.param_groups[0]["lr"] = learning_rate(epoch, epochs)
            loss_sum = torch.zeros((), dtype=torch.float64, device=device)
            for chosen_B in torch.split(permutation(seed, epoch, count, device), batch_size):
                batch_BD = torch.index_select(train_ND, 0, chosen_B, out=rows_BD[: len(chosen_B)])
                loss_sum += _step(adam, weight_CD, bias_C, batch_BD, train_labels[chosen_B])
            logits_MC = torch.addmm(bias_C, test_MD, weight_CD.T)
            correct_E[epoch] = (logits_MC.argmax(1) == test_labels).sum()
        top_MK = logits_MC.topk(min(TOP, classes)).indices
        hits = (top_MK == test_labels[:, None]).any(1).sum()
    # one wait for the device, at the end
    best = int(correct_E.max())
    return LinearResult(
        top1=int(correct_E[-1]) / len(test_MD),
        top5=int(hits) / len(test_MD),
        best_top1=best / len(test_MD),
        best_epoch=correct_E.tolist().index(best) + 1,
        loss=float(loss_sum) / count,
    )


def learning_rate(epoch: int, epochs: int) -> float:
    """Rate of `epoch` (from 0): FIRST_LR in the first, LAST_LR in the last."""
    return FIRST_LR * math.pow(LAST_LR / FIRST_LR, epoch / max(1, epochs - 1))


def _step(adam: torch.optim.Adam, weight_CD: Tensor, bias_C: Tensor, batch_BD: Tensor, labels_B: Tensor) -> Tensor:
    """One update on the mean cross-entropy of a batch; the loss summed over the batch.

    The gradient is written out (softmax minus one-hot): half the time of autograd at this size.
    """
    logs_CB = F.log_softmax(torch.addmm(bias_C[:, None], weight_CD, batch_BD.T), dim=0)
    picked_1B = labels_B[None]
    loss = -logs_CB.gather(0, picked_1B).sum()
    slope_CB = logs_CB.exp_()
    slope_CB.scatter_add_(0, picked_1B, slope_CB.new_full((), -1.0).expand(1, len(labels_B)))
    slope_CB /= len(labels_B)
    weight_CD.grad, bias_C.grad = slope_CB @ batch_BD, slope_CB.sum(1)
    adam.step()
    return loss


def _initial(classes: int, width: int, seed: int) -> tuple[Tensor, Tensor]:
    """Weights and bias as `nn.Linear` draws them, in float32 on the CPU: uniform within 1 / sqrt(inputs)."""
    source = generator(seed, "linear probe")
    bound = 1 / math.sqrt(width)
    weight_CD = torch.empty(classes, width, dtype=torch.float32).uniform_(-bound, bound, generator=source)
    bias_C = torch.empty(classes, dtype=torch.float32).uniform_(-bound, bound, generator=source)
    return weight_CD, bias_C


def _check(features_ND: Tensor, labels: Tensor, classes: int, name: str) -> None:
    if len(features_ND) != len(labels) or not len(labels):
        raise ValueError(f"{len(features_ND)} rows of {name} features for {len(labels)} labels; expected one each")
    if not bool(torch.isfinite(features_ND).all()):
        raise ValueError(f"the {name} features hold NaN or infinity; expected finite numbers")
    if int(labels.min()) < 0 or int(labels.max()) >= classes:
        raise ValueError(
            f"{name} labels run from {int(labels.min())} to {int(labels.max())}; expected 0 to {classes - 1}"
        )
