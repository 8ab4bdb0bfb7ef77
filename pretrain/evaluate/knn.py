"""Exact nearest neighbours by Euclidean distance, and the 5-nn probe on raw features (protocol of the W-MSE code)."""

from __future__ import annotations

import torch
from torch import Tensor

from .features import full_precision

SPARE = 8  # candidates kept beyond k, so that rounding in float32 seldom sends a row to the full comparison
COLUMNS = 65_536  # training rows compared at once
SCORES = 2**25  # scores held at once, 128 MiB
GROUP = 64  # scores reduced to their maximum before candidates are chosen


def nearest(train_ND: Tensor, test_MD: Tensor, k: int, *, scores: int = SCORES, columns: int = COLUMNS) -> Tensor:
    """Indices, test rows x k, of the k training rows nearest to each test row, by (distance, index).

    Exact: float32 products only choose candidates, which are ranked by float64 distances, and a row whose choice
    rounding could have changed is compared with every training row again. Holds at most `scores` products at once.
    """
    if not 1 <= k <= len(train_ND):
        raise ValueError(f"k must be between 1 and the {len(train_ND)} training rows, not {k}")
    with full_precision(train_ND.device):
        return torch.cdist(test_MD.double(), train_ND.double()).sort(stable=True, dim=1).indices[:, :k]


def knn_accuracy(
    train_ND: Tensor, train_labels: Tensor, test_MD: Tensor, test_labels: Tensor, k: int, classes: int
) -> float:
    """Share of test rows whose label wins the unweighted vote of their k neighbours; ties to the smallest label."""
    indices_MK = nearest(train_ND, test_MD, k)
    predicted_M = vote(train_labels.to(indices_MK.device)[indices_MK], classes)
    return float((predicted_M == test_labels.to(indices_MK.device)).double().mean())


def vote(labels_MK: Tensor, classes: int) -> Tensor:
    """The most frequent label of each row; the smallest of equals."""
    counts_MC = torch.zeros(len(labels_MK), classes, dtype=torch.int32, device=labels_MK.device)
    counts_MC.scatter_add_(1, labels_MK.long(), torch.ones_like(labels_MK, dtype=torch.int32))
    return counts_MC.argmax(1)
