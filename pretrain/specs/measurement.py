"""Measurement: everything that determines what is measured on a finished run. Imports no torch.

Evaluation and FineTuning are here; Detection, which needs the settings of a detector, is in `transfer/spec.py`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Literal

from .fields import ABOVE_ZERO, Amount, Count, Positive, Range, Share
from .run import Augmentation, Device, Kind, Run
from .spec import Spec

CROP_AND_FLIP = Augmentation(jitter=0.0, grey=0.0, crop_min=0.08)
LISTED = (0.01, 0.1)  # shares of ImageNet that SimCLR's lists name


@dataclass(frozen=True, kw_only=True)
class Measurement(Spec):
    """Base of what is measured on a run, in a folder inside that run's folder."""

    run: Run

    @property
    def kind(self) -> Kind:
        """What kind of work the spec describes."""
        raise NotImplementedError

    @property
    def protocol(self) -> str:
        """The same in words, with the share of the labels where that is not all of them."""
        return self.kind + ("" if self.share == 1 else f" on {100 * self.share:g} %")

    @property
    def share(self) -> float:
        """Share of the labelled training images that it learns from: all, unless the measurement says otherwise."""
        return 1.0

    @property
    def split(self) -> Literal["test", "validation"]:
        """The images that it scores: the test images, unless the measurement says otherwise."""
        return "test"

    @property
    def device(self) -> Device:
        """What the work is meant for: that of the run, unless the measurement says otherwise."""
        return self.run.device

    @property
    def updates(self) -> int:
        """Updates of the optimiser from start to end; 0 where no checkpoint counts them."""
        raise NotImplementedError

    @property
    def batch_size(self) -> int:
        """Images of one update; 0 where several processes share no batch."""
        raise NotImplementedError

    @property
    def data_label(self) -> str:
        """The data that it is measured on, as every table names them."""
        return self.run.data_label

    @property
    def data_name(self) -> str:
        """The data that it is measured on, whole: those of the run, unless the measurement says otherwise."""
        return self.run.data_name

    @property
    def folder(self) -> str:
        """Folder below the runs directory: inside the folder of the run."""
        raise NotImplementedError


Work = Run | Measurement  # what one job does, and what one record holds


@dataclass(frozen=True, kw_only=True)
class Evaluation(Measurement):
    """The small-data probes on a finished run: linear and nearest neighbours (protocol of the W-MSE code)."""

    run: Run
    linear_epochs: Count = 500
    neighbours: Count = 5
    split: Literal["test", "validation"] = "test"  # validation: a fifth of the training images, never the test set

    @property
    def kind(self) -> Kind:
        """Probes."""
        return "probes"

    @property
    def updates(self) -> int:
        """None that a checkpoint counts: the linear layer starts anew in a probe that is started again."""
        return 0

    @property
    def batch_size(self) -> int:
        """None that is shared: one process probes."""
        return 0

    @property
    def folder(self) -> str:
        """Folder below the runs directory: inside the folder of the run it evaluates."""
        return f"{self.run.folder}/evaluation-{self.digest}"


@dataclass(frozen=True, kw_only=True)
class FineTuning(Measurement):
    """A linear layer on a finished run's backbone, trained on augmented images; the backbone is frozen or trains too.

    The defaults are the linear probe of Barlow Twins' code (Zbontar et al., ICML 2021). Other protocols are in
    `recipes/evaluation.py`.
    """

    run: Run
    share: Annotated[float, Range(ABOVE_ZERO, 1)] = 1.0  # of the labelled training images, as many of every class
    lists: Literal["", "simclr"] = ""  # the author whose published list names that share; "" = a seeded draw
    backbone_lr: Amount = 0.0  # 0 = frozen, its batch norms in evaluation mode
    head_lr: Positive = 0.3
    epochs: Count = 100
    batch_size: Annotated[int, Range(2, cap=10**6)] = 256
    optimizer: Literal["sgd", "lars"] = "sgd"
    momentum: Share = 0.9
    nesterov: bool = False
    weight_decay: Amount = 1e-6
    schedule: Literal["cosine", "steps"] = "cosine"  # both change the rates once an epoch
    drops: tuple[Count, ...] = ()  # epochs, counted from 0, at whose start the rates fall (steps)
    drop_factor: Positive = 0.1
    augmentation: Augmentation = CROP_AND_FLIP
    split: Literal["test", "validation"] = "test"  # validation: a fifth of the labelled images, never the test set
    precision: Literal["float32", "tf32", "bfloat16", "float64"] = "float32"

    def __post_init__(self) -> None:
        super().__post_init__()
        run = self.run
        if self.lists and (run.dataset != "imagenet" or run.copy or run.train_images or self.share not in LISTED):
            shares = " or ".join(map(str, LISTED))
            raise ValueError(f"lists {self.lists!r} are of the whole of imagenet, share {shares}; use '' for a draw")
        if self.drops and self.schedule != "steps":
            raise ValueError(f"FineTuning.drops need schedule 'steps', not {self.schedule!r}")
        if self.nesterov and (self.optimizer != "sgd" or not self.momentum):
            raise ValueError("FineTuning.nesterov needs optimizer 'sgd' with momentum")
        if self.backbone_lr and run.backbone.name == "pixels":
            raise ValueError("backbone pixels has no parameters to fine-tune; use backbone_lr 0")

    @property
    def kind(self) -> Kind:
        """Linear over a frozen backbone, fine-tuning where the backbone trains too."""
        return "fine-tuning" if self.backbone_lr else "linear"

    @property
    def updates(self) -> int:
        """Updates of the optimiser from start to end; the incomplete last batch of an epoch counts."""
        return self.epochs * max(1, math.ceil(self.share * self.run.labelled_images / self.batch_size))

    @property
    def folder(self) -> str:
        """Folder below the runs directory: inside the folder of the run it fine-tunes."""
        return f"{self.run.folder}/fine-tuning-{self.digest}"
