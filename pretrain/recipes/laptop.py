"""Recipes for CIFAR-10 on a CPU: a small network on small views, what one core learns in minutes.

Command: `compmod pretrain NAME --dataset cifar10 --scale laptop`, then `compmod evaluate RUN_DIR`.
Time: about four minutes a run on one core, about two and a half times that with "+" (measured).
Expected: the measured numbers in `results/README.md`; far below the paper's, whose network trains for 1000 epochs.
Source: ours. Sizes, batch, epochs and rate are one choice for all methods, plain and "+", made with SimCLR, seed 0, on
the validation split.
"""

from __future__ import annotations

from dataclasses import replace

from ..specs.methods import METHODS
from ..specs.run import Augmentation, Backbone, Optimizer, Projector, Schedule
from .recipe import Options, Recipe

VARIANT = "laptop"  # the recipes' name among those of their data set
DATASET = "cifar10"  # the only one that has them

_BACKBONE = Backbone(name="resnet10", width=16, stem="small-pool")
_VIEW = Augmentation(size=16)  # else recipe S
_BASE = Recipe(
    remark="ours: minutes on one core",
    epochs=4,
    batch_size=256,
    views=(_VIEW, _VIEW),
    backbone=_BACKBONE,
    projector=Projector(layers=3, hidden=256, out=64),
    optimizer=Optimizer(lr=3e-3),
    schedule=Schedule(kind="cosine", warmup_steps=50),
)
_TRIED = ("simclr", "byol", "barlow_twins")
# What a method counts in steps or units is as small as the training; not tuned.
_OPTIONS: dict[str, Options] = {
    "byol": (("predictor_hidden", 256),),
    "simsiam": (("predictor_hidden", 64),),
    "swav": (("temperature", 0.2), ("prototypes", 100), ("queue", 0), ("freeze_epochs", 0)),
    "ssl_hsic": (("momentum", 0.99), ("predictor_hidden", 256)),
    "w_mse": (("whitening", 128),),
}


def recipes(method: str) -> dict[str, Recipe]:
    """The recipe of `method` on CIFAR-10 at scale `laptop`, by its variant."""
    usual = _BASE if method in _TRIED else _BASE.as_default("SimCLR's settings", METHODS[method].views)
    if method == "cmc":
        usual = replace(usual, backbone=replace(_BACKBONE, colours="lab"))
    return {VARIANT: usual.but(usual.remark, *_OPTIONS.get(method, ()))}
