"""Evaluation and FineTuning: everything that determines what is measured on a finished run. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from .fields import ABOVE_ZERO, Amount, Count, Positive, Range, Share
from .run import Augmentation, Run
from .spec import Spec

CROP_AND_FLIP = Augmentation(jitter=0.0, grey=0.0, crop_min=0.08)
LISTED = (0.01, 0.1)  # shares of ImageNet that SimCLR's lists name


@dataclass(frozen=True, kw_only=True)
class Measured(Spec):
    """Base of what is measured on a run, in a folder inside that run's."""

    run: Run

    @property
    def data_name(self) -> str:
        """The data that it is measured on, whole: those of the run, unless it says otherwise."""
        return self.run.data_name

    @property
    def folder(self) -> str:
        """Folder below the runs directory: inside the folder of the run."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Evaluation(Measured):
    """The small-data probes on a finished run: linear and nearest neighbours (protocol of the W-MSE code)."""

    run: Run
    linear_epochs: Count = 500
    neighbours: Count = 5
    split: Literal["test", "validation"] = "test"  # validation: a fifth of the training images, never the test set

    @property
    def folder(self) -> str:
        """Folder below the runs directory: inside the folder of the run it evaluates."""
        return f"{self.run.folder}/evaluation-{self.digest}"


@dataclass(frozen=True, kw_only=True)
class FineTuning(Measured):
    """A linear layer trained on augmented images with a finished run's backbone under it, frozen or trained with it.

    Defaults are the linear probe of Barlow Twins' code (Zbontar et al., ICML 2021); `protocols.py` has the others.
    """

    run: Run
    share: Annotated[float, Range(ABOVE_ZERO, 1)] = 1.0  # of the labelled training images, as many of every class
    lists: Literal["", "simclr"] = ""  # whose published list names that share; "" = a seeded draw
    backbone_lr: Amount = 0.0  # 0 = frozen, its batch norms in evaluation mode
    head_lr: Positive = 0.3
    epochs: Count = 100
    batch_size: Annotated[int, Range(2, cap=10**6)] = 256
    optimizer: Literal["sgd", "lars"] = "sgd"
    momentum: Share = 0.9
    nesterov: bool = False
    weight_decay: Amount = 1e-6
    schedule: Literal["cosine", "steps"] = "cosine"  # both move once an epoch
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
    def folder(self) -> str:
        """Folder below the runs directory: inside the folder of the run it fine-tunes."""
        return f"{self.run.folder}/fine-tuning-{self.digest}"
