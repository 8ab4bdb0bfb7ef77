"""Recipes for ImageNet, at 224 px on a ResNet-50: what the rows of Table 2 were published with.

Command: `compmod pretrain NAME --dataset imagenet`, then `compmod evaluate RUN_DIR --protocol linear`.
Time: of SimCLR on one H100 (an estimate, not measured): 760 hours for 1,000 epochs, about three times that with "+".
Expected: Table 2 of the paper; linear accuracy: SimCLR 69.32, BYOL 74.31, Barlow Twins 73.22.
Source: the method's own code where a line names no other. A ResNet-18, which costs about a third, is
`--backbone.name resnet18`; no row of the paper is known to have used one.
"""

from __future__ import annotations

from dataclasses import replace

from ..specs.methods import METHODS
from ..specs.run import Backbone, Optimizer, Projector, Run, Schedule
from . import augmentations as views
from .recipe import Recipe

RESNET50 = Backbone(name="resnet50", stem="large")
# Barlow Twins' and VICReg's code; the trust of 0.001 is also in SimCLR's, BYOL's and SSL-HSIC's.
LARS = Optimizer(name="lars", lr_batch=256, trust=0.001, clip=False, weight_decay=1e-6)
LARC = Optimizer(name="larc", trust=0.001, clip=False, weight_decay=1e-6)  # SwAV code; its rates hold for any batch
SGD = Optimizer(name="sgd", weight_decay=1e-4)  # MoCo, CMC and SimSiam code
COSINE = Schedule(kind="cosine", warmup_steps=0, warmup_epochs=10.0)
BY_EPOCH = Schedule(kind="cosine", warmup_steps=0, moves="epoch")  # MoCo v2 and SimSiam code
BYOL_HEAD = Projector(layers=2, hidden=4096, out=256)  # BYOL, section 3.3

_SIMCLR = Recipe(
    remark="SimCLR code; 69.3 linear",
    epochs=1000,
    batch_size=4096,
    views=(views.SYMMETRIC,) * 2,
    projector=Projector(layers=3, hidden=2048, out=128),  # SimCLR v2 code; the paper's own has 2 layers
    optimizer=replace(LARS, lr=0.3, weight_decay=1e-4),
    schedule=COSINE,
    options=(("temperature", 0.1),),
)
_BYOL = Recipe(
    remark="BYOL code; 74.3 linear",
    epochs=1000,
    batch_size=4096,
    views=views.ASYMMETRIC,
    projector=BYOL_HEAD,
    optimizer=replace(LARS, lr=0.2, weight_decay=1.5e-6),
    schedule=COSINE,
    options=(("predictor_hidden", 4096), ("momentum", 0.996), ("momentum_moves", "step"), ("last_bias", 0)),
)
_MOCO = Recipe(
    remark="MoCo v2, 800 epochs; 71.1 linear",
    epochs=800,
    batch_size=256,
    views=(views.MOCO_V2,) * 2,
    projector=Projector(layers=2, hidden=2048, out=128),
    optimizer=replace(SGD, lr=0.03),
    schedule=BY_EPOCH,
    options=(
        ("temperature", 0.2),
        ("momentum", 0.999),
        ("final_momentum", 0.999),
        ("queue", 65536),
        ("symmetric", 0),
    ),
)
CMC = Recipe(
    remark="CMC code, L and ab of two half-width ResNet-50",
    epochs=240,
    batch_size=128,
    views=(views.FLIP_AND_CROP_LARGE,),
    backbone=replace(RESNET50, colours="lab"),
    projector=Projector(layers=1, out=128),
    optimizer=replace(SGD, lr=0.03),
    schedule=Schedule(warmup_steps=0, drops=(120.0, 80.0, 40.0), drop_factor=0.1),  # at 120, 160 and 200
    options=(("temperature", 0.07), ("negatives", 16384), ("bank_momentum", 0.5)),
)
_SWAV = Recipe(
    remark="SwAV code: 2 x 224 + 6 x 96 px; 75.3 linear",
    epochs=800,
    batch_size=4096,
    views=views.SWAV_CROPS,
    projector=Projector(layers=2, hidden=2048, out=128),
    optimizer=replace(LARC, lr=4.8),
    schedule=replace(COSINE, warmup_from=0.3, final=0.001),
    options=(  # 313 steps at batch 4096, 5,005 at 256: one epoch with frozen prototypes
        ("temperature", 0.1),
        ("epsilon", 0.05),
        ("prototypes", 3000),
        ("queue", 0),
        ("freeze_epochs", 1),
        ("large", 2),
    ),
)
_SSL_HSIC = Recipe(
    remark="SSL-HSIC code; about 74.8 linear",
    epochs=1000,
    batch_size=4096,
    views=views.ASYMMETRIC,
    projector=BYOL_HEAD,
    optimizer=replace(LARS, lr=0.4),
    schedule=COSINE,
    options=(("predictor_hidden", 4096), ("momentum", 0.99), ("last_bias", 0), ("average", 0.999)),
)
_BARLOW_TWINS = Recipe(
    remark="Barlow Twins code; 73.5 linear",
    backbone=replace(RESNET50, zero_residual=True),
    epochs=1000,
    batch_size=2048,
    views=views.ASYMMETRIC,
    projector=Projector(layers=3, hidden=8192, out=8192),
    optimizer=replace(LARS, lr=0.2, vector_lr=0.0048),
    schedule=replace(COSINE, final=0.001),
    options=(("bias", 0),),
)
_VICREG = replace(_BARLOW_TWINS, remark="VICReg code, 1000 epochs", optimizer=replace(LARS, lr=0.2), options=())
MEC = Recipe(
    remark="MEC code, 100 epochs",
    epochs=100,
    batch_size=1024,
    views=views.MEC,
    projector=Projector(layers=3, hidden=2048, out=2048),
    optimizer=Optimizer(name="sgd", lr=0.5, lr_batch=256, weight_decay=1e-5),
    schedule=COSINE,
    options=(("momentum", 0.996), ("predictor_hidden", 512)),
)

IMAGENET: dict[str, dict[str, Recipe]] = {
    "simclr": {"": _SIMCLR},
    "moco": {
        "": _MOCO,
        "v2-200": replace(_MOCO, remark="MoCo v2, 200 epochs; 67.5 linear", epochs=200),
        "v1": replace(
            _MOCO.but("MoCo v1; 60.6 linear", ("temperature", 0.07)),
            epochs=200,
            views=(views.MOCO_V1,) * 2,
            projector=Projector(layers=1, out=128),
            schedule=Schedule(warmup_steps=0, drops=(80.0, 40.0), drop_factor=0.1),  # at 120 and 160
        ),
    },
    "cmc": {"": CMC, "ycbcr": replace(CMC, remark="Y and CbCr", backbone=replace(RESNET50, colours="ycbcr"))},
    "byol": {
        "": _BYOL,
        "300-epochs": replace(
            _BYOL.but("BYOL code, 300 epochs", ("momentum", 0.99)),
            epochs=300,
            optimizer=replace(LARS, lr=0.3),
        ),
        "100-epochs": replace(
            _BYOL.but("BYOL code, 100 epochs", ("momentum", 0.99)),
            epochs=100,
            optimizer=replace(LARS, lr=0.45),
        ),
    },
    "simsiam": {
        "": Recipe(
            remark="SimSiam code, 100 epochs; 68.1 to 68.3 linear",
            backbone=replace(RESNET50, zero_residual=True),
            epochs=100,
            batch_size=512,
            views=(views.MOCO_V2,) * 2,
            projector=Projector(layers=3, hidden=2048, out=2048),
            optimizer=replace(SGD, lr=0.05, lr_batch=256, constant="predictor"),
            schedule=BY_EPOCH,
            options=(("predictor_hidden", 512),),
        )
    },
    "swav": {
        "": _SWAV,
        "2-crops": replace(
            _SWAV,
            remark="SwAV code, 2 x 224 px, 400 epochs; 70.1 linear",
            epochs=400,
            views=(views.SYMMETRIC,) * 2,
        ),
        "small-batch": replace(
            _SWAV.but("SwAV code, batch 256, 200 epochs; 72.7 linear", ("queue", 3840), ("queue_epoch", 15)),
            epochs=200,
            batch_size=256,
            optimizer=replace(LARC, lr=0.6),
            schedule=replace(COSINE, warmup_epochs=0.0, final=0.001),
        ),
    },
    "dcl": {  # temperatures: each paper's own
        "": _SIMCLR.but("ours: SimCLR's, debiased", ("form", "debiased"), ("temperature", 0.5), ("prior", 0.01)),
        "decoupled": _SIMCLR.but("ours: SimCLR's, decoupled", ("form", "decoupled")),
        "weighted": _SIMCLR.but("ours: SimCLR's, decoupled and weighted", ("form", "weighted"), ("sigma", 0.5)),
    },
    "relic": {"": replace(_BYOL, remark="ours: BYOL's; 74.8 linear in the paper", options=(("momentum", 0.996),))},
    "ssl_hsic": {"": _SSL_HSIC, "no-target": _SSL_HSIC.but("ours: without target network", ("target", 0))},
    "icl_msr": {"": replace(_SIMCLR, remark="ours: SimCLR's")},
    "barlow_twins": {"": _BARLOW_TWINS},
    "vicreg": {
        "": _VICREG,
        "100-epochs": replace(
            _VICREG, remark="VICReg code, 100 epochs", epochs=100, batch_size=512, optimizer=replace(LARS, lr=0.3)
        ),
    },
    "w_mse": {
        "": Recipe(
            remark="ours: W-MSE 4 as on ImageNet-100, fewer epochs",
            epochs=100,
            batch_size=256,
            views=(views.SYMMETRIC,) * 4,
            projector=Projector(layers=2, out=128),
            optimizer=Optimizer(lr=2e-3),
            options=(("whitening", 256), ("repeats", 1)),
        )
    },
    "supervised": {
        "": Recipe(
            remark="He et al., section 3.4, 90 epochs as in torchvision",
            epochs=90,
            batch_size=256,
            views=(views.FLIP_AND_CROP_LARGE,),
            optimizer=replace(SGD, lr=0.1, lr_batch=256),
            schedule=Schedule(warmup_steps=0, drops=(60.0, 30.0), drop_factor=0.1),  # at 30 and 60
        )
    },
    "mec": {"": MEC},
    "tcr": {"": replace(_SIMCLR, remark="ours: SimCLR's", options=())},
}


def recipes(method: str, run: Run) -> dict[str, Recipe]:
    """The settings of `method` on ImageNet by variant; "" is the one used unless another is asked for."""
    known = IMAGENET.get(method) or {"": _SIMCLR.as_default("SimCLR's settings", METHODS[method].views)}
    return {name: replace(recipe, backbone=recipe.backbone or RESNET50) for name, recipe in known.items()}
