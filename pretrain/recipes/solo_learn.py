"""Recipes of solo-learn: recipe L for small images, with wide heads, and its settings for ImageNet-100.

Command: `compmod pretrain barlow_twins --dataset cifar10`; where recipe L is not the default,
`compmod pretrain simclr --dataset cifar10 --preset solo-learn`.
Time: of Barlow Twins on one H100 (an estimate, not measured): 6 hours on CIFAR.
Expected: Table 1 of the paper; of Barlow Twins, linear and 5-nn accuracy: CIFAR-10 90.88 and 88.78, CIFAR-100 66.67
and 56.39, STL-10 90.71 and 85.31, Tiny ImageNet 49.74 and 33.61.
Source: da Costa et al., JMLR 2022, code `vturrisi/solo-learn`.
"""

from __future__ import annotations

from dataclasses import replace

from ..specs.run import Optimizer, Projector, Schedule
from . import augmentations as views
from .recipe import Recipe

LARS = Optimizer(name="lars", lr_batch=256, weight_decay=1e-4)  # solo-learn: trust 0.02, clipped
SGD = Optimizer(name="sgd", lr_batch=256, weight_decay=1e-4)  # solo-learn
COSINE = Schedule(kind="cosine", warmup_steps=0, warmup_epochs=10.0, warmup_from=3e-5)  # solo-learn
WIDE = Projector(layers=3, hidden=2048, out=2048)  # solo-learn; SimSiam, section 3
_BASE = Recipe(remark="recipe L", batch_size=256, schedule=COSINE)  # solo-learn
USUAL = replace(  # what most of the methods below have: the default of recipe L for a method that is not among them
    _BASE, optimizer=replace(LARS, lr=0.3), projector=WIDE, views=(views.SYMMETRIC,) * 2
)

CIFAR: dict[str, Recipe] = {  # solo-learn, scripts/pretrain/cifar
    "simclr": replace(
        _BASE,
        optimizer=replace(LARS, lr=0.4),
        projector=Projector(layers=2, hidden=2048, out=256),
        views=(views.SYMMETRIC,) * 2,
        options=(("temperature", 0.2), ("output_norm", 0)),
    ),
    "moco": replace(
        _BASE,
        remark="recipe L: MoCo v2+",
        optimizer=replace(SGD, lr=0.3),
        projector=Projector(layers=2, hidden=2048, out=256),
        views=(views.WEAK,) * 2,
        options=(
            ("temperature", 0.2),
            ("momentum", 0.99),
            ("final_momentum", 0.999),
            ("queue", 32768),
            ("symmetric", 1),
        ),
    ),
    "byol": replace(
        _BASE,
        optimizer=replace(LARS, lr=1.0, weight_decay=1e-5),
        projector=Projector(layers=2, hidden=4096, out=256),
        views=views.ASYMMETRIC_SMALL,
        options=(("predictor_hidden", 4096), ("momentum", 0.99)),
    ),
    "simsiam": replace(
        _BASE,
        optimizer=replace(SGD, lr=0.5, weight_decay=1e-5),
        projector=WIDE,
        views=(views.WEAK,) * 2,
        options=(("predictor_hidden", 512),),
    ),
    "swav": replace(
        _BASE,
        optimizer=replace(LARS, lr=0.6, weight_decay=1e-6),
        projector=Projector(layers=2, hidden=2048, out=128),
        views=(views.SYMMETRIC,) * 2,
        options=(
            ("temperature", 0.1),
            ("prototypes", 3000),
            ("queue", 3840),
            ("queue_epoch", 50),
            ("freeze_epochs", 2),
        ),
    ),
    "barlow_twins": replace(
        _BASE,
        optimizer=replace(LARS, lr=0.3),
        projector=WIDE,
        views=views.ASYMMETRIC_SMALL,
        options=(("scale", 0.1),),
    ),
    "vicreg": replace(_BASE, optimizer=replace(LARS, lr=0.3), projector=WIDE, views=(views.VICREG_SMALL,) * 2),
}

_LARGE = replace(_BASE, remark="solo-learn, on a ResNet-50", epochs=400)
IMAGENET100: dict[str, Recipe] = {  # solo-learn, scripts/pretrain/imagenet-100; heads not named there as for CIFAR
    "simclr": replace(
        _LARGE,
        optimizer=replace(LARS, lr=0.3),
        projector=Projector(layers=2, hidden=4096, out=512),
        views=(views.SYMMETRIC,) * 2,
        options=(("temperature", 0.2), ("output_norm", 0)),
    ),
    "byol": replace(
        _LARGE,
        optimizer=replace(LARS, lr=0.5, weight_decay=1e-6),
        projector=Projector(layers=2, hidden=4096, out=256),
        views=views.ASYMMETRIC,
        options=(("predictor_hidden", 8192), ("momentum", 0.99)),
    ),
    "barlow_twins": replace(CIFAR["barlow_twins"], remark=_LARGE.remark, epochs=400, views=views.ASYMMETRIC),
    "vicreg": replace(CIFAR["vicreg"], remark=_LARGE.remark, epochs=400, views=views.ASYMMETRIC),
    "swav": replace(CIFAR["swav"], remark=_LARGE.remark, epochs=400),
    "simsiam": replace(CIFAR["simsiam"], remark=_LARGE.remark, epochs=400, views=(views.MOCO_V2,) * 2),
    "moco": replace(
        CIFAR["moco"].but("solo-learn: MoCo v2+, on a ResNet-50", ("queue", 65536)),
        epochs=400,
        views=(views.MOCO_V2,) * 2,
    ),
}
