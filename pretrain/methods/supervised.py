"""Supervised: the trunk trained on labels with a linear classifier (He et al., CVPR 2016, section 4)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..runtime.precision import full_precision
from ..specs.datasets import DATASETS
from ..specs.run import Run
from ..views.batch import Batch
from .base import Embedded, Method, Targets


class Supervised(Method):
    """Classify the first view; other views are ignored. The classifier stands where others have a projector."""

    def __init__(self, run: Run, size: int) -> None:
        super().__init__(run, size, projector=nn.Identity())
        self.dataset = run.data
        if not self.dataset.classes:
            raise ValueError(f"the images of {self.dataset.label} have no labels, which supervised training needs")
        self.projector = nn.Linear(self.backbone.features, self.dataset.classes)
        self.embedding_width = self.dataset.classes

    def allocate(self, images: int) -> None:
        """Nothing is allocated. Raises ValueError, before training, where the data set has unlabelled images."""
        if self.dataset.unlabelled_images:
            labelled = ", ".join(name for name, entry in DATASETS.items() if not entry.unlabelled_images)
            raise ValueError(f"{self.dataset.label} has unlabelled images; data sets without: {labelled}")

    def embed(self, views: Sequence[Tensor]) -> Embedded:
        """Representation and logits of the first view."""
        return super().embed(views[:1])

    @torch.no_grad()
    def targets(self, batch: Batch) -> Targets:
        """The labels."""
        return (batch.labels,)

    def loss(self, embedded: Embedded, targets: Targets) -> Tensor:
        return cross_entropy_loss(embedded.embeddings[0], *targets)


@full_precision
def cross_entropy_loss(logits_NC: Tensor, labels_N: Tensor) -> Tensor:
    """Mean over the batch of minus the log-probability of the label. N batch, C classes."""
    return F.cross_entropy(logits_NC, labels_N)
